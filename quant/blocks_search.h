/* quant/blocks_search.h - the searches for scales that ggml's block types share.
 *
 * Each group's sums run strictly from its first element to its last in f32, as in
 * ggml-org/ggml src/ggml-quants.c @d99724f, so codes and scales are equal bit for bit.
 * Speed comes from working on independent groups side by side, one a lane. */
#ifndef GK_QUANT_BLOCKS_SEARCH_H
#define GK_QUANT_BLOCKS_SEARCH_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "quant/blocks_rows.h"
#include "quant/kernels.h"
#ifdef __F16C__
#include <immintrin.h>
#endif

#define gk_search_symmetric       GK_BLOCKS_NAME(gk_search_symmetric)
#define gk_search_symmetric_codes GK_BLOCKS_NAME(gk_search_symmetric_codes)
#define gk_search_affine          GK_BLOCKS_NAME(gk_search_affine)
#define gk_search_affine_codes    GK_BLOCKS_NAME(gk_search_affine_codes)
#define gk_search_sweeps          GK_BLOCKS_NAME(gk_search_sweeps)
#define gk_search_positive        GK_BLOCKS_NAME(gk_search_positive)

#define GK_SEARCH_MOST 32 /* elements of a group */

/* Returns x rounded to the nearest whole number, ties to even, while |x| <= 4194303;
 * beyond that and for NaN what ggml's reading of the mantissa gives. */
static inline int gk_nearest(float x)
{
    const float shifted = x + 12582912.0f; /* 1.5 * 2^23: one unit is the last bit */
    int32_t bits;

    memcpy(&bits, &shifted, sizeof bits);
    return (bits & 0x7FFFFF) - 0x400000;
}

static inline int gk_clamp(int x, int lo, int hi)
{
    x = x < hi ? x : hi;
    return x > lo ? x : lo;
}

static inline float gk_load_f16(const void *p)
{
#ifdef __F16C__
    uint16_t h;

    memcpy(&h, p, sizeof h);
    return _cvtsh_ss(h);
#else
    float x;

    gk_kernels_scalar.f16_to_f32(p, 1, &x);
    return x;
#endif
}

/* Stores x as f16 and returns the value that was stored. */
static inline float gk_store_f16(void *p, float x)
{
#ifdef __F16C__
    const uint16_t h = (uint16_t)_cvtss_sh(x, _MM_FROUND_TO_NEAREST_INT);

    memcpy(p, &h, sizeof h);
#else
    gk_kernels_scalar.f32_to_f16(&x, 1, p);
#endif
    return gk_load_f16(p);
}

/* Returns whether the f16 at p is a finite number. */
static inline bool gk_finite_f16(const void *p)
{
    uint16_t h;

    memcpy(&h, p, sizeof h);
    return (h & 0x7C00) != 0x7C00;
}

/* A group's scale, and what its codes are made with. */
typedef struct gk_symmetric_fit {
    float scale; /* may be negative; 0 for a group of zeros */
    float inv;
    bool zero; /* no |x| reaches 1e-15: codes are 0 */
} gk_symmetric_fit;

/* x ~ scale * (code - half), code 0..2 * half - 1, least squares under the weights w (NULL:
 * x * x), for n_groups groups of width elements (a multiple of 8, at most GK_SEARCH_MOST), which
 * lie one after the other. (make_qx_quants, rmse_type 1) */
void gk_search_symmetric(const float *x, const float *w, int n_groups, int width, int half,
                         gk_symmetric_fit *fit);

/* The codes of one group under its fit. */
void gk_search_symmetric_codes(const float *x, int width, int half, const gk_symmetric_fit *fit,
                               uint8_t *code);

/* x ~ scale * code - min, code 0..top. */
typedef struct gk_affine {
    int width;         /* elements of a group: a multiple of 8, at most GK_SEARCH_MOST */
    int top;           /* largest code                                         */
    float first, step; /* try t divides hi - lo into first + step * t + top    */
    int last_try;      /* t = 0..last_try, after one with hi - lo in top steps */
    bool absolute;     /* an error counts as |d|, else as d * d                */
    bool rms;          /* without weights: the group's RMS + |x|, else |x|     */
} gk_affine;

typedef struct gk_affine_fit {
    float scale;   /* rounding may leave it below 0; 0 for a group without spread */
    float min;     /* never below 0                                               */
    float inv, lo; /* what codes are made with                                    */
    bool flat;     /* no spread: codes are 0                                      */
} gk_affine_fit;

/* Searches n_groups groups, each of how->width elements: x and w (the weights; NULL: see
 * how->rms) hold them one after the other, fit takes one row a group. (make_qkx2_quants,
 * make_qkx3_quants) */
void gk_search_affine(const gk_affine *how, int n_groups, const float *x, const float *w,
                      gk_affine_fit *fit);

/* The codes of one group under its fit. */
void gk_search_affine_codes(const gk_affine *how, const float *x, const gk_affine_fit *fit,
                            uint8_t *code);

/* x ~ scale * (code - half), code 0..2 * half - 1, weights x * x: one rounding to half steps,
 * then at most five sweeps that move single codes. n_groups groups of width elements (a multiple of
 * 8, at most GK_SEARCH_MOST), scale one a group; 0 and codes 0 for a group in which no |x| reaches
 * 1e-15. (make_q3_quants) */
void gk_search_sweeps(const float *x, int n_groups, int width, int half, uint8_t *code,
                      float *scale);

/* x ~ scale * code for the scales and minima of a super-block, code 0..top (a negative x, which
 * gk_search_affine() rarely leaves, wraps as an unsigned byte). Returns the scale; 0 and code[]
 * = 0 when no x reaches 1e-15. n: at most GK_SEARCH_MOST. (make_qp_quants) */
float gk_search_positive(const float *x, const float *w, int n, int top, uint8_t *code);

#endif
