/* quant/fused.c - fused modules, and compressed-tensors' quantization_config.
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

#define MAX_SCHEMES 16

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

/* The largest allowed group that divides every width; 0: none does. */
static uint64_t group_for(const member *m, uint64_t n, uint64_t group)
{
    for (; group >= 32; group /= 2) {
        uint64_t i = 0;
        while (i < n && gk_cols(m[i].item->from) % group == 0)
            i++;
        if (i == n)
            return group;
    }
    return 0;
}

static bool shrink(gk_plan *p, const member *m, uint64_t n, gk_err *err)
{
    const gk_scheme was = m[0].item->to;
    const uint64_t group = group_for(m, n, was.group);

    if (group == was.group)
        return true;
    if (p->options.strict) {
        gk_fail(err, GK_ERR_UNSUPPORTED, GK_NO_OFF,
                "%s does not divide its module's widths (--strict)", was.name);
        return gk_fail_at(err, NULL, m[0].item->from->name);
    }
    for (uint64_t i = 0; i < n; i++) {
        gk_plan_item *item = m[i].item;
        if (group > 0) {
            item->to = gk_scheme_int(was.bits, group, was.symmetric);
            item->to.layout = was.layout;
            item->to.scales = was.scales;
        } else if (!gk_scheme_parse("keep", &item->to, err)) {
            return false;
        }
        item->why = GK_WHY_WIDTH;
        if (!gk_findings_addf(&p->notes, "width", GK_NOTE, NULL, item->from->name, err,
                              "%s becomes %s: no group of %s divides its width or that of a matrix "
                              "which engines fuse with it",
                              was.name, item->to.name, was.name))
            return false;
    }
    return true;
}

static bool fit_module(gk_plan *p, const member *m, uint64_t n, gk_err *err)
{
    const gk_scheme *s = &m[0].item->to;
    const bool check = !p->options.no_engine_check;

    for (uint64_t i = 1; check && m[0].fused != GK_FUSED_NONE && i < n; i++)
        if (!gk_scheme_same(&m[i].item->to, s))
            return disagree(&m[0], &m[i], err);
    if (check && m[0].fused == GK_FUSED_EXPERTS && s->kind == GK_SCHEME_INT && !s->symmetric) {
        gk_fail(err, GK_ERR_ARG, GK_NO_OFF,
                "%s: vLLM loads only symmetric experts (--no-engine-check writes them anyway)",
                s->name);
        return gk_fail_at(err, NULL, m[0].item->from->name);
    }
    /* seen with vLLM 0.24: compressed_tensors_moe_wna16_marlin.py asserts group_size == -1 */
    if (check && m[0].fused == GK_FUSED_EXPERTS && s->kind == GK_SCHEME_INT && s->bits == 8
        && s->group > 0
        && !gk_findings_addf(&p->notes, "engine", GK_WARN, NULL, m[0].item->from->name, err,
                             "vLLM 0.24 loads 8-bit experts with one scale a row only: for it, add "
                             "--rule 'experts=int8-channel'"))
        return false;
    for (uint64_t i = 0; i < n; i++) /* unequal parts shrink one by one */
        if (m[i].item->to.kind == GK_SCHEME_INT && m[i].item->to.group > 0) {
            const bool together = gk_scheme_same(&m[i].item->to, s) && i == 0;
            if (!shrink(p, &m[i], together ? n : 1, err))
                return false;
        }
    return true;
}

/* A scheme that no engine loads for such a module: router, embedding, head. */
static bool refuse_unloadable(const gk_plan *p, const gk_plan_item *item, gk_err *err)
{
    if (p->options.no_engine_check || item->to.kind != GK_SCHEME_INT
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
    }
    gk_free(m);
    return ok;
}

/* ---- quantization_config ---------------------------------------------------- */

typedef struct describe {
    const gk_plan *p;
    gk_text       *out;
    gk_scheme      scheme[MAX_SCHEMES];
    int            n_schemes, main; /* the one that "Linear" stands for */
} describe;

static bool is_module(const gk_plan_item *item)
{
    return item->from->ndim == 2;
}

static bool collect_schemes(describe *d, gk_err *err)
{
    uint64_t weights[MAX_SCHEMES] = {0};
    int experts = -1;

    for (uint64_t i = 0; i < d->p->n_items; i++) {
        const gk_plan_item *item = &d->p->item[i];
        int64_t layer;
        int k = 0;
        if (item->to.kind != GK_SCHEME_INT)
            continue;
        while (k < d->n_schemes && !gk_scheme_same(&d->scheme[k], &item->to))
            k++;
        if (k == MAX_SCHEMES)
            return gk_fail(err, GK_ERR_LIMIT, GK_NO_OFF, "more than %d schemes", MAX_SCHEMES);
        if (k == d->n_schemes)
            d->scheme[d->n_schemes++] = item->to;
        weights[k] += gk_rows(item->from) * gk_cols(item->from);
        if (experts < 0 && gk_fused_of(item->from->name, &layer) == GK_FUSED_EXPERTS)
            experts = k;
    }
    for (int k = 0; k < d->n_schemes; k++)
        if (weights[k] > weights[d->main])
            d->main = k;
    if (experts >= 0) /* the engines' fused experts ask for "Linear" by that word */
        d->main = experts;
    return true;
}

static bool wants(const gk_plan_item *item, const gk_scheme *s)
{
    return s != NULL ? gk_scheme_same(&item->to, s) : item->to.kind != GK_SCHEME_INT;
}

/* The layers of fused module f with the scheme, as "3|5"; *all: every one has it.
 * Items come layer by layer, so a layer's parts stand close. */
static uint64_t layers_of(const describe *d, gk_fused f, const gk_scheme *s, gk_text *list,
                          bool *all)
{
    int64_t last = -1, layer;
    uint64_t n = 0;

    *all = true;
    for (uint64_t i = 0; i < d->p->n_items; i++) {
        const gk_plan_item *item = &d->p->item[i];
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

static void add_target(const describe *d, gk_fused f, const gk_scheme *s)
{
    gk_text list = {0}, text = {0};
    bool all;

    if (layers_of(d, f, s, &list, &all) > 0) {
        if (all && fused[f].anchored)
            gk_text_printf(&text, "re:(.*mlp\\.)?%s", fused[f].regex);
        else if (all)
            gk_text_printf(&text, "re:.*%s", fused[f].regex);
        else
            gk_text_printf(&text, "re:.*layers\\.(%s)\\.%s%s", list.data,
                           fused[f].anchored ? "mlp\\." : f == GK_FUSED_EXPERTS ? "" : "(self_)?",
                           fused[f].regex);
        gk_json_string(d->out, NULL, text.data);
        d->out->failed |= text.failed || list.failed;
    }
    gk_text_free(&list);
    gk_text_free(&text);
}

/* Modules of their own, by name; router and embedding so that engine names match too. */
static void add_lone_targets(const describe *d, const gk_scheme *s)
{
    bool router = false, embedding = false;
    int64_t layer;

    for (uint64_t i = 0; i < d->p->n_items; i++) {
        const gk_plan_item *item = &d->p->item[i];
        const char *name = item->from->name;
        const size_t n = strlen(name);
        if (!is_module(item) || !wants(item, s) || gk_fused_of(name, &layer) != GK_FUSED_NONE
            || n < 7 || strcmp(name + n - 7, ".weight") != 0)
            continue;
        if (strstr(name, "block_sparse_moe.gate.") != NULL) {
            if (!router)
                gk_json_string(d->out, NULL, "re:.*(block_sparse_moe|moe_block)\\.gate$");
            router = true;
        } else if (strstr(name, "embed_tokens") != NULL) {
            if (!embedding)
                gk_json_string(d->out, NULL, "re:.*embed_tokens$");
            embedding = true;
        } else {
            gk_json_string_n(d->out, NULL, name, n - 7);
        }
    }
}

static void add_weights(gk_text *out, const gk_scheme *s)
{
    gk_json_open(out, "weights", '{');
    gk_json_uint(out, "num_bits", (uint64_t)s->bits);
    gk_json_string(out, "type", "int");
    gk_json_bool(out, "symmetric", s->symmetric);
    gk_json_string(out, "strategy", s->group == 0 ? "channel" : "group");
    if (s->group == 0)
        gk_json_raw(out, "group_size", "-1", 2); /* vLLM compares with -1 */
    else
        gk_json_uint(out, "group_size", s->group);
    gk_json_raw(out, "block_structure", "null", 4);
    gk_json_bool(out, "dynamic", false);
    gk_json_raw(out, "actorder", "null", 4);
    gk_json_string(out, "observer", "minmax");
    gk_json_raw(out, "observer_kwargs", "{}", 2);
    gk_json_close(out, '}');
}

/* Groups that name modules come first: matchers take the first that fits. */
static void add_group(const describe *d, int k, int number)
{
    gk_text name = {0};

    gk_text_printf(&name, "group_%d", number);
    gk_json_open(d->out, name.failed ? "group" : name.data, '{');
    gk_json_open(d->out, "targets", '[');
    if (k == d->main) {
        gk_json_string(d->out, NULL, "Linear");
    } else {
        for (int f = 0; f < GK_FUSED_NONE; f++)
            add_target(d, (gk_fused)f, &d->scheme[k]);
        add_lone_targets(d, &d->scheme[k]);
    }
    gk_json_close(d->out, ']');
    add_weights(d->out, &d->scheme[k]);
    gk_json_raw(d->out, "input_activations", "null", 4);
    gk_json_raw(d->out, "output_activations", "null", 4);
    gk_json_string(d->out, "format", "pack-quantized");
    gk_json_close(d->out, '}');
    gk_text_free(&name);
}

bool gk_ct_config(const gk_plan *p, gk_text *out, gk_err *err)
{
    describe d = {.p = p, .out = out};
    int number = 0;

    if (!collect_schemes(&d, err))
        return false;
    if (d.n_schemes == 0)
        return true;
    gk_json_open(out, "quantization_config", '{');
    gk_json_string(out, "quant_method", "compressed-tensors");
    gk_json_string(out, "version", "0.13.0");
    gk_json_string(out, "format", "pack-quantized");
    gk_json_string(out, "quantization_status", "compressed");
    gk_json_raw(out, "global_compression_ratio", "null", 4);
    gk_json_raw(out, "kv_cache_scheme", "null", 4);
    gk_json_open(out, "config_groups", '{');
    for (int k = 0; k < d.n_schemes; k++)
        if (k != d.main)
            add_group(&d, k, number++);
    add_group(&d, d.main, number);
    gk_json_close(out, '}');
    gk_json_open(out, "ignore", '[');
    for (int f = 0; f < GK_FUSED_NONE; f++)
        add_target(&d, (gk_fused)f, NULL);
    add_lone_targets(&d, NULL);
    gk_json_close(out, ']');
    gk_json_close(out, '}');
    return true;
}

bool gk_plan_config_members(const gk_plan *p, gk_text *out, gk_err *err)
{
    static const char *const presharded[] = {"load_presharded_moe", "load_presharded_attn",
                                             "load_presharded_mlp", "load_presharded_embedding"};

    for (int i = 0; i < 4; i++)
        gk_json_bool(out, presharded[i], false);
    return p->options.target->config == NULL || p->options.target->config(p, out, err);
}
