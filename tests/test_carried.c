/* tests/test_carried.c - ggml's block types that no codec reads: shown, checked, carried on. */
#define WRITTEN_OPEN gk_model_open
#include "tests/gguf_bytes.h"
#include "tests/written.h"

#include "verify/checks.h"
#include "verify/compare.h"

#define WORK "build/tmp/test_carried"
#define IN   WORK "/in.gguf"
#define OUT  WORK "/out.gguf"

enum { ROWS = 2, COLS = 256 };

/* ggml.h and the structs of ggml-common.h, as the facts' table and the gguf package have them. */
static const struct {
    const char *name;
    unsigned id, elems, bytes;
} types[] = {
    {"Q8_1", 9, 32, 36},     {"Q8_K", 15, 256, 292},   {"IQ2_XXS", 16, 256, 66},
    {"IQ2_XS", 17, 256, 74}, {"IQ3_XXS", 18, 256, 98}, {"IQ1_S", 19, 256, 50},
    {"IQ3_S", 21, 256, 110}, {"IQ2_S", 22, 256, 82},   {"IQ1_M", 29, 256, 56},
    {"TQ1_0", 34, 256, 54},  {"TQ2_0", 35, 256, 66},   {"Q1_0", 41, 128, 18},
    {"Q2_0", 42, 64, 18},    {"F32", 0, 1, 4},
};

#define N_TYPES  (sizeof types / sizeof *types)
#define N_OPAQUE (N_TYPES - 1)

static size_t bytes_of(size_t i) { return (size_t)ROWS * COLS / types[i].elems * types[i].bytes; }

/* ---- a file ----------------------------------------------------------------------- */

static unsigned char file[1 << 16];
static size_t n_file;

static void put(uint64_t v, int n)
{
    for (int i = 0; i < n; i++)
        file[n_file++] = (unsigned char)(v >> 8 * i);
}

static void put_text(const char *s)
{
    put(strlen(s), 8);
    memcpy(file + n_file, s, strlen(s));
    n_file += strlen(s);
}

static void pad(void)
{
    while (n_file % 32 != 0)
        file[n_file++] = 0;
}

/* Tensors "NAME.weight" [2, 256] of types first to last, bytes of a counter; F32 of ones. */
static void write_types(const char *path, size_t first, size_t last)
{
    uint64_t at = 0;

    n_file = 0;
    put(0x46554747, 4);
    put(3, 4);
    put(last - first + 1, 8);
    put(2, 8);
    put_text("general.architecture");
    put(STRING, 4);
    put_text("odd");
    put_text("general.file_type");
    put(U32, 4);
    put(19, 4);
    for (size_t i = first; i <= last; i++) {
        put_text(path_of("%s.weight", types[i].name));
        put(2, 4);
        put(COLS, 8);
        put(ROWS, 8);
        put(types[i].id, 4);
        put(at, 8);
        at += (bytes_of(i) + 31) / 32 * 32;
    }
    pad();
    for (size_t i = first; i <= last; i++) {
        for (size_t k = 0; k < bytes_of(i); k++)
            file[n_file++] = types[i].id == 0 ? (unsigned char[]){0, 0, 0x80, 0x3F}[k % 4]
                                              : (unsigned char)(k * 7 + i);
        pad();
    }
    write_bytes(path, file, n_file);
}

static void write_all(void)
{
    fresh_dir(WORK);
    write_types(IN, 0, N_TYPES - 1);
}

/* ---- what is shown ------------------------------------------------------------------ */

static void each_has_its_name_shape_and_bytes(void **state)
{
    (void)state;
    write_all();
    gk_catalog *c = open_whole(IN);
    assert_int_equal(c->findings.n, 0);
    assert_int_equal(c->n_tensors, N_TYPES);
    for (size_t i = 0; i < N_TYPES; i++) {
        const gk_tensor *t = gk_catalog_find(c, path_of("%s.weight", types[i].name));
        assert_non_null(t);
        assert_string_equal(gk_tensor_kind(t), types[i].name);
        assert_int_equal(gk_rows(t), ROWS);
        assert_int_equal(gk_cols(t), COLS);
        assert_int_equal(gk_tensor_bytes(t), bytes_of(i));
    }
    gk_catalog_close(c);
}

static void rows_of_half_a_block_are_refused(void **state)
{
    (void)state;
    write_all();
    n_file = 0;
    put(0x46554747, 4);
    put(3, 4);
    put(1, 8);
    put(0, 8);
    put_text("x");
    put(1, 4);
    put(192, 8);
    put(16, 4);
    put(0, 8);
    n_file += 4096;
    write_bytes(IN, file, n_file);
    gk_catalog *c = open_whole(IN);
    assert_int_equal(c->findings.n, 1);
    assert_int_equal(c->findings.row[0].code, GK_ERR_FORMAT);
    assert_non_null(strstr(c->findings.row[0].text, "IQ2_XXS"));
    gk_catalog_close(c);
}

static void an_audit_says_which_values_it_did_not_look_at(void **state)
{
    (void)state;
    const gk_check_options o = {.values = true, .threads = 2};
    gk_err err = {0};
    write_all();
    gk_catalog *c = open_whole(IN);
    assert_ok(gk_checks_run(c, &o, &err), err);
    assert_int_equal(c->findings.n, N_OPAQUE);
    for (size_t i = 0; i < N_OPAQUE; i++) {
        const gk_finding *f = &c->findings.row[i];
        assert_int_equal(f->severity, GK_NOTE);
        assert_non_null(strstr(f->text, "no codec"));
        assert_true(strncmp(f->tensor, "F32", 3) != 0);
    }
    gk_catalog_close(c);
}

static void values_are_refused_by_type_tensor_and_file(void **state)
{
    (void)state;
    static unsigned char scratch[8192];
    static float out[ROWS * COLS];
    const uint64_t rect[4] = {0, ROWS, 0, COLS};
    write_all();
    gk_catalog *c = open_whole(IN);
    for (size_t i = 0; i < N_OPAQUE; i++) {
        gk_err err = {0};
        const gk_tensor *t = gk_catalog_find(c, path_of("%s.weight", types[i].name));
        assert_false(gk_can_decode(t));
        assert_false(gk_decode(c, t, rect, out, scratch, &err));
        assert_int_equal(err.code, GK_ERR_UNSUPPORTED);
        assert_string_equal(err.tensor, t->name);
        assert_string_equal(err.file, "in.gguf");
        assert_non_null(strstr(err.msg, types[i].name));
    }
    gk_catalog_close(c);
}

/* ---- what is carried ---------------------------------------------------------------- */

static void a_gguf_keeps_the_bytes_and_the_file_type(void **state)
{
    (void)state;
    gk_plan_options o = gguf_options();
    write_all();
    write_model(IN, "default = keep\n", &o, OUT);
    gguf_bytes a = read_gguf(IN), b = read_gguf(OUT);
    assert_int_equal(b.n_tensors, N_TYPES);
    for (uint64_t i = 0; i < a.n_tensors; i++) {
        const gguf_tensor *t = find_tensor(&b, a.tensor[i].name);
        assert_non_null(t);
        assert_string_equal(t->type, a.tensor[i].type);
        assert_int_equal(t->n, a.tensor[i].n);
        assert_memory_equal(t->data, a.tensor[i].data, t->n);
    }
    close_gguf(&b);
    /* with another type among them it is still what the source says, 19: IQ2_XXS */
    write_types(IN, 2, N_TYPES - 1);
    write_model(IN, "^F32 = Q2_K\ndefault = keep\n", &o, OUT);
    b = read_gguf(OUT);
    assert_int_equal(find_key(&b, "general.file_type")->value[0], 19);
    assert_string_equal(find_tensor(&b, "F32.weight")->type, "Q2_K");
    close_gguf(&a);
    close_gguf(&b);
}

static void nothing_else_is_made_of_them(void **state)
{
    (void)state;
    const gk_plan_options hf = plain_options(), coded = int_options(), gguf = gguf_options();
    const struct {
        const gk_plan_options *o;
        const char *rules, *hint;
    } refused[] = {{&hf, "default = keep\n", "in a GGUF"},
                   {&hf, "default = bf16\n", "in a GGUF"},
                   {&coded, "default = int8-g64\n", "in a GGUF"},
                   {&gguf, "default = Q4_0\n", "REGEX=keep"},
                   {&gguf, "IQ = f16\ndefault = keep\n", "REGEX=keep"}};
    fresh_dir(WORK);
    write_types(IN, 2, 2);
    gk_catalog *c = open_whole(IN);
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        gk_err err = {0};
        assert_null(try_plan(c, refused[i].rules, refused[i].o, &err));
        assert_int_equal(err.code, GK_ERR_UNSUPPORTED);
        assert_string_equal(err.tensor, "IQ2_XXS.weight");
        assert_string_equal(err.file, "in.gguf");
        assert_non_null(strstr(err.msg, "IQ2_XXS"));
        assert_non_null(strstr(err.msg, refused[i].hint));
    }
    gk_catalog_close(c);
}

static void they_compare_as_bytes(void **state)
{
    (void)state;
    const gk_compare_options o = {.threads = 2};
    gk_comparison r;
    gk_err err = {0};
    write_all();
    file[n_file - 4096] ^= 1; /* within Q1_0, Q2_0 or the ones */
    write_bytes(OUT, file, n_file);
    gk_catalog *a = open_whole(IN), *b = open_whole(OUT);
    assert_ok(gk_compare(a, a, &o, &r, &err), err);
    assert_int_equal(r.equal, N_TYPES);
    gk_comparison_free(&r);
    assert_ok(gk_compare(a, b, &o, &r, &err), err);
    assert_int_equal(r.different, 1);
    for (uint64_t i = 0; i < r.n; i++)
        assert_false(r.row[i].unread);
    gk_comparison_free(&r);
    gk_catalog_close(a);
    gk_catalog_close(b);
    remove_tree(WORK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_has_its_name_shape_and_bytes),
        cmocka_unit_test(rows_of_half_a_block_are_refused),
        cmocka_unit_test(an_audit_says_which_values_it_did_not_look_at),
        cmocka_unit_test(values_are_refused_by_type_tensor_and_file),
        cmocka_unit_test(a_gguf_keeps_the_bytes_and_the_file_type),
        cmocka_unit_test(nothing_else_is_made_of_them),
        cmocka_unit_test(they_compare_as_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
