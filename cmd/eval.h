/* cmd/eval.h - what the files of the eval command share. Private to cmd/. */
#ifndef GK_CMD_EVAL_H
#define GK_CMD_EVAL_H

#include "cmd/pass.h"
#include "cmd/table.h"
#include "formats/hash.h"
#include "verify/score.h"
#include "verify/tokenizer.h"

#define GK_MAX_ALSO     8
#define GK_EVAL_COLUMNS (2 + GK_MAX_ALSO)

typedef struct gk_eval_text {
    const char *name;
    uint64_t bytes;
    char sha256[GK_SHA256_HEX];
} gk_eval_text;

typedef struct gk_eval {
    const gk_cli *cli;
    gk_catalog *base;
    gk_catalog *model[1 + GK_MAX_ALSO]; /* n_models: MODEL, then those of --also */
    int n_models;
    char base_digest[GK_SHA256_HEX], digest[1 + GK_MAX_ALSO][GK_SHA256_HEX];
    gk_eval_text *text; /* [n_texts] what was read, a file each */
    int n_texts;
    gk_tokenizer *tokenizer; /* NULL with --token-ids */
    gk_pass_text tokens;
    gk_score_job score;
    gk_arch arch;
    const char *preset, *protocol;
    uint64_t all_windows; /* of the text                */
    uint64_t bytes;       /* of weights that will be read */
    double start, seconds;
    gk_err *err;
} gk_eval;

/* Adds the report: text for people, JSON; writes the page that --html names. */
void gk_eval_text_report(const gk_eval *j, const gk_score *s, gk_text *t);
void gk_eval_json(const gk_eval *j, const gk_score *s, gk_text *t);
bool gk_eval_page(const gk_eval *j, const gk_score *s);

/* Adds the n tokens before the one at a position of a window, and that one to `token`, as text;
 * nothing where there is no tokenizer. */
void gk_eval_quote(const gk_eval *j, uint64_t window, uint64_t position, uint64_t n,
                   gk_text *before, gk_text *token);

/* Fills a table with the figures, a column a model; column has GK_EVAL_COLUMNS and must outlive it.
 * Free the table. */
void gk_eval_figures(const gk_eval *j, const gk_score *s, gk_column *column, gk_table *table);

/* Fills a table with what layers drifted, a row each; column has GK_EVAL_LAYER_COLUMNS and must
 * outlive it. Free the table. */
#define GK_EVAL_LAYER_COLUMNS 5
void gk_eval_layers(const gk_eval *j, const gk_score *s, const gk_layer_drift *layer,
                    gk_column *column, gk_table *table);

/* Returns the last part of the path that was given for a model: short, for columns. */
const char *gk_eval_name(const gk_catalog *c);

#endif
