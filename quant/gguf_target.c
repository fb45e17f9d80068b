/* quant/gguf_target.c - types, names and stacks of a GGUF. */
#include "quant/gguf_target.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "formats/checked.h"
#include "formats/grok2.h"
#include "formats/rope_factors.h"
#include "quant/gguf_mix.h"
#include "quant/model.h"
#include "quant/stats.h"
#include "quant/targets.h"

/* ---- the model -------------------------------------------------------------------- */

static uint64_t size_in(const gk_json *config, const char *key, const char *other)
{
    uint64_t v = 0;

    if (!gk_json_as_uint(gk_json_get(config, key), &v) && other != NULL)
        gk_json_as_uint(gk_json_get(config, other), &v);
    return v;
}

static const char *arch_of(const gk_json *config)
{
    static const struct {
        const char *architecture, *arch;
    } known[] = {{"Grok1ForCausalLM", "grok"},     {"Grok1ModelForCausalLM", "grok"},
                 {"GrokForCausalLM", "grok"},      {"LlamaForCausalLM", "llama"},
                 {"MistralForCausalLM", "llama"},  {"MixtralForCausalLM", "llama"},
                 {"Qwen2ForCausalLM", "qwen2"}};
    bool guessed;
    const char *text = gk_architecture(config, &guessed);

    for (size_t i = 0; text != NULL && i < sizeof known / sizeof known[0]; i++)
        if (strcmp(text, known[i].architecture) == 0)
            return known[i].arch;
    return NULL;
}

bool gk_gguf_model_read(const gk_catalog *c, gk_gguf_model *out, gk_err *err)
{
    const gk_json *config = c->config;

    *out = (gk_gguf_model){.arch = arch_of(config), .is_known = true};
    if (c->gguf != NULL) {
        out->arch = c->gguf->arch;
        out->is_known = config != NULL;
    }
    if (out->arch == NULL) {
        bool guessed;
        const char *text = gk_architecture(config, &guessed);
        return gk_fail(err, GK_ERR_UNSUPPORTED, GK_NO_OFF,
                       "how a GGUF names the tensors of %.60s is not known here; --to hf and "
                       "compressed-tensors work for any architecture",
                       config == NULL ? "a model without config.json"
                       : text == NULL ? "a config.json without \"architectures\"" : text);
    }
    out->layers = size_in(config, "num_hidden_layers", NULL);
    out->experts = size_in(config, "num_local_experts", "num_experts");
    out->heads = size_in(config, "num_attention_heads", NULL);
    out->kv_heads = size_in(config, "num_key_value_heads", "num_attention_heads");
    out->has_dense = false;
    out->is_tied = true;
    for (uint64_t i = 0; i < c->n_tensors; i++) {
        out->has_dense |= strstr(c->tensor[i].name, ".mlp.up_proj.") != NULL;
        out->is_tied &= strcmp(c->tensor[i].name, "lm_head.weight") != 0
                        && strcmp(c->tensor[i].name, "output.weight") != 0;
    }
    return true;
}

/* ---- names ------------------------------------------------------------------------ */

bool gk_gguf_spot_of(const gk_gguf_model *m, const gk_tensor *t, gk_gguf_spot *out, gk_err *err)
{
    int n;

    *out = (gk_gguf_spot){.is_mapped = false};
    if (m->is_known && gk_gguf_place_of(m->arch, m->has_dense, t->name, &out->at)) {
        out->is_mapped = true;
        n = out->at.in_layer
                ? snprintf(out->name, GK_GGUF_NAME, "blk.%" PRIu64 ".%s%s", out->at.layer,
                           out->at.stored, out->at.suffix)
                : snprintf(out->name, GK_GGUF_NAME, "%s%s", out->at.stored, out->at.suffix);
    } else {
        n = snprintf(out->name, GK_GGUF_NAME, "%s", t->name);
    }
    if (n < GK_GGUF_NAME)
        return true;
    gk_fail(err, GK_ERR_LIMIT, GK_NO_OFF, "a name too long for a GGUF");
    return gk_fail_at(err, NULL, t->name);
}

/* ---- types ------------------------------------------------------------------------ */

static bool say(gk_plan *p, const gk_plan_item *item, const char *text, const char *type,
                gk_err *err)
{
    return gk_findings_addf(&p->notes, "type", GK_NOTE, NULL, item->from->name, err, "%s%s", text,
                            type);
}

/* llama.cpp computes with these in f32 and its converter stores them so. */
static void keep_exact(gk_plan_item *item)
{
    if (item->from->scheme == NULL && item->from->dtype == GK_F32)
        item->to = (gk_scheme){.name = "keep", .kind = GK_SCHEME_KEEP, .symmetric = true};
    else
        item->to = gk_scheme_cast(GK_F32);
}

/* As llama.cpp tells them: src/models/llama.cpp and qwen2.cpp, load_arch_hparams. */
static bool is_70b(const gk_gguf_model *m)
{
    return m->layers == 80
           && (strcmp(m->arch, "qwen2") == 0
               || (strcmp(m->arch, "llama") == 0 && m->heads != m->kv_heads));
}

static bool fit_type(gk_plan *p, const gk_gguf_model *m, gk_plan_item *item, gk_err *err)
{
    const gk_tensor *t = item->from;
    gk_gguf_spot at;

    if (!gk_gguf_spot_of(m, t, &at, err))
        return false;
    if (m->is_known && !at.is_mapped && p->from->gguf == NULL
        && !gk_findings_addf(&p->notes, "name", GK_WARN, NULL, t->name, err,
                             "a GGUF of architecture %s has no place for it, so llama.cpp will not "
                             "load the file", m->arch))
        return false;
    const bool plain = !gk_mix_quantizes(at.name, t->ndim);
    if (plain && item->why != GK_WHY_RULE) {
        if (m->is_known)
            keep_exact(item);
        else
            item->to = (gk_scheme){.name = "keep", .kind = GK_SCHEME_KEEP, .symmetric = true};
        return true;
    }
    if (at.is_mapped && item->to.kind == GK_SCHEME_KEEP && item->why != GK_WHY_RULE
        && t->scheme == NULL && t->dtype == GK_F64 && gk_can_decode(t))
        item->to = gk_scheme_cast(GK_F32); /* llama.cpp has no weights of F64 */
    if (item->to.kind == GK_SCHEME_MIX) {
        const gk_mix_tensor about = {.name = at.name,
                                     .n_cols = gk_cols(t),
                                     .layer = at.at.layer,
                                     .n_layers = m->layers,
                                     .n_experts = m->experts,
                                     .gqa = m->kv_heads > 0 ? m->heads / m->kv_heads : 1,
                                     .is_stack = at.at.is_stacked,
                                     .is_tied = m->is_tied,
                                     .is_70b = is_70b(m),
                                     .has_importance = p->options.stats != NULL};
        p->mix = item->to.mix;
        item->to = gk_scheme_cast(gk_mix_choose(item->to.mix, &about));
    }
    if (item->to.kind != GK_SCHEME_CAST || !gk_dtype_is_block(item->to.cast))
        return true;
    const gk_dtype type = gk_mix_fallback(item->to.cast, gk_cols(t));
    if (type == item->to.cast)
        return true;
    if (p->options.strict) {
        gk_fail(err, GK_ERR_UNSUPPORTED, GK_NO_OFF,
                "blocks of %s do not divide its rows (--strict)", item->to.name);
        return gk_fail_at(err, NULL, t->name);
    }
    item->to = gk_scheme_cast(type);
    item->why = GK_WHY_WIDTH;
    return say(p, item, "the blocks of its type do not divide its rows: it becomes ",
               item->to.name, err);
}

/* How far back a token looks; 0: to the first. As transformers' configurations read it, where
 * an absent sliding_window of Mistral is 4096 and Qwen2 has a switch beside it. */
static uint64_t window_of(const gk_json *config)
{
    bool guessed;
    const char *text = gk_architecture(config, &guessed);
    const char *name = text == NULL ? "" : text;
    const bool mistral = strcmp(name, "MistralForCausalLM") == 0;
    const bool qwen2 = strcmp(name, "Qwen2ForCausalLM") == 0;
    const gk_json *window = gk_json_get(config, "sliding_window");
    uint64_t n = window == NULL && (mistral || qwen2) ? 4096 : 0;
    bool on = mistral || strcmp(name, "MixtralForCausalLM") == 0;

    if (qwen2)
        gk_json_as_bool(gk_json_get(config, "use_sliding_window"), &on);
    gk_json_as_uint(window, &n);
    return on ? n : 0;
}

/* llama.cpp has no window for llama and qwen2 (src/models/llama.cpp, qwen2.cpp), nor has its
 * converter a key for it (conversion/llama.py, qwen.py @7bca1fd9). */
static bool say_window(gk_plan *p, const gk_gguf_model *m, gk_err *err)
{
    const uint64_t window = p->from->gguf != NULL ? 0 : window_of(p->from->config);
    const uint64_t context = size_in(p->from->config, "max_position_embeddings", NULL);

    return window == 0 || (context > 0 && context <= window)
           || gk_findings_addf(&p->notes, "window", GK_WARN, "config.json", NULL, err,
                               "sliding_window %" PRIu64 " has no place in a GGUF of architecture "
                               "%s: in contexts longer than that llama.cpp attends to all tokens, "
                               "and computes other values than this model", window, m->arch);
}

/* llama.cpp's graphs of llama and qwen2 have SiLU and no key for another. */
static bool say_activation(gk_plan *p, const gk_gguf_model *m, gk_err *err)
{
    const char *act = p->from->gguf != NULL
                          ? NULL
                          : gk_json_text(gk_json_get(p->from->config, "hidden_act"), NULL);

    return act == NULL || (strcmp(m->arch, "llama") != 0 && strcmp(m->arch, "qwen2") != 0)
           || strcmp(act, "silu") == 0 || strcmp(act, "swish") == 0
           || gk_findings_addf(&p->notes, "activation", GK_WARN, "config.json", NULL, err,
                               "hidden_act '%s' has no place in a GGUF of architecture %s: "
                               "llama.cpp applies SiLU, and computes other values than this model",
                               act, m->arch);
}

bool gk_gguf_fit(gk_plan *p, gk_err *err)
{
    gk_gguf_model m;

    p->mix = -1;
    if (!gk_gguf_model_read(p->from, &m, err) || !say_window(p, &m, err)
        || !say_activation(p, &m, err))
        return false;
    for (uint64_t i = 0; i < p->n_items; i++)
        if (!fit_type(p, &m, &p->item[i], err))
            return false;
    if (p->mix >= 0 && m.experts != 8 && !m.is_known
        && !gk_findings_addf(&p->notes, "mix", GK_NOTE, NULL, NULL, err,
                             "the architecture is not known here: %s is llama-quantize's mix for "
                             "plain names, its exceptions may differ", gk_mix_name(p->mix)))
        return false;
    return true;
}

/* ---- importance ------------------------------------------------------------------- */

/* token_embd may have statistics of another length (llama-quantize ignores them too). */
static bool set_importance(gk_plan *p, const gk_gguf_model *m, gk_plan_item *item, gk_err *err)
{
    gk_gguf_spot at;

    if (item->from->ndim != 2)
        return true; /* a stack whose matrices are not told apart here */
    if (!gk_gguf_spot_of(m, item->from, &at, err))
        return false;
    if (strcmp(at.name, "token_embd.weight") == 0) {
        gk_err ignored = {0};
        gk_stats_find(p->options.stats, at.name, 0, gk_cols(item->from), &item->importance,
                      &ignored);
        return true;
    }
    return gk_stats_find(p->options.stats, at.name, at.at.is_stacked ? at.at.expert : 0,
                         gk_cols(item->from), &item->importance, err);
}

/* What two bits and no statistics make of a matrix is noise. */
static bool prove_importance(const gk_plan *p, const gk_gguf_model *m, const gk_plan_item *item,
                             gk_err *err)
{
    gk_gguf_spot at;

    if (!p->options.target->is_gguf || item->to.kind != GK_SCHEME_CAST || item->importance != NULL)
        return true;
    if (!gk_gguf_spot_of(m, item->from, &at, err))
        return false;
    if (!gk_mix_needs_importance(p->mix, at.name, item->to.cast))
        return true;
    gk_fail(err, GK_ERR_ARG, GK_NO_OFF, "%s needs an importance matrix, as in llama-quantize: %s",
            gk_mix_name(p->mix),
            p->options.stats == NULL ? "give --stats FILE, made by llama-imatrix, or --scheme Q2_K"
                                     : "the file of --stats says nothing of this tensor");
    return gk_fail_at(err, NULL, item->from->name);
}

bool gk_gguf_importance(gk_plan *p, gk_err *err)
{
    gk_gguf_model m;
    gk_err own = {0};
    uint64_t n = 0, without = 0;

    if (p->options.stats == NULL && !p->options.target->is_gguf)
        return true;
    if (!gk_gguf_model_read(p->from, &m, &own)) {
        if (!p->options.target->is_gguf && own.code == GK_ERR_UNSUPPORTED)
            return gk_fail(err, GK_ERR_UNSUPPORTED, GK_NO_OFF,
                           "--stats names matrices as a GGUF does, which is not known of a model "
                           "of this architecture, or without config.json: leave it out (and "
                           "--method gptq, which needs it)");
        *err = own;
        return false;
    }
    for (uint64_t i = 0; i < p->n_items; i++) {
        gk_plan_item *item = &p->item[i];
        const bool coded = gk_scheme_is_coded(&item->to)
                           || (item->to.kind == GK_SCHEME_CAST && gk_dtype_is_block(item->to.cast));
        if (!coded)
            continue;
        if (p->options.stats != NULL && !set_importance(p, &m, item, err))
            return false;
        if (!prove_importance(p, &m, item, err))
            return false;
        n++;
        without += item->importance == NULL;
    }
    if (p->options.stats != NULL && p->options.stats->n_thin > 0
        && !gk_findings_addf(&p->notes, "stats", GK_NOTE, NULL, NULL, err,
                             "%" PRIu64 " matrices of experts have statistics of fewer than %d "
                             "tokens: the mean of their stack stands in for what lacks",
                             p->options.stats->n_thin, GK_STATS_FLOOR))
        return false;
    return p->options.stats == NULL || without == 0
           || gk_findings_addf(&p->notes, "stats", GK_NOTE, NULL, NULL, err,
                               "%" PRIu64 " of %" PRIu64 " quantized tensors have no statistics",
                               without, n);
}

/* ---- entries ---------------------------------------------------------------------- */

/* The stack of that name, made by another expert of the same layer; NULL: none yet. */
static gk_entry *stack_named(gk_plan *p, const char *name)
{
    for (uint64_t i = p->n_entries; i-- > 0 && i + 16 > p->n_entries;)
        if (strcmp(p->entry[i].name, name) == 0)
            return &p->entry[i];
    return NULL;
}

static bool add_entry(gk_plan *p, const gk_plan_item *item, const gk_gguf_spot *at, uint64_t stack,
                      gk_dtype dtype, gk_entry **out, gk_err *err)
{
    const gk_tensor *t = item->from;
    gk_entry *e = &p->entry[p->n_entries];
    uint64_t *dim = gk_arena_alloc(p->arena, (uint64_t)t->ndim + 1, sizeof *dim, err);
    char *name = gk_arena_str(p->arena, at->name, err);

    if (dim == NULL || name == NULL)
        return false;
    const int extra = stack > 0;
    dim[0] = stack;
    memcpy(dim + extra, t->dim, t->ndim * sizeof *dim);
    *e = (gk_entry){.name = name,
                    .dim = dim,
                    .ndim = (uint8_t)(t->ndim + extra),
                    .dtype = (uint8_t)dtype,
                    .module = (uint32_t)p->n_entries};
    e->bytes = gk_max(stack, 1) * gk_rows(t) * gk_row_bytes(dtype, gk_cols(t));
    p->n_entries++;
    *out = e;
    return true;
}

static bool fits_stack(const gk_entry *e, const gk_tensor *t, gk_dtype dtype)
{
    return e->dtype == dtype && e->ndim == 3 && t->ndim == 2 && e->dim[1] == t->dim[0]
           && e->dim[2] == t->dim[1];
}

/* What llama.cpp multiplies with; ggml's I8 to I64 are for tables. */
static bool is_weight_type(gk_dtype dtype)
{
    return dtype == GK_F32 || dtype == GK_F16 || dtype == GK_BF16 || gk_dtype_is_block(dtype);
}

static bool place_item(gk_plan *p, const gk_gguf_model *m, gk_plan_item *item, gk_err *err)
{
    const gk_tensor *t = item->from;
    const gk_dtype dtype
        = item->to.kind == GK_SCHEME_CAST ? item->to.cast : (gk_dtype)t->dtype;
    gk_gguf_spot at;

    if (!gk_gguf_spot_of(m, t, &at, err))
        return false;
    if (at.is_mapped && !is_weight_type(dtype)) {
        gk_fail(err, GK_ERR_UNSUPPORTED, GK_NO_OFF, "llama.cpp has no weights of %s; "
                "--dtype f32, or a rule 'REGEX=f32', turns floats into what it has",
                gk_dtype_get(dtype)->name);
        return gk_fail_at(err, NULL, t->name);
    }
    const uint64_t stack = at.at.is_stacked ? m->experts : 0;
    item->entry = stack > 0 ? stack_named(p, at.name) : NULL;
    if (item->entry == NULL && !add_entry(p, item, &at, stack, dtype, &item->entry, err))
        return false;
    item->n_entries = 1;
    item->bytes = gk_rows(t) * gk_row_bytes(dtype, gk_cols(t));
    item->heads = at.at.is_query ? m->heads : at.at.is_key ? m->kv_heads : 0;
    const uint64_t in_heads = t->ndim == 1 ? gk_cols(t) : gk_rows(t);
    if (item->heads > 0
        && (t->ndim < 1 || t->ndim > 2 || in_heads % (2 * item->heads) != 0
            || (t->ndim == 1 && gk_dtype_is_block(dtype)))) {
        gk_fail(err, GK_ERR_UNSUPPORTED, GK_NO_OFF,
                "its %s are no whole heads of an even width", t->ndim == 1 ? "elements" : "rows");
        return gk_fail_at(err, NULL, t->name);
    }
    if (stack == 0)
        return true;
    item->row0 = at.at.expert * gk_rows(t);
    if (at.at.expert < stack && fits_stack(item->entry, t, dtype))
        return true;
    gk_fail(err, GK_ERR_ARG, GK_NO_OFF,
            "a GGUF stacks the experts of a layer, so all must have one shape and type; this one "
            "becomes %s, the first %s", gk_dtype_get(dtype)->name,
            gk_dtype_get((gk_dtype)item->entry->dtype)->name);
    return gk_fail_at(err, NULL, t->name);
}

/* Every stack must be full: what is missing would be written as zeros. */
static bool prove_stacks(const gk_plan *p, gk_err *err)
{
    uint64_t filled = 0, all = 0;

    for (uint64_t i = 0; i < p->n_items; i++)
        filled += p->item[i].bytes;
    for (uint64_t i = 0; i < p->n_entries; i++)
        all += p->entry[i].bytes;
    if (p->made.entry != NULL)
        filled += p->made.entry->bytes;
    return filled == all
           || gk_fail(err, GK_ERR_FORMAT, GK_NO_OFF,
                      "experts are missing: %" PRIu64 " of %" PRIu64 " bytes of tensors are there",
                      filled, all);
}

/* Scaling of type llama3 has no keys: its factors are one more tensor, the first as in the
 * converter's files. A GGUF brings its own, and a directory may have kept one's. */
static bool make_factors(gk_plan *p, const gk_gguf_model *m, gk_err *err)
{
    const gk_json *config = p->from->config;
    const char *type;
    const gk_json *scaling = gk_rope_scaling(config, &type);
    const uint64_t head_dim = gk_gguf_head_dim(config, m);
    gk_llama3 l;

    if (p->from->gguf != NULL || type == NULL || strcmp(type, "llama3") != 0
        || gk_catalog_find(p->from, GK_ROPE_FACTORS) != NULL)
        return true;
    if (strcmp(m->arch, "llama") != 0)
        return gk_fail(err, GK_ERR_UNSUPPORTED, GK_NO_OFF,
                       "rope_scaling of type llama3 is a tensor of factors in a GGUF, which "
                       "llama.cpp does not read for architecture %s", m->arch);
    if (!gk_llama3_read(scaling, &l, err))
        return false;
    float *data = gk_arena_alloc(p->arena, head_dim / 2 + 1, sizeof *data, err);
    uint64_t *dim = gk_arena_alloc(p->arena, 1, sizeof *dim, err);
    if (data == NULL || dim == NULL)
        return false;
    gk_llama3_factors(&l, gk_gguf_rope_base(config), head_dim, data);
    *dim = head_dim / 2;
    gk_entry *e = &p->entry[p->n_entries];
    *e = (gk_entry){.name = GK_ROPE_FACTORS,
                    .dim = dim,
                    .ndim = 1,
                    .dtype = GK_F32,
                    .module = (uint32_t)p->n_entries,
                    .bytes = *dim * sizeof *data};
    p->n_entries++;
    p->made = (gk_plan_made){e, data};
    return gk_findings_addf(&p->notes, "rope", GK_NOTE, NULL, e->name, err,
                            "%" PRIu64 " factors, made of rope_scaling: type llama3, factor %g",
                            *dim, l.factor);
}

bool gk_model_rope_factors(const gk_catalog *c, uint64_t n, float *out)
{
    const gk_gguf_model m = {.heads = size_in(c->config, "num_attention_heads", NULL)};
    const uint64_t head_dim = gk_gguf_head_dim(c->config, &m);
    const char *type;
    const gk_json *scaling = gk_rope_scaling(c->config, &type);
    gk_err ignored = {0};
    gk_llama3 l;

    if (type == NULL || strcmp(type, "llama3") != 0 || head_dim / 2 != n
        || !gk_llama3_read(scaling, &l, &ignored))
        return false;
    gk_llama3_factors(&l, gk_gguf_rope_base(c->config), head_dim, out);
    return true;
}

bool gk_gguf_entries(gk_plan *p, gk_err *err)
{
    gk_gguf_model m;

    if (!gk_gguf_model_read(p->from, &m, err) || !make_factors(p, &m, err))
        return false;
    for (uint64_t i = 0; i < p->n_items; i++)
        if (!place_item(p, &m, &p->item[i], err))
            return false;
    return prove_stacks(p, err);
}

bool gk_gguf_shards(gk_plan *p, gk_err *err)
{
    gk_gguf_model m;
    gk_gguf_keys keys = {0};
    const char *prefix = p->options.out_name == NULL ? "model" : p->options.out_name;

    const bool ok = gk_gguf_model_read(p->from, &m, err) && gk_gguf_keys_make(p, &m, &keys, err)
                    && gk_text_ok(&keys.text, err)
                    && gk_gguf_layout(p->arena, p->entry, p->n_entries, &keys, prefix,
                                      p->options.max_shard_bytes, &p->shards, err);
    gk_gguf_keys_free(&keys);
    return ok;
}
