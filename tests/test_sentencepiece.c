/* tests/test_sentencepiece.c - SentencePiece's tokenizer.model and tokenizer.json: ids against
 * those of the package sentencepiece and of llama-tokenize, its keys against those of the package
 * gguf (testdata/reference/make_sentencepiece.py), and files that must be refused. */
#include "tests/gguf_bytes.h"
#include "tests/made_vocabulary.h"
#include "tests/written.h"

#define WORK "build/tmp/test_sentencepiece"

static int open_all(void **state)
{
    (void)state;
    return open_golden("pieces.json");
}

/* ---- a tokenizer.model by hand ------------------------------------------------------ */

/* A message in a buffer. */
typedef struct proto {
    unsigned char bytes[4096];
    size_t n;
} proto;

static void put_varint(proto *p, uint64_t v)
{
    for (; v >= 0x80; v >>= 7)
        p->bytes[p->n++] = (unsigned char)(v | 0x80);
    p->bytes[p->n++] = (unsigned char)v;
}

static void put_int(proto *p, unsigned number, int64_t v)
{
    put_varint(p, number << 3);
    put_varint(p, (uint64_t)v);
}

static void put_bytes(proto *p, unsigned number, const void *bytes, size_t n)
{
    put_varint(p, number << 3 | 2);
    put_varint(p, n);
    memcpy(p->bytes + p->n, bytes, n);
    p->n += n;
}

static void put_piece(proto *p, const char *text, float score, int type)
{
    proto piece = {.n = 0};
    put_bytes(&piece, 1, text, strlen(text));
    put_varint(&piece, 2 << 3 | 5);
    memcpy(piece.bytes + piece.n, &score, 4);
    piece.n += 4;
    put_int(&piece, 3, type);
    put_bytes(p, 1, piece.bytes, piece.n);
}

/* <unk> <s> </s>, a, b, ab; BPE, nothing done to texts but the blank before them. */
static proto small(void)
{
    proto p = {.n = 0}, trainer = {.n = 0}, normalizer = {.n = 0};
    put_piece(&p, "<unk>", 0, 2);
    put_piece(&p, "<s>", 0, 3);
    put_piece(&p, "</s>", 0, 3);
    put_piece(&p, "a", -2, 1);
    put_piece(&p, "b", -3, 1);
    put_piece(&p, "ab", -1, 1);
    put_piece(&p, "\xE2\x96\x81", -4, 1);
    put_int(&trainer, 3, 2);
    put_int(&trainer, 43, -1);
    put_int(&normalizer, 4, 0);
    put_bytes(&p, 2, trainer.bytes, trainer.n);
    put_bytes(&p, 3, normalizer.bytes, normalizer.n);
    return p;
}

static gk_tokenizer *open_proto(const proto *p, gk_err *err)
{
    made m = {0};
    add_bytes(&m, "tokenizer.model", p->bytes, p->n);
    return gk_tokenizer_open(&m.c, err);
}

/* ---- ids ---------------------------------------------------------------------------- */

static bool is_listed(const gk_json *list, uint64_t i)
{
    uint64_t at;
    for (uint64_t k = 0; k < gk_json_count(list); k++)
        if (gk_json_as_uint(gk_json_at(list, k), &at) && at == i)
            return true;
    return false;
}

static void check_golden(const gk_catalog *c, const char *what)
{
    gk_err err = {0};
    const gk_json *texts = gk_json_get(golden, "texts"), *of = gk_json_get(golden, what);
    const gk_json *llama = gk_json_get(of, "llama"), *own = gk_json_get(of, "sentencepiece");
    gk_tokenizer *t = gk_tokenizer_open(c, &err);
    assert_ok(t != NULL, err);
    assert_true(gk_json_count(texts) > 90);
    assert_int_equal(gk_json_count(llama), gk_json_count(texts));
    for (uint64_t i = 0; i < gk_json_count(texts); i++) {
        gk_ids ids = {0};
        gk_text back = {0};
        uint64_t len;
        const char *text = gk_json_text(gk_json_at(texts, i), &len);
        assert_ok(gk_tokenizer_encode(t, text, len, &ids, &err), err);
        if (!same_ids(gk_json_at(llama, i), &ids))
            fail_msg("%s: text %d has other ids than llama.cpp's: '%s'", what, (int)i, text);
        if (same_ids(gk_json_at(own, i), &ids) == is_listed(gk_json_get(of, "differs"), i))
            fail_msg("%s: text %d, sentencepiece: '%s'", what, (int)i, text);
        assert_ok(gk_tokenizer_decode(t, ids.id, ids.n, &back, &err), err);
        /* U+2581 and a blank are the same to pieces */
        if (strstr(text, "\xE2\x96\x81") == NULL) {
            assert_int_equal(back.len, len);
            if (len > 0)
                assert_memory_equal(back.data, text, len);
        }
        gk_ids_free(&ids);
        gk_text_free(&back);
    }
    gk_tokenizer_close(t);
}

static void ids_are_those_of_llama_cpp_and_sentencepiece(void **state)
{
    (void)state;
    static const char *const names[] = {"grok1", "bare"};
    for (int i = 0; i < 2; i++) {
        gk_err err = {0};
        made m = {0};
        add_file(&m, "tokenizer.model", path_of(DATA "%s.model", names[i]));
        check_golden(&m.c, names[i]);
        gk_catalog *c = gk_catalog_open(path_of(DATA "%s.gguf", names[i]), &err);
        assert_ok(c != NULL, err);
        check_golden(c, names[i]);
        gk_catalog_close(c);
    }
}

static void a_megabyte_of_one_letter_is_no_trouble(void **state)
{
    (void)state;
    gk_err err = {0};
    gk_ids ids = {0};
    gk_text back = {0};
    made m = {0};
    char *text = malloc(1 << 20);
    memset(text, 'a', 1 << 20);
    for (int i = 0; i < 1 << 20; i += 1000)
        text[i] = ' ';
    memset(text + (1 << 19), 'b', 1 << 18);
    add_file(&m, "tokenizer.model", DATA "grok1.model");
    gk_tokenizer *t = gk_tokenizer_open(&m.c, &err);
    assert_ok(t != NULL && gk_tokenizer_encode(t, text, 1 << 20, &ids, &err), err);
    assert_ok(gk_tokenizer_decode(t, ids.id, ids.n, &back, &err), err);
    assert_int_equal(back.len, 1 << 20);
    assert_memory_equal(back.data, text, 1 << 20);
    gk_ids_free(&ids);
    gk_text_free(&back);
    gk_tokenizer_close(t);
    free(text);
}

/* A piece over the place between a word and a blank: words cannot be taken alone. */
static void pieces_over_blanks_are_found(void **state)
{
    (void)state;
    gk_err err = {0};
    gk_ids ids = {0};
    proto p = small();
    put_piece(&p, "b\xE2\x96\x81", -0.5f, 1);
    gk_tokenizer *t = open_proto(&p, &err);
    assert_ok(t != NULL && gk_tokenizer_encode(t, "ab ab", 5, &ids, &err), err);
    static const uint32_t want[] = {6, 3, 7, 5}; /* ▁ a b▁ ab */
    assert_int_equal(ids.n, 4);
    assert_memory_equal(ids.id, want, sizeof want);
    gk_ids_free(&ids);
    gk_tokenizer_close(t);
}

static void text_that_cannot_be_encoded_says_where(void **state)
{
    (void)state;
    gk_err err = {0}, other = {0};
    gk_ids ids = {0};
    const proto p = small();
    gk_tokenizer *t = open_proto(&p, &err);
    assert_ok(t != NULL, err);
    assert_false(gk_tokenizer_encode(t, "ab\xFF", 3, &ids, &err));
    assert_int_equal(err.code, GK_ERR_FORMAT);
    assert_int_equal(err.off, 2);
    assert_false(gk_tokenizer_encode(t, "abc", 3, &ids, &other)); /* no pieces for bytes */
    assert_int_equal(other.code, GK_ERR_FORMAT);
    assert_non_null(strstr(other.msg, "no token for the byte 0x63"));
    gk_ids_free(&ids);
    gk_tokenizer_close(t);
}

#define BLANKS                                                                                     \
    "{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Prepend\",\"prepend\":\"\xE2\x96\x81\"}," \
    "{\"type\":\"Replace\",\"pattern\":{\"String\":\" \"},\"content\":\"\xE2\x96\x81\"}]},"        \
    "\"pre_tokenizer\":null"
#define METASPACE(scheme)                                                                          \
    "null,\"pre_tokenizer\":{\"type\":\"Metaspace\",\"replacement\":\"\xE2\x96\x81\","             \
    "\"prepend_scheme\":\"" scheme "\",\"split\":false}"

static void tokenizer_json_with_pieces_cuts_as_hugging_face_does(void **state)
{
    (void)state;
    static const char *const all[][2] = {{"prepend", BLANKS},
                                         {"replace",
                                          "{\"type\":\"Replace\",\"pattern\":{\"String\":\" \"},"
                                          "\"content\":\"\xE2\x96\x81\"},\"pre_tokenizer\":null"},
                                         {"first", METASPACE("first")},
                                         {"always", METASPACE("always")},
                                         {"never", METASPACE("never")}};
    const gk_json *texts = gk_json_get(golden, "texts");
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        gk_err err = {0};
        made m = {0};
        uint64_t json_len;
        const char *json = changed(DATA "pieces_hf.json", BLANKS, all[i][1], &json_len);
        const gk_json *lists = gk_json_get(gk_json_get(golden, "hf"), all[i][0]);
        add_bytes(&m, "tokenizer.json", json, json_len);
        gk_tokenizer *t = gk_tokenizer_open(&m.c, &err);
        assert_ok(t != NULL, err);
        assert_true(gk_json_count(lists) > 50);
        for (uint64_t k = 0; k < gk_json_count(lists); k++) {
            gk_ids ids = {0};
            uint64_t len;
            const char *text = gk_json_text(gk_json_at(texts, k), &len);
            assert_ok(gk_tokenizer_encode(t, text, len, &ids, &err), err);
            if (!same_ids(gk_json_at(lists, k), &ids))
                fail_msg("%s: text %d has other ids: '%s'", all[i][0], (int)k, text);
            gk_ids_free(&ids);
        }
        gk_tokenizer_close(t);
    }
}

static void pieces_that_hugging_face_cuts_otherwise_are_refused(void **state)
{
    (void)state;
    static const char *const all[][3] = {
        {"\"byte_fallback\":true", "\"byte_fallback\":false", "not over bytes"},
        {"\"normalized\":false", "\"normalized\":true", "normalized text"},
        {"\"ignore_merges\":false", "\"ignore_merges\":true", "ignore_merges"},
        {"\"String\":\" \"", "\"String\":\"x\"", "not over bytes"},
        {BLANKS, "null,\"pre_tokenizer\":{\"type\":\"Metaspace\",\"replacement\":\"\xE2\x96\x81\"}",
         "not over bytes"}};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        gk_err err = {0};
        made m = {0};
        uint64_t json_len;
        const char *json = changed(DATA "pieces_hf.json", all[i][0], all[i][1], &json_len);
        add_bytes(&m, "tokenizer.json", json, json_len);
        assert_null(gk_tokenizer_open(&m.c, &err));
        assert_int_equal(err.code, GK_ERR_UNSUPPORTED);
        if (strstr(err.msg, all[i][2]) == NULL)
            fail_msg("%d: %s", (int)i, err.msg);
    }
}

/* ---- what the file says ----------------------------------------------------------------- */

static void what_the_file_says_is_read(void **state)
{
    (void)state;
    gk_err err = {0};
    gk_vocabulary v = {0};
    made m = {0};
    add_file(&m, "tokenizer.model", DATA "grok1.model");
    assert_true(gk_vocabulary_has(&m.c));
    assert_ok(gk_vocabulary_read(&m.c, &v, &err), err);
    assert_int_equal(v.kind, GK_SENTENCEPIECE);
    assert_int_equal(v.n, 560);
    assert_int_equal(v.pad, 0);
    assert_int_equal(v.bos, 1);
    assert_int_equal(v.eos, 2);
    assert_int_equal(v.unk, 3);
    assert_true(v.add_bos && v.add_space_prefix);
    assert_false(v.add_eos || v.remove_extra_whitespaces || v.is_unigram);
    assert_null(v.cannot);
    assert_int_equal(gk_vocabulary_special(&v, "<|separator|>"), 35);
    assert_int_equal(v.token[35].type, GK_TOKEN_USER_DEFINED);
    assert_int_equal(v.token[4].type, GK_TOKEN_NORMAL); /* a newline */
    assert_int_equal(v.token[46].type, GK_TOKEN_BYTE);
    gk_vocabulary_free(&v);
    made bare = {0};
    add_file(&bare, "tokenizer.model", DATA "bare.model");
    assert_ok(gk_vocabulary_read(&bare.c, &v, &err), err);
    assert_int_equal(v.pad, -1);
    assert_int_equal(v.unk, 0);
    assert_false(v.add_space_prefix);
    gk_vocabulary_free(&v);
}

/* xAI's runner gives a Grok-1 the text alone, so a GGUF has to say that llama.cpp shall too; what
 * tokenizer_config.json says of a copy is for that copy. */
static void a_grok1_has_no_token_before_a_text(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++) {
        static const char config[] = "{\"add_bos_token\":true}";
        const char *text = i == 0 ? "{\"architectures\":[\"LlamaForCausalLM\"]}"
                                  : "{\"architectures\":[\"Grok1ModelForCausalLM\"]}";
        gk_err err = {0};
        gk_vocabulary v = {0};
        made m = {0};
        m.c.config = gk_json_parse(text, strlen(text), "config.json", &err);
        assert_ok(m.c.config != NULL, err);
        add_file(&m, "tokenizer.model", DATA "grok1.model");
        if (i == 2)
            add_bytes(&m, "tokenizer_config.json", config, sizeof config - 1);
        assert_ok(gk_vocabulary_read(&m.c, &v, &err), err);
        assert_int_equal(v.add_bos, i != 1);
        gk_vocabulary_free(&v);
        gk_json_free(m.c.config);
    }
}

static void tokens_that_are_added_stand_over_the_model_s(void **state)
{
    (void)state;
    static const char config[] =
        "{\"added_tokens_decoder\":{\"1\":{\"content\":\"<start>\",\"special\":true},"
        "\"8\":{\"content\":\"<|x|>\"},\"10\":{\"content\":\"\xE2\x96\x81plain\"},\"no\":{}},"
        "\"bos_token\":{\"content\":\"<start>\"},\"eos_token\":\"<|x|>\",\"add_bos_token\":false,"
        "\"add_prefix_space\":false}";
    static const char added[] = "{\"<pad>\":7,\"far\":99}";
    gk_err err = {0};
    gk_vocabulary v = {0};
    const proto p = small();
    made m = {0};
    add_bytes(&m, "tokenizer.model", p.bytes, p.n);
    add_bytes(&m, "tokenizer_config.json", config, sizeof config - 1);
    add_bytes(&m, "added_tokens.json", added, sizeof added - 1);
    static const char model_config[] = "{\"vocab_size\":12}";
    m.c.config = gk_json_parse(model_config, sizeof model_config - 1, "config.json", &err);
    assert_ok(gk_vocabulary_read(&m.c, &v, &err), err);
    assert_int_equal(v.n, 11);
    assert_int_equal(v.bos, 1);
    assert_int_equal(v.eos, 8);
    assert_false(v.add_bos || v.add_space_prefix);
    assert_int_equal(gk_vocabulary_special(&v, "<start>"), 1);
    assert_int_equal(gk_vocabulary_special(&v, "<pad>"), 7);
    assert_int_equal(gk_vocabulary_special(&v, "[PAD9]"), 9);
    assert_int_equal(gk_vocabulary_special(&v, " plain"), 10);
    assert_int_equal(v.token[8].type, GK_TOKEN_CONTROL);
    assert_int_equal(v.token[10].type, GK_TOKEN_USER_DEFINED);
    assert_true(v.token[10].score == -1000.0f);
    gk_vocabulary_free(&v);
    gk_json_free(m.c.config);
}

static void tokenizer_json_comes_first_if_it_can_be_read(void **state)
{
    (void)state;
    static const char llama[] = "{\"model\":{\"type\":\"WordPiece\",\"vocab\":{\"a\":0}}}";
    gk_err err = {0};
    gk_vocabulary v = {0};
    made both = {0}, odd = {0}, bad = {0};
    add_file(&both, "tokenizer.json", DATA "text.json");
    add_file(&both, "tokenizer.model", DATA "grok1.model");
    assert_ok(gk_vocabulary_read(&both.c, &v, &err), err);
    assert_string_equal(v.file, "tokenizer.json");
    gk_vocabulary_free(&v);
    add_bytes(&odd, "tokenizer.json", llama, sizeof llama - 1);
    add_file(&odd, "tokenizer.model", DATA "grok1.model");
    assert_ok(gk_vocabulary_read(&odd.c, &v, &err), err);
    assert_string_equal(v.file, "tokenizer.model");
    gk_vocabulary_free(&v);
    add_bytes(&bad, "tokenizer.json", "{", 1);
    add_file(&bad, "tokenizer.model", DATA "grok1.model");
    assert_false(gk_vocabulary_read(&bad.c, &v, &err));
    assert_int_equal(err.code, GK_ERR_FORMAT);
    gk_vocabulary_free(&v);
}

#define MODEL WORK "/model"
#define OUT   WORK "/out.gguf"

/* grok2-tiny with this tokenizer in the place of its own. */
static void tiny_with(const char *name, const char *path)
{
    link_all(TINY, MODEL);
    unlink(MODEL "/tokenizer.tok.json");
    link_one(path, path_of(MODEL "/%s", name));
}

/* The package gguf wrote the same tokens, scores and types. */
static void keys_are_the_package_s(void **state)
{
    (void)state;
    static const char *const arrays[] = {"tokenizer.ggml.tokens", "tokenizer.ggml.scores",
                                         "tokenizer.ggml.token_type"};
    const gk_plan_options o = gguf_options();
    tiny_with("tokenizer.model", DATA "grok1.model");
    write_model(MODEL, "default = keep", &o, OUT);
    gguf_bytes f = read_gguf(OUT), theirs = read_gguf(DATA "grok1.gguf");
    for (uint64_t i = 0; i < theirs.n_keys; i++) {
        const gguf_key *b = &theirs.key[i], *a = find_key(&f, b->key);
        if (strncmp(b->key, "tokenizer.", 10) != 0)
            continue;
        if (a == NULL || a->type != b->type)
            fail_msg("no %s", b->key);
        bool array = false;
        for (int k = 0; k < 3; k++)
            array |= strcmp(b->key, arrays[k]) == 0;
        /* ours has the model's 1024 rows: type and count, then elements */
        const size_t head = array ? 12 : 0;
        if ((array ? a->n < b->n : a->n != b->n)
            || memcmp(a->value + head, b->value + head, b->n - head) != 0)
            fail_msg("another %s", b->key);
    }
    assert_int_equal(find_key(&f, arrays[1])->n, 12 + 1024 * 4);
    close_gguf(&f);
    close_gguf(&theirs);
}

/* Scores made of the merges lead to the same ids; where they could not, none are written. */
static void merges_become_scores_or_are_refused(void **state)
{
    (void)state;
    gk_err err = {0};
    const gk_plan_options o = gguf_options();
    tiny_with("tokenizer.json", DATA "pieces_hf.json");
    write_model(MODEL, "default = keep", &o, OUT);
    gk_catalog *c = gk_catalog_open(OUT, &err);
    assert_ok(c != NULL, err);
    gk_tokenizer *t = gk_tokenizer_open(c, &err);
    assert_ok(t != NULL, err);
    const gk_json *texts = gk_json_get(golden, "texts");
    const gk_json *lists = gk_json_get(gk_json_get(golden, "hf"), "prepend");
    for (uint64_t k = 0; k < gk_json_count(lists); k++) {
        gk_ids ids = {0};
        uint64_t len;
        const char *text = gk_json_text(gk_json_at(texts, k), &len);
        assert_ok(gk_tokenizer_encode(t, text, len, &ids, &err), err);
        if (!same_ids(gk_json_at(lists, k), &ids))
            fail_msg("text %d has other ids: '%s'", (int)k, text);
        gk_ids_free(&ids);
    }
    gk_tokenizer_close(t);
    gk_catalog_close(c);
    uint64_t json_len;
    const char *json = changed(DATA "pieces_hf.json", "\"merges\":[[",
                               "\"merges\":[[\"e\",\"r\"],[", &json_len);
    unlink(MODEL "/tokenizer.json");
    write_text(MODEL "/tokenizer.json", json);
    remove_tree(OUT);
    assert_false(try_write(MODEL, "default = keep", &o, OUT, &err));
    assert_int_equal(err.code, GK_ERR_UNSUPPORTED);
    assert_non_null(strstr(err.msg, "no scores lead to its merges"));
}

/* Under t5 llama.cpp has no pieces for bytes: a unigram model that has some is no t5. */
static void unigram_models_have_the_name_that_loses_least(void **state)
{
    (void)state;
    static const char *const want[] = {"llama", "t5"};
    const gk_plan_options o = gguf_options();
    for (int i = 0; i < 2; i++) {
        proto p = small(), trainer = {.n = 0}, normalizer = {.n = 0};
        put_int(&trainer, 3, 1);
        put_bytes(&p, 2, trainer.bytes, trainer.n);
        put_bytes(&normalizer, 2, "\x01map", 4);
        put_bytes(&p, 3, normalizer.bytes, normalizer.n);
        write_bytes(WORK "/t5.model", p.bytes, p.n);
        tiny_with("tokenizer.model", i == 0 ? DATA "unigram.model" : WORK "/t5.model");
        write_model(MODEL, "default = keep", &o, OUT);
        gguf_bytes f = read_gguf(OUT);
        const gguf_key *name = find_key(&f, "tokenizer.ggml.model");
        const gguf_key *map = find_key(&f, "tokenizer.ggml.precompiled_charsmap");
        assert_int_equal(name->n, 8 + strlen(want[i]));
        assert_memory_equal(name->value + 8, want[i], strlen(want[i]));
        assert_true((map != NULL) == (i == 1));
        if (map != NULL) {
            static const char bytes[] = "\0\0\0\0\x04\0\0\0\0\0\0\0\x01map";
            assert_int_equal(map->n, sizeof bytes - 1);
            assert_memory_equal(map->value, bytes, sizeof bytes - 1);
        }
        close_gguf(&f);
    }
}

/* ---- refusals --------------------------------------------------------------------------- */

static void what_changes_texts_is_read_but_not_applied(void **state)
{
    (void)state;
    static const struct {
        unsigned message, number;
        int64_t value;
        const char *why;
    } all[] = {{2, 3, 1, "unigram"},
               {2, 24, 1, "treat_whitespace_as_suffix"},
               {3, 4, 1, "remove_extra_whitespaces"},
               {3, 5, 0, "escape_whitespaces"},
               {2, 3, 3, "model_type is 3"}};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        gk_err err = {0};
        proto p = small(), one = {.n = 0};
        put_int(&one, all[i].number, all[i].value);
        put_bytes(&p, all[i].message, one.bytes, one.n);
        assert_null(open_proto(&p, &err));
        assert_int_equal(err.code, GK_ERR_UNSUPPORTED);
        if (strstr(err.msg, all[i].why) == NULL)
            fail_msg("%s", err.msg);
    }
    gk_err err = {0};
    proto p = small(), one = {.n = 0};
    put_bytes(&one, 2, "map", 3);
    put_bytes(&p, 3, one.bytes, one.n);
    assert_null(open_proto(&p, &err));
    assert_non_null(strstr(err.msg, "precompiled_charsmap"));
    gk_vocabulary v = {0};
    made m = {0};
    add_bytes(&m, "tokenizer.model", p.bytes, p.n);
    memset(&err, 0, sizeof err);
    assert_ok(gk_vocabulary_read(&m.c, &v, &err), err);
    assert_int_equal(v.charsmap_len, 3);
    assert_memory_equal(v.charsmap, "map", 3);
    gk_vocabulary_free(&v);
}

static void expect_refused(const void *bytes, size_t n, gk_err_code code, uint64_t off,
                           const char *why)
{
    gk_err err = {0};
    gk_vocabulary v = {0};
    made m = {0};
    add_bytes(&m, "tokenizer.model", bytes, n);
    assert_false(gk_vocabulary_read(&m.c, &v, &err));
    if (err.code != code || (off != GK_NO_OFF && err.off != off) || strstr(err.msg, why) == NULL
        || strcmp(err.file, "tokenizer.model") != 0)
        fail_msg("%d %s at %d: %s, not %s", (int)err.code, err.file, (int)err.off, err.msg, why);
    gk_vocabulary_free(&v);
}

#define REFUSED(bytes, off, why) expect_refused(bytes, sizeof bytes - 1, GK_ERR_FORMAT, off, why)

static void malformed_files_are_refused_with_their_place(void **state)
{
    (void)state;
    REFUSED("", 0, "no pieces");
    REFUSED("\x0A", 1, "truncated");
    REFUSED("\x0A\x05\x0A\x01"
            "a",
            0, "truncated: field 1 has 5 bytes, 3 are left");
    REFUSED("\x0A\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x01", 0, "truncated: field 1");
    REFUSED("\x0A\x03\x0A\x04"
            "a",
            2, "truncated: field 1 has 4 bytes, 1 are left");
    REFUSED("\x0A\x02\x08\x01", 2, "a piece (field 1) has the wire type 0, expected 2");
    REFUSED("\x0A\x05\x0A\x01"
            "a\x10\x01",
            5, "a piece's score (field 2) has the wire type 0, expected 5");
    REFUSED("\x0A\x08\x0A\x01"
            "a\x1D\0\0\0\0",
            5, "a piece's type (field 3) has the wire type 5, expected 0");
    REFUSED("\x08\x01", 0, "a message (field 1) has the wire type 0");
    REFUSED("\x0A\x00", 0, "piece 0 is empty");
    REFUSED("\x0A\x05\x0A\x01"
            "a\x18\x07",
            0, "piece 0 has the type 7");
    REFUSED("\x0A\x0E\x0A\x01"
            "a\x18\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x01",
            0, "piece 0 has the type -1");
    REFUSED("\x0A\x08\x0A\x01"
            "a\x15\0\0\xC0\x7F",
            0, "a NaN");
    REFUSED("\x0A\x04\x0A\x02"
            "a\xFF",
            5, "a piece is no UTF-8 here");
    REFUSED("\x0B", 0, "a group's");
    REFUSED("\x0E", 0, "not assigned");
    REFUSED("\x02", 0, "a tag that is none");
    REFUSED("\x18\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x02", 1, "more than 64 bits");
    REFUSED("\x18\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x01", 1, "more than 64 bits");
    REFUSED("\x12\x02\x1A\x00", 2, "model_type (field 3) has the wire type 2");
    REFUSED("\x1A\x02\x10\x01", 2, "precompiled_charsmap has the wire type 0");
    static const char ranks[] = "IQ== 0\nIg== 1\nIw== 2\n";
    expect_refused(ranks, sizeof ranks - 1, GK_ERR_UNSUPPORTED, GK_NO_OFF, "tiktoken");
    proto p = small();
    put_piece(&p, "ab", -9, 1);
    expect_refused(p.bytes, p.n, GK_ERR_FORMAT, GK_NO_OFF, "duplicate: token 7");
}

static bool reads(const unsigned char *bytes, size_t n)
{
    gk_err err = {0};
    gk_ids ids = {0};
    made m = {0};
    add_bytes(&m, "tokenizer.model", bytes, n);
    gk_tokenizer *t = gk_tokenizer_open(&m.c, &err);
    if (t != NULL) {
        gk_err ignored = {0};
        gk_tokenizer_encode(t, "In the  beginning\n1984", 22, &ids, &ignored);
    } else {
        assert_int_not_equal(err.code, GK_OK);
    }
    gk_ids_free(&ids);
    gk_tokenizer_close(t);
    return t != NULL;
}

/* In a buffer of its own size, so that a byte too many is seen. */
static bool reads_exactly(const unsigned char *bytes, size_t n)
{
    unsigned char *copy = malloc(n > 0 ? n : 1);
    memcpy(copy, bytes, n);
    const bool ok = reads(copy, n);
    free(copy);
    return ok;
}

static void a_cut_file_is_never_taken_for_a_whole_one(void **state)
{
    (void)state;
    const proto p = small();
    for (size_t n = 0; n < p.n; n++)
        assert_false(reads_exactly(p.bytes, n)); /* without the end it is a unigram model */
    assert_true(reads_exactly(p.bytes, p.n));
    size_t size;
    unsigned char *bytes = read_bytes(DATA "grok1.model", &size);
    for (size_t n = 0; n < size; n += 7)
        assert_false(reads_exactly(bytes, n));
    free(bytes);
}

static void changed_bytes_are_read_or_refused(void **state)
{
    (void)state;
    uint32_t seed = 20240317, n_read = 0;
    size_t size;
    unsigned char *bytes = read_bytes(DATA "bare.model", &size);
    for (int i = 0; i < 1500; i++) {
        size_t at[3];
        unsigned char old[3];
        for (int k = 0; k < 3; k++) {
            seed = seed * 1664525u + 1013904223u;
            at[k] = (seed >> 8) % size;
            old[k] = bytes[at[k]];
            bytes[at[k]] = (unsigned char)(seed >> 3);
        }
        n_read += reads(bytes, size);
        for (int k = 2; k >= 0; k--)
            bytes[at[k]] = old[k];
    }
    assert_true(n_read > 0 && n_read < 1500);
    free(bytes);
}

static void memory_that_ends_is_an_error(void **state)
{
    (void)state;
    bool done = false;
    for (int64_t n = 0; !done; n++) {
        gk_err err = {0};
        gk_ids ids = {0};
        made m = {0};
        add_file(&m, "tokenizer.model", DATA "bare.model");
        gk_alloc_fail_after(n);
        gk_tokenizer *t = gk_tokenizer_open(&m.c, &err);
        done = t != NULL && gk_tokenizer_encode(t, "x y <s> ab ba", 13, &ids, &err);
        gk_alloc_fail_after(-1);
        if (!done)
            assert_int_equal(err.code, GK_ERR_NOMEM);
        gk_ids_free(&ids);
        gk_tokenizer_close(t);
        assert_true(n < 500);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ids_are_those_of_llama_cpp_and_sentencepiece),
        cmocka_unit_test(a_megabyte_of_one_letter_is_no_trouble),
        cmocka_unit_test(pieces_over_blanks_are_found),
        cmocka_unit_test(text_that_cannot_be_encoded_says_where),
        cmocka_unit_test(what_the_file_says_is_read),
        cmocka_unit_test(a_grok1_has_no_token_before_a_text),
        cmocka_unit_test(tokens_that_are_added_stand_over_the_model_s),
        cmocka_unit_test(tokenizer_json_comes_first_if_it_can_be_read),
        cmocka_unit_test(keys_are_the_package_s),
        cmocka_unit_test(tokenizer_json_with_pieces_cuts_as_hugging_face_does),
        cmocka_unit_test(pieces_that_hugging_face_cuts_otherwise_are_refused),
        cmocka_unit_test(merges_become_scores_or_are_refused),
        cmocka_unit_test(unigram_models_have_the_name_that_loses_least),
        cmocka_unit_test(what_changes_texts_is_read_but_not_applied),
        cmocka_unit_test(malformed_files_are_refused_with_their_place),
        cmocka_unit_test(a_cut_file_is_never_taken_for_a_whole_one),
        cmocka_unit_test(changed_bytes_are_read_or_refused),
        cmocka_unit_test(memory_that_ends_is_an_error),
    };
    return cmocka_run_group_tests(tests, open_all, close_golden);
}
