/* tests/test_errors.c - the errors that encoders report, of weights of any size. */
#include <math.h>
#include <stdlib.h>

#include "tests/test.h"

#include "formats/catalog.h"
#include "quant/blocks.h"
#include "quant/codec_blocks.h"
#include "quant/codec_group.h"
#include "quant/kernels.h"

enum { ROWS = 3, COLS = 512, N = ROWS * COLS };

static float w[N], v[N];
static uint16_t bf16[N];
static unsigned char out[4 * N];

/* Weights that bf16 holds, times a power of two. */
static void fill(float by)
{
    uint32_t seed = 7;

    for (int i = 0; i < N; i++) {
        seed = seed * 1664525u + 1013904223u;
        w[i] = (float)((int32_t)seed >> 24) * by;
    }
    gk_kernels_get()->f32_to_bf16(w, N, bf16);
}

/* sum (w - v)^2 and sum w^2 of a row, in double. */
static void assert_row(int r, const double sums[2])
{
    double error = 0, square = 0;

    for (int i = r * COLS; i < (r + 1) * COLS; i++) {
        error += ((double)w[i] - (double)v[i]) * ((double)w[i] - (double)v[i]);
        square += (double)w[i] * (double)w[i];
    }
    assert_true(fabs(sums[0] - error) <= 1e-6 * error);
    assert_true(fabs(sums[1] - square) <= 1e-6 * square);
}

static void blocks_report_what_they_decode_to(void **state)
{
    static const float sizes[] = {1, 0x1p-14f, 0x1p7f, 0};
    static float row[COLS], copy[N];
    double sums[ROWS][2];

    (void)state;
    for (int t = GK_N_SAFETENSORS; t < GK_N_CODED; t++) {
        const gk_blocks *codec = gk_blocks_of((gk_dtype)t);
        for (int k = 0; codec != NULL && k < 8; k++) {
            const bool stored = k % 2 != 0;
            const gk_blocks_job job = {(gk_dtype)t, ROWS, COLS, stored ? bf16 : NULL, NULL};
            fill(sizes[k / 2]);
            memcpy(copy, w, sizeof w);
            assert_int_equal(gk_blocks_encode(&job, copy, row, out, sums), ROWS);
            codec->decode(out, N, v);
            for (int r = 0; r < ROWS; r++)
                assert_row(r, sums[r]);
        }
    }
}

/* An E8M0 has bf16's range: squares leave f32's. */
static void blocks_report_it_where_squares_leave_f32(void **state)
{
    static const float sizes[] = {0x1p90f, 0x1p-100f};
    static float row[COLS], copy[N];
    double sums[ROWS][2];

    (void)state;
    for (int k = 0; k < 4; k++) {
        const gk_blocks_job job = {GK_MXFP4, ROWS, COLS, k % 2 != 0 ? bf16 : NULL, NULL};
        fill(sizes[k / 2]);
        memcpy(copy, w, sizeof w);
        assert_int_equal(gk_blocks_encode(&job, copy, row, out, sums), ROWS);
        gk_blocks_of(GK_MXFP4)->decode(out, N, v);
        for (int r = 0; r < ROWS; r++) {
            assert_row(r, sums[r]);
            assert_true(sums[r][0] > 0);
        }
    }
}

/* The first row whose scale an f16 cannot hold is named, the one before it is whole. */
static void a_row_beyond_the_type_is_named(void **state)
{
    static float row[COLS], copy[N];
    double sums[ROWS][2];

    (void)state;
    for (int stored = 0; stored < 2; stored++) {
        const gk_blocks_job job = {GK_Q8_0, ROWS, COLS, stored ? bf16 : NULL, NULL};
        fill(1);
        w[COLS + 5] = 0x1p100f;
        gk_kernels_get()->f32_to_bf16(w, N, bf16);
        memcpy(copy, w, sizeof w);
        assert_int_equal(gk_blocks_encode(&job, copy, row, out, sums), 1);
        gk_blocks_of(GK_Q8_0)->decode(out, COLS, v);
        assert_row(0, sums[0]);
    }
}

static void groups_report_what_they_decode_to(void **state)
{
    static const char *const names[] = {"int4-g128", "int8-g128", "int4-channel", "int4-g32-asym"};
    static const float sizes[] = {1, 0x1p-30f, 0x1p90f, 0x1p-100f, 0};
    static int8_t codes[N], zeros[N];
    static float scales[N], copy[N];
    double sums[ROWS][2];
    gk_err err = {0};

    (void)state;
    for (int k = 0; k < 4 * 5 * 4; k++) {
        gk_scheme s;
        assert_ok(gk_scheme_parse(names[k % 4], &s, &err), err);
        const gk_group_job job = {.scheme = &s,
                                  .method = k / 40 ? GK_METHOD_SEARCH : GK_METHOD_RTN,
                                  .n_rows = ROWS,
                                  .n_cols = COLS,
                                  .bf16 = k / 20 % 2 ? bf16 : NULL};
        int8_t *zero = s.symmetric ? NULL : zeros;
        fill(sizes[k / 4 % 5]);
        memcpy(copy, w, sizeof w);
        gk_group_encode(&job, copy, codes, scales, zero, sums);
        gk_group_decode(&s, codes, scales, zero, ROWS, COLS, v);
        for (int r = 0; r < ROWS; r++)
            assert_row(r, sums[r]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_report_what_they_decode_to),
        cmocka_unit_test(blocks_report_it_where_squares_leave_f32),
        cmocka_unit_test(a_row_beyond_the_type_is_named),
        cmocka_unit_test(groups_report_what_they_decode_to),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
