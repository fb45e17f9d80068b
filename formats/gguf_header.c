/* formats/gguf_header.c - the header of one GGUF file: keys, tensor infos, where the data lies.
 *
 * The layout is drawn in gguf.h. Source: ggml-org/ggml docs/gguf.md, src/gguf.cpp
 * @d99724f. Refused, as there: version 0, 1 and above 3, big-endian files, empty or
 * duplicate keys, duplicate tensors, types out of range or removed, rows that are no whole
 * blocks, counts and sizes that leave 64 bits or the file, data that overlaps. Refused
 * beyond it: an alignment above 1 MiB. What llama.cpp refuses and the specification allows
 * (a hole in the data, five dimensions, a name of 64 bytes, nested arrays) is a warning.
 *
 * All goes through one cursor with a small window: nothing is allocated by a count that
 * the file declares, and a value costs the same memory however long its array is. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "formats/checked.h"
#include "formats/gguf_cursor.h"
#include "formats/names.h"
#include "formats/reader.h"

#define MAX_ALIGNMENT     (1u << 20)
#define MAX_KEYS          1000000u
#define MAX_KEY_BYTES     65535u
#define MAX_NAME_BYTES    64u /* by the specification; llama.cpp takes 63 */
#define MAX_ELEMS         (UINT64_C(1) << 30)
#define MAX_NESTING       4
#define GGML_DIMS         4
#define DEFAULT_ALIGNMENT 32u
#define MIN_KEY_BYTES     (8 + 1 + 4 + 1) /* length, one letter, type, a u8       */
#define MIN_INFO_BYTES    (8 + 4 + 4 + 8) /* empty name, no dims, type, offset    */

/* ggml's tensor types by their number in the file. */
#define TYPE(name) {.dtype = GK_##name}
#define GONE(name) {.removed = #name}
static const struct ggml_type {
    uint8_t dtype;
    const char *removed; /* its name; NULL: it is still there */
} ggml_types[] = {
    [0] = TYPE(F32),            [1] = TYPE(F16),            [2] = TYPE(Q4_0),
    [3] = TYPE(Q4_1),           [4] = GONE(Q4_2),           [5] = GONE(Q4_3),
    [6] = TYPE(Q5_0),           [7] = TYPE(Q5_1),           [8] = TYPE(Q8_0),
    [9] = TYPE(Q8_1),           [10] = TYPE(Q2_K),          [11] = TYPE(Q3_K),
    [12] = TYPE(Q4_K),          [13] = TYPE(Q5_K),          [14] = TYPE(Q6_K),
    [15] = TYPE(Q8_K),          [16] = TYPE(IQ2_XXS),       [17] = TYPE(IQ2_XS),
    [18] = TYPE(IQ3_XXS),       [19] = TYPE(IQ1_S),         [20] = TYPE(IQ4_NL),
    [21] = TYPE(IQ3_S),         [22] = TYPE(IQ2_S),         [23] = TYPE(IQ4_XS),
    [24] = TYPE(I8),            [25] = TYPE(I16),           [26] = TYPE(I32),
    [27] = TYPE(I64),           [28] = TYPE(F64),           [29] = TYPE(IQ1_M),
    [30] = TYPE(BF16),          [31] = GONE(Q4_0_4_4),      [32] = GONE(Q4_0_4_8),
    [33] = GONE(Q4_0_8_8),      [34] = TYPE(TQ1_0),         [35] = TYPE(TQ2_0),
    [36] = GONE(IQ4_NL_4_4),    [37] = GONE(IQ4_NL_4_8),    [38] = GONE(IQ4_NL_8_8),
    [39] = TYPE(MXFP4),         [40] = TYPE(NVFP4),         [41] = TYPE(Q1_0),
    [42] = TYPE(Q2_0),
};

#define N_GGML_TYPES (sizeof ggml_types / sizeof ggml_types[0])

bool gk_gguf_type_id(gk_dtype dtype, uint32_t *id)
{
    for (uint32_t i = 0; i < N_GGML_TYPES; i++)
        if (ggml_types[i].removed == NULL && ggml_types[i].dtype == dtype)
            return *id = i, true;
    return false;
}

/* ---- reading keys ---------------------------------------------------------------- */

typedef struct reader {
    gk_catalog *c;
    gk_gguf_cursor k;
    gk_gguf *g;
    gk_gguf_value *value;
    uint64_t n_values, cap;
    uint64_t first; /* index of this file's first entry */
    uint64_t n_tensors, n_keys, data_off;
    uint64_t bad_bools, first_bad_bool;
    gk_names seen;
    uint32_t input;
    gk_err *err;
} reader;

static bool warn(reader *r, gk_severity severity, const char *about, const char *text)
{
    return gk_findings_addf(&r->c->findings, "header", severity, r->k.file->name, about, r->err,
                            "%s", text);
}

/* Takes len bytes as a name to keep: NUL bytes become the text \x00, all else stays. */
static char *take_name(reader *r, uint64_t len, bool *odd, bool *utf8)
{
    const char *p = (const char *)gk_gguf_peek(&r->k, len, "a name");
    gk_text safe = {0};

    if (p == NULL)
        return NULL;
    *odd = len == 0;
    *utf8 = true;
    for (uint64_t i = 0; i < len; i++)
        *odd |= (unsigned char)p[i] < 0x20 || p[i] == 0x7F;
    for (uint64_t i = 0; i < len && *utf8;) {
        const int n = gk_utf8_len(p + i, len - i);
        *utf8 = n > 0;
        i += (uint64_t)n;
    }
    r->k.pos += len;
    if (memchr(p, '\0', (size_t)len) == NULL)
        return gk_arena_strn(r->c->arena, p, len, r->err);
    for (uint64_t i = 0; i < len; i++)
        if (p[i] == '\0')
            gk_text_str(&safe, "\\x00");
        else
            gk_text_char(&safe, p[i]);
    char *name = gk_text_ok(&safe, r->err) ? gk_arena_strn(r->c->arena, safe.data, safe.len, r->err)
                                           : NULL;
    gk_text_free(&safe);
    return name;
}

static bool is_plain_ascii(const char *s)
{
    while (*s > 0x20 && *s < 0x7F)
        s++;
    return *s == '\0';
}

static bool take_type(reader *r, const char *what, gk_gguf_type *out)
{
    const uint64_t off = r->k.pos;
    uint32_t word;

    if (!gk_gguf_take_u32(&r->k, what, &word))
        return false;
    if (word >= GK_N_GGUF_TYPES) {
        gk_fail(r->err, GK_ERR_FORMAT, off, "%s is %" PRIu32 ", the known ones are 0 to %d", what,
                word, GK_N_GGUF_TYPES - 1);
        return gk_gguf_failed(&r->k);
    }
    *out = (gk_gguf_type)word;
    return true;
}

static void look_at_bool(reader *r, unsigned char byte, uint64_t off)
{
    if (byte > 1 && r->bad_bools++ == 0)
        r->first_bad_bool = off;
}

/* Passes over n elements of one type that is no array. */
static bool skip_elements(reader *r, gk_gguf_type elem, uint64_t n, uint64_t off)
{
    gk_gguf_cursor *k = &r->k;
    const uint64_t bytes = gk_gguf_type_bytes(elem), least = bytes > 0 ? bytes : 8;
    uint64_t len;

    if (n > (k->end - k->pos) / least) {
        gk_fail(r->err, GK_ERR_FORMAT, off,
                "truncated: an array of %" PRIu64 " elements (%s) needs more than the %" PRIu64
                " bytes before the end of the file",
                n, gk_gguf_type_name(elem), k->end - k->pos);
        return gk_gguf_failed(k);
    }
    if (n > MAX_ELEMS) {
        gk_fail(r->err, GK_ERR_LIMIT, off,
                "an array of %" PRIu64 " elements, at most %" PRIu64 " are allowed", n, MAX_ELEMS);
        return gk_gguf_failed(k);
    }
    if (elem == GK_GGUF_STRING) {
        for (uint64_t i = 0; i < n; i++, k->pos += len)
            if (!gk_gguf_take_length(k, "an element", &len))
                return false;
        return true;
    }
    if (elem != GK_GGUF_BOOL) {
        k->pos += n * bytes;
        return true;
    }
    for (uint64_t i = 0; i < n; i++, k->pos++) {
        const unsigned char *p = gk_gguf_peek(k, 1, "a bool");
        if (p == NULL)
            return false;
        look_at_bool(r, *p, k->pos);
    }
    return true;
}

/* Takes an array of up to MAX_NESTING levels; left[] counts the arrays still to come. */
static bool read_array(reader *r, gk_gguf_value *v)
{
    uint64_t left[MAX_NESTING], n;
    gk_gguf_type elem;
    int depth = 0;

    do {
        const uint64_t off = r->k.pos;
        if (!take_type(r, "the element type of an array", &elem)
            || !gk_gguf_take_u64(&r->k, "the count of an array", &n))
            return false;
        if (depth == 0 && v->off == 0) {
            v->elem = elem;
            v->n = n;
            v->off = r->k.pos;
        }
        if (elem != GK_GGUF_ARRAY) {
            if (!skip_elements(r, elem, n, off))
                return false;
        } else if (depth + 1 == MAX_NESTING) {
            gk_fail(r->err, GK_ERR_LIMIT, off, "arrays nested more than %d deep", MAX_NESTING);
            return gk_gguf_failed(&r->k);
        } else if (n > (r->k.end - r->k.pos) / 12) { /* type and count each */
            gk_fail(r->err, GK_ERR_FORMAT, off,
                    "truncated: an array of %" PRIu64 " arrays in the %" PRIu64
                    " bytes before the end of the file",
                    n, r->k.end - r->k.pos);
            return gk_gguf_failed(&r->k);
        } else {
            left[depth++] = n;
        }
        while (depth > 0 && left[depth - 1] == 0)
            depth--;
        if (depth > 0)
            left[depth - 1]--;
        else
            break;
    } while (true);
    v->bytes = r->k.pos - v->off;
    return v->elem != GK_GGUF_ARRAY
           || warn(r, GK_WARN, v->key, "an array of arrays, which llama.cpp refuses");
}

static bool read_value(reader *r, gk_gguf_value *v)
{
    if (!take_type(r, "the value type", &v->type))
        return false;
    if (v->type == GK_GGUF_ARRAY)
        return read_array(r, v);
    if (v->type == GK_GGUF_STRING) {
        if (!gk_gguf_take_length(&r->k, "the value", &v->n))
            return false;
        v->off = r->k.pos;
        v->bytes = v->n;
        r->k.pos += v->n;
        return true;
    }
    v->off = r->k.pos;
    v->bytes = gk_gguf_type_bytes(v->type);
    v->n = 1;
    if (!gk_gguf_take_number(&r->k, v))
        return false;
    if (v->type == GK_GGUF_BOOL) {
        look_at_bool(r, (unsigned char)v->as.u, v->off);
        v->as.u = v->as.u != 0;
    }
    return true;
}

/* Takes the key of v; *len 0 and a FORMAT error for one that cannot be. */
static bool read_key(reader *r, gk_gguf_value *v)
{
    const uint64_t off = r->k.pos;
    uint64_t len;
    bool odd, utf8, twice;

    if (!gk_gguf_take_length(&r->k, "a key", &len))
        return false;
    if (len == 0 || len > MAX_KEY_BYTES) {
        gk_fail(r->err, GK_ERR_FORMAT, off,
                len == 0 ? "an empty key" : "a key of %" PRIu64 " bytes, at most %u are allowed",
                len, MAX_KEY_BYTES);
        return gk_gguf_failed(&r->k);
    }
    v->key = take_name(r, len, &odd, &utf8);
    if (v->key == NULL || !gk_names_enter(&r->seen, v->key, &twice, r->err))
        return false;
    if (twice) {
        gk_fail(r->err, GK_ERR_FORMAT, off, "duplicate: the key stands twice in the header");
        return gk_fail_at(r->err, r->k.file->name, v->key);
    }
    return is_plain_ascii(v->key)
           || warn(r, GK_WARN, v->key, "the key holds control characters or is not ASCII");
}

static bool read_keys(reader *r)
{
    for (uint64_t i = 0; i < r->n_keys; i++) {
        gk_gguf_value v = {0};
        void *rows = r->value;
        if (!read_key(r, &v))
            return false;
        r->bad_bools = 0;
        if (!read_value(r, &v))
            return gk_fail_at(r->err, r->k.file->name, v.key);
        if (r->bad_bools > 0
            && !gk_findings_addf(&r->c->findings, "header", GK_WARN, r->k.file->name, v.key, r->err,
                                 "%" PRIu64 " bool that is neither 0 nor 1, at byte %" PRIu64,
                                 r->bad_bools, r->first_bad_bool))
            return false;
        if (!gk_grow(&rows, &r->cap, r->n_values + 1, sizeof v, r->err))
            return false;
        r->value = rows;
        r->value[r->n_values++] = v;
    }
    gk_names_free(&r->seen); /* the same serves for the tensors */
    return true;
}

/* ---- the header ------------------------------------------------------------------ */

/* general.alignment, which llama.cpp wants as u32. */
static bool read_alignment(reader *r)
{
    const gk_gguf_value *v = gk_gguf_find(r->g, "general.alignment");

    r->g->alignment = DEFAULT_ALIGNMENT;
    if (v == NULL)
        return true;
    if (v->type != GK_GGUF_U32)
        gk_fail(r->err, GK_ERR_FORMAT, v->off, "the alignment is of type %s, expected u32",
                gk_gguf_type_name(v->type));
    else if (v->as.u == 0 || (v->as.u & (v->as.u - 1)) != 0)
        gk_fail(r->err, GK_ERR_FORMAT, v->off, "an alignment of %" PRIu64 " is no power of two",
                v->as.u);
    else if (v->as.u > MAX_ALIGNMENT)
        gk_fail(r->err, GK_ERR_LIMIT, v->off, "an alignment of %" PRIu64 ", at most %u is allowed",
                v->as.u, MAX_ALIGNMENT);
    else {
        r->g->alignment = v->as.u;
        return true;
    }
    return gk_fail_at(r->err, r->k.file->name, v->key);
}

/* Values move to the catalog's arena: they live as long as it. */
static bool keep_keys(reader *r)
{
    gk_gguf_value *kept = gk_arena_alloc(r->c->arena, r->n_values, sizeof *kept, r->err);

    if (kept == NULL)
        return false;
    if (r->n_values > 0)
        memcpy(kept, r->value, (size_t)r->n_values * sizeof *kept);
    r->g->value = kept;
    r->g->n_values = r->n_values;
    if (!read_alignment(r))
        return false;
    r->g->arch = gk_gguf_string(r->g, "general.architecture", r->c->arena, NULL, r->err);
    if (r->g->arch == NULL)
        r->g->arch = "";
    return r->err->code == GK_OK;
}

static bool read_version(reader *r)
{
    const unsigned char *p = gk_gguf_peek(&r->k, gk_min(8, r->k.end), "the magic");
    uint32_t v;

    if (p == NULL)
        return false;
    if (r->k.end == 0)
        gk_fail(r->err, GK_ERR_FORMAT, 0, "the file is empty, a GGUF file has a header");
    else if (r->k.end >= 8 && memcmp(p, "version ", 8) == 0)
        gk_fail(r->err, GK_ERR_FORMAT, 0,
                "a git-lfs pointer, not the file it stands for; fetch it with 'git lfs pull'");
    else if (r->k.end < 4 || memcmp(p, "GGUF", 4) != 0)
        gk_fail(r->err, GK_ERR_FORMAT, 0, "the magic is not GGUF: this is no GGUF file");
    if (r->err->code != GK_OK)
        return gk_gguf_failed(&r->k);
    r->k.pos = 4;
    if (!gk_gguf_take_u32(&r->k, "the version", &v))
        return false;
    if (v == 2 || v == 3) {
        r->g->version = v;
        return true;
    }
    if (v == 0)
        gk_fail(r->err, GK_ERR_FORMAT, 4, "version 0 does not exist");
    else if ((v & 0xFFFF) == 0)
        gk_fail(r->err, GK_ERR_UNSUPPORTED, 4,
                "the version is 0x%08" PRIx32 ": a big-endian file, which is not read", v);
    else
        gk_fail(r->err, GK_ERR_UNSUPPORTED, 4, "version %" PRIu32 ", those read are 2 and 3", v);
    return gk_gguf_failed(&r->k);
}

/* A count of things that take at least so many bytes each. */
static bool read_count(reader *r, const char *what, uint64_t least, uint64_t limit, uint64_t *out)
{
    const uint64_t off = r->k.pos;

    if (!gk_gguf_take_u64(&r->k, what, out))
        return false;
    if (*out > (r->k.end - r->k.pos) / least)
        gk_fail(r->err, GK_ERR_FORMAT, off,
                "truncated: %s is %" PRIu64 ", too many for the %" PRIu64
                " bytes before the end of the file",
                what, *out, r->k.end - r->k.pos);
    else if (*out > limit)
        gk_fail(r->err, GK_ERR_LIMIT, off, "%s is %" PRIu64 ", at most %" PRIu64 " are allowed",
                what, *out, limit);
    else
        return true;
    return gk_gguf_failed(&r->k);
}

/* ---- tensor infos ---------------------------------------------------------------- */

static bool read_dims(reader *r, gk_stored *s)
{
    const uint64_t off = r->k.pos;
    uint32_t n;

    if (!gk_gguf_take_u32(&r->k, "the number of dimensions", &n))
        return false;
    if (n > GK_MAX_DIMS)
        return gk_fail(r->err, GK_ERR_LIMIT, off, "%" PRIu32 " dimensions, at most %d are allowed",
                       n, GK_MAX_DIMS);
    if (n > GGML_DIMS && !warn(r, GK_WARN, s->name, "more than 4 dimensions: llama.cpp refuses it"))
        return false;
    uint64_t *dim = gk_arena_alloc(r->c->arena, n, sizeof *dim, r->err);
    if (dim == NULL)
        return false;
    for (uint32_t i = 0; i < n; i++) {
        uint64_t *d = &dim[n - 1 - i]; /* stored innermost first */
        if (!gk_gguf_take_u64(&r->k, "a dimension", d))
            return false;
        if (*d > INT64_MAX)
            return gk_fail(r->err, GK_ERR_FORMAT, r->k.pos - 8,
                           "dimension %" PRIu32 " is %" PRId64 ": negative", i, (int64_t)*d);
    }
    s->dim = dim;
    s->ndim = (uint8_t)n;
    return true;
}

static bool read_dtype(reader *r, gk_stored *s)
{
    const uint64_t off = r->k.pos;
    uint32_t type;

    if (!gk_gguf_take_u32(&r->k, "the tensor type", &type))
        return false;
    if (type >= N_GGML_TYPES)
        return gk_fail(r->err, GK_ERR_FORMAT, off,
                       "tensor type %" PRIu32 " is not known (0 to %d are)", type,
                       (int)N_GGML_TYPES - 1);
    if (ggml_types[type].removed != NULL)
        return gk_fail(r->err, GK_ERR_FORMAT, off,
                       "tensor type %" PRIu32 " (%s) was removed from ggml", type,
                       ggml_types[type].removed);
    s->dtype = ggml_types[type].dtype;
    return true;
}

/* Elements and bytes must fit 63 bits, even where another dimension is 0. */
static bool check_size(reader *r, const gk_stored *s, uint64_t off)
{
    const gk_dtype_row *type = gk_dtype_get((gk_dtype)s->dtype);
    const uint64_t width = s->ndim > 0 ? s->dim[s->ndim - 1] : 1;
    uint64_t elems = 1, bytes;

    if (width % type->block_elems != 0)
        return gk_fail(r->err, GK_ERR_FORMAT, off,
                       "a row of %" PRIu64 " elements is no multiple of a block of %u (%s)", width,
                       type->block_elems, type->name);
    for (int i = s->ndim - 1; i >= 0; i--)
        if (!gk_mul(elems, gk_max(s->dim[i], 1), &elems) || elems > INT64_MAX)
            return gk_fail(r->err, GK_ERR_FORMAT, off,
                           "its shape overflows: more than 2^63 elements");
    if (!gk_mul(elems, type->block_bytes, &bytes) || bytes > INT64_MAX)
        return gk_fail(r->err, GK_ERR_FORMAT, off, "its size overflows: more than 2^63 bytes");
    return true;
}

/* The offset counts from the start of the data until place_data() knows that. */
static bool read_offset(reader *r, gk_stored *s)
{
    const uint64_t off = r->k.pos;

    if (!gk_gguf_take_u64(&r->k, "the offset of a tensor", &s->off))
        return false;
    if (s->off % r->g->alignment != 0)
        return gk_fail(r->err, GK_ERR_FORMAT, off,
                       "its offset %" PRIu64 " is no multiple of the alignment %" PRIu64, s->off,
                       r->g->alignment);
    if (s->off > INT64_MAX / 2)
        return gk_fail(r->err, GK_ERR_FORMAT, off,
                       "its offset %" PRIu64 " lies far beyond the end of the file", s->off);
    return true;
}

static bool read_info(reader *r)
{
    const uint64_t off = r->k.pos;
    gk_stored s = {.input = r->input};
    uint64_t len;
    bool utf8, twice;

    if (!gk_gguf_take_length(&r->k, "a tensor's name", &len))
        return false;
    if (len > MAX_NAME_BYTES) {
        gk_fail(r->err, GK_ERR_FORMAT, off,
                "a tensor's name of %" PRIu64 " bytes, at most %u are allowed", len,
                MAX_NAME_BYTES);
        return gk_gguf_failed(&r->k);
    }
    s.name = take_name(r, len, &s.odd_name, &utf8);
    if (s.name == NULL || !gk_names_enter(&r->seen, s.name, &twice, r->err))
        return false;
    if (twice) {
        gk_fail(r->err, GK_ERR_FORMAT, off, "duplicate: the name stands twice in the header");
        return gk_fail_at(r->err, r->k.file->name, s.name);
    }
    if (len == MAX_NAME_BYTES
        && !warn(r, GK_WARN, s.name, "a name of 64 bytes: llama.cpp takes at most 63"))
        return false;
    if (!utf8 && !warn(r, GK_WARN, s.name, "the name is not UTF-8"))
        return false;
    if (!read_dims(r, &s) || !read_dtype(r, &s) || !check_size(r, &s, off) || !read_offset(r, &s))
        return gk_fail_at(r->err, r->k.file->name, s.name);
    return gk_stored_add(r->c, &s, r->err);
}

/* ---- the data -------------------------------------------------------------------- */

static uint64_t padded(uint64_t n, uint64_t alignment)
{
    return (n + alignment - 1) / alignment * alignment;
}

/* Makes offsets count from the start of the file: sums of numbers below 2^63. */
static void place_data(reader *r)
{
    r->data_off = padded(r->k.pos, r->g->alignment);
    for (uint64_t i = r->first; i < r->c->n_stored; i++)
        r->c->stored[i].off += r->data_off;
}

/* One tensor of those in the order of their data, which ends at `at` before it. */
static bool check_place(reader *r, const gk_stored *s, uint64_t at)
{
    const uint64_t bytes = gk_stored_bytes(s), size = r->k.end;

    if (s->off < at)
        gk_fail(r->err, GK_ERR_FORMAT, s->off,
                "overlap: its data begins at byte %" PRIu64
                ", inside the data before it, which ends at %" PRIu64,
                s->off, at);
    else if (s->off > size || bytes > size - s->off)
        gk_fail(r->err, GK_ERR_FORMAT, size,
                "truncated: its data ends at byte %" PRIu64 ", the file has %" PRIu64 " (%" PRIu64
                " bytes missing); the download is incomplete",
                s->off + bytes, size, s->off + bytes - size);
    else
        return true;
    return gk_fail_at(r->err, r->k.file->name, s->name);
}

/* The data must follow one another in the order of the infos, each padded; all of it in
 * the file. llama.cpp demands just that; here holes and another order are warnings. */
static bool check_data(reader *r, uint32_t *order)
{
    const uint64_t n = r->c->n_stored - r->first, size = r->k.end;
    const gk_stored *s = n == 0 ? NULL : r->c->stored + r->first, *after_hole = NULL;
    uint64_t at = r->data_off, end = r->data_off, hole = 0;
    bool sorted = true;

    for (uint64_t i = 0; i < n; i++) {
        order[i] = (uint32_t)i;
        sorted = sorted && (i == 0 || s[i - 1].off + gk_stored_bytes(&s[i - 1]) <= s[i].off);
    }
    if (!sorted)
        qsort_r(order, (size_t)n, sizeof *order, gk_stored_by_offset, r->c->stored + r->first);
    for (uint64_t i = 0; i < n; i++) {
        const gk_stored *t = &s[order[i]];
        if (!check_place(r, t, at))
            return false;
        if (t->off > at && after_hole == NULL) {
            after_hole = t;
            hole = t->off - at;
        }
        end = t->off + gk_stored_bytes(t);
        at = padded(end - r->data_off, r->g->alignment) + r->data_off;
    }
    if (after_hole != NULL
        && !gk_findings_addf(
            &r->c->findings, "header", GK_WARN, r->k.file->name, after_hole->name, r->err,
            "a hole of %" PRIu64 " bytes before its data: llama.cpp refuses it", hole))
        return false;
    if (!sorted
        && !warn(r, GK_WARN, NULL,
                 "the data is not in the order of the tensor infos: llama.cpp refuses it"))
        return false;
    if (size > at)
        return gk_findings_addf(&r->c->findings, "header", GK_WARN, r->k.file->name, NULL, r->err,
                                "%" PRIu64 " trailing bytes after the last tensor", size - at);
    return n == 0 || size == at
           || warn(r, GK_NOTE, NULL, "the padding after the last tensor is not there");
}

static bool read_file(reader *r)
{
    if (!read_version(r)
        || !read_count(r, "the count of tensors", MIN_INFO_BYTES, GK_MAX_TENSORS, &r->n_tensors)
        || !read_count(r, "the count of keys", MIN_KEY_BYTES, MAX_KEYS, &r->n_keys) || !read_keys(r)
        || !keep_keys(r))
        return false;
    for (uint64_t i = 0; i < r->n_tensors; i++)
        if (!read_info(r))
            return false;
    place_data(r);
    r->c->input[r->input].header_bytes = r->data_off;
    uint32_t *order = gk_alloc(r->n_tensors, sizeof *order, r->err);
    const bool ok = order != NULL && check_data(r, order);
    gk_free(order);
    return ok;
}

bool gk_gguf_read(gk_catalog *c, uint64_t input, gk_err *err)
{
    reader r = {.c = c, .input = (uint32_t)input, .first = c->n_stored, .err = err};
    const gk_file *file = c->input[input].file;
    unsigned char *window = gk_alloc(GK_GGUF_WINDOW_BYTES, 1, err);

    r.g = gk_arena_alloc(c->arena, 1, sizeof *r.g, err);
    gk_gguf_start(&r.k, file, 0, file->size, window, err);
    bool ok = window != NULL && r.g != NULL;
    if (ok) {
        r.g->file = file;
        ok = read_file(&r);
    }
    if (ok) {
        c->gguf = r.g;
    } else {
        gk_fail_at(err, file->name, NULL);
        c->n_stored = r.first;
    }
    gk_names_free(&r.seen);
    gk_free(r.value);
    gk_free(window);
    return ok;
}
