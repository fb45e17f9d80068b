/* quant/ct_config.c - compressed-tensors' quantization_config.
 *
 * Source: vllm-project/compressed-tensors quantization/{quant_args,quant_scheme,
 * quant_config}.py @ac8e2ba; what vLLM and SGLang take of it. */
#include "quant/targets.h"

#include <string.h>

static const char *format_of(const gk_scheme *s)
{
    switch (s->kind) {
    case GK_SCHEME_FP8: return "float-quantized";
    case GK_SCHEME_NVFP4: return "nvfp4-pack-quantized";
    case GK_SCHEME_MXFP4: return "mxfp4-pack-quantized";
    default: return "pack-quantized";
    }
}

static const char *strategy_of(const gk_scheme *s)
{
    if (s->kind == GK_SCHEME_NVFP4)
        return "tensor_group";
    if (s->group == 0)
        return "channel";
    return s->kind == GK_SCHEME_FP8 ? "block" : "group";
}

static void add_weights(gk_text *out, const gk_scheme *s)
{
    const bool ints = s->kind == GK_SCHEME_INT, fp8 = s->kind == GK_SCHEME_FP8;

    gk_json_open(out, "weights", '{');
    gk_json_uint(out, "num_bits", (uint64_t)s->bits);
    gk_json_string(out, "type", ints ? "int" : "float");
    gk_json_bool(out, "symmetric", s->symmetric);
    gk_json_string(out, "strategy", strategy_of(s));
    if (fp8)
        gk_json_raw(out, "group_size", "null", 4);
    else if (s->group == 0)
        gk_json_raw(out, "group_size", "-1", 2); /* vLLM compares with -1 */
    else
        gk_json_uint(out, "group_size", s->group);
    if (fp8 && s->group > 0) {
        gk_json_open(out, "block_structure", '[');
        gk_json_uint(out, NULL, s->group);
        gk_json_uint(out, NULL, s->group);
        gk_json_close(out, ']');
    } else {
        gk_json_raw(out, "block_structure", "null", 4);
    }
    gk_json_bool(out, "dynamic", false);
    gk_json_raw(out, "actorder", "null", 4);
    if (s->kind == GK_SCHEME_NVFP4 || s->kind == GK_SCHEME_MXFP4) {
        const char *type = s->kind == GK_SCHEME_NVFP4 ? "torch.float8_e4m3fn" : "torch.uint8";
        gk_json_string(out, "scale_dtype", type);
        gk_json_string(out, "zp_dtype", type);
    }
    gk_json_string(out, "observer", "minmax");
    gk_json_raw(out, "observer_kwargs", "{}", 2);
    gk_json_close(out, '}');
}

/* FP8 weights want FP8 inputs, which the engine quantizes as they come. */
static void add_inputs(gk_text *out, const gk_scheme *s)
{
    if (s->kind != GK_SCHEME_FP8) {
        gk_json_raw(out, "input_activations", "null", 4);
        return;
    }
    gk_json_open(out, "input_activations", '{');
    gk_json_uint(out, "num_bits", 8);
    gk_json_string(out, "type", "float");
    gk_json_bool(out, "symmetric", true);
    gk_json_string(out, "strategy", s->group > 0 ? "group" : "token");
    if (s->group > 0)
        gk_json_uint(out, "group_size", s->group);
    gk_json_bool(out, "dynamic", true);
    gk_json_close(out, '}');
}

static void add_target(void *context, const char *pattern, bool is_regex)
{
    gk_text text = {0};
    gk_text *out = context;

    gk_text_printf(&text, "%s%s", is_regex ? "re:" : "", pattern);
    gk_json_string(out, NULL, text.failed ? "" : text.data);
    out->failed |= text.failed;
    gk_text_free(&text);
}

/* Groups that name modules come first: matchers take the first that fits. */
static bool add_group(const gk_plan *p, const gk_schemes *all, int k, int number, gk_text *out,
                      gk_err *err)
{
    const gk_scheme *s = &all->scheme[k];
    gk_text name = {0};
    bool ok = true;

    gk_text_printf(&name, "group_%d", number);
    gk_json_open(out, name.failed ? "group" : name.data, '{');
    gk_json_open(out, "targets", '[');
    if (k == all->main)
        gk_json_string(out, NULL, "Linear");
    else
        ok = gk_plan_patterns(p, s, add_target, out, err);
    gk_json_close(out, ']');
    add_weights(out, s);
    add_inputs(out, s);
    gk_json_raw(out, "output_activations", "null", 4);
    gk_json_string(out, "format", format_of(s));
    gk_json_close(out, '}');
    gk_text_free(&name);
    return ok;
}

bool gk_ct_config(const gk_plan *p, gk_text *out, gk_err *err)
{
    gk_schemes all;
    int number = 0;

    if (!gk_plan_schemes(p, &all, err))
        return false;
    if (all.n == 0)
        return true;
    const char *format = format_of(&all.scheme[0]);
    for (int k = 1; k < all.n; k++)
        if (strcmp(format_of(&all.scheme[k]), format_of(&all.scheme[0])) != 0)
            format = "mixed-precision";
    gk_json_open(out, "quantization_config", '{');
    gk_json_string(out, "quant_method", "compressed-tensors");
    gk_json_string(out, "version", "0.13.0");
    gk_json_string(out, "format", format);
    gk_json_string(out, "quantization_status", "compressed");
    gk_json_raw(out, "global_compression_ratio", "null", 4);
    gk_json_raw(out, "kv_cache_scheme", "null", 4);
    gk_json_open(out, "config_groups", '{');
    bool ok = true;
    for (int k = 0; ok && k < all.n; k++)
        if (k != all.main)
            ok = add_group(p, &all, k, number++, out, err);
    ok = ok && add_group(p, &all, all.main, number, out, err);
    gk_json_close(out, '}');
    gk_json_open(out, "ignore", '[');
    ok = ok && gk_plan_patterns(p, NULL, add_target, out, err);
    gk_json_close(out, ']');
    gk_json_close(out, '}');
    return ok;
}
