/* quant/codec_blocks.c - in one pass where a type has it, else row by row within a cache. */
#include "quant/codec_blocks.h"

#include "formats/catalog.h"
#include "quant/blocks.h"
#include "quant/kernels.h"

uint64_t gk_blocks_encode(const gk_blocks_job *job, float *w, float *v, unsigned char *out,
                          double (*sums)[2])
{
    const gk_blocks *blocks = gk_blocks_of(job->type);
    const gk_kernels *k = gk_kernels_get();
    const uint64_t n = job->n_cols, row_bytes = gk_row_bytes(job->type, n);
    const bool at_once = job->bf16 != NULL && job->importance == NULL
                         && blocks->encode_bf16 != NULL;

    for (uint64_t r = 0; r < job->n_rows; r++, out += row_bytes) {
        const uint16_t *half = job->bf16 == NULL ? NULL : (const uint16_t *)job->bf16 + r * n;
        float *row = half == NULL ? w + r * n : w;
        gk_error_sums lanes = {{0}, {0}};
        if (at_once) {
            blocks->encode_bf16(half, n, out, &lanes);
        } else {
            if (half != NULL)
                k->bf16_to_f32(half, n, row);
            blocks->encode(row, n, job->importance, out);
            blocks->decode(out, n, v);
            k->measure(row, v, n, &lanes);
        }
        if (!blocks->valid(out, n))
            return r;
        if (!gk_error_sums_total(&lanes, n, &sums[r][0], &sums[r][1])) {
            if (at_once) {
                k->bf16_to_f32(half, n, row);
                blocks->decode(out, n, v);
            }
            k->row_error(row, v, n, &sums[r][0], &sums[r][1]);
        }
    }
    return job->n_rows;
}
