/* verify/checks.c - names, the tokenizer, and one pass over all values. */
#include "verify/checks.h"

#include <inttypes.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "formats/checked.h"
#include "formats/grok2.h"
#include "formats/hash.h"
#include "quant/nonfinite.h"
#include "verify/tokenizer.h"

#define TILE_BYTES   (UINT64_C(4) << 20)
#define MANY_ZEROS   4 /* all-zero rows that are no accident any more */

/* ---- names ----------------------------------------------------------------------- */

static bool looks_like_path(const char *name)
{
    return name[0] == '/' || strstr(name, "../") != NULL || strchr(name, '\\') != NULL;
}

/* Engines that map files read elements where they lie: the data should begin aligned. */
static bool check_alignment(gk_catalog *c, gk_err *err)
{
    for (uint64_t i = 0; i < c->n_inputs; i++)
        if (c->input[i].usable && c->input[i].header_bytes % 8 != 0
            && !gk_findings_addf(&c->findings, "alignment", GK_WARN, c->input[i].name, NULL, err,
                                 "the data begins at byte %" PRIu64 ", which is not aligned to 8",
                                 c->input[i].header_bytes))
            return false;
    return true;
}

static bool check_names(gk_catalog *c, gk_err *err)
{
    for (uint64_t i = 0; i < c->n_stored; i++)
        if (looks_like_path(c->stored[i].name)
            && !gk_findings_addf(&c->findings, "name", GK_WARN,
                                 c->input[c->stored[i].input].name, c->stored[i].name, err,
                                 "the name looks like a path; it is never used as one here"))
            return false;
    for (uint64_t i = 0; i < c->n_stored; i++)
        if (c->stored[i].odd_name
            && !gk_findings_addf(&c->findings, "name", GK_WARN,
                                 c->input[c->stored[i].input].name, c->stored[i].name, err,
                                 "%s", c->stored[i].name[0] == '\0'
                                     ? "a tensor without a name: the name is empty"
                                     : "the name holds control characters (escaped here)"))
            return false;
    return true;
}

/* ---- the tokenizer ------------------------------------------------------------------ */

static bool check_tokenizer(gk_catalog *c, gk_err *err)
{
    gk_grok2 sizes;
    gk_err ignored = {0};

    const bool known = gk_grok2_is(c->config) && gk_grok2_sizes(c->config, &sizes, &ignored);
    if (gk_vocabulary_has(c))
        return gk_tokenizer_check(c, known ? sizes.vocab : 0, &c->findings, err);
    return (c->directory == NULL && c->archive == NULL) || !known
           || gk_findings_addf(&c->findings, "tokenizer", GK_NOTE, "tokenizer.tok.json", NULL, err,
                               "the tokenizer is not here; serving needs it");
}

/* ---- values --------------------------------------------------------------------------- */

/* How many, and where the first of them is. */
typedef struct place {
    uint64_t n, row, col;
} place;

enum { IN_VALUES, IN_SCALES, N_KINDS };

typedef struct seen {
    place    nan[N_KINDS], inf[N_KINDS];
    uint64_t zero_rows, first_zero;
    char     digest[GK_SHA256_HEX]; /* of experts only */
    gk_err  *failure;               /* reading it failed; NULL: it did not */
} seen;

typedef struct scan {
    gk_catalog             *c;
    const gk_check_options *o;
    seen                   *seen;
    bool                    failed;
    gk_err                  failure;
} scan;

/* What the numbers of a part are; compressed-tensors stores the E8M0 of MXFP4 as U8. */
static gk_dtype number_of(const gk_part *part)
{
    return part->role == GK_PART_SCALES && part->dtype == GK_U8 ? GK_F8_E8M0 : part->dtype;
}

/* Counts NaN and infinities, of ggml's types blocks whose scale is one; p holds the rectangle
 * {row, n_rows, col, n_cols}. */
static void scan_nonfinite(const gk_part *part, const unsigned char *p, const uint64_t rect[4],
                           seen *s)
{
    const gk_dtype dtype = number_of(part);
    const gk_dtype_row *type = gk_dtype_get(dtype);
    const int kind = gk_dtype_is_block(dtype) || part->role == GK_PART_SCALES
                     || part->role == GK_PART_ZEROS ? IN_SCALES : IN_VALUES;
    const uint64_t n = rect[1] * rect[3];

    for (uint64_t i = 0; i < n; i += type->block_elems) {
        i += gk_nonfinite(dtype, p + i / type->block_elems * type->block_bytes, n - i);
        if (i == n)
            return;
        const bool nan = gk_is_nan(dtype, p + i / type->block_elems * type->block_bytes);
        place *at = nan ? &s->nan[kind] : &s->inf[kind];
        if (at->n++ == 0) {
            at->row = rect[0] + i / rect[3];
            at->col = rect[2] + i % rect[3];
        }
    }
}

/* Whether a sign alone is a zero, and nothing else but all bits zero. */
static bool has_zeros(gk_dtype dtype)
{
    return dtype == GK_BF16 || dtype == GK_F16 || dtype == GK_F32 || dtype == GK_F64
           || dtype == GK_C64 || dtype == GK_F8_E4M3 || dtype == GK_F8_E5M2;
}

static bool is_zero(const unsigned char *p, uint64_t n)
{
    /* the sign bit of a zero does not make it a value */
    for (uint64_t i = 0; i < n; i++)
        if (p[i] != 0 && p[i] != 0x80)
            return false;
    return true;
}

static bool is_expert(const char *name)
{
    return strstr(name, ".experts.") != NULL;
}

static bool scan_tensor(const scan *x, uint64_t index, unsigned char *buf, gk_err *err)
{
    const gk_tensor *t = &x->c->tensor[index];
    seen *s = &x->seen[index];
    gk_hash *hash = is_expert(t->name) ? gk_hash_new(err) : NULL;
    bool ok = !is_expert(t->name) || hash != NULL;

    for (int i = 0; ok && i < gk_n_parts(t); i++) {
        gk_part_room room;
        const gk_part *part = gk_part_of(t, i, &room);
        const bool zeros = t->scheme == NULL && has_zeros(part->dtype);
        const uint64_t row_bytes = gk_row_bytes(part->dtype, part->n_cols);
        const uint64_t block = gk_dtype_get(part->dtype)->block_elems;
        /* whole rows, or pieces of one that is too wide: in the order of the elements */
        const bool whole = row_bytes <= TILE_BYTES;
        const uint64_t cols = whole ? part->n_cols : TILE_BYTES / 8 / block * block;
        const uint64_t rows = whole ? gk_max(TILE_BYTES / gk_max(row_bytes, 1), 1) : 1;
        for (uint64_t r = 0; ok && r < part->n_rows; r += rows)
            for (uint64_t col = 0; ok && col < part->n_cols; col += cols) {
                const uint64_t n = gk_min(rows, part->n_rows - r);
                const uint64_t m = gk_min(cols, part->n_cols - col);
                const uint64_t width = gk_row_bytes(part->dtype, m), rect[4] = {r, n, col, m};
                if (x->o->stop != NULL && *x->o->stop)
                    ok = gk_fail(err, GK_ERR_INTERRUPTED, GK_NO_OFF, "interrupted");
                ok = ok && gk_read_part(x->c, t, i, r, n, col, m, buf, err);
                if (ok && hash != NULL)
                    gk_hash_add(hash, buf, n * width);
                if (ok)
                    scan_nonfinite(part, buf, rect, s);
                for (uint64_t k = 0; ok && zeros && m == part->n_cols && k < n; k++)
                    if (is_zero(buf + k * width, width) && s->zero_rows++ == 0)
                        s->first_zero = r + k;
                if (ok && x->o->progress != NULL)
                    x->o->progress(x->o->context, n * width, t->name);
            }
    }
    if (hash != NULL)
        gk_hash_end(hash, s->digest);
    return ok;
}

static bool report_place(gk_catalog *c, const char *file, const char *tensor, const place *at,
                         const char *what, int kind, gk_err *err)
{
    return at->n == 0
           || gk_findings_addf(&c->findings, "values", GK_BAD, file, tensor, err,
                               "%" PRIu64 " %s%s, the first at row %" PRIu64 ", column %" PRIu64,
                               at->n, what, kind == IN_SCALES ? " among its scales" : "", at->row,
                               at->col);
}

static bool report_values(gk_catalog *c, const gk_tensor *t, const seen *s, gk_err *err)
{
    const char *file = t->whole != NULL ? c->input[t->whole->input].name : NULL;
    gk_findings *f = &c->findings;
    bool ok = true;

    for (int k = 0; ok && k < N_KINDS; k++)
        ok = report_place(c, file, t->name, &s->nan[k], "NaN", k, err)
             && report_place(c, file, t->name, &s->inf[k], "infinities (Inf)", k, err);
    if (ok && s->zero_rows > 0 && gk_rows(t) > 0 && gk_cols(t) > 0)
        ok = gk_findings_addf(f, "values",
                              s->zero_rows == gk_rows(t) || s->zero_rows >= MANY_ZEROS ? GK_BAD
                                                                                      : GK_WARN,
                              file, t->name, err,
                              "%" PRIu64 " of %" PRIu64 " rows are all zero, the first is %" PRIu64,
                              s->zero_rows, gk_rows(t), s->first_zero);
    return ok;
}

/* Whether a tensor was put together of several entries, such as the slices of ranks; pieces
 * may also be the interleaved rows of one entry. */
static bool has_slices(const gk_tensor *t)
{
    if (t->whole != NULL || t->scheme != NULL || t->n_parts == 0)
        return false;
    const gk_part *part = &t->part[0];
    return part->n_pieces > 1 && part->piece[0].stored != part->piece[1].stored;
}

/* Column slices of w2 that are zero leave no row zero: a part of every row is. */
static bool check_zero_slices(gk_catalog *c, const gk_tensor *t, gk_err *err)
{
    if (!has_slices(t))
        return true;
    const uint64_t bytes = gk_min(gk_stored_bytes(t->part[0].piece[0].stored), 65536);
    unsigned char *buf = gk_alloc(bytes, 1, err);
    bool ok = buf != NULL;

    for (uint64_t k = 0; ok && k < t->part[0].n_pieces; k++) {
        const gk_stored *s = t->part[0].piece[k].stored;
        const gk_file *file = c->input[s->input].file;
        bool zero = gk_stored_bytes(s) > 0;
        for (uint64_t at = 0; ok && zero && at < gk_stored_bytes(s); at += bytes) {
            const uint64_t n = gk_min(bytes, gk_stored_bytes(s) - at);
            ok = gk_file_read(file, s->off + at, buf, n, err);
            zero = ok && is_zero(buf, n);
        }
        if (ok && zero)
            ok = gk_findings_addf(&c->findings, "values", GK_BAD, c->input[s->input].name, t->name,
                                  err, "the slice of rank %d is all zero", c->input[s->input].rank);
    }
    gk_free(buf);
    return ok;
}

/* Whether two slices hold the same bytes; both buffers have buf_bytes. */
static bool same_bytes(const gk_catalog *c, const gk_stored *a, const gk_stored *b,
                       unsigned char *x, unsigned char *y, uint64_t buf_bytes, bool *same,
                       gk_err *err)
{
    *same = gk_stored_bytes(a) == gk_stored_bytes(b);
    for (uint64_t at = 0; *same && at < gk_stored_bytes(a); at += buf_bytes) {
        const uint64_t n = gk_min(buf_bytes, gk_stored_bytes(a) - at);
        if (!gk_file_read(c->input[a->input].file, a->off + at, x, n, err)
            || !gk_file_read(c->input[b->input].file, b->off + at, y, n, err))
            return false;
        *same = memcmp(x, y, (size_t)n) == 0;
    }
    return true;
}

/* One rank's file in the place of another's: names and shapes fit, values do not. Unequal
 * slices differ in their first bytes, so this reads next to nothing. */
static bool check_repeated_slices(gk_catalog *c, const gk_tensor *t, gk_err *err)
{
    const uint64_t buf_bytes = 4096;

    if (!has_slices(t))
        return true;
    unsigned char *buf = gk_alloc(2 * buf_bytes, 1, err);
    bool ok = buf != NULL;
    for (uint64_t i = 0; ok && i < t->part[0].n_pieces; i++)
        for (uint64_t k = i + 1; ok && k < t->part[0].n_pieces; k++) {
            const gk_stored *a = t->part[0].piece[i].stored, *b = t->part[0].piece[k].stored;
            bool same = false;
            ok = same_bytes(c, a, b, buf, buf + buf_bytes, buf_bytes, &same, err)
                 && (!same || gk_stored_bytes(a) == 0
                     || gk_findings_addf(&c->findings, "values", GK_BAD, c->input[b->input].name,
                                         t->name, err,
                                         "the slices of rank %d and rank %d are identical, byte "
                                         "for byte",
                                         c->input[a->input].rank, c->input[b->input].rank));
        }
    gk_free(buf);
    return ok;
}

typedef struct named_digest {
    const char *digest, *name;
} named_digest;

static int by_digest(const void *a, const void *b)
{
    const named_digest *x = a, *y = b;
    const int order = strcmp(x->digest, y->digest);

    return order != 0 ? order : gk_natural_compare(x->name, y->name);
}

static bool report_identical(gk_catalog *c, const seen *s, gk_err *err)
{
    named_digest *row = gk_alloc(c->n_tensors, sizeof *row, err);
    uint64_t n = 0;
    bool ok = row != NULL;

    for (uint64_t i = 0; ok && i < c->n_tensors; i++)
        if (s[i].digest[0] != '\0' && s[i].failure == NULL)
            row[n++] = (named_digest){s[i].digest, c->tensor[i].name};
    if (ok)
        qsort(row, (size_t)n, sizeof *row, by_digest);
    for (uint64_t i = 1; ok && i < n; i++)
        if (strcmp(row[i].digest, row[i - 1].digest) == 0)
            ok = gk_findings_addf(&c->findings, "values", GK_BAD, NULL, row[i].name, err,
                                  "identical to %s, byte for byte", row[i - 1].name);
    gk_free(row);
    return ok;
}

/* With keep_going a failed read is kept for the report, and the scan goes on. */
static bool forgive(const scan *x, uint64_t index, gk_err *own)
{
    gk_err none = {0};

    if (!x->o->keep_going || own->code != GK_ERR_IO)
        return false;
    x->seen[index].failure = gk_alloc(1, sizeof *own, &none);
    if (x->seen[index].failure == NULL)
        return false;
    *x->seen[index].failure = *own;
    *own = none;
    return true;
}

static bool scan_all(scan *x, gk_err *err)
{
    gk_catalog *c = x->c;
    uint64_t next = 0;

#pragma omp parallel num_threads(x->o->threads)
    {
        gk_err own = {0};
        unsigned char *buf = gk_alloc(TILE_BYTES + 65536, 1, &own);
        bool ok = buf != NULL;
        uint64_t i;
        while (ok && !__atomic_load_n(&x->failed, __ATOMIC_RELAXED)
               && (i = __atomic_fetch_add(&next, 1, __ATOMIC_RELAXED)) < c->n_tensors)
            ok = c->tensor[i].n_parts == 0 || scan_tensor(x, i, buf, &own) || forgive(x, i, &own);
        if (!ok) {
#pragma omp critical(gk_checks_failure)
            {
                if (!x->failed)
                    x->failure = own;
                __atomic_store_n(&x->failed, true, __ATOMIC_RELAXED);
            }
        }
        gk_free(buf);
    }
    if (x->failed)
        *err = x->failure;
    return !x->failed;
}

static bool check_values(gk_catalog *c, const gk_check_options *o, gk_err *err)
{
    scan x = {.c = c, .o = o};

    x.seen = gk_alloc(c->n_tensors, sizeof *x.seen, err);
    bool ok = x.seen != NULL;
    if (ok) {
        memset(x.seen, 0, c->n_tensors * sizeof *x.seen);
        ok = scan_all(&x, err);
    }
    for (uint64_t i = 0; ok && i < c->n_tensors; i++)
        ok = x.seen[i].failure != NULL
                 ? gk_findings_addf(&c->findings, "read", GK_BAD, x.seen[i].failure->file,
                                    c->tensor[i].name, err, "%s", x.seen[i].failure->msg)
                 : report_values(c, &c->tensor[i], &x.seen[i], err)
                       && check_zero_slices(c, &c->tensor[i], err)
                       && check_repeated_slices(c, &c->tensor[i], err);
    ok = ok && report_identical(c, x.seen, err);
    for (uint64_t i = 0; x.seen != NULL && i < c->n_tensors; i++)
        gk_free(x.seen[i].failure);
    gk_free(x.seen);
    return ok;
}

bool gk_checks_run(gk_catalog *c, const gk_check_options *options, gk_err *err)
{
    return check_names(c, err) && check_alignment(c, err) && check_tokenizer(c, err)
           && (!options->values || check_values(c, options, err));
}

/* ---- digests ----------------------------------------------------------------------------- */

bool gk_tensor_digest(const gk_catalog *c, const gk_tensor *t, void *buf, uint64_t buf_bytes,
                      char hex[65], gk_err *err)
{
    gk_hash *hash = gk_hash_new(err);
    bool ok = hash != NULL;

    for (int i = 0; ok && i < gk_n_parts(t); i++) {
        gk_part_room room;
        const gk_part *part = gk_part_of(t, i, &room);
        const uint64_t block = gk_dtype_get(part->dtype)->block_elems;
        const uint64_t row_bytes = gk_row_bytes(part->dtype, part->n_cols);
        const uint64_t cols = row_bytes <= buf_bytes ? part->n_cols : buf_bytes / 8 / block * block;
        const uint64_t rows = gk_max(buf_bytes / gk_max(gk_row_bytes(part->dtype, cols), 1), 1);
        /* several rows at once, or pieces of one: the order of bytes is the same */
        const uint64_t step = cols == part->n_cols ? rows : 1;
        for (uint64_t r = 0; ok && r < part->n_rows; r += step)
            for (uint64_t col = 0; ok && col < part->n_cols; col += cols) {
                const uint64_t n = gk_min(step, part->n_rows - r);
                const uint64_t m = gk_min(cols, part->n_cols - col);
                ok = gk_read_part(c, t, i, r, n, col, m, buf, err);
                if (ok)
                    gk_hash_add(hash, buf, n * gk_row_bytes(part->dtype, m));
            }
    }
    if (hash != NULL)
        gk_hash_end(hash, hex);
    return ok;
}
