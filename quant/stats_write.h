/* quant/stats_write.h - an imatrix to be: what it will hold, and where.
 *
 * For every matrix that inputs reach, by name, as llama-imatrix has it:
 *   NAME.in_sum2 f32 [matrices, columns]   sums of x^2 over tokens; of one matrix [columns]
 *   NAME.counts  f32 [matrices, 1]         tokens; of one matrix [1]
 * under the keys general.type, imatrix.datasets, imatrix.chunk_count and imatrix.chunk_size.
 * Source: ggml-org/llama.cpp tools/imatrix @007dbbf. Unless it shall be plain there follows
 * what llama.cpp's programs pass over:
 *   grokkit.tokens       i32 [windows, ctx]               what was read
 *   grokkit.coactivation i64 [layers, experts, experts]   tokens that chose both; on the
 *                                                         diagonal those that chose the one
 *   grokkit.gate_mass    f64 [layers, experts, 2]         sums of the weights that its tokens
 *                                                         gave an expert, and of their squares
 *   grokkit.probes       f64 [probes, 4]                  first and last layer (-1: outside
 *                                                         them), KL divergence, its error
 * and the keys grokkit.probe_kinds (one string a probe), grokkit.ctx, .preset, .switches,
 * .text_sha256 and .job, and output.weight's inputs, which llama-imatrix has on demand. */
#ifndef GK_QUANT_STATS_WRITE_H
#define GK_QUANT_STATS_WRITE_H

#include "formats/catalog.h"
#include "formats/safetensors_write.h"
#include "quant/stats.h"

/* The statistics of a tensor of a GGUF: of one matrix, or of a stack. */
typedef struct gk_stats_set {
    const char *name; /* "blk.0.ffn_down_exps.weight" */
    uint64_t layer;   /* that of the head: as many as there are layers */
    uint64_t n_matrices, n_cols;
    uint64_t first;                /* of its sums [matrices, columns] among those of its layer */
    uint64_t first_count;          /* of its counts [matrices], likewise                       */
    uint64_t sums_off, counts_off; /* in the file */
} gk_stats_set;

/* Where the inputs of a tensor of the model are counted. */
typedef struct gk_stats_slot {
    const gk_stats_set *set; /* NULL: nowhere */
    uint64_t matrix;
} gk_stats_slot;

typedef struct gk_stats_about {
    const char *const *dataset; /* names of the texts */
    uint64_t n_datasets, n_windows, ctx;
    bool plain; /* nothing but what llama-imatrix writes */
    uint64_t layers, experts;
    const gk_probe *probe; /* [n_probes] kinds only; 0: none */
    uint64_t n_probes;
    const char *preset, *switches, *text_sha256, *job;
} gk_stats_about;

typedef struct gk_stats_layout {
    gk_stats_set *set;
    gk_stats_slot *slot; /* of each tensor of the catalog          */
    gk_entry *entry;
    gk_shards file; /* one shard                              */
    uint64_t n_sets, n_entries;
    uint64_t most_sums, most_counts;                 /* of any layer         */
    uint64_t tokens_off, probes_off, coactivation_off, mass_off; /* 0: not in the file */
} gk_stats_layout;

/* Lays out the file NAME.gguf of that name; all lives in a. False: UNSUPPORTED when it is not
 * known how a GGUF names the tensors of the model, LIMIT, NOMEM. */
bool gk_stats_lay_out(gk_arena *a, const gk_catalog *model, const gk_stats_about *about,
                      const char *name, gk_stats_layout *out, gk_err *err);

#endif
