/* tests/test_blocks_legacy.c - ggml's types of 32 elements and of E2M1 codes, against ggml. */
#include <math.h>
#include <stdlib.h>

#include "tests/test.h"

#include "formats/io.h"
#include "quant/blocks.h"
#include "quant/kernels.h"
#include "tests/digest.h"

static const gk_dtype types[] = {GK_Q4_0, GK_Q4_1, GK_Q5_0, GK_Q5_1, GK_Q8_0, GK_MXFP4, GK_NVFP4};
enum { N_TYPES = sizeof types / sizeof types[0] };

/* Every table of codecs that this CPU has is held to the same goldens. */
static int isa;

static size_t bytes_of(gk_dtype type, size_t n)
{
    const gk_dtype_row *row = gk_dtype_get(type);

    assert_int_equal(n % row->block_elems, 0);
    return n / row->block_elems * row->block_bytes;
}

/* Encodes one row into memory that ends where the blocks end. The caller frees it. */
static unsigned char *encoded(gk_dtype type, const float *x, size_t n, const float *importance)
{
    unsigned char *out = malloc(bytes_of(type, n));

    assert_non_null(out);
    gk_blocks_nth(isa, type)->encode(x, n, importance, out);
    return out;
}

/* ---- digests of the format's known answers ------------------------------------ */

enum { KAT_ROWS = 4, KAT_COLS = 1024 };

static float kat[KAT_ROWS][KAT_COLS], kat_importance[KAT_COLS];

static float uniform(uint32_t *s) { return (float)(int32_t)xorshift(s) / 2147483648.0f; }

static void fill_known(void)
{
    uint32_t s = 0x12345678;

    for (int i = 0; i < KAT_ROWS * KAT_COLS; i++) {
        const float u = uniform(&s);
        kat[i / KAT_COLS][i % KAT_COLS] = u * u * u;
    }
    for (int i = 0; i < 512; i++)
        if (i < 96 || i >= 256)
            kat[3][i] = i < 32 || i >= 256 ? 0 : i < 64 ? 0.25f : -0.5f;
    s = 0x9E3779B9;
    for (int i = 0; i < KAT_COLS; i++)
        kat_importance[i] = fabsf(uniform(&s)) + 0.01f;
    assert_true(digest(DIGEST_EMPTY, kat, sizeof kat) == 0x87DB0EDCC55775C1u);
    assert_true(digest(DIGEST_EMPTY, kat_importance, sizeof kat_importance) == 0x8C159230EE924340u);
}

/* Made by ggml-org/ggml @d99724f, built without FMA, from the rows above. */
static void known_rows_give_the_digests_of_ggml(void **state)
{
    static const uint64_t want[N_TYPES][2] = {
        {0x055350FD30B4C2B6u, 0x54E1BC8D8477F943u}, {0xE9322E689B331E0Fu, 0x9C8A5DC33C1D777Fu},
        {0x4243B9B7DF365ED5u, 0x6ACFABF2FE6B8756u}, {0xCA377416B4EB99F6u, 0xAF9D0AA785F3229Cu},
        {0x39337E920428E310u, 0x39337E920428E310u}, {0xC452B82F520307EBu, 0xC452B82F520307EBu},
        {0x18E34A9E79F4A8E2u, 0x18E34A9E79F4A8E2u},
    };
    (void)state;
    fill_known();
    for (int t = 0; t < N_TYPES; t++)
        for (int weighted = 0; weighted < 2; weighted++) {
            uint64_t h = DIGEST_EMPTY;
            for (int r = 0; r < KAT_ROWS; r++) {
                unsigned char *out = encoded(types[t], kat[r], KAT_COLS,
                                             weighted ? kat_importance : NULL);
                h = digest(h, out, bytes_of(types[t], KAT_COLS));
                free(out);
            }
            if (h != want[t][weighted])
                fail_msg("%s, importance %d: digest %016llx, not %016llx",
                         gk_dtype_get(types[t])->name, weighted, (unsigned long long)h,
                         (unsigned long long)want[t][weighted]);
        }
}

/* ---- edges -------------------------------------------------------------------- */

typedef struct reader {
    const unsigned char *p, *end;
} reader;

static const void *take(reader *r, size_t n)
{
    const unsigned char *at = r->p;

    assert_true((size_t)(r->end - at) >= n);
    r->p += n;
    return at;
}

/* One row of one type, with or without importance, against the file's next bytes. */
static void check_edge(reader *r, int row, gk_dtype type, const float *x, size_t n,
                       const float *importance)
{
    const size_t n_bytes = bytes_of(type, n);
    const unsigned char *want = take(r, n_bytes);
    const bool valid = *(const unsigned char *)take(r, 1) != 0;
    unsigned char *got = encoded(type, x, n, importance);

    for (size_t i = 0; i < n_bytes; i++)
        if (got[i] != want[i])
            fail_msg("row %d as %s, importance %d: byte %zu is %02x, not %02x", row,
                     gk_dtype_get(type)->name, importance != NULL, i, got[i], want[i]);
    if (gk_blocks_nth(isa, type)->valid(got, n) != valid)
        fail_msg("row %d as %s, importance %d: not %s", row, gk_dtype_get(type)->name,
                 importance != NULL, valid ? "valid" : "invalid");
    free(got);
}

/* testdata/blocks/edge.bin: zeros, subnormals, one huge value, powers of two and their
 * neighbours, ties, equal extremes of both signs, rows of one sign, scales that f16 holds as
 * subnormals, rounds to zero or to infinity, rows of one block. */
static void edges_give_the_bytes_and_verdicts_of_ggml(void **state)
{
    gk_err err = {0};
    uint64_t len;
    char *file = gk_file_slurp("testdata/blocks/edge.bin", 1 << 20, &len, &err);
    int row = 0;

    (void)state;
    assert_ok(file != NULL, err);
    reader r = {(const unsigned char *)file, (const unsigned char *)file + len};
    for (; r.p < r.end; row++) {
        float x[256], importance[256];
        uint32_t n;
        memcpy(&n, take(&r, 4), 4);
        assert_in_range(n, 32, 256);
        memcpy(x, take(&r, 4 * (size_t)n), 4 * (size_t)n);
        memcpy(importance, take(&r, 4 * (size_t)n), 4 * (size_t)n);
        for (int t = 0; t < N_TYPES; t++)
            if (n % gk_dtype_get(types[t])->block_elems == 0) {
                check_edge(&r, row, types[t], x, n, NULL);
                check_edge(&r, row, types[t], x, n, importance);
            }
    }
    assert_int_equal(row, 137);
    gk_free(file);
}

/* ---- decoding ----------------------------------------------------------------- */

/* Random blocks, so every code and odd scale; digests printed by make_ggml.py. */
static void decodes_any_bytes_as_ggml_does(void **state)
{
    static const uint64_t want[N_TYPES] = {
        0x42C1C915D422C692u, 0x0182011A8EFF9FADu, 0x39D7A0658CB6A96Eu, 0xA0B3A09AE319BA53u,
        0x7206CE7B65B40B9Au, 0xC3BFFC9997E3697Du, 0xFD7C69E2FC380BACu,
    };
    (void)state;
    for (int t = 0; t < N_TYPES; t++) {
        const size_t n = 1024 * (size_t)gk_dtype_get(types[t])->block_elems;
        const size_t n_bytes = bytes_of(types[t], n);
        unsigned char *blocks = malloc(n_bytes);
        float *out = malloc(n * sizeof *out);
        uint32_t s = 0x12345678;
        uint64_t h = DIGEST_EMPTY;
        assert_true(blocks != NULL && out != NULL);
        for (size_t i = 0; i < n_bytes; i++)
            blocks[i] = (unsigned char)(xorshift(&s) >> 24);
        gk_blocks_nth(isa, types[t])->decode(blocks, n, out);
        for (size_t i = 0; i < n; i++) {
            static const uint32_t nan = 0x7FC00000;
            h = isnan(out[i]) ? digest(h, &nan, sizeof nan) : digest(h, &out[i], sizeof out[i]);
        }
        if (h != want[t])
            fail_msg("%s: digest %016llx, not %016llx", gk_dtype_get(types[t])->name,
                     (unsigned long long)h, (unsigned long long)want[t]);
        free(blocks);
        free(out);
    }
}

/* ---- validity ----------------------------------------------------------------- */

static void one_scale_that_is_no_number_makes_a_row_invalid(void **state)
{
    enum { BLOCKS = 3 };
    static const uint16_t bad[] = {0x7C00, 0xFC00, 0x7E00, 0x7C01};
    static const uint16_t good[] = {0x7BFF, 0xFBFF, 0x0001, 0x8000};
    (void)state;
    for (int t = 0; t < 5; t++) { /* Q4_0 .. Q8_0: f16 at byte 0, and at 2 for Q4_1, Q5_1 */
        const size_t block = gk_dtype_get(types[t])->block_bytes;
        const int n_halves = types[t] == GK_Q4_1 || types[t] == GK_Q5_1 ? 2 : 1;
        for (int at = 0; at < BLOCKS * n_halves; at++)
            for (int i = 0; i < 4; i++) {
                unsigned char in[BLOCKS * 34];
                memset(in, 0xFF, sizeof in); /* codes may be anything */
                for (int b = 0; b < BLOCKS; b++)
                    memset(in + (size_t)b * block, 0, 2 * (size_t)n_halves);
                unsigned char *half = in + (size_t)(at / n_halves) * block + 2 * (at % n_halves);
                memcpy(half, &good[i], 2);
                assert_true(gk_blocks_nth(isa, types[t])->valid(in, BLOCKS * 32));
                memcpy(half, &bad[i], 2);
                assert_false(gk_blocks_nth(isa, types[t])->valid(in, BLOCKS * 32));
            }
    }
    const gk_blocks *mxfp4 = gk_blocks_nth(isa, GK_MXFP4);
    unsigned char mx[2 * 17] = {0};
    mx[17] = 254;
    assert_true(mxfp4->valid(mx, 64));
    mx[17] = 255;
    assert_false(mxfp4->valid(mx, 64));
    assert_true(mxfp4->valid(mx, 32));
}

/* ---- the table ---------------------------------------------------------------- */

static void every_coded_type_has_a_codec_and_no_other(void **state)
{
    (void)state;
    for (int t = 0; t < GK_N_DTYPES; t++) {
        const gk_blocks *codec = gk_blocks_nth(isa, (gk_dtype)t);
        if (!gk_dtype_is_block((gk_dtype)t) || t >= GK_N_CODED) {
            assert_null(codec);
            continue;
        }
        assert_non_null(codec);
        assert_int_equal(codec->dtype, t);
        assert_true(codec->encode != NULL && codec->decode != NULL && codec->valid != NULL);
    }
}

/* A row may be cut between blocks where its codec says so, and only there. */
static void rows_can_be_cut_where_the_table_says(void **state)
{
    enum { N = 512 };
    (void)state;
    fill_known();
    for (int t = GK_N_SAFETENSORS; t < GK_N_CODED; t++)
        for (int weighted = 0; weighted < 2; weighted++) {
            const gk_dtype type = (gk_dtype)t;
            const size_t half = bytes_of(type, N / 2);
            const float *w = weighted ? kat_importance : NULL;
            bool same = true;
            for (int r = 0; r < KAT_ROWS; r++) {
                unsigned char *whole = encoded(type, kat[r], N, w);
                unsigned char *left = encoded(type, kat[r], N / 2, w);
                unsigned char *right = encoded(type, kat[r] + N / 2, N / 2,
                                               weighted ? w + N / 2 : NULL);
                same &= memcmp(whole, left, half) == 0 && memcmp(whole + half, right, half) == 0;
                free(whole);
                free(left);
                free(right);
            }
            assert_int_equal(same,
                             !(weighted && gk_blocks_nth(isa, type)->whole_row_with_importance));
        }
}

/* ---- f16 ---------------------------------------------------------------------- */

#if defined __x86_64__
#include <immintrin.h>

__attribute__((target("f16c"))) static uint16_t half_by_cpu(float x)
{
    return (uint16_t)_cvtss_sh(x, _MM_FROUND_TO_NEAREST_INT);
}

__attribute__((target("f16c"))) static float half_to_float_by_cpu(uint16_t h)
{
    return _cvtsh_ss(h);
}

/* Every f16, and each middle between neighbours with the floats beside it. */
static void f16_scales_round_as_the_cpu_does(void **state)
{
    (void)state;
    if (!__builtin_cpu_supports("avx2")) /* every CPU with AVX2 has F16C; clang 14 cannot ask */
        skip();
    for (uint32_t i = 0; i < 65536; i++) {
        const uint16_t h = (uint16_t)i;
        const float want = half_to_float_by_cpu(h);
        float got;
        gk_kernels_scalar.f16_to_f32(&h, 1, &got);
        if (isnan(want)) {
            assert_true(isnan(got));
            continue;
        }
        assert_memory_equal(&got, &want, sizeof got);
        const float next = (h & 0x7FFF) == 0x7BFF ? copysignf(65536, want)
                                                  : half_to_float_by_cpu((uint16_t)(h + 1));
        const float middle = isinf(want) ? want : want + (next - want) / 2;
        const float near[] = {middle, nextafterf(middle, -INFINITY), nextafterf(middle, INFINITY)};
        for (int k = 0; k < 3; k++) {
            uint16_t out;
            gk_kernels_scalar.f32_to_f16(&near[k], 1, &out);
            assert_int_equal(out, half_by_cpu(near[k]));
        }
    }
}
#else
static void f16_scales_round_as_the_cpu_does(void **state)
{
    (void)state;
    skip();
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_rows_give_the_digests_of_ggml),
        cmocka_unit_test(edges_give_the_bytes_and_verdicts_of_ggml),
        cmocka_unit_test(decodes_any_bytes_as_ggml_does),
        cmocka_unit_test(one_scale_that_is_no_number_makes_a_row_invalid),
        cmocka_unit_test(every_coded_type_has_a_codec_and_no_other),
        cmocka_unit_test(rows_can_be_cut_where_the_table_says),
        cmocka_unit_test(f16_scales_round_as_the_cpu_does),
    };
    int failed = 0;

    for (isa = 0; gk_kernels_nth(isa) != NULL; isa++)
        failed += cmocka_run_group_tests_name(gk_kernels_nth(isa)->isa, tests, NULL, NULL);
    return failed;
}
