/* quant/gains.c - see quant/gains.h. */
#include "quant/gains.h"

#include <math.h>

#include "formats/arena.h"
#include "formats/grok2.h"
#include "quant/model.h"

/* Fills out with |g| of layer l; *found is false where there is no gain to go by. */
static bool read_gains(const gk_plan *p, const gk_grok2 *g, uint64_t l, float *out, bool *found,
                       gk_err *err)
{
    char name[GK_GROK2_NAME];
    const gk_tensor *t
        = gk_catalog_find(p->from, gk_grok2_spell(g, GK_WEIGHT_PRE_ATTN_NORM, l, 0, name));
    const uint64_t all[4] = {0, 1, 0, g->hidden};
    bool any = false, finite = true;

    *found = false;
    if (t == NULL || gk_rows(t) != 1 || gk_cols(t) != g->hidden || !gk_can_decode(t))
        return true;
    void *scratch = gk_alloc(gk_decode_scratch_bytes(t, 1, g->hidden) + 1, 1, err);
    const bool ok = scratch != NULL && gk_decode(p->from, t, all, out, scratch, err);
    gk_free(scratch);
    for (uint64_t i = 0; ok && i < g->hidden; i++) {
        out[i] = fabsf(out[i]);
        any |= out[i] > 0;
        finite &= isfinite(out[i]) != 0;
    }
    *found = ok && any && finite;
    return ok;
}

static bool reads_norm(const gk_plan_item *item, const gk_grok2 *g, gk_grok2_shape *shape)
{
    return item->to.kind == GK_SCHEME_INT && item->to.bits == 4
           && gk_grok2_shape_of(g, item->from->name, shape)
           && (shape->role == GK_WEIGHT_Q || shape->role == GK_WEIGHT_K
               || shape->role == GK_WEIGHT_V)
           && gk_cols(item->from) == g->hidden;
}

bool gk_plan_gains(gk_plan *p, gk_err *err)
{
    gk_err unknown = {0};
    gk_grok2 g;

    if (p->options.method != GK_METHOD_SEARCH || p->options.stats != NULL
        || p->options.target->is_gguf || p->from->config == NULL
        || !gk_grok2_sizes(p->from->config, &g, &unknown))
        return true;
    float **of = gk_arena_alloc(p->arena, g.layers, sizeof *of, err); /* zeroed */
    bool *tried = gk_arena_alloc(p->arena, g.layers, sizeof *tried, err);
    if (of == NULL || tried == NULL)
        return false;
    for (uint64_t i = 0; i < p->n_items; i++) {
        gk_grok2_shape shape;
        if (!reads_norm(&p->item[i], &g, &shape))
            continue;
        const uint64_t l = (uint64_t)shape.layer;
        if (!tried[l]) {
            float *gains = gk_arena_alloc(p->arena, g.hidden, sizeof *gains, err);
            bool found;
            if (gains == NULL || !read_gains(p, &g, l, gains, &found, err))
                return false;
            tried[l] = true;
            of[l] = found ? gains : NULL;
            p->gain_bytes += g.hidden * sizeof *gains;
        }
        p->item[i].importance = of[l];
    }
    return true;
}
