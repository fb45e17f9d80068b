/* tests/test_layouts.c - the bytes of every layout, worked out by hand from its description,
 * and values that come back as they were promised. */
#include "tests/test.h"

#include <stdlib.h>

#include "quant/kernels.h"
#include "quant/layout.h"

/* ---- one matrix through a layout ---------------------------------------------------- */

typedef struct coded {
    gk_scheme scheme;
    gk_layout_part known[GK_MAX_PARTS];
    int n;
    unsigned char *part[GK_MAX_PARTS];
    float *v;
} coded;

static gk_scheme scheme_of(const char *name, const gk_layout *l)
{
    gk_scheme s;
    gk_err err = {0};
    assert_ok(gk_scheme_parse(name, &s, &err), err);
    s.layout = l;
    s.scales = l->is_turned ? GK_F16 : GK_BF16;
    return s;
}

static void *room(uint64_t n)
{
    void *p = calloc(n + 1, 1);
    assert_non_null(p);
    return p;
}

static gk_coding job_of(const coded *c, const float *w, uint64_t rows, uint64_t cols)
{
    gk_coding job = {.scheme = &c->scheme, .dim = {rows, cols}, .tile = {0, rows, 0, cols}};
    job.w = (float *)(uintptr_t)w;
    for (int i = 0; i < c->n; i++) {
        job.part[i] = c->part[i];
        job.dtype[i] = c->known[i].dtype;
    }
    job.scratch = room(c->scheme.layout->scratch_bytes(&c->scheme, rows, cols));
    return job;
}

/* Encodes W whole, round to nearest, and reads it back: bit for bit what encoding said. */
static coded code(const char *name, const gk_layout *l, const float *w, uint64_t rows,
                  uint64_t cols, float most)
{
    coded c = {.scheme = scheme_of(name, l)};
    gk_err err = {0};
    const uint64_t dim[2] = {rows, cols};
    c.n = l->parts(&c.scheme, dim, c.known);
    for (int i = 0; i < c.n; i++)
        c.part[i] = room(c.known[i].n_rows * gk_row_bytes(c.known[i].dtype, c.known[i].n_cols));
    c.v = room(rows * cols * sizeof(float));
    gk_coding job = job_of(&c, w, rows, cols);
    job.method = GK_METHOD_RTN;
    job.most = most;
    job.v = c.v;
    job.err = &err;
    l->encode(&job);
    float *again = room(rows * cols * sizeof(float));
    job.v = again;
    job.w = NULL;
    assert_ok(l->decode(&job), err);
    assert_memory_equal(again, c.v, rows * cols * sizeof(float));
    free(again);
    free(job.scratch);
    return c;
}

static void done(coded *c)
{
    for (int i = 0; i < c->n; i++)
        free(c->part[i]);
    free(c->v);
}

static uint32_t word(const unsigned char *p, uint64_t i)
{
    uint32_t w;
    memcpy(&w, p + 4 * i, 4);
    return w;
}

static uint16_t half(const unsigned char *p, uint64_t i)
{
    uint16_t w;
    memcpy(&w, p + 2 * i, 2);
    return w;
}

static void expect_part(const coded *c, int i, const char *suffix, gk_dtype dtype, int ndim,
                        uint64_t rows, uint64_t cols)
{
    assert_string_equal(c->known[i].suffix, suffix);
    assert_int_equal(c->known[i].dtype, dtype);
    assert_int_equal(c->known[i].ndim, ndim);
    assert_int_equal(c->known[i].n_rows, rows);
    assert_int_equal(c->known[i].n_cols, cols);
}

/* ---- FP8 ------------------------------------------------------------------------------ */

/* scale = max / 448; 1 is 0x38, 1.5 0x3C, 448 0x7E, bit 7 the sign; no scale is 0 */
static void fp8_rows_have_a_scale_each(void **state)
{
    (void)state;
    static const float w[3][4] = {{448, -448, 1, 0}, {224, 0.5f, -0.75f, -0.0f}, {0, 0, 0, 0}};
    static const unsigned char codes[12] = {0x7E, 0xFE, 0x38, 0, 0x7E, 0x38,
                                            0xBC, 0x80, 0,    0, 0,    0};
    coded c = code("fp8-channel", &gk_layout_float, w[0], 3, 4, 0);
    assert_int_equal(c.n, 2);
    expect_part(&c, 0, ".weight", GK_F8_E4M3, 2, 3, 4);
    expect_part(&c, 1, ".weight_scale", GK_F32, 2, 3, 1);
    assert_memory_equal(c.part[0], codes, 12);
    assert_int_equal(word(c.part[1], 0), 0x3F800000); /* 1     */
    assert_int_equal(word(c.part[1], 1), 0x3F000000); /* 0.5   */
    assert_int_equal(word(c.part[1], 2), 0x34000000); /* 2^-23 */
    assert_memory_equal(c.v, w, sizeof w);
    done(&c);
}

static void fp8_blocks_at_the_edge_are_of_what_is_there(void **state)
{
    (void)state;
    enum { N = 129 };
    float *w = room(N * N * sizeof *w);
    w[0] = 448, w[128] = -224, w[128 * N] = 112, w[128 * N + 128] = 56;
    w[5 * N + 7] = 1, w[128 * N + 1] = 0.25f, w[127 * N + 128] = 0.5f;
    coded c = code("fp8-block", &gk_layout_float, w, N, N, 0);
    expect_part(&c, 1, ".weight_scale", GK_F32, 2, 2, 2);
    static const float scales[4] = {1, 0.5f, 0.25f, 0.125f};
    assert_memory_equal(c.part[1], scales, sizeof scales);
    assert_int_equal(c.part[0][0], 0x7E);
    assert_int_equal(c.part[0][128], 0xFE);
    assert_int_equal(c.part[0][128 * N], 0x7E);
    assert_int_equal(c.part[0][128 * N + 128], 0x7E);
    assert_int_equal(c.part[0][5 * N + 7], 0x38);
    assert_int_equal(c.part[0][128 * N + 1], 0x38);
    assert_int_equal(c.part[0][127 * N + 128], 0x38);
    assert_memory_equal(c.v, w, N * N * sizeof *w);
    done(&c);
    free(w);
}

/* ---- FP4 ------------------------------------------------------------------------------ */

/* the largest of E2M1 and every tie of it, in units; ties go to an even code */
static const float ties[16] = {6,  0.25f,  0.75f,  1.25f,  1.75f,  2.5f,  3.5f,  5,
                               -6, -0.25f, -0.75f, -1.25f, -1.75f, -2.5f, -3.5f, -5};
static const unsigned char tie_codes[8] = {0x07, 0x22, 0x44, 0x66, 0x8F, 0xAA, 0xCC, 0xEE};

static void nvfp4_has_scales_of_scales(void **state)
{
    (void)state;
    float w[32] = {0};
    unsigned char codes[16] = {0};
    for (int i = 0; i < 16; i++)
        w[i] = 448 * ties[i];
    w[16] = -0.0f;
    memcpy(codes, tie_codes, 8);
    codes[8] = 0x08;
    coded c = code("nvfp4", &gk_layout_nvfp4, w, 1, 32, 2688); /* G = 448 * 6 / 2688 */
    assert_int_equal(c.n, 3);
    expect_part(&c, 0, ".weight_packed", GK_U8, 2, 1, 16);
    expect_part(&c, 1, ".weight_scale", GK_F8_E4M3, 2, 1, 2);
    expect_part(&c, 2, ".weight_global_scale", GK_F32, 1, 1, 1);
    assert_memory_equal(c.part[0], codes, 16);
    assert_int_equal(c.part[1][0], 0x7E); /* 448                  */
    assert_int_equal(c.part[1][1], 0x20); /* 0.125, since it was 0 */
    assert_int_equal(word(c.part[2], 0), 0x3F800000);
    done(&c);
    /* what shares G has a largest of 10752: G = 1/4, s = 112 of this one's 448 */
    c = code("nvfp4", &gk_layout_nvfp4, w, 1, 32, 10752);
    assert_memory_equal(c.part[0], codes, 16);
    assert_int_equal(c.part[1][0], 0x6E); /* 112 = 1.75 * 2^6 */
    assert_int_equal(word(c.part[2], 0), 0x3E800000);
    done(&c);
    /* nothing but zeros: no infinity */
    memset(w, 0, sizeof w);
    c = code("nvfp4", &gk_layout_nvfp4, w, 1, 32, 0);
    assert_int_equal(word(c.part[2], 0), 0x3F800000);
    assert_int_equal(c.part[1][0], 0x20);
    done(&c);
}

/* E = 127 + e - 2, where 2^e is the largest's power, the next from 1.75 of it on */
static void mxfp4_has_powers_of_two(void **state)
{
    (void)state;
    float w[96] = {0};
    unsigned char codes[48] = {0};
    memcpy(w, ties, sizeof ties);
    memcpy(codes, tie_codes, 8);
    w[32] = 7, w[33] = 1, w[34] = -2; /* in units of 2: 3.5 (a tie), 0.5, -1 */
    codes[16] = 0x16, codes[17] = 0x0A;
    coded c = code("mxfp4", &gk_layout_mxfp4, w, 1, 96, 0);
    assert_int_equal(c.n, 2);
    expect_part(&c, 0, ".weight_packed", GK_U8, 2, 1, 48);
    expect_part(&c, 1, ".weight_scale", GK_U8, 2, 1, 3);
    assert_memory_equal(c.part[0], codes, 48);
    assert_int_equal(c.part[1][0], 127);
    assert_int_equal(c.part[1][1], 128);
    assert_int_equal(c.part[1][2], 0);
    done(&c);
}

/* ---- GPTQ ----------------------------------------------------------------------------- */

/* Codes -8..7 again and again, with scale 1: the largest is 7.5, and 7.5 goes to 8. */
static void fill_symmetric(float *w, uint64_t rows, uint64_t cols)
{
    for (uint64_t n = 0; n < rows; n++)
        for (uint64_t k = 0; k < cols; k++)
            w[n * cols + k] = k % 16 == 0 ? -7.5f : (float)(k % 16) - 8;
    for (uint64_t k = 0; k < cols; k++) {
        w[cols + k] = k % 32 == 0 ? -7.5f : 3; /* row 1 */
        w[2 * cols + k] *= 2;                  /* row 2 */
    }
}

static void expect_gptq(const gk_layout *l, uint32_t zeros)
{
    float *w = room(32 * 64 * sizeof *w);
    fill_symmetric(w, 32, 64);
    coded c = code("int4-g32", l, w, 32, 64, 0);
    assert_int_equal(c.n, 4);
    expect_part(&c, 0, ".qweight", GK_I32, 2, 8, 32);
    expect_part(&c, 1, ".qzeros", GK_I32, 2, 2, 4);
    expect_part(&c, 2, ".scales", GK_F16, 2, 2, 32);
    expect_part(&c, 3, ".g_idx", GK_I32, 1, 1, 64);
    for (uint64_t r = 0; r < 8; r++)
        for (uint64_t n = 0; n < 32; n++) {
            const uint32_t ramp = r % 2 == 0 ? 0x76543210 : 0xFEDCBA98;
            const uint32_t flat = r % 4 == 0 ? 0xBBBBBBB0 : 0xBBBBBBBB;
            assert_int_equal(word(c.part[0], r * 32 + n), n == 1 ? flat : ramp);
        }
    for (uint64_t i = 0; i < 8; i++)
        assert_int_equal(word(c.part[1], i), zeros);
    for (uint64_t i = 0; i < 64; i++)
        assert_int_equal(half(c.part[2], i), i % 32 == 2 ? 0x4000 : 0x3C00);
    for (uint64_t k = 0; k < 64; k++)
        assert_int_equal(word(c.part[3], k), k / 32);
    done(&c);
    free(w);
}

static void gptq_stores_zero_points_less_one(void **state)
{
    (void)state;
    expect_gptq(&gk_layout_gptq, 0x77777777);
    expect_gptq(&gk_layout_gptq_v2, 0x88888888);
}

/* scale = max / 127.5; the code of column k is k - 16, stored + 128 */
static void gptq_has_eight_bits_too(void **state)
{
    (void)state;
    float *w = room(32 * 32 * sizeof *w);
    for (int i = 0; i < 32 * 32; i++)
        w[i] = i % 32 == 0 ? -127.5f : (float)(i % 32 - 16);
    coded c = code("int8-channel", &gk_layout_gptq, w, 32, 32, 0);
    expect_part(&c, 0, ".qweight", GK_I32, 2, 8, 32);
    expect_part(&c, 1, ".qzeros", GK_I32, 2, 1, 8);
    for (uint64_t n = 0; n < 32; n++) {
        assert_int_equal(word(c.part[0], n), 0x73727100);
        assert_int_equal(word(c.part[0], 32 + n), 0x77767574);
        assert_int_equal(word(c.part[0], 7 * 32 + n), 0x8F8E8D8C);
        assert_int_equal(word(c.part[3], n), 0);
    }
    for (uint64_t i = 0; i < 8; i++)
        assert_int_equal(word(c.part[1], i), 0x7F7F7F7F);
    done(&c);
    free(w);
}

/* Every row has 16 values one apart, so scale 1; they begin at -z. */
static void asymmetric_gptq_stores_zero_points_themselves(void **state)
{
    (void)state;
    float *w = room(32 * 32 * sizeof *w);
    static const int zero[3] = {0, 15, 3};
    for (int n = 0; n < 32; n++)
        for (int k = 0; k < 32; k++)
            w[n * 32 + k] = (float)(k % 16 - (n < 3 ? zero[n] : 0));
    coded c = code("int4-g32-asym", &gk_layout_gptq_v2, w, 32, 32, 0);
    for (uint64_t r = 0; r < 4; r++)
        for (uint64_t n = 0; n < 32; n++)
            assert_int_equal(word(c.part[0], r * 32 + n), r % 2 == 0 ? 0x76543210 : 0xFEDCBA98);
    assert_int_equal(word(c.part[1], 0), 0x3F0);
    for (uint64_t i = 1; i < 4; i++)
        assert_int_equal(word(c.part[1], i), 0);
    assert_memory_equal(c.v, w, 32 * 32 * sizeof *w);
    done(&c);
    free(w);
}

/* Reads a GPTQ of one group with a word of one part changed. */
static gk_err changed_gptq(const gk_layout *l, const char *name, int part, uint32_t to)
{
    float *w = room(32 * 32 * sizeof *w);
    gk_err err = {0};
    fill_symmetric(w, 32, 32);
    coded c = code(name, l, w, 32, 32, 0);
    memcpy(c.part[part] + 8, &to, 4); /* word 2 */
    gk_coding job = job_of(&c, w, 32, 32);
    job.v = c.v;
    job.err = &err;
    assert_false(l->decode(&job));
    free(job.scratch);
    done(&c);
    free(w);
    return err;
}

static void a_gptq_that_cannot_be_read_rightly_is_refused(void **state)
{
    (void)state;
    gk_err err = changed_gptq(&gk_layout_gptq, "int4-g32", 3, 1);
    assert_int_equal(err.code, GK_ERR_UNSUPPORTED);
    assert_non_null(strstr(err.msg, "column 2 into group 1"));
    assert_non_null(strstr(err.msg, "desc_act"));
    /* rows 16 to 23; the least field is row 16's */
    err = changed_gptq(&gk_layout_gptq, "int4-g32", 1, 0x77777776);
    assert_int_equal(err.code, GK_ERR_FORMAT);
    assert_non_null(strstr(err.msg, "row 16 has the zero point 7"));
    /* version 1 of an asymmetric one: 15 less one, or 16? */
    err = changed_gptq(&gk_layout_gptq, "int4-g32-asym", 1, 0x77777F77);
    assert_int_equal(err.code, GK_ERR_FORMAT);
    assert_non_null(strstr(err.msg, "row 18 has the zero point 16"));
}

/* ---- AWQ ------------------------------------------------------------------------------- */

static void awq_interleaves_rows(void **state)
{
    (void)state;
    float w[8][32];
    for (int n = 0; n < 8; n++)
        for (int k = 0; k < 32; k++)
            w[n][k] = (float)((k == 0 ? 0 : k == 1 ? 15 : n) - n);
    coded c = code("int4-g32-asym", &gk_layout_awq, w[0], 8, 32, 0);
    assert_int_equal(c.n, 3);
    expect_part(&c, 0, ".qweight", GK_I32, 2, 32, 1);
    expect_part(&c, 1, ".qzeros", GK_I32, 2, 1, 1);
    expect_part(&c, 2, ".scales", GK_F16, 2, 1, 8);
    for (uint64_t k = 0; k < 32; k++)
        assert_int_equal(word(c.part[0], k), k == 0 ? 0 : k == 1 ? 0xFFFFFFFF : 0x75316420);
    assert_int_equal(word(c.part[1], 0), 0x75316420); /* the zero point of row n is n */
    for (uint64_t n = 0; n < 8; n++)
        assert_int_equal(half(c.part[2], n), 0x3C00);
    assert_memory_equal(c.v, w, sizeof w);
    done(&c);
}

/* ---- MLX ------------------------------------------------------------------------------- */

static void mlx_keeps_the_larger_edge(void **state)
{
    (void)state;
    float w[3][32] = {{0}};
    for (int i = 0; i < 32; i++) {
        w[0][i] = (float)(i % 16 - 8); /* edge -8: scale 1, bias -8  */
        w[1][i] = (float)(i % 16);     /* edge 15: scale -1, bias 15 */
    }
    coded c = code("int4-g32", &gk_layout_mlx, w[0], 1, 96, 0);
    assert_int_equal(c.n, 3);
    expect_part(&c, 0, ".weight", GK_U32, 2, 1, 12);
    expect_part(&c, 1, ".scales", GK_BF16, 2, 1, 3);
    expect_part(&c, 2, ".biases", GK_BF16, 2, 1, 3);
    static const uint32_t words[12] = {0x76543210, 0xFEDCBA98, 0x76543210, 0xFEDCBA98,
                                       0x89ABCDEF, 0x01234567, 0x89ABCDEF, 0x01234567};
    static const uint16_t scales[3] = {0x3F80, 0xBF80, 0xB3D7}; /* the last: -1e-7 */
    static const uint16_t biases[3] = {0xC100, 0x4170, 0};
    assert_memory_equal(c.part[0], words, sizeof words);
    assert_memory_equal(c.part[1], scales, sizeof scales);
    assert_memory_equal(c.part[2], biases, sizeof biases);
    assert_memory_equal(c.v, w, 64 * sizeof(float));
    done(&c);
    for (int i = 0; i < 32; i++)
        w[0][i] = (float)(i == 0 ? -128 : i == 1 ? 127 : i);
    c = code("int8-g32", &gk_layout_mlx, w[0], 1, 32, 0);
    assert_int_equal(word(c.part[0], 0), 0x8382FF00);
    assert_int_equal(word(c.part[0], 1), 0x87868584);
    assert_int_equal(half(c.part[2], 0), 0xC300);
    done(&c);
}

/* ---- made-up values -------------------------------------------------------------------- */

/* Values of many magnitudes, zeros and rows of zeros among them. */
static void scatter(float *w, uint64_t n, uint32_t seed)
{
    for (uint64_t i = 0; i < n; i++) {
        seed = seed * 1664525u + 1013904223u;
        const uint32_t bits = (seed & 0x80FF0000u) + ((seed >> 8 & 0x1F) + 0x28u) * 0x01000000u;
        memcpy(&w[i], &bits, 4);
        if ((seed >> 8) % 7 == 0 || i / 64 % 11 == 3)
            w[i] = 0;
    }
}

/* code() itself compares what is read with what was promised. */
static void scattered_values_come_back_as_promised(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        const gk_layout *layout;
        uint64_t rows, cols;
    } all[] = {{"fp8-channel", &gk_layout_float, 5, 77},
               {"fp8-block", &gk_layout_float, 300, 333},
               {"nvfp4", &gk_layout_nvfp4, 7, 80},
               {"mxfp4", &gk_layout_mxfp4, 7, 96},
               {"int4-g32", &gk_layout_gptq, 32, 96},
               {"int8-g64", &gk_layout_gptq, 64, 64},
               {"int4-channel", &gk_layout_gptq, 96, 160},
               {"int8-g32-asym", &gk_layout_gptq_v2, 32, 96},
               {"int4-g128-asym", &gk_layout_gptq_v2, 32, 384},
               {"int4-g32-asym", &gk_layout_awq, 24, 96},
               {"int4-channel-asym", &gk_layout_awq, 8, 33},
               {"int4-g64", &gk_layout_awq, 16, 64},
               {"int4-g32", &gk_layout_mlx, 3, 96},
               {"int8-g128", &gk_layout_mlx, 3, 256}};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        for (uint32_t seed = 1; seed < 4; seed++) {
            const uint64_t n = all[i].rows * all[i].cols;
            float *w = room(n * sizeof *w), most = 0;
            scatter(w, n, seed * 77);
            for (uint64_t k = 0; k < n; k++)
                most = w[k] > most ? w[k] : -w[k] > most ? -w[k] : most;
            coded c = code(all[i].name, all[i].layout, w, all[i].rows, all[i].cols, most);
            double error = 0, sum = 0;
            gk_kernels_get()->row_error(w, c.v, n, &error, &sum);
            /* of a sum of squares, the largest values': half a step of 16 codes, squared */
            if (!(error <= 0.02 * sum) || sum == 0)
                fail_msg("%s: error %g of %g", all[i].name, error, sum);
            done(&c);
            free(w);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fp8_rows_have_a_scale_each),
        cmocka_unit_test(fp8_blocks_at_the_edge_are_of_what_is_there),
        cmocka_unit_test(nvfp4_has_scales_of_scales),
        cmocka_unit_test(mxfp4_has_powers_of_two),
        cmocka_unit_test(gptq_stores_zero_points_less_one),
        cmocka_unit_test(gptq_has_eight_bits_too),
        cmocka_unit_test(asymmetric_gptq_stores_zero_points_themselves),
        cmocka_unit_test(a_gptq_that_cannot_be_read_rightly_is_refused),
        cmocka_unit_test(awq_interleaves_rows),
        cmocka_unit_test(mlx_keeps_the_larger_edge),
        cmocka_unit_test(scattered_values_come_back_as_promised),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
