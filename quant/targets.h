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

/* Returns whether a matrix can be stored so: its layout is known, groups divide the width. */
bool gk_scheme_fits(const gk_scheme *s, const gk_tensor *t);

/* Returns whether a kept tensor becomes f32: values that are stored in codes cannot be kept as
 * bytes, but in a GGUF ggml's own blocks. */
bool gk_keeps_values(const gk_target *target, const gk_tensor *t);

/* Makes the schemes of fused modules fit: all parts the same, groups that divide every
 * width (the next smaller one, else keep), no asymmetric experts. Appends notes. */
bool gk_plan_fuse(gk_plan *p, gk_err *err);

/* The same where nothing is fused: every matrix for itself. */
bool gk_plan_fit_each(gk_plan *p, gk_err *err);

/* Appends what is known of the engines that would load the plan's output. */
bool gk_plan_note_engines(gk_plan *p, gk_err *err);

/* ---- who has which scheme ---- */

#define GK_MAX_SCHEMES 16

typedef struct gk_schemes {
    gk_scheme scheme[GK_MAX_SCHEMES];
    int       n, main; /* main: the experts' (engines ask for it by the word "Linear"), else
                          the one of most weights */
} gk_schemes;

/* Lists the schemes of coded matrices. False: LIMIT. */
bool gk_plan_schemes(const gk_plan *p, gk_schemes *out, gk_err *err);

/* Calls add for patterns (regexes anchored at both ends where they end in $, or names) that
 * match the modules of scheme s, NULL: those without codes, in checkpoints and engines. */
typedef void gk_pattern_fn(void *context, const char *pattern, bool is_regex);
bool gk_plan_patterns(const gk_plan *p, const gk_scheme *s, gk_pattern_fn *add, void *context,
                      gk_err *err);

/* Returns how many layers of fused module f have scheme s and lists them as "3|5"; *all:
 * every one has it. */
uint64_t gk_plan_layers(const gk_plan *p, gk_fused f, const gk_scheme *s, gk_text *list,
                        bool *all);

/* ---- config.json ---- */

/* Adds the members that the target's config.json has beyond the source's. */
bool gk_plan_config_members(const gk_plan *p, gk_text *out, gk_err *err);

/* What each format says was done: quantization_config. */
bool gk_ct_config(const gk_plan *p, gk_text *out, gk_err *err);
bool gk_gptq_config(const gk_plan *p, gk_text *out, gk_err *err);
bool gk_awq_config(const gk_plan *p, gk_text *out, gk_err *err);
bool gk_mlx_config(const gk_plan *p, gk_text *out, gk_err *err);

/* Fit the schemes of a GPTQ (one version for all), of an AWQ (one group for all) and of MLX
 * (nothing is fused). False also for what only a config.json could tell, when there is none. */
bool gk_gptq_fit(gk_plan *p, gk_err *err);
bool gk_awq_fit(gk_plan *p, gk_err *err);
bool gk_mlx_fit(gk_plan *p, gk_err *err);

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
