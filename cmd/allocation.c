/* cmd/allocation.c - see the header. */
#include "cmd/allocation.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/pass.h"
#include "cmd/progress.h"
#include "cmd/table.h"
#include "formats/output.h"
#include "quant/model.h"
#include "verify/probes.h"

#define MEASURED_TOKENS 8192 /* as many as calibrate's probes read */

bool gk_allocation_asked(const gk_cli *cli)
{
    return gk_cli_has(cli, GK_OPT_TARGET_SIZE) || gk_cli_has(cli, GK_OPT_TARGET_BPW);
}

static void on_trial(void *context, uint64_t bytes, const char *tensor)
{
    (void)context;
    gk_progress_item(tensor);
    gk_progress_add(bytes);
}

static bool read_goal(const gk_cli *cli, gk_goal *goal, gk_err *err)
{
    const char *bits = gk_cli_string(cli, GK_OPT_TARGET_BPW);
    char *end = NULL;

    *goal = (gk_goal){.bytes = gk_cli_uint(cli, GK_OPT_TARGET_SIZE, 0),
                      .grain = (gk_grain)gk_cli_choice(cli, GK_OPT_GRAIN, GK_GRAIN_ENGINE),
                      .stop = gk_cli_stop(),
                      .progress = on_trial};
    if (bits == NULL)
        return true;
    if (goal->bytes > 0)
        return gk_fail(err, GK_ERR_ARG, GK_NO_OFF, "--target-size or --target-bpw, one of them");
    goal->bits = strtod(bits, &end);
    return (end != bits && *end == '\0' && goal->bits > 0 && goal->bits <= 64)
           || gk_fail(err, GK_ERR_ARG, GK_NO_OFF,
                      "--target-bpw %.40s: expected bits a weight, as 4.4", bits);
}

/* A recipe may replace another, but nothing of the model. */
static bool may_save(const gk_cli *cli, const gk_catalog *model, gk_err *err)
{
    const char *path = gk_cli_string(cli, GK_OPT_SAVE_RECIPE);

    return path == NULL || gk_model_apart(model, path, err);
}

static bool save_recipe(const gk_cli *cli, const gk_allocation *a, gk_err *err)
{
    const char *path = gk_cli_string(cli, GK_OPT_SAVE_RECIPE);

    return path == NULL || gk_file_put(path, a->recipe, strlen(a->recipe), err);
}

gk_plan *gk_allocation_make(const gk_cli *cli, const gk_catalog *model, const gk_recipe *recipe,
                            const gk_plan_options *options, gk_allocation *out, gk_err *err)
{
    uint64_t bytes = 0;
    gk_goal goal;

    *out = (gk_allocation){0};
    if (!read_goal(cli, &goal, err) || !may_save(cli, model, err))
        return NULL;
    for (uint64_t i = 0; i < model->n_tensors; i++)
        bytes += gk_rows(&model->tensor[i]) * gk_cols(&model->tensor[i]) * 2;
    gk_progress_begin(cli, "trying schemes", GK_UNIT_BYTES, bytes);
    gk_plan *p = gk_allocate(model, recipe, options, &goal, out, err);
    gk_progress_end();
    if (p != NULL && !save_recipe(cli, out, err)) {
        gk_plan_free(p);
        p = NULL;
    }
    return p;
}

/* ---- looking back ------------------------------------------------------------------- */

/* Opens what the plan wrote: of a split set the first file. NULL and *err. */
static gk_catalog *open_written(const gk_cli *cli, const gk_plan *p, const char *out, gk_err *err)
{
    if (p->options.target->is_gguf) {
        char *dir = gk_path_dir(cli->arena, out, err);
        out = dir == NULL ? NULL : gk_path_join(cli->arena, dir, p->shards.shard[0].name, err);
    }
    return out == NULL ? NULL : gk_model_open(out, err);
}

bool gk_allocation_measure(const gk_cli *cli, const gk_plan *p, const char *out, gk_mean *kld,
                           gk_err *err)
{
    const gk_stats *stats = p->options.stats;
    const gk_catalog *model = p->from;
    gk_score score = {0};

    *kld = (gk_mean){NAN, NAN};
    if (stats == NULL || stats->ids == NULL || stats->n_probes == 0)
        return true;
    const uint64_t all = stats->n_ids / stats->ctx, some = MEASURED_TOKENS / stats->ctx;
    const uint64_t n = some < 1 ? 1 : some < all ? some : all;
    uint32_t *ids = gk_arena_alloc(cli->arena, n * stats->ctx, sizeof *ids, err);
    gk_catalog *written = ids == NULL ? NULL : open_written(cli, p, out, err);
    if (ids != NULL)
        gk_windows_spread(stats->ids, all, stats->ctx, n, ids);
    gk_score_job job = {.model = written,
                        .base = model,
                        .ids = ids,
                        .forward = {.ctx = stats->ctx,
                                    .n_windows = n,
                                    .threads = cli->threads,
                                    .memory_bytes = cli->memory,
                                    .spool = gk_pass_scratch(cli),
                                    .stop = gk_cli_stop(),
                                    .progress = gk_pass_progress},
                        .protocol = GK_PROTOCOL_LLAMA};
    gk_arch a;
    bool ok = written != NULL && gk_arch_read(model->config, &a, err)
              && (stats->switches == NULL
                  || gk_switches_parse(stats->switches, &job.forward.switches, err));
    if (ok) {
        gk_progress_begin(cli, "measuring", GK_UNIT_BYTES,
                          gk_forward_bytes(model, &a, &job.forward)
                              + gk_forward_bytes(written, &a, &job.forward));
        ok = gk_score_run(&job, &score, err);
        gk_progress_end();
    }
    if (ok)
        *kld = score.model[0].kld;
    gk_score_free(&score);
    gk_catalog_close(written);
    return ok;
}

/* ---- the report ----------------------------------------------------------------------- */

static const char *unit_of(const gk_allocation *a)
{
    return a->is_kld ? "KLD" : "mean relative error";
}

static void add_point(gk_table *table, double bits, uint64_t bytes, double cost, const char *mark)
{
    gk_human human;

    gk_table_cellf(table, "%.3f", bits);
    gk_table_cell(table, gk_human_bytes(human, bytes));
    gk_table_cellf(table, "%.3e", cost);
    gk_table_cell(table, mark);
}

/* What each kind becomes is in the plan's table; here are the sizes there are. */
static void add_curve(const gk_cli *cli, const gk_allocation *a, const gk_plan *p, gk_text *t)
{
    const gk_column columns[] = {{"bits", true, false}, {"size", true, false},
                                 {unit_of(a), true, false}, {"", false, false}};
    gk_table table = {.column = columns, .n_columns = 4, .indent = "  "};
    bool shown = false;

    for (uint64_t i = 0; i < a->n_points; i++) {
        const gk_curve_point *at = &a->point[i];
        if (!shown && at->bytes >= p->output_bytes) {
            add_point(&table, a->bits, p->output_bytes, a->cost, "<- chosen");
            shown = true;
        }
        add_point(&table, at->bits, at->bytes, at->cost, "");
    }
    gk_text_str(t, "\nwhat the best choice of each size costs:\n");
    gk_table_print(&table, t, gk_table_width(), cli->color);
    gk_table_free(&table);
}

void gk_allocation_text(const gk_cli *cli, const gk_allocation *a, const gk_plan *p,
                        const gk_mean *kld, gk_text *t)
{
    add_curve(cli, a, p, t);
    gk_text_printf(t, "\nchosen for %" PRIu64 " units: %" PRIu64 " bytes below the target; %s %.3e",
                   a->n_units, a->target - p->output_bytes,
                   a->is_kld ? "predicted KLD" : unit_of(a), a->cost);
    if (a->bound > 0)
        gk_text_printf(t, ", at most %.2f %% above the best there is\n",
                       100 * (a->cost / a->bound - 1));
    else
        gk_text_char(t, '\n');
    if (!isnan(kld->mean))
        gk_text_printf(t, "measured KLD %.3e +- %.1e on tokens that calibrate read: %.2f of the "
                       "prediction\n", kld->mean, kld->err, kld->mean / a->cost);
    if (p->options.method == GK_METHOD_GPTQ)
        gk_text_str(t, "note: errors are those of --method search; GPTQ's are smaller\n");
    if (!a->is_kld)
        gk_text_str(t, "note: every weight counted alike: statistics of grokkit calibrate would "
                       "say what the model minds (--stats)\n");
}

void gk_allocation_json(const gk_allocation *a, const gk_plan *p, const gk_mean *kld, gk_text *t)
{
    gk_json_open(t, "allocation", '{');
    gk_json_uint(t, "target_bytes", a->target);
    gk_json_uint(t, "bytes", p->output_bytes);
    gk_json_real(t, "bits_per_weight", a->bits);
    gk_json_string(t, "cost_is", a->is_kld ? "kld" : "relative_error");
    gk_json_real(t, "predicted_kld", a->is_kld ? a->cost : NAN);
    gk_json_real(t, "cost", a->cost);
    gk_json_real(t, "bound", a->bound);
    gk_json_real(t, "gap", a->bound > 0 ? a->cost / a->bound - 1 : NAN);
    gk_pass_json_mean(t, "measured_kld", *kld);
    gk_json_open(t, "curve", '[');
    for (uint64_t i = 0; i < a->n_points; i++) {
        gk_json_open(t, NULL, '{');
        gk_json_real(t, "bits_per_weight", a->point[i].bits);
        gk_json_uint(t, "bytes", a->point[i].bytes);
        gk_json_real(t, "cost", a->point[i].cost);
        gk_json_close(t, '}');
    }
    gk_json_close(t, ']');
    gk_json_open(t, "units", '[');
    for (uint64_t i = 0; i < a->n_units; i++) {
        gk_json_open(t, NULL, '{');
        gk_json_string(t, "name", a->unit[i].name);
        gk_json_uint(t, "tensors", a->unit[i].n_tensors);
        gk_json_string(t, "scheme", a->unit[i].scheme);
        gk_json_uint(t, "bytes", a->unit[i].bytes);
        gk_json_real(t, "cost", a->unit[i].cost);
        gk_json_close(t, '}');
    }
    gk_json_close(t, ']');
    gk_json_string(t, "recipe", a->recipe);
    gk_json_close(t, '}');
}
