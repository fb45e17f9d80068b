/* quant/follow.h - SHA-256 of weight files, close behind those who write them.
 *
 * Units are done in the order of the files (quant/plan.h), so what stands before the lowest
 * unfinished one is there for good, and still in the page cache: hashing it then costs no
 * reading. What comes out is the digest of the whole file, as if it was read at the end. */
#ifndef GK_QUANT_FOLLOW_H
#define GK_QUANT_FOLLOW_H

#include <signal.h>

#include "formats/output.h"
#include "quant/plan.h"

typedef struct gk_follow gk_follow;

/* Begins to follow the plan's weight files; file[i] is the output's number of shard i.
 * NULL and NOMEM. Free in any case. */
gk_follow *gk_follow_new(const gk_plan *p, gk_output *out, const int *file, gk_err *err);
void       gk_follow_free(gk_follow *f);

/* Returns how many shards are followed: all of the plan's. */
uint64_t gk_follow_shards(const gk_follow *f);

/* The bytes of a unit are written, now or by an earlier run. From any thread. Hashes a
 * little of what that completes. False: IO. */
bool gk_follow_note(gk_follow *f, uint64_t unit, gk_err *err);

/* Hashes the rest of shard i and gives its digest; all units are done. From any thread, each
 * shard once. False: IO; INTERRUPTED once *stop is set. */
bool gk_follow_end(gk_follow *f, uint64_t i, const volatile sig_atomic_t *stop,
                   char hex[GK_SHA256_HEX], gk_err *err);

#endif
