/* verify/checks.c - names, the tokenizer, and one pass over all values. */
#include "verify/checks.h"

#include <inttypes.h>
#include <string.h>

#include "formats/grok2.h"
#include "verify/official.h"
#include "verify/sweep.h"
#include "verify/tokenizer.h"

/* ---- names ----------------------------------------------------------------------- */

static bool looks_like_path(const char *name)
{
    return name[0] == '/' || strstr(name, "../") != NULL || strchr(name, '\\') != NULL;
}

/* Engines that map files read elements where they lie: the data should begin aligned. */
static bool check_alignment(gk_catalog *c, gk_err *err)
{
    for (uint64_t i = 0; i < c->n_inputs; i++)
        if (c->input[i].usable && c->input[i].header_bytes % 8 != 0
            && !gk_findings_addf(&c->findings, "alignment", GK_WARN, c->input[i].name, NULL, err,
                                 "the data begins at byte %" PRIu64 ", which is not aligned to 8",
                                 c->input[i].header_bytes))
            return false;
    return true;
}

static bool check_names(gk_catalog *c, gk_err *err)
{
    for (uint64_t i = 0; i < c->n_stored; i++)
        if (looks_like_path(c->stored[i].name)
            && !gk_findings_addf(&c->findings, "name", GK_WARN,
                                 c->input[c->stored[i].input].name, c->stored[i].name, err,
                                 "the name looks like a path; it is never used as one here"))
            return false;
    for (uint64_t i = 0; i < c->n_stored; i++)
        if (c->stored[i].odd_name
            && !gk_findings_addf(&c->findings, "name", GK_WARN,
                                 c->input[c->stored[i].input].name, c->stored[i].name, err,
                                 "%s", c->stored[i].name[0] == '\0'
                                     ? "a tensor without a name: the name is empty"
                                     : "the name holds control characters (escaped here)"))
            return false;
    return true;
}

/* ---- the tokenizer ------------------------------------------------------------------ */

static bool check_tokenizer(gk_catalog *c, gk_err *err)
{
    gk_grok2 sizes;
    gk_err ignored = {0};

    const bool known = gk_grok2_is(c->config) && gk_grok2_sizes(c->config, &sizes, &ignored);
    if (gk_vocabulary_has(c))
        return gk_tokenizer_check(c, known ? sizes.vocab : 0, &c->findings, err);
    return (c->directory == NULL && c->archive == NULL) || !known
           || gk_findings_addf(&c->findings, "tokenizer", GK_NOTE, "tokenizer.tok.json", NULL, err,
                               "the tokenizer is not here; serving needs it");
}

/* ---- values --------------------------------------------------------------------------- */

static bool check_bytes(gk_catalog *c, const gk_check_options *o, gk_err *err)
{
    gk_values *values = o->values ? gk_values_new(c, err) : NULL;
    const gk_sweep pass = {
        .c = c,
        .sums = o->sums,
        .values = values,
        .keep_going = o->keep_going,
        .threads = o->threads,
        .stop = o->stop,
        .progress = o->progress,
        .context = o->context,
    };
    gk_figure_table figures = {.arena = NULL};
    const bool ok = (!o->values || values != NULL) && gk_sweep_run(&pass, err)
                    && (values == NULL
                        || (gk_values_report(values, err)
                            && gk_values_figures(values, &figures, err)
                            && gk_figures_judge(&figures, &c->findings, err)));

    if (ok && o->figures != NULL)
        *o->figures = figures;
    else
        gk_figure_table_free(&figures);
    gk_values_free(values);
    return ok;
}

bool gk_checks_run(gk_catalog *c, const gk_check_options *options, gk_err *err)
{
    return check_names(c, err) && check_alignment(c, err) && check_tokenizer(c, err)
           && gk_official_check(c, options->sums, err) && check_bytes(c, options, err)
           && (options->sums == NULL || gk_sums_judge(c, options->sums, err));
}
