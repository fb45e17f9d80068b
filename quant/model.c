/* quant/model.c - opening a model, decoding any rectangle of it. */
#include "quant/model.h"

#include <string.h>

#include "formats/checked.h"
#include "formats/grok2.h"
#include "quant/codec_group.h"
#include "quant/kernels.h"
#include "quant/layout.h"

gk_catalog *gk_model_open(const char *path, gk_err *err)
{
    gk_catalog *c = gk_catalog_open(path, err);

    if (c == NULL || (gk_ct_adopt(c, err) && gk_grok2_check(c, err)))
        return c;
    gk_catalog_close(c);
    return NULL;
}

gk_catalog *gk_model_open_whole(const char *path, gk_err *err)
{
    gk_catalog *c = gk_model_open(path, err);

    if (c == NULL || gk_findings_refuse(&c->findings, err))
        return c;
    gk_catalog_close(c);
    return NULL;
}

const char *gk_tensor_kind(const gk_tensor *t)
{
    return t->scheme != NULL ? t->scheme->name : gk_dtype_get((gk_dtype)t->dtype)->name;
}

bool gk_can_decode(const gk_tensor *t)
{
    return t->n_parts > 0
           && (t->scheme != NULL || t->dtype == GK_BF16 || t->dtype == GK_F16
               || t->dtype == GK_F32);
}

/* Scratch of an encoded tile: codes, f32 scales, zeros, then the stored bytes. */
typedef struct room {
    uint64_t scales, zeros, stored, bytes; /* offsets; codes lie at 0 */
} room;

static room divide(const gk_tensor *t, uint64_t n_rows, uint64_t n_cols)
{
    const uint64_t groups = n_rows * gk_scheme_groups(t->scheme, n_cols);
    room r;

    r.scales = (n_rows * n_cols + 63) / 64 * 64;
    r.zeros = r.scales + (groups * 4 + 63) / 64 * 64;
    r.stored = r.zeros + (groups + 63) / 64 * 64;
    r.bytes = r.stored + gk_ct_read_scratch(t, n_rows, n_cols);
    return r;
}

uint64_t gk_decode_scratch_bytes(const gk_tensor *t, uint64_t n_rows, uint64_t n_cols)
{
    if (t->scheme != NULL)
        return divide(t, n_rows, n_cols).bytes;
    return n_rows * gk_row_bytes((gk_dtype)t->dtype, n_cols);
}

static bool decode_codes(const gk_catalog *c, const gk_tensor *t, const uint64_t rect[4],
                         float *out, unsigned char *scratch, gk_err *err)
{
    const room r = divide(t, rect[1], rect[3]);
    gk_codes codes = {.code = (int8_t *)scratch,
                      .scale = (float *)(void *)(scratch + r.scales),
                      .zero = t->scheme->symmetric ? NULL : (int8_t *)(scratch + r.zeros)};

    if (!gk_ct_read(c, t, rect, &codes, scratch + r.stored, err))
        return gk_fail_at(err, NULL, t->name);
    gk_group_decode(t->scheme, codes.code, codes.scale, codes.zero, rect[1], rect[3], out);
    return true;
}

bool gk_decode(const gk_catalog *c, const gk_tensor *t, const uint64_t rect[4], float *out,
               void *scratch, gk_err *err)
{
    const gk_kernels *k = gk_kernels_get();

    if (!gk_can_decode(t)) {
        gk_fail(err, GK_ERR_UNSUPPORTED, GK_NO_OFF, "%s values cannot be computed with here",
                t->n_parts == 0 ? "an incomplete tensor's" : gk_tensor_kind(t));
        return gk_fail_at(err, NULL, t->name);
    }
    if (t->scheme != NULL)
        return decode_codes(c, t, rect, out, scratch, err);
    if (t->dtype == GK_F32)
        return gk_read_part(c, t, 0, rect[0], rect[1], rect[2], rect[3], out, err);
    if (!gk_read_part(c, t, 0, rect[0], rect[1], rect[2], rect[3], scratch, err))
        return false;
    if (t->dtype == GK_BF16)
        k->bf16_to_f32(scratch, rect[1] * rect[3], out);
    else
        k->f16_to_f32(scratch, rect[1] * rect[3], out);
    return true;
}
