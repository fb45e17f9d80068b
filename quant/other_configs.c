/* quant/other_configs.c - what config.json says of GPTQ, AWQ and MLX files, and which
 * engines load what. Sources: ModelCloud/GPTQModel quantization/config.py @f4c327a,
 * casper-hansen/AutoAWQ awq/models/_config.py @88e4c76, ml-explore/mlx-lm utils.py
 * @d78bf58; vllm-project/vllm utils/gptq_utils.py @02239f5. */
#include "quant/targets.h"

#include <stdlib.h>
#include <string.h>

static void add_group_size(gk_text *out, const gk_scheme *s)
{
    if (s->group == 0)
        gk_json_raw(out, "group_size", "-1", 2);
    else
        gk_json_uint(out, "group_size", s->group);
}

/* Codes whose meaning config.json alone tells cannot be written without one. */
static bool needs_config(const gk_plan *p, const gk_plan_item *item, gk_err *err)
{
    if (p->from->config_text != NULL)
        return true;
    gk_fail(err, GK_ERR_ARG, GK_NO_OFF,
            "%s: only config.json tells readers of %s files about it, and there is none",
            item->to.name, p->options.target->name);
    return gk_fail_at(err, NULL, item->from->name);
}

/* ---- GPTQ -------------------------------------------------------------------- */

/* Asymmetric codes need version 2, and a file has one version; sym is false then, which
 * symmetric modules satisfy, too. */
bool gk_gptq_fit(gk_plan *p, gk_err *err)
{
    const gk_layout *layout = &gk_layout_gptq;

    if (!gk_plan_fuse(p, err))
        return false;
    for (uint64_t i = 0; i < p->n_items; i++)
        if (gk_scheme_is_coded(&p->item[i].to) && !p->item[i].to.symmetric) {
            layout = &gk_layout_gptq_v2;
            if (!needs_config(p, &p->item[i], err))
                return false;
        }
    for (uint64_t i = 0; i < p->n_items; i++)
        if (gk_scheme_is_coded(&p->item[i].to))
            p->item[i].to.layout = layout;
    return true;
}

/* vLLM quantizes a Linear when one of these is found in its own name for it; without the
 * list it takes the checkpoint's full names, which are not found there. */
static void add_modules(const gk_plan *p, gk_text *out)
{
    static const char *const name[] = {"q_proj",    "k_proj",  "v_proj",   "o_proj",
                                       "gate_proj", "up_proj", "down_proj"};

    gk_json_open(out, "modules_in_block_to_quantize", '[');
    for (int k = 0; k < 7; k++)
        for (uint64_t i = 0; i < p->n_items; i++)
            if (gk_scheme_is_coded(&p->item[i].to)
                && strstr(p->item[i].from->name, name[k]) != NULL) {
                gk_json_string(out, NULL, name[k]);
                break;
            }
    gk_json_close(out, ']');
}

typedef struct dynamic {
    gk_text *out;
    const gk_scheme *scheme; /* NULL: left out */
} dynamic;

static void add_dynamic(void *context, const char *pattern, bool is_regex)
{
    const dynamic *d = context;
    gk_text key = {0};

    /* outside the blocks nothing is quantized unless lm_head says so */
    if (strstr(pattern, "lm_head") != NULL || strstr(pattern, "embed_tokens") != NULL)
        return;
    gk_text_printf(&key, "%s:%s%s", d->scheme != NULL ? "+" : "-", pattern, is_regex ? "" : "$");
    gk_json_open(d->out, key.failed ? "" : key.data, '{');
    if (d->scheme != NULL) {
        gk_json_uint(d->out, "bits", (uint64_t)d->scheme->bits);
        add_group_size(d->out, d->scheme);
    }
    gk_json_close(d->out, '}');
    d->out->failed |= key.failed;
    gk_text_free(&key);
}

static bool is_coded(const gk_plan *p, const char *name)
{
    const gk_tensor *t = gk_catalog_find(p->from, name);

    return t != NULL && gk_scheme_is_coded(&p->item[t - p->from->tensor].to);
}

bool gk_gptq_config(const gk_plan *p, gk_text *out, gk_err *err)
{
    gk_schemes all;
    bool ok = true;

    if (!gk_plan_schemes(p, &all, err))
        return false;
    if (all.n == 0)
        return true;
    const gk_scheme *s = &all.scheme[all.main];
    gk_json_open(out, "quantization_config", '{');
    gk_json_string(out, "quant_method", "gptq");
    gk_json_uint(out, "bits", (uint64_t)s->bits);
    add_group_size(out, s);
    gk_json_bool(out, "desc_act", false);
    gk_json_bool(out, "sym", s->layout == &gk_layout_gptq);
    gk_json_bool(out, "lm_head", is_coded(p, "lm_head.weight"));
    gk_json_string(out, "checkpoint_format", s->layout == &gk_layout_gptq ? "gptq" : "gptq_v2");
    gk_json_string(out, "pack_dtype", "int32");
    gk_json_bool(out, "true_sequential", true);
    gk_json_raw(out, "damp_percent", "0.01", 4);
    gk_json_bool(out, "static_groups", false);
    add_modules(p, out);
    gk_json_open(out, "dynamic", '{');
    for (int k = 0; ok && k < all.n; k++) {
        dynamic d = {out, &all.scheme[k]};
        ok = k == all.main || gk_plan_patterns(p, d.scheme, add_dynamic, &d, err);
    }
    dynamic without = {out, NULL};
    ok = ok && gk_plan_patterns(p, NULL, add_dynamic, &without, err);
    gk_json_close(out, '}');
    gk_json_close(out, '}');
    return ok;
}

/* ---- AWQ --------------------------------------------------------------------- */

bool gk_awq_fit(gk_plan *p, gk_err *err)
{
    const gk_plan_item *first = NULL;

    if (!gk_plan_fuse(p, err))
        return false;
    for (uint64_t i = 0; i < p->n_items; i++) {
        const gk_plan_item *item = &p->item[i];
        if (!gk_scheme_is_coded(&item->to))
            continue;
        if (first == NULL)
            first = item;
        if (item->to.group == first->to.group)
            continue;
        gk_fail(err, GK_ERR_ARG, GK_NO_OFF,
                "it becomes %s, but %s becomes %s: an AWQ file has one group size for all",
                item->to.name, first->from->name, first->to.name);
        return gk_fail_at(err, NULL, item->from->name);
    }
    return true;
}

/* Parts of the names, the engine's and the checkpoint's, of a fused module without codes. */
static void add_kept(const gk_plan *p, gk_fused f, gk_text *out)
{
    static const char *const home[][2] = {[GK_FUSED_QKV] = {"self_attn", "attn"},
                                          [GK_FUSED_O] = {"self_attn", "attn"},
                                          [GK_FUSED_GATE_UP] = {"mlp", NULL},
                                          [GK_FUSED_DOWN] = {"mlp", NULL},
                                          [GK_FUSED_EXPERTS] = {"block_sparse_moe", "moe_block"}};
    static const char *const part[][3] = {[GK_FUSED_QKV] = {"q_proj", "k_proj", "v_proj"},
                                          [GK_FUSED_O] = {"o_proj"},
                                          [GK_FUSED_GATE_UP] = {"gate_proj", "up_proj"},
                                          [GK_FUSED_DOWN] = {"down_proj"},
                                          [GK_FUSED_EXPERTS] = {"experts"}};
    gk_text list = {0};
    bool all;
    const uint64_t n = gk_plan_layers(p, f, NULL, &list, &all);

    for (int k = 0; n > 0 && k < 3 && part[f][k] != NULL; k++) {
        if (all)
            gk_json_string(out, NULL, part[f][k]);
        for (const char *at = list.data; !all && !list.failed && *at != '\0';) {
            char *end;
            const long layer = strtol(at, &end, 10);
            for (int h = 0; h < 2 && home[f][h] != NULL; h++) {
                gk_text text = {0};
                gk_text_printf(&text, "layers.%ld.%s.%s", layer, home[f][h], part[f][k]);
                gk_json_string(out, NULL, text.failed ? "" : text.data);
                out->failed |= text.failed;
                gk_text_free(&text);
            }
            at = *end == '|' ? end + 1 : end;
        }
    }
    out->failed |= list.failed;
    gk_text_free(&list);
}

/* Router, embedding and head are not named: no engine quantizes them, and "gate" would
 * also be found in gate_proj. */
bool gk_awq_config(const gk_plan *p, gk_text *out, gk_err *err)
{
    gk_schemes all;
    bool none = true, ignored;

    if (!gk_plan_schemes(p, &all, err))
        return false;
    if (all.n == 0)
        return true;
    gk_json_open(out, "quantization_config", '{');
    gk_json_string(out, "quant_method", "awq");
    gk_json_uint(out, "bits", 4);
    add_group_size(out, &all.scheme[all.main]);
    gk_json_bool(out, "zero_point", true);
    gk_json_string(out, "version", "gemm");
    for (int f = 0; f < GK_FUSED_NONE; f++) {
        gk_text list = {0};
        none = gk_plan_layers(p, (gk_fused)f, NULL, &list, &ignored) == 0 && none;
        gk_text_free(&list);
    }
    if (none) {
        gk_json_raw(out, "modules_to_not_convert", "null", 4);
    } else {
        gk_json_open(out, "modules_to_not_convert", '[');
        for (int f = 0; f < GK_FUSED_NONE; f++)
            add_kept(p, (gk_fused)f, out);
        gk_json_close(out, ']');
    }
    gk_json_close(out, '}');
    return true;
}

/* ---- MLX --------------------------------------------------------------------- */

/* Nothing is fused; four bits are what shapes mean without a config. */
bool gk_mlx_fit(gk_plan *p, gk_err *err)
{
    if (!gk_plan_fit_each(p, err))
        return false;
    for (uint64_t i = 0; i < p->n_items; i++)
        if (gk_scheme_is_coded(&p->item[i].to) && p->item[i].to.bits != 4
            && !needs_config(p, &p->item[i], err))
            return false;
    return true;
}

static void add_affine(gk_text *out, const gk_scheme *s)
{
    gk_json_uint(out, "group_size", s->group);
    gk_json_uint(out, "bits", (uint64_t)s->bits);
}

static void add_quantization(const gk_plan *p, const gk_scheme *s, const char *key, gk_text *out)
{
    gk_json_open(out, key, '{');
    add_affine(out, s);
    gk_json_string(out, "mode", "affine");
    for (uint64_t i = 0; i < p->n_items; i++) {
        const gk_plan_item *item = &p->item[i];
        const bool coded = gk_scheme_is_coded(&item->to);
        gk_text module = {0};
        if (item->from->ndim != 2 || !gk_ends_with(item->from->name, ".weight")
            || (coded && item->to.bits == s->bits && item->to.group == s->group))
            continue;
        gk_text_add(&module, item->from->name, strlen(item->from->name) - strlen(".weight"));
        if (module.failed) {
            out->failed = true;
        } else if (coded) {
            gk_json_open(out, module.data, '{');
            add_affine(out, &item->to);
            gk_json_close(out, '}');
        } else {
            gk_json_bool(out, module.data, false);
        }
        gk_text_free(&module);
    }
    gk_json_close(out, '}');
}

bool gk_mlx_config(const gk_plan *p, gk_text *out, gk_err *err)
{
    gk_schemes all;

    if (!gk_plan_schemes(p, &all, err))
        return false;
    if (all.n > 0) {
        add_quantization(p, &all.scheme[all.main], "quantization", out);
        add_quantization(p, &all.scheme[all.main], "quantization_config", out);
    }
    return true;
}

/* ---- engines ------------------------------------------------------------------- */

static const struct engine_note {
    const gk_layout *layout;
    gk_severity severity;
    const char *text;
} engine_notes[] = {
    {&gk_layout_packed, GK_NOTE,
     "SGLang runs no integer experts of Grok (its kernels know silu only); vLLM 0.24 does; for "
     "SGLang write --to fp8"},
    {&gk_layout_nvfp4, GK_WARN,
     "no engine is known to run FP4 experts with Grok's gelu; vLLM 0.24 and SGLang run --to fp8"},
    {&gk_layout_mxfp4, GK_WARN,
     "no engine is known to run FP4 experts with Grok's gelu; vLLM 0.24 and SGLang run --to fp8"},
    {&gk_layout_gptq, GK_WARN,
     "no engine is known to run a GPTQ Grok: SGLang's integer experts know silu only, vLLM 0.24 "
     "has other names for its modules (modules_in_block_to_quantize is there for it); for vLLM "
     "write --to compressed-tensors"},
    {&gk_layout_awq, GK_WARN,
     "no engine is known to run an AWQ Grok: SGLang's integer experts know silu only; for vLLM "
     "0.24 write --to compressed-tensors"},
    {&gk_layout_mlx, GK_WARN, "mlx-lm has no class for Grok: nothing loads this as a model"},
};

/* The first expert tells what would run the model. */
bool gk_plan_note_engines(gk_plan *p, gk_err *err)
{
    int64_t layer;

    for (uint64_t i = 0; !p->options.no_engine_check && i < p->n_items; i++) {
        const gk_plan_item *item = &p->item[i];
        const gk_layout *l = item->to.layout == &gk_layout_gptq_v2 ? &gk_layout_gptq
                                                                   : item->to.layout;
        if (!gk_scheme_is_coded(&item->to)
            || gk_fused_of(item->from->name, &layer) != GK_FUSED_EXPERTS)
            continue;
        for (size_t k = 0; k < sizeof engine_notes / sizeof engine_notes[0]; k++)
            if (engine_notes[k].layout == l)
                return gk_findings_addf(&p->notes, "engines", engine_notes[k].severity, NULL, "",
                                        err, "%s", engine_notes[k].text);
        return true;
    }
    return true;
}
