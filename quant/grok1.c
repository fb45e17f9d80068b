/* quant/grok1.c - the 8-bit weights of Grok-1, as its reader turns them: for W [out, in]
 *
 *   codes   I8 [out, in]
 *   scales  F32, BF16 or F16 [out, G]   w = code * scale, in/G columns a scale
 *
 * Both are parts of one tensor already, so there are no names to look for. Read only. */
#include <string.h>

#include "formats/checked.h"
#include "quant/layout.h"

enum { CODES, SCALES };

static void quantum(const gk_scheme *s, uint64_t *rows, uint64_t *cols)
{
    *rows = 1;
    *cols = s->group;
}

static int parts(const gk_scheme *s, const uint64_t dim[2], gk_layout_part out[GK_MAX_PARTS])
{
    out[CODES] = (gk_layout_part){GK_PART_CODES, "", GK_I8, 2, dim[0], dim[1]};
    out[SCALES] = (gk_layout_part){
        GK_PART_SCALES, "", s->scales, 2, dim[0], gk_scheme_groups(s, dim[1])};
    return 2;
}

static void span(const gk_scheme *s, int i, const uint64_t dim[2], const gk_tile *t, gk_tile *out)
{
    (void)dim;
    *out = *t;
    if (i == SCALES) {
        out->col = s->group == 0 ? 0 : t->col / s->group;
        out->n_cols = gk_scheme_groups(s, t->n_cols);
    }
}

static uint64_t scratch_bytes(const gk_scheme *s, uint64_t n_rows, uint64_t n_cols)
{
    return gk_codes_divide(s, n_rows, n_cols, NULL, NULL);
}

static bool decode(const gk_coding *c)
{
    const uint64_t rows = c->tile.n_rows, cols = c->tile.n_cols;
    gk_codes codes;

    gk_codes_divide(c->scheme, rows, cols, c->scratch, &codes);
    memcpy(codes.code, c->part[CODES], rows * cols);
    gk_floats(c->dtype[SCALES], c->part[SCALES], rows * gk_scheme_groups(c->scheme, cols),
              codes.scale);
    gk_codes_decode(c, &codes);
    return true;
}

bool gk_grok1_scheme(const gk_tensor *t, gk_scheme *out)
{
    if (t->scheme != NULL || t->whole != NULL || t->n_parts != 2 || t->ndim != 2)
        return false;
    const gk_part *codes = &t->part[CODES], *scales = &t->part[SCALES];
    if (codes->role != GK_PART_CODES || codes->dtype != GK_I8 || scales->role != GK_PART_SCALES
        || (scales->dtype != GK_F32 && scales->dtype != GK_BF16 && scales->dtype != GK_F16)
        || codes->n_rows != t->dim[0] || codes->n_cols != t->dim[1] || scales->n_rows != t->dim[0]
        || scales->n_cols == 0 || t->dim[1] % scales->n_cols != 0)
        return false;
    *out = gk_scheme_int(8, scales->n_cols > 1 ? t->dim[1] / scales->n_cols : 0, true);
    out->scales = scales->dtype;
    out->layout = &gk_layout_grok1;
    return true;
}

const gk_layout gk_layout_grok1 = {
    .name = "grok1",
    .quantum = quantum,
    .parts = parts,
    .span = span,
    .scratch_bytes = scratch_bytes,
    .decode = decode,
};
