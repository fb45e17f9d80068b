/* tests/test_safetensors.c - every rule of the container, on files made here.
 *
 * The rules are those of huggingface/safetensors safetensors/src/tensor.rs @24b0b28,
 * and ours on top: duplicates are refused. A refused file is one malformed finding
 * with code, file, tensor and byte offset. */
#include "tests/container.h"

static gk_catalog *open_good(const char *header, size_t n, size_t n_data)
{
    write_file(header, n, n_data);
    gk_catalog *c = open_file();
    if (gk_findings_worst(&c->findings, 0, NULL) == GK_BAD)
        fail_msg("refused: %.200s\n%s", header, c->findings.row[0].text);
    assert_true(c->input[0].usable);
    assert_int_equal(c->input[0].header_bytes, 8 + n);
    return c;
}

static void check_good(const char *header, size_t n_data, uint64_t n_tensors)
{
    gk_catalog *c = open_good(header, strlen(header), n_data);
    assert_int_equal(c->n_tensors, n_tensors);
    gk_catalog_close(c);
}

/* ---- refused -------------------------------------------------------------------- */

static void check_bad(const bad *b)
{
    uint64_t off = b->off;
    if (b->at != NULL) {
        assert_non_null(strstr(b->header, b->at));
        off = 8 + (uint64_t)(strstr(b->header, b->at) - b->header);
    }
    write_file(b->header, strlen(b->header), b->n_data);
    check_finding(b, off);
}

#define CHECK_ALL(rows)                                                                            \
    for (size_t i = 0; i < sizeof(rows) / sizeof((rows)[0]); i++)                                  \
    check_bad(&(rows)[i])

#define T(dtype, shape, range) "{\"t\":{\"dtype\":\"" dtype "\",\"shape\":" shape                  \
                               ",\"data_offsets\":" range "}}"

static void a_file_without_a_whole_header_is_refused(void **state)
{
    (void)state;
    static const bad empty = {"", 0, F, "", NULL, 0, "empty"};
    static const bad brief = {"", 0, F, "", NULL, 0, "too short"};
    static const bad zero = {"", 0, F, "", NULL, 8, "0 bytes"};
    static const bad longer = {"{}", 0, F, "", NULL, 8, "truncated"};
    static const bad pointer = {"lfs", 0, F, "", NULL, 0, "git-lfs"};
    static const char lfs[] = "version https://git-lfs.github.com/spec/v1\noid sha256:00\n";
    unsigned char file[16];
    write_bytes("", 0);
    check_finding(&empty, 0);
    build(file, "{}", 2, 0);
    for (size_t n = 1; n < 8; n++) {
        write_bytes(file, n);
        check_finding(&brief, 0);
    }
    write_file("", 0, 0);
    check_finding(&zero, 8);
    file[0] = 3;
    write_bytes(file, 10);
    check_finding(&longer, 8);
    write_bytes("\x3c\0\0\0\0\xff\xff\xff{}", 10); /* 0xffffff000000003c */
    check_finding(&(bad){"huge", 0, F, "", NULL, 0, "at most 100000000"}, 0);
    write_bytes(lfs, sizeof lfs - 1);
    check_finding(&pointer, 0);
}

static void a_header_that_is_no_json_is_refused(void **state)
{
    (void)state;
    static const bad rows[] = {
        {"[]", 0, F, "", "[", 0, "'{'"},
        {"\"x\"", 0, F, "", "\"", 0, "'{'"},
        {"   ", 0, F, "", NULL, 11, "'{'"},
        {"\xEF\xBB\xBF{}", 0, F, "", NULL, 8, "'{'"}, /* byte order mark */
        {"{", 0, F, "", NULL, 9, "ends"},
        {"{\"t", 0, F, "", NULL, 11, "ends"},
        {"{\"t\"}", 0, F, "", "}", 0, "':'"},
        {"{'t':1}", 0, F, "", "'t", 0, "key"},
        {"{}{}", 0, F, "", NULL, 10, "nothing after"},
        {"{}x", 0, F, "", "x", 0, "nothing after"},
        {"{},", 0, F, "", ",", 0, "nothing after"},
        {"{,}", 0, F, "", ",", 0, "key"},
        {"{\"a\nb\":" U8("[]", "[0,1]") "}", 1, F, "", "\n", 0, "control"},
        {"{\"\xFF\":" U8("[]", "[0,1]") "}", 1, F, "", NULL, 0, "UTF-8"},
        {"{\"\xC0\x80\":" U8("[]", "[0,1]") "}", 1, F, "", NULL, 0, "UTF-8"},
        {"{\"\xED\xA0\x80\":" U8("[]", "[0,1]") "}", 1, F, "", NULL, 0, "UTF-8"},
        {"{\"\\x\":" U8("[]", "[0,1]") "}", 1, F, "", ":{\"d", 0, "escape"},
        {"{\"t\":" U8("[]", "[0,1]") ",}", 1, F, "", NULL, 0, "comma"},
    };
    enum { N = sizeof rows / sizeof rows[0], FUZZY = 5 };
    for (size_t i = 0; i < N - FUZZY; i++)
        check_bad(&rows[i]);
    /* the last ones: at which byte of a bad string is the cursor's business */
    for (size_t i = N - FUZZY; i < N; i++) {
        write_file(rows[i].header, strlen(rows[i].header), 1);
        gk_catalog *c = open_file();
        assert_int_equal(c->findings.n, 1);
        assert_int_equal(c->findings.row[0].code, F);
        assert_in_range(c->findings.row[0].off, 8, 8 + strlen(rows[i].header));
        assert_non_null(strstr(c->findings.row[0].text, rows[i].word));
        gk_catalog_close(c);
    }
}

static void an_entry_that_is_not_one_is_refused(void **state)
{
    (void)state;
    static const bad rows[] = {
        {"{\"t\":1}", 0, F, "t", "1", 0, "object"},
        {"{\"t\":null}", 0, F, "t", "null", 0, "object"},
        {"{\"t\":[]}", 0, F, "t", "[", 0, "object"},
        {"{\"t\":{}}", 0, F, "t", NULL, 15, "dtype"},
        {"{\"t\":{\"shape\":[],\"data_offsets\":[0,1]}}", 1, F, "t", NULL, 8 + 38, "dtype"},
        {"{\"t\":{\"dtype\":\"U8\",\"data_offsets\":[0,1]}}", 1, F, "t", NULL, 8 + 40, "shape"},
        {"{\"t\":{\"dtype\":\"U8\",\"shape\":[]}}", 1, F, "t", NULL, 8 + 30, "data_offsets"},
        {T("I4", "[2]", "[0,1]"), 1, F, "t", ",\"shape", 0, "unknown dtype"},
        {T("u8", "[1]", "[0,1]"), 1, F, "t", ",\"shape", 0, "unknown dtype"},
        {T("", "[1]", "[0,1]"), 1, F, "t", ",\"shape", 0, "unknown dtype"},
        {T("U8\\u0000", "[1]", "[0,1]"), 1, F, "t", ",\"shape", 0, "unknown dtype"},
        {"{\"t\":{\"dtype\":8,\"shape\":[],\"data_offsets\":[0,1]}}", 1, F, "t", "8", 0, "string"},
        {T("U8", "1", "[0,1]"), 1, F, "t", "1,", 0, "array"},
        {T("U8", "[-1]", "[0,1]"), 1, F, "t", "-1", 0, "integer"},
        {T("U8", "[\"1\"]", "[0,1]"), 1, F, "t", "\"1\"", 0, "integer"},
        {T("U8", "[null]", "[0,1]"), 1, F, "t", "null", 0, "integer"},
        {T("U8", "[NaN]", "[0,1]"), 1, F, "t", "NaN", 0, "integer"},
        {T("U8", "[1.0]", "[0,1]"), 1, F, "t", ".0", 0, "integer"},
        {T("U8", "[1e0]", "[0,1]"), 1, F, "t", "e0", 0, "integer"},
        {T("U8", "[01]", "[0,1]"), 1, F, "t", "1]", 0, "leading zero"},
        {T("U8", "[+1]", "[0,1]"), 1, F, "t", "+1", 0, "integer"},
        {T("U8", "[1,]", "[0,1]"), 1, F, "t", "],\"data", 0, "comma"},
        {T("U8", "[1 1]", "[0,1]"), 1, F, "t", "1],", 0, "','"},
        {T("U8", "[18446744073709551616]", "[0,1]"), 1, F, "t", "6],", 0, "overflow"},
        {T("U8", "[1]", "[]"), 1, F, "t", "}}", 0, "two"},
        {T("U8", "[1]", "[0]"), 1, F, "t", "}}", 0, "two"},
        {T("U8", "[1]", "[0,1,2]"), 1, F, "t", "2]", 0, "two"},
        {T("U8", "[1]", "{}"), 1, F, "t", "{}", 0, "array"},
        {T("U8", "[1]", "[-1,0]"), 1, F, "t", "-1", 0, "integer"},
        {T("U8", "[1]", "[0,1.5]"), 1, F, "t", ".5", 0, "integer"},
        {T("U8", "[1,1,1,1,1,1,1,1,1]", "[0,1]"), 1, GK_ERR_LIMIT, "t", "1],\"data", 0, "8 dim"},
    };
    CHECK_ALL(rows);
}

/* What shape, dtype and offsets say of each other; the offset is that of the name. */
static void numbers_that_contradict_each_other_are_refused(void **state)
{
    (void)state;
    static const bad rows[] = {
        {T("U8", "[1]", "[1,0]"), 1, F, "t", "\"t\"", 0, "before they begin"},
        {T("U8", "[2]", "[0,1]"), 1, F, "t", "\"t\"", 0, "needs 2 bytes"},
        {T("F32", "[2,3]", "[0,23]"), 23, F, "t", "\"t\"", 0, "needs 24 bytes"},
        {T("F32", "[]", "[0,0]"), 0, F, "t", "\"t\"", 0, "needs 4 bytes"},
        {T("U8", "[0]", "[0,1]"), 1, F, "t", "\"t\"", 0, "needs 0 bytes"},
        {T("I32", "[2,18446744073709551614]", "[0,0]"), 0, F, "t", "\"t\"", 0, "overflow"},
        {T("I32", "[2,9223372036854775807]", "[0,8]"), 8, F, "t", "\"t\"", 0, "overflow"},
        {T("U8", "[4294967296,4294967296]", "[0,0]"), 0, F, "t", "\"t\"", 0, "overflow"},
        {T("U8", "[2305843009213693952]", "[0,0]"), 0, F, "t", "\"t\"", 0, "overflow"},
        {T("F4", "[1]", "[0,1]"), 1, F, "t", "\"t\"", 0, "whole bytes"},
        {T("F4", "[3]", "[0,2]"), 2, F, "t", "\"t\"", 0, "whole bytes"},
        {T("F4", "[]", "[0,1]"), 1, F, "t", "\"t\"", 0, "whole bytes"},
        {T("F6_E2M3", "[2]", "[0,2]"), 2, F, "t", "\"t\"", 0, "whole bytes"},
        {T("F6_E3M2", "[5]", "[0,4]"), 4, F, "t", "\"t\"", 0, "whole bytes"},
        {T("U8", "[1]", "[18446744073709551614,18446744073709551615]"), 1, F, "t", "\"t\"", 0,
         "overflow"},
        {"{\"ok\":" U8("[1]", "[0,1]") ", \"t\":" U8("[1]", "[1,3]") "}", 3, F, "t", "\"t\"", 0,
         "needs 1 bytes"},
    };
    CHECK_ALL(rows);
}

/* The reference reader takes these: the whole is bytes, a row is not. Legal, so no
 * malformed file, but nothing that rows can be pulled from. */
static void rows_of_part_bytes_are_unsupported_not_malformed(void **state)
{
    (void)state;
    static const bad rows[] = {
        {T("F4", "[2,3]", "[0,3]"), 3, GK_ERR_UNSUPPORTED, "t", "\"t\"", 0, "whole bytes"},
        {T("F6_E2M3", "[2,2]", "[0,3]"), 3, GK_ERR_UNSUPPORTED, "t", "\"t\"", 0, "whole bytes"},
    };
    CHECK_ALL(rows);
}

#define TWO(a, b) "{\"a\":" a ",\"b\":" b "}"

/* The data must be tiled: no hole, no overlap, nothing missing, nothing left. */
static void data_that_does_not_tile_the_file_is_refused(void **state)
{
    (void)state;
    enum { N = sizeof(T("U8", "[1]", "[1,2]")) - 1 + 8 };
    static const char hole[] = TWO(U8("[1]", "[0,1]"), U8("[1]", "[2,3]"));
    static const char overlap[] = TWO(U8("[2]", "[0,2]"), U8("[2]", "[1,3]"));
    static const char same[] = TWO(U8("[2]", "[0,2]"), U8("[2]", "[0,2]"));
    static const char inside[] = TWO(U8("[4]", "[0,4]"), U8("[0]", "[2,2]"));
    static const char far[] = TWO(U8("[1]", "[0,1]"), U8("[0]", "[9,9]"));
    const uint64_t n = sizeof hole - 1 + 8;
    assert_int_equal(sizeof hole, sizeof overlap);
    const bad rows[] = {
        {T("U8", "[1]", "[1,2]"), 2, F, "t", NULL, N + 1, "hole"},
        {T("U8", "[1]", "[0,1]"), 0, F, "t", NULL, N, "1 bytes missing"},
        {T("U8", "[1]", "[0,1]"), 2, F, "", NULL, N + 1, "1 trailing bytes"},
        {"{}", 1, F, "", NULL, 10, "1 trailing bytes"},
        {hole, 3, F, "b", NULL, n + 2, "hole"},
        {hole, 2, F, "b", NULL, n + 2, "hole"},
        {overlap, 3, F, "b", NULL, n + 1, "overlap"},
        {same, 2, F, "b", NULL, n, "overlap"},
        {same, 4, F, "b", NULL, n, "overlap"},
        {inside, 4, F, "b", NULL, n + 2, "overlap"},
        {far, 9, F, "b", NULL, n + 9, "hole"},
        {TWO(U8("[1]", "[0,1]"), U8("[1]", "[1,2]")), 1, F, "b", NULL, n + 1, "1 bytes missing"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (rows[i].header == same) { /* which of the two is named is the sort's business */
            write_file(same, sizeof same - 1, rows[i].n_data);
            gk_catalog *c = open_file();
            assert_int_equal(c->findings.n, 1);
            assert_int_equal(c->findings.row[0].off, n);
            assert_non_null(strstr(c->findings.row[0].text, "overlap"));
            gk_catalog_close(c);
        } else {
            check_bad(&rows[i]);
        }
    }
}

static void every_duplicate_is_refused(void **state)
{
    (void)state;
    static const bad rows[] = {
        {"{\"t\":" U8("[0]", "[0,0]") ", \"t\":" U8("[0]", "[0,0]") "}", 0, F, "t", " \"t\"", 0,
         "duplicate"},
        {"{\"t\":" U8("[1]", "[0,1]") ", \"\\u0074\":" U8("[1]", "[1,2]") "}", 2, F, "t",
         " \"\\u0074", 0, "duplicate"},
        {"{\"\":" U8("[1]", "[0,1]") ", \"\":" U8("[1]", "[1,2]") "}", 2, F, "", " \"\"", 0,
         "duplicate"},
        {"{\"__metadata__\":{},\"__metadata__\":{}}", 0, F, "", ":{}}", 0, "duplicate"},
        {"{\"__metadata__\":null,\"__metadata__\":{}}", 0, F, "", ":{}}", 0, "duplicate"},
        {"{\"t\":{\"dtype\":\"U8\",\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[0,1]}}", 1, F,
         "t", ":\"U8\",\"sh", 0, "duplicate"},
        {"{\"t\":{\"dtype\":\"U8\",\"shape\":[],\"shape\":[],\"data_offsets\":[0,1]}}", 1, F, "t",
         ":[],\"da", 0, "duplicate"},
        {"{\"t\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[0,1],\"data_offsets\":[0,1]}}",
         1, F, "t", ":[0,1]}", 0, "duplicate"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        bad b = rows[i];
        const char *at = strstr(b.header, b.at);
        assert_non_null(at);
        /* a name is pointed at itself, a key at what follows it */
        b.off = 8 + (uint64_t)(at - b.header) + (b.at[0] == ' ' ? 1 : b.at[0] == ':' ? 1 : 0);
        b.at = NULL;
        check_bad(&b);
    }
}

/* safetensors 0.6.2, 0.7.0 and 0.8.0 open such files and give the last value. */
static void duplicate_keys_of_metadata_are_a_finding(void **state)
{
    (void)state;
    static const struct {
        const char *metadata, *text;
    } rows[] = {
        {"{\"format\":\"pt\",\"a\":\"1\",\"a\":\"2\"}", "(1, the first is \"a\")"},
        {"{\"a\":\"1\",\"b\":\"\",\"\\u0061\":\"1\",\"b\":\"\",\"a\":\"\"}",
         "(3, the first is \"a\")"},
        {"{\"format\":\"tf\",\"format\":\"pt\"}", "(1, the first is \"format\")"},
        {"{\"a\\u0000b\":\"\",\"a\\u0000c\":\"\",\"a\":\"\",\"\":\"\",\"A\":\"\"}", NULL},
        {"null", NULL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char header[300];
        snprintf(header, sizeof header, "{\"__metadata__\":%s,\"t\":" U8("[1]", "[0,1]") "}",
                 rows[i].metadata);
        gk_catalog *c = open_good(header, strlen(header), 1);
        assert_int_equal(c->n_tensors, 1);
        assert_int_equal(c->findings.n, rows[i].text != NULL);
        if (rows[i].text != NULL) {
            assert_string_equal(c->findings.row[0].check, "header");
            assert_int_equal(c->findings.row[0].severity, GK_WARN);
            assert_non_null(strstr(c->findings.row[0].text, rows[i].text));
        }
        gk_catalog_close(c);
    }
}

static void metadata_that_is_not_text_to_text_is_refused(void **state)
{
    (void)state;
    static const bad rows[] = {
        {"{\"__metadata__\":[]}", 0, F, "", "[]", 0, "object"},
        {"{\"__metadata__\":\"x\"}", 0, F, "", "\"x\"", 0, "object"},
        {"{\"__metadata__\":nul}", 0, F, "", NULL, 8 + 20, "JSON"},
        {"{\"__metadata__\":{\"a\":1}}", 0, F, "", "1", 0, "string"},
        {"{\"__metadata__\":{\"a\":null}}", 0, F, "", "null", 0, "string"},
        {"{\"__metadata__\":{\"a\":[\"b\"]}}", 0, F, "", "[", 0, "string"},
        {"{\"__metadata__\":{\"a\":{}}}", 0, F, "", "{}", 0, "string"},
        {"{\"__metadata__\":{\"a\":\"b\"},}", 0, F, "", NULL, 8 + 26, "comma"},
    };
    CHECK_ALL(rows);
}

/* ---- accepted ------------------------------------------------------------------- */

static void every_dtype_is_accepted(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        unsigned    bits;
    } types[] = {{"BOOL", 8},    {"U8", 8},           {"I8", 8},           {"I16", 16},
                 {"U16", 16},    {"I32", 32},         {"U32", 32},         {"I64", 64},
                 {"U64", 64},    {"F16", 16},         {"BF16", 16},        {"F32", 32},
                 {"F64", 64},    {"C64", 64},         {"F8_E4M3", 8},      {"F8_E5M2", 8},
                 {"F8_E8M0", 8}, {"F8_E4M3FNUZ", 8},  {"F8_E5M2FNUZ", 8},  {"F4", 4},
                 {"F6_E2M3", 6}, {"F6_E3M2", 6}};
    enum { N = sizeof types / sizeof types[0] };
    assert_int_equal(N, GK_N_SAFETENSORS);
    for (size_t i = 0; i < N; i++) {
        char header[200];
        const unsigned bytes = 2 * 3 * 4 * types[i].bits / 8;
        snprintf(header, sizeof header, T("%s", "[2,3,4]", "[0,%u]"), types[i].name, bytes);
        gk_catalog *c = open_good(header, strlen(header), bytes);
        assert_int_equal(c->n_tensors, 1);
        const gk_tensor *t = &c->tensor[0];
        assert_string_equal(gk_dtype_get((gk_dtype)t->dtype)->name, types[i].name);
        assert_int_equal(gk_dtype_get((gk_dtype)t->dtype)->bits, types[i].bits);
        assert_int_equal(gk_tensor_bytes(t), bytes);
        assert_int_equal(gk_rows(t), 6);
        assert_int_equal(gk_cols(t), 4);
        assert_true(t->ndim == 3 && t->dim[0] == 2 && t->dim[1] == 3 && t->dim[2] == 4);
        unsigned char data[6 * 32];
        gk_err err = {0};
        assert_ok(gk_read_part(c, t, 0, 0, 6, 0, 4, data, &err), err);
        for (unsigned k = 0; k < bytes; k++)
            assert_int_equal(data[k], k);
        gk_catalog_close(c);
    }
}

static void scalars_and_empty_tensors_are_accepted(void **state)
{
    (void)state;
    static const char header[]
        = "{\"empty\":" U8("[0]", "[0,0]") ",\"middle\":" U8("[3,0,5]", "[4,4]")
          ",\"last\":" U8("[0,7]", "[5,5]") ",\"f32\":{\"dtype\":\"F32\",\"shape\":[],"
          "\"data_offsets\":[0,4]},\"byte\":" U8("[]", "[4,5]")
          ",\"big\":" U8("[0,18446744073709551615,18446744073709551615]", "[0,0]") "}";
    gk_catalog *c = open_good(header, sizeof header - 1, 5);
    gk_err err = {0};
    unsigned char data[4] = {9, 9, 9, 9};
    assert_int_equal(c->n_tensors, 6);
    const gk_tensor *t = gk_catalog_find(c, "f32");
    assert_true(t != NULL && t->ndim == 0 && gk_rows(t) == 1 && gk_cols(t) == 1
                && gk_tensor_bytes(t) == 4);
    assert_ok(gk_read_part(c, t, 0, 0, 1, 0, 1, data, &err), err);
    assert_memory_equal(data, "\0\1\2\3", 4);
    t = gk_catalog_find(c, "byte");
    assert_ok(gk_read_part(c, t, 0, 0, 1, 0, 1, data, &err), err);
    assert_int_equal(data[0], 4);
    t = gk_catalog_find(c, "middle");
    assert_true(t != NULL && t->ndim == 3 && gk_tensor_bytes(t) == 0 && gk_rows(t) == 0);
    assert_ok(gk_read_part(c, t, 0, 0, 0, 0, 5, data, &err), err);
    t = gk_catalog_find(c, "big");
    assert_true(t != NULL && gk_tensor_bytes(t) == 0 && gk_rows(t) == 0);
    gk_catalog_close(c);
}

static void escapes_in_names_are_decoded(void **state)
{
    (void)state;
    static const struct {
        const char *json, *name;
        bool        odd;
    } rows[] = {
        {"a", "a", false},
        {"\\u0061", "a", false},
        {"\\u00e9", "\xC3\xA9", false},
        {"\\u20AC", "\xE2\x82\xAC", false},
        {"\xE2\x82\xAC", "\xE2\x82\xAC", false},
        {"\\uD83D\\uDE00", "\xF0\x9F\x98\x80", false},
        {"\\ud83d\\ude00", "\xF0\x9F\x98\x80", false},
        {"\xF0\x9F\x98\x80", "\xF0\x9F\x98\x80", false},
        {"\\uDBFF\\uDFFF", "\xF4\x8F\xBF\xBF", false},
        {"\\\"\\\\\\/", "\"\\/", false},
        {"\\b\\f\\n\\r\\t", "\b\f\n\r\t", true},
        {"a\\u0000b", "a\\x00b", true},
        {"\\u001b[31m", "\x1b[31m", true},
        {"", "", true},
        {"../../etc/passwd", "../../etc/passwd", false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char header[200];
        snprintf(header, sizeof header, "{\"%s\":" U8("[1]", "[0,1]") "}", rows[i].json);
        gk_catalog *c = open_good(header, strlen(header), 1);
        assert_string_equal(c->tensor[0].name, rows[i].name);
        assert_int_equal(c->stored[0].odd_name, rows[i].odd);
        assert_non_null(gk_catalog_find(c, rows[i].name));
        gk_catalog_close(c);
    }
}

static void lone_surrogates_and_broken_escapes_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *json, *word;
    } rows[] = {
        {"\\ud83d", "surrogate"},        {"\\ude00", "surrogate"},
        {"\\ud83dx", "surrogate"},       {"\\ud83d\\n", "surrogate"},
        {"\\ud83d\\ud83d", "surrogate"}, {"\\ud83d\\u0041", "surrogate"},
        {"\\ude00\\ud83d", "surrogate"}, {"\\ud83d\\u12", "hexadecimal"},
        {"\\u12", "hexadecimal"},        {"\\u00g0", "hexadecimal"},
        {"\\x41", "escape"},             {"\\'", "escape"},
        {"\\U0041", "escape"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char header[200];
        snprintf(header, sizeof header, "{\"%s\":" U8("[1]", "[0,1]") "}", rows[i].json);
        write_file(header, strlen(header), 1);
        gk_catalog *c = open_file();
        if (c->findings.n != 1 || strstr(c->findings.row[0].text, rows[i].word) == NULL)
            fail_msg("%s: %s", header, c->findings.n == 0 ? "fine" : c->findings.row[0].text);
        const gk_finding *f = &c->findings.row[0];
        assert_int_equal(f->code, GK_ERR_FORMAT);
        assert_string_equal(f->file, FILE_NAME);
        /* inside the name or at the byte that ends it */
        assert_in_range(f->off, 10, 10 + strlen(rows[i].json) + 1);
        gk_catalog_close(c);
    }
}

#define MEGABYTE (1024 * 1024)

static char *long_name_header(size_t n_name, const char *tail)
{
    char *header = malloc(n_name + 200);
    memcpy(header, "{\"", 2);
    memset(header + 2, 'n', n_name);
    strcpy(header + 2 + n_name, tail);
    return header;
}

static void a_name_of_a_megabyte_is_accepted(void **state)
{
    (void)state;
    char *header = long_name_header(MEGABYTE, "\":" U8("[1]", "[0,1]") "}");
    gk_catalog *c = open_good(header, strlen(header), 1);
    assert_int_equal(strlen(c->tensor[0].name), MEGABYTE);
    gk_catalog_close(c);
    free(header);
    /* a message about it stays short */
    header = long_name_header(MEGABYTE, "\":" U8("[1]", "[0,2]") "}");
    write_file(header, strlen(header), 2);
    c = open_file();
    assert_int_equal(c->findings.n, 1);
    assert_int_equal(c->findings.row[0].off, 9);
    assert_in_range(strlen(c->findings.row[0].tensor), 1, 300);
    gk_catalog_close(c);
    free(header);
}

static void keys_may_stand_in_any_order_with_others_between(void **state)
{
    (void)state;
    static const char *const key[] = {"\"dtype\":\"U8\"", "\"shape\":[2,1]",
                                      "\"data_offsets\":[0,2]",
                                      "\"x\":{\"dtype\":[{},[null,-1.5e3,true,\"\\u00e9\"]]}"};
    for (int i = 0; i < 4 * 4 * 4; i++) {
        char header[300];
        const int a = i % 4, b = i / 4 % 4, c = i / 16, d = 6 - a - b - c;
        if (a == b || a == c || b == c)
            continue;
        snprintf(header, sizeof header, "{\"t\":{%s,%s,%s,%s}}", key[a], key[b], key[c], key[d]);
        check_good(header, 2, 1);
        snprintf(header, sizeof header, " \n{\t\"t\" :\r{ %s , %s\n,%s,\t\t%s } } \n\t\r ", key[a],
                 key[b], key[c], key[d]);
        check_good(header, 2, 1);
    }
}

static void extra_keys_and_early_blanks_are_told(void **state)
{
    (void)state;
    static const char extra[] = "{\"t\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1],"
                                "\"extra\":1}}";
    gk_catalog *c = open_good(extra, sizeof extra - 1, 1);
    assert_int_equal(gk_findings_worst(&c->findings, 0, NULL), GK_WARN);
    assert_non_null(strstr(c->findings.row[0].text, "\"extra\""));
    gk_catalog_close(c);
    c = open_good(" {}", 3, 0);
    assert_int_equal(c->findings.n, 1);
    assert_int_equal(c->findings.row[0].severity, GK_NOTE);
    gk_catalog_close(c);
}

static void extra_keys_are_still_checked(void **state)
{
    (void)state;
    static const bad rows[] = {
        {"{\"t\":{\"x\":nul,\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[0,1]}}", 1, F, "t",
         ",\"dtype", 0, "null"},
        {"{\"t\":{\"x\":[1 2],\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[0,1]}}", 1, F, "t",
         "2],", 0, "','"},
        {"{\"t\":{\"x\":-,\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[0,1]}}", 1, F, "t",
         ",\"dtype", 0, "digit"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        write_file(rows[i].header, strlen(rows[i].header), 1);
        gk_catalog *c = open_file();
        const uint64_t at = 8 + (uint64_t)(strstr(rows[i].header, rows[i].at) - rows[i].header);
        assert_int_equal(c->findings.n, 1);
        assert_string_equal(c->findings.row[0].tensor, "t");
        assert_non_null(strstr(c->findings.row[0].text, rows[i].word));
        assert_in_range(c->findings.row[0].off, at, at + 1);
        gk_catalog_close(c);
    }
}

static void deep_nesting_is_refused(void **state)
{
    (void)state;
    enum { DEPTH = 100000 };
    static const char open[] = "{\"t\":{\"x\":";
    char *header = malloc(sizeof open + DEPTH);
    memcpy(header, open, sizeof open - 1);
    memset(header + sizeof open - 1, '[', DEPTH);
    write_file(header, sizeof open - 1 + DEPTH, 0);
    gk_catalog *c = open_file();
    assert_int_equal(c->findings.n, 1);
    assert_non_null(strstr(c->findings.row[0].text, "nested deeper than 64"));
    assert_string_equal(c->findings.row[0].tensor, "t");
    gk_catalog_close(c);
    free(header);
}

static void white_space_and_padding_are_accepted(void **state)
{
    (void)state;
    check_good("{}", 0, 0);
    check_good("{}      ", 0, 0);
    check_good("{ } \t\r\n", 0, 0);
    check_good("  {}", 0, 0);
    check_good("{\"__metadata__\":{}}", 0, 0);
    check_good("{\"__metadata__\":{\"format\":\"pt\",\"a\":\"\\u0000\"}}", 0, 0);
    check_good("{\"t\":" U8("[1]", "[0,1]") ",\"__metadata__\":{\"format\":\"pt\"}}    ", 1, 1);
    check_good("{\"__metadata_\":" U8("[1]", "[0,1]") "}", 1, 1);
    gk_catalog *c = open_good("{\"__metadata__\":{\"format\":\"pt\"}}", 32, 0);
    assert_true(c->input[0].has_format);
    gk_catalog_close(c);
}

/* Entries stand in every order of four; their data does not move. */
static void data_may_lie_in_another_order_than_the_header(void **state)
{
    (void)state;
    static const char *const entry[] = {"\"a\":" U8("[2]", "[0,2]"), "\"b\":" U8("[0]", "[2,2]"),
                                        "\"c\":" U8("[3]", "[2,5]"), "\"d\":" U8("[1]", "[5,6]")};
    static const unsigned char first[] = {0, 2, 2, 5};
    for (int i = 0; i < 4 * 4 * 4; i++) {
        char header[400];
        const int a = i % 4, b = i / 4 % 4, c = i / 16, d = 6 - a - b - c;
        if (a == b || a == c || b == c)
            continue;
        snprintf(header, sizeof header, "{%s,%s,%s,%s}", entry[a], entry[b], entry[c], entry[d]);
        gk_catalog *model = open_good(header, strlen(header), 6);
        assert_int_equal(model->n_tensors, 4);
        for (int k = 0; k < 4; k++) {
            unsigned char data[3];
            gk_err err = {0};
            const gk_tensor *t = &model->tensor[k];
            assert_int_equal(t->name[0], 'a' + k);
            assert_ok(gk_read_part(model, t, 0, 0, gk_rows(t), 0, gk_cols(t), data, &err), err);
            for (uint64_t j = 0; j < gk_tensor_bytes(t); j++)
                assert_int_equal(data[j], first[k] + j);
        }
        gk_catalog_close(model);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_without_a_whole_header_is_refused),
        cmocka_unit_test(a_header_that_is_no_json_is_refused),
        cmocka_unit_test(an_entry_that_is_not_one_is_refused),
        cmocka_unit_test(numbers_that_contradict_each_other_are_refused),
        cmocka_unit_test(rows_of_part_bytes_are_unsupported_not_malformed),
        cmocka_unit_test(data_that_does_not_tile_the_file_is_refused),
        cmocka_unit_test(every_duplicate_is_refused),
        cmocka_unit_test(duplicate_keys_of_metadata_are_a_finding),
        cmocka_unit_test(metadata_that_is_not_text_to_text_is_refused),
        cmocka_unit_test(every_dtype_is_accepted),
        cmocka_unit_test(scalars_and_empty_tensors_are_accepted),
        cmocka_unit_test(escapes_in_names_are_decoded),
        cmocka_unit_test(lone_surrogates_and_broken_escapes_are_refused),
        cmocka_unit_test(a_name_of_a_megabyte_is_accepted),
        cmocka_unit_test(keys_may_stand_in_any_order_with_others_between),
        cmocka_unit_test(extra_keys_and_early_blanks_are_told),
        cmocka_unit_test(extra_keys_are_still_checked),
        cmocka_unit_test(deep_nesting_is_refused),
        cmocka_unit_test(white_space_and_padding_are_accepted),
        cmocka_unit_test(data_may_lie_in_another_order_than_the_header),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
