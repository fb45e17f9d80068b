/* quant/hessian.c - blocks of products; read quant/hessian.h first. */
#include "quant/hessian.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "formats/arena.h"
#include "formats/checked.h"
#include "quant/blas.h"

#define TILE  256 /* columns of a product's block: results depend on it */
#define PANEL 64  /* columns factored at once                           */

static uint64_t n_blocks(const gk_hessian *h) { return gk_div_up(h->n, h->block); }

static uint64_t width_of(const gk_hessian *h, uint64_t b)
{
    return gk_min(h->block, h->n - b * h->block);
}

static float *block_of(const gk_hessian *h, uint64_t b) { return h->h + b * h->block * h->block; }

uint64_t gk_hessian_bytes(uint64_t n, uint64_t block)
{
    const uint64_t width = block == 0 ? n : gk_min(block, n);

    return gk_div_up(n, width) * width * width * 2 * sizeof(float) + n * (sizeof(double) + 4);
}

gk_hessian *gk_hessian_new(uint64_t n, uint64_t block, gk_err *err)
{
    gk_hessian *h = gk_alloc(1, sizeof *h, err);

    if (h == NULL)
        return NULL;
    *h = (gk_hessian){.n = n, .block = block == 0 ? n : gk_min(block, n)};
    h->h = gk_alloc(n_blocks(h) * h->block, h->block * sizeof(float), err);
    h->diagonal = gk_alloc(n, sizeof(double), err);
    h->order = gk_alloc(n, sizeof *h->order, err);
    if (h->h == NULL || h->diagonal == NULL || h->order == NULL) {
        gk_hessian_free(h);
        return NULL;
    }
    memset(h->h, 0, n_blocks(h) * h->block * h->block * sizeof(float));
    memset(h->diagonal, 0, n * sizeof(double));
    return h;
}

void gk_hessian_free(gk_hessian *h)
{
    if (h == NULL)
        return;
    gk_free(h->h);
    gk_free(h->damped);
    gk_free(h->diagonal);
    gk_free(h->order);
    gk_free(h->turned);
    gk_free(h);
}

/* ---- adding ------------------------------------------------------------------ */

/* Tile t of the upper triangle of n_tiles x n_tiles. */
static void place_of(uint64_t t, uint64_t n_tiles, uint64_t *row, uint64_t *col)
{
    *row = 0;
    while (t >= n_tiles - *row) {
        t -= n_tiles - *row;
        ++*row;
    }
    *col = *row + t;
}

/* h [width, width] += sign * A A^T on and above the diagonal, A [width, k] of rows lda apart. */
static void add_square(float *h, uint64_t width, const float *a, uint64_t k, uint64_t lda,
                       float sign, uint64_t stride, int threads)
{
    const uint64_t n_tiles = gk_div_up(width, TILE), n = n_tiles * (n_tiles + 1) / 2;

#pragma omp parallel for schedule(dynamic, 1) num_threads(threads)
    for (uint64_t t = 0; t < n; t++) {
        static _Thread_local float sum[TILE * TILE];
        uint64_t i, j;
        place_of(t, n_tiles, &i, &j);
        const uint64_t rows = gk_min(TILE, width - i * TILE), cols = gk_min(TILE, width - j * TILE);
        gk_blas_product((int)rows, (int)cols, (int)k, a + i * TILE * lda, (int)lda,
                        a + j * TILE * lda, (int)lda, sum, (int)cols);
        for (uint64_t r = 0; r < rows; r++) {
            float *to = h + (i * TILE + r) * stride + j * TILE;
            for (uint64_t c = 0; c < cols; c++)
                to[c] += sign * sum[r * cols + c];
        }
    }
}

bool gk_hessian_add(gk_hessian *h, const float *x, uint64_t n_rows, int threads, gk_err *err)
{
    if (n_rows == 0)
        return true;
    if (h->turned_cap < n_rows) {
        gk_free(h->turned);
        h->turned_cap = 0;
        h->turned = gk_alloc(n_rows * h->n, sizeof(float), err);
        if (h->turned == NULL)
            return false;
        h->turned_cap = n_rows;
    }
#pragma omp parallel for schedule(static) num_threads(threads)
    for (uint64_t i = 0; i < h->n; i++) {
        double sum = 0;
        for (uint64_t t = 0; t < n_rows; t++) {
            const float a = x[t * h->n + i];
            h->turned[i * n_rows + t] = a;
            sum += (double)a * (double)a;
        }
        h->diagonal[i] += sum;
    }
    for (uint64_t b = 0; b < n_blocks(h); b++)
        add_square(block_of(h, b), width_of(h, b), h->turned + b * h->block * n_rows, n_rows,
                   n_rows, 1, h->block, threads);
    h->n_inputs += n_rows;
    return true;
}

/* ---- the factor -------------------------------------------------------------- */

typedef struct rank {
    double   sum;
    uint32_t column;
} rank;

static int by_sum(const void *a, const void *b)
{
    const rank *x = a, *y = b;

    if (x->sum != y->sum)
        return x->sum < y->sum ? -1 : 1;
    return x->column < y->column ? 1 : -1; /* the first of equals goes last */
}

static bool set_order(gk_hessian *h, uint64_t b, gk_err *err)
{
    const uint64_t width = width_of(h, b);
    rank *r = gk_alloc(width, sizeof *r, err);

    if (r == NULL)
        return false;
    for (uint64_t i = 0; i < width; i++)
        r[i] = (rank){h->diagonal[b * h->block + i], (uint32_t)i};
    qsort(r, (size_t)width, sizeof *r, by_sum);
    for (uint64_t i = 0; i < width; i++)
        h->order[b * h->block + i] = r[i].column;
    gk_free(r);
    return true;
}

/* damped = a block in its order, whole. */
static void arrange(const gk_hessian *h, uint64_t b, int threads)
{
    const uint64_t width = width_of(h, b);
    const uint32_t *order = h->order + b * h->block;
    const float *from = block_of(h, b);
    float *to = h->damped + b * h->block * h->block;

#pragma omp parallel for schedule(dynamic, 16) num_threads(threads)
    for (uint64_t i = 0; i < width; i++)
        for (uint64_t j = 0; j < width; j++) {
            const uint64_t p = gk_min(order[i], order[j]), q = gk_max(order[i], order[j]);
            to[i * h->block + j] = from[p * h->block + q];
        }
}

/* U of the PANEL columns from k on, in place; rows of m are ld apart. */
static bool factor_corner(float *m, uint64_t ld, uint64_t k, uint64_t n)
{
    for (uint64_t i = k; i < k + n; i++) {
        double pivot = (double)m[i * ld + i];
        for (uint64_t s = k; s < i; s++)
            pivot -= (double)m[s * ld + i] * (double)m[s * ld + i];
        if (!(pivot > 0) || isinf(pivot))
            return false;
        const double root = sqrt(pivot);
        m[i * ld + i] = (float)root;
        for (uint64_t j = i + 1; j < k + n; j++) {
            double sum = (double)m[i * ld + j];
            for (uint64_t s = k; s < i; s++)
                sum -= (double)m[s * ld + i] * (double)m[s * ld + j];
            m[i * ld + j] = (float)(sum / root);
        }
    }
    return true;
}

/* The rows of U beside that corner, and turned [.., n]: their columns as rows. */
static void factor_beside(float *m, uint64_t width, uint64_t ld, uint64_t k, uint64_t n,
                          float *turned, int threads)
{
    const uint64_t from = k + n;

#pragma omp parallel for schedule(static) num_threads(threads)
    for (uint64_t j = from; j < width; j++) {
        float *column = turned + (j - from) * n;
        for (uint64_t i = 0; i < n; i++) {
            double sum = (double)m[(k + i) * ld + j];
            for (uint64_t s = 0; s < i; s++)
                sum -= (double)m[(k + s) * ld + k + i] * (double)column[s];
            column[i] = (float)(sum / (double)m[(k + i) * ld + k + i]);
            m[(k + i) * ld + j] = column[i];
        }
    }
}

static bool factor_block(float *m, uint64_t width, uint64_t ld, float *turned, int threads)
{
    for (uint64_t k = 0; k < width; k += PANEL) {
        const uint64_t n = gk_min(PANEL, width - k), from = k + n;
        if (!factor_corner(m, ld, k, n))
            return false;
        factor_beside(m, width, ld, k, n, turned, threads);
        add_square(m + from * ld + from, width - from, turned, n, n, -1, ld, threads);
    }
    return true;
}

/* Factors block b, which lies in damped; returns the damping that it took, 0 for a block without
 * inputs, or -1. */
static double damp(gk_hessian *h, uint64_t b, double damping, float *turned, int threads)
{
    const uint64_t width = width_of(h, b), ld = h->block;
    float *whole = h->damped + b * ld * ld, *factor = block_of(h, b);
    double mean = 0;

    for (uint64_t i = 0; i < width; i++)
        mean += h->diagonal[b * ld + i] / (double)width;
    for (double d = damping; mean != 0 && d <= 10; d *= 10) {
        for (uint64_t i = 0; i < width; i++) {
            memcpy(factor + i * ld, whole + i * ld, width * sizeof *factor);
            factor[i * ld + i] += (float)(d * mean);
        }
        if (!factor_block(factor, width, ld, turned, threads))
            continue;
        for (uint64_t i = 0; i < width; i++)
            whole[i * ld + i] += (float)(d * mean);
        return d;
    }
    for (uint64_t i = 0; i < width; i++)
        for (uint64_t j = 0; j < width; j++)
            whole[i * ld + j] = factor[i * ld + j] = i == j;
    return mean == 0 ? 0 : -1;
}

bool gk_hessian_factor(gk_hessian *h, double damping, int threads, gk_err *err)
{
    if (h->is_factored)
        return true;
    h->damped = gk_alloc(n_blocks(h) * h->block, h->block * sizeof(float), err);
    float *turned = h->damped == NULL ? NULL : gk_alloc(h->block * PANEL, sizeof *turned, err);
    double used = 0;
    bool ok = turned != NULL;

    for (uint64_t b = 0; ok && b < n_blocks(h); b++) {
        ok = set_order(h, b, err);
        if (!ok)
            break;
        arrange(h, b, threads);
        const double d = damp(h, b, damping, turned, threads);
        used = d < 0 || used < 0 ? -1 : d > used ? d : used;
    }
    h->is_factored = ok;
    h->damping = used;
    gk_free(turned);
    return ok;
}
