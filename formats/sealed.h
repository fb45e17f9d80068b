/* formats/sealed.h - a file of a program's own state: whole and unharmed, or not there.
 *
 *   "GKSEAL1\n"  content  SHA-256 of both, 32 bytes
 *
 * It is written beside its name, synced and renamed; one that was cut, grew or has another bit
 * anywhere is refused, so that who reads it sees what was written. */
#ifndef GK_FORMATS_SEALED_H
#define GK_FORMATS_SEALED_H

#include "formats/io.h"

typedef struct gk_sealed gk_sealed;

/* Starts a file, for its owner alone; directories that lack are made. NULL: IO, NOMEM. */
gk_sealed *gk_sealed_create(const char *path, gk_err *err);
bool gk_sealed_add(gk_sealed *s, const void *buf, uint64_t n, gk_err *err);

/* Syncs it and gives it its name; frees s in any case. ok false: removes it instead and returns
 * false. False: IO, SPACE. */
bool gk_sealed_commit(gk_sealed *s, bool ok, gk_err *err);

/* Opens the regular file at path, whose content must be `bytes` long. NULL: FORMAT when it is
 * not, IO, NOMEM. */
gk_sealed *gk_sealed_open(const char *path, uint64_t bytes, gk_err *err);

/* Fills buf with the next n bytes of the content. False: IO, FORMAT when no more are there. */
bool gk_sealed_take(gk_sealed *s, void *buf, uint64_t n, gk_err *err);
void gk_sealed_close(gk_sealed *s);

/* Removes the file at path, if it is there. */
void gk_sealed_remove(const char *path);

#endif
