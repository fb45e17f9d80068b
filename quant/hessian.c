/* quant/hessian.c - blocks of products; read quant/hessian.h first. */
#include "quant/hessian.h"

#include <math.h>
#include <omp.h>
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

uint64_t gk_hessian_bytes(uint64_t n, uint64_t block, bool paired)
{
    const uint64_t width = block == 0 ? n : gk_min(block, n);

    return gk_div_up(n, width) * width * width * (paired ? 3 : 2) * sizeof(float)
           + n * (sizeof(double) + 4);
}

gk_hessian *gk_hessian_new(uint64_t n, uint64_t block, bool paired, gk_err *err)
{
    gk_hessian *h = gk_alloc(1, sizeof *h, err);

    if (h == NULL)
        return NULL;
    *h = (gk_hessian){.n = n, .block = block == 0 ? n : gk_min(block, n)};
    h->h = gk_alloc(n_blocks(h) * h->block, h->block * sizeof(float), err);
    h->drift = paired ? gk_alloc(n_blocks(h) * h->block, h->block * sizeof(float), err) : NULL;
    h->diagonal = gk_alloc(n, sizeof(double), err);
    h->order = gk_alloc(n, sizeof *h->order, err);
    if (h->h == NULL || (paired && h->drift == NULL) || h->diagonal == NULL || h->order == NULL) {
        gk_hessian_free(h);
        return NULL;
    }
    memset(h->h, 0, n_blocks(h) * h->block * h->block * sizeof(float));
    if (paired)
        memset(h->drift, 0, n_blocks(h) * h->block * h->block * sizeof(float));
    memset(h->diagonal, 0, n * sizeof(double));
    return h;
}

void gk_hessian_free(gk_hessian *h)
{
    if (h == NULL)
        return;
    gk_free(h->h);
    gk_free(h->damped);
    gk_free(h->drift);
    gk_free(h->away);
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

static bool make_room(gk_hessian *h, uint64_t n_rows, gk_err *err)
{
    if (h->turned_cap >= n_rows)
        return true;
    gk_free(h->turned);
    gk_free(h->away);
    h->turned_cap = 0;
    h->turned = gk_alloc(n_rows * h->n, sizeof(float), err);
    h->away = h->drift == NULL ? NULL : gk_alloc(n_rows * h->n, sizeof(float), err);
    if (h->turned == NULL || (h->drift != NULL && h->away == NULL))
        return false;
    h->turned_cap = n_rows;
    return true;
}

bool gk_hessian_add(gk_hessian *h, const float *x, uint64_t n_rows, int threads, gk_err *err)
{
    if (n_rows == 0)
        return true;
    if (!make_room(h, n_rows, err))
        return false;
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

/* h [width, width] += A B^T, A and B [width, k]. */
static void add_product(float *h, uint64_t width, const float *a, const float *b, uint64_t k,
                        uint64_t stride, int threads)
{
    const uint64_t n_tiles = gk_div_up(width, TILE);

#pragma omp parallel for schedule(dynamic, 1) num_threads(threads)
    for (uint64_t t = 0; t < n_tiles * n_tiles; t++) {
        static _Thread_local float sum[TILE * TILE];
        const uint64_t i = t / n_tiles * TILE, j = t % n_tiles * TILE;
        const uint64_t rows = gk_min(TILE, width - i), cols = gk_min(TILE, width - j);
        gk_blas_product((int)rows, (int)cols, (int)k, a + i * k, (int)k, b + j * k, (int)k, sum,
                        (int)cols);
        for (uint64_t r = 0; r < rows; r++)
            for (uint64_t c = 0; c < cols; c++)
                h[(i + r) * stride + j + c] += sum[r * cols + c];
    }
}

bool gk_hessian_add_pair(gk_hessian *h, const float *x, const float *other, uint64_t n_rows,
                         int threads, gk_err *err)
{
    if (!gk_hessian_add(h, x, n_rows, threads, err))
        return false;
#pragma omp parallel for schedule(static) num_threads(threads)
    for (uint64_t i = 0; i < h->n; i++)
        for (uint64_t t = 0; t < n_rows; t++)
            h->away[i * n_rows + t] = other[t * h->n + i] - x[t * h->n + i];
    for (uint64_t b = 0; n_rows > 0 && b < n_blocks(h); b++)
        add_product(h->drift + b * h->block * h->block, width_of(h, b),
                    h->away + b * h->block * n_rows, h->turned + b * h->block * n_rows, n_rows,
                    h->block, threads);
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

/* ---- what the drift asks for ------------------------------------------------- */

/* y becomes the y' of y' U = y; y [n, width], n at most PANEL. */
static void divide_by_u(const float *u, uint64_t width, uint64_t ld, float *y, uint64_t n,
                        float *part)
{
    float sum[PANEL * PANEL];

    for (uint64_t k = 0; k < width; k += PANEL) {
        const uint64_t m = gk_min(PANEL, width - k);
        for (uint64_t i = 0; i < m; i++)
            for (uint64_t j = 0; j < k; j++)
                part[i * k + j] = u[j * ld + k + i];
        if (k > 0)
            gk_blas_product((int)n, (int)m, (int)k, y, (int)width, part, (int)k, sum, (int)m);
        for (uint64_t r = 0; r < n; r++)
            for (uint64_t i = 0; i < m; i++) {
                double left = (double)y[r * width + k + i];
                left -= k > 0 ? (double)sum[r * m + i] : 0;
                for (uint64_t j = 0; j < i; j++)
                    left -= (double)y[r * width + k + j] * (double)u[(k + j) * ld + k + i];
                y[r * width + k + i] = (float)(left / (double)u[(k + i) * ld + k + i]);
            }
    }
}

/* The same of y' U^T = y, the last columns first. */
static void divide_by_turned_u(const float *u, uint64_t width, uint64_t ld, float *y, uint64_t n)
{
    float sum[PANEL * PANEL];

    for (uint64_t after = width; after > 0;) {
        const uint64_t m = (after - 1) % PANEL + 1, k = after - m;
        if (after < width)
            gk_blas_product((int)n, (int)m, (int)(width - after), y + after, (int)width,
                            u + k * ld + after, (int)ld, sum, (int)m);
        for (uint64_t r = 0; r < n; r++)
            for (uint64_t i = m; i-- > 0;) {
                double left = (double)y[r * width + k + i];
                left -= after < width ? (double)sum[r * m + i] : 0;
                for (uint64_t j = i + 1; j < m; j++)
                    left -= (double)y[r * width + k + j] * (double)u[(k + i) * ld + k + j];
                y[r * width + k + i] = (float)(left / (double)u[(k + i) * ld + k + i]);
            }
        after = k;
    }
}

static void turn(float *m, uint64_t width, uint64_t ld)
{
    for (uint64_t i = 0; i < width; i++)
        for (uint64_t j = 0; j < i; j++) {
            const float x = m[i * ld + j];
            m[i * ld + j] = m[j * ld + i];
            m[j * ld + i] = x;
        }
}

/* The drift of block b times the inverse, in its own place. */
static bool make_up(gk_hessian *h, uint64_t b, int threads, gk_err *err)
{
    const uint64_t width = width_of(h, b), ld = h->block, each = 2 * PANEL * width;
    const uint32_t *order = h->order + b * ld;
    float *drift = h->drift + b * ld * ld;
    float *room = gk_alloc((uint64_t)threads * each, sizeof *room, err);

    if (room == NULL)
        return false;
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads)
    for (uint64_t row = 0; row < width; row += PANEL) {
        const uint64_t n = gk_min(PANEL, width - row);
        float *y = room + (uint64_t)omp_get_thread_num() * each;
        for (uint64_t r = 0; r < n; r++)
            for (uint64_t i = 0; i < width; i++)
                y[r * width + i] = drift[(row + r) * ld + order[i]];
        divide_by_u(block_of(h, b), width, ld, y, n, y + PANEL * width);
        divide_by_turned_u(block_of(h, b), width, ld, y, n);
        for (uint64_t r = 0; r < n; r++)
            for (uint64_t i = 0; i < width; i++)
                drift[(row + r) * ld + order[i]] = y[r * width + i];
    }
    turn(drift, width, ld);
    gk_free(room);
    return true;
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
        if (h->drift != NULL && d > 0)
            ok = make_up(h, b, threads, err);
        else if (h->drift != NULL)
            memset(h->drift + b * h->block * h->block, 0, h->block * h->block * sizeof(float));
    }
    h->is_factored = ok;
    h->damping = used;
    gk_free(turned);
    return ok;
}
