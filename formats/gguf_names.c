/* formats/gguf_names.c - a GGUF's tensors under their Hugging Face names.
 *
 * Three things differ from a directory of safetensors. Names are llama.cpp's. The experts
 * of a layer are one stack [E, out, in], in which each expert's bytes lie together: it
 * becomes E tensors. And the converter of Llama interleaves the halves of every head of Q
 * and K, because its rotary kernel turns neighbours:
 *
 *   stored row h * D + 2 j + half  =  row h * D + half * D/2 + j of the model
 *
 * which here is two pieces a head, every second row each. A matrix of one row has lost
 * that dimension, and a stack of one expert its first: ggml drops trailing ones.
 *
 * Source: ggml-org/llama.cpp gguf-py/gguf/tensor_mapping.py @0024aa74, src/models/grok.cpp
 * @8a5c4e0, conversion/llama.py (permute). Tensors that are not in the table, and all of
 * another architecture, keep the names they have in the file. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "formats/checked.h"
#include "formats/gguf.h"
#include "formats/reader.h"

#define MAX_EXPERTS 1024u  /* of one stack */
#define MAX_HEADS   65536u /* of one matrix */

enum { GROK = 1, LLAMA = 2, QWEN2 = 4, ALL = 7 };

enum how {
    MATRIX,
    VECTOR,
    STACK,   /* of experts; also one expert a tensor, KIND.E, in files of 2023 */
    QUERIES, /* a matrix whose rows are permuted within heads                  */
    KEYS,
};

static const struct row {
    unsigned archs;
    bool layer;         /* stands behind "blk.N." and "model.layers.N." */
    const char *stored; /* before ".weight" or ".bias"                  */
    const char *name;
    enum how how;
} rows[] = {
    {ALL, false, "token_embd", "model.embed_tokens", MATRIX},
    {ALL, false, "output_norm", "model.norm", VECTOR},
    {ALL, false, "output", "lm_head", MATRIX},
    {LLAMA, false, "rope_freqs", "rope_freqs", VECTOR},

    {ALL, true, "attn_v", "self_attn.v_proj", MATRIX},
    {ALL, true, "attn_output", "self_attn.o_proj", MATRIX},
    {ALL, true, "ffn_gate", "mlp.gate_proj", MATRIX},
    {ALL, true, "ffn_up", "mlp.up_proj", MATRIX},
    {ALL, true, "ffn_down", "mlp.down_proj", MATRIX},

    {GROK | QWEN2, true, "attn_q", "self_attn.q_proj", MATRIX},
    {GROK | QWEN2, true, "attn_k", "self_attn.k_proj", MATRIX},
    {LLAMA, true, "attn_q", "self_attn.q_proj", QUERIES},
    {LLAMA, true, "attn_k", "self_attn.k_proj", KEYS},

    {LLAMA | QWEN2, true, "attn_norm", "input_layernorm", VECTOR},
    {LLAMA | QWEN2, true, "ffn_norm", "post_attention_layernorm", VECTOR},
    {GROK, true, "attn_norm", "pre_attn_norm", VECTOR},
    {GROK, true, "attn_output_norm", "post_attn_norm", VECTOR},
    {GROK, true, "ffn_norm", "pre_moe_norm", VECTOR},
    {GROK, true, "post_ffw_norm", "post_moe_norm", VECTOR},     /* Grok-2 */
    {GROK, true, "layer_output_norm", "post_moe_norm", VECTOR}, /* Grok-1 */

    {GROK | LLAMA, true, "ffn_gate_inp", "block_sparse_moe.gate", MATRIX},
    {GROK | LLAMA, true, "ffn_gate_exps", "w1", STACK},
    {GROK | LLAMA, true, "ffn_down_exps", "w2", STACK},
    {GROK | LLAMA, true, "ffn_up_exps", "w3", STACK},
};

#define N_ROWS (sizeof rows / sizeof rows[0])

/* What a stored name says. */
typedef struct parsed {
    const struct row *row;
    const char *suffix; /* ".weight" or ".bias" */
    uint64_t layer, expert;
    bool one_expert; /* of a file with one tensor for each */
} parsed;

typedef struct naming {
    gk_catalog *c;
    unsigned arch;
    uint64_t heads, kv_heads; /* 0: not known */
    gk_tensor *tensor;
    uint64_t n;
    gk_err *err;
} naming;

/* ---- names ----------------------------------------------------------------------- */

/* Takes a decimal number without leading zeros; returns what follows, or NULL. */
static const char *take_number(const char *s, uint64_t *out)
{
    *out = 0;
    if (*s < '0' || *s > '9' || (s[0] == '0' && s[1] >= '0' && s[1] <= '9'))
        return NULL;
    for (; *s >= '0' && *s <= '9'; s++) {
        *out = *out * 10 + (uint64_t)(*s - '0');
        if (*out > UINT32_MAX)
            return NULL;
    }
    return s;
}

/* "ffn_gate.7" of a file with one tensor for each expert: the row of "ffn_gate_exps". */
static bool is_one_expert(const struct row *row, const char *kind, size_t len, parsed *p)
{
    const size_t base = strlen(row->stored) - strlen("_exps");

    if (row->how != STACK || len <= base + 1 || strncmp(kind, row->stored, base) != 0
        || kind[base] != '.' || take_number(kind + base + 1, &p->expert) != kind + len)
        return false;
    p->one_expert = true;
    return true;
}

static bool parse(unsigned arch, const char *stored, parsed *p)
{
    const char *kind = stored;
    bool layer = false;

    *p = (parsed){.suffix = gk_ends_with(stored, ".bias") ? ".bias" : ".weight"};
    if (!gk_ends_with(stored, p->suffix))
        return false;
    if (strncmp(stored, "blk.", 4) == 0) {
        kind = take_number(stored + 4, &p->layer);
        if (kind == NULL || *kind++ != '.')
            return false;
        layer = true;
    }
    const size_t before = strlen(kind), after = strlen(p->suffix);
    if (before < after)
        return false;
    const size_t len = before - after;
    for (size_t i = 0; i < N_ROWS; i++) {
        p->row = &rows[i];
        if (!(rows[i].archs & arch) || rows[i].layer != layer)
            continue;
        if (strlen(rows[i].stored) == len && strncmp(rows[i].stored, kind, len) == 0)
            return true;
        if (is_one_expert(&rows[i], kind, len, p))
            return true;
    }
    return false;
}

static char *name_of(const naming *n, const parsed *p, uint64_t expert)
{
    if (!p->row->layer)
        return gk_arena_printf(n->c->arena, n->err, "%s%s", p->row->name, p->suffix);
    if (p->row->how == STACK)
        return gk_arena_printf(n->c->arena, n->err,
                               "model.layers.%" PRIu64 ".block_sparse_moe.experts.%" PRIu64 ".%s%s",
                               p->layer, expert, p->row->name, p->suffix);
    return gk_arena_printf(n->c->arena, n->err, "model.layers.%" PRIu64 ".%s%s", p->layer,
                           p->row->name, p->suffix);
}

/* ---- one entry ------------------------------------------------------------------- */

static bool say(const naming *n, gk_severity severity, const gk_stored *s, const char *text)
{
    return gk_findings_addf(&n->c->findings, "gguf", severity, n->c->input[s->input].name, s->name,
                            n->err, "%s", text);
}

static bool is_bias(const parsed *p) { return strcmp(p->suffix, ".bias") == 0; }

/* How many experts the stack has; 0: it is none that can be taken apart. */
static uint64_t stack_size(const gk_stored *s, const parsed *p)
{
    if (p->row->how != STACK || p->one_expert || is_bias(p) || gk_stored_bytes(s) == 0)
        return 0;
    if (s->ndim == 2)
        return 1;
    return s->ndim == 3 && s->dim[0] <= MAX_EXPERTS ? s->dim[0] : 0;
}

static bool add_experts(naming *n, const gk_stored *s, const parsed *p, uint64_t n_experts)
{
    const uint64_t *dim = s->dim + s->ndim - 2;
    const uint64_t row_bytes = gk_row_bytes((gk_dtype)s->dtype, dim[1]);
    gk_part *part = gk_arena_alloc(n->c->arena, n_experts, sizeof *part, n->err);
    gk_piece *piece = gk_arena_alloc(n->c->arena, n_experts, sizeof *piece, n->err);

    if (part == NULL || piece == NULL)
        return false;
    for (uint64_t e = 0; e < n_experts; e++) {
        piece[e] = (gk_piece){.stored = s,
                              .n_rows = dim[0],
                              .n_cols = dim[1],
                              .off = s->off + e * dim[0] * row_bytes,
                              .row_bytes = row_bytes};
        part[e] = (gk_part){.role = GK_PART_VALUES,
                            .dtype = (gk_dtype)s->dtype,
                            .n_rows = dim[0],
                            .n_cols = dim[1],
                            .piece = &piece[e],
                            .n_pieces = 1};
        gk_tensor *t = &n->tensor[n->n++];
        *t = (gk_tensor){.name = name_of(n, p, e),
                         .dim = dim,
                         .part = &part[e],
                         .n_parts = 1,
                         .ndim = 2,
                         .dtype = s->dtype};
        if (t->name == NULL)
            return false;
    }
    return true;
}

/* The pieces that undo the permutation: elements of a bias are its rows. */
static bool unpermute(naming *n, gk_tensor *t, uint64_t heads)
{
    const gk_stored *s = t->whole;
    const bool vector = s->ndim < 2;
    const uint64_t n_rows = vector ? gk_cols(t) : gk_rows(t), n_cols = vector ? 1 : gk_cols(t);
    const uint64_t row_bytes = gk_row_bytes((gk_dtype)s->dtype, n_cols);
    const uint64_t half = n_rows / heads / 2;
    gk_part *part = gk_arena_alloc(n->c->arena, 1, sizeof *part, n->err);
    gk_piece *piece = gk_arena_alloc(n->c->arena, 2 * heads, sizeof *piece, n->err);

    if (part == NULL || piece == NULL)
        return false;
    for (uint64_t i = 0; i < 2 * heads; i++) {
        const uint64_t off = s->off + (i / 2 * 2 * half + i % 2) * row_bytes;
        piece[i] = vector ? (gk_piece){.stored = s,
                                       .col = i * half,
                                       .n_rows = 1,
                                       .n_cols = half,
                                       .off = off,
                                       .col_bytes = 2 * row_bytes}
                          : (gk_piece){.stored = s,
                                       .row = i * half,
                                       .n_rows = half,
                                       .n_cols = n_cols,
                                       .off = off,
                                       .row_bytes = 2 * row_bytes};
    }
    *part = (gk_part){.role = GK_PART_VALUES,
                      .dtype = (gk_dtype)s->dtype,
                      .n_rows = vector ? 1 : n_rows,
                      .n_cols = vector ? n_rows : n_cols,
                      .piece = piece,
                      .n_pieces = 2 * heads};
    t->whole = NULL;
    t->part = part;
    return true;
}

/* Q or K: without whole heads nobody can say which row is which. */
static bool set_rows(naming *n, gk_tensor *t, enum how how)
{
    const gk_stored *s = t->whole;
    const uint64_t heads = how == QUERIES ? n->heads : n->kv_heads;
    const uint64_t n_rows = s->ndim < 2 ? gk_cols(t) : gk_rows(t);
    const bool block = gk_dtype_is_block((gk_dtype)s->dtype);

    if (gk_stored_bytes(s) == 0)
        return true;
    if (heads > 0 && heads <= MAX_HEADS && n_rows % (2 * heads) == 0 && s->ndim >= 1 && s->ndim <= 2
        && (s->ndim == 2 || !block))
        return unpermute(n, t, heads);
    t->whole = NULL;
    t->n_parts = 0;
    return gk_findings_addf(&n->c->findings, "gguf", GK_BAD, n->c->input[s->input].name, s->name,
                            n->err,
                            "its %" PRIu64 " rows are no whole heads of an even width (%" PRIu64
                            " heads), so their order is not known",
                            n_rows, heads);
}

/* A matrix of one row, which ggml stores as a vector. */
static bool widen(naming *n, gk_tensor *t)
{
    uint64_t *dim = gk_arena_alloc(n->c->arena, 2, sizeof *dim, n->err);

    if (dim == NULL)
        return false;
    dim[0] = 1;
    dim[1] = t->dim[0];
    t->dim = dim;
    t->ndim = 2;
    return true;
}

static bool add(naming *n, const gk_stored *s)
{
    gk_tensor *t = &n->tensor[n->n];
    parsed p;

    const bool known = parse(n->arch, s->name, &p);
    const uint64_t n_experts = known ? stack_size(s, &p) : 0;
    if (n_experts > 0)
        return add_experts(n, s, &p, n_experts);
    gk_tensor_from_stored(t, s);
    n->n++;
    if (!known)
        return true;
    if (p.row->how == STACK && !p.one_expert)
        return say(n, GK_BAD, s, "no stack of experts [E, out, in] that can be taken apart");
    t->name = name_of(n, &p, p.expert);
    if (t->name == NULL)
        return false;
    if (p.row->how != VECTOR && !is_bias(&p) && t->ndim == 1 && !widen(n, t))
        return false;
    return (p.row->how != QUERIES && p.row->how != KEYS) || set_rows(n, t, p.row->how);
}

/* ---- all of them ----------------------------------------------------------------- */

static unsigned arch_named(const char *arch)
{
    return strcmp(arch, "grok") == 0    ? GROK
           : strcmp(arch, "llama") == 0 ? LLAMA
           : strcmp(arch, "qwen2") == 0 ? QWEN2
                                        : 0;
}

static unsigned arch_of(const gk_gguf *g)
{
    return g == NULL ? 0 : arch_named(g->arch);
}

static bool count(const naming *n, uint64_t *total)
{
    parsed p;

    *total = 0;
    for (uint64_t i = 0; i < n->c->n_stored; i++) {
        const gk_stored *s = &n->c->stored[i];
        *total += gk_max(parse(n->arch, s->name, &p) ? stack_size(s, &p) : 0, 1);
    }
    return *total <= GK_MAX_TENSORS
           || gk_fail(n->err, GK_ERR_LIMIT, GK_NO_OFF,
                      "%" PRIu64 " tensors, counting each expert, at most %u are allowed", *total,
                      GK_MAX_TENSORS);
}

static bool name_all(gk_catalog *c, unsigned arch, gk_err *err)
{
    naming n = {.c = c, .arch = arch, .err = err};
    uint64_t total;

    if (arch == LLAMA) {
        gk_gguf_uint(c->gguf, "llama.attention.head_count", &n.heads);
        n.kv_heads = n.heads;
        gk_gguf_uint(c->gguf, "llama.attention.head_count_kv", &n.kv_heads);
    }
    if (!count(&n, &total))
        return gk_fail_at(err, c->path, NULL);
    n.tensor = gk_arena_alloc(c->arena, total, sizeof *n.tensor, err);
    if (n.tensor == NULL)
        return false;
    for (uint64_t i = 0; i < c->n_stored; i++)
        if (!add(&n, &c->stored[i]))
            return false;
    return gk_catalog_set(c, n.tensor, n.n, err) || gk_fail_at(err, c->path, NULL);
}

bool gk_gguf_adopt(gk_catalog *c, gk_err *err)
{
    const unsigned arch = arch_of(c->gguf);

    if (!gk_gguf_config(c, err))
        return false;
    return arch == 0 ? gk_tensors_from_all(c, err) : name_all(c, arch, err);
}

/* ---- the other way --------------------------------------------------------------- */

bool gk_gguf_place_of(const char *arch, bool has_dense, const char *name, gk_gguf_place *out)
{
    static const char layers[] = "model.layers.", experts[] = "block_sparse_moe.experts.";
    const unsigned bit = arch_named(arch);
    const char *kind = name;

    *out = (gk_gguf_place){.suffix = gk_ends_with(name, ".bias") ? ".bias" : ".weight"};
    if (!gk_ends_with(name, out->suffix))
        return false;
    if (strncmp(kind, layers, strlen(layers)) == 0) {
        kind = take_number(kind + strlen(layers), &out->layer);
        if (kind == NULL || *kind++ != '.')
            return false;
        out->in_layer = true;
    }
    if (strncmp(kind, experts, strlen(experts)) == 0) {
        kind = take_number(kind + strlen(experts), &out->expert);
        if (kind == NULL || *kind++ != '.')
            return false;
        out->is_stacked = true;
    }
    const size_t len = strlen(kind) - strlen(out->suffix);
    for (size_t i = 0; i < N_ROWS; i++) {
        const struct row *row = &rows[i];
        if (!(row->archs & bit) || row->layer != out->in_layer
            || (row->how == STACK) != out->is_stacked || strlen(row->name) != len
            || strncmp(row->name, kind, len) != 0)
            continue;
        /* both forms of Grok have this norm, each under a name of its own */
        if (bit == GROK && strcmp(row->name, "post_moe_norm") == 0
            && has_dense != (strcmp(row->stored, "post_ffw_norm") == 0))
            continue;
        out->stored = row->stored;
        out->is_query = row->how == QUERIES;
        out->is_key = row->how == KEYS;
        return true;
    }
    return false;
}
