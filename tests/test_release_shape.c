/* tests/test_release_shape.c - the release in full size, its weights holes: counts, a GGUF's
 * header. The numbers are those of Grok-2 itself: 64 layers of 8 experts, 8 ranks. */
#include <libgen.h>
#include <sys/resource.h>

#include "tests/gguf_bytes.h"
#include "tests/ranks.h"
#include "tests/written.h"

#define RELEASE    "build/models/release"
#define N_SPECIALS 128
#define ROOM_BYTES (UINT64_C(64) << 20) /* that a command may take */

/* models.sh leaves it out where files have no holes. */
static void want_release(void)
{
    if (!is_there(RELEASE "/config.json"))
        skip();
}

/* ---- what the command says ------------------------------------------------------------ */

/* The program of the same build, and its answer; free it. */
static char *answer_of(const char *arguments)
{
    char self[PATH_MAX] = "", *text = NULL;
    size_t n = 0, got;

    assert_true(readlink("/proc/self/exe", self, sizeof self - 1) > 0);
    FILE *f = popen(path_of("%s/../grokkit %s --json -q", dirname(self), arguments), "r");
    assert_non_null(f);
    do {
        text = realloc(text, n + (1 << 20) + 1);
        assert_non_null(text);
        got = fread(text + n, 1, 1 << 20, f);
        n += got;
    } while (got > 0);
    text[n] = '\0';
    assert_int_equal(pclose(f), 0);
    return text;
}

/* The first number of that key. */
static uint64_t number(const char *text, const char *key)
{
    const char *at = strstr(text, path_of("\"%s\": ", key));
    uint64_t v;

    if (at == NULL || sscanf(strchr(at, ':') + 1, "%" SCNu64, &v) != 1)
        fail_msg("no number \"%s\"", key);
    return v;
}

static uint64_t count(const char *text, const char *what)
{
    uint64_t n = 0;

    for (const char *at = text; (at = strstr(at, what)) != NULL; at += strlen(what))
        n++;
    return n;
}

/* Of every command so far; a sanitizer takes much of its own. */
static void expect_little_memory(void)
{
#ifndef __SANITIZE_ADDRESS__
    struct rusage use;

    assert_int_equal(getrusage(RUSAGE_CHILDREN, &use), 0);
    assert_in_range(use.ru_maxrss, 1, ROOM_BYTES / 1024);
#endif
}

static void a_release_is_39_files_of_13059_entries(void **state)
{
    (void)state;
    want_release();
    char *text = answer_of("inspect " RELEASE);
    assert_int_equal(count(text, "-TP-common.safetensors\""), 15);
    assert_int_equal(count(text, ".safetensors\""), 39);
    free(text);
    text = answer_of("audit " RELEASE " --no-values --no-checksums");
    assert_non_null(strstr(text, "\"verdict\": \"clean\""));
    assert_non_null(strstr(text, "\"findings\": []"));
    assert_int_equal(number(text, "tensors"), 2307);
    assert_int_equal(number(text, "stored"), 13059);
    assert_int_equal(number(text, "parameters"), UINT64_C(269515497472));
    assert_int_equal(number(text, "bytes"), UINT64_C(539030994944));
    expect_little_memory();
    free(text);
}

static void int4_of_it_is_6275_tensors(void **state)
{
    (void)state;
    want_release();
    char *text = answer_of("quantize " RELEASE " build/tmp/never --scheme int4-g128 --dry-run");
    assert_int_equal(number(text, "input_bytes"), UINT64_C(539030994944));
    assert_int_equal(number(text, "stored_tensors"), 6275);
    assert_int_equal(number(text, "tensor_bytes"), UINT64_C(142165982208));
    expect_little_memory();
    free(text);
}

static void q4_k_m_of_it_is_963_tensors(void **state)
{
    (void)state;
    want_release();
    char *text = answer_of("quantize " RELEASE " build/tmp/never.gguf --scheme Q4_K_M --dry-run");
    assert_int_equal(number(text, "input_bytes"), UINT64_C(539030994944));
    assert_int_equal(number(text, "stored_tensors"), 963);
    assert_int_equal(number(text, "tensor_bytes"), UINT64_C(164047650816));
    expect_little_memory();
    free(text);
}

/* ---- the tokens of a GGUF --------------------------------------------------------------- */

typedef struct token {
    unsigned char bytes[32];
    size_t        len;
} token;

/* The tokens of a tokenizer.tok.json by id: [{"bytes":[104,105],"token":633}, ...]. */
static token *read_tok_json(void)
{
    token *t = calloc(RANKS_TOKENS, sizeof *t);
    size_t size, n = 0;
    char *text = (char *)read_bytes(RELEASE "/tokenizer.tok.json", &size), *end;

    assert_non_null(t);
    for (char *at = text; (at = strstr(at, "{\"bytes\":[")) != NULL; n++) {
        token now = {.len = 0};
        for (at += strlen("{\"bytes\":["); *at != ']'; at = *end == ',' ? end + 1 : end) {
            assert_true(now.len < sizeof now.bytes);
            now.bytes[now.len++] = (unsigned char)strtoul(at, &end, 10);
        }
        assert_memory_equal(at, "],\"token\":", 10);
        const unsigned long id = strtoul(at + 10, &at, 10);
        assert_true(id < RANKS_TOKENS && t[id].len == 0 && now.len > 0);
        t[id] = now;
    }
    assert_int_equal(n, RANKS_TOKENS);
    free(text);
    return t;
}

/* The bytes as GPT-2 spells them: printable Latin-1 as it is, all others in their order
 * from U+0100 on (openai/gpt-2 src/encoder.py, bytes_to_unicode). Returns the length. */
static size_t spell(const unsigned char *s, size_t n, char *out)
{
    char *to = out;

    for (size_t i = 0; i < n; i++) {
        unsigned code = s[i], others = 0;
        for (unsigned b = 0; b <= s[i]; b++) {
            const bool same = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
            if (b == s[i] && !same)
                code = 256 + others;
            others += !same;
        }
        if (code >= 0x80)
            *to++ = (char)(0xC0 | code >> 6);
        *to++ = (char)(code < 0x80 ? code : 0x80 | (code & 0x3F));
    }
    return (size_t)(to - out);
}

/* The next string of an array must be this one. */
static void expect_text(gguf_bytes *f, const char *want, size_t n, uint64_t i)
{
    const uint64_t len = take(f, 8);

    if (len != n || memcmp(f->bytes + f->pos, want, n) != 0)
        fail_msg("element %" PRIu64 " is '%.*s', not '%.*s'", i, (int)len,
                 (const char *)f->bytes + f->pos, (int)n, want);
    f->pos += len;
}

/* Moves to the first element of an array, which has n of that type. */
static void begin_array(gguf_bytes *f, const char *key, uint32_t type, uint64_t n)
{
    const gguf_key *k = find_key(f, key);

    assert_non_null(k);
    assert_int_equal(k->type, ARRAY);
    f->pos = (uint64_t)(k->value - f->bytes);
    assert_int_equal(take(f, 4), type);
    assert_int_equal(take(f, 8), n);
}

/* The names of special tokens stand as they are. */
static void expect_tokens(gguf_bytes *f, const token *t)
{
    char word[64];

    begin_array(f, "tokenizer.ggml.tokens", STRING, RANKS_TOKENS);
    for (uint64_t i = 0; i < RANKS_TOKENS; i++)
        if (i < N_SPECIALS)
            expect_text(f, (const char *)t[i].bytes, t[i].len, i);
        else
            expect_text(f, word, spell(t[i].bytes, t[i].len, word), i);
    begin_array(f, "tokenizer.ggml.token_type", I32, RANKS_TOKENS);
    for (uint64_t i = 0; i < RANKS_TOKENS; i++)
        assert_int_equal(take(f, 4), i < N_SPECIALS ? 3 : 1); /* control, normal */
}

/* Every token of two or more bytes, in the order of ranks: the two parts that merging by
 * lower ranks leaves. */
static void expect_merges(gguf_bytes *f, const token *t)
{
    ranks r;

    assert_true(ranks_init(&r));
    for (uint64_t i = N_SPECIALS; i < N_SPECIALS + 256; i++) {
        assert_int_equal(t[i].len, 1);
        ranks_add(&r, t[i].bytes, t[i].len);
    }
    begin_array(f, "tokenizer.ggml.merges", STRING, RANKS_TOKENS - N_SPECIALS - 256);
    for (uint64_t i = N_SPECIALS + 256; i < RANKS_TOKENS; i++) {
        char pair[128];
        size_t second, third;
        assert_true(t[i].len <= RANKS_BYTES);
        assert_int_equal(ranks_merge(&r, t[i].bytes, t[i].len, &second, &third), 2);
        size_t n = spell(t[i].bytes, second, pair);
        pair[n++] = ' ';
        n += spell(t[i].bytes + second, t[i].len - second, pair + n);
        expect_text(f, pair, n, i);
        ranks_add(&r, t[i].bytes, t[i].len);
    }
    ranks_free(&r);
}

static void string_is(gguf_bytes *f, const char *key, const char *want)
{
    const gguf_key *k = find_key(f, key);

    assert_non_null(k);
    assert_int_equal(k->type, STRING);
    f->pos = (uint64_t)(k->value - f->bytes);
    expect_text(f, want, strlen(want), 0);
}

static void a_gguf_has_all_tokens_and_merges(void **state)
{
    (void)state;
    want_release();
    gk_err err = {0};
    const gk_plan_options o = gguf_options();
    gk_catalog *c = open_whole(RELEASE);
    gk_plan *p = try_plan(c, "default = Q4_K_M", &o, &err);
    assert_ok(p != NULL, err);
    assert_int_equal(p->shards.n, 1);
    const gk_shard *shard = &p->shards.shard[0];
    unsigned char *header = malloc(shard->header_bytes);
    assert_non_null(header);
    memcpy(header, shard->header, shard->header_bytes);
    gguf_bytes f = {.bytes = header, .size = shard->header_bytes};
    /* types and places of 963 tensors, by ggml's own block sizes; no more than that follows */
    assert_int_equal(take_header(&f), UINT64_C(164047650816));
    assert_int_equal(f.pos, f.size);
    assert_int_equal(f.n_tensors, 963);
    assert_int_equal(shard->bytes, f.size + UINT64_C(164047650816));
    token *t = read_tok_json();
    string_is(&f, "general.architecture", "grok");
    string_is(&f, "tokenizer.ggml.model", "gpt2");
    string_is(&f, "tokenizer.ggml.pre", "grok-2");
    expect_tokens(&f, t);
    expect_merges(&f, t);
    free(t);
    close_gguf(&f);
    gk_plan_free(p);
    gk_catalog_close(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_release_is_39_files_of_13059_entries),
        cmocka_unit_test(int4_of_it_is_6275_tensors),
        cmocka_unit_test(q4_k_m_of_it_is_963_tensors),
        cmocka_unit_test(a_gguf_has_all_tokens_and_merges),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
