/* quant/codec_group.c - choosing scales. The loops over weights are in kernels. */
#include "quant/codec_group.h"

#include <math.h>
#include <string.h>

#include "quant/kernels.h"

static const char *const method_names[] = {"rtn", "search"};

bool gk_method_find(const char *name, gk_method *out, gk_err *err)
{
    for (int i = 0; i < 2; i++)
        if (strcmp(name, method_names[i]) == 0) {
            *out = (gk_method)i;
            return true;
        }
    return gk_fail(err, GK_ERR_ARG, GK_NO_OFF, "unknown method '%.40s'; known: rtn search", name);
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
 * found before: the first of equals stays. Returns its index, else -1. */
static int try_all(group *g, gk_try *try, int n)
{
    const gk_grid grid = grid_of(g->bits, 0);
    double e[MOST_TRIES];
    int taken = -1;

    for (int i = n; i % GK_TRIES != 0; i++)
        try[i] = try[n - 1];
    for (int i = 0; i < n; i += GK_TRIES)
        g->k->errors(g->w, g->m, g->n, &grid, try + i, e + i);
    for (int i = 0; i < n; i++)
        if (e[i] < g->least) {
            g->least = e[i];
            g->best = try[i];
            taken = i;
        }
    return taken;
}

/* The least-squares scale for the codes that the best choice gives, twice. */
static void refit(group *g)
{
    const gk_grid grid = grid_of(g->bits, g->best.zero);
    double wq, qq;

    for (int i = 0; i < 2; i++) {
        g->k->fit(g->w, g->m, g->n, g->best.scale, &grid, &wq, &qq);
        if (qq <= 0)
            return;
        const float scale = as_stored(g, (float)(wq / qq));
        if (scale == g->best.scale)
            return;
        const double e = g->k->error(g->w, g->m, g->n, scale, &grid);
        if (!(e < g->least))
            return;
        g->least = e;
        g->best.scale = scale;
    }
}

/* The divisors d of a search: candidates are extreme / d. */
typedef struct span {
    float first, step;
    int   n;
    float fine[GK_TRIES]; /* then around the best of these; 0: not at all */
} span;

/* The extreme value may land on either end of the code range (-8 or 7; the scale takes
 * the sign that this needs), and clipping it pays when that makes the steps finer, so
 * d runs on both sides of both ends. With 8 bits clipping never pays. */
static void search_symmetric(group *g)
{
    static const span four = {6, 0.4f, 11, {-0.2f, 0.2f, -0.1f, 0.1f}};
    static const span eight = {127, 0.5f, 5, {0}};
    const span *s = g->bits == 4 ? &four : &eight;
    const float extreme = -g->lo > g->hi ? g->lo : g->hi;
    float d[MOST_TRIES], x[MOST_TRIES];
    gk_try try[MOST_TRIES];
    const int n = 1 + 2 * s->n;

    d[0] = extreme / g->best.scale;
    x[0] = g->best.scale;
    for (int i = 1; i < n; i++) {
        d[i] = (s->first + s->step * (float)((i - 1) / 2)) * (i % 2 == 1 ? -1.0f : 1.0f);
        x[i] = extreme / d[i];
    }
    round_scales(g, x, (uint64_t)n);
    for (int i = 0; i < n; i++)
        try[i] = (gk_try){x[i], 0};
    const int taken = try_all(g, try, n);
    if (s->fine[0] == 0)
        return;
    for (int i = 0; i < GK_TRIES; i++)
        x[i] = extreme / (d[taken < 0 ? 0 : taken] + s->fine[i]);
    round_scales(g, x, GK_TRIES);
    for (int i = 0; i < GK_TRIES; i++)
        try[i] = (gk_try){x[i], 0};
    try_all(g, try, GK_TRIES);
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

static void choose(group *g, const gk_group_job *job)
{
    g->best = choose_rtn(g, job->scheme->symmetric);
    g->least = INFINITY;
    if (job->method == GK_METHOD_RTN || (g->lo == 0 && g->hi == 0))
        return;
    if (job->scheme->symmetric)
        search_symmetric(g);
    else
        search_asymmetric(g);
    refit(g);
}

/* ---- rows ------------------------------------------------------------------ */

void gk_group_encode(const gk_group_job *job, const float *w, int8_t *codes, float *scales,
                     int8_t *zeros)
{
    const gk_scheme *s = job->scheme;
    const uint64_t n_groups = gk_scheme_groups(s, job->n_cols);
    const uint64_t width = s->group == 0 ? job->n_cols : s->group;
    group g = {.k = gk_kernels_get(), .bits = s->bits, .stored = s->scales};

    for (uint64_t r = 0; r < job->n_rows; r++)
        for (uint64_t i = 0; i < n_groups; i++) {
            const uint64_t col = i * width, at = r * n_groups + i;
            g.w = w + r * job->n_cols + col;
            g.m = job->importance == NULL ? NULL : job->importance + col;
            g.n = job->n_cols - col < width ? job->n_cols - col : width;
            g.k->range(g.w, g.n, &g.lo, &g.hi);
            choose(&g, job);
            const gk_grid grid = grid_of(g.bits, g.best.zero);
            scales[at] = g.best.scale;
            g.k->quantize(g.w, g.n, g.best.scale, &grid, codes + r * job->n_cols + col);
            if (zeros != NULL)
                zeros[at] = (int8_t)g.best.zero;
        }
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
