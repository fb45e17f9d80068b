/* quant/kernels_body.h - the text of every kernel, over lanes of 16 floats.
 *
 * Included by kernels_scalar.c (lanes are arrays, operations plain loops) and by
 * kernels_avx2.c and kernels_avx512.c (lanes are GCC vector types). KERNELS names
 * the table that comes out. Operations on lanes are IEEE single operations, one
 * lane at a time; nothing is fused or reordered. */
#include <math.h>
#include <string.h>

#include "quant/kernels_lanes.h"

/* ---- conversions ------------------------------------------------------------ */

static void bf16_to_f32(const void *in, uint64_t n, float *out)
{
    const unsigned char *p = in;
    for (uint64_t i = 0; i < n; i++) {
        uint16_t h;
        memcpy(&h, p + 2 * i, 2);
        const uint32_t bits = (uint32_t)h << 16;
        memcpy(&out[i], &bits, 4);
    }
}

static void f32_to_bf16(const float *in, uint64_t n, void *out)
{
    unsigned char *p = out;
    for (uint64_t i = 0; i < n; i++) {
        uint32_t u;
        memcpy(&u, &in[i], 4);
        const uint32_t even = (u + 0x7FFFu + ((u >> 16) & 1)) >> 16;
        const uint32_t nan = (u >> 16) | 0x40;
        const uint16_t h = (uint16_t)((u & 0x7FFFFFFFu) > 0x7F800000u ? nan : even);
        memcpy(p + 2 * i, &h, 2);
    }
}

static inline float half_to_float(uint16_t h)
{
    const uint32_t sign = (uint32_t)(h & 0x8000u) << 16, rest = h & 0x7FFFu;
    uint32_t bits = sign | (rest << 13);
    float f;

    if (rest >= 0x7C00u) {
        bits += (uint32_t)(255 - 31) << 23; /* infinity and NaN */
    } else if (rest >= 0x0400u) {
        bits += (uint32_t)(127 - 15) << 23;
    } else { /* subnormal: rest * 2^-24, exact */
        f = (float)rest * 5.9604644775390625e-8f;
        memcpy(&bits, &f, 4);
        bits |= sign;
    }
    memcpy(&f, &bits, 4);
    return f;
}

static inline void halves_to_floats(const unsigned char *p, uint64_t n, float *out)
{
    for (uint64_t i = 0; i < n; i++) {
        uint16_t h;
        memcpy(&h, p + 2 * i, 2);
        out[i] = half_to_float(h);
    }
}

static void f16_to_f32(const void *in, uint64_t n, float *out)
{
    const unsigned char *p = in;
    uint64_t i = 0;
#ifdef KERNELS_VECTOR
    for (; i + 8 <= n; i += 8) {
        const __m256 f = _mm256_cvtph_ps(_mm_loadu_si128((const void *)(p + 2 * i)));
        _mm256_storeu_ps(out + i, f);
        if (_mm256_movemask_ps(_mm256_cmp_ps(f, f, _CMP_UNORD_Q)) != 0)
            halves_to_floats(p + 2 * i, 8, out + i); /* a signalling NaN was made quiet */
    }
#endif
    halves_to_floats(p + 2 * i, n - i, out + i);
}

static inline uint16_t float_to_half(float f)
{
    uint32_t u;
    memcpy(&u, &f, 4);
    const uint32_t sign = (u >> 16) & 0x8000u, rest = u & 0x7FFFFFFFu;

    if (rest > 0x7F800000u)
        return (uint16_t)(sign | 0x7E00u | ((rest >> 13) & 0x3FFu));
    if (rest >= 0x477FF000u) /* rounds past 65504 */
        return (uint16_t)(sign | 0x7C00u);
    if (rest >= 0x38800000u)
        return (uint16_t)(sign | ((rest + 0xFFFu + ((rest >> 13) & 1) - 0x38000000u) >> 13));
    float a; /* subnormal: adding 0.5 leaves rest * 2^24 rounded to even in the mantissa */
    memcpy(&a, &rest, 4);
    a += 0.5f;
    memcpy(&u, &a, 4);
    return (uint16_t)(sign | (u - 0x3F000000u));
}

static void f32_to_f16(const float *in, uint64_t n, void *out)
{
    unsigned char *p = out;
    uint64_t i = 0;
#ifdef KERNELS_VECTOR
    for (; i + 8 <= n; i += 8) {
        const __m128i h = _mm256_cvtps_ph(_mm256_loadu_ps(in + i), _MM_FROUND_TO_NEAREST_INT);
        memcpy(p + 2 * i, &h, sizeof h);
    }
#endif
    for (; i < n; i++) {
        const uint16_t h = float_to_half(in[i]);
        memcpy(p + 2 * i, &h, 2);
    }
}

/* ---- NaN and infinity: blocks are searched only when one is in them ----------- */

#define BLOCK 1024

static inline uint64_t nonfinite16(const void *in, uint64_t n, uint16_t exponent)
{
    const unsigned char *p = in;
    for (uint64_t b = 0; b < n; b += BLOCK) {
        const uint64_t end = n - b < BLOCK ? n : b + BLOCK;
        uint16_t hit = 0;
        for (uint64_t i = b; i < end; i++) {
            uint16_t h;
            memcpy(&h, p + 2 * i, 2);
            hit |= (uint16_t)-((h & exponent) == exponent);
        }
        for (uint64_t i = b; hit != 0 && i < end; i++) {
            uint16_t h;
            memcpy(&h, p + 2 * i, 2);
            if ((h & exponent) == exponent)
                return i;
        }
    }
    return n;
}

static uint64_t nonfinite_bf16(const void *in, uint64_t n) { return nonfinite16(in, n, 0x7F80); }
static uint64_t nonfinite_f16(const void *in, uint64_t n) { return nonfinite16(in, n, 0x7C00); }

static uint64_t nonfinite_f32(const void *in, uint64_t n)
{
    const unsigned char *p = in;
    for (uint64_t b = 0; b < n; b += BLOCK) {
        const uint64_t end = n - b < BLOCK ? n : b + BLOCK;
        uint32_t hit = 0, u;
        for (uint64_t i = b; i < end; i++) {
            memcpy(&u, p + 4 * i, 4);
            hit |= (uint32_t)-((u & 0x7F800000u) == 0x7F800000u);
        }
        for (uint64_t i = b; hit != 0 && i < end; i++) {
            memcpy(&u, p + 4 * i, 4);
            if ((u & 0x7F800000u) == 0x7F800000u)
                return i;
        }
    }
    return n;
}

/* ---- packing ---------------------------------------------------------------- */

static void pack4(const int8_t *code, uint64_t n, unsigned char *out)
{
    for (uint64_t i = 0; i < n / 2; i++) {
        const unsigned even = (unsigned)(code[2 * i] + 8) & 0xF;
        const unsigned odd = (unsigned)(code[2 * i + 1] + 8) & 0xF;
        out[i] = (unsigned char)(even | odd << 4);
    }
}

static void unpack4(const unsigned char *in, uint64_t n, int8_t *code)
{
    for (uint64_t i = 0; i < n / 2; i++) {
        code[2 * i] = (int8_t)((in[i] & 0xF) - 8);
        code[2 * i + 1] = (int8_t)((in[i] >> 4) - 8);
    }
}

static void pack8(const int8_t *code, uint64_t n, unsigned char *out)
{
    for (uint64_t i = 0; i < n; i++)
        out[i] = (unsigned char)((unsigned char)code[i] ^ 0x80u);
}

static void unpack8(const unsigned char *in, uint64_t n, int8_t *code)
{
    for (uint64_t i = 0; i < n; i++)
        code[i] = (int8_t)(in[i] ^ 0x80u);
}

/* ---- codes and values ------------------------------------------------------- */

static void decode(const int8_t *code, uint64_t n, float zero, float scale, float *out)
{
    for (uint64_t i = 0; i < n; i++)
        out[i] = ((float)code[i] - zero) * scale;
}

/* The least of lanes that hold no NaN and no -0, so that their order is of no matter. */
static inline float least(lanes a)
{
#ifdef KERNELS_VECTOR
#ifdef __AVX512F__
    const __m256 half = _mm256_min_ps(_mm512_castps512_ps256(a.u[0]),
                                      _mm512_extractf32x8_ps(a.u[0], 1));
#else
    const __m256 half = _mm256_min_ps(a.u[0], a.u[1]);
#endif
    __m128 v = _mm_min_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
    v = _mm_min_ps(v, _mm_movehl_ps(v, v));
    return _mm_cvtss_f32(_mm_min_ss(v, _mm_shuffle_ps(v, v, 1)));
#else
    float v[LANES];

    store(a, v);
    for (int n = LANES / 2; n > 0; n /= 2)
        for (int k = 0; k < n; k++)
            v[k] = v[k + n] < v[k] ? v[k + n] : v[k];
    return v[0];
#endif
}

static void range(const float *w, uint64_t n, float *lo, float *hi)
{
    lanes low = splat(0), high = splat(0);
    uint64_t i = 0;

    for (; i + LANES <= n; i += LANES) {
        const lanes a = load(w + i);
        low = lower(a, low);
        high = upper(a, high);
    }
    if (i < n) {
        const lanes a = load_tail(w + i, n - i);
        low = lower(a, low);
        high = upper(a, high);
    }
    *lo = least(low);
    *hi = 0.0f - least(sub(splat(0), high)); /* never -0 */
}

/* A NaN or an infinity among the inputs is clamped to a bound, never undefined. */
static inline lanes clamp(lanes x, lanes lo, lanes hi)
{
    return lower(upper(x, lo), hi);
}

static void peaks_bf16(const void *w, uint64_t group, uint64_t n, uint16_t *peak)
{
    const unsigned char *p = w;

    for (uint64_t b = 0; b < n; b += group, peak++) {
        const uint64_t end = n - b < group ? n : b + group;
        uint16_t most = 0;
        for (uint64_t i = b; i < end; i++) {
            uint16_t h;
            memcpy(&h, p + 2 * i, 2);
            h &= 0x7FFF;
            most = h > most ? h : most;
        }
        *peak = most;
    }
}

typedef struct encoding {
    lanes scale, inverse, zero, lo, hi;
    lanes sure; /* a rounding by no more than this is that of the quotient */
    lanes error, square; /* of RUN weights at most */
} encoding;

/* How codes are bounded: in most groups nothing rounds to less than the first. */
typedef enum bounds { BOTH, TOP, BOTH_AND_ZERO } bounds;

static inline encoding encoding_of(float scale, const gk_grid *g)
{
    const float hi = g->hi, size = scale < 0 ? -scale : scale;
    /* w * (1 / scale) is off by two roundings, w / scale by one, and with a zero point each by
     * one more: 5 * 2^-24 of what is less than 4 * hi, or clamped by far */
    const float sure = size > 0x1p-100f && size < 0x1p100f ? 0.5f - hi * 0x1p-19f : -1;

    return (encoding){splat(scale), splat(1.0f / scale), splat(g->zero), splat(g->lo), splat(hi),
                      splat(sure), splat(0), splat(0)};
}

INLINED lanes bounded(const encoding *e, lanes x, bounds how)
{
    const lanes at = how == BOTH_AND_ZERO ? add(x, e->zero) : x;

    return lower(how == TOP ? at : upper(at, e->lo), e->hi);
}

/* Returns the codes as store_codes() takes them. */
INLINED lanes encode_lanes(encoding *e, lanes w, bounds how)
{
    const lanes magic = splat(MAGIC);
#ifdef KERNELS_VECTOR /* a division takes longer than all the rest */
    lanes x = bounded(e, mul(w, e->inverse), how), rounded = add(x, magic);
    lanes q = sub(rounded, magic);
    if (__builtin_expect(any_above(absolute(sub(x, q)), e->sure), 0)) {
        rounded = add(bounded(e, div16(w, e->scale), how), magic);
        q = sub(rounded, magic);
    }
#else
    const lanes rounded = add(bounded(e, div16(w, e->scale), how), magic);
    const lanes q = sub(rounded, magic);
#endif
    const lanes d = sub(w, mul(how == BOTH_AND_ZERO ? sub(q, e->zero) : q, e->scale));

    e->error = add(e->error, mul(d, d));
    e->square = add(e->square, mul(w, w));
    return rounded;
}

/* The last n < LANES: zeros after them are without error. */
INLINED void encode_tail(encoding *e, const void *w, bool is_bf16, uint64_t n, bounds how,
                         int8_t *code)
{
    int8_t room[LANES];
    uint16_t half[LANES] = {0};

    if (is_bf16) {
        memcpy(half, w, n * sizeof half[0]);
        store_paired_codes(encode_lanes(e, load_bf16(half), how), room);
    } else {
        store_codes(encode_lanes(e, load_tail(w, n), how), room);
    }
    memcpy(code, room, n);
}

INLINED void encode_of(const void *w, bool is_bf16, uint64_t n, float scale, const gk_grid *g,
                       bounds how, int8_t *code, gk_error_sums *sums)
{
    encoding e = encoding_of(scale, g);
    const unsigned char *half = w;
    const float *whole = w;

    for (uint64_t b = 0; b < n; b += RUN) {
        const uint64_t end = n - b < RUN ? n : b + RUN;
        uint64_t i = b;
        e.error = splat(0);
        e.square = splat(0);
        for (; i + LANES <= end; i += LANES)
            if (is_bf16)
                store_paired_codes(encode_lanes(&e, load_bf16(half + 2 * i), how), code + i);
            else
                store_codes(encode_lanes(&e, load(whole + i), how), code + i);
        if (i < end)
            encode_tail(&e, is_bf16 ? (const void *)(half + 2 * i) : whole + i, is_bf16, end - i,
                        how, code + i);
        (is_bf16 ? add_wide_paired : add_wide)(e.error, sums->error);
        (is_bf16 ? add_wide_paired : add_wide)(e.square, sums->square);
    }
}

/* One copy of the loop for each way to bound codes. */
#define ENCODE(is_bf16)                                              \
    do {                                                             \
        if (g->zero != 0)                                            \
            encode_of(w, is_bf16, n, scale, g, BOTH_AND_ZERO, code, sums); \
        else if (g->lo == -INFINITY)                                 \
            encode_of(w, is_bf16, n, scale, g, TOP, code, sums);     \
        else                                                         \
            encode_of(w, is_bf16, n, scale, g, BOTH, code, sums);    \
    } while (0)

static void encode_f32(const float *w, uint64_t n, float scale, const gk_grid *g, int8_t *code,
                       gk_error_sums *sums)
{
    ENCODE(false);
}

static void encode_bf16(const void *w, uint64_t n, float scale, const gk_grid *g, int8_t *code,
                        gk_error_sums *sums)
{
    ENCODE(true);
}

#undef ENCODE

/* ---- searching --------------------------------------------------------------- */

/* The rows of n weights, n at most RUN; any float gives one that exists. */
static inline void cost_rows(const float *w, uint64_t n, float factor, uint16_t *row)
{
    const lanes by = splat(factor), middle = splat(MAGIC + GK_COST_ROWS / 2);

    for (uint64_t i = 0; i < n; i += LANES) {
        const uint64_t left = n - i;
        const lanes a = left < LANES ? load_tail(w + i, left) : load(w + i);
        store_low_bits(add(mul(a, by), middle), GK_COST_ROWS - 1, row + i);
    }
}

static int costs(const float *w, uint64_t n, float factor, const gk_costs *costs, uint32_t *sum)
{
    uint16_t row[RUN], part[GK_COST_SCALES];

    for (uint64_t b = 0; b == 0 || b < n; b += RUN) {
        const uint64_t len = n - b < RUN ? n - b : RUN;
        cost_rows(w + b, len, factor, row);
        add_rows(costs, row, len, part);
        for (int k = 0; k < GK_COST_SCALES; k++) {
            const uint32_t so_far = (b == 0 ? 0 : sum[k]) + part[k];
            sum[k] = so_far < MOST_COST ? so_far : MOST_COST;
        }
    }
    return least_of(sum);
}

/* q - zero for a weight, by the reciprocal; g: lo, hi. Where there is no zero point, adding
 * it could only change the sign of a zero, which no sum shows. */
static inline lanes level(lanes w, lanes inverse, const lanes g[2], const lanes *zero)
{
    const lanes magic = splat(MAGIC), x = mul(w, inverse);
    const lanes q = add(clamp(zero == NULL ? x : add(x, *zero), g[0], g[1]), magic);

    return zero == NULL ? sub(q, magic) : sub(sub(q, magic), *zero);
}

/* Inlined with has_zero, and whether m is NULL, known. */
INLINED void errors_of(const float *w, const float *m, uint64_t len, const gk_grid *grid,
                       const gk_try *try, bool has_zero, double *out)
{
    const lanes g[2] = {splat(grid->lo), splat(grid->hi)};
    lanes zero[GK_TRIES], s[GK_TRIES], inverse[GK_TRIES], sum[GK_TRIES];

    for (int k = 0; k < GK_TRIES; k++) {
        zero[k] = splat(try[k].zero);
        s[k] = splat(try[k].scale);
        inverse[k] = splat(1.0f / try[k].scale);
        sum[k] = splat(0);
    }
    for (uint64_t i = 0; i < len; i += LANES) {
        const uint64_t left = len - i;
        const lanes a = left < LANES ? load_tail(w + i, left) : load(w + i);
        const lanes mass = m == NULL     ? splat(1)
                           : left < LANES ? load_tail(m + i, left)
                                          : load(m + i);
        for (int k = 0; k < GK_TRIES; k++) {
            const lanes q = level(a, inverse[k], g, has_zero ? &zero[k] : NULL);
            const lanes d = sub(a, mul(q, s[k]));
            sum[k] = add(sum[k], m == NULL ? mul(d, d) : mul(mul(d, d), mass));
        }
    }
    for (int k = 0; k < GK_TRIES; k++)
        out[k] = fold(sum[k]);
}

static void errors(const float *w, const float *m, uint64_t n, const gk_grid *grid,
                   const gk_try *try, double *out)
{
    bool has_zero = false;

    for (int k = 0; k < GK_TRIES; k++)
        has_zero |= try[k].zero != 0;
    if (has_zero)
        errors_of(w, m, n, grid, try, true, out);
    else if (m != NULL)
        errors_of(w, m, n, grid, try, false, out);
    else
        errors_of(w, NULL, n, grid, try, false, out);
}

INLINED void fit_of(const float *w, const float *m, uint64_t n, float scale, const gk_grid *grid,
                    bool has_zero, double *wq, double *qq)
{
    const lanes inverse = splat(1.0f / scale), zero = splat(grid->zero);
    const lanes g[2] = {splat(grid->lo), splat(grid->hi)};
    lanes sum_wq = splat(0), sum_qq = splat(0);

    for (uint64_t i = 0; i < n; i += LANES) {
        const uint64_t left = n - i;
        const lanes a = left < LANES ? load_tail(w + i, left) : load(w + i);
        const lanes q = level(a, inverse, g, has_zero ? &zero : NULL); /* 0 past the end */
        if (m == NULL) {
            sum_wq = add(sum_wq, mul(a, q));
            sum_qq = add(sum_qq, mul(q, q));
        } else {
            const lanes mass = left < LANES ? load_tail(m + i, left) : load(m + i);
            sum_wq = add(sum_wq, mul(mul(a, q), mass));
            sum_qq = add(sum_qq, mul(mul(q, q), mass));
        }
    }
    *wq = fold(sum_wq);
    *qq = fold(sum_qq);
}

static void fit(const float *w, const float *m, uint64_t n, float scale, const gk_grid *grid,
                double *wq, double *qq)
{
    if (m == NULL && grid->zero == 0)
        fit_of(w, NULL, n, scale, grid, false, wq, qq);
    else
        fit_of(w, m, n, scale, grid, true, wq, qq);
}

static void measure(const float *w, const float *v, uint64_t n, gk_error_sums *sums)
{
    for (uint64_t b = 0; b < n; b += RUN) {
        const uint64_t end = n - b < RUN ? n : b + RUN;
        lanes error = splat(0), square = splat(0);
        for (uint64_t i = b; i < end; i += LANES) {
            const uint64_t left = end - i;
            const lanes a = left < LANES ? load_tail(w + i, left) : load(w + i);
            const lanes d = sub(a, left < LANES ? load_tail(v + i, left) : load(v + i));
            error = add(error, mul(d, d));
            square = add(square, mul(a, a));
        }
        add_wide(error, sums->error);
        add_wide(square, sums->square);
    }
}

/* ---- figures ------------------------------------------------------------------ */

/* The least and largest magnitude of n > 0, as bits of f32. Floats have the order of their bits. */
INLINED void extremes_of(const unsigned char *w, bool is_bf16, uint64_t n, uint32_t *least,
                         uint32_t *most)
{
    uint16_t low16 = UINT16_MAX, high16 = 0, half;
    uint32_t low = UINT32_MAX, high = 0, whole;

    for (uint64_t i = 0; is_bf16 && i < n; i++) {
        memcpy(&half, w + 2 * i, 2);
        half &= 0x7FFF;
        low16 = half < low16 ? half : low16;
        high16 = half > high16 ? half : high16;
    }
    for (uint64_t i = 0; !is_bf16 && i < n; i++) {
        memcpy(&whole, w + 4 * i, 4);
        whole &= 0x7FFFFFFF;
        low = whole < low ? whole : low;
        high = whole > high ? whole : high;
    }
    *least = is_bf16 ? (uint32_t)low16 << 16 : low;
    *most = is_bf16 ? (uint32_t)high16 << 16 : high;
}

/* By their bits: zeros, and what is below `normal`. */
static void count_small(const unsigned char *w, bool is_bf16, uint64_t n, uint32_t normal,
                        gk_extremes *e)
{
    uint32_t zero = 0, small = 0, whole;
    uint16_t half;

    for (uint64_t i = 0; is_bf16 && i < n; i++) {
        memcpy(&half, w + 2 * i, 2);
        zero += (half & 0x7FFF) == 0;
        small += (uint32_t)(half & 0x7FFF) << 16 < normal;
    }
    for (uint64_t i = 0; !is_bf16 && i < n; i++) {
        memcpy(&whole, w + 4 * i, 4);
        zero += (whole & 0x7FFFFFFF) == 0;
        small += (whole & 0x7FFFFFFF) < normal;
    }
    e->zero += zero;
    e->small += small > zero ? small - zero : 0;
}

INLINED void extremes_in(const unsigned char *w, bool is_bf16, uint64_t n, float normal,
                         gk_extremes *e)
{
    const uint64_t size = is_bf16 ? 2 : 4;
    uint32_t normal_bits, most_bits, least, most;

    memcpy(&normal_bits, &normal, 4);
    memcpy(&most_bits, &e->most, 4);
    for (uint64_t b = 0; b < n; b += BLOCK) {
        const uint64_t len = n - b < BLOCK ? n - b : BLOCK;
        extremes_of(w + b * size, is_bf16, len, &least, &most);
        most_bits = most > most_bits ? most : most_bits;
        if (least < normal_bits || least == 0)
            count_small(w + b * size, is_bf16, len, normal_bits, e);
    }
    memcpy(&e->most, &most_bits, 4);
}

static void extremes_f32(const float *w, uint64_t n, float normal, gk_extremes *e)
{
    extremes_in((const unsigned char *)w, false, n, normal, e);
}

static void extremes_bf16(const void *w, uint64_t n, float normal, gk_extremes *e)
{
    extremes_in(w, true, n, normal, e);
}

static void powers(const float *w, uint64_t n, gk_powers *total)
{
    for (uint64_t b = 0; b < n; b += RUN) {
        const uint64_t end = n - b < RUN ? n : b + RUN;
        lanes sum = splat(0), square = sum, cube = sum, fourth = sum;
        for (uint64_t i = b; i < end; i += LANES) {
            const lanes a = end - i < LANES ? load_tail(w + i, end - i) : load(w + i);
            const lanes s = mul(a, a);
            sum = add(sum, a);
            square = add(square, s);
            cube = add(cube, mul(s, a));
            fourth = add(fourth, mul(s, s));
        }
        add_wide(sum, total->sum);
        add_wide(square, total->square);
        add_wide(cube, total->cube);
        add_wide(fourth, total->fourth);
    }
}

static void add_squares(const float *w, uint64_t n, float *sum)
{
    for (uint64_t i = 0; i < n; i++)
        sum[i] += w[i] * w[i];
}

/* Eight lanes of double: index mod 8. */
static void row_error(const float *w, const float *v, uint64_t n, double *err, double *sum)
{
    double e[8] = {0}, s[8] = {0};
    uint64_t i = 0;

#ifdef KERNELS_VECTOR
    wide ev[64 / UNIT] = {0}, sv[64 / UNIT] = {0};
    for (; i + 8 <= n; i += 8)
        for (int k = 0; k < 64 / UNIT; k++) {
            const wide x = LOAD_PD(w + i + k * UNIT / 8);
            const wide d = x - LOAD_PD(v + i + k * UNIT / 8);
            ev[k] += d * d;
            sv[k] += x * x;
        }
    memcpy(e, ev, sizeof e);
    memcpy(s, sv, sizeof s);
#endif
    for (; i < n; i++) {
        const double x = (double)w[i], d = x - (double)v[i];
        e[i % 8] += d * d;
        s[i % 8] += x * x;
    }
    *err = *sum = 0;
    for (int k = 0; k < 8; k++) {
        *err += e[k];
        *sum += s[k];
    }
}

const gk_kernels KERNELS = {
    .isa = KERNELS_ISA,
    .bf16_to_f32 = bf16_to_f32,
    .f16_to_f32 = f16_to_f32,
    .f32_to_bf16 = f32_to_bf16,
    .f32_to_f16 = f32_to_f16,
    .nonfinite_bf16 = nonfinite_bf16,
    .nonfinite_f16 = nonfinite_f16,
    .nonfinite_f32 = nonfinite_f32,
    .pack4 = pack4,
    .unpack4 = unpack4,
    .pack8 = pack8,
    .unpack8 = unpack8,
    .decode = decode,
    .range = range,
    .peaks_bf16 = peaks_bf16,
    .encode_f32 = encode_f32,
    .encode_bf16 = encode_bf16,
    .costs = costs,
    .errors = errors,
    .fit = fit,
    .measure = measure,
    .extremes_f32 = extremes_f32,
    .extremes_bf16 = extremes_bf16,
    .powers = powers,
    .add_squares = add_squares,
    .row_error = row_error,
};
