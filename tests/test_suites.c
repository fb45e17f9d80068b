/* tests/test_suites.c - the suites of others: JSON texts that must be taken or refused
 * (nst/JSONTestSuite) as headers, configs and indexes, and every form of the values of
 * kawanet/msgpack-test-suite. */
#include "tests/container.h"

#include "formats/json.h"
#include "formats/msgpack.h"
#include "formats/scan.h"

#define PARSING "testdata/json/parsing.txt"
#define MSGPACK "testdata/json/msgpack-test-suite.json"

/* ---- JSON --------------------------------------------------------------------------- */

typedef void visit_fn(const char *name, const char *text, size_t n);

/* All texts: "NAME BYTES\n", the bytes, "\n". Two of the suite are made here: their name is what
 * they are. */
static void each_text(visit_fn *visit)
{
    static char arrays[100000], both[250001];
    gk_err err = {0};
    uint64_t len, at = 0;
    char *all = gk_file_slurp(PARSING, 1 << 20, &len, &err);
    int count = 0;

    assert_ok(all != NULL, err);
    while (at < len) {
        char name[128];
        size_t n;
        int head = 0;
        assert_int_equal(sscanf(all + at, "%127s %zu%n", name, &n, &head), 2);
        at += (uint64_t)head + 1;
        assert_true(at + n < len);
        visit(name, all + at, n);
        at += n + 1;
        count++;
    }
    gk_free(all);
    assert_int_equal(count, 316);
    memset(arrays, '[', sizeof arrays);
    for (size_t i = 0; i + 5 <= sizeof both; i += 5)
        memcpy(both + i, "[{\"\":", 5);
    both[sizeof both - 1] = '\n';
    visit("n_structure_100000_opening_arrays", arrays, sizeof arrays);
    visit("n_structure_open_array_object", both, sizeof both);
}

/* Keys that stand twice are refused by us: a reader would take one of them, and which? */
static bool has_key_twice(const char *name) { return strstr(name, "duplicated_key") != NULL; }

static char *between(const char *before, const char *text, size_t n, const char *after, size_t *len)
{
    char *out = malloc(strlen(before) + n + strlen(after) + 1);

    assert_non_null(out);
    memcpy(out, before, strlen(before));
    memcpy(out + strlen(before), text, n);
    strcpy(out + strlen(before) + n, after);
    *len = strlen(before) + n + strlen(after);
    return out;
}

static void check_verdict(const char *name, bool taken, const char *as)
{
    if (name[0] == 'n' ? taken : name[0] == 'y' && !taken && !has_key_twice(name))
        fail_msg("%s as %s is %s", name, as, taken ? "taken" : "refused");
}

static void visit_scan(const char *name, const char *text, size_t n)
{
    gk_scan s;
    gk_err err = {0};
    char *exact = malloc(n > 0 ? n : 1); /* so that a sanitizer sees one byte too many */

    memcpy(exact, text, n);
    gk_scan_mem(&s, exact, n, &err);
    check_verdict(name, gk_scan_skip(&s) && gk_scan_done(&s), "a text");
    free(exact);
}

static void visit_config(const char *name, const char *text, size_t n)
{
    gk_err err = {0};
    size_t len;
    char *config = between("{\"x\":", text, n, "}", &len);
    gk_json *root = gk_json_parse(config, len, "config.json", &err);

    /* jansson holds keys as C strings, and refuses one that could not be */
    if (strcmp(name, "y_object_escaped_null_in_key") != 0)
        check_verdict(name, root != NULL, "a value of config.json");
    gk_json_free(root);
    free(config);
    root = gk_json_parse(text, n, "config.json", &err);
    if (name[0] == 'n')
        assert_null(root);
    gk_json_free(root);
}

static bool is_usable(void)
{
    gk_catalog *c = open_file();
    const bool usable = c->input[0].usable;

    gk_catalog_close(c);
    return usable;
}

static void visit_header(const char *name, const char *text, size_t n)
{
    size_t len;
    char *header = between("{\"t\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2],\"x\":",
                           text, n, "}}", &len);

    write_file(header, len, 2);
    check_verdict(name, is_usable(), "a value of a safetensors header");
    free(header);
    write_file(text, n, 2);
    if (name[0] == 'n')
        assert_false(is_usable());
    else
        (void)is_usable();
}

static void visit_index(const char *name, const char *text, size_t n)
{
    gk_err err = {0};
    char index[200];
    snprintf(index, sizeof index, "%s/model.safetensors.index.json", folder);
    FILE *f = fopen(index, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, n, f), n);
    fclose(f);
    gk_catalog *c = gk_catalog_open(folder, &err);
    if (name[0] == 'n' && c != NULL && gk_findings_worst(&c->findings, 0, NULL) != GK_BAD)
        fail_msg("%s as an index is taken", name);
    gk_catalog_close(c);
    assert_int_equal(unlink(index), 0);
}

static void the_cursor_judges_texts_as_the_suite_does(void **state)
{
    (void)state;
    each_text(visit_scan);
}

static void configs_are_judged_as_by_the_suite(void **state)
{
    (void)state;
    each_text(visit_config);
}

static void headers_are_judged_as_by_the_suite(void **state)
{
    (void)state;
    each_text(visit_header);
}

static void a_malformed_index_is_a_finding(void **state)
{
    (void)state;
    write_file("{\"t\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]}}", 53, 2);
    each_text(visit_index);
}

/* ---- msgpack ------------------------------------------------------------------------ */

/* "cd-00-ff" to bytes. */
static size_t from_hex(const char *hex, unsigned char *out)
{
    size_t n = 0;

    for (; *hex != '\0'; hex += hex[2] == '-' ? 3 : 2) {
        unsigned byte;
        assert_int_equal(sscanf(hex, "%2x", &byte), 1);
        out[n++] = (unsigned char)byte;
    }
    return n;
}

/* Passes one value with all that is in it. */
static void pass_value(gk_msgpack *m)
{
    gk_msgpack_item it;
    gk_text text = {0};
    bool odd = false;

    if (!gk_msgpack_head(m, &it))
        fail_msg("refused: %s", m->err->msg);
    if (it.kind == GK_MSGPACK_STR)
        assert_true(gk_msgpack_text(m, &it, &text, &odd));
    else if (it.kind == GK_MSGPACK_EXT)
        m->pos = it.body + it.n;
    else if (it.kind != GK_MSGPACK_ARRAY && it.kind != GK_MSGPACK_MAP)
        gk_msgpack_skip(m, &it);
    if (it.kind == GK_MSGPACK_ARRAY || it.kind == GK_MSGPACK_MAP)
        for (uint64_t i = 0; i < it.n * (it.kind == GK_MSGPACK_MAP ? 2 : 1); i++)
            pass_value(m);
    gk_text_free(&text);
}

/* What the suite says that the value is. */
static void check_value(const gk_json *row, gk_msgpack *m)
{
    static const struct {
        const char *key;
        gk_msgpack_kind kind;
    } kinds[] = {{"nil", GK_MSGPACK_NIL},      {"bool", GK_MSGPACK_BOOLEAN},
                 {"binary", GK_MSGPACK_BIN},   {"string", GK_MSGPACK_STR},
                 {"array", GK_MSGPACK_ARRAY},  {"map", GK_MSGPACK_MAP},
                 {"timestamp", GK_MSGPACK_EXT}, {"ext", GK_MSGPACK_EXT}};
    gk_msgpack_item it;
    gk_text text = {0};
    uint64_t number, value, len;
    bool odd = false;

    assert_true(gk_msgpack_head(m, &it));
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        if (gk_json_get(row, kinds[i].key) != NULL)
            assert_int_equal(it.kind, kinds[i].kind);
    if (gk_json_as_uint(gk_json_get(row, "number"), &number) && it.kind == GK_MSGPACK_INTEGER) {
        assert_true(gk_msgpack_uint(m, &it, &value));
        assert_int_equal(value, number);
    }
    const char *string = gk_json_text(gk_json_get(row, "string"), &len);
    if (string != NULL) {
        assert_true(gk_msgpack_text(m, &it, &text, &odd));
        assert_int_equal(text.len, len);
        assert_true(len == 0 || memcmp(text.data, string, (size_t)len) == 0);
    }
    gk_text_free(&text);
}

static void check_form(const gk_json *row, const char *hex)
{
    unsigned char bytes[256];
    const size_t n = from_hex(hex, bytes);
    gk_err err = {0};
    gk_arena *a = gk_arena_new(&err);
    gk_file *f = gk_file_memory(a, "form", (const char *)bytes, n, &err);

    assert_non_null(f);
    gk_msgpack m = {.file = f, .end = n, .err = &err};
    pass_value(&m);
    assert_int_equal(m.pos, n);
    gk_text_free(&m.path);
    m = (gk_msgpack){.file = f, .end = n, .err = &err};
    check_value(row, &m);
    gk_text_free(&m.path);
    gk_file_close(f);
    gk_arena_free(a);
}

static void every_form_of_a_msgpack_value_is_read(void **state)
{
    (void)state;
    gk_err err = {0};
    gk_json *root = gk_json_load(MSGPACK, &err);
    const gk_json *group;
    const char *name;
    void *iter = NULL;
    int rows = 0, forms = 0;

    assert_ok(root != NULL, err);
    while (gk_json_next(root, &iter, &name, &group))
        for (uint64_t i = 0; i < gk_json_count(group); i++, rows++) {
            const gk_json *row = gk_json_at(group, i), *form = gk_json_get(row, "msgpack");
            for (uint64_t k = 0; k < gk_json_count(form); k++, forms++)
                check_form(row, gk_json_text(gk_json_at(form, k), NULL));
        }
    gk_json_free(root);
    assert_int_equal(rows, 85);
    assert_true(forms > 200);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_cursor_judges_texts_as_the_suite_does),
        cmocka_unit_test(configs_are_judged_as_by_the_suite),
        cmocka_unit_test(headers_are_judged_as_by_the_suite),
        cmocka_unit_test(a_malformed_index_is_a_finding),
        cmocka_unit_test(every_form_of_a_msgpack_value_is_read),
    };

    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
