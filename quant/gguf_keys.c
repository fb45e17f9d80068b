/* quant/gguf_keys.c - the keys of a GGUF: sizes, switches, tokens.
 *
 * Everything that llama.cpp would otherwise silently take from Grok-1 is written. Keys by
 * ggml-org/llama.cpp gguf-py/gguf/constants.py @0024aa74, conversion/grok.py @7bca1fd9. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "formats/byte_alphabet.h"
#include "formats/rope_factors.h"
#include "formats/vocabulary.h"
#include "quant/gguf_mix.h"
#include "quant/gguf_target.h"
#include "quant/model.h"

typedef struct maker {
    const gk_plan       *p;
    const gk_gguf_model *m;
    const gk_json       *config;
    gk_gguf_keys        *out;
    char                 key[96];
} maker;

static const char *key_of(maker *m, const char *key)
{
    snprintf(m->key, sizeof m->key, "%s.%s", m->m->arch, key);
    return m->key;
}

static void put_count(maker *m, const char *key, const char *name, uint64_t otherwise)
{
    uint64_t v = otherwise;
    double real;

    if (!gk_json_as_uint(gk_json_get(m->config, name), &v)
        && gk_json_as_real(gk_json_get(m->config, name), &real) && real >= 0 && real < 4294967296.0)
        v = (uint64_t)real;
    if (v > 0)
        gk_gguf_put_u32(m->out, key_of(m, key), v);
}

/* Nothing is written for a NaN. */
static void put_real(maker *m, const char *key, const char *name, double otherwise)
{
    double v = otherwise;

    gk_json_as_real(gk_json_get(m->config, name), &v);
    if (!isnan(v))
        gk_gguf_put_f32(m->out, key_of(m, key), v);
}

/* ---- what a file is --------------------------------------------------------------- */

/* The type that most bytes have. */
static gk_dtype commonest(const gk_plan *p)
{
    uint64_t bytes[GK_N_DTYPES] = {0};
    gk_dtype best = GK_F32;

    for (uint64_t i = 0; i < p->n_entries; i++)
        bytes[p->entry[i].dtype] += p->entry[i].bytes;
    for (int d = 0; d < GK_N_DTYPES; d++)
        if (bytes[d] > bytes[best])
            best = (gk_dtype)d;
    return best;
}

/* general.file_type: the mix, or that of the commonest type. */
static void put_file_type(const gk_plan *p, gk_gguf_keys *out)
{
    const gk_dtype type = commonest(p);
    bool quantized = false;
    uint32_t file_type = type == GK_F32 ? 0 : type == GK_F16 ? 1 : 32;

    for (int i = 0; gk_dtype_is_block(type) && i < GK_N_MIXES; i++)
        if (gk_mix_base(i) == type)
            file_type = gk_mix_file_type(i);
    if (p->mix >= 0)
        file_type = gk_mix_file_type(p->mix);
    /* blocks that are only carried along: the source knows what they make of a file */
    uint64_t said;
    if (!gk_has_codec(type) && gk_gguf_uint(p->from->gguf, "general.file_type", &said))
        file_type = (uint32_t)said;
    for (uint64_t i = 0; i < p->n_entries; i++)
        quantized |= gk_dtype_is_block((gk_dtype)p->entry[i].dtype);
    if (quantized)
        gk_gguf_put_u32(out, "general.quantization_version", 2);
    gk_gguf_put_u32(out, "general.file_type", file_type);
}

/* ---- architectures ---------------------------------------------------------------- */

uint64_t gk_gguf_head_dim(const gk_json *config, const gk_gguf_model *m)
{
    uint64_t hidden = 0, head_dim = 0;

    gk_json_as_uint(gk_json_get(config, "hidden_size"), &hidden);
    gk_json_as_uint(gk_json_get(config, "head_dim"), &head_dim);
    return head_dim == 0 && m->heads > 0 ? hidden / m->heads : head_dim;
}

double gk_gguf_rope_base(const gk_json *config)
{
    const char *type;
    double base = 10000;

    if (!gk_json_as_real(gk_json_get(config, "rope_theta"), &base))
        gk_json_as_real(gk_json_get(gk_rope_scaling(config, &type), "rope_theta"), &base);
    return base;
}

static void put_sizes(maker *m)
{
    const gk_gguf_model *g = m->m;
    const uint64_t head_dim = gk_gguf_head_dim(m->config, g);

    gk_gguf_put_u32(m->out, key_of(m, "block_count"), g->layers);
    put_count(m, "context_length", "max_position_embeddings", 0);
    put_count(m, "embedding_length", "hidden_size", 0);
    put_count(m, "feed_forward_length", "intermediate_size", 0);
    gk_gguf_put_u32(m->out, key_of(m, "attention.head_count"), g->heads);
    gk_gguf_put_u32(m->out, key_of(m, "attention.head_count_kv"), g->kv_heads);
    put_count(m, "attention.key_length", "head_dim", head_dim);
    put_count(m, "attention.value_length", "head_dim", head_dim);
    put_real(m, "attention.layer_norm_rms_epsilon", "rms_norm_eps", 1e-5);
    if (g->experts > 0) {
        gk_gguf_put_u32(m->out, key_of(m, "expert_count"), g->experts);
        put_count(m, "expert_used_count", "num_experts_per_tok", 2);
    }
}

/* "original" computes plain rope in SGLang; llama.cpp's own converter makes yarn of it. False:
 * ARG when yarn is asked for and nothing says how far. */
static bool put_grok_rope(maker *m, gk_err *err)
{
    const char *type = gk_json_text(gk_json_get(m->config, "rope_type"), NULL);
    const bool scaled = type != NULL && strcmp(type, "original") != 0
                        && strcmp(type, "default") != 0;
    const bool linear = scaled && strcmp(type, "linear") == 0
                        && m->p->options.gguf_rope != GK_GGUF_ROPE_YARN;

    if (m->p->options.gguf_rope == GK_GGUF_ROPE_PLAIN
        || (m->p->options.gguf_rope == GK_GGUF_ROPE_DEFAULT && !scaled))
        return true;
    if (gk_json_is_null(gk_json_get(m->config, "scaling_factor"))
        || (!linear && gk_json_is_null(gk_json_get(m->config, "original_max_position_embeddings"))))
        return gk_fail(err, GK_ERR_ARG, GK_NO_OFF,
                       "the config has no scaling_factor or no original_max_position_embeddings, "
                       "which scaled rope needs%s",
                       m->p->from->gguf != NULL ? "; a GGUF with plain rope does not keep them, "
                                                  "start from the release" : "");
    gk_gguf_put_string(m->out, key_of(m, "rope.scaling.type"), linear ? "linear" : "yarn");
    put_real(m, "rope.scaling.factor", "scaling_factor", 1);
    if (linear)
        return true;
    put_count(m, "rope.scaling.original_context_length", "original_max_position_embeddings", 0);
    put_real(m, "rope.scaling.yarn_ext_factor", "extrapolation_factor", 1);
    put_real(m, "rope.scaling.yarn_attn_factor", "attn_factor", 1);
    put_real(m, "rope.scaling.yarn_beta_fast", "beta_fast", 8);
    put_real(m, "rope.scaling.yarn_beta_slow", "beta_slow", 1);
    return true;
}

static bool put_grok(maker *m, gk_err *err)
{
    const bool grok2 = m->m->has_dense;
    const uint64_t head_dim = gk_gguf_head_dim(m->config, m->m);

    gk_gguf_put_string(m->out, "general.name", grok2 ? "Grok-2" : "Grok-1");
    put_sizes(m);
    put_real(m, "rope.freq_base", "rope_theta", 10000);
    put_count(m, "expert_feed_forward_length",
              grok2 ? "moe_intermediate_size" : "intermediate_size", 0);
    if (!put_grok_rope(m, err))
        return false;
    put_real(m, "embedding_scale", "embedding_multiplier_scale", 1);
    put_real(m, "logit_scale", "output_multiplier_scale", 1);
    put_real(m, "attention.output_scale", "attn_output_multiplier",
             head_dim > 0 ? 1 / sqrt((double)head_dim) : 1);
    put_real(m, "attn_logit_softcapping",
             gk_json_is_null(gk_json_get(m->config, "attn_logit_softcapping"))
                 ? "max_attn_value" : "attn_logit_softcapping", 30);
    put_real(m, "router_logit_softcapping", "router_logit_softcapping", 30);
    put_real(m, "final_logit_softcapping", "final_logit_softcapping", 0);
    put_count(m, "attention.temperature_length", "attn_temperature_len", 0);
    return true;
}

/* A llama3 scaling is a tensor and no key: quant/gguf_target.c makes it. */
static bool put_llama_rope(maker *m, gk_err *err)
{
    const gk_json *whole = m->config;
    const char *type;
    const gk_json *scaling = gk_rope_scaling(whole, &type);
    double number;

    gk_gguf_put_f32(m->out, key_of(m, "rope.freq_base"), gk_gguf_rope_base(whole));
    if (type == NULL || strcmp(type, "default") == 0 || strcmp(type, "llama3") == 0)
        return true;
    const bool yarn = strcmp(type, "yarn") == 0;
    if (!yarn && strcmp(type, "linear") != 0)
        return gk_fail(err, GK_ERR_UNSUPPORTED, GK_NO_OFF,
                       "rope_scaling of type %.40s has no place in a GGUF; linear, yarn and llama3 "
                       "have", type);
    if (!gk_json_as_real(gk_json_get(scaling, "factor"), &number))
        return gk_fail(err, GK_ERR_FORMAT, GK_NO_OFF, "rope_scaling of type %s has no factor",
                       type);
    gk_gguf_put_string(m->out, key_of(m, "rope.scaling.type"), type);
    gk_gguf_put_f32(m->out, key_of(m, "rope.scaling.factor"), number);
    m->config = scaling;
    if (yarn) {
        put_count(m, "rope.scaling.original_context_length", "original_max_position_embeddings", 0);
        put_real(m, "rope.scaling.yarn_ext_factor", "extrapolation_factor", NAN);
        put_real(m, "rope.scaling.yarn_attn_factor", "attention_factor", NAN);
        put_real(m, "rope.scaling.yarn_beta_fast", "beta_fast", NAN);
        put_real(m, "rope.scaling.yarn_beta_slow", "beta_slow", NAN);
    }
    m->config = whole;
    return true;
}

static bool put_llama(maker *m, gk_err *err)
{
    put_sizes(m);
    gk_gguf_put_u32(m->out, key_of(m, "rope.dimension_count"), gk_gguf_head_dim(m->config, m->m));
    put_count(m, "vocab_size", "vocab_size", 0);
    return put_llama_rope(m, err);
}

/* ---- tokens ----------------------------------------------------------------------- */

static void add_token(const gk_vocabulary *v, uint64_t i, gk_text *word, gk_gguf_keys *out)
{
    const char *bytes = v->pool.data + v->token[i].off;
    const uint64_t len = v->token[i].len;

    gk_text_clear(word);
    /* names of specials are text already; the rest is bytes */
    if (v->kind == GK_SENTENCEPIECE || v->token[i].type != GK_TOKEN_NORMAL)
        gk_text_add(word, bytes, len);
    else
        gk_alphabet_spell(word, bytes, len);
    gk_gguf_add_string(out, word->data, word->len);
    out->text.failed |= word->failed;
}

static void add_merge(const gk_vocabulary *v, const gk_merge *merge, gk_text *word,
                      gk_gguf_keys *out)
{
    const uint32_t side[2] = {merge->left, merge->right};

    gk_text_clear(word);
    for (int i = 0; i < 2; i++) {
        const gk_token *t = &v->token[side[i]];
        if (i > 0)
            gk_text_char(word, ' ');
        gk_alphabet_spell(word, v->pool.data + t->off, t->len);
    }
    gk_gguf_add_string(out, word->data, word->len);
    out->text.failed |= word->failed;
}

static void put_id(gk_gguf_keys *out, const char *key, int64_t id)
{
    if (id >= 0)
        gk_gguf_put_u32(out, key, (uint64_t)id);
}

/* Rows of the embedding beyond the last token become [PADi], unused. */
static uint64_t token_rows(const gk_plan *p, const gk_vocabulary *v)
{
    const gk_tensor *t = gk_catalog_find(p->from, "model.embed_tokens.weight");

    return t != NULL && gk_rows(t) > v->n ? gk_rows(t) : v->n;
}

static void put_tokens(const gk_plan *p, const gk_vocabulary *v, gk_gguf_keys *out)
{
    const uint64_t n = token_rows(p, v);
    gk_text word = {0};
    char pad[32];

    gk_gguf_put_array(out, "tokenizer.ggml.tokens", GK_GGUF_STRING, n);
    for (uint64_t i = 0; i < n; i++) {
        if (i < v->n) {
            add_token(v, i, &word, out);
        } else {
            snprintf(pad, sizeof pad, "[PAD%llu]", (unsigned long long)i);
            gk_gguf_add_string(out, pad, strlen(pad));
        }
    }
    if (v->kind == GK_SENTENCEPIECE) {
        gk_gguf_put_array(out, "tokenizer.ggml.scores", GK_GGUF_F32, n);
        for (uint64_t i = 0; i < n; i++)
            gk_gguf_add_f32(out, i < v->n ? v->token[i].score : -10000.0f);
    }
    gk_gguf_put_array(out, "tokenizer.ggml.token_type", GK_GGUF_I32, n);
    for (uint64_t i = 0; i < n; i++)
        gk_gguf_add_u32(out, i < v->n ? v->token[i].type : GK_TOKEN_UNUSED);
    if (v->kind != GK_SENTENCEPIECE) {
        gk_gguf_put_array(out, "tokenizer.ggml.merges", GK_GGUF_STRING, v->n_merges);
        for (uint64_t i = 0; i < v->n_merges; i++)
            add_merge(v, &v->merge[i], &word, out);
    }
    gk_text_free(&word);
}

/* llama.cpp cuts texts by a unigram model only under the name t5, but makes the characters
 * that have no piece unknown there: one with pieces for bytes keeps them under the name that
 * llama.cpp's own converter gives to all, at the price of another cut. */
static const char *model_of_pieces(const gk_vocabulary *v)
{
    for (uint64_t i = 0; v->is_unigram && i < v->n; i++)
        if (v->token[i].type == GK_TOKEN_BYTE)
            return "llama";
    return v->is_unigram ? "t5" : "llama";
}

/* How SentencePiece changes texts first; llama.cpp applies the last two under t5 only. */
static void put_normalizer(const gk_vocabulary *v, gk_gguf_keys *out)
{
    gk_gguf_put_bool(out, "tokenizer.ggml.add_space_prefix", v->add_space_prefix);
    gk_gguf_put_bool(out, "tokenizer.ggml.remove_extra_whitespaces", v->remove_extra_whitespaces);
    if (v->charsmap != NULL) {
        gk_gguf_put_array(out, "tokenizer.ggml.precompiled_charsmap", GK_GGUF_U8, v->charsmap_len);
        gk_text_add(&out->text, v->charsmap, v->charsmap_len);
    }
}

bool gk_gguf_keys_tokens(const gk_plan *p, gk_gguf_keys *out, gk_err *err)
{
    gk_vocabulary v;
    bool ok = gk_vocabulary_read(p->from, &v, err);

    if (ok && v.has_odd_merges) {
        gk_fail(err, GK_ERR_UNSUPPORTED, GK_NO_OFF,
                "no scores lead to its merges, and a GGUF has scores for pieces; "
                "tokenizer.model would have them");
        ok = gk_fail_at(err, v.file, NULL);
    } else if (ok && v.n == 0) {
        gk_gguf_put_string(out, "tokenizer.ggml.model", "none");
    } else if (ok && (v.kind == GK_SENTENCEPIECE || gk_vocabulary_merges(&v, err))) {
        const bool pieces = v.kind == GK_SENTENCEPIECE;
        gk_gguf_put_string(out, "tokenizer.ggml.model", pieces ? model_of_pieces(&v) : "gpt2");
        gk_gguf_put_string(out, "tokenizer.ggml.pre", v.pre != NULL ? v.pre : "default");
        put_tokens(p, &v, out);
        /* without an id llama.cpp takes 11 for both */
        put_id(out, "tokenizer.ggml.bos_token_id", v.bos >= 0 ? v.bos : v.sep);
        put_id(out, "tokenizer.ggml.eos_token_id", v.eos);
        put_id(out, "tokenizer.ggml.unknown_token_id", v.unk);
        put_id(out, "tokenizer.ggml.padding_token_id", v.pad);
        gk_gguf_put_bool(out, "tokenizer.ggml.add_bos_token", v.add_bos);
        gk_gguf_put_bool(out, "tokenizer.ggml.add_eos_token", v.add_eos);
        if (pieces)
            put_normalizer(&v, out);
        if (v.chat_template != NULL)
            gk_gguf_put_string(out, "tokenizer.chat_template", v.chat_template);
    } else {
        ok = false;
    }
    gk_vocabulary_free(&v);
    return ok && gk_text_ok(&out->text, err);
}

/* ---- all of them ------------------------------------------------------------------ */

/* All tensors stay what they were. */
static bool keeps_types(const gk_plan *p)
{
    for (uint64_t i = 0; i < p->n_items; i++)
        if (p->item[i].from->scheme != NULL || p->item[i].entry->dtype != p->item[i].from->dtype)
            return false;
    return true;
}

/* A GGUF brings its keys along, but for those that say how this one file is laid out. */
static bool is_about_the_file(const gk_plan *p, const char *key)
{
    static const char *const keys[]
        = {"general.alignment", "split.no", "split.count", "split.tensors.count"};

    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
        if (strcmp(key, keys[i]) == 0)
            return true;
    return p->options.gguf_rope != GK_GGUF_ROPE_DEFAULT
           && strncmp(key, "grok.rope.scaling.", 18) == 0;
}

static bool copy_keys(maker *m, gk_err *err)
{
    const gk_gguf *g = m->p->from->gguf;
    const bool same = keeps_types(m->p);

    for (uint64_t i = 0; i < g->n_values; i++) {
        const char *key = g->value[i].key;
        const bool type = strcmp(key, "general.file_type") == 0
                          || strcmp(key, "general.quantization_version") == 0;
        if (!is_about_the_file(m->p, key) && (same || !type)
            && !gk_gguf_put_value(m->out, g, &g->value[i], err))
            return false;
    }
    if (m->p->options.gguf_rope == GK_GGUF_ROPE_YARN && strcmp(m->m->arch, "grok") == 0
        && !put_grok_rope(m, err))
        return false;
    if (!same)
        put_file_type(m->p, m->out);
    return true;
}

bool gk_gguf_keys_make(const gk_plan *p, const gk_gguf_model *model, gk_gguf_keys *out, gk_err *err)
{
    maker m = {.p = p, .m = model, .config = p->from->config, .out = out};

    if (p->from->gguf != NULL)
        return copy_keys(&m, err);
    gk_gguf_put_string(out, "general.architecture", model->arch);
    gk_gguf_put_string(out, "general.type", "model");
    if (!(strcmp(model->arch, "grok") == 0 ? put_grok : put_llama)(&m, err))
        return false;
    put_file_type(p, out);
    return gk_gguf_keys_tokens(p, out, err);
}
