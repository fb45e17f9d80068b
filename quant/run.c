/* quant/run.c - units of work, in any order, by any number of threads. */
#include "quant/run.h"

#include <inttypes.h>
#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "formats/checked.h"
#include "formats/output.h"
#include "quant/codec_blocks.h"
#include "quant/digests.h"
#include "quant/follow.h"
#include "quant/intake.h"
#include "quant/kernels.h"
#include "quant/model.h"
#include "quant/nonfinite.h"
#include "quant/progress.h"
#include "quant/provenance.h"
#include "quant/run_files.h"
#include "quant/run_phases.h"

/* Error sums of a tensor while its tiles are being worked on: one cell a row and
 * column tile, so that their total is added in one order whatever came first. */
typedef struct sums {
    double  *cell; /* [n_rows, n_col_tiles, 2]: error, square */
    uint64_t left; /* tiles to do                             */
} sums;

typedef struct run {
    const gk_plan        *p;
    const gk_run_options *options;
    gk_output            *out;
    const gk_catalog     *back; /* OUT read again, when verifying      */
    gk_progress_log      *log;  /* what is done already                */
    gk_intake            *intake; /* what the page cache is told       */
    gk_follow            *follow; /* digests of what is written, or NULL */
    int                  *file; /* of each shard                       */
    gk_file             **standing; /* to compare with, not to write: of each shard */
    double               *rel_error;
    float                *most; /* max |w| of each range, NULL: none   */
    bool                  ranging; /* the phase that finds them        */
    sums                 *sums; /* of each item                        */
    uint32_t              phase; /* of the items at hand                */
    gk_hessian          **factor; /* of each item, in its phase         */
    uint64_t              next; /* unit                                */
    bool                  failed;
    uint64_t              failed_unit;
    gk_err                failure; /* of the lowest unit that failed   */
} run;

/* One thread's buffers: parts of one block. */
typedef struct worker {
    unsigned char *block;
    float         *w, *v;  /* values, and as they come back   */
    unsigned char *raw;    /* stored bytes, or decode scratch */
    unsigned char *packed; /* bytes of the output             */
    unsigned char *work;   /* scratch of encoding             */
    double         error, square; /* sums of the tile         */
} worker;

/* ---- errors and sums -------------------------------------------------------- */

static double *open_sums(run *r, const gk_plan_item *item, gk_err *err)
{
    sums *s = &r->sums[item - r->p->item];
    double *cell;

#pragma omp critical(gk_run_sums)
    {
        if (s->cell == NULL) {
            s->cell = gk_alloc(gk_rows(item->from) * item->n_col_tiles, 2 * sizeof(double), err);
            s->left = item->n_units;
        }
        cell = s->cell;
    }
    return cell;
}

static void close_sums(run *r, const gk_plan_item *item)
{
    const uint64_t i = (uint64_t)(item - r->p->item);
    double *cell = NULL;
    double error = 0, square = 0;

#pragma omp critical(gk_run_sums)
    if (--r->sums[i].left == 0) {
        cell = r->sums[i].cell;
        r->sums[i].cell = NULL;
    }
    if (cell == NULL)
        return;
    for (uint64_t k = 0; k < gk_rows(item->from) * item->n_col_tiles; k++) {
        error += cell[2 * k];
        square += cell[2 * k + 1];
    }
    r->rel_error[i] = square > 0 ? error / square : 0;
    gk_free(cell);
}

/* Adds what another run found for a tile, as the sums of its first row. */
static bool take_over(run *r, const gk_done_tile *tile, gk_err *err)
{
    const gk_plan_item *item = gk_plan_item_of(r->p, tile->unit);
    const gk_tile t = gk_plan_tile(item, tile->unit - item->first_unit);

    if (item->to.kind == GK_SCHEME_KEEP)
        return true;
    double *cell = open_sums(r, item, err);
    if (cell == NULL)
        return false;
    for (uint64_t i = 0; i < t.n_rows; i++) {
        double *at = cell + 2 * ((t.row + i) * item->n_col_tiles + t.col / item->tile_cols);
        at[0] = i == 0 ? tile->error : 0;
        at[1] = i == 0 ? tile->square : 0;
    }
    close_sums(r, item);
    return true;
}

/* Adds the sums of a tile: those of its rows; NULL: of w and v. */
static bool add_errors(run *r, const gk_plan_item *item, const gk_tile *t, worker *w,
                       double (*rows)[2], gk_err *err)
{
    double *cell = open_sums(r, item, err);

    if (cell == NULL)
        return false;
    for (uint64_t i = 0; i < t->n_rows; i++) {
        double *at = cell + 2 * ((t->row + i) * item->n_col_tiles + t->col / item->tile_cols);
        if (rows != NULL)
            memcpy(at, rows[i], sizeof rows[i]);
        else
            gk_kernels_get()->row_error(w->w + i * t->n_cols, w->v + i * t->n_cols, t->n_cols,
                                        &at[0], &at[1]);
        w->error += at[0];
        w->square += at[1];
    }
    close_sums(r, item);
    return true;
}

/* ---- one tile ----------------------------------------------------------------- */

static bool say_nonfinite(const gk_tensor *t, const gk_tile *tile, uint64_t at, bool is_nan,
                          gk_err *err)
{
    gk_fail(err, GK_ERR_FORMAT, GK_NO_OFF, "%s at row %" PRIu64 ", column %" PRIu64,
            is_nan ? "NaN" : "infinity (Inf)", tile->row + at / tile->n_cols,
            tile->col + at % tile->n_cols);
    return gk_fail_at(err, t->whole != NULL ? "" : NULL, t->name);
}

/* Values must be finite; raw holds the stored elements of a plain tensor's tile. */
static bool check_raw(const gk_tensor *t, const gk_tile *tile, const unsigned char *raw,
                      gk_err *err)
{
    const gk_dtype dtype = (gk_dtype)t->dtype;
    const gk_dtype_row *type = gk_dtype_get(dtype);
    const uint64_t n = tile->n_rows * tile->n_cols, at = gk_nonfinite(dtype, raw, n);
    const unsigned char *found = raw + at / type->block_elems * type->block_bytes;

    return at == n || say_nonfinite(t, tile, at, gk_is_nan(dtype, found), err);
}

/* The stored bytes of a tile of a plain tensor. */
static bool read_raw(const run *r, const gk_plan_item *item, const gk_tile *t, worker *w,
                     gk_err *err)
{
    return gk_read_part(r->p->from, item->from, 0, t->row, t->n_rows, t->col, t->n_cols, w->raw,
                        err)
           && (!r->p->options.check_values || check_raw(item->from, t, w->raw, err));
}

static bool read_values(const run *r, const gk_plan_item *item, const gk_tile *t, worker *w,
                        gk_err *err)
{
    const uint64_t rect[4] = {t->row, t->n_rows, t->col, t->n_cols};
    const uint64_t n = t->n_rows * t->n_cols;

    if (!gk_decode(r->p->from, item->from, rect, w->w, w->raw, err))
        return false;
    if (!r->p->options.check_values)
        return true;
    const uint64_t at = gk_kernels_get()->nonfinite_f32(w->w, n);
    return at == n || say_nonfinite(item->from, t, at, w->w[at] != w->w[at], err);
}

/* Where row r of a matrix, or element r of a bias, stands whose heads' halves are interleaved. */
static uint64_t interleaved(const gk_plan_item *item, uint64_t r)
{
    const gk_tensor *t = item->from;
    const uint64_t width = (t->ndim < 2 ? gk_cols(t) : gk_rows(t)) / item->heads, at = r % width;

    return r - at + at % (width / 2) * 2 + at / (width / 2);
}

/* Writes to a shard, or requires that these bytes stand in it. */
static bool put(const run *r, uint64_t shard, uint64_t off, const void *from, uint64_t n,
                gk_err *err)
{
    unsigned char there[4096];

    if (r->standing == NULL)
        return gk_output_write(r->out, r->file[shard], off, from, n, err);
    for (uint64_t at = 0; at < n; at += sizeof there) {
        const uint64_t step = gk_min(sizeof there, n - at);
        if (!gk_file_read(r->standing[shard], off + at, there, step, err))
            return false;
        if (memcmp(there, (const unsigned char *)from + at, step) != 0)
            return gk_fail(err, GK_ERR_ARG, off + at, "exists with other bytes than this plan's");
    }
    return true;
}

/* Writes the bytes of rectangle t of an entry of the item, row-major in buf. */
static bool write_tile(run *r, const gk_plan_item *item, const gk_entry *e, const gk_tile *t,
                       const void *buf, gk_err *err)
{
    const gk_dtype dtype = (gk_dtype)e->dtype;
    const bool bias = gk_plan_is_bias(item, e);
    const uint64_t stride = gk_plan_stride(item, e);
    uint64_t row_bytes = gk_row_bytes(dtype, bias ? 1 : t->n_cols);
    uint64_t n_rows = bias ? t->n_cols : t->n_rows;
    const uint64_t off
        = e->off + item->row0 * stride + (bias ? 0 : gk_row_bytes(dtype, t->col));
    const unsigned char *from = buf;
    uint64_t row = bias ? t->col : t->row;

    if (stride == row_bytes && item->heads == 0) {
        row_bytes *= n_rows;
        n_rows = n_rows > 0;
    }
    for (uint64_t i = 0; i < n_rows; i++, row++)
        if (!put(r, e->shard, off + (item->heads > 0 ? interleaved(item, row) : row) * stride,
                 from + i * row_bytes, row_bytes, err))
            return gk_fail_at(err, NULL, e->name);
    return true;
}

static bool keep_tile(run *r, const gk_plan_item *item, const gk_tile *t, worker *w, gk_err *err)
{
    return read_raw(r, item, t, w, err) && write_tile(r, item, item->entry, t, w->raw, err);
}

static bool is_bf16(const gk_tensor *t)
{
    return t->dtype == GK_BF16 && t->scheme == NULL && t->n_parts > 0;
}

/* The values of a tile for its encoder: as they are stored, where it takes bf16, or as floats. */
static bool read_for(const run *r, const gk_plan_item *item, const gk_tile *t, worker *w,
                     const void **bf16, gk_err *err)
{
    if (bf16 == NULL || !is_bf16(item->from))
        return read_values(r, item, t, w, err);
    *bf16 = w->raw;
    return read_raw(r, item, t, w, err);
}

static bool blocks_tile(run *r, const gk_plan_item *item, const gk_tile *t, worker *w, gk_err *err)
{
    gk_blocks_job job = {.type = item->to.cast,
                         .n_rows = t->n_rows,
                         .n_cols = t->n_cols,
                         .importance = item->importance == NULL ? NULL : item->importance + t->col};
    double (*of_rows)[2] = (void *)w->work;

    if (!read_for(r, item, t, w, &job.bf16, err))
        return false;
    const uint64_t row = gk_blocks_encode(&job, w->w, w->v, w->packed, of_rows);
    if (row < t->n_rows) {
        gk_fail(err, GK_ERR_FORMAT, GK_NO_OFF,
                "row %" PRIu64 " holds values whose scale %s cannot express; keep it as bf16 "
                "or f32 with --rule", t->row + row, item->to.name);
        return gk_fail_at(err, NULL, item->from->name);
    }
    return add_errors(r, item, t, w, of_rows, err)
           && write_tile(r, item, item->entry, t, w->packed, err);
}

static bool cast_tile(run *r, const gk_plan_item *item, const gk_tile *t, worker *w, gk_err *err)
{
    const gk_kernels *k = gk_kernels_get();
    const uint64_t n = t->n_rows * t->n_cols;

    if (gk_dtype_is_block(item->to.cast))
        return blocks_tile(r, item, t, w, err);
    if (!read_values(r, item, t, w, err))
        return false;
    if (item->to.cast == GK_F32) {
        memcpy(w->v, w->w, n * sizeof(float));
        memcpy(w->packed, w->w, n * sizeof(float));
    } else {
        (item->to.cast == GK_BF16 ? k->f32_to_bf16 : k->f32_to_f16)(w->w, n, w->packed);
        gk_floats(item->to.cast, w->packed, n, w->v);
    }
    return add_errors(r, item, t, w, NULL, err)
           && write_tile(r, item, item->entry, t, w->packed, err);
}

static uint64_t up64(uint64_t n)
{
    return gk_div_up(n, 64) * 64;
}

static bool encode_tile(run *r, const gk_plan_item *item, const gk_tile *t, worker *w, gk_err *err)
{
    const gk_layout *l = item->to.layout;
    gk_coding job = {.scheme = &item->to,
                     .method = r->p->options.method,
                     .importance = item->importance == NULL ? NULL : item->importance + t->col,
                     .most = r->most == NULL ? 0 : r->most[item->range],
                     .dim = {gk_rows(item->from), gk_cols(item->from)},
                     .tile = *t,
                     .w = w->w,
                     .scratch = w->work,
                     .err = err};
    gk_tile span[GK_MAX_PARTS];
    unsigned char *at = w->packed;

    if (item->phase > 0) {
        job.factor = r->factor[item - r->p->item];
        job.room = w->work + up64(l->scratch_bytes(&item->to, t->n_rows, t->n_cols));
    }
    if (l->measures && t->n_cols >= 4)
        job.sums = (double (*)[2])(void *)w->v; /* nobody needs v, which has four floats a row */
    else
        job.v = w->v;
    if (!read_for(r, item, t, w, job.sums == NULL || item->phase > 0 ? NULL : &job.bf16, err))
        return false;
    for (int i = 0; i < item->n_entries; i++) {
        l->span(&item->to, i, job.dim, t, &span[i]);
        job.part[i] = at;
        job.dtype[i] = (gk_dtype)item->entry[i].dtype;
        at += up64(span[i].n_rows * gk_row_bytes(job.dtype[i], span[i].n_cols));
    }
    l->encode(&job);
    bool ok = add_errors(r, item, t, w, job.sums, err);
    for (int i = 0; ok && i < item->n_entries; i++)
        ok = write_tile(r, item, &item->entry[i], &span[i], job.part[i], err);
    return ok;
}

static bool make_tile(run *r, const gk_plan_item *item, const gk_tile *t, worker *w, gk_err *err)
{
    return (item->to.kind == GK_SCHEME_KEEP   ? keep_tile
            : item->to.kind == GK_SCHEME_CAST ? cast_tile
                                              : encode_tile)(r, item, t, w, err);
}

/* Reads a tile of OUT and of the input again: kept bytes must be equal, the errors of
 * the others add up to what the run itself found (checked when all are in). */
static bool verify_tile(run *r, const gk_plan_item *item, const gk_tile *t, worker *w, gk_err *err)
{
    const gk_tensor *written = gk_catalog_find(r->back, item->from->name);
    const uint64_t rect[4] = {t->row, t->n_rows, t->col, t->n_cols};

    if (written == NULL || gk_rows(written) != gk_rows(item->from)
        || gk_cols(written) != gk_cols(item->from)) {
        gk_fail(err, GK_ERR_IO, GK_NO_OFF, "--verify: the written tensor reads back differently");
        return gk_fail_at(err, NULL, item->from->name);
    }
    if (item->to.kind != GK_SCHEME_KEEP)
        return gk_decode(r->p->from, item->from, rect, w->w, w->raw, err)
               && gk_decode(r->back, written, rect, w->v, w->raw, err)
               && add_errors(r, item, t, w, NULL, err);
    const uint64_t n = t->n_rows * gk_row_bytes((gk_dtype)item->from->dtype, t->n_cols);
    unsigned char *other = (unsigned char *)w->w;
    if (!gk_read_part(r->p->from, item->from, 0, t->row, t->n_rows, t->col, t->n_cols, w->raw, err)
        || !gk_read_part(r->back, written, 0, t->row, t->n_rows, t->col, t->n_cols, other, err))
        return false;
    if (memcmp(w->raw, other, n) == 0)
        return true;
    gk_fail(err, GK_ERR_IO, GK_NO_OFF, "--verify: the written bytes differ from the input's");
    return gk_fail_at(err, NULL, item->from->name);
}

/* Widens the range that an item shares; floats above 0 rise with their bits. */
static bool range_tile(run *r, const gk_plan_item *item, const gk_tile *t, worker *w, gk_err *err)
{
    uint32_t *most = (uint32_t *)(void *)&r->most[item->range], bits, was;
    float lo, hi;

    if (!read_values(r, item, t, w, err))
        return false;
    gk_kernels_get()->range(w->w, t->n_rows * t->n_cols, &lo, &hi);
    const float value = -lo > hi ? -lo : hi;
    memcpy(&bits, &value, sizeof bits);
    was = __atomic_load_n(most, __ATOMIC_RELAXED);
    while (bits > was
           && !__atomic_compare_exchange_n(most, &was, bits, false, __ATOMIC_RELAXED,
                                           __ATOMIC_RELAXED))
        ;
    return true;
}

/* ---- all tiles ----------------------------------------------------------------- */

static bool is_stopped(const run *r)
{
    return r->options->stop != NULL && *r->options->stop;
}

static uint64_t input_share(const gk_plan_item *item, const gk_tile *t)
{
    const double elems = (double)gk_rows(item->from) * (double)gk_cols(item->from);
    const double share = (double)t->n_rows * (double)t->n_cols / elems;

    return (uint64_t)(share * (double)gk_tensor_bytes(item->from));
}

/* Ranges and verifying know no phases. */
static bool is_at_hand(const run *r, uint64_t unit)
{
    return r->ranging || r->back != NULL || gk_plan_item_of(r->p, unit)->phase == r->phase;
}

static bool do_unit(run *r, worker *w, uint64_t unit, gk_err *err)
{
    const gk_plan_item *item = gk_plan_item_of(r->p, unit);
    const uint64_t k = unit - item->first_unit;
    const gk_tile t = gk_plan_tile(item, k);
    const bool writing = !r->ranging && r->back == NULL;
    double error, square;
    bool ok;

    if (is_stopped(r))
        return gk_fail(err, GK_ERR_INTERRUPTED, GK_NO_OFF, "interrupted");
    w->error = w->square = 0;
    const bool done
        = writing ? gk_progress_log_has(r->log, unit)
                        || gk_progress_log_whole(r->log, (uint64_t)(item - r->p->item), &error,
                                                 &square)
                  : r->ranging && item->to.kind != GK_SCHEME_NVFP4;
    if (done)
        gk_intake_end(r->intake, item, k);
    if (done)
        return !writing || r->follow == NULL || gk_follow_note(r->follow, unit, err);
    if (r->ranging)
        ok = range_tile(r, item, &t, w, err);
    else if (r->back != NULL)
        ok = verify_tile(r, item, &t, w, err);
    else
        ok = make_tile(r, item, &t, w, err);
    gk_intake_end(r->intake, item, k);
    if (ok && r->options->progress != NULL && !r->ranging)
        r->options->progress(r->options->context, input_share(item, &t), item->from->name);
    return ok
           && (!writing || r->follow == NULL || gk_follow_note(r->follow, unit, err))
           && (!writing
               || gk_progress_log_add(r->log, &(gk_done_tile){unit, w->error, w->square},
                                      input_share(item, &t), err));
}

/* What the journal says is done: its sums, and its share of the progress. */
static bool take_up(run *r, gk_err *err)
{
    uint64_t n, bytes = 0;
    const gk_done_tile *tile = gk_progress_log_tiles(r->log, &n);
    double error, square;
    bool ok = true;

    for (uint64_t i = 0; ok && i < r->p->n_items; i++)
        if (gk_progress_log_whole(r->log, i, &error, &square)) {
            r->rel_error[i] = square > 0 ? error / square : 0;
            bytes += gk_tensor_bytes(r->p->item[i].from);
        }
    for (uint64_t i = 0; ok && i < n; i++) {
        const gk_plan_item *item = gk_plan_item_of(r->p, tile[i].unit);
        const gk_tile t = gk_plan_tile(item, tile[i].unit - item->first_unit);
        bytes += input_share(item, &t);
        ok = take_over(r, &tile[i], err);
    }
    if (bytes > 0 && r->options->progress != NULL)
        r->options->progress(r->options->context, bytes, "taken up");
    return ok;
}

static bool open_worker(const gk_plan *p, worker *w, gk_err *err)
{
    const uint64_t floats = up64(p->room.floats * 4) / 4;

    w->block = gk_alloc(gk_room_bytes(&p->room), 1, err);
    if (w->block == NULL)
        return false;
    w->w = (float *)(void *)w->block;
    w->v = w->w + floats;
    w->packed = (unsigned char *)(w->v + floats);
    w->raw = w->packed + up64(p->room.packed);
    w->work = w->raw + up64(p->room.raw);
    return true;
}

static void drop_sums(run *r)
{
    for (uint64_t i = 0; i < r->p->n_items; i++) {
        gk_free(r->sums[i].cell);
        r->sums[i].cell = NULL;
    }
}

/* A processor has use for a few threads, because some wait for the disk; many more only scatter
 * the reads that a file system's read-ahead wants in a row. */
static int n_workers(const gk_plan *p)
{
    return (int)gk_min((uint64_t)p->options.threads, 4 * (uint64_t)omp_get_num_procs());
}

/* Runs all units; the error kept is that of the lowest failing unit, because units
 * are handed out in order and all below it are finished. */
static bool do_all(run *r, gk_err *err)
{
    r->next = 0;
    r->failed = false;
    if (r->phase == 0)
        gk_intake_restart(r->intake);
#pragma omp parallel num_threads(n_workers(r->p))
    {
        worker w = {0};
        gk_err own = {0};
        bool ok = open_worker(r->p, &w, &own);
        uint64_t unit = 0;
        while (ok && !__atomic_load_n(&r->failed, __ATOMIC_RELAXED)
               && (unit = __atomic_fetch_add(&r->next, 1, __ATOMIC_RELAXED)) < r->p->n_units)
            ok = !is_at_hand(r, unit) || do_unit(r, &w, unit, &own);
        if (!ok) {
#pragma omp critical(gk_run_failure)
            if (!r->failed || unit < r->failed_unit) {
                r->failed_unit = unit;
                r->failure = own;
                __atomic_store_n(&r->failed, true, __ATOMIC_RELAXED);
            }
        }
        gk_free(w.block);
    }
    drop_sums(r);
    if (r->failed)
        *err = r->failure;
    return !r->failed;
}

/* The phase before the others: max |w| of everything that shares an NVFP4 scale. */
static bool find_ranges(run *r, gk_err *err)
{
    if (r->p->n_ranges == 0)
        return true;
    r->most = gk_alloc(r->p->n_ranges, sizeof *r->most, err);
    if (r->most == NULL)
        return false;
    if (gk_progress_log_ranges(r->log, r->most))
        return true;
    memset(r->most, 0, r->p->n_ranges * sizeof *r->most);
    r->ranging = true;
    const bool ok = do_all(r, err);
    r->ranging = false;
    return ok && gk_progress_log_keep_ranges(r->log, r->most, err);
}

/* GPTQ's matrices, when all others are written. */
static bool do_phase(void *context, uint32_t phase, gk_err *err)
{
    run *r = context;

    r->phase = phase;
    return do_all(r, err);
}

static bool solve(run *r, gk_run_result *result, gk_err *err)
{
    const gk_solving job = {.p = r->p,
                            .inputs = r->options->inputs,
                            .log = r->log,
                            .out = gk_output_path(r->out),
                            .factor = r->factor,
                            .run = do_phase,
                            .context = r};
    const bool ok = r->p->n_phases == 0 || gk_run_phases(&job, &result->n_unsolved, err);

    r->phase = 0;
    return ok;
}

/* ---- from the first file to the last ---------------------------------------------- */

static bool verify(run *r, gk_err *err)
{
    const gk_plan *p = r->p;
    double *own = r->rel_error;
    double *again = gk_alloc(p->n_items, sizeof *again, err);
    gk_catalog *back = again == NULL ? NULL : gk_model_open_whole(gk_output_path(r->out), err);
    bool ok = back != NULL;

    if (ok) {
        memset(again, 0, p->n_items * sizeof *again);
        r->back = back;
        r->rel_error = again;
        ok = do_all(r, err);
        r->rel_error = own;
        r->back = NULL;
    }
    for (uint64_t i = 0; ok && i < p->n_items; i++)
        /* encoders add 128 squares in f32; a resumed run adds in another order */
        if (fabs(own[i] - again[i]) > 2e-6 * own[i]) {
            gk_fail(err, GK_ERR_IO, GK_NO_OFF,
                    "--verify: relative error %.9g when written, %.9g when read back", own[i],
                    again[i]);
            ok = gk_fail_at(err, NULL, p->item[i].from->name);
        }
    if (!ok && err->code != GK_ERR_INTERRUPTED)
        gk_output_distrust(r->out);
    gk_catalog_close(back);
    gk_free(again);
    return ok;
}

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static bool prepare(run *r, gk_run_result *result, gk_err *err)
{
    const gk_plan *p = r->p;

    result->arena = gk_arena_new(err);
    if (result->arena == NULL)
        return false;
    result->rel_error = gk_arena_alloc(result->arena, p->n_items, sizeof(double), err);
    result->file = gk_arena_alloc(result->arena, gk_plan_n_files(p), sizeof *result->file, err);
    result->input = gk_arena_alloc(result->arena, p->from->n_inputs, sizeof *result->input, err);
    for (uint64_t i = 0; result->input != NULL && i < p->from->n_inputs; i++)
        result->input[i] = (gk_run_file){.name = p->from->input[i].file->path,
                                         .bytes = p->from->input[i].file->size};
    r->file = gk_arena_alloc(result->arena, p->shards.n, sizeof *r->file, err);
    r->sums = gk_arena_alloc(result->arena, p->n_items, sizeof *r->sums, err);
    r->factor = gk_arena_alloc(result->arena, p->n_items, sizeof(gk_hessian *), err);
    r->rel_error = result->rel_error;
    return r->rel_error != NULL && result->file != NULL && result->input != NULL && r->file != NULL
           && r->sums != NULL && r->factor != NULL;
}

static bool inputs_unchanged(const run *r, gk_err *err)
{
    const gk_plan *p = r->p;

    for (uint64_t i = 0; i < p->from->n_inputs; i++)
        if (!gk_file_unchanged(p->from->input[i].file, err)) {
            gk_output_distrust(r->out); /* it may hold of both */
            return false;
        }
    return true;
}

/* Everything up to files that are whole and on the disk. */
static bool build(run *r, gk_run_result *result, gk_err *err)
{
    const gk_plan *p = r->p;
    const gk_hash_mode hash = p->options.hash;
    const uint64_t n_made = result->n_files - (p->provenance_bytes > 0);
    const volatile sig_atomic_t *stop = r->options->stop;

    return gk_run_create_files(p, r->out, r->file, err)
           && (hash == GK_HASH_NONE
               || (r->follow = gk_follow_new(p, r->out, r->file, err)) != NULL)
           && find_ranges(r, err) && take_up(r, err) && do_all(r, err) && solve(r, result, err)
           && inputs_unchanged(r, err) && gk_progress_log_keep(r->log, err)
           && (hash == GK_HASH_NONE
               || gk_digest_files(gk_output_path(r->out), r->follow, result->file, n_made,
                                  p->options.threads, stop, err))
           && (hash != GK_HASH_ALL
               || gk_digest_inputs(p->from, result->input, p->options.threads, stop, err))
           && (p->provenance_bytes == 0 || gk_provenance_put(p, r->out, result, err))
           && (!r->options->verify || verify(r, err)) && gk_output_seal(r->out, err)
           && gk_progress_log_seal(r->log, err);
}

/* Files that a run finished, but did not put in their place. */
static bool adopt(run *r, const gk_run_result *result, gk_err *err)
{
    for (uint64_t i = 0; i < result->n_files; i++)
        if (!gk_output_adopt(r->out, result->file[i].name, err))
            return false;
    return true;
}

/* An error that another attempt may not meet leaves what is done for --resume. */
static void give_up(run *r, bool *kept, const gk_err *why)
{
    const bool passing = why->code == GK_ERR_INTERRUPTED || why->code == GK_ERR_IO
                         || why->code == GK_ERR_SPACE || why->code == GK_ERR_NOMEM;
    gk_err ignored = {0};

    *kept = r->log != NULL && passing && gk_output_trusted(r->out)
            && gk_progress_log_keep(r->log, &ignored) && gk_progress_log_any(r->log);
    gk_progress_log_close(r->log);
    (*kept ? gk_output_leave : gk_output_abandon)(r->out);
}

bool gk_run(const gk_plan *p, const char *out, const gk_run_options *options,
            gk_run_result *result, gk_err *err)
{
    run r = {.p = p, .options = options};
    const double start = now();
    const gk_output_how how = {.as_files = p->options.target->is_gguf, .resume = options->resume,
                               .break_lock = options->break_lock};

    *result = (gk_run_result){0};
    bool ok = prepare(&r, result, err) && (r.out = gk_output_begin(out, p->tag, &how, err)) != NULL
              && (r.log = gk_progress_log_open(p, r.out, options->resume, err)) != NULL
              && (r.intake = gk_intake_new(p, err)) != NULL;
    if (r.out != NULL && r.log == NULL && options->resume) {
        gk_output_leave(r.out); /* it may still be worth something */
        return false;
    }
    if (ok)
        gk_run_list_files(p, result);
    ok = ok && (gk_progress_log_sealed(r.log) ? adopt(&r, result, err) : build(&r, result, err));
    gk_free(r.most);
    gk_intake_free(r.intake);
    gk_follow_free(r.follow);
    if (!ok) {
        give_up(&r, &result->kept, err);
        return false;
    }
    gk_progress_log_close(r.log);
    ok = gk_output_commit(r.out, options->force, err);
    result->seconds = now() - start;
    return ok;
}

void gk_run_result_free(gk_run_result *r)
{
    gk_arena_free(r->arena);
    *r = (gk_run_result){0};
}

/* ---- what stands at OUT ----------------------------------------------------------- */

/* Opens OUT's shards beside each other; their headers must be the plan's. */
static bool open_standing(run *r, const char *out, gk_arena *a, gk_err *err)
{
    const gk_plan *p = r->p;
    char *dir = gk_path_dir(a, out, err);

    r->standing = dir == NULL ? NULL : gk_arena_alloc(a, p->shards.n, sizeof *r->standing, err);
    for (uint64_t i = 0; r->standing != NULL && i < p->shards.n; i++) {
        const gk_shard *s = &p->shards.shard[i];
        const char *path = gk_path_join(a, dir, s->name, err);
        if (path == NULL || (r->standing[i] = gk_file_open(a, path, err)) == NULL)
            return false;
        if (r->standing[i]->size != s->bytes) {
            gk_fail(err, GK_ERR_ARG, GK_NO_OFF, "exists with %" PRIu64 " bytes, the plan's has %"
                    PRIu64, r->standing[i]->size, s->bytes);
            return gk_fail_at(err, s->name, NULL);
        }
        if (!put(r, i, 0, s->header, s->header_bytes, err))
            return gk_fail_at(err, s->name, NULL);
    }
    return r->standing != NULL;
}

bool gk_run_stands(const gk_plan *p, const char *out, gk_err *err)
{
    const gk_run_options options = {0};
    run r = {.p = p, .options = &options};
    gk_run_result result = {0};
    worker w = {0};
    bool ok = prepare(&r, &result, err) && open_standing(&r, out, result.arena, err)
              && open_worker(p, &w, err);

    for (uint64_t i = 0; ok && i < p->n_items; i++)
        if (p->item[i].n_units > 0 && p->item[i].to.kind != GK_SCHEME_NVFP4) {
            const gk_tile first = gk_plan_tile(&p->item[i], 0);
            ok = make_tile(&r, &p->item[i], &first, &w, err);
        }
    drop_sums(&r);
    gk_free(w.block);
    for (uint64_t i = 0; r.standing != NULL && i < p->shards.n; i++)
        gk_file_close(r.standing[i]);
    gk_run_result_free(&result);
    return ok;
}
