/* formats/msgpack.c - heads by our own cursor, scalars by msgpack-c.
 *
 *   00-7F, E0-FF  integer        C0 nil, C2 C3 boolean       CA CB float, CC-D3 integer
 *   80-8F DE DF   map            90-9F DC DD array           A0-BF D9-DB str
 *   C4-C6         bin            C7-C9 D4-D8 ext             C1 reserved
 *
 * All lengths are big-endian. Source: msgpack/msgpack spec.md. */
#include "formats/msgpack.h"

#include <inttypes.h>
#include <msgpack.h>

#include "formats/checked.h"

bool gk_msgpack_fail_at(gk_msgpack *m)
{
    return gk_fail_at(m->err, m->file->name, m->path.len > 0 ? m->path.data : NULL);
}

bool gk_msgpack_refuse(gk_msgpack *m, uint64_t off, const char *text)
{
    gk_fail(m->err, GK_ERR_FORMAT, off, "%s", text);
    return gk_msgpack_fail_at(m);
}

/* ---- the window --------------------------------------------------------------------- */

/* Returns n bytes (at most the window's) at pos, and passes them; NULL and *err. */
static const unsigned char *take(gk_msgpack *m, uint64_t n)
{
    if (n > m->end - m->pos) {
        gk_fail(m->err, GK_ERR_FORMAT, m->pos,
                "truncated: a value of %" PRIu64 " bytes, %" PRIu64 " are left", n,
                m->end - m->pos);
        gk_msgpack_fail_at(m);
        return NULL;
    }
    if (m->pos < m->at || m->pos + n > m->at + m->len) {
        const uint64_t want = gk_min(GK_MSGPACK_WINDOW_BYTES, m->file->size - m->pos);
        m->len = 0;
        if (!gk_file_read(m->file, m->pos, m->window, want, m->err))
            return NULL;
        m->at = m->pos;
        m->len = want;
    }
    const unsigned char *bytes = m->window + (m->pos - m->at);
    m->pos += n;
    return bytes;
}

static uint64_t big_endian(const unsigned char *bytes, int n)
{
    uint64_t value = 0;

    for (int i = 0; i < n; i++)
        value = value << 8 | bytes[i];
    return value;
}

/* ---- heads -------------------------------------------------------------------------- */

/* Heads C0 to DF: the kind, how many bytes of length follow, or the length itself. */
typedef struct form {
    uint8_t kind, length_bytes, fixed;
} form;

static const form forms[32] = {
    [0x00] = {GK_MSGPACK_NIL, 0, 0},     [0x02] = {GK_MSGPACK_BOOLEAN, 0, 0},
    [0x03] = {GK_MSGPACK_BOOLEAN, 0, 0}, [0x04] = {GK_MSGPACK_BIN, 1, 0},
    [0x05] = {GK_MSGPACK_BIN, 2, 0},     [0x06] = {GK_MSGPACK_BIN, 4, 0},
    [0x07] = {GK_MSGPACK_EXT, 1, 0},     [0x08] = {GK_MSGPACK_EXT, 2, 0},
    [0x09] = {GK_MSGPACK_EXT, 4, 0},     [0x0A] = {GK_MSGPACK_REAL, 0, 4},
    [0x0B] = {GK_MSGPACK_REAL, 0, 8},    [0x0C] = {GK_MSGPACK_INTEGER, 0, 1},
    [0x0D] = {GK_MSGPACK_INTEGER, 0, 2}, [0x0E] = {GK_MSGPACK_INTEGER, 0, 4},
    [0x0F] = {GK_MSGPACK_INTEGER, 0, 8}, [0x10] = {GK_MSGPACK_INTEGER, 0, 1},
    [0x11] = {GK_MSGPACK_INTEGER, 0, 2}, [0x12] = {GK_MSGPACK_INTEGER, 0, 4},
    [0x13] = {GK_MSGPACK_INTEGER, 0, 8}, [0x14] = {GK_MSGPACK_EXT, 0, 1},
    [0x15] = {GK_MSGPACK_EXT, 0, 2},     [0x16] = {GK_MSGPACK_EXT, 0, 4},
    [0x17] = {GK_MSGPACK_EXT, 0, 8},     [0x18] = {GK_MSGPACK_EXT, 0, 16},
    [0x19] = {GK_MSGPACK_STR, 1, 0},     [0x1A] = {GK_MSGPACK_STR, 2, 0},
    [0x1B] = {GK_MSGPACK_STR, 4, 0},     [0x1C] = {GK_MSGPACK_ARRAY, 2, 0},
    [0x1D] = {GK_MSGPACK_ARRAY, 4, 0},   [0x1E] = {GK_MSGPACK_MAP, 2, 0},
    [0x1F] = {GK_MSGPACK_MAP, 4, 0},
};

static bool refuse_past_end(gk_msgpack *m, const gk_msgpack_item *it)
{
    static const char *const what[] = {
        [GK_MSGPACK_NIL] = "a value of",         [GK_MSGPACK_BOOLEAN] = "a value of",
        [GK_MSGPACK_INTEGER] = "a number of",    [GK_MSGPACK_REAL] = "a number of",
        [GK_MSGPACK_STR] = "a string of length", [GK_MSGPACK_BIN] = "bin data of length",
        [GK_MSGPACK_ARRAY] = "an array of count", [GK_MSGPACK_MAP] = "a map of count",
        [GK_MSGPACK_EXT] = "an ext of length",
    };

    gk_fail(m->err, GK_ERR_FORMAT, it->off,
            "truncated: %s %" PRIu64 " goes beyond the end, %" PRIu64 " bytes are left",
            what[it->kind], it->n, m->end - m->pos);
    return gk_msgpack_fail_at(m);
}

bool gk_msgpack_head(gk_msgpack *m, gk_msgpack_item *it)
{
    *it = (gk_msgpack_item){.off = m->pos};
    const unsigned char *byte = take(m, 1);
    if (byte == NULL)
        return false;
    const unsigned b = *byte;
    if (b < 0x80 || b >= 0xE0) {
        it->kind = GK_MSGPACK_INTEGER;
    } else if (b < 0xC0) {
        it->kind = b < 0x90 ? GK_MSGPACK_MAP : b < 0xA0 ? GK_MSGPACK_ARRAY : GK_MSGPACK_STR;
        it->n = b & (b < 0xA0 ? 0x0F : 0x1F);
    } else if (b == 0xC1) {
        return gk_msgpack_refuse(m, it->off, "byte 0xc1, which msgpack reserves: no type has it");
    } else {
        const form *f = &forms[b - 0xC0];
        const bool is_ext = f->kind == GK_MSGPACK_EXT;
        it->kind = (gk_msgpack_kind)f->kind;
        it->n = f->fixed;
        const unsigned char *bytes = take(m, f->length_bytes + (is_ext ? 1u : 0u));
        if (bytes == NULL)
            return false;
        if (f->length_bytes > 0)
            it->n = big_endian(bytes, f->length_bytes);
        if (is_ext)
            it->type = (signed char)bytes[f->length_bytes];
    }
    it->body = m->pos;
    /* n is below 2^32; a pair takes two bytes at least, an item one */
    if ((it->kind == GK_MSGPACK_MAP ? it->n * 2 : it->n) > m->end - m->pos)
        return refuse_past_end(m, it);
    return true;
}

void gk_msgpack_skip(gk_msgpack *m, const gk_msgpack_item *it)
{
    m->pos = it->body + it->n;
}

/* ---- scalars ------------------------------------------------------------------------ */

bool gk_msgpack_uint(gk_msgpack *m, const gk_msgpack_item *it, uint64_t *value)
{
    msgpack_unpacked result;
    size_t used = 0;

    m->pos = it->off;
    const uint64_t n = it->body - it->off + it->n; /* 9 at most */
    const unsigned char *bytes = take(m, n);
    if (bytes == NULL)
        return false;
    msgpack_unpacked_init(&result);
    const msgpack_unpack_return status
        = msgpack_unpack_next(&result, (const char *)bytes, (size_t)n, &used);
    const bool ok = status == MSGPACK_UNPACK_SUCCESS && used == n;
    const msgpack_object object = result.data;
    msgpack_unpacked_destroy(&result);
    if (status == MSGPACK_UNPACK_NOMEM_ERROR)
        return gk_fail(m->err, GK_ERR_NOMEM, GK_NO_OFF, "out of memory");
    if (!ok || object.type != MSGPACK_OBJECT_POSITIVE_INTEGER)
        return gk_msgpack_refuse(m, it->off, "expected a number that is not negative");
    *value = object.via.u64;
    return true;
}

/* The bytes as they are; longer strings than the window come piecewise. */
static bool gather(gk_msgpack *m, const gk_msgpack_item *it, gk_text *out)
{
    m->pos = it->body;
    for (uint64_t left = it->n; left > 0;) {
        const uint64_t n = gk_min(left, GK_MSGPACK_WINDOW_BYTES);
        const unsigned char *bytes = take(m, n);
        if (bytes == NULL)
            return false;
        gk_text_add(out, (const char *)bytes, n);
        left -= n;
    }
    return gk_text_ok(out, m->err);
}

bool gk_msgpack_text(gk_msgpack *m, const gk_msgpack_item *it, gk_text *out, bool *odd)
{
    gk_text raw = {0};
    bool ok = gather(m, it, &raw);

    for (uint64_t i = 0; ok && i < raw.len;) {
        const int n = gk_utf8_len(raw.data + i, raw.len - i);
        const unsigned char c = (unsigned char)raw.data[i];
        *odd = *odd || c < 0x20 || c == 0x7F;
        ok = n > 0 || gk_msgpack_refuse(m, it->body + i, "a string that is no UTF-8");
        if (ok && c == '\0')
            gk_text_str(out, "\\x00");
        else if (ok)
            gk_text_add(out, raw.data + i, (uint64_t)n);
        i += (uint64_t)n;
    }
    gk_text_free(&raw);
    return ok && gk_text_ok(out, m->err);
}
