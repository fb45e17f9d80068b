/* verify/compare.c - one streamed pass over both. */
#include "verify/compare.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "formats/checked.h"
#include "formats/rope_factors.h"
#include "quant/kernels.h"
#include "quant/model.h"

#define TILE_ELEMS (UINT64_C(1) << 19)

typedef struct sums {
    double error, square_a, square_b, dot, most;
    bool   differ;
} sums;

/* What a row that differs tells beside its error. */
static void look_at_row(const float *a, const float *b, uint64_t n, uint64_t row,
                        gk_tensor_error *out)
{
    uint64_t first = n, last = 0;

    for (uint64_t i = 0; i < n; i++) {
        const uint32_t x = gk_load_u32(&a[i]), y = gk_load_u32(&b[i]);
        out->overflow += isinf(b[i]) && isfinite(a[i]) && fabsf(a[i]) >= 65504;
        out->not_truncated += (x & 0xFFFF0000) != y;
        out->not_rounded += ((x + 0x7FFF + (x >> 16 & 1)) & 0xFFFF0000) != y;
        if (a[i] == b[i] || (a[i] != a[i] && b[i] != b[i]))
            continue;
        out->not_zero += b[i] != 0;
        first = gk_min(first, i);
        last = i;
    }
    if (out->differ_rows++ == 0) {
        out->first_row = row;
        out->first_at = out->first_col = first;
    }
    out->last_row = row;
    out->first_col = gk_min(out->first_col, first);
    out->last_col = gk_max(out->last_col, last);
}

/* Row by row, so that totals do not depend on tiles. A NaN on both sides is equal. */
static void add_row(const float *a, const float *b, uint64_t n, uint64_t index, sums *s,
                    gk_tensor_error *row)
{
    double error, square, dot = 0, square_b = 0;
    bool differ = false;

    gk_kernels_get()->row_error(a, b, n, &error, &square);
    for (uint64_t i = 0; i < n; i++) {
        const double d = fabs((double)a[i] - (double)b[i]);
        dot += (double)a[i] * (double)b[i];
        square_b += (double)b[i] * (double)b[i];
        s->most = d > s->most ? d : s->most;
        differ |= a[i] != b[i] && !(a[i] != a[i] && b[i] != b[i]);
    }
    s->differ |= differ;
    row->same_bits &= memcmp(a, b, (size_t)n * sizeof *a) == 0;
    s->error += error;
    s->square_a += square;
    s->square_b += square_b;
    s->dot += dot;
    if (differ && !row->coded)
        look_at_row(a, b, n, index, row);
    if (differ && !(error <= square / 2)) {
        row->first_lost = row->lost_rows++ == 0 ? index : row->first_lost;
        row->last_lost = index;
        row->lost += error;
    }
}

typedef struct side {
    const gk_catalog *c;
    float            *v;
    void             *scratch;
} side;

static uint64_t tile_rows(const gk_tensor *t)
{
    return gk_max(TILE_ELEMS / gk_max(gk_cols(t), 1), 1);
}

static bool open_side(side *s, const gk_tensor *t, gk_err *err)
{
    const uint64_t rows = gk_min(tile_rows(t), gk_max(gk_rows(t), 1));

    s->v = gk_alloc(rows * gk_cols(t), sizeof *s->v, err);
    s->scratch = gk_alloc(gk_decode_scratch_bytes(t, rows, gk_cols(t)) + 64, 1, err);
    return s->v != NULL && s->scratch != NULL;
}

static bool is_coded(const gk_tensor *t)
{
    return t->scheme != NULL || gk_dtype_is_block((gk_dtype)t->dtype);
}

static bool compare_one(side *x, side *y, gk_tensor_error *row, sums *s,
                        const gk_compare_options *o, gk_err *err)
{
    const uint64_t rows = tile_rows(row->a);
    bool ok = open_side(x, row->a, err) && open_side(y, row->b, err);

    row->coded = is_coded(row->a) || is_coded(row->b);
    row->same_bits = row->a->dtype == row->b->dtype && row->a->scheme == NULL
                     && row->b->scheme == NULL;

    for (uint64_t r = 0; ok && r < gk_rows(row->a); r += rows) {
        const uint64_t n = gk_min(rows, gk_rows(row->a) - r), cols = gk_cols(row->a);
        const uint64_t rect[4] = {r, n, 0, cols};
        if (o->stop != NULL && *o->stop)
            ok = gk_fail(err, GK_ERR_INTERRUPTED, GK_NO_OFF, "interrupted");
        ok = ok && gk_decode(x->c, row->a, rect, x->v, x->scratch, err)
             && gk_decode(y->c, row->b, rect, y->v, y->scratch, err);
        for (uint64_t k = 0; ok && k < n; k++)
            add_row(x->v + k * cols, y->v + k * cols, cols, r + k, s, row);
        if (ok && o->progress != NULL)
            o->progress(o->context, gk_tensor_bytes(row->a) / gk_div_up(gk_rows(row->a), rows),
                        row->a->name);
    }
    row->equal = !s->differ;
    row->square = s->square_a;
    row->gain = s->square_a > 0 ? s->dot / s->square_a : 1;
    row->max_abs = s->most;
    row->rel_error = s->square_a > 0 ? s->error / s->square_a : s->error > 0 ? INFINITY : 0;
    row->cosine = s->square_a > 0 && s->square_b > 0 ? s->dot / sqrt(s->square_a * s->square_b)
                                                     : row->equal ? 1 : 0;
    gk_free(x->v);
    gk_free(y->v);
    gk_free(x->scratch);
    gk_free(y->scratch);
    return ok;
}

/* Integers and other types that are no numbers here: the same bytes, or not. */
static bool compare_bytes(const side *x, const side *y, gk_tensor_error *row, gk_err *err)
{
    const gk_tensor *t = row->a;
    const uint64_t row_bytes = gk_row_bytes((gk_dtype)t->dtype, gk_cols(t));
    unsigned char *buf = gk_alloc(2 * row_bytes, 1, err);
    bool ok = buf != NULL;

    row->equal = true;
    for (uint64_t r = 0; ok && row->equal && r < gk_rows(t); r++) {
        ok = gk_read_part(x->c, t, 0, r, 1, 0, gk_cols(t), buf, err)
             && gk_read_part(y->c, row->b, 0, r, 1, 0, gk_cols(t), buf + row_bytes, err);
        row->equal = ok && memcmp(buf, buf + row_bytes, (size_t)row_bytes) == 0;
    }
    row->same_bits = row->equal;
    gk_free(buf);
    return ok;
}

/* Whether t, which only c has, is what the other's config says in numbers. The converter's pow()
 * is not ours to the last place: formats/rope_factors.h. */
static bool look_if_derived(const gk_catalog *c, const gk_tensor *t, const gk_catalog *other,
                            bool *derived, gk_err *err)
{
    const uint64_t n = gk_cols(t), rect[4] = {0, 1, 0, n};

    if (strcmp(t->name, GK_ROPE_FACTORS) != 0 || t->ndim != 1 || n == 0 || !gk_can_decode(t))
        return true;
    float *v = gk_alloc(n, 2 * sizeof *v, err);
    void *scratch = gk_alloc(gk_decode_scratch_bytes(t, 1, n) + 64, 1, err);
    bool ok = v != NULL && scratch != NULL;
    if (ok && gk_model_rope_factors(other, n, v + n)) {
        ok = gk_decode(c, t, rect, v, scratch, err);
        *derived = ok;
        for (uint64_t i = 0; i < n; i++)
            *derived = *derived && fabsf(v[i] - v[n + i]) <= 0x1p-20f * v[n + i];
    }
    gk_free(v);
    gk_free(scratch);
    return ok;
}

/* Whether what is the same in f32 may still differ. */
static bool is_finer(const gk_tensor_error *row)
{
    return row->equal && row->a->dtype == GK_F64 && row->b->dtype == GK_F64
           && row->a->scheme == NULL && row->b->scheme == NULL;
}

static bool same_shape(const gk_tensor *a, const gk_tensor *b)
{
    return a != NULL && b != NULL && a->ndim == b->ndim
           && memcmp(a->dim, b->dim, a->ndim * sizeof *a->dim) == 0;
}

/* The union of both name lists, which are sorted naturally. */
static bool pair_up(const gk_catalog *a, const gk_catalog *b, const gk_compare_options *o,
                    gk_comparison *out, gk_err *err)
{
    uint64_t i = 0, k = 0;

    out->row = gk_arena_alloc(out->arena, a->n_tensors + b->n_tensors, sizeof *out->row, err);
    if (out->row == NULL)
        return false;
    while (i < a->n_tensors || k < b->n_tensors) {
        const int order = i == a->n_tensors   ? 1
                          : k == b->n_tensors ? -1
                                              : gk_natural_compare(a->tensor[i].name,
                                                                   b->tensor[k].name);
        gk_tensor_error row = {.a = order <= 0 ? &a->tensor[i] : NULL,
                               .b = order >= 0 ? &b->tensor[k] : NULL};
        i += order <= 0;
        k += order >= 0;
        const gk_tensor *t = row.a != NULL ? row.a : row.b;
        if (o->wanted != NULL && !o->wanted(o->context, t->name))
            continue;
        const bool alike = same_shape(row.a, row.b);
        row.comparable = alike && gk_can_decode(row.a) && gk_can_decode(row.b);
        row.bytes = alike && !row.comparable && row.a->dtype == row.b->dtype
                    && row.a->scheme == NULL && row.b->scheme == NULL;
        row.unread = alike && !row.comparable && !row.bytes;
        if ((row.a == NULL || row.b == NULL)
            && !look_if_derived(row.a != NULL ? a : b, t, row.a != NULL ? b : a, &row.derived, err))
            return false;
        out->row[out->n++] = row;
    }
    return true;
}

bool gk_compare(const gk_catalog *a, const gk_catalog *b, const gk_compare_options *o,
                gk_comparison *out, gk_err *err)
{
    bool ok;
    double error = 0, square = 0;

    *out = (gk_comparison){.arena = gk_arena_new(err)};
    ok = out->arena != NULL && pair_up(a, b, o, out, err);
    sums *s = ok ? gk_arena_alloc(out->arena, out->n, sizeof *s, err) : NULL;
    ok = s != NULL;
#pragma omp parallel for schedule(dynamic, 1) num_threads(o->threads)
    for (uint64_t i = 0; i < out->n; i++) {
        gk_err own = {0};
        side x = {.c = a}, y = {.c = b};
        gk_tensor_error *row = &out->row[i];
        if (ok && !(row->comparable ? compare_one(&x, &y, row, &s[i], o, &own)
                                          && (!is_finer(row) || compare_bytes(&x, &y, row, &own))
                    : row->bytes    ? compare_bytes(&x, &y, row, &own)
                                    : true)) {
#pragma omp critical(gk_compare_failure)
            {
                if (err->code == GK_OK)
                    *err = own;
                ok = false;
            }
        }
    }
    for (uint64_t i = 0; ok && i < out->n; i++) {
        error += s[i].error;
        square += s[i].square_a;
        out->derived += out->row[i].derived;
        out->only_a += out->row[i].b == NULL && !out->row[i].derived;
        out->only_b += out->row[i].a == NULL && !out->row[i].derived;
        if (out->row[i].a != NULL && out->row[i].b != NULL) {
            out->equal += out->row[i].equal;
            out->different += !out->row[i].equal;
            out->apart += !out->row[i].equal && !out->row[i].comparable;
        }
    }
    out->rel_error = square > 0 ? error / square : 0;
    return ok;
}

void gk_comparison_free(gk_comparison *c)
{
    gk_arena_free(c->arena);
    *c = (gk_comparison){0};
}
