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

typedef struct group {
    const gk_kernels *k;
    const float      *w, *m; /* weights, their importance or NULL */
    uint64_t          n;
    int               bits;
    float             lo, hi; /* extremes, lo <= 0 <= hi */
} group;

typedef struct choice {
    float   scale; /* a bf16 value */
    gk_grid grid;
} choice;

/* Zero becomes the epsilon of bf16 (as compressed-tensors has it), and what a scale
 * cannot hold the largest that it can. */
static float as_bf16(const group *g, float x)
{
    uint16_t bits;
    float back;

    g->k->f32_to_bf16(&x, 1, &bits);
    if ((bits & 0x7F80) == 0x7F80)
        bits = (uint16_t)((bits & 0x8000) | 0x7F7F);
    g->k->bf16_to_f32(&bits, 1, &back);
    return back == 0 ? 0.0078125f : back;
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

static choice choose_rtn(const group *g, bool symmetric)
{
    const float most = -g->lo > g->hi ? -g->lo : g->hi;
    choice c;

    if (symmetric) {
        c.scale = as_bf16(g, most / (steps(g) / 2));
        c.grid = grid_of(g->bits, 0);
    } else {
        c.scale = as_bf16(g, (g->hi - g->lo) / steps(g));
        c.grid = grid_of(g->bits, zero_for(g, g->lo, c.scale));
    }
    return c;
}

/* Takes the candidate when it is strictly better: the first of equals stays. */
static bool try_choice(const group *g, choice c, choice *best, double *least)
{
    const double e = g->k->error(g->w, g->m, g->n, c.scale, &c.grid);

    if (!(e < *least))
        return false;
    *least = e;
    *best = c;
    return true;
}

/* The least-squares scale for the codes that the best choice gives, twice. */
static void refit(const group *g, choice *best, double *least)
{
    for (int i = 0; i < 2; i++) {
        double wq, qq;
        const double before = *least;
        g->k->fit(g->w, g->m, g->n, best->scale, &best->grid, &wq, &qq);
        if (qq <= 0)
            return;
        choice c = {as_bf16(g, (float)(wq / qq)), best->grid};
        try_choice(g, c, best, least);
        if (!(*least < before))
            return;
    }
}

/* The divisors d of a search: candidates are extreme / d. */
typedef struct span {
    float first, step;
    int   n;
    float fine[4]; /* then around the best of these; 0 ends */
} span;

/* The extreme value may land on either end of the code range (-8 or 7; the scale takes
 * the sign that this needs), and clipping it pays when that makes the steps finer, so
 * d runs on both sides of both ends. With 8 bits clipping never pays. */
static choice search_symmetric(const group *g)
{
    static const span four = {6, 0.4f, 11, {-0.2f, 0.2f, -0.1f, 0.1f}};
    static const span eight = {127, 0.5f, 5, {0}};
    const span *s = g->bits == 4 ? &four : &eight;
    const float extreme = -g->lo > g->hi ? g->lo : g->hi;
    const gk_grid grid = grid_of(g->bits, 0);
    choice best = choose_rtn(g, true);
    double least = g->k->error(g->w, g->m, g->n, best.scale, &best.grid);
    float found = extreme / best.scale;

    for (int i = 0; i < 2 * s->n; i++) {
        const float d = (s->first + s->step * (float)(i / 2)) * (i % 2 == 0 ? -1.0f : 1.0f);
        if (try_choice(g, (choice){as_bf16(g, extreme / d), grid}, &best, &least))
            found = d;
    }
    for (int i = 0; i < 4 && s->fine[i] != 0; i++)
        try_choice(g, (choice){as_bf16(g, extreme / (found + s->fine[i])), grid}, &best, &least);
    refit(g, &best, &least);
    return best;
}

static choice search_asymmetric(const group *g)
{
    choice best = choose_rtn(g, false);
    double least = g->k->error(g->w, g->m, g->n, best.scale, &best.grid);

    for (int i = 0; i < 10; i++) {
        const float shrink = 1.03f - 0.03f * (float)i;
        const float s = as_bf16(g, (g->hi - g->lo) * shrink / steps(g));
        const float z = zero_for(g, g->lo * shrink, s);
        for (int dz = -1; dz <= 1; dz++) {
            const gk_grid grid = grid_of(g->bits, z + (float)dz);
            if (grid.zero >= grid.lo && grid.zero <= grid.hi)
                try_choice(g, (choice){s, grid}, &best, &least);
        }
    }
    refit(g, &best, &least);
    return best;
}

static choice choose(const group *g, const gk_group_job *job)
{
    if (job->method == GK_METHOD_RTN || (g->lo == 0 && g->hi == 0))
        return choose_rtn(g, job->scheme->symmetric);
    return job->scheme->symmetric ? search_symmetric(g) : search_asymmetric(g);
}

/* ---- rows ------------------------------------------------------------------ */

void gk_group_encode(const gk_group_job *job, const float *w, int8_t *codes, uint16_t *scales,
                     int8_t *zeros)
{
    const gk_scheme *s = job->scheme;
    const uint64_t n_groups = gk_scheme_groups(s, job->n_cols);
    const uint64_t width = s->group == 0 ? job->n_cols : s->group;
    group g = {.k = gk_kernels_get(), .bits = s->bits};

    for (uint64_t r = 0; r < job->n_rows; r++)
        for (uint64_t i = 0; i < n_groups; i++) {
            const uint64_t col = i * width, at = r * n_groups + i;
            g.w = w + r * job->n_cols + col;
            g.m = job->importance == NULL ? NULL : job->importance + col;
            g.n = job->n_cols - col < width ? job->n_cols - col : width;
            g.k->range(g.w, g.n, &g.lo, &g.hi);
            const choice c = choose(&g, job);
            g.k->f32_to_bf16(&c.scale, 1, &scales[at]);
            g.k->quantize(g.w, g.n, c.scale, &c.grid, codes + r * job->n_cols + col);
            if (zeros != NULL)
                zeros[at] = (int8_t)c.grid.zero;
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
