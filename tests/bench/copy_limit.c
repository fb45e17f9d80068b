/* tests/bench/copy_limit.c - how fast a rewrite could be if computing took no time.
 *
 *   copy_limit MODEL OUT SCHEME [THREADS]
 *
 * Does what `grokkit quantize MODEL OUT --scheme SCHEME --hash none` does: the same plan, the
 * same tiles read and their codes and scales written in the same order, the same journal,
 * syncs and advice to the page cache. Only the values are not looked at: what is written are
 * zeros from memset(). Prints the seconds. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "formats/checked.h"
#include "formats/output.h"
#include "quant/intake.h"
#include "quant/model.h"
#include "quant/progress.h"
#include "quant/run_files.h"

typedef struct job {
    const gk_plan *p;
    gk_output *out;
    gk_progress_log *log;
    gk_intake *intake;
    int *file;
    uint64_t next;
} job;

static void die(const gk_err *err)
{
    fprintf(stderr, "copy_limit: %s: %s: %s\n", err->file, err->tensor, err->msg);
    exit(1);
}

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static bool write_zeros(const job *j, const gk_plan_item *item, const gk_entry *e,
                        const gk_tile *t, unsigned char *buf, gk_err *err)
{
    const uint64_t stride = gk_plan_stride(item, e);
    const uint64_t row = gk_row_bytes((gk_dtype)e->dtype, t->n_cols);
    const uint64_t off = e->off + t->row * stride + gk_row_bytes((gk_dtype)e->dtype, t->col);
    bool ok = true;

    memset(buf, 0, t->n_rows * row);
    if (row == stride)
        return gk_output_write(j->out, j->file[e->shard], off, buf, t->n_rows * row, err);
    for (uint64_t i = 0; ok && i < t->n_rows; i++)
        ok = gk_output_write(j->out, j->file[e->shard], off + i * stride, buf, row, err);
    return ok;
}

static void do_unit(const job *j, uint64_t unit, unsigned char *raw, unsigned char *packed)
{
    gk_err err = {0};
    const gk_plan_item *item = gk_plan_item_of(j->p, unit);
    const gk_tile t = gk_plan_tile(item, unit - item->first_unit);
    const uint64_t dim[2] = {gk_rows(item->from), gk_cols(item->from)};
    bool ok = gk_read_part(j->p->from, item->from, 0, t.row, t.n_rows, t.col, t.n_cols, raw, &err);

    for (int i = 0; ok && i < item->n_entries; i++) {
        gk_tile span = t;
        if (gk_scheme_is_coded(&item->to))
            item->to.layout->span(&item->to, i, dim, &t, &span);
        ok = write_zeros(j, item, &item->entry[i], &span, packed, &err);
    }
    gk_intake_end(j->intake, item, unit - item->first_unit);
    ok = ok
         && gk_progress_log_add(j->log, &(gk_done_tile){.unit = unit},
                                t.n_rows * gk_row_bytes((gk_dtype)item->from->dtype, t.n_cols),
                                &err);
    if (!ok)
        die(&err);
}

static void run(job *j, const char *out, gk_err *err)
{
    const gk_plan *p = j->p;
    const gk_output_how how = {0};

    j->out = gk_output_begin(out, p->tag, &how, err);
    j->log = j->out == NULL ? NULL : gk_progress_log_open(p, j->out, false, err);
    j->intake = j->log == NULL ? NULL : gk_intake_new(p, err);
    j->file = calloc(p->shards.n, sizeof *j->file);
    if (j->intake == NULL || j->file == NULL)
        die(err);
    if (!gk_run_create_files(p, j->out, j->file, err))
        die(err);
    gk_intake_restart(j->intake);
#pragma omp parallel num_threads(p->options.threads)
    {
        /* a tile has room among the floats, whatever it is stored as */
        unsigned char *raw = malloc(gk_room_bytes(&p->room)),
                      *packed = malloc(gk_room_bytes(&p->room));
        uint64_t unit;
        while ((unit = __atomic_fetch_add(&j->next, 1, __ATOMIC_RELAXED)) < p->n_units)
            do_unit(j, unit, raw, packed);
        free(raw);
        free(packed);
    }
    if (!gk_progress_log_keep(j->log, err) || !gk_output_seal(j->out, err)
        || !gk_progress_log_seal(j->log, err))
        die(err);
    gk_progress_log_close(j->log);
    if (!gk_output_commit(j->out, false, err))
        die(err);
    gk_intake_free(j->intake);
    free(j->file);
}

int main(int argc, char **argv)
{
    gk_err err = {0};

    if (argc < 4) {
        fprintf(stderr, "usage: copy_limit MODEL OUT SCHEME [THREADS]\n");
        return 2;
    }
    const bool kept = strcmp(argv[3], "keep") == 0;
    const gk_plan_options options = {
        .target = gk_target_find(kept ? "hf" : "compressed-tensors", &err),
        .method = GK_METHOD_RTN,
        .threads = argc > 4 ? atoi(argv[4]) : 2,
        .memory_bytes = UINT64_C(256) << 20};
    const double start = now();
    gk_catalog *c = gk_model_open_whole(argv[1], &err);
    gk_recipe *recipe = c == NULL ? NULL : gk_recipe_new(&err);
    char rules[100];
    snprintf(rules, sizeof rules, "default = %s", argv[3]);
    if (recipe == NULL || !gk_recipe_text(recipe, rules, strlen(rules), "rules", &err))
        die(&err);
    job j = {.p = gk_plan_new(c, recipe, &options, &err)};
    if (j.p == NULL)
        die(&err);
    run(&j, argv[2], &err);
    printf("%.2f s, %.3f GB/s of input, %" PRIu64 " tiles\n", now() - start,
           (double)j.p->input_bytes / (now() - start) / 1e9, j.p->n_units);
    gk_plan_free((gk_plan *)(uintptr_t)j.p);
    gk_recipe_free(recipe);
    gk_catalog_close(c);
    return 0;
}
