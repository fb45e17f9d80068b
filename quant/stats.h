/* quant/stats.h - what inputs a matrix sees: E[x^2] of each column, from an imatrix.
 *
 * Two forms of llama.cpp's llama-imatrix are read:
 *   GGUF     tensors NAME.in_sum2 [matrices, columns] and NAME.counts [matrices, 1];
 *            a value is in_sum2 / count, and 1 where no token reached any matrix of NAME
 *   legacy   i32 entries; each i32 length, name, i32 calls, i32 n, n floats, which are
 *            divided by calls
 * NAME is that of a GGUF's tensor; an expert stack has one row of columns an expert.
 * Source: ggml-org/llama.cpp tools/quantize/quantize.cpp, tools/imatrix @007dbbf.
 *
 * Of an expert that saw n tokens, fewer than GK_STATS_FLOOR, the values are n / FLOOR parts its
 * own and the rest those of all experts of its stack together (llama-quantize: its own, and 1 for
 * one that saw none). */
#ifndef GK_QUANT_STATS_H
#define GK_QUANT_STATS_H

#include "formats/arena.h"
#include "formats/hash.h"

/* From n tokens of normal inputs E[x^2] is off by sqrt(2 / n), 4 % at 1024, in every column by
 * itself: the width of the matrix does not matter. */
#define GK_STATS_FLOOR 1024

typedef struct gk_stats_row {
    const char  *name; /* "blk.0.ffn_down_exps.weight" */
    const float *value; /* [n], finite                 */
    uint64_t     n;
    const float *count; /* [n_counts] tokens of each matrix of the stack; legacy: none */
    uint64_t     n_counts;
} gk_stats_row;

/* What rounding the matrices of one kind in layers first .. last to int4 did alone
 * (verify/probes.h); layers are -1 of what stands outside them. */
#define GK_PROBE_ALL4 "* to int4" /* the kinds of two that round all layers' matrices */
#define GK_PROBE_ALL8 "* to int8"

typedef struct gk_probe {
    const char *kind; /* as gk_kind_of() spells it               */
    int64_t first, last;
    double kld, err; /* nats a token; standard error over windows, NaN of one */
} gk_probe;

typedef struct gk_stats {
    gk_arena     *arena;
    gk_stats_row *row; /* sorted by name */
    uint64_t      n, bytes;
    uint64_t      n_thin; /* matrices of a stack below the floor */
    char          sha256[GK_SHA256_HEX]; /* of the file */
    /* of a file that calibrate made, else NULL and 0: */
    const uint32_t *ids; /* [n_ids] what was read, windows of ctx tokens */
    uint64_t        n_ids, ctx;
    const char     *preset, *switches; /* how: gk_switches_parse() in verify/arch.h */
    const gk_probe *probe; /* [n_probes] */
    uint64_t        n_probes;
} gk_stats;

/* Reads an imatrix file. NULL and *err: FORMAT (also for a value that is not finite), IO,
 * NOMEM. The caller frees it. */
gk_stats *gk_stats_open(const char *path, gk_err *err);
void      gk_stats_free(gk_stats *s);

/* Finds the columns of matrix `expert` of a tensor. *out is NULL when the file says nothing
 * of it. False: ARG when it has another number of columns. */
bool gk_stats_find(const gk_stats *s, const char *name, uint64_t expert, uint64_t n_cols,
                   const float **out, gk_err *err);

/* Returns how many tokens matrix `expert` of a tensor saw; 1 where the file does not say, and for
 * one that none reached: what is not known of it must not count for nothing. */
double gk_stats_tokens(const gk_stats *s, const char *name, uint64_t expert);

#endif
