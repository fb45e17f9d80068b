/* tests/test_kernels.c - every table this CPU has against the scalar one. */
#include <math.h>
#include <stdlib.h>

#include "tests/test.h"

#include "quant/kernels.h"
#include "tests/emulated/tables.h"

#define MOST 1031

static float w[MOST + 1], v[MOST + 1], mass[MOST + 1], small[MOST + 1];
static unsigned char raw[4 * (MOST + 1) + 1];
static gk_costs costs;

static uint32_t next_random(void)
{
    static uint32_t s = 0x12345678;
    s ^= s << 13;
    s ^= s >> 17;
    s ^= s << 5;
    return s;
}

static float weight(void)
{
    static const float special[] = {0.0f,    -0.0f,    1e-45f, -1e-40f, 1.17549435e-38f,
                                    3.0e38f, -65504.0f};
    const uint32_t r = next_random();
    if (r % 37 == 0)
        return special[r / 37 % 7];
    return (float)(int32_t)next_random() / 2147483648.0f;
}

static void fill(void)
{
    for (int i = 0; i <= MOST; i++) {
        w[i] = weight();
        v[i] = weight();
        small[i] = (float)(int32_t)next_random() / 2147483648.0f;
        mass[i] = fabsf(weight()) + 0.01f;
    }
    for (size_t i = 0; i < sizeof raw; i++)
        raw[i] = (unsigned char)next_random();
    for (int i = 0; i < GK_COST_ROWS; i++) /* some reach the limit of 65535 */
        for (int k = 0; k < GK_COST_SCALES; k++)
            costs.row[i][k] = (uint16_t)(next_random() % (i < 200 ? 65536 : 300));
}

/* One kernel of two tables into two buffers, which must be equal. */
#define SAME(bytes, call_scalar, call_other)                   \
    do {                                                       \
        memset(a, 0x55, sizeof a);                             \
        memset(b, 0x55, sizeof b);                             \
        call_scalar;                                           \
        call_other;                                            \
        assert_memory_equal(a, b, (bytes) + 1);                \
    } while (0)

/* Four tries at once have the errors of each alone, with zero points or without. */
static void check_errors(const gk_kernels *k, const float *m, uint64_t n, const gk_grid *grid)
{
    const gk_try try[GK_TRIES] = {{0.0131f, grid->zero}, {-0.2f, grid->zero},
                                  {1e-6f, grid->zero}, {0.7f, grid->zero == 0 ? 0 : 2}};
    double all[GK_TRIES], alone[GK_TRIES];

    k->errors(w, m, n, grid, try, all);
    for (int i = 0; i < GK_TRIES; i++) {
        const gk_try same[GK_TRIES] = {try[i], try[i], try[i], try[i]};
        gk_kernels_scalar.errors(w, m, n, grid, same, alone);
        assert_memory_equal(&alone[0], &all[i], sizeof all[i]);
    }
}

/* Without a lower bound, weights are so small that they need none. */
static void check_encoding(const gk_kernels *k, uint64_t n, const gk_grid *grid)
{
    const float *from = grid->lo == -INFINITY ? small : w;
    static unsigned char a[MOST + 2], b[MOST + 2];
    static uint16_t half[MOST + 1];
    const gk_kernels *s = &gk_kernels_scalar;
    gk_error_sums sa = {{0.5}, {1.5}}, sb = sa; /* they grow */

    SAME(n, s->encode_f32(from, n, -0.013f, grid, (int8_t *)a, &sa),
         k->encode_f32(from, n, -0.013f, grid, (int8_t *)b, &sb));
    assert_memory_equal(&sa, &sb, sizeof sa);
    s->f32_to_bf16(from, n, half);
    SAME(n, s->encode_bf16(half, n, 0.013f, grid, (int8_t *)a, &sa),
         k->encode_bf16(half, n, 0.013f, grid, (int8_t *)b, &sb));
    assert_memory_equal(&sa, &sb, sizeof sa);
}

static void check_figures(const gk_kernels *k, uint64_t n)
{
    static uint16_t half[MOST + 1];
    const gk_kernels *s = &gk_kernels_scalar;
    gk_powers pa = {.sum = {1}}, pb = pa; /* they grow */
    gk_extremes a = {.zero = 1, .most = 0.5f}, b = a;
    float sum_a[MOST + 1] = {1}, sum_b[MOST + 1] = {1};

    for (int which = 0; which < 2; which++) { /* with zeros and subnormals, and without */
        const float *from = which ? small : w;
        s->extremes_f32(from, n, 0x1p-126f, &a);
        k->extremes_f32(from, n, 0x1p-126f, &b);
        assert_memory_equal(&a, &b, sizeof a);
        s->f32_to_bf16(from, n, half);
        s->extremes_bf16(half, n, 0x1p-126f, &a);
        k->extremes_bf16(half, n, 0x1p-126f, &b);
        assert_memory_equal(&a, &b, sizeof a);
        s->powers(from, n, &pa);
        k->powers(from, n, &pb);
        assert_memory_equal(&pa, &pb, sizeof pa);
    }
    s->add_squares(w, n, sum_a);
    k->add_squares(w, n, sum_b);
    assert_memory_equal(sum_a, sum_b, sizeof sum_a);
}

static void check_length(const gk_kernels *k, uint64_t n)
{
    static unsigned char a[4 * (MOST + 2)], b[4 * (MOST + 2)];
    const gk_kernels *s = &gk_kernels_scalar;
    const unsigned char *odd = raw + 1; /* misaligned */
    const gk_grid grids[] = {{-8, 7, 0}, {-128, 127, 0}, {-8, 7, 3}, {-128, 127, -77}};
    float fa[2], fb[2];
    double da[2], db[2];

    SAME(4 * n, s->bf16_to_f32(odd, n, (float *)(void *)a),
         k->bf16_to_f32(odd, n, (float *)(void *)b));
    SAME(4 * n, s->f16_to_f32(odd, n, (float *)(void *)a),
         k->f16_to_f32(odd, n, (float *)(void *)b));
    SAME(2 * n, s->f32_to_bf16(w, n, a), k->f32_to_bf16(w, n, b));
    SAME(2 * n, s->f32_to_f16(w, n, a), k->f32_to_f16(w, n, b));
    assert_int_equal(s->nonfinite_bf16(odd, n), k->nonfinite_bf16(odd, n));
    assert_int_equal(s->nonfinite_f16(odd, n), k->nonfinite_f16(odd, n));
    assert_int_equal(s->nonfinite_f32(odd, n), k->nonfinite_f32(odd, n));
    SAME(n / 2, s->pack4((const int8_t *)odd, n & ~1u, a),
         k->pack4((const int8_t *)odd, n & ~1u, b));
    SAME(n & ~1u, s->unpack4(odd, n & ~1u, (int8_t *)a), k->unpack4(odd, n & ~1u, (int8_t *)b));
    SAME(n, s->pack8((const int8_t *)odd, n, a), k->pack8((const int8_t *)odd, n, b));
    SAME(n, s->unpack8(odd, n, (int8_t *)a), k->unpack8(odd, n, (int8_t *)b));
    SAME(4 * n, s->decode((const int8_t *)odd, n, 3, 0.37f, (float *)(void *)a),
         k->decode((const int8_t *)odd, n, 3, 0.37f, (float *)(void *)b));
    for (int g = 0; g < 4; g++)
        check_encoding(k, n, &grids[g]);
    check_encoding(k, n, &(gk_grid){-INFINITY, 127, 0});
    check_figures(k, n);
    for (uint64_t group = 1; group <= 128; group = group * 2 + 1)
        SAME(2 * ((n + group - 1) / group), s->peaks_bf16(odd, group, n, (uint16_t *)(void *)a),
             k->peaks_bf16(odd, group, n, (uint16_t *)(void *)b));
    int first = 0, second = 0;
    SAME(4 * GK_COST_SCALES, first = s->costs(w, n, 255, &costs, (uint32_t *)(void *)a),
         second = k->costs(w, n, 255, &costs, (uint32_t *)(void *)b));
    assert_int_equal(first, second);
    if (n == 0)
        return;
    s->range(w, n, &fa[0], &fa[1]);
    k->range(w, n, &fb[0], &fb[1]);
    assert_memory_equal(fa, fb, sizeof fa);
    gk_error_sums sa = {{0.5}, {1.5}}, sb = sa;
    s->measure(w, v, n, &sa);
    k->measure(w, v, n, &sb);
    assert_memory_equal(&sa, &sb, sizeof sa);
    s->row_error(w, v, n, &da[0], &da[1]);
    k->row_error(w, v, n, &db[0], &db[1]);
    assert_memory_equal(da, db, sizeof da);
    for (int g = 0; g < 4; g++)
        for (int weighted = 0; weighted < 2; weighted++) {
            const float *m = weighted ? mass : NULL;
            s->fit(w, m, n, 0.0131f, &grids[g], &da[0], &da[1]);
            k->fit(w, m, n, 0.0131f, &grids[g], &db[0], &db[1]);
            assert_memory_equal(da, db, sizeof da);
            check_errors(k, m, n, &grids[g]);
        }
}

static void vector_kernels_give_the_bytes_of_the_scalar_ones(void **state)
{
    (void)state;
    for (int i = 0; tested_kernels(i) != NULL; i++)
        for (uint64_t n = 0; n <= MOST; n++) {
            if (n % 64 == 0)
                fill();
            check_length(tested_kernels(i), n);
        }
}

/* A quotient that is a tie, or nearly: codes are those of the division. */
static void ties_are_rounded_as_the_quotient(void **state)
{
    (void)state;
    static float at[2048];
    static int8_t a[2048], b[2048];
    const gk_grid grids[] = {{-8, 7, 0}, {-8, 7, -5}, {-128, 127, 0}, {-128, 127, 77},
                             {-INFINITY, 127, 0}};
    for (int i = 0; tested_kernels(i) != NULL; i++)
        for (int round = 0; round < 400; round++) {
            const gk_grid *grid = &grids[round % 5];
            float scale = weight();
            gk_error_sums sa = {{0}, {0}}, sb = sa;
            if (round % 7 == 0 && grid->lo > -1000)
                scale *= 0x1p-110f;
            if (scale == 0 || fabsf(scale) > 1e30f)
                continue;
            for (int k = 0; k < 2048; k++) {
                const int ulp = (int)(next_random() % 7) - 3;
                at[k] = ((float)((int)(next_random() % 254) - 126) + 0.5f) * scale;
                for (int u = 0; u < abs(ulp); u++)
                    at[k] = nextafterf(at[k], ulp < 0 ? -INFINITY : INFINITY);
            }
            gk_kernels_scalar.encode_f32(at, 2048, scale, grid, a, &sa);
            tested_kernels(i)->encode_f32(at, 2048, scale, grid, b, &sb);
            assert_memory_equal(a, b, sizeof a);
            assert_memory_equal(&sa, &sb, sizeof sa);
        }
}

static void conversions_round_to_even_and_keep_nan(void **state)
{
    (void)state;
    /* bf16: 1 + 2^-8 is a tie between 1 and 1 + 2^-7; 1 + 3 * 2^-8 between that and + 2^-6 */
    const float in[] = {1.00390625f, 1.01171875f, NAN, INFINITY, 3.4e38f, -0.0f};
    const uint16_t bf16[] = {0x3F80, 0x3F82, 0x7FC0, 0x7F80, 0x7F80, 0x8000};
    const uint16_t f16[] = {0x3C04, 0x3C0C, 0x7E00, 0x7C00, 0x7C00, 0x8000};
    for (int i = 0; tested_kernels(i) != NULL; i++) {
        uint16_t out[6];
        tested_kernels(i)->f32_to_bf16(in, 6, out);
        assert_memory_equal(out, bf16, sizeof bf16);
        tested_kernels(i)->f32_to_f16(in, 6, out);
        assert_memory_equal(out, f16, sizeof f16);
    }
}

/* All of f16 and, with every exponent, random bits of f32: NaNs of both kinds among them. */
static void vector_halves_are_the_scalar_ones_bit_for_bit(void **state)
{
    (void)state;
    static uint16_t half[65536], a[65536], b[65536];
    static float wide[65536], fa[65536], fb[65536];
    for (uint32_t i = 0; i < 65536; i++) {
        const uint32_t bits = i << 16 | (next_random() & 0xFFFF);
        half[i] = (uint16_t)(i * 40503u); /* odd: each once, NaNs far from each other */
        memcpy(&wide[i], &bits, sizeof bits);
    }
    for (int i = 0; tested_kernels(i) != NULL; i++) {
        const gk_kernels *k = tested_kernels(i);
        gk_kernels_scalar.f16_to_f32(half, 65536, fa);
        k->f16_to_f32(half, 65536, fb);
        assert_memory_equal(fa, fb, sizeof fa);
        gk_kernels_scalar.f32_to_f16(wide, 65536, a);
        k->f32_to_f16(wide, 65536, b);
        assert_memory_equal(a, b, sizeof a);
        gk_kernels_scalar.f32_to_bf16(wide, 65536, a);
        k->f32_to_bf16(wide, 65536, b);
        assert_memory_equal(a, b, sizeof a);
    }
}

static void every_f16_survives_the_way_through_f32(void **state)
{
    (void)state;
    for (uint32_t h = 0; h < 65536; h++) {
        uint16_t in = (uint16_t)h, out;
        float f;
        gk_kernels_scalar.f16_to_f32(&in, 1, &f);
        gk_kernels_scalar.f32_to_f16(&f, 1, &out);
        if ((h & 0x7C00) == 0x7C00 && (h & 0x3FF) != 0)
            assert_true(isnan(f));
        else
            assert_int_equal(in, out);
    }
}

static void figures_are_those_of_all_elements(void **state)
{
    (void)state;
    static float at[300];
    static uint16_t half[300];
    for (int i = 0; i < 300; i++)
        at[i] = i % 3 == 0 ? -0.0f : i % 3 == 1 ? 2 : -3;
    at[299] = 1e-40f;
    for (int i = 0; tested_kernels(i) != NULL; i++) {
        const gk_kernels *k = tested_kernels(i);
        gk_powers p = {.sum = {0}};
        gk_extremes e = {.zero = 0};
        k->powers(at, 300, &p);
        assert_true(p.sum[0] + p.sum[1] + p.sum[2] + p.sum[3] == 2 * 100 - 3 * 99);
        assert_true(p.square[0] + p.square[1] + p.square[2] + p.square[3] == 4 * 100 + 9 * 99);
        assert_true(p.cube[0] + p.cube[1] + p.cube[2] + p.cube[3] == 8 * 100 - 27 * 99);
        assert_true(p.fourth[0] + p.fourth[1] + p.fourth[2] + p.fourth[3] == 16 * 100 + 81 * 99);
        k->extremes_f32(at, 300, 0x1p-126f, &e);
        k->f32_to_bf16(at, 300, half);
        k->extremes_bf16(half, 300, 0x1p-126f, &e);
        assert_int_equal(e.zero, 200);
        assert_int_equal(e.small, 2);
        assert_true(e.most == 3);
        half[7] = 0xFF80;
        k->extremes_bf16(half, 300, 0x1p-126f, &e);
        assert_true(isinf(e.most));
    }
}

static void packing_is_that_of_compressed_tensors(void **state)
{
    (void)state;
    /* the check vectors of the format: codes -8..7, and -128 -1 0 127 */
    static const unsigned char four[] = {0x10, 0x32, 0x54, 0x76, 0x98, 0xBA, 0xDC, 0xFE};
    static const unsigned char eight[] = {0x00, 0x7F, 0x80, 0xFF};
    static const int8_t wide[] = {-128, -1, 0, 127};
    int8_t codes[16];
    unsigned char out[8];
    for (int i = 0; i < 16; i++)
        codes[i] = (int8_t)(i - 8);
    gk_kernels_get()->pack4(codes, 16, out);
    assert_memory_equal(out, four, sizeof four);
    gk_kernels_get()->pack8(wide, 4, out);
    assert_memory_equal(out, eight, sizeof eight);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(vector_kernels_give_the_bytes_of_the_scalar_ones),
        cmocka_unit_test(ties_are_rounded_as_the_quotient),
        cmocka_unit_test(conversions_round_to_even_and_keep_nan),
        cmocka_unit_test(vector_halves_are_the_scalar_ones_bit_for_bit),
        cmocka_unit_test(every_f16_survives_the_way_through_f32),
        cmocka_unit_test(figures_are_those_of_all_elements),
        cmocka_unit_test(packing_is_that_of_compressed_tensors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
