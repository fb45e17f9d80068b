/* quant/phases.c - see quant/phases.h. */
#include "quant/phases.h"

#include <inttypes.h>

#include "formats/checked.h"
#include "quant/model.h"
#include "quant/stats.h"

#define LEAST_BLOCK 128 /* columns: narrower ones know too little of each other */

uint32_t gk_phase_of(const gk_grok2_shape *shape)
{
    uint32_t step;

    switch (shape->role) {
    case GK_WEIGHT_Q:
    case GK_WEIGHT_K:
    case GK_WEIGHT_V: step = 1; break;
    case GK_WEIGHT_O: step = 2; break;
    case GK_WEIGHT_GATE:
    case GK_WEIGHT_UP:
    case GK_WEIGHT_EXPERT_GATE:
    case GK_WEIGHT_EXPERT_UP: step = 3; break;
    case GK_WEIGHT_DOWN:
    case GK_WEIGHT_EXPERT_DOWN: step = 4; break;
    default: return 0;
    }
    return (uint32_t)shape->layer * GK_PHASES_A_LAYER + step;
}

/* The most that Hessians in blocks take at once: those of an FFN's phases. */
static uint64_t hessian_bytes(const gk_grok2 *g, uint64_t block, bool paired)
{
    const uint64_t o = gk_hessian_bytes(g->heads * g->head_dim, block, paired);
    const uint64_t first = (1 + g->experts) * gk_hessian_bytes(g->hidden, block, paired);
    const uint64_t dense = g->dense > 0 ? gk_hessian_bytes(g->dense, block, paired) : 0;
    const uint64_t moe = g->experts > 0 ? g->experts * gk_hessian_bytes(g->moe, block, paired) : 0;

    return gk_max(gk_max(first, dense + moe), o);
}

static bool choose_block(gk_plan *p, const gk_grok2 *g, gk_err *err)
{
    const uint64_t widest = gk_max(gk_max(g->dense, g->moe), gk_max(g->hidden,
                                                                    g->heads * g->head_dim));
    const uint64_t room = p->options.memory_bytes / 2;
    uint64_t block = p->options.hessian_block;

    if (block == 0 && hessian_bytes(g, 0, false) > room) {
        for (block = LEAST_BLOCK; 2 * block < widest && hessian_bytes(g, 2 * block, false) <= room;)
            block *= 2;
        if (!gk_findings_addf(&p->notes, "hessian", GK_WARN, NULL, NULL, err,
                              "Hessians are kept in blocks of %" PRIu64 " columns: whole ones take "
                              "%" PRIu64 " MiB, half of --memory is %" PRIu64, block,
                              (hessian_bytes(g, 0, false) >> 20) + 1, room >> 20))
            return false;
    }
    p->hessian_block = block;
    p->hessian_bytes = hessian_bytes(g, block, false);
    return true;
}

static bool no_codes(const gk_plan *p, gk_err *err)
{
    const gk_scheme channel = gk_scheme_int(4, 0, true);
    const gk_target *target = p->options.target;
    bool width = false;

    for (uint64_t i = 0; i < p->n_items; i++)
        width |= p->item[i].why == GK_WHY_WIDTH;
    width = width && target->layout != NULL && target->layout(&channel) != NULL;
    return gk_fail(err, GK_ERR_ARG, GK_NO_OFF,
                   "--method gptq chooses integer codes (int4, int8), and no matrix of a layer "
                   "gets any here: %s",
                   width ? "its groups do not divide their rows; --scheme int4-channel needs none"
                         : "with --scheme int4-g128 and a format that holds it they would");
}

/* The original's stream beside the quantized model's, where memory has room for both. */
static bool choose_pairs(gk_plan *p, const gk_grok2 *g, gk_err *err)
{
    const uint64_t room = p->options.memory_bytes / 2;
    const uint64_t bytes = hessian_bytes(g, p->hessian_block, true)
                           + p->options.stats->n_ids * g->hidden * sizeof(float);

    p->paired = bytes <= room;
    if (p->paired) {
        p->hessian_bytes = bytes;
        return true;
    }
    return gk_findings_addf(&p->notes, "hessian", GK_NOTE, NULL, NULL, err,
                            "outputs are kept near those that the original has for the quantized "
                            "model's inputs: near those for its own takes %" PRIu64 " MiB, half "
                            "of --memory is %" PRIu64, (bytes >> 20) + 1, room >> 20);
}

bool gk_plan_phases(gk_plan *p, gk_err *err)
{
    const gk_stats *s = p->options.stats;
    gk_grok2 g;

    if (p->options.method != GK_METHOD_GPTQ)
        return true;
    bool any = false;
    for (uint64_t i = 0; i < p->n_items; i++)
        any |= p->item[i].to.kind == GK_SCHEME_INT;
    if (!any) /* before anybody calibrates for nothing */
        return no_codes(p, err);
    if (s == NULL || s->ids == NULL || s->n_ids == 0)
        return gk_fail(err, GK_ERR_ARG, GK_NO_OFF,
                       "--method gptq needs the tokens that `grokkit calibrate` read: %s",
                       s == NULL ? "give its file with --stats"
                                 : "this --stats file has none (calibrate without --imatrix)");
    if (!gk_grok2_sizes(p->from->config, &g, err))
        return false;
    for (uint64_t i = 0; i < p->n_items; i++) {
        gk_plan_item *item = &p->item[i];
        gk_grok2_shape shape;
        if (item->to.kind == GK_SCHEME_INT && gk_can_decode(item->from)
            && gk_grok2_shape_of(&g, item->from->name, &shape))
            item->phase = gk_phase_of(&shape);
    }
    for (uint64_t i = 0; p->n_phases == 0 && i < p->n_items; i++)
        if (p->item[i].phase > 0)
            p->n_phases = (uint32_t)g.layers * GK_PHASES_A_LAYER;
    if (p->n_phases == 0)
        return no_codes(p, err);
    return gk_findings_addf(&p->notes, "gptq", GK_NOTE, NULL, NULL, err,
                            "weights move further than with search, where their inputs do not "
                            "notice: GPTQ keeps outputs near, which `grokkit eval --base` measures")
           && choose_block(p, &g, err) && choose_pairs(p, &g, err);
}
