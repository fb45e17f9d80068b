/* formats/vocabulary_tok.c - xAI's tokenizer.tok.json, read, examined, written.
 *
 *   {"regular_tokens":[{"bytes":[104,105],"token":633}, ...],
 *    "special_tokens":[{"bytes":[60,124,112,97,100,124,62],"token":0}, ...],
 *    "vocab_size":131072, "word_split":"V1", "pat_str":null or a regex,
 *    "default_allowed_special":[[60,124,112,97,100,124,62], ...]}
 *
 * A token's id is its rank, so ids must be 0 .. n - 1, each once, and every byte must be a
 * token. default_allowed_special is not read: SGLang overwrites it. Source: sglang
 * srt/tokenizer/tiktoken_tokenizer.py @1e950181. */
#include "formats/vocabulary_parts.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/checked.h"
#include "formats/scan.h"

typedef struct entry {
    uint64_t id, off, len; /* its bytes in the pool */
    bool special;
} entry;

typedef struct load {
    gk_file *file;
    gk_scan s;
    gk_text key;
    gk_text pool; /* bytes in file order */
    entry *row;   /* in file order, later by id */
    uint64_t n, cap;
    gk_text pattern; /* pat_str, or empty */
    gk_text word_split;
    uint64_t vocab_size;
    bool has_vocab_size;
    gk_err *err;
} load;

/* ---- reading ------------------------------------------------------------------- */

static bool key_is(const load *l, const char *name)
{
    return l->key.len == strlen(name) && memcmp(l->key.data, name, (size_t)l->key.len) == 0;
}

static bool read_bytes(load *l, entry *e)
{
    bool ok = gk_scan_open(&l->s, '[');
    uint64_t byte;

    e->off = l->pool.len;
    while (ok && gk_scan_more(&l->s)) {
        unsigned char run[64];
        const uint64_t most = gk_min(sizeof run, GK_MAX_TOKEN_BYTES - e->len);
        const uint64_t n = gk_scan_small(&l->s, run, most);
        gk_text_add(&l->pool, run, n);
        e->len += n;
        ok = gk_scan_uint(&l->s, &byte);
        if (ok && byte > 255)
            return gk_scan_fail(&l->s, "a byte of a token is %" PRIu64, byte);
        gk_text_char(&l->pool, (char)byte);
        if (++e->len > GK_MAX_TOKEN_BYTES)
            return gk_scan_fail(&l->s, "a token of more than %d bytes", GK_MAX_TOKEN_BYTES);
    }
    return ok && !l->s.failed && gk_text_ok(&l->pool, l->err);
}

static bool read_token(load *l, bool special)
{
    entry e = {.special = special};
    bool has_id = false, has_bytes = false;
    void *rows = l->row;

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
    if (l->n >= GK_MAX_TOKENS)
        return gk_scan_fail(&l->s, "more than %u tokens", GK_MAX_TOKENS);
    if (!gk_grow(&rows, &l->cap, l->n + 1, sizeof e, l->err))
        return false;
    l->row = rows;
    l->row[l->n++] = e;
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
    static const char *const names[] = {"regular_tokens", "special_tokens", "word_split", "pat_str",
                                        "vocab_size"};

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
            case SAW_SPLIT: return gk_scan_string(&l->s, &l->word_split);
            case SAW_PATTERN:
                if (gk_scan_peek(&l->s) == 'n') /* null: none */
                    return gk_scan_skip(&l->s);
                return gk_scan_string(&l->s, &l->pattern);
            default: l->has_vocab_size = true; return gk_scan_uint(&l->s, &l->vocab_size);
            }
        }
    return gk_scan_skip(&l->s);
}

static bool read_file(load *l)
{
    char *window = gk_alloc(GK_SCAN_WINDOW_BYTES, 1, l->err);
    unsigned saw = 0;
    bool ok = window != NULL;

    if (ok) {
        gk_scan_file(&l->s, l->file, 0, l->file->size, window, l->err);
        ok = gk_scan_peek(&l->s) == '{'
             || gk_scan_fail(&l->s, "expected a tokenizer, an object '{'");
        ok = ok && gk_scan_open(&l->s, '{');
        while (ok && gk_scan_more(&l->s))
            ok = read_member(l, &saw);
        ok = ok && !l->s.failed && gk_scan_done(&l->s);
        if (ok && !(saw & SAW_REGULAR))
            ok = gk_scan_fail(&l->s, "\"regular_tokens\" is missing");
    }
    gk_free(window);
    return ok || gk_fail_at(l->err, l->file->name, NULL);
}

/* ---- examining ----------------------------------------------------------------- */

static bool bad(const load *l, gk_findings *out, const char *fmt, uint64_t number)
{
    char text[200];

    snprintf(text, sizeof text, fmt, number);
    return gk_findings_addf(out, "tokenizer", GK_BAD, l->file->name, NULL, l->err, "%s", text);
}

static int by_id(const void *a, const void *b)
{
    const entry *x = a, *y = b;

    return x->id < y->id ? -1 : x->id > y->id;
}

/* Puts the rows in the order of their ids: at once when these are 0 .. n - 1, by sorting when
 * something is wrong with them, which will then be said. */
static bool order_rows(load *l)
{
    entry *ordered = gk_alloc(l->n, sizeof *ordered, l->err);
    bool dense = true;

    if (ordered == NULL)
        return false;
    for (uint64_t i = 0; i < l->n; i++)
        ordered[i].id = UINT64_MAX;
    for (uint64_t i = 0; dense && i < l->n; i++) {
        const uint64_t id = l->row[i].id;
        dense = id < l->n && ordered[id].id == UINT64_MAX;
        if (dense)
            ordered[id] = l->row[i];
    }
    if (dense) {
        gk_free(l->row);
        l->row = ordered;
        l->cap = l->n;
        return true;
    }
    gk_free(ordered);
    qsort(l->row, (size_t)l->n, sizeof *l->row, by_id);
    return true;
}

/* Ids must be 0 .. n - 1, each once: ranks are ids, and decoding indexes by them. */
static bool check_ids(load *l, uint64_t embedding_rows, gk_findings *out)
{
    uint64_t expected = 0;
    bool ok = l->n == 0 || order_rows(l);

    for (uint64_t i = 0; ok && i < l->n; i++) {
        const uint64_t id = l->row[i].id;
        if (i > 0 && id == l->row[i - 1].id)
            ok = bad(l, out, "duplicate: two tokens have the id (rank) %" PRIu64, id);
        else if (id > expected)
            ok = bad(l, out, "a hole: no token has the id %" PRIu64 ", later ones exist", expected);
        if (ok && embedding_rows > 0 && id >= embedding_rows)
            ok = bad(l, out, "token %" PRIu64 " has no row in the embedding (vocab_size)", id);
        expected = id == UINT64_MAX ? id : id + 1;
    }
    if (ok && l->has_vocab_size && l->vocab_size != l->n)
        ok = bad(l, out, "\"vocab_size\" is not the number of tokens, which is %" PRIu64, l->n);
    return ok;
}

static bool check_bytes(load *l, gk_findings *out)
{
    bool single[256] = {false};
    bool ok = true;

    for (uint64_t i = 0; ok && i < l->n; i++) {
        if (l->row[i].len == 0)
            ok = bad(l, out, "token %" PRIu64 " is empty: it has no bytes", l->row[i].id);
        else if (l->row[i].len == 1 && !l->row[i].special)
            single[(unsigned char)l->pool.data[l->row[i].off]] = true;
    }
    for (uint64_t b = 0; ok && b < 256; b++)
        if (!single[b])
            ok = bad(l, out,
                     "no token for the single byte %" PRIu64 ": not every text can be encoded", b);
    return ok;
}

static bool examine(load *l, uint64_t embedding_rows, gk_findings *out)
{
    if (l->pattern.len == 0 && (l->word_split.len != 2 || memcmp(l->word_split.data, "V1", 2) != 0)
        && !gk_findings_addf(out, "tokenizer", GK_BAD, l->file->name, NULL, l->err,
                             "\"word_split\" is not \"V1\" and there is no \"pat_str\": how to cut "
                             "words is unknown"))
        return false;
    return check_ids(l, embedding_rows, out) && check_bytes(l, out);
}

/* The rows are in order and without holes here. */
static bool fill(gk_vocabulary *v, load *l)
{
    v->kind = GK_BPE_RANKS;
    for (uint64_t i = 0; i < l->n; i++)
        if (!gk_vocabulary_add(v, l->pool.data + l->row[i].off, l->row[i].len,
                               l->row[i].special ? GK_TOKEN_CONTROL : GK_TOKEN_NORMAL, 0, l->err))
            return false;
    v->pattern[0] = l->pattern.len > 0
                        ? gk_arena_strn(v->arena, l->pattern.data, l->pattern.len, l->err)
                        : gk_v1_pattern;
    if (v->pattern[0] == NULL)
        return false;
    if (strlen(v->pattern[0]) < l->pattern.len) {
        gk_fail(l->err, GK_ERR_FORMAT, GK_NO_OFF, "\"pat_str\" holds a NUL");
        return gk_fail_at(l->err, v->file, NULL);
    }
    v->n_patterns = 1;
    v->bos = -1; /* SGLang adds none */
    v->pad = gk_vocabulary_special(v, "<|pad|>");
    v->sep = gk_vocabulary_special(v, "<|separator|>");
    v->eos = gk_vocabulary_special(v, "<|eos|>");
    gk_vocabulary_pre_of_patterns(v);
    if (l->pattern.len == 0 && v->sep >= 0)
        v->chat_template = gk_grok2_chat_template;
    return true;
}

bool gk_vocabulary_from_tok_json(gk_vocabulary *v, const gk_extra *extra, uint64_t embedding_rows,
                                 gk_findings *found, gk_err *err)
{
    const uint64_t before = found->n;
    load l = {.file = gk_extra_open(v->arena, extra, err), .err = err};
    bool ok = l.file != NULL;

    if (ok) {
        v->file = l.file->name;
        ok = read_file(&l) && examine(&l, embedding_rows, found);
    }
    if (ok && gk_findings_worst(found, before, NULL) != GK_BAD)
        ok = fill(v, &l);
    gk_file_close(l.file);
    gk_text_free(&l.key);
    gk_text_free(&l.pool);
    gk_text_free(&l.pattern);
    gk_text_free(&l.word_split);
    gk_free(l.row);
    return ok;
}

/* ---- writing --------------------------------------------------------------------- */

static bool cannot(const gk_vocabulary *v, gk_err *err, const char *what)
{
    gk_fail(err, GK_ERR_UNSUPPORTED, GK_NO_OFF, "no tokenizer.tok.json can say this: %s", what);
    return gk_fail_at(err, v->file, NULL);
}

static bool can_write(const gk_vocabulary *v, gk_err *err)
{
    bool single[256] = {false};

    if (v->kind == GK_SENTENCEPIECE)
        return cannot(v, err, "its tokens are SentencePiece's");
    if (v->cannot != NULL)
        return cannot(v, err, v->cannot);
    if (v->is_nfc)
        return cannot(v, err, "texts are normalized first (NFC)");
    if (v->n_patterns != 1)
        return cannot(v, err, "words are cut by no or more than one pattern");
    for (uint64_t i = 1; i < v->n_merges; i++)
        if (v->merge[i].joined < v->merge[i - 1].joined)
            return cannot(v, err, "its merges are in another order than the ids of what they make");
    for (uint64_t i = 0; i < v->n; i++) {
        if (v->token[i].len == 0)
            return cannot(v, err, "a token without bytes");
        if (v->token[i].len == 1 && v->token[i].type == GK_TOKEN_NORMAL)
            single[(unsigned char)v->pool.data[v->token[i].off]] = true;
    }
    for (int b = 0; b < 256; b++)
        if (!single[b])
            return cannot(v, err, "a byte has no token");
    return true;
}

static void write_bytes(gk_text *out, const gk_vocabulary *v, const gk_token *t)
{
    gk_text_char(out, '[');
    for (uint32_t i = 0; i < t->len; i++)
        gk_text_printf(out, "%s%u", i > 0 ? "," : "",
                       (unsigned)(unsigned char)v->pool.data[t->off + i]);
    gk_text_char(out, ']');
}

/* Tokens that are normal, or those that are not; with their ids, or only the bytes. */
static void write_tokens(gk_text *out, const gk_vocabulary *v, bool normal, bool ids)
{
    bool any = false;

    for (uint64_t i = 0; i < v->n; i++) {
        if ((v->token[i].type == GK_TOKEN_NORMAL) != normal)
            continue;
        gk_text_str(out, any ? "," : "");
        gk_text_str(out, ids ? "{\"bytes\":" : "");
        write_bytes(out, v, &v->token[i]);
        if (ids)
            gk_text_printf(out, ",\"token\":%" PRIu64 "}", i);
        any = true;
    }
}

bool gk_vocabulary_tok_json(const gk_vocabulary *v, gk_text *out, gk_err *err)
{
    if (!can_write(v, err))
        return false;
    gk_text_str(out, "{\"regular_tokens\":[");
    write_tokens(out, v, true, true);
    gk_text_str(out, "],\"special_tokens\":[");
    write_tokens(out, v, false, true);
    gk_text_printf(out, "],\"vocab_size\":%" PRIu64 ",\"word_split\":\"V1\"", v->n);
    if (strcmp(v->pattern[0], gk_v1_pattern) != 0) {
        gk_text_str(out, ",\"pat_str\":");
        gk_json_string(out, NULL, v->pattern[0]);
    }
    gk_text_str(out, ",\"default_allowed_special\":[");
    write_tokens(out, v, false, false);
    gk_text_str(out, "]}\n");
    return gk_text_ok(out, err);
}
