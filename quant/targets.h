/* quant/targets.h - what engines fuse, and how a target's config.json says what was
 * done to which module. Private to quant/. */
#ifndef GK_QUANT_TARGETS_H
#define GK_QUANT_TARGETS_H

#include "quant/plan.h"

/* Modules that an engine loads as one must share a scheme. */
typedef enum gk_fused {
    GK_FUSED_QKV,
    GK_FUSED_O,
    GK_FUSED_GATE_UP,
    GK_FUSED_DOWN,
    GK_FUSED_EXPERTS, /* w1, w2, w3 of all experts of a layer */
    GK_FUSED_NONE,    /* a module of its own                  */
} gk_fused;

/* Returns which fused module a tensor belongs to; *layer is its number, -1 without. */
gk_fused gk_fused_of(const char *name, int64_t *layer);

/* Makes the schemes of fused modules fit: all parts the same, groups that divide every
 * width (the next smaller one, else keep), no asymmetric experts. Appends notes. */
bool gk_plan_fuse(gk_plan *p, gk_err *err);

/* Adds the members that the target's config.json has beyond the source's. */
bool gk_plan_config_members(const gk_plan *p, gk_text *out, gk_err *err);

/* The quantization_config of compressed-tensors. */
bool gk_ct_config(const gk_plan *p, gk_text *out, gk_err *err);

/* ---- GGUF (quant/gguf_target.c) ---- */

/* Gives every item the type that a GGUF of this architecture holds: norms and router f32,
 * the rest as rules and mixes say, blocks that do not divide a row replaced by smaller
 * ones as llama-quantize does. */
bool gk_gguf_fit(gk_plan *p, gk_err *err);

/* Sets the importance of every item's columns from p->options.stats, whatever the target. */
bool gk_gguf_importance(gk_plan *p, gk_err *err);

/* Fills p->entry: ggml's names, the experts of a layer stacked. */
bool gk_gguf_entries(gk_plan *p, gk_err *err);

/* Lays the files out, keys included. */
bool gk_gguf_shards(gk_plan *p, gk_err *err);

#endif
