/* quant/kernels_body.h - the text of every kernel, over lanes of 16 floats.
 *
 * Included by kernels_scalar.c (lanes are arrays, operations plain loops) and by
 * kernels_avx2.c and kernels_avx512.c (lanes are GCC vector types). KERNELS names
 * the table that comes out. Operations on lanes are IEEE single operations, one
 * lane at a time; nothing is fused or reordered. */
#include <string.h>

#include "quant/kernels.h"

#define LANES 16
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
#undef EACH
static inline void store(lanes a, float *out)
{
    for (int i = 0; i < UNITS; i++)
        memcpy(out + i * UNIT / 4, &a.u[i], UNIT);
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
static inline void store_codes(lanes rounded_plus_magic, int8_t *out)
{
    for (int i = 0; i < LANES; i++) {
        uint32_t bits;
        memcpy(&bits, &rounded_plus_magic.v[i], 4);
        out[i] = (int8_t)(uint8_t)bits; /* the low byte of the mantissa is the code */
    }
}
#endif

/* The last n < LANES floats, zeros after them: they add nothing to any sum. */
static inline lanes load_tail(const float *p, uint64_t n)
{
    float room[LANES] = {0};
    memcpy(room, p, n * sizeof *p);
    return load(room);
}

static inline double fold(lanes a)
{
    float v[LANES];
    double sum = 0;

    store(a, v);
    for (int i = 0; i < LANES; i++)
        sum += (double)v[i];
    return sum;
}

/* fold() of n lanes */
static inline void fold_all(const lanes *a, int n, double *out)
{
#ifdef KERNELS_VECTOR
    if (n == 4) { /* side by side */
        float v[4][LANES];
        __m256d sum = {0};
        for (int k = 0; k < 4; k++)
            store(a[k], v[k]);
        for (int i = 0; i < LANES; i += 4) {
            __m128 r[4];
            for (int k = 0; k < 4; k++)
                r[k] = _mm_loadu_ps(v[k] + i);
            _MM_TRANSPOSE4_PS(r[0], r[1], r[2], r[3]);
            for (int k = 0; k < 4; k++)
                sum += _mm256_cvtps_pd(r[k]);
        }
        memcpy(out, &sum, sizeof sum);
        return;
    }
#endif
    for (int k = 0; k < n; k++)
        out[k] = fold(a[k]);
}

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

static void quantize(const float *w, uint64_t n, float scale, const gk_grid *g, int8_t *code)
{
    const lanes s = splat(scale), zero = splat(g->zero), magic = splat(MAGIC);
    const lanes lo = splat(g->lo), hi = splat(g->hi);
    uint64_t i = 0;

    for (; i + LANES <= n; i += LANES)
        store_codes(add(clamp(add(div16(load(w + i), s), zero), lo, hi), magic), code + i);
    if (i < n) {
        int8_t room[LANES];
        store_codes(add(clamp(add(div16(load_tail(w + i, n - i), s), zero), lo, hi), magic), room);
        memcpy(code + i, room, n - i);
    }
}

/* q - zero for a weight, by the reciprocal; g: lo, hi. Where there is no zero point, adding
 * it could only change the sign of a zero, which no sum shows. */
static inline lanes level(lanes w, lanes inverse, const lanes g[2], const lanes *zero)
{
    const lanes magic = splat(MAGIC), x = mul(w, inverse);
    const lanes q = add(clamp(zero == NULL ? x : add(x, *zero), g[0], g[1]), magic);

    return zero == NULL ? sub(q, magic) : sub(sub(q, magic), *zero);
}

/* The errors of n tries. Inlined with n, has_zero and has_mass known. */
static inline __attribute__((always_inline)) void
errors_of(const float *w, const float *m, uint64_t len, const gk_grid *grid, const gk_try *try,
          int n, bool has_zero, double *out)
{
    const lanes g[2] = {splat(grid->lo), splat(grid->hi)};
    lanes zero[GK_TRIES], s[GK_TRIES], inverse[GK_TRIES], sum[GK_TRIES];

    for (int k = 0; k < n; k++) {
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
        for (int k = 0; k < n; k++) {
            const lanes q = level(a, inverse[k], g, has_zero ? &zero[k] : NULL);
            const lanes d = sub(a, mul(q, s[k]));
            sum[k] = add(sum[k], m == NULL ? mul(d, d) : mul(mul(d, d), mass));
        }
    }
    fold_all(sum, n, out);
}

static double error(const float *w, const float *m, uint64_t n, float scale, const gk_grid *grid)
{
    const gk_try one = {scale, grid->zero};
    double e;

    errors_of(w, m, n, grid, &one, 1, true, &e);
    return e;
}

static void errors(const float *w, const float *m, uint64_t n, const gk_grid *grid,
                   const gk_try *try, double *out)
{
    bool has_zero = false;

    for (int k = 0; k < GK_TRIES; k++)
        has_zero |= try[k].zero != 0;
    if (has_zero)
        errors_of(w, m, n, grid, try, GK_TRIES, true, out);
    else if (m != NULL)
        errors_of(w, m, n, grid, try, GK_TRIES, false, out);
    else
        errors_of(w, NULL, n, grid, try, GK_TRIES, false, out);
}

static void fit(const float *w, const float *m, uint64_t n, float scale, const gk_grid *grid,
                double *wq, double *qq)
{
    const lanes inverse = splat(1.0f / scale), zero = splat(grid->zero);
    const lanes g[2] = {splat(grid->lo), splat(grid->hi)};
    lanes sum_wq = splat(0), sum_qq = splat(0);

    for (uint64_t i = 0; i < n; i += LANES) {
        const uint64_t k = n - i < LANES ? n - i : LANES;
        const lanes a = k == LANES ? load(w + i) : load_tail(w + i, k);
        const lanes q = level(a, inverse, g, &zero);
        const lanes one = k == LANES ? splat(1) : load_tail((const float[LANES]){
            1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1}, k);
        const lanes mass = m == NULL ? one : k == LANES ? load(m + i) : load_tail(m + i, k);
        sum_wq = add(sum_wq, mul(mul(a, q), mass));
        sum_qq = add(sum_qq, mul(mul(q, q), mass));
    }
    *wq = fold(sum_wq);
    *qq = fold(sum_qq);
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
    .quantize = quantize,
    .error = error,
    .errors = errors,
    .fit = fit,
    .row_error = row_error,
};
