/* quant/targets.c - the table of what can be written. */
#include "quant/targets.h"

#include <string.h>

static const gk_layout *compressed_tensors(const gk_scheme *s)
{
    switch (s->kind) {
    case GK_SCHEME_INT: return &gk_layout_packed;
    case GK_SCHEME_FP8: return &gk_layout_float;
    case GK_SCHEME_NVFP4: return &gk_layout_nvfp4;
    case GK_SCHEME_MXFP4: return &gk_layout_mxfp4;
    default: return NULL;
    }
}

static const gk_layout *fp8(const gk_scheme *s)
{
    return s->kind == GK_SCHEME_FP8 ? &gk_layout_float : NULL;
}

static const gk_layout *gptq(const gk_scheme *s)
{
    if (s->kind != GK_SCHEME_INT)
        return NULL;
    return s->symmetric ? &gk_layout_gptq : &gk_layout_gptq_v2;
}

static const gk_layout *awq(const gk_scheme *s)
{
    return s->kind == GK_SCHEME_INT && s->bits == 4 ? &gk_layout_awq : NULL;
}

static const gk_layout *mlx(const gk_scheme *s)
{
    return s->kind == GK_SCHEME_INT && s->group > 0 ? &gk_layout_mlx : NULL;
}

static const gk_target targets[] = {
    {.name = "hf", .holds = "plain values: bf16 f16 f32"},
    {.name = "compressed-tensors",
     .holds = "int4, int8, FP8, nvfp4 and mxfp4",
     .scales = GK_BF16,
     .layout = compressed_tensors,
     .fit = gk_plan_fuse,
     .config = gk_ct_config},
    /* FP8 alone, the same files: what every engine with Grok loads */
    {.name = "fp8",
     .scheme = "fp8-channel",
     .holds = "fp8-channel and fp8-block",
     .scales = GK_F32,
     .layout = fp8,
     .fit = gk_plan_fuse,
     .config = gk_ct_config},
    {.name = "gptq",
     .holds = "int4 and int8, as int4-g128",
     .scheme = "int4-g128",
     .scales = GK_F16,
     .layout = gptq,
     .fit = gk_gptq_fit,
     .config = gk_gptq_config},
    {.name = "awq",
     .holds = "int4 alone, as int4-g128-asym",
     .scheme = "int4-g128-asym",
     .scales = GK_F16,
     .layout = awq,
     .fit = gk_awq_fit,
     .config = gk_awq_config},
    {.name = "mlx",
     .holds = "int4 and int8 in groups, as int4-g64",
     .scheme = "int4-g64",
     .scales = GK_BF16,
     .layout = mlx,
     .fit = gk_mlx_fit,
     .config = gk_mlx_config},
    {.name = "gguf",
     .scheme = "Q4_K_M",
     .holds = "ggml's types, as Q8_0 or the mix Q4_K_M, nvfp4 and mxfp4",
     .is_gguf = true, .fit = gk_gguf_fit},
};

#define N_TARGETS (sizeof targets / sizeof targets[0])

const gk_target *gk_target_find(const char *name, gk_err *err)
{
    gk_text known = {0};

    for (size_t i = 0; i < N_TARGETS; i++)
        if (strcmp(name, targets[i].name) == 0)
            return &targets[i];
    for (size_t i = 0; i < N_TARGETS; i++)
        gk_text_printf(&known, " %s", targets[i].name);
    gk_fail(err, GK_ERR_ARG, GK_NO_OFF, "unknown format '%.40s'; known:%s", name,
            known.failed ? "" : known.data);
    gk_text_free(&known);
    return NULL;
}

bool gk_plan_config_members(const gk_plan *p, gk_text *out, gk_err *err)
{
    static const char *const presharded[] = {"load_presharded_moe", "load_presharded_attn",
                                             "load_presharded_mlp", "load_presharded_embedding"};

    for (int i = 0; i < 4; i++)
        gk_json_bool(out, presharded[i], false);
    return p->options.target->config == NULL || p->options.target->config(p, out, err);
}
