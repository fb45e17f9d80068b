/* verify/forward.c - the pass itself; read verify/forward.h first. */
#include "verify/forward.h"

#include <inttypes.h>
#include <math.h>
#include <omp.h>
#include <string.h>

#include "formats/checked.h"
#include "quant/blas.h"
#include "quant/model.h"
#include "verify/layer.h"

/* ---- starting ------------------------------------------------------------------- */

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
        if (!fits) {
            gk_fail(err, GK_ERR_FORMAT, GK_NO_OFF, "not the shape that config.json demands");
            return gk_fail_at(err, NULL, t->name);
        }
        if (!gk_can_decode(t))
            return gk_fail_decode(s->c, t, err);
        seen += !shape.optional;
    }
    return seen == n
           || gk_fail(err, GK_ERR_FORMAT, GK_NO_OFF, "the model is incomplete: %" PRIu64
                      " of %" PRIu64 " tensors", seen, n);
}

/* r [n, d] of the tokens ids[0 .. n) */
static bool embed(gk_stream *s, const gk_tensor *t, const uint32_t *ids, uint64_t n, gk_err *err)
{
    const float scale = (float)s->a.embedding_scale;
    bool failed = false;

#pragma omp parallel for schedule(static) num_threads(s->o.threads)
    for (uint64_t i = 0; i < n; i++) {
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

/* As many tokens at a time as the window holds. */
static bool embed_all(gk_stream *s, const uint32_t *ids, gk_err *err)
{
    const gk_tensor *t = gk_layer_tensor(s, GK_WEIGHT_EMBEDDING, 0, 0, err);
    const uint64_t slab = gk_stream_slab(s);
    bool ok = t != NULL;

    for (uint64_t at = 0; ok && at < s->T; at += slab) {
        const uint64_t n = gk_min(slab, s->T - at);
        ok = embed(s, t, ids + at, n, err) && gk_states_save(&s->states, at, n, s->r, err);
    }
    return ok;
}

static gk_stream *open_stream(gk_stream *first, const gk_catalog *model,
                              const gk_forward_options *options, const uint32_t *ids, gk_err *err)
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
    ok = ok && gk_buffers_open(s, first, err) && fill_angles(s, err) && embed_all(s, ids, err);
    if (ok)
        return s;
    gk_stream_free(s);
    return NULL;
}

gk_stream *gk_stream_new(const gk_catalog *model, const gk_forward_options *options,
                         const uint32_t *ids, gk_err *err)
{
    return open_stream(NULL, model, options, ids, err);
}

gk_stream *gk_stream_beside(gk_stream *first, const gk_catalog *model, const uint32_t *ids,
                            gk_err *err)
{
    return open_stream(first, model, &first->o, ids, err);
}

void gk_stream_free(gk_stream *s)
{
    if (s == NULL)
        return;
    gk_buffers_free(s);
    gk_arena_free(s->arena);
    gk_free(s);
}

const gk_arch *gk_stream_arch(const gk_stream *s) { return &s->a; }
gk_states *gk_stream_states(gk_stream *s) { return &s->states; }
const float *gk_stream_residual(const gk_stream *s) { return s->states.ram; }
uint16_t *gk_stream_chosen(const gk_stream *s) { return s->chosen; }
const float *gk_stream_weights(const gk_stream *s) { return s->weights; }
float *gk_stream_gates(const gk_stream *s) { return s->gates; }
uint64_t *gk_stream_counts(const gk_stream *s, uint64_t l)
{
    return s->counts + l * s->a.sizes.experts;
}

uint64_t gk_stream_slab(const gk_stream *s)
{
    return gk_min(s->T, s->chunk * gk_batch_tokens(&s->o));
}

float *gk_stream_buffer(const gk_stream *s, int i)
{
    return i == 0 ? s->x : s->y;
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
        const float *r = s->r + (t - c->t0) * s->d;
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
    float *r = s->r;

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
        float *r = s->r + (t - c->t0) * s->d;
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

/* The experts that own inputs chose; those of another's are not counted. */
static void count(gk_stream *s, uint64_t l, const gk_chunk *c)
{
    uint64_t *counts = gk_stream_counts(s, l);

    for (uint64_t i = c->t0 * s->a.top_k; i < c->t1 * s->a.top_k; i++)
        counts[s->chosen[i]]++;
}

typedef struct part {
    gk_layer_run *run;
    bool          attention, ffn; /* what of the layer is run */
} part;

/* Nothing lasting changes before the chunk is through. */
static bool run_chunk(gk_stream *s, const part *p, const gk_chunk *c, gk_err *err)
{
    const gk_layer_run *run = p->run;
    const gk_states *from = run->from != NULL ? run->from : &s->states;
    const uint64_t n = c->t1 - c->t0, l = run->layer;

    if (!gk_states_load(from, c->t0, n, s->r, err)
        || (run->inputs != NULL && !gk_states_save(run->inputs, c->t0, n, s->r, err))
        || (p->attention && !run_attention(s, l, c, err)) || (p->ffn && !run_ffn(s, l, c, err))
        || (run->done != NULL && !run->done(run->context, c->t0, n, s->r, err)))
        return false;
    if (run->from != NULL)
        return true;
    if (s->until == GK_UNTIL_END && !gk_states_save(&s->states, c->t0, n, s->r, err))
        return false;
    if (p->ffn)
        count(s, l, c);
    return true;
}

static bool run_next(gk_stream *s, const part *p, gk_err *err)
{
    const uint64_t first = p->run->batch, n = gk_min(s->chunk, s->n_batches - first);
    uint64_t *begin = gk_alloc(n + 1, sizeof *begin, err);

    if (begin == NULL)
        return false;
    const gk_chunk c = {.first = first,
                        .n_batches = n,
                        .t0 = s->begin[first],
                        .t1 = s->begin[first + n],
                        .begin = begin};
    for (uint64_t b = 0; b <= n; b++)
        begin[b] = s->begin[first + b] - c.t0;
    const bool ok = !gk_stopped(s, err) && run_chunk(s, p, &c, err);
    if (ok)
        p->run->batch = first + n;
    gk_free(begin);
    return ok;
}

static bool run_chunks(gk_stream *s, const part *p, gk_until until, gk_err *err)
{
    s->until = until;
    while (p->run->batch < s->n_batches)
        if (!run_next(s, p, err))
            return false;
    return true;
}

bool gk_stream_run(gk_stream *s, gk_layer_run *run, gk_err *err)
{
    return run_chunks(s, &(part){run, true, true}, GK_UNTIL_END, err);
}

bool gk_stream_layer(gk_stream *s, uint64_t l, gk_err *err)
{
    gk_layer_run run = {.layer = l};

    return gk_stream_run(s, &run, err);
}

bool gk_stream_half(gk_stream *s, uint64_t l, gk_half half, gk_until until, gk_err *err)
{
    const uint64_t E = s->a.sizes.experts;
    const bool attention = half == GK_HALF_ATTENTION;
    gk_layer_run run = {.layer = l};

    memset(s->counts + l * E, 0, E * sizeof *s->counts); /* of a half that is run again */
    return run_chunks(s, &(part){&run, attention, !attention}, until, err);
}

bool gk_stream_part(gk_stream *s, const gk_layer_part *of, uint64_t *batch, gk_err *err)
{
    const bool attention = of->half == GK_HALF_ATTENTION;
    gk_layer_run run = {.layer = of->layer, .batch = *batch};

    s->until = of->until;
    s->choice = of->choice;
    const bool ok = run_next(s, &(part){&run, attention, !attention}, err);
    s->choice = NULL;
    *batch = run.batch;
    return ok;
}

uint64_t gk_stream_batches(const gk_stream *s) { return s->n_batches; }

bool gk_stream_restore(gk_stream *s, const gk_file *f, gk_err *err)
{
    const uint64_t slab = gk_stream_slab(s), row_bytes = s->d * sizeof *s->r;

    for (uint64_t at = 0; at < s->T; at += slab) {
        const uint64_t n = gk_min(slab, s->T - at);
        if (!gk_file_read(f, at * row_bytes, s->r, n * row_bytes, err)
            || !gk_states_save(&s->states, at, n, s->r, err))
            return false;
    }
    return true;
}

bool gk_stream_finish(gk_stream *s, gk_err *err)
{
    const uint64_t slab = gk_stream_slab(s);

    if (!gk_layer_read(s, GK_WEIGHT_FINAL_NORM, 0, s->norm, err))
        return false;
    for (uint64_t at = 0; at < s->T; at += slab) {
        const uint64_t n = gk_min(slab, s->T - at);
        if (!gk_states_load(&s->states, at, n, s->r, err))
            return false;
#pragma omp parallel for schedule(static) num_threads(s->o.threads)
        for (uint64_t t = 0; t < n; t++) {
            float *r = s->r + t * s->d;
            const double f = norm_factor(s, r, 1);
            for (uint64_t j = 0; j < s->d; j++)
                r[j] = (float)((double)r[j] * f * (double)s->norm[j]);
        }
        if (!gk_states_save(&s->states, at, n, s->r, err))
            return false;
    }
    return true;
}
