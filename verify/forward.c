/* verify/forward.c - the pass itself; read verify/forward.h first. */
#include "verify/forward.h"

#include <inttypes.h>
#include <math.h>
#include <omp.h>
#include <string.h>

#include "formats/checked.h"
#include "quant/model.h"
#include "quant/blas.h"
#include "verify/layer.h"

#define BATCH_TOKENS 512

uint64_t gk_batch_windows(uint64_t ctx)
{
    return gk_max(BATCH_TOKENS / ctx, 1);
}

/* ---- memory ------------------------------------------------------------------- */

static uint64_t chunk_token_bytes(const gk_arch *a)
{
    return (2 * a->sizes.hidden + gk_area_width(a)) * sizeof(float) + 8 * a->top_k;
}

static uint64_t max_width(const gk_arch *a)
{
    const gk_grok2 *g = &a->sizes;

    return gk_max(gk_max(g->hidden, g->heads * g->head_dim), gk_max(g->dense, g->moe));
}

/* Floats of a decoded block: a million, or one row of something wider. */
static uint64_t block_floats(const gk_arch *a)
{
    return gk_max(UINT64_C(1) << 20, max_width(a));
}

static uint64_t batch_tokens(const gk_forward_options *o)
{
    return gk_batch_windows(o->ctx) * o->ctx;
}

static uint64_t worker_bytes(const gk_arch *a, const gk_forward_options *o)
{
    return (2 * block_floats(a) + 4 * batch_tokens(o) * 512 + (GK_QUERY_BLOCK + a->sizes.head_dim)
            * o->ctx) * sizeof(float) + 4 * block_floats(a) + 65536;
}

static uint64_t fixed_bytes(const gk_arch *a, const gk_forward_options *o)
{
    const uint64_t tokens = o->ctx * o->n_windows;

    return tokens * (a->sizes.hidden * sizeof(float) + a->top_k * 6)
           + (uint64_t)o->threads * worker_bytes(a, o)
           + (a->sizes.hidden * (a->sizes.experts + 1) + o->ctx * a->sizes.head_dim)
                 * sizeof(float);
}

/* Batches in flight: what memory allows, at least one. */
static uint64_t chunk_of(const gk_arch *a, const gk_forward_options *o)
{
    const uint64_t batch = batch_tokens(o) * chunk_token_bytes(a);
    const uint64_t fixed = fixed_bytes(a, o),
                   all = gk_div_up(o->n_windows, gk_batch_windows(o->ctx));

    if (o->memory_bytes <= fixed + batch)
        return 1;
    return gk_min(all, (o->memory_bytes - fixed) / batch);
}

uint64_t gk_forward_memory(const gk_arch *a, const gk_forward_options *o)
{
    return fixed_bytes(a, o) + chunk_of(a, o) * batch_tokens(o) * chunk_token_bytes(a);
}

uint64_t gk_forward_bytes(const gk_catalog *c, const gk_arch *a, const gk_forward_options *o)
{
    const uint64_t batches = gk_div_up(o->n_windows, gk_batch_windows(o->ctx));
    const uint64_t passes = gk_div_up(batches, chunk_of(a, o));
    uint64_t layers = 0, head = 0, embedding = 0;

    for (uint64_t i = 0; i < c->n_tensors; i++) {
        gk_grok2_shape shape;
        if (!gk_grok2_shape_of(&a->sizes, c->tensor[i].name, &shape))
            continue;
        const uint64_t bytes = gk_tensor_bytes(&c->tensor[i]);
        layers += shape.layer >= 0 ? bytes : 0;
        head += shape.role == GK_WEIGHT_HEAD ? bytes : 0;
        embedding += shape.role == GK_WEIGHT_EMBEDDING ? bytes : 0;
    }
    return layers * passes + (head > 0 ? head : embedding);
}

/* ---- starting ------------------------------------------------------------------- */

/* Of decoding any block of a catalog's tensors; NULL: 0. */
static uint64_t scratch_bytes(const gk_catalog *c)
{
    uint64_t most = 0;

    for (uint64_t i = 0; c != NULL && i < c->n_tensors; i++) {
        const gk_tensor *t = &c->tensor[i];
        if (gk_can_decode(t))
            most = gk_max(most, gk_decode_scratch_bytes(t, gk_block_rows(gk_rows(t), gk_cols(t)),
                                                        gk_cols(t)));
    }
    return most;
}

static bool open_workers(gk_stream *s, gk_err *err)
{
    const uint64_t floats = block_floats(&s->a);
    const uint64_t scratch = gk_max(scratch_bytes(s->c), scratch_bytes(s->o.instead));

    s->worker = gk_arena_alloc(s->arena, (uint64_t)s->o.threads, sizeof *s->worker, err);
    for (int i = 0; s->worker != NULL && i < s->o.threads; i++) {
        gk_worker *k = &s->worker[i];
        k->w[0] = gk_alloc(floats, sizeof(float), err);
        k->w[1] = gk_alloc(floats, sizeof(float), err);
        k->t[0] = gk_alloc(batch_tokens(&s->o) * 512, sizeof(float), err);
        k->t[1] = gk_alloc(batch_tokens(&s->o) * 512, sizeof(float), err);
        k->sum = gk_alloc(batch_tokens(&s->o) * 512, sizeof(double), err);
        k->scratch = gk_alloc(scratch + 64, 1, err);
        k->scores = gk_alloc(GK_QUERY_BLOCK * s->o.ctx, sizeof(float), err);
        k->v_t = gk_alloc(s->a.sizes.head_dim * s->o.ctx, sizeof(float), err);
        if (k->w[0] == NULL || k->w[1] == NULL || k->t[0] == NULL || k->t[1] == NULL
            || k->sum == NULL || k->scratch == NULL || k->scores == NULL || k->v_t == NULL)
            return false;
    }
    return s->worker != NULL;
}

static bool open_buffers(gk_stream *s, gk_err *err)
{
    const gk_grok2 *g = &s->a.sizes;
    const uint64_t C = gk_min(s->T, s->chunk * batch_tokens(&s->o)), half = g->head_dim / 2;

    s->begin = gk_arena_alloc(s->arena, s->n_batches + 1, sizeof *s->begin, err);
    s->r = gk_alloc(s->T * s->d, sizeof(float), err);
    s->chosen = gk_alloc(s->T * s->a.top_k, sizeof *s->chosen, err);
    s->weights = gk_alloc(s->T * s->a.top_k, sizeof *s->weights, err);
    s->counts = gk_arena_alloc(s->arena, g->layers * g->experts, sizeof *s->counts, err);
    s->x = gk_alloc(C * s->d, sizeof(float), err);
    s->y = gk_alloc(C * s->d, sizeof(float), err);
    s->area = gk_alloc(C * gk_area_width(&s->a), sizeof(float), err);
    s->norm = gk_alloc(gk_max(s->d, g->heads * g->head_dim), sizeof(float), err);
    s->gate = gk_alloc(g->experts * s->d, sizeof(float), err);
    s->cos = gk_alloc(s->o.ctx * half, sizeof(float), err);
    s->sin = gk_alloc(s->o.ctx * half, sizeof(float), err);
    s->order = gk_alloc(C * s->a.top_k, sizeof *s->order, err);
    s->expert_begin = gk_arena_alloc(s->arena, s->chunk + 1, sizeof *s->expert_begin, err);
    if (s->begin == NULL || s->r == NULL || s->chosen == NULL || s->weights == NULL
        || s->counts == NULL || s->x == NULL || s->y == NULL || s->area == NULL || s->norm == NULL
        || s->gate == NULL || s->cos == NULL || s->sin == NULL || s->order == NULL
        || s->expert_begin == NULL)
        return false;
    for (uint64_t b = 0; b <= s->n_batches; b++)
        s->begin[b] = gk_min(b * batch_tokens(&s->o), s->T);
    return open_workers(s, err);
}

/* The factors of a GGUF, which frequencies are divided by; NULL: there are none. */
static const gk_tensor *rope_factors(const gk_stream *s)
{
    char name[GK_GROK2_NAME];

    return gk_catalog_find(s->c, gk_grok2_spell(&s->a.sizes, GK_WEIGHT_ROPE_FACTORS, 0, 0, name));
}

static bool divide_frequencies(gk_stream *s, const gk_tensor *t, double *freq, gk_err *err)
{
    const uint64_t half = s->a.sizes.head_dim / 2, all[4] = {0, 1, 0, half};
    float *factor = gk_arena_alloc(s->arena, half, sizeof *factor, err);

    if (factor == NULL || !gk_stream_decode(s, t, all, factor, s->worker[0].scratch, err))
        return false;
    for (uint64_t j = 0; j < half; j++) {
        if (!(factor[j] > 0) || isinf(factor[j])) {
            gk_fail(err, GK_ERR_FORMAT, GK_NO_OFF, "element %" PRIu64 " is %g, no factor of a "
                    "frequency", j, (double)factor[j]);
            return gk_fail_at(err, NULL, t->name);
        }
        freq[j] /= (double)factor[j];
    }
    return true;
}

static bool fill_angles(gk_stream *s, gk_err *err)
{
    const gk_tensor *factors = rope_factors(s);
    const uint64_t half = s->a.sizes.head_dim / 2;
    gk_switches switches = s->o.switches;
    double magnitude, *freq = gk_arena_alloc(s->arena, half, sizeof *freq, err);

    if (freq == NULL)
        return false;
    if (switches.rope != GK_ROPE_CONFIG)
        factors = NULL;
    /* a config made of a GGUF's keys says in numbers what the factors say */
    if (factors != NULL && s->a.rope == GK_ROPE_LLAMA3)
        switches.rope = GK_ROPE_ORIGINAL;
    gk_arch_rope(&s->a, &switches, freq, &magnitude);
    if (factors != NULL && !divide_frequencies(s, factors, freq, err))
        return false;
    for (uint64_t p = 0; p < s->o.ctx; p++)
        for (uint64_t j = 0; j < half; j++) {
            s->cos[p * half + j] = (float)(cos((double)p * freq[j]) * magnitude);
            s->sin[p * half + j] = (float)(sin((double)p * freq[j]) * magnitude);
        }
    return true;
}

/* Every tensor is there, in the right shape, of a type that decodes. */
static bool check_tensors(const gk_stream *s, gk_err *err)
{
    const uint64_t n = gk_grok2_count(&s->a.sizes);
    uint64_t seen = 0;

    for (uint64_t i = 0; i < s->c->n_tensors; i++) {
        const gk_tensor *t = &s->c->tensor[i];
        gk_grok2_shape shape;
        if (!gk_grok2_shape_of(&s->a.sizes, t->name, &shape))
            continue;
        const bool fits = t->ndim == shape.ndim && t->dim[0] == shape.dim[0]
                          && (t->ndim == 1 || t->dim[1] == shape.dim[1]);
        if (!fits || !gk_can_decode(t)) {
            gk_fail(err, fits ? GK_ERR_UNSUPPORTED : GK_ERR_FORMAT, GK_NO_OFF,
                    fits ? "a type that the forward pass cannot use" : "not the shape that "
                    "config.json demands");
            return gk_fail_at(err, NULL, t->name);
        }
        seen += !shape.optional;
    }
    return seen == n
           || gk_fail(err, GK_ERR_FORMAT, GK_NO_OFF, "the model is incomplete: %" PRIu64
                      " of %" PRIu64 " tensors", seen, n);
}

static bool embed(gk_stream *s, const uint32_t *ids, gk_err *err)
{
    const gk_tensor *t = gk_layer_tensor(s, GK_WEIGHT_EMBEDDING, 0, 0, err);
    const float scale = (float)s->a.embedding_scale;
    bool failed = t == NULL;

    if (failed)
        return false;
#pragma omp parallel for schedule(static) num_threads(s->o.threads)
    for (uint64_t i = 0; i < s->T; i++) {
        const uint64_t rect[4] = {ids[i], 1, 0, s->d};
        float *r = s->r + i * s->d;
        gk_err own = {0};
        if (!gk_stream_decode(s, t, rect, r, s->worker[omp_get_thread_num()].scratch, &own)) {
#pragma omp critical(gk_product_error)
            {
                failed = true;
                if (err->code == GK_OK)
                    *err = own;
            }
        } else {
            for (uint64_t j = 0; j < s->d; j++)
                r[j] *= scale;
        }
    }
    return !failed;
}

gk_stream *gk_stream_new(const gk_catalog *model, const gk_forward_options *options,
                         const uint32_t *ids, gk_err *err)
{
    gk_stream *s = gk_alloc(1, sizeof *s, err);

    if (s == NULL)
        return NULL;
    *s = (gk_stream){.c = model, .o = *options, .arena = gk_arena_new(err)};
    s->T = options->ctx * options->n_windows;
    bool ok = s->arena != NULL && gk_arch_read(model->config, &s->a, err) && check_tensors(s, err)
              && gk_blas_open(err);
    if (ok && s->a.sizes.experts > UINT16_MAX)
        ok = gk_fail(err, GK_ERR_LIMIT, GK_NO_OFF, "more than %u experts", UINT16_MAX);
    for (uint64_t i = 0; ok && i < s->T; i++)
        if (ids[i] >= s->a.sizes.vocab)
            ok = gk_fail(err, GK_ERR_ARG, GK_NO_OFF,
                         "token id %" PRIu32 " is not below vocab_size %" PRIu64, ids[i],
                         s->a.sizes.vocab);
    if (ok) {
        s->d = s->a.sizes.hidden;
        s->n_batches = gk_div_up(options->n_windows, gk_batch_windows(options->ctx));
        s->chunk = chunk_of(&s->a, options);
        ok = open_buffers(s, err) && fill_angles(s, err) && embed(s, ids, err);
    }
    if (ok)
        return s;
    gk_stream_free(s);
    return NULL;
}

void gk_stream_free(gk_stream *s)
{
    if (s == NULL)
        return;
    for (int i = 0; s->worker != NULL && i < s->o.threads; i++) {
        gk_worker *k = &s->worker[i];
        void *all[] = {k->w[0], k->w[1], k->t[0], k->t[1], k->sum, k->scratch, k->scores, k->v_t};
        for (size_t j = 0; j < sizeof all / sizeof all[0]; j++)
            gk_free(all[j]);
    }
    void *all[] = {s->r,    s->chosen, s->weights, s->x,   s->y,  s->area,
                   s->norm, s->gate,   s->cos,     s->sin, s->order};
    for (size_t j = 0; j < sizeof all / sizeof all[0]; j++)
        gk_free(all[j]);
    gk_arena_free(s->arena);
    gk_free(s);
}

const gk_arch *gk_stream_arch(const gk_stream *s) { return &s->a; }
const float *gk_stream_residual(const gk_stream *s) { return s->r; }
const uint16_t *gk_stream_chosen(const gk_stream *s) { return s->chosen; }
const float *gk_stream_weights(const gk_stream *s) { return s->weights; }
const uint64_t *gk_stream_counts(const gk_stream *s, uint64_t l)
{
    return s->counts + l * s->a.sizes.experts;
}

bool gk_stream_restore(gk_stream *s, const gk_file *f, gk_err *err)
{
    return gk_file_read(f, 0, s->r, s->T * s->d * sizeof *s->r, err);
}

/* ---- one layer -------------------------------------------------------------------- */

/* 1 / sqrt(mean(x^2) + eps) */
static double norm_factor(const gk_stream *s, const float *x, double scale)
{
    double sum = 0;

    for (uint64_t j = 0; j < s->d; j++)
        sum += (double)x[j] * (double)x[j];
    return scale / sqrt(sum * scale * scale / (double)s->d + s->a.eps);
}

/* x [C, d] = N(r; weight) */
static bool norm_in(gk_stream *s, uint64_t layer, gk_weight role, const gk_chunk *c, gk_err *err)
{
    if (!gk_layer_read(s, role, layer, s->norm, err))
        return false;
#pragma omp parallel for schedule(static) num_threads(s->o.threads)
    for (uint64_t t = c->t0; t < c->t1; t++) {
        const float *r = s->r + t * s->d;
        float *x = s->x + (t - c->t0) * s->d;
        const double f = norm_factor(s, r, 1);
        for (uint64_t j = 0; j < s->d; j++)
            x[j] = (float)((double)r[j] * f * (double)s->norm[j]);
    }
    return true;
}

/* r += y */
static void add_out(gk_stream *s, const gk_chunk *c)
{
    const uint64_t n = (c->t1 - c->t0) * s->d;
    float *r = s->r + c->t0 * s->d;

#pragma omp parallel for schedule(static) num_threads(s->o.threads)
    for (uint64_t i = 0; i < n; i++)
        r[i] += s->y[i];
}

/* r += N(scale * y; weight), or r += y in a block that ends without a norm */
static bool norm_out(gk_stream *s, uint64_t layer, gk_weight role, const gk_chunk *c, double scale,
                     gk_err *err)
{
    if (!gk_grok2_has(&s->a.sizes, role)) {
        add_out(s, c);
        return true;
    }
    if (!gk_layer_read(s, role, layer, s->norm, err))
        return false;
#pragma omp parallel for schedule(static) num_threads(s->o.threads)
    for (uint64_t t = c->t0; t < c->t1; t++) {
        const float *y = s->y + (t - c->t0) * s->d;
        float *r = s->r + t * s->d;
        const double f = norm_factor(s, y, scale);
        for (uint64_t j = 0; j < s->d; j++)
            r[j] = (float)((double)r[j] + (double)y[j] * f * (double)s->norm[j]);
    }
    return true;
}

static bool run_attention(gk_stream *s, uint64_t l, const gk_chunk *c, gk_err *err)
{
    return norm_in(s, l, GK_WEIGHT_PRE_ATTN_NORM, c, err) && gk_attention(s, l, c, err)
           && (s->until < GK_UNTIL_END || norm_out(s, l, GK_WEIGHT_POST_ATTN_NORM, c, 1, err));
}

static bool run_ffn(gk_stream *s, uint64_t l, const gk_chunk *c, gk_err *err)
{
    const gk_grok2 *g = &s->a.sizes;

    if (!norm_in(s, l, GK_WEIGHT_PRE_FFN_NORM, c, err))
        return false;
    if (g->dense > 0 && !gk_dense(s, l, c, err))
        return false;
    if (g->dense == 0)
        memset(s->y, 0, (c->t1 - c->t0) * s->d * sizeof(float));
    if (g->experts > 0 && !gk_experts(s, l, c, err))
        return false;
    return s->until < GK_UNTIL_END
           || norm_out(s, l, GK_WEIGHT_POST_FFN_NORM, c, s->a.mlp_scale, err);
}

static bool run_chunk(gk_stream *s, uint64_t l, const gk_chunk *c, gk_err *err)
{
    return run_attention(s, l, c, err) && run_ffn(s, l, c, err);
}

typedef bool run_fn(gk_stream *s, uint64_t l, const gk_chunk *c, gk_err *err);

static bool run_chunks(gk_stream *s, uint64_t l, run_fn *run, gk_until until, gk_err *err)
{
    uint64_t *begin = gk_alloc(s->chunk + 1, sizeof *begin, err);
    bool ok = begin != NULL;

    s->until = until;
    for (uint64_t first = 0; ok && first < s->n_batches; first += s->chunk) {
        const uint64_t n = gk_min(s->chunk, s->n_batches - first);
        const gk_chunk c = {.first = first,
                            .n_batches = n,
                            .t0 = s->begin[first],
                            .t1 = s->begin[first + n],
                            .begin = begin};
        for (uint64_t b = 0; b <= n; b++)
            begin[b] = s->begin[first + b] - c.t0;
        ok = !gk_stopped(s, err) && run(s, l, &c, err);
    }
    gk_free(begin);
    return ok;
}

bool gk_stream_layer(gk_stream *s, uint64_t l, gk_err *err)
{
    return run_chunks(s, l, run_chunk, GK_UNTIL_END, err);
}

bool gk_stream_half(gk_stream *s, uint64_t l, gk_half half, gk_until until, gk_err *err)
{
    const uint64_t E = s->a.sizes.experts;

    memset(s->counts + l * E, 0, E * sizeof *s->counts); /* of a half that is run again */
    return run_chunks(s, l, half == GK_HALF_ATTENTION ? run_attention : run_ffn, until, err);
}

bool gk_stream_finish(gk_stream *s, gk_err *err)
{
    if (!gk_layer_read(s, GK_WEIGHT_FINAL_NORM, 0, s->norm, err))
        return false;
#pragma omp parallel for schedule(static) num_threads(s->o.threads)
    for (uint64_t t = 0; t < s->T; t++) {
        float *r = s->r + t * s->d;
        const double f = norm_factor(s, r, 1);
        for (uint64_t j = 0; j < s->d; j++)
            r[j] = (float)((double)r[j] * f * (double)s->norm[j]);
    }
    return true;
}

/* ---- logits ------------------------------------------------------------------------ */

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

static bool decode_block(gk_stream *s, const gk_tensor *head, uint64_t id, uint64_t n, gk_err *err)
{
    const uint64_t slices = (uint64_t)s->o.threads, slice = gk_div_up(n, slices);
    bool failed = gk_stopped(s, err);

#pragma omp parallel for schedule(static, 1) num_threads(s->o.threads)
    for (uint64_t k = 0; k < slices; k++) {
        const uint64_t at = gk_min(k * slice, n), count = gk_min(slice, n - at);
        const uint64_t rect[4] = {id + at, count, 0, s->d};
        gk_err own = {0};
        if (count > 0
            && !gk_stream_decode(s, head, rect, s->worker[0].w[0] + at * s->d,
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

/* The batch's rows, gathered, times the block that lies in worker 0. */
static const float *logits_of(gk_stream *s, gk_worker *k, const gk_logit_job *job, uint64_t batch,
                              uint64_t n_ids)
{
    const uint64_t first = job->begin[batch], m = job->begin[batch + 1] - first;

    /* the rows of a batch stand in order; gathered they fit where x of a batch fits */
    for (uint64_t i = 0; i < m; i++)
        memcpy(k->w[1] + i * s->d, s->r + job->row[first + i] * s->d, s->d * sizeof(float));
    gk_blas_product((int)m, (int)n_ids, (int)s->d, k->w[1], (int)s->d, s->worker[0].w[0],
                    (int)s->d, k->t[0], (int)n_ids);
    shape_logits(s, k->t[0], m * n_ids);
    return k->t[0];
}

static bool open_rows(gk_stream *s, const gk_logit_job *job, gk_err *err)
{
    uint64_t most = 0;

    for (uint64_t b = 0; b < job->n_batches; b++)
        most = gk_max(most, job->begin[b + 1] - job->begin[b]);
    if (most * s->d <= block_floats(&s->a))
        return true;
    for (int i = 0; i < s->o.threads; i++) {
        gk_free(s->worker[i].w[1]);
        s->worker[i].w[1] = gk_alloc(most * s->d, sizeof(float), err);
        if (s->worker[i].w[1] == NULL)
            return false;
    }
    return true;
}

bool gk_stream_logits(gk_stream *s, gk_stream *other, const gk_logit_job *job, gk_err *err)
{
    const gk_tensor *head = gk_layer_tensor(s, GK_WEIGHT_HEAD, 0, 0, err);
    const gk_tensor *second
        = other == NULL ? NULL : gk_layer_tensor(other, GK_WEIGHT_HEAD, 0, 0, err);
    bool ok = head != NULL && (other == NULL || second != NULL) && open_rows(s, job, err)
              && (other == NULL || open_rows(other, job, err));
    const uint64_t rows = ok ? gk_block_rows(gk_rows(head), gk_cols(head)) : 1;

    for (uint64_t id = 0; ok && id < gk_rows(head); id += rows) {
        const uint64_t n = gk_min(rows, gk_rows(head) - id);
        ok = decode_block(s, head, id, n, err)
             && (other == NULL || decode_block(other, second, id, n, err));
        if (!ok)
            break;
#pragma omp parallel for schedule(dynamic, 1) num_threads(s->o.threads)
        for (uint64_t b = 0; b < job->n_batches; b++) {
            const int me = omp_get_thread_num();
            gk_logit_block block = {.row = job->begin[b],
                                    .n_rows = job->begin[b + 1] - job->begin[b],
                                    .id = id,
                                    .n_ids = n};
            block.logits = logits_of(s, &s->worker[me], job, b, n);
            if (other != NULL)
                block.other = logits_of(other, &other->worker[me], job, b, n);
            job->take(job->context, &block);
        }
        if (s->o.progress != NULL)
            s->o.progress(s->o.context, gk_tensor_bytes(head) / gk_div_up(gk_rows(head), rows),
                          head->name);
    }
    return ok;
}
