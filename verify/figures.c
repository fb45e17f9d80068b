/* verify/figures.c - moments, extremes, exponents and wide columns of what passes by. */
#include "verify/figures.h"

#include <math.h>
#include <string.h>

#include "formats/checked.h"
#include "quant/blocks.h"
#include "quant/layout.h"

#define CHUNK        1024 /* values that are f32 at once: whole blocks, and runs of the kernels */
#define SAMPLE_ROWS  256
#define MOST_STRIDE  32
#define MOST_COLUMNS (UINT64_C(1) << 20) /* of wider ones none is looked at alone */
#define FEW_ROWS     32                  /* too few to tell a column from another  */
#define TABLES       4 /* of counts, so that equal exponents in a row wait for no store */

typedef struct gk_sketching {
    gk_extremes extremes; /* of all values */
    uint64_t n, nonfinite;
    gk_powers powers; /* of the sample, as all below */
    uint64_t sampled, sampled_rows;
    uint32_t count[TABLES][256];
    float *square; /* [columns of the run], or NULL */
} sketching;

typedef struct wide_column {
    uint64_t column;
    double square; /* sum over the sampled rows */
} wide_column;

typedef struct gk_sketched {
    gk_extremes extremes;
    uint64_t n, nonfinite;
    gk_powers powers;
    uint64_t sampled, sampled_rows;
    double square; /* of all sampled rows and columns */
    int first, n_counts, n_wide;
    wide_column wide[GK_CHANNELS]; /* n_wide of them, then the counts */
} sketched;

bool gk_can_sketch(gk_dtype dtype)
{
    return dtype == GK_BF16 || dtype == GK_F16 || dtype == GK_F32 || gk_blocks_of(dtype) != NULL;
}

static uint64_t stride_of(uint64_t rows)
{
    return gk_min(gk_max(rows / SAMPLE_ROWS, 1), MOST_STRIDE);
}

static double total(const double sum[4]) { return (sum[0] + sum[1]) + (sum[2] + sum[3]); }

/* ---- adding --------------------------------------------------------------------------- */

/* n values, at most CHUNK. */
static void to_floats(gk_dtype dtype, const unsigned char *in, uint64_t n, float *out)
{
    const gk_blocks *blocks = gk_blocks_of(dtype);

    if (blocks != NULL)
        blocks->decode(in, n, out);
    else
        gk_floats(dtype, in, n, out);
}

static uint64_t drop_nonfinite(float *w, uint64_t n)
{
    uint64_t dropped = 0;

    for (uint64_t i = 0; i < n; i++)
        if (!isfinite(w[i])) {
            w[i] = 0;
            dropped++;
        }
    return dropped;
}

static void add_powers(gk_powers *to, const gk_powers *from)
{
    for (int i = 0; i < 4; i++) {
        to->sum[i] += from->sum[i];
        to->square[i] += from->square[i];
        to->cube[i] += from->cube[i];
        to->fourth[i] += from->fourth[i];
    }
}

static void add_extremes(gk_extremes *to, const gk_extremes *from)
{
    to->zero += from->zero;
    to->small += from->small;
    to->most = from->most > to->most ? from->most : to->most;
}

/* A vector's in double: gains lie far from zero and close together. */
static void exact_powers(const float *w, uint64_t n, gk_powers *p)
{
    for (uint64_t i = 0; i < n; i++) {
        const double x = (double)w[i];
        p->sum[0] += x;
        p->square[0] += x * x;
        p->cube[0] += x * x * x;
        p->fourth[0] += x * x * x * x;
    }
}

static float smallest_normal(gk_dtype dtype)
{
    /* what a block holds is no number of its own that could be subnormal */
    return dtype == GK_F16 ? 0x1p-14f : gk_dtype_is_block(dtype) ? 0 : 0x1p-126f;
}

/* Of all values of a tile; clean: leaves out what is no number. Returns how many those are. */
static uint64_t tile_extremes(const gk_sketch_of *of, const gk_sight *tile, bool clean,
                              gk_extremes *e)
{
    const gk_kernels *k = gk_kernels_get();
    const uint64_t n = tile->n_rows * tile->n_cols;
    const float normal = smallest_normal(of->dtype);
    uint64_t dropped = 0;
    float w[CHUNK];

    if (of->dtype == GK_BF16 && !clean) {
        k->extremes_bf16(tile->bytes, n, normal, e);
        return 0;
    }
    for (uint64_t i = 0; i < n; i += CHUNK) {
        const uint64_t m = gk_min(CHUNK, n - i);
        to_floats(of->dtype, tile->bytes + gk_row_bytes(of->dtype, i), m, w);
        dropped += clean ? drop_nonfinite(w, m) : 0;
        k->extremes_f32(w, m, normal, e);
    }
    e->zero -= dropped;
    return dropped;
}

static void count_exponents(const float *w, uint64_t n, bool is_f16, uint32_t (*count)[256])
{
    for (uint64_t i = 0; i < n; i++) {
        const uint32_t e = gk_load_u32(&w[i]) >> 23 & 0xFF;
        count[i % TABLES][is_f16 && e < 127 - 14 ? 0 : e]++;
    }
}

/* The sampled rows of a tile. */
static void sample(sketching *s, const gk_sketch_of *of, const gk_sight *tile)
{
    const uint64_t stride = stride_of(of->part_rows), left = tile->col - of->run.col;
    const uint64_t width = gk_row_bytes(of->dtype, tile->n_cols);
    const gk_kernels *k = gk_kernels_get();
    float w[CHUNK];

    for (uint64_t r = (stride - tile->row % stride) % stride; r < tile->n_rows; r += stride) {
        s->sampled_rows += left == 0;
        for (uint64_t c = 0; c < tile->n_cols; c += CHUNK) {
            const uint64_t m = gk_min(CHUNK, tile->n_cols - c);
            to_floats(of->dtype, tile->bytes + r * width + gk_row_bytes(of->dtype, c), m, w);
            count_exponents(w, m, of->dtype == GK_F16, s->count);
            s->sampled += m - (s->nonfinite > 0 ? drop_nonfinite(w, m) : 0);
            if (of->part_rows == 1)
                exact_powers(w, m, &s->powers);
            else
                k->powers(w, m, &s->powers);
            if (s->square != NULL)
                k->add_squares(w, m, s->square + left + c);
        }
    }
}

static bool open_sketch(gk_sketch *s, const gk_sketch_of *of, gk_err *err)
{
    const uint64_t cols = of->run.n_cols;
    const bool columns = of->part_rows >= FEW_ROWS && cols > 1 && cols <= MOST_COLUMNS;
    sketching *open = gk_alloc(1, sizeof *open + (columns ? cols * sizeof(float) : 0), err);

    if (open == NULL)
        return false;
    memset(open, 0, sizeof *open);
    if (columns) {
        open->square = (float *)(void *)(open + 1);
        memset(open->square, 0, cols * sizeof(float));
    }
    s->open = open;
    return true;
}

/* ---- the end of a run -------------------------------------------------------------------- */

/* Keeps the widest columns, if they are wide at all. */
static void keep_wide(sketched *to, uint64_t column, double square)
{
    int i = to->n_wide;

    if (i == GK_CHANNELS && !(square > to->wide[i - 1].square))
        return;
    if (i < GK_CHANNELS)
        to->n_wide++;
    else
        i--;
    for (; i > 0 && square > to->wide[i - 1].square; i--)
        to->wide[i] = to->wide[i - 1];
    to->wide[i] = (wide_column){column, square};
}

static void find_wide(sketched *to, const sketching *s, const gk_sketch_of *of)
{
    const uint64_t n = of->run.n_cols;

    for (uint64_t i = 0; s->square != NULL && i < n; i++)
        to->square += (double)s->square[i];
    /* half as wide as an outlier is: other runs may have more of the column */
    const double wide = to->square / (double)n * (GK_CHANNEL_TIMES * GK_CHANNEL_TIMES / 4.0);
    for (uint64_t i = 0; s->square != NULL && i < n; i++)
        if ((double)s->square[i] >= wide && s->square[i] > 0)
            keep_wide(to, of->run.col + i, (double)s->square[i]);
}

static uint64_t *counts_of(sketched *s) { return (uint64_t *)(void *)(s->wide + s->n_wide); }

static bool end_sketch(gk_sketch *s, const gk_sketch_of *of, gk_err *err)
{
    sketching *open = s->open;
    uint64_t count[256] = {0};
    sketched all = {.extremes = open->extremes,   .n = open->n,
                    .nonfinite = open->nonfinite, .powers = open->powers,
                    .sampled = open->sampled,     .sampled_rows = open->sampled_rows};
    int last = -1;

    find_wide(&all, open, of);
    for (int e = 0; e < 256; e++) {
        for (int k = 0; k < TABLES; k++)
            count[e] += open->count[k][e];
        if (count[e] > 0 && last < 0)
            all.first = e;
        last = count[e] > 0 ? e : last;
    }
    all.n_counts = last < 0 ? 0 : last - all.first + 1;
    const size_t head = offsetof(sketched, wide) + (size_t)all.n_wide * sizeof all.wide[0];
    const size_t bytes = head + (size_t)all.n_counts * sizeof *count;
    sketched *ended = gk_alloc(gk_max(bytes, sizeof *ended), 1, err);
    if (ended == NULL)
        return false;
    memcpy(ended, &all, head);
    memcpy(counts_of(ended), count + all.first, (size_t)all.n_counts * sizeof *count);
    gk_free(open);
    *s = (gk_sketch){.ended = ended};
    return true;
}

bool gk_sketch_see(gk_sketch *s, const gk_sketch_of *of, const gk_sight *tile, bool *nonfinite,
                   gk_err *err)
{
    gk_extremes e = {.zero = 0};
    const gk_sight *run = &of->run;
    uint64_t dropped = 0;

    if (s->open == NULL && !open_sketch(s, of, err))
        return false;
    sketching *open = s->open;
    tile_extremes(of, tile, false, &e);
    const bool finite = isfinite(e.most);
    if (!finite) {
        e = (gk_extremes){.zero = 0};
        dropped = tile_extremes(of, tile, true, &e);
    }
    /* a block's scale may be none where its codes are zeros */
    *nonfinite = !finite || gk_dtype_is_block(of->dtype);
    add_extremes(&open->extremes, &e);
    open->nonfinite += dropped;
    open->n += tile->n_rows * tile->n_cols - dropped;
    sample(open, of, tile);
    const bool last = tile->row + tile->n_rows == run->row + run->n_rows
                      && tile->col + tile->n_cols == run->col + run->n_cols;
    return !last || end_sketch(s, of, err);
}

void gk_sketch_free(gk_sketch *s)
{
    gk_free(s->open);
    gk_free(s->ended);
    *s = (gk_sketch){.open = NULL};
}

/* ---- all runs of a tensor ------------------------------------------------------------------ */

static void set_moments(const gk_powers *p, double n, gk_figures *out)
{
    const double mean = total(p->sum) / n, square = total(p->square) / n;
    const double cube = total(p->cube) / n, fourth = total(p->fourth) / n;
    const double second = square - mean * mean;

    out->mean = mean;
    /* below that a difference of squares has no digits left */
    out->std = second > 1e-13 * square ? sqrt(second) : 0;
    out->kurtosis = NAN;
    if (out->std > 1e-9 && second > 1e-5 * square)
        out->kurtosis = (fourth - 4 * mean * cube + 6 * mean * mean * square
                         - 3 * mean * mean * mean * mean) / (second * second);
}

static double entropy_of(const uint64_t *count, int n)
{
    double sum = 0, bits = 0;

    for (int i = 0; i < n; i++) {
        sum += (double)count[i];
        bits += count[i] > 0 ? (double)count[i] * log2((double)count[i]) : 0;
    }
    /* one exponent alone is 0, not a rounding below it */
    return sum > 0 ? fmax(log2(sum) - bits / sum, 0) : 0;
}

/* Columns of a tensor that are wide in all its runs together, or in the one that has them. */
static void set_channels(const gk_sketch *const *run, uint64_t n, gk_figures *out)
{
    const double cols = (double)gk_cols(out->tensor);
    sketched all = {.n_wide = 0};
    uint64_t rows = 0;

    for (uint64_t i = 0; i < n; i++) {
        all.square += run[i]->ended->square;
        rows = gk_max(rows, run[i]->ended->sampled_rows);
    }
    for (uint64_t i = 0; i < n; i++)
        for (int k = 0; k < run[i]->ended->n_wide; k++) {
            const uint64_t column = run[i]->ended->wide[k].column;
            double square = 0;
            bool first = true;
            for (uint64_t j = 0; j < n; j++)
                for (int m = 0; m < run[j]->ended->n_wide; m++)
                    if (run[j]->ended->wide[m].column == column) {
                        square += run[j]->ended->wide[m].square;
                        first = first && j >= i;
                    }
            if (first)
                keep_wide(&all, column, square);
        }
    for (int k = 0; k < all.n_wide; k++) {
        const double own = all.wide[k].square, others = all.square - own;
        const double ratio = others > 0 ? sqrt(own * (cols - 1) / others) : 0;
        if (ratio >= GK_CHANNEL_TIMES)
            out->channel[out->n_channels++] = (gk_channel){all.wide[k].column, ratio};
    }
}

bool gk_figures_add_up(gk_arena *a, const gk_tensor *t, const gk_sketch *const *run, uint64_t n,
                       gk_figures *out, gk_err *err)
{
    gk_powers p = {.sum = {0}};
    gk_extremes e = {.zero = 0};
    uint64_t count[256] = {0}, sampled = 0;
    int last = -1;

    *out = (gk_figures){.tensor = t, .kurtosis = NAN};
    for (uint64_t i = 0; i < n; i++) {
        sketched *s = run[i]->ended;
        if (s == NULL)
            return true; /* not all of it was seen */
        add_extremes(&e, &s->extremes);
        add_powers(&p, &s->powers);
        sampled += s->sampled;
        out->n += s->n;
        out->nonfinite += s->nonfinite;
        for (int k = 0; k < s->n_counts; k++)
            count[s->first + k] += counts_of(s)[k];
    }
    if (sampled == 0)
        return true;
    out->zero = e.zero;
    out->denormal = e.small;
    out->absmax = (double)e.most;
    set_moments(&p, (double)sampled, out);
    set_channels(run, n, out);
    for (int i = 0; i < 256; i++) {
        out->first = count[i] > 0 && last < 0 ? i : out->first;
        last = count[i] > 0 ? i : last;
    }
    out->n_counts = last - out->first + 1;
    uint64_t *kept = gk_arena_alloc(a, (uint64_t)out->n_counts, sizeof *kept, err);
    if (kept == NULL)
        return false;
    memcpy(kept, count + out->first, (size_t)out->n_counts * sizeof *kept);
    out->count = kept;
    out->entropy = entropy_of(kept, out->n_counts);
    return true;
}

void gk_figure_table_total(gk_figure_table *t)
{
    double bits = 0;

    for (uint64_t i = 0; i < t->n; i++) {
        const gk_figures *f = &t->row[i];
        const gk_dtype dtype = (gk_dtype)f->tensor->dtype;
        if (f->tensor->scheme != NULL || gk_dtype_is_block(dtype))
            continue;
        const double n = (double)(f->n + f->nonfinite);
        const unsigned exponent = dtype == GK_F16 ? 5 : 8;
        t->floats += f->n + f->nonfinite;
        t->float_bytes += gk_tensor_bytes(f->tensor);
        bits += n * f->entropy;
        t->packed_bytes += n * (f->entropy + gk_dtype_get(dtype)->bits - exponent) / 8;
    }
    t->entropy = t->floats > 0 ? bits / (double)t->floats : 0;
}

void gk_figure_table_free(gk_figure_table *t)
{
    gk_arena_free(t->arena);
    *t = (gk_figure_table){.arena = NULL};
}
