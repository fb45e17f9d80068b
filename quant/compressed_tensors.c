/* quant/compressed_tensors.c - `pack-quantized` of compressed-tensors: for W [out, in]
 *
 *   M.weight_packed      I32 [out, ceil(in*b/32)]  code + 2^(b-1), least bits first
 *   M.weight_scale       BF16 [out, in/group]      channel: [out, 1]
 *   M.weight_shape       I64 [2]                   {out, in}
 *   M.weight_zero_point  I32 [ceil(out*b/32), in/group], asymmetric only, packed
 *                        along out
 * Source: vllm-project/compressed-tensors compressors/ @ac8e2ba. */
#include <inttypes.h>
#include <string.h>

#include "formats/checked.h"
#include "quant/kernels.h"
#include "quant/layout.h"

enum { PACKED, SCALE, SHAPE, ZERO };

static uint64_t codes_a_word(const gk_scheme *s) { return 32 / (uint64_t)s->bits; }

static uint64_t words(const gk_scheme *s, uint64_t n) { return gk_div_up(n, codes_a_word(s)); }

/* ---- shapes ---------------------------------------------------------------- */

static void quantum(const gk_scheme *s, uint64_t *rows, uint64_t *cols)
{
    *rows = s->symmetric ? 1 : codes_a_word(s);
    *cols = s->group;
}

static int parts(const gk_scheme *s, const uint64_t dim[2], gk_layout_part out[GK_MAX_PARTS])
{
    const uint64_t groups = gk_scheme_groups(s, dim[1]);

    out[PACKED] = (gk_layout_part){GK_PART_CODES, ".weight_packed", GK_I32, 2,
                                   dim[0],        words(s, dim[1])};
    out[SCALE] = (gk_layout_part){GK_PART_SCALES, ".weight_scale", s->scales, 2, dim[0], groups};
    out[SHAPE] = (gk_layout_part){GK_PART_SHAPE, ".weight_shape", GK_I64, 1, 1, 2};
    out[ZERO] = (gk_layout_part){GK_PART_ZEROS, ".weight_zero_point", GK_I32, 2, words(s, dim[0]),
                                 groups};
    return s->symmetric ? 3 : 4;
}

static void span(const gk_scheme *s, int i, const uint64_t dim[2], const gk_tile *t, gk_tile *out)
{
    const uint64_t group = s->group == 0 ? 0 : t->col / s->group;
    const uint64_t groups = gk_scheme_groups(s, t->n_cols);
    const bool first = t->row == 0 && t->col == 0;

    (void)dim;
    *out = (gk_tile){t->row, t->n_rows, group, groups};
    if (i == PACKED) {
        out->col = t->col / codes_a_word(s);
        out->n_cols = words(s, t->n_cols);
    } else if (i == SHAPE) {
        *out = (gk_tile){0, first ? 1 : 0, 0, first ? 2 : 0};
    } else if (i == ZERO) {
        out->row = t->row / codes_a_word(s);
        out->n_rows = words(s, t->row + t->n_rows) - out->row;
    }
}

static uint64_t scratch_bytes(const gk_scheme *s, uint64_t n_rows, uint64_t n_cols)
{
    return gk_codes_divide(s, n_rows, n_cols, NULL, NULL);
}

/* ---- writing -------------------------------------------------------------- */

static void pack(const gk_scheme *s, const int8_t *code, uint64_t n_rows, uint64_t n_cols,
                 unsigned char *out)
{
    const gk_kernels *k = gk_kernels_get();
    const uint64_t row_bytes = words(s, n_cols) * 4;
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

static void pack_zeros(const gk_scheme *s, const int8_t *zero, uint64_t n_rows, uint64_t n_groups,
                       unsigned char *out)
{
    const uint64_t fields = codes_a_word(s);
    const int bias = 1 << (s->bits - 1), mask = (1 << s->bits) - 1;

    for (uint64_t w = 0; w < words(s, n_rows); w++)
        for (uint64_t g = 0; g < n_groups; g++) {
            uint32_t word = 0;
            for (uint64_t i = 0; i < fields && w * fields + i < n_rows; i++) {
                const int z = zero[(w * fields + i) * n_groups + g] + bias;
                word |= (uint32_t)(z & mask) << (i * (uint64_t)s->bits);
            }
            memcpy(out + (w * n_groups + g) * 4, &word, 4);
        }
}

static void encode(const gk_coding *c)
{
    const gk_scheme *s = c->scheme;
    const uint64_t groups = gk_scheme_groups(s, c->tile.n_cols);
    gk_codes codes;

    gk_codes_encode(c, &codes);
    pack(s, codes.code, c->tile.n_rows, c->tile.n_cols, c->part[PACKED]);
    gk_kernels_get()->f32_to_bf16(codes.scale, c->tile.n_rows * groups, c->part[SCALE]);
    if (c->tile.row == 0 && c->tile.col == 0)
        memcpy(c->part[SHAPE], c->dim, 16);
    if (!s->symmetric)
        pack_zeros(s, codes.zero, c->tile.n_rows, groups, c->part[ZERO]);
}

/* ---- reading -------------------------------------------------------------- */

static void unpack(const gk_scheme *s, const unsigned char *packed, uint64_t n_rows,
                   uint64_t n_cols, int8_t *code)
{
    const gk_kernels *k = gk_kernels_get();
    const uint64_t row_bytes = words(s, n_cols) * 4;

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

static void unpack_zeros(const gk_scheme *s, const unsigned char *packed, const gk_tile *t,
                         uint64_t groups, int8_t *zero)
{
    const uint64_t fields = codes_a_word(s), word = t->row / fields;
    const int bias = 1 << (s->bits - 1), mask = (1 << s->bits) - 1;

    for (uint64_t r = 0; r < t->n_rows; r++)
        for (uint64_t g = 0; g < groups; g++) {
            const uint64_t at = (t->row + r) / fields - word, field = (t->row + r) % fields;
            const uint32_t w = gk_load_u32((const char *)packed + (at * groups + g) * 4);
            zero[r * groups + g] = (int8_t)((int)(w >> (field * (uint64_t)s->bits) & (uint32_t)mask)
                                            - bias);
        }
}

static bool decode(const gk_coding *c)
{
    const gk_scheme *s = c->scheme;
    const uint64_t groups = gk_scheme_groups(s, c->tile.n_cols);
    gk_codes codes;

    gk_codes_divide(s, c->tile.n_rows, c->tile.n_cols, c->scratch, &codes);
    unpack(s, c->part[PACKED], c->tile.n_rows, c->tile.n_cols, codes.code);
    gk_floats(c->dtype[SCALE], c->part[SCALE], c->tile.n_rows * groups, codes.scale);
    if (!s->symmetric)
        unpack_zeros(s, c->part[ZERO], &c->tile, groups, codes.zero);
    gk_codes_decode(c, &codes);
    return true;
}

/* ---- recognizing ----------------------------------------------------------- */

/* The logical shape: weight_shape holds {out, in}. */
static bool read_shape(const gk_catalog *c, const gk_tensor *shape, uint64_t dim[2])
{
    uint64_t v[2] = {0, 0};
    gk_err own = {0};

    if (shape->dtype != GK_I64 || shape->ndim != 1 || shape->dim[0] != 2
        || !gk_read_part(c, shape, 0, 0, 1, 0, 2, v, &own))
        return false;
    dim[0] = v[0];
    dim[1] = v[1];
    return v[0] > 0 && v[1] > 0 && v[0] <= UINT32_MAX && v[1] <= UINT32_MAX;
}

static bool infer(const gk_catalog *c, const gk_tensor *const from[GK_MAX_PARTS], uint64_t dim[2],
                  gk_scheme *out)
{
    const gk_tensor *packed = from[PACKED], *scale = from[SCALE], *zero = from[ZERO];
    const uint64_t groups = scale->ndim == 2 ? scale->dim[1] : 0;

    if (packed->dtype != GK_I32 || packed->ndim != 2 || !read_shape(c, from[SHAPE], dim)
        || groups == 0 || dim[1] % groups != 0
        || !gk_is_floats(scale) || !gk_is_matrix(scale, (gk_dtype)scale->dtype, dim[0], groups))
        return false;
    for (int bits = 4; bits <= 8; bits += 4) {
        *out = gk_scheme_int(bits, groups > 1 ? dim[1] / groups : 0, zero == NULL);
        out->scales = (gk_dtype)scale->dtype;
        if (gk_is_matrix(packed, GK_I32, dim[0], words(out, dim[1])))
            return zero == NULL || gk_is_matrix(zero, GK_I32, words(out, dim[0]), groups);
    }
    return false;
}

const gk_layout gk_layout_packed = {
    .name = "compressed-tensors",
    .measures = true,
    .quantum = quantum,
    .parts = parts,
    .span = span,
    .scratch_bytes = scratch_bytes,
    .encode = encode,
    .decode = decode,
    .suffix = {".weight_packed", ".weight_scale", ".weight_shape", ".weight_zero_point"},
    .n_needed = 3,
    .infer = infer,
};
