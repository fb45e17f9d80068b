/* quant/awq.c - AWQ files, version "gemm": for W [out, in], 4 bits, u = code + 8
 *
 *   M.qweight  I32 [in, out/8]  word [k][c]: u[8c + order[i]][k] << 4i
 *   M.qzeros   I32 [G, out/8]   word [g][c]: z[8c + order[i]][g] << 4i
 *   M.scales   F16 [G, out]     G = in/group, or 1
 *
 *     nibble  7 6 5 4 3 2 1 0     W[n][k] = scales[g][n] * (u - z)
 *     row     7 5 3 1 6 4 2 0
 *
 * Out is a multiple of 8. Source: casper-hansen/AutoAWQ awq/modules/linear/gemm.py,
 * awq/utils/packing_utils.py @88e4c76. */
#include <string.h>

#include "formats/checked.h"
#include "quant/turned.h"

enum { QWEIGHT, QZEROS, SCALES };

static const uint8_t order[8] = {0, 2, 4, 6, 1, 3, 5, 7};
static const gk_zero_words zero_words = {order, 0};

static void quantum(const gk_scheme *s, uint64_t *rows, uint64_t *cols)
{
    *rows = 8;
    *cols = s->group;
}

static int parts(const gk_scheme *s, const uint64_t dim[2], gk_layout_part out[GK_MAX_PARTS])
{
    const uint64_t groups = gk_scheme_groups(s, dim[1]);

    out[QWEIGHT] = (gk_layout_part){GK_PART_CODES, ".qweight", GK_I32, 2, dim[1], dim[0] / 8};
    out[QZEROS] = (gk_layout_part){GK_PART_ZEROS, ".qzeros", GK_I32, 2, groups, dim[0] / 8};
    out[SCALES] = (gk_layout_part){GK_PART_SCALES, ".scales", GK_F16, 2, groups, dim[0]};
    return 3;
}

static void span(const gk_scheme *s, int i, const uint64_t dim[2], const gk_tile *t, gk_tile *out)
{
    (void)dim;
    if (i == SCALES) {
        gk_turned_scales_span(s, t, out);
        return;
    }
    gk_turned_zeros_span(s, t, out);
    if (i == QWEIGHT) {
        out->row = t->col;
        out->n_rows = t->n_cols;
    }
}

static void encode(const gk_coding *c)
{
    const uint64_t rows = c->tile.n_rows, cols = c->tile.n_cols;
    gk_codes codes;

    gk_codes_encode(c, &codes);
    for (uint64_t n = 0; n < rows; n += 8)
        for (uint64_t k = 0; k < cols; k++) {
            uint32_t word = 0;
            for (int i = 0; i < 8; i++)
                word |= (uint32_t)(codes.code[(n + order[i]) * cols + k] + 8) << (4 * i);
            memcpy(c->part[QWEIGHT] + (k * (rows / 8) + n / 8) * 4, &word, 4);
        }
    gk_turned_put_scales(c, &codes, c->part[SCALES]);
    gk_turned_put_zeros(c, &codes, &zero_words, c->part[QZEROS]);
}

static bool decode(const gk_coding *c)
{
    static const uint8_t nibble[8] = {0, 4, 1, 5, 2, 6, 3, 7};
    const uint64_t rows = c->tile.n_rows, cols = c->tile.n_cols, first = c->tile.row / 8;
    const uint64_t words = gk_div_up(c->tile.row + rows, 8) - first;
    gk_codes codes;

    gk_codes_divide(c->scheme, rows, cols, c->scratch, &codes);
    for (uint64_t r = 0; r < rows; r++) {
        const uint64_t row = c->tile.row + r, word = row / 8 - first;
        for (uint64_t k = 0; k < cols; k++) {
            const uint32_t w = gk_load_u32(c->part[QWEIGHT] + (k * words + word) * 4);
            codes.code[r * cols + k] = (int8_t)((int)(w >> (4 * nibble[row % 8]) & 0xF) - 8);
        }
    }
    gk_turned_get_scales(c, c->dtype[SCALES], c->part[SCALES], &codes);
    if (!gk_turned_get_zeros(c, &zero_words, c->part[QZEROS], &codes))
        return false;
    gk_codes_decode(c, &codes);
    return true;
}

/* Kernels of other names ("gemv", "gemv_fast", "marlin") want their codes in another order. */
static bool is_gemm(const gk_catalog *c)
{
    const char *version = gk_json_text(
        gk_json_get(gk_json_get(c->config, "quantization_config"), "version"), NULL);

    return version == NULL
           || (strcasestr(version, "gemv") == NULL && strcasestr(version, "marlin") == NULL);
}

/* GPTQ's tensors have the same names, but its qweight is as wide as its scales. */
static bool infer(const gk_catalog *c, const gk_tensor *const from[GK_MAX_PARTS], uint64_t dim[2],
                  gk_scheme *out)
{
    const gk_tensor *w = from[QWEIGHT], *scales = from[SCALES];

    if (w->ndim != 2 || w->dim[0] == 0 || scales->ndim != 2 || !gk_is_floats(scales)
        || scales->dim[0] == 0 || scales->dim[1] == 0 || scales->dim[1] % 8 != 0 || !is_gemm(c))
        return false;
    dim[0] = scales->dim[1];
    dim[1] = w->dim[0];
    *out = gk_scheme_int(4, scales->dim[0] > 1 ? dim[1] / scales->dim[0] : 0, false);
    out->scales = (gk_dtype)scales->dtype;
    return dim[1] % scales->dim[0] == 0 && gk_is_matrix(w, GK_I32, dim[1], dim[0] / 8)
           && gk_is_matrix(from[QZEROS], GK_I32, scales->dim[0], dim[0] / 8);
}

const gk_layout gk_layout_awq = {
    .name = "awq",
    .is_turned = true,
    .measures = true,
    .quantum = quantum,
    .parts = parts,
    .span = span,
    .scratch_bytes = gk_turned_scratch_bytes,
    .encode = encode,
    .decode = decode,
    .suffix = {".qweight", ".qzeros", ".scales"},
    .n_needed = 3,
    .infer = infer,
};
