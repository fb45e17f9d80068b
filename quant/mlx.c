/* quant/mlx.c - MLX's affine mode: for W [out, in], f = 32 / b
 *
 *   M.weight  U32 [out, in/f]       unsigned codes, least bits first
 *   M.scales  BF16 [out, in/group]  may be negative
 *   M.biases  BF16 [out, in/group]
 *
 * w = code * scale + bias. Always two numbers a group, so a symmetric scheme and an
 * asymmetric one are the same here. Codes are chosen in f32 before scale and bias are
 * rounded to BF16, as the reference does. Source: ml-explore/mlx mlx/ops.cpp
 * affine_quantize @846d176. */
#include <math.h>
#include <string.h>

#include "formats/checked.h"
#include "quant/kernels.h"
#include "quant/layout.h"

enum { CODES, SCALES, BIASES };

static uint64_t fields_of(const gk_scheme *s) { return 32 / (uint64_t)s->bits; }

static void quantum(const gk_scheme *s, uint64_t *rows, uint64_t *cols)
{
    *rows = 1;
    *cols = s->group;
}

static int parts(const gk_scheme *s, const uint64_t dim[2], gk_layout_part out[GK_MAX_PARTS])
{
    const uint64_t groups = gk_scheme_groups(s, dim[1]);

    out[CODES] = (gk_layout_part){GK_PART_CODES,        ".weight", GK_U32, 2, dim[0],
                                  dim[1] / fields_of(s)};
    out[SCALES] = (gk_layout_part){GK_PART_SCALES, ".scales", s->scales, 2, dim[0], groups};
    out[BIASES] = (gk_layout_part){GK_PART_ZEROS, ".biases", s->scales, 2, dim[0], groups};
    return 3;
}

static void span(const gk_scheme *s, int i, const uint64_t dim[2], const gk_tile *t, gk_tile *out)
{
    (void)dim;
    if (i == CODES)
        *out = (gk_tile){t->row, t->n_rows, t->col / fields_of(s), t->n_cols / fields_of(s)};
    else
        *out = (gk_tile){t->row, t->n_rows, t->col / s->group, t->n_cols / s->group};
}

static uint64_t groups_in(const gk_coding *c)
{
    return c->tile.n_rows * (c->tile.n_cols / c->scheme->group);
}

/* Scales and biases, f32. */
static uint64_t scratch_bytes(const gk_scheme *s, uint64_t n_rows, uint64_t n_cols)
{
    return 2 * n_rows * gk_scheme_groups(s, n_cols) * sizeof(float);
}

/* The group's edge of larger magnitude becomes a code's exact value, and 0, too. */
static void choose(const float *w, uint64_t n, float steps, float *scale, float *bias)
{
    float lo = w[0], hi = w[0];

    for (uint64_t i = 1; i < n; i++) {
        lo = w[i] < lo ? w[i] : lo;
        hi = w[i] > hi ? w[i] : hi;
    }
    const bool low = fabsf(lo) > fabsf(hi);
    const float edge = low ? lo : hi;
    const float s = fmaxf((hi - lo) / steps, 1e-7f), first = low ? s : -s;
    const float q = rintf(edge / first);
    *scale = q != 0 ? edge / q : first;
    *bias = q != 0 ? edge : 0;
}

/* Puts the codes of n weights behind each other. */
static void pack(const gk_scheme *s, const float *w, uint64_t n, const float by[2],
                 unsigned char *out)
{
    const float most = (float)((1 << s->bits) - 1);
    const uint64_t fields = fields_of(s);

    for (uint64_t i = 0; i < n; i += fields, out += 4) {
        uint32_t word = 0;
        for (uint64_t k = 0; k < fields; k++) {
            const float q = rintf((w[i + k] - by[1]) / by[0]);
            word |= (uint32_t)fminf(fmaxf(q, 0), most) << (k * (uint64_t)s->bits);
        }
        memcpy(out, &word, 4);
    }
}

static void unpack(const gk_scheme *s, const unsigned char *in, uint64_t n, const float by[2],
                   float *v)
{
    const uint32_t mask = (1u << s->bits) - 1;
    const uint64_t fields = fields_of(s);

    for (uint64_t i = 0; i < n; i += fields, in += 4)
        for (uint64_t k = 0; k < fields; k++) {
            const uint32_t code = gk_load_u32(in) >> (k * (uint64_t)s->bits) & mask;
            v[i + k] = (float)code * by[0] + by[1];
        }
}

static void unpack_all(const gk_coding *c, const float *scale, const float *bias)
{
    const uint64_t n = c->scheme->group, groups = groups_in(c);

    for (uint64_t i = 0; i < groups; i++)
        unpack(c->scheme, c->part[CODES] + i * n / fields_of(c->scheme) * 4, n,
               (const float[2]){scale[i], bias[i]}, c->v + i * n);
}

static void encode(const gk_coding *c)
{
    const gk_kernels *k = gk_kernels_get();
    const uint64_t n = c->scheme->group, groups = groups_in(c);
    float *scale = c->scratch, *bias = scale + groups;

    for (uint64_t i = 0; i < groups; i++) {
        choose(c->w + i * n, n, (float)((1 << c->scheme->bits) - 1), &scale[i], &bias[i]);
        pack(c->scheme, c->w + i * n, n, (const float[2]){scale[i], bias[i]},
             c->part[CODES] + i * n / fields_of(c->scheme) * 4);
    }
    k->f32_to_bf16(scale, groups, c->part[SCALES]);
    k->f32_to_bf16(bias, groups, c->part[BIASES]);
    k->bf16_to_f32(c->part[SCALES], groups, scale);
    k->bf16_to_f32(c->part[BIASES], groups, bias);
    unpack_all(c, scale, bias);
}

static bool decode(const gk_coding *c)
{
    const uint64_t groups = groups_in(c);
    float *scale = c->scratch, *bias = scale + groups;

    gk_floats(c->dtype[SCALES], c->part[SCALES], groups, scale);
    gk_floats(c->dtype[BIASES], c->part[BIASES], groups, bias);
    unpack_all(c, scale, bias);
    return true;
}

/* ---- recognizing ------------------------------------------------------------------ */

/* Four bits in groups of 2n have the shapes of eight in groups of n: config.json says
 * which, for the module or for all. Without it they are four. */
static uint64_t told_bits(const gk_catalog *c, const char *weight)
{
    const gk_json *q = gk_json_get(c->config, "quantization");
    char module[256];
    uint64_t bits = 4;
    const size_t len = strlen(weight) - strlen(".weight");

    if (q == NULL)
        q = gk_json_get(c->config, "quantization_config");
    gk_json_as_uint(gk_json_get(q, "bits"), &bits);
    if (len < sizeof module) {
        memcpy(module, weight, len);
        module[len] = '\0';
        gk_json_as_uint(gk_json_get(gk_json_get(q, module), "bits"), &bits);
    }
    return bits;
}

static bool infer(const gk_catalog *c, const gk_tensor *const from[GK_MAX_PARTS], uint64_t dim[2],
                  gk_scheme *out)
{
    const gk_tensor *w = from[CODES], *scales = from[SCALES], *biases = from[BIASES];
    const uint64_t told = told_bits(c, w->name);

    if (w->ndim != 2 || w->dtype != GK_U32 || scales->ndim != 2 || !gk_is_floats(scales)
        || w->dim[0] == 0 || scales->dim[1] == 0 || w->dim[1] > UINT32_MAX
        || (told != 4 && told != 8)
        || !gk_is_matrix(scales, (gk_dtype)scales->dtype, w->dim[0], scales->dim[1])
        || !gk_is_matrix(biases, (gk_dtype)scales->dtype, w->dim[0], scales->dim[1]))
        return false;
    dim[0] = w->dim[0];
    dim[1] = w->dim[1] * (32 / told);
    const uint64_t group = dim[1] / scales->dim[1];
    *out = gk_scheme_int((int)told, group, true);
    out->scales = (gk_dtype)scales->dtype;
    return dim[1] % scales->dim[1] == 0 && (group == 32 || group == 64 || group == 128);
}

const gk_layout gk_layout_mlx = {
    .name = "mlx",
    .quantum = quantum,
    .parts = parts,
    .span = span,
    .scratch_bytes = scratch_bytes,
    .encode = encode,
    .decode = decode,
    .suffix = {".weight", ".scales", ".biases"},
    .n_needed = 3,
    .infer = infer,
};
