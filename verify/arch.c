/* verify/arch.c - keys of config.json, presets, rotary frequencies. */
#include "verify/arch.h"

#include <inttypes.h>
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

static const double pi = 3.14159265358979323846;

static const struct preset {
    const char *name;
    gk_switches switches;
} presets[] = {
    {"sglang", {.router_cap = true, .temperature = true}},
    /* as llama.cpp's converter writes the file: "original" becomes yarn with magnitude */
    {"llama.cpp",
     {.gelu_tanh = true, .renorm = GK_RENORM_ON, .rope = GK_ROPE_YARN, .rope_magnitude = true}},
    /* the same engine on a file without rope scaling keys */
    {"llama.cpp-plain", {.gelu_tanh = true, .renorm = GK_RENORM_ON, .rope = GK_ROPE_ORIGINAL}},
    /* vLLM 0.24 caps the logits before it scales them, and renormalises Grok-1's experts */
    {"vllm",
     {.router_cap = true, .renorm = GK_RENORM_ALONE, .rope = GK_ROPE_ORIGINAL, .cap_first = true}},
    /* xAI's JAX code of Grok-1 */
    {"grok1", {.gelu_tanh = true, .rope = GK_ROPE_ORIGINAL}},
};

bool gk_preset_find(const char *name, gk_switches *out)
{
    for (size_t i = 0; i < sizeof presets / sizeof presets[0]; i++)
        if (strcmp(presets[i].name, name) == 0) {
            *out = presets[i].switches;
            return true;
        }
    return false;
}

/* ---- switches in words ------------------------------------------------------------ */

#define N_SWITCHES 7
#define MOST_WORDS 8

/* By the words of the command line. */
static const struct {
    const char *name, *word[MOST_WORDS];
} switch_words[N_SWITCHES] = {
    {"gelu", {"erf", "tanh"}},
    {"rope", {"config", "original", "yarn", "yarn_log", "theta_scale", "linear", "llama3"}},
    {"rope-magnitude", {"off", "on"}},
    {"renorm", {"off", "on", "alone"}},
    {"router-cap", {"off", "on"}},
    {"temperature", {"off", "on"}},
    {"final-order", {"scale-cap", "cap-scale"}},
};

const char *gk_switches_spell(const gk_switches *s, char out[GK_SWITCHES_TEXT])
{
    const int value[N_SWITCHES] = {s->gelu_tanh,  (int)s->rope,   s->rope_magnitude, (int)s->renorm,
                                   s->router_cap, s->temperature, s->cap_first};
    size_t len = 0;

    for (int i = 0; i < N_SWITCHES; i++)
        len += (size_t)snprintf(out + len, GK_SWITCHES_TEXT - len, "%s%s=%s", i > 0 ? "," : "",
                                switch_words[i].name, switch_words[i].word[value[i]]);
    return out;
}

bool gk_switches_parse(const char *text, gk_switches *out, gk_err *err)
{
    int value[N_SWITCHES] = {0};
    const char *at = text;
    bool ok = true;

    for (int i = 0; ok && i < N_SWITCHES; i++) {
        const size_t name = strlen(switch_words[i].name), word = strcspn(at, "=");
        const char *v = at + word + (at[word] == '=');
        const size_t len = strcspn(v, ",");
        int k = 0;
        while (k < MOST_WORDS && switch_words[i].word[k] != NULL
               && (strlen(switch_words[i].word[k]) != len
                   || strncmp(switch_words[i].word[k], v, len) != 0))
            k++;
        ok = word == name && strncmp(at, switch_words[i].name, name) == 0 && k < MOST_WORDS
             && switch_words[i].word[k] != NULL && (v[len] == ',') == (i + 1 < N_SWITCHES);
        value[i] = k;
        at = v + len + (v[len] == ',');
    }
    if (!ok)
        return gk_fail(err, GK_ERR_FORMAT, GK_NO_OFF, "'%.60s' are no switches of a pass", text);
    *out = (gk_switches){.gelu_tanh = value[0] == 1,
                         .rope = (gk_rope)value[1],
                         .rope_magnitude = value[2] == 1,
                         .renorm = (gk_renorm)value[3],
                         .router_cap = value[4] == 1,
                         .temperature = value[5] == 1,
                         .cap_first = value[6] == 1};
    return true;
}

const char *gk_arch_name(const gk_json *config)
{
    return gk_family_name(gk_family_of(config));
}

/* ---- rows ------------------------------------------------------------------- */

enum type { REAL, CAP, COUNT }; /* CAP and COUNT: not above 0 is none */

#define NEEDED NAN
#define KEEP   INFINITY /* absent: the field stays as it is */

/* A number of config.json. */
typedef struct key {
    const char *name;
    enum type   type;
    size_t      at; /* in gk_arch */
    double      otherwise, low, high; /* value when absent or null, and the range */
} key;

#define AT(field) offsetof(gk_arch, field)
#define ANY       -1e9, 1e9
#define LENGTH    -1, 4294967296.0

static const key grok2_keys[] = {
    {"num_experts_per_tok", COUNT, AT(top_k), NEEDED, LENGTH},
    {"rms_norm_eps", REAL, AT(eps), 1e-5, 0, 1},
    {"embedding_multiplier_scale", REAL, AT(embedding_scale), NEEDED, ANY},
    {"output_multiplier_scale", REAL, AT(output_scale), NEEDED, ANY},
    {"attn_logit_softcapping", CAP, AT(attn_cap), 30, ANY},
    {"router_logit_softcapping", CAP, AT(router_cap), 30, ANY},
    {"final_logit_softcapping", CAP, AT(final_cap), 0, ANY},
    {"attn_temperature_len", COUNT, AT(temperature_len), -1, LENGTH},
    {"rope_theta", REAL, AT(rope_theta), 10000, 1, 1e30},
    {"scaling_factor", REAL, AT(rope_factor), 1, 1e-6, 1e9},
    {"extrapolation_factor", REAL, AT(rope_extrapolation), 1, ANY},
    {"beta_fast", REAL, AT(beta_fast), 8, 1e-6, 1e9},
    {"beta_slow", REAL, AT(beta_slow), 1, 1e-6, 1e9},
    {"max_position_embeddings", COUNT, AT(max_ctx), 131072, LENGTH},
    {"original_max_position_embeddings", COUNT, AT(original_ctx), 0, LENGTH},
    {.name = NULL},
};

/* The constants are literals in the JAX code; conversions write them as keys. The cap of
 * the router is the engines' (vllm-project/vllm grok1.py), the preset "grok1" has none. */
static const key grok1_keys[] = {
    {"num_experts_per_tok", COUNT, AT(top_k), 2, LENGTH},
    {"rms_norm_eps", REAL, AT(eps), 1e-5, 0, 1},
    {"embedding_multiplier_scale", REAL, AT(embedding_scale), KEEP, ANY},
    {"output_multiplier_scale", REAL, AT(output_scale), 0.5773502691896257, ANY},
    {"attn_output_multiplier", REAL, AT(score_scale), KEEP, ANY},
    {"attn_logit_softcapping", CAP, AT(attn_cap), 30, ANY},
    {"max_attn_value", CAP, AT(attn_cap), KEEP, ANY}, /* another name of it */
    {"router_logit_softcapping", CAP, AT(router_cap), 30, ANY},
    {"rope_theta", REAL, AT(rope_theta), 10000, 1, 1e30},
    {"max_position_embeddings", COUNT, AT(max_ctx), 8192, LENGTH},
    {.name = NULL},
};

static const key llama_keys[] = {
    {"rms_norm_eps", REAL, AT(eps), 1e-6, 0, 1},
    {"max_position_embeddings", COUNT, AT(max_ctx), 2048, LENGTH},
    {.name = NULL},
};
/* Keys of the config, "rope_parameters" or "rope_scaling". */
static const key scaling_keys[] = {
    {"rope_theta", REAL, AT(rope_theta), KEEP, 1, 1e30},
    {.name = NULL},
};
static const key linear_keys[] = {
    {"factor", REAL, AT(rope_factor), NEEDED, 1e-6, 1e9},
    {.name = NULL},
};
static const key llama3_keys[] = {
    {"factor", REAL, AT(rope_factor), NEEDED, 1e-6, 1e9},
    {"low_freq_factor", REAL, AT(low_freq_factor), NEEDED, 1e-6, 1e9},
    {"high_freq_factor", REAL, AT(high_freq_factor), NEEDED, 1e-6, 1e9},
    {"original_max_position_embeddings", COUNT, AT(original_ctx), NEEDED, 1, 4294967296.0},
    {.name = NULL},
};

typedef struct rope_row {
    const char *name;
    gk_rope     rope;
    const key  *keys; /* more of them */
} rope_row;

static const rope_row grok_ropes[] = {
    {"default", GK_ROPE_ORIGINAL, NULL},       {"original", GK_ROPE_ORIGINAL, NULL},
    {"yarn", GK_ROPE_YARN, NULL},              {"yarn_log", GK_ROPE_YARN_LOG, NULL},
    {"theta_scale", GK_ROPE_THETA_SCALE, NULL}, {.name = NULL},
};
static const rope_row hf_ropes[] = {
    {"default", GK_ROPE_ORIGINAL, NULL},
    {"linear", GK_ROPE_LINEAR, linear_keys},
    {"llama3", GK_ROPE_LLAMA3, llama3_keys},
    {.name = NULL},
};

/* An architecture: what is fixed, and what config.json says beyond that. */
static const struct row {
    gk_arch         start; /* NAN: follows from the sizes */
    const key      *keys;
    const rope_row *ropes;
    bool            nested;     /* keys of rope stand in an object of their own           */
    const char     *activation; /* the only "hidden_act" there is; NULL: presets decide   */
    const char     *refused;    /* a boolean that must not be true: another computation   */
    bool            windowed;   /* "sliding_window" counts: absent 4096, null none         */
} rows[GK_N_FAMILIES] = {
    [GK_FAMILY_GROK2] = {
        .start = {.preset = "sglang", .score_scale = NAN}, .keys = grok2_keys, .ropes = grok_ropes,
    },
    [GK_FAMILY_GROK1] = {
        .start = {.preset = "grok1", .embedding_scale = NAN, .score_scale = NAN,
                  .rope_factor = 1, .rope_extrapolation = 1, .beta_fast = 8, .beta_slow = 1},
        .keys = grok1_keys, .ropes = grok_ropes,
    },
#define LLAMA_START                                                                              \
    {                                                                                            \
        .activation = GK_ACTIVATION_SILU, .embedding_scale = 1, .output_scale = 1,               \
        .score_scale = NAN, .rope_theta = 10000, .rope_factor = 1, .rope_extrapolation = 1,      \
        .beta_fast = 32, .beta_slow = 1                                                          \
    }
    [GK_FAMILY_LLAMA] = {
        .start = LLAMA_START, .keys = llama_keys, .ropes = hf_ropes, .nested = true,
        .activation = "silu", .refused = "mlp_bias",
    },
    [GK_FAMILY_MISTRAL] = {
        .start = LLAMA_START, .keys = llama_keys, .ropes = hf_ropes, .nested = true,
        .activation = "silu", .windowed = true,
    },
    [GK_FAMILY_QWEN2] = {
        .start = LLAMA_START, .keys = llama_keys, .ropes = hf_ropes, .nested = true,
        .activation = "silu", .refused = "use_sliding_window",
    },
};

/* ---- reading them ------------------------------------------------------------- */

/* The object whose keys are read, and where they go. */
typedef struct reading {
    const gk_json *node;
    gk_arch       *a;
    gk_err        *err;
    bool           ok;
} reading;

static void refuse(reading *r, const char *name, const char *value)
{
    gk_fail(r->err, GK_ERR_UNSUPPORTED, GK_NO_OFF, "\"%s\" '%.40s' is not known", name, value);
    gk_fail_at(r->err, "config.json", NULL);
    r->ok = false;
}

static void take(const key *k, double v, gk_arch *a)
{
    char *at = (char *)a + k->at;

    if (k->type == COUNT)
        *(uint64_t *)(void *)at = v > 0 ? (uint64_t)v : 0;
    else
        *(double *)(void *)at = k->type == CAP ? fmax(v, 0) : v;
}

static void read_key(reading *r, const key *k)
{
    const gk_json *node = gk_json_get(r->node, k->name);
    double v = k->otherwise;

    if (gk_json_is_null(node)) {
        if (isfinite(v))
            take(k, v, r->a);
        if (!isnan(v))
            return;
        gk_fail(r->err, GK_ERR_FORMAT, GK_NO_OFF, "key \"%s\" is missing", k->name);
    } else if (!gk_json_as_real(node, &v)) {
        gk_fail(r->err, GK_ERR_FORMAT, GK_NO_OFF, "\"%s\" must be a number", k->name);
    } else if (!(v >= k->low && v <= k->high)) {
        gk_fail(r->err, GK_ERR_FORMAT, GK_NO_OFF, "\"%s\" is %g, out of the range %g to %g",
                k->name, v, k->low, k->high);
    } else {
        take(k, v, r->a);
        return;
    }
    gk_fail_at(r->err, "config.json", NULL);
    r->ok = false;
}

static void read_keys(reading *r, const key *keys)
{
    for (; keys != NULL && keys->name != NULL; keys++)
        read_key(r, keys);
}

static void read_rope(reading *r, const struct row *row)
{
    const gk_json *config = r->node, *kind;
    const rope_row *rope = row->ropes;

    if (row->nested) {
        /* transformers 5 writes rope_parameters, others rope_scaling and rope_theta beside it */
        read_keys(r, scaling_keys);
        r->node = gk_json_get(config, "rope_parameters");
        if (gk_json_is_null(r->node))
            r->node = gk_json_get(config, "rope_scaling");
        read_keys(r, scaling_keys);
    }
    kind = gk_json_get(r->node, "rope_type");
    if (kind == NULL && row->nested)
        kind = gk_json_get(r->node, "type");
    r->a->rope = GK_ROPE_ORIGINAL;
    if (!gk_json_is_null(kind)) {
        const char *name = gk_json_text(kind, NULL);
        while (rope->name != NULL && (name == NULL || strcmp(name, rope->name) != 0))
            rope++;
        if (rope->name == NULL)
            refuse(r, "rope_type", name == NULL ? "?" : name);
        r->a->rope = rope->rope;
        if (rope->name != NULL)
            read_keys(r, rope->keys);
    }
    r->node = config;
}

/* What may stand in a config and would change the computation. */
static void read_variants(reading *r, const struct row *row)
{
    const char *act = gk_json_text(gk_json_get(r->node, "hidden_act"), NULL);
    const gk_json *window = gk_json_get(r->node, "sliding_window");
    const key limit = {"sliding_window", COUNT, AT(window), window == NULL ? 4096 : 0, LENGTH};
    bool on = false;

    if (row->windowed)
        read_key(r, &limit);
    if (row->activation != NULL && act != NULL && strcmp(act, row->activation) != 0)
        refuse(r, "hidden_act", act);
    if (row->refused != NULL)
        gk_json_as_bool(gk_json_get(r->node, row->refused), &on);
    if (on)
        refuse(r, row->refused, "true");
}

static bool check_sizes(const gk_arch *a, gk_err *err)
{
    const gk_grok2 *g = &a->sizes;

    if (g->experts > 0 && (a->top_k == 0 || a->top_k > g->experts))
        gk_fail(err, GK_ERR_FORMAT, GK_NO_OFF,
                "num_experts_per_tok %" PRIu64 " of %" PRIu64 " experts", a->top_k, g->experts);
    else if (g->head_dim % 2 != 0)
        gk_fail(err, GK_ERR_FORMAT, GK_NO_OFF, "head_dim %" PRIu64 " is odd", g->head_dim);
    else
        return true;
    return gk_fail_at(err, "config.json", NULL);
}

bool gk_arch_read(const gk_json *config, gk_arch *a, gk_err *err)
{
    reading r = {config, a, err, true};

    if (config == NULL) {
        gk_fail(err, GK_ERR_UNSUPPORTED, GK_NO_OFF, "no config.json: the forward pass needs one");
        return gk_fail_at(err, "config.json", NULL);
    }
    const struct row *row = &rows[gk_family_of(config)];
    *a = row->start;
    if (!gk_grok2_sizes(config, &a->sizes, err))
        return false;
    a->name = gk_family_name(a->sizes.family);
    read_keys(&r, row->keys);
    read_rope(&r, row);
    read_variants(&r, row);
    if (isnan(a->embedding_scale))
        a->embedding_scale = sqrt((double)a->sizes.hidden);
    if (isnan(a->score_scale))
        a->score_scale = 1 / sqrt((double)a->sizes.head_dim);
    if (a->original_ctx == 0)
        a->original_ctx = a->max_ctx;
    a->mlp_scale = a->sizes.dense > 0 && a->sizes.experts > 0 ? sqrt(0.5) : 1;
    return r.ok && check_sizes(a, err);
}

/* ---- rotary positions --------------------------------------------------------- */

/* The pair that makes n turns within the original context. */
static double pair_of_turns(const gk_arch *a, double n)
{
    return (double)a->sizes.head_dim * log((double)a->original_ctx / (n * 2 * pi))
           / (2 * log(a->rope_theta));
}

/* Waves longer than original_ctx / low are slowed by the factor, waves shorter than
 * original_ctx / high stay, in between a mix by the turns within the original context. */
static double llama3_mix(const gk_arch *a, double plain)
{
    const double turns = (double)a->original_ctx * plain / (2 * pi);
    const double low = a->low_freq_factor, high = a->high_freq_factor;
    const double keep = turns < low    ? 0
                        : turns > high ? 1
                                       : (turns - low) / (high - low);

    return plain / a->rope_factor * (1 - keep) + plain * keep;
}

void gk_arch_rope(const gk_arch *a, const gk_switches *s, double *freq, double *magnitude)
{
    const gk_rope kind = s->rope == GK_ROPE_CONFIG ? a->rope : s->rope;
    const double d = (double)a->sizes.head_dim;
    double theta = a->rope_theta;

    *magnitude = s->rope_magnitude ? 1 + 0.1 * log(a->rope_factor) : 1;
    if (kind == GK_ROPE_THETA_SCALE)
        theta = pow(theta, log((double)a->original_ctx * a->rope_factor / (2 * pi))
                               / log((double)a->original_ctx / (2 * pi)));
    const double low = fmax(0, floor(pair_of_turns(a, a->beta_fast)));
    double high = fmin(d - 1, ceil(pair_of_turns(a, a->beta_slow)));
    high = high != low ? high : low + 0.001;
    for (uint64_t j = 0; j < a->sizes.head_dim / 2; j++) {
        const double plain = pow(theta, -2 * (double)j / d), slow = plain / a->rope_factor;
        const double ramp = fmin(fmax(((double)j - low) / (high - low), 0), 1);
        const double keep = (1 - ramp) * a->rope_extrapolation;
        freq[j] = plain;
        if (kind == GK_ROPE_YARN)
            freq[j] = slow * (1 - keep) + plain * keep;
        else if (kind == GK_ROPE_YARN_LOG)
            freq[j] = exp(log(slow) * (1 - keep) + log(plain) * keep);
        else if (kind == GK_ROPE_LINEAR)
            freq[j] = slow;
        else if (kind == GK_ROPE_LLAMA3)
            freq[j] = llama3_mix(a, plain);
    }
}
