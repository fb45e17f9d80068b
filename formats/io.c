/* formats/io.c - the system calls, in loops that finish. */
#include "formats/io.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "formats/checked.h"

#define CALL_BYTES ((size_t)1 << 30) /* Linux moves at most 2,147,479,552 bytes a call */

bool gk_fail_errno(gk_err *err, const char *file, uint64_t off, const char *verb)
{
    const int e = errno;
    const gk_err_code code
        = e == ENOSPC || e == EDQUOT ? GK_ERR_SPACE : e == ENOMEM ? GK_ERR_NOMEM : GK_ERR_IO;

    gk_fail(err, code, off, "cannot %s: %s", verb, strerror(e));
    return gk_fail_at(err, file, NULL);
}

static int64_t mtime_of(const struct stat *st)
{
    return (int64_t)st->st_mtim.tv_sec * 1000000000 + st->st_mtim.tv_nsec;
}

bool gk_file_unchanged(const gk_file *f, gk_err *err)
{
    struct stat st;

    if (f->mem != NULL || f->borrowed || f->fd < 0)
        return true;
    if (fstat(f->fd, &st) != 0)
        return gk_fail_errno(err, f->name, GK_NO_OFF, "stat");
    if ((uint64_t)st.st_size == f->size && mtime_of(&st) == f->mtime_ns)
        return true;
    gk_fail(err, GK_ERR_IO, GK_NO_OFF, "changed while it was read: %llu bytes now, %llu before",
            (unsigned long long)st.st_size, (unsigned long long)f->size);
    return gk_fail_at(err, f->name, NULL);
}

gk_file *gk_file_open(gk_arena *a, const char *path, gk_err *err)
{
    struct stat st;
    gk_file *f = gk_arena_alloc(a, 1, sizeof *f, err);
    char *copy = f == NULL ? NULL : gk_arena_str(a, path, err);

    if (copy == NULL)
        return NULL;
    f->path = copy;
    f->name = gk_path_base(copy);
    /* O_NONBLOCK: opening a pipe must not wait for somebody to write */
    f->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (f->fd < 0)
        return gk_fail_errno(err, f->name, GK_NO_OFF, "open"), NULL;
    if (fstat(f->fd, &st) != 0) {
        gk_fail_errno(err, f->name, GK_NO_OFF, "stat");
    } else if (!S_ISREG(st.st_mode)) {
        gk_fail(err, GK_ERR_FORMAT, GK_NO_OFF, "is a %s, not a regular file",
                S_ISDIR(st.st_mode)    ? "directory (folder)"
                : S_ISFIFO(st.st_mode) ? "pipe (fifo)"
                                       : "special file");
        gk_fail_at(err, f->name, NULL);
    } else {
        f->size = (uint64_t)st.st_size;
        f->device = (uint64_t)st.st_dev;
        f->inode = (uint64_t)st.st_ino;
        f->mtime_ns = mtime_of(&st);
        return f;
    }
    close(f->fd);
    return NULL;
}

void gk_file_close(gk_file *f)
{
    if (f != NULL && f->fd >= 0) {
        if (!f->borrowed)
            close(f->fd);
        f->fd = -1;
    }
}

gk_file *gk_file_member(gk_arena *a, const gk_file *whole, const char *name, uint64_t off,
                        uint64_t size, gk_err *err)
{
    gk_file *f = gk_arena_alloc(a, 1, sizeof *f, err);

    if (f == NULL)
        return NULL;
    if (off > whole->size || size > whole->size - off) {
        gk_fail(err, GK_ERR_FORMAT, off, "%s: its %llu bytes do not lie in the file", name,
                (unsigned long long)size);
        return gk_fail_at(err, whole->name, NULL), NULL;
    }
    *f = *whole;
    f->path = f->name = name;
    f->size = size;
    f->base += off;
    f->borrowed = true;
    if (f->mem != NULL)
        f->mem += off;
    return f;
}

gk_file *gk_file_memory(gk_arena *a, const char *name, const char *mem, uint64_t size, gk_err *err)
{
    gk_file *f = gk_arena_alloc(a, 1, sizeof *f, err);

    if (f != NULL)
        *f = (gk_file){.path = name, .name = name, .size = size, .mem = mem, .fd = -1};
    return f;
}

bool gk_file_read(const gk_file *f, uint64_t off, void *buf, uint64_t n, gk_err *err)
{
    unsigned char *at = buf;
    uint64_t end;

    if (f->text != NULL && off >= GK_FILE_TEXT)
        return gk_file_read_text(f, off, buf, n, err);
    if (!gk_add(off, n, &end) || end > INT64_MAX - f->base) {
        gk_fail(err, GK_ERR_IO, off, "a read past the largest file offset");
        return gk_fail_at(err, f->name, NULL);
    }
    if ((f->mem != NULL || f->borrowed) && end > f->size) {
        gk_fail(err, GK_ERR_IO, off, "a read past the end, at %llu bytes",
                (unsigned long long)f->size);
        return gk_fail_at(err, f->name, NULL);
    }
    if (f->mem != NULL) {
        memcpy(buf, f->mem + off, (size_t)n);
        return true;
    }
    while (n > 0) {
        ssize_t got = pread(f->fd, at, gk_min(n, CALL_BYTES), (off_t)(f->base + off));
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return gk_fail_errno(err, f->name, off, "read");
        if (got == 0) {
            gk_fail(err, GK_ERR_IO, off,
                    "the file ends here, it had %llu bytes when it was opened: cut while in use",
                    (unsigned long long)f->size);
            return gk_fail_at(err, f->name, NULL);
        }
        at += got;
        off += (uint64_t)got;
        n -= (uint64_t)got;
    }
    return true;
}

char *gk_file_text(const gk_file *f, uint64_t max_bytes, uint64_t *len, gk_err *err)
{
    if (f->size > max_bytes) {
        gk_fail(err, GK_ERR_LIMIT, GK_NO_OFF, "%llu bytes, at most %llu are read",
                (unsigned long long)f->size, (unsigned long long)max_bytes);
        return gk_fail_at(err, f->name, NULL), NULL;
    }
    char *data = gk_alloc(f->size + 1, 1, err);
    if (data == NULL || !gk_file_read(f, 0, data, f->size, err)) {
        gk_free(data);
        return NULL;
    }
    data[f->size] = '\0';
    *len = f->size;
    return data;
}

char *gk_file_slurp(const char *path, uint64_t max_bytes, uint64_t *len, gk_err *err)
{
    gk_arena *a = gk_arena_new(err);
    gk_file *f = a == NULL ? NULL : gk_file_open(a, path, err);
    char *data = f == NULL ? NULL : gk_file_text(f, max_bytes, len, err);

    gk_file_close(f);
    gk_arena_free(a);
    return data;
}

gk_path_kind gk_path_kind_of(const char *path)
{
    struct stat st;

    if (stat(path, &st) != 0)
        return GK_PATH_NONE;
    return S_ISREG(st.st_mode) ? GK_PATH_FILE : S_ISDIR(st.st_mode) ? GK_PATH_DIR : GK_PATH_OTHER;
}

uint64_t gk_path_bytes(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 && S_ISREG(st.st_mode) ? (uint64_t)st.st_size : 0;
}

static int by_bytes(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

const char **gk_dir_names(gk_arena *a, const char *path, uint64_t *n, gk_err *err)
{
    void *names = NULL;
    const char **list = NULL;
    uint64_t cap = 0, count = 0;
    struct dirent *entry;
    DIR *dir = opendir(path);

    if (dir == NULL)
        return gk_fail_errno(err, gk_path_base(path), GK_NO_OFF, "list"), NULL;
    while ((errno = 0, entry = readdir(dir)) != NULL) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        if (!gk_grow(&names, &cap, count + 1, sizeof(char *), err))
            goto out;
        char *copy = gk_arena_str(a, entry->d_name, err);
        if (copy == NULL)
            goto out;
        ((const char **)names)[count++] = copy;
    }
    if (errno != 0) {
        gk_fail_errno(err, gk_path_base(path), GK_NO_OFF, "list");
        goto out;
    }
    list = gk_arena_alloc(a, count, sizeof *list, err);
    if (list != NULL && count > 0) {
        memcpy(list, names, count * sizeof *list);
        qsort(list, count, sizeof *list, by_bytes);
    }
    *n = count;
out:
    closedir(dir);
    gk_free(names);
    return list;
}

char *gk_path_join(gk_arena *a, const char *dir, const char *name, gk_err *err)
{
    const size_t len = strlen(dir);

    return gk_arena_printf(a, err, "%s%s%s", dir, len > 0 && dir[len - 1] == '/' ? "" : "/", name);
}

const char *gk_path_base(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash != NULL && slash[1] != '\0' ? slash + 1 : path;
}

char *gk_path_dir(gk_arena *a, const char *path, gk_err *err)
{
    const char *slash = strrchr(path, '/');

    if (slash == NULL)
        return gk_arena_str(a, ".", err);
    return gk_arena_strn(a, path, slash == path ? 1 : (uint64_t)(slash - path), err);
}

char *gk_path_real(gk_arena *a, const char *path, gk_err *err)
{
    char *resolved = realpath(path, NULL);
    char *result = NULL;

    if (resolved != NULL) {
        result = gk_arena_str(a, resolved, err);
    } else if (errno == ENOENT) {
        /* trailing slashes belong to the last part, not to an empty one */
        char *trimmed = gk_arena_str(a, path, err);
        for (size_t n = trimmed == NULL ? 0 : strlen(trimmed); n > 1 && trimmed[n - 1] == '/'; n--)
            trimmed[n - 1] = '\0';
        char *parent = trimmed == NULL ? NULL : gk_path_dir(a, trimmed, err);
        resolved = parent == NULL ? NULL : realpath(parent, NULL);
        if (resolved != NULL)
            result = gk_path_join(a, resolved, gk_path_base(trimmed), err);
        else if (parent != NULL)
            gk_fail_errno(err, parent, GK_NO_OFF, "resolve");
    } else {
        gk_fail_errno(err, gk_path_base(path), GK_NO_OFF, "resolve");
    }
    free(resolved);
    return result;
}

char *gk_path_link(gk_arena *a, const char *path, gk_err *err)
{
    char target[4096];
    const ssize_t n = readlink(path, target, sizeof target);

    return n <= 0 || (size_t)n == sizeof target ? NULL
                                                : gk_arena_strn(a, target, (uint64_t)n, err);
}

bool gk_pwrite(int fd, const char *name, uint64_t off, const void *buf, uint64_t n, gk_err *err)
{
    const unsigned char *at = buf;

    while (n > 0) {
        ssize_t put = pwrite(fd, at, gk_min(n, CALL_BYTES), (off_t)off);
        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0)
            return gk_fail_errno(err, name, off, "write");
        at += put;
        off += (uint64_t)put;
        n -= (uint64_t)put;
    }
    return true;
}
