/* formats/output.c - building a directory under another name, and the one rename. */
#include "formats/output.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "formats/checked.h"
#include "formats/lock.h"
#include "formats/text.h"

#define COPY_BYTES (1u << 20)

/* What stands in OUT.partial-TAG beside the journal: who works there, and what becomes OUT. */
#define LOCK_NAME "lock"
#define DATA_NAME "data"

#define PUSH_BYTES (UINT64_C(8) << 20)   /* written, and the disk is told                   */
#define KEEP_BYTES (UINT64_C(192) << 20) /* left in the cache for the reader behind writers */

typedef struct out_file {
    const char *name;
    int         fd;
    uint64_t    pending; /* bytes written since the disk was told           */
    uint64_t    read;    /* where the reader behind is; NOBODY: there is none */
} out_file;

#define NOBODY UINT64_MAX

struct gk_output {
    gk_arena   *arena;
    const char *out, *partial, *data, *parent;
    gk_output_how how;
    bool        locked, worthless;
    int         dir;     /* the partial directory, for lock and journal */
    int         to;      /* data in it                                  */
    out_file   *file;
    uint64_t    n, cap;
};

/* ---- what may be replaced ------------------------------------------------- */

static bool holds_a_model(const char *path, gk_err *err)
{
    gk_arena *a = gk_arena_new(err);
    uint64_t n = 0;
    const char **name = a == NULL ? NULL : gk_dir_names(a, path, &n, err);
    bool yes = name != NULL && n == 0;

    for (uint64_t i = 0; name != NULL && i < n; i++) {
        const size_t len = strlen(name[i]);
        yes |= strcmp(name[i], "config.json") == 0
               || (len > 12 && strcmp(name[i] + len - 12, ".safetensors") == 0);
    }
    gk_arena_free(a);
    return yes;
}

static bool is_inside(const char *inner, const char *outer)
{
    const size_t n = strlen(outer);

    return strncmp(inner, outer, n) == 0
           && (inner[n] == '\0' || inner[n] == '/' || strcmp(outer, "/") == 0);
}

bool gk_output_apart(const char *out, const char *input, gk_err *err)
{
    gk_arena *a = gk_arena_new(err);
    char *x = a == NULL ? NULL : gk_path_real(a, out, err);
    char *y = x == NULL ? NULL : gk_path_real(a, input, err);
    /* where the input's own name stands, should it be a link */
    char *dir = y == NULL ? NULL : gk_path_dir(a, input, err);
    char *real_dir = dir == NULL ? NULL : gk_path_real(a, dir, err);
    char *link = real_dir == NULL ? NULL : gk_path_join(a, real_dir, gk_path_base(input), err);
    bool ok = link != NULL;

    if (ok && (is_inside(x, y) || is_inside(y, x) || is_inside(link, x)))
        ok = gk_fail(err, GK_ERR_ARG, GK_NO_OFF,
                     "the output is, contains or lies inside the input %s", input);
    if (!ok)
        gk_fail_at(err, out, NULL);
    gk_arena_free(a);
    return ok;
}

bool gk_output_allowed(const char *out, const char *input, bool force, gk_err *err)
{
    const gk_path_kind kind = gk_path_kind_of(out);
    struct stat st;
    bool ok = true;

    if (!gk_output_apart(out, input, err))
        return false;
    if (kind == GK_PATH_NONE && lstat(out, &st) == 0)
        ok = gk_fail(err, GK_ERR_ARG, GK_NO_OFF,
                     "is a link that leads nowhere: not replaced, even with --force");
    else if (kind != GK_PATH_NONE && !force)
        ok = gk_fail(err, GK_ERR_ARG, GK_NO_OFF, "exists already; --force replaces it");
    else if (kind != GK_PATH_NONE && !(kind == GK_PATH_FILE && gk_ends_with(out, ".gguf"))
             && (kind != GK_PATH_DIR || !holds_a_model(out, err)))
        ok = gk_fail(err, GK_ERR_ARG, GK_NO_OFF,
                     "exists and is no model directory: not replaced, even with --force");
    return ok || gk_fail_at(err, out, NULL);
}

uint64_t gk_output_free_bytes(const char *out)
{
    struct statvfs st;
    uint64_t bytes = 0;
    gk_arena *a = gk_arena_new(NULL);
    char *parent = a == NULL ? NULL : gk_path_real(a, out, NULL);
    char *dir = parent == NULL ? NULL : gk_path_dir(a, parent, NULL);

    if (dir != NULL && statvfs(dir, &st) == 0 && !gk_mul(st.f_bavail, st.f_frsize, &bytes))
        bytes = 0;
    gk_arena_free(a);
    return bytes;
}

/* ---- removing ------------------------------------------------------------- */

static void remove_dir_at(int parent, const char *name);

/* Empties a directory, but for one name. Does not follow links, and asks for no memory of
 * ours: it runs when there is none left. Best effort: what cannot be removed stays. */
static void empty_dir_at(int parent, const char *name, const char *but)
{
    const int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);

    for (struct dirent *e; dir != NULL && (e = readdir(dir)) != NULL;) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0
            || (but != NULL && strcmp(e->d_name, but) == 0))
            continue;
        if (unlinkat(fd, e->d_name, 0) != 0 && errno == EISDIR)
            remove_dir_at(fd, e->d_name);
    }
    if (dir != NULL)
        closedir(dir);
    else if (fd >= 0)
        close(fd);
}

/* The same for a directory that we made, or that was to be replaced; then removes it. */
static void remove_dir_at(int parent, const char *name)
{
    empty_dir_at(parent, name, NULL);
    unlinkat(parent, name, AT_REMOVEDIR);
}

static void remove_dir(const char *path)
{
    remove_dir_at(AT_FDCWD, path);
}

/* ---- building ------------------------------------------------------------- */

static void free_output(gk_output *o)
{
    for (uint64_t i = 0; i < o->n; i++)
        if (o->file[i].fd >= 0)
            close(o->file[i].fd);
    if (o->to >= 0)
        close(o->to);
    if (o->locked)
        gk_lock_drop(o->dir, LOCK_NAME);
    if (o->dir >= 0)
        close(o->dir);
    gk_free(o->file);
    gk_arena_free(o->arena);
    gk_free(o);
}

/* Makes a directory that may be there already, and opens it. -1 and IO. */
static int make_dir(int at, const char *name, const char *path, gk_err *err)
{
    if (mkdirat(at, name, 0777) != 0 && errno != EEXIST)
        return gk_fail_errno(err, path, GK_NO_OFF, "create the directory"), -1;
    const int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        gk_fail_errno(err, path, GK_NO_OFF, "open the directory");
    return fd;
}

static bool begin(gk_output *o, gk_err *err)
{
    o->dir = make_dir(AT_FDCWD, o->partial, o->partial, err);
    if (o->dir < 0)
        return false;
    o->locked = gk_lock_take(o->dir, LOCK_NAME, o->how.break_lock, err);
    if (!o->locked)
        return gk_fail_at(err, o->partial, NULL);
    if (!o->how.resume)
        empty_dir_at(AT_FDCWD, o->partial, LOCK_NAME);
    o->to = make_dir(o->dir, DATA_NAME, o->data, err);
    return o->to >= 0;
}

char *gk_output_partial_of(gk_arena *a, const char *out, const char *tag, gk_err *err)
{
    char *real = gk_path_real(a, out, err);

    return real == NULL ? NULL : gk_arena_printf(a, err, "%s.partial-%s", real, tag);
}

gk_output *gk_output_begin(const char *out, const char *tag, const gk_output_how *how, gk_err *err)
{
    gk_output *o = gk_alloc(1, sizeof *o, err);

    if (o == NULL)
        return NULL;
    *o = (gk_output){.arena = gk_arena_new(err), .how = *how, .dir = -1, .to = -1};
    if (o->arena != NULL)
        o->out = gk_path_real(o->arena, out, err);
    if (o->out != NULL)
        o->parent = gk_path_dir(o->arena, o->out, err);
    if (o->parent != NULL)
        o->partial = gk_output_partial_of(o->arena, out, tag, err);
    if (o->partial != NULL)
        o->data = gk_path_join(o->arena, o->partial, DATA_NAME, err);
    if (o->data != NULL && begin(o, err))
        return o;
    if (o->locked && !how->resume)
        remove_dir(o->partial);
    else if (o->dir >= 0)
        rmdir(o->partial); /* nobody's when it is empty */
    free_output(o);
    return NULL;
}

const char *gk_output_path(const gk_output *o)
{
    return o->data;
}

const char *gk_output_partial(const gk_output *o)
{
    return o->partial;
}

int gk_output_dir(const gk_output *o)
{
    return o->dir;
}

/* Bytes that nobody wrote show in builds made for tests. */
static bool fill(int fd, const char *name, uint64_t bytes, gk_err *err)
{
#if defined GK_FILL
    unsigned char block[4096];

    memset(block, GK_FILL, sizeof block);
    for (uint64_t at = 0; at < bytes; at += sizeof block)
        if (!gk_pwrite(fd, name, at, block, gk_min(sizeof block, bytes - at), err))
            return false;
#else
    (void)fd, (void)name, (void)bytes, (void)err;
#endif
    return true;
}

/* Gives a new file its size. Reserving says "disk full" before hours of work; where a file
 * system cannot, the size is set and the writes will tell. */
static bool reserve(int fd, const char *name, uint64_t bytes, gk_err *err)
{
    const int e = bytes == 0 ? 0 : posix_fallocate(fd, 0, (off_t)bytes);

    if (e == EOPNOTSUPP || e == EINVAL || e == ENOSYS) {
        if (ftruncate(fd, (off_t)bytes) != 0)
            return gk_fail_errno(err, name, GK_NO_OFF, "set the size");
    } else if (e != 0) {
        errno = e;
        return gk_fail_errno(err, name, GK_NO_OFF, "reserve space");
    }
    return fill(fd, name, bytes, err);
}

static bool is_open(const gk_output *o, const char *name)
{
    for (uint64_t i = 0; i < o->n; i++)
        if (strcmp(o->file[i].name, name) == 0)
            return true;
    return false;
}

bool gk_output_create(gk_output *o, const char *name, uint64_t bytes, int *file, gk_err *err)
{
    void *rows = o->file;
    struct stat st;

    if (!gk_grow(&rows, &o->cap, o->n + 1, sizeof *o->file, err))
        return false;
    o->file = rows;
    char *copy = gk_arena_str(o->arena, name, err);
    if (copy == NULL)
        return false;
    const int unique = o->how.resume && !is_open(o, name) ? 0 : O_EXCL;
    const int fd = openat(o->to, name, O_RDWR | O_CREAT | unique | O_CLOEXEC | O_NOFOLLOW, 0666);
    if (fd < 0) {
        if (errno == EMFILE)
            gk_fail(err, GK_ERR_IO, GK_NO_OFF,
                    "too many open files: raise 'ulimit -n' or --max-shard-size");
        return gk_fail_errno(err, name, GK_NO_OFF, "create");
    }
    o->file[o->n] = (out_file){copy, fd, 0, NOBODY};
    *file = (int)o->n++;
    if (unique == 0 && fstat(fd, &st) == 0 && st.st_size > 0) {
        /* another run's; it had its whole size before its journal had a line */
        if ((uint64_t)st.st_size == bytes)
            return true;
        if (ftruncate(fd, 0) != 0)
            return gk_fail_errno(err, name, GK_NO_OFF, "set the size");
    }
    return reserve(fd, name, bytes, err);
}

bool gk_output_adopt(gk_output *o, const char *name, gk_err *err)
{
    void *rows = o->file;

    if (!gk_grow(&rows, &o->cap, o->n + 1, sizeof *o->file, err))
        return false;
    o->file = rows;
    o->file[o->n] = (out_file){gk_arena_str(o->arena, name, err), -1, 0, NOBODY};
    return o->file[o->n++].name != NULL;
}

/* Lets go of the pages that are clean, but for those that will be read soon. It has the
 * others written, too, and waits where the disk has a queue: nothing for the reader. */
static void drop_clean(const out_file *f)
{
    const uint64_t read = __atomic_load_n(&f->read, __ATOMIC_RELAXED);

    if (read == NOBODY) {
        posix_fadvise(f->fd, 0, 0, POSIX_FADV_DONTNEED);
        return;
    }
    if (read > 0) /* a length of 0 would be all of it */
        posix_fadvise(f->fd, 0, (off_t)read, POSIX_FADV_DONTNEED);
    posix_fadvise(f->fd, (off_t)(read + KEEP_BYTES), 0, POSIX_FADV_DONTNEED);
}

void gk_output_distrust(gk_output *o) { __atomic_store_n(&o->worthless, true, __ATOMIC_RELAXED); }

bool gk_output_trusted(const gk_output *o)
{
    return !__atomic_load_n(&o->worthless, __ATOMIC_RELAXED);
}

/* A failed sync loses data that a second call would call clean: nothing is taken up then. */
static bool lost(gk_output *o, const char *name, gk_err *err)
{
    gk_output_distrust(o);
    return gk_fail_errno(err, name, GK_NO_OFF, "sync");
}

/* What writing back went wrong with is told once, to whoever waits first: here that may be, and
 * the sync at the end would then succeed. Some file systems do not have the call. */
static bool early_sync(gk_output *o, const out_file *f, unsigned flags, gk_err *err)
{
    return sync_file_range(f->fd, 0, 0, flags) == 0 || errno == ENOSYS || errno == EINVAL
           || errno == ESPIPE || lost(o, f->name, err);
}

/* A run writes faster than disks do for as long as there is memory, and then stands still: so
 * the disk begins early, and who is a step ahead of it waits. */
static bool push(gk_output *o, out_file *f, uint64_t n, gk_err *err)
{
    if (__atomic_add_fetch(&f->pending, n, __ATOMIC_RELAXED) < PUSH_BYTES)
        return true;
    __atomic_store_n(&f->pending, 0, __ATOMIC_RELAXED);
    if (!early_sync(o, f, SYNC_FILE_RANGE_WAIT_BEFORE, err))
        return false;
    drop_clean(f);
    return early_sync(o, f, SYNC_FILE_RANGE_WRITE, err);
}

bool gk_output_write(gk_output *o, int file, uint64_t off, const void *buf, uint64_t n, gk_err *err)
{
    return gk_pwrite(o->file[file].fd, o->file[file].name, off, buf, n, err)
           && push(o, &o->file[file], n, err);
}

bool gk_output_read(const gk_output *o, int file, uint64_t off, void *buf, uint64_t n, gk_err *err)
{
    const gk_file f = {
        .path = o->file[file].name, .name = o->file[file].name, .size = off + n,
        .fd = o->file[file].fd};

    return gk_file_read(&f, off, buf, n, err);
}

void gk_output_read_until(gk_output *o, int file, uint64_t off)
{
    __atomic_store_n(&o->file[file].read, off, __ATOMIC_RELAXED);
}

void gk_output_drop(const gk_output *o, int file) { drop_clean(&o->file[file]); }

bool gk_output_put(gk_output *o, const char *name, const void *buf, uint64_t n, gk_err *err)
{
    int file;

    return gk_output_create(o, name, n, &file, err) && gk_output_write(o, file, 0, buf, n, err);
}

bool gk_output_copy(gk_output *o, const char *name, const gk_file *from, gk_err *err)
{
    void *buf = gk_alloc(COPY_BYTES, 1, err);
    int file = -1;

    bool ok = buf != NULL && gk_output_create(o, name, from->size, &file, err);
    for (uint64_t at = 0; ok && at < from->size;) {
        const uint64_t n = gk_min(COPY_BYTES, from->size - at);
        ok = gk_file_read(from, at, buf, n, err) && gk_output_write(o, file, at, buf, n, err);
        at += n;
    }
    gk_free(buf);
    return ok;
}

/* Some file systems cannot sync a directory; that is no failure of ours. */
static bool sync_fd(int dir, const char *path, gk_err *err)
{
    return fsync(dir) == 0 || errno == EINVAL || gk_fail_errno(err, path, GK_NO_OFF, "sync");
}

bool gk_output_sync(gk_output *o, gk_err *err)
{
    for (uint64_t i = 0; i < o->n; i++) {
        if (o->file[i].fd < 0)
            continue;
        if (fdatasync(o->file[i].fd) != 0)
            return lost(o, o->file[i].name, err);
        drop_clean(&o->file[i]);
    }
    return sync_fd(o->to, o->data, err) && sync_fd(o->dir, o->partial, err);
}

/* ---- the end -------------------------------------------------------------- */

static bool sync_dir(const char *path, gk_err *err)
{
    const int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0)
        return gk_fail_errno(err, path, GK_NO_OFF, "open the directory");
    const bool ok = sync_fd(fd, path, err);
    close(fd);
    return ok;
}

bool gk_output_seal(gk_output *o, gk_err *err)
{
    for (uint64_t i = 0; i < o->n; i++) {
        if (o->file[i].fd < 0)
            continue;
        if (fsync(o->file[i].fd) != 0)
            return lost(o, o->file[i].name, err);
        const int fd = o->file[i].fd;
        o->file[i].fd = -1;
        if (close(fd) != 0)
            return gk_fail_errno(err, o->file[i].name, GK_NO_OFF, "close");
    }
    return sync_fd(o->to, o->data, err);
}

/* Renames the finished directory to OUT. */
static bool put_in_place(gk_output *o, bool force, gk_err *err)
{
    if (renameat2(o->dir, DATA_NAME, AT_FDCWD, o->out, RENAME_NOREPLACE) == 0)
        return true;
    if (errno == EEXIST && force) {
        /* the old OUT goes with the partial directory */
        if (renameat2(o->dir, DATA_NAME, AT_FDCWD, o->out, RENAME_EXCHANGE) == 0)
            return true;
    } else if (errno == EINVAL || errno == ENOSYS) {
        /* no flags on this file system: a plain rename refuses a full directory */
        if (renameat(o->dir, DATA_NAME, AT_FDCWD, o->out) == 0)
            return true;
    }
    return gk_fail_errno(err, o->out, GK_NO_OFF, "rename the finished directory to it");
}

/* Moves the finished files to where OUT lies, the first one last. */
static bool put_files(gk_output *o, bool force, gk_err *err)
{
    const int parent = open(o->parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool ok = parent >= 0 || gk_fail_errno(err, o->parent, GK_NO_OFF, "open the directory");

    /* the first leads to the others: it goes before they change, and comes after them */
    if (ok && force && o->n > 1)
        unlinkat(parent, o->file[0].name, 0);
    uint64_t placed = o->n;
    for (uint64_t i = o->n; ok && i-- > 0;) {
        const char *name = o->file[i].name;
        ok = renameat2(o->to, name, parent, name, force ? 0 : RENAME_NOREPLACE) == 0
             || ((errno == EINVAL || errno == ENOSYS) && renameat(o->to, name, parent, name) == 0)
             || (errno == ENOENT && o->how.resume && faccessat(parent, name, F_OK, 0) == 0)
             || gk_fail_errno(err, name, GK_NO_OFF, "rename the finished file to it");
        placed = ok ? i : placed;
    }
    /* some parts of a set without its first are worth nothing, and look like more */
    for (uint64_t i = placed; !ok && i < o->n; i++)
        unlinkat(parent, o->file[i].name, 0);
    if (parent >= 0)
        close(parent);
    return ok;
}

bool gk_output_commit(gk_output *o, bool force, gk_err *err)
{
    if (!gk_output_seal(o, err) || !(o->how.as_files ? put_files : put_in_place)(o, force, err)) {
        gk_output_abandon(o);
        return false;
    }
    const bool ok = sync_dir(o->parent, err);
    o->locked = false;
    remove_dir(o->partial);
    free_output(o);
    return ok;
}

void gk_output_abandon(gk_output *o)
{
    if (o == NULL)
        return;
    o->locked = false;
    remove_dir(o->partial);
    free_output(o);
}

void gk_output_clear(const char *out, const char *tag)
{
    const gk_output_how how = {.resume = true};
    gk_arena *a = gk_arena_new(NULL);
    char *partial = a == NULL ? NULL : gk_output_partial_of(a, out, tag, NULL);

    if (partial != NULL && gk_path_kind_of(partial) == GK_PATH_DIR)
        gk_output_abandon(gk_output_begin(out, tag, &how, NULL));
    gk_arena_free(a);
}

void gk_output_leave(gk_output *o)
{
    if (o != NULL)
        free_output(o);
}

/* What is no regular file (a pipe, a terminal, /dev/null) is written to as it stands. */
static bool write_into(const char *path, const char *buf, uint64_t n, gk_err *err)
{
    const int fd = open(path, O_WRONLY | O_CLOEXEC | O_NOCTTY);

    if (fd < 0)
        return gk_fail_errno(err, path, GK_NO_OFF, "open");
    for (uint64_t done = 0; done < n;) {
        const ssize_t put = write(fd, buf + done, (size_t)gk_min(n - done, COPY_BYTES));
        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0) {
            gk_fail_errno(err, path, done, "write");
            close(fd);
            return false;
        }
        done += (uint64_t)put;
    }
    return close(fd) == 0 || gk_fail_errno(err, path, GK_NO_OFF, "close");
}

static bool replace(const char *path, const char *temp, const void *buf, uint64_t n, gk_err *err)
{
    const int fd = open(temp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0666);

    if (fd < 0)
        return gk_fail_errno(err, path, GK_NO_OFF, "create");
    bool ok = gk_pwrite(fd, path, 0, buf, n, err);
    if (ok && fsync(fd) != 0)
        ok = gk_fail_errno(err, path, GK_NO_OFF, "sync");
    close(fd);
    if (ok && rename(temp, path) != 0)
        ok = gk_fail_errno(err, path, GK_NO_OFF, "rename");
    if (!ok)
        unlink(temp);
    return ok;
}

bool gk_file_put(const char *path, const void *buf, uint64_t n, gk_err *err)
{
    const gk_path_kind kind = gk_path_kind_of(path);

    if (kind == GK_PATH_OTHER)
        return write_into(path, buf, n, err);
    gk_arena *a = gk_arena_new(err);
    /* a link goes on leading where it led: the file behind it is replaced */
    const char *target = a == NULL || kind != GK_PATH_FILE ? path : gk_path_real(a, path, err);
    char *temp = a == NULL || target == NULL ? NULL : gk_arena_printf(a, err, "%s.partial", target);
    const bool ok = temp != NULL && replace(target, temp, buf, n, err);
    gk_arena_free(a);
    return ok;
}
