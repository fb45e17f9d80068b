/* verify/logits.c - the head, block by block of the vocabulary, of all streams side by side. */
#include <math.h>
#include <omp.h>
#include <string.h>

#include "formats/checked.h"
#include "quant/blas.h"
#include "verify/layer.h"

/* What the models and the job at hand need. */
typedef struct head {
    gk_stream *const *s;
    int n;
    const gk_logit_job *job;
    const gk_tensor **tensor; /* [n]                                               */
    float **block;            /* [n] the decoded block of each                     */
    float **logits;           /* [threads * n] products with it                    */
    float **in;               /* [threads] a batch's rows, gathered, or NULL ...   */
    float *rows;              /* ... when they come from files: [n, group rows, d] */
    bool own;                 /* rows is not the streams' workspace                */
    uint64_t most;            /* rows of a batch                                   */
    uint64_t group;           /* batches whose rows are held at once               */
    uint64_t ids;             /* of a block                                        */
} head;

/* logits = cap tanh(z scale / cap), or scale cap tanh(z / cap) */
static void shape_logits(const gk_stream *s, float *z, uint64_t n)
{
    const float scale = (float)s->a.output_scale, cap = (float)s->a.final_cap;

    for (uint64_t i = 0; i < n; i++) {
        float x = s->o.switches.cap_first ? z[i] : z[i] * scale;
        if (cap > 0)
            x = cap * tanhf(x / cap);
        z[i] = s->o.switches.cap_first ? x * scale : x;
    }
}

static bool decode_block(gk_stream *s, const gk_tensor *t, uint64_t id, uint64_t n, float *out,
                         gk_err *err)
{
    const uint64_t slices = (uint64_t)s->o.threads, slice = gk_div_up(n, slices);
    bool failed = gk_stopped(s, err);

#pragma omp parallel for schedule(static, 1) num_threads(s->o.threads)
    for (uint64_t k = 0; k < slices; k++) {
        const uint64_t at = gk_min(k * slice, n), count = gk_min(slice, n - at);
        const uint64_t rect[4] = {id + at, count, 0, s->d};
        gk_err own = {0};
        if (count > 0
            && !gk_stream_decode(s, t, rect, out + at * s->d,
                                 s->worker[omp_get_thread_num()].scratch, &own)) {
#pragma omp critical(gk_product_error)
            {
                failed = true;
                if (err->code == GK_OK)
                    *err = own;
            }
        }
    }
    return !failed;
}

/* ---- rows --------------------------------------------------------------------------- */

static bool in_memory(const head *h)
{
    for (int m = 0; m < h->n; m++)
        if (h->s[m]->states.ram == NULL)
            return false;
    return true;
}

/* Rows [from, to) of the job of stream s, runs of neighbours at once. */
static bool load_rows(const head *h, const gk_stream *s, uint64_t from, uint64_t to, float *out,
                      gk_err *err)
{
    while (from < to) {
        const uint64_t first = h->job->row[from];
        uint64_t n = 1;
        while (from + n < to && h->job->row[from + n] == first + n)
            n++;
        if (!gk_states_load(&s->states, first, n, out, err))
            return false;
        out += n * s->d;
        from += n;
    }
    return true;
}

static float *group_rows(const head *h, int m)
{
    return h->rows + (uint64_t)m * h->group * h->most * h->s[0]->d;
}

static bool load_group(const head *h, uint64_t first, uint64_t n, gk_err *err)
{
    const uint64_t *begin = h->job->begin;

    for (int m = 0; h->rows != NULL && m < h->n; m++)
        if (!load_rows(h, h->s[m], begin[first], begin[first + n], group_rows(h, m), err))
            return false;
    return true;
}

/* ---- a block ------------------------------------------------------------------------- */

/* The batch's rows of stream m; first is the first batch of the group. */
static const float *rows_of(const head *h, int m, uint64_t batch, uint64_t first)
{
    const uint64_t *begin = h->job->begin, d = h->s[m]->d;
    gk_err none = {0};

    if (h->rows != NULL)
        return group_rows(h, m) + (begin[batch] - begin[first]) * d;
    float *in = h->in[omp_get_thread_num()];
    load_rows(h, h->s[m], begin[batch], begin[batch + 1], in, &none); /* from memory: succeeds */
    return in;
}

static void take_batch(const head *h, uint64_t batch, uint64_t first, uint64_t id, uint64_t n_ids)
{
    const uint64_t *begin = h->job->begin, m_rows = begin[batch + 1] - begin[batch];
    float **out = h->logits + omp_get_thread_num() * h->n;

    for (int m = 0; m < h->n; m++) {
        const gk_stream *s = h->s[m];
        gk_blas_product((int)m_rows, (int)n_ids, (int)s->d, rows_of(h, m, batch, first), (int)s->d,
                        h->block[m], (int)s->d, out[m], (int)n_ids);
        shape_logits(s, out[m], m_rows * n_ids);
    }
    const gk_logit_block block = {.logits = out,
                                  .n_models = h->n,
                                  .row = begin[batch],
                                  .n_rows = m_rows,
                                  .id = id,
                                  .n_ids = n_ids};
    h->job->take(h->job->context, &block);
}

/* All blocks for batches [first, first + n). */
static bool run_group(const head *h, uint64_t first, uint64_t n, gk_err *err)
{
    const gk_stream *s = h->s[0];
    const uint64_t vocab = gk_rows(h->tensor[0]);
    const uint64_t parts = gk_div_up(vocab, h->ids) * gk_div_up(h->job->n_batches, h->group);

    if (!load_group(h, first, n, err))
        return false;
    for (uint64_t id = 0; id < vocab; id += h->ids) {
        const uint64_t n_ids = gk_min(h->ids, vocab - id);
        for (int m = 0; m < h->n; m++)
            if (!decode_block(h->s[m], h->tensor[m], id, n_ids, h->block[m], err))
                return false;
#pragma omp parallel for schedule(dynamic, 1) num_threads(s->o.threads)
        for (uint64_t b = first; b < first + n; b++)
            take_batch(h, b, first, id, n_ids);
        for (int m = 0; s->o.progress != NULL && m < h->n; m++)
            s->o.progress(s->o.context, gk_tensor_bytes(h->tensor[m]) / parts, h->tensor[m]->name);
    }
    return true;
}

/* ---- room ------------------------------------------------------------------------------ */

static bool find_heads(head *h, gk_arena *a, gk_err *err)
{
    h->tensor = gk_arena_alloc(a, (uint64_t)h->n, sizeof *h->tensor, err);
    h->block = gk_arena_alloc(a, (uint64_t)h->n, sizeof *h->block, err);
    for (int m = 0; h->tensor != NULL && h->block != NULL && m < h->n; m++)
        if ((h->tensor[m] = gk_layer_tensor(h->s[m], GK_WEIGHT_HEAD, 0, 0, err)) == NULL)
            return false;
    return h->tensor != NULL && h->block != NULL;
}

/* Where rows come from files, as many as the workspace holds are read at once: the head is decoded
 * once for them. */
static bool open_group(head *h, gk_err *err)
{
    const gk_workspace *w = h->s[0]->w;
    const uint64_t batch = (uint64_t)h->n * gk_max(h->most, 1) * h->s[0]->d;

    h->group = h->job->n_batches;
    if (in_memory(h))
        return true;
    h->own = batch > w->floats;
    h->group = h->own ? 1 : gk_min(h->group, w->floats / batch);
    h->rows = h->own ? gk_alloc(batch, sizeof(float), err) : w->window;
    return h->rows != NULL;
}

static bool open_head(head *h, gk_arena *a, gk_err *err)
{
    const uint64_t threads = (uint64_t)h->s[0]->o.threads, d = h->s[0]->d;

    if (!find_heads(h, a, err))
        return false;
    for (uint64_t b = 0; b < h->job->n_batches; b++)
        h->most = gk_max(h->most, h->job->begin[b + 1] - h->job->begin[b]);
    h->ids = gk_block_rows(gk_rows(h->tensor[0]), gk_cols(h->tensor[0]));
    h->logits = gk_arena_alloc(a, threads * (uint64_t)h->n, sizeof *h->logits, err);
    h->in = gk_arena_alloc(a, threads, sizeof *h->in, err);
    if (h->logits == NULL || h->in == NULL || !open_group(h, err))
        return false;
    for (int m = 0; m < h->n; m++)
        if ((h->block[m] = gk_alloc(h->ids * d, sizeof(float), err)) == NULL)
            return false;
    for (uint64_t i = 0; i < threads * (uint64_t)h->n; i++)
        if ((h->logits[i] = gk_alloc(h->most * h->ids, sizeof(float), err)) == NULL)
            return false;
    for (uint64_t i = 0; h->rows == NULL && i < threads; i++)
        if ((h->in[i] = gk_alloc(h->most * d, sizeof(float), err)) == NULL)
            return false;
    return true;
}

static void free_head(const head *h)
{
    const int threads = h->s[0]->o.threads;

    for (int m = 0; h->block != NULL && m < h->n; m++)
        gk_free(h->block[m]);
    for (int i = 0; h->logits != NULL && i < threads * h->n; i++)
        gk_free(h->logits[i]);
    for (int i = 0; h->in != NULL && i < threads; i++)
        gk_free(h->in[i]);
    if (h->own)
        gk_free(h->rows);
}

bool gk_streams_logits(gk_stream *const *s, int n, const gk_logit_job *job, gk_err *err)
{
    head h = {.s = s, .n = n, .job = job};
    gk_arena *a = gk_arena_new(err);
    bool ok = a != NULL && open_head(&h, a, err);

    for (uint64_t b = 0; ok && b < job->n_batches; b += h.group)
        ok = run_group(&h, b, gk_min(h.group, job->n_batches - b), err);
    free_head(&h);
    gk_arena_free(a);
    return ok;
}
