/* formats/gguf.c - the cursor over a GGUF file, and what it finds behind a key. */
#include "formats/gguf.h"

#include <inttypes.h>
#include <string.h>

#include "formats/checked.h"
#include "formats/gguf_cursor.h"
#include "formats/scan.h"

#define MAX_STRING (UINT64_C(1) << 30) /* ggml's limit for the bytes of a string */

static const struct value_type {
    const char *name;
    unsigned bytes; /* 0: variable */
} value_types[GK_N_GGUF_TYPES] = {
    [GK_GGUF_U8] = {"u8", 1},       [GK_GGUF_I8] = {"i8", 1},     [GK_GGUF_U16] = {"u16", 2},
    [GK_GGUF_I16] = {"i16", 2},     [GK_GGUF_U32] = {"u32", 4},   [GK_GGUF_I32] = {"i32", 4},
    [GK_GGUF_F32] = {"f32", 4},     [GK_GGUF_BOOL] = {"bool", 1}, [GK_GGUF_STRING] = {"string", 0},
    [GK_GGUF_ARRAY] = {"array", 0}, [GK_GGUF_U64] = {"u64", 8},   [GK_GGUF_I64] = {"i64", 8},
    [GK_GGUF_F64] = {"f64", 8},
};

/* ---- the cursor ------------------------------------------------------------------ */

void gk_gguf_start(gk_gguf_cursor *k, const gk_file *file, uint64_t begin, uint64_t end,
                   unsigned char *window, gk_err *err)
{
    *k = (gk_gguf_cursor){.file = file, .pos = begin, .end = end, .window = window, .err = err};
}

/* Ends the walk: gk_fail() has recorded why. */
bool gk_gguf_failed(gk_gguf_cursor *k)
{
    k->failed = true;
    return gk_fail_at(k->err, k->file->name, NULL);
}

/* Returns the next n bytes (at most a window) without taking them, or NULL. */
const unsigned char *gk_gguf_peek(gk_gguf_cursor *k, uint64_t n, const char *what)
{
    if (k->failed)
        return NULL;
    if (n > k->end - k->pos) {
        gk_fail(k->err, GK_ERR_FORMAT, k->pos,
                "truncated: %s needs %" PRIu64 " bytes, there are %" PRIu64
                " before the end of the file",
                what, n, k->end - k->pos);
        return gk_gguf_failed(k), NULL;
    }
    if (k->pos < k->window_off || k->pos + n > k->window_off + k->window_len) {
        const uint64_t len = gk_min(GK_GGUF_WINDOW_BYTES, k->end - k->pos);
        k->window_len = 0;
        if (!gk_file_read(k->file, k->pos, k->window, len, k->err))
            return gk_gguf_failed(k), NULL;
        k->window_off = k->pos;
        k->window_len = len;
    }
    return k->window + (k->pos - k->window_off);
}

bool gk_gguf_take_u32(gk_gguf_cursor *k, const char *what, uint32_t *out)
{
    const unsigned char *p = gk_gguf_peek(k, 4, what);

    if (p == NULL)
        return false;
    *out = gk_load_u32(p);
    k->pos += 4;
    return true;
}

bool gk_gguf_take_u64(gk_gguf_cursor *k, const char *what, uint64_t *out)
{
    const unsigned char *p = gk_gguf_peek(k, 8, what);

    if (p == NULL)
        return false;
    *out = gk_load_u64(p);
    k->pos += 8;
    return true;
}

/* Takes the length of a string; its bytes then stand at pos, all in the file. */
bool gk_gguf_take_length(gk_gguf_cursor *k, const char *what, uint64_t *len)
{
    const uint64_t off = k->pos;

    if (!gk_gguf_take_u64(k, what, len))
        return false;
    if (*len > k->end - k->pos)
        gk_fail(k->err, GK_ERR_FORMAT, off,
                "truncated: the string length of %s is %" PRIu64 ", %" PRIu64
                " bytes are left before the end of the file",
                what, *len, k->end - k->pos);
    else if (*len > MAX_STRING)
        gk_fail(k->err, GK_ERR_LIMIT, off,
                "the string length of %s is %" PRIu64 ", at most %" PRIu64 " are allowed", what,
                *len, MAX_STRING);
    else
        return true;
    return gk_gguf_failed(k);
}

/* Takes a number or bool into v; v->type is one of those. */
bool gk_gguf_take_number(gk_gguf_cursor *k, gk_gguf_value *v)
{
    const unsigned bytes = value_types[v->type].bytes;
    const unsigned char *p = gk_gguf_peek(k, bytes, "a value");
    unsigned char word[8] = {0};
    float f32;

    if (p == NULL)
        return false;
    memcpy(word, p, bytes);
    k->pos += bytes;
    switch (v->type) {
    case GK_GGUF_I8: v->as.i = (int8_t)word[0]; break;
    case GK_GGUF_I16: v->as.i = (int16_t)gk_load_u16(word); break;
    case GK_GGUF_I32: v->as.i = (int32_t)gk_load_u32(word); break;
    case GK_GGUF_I64: v->as.i = (int64_t)gk_load_u64(word); break;
    case GK_GGUF_F64: memcpy(&v->as.f, word, 8); break;
    case GK_GGUF_F32:
        memcpy(&f32, word, 4);
        v->as.f = (double)f32;
        break;
    default: v->as.u = gk_load_u64(word); break;
    }
    return true;
}

/* ---- values ---------------------------------------------------------------------- */

const char *gk_gguf_type_name(gk_gguf_type type) { return value_types[type].name; }

unsigned gk_gguf_type_bytes(gk_gguf_type type) { return value_types[type].bytes; }

const gk_gguf_value *gk_gguf_find(const gk_gguf *g, const char *key)
{
    for (uint64_t i = 0; g != NULL && i < g->n_values; i++)
        if (strcmp(g->value[i].key, key) == 0)
            return &g->value[i];
    return NULL;
}

enum kind { OTHER, UNSIGNED, SIGNED, REAL };

static enum kind kind_of(gk_gguf_type type)
{
    switch (type) {
    case GK_GGUF_U8:
    case GK_GGUF_U16:
    case GK_GGUF_U32:
    case GK_GGUF_U64: return UNSIGNED;
    case GK_GGUF_I8:
    case GK_GGUF_I16:
    case GK_GGUF_I32:
    case GK_GGUF_I64: return SIGNED;
    case GK_GGUF_F32:
    case GK_GGUF_F64: return REAL;
    default: return OTHER;
    }
}

bool gk_gguf_uint(const gk_gguf *g, const char *key, uint64_t *out)
{
    const gk_gguf_value *v = gk_gguf_find(g, key);
    const enum kind kind = v == NULL ? OTHER : kind_of(v->type);

    if (kind != UNSIGNED && (kind != SIGNED || v->as.i < 0))
        return false;
    *out = kind == UNSIGNED ? v->as.u : (uint64_t)v->as.i;
    return true;
}

static double real_of(const gk_gguf_value *v)
{
    switch (kind_of(v->type)) {
    case UNSIGNED: return (double)v->as.u;
    case SIGNED: return (double)v->as.i;
    default: return v->as.f;
    }
}

bool gk_gguf_real(const gk_gguf *g, const char *key, double *out)
{
    const gk_gguf_value *v = gk_gguf_find(g, key);

    if (v == NULL || kind_of(v->type) == OTHER)
        return false;
    *out = real_of(v);
    return true;
}

bool gk_gguf_bool(const gk_gguf *g, const char *key, bool *out)
{
    const gk_gguf_value *v = gk_gguf_find(g, key);

    if (v == NULL || v->type != GK_GGUF_BOOL)
        return false;
    *out = v->as.u != 0;
    return true;
}

char *gk_gguf_string(const gk_gguf *g, const char *key, gk_arena *a, uint64_t *len, gk_err *err)
{
    const gk_gguf_value *v = gk_gguf_find(g, key);

    if (v == NULL || v->type != GK_GGUF_STRING)
        return NULL;
    if (v->n > GK_MAX_STRING_BYTES) {
        gk_fail(err, GK_ERR_LIMIT, v->off, "a string of %" PRIu64 " bytes, at most %u are read",
                v->n, GK_MAX_STRING_BYTES);
        return gk_fail_at(err, g->file->name, key), NULL;
    }
    char *text = gk_arena_alloc(a, v->n + 1, 1, err);
    if (text == NULL || !gk_file_read(g->file, v->off, text, v->n, err))
        return NULL;
    text[v->n] = '\0';
    if (len != NULL)
        *len = v->n;
    return text;
}

/* ---- arrays ---------------------------------------------------------------------- */

void gk_gguf_walk(gk_gguf_cursor *k, const gk_gguf *g, const gk_gguf_value *v,
                  unsigned char *window, gk_err *err)
{
    if (v == NULL || v->type != GK_GGUF_ARRAY) {
        *k = (gk_gguf_cursor){.window = window, .err = err};
        return;
    }
    gk_gguf_start(k, g->file, v->off, v->off + v->bytes, window, err);
    k->left = v->n;
    k->elem = v->elem;
}

bool gk_gguf_next_string(gk_gguf_cursor *k, gk_text *out)
{
    uint64_t len;

    if (k->left == 0 || k->elem != GK_GGUF_STRING || k->failed
        || !gk_gguf_take_length(k, "an element", &len))
        return false;
    if (len > GK_MAX_STRING_BYTES) {
        gk_fail(k->err, GK_ERR_LIMIT, k->pos, "a string of %" PRIu64 " bytes, at most %u are read",
                len, GK_MAX_STRING_BYTES);
        return gk_gguf_failed(k);
    }
    gk_text_clear(out);
    gk_text_add(out, "", 0);
    while (len > 0) {
        const uint64_t n = gk_min(len, GK_GGUF_WINDOW_BYTES);
        const unsigned char *p = gk_gguf_peek(k, n, "a string");
        if (p == NULL)
            return false;
        gk_text_add(out, p, n);
        k->pos += n;
        len -= n;
    }
    if (!gk_text_ok(out, k->err))
        return gk_gguf_failed(k);
    k->left--;
    return true;
}

/* Takes the next element of an array of numbers into *v. */
static bool next_number(gk_gguf_cursor *k, bool integer, gk_gguf_value *v)
{
    const enum kind kind = kind_of(k->elem);

    *v = (gk_gguf_value){.type = k->elem};
    if (k->left == 0 || kind == OTHER || (integer && kind == REAL) || !gk_gguf_take_number(k, v))
        return false;
    k->left--;
    return true;
}

bool gk_gguf_next_int(gk_gguf_cursor *k, int64_t *out)
{
    gk_gguf_value v;

    if (!next_number(k, true, &v))
        return false;
    if (kind_of(v.type) == UNSIGNED && v.as.u > INT64_MAX) {
        gk_fail(k->err, GK_ERR_FORMAT, k->pos - 8, "%" PRIu64 " is above 2^63 - 1", v.as.u);
        return gk_gguf_failed(k);
    }
    *out = kind_of(v.type) == UNSIGNED ? (int64_t)v.as.u : v.as.i;
    return true;
}

bool gk_gguf_next_real(gk_gguf_cursor *k, double *out)
{
    gk_gguf_value v;

    if (!next_number(k, false, &v))
        return false;
    *out = real_of(&v);
    return true;
}
