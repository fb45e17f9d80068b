/* verify/sweep.h - one pass over the bytes of a model, for all who want to see them: files are
 * digested and, as they go by, the values of the tensors in them are looked at. */
#ifndef GK_VERIFY_SWEEP_H
#define GK_VERIFY_SWEEP_H

#include <signal.h>

#include "verify/checksums.h"
#include "verify/values.h"

typedef struct gk_sweep {
    gk_catalog *c;
    gk_sums    *sums;   /* rows to compute, or NULL         */
    gk_values  *values; /* whoever looks at all, or NULL    */
    bool        keep_going; /* a tensor that cannot be read is told to values; go on */
    int         threads;
    const volatile sig_atomic_t *stop;
    void (*progress)(void *context, uint64_t bytes, const char *name); /* any thread */
    void *context;
} gk_sweep;

/* Returns the bytes that a pass will read, more or less. */
uint64_t gk_sweep_bytes(const gk_sweep *p);

/* Makes it. A row that cannot be computed says so in its failure. False: NOMEM, INTERRUPTED;
 * IO when a tensor cannot be read and somebody wants its values. */
bool gk_sweep_run(const gk_sweep *p, gk_err *err);

/* SHA-256 of the values of a tensor as they would lie merged, row by row; of an encoded
 * one of its parts, one after the other. buf: scratch of buf_bytes, at least a row. */
bool gk_tensor_digest(const gk_catalog *c, const gk_tensor *t, void *buf, uint64_t buf_bytes,
                      char hex[65], gk_err *err);

#endif
