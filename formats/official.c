/* formats/official.c - the facts of xai-org/grok-2. Values of config.json on which several
 * independent copies agree (sgl-project/sglang, ggml-org/llama.cpp PR 15539, vllm-project/vllm
 * PR 31847); counts and bytes follow from the shapes. */
#include "formats/official.h"

#include <string.h>

#include "formats/grok2.h"

static const char config[] =
    "{\"architectures\": [\"Grok1ForCausalLM\"], \"embedding_multiplier_scale\": "
    "90.50966799187809, \"output_multiplier_scale\": 0.5, \"vocab_size\": 131072, "
    "\"hidden_size\": 8192, \"intermediate_size\": 32768, \"moe_intermediate_size\": 16384, "
    "\"max_position_embeddings\": 131072, \"num_experts_per_tok\": 2, \"num_local_experts\": 8, "
    "\"residual_moe\": true, \"num_attention_heads\": 64, \"num_key_value_heads\": 8, "
    "\"num_hidden_layers\": 64, \"head_dim\": 128, \"rms_norm_eps\": 1e-05, "
    "\"final_logit_softcapping\": 50, \"attn_logit_softcapping\": 30.0, "
    "\"router_logit_softcapping\": 30.0, \"rope_theta\": 208533496, "
    "\"attn_temperature_len\": 1024, \"sliding_window_size\": -1, \"global_attn_every_n\": 1, "
    "\"model_type\": \"git\", \"torch_dtype\": \"bfloat16\", \"rope_type\": \"original\", "
    "\"original_max_position_embeddings\": 8192, \"scaling_factor\": 16.0, "
    "\"extrapolation_factor\": 1.0, \"attn_factor\": 1.0, \"beta_fast\": 8, \"beta_slow\": 1}";

gk_json *gk_official_config(gk_err *err)
{
    return gk_json_parse(config, sizeof config - 1, "config.json", err);
}

bool gk_official_is(const gk_json *other)
{
    gk_err none = {0};
    gk_grok2 a, b;

    if (!gk_grok2_is(other) || !gk_grok2_sizes(other, &b, &none))
        return false;
    gk_json *own = gk_official_config(&none);
    const bool same = own != NULL && gk_grok2_sizes(own, &a, &none) && a.hidden == b.hidden
                      && a.layers == b.layers && a.heads == b.heads && a.kv_heads == b.kv_heads
                      && a.head_dim == b.head_dim && a.dense == b.dense && a.moe == b.moe
                      && a.experts == b.experts && a.vocab == b.vocab;
    gk_json_free(own);
    return same;
}

bool gk_official_adopt(gk_catalog *c, gk_err *err)
{
    bool fits = false;

    for (uint64_t i = 0; i < c->n_stored && !fits; i++)
        fits = strcmp(c->stored[i].name, "model.embed_tokens.weight") == 0 && c->stored[i].ndim == 2
               && c->stored[i].dim[0] == 131072 && c->stored[i].dim[1] == 8192;
    if (c->config != NULL || c->config_text != NULL || !fits)
        return true;
    c->config = gk_official_config(err);
    c->config_text = c->config == NULL ? NULL : gk_alloc(sizeof config, 1, err);
    if (c->config_text == NULL)
        return false;
    memcpy(c->config_text, config, sizeof config);
    c->config_len = sizeof config - 1;
    return gk_findings_addf(&c->findings, "config", GK_NOTE, "config.json", NULL, err,
                            "the embedding is of Grok-2's size: shapes are compared with those of "
                            "xai-org/grok-2, which are built in");
}
