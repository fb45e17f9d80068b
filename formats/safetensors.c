/* formats/safetensors.c - the header of a safetensors file.
 *
 *   0      u64   N, length of the header in bytes, at most 100,000,000
 *   8      N     {"__metadata__": {str: str}, NAME: {"dtype": D, "shape": [..],
 *                 "data_offsets": [BEGIN, END]}, ...}, spaces may follow
 *   8 + N  ...   the data, row-major, little-endian; BEGIN and END count from here
 *
 * Source: huggingface/safetensors README.md (Format) and safetensors/src/tensor.rs
 * @24b0b28. Refused, as there: offsets that leave a hole, overlap or do not end
 * with the file; a size that is not shape x dtype; unknown dtypes. Refused beyond
 * it: duplicate names, where it takes the last entry when the offsets allow it. Of
 * duplicate metadata keys, too, it takes the last value: a finding. The header is walked
 * through a small window, so opening takes a fixed amount of memory for each entry,
 * however long the text is. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/checked.h"
#include "formats/names.h"
#include "formats/reader.h"
#include "formats/scan.h"

#define MAX_HEADER_BYTES  100000000u
#define MAX_METADATA_KEYS 1000000u

typedef struct reader {
    gk_catalog *c;
    gk_scan     scan;
    gk_text     name, word; /* scratch */
    const uint64_t *shape;  /* of the entry before; equal ones are kept once */
    int         shape_ndim;
    uint64_t    input;
    uint64_t    first;      /* index of this file's first entry          */
    uint64_t    data_off;   /* where the data begins                     */
    uint32_t   *slot;       /* hash of names: index + 1, 0 is free       */
    uint64_t    n_slots;
    bool        saw_metadata;
    char        other[64]; /* a key of the entry at hand that nobody knows */
    gk_err     *err;
} reader;

static const gk_file *file_of(const reader *r)
{
    return r->c->input[r->input].file;
}

static bool refuse(reader *r, uint64_t off, const char *tensor, const char *text)
{
    gk_fail(r->err, GK_ERR_FORMAT, off, "%s", text);
    return gk_fail_at(r->err, file_of(r)->name, tensor);
}

static bool grow_slots(reader *r)
{
    const uint64_t n = r->n_slots == 0 ? 256 : r->n_slots * 2;
    uint32_t *slot = gk_alloc(n, sizeof *slot, r->err);

    if (slot == NULL)
        return false;
    memset(slot, 0, n * sizeof *slot);
    for (uint64_t i = 0; i < r->n_slots; i++) {
        if (r->slot[i] == 0)
            continue;
        uint64_t at = gk_name_hash(r->c->stored[r->slot[i] - 1].name) & (n - 1);
        while (slot[at] != 0)
            at = (at + 1) & (n - 1);
        slot[at] = r->slot[i];
    }
    gk_free(r->slot);
    r->slot = slot;
    r->n_slots = n;
    return true;
}

/* Enters the last entry of c->stored; refuses a name that stands already. */
static bool enter_name(reader *r, uint64_t name_off)
{
    const uint64_t index = r->c->n_stored - 1;
    const char *name = r->c->stored[index].name;

    if ((index - r->first + 1) * 2 > r->n_slots && !grow_slots(r))
        return false;
    uint64_t at = gk_name_hash(name) & (r->n_slots - 1);
    for (; r->slot[at] != 0; at = (at + 1) & (r->n_slots - 1))
        if (strcmp(r->c->stored[r->slot[at] - 1].name, name) == 0)
            return refuse(r, name_off, name, "duplicate name: it stands twice in the header");
    r->slot[at] = (uint32_t)(index + 1);
    return true;
}

static bool is_word(const gk_text *t, const char *word)
{
    return t->len == strlen(word) && memcmp(t->data, word, (size_t)t->len) == 0;
}

/* A name as kept: NUL bytes become the text \x00, all else stays. */
static char *keep_text(const gk_text *t, gk_arena *a, gk_err *err)
{
    gk_text safe = {0};
    char *kept = NULL;

    if (memchr(t->data, '\0', (size_t)t->len) == NULL)
        return gk_arena_strn(a, t->data, t->len, err);
    for (uint64_t i = 0; i < t->len; i++)
        if (t->data[i] == '\0')
            gk_text_str(&safe, "\\x00");
        else
            gk_text_char(&safe, t->data[i]);
    if (gk_text_ok(&safe, err))
        kept = gk_arena_strn(a, safe.data, safe.len, err);
    gk_text_free(&safe);
    return kept;
}

/* What stands in __metadata__, but for its values. */
typedef struct metadata {
    gk_arena *arena; /* of the keys */
    gk_names  seen;
    uint64_t  n, n_twice;
    char      twice[64]; /* the first of them */
} metadata;

static bool read_pair(reader *r, metadata *m)
{
    bool twice = false;

    if (!gk_scan_key(&r->scan, &r->word))
        return false;
    if (m->n++ == MAX_METADATA_KEYS)
        return gk_fail(r->err, GK_ERR_LIMIT, r->scan.pos, "more than %u keys in __metadata__",
                       MAX_METADATA_KEYS);
    if (is_word(&r->word, "format"))
        r->c->input[r->input].has_format = true;
    const char *key = keep_text(&r->word, m->arena, r->err);
    if (key == NULL || !gk_names_enter(&m->seen, key, &twice, r->err))
        return false;
    if (twice && m->n_twice++ == 0)
        snprintf(m->twice, sizeof m->twice, "%s", key);
    return gk_scan_string(&r->scan, &r->word);
}

static bool read_metadata(reader *r)
{
    metadata m = {0};

    if (r->saw_metadata)
        return gk_scan_fail(&r->scan, "duplicate key \"__metadata__\"");
    r->saw_metadata = true;
    if (gk_scan_peek(&r->scan) == 'n') /* null is none to the reference reader */
        return gk_scan_skip(&r->scan);
    m.arena = gk_arena_new(r->err);
    bool ok = m.arena != NULL && gk_scan_open(&r->scan, '{');
    while (ok && gk_scan_more(&r->scan))
        ok = read_pair(r, &m);
    ok = ok && !r->scan.failed
         && (m.n_twice == 0
             || gk_findings_addf(&r->c->findings, "header", GK_WARN, file_of(r)->name, NULL, r->err,
                                 "duplicate keys in __metadata__ (%" PRIu64
                                 ", the first is \"%s\"): readers take the last value",
                                 m.n_twice, m.twice));
    gk_names_free(&m.seen);
    gk_arena_free(m.arena);
    return ok;
}

static bool read_shape(reader *r, uint64_t *dim, gk_stored *s)
{
    s->ndim = 0;
    bool ok = gk_scan_open(&r->scan, '[');
    while (ok && gk_scan_more(&r->scan)) {
        if (s->ndim == GK_MAX_DIMS) {
            gk_fail(r->err, GK_ERR_LIMIT, r->scan.pos, "more than %d dimensions", GK_MAX_DIMS);
            return false;
        }
        ok = gk_scan_uint(&r->scan, &dim[s->ndim]);
        s->ndim++;
    }
    return ok && !r->scan.failed;
}

static bool read_offsets(reader *r, uint64_t range[2])
{
    int n = 0;

    bool ok = gk_scan_open(&r->scan, '[');
    while (ok && gk_scan_more(&r->scan)) {
        if (n == 2)
            return gk_scan_fail(&r->scan, "data_offsets has more than two numbers");
        ok = gk_scan_uint(&r->scan, &range[n++]);
    }
    if (ok && !r->scan.failed && n != 2)
        return gk_scan_fail(&r->scan, "data_offsets has %d numbers, expected two", n);
    return ok && !r->scan.failed;
}

/* The byte count that shape and dtype demand. */
static bool demanded_bytes(const gk_stored *s, const uint64_t *dim, uint64_t *bytes, gk_err *err)
{
    const gk_dtype_row *type = gk_dtype_get((gk_dtype)s->dtype);
    uint64_t elems = 1, bits;

    /* in order, as the reference reader: [2^63, 4, 0] is refused, [0, 2^63, 4] is not */
    for (int i = 0; i < s->ndim; i++)
        if (!gk_mul(elems, dim[i], &elems))
            return gk_fail(err, GK_ERR_FORMAT, GK_NO_OFF,
                           "the shape's element count overflows 64 bits at dimension %d", i);
    if (!gk_mul(elems, type->bits, &bits))
        return gk_fail(err, GK_ERR_FORMAT, GK_NO_OFF, "the shape's size in bits overflows 64 bits");
    if (bits % 8 != 0)
        return gk_fail(err, GK_ERR_FORMAT, GK_NO_OFF,
                       "%" PRIu64 " elements of %s (%u bits) are not whole bytes", elems,
                       type->name, type->bits);
    *bytes = bits / 8;
    return true;
}

static bool check_entry(const gk_stored *s, const uint64_t *dim, const uint64_t range[2],
                        gk_err *err)
{
    uint64_t bytes = 0;

    if (range[1] < range[0])
        return gk_fail(err, GK_ERR_FORMAT, GK_NO_OFF,
                       "data_offsets [%" PRIu64 ", %" PRIu64 "] end before they begin", range[0],
                       range[1]);
    if (!demanded_bytes(s, dim, &bytes, err))
        return false;
    if (range[1] - range[0] != bytes)
        return gk_fail(err, GK_ERR_FORMAT, GK_NO_OFF,
                       "its shape needs %" PRIu64 " bytes of %s, data_offsets give %" PRIu64, bytes,
                       gk_dtype_get((gk_dtype)s->dtype)->name, range[1] - range[0]);
    const uint64_t width = s->ndim > 0 ? dim[s->ndim - 1] : 1;
    if (width % gk_dtype_get((gk_dtype)s->dtype)->block_elems != 0)
        return gk_fail(err, GK_ERR_UNSUPPORTED, GK_NO_OFF,
                       "a row of %" PRIu64 " elements of %s is not whole bytes", width,
                       gk_dtype_get((gk_dtype)s->dtype)->name);
    return true;
}

enum { SAW_DTYPE = 1, SAW_SHAPE = 2, SAW_OFFSETS = 4 };

static bool read_member(reader *r, gk_stored *s, uint64_t *dim, uint64_t range[2], unsigned *saw)
{
    if (!gk_scan_key(&r->scan, &r->word))
        return false;
    const unsigned which = is_word(&r->word, "dtype")          ? SAW_DTYPE
                           : is_word(&r->word, "shape")        ? SAW_SHAPE
                           : is_word(&r->word, "data_offsets") ? SAW_OFFSETS
                                                               : 0;
    if (which & *saw)
        return gk_scan_fail(&r->scan, "duplicate key \"%s\" in an entry", r->word.data);
    *saw |= which;
    switch (which) {
    case SAW_SHAPE: return read_shape(r, dim, s);
    case SAW_OFFSETS: return read_offsets(r, range);
    case SAW_DTYPE: {
        gk_dtype type;
        if (!gk_scan_string(&r->scan, &r->word))
            return false;
        if (!gk_dtype_find(r->word.data, &type) || r->word.len != strlen(r->word.data))
            return gk_scan_fail(&r->scan, "unknown dtype \"%.40s\"", r->word.data);
        s->dtype = (uint8_t)type;
        return true;
    }
    default: /* the reference reader ignores other keys */
        snprintf(r->other, sizeof r->other, "%s", r->word.data);
        return gk_scan_skip(&r->scan);
    }
}

static char *keep_name(reader *r, bool *odd)
{
    *odd = r->name.len == 0;
    for (uint64_t i = 0; i < r->name.len; i++)
        if ((unsigned char)r->name.data[i] < 0x20 || r->name.data[i] == 0x7F)
            *odd = true;
    return keep_text(&r->name, r->c->arena, r->err);
}

static const uint64_t *keep_shape(reader *r, const uint64_t *dim, int ndim)
{
    const size_t bytes = (size_t)ndim * sizeof *dim;

    if (r->shape != NULL && r->shape_ndim == ndim && memcmp(r->shape, dim, bytes) == 0)
        return r->shape;
    uint64_t *kept = gk_arena_alloc(r->c->arena, (uint64_t)ndim, sizeof *kept, r->err);
    if (kept != NULL)
        memcpy(kept, dim, bytes);
    r->shape = kept;
    r->shape_ndim = ndim;
    return kept;
}

static bool read_entry(reader *r, uint64_t name_off)
{
    uint64_t dim[GK_MAX_DIMS] = {0}, range[2] = {0, 0}, end;
    gk_stored s = {.input = (uint32_t)r->input};
    unsigned saw = 0;

    r->other[0] = '\0';
    char *name = keep_name(r, &s.odd_name);
    if (name == NULL)
        return false;
    s.name = name;
    if (gk_scan_peek(&r->scan) != '{') {
        gk_scan_fail(&r->scan, "a tensor's entry must be an object");
        return gk_fail_at(r->err, NULL, name);
    }
    bool ok = gk_scan_open(&r->scan, '{');
    while (ok && gk_scan_more(&r->scan))
        ok = read_member(r, &s, dim, range, &saw);
    if (ok && !r->scan.failed && saw != (SAW_DTYPE | SAW_SHAPE | SAW_OFFSETS))
        ok = gk_scan_fail(&r->scan, "the entry lacks %s",
                          !(saw & SAW_DTYPE)   ? "dtype"
                          : !(saw & SAW_SHAPE) ? "shape"
                                               : "data_offsets");
    ok = ok && !r->scan.failed && check_entry(&s, dim, range, r->err);
    if (!ok) {
        if (r->err->off == GK_NO_OFF)
            r->err->off = name_off;
        return gk_fail_at(r->err, file_of(r)->name, name);
    }
    s.dim = keep_shape(r, dim, s.ndim);
    if (s.dim == NULL)
        return false;
    if (!gk_add(r->data_off, range[0], &s.off) || !gk_add(r->data_off, range[1], &end))
        return refuse(r, name_off, name, "data_offsets overflow 64 bits");
    return gk_stored_add(r->c, &s, r->err) && enter_name(r, name_off)
           && (r->other[0] == '\0'
               || gk_findings_addf(&r->c->findings, "header", GK_WARN, file_of(r)->name, name,
                                   r->err, "unknown key \"%s\" in its entry, ignored", r->other));
}

static bool check_neighbours(reader *r, const gk_stored *s, uint64_t expected)
{
    if (s->off == expected)
        return true;
    gk_fail(r->err, GK_ERR_FORMAT, s->off,
            s->off > expected
                ? "a hole: its data begins at byte %" PRIu64 ", the data before it ends at %" PRIu64
                : "overlap: its data begins at byte %" PRIu64
                  ", inside the data before it, which ends at %" PRIu64,
            s->off, expected);
    return gk_fail_at(r->err, file_of(r)->name, s->name);
}

/* Entries in the order of their data must touch, begin at 0 and end with the file. */
static bool check_tiling(reader *r)
{
    const uint64_t n = r->c->n_stored - r->first;
    const gk_stored *s = n == 0 ? NULL : r->c->stored + r->first;
    uint32_t *order = gk_alloc(n, sizeof *order, r->err);
    bool ok = order != NULL, sorted = true;
    uint64_t at = r->data_off;

    for (uint64_t i = 0; ok && i < n; i++) {
        order[i] = (uint32_t)i;
        sorted = sorted && (i == 0 || s[i - 1].off + gk_stored_bytes(&s[i - 1]) == s[i].off);
    }
    if (ok && !sorted)
        qsort_r(order, (size_t)n, sizeof *order, gk_stored_by_offset, r->c->stored + r->first);
    for (uint64_t i = 0; ok && i < n; i++) {
        const gk_stored *t = &s[order[i]];
        const uint64_t end = t->off + gk_stored_bytes(t), size = file_of(r)->size;
        ok = check_neighbours(r, t, at);
        if (ok && end > size) {
            gk_fail(r->err, GK_ERR_FORMAT, size,
                    "truncated: its data ends at byte %" PRIu64 ", the file has %" PRIu64
                    " (%" PRIu64 " bytes missing); the download is incomplete",
                    end, size, end - size);
            ok = gk_fail_at(r->err, file_of(r)->name, t->name);
        }
        at = end;
    }
    if (ok && at != file_of(r)->size) {
        gk_fail(r->err, GK_ERR_FORMAT, at, "%" PRIu64 " trailing bytes after the last tensor",
                file_of(r)->size - at);
        ok = gk_fail_at(r->err, file_of(r)->name, NULL);
    }
    gk_free(order);
    return ok;
}

/* The length word and the first byte; *n is the header's length. */
static bool read_length(reader *r, uint64_t *n)
{
    const gk_file *f = file_of(r);
    unsigned char word[8];

    if (f->size < 8)
        return refuse(r, 0, NULL,
                      f->size == 0 ? "the file is empty, a safetensors file has a header"
                                   : "too short: fewer than the 8 bytes of a header length");
    if (!gk_file_read(f, 0, word, 8, r->err))
        return false;
    *n = gk_load_u64(word);
    if (memcmp(word, "version ", 8) == 0)
        return refuse(r, 0, NULL,
                      "a git-lfs pointer, not the file it stands for (no safetensors header); "
                      "fetch it with 'git lfs pull'");
    if (*n > MAX_HEADER_BYTES) {
        gk_fail(r->err, *n > f->size ? GK_ERR_FORMAT : GK_ERR_LIMIT, 0,
                "header of %" PRIu64 " bytes, at most %u are allowed", *n, MAX_HEADER_BYTES);
        return gk_fail_at(r->err, f->name, NULL);
    }
    if (*n > f->size - 8) {
        gk_fail(r->err, GK_ERR_FORMAT, 8,
                "truncated: the header would end at byte %" PRIu64 ", the file has %" PRIu64,
                8 + *n, f->size);
        return gk_fail_at(r->err, f->name, NULL);
    }
    return true;
}

static bool read_header(reader *r, uint64_t n)
{
    if (gk_scan_peek(&r->scan) < 0 && n == 0)
        return refuse(r, 8, NULL, "a header of 0 bytes, expected a JSON object");
    if (gk_scan_peek(&r->scan) == '{' && r->scan.pos > 8
        && !gk_findings_addf(&r->c->findings, "header", GK_NOTE, file_of(r)->name, NULL, r->err,
                             "white space before the '{' of the header, which should be first"))
        return false;
    bool ok = gk_scan_peek(&r->scan) == '{'
              || gk_scan_fail(&r->scan, "the header must be an object and begin with '{'");
    ok = ok && gk_scan_open(&r->scan, '{');
    while (ok && gk_scan_more(&r->scan)) {
        const uint64_t name_off = r->scan.pos;
        ok = gk_scan_key(&r->scan, &r->name);
        if (ok && is_word(&r->name, "__metadata__"))
            ok = read_metadata(r);
        else
            ok = ok && read_entry(r, name_off);
    }
    return ok && gk_scan_done(&r->scan);
}

bool gk_safetensors_read(gk_catalog *c, uint64_t input, gk_err *err)
{
    reader r = {.c = c, .input = input, .first = c->n_stored, .err = err};
    char *window = gk_alloc(GK_SCAN_WINDOW_BYTES, 1, err);
    uint64_t n = 0;

    bool ok = window != NULL && read_length(&r, &n);
    if (ok) {
        r.data_off = 8 + n;
        c->input[input].header_bytes = r.data_off;
        gk_scan_file(&r.scan, file_of(&r), 8, 8 + n, window, err);
        ok = read_header(&r, n) && check_tiling(&r);
    }
    if (!ok) {
        gk_fail_at(err, file_of(&r)->name, NULL);
        c->n_stored = r.first;
    }
    gk_text_free(&r.name);
    gk_text_free(&r.word);
    gk_free(r.slot);
    gk_free(window);
    return ok;
}
