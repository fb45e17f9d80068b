/* quant/solver.c - panels of columns; what later panels say of earlier ones is a product. */
#include "quant/solver.h"

#include "formats/checked.h"
#include "quant/blas.h"

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
    const float        *u;     /* its factor, rows of job->factor->block */
    const uint32_t     *order;
    float              *e;     /* [ROWS, width] errors, in that order    */
    float              *sum;   /* [ROWS, PANEL]                          */
} solving;

uint64_t gk_solve_scratch_bytes(uint64_t n_cols)
{
    return (ROWS * n_cols + ROWS * PANEL) * sizeof(float);
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

void gk_solve(const gk_solve_job *job, const float *w, int8_t *codes, void *scratch)
{
    const gk_hessian *h = job->factor;
    solving s = {.job = job, .w = w, .codes = codes, .e = scratch};

    s.sum = s.e + ROWS * h->n;
    s.groups = gk_scheme_groups(job->scheme, h->n);
    s.group = job->scheme->group == 0 ? h->n : job->scheme->group;
    for (s.row = 0; s.row < job->n_rows; s.row += ROWS) {
        s.n_rows = gk_min(ROWS, job->n_rows - s.row);
        for (s.col = 0; s.col < h->n; s.col += h->block) {
            s.width = gk_min(h->block, h->n - s.col);
            s.u = h->h + s.col * h->block;
            s.order = h->order + s.col;
            for (uint64_t end = s.width; end > 0;) {
                const uint64_t n = (end - 1) % PANEL + 1;
                solve_panel(&s, end - n, n);
                end -= n;
            }
        }
    }
}
