/* tests/test_text.c - growing text, escaping and the JSON writer. */
#include <math.h>

#include "tests/test.h"

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(json_is_compact_or_indented),
        cmocka_unit_test(what_a_terminal_obeys_is_escaped),
        cmocka_unit_test(utf8_refuses_overlong_surrogates_and_the_far_planes),
        cmocka_unit_test(the_first_error_wins),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
