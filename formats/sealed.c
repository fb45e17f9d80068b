/* formats/sealed.c - magic, content, digest. */
#include "formats/sealed.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "formats/checked.h"
#include "formats/hash.h"

#define MAGIC        "GKSEAL1\n"
#define MAGIC_BYTES  (sizeof MAGIC - 1)
#define DIGEST_BYTES 32
#define BUFFER_BYTES (UINT64_C(256) << 10)

struct gk_sealed {
    gk_arena *arena;
    const char *path, *temp;
    int fd;        /* of what is written, else -1 */
    gk_file *file; /* of what is read           */
    gk_hash *hash;
    uint64_t at, end;
};

static void free_sealed(gk_sealed *s)
{
    char hex[GK_SHA256_HEX];

    if (s->hash != NULL)
        gk_hash_end(s->hash, hex);
    if (s->fd >= 0)
        close(s->fd);
    gk_file_close(s->file);
    gk_arena_free(s->arena);
    gk_free(s);
}

static gk_sealed *new_sealed(const char *path, gk_err *err)
{
    gk_sealed *s = gk_alloc(1, sizeof *s, err);

    if (s == NULL)
        return NULL;
    *s = (gk_sealed){.arena = gk_arena_new(err), .fd = -1};
    if (s->arena == NULL || (s->path = gk_arena_str(s->arena, path, err)) == NULL) {
        free_sealed(s);
        return NULL;
    }
    return s;
}

/* Every directory on the way to path. */
static bool make_parents(const char *path, gk_arena *a, gk_err *err)
{
    char *dir = gk_path_dir(a, path, err);

    if (dir == NULL)
        return false;
    for (char *slash = strchr(dir + 1, '/');; slash = strchr(slash + 1, '/')) {
        if (slash != NULL)
            *slash = '\0';
        if (mkdir(dir, 0700) != 0 && errno != EEXIST)
            return gk_fail_errno(err, dir, GK_NO_OFF, "make the directory");
        if (slash == NULL)
            return true;
        *slash = '/';
    }
}

gk_sealed *gk_sealed_create(const char *path, gk_err *err)
{
    gk_sealed *s = new_sealed(path, err);

    if (s == NULL)
        return NULL;
    s->temp = gk_arena_printf(s->arena, err, "%s.partial", path);
    bool ok = s->temp != NULL && make_parents(path, s->arena, err)
              && (s->hash = gk_hash_new(err)) != NULL;
    if (ok) {
        s->fd = open(s->temp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
        ok = s->fd >= 0 || gk_fail_errno(err, s->temp, GK_NO_OFF, "create");
    }
    if (ok && gk_sealed_add(s, MAGIC, MAGIC_BYTES, err))
        return s;
    free_sealed(s);
    return NULL;
}

bool gk_sealed_add(gk_sealed *s, const void *buf, uint64_t n, gk_err *err)
{
    if (!gk_pwrite(s->fd, s->path, s->at, buf, n, err))
        return false;
    gk_hash_add(s->hash, buf, n);
    s->at += n;
    return true;
}

static void bytes_of(const char *hex, unsigned char *out)
{
    for (int i = 0; i < DIGEST_BYTES; i++) {
        unsigned byte = 0;
        sscanf(hex + 2 * i, "%2x", &byte);
        out[i] = (unsigned char)byte;
    }
}

/* The rename itself reaches the disk. */
static bool sync_directory(gk_sealed *s, gk_err *err)
{
    const char *dir = gk_path_dir(s->arena, s->path, err);
    const int fd = dir == NULL ? -1 : open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (dir == NULL)
        return false;
    const bool ok = fd >= 0 && (fsync(fd) == 0 || errno == EINVAL);
    if (!ok)
        gk_fail_errno(err, dir, GK_NO_OFF, "sync");
    if (fd >= 0)
        close(fd);
    return ok;
}

bool gk_sealed_commit(gk_sealed *s, bool ok, gk_err *err)
{
    char hex[GK_SHA256_HEX];
    unsigned char digest[DIGEST_BYTES];

    gk_hash_end(s->hash, hex);
    s->hash = NULL;
    bytes_of(hex, digest);
    ok = ok && gk_pwrite(s->fd, s->path, s->at, digest, sizeof digest, err);
    if (ok && fsync(s->fd) != 0)
        ok = gk_fail_errno(err, s->path, GK_NO_OFF, "sync");
    if (ok && rename(s->temp, s->path) != 0)
        ok = gk_fail_errno(err, s->path, GK_NO_OFF, "rename");
    if (!ok)
        unlink(s->temp);
    ok = ok && sync_directory(s, err);
    free_sealed(s);
    return ok;
}

static bool check(gk_sealed *s, uint64_t bytes, gk_err *err)
{
    const uint64_t sum_off = MAGIC_BYTES + bytes;
    char hex[GK_SHA256_HEX], magic[MAGIC_BYTES];
    unsigned char stored[DIGEST_BYTES], digest[DIGEST_BYTES];

    if (s->file->size != sum_off + DIGEST_BYTES) {
        gk_fail(err, GK_ERR_FORMAT, GK_NO_OFF, "it is %" PRIu64 " bytes long and must be %" PRIu64,
                s->file->size, sum_off + DIGEST_BYTES);
        return gk_fail_at(err, s->path, NULL);
    }
    void *buf = gk_alloc(BUFFER_BYTES, 1, err);
    const bool ok = buf != NULL && gk_file_read(s->file, 0, magic, MAGIC_BYTES, err)
                    && gk_file_read(s->file, sum_off, stored, sizeof stored, err)
                    && gk_hash_file(s->file, 0, sum_off, buf, BUFFER_BYTES, hex, err);
    gk_free(buf);
    if (!ok)
        return false;
    bytes_of(hex, digest);
    if (memcmp(magic, MAGIC, MAGIC_BYTES) == 0 && memcmp(stored, digest, sizeof digest) == 0)
        return true;
    gk_fail(err, GK_ERR_FORMAT, GK_NO_OFF, "it is damaged: its digest is another");
    return gk_fail_at(err, s->path, NULL);
}

gk_sealed *gk_sealed_open(const char *path, uint64_t bytes, gk_err *err)
{
    gk_sealed *s = new_sealed(path, err);

    if (s == NULL)
        return NULL;
    s->at = MAGIC_BYTES;
    s->end = MAGIC_BYTES + bytes;
    if (bytes > INT64_MAX / 2)
        gk_fail(err, GK_ERR_LIMIT, GK_NO_OFF, "more than 2^62 bytes");
    else if ((s->file = gk_file_open(s->arena, path, err)) != NULL && check(s, bytes, err))
        return s;
    free_sealed(s);
    return NULL;
}

bool gk_sealed_take(gk_sealed *s, void *buf, uint64_t n, gk_err *err)
{
    if (n > s->end - s->at)
        return gk_fail(err, GK_ERR_FORMAT, s->at, "the content ends here");
    if (!gk_file_read(s->file, s->at, buf, n, err))
        return false;
    s->at += n;
    return true;
}

void gk_sealed_close(gk_sealed *s)
{
    if (s != NULL)
        free_sealed(s);
}

void gk_sealed_remove(const char *path) { unlink(path); }
