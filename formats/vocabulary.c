/* formats/vocabulary.c - which source to read, and what all of them have in common. */
#include "formats/vocabulary.h"

#include <inttypes.h>
#include <string.h>

#include "formats/byte_alphabet.h"
#include "formats/gguf.h"
#include "formats/vocabulary_parts.h"

#define MAX_TEMPLATE_BYTES (1u << 20)

static const char tok_json[] = "tokenizer.tok.json", hf_json[] = "tokenizer.json",
                  pieces_model[] = "tokenizer.model";

/* llama.cpp knows a Grok-2 template by the words from 'Assistant: ' to <|separator|>, both
 * blanks before the plus included (src/llama-chat.cpp). */
const char gk_grok2_chat_template[]
    = "{%- for message in messages -%}\n"
      "{%- if message['role'] == 'user' -%}\n"
      "{{- 'Human: ' + (message['content'] | trim) + '<|separator|>\\n\\n' -}}\n"
      "{%- elif message['role'] == 'system' -%}\n"
      "{{- 'System: ' + (message['content'] | trim) + '<|separator|>\\n\\n' -}}\n"
      "{%- elif message['role'] == 'assistant' -%}\n"
      "{{- 'Assistant: '  + message['content'] + '<|separator|>\\n\\n' -}}\n"
      "{%- else -%}\n"
      "{{- raise_exception('a message is of user, system or assistant') -}}\n"
      "{%- endif -%}\n"
      "{%- endfor -%}\n"
      "{%- if add_generation_prompt -%}\n"
      "{{- 'Assistant:' -}}\n"
      "{%- endif -%}\n";

/* ---- for the readers ------------------------------------------------------------- */

bool gk_vocabulary_add(gk_vocabulary *v, const char *bytes, uint64_t len, gk_token_type type,
                       float score, gk_err *err)
{
    void *rows = v->token;

    if (v->n >= GK_MAX_TOKENS)
        return gk_fail(err, GK_ERR_LIMIT, GK_NO_OFF, "more than %u tokens", GK_MAX_TOKENS);
    if (len > GK_MAX_TOKEN_BYTES)
        return gk_fail(err, GK_ERR_LIMIT, GK_NO_OFF, "token %" PRIu64 " has more than %d bytes",
                       v->n, GK_MAX_TOKEN_BYTES);
    if (v->n == v->token_cap && !gk_grow(&rows, &v->token_cap, v->n + 1, sizeof *v->token, err))
        return false;
    v->token = rows;
    v->token[v->n++] = (gk_token){
        .off = v->pool.len, .len = (uint32_t)len, .type = (uint8_t)type, .score = score};
    gk_text_add(&v->pool, bytes, len);
    return gk_text_ok(&v->pool, err);
}

/* As llama.cpp's converter calls it. */
bool gk_vocabulary_add_hole(gk_vocabulary *v, gk_text *scratch, gk_err *err)
{
    gk_text_clear(scratch);
    gk_text_printf(scratch, "[PAD%" PRIu64 "]", v->n);
    return gk_text_ok(scratch, err)
           && gk_vocabulary_add(v, scratch->data, scratch->len, GK_TOKEN_UNUSED,
                                GK_PAD_SCORE, err);
}

bool gk_vocabulary_set(gk_vocabulary *v, uint64_t i, const char *bytes, uint64_t len,
                       gk_token_type type, float score, gk_err *err)
{
    gk_text scratch = {0};
    bool ok = i < GK_MAX_TOKENS && (i < v->n || i - v->n <= GK_MAX_HOLES);

    if (!ok)
        return gk_fail(err, GK_ERR_LIMIT, GK_NO_OFF,
                       "a token of id %" PRIu64 " among %" PRIu64 ", more than %d ids have none", i,
                       v->n, GK_MAX_HOLES);
    while (ok && v->n < i)
        ok = gk_vocabulary_add_hole(v, &scratch, err);
    gk_text_free(&scratch);
    ok = ok && gk_vocabulary_add(v, bytes, len, type, score, err);
    if (ok && i + 1 < v->n) { /* it stands behind the last one: it moves to its place */
        v->n--;
        v->token[i] = v->token[v->n];
    }
    return ok;
}

bool gk_vocabulary_looks_special(const char *name, uint64_t len)
{
    return len > 4 && memcmp(name, "<|", 2) == 0 && memcmp(name + len - 2, "|>", 2) == 0;
}

bool gk_vocabulary_unspell(gk_vocabulary *v, uint64_t i, gk_text *scratch, gk_err *err)
{
    gk_token *t = &v->token[i];

    gk_text_clear(scratch);
    if (t->len == 0)
        return true;
    /* a spelling is never shorter than its bytes, so these fit where it stood */
    if (gk_alphabet_read(scratch, v->pool.data + t->off, t->len)) {
        if (!gk_text_ok(scratch, err))
            return false;
        memcpy(v->pool.data + t->off, scratch->data, (size_t)scratch->len);
        t->len = (uint32_t)scratch->len;
    } else {
        t->type = GK_TOKEN_UNUSED;
    }
    return gk_text_ok(scratch, err);
}

/* Pieces of SentencePiece's are spelled as they are. */
static bool read_side(const gk_vocabulary *v, gk_text *out, const char *spelled, uint64_t len)
{
    if (v->kind != GK_SENTENCEPIECE)
        return gk_alphabet_read(out, spelled, len);
    gk_text_add(out, spelled, len);
    return true;
}

bool gk_vocabulary_add_merge(gk_vocabulary *v, const gk_bpe *b, const gk_text *spelled,
                             uint64_t len_left, gk_text *scratch, gk_err *err)
{
    void *rows = v->merge;
    gk_merge m = {GK_NO_TOKEN, GK_NO_TOKEN, GK_NO_TOKEN};

    if (v->n_merges >= 4 * GK_MAX_TOKENS)
        return gk_fail(err, GK_ERR_LIMIT, GK_NO_OFF, "more than %u merges", 4 * GK_MAX_TOKENS);
    gk_text_clear(scratch);
    if (len_left > 0 && len_left < spelled->len
        && read_side(v, scratch, spelled->data, len_left)) {
        const uint64_t middle = scratch->len;
        if (read_side(v, scratch, spelled->data + len_left, spelled->len - len_left)
            && gk_text_ok(scratch, err)) {
            m.left = gk_bpe_find(b, scratch->data, middle);
            m.right = gk_bpe_find(b, scratch->data + middle, scratch->len - middle);
            m.joined = gk_bpe_find(b, scratch->data, scratch->len);
        }
    }
    if (!gk_text_ok(scratch, err))
        return false;
    if (m.left == GK_NO_TOKEN || m.right == GK_NO_TOKEN || m.joined == GK_NO_TOKEN)
        return gk_fail(err, GK_ERR_FORMAT, GK_NO_OFF, "merge %" PRIu64 " (\"%.60s\"): %s no token",
                       v->n_merges, spelled->data == NULL ? "" : spelled->data,
                       m.left == GK_NO_TOKEN || m.right == GK_NO_TOKEN ? "a side of it is"
                                                                       : "what it makes is");
    if (!gk_grow(&rows, &v->merge_cap, v->n_merges + 1, sizeof m, err))
        return false;
    v->merge = rows;
    v->merge[v->n_merges++] = m;
    return true;
}

/* ---- files beside the tokenizer ---------------------------------------------------- */

gk_json *gk_vocabulary_json(gk_arena *a, const gk_extra *extra, gk_err *err)
{
    gk_file *f = gk_extra_open(a, extra, err);
    uint64_t len;
    char *text = f == NULL ? NULL : gk_file_text(f, GK_MAX_JSON_BYTES, &len, err);
    gk_json *root = text == NULL ? NULL : gk_json_parse(text, len, extra->name, err);

    gk_free(text);
    gk_file_close(f);
    return root;
}

static bool read_jinja(gk_vocabulary *v, const gk_extra *extra, gk_err *err)
{
    gk_file *f = gk_extra_open(v->arena, extra, err);
    uint64_t len;
    char *text = f == NULL ? NULL : gk_file_text(f, MAX_TEMPLATE_BYTES, &len, err);

    gk_file_close(f);
    if (text == NULL)
        return false;
    v->chat_template = gk_arena_strn(v->arena, text, len, err);
    gk_free(text);
    return v->chat_template != NULL;
}

/* The template is a text, or a list of named ones. */
static const char *find_template(const gk_json *config)
{
    const gk_json *t = gk_json_get(config, "chat_template");

    for (uint64_t i = 0; gk_json_is_array(t) && i < gk_json_count(t); i++) {
        const char *name = gk_json_text(gk_json_get(gk_json_at(t, i), "name"), NULL);
        if (name != NULL && strcmp(name, "default") == 0)
            return gk_json_text(gk_json_get(gk_json_at(t, i), "template"), NULL);
    }
    return gk_json_text(t, NULL);
}

int64_t gk_vocabulary_special(const gk_vocabulary *v, const char *name)
{
    const uint64_t len = strlen(name);

    for (uint64_t i = 0; i < v->n; i++)
        if (v->token[i].type != GK_TOKEN_NORMAL && v->token[i].len == len
            && memcmp(v->pool.data + v->token[i].off, name, (size_t)len) == 0)
            return (int64_t)i;
    return -1;
}

/* A special of tokenizer_config.json is its name, or an object with it. */
static void name_special(const gk_vocabulary *v, const gk_json *config, const char *key,
                         int64_t *id)
{
    const gk_json *node = gk_json_get(config, key);
    const char *name = gk_json_text(gk_json_is_object(node) ? gk_json_get(node, "content") : node,
                                    NULL);
    const int64_t found = name == NULL ? -1 : gk_vocabulary_special(v, name);

    if (found >= 0)
        *id = found;
}

static bool read_config(gk_vocabulary *v, const gk_extra *extra, bool is_hf, gk_err *err)
{
    gk_json *config = gk_vocabulary_json(v->arena, extra, err);
    bool ok = config != NULL;

    if (ok && is_hf) {
        name_special(v, config, "bos_token", &v->bos);
        name_special(v, config, "eos_token", &v->eos);
        name_special(v, config, "unk_token", &v->unk);
        name_special(v, config, "pad_token", &v->pad);
        name_special(v, config, "sep_token", &v->sep);
        gk_json_as_bool(gk_json_get(config, "add_bos_token"), &v->add_bos);
        gk_json_as_bool(gk_json_get(config, "add_eos_token"), &v->add_eos);
    }
    const char *template = ok ? find_template(config) : NULL;
    if (template != NULL) {
        v->chat_template = gk_arena_str(v->arena, template, err);
        ok = v->chat_template != NULL;
    }
    gk_json_free(config);
    return ok;
}

static bool read_beside(const gk_catalog *c, gk_vocabulary *v, bool is_hf, gk_err *err)
{
    const gk_extra *config = gk_extra_find(c, "tokenizer_config.json");
    const gk_extra *jinja = gk_extra_find(c, "chat_template.jinja");

    return (config == NULL || read_config(v, config, is_hf, err))
           && (jinja == NULL || read_jinja(v, jinja, err));
}

/* ---- reading ------------------------------------------------------------------- */

static bool has_gguf(const gk_catalog *c)
{
    return gk_gguf_find(c->gguf, "tokenizer.ggml.tokens") != NULL;
}

bool gk_vocabulary_has(const gk_catalog *c)
{
    return has_gguf(c) || gk_extra_find(c, tok_json) != NULL || gk_extra_find(c, hf_json) != NULL
           || gk_extra_find(c, pieces_model) != NULL;
}

static bool begin(gk_vocabulary *v, gk_err *err)
{
    *v = (gk_vocabulary){.bos = -1, .eos = -1, .unk = -1, .pad = -1, .sep = -1};
    v->arena = gk_arena_new(err);
    return v->arena != NULL;
}

/* A tokenizer.json that is of no kind read here often says what the tokenizer.model beside
 * it says: Llama's is BPE over characters. */
static bool read_hf_or_pieces(const gk_catalog *c, gk_vocabulary *v, gk_err *err)
{
    const gk_extra *hf = gk_extra_find(c, hf_json), *pieces = gk_extra_find(c, pieces_model);
    gk_err own = {0};

    if (hf != NULL) {
        /* of the same pieces tokenizer.model has the scores */
        if (gk_vocabulary_from_hf(v, hf, &own)
            && (pieces == NULL || (v->cannot == NULL && v->kind != GK_SENTENCEPIECE)))
            return read_beside(c, v, true, err);
        if (pieces == NULL || (own.code != GK_OK && own.code != GK_ERR_UNSUPPORTED))
            return *err = own, false;
        gk_vocabulary_free(v);
        if (!begin(v, err))
            return false;
    }
    return pieces == NULL
           || (gk_vocabulary_from_sentencepiece(v, c, pieces, err) && read_beside(c, v, true, err));
}

static bool read_any(const gk_catalog *c, gk_vocabulary *v, uint64_t embedding_rows,
                     gk_findings *found, gk_err *err)
{
    const gk_extra *tok = gk_extra_find(c, tok_json);

    if (!begin(v, err))
        return false;
    if (has_gguf(c))
        return gk_vocabulary_from_gguf(v, c, err);
    if (tok != NULL)
        return gk_vocabulary_from_tok_json(v, tok, embedding_rows, found, err)
               && (v->n == 0 || read_beside(c, v, false, err));
    return read_hf_or_pieces(c, v, err);
}

bool gk_vocabulary_read(const gk_catalog *c, gk_vocabulary *out, gk_err *err)
{
    *out = (gk_vocabulary){0};
    gk_findings found = {.arena = gk_arena_new(err)};
    const bool ok = found.arena != NULL && read_any(c, out, 0, &found, err)
                    && gk_findings_refuse(&found, err);

    gk_findings_free(&found);
    gk_arena_free(found.arena);
    return ok;
}

bool gk_vocabulary_check(const gk_catalog *c, uint64_t embedding_rows, gk_findings *out,
                         gk_err *err)
{
    gk_vocabulary v = {0};
    gk_err own = {0};
    bool ok = true;

    if (!read_any(c, &v, embedding_rows, out, &own)) {
        if (own.code == GK_ERR_UNSUPPORTED)
            ok = gk_findings_addf(out, "tokenizer", GK_NOTE, own.file, NULL, err, "%s", own.msg);
        else
            ok = gk_findings_take(out, "tokenizer", &own, err);
    } else if (v.kind != GK_BPE_RANKS && embedding_rows > 0 && v.n > embedding_rows) {
        ok = gk_findings_addf(out, "tokenizer", GK_BAD, v.file, NULL, err,
                              "token %" PRIu64 " has no row in the embedding (vocab_size)",
                              embedding_rows);
    }
    gk_vocabulary_free(&v);
    return ok;
}

void gk_vocabulary_free(gk_vocabulary *v)
{
    gk_text_free(&v->pool);
    gk_free(v->token);
    gk_free(v->merge);
    gk_arena_free(v->arena);
    *v = (gk_vocabulary){0};
}

/* ---- merges ---------------------------------------------------------------------- */

static bool derive(gk_vocabulary *v, const gk_bpe *b, uint32_t id, gk_ids *parts, gk_err *err)
{
    void *rows = v->merge;
    const gk_token *t = &v->token[id];

    parts->n = 0;
    if (!gk_bpe_merge(b, v->pool.data + t->off, t->len, id, parts, err))
        return false;
    if (parts->n != 2) {
        v->n_unmerged++;
        return true;
    }
    if (!gk_grow(&rows, &v->merge_cap, v->n_merges + 1, sizeof *v->merge, err))
        return false;
    v->merge = rows;
    v->merge[v->n_merges++] = (gk_merge){parts->id[0], parts->id[1], id};
    return true;
}

bool gk_vocabulary_merges(gk_vocabulary *v, gk_err *err)
{
    gk_bpe b = {0};
    gk_ids parts = {0};

    if (v->has_merges || v->kind != GK_BPE_RANKS)
        return true;
    bool ok = gk_bpe_init(&b, v, err);
    for (uint32_t id = 0; ok && id < v->n; id++)
        if (v->token[id].type == GK_TOKEN_NORMAL && v->token[id].len >= 2)
            ok = derive(v, &b, id, &parts, err);
    v->has_merges = ok;
    gk_ids_free(&parts);
    gk_bpe_free(&b);
    return ok;
}
