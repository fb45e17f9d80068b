/* quant/kernels.h - the hot loops, in one table for each instruction set.
 *
 * One text (kernels_body.h) over lanes of 16 floats is compiled once with arrays
 * and plain loops, which is the specification, and once for each vector unit. Sums
 * run lane by lane (lane = index mod 16) and are folded in lane order, so every
 * table gives the same bytes. The best the CPU has is picked once; GK_ISA=scalar,
 * avx2 or avx512 overrides. */
#ifndef GK_QUANT_KERNELS_H
#define GK_QUANT_KERNELS_H

#include <stdbool.h>
#include <stdint.h>

/* What a group of codes may hold: lo..hi, and a zero point in code units. */
typedef struct gk_grid {
    float lo, hi; /* encoding: lo may be -INFINITY where no code can be less than the first */
    float zero;   /* 0 when symmetric */
} gk_grid;

/* A scale that may be chosen, and its zero point. */
typedef struct gk_try {
    float scale, zero;
} gk_try;

#define GK_TRIES 4

/* Sums over weights as they are encoded, of (w - value)^2 and w^2. Over 128 of them element i adds
 * to lane i mod 16 in f32; lanes 8 apart are added, then those 4 apart, and the four are in f64. */
typedef struct gk_error_sums {
    double error[4], square[4];
} gk_error_sums;

/* Sums of the powers of floats, as above. */
typedef struct gk_powers {
    double sum[4], square[4], cube[4], fourth[4];
} gk_powers;

/* How many floats are zero, how many less than the smallest normal number but no zero, and the
 * largest magnitude: infinity or NaN where one is not finite. */
typedef struct gk_extremes {
    uint64_t zero, small;
    float most;
} gk_extremes;

/* What a weight w of a group costs under each of so many scales: row rne(w * factor) +
 * GK_COST_ROWS / 2, for |w * factor| < GK_COST_ROWS / 2. */
#define GK_COST_ROWS   512
#define GK_COST_SCALES 32
typedef struct gk_costs {
    uint16_t row[GK_COST_ROWS][GK_COST_SCALES];
} gk_costs;

typedef struct gk_kernels {
    const char *isa;

    /* Conversions of n elements; in and out need no alignment. To bf16 and f16: nearest,
     * ties to even; a NaN stays a NaN, f16 overflows to infinity. */
    void (*bf16_to_f32)(const void *in, uint64_t n, float *out);
    void (*f16_to_f32)(const void *in, uint64_t n, float *out);
    void (*f32_to_bf16)(const float *in, uint64_t n, void *out);
    void (*f32_to_f16)(const float *in, uint64_t n, void *out);

    /* Return the index of the first NaN or infinity, or n. */
    uint64_t (*nonfinite_bf16)(const void *in, uint64_t n);
    uint64_t (*nonfinite_f16)(const void *in, uint64_t n);
    uint64_t (*nonfinite_f32)(const void *in, uint64_t n);

    /* Signed codes to stored fields and back: code + 8 in nibbles, even column low (n
     * even), code + 128 in bytes. */
    void (*pack4)(const int8_t *code, uint64_t n, unsigned char *out);
    void (*unpack4)(const unsigned char *in, uint64_t n, int8_t *code);
    void (*pack8)(const int8_t *code, uint64_t n, unsigned char *out);
    void (*unpack8)(const unsigned char *in, uint64_t n, int8_t *code);

    /* out = (code - zero) * scale, in f32. */
    void (*decode)(const int8_t *code, uint64_t n, float zero, float scale, float *out);

    /* The extremes of n > 0 finite floats; *lo <= 0 <= *hi. */
    void (*range)(const float *w, uint64_t n, float *lo, float *hi);

    /* The largest |w| of each group (the last may be smaller) of n bf16 numbers, as the bits of
     * a bf16: 0x7F80 or more where one is not finite. */
    void (*peaks_bf16)(const void *w, uint64_t group, uint64_t n, uint16_t *peak);

    /* code = rne(clamp(w / scale + zero, lo, hi)); sums grow by what (code - zero) * scale makes
     * of finite weights. */
    void (*encode_f32)(const float *w, uint64_t n, float scale, const gk_grid *grid, int8_t *code,
                       gk_error_sums *sums);
    void (*encode_bf16)(const void *w, uint64_t n, float scale, const gk_grid *grid, int8_t *code,
                        gk_error_sums *sums);

    /* sum [GK_COST_SCALES] = the costs of n weights under each scale; those of 128 in a row count
     * as at most 65535, and all as at most 2^26. Returns the first of the cheapest. */
    int (*costs)(const float *w, uint64_t n, float factor, const gk_costs *costs, uint32_t *sum);

    /* out [GK_TRIES] = sum m * (w - (q - zero) * scale)^2 over n weights quantized with each try
     * (through its reciprocal); lo and hi are the grid's; m may be NULL: ones. */
    void (*errors)(const float *w, const float *m, uint64_t n, const gk_grid *grid,
                   const gk_try *try, double *out);

    /* Sums for the least-squares scale: *wq = sum m w (q - zero), *qq = sum m (q - zero)^2,
     * with q from that scale as in errors(). */
    void (*fit)(const float *w, const float *m, uint64_t n, float scale, const gk_grid *grid,
                double *wq, double *qq);

    /* Sums grow by what n weights became: v. */
    void (*measure)(const float *w, const float *v, uint64_t n, gk_error_sums *sums);

    /* e grows by n weights; `normal` is the smallest normal number of their type, or 0. */
    void (*extremes_f32)(const float *w, uint64_t n, float normal, gk_extremes *e);
    void (*extremes_bf16)(const void *w, uint64_t n, float normal, gk_extremes *e);

    /* p grows by n finite weights. */
    void (*powers)(const float *w, uint64_t n, gk_powers *p);

    /* sum [n] += w^2 */
    void (*add_squares)(const float *w, uint64_t n, float *sum);

    /* *err = sum (w - v)^2, *sum = sum w^2, in double. */
    void (*row_error)(const float *w, const float *v, uint64_t n, double *err, double *sum);
} gk_kernels;

/* Sets *error and *square to the sums of all lanes. Returns false when they are no measure of n
 * weights: squares that f32 cannot hold, or holds with few digits, are among them. */
bool gk_error_sums_total(const gk_error_sums *s, uint64_t n, double *error, double *square);

/* Returns the table in use; thread-safe. */
const gk_kernels *gk_kernels_get(void);

/* Returns table i of those this CPU can run, scalar first; NULL past the last. */
const gk_kernels *gk_kernels_nth(int i);

extern const gk_kernels gk_kernels_scalar;
#if defined __x86_64__
extern const gk_kernels gk_kernels_avx2, gk_kernels_avx512;
#endif

#endif
