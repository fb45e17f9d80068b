/* quant/phases.h - the order in which GPTQ takes the matrices of a model.
 *
 * Codes are chosen for the inputs that the quantized model itself computes: layer after layer
 * first q, k and v, then o, then what reads the second norm (gate, up, the experts' w1 and w3),
 * then down and w2. All else is phase 0 and is written before. */
#ifndef GK_QUANT_PHASES_H
#define GK_QUANT_PHASES_H

#include "formats/grok2.h"
#include "quant/hessian.h"
#include "quant/plan.h"

#define GK_PHASES_A_LAYER 4 /* layer l: phases 1 + 4 * l .. */

/* Returns the phase of a matrix of that shape, 0 for all else. */
uint32_t gk_phase_of(const gk_grok2_shape *shape);

/* Sets the phases of items with integer codes, and the columns of a Hessian's blocks where whole
 * ones would not fit beside so many bytes in --memory; a note says so. False: ARG (no forward
 * pass for this model, statistics without the tokens), NOMEM. */
bool gk_plan_phases(gk_plan *p, gk_err *err);

/* What a run asks of the forward pass, which verify/ implements. */
typedef struct gk_inputs {
    void *context;
    /* The pass begins. back is OUT as a catalog: what phases before the one at hand wrote is
     * read from it. */
    bool (*begin)(void *context, const gk_plan *p, const gk_catalog *back, gk_err *err);
    /* Computes the inputs of a phase's matrices; wanted: and their Hessians. */
    bool (*phase)(void *context, uint32_t phase, bool wanted, gk_err *err);
    /* Returns the Hessian of the inputs of one of them, until the next phase. */
    gk_hessian *(*hessian)(void *context, const gk_tensor *t);
    void (*end)(void *context);
} gk_inputs;

#endif
