/* formats/sentencepiece.c - SentencePiece's tokenizer.model, and the tokens added beside it.
 *
 *   ModelProto
 *     1  pieces, one a token, in the order of the ids:
 *          1 piece (string)   2 score (float)   3 type (as ggml numbers them; absent: normal)
 *     2  trainer_spec:
 *          3 model_type (1 unigram, 2 bpe, 3 word, 4 char; absent: 1)
 *          24 treat_whitespace_as_suffix
 *          40 unk_id   41 bos_id   42 eos_id   43 pad_id (absent: 0, 1, 2, -1)
 *     3  normalizer_spec:
 *          2 precompiled_charsmap (bytes)   3 add_dummy_prefix
 *          4 remove_extra_whitespaces       5 escape_whitespaces (absent: all three true)
 *
 * Source: google/sentencepiece src/sentencepiece_model.proto 0.2. Hugging Face's directories
 * add tokens in added_tokens.json and tokenizer_config.json, which are taken as llama.cpp's
 * converter takes them (ggml-org/llama.cpp conversion/base.py, _create_vocab_sentencepiece).
 *
 * What changes texts before they are cut (a charsmap, blanks that are dropped) is read, but
 * then no text can be encoded; nor with a unigram model, which looks for the best cut of a
 * whole text instead of merging. */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "formats/grok2.h"
#include "formats/protobuf.h"
#include "formats/vocabulary_parts.h"

#define MAX_CHARSMAP_BYTES (16u << 20)
#define ADDED_SCORE        (-1000.0f)

enum { UNIGRAM = 1, BPE = 2 };

typedef struct load {
    gk_vocabulary *v;
    gk_protobuf p;
    int64_t model_type, unk, bos, eos, pad;
    bool suffix, escape;
    gk_text text;
    gk_err *err;
} load;

/* ---- the file ---------------------------------------------------------------------- */

static bool read_piece(load *l, const gk_protobuf_field *message)
{
    int64_t type = GK_TOKEN_NORMAL;
    float score = 0;
    gk_protobuf_field f;
    uint64_t end;

    gk_text_clear(&l->text);
    bool ok = gk_protobuf_enter(&l->p, message, &end);
    while (ok && gk_protobuf_next(&l->p, &f)) {
        if (f.number == 1)
            ok = gk_protobuf_string(&l->p, &f, "a piece", GK_MAX_TOKEN_BYTES, &l->text);
        else if (f.number == 2)
            ok = gk_protobuf_float(&l->p, &f, "a piece's score", &score);
        else if (f.number == 3)
            ok = gk_protobuf_int(&l->p, &f, "a piece's type", &type);
    }
    if (!ok || l->p.failed)
        return false;
    gk_protobuf_leave(&l->p, end);
    if (l->text.len == 0)
        return gk_protobuf_refuse(&l->p, message->off, "piece %" PRIu64 " is empty", l->v->n);
    if (type < GK_TOKEN_NORMAL || type > GK_TOKEN_BYTE)
        return gk_protobuf_refuse(&l->p, message->off,
                                  "piece %" PRIu64 " has the type %" PRId64 ", none of 1 .. 6",
                                  l->v->n, type);
    if (isnan(score))
        return gk_protobuf_refuse(&l->p, message->off, "the score of piece %" PRIu64 " is a NaN",
                                  l->v->n);
    return gk_vocabulary_add(l->v, l->text.data, l->text.len, (gk_token_type)type, score, l->err);
}

static bool read_trainer(load *l, const gk_protobuf_field *message)
{
    gk_protobuf_field f;
    uint64_t end;

    bool ok = gk_protobuf_enter(&l->p, message, &end);
    while (ok && gk_protobuf_next(&l->p, &f)) {
        switch (f.number) {
        case 3: ok = gk_protobuf_int(&l->p, &f, "model_type", &l->model_type); break;
        case 24: ok = gk_protobuf_bool(&l->p, &f, "treat_whitespace_as_suffix", &l->suffix); break;
        case 40: ok = gk_protobuf_int(&l->p, &f, "unk_id", &l->unk); break;
        case 41: ok = gk_protobuf_int(&l->p, &f, "bos_id", &l->bos); break;
        case 42: ok = gk_protobuf_int(&l->p, &f, "eos_id", &l->eos); break;
        case 43: ok = gk_protobuf_int(&l->p, &f, "pad_id", &l->pad); break;
        default: break;
        }
    }
    if (!ok || l->p.failed)
        return false;
    gk_protobuf_leave(&l->p, end);
    return true;
}

static bool read_charsmap(load *l, const gk_protobuf_field *f)
{
    char *bytes = NULL;

    if (f->type != GK_PROTOBUF_BYTES)
        return gk_protobuf_refuse(&l->p, f->off, "precompiled_charsmap has the wire type %d",
                                  (int)f->type);
    if (f->n > MAX_CHARSMAP_BYTES)
        return gk_fail(l->err, GK_ERR_LIMIT, f->off, "a charsmap of more than %u bytes",
                       MAX_CHARSMAP_BYTES);
    if (f->n > 0) { /* they lie in the file, so it is no more than that */
        bytes = gk_arena_alloc(l->v->arena, f->n, 1, l->err);
        if (bytes == NULL || !gk_file_read(l->p.file, f->body, bytes, f->n, l->err))
            return false;
    }
    l->v->charsmap = bytes;
    l->v->charsmap_len = f->n;
    return true;
}

static bool read_normalizer(load *l, const gk_protobuf_field *message)
{
    gk_vocabulary *v = l->v;
    gk_protobuf_field f;
    uint64_t end;

    bool ok = gk_protobuf_enter(&l->p, message, &end);
    while (ok && gk_protobuf_next(&l->p, &f)) {
        switch (f.number) {
        case 2: ok = read_charsmap(l, &f); break;
        case 3: ok = gk_protobuf_bool(&l->p, &f, "add_dummy_prefix", &v->add_space_prefix); break;
        case 4:
            ok = gk_protobuf_bool(&l->p, &f, "remove_extra_whitespaces",
                                  &v->remove_extra_whitespaces);
            break;
        case 5: ok = gk_protobuf_bool(&l->p, &f, "escape_whitespaces", &l->escape); break;
        default: break;
        }
    }
    if (!ok || l->p.failed)
        return false;
    gk_protobuf_leave(&l->p, end);
    return true;
}

/* A file of tiktoken's often has the same name: base64, a blank, a number, line by line. */
static bool is_ranks(const gk_file *f)
{
    static const char letters[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=";
    char head[64] = "";
    gk_err ignored = {0};
    const uint64_t n = f->size < sizeof head - 1 ? f->size : sizeof head - 1;

    if (!gk_file_read(f, 0, head, n, &ignored))
        return false;
    const size_t word = strspn(head, letters);
    const size_t digits = word > 0 && head[word] == ' ' ? strspn(head + word + 1, "0123456789") : 0;
    return digits > 0 && head[word + 1 + digits] == '\n';
}

static bool read_file(load *l)
{
    gk_protobuf_field f;
    bool ok = true;

    while (ok && gk_protobuf_next(&l->p, &f)) {
        if (f.number == 1)
            ok = read_piece(l, &f);
        else if (f.number == 2)
            ok = read_trainer(l, &f);
        else if (f.number == 3)
            ok = read_normalizer(l, &f);
    }
    if (!ok || l->p.failed)
        return false;
    return l->v->n > 0 || gk_protobuf_refuse(&l->p, l->p.file->size, "no pieces");
}

/* ---- what it means ------------------------------------------------------------------ */

static int64_t special_id(const load *l, int64_t id, gk_token_type type)
{
    return id >= 0 && (uint64_t)id < l->v->n && l->v->token[id].type == type ? id : -1;
}

static bool settle(load *l)
{
    gk_vocabulary *v = l->v;

    if (l->model_type != UNIGRAM && l->model_type != BPE)
        return gk_fail(l->err, GK_ERR_UNSUPPORTED, GK_NO_OFF,
                       "its model_type is %" PRId64 ", which is neither unigram nor BPE",
                       l->model_type);
    v->is_unigram = l->model_type == UNIGRAM;
    v->unk = special_id(l, l->unk, GK_TOKEN_UNKNOWN);
    v->bos = special_id(l, l->bos, GK_TOKEN_CONTROL);
    v->eos = special_id(l, l->eos, GK_TOKEN_CONTROL);
    v->pad = special_id(l, l->pad, GK_TOKEN_CONTROL);
    if (v->is_unigram)
        v->cannot = "it is a unigram model of SentencePiece's, and only BPE is applied here";
    else if (v->charsmap != NULL)
        v->cannot = "its normalizer replaces characters (precompiled_charsmap)";
    else if (v->remove_extra_whitespaces)
        v->cannot = "its normalizer drops blanks (remove_extra_whitespaces)";
    else if (l->suffix || !l->escape)
        v->cannot = "it writes blanks in another way (treat_whitespace_as_suffix, "
                    "escape_whitespaces)";
    return true;
}

static void unblank(gk_text *out, const char *s, uint64_t len)
{
    gk_text_clear(out);
    for (uint64_t i = 0; i < len;) {
        const bool blank = len - i >= 3 && memcmp(s + i, GK_BLANK, 3) == 0;
        gk_text_char(out, blank ? ' ' : s[i]);
        i += blank ? 3 : 1;
    }
}

/* SentencePiece cuts user-defined pieces out first. llama.cpp does that with type 4, but
 * puts a blank before the text behind each of them, which would come between the digits and
 * newlines that Grok-1 has as such pieces. As normal ones they are found by merging, without
 * a blank: their score is the highest, and no other piece has their characters. So that is
 * their type, unless merges as good as their own do not lead to them; those stay of type 4,
 * which llama.cpp looks for in the text itself, where a blank is a blank. A piece that is
 * spelled with a real blank is found by neither of SentencePiece's own two searches. */
static bool sort_user_defined(load *l)
{
    gk_vocabulary *v = l->v;
    gk_bpe b = {0};
    gk_ids ids = {0};

    bool ok = gk_bpe_init(&b, v, l->err);
    for (uint32_t i = 0; ok && i < v->n; i++) {
        const gk_token t = v->token[i];
        if (t.type != GK_TOKEN_USER_DEFINED)
            continue;
        ids.n = 0;
        /* characters without a piece or byte end in an error, which only says "not so" */
        gk_err own = {0};
        const bool merged = gk_bpe_merge(&b, v->pool.data + t.off, t.len, b.rank[i] + 1, &ids,
                                         &own);
        if ((merged && ids.n == 1 && ids.id[0] == i)
            || memchr(v->pool.data + t.off, ' ', t.len) != NULL)
            v->token[i].type = GK_TOKEN_NORMAL;
        ok = own.code != GK_ERR_NOMEM || gk_fail(l->err, own.code, own.off, "%s", own.msg);
    }
    gk_ids_free(&ids);
    gk_bpe_free(&b);
    for (uint64_t i = 0; ok && i < v->n; i++) {
        gk_token *t = &v->token[i];
        if (t->type != GK_TOKEN_USER_DEFINED)
            continue;
        unblank(&l->text, v->pool.data + t->off, t->len);
        ok = gk_text_ok(&l->text, l->err);
        if (ok) { /* never longer than it was */
            memcpy(v->pool.data + t->off, l->text.data, (size_t)l->text.len);
            t->len = (uint32_t)l->text.len;
        }
    }
    return ok;
}

/* ---- tokens that were added --------------------------------------------------------- */

static bool add_token(load *l, uint64_t id, const char *content, uint64_t len, bool special)
{
    if (special) {
        gk_text_clear(&l->text);
        gk_text_add(&l->text, content, len);
    } else {
        unblank(&l->text, content, len);
    }
    return gk_text_ok(&l->text, l->err)
           && gk_vocabulary_set(l->v, id, l->text.data, l->text.len,
                                special ? GK_TOKEN_CONTROL : GK_TOKEN_USER_DEFINED, ADDED_SCORE,
                                l->err);
}

/* {"<name>": id, ...} */
static bool add_named(load *l, const gk_json *tree, uint64_t rows)
{
    const gk_json *value;
    const char *name;
    uint64_t id;
    bool ok = true;

    for (void *k = NULL; ok && gk_json_next(tree, &k, &name, &value);)
        if (gk_json_as_uint(value, &id) && id < rows && name[0] != '\0')
            ok = add_token(l, id, name, strlen(name), false);
    return ok;
}

static bool read_number(const char *text, uint64_t *out)
{
    *out = 0;
    for (const char *p = text; *p != '\0'; p++) {
        if (*p < '0' || *p > '9' || p - text > 9)
            return false;
        *out = *out * 10 + (uint64_t)(*p - '0');
    }
    return text[0] != '\0';
}

/* {"added_tokens_decoder": {"id": {"content": "<name>", "special": true, ...}, ...}, ...} */
static bool add_decoded(load *l, const gk_json *tree, uint64_t rows)
{
    const gk_json *list = gk_json_get(tree, "added_tokens_decoder"), *token;
    const char *name;
    uint64_t id, len;
    bool ok = true;

    for (void *k = NULL; ok && gk_json_next(list, &k, &name, &token);) {
        const char *content = gk_json_text(gk_json_get(token, "content"), &len);
        bool special = false;
        if (content == NULL || len == 0 || !read_number(name, &id) || id >= rows)
            continue;
        gk_json_as_bool(gk_json_get(token, "special"), &special);
        ok = add_token(l, id, content, len, special || gk_vocabulary_looks_special(content, len));
    }
    gk_json_as_bool(gk_json_get(tree, "add_prefix_space"), &l->v->add_space_prefix);
    return ok;
}

static bool read_added(load *l, const gk_catalog *c)
{
    const gk_extra *named = gk_extra_find(c, "added_tokens.json");
    const gk_extra *config = gk_extra_find(c, "tokenizer_config.json");
    const gk_extra *extra[] = {named, config};
    uint64_t rows = UINT64_MAX; /* of the embedding; what is beyond has no meaning */
    gk_bpe b = {0};
    bool ok = true;

    gk_json_as_uint(gk_json_get(c->config, "vocab_size"), &rows);
    for (int i = 0; ok && i < 2; i++) {
        if (extra[i] == NULL)
            continue;
        gk_json *tree = gk_vocabulary_json(l->v->arena, extra[i], l->err);
        ok = tree != NULL && (i == 0 ? add_named : add_decoded)(l, tree, rows);
        gk_json_free(tree);
    }
    ok = ok && ((named == NULL && config == NULL) || gk_bpe_init(&b, l->v, l->err));
    gk_bpe_free(&b);
    return ok;
}

bool gk_vocabulary_from_sentencepiece(gk_vocabulary *v, const gk_catalog *c, const gk_extra *extra,
                                      gk_err *err)
{
    load l = {.v = v, .model_type = UNIGRAM, .bos = 1, .eos = 2, .pad = -1, .escape = true};

    v->file = extra->name;
    v->kind = GK_SENTENCEPIECE;
    /* as llama.cpp does it when nothing is said; but a Grok-1 is given texts as they are
     * (xai-org/grok-1 runners.py, InferenceRunner.run: SentencePiece's encode(prompt)) */
    v->add_bos = gk_family_of(c->config) != GK_FAMILY_GROK1;
    v->add_space_prefix = v->remove_extra_whitespaces = true;
    l.err = l.p.err = err;
    gk_file *file = gk_extra_open(v->arena, extra, err);
    bool ok = file != NULL;
    if (ok && is_ranks(file)) {
        ok = gk_fail(err, GK_ERR_UNSUPPORTED, GK_NO_OFF,
                     "it is a list of ranks (tiktoken's), not a model of SentencePiece");
    } else if (ok) {
        l.p.file = file;
        l.p.end = file->size;
        ok = read_file(&l) && settle(&l) && sort_user_defined(&l) && read_added(&l, c);
    }
    gk_file_close(file);
    gk_text_free(&l.text);
    return ok || gk_fail_at(err, extra->name, NULL);
}
