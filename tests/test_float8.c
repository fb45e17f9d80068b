/* tests/test_float8.c - E4M3FN, E2M1 and E8M0 against their formulas and other software. */
#include <math.h>

#include "tests/test.h"

#include "quant/float8.h"
#include "tests/digest.h"

static uint32_t bits_of(float x)
{
    uint32_t bits;

    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static float float_of(uint32_t bits)
{
    float x;

    memcpy(&x, &bits, sizeof x);
    return x;
}

/* ---- decoding ----------------------------------------------------------------- */

/* (-1)^s * 2^(e - bias) * (1 + f / 2^width), for e = 0 (-1)^s * 2^(1 - bias) * f / 2^width */
static float by_formula(int code, int exponent_bits, int width, int bias)
{
    const int sign = code >> (exponent_bits + width) & 1;
    const int e = code >> width & ((1 << exponent_bits) - 1), f = code & ((1 << width) - 1);
    const double one = e == 0 ? 0 : 1 << width;

    return (float)((sign ? -1.0 : 1.0) * ldexp(one + f, (e == 0 ? 1 : e) - bias - width));
}

static void every_code_decodes_to_its_formula(void **state)
{
    (void)state;
    for (int c = 0; c < 256; c++) {
        if ((c & 0x7F) == 0x7F)
            assert_true(isnan(gk_e4m3_to((uint8_t)c)));
        else
            assert_int_equal(bits_of(gk_e4m3_to((uint8_t)c)), bits_of(by_formula(c, 4, 3, 7)));
        if (c == 255)
            assert_true(isnan(gk_e8m0_to(255)));
        else
            assert_int_equal(bits_of(gk_e8m0_to((uint8_t)c)), bits_of(ldexpf(1, c - 127)));
    }
    for (int c = 0; c < 16; c++)
        assert_int_equal(bits_of(gk_e2m1_to((uint8_t)c)), bits_of(by_formula(c, 2, 1, 1)));
}

static uint64_t digest_value(uint64_t h, float x)
{
    const uint32_t bits = isnan(x) ? 0x7FC00000 : bits_of(x);

    return digest(h, &bits, sizeof bits);
}

/* From Python's ml_dtypes 0.6.0, the first two equal to torch 2.11.0: FNV-1a-64 of
 *     np.arange(256, dtype=np.uint8).view(T).astype(np.float32)
 * with T = float8_e4m3fn, float8_e8m0fnu, and of its first 16 with float4_e2m1fn; NaN as
 * 0x7FC00000. */
static void codes_decode_as_in_ml_dtypes(void **state)
{
    uint64_t e4m3 = DIGEST_EMPTY, e8m0 = DIGEST_EMPTY, e2m1 = DIGEST_EMPTY;

    (void)state;
    for (int c = 0; c < 256; c++) {
        e4m3 = digest_value(e4m3, gk_e4m3_to((uint8_t)c));
        e8m0 = digest_value(e8m0, gk_e8m0_to((uint8_t)c));
        if (c < 16)
            e2m1 = digest_value(e2m1, gk_e2m1_to((uint8_t)c));
    }
    assert_true(e4m3 == 0xDAD1D9C50F749CA5u);
    assert_true(e8m0 == 0x6D2C8B41C3F0E5A5u);
    assert_true(e2m1 == 0x2403BB76B85DFEA5u);
}

/* ---- encoding ----------------------------------------------------------------- */

typedef struct format {
    uint8_t (*from)(float x);
    float (*to)(uint8_t code);
    uint8_t most, sign;
} format;

static const format formats[] = {{gk_e4m3_from, gk_e4m3_to, 0x7E, 0x80},
                                 {gk_e2m1_from, gk_e2m1_to, 7, 8}};

static void values_keep_their_code_and_middles_round_to_even(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++)
        for (int c = 0; c <= formats[i].most; c++) {
            const format *f = &formats[i];
            const uint8_t code = (uint8_t)c, above = (uint8_t)(c + 1);
            const float v = f->to(code), next = c == f->most ? INFINITY : f->to(above);
            const float middle = v + (next - v) / 2;
            const uint8_t even = c % 2 == 0 ? code : above;
            assert_int_equal(f->from(v), code);
            assert_int_equal(f->from(-v), code | f->sign);
            if (c == f->most)
                continue;
            for (int s = 0; s < 2; s++) {
                const float sign = s ? -1.0f : 1.0f;
                const uint8_t bit = s ? f->sign : 0;
                assert_int_equal(f->from(sign * middle), even | bit);
                assert_int_equal(f->from(sign * nextafterf(middle, 0)), code | bit);
                assert_int_equal(f->from(sign * nextafterf(middle, INFINITY)), above | bit);
                assert_int_equal(f->from(sign * nextafterf(v, next)), code | bit);
                assert_int_equal(f->from(sign * nextafterf(next, 0)), above | bit);
            }
        }
}

static void what_is_too_large_becomes_the_largest(void **state)
{
    static const float large[] = {448.0001f, 463.99f, 464, 465, 480, 1e30f, 3.4e38f, INFINITY};
    static const float subnormal[] = {0, 1e-45f, 1e-39f, 1.17549435e-38f, 1e-30f};

    (void)state;
    for (int i = 0; i < 2; i++) {
        const format *f = &formats[i];
        for (size_t k = 0; k < sizeof large / sizeof large[0]; k++) {
            assert_int_equal(f->from(large[k]), f->most);
            assert_int_equal(f->from(-large[k]), f->most | f->sign);
        }
        for (size_t k = 0; k < sizeof subnormal / sizeof subnormal[0]; k++) {
            assert_int_equal(f->from(subnormal[k]), 0);
            assert_int_equal(f->from(-subnormal[k]), f->sign);
        }
    }
}

/* Inputs: the 65,280 finite bf16 in the order of their bits, then 100,000 f32 from xorshift32
 * (seed 0x12345678) with exponents of 2^-17 to 2^10. Digests of the codes:
 *     np.clip(x, -448, 448).astype(ml_dtypes.float8_e4m3fn), equal to torch 2.11.0's
 *     x.astype(ml_dtypes.float4_e2m1fn), whose values are those of compressed-tensors
 *     0.19.0's cast_to_fp4() (for -0 that gives 0) */
static void codes_are_those_of_ml_dtypes(void **state)
{
    uint64_t e4m3 = DIGEST_EMPTY, e2m1 = DIGEST_EMPTY;
    uint32_t s = 0x12345678;

    (void)state;
    for (uint32_t i = 0; i < 65536 + 100000; i++) {
        uint32_t bits = i << 16;
        if (i < 65536 && (i & 0x7F80) == 0x7F80)
            continue;
        if (i >= 65536) {
            xorshift(&s);
            bits = (s & 0x807FFFFF) | (110 + (s >> 23 & 0xFF) % 28) << 23;
        }
        const uint8_t eight = gk_e4m3_from(float_of(bits)), four = gk_e2m1_from(float_of(bits));
        e4m3 = digest(e4m3, &eight, 1);
        e2m1 = digest(e2m1, &four, 1);
    }
    assert_true(e4m3 == 0xD146DB16822BAFA1u);
    assert_true(e2m1 == 0x16CBBB82913C4049u);
}

/* ---- the MXFP4 scale ---------------------------------------------------------- */

static uint64_t digest_scale(uint64_t h, float amax)
{
    const uint8_t e = gk_mxfp4_scale(amax);

    return digest(h, &e, 1);
}

/* From compressed-tensors 0.19.0 and torch 2.11.0, generate_mx_scales(x) clamped to 0..255 as
 * its cast to uint8 does, for x in bf16 (bits 0 to 0x7F5F), f16 (bits 0x0400 to 0x7AFF: normal,
 * below 57344), and f32: for each exponent field 1..253 1.75 and 1 with their neighbours. */
static void mxfp4_scales_are_those_of_compressed_tensors(void **state)
{
    uint64_t bf16 = DIGEST_EMPTY, f16 = DIGEST_EMPTY, f32 = DIGEST_EMPTY;

    (void)state;
    for (uint32_t b = 0; b < 0x7F60; b++)
        bf16 = digest_scale(bf16, float_of(b << 16));
    for (uint32_t h = 0x400; h < 0x7B00; h++)
        f16 = digest_scale(f16, float_of((h << 13) + ((127u - 15) << 23)));
    for (uint32_t e = 1; e < 254; e++) {
        const uint32_t one = e << 23, bits = one | 0x600000;
        f32 = digest_scale(f32, float_of(bits - 1));
        f32 = digest_scale(f32, float_of(bits));
        f32 = digest_scale(f32, float_of(bits + 1));
        f32 = digest_scale(f32, float_of(one));
        f32 = digest_scale(f32, float_of(one - 1));
    }
    assert_true(bf16 == 0xF3E768F4B37CEFA5u);
    assert_true(f16 == 0x0B36B6125308A225u);
    assert_true(f32 == 0x6678C661C7D9679Bu);
}

/* Every finite amax gets a scale that is a number, and codes that reach it. */
static void mxfp4_scales_hold_at_both_ends(void **state)
{
    (void)state;
    assert_int_equal(gk_mxfp4_scale(0), 0);
    assert_int_equal(gk_mxfp4_scale(1e-45f), 0);
    assert_int_equal(gk_mxfp4_scale(57344), 127 + 16 - 2);
    assert_int_equal(gk_mxfp4_scale(65504), 127 + 16 - 2);
    assert_int_equal(gk_mxfp4_scale(float_of(0x7F5FFFFF)), 127 + 127 - 2);
    assert_int_equal(gk_mxfp4_scale(float_of(0x7F600000)), 127 + 128 - 2);
    assert_int_equal(gk_mxfp4_scale(3.40282347e38f), 127 + 128 - 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_code_decodes_to_its_formula),
        cmocka_unit_test(codes_decode_as_in_ml_dtypes),
        cmocka_unit_test(values_keep_their_code_and_middles_round_to_even),
        cmocka_unit_test(what_is_too_large_becomes_the_largest),
        cmocka_unit_test(codes_are_those_of_ml_dtypes),
        cmocka_unit_test(mxfp4_scales_are_those_of_compressed_tensors),
        cmocka_unit_test(mxfp4_scales_hold_at_both_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
