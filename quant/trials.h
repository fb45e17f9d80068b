/* quant/trials.h - what schemes would cost matrices: encoded, measured, forgotten. */
#ifndef GK_QUANT_TRIALS_H
#define GK_QUANT_TRIALS_H

#include <signal.h>

#include "quant/codec_group.h"
#include "quant/knapsack.h"
#include "quant/layout.h"

/* One matrix. */
typedef struct gk_trial {
    const gk_tensor *tensor;
    const float *importance; /* E[x^2] of its columns, or NULL: ones  */
    uint64_t rows;           /* that are tried, at even distances; 0: all */
    bool tries[GK_MAX_OPTIONS];
    /* Filled in, for the whole of it: sums of importance (w - value)^2, of the noise of
     * gk_through() with 4 and 8 bits, and of importance w^2. */
    double error[GK_MAX_OPTIONS], noise, noise8, square;
} gk_trial;

typedef struct gk_trial_job {
    const gk_catalog *from;
    const gk_scheme *scheme; /* [n_schemes], at most GK_MAX_OPTIONS; codes have their layout */
    int n_schemes;
    gk_method method; /* GPTQ's scales are search's */
    int threads;           /* fewer, where their buffers do not fit ... */
    uint64_t memory_bytes; /* ... half of this                          */
    const volatile sig_atomic_t *stop;
    void (*progress)(void *context, uint64_t bytes, const char *tensor); /* or NULL */
    void *context;
} gk_trial_job;

/* Returns the weights that will be encoded for the trials, each scheme counted once. */
uint64_t gk_trial_bytes(const gk_trial *t, uint64_t n);

/* Runs all. The sums do not depend on threads. False: IO, FORMAT (a value that is not finite,
 * or too large for a type), NOMEM, INTERRUPTED. */
bool gk_trials_run(const gk_trial_job *job, gk_trial *trial, uint64_t n, gk_err *err);

#endif
