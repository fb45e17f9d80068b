/* verify/checks.h - examinations of a model, each a row of one table. */
#ifndef GK_VERIFY_CHECKS_H
#define GK_VERIFY_CHECKS_H

#include <signal.h>

#include "verify/checksums.h"
#include "verify/figures.h"

typedef struct gk_check_options {
    bool     values;     /* read every weight                              */
    gk_sums *sums;       /* digests to compute and compare, or NULL        */
    bool     keep_going; /* a tensor that cannot be read becomes a finding */
    gk_figure_table *figures; /* what values come to, set and to be freed by who asks; or NULL */
    int      threads;
    const volatile sig_atomic_t *stop;
    void (*progress)(void *context, uint64_t bytes, const char *tensor); /* any thread */
    void *context;
} gk_check_options;

/* Runs all checks on an opened model; findings are appended to c->findings. What opening
 * found (slices, shapes, index) stands there already. False: IO, NOMEM, INTERRUPTED. */
bool gk_checks_run(gk_catalog *c, const gk_check_options *options, gk_err *err);

#endif
