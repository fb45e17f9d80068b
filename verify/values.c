/* verify/values.c - NaN and infinities, rows and slices of zeros, tensors that stand twice. */
#include "verify/values.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "formats/checked.h"
#include "formats/grok2.h"
#include "formats/xxh64.h"
#include "quant/model.h"
#include "quant/nonfinite.h"

#define MANY_ZEROS    4 /* all-zero rows that are no accident any more */
#define SPARE_ROWS    8 /* of an embedding so small a share may be zero: tokens never seen */
#define SAMPLE_BYTES  512
#define COMPARE_BYTES (UINT64_C(1) << 20)

typedef struct place {
    uint64_t n, row, col; /* how many, and where the first stands in its part */
} place;

enum { IN_VALUES, IN_SCALES, N_KINDS };

/* What a run showed. */
typedef struct seen {
    place nan[N_KINDS], inf[N_KINDS], null; /* null: zeros of a vector */
    uint64_t zero_rows, first_zero; /* rows of the run that are all zero             */
    uint64_t decoded_zeros;         /* the same of an encoded tensor, in its first   */
    unsigned char *zero;            /* of a piece narrower than its part: a bit a row */
    gk_sketch sketch;               /* of an encoded tensor its first run has all     */
} seen;

struct gk_values {
    gk_catalog *c;
    seen *seen;
    uint64_t *first; /* n_tensors + 1: the runs of tensor i are first[i] .. first[i + 1] - 1 */
    gk_err **failure;
};

/* ---- runs --------------------------------------------------------------------------- */

static bool in_one_range(const gk_part *part, const gk_piece *p)
{
    return p->off < GK_FILE_TEXT && p->col_bytes == 0
           && (p->n_rows <= 1 || p->row_bytes == gk_row_bytes(part->dtype, p->n_cols));
}

/* How many runs: the pieces of all parts, or 1. */
static uint64_t count_runs(const gk_tensor *t)
{
    uint64_t n = 0;

    for (int i = 0; i < gk_n_parts(t); i++) {
        gk_part_room room;
        const gk_part *part = gk_part_of(t, i, &room);
        for (uint64_t k = 0; k < part->n_pieces; k++)
            if (!in_one_range(part, &part->piece[k]))
                return 1;
        n += part->n_pieces;
    }
    return n;
}

bool gk_values_by_piece(const gk_values *v, uint64_t tensor)
{
    const gk_tensor *t = &v->c->tensor[tensor];

    for (int i = 0; i < gk_n_parts(t); i++) {
        gk_part_room room;
        const gk_part *part = gk_part_of(t, i, &room);
        for (uint64_t k = 0; k < part->n_pieces; k++)
            if (!in_one_range(part, &part->piece[k]))
                return false;
    }
    return true;
}

uint64_t gk_values_first(const gk_values *v, uint64_t tensor) { return v->first[tensor]; }

gk_values *gk_values_new(gk_catalog *c, gk_err *err)
{
    gk_values *v = gk_alloc(1, sizeof *v, err);

    if (v == NULL)
        return NULL;
    *v = (gk_values){.c = c};
    v->first = gk_alloc(c->n_tensors + 1, sizeof *v->first, err);
    v->failure = v->first == NULL ? NULL : gk_alloc(c->n_tensors, sizeof *v->failure, err);
    if (v->failure == NULL)
        return gk_values_free(v), NULL;
    memset(v->failure, 0, c->n_tensors * sizeof *v->failure);
    v->first[0] = 0;
    for (uint64_t i = 0; i < c->n_tensors; i++)
        v->first[i + 1] = v->first[i] + count_runs(&c->tensor[i]);
    v->seen = gk_alloc(v->first[c->n_tensors], sizeof *v->seen, err);
    if (v->seen == NULL)
        return gk_values_free(v), NULL;
    memset(v->seen, 0, v->first[c->n_tensors] * sizeof *v->seen);
    return v;
}

void gk_values_forget(gk_values *v, uint64_t tensor)
{
    for (uint64_t r = v->first[tensor]; r < v->first[tensor + 1]; r++) {
        gk_free(v->seen[r].zero);
        gk_sketch_free(&v->seen[r].sketch);
        v->seen[r] = (seen){.zero = NULL};
    }
}

void gk_values_free(gk_values *v)
{
    if (v == NULL)
        return;
    for (uint64_t i = 0; v->seen != NULL && i < v->c->n_tensors; i++) {
        gk_values_forget(v, i);
        gk_free(v->failure[i]);
    }
    gk_free(v->seen);
    gk_free(v->first);
    gk_free(v->failure);
    gk_free(v);
}

bool gk_values_failed(gk_values *v, uint64_t tensor, const gk_err *failure, gk_err *err)
{
    gk_err *copy = gk_alloc(1, sizeof *copy, err);

    if (copy == NULL)
        return false;
    *copy = *failure;
    gk_free(v->failure[tensor]);
    v->failure[tensor] = copy;
    return true;
}

/* ---- looking ------------------------------------------------------------------------ */

/* What the numbers of a part are; compressed-tensors stores the E8M0 of MXFP4 as U8. */
static gk_dtype number_of(const gk_part *part)
{
    return part->role == GK_PART_SCALES && part->dtype == GK_U8 ? GK_F8_E8M0 : part->dtype;
}

/* Whether a sign alone is a zero, and nothing else but all bits zero. */
static bool has_zeros(gk_dtype dtype)
{
    return dtype == GK_BF16 || dtype == GK_F16 || dtype == GK_F32 || dtype == GK_F64
           || dtype == GK_C64 || dtype == GK_F8_E4M3 || dtype == GK_F8_E5M2;
}

/* Element i of the tile. */
static void count_at(place *p, const gk_sight *tile, uint64_t i)
{
    if (p->n++ > 0)
        return;
    p->row = tile->row + i / tile->n_cols;
    p->col = tile->col + i % tile->n_cols;
}

/* Counts NaN and infinities, of ggml's types blocks whose scale is one. */
static void see_nonfinite(const gk_part *part, const gk_sight *tile, seen *s)
{
    const gk_dtype dtype = number_of(part);
    const gk_dtype_row *type = gk_dtype_get(dtype);
    const int kind = gk_dtype_is_block(dtype) || part->role == GK_PART_SCALES
                     || part->role == GK_PART_ZEROS ? IN_SCALES : IN_VALUES;
    const uint64_t n = tile->n_rows * tile->n_cols;
    const unsigned char *p = tile->bytes;

    for (uint64_t i = 0; i < n; i += type->block_elems) {
        i += gk_nonfinite(dtype, p + i / type->block_elems * type->block_bytes, n - i);
        if (i == n)
            return;
        const bool nan = gk_is_nan(dtype, p + i / type->block_elems * type->block_bytes);
        count_at(nan ? &s->nan[kind] : &s->inf[kind], tile, i);
    }
}

static bool is_zero(const unsigned char *p, uint64_t n)
{
    /* the sign bit of a zero does not make it a value */
    for (uint64_t i = 0; i < n; i++)
        if (p[i] != 0 && p[i] != 0x80)
            return false;
    return true;
}

static bool see_zeros(const gk_run_of *r, const gk_sight *tile, seen *s, gk_err *err)
{
    const uint64_t width = gk_row_bytes(r->part->dtype, tile->n_cols);
    const uint64_t top = r->piece != NULL ? r->piece->row : 0;

    for (uint64_t k = 0; k < tile->n_rows; k++) {
        if (!is_zero(tile->bytes + k * width, width))
            continue;
        const uint64_t row = tile->row + k;
        if (s->zero_rows++ == 0)
            s->first_zero = row;
        if (r->piece == NULL || r->piece->n_cols == r->part->n_cols)
            continue;
        if (s->zero == NULL) {
            const uint64_t bytes = (r->piece->n_rows + 7) / 8;
            if ((s->zero = gk_alloc(bytes, 1, err)) == NULL)
                return false;
            memset(s->zero, 0, (size_t)bytes);
        }
        s->zero[(row - top) / 8] |= (unsigned char)(1u << (row - top) % 8);
    }
    return true;
}

/* A vector is one row: a part of it may be missing without that row being zero. */
static void see_vector(gk_dtype dtype, const gk_sight *tile, seen *s)
{
    const uint64_t size = gk_dtype_get(dtype)->block_bytes, n = tile->n_rows * tile->n_cols;

    for (uint64_t i = 0; i < n; i++)
        if (is_zero(tile->bytes + i * size, size))
            count_at(&s->null, tile, i);
}

/* What its values come to. Returns whether one is no finite number: the search for NaN and
 * infinities, which reads all of a tile once more, is made only then. */
static bool see_figures(const gk_run_of *r, const gk_sight *tile, seen *s, bool *nonfinite,
                        gk_err *err)
{
    const gk_part *part = r->part;
    const gk_piece *p = r->piece;
    gk_sketch_of of = {part->dtype, part->n_rows, {0, part->n_rows, 0, part->n_cols, NULL}};

    if (r->tensor->scheme != NULL || !gk_can_sketch(part->dtype))
        return true;
    if (p != NULL)
        of.run = (gk_sight){p->row, p->n_rows, p->col, p->n_cols, NULL};
    return gk_sketch_see(&s->sketch, &of, tile, nonfinite, err);
}

bool gk_values_wants_decoded(const gk_values *v, uint64_t tensor)
{
    const gk_tensor *t = &v->c->tensor[tensor];

    return t->scheme != NULL && gk_can_decode(t) && gk_tensor_bytes(t) > 0;
}

bool gk_values_can_skip(const gk_values *v, uint64_t tensor, const gk_part *part)
{
    return gk_values_wants_decoded(v, tensor) && part->role == GK_PART_CODES
           && !gk_dtype_get(part->dtype)->is_float;
}

bool gk_values_see_decoded(gk_values *v, uint64_t tensor, const gk_sight *tile, gk_err *err)
{
    const gk_tensor *t = &v->c->tensor[tensor];
    const gk_sketch_of of = {GK_F32, gk_rows(t), {0, gk_rows(t), 0, gk_cols(t), NULL}};
    seen *s = &v->seen[v->first[tensor]];
    bool nonfinite;

    for (uint64_t k = 0; k < tile->n_rows; k++) {
        const uint64_t bytes = tile->n_cols * sizeof(float);
        s->decoded_zeros += is_zero(tile->bytes + k * bytes, bytes);
    }
    return gk_sketch_see(&s->sketch, &of, tile, &nonfinite, err);
}

bool gk_values_see(gk_values *v, const gk_run_of *r, const gk_sight *tile, gk_err *err)
{
    const gk_dtype dtype = r->part->dtype;
    const uint64_t width = r->piece != NULL ? r->piece->n_cols : r->part->n_cols;
    seen *s = &v->seen[r->run];
    bool nonfinite = true;

    if (!see_figures(r, tile, s, &nonfinite, err))
        return false;
    if (nonfinite)
        see_nonfinite(r->part, tile, s);
    if (!has_zeros(dtype))
        return true;
    if (r->tensor->ndim == 1 && r->tensor->scheme == NULL)
        see_vector(dtype, tile, s);
    return r->tensor->scheme != NULL || tile->n_cols != width || see_zeros(r, tile, s, err);
}

/* ---- reporting: values and zeros ---------------------------------------------------- */

/* Adds what another run of the same part showed; `later`: it is of a later part. */
static void merge(place *into, const place *from, bool later)
{
    const bool before = from->row < into->row || (from->row == into->row && from->col < into->col);

    if (from->n > 0 && (into->n == 0 || (before && !later))) {
        into->row = from->row;
        into->col = from->col;
    }
    into->n += from->n;
}

/* Whether row `row` of the part is zero in all pieces that cross it. */
static bool row_is_zero(const gk_part *part, const seen *s, uint64_t row)
{
    for (uint64_t k = 0; k < part->n_pieces; k++) {
        const gk_piece *p = &part->piece[k];
        if (row < p->row || row - p->row >= p->n_rows)
            continue;
        const uint64_t at = row - p->row;
        if (s[k].zero == NULL || (s[k].zero[at / 8] >> at % 8 & 1) == 0)
            return false;
    }
    return true;
}

static void merge_zeros(const gk_part *part, const seen *s, seen *all)
{
    bool narrow = false;

    for (uint64_t k = 0; k < part->n_pieces; k++)
        narrow |= part->piece[k].n_cols != part->n_cols;
    for (uint64_t k = 0; !narrow && k < part->n_pieces; k++) {
        if (s[k].zero_rows > 0)
            all->first_zero = all->zero_rows == 0 ? s[k].first_zero
                                                  : gk_min(all->first_zero, s[k].first_zero);
        all->zero_rows += s[k].zero_rows;
    }
    for (uint64_t row = 0; narrow && row < part->n_rows; row++)
        if (row_is_zero(part, s, row) && all->zero_rows++ == 0)
            all->first_zero = row;
}

/* What all runs of a tensor come to. */
static seen add_up(const gk_values *v, uint64_t index)
{
    const gk_tensor *t = &v->c->tensor[index];
    const seen *s = &v->seen[v->first[index]];
    seen all = {.zero = NULL};

    if (!gk_values_by_piece(v, index))
        return *s;
    for (int i = 0; i < gk_n_parts(t); i++) {
        gk_part_room room;
        const gk_part *part = gk_part_of(t, i, &room);
        for (int kind = 0; kind < N_KINDS; kind++) {
            const bool later_nan = all.nan[kind].n > 0, later_inf = all.inf[kind].n > 0;
            for (uint64_t k = 0; k < part->n_pieces; k++) {
                merge(&all.nan[kind], &s[k].nan[kind], later_nan);
                merge(&all.inf[kind], &s[k].inf[kind], later_inf);
            }
        }
        for (uint64_t k = 0; k < part->n_pieces; k++)
            merge(&all.null, &s[k].null, false);
        if (t->scheme == NULL)
            merge_zeros(part, s, &all);
        s += part->n_pieces;
    }
    return all;
}

static bool is_table(const char *name)
{
    return strstr(name, "embed") != NULL || strstr(name, "lm_head") != NULL;
}

/* Tokens that training never saw may have rows of zeros, and biases that it never moved;
 * elsewhere they are an accident. */
static gk_severity zeros_severity(const gk_tensor *t, uint64_t zero_rows)
{
    if (gk_ends_with(t->name, ".bias"))
        return GK_NOTE;
    if (is_table(t->name) && zero_rows <= gk_rows(t) / SPARE_ROWS)
        return GK_NOTE;
    return zero_rows == gk_rows(t) || zero_rows >= MANY_ZEROS ? GK_BAD : GK_WARN;
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

static bool report_one(const gk_values *v, const gk_tensor *t, const seen *s, gk_err *err)
{
    gk_catalog *c = v->c;
    const char *file = t->whole != NULL ? c->input[t->whole->input].name : NULL;
    gk_findings *f = &c->findings;
    bool ok = true;

    for (int k = 0; ok && k < N_KINDS; k++)
        ok = report_place(c, file, t->name, &s->nan[k], "NaN", k, err)
             && report_place(c, file, t->name, &s->inf[k], "infinities (Inf)", k, err);
    if (ok && s->zero_rows > 0 && gk_rows(t) > 0 && gk_cols(t) > 0)
        ok = gk_findings_addf(f, "values", zeros_severity(t, s->zero_rows), file, t->name, err,
                              "%" PRIu64 " of %" PRIu64 " rows are all zero, the first is %" PRIu64,
                              s->zero_rows, gk_rows(t), s->first_zero);
    /* norms end training far from zero, each of them */
    if (ok && s->null.n >= MANY_ZEROS && s->zero_rows == 0 && s->null.n >= gk_cols(t) / 8
        && strstr(t->name, "norm") != NULL && !gk_ends_with(t->name, ".bias"))
        ok = gk_findings_addf(f, "values", GK_BAD, file, t->name, err,
                              "%" PRIu64 " of %" PRIu64 " elements are zero, the first is %" PRIu64,
                              s->null.n, gk_cols(t), s->null.col);
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
static bool report_slices(const gk_values *v, uint64_t index, gk_err *err)
{
    const gk_tensor *t = &v->c->tensor[index];
    const seen *s = &v->seen[v->first[index]];
    bool ok = true;

    if (!has_slices(t) || !gk_values_by_piece(v, index))
        return true;
    for (uint64_t k = 0; ok && k < t->part[0].n_pieces; k++) {
        const gk_piece *p = &t->part[0].piece[k];
        const gk_input *in = &v->c->input[p->stored->input];
        if (p->n_rows == 0 || s[k].zero_rows == 0)
            continue;
        if (s[k].zero_rows == p->n_rows)
            ok = gk_findings_addf(&v->c->findings, "values", GK_BAD, in->name, t->name, err,
                                  "the slice of rank %d is all zero", in->rank);
        else if (s[k].zero_rows >= MANY_ZEROS && p->n_cols != t->part[0].n_cols)
            ok = gk_findings_addf(&v->c->findings, "values", GK_BAD, in->name, t->name, err,
                                  "%" PRIu64 " of the %" PRIu64 " rows of the slice of rank %d are "
                                  "all zero, the first is %" PRIu64,
                                  s[k].zero_rows, p->n_rows, in->rank, s[k].first_zero);
    }
    return ok;
}

/* ---- reporting: the same bytes twice ------------------------------------------------ */

/* Whether two slices hold the same bytes; both buffers have buf_bytes. */
static bool same_slice(const gk_catalog *c, const gk_stored *a, const gk_stored *b,
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
static bool report_repeated_slices(gk_catalog *c, const gk_tensor *t, gk_err *err)
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
            ok = same_slice(c, a, b, buf, buf + buf_bytes, buf_bytes, &same, err)
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

/* A matrix, and a number that equal ones share. */
typedef struct print {
    uint64_t key;
    const gk_tensor *t;
} print;

static int by_key(const void *a, const void *b)
{
    const print *x = a, *y = b;

    if (x->key != y->key)
        return x->key < y->key ? -1 : 1;
    return gk_natural_compare(x->t->name, y->t->name);
}

static bool is_expert(const char *name) { return strstr(name, ".experts.") != NULL; }

/* Its shape, some of its bytes and, but for experts, its kind: an embedding may well be equal
 * to a head, and vectors of norms to each other. */
static bool sample(const gk_catalog *c, const gk_tensor *t, print *out, gk_err *err)
{
    unsigned char buf[SAMPLE_BYTES + 512];
    gk_xxh64 x;

    gk_xxh64_begin(&x);
    for (const char *s = t->name; !is_expert(t->name) && *s != '\0'; s++)
        if (!isdigit((unsigned char)*s))
            gk_xxh64_add(&x, s, 1);
    gk_xxh64_add(&x, t->dim, t->ndim * sizeof *t->dim);
    for (int i = 0; i < gk_n_parts(t); i++) {
        gk_part_room room;
        const gk_part *part = gk_part_of(t, i, &room);
        const gk_dtype_row *type = gk_dtype_get(part->dtype);
        const uint64_t blocks = gk_max(SAMPLE_BYTES / type->block_bytes, 1);
        const uint64_t cols = gk_min(part->n_cols, blocks * type->block_elems);
        if (gk_row_bytes(part->dtype, cols) > sizeof buf)
            continue;
        for (int k = 0; part->n_rows > 0 && k < 3; k++) {
            const uint64_t row = k == 0 ? 0 : k == 1 ? part->n_rows / 2 : part->n_rows - 1;
            if (!gk_read_part(c, t, i, row, 1, 0, cols, buf, err))
                return false;
            gk_xxh64_add(&x, buf, gk_row_bytes(part->dtype, cols));
        }
    }
    *out = (print){gk_xxh64_end(&x), t};
    return true;
}

static bool same_tensor(const gk_catalog *c, const gk_tensor *a, const gk_tensor *b,
                        unsigned char *buf, bool *same, gk_err *err)
{
    *same = gk_n_parts(a) == gk_n_parts(b) && gk_tensor_bytes(a) == gk_tensor_bytes(b);
    for (int i = 0; *same && i < gk_n_parts(a); i++) {
        gk_part_room one, two;
        const gk_part *p = gk_part_of(a, i, &one), *q = gk_part_of(b, i, &two);
        const uint64_t width = gk_row_bytes(p->dtype, p->n_cols);
        const uint64_t block = gk_dtype_get(p->dtype)->block_elems;
        const uint64_t cols = width <= COMPARE_BYTES ? p->n_cols
                                                     : COMPARE_BYTES / 8 / block * block;
        const uint64_t rows = width <= COMPARE_BYTES ? COMPARE_BYTES / gk_max(width, 1) : 1;
        *same = p->dtype == q->dtype && p->n_rows == q->n_rows && p->n_cols == q->n_cols;
        for (uint64_t r = 0; *same && r < p->n_rows; r += rows)
            for (uint64_t col = 0; *same && col < p->n_cols; col += cols) {
                const uint64_t n = gk_min(rows, p->n_rows - r), m = gk_min(cols, p->n_cols - col);
                if (!gk_read_part(c, a, i, r, n, col, m, buf, err)
                    || !gk_read_part(c, b, i, r, n, col, m, buf + COMPARE_BYTES, err))
                    return false;
                *same = memcmp(buf, buf + COMPARE_BYTES, (size_t)(n * gk_row_bytes(p->dtype, m)))
                        == 0;
            }
    }
    return true;
}

/* Two equal experts are an accident; equal matrices in two layers are one in a Grok, while
 * others are sometimes made deeper by repeating layers. */
static bool report_identical(const gk_values *v, gk_err *err)
{
    gk_catalog *c = v->c;
    print *row = gk_alloc(c->n_tensors, sizeof *row, err);
    unsigned char *buf = row == NULL ? NULL : gk_alloc(2 * COMPARE_BYTES, 1, err);
    const gk_severity layers = gk_grok2_is(c->config) ? GK_BAD : GK_NOTE;
    uint64_t n = 0;
    bool ok = buf != NULL, same;

    for (uint64_t i = 0; ok && i < c->n_tensors; i++) {
        const gk_tensor *t = &c->tensor[i];
        if (t->n_parts > 0 && v->failure[i] == NULL && t->ndim >= 2 && gk_tensor_bytes(t) > 0
            && add_up(v, i).zero_rows != gk_rows(t))
            ok = sample(c, t, &row[n++], err);
    }
    if (ok)
        qsort(row, (size_t)n, sizeof *row, by_key);
    for (uint64_t i = 1; ok && i < n; i++)
        if (row[i].key == row[i - 1].key)
            ok = same_tensor(c, row[i - 1].t, row[i].t, buf, &same, err)
                 && (!same
                     || gk_findings_addf(&c->findings, "values",
                                         is_expert(row[i].t->name) ? GK_BAD : layers, NULL,
                                         row[i].t->name, err, "identical to %s, byte for byte",
                                         row[i - 1].t->name));
    gk_free(buf);
    gk_free(row);
    return ok;
}

/* Blocks of a type without a codec: their bytes say nothing here. */
static bool is_opaque(const gk_tensor *t)
{
    return t->n_parts > 0 && t->scheme == NULL && !gk_has_codec((gk_dtype)t->dtype);
}

/* One note for each such type, at its first tensor. */
static bool report_opaque(gk_catalog *c, gk_err *err)
{
    uint64_t count[GK_N_DTYPES] = {0};
    bool ok = true;

    for (uint64_t i = 0; i < c->n_tensors; i++)
        count[c->tensor[i].dtype] += is_opaque(&c->tensor[i]);
    for (uint64_t i = 0; ok && i < c->n_tensors; i++) {
        const gk_tensor *t = &c->tensor[i];
        if (!is_opaque(t) || count[t->dtype] == 0)
            continue;
        ok = gk_findings_addf(&c->findings, "values", GK_NOTE, NULL, t->name, err,
                              "values of %s (%" PRIu64 " of the tensors) were not looked at: there "
                              "is no codec for this type", gk_tensor_kind(t), count[t->dtype]);
        count[t->dtype] = 0;
    }
    return ok;
}

bool gk_values_report(gk_values *v, gk_err *err)
{
    gk_catalog *c = v->c;
    bool ok = true;

    for (uint64_t i = 0; ok && i < c->n_tensors; i++) {
        const gk_tensor *t = &c->tensor[i];
        const gk_err *failure = v->failure[i];
        if (failure != NULL) {
            ok = gk_findings_addf(&c->findings, "read", GK_BAD, failure->file, t->name, err, "%s",
                                  failure->msg);
        } else if (t->n_parts > 0) {
            const seen all = add_up(v, i);
            ok = report_one(v, t, &all, err) && report_slices(v, i, err)
                 && report_repeated_slices(c, t, err);
        }
    }
    return ok && report_opaque(c, err) && report_identical(v, err);
}

/* ---- figures ------------------------------------------------------------------------ */

static bool figures_of(const gk_values *v, uint64_t index, gk_figure_table *out, gk_err *err)
{
    const gk_tensor *t = &v->c->tensor[index];
    const uint64_t n = t->scheme != NULL ? 1 : v->first[index + 1] - v->first[index];
    const gk_sketch **run = gk_alloc(n, sizeof *run, err);
    gk_figures *f = &out->row[out->n];

    if (run == NULL)
        return false;
    for (uint64_t i = 0; i < n; i++)
        run[i] = &v->seen[v->first[index] + i].sketch;
    const bool ok = gk_figures_add_up(out->arena, t, run, n, f, err);
    gk_free(run);
    if (ok && f->n + f->nonfinite > 0) {
        f->zero_rows = t->scheme != NULL ? v->seen[v->first[index]].decoded_zeros
                                         : add_up(v, index).zero_rows;
        out->n++;
    }
    return ok;
}

bool gk_values_figures(const gk_values *v, gk_figure_table *out, gk_err *err)
{
    bool ok;

    *out = (gk_figure_table){.arena = gk_arena_new(err)};
    ok = out->arena != NULL;
    out->row = ok ? gk_arena_alloc(out->arena, v->c->n_tensors, sizeof *out->row, err) : NULL;
    ok = out->row != NULL;
    for (uint64_t i = 0; ok && i < v->c->n_tensors; i++)
        if (v->c->tensor[i].n_parts > 0 && v->failure[i] == NULL)
            ok = figures_of(v, i, out, err);
    if (ok)
        gk_figure_table_total(out);
    return ok;
}
