/* tests/test_safetensors.c - every rule for a header: what must open, what must be refused
 * and with which words; cut, flipped and mutated files; the largest header. */
#include <sys/resource.h>
#include <sys/wait.h>

#include "tests/files.h"

#define DIR_  "build/tmp/test_safetensors"
#define FILE_ DIR_ "/t.safetensors"
#define NAME_ "t.safetensors"
#define U8_1  "{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}"
#define MAX_HEADER 100000000u

static int begin(void **state)
{
    (void)state;
    fresh_dir(DIR_);
    return 0;
}

static int end(void **state)
{
    (void)state;
    remove_all(DIR_);
    return 0;
}

/* Opens the file; *err tells what is wrong with it. The catalog is there in any case. */
static gk_catalog *open_file(gk_err *err)
{
    *err = (gk_err){0};
    gk_catalog *c = gk_catalog_open(FILE_, err);
    if (c == NULL)
        fail_msg("%s", err->msg);
    gk_findings_refuse(&c->findings, err);
    return c;
}

/* ---- accepted ----------------------------------------------------------------------- */

static gk_catalog *accept(const char *header, uint64_t data)
{
    gk_err err;
    put_tensors(FILE_, header, strlen(header), NULL, data);
    gk_catalog *c = open_file(&err);
    if (err.code != GK_OK)
        fail_msg("%s\nwas refused: %s", header, err.msg);
    return c;
}

static void accept_n(const char *header, uint64_t data, uint64_t n)
{
    gk_catalog *c = accept(header, data);
    uint64_t bytes = 0;
    assert_int_equal(c->n_tensors, n);
    for (uint64_t i = 0; i < n; i++)
        bytes += c->tensor[i].bytes;
    assert_int_equal(bytes, data);
    gk_catalog_close(c);
}

static void accepts_every_dtype_with_its_size(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        unsigned bits;
    } dtype[] = {
        {"BOOL", 8}, {"F4", 4}, {"F6_E2M3", 6}, {"F6_E3M2", 6}, {"U8", 8}, {"I8", 8},
        {"F8_E5M2", 8}, {"F8_E4M3", 8}, {"F8_E8M0", 8}, {"F8_E4M3FNUZ", 8}, {"F8_E5M2FNUZ", 8},
        {"I16", 16}, {"U16", 16}, {"F16", 16}, {"BF16", 16}, {"I32", 32}, {"U32", 32},
        {"F32", 32}, {"C64", 64}, {"F64", 64}, {"I64", 64}, {"U64", 64},
    };
    assert_int_equal(sizeof dtype / sizeof dtype[0], GK_N_DTYPES);
    for (size_t i = 0; i < sizeof dtype / sizeof dtype[0]; i++) {
        const unsigned bytes = 3 * 8 * dtype[i].bits / 8;
        gk_catalog *c = accept(path_of("{\"x\":{\"dtype\":\"%s\",\"shape\":[3,8],"
                                       "\"data_offsets\":[0,%u]}}", dtype[i].name, bytes), bytes);
        const gk_tensor *t = gk_catalog_find(c, "x");
        assert_non_null(t);
        assert_string_equal(gk_dtype_get((gk_dtype)t->dtype)->name, dtype[i].name);
        assert_true(t->ndim == 2 && t->dim[0] == 3 && t->dim[1] == 8 && t->bytes == bytes);
        free(read_whole(c, t));
        gk_catalog_close(c);
    }
}

static void accepts_scalars_and_empty_dimensions(void **state)
{
    (void)state;
    gk_catalog *c = accept("{\"s\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4]},"
                           "\"e\":{\"dtype\":\"F32\",\"shape\":[3,0,5],\"data_offsets\":[4,4]},"
                           "\"f\":{\"dtype\":\"F4\",\"shape\":[0],\"data_offsets\":[0,0]}}", 4);
    const gk_tensor *s = gk_catalog_find(c, "s"), *e = gk_catalog_find(c, "e");
    assert_true(s->ndim == 0 && s->n_rows == 1 && s->n_cols == 1 && s->bytes == 4);
    assert_true(e->ndim == 3 && e->n_rows == 0 && e->n_cols == 5 && e->bytes == 0);
    free(read_whole(c, s));
    free(read_whole(c, e));
    gk_catalog_close(c);
    accept_n("{}", 0, 0);
    accept_n("{\"__metadata__\":{}}", 0, 0);
    accept_n("{\"a\":{\"dtype\":\"I8\",\"shape\":[1,1,1,1,1,1,1,2],\"data_offsets\":[0,2]}}", 2, 1);
}

static void accepts_any_order_of_keys_entries_and_data(void **state)
{
    (void)state;
    static const char *const key[] = {"\"dtype\":\"I16\"", "\"shape\":[2]",
                                      "\"data_offsets\":[0,4]"};
    static const int order[6][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2},
                                    {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
    for (int i = 0; i < 6; i++)
        accept_n(path_of("{\"x\":{%s,%s,%s}}", key[order[i][0]], key[order[i][1]],
                         key[order[i][2]]), 4, 1);
    /* data in the opposite order of the entries, metadata in between */
    accept_n("{\"z\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[5,8]},"
             "\"__metadata__\":{\"format\":\"pt\",\"x\":\"\"},"
             "\"m\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[5,5]},"
             "\"a\":{\"dtype\":\"U8\",\"shape\":[5],\"data_offsets\":[0,5]}}", 8, 3);
}

static void accepts_white_space_and_padding(void **state)
{
    (void)state;
    accept_n(
        "{ \"x\"\t:\r\n { \"dtype\" : \"U8\" , \"shape\" : [ 1 ] ,\n\"data_offsets\":[ 0 , 1 ] } }"
        "        \n\t\r ",
        1, 1);
    accept_n(" \n{\"x\":" U8_1 "}", 1, 1); /* the reference reader takes it, too */
}

static void accepts_other_keys_in_an_entry(void **state)
{
    (void)state;
    static const char *const value[] = {
        "null", "true", "false", "-0", "-1.5e+30", "1E-2", "1e999", "\"\\ud834\\udd1e\"", "[]",
        "{}", "[[],{}]", "{\"a\":{\"b\":[1,\"]\",{}]}}", "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"",
        "\"\x7f\"", "123456789012345678901234567890", "{\"dtype\":\"Q\",\"dtype\":2}",
    };
    for (size_t i = 0; i < sizeof value / sizeof value[0]; i++)
        accept_n(path_of("{\"x\":{\"dtype\":\"U8\",\"shape\":[1],\"k\":%s,\"data_offsets\":[0,1]}}",
                         value[i]), 1, 1);
}

static void a_name_is_any_text(void **state)
{
    (void)state;
    static const struct {
        const char *json, *name;
    } row[] = {
        {"", ""},
        {"../../etc/x", "../../etc/x"},
        {"\\u001b[31m", "\x1b[31m"},
        {"a\\u0000b", "a\\x00b"}, /* a C string cannot hold it: kept escaped */
        {"\\ud83d\\ude00", "\xf0\x9f\x98\x80"},
        {"\\u00e9\\u20AC\\/", "\xc3\xa9\xe2\x82\xac/"},
        {"\xe2\x80\xae", "\xe2\x80\xae"},
        {"\\u0061", "a"},
        {"__metadata", "__metadata"},
    };
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        gk_catalog *c = accept(path_of("{\"%s\":" U8_1 "}", row[i].json), 1);
        assert_string_equal(c->tensor[0].name, row[i].name);
        gk_catalog_close(c);
    }
    char *header = malloc((1 << 20) + 200);
    memset(header, 'n', 1 << 20);
    memcpy(header, "{\"", 2);
    strcpy(header + (1 << 20), "\":" U8_1 "}");
    accept_n(header, 1, 1);
    free(header);
}

/* ---- refused ------------------------------------------------------------------------ */

typedef struct bad {
    const char *header;
    uint64_t    data;
    const char *tensor; /* that the error names; NULL: none need be named */
    const char *text;   /* in its message                                 */
} bad;

static void check_refusal(const gk_err *err, const bad *b)
{
    if (err->code != GK_ERR_FORMAT && err->code != GK_ERR_LIMIT)
        fail_msg("%.200s\ngave code %d: %s", b->header, (int)err->code, err->msg);
    assert_string_equal(err->file, NAME_);
    if (err->off == GK_NO_OFF)
        fail_msg("%.200s\nno offset: %s", b->header, err->msg);
    if (b->tensor != NULL && strcmp(err->tensor, b->tensor) != 0)
        fail_msg("%.200s\nnames tensor '%s', not '%s': %s", b->header, err->tensor, b->tensor,
                 err->msg);
    if (strstr(err->msg, b->text) == NULL)
        fail_msg("%.200s\n'%s' is not in: %s", b->header, b->text, err->msg);
}

static void refuse_all(const bad *b, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        gk_err err;
        put_tensors(FILE_, b[i].header, strlen(b[i].header), NULL, b[i].data);
        gk_catalog *c = open_file(&err);
        check_refusal(&err, &b[i]);
        assert_int_equal(c->n_tensors, 0);
        gk_catalog_close(c);
    }
}
#define REFUSE_ALL(rows) refuse_all(rows, sizeof(rows) / sizeof(rows)[0])

#define E(dtype, shape, range)                                                                     \
    "{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":" range "}"

static void refuses_entries_that_are_not_what_they_must_be(void **state)
{
    (void)state;
    static const bad rows[] = {
        {"{\"x\":" E("I4", "[1]", "[0,1]") "}", 1, "x", "I4"},
        {"{\"x\":" E("u8", "[1]", "[0,1]") "}", 1, "x", "u8"},
        {"{\"x\":" E("U8\\u0000", "[1]", "[0,1]") "}", 1, "x", "dtype"},
        {"{\"x\":{\"dtype\":1,\"shape\":[1],\"data_offsets\":[0,1]}}", 1, "x", "string"},
        {"{\"x\":" E("U8", "[-1]", "[0,1]") "}", 1, "x", "integer"},
        {"{\"x\":" E("U8", "[1.0]", "[0,1]") "}", 1, "x", "fraction"},
        {"{\"x\":" E("U8", "[1e3]", "[0,1000]") "}", 1000, "x", "exponent"},
        {"{\"x\":" E("U8", "[-0]", "[0,0]") "}", 0, "x", "integer"},
        {"{\"x\":" E("U8", "[01]", "[0,1]") "}", 1, "x", "leading zero"},
        {"{\"x\":" E("U8", "[\"1\"]", "[0,1]") "}", 1, "x", "integer"},
        {"{\"x\":" E("U8", "[18446744073709551616]", "[0,1]") "}", 1, "x", "64 bits"},
        {"{\"x\":" E("U8", "1", "[0,1]") "}", 1, "x", "array"},
        {"{\"x\":" E("U8", "{}", "[0,1]") "}", 1, "x", "array"},
        {"{\"x\":" E("U8", "[[1]]", "[0,1]") "}", 1, "x", "integer"},
        {"{\"x\":" E("U8", "null", "[0,1]") "}", 1, "x", "array"},
        {"{\"x\":" E("U8", "[1,1,1,1,1,1,1,1,1]", "[0,1]") "}", 1, "x", "8"},
        {"{\"x\":" E("U8", "[1]", "[0]") "}", 1, "x", "two"},
        {"{\"x\":" E("U8", "[1]", "[]") "}", 1, "x", "two"},
        {"{\"x\":" E("U8", "[1]", "[0,1,1]") "}", 1, "x", "two"},
        {"{\"x\":" E("U8", "[1]", "[0,-1]") "}", 1, "x", "integer"},
        {"{\"x\":" E("U8", "[1]", "[1,0]") "}", 1, "x", "end before"},
        {"{\"x\":{\"shape\":[1],\"data_offsets\":[0,1]}}", 1, "x", "lacks dtype"},
        {"{\"x\":{\"dtype\":\"U8\",\"data_offsets\":[0,1]}}", 1, "x", "lacks shape"},
        {"{\"x\":{\"dtype\":\"U8\",\"shape\":[1]}}", 1, "x", "lacks data_offsets"},
        {"{\"x\":{}}", 0, "x", "lacks"},
        {"{\"x\":null}", 0, "x", "object"},
        {"{\"x\":[]}", 0, "x", "object"},
        {"{\"x\":{\"dtype\":\"U8\",\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1, "x",
         "duplicate"},
        {"{\"x\":{\"dtype\":\"U8\",\"shape\":[1],\"shape\":[1],\"data_offsets\":[0,1]}}", 1, "x",
         "duplicate"},
    };
    REFUSE_ALL(rows);
}

static void refuses_sizes_that_do_not_fit(void **state)
{
    (void)state;
    static const bad rows[] = {
        {"{\"x\":" E("U8", "[2]", "[0,1]") "}", 1, "x", "2 bytes"},
        {"{\"x\":" E("BF16", "[2,3]", "[0,11]") "}", 11, "x", "12 bytes of BF16"},
        {"{\"x\":" E("U8", "[0]", "[0,1]") "}", 1, "x", "0 bytes"},
        {"{\"x\":" E("U8", "[]", "[0,0]") "}", 0, "x", "1 bytes"},
        {"{\"x\":" E("I32", "[2,18446744073709551614]", "[0,16]") "}", 16, "x", "overflow"},
        {"{\"x\":" E("I32", "[2,9223372036854775807]", "[0,16]") "}", 16, "x", "overflow"},
        {"{\"x\":" E("U8", "[4294967296,4294967296]", "[0,0]") "}", 0, "x", "overflow"},
        {"{\"x\":" E("U8", "[18446744073709551615]", "[0,18446744073709551615]") "}", 16, "x",
         "overflow"},
        {"{\"x\":" E("U8", "[1152921504606846976]", "[0,1152921504606846976]") "}", 16, "x",
         "truncated"},
        {"{\"x\":" E("U8", "[0]", "[18446744073709551615,18446744073709551615]") "}", 16, "x",
         "overflow"},
        {"{\"x\":" E("F4", "[3]", "[0,2]") "}", 2, "x", "whole bytes"},
        {"{\"x\":" E("F4", "[]", "[0,1]") "}", 1, "x", "whole bytes"},
        {"{\"x\":" E("F6_E2M3", "[2]", "[0,2]") "}", 2, "x", "whole bytes"},
    };
    REFUSE_ALL(rows);
}

static void refuses_data_that_does_not_tile_the_file(void **state)
{
    (void)state;
    static const bad rows[] = {
        {"{\"x\":" E("U8", "[1]", "[1,2]") "}", 2, "x", "hole"},
        {"{\"x\":" E("U8", "[0]", "[1,1]") "}", 1, "x", "hole"},
        {"{\"x\":" E("U8", "[2]", "[0,2]") ",\"y\":" E("U8", "[2]", "[3,5]") "}", 5, "y", "hole"},
        {"{\"x\":" E("U8", "[2]", "[0,2]") ",\"y\":" E("U8", "[2]", "[1,3]") "}", 3, "y",
         "overlap"},
        {"{\"x\":" E("U8", "[2]", "[0,2]") ",\"y\":" E("U8", "[2]", "[0,2]") "}", 2, NULL,
         "overlap"},
        {"{\"x\":" E("U8", "[4]", "[0,4]") ",\"y\":" E("U8", "[0]", "[2,2]") "}", 4, "y",
         "overlap"},
        {"{\"x\":" U8_1 "}", 2, NULL, "1 trailing bytes"},
        {"{}", 3, NULL, "3 trailing bytes"},
        {"{\"x\":" E("U8", "[4]", "[0,4]") "}", 2, "x", "2 bytes missing"},
        {"{\"x\":" U8_1 "}", 0, "x", "1 bytes missing"},
    };
    REFUSE_ALL(rows);
}

static void refuses_duplicates_and_wrong_metadata(void **state)
{
    (void)state;
    static const bad rows[] = {
        {"{\"x\":" U8_1 ",\"x\":" U8_1 "}", 1, "x", "duplicate"},
        {"{\"x\":" E("U8", "[1]", "[0,1]") ",\"x\":" E("U8", "[1]", "[1,2]") "}", 2, "x",
         "duplicate"},
        {"{\"x\":" U8_1 ",\"\\u0078\":" E("U8", "[1]", "[1,2]") "}", 2, "x", "duplicate"},
        {"{\"__metadata__\":{},\"__metadata__\":{}}", 0, NULL, "duplicate"},
        {"{\"__metadata__\":{\"a\":\"b\"},\"x\":" U8_1 ",\"__metad\\u0061ta__\":{}}", 1, NULL,
         "duplicate"},
        {"{\"__metadata__\":{\"a\":1}}", 0, NULL, "string"},
        {"{\"__metadata__\":{\"a\":null}}", 0, NULL, "string"},
        {"{\"__metadata__\":{\"a\":{}}}", 0, NULL, "string"},
        {"{\"__metadata__\":{\"a\":[\"b\"]}}", 0, NULL, "string"},
        {"{\"__metadata__\":[]}", 0, NULL, "object"},
        {"{\"__metadata__\":\"pt\"}", 0, NULL, "object"},
    };
    REFUSE_ALL(rows);
}

static void refuses_what_is_no_json(void **state)
{
    (void)state;
    static const bad rows[] = {
        {"", 0, NULL, "0 bytes"},
        {"        ", 0, NULL, "{"},
        {"[]", 0, NULL, "{"},
        {"\"x\"", 0, NULL, "{"},
        {"null", 0, NULL, "{"},
        {"\xef\xbb\xbf{}", 0, NULL, "{"},
        {"{", 0, NULL, "end"},
        {"{}}", 0, NULL, "nothing after"},
        {"{}{}", 0, NULL, "nothing after"},
        {"{},", 0, NULL, "nothing after"},
        {"{\"x\":" U8_1 ",}", 1, NULL, "comma"},
        {"{,\"x\":" U8_1 "}", 1, NULL, "key"},
        {"{\"x\":" U8_1 " \"y\":" U8_1 "}", 1, NULL, "','"},
        {"{x:" U8_1 "}", 1, NULL, "key"},
        {"{'x':" U8_1 "}", 1, NULL, "key"},
        {"{\"x\" " U8_1 "}", 1, NULL, "':'"},
        {"{\"x\":" U8_1, 1, NULL, "end"},
        {"{\"\xff\":" U8_1 "}", 1, NULL, "UTF-8"},
        {"{\"\xc0\x80\":" U8_1 "}", 1, NULL, "UTF-8"},
        {"{\"\xed\xa0\x80\":" U8_1 "}", 1, NULL, "UTF-8"},
        {"{\"\xf4\x90\x80\x80\":" U8_1 "}", 1, NULL, "UTF-8"},
        {"{\"\xe2\x82\":" U8_1 "}", 1, NULL, "UTF-8"},
        {"{\"\\ud800\":" U8_1 "}", 1, NULL, "surrogate"},
        {"{\"\\ud800\\u0041\":" U8_1 "}", 1, NULL, "surrogate"},
        {"{\"\\ud800x\":" U8_1 "}", 1, NULL, "surrogate"},
        {"{\"\\ude00\":" U8_1 "}", 1, NULL, "surrogate"},
        {"{\"\\u12g4\":" U8_1 "}", 1, NULL, "hexadecimal"},
        {"{\"\\x41\":" U8_1 "}", 1, NULL, "escape"},
        {"{\"a\nb\":" U8_1 "}", 1, NULL, "control"},
        {"{/**/}", 0, NULL, "key"},
    };
    REFUSE_ALL(rows);
    /* a NUL is no padding */
    gk_err err;
    put_tensors(FILE_, "{}\0\0\0\0\0", 8, NULL, 0);
    gk_catalog *c = open_file(&err);
    check_refusal(&err, &(bad){.header = "{} and NULs", .text = "0x00"});
    gk_catalog_close(c);
}

static void refuses_bad_values_under_other_keys(void **state)
{
    (void)state;
    static const char *const value[] = {
        "NaN", "Infinity", "-Infinity", "nul", "nulL", "True", "tru", "-", "+1", ".5", "1.", "1e",
        "1e+", "-01", "00", "0x1", "1 2", "--1", "1.e1", "[1,]", "[,1]", "[1 2]", "[1", "[\"a\",",
        "{\"a\"}", "{\"a\":}", "{\"a\":1,}", "{1:1}", "{\"a\":1 \"b\":2}", "{\"a\",1}", "[}", "{]",
        "\"a", "\"\\", "\"\\u", "\"\\u00\"", "\"\\a\"", "\"\t\"", "\"\xff\"", "'a'", "\\u0041",
        "]", "}", ":", ",", "", "(1)", "1,", "\x01", "[1]]", "{\"a\":1}}", "undefined",
    };
    for (size_t i = 0; i < sizeof value / sizeof value[0]; i++) {
        const bad row = {path_of("{\"x\":{\"k\":%s,\"dtype\":\"U8\",\"shape\":[1],"
                                 "\"data_offsets\":[0,1]}}", value[i]), 1, NULL, ""};
        refuse_all(&row, 1);
    }
}

static void nesting_has_a_limit_that_the_message_names(void **state)
{
    (void)state;
    static const int depth[] = {62, 63, 100000};
    for (int i = 0; i < 3; i++) {
        char *header = malloc(300000), *at = header;
        at += sprintf(at, "{\"x\":{\"k\":");
        at = (char *)memset(at, '[', (size_t)depth[i]) + depth[i];
        at = (char *)memset(at, ']', (size_t)depth[i]) + depth[i];
        strcpy(at, ",\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}");
        const bad row = {header, 1, "x", "64"};
        if (i == 0)
            accept_n(header, 1, 1);
        else
            refuse_all(&row, 1);
        free(header);
    }
}

/* ---- the length word ---------------------------------------------------------------- */

static void refuses_length_words_that_lie(void **state)
{
    (void)state;
    static const struct {
        uint64_t n, file_bytes;
        const char *text;
    } row[] = {
        {0, 8, "0 bytes"}, {0, 100, "0 bytes"}, {93, 100, "would end at byte 101"},
        {UINT64_C(0xffffff000000003c), 100, "100000000"}, {UINT64_MAX, 100, "100000000"},
        {UINT64_MAX - 7, 100, "100000000"}, {UINT64_C(1) << 63, 100, "100000000"},
        {MAX_HEADER, 100, "would end"},
    };
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        unsigned char data[100];
        gk_err err;
        memset(data, ' ', sizeof data);
        memcpy(data, &row[i].n, 8);
        put_bytes(FILE_, data, row[i].file_bytes);
        gk_catalog *c = open_file(&err);
        check_refusal(&err, &(bad){.header = "length word", .text = row[i].text});
        gk_catalog_close(c);
    }
    for (size_t n = 0; n < 8; n++) {
        gk_err err;
        put_bytes(FILE_, "\2\0\0\0\0\0\0", n);
        gk_catalog *c = open_file(&err);
        check_refusal(&err, &(bad){.header = "short file", .text = n == 0 ? "empty" : "8 bytes"});
        gk_catalog_close(c);
    }
    gk_err err;
    put_text(FILE_, "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n");
    gk_catalog *c = open_file(&err);
    check_refusal(&err, &(bad){.header = "pointer", .text = "git-lfs"});
    gk_catalog_close(c);
}

/* ---- damage ------------------------------------------------------------------------- */

#define SMALL                                                                                      \
    "{\"__metadata__\":{\"f\":\"pt\"},\"b\":{\"dtype\":\"F32\",\"shape\":[2,1],"                   \
    "\"data_offsets\":[0,8]},\"a\":{\"dtype\":\"BF16\",\"shape\":[3],\"data_offsets\":[8,14]}}"

/* SMALL as a file, its header padded to 8 bytes, in buf. */
static size_t small_file(char *buf)
{
    const uint64_t n = (strlen(SMALL) + 7) / 8 * 8;
    memcpy(buf, &n, 8);
    memset(buf + 8, ' ', n);
    memcpy(buf + 8, SMALL, strlen(SMALL));
    for (int i = 0; i < 14; i++)
        buf[8 + n + (size_t)i] = (char)i;
    return 8 + n + 14;
}

static void a_file_cut_at_any_length_is_refused(void **state)
{
    (void)state;
    char buf[512];
    const size_t size = small_file(buf);
    gk_err err;
    for (size_t n = 0; n <= size; n++) {
        put_bytes(FILE_, buf, n);
        gk_catalog *c = open_file(&err);
        if (n < size)
            check_refusal(&err, &(bad){.header = path_of("cut to %zu bytes", n), .text = ""});
        else
            assert_int_equal(err.code, GK_OK);
        gk_catalog_close(c);
    }
    for (size_t n = 1; n <= 16; n++) {
        memset(buf + size, 0, 16);
        put_bytes(FILE_, buf, size + n);
        gk_catalog *c = open_file(&err);
        check_refusal(&err, &(bad){.header = "longer", .text = "trailing"});
        gk_catalog_close(c);
    }
}

/* Whatever opens obeys the rules; two readings say the same. Returns true if it opened. */
static bool judge_twice(size_t size)
{
    gk_err first, second;
    gk_catalog *a = open_file(&first), *b = open_file(&second);
    uint64_t at = a->n_inputs > 0 ? a->input[0].header_bytes : 0;
    assert_memory_equal(&first, &second, sizeof first);
    assert_int_equal(a->n_stored, b->n_stored);
    if (first.code == GK_OK) {
        for (uint64_t i = 0; i < a->n_stored; i++) {
            assert_true(a->stored[i].off <= size && a->stored[i].bytes <= size - a->stored[i].off);
            at += a->stored[i].bytes;
        }
        assert_int_equal(at, size);
        for (uint64_t i = 0; i < a->n_tensors; i++)
            free(read_whole(a, &a->tensor[i]));
    } else {
        check_refusal(&first, &(bad){.header = "a damaged file", .text = ""});
        assert_int_equal(a->n_stored, 0);
    }
    gk_catalog_close(a);
    gk_catalog_close(b);
    return first.code == GK_OK;
}

static void every_flipped_bit_gives_one_verdict(void **state)
{
    (void)state;
    char buf[512];
    const size_t size = small_file(buf);
    int opened = 0;
    for (size_t bit = 0; bit < size * 8; bit++) {
        buf[bit / 8] = (char)(buf[bit / 8] ^ 1 << bit % 8);
        put_bytes(FILE_, buf, size);
        opened += judge_twice(size);
        buf[bit / 8] = (char)(buf[bit / 8] ^ 1 << bit % 8);
    }
    /* flips of data, of name characters and of some dtypes are legal files */
    assert_in_range(opened, 14 * 8, size * 8 / 2);
}

static void mutants_give_one_verdict(void **state)
{
    (void)state;
    static const char *const word[] = {"[",
                                       "]",
                                       "{",
                                       "}",
                                       ",",
                                       ":",
                                       "\"",
                                       "0",
                                       "1",
                                       "9",
                                       "-",
                                       "e",
                                       "\\u0000",
                                       "\\ud800",
                                       "null",
                                       "18446744073709551615",
                                       "\"shape\":[]",
                                       "\"a\"",
                                       "__metadata__",
                                       "\xff",
                                       "F4",
                                       "[0,0]"};
    uint64_t seed = 20240807;
    int opened = 0;
    print_message("seed %" PRIu64 "\n", seed);
    for (int round = 0; round < 3000; round++) {
        char buf[1024];
        size_t size = small_file(buf);
        for (uint64_t k = next_random(&seed) % 4 + 1; k > 0; k--) {
            const char *w = word[next_random(&seed) % (sizeof word / sizeof word[0])];
            const size_t at = 8 + next_random(&seed) % (size - 8), n = strlen(w);
            const size_t cut = next_random(&seed) % 3 == 0 ? next_random(&seed) % 12 : 0;
            const size_t gone = cut < size - at ? cut : size - at;
            memmove(buf + at + n, buf + at + gone, size - at - gone);
            memcpy(buf + at, w, n);
            size = size + n - gone;
        }
        const uint64_t header = size > 8 + 14 ? size - 8 - 14 : 0; /* the length fits again */
        memcpy(buf, &header, 8);
        put_bytes(FILE_, buf, size);
        opened += judge_twice(size);
    }
    print_message("%d of 3000 mutants opened\n", opened);
}

/* ---- large headers ------------------------------------------------------------------- */

/* Opens the file in a child and returns the most memory it took; *ok: it was accepted. */
static uint64_t rss_of_opening(bool *ok)
{
    struct rusage use;
    int status;
    fflush(NULL);
    const pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        gk_err err = {0};
        gk_catalog *c = gk_catalog_open(FILE_, &err);
        _exit(c != NULL && gk_findings_refuse(&c->findings, &err) ? 0 : 1);
    }
    assert_int_equal(wait4(child, &status, 0, &use), child);
    assert_true(WIFEXITED(status));
    *ok = WEXITSTATUS(status) == 0;
    return (uint64_t)use.ru_maxrss * 1024;
}

static void put_padded(uint64_t header_bytes)
{
    const size_t n = strlen(SMALL);
    char *header = malloc(header_bytes);
    assert_non_null(header);
    memcpy(header, SMALL, n);
    memset(header + n, ' ', header_bytes - n);
    put_tensors(FILE_, header, header_bytes, NULL, 14);
    free(header);
}

static void the_largest_header_opens_in_bounded_memory(void **state)
{
    (void)state;
    bool ok;
    put_padded(MAX_HEADER);
    const uint64_t rss = rss_of_opening(&ok);
    assert_true(ok);
    if (!SANITIZED)
        assert_true(rss <= MAX_HEADER + (64u << 20));
    print_message("100,000,000 bytes: %" PRIu64 " MiB\n", rss >> 20);
}

/* A header of that many bytes of entries, as short as they can be (empty tensors) or of the
 * length that real ones have. Returns how many. */
static uint64_t put_bloated(bool real, uint64_t header_bytes)
{
    char *header = malloc(header_bytes), *at = header;
    uint64_t n = 0, off = 0;
    assert_non_null(header);
    *at++ = '{';
    while ((uint64_t)(at - header) < header_bytes - 250) {
        at += real ? sprintf(at, "%s\"model.layers.%d.block_sparse_moe.experts.%d.w%d.weight\":"
                             "{\"dtype\":\"BF16\",\"shape\":[1,1],\"data_offsets\":[%" PRIu64
                             ",%" PRIu64 "]}", n > 0 ? "," : "", (int)(n / 24), (int)(n / 3 % 8),
                             (int)(n % 3) + 1, off, off + 2)
                   : sprintf(at, "%s\"%" PRIx64 "\":{\"dtype\":\"U8\",\"shape\":[0],"
                             "\"data_offsets\":[0,0]}", n > 0 ? "," : "", n);
        off += real ? 2 : 0;
        n++;
    }
    *at++ = '}';
    put_tensors(FILE_, header, (uint64_t)(at - header), NULL, off);
    free(header);
    return n;
}

static void an_entry_takes_little_memory(void **state)
{
    (void)state;
    for (int real = 0; real < 2; real++) {
        bool ok;
        const uint64_t n = put_bloated(real, 10000000), rss = rss_of_opening(&ok);
        print_message("%" PRIu64 " entries: %" PRIu64 " MiB\n", n, rss >> 20);
        assert_true(ok);
        if (!SANITIZED)
            assert_true(rss <= (16u << 20) + 256 * n);
    }
}

static void one_byte_more_is_refused_by_that_number(void **state)
{
    (void)state;
    gk_err err;
    put_tensors(FILE_, SMALL, strlen(SMALL), NULL, MAX_HEADER + 100);
    FILE *f = fopen(FILE_, "r+b");
    const uint64_t n = MAX_HEADER + 1;
    fwrite(&n, 8, 1, f);
    fclose(f);
    gk_catalog *c = open_file(&err);
    assert_int_equal(err.code, GK_ERR_LIMIT);
    check_refusal(&err, &(bad){.header = "100,000,001", .text = "100000001"});
    check_refusal(&err, &(bad){.header = "100,000,001", .text = "100000000"});
    gk_catalog_close(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(accepts_every_dtype_with_its_size),
        cmocka_unit_test(accepts_scalars_and_empty_dimensions),
        cmocka_unit_test(accepts_any_order_of_keys_entries_and_data),
        cmocka_unit_test(accepts_white_space_and_padding),
        cmocka_unit_test(accepts_other_keys_in_an_entry),
        cmocka_unit_test(a_name_is_any_text),
        cmocka_unit_test(refuses_entries_that_are_not_what_they_must_be),
        cmocka_unit_test(refuses_sizes_that_do_not_fit),
        cmocka_unit_test(refuses_data_that_does_not_tile_the_file),
        cmocka_unit_test(refuses_duplicates_and_wrong_metadata),
        cmocka_unit_test(refuses_what_is_no_json),
        cmocka_unit_test(refuses_bad_values_under_other_keys),
        cmocka_unit_test(nesting_has_a_limit_that_the_message_names),
        cmocka_unit_test(refuses_length_words_that_lie),
        cmocka_unit_test(a_file_cut_at_any_length_is_refused),
        cmocka_unit_test(every_flipped_bit_gives_one_verdict),
        cmocka_unit_test(mutants_give_one_verdict),
        cmocka_unit_test(the_largest_header_opens_in_bounded_memory),
        cmocka_unit_test(an_entry_takes_little_memory),
        cmocka_unit_test(one_byte_more_is_refused_by_that_number),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
