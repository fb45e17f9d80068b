/* formats/scratch.c - files without a name. */
#include "formats/scratch.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "formats/checked.h"

#define MOST_BYTES (UINT64_C(1) << 30) /* of one read() */

/* Without O_TMPFILE (NFS, some FUSE) the file has a random name for an instant. */
int gk_scratch_descriptor(gk_arena *a, const char *dir, gk_err *err)
{
    int fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

    if (fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR || errno == EINVAL)) {
        char *path = gk_path_join(a, dir, "grokkit-XXXXXX", err);
        if (path == NULL)
            return -1;
        fd = mkostemp(path, O_CLOEXEC);
        if (fd >= 0)
            unlink(path);
    }
    if (fd < 0)
        gk_fail_errno(err, dir, GK_NO_OFF, "create a temporary file (--spool)");
    return fd;
}

gk_scratch *gk_scratch_open(gk_arena *a, const char *dir, uint64_t bytes, gk_err *err)
{
    gk_scratch *s = gk_arena_alloc(a, 1, sizeof *s, err);
    char *own = gk_arena_str(a, dir, err);

    if (s == NULL || own == NULL)
        return NULL;
    *s = (gk_scratch){own, gk_scratch_descriptor(a, dir, err), bytes};
    if (s->fd < 0)
        return NULL;
    const int failed = bytes > INT64_MAX ? EFBIG : posix_fallocate(s->fd, 0, (off_t)bytes);
    if (failed == 0 || failed == EOPNOTSUPP || failed == EINVAL)
        return s;
    errno = failed;
    gk_fail_errno(err, dir, GK_NO_OFF,
                  "reserve a temporary file (--spool DIR names another "
                  "place, --memory avoids it)");
    gk_scratch_close(s);
    return NULL;
}

void gk_scratch_close(gk_scratch *s)
{
    if (s != NULL && s->fd >= 0)
        close(s->fd);
}

bool gk_scratch_write(const gk_scratch *s, uint64_t off, const void *buf, uint64_t n, gk_err *err)
{
    return gk_pwrite(s->fd, s->dir, off, buf, n, err);
}

bool gk_scratch_read(const gk_scratch *s, uint64_t off, void *buf, uint64_t n, gk_err *err)
{
    char *at = buf;

    while (n > 0) {
        const ssize_t got = pread(s->fd, at, (size_t)gk_min(n, MOST_BYTES), (off_t)off);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return gk_fail_errno(err, s->dir, off, "read a temporary file");
        if (got == 0) {
            gk_fail(err, GK_ERR_IO, off, "the temporary file ends here");
            return gk_fail_at(err, s->dir, NULL);
        }
        at += got;
        off += (uint64_t)got;
        n -= (uint64_t)got;
    }
    return true;
}
