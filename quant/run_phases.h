/* quant/run_phases.h - the part of a run in which GPTQ takes its turns. */
#ifndef GK_QUANT_RUN_PHASES_H
#define GK_QUANT_RUN_PHASES_H

#include "quant/phases.h"
#include "quant/progress.h"

typedef struct gk_solving {
    const gk_plan         *p;
    const gk_inputs       *inputs;
    const gk_progress_log *log;
    const char            *out; /* where OUT is being built                      */
    gk_hessian           **factor; /* [n_items] is set before a phase is run       */
    bool (*run)(void *context, uint32_t phase, gk_err *err); /* all units of a phase */
    void *context;
} gk_solving;

/* Runs phase after phase of a plan; those that are done only move the pass on. *n_unsolved grows
 * by the matrices that had no inputs to go by. False: as the pass and its runs. */
bool gk_run_phases(const gk_solving *job, uint64_t *n_unsolved, gk_err *err);

#endif
