/* quant/solver.c - panels of columns; what a panel says of the others is a product. */
#include "quant/solver.h"

#include <string.h>

#include "formats/checked.h"
#include "quant/blas.h"
#include "quant/kernels.h"

#define ROWS  GK_SOLVE_ROWS
#define PANEL 32
#define MAGIC 12582912.0f /* 1.5 * 2^23: adding it rounds |x| < 2^22 to even */

/* Some rows on their way through a diagonal block. */
typedef struct solving {
    const gk_solve_job *job;
    const float        *w;     /* [n_rows, n]                        */
    int8_t             *codes; /* [n_rows, n]                        */
    uint64_t            row, n_rows, groups, group; /* first of job's; columns of a group */
    uint64_t            col, width;                 /* the block     */
    const float        *u, *h; /* its factor, and what that is of: rows of job->factor->block */
    const uint32_t     *order;
    float              *e;     /* [ROWS, width] errors, in that order    */
    float              *g;     /* [ROWS, width] e H                      */
    float              *more;  /* [ROWS, width]                          */
    float              *part;  /* [width, PANEL] columns of H            */
    float              *sum;   /* [ROWS, PANEL]                          */
} solving;

uint64_t gk_solve_scratch_bytes(uint64_t n_cols)
{
    return ((3 * ROWS + PANEL) * n_cols + ROWS * PANEL) * sizeof(float);
}

/* What the scale says: the nearest code to a value, and what it stands for. */
static float nearest(const solving *s, uint64_t r, uint64_t col, float value, int8_t *code)
{
    const float half = (float)(1 << (s->job->scheme->bits - 1));
    const uint64_t at = (s->row + r) * s->groups + col / s->group;
    const float scale = s->job->scale[at];
    const float zero = s->job->zero == NULL ? 0 : (float)s->job->zero[at];
    float x = value / scale + zero;

    x = x > -half ? x : -half; /* also what is not a number */
    x = x < half - 1 ? x : half - 1;
    x = (x + MAGIC) - MAGIC;
    *code = (int8_t)x;
    return (x - zero) * scale;
}

/* Columns k .. k + n of the block, the last first. */
static void solve_panel(const solving *s, uint64_t k, uint64_t n)
{
    const uint64_t ld = s->job->factor->block, n_cols = s->job->factor->n, after = k + n;
    float sum[PANEL][ROWS] = {{0}}, e[ROWS];

    if (after < s->width) {
        gk_blas_product((int)s->n_rows, (int)n, (int)(s->width - after), s->e + after,
                        (int)s->width, s->u + k * ld + after, (int)ld, s->sum, (int)n);
        for (uint64_t r = 0; r < s->n_rows; r++)
            for (uint64_t i = 0; i < n; i++)
                sum[i][r] = s->sum[r * n + i];
    }
    for (uint64_t i = n; i-- > 0;) {
        const uint64_t col = s->col + s->order[k + i];
        const float pivot = s->u[(k + i) * ld + k + i];
        for (uint64_t r = 0; r < s->n_rows; r++) {
            const uint64_t at = (s->row + r) * n_cols + col;
            const float w = s->w[at];
            e[r] = w - nearest(s, r, col, w + sum[i][r] / pivot, &s->codes[at]);
            s->e[r * s->width + k + i] = e[r];
        }
        for (uint64_t before = 0; before < i; before++) {
            const float u = s->u[(k + before) * ld + k + i];
            for (uint64_t r = 0; r < s->n_rows; r++)
                sum[before][r] += e[r] * u;
        }
    }
}

/* ---- sweeps ------------------------------------------------------------------ */

/* g += d H, where d [ROWS, PANEL] is how the errors of n columns (at places at[]) changed. */
static void spread(const solving *s, const float *d, const uint64_t *at, uint64_t n)
{
    const uint64_t ld = s->job->factor->block;

    for (uint64_t j = 0; j < s->width; j++)
        for (uint64_t i = 0; i < n; i++)
            s->part[j * n + i] = s->h[j * ld + at[i]];
    gk_blas_product((int)s->n_rows, (int)s->width, (int)n, d, PANEL, s->part, (int)n, s->more,
                    (int)s->width);
    for (uint64_t i = 0; i < s->n_rows * s->width; i++)
        s->g[i] += s->more[i];
}

static float as_stored(const solving *s, float x)
{
    const gk_kernels *k = gk_kernels_get();
    const bool half = s->job->scheme->scales == GK_F16;
    uint16_t bits = 0;

    (half ? k->f32_to_f16 : k->f32_to_bf16)(&x, 1, &bits);
    (half ? k->f16_to_f32 : k->bf16_to_f32)(&bits, 1, &x);
    return x;
}

/* The level of a code: what the scale is multiplied with. */
static float level(const solving *s, uint64_t r, uint64_t place)
{
    const uint64_t col = s->col + s->order[place];
    const uint64_t at = (s->row + r) * s->groups + col / s->group;
    const int8_t code = s->codes[(s->row + r) * s->job->factor->n + col];

    return (float)code - (s->job->zero == NULL ? 0 : (float)s->job->zero[at]);
}

/* Returns the scale that a group should have, its own or a better one; places at[] are its
 * columns. Along it the error is a parabola: slope q g, bend q H q. */
static float better_scale(const solving *s, uint64_t r, uint64_t g, const uint64_t *at, uint64_t n)
{
    const float scale = s->job->scale[(s->row + r) * s->groups + g];
    double slope = 0, bend = 0;

    for (uint64_t i = 0; i < n; i++)
        s->sum[i] = level(s, r, at[i]);
    for (uint64_t i = 0; i < n; i++) {
        const float *h = s->h + at[i] * s->job->factor->block;
        float sum = 0;
        for (uint64_t j = 0; j < n; j++)
            sum += s->sum[j] * h[at[j]];
        bend += (double)s->sum[i] * (double)sum;
        slope += (double)s->sum[i] * (double)s->g[r * s->width + at[i]];
    }
    const float next = as_stored(s, scale + (float)(slope / bend));
    const double d = (double)next - (double)scale;
    /* false for what is no number */
    return bend > 0 && next != 0 && d * d * bend < 2 * d * slope ? next : scale;
}

/* Groups of more columns than a panel has room for keep their scales. */
static void refit(const solving *s, uint64_t g)
{
    uint64_t at[ROWS * PANEL], n = 0;
    float d[ROWS * PANEL];
    bool moved[ROWS], any = false;

    for (uint64_t p = 0; p < s->width; p++)
        if ((s->col + s->order[p]) / s->group == g) {
            if (n == ROWS * PANEL)
                return;
            at[n++] = p;
        }
    if (n < gk_min(s->group, s->job->factor->n - g * s->group))
        return; /* other blocks have columns of it */
    for (uint64_t r = 0; r < s->n_rows; r++) {
        float *scale = &s->job->scale[(s->row + r) * s->groups + g];
        const float next = better_scale(s, r, g, at, n);
        moved[r] = next != *scale;
        any |= moved[r];
        *scale = next;
    }
    for (uint64_t first = 0; any && first < n; first += PANEL) {
        const uint64_t m = gk_min(PANEL, n - first);
        for (uint64_t r = 0; r < s->n_rows; r++)
            for (uint64_t i = 0; i < m; i++) {
                const uint64_t place = at[first + i];
                const uint64_t col = s->col + s->order[place];
                const uint64_t scale = (s->row + r) * s->groups + g;
                float *e = &s->e[r * s->width + place];
                const float w = s->w[(s->row + r) * s->job->factor->n + col];
                const float now = w - level(s, r, place) * s->job->scale[scale];
                d[r * PANEL + i] = moved[r] ? now - *e : 0;
                *e = moved[r] ? now : *e;
            }
        spread(s, d, at + first, m);
    }
}

/* Each code of n columns beside each other becomes the best one, while all others stay. */
static void descend(const solving *s, uint64_t k, uint64_t n)
{
    const uint64_t ld = s->job->factor->block, n_cols = s->job->factor->n;
    float d[ROWS * PANEL] = {0}, near[PANEL];
    uint64_t at[PANEL];

    for (uint64_t i = 0; i < n; i++)
        at[i] = k + i;
    for (uint64_t r = 0; r < s->n_rows; r++) {
        memcpy(near, s->g + r * s->width + k, n * sizeof near[0]);
        for (uint64_t i = n; i-- > 0;) {
            const uint64_t col = s->col + s->order[k + i], place = (s->row + r) * n_cols + col;
            const float *h = s->h + (k + i) * ld + k, w = s->w[place];
            float *e = &s->e[r * s->width + k + i];
            const float now = w - nearest(s, r, col, w - *e + near[i] / h[i], &s->codes[place]);
            const float by = now - *e;
            d[r * PANEL + i] = by;
            *e = now;
            for (uint64_t j = 0; by != 0 && j < n; j++)
                near[j] += by * h[j];
        }
    }
    spread(s, d, at, n);
}

static void sweep(const solving *s)
{
    gk_blas_product((int)s->n_rows, (int)s->width, (int)s->width, s->e, (int)s->width, s->h,
                    (int)s->job->factor->block, s->g, (int)s->width);
    for (uint64_t g = s->col / s->group; g * s->group < s->col + s->width; g++)
        refit(s, g);
    for (uint64_t end = s->width; end > 0;) {
        const uint64_t n = (end - 1) % PANEL + 1;
        descend(s, end - n, n);
        end -= n;
    }
}

void gk_solve_target(const gk_hessian *h, const float *w, uint64_t n_rows, float *out)
{
    for (uint64_t row = 0; row < n_rows; row += ROWS)
        for (uint64_t col = 0; col < h->n; col += h->block) {
            const uint64_t width = gk_min(h->block, h->n - col), at = row * h->n + col;
            gk_blas_product((int)gk_min(ROWS, n_rows - row), (int)width, (int)width, w + at,
                            (int)h->n, h->drift + col * h->block, (int)h->block, out + at,
                            (int)h->n);
        }
    for (uint64_t i = 0; i < n_rows * h->n; i++)
        out[i] = w[i] + GK_SOLVE_SHARE * out[i];
}

void gk_solve(const gk_solve_job *job, const float *w, int8_t *codes, void *scratch)
{
    const gk_hessian *h = job->factor;
    solving s = {.job = job, .w = w, .codes = codes, .e = scratch};

    s.g = s.e + ROWS * h->n;
    s.more = s.g + ROWS * h->n;
    s.part = s.more + ROWS * h->n;
    s.sum = s.part + PANEL * h->n;
    s.groups = gk_scheme_groups(job->scheme, h->n);
    s.group = job->scheme->group == 0 ? h->n : job->scheme->group;
    for (s.row = 0; s.row < job->n_rows; s.row += ROWS) {
        s.n_rows = gk_min(ROWS, job->n_rows - s.row);
        for (s.col = 0; s.col < h->n; s.col += h->block) {
            s.width = gk_min(h->block, h->n - s.col);
            s.u = h->h + s.col * h->block;
            s.h = h->damped + s.col * h->block;
            s.order = h->order + s.col;
            for (uint64_t end = s.width; end > 0;) {
                const uint64_t n = (end - 1) % PANEL + 1;
                solve_panel(&s, end - n, n);
                end -= n;
            }
            for (int i = 0; i < job->sweeps; i++)
                sweep(&s);
        }
    }
}
