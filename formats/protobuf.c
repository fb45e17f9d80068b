/* formats/protobuf.c - tags, varints, lengths.
 *
 *   tag      varint: field number << 3 | wire type
 *   type 0   varint: seven bits a byte, lowest first, the top bit says that more follow
 *   type 1   8 bytes, little-endian
 *   type 2   varint length, then as many bytes
 *   type 5   4 bytes, little-endian
 *   3, 4     groups, which no message read here has; 6, 7: not assigned
 *
 * Source: protobuf.dev, "Encoding". */
#include "formats/protobuf.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "formats/checked.h"

bool gk_protobuf_refuse(gk_protobuf *p, uint64_t off, const char *fmt, ...)
{
    char text[256];
    va_list args;

    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    p->failed = true;
    gk_fail(p->err, GK_ERR_FORMAT, off, "%s", text);
    return gk_fail_at(p->err, p->file->name, NULL);
}

/* Returns n bytes (at most the window's) at pos, and passes them; NULL and *err. */
static const unsigned char *take(gk_protobuf *p, uint64_t n)
{
    if (n > p->end - p->pos) {
        gk_protobuf_refuse(p, p->pos, "truncated: %" PRIu64 " bytes expected, %" PRIu64 " are left",
                           n, p->end - p->pos);
        return NULL;
    }
    if (p->pos < p->at || p->pos + n > p->at + p->len) {
        const uint64_t want = gk_min(GK_PROTOBUF_WINDOW_BYTES, p->file->size - p->pos);
        p->len = 0;
        if (!gk_file_read(p->file, p->pos, p->window, want, p->err)) {
            p->failed = true;
            return NULL;
        }
        p->at = p->pos;
        p->len = want;
    }
    const unsigned char *bytes = p->window + (p->pos - p->at);
    p->pos += n;
    return bytes;
}

static bool take_varint(gk_protobuf *p, uint64_t *value)
{
    const uint64_t off = p->pos;

    *value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        const unsigned char *byte = take(p, 1);
        if (byte == NULL)
            return false;
        if (shift == 63 && *byte > 1)
            break;
        *value |= (uint64_t)(*byte & 0x7F) << shift;
        if (*byte < 0x80)
            return true;
    }
    return gk_protobuf_refuse(p, off, "a varint of more than 64 bits");
}

static bool take_fixed(gk_protobuf *p, unsigned n, uint64_t *value)
{
    const unsigned char *bytes = take(p, n);

    *value = 0;
    for (unsigned i = 0; bytes != NULL && i < n; i++)
        *value |= (uint64_t)bytes[i] << (8 * i);
    return bytes != NULL;
}

bool gk_protobuf_next(gk_protobuf *p, gk_protobuf_field *f)
{
    uint64_t tag;

    if (p->failed || p->pos >= p->end)
        return false;
    *f = (gk_protobuf_field){.off = p->pos};
    if (!take_varint(p, &tag))
        return false;
    if (tag >> 3 == 0 || tag > UINT32_MAX)
        return gk_protobuf_refuse(p, f->off, "a tag that is none: 0x%" PRIx64, tag);
    f->number = (uint32_t)(tag >> 3);
    f->type = (gk_protobuf_type)(tag & 7);
    f->body = p->pos;
    switch (f->type) {
    case GK_PROTOBUF_VARINT:
        if (!take_varint(p, &f->value))
            return false;
        break;
    case GK_PROTOBUF_FIXED64:
    case GK_PROTOBUF_FIXED32:
        if (!take_fixed(p, f->type == GK_PROTOBUF_FIXED64 ? 8 : 4, &f->value))
            return false;
        break;
    case GK_PROTOBUF_BYTES:
        if (!take_varint(p, &f->n))
            return false;
        f->body = p->pos;
        if (f->n > p->end - p->pos)
            return gk_protobuf_refuse(
                p, f->off, "truncated: field %u has %" PRIu64 " bytes, %" PRIu64 " are left",
                f->number, f->n, p->end - p->pos);
        p->pos += f->n;
        return true;
    default:
        return gk_protobuf_refuse(p, f->off, "field %u has the wire type %d, which is %s",
                                  f->number, (int)f->type,
                                  (int)f->type < 5 ? "a group's" : "not assigned");
    }
    f->n = p->pos - f->body;
    return true;
}

static bool is_of(gk_protobuf *p, const gk_protobuf_field *f, gk_protobuf_type type,
                  const char *what)
{
    return f->type == type
           || gk_protobuf_refuse(p, f->off, "%s (field %u) has the wire type %d, expected %d", what,
                                 f->number, (int)f->type, (int)type);
}

bool gk_protobuf_enter(gk_protobuf *p, const gk_protobuf_field *f, uint64_t *end)
{
    if (!is_of(p, f, GK_PROTOBUF_BYTES, "a message"))
        return false;
    *end = p->end;
    p->pos = f->body;
    p->end = f->body + f->n;
    return true;
}

void gk_protobuf_leave(gk_protobuf *p, uint64_t end)
{
    p->pos = p->end;
    p->end = end;
}

bool gk_protobuf_bool(gk_protobuf *p, const gk_protobuf_field *f, const char *what, bool *out)
{
    if (!is_of(p, f, GK_PROTOBUF_VARINT, what))
        return false;
    *out = f->value != 0;
    return true;
}

bool gk_protobuf_int(gk_protobuf *p, const gk_protobuf_field *f, const char *what, int64_t *out)
{
    if (!is_of(p, f, GK_PROTOBUF_VARINT, what))
        return false;
    const uint32_t low = (uint32_t)f->value; /* an int32 is cut to its lower half */
    *out = low <= INT32_MAX ? (int64_t)low : (int64_t)low - (INT64_C(1) << 32);
    return true;
}

bool gk_protobuf_float(gk_protobuf *p, const gk_protobuf_field *f, const char *what, float *out)
{
    const uint32_t bits = (uint32_t)f->value;

    if (!is_of(p, f, GK_PROTOBUF_FIXED32, what))
        return false;
    memcpy(out, &bits, sizeof *out);
    return true;
}

bool gk_protobuf_string(gk_protobuf *p, const gk_protobuf_field *f, const char *what, uint64_t max,
                        gk_text *out)
{
    const uint64_t behind = p->pos;

    if (!is_of(p, f, GK_PROTOBUF_BYTES, what))
        return false;
    if (f->n > max) {
        p->failed = true;
        gk_fail(p->err, GK_ERR_LIMIT, f->off, "%s has more than %" PRIu64 " bytes", what, max);
        return gk_fail_at(p->err, p->file->name, NULL);
    }
    gk_text_clear(out);
    p->pos = f->body;
    for (uint64_t left = f->n; left > 0;) {
        const uint64_t n = gk_min(left, GK_PROTOBUF_WINDOW_BYTES);
        const unsigned char *bytes = take(p, n);
        if (bytes == NULL)
            return false;
        gk_text_add(out, bytes, n);
        left -= n;
    }
    p->pos = behind;
    if (!gk_text_ok(out, p->err))
        return p->failed = true, false;
    for (uint64_t i = 0; i < out->len;) {
        const int n = gk_utf8_len(out->data + i, out->len - i);
        if (n == 0)
            return gk_protobuf_refuse(p, f->body + i, "%s is no UTF-8 here", what);
        i += (uint64_t)n;
    }
    return true;
}
