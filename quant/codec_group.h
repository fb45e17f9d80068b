/* quant/codec_group.h - integer codes with one scale (and zero point) a group.
 *
 * A value is (code - zero) * scale. Codes are always chosen against the scale as it
 * is stored. Two methods choose the scale:
 *
 *   rtn     compressed-tensors' min-max rule, in f32 arithmetic:
 *           symmetric  scale = max|w| / ((2^b - 1) / 2)
 *           asymmetric scale = (hi - lo) / (2^b - 1), zero = rne(clamp(min - lo / scale)),
 *                      lo <= 0 <= hi
 *   search  the scale with the smallest (weighted) squared error among scales of both signs
 *           around the extreme. 4 bits without importance: by a table (quant/scale_costs.c),
 *           then a least-squares refit; never worse than rtn's
 *   gptq    search's scales, codes by quant/solver.h
 *
 * A scale is rounded to the type it is stored in (bf16, or f16 in GPTQ and AWQ files). One
 * that would be 0 is that type's epsilon, as in compressed-tensors @ac8e2ba. */
#ifndef GK_QUANT_CODEC_GROUP_H
#define GK_QUANT_CODEC_GROUP_H

#include "quant/scheme.h"
#include "quant/solver.h"

typedef enum gk_method {
    GK_METHOD_RTN,
    GK_METHOD_SEARCH,
    GK_METHOD_GPTQ, /* of what the forward pass has no inputs for: search */
} gk_method;

bool        gk_method_find(const char *name, gk_method *out, gk_err *err);
const char *gk_method_name(gk_method method);

typedef struct gk_group_job {
    const gk_scheme *scheme; /* GK_SCHEME_INT */
    gk_method        method;
    const float     *importance; /* E[x^2] of each column [n_cols], or NULL: ones */
    uint64_t         n_rows, n_cols; /* n_cols: whole groups, or the whole row    */
    const void      *bf16;           /* the weights, unless they are floats       */
    const gk_hessian *factor; /* GPTQ: of inputs of n_cols columns, or NULL   */
    void            *room;    /* gk_group_room_bytes(), when there is a factor */
} gk_group_job;

/* Bytes that solving rows of so many columns takes. */
uint64_t gk_group_room_bytes(uint64_t n_rows, uint64_t n_cols);

/* Encodes w [n_rows, n_cols], finite: codes [n_rows, n_cols], scales [n_rows, n_groups] as
 * values that the scheme's scale type holds, zeros [n_rows, n_groups] (asymmetric only,
 * else NULL); sums [n_rows], or NULL, gets sum (w - value)^2 and sum w^2 of each row. With
 * job->bf16 w is room for a row. The result depends on nothing but the values: not on threads,
 * tiles or CPU. */
void gk_group_encode(const gk_group_job *job, float *w, int8_t *codes, float *scales,
                     int8_t *zeros, double (*sums)[2]);

/* Fills out [n_rows, n_cols]; scales [n_rows, n_groups] as f32, zeros or NULL. */
void gk_group_decode(const gk_scheme *s, const int8_t *codes, const float *scales,
                     const int8_t *zeros, uint64_t n_rows, uint64_t n_cols, float *out);

#endif
