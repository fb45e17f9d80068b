/* quant/layout.c - the table of layouts; adopting and reading what they describe. */
#include "quant/layout.h"

#include <inttypes.h>
#include <string.h>

#include "formats/checked.h"
#include "quant/kernels.h"

/* Where suffixes are shared (".qweight", ".weight_packed"), the first that fits the
 * stored shapes and types. */
static const gk_layout *const layouts[] = {
    &gk_layout_packed, &gk_layout_nvfp4,     &gk_layout_mxfp4, &gk_layout_gptq, &gk_layout_gptq_v2,
    &gk_layout_awq,    &gk_layout_float,     &gk_layout_float_inv, &gk_layout_mlx,
};

#define N_LAYOUTS (sizeof layouts / sizeof layouts[0])

/* ---- adopting ------------------------------------------------------------- */

typedef struct adopt {
    gk_catalog *c;
    gk_text name; /* scratch */
    gk_err *err;
} adopt;

/* A suffix that no plain tensor has. */
static bool is_telling(const gk_layout *l) { return strcmp(l->suffix[0], ".weight") != 0; }

/* The tensor that stands beside t: with `to` where t has `from`. */
static const gk_tensor *beside(adopt *a, const gk_tensor *t, const char *from, const char *to)
{
    gk_text_clear(&a->name);
    gk_text_add(&a->name, t->name, strlen(t->name) - strlen(from));
    gk_text_str(&a->name, to);
    return a->name.failed ? NULL : gk_catalog_find(a->c, a->name.data);
}

/* Fills from[] with the parts of layout l whose first is t; returns how many there are. */
static int gather(adopt *a, const gk_layout *l, const gk_tensor *t,
                  const gk_tensor *from[GK_MAX_PARTS])
{
    int n = 1;

    memset(from, 0, GK_MAX_PARTS * sizeof *from);
    from[0] = t;
    for (int i = 1; i < GK_MAX_PARTS && l->suffix[i] != NULL; i++) {
        from[i] = beside(a, t, l->suffix[0], l->suffix[i]);
        n += from[i] != NULL;
    }
    return n;
}

static bool add_part(adopt *a, const gk_tensor *from, gk_role role, gk_part *part)
{
    gk_part_room room;

    *part = *gk_part_of(from, 0, &room);
    part->role = role;
    if (part->piece != &room.piece)
        return true;
    gk_piece *piece = gk_arena_alloc(a->c->arena, 1, sizeof *piece, a->err);
    if (piece != NULL)
        *piece = room.piece;
    part->piece = piece;
    return piece != NULL;
}

static bool build(adopt *a, const gk_layout *l, const gk_tensor *const from[GK_MAX_PARTS],
                  const uint64_t dim[2], const gk_scheme *s, gk_tensor *out)
{
    const size_t len = strlen(from[0]->name) - strlen(l->suffix[0]);
    gk_arena *arena = a->c->arena;
    gk_scheme *scheme = gk_arena_alloc(arena, 1, sizeof *scheme, a->err);
    gk_part *part = gk_arena_alloc(arena, GK_MAX_PARTS, sizeof *part, a->err);
    uint64_t *shape = gk_arena_alloc(arena, 2, sizeof *shape, a->err);
    char *name = gk_arena_printf(arena, a->err, "%.*s.weight", (int)len, from[0]->name);
    gk_layout_part known[GK_MAX_PARTS];

    if (scheme == NULL || part == NULL || shape == NULL || name == NULL)
        return false;
    *scheme = *s;
    scheme->layout = l;
    shape[0] = dim[0];
    shape[1] = dim[1];
    *out = (gk_tensor){.name = name,
                       .dim = shape,
                       .part = part,
                       .scheme = scheme,
                       .ndim = 2,
                       .dtype = from[0]->dtype};
    const int n = l->parts(scheme, dim, known);
    for (int i = 0; i < n; i++)
        for (int k = 0; k < GK_MAX_PARTS; k++)
            if (from[k] != NULL && strcmp(known[i].suffix, l->suffix[k]) == 0
                && !add_part(a, from[k], known[i].role, &part[out->n_parts++]))
                return false;
    return true;
}

static bool say(adopt *a, const gk_tensor *t, gk_err_code code, const char *what)
{
    const gk_finding row = {.check = "encoding",
                            .severity = GK_BAD,
                            .code = code,
                            .off = GK_NO_OFF,
                            .file = t->whole != NULL ? a->c->input[t->whole->input].name : NULL,
                            .tensor = t->name,
                            .text = what};
    return gk_findings_add(&a->c->findings, &row, a->err);
}

/* Why t, whose suffix only layout l and its like have, was not adopted. */
static bool say_unfit(adopt *a, const gk_tensor *t, const gk_layout *l)
{
    const gk_tensor *from[GK_MAX_PARTS];
    gk_text text = {0};

    gather(a, l, t, from);
    for (int i = 1; i < l->n_needed; i++)
        if (from[i] == NULL) {
            gk_text_printf(&text, "%s is missing beside %s", l->suffix[i] + 1, l->suffix[0] + 1);
            const bool ok = gk_text_ok(&text, a->err) && say(a, t, GK_ERR_FORMAT, text.data);
            gk_text_free(&text);
            return ok;
        }
    return say(a, t, GK_ERR_FORMAT,
               "it and the tensors beside it do not fit together as any encoding known here");
}

/* "M.weight" is a name for plain values, too: but not for integers or FP8 with scales beside
 * them, which taken as values would be nonsense. */
static bool say_unknown(adopt *a, const gk_tensor *t, const gk_layout *l)
{
    const gk_tensor *from[GK_MAX_PARTS];
    gk_text text = {0};

    gather(a, l, t, from);
    gk_text_printf(&text,
                   "%s codes with %s beside them: an encoding that is not read (MLX is, of 4 and 8 "
                   "bits, and FP8 E4M3)",
                   gk_dtype_get((gk_dtype)t->dtype)->name, l->suffix[1] + 1);
    const bool ok = gk_text_ok(&text, a->err) && say(a, t, GK_ERR_UNSUPPORTED, text.data);
    gk_text_free(&text);
    return ok;
}

static bool has_needed(const gk_layout *l, const gk_tensor *const from[GK_MAX_PARTS])
{
    for (int i = 0; i < l->n_needed; i++)
        if (from[i] == NULL)
            return false;
    return true;
}

/* What tensor t is the first part of; *taken: out is the encoded tensor. */
static bool adopt_one(adopt *a, const gk_tensor *t, gk_tensor *out, bool *taken)
{
    const gk_layout *telling = NULL, *scaled = NULL;
    gk_scheme scheme;

    *taken = false;
    if (t->n_parts == 0 || t->scheme != NULL)
        return true;
    if (gk_grok1_scheme(t, &scheme)) {
        gk_scheme *copy = gk_arena_alloc(a->c->arena, 1, sizeof *copy, a->err);
        *out = *t;
        out->scheme = copy;
        *taken = copy != NULL;
        if (copy != NULL)
            *copy = scheme;
        return copy != NULL;
    }
    for (size_t i = 0; i < N_LAYOUTS; i++) {
        const gk_layout *l = layouts[i];
        const gk_tensor *from[GK_MAX_PARTS];
        uint64_t dim[2];
        if (!gk_ends_with(t->name, l->suffix[0]))
            continue;
        if (telling == NULL && is_telling(l))
            telling = l;
        const int n = gather(a, l, t, from);
        if (!is_telling(l) && from[1] != NULL && !gk_is_floats(t) && t->dtype != GK_F64)
            scaled = l;
        if (n > 1 && has_needed(l, from)
            && l->infer(a->c, from, dim, &scheme)) {
            if (beside(a, t, l->suffix[0], ".weight_g_idx") != NULL)
                return say(a, t, GK_ERR_UNSUPPORTED,
                           "weight_g_idx (activation order) is not supported");
            *taken = true;
            return build(a, l, from, dim, &scheme, out);
        }
    }
    if (scaled != NULL)
        return say_unknown(a, t, scaled);
    return telling == NULL || say_unfit(a, t, telling);
}

/* Whether t is a part, but not the first, of something that was adopted. */
static bool is_companion(adopt *a, const gk_tensor *t, const bool *taken)
{
    for (size_t i = 0; i < N_LAYOUTS; i++)
        for (int k = 1; k < GK_MAX_PARTS && layouts[i]->suffix[k] != NULL; k++)
            if (gk_ends_with(t->name, layouts[i]->suffix[k])) {
                const gk_tensor *first = beside(a, t, layouts[i]->suffix[k], layouts[i]->suffix[0]);
                if (first != NULL && taken[first - a->c->tensor])
                    return true;
            }
    return false;
}

static bool may_be_encoded(const gk_catalog *c)
{
    gk_scheme scheme;

    for (uint64_t i = 0; i < c->n_tensors; i++) {
        if (gk_grok1_scheme(&c->tensor[i], &scheme))
            return true;
        for (size_t l = 0; l < N_LAYOUTS; l++)
            for (int k = is_telling(layouts[l]) ? 0 : 1;
                 k < GK_MAX_PARTS && layouts[l]->suffix[k] != NULL; k++)
                if (gk_ends_with(c->tensor[i].name, layouts[l]->suffix[k]))
                    return true;
    }
    return false;
}

bool gk_layout_adopt(gk_catalog *c, gk_err *err)
{
    adopt a = {.c = c, .err = err};
    uint64_t n = 0, adopted = 0;
    const char *format = NULL;

    if (!may_be_encoded(c))
        return true;
    gk_tensor *built = gk_arena_alloc(c->arena, c->n_tensors, sizeof *built, err);
    gk_tensor *kept = gk_arena_alloc(c->arena, c->n_tensors, sizeof *kept, err);
    bool *taken = gk_alloc(c->n_tensors, sizeof *taken, err);
    bool ok = built != NULL && kept != NULL && taken != NULL;
    for (uint64_t i = 0; ok && i < c->n_tensors; i++) {
        ok = adopt_one(&a, &c->tensor[i], &built[i], &taken[i]);
        if (ok && taken[i]) {
            format = built[i].scheme->layout->name;
            adopted++;
        }
    }
    for (uint64_t i = 0; ok && i < c->n_tensors; i++) {
        if (taken[i])
            kept[n++] = built[i];
        else if (!is_companion(&a, &c->tensor[i], taken))
            kept[n++] = c->tensor[i];
    }
    gk_free(taken);
    gk_text_free(&a.name);
    if (ok && adopted > 0)
        c->format = format;
    return ok && (adopted == 0 || gk_catalog_set(c, kept, n, err));
}

/* ---- reading -------------------------------------------------------------- */

static uint64_t up64(uint64_t n) { return (n + 63) / 64 * 64; }

uint64_t gk_layout_read_scratch(const gk_tensor *t, uint64_t n_rows, uint64_t n_cols)
{
    const gk_scheme *s = t->scheme;
    const uint64_t dim[2] = {gk_rows(t), gk_cols(t)};
    gk_layout_part part[GK_MAX_PARTS];
    uint64_t bytes = up64(s->layout->scratch_bytes(s, n_rows, n_cols)), rows, cols;
    const int n = s->layout->parts(s, dim, part);

    /* a tile may begin within a quantum: its spans are those of one more */
    s->layout->quantum(s, &rows, &cols);
    const gk_tile tile = {0, gk_min(n_rows + rows, gk_div_up(dim[0], rows) * rows), 0,
                          cols == 0 ? dim[1] : gk_min(n_cols + cols, dim[1])};
    for (int i = 0; i < n && i < t->n_parts; i++) {
        gk_tile span;
        s->layout->span(s, i, dim, &tile, &span);
        bytes += up64(span.n_rows * gk_row_bytes(t->part[i].dtype, span.n_cols));
    }
    return bytes;
}

bool gk_layout_read(const gk_catalog *c, const gk_tensor *t, const gk_tile *tile, float *out,
                    void *scratch, gk_err *err)
{
    const gk_scheme *s = t->scheme;
    const gk_layout *l = s->layout;
    unsigned char *at = scratch;
    gk_coding job = {
        .scheme = s, .tile = *tile, .v = out, .err = err, .dim = {gk_rows(t), gk_cols(t)}};
    uint64_t rows, cols;
    bool ok = true;

    l->quantum(s, &rows, &cols);
    if (cols == 0 ? tile->col != 0 || tile->n_cols != job.dim[1]
                  : tile->col % cols != 0
                        || (tile->n_cols % cols != 0 && tile->col + tile->n_cols != job.dim[1]))
        return gk_fail(err, GK_ERR_ARG, GK_NO_OFF,
                       "columns %" PRIu64 "+%" PRIu64 " are no whole groups of %s", tile->col,
                       tile->n_cols, s->name);
    for (int i = 0; ok && i < t->n_parts; i++) {
        gk_tile span;
        l->span(s, i, job.dim, tile, &span);
        job.part[i] = at;
        job.dtype[i] = t->part[i].dtype;
        ok = t->part[i].role == GK_PART_SHAPE
             || gk_read_part(c, t, i, span.row, span.n_rows, span.col, span.n_cols, at, err);
        at += up64(span.n_rows * gk_row_bytes(t->part[i].dtype, span.n_cols));
    }
    job.scratch = at;
    return ok && l->decode(&job);
}

bool gk_is_matrix(const gk_tensor *t, gk_dtype dtype, uint64_t n_rows, uint64_t n_cols)
{
    return t->ndim == 2 && t->dtype == dtype && t->dim[0] == n_rows && t->dim[1] == n_cols;
}

bool gk_is_floats(const gk_tensor *t)
{
    return t->dtype == GK_BF16 || t->dtype == GK_F16 || t->dtype == GK_F32;
}

void gk_floats(gk_dtype dtype, const void *in, uint64_t n, float *out)
{
    const gk_kernels *k = gk_kernels_get();

    if (dtype == GK_BF16)
        k->bf16_to_f32(in, n, out);
    else if (dtype == GK_F16)
        k->f16_to_f32(in, n, out);
    else
        memcpy(out, in, n * sizeof(float));
}

/* ---- integer codes ---------------------------------------------------------- */

uint64_t gk_codes_divide(const gk_scheme *s, uint64_t n_rows, uint64_t n_cols, void *scratch,
                         gk_codes *out)
{
    const uint64_t groups = n_rows * gk_scheme_groups(s, n_cols);
    unsigned char *at = scratch;
    const uint64_t scales = up64(groups * sizeof(float)), codes = up64(n_rows * n_cols);

    if (at != NULL)
        *out = (gk_codes){.scale = (float *)(void *)at,
                          .code = (int8_t *)at + scales,
                          .zero = s->symmetric ? NULL : (int8_t *)at + scales + codes};
    return scales + codes + up64(s->symmetric ? 0 : groups);
}

void gk_codes_encode(const gk_coding *c, gk_codes *out)
{
    const gk_group_job job = {.scheme = c->scheme,
                              .method = c->method,
                              .importance = c->importance,
                              .n_rows = c->tile.n_rows,
                              .n_cols = c->tile.n_cols,
                              .bf16 = c->bf16,
                              .factor = c->factor,
                              .room = c->room};

    gk_codes_divide(c->scheme, c->tile.n_rows, c->tile.n_cols, c->scratch, out);
    gk_group_encode(&job, c->w, out->code, out->scale, out->zero, c->sums);
    if (c->v != NULL)
        gk_codes_decode(c, out);
}

void gk_codes_decode(const gk_coding *c, const gk_codes *codes)
{
    gk_group_decode(c->scheme, codes->code, codes->scale, codes->zero, c->tile.n_rows,
                    c->tile.n_cols, c->v);
}
