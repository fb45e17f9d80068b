/* quant/layout_float.c - the small floats of compressed-tensors: for W [out, in]
 *
 * float-quantized
 *   M.weight              F8_E4M3 [out, in]
 *   M.weight_scale        F32 [out, 1]; blocks: [ceil(out/128), ceil(in/128)], those at the
 *                         edge of what is there; read only: [1], and BF16 or F16
 *   (M.weight_scale_inv: the same number under the name that quant_method "fp8" has for it)
 *   (M.input_scale, in NVFP4 M.input_global_scale: how an engine codes the module's inputs, which
 *   means nothing without these codes and goes with them)
 * nvfp4-pack-quantized
 *   M.weight_packed       U8 [out, in/2]           E2M1, even column in the low nibble
 *   M.weight_scale        F8_E4M3 [out, in/16]     s
 *   M.weight_global_scale F32 [1]                  G, a divisor: w = e2m1 * (s / G)
 * mxfp4-pack-quantized
 *   M.weight_packed       U8 [out, in/2]
 *   M.weight_scale        U8 [out, in/32]          E: w = e2m1 * 2^(E - 127)
 *
 * Scales are those of the library's min-max rule in f32: FP8 max|w| / 448; NVFP4
 * G = 1 / max|w| * (448 * 6) of all that share it, s = e4m3(G * (max|w| / 6)); what would be 0
 * is the scale type's epsilon. Source: vllm-project/compressed-tensors compressors/,
 * quantization/utils/ @ac8e2ba. */
#include <math.h>
#include <string.h>

#include "formats/checked.h"
#include "quant/float8.h"
#include "quant/kernels.h"
#include "quant/layout.h"

enum { VALUES, SCALE, GLOBAL };

#define BLOCK 128 /* rows and columns that share a scale of fp8-block */

static float largest(const float *w, uint64_t n)
{
    float lo, hi;

    gk_kernels_get()->range(w, n, &lo, &hi);
    return -lo > hi ? -lo : hi;
}

/* ---- FP8 ------------------------------------------------------------------------ */

/* Rows and columns of W that share a scale. */
static void scaled(const gk_scheme *s, const uint64_t dim[2], uint64_t *rows, uint64_t *cols)
{
    *rows = s->group == 0 ? 1 : s->group == GK_GROUP_ALL ? dim[0] : BLOCK;
    *cols = s->group == BLOCK ? BLOCK : dim[1];
}

static void fp8_quantum(const gk_scheme *s, uint64_t *rows, uint64_t *cols)
{
    *rows = s->group == BLOCK ? BLOCK : 1;
    *cols = s->group == BLOCK ? BLOCK : s->group == 0 ? 0 : 1;
}

static int fp8_parts(const gk_scheme *s, const uint64_t dim[2], gk_layout_part out[GK_MAX_PARTS])
{
    uint64_t rows, cols;

    scaled(s, dim, &rows, &cols);
    out[VALUES] = (gk_layout_part){GK_PART_CODES, ".weight", GK_F8_E4M3, 2, dim[0], dim[1]};
    out[SCALE] = (gk_layout_part){GK_PART_SCALES,          ".weight_scale",        GK_F32, 2,
                                  gk_div_up(dim[0], rows), gk_div_up(dim[1], cols)};
    return 2;
}

static int fp8_inv_parts(const gk_scheme *s, const uint64_t dim[2],
                         gk_layout_part out[GK_MAX_PARTS])
{
    fp8_parts(s, dim, out);
    out[SCALE].suffix = ".weight_scale_inv";
    return 2;
}

static void fp8_span(const gk_scheme *s, int i, const uint64_t dim[2], const gk_tile *t,
                     gk_tile *out)
{
    uint64_t rows, cols;

    scaled(s, dim, &rows, &cols);
    *out = *t;
    if (i == VALUES)
        return;
    *out = (gk_tile){.row = t->row / rows, .col = t->col / cols};
    out->n_rows = gk_div_up(t->row + t->n_rows, rows) - out->row;
    out->n_cols = gk_div_up(t->col + t->n_cols, cols) - out->col;
}

/* Scales as floats. A tile of rows may begin and end within blocks. */
static uint64_t fp8_scratch_bytes(const gk_scheme *s, uint64_t n_rows, uint64_t n_cols)
{
    const uint64_t rows = s->group == BLOCK ? n_rows / BLOCK + 2 : n_rows;

    return rows * (s->group == BLOCK ? gk_div_up(n_cols, BLOCK) : 1) * sizeof(float);
}

static void fp8_encode(const gk_coding *c)
{
    const gk_tile *t = &c->tile;
    uint64_t rows, cols, at = 0;
    float value[256];

    for (int i = 0; i < 256; i++)
        value[i] = gk_e4m3_to((uint8_t)i);
    scaled(c->scheme, c->dim, &rows, &cols);
    for (uint64_t r = 0; r < t->n_rows; r += rows)
        for (uint64_t k = 0; k < t->n_cols; k += cols, at++) {
            const uint64_t last = gk_min(r + rows, t->n_rows), n = gk_min(cols, t->n_cols - k);
            float most = 0;
            for (uint64_t i = r; i < last; i++)
                most = fmaxf(most, largest(c->w + i * t->n_cols + k, n));
            float scale = most / 448;
            scale = scale == 0 ? 0x1p-23f : scale;
            memcpy(c->part[SCALE] + at * sizeof scale, &scale, sizeof scale);
            for (uint64_t i = r; i < last; i++)
                for (uint64_t j = i * t->n_cols + k; j < i * t->n_cols + k + n; j++) {
                    c->part[VALUES][j] = gk_e4m3_from(c->w[j] / scale);
                    c->v[j] = value[c->part[VALUES][j]] * scale;
                }
        }
}

static bool fp8_decode(const gk_coding *c)
{
    const gk_tile *t = &c->tile;
    float *scale = c->scratch, value[256];
    uint64_t rows, cols;
    gk_tile span;

    for (int i = 0; i < 256; i++)
        value[i] = gk_e4m3_to((uint8_t)i);
    scaled(c->scheme, c->dim, &rows, &cols);
    fp8_span(c->scheme, SCALE, c->dim, t, &span);
    gk_floats(c->dtype[SCALE], c->part[SCALE], span.n_rows * span.n_cols, scale);
    for (uint64_t r = 0; r < t->n_rows; r++) {
        const float *row = scale + ((t->row + r) / rows - span.row) * span.n_cols;
        for (uint64_t k = 0; k < t->n_cols; k += cols)
            for (uint64_t j = k; j < gk_min(k + cols, t->n_cols); j++)
                c->v[r * t->n_cols + j] = value[c->part[VALUES][r * t->n_cols + j]] * row[k / cols];
    }
    return true;
}

static bool fp8_infer(const gk_catalog *c, const gk_tensor *const from[GK_MAX_PARTS],
                      uint64_t dim[2], gk_scheme *out)
{
    static const uint64_t groups[] = {0, BLOCK, GK_GROUP_ALL};
    const gk_tensor *w = from[VALUES], *scale = from[SCALE];

    (void)c;
    if (w->ndim != 2 || w->dtype != GK_F8_E4M3 || scale == NULL || !gk_is_floats(scale))
        return false;
    dim[0] = w->dim[0];
    dim[1] = w->dim[1];
    for (int i = 0; i < 3 && dim[0] > 0 && dim[1] > 0; i++) {
        gk_layout_part part[GK_MAX_PARTS];
        *out = gk_scheme_fp8(groups[i]);
        fp8_parts(out, dim, part);
        if (gk_is_matrix(scale, (gk_dtype)scale->dtype, part[SCALE].n_rows, part[SCALE].n_cols))
            return true;
    }
    return gk_rows(scale) == 1 && gk_cols(scale) == 1; /* [1] or a scalar */
}

const gk_layout gk_layout_float = {
    .name = "compressed-tensors",
    .quantum = fp8_quantum,
    .parts = fp8_parts,
    .span = fp8_span,
    .scratch_bytes = fp8_scratch_bytes,
    .encode = fp8_encode,
    .decode = fp8_decode,
    .suffix = {".weight", ".weight_scale", ".input_scale"},
    .n_needed = 2,
    .infer = fp8_infer,
};

const gk_layout gk_layout_float_inv = {
    .name = "fp8",
    .quantum = fp8_quantum,
    .parts = fp8_inv_parts,
    .span = fp8_span,
    .scratch_bytes = fp8_scratch_bytes,
    .decode = fp8_decode,
    .suffix = {".weight", ".weight_scale_inv"},
    .n_needed = 2,
    .infer = fp8_infer,
};

/* ---- FP4 ------------------------------------------------------------------------- */

static void fp4_quantum(const gk_scheme *s, uint64_t *rows, uint64_t *cols)
{
    *rows = 1;
    *cols = s->group;
}

static int nvfp4_parts(const gk_scheme *s, const uint64_t dim[2], gk_layout_part out[GK_MAX_PARTS])
{
    out[VALUES] = (gk_layout_part){GK_PART_CODES, ".weight_packed",    GK_U8, 2,
                                   dim[0],        gk_div_up(dim[1], 2)};
    out[SCALE] = (gk_layout_part){
        GK_PART_SCALES, ".weight_scale", GK_F8_E4M3, 2, dim[0], gk_scheme_groups(s, dim[1])};
    out[GLOBAL] = (gk_layout_part){GK_PART_SCALES, ".weight_global_scale", GK_F32, 1, 1, 1};
    return 3;
}

static int mxfp4_parts(const gk_scheme *s, const uint64_t dim[2], gk_layout_part out[GK_MAX_PARTS])
{
    nvfp4_parts(s, dim, out);
    out[SCALE].dtype = GK_U8;
    return 2;
}

static void fp4_span(const gk_scheme *s, int i, const uint64_t dim[2], const gk_tile *t,
                     gk_tile *out)
{
    (void)dim;
    if (i == GLOBAL)
        *out = (gk_tile){0, 1, 0, 1};
    else if (i == VALUES)
        *out = (gk_tile){t->row, t->n_rows, t->col / 2, t->n_cols / 2};
    else
        *out = (gk_tile){t->row, t->n_rows, t->col / s->group, gk_scheme_groups(s, t->n_cols)};
}

static uint64_t fp4_scratch_bytes(const gk_scheme *s, uint64_t n_rows, uint64_t n_cols)
{
    (void)s;
    (void)n_rows;
    (void)n_cols;
    return 0;
}

/* One group: n values to n / 2 bytes, in units of step. */
static void fp4_pack(const float *w, uint64_t n, float step, unsigned char *out, float *v)
{
    for (uint64_t i = 0; i < n; i += 2) {
        const uint8_t low = gk_e2m1_from(w[i] / step), high = gk_e2m1_from(w[i + 1] / step);
        out[i / 2] = (unsigned char)(low | high << 4);
        v[i] = gk_e2m1_to(low) * step;
        v[i + 1] = gk_e2m1_to(high) * step;
    }
}

static void fp4_unpack(const unsigned char *in, uint64_t n, float step, float *v)
{
    for (uint64_t i = 0; i < n; i += 2) {
        v[i] = gk_e2m1_to(in[i / 2] & 0xF) * step;
        v[i + 1] = gk_e2m1_to(in[i / 2] >> 4) * step;
    }
}

/* The global scale, through the reciprocal as the library has it, whose last bit may
 * differ from that of a division; 1 where there is no number for it. */
static float divisor(float most)
{
    const float g = 1 / most * (448.0f * 6.0f);

    return isfinite(g) ? g : 1;
}

static void nvfp4_encode(const gk_coding *c)
{
    const uint64_t n = c->scheme->group, groups = c->tile.n_rows * (c->tile.n_cols / n);
    const float g = divisor(c->most);

    memcpy(c->part[GLOBAL], &g, sizeof g);
    for (uint64_t i = 0; i < groups; i++) {
        uint8_t code = gk_e4m3_from(g * (largest(c->w + i * n, n) / 6));
        if (gk_e4m3_to(code) == 0)
            code = gk_e4m3_from(0.125f);
        c->part[SCALE][i] = code;
        fp4_pack(c->w + i * n, n, gk_e4m3_to(code) / g, c->part[VALUES] + i * n / 2, c->v + i * n);
    }
}

static bool nvfp4_decode(const gk_coding *c)
{
    const uint64_t n = c->scheme->group, groups = c->tile.n_rows * (c->tile.n_cols / n);
    float g;

    memcpy(&g, c->part[GLOBAL], sizeof g);
    for (uint64_t i = 0; i < groups; i++)
        fp4_unpack(c->part[VALUES] + i * n / 2, n, gk_e4m3_to(c->part[SCALE][i]) / g, c->v + i * n);
    return true;
}

static void mxfp4_encode(const gk_coding *c)
{
    const uint64_t n = c->scheme->group, groups = c->tile.n_rows * (c->tile.n_cols / n);

    for (uint64_t i = 0; i < groups; i++) {
        const uint8_t code = gk_mxfp4_scale(largest(c->w + i * n, n));
        c->part[SCALE][i] = code;
        fp4_pack(c->w + i * n, n, gk_e8m0_to(code), c->part[VALUES] + i * n / 2, c->v + i * n);
    }
}

static bool mxfp4_decode(const gk_coding *c)
{
    const uint64_t n = c->scheme->group, groups = c->tile.n_rows * (c->tile.n_cols / n);

    for (uint64_t i = 0; i < groups; i++)
        fp4_unpack(c->part[VALUES] + i * n / 2, n, gk_e8m0_to(c->part[SCALE][i]), c->v + i * n);
    return true;
}

/* Shapes of a named scheme with that many columns a scale. */
static bool fp4_infer(const gk_tensor *const from[GK_MAX_PARTS], const char *name, uint64_t dim[2],
                      gk_scheme *out)
{
    const gk_tensor *packed = from[VALUES], *scale = from[SCALE];
    gk_err own = {0};

    if (packed->dtype != GK_U8 || packed->ndim != 2 || packed->dim[0] == 0 || packed->dim[1] == 0
        || packed->dim[1] > UINT32_MAX || !gk_scheme_parse(name, out, &own))
        return false;
    dim[0] = packed->dim[0];
    dim[1] = 2 * packed->dim[1];
    return dim[1] % out->group == 0
           && gk_is_matrix(scale, (gk_dtype)scale->dtype, dim[0], dim[1] / out->group);
}

static bool nvfp4_infer(const gk_catalog *c, const gk_tensor *const from[GK_MAX_PARTS],
                        uint64_t dim[2], gk_scheme *out)
{
    const gk_tensor *all = from[GLOBAL];

    (void)c;
    return from[SCALE]->dtype == GK_F8_E4M3 && all->dtype == GK_F32 && gk_rows(all) == 1
           && gk_cols(all) == 1 && fp4_infer(from, "nvfp4", dim, out);
}

static bool mxfp4_infer(const gk_catalog *c, const gk_tensor *const from[GK_MAX_PARTS],
                        uint64_t dim[2], gk_scheme *out)
{
    const gk_tensor *scale = from[SCALE];

    (void)c;
    return (scale->dtype == GK_U8 || scale->dtype == GK_F8_E8M0)
           && fp4_infer(from, "mxfp4", dim, out);
}

const gk_layout gk_layout_nvfp4 = {
    .name = "compressed-tensors",
    .quantum = fp4_quantum,
    .parts = nvfp4_parts,
    .span = fp4_span,
    .scratch_bytes = fp4_scratch_bytes,
    .encode = nvfp4_encode,
    .decode = nvfp4_decode,
    .suffix = {".weight_packed", ".weight_scale", ".weight_global_scale", ".input_global_scale"},
    .n_needed = 3,
    .infer = nvfp4_infer,
};

const gk_layout gk_layout_mxfp4 = {
    .name = "compressed-tensors",
    .quantum = fp4_quantum,
    .parts = mxfp4_parts,
    .span = fp4_span,
    .scratch_bytes = fp4_scratch_bytes,
    .encode = mxfp4_encode,
    .decode = mxfp4_decode,
    .suffix = {".weight_packed", ".weight_scale"},
    .n_needed = 2,
    .infer = mxfp4_infer,
};
