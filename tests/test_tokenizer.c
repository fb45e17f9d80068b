/* tests/test_tokenizer.c - ids of the reference, and files that must be refused. */
#include <stdlib.h>
#include <unistd.h>

#include "tests/test.h"

#include "formats/hash.h"
#include "formats/io.h"
#include "formats/json.h"
#include "verify/tokenizer.h"

#define FILE_NAME TINY "/tokenizer.tok.json"

static gk_tokenizer *tokenizer;

/* The tokenizer in one file of that name. */
static gk_tokenizer *open_file(const char *name, const char *path, gk_err *err)
{
    gk_extra extra = {.name = name, .path = path};
    const gk_catalog c = {.extra = &extra, .n_extras = 1};
    return gk_tokenizer_open(&c, err);
}

static gk_json *golden;

static int open_all(void **state)
{
    (void)state;
    gk_err err = {0};
    tokenizer = open_file("tokenizer.tok.json", FILE_NAME, &err);
    golden = gk_json_load(TINY "/golden/golden.json", &err);
    return tokenizer == NULL || golden == NULL;
}

static int close_all(void **state)
{
    (void)state;
    gk_tokenizer_close(tokenizer);
    gk_json_free(golden);
    return 0;
}

static void check_round_trip(const char *text, uint64_t len, const gk_ids *ids)
{
    gk_err err = {0};
    gk_text back = {0};
    assert_ok(gk_tokenizer_decode(tokenizer, ids->id, ids->n, &back, &err), err);
    assert_int_equal(back.len, len);
    if (len > 0)
        assert_memory_equal(back.data, text, len);
    gk_text_free(&back);
}

static void every_golden_string_has_its_ids(void **state)
{
    (void)state;
    const gk_json *list = gk_json_get(golden, "tokens");
    assert_true(gk_json_count(list) >= 30);
    for (uint64_t i = 0; i < gk_json_count(list); i++) {
        const gk_json *expected = gk_json_get(gk_json_at(list, i), "ids");
        gk_err err = {0};
        gk_ids ids = {0};
        uint64_t len = 0, id;
        const char *text = gk_json_text(gk_json_get(gk_json_at(list, i), "text"), &len);
        assert_ok(gk_tokenizer_encode(tokenizer, text, len, &ids, &err), err);
        assert_int_equal(ids.n, gk_json_count(expected));
        for (uint64_t k = 0; k < ids.n; k++) {
            assert_true(gk_json_as_uint(gk_json_at(expected, k), &id));
            assert_int_equal(ids.id[k], id);
        }
        check_round_trip(text, len, &ids);
        gk_ids_free(&ids);
    }
}

static void both_texts_have_their_digest(void **state)
{
    (void)state;
    static const char *const names[] = {"heldout.txt", "second.txt"};
    for (int i = 0; i < 2; i++) {
        char path[100], hex[GK_SHA256_HEX];
        gk_err err = {0};
        gk_ids ids = {0};
        uint64_t len;
        snprintf(path, sizeof path, TINY "/golden/%s", names[i]);
        char *text = gk_file_slurp(path, 1 << 20, &len, &err);
        assert_ok(text != NULL && gk_tokenizer_encode(tokenizer, text, len, &ids, &err), err);
        assert_ok(gk_hash_bytes(ids.id, ids.n * 4, hex, &err), err);
        assert_string_equal(
            hex, gk_json_text(
                     gk_json_get(gk_json_get(gk_json_get(golden, "texts"), names[i]), "ids_sha256"),
                     NULL));
        check_round_trip(text, len, &ids);
        gk_free(text);
        gk_ids_free(&ids);
    }
}

static void a_megabyte_of_one_letter_is_no_trouble(void **state)
{
    (void)state;
    gk_err err = {0};
    gk_ids ids = {0};
    char *text = malloc(1 << 20);
    memset(text, 'a', 1 << 20);
    assert_ok(gk_tokenizer_encode(tokenizer, text, 1 << 20, &ids, &err), err);
    check_round_trip(text, 1 << 20, &ids);
    gk_ids_free(&ids);
    free(text);
}

static void long_and_short_words_merge_alike(void **state)
{
    (void)state;
    /* 60 letters take the array, 65 the heap; a shared beginning must give shared ids */
    static const char words[] =
        "beginningandtheearthwaswithoutformandvoidanddarknesswasupontheface";
    gk_err err = {0};
    for (uint64_t n = 50; n < sizeof words - 1; n++) {
        gk_ids a = {0}, b = {0};
        char twice[200];
        /* a blank begins a new word, so the second half is encoded alone */
        snprintf(twice, sizeof twice, "%.*s", (int)n, words);
        assert_ok(gk_tokenizer_encode(tokenizer, twice, n, &a, &err), err);
        assert_ok(gk_tokenizer_encode(tokenizer, words, n, &b, &err), err);
        assert_int_equal(a.n, b.n);
        assert_memory_equal(a.id, b.id, a.n * 4);
        check_round_trip(words, n, &a);
        gk_ids_free(&a);
        gk_ids_free(&b);
    }
}

static void text_that_is_not_utf8_is_an_error_with_its_place(void **state)
{
    (void)state;
    gk_err err = {0};
    gk_ids ids = {0};
    assert_false(gk_tokenizer_encode(tokenizer, "abc\xFF", 4, &ids, &err));
    assert_int_equal(err.code, GK_ERR_FORMAT);
    assert_int_equal(err.off, 3);
    gk_ids_free(&ids);
}

static void an_id_beyond_the_last_is_an_error(void **state)
{
    (void)state;
    gk_err err = {0};
    gk_text out = {0};
    const uint32_t id = 1024;
    assert_int_equal(gk_tokenizer_size(tokenizer), 1024);
    assert_false(gk_tokenizer_decode(tokenizer, &id, 1, &out, &err));
    assert_int_equal(err.code, GK_ERR_ARG);
    gk_text_free(&out);
}

/* Writes the tiny tokenizer with `from` replaced by `to`, and opens that. */
static gk_err open_changed(const char *from, const char *to)
{
    gk_err err = {0}, result = {0};
    uint64_t len;
    char *text = gk_file_slurp(FILE_NAME, 1 << 20, &len, &err);
    char *at = text == NULL ? NULL : strstr(text, from);
    char path[] = "/tmp/gk_tokenizer_XXXXXX";
    const int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_ok(text != NULL, err);
    assert_non_null(at);
    FILE *f = fdopen(fd, "wb");
    fwrite(text, 1, (size_t)(at - text), f);
    fputs(to, f);
    fputs(at + strlen(from), f);
    fclose(f);
    gk_tokenizer *t = open_file("tokenizer.tok.json", path, &result);
    assert_true((t != NULL) == (result.code == GK_OK));
    gk_tokenizer_close(t);
    gk_free(text);
    unlink(path);
    return result;
}

static void unusable_files_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *from, *to, *says;
    } cases[] = {
        {"\"token\":100}", "\"token\":101}", "100"},
        {"\"token\":100}", "\"token\":5000}", "hole"},
        {"\"token\":100}", "\"token\":18446744073709551616}", ""},
        {"\"token\":100}", "\"token\":-1}", ""},
        {"{\"bytes\":[0],", "{\"bytes\":[],", "empty"},
        {"{\"bytes\":[0],", "{\"bytes\":[256],", "256"},
        {"\"V1\"", "\"V9\"", "word_split"},
        {"\"vocab_size\":1024", "\"vocab_size\":1025", "vocab_size"},
        {"\"vocab_size\":1024", "\"vocab_size\":1024,\"pat_str\":\"(\"", "pat_str"},
        {"\"special_tokens\":[", "\"special_tokens\":[[", ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        gk_err err = open_changed(cases[i].from, cases[i].to);
        if (err.code != GK_ERR_FORMAT || strstr(err.msg, cases[i].says) == NULL)
            fail_msg("case %zu: code %d, '%s'", i, err.code, err.msg);
    }
    assert_int_equal(open_changed("\"token\":100}", "\"token\":100 }").code, GK_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_golden_string_has_its_ids),
        cmocka_unit_test(both_texts_have_their_digest),
        cmocka_unit_test(a_megabyte_of_one_letter_is_no_trouble),
        cmocka_unit_test(long_and_short_words_merge_alike),
        cmocka_unit_test(text_that_is_not_utf8_is_an_error_with_its_place),
        cmocka_unit_test(an_id_beyond_the_last_is_an_error),
        cmocka_unit_test(unusable_files_are_refused),
    };
    return cmocka_run_group_tests(tests, open_all, close_all);
}
