/* cmd/cmd_calibrate.c - statistics of the inputs of every matrix, from one pass over texts. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "cmd/pass.h"
#include "cmd/progress.h"
#include "cmd/table.h"
#include "quant/stats.h"
#include "verify/calibrate.h"
#include "verify/probes.h"

#define DEFAULT_PROBE_TOKENS 8192

typedef struct job {
    const gk_cli *cli;
    gk_catalog *model;
    gk_pass_text text;
    gk_arch arch;
    gk_calibrate_job work;
    char sha256[GK_SHA256_HEX]; /* of the texts */
    uint64_t bytes;             /* of weights that will be read */
    double start;
    gk_err *err;
} job;

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ---- what to read ----------------------------------------------------------------- */

/* The operands behind MODEL as one text, or the ids of --token-ids. */
static bool read_tokens(job *j)
{
    const char *ids = gk_cli_string(j->cli, GK_OPT_TOKEN_IDS);
    gk_text all = {0};
    bool ok = true;

    for (int i = 1; ok && ids == NULL && i < j->cli->n_args; i++)
        ok = gk_read_text(j->cli->arg[i], &all, j->err);
    if (ids != NULL)
        ok = gk_pass_ids(ids, &j->text, j->err)
             && gk_hash_bytes(j->text.ids.id, j->text.ids.n * sizeof *j->text.ids.id, j->sha256,
                              j->err);
    else
        ok = ok && gk_pass_encode(j->model, &all, &j->text, j->err)
             && gk_hash_bytes(all.data == NULL ? "" : all.data, all.len, j->sha256, j->err);
    gk_text_free(&all);
    return ok;
}

static bool name_texts(job *j)
{
    const char *ids = gk_cli_string(j->cli, GK_OPT_TOKEN_IDS);
    const uint64_t n = ids != NULL ? 1 : (uint64_t)j->cli->n_args - 1;
    const char **name = gk_arena_alloc(j->cli->arena, n, sizeof *name, j->err);

    for (uint64_t i = 0; name != NULL && i < n; i++)
        name[i] = ids != NULL ? ids : j->cli->arg[1 + i];
    j->work.dataset = name;
    j->work.n_datasets = n;
    j->work.text_sha256 = j->sha256;
    return name != NULL;
}

static bool set_windows(job *j)
{
    gk_forward_options *o = &j->work.forward;
    const uint64_t most = gk_cli_uint(j->cli, GK_OPT_TOKENS, UINT64_MAX);

    if (!gk_pass_windows(j->cli, &j->text, &o->ctx, &o->n_windows, j->err))
        return false;
    if (most < o->ctx)
        return gk_fail(j->err, GK_ERR_ARG, GK_NO_OFF,
                       "--tokens %" PRIu64 " is less than one window of %" PRIu64 " (--ctx)", most,
                       o->ctx);
    if (o->n_windows > most / o->ctx)
        o->n_windows = most / o->ctx;
    return true;
}

/* ---- what to write ---------------------------------------------------------------- */

/* NAME.imatrix.gguf here, where NAME is MODEL's without what says its format. */
static bool set_out(job *j)
{
    gk_arena *a = j->cli->arena;
    char *real = gk_path_real(a, j->cli->arg[0], j->err);

    j->work.out = gk_cli_string(j->cli, GK_OPT_OUTPUT);
    if (j->work.out != NULL || real == NULL)
        return real != NULL;
    const char *base = gk_path_base(real);
    const size_t len = strlen(base), tail = gk_ends_with(base, ".gguf") ? 5 : 0;
    j->work.out = len > tail
                      ? gk_arena_printf(a, j->err, "%.*s.imatrix.gguf", (int)(len - tail), base)
                      : gk_arena_str(a, "model.imatrix.gguf", j->err);
    return j->work.out != NULL;
}

static void on_resumed(void *context, uint64_t layers)
{
    const job *j = context;

    gk_cli_talk(j->cli, "going on behind layer %" PRIu64, layers - 1);
    gk_progress_set(j->bytes / j->arch.sizes.layers * layers);
}

/* The layers before a probe's are the model's own and not computed again; the model runs beside
 * them, too. */
static void on_probing(void *context, uint64_t n)
{
    const job *j = context;

    gk_cli_talk(j->cli, "%" PRIu64 " probes of sensitivity, %" PRIu64 " tokens each", n,
                j->work.probe_windows < j->work.forward.n_windows
                    ? j->work.probe_windows * j->work.forward.ctx
                    : j->work.forward.n_windows * j->work.forward.ctx);
    gk_progress_end();
    const uint64_t layers = j->arch.sizes.layers;
    const uint64_t bands = layers < GK_PROBE_BANDS ? layers : GK_PROBE_BANDS;
    gk_progress_begin(j->cli, "probing", GK_UNIT_BYTES,
                      j->bytes * (n * (bands + 1) / (2 * bands) + 1 + n / GK_PROBES_AT_ONCE));
}

static bool prepare(job *j)
{
    const gk_cli *cli = j->cli;
    gk_forward_options *o = &j->work.forward;

    j->model = gk_pass_model(cli, cli->arg[0], &j->arch, j->err);
    if (j->model == NULL || !read_tokens(j) || !name_texts(j)
        || !gk_pass_switches(cli, &j->arch, &o->switches, &j->work.preset, j->err)
        || !set_windows(j) || !set_out(j))
        return false;
    o->threads = cli->threads;
    o->memory_bytes = cli->memory;
    o->stop = gk_cli_stop();
    o->progress = gk_pass_progress;
    o->context = j;
    o->spool = NULL;
    if (!gk_cli_has(cli, GK_OPT_IMATRIX))
        j->work.probe_windows
            = gk_cli_uint(cli, GK_OPT_PROBE_TOKENS, DEFAULT_PROBE_TOKENS) / o->ctx;
    j->work.spool = gk_pass_scratch(cli);
    j->work.probing = on_probing;
    j->work.model = j->model;
    j->work.ids = j->text.ids.id;
    j->work.plain = gk_cli_has(cli, GK_OPT_IMATRIX);
    j->work.force = gk_cli_has(cli, GK_OPT_FORCE);
    j->work.resume = gk_cli_has(cli, GK_OPT_RESUME);
    j->work.break_lock = gk_cli_has(cli, GK_OPT_BREAK_LOCK);
    j->work.resumed = on_resumed;
    j->bytes = gk_forward_bytes(j->model, &j->arch, o);
    return true;
}

/* ---- the report --------------------------------------------------------------------- */

static void add_json(const job *j, const gk_calibration *c, gk_text *t)
{
    const gk_forward_options *o = &j->work.forward;
    struct rusage use;

    getrusage(RUSAGE_SELF, &use);
    gk_cli_json(j->cli, t);
    gk_json_uint(t, "tokens", o->ctx * o->n_windows);
    gk_json_uint(t, "ctx", o->ctx);
    gk_json_string(t, "preset", j->work.preset);
    gk_json_open(t, "statistics", '{');
    gk_json_string(t, "file", j->work.out);
    gk_json_uint(t, "bytes", c->bytes);
    gk_json_string(t, "sha256", c->sha256);
    gk_json_close(t, '}');
    gk_json_open(t, "experts", '[');
    for (uint64_t l = 0; l < c->n_layers; l++) {
        gk_json_open(t, NULL, '[');
        for (uint64_t e = 0; e < c->n_experts; e++)
            gk_json_uint(t, NULL, c->experts[l * c->n_experts + e]);
        gk_json_close(t, ']');
    }
    gk_json_close(t, ']');
    gk_json_open(t, "probes", '[');
    for (uint64_t i = 0; i < c->n_probes; i++) {
        gk_json_open(t, NULL, '{');
        gk_json_string(t, "kind", c->probe[i].kind);
        if (c->probe[i].first >= 0) {
            gk_json_uint(t, "first_layer", (uint64_t)c->probe[i].first);
            gk_json_uint(t, "last_layer", (uint64_t)c->probe[i].last);
        }
        gk_json_real(t, "kld", c->probe[i].kld);
        gk_json_real(t, "err", c->probe[i].err);
        gk_json_close(t, '}');
    }
    gk_json_close(t, ']');
    gk_json_real(t, "seconds", now() - j->start);
    gk_json_uint(t, "peak_rss_bytes", (uint64_t)use.ru_maxrss * 1024);
    gk_json_close(t, '}');
}

static void add_experts(const job *j, const gk_calibration *c, gk_text *t)
{
    static const gk_column columns[] = {{"layer", true, false},
                                        {"tokens that each expert saw", false, false}};
    gk_table table = {.column = columns, .n_columns = 2, .indent = "  "};
    gk_text cell = {0};

    for (uint64_t l = 0; l < c->n_layers; l++) {
        gk_text_clear(&cell);
        for (uint64_t e = 0; e < c->n_experts; e++)
            gk_text_printf(&cell, "%s%" PRIu64, e > 0 ? " " : "", c->experts[l * c->n_experts + e]);
        gk_table_cellf(&table, "%" PRIu64, l);
        gk_table_cell(&table, cell.data == NULL ? "" : cell.data);
    }
    gk_text_char(t, '\n');
    gk_table_print(&table, t, gk_table_width(), j->cli->color);
    gk_table_free(&table);
    gk_text_free(&cell);
}

/* What the model minds most stands first. */
static int by_kld(const void *a, const void *b)
{
    const gk_probe *x = a, *y = b;

    return x->kld > y->kld ? -1 : x->kld < y->kld;
}

static void add_probes(const job *j, const gk_calibration *c, gk_text *t)
{
    static const gk_column columns[] = {
        {"int4 noise in", false, true}, {"layers", true, false}, {"KLD", true, false},
        {"+-", true, false}};
    gk_probe *row = gk_arena_alloc(j->cli->arena, c->n_probes, sizeof *row, NULL);
    gk_table table = {.column = columns, .n_columns = 4, .indent = "  "};

    if (row == NULL)
        return;
    memcpy(row, c->probe, c->n_probes * sizeof *row);
    qsort(row, c->n_probes, sizeof *row, by_kld);
    for (uint64_t i = 0; i < c->n_probes; i++) {
        gk_table_cell(&table, row[i].kind);
        if (row[i].first < 0)
            gk_table_cell(&table, "");
        else if (row[i].first == row[i].last)
            gk_table_cellf(&table, "%" PRId64, row[i].first);
        else
            gk_table_cellf(&table, "%" PRId64 "-%" PRId64, row[i].first, row[i].last);
        gk_table_cellf(&table, "%.3e", row[i].kld);
        if (isnan(row[i].err))
            gk_table_cell(&table, "one window");
        else
            gk_table_cellf(&table, "%.1e", row[i].err);
    }
    gk_text_char(t, '\n');
    gk_table_print(&table, t, gk_table_width(), j->cli->color);
    gk_table_free(&table);
}

static void add_text(const job *j, const gk_calibration *c, gk_text *t)
{
    const gk_forward_options *o = &j->work.forward;
    gk_human bytes;

    gk_text_str(t, "statistics   ");
    gk_text_escaped(t, j->work.out, strlen(j->work.out));
    gk_text_printf(t, ", %s, sha256 %.12s\n", gk_human_bytes(bytes, c->bytes), c->sha256);
    gk_text_printf(t, "read         %" PRIu64 " tokens, ctx %" PRIu64 ", preset %s\n",
                   o->ctx * o->n_windows, o->ctx, j->work.preset);
    if (c->n_experts > 0)
        add_experts(j, c, t);
    if (c->n_probes > 0)
        add_probes(j, c, t);
    if (j->cli->verbose > 0)
        gk_text_printf(t, "speed        %.1f tokens/s, %.2f s\n",
                       (double)(o->ctx * o->n_windows) / (now() - j->start), now() - j->start);
}

/* Experts of which the text says little, as quantize --stats will see them. */
static void warn_thin(const job *j, const gk_calibration *c)
{
    const uint64_t n = c->n_layers * c->n_experts;
    uint64_t thin = 0, least = UINT64_MAX;

    for (uint64_t i = 0; i < n; i++) {
        thin += c->experts[i] < GK_STATS_FLOOR;
        least = c->experts[i] < least ? c->experts[i] : least;
    }
    if (thin > 0)
        gk_cli_talk(j->cli,
                    "warning: %" PRIu64 " of %" PRIu64
                    " experts saw fewer than %d tokens, one %" PRIu64
                    ": quantize --stats will fill them up with the mean of their layer; a "
                    "longer text would tell more",
                    thin, n, GK_STATS_FLOOR, least);
}

/* ---- the command ------------------------------------------------------------------- */

static int report(const job *j, const gk_calibration *c)
{
    gk_text text = {0};

    if (c->finished)
        gk_cli_talk(j->cli, "%s is finished already: nothing was written", j->work.out);
    warn_thin(j, c);
    if (j->cli->json)
        add_json(j, c, &text);
    else
        add_text(j, c, &text);
    const int status = gk_cli_emit(j->cli, &text, GK_EXIT_FINE);
    gk_text_free(&text);
    return status;
}

int cmd_calibrate(const gk_cli *cli)
{
    gk_err err = {0};
    job j = {.cli = cli, .err = &err, .start = now()};
    gk_calibration result = {0};

    if ((cli->n_args > 1) == gk_cli_has(cli, GK_OPT_TOKEN_IDS))
        return gk_cli_usage(cli, "calibrate takes texts behind MODEL or --token-ids FILE, one of "
                                 "them");
    bool ok = prepare(&j);
    if (ok) {
        gk_pass_announce(cli, &j.arch, &j.work.forward, 1, j.bytes);
        gk_progress_begin(cli, "calibrating", GK_UNIT_BYTES, j.bytes);
        ok = gk_calibrate(&j.work, &result, &err);
        gk_progress_end();
        if (!ok && result.partial != NULL)
            gk_cli_talk(cli, "%s keeps what is done: the same command with --resume goes on",
                        result.partial);
    }
    const int status = ok ? report(&j, &result) : gk_cli_fail(cli, &err);
    gk_calibration_free(&result);
    gk_ids_free(&j.text.ids);
    gk_catalog_close(j.model);
    return status;
}
