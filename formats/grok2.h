/* formats/grok2.h - the tensors that a config.json demands: names, shapes, and the axis
 * on which a tensor-parallel release cuts each. Grok-2 was first; other families are rows
 * of the same table, and the forward pass asks for a tensor by its role (gk_weight).
 *
 * Source: sgl-project/sglang srt/models/grok.py @031ad4ce, sgl-project/sglang-jax
 * srt/models/grok.py @cddbf6f1 (concatenation axes); names of the Llama family are those
 * of huggingface/transformers src/transformers/models/llama/modeling_llama.py. */
#ifndef GK_FORMATS_GROK2_H
#define GK_FORMATS_GROK2_H

#include "formats/catalog.h"

typedef enum gk_family {
    GK_FAMILY_UNKNOWN,
    GK_FAMILY_GROK2,
    GK_FAMILY_GROK1,
    GK_FAMILY_LLAMA,
    GK_FAMILY_MISTRAL,
    GK_FAMILY_QWEN2,
    GK_N_FAMILIES,
} gk_family;

/* Returns the first of "architectures", or the class that other keys tell when there is none
 * (*guessed then; many quantized copies have a model_type alone). NULL: nothing tells. */
const char *gk_architecture(const gk_json *config, bool *guessed);

/* Returns the family that gk_architecture() and what stands beside it name. */
gk_family gk_family_of(const gk_json *config);

/* Returns a name for people and JSON: "grok2", "unknown". */
const char *gk_family_name(gk_family family);

/* What a tensor does, whatever its name. */
typedef enum gk_weight {
    GK_WEIGHT_EMBEDDING,
    GK_WEIGHT_HEAD, /* may be absent where embeddings are tied */
    GK_WEIGHT_FINAL_NORM,
    GK_WEIGHT_GATE, /* of the dense MLP: down (act(gate x) * up x) */
    GK_WEIGHT_UP,
    GK_WEIGHT_DOWN,
    GK_WEIGHT_EXPERT_GATE,
    GK_WEIGHT_EXPERT_UP,
    GK_WEIGHT_EXPERT_DOWN,
    GK_WEIGHT_ROUTER,
    GK_WEIGHT_Q,
    GK_WEIGHT_K,
    GK_WEIGHT_V,
    GK_WEIGHT_O,
    GK_WEIGHT_Q_BIAS,
    GK_WEIGHT_K_BIAS,
    GK_WEIGHT_V_BIAS,
    GK_WEIGHT_O_BIAS,
    GK_WEIGHT_PRE_ATTN_NORM,
    GK_WEIGHT_POST_ATTN_NORM,
    GK_WEIGHT_PRE_FFN_NORM,
    GK_WEIGHT_POST_FFN_NORM,
    GK_WEIGHT_ROPE_FACTORS, /* of a GGUF: frequencies of rotary pairs are divided by them */
    GK_WEIGHT_IGNORED, /* found in old files, computed anew by everyone */
    GK_N_WEIGHTS,
} gk_weight;

typedef struct gk_grok2 {
    gk_family family;
    uint64_t  hidden, layers, heads, kv_heads, head_dim;
    uint64_t  dense;   /* width of the dense MLP, 0 without one (residual_moe false) */
    uint64_t  moe;     /* width of one expert, 0 without experts */
    uint64_t  experts, vocab;
    bool      tied;    /* without an output matrix the embedding serves */
    bool      qkv_bias, o_bias;
} gk_grok2;

/* Returns true when the config describes Grok-2. */
bool gk_grok2_is(const gk_json *config);

/* Reads the sizes of a model of any known family. False and FORMAT naming the key that is
 * absent, no integer, out of range, or does not fit the others; UNSUPPORTED naming the
 * architecture when it is not known. */
bool gk_grok2_sizes(const gk_json *config, gk_grok2 *out, gk_err *err);

typedef struct gk_grok2_shape {
    uint64_t    dim[2]; /* elements, slowest first: W [out, in] */
    int         ndim;
    int         axis;   /* slices are joined on it; -1: never cut */
    gk_weight     role;
    const char *kind;   /* the name without layer and expert: "self_attn.q_proj" */
    bool        optional;      /* the model is whole without it */
    int64_t     layer, expert; /* -1 when the name has none */
} gk_grok2_shape;

/* Returns true and the shape of the tensor of that canonical name; false when
 * the model has no such tensor. */
bool gk_grok2_shape_of(const gk_grok2 *g, const char *name, gk_grok2_shape *out);

/* Returns true when the model has tensors of that role, or may have. */
bool gk_grok2_has(const gk_grok2 *g, gk_weight role);

#define GK_GROK2_NAME 128 /* bytes of the longest name, its end included */

/* Writes the canonical name of the tensor; layer and expert count where the role has them.
 * Returns out, "" when the model has no such role. */
const char *gk_grok2_spell(const gk_grok2 *g, gk_weight role, uint64_t layer, uint64_t expert,
                           char out[GK_GROK2_NAME]);

/* How many tensors the model must have, and the name of tensor i of them (in a).
 * Names come kind by kind, layer by layer. */
uint64_t    gk_grok2_count(const gk_grok2 *g);
const char *gk_grok2_name(const gk_grok2 *g, uint64_t i, gk_arena *a, gk_err *err);

/* Compares the catalog with what its config.json demands and adds findings: kinds
 * with missing tensors, shapes that do not fit, tensors nobody asks for. Nothing
 * when the config is of an unknown architecture. False: NOMEM. */
bool gk_grok2_check(gk_catalog *c, gk_err *err);

#endif
