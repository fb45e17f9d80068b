/* verify/calibrate.h - what the inputs of every matrix look like, from one pass over a text.
 *
 * Sums of x^2 of each input column, of experts over the tokens that chose them, and how the
 * router chose, go into a statistics file (quant/stats_write.h), layer by layer. A sum runs over
 * the tokens in their order, in double: the file does not depend on threads or memory.
 *
 * While it is made, OUT.partial-calibrate beside it holds the file and, after each layer, the
 * residual stream. A run that is stopped leaves both, and another goes on behind the last layer
 * that was finished, to the same bytes. */
#ifndef GK_VERIFY_CALIBRATE_H
#define GK_VERIFY_CALIBRATE_H

#include "formats/hash.h"
#include "quant/stats.h"
#include "verify/forward.h"

typedef struct gk_calibrate_job {
    const gk_catalog *model;
    const uint32_t *ids;        /* [n_windows * ctx]                          */
    gk_forward_options forward; /* watch is set by the run                    */
    const char *preset;         /* the name of the switches                   */
    const char *const *dataset; /* paths of the texts                         */
    uint64_t n_datasets;
    const char *text_sha256;
    bool plain;      /* only what llama-imatrix writes               */
    uint64_t probe_windows; /* that probes of sensitivity read; 0: none are made          */
    const char *spool;      /* where their activations go that memory does not hold, NULL: stay */
    void (*probing)(void *context, uint64_t n_probes); /* they begin; may be NULL */
    const char *out; /* NAME.gguf                                    */
    bool force, resume, break_lock;
    void (*resumed)(void *context, uint64_t layers); /* so many are done; may be NULL */
} gk_calibrate_job;

typedef struct gk_calibration {
    const gk_probe *probe; /* [n_probes] */
    uint64_t n_probes;
    gk_arena *arena;
    uint64_t n_layers, n_experts;
    uint64_t *experts; /* [layers, experts] tokens each expert saw              */
    uint64_t bytes;
    char sha256[GK_SHA256_HEX]; /* of the file                             */
    bool finished;              /* by an earlier run: nothing was written               */
    const char *partial;        /* what a run that failed keeps for --resume, or NULL   */
} gk_calibration;

/* Runs the pass and writes the file. False: as
 * gk_stream_new(), gk_model_output_allowed() and gk_output_begin(); ARG when
 * the partial directory is of another job (resume); FORMAT for sums that are no numbers. Free
 * the result in any case. */
bool gk_calibrate(const gk_calibrate_job *job, gk_calibration *out, gk_err *err);
void gk_calibration_free(gk_calibration *c);

#endif
