/* verify/inputs.h - what GPTQ asks of the forward pass: Hessians of inputs.
 *
 * The tokens are those that calibrate read. Weights of earlier phases are read from what the
 * run wrote, those to come from the model: inputs are what the quantized model itself computes.
 * A plan that is paired also asks what the original computes there: a second stream goes beside,
 * batch by batch, through the experts that the quantized model chose. */
#ifndef GK_VERIFY_INPUTS_H
#define GK_VERIFY_INPUTS_H

#include "quant/phases.h"
#include "verify/forward.h"

typedef struct gk_input_pass gk_input_pass;

/* Takes tokens, windows and switches from statistics. NULL: ARG, FORMAT, NOMEM. */
gk_input_pass *gk_input_pass_new(const gk_catalog *model, const struct gk_stats *stats,
                                 const gk_forward_options *options, gk_err *err);
void           gk_input_pass_free(gk_input_pass *p);

/* Returns what a run takes; the pass must outlive it. */
gk_inputs gk_input_pass_ask(gk_input_pass *p);

#endif
