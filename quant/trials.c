/* quant/trials.c - blocks of rows, in any order. */
#include "quant/trials.h"

#include <inttypes.h>
#include <omp.h>
#include <string.h>

#include "formats/checked.h"
#include "quant/blocks.h"
#include "quant/kernels.h"
#include "quant/model.h"
#include "quant/through.h"

#define BLOCK_ROWS 16

enum { NOISE4 = GK_MAX_OPTIONS, NOISE8, SQUARE, N_SUMS }; /* behind those of the schemes */

/* One thread's buffers. */
typedef struct worker {
    float *w, *v;
    unsigned char *packed, *scratch;
} worker;

typedef struct run {
    const gk_trial_job *job;
    gk_trial *trial;
    uint64_t n, n_tasks;
    uint64_t *first; /* [n + 1] task of each trial */
    double (*sums)[N_SUMS]; /* [n_tasks]          */
    worker *worker;
    int threads;
    bool failed;
    gk_err *err;
} run;

static uint64_t blocks_of(const gk_trial *t)
{
    const uint64_t all = gk_div_up(gk_rows(t->tensor), BLOCK_ROWS);

    return t->rows == 0 ? all : gk_min(all, gk_max(gk_div_up(t->rows, BLOCK_ROWS), 1));
}

uint64_t gk_trial_bytes(const gk_trial *t, uint64_t n)
{
    uint64_t bytes = 0;

    for (uint64_t i = 0; i < n; i++)
        bytes += gk_min(blocks_of(&t[i]) * BLOCK_ROWS, gk_rows(t[i].tensor))
                 * gk_cols(t[i].tensor) * 2;
    return bytes;
}

/* ---- one block of rows -------------------------------------------------------------- */

/* Sum of importance (a - b)^2 in double, column by column in each row. */
static double weighted(const float *a, const float *b, const float *importance, uint64_t n_rows,
                       uint64_t n_cols)
{
    double sum = 0;

    for (uint64_t r = 0; r < n_rows; r++, a += n_cols, b += n_cols) {
        double lane[4] = {0, 0, 0, 0};
        uint64_t j = 0;
        for (; j + 4 <= n_cols; j += 4)
            for (int i = 0; i < 4; i++) {
                const double d = (double)a[j + (uint64_t)i] - (double)b[j + (uint64_t)i];
                lane[i] += (importance == NULL ? 1 : (double)importance[j + (uint64_t)i]) * d * d;
            }
        for (; j < n_cols; j++) {
            const double d = (double)a[j] - (double)b[j];
            lane[0] += (importance == NULL ? 1 : (double)importance[j]) * d * d;
        }
        sum += lane[0] + lane[1] + lane[2] + lane[3];
    }
    return sum;
}

static bool try_blocks(const gk_trial *t, const gk_scheme *s, uint64_t n_rows, worker *k)
{
    const gk_blocks *blocks = gk_blocks_of(s->cast);
    const uint64_t n = gk_cols(t->tensor);

    for (uint64_t r = 0; r < n_rows; r++) {
        blocks->encode(k->w + r * n, n, t->importance, k->packed);
        if (!blocks->valid(k->packed, n))
            return false;
        blocks->decode(k->packed, n, k->v + r * n);
    }
    return true;
}

static void try_codes(const run *r, const gk_trial *t, const gk_scheme *s, const gk_tile *tile,
                      worker *k, gk_err *err)
{
    gk_layout_part part[GK_MAX_PARTS];
    gk_coding c = {.scheme = s,
                   .method = r->job->method == GK_METHOD_RTN ? GK_METHOD_RTN : GK_METHOD_SEARCH,
                   .importance = t->importance,
                   .dim = {gk_rows(t->tensor), gk_cols(t->tensor)},
                   .tile = *tile,
                   .w = k->w,
                   .v = k->v,
                   .scratch = k->scratch,
                   .err = err};
    const int n = s->layout->parts(s, c.dim, part);
    unsigned char *at = k->packed;

    for (int i = 0; i < n; i++) {
        gk_tile span;
        s->layout->span(s, i, c.dim, tile, &span);
        c.part[i] = at;
        c.dtype[i] = part[i].dtype;
        at += gk_div_up(span.n_rows * gk_row_bytes(part[i].dtype, span.n_cols), 64) * 64;
    }
    s->layout->encode(&c);
}

/* Codes need the values again, and encoders may use them up: each scheme has its own copy. */
static bool try_all(run *r, const gk_trial *t, const gk_tile *tile, worker *k, double *sums,
                    gk_err *err)
{
    const uint64_t n = tile->n_rows * tile->n_cols;
    const uint64_t rect[4] = {tile->row, tile->n_rows, 0, tile->n_cols};

    if (!gk_decode(r->job->from, t->tensor, rect, k->w, k->scratch, err))
        return false;
    const uint64_t at = gk_kernels_get()->nonfinite_f32(k->w, n);
    if (at < n) {
        gk_fail(err, GK_ERR_FORMAT, GK_NO_OFF, "row %" PRIu64 ", column %" PRIu64
                " is not finite", tile->row + at / tile->n_cols, at % tile->n_cols);
        return gk_fail_at(err, NULL, t->tensor->name);
    }
    for (int i = 0; i < r->job->n_schemes; i++) {
        const gk_scheme *s = &r->job->scheme[i];
        if (!t->tries[i] || s->kind == GK_SCHEME_KEEP)
            continue;
        if (gk_scheme_is_coded(s)) {
            try_codes(r, t, s, tile, k, err);
        } else if (!try_blocks(t, s, tile->n_rows, k)) {
            gk_fail(err, GK_ERR_FORMAT, GK_NO_OFF, "%s cannot express a scale of its rows; keep "
                    "it as bf16 or f32 with --rule", s->name);
            return gk_fail_at(err, NULL, t->tensor->name);
        }
        sums[i] = weighted(k->w, k->v, t->importance, tile->n_rows, tile->n_cols);
    }
    for (int bits = 4; bits <= 8; bits += 4) {
        const gk_scheme noise = gk_through_scheme(bits, tile->n_cols);
        memcpy(k->v, k->w, n * sizeof *k->v);
        gk_through(&noise, tile->n_rows, tile->n_cols, k->v, k->scratch);
        sums[bits == 4 ? NOISE4 : NOISE8]
            = weighted(k->w, k->v, t->importance, tile->n_rows, tile->n_cols);
    }
    memset(k->v, 0, n * sizeof *k->v);
    sums[SQUARE] = weighted(k->w, k->v, t->importance, tile->n_rows, tile->n_cols);
    return true;
}

/* ---- all of them --------------------------------------------------------------------- */

static uint64_t trial_of(const run *r, uint64_t task)
{
    uint64_t low = 0, high = r->n;

    while (high - low > 1) {
        const uint64_t mid = (low + high) / 2;
        if (r->first[mid] <= task)
            low = mid;
        else
            high = mid;
    }
    return low;
}

static void run_task(run *r, uint64_t task)
{
    const uint64_t i = trial_of(r, task);
    const gk_trial *t = &r->trial[i];
    const uint64_t rows = gk_rows(t->tensor), all = gk_div_up(rows, BLOCK_ROWS);
    const uint64_t block = (task - r->first[i]) * all / (r->first[i + 1] - r->first[i]);
    const gk_tile tile = {block * BLOCK_ROWS, gk_min(BLOCK_ROWS, rows - block * BLOCK_ROWS), 0,
                          gk_cols(t->tensor)};
    gk_err own = {0};
    bool ok = r->job->stop == NULL || !*r->job->stop
              || gk_fail(&own, GK_ERR_INTERRUPTED, GK_NO_OFF, "interrupted");

    ok = ok && try_all(r, t, &tile, &r->worker[omp_get_thread_num()], r->sums[task], &own);
#pragma omp critical(gk_trials)
    {
        if (!ok && !r->failed)
            *r->err = own;
        r->failed |= !ok;
        if (ok && r->job->progress != NULL)
            r->job->progress(r->job->context, tile.n_rows * tile.n_cols * 2, t->tensor->name);
    }
}

static bool open_workers(run *r, gk_err *err)
{
    uint64_t floats = 1, packed = 1, scratch = 64;

    for (uint64_t i = 0; i < r->n; i++) {
        const uint64_t n = gk_cols(r->trial[i].tensor), many = BLOCK_ROWS * n;
        const gk_scheme noise = gk_through_scheme(4, n);
        floats = gk_max(floats, many);
        packed = gk_max(packed, 6 * many + 4096); /* codes, scales and zeros of 4 to 8 bits */
        scratch = gk_max(scratch, gk_decode_scratch_bytes(r->trial[i].tensor, BLOCK_ROWS, n));
        scratch = gk_max(scratch, gk_through_scratch(&noise, BLOCK_ROWS, n));
        for (int k = 0; k < r->job->n_schemes; k++)
            if (gk_scheme_is_coded(&r->job->scheme[k]))
                scratch = gk_max(scratch, r->job->scheme[k].layout->scratch_bytes(
                                              &r->job->scheme[k], BLOCK_ROWS, n));
    }
    const uint64_t each = 2 * floats * sizeof(float) + packed + scratch;
    r->threads = (int)gk_max(1, gk_min((uint64_t)r->job->threads, r->job->memory_bytes / 2 / each));
    r->worker = gk_alloc((uint64_t)r->threads, sizeof *r->worker, err);
    if (r->worker != NULL)
        memset(r->worker, 0, (uint64_t)r->threads * sizeof *r->worker);
    for (int i = 0; r->worker != NULL && i < r->threads; i++) {
        worker *k = &r->worker[i];
        k->w = gk_alloc(floats, sizeof *k->w, err);
        k->v = gk_alloc(floats, sizeof *k->v, err);
        k->packed = gk_alloc(packed, 1, err);
        k->scratch = gk_alloc(scratch + 64, 1, err);
        if (k->w == NULL || k->v == NULL || k->packed == NULL || k->scratch == NULL)
            return false;
    }
    return r->worker != NULL;
}

static void close_workers(run *r)
{
    for (int i = 0; r->worker != NULL && i < r->threads; i++) {
        gk_free(r->worker[i].w);
        gk_free(r->worker[i].v);
        gk_free(r->worker[i].packed);
        gk_free(r->worker[i].scratch);
    }
    gk_free(r->worker);
}

/* Sums of blocks in their order, for all rows of the matrix. */
static void add_up(run *r)
{
    for (uint64_t i = 0; i < r->n; i++) {
        gk_trial *t = &r->trial[i];
        double sum[N_SUMS] = {0};
        uint64_t tried = 0;
        const uint64_t rows = gk_rows(t->tensor), all = gk_div_up(rows, BLOCK_ROWS);
        for (uint64_t k = r->first[i]; k < r->first[i + 1]; k++) {
            const uint64_t block = (k - r->first[i]) * all / (r->first[i + 1] - r->first[i]);
            for (int s = 0; s < N_SUMS; s++)
                sum[s] += r->sums[k][s];
            tried += gk_min(BLOCK_ROWS, rows - block * BLOCK_ROWS);
        }
        const double scale = tried == 0 ? 0 : (double)rows / (double)tried;
        for (int s = 0; s < GK_MAX_OPTIONS; s++)
            t->error[s] = sum[s] * scale;
        t->noise = sum[NOISE4] * scale;
        t->noise8 = sum[NOISE8] * scale;
        t->square = sum[SQUARE] * scale;
    }
}

bool gk_trials_run(const gk_trial_job *job, gk_trial *trial, uint64_t n, gk_err *err)
{
    run r = {.job = job, .trial = trial, .n = n, .err = err};

    r.first = gk_alloc(n + 1, sizeof *r.first, err);
    if (r.first == NULL)
        return false;
    r.first[0] = 0;
    for (uint64_t i = 0; i < n; i++)
        r.first[i + 1] = r.first[i] + blocks_of(&trial[i]);
    r.n_tasks = r.first[n];
    r.sums = gk_alloc(gk_max(r.n_tasks, 1), sizeof *r.sums, err);
    if (r.sums != NULL)
        memset(r.sums, 0, r.n_tasks * sizeof *r.sums);
    r.failed = r.sums == NULL || !open_workers(&r, err);
#pragma omp parallel for schedule(dynamic) num_threads(r.failed ? 1 : r.threads)
    for (uint64_t k = 0; k < r.n_tasks; k++) {
        bool failed;
#pragma omp atomic read
        failed = r.failed;
        if (!failed)
            run_task(&r, k);
    }
    if (!r.failed)
        add_up(&r);
    close_workers(&r);
    gk_free(r.sums);
    gk_free(r.first);
    return !r.failed;
}
