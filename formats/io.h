/* formats/io.h - files, read exactly or not at all.
 *
 * Reads and writes go by offset in loops that survive EINTR and short counts,
 * at most 1 GiB a call. Nothing is mapped, so a file that is cut while it is
 * read is an error with its name, never a signal. */
#ifndef GK_FORMATS_IO_H
#define GK_FORMATS_IO_H

#include "formats/arena.h"

/* An input: a file, a range of one (a member of an archive), or text in memory.
 * Immutable after opening; reading from many threads is safe. */
typedef struct gk_file {
    const char *path;     /* as opened                               */
    const char *name;     /* what messages call it: the last part    */
    uint64_t    size;     /* bytes, when it was opened               */
    uint64_t    base;     /* of its first byte in the descriptor     */
    const char *mem;      /* the bytes themselves; NULL: fd has them */
    int         fd;
    bool        borrowed; /* fd belongs to another gk_file           */
    uint64_t    device, inode; /* of a file that was opened          */
    int64_t     mtime_ns;      /* its last change, when it was       */
    const struct gk_text_view *text; /* bytes held as text, or NULL  */
} gk_file;

/* Opens a regular file for reading; the struct and its strings live in a.
 * NULL and *err: IO when it cannot be opened, FORMAT when it is a directory,
 * pipe or device (never waits for a writer). Close with gk_file_close(). */
gk_file *gk_file_open(gk_arena *a, const char *path, gk_err *err);
void     gk_file_close(gk_file *f);

/* Returns bytes [off, off + size) of whole under another name; whole must stay open.
 * NULL and *err: FORMAT when they do not lie in it, NOMEM. */
gk_file *gk_file_member(gk_arena *a, const gk_file *whole, const char *name, uint64_t off,
                        uint64_t size, gk_err *err);

/* Returns size bytes at mem, which must outlive it, as a file. NULL and NOMEM. */
gk_file *gk_file_memory(gk_arena *a, const char *name, const char *mem, uint64_t size,
                        gk_err *err);

/* Fills buf with the n bytes at off. False and IO when the file ends before
 * (it was cut while open) or the system fails; file and offset are recorded. */
bool gk_file_read(const gk_file *f, uint64_t off, void *buf, uint64_t n, gk_err *err);

/* Returns whether a file is still what it was when it was opened; else IO. */
bool gk_file_unchanged(const gk_file *f, gk_err *err);

/* Offsets from here on are those of bytes that the file holds as text. */
#define GK_FILE_TEXT (UINT64_C(1) << 62)

/* Declares that len bytes of text at off, the UTF-8 of characters up to U+00FF, stand for
 * size bytes (pickles of protocol 2). Walks it once; *where is the offset at which those
 * bytes are read. False: FORMAT when it is no such text, IO, NOMEM. */
bool gk_file_add_text(gk_arena *a, gk_file *f, uint64_t off, uint64_t len, uint64_t size,
                      uint64_t *where, gk_err *err);

/* gk_file_read() from GK_FILE_TEXT on. */
bool gk_file_read_text(const gk_file *f, uint64_t off, void *buf, uint64_t n, gk_err *err);

/* Returns the whole file in a NUL-terminated buffer from gk_alloc(), *len bytes;
 * NULL and *err: LIMIT above max_bytes, else as gk_file_read() or gk_file_open(). */
char *gk_file_text(const gk_file *f, uint64_t max_bytes, uint64_t *len, gk_err *err);
char *gk_file_slurp(const char *path, uint64_t max_bytes, uint64_t *len, gk_err *err);

typedef enum gk_path_kind {
    GK_PATH_NONE, /* nothing there (or a dangling link) */
    GK_PATH_FILE,
    GK_PATH_DIR,
    GK_PATH_OTHER, /* pipe, socket, device */
} gk_path_kind;

/* Returns what stands at path, links followed. */
gk_path_kind gk_path_kind_of(const char *path);

/* Returns the size of the regular file at path, 0 when there is none. */
uint64_t gk_path_bytes(const char *path);

/* Returns the names in a directory, byte-sorted, without "." and "..", in a;
 * *n of them. NULL and IO. */
const char **gk_dir_names(gk_arena *a, const char *path, uint64_t *n, gk_err *err);

/* Returns dir/name, the last part of path, or the part before it ("." if none). */
char       *gk_path_join(gk_arena *a, const char *dir, const char *name, gk_err *err);
const char *gk_path_base(const char *path);
char       *gk_path_dir(gk_arena *a, const char *path, gk_err *err);

/* Returns where the link at path leads, as it says; NULL when it is none (err: only NOMEM). */
char *gk_path_link(gk_arena *a, const char *path, gk_err *err);

/* Returns path made absolute with all links resolved; of a path whose last part
 * does not exist, the resolved parent plus that part. NULL and IO. */
char *gk_path_real(gk_arena *a, const char *path, gk_err *err);

/* Writes the n bytes at off of an open descriptor; name is for the message.
 * False and *err: SPACE when the disk or a quota is full, else IO. */
bool gk_pwrite(int fd, const char *name, uint64_t off, const void *buf, uint64_t n, gk_err *err);

/* Records errno as IO or SPACE: "cannot VERB: reason". Returns false. */
bool gk_fail_errno(gk_err *err, const char *file, uint64_t off, const char *verb);

#endif
