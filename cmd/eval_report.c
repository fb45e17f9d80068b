/* cmd/eval_report.c - what eval found out, as JSON and as text. */
#include "cmd/eval.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>
#include <sys/resource.h>

#include "cmd/table.h"

const char *gk_eval_name(const gk_catalog *c)
{
    const char *end = c->path + strlen(c->path), *start;

    while (end > c->path + 1 && end[-1] == '/')
        end--;
    for (start = end; start > c->path && start[-1] != '/';)
        start--;
    return *start == '\0' || *end == '/' ? c->path : start;
}

/* Lines of a text, as one. */
static void flatten(gk_text *t)
{
    for (uint64_t i = 0; i < t->len; i++)
        if (t->data[i] == '\n' || t->data[i] == '\r' || t->data[i] == '\t')
            t->data[i] = ' ';
}

void gk_eval_quote(const gk_eval *j, uint64_t window, uint64_t position, uint64_t n,
                   gk_text *before, gk_text *token)
{
    const uint32_t *ids = j->tokens.ids.id + window * j->score.forward.ctx;
    const uint64_t from = position + 1 > n ? position + 1 - n : 0;
    gk_err none = {0};

    if (j->tokenizer == NULL)
        return;
    gk_tokenizer_decode(j->tokenizer, ids + from, position + 1 - from, before, &none);
    gk_tokenizer_decode(j->tokenizer, ids + position + 1, 1, token, &none);
    flatten(before);
    flatten(token);
}

/* ---- JSON ----------------------------------------------------------------------------- */

static void json_experts(const gk_score *s, const uint64_t *experts, gk_text *t)
{
    gk_json_open(t, "experts", '[');
    for (uint64_t l = 0; l < s->n_layers; l++) {
        gk_json_open(t, NULL, '[');
        for (uint64_t e = 0; e < s->n_experts; e++)
            gk_json_uint(t, NULL, experts[l * s->n_experts + e]);
        gk_json_close(t, ']');
    }
    gk_json_close(t, ']');
}

static void json_worst(const gk_eval *j, const gk_figures *f, gk_text *t)
{
    gk_text before = {0}, token = {0};

    gk_json_open(t, "worst", '{');
    gk_json_uint(t, "window", f->max_window);
    gk_json_uint(t, "position", f->max_position);
    gk_json_uint(t, "token", f->max_token);
    gk_eval_quote(j, f->max_window, f->max_position, 1, &before, &token);
    if (token.data != NULL)
        gk_json_string_n(t, "text", token.data, token.len);
    gk_json_close(t, '}');
    gk_text_free(&before);
    gk_text_free(&token);
}

static void json_divergence(const gk_eval *j, const gk_figures *f, gk_text *t)
{
    static const char *const names[GK_N_PERCENTILES] = {"median", "p90", "p95", "p99", "p999"};

    gk_json_open(t, "kld", '{');
    gk_json_real(t, "mean", f->kld.mean);
    gk_json_real(t, "err", f->kld.err);
    for (int i = 0; i < GK_N_PERCENTILES; i++)
        gk_json_real(t, names[i], f->kld_at[i]);
    gk_json_real(t, "max", f->kld_max);
    if (f->kld_max > 0)
        json_worst(j, f, t);
    gk_json_open(t, "windows", '[');
    for (uint64_t w = 0; w < j->score.forward.n_windows; w++)
        gk_json_real(t, NULL, f->window_kld[w]);
    gk_json_close(t, ']');
    gk_json_close(t, '}');
}

static void json_drift(const gk_eval *j, const gk_score *s, const gk_figures *f, gk_text *t)
{
    json_divergence(j, f, t);
    gk_json_real(t, "top1", f->top1);
    gk_json_real(t, "top5", f->top5);
    gk_json_open(t, "flips", '{');
    gk_json_uint(t, "confident", s->n_confident);
    gk_json_uint(t, "flipped", f->n_flips);
    gk_json_real(t, "share", f->flips);
    gk_json_close(t, '}');
    gk_json_open(t, "delta_p", '{');
    gk_json_real(t, "mean", f->delta_p.mean);
    gk_json_real(t, "err", f->delta_p.err);
    gk_json_real(t, "rms", f->delta_p_rms);
    gk_json_close(t, '}');
    gk_pass_json_mean(t, "delta_ln_ppl", f->delta_ln_ppl);
    gk_json_open(t, "layers", '[');
    for (uint64_t l = 0; l < s->n_layers; l++) {
        gk_json_open(t, NULL, '{');
        gk_json_uint(t, "layer", l);
        gk_json_real(t, "rel_error", f->layer[l].rel_error);
        if (j->score.local)
            gk_json_real(t, "local_error", f->layer[l].local_error);
        gk_json_real(t, "router_agreement", f->layer[l].router_agreement);
        gk_json_real(t, "gate_drift", f->layer[l].gate_drift);
        gk_json_close(t, '}');
    }
    gk_json_close(t, ']');
}

static void json_source(const gk_eval *j, gk_text *t)
{
    gk_json_open(t, "texts", '[');
    for (int i = 0; i < j->n_texts; i++) {
        gk_json_open(t, NULL, '{');
        gk_json_string(t, "name", j->text[i].name);
        gk_json_uint(t, "bytes", j->text[i].bytes);
        gk_json_string(t, "sha256", j->text[i].sha256);
        gk_json_close(t, '}');
    }
    gk_json_close(t, ']');
    gk_json_uint(t, "threads", (uint64_t)j->cli->threads);
}

static void json_figures(const gk_eval *j, const gk_score *s, int m, gk_text *t)
{
    const gk_figures *f = &s->model[m];

    gk_json_string(t, "model", j->model[m]->path);
    gk_json_string(t, "headers_sha256", j->digest[m]);
    gk_json_real(t, "ppl", f->ppl);
    gk_json_real(t, "ppl_err", f->ppl_err);
    gk_json_real(t, "nll", f->nll);
    json_experts(s, f->experts, t);
    if (s->has_base)
        json_drift(j, s, f, t);
}

static void json_base(const gk_eval *j, const gk_score *s, gk_text *t)
{
    gk_json_open(t, "base", '{');
    gk_json_real(t, "ppl", s->base.ppl);
    gk_json_string(t, "model", j->base->path);
    gk_json_string(t, "headers_sha256", j->base_digest);
    gk_json_real(t, "ppl_err", s->base.ppl_err);
    gk_json_real(t, "nll", s->base.nll);
    json_experts(s, s->base.experts, t);
    gk_json_close(t, '}');
}

void gk_eval_json(const gk_eval *j, const gk_score *s, gk_text *t)
{
    const gk_forward_options *o = &j->score.forward;
    struct rusage use;

    getrusage(RUSAGE_SELF, &use);
    gk_cli_json(j->cli, t);
    gk_json_open(t, "protocol", '{');
    gk_json_string(t, "name", j->protocol);
    gk_json_uint(t, "ctx", o->ctx);
    gk_json_uint(t, "windows", o->n_windows);
    gk_json_uint(t, "scored", s->n_scored);
    gk_json_string(t, "preset", j->preset);
    gk_json_uint(t, "tokens", o->ctx * o->n_windows);
    gk_json_close(t, '}');
    json_source(j, t);
    json_figures(j, s, 0, t);
    if (s->has_base)
        json_base(j, s, t);
    if (s->n_models > 1) {
        gk_json_open(t, "also", '[');
        for (int m = 1; m < s->n_models; m++) {
            gk_json_open(t, NULL, '{');
            json_figures(j, s, m, t);
            gk_json_close(t, '}');
        }
        gk_json_close(t, ']');
    }
    gk_json_real(t, "seconds", j->seconds);
    gk_json_real(t, "tokens_per_second", (double)(o->ctx * o->n_windows) / j->seconds);
    gk_json_uint(t, "peak_rss_bytes", (uint64_t)use.ru_maxrss * 1024);
    gk_json_close(t, '}');
}

/* ---- text: one model -------------------------------------------------------------------- */

static void text_worst(const gk_eval *j, const gk_figures *f, gk_text *t)
{
    gk_text before = {0}, token = {0};

    gk_eval_quote(j, f->max_window, f->max_position, 6, &before, &token);
    gk_text_printf(t, "worst        %.4f at position %" PRIu64 " of window %" PRIu64, f->kld_max,
                   f->max_position, f->max_window);
    if (token.data != NULL) {
        gk_text_str(t, ": ..");
        gk_text_escaped(t, before.data == NULL ? "" : before.data, before.len);
        gk_text_str(t, "[");
        gk_text_escaped(t, token.data, token.len);
        gk_text_str(t, "]");
    }
    gk_text_char(t, '\n');
    gk_text_free(&before);
    gk_text_free(&token);
}

static void text_one(const gk_eval *j, const gk_score *s, const gk_figures *f, gk_text *t)
{
    gk_text_printf(t, "base         %.4f\n", s->base.ppl);
    gk_text_printf(t, "change       %+.3f %%  (ln ratio %+.6f +- %.6f)\n",
                   100 * expm1(f->delta_ln_ppl.mean), f->delta_ln_ppl.mean, f->delta_ln_ppl.err);
    gk_text_printf(t,
                   "KL div.      %.6f +- %.6f nats; median %.6f, 99 %% %.4f, 99.9 %% %.4f, "
                   "max %.4f\n",
                   f->kld.mean, f->kld.err, f->kld_at[0], f->kld_at[3], f->kld_at[4], f->kld_max);
    if (f->kld_max > 0)
        text_worst(j, f, t);
    gk_text_printf(t, "same top     %.2f %%; top-5 overlap %.2f %%\n", 100 * f->top1,
                   100 * f->top5);
    gk_text_printf(
        t, "flips        %" PRIu64 " of %" PRIu64 " tokens where the base is confident (p > 0.5)\n",
        f->n_flips, s->n_confident);
    gk_text_printf(t, "delta p      rms %.3f %%, mean %+.3f +- %.3f %%\n", 100 * f->delta_p_rms,
                   100 * f->delta_p.mean, 100 * f->delta_p.err);
}

void gk_eval_layers(const gk_eval *j, const gk_score *s, const gk_layer_drift *layer,
                    gk_column *column, gk_table *table)
{
    column[0] = (gk_column){"layer", true, false};
    column[1] = (gk_column){"rel. error", true, false};
    *table = (gk_table){.column = column, .n_columns = 2};
    if (j->score.local)
        column[table->n_columns++] = (gk_column){"of it alone", true, false};
    if (s->n_experts > 0) {
        column[table->n_columns++] = (gk_column){"router agrees", true, false};
        column[table->n_columns++] = (gk_column){"gate drift", true, false};
    }
    for (uint64_t l = 0; l < s->n_layers; l++) {
        gk_table_cellf(table, "%" PRIu64, l);
        gk_table_cellf(table, "%.3e", layer[l].rel_error);
        if (j->score.local)
            gk_table_cellf(table, "%.3e", layer[l].local_error);
        if (s->n_experts == 0)
            continue;
        gk_table_cellf(table, "%.2f %%", 100 * layer[l].router_agreement);
        gk_table_cellf(table, "%.3f %%", 100 * layer[l].gate_drift);
    }
}

static void layers_one(const gk_eval *j, const gk_score *s, const gk_figures *f, gk_text *t)
{
    gk_column column[GK_EVAL_LAYER_COLUMNS];
    gk_table table;

    gk_eval_layers(j, s, f->layer, column, &table);
    table.indent = "  ";
    gk_text_char(t, '\n');
    gk_table_print(&table, t, gk_table_width(), j->cli->color);
    gk_table_free(&table);
}

/* ---- text: a column a model --------------------------------------------------------------- */

typedef struct figure_row {
    const char *name;
    int digits; /* after the point */
    bool sign;
    double scale;
    double (*get)(const gk_figures *f);
} figure_row;

static double get_ppl(const gk_figures *f) { return f->ppl; }
static double get_change(const gk_figures *f) { return expm1(f->delta_ln_ppl.mean); }
static double get_ln(const gk_figures *f) { return f->delta_ln_ppl.mean; }
static double get_ln_err(const gk_figures *f) { return f->delta_ln_ppl.err; }
static double get_kld(const gk_figures *f) { return f->kld.mean; }
static double get_kld_err(const gk_figures *f) { return f->kld.err; }
static double get_median(const gk_figures *f) { return f->kld_at[0]; }
static double get_p99(const gk_figures *f) { return f->kld_at[3]; }
static double get_p999(const gk_figures *f) { return f->kld_at[4]; }
static double get_max(const gk_figures *f) { return f->kld_max; }
static double get_top1(const gk_figures *f) { return f->top1; }
static double get_top5(const gk_figures *f) { return f->top5; }
static double get_flips(const gk_figures *f) { return (double)f->n_flips; }
static double get_delta_p(const gk_figures *f) { return f->delta_p_rms; }

static const figure_row rows[] = {
    {"perplexity", 4, false, 1, get_ppl},
    {"change, %", 3, true, 100, get_change},
    {"ln ratio", 6, true, 1, get_ln},
    {"  +-", 6, false, 1, get_ln_err},
    {"KL div., nats", 6, false, 1, get_kld},
    {"  +-", 6, false, 1, get_kld_err},
    {"  median", 6, false, 1, get_median},
    {"  99 %", 4, false, 1, get_p99},
    {"  99.9 %", 4, false, 1, get_p999},
    {"  max", 4, false, 1, get_max},
    {"same top, %", 2, false, 100, get_top1},
    {"top-5 overlap, %", 2, false, 100, get_top5},
    {"confident flips", 0, false, 1, get_flips},
    {"delta p rms, %", 3, false, 100, get_delta_p},
};

static void model_columns(const gk_eval *j, gk_column *column, const char *first, bool right)
{
    column[0] = (gk_column){first, right, false};
    for (int m = 0; m < j->n_models; m++)
        column[1 + m] = (gk_column){gk_eval_name(j->model[m]), true, true};
}

void gk_eval_figures(const gk_eval *j, const gk_score *s, gk_column *column, gk_table *table)
{
    *table = (gk_table){.column = column, .n_columns = 1 + j->n_models};
    model_columns(j, column, "", false);
    for (size_t i = 0; i < (s->has_base ? sizeof rows / sizeof rows[0] : 1); i++) {
        gk_table_cell(table, rows[i].name);
        for (int m = 0; m < j->n_models; m++)
            gk_table_cellf(table, rows[i].sign ? "%+.*f" : "%.*f", rows[i].digits,
                           rows[i].scale * rows[i].get(&s->model[m]));
    }
}

static void text_many(const gk_eval *j, const gk_score *s, gk_text *t)
{
    gk_column column[GK_EVAL_COLUMNS];
    gk_table table;

    gk_eval_figures(j, s, column, &table);
    gk_text_printf(t, "base         %.4f, %s\n\n", s->base.ppl, gk_eval_name(j->base));
    gk_table_print(&table, t, gk_table_width(), j->cli->color);
    gk_table_free(&table);
}

static double layer_error(const gk_layer_drift *l) { return l->rel_error; }
static double layer_local(const gk_layer_drift *l) { return l->local_error; }
static double layer_agreement(const gk_layer_drift *l) { return l->router_agreement; }
static double layer_gates(const gk_layer_drift *l) { return l->gate_drift; }

static void layers_many(const gk_eval *j, const gk_score *s, const char *title, bool share,
                        double (*get)(const gk_layer_drift *l), gk_text *t)
{
    gk_column column[GK_EVAL_COLUMNS];
    gk_table table = {.column = column, .n_columns = 1 + j->n_models, .indent = "  "};

    model_columns(j, column, "layer", true);
    for (uint64_t l = 0; l < s->n_layers; l++) {
        gk_table_cellf(&table, "%" PRIu64, l);
        for (int m = 0; m < j->n_models; m++) {
            const double x = get(&s->model[m].layer[l]);
            if (share)
                gk_table_cellf(&table, "%.3f %%", 100 * x);
            else
                gk_table_cellf(&table, "%.3e", x);
        }
    }
    gk_text_printf(t, "\n%s\n", title);
    gk_table_print(&table, t, gk_table_width(), j->cli->color);
    gk_table_free(&table);
}

/* ---- text ------------------------------------------------------------------------------- */

static void text_sources(const gk_eval *j, gk_text *t)
{
    if (j->cli->verbose <= 0)
        return;
    for (int i = 0; i < j->n_texts; i++) {
        gk_text_str(t, "text         ");
        gk_text_escaped(t, j->text[i].name, strlen(j->text[i].name));
        gk_text_printf(t, ", %" PRIu64 " bytes, sha256 %s\n", j->text[i].bytes, j->text[i].sha256);
    }
    for (int m = 0; m < j->n_models; m++) {
        gk_text_str(t, "model        ");
        gk_text_escaped(t, j->model[m]->path, strlen(j->model[m]->path));
        gk_text_printf(t, ", headers %s\n", j->digest[m]);
    }
    if (j->base != NULL) {
        gk_text_str(t, "base         ");
        gk_text_escaped(t, j->base->path, strlen(j->base->path));
        gk_text_printf(t, ", headers %s\n", j->base_digest);
    }
}

void gk_eval_text_report(const gk_eval *j, const gk_score *s, gk_text *t)
{
    const gk_forward_options *o = &j->score.forward;

    gk_text_printf(t,
                   "protocol     %s, ctx %" PRIu64 ", %" PRIu64 " window%s, %" PRIu64
                   " tokens scored, preset %s\n",
                   j->protocol, o->ctx, o->n_windows, o->n_windows == 1 ? "" : "s", s->n_scored,
                   j->preset);
    text_sources(j, t);
    if (s->n_models == 1) {
        gk_text_printf(t, "perplexity   %.4f +- %.4f\n", s->model[0].ppl, s->model[0].ppl_err);
        if (s->has_base) {
            text_one(j, s, &s->model[0], t);
            layers_one(j, s, &s->model[0], t);
        }
    } else {
        text_many(j, s, t);
        layers_many(j, s, "relative error after each layer", false, layer_error, t);
        if (j->score.local)
            layers_many(j, s, "relative error of each layer alone", false, layer_local, t);
        if (s->n_experts > 0) {
            layers_many(j, s, "router agrees", true, layer_agreement, t);
            layers_many(j, s, "gate drift", true, layer_gates, t);
        }
    }
    if (j->cli->verbose > 0)
        gk_text_printf(t, "speed        %.1f tokens/s, %.2f s\n",
                       (double)(o->ctx * o->n_windows) / j->seconds, j->seconds);
}
