/* tests/test_blocks_isa.c - every table of block codecs this CPU has against the scalar one. */
#include <math.h>
#include <stdlib.h>

#include "tests/test.h"

#include "quant/blocks.h"
#include "quant/kernels.h"
#include "tests/block_rows.h"
#include "tests/emulated/tables.h"

enum {
    MOST_BLOCKS = 40,
    MOST_ELEMS = MOST_BLOCKS * 256,
    MOST_BYTES = 2 * MOST_ELEMS,
};

/* Room for floats and bytes that start off their alignment. */
static float room[2][MOST_ELEMS + 1], *const x = room[0] + 1, *const v = room[1] + 1;
static float a_out[MOST_ELEMS + 1], b_out[MOST_ELEMS + 2];
static unsigned char a[MOST_BYTES + 2], b[MOST_BYTES + 2];

static size_t bytes_of(const gk_blocks *codec, size_t n)
{
    const gk_dtype_row *type = gk_dtype_get(codec->dtype);

    return n / type->block_elems * type->block_bytes;
}

/* A NaN is a NaN: which one is not part of a value. */
static void assert_same_values(const float *p, const float *q, size_t n, const char *type)
{
    for (size_t i = 0; i < n; i++)
        if (memcmp(&p[i], &q[i], sizeof *p) != 0 && !(isnan(p[i]) && isnan(q[i])))
            fail_msg("%s: value %zu is %a, not %a", type, i, (double)q[i], (double)p[i]);
}

/* The pass over bf16 gives the bytes and the sums of scalar's encode(), decode() and measure(). */
static void check_once(const gk_blocks *scalar, const gk_blocks *other, size_t n, const char *what)
{
    static float cut[MOST_ELEMS];
    static unsigned char half[2 * MOST_ELEMS + 1];
    const size_t n_bytes = bytes_of(scalar, n);
    const gk_kernels *k = &gk_kernels_scalar;
    gk_error_sums sums = {{0.25}, {0.5}}, other_sums = sums; /* they grow */

    if (other->encode_bf16 == NULL)
        return;
    for (size_t i = 0; i < n; i++)
        memcpy(half + 1 + 2 * i, (char *)&x[i] + 2, 2);
    k->bf16_to_f32(half + 1, n, cut);
    scalar->encode(cut, n, NULL, a);
    memset(b, 0xA5, sizeof b);
    other->encode_bf16(half + 1, n, b + 1, &other_sums);
    for (size_t i = 0; i < n_bytes; i++)
        if (a[i] != b[1 + i])
            fail_msg("%s, %s, %zu bf16: byte %zu is %02x, not %02x",
                     gk_dtype_get(scalar->dtype)->name, what, n, i, b[1 + i], a[i]);
    assert_int_equal(b[0], 0xA5);
    assert_int_equal(b[1 + n_bytes], 0xA5);
    if (!scalar->valid(a, n))
        return; /* they are infinite or NaN */
    scalar->decode(a, n, a_out);
    k->measure(cut, a_out, n, &sums);
    assert_memory_equal(&sums, &other_sums, sizeof sums);
}

/* Encodes, judges and decodes n elements with the scalar codec and another, the other from and to
 * memory off its alignment. */
static void check(const gk_blocks *scalar, const gk_blocks *other, size_t n, bool weighted,
                  const char *what)
{
    const char *type = gk_dtype_get(scalar->dtype)->name;
    const size_t n_bytes = bytes_of(scalar, n);

    memset(b, 0xA5, sizeof b);
    scalar->encode(x, n, weighted ? v : NULL, a);
    other->encode(x, n, weighted ? v : NULL, b + 1);
    for (size_t i = 0; i < n_bytes; i++)
        if (a[i] != b[1 + i])
            fail_msg("%s, %s, %zu elements, importance %d: byte %zu is %02x, not %02x", type, what,
                     n, weighted, i, b[1 + i], a[i]);
    assert_int_equal(b[0], 0xA5);
    assert_int_equal(b[1 + n_bytes], 0xA5);
    assert_int_equal(scalar->valid(a, n), other->valid(b + 1, n));
    scalar->decode(a, n, a_out);
    b_out[1 + n] = 7;
    other->decode(b + 1, n, b_out + 1);
    assert_true(b_out[1 + n] == 7);
    assert_same_values(a_out, b_out + 1, n, type);
}

/* check() for every codec of every table: as many blocks of it, with importance and without. */
static void check_all(size_t n_blocks, const char *what)
{
    for (int t = GK_N_SAFETENSORS; t < GK_N_CODED; t++) {
        const gk_blocks *scalar = gk_blocks_nth(0, (gk_dtype)t), *other;
        const size_t n = n_blocks * gk_dtype_get((gk_dtype)t)->block_elems;
        for (int i = 1; (other = tested_blocks(i, (gk_dtype)t)) != NULL; i++) {
            for (int weighted = 0; weighted < 2; weighted++)
                check(scalar, other, n, weighted, what);
            check_once(scalar, other, n, what);
        }
    }
}

/* ---- rows ----------------------------------------------------------------------- */

static void fill_importance(uint32_t *s)
{
    for (int i = 0; i < MOST_ELEMS; i++)
        v[i] = fabsf(row_uniform(s)) + 0.01f;
}

static void any_number_of_blocks_gives_the_bytes_of_scalar(void **state)
{
    uint32_t s = 0x12345678;

    (void)state;
    for (size_t blocks = 1; blocks <= MOST_BLOCKS; blocks++) {
        for (int i = 0; i < MOST_ELEMS; i++)
            x[i] = blocks % 2 == 0 ? row_cubed(&s) : 0.02f * row_uniform(&s);
        fill_importance(&s);
        check_all(blocks, "random");
    }
}

/* Lanes beside each other hold rows of every kind, in every order. */
static void hard_rows_side_by_side_give_the_bytes_of_scalar(void **state)
{
    static float row[ROW_ELEMS], w[ROW_ELEMS];
    uint32_t s = 0x9E3779B9;

    (void)state;
    for (int round = 0; round < 24; round++) {
        for (int at = 0; at < MOST_ELEMS; at += 32) {
            row_uniform(&s);
            row_cases[s % N_ROW_CASES].fill(row);
            row_importance((int)(s / 64 % N_ROW_IMPORTANCES), w);
            const uint32_t from = s / 4096 % (ROW_ELEMS / 32) * 32;
            memcpy(x + at, row + from, 32 * sizeof *x);
            memcpy(v + at, w + from, 32 * sizeof *v);
        }
        check_all(16 + (size_t)round, "hard rows");
    }
}

static void each_hard_row_gives_the_bytes_of_scalar(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_ROW_CASES; i++) {
        row_cases[i].fill(x);
        for (int kind = 0; kind < N_ROW_IMPORTANCES; kind++) {
            row_importance(kind, v);
            check_all(2, row_cases[i].name);
        }
    }
}

/* Any bits that are a finite number, so extremes of every size and products that overflow. */
static void any_floats_give_the_bytes_of_scalar(void **state)
{
    uint32_t s = 0x2545F491;

    (void)state;
    for (int round = 0; round < 40; round++) {
        const int spread = 1 << round % 8; /* of the exponents */
        const int centre = (int)((uint32_t)round * 37 % 254);
        for (int i = 0; i < MOST_ELEMS; i++) {
            row_uniform(&s);
            int exponent = centre + (int)(s >> 24) % spread;
            exponent = exponent < 254 ? exponent : 254;
            const uint32_t bits = (s & 0x807FFFFFu) | (uint32_t)exponent << 23;
            memcpy(&x[i], &bits, sizeof x[i]);
        }
        fill_importance(&s);
        check_all(9, "any floats");
    }
}

/* Small whole numbers and halves: ties, equal extremes of both signs, zeros of both signs. */
static void coarse_values_give_the_bytes_of_scalar(void **state)
{
    uint32_t s = 0x6C078965;

    (void)state;
    for (int round = 0; round < 24; round++) {
        for (int i = 0; i < MOST_ELEMS; i++) {
            row_uniform(&s);
            const int k = (int)(s >> 8) % (2 + round);
            x[i] = 0.5f * (float)k * (s & 1 ? 1.0f : -1.0f);
        }
        fill_importance(&s);
        check_all(17, "coarse");
    }
}

static void random_blocks_decode_to_the_values_of_scalar(void **state)
{
    uint32_t s = 0x12345678;

    (void)state;
    for (size_t i = 0; i < sizeof a; i++) {
        row_uniform(&s);
        a[i] = (unsigned char)(s >> 24);
    }
    memcpy(b + 1, a, sizeof a - 1);
    for (int t = GK_N_SAFETENSORS; t < GK_N_CODED; t++) {
        const gk_dtype_row *type = gk_dtype_get((gk_dtype)t);
        const gk_blocks *scalar = gk_blocks_nth(0, (gk_dtype)t), *other;
        for (int i = 1; (other = tested_blocks(i, (gk_dtype)t)) != NULL; i++)
            for (size_t blocks = 1; blocks <= MOST_BLOCKS; blocks++) {
                const size_t n = blocks * type->block_elems;
                scalar->decode(a, n, a_out);
                other->decode(b + 1, n, b_out);
                assert_same_values(a_out, b_out, n, type->name);
                assert_int_equal(scalar->valid(a, n), other->valid(b + 1, n));
            }
    }
}

static void the_codec_in_use_is_that_of_the_kernels_in_use(void **state)
{
    int i = 0;

    (void)state;
    while (gk_kernels_nth(i) != gk_kernels_get())
        i++;
    for (int t = 0; t < GK_N_DTYPES; t++)
        assert_ptr_equal(gk_blocks_of((gk_dtype)t), gk_blocks_nth(i, (gk_dtype)t));
    while (gk_kernels_nth(i) != NULL)
        i++;
    assert_null(gk_blocks_nth(i, GK_Q4_K));
    assert_null(gk_blocks_nth(-1, GK_Q4_K));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_number_of_blocks_gives_the_bytes_of_scalar),
        cmocka_unit_test(hard_rows_side_by_side_give_the_bytes_of_scalar),
        cmocka_unit_test(each_hard_row_gives_the_bytes_of_scalar),
        cmocka_unit_test(any_floats_give_the_bytes_of_scalar),
        cmocka_unit_test(coarse_values_give_the_bytes_of_scalar),
        cmocka_unit_test(random_blocks_decode_to_the_values_of_scalar),
        cmocka_unit_test(the_codec_in_use_is_that_of_the_kernels_in_use),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
