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

/* Here rather than in a kernel: a call for one number costs more than the number. */
static inline float to_bf16(float x)
{
    uint32_t bits;

    memcpy(&bits, &x, sizeof bits);
    bits = (bits + 0x7FFF + (bits >> 16 & 1)) & UINT32_C(0xFFFF0000);
    if ((bits & 0x7F800000) == 0x7F800000) /* what it cannot hold */
        bits = (bits & 0x80000000) | 0x7F7F0000;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* Rounds n scales to the type they are stored in. Zero becomes its epsilon (as
 * compressed-tensors has it), and what a scale cannot hold the largest that it can. */
static void round_scales(const group *g, float *x, uint64_t n)
{
    const bool half = g->stored == GK_F16;
    uint16_t stored[MOST_TRIES];

    if (half) {
        g->k->f32_to_f16(x, n, stored);
        for (uint64_t i = 0; i < n; i++)
            if ((stored[i] & 0x7C00) == 0x7C00)
                stored[i] = (uint16_t)((stored[i] & 0x8000) | 0x7BFF);
        g->k->f16_to_f32(stored, n, x);
    }
    for (uint64_t i = 0; i < n; i++) {
        x[i] = half ? x[i] : to_bf16(x[i]);
        x[i] = x[i] == 0 ? (half ? 0.0009765625f : 0.0078125f) : x[i];
    }
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

/* ---- searching in fixed point ---------------------------------------------------- */

/* Without importance, tries of symmetric scales are summed over integers: exact in any order,
 * and twice as many at once. A try is a divisor d: the scale max|w| / d, of either sign. The
 * extreme may land on either end of the codes (-8 or 7), and clipping it pays when that makes
 * the steps finer, so d runs on both sides of both ends. */
#define FIXED_MAX   32767.0f /* what max|w| becomes                             */
#define FIXED_LEAST 1e-30f   /* max|w| below it is not searched: `by` would overflow */
#define TINY        1e-9f    /* makes 0 / 0 zero                                */

typedef struct fixed {
    float   by;    /* x = rne(w * by)              */
    float   one;   /* the factor of divisor 1      */
    bool    whole; /* x holds all weights          */
    int     n;     /* tries so far, with the sums: */
    int16_t factor[MOST_TRIES];
    double  dot[MOST_TRIES], square[MOST_TRIES];
    int16_t x[GK_FIXED];
} fixed;

static void open_fixed(const group *g, float most, fixed *f)
{
    f->by = FIXED_MAX / most;
    f->one = (float)(1 << (15 - g->bits)) * ((FIXED_MAX + 1) / FIXED_MAX);
    f->whole = g->n <= GK_FIXED;
    f->n = 0;
    if (f->whole)
        g->k->to_fixed(g->w, g->n, f->by, f->x);
}

static int16_t factor_of(const fixed *f, float divisor)
{
    float x = divisor * f->one;

    x = x > 32767 ? 32767 : x < -32767 ? -32767 : x;
    return (int16_t)(x < 0 ? x - 0.5f : x + 0.5f);
}

/* Sums n more tries, whose factors are set. */
static void sum_tries(const group *g, fixed *f, int n)
{
    double *all_dot = f->dot + f->n, *all_square = f->square + f->n;
    int32_t dot[MOST_TRIES], square[MOST_TRIES];

    for (uint64_t at = 0; at < g->n; at += GK_FIXED) {
        const uint64_t len = g->n - at < GK_FIXED ? g->n - at : GK_FIXED;
        const uint64_t filled = (len + GK_FIXED_STEP - 1) / GK_FIXED_STEP * GK_FIXED_STEP;
        if (!f->whole)
            g->k->to_fixed(g->w + at, len, f->by, f->x);
        g->k->fixed_sums(f->x, filled, g->bits, f->factor + f->n, n, dot, square);
        for (int i = 0; i < n; i++) {
            all_dot[i] = (at == 0 ? 0 : all_dot[i]) + dot[i];
            all_square[i] = (at == 0 ? 0 : all_square[i]) + square[i];
        }
    }
    f->n += n;
}

/* The try whose codes leave the least error with the scale that fits them best: that of the
 * largest dot^2 / square, to 19 bits; the first of equals. No branches: they would be missed. */
static int best_codes(const fixed *f)
{
    uint32_t most = 0;

    for (int i = 0; i < f->n; i++) {
        const float dot = (float)f->dot[i], gain = dot * dot / ((float)f->square[i] + TINY);
        uint32_t key;
        memcpy(&key, &gain, sizeof key);
        key = (key & ~UINT32_C(31)) | (uint32_t)(31 - i);
        most = key > most ? key : most;
    }
    return 31 - (int)(most & 31);
}

/* Takes the one of n stored scales, summed from try `first` on, that leaves the least error,
 * when that is less than the least so far; both without their sum of squares. */
static void take(group *g, const fixed *f, const float *scale, int first, int n)
{
    int taken = -1;

    for (int i = 0; i < n; i++) {
        const double step = (double)scale[i] * (double)f->by;
        const double e = step * (step * f->square[first + i] - 2 * f->dot[first + i]);
        taken = e < g->least ? i : taken;
        g->least = e < g->least ? e : g->least;
    }
    if (taken >= 0)
        g->best.scale = scale[taken];
}

/* The stored scale that is `by` steps from another. */
static float step_scale(const group *g, float scale, int by)
{
    uint32_t bits;

    memcpy(&bits, &scale, sizeof bits);
    bits += (uint32_t)by << (g->stored == GK_F16 ? 13 : 16);
    memcpy(&scale, &bits, sizeof scale);
    return as_stored(g, scale);
}

/* Coarse steps, the codes of each rated with the scale that fits them; four bits, whose tries
 * lie further apart than their errors change, look once more around the best. Then the stored
 * scales next to the one that fits the best codes, each with the codes that it gives. */
static void search_fixed(group *g, float most)
{
    static const float four[] = {-7.9f, -8.4f, 8.4f, -9.1f,  9.1f, -9.8f,
                                 9.8f,  7.1f,  7.9f, -8.75f, 8.75f};
    static const float eight[] = {-127.5f, 127.3f, -127.3f, 128.2f, -128.2f, 126,
                                  -126,    128.8f, -128.8f, 129.6f, -129.6f};
    const bool is_four = g->bits == 4;
    /* in short groups chance weighs more, and in long ones one clipped weight less */
    const bool more = is_four ? g->n < 128 : g->n > 512;
    const int n_coarse = more ? 12 : 8;
    float scale[GK_TRIES];
    fixed f;

    open_fixed(g, most, &f);
    f.factor[0] = factor_of(&f, most / g->best.scale);
    for (int i = 1; i < n_coarse; i++)
        f.factor[i] = factor_of(&f, is_four ? four[i - 1] : eight[i - 1]);
    sum_tries(g, &f, n_coarse);
    take(g, &f, &g->best.scale, 0, 1);
    if (is_four) {
        const int at = f.factor[best_codes(&f)], by = factor_of(&f, 0.35f);
        const int fine[GK_TRIES] = {-by, by, -by / 2, by / 2};
        for (int i = 0; i < GK_TRIES; i++)
            f.factor[f.n + i] = (int16_t)(at + fine[i]);
        sum_tries(g, &f, GK_TRIES);
    }
    const int best = best_codes(&f), first = f.n;
    const float fitted = as_stored(g, (float)(f.dot[best] / (f.square[best] + TINY)) / f.by);
    for (int i = 0; i < GK_TRIES; i++) {
        scale[i] = step_scale(g, fitted, i - 1);
        f.factor[first + i] = factor_of(&f, most / scale[i]);
    }
    sum_tries(g, &f, GK_TRIES);
    take(g, &f, scale, first, GK_TRIES);
}

static void choose(group *g, const gk_group_job *job)
{
    g->best = choose_rtn(g, job->scheme->symmetric);
    g->least = INFINITY;
    if (job->method == GK_METHOD_RTN || (g->lo == 0 && g->hi == 0))
        return;
    const float most = -g->lo > g->hi ? -g->lo : g->hi;
    if (job->scheme->symmetric && g->m == NULL) {
        if (most > FIXED_LEAST)
            search_fixed(g, most);
        return;
    }
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
