/* verify/score.h - perplexity, and how far models' predictions are from those of another.
 *
 * Protocols, for windows of ctx tokens, one after the other, the rest dropped:
 *   llama   positions ctx/2 .. ctx-2 of each window, as llama-perplexity
 *   paper   positions 0 .. ctx-2, as in the GPTQ and AWQ papers
 * Position p predicts token p + 1. All sums run in double, in the order of the text.
 *
 * All models go through the layers side by side: what the base computes is computed once. */
#ifndef GK_VERIFY_SCORE_H
#define GK_VERIFY_SCORE_H

#include "formats/hash.h"
#include "verify/forward.h"

typedef enum gk_protocol {
    GK_PROTOCOL_LLAMA,
    GK_PROTOCOL_PAPER,
} gk_protocol;

typedef struct gk_score_job {
    const gk_catalog        *model;
    const gk_catalog        *base; /* to compare with, or NULL                   */
    const gk_catalog *const *also; /* [n_also] compared with the base, too       */
    int                      n_also;
    const uint32_t          *ids; /* [n_windows * ctx]                          */
    gk_forward_options       forward; /* n_streams is set here                   */
    /* [1 + n_also] of model and also[]: the first layer in which they are not the base, which
     * stands for them up to there (the head counts as one more layer); NULL: 0 of all. Not
     * with local or state. */
    const uint64_t          *differs;
    gk_protocol              protocol;
    bool                     local;  /* also each layer alone, on the base's inputs */
    float                   *logits; /* [ctx, vocab] of the model's first window, or NULL */
    /* Where a pass that is interrupted is kept; NULL: nowhere. With each_layer one that stands
     * there is gone on from, if it is whole and of this job, and it is kept after every layer, for
     * what gives no notice. What became of it is told: `damage` NULL when it was taken up,
     * `failure` NULL when it was kept; a run goes on without. */
    const char *state;
    bool        each_layer;
    void (*resumed)(void *context, uint64_t layer, const gk_err *damage);
    void (*kept)(void *context, const gk_err *failure);
    void *context;
} gk_score_job;

/* Mean and standard error over windows. */
typedef struct gk_mean {
    double mean, err;
} gk_mean;

typedef struct gk_layer_drift {
    double rel_error;        /* of the residual stream: sum (a - b)^2 / sum a^2           */
    double router_agreement; /* share of tokens whose chosen experts are the same set     */
    double gate_drift;       /* mean over tokens of sum |p - q| / 2 over all experts      */
    double local_error;      /* as rel_error, of this layer alone: both had the base's inputs */
} gk_layer_drift;

/* Shares of 1 at which divergences are told: 50 %, 90 %, 95 %, 99 %, 99.9 %. */
#define GK_N_PERCENTILES 5

/* Of one model; what follows `experts` only with a base. */
typedef struct gk_figures {
    double    nll, ppl, ppl_err;
    uint64_t *experts; /* [layers, experts] tokens each expert saw */
    gk_mean   kld, delta_ln_ppl; /* nats; ln ppl(model) - ln ppl(base) */
    double    kld_at[GK_N_PERCENTILES];
    double    kld_max;
    uint64_t  max_window, max_position; /* where it is: the position that predicts ... */
    uint32_t  max_token;                /* ... this one                                */
    double    top1, top5;  /* share of equal top tokens; mean overlap of the top 5     */
    uint64_t  n_flips;     /* other top tokens among the base's n_confident            */
    double    flips;       /* their share; NaN when the base is confident nowhere      */
    gk_mean   delta_p;     /* p(model) - p(base) of the token that follows             */
    double    delta_p_rms;
    double   *token_kld;   /* [n_scored] in the order of the text */
    double   *window_kld;  /* [n_windows] means                   */
    gk_layer_drift *layer; /* [n_layers], after each layer        */
} gk_figures;

typedef struct gk_score {
    gk_arena   *arena;
    uint64_t    n_scored, n_layers, n_experts;
    uint64_t    n_confident; /* tokens of which the base's top has p > 0.5   */
    bool        has_base;
    gk_figures  base;     /* its own figures                                 */
    gk_figures *model;    /* [n_models] the model's, then those of also[]    */
    int         n_models;
} gk_score;

/* First position that is scored. */
uint64_t gk_protocol_first(gk_protocol p, uint64_t ctx);

/* Percentiles of kld_at[], in per cent. */
double gk_percentile(int i);

/* How many sets of activations a job holds: gk_forward_options.n_streams. */
uint64_t gk_score_streams(const gk_score_job *job);

/* Runs the forward pass of all models and scores. False: as gk_stream_new(); ARG when the models
 * differ in shape; INTERRUPTED when it was and, if job->state says where, can be gone on with. Free
 * the score in any case. */
bool gk_score_run(const gk_score_job *job, gk_score *out, gk_err *err);
void gk_score_free(gk_score *s);

/* Digest of what a job computes and of the models, which names it: same key, same numbers.
 * Threads and memory are not in it. False: NOMEM. */
bool gk_score_key(const gk_score_job *job, char hex[GK_SHA256_HEX], gk_err *err);

/* Digest of what identifies a model without its weights being read: config, names, kinds and
 * shapes of the tensors, names and sizes of the files, what a quantizer noted beside them; with
 * times also when they last changed. False: NOMEM, IO. */
bool gk_model_digest(const gk_catalog *c, bool times, char hex[GK_SHA256_HEX], gk_err *err);

/* Bytes of the file at job->state. */
uint64_t gk_score_state_bytes(const gk_score_job *job, const gk_arch *a);

#endif
