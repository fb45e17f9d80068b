/* verify/inputs.c - halves of layers, as often as the phases need them. */
#include "verify/inputs.h"

#include <stdio.h>
#include <string.h>

#include "formats/checked.h"
#include "quant/stats.h"

/* What was shown of one of them, until the original shows the same. */
typedef struct shown {
    char     name[GK_GROK2_NAME];
    uint64_t n_rows;
    float   *x;
} shown;

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
    gk_stream         *s, *original; /* original: NULL unless plan->paired */
    bool               is_original;  /* the one at work                    */
    gk_grok2           sizes;
    uint64_t           halves; /* run to their end */
    uint32_t           phase;  /* at hand          */
    bool               wanted;
    entry             *entry;
    uint64_t           n, cap;
    shown             *shown; /* of the batches at hand */
    uint64_t           n_shown, shown_cap, n_met;
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
    e->h = gk_hessian_new(n_cols, p->plan->hessian_block, p->plan->paired, err);
    p->n += e->h != NULL;
    return e->h == NULL ? NULL : e;
}

static void forget(gk_input_pass *p)
{
    for (uint64_t i = 0; i < p->n; i++)
        gk_hessian_free(p->entry[i].h);
    p->n = 0;
}

static void forget_shown(gk_input_pass *p)
{
    for (uint64_t i = 0; i < p->n_shown; i++)
        gk_free(p->shown[i].x);
    p->n_shown = p->n_met = 0;
}

static bool remember(gk_input_pass *p, const char *name, const float *in, uint64_t n_rows,
                     uint64_t n_cols, gk_err *err)
{
    void *all = p->shown;

    if (!gk_grow(&all, &p->shown_cap, p->n_shown + 1, sizeof *p->shown, err))
        return false;
    p->shown = all;
    shown *s = &p->shown[p->n_shown];
    s->n_rows = n_rows;
    s->x = gk_alloc(gk_max(n_rows * n_cols, 1), sizeof *s->x, err);
    if (s->x == NULL)
        return false;
    snprintf(s->name, sizeof s->name, "%s", name);
    memcpy(s->x, in, n_rows * n_cols * sizeof *in);
    p->n_shown++;
    return true;
}

/* Both streams are shown the same matrices with the same tokens, in the same order. */
static const float *meet(gk_input_pass *p, const char *name, uint64_t n_rows, gk_err *err)
{
    const shown *s = p->n_met < p->n_shown ? &p->shown[p->n_met++] : NULL;

    if (s != NULL && s->n_rows == n_rows && strcmp(s->name, name) == 0)
        return s->x;
    gk_fail(err, GK_ERR_FORMAT, GK_NO_OFF, "the original has other inputs");
    gk_fail_at(err, NULL, name);
    return NULL;
}

static bool take(void *watcher, const gk_tensor *const w[2], const float *in,
                 const uint64_t *begin, uint64_t n_batches, gk_err *err)
{
    gk_input_pass *p = watcher;
    const uint64_t n = gk_cols(w[0]), n_rows = begin[n_batches];
    const float *x = in;
    char name[GK_GROK2_NAME];
    gk_grok2_shape shape;

    if (!p->wanted || !gk_grok2_shape_of(&p->sizes, w[0]->name, &shape)
        || gk_phase_of(&shape) != p->phase || !known_by(p, w[0], name)
        || strcmp(name, w[0]->name) != 0)
        return true;
    if (p->original != NULL && !p->is_original)
        return remember(p, name, in, n_rows, n, err);
    if (p->is_original && (x = meet(p, name, n_rows, err)) == NULL)
        return false;
    entry *e = find(p, name);
    if (e == NULL && (e = add(p, name, n, err)) == NULL)
        return false;
    bool ok = true;
    for (uint64_t b = 0; ok && b < n_batches; b++) {
        const uint64_t at = begin[b] * n, rows = begin[b + 1] - begin[b];
        ok = p->is_original
                 ? gk_hessian_add_pair(e->h, x + at, in + at, rows, p->o.threads, err)
                 : gk_hessian_add(e->h, x + at, rows, p->o.threads, err);
    }
    return ok;
}

/* Written before the phase at hand; the original is the model as it was. */
static bool is_written(void *watcher, const gk_tensor *t)
{
    const gk_input_pass *p = watcher;
    gk_grok2_shape shape;

    return !p->is_original && gk_grok2_shape_of(&p->sizes, t->name, &shape)
           && gk_phase_of(&shape) < p->phase;
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
    p->is_original = false;
    if (plan->paired) {
        p->o.n_streams = 2;
        p->o.memory_bytes /= 2; /* what is shown of one is about as much as its buffers */
    }
    p->s = gk_stream_new(p->model, &p->o, p->stats->ids, err);
    if (p->s == NULL || !plan->paired)
        return p->s != NULL;
    p->is_original = true;
    p->original = gk_stream_beside(p->s, p->model, p->stats->ids, err);
    p->is_original = false;
    return p->original != NULL;
}

/* A half of a layer to its end, in both streams. */
static bool run_half(gk_input_pass *p, uint64_t half, gk_err *err)
{
    const gk_half which = half % 2 == 0 ? GK_HALF_ATTENTION : GK_HALF_FFN;

    if (!gk_stream_half(p->s, half / 2, which, GK_UNTIL_END, err))
        return false;
    p->is_original = true;
    const bool ok = p->original == NULL
                    || gk_stream_half(p->original, half / 2, which, GK_UNTIL_END, err);
    p->is_original = false;
    return ok;
}

/* What the quantized model computes, then what the original does of the same tokens in the same
 * experts, whichever it would have chosen itself. */
static bool run_pairs(gk_input_pass *p, const gk_layer_part *part, gk_err *err)
{
    gk_layer_part same = *part;
    bool ok = true;

    same.choice = p->s;
    for (uint64_t batch = 0, after = 0; ok && batch < gk_stream_batches(p->s); batch = after) {
        p->is_original = false;
        ok = gk_stream_part(p->s, part, &after, err);
        p->is_original = true;
        ok = ok && gk_stream_part(p->original, &same, &batch, err);
        forget_shown(p);
    }
    p->is_original = false;
    return ok;
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
        if (!run_half(p, p->halves, err))
            return false;
    p->wanted = wanted;
    if (wanted && p->original != NULL)
        return run_pairs(p, &(gk_layer_part){layer, step[k].half, step[k].until, NULL}, err);
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
    forget_shown(p);
    gk_stream_free(p->original);
    gk_stream_free(p->s);
    p->s = p->original = NULL;
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
    gk_free(p->shown);
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
