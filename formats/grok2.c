/* formats/grok2.c - one table of kinds says everything about names and shapes. */
#include "formats/grok2.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/checked.h"

enum size { ONE, HIDDEN, Q_WIDTH, KV_WIDTH, DENSE, MOE, EXPERTS, VOCAB };
enum scope { MODEL, LAYER, EXPERT };

/* dim[1] ONE marks a vector. Column-parallel matrices are cut on dim 0, row-parallel
 * ones on dim 1, tables by vocabulary: Megatron's convention, as SGLang loads it. */
static const struct kind {
    const char *name; /* between the prefix and ".weight" */
    enum scope  scope;
    enum size   dim[2];
    int         axis;
    bool        dense_only;
} kinds[] = {
    {"model.embed_tokens", MODEL, {VOCAB, HIDDEN}, 0, false},
    {"lm_head", MODEL, {VOCAB, HIDDEN}, 0, false},
    {"model.norm", MODEL, {HIDDEN, ONE}, -1, false},
    {"mlp.gate_proj", LAYER, {DENSE, HIDDEN}, 0, true},
    {"mlp.down_proj", LAYER, {HIDDEN, DENSE}, 1, true},
    {"mlp.up_proj", LAYER, {DENSE, HIDDEN}, 0, true},
    {"w1", EXPERT, {MOE, HIDDEN}, 0, false},
    {"w2", EXPERT, {HIDDEN, MOE}, 1, false},
    {"w3", EXPERT, {MOE, HIDDEN}, 0, false},
    {"self_attn.k_proj", LAYER, {KV_WIDTH, HIDDEN}, 0, false},
    {"self_attn.o_proj", LAYER, {HIDDEN, Q_WIDTH}, 1, false},
    {"self_attn.q_proj", LAYER, {Q_WIDTH, HIDDEN}, 0, false},
    {"self_attn.v_proj", LAYER, {KV_WIDTH, HIDDEN}, 0, false},
    {"pre_attn_norm", LAYER, {HIDDEN, ONE}, -1, false},
    {"post_attn_norm", LAYER, {HIDDEN, ONE}, -1, false},
    {"pre_moe_norm", LAYER, {HIDDEN, ONE}, -1, false},
    {"post_moe_norm", LAYER, {HIDDEN, ONE}, -1, false},
    {"block_sparse_moe.gate", LAYER, {EXPERTS, HIDDEN}, -1, false},
};

#define N_KINDS   ((int)(sizeof kinds / sizeof kinds[0]))
#define LAYERS    "model.layers."
#define EXPERTS_  ".block_sparse_moe.experts."
#define MAX_COUNT (UINT64_C(1) << 24) /* layers, experts, heads: far above any model */

static uint64_t size_of(const gk_grok2 *g, enum size s)
{
    switch (s) {
    case HIDDEN: return g->hidden;
    case Q_WIDTH: return g->heads * g->head_dim;
    case KV_WIDTH: return g->kv_heads * g->head_dim;
    case DENSE: return g->dense;
    case MOE: return g->moe;
    case EXPERTS: return g->experts;
    case VOCAB: return g->vocab;
    case ONE: break;
    }
    return 1;
}

static bool has_kind(const gk_grok2 *g, const struct kind *k)
{
    return !k->dense_only || g->dense > 0;
}

bool gk_grok2_is(const gk_json *config)
{
    const gk_json *list = gk_json_get(config, "architectures");
    const char *name = gk_json_text(gk_json_at(list, 0), NULL);
    bool residual = false;

    if (name == NULL || strcmp(name, "Grok1ForCausalLM") != 0)
        return false;
    gk_json_as_bool(gk_json_get(config, "residual_moe"), &residual);
    return residual || gk_json_get(config, "moe_intermediate_size") != NULL;
}

static bool read_count(const gk_json *config, const char *key, uint64_t max, uint64_t *out,
                       gk_err *err)
{
    const gk_json *node = gk_json_get(config, key);

    if (gk_json_is_null(node))
        gk_fail(err, GK_ERR_FORMAT, GK_NO_OFF, "key \"%s\" is missing", key);
    else if (!gk_json_as_uint(node, out))
        gk_fail(err, GK_ERR_FORMAT, GK_NO_OFF, "\"%s\" must be an integer number >= 0", key);
    else if (*out == 0 || *out > max)
        gk_fail(err, GK_ERR_FORMAT, GK_NO_OFF,
                "\"%s\" is %" PRIu64 ", out of the range 1 to %" PRIu64, key, *out, max);
    else
        return true;
    return gk_fail_at(err, "config.json", NULL);
}

bool gk_grok2_sizes(const gk_json *config, gk_grok2 *g, gk_err *err)
{
    /* vLLM takes either name */
    const char *experts = gk_json_get(config, "num_local_experts") == NULL
                                  && gk_json_get(config, "num_experts") != NULL
                              ? "num_experts"
                              : "num_local_experts";
    bool residual = false;

    *g = (gk_grok2){0};
    gk_json_as_bool(gk_json_get(config, "residual_moe"), &residual);
    bool ok = read_count(config, "hidden_size", UINT32_MAX, &g->hidden, err)
              && read_count(config, "num_hidden_layers", MAX_COUNT, &g->layers, err)
              && read_count(config, "num_attention_heads", MAX_COUNT, &g->heads, err)
              && read_count(config, "num_key_value_heads", MAX_COUNT, &g->kv_heads, err)
              && read_count(config, "moe_intermediate_size", UINT32_MAX, &g->moe, err)
              && read_count(config, experts, MAX_COUNT, &g->experts, err)
              && read_count(config, "vocab_size", UINT32_MAX, &g->vocab, err)
              && (!residual
                  || read_count(config, "intermediate_size", UINT32_MAX, &g->dense, err));
    if (!ok)
        return false;
    if (gk_json_is_null(gk_json_get(config, "head_dim")))
        g->head_dim = g->hidden / g->heads;
    else if (!read_count(config, "head_dim", MAX_COUNT, &g->head_dim, err))
        return false;
    if (g->head_dim == 0 || g->heads % g->kv_heads != 0) {
        gk_fail(err, GK_ERR_FORMAT, GK_NO_OFF,
                "num_attention_heads %" PRIu64 " is no multiple of num_key_value_heads %" PRIu64,
                g->heads, g->kv_heads);
        return gk_fail_at(err, "config.json", NULL);
    }
    return true;
}

/* Takes a decimal number without leading zeros; returns what follows, or NULL. */
static const char *take_number(const char *s, uint64_t limit, int64_t *out)
{
    char *end;

    if (*s < '0' || *s > '9' || (s[0] == '0' && s[1] >= '0' && s[1] <= '9'))
        return NULL;
    const unsigned long long v = strtoull(s, &end, 10);
    if (v >= limit)
        return NULL;
    *out = (int64_t)v;
    return end;
}

bool gk_grok2_shape_of(const gk_grok2 *g, const char *name, gk_grok2_shape *out)
{
    const char *rest = name;
    enum scope scope = MODEL;

    *out = (gk_grok2_shape){.layer = -1, .expert = -1};
    if (strncmp(name, LAYERS, strlen(LAYERS)) == 0) {
        scope = LAYER;
        rest = take_number(name + strlen(LAYERS), g->layers, &out->layer);
        if (rest != NULL && strncmp(rest, EXPERTS_, strlen(EXPERTS_)) == 0) {
            scope = EXPERT;
            rest = take_number(rest + strlen(EXPERTS_), g->experts, &out->expert);
        }
        if (rest == NULL || *rest++ != '.')
            return false;
    }
    for (int i = 0; i < N_KINDS; i++) {
        const struct kind *k = &kinds[i];
        const size_t len = strlen(k->name);
        if (k->scope != scope || !has_kind(g, k) || strncmp(rest, k->name, len) != 0
            || strcmp(rest + len, ".weight") != 0)
            continue;
        out->dim[0] = size_of(g, k->dim[0]);
        out->dim[1] = size_of(g, k->dim[1]);
        out->ndim = k->dim[1] == ONE ? 1 : 2;
        out->axis = k->axis;
        out->kind = k->name;
        return true;
    }
    return false;
}

static uint64_t copies(const gk_grok2 *g, const struct kind *k)
{
    if (!has_kind(g, k))
        return 0;
    return k->scope == MODEL ? 1 : k->scope == LAYER ? g->layers : g->layers * g->experts;
}

uint64_t gk_grok2_count(const gk_grok2 *g)
{
    uint64_t n = 0;

    for (int i = 0; i < N_KINDS; i++)
        n += copies(g, &kinds[i]);
    return n;
}

const char *gk_grok2_name(const gk_grok2 *g, uint64_t i, gk_arena *a, gk_err *err)
{
    int k = 0;

    while (i >= copies(g, &kinds[k]))
        i -= copies(g, &kinds[k++]);
    const char *name = kinds[k].name;
    switch (kinds[k].scope) {
    case MODEL: return gk_arena_printf(a, err, "%s.weight", name);
    case LAYER: return gk_arena_printf(a, err, LAYERS "%" PRIu64 ".%s.weight", i, name);
    case EXPERT: break;
    }
    return gk_arena_printf(a, err, LAYERS "%" PRIu64 EXPERTS_ "%" PRIu64 ".%s.weight",
                           i / g->experts, i % g->experts, name);
}

/* ---- a catalog against its config ---------------------------------------- */

static int kind_index(const gk_grok2_shape *shape)
{
    int i = 0;

    while (kinds[i].name != shape->kind)
        i++;
    return i;
}

static bool shape_fits(const gk_tensor *t, const gk_grok2_shape *shape)
{
    bool fits = t->ndim == shape->ndim;

    for (int i = 0; fits && i < t->ndim; i++)
        fits = t->dim[i] == shape->dim[i];
    return fits;
}

static bool say_shape(gk_catalog *c, const gk_tensor *t, const gk_grok2_shape *shape, gk_err *err)
{
    static const char *const sizes[]
        = {"", "hidden_size", "num_attention_heads x head_dim", "num_key_value_heads x head_dim",
           "intermediate_size", "moe_intermediate_size", "num_local_experts", "vocab_size"};
    const struct kind *k = &kinds[kind_index(shape)];
    gk_text text = {0};

    gk_text_str(&text, "shape mismatch: it is [");
    for (int i = 0; i < t->ndim; i++)
        gk_text_printf(&text, "%s%" PRIu64, i > 0 ? ", " : "", t->dim[i]);
    gk_text_str(&text, "], config.json demands [");
    for (int i = 0; i < shape->ndim; i++)
        gk_text_printf(&text, "%s%" PRIu64, i > 0 ? ", " : "", shape->dim[i]);
    gk_text_printf(&text, "] (%s%s%s)", sizes[k->dim[0]], shape->ndim > 1 ? ", " : "",
                   sizes[k->dim[1]]);
    bool ok = gk_text_ok(&text, err)
              && gk_findings_addf(&c->findings, "shape", GK_BAD,
                                  t->whole != NULL ? c->input[t->whole->input].name : NULL, t->name,
                                  err, "%s", text.data);
    gk_text_free(&text);
    return ok;
}

/* The name that a release's file of this kind should have, when a number is left
 * out among the groups that were read; "" when none is. A guess for the message. */
static void guess_file(const gk_catalog *c, int kind, bool only_one, char *out, size_t size)
{
    bool seen[N_KINDS] = {false};
    const char *sample = NULL;
    int gap = -1, gaps = 0;
    size_t digits = 0;

    *out = '\0';
    for (uint64_t i = 0; i < c->n_inputs; i++) {
        const char *name = c->input[i].name, *tag = strstr(name, "-TP-");
        if (tag == NULL || !c->input[i].usable)
            continue;
        for (digits = 0; tag - digits > name && tag[-1 - (ptrdiff_t)digits] >= '0'
                         && tag[-1 - (ptrdiff_t)digits] <= '9';)
            digits++;
        const long group = digits > 0 && digits < 9 ? strtol(tag - digits, NULL, 10) : N_KINDS;
        if (group < N_KINDS) {
            seen[group] = true;
            sample = name;
        }
    }
    for (int i = 0; i < N_KINDS && sample != NULL; i++)
        if (!seen[i]) {
            gap = i;
            gaps++;
        }
    if (gaps == 0 || (gaps > 1 && seen[kind]))
        return;
    if (gaps > 1 || !only_one)
        gap = kind;
    const char *tag = strstr(sample, "-TP-");
    for (digits = 0; tag - digits > sample && tag[-1 - (ptrdiff_t)digits] >= '0'
                     && tag[-1 - (ptrdiff_t)digits] <= '9';)
        digits++;
    snprintf(out, size, "%.*s%0*d-TP-%s.safetensors", (int)(tag - sample - (ptrdiff_t)digits),
             sample, (int)digits, gap, kinds[kind].scope == EXPERT ? "000" : "common");
}

static bool say_missing(gk_catalog *c, const gk_grok2 *g, int kind, const uint64_t count[N_KINDS],
                        gk_err *err)
{
    uint64_t first = 0, others = 0;
    const char *name = NULL;
    char file[256];

    for (int i = 0; i < N_KINDS; i++)
        others += i != kind && count[i] < copies(g, &kinds[i]);
    for (int i = 0; i < kind; i++)
        first += copies(g, &kinds[i]);
    /* at most as many names are tried as there are tensors of the kind */
    do
        name = gk_grok2_name(g, first++, c->arena, err);
    while (name != NULL && gk_catalog_find(c, name) != NULL);
    if (name == NULL)
        return false;
    guess_file(c, kind, others == 0, file, sizeof file);
    return gk_findings_addf(&c->findings, "missing", GK_BAD, file, name, err,
                            "missing: %" PRIu64 " of %" PRIu64 " tensors \"%s\" that config.json "
                            "demands (num_hidden_layers %" PRIu64 ", num_local_experts %" PRIu64
                            ") are not there",
                            copies(g, &kinds[kind]) - count[kind], copies(g, &kinds[kind]),
                            kinds[kind].name, g->layers, g->experts);
}

static bool check_tensor(gk_catalog *c, const gk_grok2 *g, const gk_tensor *t,
                         uint64_t count[N_KINDS], gk_err *err)
{
    gk_grok2_shape shape;

    if (!gk_grok2_shape_of(g, t->name, &shape))
        return gk_findings_addf(&c->findings, "unknown", GK_WARN,
                                t->whole != NULL ? c->input[t->whole->input].name : NULL, t->name,
                                err, "unknown tensor: no part of Grok-2 has this name");
    count[kind_index(&shape)]++;
    return t->n_parts == 0 || shape_fits(t, &shape) || say_shape(c, t, &shape, err);
}

bool gk_grok2_check(gk_catalog *c, gk_err *err)
{
    uint64_t count[N_KINDS] = {0};
    gk_err own = {0};
    gk_grok2 g;

    if (!gk_grok2_is(c->config))
        return true;
    if (!gk_grok2_sizes(c->config, &g, &own)) {
        /* the release reader has said so already */
        return strcmp(c->format, "release") == 0
               || gk_findings_take(&c->findings, "config", &own, err);
    }
    for (uint64_t i = 0; i < c->n_tensors; i++)
        if (!check_tensor(c, &g, &c->tensor[i], count, err))
            return false;
    for (int k = 0; k < N_KINDS; k++)
        if (count[k] < copies(&g, &kinds[k]) && !say_missing(c, &g, k, count, err))
            return false;
    return true;
}
