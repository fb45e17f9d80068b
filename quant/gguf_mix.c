/* quant/gguf_mix.c - llama-quantize's choices, tensor by tensor. */
#include "quant/gguf_mix.h"

#include <string.h>

#include "formats/text.h"

enum {
    Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K, Q2_K_S, Q3_K_S, Q3_K_M, Q3_K_L, Q4_K_S, Q4_K_M, Q5_K_S,
    Q5_K_M, Q6_K, IQ4_NL, IQ4_XS, MXFP4_MOE,
};

static const struct mix {
    const char *name, *alias;
    uint32_t    file_type;
    gk_dtype    base;
} mixes[GK_N_MIXES] = {
    [Q4_0] = {"Q4_0", "", 2, GK_Q4_0},         [Q4_1] = {"Q4_1", "", 3, GK_Q4_1},
    [Q8_0] = {"Q8_0", "", 7, GK_Q8_0},         [Q5_0] = {"Q5_0", "", 8, GK_Q5_0},
    [Q5_1] = {"Q5_1", "", 9, GK_Q5_1},         [Q2_K] = {"Q2_K", "", 10, GK_Q2_K},
    [Q3_K_S] = {"Q3_K_S", "", 11, GK_Q3_K},    [Q3_K_M] = {"Q3_K_M", "Q3_K", 12, GK_Q3_K},
    [Q3_K_L] = {"Q3_K_L", "", 13, GK_Q3_K},    [Q4_K_S] = {"Q4_K_S", "", 14, GK_Q4_K},
    [Q4_K_M] = {"Q4_K_M", "Q4_K", 15, GK_Q4_K}, [Q5_K_S] = {"Q5_K_S", "", 16, GK_Q5_K},
    [Q5_K_M] = {"Q5_K_M", "Q5_K", 17, GK_Q5_K}, [Q6_K] = {"Q6_K", "", 18, GK_Q6_K},
    [Q2_K_S] = {"Q2_K_S", "", 21, GK_Q2_K},    [IQ4_NL] = {"IQ4_NL", "", 25, GK_IQ4_NL},
    [IQ4_XS] = {"IQ4_XS", "", 30, GK_IQ4_XS},  [MXFP4_MOE] = {"MXFP4_MOE", "", 38, GK_MXFP4},
};

int gk_mix_find(const char *name)
{
    for (int i = 0; i < GK_N_MIXES; i++)
        if (gk_same_word(name, mixes[i].name) || gk_same_word(name, mixes[i].alias))
            return i;
    return -1;
}

const char *gk_mix_name(int mix)
{
    return mixes[mix].name;
}

uint32_t gk_mix_file_type(int mix)
{
    return mixes[mix].file_type;
}

gk_dtype gk_mix_base(int mix)
{
    return mixes[mix].base;
}

/* ---- kinds of tensors ------------------------------------------------------------- */

typedef enum kind { OUTPUT, EMBEDDING, ATTN_QKV, ATTN_V, ATTN_K, ATTN_OUT, FFN_DOWN, OTHER } kind;

static kind kind_of(const char *name)
{
    static const struct {
        const char *part;
        kind        kind;
    } parts[] = {{"attn_qkv.weight", ATTN_QKV}, {"attn_kv_b.weight", ATTN_V},
                 {"attn_v.weight", ATTN_V},     {"attn_k.weight", ATTN_K},
                 {"attn_output.weight", ATTN_OUT}, {"ffn_down", FFN_DOWN}};

    if (strcmp(name, "output.weight") == 0)
        return OUTPUT;
    if (strcmp(name, "token_embd.weight") == 0)
        return EMBEDDING;
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        if (strstr(name, parts[i].part) != NULL)
            return parts[i].kind;
    return OTHER;
}

bool gk_mix_quantizes(const char *name, int n_dims)
{
    return n_dims >= 2 && gk_ends_with(name, "weight") && strstr(name, "_norm.weight") == NULL
           && strstr(name, "ffn_gate_inp.weight") == NULL;
}

bool gk_mix_needs_importance(int mix, const char *name, gk_dtype type)
{
    return mix == Q2_K_S && type == GK_Q2_K && strcmp(name, "token_embd.weight") != 0
           && strcmp(name, "output.weight") != 0;
}

/* ---- choices ---------------------------------------------------------------------- */

/* The first and the last eighth of the layers, and every third between. */
static bool gets_more(uint64_t i, uint64_t n)
{
    return i < n / 8 || i >= 7 * n / 8 || (i - n / 8) % 3 == 2;
}

static gk_dtype values(int mix, const gk_mix_tensor *t, gk_dtype type)
{
    const uint64_t i = t->layer;

    if (t->n_experts == 8) /* next to eight experts it is nothing */
        return GK_Q8_0;
    if (mix == Q2_K)
        type = t->gqa >= 4 ? GK_Q4_K : GK_Q3_K;
    else if (mix == Q2_K_S && t->gqa >= 4)
        type = GK_Q4_K;
    else if (mix == Q3_K_M)
        type = i < 2 ? GK_Q5_K : GK_Q4_K;
    else if (mix == Q3_K_L || ((mix == IQ4_NL || mix == IQ4_XS) && t->gqa >= 4))
        type = GK_Q5_K;
    else if ((mix == Q4_K_M || mix == Q5_K_M) && gets_more(i, t->n_layers))
        type = GK_Q6_K;
    else if (mix == Q4_K_S && i < 4)
        type = GK_Q5_K;
    /* a matrix an eighth of Q's: better costs next to nothing */
    if (t->is_70b && (type == GK_Q3_K || type == GK_Q4_K))
        type = GK_Q5_K;
    return type;
}

static gk_dtype down(int mix, const gk_mix_tensor *t, gk_dtype type)
{
    const uint64_t i = t->layer, n = t->n_layers;
    const bool early = i < n / 8;

    switch (mix) {
    case Q2_K: return GK_Q3_K;
    case Q2_K_S: return early ? GK_Q4_K : type;
    case Q3_K_M: return i < n / 16 ? GK_Q5_K : GK_Q4_K;
    case Q3_K_L: return GK_Q5_K;
    case Q4_K_M:
    case Q5_K_M: return gets_more(i, n) ? GK_Q6_K : type;
    case Q4_K_S: return early ? GK_Q5_K : type;
    case IQ4_NL:
    case IQ4_XS: return early && !t->has_importance ? GK_Q5_K : type;
    case Q4_0: return early && t->has_importance ? GK_Q4_1 : type;
    case Q5_0: return early && t->has_importance ? GK_Q5_1 : type;
    default: return type;
    }
}

static gk_dtype attention_output(int mix, const gk_mix_tensor *t, gk_dtype type)
{
    if (t->n_experts == 8) {
        const bool finer = mix == Q2_K || mix == Q3_K_S || mix == Q3_K_M || mix == Q4_K_S
                           || mix == Q4_K_M || mix == IQ4_NL || mix == IQ4_XS;
        return finer ? GK_Q5_K : type;
    }
    return mix == Q2_K ? GK_Q3_K : mix == Q3_K_M ? GK_Q4_K : mix == Q3_K_L ? GK_Q5_K : type;
}

gk_dtype gk_mix_choose(int mix, const gk_mix_tensor *t)
{
    const gk_dtype type = mixes[mix].base;
    const kind k = kind_of(t->name);

    if (k == OUTPUT || (k == EMBEDDING && t->is_tied)) {
        if (mix == MXFP4_MOE || t->n_cols % gk_dtype_get(type)->block_elems != 0)
            return GK_Q8_0;
        return type == GK_Q8_0 ? type : GK_Q6_K;
    }
    if (mix == MXFP4_MOE)
        return t->is_stack ? GK_MXFP4 : GK_Q8_0;
    switch (k) {
    case ATTN_QKV:
    case ATTN_V: return values(mix, t, type);
    case ATTN_K: return t->n_experts == 8 ? GK_Q8_0 : type;
    case FFN_DOWN: return down(mix, t, type);
    case ATTN_OUT: return attention_output(mix, t, type);
    default: return type;
    }
}

gk_dtype gk_mix_fallback(gk_dtype type, uint64_t n_cols)
{
    if (n_cols % gk_dtype_get(type)->block_elems == 0)
        return type;
    switch (type) {
    case GK_IQ4_XS: type = GK_IQ4_NL; break;
    case GK_Q2_K:
    case GK_Q3_K: type = GK_Q4_0; break;
    case GK_Q4_K: type = GK_Q5_0; break;
    case GK_Q5_K: type = GK_Q5_1; break;
    case GK_Q6_K: type = GK_Q8_0; break;
    default: break;
    }
    return n_cols % gk_dtype_get(type)->block_elems == 0 ? type : GK_F16;
}
