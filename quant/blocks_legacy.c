/* quant/blocks_legacy.c - ggml's types with one f16 scale for 32 elements.
 *
 *          0    2    4        8                  24
 *   Q4_0   d    codes[16]                              d * (q - 8)
 *   Q4_1   d    m    codes[16]                         d * q + m
 *   Q5_0   d    high     codes[16]                     d * (q - 16)
 *   Q5_1   d    m    high     codes[16]                d * q + m
 *   Q8_0   d    i8 q[32]                               d * q
 *
 * d and m are f16. Byte j of codes holds the low four bits of elements j (low nibble)
 * and j + 16; bit i of high, a u32, is bit 4 of element i.
 *
 * Without importance a scale spans the extremes. With it the scale is searched for,
 * element i of a row counting importance_i * sqrt(mean of the row's x^2 + x_i^2), and
 * the codes are those of the search; Q8_0 ignores importance.
 * Source: ggml-org/ggml src/ggml-common.h, src/ggml-quants.c @d99724f. */
#include "quant/blocks_rows.h"

#include <math.h>
#include <string.h>

#include "quant/blocks_lanes.h"
#include "quant/blocks_search.h"

enum { WIDTH = 32, HALF = WIDTH / 2, MOST_BLOCKS = 16 };

/* What takes a kind is inlined with that kind known, so that each type has loops of its own. */
#define OF_KIND static inline __attribute__((always_inline))

/* One of Q4_0 .. Q5_1. */
typedef struct nibbles {
    int bits;    /* of a code: 4 or 5                */
    bool affine; /* values are counted from m        */
} nibbles;

static const nibbles q4_0 = {4, false}, q4_1 = {4, true}, q5_0 = {5, false}, q5_1 = {5, true};

typedef struct fit {
    float d, m;
} fit;

static inline size_t high_at(nibbles k) { return k.affine ? 4 : 2; }
static inline size_t codes_at(nibbles k) { return high_at(k) + (k.bits == 5 ? 4 : 0); }
static inline size_t block_bytes(nibbles k) { return codes_at(k) + HALF; }

/* ---- blocks as bytes -------------------------------------------------------- */

/* Bit 4 of each code. */
static inline void put_high(const uint8_t code[WIDTH], unsigned char *out)
{
#if LANES >= 8
    __m256i c;

    memcpy(&c, code, sizeof c);
    const int high = _mm256_movemask_epi8(_mm256_slli_epi16(c, 3));
    memcpy(out, &high, sizeof high);
#else
    for (int b = 0; b < 4; b++) {
        unsigned high = 0;
        for (int i = 0; i < 8; i++)
            high |= (unsigned)(code[8 * b + i] >> 4 & 1) << i;
        out[b] = (unsigned char)high;
    }
#endif
}

OF_KIND void put_block(nibbles k, fit f, const uint8_t code[WIDTH], unsigned char *out)
{
    unsigned char *low = out + codes_at(k);

    gk_store_f16(out, f.d);
    if (k.affine)
        gk_store_f16(out + 2, f.m);
    if (k.bits == 5)
        put_high(code, out + high_at(k));
    join_nibbles(code, code + HALF, HALF, low);
}

/* Adds bit 4 to each code. */
static inline void take_high(const unsigned char *in, uint8_t code[WIDTH])
{
#if LANES >= 8
    /* byte i sees byte i / 8 of the field, and keeps bit i % 8 */
    const __m256i from = _mm256_setr_epi64x(0, 0x0101010101010101, 0x0202020202020202,
                                            0x0303030303030303);
    const __m256i bit = _mm256_set1_epi64x((long long)0x8040201008040201);
    int high;
    __m256i c;

    memcpy(&high, in, sizeof high);
    memcpy(&c, code, sizeof c);
    const __m256i own = _mm256_and_si256(_mm256_shuffle_epi8(_mm256_set1_epi32(high), from), bit);
    c = _mm256_or_si256(c, _mm256_and_si256(_mm256_cmpeq_epi8(own, bit), _mm256_set1_epi8(16)));
    memcpy(code, &c, sizeof c);
#else
    for (int i = 0; i < WIDTH; i++)
        code[i] |= (uint8_t)((in[i / 8] >> i % 8 & 1) << 4);
#endif
}

OF_KIND void take_codes(nibbles k, const unsigned char *in, uint8_t code[WIDTH])
{
    split_nibbles(in + codes_at(k), HALF, code, code + HALF);
    if (k.bits == 5)
        take_high(in + high_at(k), code);
}

/* ---- the plain rule --------------------------------------------------------- */

/* What blocks side by side are encoded with, so that one's division waits for no other's. */
typedef struct plain {
    float from[MOST_BLOCKS], d[MOST_BLOCKS];
    float id[MOST_BLOCKS]; /* 1 / d, 0 for no scale */
} plain;

/* d and id from the d's times by. */
static inline void divide(plain *p, float by)
{
    for (int b = 0; b < MOST_BLOCKS; b += LANES) {
        const lanes d = load_lanes(p->d + b) / splat(by);
        store_lanes(d, p->d + b);
        store_lanes(pick(d != 0, 1 / d, splat(0)), p->id + b);
    }
}

/* An infinite id comes from a d too small to have a reciprocal, an infinite d from extremes too
 * far apart: ggml's products are then infinite or NaN, which x86 converts to an integer whose low
 * byte is 0, and so are our codes. */
static inline bool is_usable(const plain *p, int b) { return !isinf(p->id[b]) && !isinf(p->d[b]); }

/* The extremes of a block; which zero they are when they are zero is left open. */
static inline void bounds(const float *x, float *lo, float *hi)
{
#if LANES >= 8
    __m256 least = _mm256_loadu_ps(x), most = least;

    for (int i = 8; i < WIDTH; i += 8) {
        least = _mm256_min_ps(_mm256_loadu_ps(x + i), least);
        most = _mm256_max_ps(_mm256_loadu_ps(x + i), most);
    }
    const __m128 a = _mm_min_ps(_mm256_castps256_ps128(least), _mm256_extractf128_ps(least, 1));
    const __m128 b = _mm_max_ps(_mm256_castps256_ps128(most), _mm256_extractf128_ps(most, 1));
    const __m128 below = _mm_xor_ps(a, _mm_set1_ps(-0.0f)); /* both ends as maxima, in turn */
    __m128 c = _mm_max_ps(_mm_unpacklo_ps(b, below), _mm_unpackhi_ps(b, below));
    c = _mm_max_ps(c, _mm_movehl_ps(c, c));
    *hi = _mm_cvtss_f32(c);
    *lo = -_mm_cvtss_f32(_mm_movehdup_ps(c));
#else
    *lo = *hi = x[0];
    for (int i = 1; i < WIDTH; i++) {
        *lo = x[i] < *lo ? x[i] : *lo;
        *hi = x[i] > *hi ? x[i] : *hi;
    }
#endif
}

/* bounds() with the first of several zeros, whose sign is stored. */
static inline void signed_bounds(const float *x, float *lo, float *hi)
{
    bounds(x, lo, hi);
    for (int i = 0; *lo == 0 && i < WIDTH; i++)
        if (x[i] == 0) {
            *lo = x[i];
            *hi = *hi == 0 ? x[i] : *hi;
            break;
        }
}

/* A block of bf16 as floats. */
static inline void floats_of(const unsigned char *bf16, float x[WIDTH])
{
    for (int i = 0; i < WIDTH; i++) {
        uint32_t bits = (uint32_t)bf16[2 * i] << 16 | (uint32_t)bf16[2 * i + 1] << 24;
        memcpy(&x[i], &bits, sizeof bits);
    }
}

/* The first of the elements with the largest magnitude, sign kept; +0 for a block of zeros. */
static inline float first_extreme(const float *x, float most)
{
    int i = 0;

    while (i < WIDTH - 1 && fabsf(x[i]) != most)
        i++;
    return most > 0 ? x[i] : 0;
}

/* d: of each block, whose elements span lo .. hi, the one with the largest magnitude, the first of
 * several, sign kept; +0 for a block of zeros and past n_blocks. x [.., WIDTH] or bf16 has them. */
static inline void choose_extremes(const float *lo, const float *hi, const float *x,
                                   const unsigned char *bf16, int n_blocks, plain *p)
{
    for (int b = 0; b < MOST_BLOCKS; b += LANES) {
        const lanes least = load_lanes(lo + b), most = load_lanes(hi + b);
        store_lanes(pick(most < -least, least, most), p->d + b);
        if (!any(most == -least)) /* of both signs, or zeros */
            continue;
        for (int k = b; k < b + LANES; k++) {
            float room[WIDTH];
            if (hi[k] != -lo[k])
                continue;
            if (k < n_blocks && x == NULL)
                floats_of(bf16 + k * WIDTH * 2, room);
            p->d[k] = k < n_blocks ? first_extreme(x == NULL ? room : x + k * WIDTH, hi[k]) : 0;
        }
    }
}

static inline void extremes(const float *x, int n_blocks, plain *p)
{
    float lo[MOST_BLOCKS] = {0}, hi[MOST_BLOCKS] = {0};

    for (int b = 0; b < n_blocks; b++)
        bounds(x + b * WIDTH, &lo[b], &hi[b]);
    choose_extremes(lo, hi, x, NULL, n_blocks, p);
}

#if LANES >= 8
/* Elements 4 * i .. of both halves of a block: what packs them keeps halves of registers apart. */
static inline __m256 load_halves(const float *x, int i)
{
    return _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(x + 4 * i)),
                                _mm_loadu_ps(x + HALF + 4 * i), 1);
}

/* The low bytes of 4 * 8 whole numbers, which fit 16 bits, in load_halves()'s order; saturated as
 * i8 or as u8. */
static inline __m256i to_bytes(const __m256i q[4], bool as_signed)
{
    const __m256i ab = _mm256_packs_epi32(q[0], q[1]), cd = _mm256_packs_epi32(q[2], q[3]);

    return as_signed ? _mm256_packs_epi16(ab, cd) : _mm256_packus_epi16(ab, cd);
}
#endif

/* code = the whole part of (x - from) * by + add, at most top. */
static inline void cut(const float *x, float from, float by, float add, int top, uint8_t *code)
{
#if LANES >= 8
    const __m256 f = _mm256_set1_ps(from), b = _mm256_set1_ps(by), a = _mm256_set1_ps(add);
    __m256i q[4];

    for (int i = 0; i < 4; i++)
        q[i] = _mm256_cvttps_epi32((load_halves(x, i) - f) * b + a);
    const __m256i bytes = _mm256_min_epu8(to_bytes(q, false), _mm256_set1_epi8((char)top));
    memcpy(code, &bytes, sizeof bytes);
#else
    for (int i = 0; i < WIDTH; i++) {
        const int q = (int)((x[i] - from) * by + add);
        code[i] = (uint8_t)(q < top ? q : top);
    }
#endif
}

/* Encodes n_blocks, at most MOST_BLOCKS. */
OF_KIND void encode_plain(nibbles k, const float *x, int n_blocks, unsigned char *out)
{
    const int half = 1 << (k.bits - 1), top = 2 * half - 1;
    const float add = k.affine ? 0.5f : (float)half + 0.5f;
    plain p;

    memset(p.d, 0, sizeof p.d);
    if (!k.affine)
        extremes(x, n_blocks, &p);
    else
        for (int b = 0; b < n_blocks; b++) {
            float hi;
            signed_bounds(x + b * WIDTH, &p.from[b], &hi);
            p.d[b] = hi - p.from[b];
        }
    divide(&p, k.affine ? (float)top : (float)-half);
    /* from d before it is rounded to f16; adding and cutting off rounds to nearest */
    for (int b = 0; b < n_blocks; b++) {
        const fit f = {p.d[b], k.affine ? p.from[b] : 0};
        uint8_t code[WIDTH] = {0};
        if (is_usable(&p, b))
            cut(x + b * WIDTH, f.m, p.id[b], add, top, code);
        put_block(k, f, code, out + (size_t)b * block_bytes(k));
    }
}

/* ---- bf16, in one pass ------------------------------------------------------- */

#if LANES >= 8

/* Of each half of a block of bf16 the even elements and then the odd ones, which takes one
 * operation each. */
typedef struct split {
    __m256 v[4];
} split;

INLINED split load_split(const unsigned char *bf16)
{
    const __m256i high = _mm256_set1_epi32(-65536);
    const __m256i a = _mm256_loadu_si256((const void *)bf16);
    const __m256i b = _mm256_loadu_si256((const void *)(bf16 + 32));

    return (split){{(__m256)_mm256_slli_epi32(a, 16), (__m256)_mm256_and_si256(a, high),
                    (__m256)_mm256_slli_epi32(b, 16), (__m256)_mm256_and_si256(b, high)}};
}

/* Whole numbers, in the places of a half, that fit 16 bits: in order. */
INLINED __m256i joined(__m256i even, __m256i odd)
{
    return _mm256_blend_epi16(even, _mm256_slli_epi32(odd, 16), 0xAA);
}

/* What gk_kernels' measure() adds up in f32 over so many weights. */
enum { RUN_BLOCKS = 128 / WIDTH };

typedef struct costs {
    __m256 error[2], square[2]; /* of even and odd elements mod 16 */
} costs;

INLINED void add_cost(costs *c, int parity, __m256 w, __m256 v)
{
    const __m256 d = w - v;

    c->error[parity] += d * d;
    c->square[parity] += w * w;
}

/* Lanes 8 and then 4 apart are added: those of even elements are 0 2 4 6, 8 10 12 14. */
INLINED __m128 two_sums(__m256 a)
{
    const __m128 four = _mm256_castps256_ps128(a) + _mm256_extractf128_ps(a, 1);

    return four + _mm_movehl_ps(four, four);
}

INLINED void add_in_order(const __m256 lane[2], double sum[4])
{
    const __m256d four = _mm256_cvtps_pd(_mm_unpacklo_ps(two_sums(lane[0]), two_sums(lane[1])));

    _mm256_storeu_pd(sum, _mm256_loadu_pd(sum) + four);
}

INLINED void add_costs(costs *c, gk_error_sums *sums)
{
    add_in_order(c->error, sums->error);
    add_in_order(c->square, sums->square);
    *c = (costs){{{0}, {0}}, {{0}, {0}}};
}

/* The least of 16 unsigned numbers. */
INLINED unsigned least_word(__m256i a)
{
    const __m128i b = _mm_min_epu16(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));

    return (unsigned)_mm_cvtsi128_si32(_mm_minpos_epu16(b)) & 0xFFFF;
}

static inline float from_bf16(unsigned bits)
{
    const uint32_t wide = bits << 16;
    float x;

    memcpy(&x, &wide, sizeof x);
    return x;
}

/* The largest magnitude of a block. */
static inline float peak_bf16(const unsigned char *bf16)
{
    const __m256i mask = _mm256_set1_epi16(0x7FFF);
    const __m256i a = _mm256_and_si256(_mm256_loadu_si256((const void *)bf16), mask);
    const __m256i b = _mm256_and_si256(_mm256_loadu_si256((const void *)(bf16 + 32)), mask);

    return from_bf16(least_word(_mm256_xor_si256(_mm256_max_epi16(a, b), mask)) ^ 0x7FFF);
}

/* The elements of the largest magnitude of either sign, where there is one; else the largest of
 * the other: as signed numbers the largest bits are those of the largest that is positive, as
 * unsigned ones those of the least. */
static inline void ends_bf16(const unsigned char *bf16, float *lo, float *hi)
{
    const __m256i a = _mm256_loadu_si256((const void *)bf16);
    const __m256i b = _mm256_loadu_si256((const void *)(bf16 + 32));
    const __m256i top = _mm256_xor_si256(_mm256_max_epi16(a, b), _mm256_set1_epi16(0x7FFF));
    const __m256i low = _mm256_xor_si256(_mm256_max_epu16(a, b), _mm256_set1_epi16(-1));

    *hi = from_bf16(least_word(top) ^ 0x7FFF);
    *lo = from_bf16(least_word(low) ^ 0xFFFF);
}

/* signed_bounds() of bf16. */
static inline void signed_bounds_bf16(const unsigned char *bf16, float *lo, float *hi)
{
    ends_bf16(bf16, lo, hi);
    if (*lo < 0 && *hi > 0)
        return;
    float x[WIDTH];
    floats_of(bf16, x);
    signed_bounds(x, lo, hi);
}

/* The scales as they are stored, and as they are read again. */
typedef struct stored {
    uint16_t bits[MOST_BLOCKS];
    float value[MOST_BLOCKS];
} stored;

INLINED void store_scales(const float x[MOST_BLOCKS], stored *s)
{
    for (int b = 0; b < MOST_BLOCKS; b += 8) {
        const __m128i h = _mm256_cvtps_ph(_mm256_loadu_ps(x + b), _MM_FROUND_TO_NEAREST_INT);
        _mm_storeu_si128((void *)(s->bits + b), h);
        _mm256_storeu_ps(s->value + b, _mm256_cvtph_ps(h));
    }
}

/* Bytes 0 .. 31 from two halves of 16 numbers that fit them. */
INLINED __m256i bytes_of(__m256i low, __m256i high)
{
    return _mm256_permute4x64_epi64(_mm256_packs_epi16(low, high), 0xD8);
}

/* Codes of a block in the order of its halves: two of 16, as 16-bit numbers. */
OF_KIND void put_codes(nibbles k, __m256i low, __m256i high, unsigned char *out)
{
    const __m256i mask = _mm256_set1_epi16(15);

    if (k.bits == 5) {
        const int fifth = _mm256_movemask_epi8(_mm256_slli_epi16(bytes_of(low, high), 3));
        memcpy(out + high_at(k), &fifth, sizeof fifth);
        low = _mm256_and_si256(low, mask);
        high = _mm256_and_si256(high, mask);
    }
    const __m256i both = _mm256_or_si256(low, _mm256_slli_epi16(high, 4));
    const __m128i bytes = _mm_packus_epi16(_mm256_castsi256_si128(both),
                                           _mm256_extracti128_si256(both, 1));
    memcpy(out + codes_at(k), &bytes, sizeof bytes);
}

/* Block b of a batch, as encode_plain() and decode() do it. */
OF_KIND void encode_split(nibbles k, const unsigned char *bf16, const plain *p, int b,
                          const stored *d, const stored *m, costs *c, unsigned char *out)
{
    const int half = 1 << (k.bits - 1), top = 2 * half - 1;
    const bool usable = is_usable(p, b);
    const __m256 by = _mm256_set1_ps(usable ? p->id[b] : 0);
    const __m256 from = _mm256_set1_ps(usable ? p->from[b] : 0);
    const __m256 add = _mm256_set1_ps(!usable ? 0 : k.affine ? 0.5f : (float)half + 0.5f);
    const __m256 zero = _mm256_set1_ps(k.affine ? 0 : (float)half);
    const __m256 scale = _mm256_set1_ps(d->value[b]), offset = _mm256_set1_ps(m->value[b]);
    const split x = load_split(bf16);
    __m256i q[4];

    for (int i = 0; i < 4; i++) {
        __m256 y = x.v[i];
        if (k.affine)
            y -= from;
        q[i] = _mm256_cvttps_epi32(_mm256_min_ps(y * by + add, _mm256_set1_ps((float)top)));
        y = _mm256_cvtepi32_ps(q[i]) - zero;
        add_cost(c, i % 2, x.v[i], k.affine ? y * scale + offset : y * scale);
    }
    memcpy(out, &d->bits[b], 2);
    if (k.affine)
        memcpy(out + 2, &m->bits[b], 2);
    put_codes(k, joined(q[0], q[1]), joined(q[2], q[3]), out);
}

OF_KIND void encode_once(nibbles k, const void *w, uint64_t n, unsigned char *out,
                         gk_error_sums *sums)
{
    const int half = 1 << (k.bits - 1), top = 2 * half - 1;
    const unsigned char *bf16 = w;
    costs c = {{{0}, {0}}, {{0}, {0}}};

    for (uint64_t left = n / WIDTH, take; left > 0; left -= take) {
        float lo[MOST_BLOCKS] = {0}, hi[MOST_BLOCKS] = {0};
        plain p = {{0}, {0}, {0}};
        stored d, m;
        take = left < MOST_BLOCKS ? left : MOST_BLOCKS;
        for (uint64_t b = 0; b < take; b++)
            (k.affine ? signed_bounds_bf16 : ends_bf16)(bf16 + b * WIDTH * 2, &lo[b], &hi[b]);
        if (!k.affine)
            choose_extremes(lo, hi, NULL, bf16, (int)take, &p);
        for (uint64_t b = 0; k.affine && b < take; b++) {
            p.from[b] = lo[b];
            p.d[b] = hi[b] - lo[b];
        }
        divide(&p, k.affine ? (float)top : (float)-half);
        store_scales(p.d, &d);
        store_scales(p.from, &m);
        for (uint64_t b = 0; b < take; b++, bf16 += WIDTH * 2, out += block_bytes(k)) {
            encode_split(k, bf16, &p, (int)b, &d, &m, &c, out);
            if (b % RUN_BLOCKS == RUN_BLOCKS - 1 || b == take - 1)
                add_costs(&c, sums);
        }
    }
}

#endif

/* ---- the search ------------------------------------------------------------- */

static float mean_square(const float *x, uint64_t n)
{
    float sum = 0;

    for (uint64_t i = 0; i < n; i++)
        sum += x[i] * x[i];
    return sum / (float)n;
}

/* Encodes n_blocks, at most MOST_BLOCKS, which are searched side by side. */
static inline void encode_searched(nibbles k, const float *x, const float *importance, float mean,
                                   int n_blocks, unsigned char *out)
{
    const int half = 1 << (k.bits - 1);
    const gk_affine how = {WIDTH, 2 * half - 1, -0.9f, 0.05f, 36, false, false};
    float w[MOST_BLOCKS * WIDTH];
    uint8_t code[MOST_BLOCKS * WIDTH];
    gk_symmetric_fit scales[MOST_BLOCKS];
    gk_affine_fit found[MOST_BLOCKS] = {{0}};

    for (int i = 0; i < n_blocks * WIDTH; i++)
        w[i] = importance[i] * sqrtf(mean + x[i] * x[i]);
    if (k.affine)
        gk_search_affine(&how, n_blocks, x, w, found);
    else
        gk_search_symmetric(x, w, n_blocks, WIDTH, half, scales);
    for (int b = 0; b < n_blocks; b++)
        if (k.affine) {
            gk_search_affine_codes(&how, x + b * WIDTH, &found[b], code + b * WIDTH);
        } else {
            gk_search_symmetric_codes(x + b * WIDTH, WIDTH, half, &scales[b], code + b * WIDTH);
            found[b].scale = scales[b].scale;
        }
    for (int b = 0; b < n_blocks; b++)
        put_block(k, (fit){found[b].scale, -found[b].min}, code + b * WIDTH,
                  out + (size_t)b * block_bytes(k));
}

/* ---- rows ------------------------------------------------------------------- */

OF_KIND void encode(nibbles k, const float *x, uint64_t n, const float *importance,
                    unsigned char *out)
{
    const uint64_t n_blocks = n / WIDTH;
    const float mean = importance == NULL ? 0 : mean_square(x, n);

    for (uint64_t b = 0, take; b < n_blocks; b += take) {
        take = n_blocks - b < MOST_BLOCKS ? n_blocks - b : MOST_BLOCKS;
        if (importance == NULL)
            encode_plain(k, x + b * WIDTH, (int)take, out + b * block_bytes(k));
        else
            encode_searched(k, x + b * WIDTH, importance + b * WIDTH, mean, (int)take,
                            out + b * block_bytes(k));
    }
}

OF_KIND void decode(nibbles k, const unsigned char *in, uint64_t n, float *out)
{
    const int zero = k.affine ? 0 : 1 << (k.bits - 1);
    uint8_t code[WIDTH];

    for (uint64_t b = 0; b < n / WIDTH; b++, in += block_bytes(k), out += WIDTH) {
        const float d = gk_load_f16(in), m = k.affine ? gk_load_f16(in + 2) : 0;
        take_codes(k, in, code);
        for (int i = 0; i < WIDTH; i += LANES) {
            const lanes v = (load_bytes(code + i) - (float)zero) * d;
            store_lanes(k.affine ? v + m : v, out + i); /* adding 0 would lose the sign of -0 */
        }
    }
}

static inline bool valid(nibbles k, const unsigned char *in, uint64_t n)
{
    for (uint64_t b = 0; b < n / WIDTH; b++, in += block_bytes(k))
        if (!gk_finite_f16(in) || (k.affine && !gk_finite_f16(in + 2)))
            return false;
    return true;
}

/* The functions and the row of one type. */
#if LANES >= 8
#define ONCE(kind)                                                                                 \
    static void encode_once_##kind(const void *w, uint64_t n, unsigned char *out,                  \
                                   gk_error_sums *sums)                                            \
    {                                                                                              \
        encode_once(kind, w, n, out, sums);                                                        \
    }
#define ENCODE_ONCE(kind) encode_once_##kind
#else
#define ONCE(kind)
#define ENCODE_ONCE(kind) NULL
#endif
#define TYPE(kind, KIND)                                                                           \
    static void encode_##kind(const float *x, uint64_t n, const float *importance,                 \
                              unsigned char *out)                                                  \
    {                                                                                              \
        encode(kind, x, n, importance, out);                                                       \
    }                                                                                              \
    static void decode_##kind(const unsigned char *in, uint64_t n, float *out)                     \
    {                                                                                              \
        decode(kind, in, n, out);                                                                  \
    }                                                                                              \
    static bool valid_##kind(const unsigned char *in, uint64_t n) { return valid(kind, in, n); }   \
    ONCE(kind)                                                                                     \
    const gk_blocks GK_BLOCKS_NAME(gk_blocks_##kind) = {                                           \
        .dtype = KIND,                                                                             \
        .encode = encode_##kind,                                                                   \
        .encode_bf16 = ENCODE_ONCE(kind),                                                          \
        .decode = decode_##kind,                                                                   \
        .valid = valid_##kind,                                                                     \
        .whole_row_with_importance = true,                                                         \
    }

TYPE(q4_0, GK_Q4_0);
TYPE(q4_1, GK_Q4_1);
TYPE(q5_0, GK_Q5_0);
TYPE(q5_1, GK_Q5_1);

/* ---- Q8_0 ------------------------------------------------------------------- */

typedef struct q8_0 {
    unsigned char d[2];
    int8_t q[WIDTH];
} q8_0;

_Static_assert(sizeof(q8_0) == 2 + 32, "Q8_0 is an f16 and 32 bytes");

#if LANES >= 8
/* To nearest, ties away from zero. */
INLINED __m256i rounded_away(__m256 x)
{
    /* the float below 0.5: with it no sum is rounded up to the next whole number too early */
    const __m256 half = _mm256_set1_ps(0.49999997f), sign = _mm256_set1_ps(-0.0f);

    return _mm256_cvttps_epi32(x + _mm256_or_ps(_mm256_and_ps(x, sign), half));
}
#endif

/* q = x * id to nearest, ties away from zero. */
static inline void nearest_bytes(const float *x, float id, int8_t *out)
{
#if LANES >= 8
    __m256i q[4];

    for (int i = 0; i < 4; i++)
        q[i] = rounded_away(load_halves(x, i) * _mm256_set1_ps(id));
    const __m256i bytes = to_bytes(q, true);
    memcpy(out, &bytes, sizeof bytes);
#else
    for (int i = 0; i < WIDTH; i++) {
        const float v = x[i] * id;
        const int whole = (int)v;
        const float rest = v - (float)whole; /* exact */
        out[i] = (int8_t)(whole + (rest >= 0.5f) - (rest <= -0.5f));
    }
#endif
}

static void encode_q8_0(const float *x, uint64_t n, const float *importance, unsigned char *out)
{
    const uint64_t n_blocks = n / WIDTH;
    (void)importance;
    for (uint64_t first = 0, take; first < n_blocks; first += take) {
        plain p;
        memset(p.d, 0, sizeof p.d);
        take = n_blocks - first < MOST_BLOCKS ? n_blocks - first : MOST_BLOCKS;
        for (uint64_t b = 0; b < take; b++) {
            float lo, hi;
            bounds(x + b * WIDTH, &lo, &hi);
            p.d[b] = fabsf(hi > -lo ? hi : -lo);
        }
        divide(&p, 127.0f);
        for (uint64_t b = 0; b < take; b++, x += WIDTH, out += sizeof(q8_0)) {
            q8_0 block = {{0}, {0}};
            gk_store_f16(block.d, p.d[b]);
            if (is_usable(&p, (int)b))
                nearest_bytes(x, p.id[b], block.q);
            memcpy(out, &block, sizeof block);
        }
    }
}

#if LANES >= 8
INLINED void encode_split_q8_0(const unsigned char *bf16, float id, float d, costs *c, int8_t *out)
{
    const __m256 by = _mm256_set1_ps(id), scale = _mm256_set1_ps(d);
    const split x = load_split(bf16);
    __m256i q[4];

    for (int i = 0; i < 4; i++) {
        q[i] = rounded_away(x.v[i] * by);
        add_cost(c, i % 2, x.v[i], _mm256_cvtepi32_ps(q[i]) * scale);
    }
    const __m256i bytes = bytes_of(joined(q[0], q[1]), joined(q[2], q[3]));
    memcpy(out, &bytes, sizeof bytes);
}

static void encode_once_q8_0(const void *w, uint64_t n, unsigned char *out, gk_error_sums *sums)
{
    const unsigned char *bf16 = w;
    costs c = {{{0}, {0}}, {{0}, {0}}};

    for (uint64_t left = n / WIDTH, take; left > 0; left -= take) {
        plain p = {{0}, {0}, {0}};
        stored d;
        take = left < MOST_BLOCKS ? left : MOST_BLOCKS;
        for (uint64_t b = 0; b < take; b++)
            p.d[b] = peak_bf16(bf16 + b * WIDTH * 2);
        divide(&p, 127.0f);
        store_scales(p.d, &d);
        for (uint64_t b = 0; b < take; b++, bf16 += WIDTH * 2, out += sizeof(q8_0)) {
            memcpy(out, &d.bits[b], 2);
            encode_split_q8_0(bf16, is_usable(&p, (int)b) ? p.id[b] : 0, d.value[b], &c,
                              (int8_t *)out + 2);
            if (b % RUN_BLOCKS == RUN_BLOCKS - 1 || b == take - 1)
                add_costs(&c, sums);
        }
    }
}
#define ENCODE_ONCE_Q8_0 encode_once_q8_0
#else
#define ENCODE_ONCE_Q8_0 NULL
#endif

static void decode_q8_0(const unsigned char *in, uint64_t n, float *out)
{
    for (uint64_t b = 0; b < n / WIDTH; b++, out += WIDTH) {
        q8_0 block;
        memcpy(&block, in + b * sizeof block, sizeof block);
        const float d = gk_load_f16(block.d);
        for (int i = 0; i < WIDTH; i += LANES)
            store_lanes(load_signed_bytes(block.q + i) * d, out + i);
    }
}

static bool valid_q8_0(const unsigned char *in, uint64_t n)
{
    for (uint64_t b = 0; b < n / WIDTH; b++)
        if (!gk_finite_f16(in + b * sizeof(q8_0)))
            return false;
    return true;
}

const gk_blocks GK_BLOCKS_NAME(gk_blocks_q8_0) = {
    .dtype = GK_Q8_0,
    .encode = encode_q8_0,
    .encode_bf16 = ENCODE_ONCE_Q8_0,
    .decode = decode_q8_0,
    .valid = valid_q8_0,
};
