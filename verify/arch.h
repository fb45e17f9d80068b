/* verify/arch.h - what a config.json says about the computation, and the switches in
 * which engines differ. Source of keys and defaults: sglang srt/models/grok.py @031ad4ce. */
#ifndef GK_VERIFY_ARCH_H
#define GK_VERIFY_ARCH_H

#include "formats/grok2.h"

typedef enum gk_rope {
    GK_ROPE_CONFIG,      /* as rope_type in the config says          */
    GK_ROPE_ORIGINAL,    /* no scaling                               */
    GK_ROPE_YARN,        /* mix of plain and slowed frequencies      */
    GK_ROPE_YARN_LOG,    /* the same mix of their logarithms         */
    GK_ROPE_THETA_SCALE, /* another base                             */
    GK_N_ROPES,
} gk_rope;

/* Where engines compute different functions of the same weights. */
typedef struct gk_switches {
    bool    gelu_tanh;      /* else the exact erf form                                 */
    bool    router_cap;     /* cap the router's logits before its softmax              */
    bool    renorm;         /* weights of the chosen experts sum to 1                  */
    bool    temperature;    /* scores of late positions are scaled by tau              */
    bool    rope_magnitude; /* rotated q and k are scaled by 1 + 0.1 ln(factor)        */
    bool    cap_first;      /* logits are capped before they are scaled                */
    gk_rope rope;
} gk_switches;

/* Finds a preset: "sglang", "llama.cpp", "llama.cpp-plain", "vllm". False: unknown. */
bool gk_preset_find(const char *name, gk_switches *out);

typedef struct gk_arch {
    const char *name; /* "grok2" */
    gk_grok2    sizes;
    uint64_t    top_k;
    double      eps, embedding_scale, output_scale;
    double      attn_cap, router_cap, final_cap; /* 0: none */
    uint64_t    temperature_len;                 /* 0: none */
    double      rope_theta, rope_factor, rope_extrapolation, beta_fast, beta_slow;
    uint64_t    original_ctx, max_ctx;
    gk_rope     rope;
} gk_arch;

/* Reads the config of a model that the forward pass knows. False: UNSUPPORTED (another
 * architecture), FORMAT naming the key. */
bool gk_arch_read(const gk_json *config, gk_arch *out, gk_err *err);

/* Returns the name of the architecture for people and JSON, "unknown" if it is. */
const char *gk_arch_name(const gk_json *config);

/* Fills freq [head_dim / 2] with the angle a position adds to each pair, and the factor
 * on rotated vectors. */
void gk_arch_rope(const gk_arch *a, const gk_switches *s, double *freq, double *magnitude);

#endif
