/* formats/grok2.c - one table of kinds says everything about names and shapes. */
#include "formats/grok2.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/checked.h"

enum size { ONE, HIDDEN, Q_WIDTH, KV_WIDTH, DENSE, MOE, EXPERTS, VOCAB, HALF_HEAD };
enum scope { MODEL, LAYER, EXPERT };
enum when { ALWAYS, WITH_DENSE, UNLESS_TIED, WITH_QKV_BIAS, WITH_O_BIAS, NEVER };

/* dim[1] ONE marks a vector. Column-parallel matrices are cut on dim 0, row-parallel
 * ones on dim 1, tables by vocabulary: Megatron's convention, as SGLang loads it. */
struct kind {
    gk_weight     role;
    const char *name; /* between the prefix and the suffix */
    enum scope  scope;
    enum size   dim[2];
    int         axis;
    enum when   when;   /* it is demanded; UNLESS_TIED and NEVER may be there anyway */
    const char *suffix; /* NULL: ".weight" */
};

/* In the order of the release's groups. */
static const struct kind grok_kinds[] = {
    {GK_WEIGHT_EMBEDDING, "model.embed_tokens", MODEL, {VOCAB, HIDDEN}, 0, ALWAYS, NULL},
    {GK_WEIGHT_HEAD, "lm_head", MODEL, {VOCAB, HIDDEN}, 0, UNLESS_TIED, NULL},
    {GK_WEIGHT_FINAL_NORM, "model.norm", MODEL, {HIDDEN, ONE}, -1, ALWAYS, NULL},
    {GK_WEIGHT_GATE, "mlp.gate_proj", LAYER, {DENSE, HIDDEN}, 0, WITH_DENSE, NULL},
    {GK_WEIGHT_DOWN, "mlp.down_proj", LAYER, {HIDDEN, DENSE}, 1, WITH_DENSE, NULL},
    {GK_WEIGHT_UP, "mlp.up_proj", LAYER, {DENSE, HIDDEN}, 0, WITH_DENSE, NULL},
    {GK_WEIGHT_EXPERT_GATE, "w1", EXPERT, {MOE, HIDDEN}, 0, ALWAYS, NULL},
    {GK_WEIGHT_EXPERT_DOWN, "w2", EXPERT, {HIDDEN, MOE}, 1, ALWAYS, NULL},
    {GK_WEIGHT_EXPERT_UP, "w3", EXPERT, {MOE, HIDDEN}, 0, ALWAYS, NULL},
    {GK_WEIGHT_K, "self_attn.k_proj", LAYER, {KV_WIDTH, HIDDEN}, 0, ALWAYS, NULL},
    {GK_WEIGHT_O, "self_attn.o_proj", LAYER, {HIDDEN, Q_WIDTH}, 1, ALWAYS, NULL},
    {GK_WEIGHT_Q, "self_attn.q_proj", LAYER, {Q_WIDTH, HIDDEN}, 0, ALWAYS, NULL},
    {GK_WEIGHT_V, "self_attn.v_proj", LAYER, {KV_WIDTH, HIDDEN}, 0, ALWAYS, NULL},
    {GK_WEIGHT_PRE_ATTN_NORM, "pre_attn_norm", LAYER, {HIDDEN, ONE}, -1, ALWAYS, NULL},
    {GK_WEIGHT_POST_ATTN_NORM, "post_attn_norm", LAYER, {HIDDEN, ONE}, -1, ALWAYS, NULL},
    {GK_WEIGHT_PRE_FFN_NORM, "pre_moe_norm", LAYER, {HIDDEN, ONE}, -1, ALWAYS, NULL},
    {GK_WEIGHT_POST_FFN_NORM, "post_moe_norm", LAYER, {HIDDEN, ONE}, -1, ALWAYS, NULL},
    {GK_WEIGHT_ROUTER, "block_sparse_moe.gate", LAYER, {EXPERTS, HIDDEN}, -1, ALWAYS, NULL},
};

static const struct kind llama_kinds[] = {
    {GK_WEIGHT_EMBEDDING, "model.embed_tokens", MODEL, {VOCAB, HIDDEN}, 0, ALWAYS, NULL},
    {GK_WEIGHT_HEAD, "lm_head", MODEL, {VOCAB, HIDDEN}, 0, UNLESS_TIED, NULL},
    {GK_WEIGHT_FINAL_NORM, "model.norm", MODEL, {HIDDEN, ONE}, -1, ALWAYS, NULL},
    {GK_WEIGHT_PRE_ATTN_NORM, "input_layernorm", LAYER, {HIDDEN, ONE}, -1, ALWAYS, NULL},
    {GK_WEIGHT_Q, "self_attn.q_proj", LAYER, {Q_WIDTH, HIDDEN}, 0, ALWAYS, NULL},
    {GK_WEIGHT_K, "self_attn.k_proj", LAYER, {KV_WIDTH, HIDDEN}, 0, ALWAYS, NULL},
    {GK_WEIGHT_V, "self_attn.v_proj", LAYER, {KV_WIDTH, HIDDEN}, 0, ALWAYS, NULL},
    {GK_WEIGHT_O, "self_attn.o_proj", LAYER, {HIDDEN, Q_WIDTH}, 1, ALWAYS, NULL},
    {GK_WEIGHT_Q_BIAS, "self_attn.q_proj", LAYER, {Q_WIDTH, ONE}, 0, WITH_QKV_BIAS, ".bias"},
    {GK_WEIGHT_K_BIAS, "self_attn.k_proj", LAYER, {KV_WIDTH, ONE}, 0, WITH_QKV_BIAS, ".bias"},
    {GK_WEIGHT_V_BIAS, "self_attn.v_proj", LAYER, {KV_WIDTH, ONE}, 0, WITH_QKV_BIAS, ".bias"},
    {GK_WEIGHT_O_BIAS, "self_attn.o_proj", LAYER, {HIDDEN, ONE}, -1, WITH_O_BIAS, ".bias"},
    {GK_WEIGHT_PRE_FFN_NORM, "post_attention_layernorm", LAYER, {HIDDEN, ONE}, -1, ALWAYS, NULL},
    {GK_WEIGHT_GATE, "mlp.gate_proj", LAYER, {DENSE, HIDDEN}, 0, WITH_DENSE, NULL},
    {GK_WEIGHT_UP, "mlp.up_proj", LAYER, {DENSE, HIDDEN}, 0, WITH_DENSE, NULL},
    {GK_WEIGHT_DOWN, "mlp.down_proj", LAYER, {HIDDEN, DENSE}, 1, WITH_DENSE, NULL},
    {GK_WEIGHT_ROPE_FACTORS, "rope_freqs", MODEL, {HALF_HEAD, ONE}, -1, NEVER, NULL},
    {GK_WEIGHT_IGNORED, "self_attn.rotary_emb.inv_freq", LAYER, {HALF_HEAD, ONE}, -1, NEVER, ""},
};

#define N(a)      ((int)(sizeof(a) / sizeof(a)[0]))
#define N_GROUPS  N(grok_kinds)
#define LAYERS    "model.layers."
#define EXPERTS_  ".block_sparse_moe.experts."
#define MAX_COUNT (UINT64_C(1) << 24) /* layers, experts, heads: far above any model */

enum head { HEAD_OWN, HEAD_BY_CONFIG, HEAD_OPTIONAL };
enum bias { BIAS_NONE, BIAS_QKV, BIAS_BY_CONFIG };

/* A family's side of config.json. Widths: NULL key, no such part. */
static const struct family {
    const char        *name, *title;
    const char        *class[3]; /* of "architectures" */
    const struct kind *kind;
    int                n_kinds;
    const char        *moe_key, *dense_key, *dense_if; /* a boolean that switches it on */
    enum head          head;
    enum bias          bias;
    bool               kv_heads_default; /* num_key_value_heads may be absent: all heads */
} families[GK_N_FAMILIES] = {
    [GK_FAMILY_UNKNOWN] = {.name = "unknown"},
    [GK_FAMILY_GROK2] = {"grok2", "Grok-2", {"Grok1ForCausalLM"}, grok_kinds, N(grok_kinds),
                         .moe_key = "moe_intermediate_size", .dense_key = "intermediate_size",
                         .dense_if = "residual_moe"},
    [GK_FAMILY_GROK1] = {"grok1", "Grok-1",
                         {"Grok1ForCausalLM", "GrokForCausalLM", "Grok1ModelForCausalLM"},
                         grok_kinds, N(grok_kinds), .moe_key = "intermediate_size",
                         .head = HEAD_OPTIONAL, .kv_heads_default = true},
    [GK_FAMILY_LLAMA] = {"llama", "Llama", {"LlamaForCausalLM"}, llama_kinds, N(llama_kinds),
                         .dense_key = "intermediate_size", .head = HEAD_BY_CONFIG,
                         .bias = BIAS_BY_CONFIG, .kv_heads_default = true},
    [GK_FAMILY_MISTRAL] = {"mistral", "Mistral", {"MistralForCausalLM"}, llama_kinds,
                           N(llama_kinds), .dense_key = "intermediate_size",
                           .head = HEAD_BY_CONFIG, .kv_heads_default = true},
    [GK_FAMILY_QWEN2] = {"qwen2", "Qwen2", {"Qwen2ForCausalLM"}, llama_kinds, N(llama_kinds),
                         .dense_key = "intermediate_size", .head = HEAD_BY_CONFIG,
                         .bias = BIAS_QKV, .kv_heads_default = true},
};

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
    case HALF_HEAD: return g->head_dim / 2;
    case ONE: break;
    }
    return 1;
}

static bool has_kind(const gk_grok2 *g, const struct kind *k)
{
    switch (k->when) {
    case WITH_DENSE: return g->dense > 0;
    case WITH_QKV_BIAS: return g->qkv_bias;
    case WITH_O_BIAS: return g->o_bias;
    case ALWAYS:
    case UNLESS_TIED:
    case NEVER: break;
    }
    return true;
}

static bool is_optional(const gk_grok2 *g, const struct kind *k)
{
    return k->when == NEVER || (k->when == UNLESS_TIED && g->tied);
}

/* ---- which family ---------------------------------------------------------- */

/* One class name stands for two models; Grok-2 is the one with a second MLP width. */
static bool is_grok2(const gk_json *config)
{
    bool residual = false;

    gk_json_as_bool(gk_json_get(config, "residual_moe"), &residual);
    return residual || gk_json_get(config, "moe_intermediate_size") != NULL;
}

/* The class of transformers' that a model_type stands for: its MODEL_FOR_CAUSAL_LM_MAPPING, and
 * what the repositories of Grok-1 say. The one of Grok-2, "git", is that of other models. */
static const struct model_type {
    const char *name, *class;
} model_types[] = {
    {"llama", "LlamaForCausalLM"},     {"mistral", "MistralForCausalLM"},
    {"mixtral", "MixtralForCausalLM"}, {"qwen2", "Qwen2ForCausalLM"},
    {"grok-1", "Grok1ForCausalLM"},    {"grok1", "Grok1ForCausalLM"},
};

const char *gk_architecture(const gk_json *config, bool *guessed)
{
    const gk_json *list = gk_json_get(config, "architectures");
    const char *name = gk_json_text(gk_json_at(list, 0), NULL);
    const char *type = gk_json_text(gk_json_get(config, "model_type"), NULL);

    *guessed = false;
    if (name == NULL)
        name = gk_json_text(list, NULL);
    if (name != NULL)
        return name;
    for (int i = 0; type != NULL && i < N(model_types); i++)
        if (strcmp(model_types[i].name, type) == 0)
            return *guessed = true, model_types[i].class;
    *guessed = gk_json_get(config, "embedding_multiplier_scale") != NULL && is_grok2(config);
    return *guessed ? "Grok1ForCausalLM" : NULL;
}

gk_family gk_family_of(const gk_json *config)
{
    bool guessed;
    const char *name = gk_architecture(config, &guessed);

    for (int f = 1; name != NULL && f < GK_N_FAMILIES; f++)
        for (int i = 0; i < N(families[f].class) && families[f].class[i] != NULL; i++)
            if (strcmp(families[f].class[i], name) == 0
                && (f != GK_FAMILY_GROK2 || is_grok2(config)))
                return (gk_family)f;
    return GK_FAMILY_UNKNOWN;
}

const char *gk_family_name(gk_family family)
{
    return families[family].name;
}

bool gk_grok2_is(const gk_json *config)
{
    return gk_family_of(config) == GK_FAMILY_GROK2;
}

/* ---- sizes ------------------------------------------------------------------ */

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

/* The widths of the two kinds of MLP, and how many experts. */
static bool read_widths(const gk_json *config, const struct family *f, gk_grok2 *g, gk_err *err)
{
    /* vLLM takes either name */
    const char *experts = gk_json_get(config, "num_local_experts") == NULL
                                  && gk_json_get(config, "num_experts") != NULL
                              ? "num_experts"
                              : "num_local_experts";
    bool dense = f->dense_key != NULL && f->dense_if == NULL;

    if (f->dense_if != NULL)
        gk_json_as_bool(gk_json_get(config, f->dense_if), &dense);
    return (f->moe_key == NULL
            || (read_count(config, f->moe_key, UINT32_MAX, &g->moe, err)
                && read_count(config, experts, MAX_COUNT, &g->experts, err)))
           && read_count(config, "vocab_size", UINT32_MAX, &g->vocab, err)
           && (!dense || read_count(config, f->dense_key, UINT32_MAX, &g->dense, err));
}

static void read_options(const gk_json *config, const struct family *f, gk_grok2 *g)
{
    bool bias = f->bias == BIAS_QKV;

    g->tied = f->head == HEAD_OPTIONAL;
    if (f->head == HEAD_BY_CONFIG)
        gk_json_as_bool(gk_json_get(config, "tie_word_embeddings"), &g->tied);
    if (f->bias == BIAS_BY_CONFIG)
        gk_json_as_bool(gk_json_get(config, "attention_bias"), &bias);
    g->qkv_bias = bias;
    g->o_bias = bias && f->bias == BIAS_BY_CONFIG;
}

static bool refuse_unknown(const gk_json *config, gk_err *err)
{
    bool guessed;
    const char *name = gk_architecture(config, &guessed);
    const char *type = gk_json_text(gk_json_get(config, "model_type"), NULL);
    char known[80] = "";

    for (int f = 1; f < GK_N_FAMILIES; f++)
        snprintf(known + strlen(known), sizeof known - strlen(known), "%s%s", f > 1 ? ", " : "",
                 families[f].name);
    if (name != NULL)
        gk_fail(err, GK_ERR_UNSUPPORTED, GK_NO_OFF,
                "the architecture '%.60s' is not known, only %s", name, known);
    else
        gk_fail(err, GK_ERR_UNSUPPORTED, GK_NO_OFF,
                "no \"architectures\", and %s%.60s%s; name the class of the model there (known "
                "are %s)",
                type == NULL ? "no \"model_type\"" : "nothing is known of the model_type '",
                type == NULL ? "" : type, type == NULL ? "" : "'", known);
    return gk_fail_at(err, "config.json", NULL);
}

bool gk_grok2_sizes(const gk_json *config, gk_grok2 *g, gk_err *err)
{
    *g = (gk_grok2){.family = gk_family_of(config)};
    const struct family *f = &families[g->family];

    if (g->family == GK_FAMILY_UNKNOWN)
        return refuse_unknown(config, err);
    if (!read_count(config, "hidden_size", UINT32_MAX, &g->hidden, err)
        || !read_count(config, "num_hidden_layers", MAX_COUNT, &g->layers, err)
        || !read_count(config, "num_attention_heads", MAX_COUNT, &g->heads, err))
        return false;
    g->kv_heads = g->heads;
    if (!(f->kv_heads_default && gk_json_is_null(gk_json_get(config, "num_key_value_heads")))
        && !read_count(config, "num_key_value_heads", MAX_COUNT, &g->kv_heads, err))
        return false;
    if (!read_widths(config, f, g, err))
        return false;
    read_options(config, f, g);
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

/* ---- names ------------------------------------------------------------------ */

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

static const char *suffix_of(const struct kind *k)
{
    return k->suffix == NULL ? ".weight" : k->suffix;
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
    const struct family *f = &families[g->family];
    for (int i = 0; i < f->n_kinds; i++) {
        const struct kind *k = &f->kind[i];
        const size_t len = strlen(k->name);
        if (k->scope != scope || !has_kind(g, k) || strncmp(rest, k->name, len) != 0
            || strcmp(rest + len, suffix_of(k)) != 0)
            continue;
        out->dim[0] = size_of(g, k->dim[0]);
        out->dim[1] = size_of(g, k->dim[1]);
        out->ndim = k->dim[1] == ONE ? 1 : 2;
        out->axis = k->axis;
        out->role = k->role;
        out->kind = k->name;
        out->optional = is_optional(g, k);
        return true;
    }
    return false;
}

static const struct kind *kind_of(const gk_grok2 *g, gk_weight role)
{
    const struct family *f = &families[g->family];

    for (int i = 0; i < f->n_kinds; i++)
        if (f->kind[i].role == role)
            return has_kind(g, &f->kind[i]) ? &f->kind[i] : NULL;
    return NULL;
}

bool gk_grok2_has(const gk_grok2 *g, gk_weight role)
{
    return kind_of(g, role) != NULL;
}

static const char *spell(const struct kind *k, uint64_t layer, uint64_t expert,
                         char out[GK_GROK2_NAME])
{
    const char *suffix = suffix_of(k);

    switch (k->scope) {
    case MODEL: snprintf(out, GK_GROK2_NAME, "%s%s", k->name, suffix); break;
    case LAYER:
        snprintf(out, GK_GROK2_NAME, LAYERS "%" PRIu64 ".%s%s", layer, k->name, suffix);
        break;
    case EXPERT:
        snprintf(out, GK_GROK2_NAME, LAYERS "%" PRIu64 EXPERTS_ "%" PRIu64 ".%s%s", layer, expert,
                 k->name, suffix);
        break;
    }
    return out;
}

const char *gk_grok2_spell(const gk_grok2 *g, gk_weight role, uint64_t layer, uint64_t expert,
                           char out[GK_GROK2_NAME])
{
    const struct kind *k = kind_of(g, role);

    out[0] = '\0';
    return k == NULL ? out : spell(k, layer, expert, out);
}

static uint64_t copies(const gk_grok2 *g, const struct kind *k)
{
    if (!has_kind(g, k) || is_optional(g, k))
        return 0;
    return k->scope == MODEL ? 1 : k->scope == LAYER ? g->layers : g->layers * g->experts;
}

uint64_t gk_grok2_count(const gk_grok2 *g)
{
    uint64_t n = 0;

    for (int i = 0; i < families[g->family].n_kinds; i++)
        n += copies(g, &families[g->family].kind[i]);
    return n;
}

const char *gk_grok2_name(const gk_grok2 *g, uint64_t i, gk_arena *a, gk_err *err)
{
    const struct kind *k = families[g->family].kind;
    char name[GK_GROK2_NAME];

    for (; i >= copies(g, k); k++)
        i -= copies(g, k);
    return k->scope == EXPERT
               ? gk_arena_str(a, spell(k, i / g->experts, i % g->experts, name), err)
               : gk_arena_str(a, spell(k, i, 0, name), err);
}

/* ---- a catalog against its config ---------------------------------------- */

static bool shape_fits(const gk_tensor *t, const gk_grok2_shape *shape)
{
    bool fits = t->ndim == shape->ndim;

    for (int i = 0; fits && i < t->ndim; i++)
        fits = t->dim[i] == shape->dim[i];
    return fits;
}

static const char *key_of(const gk_grok2 *g, enum size s)
{
    static const char *const keys[] = {
        [ONE] = "",
        [HIDDEN] = "hidden_size",
        [Q_WIDTH] = "num_attention_heads x head_dim",
        [KV_WIDTH] = "num_key_value_heads x head_dim",
        [EXPERTS] = "num_local_experts",
        [VOCAB] = "vocab_size",
        [HALF_HEAD] = "head_dim / 2",
    };

    return s == DENSE ? families[g->family].dense_key
           : s == MOE ? families[g->family].moe_key
                      : keys[s];
}

static bool say_shape(gk_catalog *c, const gk_grok2 *g, const gk_tensor *t,
                      const gk_grok2_shape *shape, gk_err *err)
{
    const struct kind *k = kind_of(g, shape->role);
    gk_text text = {0};

    gk_text_str(&text, "shape mismatch: it is [");
    for (int i = 0; i < t->ndim; i++)
        gk_text_printf(&text, "%s%" PRIu64, i > 0 ? ", " : "", t->dim[i]);
    gk_text_str(&text, "], config.json demands [");
    for (int i = 0; i < shape->ndim; i++)
        gk_text_printf(&text, "%s%" PRIu64, i > 0 ? ", " : "", shape->dim[i]);
    gk_text_printf(&text, "] (%s%s%s)", key_of(g, k->dim[0]), shape->ndim > 1 ? ", " : "",
                   key_of(g, k->dim[1]));
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
    bool seen[N_GROUPS] = {false};
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
        const long group = digits > 0 && digits < 9 ? strtol(tag - digits, NULL, 10) : N_GROUPS;
        if (group < N_GROUPS) {
            seen[group] = true;
            sample = name;
        }
    }
    for (int i = 0; i < N_GROUPS && sample != NULL; i++)
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
             sample, (int)digits, gap, grok_kinds[kind].scope == EXPERT ? "000" : "common");
}

static bool say_missing(gk_catalog *c, const gk_grok2 *g, int kind, const uint64_t *count,
                        gk_err *err)
{
    const struct family *f = &families[g->family];
    const struct kind *k = &f->kind[kind];
    uint64_t first = 0, others = 0;
    const char *name = NULL;
    char file[256] = "", experts[48] = "";

    for (int i = 0; i < f->n_kinds; i++)
        others += i != kind && count[f->kind[i].role] < copies(g, &f->kind[i]);
    for (int i = 0; i < kind; i++)
        first += copies(g, &f->kind[i]);
    /* at most as many names are tried as there are tensors of the kind */
    do
        name = gk_grok2_name(g, first++, c->arena, err);
    while (name != NULL && gk_catalog_find(c, name) != NULL);
    if (name == NULL)
        return false;
    if (f->kind == grok_kinds)
        guess_file(c, kind, others == 0, file, sizeof file);
    if (g->experts > 0)
        snprintf(experts, sizeof experts, ", num_local_experts %" PRIu64, g->experts);
    return gk_findings_addf(&c->findings, "missing", GK_BAD, file, name, err,
                            "missing: %" PRIu64 " of %" PRIu64 " tensors \"%s%s\" that "
                            "config.json demands (num_hidden_layers %" PRIu64 "%s) are not there",
                            copies(g, k) - count[k->role], copies(g, k), k->name,
                            k->suffix == NULL ? "" : k->suffix, g->layers, experts);
}

static bool check_tensor(gk_catalog *c, const gk_grok2 *g, const gk_tensor *t, uint64_t *count,
                         gk_err *err)
{
    gk_grok2_shape shape;

    if (!gk_grok2_shape_of(g, t->name, &shape))
        return gk_findings_addf(&c->findings, "unknown", GK_WARN,
                                t->whole != NULL ? c->input[t->whole->input].name : NULL, t->name,
                                err, "unknown tensor: no part of %s has this name",
                                families[g->family].title);
    count[shape.role]++;
    return t->n_parts == 0 || shape_fits(t, &shape) || say_shape(c, g, t, &shape, err);
}

/* Engines ask for both keys. */
static bool say_guessed(gk_catalog *c, gk_err *err)
{
    bool guessed;
    const char *name = gk_architecture(c->config, &guessed);

    if (guessed)
        return gk_findings_addf(&c->findings, "config", GK_NOTE, "config.json", NULL, err,
                                "no \"architectures\": by its other keys it is a %s, which "
                                "engines may want to read there", name);
    return gk_json_get(c->config, "model_type") != NULL
           || gk_findings_addf(&c->findings, "config", GK_NOTE, "config.json", NULL, err,
                               "no \"model_type\": transformers and engines on top of it will "
                               "not know what %s is", name);
}

bool gk_grok2_check(gk_catalog *c, gk_err *err)
{
    uint64_t count[GK_N_WEIGHTS] = {0};
    gk_err own = {0};
    gk_grok2 g;

    if (gk_family_of(c->config) == GK_FAMILY_UNKNOWN)
        return true;
    if (!say_guessed(c, err))
        return false;
    if (!gk_grok2_sizes(c->config, &g, &own)) {
        /* those who read a release, or make a config of a GGUF's keys, have said so already */
        return strcmp(c->format, "release") == 0 || c->gguf != NULL
               || gk_findings_take(&c->findings, "config", &own, err);
    }
    const struct family *f = &families[g.family];
    for (uint64_t i = 0; i < c->n_tensors; i++)
        if (!check_tensor(c, &g, &c->tensor[i], count, err))
            return false;
    for (int k = 0; k < f->n_kinds; k++)
        if (count[f->kind[k].role] < copies(&g, &f->kind[k])
            && !say_missing(c, &g, k, count, err))
            return false;
    return true;
}
