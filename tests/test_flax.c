/* tests/test_flax.c - Flax checkpoints: what flax itself wrote, chunks that end inside a row,
 * shards with an index, and files that lie. */
#include "tests/disk.h"

#include "formats/hash.h"
#include "quant/model.h"

#define WORK "build/tmp/test_flax"
#define FLAX "testdata/flax-tiny"
#define ONE  WORK "/one.msgpack"

/* ---- what flax wrote -------------------------------------------------------------- */

static void check_leaf(const gk_catalog *c, const gk_json *leaf, const char *dtype)
{
    static const char *const types[][2] = {{"bfloat16", "BF16"}, {"float32", "F32"},
                                           {"float16", "F16"},   {"int8", "I8"},
                                           {"int32", "I32"},     {"int64", "I64"}};
    const gk_json *shape = gk_json_get(leaf, "shape");
    char name[256], hex[GK_SHA256_HEX];
    gk_err err = {0};

    snprintf(name, sizeof name, "%s", gk_json_text(gk_json_get(leaf, "path"), NULL));
    for (char *p = name; *p != '\0'; p++)
        if (*p == '/')
            *p = '.';
    const gk_tensor *t = gk_catalog_find(c, name);
    if (t == NULL)
        fail_msg("no tensor %s", name);
    const char *want = NULL;
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++)
        if (strcmp(types[i][0], dtype) == 0)
            want = types[i][1];
    assert_non_null(want);
    assert_string_equal(gk_tensor_kind(t), want);
    assert_int_equal(t->ndim, gk_json_count(shape));
    for (int i = 0; i < t->ndim; i++) {
        uint64_t dim;
        assert_true(gk_json_as_uint(gk_json_at(shape, (uint64_t)i), &dim));
        assert_int_equal(t->dim[i], dim);
    }
    unsigned char *buf = malloc(gk_tensor_bytes(t) + 1);
    assert_ok(gk_read_part(c, t, 0, 0, gk_rows(t), 0, gk_cols(t), buf, &err), err);
    assert_ok(gk_hash_bytes(buf, gk_tensor_bytes(t), hex, &err), err);
    if (strcmp(hex, gk_json_text(gk_json_get(leaf, "sha256"), NULL)) != 0)
        fail_msg("%s: its bytes are not those that flax was given", name);
    free(buf);
}

static uint64_t check_file(const gk_json *files, const char *file)
{
    const gk_json *leaves = gk_json_get(gk_json_get(files, file), "leaves");
    gk_err err = {0};
    gk_catalog *c = gk_model_open_whole(path_of(FLAX "/%s", file), &err);
    uint64_t n = 0;

    assert_ok(c != NULL, err);
    assert_string_equal(c->format, "flax");
    for (uint64_t i = 0; i < gk_json_count(leaves); i++) {
        const gk_json *leaf = gk_json_at(leaves, i);
        const char *dtype = gk_json_text(gk_json_get(leaf, "dtype"), NULL);
        if (strncmp(dtype, "python ", 7) == 0)
            continue;
        check_leaf(c, leaf, dtype);
        n++;
    }
    assert_int_equal(c->n_tensors, n);
    gk_catalog_close(c);
    return n;
}

static void every_leaf_has_the_bytes_that_flax_was_given(void **state)
{
    (void)state;
    gk_err err = {0};
    gk_json *root = gk_json_load(FLAX "/expected.json", &err);
    assert_ok(root != NULL, err);
    assert_int_equal(check_file(gk_json_get(root, "files"), "model.msgpack"), 14);
    assert_int_equal(check_file(gk_json_get(root, "files"), "chunked.msgpack"), 3);
    gk_json_free(root);
}

static void values_that_are_no_arrays_are_noted(void **state)
{
    (void)state;
    gk_err err = {0};
    gk_catalog *c = gk_catalog_open(FLAX "/model.msgpack", &err);
    assert_ok(c != NULL, err);
    assert_int_equal(c->findings.n, 1);
    assert_int_equal(c->findings.row[0].severity, GK_NOTE);
    assert_ptr_equal(strstr(c->findings.row[0].text, "3 values are no arrays"),
                     c->findings.row[0].text);
    gk_catalog_close(c);
}

/* ---- msgpack by hand -------------------------------------------------------------- */

static unsigned char bytes[65536];
static size_t n_bytes;

static void put(const void *p, size_t n)
{
    memcpy(bytes + n_bytes, p, n);
    n_bytes += n;
}

static void byte(int b)
{
    bytes[n_bytes++] = (unsigned char)b;
}

static void str(const char *s)
{
    byte(0xA0 | (int)strlen(s));
    put(s, strlen(s));
}

/* ext 8 of a flat uint8 array: values first, first + 1, ... */
static void flat(int n, int first)
{
    byte(0xC7);
    byte(1 + 1 + 1 + 6 + 2 + n);
    byte(1);
    byte(0x93);
    byte(0x91);
    byte(n);
    str("uint8");
    byte(0xC4);
    byte(n);
    for (int i = 0; i < n; i++)
        byte(first + i);
}

static gk_catalog *open_bytes(void)
{
    gk_err err = {0};
    write_bytes(ONE, bytes, n_bytes);
    gk_catalog *c = gk_catalog_open(ONE, &err);
    assert_ok(c != NULL, err);
    return c;
}

/* {"w": {mark, "shape": [rows, cols], "chunks": {...}}}; sizes end with -1. Chunks are
 * written from the last to the first: their keys count, not their order. */
static void put_chunked(int rows, int cols, const int *sizes)
{
    int n = 0, at = 0;

    n_bytes = 0;
    byte(0x81);
    str("w");
    byte(0x83);
    str("__msgpack_chunked_array__");
    byte(0xC3);
    str("shape");
    byte(0x82);
    str("0");
    byte(rows);
    str("1");
    byte(cols);
    str("chunks");
    for (; sizes[n] >= 0; n++)
        at += sizes[n];
    byte(0x80 | n);
    while (n-- > 0) {
        char key[2] = {(char)('0' + n), '\0'};
        str(key);
        flat(sizes[n], at -= sizes[n]);
    }
}

static void chunks_may_end_inside_a_row(void **state)
{
    (void)state;
    static const int sizes[][6] = {{3, 9, 8, -1}, {1, 1, 1, 17, -1}, {20, -1}, {7, 0, 13, -1},
                                   {5, 5, 5, 5, -1}, {19, 1, -1}, {2, 1, 14, 3, -1}};
    for (size_t k = 0; k < sizeof sizes / sizeof sizes[0]; k++) {
        unsigned char got[20], part[20];
        gk_err err = {0};
        put_chunked(4, 5, sizes[k]);
        gk_catalog *c = open_bytes();
        assert_int_equal(c->findings.n, 0);
        assert_int_equal(c->n_tensors, 1);
        assert_int_equal(gk_tensor_bytes(&c->tensor[0]), 20);
        memset(got, 0xEE, sizeof got);
        assert_ok(gk_read_part(c, &c->tensor[0], 0, 0, 4, 0, 5, got, &err), err);
        for (int i = 0; i < 20; i++)
            assert_int_equal(got[i], i);
        /* every rectangle of it */
        for (uint64_t r = 0; r < 4; r++)
            for (uint64_t col = 0; col < 5; col++)
                for (uint64_t rows = 1; rows <= 4 - r; rows++)
                    for (uint64_t cols = 1; cols <= 5 - col; cols++) {
                        assert_ok(gk_read_part(c, &c->tensor[0], 0, r, rows, col, cols, part,
                                               &err), err);
                        for (uint64_t i = 0; i < rows * cols; i++)
                            assert_int_equal(part[i], (r + i / cols) * 5 + col + i % cols);
                    }
        gk_catalog_close(c);
    }
}

static void tuples_and_lists_are_named_by_index(void **state)
{
    (void)state;
    n_bytes = 0;
    byte(0x82);
    str("t");
    byte(0xC7); /* ext 4: [flat(1), nil] */
    byte(1 + 15 + 1);
    byte(4);
    byte(0x92);
    flat(1, 7);
    byte(0xC0);
    str("l");
    byte(0x92);
    byte(0x81);
    str("a");
    flat(1, 8);
    byte(0x81);
    str("a"); /* the same key, another map */
    flat(1, 9);
    gk_catalog *c = open_bytes();
    assert_int_equal(c->findings.n, 1);
    assert_int_equal(c->n_tensors, 3);
    assert_string_equal(c->tensor[0].name, "l.0.a");
    assert_string_equal(c->tensor[1].name, "l.1.a");
    assert_string_equal(c->tensor[2].name, "t.0");
    gk_catalog_close(c);
}

/* ---- refused ---------------------------------------------------------------------- */

static void expect_refusal(gk_err_code code, const char *word)
{
    gk_catalog *c = open_bytes();
    const gk_finding *f = &c->findings.row[0];

    assert_int_equal(c->findings.n, 1);
    if (!f->malformed || f->code != code || strstr(f->text, word) == NULL
        || strcmp(f->file, "one.msgpack") != 0)
        fail_msg("code %d, %s: %s; expected code %d, '%s'", (int)f->code, f->file, f->text,
                 (int)code, word);
    assert_int_equal(c->n_tensors, 0);
    assert_int_equal(c->n_stored, 0);
    assert_false(c->input[0].usable);
    gk_catalog_close(c);
}

static void chunks_that_do_not_fit_are_refused(void **state)
{
    (void)state;
    put_chunked(4, 5, (const int[]){3, 9, -1});
    expect_refusal(GK_ERR_FORMAT, "20 elements, its 2 chunks hold 12");
    put_chunked(4, 5, (const int[]){3, 9, 9, -1});
    expect_refusal(GK_ERR_FORMAT, "hold 21");
    put_chunked(4, 5, (const int[]){-1});
    expect_refusal(GK_ERR_FORMAT, "0 chunks");
}

static void nesting_counts_across_tuples(void **state)
{
    (void)state;
    for (int depth = 14; depth <= 16; depth++) {
        unsigned char inner[512] = {0xC0};
        size_t n = 1;
        for (int i = 0; i < depth; i++) { /* ext 4 of an array of one: two levels */
            memmove(inner + 4, inner, n);
            memcpy(inner, (unsigned char[]){0xC7, (unsigned char)(n + 1), 4, 0x91}, 4);
            n += 4;
        }
        n_bytes = 0;
        byte(0x81);
        str("w");
        put(inner, n);
        if (depth < 16) {
            gk_catalog *c = open_bytes();
            assert_int_equal(gk_findings_worst(&c->findings, 0, NULL), GK_NOTE);
            gk_catalog_close(c);
        } else {
            expect_refusal(GK_ERR_LIMIT, "deeper than 32");
        }
    }
}

static void a_name_that_two_ways_lead_to_is_refused(void **state)
{
    (void)state;
    gk_err err = {0};
    n_bytes = 0;
    byte(0x82);
    str("a.b");
    flat(1, 0);
    str("a");
    byte(0x81);
    str("b");
    flat(1, 0);
    write_bytes(ONE, bytes, n_bytes);
    assert_null(gk_catalog_open(ONE, &err));
    assert_int_equal(err.code, GK_ERR_FORMAT);
    assert_string_equal(err.tensor, "a.b");
}

static void a_cut_or_a_changed_file_never_crashes(void **state)
{
    (void)state;
    put_chunked(4, 5, (const int[]){3, 9, 8, -1});
    const size_t whole = n_bytes;
    for (n_bytes = 1; n_bytes < whole; n_bytes++) {
        gk_catalog *c = open_bytes();
        assert_int_equal(gk_findings_worst(&c->findings, 0, NULL), GK_BAD);
        gk_catalog_close(c);
    }
    for (size_t i = 0; i < whole; i++)
        for (int bit = 0; bit < 8; bit++) {
            gk_err err = {0};
            bytes[i] ^= (unsigned char)(1 << bit);
            write_bytes(ONE, bytes, whole);
            gk_catalog *c = gk_catalog_open(ONE, &err);
            for (uint64_t k = 0; c != NULL && k < c->n_tensors; k++) {
                const gk_tensor *t = &c->tensor[k];
                unsigned char *buf = malloc(gk_tensor_bytes(t) + 1);
                assert_ok(gk_read_part(c, t, 0, 0, gk_rows(t), 0, gk_cols(t), buf, &err), err);
                free(buf);
            }
            gk_catalog_close(c);
            bytes[i] ^= (unsigned char)(1 << bit);
        }
}

/* ---- folders ---------------------------------------------------------------------- */

#define SHARDS WORK "/shards"
#define INDEX  SHARDS "/flax_model.msgpack.index.json"
#define SHARD  "flax_model-0000%d-of-00002.msgpack"

static void make_shards(const char *second)
{
    fresh_dir(SHARDS);
    for (int i = 1; i <= 2; i++) {
        n_bytes = 0;
        byte(0x81);
        str("params");
        byte(0x81);
        str(i == 1 ? "a" : "b");
        flat(2, i);
        write_bytes(path_of(SHARDS "/" SHARD, i), bytes, n_bytes);
    }
    write_text(INDEX, path_of("{\"weight_map\":{\"params/a\":\"" SHARD "\",\"params/b\":\"%s\"}}",
                              1, second));
}

static void shards_and_their_index_make_a_model(void **state)
{
    (void)state;
    static const char *const paths[] = {SHARDS, INDEX};
    make_shards(path_of(SHARD, 2));
    write_text(SHARDS "/config.json", "{}");
    for (int i = 0; i < 2; i++) {
        gk_err err = {0};
        gk_catalog *c = gk_model_open_whole(paths[i], &err);
        assert_ok(c != NULL, err);
        assert_string_equal(c->format, "flax");
        assert_int_equal(c->n_inputs, 2);
        assert_int_equal(c->n_tensors, 2);
        assert_int_equal(c->findings.n, 0);
        assert_int_equal(c->n_extras, 0);
        gk_catalog_close(c);
    }
}

static void an_index_that_lies_is_found_out(void **state)
{
    (void)state;
    const struct {
        const char *file, *text;
    } rows[] = {{path_of(SHARD, 1), "stands in"},
                {"gone.msgpack", "missing"},
                {"../" SHARD, "no file name"}};
    for (size_t i = 0; i < 3; i++) {
        gk_err err = {0};
        bool found = false;
        make_shards(rows[i].file);
        gk_catalog *c = gk_model_open(SHARDS, &err);
        assert_ok(c != NULL, err);
        for (uint64_t k = 0; k < c->findings.n; k++)
            found = found
                    || (c->findings.row[k].severity == GK_BAD
                        && strstr(c->findings.row[k].text, rows[i].text) != NULL);
        if (i == 0) /* the second shard is then not named at all */
            found = gk_findings_worst(&c->findings, 0, NULL) == GK_BAD;
        if (!found)
            fail_msg("no finding says '%s'", rows[i].text);
        gk_catalog_close(c);
    }
}

static void safetensors_beside_flax_are_the_model(void **state)
{
    (void)state;
    gk_err err = {0};
    make_shards(path_of(SHARD, 2));
    write_vectors(SHARDS "/model.safetensors", (const char *const[]){"x", NULL});
    gk_catalog *c = gk_model_open(SHARDS, &err);
    assert_ok(c != NULL, err);
    assert_string_equal(c->format, "hf");
    assert_int_equal(c->n_extras, 0);
    gk_catalog_close(c);
}

WORK_FOLDER(WORK)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_leaf_has_the_bytes_that_flax_was_given),
        cmocka_unit_test(values_that_are_no_arrays_are_noted),
        cmocka_unit_test(chunks_may_end_inside_a_row),
        cmocka_unit_test(tuples_and_lists_are_named_by_index),
        cmocka_unit_test(chunks_that_do_not_fit_are_refused),
        cmocka_unit_test(nesting_counts_across_tuples),
        cmocka_unit_test(a_name_that_two_ways_lead_to_is_refused),
        cmocka_unit_test(a_cut_or_a_changed_file_never_crashes),
        cmocka_unit_test(shards_and_their_index_make_a_model),
        cmocka_unit_test(an_index_that_lies_is_found_out),
        cmocka_unit_test(safetensors_beside_flax_are_the_model),
    };

    return cmocka_run_group_tests(tests, open_work, close_work);
}
