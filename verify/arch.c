/* verify/arch.c - keys of config.json, presets, rotary frequencies. */
#include "verify/arch.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

static const double pi = 3.14159265358979323846;

static const struct preset {
    const char *name;
    gk_switches switches;
} presets[] = {
    {"sglang", {.router_cap = true, .temperature = true}},
    /* as llama.cpp's converter writes the file: "original" becomes yarn with magnitude */
    {"llama.cpp",
     {.gelu_tanh = true, .renorm = true, .rope = GK_ROPE_YARN, .rope_magnitude = true}},
    /* the same engine on a file without rope scaling keys */
    {"llama.cpp-plain", {.gelu_tanh = true, .renorm = true, .rope = GK_ROPE_ORIGINAL}},
    /* vLLM 0.24 caps the logits before it scales them */
    {"vllm", {.router_cap = true, .rope = GK_ROPE_ORIGINAL, .cap_first = true}},
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

const char *gk_arch_name(const gk_json *config)
{
    return gk_grok2_is(config) ? "grok2" : "unknown";
}

/* ---- keys ------------------------------------------------------------------- */

typedef struct keys {
    const gk_json *config;
    gk_err        *err;
    bool           ok;
} keys;

static double real(keys *k, const char *key, double otherwise, double low, double high)
{
    const gk_json *node = gk_json_get(k->config, key);
    double v = otherwise;

    if (gk_json_is_null(node)) {
        if (isfinite(otherwise))
            return otherwise;
        gk_fail(k->err, GK_ERR_FORMAT, GK_NO_OFF, "key \"%s\" is missing", key);
    } else if (!gk_json_as_real(node, &v)) {
        gk_fail(k->err, GK_ERR_FORMAT, GK_NO_OFF, "\"%s\" must be a number", key);
    } else if (!(v >= low && v <= high)) {
        gk_fail(k->err, GK_ERR_FORMAT, GK_NO_OFF, "\"%s\" is %g, out of the range %g to %g", key, v,
                low, high);
    } else {
        return v;
    }
    gk_fail_at(k->err, "config.json", NULL);
    k->ok = false;
    return otherwise;
}

/* A count that may be negative for "none". */
static uint64_t count(keys *k, const char *key, double otherwise)
{
    const double v = real(k, key, otherwise, -1, 4294967296.0);

    return v > 0 ? (uint64_t)v : 0;
}

static gk_rope rope_kind(keys *k)
{
    static const char *const names[GK_N_ROPES]
        = {"default", "original", "yarn", "yarn_log", "theta_scale"};
    const gk_json *node = gk_json_get(k->config, "rope_type");
    const char *text = gk_json_text(node, NULL);

    if (gk_json_is_null(node))
        return GK_ROPE_ORIGINAL;
    for (int i = 0; text != NULL && i < GK_N_ROPES; i++)
        if (strcmp(text, names[i]) == 0)
            return i == 0 ? GK_ROPE_ORIGINAL : (gk_rope)i;
    gk_fail(k->err, GK_ERR_UNSUPPORTED, GK_NO_OFF, "\"rope_type\" '%.40s' is not known",
            text == NULL ? "?" : text);
    gk_fail_at(k->err, "config.json", NULL);
    k->ok = false;
    return GK_ROPE_ORIGINAL;
}

bool gk_arch_read(const gk_json *config, gk_arch *a, gk_err *err)
{
    keys k = {config, err, true};

    if (!gk_grok2_is(config)) {
        gk_fail(err, GK_ERR_UNSUPPORTED, GK_NO_OFF,
                config == NULL ? "no config.json: the forward pass needs one"
                               : "the forward pass knows Grok-2 (Grok1ForCausalLM with "
                                 "residual_moe), this is another architecture");
        return gk_fail_at(err, "config.json", NULL);
    }
    *a = (gk_arch){.name = "grok2"};
    if (!gk_grok2_sizes(config, &a->sizes, err))
        return false;
    a->top_k = count(&k, "num_experts_per_tok", NAN);
    a->eps = real(&k, "rms_norm_eps", 1e-5, 0, 1);
    a->embedding_scale = real(&k, "embedding_multiplier_scale", NAN, -1e9, 1e9);
    a->output_scale = real(&k, "output_multiplier_scale", NAN, -1e9, 1e9);
    a->attn_cap = fmax(real(&k, "attn_logit_softcapping", 30, -1e9, 1e9), 0);
    a->router_cap = fmax(real(&k, "router_logit_softcapping", 30, -1e9, 1e9), 0);
    a->final_cap = fmax(real(&k, "final_logit_softcapping", 0, -1e9, 1e9), 0);
    a->temperature_len = count(&k, "attn_temperature_len", -1);
    a->rope_theta = real(&k, "rope_theta", 10000, 1, 1e30);
    a->rope_factor = real(&k, "scaling_factor", 1, 1e-6, 1e9);
    a->rope_extrapolation = real(&k, "extrapolation_factor", 1, -1e9, 1e9);
    a->beta_fast = real(&k, "beta_fast", 8, 1e-6, 1e9);
    a->beta_slow = real(&k, "beta_slow", 1, 1e-6, 1e9);
    a->max_ctx = count(&k, "max_position_embeddings", 131072);
    a->original_ctx = count(&k, "original_max_position_embeddings", (double)a->max_ctx);
    a->rope = rope_kind(&k);
    if (!k.ok)
        return false;
    if (a->top_k == 0 || a->top_k > a->sizes.experts) {
        gk_fail(err, GK_ERR_FORMAT, GK_NO_OFF, "num_experts_per_tok %" PRIu64 " of %" PRIu64
                " experts", a->top_k, a->sizes.experts);
        return gk_fail_at(err, "config.json", NULL);
    }
    if (a->sizes.head_dim % 2 != 0) {
        gk_fail(err, GK_ERR_FORMAT, GK_NO_OFF, "head_dim %" PRIu64 " is odd", a->sizes.head_dim);
        return gk_fail_at(err, "config.json", NULL);
    }
    return true;
}

/* ---- rotary positions --------------------------------------------------------- */

/* The pair that makes n turns within the original context. */
static double pair_of_turns(const gk_arch *a, double n)
{
    return (double)a->sizes.head_dim * log((double)a->original_ctx / (n * 2 * pi))
           / (2 * log(a->rope_theta));
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
    }
}
