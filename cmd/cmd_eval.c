/* cmd/cmd_eval.c - perplexity, and the drift against another model. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "cmd/gate.h"
#include "cmd/page.h"
#include "cmd/pass.h"
#include "cmd/progress.h"
#include "cmd/table.h"
#include "formats/output.h"
#include "verify/score.h"

#define LARGE_PARAMETERS UINT64_C(20000000000) /* above: few windows unless asked for more */
#define LARGE_WINDOWS    32

typedef struct job {
    const gk_cli *cli;
    gk_catalog   *model, *base;
    gk_pass_text  text;
    gk_score_job  score;
    gk_arch       arch;
    const char   *preset, *protocol;
    uint64_t      all_windows; /* of the text */
    uint64_t      bytes;       /* of weights that will be read */
    double        start, first_layer;
    gk_err       *err;
} job;

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ---- what to read --------------------------------------------------------------- */

static bool read_texts(job *j)
{
    gk_text all = {0};
    const bool ok = gk_read_texts(j->cli, &all, j->err)
                    && gk_pass_encode(j->model, &all, &j->text, j->err);

    gk_text_free(&all);
    return ok;
}

/* ---- how to compute --------------------------------------------------------------- */

static bool set_windows(job *j)
{
    gk_forward_options *o = &j->score.forward;
    uint64_t parameters = 0;

    if (!gk_pass_windows(j->cli, &j->text, &o->ctx, &j->all_windows, j->err))
        return false;
    for (uint64_t i = 0; i < j->model->n_tensors; i++)
        parameters += gk_rows(&j->model->tensor[i]) * gk_cols(&j->model->tensor[i]);
    o->n_windows = j->all_windows;
    if (gk_cli_has(j->cli, GK_OPT_WINDOWS)) {
        o->n_windows = gk_cli_uint(j->cli, GK_OPT_WINDOWS, 0);
        if (o->n_windows > j->all_windows)
            o->n_windows = j->all_windows;
    } else if (parameters > LARGE_PARAMETERS && o->n_windows > LARGE_WINDOWS) {
        o->n_windows = LARGE_WINDOWS;
        gk_cli_talk(j->cli, "a model this large: the first %d of %" PRIu64 " windows "
                    "(--windows N changes that)", LARGE_WINDOWS, j->all_windows);
    }
    return true;
}

/* ---- the report --------------------------------------------------------------------- */

static void add_json(const job *j, const gk_score *s, double seconds, gk_text *t)
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
    gk_json_close(t, '}');
    gk_json_real(t, "ppl", s->ppl);
    gk_json_real(t, "ppl_err", s->ppl_err);
    gk_json_real(t, "nll", s->nll);
    gk_json_real(t, "seconds", seconds);
    gk_json_real(t, "tokens_per_second", (double)(o->ctx * o->n_windows) / seconds);
    gk_json_uint(t, "peak_rss_bytes", (uint64_t)use.ru_maxrss * 1024);
    gk_json_open(t, "experts", '[');
    for (uint64_t l = 0; l < s->n_layers; l++) {
        gk_json_open(t, NULL, '[');
        for (uint64_t e = 0; e < s->n_experts; e++)
            gk_json_uint(t, NULL, s->experts[l * s->n_experts + e]);
        gk_json_close(t, ']');
    }
    gk_json_close(t, ']');
    if (j->base != NULL) {
        gk_json_open(t, "base", '{');
        gk_json_real(t, "ppl", s->base_ppl);
        gk_json_close(t, '}');
        gk_json_open(t, "kld", '{');
        gk_json_real(t, "mean", s->kld.mean);
        gk_json_real(t, "err", s->kld.err);
        gk_json_real(t, "median", s->kld_median);
        gk_json_real(t, "p99", s->kld_p99);
        gk_json_real(t, "p999", s->kld_p999);
        gk_json_real(t, "max", s->kld_max);
        gk_json_close(t, '}');
        gk_json_real(t, "top1", s->top1);
        gk_json_real(t, "top5", s->top5);
        gk_json_open(t, "delta_ln_ppl", '{');
        gk_json_real(t, "mean", s->delta_ln_ppl.mean);
        gk_json_real(t, "err", s->delta_ln_ppl.err);
        gk_json_close(t, '}');
        gk_json_open(t, "layers", '[');
        for (uint64_t l = 0; l < s->n_layers; l++) {
            gk_json_open(t, NULL, '{');
            gk_json_uint(t, "layer", l);
            gk_json_real(t, "rel_error", s->layer[l].rel_error);
            gk_json_real(t, "router_agreement", s->layer[l].router_agreement);
            gk_json_close(t, '}');
        }
        gk_json_close(t, ']');
    }
    gk_json_close(t, '}');
}

static gk_table layer_table(const gk_score *s)
{
    static const gk_column columns[]
        = {{"layer", true, false}, {"rel. error", true, false}, {"router agrees", true, false}};
    gk_table table = {.column = columns, .n_columns = s->n_experts > 0 ? 3 : 2, .indent = "  "};

    for (uint64_t l = 0; l < s->n_layers; l++) {
        gk_table_cellf(&table, "%" PRIu64, l);
        gk_table_cellf(&table, "%.3e", s->layer[l].rel_error);
        if (s->n_experts > 0)
            gk_table_cellf(&table, "%.2f %%", 100 * s->layer[l].router_agreement);
    }
    return table;
}

static gk_table expert_table(const gk_score *s)
{
    static const gk_column columns[]
        = {{"layer", true, false}, {"least used", true, false}, {"most used", true, false}};
    gk_table table = {.column = columns, .n_columns = 3};

    for (uint64_t l = 0; l < s->n_layers; l++) {
        const uint64_t *count = s->experts + l * s->n_experts;
        uint64_t least = 0, most = 0, all = 0;
        for (uint64_t e = 0; e < s->n_experts; e++) {
            least = count[e] < count[least] ? e : least;
            most = count[e] > count[most] ? e : most;
            all += count[e];
        }
        gk_table_cellf(&table, "%" PRIu64, l);
        gk_table_cellf(&table, "%.1f %% (expert %" PRIu64 ")",
                       100.0 * (double)count[least] / (double)all, least);
        gk_table_cellf(&table, "%.1f %% (expert %" PRIu64 ")",
                       100.0 * (double)count[most] / (double)all, most);
    }
    return table;
}

static void page_drift(const gk_score *s, gk_text *t)
{
    double *v = gk_alloc(s->n_layers, sizeof *v, NULL);
    gk_table table = layer_table(s);

    gk_page_fact(t, "perplexity of the base", "%.6f", s->base_ppl);
    gk_page_fact(t, "change", "%+.4f %% (ln ratio %+.6f +- %.6f)",
                 100 * expm1(s->delta_ln_ppl.mean), s->delta_ln_ppl.mean, s->delta_ln_ppl.err);
    gk_page_fact(t, "KL divergence", "%.6f +- %.6f nats", s->kld.mean, s->kld.err);
    gk_page_fact(t, "median, 99 %, 99.9 %, max", "%.6f, %.6f, %.6f, %.6f", s->kld_median,
                 s->kld_p99, s->kld_p999, s->kld_max);
    gk_page_fact(t, "same top token", "%.3f %%", 100 * s->top1);
    gk_page_fact(t, "top-5 overlap", "%.3f %%", 100 * s->top5);
    gk_page_heading(t, "Relative error of the residual stream after each layer");
    for (uint64_t l = 0; v != NULL && l < s->n_layers; l++)
        v[l] = s->layer[l].rel_error;
    if (v != NULL)
        gk_page_bars(t, "relative error by layer", v, s->n_layers);
    if (s->n_experts > 0)
        gk_page_heading(t, "Tokens whose experts differ from the base's, by layer");
    for (uint64_t l = 0; v != NULL && l < s->n_layers; l++)
        v[l] = 1 - s->layer[l].router_agreement;
    if (v != NULL && s->n_experts > 0)
        gk_page_bars(t, "share of tokens with other experts", v, s->n_layers);
    gk_page_table(t, &table);
    gk_table_free(&table);
    gk_free(v);
}

static bool write_page(const job *j, const gk_score *s)
{
    const gk_forward_options *o = &j->score.forward;
    gk_text t = {0};

    gk_page_begin(&t, j->cli, NULL, true);
    if (j->base != NULL)
        gk_page_fact(&t, "base", "%s", j->base->path);
    gk_page_fact(&t, "protocol", "%s, preset %s", j->protocol, j->preset);
    gk_page_fact(&t, "windows", "%" PRIu64 " of %" PRIu64 " tokens, %" PRIu64 " tokens scored",
                 o->n_windows, o->ctx, s->n_scored);
    gk_page_fact(&t, "perplexity", "%.6f +- %.6f", s->ppl, s->ppl_err);
    if (j->base != NULL)
        page_drift(s, &t);
    if (s->n_experts > 0) {
        gk_table table = expert_table(s);
        gk_page_heading(&t, "Use of the experts");
        gk_page_table(&t, &table);
        gk_table_free(&table);
    }
    const bool ok = gk_page_end(&t, gk_cli_string(j->cli, GK_OPT_HTML), j->err);
    gk_text_free(&t);
    return ok;
}

static void add_text(const job *j, const gk_score *s, double seconds, gk_text *t)
{
    const gk_forward_options *o = &j->score.forward;

    gk_text_printf(t,
                   "protocol     %s, ctx %" PRIu64 ", %" PRIu64 " window%s, %" PRIu64
                   " tokens scored, preset %s\n",
                   j->protocol, o->ctx, o->n_windows, o->n_windows == 1 ? "" : "s", s->n_scored,
                   j->preset);
    gk_text_printf(t, "perplexity   %.4f +- %.4f\n", s->ppl, s->ppl_err);
    if (j->base != NULL) {
        gk_text_printf(t, "base         %.4f\n", s->base_ppl);
        gk_text_printf(t, "change       %+.3f %%  (ln ratio %+.6f +- %.6f)\n",
                       100 * expm1(s->delta_ln_ppl.mean), s->delta_ln_ppl.mean,
                       s->delta_ln_ppl.err);
        gk_text_printf(t, "KL div.      %.6f +- %.6f nats; median %.6f, 99 %% %.4f, 99.9 %% %.4f, "
                       "max %.4f\n", s->kld.mean, s->kld.err, s->kld_median, s->kld_p99,
                       s->kld_p999, s->kld_max);
        gk_text_printf(t, "same top     %.2f %%; top-5 overlap %.2f %%\n", 100 * s->top1,
                       100 * s->top5);
        gk_table table = layer_table(s);
        gk_text_char(t, '\n');
        gk_table_print(&table, t, gk_table_width(), j->cli->color);
        gk_table_free(&table);
    }
    if (j->cli->verbose > 0)
        gk_text_printf(t, "speed        %.1f tokens/s, %.2f s\n",
                       (double)(o->ctx * o->n_windows) / seconds, seconds);
}

static bool write_logits(const job *j, const char *path)
{
    gk_text t = {0};
    char header[128];
    const uint64_t T = j->score.forward.ctx, V = j->arch.sizes.vocab;
    int n = snprintf(header, sizeof header, "{'descr': '<f4', 'fortran_order': False, 'shape': "
                     "(%" PRIu64 ", %" PRIu64 "), }", T, V);

    /* magic, version 1.0, length; the header ends on a multiple of 64 with a newline */
    const unsigned total = (unsigned)((10 + n + 1 + 63) / 64 * 64), len = total - 10;
    gk_text_add(&t, "\x93NUMPY\x01\x00", 8);
    gk_text_char(&t, (char)(len & 0xFF));
    gk_text_char(&t, (char)(len >> 8));
    gk_text_str(&t, header);
    while (t.len + 1 < total && !t.failed)
        gk_text_char(&t, ' ');
    gk_text_char(&t, '\n');
    gk_text_add(&t, j->score.logits, T * V * sizeof(float));
    const bool ok = gk_text_ok(&t, j->err) && gk_file_put(path, t.data, t.len, j->err);
    gk_text_free(&t);
    return ok;
}

/* ---- the command ------------------------------------------------------------------- */

static bool prepare(job *j)
{
    const char *ids = gk_cli_string(j->cli, GK_OPT_TOKEN_IDS);
    const char *base = gk_cli_string(j->cli, GK_OPT_BASE);
    gk_forward_options *o = &j->score.forward;

    j->model = gk_pass_model(j->cli, j->cli->arg[0], &j->arch, j->err);
    if (j->model == NULL)
        return false;
    if (base != NULL && (j->base = gk_cli_model_whole(j->cli, base, j->err)) == NULL)
        return false;
    if (!(ids != NULL ? gk_pass_ids(ids, &j->text, j->err) : read_texts(j))
        || !gk_pass_switches(j->cli, &j->arch, &o->switches, &j->preset, j->err)
        || !set_windows(j))
        return false;
    j->protocol = gk_cli_choice(j->cli, GK_OPT_PROTOCOL, 0) == 0 ? "llama" : "paper";
    j->score.protocol = (gk_protocol)gk_cli_choice(j->cli, GK_OPT_PROTOCOL, 0);
    o->threads = j->cli->threads;
    o->memory_bytes = j->base != NULL ? j->cli->memory / 2 : j->cli->memory;
    o->stop = gk_cli_stop();
    o->progress = gk_pass_progress;
    j->score.model = j->model;
    j->score.base = j->base;
    j->score.ids = j->text.ids.id;
    j->bytes = gk_forward_bytes(j->model, &j->arch, o)
               + (j->base != NULL ? gk_forward_bytes(j->base, &j->arch, o) : 0);
    if (gk_cli_has(j->cli, GK_OPT_LOGITS))
        j->score.logits = gk_alloc(o->ctx, j->arch.sizes.vocab * sizeof(float), j->err);
    return j->err->code == GK_OK;
}

static int report(job *j, const gk_score *s, double seconds)
{
    const char *gate = gk_cli_string(j->cli, GK_OPT_GATE);
    gk_text json = {0}, text = {0};
    int status = GK_EXIT_FINE;

    if (isnan(s->ppl))
        gk_cli_talk(j->cli, "the model computes no numbers: its perplexity is NaN");
    add_json(j, s, seconds, &json);
    add_text(j, s, seconds, &text);
    if (gate != NULL && json.data != NULL
        && !gk_gate_met(j->cli, gate, json.data, json.len, j->err))
        status = j->err->code == GK_OK ? GK_EXIT_FINDINGS : gk_cli_fail(j->cli, j->err);
    status = gk_cli_emit(j->cli, j->cli->json ? &json : &text, status);
    if (gk_cli_has(j->cli, GK_OPT_HTML) && !write_page(j, s))
        status = gk_cli_fail(j->cli, j->err);
    gk_text_free(&json);
    gk_text_free(&text);
    return status;
}

int cmd_eval(const gk_cli *cli)
{
    gk_err err = {0};
    job j = {.cli = cli, .err = &err, .start = now()};
    gk_score score = {0};
    int status;

    if (gk_cli_has(cli, GK_OPT_TEXT) == gk_cli_has(cli, GK_OPT_TOKEN_IDS))
        return gk_cli_usage(cli, "eval takes --text FILE or --token-ids FILE, one of them");
    bool ok = gk_gate_parse(gk_cli_string(cli, GK_OPT_GATE), &err) && prepare(&j);
    if (ok) {
        gk_pass_announce(cli, &j.arch, &j.score.forward, j.base != NULL ? 2 : 1, j.bytes);
        gk_progress_begin(cli, "evaluating", GK_UNIT_BYTES, j.bytes);
        ok = gk_score_run(&j.score, &score, &err);
        gk_progress_end();
    }
    ok = ok && (j.score.logits == NULL || write_logits(&j, gk_cli_string(cli, GK_OPT_LOGITS)));
    status = ok ? report(&j, &score, now() - j.start) : gk_cli_fail(cli, &err);
    gk_score_free(&score);
    gk_free(j.score.logits);
    gk_ids_free(&j.text.ids);
    gk_catalog_close(j.model);
    gk_catalog_close(j.base);
    return status;
}
