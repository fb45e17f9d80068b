/* formats/gguf_config.c - the config.json that the keys of a GGUF amount to.
 *
 * Keys by ggml-org/llama.cpp gguf-py/gguf/constants.py and src/models/grok.cpp @8a5c4e0;
 * config.json of Grok-2 by sgl-project/sglang srt/models/grok.py @031ad4ce, the others by
 * transformers' LlamaConfig, MixtralConfig and Qwen2Config. Where a key is absent and
 * llama.cpp goes on with a number of its own, that number is what the file means to it:
 * it is put into the config, and a finding says so. For grok those are Grok-1's numbers,
 * so a Grok-2 without its keys would quietly compute something else. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/gguf.h"
#include "formats/reader.h"
#include "formats/rope_factors.h"

#define MAX_FACTORS 512u /* half the widest head that is recognized */

typedef struct maker {
    gk_catalog *c;
    const gk_gguf *g;
    gk_text text;
    bool own_defaults; /* llama.cpp's differ from a config.json's: say each */
    char key[128];
    gk_err *err;
    bool ok;
} maker;

/* ---- keys ------------------------------------------------------------------------ */

static void say(maker *m, gk_severity severity, const char *text)
{
    m->ok = m->ok
            && gk_findings_addf(&m->c->findings, "keys", severity, m->g->file->name, NULL, m->err,
                                "%s: %s", m->key, text);
}

static const gk_gguf_value *find(maker *m, const char *key)
{
    snprintf(m->key, sizeof m->key, "%s.%s", m->g->arch, key);
    return gk_gguf_find(m->g, m->key);
}

/* Returns true and the count behind ARCH.key. A value that is none is as good as absent. */
static bool get_count(maker *m, const char *key, uint64_t *out)
{
    const gk_gguf_value *v = find(m, key);

    if (v == NULL)
        return false;
    if (!gk_gguf_uint(m->g, m->key, out)) {
        say(m, GK_BAD,
            v->type == GK_GGUF_ARRAY ? "an array: one count for all layers is expected"
                                     : "not an integer >= 0");
        return false;
    }
    if (v->type != GK_GGUF_U32)
        say(m, GK_WARN, "not of type u32, without which llama.cpp refuses the file");
    return true;
}

/* The same without a word, 0 when there is none. */
static uint64_t count_of(maker *m, const char *key)
{
    uint64_t v = 0;

    find(m, key);
    gk_gguf_uint(m->g, m->key, &v);
    return v;
}

static bool get_real(maker *m, const char *key, double *out)
{
    const gk_gguf_value *v = find(m, key);

    if (v == NULL)
        return false;
    if (!gk_gguf_real(m->g, m->key, out) || !isfinite(*out)) {
        say(m, GK_BAD, "not a finite number");
        return false;
    }
    if (v->type != GK_GGUF_F32)
        say(m, GK_WARN, "not of type f32, without which llama.cpp refuses the file");
    return true;
}

/* Says that a key is not there and what stands in for it; a value that is there but
 * unusable has its finding already. For Llama the stand-ins are what everybody takes. */
static void say_default(maker *m, double value)
{
    char text[96];

    snprintf(text, sizeof text, "missing: llama.cpp silently takes %.9g, and so does this config",
             value);
    if (m->own_defaults && gk_gguf_find(m->g, m->key) == NULL)
        say(m, GK_WARN, text);
}

/* ---- members --------------------------------------------------------------------- */

/* The fewest digits that give the same float back, for what was one; integers in full. */
static void put_real(maker *m, const char *name, double v)
{
    char digits[40];

    if ((double)(float)v != v) {
        gk_json_real(&m->text, name, v);
        return;
    }
    for (int precision = 1; precision <= 9; precision++) {
        snprintf(digits, sizeof digits, "%.*g", precision, v);
        if (strtof(digits, NULL) == (float)v)
            break;
    }
    if (fabs(v) < 1e15 && v == trunc(v))
        snprintf(digits, sizeof digits, "%.0f", v);
    if (strspn(digits, "-0123456789") == strlen(digits))
        strcat(digits, ".0");
    gk_json_raw(&m->text, name, digits, strlen(digits));
}

/* A count without which llama.cpp refuses the file. Returns it, 0 when absent. */
static uint64_t need_count(maker *m, const char *key, const char *name)
{
    uint64_t v = 0;

    if (get_count(m, key, &v))
        gk_json_uint(&m->text, name, v);
    else if (gk_gguf_find(m->g, m->key) == NULL)
        say(m, GK_BAD, "missing: llama.cpp refuses the file without it");
    return v;
}

static void need_real(maker *m, const char *key, const char *name)
{
    double v;

    if (get_real(m, key, &v))
        put_real(m, name, v);
    else if (gk_gguf_find(m->g, m->key) == NULL)
        say(m, GK_BAD, "missing: llama.cpp refuses the file without it");
}

static uint64_t put_count(maker *m, const char *key, const char *name, uint64_t otherwise)
{
    uint64_t v = otherwise;

    if (!get_count(m, key, &v) && otherwise > 0)
        say_default(m, (double)otherwise);
    if (v > 0)
        gk_json_uint(&m->text, name, v);
    return v;
}

static double put_scale(maker *m, const char *key, const char *name, double otherwise)
{
    double v = otherwise;

    if (!get_real(m, key, &v))
        say_default(m, otherwise);
    put_real(m, name, v);
    return v;
}

static const gk_stored *stored_named(const maker *m, const char *name)
{
    for (uint64_t i = 0; i < m->c->n_stored; i++)
        if (strcmp(m->c->stored[i].name, name) == 0)
            return &m->c->stored[i];
    return NULL;
}

static void put_vocabulary(maker *m)
{
    const gk_stored *s = stored_named(m, "token_embd.weight");
    const gk_gguf_value *tokens = gk_gguf_find(m->g, "tokenizer.ggml.tokens");

    if (s != NULL && s->ndim == 2)
        gk_json_uint(&m->text, "vocab_size", s->dim[0]);
    else if (tokens != NULL && tokens->type == GK_GGUF_ARRAY)
        gk_json_uint(&m->text, "vocab_size", tokens->n);
    if (stored_named(m, "output.weight") == NULL)
        gk_json_bool(&m->text, "tie_word_embeddings", true);
    gk_json_string(&m->text, "torch_dtype",
                   s != NULL && s->dtype == GK_F32   ? "float32"
                   : s != NULL && s->dtype == GK_F16 ? "float16"
                                                     : "bfloat16");
}

static void put_model(maker *m, const char *architecture, const char *type)
{
    gk_json_open(&m->text, "architectures", '[');
    gk_json_string(&m->text, NULL, architecture);
    gk_json_close(&m->text, ']');
    gk_json_string(&m->text, "model_type", type);
}

/* What every architecture has. */
static void put_sizes(maker *m)
{
    const uint64_t hidden = need_count(m, "embedding_length", "hidden_size");
    uint64_t heads;

    need_count(m, "feed_forward_length", "intermediate_size");
    need_count(m, "block_count", "num_hidden_layers");
    heads = need_count(m, "attention.head_count", "num_attention_heads");
    put_count(m, "attention.head_count_kv", "num_key_value_heads", heads);
    put_count(m, "attention.key_length", "head_dim", heads > 0 ? hidden / heads : 0);
    need_count(m, "context_length", "max_position_embeddings");
    need_real(m, "attention.layer_norm_rms_epsilon", "rms_norm_eps");
    put_scale(m, "rope.freq_base", "rope_theta", 10000);
}

/* The way positions are stretched: "original" for none. In m->c's arena. */
static const char *scaling_of(maker *m)
{
    const gk_gguf_value *v = find(m, "rope.scaling.type");
    double factor = 0;

    if (v != NULL) {
        const char *type = gk_gguf_string(m->g, m->key, m->c->arena, NULL, m->err);
        m->ok = m->ok && m->err->code == GK_OK;
        if (type == NULL)
            say(m, GK_BAD, "not a string");
        return type == NULL || strcmp(type, "none") == 0 ? "original" : type;
    }
    /* llama.cpp scales linearly when there is a factor and no type */
    if (get_real(m, "rope.scaling.factor", &factor) && factor != 0 && factor != 1) {
        find(m, "rope.scaling.type");
        say(m, GK_WARN, "missing: llama.cpp silently takes linear, and so does this config");
        return "linear";
    }
    return "original";
}

/* ---- Grok ------------------------------------------------------------------------ */

static void put_grok_rope(maker *m)
{
    const char *type = scaling_of(m);

    gk_json_string(&m->text, "rope_type", type);
    if (strcmp(type, "original") == 0)
        return;
    put_scale(m, "rope.scaling.factor", "scaling_factor", 1);
    if (strcmp(type, "yarn") != 0)
        return;
    put_count(m, "rope.scaling.original_context_length", "original_max_position_embeddings",
              count_of(m, "context_length"));
    put_scale(m, "rope.scaling.yarn_ext_factor", "extrapolation_factor", 1);
    put_scale(m, "rope.scaling.yarn_attn_factor", "attn_factor", 1);
    put_scale(m, "rope.scaling.yarn_beta_fast", "beta_fast", 8);
    put_scale(m, "rope.scaling.yarn_beta_slow", "beta_slow", 1);
}

/* The scores' scale, which a Grok config states only when it is not head_dim^-0.5. */
static void put_score_scale(maker *m)
{
    double v = 0.08838834764831845;
    uint64_t width = count_of(m, "attention.key_length");
    const uint64_t heads = count_of(m, "attention.head_count");

    if (width == 0 && heads > 0)
        width = count_of(m, "embedding_length") / heads;
    if (!get_real(m, "attention.output_scale", &v))
        say_default(m, v);
    if (width == 0 || (float)v == (float)(1 / sqrt((double)width)))
        return;
    put_real(m, "attn_output_multiplier", v);
    say(m, GK_WARN, "the scores are not scaled by head_dim^-0.5");
}

static bool has_dense(const maker *m)
{
    for (uint64_t i = 0; i < m->c->n_stored; i++) {
        const char *name = m->c->stored[i].name;
        if (strncmp(name, "blk.", 4) == 0 && gk_ends_with(name, ".ffn_up.weight"))
            return true;
    }
    return false;
}

static void put_grok(maker *m)
{
    const bool grok2 = has_dense(m);

    m->own_defaults = true;
    put_model(m, grok2 ? "Grok1ForCausalLM" : "Grok1ModelForCausalLM", grok2 ? "git" : "grok-1");
    put_vocabulary(m);
    put_sizes(m);
    if (grok2) {
        put_count(m, "expert_feed_forward_length", "moe_intermediate_size",
                  count_of(m, "feed_forward_length"));
        gk_json_bool(&m->text, "residual_moe", true);
    }
    need_count(m, "expert_count", "num_local_experts");
    need_count(m, "expert_used_count", "num_experts_per_tok");
    put_grok_rope(m);
    put_scale(m, "embedding_scale", "embedding_multiplier_scale", 78.38367176906169);
    put_scale(m, "logit_scale", "output_multiplier_scale", 0.5773502691896257);
    put_scale(m, "attn_logit_softcapping", "attn_logit_softcapping", 30);
    put_scale(m, "router_logit_softcapping", "router_logit_softcapping", 30);
    put_scale(m, "final_logit_softcapping", "final_logit_softcapping", 0);
    put_count(m, "attention.temperature_length", "attn_temperature_len", 0);
    put_score_scale(m);
}

/* ---- Llama and Qwen2 ------------------------------------------------------------- */

static void say_factors(maker *m, gk_severity severity, const char *text)
{
    m->ok = m->ok
            && gk_findings_addf(&m->c->findings, "keys", severity, m->g->file->name,
                                GK_ROPE_FACTORS, m->err, "%s", text);
}

/* The factors of a llama3 scaling, as the numbers they were made of. What cannot be said so
 * stays a tensor, which only readers of GGUF names look at. */
static void put_factors(maker *m, bool scaled)
{
    const gk_stored *s = stored_named(m, GK_ROPE_FACTORS);
    uint64_t width = count_of(m, "attention.key_length");
    const uint64_t heads = count_of(m, "attention.head_count");
    float factor[MAX_FACTORS];
    double base = 10000;
    gk_llama3 l;

    if (s == NULL)
        return;
    if (width == 0 && heads > 0)
        width = count_of(m, "embedding_length") / heads;
    get_real(m, "rope.freq_base", &base);
    const bool fits = s->dtype == GK_F32 && s->ndim == 1 && s->dim[0] == width / 2
                      && s->dim[0] <= MAX_FACTORS;
    if (fits && m->ok)
        m->ok = gk_file_read(m->c->input[s->input].file, s->off, factor, s->dim[0] * 4, m->err);
    if (!fits || scaled || !gk_llama3_guess(factor, base, width, &l)) {
        say_factors(m, GK_WARN,
                    "these factors of rotary frequencies cannot be said in config.json: they stay "
                    "a tensor, which engines of safetensors do not look at");
        return;
    }
    gk_json_open(&m->text, "rope_scaling", '{');
    gk_json_string(&m->text, "rope_type", "llama3");
    put_real(m, "factor", l.factor);
    put_real(m, "low_freq_factor", l.low);
    put_real(m, "high_freq_factor", l.high);
    gk_json_uint(&m->text, "original_max_position_embeddings", (uint64_t)l.context);
    gk_json_close(&m->text, '}');
}

static void put_rope_scaling(maker *m)
{
    const char *type = scaling_of(m);

    if (strcmp(type, "original") != 0) {
        gk_json_open(&m->text, "rope_scaling", '{');
        gk_json_string(&m->text, "rope_type", type);
        put_scale(m, "rope.scaling.factor", "factor", 1);
        if (strcmp(type, "yarn") == 0) {
            uint64_t context = 0;
            get_count(m, "context_length", &context);
            put_count(m, "rope.scaling.original_context_length", "original_max_position_embeddings",
                      context);
        }
        gk_json_close(&m->text, '}');
    }
    put_factors(m, strcmp(type, "original") != 0);
}

/* bos and eos, as transformers writes them. */
static void put_token(maker *m, const char *key, const char *name)
{
    uint64_t id;

    if (gk_gguf_uint(m->g, key, &id))
        gk_json_uint(&m->text, name, id);
}

static void put_llama_like(maker *m, const char *architecture, const char *type)
{
    const uint64_t experts = count_of(m, "expert_count");
    if (experts > 0)
        put_model(m, "MixtralForCausalLM", "mixtral");
    else
        put_model(m, architecture, type);
    put_vocabulary(m);
    put_sizes(m);
    if (experts > 0) {
        gk_json_uint(&m->text, "num_local_experts", experts);
        need_count(m, "expert_used_count", "num_experts_per_tok");
    }
    gk_json_string(&m->text, "hidden_act", "silu");
    if (stored_named(m, "blk.0.attn_q.bias") != NULL)
        gk_json_bool(&m->text, "attention_bias", true);
    put_rope_scaling(m);
    put_token(m, "tokenizer.ggml.bos_token_id", "bos_token_id");
    put_token(m, "tokenizer.ggml.eos_token_id", "eos_token_id");
}

/* Keys of a model of any architecture. */
static bool check_common(gk_catalog *c, gk_err *err)
{
    static const char arch[] = "general.architecture", merges[] = "tokenizer.ggml.merges";
    const char *file = c->gguf->file->name;
    char *model = gk_gguf_string(c->gguf, "tokenizer.ggml.model", c->arena, NULL, err);
    char *type = gk_gguf_string(c->gguf, "general.type", c->arena, NULL, err);

    if (err->code != GK_OK)
        return false;
    const bool is_model = type == NULL || strcmp(type, "model") == 0; /* not an imatrix */
    if (is_model && c->gguf->arch[0] == '\0'
        && !gk_findings_addf(&c->findings, "keys", GK_WARN, file, arch, err,
                             "missing, or no string: llama.cpp refuses the file without it"))
        return false;
    return model == NULL || strcmp(model, "gpt2") != 0 || gk_gguf_find(c->gguf, merges) != NULL
           || gk_findings_addf(&c->findings, "keys", GK_WARN, file, merges, err,
                               "missing: llama.cpp refuses a gpt2 vocabulary without it");
}

bool gk_gguf_config(gk_catalog *c, gk_err *err)
{
    maker m = {.c = c, .g = c->gguf, .text = {.indent = 2}, .err = err, .ok = true};
    const char *arch = c->gguf == NULL ? "" : c->gguf->arch;

    if (c->gguf != NULL && !check_common(c, err))
        return false;
    gk_json_open(&m.text, NULL, '{');
    if (strcmp(arch, "grok") == 0)
        put_grok(&m);
    else if (strcmp(arch, "llama") == 0)
        put_llama_like(&m, "LlamaForCausalLM", "llama");
    else if (strcmp(arch, "qwen2") == 0)
        put_llama_like(&m, "Qwen2ForCausalLM", "qwen2");
    else
        return gk_text_free(&m.text), true;
    gk_json_close(&m.text, '}');
    gk_text_char(&m.text, '\n');
    if (m.ok && gk_text_ok(&m.text, err))
        c->config = gk_json_parse(m.text.data, m.text.len, "the keys of the GGUF", err);
    if (c->config == NULL) {
        gk_text_free(&m.text);
        return false;
    }
    c->config_text = m.text.data;
    c->config_len = m.text.len;
    return true;
}
