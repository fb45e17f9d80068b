/* tests/test_codec.c - group codecs against the float64 reference's digests. */
#include <math.h>
#include <stdlib.h>

#include "tests/test.h"

#include "formats/hash.h"
#include "quant/codec_group.h"
#include "quant/kernels.h"
#include "quant/model.h"

static float *read_all(const gk_catalog *c, const gk_tensor *t)
{
    gk_err err = {0};
    const uint64_t rect[4] = {0, gk_rows(t), 0, gk_cols(t)};
    float *w = gk_alloc(gk_rows(t) * gk_cols(t), sizeof *w, &err);
    void *scratch = gk_alloc(gk_decode_scratch_bytes(t, gk_rows(t), gk_cols(t)), 1, &err);
    assert_ok(gk_decode(c, t, rect, w, scratch, &err), err);
    gk_free(scratch);
    return w;
}

static void check_tensor(const gk_catalog *c, const char *name, const gk_scheme *s,
                         const gk_json *golden)
{
    gk_err err = {0};
    char hex[GK_SHA256_HEX];
    const gk_tensor *t = gk_catalog_find(c, name);
    assert_non_null(t);
    const uint64_t n = gk_rows(t) * gk_cols(t),
                   groups = gk_rows(t) * gk_scheme_groups(s, gk_cols(t));
    float *w = read_all(c, t);
    int8_t *codes = malloc(n);
    float *scales = malloc(groups * sizeof *scales);
    const gk_group_job job = {s, GK_METHOD_RTN, NULL, gk_rows(t), gk_cols(t), NULL, NULL, NULL};
    gk_group_encode(&job, w, codes, scales, NULL, NULL);
    assert_ok(gk_hash_bytes(codes, n, hex, &err), err);
    assert_string_equal(hex, gk_json_text(gk_json_get(golden, "codes_sha256"), NULL));
    gk_kernels_get()->f32_to_bf16(scales, groups, scales); /* as they are stored */
    assert_ok(gk_hash_bytes(scales, groups * 2, hex, &err), err);
    assert_string_equal(hex, gk_json_text(gk_json_get(golden, "scales_sha256"), NULL));
    gk_free(w);
    free(codes);
    free(scales);
}

/* Every tensor of every recipe of a golden file. */
static void check_digests(const char *model, const char *golden, const char *key, char separator)
{
    gk_err err = {0};
    gk_catalog *c = gk_model_open_whole(model, &err);
    gk_json *root = gk_json_load(golden, &err);
    void *recipes = NULL;
    const char *recipe, *name;
    const gk_json *tensors, *digests;
    int checked = 0;
    assert_ok(c != NULL && root != NULL, err);
    while (gk_json_next(gk_json_get(root, key), &recipes, &recipe, &tensors)) {
        char text[32];
        gk_scheme s;
        void *iter = NULL;
        snprintf(text, sizeof text, "%s", recipe);
        if (strchr(text, separator) != NULL)
            *strchr(text, separator) = '-';
        assert_ok(gk_scheme_parse(text, &s, &err), err);
        while (gk_json_next(tensors, &iter, &name, &digests)) {
            check_tensor(c, name, &s, digests);
            checked++;
        }
    }
    assert_true(checked > 50);
    gk_json_free(root);
    gk_catalog_close(c);
}

static void rtn_gives_the_reference_s_codes_and_scales(void **state)
{
    (void)state;
    check_digests(TINY, TINY "/golden/golden.json", "rtn_codes", '_');
}

static void rtn_gives_them_on_an_odd_geometry_too(void **state)
{
    (void)state;
    check_digests("build/models/odd", "testdata/grok2-odd/golden.json", "codes", '-');
}

static double error_of(const gk_scheme *s, gk_method method, float *w, uint64_t rows,
                       uint64_t cols)
{
    static int8_t codes[4096], zeros[1024];
    static float scales[1024], back[4096];
    const gk_group_job job = {s, method, NULL, rows, cols, NULL, NULL, NULL};
    double error = 0, e, q;
    gk_group_encode(&job, w, codes, scales, s->symmetric ? NULL : zeros, NULL);
    gk_group_decode(s, codes, scales, s->symmetric ? NULL : zeros, rows, cols, back);
    for (uint64_t r = 0; r < rows; r++) {
        gk_kernels_get()->row_error(w + r * cols, back + r * cols, cols, &e, &q);
        error += e;
    }
    return error;
}

static void search_is_never_worse_than_rtn(void **state)
{
    (void)state;
    static const char *const names[] = {"int4-g32", "int4-g128", "int4-channel", "int8-g64",
                                        "int4-g128-asym", "int8-g32-asym", "int4-channel-asym"};
    static float w[4096];
    gk_err err = {0};
    uint32_t seed = 99;
    for (int shape = 0; shape < 4; shape++) {
        for (int i = 0; i < 4096; i++) {
            seed = seed * 1664525u + 1013904223u;
            const float x = (float)(int32_t)seed / 2147483648.0f;
            w[i] = shape == 0 ? x : shape == 1 ? x * x * x : shape == 2 ? -fabsf(x) : x + 0.8f;
        }
        for (size_t k = 0; k < sizeof names / sizeof names[0]; k++) {
            gk_scheme s;
            assert_ok(gk_scheme_parse(names[k], &s, &err), err);
            const double rtn = error_of(&s, GK_METHOD_RTN, w, 16, 256);
            const double search = error_of(&s, GK_METHOD_SEARCH, w, 16, 256);
            /* candidates are judged through a reciprocal, the codes by division */
            assert_true(search <= rtn * 1.0001);
            if (k < 3) /* int4, symmetric: clipping pays */
                assert_true(search < rtn * 0.97);
        }
    }
}

/* Scales are finite and no code leaves its range, whatever a group holds. */
static void extreme_groups_have_finite_scales(void **state)
{
    (void)state;
    static const float values[][4] = {{0, 0, 0, 0},
                                      {1e-45f, -1e-45f, 0, 0},
                                      {3e38f, -3e38f, 1, 0},
                                      {-1, -1, -1, -1},
                                      {1e-30f, 1e-38f, -1e-30f, 0}};
    for (int i = 0; i < 5 * 4; i++) {
        gk_scheme s = gk_scheme_int(4, 32, i % 2 == 0);
        const gk_group_job job = {&s, (gk_method)(i / 2 % 2), NULL, 2, 32, NULL, NULL, NULL};
        int8_t codes[64], zeros[2] = {0};
        float w[64], scales[2], back[64];
        for (int j = 0; j < 64; j++)
            w[j] = values[i / 4][j % 4];
        gk_group_encode(&job, w, codes, scales, s.symmetric ? NULL : zeros, NULL);
        gk_group_decode(&s, codes, scales, s.symmetric ? NULL : zeros, 2, 32, back);
        assert_true(isfinite(scales[0]) && isfinite(scales[1]));
        for (int j = 0; j < 64; j++) {
            assert_in_range(codes[j] + 8, 0, 15);
            /* an end of the range may be clipped, but never by more than half of it */
            if (i / 4 != 1)
                assert_true(fabs((double)back[j] - (double)w[j]) <= 0.51 * fabs((double)w[0]));
        }
    }
}

static void a_zero_group_has_bf16_s_epsilon_as_scale(void **state)
{
    (void)state;
    float w[32] = {0};
    gk_scheme s = gk_scheme_int(4, 32, true);
    const gk_group_job job = {&s, GK_METHOD_SEARCH, NULL, 1, 32, NULL, NULL, NULL};
    int8_t codes[32];
    float scale;
    gk_group_encode(&job, w, codes, &scale, NULL, NULL);
    assert_true(scale == 0.0078125f);
    for (int i = 0; i < 32; i++)
        assert_int_equal(codes[i], 0);
}

static void schemes_are_read_in_any_case_and_written_canonically(void **state)
{
    (void)state;
    gk_scheme s;
    gk_err err = {0};
    assert_true(gk_scheme_parse("INT4-G64-Asym", &s, &err));
    assert_string_equal(s.name, "int4-g64-asym");
    assert_true(s.bits == 4 && s.group == 64 && !s.symmetric);
    assert_true(gk_scheme_parse("int8-channel", &s, &err));
    assert_true(s.bits == 8 && s.group == 0 && s.symmetric);
    assert_false(gk_scheme_parse("int5-g32", &s, &err));
    assert_int_equal(err.code, GK_ERR_ARG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rtn_gives_the_reference_s_codes_and_scales),
        cmocka_unit_test(rtn_gives_them_on_an_odd_geometry_too),
        cmocka_unit_test(search_is_never_worse_than_rtn),
        cmocka_unit_test(extreme_groups_have_finite_scales),
        cmocka_unit_test(a_zero_group_has_bf16_s_epsilon_as_scale),
        cmocka_unit_test(schemes_are_read_in_any_case_and_written_canonically),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
