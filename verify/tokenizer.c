/* verify/tokenizer.c - the file, the regex, specials. */
#include "verify/tokenizer.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <inttypes.h>
#include <pcre2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/scan.h"
#include "verify/bpe.h"

#define MAX_TOKEN_BYTES 65536
#define MAX_TOKENS      (1u << 24)
#define MATCH_LIMIT     10000000u

/* White_Space of Unicode, which is what \s means to Rust; PCRE2 would add U+180E. */
#define WHITE "\\x09-\\x0D\\x20\\x{85}\\x{A0}\\x{1680}\\x{2000}-\\x{200A}\\x{2028}\\x{2029}" \
              "\\x{202F}\\x{205F}\\x{3000}"
static const char v1_pattern[] = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
                                 "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+"
                                 "|\\p{N}"
                                 "| ?[^" WHITE "\\p{L}\\p{N}]+[\\r\\n]*"
                                 "|[" WHITE "]*[\\r\\n]+"
                                 "|[" WHITE "]+(?![^" WHITE "])"
                                 "|[" WHITE "]+";

typedef struct entry {
    uint64_t id, off, len; /* its bytes in the pool */
    bool     special;
} entry;

struct gk_tokenizer {
    gk_arena   *arena;
    gk_file    *file;
    gk_text     pool;      /* bytes in file order  */
    entry      *row;       /* in file order        */
    uint64_t    n, cap;
    gk_text     pattern;   /* pat_str, or empty    */
    gk_text     word_split;
    uint64_t    vocab_size;
    bool        has_vocab_size;
    /* after gk_tokenizer_open(): by id */
    char       *bytes;
    uint64_t   *off;       /* n + 1                */
    gk_ranks    ranks;
    entry      *special;   /* longest name first   */
    uint64_t    n_specials;
    pcre2_code *code;
};

/* ---- reading the file --------------------------------------------------------- */

typedef struct load {
    gk_tokenizer *t;
    gk_scan       s;
    gk_text       key;
    gk_err       *err;
} load;

static bool key_is(const load *l, const char *name)
{
    return l->key.len == strlen(name) && memcmp(l->key.data, name, (size_t)l->key.len) == 0;
}

static bool read_bytes(load *l, entry *e)
{
    bool ok = gk_scan_open(&l->s, '[');
    uint64_t byte;

    e->off = l->t->pool.len;
    while (ok && gk_scan_more(&l->s)) {
        ok = gk_scan_uint(&l->s, &byte);
        if (ok && byte > 255)
            return gk_scan_fail(&l->s, "a byte of a token is %" PRIu64, byte);
        gk_text_char(&l->t->pool, (char)byte);
        if (++e->len > MAX_TOKEN_BYTES)
            return gk_scan_fail(&l->s, "a token of more than %d bytes", MAX_TOKEN_BYTES);
    }
    return ok && !l->s.failed && gk_text_ok(&l->t->pool, l->err);
}

static bool read_token(load *l, bool special)
{
    entry e = {.special = special};
    bool has_id = false, has_bytes = false;
    void *rows = l->t->row;

    bool ok = gk_scan_open(&l->s, '{') || gk_scan_fail(&l->s, "expected a token, an object");
    while (ok && gk_scan_more(&l->s)) {
        ok = gk_scan_key(&l->s, &l->key);
        if (ok && key_is(l, "bytes")) {
            ok = !has_bytes || gk_scan_fail(&l->s, "duplicate key \"bytes\" in a token");
            has_bytes = true;
            ok = ok && read_bytes(l, &e);
        } else if (ok && key_is(l, "token")) {
            ok = !has_id || gk_scan_fail(&l->s, "duplicate key \"token\" in a token");
            has_id = true;
            ok = ok && gk_scan_uint(&l->s, &e.id);
        } else {
            ok = ok && gk_scan_skip(&l->s);
        }
    }
    if (!ok || l->s.failed)
        return false;
    if (!has_id || !has_bytes)
        return gk_scan_fail(&l->s, "a token without %s", has_id ? "bytes" : "an id");
    if (l->t->n >= MAX_TOKENS)
        return gk_scan_fail(&l->s, "more than %u tokens", MAX_TOKENS);
    if (!gk_grow(&rows, &l->t->cap, l->t->n + 1, sizeof e, l->err))
        return false;
    l->t->row = rows;
    l->t->row[l->t->n++] = e;
    return true;
}

static bool read_tokens(load *l, bool special)
{
    bool ok = gk_scan_open(&l->s, '[') || gk_scan_fail(&l->s, "expected an array of tokens");

    while (ok && gk_scan_more(&l->s))
        ok = read_token(l, special);
    return ok && !l->s.failed;
}

enum { SAW_REGULAR = 1, SAW_SPECIAL = 2, SAW_SPLIT = 4, SAW_PATTERN = 8, SAW_SIZE = 16 };

static bool read_member(load *l, unsigned *saw)
{
    static const char *const names[]
        = {"regular_tokens", "special_tokens", "word_split", "pat_str", "vocab_size"};

    if (!gk_scan_key(&l->s, &l->key))
        return false;
    for (unsigned i = 0; i < 5; i++)
        if (key_is(l, names[i])) {
            if (*saw & 1u << i)
                return gk_scan_fail(&l->s, "duplicate key \"%s\"", names[i]);
            *saw |= 1u << i;
            switch (1u << i) {
            case SAW_REGULAR: return read_tokens(l, false);
            case SAW_SPECIAL: return read_tokens(l, true);
            case SAW_SPLIT: return gk_scan_string(&l->s, &l->t->word_split);
            case SAW_PATTERN:
                if (gk_scan_peek(&l->s) == 'n') /* null: none */
                    return gk_scan_skip(&l->s);
                return gk_scan_string(&l->s, &l->t->pattern);
            default: l->t->has_vocab_size = true; return gk_scan_uint(&l->s, &l->t->vocab_size);
            }
        }
    return gk_scan_skip(&l->s);
}

static bool read_file(gk_tokenizer *t, gk_err *err)
{
    load l = {.t = t, .err = err};
    char *window = gk_alloc(GK_SCAN_WINDOW_BYTES, 1, err);
    unsigned saw = 0;
    bool ok = window != NULL;

    if (ok) {
        gk_scan_file(&l.s, t->file, 0, t->file->size, window, err);
        ok = gk_scan_peek(&l.s) == '{'
             || gk_scan_fail(&l.s, "expected a tokenizer, an object '{'");
        ok = ok && gk_scan_open(&l.s, '{');
        while (ok && gk_scan_more(&l.s))
            ok = read_member(&l, &saw);
        ok = ok && !l.s.failed && gk_scan_done(&l.s);
        if (ok && !(saw & SAW_REGULAR))
            ok = gk_scan_fail(&l.s, "\"regular_tokens\" is missing");
    }
    if (!ok)
        gk_fail_at(err, t->file == NULL ? NULL : t->file->name, NULL);
    gk_text_free(&l.key);
    gk_free(window);
    return ok;
}

void gk_tokenizer_close(gk_tokenizer *t)
{
    if (t == NULL)
        return;
    gk_file_close(t->file);
    pcre2_code_free(t->code);
    gk_text_free(&t->pool);
    gk_text_free(&t->pattern);
    gk_text_free(&t->word_split);
    gk_ranks_free(&t->ranks);
    gk_free(t->row);
    gk_arena_free(t->arena);
    gk_free(t);
}

static gk_tokenizer *load_tokenizer(const char *path, gk_err *err)
{
    gk_tokenizer *t = gk_alloc(1, sizeof *t, err);

    if (t == NULL)
        return NULL;
    memset(t, 0, sizeof *t);
    t->arena = gk_arena_new(err);
    t->file = t->arena == NULL ? NULL : gk_file_open(t->arena, path, err);
    if (t->file != NULL && read_file(t, err))
        return t;
    gk_tokenizer_close(t);
    return NULL;
}

/* ---- examining it -------------------------------------------------------------- */

static bool bad(const gk_tokenizer *t, gk_findings *out, gk_err *err, const char *fmt,
                uint64_t number)
{
    char text[200];

    snprintf(text, sizeof text, fmt, number);
    return gk_findings_addf(out, "tokenizer", GK_BAD, t->file->name, NULL, err, "%s", text);
}

static int by_id(const void *a, const void *b)
{
    const entry *x = a, *y = b;

    return x->id < y->id ? -1 : x->id > y->id;
}

/* Ids must be 0 .. n - 1, each once: ranks are ids, and decoding indexes by them. */
static bool check_ids(gk_tokenizer *t, uint64_t embedding_rows, gk_findings *out, gk_err *err)
{
    uint64_t expected = 0;
    bool ok = true;

    qsort(t->row, (size_t)t->n, sizeof *t->row, by_id);
    for (uint64_t i = 0; ok && i < t->n; i++) {
        const uint64_t id = t->row[i].id;
        if (i > 0 && id == t->row[i - 1].id)
            ok = bad(t, out, err, "duplicate: two tokens have the id (rank) %" PRIu64, id);
        else if (id > expected)
            ok = bad(t, out, err, "a hole: no token has the id %" PRIu64 ", later ones exist",
                     expected);
        if (ok && embedding_rows > 0 && id >= embedding_rows)
            ok = bad(t, out, err, "token %" PRIu64 " has no row in the embedding (vocab_size)", id);
        expected = id == UINT64_MAX ? id : id + 1;
    }
    if (ok && t->has_vocab_size && t->vocab_size != t->n)
        ok = bad(t, out, err, "\"vocab_size\" is not the number of tokens, which is %" PRIu64,
                 t->n);
    return ok;
}

static bool check_bytes(gk_tokenizer *t, gk_findings *out, gk_err *err)
{
    bool single[256] = {false};
    bool ok = true;

    for (uint64_t i = 0; ok && i < t->n; i++) {
        if (t->row[i].len == 0)
            ok = bad(t, out, err, "token %" PRIu64 " is empty: it has no bytes", t->row[i].id);
        else if (t->row[i].len == 1 && !t->row[i].special)
            single[(unsigned char)t->pool.data[t->row[i].off]] = true;
    }
    for (uint64_t b = 0; ok && b < 256; b++)
        if (!single[b])
            ok = bad(t, out, err, "no token for the single byte %" PRIu64 ": not every text can "
                     "be encoded", b);
    return ok;
}

static bool examine(gk_tokenizer *t, uint64_t embedding_rows, gk_findings *out, gk_err *err)
{
    if (t->pattern.len == 0
        && (t->word_split.len != 2 || memcmp(t->word_split.data, "V1", 2) != 0)
        && !gk_findings_addf(out, "tokenizer", GK_BAD, t->file->name, NULL, err,
                             "\"word_split\" is not \"V1\" and there is no \"pat_str\": how to cut "
                             "words is unknown"))
        return false;
    return check_ids(t, embedding_rows, out, err) && check_bytes(t, out, err);
}

bool gk_tokenizer_check(const char *path, uint64_t embedding_rows, gk_findings *out, gk_err *err)
{
    gk_err own = {0};
    gk_tokenizer *t = load_tokenizer(path, &own);

    if (t == NULL)
        return gk_findings_take(out, "tokenizer", &own, err);
    const bool ok = examine(t, embedding_rows, out, err);
    gk_tokenizer_close(t);
    return ok;
}

/* ---- ready to use ---------------------------------------------------------------- */

static int by_falling_length(const void *a, const void *b)
{
    const entry *x = a, *y = b;

    if (x->len != y->len)
        return x->len > y->len ? -1 : 1;
    return x->id < y->id ? -1 : x->id > y->id;
}

/* Rows are sorted by id here and ids are dense. */
static bool index_tokens(gk_tokenizer *t, gk_err *err)
{
    t->bytes = gk_arena_alloc(t->arena, t->pool.len, 1, err);
    t->off = gk_arena_alloc(t->arena, t->n + 1, sizeof *t->off, err);
    t->special = gk_arena_alloc(t->arena, t->n, sizeof *t->special, err);
    if (t->bytes == NULL || t->off == NULL || t->special == NULL)
        return false;
    for (uint64_t i = 0; i < t->n; i++) {
        memcpy(t->bytes + t->off[i], t->pool.data + t->row[i].off, (size_t)t->row[i].len);
        t->off[i + 1] = t->off[i] + t->row[i].len;
        if (t->row[i].special)
            t->special[t->n_specials++] = t->row[i];
    }
    gk_text_free(&t->pool);
    qsort(t->special, (size_t)t->n_specials, sizeof *t->special, by_falling_length);
    if (!gk_ranks_init(&t->ranks, t->n, t->bytes, t->off, err))
        return false;
    for (uint64_t i = 0; i < t->n; i++)
        if (!t->row[i].special && !gk_ranks_add(&t->ranks, (uint32_t)i)) {
            gk_fail(err, GK_ERR_FORMAT, GK_NO_OFF,
                    "duplicate: token %" PRIu64 " has the bytes of another", i);
            return gk_fail_at(err, t->file->name, NULL);
        }
    return true;
}

static bool compile(gk_tokenizer *t, gk_err *err)
{
    const char *pattern = t->pattern.len > 0 ? t->pattern.data : v1_pattern;
    PCRE2_UCHAR why[128] = "";
    PCRE2_SIZE at;
    int code;

    t->code = pcre2_compile((PCRE2_SPTR)pattern,
                            t->pattern.len > 0 ? (PCRE2_SIZE)t->pattern.len : PCRE2_ZERO_TERMINATED,
                            PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C, &code, &at, NULL);
    if (t->code == NULL) {
        pcre2_get_error_message(code, why, sizeof why);
        gk_fail(err, GK_ERR_FORMAT, GK_NO_OFF, "\"pat_str\": %s at character %zu",
                (const char *)why, (size_t)at);
        return gk_fail_at(err, t->file->name, NULL);
    }
    pcre2_jit_compile(t->code, PCRE2_JIT_COMPLETE); /* without it, it is only slower */
    return true;
}

gk_tokenizer *gk_tokenizer_open(const char *path, gk_err *err)
{
    gk_tokenizer *t = load_tokenizer(path, err);
    gk_findings found = {0};

    if (t == NULL)
        return NULL;
    found.arena = t->arena;
    const bool ok = examine(t, 0, &found, err) && gk_findings_refuse(&found, err)
                    && index_tokens(t, err) && compile(t, err);
    gk_findings_free(&found);
    if (ok)
        return t;
    gk_tokenizer_close(t);
    return NULL;
}

uint64_t gk_tokenizer_size(const gk_tokenizer *t)
{
    return t->n;
}

void gk_ids_free(gk_ids *ids)
{
    gk_free(ids->id);
    *ids = (gk_ids){0};
}

/* ---- encoding ---------------------------------------------------------------------- */

typedef struct encode {
    const gk_tokenizer  *t;
    pcre2_match_data    *match;
    pcre2_match_context *context;
    gk_ids              *out;
    gk_err              *err;
} encode;

/* Text without specials: the words one after the other. What no alternative of the
 * regex takes is skipped, as in tiktoken (V1 takes everything). */
static bool encode_words(encode *e, const char *text, uint64_t len)
{
    PCRE2_SIZE at = 0;

    while (at < len) {
        const int n = pcre2_match(e->t->code, (PCRE2_SPTR)text, (PCRE2_SIZE)len, at,
                                  PCRE2_NO_UTF_CHECK, e->match, e->context);
        if (n == PCRE2_ERROR_NOMATCH)
            return true;
        if (n < 0)
            return gk_fail(e->err, GK_ERR_LIMIT, at, "the word regex gave up (PCRE2 error %d)", n);
        const PCRE2_SIZE *range = pcre2_get_ovector_pointer(e->match);
        if (range[1] > range[0]
            && !gk_bpe_word(&e->t->ranks, text + range[0], range[1] - range[0], e->out, e->err))
            return false;
        at = range[1];
        if (range[1] == range[0]) /* an empty match must move on, by a character */
            at += (PCRE2_SIZE)gk_utf8_len(text + at, len - at);
    }
    return true;
}

/* The special whose name begins here, longest first; NULL: none. */
static const entry *special_at(const gk_tokenizer *t, const char *text, uint64_t len)
{
    for (uint64_t i = 0; i < t->n_specials; i++) {
        const entry *s = &t->special[i];
        if (s->len <= len && memcmp(text, t->bytes + t->off[s->id], (size_t)s->len) == 0)
            return s;
    }
    return NULL;
}

static bool encode_text(encode *e, const char *text, uint64_t len)
{
    bool first[256] = {false};
    uint64_t begin = 0;

    for (uint64_t i = 0; i < e->t->n_specials; i++)
        first[(unsigned char)e->t->bytes[e->t->off[e->t->special[i].id]]] = true;
    for (uint64_t at = 0; at < len;) {
        const entry *s = first[(unsigned char)text[at]] ? special_at(e->t, text + at, len - at)
                                                        : NULL;
        if (s == NULL) {
            at++;
            continue;
        }
        if (!encode_words(e, text + begin, at - begin))
            return false;
        void *ids = e->out->id;
        if (!gk_grow(&ids, &e->out->cap, e->out->n + 1, sizeof *e->out->id, e->err))
            return false;
        e->out->id = ids;
        e->out->id[e->out->n++] = (uint32_t)s->id;
        at += s->len;
        begin = at;
    }
    return encode_words(e, text + begin, len - begin);
}

bool gk_tokenizer_encode(const gk_tokenizer *t, const char *text, uint64_t len, gk_ids *out,
                         gk_err *err)
{
    for (uint64_t at = 0; at < len;) {
        const int n = gk_utf8_len(text + at, len - at);
        if (n == 0)
            return gk_fail(err, GK_ERR_FORMAT, at, "the text is not UTF-8 here");
        at += (uint64_t)n;
    }
    encode e = {.t = t, .out = out, .err = err};
    e.match = pcre2_match_data_create(1, NULL);
    e.context = pcre2_match_context_create(NULL);
    bool ok = e.match != NULL && e.context != NULL;
    if (!ok)
        gk_fail(err, GK_ERR_NOMEM, GK_NO_OFF, "no memory for the word regex");
    if (ok) {
        pcre2_set_match_limit(e.context, MATCH_LIMIT);
        ok = encode_text(&e, text, len);
    }
    pcre2_match_data_free(e.match);
    pcre2_match_context_free(e.context);
    return ok;
}

bool gk_tokenizer_decode(const gk_tokenizer *t, const uint32_t *id, uint64_t n, gk_text *out,
                         gk_err *err)
{
    for (uint64_t i = 0; i < n; i++) {
        if (id[i] >= t->n)
            return gk_fail(err, GK_ERR_ARG, GK_NO_OFF, "id %" PRIu32 " is no token, the last is %"
                           PRIu64, id[i], t->n - 1);
        gk_text_add(out, t->bytes + t->off[id[i]], t->off[id[i] + 1] - t->off[id[i]]);
    }
    return gk_text_ok(out, err);
}
