/* cmd/rewrite.c - from a recipe to a finished directory, and what people see of it. */
#include "cmd/rewrite.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "cmd/allocation.h"
#include "cmd/input.h"
#include "cmd/progress.h"
#include "cmd/short_name.h"
#include "cmd/table.h"
#include "formats/output.h"
#include "quant/run.h"
#include "quant/standing.h"
#include "quant/stats.h"
#include "verify/inputs.h"

typedef struct job {
    const gk_cli   *cli;
    gk_catalog     *model;
    gk_plan        *plan;
    gk_run_result   result;
    bool            done;     /* it really ran                */
    bool            finished; /* by an earlier run: --resume  */
    const char     *partial;  /* OUT.partial-TAG              */
    bool            begun;    /* it is there                  */
    double          start;
    const char     *out;
    bool            asked;    /* for a size: */
    gk_allocation   allocation;
    gk_mean         kld;      /* of what was written; NaN: not measured */
} job;

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ---- text ------------------------------------------------------------------------ */

/* Rows of the plan's table: tensors whose names differ only in numbers, and that go the
 * same way. */
typedef struct row {
    char        name[96];
    const char *from, *to;
    uint64_t    n, in, out;
    double      worst; /* relative error */
} row;

static uint64_t fold_items(const job *j, row *rows)
{
    const gk_plan *p = j->plan;
    uint64_t n = 0;

    for (uint64_t i = 0; i < p->n_items; i++) {
        const gk_plan_item *item = &p->item[i];
        row r = {.from = gk_tensor_kind(item->from), .to = item->to.name};
        uint64_t k = 0;
        gk_short_name(item->from->name, r.name, sizeof r.name);
        while (k < n && (strcmp(rows[k].name, r.name) != 0 || strcmp(rows[k].from, r.from) != 0
                         || strcmp(rows[k].to, r.to) != 0))
            k++;
        if (k == n)
            rows[n++] = r;
        rows[k].n++;
        rows[k].in += gk_tensor_bytes(item->from);
        rows[k].out += item->bytes;
        if (j->done && j->result.rel_error[i] > rows[k].worst)
            rows[k].worst = j->result.rel_error[i];
    }
    return n;
}

static void add_table(const job *j, gk_text *t)
{
    static const gk_column columns[] = {{"tensors", true, false}, {"name", false, true},
                                        {"from", false, false},   {"to", false, false},
                                        {"in", true, false},      {"out", true, false},
                                        {"worst error", true, false}};
    row *rows = gk_alloc(j->plan->n_items, sizeof *rows, NULL);
    const uint64_t n = rows == NULL ? 0 : fold_items(j, rows);
    gk_human human;
    double worst = 0;

    for (uint64_t i = 0; i < n; i++)
        worst = rows[i].worst > worst ? rows[i].worst : worst;
    gk_table table = {.column = columns, .n_columns = worst > 0 ? 7 : 6};

    for (uint64_t i = 0; i < n; i++) {
        gk_table_cellf(&table, "%" PRIu64, rows[i].n);
        gk_table_cell(&table, rows[i].name);
        gk_table_cell(&table, rows[i].from);
        gk_table_cell(&table, rows[i].to);
        gk_table_cell(&table, gk_human_bytes(human, rows[i].in));
        gk_table_cell(&table, gk_human_bytes(human, rows[i].out));
        if (rows[i].worst > 0)
            gk_table_cellf(&table, "%.3e", rows[i].worst);
        else if (worst > 0)
            gk_table_cell(&table, "");
    }
    gk_table_print(&table, t, gk_table_width(), j->cli->color);
    gk_table_free(&table);
    gk_free(rows);
}

static void add_notes(const gk_findings *notes, gk_text *t)
{
    for (uint64_t i = 0; i < notes->n; i++) {
        const gk_finding *f = &notes->row[i];
        gk_text_printf(t, "%s: ", f->severity == GK_NOTE ? "note" : "warning");
        gk_text_escaped(t, f->tensor, strlen(f->tensor));
        if (f->more > 0)
            gk_text_printf(t, " (and %" PRIu64 " more)", f->more);
        gk_text_str(t, f->tensor[0] != '\0' ? ": " : "");
        gk_text_escaped(t, f->text, strlen(f->text));
        gk_text_char(t, '\n');
    }
}

static void add_totals(const job *j, gk_text *t)
{
    const gk_plan *p = j->plan;
    gk_human a, b, c, d;

    gk_text_printf(t, "\n%s -> %s in %" PRIu64 " weight file%s, %.3f bits a weight, plan %.12s\n",
                   gk_human_bytes(a, p->input_bytes), gk_human_bytes(b, p->output_bytes),
                   p->shards.n, p->shards.n == 1 ? "" : "s", p->bits_per_weight, p->sha256);
    if (j->done && gk_cli_has(j->cli, GK_OPT_VERIFY))
        gk_text_str(t, "verified: all of it read back, as it was written\n");
    if (j->finished)
        return;
    if (j->done) {
        gk_text_printf(t, "done in %.2f s, %s/s of input\n", j->result.seconds,
                       gk_human_bytes(c, (uint64_t)((double)p->input_bytes
                                                    / (j->result.seconds + 1e-9))));
        return;
    }
    const uint64_t space = gk_output_free_bytes(j->out);
    gk_text_printf(t, "at most %s of memory with %d threads; free where OUT will lie: %s%s\n",
                   gk_human_bytes(c, p->memory_bytes), p->options.threads,
                   space > 0 ? gk_human_bytes(d, space) : "unknown",
                   space > 0 && space < p->output_bytes ? " - NOT ENOUGH" : "");
    const double speed = gk_plan_speed(p) * p->options.threads;
    if (speed > 0)
        gk_text_printf(t, "encoding: about %s at %s/s (measured now); %s\n",
                       gk_human_time(c, (double)p->input_bytes / speed),
                       gk_human_bytes(d, (uint64_t)speed),
                       p->n_phases == 0 ? "disks may be slower"
                                        : "GPTQ's passes and solving take far longer");
}

/* ---- JSON ------------------------------------------------------------------------ */

static void add_files(const job *j, gk_text *t)
{
    gk_json_open(t, "files", '[');
    for (uint64_t i = 0; i < gk_plan_n_files(j->plan); i++) {
        uint64_t bytes;
        gk_json_open(t, NULL, '{');
        gk_json_string(t, "name", gk_plan_file(j->plan, i, &bytes));
        gk_json_uint(t, "bytes", bytes);
        if (j->done)
            gk_json_string(t, "sha256", j->result.file[i].sha256[0] != '\0'
                                            ? j->result.file[i].sha256 : NULL);
        gk_json_close(t, '}');
    }
    gk_json_close(t, ']');
}

static void add_json(const job *j, gk_text *t)
{
    const gk_plan *p = j->plan;
    struct rusage use;

    getrusage(RUSAGE_SELF, &use);
    gk_cli_json(j->cli, t);
    gk_json_open(t, "plan", '{');
    gk_json_string(t, "sha256", p->sha256);
    gk_json_uint(t, "input_bytes", p->input_bytes);
    gk_json_uint(t, "output_bytes", p->output_bytes);
    gk_json_uint(t, "parameters", p->parameters);
    gk_json_real(t, "bits_per_weight", p->bits_per_weight);
    gk_json_uint(t, "memory_bytes", p->memory_bytes);
    gk_json_uint(t, "stored_tensors", p->n_entries);
    gk_json_uint(t, "tensor_bytes", p->shards.tensor_bytes);
    add_files(j, t);
    gk_json_open(t, "tensors", '[');
    for (uint64_t i = 0; i < p->n_items; i++) {
        gk_json_open(t, NULL, '{');
        gk_json_string(t, "name", p->item[i].from->name);
        gk_json_string(t, "from", gk_tensor_kind(p->item[i].from));
        gk_json_string(t, "to", p->item[i].to.name);
        gk_json_uint(t, "bytes", p->item[i].bytes);
        if (j->done)
            gk_json_real(t, "rel_error", j->result.rel_error[i]);
        gk_json_close(t, '}');
    }
    gk_json_close(t, ']');
    gk_json_open(t, "notes", '[');
    for (uint64_t i = 0; i < p->notes.n; i++) {
        gk_json_open(t, NULL, '{');
        gk_json_string(t, "tensor", p->notes.row[i].tensor);
        gk_json_uint(t, "more", p->notes.row[i].more);
        gk_json_string(t, "text", p->notes.row[i].text);
        gk_json_close(t, '}');
    }
    gk_json_close(t, ']');
    gk_json_close(t, '}');
    if (j->asked)
        gk_allocation_json(&j->allocation, p, &j->kld, t);
    gk_json_real(t, "seconds", j->done ? j->result.seconds : now() - j->start);
    gk_json_uint(t, "peak_rss_bytes", (uint64_t)use.ru_maxrss * 1024);
    gk_json_close(t, '}');
}

/* ---- the work ---------------------------------------------------------------------- */

static void on_progress(void *context, uint64_t bytes, const char *tensor)
{
    (void)context;
    gk_progress_item(tensor);
    gk_progress_add(bytes);
}

/* Weights are read again and again for it: only the end of what is written is known. */
static void on_pass(void *context, uint64_t bytes, const char *what)
{
    (void)context, (void)bytes;
    gk_progress_item(what);
}

static bool run(job *j, gk_err *err)
{
    const gk_cli *cli = j->cli;
    const gk_forward_options forward = {.threads = cli->threads,
                                        .memory_bytes = cli->memory / 4,
                                        .stop = gk_cli_stop(),
                                        .progress = on_pass};
    gk_input_pass *pass = NULL;
    gk_inputs inputs;
    gk_run_options options = {
        .verify = gk_cli_has(cli, GK_OPT_VERIFY),
        .force = gk_cli_has(cli, GK_OPT_FORCE),
        .resume = gk_cli_has(cli, GK_OPT_RESUME),
        .break_lock = gk_cli_has(cli, GK_OPT_BREAK_LOCK),
        .stop = gk_cli_stop(),
        .progress = on_progress,
    };

    if (j->plan->n_phases > 0) {
        pass = gk_input_pass_new(j->model, j->plan->options.stats, &forward, err);
        if (pass == NULL)
            return false;
        inputs = gk_input_pass_ask(pass);
        options.inputs = &inputs;
    }
    gk_progress_begin(cli, cli->command->id == GK_CMD_CONVERT ? "converting" : "quantizing",
                      GK_UNIT_BYTES, j->plan->input_bytes * (options.verify ? 2 : 1));
    j->done = gk_run(j->plan, j->out, &options, &j->result, err);
    gk_progress_end();
    gk_input_pass_free(pass);
    if (j->result.kept)
        gk_cli_talk(cli, "%s keeps what is done: the same command with --resume goes on",
                    j->partial);
    if (j->result.n_unsolved > 0
        && !gk_findings_addf(&j->plan->notes, "inputs", GK_WARN, NULL, NULL, err,
                             "%" PRIu64 " matrices were rounded each by itself: the texts gave "
                             "them no inputs, or none that GPTQ can use", j->result.n_unsolved))
        return false;
    return j->done && gk_run_outliers(j->plan, &j->result, &j->plan->notes, err);
}

static bool check_space(const job *j, gk_err *err)
{
    const uint64_t space = gk_output_free_bytes(j->out);
    gk_human need, have;

    /* what an interrupted run reserved is neither free nor needed again */
    if (space == 0 || space >= j->plan->output_bytes || j->begun)
        return true;
    gk_fail(err, GK_ERR_SPACE, GK_NO_OFF, "%s needed, %s free", gk_human_bytes(need,
            j->plan->output_bytes), gk_human_bytes(have, space));
    return gk_fail_at(err, j->out, NULL);
}

/* The files of a GGUF are named after OUT: NAME.gguf, or NAME-00001-of-0000N.gguf. */
static bool gguf_name(const job *j, gk_plan_options *options, gk_arena *a, gk_err *err)
{
    const char *base = gk_path_base(j->out);

    if (!options->target->is_gguf)
        return true;
    if (!gk_ends_with(base, ".gguf") || strlen(base) == 5) {
        gk_fail(err, GK_ERR_ARG, GK_NO_OFF, "OUT must be a name that ends with .gguf");
        return gk_fail_at(err, j->out, NULL);
    }
    options->out_name = gk_arena_strn(a, base, strlen(base) - 5, err);
    return options->out_name != NULL;
}

/* The files of a split set stand beside each other, none of them may be in the way. */
static bool may_write_files(const job *j, bool force, gk_err *err)
{
    const gk_plan *p = j->plan;
    gk_arena *a = gk_arena_new(err);
    char *dir = a == NULL ? NULL : gk_path_dir(a, j->out, err);
    bool ok = dir != NULL;

    /* a run that was killed while it put its parts in place left some there */
    force |= j->begun && gk_cli_has(j->cli, GK_OPT_RESUME);

    for (uint64_t i = 0; ok && p->options.target->is_gguf && i < p->shards.n; i++) {
        const char *path = gk_path_join(a, dir, p->shards.shard[i].name, err);
        ok = path != NULL;
        if (ok && j->model->archive != NULL)
            ok = gk_output_allowed(path, j->model->path, force, err);
        for (uint64_t k = 0; ok && j->model->archive == NULL && k < j->model->n_inputs; k++)
            ok = gk_output_allowed(path, j->model->input[k].file->path, force, err);
    }
    gk_arena_free(a);
    return ok;
}

/* What an earlier run left. With --resume, what stands there is this plan's, or the run ends. */
static bool take_up(job *j, bool force, gk_err *err)
{
    gk_err other = {0};

    j->partial = gk_output_partial_of(j->model->arena, j->out, j->plan->tag, err);
    if (j->partial == NULL)
        return false;
    j->begun = gk_path_kind_of(j->partial) == GK_PATH_DIR;
    if (!gk_cli_has(j->cli, GK_OPT_RESUME)) {
        if (j->begun)
            gk_cli_talk(j->cli, "starting over: --resume would take up %s", j->partial);
        return true;
    }
    const gk_standing s = gk_standing_of(j->plan, j->out, &other);
    j->finished = s == GK_STANDS_FINISHED;
    if (j->finished) {
        gk_output_clear(j->out, j->plan->tag);
        gk_cli_talk(j->cli, "%s is finished already: nothing was written", j->out);
    }
    if (s == GK_STANDS_OTHER && !(force && other.code == GK_ERR_ARG))
        *err = other;
    return err->code == GK_OK;
}

/* What of the directory OUT will not have, though a person may count on it. */
static bool note_left_out(const job *j, const char *code, gk_err *err)
{
    const gk_catalog *c = j->model;
    gk_text list = {0};
    bool ok = code == NULL
              || gk_findings_addf(&j->plan->notes, "code", GK_NOTE, NULL, NULL, err,
                                  "left out, as it knows the tensors by their old names: %.300s",
                                  code);

    for (uint64_t i = 0; i < c->n_folders; i++)
        gk_text_printf(&list, "%s%s/", i > 0 ? ", " : "", c->folder[i]);
    ok = ok && gk_text_ok(&list, err)
         && (list.len == 0
             || gk_findings_addf(&j->plan->notes, "folders", GK_NOTE, NULL, NULL, err,
                                 "%" PRIu64 " folder%s in MODEL %s not copied: %.300s",
                                 c->n_folders, c->n_folders == 1 ? "" : "s",
                                 c->n_folders == 1 ? "is" : "are", list.data));
    gk_text_free(&list);
    return ok;
}

const char *gk_rewrite_format(const gk_cli *cli, const char *otherwise)
{
    const char *to = gk_cli_string(cli, GK_OPT_TO);

    if (to != NULL)
        return to;
    return cli->n_args > 1 && gk_ends_with(cli->arg[1], ".gguf") ? "gguf" : otherwise;
}

int gk_rewrite(const gk_cli *cli, gk_recipe *recipe, gk_plan_options *options)
{
    const bool dry = gk_cli_has(cli, GK_OPT_DRY_RUN);
    const bool force = gk_cli_has(cli, GK_OPT_FORCE);
    const char *dtype = gk_cli_string(cli, GK_OPT_DTYPE);
    gk_scheme plain;
    job j = {.cli = cli,
             .out = cli->arg[1],
             .start = now(),
             .asked = gk_allocation_asked(cli),
             .kld = {NAN, NAN}};
    const char *code = NULL;
    gk_text text = {0};
    gk_err err = {0}, later = {0};
    int status;

    options->threads = cli->threads;
    options->memory_bytes = cli->memory;
    options->hash = (gk_hash_mode)gk_cli_choice(cli, GK_OPT_HASH, GK_HASH_OUTPUT);
    options->gguf_rope = (gk_gguf_rope)(1 + gk_cli_choice(cli, GK_OPT_GGUF_ROPE, -1));
    if (dtype != NULL && gk_scheme_parse(dtype, &plain, &err))
        options->plain = &plain;
    j.model = gk_cli_model_whole(cli, cli->arg[0], &err);
    const char *stats = gk_cli_string(cli, GK_OPT_STATS);
    gk_stats *read = stats == NULL ? NULL : gk_stats_open(stats, &err);
    options->stats = read;
    bool ok = j.model != NULL && (stats == NULL || read != NULL)
              && gguf_name(&j, options, j.model->arena, &err)
              && (dry || gk_cli_has(cli, GK_OPT_RESUME)
                  || gk_model_output_allowed(j.model, j.out, force, &err));
    ok = ok && (options->target->is_gguf || gk_model_drop_code(j.model, &code, &err))
         && (j.plan = j.asked ? gk_allocation_make(cli, j.model, recipe, options, &j.allocation,
                                                   &err)
                              : gk_plan_new(j.model, recipe, options, &err)) != NULL
         && (options->target->is_gguf || note_left_out(&j, code, &err))
         && (dry || take_up(&j, force, &err))
         && (dry || j.finished
             || (gk_model_output_allowed(j.model, j.out, force, &err)
                 && may_write_files(&j, force, &err)));
    if (ok)
        for (uint64_t i = 0; i < j.model->findings.n; i++)
            gk_cli_talk(cli, "%s%s%s", j.model->findings.row[i].file,
                        j.model->findings.row[i].file[0] != '\0' ? ": " : "",
                        j.model->findings.row[i].text);
    if (ok && dry && !gk_model_output_allowed(j.model, j.out, force, &later))
        gk_cli_talk(cli, "a real run would be refused: %s: %s", later.file, later.msg);
    ok = ok && (dry || j.finished || (check_space(&j, &err) && run(&j, &err)));
    if (ok && j.done && j.asked && !gk_cli_has(cli, GK_OPT_NO_MEASURE)
        && !gk_allocation_measure(cli, j.plan, j.out, &j.kld, &later))
        gk_cli_talk(cli, "what was written is not measured: %s", later.msg);
    if (ok && cli->json) {
        add_json(&j, &text);
    } else if (ok) {
        add_table(&j, &text);
        add_notes(&j.plan->notes, &text);
        if (j.asked)
            gk_allocation_text(cli, &j.allocation, j.plan, &j.kld, &text);
        add_totals(&j, &text);
    }
    status = ok ? gk_cli_emit(cli, &text, GK_EXIT_FINE) : gk_cli_fail(cli, &err);
    gk_text_free(&text);
    gk_run_result_free(&j.result);
    gk_allocation_free(&j.allocation);
    gk_plan_free(j.plan);
    gk_recipe_free(recipe);
    gk_stats_free(read);
    gk_catalog_close(j.model);
    return status;
}
