/* verify/score.h - perplexity, and how far one model's predictions are from another's.
 *
 * Protocols, for windows of ctx tokens, one after the other, the rest dropped:
 *   llama   positions ctx/2 .. ctx-2 of each window, as llama-perplexity
 *   paper   positions 0 .. ctx-2, as in the GPTQ and AWQ papers
 * Position p predicts token p + 1. All sums run in double, in the order of the text. */
#ifndef GK_VERIFY_SCORE_H
#define GK_VERIFY_SCORE_H

#include "verify/forward.h"

typedef enum gk_protocol {
    GK_PROTOCOL_LLAMA,
    GK_PROTOCOL_PAPER,
} gk_protocol;

typedef struct gk_score_job {
    const gk_catalog  *model;
    const gk_catalog  *base; /* to compare with, or NULL                  */
    const uint32_t    *ids;  /* [n_windows * ctx]                         */
    gk_forward_options forward;
    gk_protocol        protocol;
    float             *logits; /* [ctx, vocab] of the model's first window, or NULL */
} gk_score_job;

/* Mean and standard error over windows. */
typedef struct gk_mean {
    double mean, err;
} gk_mean;

typedef struct gk_layer_drift {
    double rel_error;        /* of the residual stream: sum (a - b)^2 / sum a^2 */
    double router_agreement; /* tokens whose chosen experts are the same set    */
} gk_layer_drift;

typedef struct gk_score {
    gk_arena *arena;
    uint64_t  n_scored, n_layers, n_experts;
    double    nll, ppl, ppl_err;
    uint64_t *experts; /* [layers, experts] tokens each expert saw, of the model */
    /* with a base: */
    double    base_ppl;
    gk_mean   kld, delta_ln_ppl; /* nats; ln ppl(model) - ln ppl(base) */
    double    kld_median, kld_p99, kld_p999, kld_max;
    double    top1, top5; /* share of equal top tokens; mean overlap of the top 5 */
    gk_layer_drift *layer; /* [n_layers], after each layer */
} gk_score;

/* First position that is scored. */
uint64_t gk_protocol_first(gk_protocol p, uint64_t ctx);

/* Runs the forward pass of the model, and of the base beside it, and scores. False: as
 * gk_stream_new(); ARG when the two differ in shape. Free the score in any case. */
bool gk_score_run(const gk_score_job *job, gk_score *out, gk_err *err);
void gk_score_free(gk_score *s);

#endif
