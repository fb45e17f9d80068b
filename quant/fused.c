/* quant/fused.c - the modules that engines load as one: schemes that fit, and their names.
 *
 * vLLM and SGLang match the names of their own modules, vLLM's being
 * model.layers.N.attn.{qkv_proj,o_proj}, .moe_block.experts, .mlp.{gate_up_proj,
 * down_proj}, SGLang's the same without a layer prefix; the library itself matches
 * checkpoint names. Every regex here covers all three. Source: vllm-project/vllm
 * compressed_tensors/utils.py @008014e. */
#include "quant/targets.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* Row i describes fused module i. `where` stands between the layer and the end. */
static const struct fused {
    const char *part[4]; /* checkpoint names of its matrices */
    const char *regex;   /* engine and checkpoint names      */
    bool        anchored; /* must not match inside experts   */
} fused[] = {
    [GK_FUSED_QKV] = {{"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"},
                      "attn\\.(q|k|v|qkv)_proj$", false},
    [GK_FUSED_O] = {{"self_attn.o_proj"}, "attn\\.o_proj$", false},
    [GK_FUSED_GATE_UP] = {{"mlp.gate_proj", "mlp.up_proj"}, "(gate|up|gate_up)_proj$", true},
    [GK_FUSED_DOWN] = {{"mlp.down_proj"}, "down_proj$", true},
    [GK_FUSED_EXPERTS] = {{NULL}, "(block_sparse_moe|moe_block)\\.experts.*", false},
};

gk_fused gk_fused_of(const char *name, int64_t *layer)
{
    static const char prefix[] = "model.layers.";
    char *rest;

    *layer = -1;
    if (strncmp(name, prefix, strlen(prefix)) != 0)
        return GK_FUSED_NONE;
    *layer = strtol(name + strlen(prefix), &rest, 10);
    if (*rest++ != '.')
        return GK_FUSED_NONE;
    if (strncmp(rest, "block_sparse_moe.experts.", 25) == 0)
        return GK_FUSED_EXPERTS;
    for (int f = 0; f < GK_FUSED_EXPERTS; f++)
        for (int i = 0; i < 4 && fused[f].part[i] != NULL; i++) {
            const size_t n = strlen(fused[f].part[i]);
            if (strncmp(rest, fused[f].part[i], n) == 0 && strcmp(rest + n, ".weight") == 0)
                return (gk_fused)f;
        }
    return GK_FUSED_NONE;
}

/* ---- fitting --------------------------------------------------------------- */

typedef struct member {
    gk_plan_item *item;
    gk_fused      fused;
    int64_t       layer;
} member;

static int by_module(const void *a, const void *b)
{
    const member *x = a, *y = b;

    if (x->layer != y->layer)
        return x->layer < y->layer ? -1 : 1;
    if (x->fused != y->fused)
        return x->fused < y->fused ? -1 : 1;
    return x->item < y->item ? -1 : x->item > y->item;
}

static bool disagree(const member *a, const member *b, gk_err *err)
{
    gk_fail(err, GK_ERR_ARG, GK_NO_OFF,
            "it becomes %s, but %s becomes %s: engines load them as one module, so both must be "
            "the same (--no-engine-check writes it anyway)",
            b->item->to.name, a->item->from->name, a->item->to.name);
    return gk_fail_at(err, NULL, b->item->from->name);
}

static bool is_gptq(const gk_scheme *s)
{
    return s->layout == &gk_layout_gptq || s->layout == &gk_layout_gptq_v2;
}

bool gk_scheme_fits(const gk_scheme *s, const gk_tensor *t)
{
    const uint64_t rows = gk_rows(t), cols = gk_cols(t);

    if (is_gptq(s) && (rows % 32 != 0 || cols % 32 != 0))
        return false;
    if (s->layout == &gk_layout_awq && rows % 8 != 0)
        return false;
    return s->group == 0 || cols % s->group == 0;
}

/* Makes s the next smaller scheme of its kind; false: there is none. */
static bool narrow(gk_scheme *s)
{
    const gk_scheme was = *s;

    if (s->kind == GK_SCHEME_FP8 && s->group > 0)
        *s = gk_scheme_fp8(0);
    else if (s->kind == GK_SCHEME_INT && s->group > 32 && s->layout != &gk_layout_awq)
        *s = gk_scheme_int(s->bits, s->group / 2, s->symmetric);
    else
        return false;
    s->layout = was.layout;
    s->scales = was.scales;
    return true;
}

static bool all_fit(const gk_scheme *s, const member *m, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++)
        if (!gk_scheme_fits(s, m[i].item->from))
            return false;
    return true;
}

/* The scheme of the first for all n, or the largest smaller one that fits them all. */
static bool shrink(gk_plan *p, const member *m, uint64_t n, gk_err *err)
{
    const gk_scheme was = m[0].item->to;
    gk_scheme s = was;

    if (all_fit(&s, m, n))
        return true;
    if (p->options.strict) {
        gk_fail(err, GK_ERR_UNSUPPORTED, GK_NO_OFF,
                "%s does not divide its module's widths (--strict)", was.name);
        return gk_fail_at(err, NULL, m[0].item->from->name);
    }
    while (!all_fit(&s, m, n))
        if (!narrow(&s)) {
            if (!gk_scheme_parse("keep", &s, err))
                return false;
            break;
        }
    const char *what = was.layout->is_turned ? "fits its shape" : "divides its width";
    for (uint64_t i = 0; i < n; i++) {
        m[i].item->to = s;
        m[i].item->why = GK_WHY_WIDTH;
        if (!gk_findings_addf(&p->notes, "width", GK_NOTE, NULL, m[i].item->from->name, err,
                              "%s becomes %s: no group of %s %s or that of a matrix "
                              "which engines fuse with it", was.name, s.name, was.name, what))
            return false;
    }
    return true;
}

/* What vLLM asks of the experts of packed integers. */
static bool check_experts(gk_plan *p, const member *m, gk_err *err)
{
    const gk_scheme *s = &m->item->to;

    if (m->fused != GK_FUSED_EXPERTS || s->layout != &gk_layout_packed)
        return true;
    if (!s->symmetric) {
        gk_fail(err, GK_ERR_ARG, GK_NO_OFF,
                "%s: vLLM loads only symmetric experts (--no-engine-check writes them anyway)",
                s->name);
        return gk_fail_at(err, NULL, m->item->from->name);
    }
    /* seen with vLLM 0.24: compressed_tensors_moe_wna16_marlin.py asserts group_size == -1 */
    return s->bits != 8 || s->group == 0
           || gk_findings_addf(&p->notes, "engine", GK_WARN, NULL, m->item->from->name, err,
                               "vLLM 0.24 loads 8-bit experts with one scale a row only: for it, "
                               "add --rule 'experts=int8-channel'");
}

static bool fit_module(gk_plan *p, const member *m, uint64_t n, gk_err *err)
{
    const gk_scheme s = m[0].item->to;
    const bool check = !p->options.no_engine_check;

    for (uint64_t i = 1; check && m[0].fused != GK_FUSED_NONE && i < n; i++)
        if (!gk_scheme_same(&m[i].item->to, &s))
            return disagree(&m[0], &m[i], err);
    if (check && !check_experts(p, m, err))
        return false;
    for (uint64_t i = 0; i < n; i++) /* unequal parts shrink one by one */
        if (gk_scheme_is_coded(&m[i].item->to)) {
            const bool together = gk_scheme_same(&m[i].item->to, &s) && i == 0;
            if (!shrink(p, &m[i], together ? n : 1, err))
                return false;
        }
    return true;
}

/* Engines keep one global scale a fused module, so its matrices share it: q, k and v; gate
 * and up; w1 and w3 of all experts of a layer, and their w2. */
static void set_ranges(gk_plan *p, const member *m, uint64_t n)
{
    bool used[2] = {false, false};

    for (uint64_t i = 0; i < n; i++)
        if (m[i].item->to.kind == GK_SCHEME_NVFP4) {
            const bool down = m[i].fused == GK_FUSED_EXPERTS
                              && gk_ends_with(m[i].item->from->name, ".w2.weight");
            m[i].item->range = p->n_ranges + down;
            used[down] = true;
        }
    if (used[0] || used[1])
        p->n_ranges += 2;
}

/* A scheme that no engine loads for such a module: router, embedding, head. */
static bool refuse_unloadable(const gk_plan *p, const gk_plan_item *item, gk_err *err)
{
    if (p->options.no_engine_check || !gk_scheme_is_coded(&item->to)
        || (strstr(item->from->name, "embed_tokens") == NULL
            && strstr(item->from->name, "block_sparse_moe.gate.") == NULL
            && strcmp(item->from->name, "lm_head.weight") != 0))
        return true;
    gk_fail(err, GK_ERR_ARG, GK_NO_OFF,
            "%s: engines build this module without quantization (--no-engine-check writes it "
            "anyway)", item->to.name);
    return gk_fail_at(err, NULL, item->from->name);
}

bool gk_plan_fuse(gk_plan *p, gk_err *err)
{
    member *m = gk_alloc(p->n_items, sizeof *m, err);
    bool ok = m != NULL;
    uint64_t n = 0;

    for (uint64_t i = 0; ok && i < p->n_items; i++) {
        if (p->item[i].from->ndim != 2)
            continue;
        ok = refuse_unloadable(p, &p->item[i], err);
        m[n].item = &p->item[i];
        m[n].fused = gk_fused_of(p->item[i].from->name, &m[n].layer);
        n++;
    }
    if (ok)
        qsort(m, (size_t)n, sizeof *m, by_module);
    for (uint64_t i = 0, next; ok && i < n; i = next) {
        for (next = i + 1; m[i].fused != GK_FUSED_NONE && next < n && m[next].layer == m[i].layer
                           && m[next].fused == m[i].fused;)
            next++;
        ok = fit_module(p, &m[i], next - i, err);
        set_ranges(p, &m[i], next - i);
    }
    gk_free(m);
    return ok && gk_plan_note_engines(p, err);
}

bool gk_plan_fit_each(gk_plan *p, gk_err *err)
{
    for (uint64_t i = 0; i < p->n_items; i++) {
        const member m = {.item = &p->item[i]};
        if (gk_scheme_is_coded(&m.item->to) && !shrink(p, &m, 1, err))
            return false;
    }
    return gk_plan_note_engines(p, err);
}

/* ---- names ----------------------------------------------------------------- */

bool gk_plan_schemes(const gk_plan *p, gk_schemes *out, gk_err *err)
{
    uint64_t weights[GK_MAX_SCHEMES] = {0};
    int experts = -1;

    *out = (gk_schemes){0};
    for (uint64_t i = 0; i < p->n_items; i++) {
        const gk_plan_item *item = &p->item[i];
        int64_t layer;
        int k = 0;
        if (!gk_scheme_is_coded(&item->to))
            continue;
        while (k < out->n && !gk_scheme_same(&out->scheme[k], &item->to))
            k++;
        if (k == GK_MAX_SCHEMES)
            return gk_fail(err, GK_ERR_LIMIT, GK_NO_OFF, "more than %d schemes", GK_MAX_SCHEMES);
        if (k == out->n)
            out->scheme[out->n++] = item->to;
        weights[k] += gk_rows(item->from) * gk_cols(item->from);
        if (experts < 0 && gk_fused_of(item->from->name, &layer) == GK_FUSED_EXPERTS)
            experts = k;
    }
    for (int k = 0; k < out->n; k++)
        if (weights[k] > weights[out->main])
            out->main = k;
    if (experts >= 0)
        out->main = experts;
    return true;
}

static bool is_module(const gk_plan_item *item)
{
    return item->from->ndim == 2;
}

static bool wants(const gk_plan_item *item, const gk_scheme *s)
{
    return s != NULL ? gk_scheme_same(&item->to, s) : !gk_scheme_is_coded(&item->to);
}

uint64_t gk_plan_layers(const gk_plan *p, gk_fused f, const gk_scheme *s, gk_text *list,
                        bool *all)
{
    int64_t last = -1, layer;
    uint64_t n = 0;

    *all = true;
    for (uint64_t i = 0; i < p->n_items; i++) {
        const gk_plan_item *item = &p->item[i];
        if (!is_module(item) || gk_fused_of(item->from->name, &layer) != f)
            continue;
        if (!wants(item, s)) {
            *all = false;
        } else if (layer != last) {
            gk_text_printf(list, "%s%" PRId64, n > 0 ? "|" : "", layer);
            last = layer;
            n++;
        }
    }
    return n;
}

static void add_pattern(const gk_plan *p, gk_fused f, const gk_scheme *s, gk_text *out)
{
    gk_text list = {0};
    bool all;

    if (gk_plan_layers(p, f, s, &list, &all) > 0) {
        if (all && fused[f].anchored)
            gk_text_printf(out, "(.*mlp\\.)?%s", fused[f].regex);
        else if (all)
            gk_text_printf(out, ".*%s", fused[f].regex);
        else
            gk_text_printf(out, ".*layers\\.(%s)\\.%s%s", list.data,
                           fused[f].anchored ? "mlp\\." : f == GK_FUSED_EXPERTS ? "" : "(self_)?",
                           fused[f].regex);
        out->failed |= list.failed;
    }
    gk_text_free(&list);
}

/* Modules of their own, by name; router and embedding so that engine names match too. */
static void lone_patterns(const gk_plan *p, const gk_scheme *s, gk_pattern_fn *add, void *context)
{
    bool router = false, embedding = false;
    int64_t layer;

    for (uint64_t i = 0; i < p->n_items; i++) {
        const gk_plan_item *item = &p->item[i];
        const char *name = item->from->name;
        gk_text text = {0};
        if (!is_module(item) || !wants(item, s) || gk_fused_of(name, &layer) != GK_FUSED_NONE
            || !gk_ends_with(name, ".weight"))
            continue;
        if (strstr(name, "block_sparse_moe.gate.") != NULL) {
            if (!router)
                add(context, ".*(block_sparse_moe|moe_block)\\.gate$", true);
            router = true;
        } else if (strstr(name, "embed_tokens") != NULL) {
            if (!embedding)
                add(context, ".*embed_tokens$", true);
            embedding = true;
        } else {
            gk_text_add(&text, name, strlen(name) - strlen(".weight"));
            add(context, text.failed ? name : text.data, false);
        }
        gk_text_free(&text);
    }
}

bool gk_plan_patterns(const gk_plan *p, const gk_scheme *s, gk_pattern_fn *add, void *context,
                      gk_err *err)
{
    bool ok = true;

    for (int f = 0; ok && f < GK_FUSED_NONE; f++) {
        gk_text text = {0};
        add_pattern(p, (gk_fused)f, s, &text);
        ok = !text.failed || gk_text_ok(&text, err);
        if (ok && text.len > 0)
            add(context, text.data, true);
        gk_text_free(&text);
    }
    lone_patterns(p, s, add, context);
    return ok;
}
