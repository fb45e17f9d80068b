/* verify/places.c - the values of one tensor in other places of another.
 *
 * llama.cpp's order of rope (convert_hf_to_gguf.py, permute()): the rows of a head, two halves
 * [2, d / 2], are stored as [d / 2, 2]. */
#include <math.h>
#include <string.h>

#include "formats/checked.h"
#include "quant/model.h"
#include "verify/accidents.h"

#define WINDOW_ELEMS (UINT64_C(1) << 21)
#define ALIGNED      128 /* rows that any layout can be cut at */
#define SPOT         64  /* columns of a spot that is looked at first */
#define SPOT_ROWS    8
#define ALIKE        0.9

/* Some rows of a tensor as f32. */
typedef struct window {
    const gk_catalog *c;
    const gk_tensor *t;
    uint64_t row, n, most; /* rows that are there; at most */
    float *v;
    void *scratch;
} window;

static bool open_window(window *w, const gk_catalog *c, const gk_tensor *t, gk_err *err)
{
    const uint64_t fit = WINDOW_ELEMS / gk_max(gk_cols(t), 1) / ALIGNED * ALIGNED;
    const uint64_t most = gk_min(gk_max(fit, ALIGNED), gk_max(gk_rows(t), 1));

    *w = (window){.c = c, .t = t, .most = most};
    w->v = gk_alloc(most * gk_cols(t), sizeof *w->v, err);
    w->scratch = gk_alloc(gk_decode_scratch_bytes(t, most, gk_cols(t)) + 64, 1, err);
    return w->v != NULL && w->scratch != NULL;
}

static void close_window(window *w)
{
    gk_free(w->v);
    gk_free(w->scratch);
}

/* Moves the window to the rows that begin with `row`, a multiple of w->most or of ALIGNED. */
static bool show(window *w, uint64_t row, gk_err *err)
{
    const uint64_t n = gk_min(w->most, gk_rows(w->t) - row), rect[4] = {row, n, 0, gk_cols(w->t)};

    if (w->n > 0 && w->row == row)
        return true;
    w->n = 0;
    if (!gk_decode(w->c, w->t, rect, w->v, w->scratch, err))
        return false;
    w->row = row;
    w->n = n;
    return true;
}

static bool row_at(window *w, uint64_t row, const float **out, gk_err *err)
{
    if ((w->n == 0 || row < w->row || row >= w->row + w->n)
        && !show(w, row / w->most * w->most, err))
        return false;
    *out = w->v + (row - w->row) * gk_cols(w->t);
    return true;
}

bool gk_place_sample(const gk_catalog *c, const gk_tensor *t, float *out, uint64_t *n, gk_err *err)
{
    const uint64_t rows = gk_rows(t), cols = gk_cols(t);
    const uint64_t n_rows = gk_min(rows, SPOT_ROWS), each = gk_min(cols, GK_SAMPLE / n_rows);
    const uint64_t aligned = gk_min(rows, ALIGNED);
    float *v = gk_alloc(aligned * cols, sizeof *v, err);
    void *scratch = v == NULL
                        ? NULL
                        : gk_alloc(gk_decode_scratch_bytes(t, aligned, cols) + 64, 1, err);
    bool ok = scratch != NULL;

    *n = 0;
    for (uint64_t i = 0; ok && i < n_rows; i++) {
        const uint64_t row = i * rows / n_rows, top = row / ALIGNED * ALIGNED;
        const uint64_t rect[4] = {top, gk_min(ALIGNED, rows - top), 0, cols};
        /* neighbours share what was decoded */
        if (i == 0 || top != (i - 1) * rows / n_rows / ALIGNED * ALIGNED)
            ok = gk_decode(c, t, rect, v, scratch, err);
        if (ok)
            memcpy(out + *n, v + (row - top) * cols, each * sizeof *out);
        *n += each;
    }
    gk_free(scratch);
    gk_free(v);
    return ok;
}

double gk_place_alike(const float *a, const float *b, uint64_t n)
{
    double sum_a = 0, sum_b = 0, dot = 0, aa = 0, bb = 0;

    for (uint64_t i = 0; i < n; i++) {
        sum_a += (double)a[i];
        sum_b += (double)b[i];
    }
    for (uint64_t i = 0; i < n; i++) {
        const double x = (double)a[i] - sum_a / (double)n, y = (double)b[i] - sum_b / (double)n;
        dot += x * y;
        aa += x * x;
        bb += y * y;
    }
    return aa > 0 && bb > 0 ? dot / sqrt(aa * bb) : 0;
}

/* ---- where an element stands ------------------------------------------------------------- */

typedef struct spot {
    uint64_t row, col;
} spot;

static spot rope_row(const gk_place *at, uint64_t rows, uint64_t r, uint64_t c)
{
    const uint64_t d = rows / at->n, head = r / d * d, i = r % d;

    if (at->kind == GK_PLACE_ROPE)
        return (spot){head + i % 2 * (d / 2) + i / 2, c};
    return (spot){head + i % (d / 2) * 2 + i / (d / 2), c};
}

static uint64_t in_block(const gk_place *at, uint64_t all, uint64_t i)
{
    const uint64_t each = all / at->n;

    return at->from[i / each] * each + i % each;
}

/* The place in a [rows, cols] of element (r, c) of a b that has b_cols columns. */
static spot place_of(const gk_place *at, const gk_tensor *a, uint64_t b_cols, spot b)
{
    const uint64_t rows = gk_rows(a), cols = gk_cols(a), r = b.row, c = b.col, n = at->n;
    const uint64_t flat = r * b_cols + c;

    switch (at->kind) {
    case GK_PLACE_SAME: return b;
    case GK_PLACE_TRANSPOSED: return (spot){c, r};
    case GK_PLACE_ROW_BLOCKS: return (spot){in_block(at, rows, r), c};
    case GK_PLACE_COL_BLOCKS: return (spot){r, in_block(at, cols, c)};
    case GK_PLACE_ROPE:
    case GK_PLACE_UNROPE: return rope_row(at, rows, r, c);
    case GK_PLACE_JOINED_ROWS: {
        const uint64_t wide = cols / n, row = flat / wide;
        return (spot){row % rows, row / rows * wide + flat % wide};
    }
    default: {
        const uint64_t col = flat % (n * cols);
        return (spot){col / cols * (rows / n) + flat / (n * cols), col % cols};
    }
    }
}

/* Whether all elements of a row of b stand in one row of a. */
static bool by_row(const gk_place *at)
{
    return at->kind != GK_PLACE_TRANSPOSED && at->kind < GK_PLACE_JOINED_ROWS;
}

static double limit_of(const gk_place_pair *p)
{
    return p->coded ? GK_CODED_ERROR : GK_PLAIN_ERROR;
}

/* Adds the error of what stands in the rows of a and of b that are shown. */
static void add_error(const gk_place *at, const window *a, const window *b, double sum[2])
{
    const uint64_t cols = gk_cols(b->t);

    for (uint64_t r = 0; r < b->n; r++)
        for (uint64_t c = 0; c < cols; c++) {
            const spot s = place_of(at, a->t, cols, (spot){b->row + r, c});
            if (s.row < a->row || s.row >= a->row + a->n) {
                if (by_row(at))
                    break;
                continue;
            }
            const double x = (double)a->v[(s.row - a->row) * gk_cols(a->t) + s.col];
            const double d = x - (double)b->v[r * cols + c];
            sum[0] += d * d;
            sum[1] += x * x;
        }
}

bool gk_place_holds(const gk_place_pair *p, const gk_place *at, bool *holds, gk_err *err)
{
    window a = {.n = 0}, b = {.n = 0};
    double sum[2] = {0, 0};
    bool ok = open_window(&a, p->ca, p->a, err) && open_window(&b, p->cb, p->b, err);

    *holds = ok;
    for (uint64_t i = 0; ok && *holds && i < gk_rows(p->b); i += b.most) {
        ok = show(&b, i, err);
        for (uint64_t k = 0; ok && k < gk_rows(p->a); k += a.most) {
            if (p->stop != NULL && *p->stop)
                ok = gk_fail(err, GK_ERR_INTERRUPTED, GK_NO_OFF, "interrupted");
            ok = ok && show(&a, k, err);
            if (ok)
                add_error(at, &a, &b, sum);
        }
        /* of the first rows already; an infinity is no error that is small */
        *holds = ok && sum[0] <= limit_of(p) * sum[1];
    }
    close_window(&a);
    close_window(&b);
    return ok;
}

/* ---- looking -------------------------------------------------------------------------- */

/* Whether a spot in the middle of b looks like the place in a. */
static bool spot_is_alike(const gk_place *at, window *a, window *b, bool *alike, gk_err *err)
{
    const uint64_t rows = gk_rows(b->t), cols = gk_cols(b->t);
    const uint64_t top = rows / 2 / ALIGNED * ALIGNED, left = cols / 2 / SPOT * SPOT;
    const uint64_t n_rows = gk_min(SPOT_ROWS, rows - top), n_cols = gk_min(SPOT, cols - left);
    float x[SPOT_ROWS * SPOT], y[SPOT_ROWS * SPOT];
    const float *row;
    uint64_t n = 0;

    for (uint64_t r = 0; r < n_rows; r++)
        for (uint64_t c = 0; c < n_cols; c++, n++) {
            const spot s = place_of(at, a->t, cols, (spot){top + r, left + c});
            if (!row_at(b, top + r, &row, err))
                return false;
            y[n] = row[left + c];
            if (!row_at(a, s.row, &row, err))
                return false;
            x[n] = row[s.col];
        }
    *alike = gk_place_alike(x, y, n) > ALIKE;
    return true;
}

/* The block of a that block i of b looks like; is_rows: they are blocks of rows. */
static bool best_block(window *a, window *b, bool is_rows, uint64_t n, uint64_t i, int *best,
                       gk_err *err)
{
    const uint64_t high = gk_rows(a->t) / (is_rows ? n : 1);
    const uint64_t wide = gk_cols(a->t) / (is_rows ? 1 : n), len = gk_min(wide, GK_SAMPLE);
    const uint64_t row = high / 2;
    const float *x, *y;
    double most = ALIKE;

    *best = -1;
    if (len < 16 || !row_at(b, is_rows ? i * high + row : row, &y, err))
        return len < 16;
    y += is_rows ? 0 : i * wide;
    for (uint64_t k = 0; k < n; k++) {
        if (!row_at(a, is_rows ? k * high + row : row, &x, err))
            return false;
        const double like = gk_place_alike(x + (is_rows ? 0 : k * wide), y, len);
        if (like > most) {
            most = like;
            *best = (int)k;
        }
    }
    return true;
}

/* n blocks of b in the order in which they stand in a; false in *found: not all, or in order. */
static bool find_order(window *a, window *b, bool is_rows, uint64_t n, gk_place *out, bool *found,
                       gk_err *err)
{
    uint64_t taken = 0;
    bool moved = false;

    *found = false;
    *out = (gk_place){.kind = is_rows ? GK_PLACE_ROW_BLOCKS : GK_PLACE_COL_BLOCKS, .n = n};
    if ((is_rows ? gk_rows(a->t) : gk_cols(a->t)) % n != 0)
        return true;
    for (uint64_t i = 0; i < n; i++) {
        int best;
        if (!best_block(a, b, is_rows, n, i, &best, err))
            return false;
        if (best < 0 || (taken >> best & 1) != 0)
            return true;
        taken |= UINT64_C(1) << best;
        out->from[i] = (uint8_t)best;
        moved |= (uint64_t)best != i;
    }
    *found = moved;
    return true;
}

static void add_place(gk_place *list, int *len, gk_place_kind kind, uint64_t n)
{
    const gk_place place = {.kind = kind, .n = n};

    list[(*len)++] = place;
}

/* Places without an order of blocks, in `out`; returns how many. */
static int list_places(const gk_place_pair *p, uint64_t heads, gk_place out[32])
{
    const uint64_t rows = gk_rows(p->a), cols = gk_cols(p->a);
    const bool same = gk_rows(p->b) == rows;
    int n = 0;

    if (gk_rows(p->b) == cols && cols > 1 && rows > 1)
        add_place(out, &n, GK_PLACE_TRANSPOSED, 1);
    if (same && heads > 0 && rows % heads == 0 && rows / heads % 2 == 0) {
        add_place(out, &n, GK_PLACE_ROPE, heads);
        add_place(out, &n, GK_PLACE_UNROPE, heads);
    }
    for (uint64_t k = 2; k <= GK_PLACE_BLOCKS; k *= 2) {
        if (cols % k == 0 && (same || gk_rows(p->b) == rows * k))
            add_place(out, &n, GK_PLACE_JOINED_ROWS, k);
        if (rows % k == 0 && (same || gk_rows(p->b) * k == rows))
            add_place(out, &n, GK_PLACE_JOINED_COLS, k);
    }
    return n;
}

bool gk_place_find(const gk_place_pair *p, uint64_t heads, gk_place *out, bool *found, gk_err *err)
{
    window a = {.n = 0}, b = {.n = 0};
    gk_place place[32];
    const int n = list_places(p, heads, place);
    bool ok = open_window(&a, p->ca, p->a, err) && open_window(&b, p->cb, p->b, err), likely;

    *found = false;
    for (int i = 0; ok && !*found && i < n; i++) {
        *out = place[i];
        ok = spot_is_alike(out, &a, &b, &likely, err)
             && (!likely || gk_place_holds(p, out, found, err));
    }
    for (uint64_t k = 2; ok && !*found && gk_rows(p->a) == gk_rows(p->b) && gk_rows(p->a) > 1
                         && k <= GK_PLACE_BLOCKS; k *= 2)
        for (int rows = 1; ok && !*found && rows >= 0; rows--)
            ok = find_order(&a, &b, rows != 0, k, out, &likely, err)
                 && (!likely || gk_place_holds(p, out, found, err));
    close_window(&a);
    close_window(&b);
    return ok;
}
