/* quant/gguf_mix.h - llama-quantize's mixes: which type each tensor gets.
 *
 * Source: ggml-org/llama.cpp src/llama-quant.cpp @007dbbf (llama_tensor_get_type_impl,
 * tensor_type_fallback), for the types that grokkit writes. */
#ifndef GK_QUANT_GGUF_MIX_H
#define GK_QUANT_GGUF_MIX_H

#include "formats/dtype.h"

/* What a mix looks at. */
typedef struct gk_mix_tensor {
    const char *name;            /* in the GGUF: "blk.3.ffn_down_exps.weight"    */
    uint64_t    n_cols;
    uint64_t    layer, n_layers; /* layer is 0 outside of layers                 */
    uint64_t    n_experts, gqa;  /* query heads a kv head                        */
    bool        is_stack;        /* three dimensions                             */
    bool        is_tied;         /* the model has no output.weight               */
    bool        is_70b;          /* 80 layers of Llama (fewer kv heads) or Qwen2 */
    bool        has_importance;  /* an imatrix is at hand                        */
} gk_mix_tensor;

#define GK_N_MIXES 18

/* Finds a mix by its name in any letter case ("Q4_K_M", "q4_k": the same). Returns its
 * number, -1 when there is none. */
int gk_mix_find(const char *name);

/* Returns its full name, its general.file_type, and the type that it is named after. */
const char *gk_mix_name(int mix);
uint32_t    gk_mix_file_type(int mix);
gk_dtype    gk_mix_base(int mix);

/* Returns the type of one tensor, before widths are looked at. */
gk_dtype gk_mix_choose(int mix, const gk_mix_tensor *t);

/* Returns what takes the place of a type whose blocks do not divide a row: smaller blocks,
 * else f16. */
gk_dtype gk_mix_fallback(gk_dtype type, uint64_t n_cols);

/* Returns false for a tensor that stays as it is: vectors, norms, the router. */
bool gk_mix_quantizes(const char *name, int n_dims);

/* Returns whether llama-quantize refuses to make a tensor of that type in a file of that mix
 * without an imatrix (tensor_requires_imatrix): Q2_K, but for embeddings and head, of Q2_K_S. */
bool gk_mix_needs_importance(int mix, const char *name, gk_dtype type);

#endif
