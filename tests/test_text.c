/* tests/test_text.c - growing text, escaping and the JSON writer. */
#include <math.h>

#include "tests/test.h"

#include "formats/json.h"
#include "formats/text.h"

static void json_is_compact_or_indented(void **state)
{
    (void)state;
    gk_text t = {0};
    gk_json_open(&t, NULL, '{');
    gk_json_string(&t, "a\"b", "x\ny\x01");
    gk_json_open(&t, "list", '[');
    gk_json_uint(&t, NULL, UINT64_MAX);
    gk_json_real(&t, NULL, 0.1);
    gk_json_real(&t, NULL, 3.0);
    gk_json_real(&t, NULL, NAN);
    gk_json_close(&t, ']');
    gk_json_open(&t, "none", '{');
    gk_json_close(&t, '}');
    gk_json_close(&t, '}');
    assert_string_equal(t.data, "{\"a\\\"b\":\"x\\ny\\u0001\",\"list\":[18446744073709551615,0.1,"
                                "3.0,null],\"none\":{}}");
    gk_text_free(&t);
    t.indent = 2;
    gk_json_open(&t, NULL, '{');
    gk_json_bool(&t, "yes", true);
    gk_json_close(&t, '}');
    assert_string_equal(t.data, "{\n  \"yes\": true\n}");
    gk_text_free(&t);
}

static void what_a_terminal_obeys_is_escaped(void **state)
{
    (void)state;
    gk_text t = {0};
    const char s[] = "a\x1b[31m\0\x7f\xff\xc3\xa9\xe2\x80\xae\xc2\x9b";
    gk_text_escaped(&t, s, sizeof s - 1);
    assert_string_equal(t.data, "a\\x1b[31m\\x00\\x7f\\xff\xc3\xa9\\u202e\\u009b");
    gk_text_free(&t);
}

static void utf8_refuses_overlong_surrogates_and_the_far_planes(void **state)
{
    (void)state;
    assert_int_equal(gk_utf8_len("\xC0\x80", 2), 0);
    assert_int_equal(gk_utf8_len("\xE0\x9F\x80", 3), 0);
    assert_int_equal(gk_utf8_len("\xED\xA0\x80", 3), 0);
    assert_int_equal(gk_utf8_len("\xF4\x90\x80\x80", 4), 0);
    assert_int_equal(gk_utf8_len("\xF4\x8F\xBF\xBF", 4), 4);
    assert_int_equal(gk_utf8_len("\xE2\x82", 2), 0);
}

static void the_first_error_wins(void **state)
{
    (void)state;
    gk_err err = {0};
    assert_false(gk_fail(&err, GK_ERR_FORMAT, 7, "first %d", 1));
    assert_false(gk_fail(&err, GK_ERR_IO, 9, "second"));
    gk_fail_at(&err, "f", "t");
    gk_fail_at(&err, "g", "u");
    assert_int_equal(err.code, GK_ERR_FORMAT);
    assert_int_equal(err.off, 7);
    assert_string_equal(err.msg, "first 1");
    assert_string_equal(err.file, "f");
    assert_string_equal(err.tensor, "t");
    assert_int_equal(gk_err_exit(err.code), 3);
}

/* As transformers writes them; they are numbers, and no integers. */
static void integers_past_64_bits_are_reals(void **state)
{
    static const char text[] = "{\"model_max_length\": 1000000000000000019884624838656, \"n\": 7, "
                               "\"s\": \"12345678901234567890 \\\"1234567890123456789012\", "
                               "\"r\": [0.12345678901234567890123, -99999999999999999999]}";
    gk_err err = {0};
    uint64_t u = 0;
    double real = 0;

    (void)state;
    gk_json *root = gk_json_parse(text, sizeof text - 1, "tokenizer_config.json", &err);
    assert_ok(root != NULL, err);
    assert_false(gk_json_as_uint(gk_json_get(root, "model_max_length"), &u));
    assert_true(gk_json_as_real(gk_json_get(root, "model_max_length"), &real));
    assert_true(real == 1e30);
    assert_true(gk_json_as_uint(gk_json_get(root, "n"), &u) && u == 7);
    assert_string_equal(gk_json_text(gk_json_get(root, "s"), NULL),
                        "12345678901234567890 \"1234567890123456789012");
    assert_true(gk_json_as_real(gk_json_at(gk_json_get(root, "r"), 0), &real));
    assert_true(real == 0.12345678901234567890123);
    assert_true(gk_json_as_real(gk_json_at(gk_json_get(root, "r"), 1), &real) && real == -1e20);
    gk_json_free(root);
    static const char bad[] = "{\"a\": 1000000000000000019884624838656, \"a\": 1}";
    assert_null(gk_json_parse(bad, sizeof bad - 1, "x.json", &err));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(integers_past_64_bits_are_reals),
        cmocka_unit_test(json_is_compact_or_indented),
        cmocka_unit_test(what_a_terminal_obeys_is_escaped),
        cmocka_unit_test(utf8_refuses_overlong_surrogates_and_the_far_planes),
        cmocka_unit_test(the_first_error_wins),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
