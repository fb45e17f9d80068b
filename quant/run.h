/* quant/run.h - executes a plan. */
#ifndef GK_QUANT_RUN_H
#define GK_QUANT_RUN_H

#include <signal.h>

#include "quant/plan.h"

typedef struct gk_run_options {
    bool         verify; /* read everything back and require the run's own errors */
    bool         force;  /* replace OUT at the end                                */
    bool         resume; /* take up what a run of the same plan left              */
    bool         break_lock; /* whoever holds the output's lock is dead           */
    const struct gk_inputs *inputs; /* of a plan with phases: the forward pass */
    const volatile sig_atomic_t *stop; /* nonzero: give up; NULL: never           */
    /* Called from any thread: input bytes done, the tensor worked on. May be NULL. */
    void (*progress)(void *context, uint64_t bytes, const char *tensor);
    void *context;
} gk_run_options;

typedef struct gk_run_file {
    const char *name;
    uint64_t    bytes;
    char        sha256[GK_SHA256_HEX]; /* "" when not hashed */
} gk_run_file;

typedef struct gk_run_result {
    gk_arena    *arena;
    double      *rel_error; /* of each item: sum (w - v)^2 / sum w^2; 0 when kept */
    gk_run_file *file;      /* everything written: the plan's files               */
    uint64_t     n_files;
    gk_run_file *input;     /* the files read, in the catalog's order */
    uint64_t    n_unsolved; /* GPTQ: matrices without usable inputs, rounded as by search */
    double       seconds;
    bool         kept; /* failed, and what was done waits for a run with resume */
} gk_run_result;

/* Writes OUT as the plan says: whole, or nothing. The bytes do not depend on threads,
 * memory or earlier attempts. False: FORMAT for a NaN or infinity (with tensor, row and
 * column), IO (also when an input changed while it was read), SPACE, INTERRUPTED. Nothing
 * is left behind then, or, with result->kept, OUT.partial-TAG with what was done. Free the
 * result in any case. */
bool gk_run(const gk_plan *p, const char *out, const gk_run_options *options,
            gk_run_result *result, gk_err *err);
void gk_run_result_free(gk_run_result *r);

/* Returns whether the GGUF at out is what the plan writes: its headers, and the first tile
 * of each tensor, encoded again. False: ARG, naming the difference; IO, NOMEM. */
bool gk_run_stands(const gk_plan *p, const char *out, gk_err *err);

/* Appends a warning for every item whose error is over 3 times the median of its kind
 * (tensors whose names differ only in numbers). False: NOMEM. */
bool gk_run_outliers(const gk_plan *p, const gk_run_result *r, gk_findings *out, gk_err *err);

#endif
