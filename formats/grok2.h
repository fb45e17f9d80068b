/* formats/grok2.h - the tensors that a Grok-2 config.json demands: names, shapes,
 * and the axis on which a tensor-parallel release cuts each.
 *
 * Source: sgl-project/sglang srt/models/grok.py @031ad4ce, sgl-project/sglang-jax
 * srt/models/grok.py @cddbf6f1 (concatenation axes). */
#ifndef GK_FORMATS_GROK2_H
#define GK_FORMATS_GROK2_H

#include "formats/catalog.h"

typedef struct gk_grok2 {
    uint64_t hidden, layers, heads, kv_heads, head_dim;
    uint64_t dense; /* width of the dense MLP, 0 without one (residual_moe false) */
    uint64_t moe;   /* width of one expert */
    uint64_t experts, vocab;
} gk_grok2;

/* Returns true when the config describes this architecture. */
bool gk_grok2_is(const gk_json *config);

/* Reads the sizes. False and FORMAT naming the key that is absent, no integer,
 * out of range, or does not fit the others. */
bool gk_grok2_sizes(const gk_json *config, gk_grok2 *out, gk_err *err);

typedef struct gk_grok2_shape {
    uint64_t    dim[2]; /* elements, slowest first: W [out, in] */
    int         ndim;
    int         axis;   /* slices are joined on it; -1: never cut */
    const char *kind;   /* the name without layer and expert: "self_attn.q_proj" */
    int64_t     layer, expert; /* -1 when the name has none */
} gk_grok2_shape;

/* Returns true and the shape of the tensor of that canonical name; false when
 * the model has no such tensor. */
bool gk_grok2_shape_of(const gk_grok2 *g, const char *name, gk_grok2_shape *out);

/* How many tensors the model has, and the name of tensor i of them (in a).
 * Names come kind by kind, layer by layer. */
uint64_t    gk_grok2_count(const gk_grok2 *g);
const char *gk_grok2_name(const gk_grok2 *g, uint64_t i, gk_arena *a, gk_err *err);

/* Compares the catalog with what its config.json demands and adds findings: kinds
 * with missing tensors, shapes that do not fit, tensors nobody asks for. Nothing
 * when the config is of another architecture. False: NOMEM. */
bool gk_grok2_check(gk_catalog *c, gk_err *err);

#endif
