/* quant/digests.h - SHA-256 of whole files, several at a time. */
#ifndef GK_QUANT_DIGESTS_H
#define GK_QUANT_DIGESTS_H

#include "quant/follow.h"
#include "quant/run.h"

/* Fills in row[i].sha256 of n files of a directory, the first of which were followed. False:
 * IO, NOMEM, INTERRUPTED. */
bool gk_digest_files(const char *dir, gk_follow *f, gk_run_file *row, uint64_t n, int threads,
                     const volatile sig_atomic_t *stop, gk_err *err);

/* The same for the catalog's inputs; row has one a file. */
bool gk_digest_inputs(const gk_catalog *c, gk_run_file *row, int threads,
                      const volatile sig_atomic_t *stop, gk_err *err);

#endif
