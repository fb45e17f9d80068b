/* formats/grok1_config.c - what a Grok-1 checkpoint does not say: a config.json of its sizes.
 *
 * The keys and the numbers that no size gives are those of hpcai-tech/grok-1 config.json;
 * the numbers stand in xai-org/grok-1 run.py and model.py @7050ed20. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "formats/checked.h"
#include "formats/reader.h"

#define ARCHITECTURE "Grok1ModelForCausalLM"

static bool is_head_size(const gk_grok1_sizes *z, uint64_t head)
{
    return head > 0 && z->queries % head == 0 && z->keys % head == 0;
}

/* The largest power of two up to 128 that leaves two kv heads or more. */
static uint64_t guess_head(const gk_grok1_sizes *z)
{
    for (uint64_t head = 128; head > 1; head /= 2)
        if (is_head_size(z, head) && z->keys / head >= 2)
            return head;
    return 1;
}

static uint64_t number(const gk_json *config, const char *key)
{
    uint64_t value = 0;

    gk_json_as_uint(gk_json_get(config, key), &value);
    return value;
}

/* What a config says of the head size: 0 for nothing that fits these leaves. */
static uint64_t told_head(const gk_json *config, const gk_grok1_sizes *z)
{
    uint64_t head = number(config, "head_dim");
    const uint64_t heads = number(config, "num_attention_heads");

    if (head == 0 && heads > 0)
        head = z->queries / heads;
    return is_head_size(z, head) ? head : 0;
}

/* A config.json in the directory may stay if it is of this model. */
static bool describes(const gk_json *config, const gk_grok1_sizes *z, uint64_t head)
{
    const char *name = gk_json_text(gk_json_at(gk_json_get(config, "architectures"), 0), NULL);

    return name != NULL && strcmp(name, ARCHITECTURE) == 0
           && number(config, "hidden_size") == z->hidden && number(config, "vocab_size") == z->vocab
           && number(config, "num_hidden_layers") == z->layers
           && number(config, "num_experts") == z->experts
           && number(config, "num_attention_heads") * head == z->queries
           && number(config, "num_key_value_heads") * head == z->keys;
}

static void write_config(gk_text *t, const gk_grok1_sizes *z, uint64_t head)
{
    t->indent = 2;
    gk_json_open(t, NULL, '{');
    gk_json_open(t, "architectures", '[');
    gk_json_string(t, NULL, ARCHITECTURE);
    gk_json_close(t, ']');
    gk_json_string(t, "model_type", "grok-1");
    gk_json_uint(t, "vocab_size", z->vocab);
    gk_json_uint(t, "hidden_size", z->hidden);
    gk_json_uint(t, "intermediate_size", z->width);
    gk_json_uint(t, "num_hidden_layers", z->layers);
    gk_json_uint(t, "num_attention_heads", z->queries / head);
    gk_json_uint(t, "num_key_value_heads", z->keys / head);
    gk_json_uint(t, "head_dim", head);
    gk_json_uint(t, "num_experts", z->experts);
    gk_json_uint(t, "num_experts_per_tok", 2);
    gk_json_uint(t, "max_position_embeddings", 8192);
    gk_json_real(t, "max_attn_value", 30.0);
    gk_json_real(t, "attn_logit_softcapping", 30.0);
    gk_json_real(t, "rms_norm_eps", 1e-5);
    gk_json_real(t, "rope_theta", 10000.0);
    gk_json_real(t, "embedding_multiplier_scale", sqrt((double)z->hidden));
    gk_json_real(t, "output_multiplier_scale", 0.5773502691896257);
    gk_json_bool(t, "tie_word_embeddings", true);
    gk_json_string(t, "torch_dtype", "bfloat16");
    gk_json_close(t, '}');
    gk_text_char(t, '\n');
}

static bool replace_config(gk_catalog *c, const gk_grok1_sizes *z, uint64_t head, gk_err *err)
{
    gk_text text = {0};

    write_config(&text, z, head);
    gk_json_free(c->config);
    gk_free(c->config_text);
    c->config = NULL;
    c->config_text = text.data;
    c->config_len = text.len;
    if (!gk_text_ok(&text, err))
        return false;
    c->config = gk_json_parse(text.data, text.len, "config.json", err);
    return c->config != NULL;
}

/* The directory that holds ckpt-0, when that was named itself; NULL for none. */
static const char *parent_of(gk_catalog *c, const gk_source *s, gk_err *err)
{
    bool named = false;

    for (uint64_t i = 0; i < s->n_names && !named; i++)
        named = strchr(s->name[i], '/') == NULL && gk_grok1_is_leaf(s->name[i]);
    if (!named)
        return NULL;
    const char *dots = s->member != NULL ? NULL : gk_path_join(c->arena, s->path, "..", err);

    return dots == NULL ? NULL : gk_path_real(c->arena, dots, err);
}

/* The tokenizer stands beside ckpt-0, not in it. */
static bool add_tokenizer(gk_catalog *c, const char *parent, gk_err *err)
{
    const char *path = gk_path_join(c->arena, parent, "tokenizer.model", err);
    gk_extra *extra = gk_arena_alloc(c->arena, c->n_extras + 1, sizeof *extra, err);

    if (path == NULL || extra == NULL)
        return false;
    if (gk_extra_find(c, "tokenizer.model") != NULL || gk_path_kind_of(path) != GK_PATH_FILE)
        return true;
    if (c->n_extras > 0)
        memcpy(extra, c->extra, c->n_extras * sizeof *extra);
    extra[c->n_extras++] = (gk_extra){
        .name = "tokenizer.model", .path = path, .bytes = gk_path_bytes(path)};
    c->extra = extra;
    return true;
}

bool gk_grok1_describe(gk_catalog *c, const gk_source *s, const gk_grok1_sizes *z, gk_err *err)
{
    gk_err own = {0}; /* of a parent that cannot be looked at */
    const char *parent = parent_of(c, s, &own);
    gk_json *other = NULL;

    if (own.code == GK_ERR_NOMEM)
        return *err = own, false;
    if (parent != NULL && !add_tokenizer(c, parent, err))
        return false;
    if (c->config == NULL && parent != NULL) {
        const char *path = gk_path_join(c->arena, parent, "config.json", err);
        if (path == NULL)
            return false;
        if (gk_path_kind_of(path) == GK_PATH_FILE)
            other = gk_json_load(path, &own);
        if (other == NULL && own.code == GK_ERR_NOMEM)
            return *err = own, false;
    }
    const gk_json *config = c->config != NULL ? c->config : other;
    const uint64_t told = told_head(config, z), head = told > 0 ? told : guess_head(z);
    bool ok = true;
    if (c->config != NULL && describes(c->config, z, head))
        return true;
    if (config != NULL && (told == 0 || !describes(config, z, head)))
        ok = gk_findings_addf(&c->findings, "config", GK_WARN, "config.json", NULL, err,
                              "not the config.json of these leaves%s: one made of their shapes is "
                              "used",
                              told > 0 ? " (but for the head size)" : "");
    else if (config == NULL)
        ok = gk_findings_addf(&c->findings, "config", GK_NOTE, NULL, NULL, err,
                              "a checkpoint does not store the head size: %" PRIu64
                              " is taken, for %" PRIu64 " query and %" PRIu64 " kv heads",
                              head, z->queries / head, z->keys / head);
    gk_json_free(other);
    return ok && replace_config(c, z, head, err);
}
