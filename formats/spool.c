/* formats/spool.c - the anonymous file, and inflating into it.
 *
 * Every byte is promised before it is written: by the header of the member, checked against
 * the size of the archive and the room there is. What then unpacks to more is refused. */
#include "formats/spool.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/statvfs.h>
#include <unistd.h>
#include <zlib.h>

#include "formats/checked.h"
#include "formats/scratch.h"

#define CHUNK_BYTES (256u << 10)

static bool begin(gk_arena *a, gk_spool *s, gk_err *err)
{
    const char *dir = s->options == NULL ? NULL : s->options->spool;
    gk_file *f = gk_arena_alloc(a, 1, sizeof *f, err);

    if (f == NULL)
        return false;
    *f = (gk_file){.path = "the unpacked archive", .name = "the unpacked archive"};
    f->fd = dir != NULL ? gk_scratch_descriptor(a, dir, err) : memfd_create("grokkit", MFD_CLOEXEC);
    if (f->fd < 0 && dir == NULL)
        gk_fail_errno(err, f->name, GK_NO_OFF, "create a file in memory");
    if (f->fd >= 0)
        s->file = f;
    return f->fd >= 0;
}

/* What is reserved but not yet written must fit too: fstatvfs counts what was written. */
static bool has_room(const gk_spool *s, uint64_t more, gk_err *err)
{
    struct statvfs v;
    uint64_t left;

    if (s->options == NULL || s->options->spool == NULL || fstatvfs(s->file->fd, &v) != 0
        || !gk_mul(v.f_bavail, v.f_frsize, &left) || more <= left)
        return true;
    gk_fail(err, GK_ERR_SPACE, GK_NO_OFF,
            "unpacking needs %llu bytes more in --spool, %llu are free", (unsigned long long)more,
            (unsigned long long)left);
    return gk_fail_at(err, s->options->spool, NULL);
}

bool gk_spool_reserve(gk_arena *a, gk_spool *s, uint64_t bytes, uint64_t packed, uint64_t *off,
                      gk_err *err)
{
    uint64_t total, most;

    if (!gk_add(s->bytes, bytes, &total) || total > INT64_MAX)
        return gk_fail(err, GK_ERR_LIMIT, GK_NO_OFF, "unpacks to more than 2^63 bytes");
    if (total > GK_SPOOL_MEMORY_BYTES && gk_mul(packed, GK_MAX_UNPACK_RATIO, &most) && total > most)
        return gk_fail(err, GK_ERR_LIMIT, GK_NO_OFF,
                       "a decompression bomb: %llu packed bytes would expand to %llu, a ratio "
                       "above the limit of %u",
                       (unsigned long long)packed, (unsigned long long)total, GK_MAX_UNPACK_RATIO);
    if (total > GK_SPOOL_MEMORY_BYTES && (s->options == NULL || s->options->spool == NULL))
        return gk_fail(err, GK_ERR_UNSUPPORTED, GK_NO_OFF,
                       "compressed: use --spool DIR, it needs %llu bytes or more in DIR (without, "
                       "at most %llu are unpacked)",
                       (unsigned long long)total, (unsigned long long)GK_SPOOL_MEMORY_BYTES);
    if ((s->file == NULL && !begin(a, s, err)) || !has_room(s, bytes, err))
        return false;
    *off = s->bytes;
    s->bytes = s->file->size = total;
    return true;
}

bool gk_spool_put(const gk_spool *s, uint64_t off, const void *buf, uint64_t n, gk_err *err)
{
    if (s->options != NULL && s->options->stop != NULL && *s->options->stop)
        return gk_fail(err, GK_ERR_INTERRUPTED, GK_NO_OFF, "interrupted");
    const bool in_dir = s->options != NULL && s->options->spool != NULL;
    return gk_pwrite(s->file->fd, in_dir ? s->options->spool : s->file->name, off, buf, n, err);
}

/* ---- deflate ------------------------------------------------------------------------ */

typedef struct inflation {
    z_stream z;
    const gk_file *f;
    uint64_t pos, end;       /* of the packed bytes not yet given to z */
    unsigned char *in, *out; /* CHUNK_BYTES each                       */
    uint64_t done;           /* bytes unpacked                         */
    uint32_t crc;
} inflation;

/* One round: returns Z_OK or Z_STREAM_END with out[0, *n) unpacked; else *err is set. */
static int inflate_some(inflation *x, uint64_t *n, gk_err *err)
{
    if (x->z.avail_in == 0 && x->pos < x->end) {
        const uint64_t more = gk_min(CHUNK_BYTES, x->end - x->pos);
        if (!gk_file_read(x->f, x->pos, x->in, more, err))
            return Z_ERRNO;
        x->z.next_in = x->in;
        x->z.avail_in = (uInt)more;
        x->pos += more;
    }
    x->z.next_out = x->out;
    x->z.avail_out = CHUNK_BYTES;
    const int status = inflate(&x->z, Z_NO_FLUSH);
    *n = CHUNK_BYTES - x->z.avail_out;
    if (status == Z_OK && *n == 0 && x->z.avail_in == 0 && x->pos == x->end)
        gk_fail(err, GK_ERR_FORMAT, x->pos, "truncated: the deflate stream does not end");
    else if (status == Z_MEM_ERROR)
        gk_fail(err, GK_ERR_NOMEM, GK_NO_OFF, "no memory to inflate");
    else if (status != Z_OK && status != Z_STREAM_END)
        gk_fail(err, GK_ERR_FORMAT, x->pos - x->z.avail_in, "damaged deflate stream: %s",
                x->z.msg != NULL ? x->z.msg : "truncated");
    else
        return status;
    return Z_ERRNO;
}

static bool inflate_all(inflation *x, const gk_spool *s, uint64_t off, uint64_t bytes, gk_err *err)
{
    int status = Z_OK;
    uint64_t n = 0;

    while (status == Z_OK) {
        status = inflate_some(x, &n, err);
        if (status == Z_ERRNO)
            return false;
        if (n > bytes - x->done)
            return gk_fail(err, GK_ERR_FORMAT, x->pos,
                           "expands to more than the %llu bytes that "
                           "its header declares",
                           (unsigned long long)bytes);
        if (!gk_spool_put(s, off + x->done, x->out, n, err))
            return false;
        x->crc = (uint32_t)crc32(x->crc, x->out, (uInt)n);
        x->done += n;
    }
    if (x->done < bytes || x->pos < x->end || x->z.avail_in > 0)
        return gk_fail(err, GK_ERR_FORMAT, x->pos - x->z.avail_in,
                       "the deflate stream ends after %llu bytes, its header declares %llu",
                       (unsigned long long)x->done, (unsigned long long)bytes);
    return true;
}

bool gk_spool_inflate(const gk_spool *s, uint64_t off, uint64_t bytes, const gk_file *f,
                      uint64_t from, uint64_t packed, uint32_t crc, gk_err *err)
{
    inflation x = {.f = f, .pos = from, .end = from + packed};

    x.in = gk_alloc(2, CHUNK_BYTES, err);
    if (x.in == NULL)
        return false;
    x.out = x.in + CHUNK_BYTES;
    bool ok = inflateInit2(&x.z, -MAX_WBITS) == Z_OK;
    if (!ok) {
        gk_fail(err, GK_ERR_NOMEM, GK_NO_OFF, "no memory to inflate");
    } else {
        ok = inflate_all(&x, s, off, bytes, err)
             && (x.crc == crc
                 || gk_fail(err, GK_ERR_FORMAT, from,
                            "CRC of the unpacked bytes is %08x, the file "
                            "says %08x",
                            (unsigned)x.crc, (unsigned)crc));
        inflateEnd(&x.z);
    }
    gk_free(x.in);
    return ok;
}
