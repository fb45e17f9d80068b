/* verify/experts.c - the dense MLP, the router, and only the experts it chose. */
#include <math.h>
#include <omp.h>
#include <string.h>

#include "formats/checked.h"
#include "verify/layer.h"

uint64_t gk_area_width(const gk_arch *a)
{
    const gk_grok2 *g = &a->sizes;
    const uint64_t attention = 2 * (g->heads + g->kv_heads) * g->head_dim;

    return gk_max(attention, gk_max(g->dense, 2 * g->hidden + g->moe));
}

/* s->y [C, d] = W_down (act(W_gate x) * W_up x) */
bool gk_dense(gk_stream *s, uint64_t layer, const gk_chunk *c, gk_err *err)
{
    float *h = s->area; /* [C, F] */
    gk_product p = {.w = {gk_layer_tensor(s, GK_WEIGHT_GATE, layer, 0, err),
                          gk_layer_tensor(s, GK_WEIGHT_UP, layer, 0, err)},
                    .in = s->x,
                    .out = h,
                    .begin = c->begin,
                    .n_batches = c->n_batches};

    if (p.w[0] == NULL || p.w[1] == NULL)
        return false;
    if (s->until == GK_UNTIL_FIRST)
        return gk_show(s, &p, err);
    if (!gk_multiply(s, &p, err))
        return false;
    p.w[0] = gk_layer_tensor(s, GK_WEIGHT_DOWN, layer, 0, err);
    p.w[1] = NULL;
    p.in = h;
    p.unordered = true;
    p.out = s->y;
    return p.w[0] != NULL
           && (s->until == GK_UNTIL_LAST ? gk_show(s, &p, err) : gk_multiply(s, &p, err));
}

static bool renormalises(const gk_stream *s)
{
    return s->o.switches.renorm == GK_RENORM_ON
           || (s->o.switches.renorm == GK_RENORM_ALONE && s->a.sizes.dense == 0);
}

/* Those with the largest logits, or another stream's choice. */
static void choose(const gk_stream *s, const double *logit, uint64_t token)
{
    uint16_t *ids = s->chosen + token * s->a.top_k;
    const uint64_t E = s->a.sizes.experts;

    if (s->choice != NULL) {
        memcpy(ids, s->choice->chosen + token * s->a.top_k, s->a.top_k * sizeof *ids);
        return;
    }
    for (uint64_t k = 0; k < s->a.top_k; k++) {
        uint64_t best = E;
        for (uint64_t e = 0; e < E; e++) {
            bool taken = false;
            for (uint64_t i = 0; i < k; i++)
                taken |= ids[i] == e;
            if (!taken && (best == E || logit[e] > logit[best]))
                best = e;
        }
        ids[k] = (uint16_t)best;
    }
}

/* The experts of one token: ids by falling logit (ties: the lower id) and weights, and what all
 * experts had. In double, because a choice is all or nothing. */
static void route(const gk_stream *s, const float *x, double *logit, uint64_t token)
{
    uint16_t *ids = s->chosen + token * s->a.top_k;
    float *weights = s->weights + token * s->a.top_k;
    const uint64_t E = s->a.sizes.experts;
    float *gates = s->gates + token * E;
    const double cap = s->o.switches.router_cap ? s->a.router_cap : 0;
    double most = -INFINITY, sum = 0, chosen = 0;

    for (uint64_t e = 0; e < E; e++) {
        const float *w = s->gate + e * s->d;
        double z = 0;
        for (uint64_t i = 0; i < s->d; i++)
            z += (double)x[i] * (double)w[i];
        logit[e] = cap > 0 ? cap * tanh(z / cap) : z;
        most = logit[e] > most ? logit[e] : most;
    }
    for (uint64_t e = 0; e < E; e++)
        sum += exp(logit[e] - most);
    for (uint64_t e = 0; e < E; e++)
        gates[e] = (float)(exp(logit[e] - most) / sum);
    choose(s, logit, token);
    for (uint64_t k = 0; k < s->a.top_k; k++) {
        chosen += exp(logit[ids[k]] - most) / sum;
        weights[k] = (float)(exp(logit[ids[k]] - most) / sum);
    }
    if (renormalises(s))
        for (uint64_t k = 0; k < s->a.top_k; k++)
            weights[k] = (float)(exp(logit[ids[k]] - most) / sum / chosen);
}

static bool watch_router(const gk_stream *s, uint64_t layer, const gk_chunk *c, gk_err *err)
{
    const gk_tensor *const w[2] = {gk_layer_tensor(s, GK_WEIGHT_ROUTER, layer, 0, err), NULL};

    return s->o.watch == NULL
           || (w[0] != NULL && s->o.watch(s->o.watcher, w, s->x, c->begin, c->n_batches, err));
}

static bool route_all(gk_stream *s, uint64_t layer, const gk_chunk *c, gk_err *err)
{
    const uint64_t E = s->a.sizes.experts;
    double *room = gk_alloc((uint64_t)s->o.threads * E, sizeof *room, err);

    if (room == NULL || !watch_router(s, layer, c, err)
        || !gk_layer_read(s, GK_WEIGHT_ROUTER, layer, s->gate, err)) {
        gk_free(room);
        return false;
    }
#pragma omp parallel for schedule(static) num_threads(s->o.threads)
    for (uint64_t t = c->t0; t < c->t1; t++)
        route(s, s->x + (t - c->t0) * s->d, room + (uint64_t)omp_get_thread_num() * E, t);
    gk_free(room);
    return true;
}

/* Lists the chunk's tokens that chose expert e, batch by batch, in token order; slot
 * weights go to *weight. Returns how many. */
static uint64_t gather(gk_stream *s, const gk_chunk *c, uint64_t e, float *in)
{
    const uint64_t k = s->a.top_k;
    uint64_t n = 0;

    for (uint64_t b = 0; b < c->n_batches; b++) {
        s->expert_begin[b] = n;
        for (uint64_t t = c->begin[b]; t < c->begin[b + 1]; t++)
            for (uint64_t i = 0; i < k; i++)
                if (s->chosen[(c->t0 + t) * k + i] == e)
                    s->order[n++] = t * k + i;
    }
    s->expert_begin[c->n_batches] = n;
#pragma omp parallel for schedule(static) num_threads(s->o.threads)
    for (uint64_t i = 0; i < n; i++)
        memcpy(in + i * s->d, s->x + s->order[i] / k * s->d, s->d * sizeof *in);
    return n;
}

static bool run_expert(gk_stream *s, uint64_t layer, const gk_chunk *c, uint64_t e, gk_err *err)
{
    const uint64_t tokens = c->t1 - c->t0, k = s->a.top_k;
    float *in = s->area, *out = in + tokens * s->d, *h = out + tokens * s->d;
    const uint64_t n = gather(s, c, e, in);

    if (n == 0)
        return true;
    const gk_tensor *gate = gk_layer_tensor(s, GK_WEIGHT_EXPERT_GATE, layer, e, err);
    const gk_tensor *up = gk_layer_tensor(s, GK_WEIGHT_EXPERT_UP, layer, e, err);
    const gk_tensor *down = gk_layer_tensor(s, GK_WEIGHT_EXPERT_DOWN, layer, e, err);
    if (gate == NULL || up == NULL || down == NULL)
        return false;
    gk_product p = {.w = {gate, up},
                    .in = in,
                    .out = h,
                    .begin = s->expert_begin,
                    .n_batches = c->n_batches};
    if (s->until == GK_UNTIL_FIRST)
        return gk_show(s, &p, err);
    if (!gk_multiply(s, &p, err))
        return false;
    p = (gk_product){.w = {down, NULL},
                     .unordered = true,
                     .in = h,
                     .out = out,
                     .begin = s->expert_begin,
                     .n_batches = c->n_batches};
    if (s->until == GK_UNTIL_LAST)
        return gk_show(s, &p, err);
    if (!gk_multiply(s, &p, err))
        return false;
#pragma omp parallel for schedule(static) num_threads(s->o.threads)
    for (uint64_t i = 0; i < n; i++) {
        const float weight = s->weights[c->t0 * k + s->order[i]];
        float *y = s->y + s->order[i] / k * s->d;
        for (uint64_t j = 0; j < s->d; j++)
            y[j] += weight * out[i * s->d + j];
    }
    return true;
}

/* Adds the experts' outputs to s->y, in the order of their numbers. */
bool gk_experts(gk_stream *s, uint64_t layer, const gk_chunk *c, gk_err *err)
{
    if (!route_all(s, layer, c, err))
        return false;
    for (uint64_t e = 0; e < s->a.sizes.experts; e++)
        if (!run_expert(s, layer, c, e, err))
            return false;
    return true;
}
