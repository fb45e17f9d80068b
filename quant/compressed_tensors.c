/* quant/compressed_tensors.c - `pack-quantized` tensors: written and read back. */
#include <inttypes.h>
#include <string.h>

#include "formats/checked.h"
#include "quant/kernels.h"
#include "quant/layout.h"

#define SUFFIX ".weight_packed"

/* ---- sizes ---------------------------------------------------------------- */

static uint64_t codes_a_word(const gk_scheme *s)
{
    return 32 / (uint64_t)s->bits;
}

uint64_t gk_ct_row_quantum(const gk_scheme *s)
{
    return s->symmetric ? 1 : codes_a_word(s);
}

uint64_t gk_ct_packed_row_bytes(const gk_scheme *s, uint64_t n_cols)
{
    return gk_div_up(n_cols, codes_a_word(s)) * 4;
}

/* ---- writing -------------------------------------------------------------- */

static bool set_entry(gk_entry *e, const char *module, const char *suffix, gk_dtype dtype,
                      gk_arena *a, gk_err *err)
{
    e->name = gk_arena_printf(a, err, "%s%s", module, suffix);
    e->dtype = (uint8_t)dtype;
    return e->name != NULL;
}

static bool set_shape(gk_entry *e, uint64_t rows, uint64_t cols, gk_arena *a, gk_err *err)
{
    uint64_t *dim = gk_arena_alloc(a, 2, sizeof *dim, err);

    if (dim == NULL)
        return false;
    dim[0] = rows;
    dim[1] = cols;
    e->dim = dim;
    e->ndim = 2;
    e->bytes = rows * cols * (gk_dtype_get((gk_dtype)e->dtype)->bits / 8);
    return true;
}

int gk_ct_entries(const gk_tensor *t, const gk_scheme *s, gk_entry out[GK_MAX_PARTS], gk_arena *a,
                  gk_err *err)
{
    const uint64_t groups = gk_scheme_groups(s, gk_cols(t));
    const uint64_t words = gk_ct_packed_row_bytes(s, gk_cols(t)) / 4;
    const size_t len = strlen(t->name);
    const size_t tail = len > 7 && strcmp(t->name + len - 7, ".weight") == 0 ? 7 : 0;
    const char *module = gk_arena_strn(a, t->name, len - tail, err);
    int n = 3;

    bool ok = module != NULL && set_entry(&out[0], module, ".weight_packed", GK_I32, a, err)
              && set_shape(&out[0], gk_rows(t), words, a, err)
              && set_entry(&out[1], module, ".weight_scale", GK_BF16, a, err)
              && set_shape(&out[1], gk_rows(t), groups, a, err)
              && set_entry(&out[2], module, ".weight_shape", GK_I64, a, err);
    if (!ok)
        return 0;
    static const uint64_t two[] = {2};
    out[2].dim = two;
    out[2].ndim = 1;
    out[2].bytes = 16;
    if (!s->symmetric) {
        if (!set_entry(&out[3], module, ".weight_zero_point", GK_I32, a, err)
            || !set_shape(&out[3], gk_div_up(gk_rows(t), codes_a_word(s)), groups, a, err))
            return 0;
        n = 4;
    }
    return n;
}

void gk_ct_pack(const gk_scheme *s, const int8_t *code, uint64_t n_rows, uint64_t n_cols,
                unsigned char *out)
{
    const gk_kernels *k = gk_kernels_get();
    const uint64_t row_bytes = gk_ct_packed_row_bytes(s, n_cols);
    const uint64_t used = s->bits == 4 ? n_cols / 2 : n_cols;

    for (uint64_t r = 0; r < n_rows; r++, code += n_cols, out += row_bytes) {
        if (s->bits == 8) {
            k->pack8(code, n_cols, out);
        } else {
            k->pack4(code, n_cols & ~UINT64_C(1), out);
            if (n_cols % 2 != 0)
                out[used] = (unsigned char)((code[n_cols - 1] + 8) & 0xF);
        }
        const uint64_t filled = s->bits == 4 ? gk_div_up(n_cols, 2) : n_cols;
        memset(out + filled, 0, row_bytes - filled);
    }
}

void gk_ct_pack_zeros(const gk_scheme *s, const int8_t *zero, uint64_t n_rows, uint64_t n_groups,
                      unsigned char *out)
{
    const uint64_t fields = codes_a_word(s);
    const int bias = 1 << (s->bits - 1), mask = (1 << s->bits) - 1;

    for (uint64_t w = 0; w < gk_div_up(n_rows, fields); w++)
        for (uint64_t g = 0; g < n_groups; g++) {
            uint32_t word = 0;
            for (uint64_t i = 0; i < fields && w * fields + i < n_rows; i++) {
                const int z = zero[(w * fields + i) * n_groups + g] + bias;
                word |= (uint32_t)(z & mask) << (i * (uint64_t)s->bits);
            }
            memcpy(out + (w * n_groups + g) * 4, &word, 4);
        }
}

/* ---- adopting ------------------------------------------------------------- */

typedef struct adopt {
    gk_catalog *c;
    gk_text     name; /* scratch */
    gk_err     *err;
} adopt;

static bool say(adopt *a, const gk_tensor *t, const char *text)
{
    return gk_findings_addf(&a->c->findings, "encoding", GK_BAD,
                            a->c->input[t->whole->input].name, t->name, a->err, "%s", text);
}

static const gk_tensor *companion(adopt *a, const gk_tensor *packed, const char *suffix)
{
    gk_text_clear(&a->name);
    gk_text_add(&a->name, packed->name, strlen(packed->name) - strlen(SUFFIX));
    gk_text_str(&a->name, suffix);
    return a->name.failed ? NULL : gk_catalog_find(a->c, a->name.data);
}

/* The logical shape: weight_shape holds {out, in}. */
static bool read_shape(adopt *a, const gk_tensor *shape, uint64_t dim[2], bool *fits)
{
    uint64_t v[2] = {0, 0};

    *fits = shape->dtype == GK_I64 && shape->ndim == 1 && shape->dim[0] == 2;
    if (!*fits)
        return true;
    if (!gk_read_part(a->c, shape, 0, 0, 1, 0, 2, v, a->err))
        return false;
    dim[0] = v[0];
    dim[1] = v[1];
    *fits = v[0] > 0 && v[1] > 0 && v[0] <= UINT32_MAX && v[1] <= UINT32_MAX;
    return true;
}

static bool is_matrix(const gk_tensor *t, gk_dtype dtype, uint64_t rows)
{
    return t->ndim == 2 && t->dtype == dtype && t->dim[0] == rows;
}

/* Fills s from the shapes alone; false when they belong to no such encoding. */
static bool infer(const gk_tensor *packed, const gk_tensor *scale, const gk_tensor *zero,
                  const uint64_t dim[2], gk_scheme *s)
{
    const uint64_t groups = scale->ndim == 2 ? scale->dim[1] : 0;

    *s = gk_scheme_int(4, groups > 1 ? dim[1] / groups : 0, zero == NULL);
    if (!is_matrix(packed, GK_I32, dim[0]) || groups == 0 || scale->dim[0] != dim[0]
        || (scale->dtype != GK_BF16 && scale->dtype != GK_F16 && scale->dtype != GK_F32)
        || dim[1] % groups != 0)
        return false;
    if (packed->dim[1] != gk_div_up(dim[1], codes_a_word(s)))
        *s = gk_scheme_int(8, s->group, s->symmetric);
    if (packed->dim[1] != gk_div_up(dim[1], codes_a_word(s))
        || (zero != NULL
            && (!is_matrix(zero, GK_I32, gk_div_up(dim[0], codes_a_word(s)))
                || zero->dim[1] != groups)))
        return false;
    return true;
}

static void add_part(const gk_tensor *from, gk_role role, gk_part *part, gk_piece *piece)
{
    gk_part_room room;

    *part = *gk_part_of(from, 0, &room);
    *piece = room.piece;
    part->role = role;
    part->piece = piece;
}

static bool build(adopt *a, const gk_tensor *const from[4], const uint64_t dim[2],
                  const gk_scheme *s, gk_tensor *out)
{
    static const gk_role role[] = {GK_PART_CODES, GK_PART_SCALES, GK_PART_SHAPE, GK_PART_ZEROS};
    const size_t len = strlen(from[0]->name) - strlen(SUFFIX);
    gk_arena *arena = a->c->arena;
    gk_scheme *scheme = gk_arena_alloc(arena, 1, sizeof *scheme, a->err);
    gk_part *part = gk_arena_alloc(arena, 4, sizeof *part, a->err);
    gk_piece *piece = gk_arena_alloc(arena, 4, sizeof *piece, a->err);
    uint64_t *shape = gk_arena_alloc(arena, 2, sizeof *shape, a->err);
    char *name = gk_arena_printf(arena, a->err, "%.*s.weight", (int)len, from[0]->name);

    if (scheme == NULL || part == NULL || piece == NULL || shape == NULL || name == NULL)
        return false;
    *scheme = *s;
    shape[0] = dim[0];
    shape[1] = dim[1];
    *out = (gk_tensor){.name = name,
                       .dim = shape,
                       .part = part,
                       .scheme = scheme,
                       .ndim = 2,
                       .dtype = GK_I32};
    for (int i = 0; i < 4 && from[i] != NULL; i++) {
        add_part(from[i], role[i], &part[i], &piece[i]);
        out->n_parts++;
    }
    return true;
}

/* *taken: out is the encoded tensor; else the stored one stays as it is. */
static bool adopt_one(adopt *a, const gk_tensor *packed, gk_tensor *out, bool *taken)
{
    const gk_tensor *scale = companion(a, packed, ".weight_scale");
    const gk_tensor *shape = companion(a, packed, ".weight_shape");
    const gk_tensor *zero = companion(a, packed, ".weight_zero_point");
    uint64_t dim[2] = {0, 0};
    gk_scheme scheme;
    bool fits = false;

    *taken = false;
    if (scale == NULL || shape == NULL)
        return say(a, packed, scale == NULL ? "weight_scale is missing beside weight_packed"
                                            : "weight_shape is missing beside weight_packed");
    if (companion(a, packed, ".weight_g_idx") != NULL)
        return say(a, packed, "weight_g_idx (activation order) is not supported");
    if (!read_shape(a, shape, dim, &fits))
        return false;
    if (!fits || !infer(packed, scale, zero, dim, &scheme))
        return say(a, packed, "weight_packed, weight_scale, weight_shape and weight_zero_point "
                              "do not fit together as 4 or 8 bit pack-quantized");
    const gk_tensor *from[4] = {packed, scale, shape, zero};
    *taken = true;
    return build(a, from, dim, &scheme, out);
}

static bool ends_with(const char *s, const char *suffix)
{
    const size_t n = strlen(s), k = strlen(suffix);

    return n >= k && strcmp(s + n - k, suffix) == 0;
}

/* Whether t is a companion of a weight_packed that was taken. */
static bool is_companion(adopt *a, const gk_tensor *t)
{
    static const char *const suffix[] = {".weight_scale", ".weight_shape", ".weight_zero_point"};

    for (size_t i = 0; i < 3; i++)
        if (ends_with(t->name, suffix[i])) {
            gk_text_clear(&a->name);
            gk_text_add(&a->name, t->name, strlen(t->name) - strlen(suffix[i]));
            gk_text_str(&a->name, SUFFIX);
            return !a->name.failed && gk_catalog_find(a->c, a->name.data) != NULL;
        }
    return false;
}

bool gk_ct_adopt(gk_catalog *c, gk_err *err)
{
    adopt a = {.c = c, .err = err};
    uint64_t n_packed = 0, n = 0;
    bool ok = true, taken;

    for (uint64_t i = 0; i < c->n_tensors; i++)
        n_packed += ends_with(c->tensor[i].name, SUFFIX);
    if (n_packed == 0)
        return true;
    gk_tensor *kept = gk_arena_alloc(c->arena, c->n_tensors, sizeof *kept, err);
    ok = kept != NULL;
    for (uint64_t i = 0; ok && i < c->n_tensors; i++) {
        const gk_tensor *t = &c->tensor[i];
        if (t->whole != NULL && ends_with(t->name, SUFFIX)) {
            ok = adopt_one(&a, t, &kept[n], &taken);
            if (!taken)
                kept[n] = *t;
            n++;
        } else if (!is_companion(&a, t)) {
            kept[n++] = *t;
        }
    }
    gk_text_free(&a.name);
    if (ok && n < c->n_tensors)
        c->format = "compressed-tensors";
    return ok && gk_catalog_set(c, kept, n, err);
}

/* ---- reading -------------------------------------------------------------- */

static int part_of_role(const gk_tensor *t, gk_role role)
{
    for (int i = 0; i < t->n_parts; i++)
        if (t->part[i].role == role)
            return i;
    return -1;
}

uint64_t gk_ct_read_scratch(const gk_tensor *t, uint64_t n_rows, uint64_t n_cols)
{
    const uint64_t groups = gk_scheme_groups(t->scheme, n_cols);
    const uint64_t zero_rows = n_rows / codes_a_word(t->scheme) + 2;

    return gk_max(gk_max(n_rows * gk_ct_packed_row_bytes(t->scheme, n_cols), n_rows * groups * 4),
                  zero_rows * groups * 4);
}

static void unpack_codes(const gk_scheme *s, const unsigned char *packed, uint64_t n_rows,
                         uint64_t n_cols, int8_t *code)
{
    const gk_kernels *k = gk_kernels_get();
    const uint64_t row_bytes = gk_ct_packed_row_bytes(s, n_cols);

    for (uint64_t r = 0; r < n_rows; r++, packed += row_bytes, code += n_cols) {
        if (s->bits == 8) {
            k->unpack8(packed, n_cols, code);
            continue;
        }
        k->unpack4(packed, n_cols & ~UINT64_C(1), code);
        if (n_cols % 2 != 0)
            code[n_cols - 1] = (int8_t)((packed[n_cols / 2] & 0xF) - 8);
    }
}

static bool read_scales(const gk_catalog *c, const gk_tensor *t, const uint64_t rect[4],
                        gk_codes *out, void *scratch, gk_err *err)
{
    const gk_kernels *k = gk_kernels_get();
    const int i = part_of_role(t, GK_PART_SCALES);
    const uint64_t groups = gk_scheme_groups(t->scheme, rect[3]);
    const uint64_t first = t->scheme->group == 0 ? 0 : rect[2] / t->scheme->group;
    const uint64_t n = rect[1] * groups;

    if (!gk_read_part(c, t, i, rect[0], rect[1], first, groups, scratch, err))
        return false;
    switch (t->part[i].dtype) {
    case GK_BF16: k->bf16_to_f32(scratch, n, out->scale); return true;
    case GK_F16: k->f16_to_f32(scratch, n, out->scale); return true;
    default: memcpy(out->scale, scratch, n * sizeof(float)); return true;
    }
}

static bool read_zeros(const gk_catalog *c, const gk_tensor *t, const uint64_t rect[4],
                       gk_codes *out, void *scratch, gk_err *err)
{
    const gk_scheme *s = t->scheme;
    const uint64_t groups = gk_scheme_groups(s, rect[3]), fields = codes_a_word(s);
    const uint64_t first = s->group == 0 ? 0 : rect[2] / s->group;
    const uint64_t word = rect[0] / fields, n_words = gk_div_up(rect[0] + rect[1], fields) - word;
    const int bias = 1 << (s->bits - 1), mask = (1 << s->bits) - 1;

    if (!gk_read_part(c, t, part_of_role(t, GK_PART_ZEROS), word, n_words, first, groups, scratch,
                      err))
        return false;
    for (uint64_t r = 0; r < rect[1]; r++)
        for (uint64_t g = 0; g < groups; g++) {
            const uint64_t at = (rect[0] + r) / fields - word, field = (rect[0] + r) % fields;
            const uint32_t w = gk_load_u32((const char *)scratch + (at * groups + g) * 4);
            out->zero[r * groups + g]
                = (int8_t)((int)(w >> (field * (uint64_t)s->bits) & (uint32_t)mask) - bias);
        }
    return true;
}

bool gk_ct_read(const gk_catalog *c, const gk_tensor *t, const uint64_t rect[4], gk_codes *out,
                void *scratch, gk_err *err)
{
    const gk_scheme *s = t->scheme;
    const uint64_t fields = codes_a_word(s);
    const bool whole_row = rect[2] == 0 && rect[3] == gk_cols(t);

    if (!whole_row && (s->group == 0 || rect[2] % s->group != 0 || rect[3] % s->group != 0
                       || rect[2] % fields != 0 || rect[3] % fields != 0))
        return gk_fail(err, GK_ERR_ARG, GK_NO_OFF, "columns %" PRIu64 "+%" PRIu64
                       " are no whole groups of %s", rect[2], rect[3], s->name);
    if (!gk_read_part(c, t, part_of_role(t, GK_PART_CODES), rect[0], rect[1], rect[2] / fields,
                      gk_div_up(rect[3], fields), scratch, err))
        return false;
    unpack_codes(s, scratch, rect[1], rect[3], out->code);
    return read_scales(c, t, rect, out, scratch, err)
           && (s->symmetric || read_zeros(c, t, rect, out, scratch, err));
}
