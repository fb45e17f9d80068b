/* quant/blocks_lanes.h - lanes for the searches: each lane is a group (or a block) of its own.
 *
 * GCC's vector types: as many floats as a register of the unit that a file is compiled for. An
 * operation on lanes is the same IEEE single operation in each, so that what a group gives
 * depends neither on their number nor on its neighbours. */
#ifndef GK_QUANT_BLOCKS_LANES_H
#define GK_QUANT_BLOCKS_LANES_H

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/* lanes never cross a call: everything that takes or returns them is inlined */
#pragma GCC diagnostic ignored "-Wpsabi"

#if defined __AVX512F__
#include <immintrin.h>
#define LANES 16
#elif defined __AVX2__
#include <immintrin.h>
#define LANES 8
#else
#define LANES 4
#endif

/* Inlined so that what is known of the arguments shapes the loops. */
#define INLINED static inline __attribute__((always_inline))

typedef float lanes __attribute__((vector_size(4 * LANES)));
typedef int32_t ints __attribute__((vector_size(4 * LANES))); /* masks are 0 and -1 */

INLINED lanes splat(float x) { return x - (lanes){0}; }

INLINED lanes load_lanes(const float *p)
{
    lanes a;

    memcpy(&a, p, sizeof a);
    return a;
}

INLINED void store_lanes(lanes a, float *out) { memcpy(out, &a, sizeof a); }

/* mask ? a : b */
INLINED lanes pick(ints mask, lanes a, lanes b)
{
#if LANES == 8
    return _mm256_blendv_ps(b, a, (__m256)mask);
#else
    return (lanes)((mask & (ints)a) | (~mask & (ints)b));
#endif
}

/* The sign as a mask for pick(). */
INLINED ints is_negative(lanes a)
{
#if LANES == 8
    return (ints)a; /* the instruction looks at no other bit */
#else
    return (ints)a >> 31;
#endif
}

/* a < b ? a : b and a > b ? a : b, as the instructions do it */
INLINED lanes lower(lanes a, lanes b)
{
#if LANES == 16
    return _mm512_min_ps(a, b);
#elif LANES == 8
    return _mm256_min_ps(a, b);
#else
    return pick(a < b, a, b);
#endif
}

INLINED lanes upper(lanes a, lanes b)
{
#if LANES == 16
    return _mm512_max_ps(a, b);
#elif LANES == 8
    return _mm256_max_ps(a, b);
#else
    return pick(a > b, a, b);
#endif
}

INLINED lanes absolute(lanes a) { return (lanes)((ints)a & 0x7FFFFFFF); }

INLINED lanes square_root(lanes a)
{
    for (int g = 0; g < LANES; g++)
        a[g] = sqrtf(a[g]);
    return a;
}

INLINED bool any(ints mask)
{
#if LANES == 16
    return _mm512_movepi32_mask((__m512i)mask) != 0;
#elif LANES == 8
    return _mm256_movemask_ps((__m256)mask) != 0;
#else
    int32_t all = 0;

    for (int g = 0; g < LANES; g++)
        all |= mask[g];
    return all != 0;
#endif
}

/* gk_nearest() as a float: of |x| <= 4194303, and of any. Which zero it is is left open. */
INLINED lanes nearest_small(lanes x)
{
#if LANES == 16
    return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
#elif LANES == 8
    return _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
#else
    return (x + 12582912.0f) - 12582912.0f;
#endif
}

INLINED lanes nearest_any(lanes x)
{
    const ints bits = (ints)(x + 12582912.0f);

    return __builtin_convertvector((bits & 0x7FFFFF) - 0x400000, lanes);
}

/* out[i] = in[i], which fits a byte; n is a multiple of 16. */
INLINED void low_bytes(const int32_t *in, int n, uint8_t *out)
{
#if LANES >= 8
    for (int i = 0; i < n; i += 16) {
        const __m256i a = _mm256_loadu_si256((const void *)(in + i));
        const __m256i b = _mm256_loadu_si256((const void *)(in + i + 8));
        const __m256i ab = _mm256_permute4x64_epi64(_mm256_packs_epi32(a, b), 0xD8);
        const __m128i c = _mm_packus_epi16(_mm256_castsi256_si128(ab),
                                           _mm256_extracti128_si256(ab, 1));
        memcpy(out + i, &c, sizeof c);
    }
#else
    for (int i = 0; i < n; i++)
        out[i] = (uint8_t)in[i];
#endif
}

/* out[i] = low[i] | high[i] << 4, codes below 16 or their low four bits; n is a multiple of 16. */
INLINED void join_nibbles(const uint8_t *low, const uint8_t *high, int n, unsigned char *out)
{
#if LANES >= 8
    for (int i = 0; i < n; i += 16) {
        const __m128i mask = _mm_set1_epi8(15);
        const __m128i l = _mm_and_si128(_mm_loadu_si128((const void *)(low + i)), mask);
        const __m128i h = _mm_and_si128(_mm_loadu_si128((const void *)(high + i)), mask);
        const __m128i both = _mm_or_si128(l, _mm_slli_epi16(h, 4));
        memcpy(out + i, &both, sizeof both);
    }
#else
    for (int i = 0; i < n; i++)
        out[i] = (unsigned char)((low[i] & 15) | (high[i] & 15) << 4);
#endif
}

/* low[i] and high[i] of n bytes, a multiple of 16. */
INLINED void split_nibbles(const unsigned char *in, int n, uint8_t *low, uint8_t *high)
{
#if LANES >= 8
    for (int i = 0; i < n; i += 16) {
        const __m128i mask = _mm_set1_epi8(15), c = _mm_loadu_si128((const void *)(in + i));
        const __m128i l = _mm_and_si128(c, mask), h = _mm_and_si128(_mm_srli_epi16(c, 4), mask);
        memcpy(low + i, &l, sizeof l);
        memcpy(high + i, &h, sizeof h);
    }
#else
    for (int i = 0; i < n; i++) {
        low[i] = in[i] & 15;
        high[i] = in[i] >> 4;
    }
#endif
}

/* The largest of lanes that hold no NaN. */
INLINED float greatest(lanes a)
{
#if LANES == 16
    return _mm512_reduce_max_ps(a);
#elif LANES == 8
    __m128 b = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));

    b = _mm_max_ps(b, _mm_movehl_ps(b, b));
    return _mm_cvtss_f32(_mm_max_ss(b, _mm_movehdup_ps(b)));
#else
    float most = a[0];

    for (int g = 1; g < LANES; g++)
        most = a[g] > most ? a[g] : most;
    return most;
#endif
}

/* LANES bytes as floats. */
INLINED lanes load_bytes(const uint8_t *p)
{
#if LANES == 16
    return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128((const void *)p)));
#elif LANES == 8
    return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64((const void *)p)));
#else
    return (lanes){p[0], p[1], p[2], p[3]};
#endif
}

INLINED lanes load_signed_bytes(const int8_t *p)
{
#if LANES == 16
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const void *)p)));
#elif LANES == 8
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const void *)p)));
#else
    return (lanes){p[0], p[1], p[2], p[3]};
#endif
}

#if LANES >= 8
/* Eight columns of eight rows: column i of row g becomes lane g of out[i]. */
INLINED void turn8(const float *const row[8], int column, lanes *out, int lane)
{
    for (int i = 0; i < 8; i += 4) { /* halves of registers never cross */
        __m256 r[4], even[2], odd[2];
        for (int k = 0; k < 4; k++)
            r[k] = _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(row[k] + column + i)),
                                        _mm_loadu_ps(row[k + 4] + column + i), 1);
        for (int k = 0; k < 2; k++) {
            even[k] = _mm256_unpacklo_ps(r[2 * k], r[2 * k + 1]);
            odd[k] = _mm256_unpackhi_ps(r[2 * k], r[2 * k + 1]);
        }
        const __m256 column_of[4] = {
            _mm256_shuffle_ps(even[0], even[1], 0x44), _mm256_shuffle_ps(even[0], even[1], 0xEE),
            _mm256_shuffle_ps(odd[0], odd[1], 0x44), _mm256_shuffle_ps(odd[0], odd[1], 0xEE)};
        for (int k = 0; k < 4; k++)
            memcpy((char *)&out[column + i + k] + 4 * lane, &column_of[k], sizeof column_of[k]);
    }
}
#endif

/* Element i of group g, of n_groups that lie one after the other, becomes lane g of out[i]; lanes
 * past n_groups repeat the first. width is a multiple of 8. */
INLINED void load_groups(const float *x, int n_groups, int width, lanes *out)
{
    const float *row[LANES];

    for (int g = 0; g < LANES; g++)
        row[g] = x + (g < n_groups ? g : 0) * width;
#if LANES >= 8
    for (int g = 0; g < LANES; g += 8)
        for (int i = 0; i < width; i += 8)
            turn8(row + g, i, out, g);
#else
    for (int i = 0; i < width; i++)
        for (int g = 0; g < LANES; g++)
            out[i][g] = row[g][i];
#endif
}

/* The first of the elements with the largest magnitude. */
INLINED lanes extreme_lanes(const lanes *x, int width)
{
    lanes most = {0}, found = {0};

    for (int i = 0; i < width; i++) {
        const ints more = absolute(x[i]) > most;
        most = pick(more, absolute(x[i]), most);
        found = pick(more, x[i], found);
    }
    return found;
}

#endif
