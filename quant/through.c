/* quant/through.c - codes that nobody keeps. */
#include "quant/through.h"

#include <string.h>

#include "formats/checked.h"
#include "quant/codec_group.h"

gk_scheme gk_through_scheme(int bits, uint64_t n_cols)
{
    uint64_t group = 128;

    while (group >= 32 && n_cols % group != 0)
        group /= 2;
    gk_scheme s = gk_scheme_int(bits, group >= 32 ? group : 0, true);
    s.scales = GK_BF16;
    return s;
}

bool gk_through_view(gk_arena *a, const gk_catalog *model, int bits,
                     bool (*pick)(void *context, const gk_tensor *t), void *context,
                     gk_catalog *out, gk_err *err)
{
    gk_tensor *tensor = gk_arena_alloc(a, model->n_tensors, sizeof *tensor, err);

    if (tensor == NULL)
        return false;
    if (model->n_tensors > 0)
        memcpy(tensor, model->tensor, model->n_tensors * sizeof *tensor);
    for (uint64_t i = 0; i < model->n_tensors; i++)
        if (pick(context, &tensor[i]))
            tensor[i].through = (uint8_t)bits;
    *out = *model;
    out->tensor = tensor;
    return true;
}

uint64_t gk_through_scratch(const gk_scheme *s, uint64_t n_rows, uint64_t n_cols)
{
    return n_rows * gk_scheme_groups(s, n_cols) * sizeof(float) + n_rows * n_cols;
}

void gk_through(const gk_scheme *s, uint64_t n_rows, uint64_t n_cols, float *w, void *scratch)
{
    const gk_group_job job
        = {.scheme = s, .method = GK_METHOD_RTN, .n_rows = n_rows, .n_cols = n_cols};
    float *scales = scratch;
    int8_t *codes = (int8_t *)(scales + n_rows * gk_scheme_groups(s, n_cols));

    gk_group_encode(&job, w, codes, scales, NULL, NULL);
    gk_group_decode(s, codes, scales, NULL, n_rows, n_cols, w);
}
