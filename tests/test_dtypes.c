/* tests/test_dtypes.c - a model of every dtype goes through each command: what cannot be
 * computed with is kept, byte for byte, and said. */
#include "tests/laid.h"

#include "verify/compare.h"

#define WORK "build/tmp/test_dtypes"

enum { ROWS = 4, COLS = 64, N = ROWS * COLS };

/* In the order of their names. */
static const struct {
    const char *name;
    int bytes;
    bool is_integer, decodes;
} types[] = {
    {"BF16", 2, false, true},     {"BOOL", 1, true, false},
    {"C64", 8, false, false},     {"F16", 2, false, true},
    {"F32", 4, false, true},      {"F64", 8, false, true},
    {"F8_E4M3", 1, false, false}, {"F8_E4M3FNUZ", 1, false, false},
    {"F8_E5M2", 1, false, false}, {"F8_E5M2FNUZ", 1, false, false},
    {"F8_E8M0", 1, false, false}, {"I16", 2, true, false},
    {"I32", 4, true, false},      {"I64", 8, true, false},
    {"I8", 1, true, false},       {"U16", 2, true, false},
    {"U32", 4, true, false},      {"U64", 8, true, false},
    {"U8", 1, true, false},
};

#define N_TYPES (sizeof types / sizeof *types)

static const char *name_of(size_t i) { return path_of("x.%s.weight", types[i].name); }

/* Bytes 0x21 to 0x3F and a first byte: finite in all types; BOOL gets ones. */
static void write_all(const char *path, int first)
{
    static laid f;
    uint32_t seed = 7;
    f = (laid){.n = 0};
    for (size_t i = 0; i < N_TYPES; i++) {
        unsigned char *at = lay(&f, name_of(i), types[i].name, "[4,64]",
                                (uint64_t)N * (uint64_t)types[i].bytes, 1);
        for (int k = 0; k < N * types[i].bytes && strcmp(types[i].name, "BOOL") != 0; k++) {
            seed = seed * 1664525u + 1013904223u;
            at[k] = (unsigned char)(0x21 + (seed >> 24) % 31);
        }
        at[0] = (unsigned char)first;
    }
    write_laid(&f, path);
}

static const gk_tensor *find(const gk_catalog *c, size_t i)
{
    for (uint64_t k = 0; k < c->n_tensors; k++)
        if (strcmp(c->tensor[k].name, name_of(i)) == 0)
            return &c->tensor[k];
    fail_msg("%s is not there", name_of(i));
    return NULL;
}

static void each_keeps_its_bytes(void **state)
{
    (void)state;
    const gk_plan_options o = plain_options();
    gk_err err = {0};
    fresh_dir(WORK);
    write_all(WORK "/all.safetensors", 0);
    write_model(WORK "/all.safetensors", "default = keep\n", &o, WORK "/out");
    assert_int_equal(check_dir(WORK "/out", MANY), 1);
    gk_catalog *a = open_whole(WORK "/all.safetensors"), *b = open_whole(WORK "/out");
    assert_int_equal(b->n_tensors, N_TYPES);
    for (size_t i = 0; i < N_TYPES; i++) {
        const gk_tensor *x = find(a, i), *y = find(b, i);
        unsigned char p[8 * N], q[8 * N];
        const size_t n = (size_t)N * (size_t)types[i].bytes;
        assert_string_equal(gk_tensor_kind(y), types[i].name);
        assert_int_equal(gk_tensor_bytes(y), n);
        assert_ok(gk_read_part(a, x, 0, 0, ROWS, 0, COLS, p, &err), err);
        assert_ok(gk_read_part(b, y, 0, 0, ROWS, 0, COLS, q, &err), err);
        assert_memory_equal(p, q, n);
    }
    gk_catalog_close(a);
    gk_catalog_close(b);
}

static void compare_tells_numbers_from_bytes(void **state)
{
    (void)state;
    const gk_compare_options o = {.threads = 2};
    gk_comparison r;
    gk_err err = {0};
    fresh_dir(WORK);
    write_all(WORK "/a.safetensors", 0);
    write_all(WORK "/b.safetensors", 1);
    gk_catalog *a = open_whole(WORK "/a.safetensors"), *b = open_whole(WORK "/b.safetensors");
    assert_ok(gk_compare(a, a, &o, &r, &err), err);
    assert_int_equal(r.equal, N_TYPES);
    gk_comparison_free(&r);
    assert_ok(gk_compare(a, b, &o, &r, &err), err);
    assert_int_equal(r.n, N_TYPES);
    assert_int_equal(r.different, N_TYPES);
    for (uint64_t k = 0; k < r.n; k++)
        for (size_t i = 0; i < N_TYPES; i++)
            if (strcmp(r.row[k].a->name, name_of(i)) == 0) {
                assert_int_equal(r.row[k].comparable, types[i].decodes);
                assert_int_equal(r.row[k].bytes, !types[i].decodes);
            }
    gk_comparison_free(&r);
    gk_catalog_close(a);
    gk_catalog_close(b);
}

static void quantize_names_what_it_cannot_read(void **state)
{
    (void)state;
    const gk_plan_options o = int_options();
    fresh_dir(WORK);
    write_all(WORK "/all.safetensors", 0);
    gk_catalog *c = open_whole(WORK "/all.safetensors");
    for (size_t i = 0; i < N_TYPES; i++) {
        gk_err err = {0};
        char rules[200];
        snprintf(rules, sizeof rules, "x\\.%s$ = int8-g64\ndefault = keep\n", types[i].name);
        gk_plan *p = try_plan(c, rules, &o, &err);
        assert_int_equal(p != NULL, types[i].decodes);
        if (p == NULL) {
            assert_int_equal(err.code, types[i].is_integer ? GK_ERR_ARG : GK_ERR_UNSUPPORTED);
            assert_string_equal(err.tensor, name_of(i));
            assert_non_null(
                strstr(err.msg, types[i].is_integer ? "no float matrix" : "REGEX=keep"));
        }
        gk_plan_free(p);
    }
    gk_catalog_close(c);
}

static void dtype_warns_of_the_floats_it_leaves(void **state)
{
    (void)state;
    gk_plan_options o = plain_options();
    gk_scheme bf16;
    gk_err err = {0};
    uint64_t n = 0;
    fresh_dir(WORK);
    write_all(WORK "/all.safetensors", 0);
    assert_ok(gk_scheme_parse("bf16", &bf16, &err), err);
    o.plain = &bf16;
    gk_catalog *c = open_whole(WORK "/all.safetensors");
    gk_plan *p = try_plan(c, "default = keep\n", &o, &err);
    assert_ok(p != NULL, err);
    for (size_t i = 0; i < N_TYPES; i++) {
        bool said = false;
        for (uint64_t k = 0; k < p->notes.n; k++)
            said = said
                   || (strcmp(p->notes.row[k].tensor, name_of(i)) == 0
                       && p->notes.row[k].severity == GK_WARN
                       && strstr(p->notes.row[k].text, types[i].name) != NULL);
        /* F64 is turned, but through f32 */
        assert_int_equal(said, strcmp(types[i].name, "F64") == 0
                                   || (!types[i].is_integer && !types[i].decodes));
        n += said;
    }
    assert_int_equal(p->notes.n, n);
    gk_plan_free(p);
    gk_catalog_close(c);
    remove_tree(WORK);
}

/* A matrix of doubles and a vector of such. */
static void write_doubles(const char *path, double first)
{
    static laid f;
    f = (laid){.n = 0};
    for (int k = 0; k < 2; k++) {
        unsigned char *at = lay(&f, k == 0 ? "x.weight" : "x.bias", "F64",
                                k == 0 ? "[4,64]" : "[256]", N * 8, 0);
        for (int i = 0; i < N; i++) {
            const double v = i == 0 ? first : 1 + i / 3.0;
            memcpy(at + 8 * i, &v, 8);
        }
    }
    write_laid(&f, path);
}

static void doubles_are_quantized_by_way_of_f32(void **state)
{
    (void)state;
    const gk_plan_options o = int_options(), plain = plain_options();
    static float a[N], scratch[2 * N];
    const uint64_t rect[4] = {0, ROWS, 0, COLS};
    gk_err err = {0};
    fresh_dir(WORK);
    write_doubles(WORK "/in.safetensors", 0.1);
    gk_catalog *c = open_whole(WORK "/in.safetensors");
    gk_plan *p = try_plan(c, "default = int8-g64\n", &o, &err);
    assert_ok(p != NULL, err);
    assert_string_equal(p->item[0].from->name, "x.bias");
    assert_int_equal(p->item[0].to.kind, GK_SCHEME_KEEP);
    assert_string_equal(p->item[1].to.name, "int8-g64");
    assert_int_equal(p->notes.n, 1);
    assert_int_equal(p->notes.row[0].severity, GK_WARN);
    assert_string_equal(p->notes.row[0].tensor, "x.weight");
    assert_string_equal(p->notes.row[0].text, "its F64 values are rounded to f32 first");
    gk_plan_free(p);
    gk_catalog_close(c);
    write_model(WORK "/in.safetensors", "default = int8-g64\n", &o, WORK "/int8");
    write_model(WORK "/in.safetensors", "default = f32\n", &plain, WORK "/f32");
    c = open_whole(WORK "/f32");
    const gk_tensor *t = gk_catalog_find(c, "x.weight");
    assert_ok(gk_decode(c, t, rect, a, scratch, &err), err);
    for (int i = 0; i < N; i++)
        assert_true(a[i] == (i == 0 ? 0.1f : (float)(1 + i / 3.0)));
    gk_catalog_close(c);
    /* the largest float and half a step of it round up to infinity */
    write_doubles(WORK "/in.safetensors", 0x1.ffffffp+127);
    assert_false(try_write(WORK "/in.safetensors", "default = f32\n", &plain, WORK "/x", &err));
    assert_int_equal(err.code, GK_ERR_FORMAT);
    assert_non_null(strstr(err.msg, "at row 0, column 0 is beyond what f32 holds"));
}

static void doubles_that_f32_cannot_tell_apart_differ(void **state)
{
    (void)state;
    const gk_compare_options o = {.threads = 2};
    gk_comparison r;
    gk_err err = {0};
    fresh_dir(WORK);
    write_doubles(WORK "/a.safetensors", 1);
    write_doubles(WORK "/b.safetensors", 1 + 0x1p-40);
    gk_catalog *a = open_whole(WORK "/a.safetensors"), *b = open_whole(WORK "/b.safetensors");
    assert_ok(gk_compare(a, b, &o, &r, &err), err);
    assert_int_equal(r.different, 2);
    assert_int_equal(r.apart, 0);
    assert_true(r.rel_error == 0);
    gk_comparison_free(&r);
    assert_ok(gk_compare(a, a, &o, &r, &err), err);
    assert_int_equal(r.equal, 2);
    gk_comparison_free(&r);
    gk_catalog_close(a);
    gk_catalog_close(b);
    remove_tree(WORK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_keeps_its_bytes),
        cmocka_unit_test(compare_tells_numbers_from_bytes),
        cmocka_unit_test(quantize_names_what_it_cannot_read),
        cmocka_unit_test(dtype_warns_of_the_floats_it_leaves),
        cmocka_unit_test(doubles_are_quantized_by_way_of_f32),
        cmocka_unit_test(doubles_that_f32_cannot_tell_apart_differ),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
