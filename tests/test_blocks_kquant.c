/* tests/test_blocks_kquant.c - K-quants, IQ4_NL and IQ4_XS give ggml's bytes.
 *
 * Goldens are FNV-1a-64 digests of what ggml-org/ggml made. known_plain and known_weighted:
 * its source @d99724f, compiled without FMA, of the 4 x 1024 matrix below. decoded and cases:
 * `tests/interop/ggml_blocks.py build/release --digests`, which asks the library of the package
 * libggml-python 0.20.2. */
#include <stdlib.h>

#include "tests/test.h"

#include "quant/blocks.h"
#include "tests/block_rows.h"

#define KNOWN_ROWS    4
#define KNOWN_COLS    1024
#define DECODED_ELEMS 4096

static const struct {
    const gk_blocks *codec;
    uint64_t known_plain, known_weighted;
    uint64_t decoded;            /* values of random bytes, see below             */
    uint64_t cases[N_ROW_CASES]; /* each: blocks and verdict, plain and weighted  */
} goldens[] = {
    {
        &gk_blocks_q2_k,
        0x050f08c31b4a4d84,
        0x873a06dc0af262b0,
        0xac3a53d66f9dbeae,
        {0x0a193359b1aac559, 0x0a193359b1aac559, 0xaa92805d5332c108, 0xaad43bf92b4f11e6,
         0x98c81314204c5c14, 0x2917132144f217ab, 0xbc3d7e7942ee7a5d, 0x87244c0dd7b1acef,
         0xfecc64326f94b551, 0xcc2bc800a9b740a1, 0x1a9f6e2ed09fe99d, 0x60333e5c561f3864,
         0x0c316dea8ebb7028, 0x784241791cc38d80, 0x511daa69688da89a, 0x1081e97821584bd6,
         0x3c93ccb47d87b310, 0xefc031ec3407603d, 0x9f887c0e8cc3d4a3, 0x910a0fe6ac12689b,
         0xe0e3f39315a3559f},
    },
    {
        &gk_blocks_q3_k,
        0xdef9dc6b30825fc2,
        0x1a07d6043997617c,
        0x41ec85d49f92e5ae,
        {0xa4e31d77bbc895b9, 0xa4e31d77bbc895b9, 0xa4e31d77bbc895b9, 0x9b27e021c82fb8a9,
         0xa891836be35b6031, 0x2d5d5de06eb3c981, 0xc8ef3121e7f20809, 0x8735343e66a2359e,
         0x5d7bb2926b3336e5, 0xf36d54484480eb36, 0x6b979c733194bd95, 0xd274bc22287ddca9,
         0x9f1fe1c2ed54e80c, 0x3146e8f1085fd5bb, 0x5427832e4257d8f6, 0x4763c8b1954262dc,
         0xa4c6c48c068b6675, 0x9a311e59df1dbce8, 0xb6711ebb64563008, 0x0e039a96153ba65b,
         0x10004f0cde80c352},
    },
    {
        &gk_blocks_q4_k,
        0x12aac536e9b07628,
        0x8ce228626f53a246,
        0x59d1e3eb4e4f0f5d,
        {0x9eaf0a8c2aafd399, 0x9eaf0a8c2aafd399, 0xa7391f30752df4d4, 0x3b9fe21b07697051,
         0xf4c4f5b96e12b0b7, 0x8464c297531aae0f, 0x527833fbf1a973af, 0xde7741fd274170c4,
         0xa4d2d6bde96eb5c1, 0x67be395f5e81697e, 0x17d5d45e4fc5fe88, 0xb151743ed1a536ec,
         0xf240e14949356c7a, 0x1c27e39b6efdde08, 0x06d54e1946abe40b, 0x7a91d711304a1cd0,
         0x54f772f0e818c033, 0xc31fbd08b36d8869, 0xa54c4cce6d90b896, 0x2c4a8645c54d7e37,
         0x75e6492d55676260},
    },
    {
        &gk_blocks_q5_k,
        0x9c7eacabd8afe562,
        0x893bf9f260a75fa9,
        0x0d349f099e82df3e,
        {0xd73759021a01a199, 0xd73759021a01a199, 0x4f65fb32b7a8a94c, 0x04c11d28253cac45,
         0x3971dea12eb2e415, 0x9f3fb8058a994b46, 0xe16370e023687e2f, 0x2a83f5894e9783ef,
         0xc8d604456a06e3cd, 0xb1d7caa652e6eebd, 0x5efcc21daa12a463, 0xa69349ba0d72c649,
         0xfa786b8acd6aaa87, 0xa1ebc7ea76b82819, 0xaae1b90115380573, 0x9c2f69ac38c2e30a,
         0xf6d7e9e9cfd326bb, 0x08b34c094672d2b1, 0x35f734e2266c126f, 0xd51bf56694c5a64c,
         0x26e33f2c6e07b54e},
    },
    {
        &gk_blocks_q6_k,
        0xcbe5d1d7b386d292,
        0xc5e392b24aed2c9e,
        0xb2f56e950bcab9d1,
        {0xcf13006f3bdef979, 0xcf13006f3bdef979, 0xcf13006f3bdef979, 0xcf13006f3bdef979,
         0x1074a4091e5d9008, 0xa5cf15fcfe4a20dd, 0xbfe3cae48a793179, 0x7e748c90c96f3289,
         0x561f1867b61e247b, 0x139d05146837156f, 0x12e587febbf69d7e, 0xe6bdb59f6731ebef,
         0x48beff5535fb8151, 0x094fd89f8406339f, 0x773c4b6ffec8f145, 0x4530820d0e778da1,
         0xc15c27291102cad9, 0x3f54197582400786, 0x3a1aaaef689a5325, 0x71d86bfd57adaba0,
         0x4dd280d54608deaf},
    },
    {
        &gk_blocks_iq4_nl,
        0x9692c11ab85837ff,
        0x545c30f4f11c75d0,
        0x0c3dc48babab7cd1,
        {0xbb00d05f21a12399, 0xbb00d05f21a12399, 0xbb00d05f21a12399, 0x0afbd8e1421f1215,
         0x2aa9a9449c72dc17, 0x4180f7cdc16f9ca2, 0xb0d461e3c4fee461, 0xf2bf6bf50a9cece8,
         0x52c0b324fbc27dff, 0xc68332f2cc901895, 0xa834ec3e52057422, 0xc6be91d69082cde6,
         0xd9b7f14f0f6f3f0d, 0xf5177e6816a49977, 0x2cad75ef673c3107, 0x217862724b9ad4bf,
         0xf9611a3d398d4f39, 0x006151f3d070fb9a, 0x7ba10fabca62bac1, 0x29779efb90039285,
         0xfc6a4a995d13875a},
    },
    {
        &gk_blocks_iq4_xs,
        0xfa8d77f18b265a12,
        0x4ed9086695a8dc13,
        0xb63ba81c3579b34f,
        {0xea18a59cf01dde89, 0xea18a59cf01dde89, 0xea18a59cf01dde89, 0x22b073e824a63e57,
         0x3317421da0fe9148, 0xdcd35c909692a113, 0x5f9d770266d19269, 0xf9383f6dee95b5af,
         0xea18a59cf01dde89, 0x2538b6829a5a0d94, 0x848e4c1f6bd07dad, 0x247457978637a273,
         0xff31bf34123fafe3, 0x2b0ade9ea62020fc, 0x4ebe9fbe182c9769, 0x31a33aeeeccf8397,
         0xfa4c3ddc3d90da6e, 0xb89a7ab8c13f37fe, 0x7c1882f197f6af43, 0xf5666be24f6b3ed7,
         0x831088b2fd936cb0},
    },
};

#define N_GOLDENS (sizeof goldens / sizeof goldens[0])
#define FNV_BEGIN UINT64_C(0xcbf29ce484222325)

static uint64_t fnv1a(uint64_t h, const void *bytes, size_t n)
{
    const unsigned char *p = bytes;

    for (size_t i = 0; i < n; i++)
        h = (h ^ p[i]) * UINT64_C(0x100000001b3);
    return h;
}

static const char *name_of(size_t golden)
{
    return gk_dtype_get(goldens[golden].codec->dtype)->name;
}

static size_t block_bytes(const gk_blocks *codec, uint64_t n)
{
    const gk_dtype_row *type = gk_dtype_get(codec->dtype);

    return n / type->block_elems * type->block_bytes;
}

/* ---- encoding ------------------------------------------------------------------- */

/* The matrix: cubes of uniform values, and in its last row groups of zeros and of one value. */
static void known_matrix(float *x, float *v)
{
    uint32_t s = 0x12345678;

    for (int i = 0; i < KNOWN_ROWS * KNOWN_COLS; i++)
        x[i] = row_cubed(&s);
    x += 3 * KNOWN_COLS;
    for (int i = 0; i < 96; i++)
        x[i] = i < 32 ? 0 : i < 64 ? 0.25f : -0.5f;
    for (int i = 256; i < 512; i++)
        x[i] = 0;
    s = 0x9E3779B9;
    for (int i = 0; i < KNOWN_COLS; i++)
        v[i] = fabsf(row_uniform(&s)) + 0.01f;
}

static uint64_t known_digest(const gk_blocks *codec, const float *x, const float *v)
{
    static unsigned char out[4 * KNOWN_COLS];
    const size_t n = block_bytes(codec, KNOWN_COLS);
    uint64_t h = FNV_BEGIN;

    for (int r = 0; r < KNOWN_ROWS; r++) {
        codec->encode(x + r * KNOWN_COLS, KNOWN_COLS, v, out);
        assert_true(codec->valid(out, KNOWN_COLS));
        h = fnv1a(h, out, n);
    }
    return h;
}

static void a_known_matrix_gives_the_known_blocks(void **state)
{
    static float x[KNOWN_ROWS * KNOWN_COLS], v[KNOWN_COLS];

    (void)state;
    known_matrix(x, v);
    assert_int_equal(fnv1a(FNV_BEGIN, x, sizeof x), 0x87db0edcc55775c1);
    assert_int_equal(fnv1a(FNV_BEGIN, v, sizeof v), 0x8c159230ee924340);
    for (size_t t = 0; t < N_GOLDENS; t++) {
        if (known_digest(goldens[t].codec, x, NULL) != goldens[t].known_plain)
            fail_msg("%s: blocks differ", name_of(t));
        if (known_digest(goldens[t].codec, x, v) != goldens[t].known_weighted)
            fail_msg("%s: blocks with importance differ", name_of(t));
    }
}

/* A row's blocks in a buffer of just their size, and whether they are valid. */
static uint64_t add_row(uint64_t h, const gk_blocks *codec, const float *x, const float *v)
{
    const size_t n = block_bytes(codec, ROW_ELEMS);
    unsigned char *out = malloc(n);

    assert_non_null(out);
    codec->encode(x, ROW_ELEMS, v, out);
    const unsigned char valid = codec->valid(out, ROW_ELEMS);
    h = fnv1a(h, out, n);
    free(out);
    return fnv1a(h, &valid, 1);
}

static void hard_rows_give_the_blocks_and_the_verdict_of_ggml(void **state)
{
    static float x[ROW_ELEMS], v[ROW_ELEMS];

    (void)state;
    for (size_t i = 0; i < N_ROW_CASES; i++) {
        row_cases[i].fill(x);
        for (size_t t = 0; t < N_GOLDENS; t++) {
            uint64_t h = add_row(FNV_BEGIN, goldens[t].codec, x, NULL);
            for (int kind = 0; kind < N_ROW_IMPORTANCES; kind++) {
                row_importance(kind, v);
                h = add_row(h, goldens[t].codec, x, v);
            }
            if (h != goldens[t].cases[i])
                fail_msg("%s: row '%s' differs: %016llx", name_of(t), row_cases[i].name,
                         (unsigned long long)h);
        }
    }
}

/* Blocks know nothing of their neighbours, and rows may lie anywhere. */
static void a_row_of_one_block_is_the_beginning_of_a_longer_one(void **state)
{
    static float x[ROW_ELEMS], v[ROW_ELEMS], one[ROW_ELEMS], all[ROW_ELEMS];
    unsigned char longer[2 * ROW_ELEMS], odd[2 * ROW_ELEMS];

    (void)state;
    row_common(x);
    row_importance(0, v);
    for (size_t t = 0; t < N_GOLDENS; t++)
        for (int weighted = 0; weighted < 2; weighted++) {
            const gk_blocks *codec = goldens[t].codec;
            const gk_dtype_row *type = gk_dtype_get(codec->dtype);
            memset(odd, 0xA5, sizeof odd);
            codec->encode(x, ROW_ELEMS, weighted ? v : NULL, longer);
            codec->encode(x, type->block_elems, weighted ? v : NULL, odd + 1);
            assert_memory_equal(odd + 1, longer, type->block_bytes);
            assert_int_equal(odd[0], 0xA5);
            assert_int_equal(odd[1 + type->block_bytes], 0xA5);
            codec->decode(longer, ROW_ELEMS, all);
            codec->decode(odd + 1, type->block_elems, one);
            assert_memory_equal(one, all, type->block_elems * sizeof *one);
        }
}

/* ---- decoding ------------------------------------------------------------------- */

static void random_bytes(unsigned char *out, size_t n)
{
    uint32_t s = 0x12345678;

    for (size_t i = 0; i < n; i++) {
        row_uniform(&s);
        out[i] = (unsigned char)(s >> 24);
    }
}

static void random_bytes_decode_to_the_values_of_ggml(void **state)
{
    static unsigned char in[4 * DECODED_ELEMS];
    static float out[DECODED_ELEMS];
    const uint32_t one_nan = 0x7FC00000;

    (void)state;
    for (size_t t = 0; t < N_GOLDENS; t++) {
        random_bytes(in, block_bytes(goldens[t].codec, DECODED_ELEMS));
        goldens[t].codec->decode(in, DECODED_ELEMS, out);
        for (int i = 0; i < DECODED_ELEMS; i++)
            if (isnan(out[i]))
                memcpy(&out[i], &one_nan, sizeof one_nan);
        if (fnv1a(FNV_BEGIN, out, sizeof out) != goldens[t].decoded)
            fail_msg("%s: values differ", name_of(t));
    }
}

/* Where the f16 of each type lie in a block. */
static const struct {
    const gk_blocks *codec;
    int at[2], n;
} f16_fields[] = {
    {&gk_blocks_q2_k, {80, 82}, 2}, {&gk_blocks_q3_k, {108, 0}, 1}, {&gk_blocks_q4_k, {0, 2}, 2},
    {&gk_blocks_q5_k, {0, 2}, 2},   {&gk_blocks_q6_k, {208, 0}, 1}, {&gk_blocks_iq4_nl, {0, 0}, 1},
    {&gk_blocks_iq4_xs, {0, 0}, 1},
};

static void a_scale_that_is_no_finite_number_is_refused(void **state)
{
    static const unsigned char high[] = {0x7C, 0xFC, 0x7E, 0xFD};
    static float x[ROW_ELEMS];
    unsigned char out[2 * ROW_ELEMS];

    (void)state;
    row_common(x);
    for (size_t t = 0; t < N_GOLDENS; t++) {
        const gk_blocks *codec = f16_fields[t].codec;
        const size_t last = block_bytes(codec, ROW_ELEMS) - gk_dtype_get(codec->dtype)->block_bytes;
        codec->encode(x, ROW_ELEMS, NULL, out);
        for (int f = 0; f < f16_fields[t].n; f++)
            for (size_t i = 0; i < sizeof high; i++) {
                unsigned char *d = out + last + f16_fields[t].at[f];
                const unsigned char was[2] = {d[0], d[1]};
                assert_true(codec->valid(out, ROW_ELEMS));
                d[0] = 0;
                d[1] = high[i];
                assert_false(codec->valid(out, ROW_ELEMS));
                memcpy(d, was, sizeof was);
            }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_known_matrix_gives_the_known_blocks),
        cmocka_unit_test(hard_rows_give_the_blocks_and_the_verdict_of_ggml),
        cmocka_unit_test(a_row_of_one_block_is_the_beginning_of_a_longer_one),
        cmocka_unit_test(random_bytes_decode_to_the_values_of_ggml),
        cmocka_unit_test(a_scale_that_is_no_finite_number_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
