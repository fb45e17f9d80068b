/* formats/zip.c - the directory at the end of a zip file, checked against its members.
 *
 *   members   each: "PK\3\4" header of 30 bytes, name, extra, data
 *   central   each: "PK\1\2" header of 46 bytes, name, extra, comment
 *   zip64     "PK\6\6" record of 56 bytes or more, "PK\6\7" locator of 20 (large files)
 *   end       "PK\5\6" record of 22 bytes, comment
 *
 * Source: PKWARE APPNOTE.TXT 4.3. The records must touch: a directory that could be
 * looked for in two places could be read in two ways. */
#include "formats/zip.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "formats/checked.h"

#define END_BYTES     22
#define LOCATOR_BYTES 20
#define END64_BYTES   56
#define CENTRAL_BYTES 46
#define LOCAL_BYTES   30
#define MAX_COMMENT   65535u
#define MAX_NAME      4096u
#define MAX_CENTRAL   (CENTRAL_BYTES + 3 * 65535u)
#define WINDOW_BYTES  (256u << 10)

#define FLAG_ENCRYPTED  (0x1u | 0x40u | 0x2000u)
#define FLAG_PATCHED    0x20u
#define DEFLATE         8 /* a method */
#define FLAG_DESCRIPTOR 0x8u /* sizes and CRC follow the data; the header has zeros */

typedef struct zip {
    gk_arena *arena;
    const gk_file *f;
    uint64_t dir_off, dir_bytes, n;
    gk_zip_member *member;
    unsigned char *window;
    bool packed; /* deflated members are taken */
    gk_err *err;
} zip;

static bool refuse(const zip *z, uint64_t off, const char *text)
{
    return gk_fail(z->err, GK_ERR_FORMAT, off, "zip: %s", text);
}

bool gk_zip_begins(const unsigned char *head, uint64_t n)
{
    return n >= 4 && memcmp(head, "PK\3\4", 4) == 0;
}

/* ---- where the directory lies ------------------------------------------------------ */

/* The last end record whose comment ends with the file. */
static bool find_end(const zip *z, uint64_t *end_off, unsigned char end[END_BYTES])
{
    const uint64_t size = z->f->size;
    const uint64_t n = gk_min(size, END_BYTES + MAX_COMMENT);

    if (!gk_file_read(z->f, size - n, z->window, n, z->err))
        return false;
    for (uint64_t back = END_BYTES; back <= n; back++) {
        const unsigned char *at = z->window + (n - back);
        if (memcmp(at, "PK\5\6", 4) != 0 || gk_load_u16(at + 20) != back - END_BYTES)
            continue;
        memcpy(end, at, END_BYTES);
        *end_off = size - back;
        return true;
    }
    return refuse(z, size, "truncated: no end record, the file was cut or is no zip");
}

/* The record of a large file, when a locator stands before the end record. */
static bool find_end64(zip *z, uint64_t *end_off)
{
    unsigned char at[END64_BYTES];
    uint64_t off, size, end;

    if (*end_off < LOCATOR_BYTES)
        return true;
    if (!gk_file_read(z->f, *end_off - LOCATOR_BYTES, at, LOCATOR_BYTES, z->err))
        return false;
    if (memcmp(at, "PK\6\7", 4) != 0)
        return true;
    off = gk_load_u64(at + 8);
    if (gk_load_u32(at + 4) != 0 || gk_load_u32(at + 16) > 1)
        return refuse(z, *end_off, "in several volumes");
    if (!gk_add(off, END64_BYTES, &end) || end > *end_off - LOCATOR_BYTES)
        return refuse(z, *end_off, "the zip64 record lies outside the file");
    if (!gk_file_read(z->f, off, at, END64_BYTES, z->err))
        return false;
    size = gk_load_u64(at + 4);
    if (memcmp(at, "PK\6\6", 4) != 0 || !gk_add(size, 12, &size) || !gk_add(off, size, &end)
        || end != *end_off - LOCATOR_BYTES)
        return refuse(z, off, "the zip64 record does not end where its locator begins");
    if (gk_load_u32(at + 16) != 0 || gk_load_u32(at + 20) != 0
        || gk_load_u64(at + 24) != gk_load_u64(at + 32))
        return refuse(z, off, "in several volumes");
    z->n = gk_load_u64(at + 32);
    z->dir_bytes = gk_load_u64(at + 40);
    z->dir_off = gk_load_u64(at + 48);
    *end_off = off;
    return true;
}

static bool find_directory(zip *z)
{
    unsigned char end[END_BYTES] = {0};
    uint64_t end_off = 0, dir_end;

    if (!find_end(z, &end_off, end))
        return false;
    if (gk_load_u16(end + 4) != 0 || gk_load_u16(end + 6) != 0
        || gk_load_u16(end + 8) != gk_load_u16(end + 10))
        return refuse(z, end_off, "in several volumes");
    z->n = gk_load_u16(end + 10);
    z->dir_bytes = gk_load_u32(end + 12);
    z->dir_off = gk_load_u32(end + 16);
    if (!find_end64(z, &end_off))
        return false;
    if (!gk_add(z->dir_off, z->dir_bytes, &dir_end) || dir_end != end_off)
        return refuse(z, end_off, "its directory does not end where the end record begins");
    if (z->n > GK_MAX_ZIP_MEMBERS)
        return gk_fail(z->err, GK_ERR_LIMIT, end_off, "zip: more than %u members",
                       GK_MAX_ZIP_MEMBERS);
    if (z->n > z->dir_bytes / CENTRAL_BYTES)
        return refuse(z, end_off, "more members than its directory has room for");
    return true;
}

/* ---- one member ---------------------------------------------------------------------- */

static bool is_plain_path(const char *name, uint64_t len)
{
    if (len == 0 || len > MAX_NAME || name[0] == '/' || memchr(name, '\0', (size_t)len) != NULL
        || memchr(name, '\\', (size_t)len) != NULL)
        return false;
    for (uint64_t i = 0, part = 0; i <= len; i++) {
        if (i < len && name[i] != '/')
            continue;
        if (i - part == 2 && memcmp(name + part, "..", 2) == 0)
            return false;
        part = i + 1;
    }
    return true;
}

/* Takes the 64-bit values for the fields that are full, in the order of the header. */
static bool read_extra64(const zip *z, const unsigned char *extra, uint64_t len, uint64_t at,
                         uint64_t *const field[3])
{
    bool wanted = false;

    for (int i = 0; i < 3; i++)
        wanted |= *field[i] == UINT32_MAX;
    while (wanted && len >= 4) {
        const uint64_t n = gk_load_u16(extra + 2);
        if (n > len - 4)
            break;
        const unsigned char *value = extra + 4;
        uint64_t left = n;
        for (int i = 0; gk_load_u16(extra) == 1 && i < 3; i++) {
            if (*field[i] != UINT32_MAX)
                continue;
            if (left < 8)
                return refuse(z, at, "a zip64 field is too short");
            *field[i] = gk_load_u64(value);
            value += 8;
            left -= 8;
        }
        if (gk_load_u16(extra) == 1)
            return true;
        extra += 4 + n;
        len -= 4 + n;
    }
    return true; /* a size of 2^32 - 1 may be meant; it is checked like any other */
}

/* What the member's own header says must be what the directory says. */
static bool check_local(zip *z, gk_zip_member *m, unsigned flags)
{
    unsigned char at[LOCAL_BYTES], name[MAX_NAME];
    const uint64_t len = strlen(m->name);
    uint64_t off, end;

    if (!gk_add(m->header_off, LOCAL_BYTES + len, &end) || end > z->dir_off)
        return refuse(z, m->header_off, "a member begins outside the file");
    if (!gk_file_read(z->f, m->header_off, at, LOCAL_BYTES, z->err))
        return false;
    if (!gk_zip_begins(at, LOCAL_BYTES))
        return refuse(z, m->header_off, "the directory points to something that is no member");
    if (gk_load_u16(at + 26) != len || gk_load_u16(at + 6) != flags
        || gk_load_u16(at + 8) != (m->deflated ? DEFLATE : 0))
        return refuse(z, m->header_off, "a member's header differs from the directory's");
    if (!gk_file_read(z->f, m->header_off + LOCAL_BYTES, name, len, z->err))
        return false;
    if (memcmp(name, m->name, (size_t)len) != 0)
        return refuse(z, m->header_off, "a member's name differs from the directory's");
    if (!(flags & FLAG_DESCRIPTOR)) {
        const uint64_t stored = gk_load_u32(at + 18), size = gk_load_u32(at + 22);
        if (gk_load_u32(at + 14) != m->crc || (stored != UINT32_MAX && stored != m->packed_bytes)
            || (size != UINT32_MAX && size != m->bytes))
            return refuse(z, m->header_off, "a member's size or CRC differs from the directory's");
    }
    off = end + gk_load_u16(at + 28);
    if (!gk_add(off, m->packed_bytes, &end) || end > z->dir_off)
        return refuse(z, m->header_off, "a member's data ends beyond the members");
    m->off = off;
    return true;
}

static bool read_member(zip *z, const unsigned char *at, uint64_t off, gk_zip_member *m)
{
    const unsigned flags = gk_load_u16(at + 8), method = gk_load_u16(at + 10);
    const uint64_t len = gk_load_u16(at + 28), n_extra = gk_load_u16(at + 30);
    const char *name = (const char *)at + CENTRAL_BYTES;
    uint64_t stored = gk_load_u32(at + 20), size = gk_load_u32(at + 24);
    uint64_t header = gk_load_u32(at + 42);
    uint64_t *const field[3] = {&size, &stored, &header};

    if (!is_plain_path(name, len))
        return refuse(z, off, "a member's name is empty, absolute, too long, or has a '..' in it");
    m->name = gk_arena_strn(z->arena, name, len, z->err);
    if (m->name == NULL || !read_extra64(z, at + CENTRAL_BYTES + len, n_extra, off, field))
        return false;
    if (flags & FLAG_ENCRYPTED)
        return gk_fail(z->err, GK_ERR_UNSUPPORTED, off, "zip: the member is encrypted");
    m->deflated = z->packed && method == DEFLATE;
    if ((method != 0 && !m->deflated) || (flags & FLAG_PATCHED))
        return gk_fail(z->err, GK_ERR_UNSUPPORTED, off,
                       "zip: the member is compressed (method %u), only stored %s read", method,
                       z->packed ? "and deflated ones are" : "ones are");
    if (stored != size && !m->deflated)
        return refuse(z, off, "a stored member has two sizes");
    if (gk_load_u16(at + 34) != 0)
        return refuse(z, off, "in several volumes");
    m->bytes = size;
    m->packed_bytes = stored;
    m->header_off = header;
    m->crc = gk_load_u32(at + 16);
    return check_local(z, m, flags);
}

static bool read_directory(zip *z)
{
    uint64_t pos = z->dir_off, begin = 0, have = 0;
    const uint64_t dir_end = z->dir_off + z->dir_bytes;

    z->member = gk_arena_alloc(z->arena, z->n, sizeof *z->member, z->err);
    if (z->member == NULL)
        return false;
    for (uint64_t i = 0; i < z->n; i++) {
        const uint64_t left = dir_end - pos;
        /* a window that holds the longest entry there can be */
        if (begin + have - pos < gk_min(left, MAX_CENTRAL) || have == 0) {
            begin = pos;
            have = gk_min(left, WINDOW_BYTES);
            if (!gk_file_read(z->f, begin, z->window, have, z->err))
                return false;
        }
        const unsigned char *at = z->window + (pos - begin);
        if (left < CENTRAL_BYTES || memcmp(at, "PK\1\2", 4) != 0)
            return refuse(z, pos, "its directory is damaged: no entry where one should begin");
        const uint64_t bytes = CENTRAL_BYTES + (uint64_t)gk_load_u16(at + 28) + gk_load_u16(at + 30)
                               + gk_load_u16(at + 32);
        if (bytes > left)
            return refuse(z, pos, "its directory is damaged: an entry ends beyond it");
        if (!read_member(z, at, pos, &z->member[i]))
            return gk_fail_at(z->err, NULL, z->member[i].name);
        pos += bytes;
    }
    return pos == dir_end || refuse(z, pos, "bytes behind the last entry of its directory");
}

/* ---- all members ----------------------------------------------------------------------- */

static int by_offset(const void *a, const void *b)
{
    const gk_zip_member *x = a, *y = b;

    return (x->header_off > y->header_off) - (x->header_off < y->header_off);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const gk_zip_member *)a)->name, ((const gk_zip_member *)b)->name);
}

static bool check_members(zip *z)
{
    if (z->n > 1)
        qsort(z->member, (size_t)z->n, sizeof *z->member, by_offset);
    for (uint64_t i = 1; i < z->n; i++)
        if (z->member[i].header_off < z->member[i - 1].off + z->member[i - 1].packed_bytes) {
            refuse(z, z->member[i].header_off, "members overlap");
            return gk_fail_at(z->err, NULL, z->member[i].name);
        }
    if (z->n > 1)
        qsort(z->member, (size_t)z->n, sizeof *z->member, by_name);
    for (uint64_t i = 1; i < z->n; i++)
        if (strcmp(z->member[i].name, z->member[i - 1].name) == 0)
            return gk_fail(z->err, GK_ERR_FORMAT, z->member[i].header_off,
                           "zip: duplicate: the member %.200s stands twice", z->member[i].name);
    return true;
}

static bool read_zip(gk_arena *a, const gk_file *f, bool packed, gk_zip *out, gk_err *err)
{
    zip z = {.arena = a, .f = f, .packed = packed, .err = err};

    z.window = gk_alloc(WINDOW_BYTES, 1, err);
    const bool ok = z.window != NULL && find_directory(&z) && read_directory(&z)
                    && check_members(&z);
    gk_free(z.window);
    *out = (gk_zip){.member = z.member, .n = z.n};
    return ok || gk_fail_at(err, f->name, NULL);
}

bool gk_zip_read(gk_arena *a, const gk_file *f, gk_zip *out, gk_err *err)
{
    return read_zip(a, f, false, out, err);
}

bool gk_zip_read_packed(gk_arena *a, const gk_file *f, gk_zip *out, gk_err *err)
{
    return read_zip(a, f, true, out, err);
}

const gk_zip_member *gk_zip_find(const gk_zip *z, const char *name)
{
    const gk_zip_member key = {.name = name};

    return z->n == 0 ? NULL : bsearch(&key, z->member, (size_t)z->n, sizeof key, by_name);
}
