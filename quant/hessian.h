/* quant/hessian.h - sums of x x^T over the inputs x of a matrix, and their factor.
 *
 * For W [out, n] and inputs x the error of other weights V is sum |(W - V) x|^2 =
 * tr((W - V) H (W - V)^T) with H = sum x x^T [n, n]. Where n is too large for memory H is
 * kept in blocks along its diagonal: inputs of different blocks then count as independent. */
#ifndef GK_QUANT_HESSIAN_H
#define GK_QUANT_HESSIAN_H

#include <stdbool.h>
#include <stdint.h>

#include "formats/err.h"

/* With other inputs x' that W should have had (those of the original model), outputs W x' are
 * nearest to V x where V is near W + W D (H + damping)^-1, D = sum (x' - x) x^T: the least
 * squares of W x' - V x, as in GPTAQ (Li et al., arXiv 2504.02692). */
typedef struct gk_hessian {
    uint64_t n, block;  /* columns; of a block, the last may be smaller */
    uint64_t n_inputs;  /* added so far                                 */
    float   *h;         /* [n_blocks][block, block]: the upper triangle; the factor later */
    float   *damped;    /* once factored, the same: what the factor is of, both triangles */
    float   *drift;     /* likewise D, rows x'; once factored D (H + damping)^-1, or 0 where
                           there is no factor; transposed. NULL: no other inputs */
    double  *diagonal;  /* [n] sum x^2                                  */
    uint32_t *order;    /* [n] after factoring: the columns of each block as the factor has them */
    bool     is_factored;
    double   damping;   /* then: as gk_hessian_factor() says */
    float   *turned, *away; /* room for the inputs of a batch, and x' - x */
    uint64_t turned_cap;
} gk_hessian;

/* Returns the bytes that a Hessian and its factor take in blocks of so many columns (0: whole);
 * paired: with D. */
uint64_t gk_hessian_bytes(uint64_t n, uint64_t block, bool paired);

/* NULL and NOMEM. The caller frees it. */
gk_hessian *gk_hessian_new(uint64_t n, uint64_t block, bool paired, gk_err *err);
void        gk_hessian_free(gk_hessian *h);

/* Adds n_rows inputs x [n_rows, n], by so many threads: the sums do not depend on how many,
 * but on how inputs are divided over calls. False: NOMEM. */
bool gk_hessian_add(gk_hessian *h, const float *x, uint64_t n_rows, int threads, gk_err *err);

/* The same for a paired one: x' [n_rows, n] is what x should have been. */
bool gk_hessian_add_pair(gk_hessian *h, const float *x, const float *other, uint64_t n_rows,
                         int threads, gk_err *err);

/* Replaces each block by its factor U, upper triangular, with U^T U = H + damping * mean of
 * the diagonal * I, rows and columns in `order`: by rising sum x^2, so that the last column is
 * the one that matters most. Damping grows tenfold until there is one. A block without one at
 * 10 (inputs that are not finite), or without inputs, becomes the identity: its columns count
 * as independent. h->damping becomes the largest that was used, negative if a block with inputs
 * had no factor. Without effect on one that is factored. False: NOMEM. */
bool gk_hessian_factor(gk_hessian *h, double damping, int threads, gk_err *err);

#endif
