/* quant/grok1.c - QuantizedWeight8bit of the Grok-1 checkpoint: int8 codes [out, in] with
 * a scale for every row and part of the input axis. Read only.
 *
 * Source: xai-org/grok-1 model.py @7050ed2. The reader has turned [in, out] and spread the
 * scales to [out, groups]; a group is in / groups columns. */
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
    gk_codes codes;

    gk_codes_divide(c->scheme, c->tile.n_rows, c->tile.n_cols, c->scratch, &codes);
    memcpy(codes.code, c->part[CODES], (size_t)(c->tile.n_rows * c->tile.n_cols));
    gk_floats(c->dtype[SCALES], c->part[SCALES],
              c->tile.n_rows * gk_scheme_groups(c->scheme, c->tile.n_cols), codes.scale);
    gk_codes_decode(c, &codes);
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

bool gk_grok1_adopt(gk_catalog *c, gk_err *err)
{
    for (uint64_t i = 0; i < c->n_tensors; i++) {
        gk_tensor *t = &c->tensor[i];
        if (t->scheme != NULL || t->whole != NULL || t->n_parts != 2
            || t->part[CODES].role != GK_PART_CODES || t->part[CODES].dtype != GK_I8
            || t->part[SCALES].role != GK_PART_SCALES)
            continue;
        const uint64_t groups = t->part[SCALES].n_cols;
        gk_scheme *s = gk_arena_alloc(c->arena, 1, sizeof *s, err);
        if (s == NULL)
            return false;
        *s = gk_scheme_int(8, groups > 1 ? gk_cols(t) / groups : 0, true);
        s->scales = t->part[SCALES].dtype;
        s->layout = &gk_layout_grok1;
        t->scheme = s;
    }
    return true;
}
