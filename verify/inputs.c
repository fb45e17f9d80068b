/* verify/inputs.c - halves of layers, as often as the phases need them. */
#include "verify/inputs.h"

#include <stdio.h>
#include <string.h>

#include "formats/checked.h"
#include "quant/stats.h"

/* The inputs of matrices that share them, under the name of one. */
typedef struct entry {
    char        name[GK_GROK2_NAME];
    gk_hessian *h;
} entry;

struct gk_input_pass {
    const gk_catalog  *model;
    const gk_stats    *stats;
    gk_forward_options o;
    const gk_plan     *plan;
    gk_stream         *s;
    gk_grok2           sizes;
    uint64_t           halves; /* run to their end */
    uint32_t           phase;  /* at hand          */
    bool               wanted;
    entry             *entry;
    uint64_t           n, cap;
};

/* The one of matrices with the same inputs that they are known by. */
static bool known_by(const gk_input_pass *p, const gk_tensor *t, char name[GK_GROK2_NAME])
{
    gk_grok2_shape shape;

    if (!gk_grok2_shape_of(&p->sizes, t->name, &shape) || gk_phase_of(&shape) == 0)
        return false;
    const gk_weight role = shape.role == GK_WEIGHT_K || shape.role == GK_WEIGHT_V ? GK_WEIGHT_Q
                           : shape.role == GK_WEIGHT_UP          ? GK_WEIGHT_GATE
                           : shape.role == GK_WEIGHT_EXPERT_UP   ? GK_WEIGHT_EXPERT_GATE
                                                                 : shape.role;
    gk_grok2_spell(&p->sizes, role, (uint64_t)shape.layer,
                   shape.expert < 0 ? 0 : (uint64_t)shape.expert, name);
    return true;
}

static entry *find(const gk_input_pass *p, const char *name)
{
    for (uint64_t i = 0; i < p->n; i++)
        if (strcmp(p->entry[i].name, name) == 0)
            return &p->entry[i];
    return NULL;
}

static entry *add(gk_input_pass *p, const char *name, uint64_t n_cols, gk_err *err)
{
    void *entries = p->entry;

    if (!gk_grow(&entries, &p->cap, p->n + 1, sizeof *p->entry, err))
        return NULL;
    p->entry = entries;
    entry *e = &p->entry[p->n];
    snprintf(e->name, sizeof e->name, "%s", name);
    e->h = gk_hessian_new(n_cols, p->plan->hessian_block, err);
    p->n += e->h != NULL;
    return e->h == NULL ? NULL : e;
}

static void forget(gk_input_pass *p)
{
    for (uint64_t i = 0; i < p->n; i++)
        gk_hessian_free(p->entry[i].h);
    p->n = 0;
}

static bool take(void *watcher, const gk_tensor *const w[2], const float *in,
                 const uint64_t *begin, uint64_t n_batches, gk_err *err)
{
    gk_input_pass *p = watcher;
    const uint64_t n = gk_cols(w[0]);
    char name[GK_GROK2_NAME];
    gk_grok2_shape shape;

    if (!p->wanted || !gk_grok2_shape_of(&p->sizes, w[0]->name, &shape)
        || gk_phase_of(&shape) != p->phase || !known_by(p, w[0], name)
        || strcmp(name, w[0]->name) != 0)
        return true;
    entry *e = find(p, name);
    if (e == NULL && (e = add(p, name, n, err)) == NULL)
        return false;
    for (uint64_t b = 0; b < n_batches; b++)
        if (!gk_hessian_add(e->h, in + begin[b] * n, begin[b + 1] - begin[b], p->o.threads, err))
            return false;
    return true;
}

/* Written before the phase at hand. */
static bool is_written(void *watcher, const gk_tensor *t)
{
    const gk_input_pass *p = watcher;
    gk_grok2_shape shape;

    return gk_grok2_shape_of(&p->sizes, t->name, &shape) && gk_phase_of(&shape) < p->phase;
}

static bool open_pass(void *context, const gk_plan *plan, const gk_catalog *back, gk_err *err)
{
    gk_input_pass *p = context;

    p->plan = plan;
    p->phase = 1;
    p->o.watch = take;
    p->o.instead = back;
    p->o.is_instead = is_written;
    p->o.watcher = p;
    p->s = gk_stream_new(p->model, &p->o, p->stats->ids, err);
    return p->s != NULL;
}

static bool run_phase(void *context, uint32_t phase, bool wanted, gk_err *err)
{
    static const struct {
        uint64_t halves; /* of the layer that are over */
        gk_half  half;
        gk_until until;
    } step[GK_PHASES_A_LAYER] = {{0, GK_HALF_ATTENTION, GK_UNTIL_FIRST},
                                 {0, GK_HALF_ATTENTION, GK_UNTIL_LAST},
                                 {1, GK_HALF_FFN, GK_UNTIL_FIRST},
                                 {1, GK_HALF_FFN, GK_UNTIL_LAST}};
    gk_input_pass *p = context;
    const uint64_t layer = (phase - 1) / GK_PHASES_A_LAYER;
    const uint32_t k = (phase - 1) % GK_PHASES_A_LAYER;

    forget(p);
    p->phase = phase;
    p->wanted = false;
    for (; p->halves < 2 * layer + step[k].halves; p->halves++)
        if (!gk_stream_half(p->s, p->halves / 2,
                            p->halves % 2 == 0 ? GK_HALF_ATTENTION : GK_HALF_FFN, GK_UNTIL_END,
                            err))
            return false;
    p->wanted = wanted;
    return !wanted || gk_stream_half(p->s, layer, step[k].half, step[k].until, err);
}

static gk_hessian *hessian_of(void *context, const gk_tensor *t)
{
    const gk_input_pass *p = context;
    char name[GK_GROK2_NAME];
    const entry *e = known_by(p, t, name) ? find(p, name) : NULL;

    return e == NULL ? NULL : e->h;
}

static void close_pass(void *context)
{
    gk_input_pass *p = context;

    forget(p);
    gk_stream_free(p->s);
    p->s = NULL;
}

gk_input_pass *gk_input_pass_new(const gk_catalog *model, const gk_stats *stats,
                                 const gk_forward_options *options, gk_err *err)
{
    gk_input_pass *p;

    if (stats->ids == NULL || stats->ctx == 0 || stats->n_ids < stats->ctx) {
        gk_fail(err, GK_ERR_ARG, GK_NO_OFF, "the statistics do not say which tokens were read");
        return NULL;
    }
    p = gk_alloc(1, sizeof *p, err);
    if (p == NULL)
        return NULL;
    *p = (gk_input_pass){.model = model, .stats = stats, .o = *options};
    p->o.ctx = stats->ctx;
    p->o.n_windows = stats->n_ids / stats->ctx;
    if (!gk_grok2_sizes(model->config, &p->sizes, err)
        || (stats->switches != NULL && !gk_switches_parse(stats->switches, &p->o.switches, err))) {
        gk_input_pass_free(p);
        return NULL;
    }
    return p;
}

void gk_input_pass_free(gk_input_pass *p)
{
    if (p == NULL)
        return;
    close_pass(p);
    gk_free(p->entry);
    gk_free(p);
}

gk_inputs gk_input_pass_ask(gk_input_pass *p)
{
    return (gk_inputs){.context = p,
                       .begin = open_pass,
                       .phase = run_phase,
                       .hessian = hessian_of,
                       .end = close_pass};
}
