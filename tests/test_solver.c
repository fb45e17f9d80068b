/* tests/test_solver.c - Hessians, factors, and codes against GPTQ as its authors wrote it. */
#include <math.h>
#include <stdlib.h>

#include "tests/test.h"

#include "formats/arena.h"
#include "quant/blas.h"
#include "quant/codec_group.h"
#include "quant/kernels.h"

enum { N = 192, TOKENS = 400, ROWS = 70 };

static float x[TOKENS * N], w[ROWS * N], scales[ROWS * N];
static int8_t codes[ROWS * N];
static double h[N][N]; /* damped */

static float noise(uint32_t *seed)
{
    float sum = 0;

    for (int i = 0; i < 4; i++) {
        *seed = *seed * 1664525u + 1013904223u;
        sum += (float)(int32_t)*seed / 2147483648.0f;
    }
    return sum;
}

/* Inputs that know of each other and differ in size: what GPTQ lives on. */
static void fill(void)
{
    uint32_t seed = 5;

    for (int t = 0; t < TOKENS; t++) {
        float common[8];
        for (int k = 0; k < 8; k++)
            common[k] = noise(&seed);
        for (int i = 0; i < N; i++)
            x[t * N + i] = (noise(&seed) + 2 * common[i % 8] + common[i * 5 % 7])
                           * (i % 11 == 0 ? 6.0f : 0.3f + (float)(i % 5));
    }
    for (int i = 0; i < ROWS * N; i++)
        w[i] = 0.02f * noise(&seed);
}

/* H + damping * mean of its diagonal, the plain way. */
static double fill_h(double damping)
{
    double mean = 0;

    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++) {
            h[i][j] = 0;
            for (int t = 0; t < TOKENS; t++)
                h[i][j] += (double)x[t * N + i] * (double)x[t * N + j];
        }
    for (int i = 0; i < N; i++)
        mean += h[i][i] / N;
    for (int i = 0; i < N; i++)
        h[i][i] += damping * mean;
    return mean;
}

static gk_hessian *hessian(uint64_t block, int threads)
{
    gk_err err = {0};
    gk_hessian *r = gk_hessian_new(N, block, false, &err);

    assert_non_null(r);
    for (int t = 0; t < TOKENS; t += 150)
        assert_ok(gk_hessian_add(r, x + t * N, (uint64_t)(TOKENS - t < 150 ? TOKENS - t : 150),
                                 threads, &err),
                  err);
    assert_int_equal(r->n_inputs, TOKENS);
    return r;
}

static void the_factor_s_square_is_the_damped_sum(void **state)
{
    gk_err err = {0};
    gk_hessian *f = hessian(0, 2);

    (void)state;
    const double mean = fill_h(0.01);
    assert_ok(gk_hessian_factor(f, 0.01, 2, &err), err);
    assert_true(f->damping == 0.01);
    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++) {
            double sum = 0;
            for (int k = 0; k <= i && k <= j; k++)
                sum += (double)f->h[k * N + i] * (double)f->h[k * N + j];
            assert_true(fabs(sum - h[f->order[i]][f->order[j]]) < 2e-5 * mean);
        }
    for (int i = 1; i < N; i++)
        assert_true(f->diagonal[f->order[i - 1]] <= f->diagonal[f->order[i]]);
    gk_hessian_free(f);
}

/* Inputs that drifted: what is kept times the damped sum is the drift again. */
static void the_drift_is_made_up_for_by_least_squares(void **state)
{
    enum { BLOCK = 120 };
    gk_err err = {0};
    static float other[TOKENS * N], target[ROWS * N];
    gk_hessian *f = gk_hessian_new(N, BLOCK, true, &err);
    uint32_t seed = 9;
    double mean[2] = {0}, most = 0;

    (void)state;
    for (int i = 0; i < TOKENS * N; i++)
        other[i] = x[i] + 0.5f * noise(&seed) + (i > 0 ? 0.1f * x[i - 1] : 0);
    for (int t = 0; t < TOKENS; t += 200)
        assert_ok(gk_hessian_add_pair(f, x + t * N, other + t * N, 200, 2, &err), err);
    assert_ok(gk_hessian_factor(f, 0.05, 3, &err), err);
    fill_h(0);
    for (int i = 0; i < N; i++)
        mean[i / BLOCK] += h[i][i] / (i < BLOCK ? BLOCK : N - BLOCK);
    for (int i = 0; i < N; i++)
        h[i][i] += 0.05 * mean[i / BLOCK];
    for (int i = 0; i < N; i++)
        for (int j = i / BLOCK * BLOCK; j < N && j / BLOCK == i / BLOCK; j++) {
            const int first = i / BLOCK * BLOCK, end = first + BLOCK < N ? first + BLOCK : N;
            double sum = 0, drift = 0;
            for (int k = first; k < end; k++) /* transposed: column i of a block is row i */
                sum += (double)f->drift[k * BLOCK + i - first] * h[k][j];
            for (int t = 0; t < TOKENS; t++)
                drift += ((double)other[t * N + i] - (double)x[t * N + i]) * (double)x[t * N + j];
            assert_true(fabs(sum - drift) < 1e-4 * mean[0]);
            most = fabs(drift) > most ? fabs(drift) : most;
        }
    assert_true(most > 0.01 * mean[0]); /* there was something to find */
    gk_solve_target(f, w, ROWS, target);
    for (int i = 0; i < N; i++) {
        double sum = (double)w[i];
        const int first = i / BLOCK * BLOCK, end = first + BLOCK < N ? first + BLOCK : N;
        for (int k = first; k < end; k++)
            sum += 0.5 * (double)w[k] * (double)f->drift[i * BLOCK + k - first];
        assert_true(fabs(sum - (double)target[i]) < 1e-6);
    }
    gk_hessian_free(f);
}

/* In blocks it is that of each block alone. */
static void blocks_are_factored_alone(void **state)
{
    gk_err err = {0};
    gk_hessian *f = hessian(80, 1);

    (void)state;
    fill_h(0);
    assert_ok(gk_hessian_factor(f, 0.5, 1, &err), err);
    for (int b = 0; b < N; b += 80) {
        const int width = N - b < 80 ? N - b : 80;
        double mean = 0;
        for (int i = 0; i < width; i++)
            mean += h[b + i][b + i] / width;
        const float *u = f->h + b * 80;
        const uint32_t *order = f->order + b;
        for (int i = 0; i < width; i++)
            for (int j = 0; j < width; j++) {
                double sum = i == j ? -0.5 * mean : 0;
                for (int k = 0; k <= i && k <= j; k++)
                    sum += (double)u[k * 80 + i] * (double)u[k * 80 + j];
                assert_true(fabs(sum - h[b + (int)order[i]][b + (int)order[j]]) < 2e-5 * mean);
            }
    }
    gk_hessian_free(f);
}

/* Inverts h in place, with no thought of speed. */
static void invert(double a[N][N])
{
    static double b[N][2 * N];

    for (int i = 0; i < N; i++)
        for (int j = 0; j < 2 * N; j++)
            b[i][j] = j < N ? a[i][j] : j - N == i;
    for (int k = 0; k < N; k++) {
        const double pivot = b[k][k];
        for (int j = 0; j < 2 * N; j++)
            b[k][j] /= pivot;
        for (int i = 0; i < N; i++) {
            const double by = b[i][k];
            for (int j = 0; i != k && j < 2 * N; j++)
                b[i][j] -= by * b[k][j];
        }
    }
    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++)
            a[i][j] = b[i][N + j];
}

/* One row by the update of the paper: each error is spread by the inverse of what is left. */
static void textbook(const uint32_t *order, const float *row, const float *scale, int group,
                     int8_t *code)
{
    static double inverse[N][N], v[N];
    bool done[N] = {false};

    memcpy(inverse, h, sizeof h);
    invert(inverse);
    for (int i = 0; i < N; i++)
        v[i] = (double)row[i];
    for (int p = N - 1; p >= 0; p--) {
        const int k = (int)order[p];
        double q = rint(v[k] / (double)scale[k / group]);
        q = q < -8 ? -8 : q > 7 ? 7 : q;
        code[k] = (int8_t)q;
        const double e = (v[k] - q * (double)scale[k / group]) / inverse[k][k];
        done[k] = true;
        for (int j = 0; j < N; j++)
            if (!done[j])
                v[j] -= e * inverse[k][j];
        for (int i = 0; i < N; i++) /* the inverse without column k */
            for (int j = 0; i != k && j < N; j++)
                if (j != k)
                    inverse[i][j] -= inverse[i][k] * inverse[k][j] / inverse[k][k];
    }
}

static double cost_of(const float *row, const int8_t *code, const float *scale, int group)
{
    double e[N], sum = 0;

    for (int i = 0; i < N; i++)
        e[i] = (double)row[i] - (double)code[i] * (double)scale[i / group];
    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++)
            sum += e[i] * h[i][j] * e[j];
    return sum;
}

/* Codes by search's scales, solved with so many sweeps; scales [ROWS, 3] may be refined. */
static void solve(const gk_hessian *f, int sweeps)
{
    gk_scheme s = gk_scheme_int(4, 64, true);
    gk_err err = {0};
    static float copy[ROWS * N];
    void *room = gk_alloc(gk_solve_scratch_bytes(N), 1, &err);

    s.scales = GK_BF16;
    const gk_group_job plain = {.scheme = &s, .n_rows = ROWS, .n_cols = N};
    const gk_solve_job job = {f, &s, ROWS, scales, NULL, sweeps};
    memcpy(copy, w, sizeof w);
    gk_group_encode(&plain, copy, codes, scales, NULL, NULL);
    if (sweeps >= 0)
        gk_solve(&job, w, codes, room);
    gk_free(room);
}

static double cost(void)
{
    double sum = 0;

    for (int r = 0; r < ROWS; r++)
        sum += cost_of(w + r * N, codes + r * N, scales + r * 3, 64);
    return sum;
}

static void codes_are_those_of_the_textbook(void **state)
{
    gk_err err = {0};
    gk_hessian *f = hessian(0, 2);
    static int8_t want[N];
    int differ = 0;

    (void)state;
    fill_h(0.01);
    assert_ok(gk_hessian_factor(f, 0.01, 2, &err), err);
    solve(f, -1);
    const double rounded = cost();
    solve(f, 0);
    for (int r = 0; r < 6; r++) {
        textbook(f->order, w + r * N, scales + r * 3, 64, want);
        for (int i = 0; i < N; i++)
            differ += want[i] != codes[r * N + i];
    }
    /* f32 may round one to the other side, and what follows it */
    assert_true(differ <= 6 * N / 50);
    assert_true(cost() < 0.5 * rounded);
    gk_hessian_free(f);
}

static void every_sweep_lowers_the_error(void **state)
{
    gk_err err = {0};
    gk_hessian *f = hessian(0, 2);

    (void)state;
    fill_h(0.01);
    assert_ok(gk_hessian_factor(f, 0.01, 2, &err), err);
    solve(f, 0);
    const double solved = cost();
    double last = solved;
    for (int sweeps = 1; sweeps <= 4; sweeps++) {
        solve(f, sweeps);
        assert_true(cost() < last);
        last = cost();
        for (int i = 0; i < ROWS * 3; i++) { /* scales are what is stored */
            uint16_t bits;
            float back;
            gk_kernels_get()->f32_to_bf16(&scales[i], 1, &bits);
            gk_kernels_get()->bf16_to_f32(&bits, 1, &back);
            assert_true(back == scales[i]);
        }
    }
    assert_true(last < 0.99 * solved);
    gk_hessian_free(f);
}

/* What encoding reports is what its codes and scales come to. */
static void encoding_reports_what_was_solved(void **state)
{
    static const char *const names[] = {"int4-g64", "int4-channel", "int4-g64-asym", "int8-g64"};
    gk_err err = {0};
    gk_hessian *f = hessian(0, 2);
    static float copy[ROWS * N], v[ROWS * N];
    static int8_t zeros[ROWS * 3];
    void *room = gk_alloc(gk_group_room_bytes(ROWS, N), 1, &err);
    double sums[ROWS][2];

    (void)state;
    assert_ok(gk_hessian_factor(f, 0.01, 2, &err), err);
    for (int k = 0; k < 4; k++) {
        gk_scheme s;
        assert_ok(gk_scheme_parse(names[k], &s, &err), err);
        s.scales = GK_BF16;
        const gk_group_job job = {.scheme = &s, .n_rows = ROWS, .n_cols = N, .factor = f,
                                  .room = room};
        int8_t *zero = s.symmetric ? NULL : zeros;
        memcpy(copy, w, sizeof w);
        gk_group_encode(&job, copy, codes, scales, zero, sums);
        gk_group_decode(&s, codes, scales, zero, ROWS, N, v);
        for (int r = 0; r < ROWS; r++) {
            double error = 0;
            for (int i = r * N; i < (r + 1) * N; i++)
                error += ((double)w[i] - (double)v[i]) * ((double)w[i] - (double)v[i]);
            assert_true(fabs(error - sums[r][0]) <= 1e-6 * error);
        }
    }
    gk_free(room);
    gk_hessian_free(f);
}

static void threads_and_chunks_of_rows_do_not_matter(void **state)
{
    gk_scheme s = gk_scheme_int(8, 0, true);
    gk_err err = {0};
    static int8_t again[ROWS * N];
    static float copy[ROWS * N];
    void *room = gk_alloc(gk_group_room_bytes(ROWS, N), 1, &err);

    (void)state;
    s.scales = GK_BF16;
    for (int threads = 1; threads <= 3; threads++) {
        gk_hessian *f = hessian(0, threads);
        assert_ok(gk_hessian_factor(f, 0.01, threads, &err), err);
        gk_group_job job = {.scheme = &s, .n_rows = ROWS, .n_cols = N, .factor = f, .room = room};
        memcpy(copy, w, sizeof w);
        gk_group_encode(&job, copy, threads == 1 ? codes : again, scales, NULL, NULL);
        if (threads > 1)
            assert_memory_equal(codes, again, sizeof codes);
        job.n_rows = GK_SOLVE_ROWS;
        gk_group_encode(&job, copy, again, scales, NULL, NULL);
        job.n_rows = ROWS - GK_SOLVE_ROWS;
        gk_group_encode(&job, copy + GK_SOLVE_ROWS * N, again + GK_SOLVE_ROWS * N, scales, NULL,
                        NULL);
        assert_memory_equal(codes, again, sizeof codes);
        gk_hessian_free(f);
    }
    gk_free(room);
}

/* Nothing to go by: it is said, and codes stay as they are. */
static void useless_inputs_leave_plain_rounding(void **state)
{
    gk_err err = {0};
    static int8_t plain[ROWS * N];
    static float bad[N];

    (void)state;
    solve(NULL, -1);
    memcpy(plain, codes, sizeof codes);
    for (int k = 0; k < 2; k++) {
        gk_hessian *f = gk_hessian_new(N, 0, false, &err);
        for (int i = 0; i < N; i++)
            bad[i] = k == 0 ? 0 : NAN;
        assert_ok(gk_hessian_add(f, bad, 1, 1, &err), err);
        assert_ok(gk_hessian_factor(f, 0.01, 1, &err), err);
        assert_true(k == 0 ? f->damping == 0 : f->damping < 0);
        solve(f, 0);
        assert_memory_equal(plain, codes, sizeof codes);
        gk_hessian_free(f);
    }
}

static int open_blas(void **state)
{
    gk_err err = {0};

    (void)state;
    fill();
    return gk_blas_open(&err) ? 0 : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_factor_s_square_is_the_damped_sum),
        cmocka_unit_test(the_drift_is_made_up_for_by_least_squares),
        cmocka_unit_test(blocks_are_factored_alone),
        cmocka_unit_test(codes_are_those_of_the_textbook),
        cmocka_unit_test(every_sweep_lowers_the_error),
        cmocka_unit_test(encoding_reports_what_was_solved),
        cmocka_unit_test(threads_and_chunks_of_rows_do_not_matter),
        cmocka_unit_test(useless_inputs_leave_plain_rounding),
    };
    return cmocka_run_group_tests(tests, open_blas, NULL);
}
