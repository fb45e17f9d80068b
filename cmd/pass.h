/* cmd/pass.h - what every command that runs the forward pass asks for and says. */
#ifndef GK_CMD_PASS_H
#define GK_CMD_PASS_H

#include "cmd/input.h"
#include "verify/score.h"

/* A text as tokens. */
typedef struct gk_pass_text {
    gk_ids ids;
    bool has_bos; /* the model wants one at the start */
    uint32_t bos;
} gk_pass_text;

/* Adds the tokens of a text, the way llama-perplexity takes a file: behind a BOS when the model
 * wants one. Free t->ids in any case. */
bool gk_pass_encode(const gk_catalog *model, const gk_text *text, gk_pass_text *t, gk_err *err);

/* Adds the ids of --token-ids. */
bool gk_pass_ids(const char *path, gk_pass_text *t, gk_err *err);

/* Cuts the tokens into windows of --ctx (or, of --token-ids, one of all): every one begins with
 * the BOS, if there is one. False: ARG when there are too few. */
bool gk_pass_windows(const gk_cli *cli, gk_pass_text *t, uint64_t *ctx, uint64_t *n_windows,
                     gk_err *err);

/* Takes --preset and the switches that override it; *preset becomes its name. False: ARG. */
bool gk_pass_switches(const gk_cli *cli, const gk_arch *a, gk_switches *out, const char **preset,
                      gk_err *err);

/* Opens a model that there is a forward pass for. NULL and *err. */
gk_catalog *gk_pass_model(const gk_cli *cli, const char *path, gk_arch *a, gk_err *err);

/* Says tokens, bytes, memory and time before the first layer, of n_passes of
 * a model's layers. The time
 * is that of the matrix products at the rate measured now; reading weights may take longer. */
void gk_pass_announce(const gk_cli *cli, const gk_arch *a, const gk_forward_options *o,
                      int n_passes, uint64_t weight_bytes);

/* Returns the directory that XDG_CACHE_HOME or HOME stands for, in which the state of passes lies,
 * or NULL: there is none, or no memory (*err). */
const char *gk_pass_cache(const gk_cli *cli, gk_err *err);

/* Returns where activations go that memory does not hold. Not the folder for small things that
 * often lies in memory. */
const char *gk_pass_scratch(const gk_cli *cli);

/* Adds {mean, err} as that member. */
void gk_pass_json_mean(gk_text *t, const char *key, gk_mean mean);

/* For gk_forward_options.progress. */
void gk_pass_progress(void *context, uint64_t bytes, const char *what);

#endif
