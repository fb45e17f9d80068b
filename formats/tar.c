/* formats/tar.c - the members of a tar file, or a packed file, through libarchive.
 *
 *   member    each: header of 512 bytes (more in front for long names), data, zeros up to
 *             a multiple of 512
 *   end       two blocks of zeros; one is enough here
 *
 * Source: POSIX.1-2017 pax, "ustar Interchange Format"; libarchive's tar(5). libarchive parses,
 * and reads only through the callbacks below: it never sees a path. It does not tell where the
 * data of a member lies, so that is computed from how far it has read, and proven: by the
 * bytes that it returns, and by where it finds the next header.
 *
 * A file that is packed without a tar ends, as gzip, in CRC-32 and length of what it unpacks to
 * (RFC 1952 2.3.1), which libarchive does not compare. The other three have checksums that
 * their libraries do. */
#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <locale.h>
#include <string.h>
#include <zlib.h>

#include "formats/archive.h"
#include "formats/checked.h"

#define BLOCK_BYTES   512u
#define CHUNK_BYTES   (64u << 10)
#define TRAILER_BYTES 8u /* of gzip: u32 CRC, u32 length modulo 2^32 */

typedef struct tar {
    gk_catalog *c;
    gk_archive *x;
    struct archive *a;
    unsigned char *chunk;
    uint64_t pos;  /* what libarchive reads next */
    uint64_t next; /* where the next header must begin in the unpacked tar */
    bool plain;
    gk_err *err;
} tar;

/* ---- what libarchive reads through ---------------------------------------------------- */

static la_ssize_t read_chunk(struct archive *a, void *context, const void **buf)
{
    tar *t = context;
    const uint64_t n = gk_min(CHUNK_BYTES, t->x->file->size - t->pos);

    (void)a;
    *buf = t->chunk;
    if (!gk_file_read(t->x->file, t->pos, t->chunk, n, t->err)) {
        archive_set_error(a, EIO, "cannot read");
        return ARCHIVE_FATAL;
    }
    t->pos += n;
    return (la_ssize_t)n;
}

static la_int64_t skip_bytes(struct archive *a, void *context, la_int64_t wanted)
{
    tar *t = context;
    const uint64_t n = wanted <= 0 ? 0 : gk_min((uint64_t)wanted, t->x->file->size - t->pos);

    (void)a;
    t->pos += n;
    return (la_int64_t)n;
}

static la_int64_t seek_to(struct archive *a, void *context, la_int64_t off, int whence)
{
    tar *t = context;
    const int64_t size = (int64_t)t->x->file->size;
    const int64_t from = whence == SEEK_SET ? 0 : whence == SEEK_CUR ? (int64_t)t->pos : size;
    int64_t to;

    (void)a;
    if (__builtin_add_overflow(from, off, &to) || to < 0 || to > size)
        return ARCHIVE_FATAL;
    t->pos = (uint64_t)to;
    return to;
}

/* Its words, as an error of ours; one of reading stands already. */
static bool refuse(tar *t)
{
    const char *text = archive_error_string(t->a);
    const bool memory = archive_errno(t->a) == ENOMEM;
    const int64_t at = archive_read_header_position(t->a);

    return gk_fail(t->err, memory ? GK_ERR_NOMEM : GK_ERR_FORMAT,
                   t->plain && at >= 0 ? (uint64_t)at : GK_NO_OFF, "damaged archive: %s",
                   text != NULL ? text : "libarchive refuses it");
}

static bool begin(tar *t, gk_archive_kind kind, int (*format)(struct archive *))
{
    int status = ARCHIVE_OK;

    t->a = archive_read_new();
    t->chunk = gk_alloc(CHUNK_BYTES, 1, t->err);
    if (t->a == NULL || t->chunk == NULL)
        return gk_fail(t->err, GK_ERR_NOMEM, GK_NO_OFF, "no memory for an archive");
    if (kind == GK_ARCHIVE_GZIP)
        status = archive_read_support_filter_gzip(t->a);
    else if (kind == GK_ARCHIVE_XZ)
        status = archive_read_support_filter_xz(t->a);
    else if (kind == GK_ARCHIVE_ZSTD)
        status = archive_read_support_filter_zstd(t->a);
    else if (kind == GK_ARCHIVE_BZIP2)
        status = archive_read_support_filter_bzip2(t->a);
    /* a library that lacks the codec would start another program for it */
    if (status != ARCHIVE_OK)
        return gk_fail(t->err, GK_ERR_UNSUPPORTED, GK_NO_OFF,
                       "this libarchive cannot unpack it: %s", archive_error_string(t->a));
    if (format(t->a) != ARCHIVE_OK)
        return refuse(t);
    archive_read_set_read_callback(t->a, read_chunk);
    archive_read_set_skip_callback(t->a, skip_bytes);
    archive_read_set_seek_callback(t->a, seek_to);
    archive_read_set_callback_data(t->a, t);
    if (archive_read_open1(t->a) != ARCHIVE_OK)
        return refuse(t);
    return true;
}

/* ---- one member ------------------------------------------------------------------------ */

/* The first bytes that libarchive returns must be those at off. */
static bool prove_offset(tar *t, uint64_t off, uint64_t bytes)
{
    unsigned char here[BLOCK_BYTES];
    const void *there = NULL;
    size_t len = 0;
    la_int64_t at = 0;

    if (bytes == 0)
        return true;
    if (archive_read_data_block(t->a, &there, &len, &at) != ARCHIVE_OK)
        return refuse(t);
    const uint64_t n = gk_min(gk_min(len, bytes), sizeof here);
    if (!gk_file_read(t->x->file, off, here, n, t->err))
        return false;
    return (n > 0 && at == 0 && memcmp(here, there, (size_t)n) == 0)
           || gk_fail(t->err, GK_ERR_FORMAT, off,
                      "the member's data does not lie behind its header");
}

/* Says where the data and the next header lie in the unpacked tar. */
static bool measure(tar *t, uint64_t bytes, uint64_t *off)
{
    uint64_t end;

    *off = (uint64_t)archive_filter_bytes(t->a, 0);
    if (!gk_add(*off, bytes, &end)
        || !gk_add(end, (BLOCK_BYTES - end % BLOCK_BYTES) % BLOCK_BYTES, &t->next))
        return gk_fail(t->err, GK_ERR_FORMAT, GK_NO_OFF, "the member's size overflows 64 bits");
    return true;
}

static bool place(tar *t, gk_archived *e)
{
    if (!measure(t, e->bytes, &e->off))
        return false;
    if (e->off + e->bytes > t->x->file->size)
        return gk_fail(t->err, GK_ERR_FORMAT, e->off,
                       "truncated: the member's %llu bytes end beyond the archive's %llu (the "
                       "download is incomplete)",
                       (unsigned long long)e->bytes, (unsigned long long)t->x->file->size);
    return prove_offset(t, e->off, e->bytes);
}

/* Unpacks the member into the spool: exactly as many bytes as its header says. */
static bool unpack(tar *t, gk_archived *e)
{
    uint64_t done = 0, begin_off, off;
    const void *buf;
    size_t len;
    la_int64_t at;
    int status;

    if (!measure(t, e->bytes, &off)
        || !gk_spool_reserve(t->c->arena, &t->x->spool, e->bytes, t->x->file->size, &begin_off,
                             t->err))
        return false;
    while ((status = archive_read_data_block(t->a, &buf, &len, &at)) == ARCHIVE_OK) {
        if (at < 0 || (uint64_t)at != done || len > e->bytes - done)
            return gk_fail(t->err, GK_ERR_FORMAT, GK_NO_OFF,
                           "the member has more bytes than its header declares, or holes");
        if (!gk_spool_put(&t->x->spool, begin_off + done, buf, len, t->err))
            return false;
        done += len;
    }
    if (status != ARCHIVE_EOF)
        return refuse(t);
    if (done != e->bytes)
        return gk_fail(t->err, GK_ERR_FORMAT, GK_NO_OFF,
                       "truncated: the member unpacks to %llu bytes, its header declares %llu",
                       (unsigned long long)done, (unsigned long long)e->bytes);
    e->off = begin_off;
    e->spooled = true;
    return true;
}

static const char *name_of(struct archive_entry *entry)
{
    const char *name = archive_entry_pathname(entry);

    return name != NULL ? name : archive_entry_pathname_utf8(entry);
}

/* What is neither a file nor a directory. */
static bool other_kind(tar *t, struct archive_entry *entry, const char *name)
{
    const gk_archived e = {.path = name, .link = true};
    const mode_t type = archive_entry_filetype(entry);

    if (archive_entry_hardlink(entry) != NULL)
        return gk_fail(t->err, GK_ERR_FORMAT, GK_NO_OFF,
                       "a hard link, refused: pack the file itself (tar --hard-dereference)");
    if (type != AE_IFLNK)
        return gk_fail(t->err, GK_ERR_FORMAT, GK_NO_OFF,
                       "a device or another special file, refused: it is no regular file");
    return gk_archive_add(t->c, &e, t->err);
}

static bool read_entry(tar *t, struct archive_entry *entry)
{
    const char *name = name_of(entry);
    const mode_t type = archive_entry_filetype(entry);

    if (name == NULL)
        return gk_fail(t->err, GK_ERR_FORMAT, GK_NO_OFF, "a member without a name");
    gk_archived e = {.path = name, .bytes = (uint64_t)archive_entry_size(entry)};
    bool ok;

    if (archive_entry_hardlink(entry) != NULL || (type != AE_IFREG && type != AE_IFDIR))
        ok = other_kind(t, entry, name);
    else if (type == AE_IFDIR)
        ok = true;
    else if (archive_entry_sparse_count(entry) > 0)
        ok = gk_fail(t->err, GK_ERR_UNSUPPORTED, GK_NO_OFF,
                     "a sparse member: pack it without --sparse");
    else if (archive_entry_size(entry) < 0)
        ok = gk_fail(t->err, GK_ERR_FORMAT, GK_NO_OFF, "a member of negative size");
    else
        ok = (t->plain ? place(t, &e) : unpack(t, &e)) && gk_archive_add(t->c, &e, t->err);
    return ok || gk_archive_fail_at(t->x, name, t->err);
}

/* ---- the whole ------------------------------------------------------------------------- */

static bool check_begin(tar *t)
{
    const uint64_t at = (uint64_t)archive_read_header_position(t->a);

    if (archive_filter_count(t->a) > 2)
        return gk_fail(t->err, GK_ERR_UNSUPPORTED, GK_NO_OFF, "compressed twice");
    if (at == t->next || t->next == 0)
        return true;
    return gk_fail(t->err, GK_ERR_FORMAT, t->plain ? at : GK_NO_OFF,
                   "the next header does not stand at %llu, where the member before ends",
                   (unsigned long long)t->next);
}

/* At least one block of zeros, and nothing behind them that would be passed over. */
static bool check_end(tar *t)
{
    const uint64_t end = (uint64_t)archive_filter_bytes(t->a, 0);
    unsigned char block[BLOCK_BYTES] = {0};

    if (t->next > 0 && end <= t->next)
        return gk_fail(t->err, GK_ERR_FORMAT, t->plain ? t->next : GK_NO_OFF,
                       "truncated: no blocks of zeros mark the end of the archive");
    if (!t->plain || end >= t->x->file->size)
        return true;
    const uint64_t n = gk_min(sizeof block, t->x->file->size - end);
    if (!gk_file_read(t->x->file, end, block, n, t->err))
        return false;
    for (uint64_t i = 0; i < n; i++)
        if (block[i] != 0)
            return gk_findings_addf(&t->c->findings, "archive", GK_WARN, t->x->file->name, NULL,
                                    t->err,
                                    "what stands behind the end of the archive is not "
                                    "read: it may be a second one");
    return true;
}

static bool list(tar *t)
{
    struct archive_entry *entry;
    int status;

    while ((status = archive_read_next_header(t->a, &entry)) == ARCHIVE_OK
           || status == ARCHIVE_WARN) {
        if (!check_begin(t))
            return false;
        t->next = (uint64_t)archive_filter_bytes(t->a, 0);
        if (status == ARCHIVE_WARN
            && !gk_findings_addf(&t->c->findings, "archive", GK_WARN, t->x->file->name, NULL,
                                 t->err, "%s", archive_error_string(t->a)))
            return false;
        if (!read_entry(t, entry))
            return false;
    }
    return status == ARCHIVE_EOF ? check_end(t) : refuse(t);
}

bool gk_tar_list(gk_catalog *c, gk_archive_kind kind, gk_err *err)
{
    tar t = {.c = c, .x = c->archive, .plain = kind == GK_ARCHIVE_TAR, .err = err};
    /* libarchive turns names into those of the thread's locale: let that be no change */
    const locale_t utf8 = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0);
    const locale_t before = utf8 == (locale_t)0 ? utf8 : uselocale(utf8);
    const bool ok = begin(&t, kind, archive_read_support_format_tar) && list(&t);

    archive_read_free(t.a);
    if (utf8 != (locale_t)0) {
        uselocale(before);
        freelocale(utf8);
    }
    gk_free(t.chunk);
    return ok || gk_fail_at(err, c->archive->file->name, NULL);
}

/* ---- a packed file --------------------------------------------------------------------- */

static bool check_trailer(const tar *t, uint32_t crc, uint64_t bytes)
{
    const uint64_t at = t->x->file->size - TRAILER_BYTES; /* its header alone is longer */
    unsigned char trailer[TRAILER_BYTES];

    if (!gk_file_read(t->x->file, at, trailer, sizeof trailer, t->err))
        return false;
    return (gk_load_u32(trailer) == crc && gk_load_u32(trailer + 4) == (uint32_t)bytes)
           || gk_fail(t->err, GK_ERR_FORMAT, at,
                      "CRC or length of the unpacked bytes is not what gzip's trailer says: the "
                      "file is damaged, or several joined into one (unpack it with gunzip, then)");
}

/* Its length is known only at its end, so room is taken as it grows. */
static bool unpack_all(tar *t, gk_archive_kind kind, gk_archived *e)
{
    struct archive_entry *entry;
    uint64_t off;
    uint32_t crc = 0;
    const void *buf;
    size_t len;
    la_int64_t at;
    int status = archive_read_next_header(t->a, &entry);

    if (status != ARCHIVE_OK)
        return status == ARCHIVE_EOF ? gk_fail(t->err, GK_ERR_FORMAT, 0, "it unpacks to nothing")
                                     : refuse(t);
    /* the raw format takes anything, also what no filter knew */
    if (archive_filter_count(t->a) != 2)
        return gk_fail(t->err, GK_ERR_FORMAT, 0, "damaged, or compressed twice");
    while ((status = archive_read_data_block(t->a, &buf, &len, &at)) == ARCHIVE_OK) {
        if (at < 0 || (uint64_t)at != e->bytes)
            return gk_fail(t->err, GK_ERR_FORMAT, GK_NO_OFF, "it unpacks to a file with holes");
        if (!gk_spool_reserve(t->c->arena, &t->x->spool, len, t->x->file->size, &off, t->err)
            || !gk_spool_put(&t->x->spool, off, buf, len, t->err))
            return false;
        crc = (uint32_t)crc32_z(crc, buf, len);
        e->bytes += len;
    }
    if (status != ARCHIVE_EOF)
        return refuse(t);
    e->spooled = e->bytes > 0;
    return kind != GK_ARCHIVE_GZIP || check_trailer(t, crc, e->bytes);
}

bool gk_packed_list(gk_catalog *c, gk_archive_kind kind, const char *name, gk_err *err)
{
    tar t = {.c = c, .x = c->archive, .err = err};
    gk_archived e = {.path = name};
    const bool ok = begin(&t, kind, archive_read_support_format_raw) && unpack_all(&t, kind, &e)
                    && gk_archive_add(c, &e, err);

    archive_read_free(t.a);
    gk_free(t.chunk);
    return ok || gk_fail_at(err, c->archive->file->name, NULL);
}
