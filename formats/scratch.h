/* formats/scratch.h - a file without a name, for what memory does not hold.
 *
 * It lies in a directory, can be opened by nobody else and is gone when it is closed or the
 * process ends, however that comes. */
#ifndef GK_FORMATS_SCRATCH_H
#define GK_FORMATS_SCRATCH_H

#include "formats/io.h"

typedef struct gk_scratch {
    const char *dir;
    int fd;
    uint64_t bytes;
} gk_scratch;

/* Returns an open descriptor of such a file in dir; -1 and IO. */
int gk_scratch_descriptor(gk_arena *a, const char *dir, gk_err *err);

/* Opens one of `bytes` bytes, all of them reserved where the file system can; the struct lives
 * in a. NULL: IO, SPACE (nothing was written in vain), NOMEM. Close with gk_scratch_close(). */
gk_scratch *gk_scratch_open(gk_arena *a, const char *dir, uint64_t bytes, gk_err *err);
void gk_scratch_close(gk_scratch *s);

/* Writes or reads n bytes at off; disjoint ranges from many threads at once. False: IO, SPACE. */
bool gk_scratch_write(const gk_scratch *s, uint64_t off, const void *buf, uint64_t n, gk_err *err);
bool gk_scratch_read(const gk_scratch *s, uint64_t off, void *buf, uint64_t n, gk_err *err);

#endif
