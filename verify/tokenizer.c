/* verify/tokenizer.c - the regexes, specials, SentencePiece's blanks. */
#include "verify/tokenizer.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <inttypes.h>
#include <pcre2.h>
#include <stdlib.h>
#include <string.h>

#define BLANK       "\xE2\x96\x81" /* U+2581, a blank in SentencePiece's pieces */
#define BLANK_BYTES 3

#define MATCH_LIMIT 10000000u

/* White_Space of Unicode, which is what \s means to Rust; PCRE2 would add U+180E. */
#define WHITE "\\x09-\\x0D\\x20\\x{85}\\x{A0}\\x{1680}\\x{2000}-\\x{200A}\\x{2028}\\x{2029}" \
              "\\x{202F}\\x{205F}\\x{3000}"

struct gk_tokenizer {
    gk_vocabulary v;
    gk_bpe bpe;
    uint32_t *special; /* ids, longest name first */
    uint64_t n_specials;
    bool starts[256]; /* bytes that specials start with */
    pcre2_code *code[GK_MAX_PATTERNS];
    bool apart; /* no piece has a blank behind anything but blanks: words are alone */
};

/* ---- opening it -------------------------------------------------------------------- */

static int by_number(const void *a, const void *b)
{
    const uint64_t *x = a, *y = b;

    return (*x > *y) - (*x < *y);
}

/* Longest first, then by id: one number orders both. */
static bool index_specials(gk_tokenizer *t, gk_err *err)
{
    uint64_t *order = gk_alloc(t->v.n, sizeof *order, err);
    uint64_t n = 0;

    t->special = gk_arena_alloc(t->v.arena, t->v.n, sizeof *t->special, err);
    if (order == NULL || t->special == NULL) {
        gk_free(order);
        return false;
    }
    for (uint64_t i = 0; i < t->v.n; i++) {
        const gk_token *token = &t->v.token[i];
        const bool special = token->type == GK_TOKEN_CONTROL || token->type == GK_TOKEN_USER_DEFINED
                             || token->type == GK_TOKEN_UNKNOWN;
        if (!special || token->len == 0)
            continue;
        order[n++] = (uint64_t)(GK_MAX_TOKEN_BYTES - token->len) << 32 | i;
        t->starts[(unsigned char)t->v.pool.data[token->off]] = true;
    }
    qsort(order, (size_t)n, sizeof *order, by_number);
    for (uint64_t i = 0; i < n; i++)
        t->special[i] = (uint32_t)order[i];
    t->n_specials = n;
    gk_free(order);
    return true;
}

/* Rust's regex as PCRE2 reads it: \s and \S become classes of the characters they mean to
 * Rust. A \S inside a class stays PCRE2's. */
static void translate(gk_text *out, const char *pattern)
{
    bool in_class = false;

    for (const char *p = pattern; *p != '\0'; p++) {
        if (*p == '\\' && p[1] == 's') {
            gk_text_str(out, in_class ? WHITE : "[" WHITE "]");
            p++;
        } else if (*p == '\\' && p[1] == 'S' && !in_class) {
            gk_text_str(out, "[^" WHITE "]");
            p++;
        } else if (*p == '\\' && p[1] != '\0') {
            gk_text_add(out, p, 2);
            p++;
        } else {
            in_class = *p == '[' || (in_class && *p != ']');
            gk_text_char(out, *p);
        }
    }
}

static bool compile(gk_tokenizer *t, unsigned i, gk_err *err)
{
    gk_text pattern = {0};
    PCRE2_UCHAR why[128] = "";
    PCRE2_SIZE at;
    int code;

    translate(&pattern, t->v.pattern[i]);
    if (gk_text_ok(&pattern, err))
        t->code[i] = pcre2_compile((PCRE2_SPTR)(pattern.len > 0 ? pattern.data : ""),
                                   (PCRE2_SIZE)pattern.len,
                                   PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C, &code, &at,
                                   NULL);
    if (t->code[i] == NULL && !pattern.failed) {
        pcre2_get_error_message(code, why, sizeof why);
        gk_fail(err, GK_ERR_FORMAT, GK_NO_OFF, "%s: %s at character %zu of '%.100s'",
                t->v.kind == GK_BPE_RANKS ? "\"pat_str\"" : "its pattern", (const char *)why,
                (size_t)at, pattern.data);
        gk_fail_at(err, t->v.file, NULL);
    }
    gk_text_free(&pattern);
    if (t->code[i] == NULL)
        return false;
    pcre2_jit_compile(t->code[i], PCRE2_JIT_COMPLETE); /* without it, it is only slower */
    return true;
}

static bool is_blank(const char *s, uint64_t len)
{
    return len >= BLANK_BYTES && memcmp(s, BLANK, BLANK_BYTES) == 0;
}

/* Then nothing that is merged goes over the place between a word and the blank behind it. */
static bool has_words_apart(const gk_vocabulary *v)
{
    for (uint64_t i = 0; i < v->n; i++) {
        const char *s = v->pool.data + v->token[i].off;
        const uint64_t len = v->token[i].len;
        uint64_t at = 0;
        while (is_blank(s + at, len - at))
            at += BLANK_BYTES;
        for (; at < len; at++)
            if (is_blank(s + at, len - at))
                return false;
    }
    return true;
}

static bool prepare(gk_tokenizer *t, gk_err *err)
{
    if (t->v.n == 0)
        return gk_fail(err, GK_ERR_ARG, GK_NO_OFF,
                       "the model brings no tokenizer (tokenizer.tok.json, tokenizer.json, "
                       "tokenizer.model or keys of a GGUF); eval takes --token-ids instead");
    if (t->v.cannot != NULL) {
        gk_fail(err, GK_ERR_UNSUPPORTED, GK_NO_OFF,
                "texts cannot be encoded: %s; eval takes --token-ids instead", t->v.cannot);
        return gk_fail_at(err, t->v.file, NULL);
    }
    if (!gk_bpe_init(&t->bpe, &t->v, err) || !index_specials(t, err))
        return false;
    for (unsigned i = 0; i < t->v.n_patterns; i++)
        if (!compile(t, i, err))
            return false;
    t->apart = t->v.kind == GK_SENTENCEPIECE && has_words_apart(&t->v);
    return true;
}

gk_tokenizer *gk_tokenizer_open(const gk_catalog *c, gk_err *err)
{
    gk_tokenizer *t = gk_alloc(1, sizeof *t, err);

    if (t == NULL)
        return NULL;
    memset(t, 0, sizeof *t);
    if (gk_vocabulary_read(c, &t->v, err) && prepare(t, err))
        return t;
    gk_tokenizer_close(t);
    return NULL;
}

void gk_tokenizer_close(gk_tokenizer *t)
{
    if (t == NULL)
        return;
    for (unsigned i = 0; i < GK_MAX_PATTERNS; i++)
        pcre2_code_free(t->code[i]);
    gk_bpe_free(&t->bpe);
    gk_vocabulary_free(&t->v);
    gk_free(t);
}

bool gk_tokenizer_check(const gk_catalog *c, uint64_t embedding_rows, gk_findings *out, gk_err *err)
{
    return gk_vocabulary_check(c, embedding_rows, out, err);
}

uint64_t gk_tokenizer_size(const gk_tokenizer *t)
{
    return t->v.n;
}

bool gk_tokenizer_bos(const gk_tokenizer *t, uint32_t *id)
{
    if (!t->v.add_bos || t->v.bos < 0)
        return false;
    *id = (uint32_t)t->v.bos;
    return true;
}

/* ---- encoding ---------------------------------------------------------------------- */

typedef struct encode {
    const gk_tokenizer *t;
    pcre2_match_data *match;
    pcre2_match_context *context;
    gk_ids *out;
    gk_err *err;
} encode;

/* Text without specials: cut by pattern k, the pieces by pattern k + 1 and so on, in the end
 * they are words. What no alternative of a regex takes is a piece too (Hugging Face's
 * "Isolated", llama.cpp), but skipped by tiktoken (V1 takes everything). */
static bool encode_words(encode *e, unsigned k, const char *text, uint64_t len)
{
    const bool keep_gaps = e->t->v.kind != GK_BPE_RANKS;
    PCRE2_SIZE at = 0, done = 0;

    if (k == e->t->v.n_patterns)
        return len == 0 || gk_bpe_word(&e->t->bpe, text, len, e->out, e->err);
    while (at < len) {
        const int n = pcre2_match(e->t->code[k], (PCRE2_SPTR)text, (PCRE2_SIZE)len, at,
                                  PCRE2_NO_UTF_CHECK, e->match, e->context);
        if (n == PCRE2_ERROR_NOMATCH)
            break;
        if (n < 0)
            return gk_fail(e->err, GK_ERR_LIMIT, at, "the word regex gave up (PCRE2 error %d)", n);
        const PCRE2_SIZE *range = pcre2_get_ovector_pointer(e->match);
        const PCRE2_SIZE begin = range[0], end = range[1];
        if (end == begin) { /* an empty match must move on, by a character */
            at = begin + (begin < len ? (PCRE2_SIZE)gk_utf8_len(text + begin, len - begin) : 1);
            continue;
        }
        if ((keep_gaps && begin > done && !encode_words(e, k + 1, text + done, begin - done))
            || !encode_words(e, k + 1, text + begin, end - begin))
            return false;
        at = done = end;
    }
    return !keep_gaps || done == len || encode_words(e, k + 1, text + done, len - done);
}

/* The special whose name begins here, longest first; NULL: none. */
static const uint32_t *special_at(const gk_tokenizer *t, const char *text, uint64_t len)
{
    for (uint64_t i = 0; i < t->n_specials; i++) {
        const gk_token *s = &t->v.token[t->special[i]];
        if (s->len <= len && memcmp(text, t->v.pool.data + s->off, s->len) == 0)
            return &t->special[i];
    }
    return NULL;
}

static bool encode_text(encode *e, const char *text, uint64_t len)
{
    const gk_tokenizer *t = e->t;
    uint64_t begin = 0;

    for (uint64_t at = 0; at < len;) {
        const uint32_t *s = t->starts[(unsigned char)text[at]] ? special_at(t, text + at, len - at)
                                                               : NULL;
        if (s == NULL) {
            at++;
            continue;
        }
        if (!encode_words(e, 0, text + begin, at - begin) || !gk_ids_add(e->out, *s, e->err))
            return false;
        at += t->v.token[*s].len;
        begin = at;
    }
    return encode_words(e, 0, text + begin, len - begin);
}

/* ---- SentencePiece ------------------------------------------------------------------ */

/* A special in the text. */
typedef struct hit {
    uint64_t at, rank; /* its place among the specials: the longest first */
} hit;

typedef struct hits {
    hit *hit;
    uint64_t n, cap;
} hits;

static int by_rank(const void *a, const void *b)
{
    const hit *x = a, *y = b;

    if (x->rank != y->rank)
        return x->rank < y->rank ? -1 : 1;
    return (x->at > y->at) - (x->at < y->at);
}

static int by_place(const void *a, const void *b)
{
    const hit *x = a, *y = b;

    return (x->at > y->at) - (x->at < y->at);
}

static bool find_hits(const gk_tokenizer *t, const char *text, uint64_t len, hits *h, gk_err *err)
{
    for (uint64_t at = 0; at < len; at++) {
        for (uint64_t i = 0; t->starts[(unsigned char)text[at]] && i < t->n_specials; i++) {
            const gk_token *s = &t->v.token[t->special[i]];
            void *rows = h->hit;
            if (s->len > len - at || memcmp(text + at, t->v.pool.data + s->off, s->len) != 0)
                continue;
            if (!gk_grow(&rows, &h->cap, h->n + 1, sizeof *h->hit, err))
                return false;
            h->hit = rows;
            h->hit[h->n++] = (hit){at, i};
        }
    }
    return true;
}

/* Keeps the specials that llama.cpp cuts out: it goes through the text with the longest one,
 * then through what is left with the next (tokenizer_st_partition). */
static bool keep_longest(const gk_tokenizer *t, uint64_t len, hits *h, gk_err *err)
{
    uint64_t kept = 0;
    bool *taken = h->n == 0 ? NULL : gk_alloc(len, sizeof *taken, err);

    if (taken == NULL)
        return h->n == 0;
    memset(taken, 0, (size_t)len);
    qsort(h->hit, (size_t)h->n, sizeof *h->hit, by_rank);
    for (uint64_t i = 0; i < h->n; i++) {
        const hit at = h->hit[i];
        const uint64_t n = t->v.token[t->special[at.rank]].len;
        /* what was taken before is at least as long, so one end of it would show */
        if (taken[at.at] || taken[at.at + n - 1])
            continue;
        memset(taken + at.at, 1, (size_t)n);
        h->hit[kept++] = at;
    }
    h->n = kept;
    qsort(h->hit, (size_t)h->n, sizeof *h->hit, by_place);
    gk_free(taken);
    return true;
}

/* Text between specials, which stands behind one of them or at the start: a blank may come
 * first, and every blank becomes a letter. */
static bool encode_pieces(encode *e, gk_text *spelled, const char *text, uint64_t len, bool first)
{
    const gk_vocabulary *v = &e->t->v;
    uint64_t begin = 0;
    bool ok = true;

    if (len == 0)
        return true;
    const bool standing = text[0] == ' ' || is_blank(text, len);
    gk_text_clear(spelled);
    if (v->add_space_prefix && !(v->prefix_first && !first) && !(v->prefix_missing && standing))
        gk_text_str(spelled, BLANK);
    for (uint64_t i = 0; i < len; i++) {
        if (text[i] == ' ')
            gk_text_str(spelled, BLANK);
        else
            gk_text_char(spelled, text[i]);
    }
    if (!gk_text_ok(spelled, e->err))
        return false;
    bool in_word = false;
    for (uint64_t at = 0; ok && e->t->apart && at < spelled->len; at++) {
        const bool blank = is_blank(spelled->data + at, spelled->len - at);
        if (blank && in_word) {
            ok = gk_bpe_word(&e->t->bpe, spelled->data + begin, at - begin, e->out, e->err);
            begin = at;
        }
        in_word = !blank;
        at += blank ? BLANK_BYTES - 1 : 0;
    }
    return ok
           && gk_bpe_word(&e->t->bpe, spelled->data + begin, spelled->len - begin, e->out, e->err);
}

static bool encode_sentence(encode *e, const char *text, uint64_t len)
{
    const gk_tokenizer *t = e->t;
    hits h = {0};
    gk_text spelled = {0};
    uint64_t begin = 0;

    bool ok = find_hits(t, text, len, &h, e->err) && keep_longest(t, len, &h, e->err);
    for (uint64_t i = 0; ok && i < h.n; i++) {
        const uint32_t id = t->special[h.hit[i].rank];
        ok = encode_pieces(e, &spelled, text + begin, h.hit[i].at - begin, begin == 0)
             && gk_ids_add(e->out, id, e->err);
        begin = h.hit[i].at + t->v.token[id].len;
    }
    ok = ok && encode_pieces(e, &spelled, text + begin, len - begin, begin == 0);
    gk_free(h.hit);
    gk_text_free(&spelled);
    return ok;
}

/* ---- both ways ---------------------------------------------------------------------- */

bool gk_tokenizer_encode(const gk_tokenizer *t, const char *text, uint64_t len, gk_ids *out,
                         gk_err *err)
{
    for (uint64_t at = 0; at < len;) {
        const int n = gk_utf8_len(text + at, len - at);
        if (n == 0)
            return gk_fail(err, GK_ERR_FORMAT, at, "the text is not UTF-8 here");
        if (t->v.is_nfc && (unsigned char)text[at] >= 0xCC) { /* U+0300 is CC 80 */
            gk_fail(err, GK_ERR_UNSUPPORTED, at,
                    "texts with characters from U+0300 on cannot be encoded: it changes texts by "
                    "a normalizer (NFC), and none is applied here; eval takes --token-ids instead");
            return gk_fail_at(err, t->v.file, NULL);
        }
        at += (uint64_t)n;
    }
    encode e = {.t = t, .out = out, .err = err};
    if (t->v.kind == GK_SENTENCEPIECE)
        return encode_sentence(&e, text, len);
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

static int hex_value(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* A piece: blanks are blanks again, but for the one that encoding puts behind a special or
 * at the start; <0x0A> is a byte. */
static void decode_piece(const gk_tokenizer *t, const gk_token *token, bool first, gk_text *out)
{
    const char *s = t->v.pool.data + token->off;

    if (token->type == GK_TOKEN_BYTE && token->len == 6 && memcmp(s, "<0x", 3) == 0
        && hex_value(s[3]) >= 0 && hex_value(s[4]) >= 0) {
        gk_text_char(out, (char)(hex_value(s[3]) << 4 | hex_value(s[4])));
        return;
    }
    if (token->type != GK_TOKEN_NORMAL) {
        gk_text_add(out, s, token->len);
        return;
    }
    for (uint64_t i = 0; i < token->len;) {
        const bool blank = is_blank(s + i, token->len - i);
        if (!blank)
            gk_text_char(out, s[i]);
        else if (!first || i > 0 || !t->v.add_space_prefix)
            gk_text_char(out, ' ');
        i += blank ? BLANK_BYTES : 1;
    }
}

bool gk_tokenizer_decode(const gk_tokenizer *t, const uint32_t *id, uint64_t n, gk_text *out,
                         gk_err *err)
{
    bool first = true;

    for (uint64_t i = 0; i < n; i++) {
        if (id[i] >= t->v.n)
            return gk_fail(err, GK_ERR_ARG, GK_NO_OFF, "id %" PRIu32 " is no token, the last is %"
                           PRIu64, id[i], t->v.n - 1);
        const gk_token *token = &t->v.token[id[i]];
        if (t->v.kind != GK_SENTENCEPIECE) {
            gk_text_add(out, t->v.pool.data + token->off, token->len);
            continue;
        }
        decode_piece(t, token, first, out);
        first = !t->v.prefix_first && token->type != GK_TOKEN_NORMAL
                && token->type != GK_TOKEN_BYTE;
    }
    return gk_text_ok(out, err);
}
