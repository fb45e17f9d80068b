/* quant/kernels_lanes.h - 16 floats side by side, for the text of the kernels.
 *
 * KERNELS_VECTOR: GCC vector types and intrinsics of the instruction set that is compiled for;
 * else arrays and plain loops, which are the specification. */
#include <string.h>

#include "quant/kernels.h"

#define INLINED static inline __attribute__((always_inline))

#define LANES 16
#define RUN   128 /* weights whose sums stay in f32 */
#define MOST_COST (UINT32_C(1) << 26)
#define MAGIC 12582912.0f /* 1.5 * 2^23: adding it rounds |x| < 2^22 to even */

/* ---- lanes ----------------------------------------------------------------- */

#ifdef KERNELS_VECTOR
/* lanes never cross a call: everything that takes or returns them is inlined */
#pragma GCC diagnostic ignored "-Wpsabi"
#include <immintrin.h>
#ifdef __AVX512F__
#define UNIT 64 /* bytes of a register */
#define MIN_PS _mm512_min_ps
#define MAX_PS _mm512_max_ps
#define LOAD_PD(p) _mm512_cvtps_pd(_mm256_loadu_ps(p))
typedef __m512 unit;
typedef __m512d wide;
#else
#define UNIT 32
#define MIN_PS _mm256_min_ps
#define MAX_PS _mm256_max_ps
#define LOAD_PD(p) _mm256_cvtps_pd(_mm_loadu_ps(p))
typedef __m256 unit;
typedef __m256d wide;
#endif

typedef int32_t unit_bits __attribute__((vector_size(UNIT)));

/* Whole registers: GCC keeps a vector that is wider than one on the stack. */
#define UNITS (LANES * 4 / UNIT)
typedef struct lanes {
    unit u[UNITS];
} lanes;

#define EACH(expr)                    \
    lanes r_;                         \
    for (int i = 0; i < UNITS; i++)   \
        r_.u[i] = (expr);             \
    return r_
static inline unit load_unit(const float *p)
{
    unit a;
    memcpy(&a, p, sizeof a);
    return a;
}
static inline lanes load(const float *p) { EACH(load_unit(p + i * UNIT / 4)); }
static inline lanes splat(float x) { EACH(x - (unit){0}); }
static inline lanes add(lanes a, lanes b) { EACH(a.u[i] + b.u[i]); }
static inline lanes sub(lanes a, lanes b) { EACH(a.u[i] - b.u[i]); }
static inline lanes mul(lanes a, lanes b) { EACH(a.u[i] * b.u[i]); }
static inline lanes div16(lanes a, lanes b) { EACH(a.u[i] / b.u[i]); }
/* the instructions compute a < b ? a : b (a > b ? a : b), NaN included */
static inline lanes lower(lanes a, lanes b) { EACH(MIN_PS(a.u[i], b.u[i])); }
static inline lanes upper(lanes a, lanes b) { EACH(MAX_PS(a.u[i], b.u[i])); }
static inline lanes absolute(lanes a) { EACH((unit)((unit_bits)a.u[i] & INT32_MAX)); }
#undef EACH
static inline bool any_above(lanes a, lanes b)
{
#ifdef __AVX512F__
    return _mm512_cmp_ps_mask(a.u[0], b.u[0], _CMP_GT_OQ) != 0;
#else
    return _mm256_movemask_ps(_mm256_or_ps(_mm256_cmp_ps(a.u[0], b.u[0], _CMP_GT_OQ),
                                           _mm256_cmp_ps(a.u[1], b.u[1], _CMP_GT_OQ))) != 0;
#endif
}
static inline void store(lanes a, float *out)
{
    for (int i = 0; i < UNITS; i++)
        memcpy(out + i * UNIT / 4, &a.u[i], UNIT);
}
/* bf16: with registers of eight, the even ones and then the odd ones, which takes one
 * operation each; what is called paired puts codes and sums in their place. */
static inline lanes load_bf16(const void *p)
{
#ifdef __AVX512F__
    const __m512i w = _mm512_cvtepu16_epi32(_mm256_loadu_si256(p));
    return (lanes){{(unit)_mm512_slli_epi32(w, 16)}};
#else
    const __m256i w = _mm256_loadu_si256(p);
    return (lanes){{(unit)_mm256_slli_epi32(w, 16),
                    (unit)_mm256_and_si256(w, _mm256_set1_epi32(-65536))}};
#endif
}
/* sum += lanes in the order of gk_error_sums */
static inline void add_four(__m128 four, double sum[4])
{
    _mm256_storeu_pd(sum, _mm256_loadu_pd(sum) + _mm256_cvtps_pd(four));
}
static inline __m128 half_added(__m256 a)
{
    return _mm256_castps256_ps128(a) + _mm256_extractf128_ps(a, 1);
}
static inline void add_wide(lanes a, double sum[4])
{
#ifdef __AVX512F__
    add_four(half_added(_mm512_castps512_ps256(a.u[0]) + _mm512_extractf32x8_ps(a.u[0], 1)), sum);
#else
    add_four(half_added(a.u[0] + a.u[1]), sum);
#endif
}
static inline void add_wide_paired(lanes a, double sum[4])
{
#ifdef __AVX512F__
    add_wide(a, sum);
#else
    const __m128 even = half_added(a.u[0]), odd = half_added(a.u[1]);
    add_four(_mm_unpacklo_ps(even + _mm_movehl_ps(even, even), odd + _mm_movehl_ps(odd, odd)), sum);
#endif
}
/* The bits of floats under a mask of 16. */
static inline void store_low_bits(lanes a, int mask, uint16_t *out)
{
#ifdef __AVX512F__
    const __m512i low = _mm512_and_si512((__m512i)a.u[0], _mm512_set1_epi32(mask));
    const __m256i c = _mm512_cvtepi32_epi16(low);
#else
    const __m256i m = _mm256_set1_epi32(mask), x = _mm256_and_si256((__m256i)a.u[0], m);
    const __m256i mixed = _mm256_packus_epi32(x, _mm256_and_si256((__m256i)a.u[1], m));
    const __m256i c = _mm256_permute4x64_epi64(mixed, 0xD8);
#endif
    memcpy(out, &c, sizeof c);
}
/* The sum of those rows, each element at most 65535. Four rows are loaded as one word: what
 * limits the speed is how many loads there are. */
static inline void add_rows(const gk_costs *from, const uint16_t *row, uint64_t n, uint16_t *sum)
{
    __m256i a = _mm256_setzero_si256(), b = _mm256_setzero_si256();
    uint64_t i = 0, four;

    for (; i + 4 <= n; i += 4) {
        memcpy(&four, row + i, sizeof four);
        for (int k = 0; k < 4; k++, four >>= 16) {
            const __m256i *at = (const void *)from->row[four & 0xFFFF];
            a = _mm256_adds_epu16(a, _mm256_loadu_si256(at));
            b = _mm256_adds_epu16(b, _mm256_loadu_si256(at + 1));
        }
    }
    for (; i < n; i++) {
        const __m256i *at = (const void *)from->row[row[i]];
        a = _mm256_adds_epu16(a, _mm256_loadu_si256(at));
        b = _mm256_adds_epu16(b, _mm256_loadu_si256(at + 1));
    }
    memcpy(sum, &a, sizeof a);
    memcpy(sum + 16, &b, sizeof b);
}
/* The index of the first of the least, each below 2^27. */
static inline int least_of(const uint32_t sum[GK_COST_SCALES])
{
    __m256i index = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7), least = _mm256_set1_epi32(-1);

    for (int k = 0; k < GK_COST_SCALES; k += 8) {
        const __m256i key = _mm256_slli_epi32(_mm256_loadu_si256((const void *)(sum + k)), 5);
        least = _mm256_min_epu32(least, _mm256_or_si256(key, index));
        index = _mm256_add_epi32(index, _mm256_set1_epi32(8));
    }
    __m128i v = _mm_min_epu32(_mm256_castsi256_si128(least), _mm256_extracti128_si256(least, 1));
    v = _mm_min_epu32(v, _mm_shuffle_epi32(v, 0x4E));
    v = _mm_min_epu32(v, _mm_shuffle_epi32(v, 0xB1));
    return _mm_cvtsi128_si32(v) & (GK_COST_SCALES - 1);
}
/* The mantissa of MAGIC + code is code. */
static inline void store_codes(lanes rounded_plus_magic, int8_t *out)
{
#ifdef __AVX512F__
    const __m128i c = _mm512_cvtepi32_epi8((__m512i)rounded_plus_magic.u[0]);
#else
    const __m256i magic = (__m256i)splat(MAGIC).u[0];
    const __m256i a = _mm256_sub_epi32((__m256i)rounded_plus_magic.u[0], magic);
    const __m256i b = _mm256_sub_epi32((__m256i)rounded_plus_magic.u[1], magic);
    const __m128i c = _mm_packs_epi16(
        _mm_packs_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1)),
        _mm_packs_epi32(_mm256_castsi256_si128(b), _mm256_extracti128_si256(b, 1)));
#endif
    memcpy(out, &c, sizeof c);
}
static inline void store_paired_codes(lanes rounded_plus_magic, int8_t *out)
{
#ifdef __AVX512F__
    store_codes(rounded_plus_magic, out);
#else
    /* the low half of MAGIC is zero */
    const __m256i odd = _mm256_slli_epi32((__m256i)rounded_plus_magic.u[1], 16);
    const __m256i c = _mm256_blend_epi16((__m256i)rounded_plus_magic.u[0], odd, 0xAA);
    const __m128i b = _mm_packs_epi16(_mm256_castsi256_si128(c), _mm256_extracti128_si256(c, 1));
    memcpy(out, &b, sizeof b);
#endif
}
#else
typedef struct lanes {
    float v[LANES];
} lanes;

#define EACH(expr)                    \
    lanes r_;                         \
    for (int i = 0; i < LANES; i++)   \
        r_.v[i] = (expr);             \
    return r_
static inline lanes load(const float *p) { EACH(p[i]); }
static inline lanes splat(float x) { EACH(x); }
static inline lanes add(lanes a, lanes b) { EACH(a.v[i] + b.v[i]); }
static inline lanes sub(lanes a, lanes b) { EACH(a.v[i] - b.v[i]); }
static inline lanes mul(lanes a, lanes b) { EACH(a.v[i] * b.v[i]); }
static inline lanes div16(lanes a, lanes b) { EACH(a.v[i] / b.v[i]); }
static inline lanes lower(lanes a, lanes b) { EACH(a.v[i] < b.v[i] ? a.v[i] : b.v[i]); }
static inline lanes upper(lanes a, lanes b) { EACH(a.v[i] > b.v[i] ? a.v[i] : b.v[i]); }
#undef EACH
static inline void store(lanes a, float *out) { memcpy(out, a.v, sizeof a.v); }
static inline lanes load_bf16(const void *p)
{
    lanes r;

    for (int i = 0; i < LANES; i++) {
        uint16_t h;
        memcpy(&h, (const unsigned char *)p + 2 * i, 2);
        const uint32_t bits = (uint32_t)h << 16;
        memcpy(&r.v[i], &bits, 4);
    }
    return r;
}
static inline void add_wide(lanes a, double sum[4])
{
    for (int i = 0; i < 4; i++)
        sum[i] += (double)((a.v[i] + a.v[i + 8]) + (a.v[i + 4] + a.v[i + 12]));
}
static inline void add_wide_paired(lanes a, double sum[4]) { add_wide(a, sum); }
static inline void store_low_bits(lanes a, int mask, uint16_t *out)
{
    for (int i = 0; i < LANES; i++) {
        uint32_t bits;
        memcpy(&bits, &a.v[i], 4);
        out[i] = (uint16_t)(bits & (uint32_t)mask);
    }
}
static inline void add_rows(const gk_costs *from, const uint16_t *row, uint64_t n, uint16_t *sum)
{
    memset(sum, 0, GK_COST_SCALES * sizeof *sum);
    for (uint64_t i = 0; i < n; i++)
        for (int k = 0; k < GK_COST_SCALES; k++) {
            const uint32_t more = (uint32_t)sum[k] + from->row[row[i]][k];
            sum[k] = more < 65535 ? (uint16_t)more : 65535;
        }
}
static inline int least_of(const uint32_t sum[GK_COST_SCALES])
{
    int least = 0;

    for (int k = 1; k < GK_COST_SCALES; k++)
        least = sum[k] < sum[least] ? k : least;
    return least;
}
static inline void store_codes(lanes rounded_plus_magic, int8_t *out)
{
    for (int i = 0; i < LANES; i++) {
        uint32_t bits;
        memcpy(&bits, &rounded_plus_magic.v[i], 4);
        out[i] = (int8_t)(uint8_t)bits; /* the low byte of the mantissa is the code */
    }
}
static inline void store_paired_codes(lanes a, int8_t *out) { store_codes(a, out); }
#endif

/* The last n < LANES floats, zeros after them: they add nothing to any sum. */
static inline lanes load_tail(const float *p, uint64_t n)
{
    float room[LANES] = {0};
    memcpy(room, p, n * sizeof *p);
    return load(room);
}

/* The sum of all lanes in double: four by four, then the four. */
static inline double fold(lanes a)
{
    float v[LANES];
    double sum[4] = {0};

    store(a, v);
#ifdef KERNELS_VECTOR
    __m256d four = _mm256_cvtps_pd(_mm_loadu_ps(v));
    for (int i = 4; i < LANES; i += 4)
        four += _mm256_cvtps_pd(_mm_loadu_ps(v + i));
    memcpy(sum, &four, sizeof sum);
#else
    for (int i = 0; i < LANES; i++)
        sum[i % 4] += (double)v[i];
#endif
    return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}
