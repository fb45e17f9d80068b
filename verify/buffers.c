/* verify/buffers.c - what the forward pass holds in memory, and how much that is. */
#include <string.h>

#include "formats/checked.h"
#include "quant/model.h"
#include "verify/layer.h"

#define BATCH_TOKENS 512

uint64_t gk_batch_windows(uint64_t ctx) { return gk_max(BATCH_TOKENS / ctx, 1); }

uint64_t gk_batch_tokens(const gk_forward_options *o) { return gk_batch_windows(o->ctx) * o->ctx; }

/* ---- sizes --------------------------------------------------------------------------- */

/* Floats of a token in window, x, y and area. */
static uint64_t token_floats(const gk_arch *a) { return 3 * a->sizes.hidden + gk_area_width(a); }

static uint64_t chunk_token_bytes(const gk_arch *a)
{
    return token_floats(a) * sizeof(float) + 8 * a->top_k;
}

static uint64_t max_width(const gk_arch *a)
{
    const gk_grok2 *g = &a->sizes;

    return gk_max(gk_max(g->hidden, g->heads * g->head_dim), gk_max(g->dense, g->moe));
}

/* Floats of a decoded block: a million, or one row of something wider. */
static uint64_t block_floats(const gk_arch *a) { return gk_max(UINT64_C(1) << 20, max_width(a)); }

static uint64_t worker_bytes(const gk_arch *a, const gk_forward_options *o)
{
    return (2 * block_floats(a) + 4 * gk_batch_tokens(o) * 512
            + (GK_QUERY_BLOCK + a->sizes.head_dim) * o->ctx)
               * sizeof(float)
           + 4 * block_floats(a) + 65536;
}

/* Of all streams together. */
static uint64_t rows_bytes(const gk_arch *a, const gk_forward_options *o)
{
    return gk_max(o->n_streams, 1) * o->ctx * o->n_windows * a->sizes.hidden * sizeof(float);
}

/* All but rows and chunks. */
static uint64_t fixed_bytes(const gk_arch *a, const gk_forward_options *o)
{
    const uint64_t token = a->top_k * 6 + a->sizes.experts * sizeof(float);
    const uint64_t stream = o->ctx * o->n_windows * token + o->ctx * a->sizes.head_dim * 4;

    return gk_max(o->n_streams, 1) * stream + (uint64_t)o->threads * worker_bytes(a, o)
           + (a->sizes.hidden * (a->sizes.experts + 1)) * sizeof(float);
}

static uint64_t batch_bytes(const gk_arch *a, const gk_forward_options *o)
{
    return gk_batch_tokens(o) * chunk_token_bytes(a);
}

/* Batches in flight beside what is held: what memory allows, at least one. */
static uint64_t batches_beside(const gk_arch *a, const gk_forward_options *o, uint64_t held)
{
    const uint64_t batch = batch_bytes(a, o),
                   all = gk_div_up(o->n_windows, gk_batch_windows(o->ctx));

    if (o->memory_bytes <= held + batch)
        return 1;
    return gk_min(all, (o->memory_bytes - held) / batch);
}

/* Bytes of a layer's weights in bf16, of all streams, read for each chunk. */
static double bytes_of_chunks(const gk_arch *a, const gk_forward_options *o, uint64_t held)
{
    const gk_grok2 *g = &a->sizes;
    const uint64_t all = gk_div_up(o->n_windows, gk_batch_windows(o->ctx));
    const double attention = (double)(2 * (g->heads + g->kv_heads) * g->head_dim),
                 mlp = 3 * ((double)g->dense + (double)g->experts * (double)g->moe);

    return 2 * (double)g->hidden * (attention + mlp) * (double)gk_max(o->n_streams, 1)
           * (double)gk_div_up(all, batches_beside(a, o, held));
}

/* Also where both would fit, but the room that activations leave makes for so many chunks that
 * their weights are more to read than the activations are to write and read. */
bool gk_forward_spills(const gk_arch *a, const gk_forward_options *o)
{
    const uint64_t fixed = fixed_bytes(a, o), rows = rows_bytes(a, o);

    if (o->spool == NULL)
        return false;
    return o->memory_bytes < rows + fixed + batch_bytes(a, o)
           || bytes_of_chunks(a, o, fixed) + 2 * (double)rows
                  < bytes_of_chunks(a, o, fixed + rows);
}

uint64_t gk_forward_spilled_bytes(const gk_arch *a, const gk_forward_options *o)
{
    return gk_forward_spills(a, o) ? rows_bytes(a, o) : 0;
}

static uint64_t held_bytes(const gk_arch *a, const gk_forward_options *o)
{
    return fixed_bytes(a, o) + (gk_forward_spills(a, o) ? 0 : rows_bytes(a, o));
}

static uint64_t chunk_of(const gk_arch *a, const gk_forward_options *o)
{
    return batches_beside(a, o, held_bytes(a, o));
}

uint64_t gk_forward_memory(const gk_arch *a, const gk_forward_options *o)
{
    return held_bytes(a, o) + chunk_of(a, o) * batch_bytes(a, o);
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

/* ---- the workspace --------------------------------------------------------------------- */

static bool open_workers(gk_workspace *w, const gk_arch *a, const gk_forward_options *o,
                         gk_err *err)
{
    const uint64_t product = gk_batch_tokens(o) * 512;

    w->block_floats = block_floats(a);
    w->worker = gk_alloc((uint64_t)o->threads, sizeof *w->worker, err);
    if (w->worker == NULL)
        return false;
    w->n_workers = o->threads;
    memset(w->worker, 0, (size_t)o->threads * sizeof *w->worker);
    for (int i = 0; i < o->threads; i++) {
        gk_worker *k = &w->worker[i];
        k->w[0] = gk_alloc(w->block_floats, sizeof(float), err);
        k->w[1] = gk_alloc(w->block_floats, sizeof(float), err);
        k->t[0] = gk_alloc(product, sizeof(float), err);
        k->t[1] = gk_alloc(product, sizeof(float), err);
        k->sum = gk_alloc(product, sizeof(double), err);
        k->scores = gk_alloc(GK_QUERY_BLOCK * o->ctx, sizeof(float), err);
        k->v_t = gk_alloc(a->sizes.head_dim * o->ctx, sizeof(float), err);
        if (k->w[0] == NULL || k->w[1] == NULL || k->t[0] == NULL || k->t[1] == NULL
            || k->sum == NULL || k->scores == NULL || k->v_t == NULL)
            return false;
    }
    return true;
}

/* Every worker can decode what is in this catalog, too. */
static bool grow_scratch(gk_workspace *w, const gk_catalog *c, gk_err *err)
{
    uint64_t need = 64;

    for (uint64_t i = 0; i < c->n_tensors; i++) {
        const gk_tensor *t = &c->tensor[i];
        if (gk_can_decode(t))
            need = gk_max(
                need,
                64 + gk_decode_scratch_bytes(t, gk_block_rows(gk_rows(t), gk_cols(t)), gk_cols(t)));
    }
    for (int i = 0; need > w->scratch && i < w->n_workers; i++) {
        gk_free(w->worker[i].scratch);
        w->worker[i].scratch = gk_alloc(need, 1, err);
        if (w->worker[i].scratch == NULL)
            return false;
    }
    w->scratch = gk_max(w->scratch, need);
    return true;
}

static bool open_workspace(gk_stream *s, gk_err *err)
{
    const gk_grok2 *g = &s->a.sizes;
    const uint64_t C = gk_min(s->T, s->chunk * gk_batch_tokens(&s->o));
    gk_workspace *w = &s->own;

    w->sizes = *g;
    w->floats = C * token_floats(&s->a);
    w->window = gk_alloc(w->floats, sizeof(float), err);
    w->norm = gk_alloc(gk_max(s->d, g->heads * g->head_dim), sizeof(float), err);
    w->gate = gk_alloc(g->experts * s->d, sizeof(float), err);
    w->order = gk_alloc(C * s->a.top_k, sizeof *w->order, err);
    w->expert_begin = gk_alloc(s->chunk + 1, sizeof *w->expert_begin, err);
    return w->window != NULL && w->norm != NULL && w->gate != NULL && w->order != NULL
           && w->expert_begin != NULL && open_workers(w, &s->a, &s->o, err);
}

static void free_workspace(gk_workspace *w)
{
    for (int i = 0; i < w->n_workers; i++) {
        gk_worker *k = &w->worker[i];
        void *all[] = {k->w[0], k->w[1], k->t[0], k->t[1], k->sum, k->scratch, k->scores, k->v_t};
        for (size_t j = 0; j < sizeof all / sizeof all[0]; j++)
            gk_free(all[j]);
    }
    void *all[] = {w->worker, w->window, w->norm, w->gate, w->order, w->expert_begin};
    for (size_t j = 0; j < sizeof all / sizeof all[0]; j++)
        gk_free(all[j]);
    *w = (gk_workspace){0};
}

static bool same_widths(const gk_grok2 *a, const gk_grok2 *b)
{
    return a->hidden == b->hidden && a->heads == b->heads && a->kv_heads == b->kv_heads
           && a->head_dim == b->head_dim && a->dense == b->dense && a->moe == b->moe
           && a->experts == b->experts;
}

/* ---- a stream's ------------------------------------------------------------------------- */

static bool open_own(gk_stream *s, gk_err *err)
{
    const gk_grok2 *g = &s->a.sizes;
    const uint64_t half = g->head_dim / 2;
    const char *spool = gk_forward_spills(&s->a, &s->o) ? s->o.spool : NULL;

    s->begin = gk_arena_alloc(s->arena, s->n_batches + 1, sizeof *s->begin, err);
    s->counts = gk_arena_alloc(s->arena, g->layers * g->experts, sizeof *s->counts, err);
    s->chosen = gk_alloc(s->T * s->a.top_k, sizeof *s->chosen, err);
    s->weights = gk_alloc(s->T * s->a.top_k, sizeof *s->weights, err);
    s->gates = gk_alloc(s->T * g->experts, sizeof *s->gates, err);
    s->cos = gk_alloc(s->o.ctx * half, sizeof(float), err);
    s->sin = gk_alloc(s->o.ctx * half, sizeof(float), err);
    if (!gk_states_open(&s->states, s->arena, spool, s->T, s->d, err) || s->begin == NULL
        || s->counts == NULL || s->chosen == NULL || s->weights == NULL || s->gates == NULL
        || s->cos == NULL || s->sin == NULL)
        return false;
    for (uint64_t b = 0; b <= s->n_batches; b++)
        s->begin[b] = gk_min(b * gk_batch_tokens(&s->o), s->T);
    return true;
}

bool gk_buffers_open(gk_stream *s, gk_stream *first, gk_err *err)
{
    s->d = s->a.sizes.hidden;
    s->n_batches = gk_div_up(s->o.n_windows, gk_batch_windows(s->o.ctx));
    s->chunk = chunk_of(&s->a, &s->o);
    if (first != NULL && same_widths(&first->w->sizes, &s->a.sizes)
        && gk_area_width(&first->a) == gk_area_width(&s->a) && first->a.top_k == s->a.top_k)
        s->w = first->w;
    else
        s->w = &s->own;
    if (!open_own(s, err) || (s->w == &s->own && !open_workspace(s, err))
        || !grow_scratch(s->w, s->c, err)
        || (s->o.instead != NULL && !grow_scratch(s->w, s->o.instead, err)))
        return false;
    const uint64_t rows = gk_min(s->T, s->chunk * gk_batch_tokens(&s->o)) * s->d;
    s->r = s->w->window;
    s->x = s->r + rows;
    s->y = s->x + rows;
    s->area = s->y + rows;
    s->norm = s->w->norm;
    s->gate = s->w->gate;
    s->worker = s->w->worker;
    s->order = s->w->order;
    s->expert_begin = s->w->expert_begin;
    return true;
}

void gk_buffers_free(gk_stream *s)
{
    void *all[] = {s->chosen, s->weights, s->gates, s->cos, s->sin};

    free_workspace(&s->own);
    gk_states_free(&s->states);
    for (size_t j = 0; j < sizeof all / sizeof all[0]; j++)
        gk_free(all[j]);
}

bool gk_stream_more_states(gk_stream *s, gk_states *rows, gk_err *err)
{
    return gk_states_open(rows, s->arena, s->states.ram == NULL ? s->o.spool : NULL, s->T, s->d,
                          err);
}
