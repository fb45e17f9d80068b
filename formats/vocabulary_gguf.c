/* formats/vocabulary_gguf.c - the keys tokenizer.* of a GGUF.
 *
 *   tokenizer.ggml.model        "gpt2": byte level BPE, "llama": SentencePiece; no other
 *   tokenizer.ggml.pre          how words are cut, see vocabulary_pre.c
 *   tokenizer.ggml.tokens       strings; of gpt2 in GPT-2's alphabet, specials verbatim
 *   tokenizer.ggml.token_type   integers, optional: all normal
 *   tokenizer.ggml.scores       numbers, optional
 *   tokenizer.ggml.merges       "left right"; a llama vocabulary has none
 *   tokenizer.ggml.add_space_prefix, remove_extra_whitespaces   of llama; true, false
 *   tokenizer.ggml.{bos,eos,unknown,padding,seperator}_token_id (sic), add_{bos,eos}_token
 *   tokenizer.chat_template
 *
 * Source: ggml-org/llama.cpp gguf-py/gguf/constants.py @0024aa74, src/llama-vocab.cpp. */
#include "formats/vocabulary_parts.h"

#include <inttypes.h>
#include <string.h>

#include "formats/gguf.h"

#define KEY(name) "tokenizer.ggml." name

typedef struct walk {
    gk_vocabulary *v;
    const gk_gguf *g;
    unsigned char *window;
    gk_text text, scratch;
    gk_err *err;
} walk;

static bool bad(const walk *w, const char *key, const char *what)
{
    return gk_fail(w->err, GK_ERR_FORMAT, GK_NO_OFF, "'%s': %s", key, what);
}

static bool begin(walk *w, gk_gguf_cursor *k, const char *key, uint64_t n)
{
    const gk_gguf_value *value = gk_gguf_find(w->g, key);

    if (value->type != GK_GGUF_ARRAY || (n > 0 && value->n != n))
        return gk_fail(w->err, GK_ERR_FORMAT, value->off,
                       "'%s' is %s of %" PRIu64 ", expected an array, one for each of %" PRIu64
                       " tokens",
                       key, value->type == GK_GGUF_ARRAY ? "an array" : "no array", value->n, n);
    gk_gguf_walk(k, w->g, value, w->window, w->err);
    return true;
}

/* Tokens come first, all as normal ones and as they are spelled. */
static bool read_tokens(walk *w)
{
    static const char key[] = KEY("tokens");
    gk_gguf_cursor k;

    if (!begin(w, &k, key, 0))
        return false;
    while (gk_gguf_next_string(&k, &w->text))
        if (!gk_vocabulary_add(w->v, w->text.data == NULL ? "" : w->text.data, w->text.len,
                               GK_TOKEN_NORMAL, 0, w->err))
            return false;
    if (k.failed)
        return false;
    return k.left == 0 || bad(w, key, "its elements are no strings");
}

static bool read_types(walk *w)
{
    static const char key[] = KEY("token_type");
    gk_gguf_cursor k;
    int64_t type;

    if (gk_gguf_find(w->g, key) == NULL)
        return true;
    if (!begin(w, &k, key, w->v->n))
        return false;
    for (uint64_t i = 0; gk_gguf_next_int(&k, &type); i++) {
        if (type < GK_TOKEN_NORMAL || type > GK_TOKEN_BYTE)
            return bad(w, key, "a type that is none of 1 .. 6");
        w->v->token[i].type = (uint8_t)type;
    }
    if (k.failed)
        return false;
    return k.left == 0 || bad(w, key, "its elements are no integers");
}

static bool read_scores(walk *w)
{
    static const char key[] = KEY("scores");
    gk_gguf_cursor k;
    double score;

    if (gk_gguf_find(w->g, key) == NULL)
        return true;
    if (!begin(w, &k, key, w->v->n))
        return false;
    for (uint64_t i = 0; gk_gguf_next_real(&k, &score); i++)
        w->v->token[i].score = (float)score;
    if (k.failed)
        return false;
    return k.left == 0 || bad(w, key, "its elements are no numbers");
}

/* A blank parts the sides; the alphabet has none. */
static bool read_merges(walk *w)
{
    static const char key[] = KEY("merges");
    gk_bpe b = {0};
    gk_gguf_cursor k;

    if (gk_gguf_find(w->g, key) == NULL)
        return true;
    bool ok = begin(w, &k, key, 0) && gk_bpe_init(&b, w->v, w->err);
    while (ok && gk_gguf_next_string(&k, &w->text)) {
        char *blank = w->text.len < 3 ? NULL
                                      : memchr(w->text.data + 1, ' ', (size_t)w->text.len - 1);
        ok = blank != NULL || bad(w, key, "a merge without a blank between its sides");
        if (!ok)
            break;
        const uint64_t len_left = (uint64_t)(blank - w->text.data);
        memmove(blank, blank + 1, (size_t)(w->text.len - len_left)); /* the NUL too */
        w->text.len--;
        ok = gk_vocabulary_add_merge(w->v, &b, &w->text, len_left, &w->scratch, w->err);
    }
    gk_bpe_free(&b);
    if (!ok || k.failed)
        return false;
    w->v->has_merges = true;
    return k.left == 0 || bad(w, key, "its elements are no strings");
}

static int64_t id_of(const walk *w, const char *key)
{
    uint64_t id;

    /* llama.cpp disables what is out of range, too */
    return gk_gguf_uint(w->g, key, &id) && id < w->v->n ? (int64_t)id : -1;
}

/* llama.cpp's own ids, for keys that a llama vocabulary does not have. */
static int64_t id_or(const walk *w, const char *key, int64_t otherwise)
{
    const bool there = gk_gguf_find(w->g, key) != NULL || w->v->kind != GK_SENTENCEPIECE
                       || (uint64_t)otherwise >= w->v->n;

    return there ? id_of(w, key) : otherwise;
}

static bool read_ids(walk *w)
{
    gk_vocabulary *v = w->v;

    v->bos = id_or(w, KEY("bos_token_id"), 1);
    v->eos = id_or(w, KEY("eos_token_id"), 2);
    v->unk = id_or(w, KEY("unknown_token_id"), 0);
    v->pad = id_of(w, KEY("padding_token_id"));
    v->sep = id_of(w, KEY("seperator_token_id"));
    gk_gguf_bool(w->g, KEY("add_bos_token"), &v->add_bos);
    gk_gguf_bool(w->g, KEY("add_eos_token"), &v->add_eos);
    v->chat_template = gk_gguf_string(w->g, "tokenizer.chat_template", v->arena, NULL, w->err);
    return w->err->code == GK_OK;
}

/* ggml's tokens of type normal are spelled; all others stand as they are. */
static bool read_gpt2(walk *w)
{
    gk_vocabulary *v = w->v;

    v->kind = GK_BPE_MERGES;
    for (uint64_t i = 0; i < v->n; i++)
        if (v->token[i].type == GK_TOKEN_NORMAL
            && !gk_vocabulary_unspell(v, i, &w->scratch, w->err))
            return false;
    v->pre = gk_gguf_string(w->g, KEY("pre"), v->arena, NULL, w->err);
    if (w->err->code != GK_OK)
        return false;
    if (v->pre == NULL)
        v->pre = "default"; /* what llama.cpp does, with a warning */
    gk_vocabulary_patterns_of_pre(v);
    if (v->n_patterns == 0)
        v->cannot = gk_arena_printf(v->arena, w->err, "the pre-tokenizer '%.60s' is unknown here",
                                    v->pre);
    if ((v->n_patterns == 0 && v->cannot == NULL) || !read_merges(w))
        return false;
    if (!v->has_merges && v->cannot == NULL)
        v->cannot = gk_arena_printf(v->arena, w->err, "%s", "it brings no merges");
    return v->has_merges || v->cannot != NULL;
}

static bool read_model(walk *w, const char *model)
{
    if (model == NULL)
        return w->err->code == GK_OK ? bad(w, KEY("model"), "no such key, but there are tokens")
                                     : false;
    if (strcmp(model, "gpt2") != 0 && strcmp(model, "llama") != 0)
        return gk_fail(w->err, GK_ERR_UNSUPPORTED, GK_NO_OFF,
                       "its tokens are of the kind '%.60s', which is none of gpt2, llama", model);
    if (!read_tokens(w) || !read_types(w) || !read_scores(w))
        return false;
    if (strcmp(model, "llama") == 0) {
        w->v->kind = GK_SENTENCEPIECE;
        w->v->add_bos = w->v->add_space_prefix = true;
        gk_gguf_bool(w->g, KEY("add_space_prefix"), &w->v->add_space_prefix);
        gk_gguf_bool(w->g, KEY("remove_extra_whitespaces"), &w->v->remove_extra_whitespaces);
    } else if (!read_gpt2(w)) {
        return false;
    }
    return read_ids(w);
}

bool gk_vocabulary_from_gguf(gk_vocabulary *v, const gk_catalog *c, gk_err *err)
{
    gk_err own = {0}; /* getters tell an absent key from an error only by this */
    walk w = {.v = v, .g = c->gguf, .err = &own};

    v->file = c->gguf->file->name;
    w.window = gk_alloc(GK_GGUF_WINDOW_BYTES, 1, &own);
    bool ok = w.window != NULL
              && read_model(&w, gk_gguf_string(w.g, KEY("model"), v->arena, NULL, &own));
    gk_free(w.window);
    gk_text_free(&w.text);
    gk_text_free(&w.scratch);
    if (ok)
        return true;
    gk_fail_at(&own, v->file, NULL);
    if (err->code == GK_OK)
        *err = own;
    return false;
}
