/* quant/allocate.h - which scheme where, so that a size is kept and the model hurt least.
 *
 * What an engine can load differently is a unit: of a GGUF a stored tensor (an expert stack is
 * one), else a module that vLLM fuses. Each has the target's schemes to choose from. What one
 * costs is measured on the weights: they are encoded, and their squared error, weighted by
 * E[x^2] where there are statistics, is taken relative to that of the noise of the probe
 * (verify/probes.h) whose KL divergence is known. Of a matrix of more than a few million weights
 * rows at even distances stand for the rest. The knapsack is quant/knapsack.h's; bytes are those
 * of the plan, to the last one.
 *
 * Source of the idea that divergences add up: the linearity theorem of arXiv 2411.17525. */
#ifndef GK_QUANT_ALLOCATE_H
#define GK_QUANT_ALLOCATE_H

#include <signal.h>

#include "quant/plan.h"

/* What is chosen for by itself. */
typedef enum gk_grain {
    GK_GRAIN_ENGINE, /* what the target's engine can load differently              */
    GK_GRAIN_KIND,   /* one scheme for q, k and v of all layers, one for o, ...: for
                        engines that know no layers by name (SGLang)               */
    GK_GRAIN_MATRIX, /* every matrix: only grokkit reads that                      */
} gk_grain;

typedef struct gk_goal {
    uint64_t bytes; /* of all files of OUT at most; 0: bits counts  */
    double bits;    /* a weight at most: of a GGUF's tensors, else of what is chosen for: engines
                       keep embeddings and head, and people count without them */
    gk_grain grain;
    const volatile sig_atomic_t *stop;
    /* Bytes of weights measured since the last call, and which. May be NULL. */
    void (*progress)(void *context, uint64_t bytes, const char *tensor);
    void *context;
} gk_goal;

/* What became of one unit. */
typedef struct gk_allocated {
    const char *name;   /* of its first tensor, the numbers but the layer's left out */
    const char *scheme;
    uint64_t n_tensors, bytes;
    double cost;        /* alone */
} gk_allocated;

/* What any choice of so many bytes costs at least. */
typedef struct gk_curve_point {
    uint64_t bytes; /* of all files (about: headers as in the plan) */
    double bits, cost;
} gk_curve_point;

typedef struct gk_allocation {
    gk_arena *arena;
    bool is_kld;        /* costs are predicted KL divergences, else mean relative errors */
    double cost, bound; /* of what was chosen; what no choice of that size is below */
    double bits;        /* a weight, of what the goal counts */
    uint64_t target;    /* bytes: the goal, as bytes of all files */
    gk_allocated *unit;
    uint64_t n_units;
    gk_curve_point *point;
    uint64_t n_points;
    const char *recipe; /* what --recipe takes back */
} gk_allocation;

/* Chooses within the rules of the recipe, which stay as they are, and returns the plan of the
 * choice. Free the allocation in any case. NULL and *err: as gk_plan_new(); ARG (no choice is so
 * small, a target of one scheme), IO. */
gk_plan *gk_allocate(const gk_catalog *from, const gk_recipe *recipe,
                     const gk_plan_options *options, const gk_goal *goal, gk_allocation *out,
                     gk_err *err);
void     gk_allocation_free(gk_allocation *a);

#endif
