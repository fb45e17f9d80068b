/* quant/stats.h - what inputs a matrix sees: E[x^2] of each column, from an imatrix.
 *
 * Two forms of llama.cpp's llama-imatrix are read:
 *   GGUF     tensors NAME.in_sum2 [matrices, columns] and NAME.counts [matrices, 1];
 *            a value is in_sum2 / count, 1 for a matrix that no token reached
 *   legacy   i32 entries; each i32 length, name, i32 calls, i32 n, n floats, which are
 *            divided by calls
 * NAME is that of a GGUF's tensor; an expert stack has one row of columns an expert.
 * Source: ggml-org/llama.cpp tools/quantize/quantize.cpp, tools/imatrix @007dbbf. */
#ifndef GK_QUANT_STATS_H
#define GK_QUANT_STATS_H

#include "formats/arena.h"
#include "formats/hash.h"

typedef struct gk_stats_row {
    const char  *name; /* "blk.0.ffn_down_exps.weight" */
    const float *value; /* [n], finite                 */
    uint64_t     n;
} gk_stats_row;

typedef struct gk_stats {
    gk_arena     *arena;
    gk_stats_row *row; /* sorted by name */
    uint64_t      n, bytes;
    char          sha256[GK_SHA256_HEX]; /* of the file */
} gk_stats;

/* Reads an imatrix file. NULL and *err: FORMAT (also for a value that is not finite), IO,
 * NOMEM. The caller frees it. */
gk_stats *gk_stats_open(const char *path, gk_err *err);
void      gk_stats_free(gk_stats *s);

/* Finds the columns of matrix `expert` of a tensor. *out is NULL when the file says nothing
 * of it. False: FORMAT when it has another number of columns. */
bool gk_stats_find(const gk_stats *s, const char *name, uint64_t expert, uint64_t n_cols,
                   const float **out, gk_err *err);

#endif
