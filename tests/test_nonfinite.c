/* tests/test_nonfinite.c - NaN and infinity, of every type that has them, where they stand.
 *
 * The codes are those of the formats' definitions, spelled out; the files are laid by hand. */
#include "tests/laid.h"

#include "formats/checked.h"
#include "quant/nonfinite.h"
#include "verify/checks.h"

#define WORK "build/tmp/test_nonfinite"

/* ---- one array ------------------------------------------------------------------- */

typedef struct eight {
    gk_dtype dtype;
    int n_inf, n_nan;
    int inf[2], nan[6];
} eight;

static const eight eights[] = {
    {GK_F8_E4M3, 0, 2, {0}, {0x7F, 0xFF}},
    {GK_F8_E5M2, 2, 6, {0x7C, 0xFC}, {0x7D, 0x7E, 0x7F, 0xFD, 0xFE, 0xFF}},
    {GK_F8_E8M0, 0, 1, {0}, {0xFF}},
    {GK_F8_E4M3FNUZ, 0, 1, {0}, {0x80}},
    {GK_F8_E5M2FNUZ, 0, 1, {0}, {0x80}},
    {GK_I8, 0, 0, {0}, {0}},
    {GK_U8, 0, 0, {0}, {0}},
    {GK_BOOL, 0, 0, {0}, {0}},
};

static bool is_among(const int *list, int n, int code)
{
    for (int i = 0; i < n; i++)
        if (list[i] == code)
            return true;
    return false;
}

static void every_code_of_a_byte_is_judged(void **state)
{
    (void)state;
    enum { N = 37 };
    for (size_t k = 0; k < sizeof eights / sizeof *eights; k++)
        for (int code = 0; code < 256; code++) {
            const eight *e = &eights[k];
            const bool inf = is_among(e->inf, e->n_inf, code);
            const bool nan = is_among(e->nan, e->n_nan, code);
            for (uint64_t at = 0; at < N; at++) {
                /* the neighbours are the largest numbers of E4M3 and E5M2, by turns */
                unsigned char bytes[N];
                for (int i = 0; i < N; i++)
                    bytes[i] = (unsigned char)((e->dtype == GK_F8_E5M2 ? 0x7B : 0x7E)
                                               | (i % 2 && k < 2 ? 0x80 : 0));
                bytes[at] = (unsigned char)code;
                assert_int_equal(gk_nonfinite(e->dtype, bytes, N), inf || nan ? at : N);
                assert_int_equal(gk_nonfinite(e->dtype, bytes, at), at);
                if (inf || nan)
                    assert_int_equal(gk_is_nan(e->dtype, bytes + at), nan);
            }
        }
}

static void wider_floats_are_judged_by_their_exponent(void **state)
{
    (void)state;
    static const struct {
        gk_dtype dtype;
        size_t size;
        uint64_t bits;
        int is; /* 0: finite, 1: infinite, 2: NaN */
    } one[] = {
        {GK_F64, 8, UINT64_C(0x7FF0000000000000), 1},
        {GK_F64, 8, UINT64_C(0xFFF0000000000000), 1},
        {GK_F64, 8, UINT64_C(0x7FF0000000000001), 2},
        {GK_F64, 8, UINT64_C(0xFFF8000000000000), 2},
        {GK_F64, 8, UINT64_C(0x7FEFFFFFFFFFFFFF), 0},
        {GK_F64, 8, UINT64_C(0x800FFFFFFFFFFFFF), 0},
        {GK_C64, 8, UINT64_C(0x000000007F800000), 1},
        {GK_C64, 8, UINT64_C(0xFF80000000000000), 1},
        {GK_C64, 8, UINT64_C(0x7FC0000000000000), 2},
        {GK_C64, 8, UINT64_C(0x7F800000FF800001), 2},
        {GK_C64, 8, UINT64_C(0x7F7FFFFF7F7FFFFF), 0},
        {GK_F32, 4, 0x7F800000, 1},
        {GK_F32, 4, 0xFF800001, 2},
        {GK_F32, 4, 0x7F7FFFFF, 0},
        {GK_F16, 2, 0xFC00, 1},
        {GK_F16, 2, 0x7C01, 2},
        {GK_F16, 2, 0x7BFF, 0},
        {GK_BF16, 2, 0x7F80, 1},
        {GK_BF16, 2, 0xFF81, 2},
        {GK_BF16, 2, 0x7F7F, 0},
        {GK_I64, 8, UINT64_C(0x7FF0000000000000), 0},
        {GK_U64, 8, UINT64_MAX, 0},
        {GK_I32, 4, 0x7F800000, 0},
        {GK_U16, 2, 0x7F80, 0},
    };
    for (size_t k = 0; k < sizeof one / sizeof *one; k++)
        for (uint64_t at = 0; at < 19; at++) {
            unsigned char bytes[19 * 8] = {0};
            memcpy(bytes + at * one[k].size, &one[k].bits, one[k].size);
            assert_int_equal(gk_nonfinite(one[k].dtype, bytes, 19), one[k].is ? at : 19);
            if (one[k].is)
                assert_int_equal(gk_is_nan(one[k].dtype, bytes + at * one[k].size), one[k].is == 2);
        }
}

static void a_block_is_found_by_its_scale(void **state)
{
    (void)state;
    unsigned char q8[3 * 34] = {0}, mx[3 * 17] = {0};
    assert_int_equal(gk_nonfinite(GK_Q8_0, q8, 96), 96);
    q8[34 + 33] = 0x7C; /* a code */
    assert_int_equal(gk_nonfinite(GK_Q8_0, q8, 96), 96);
    q8[2 * 34 + 1] = 0x7C; /* the high byte of a scale */
    assert_int_equal(gk_nonfinite(GK_Q8_0, q8, 96), 64);
    mx[17] = 0xFF;
    assert_int_equal(gk_nonfinite(GK_MXFP4, mx, 96), 32);
}

/* ---- audit --------------------------------------------------------------------------- */

/* Audits the file; `expected` holds a line "TENSOR: TEXT" for each finding, in their order. */
static void check_audit(const char *path, const char *expected)
{
    const gk_check_options o = {.values = true, .threads = 2, .memory_bytes = MANY};
    gk_err err = {0};
    gk_text found = {0};
    gk_catalog *c = gk_model_open(path, &err);
    assert_ok(c != NULL && gk_checks_run(c, &o, &err), err);
    for (uint64_t i = 0; i < c->findings.n; i++) {
        assert_string_equal(c->findings.row[i].check, "values");
        assert_int_equal(c->findings.row[i].more, 0);
        gk_text_printf(&found, "%s: %s\n", c->findings.row[i].tensor, c->findings.row[i].text);
    }
    assert_string_equal(found.len > 0 ? found.data : "", expected);
    gk_text_free(&found);
    gk_catalog_close(c);
}

static void audit_scans_every_type_that_has_nan(void **state)
{
    (void)state;
    static laid f;
    static const uint64_t nan64 = UINT64_C(0x7FF8000000000000),
                          inf64 = UINT64_C(0xFFF0000000000000);
    static const uint32_t nan32 = 0xFFC00000, inf32 = 0x7F800000;
    fresh_dir(WORK);
    f = (laid){.n = 0};
    unsigned char *c64 = lay(&f, "c64", "C64", "[3,4,5]", 480, 1);
    memcpy(c64 + 8 * 7 + 4, &nan32, 4); /* the imaginary part of element 7 */
    memcpy(c64 + 8 * 7, &nan32, 4);     /* and its real part: one number    */
    memcpy(c64 + 8 * 59, &inf32, 4);
    unsigned char *f64 = lay(&f, "f64", "F64", "[6,10]", 480, 1);
    memcpy(f64 + 8 * 21, &nan64, 8);
    memcpy(f64 + 8 * 59, &nan64, 8);
    memcpy(f64 + 8 * 20, &inf64, 8);
    lay(&f, "f8_e4m3", "F8_E4M3", "[2,31]", 62, 0x7E)[31 + 30] = 0xFF;
    unsigned char *e5 = lay(&f, "f8_e5m2", "F8_E5M2", "[62]", 62, 0x7B);
    e5[33] = 0x7C;
    e5[34] = 0x7D;
    lay(&f, "f8_e8m0", "F8_E8M0", "[5,8]", 40, 0x7F)[19] = 0xFF;
    lay(&f, "fnuz4", "F8_E4M3FNUZ", "[5,8]", 40, 0xFF)[20] = 0x80;
    lay(&f, "fnuz5", "F8_E5M2FNUZ", "[5,8]", 40, 0x7F)[21] = 0x80;
    /* the same bits mean nothing in these */
    lay(&f, "i64", "I64", "[3]", 24, 0xFF);
    lay(&f, "i8", "I8", "[8]", 8, 0x7F);
    lay(&f, "u8", "U8", "[8]", 8, 0xFF);
    lay(&f, "u64", "U64", "[2]", 16, 0xFF);
    write_laid(&f, WORK "/all.safetensors");
    check_audit(WORK "/all.safetensors",
                "c64: 1 NaN, the first at row 1, column 2\n"
                "c64: 1 infinities (Inf), the first at row 11, column 4\n"
                "f8_e4m3: 1 NaN, the first at row 1, column 30\n"
                "f8_e5m2: 1 NaN, the first at row 0, column 34\n"
                "f8_e5m2: 1 infinities (Inf), the first at row 0, column 33\n"
                "f8_e8m0: 1 NaN, the first at row 2, column 3\n"
                "f64: 2 NaN, the first at row 2, column 1\n"
                "f64: 1 infinities (Inf), the first at row 2, column 0\n"
                "fnuz4: 1 NaN, the first at row 2, column 4\n"
                "fnuz5: 1 NaN, the first at row 2, column 5\n");
}

static void audit_tells_values_from_scales(void **state)
{
    (void)state;
    static laid f;
    static const uint32_t one = 0x3F800000, nan = 0x7FC00000;
    fresh_dir(WORK);
    f = (laid){.n = 0};
    /* FP8 with a scale a row; NVFP4 whose second number is that of the whole; MXFP4 */
    lay(&f, "a.weight", "F8_E4M3", "[3,8]", 24, 0x01)[13] = 0x7F;
    unsigned char *scale = lay(&f, "a.weight_scale", "F32", "[3,1]", 12, 0);
    for (int i = 0; i < 3; i++)
        memcpy(scale + 4 * i, i == 2 ? &nan : &one, 4);
    lay(&f, "b.weight_packed", "U8", "[2,32]", 64, 0xFF);
    lay(&f, "b.weight_scale", "F8_E4M3", "[2,4]", 8, 0x01)[6] = 0xFF;
    memcpy(lay(&f, "b.weight_global_scale", "F32", "[1]", 4, 0), &one, 4);
    lay(&f, "c.weight_packed", "U8", "[2,64]", 128, 0xFF);
    lay(&f, "c.weight_scale", "U8", "[2,4]", 8, 0x7F)[5] = 0xFF;
    write_laid(&f, WORK "/scales.safetensors");
    check_audit(WORK "/scales.safetensors",
                "a.weight: 1 NaN, the first at row 1, column 5\n"
                "a.weight: 1 NaN among its scales, the first at row 2, column 0\n"
                "b.weight: 1 NaN among its scales, the first at row 1, column 2\n"
                "c.weight: 1 NaN among its scales, the first at row 1, column 1\n");
}

/* Rows wider than what is read at once come in pieces. */
static void a_place_in_a_very_wide_row_is_exact(void **state)
{
    (void)state;
    enum { WIDTH = 2200000 };
    static const unsigned char nan[2] = {0xC0, 0x7F};
    char header[200];
    fresh_dir(WORK);
    snprintf(header, sizeof header,
             "{\"w\":{\"dtype\":\"BF16\",\"shape\":[3,%d],"
             "\"data_offsets\":[0,%d]}}",
             WIDTH, 6 * WIDTH);
    const uint64_t len = 128;
    memset(header + strlen(header), ' ', len - strlen(header));
    FILE *file = fopen(WORK "/wide.safetensors", "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(&len, 8, 1, file), 1);
    assert_int_equal(fwrite(header, len, 1, file), 1);
    const long at[] = {2100000, WIDTH + 5L};
    for (int i = 0; i < 2; i++) {
        assert_int_equal(fseek(file, (long)(8 + len) + 2 * at[i], SEEK_SET), 0);
        assert_int_equal(fwrite(nan, 2, 1, file), 1);
    }
    assert_int_equal(fclose(file), 0);
    assert_int_equal(truncate(WORK "/wide.safetensors", (off_t)(8 + len + 6 * WIDTH)), 0);
    check_audit(WORK "/wide.safetensors", "w: 2 NaN, the first at row 0, column 2100000\n");
}

/* ---- quantize --------------------------------------------------------------------------- */

static void quantize_refuses_what_audit_finds(void **state)
{
    (void)state;
    static const struct {
        const char *dtype, *shape;
        uint64_t bytes, at;
        unsigned char bits[8];
        size_t size;
        const char *text;
    } one[] = {
        {"F64", "[4,8]", 256, 27 * 8, {0, 0, 0, 0, 0, 0, 0xF8, 0x7F}, 8, "NaN at row 3, column 3"},
        {"F64", "[4,8]", 256, 0, {0, 0, 0, 0, 0, 0, 0xF0, 0xFF}, 8, "(Inf) at row 0, column 0"},
        {"C64",
         "[4,8]",
         256,
         31 * 8,
         {1, 1, 1, 1, 0, 0, 0x80, 0x7F},
         8,
         "(Inf) at row 3, column 7"},
        {"F8_E4M3", "[4,8]", 32, 9, {0x7F}, 1, "NaN at row 1, column 1"},
        {"F8_E5M2", "[4,8]", 32, 8, {0xFC}, 1, "(Inf) at row 1, column 0"},
    };
    static laid f;
    const gk_plan_options o = plain_options();
    for (size_t k = 0; k < sizeof one / sizeof *one; k++) {
        gk_err err = {0};
        fresh_dir(WORK);
        f = (laid){.n = 0};
        lay(&f, "w", one[k].dtype, one[k].shape, one[k].bytes, 1);
        write_laid(&f, WORK "/w.safetensors");
        assert_ok(try_write(WORK "/w.safetensors", "default = keep\n", &o, WORK "/ok", &err), err);
        f = (laid){.n = 0};
        unsigned char *at = lay(&f, "w", one[k].dtype, one[k].shape, one[k].bytes, 1);
        memcpy(at + one[k].at, one[k].bits, one[k].size);
        write_laid(&f, WORK "/w.safetensors");
        assert_false(try_write(WORK "/w.safetensors", "default = keep\n", &o, WORK "/out", &err));
        assert_int_equal(err.code, GK_ERR_FORMAT);
        if (strstr(err.msg, one[k].text) == NULL)
            fail_msg("%s: %s", one[k].dtype, err.msg);
        assert_false(is_there(WORK "/out"));
    }
    remove_tree(WORK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_code_of_a_byte_is_judged),
        cmocka_unit_test(wider_floats_are_judged_by_their_exponent),
        cmocka_unit_test(a_block_is_found_by_its_scale),
        cmocka_unit_test(audit_scans_every_type_that_has_nan),
        cmocka_unit_test(audit_tells_values_from_scales),
        cmocka_unit_test(a_place_in_a_very_wide_row_is_exact),
        cmocka_unit_test(quantize_refuses_what_audit_finds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
