/* formats/grok1_names.c - Grok-1 as others published it: other names for the same tensors.
 *
 * Two conversions of the pickles are public. keyfan/grok-1-hf kept the names of the JAX
 * modules, hpcai-tech/grok-1 (and what was made of it) has some of its own and calls the
 * factors of a norm "scale". Matrices are [out, in] in both. What stands behind a module's
 * name ("weight", or a part of an encoding) is kept.
 *
 * Sources: ggml-org/llama.cpp conversion/grok.py and gguf-py/gguf/tensor_mapping.py for the
 * first; vllm-project/vllm vllm/model_executor/models/grok1.py @02082de9 and
 * hpcaitech/ColossalAI examples/language/grok-1/grok1_policy.py @fcf776ff for the second. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "formats/grok2.h"
#include "formats/reader.h"

#define MAX_NUMBER 9 /* digits */

/* '#' stands for a number, the same in both. */
typedef struct module {
    const char *theirs, *ours;
    bool is_norm;
} module;

static const module jax_modules[] = {
    {"transformer.in_out_embed", "model.embed_tokens", false},
    {"transformer.rms_norm", "model.norm", true},
    {"transformer.decoder_layer.#.rms_norm", "model.layers.#.pre_attn_norm", true},
    {"transformer.decoder_layer.#.rms_norm_1", "model.layers.#.post_attn_norm", true},
    {"transformer.decoder_layer.#.rms_norm_2", "model.layers.#.pre_moe_norm", true},
    {"transformer.decoder_layer.#.rms_norm_3", "model.layers.#.post_moe_norm", true},
    {"transformer.decoder_layer.#.multi_head_attention.query", "model.layers.#.self_attn.q_proj",
     false},
    {"transformer.decoder_layer.#.multi_head_attention.key", "model.layers.#.self_attn.k_proj",
     false},
    {"transformer.decoder_layer.#.multi_head_attention.value", "model.layers.#.self_attn.v_proj",
     false},
    {"transformer.decoder_layer.#.multi_head_attention.linear", "model.layers.#.self_attn.o_proj",
     false},
    {"transformer.decoder_layer.#.router", "model.layers.#.block_sparse_moe.gate", false},
    {"transformer.decoder_layer.#.moe.#.linear", "model.layers.#.block_sparse_moe.experts.#.w1",
     false},
    {"transformer.decoder_layer.#.moe.#.linear_1", "model.layers.#.block_sparse_moe.experts.#.w2",
     false},
    {"transformer.decoder_layer.#.moe.#.linear_v", "model.layers.#.block_sparse_moe.experts.#.w3",
     false},
};

static const module torch_modules[] = {
    {"model.norm", "model.norm", true},
    {"model.layers.#.pre_attn_norm", "model.layers.#.pre_attn_norm", true},
    {"model.layers.#.post_attn_norm", "model.layers.#.post_attn_norm", true},
    {"model.layers.#.pre_moe_norm", "model.layers.#.pre_moe_norm", true},
    {"model.layers.#.post_moe_norm", "model.layers.#.post_moe_norm", true},
    {"model.layers.#.attn.q_proj", "model.layers.#.self_attn.q_proj", false},
    {"model.layers.#.attn.k_proj", "model.layers.#.self_attn.k_proj", false},
    {"model.layers.#.attn.v_proj", "model.layers.#.self_attn.v_proj", false},
    {"model.layers.#.attn.o_proj", "model.layers.#.self_attn.o_proj", false},
    {"model.layers.#.moe_block.gate", "model.layers.#.block_sparse_moe.gate", false},
    {"model.layers.#.moe_block.experts.#.linear", "model.layers.#.block_sparse_moe.experts.#.w1",
     false},
    {"model.layers.#.moe_block.experts.#.linear_1", "model.layers.#.block_sparse_moe.experts.#.w2",
     false},
    {"model.layers.#.moe_block.experts.#.linear_v", "model.layers.#.block_sparse_moe.experts.#.w3",
     false},
};

static const struct form {
    const char *from;
    const module *module;
    size_t n;
} forms[] = {
    {"keyfan/grok-1-hf", jax_modules, sizeof jax_modules / sizeof jax_modules[0]},
    {"hpcai-tech/grok-1", torch_modules, sizeof torch_modules / sizeof torch_modules[0]},
};

#define N_FORMS (sizeof forms / sizeof forms[0])

/* Returns what follows the module's name, a '.' and more, or NULL; number[]: those met. */
static const char *match(const char *pattern, const char *name, const char *number[2])
{
    int n = 0;

    for (; *pattern != '\0'; pattern++) {
        if (*pattern != '#') {
            if (*name++ != *pattern)
                return NULL;
            continue;
        }
        const size_t digits = strspn(name, "0123456789");
        if (digits == 0 || digits > MAX_NUMBER)
            return NULL;
        number[n++] = name;
        name += digits;
    }
    return *name == '.' ? name : NULL;
}

static const char *spell(gk_catalog *c, const module *m, const char *const number[2],
                         const char *rest, gk_err *err)
{
    char path[128] = "";
    int n = 0;

    for (const char *s = m->ours; *s != '\0'; s++) {
        const size_t len = strlen(path);
        if (*s != '#')
            snprintf(path + len, sizeof path - len, "%c", *s);
        else
            snprintf(path + len, sizeof path - len, "%.*s", (int)strspn(number[n], "0123456789"),
                     number[n]);
        n += *s == '#';
    }
    if (m->is_norm && strcmp(rest, ".scale") == 0)
        rest = ".weight";
    return gk_arena_printf(c->arena, err, "%s%s", path, rest);
}

/* Gives t our name if it has one of this form's; *renamed: it was another. */
static bool name_one(gk_catalog *c, const struct form *f, gk_tensor *t, bool *renamed, gk_err *err)
{
    *renamed = false;
    for (size_t i = 0; i < f->n; i++) {
        const char *number[2] = {"", ""};
        const char *rest = match(f->module[i].theirs, t->name, number);
        if (rest == NULL)
            continue;
        const char *name = spell(c, &f->module[i], number, rest, err);
        if (name == NULL)
            return false;
        *renamed = strcmp(name, t->name) != 0;
        t->name = name;
        return true;
    }
    return true;
}

bool gk_grok1_rename(gk_catalog *c, gk_err *err)
{
    if (gk_family_of(c->config) != GK_FAMILY_GROK1)
        return true;
    for (size_t f = 0; f < N_FORMS; f++) {
        uint64_t n = 0;
        bool renamed;
        for (uint64_t i = 0; i < c->n_tensors; i++, n += renamed)
            if (!name_one(c, &forms[f], &c->tensor[i], &renamed, err))
                return false;
        if (n > 0
            && (!gk_findings_addf(&c->findings, "names", GK_NOTE, NULL, NULL, err,
                                  "%" PRIu64 " tensors have the names of %s: they are read, and "
                                  "written, under those of engines for Grok",
                                  n, forms[f].from)
                || !gk_catalog_set(c, c->tensor, c->n_tensors, err)))
            return false;
        c->renamed |= n > 0;
    }
    return true;
}
