/* verify/product.c - a matrix times all tokens at hand, block by block. */
#include <math.h>
#include <omp.h>
#include <string.h>

#include "formats/checked.h"
#include "quant/model.h"
#include "quant/blas.h"
#include "verify/layer.h"

#define BLOCK_ELEMS (UINT64_C(1) << 20)
#define BLOCK_ROWS  512

uint64_t gk_block_rows(uint64_t n_rows, uint64_t n_cols)
{
    const uint64_t rows = gk_max(BLOCK_ELEMS / gk_max(n_cols, 1), 1);

    return gk_min(n_rows, gk_min(rows, BLOCK_ROWS));
}

bool gk_stopped(const gk_stream *s, gk_err *err)
{
    return s->o.stop != NULL && *s->o.stop
           && !gk_fail(err, GK_ERR_INTERRUPTED, GK_NO_OFF, "interrupted");
}

static float gelu(float x, bool by_tanh)
{
    if (by_tanh)
        return 0.5f * x * (1.0f + tanhf(0.79788456080286535588f * (x + 0.044715f * x * x * x)));
    return 0.5f * x * (1.0f + erff(x * 0.70710678118654752440f));
}

static float activate(const gk_stream *s, float x)
{
    switch (s->a.activation) {
    case GK_ACTIVATION_SILU: return x / (1.0f + expf(-x));
    case GK_ACTIVATION_GELU: break;
    }
    return gelu(x, s->o.switches.gelu_tanh);
}

/* An eighth of the width, because releases are cut for eight; within what pays. */
static uint64_t sum_block(uint64_t n_in)
{
    return gk_min(gk_max(n_in / 8, 32), 512);
}

/* out [m, n_rows] of rows n_out wide */
static void multiply_unordered(const gk_product *p, const float *w, gk_worker *k, const float *in,
                               uint64_t m, uint64_t n_rows, float *out)
{
    const uint64_t n_in = gk_cols(p->w[0]), n_out = gk_rows(p->w[0]), block = sum_block(n_in);

    memset(k->sum, 0, m * n_rows * sizeof *k->sum);
    for (uint64_t j = 0; j < n_in; j += block) {
        gk_blas_product((int)m, (int)n_rows, (int)gk_min(block, n_in - j), in + j, (int)n_in, w + j,
                        (int)n_in, k->t[0], (int)n_rows);
        for (uint64_t i = 0; i < m * n_rows; i++)
            k->sum[i] += (double)k->t[0][i];
    }
    for (uint64_t t = 0; t < m; t++)
        for (uint64_t i = 0; i < n_rows; i++)
            out[t * n_out + i] = (float)k->sum[t * n_rows + i];
}

/* One batch times one decoded block. */
static void multiply_batch(const gk_stream *s, const gk_product *p, float *const w[2], gk_worker *k,
                           uint64_t batch, uint64_t row, uint64_t n_rows)
{
    const uint64_t n_in = gk_cols(p->w[0]), n_out = gk_rows(p->w[0]);
    const uint64_t first = p->begin[batch], m = p->begin[batch + 1] - first;
    const float *in = p->in + first * n_in;
    float *out = p->out + first * n_out + row;

    if (m == 0)
        return;
    if (p->unordered) {
        multiply_unordered(p, w[0], k, in, m, n_rows, out);
        return;
    }
    if (p->w[1] == NULL) {
        gk_blas_product((int)m, (int)n_rows, (int)n_in, in, (int)n_in, w[0], (int)n_in, out,
                        (int)n_out);
        return;
    }
    for (int i = 0; i < 2; i++)
        gk_blas_product((int)m, (int)n_rows, (int)n_in, in, (int)n_in, w[i], (int)n_in, k->t[i],
                        (int)n_rows);
    for (uint64_t t = 0; t < m; t++)
        for (uint64_t i = 0; i < n_rows; i++)
            out[t * n_out + i]
                = activate(s, k->t[0][t * n_rows + i]) * k->t[1][t * n_rows + i];
}

bool gk_stream_decode(const gk_stream *s, const gk_tensor *t, const uint64_t rect[4], float *out,
                      void *scratch, gk_err *err)
{
    if (s->o.instead == NULL || !s->o.is_instead(s->o.watcher, t))
        return gk_decode(s->c, t, rect, out, scratch, err);
    const gk_tensor *other = gk_catalog_find(s->o.instead, t->name);
    if (other == NULL || gk_rows(other) != gk_rows(t) || gk_cols(other) != gk_cols(t)) {
        gk_fail(err, GK_ERR_IO, GK_NO_OFF, "what was written reads back differently");
        return gk_fail_at(err, NULL, t->name);
    }
    return gk_decode(s->o.instead, other, rect, out, scratch, err);
}

static bool decode_rows(const gk_stream *s, const gk_tensor *t, uint64_t row, uint64_t n_rows,
                        float *out, void *scratch, gk_err *err)
{
    const uint64_t rect[4] = {row, n_rows, 0, gk_cols(t)};

    return gk_stream_decode(s, t, rect, out, scratch, err);
}

static void keep_first(gk_err *into, const gk_err *own)
{
#pragma omp critical(gk_product_error)
    if (into->code == GK_OK)
        *into = *own;
}

/* Many blocks: each thread decodes its own and takes it through all batches. */
static bool by_blocks(gk_stream *s, const gk_product *p, uint64_t rows, gk_err *err)
{
    const uint64_t n_rows = gk_rows(p->w[0]), n_blocks = gk_div_up(n_rows, rows);
    bool failed = false;

#pragma omp parallel for schedule(dynamic, 1) num_threads(s->o.threads)
    for (uint64_t b = 0; b < n_blocks; b++) {
        gk_worker *k = &s->worker[omp_get_thread_num()];
        const uint64_t row = b * rows, n = gk_min(rows, n_rows - row);
        gk_err own = {0};
        bool ok = !__atomic_load_n(&failed, __ATOMIC_RELAXED) && !gk_stopped(s, &own);
        for (int i = 0; ok && i < 2 && p->w[i] != NULL; i++)
            ok = decode_rows(s, p->w[i], row, n, k->w[i], k->scratch, &own);
        for (uint64_t batch = 0; ok && batch < p->n_batches; batch++)
            multiply_batch(s, p, k->w, k, batch, row, n);
        if (!ok) {
            __atomic_store_n(&failed, true, __ATOMIC_RELAXED);
            if (own.code != GK_OK)
                keep_first(err, &own);
        }
    }
    return !failed;
}

/* Few blocks: all threads decode one together and share out the batches. */
static bool by_batches(gk_stream *s, const gk_product *p, uint64_t rows, gk_err *err)
{
    const uint64_t n_rows = gk_rows(p->w[0]), slices = (uint64_t)s->o.threads;
    float *const w[2] = {s->worker[0].w[0], s->worker[0].w[1]};
    bool failed = false;

    for (uint64_t row = 0; row < n_rows && !failed; row += rows) {
        const uint64_t n = gk_min(rows, n_rows - row), slice = gk_div_up(n, slices);
#pragma omp parallel for schedule(static, 1) num_threads(s->o.threads)
        for (uint64_t k = 0; k < slices; k++) {
            gk_err own = {0};
            const uint64_t at = gk_min(k * slice, n), count = gk_min(slice, n - at);
            bool ok = !gk_stopped(s, &own);
            for (int i = 0; ok && count > 0 && i < 2 && p->w[i] != NULL; i++)
                ok = decode_rows(s, p->w[i], row + at, count, w[i] + at * gk_cols(p->w[i]),
                                 s->worker[omp_get_thread_num()].scratch, &own);
            if (!ok) {
                __atomic_store_n(&failed, true, __ATOMIC_RELAXED);
                keep_first(err, &own);
            }
        }
        if (failed)
            break;
#pragma omp parallel for schedule(dynamic, 1) num_threads(s->o.threads)
        for (uint64_t batch = 0; batch < p->n_batches; batch++)
            multiply_batch(s, p, w, &s->worker[omp_get_thread_num()], batch, row, n);
    }
    return !failed;
}

bool gk_show(gk_stream *s, const gk_product *p, gk_err *err)
{
    return s->o.watch == NULL
           || s->o.watch(s->o.watcher, p->w, p->in, p->begin, p->n_batches, err);
}

bool gk_multiply(gk_stream *s, const gk_product *p, gk_err *err)
{
    const uint64_t rows = gk_block_rows(gk_rows(p->w[0]), gk_cols(p->w[0]));
    const uint64_t n_blocks = gk_div_up(gk_rows(p->w[0]), rows);

    if (!gk_show(s, p, err))
        return false;
    const bool ok = n_blocks >= 2 * (uint64_t)s->o.threads ? by_blocks(s, p, rows, err)
                                                           : by_batches(s, p, rows, err);

    if (ok && s->o.progress != NULL)
        s->o.progress(s->o.context,
                      gk_tensor_bytes(p->w[0]) + (p->w[1] != NULL ? gk_tensor_bytes(p->w[1]) : 0),
                      p->w[0]->name);
    return ok;
}

const gk_tensor *gk_layer_tensor(const gk_stream *s, gk_weight role, uint64_t layer,
                                 uint64_t expert, gk_err *err)
{
    char name[GK_GROK2_NAME];
    const gk_tensor *t
        = gk_catalog_find(s->c, gk_grok2_spell(&s->a.sizes, role, layer, expert, name));

    if (t == NULL && role == GK_WEIGHT_HEAD && s->a.sizes.tied)
        return gk_layer_tensor(s, GK_WEIGHT_EMBEDDING, layer, expert, err);
    if (t == NULL) {
        gk_fail(err, GK_ERR_FORMAT, GK_NO_OFF, "the model lacks this tensor");
        gk_fail_at(err, NULL, name);
    }
    return t;
}

bool gk_layer_read(gk_stream *s, gk_weight role, uint64_t layer, float *out, gk_err *err)
{
    const gk_tensor *t = gk_layer_tensor(s, role, layer, 0, err);

    for (uint64_t row = 0; t != NULL && row < gk_rows(t); row++)
        if (!decode_rows(s, t, row, 1, out + row * gk_cols(t), s->worker[0].scratch, err))
            return false;
    return t != NULL;
}
