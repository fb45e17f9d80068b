/* formats/output.h - a directory that appears whole or not at all.
 *
 * Everything is written into OUT.partial-TAG beside OUT; gk_output_commit() syncs
 * it and renames it once. Until then nothing called OUT exists (or the old OUT
 * stands untouched); after an error gk_output_abandon() leaves nothing behind. */
#ifndef GK_FORMATS_OUTPUT_H
#define GK_FORMATS_OUTPUT_H

#include "formats/io.h"

typedef struct gk_output gk_output;

/* Refuses (ARG) an OUT that is, contains or lies inside `input`, links resolved. Reads only. */
bool gk_output_apart(const char *out, const char *input, gk_err *err);

/* Refuses (ARG) an OUT that exists, unless force is set and OUT is an empty
 * directory or a model directory; refuses an OUT that is, contains or lies inside
 * `input` (links resolved), with force too. Reads only. */
bool gk_output_allowed(const char *out, const char *input, bool force, gk_err *err);

/* Returns the bytes free for us where `out` will lie; 0 when unknown. */
uint64_t gk_output_free_bytes(const char *out);

/* Returns the path OUT.partial-TAG, links in it resolved, in a. NULL: IO, NOMEM. */
char *gk_output_partial_of(gk_arena *a, const char *out, const char *tag, gk_err *err);

typedef struct gk_output_how {
    bool as_files;   /* the files go to the directory OUT lies in, each under its name */
    bool resume;     /* what another run left is taken up, else it is emptied          */
    bool break_lock; /* whoever holds the lock is taken for dead                       */
} gk_output_how;

/* Creates OUT.partial-TAG and takes its lock. It holds the lock, what the caller keeps
 * there (a journal), and the directory that becomes OUT. NULL: IO; ARG when another
 * process is at work there. */
gk_output *gk_output_begin(const char *out, const char *tag, const gk_output_how *how, gk_err *err);

/* Returns the path of the directory under construction, and that of OUT.partial-TAG. */
const char *gk_output_path(const gk_output *o);
const char *gk_output_partial(const gk_output *o);

/* Returns OUT.partial-TAG as an open directory, which stays the output's. */
int gk_output_dir(const gk_output *o);

/* Creates a file of `bytes` bytes, its blocks reserved, and stores its number; with
 * how.resume a file of that size that is there keeps its bytes. name is a plain file name.
 * False: IO, SPACE (nothing was written in vain). */
bool gk_output_create(gk_output *o, const char *name, uint64_t bytes, int *file, gk_err *err);

/* Writes n bytes at off of a file. Disjoint ranges may be written from many
 * threads at once. */
bool gk_output_write(gk_output *o, int file, uint64_t off, const void *buf, uint64_t n,
                     gk_err *err);

/* Fills buf with the n bytes at off of a file. False: IO. */
bool gk_output_read(const gk_output *o, int file, uint64_t off, void *buf, uint64_t n,
                    gk_err *err);

/* Says that a file is read behind those who write it, up to off: what lies there and a little
 * farther stays in the page cache; without this all that is on the disk is let go of. */
void gk_output_read_until(gk_output *o, int file, uint64_t off);

/* Lets go of those pages now; writing does so from time to time. */
void gk_output_drop(const gk_output *o, int file);

/* Creates a file with this content. */
bool gk_output_put(gk_output *o, const char *name, const void *buf, uint64_t n, gk_err *err);

/* Copies a file, byte for byte. */
bool gk_output_copy(gk_output *o, const char *name, const gk_file *from, gk_err *err);

/* Counts a file that another run finished among those of OUT. False: NOMEM. */
bool gk_output_adopt(gk_output *o, const char *name, gk_err *err);

/* Brings what was written to the disk, from any thread; writes may go on beside it. After
 * a false (IO, SPACE) nothing written is to be trusted, whatever a second call says. */
bool gk_output_sync(gk_output *o, gk_err *err);

/* Syncs and closes all files, and syncs the directory. False: as gk_output_sync(). */
bool gk_output_seal(gk_output *o, gk_err *err);

/* Seals, renames the directory to OUT (with force: exchanges it with the old OUT and
 * removes that), removes OUT.partial-TAG, frees o. Of several files the first,
 * which leads to the others, is renamed last. On false the partial
 * directory is gone and o is freed too. */
bool gk_output_commit(gk_output *o, bool force, gk_err *err);

/* Removes what was written; frees o. NULL is fine. */
void gk_output_abandon(gk_output *o);

/* Removes an OUT.partial-TAG that a run left which had OUT in its place already; one that is
 * somebody's stays. */
void gk_output_clear(const char *out, const char *tag);

/* Declares what was written worthless; a failed sync does so, too. */
void gk_output_distrust(gk_output *o);

/* Returns whether what was written may be taken up by another run. */
bool gk_output_trusted(const gk_output *o);

/* Gives the lock back and leaves the rest for a run that takes it up; frees o. */
void gk_output_leave(gk_output *o);

/* Writes a file beside its final name and renames it there: whole or not at all. A pipe
 * or device at path is written to instead. */
bool gk_file_put(const char *path, const void *buf, uint64_t n, gk_err *err);

#endif
