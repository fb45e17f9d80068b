/* tests/test_vocabulary.c - tokenizers of a GGUF and of Hugging Face, against the ids of
 * llama-tokenize and of the package tokenizers (testdata/reference/make_vocabulary.py). */
#include <sys/stat.h>
#include <unistd.h>

#include "tests/made_vocabulary.h"

#include "formats/byte_alphabet.h"

static int open_all(void **state)
{
    (void)state;
    return open_golden("golden.json");
}

/* The GGUF at path with another string as the value of a key; it has no tensors, so nothing
 * has to stay where it is. */
static gk_catalog *open_with(const char *path, const char *key, const char *old, const char *now,
                             gk_err *err)
{
    char from[100], to[100];
    const size_t k = strlen(key);
    memcpy(from, key, k);
    memcpy(to, key, k);
    memcpy(from + k, "\x08\0\0", 4);
    memcpy(to + k, "\x08\0\0", 4);
    const uint64_t n_old = strlen(old), n_now = strlen(now);
    memcpy(from + k + 4, &n_old, 8);
    memcpy(to + k + 4, &n_now, 8);
    memcpy(from + k + 12, old, n_old);
    memcpy(to + k + 12, now, n_now);
    uint64_t n;
    char *all = gk_file_slurp(path, 1 << 20, &n, err);
    assert_non_null(all);
    char *at = memmem(all, n, from, k + 12 + n_old);
    assert_non_null(at);
    char name[] = "build/tmp/vocabulary_XXXXXX";
    mkdir("build/tmp", 0777);
    const int fd = mkstemp(name);
    assert_true(fd >= 0);
    FILE *f = fdopen(fd, "wb");
    fwrite(all, 1, (size_t)(at - all), f);
    fwrite(to, 1, k + 12 + n_now, f);
    fwrite(at + k + 12 + n_old, 1, n - (size_t)(at - all) - (k + 12 + n_old), f);
    fclose(f);
    gk_catalog *c = gk_catalog_open(name, err);
    unlink(name);
    gk_free(all);
    return c;
}

static void check_golden(const gk_catalog *c, const char *what)
{
    gk_err err = {0};
    const gk_json *texts = gk_json_get(golden, "texts"), *lists = gk_json_get(golden, what);
    gk_tokenizer *t = gk_tokenizer_open(c, &err);
    assert_ok(t != NULL, err);
    assert_true(gk_json_count(texts) > 60);
    assert_int_equal(gk_json_count(lists), gk_json_count(texts));
    for (uint64_t i = 0; i < gk_json_count(texts); i++) {
        const gk_json *list = gk_json_at(lists, i);
        gk_ids ids = {0};
        gk_text back = {0};
        uint64_t len;
        const char *text = gk_json_text(gk_json_at(texts, i), &len);
        assert_ok(gk_tokenizer_encode(t, text, len, &ids, &err), err);
        if (!same_ids(list, &ids))
            fail_msg("%s: text %d has other ids: '%s'", what, (int)i, text);
        assert_ok(gk_tokenizer_decode(t, ids.id, ids.n, &back, &err), err);
        assert_int_equal(back.len, len);
        assert_memory_equal(back.data, text, len);
        gk_ids_free(&ids);
        gk_text_free(&back);
    }
    gk_tokenizer_close(t);
}

/* ---- tests ------------------------------------------------------------------------- */

static void every_byte_has_its_own_letter(void **state)
{
    (void)state;
    gk_text spelled = {0}, back = {0};
    char all[256];
    for (int i = 0; i < 256; i++)
        all[i] = (char)i;
    gk_alphabet_spell(&spelled, all, 256);
    assert_true(gk_alphabet_read(&back, spelled.data, spelled.len));
    assert_int_equal(back.len, 256);
    assert_memory_equal(back.data, all, 256);
    gk_text_clear(&spelled);
    gk_alphabet_spell(&spelled, " \na\xAD\xFF", 5);
    assert_string_equal(spelled.data, "\xC4\xA0"
                                      "\xC4\x8A"
                                      "a"
                                      "\xC5\x83"
                                      "\xC3\xBF");
    assert_false(gk_alphabet_read(&back, "a b", 3));
    assert_false(gk_alphabet_read(&back, "\xC5\x84", 2)); /* U+0144, one past the last */
    assert_false(gk_alphabet_read(&back, "\xE2\x82\xAC", 3));
    assert_false(gk_alphabet_read(&back, "\xC4", 1));
    assert_int_equal(back.len, 256);
    gk_text_free(&spelled);
    gk_text_free(&back);
}

static void names_of_pre_tokenizers_cut_as_llama_cpp_does(void **state)
{
    (void)state;
    static const char *const pres[] = {"grok-2",    "gpt-2", "smollm",
                                       "llama-bpe", "qwen2", "default"};
    for (int i = 0; i < 6; i++) {
        gk_err err = {0};
        gk_catalog *c = open_with(DATA "wide.gguf", "tokenizer.ggml.pre", "grok-2", pres[i], &err);
        assert_ok(c != NULL, err);
        check_golden(c, pres[i]);
        gk_catalog_close(c);
    }
}

static void a_gguf_and_the_ranks_give_the_same_ids(void **state)
{
    (void)state;
    gk_err err = {0};
    gk_catalog *c = gk_catalog_open(DATA "grok2-tiny.gguf", &err);
    assert_ok(c != NULL, err);
    check_golden(c, "tiny");
    gk_catalog_close(c);
    made m = {0};
    add_file(&m, "tokenizer.tok.json", TINY "/tokenizer.tok.json");
    check_golden(&m.c, "tiny");
}

static void tokenizer_json_cuts_and_merges_as_hugging_face_does(void **state)
{
    (void)state;
    static const char *const names[] = {"pairs.json", "text.json"};
    for (int i = 0; i < 2; i++) {
        made m = {0};
        char path[100];
        snprintf(path, sizeof path, DATA "%s", names[i]);
        add_file(&m, "tokenizer.json", path);
        check_golden(&m.c, names[i]);
    }
}

static void what_a_gguf_says_is_read(void **state)
{
    (void)state;
    gk_err err = {0};
    gk_vocabulary v = {0};
    gk_catalog *c = gk_catalog_open(DATA "grok2-tiny.gguf", &err);
    assert_ok(c != NULL, err);
    assert_ok(gk_vocabulary_read(c, &v, &err), err);
    assert_int_equal(v.kind, GK_BPE_MERGES);
    assert_int_equal(v.n, 1024);
    assert_int_equal(v.n_merges, 760);
    assert_int_equal(v.bos, -1);
    assert_int_equal(v.eos, 2);
    assert_int_equal(v.pad, 0);
    assert_int_equal(v.sep, 1);
    assert_false(v.add_bos);
    assert_false(v.ignore_merges);
    assert_string_equal(v.pre, "grok-2");
    assert_int_equal(v.token[7].type, GK_TOKEN_CONTROL);
    assert_int_equal(v.token[8].type, GK_TOKEN_NORMAL);
    assert_int_equal(v.token[8].len, 1);
    assert_int_equal(gk_vocabulary_special(&v, "<|reserved_7|>"), 7);
    assert_int_equal(gk_vocabulary_special(&v, "a"), -1);
    gk_vocabulary_free(&v);
    gk_catalog_close(c);
}

static void merges_are_derived_as_an_independent_program_does(void **state)
{
    (void)state;
    gk_err err = {0};
    gk_vocabulary v = {0}, listed = {0};
    made m = {0};
    add_file(&m, "tokenizer.tok.json", TINY "/tokenizer.tok.json");
    gk_catalog *c = gk_catalog_open(DATA "grok2-tiny.gguf", &err);
    assert_ok(c != NULL, err);
    assert_ok(gk_vocabulary_read(&m.c, &v, &err), err);
    assert_ok(gk_vocabulary_read(c, &listed, &err), err);
    assert_int_equal(v.n_merges, 0);
    assert_ok(gk_vocabulary_merges(&v, &err), err);
    assert_int_equal(v.n_unmerged, 0);
    assert_int_equal(v.n_merges, listed.n_merges);
    assert_memory_equal(v.merge, listed.merge, v.n_merges * sizeof *v.merge);
    gk_vocabulary_free(&v);
    gk_vocabulary_free(&listed);
    gk_catalog_close(c);
}

static void a_token_that_no_merge_reaches_has_none(void **state)
{
    (void)state;
    /* the pair th becomes another token, so "the" is never made of lower ranks: th is gone */
    gk_err err = {0};
    gk_vocabulary v = {0};
    made m = {0};
    uint64_t len;
    const char *text = changed(TINY "/tokenizer.tok.json", "{\"bytes\":[116,104],",
                               "{\"bytes\":[1,2,3],", &len);
    add_bytes(&m, "tokenizer.tok.json", text, len);
    assert_ok(gk_vocabulary_read(&m.c, &v, &err), err);
    assert_ok(gk_vocabulary_merges(&v, &err), err);
    assert_true(v.n_unmerged >= 1);
    assert_int_equal(v.n_merges + v.n_unmerged, 760);
    gk_vocabulary_free(&v);
}

static void tok_json_comes_back_byte_for_byte(void **state)
{
    (void)state;
    gk_err err = {0};
    uint64_t len;
    char *want = gk_file_slurp(TINY "/tokenizer.tok.json", 1 << 20, &len, &err);
    made m = {0};
    add_file(&m, "tokenizer.tok.json", TINY "/tokenizer.tok.json");
    gk_catalog *gguf = gk_catalog_open(DATA "grok2-tiny.gguf", &err);
    assert_ok(want != NULL && gguf != NULL, err);
    const gk_catalog *sources[] = {&m.c, gguf};
    for (int i = 0; i < 2; i++) {
        gk_vocabulary v = {0};
        gk_text out = {0};
        assert_ok(gk_vocabulary_read(sources[i], &v, &err), err);
        assert_ok(gk_vocabulary_tok_json(&v, &out, &err), err);
        assert_int_equal(out.len, len);
        assert_memory_equal(out.data, want, len);
        gk_text_free(&out);
        gk_vocabulary_free(&v);
    }
    gk_catalog_close(gguf);
    gk_free(want);
}

static void tok_json_with_a_pattern_reads_back(void **state)
{
    (void)state;
    gk_err err = {0};
    uint64_t len;
    const char *text = changed(TINY "/tokenizer.tok.json", "\"word_split\":\"V1\"",
                         "\"word_split\":\"V1\",\"pat_str\":\"\\\"|\\\\s+|\\\\S\"", &len);
    made m = {0}, again = {0};
    gk_vocabulary v = {0}, w = {0};
    gk_text out = {0};
    add_bytes(&m, "tokenizer.tok.json", text, len);
    assert_ok(gk_vocabulary_read(&m.c, &v, &err), err);
    assert_string_equal(v.pattern[0], "\"|\\s+|\\S");
    assert_null(v.pre);
    assert_null(v.chat_template);
    assert_ok(gk_vocabulary_tok_json(&v, &out, &err), err);
    add_bytes(&again, "tokenizer.tok.json", out.data, out.len);
    assert_ok(gk_vocabulary_read(&again.c, &w, &err), err);
    assert_string_equal(w.pattern[0], v.pattern[0]);
    assert_int_equal(w.n, v.n);
    assert_memory_equal(w.pool.data, v.pool.data, v.pool.len);
    gk_vocabulary_free(&v);
    gk_vocabulary_free(&w);
    gk_text_free(&out);
}

static void what_tok_json_cannot_say_is_not_written(void **state)
{
    (void)state;
    gk_err err = {0};
    made m = {0};
    gk_vocabulary v = {0};
    gk_text out = {0};
    add_file(&m, "tokenizer.json", DATA "text.json"); /* two patterns */
    assert_ok(gk_vocabulary_read(&m.c, &v, &err), err);
    assert_false(gk_vocabulary_tok_json(&v, &out, &err));
    assert_int_equal(err.code, GK_ERR_UNSUPPORTED);
    gk_vocabulary_free(&v);
    gk_catalog *c = gk_catalog_open(DATA "grok2-tiny.gguf", &(gk_err){0});
    err = (gk_err){0};
    assert_ok(gk_vocabulary_read(c, &v, &err), err);
    const gk_merge first = v.merge[0];
    v.merge[0] = v.merge[1];
    v.merge[1] = first;
    assert_false(gk_vocabulary_tok_json(&v, &out, &err));
    assert_int_equal(err.code, GK_ERR_UNSUPPORTED);
    assert_non_null(strstr(err.msg, "order"));
    gk_vocabulary_free(&v);
    gk_catalog_close(c);
    gk_text_free(&out);
}

static void a_bos_is_told_but_not_added(void **state)
{
    (void)state;
    gk_err err = {0};
    uint32_t id = 77;
    made m = {0}, grok = {0};
    add_file(&m, "tokenizer.json", DATA "text.json");
    gk_tokenizer *t = gk_tokenizer_open(&m.c, &err);
    assert_ok(t != NULL, err);
    assert_true(gk_tokenizer_bos(t, &id));
    assert_int_equal(id, 1);
    gk_tokenizer_close(t);
    /* the file beside it has the last word */
    static const char config[] = "{\"add_bos_token\":false,\"eos_token\":{\"content\":\"<unk>\"}}";
    add_bytes(&m, "tokenizer_config.json", config, sizeof config - 1);
    t = gk_tokenizer_open(&m.c, &err);
    assert_ok(t != NULL, err);
    assert_false(gk_tokenizer_bos(t, &id));
    gk_tokenizer_close(t);
    gk_vocabulary v = {0};
    assert_ok(gk_vocabulary_read(&m.c, &v, &err), err);
    assert_int_equal(v.eos, 0);
    gk_vocabulary_free(&v);
    add_file(&grok, "tokenizer.tok.json", TINY "/tokenizer.tok.json");
    t = gk_tokenizer_open(&grok.c, &err);
    assert_ok(t != NULL, err);
    assert_false(gk_tokenizer_bos(t, &id));
    gk_tokenizer_close(t);
}

static void the_chat_template_is_the_models_or_grok2s(void **state)
{
    (void)state;
    static const char config[] = "{\"chat_template\":[{\"name\":\"tool_use\",\"template\":\"no\"},"
                                 "{\"name\":\"default\",\"template\":\"yes\"}]}";
    static const char jinja[] = "{{ own }}";
    gk_err err = {0};
    gk_vocabulary v = {0};
    made m = {0};
    add_file(&m, "tokenizer.tok.json", TINY "/tokenizer.tok.json");
    assert_ok(gk_vocabulary_read(&m.c, &v, &err), err);
    assert_string_equal(v.chat_template, gk_grok2_chat_template);
    assert_int_equal(v.eos, 2);
    assert_int_equal(v.sep, 1);
    assert_string_equal(v.pre, "grok-2");
    gk_vocabulary_free(&v);
    add_bytes(&m, "tokenizer_config.json", config, sizeof config - 1);
    assert_ok(gk_vocabulary_read(&m.c, &v, &err), err);
    assert_string_equal(v.chat_template, "yes");
    gk_vocabulary_free(&v);
    add_bytes(&m, "chat_template.jinja", jinja, sizeof jinja - 1);
    assert_ok(gk_vocabulary_read(&m.c, &v, &err), err);
    assert_string_equal(v.chat_template, jinja);
    gk_vocabulary_free(&v);
}

static void a_model_without_tokenizer_has_none(void **state)
{
    (void)state;
    gk_err err = {0};
    gk_vocabulary v = {0};
    const gk_catalog c = {0};
    assert_false(gk_vocabulary_has(&c));
    assert_ok(gk_vocabulary_read(&c, &v, &err), err);
    assert_int_equal(v.n, 0);
    gk_vocabulary_free(&v);
    assert_null(gk_tokenizer_open(&c, &err));
    assert_int_equal(err.code, GK_ERR_ARG);
}

static void tokenizers_we_cannot_follow_are_refused_with_the_reason(void **state)
{
    (void)state;
    static const struct {
        const char *file, *from, *to, *says;
        gk_err_code code;
    } cases[] = {
        {"text.json", "\"normalizer\":null", "\"normalizer\":{\"type\":\"NFKC\"}", "normalizer",
         GK_ERR_UNSUPPORTED},
        {"text.json", "\"type\":\"BPE\"", "\"type\":\"Unigram\"", "BPE", GK_ERR_UNSUPPORTED},
        {"text.json", "\"type\":\"ByteLevel\"", "\"type\":\"Metaspace\"", "bytes",
         GK_ERR_UNSUPPORTED},
        {"text.json", "\"type\":\"Digits\"", "\"type\":\"Metaspace\"", "step", GK_ERR_UNSUPPORTED},
        {"text.json", "\"add_prefix_space\":false", "\"add_prefix_space\":true", "blank",
         GK_ERR_UNSUPPORTED},
        {"text.json", "\"lstrip\":false", "\"lstrip\":true", "strip", GK_ERR_UNSUPPORTED},
        {"text.json", "\"end_of_word_suffix\":null", "\"end_of_word_suffix\":\"</w>\"", "suffix",
         GK_ERR_UNSUPPORTED},
        {"text.json", "\"merges\":[\"", "\"merges\":[\"a", "", GK_ERR_FORMAT},
        {"text.json", "\"merges\":[\"", "\"merges\":[\"x qqq\",\"", "merge 0", GK_ERR_FORMAT},
        {"text.json", "\"merges\":[\"", "\"merges\":[\"nothing\",\"", "blank", GK_ERR_FORMAT},
        {"pairs.json", "\"merges\":[[", "\"merges\":[[\"a\"],[", "pair", GK_ERR_FORMAT},
        {"pairs.json", "\"!\":1", "\"!\":2", "duplicate", GK_ERR_FORMAT},
        {"pairs.json", "\"!\":1", "\"!\":400000", "ids", GK_ERR_LIMIT},
        {"pairs.json", "\"!\":1", "\"!\":4000000000", "tokens", GK_ERR_FORMAT},
        {"pairs.json", "(?i:", "(?i:(", "pattern", GK_ERR_FORMAT},
        {"pairs.json", "\"vocab\":{", "\"vocab\":[", "object", GK_ERR_UNSUPPORTED},
        {"pairs.json", "\"vocab\":{", "\"vocabulary\":{", "vocab", GK_ERR_FORMAT},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char path[100];
        uint64_t len;
        made m = {0};
        gk_err err = {0};
        snprintf(path, sizeof path, DATA "%s", cases[i].file);
        const char *text = changed(path, cases[i].from, cases[i].to, &len);
        add_bytes(&m, "tokenizer.json", text, len);
        gk_tokenizer *t = gk_tokenizer_open(&m.c, &err);
        if (t != NULL || err.code != cases[i].code || strstr(err.msg, cases[i].says) == NULL)
            fail_msg("case %zu: code %d, '%s'", i, (int)err.code, err.msg);
        assert_string_equal(err.file, "tokenizer.json");
    }
}

/* Below U+0300 nothing is composed, so NFC leaves such texts alone; others are refused. */
static void texts_that_nfc_leaves_alone_are_encoded(void **state)
{
    (void)state;
    static const char *const normalizers[]
        = {"{\"type\":\"NFC\"}", "{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"NFC\"}]}"};
    static const char plain[] = "na\xC3\xAFve \xCB\xBF";
    for (int i = 0; i < 2; i++) {
        char to[100];
        uint64_t len;
        made m = {0}, without = {0};
        gk_err err = {0};
        gk_ids a = {0}, b = {0};
        snprintf(to, sizeof to, "\"normalizer\":%s", normalizers[i]);
        const char *text = changed(DATA "text.json", "\"normalizer\":null", to, &len);
        add_bytes(&m, "tokenizer.json", text, len);
        add_file(&without, "tokenizer.json", DATA "text.json");
        gk_tokenizer *t = gk_tokenizer_open(&m.c, &err), *u = gk_tokenizer_open(&without.c, &err);
        assert_ok(t != NULL && u != NULL, err);
        assert_ok(gk_tokenizer_encode(t, plain, sizeof plain - 1, &a, &err), err);
        assert_ok(gk_tokenizer_encode(u, plain, sizeof plain - 1, &b, &err), err);
        assert_int_equal(a.n, b.n);
        assert_memory_equal(a.id, b.id, a.n * sizeof *a.id);
        assert_false(gk_tokenizer_encode(t, "cafe\xCC\x80", 6, &a, &err));
        assert_int_equal(err.code, GK_ERR_UNSUPPORTED);
        assert_int_equal(err.off, 4);
        assert_string_equal(err.file, "tokenizer.json");
        assert_non_null(strstr(err.msg, "NFC"));
        gk_ids_free(&a);
        gk_ids_free(&b);
        gk_tokenizer_close(t);
        gk_tokenizer_close(u);
    }
}

static void ggufs_we_cannot_follow_are_refused_with_the_reason(void **state)
{
    (void)state;
    static const struct {
        const char *key, *old, *now, *says;
        gk_err_code code;
    } cases[] = {
        {"tokenizer.ggml.pre", "grok-2", "klingon", "klingon", GK_ERR_UNSUPPORTED},
        {"tokenizer.ggml.model", "gpt2", "t5", "t5", GK_ERR_UNSUPPORTED},
        {"tokenizer.ggml.model", "gpt2", "rwkv", "rwkv", GK_ERR_UNSUPPORTED},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        gk_err err = {0};
        gk_catalog *c = open_with(DATA "wide.gguf", cases[i].key, cases[i].old, cases[i].now, &err);
        assert_ok(c != NULL, err);
        assert_null(gk_tokenizer_open(c, &err));
        if (err.code != cases[i].code || strstr(err.msg, cases[i].says) == NULL)
            fail_msg("case %zu: code %d, '%s'", i, (int)err.code, err.msg);
        gk_catalog_close(c);
    }
}

static void a_byte_without_a_token_is_an_error_when_it_comes(void **state)
{
    (void)state;
    gk_err err = {0};
    made m = {0};
    gk_ids ids = {0};
    uint64_t len;
    const char *text = changed(DATA "pairs.json", "\"\xC4\x84\":", "\"\xE6\xBC\xA2\":",
                               &len); /* 0x04 */
    add_bytes(&m, "tokenizer.json", text, len);
    gk_tokenizer *t = gk_tokenizer_open(&m.c, &err);
    assert_ok(t != NULL, err);
    assert_ok(gk_tokenizer_encode(t, "a\x05", 2, &ids, &err), err);
    assert_false(gk_tokenizer_encode(t, "a\x04", 2, &ids, &err));
    assert_int_equal(err.code, GK_ERR_FORMAT);
    assert_non_null(strstr(err.msg, "0x04"));
    gk_ids_free(&ids);
    gk_tokenizer_close(t);
}

static void a_cut_tokenizer_json_is_refused_at_every_length(void **state)
{
    (void)state;
    gk_err err = {0};
    uint64_t len;
    char *text = gk_file_slurp(DATA "text.json", 1 << 20, &len, &err);
    assert_ok(text != NULL, err);
    for (uint64_t n = 0; n + 1 < len; n++) { /* the last byte is a newline */
        made m = {0};
        gk_vocabulary v = {0};
        char *exact = malloc(n + 1);
        memcpy(exact, text, n);
        err = (gk_err){0};
        add_bytes(&m, "tokenizer.json", exact, n);
        assert_false(gk_vocabulary_read(&m.c, &v, &err));
        gk_vocabulary_free(&v);
        free(exact);
    }
    gk_free(text);
}

static void memory_that_ends_is_an_error_and_nothing_leaks(void **state)
{
    (void)state;
    static const char config[] = "{\"chat_template\":\"x\"}";
    made m = {0};
    add_file(&m, "tokenizer.json", DATA "text.json");
    add_bytes(&m, "tokenizer_config.json", config, sizeof config - 1);
    gk_catalog *gguf = gk_catalog_open(DATA "wide.gguf", &(gk_err){0});
    const gk_catalog *sources[] = {&m.c, gguf};
    assert_non_null(gguf);
    for (int i = 0; i < 2; i++) {
        gk_tokenizer *t = NULL;
        for (int n = 0; t == NULL; n++) {
            gk_err err = {0};
            gk_alloc_fail_after(n);
            t = gk_tokenizer_open(sources[i], &err);
            gk_alloc_fail_after(-1);
            if (t == NULL && err.code != GK_ERR_NOMEM)
                fail_msg("source %d, allocation %d: code %d, '%s'", i, n, (int)err.code, err.msg);
            assert_true(n < 100000);
        }
        gk_tokenizer_close(t);
    }
    gk_catalog_close(gguf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_byte_has_its_own_letter),
        cmocka_unit_test(names_of_pre_tokenizers_cut_as_llama_cpp_does),
        cmocka_unit_test(a_gguf_and_the_ranks_give_the_same_ids),
        cmocka_unit_test(tokenizer_json_cuts_and_merges_as_hugging_face_does),
        cmocka_unit_test(what_a_gguf_says_is_read),
        cmocka_unit_test(merges_are_derived_as_an_independent_program_does),
        cmocka_unit_test(a_token_that_no_merge_reaches_has_none),
        cmocka_unit_test(tok_json_comes_back_byte_for_byte),
        cmocka_unit_test(tok_json_with_a_pattern_reads_back),
        cmocka_unit_test(what_tok_json_cannot_say_is_not_written),
        cmocka_unit_test(a_bos_is_told_but_not_added),
        cmocka_unit_test(the_chat_template_is_the_models_or_grok2s),
        cmocka_unit_test(a_model_without_tokenizer_has_none),
        cmocka_unit_test(tokenizers_we_cannot_follow_are_refused_with_the_reason),
        cmocka_unit_test(texts_that_nfc_leaves_alone_are_encoded),
        cmocka_unit_test(ggufs_we_cannot_follow_are_refused_with_the_reason),
        cmocka_unit_test(a_byte_without_a_token_is_an_error_when_it_comes),
        cmocka_unit_test(a_cut_tokenizer_json_is_refused_at_every_length),
        cmocka_unit_test(memory_that_ends_is_an_error_and_nothing_leaks),
    };
    return cmocka_run_group_tests(tests, open_all, close_golden);
}
