/* quant/gptq.c - GPTQ files: for W [out, in], u = code + 2^(b-1), f = 32 / b
 *
 *   M.qweight  I32 [in/f, out]   word [r][n]: u[n][r*f + i] << b*i
 *   M.qzeros   I32 [G, out/f]    word [g][c]: z[c*f + i][g] << b*i; version 1 holds z - 1
 *   M.scales   F16 [G, out]      G = in/group, or 1
 *   M.g_idx    I32 [in]          the group of each column: k / group
 *
 * W[n][k] = scales[g][n] * (u - z). In and out are multiples of 32. Version 1 is written
 * symmetric only (z is 2^(b-1)): with z = 0 its minus one borrows from the next field.
 * Refused: a g_idx of another order (desc_act). Source: ModelCloud/GPTQModel
 * gptqmodel/nn_modules/qlinear/__init__.py @f4c327a. */
#include <inttypes.h>
#include <string.h>

#include "formats/checked.h"
#include "quant/turned.h"

enum { QWEIGHT, QZEROS, SCALES, G_IDX };

static const uint8_t in_order[8] = {0, 1, 2, 3, 4, 5, 6, 7};
static const gk_zero_words version_1 = {in_order, 1}, version_2 = {in_order, 0};

static uint64_t fields_of(const gk_scheme *s) { return 32 / (uint64_t)s->bits; }

static void quantum(const gk_scheme *s, uint64_t *rows, uint64_t *cols)
{
    *rows = fields_of(s);
    *cols = s->group;
}

static int parts(const gk_scheme *s, const uint64_t dim[2], gk_layout_part out[GK_MAX_PARTS])
{
    const uint64_t groups = gk_scheme_groups(s, dim[1]), fields = fields_of(s);

    out[QWEIGHT] = (gk_layout_part){GK_PART_CODES, ".qweight", GK_I32, 2, dim[1] / fields, dim[0]};
    out[QZEROS] = (gk_layout_part){GK_PART_ZEROS, ".qzeros", GK_I32, 2, groups, dim[0] / fields};
    out[SCALES] = (gk_layout_part){GK_PART_SCALES, ".scales", GK_F16, 2, groups, dim[0]};
    out[G_IDX] = (gk_layout_part){GK_PART_INDEX, ".g_idx", GK_I32, 1, 1, dim[1]};
    return 4;
}

static void span(const gk_scheme *s, int i, const uint64_t dim[2], const gk_tile *t, gk_tile *out)
{
    (void)dim;
    if (i == QWEIGHT)
        *out = (gk_tile){t->col / fields_of(s), t->n_cols / fields_of(s), t->row, t->n_rows};
    else if (i == QZEROS)
        gk_turned_zeros_span(s, t, out);
    else if (i == SCALES)
        gk_turned_scales_span(s, t, out);
    else if (t->row == 0)
        *out = (gk_tile){0, 1, t->col, t->n_cols};
    else
        *out = (gk_tile){0, 0, 0, 0};
}

static int32_t group_of(const gk_scheme *s, uint64_t col)
{
    return s->group == 0 ? 0 : (int32_t)(col / s->group);
}

static void put_codes(const gk_coding *c, const int8_t *code)
{
    const uint64_t fields = fields_of(c->scheme), rows = c->tile.n_rows, cols = c->tile.n_cols;
    const int bits = c->scheme->bits, half = 1 << (bits - 1);

    for (uint64_t n = 0; n < rows; n++)
        for (uint64_t k = 0; k < cols; k += fields) {
            uint32_t word = 0;
            for (uint64_t i = 0; i < fields; i++)
                word |= (uint32_t)(code[n * cols + k + i] + half) << (i * (uint64_t)bits);
            memcpy(c->part[QWEIGHT] + (k / fields * rows + n) * 4, &word, 4);
        }
}

static void encode(const gk_coding *c, const gk_zero_words *zeros)
{
    gk_codes codes;

    gk_codes_encode(c, &codes);
    put_codes(c, codes.code);
    gk_turned_put_scales(c, &codes, c->part[SCALES]);
    gk_turned_put_zeros(c, &codes, zeros, c->part[QZEROS]);
    for (uint64_t k = 0; c->tile.row == 0 && k < c->tile.n_cols; k++) {
        const int32_t group = group_of(c->scheme, c->tile.col + k);
        memcpy(c->part[G_IDX] + 4 * k, &group, 4);
    }
}

static void encode_1(const gk_coding *c) { encode(c, &version_1); }

static void encode_2(const gk_coding *c) { encode(c, &version_2); }

static void get_codes(const gk_coding *c, int8_t *code)
{
    const uint64_t fields = fields_of(c->scheme), rows = c->tile.n_rows, cols = c->tile.n_cols;
    const int bits = c->scheme->bits, half = 1 << (bits - 1);
    const uint32_t mask = (1u << bits) - 1;

    for (uint64_t n = 0; n < rows; n++)
        for (uint64_t k = 0; k < cols; k += fields) {
            const uint32_t w = gk_load_u32(c->part[QWEIGHT] + (k / fields * rows + n) * 4);
            for (uint64_t i = 0; i < fields; i++)
                code[n * cols + k + i] = (int8_t)((int)(w >> (i * (uint64_t)bits) & mask) - half);
        }
}

/* Columns must come in the order of their groups; the tiles of the first row look. */
static bool in_groups_order(const gk_coding *c)
{
    if (c->part[G_IDX] == NULL || c->tile.row != 0)
        return true;
    for (uint64_t k = 0; k < c->tile.n_cols; k++) {
        const uint64_t col = c->tile.col + k;
        const int32_t found = (int32_t)gk_load_u32(c->part[G_IDX] + 4 * k);
        if (found != group_of(c->scheme, col))
            return gk_fail(c->err, GK_ERR_UNSUPPORTED, GK_NO_OFF,
                           "g_idx puts column %" PRIu64 " into group %" PRId32 ", not %" PRId32
                           ": activation order (desc_act) is not supported",
                           col, found, group_of(c->scheme, col));
    }
    return true;
}

static bool decode(const gk_coding *c, const gk_zero_words *zeros)
{
    gk_codes codes;

    if (!in_groups_order(c))
        return false;
    gk_codes_divide(c->scheme, c->tile.n_rows, c->tile.n_cols, c->scratch, &codes);
    get_codes(c, codes.code);
    gk_turned_get_scales(c, c->dtype[SCALES], c->part[SCALES], &codes);
    if (!gk_turned_get_zeros(c, zeros, c->part[QZEROS], &codes))
        return false;
    gk_codes_decode(c, &codes);
    return true;
}

static bool decode_1(const gk_coding *c) { return decode(c, &version_1); }

static bool decode_2(const gk_coding *c) { return decode(c, &version_2); }

/* ---- recognizing ----------------------------------------------------------------- */

static const gk_json *config_of(const gk_catalog *c)
{
    return gk_json_get(c->config, "quantization_config");
}

static bool is_version_2(const gk_catalog *c)
{
    const char *format = gk_json_text(gk_json_get(config_of(c), "checkpoint_format"), NULL);

    return format != NULL && strcmp(format, "gptq_v2") == 0;
}

static bool infer(const gk_catalog *c, const gk_tensor *const from[GK_MAX_PARTS], uint64_t dim[2],
                  gk_scheme *out)
{
    const gk_tensor *scales = from[SCALES];
    bool symmetric = true;

    gk_json_as_bool(gk_json_get(config_of(c), "sym"), &symmetric);
    if (scales->ndim != 2 || !gk_is_floats(scales) || scales->dim[0] == 0 || scales->dim[1] == 0
        || scales->dim[1] > UINT32_MAX || from[QWEIGHT]->ndim != 2
        || from[QWEIGHT]->dim[0] > UINT32_MAX || from[QWEIGHT]->dim[0] == 0)
        return false;
    dim[0] = scales->dim[1];
    for (int bits = 4; bits <= 8; bits += 4) {
        const uint64_t groups = scales->dim[0], fields = 32 / (uint64_t)bits;
        dim[1] = from[QWEIGHT]->dim[0] * fields;
        *out = gk_scheme_int(bits, groups > 1 ? dim[1] / groups : 0, symmetric);
        out->scales = (gk_dtype)scales->dtype;
        if (dim[1] % groups == 0 && out->group % fields == 0 && dim[0] % fields == 0
            && gk_is_matrix(from[QWEIGHT], GK_I32, dim[1] / fields, dim[0])
            && gk_is_matrix(from[QZEROS], GK_I32, groups, dim[0] / fields))
            return from[G_IDX] == NULL
                   || (from[G_IDX]->dtype == GK_I32 && from[G_IDX]->ndim == 1
                       && from[G_IDX]->dim[0] == dim[1]);
    }
    return false;
}

static bool infer_1(const gk_catalog *c, const gk_tensor *const from[GK_MAX_PARTS], uint64_t dim[2],
                    gk_scheme *out)
{
    return !is_version_2(c) && infer(c, from, dim, out);
}

static bool infer_2(const gk_catalog *c, const gk_tensor *const from[GK_MAX_PARTS], uint64_t dim[2],
                    gk_scheme *out)
{
    return is_version_2(c) && infer(c, from, dim, out);
}

const gk_layout gk_layout_gptq = {
    .name = "gptq",
    .is_turned = true,
    .measures = true,
    .quantum = quantum,
    .parts = parts,
    .span = span,
    .scratch_bytes = gk_turned_scratch_bytes,
    .encode = encode_1,
    .decode = decode_1,
    .suffix = {".qweight", ".qzeros", ".scales", ".g_idx"},
    .n_needed = 3,
    .infer = infer_1,
};

const gk_layout gk_layout_gptq_v2 = {
    .name = "gptq",
    .is_turned = true,
    .measures = true,
    .quantum = quantum,
    .parts = parts,
    .span = span,
    .scratch_bytes = gk_turned_scratch_bytes,
    .encode = encode_2,
    .decode = decode_2,
    .suffix = {".qweight", ".qzeros", ".scales", ".g_idx"},
    .n_needed = 3,
    .infer = infer_2,
};
