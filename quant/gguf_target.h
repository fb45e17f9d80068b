/* quant/gguf_target.h - a model as a GGUF would have it: what the files of that target share,
 * and the names that statistics go by. */
#ifndef GK_QUANT_GGUF_TARGET_H
#define GK_QUANT_GGUF_TARGET_H

#include "formats/gguf_write.h"
#include "quant/plan.h"

/* The model as a GGUF sees it. */
typedef struct gk_gguf_model {
    const char *arch;    /* "grok", "llama", ...; of a GGUF: its own */
    bool        is_known; /* names and keys can be made              */
    bool        has_dense, is_tied;
    uint64_t    layers, experts, heads, kv_heads;
} gk_gguf_model;

/* Reads the sizes from the config. False: UNSUPPORTED for an architecture whose names in
 * a GGUF are not known (a GGUF keeps its own). */
bool gk_gguf_model_read(const gk_catalog *c, gk_gguf_model *out, gk_err *err);

#define GK_GGUF_NAME 128 /* bytes of the longest name, its end included */

/* Where a tensor stands in a GGUF, or its own name where the architecture has no place for it. */
typedef struct gk_gguf_spot {
    gk_gguf_place at;
    char          name[GK_GGUF_NAME]; /* "blk.0.ffn_up_exps.weight" */
    bool          is_mapped;
} gk_gguf_spot;

/* False: LIMIT for a name that is too long. */
bool gk_gguf_spot_of(const gk_gguf_model *m, const gk_tensor *t, gk_gguf_spot *out, gk_err *err);

/* Adds all keys: those of the config and the vocabulary, or a GGUF's own. */
bool gk_gguf_keys_make(const gk_plan *p, const gk_gguf_model *m, gk_gguf_keys *out, gk_err *err);

/* Returns head_dim, which a config may leave out, and the base of rotary frequencies. */
uint64_t gk_gguf_head_dim(const gk_json *config, const gk_gguf_model *m);
double   gk_gguf_rope_base(const gk_json *config);

/* Adds the tokens, merges, special ids and the chat template. */
bool gk_gguf_keys_tokens(const gk_plan *p, gk_gguf_keys *out, gk_err *err);

#endif
