/* verify/arch.h - what a config.json says about the computation, and the switches in
 * which engines differ.
 *
 * An architecture is a row: its tensors stand in formats/grok2.c, its keys and constants
 * in verify/arch.c; the pass itself reads numbers and asks which tensors there are. Source
 * of keys and defaults: sglang srt/models/grok.py @031ad4ce for Grok-2, xai-org/grok-1
 * model.py and run.py @7050ed20 for Grok-1, huggingface/transformers
 * src/transformers/models/{llama,mistral,qwen2} and modeling_rope_utils.py for the rest. */
#ifndef GK_VERIFY_ARCH_H
#define GK_VERIFY_ARCH_H

#include "formats/grok2.h"

typedef enum gk_rope {
    GK_ROPE_CONFIG,      /* as rope_type in the config says          */
    GK_ROPE_ORIGINAL,    /* no scaling                               */
    GK_ROPE_YARN,        /* mix of plain and slowed frequencies      */
    GK_ROPE_YARN_LOG,    /* the same mix of their logarithms         */
    GK_ROPE_THETA_SCALE, /* another base                             */
    GK_ROPE_LINEAR,      /* slowed frequencies                       */
    GK_ROPE_LLAMA3,      /* long waves slowed, short ones plain      */
    GK_N_ROPES,
} gk_rope;

typedef enum gk_activation {
    GK_ACTIVATION_GELU, /* in the form that gk_switches says */
    GK_ACTIVATION_SILU,
} gk_activation;

typedef enum gk_renorm {
    GK_RENORM_OFF,
    GK_RENORM_ON,
    GK_RENORM_ALONE, /* only where no dense MLP stands beside the experts */
} gk_renorm;

/* Where engines compute different functions of the same weights. */
typedef struct gk_switches {
    bool      gelu_tanh;      /* else the exact erf form                               */
    bool      router_cap;     /* cap the router's logits before its softmax            */
    gk_renorm renorm;         /* weights of the chosen experts sum to 1                */
    bool      temperature;    /* scores of late positions are scaled by tau            */
    bool      rope_magnitude; /* rotated q and k are scaled by 1 + 0.1 ln(factor)      */
    bool      cap_first;      /* logits are capped before they are scaled              */
    gk_rope   rope;
} gk_switches;

/* Finds a preset: "sglang", "llama.cpp", "llama.cpp-plain", "vllm", "grok1". False: unknown.
 * All zero is what the config says, for architectures on which engines agree. */
bool gk_preset_find(const char *name, gk_switches *out);

#define GK_SWITCHES_TEXT 160 /* bytes of switches in words, their end included */

/* Writes the switches as "gelu=erf,rope=config,...", in the words of the options of eval. Returns
 * out. */
const char *gk_switches_spell(const gk_switches *s, char out[GK_SWITCHES_TEXT]);

/* Reads what gk_switches_spell() wrote. False: FORMAT. */
bool gk_switches_parse(const char *text, gk_switches *out, gk_err *err);

typedef struct gk_arch {
    const char   *name;   /* "grok2" */
    const char   *preset; /* what is computed unless asked otherwise; NULL: engines agree */
    gk_grok2      sizes;
    gk_activation activation;
    uint64_t      top_k; /* 0 without experts */
    double        eps, embedding_scale, output_scale;
    double        score_scale; /* of q . k */
    double        mlp_scale;   /* of the sum of dense MLP and experts */
    double        attn_cap, router_cap, final_cap; /* 0: none */
    uint64_t      temperature_len;                 /* 0: none */
    uint64_t      window; /* keys that a query sees, its own included; 0: all before it */
    double        rope_theta, rope_factor, rope_extrapolation, beta_fast, beta_slow;
    double        low_freq_factor, high_freq_factor; /* of GK_ROPE_LLAMA3 */
    uint64_t      original_ctx, max_ctx;
    gk_rope       rope;
} gk_arch;

/* Reads the config of a model that the forward pass knows. False: UNSUPPORTED (another
 * architecture, or a variant of a known one), FORMAT naming the key. */
bool gk_arch_read(const gk_json *config, gk_arch *out, gk_err *err);

/* Returns the name of the architecture for people and JSON, "unknown" if it is. */
const char *gk_arch_name(const gk_json *config);

/* Fills freq [head_dim / 2] with the angle a position adds to each pair, and the factor
 * on rotated vectors. */
void gk_arch_rope(const gk_arch *a, const gk_switches *s, double *freq, double *magnitude);

#endif
