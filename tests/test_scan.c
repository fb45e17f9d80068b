/* tests/test_scan.c - the JSON cursor at the edges of its window, and at its limits. */
#include "tests/disk.h"

#include "formats/scan.h"

#define WORK "build/tmp/test_scan"

/* Characters of 1 to 4 bytes, escapes, a pair of surrogates, a NUL. */
#define WORD    "ab\\\"c\xC3\xA9 \\u00e9 \xE2\x82\xAC\\n\xF0\x9F\x98\x80 \\ud83d\\ude00\\u0000z"
#define DECODED "ab\"c\xC3\xA9 \xC3\xA9 \xE2\x82\xAC\n\xF0\x9F\x98\x80 \xF0\x9F\x98\x80\0z"
#define NUMBER  "18446744073709551615"
#define TEXT    "{\"" WORD "\":[" NUMBER ",0],\"rest\":[-1.5e-3,true,null]}"

static gk_file *write_and_open(gk_arena *a, const char *text, size_t n)
{
    gk_err err = {0};

    write_bytes(WORK "/text.json", text, n);
    gk_file *f = gk_file_open(a, WORK "/text.json", &err);
    assert_ok(f != NULL, err);
    return f;
}

static void expect_text(gk_scan *s)
{
    gk_text word = {0};
    uint64_t number = 0;

    assert_true(gk_scan_open(s, '{') && gk_scan_more(s) && gk_scan_key(s, &word));
    assert_int_equal(word.len, sizeof DECODED - 1);
    assert_memory_equal(word.data, DECODED, sizeof DECODED);
    assert_true(gk_scan_open(s, '[') && gk_scan_more(s) && gk_scan_uint(s, &number));
    assert_true(number == UINT64_MAX);
    assert_true(gk_scan_more(s) && gk_scan_uint(s, &number) && number == 0);
    assert_false(gk_scan_more(s));
    assert_true(gk_scan_more(s) && gk_scan_key(s, &word) && gk_scan_skip(s));
    assert_false(gk_scan_more(s));
    assert_true(gk_scan_done(s));
    gk_text_free(&word);
}

static void a_window_may_end_anywhere(void **state)
{
    (void)state;
    static char text[GK_SCAN_WINDOW_BYTES + sizeof TEXT], window[GK_SCAN_WINDOW_BYTES];
    const size_t n = sizeof TEXT - 1;

    for (size_t before = 0; before <= n; before++) {
        const size_t blanks = GK_SCAN_WINDOW_BYTES - before;
        gk_err err = {0};
        gk_arena *a = gk_arena_new(&err);
        gk_scan s;
        memset(text, ' ', blanks);
        memcpy(text + blanks, TEXT, n);
        gk_file *f = write_and_open(a, text, blanks + n);
        gk_scan_file(&s, f, 0, f->size, window, &err);
        expect_text(&s);
        gk_scan_mem(&s, text, blanks + n, &err);
        expect_text(&s);
        assert_int_equal(err.code, GK_OK);
        gk_file_close(f);
        gk_arena_free(a);
    }
}

/* Wherever the text ends, the cursor says so at its end, and stays there. */
static void a_text_cut_anywhere_is_refused_at_its_end(void **state)
{
    (void)state;
    for (size_t n = 0; n < sizeof TEXT - 1; n++) {
        char *exact = malloc(n + 1); /* so that one byte too many is seen */
        gk_err err = {0};
        gk_scan s;
        assert_non_null(exact);
        char *text = memcpy(exact + 1, TEXT, n);
        gk_scan_mem(&s, text, n, &err);
        assert_false(gk_scan_skip(&s));
        assert_int_equal(err.code, GK_ERR_FORMAT);
        assert_int_equal(gk_scan_peek(&s), -1);
        assert_false(gk_scan_skip(&s) || gk_scan_more(&s) || gk_scan_done(&s));
        free(exact);
    }
}

static void the_longest_string_is_read_and_one_byte_more_is_not(void **state)
{
    (void)state;
    static char window[GK_SCAN_WINDOW_BYTES];
    const size_t most = GK_MAX_STRING_BYTES;
    char *text = malloc(most + 3);
    gk_err err = {0};
    gk_arena *a = gk_arena_new(&err);

    assert_non_null(text);
    for (size_t n = most; n <= most + 1; n++) {
        gk_text out = {0};
        gk_scan s;
        memset(text, 'a', n + 2);
        text[0] = text[n + 1] = '"';
        gk_file *f = write_and_open(a, text, n + 2);
        for (int i = 0; i < 2; i++) {
            err = (gk_err){0};
            if (i == 0)
                gk_scan_file(&s, f, 0, f->size, window, &err);
            else
                gk_scan_mem(&s, text, n + 2, &err);
            assert_int_equal(gk_scan_string(&s, &out), n == most);
            assert_int_equal(err.code, n == most ? GK_OK : GK_ERR_LIMIT);
            assert_true(n > most || out.len == n);
        }
        gk_text_free(&out);
        gk_file_close(f);
    }
    gk_arena_free(a);
    free(text);
}

static void a_number_past_64_bits_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"18446744073709551616", "18446744073709551620",
                                      "99999999999999999999", "184467440737095516150", "01", "1.0",
                                      "-1", "1e3"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        gk_err err = {0};
        gk_scan s;
        uint64_t v = 7;
        gk_scan_mem(&s, bad[i], strlen(bad[i]), &err);
        assert_false(gk_scan_uint(&s, &v));
        assert_int_equal(err.code, GK_ERR_FORMAT);
        assert_int_equal(v, 7);
    }
}

/* Reads an array; with `most` not 0 in runs of small numbers. Returns how many, -1 on an
 * error. */
static int read_array(const char *text, uint64_t most, uint64_t out[64], gk_err *err)
{
    unsigned char run[64];
    gk_scan s;
    int n = 0;

    gk_scan_mem(&s, text, strlen(text), err);
    bool ok = gk_scan_open(&s, '[');
    while (ok && gk_scan_more(&s)) {
        const uint64_t k = most > 0 ? gk_scan_small(&s, run, most) : 0;
        for (uint64_t i = 0; i < k; i++)
            out[n++] = run[i];
        ok = gk_scan_uint(&s, &out[n++]);
    }
    return ok && gk_scan_done(&s) ? n : -1;
}

static void runs_of_small_numbers_change_nothing(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "[]", "[0]", "[7,8]", "[0,1,10,99,100,255,256,1000,3]", "[255,254,253,252,1]", "[1,2,3",
        "[1,2,]", "[1,,2]", "[1,02,3]", "[00,1,2]", "[1,2.5,3]", "[1,-2,3]", "[1, 2,3,4]",
        "[1 ,2,3,4]", "[1,2,\n3,4]", "[1,2,300,4]", "[1,2,18446744073709551615,4]", "[1,2,x,4]",
        "[1,2,18446744073709551616,4]", "[1,2e1,3,4]", "[10,20,30,40,50,60}", "[1,2,3,4,5]]"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        for (uint64_t most = 1; most < 8; most++) {
            gk_err plain_err = {0}, err = {0};
            uint64_t plain[64], fast[64];
            const int n = read_array(texts[i], 0, plain, &plain_err);
            assert_int_equal(read_array(texts[i], most, fast, &err), n);
            assert_int_equal(err.code, plain_err.code);
            assert_int_equal(err.off, plain_err.off);
            assert_string_equal(err.msg, plain_err.msg);
            if (n > 0)
                assert_memory_equal(fast, plain, (size_t)n * sizeof *fast);
        }
}

WORK_FOLDER(WORK)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_window_may_end_anywhere),
        cmocka_unit_test(a_text_cut_anywhere_is_refused_at_its_end),
        cmocka_unit_test(the_longest_string_is_read_and_one_byte_more_is_not),
        cmocka_unit_test(runs_of_small_numbers_change_nothing),
        cmocka_unit_test(a_number_past_64_bits_is_refused),
    };

    return cmocka_run_group_tests(tests, open_work, close_work);
}
