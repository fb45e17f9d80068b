/* tests/test_blocks_kquant.c - K-quants, IQ4_NL and IQ4_XS give ggml's bytes.
 *
 * Goldens are FNV-1a-64 digests of what ggml-org/ggml made. known_plain and known_weighted:
 * its source @d99724f, compiled without FMA, of the 4 x 1024 matrix below. decoded and cases:
 * `tests/interop/ggml_blocks.py build/release --digests`, which asks the library of the package
 * libggml-python 0.20.2. */
#include <stdlib.h>

#include "tests/test.h"

#include "quant/blocks.h"
#include "quant/kernels.h"
#include "tests/block_rows.h"

#define KNOWN_ROWS    4
#define KNOWN_COLS    1024
#define DECODED_ELEMS 4096

static const struct {
    gk_dtype dtype;
    uint64_t known_plain, known_weighted;
    uint64_t decoded;            /* values of random bytes, see below             */
    uint64_t cases[N_ROW_CASES]; /* each: blocks and verdict, plain and weighted  */
} goldens[] = {
    {
        GK_Q2_K,
        0x050f08c31b4a4d84,
        0x873a06dc0af262b0,
        0xac3a53d66f9dbeae,
        {0xa1925bd993c66d68, 0xa1925bd993c66d68, 0x38c19634f21d6378, 0x3d380d1e3adaf052,
         0x39bedc84df9b026c, 0xdc613e95de28f539, 0x0dd78675f8869cbf, 0x15535bc80ce5ce11,
         0x72ad231844821064, 0x246621e3b441c8bc, 0x23acf153cd70b8e3, 0x9ffd0a7865b6c250,
         0x58cf1a2a88599c46, 0x80802b920358dd1f, 0x054ff638c7bec949, 0x3112ec0626c0b71a,
         0x684ff8d2541569e6, 0x71187c7997ec4b98, 0x1dfb2727848692b3, 0x180220d9a4103301,
         0x73c8f151226e2406, 0x29a35929c9b4ad2f, 0x5acdec7d552238cb},
    },
    {
        GK_Q3_K,
        0xdef9dc6b30825fc2,
        0x1a07d6043997617c,
        0x41ec85d49f92e5ae,
        {0xa3fa93b1f3ef81f8, 0xa3fa93b1f3ef81f8, 0xa3fa93b1f3ef81f8, 0xb95ad62feccafc8d,
         0xf135efaffb493d2f, 0x85f3c75cc84a7219, 0x57afc52d5f2e90ff, 0x731f1a4d5c5e8249,
         0xdaafcbd2a47bf935, 0xd051ac5dd50a4cba, 0x73538c85dc98603a, 0xf5cdf4ca4d9af786,
         0x687941bc6a246fb1, 0x1c591a06e1f10a24, 0x4efbeb930237b68b, 0x78ed0d6311af3f33,
         0x1231cc94e35dfd3c, 0xf40b720511465e66, 0xdc98fa39649d65e7, 0xbb4fed7f51c915b1,
         0x9daaeaa5f0b15401, 0xe7f2970a25c202f3, 0xe400632d2b5982fb},
    },
    {
        GK_Q4_K,
        0x12aac536e9b07628,
        0x8ce228626f53a246,
        0x59d1e3eb4e4f0f5d,
        {0x420fc802be88b4c8, 0x420fc802be88b4c8, 0x63a8528bb4adc928, 0xe67ece0c48d882d8,
         0xc3cecb82fa4a53b4, 0x58394193edf0a4f1, 0x08ac0b4622ae9711, 0x7aa4cf557817cdb4,
         0x76360f8a26f53264, 0xdc4f63cb4757eb04, 0xcf997bc18ab5a6ce, 0xc99345bed6dc93f4,
         0x8c1b6ce79a83a9b1, 0x47e4c2e497a50a85, 0x5d331f0aee3495b6, 0x2296f8df7998e840,
         0x2aa0f8acaacd386c, 0xfa2010a9b2ba2430, 0xf277b4370431b661, 0x26b94b64e9167fa8,
         0x9c5f148ac74cd27d, 0x138a94f847141855, 0xec987e23525fb937},
    },
    {
        GK_Q5_K,
        0x9c7eacabd8afe562,
        0x893bf9f260a75fa9,
        0x0d349f099e82df3e,
        {0x43ac68aef7f779c8, 0x43ac68aef7f779c8, 0x74aaa0f46063bdae, 0x27e5f6fb37eea639,
         0x1382c6781ad6ccda, 0x08dde27df1688448, 0xd58b57b3ad0caeca, 0x60ad8fcbb59f6f7a,
         0xe05c649ae949c7f6, 0xf29b274f043edee6, 0xa06efdc93624832e, 0xc99288c3fd472cbb,
         0xfa1f648d271bfb92, 0x9d16c7295db374c5, 0xe43ed29af1c628d4, 0x64110c176765e0e2,
         0x502239d3cc4a511c, 0x6e347fa6a914287e, 0xcf9bcc594c775320, 0xb47a51db9159fd6e,
         0xd1f4d9400d8f6b32, 0xa05d8bf4af491549, 0x6f02f866e87e37a3},
    },
    {
        GK_Q6_K,
        0xcbe5d1d7b386d292,
        0xc5e392b24aed2c9e,
        0xb2f56e950bcab9d1,
        {0x20d7810aea127998, 0x20d7810aea127998, 0x20d7810aea127998, 0x20d7810aea127998,
         0xc290e15f38ca7423, 0xf01836d3c249e116, 0xb0326429cccd471e, 0x89986d8ff97e11ac,
         0x91795e500ff88bcf, 0xacec5fafb7ce5bbc, 0xe4dffba4325cf870, 0xdb220ed121823ad6,
         0xc529e54627a6688f, 0xc68574c6d7b93bb6, 0xa56a7092bf1847ee, 0x849af3d56321b5e4,
         0x863e3f8f83a07c2f, 0x29f14e4856060f0b, 0xaeb40247d311885d, 0x38e75d069a867572,
         0x5187296154278104, 0x90465b89e27881bd, 0x9193ffdbfe0ad86c},
    },
    {
        GK_IQ4_NL,
        0x9692c11ab85837ff,
        0x545c30f4f11c75d0,
        0x0c3dc48babab7cd1,
        {0x1449c319b00abec8, 0x1449c319b00abec8, 0x1449c319b00abec8, 0x5e39f2fe897ccf07,
         0xf5648fec338f7e41, 0x88aa05b2d36c83c8, 0x910f3dc982aa176a, 0x17edf8ef059e2aa6,
         0x0efeb953c716ff1a, 0x5b3da070a79cd5f5, 0xd28b91a769028f60, 0x7aa3418e39ef86ad,
         0x8c2cfb0fd915c12e, 0xec25d96c7c58bc9a, 0xed4699dcba394b35, 0xa7b62e8e7143c3e7,
         0x7c73fb3a5df343f8, 0x90a9fada9a41ec60, 0x2aee2c8da76f9bb7, 0xaebda86523cf1ad5,
         0x6547c81530fc846a, 0x0648d68d1e2174b8, 0x3f2b1cc1d5103b8e},
    },
    {
        GK_IQ4_XS,
        0xfa8d77f18b265a12,
        0x4ed9086695a8dc13,
        0xb63ba81c3579b34f,
        {0x6d89a0cd43d86168, 0x6d89a0cd43d86168, 0x6d89a0cd43d86168, 0x94db9efadf81fd50,
         0x9337af8f7d1f0c63, 0x0ba514e3312fa54f, 0x3e97c28c808abe9d, 0x6bf4d07f4ee484ab,
         0x6d89a0cd43d86168, 0xb6cf2855e56c2e93, 0x121fcd64aca7b847, 0x0afeeb4899b4bfa1,
         0xff338783060c91e8, 0x38df8eb960ea4afd, 0x50964e318918eaa7, 0xb87543c2c1546dcf,
         0x622ea2fabd15c370, 0x6b6fa35268640d04, 0x17bca3c4a95fbf85, 0xd5d95267a254f1e4,
         0xdc1499d091c7ad66, 0xc8258fcd7e0cd99b, 0xeb7aeaf53faacc1f},
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

static const char *name_of(size_t golden) { return gk_dtype_get(goldens[golden].dtype)->name; }

/* Every table of codecs that this CPU has is held to the same goldens. */
static int isa;

static const gk_blocks *codec_of(gk_dtype dtype) { return gk_blocks_nth(isa, dtype); }

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
        if (known_digest(codec_of(goldens[t].dtype), x, NULL) != goldens[t].known_plain)
            fail_msg("%s: blocks differ", name_of(t));
        if (known_digest(codec_of(goldens[t].dtype), x, v) != goldens[t].known_weighted)
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
            uint64_t h = add_row(FNV_BEGIN, codec_of(goldens[t].dtype), x, NULL);
            for (int kind = 0; kind < N_ROW_IMPORTANCES; kind++) {
                row_importance(kind, v);
                h = add_row(h, codec_of(goldens[t].dtype), x, v);
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
            const gk_blocks *codec = codec_of(goldens[t].dtype);
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
        random_bytes(in, block_bytes(codec_of(goldens[t].dtype), DECODED_ELEMS));
        codec_of(goldens[t].dtype)->decode(in, DECODED_ELEMS, out);
        for (int i = 0; i < DECODED_ELEMS; i++)
            if (isnan(out[i]))
                memcpy(&out[i], &one_nan, sizeof one_nan);
        if (fnv1a(FNV_BEGIN, out, sizeof out) != goldens[t].decoded)
            fail_msg("%s: values differ", name_of(t));
    }
}

/* Where the f16 of each type lie in a block. */
static const struct {
    gk_dtype dtype;
    int at[2], n;
} f16_fields[] = {
    {GK_Q2_K, {80, 82}, 2}, {GK_Q3_K, {108, 0}, 1}, {GK_Q4_K, {0, 2}, 2},   {GK_Q5_K, {0, 2}, 2},
    {GK_Q6_K, {208, 0}, 1}, {GK_IQ4_NL, {0, 0}, 1}, {GK_IQ4_XS, {0, 0}, 1},
};

static void a_scale_that_is_no_finite_number_is_refused(void **state)
{
    static const unsigned char high[] = {0x7C, 0xFC, 0x7E, 0xFD};
    static float x[ROW_ELEMS];
    unsigned char out[2 * ROW_ELEMS];

    (void)state;
    row_common(x);
    for (size_t t = 0; t < N_GOLDENS; t++) {
        const gk_blocks *codec = codec_of(f16_fields[t].dtype);
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
    int failed = 0;

    for (isa = 0; gk_kernels_nth(isa) != NULL; isa++)
        failed += cmocka_run_group_tests_name(gk_kernels_nth(isa)->isa, tests, NULL, NULL);
    return failed;
}
