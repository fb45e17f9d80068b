/* quant/codec_group.c - choosing scales. The loops over weights are in kernels. */
#include "quant/codec_group.h"

#include <math.h>
#include <string.h>

#include "quant/kernels.h"
#include "quant/scale_costs.h"

static const char *const method_names[] = {"rtn", "search", "gptq"};

bool gk_method_find(const char *name, gk_method *out, gk_err *err)
{
    for (int i = 0; i < 3; i++)
        if (strcmp(name, method_names[i]) == 0) {
            *out = (gk_method)i;
            return true;
        }
    return gk_fail(err, GK_ERR_ARG, GK_NO_OFF, "unknown method '%.40s'; known: rtn search gptq",
                   name);
}

const char *gk_method_name(gk_method method)
{
    return method_names[method];
}

/* ---- one group ------------------------------------------------------------- */

#define MOST_TRIES 32

typedef struct group {
    const gk_kernels *k;
    const float      *w, *m; /* weights, their importance or NULL */
    uint64_t          n;
    int               bits;
    gk_dtype          stored; /* type of the scales               */
    float             lo, hi; /* extremes, lo <= 0 <= hi          */
    gk_try            best;   /* so far; of the stored type       */
    double            least;  /* its error                        */
} group;

/* Rounds n scales to the type they are stored in. Zero becomes its epsilon (as
 * compressed-tensors has it), and what a scale cannot hold the largest that it can. */
static void round_scales(const group *g, float *x, uint64_t n)
{
    const bool half = g->stored == GK_F16;
    const uint16_t infinity = half ? 0x7C00 : 0x7F80;
    uint16_t bits[MOST_TRIES];

    (half ? g->k->f32_to_f16 : g->k->f32_to_bf16)(x, n, bits);
    for (uint64_t i = 0; i < n; i++)
        if ((bits[i] & infinity) == infinity)
            bits[i] = (uint16_t)((bits[i] & 0x8000) | (infinity - 1));
    (half ? g->k->f16_to_f32 : g->k->bf16_to_f32)(bits, n, x);
    for (uint64_t i = 0; i < n; i++)
        x[i] = x[i] == 0 ? (half ? 0.0009765625f : 0.0078125f) : x[i];
}

static float as_stored(const group *g, float x)
{
    round_scales(g, &x, 1);
    return x;
}

static gk_grid grid_of(int bits, float zero)
{
    const float half = (float)(1 << (bits - 1));

    return (gk_grid){.lo = -half, .hi = half - 1, .zero = zero};
}

static float steps(const group *g)
{
    return (float)((1 << g->bits) - 1);
}

/* The zero point that a scale asks for when the smallest value is lo. */
static float zero_for(const group *g, float lo, float scale)
{
    const float half = (float)(1 << (g->bits - 1));
    float z = -half - lo / scale;

    z = z < -half ? -half : z;
    z = z > half - 1 ? half - 1 : z;
    return rintf(z);
}

static gk_try choose_rtn(const group *g, bool symmetric)
{
    const float most = -g->lo > g->hi ? -g->lo : g->hi;

    if (symmetric)
        return (gk_try){as_stored(g, most / (steps(g) / 2)), 0};
    const float scale = as_stored(g, (g->hi - g->lo) / steps(g));
    return (gk_try){scale, zero_for(g, g->lo, scale)};
}

/* Takes the best of n tries (n at most MOST_TRIES) when it is strictly better than what was
 * found before: the first of equals stays. */
static void try_all(group *g, gk_try *try, int n)
{
    const gk_grid grid = grid_of(g->bits, 0);
    double e[MOST_TRIES];

    for (int i = n; i % GK_TRIES != 0; i++)
        try[i] = try[n - 1];
    for (int i = 0; i < n; i += GK_TRIES)
        g->k->errors(g->w, g->m, g->n, &grid, try + i, e + i);
    for (int i = 0; i < n; i++)
        if (e[i] < g->least) {
            g->least = e[i];
            g->best = try[i];
        }
}

/* The least-squares scale for the codes that a scale gives, as it is stored. With the same codes
 * it is never worse: the error is a parabola around it, and no other that can be stored is
 * nearer; the codes that it gives itself are better still. */
static float fitted(const group *g, gk_try from)
{
    const gk_grid grid = grid_of(g->bits, from.zero);
    double wq, qq;

    g->k->fit(g->w, g->m, g->n, from.scale, &grid, &wq, &qq);
    return qq > 0 ? (float)(wq / qq) : from.scale;
}

static void refit(group *g)
{
    for (int i = 0; i < 2; i++)
        g->best.scale = as_stored(g, fitted(g, g->best));
}

static float extreme(const group *g)
{
    return -g->lo > g->hi ? g->lo : g->hi;
}

/* Tries extreme / d for each of n divisors, beside what is the best so far. */
static void try_divisors(group *g, const float *d, int n)
{
    float x[MOST_TRIES];
    gk_try try[MOST_TRIES] = {g->best};

    for (int i = 0; i < n; i++)
        x[i] = extreme(g) / d[i];
    round_scales(g, x, (uint64_t)n);
    for (int i = 0; i < n; i++)
        try[1 + i] = (gk_try){x[i], 0};
    try_all(g, try, 1 + n);
}

/* With 8 bits clipping never pays, and one scale fits better than another by chance: the best
 * three beside rtn's of all that were tried on normal, Laplace and Grok's weights. */
static void search_8(group *g)
{
    static const float d[] = {-128, 126, 125};

    try_divisors(g, d, 3);
}

/* The extreme value may land on either end of the code range (-8 or 7; the scale takes the
 * sign that this needs), and clipping it pays when that makes the steps finer. First on a coarse
 * grid, then around what was best: that is as good as every scale there is, and with importance
 * better than a coarse grid and least squares (KLD 0.62 of rtn's on grok2-tiny, that 0.65). */
static void search_4(group *g)
{
    enum { COARSE = 15, FINE = 7 };
    float d[MOST_TRIES];
    int n = 0;

    for (int i = 0; i < COARSE; i++) {
        d[n++] = 5.8f + 0.4f * (float)i;
        d[n++] = -(5.8f + 0.4f * (float)i);
    }
    try_divisors(g, d, n);
    const float best = extreme(g) / g->best.scale;
    n = 0;
    for (int i = 1; i <= FINE; i++) {
        d[n++] = best + 0.05f * (float)i;
        d[n++] = best - 0.05f * (float)i;
    }
    try_divisors(g, d, n);
}

/* The same from a table of what weights cost, which knows no importance: returns the scale
 * before it is rounded. */
static float search_costs(group *g)
{
    const float most = extreme(g);
    const int rtn = most < 0;
    uint32_t cost[GK_COST_SCALES];

    if (fabsf(most) < 1e-30f) { /* the table is for what has a reciprocal */
        search_4(g);
        return g->best.scale;
    }
    const int k = g->k->costs(g->w, g->n, GK_COST_STEPS / most, gk_scale_costs(), cost);
    const float d = gk_cost_divisor[k];
    if (cost[k] <= cost[rtn] - cost[rtn] / 32)
        return most / d;
    try_divisors(g, &d, 1); /* too near to tell */
    return g->best.scale;
}

static void search_asymmetric(group *g)
{
    enum { STEPS = 10 };
    float shrink[STEPS], x[STEPS];
    gk_try try[MOST_TRIES] = {g->best};
    int n = 1;

    for (int i = 0; i < STEPS; i++) {
        shrink[i] = 1.03f - 0.03f * (float)i;
        x[i] = (g->hi - g->lo) * shrink[i] / steps(g);
    }
    round_scales(g, x, STEPS);
    for (int i = 0; i < STEPS; i++) {
        const float z = zero_for(g, g->lo * shrink[i], x[i]);
        const gk_grid grid = grid_of(g->bits, z);
        for (int dz = -1; dz <= 1; dz++)
            if (z + (float)dz >= grid.lo && z + (float)dz <= grid.hi)
                try[n++] = (gk_try){x[i], z + (float)dz};
    }
    try_all(g, try, n);
}

static void search(group *g, bool symmetric)
{
    if (!symmetric) {
        search_asymmetric(g);
        refit(g);
    } else if (g->bits == 8) {
        search_8(g);
    } else {
        search_4(g);
    }
}

static bool is_empty(const group *g)
{
    return g->lo == 0 && g->hi == 0;
}

/* ---- rows ------------------------------------------------------------------ */

#define BATCH MOST_TRIES /* groups whose scales are rounded together */

/* Some groups of a row, side by side; all but the last of the row are as wide. */
typedef struct batch {
    uint64_t    n, width, n_cols; /* groups; columns of one, and of all */
    const void *bf16;             /* their weights, or NULL             */
    float      *w;                /* or here; or room for n_cols        */
    const float *importance;
    float      *scale;
    int8_t     *code, *zero;
    gk_error_sums *sums;
} batch;

static uint64_t width_of(const batch *b, uint64_t i)
{
    const uint64_t left = b->n_cols - i * b->width;

    return left < b->width ? left : b->width;
}

/* rtn of bf16, symmetric: scales need nothing but the largest magnitudes. */
static void encode_plainly(const gk_group_job *job, group *g, const batch *b)
{
    /* the peak is 7.5 (or 127.5) steps, give or take what rounding the scale made of it */
    const gk_grid grid = {.lo = -INFINITY, .hi = grid_of(g->bits, 0).hi};
    uint16_t peak[BATCH];

    (void)job;
    g->k->peaks_bf16(b->bf16, b->width, b->n_cols, peak);
    g->k->bf16_to_f32(peak, b->n, b->scale);
    for (uint64_t i = 0; i < b->n; i++)
        b->scale[i] /= steps(g) / 2;
    round_scales(g, b->scale, b->n);
    for (uint64_t i = 0; i < b->n; i++)
        g->k->encode_bf16((const uint16_t *)b->bf16 + i * b->width, width_of(b, i), b->scale[i],
                          &grid, b->code + i * b->width, b->sums);
}

/* Makes group i the one at hand; rtn's choice is the best so far. */
static void take(const gk_group_job *job, group *g, const batch *b, uint64_t i)
{
    g->w = b->w + i * b->width;
    g->m = b->importance == NULL ? NULL : b->importance + i * b->width;
    g->n = width_of(b, i);
    g->k->range(g->w, g->n, &g->lo, &g->hi);
    g->best = choose_rtn(g, job->scheme->symmetric);
    g->least = INFINITY;
}

static void encode_floats(const gk_group_job *job, group *g, const batch *b)
{
    const bool by_costs = job->method != GK_METHOD_RTN && job->scheme->symmetric
                          && g->bits == 4 && job->importance == NULL;
    float zero[BATCH] = {0};

    if (b->bf16 != NULL)
        g->k->bf16_to_f32(b->bf16, b->n_cols, b->w);
    for (uint64_t i = 0; i < b->n; i++) {
        take(job, g, b, i);
        if (by_costs && !is_empty(g))
            g->best.scale = search_costs(g);
        else if (job->method != GK_METHOD_RTN && !is_empty(g))
            search(g, job->scheme->symmetric);
        b->scale[i] = g->best.scale;
        zero[i] = g->best.zero;
    }
    if (by_costs) {
        round_scales(g, b->scale, b->n);
        for (uint64_t i = 0; i < b->n; i++) {
            g->w = b->w + i * b->width;
            g->n = width_of(b, i);
            b->scale[i] = fitted(g, (gk_try){b->scale[i], 0});
        }
        round_scales(g, b->scale, b->n);
    }
    for (uint64_t i = 0; i < b->n; i++) {
        const gk_grid grid = grid_of(g->bits, zero[i]);
        g->k->encode_f32(b->w + i * b->width, width_of(b, i), b->scale[i], &grid,
                         b->code + i * b->width, b->sums);
        if (b->zero != NULL)
            b->zero[i] = (int8_t)zero[i];
    }
}

/* The sums of a row whose squares are too large or too small for f32. */
static void measure_exactly(const gk_group_job *job, const void *w, const int8_t *code,
                            const float *scale, const int8_t *zero, double sums[2])
{
    const uint64_t width = job->scheme->group == 0 ? job->n_cols : job->scheme->group;
    const gk_kernels *k = gk_kernels_get();
    double error, square;
    float a, v;

    sums[0] = sums[1] = 0;
    for (uint64_t i = 0; i < job->n_cols; i++) {
        if (job->bf16 == NULL)
            a = ((const float *)w)[i];
        else
            k->bf16_to_f32((const uint16_t *)w + i, 1, &a);
        k->decode(code + i, 1, zero == NULL ? 0 : (float)zero[i / width], scale[i / width], &v);
        k->row_error(&a, &v, 1, &error, &square);
        sums[0] += error;
        sums[1] += square;
    }
}

uint64_t gk_group_room_bytes(uint64_t n_rows, uint64_t n_cols)
{
    return gk_solve_scratch_bytes(n_cols) + (n_rows + 1) * n_cols * sizeof(float);
}

/* What codes should be near: the weights, or others behind the first row of the room. */
static float *target_of(const gk_group_job *job, float *w)
{
    if (job->factor == NULL || job->factor->drift == NULL)
        return w;
    float *target = (float *)job->room + job->n_cols;
    gk_solve_target(job->factor, w, job->n_rows, target);
    return target;
}

/* Codes that know of each other, for scales that were chosen. */
static void solve(const gk_group_job *job, const float *w, const float *target, int8_t *codes,
                  float *scales, const int8_t *zeros, double (*sums)[2])
{
    const uint64_t n = job->n_cols, n_groups = gk_scheme_groups(job->scheme, n);
    const gk_solve_job solve = {.factor = job->factor,
                                .scheme = job->scheme,
                                .n_rows = job->n_rows,
                                .scale = scales,
                                .zero = zeros,
                                .sweeps = GK_SOLVE_SWEEPS};
    float *v = job->room;

    gk_solve(&solve, target, codes, v + (job->n_rows + 1) * n);
    for (uint64_t r = 0; sums != NULL && r < job->n_rows; r++) {
        gk_group_decode(job->scheme, codes + r * n, scales + r * n_groups,
                        zeros == NULL ? NULL : zeros + r * n_groups, 1, n, v);
        gk_kernels_get()->row_error(w + r * n, v, n, &sums[r][0], &sums[r][1]);
    }
}

void gk_group_encode(const gk_group_job *job, float *w, int8_t *codes, float *scales,
                     int8_t *zeros, double (*sums)[2])
{
    const gk_scheme *s = job->scheme;
    const uint64_t n_cols = job->n_cols, n_groups = gk_scheme_groups(s, n_cols);
    const uint64_t width = s->group == 0 ? n_cols : s->group;
    const bool plainly = job->bf16 != NULL && s->symmetric && job->method == GK_METHOD_RTN;
    group g = {.k = gk_kernels_get(), .bits = s->bits, .stored = s->scales};
    float *target = target_of(job, w);

    for (uint64_t r = 0; r < job->n_rows; r++) {
        gk_error_sums lanes = {{0}, {0}};
        for (uint64_t i = 0; i < n_groups; i += BATCH) {
            const uint64_t n = n_groups - i < BATCH ? n_groups - i : BATCH;
            const uint64_t col = i * width, at = r * n_cols + col;
            const batch b = {
                .n = n,
                .width = width,
                .n_cols = n_cols - col < n * width ? n_cols - col : n * width,
                .bf16 = job->bf16 == NULL ? NULL : (const uint16_t *)job->bf16 + at,
                .w = job->bf16 == NULL ? target + at : w,
                .importance = job->importance == NULL ? NULL : job->importance + col,
                .scale = scales + r * n_groups + i,
                .code = codes + at,
                .zero = zeros == NULL ? NULL : zeros + r * n_groups + i,
                .sums = &lanes};
            (plainly ? encode_plainly : encode_floats)(job, &g, &b);
        }
        if (sums != NULL && !gk_error_sums_total(&lanes, n_cols, &sums[r][0], &sums[r][1]))
            measure_exactly(job,
                            job->bf16 == NULL ? (const void *)(w + r * n_cols)
                                              : (const uint16_t *)job->bf16 + r * n_cols,
                            codes + r * n_cols, scales + r * n_groups,
                            zeros == NULL ? NULL : zeros + r * n_groups, sums[r]);
    }
    if (job->factor != NULL)
        solve(job, w, target, codes, scales, zeros, sums);
}

void gk_group_decode(const gk_scheme *s, const int8_t *codes, const float *scales,
                     const int8_t *zeros, uint64_t n_rows, uint64_t n_cols, float *out)
{
    const gk_kernels *k = gk_kernels_get();
    const uint64_t n_groups = gk_scheme_groups(s, n_cols);
    const uint64_t width = s->group == 0 ? n_cols : s->group;

    for (uint64_t r = 0; r < n_rows; r++)
        for (uint64_t i = 0; i < n_groups; i++) {
            const uint64_t at = r * n_groups + i, col = i * width;
            const uint64_t n = n_cols - col < width ? n_cols - col : width;
            k->decode(codes + r * n_cols + col, n, zeros == NULL ? 0 : (float)zeros[at], scales[at],
                      out + r * n_cols + col);
        }
}
