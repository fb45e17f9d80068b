/* quant/solver.h - GPTQ with static groups, and what can still be won behind it.
 *
 * With scales fixed and H + damping = U^T U in the order of quant/hessian.h, the error of a row
 * is |e U^T|^2, e the errors of its columns; element k of e U^T holds e_k and those of columns
 * behind k. From the last column to the first the code is the one nearest to
 * w_k + (sum of U_kj e_j, j > k) / U_kk. That is GPTQ (Frantar et al., arXiv 2210.17323) without
 * an inverse: Babai's nearest plane (arXiv 2507.18553).
 *
 * Sweeps lower the same error further, which no step may raise: each group's scale becomes the
 * least-squares one of its codes, as it is stored; then each code in turn the best one beside all
 * others (coordinate descent, as in QuantEase, arXiv 2309.01885). */
#ifndef GK_QUANT_SOLVER_H
#define GK_QUANT_SOLVER_H

#include "quant/hessian.h"
#include "quant/scheme.h"

/* Rows are solved so many at a time: tiles are cut there, or results would depend on them. */
#define GK_SOLVE_ROWS 64

typedef struct gk_solve_job {
    const gk_hessian *factor;
    const gk_scheme  *scheme; /* GK_SCHEME_INT                       */
    uint64_t          n_rows; /* of the factor's n columns each      */
    float            *scale;  /* [n_rows, n_groups], as it is stored */
    const int8_t     *zero;   /* [n_rows, n_groups], NULL: symmetric */
    int               sweeps; /* 0: codes alone are chosen           */
} gk_solve_job;

/* All of it follows the noise of the calibration text: on grok2-tiny (int4-g128) KLD is 0.00153,
 * 0.00138, 0.00142, 0.00141 on heldout.txt with 0, 0.5, 0.75, 1; 0.0095, 0.0089, -, 0.0097 on
 * another text. */
#define GK_SOLVE_SHARE 0.5f

#define GK_SOLVE_SWEEPS 3 /* on grok2-tiny eight give no lower KLD */

uint64_t gk_solve_scratch_bytes(uint64_t n_cols);

/* Fills out [n_rows, n] with the weights that codes should be near where inputs have drifted:
 * w + GK_SOLVE_SHARE w D (H + damping)^-1. The Hessian is paired and factored. */
void gk_solve_target(const gk_hessian *h, const float *w, uint64_t n_rows, float *out);

/* Chooses codes [n_rows, n] of w [n_rows, n]; sweeps refine scales. */
void gk_solve(const gk_solve_job *job, const float *w, int8_t *codes, void *scratch);

#endif
