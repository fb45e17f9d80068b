/* formats/vocabulary_hf.c - Hugging Face's tokenizer.json, BPE only.
 *
 *   {"added_tokens":[{"id":0,"content":"<|pad|>","special":true, ...}, ...],
 *    "normalizer":null,
 *    "pre_tokenizer":{"type":"Sequence","pretokenizers":[
 *        {"type":"Split","pattern":{"Regex":"..."},"behavior":"Isolated"},
 *        {"type":"ByteLevel","add_prefix_space":false,"use_regex":false}]},
 *    "post_processor":null or {"type":"TemplateProcessing","single":[...]},
 *    "model":{"type":"BPE","ignore_merges":false,
 *        "vocab":{"!":0, ...},                  spelled in GPT-2's alphabet
 *        "merges":["a b", ...] or [["a","b"], ...]}}
 *
 * SentencePiece's BPE (Llama 2, Mistral) has characters with byte_fallback, and blanks are made
 * U+2581 either by
 *    "normalizer":{"type":"Sequence","normalizers":[{"type":"Prepend","prepend":"\u2581"},
 *        {"type":"Replace","pattern":{"String":" "},"content":"\u2581"}]}, "pre_tokenizer":null
 * or by
 *    "normalizer":null, "pre_tokenizer":{"type":"Metaspace","replacement":"\u2581",
 *        "prepend_scheme":"first","split":false}
 *
 * Vocabulary and merges are walked, the rest is small. Other models, and BPE over anything
 * else, are UNSUPPORTED; what changes texts before they are cut (normalizers other than
 * NFC, stripping specials) is read, but then no text can be encoded. Source:
 * huggingface/tokenizers 0.23. */
#include "formats/vocabulary_parts.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "formats/scan.h"

#define MAX_SMALL_BYTES (8u << 20) /* of a member that is parsed as a tree */

typedef struct entry {
    uint64_t id, off, len; /* as spelled, in the pool */
    bool added, special;
} entry;

typedef struct load {
    gk_vocabulary *v;
    gk_file *file;
    gk_scan s;
    gk_scan merges; /* where they begin; merges.err is NULL before */
    gk_text key, text, scratch, pool;
    entry *row;
    uint64_t n, cap;
    gk_json *pre_tokenizer, *normalizer, *post_processor;
    gk_text unk;
    bool has_vocab, byte_level, byte_fallback, normalized_names;
    gk_err *err;
} load;

static bool key_is(const load *l, const char *name)
{
    return l->key.len == strlen(name) && memcmp(l->key.data, name, (size_t)l->key.len) == 0;
}

static bool text_is(const gk_json *node, const char *key, const char *wanted)
{
    const char *text = gk_json_text(gk_json_get(node, key), NULL);

    return text != NULL && strcmp(text, wanted) == 0;
}

static bool is_true(const gk_json *node, const char *key)
{
    bool value = false;

    return gk_json_as_bool(gk_json_get(node, key), &value) && value;
}

static bool unsupported(load *l, const char *why)
{
    return gk_fail(l->err, GK_ERR_UNSUPPORTED, GK_NO_OFF, "%s", why);
}

static void cannot(load *l, const char *why)
{
    if (l->v->cannot == NULL)
        l->v->cannot = why;
}

/* Takes the next value; *root is its tree when it is an object, else NULL. */
static bool take_tree(load *l, gk_json **root)
{
    const bool is_object = gk_scan_peek(&l->s) == '{';
    const uint64_t begin = l->s.pos;

    *root = NULL;
    if (!gk_scan_skip(&l->s) || !is_object)
        return !l->s.failed;
    const uint64_t len = l->s.pos - begin;
    if (len > MAX_SMALL_BYTES)
        return gk_fail(l->err, GK_ERR_LIMIT, begin, "a member of more than %u bytes",
                       MAX_SMALL_BYTES);
    char *text = gk_alloc(len + 1, 1, l->err);
    if (text != NULL && gk_file_read(l->file, begin, text, len, l->err))
        *root = gk_json_parse(text, len, l->file->name, l->err);
    gk_free(text);
    return *root != NULL;
}

static bool add_row(load *l, const entry *e, const char *bytes)
{
    void *rows = l->row;

    if (l->n >= GK_MAX_TOKENS || e->id >= GK_MAX_TOKENS)
        return gk_scan_fail(&l->s, "more than %u tokens", GK_MAX_TOKENS);
    if (!gk_grow(&rows, &l->cap, l->n + 1, sizeof *e, l->err))
        return false;
    l->row = rows;
    l->row[l->n] = *e;
    l->row[l->n++].off = l->pool.len;
    gk_text_add(&l->pool, bytes, e->len);
    return gk_text_ok(&l->pool, l->err);
}

static bool read_added(load *l)
{
    bool ok = gk_scan_open(&l->s, '[');

    while (ok && gk_scan_more(&l->s)) {
        entry e = {.added = true};
        gk_json *token;
        ok = take_tree(l, &token);
        const char *content = gk_json_text(gk_json_get(token, "content"), &e.len);
        if (ok && (content == NULL || !gk_json_as_uint(gk_json_get(token, "id"), &e.id)))
            ok = gk_scan_fail(&l->s, "an added token without \"id\" or \"content\"");
        if (ok
            && (is_true(token, "lstrip") || is_true(token, "rstrip")
                || is_true(token, "single_word")))
            cannot(l, "it has added tokens that strip blanks or stand as single words");
        l->normalized_names |= is_true(token, "normalized");
        e.special = is_true(token, "special")
                    || (ok && gk_vocabulary_looks_special(content, e.len));
        ok = ok && add_row(l, &e, content);
        gk_json_free(token);
    }
    return ok && !l->s.failed;
}

/* ---- the model ------------------------------------------------------------------ */

static bool read_vocab(load *l)
{
    bool ok = gk_scan_peek(&l->s) == '{' || unsupported(l, "its \"vocab\" is no object");

    ok = ok && gk_scan_open(&l->s, '{');
    while (ok && gk_scan_more(&l->s)) {
        entry e = {0};
        ok = gk_scan_key(&l->s, &l->text) && gk_scan_uint(&l->s, &e.id);
        e.len = l->text.len;
        ok = ok && add_row(l, &e, l->text.data == NULL ? "" : l->text.data);
    }
    l->has_vocab = true;
    return ok && !l->s.failed;
}

static bool read_flag(load *l, bool *out)
{
    *out = gk_scan_peek(&l->s) == 't';
    return gk_scan_skip(&l->s);
}

/* null, or a string which replaces *out. */
static bool read_string(load *l, gk_text *out)
{
    return gk_scan_peek(&l->s) == 'n' ? gk_scan_skip(&l->s) : gk_scan_string(&l->s, out);
}

static bool read_model_member(load *l)
{
    if (!gk_scan_key(&l->s, &l->key))
        return false;
    if (key_is(l, "type")) {
        gk_text_clear(&l->text);
        return read_string(l, &l->text)
               && ((l->text.len == 3 && memcmp(l->text.data, "BPE", 3) == 0)
                   || unsupported(l, "its model is not BPE"));
    }
    if (key_is(l, "vocab"))
        return l->has_vocab ? gk_scan_fail(&l->s, "duplicate key \"vocab\"") : read_vocab(l);
    if (key_is(l, "merges")) { /* they need the vocabulary, wherever that stands */
        gk_scan_peek(&l->s);
        l->merges = l->s;
        l->merges.window_len = 0; /* by then the window holds something else */
        return gk_scan_skip(&l->s);
    }
    if (key_is(l, "ignore_merges"))
        return read_flag(l, &l->v->ignore_merges);
    if (key_is(l, "byte_fallback"))
        return read_flag(l, &l->byte_fallback);
    if (key_is(l, "unk_token"))
        return read_string(l, &l->unk);
    if (key_is(l, "continuing_subword_prefix") || key_is(l, "end_of_word_suffix")) {
        gk_text_clear(&l->text);
        if (!read_string(l, &l->text))
            return false;
        if (l->text.len > 0)
            cannot(l, "its BPE marks parts of words by a prefix or suffix");
        return true;
    }
    return gk_scan_skip(&l->s);
}

static bool read_model(load *l)
{
    bool ok = gk_scan_open(&l->s, '{');

    while (ok && gk_scan_more(&l->s))
        ok = read_model_member(l);
    return ok && !l->s.failed;
}

static bool read_member(load *l)
{
    gk_json **tree;

    if (!gk_scan_key(&l->s, &l->key))
        return false;
    if (key_is(l, "added_tokens"))
        return gk_scan_peek(&l->s) == '[' ? read_added(l) : gk_scan_skip(&l->s);
    if (key_is(l, "model"))
        return read_model(l);
    if (key_is(l, "pre_tokenizer"))
        tree = &l->pre_tokenizer;
    else if (key_is(l, "normalizer"))
        tree = &l->normalizer;
    else if (key_is(l, "post_processor"))
        tree = &l->post_processor;
    else
        return gk_scan_skip(&l->s);
    if (*tree != NULL)
        return gk_scan_fail(&l->s, "duplicate key \"%s\"", l->key.data);
    return take_tree(l, tree);
}

/* ---- tokens by id, merges --------------------------------------------------------- */

static int by_id(const void *a, const void *b)
{
    const entry *x = a, *y = b;

    if (x->id != y->id)
        return x->id < y->id ? -1 : 1;
    return x->added - y->added;
}

/* "<0x0A>" */
static bool is_byte(const char *s, uint64_t len)
{
    return len == 6 && memcmp(s, "<0x", 3) == 0 && s[5] == '>'
           && strspn(s + 3, "0123456789ABCDEF") == 2;
}

static gk_token_type type_of(const load *l, const entry *e)
{
    if (e->added)
        return e->special ? GK_TOKEN_CONTROL : GK_TOKEN_USER_DEFINED;
    return l->v->kind == GK_SENTENCEPIECE && is_byte(l->pool.data + e->off, e->len)
               ? GK_TOKEN_BYTE
               : GK_TOKEN_NORMAL;
}

/* An added token stands over the one of the vocabulary that has its id. */
static bool add_tokens(load *l)
{
    uint64_t holes = 0;

    if (l->n == 0)
        return true;
    qsort(l->row, (size_t)l->n, sizeof *l->row, by_id);
    for (uint64_t i = 0; i < l->n; i++) {
        const entry *e = &l->row[i];
        const bool again = i + 1 < l->n && l->row[i + 1].id == e->id;
        if (again && l->row[i + 1].added == e->added)
            return gk_fail(l->err, GK_ERR_FORMAT, GK_NO_OFF,
                           "duplicate: two tokens have the id %" PRIu64, e->id);
        if (again)
            continue;
        for (; l->v->n < e->id; holes++)
            if (holes >= GK_MAX_HOLES || !gk_vocabulary_add_hole(l->v, &l->scratch, l->err))
                return gk_fail(l->err, GK_ERR_LIMIT, GK_NO_OFF, "more than %d ids have no token",
                               GK_MAX_HOLES);
        if (!gk_vocabulary_add(l->v, l->pool.data + e->off, e->len, type_of(l, e), 0, l->err)
            || (!e->added && l->v->kind != GK_SENTENCEPIECE
                && !gk_vocabulary_unspell(l->v, l->v->n - 1, &l->scratch, l->err)))
            return false;
    }
    return true;
}

/* Takes "left right" or ["left","right"]; both sides end up side by side in text. */
static bool take_merge(load *l, uint64_t *len_left)
{
    gk_scan *s = &l->merges;

    if (gk_scan_peek(s) == '[') {
        const bool ok = gk_scan_open(s, '[') && gk_scan_more(s) && gk_scan_string(s, &l->text)
                        && gk_scan_more(s) && gk_scan_string(s, &l->scratch);
        if (!ok || gk_scan_more(s))
            return gk_scan_fail(s, "a merge that is no pair of strings");
        *len_left = l->text.len;
        gk_text_add(&l->text, l->scratch.data == NULL ? "" : l->scratch.data, l->scratch.len);
        return gk_text_ok(&l->text, l->err);
    }
    if (!gk_scan_string(s, &l->text))
        return false;
    char *blank = l->text.len < 3 ? NULL : memchr(l->text.data + 1, ' ', (size_t)l->text.len - 1);
    if (blank == NULL)
        return gk_scan_fail(s, "a merge without a blank between its sides");
    *len_left = (uint64_t)(blank - l->text.data);
    memmove(blank, blank + 1, (size_t)(l->text.len - *len_left)); /* the NUL too */
    l->text.len--;
    return true;
}

static bool is_part(const gk_bpe *b, const char *s, uint64_t len)
{
    return gk_bpe_find(b, s, len) != GK_NO_TOKEN || (uint64_t)gk_utf8_len(s, len) == len;
}

/* In how many places llama.cpp could put token id together. */
static uint64_t count_cuts(const gk_bpe *b, uint32_t id)
{
    const gk_token *t = &b->v->token[id];
    const char *s = b->v->pool.data + t->off;
    uint64_t n = 0;

    for (uint64_t k = 1; k < t->len; k++)
        n += ((unsigned char)s[k] & 0xC0) != 0x80 && is_part(b, s, k)
             && is_part(b, s + k, t->len - k);
    return n;
}

/* Scores that lead to the same merges, for a GGUF: of what a merge makes, its place in the
 * list. They do when the merges that make a token stand together and are all there can be. */
static bool score_merges(load *l)
{
    gk_vocabulary *v = l->v;
    gk_bpe b = {0};
    bool *made = gk_alloc(v->n, sizeof *made, l->err);
    bool ok = made != NULL && gk_bpe_init(&b, v, l->err);

    if (made != NULL)
        memset(made, 0, (size_t)v->n);
    for (uint64_t i = 0, next; ok && i < v->n_merges; i = next) {
        const uint32_t id = v->merge[i].joined;
        for (next = i; next < v->n_merges && v->merge[next].joined == id;)
            next++;
        v->has_odd_merges |= made[id] || count_cuts(&b, id) != next - i;
        made[id] = true;
        v->token[id].score = -(float)i;
    }
    for (uint32_t i = 0; ok && i < v->n; i++)
        if (!made[i] && v->token[i].type == GK_TOKEN_NORMAL)
            v->has_odd_merges |= count_cuts(&b, i) > 0;
    gk_bpe_free(&b);
    gk_free(made);
    return ok;
}

static bool read_merges(load *l)
{
    gk_bpe b = {0};
    uint64_t len_left = 0;

    if (l->merges.err == NULL)
        return true;
    bool ok = gk_bpe_init(&b, l->v, l->err) && gk_scan_open(&l->merges, '[');
    while (ok && gk_scan_more(&l->merges))
        ok = take_merge(l, &len_left)
             && gk_vocabulary_add_merge(l->v, &b, &l->text, len_left, &l->scratch, l->err);
    gk_bpe_free(&b);
    l->v->has_merges = ok && !l->merges.failed;
    return l->v->has_merges && (l->v->kind != GK_SENTENCEPIECE || score_merges(l));
}

/* ---- what is small ----------------------------------------------------------------- */

static bool add_pattern(load *l, const char *pattern)
{
    if (l->v->n_patterns == GK_MAX_PATTERNS) {
        cannot(l, "it cuts words in more than four steps");
        return true;
    }
    const char *copy = gk_arena_str(l->v->arena, pattern, l->err);
    l->v->pattern[l->v->n_patterns++] = copy;
    return copy != NULL;
}

static bool read_step(load *l, const gk_json *step)
{
    if (text_is(step, "type", "ByteLevel")) {
        bool use_regex = true; /* files before this key existed mean yes */
        gk_json_as_bool(gk_json_get(step, "use_regex"), &use_regex);
        l->byte_level = true;
        if (is_true(step, "add_prefix_space"))
            cannot(l, "it puts a blank before every text");
        return !use_regex || add_pattern(l, gk_gpt2_pattern);
    }
    if (text_is(step, "type", "Digits"))
        return add_pattern(l, is_true(step, "individual_digits") ? "\\p{N}" : "\\p{N}+");
    if (text_is(step, "type", "Split") && text_is(step, "behavior", "Isolated")) {
        const char *regex = gk_json_text(gk_json_get(gk_json_get(step, "pattern"), "Regex"), NULL);
        if (regex != NULL)
            return add_pattern(l, regex);
    }
    cannot(l, "its pre-tokenizer has a step that is unknown here");
    return true;
}

/* NFC alone, or nothing. */
static bool read_normalizer(load *l, const gk_json *node)
{
    const gk_json *list = gk_json_get(node, "normalizers");
    bool ok = true;

    if (node == NULL)
        return true;
    if (text_is(node, "type", "NFC"))
        return l->v->is_nfc = true;
    if (!text_is(node, "type", "Sequence"))
        return false;
    for (uint64_t i = 0; ok && i < gk_json_count(list); i++)
        ok = text_is(gk_json_at(list, i), "type", "NFC");
    l->v->is_nfc = ok && gk_json_count(list) > 0;
    return ok;
}

/* ---- SentencePiece's blanks --------------------------------------------------------- */

/* {"type":"Replace"}: a blank becomes U+2581; {"type":"Prepend"}: one more comes first. */
static bool read_blanks(load *l, const gk_json *node, bool *replaced)
{
    if (text_is(node, "type", "Replace") && text_is(node, "content", GK_BLANK)
        && text_is(gk_json_get(node, "pattern"), "String", " "))
        return *replaced = true;
    if (!text_is(node, "type", "Prepend") || !text_is(node, "prepend", GK_BLANK) || *replaced)
        return false;
    return l->v->add_space_prefix = true;
}

static bool read_metaspace(load *l, const gk_json *node)
{
    const char *scheme = gk_json_text(gk_json_get(node, "prepend_scheme"), NULL);
    bool split = true, prefix = true;

    gk_json_as_bool(gk_json_get(node, "split"), &split);
    gk_json_as_bool(gk_json_get(node, "add_prefix_space"), &prefix);
    if (!text_is(node, "type", "Metaspace") || !text_is(node, "replacement", GK_BLANK) || split)
        return false;
    l->v->add_space_prefix = scheme == NULL ? prefix : strcmp(scheme, "never") != 0;
    l->v->prefix_first = scheme != NULL && strcmp(scheme, "first") == 0;
    l->v->prefix_missing = true;
    return true;
}

/* Returns whether the model is SentencePiece's, and sets the kind then. */
static bool read_pieces(load *l)
{
    const gk_json *list = gk_json_get(l->normalizer, "normalizers");
    bool ok = l->byte_fallback, replaced = false;

    if (l->pre_tokenizer != NULL)
        ok = ok && l->normalizer == NULL && read_metaspace(l, l->pre_tokenizer);
    else if (text_is(l->normalizer, "type", "Sequence"))
        for (uint64_t i = 0; ok && i < gk_json_count(list); i++)
            ok = read_blanks(l, gk_json_at(list, i), &replaced);
    else
        ok = ok && read_blanks(l, l->normalizer, &replaced);
    if (!ok || (l->pre_tokenizer == NULL && !replaced))
        return false;
    if (l->normalizer != NULL && l->normalized_names)
        cannot(l, "it has added tokens that are looked for in the normalized text");
    if (l->v->ignore_merges)
        cannot(l, "it takes whole texts that are a token at once (ignore_merges)");
    l->v->kind = GK_SENTENCEPIECE;
    return true;
}

static bool read_steps(load *l)
{
    const gk_json *steps = gk_json_get(l->pre_tokenizer, "pretokenizers");
    bool ok = true;

    if (read_pieces(l))
        return true;
    if (!text_is(l->pre_tokenizer, "type", "Sequence"))
        ok = l->pre_tokenizer == NULL || read_step(l, l->pre_tokenizer);
    else
        for (uint64_t i = 0; ok && i < gk_json_count(steps); i++)
            ok = read_step(l, gk_json_at(steps, i));
    if (!ok || !l->byte_level)
        return ok && unsupported(l, "its BPE is not over bytes (no ByteLevel pre-tokenizer)");
    if (!read_normalizer(l, l->normalizer))
        cannot(l, "it changes texts by a normalizer, and none is applied here");
    if (l->v->n_patterns == 0 && l->v->cannot == NULL)
        cannot(l, "it does not cut texts into words");
    if (l->v->cannot == NULL)
        gk_vocabulary_pre_of_patterns(l->v);
    return true;
}

/* The template of a single text: specials before and after it. */
static void read_template(load *l, const gk_json *processor)
{
    const gk_json *single = gk_json_get(processor, "single");
    const uint64_t n = gk_json_count(single);

    if (!text_is(processor, "type", "TemplateProcessing") || !gk_json_is_array(single) || n < 2)
        return;
    const gk_json *first = gk_json_get(gk_json_at(single, 0), "SpecialToken");
    const gk_json *last = gk_json_get(gk_json_at(single, n - 1), "SpecialToken");
    const char *bos = gk_json_text(gk_json_get(first, "id"), NULL);
    const char *eos = gk_json_text(gk_json_get(last, "id"), NULL);
    if (bos != NULL)
        l->v->bos = gk_vocabulary_special(l->v, bos);
    if (eos != NULL)
        l->v->eos = gk_vocabulary_special(l->v, eos);
    l->v->add_bos = l->v->bos >= 0 && bos != NULL;
    l->v->add_eos = l->v->eos >= 0 && eos != NULL;
}

static void read_post_processor(load *l)
{
    const gk_json *list = gk_json_get(l->post_processor, "processors");

    read_template(l, l->post_processor);
    for (uint64_t i = 0; gk_json_is_array(list) && i < gk_json_count(list); i++)
        read_template(l, gk_json_at(list, i));
}

static bool read_file(load *l, char *window)
{
    gk_scan_file(&l->s, l->file, 0, l->file->size, window, l->err);
    bool ok = gk_scan_open(&l->s, '{');
    while (ok && gk_scan_more(&l->s))
        ok = read_member(l);
    ok = ok && !l->s.failed && gk_scan_done(&l->s);
    if (ok && !l->has_vocab)
        ok = gk_scan_fail(&l->s, "\"model\" with a \"vocab\" is missing");
    if (!ok || !read_steps(l) || !add_tokens(l) || !read_merges(l))
        return false;
    l->v->unk = l->unk.len > 0 ? gk_vocabulary_special(l->v, l->unk.data) : -1;
    read_post_processor(l);
    return true;
}

bool gk_vocabulary_from_hf(gk_vocabulary *v, const gk_extra *extra, gk_err *err)
{
    load l = {.v = v, .file = gk_extra_open(v->arena, extra, err), .err = err};
    char *window = l.file == NULL ? NULL : gk_alloc(GK_SCAN_WINDOW_BYTES, 1, err);

    v->kind = GK_BPE_MERGES;
    v->file = extra->name;
    const bool ok = window != NULL && read_file(&l, window);
    gk_file_close(l.file);
    gk_free(window);
    gk_text_free(&l.key);
    gk_text_free(&l.text);
    gk_text_free(&l.scratch);
    gk_text_free(&l.pool);
    gk_text_free(&l.unk);
    gk_free(l.row);
    gk_json_free(l.pre_tokenizer);
    gk_json_free(l.normalizer);
    gk_json_free(l.post_processor);
    return ok || gk_fail_at(err, extra->name, NULL);
}
