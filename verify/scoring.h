/* verify/scoring.h - what the files of scoring share. Private to verify/. */
#ifndef GK_VERIFY_SCORING_H
#define GK_VERIFY_SCORING_H

#include "verify/score.h"

#define GK_TOP 5

/* What is known of one model at one scored token while its logits pass by, block after block. */
typedef struct gk_tally {
    double most, sum;  /* running maximum, and sum of exp(z - most)            */
    double cross;      /* sum of exp(a - most of the base) (a - z), a the base's */
    float target;      /* logit of the token that follows                      */
    float top[GK_TOP]; /* falling                                            */
    uint32_t top_id[GK_TOP];
} gk_tally;

/* Of one layer of one model, against the base; written to checkpoints as it stands. */
typedef struct gk_layer_sums {
    double error, square, gates, local_error, local_square;
    uint64_t same;
} gk_layer_sums;

/* How far a pass is. step counts what is done in a layer: the base, then for each model its
 * layer on the base's inputs (with job->local) and its own; batch in that step. After the last
 * layer step 1 says that the final norm is done. */
typedef struct gk_position {
    uint64_t layer, step, batch;
} gk_position;

typedef struct gk_pass {
    const gk_score_job *job;
    gk_score *out;
    uint64_t T, first, per_window, n; /* n scored tokens                     */
    int n_streams;
    gk_stream **stream;  /* [n_streams] the base first, if there is one          */
    gk_states inputs;    /* of the base's layer, with job->local                 */
    gk_layer_sums *sums; /* [n_streams, layers]; of the base unused              */
    gk_position at;
    int now;               /* the stream at work                                   */
    uint64_t *row, *begin; /* see gk_logit_job                                */
    uint32_t *next;        /* [n] the token that follows                           */
    gk_tally *tally;       /* [n_streams, n]                                       */
} gk_pass;

/* Lists scored rows batch by batch, with a tally for each; takes blocks of logits; makes figures
 * of what they left. */
bool gk_tally_open(gk_pass *p, gk_err *err);
void gk_tally_block(void *pass, const gk_logit_block *b);
bool gk_tally_figures(gk_pass *p, gk_err *err);

/* Writes all of a pass that is not in job->state yet, and takes it up from there. The second
 * returns false when there is nothing (or *err what is damaged); the pass is then as it was, or,
 * with *spoilt set, must be started anew. */
bool gk_checkpoint_save(gk_pass *p, gk_err *err);
bool gk_checkpoint_load(gk_pass *p, bool *spoilt, gk_err *err);

#endif
