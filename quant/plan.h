/* quant/plan.h - everything a rewrite will do, decided before a weight is read.
 *
 * A plan lists what each tensor becomes, every output file with its header and
 * every byte range in it, the tiles the work is cut into, and the memory it takes.
 * Its SHA-256 names the job; it does not depend on threads or memory. */
#ifndef GK_QUANT_PLAN_H
#define GK_QUANT_PLAN_H

#include "formats/hash.h"
#include "formats/safetensors_write.h"
#include "quant/codec_group.h"
#include "quant/recipe.h"

typedef enum gk_target {
    GK_TARGET_HF,                 /* merged safetensors, values as they are */
    GK_TARGET_COMPRESSED_TENSORS, /* pack-quantized                         */
    GK_N_TARGETS,
} gk_target;

/* Finds a target by the name that --to takes. False and ARG, naming the known. */
bool        gk_target_find(const char *name, gk_target *out, gk_err *err);
const char *gk_target_name(gk_target target);

typedef struct gk_plan_options {
    gk_target target;
    gk_method method;
    const gk_scheme *plain;    /* cast of tensors that stay plain; NULL: none */
    uint64_t  max_shard_bytes; /* tensor bytes a file; 0: 5 GB              */
    int       threads;
    uint64_t  memory_bytes;
    bool      strict;          /* a width that no group divides is an error  */
    bool      no_engine_check; /* write what no engine is known to load      */
    bool      check_values;    /* NaN and Inf are errors                     */
} gk_plan_options;

/* What one tensor becomes. */
typedef struct gk_plan_item {
    const gk_tensor *from;
    gk_scheme        to;
    gk_why           why;
    gk_entry        *entry; /* n_entries stored tensors, codes first */
    uint8_t          n_entries;
    uint64_t         bytes; /* of all of them */
    /* tiles: tile_rows x tile_cols, the last ones smaller; row by row */
    uint64_t tile_rows, tile_cols, n_col_tiles, first_unit, n_units;
} gk_plan_item;

/* A small file whose content the plan holds. */
typedef struct gk_plan_text {
    const char *name, *data;
    uint64_t    bytes;
} gk_plan_text;

/* The buffers of one thread: the largest tile's. */
typedef struct gk_room {
    uint64_t floats; /* of values, and again of values as they come back */
    uint64_t raw, packed; /* bytes */
    uint64_t groups; /* scales and zero points */
} gk_room;

typedef struct gk_plan {
    gk_arena         *arena;
    const gk_catalog *from;
    gk_plan_options   options;
    gk_plan_item     *item; /* in the order of the catalog */
    gk_entry         *entry;
    gk_shards         shards;
    gk_plan_text      text[2]; /* config.json, the index */
    int               n_texts;
    gk_findings       notes; /* what a person should know: smaller groups, kept widths */
    const char       *recipe;
    uint64_t n_items, n_entries, n_units;
    uint64_t parameters, input_bytes, output_bytes; /* tensors read; all files written */
    double   bits_per_weight; /* output tensor bytes x 8 / parameters */
    uint64_t memory_bytes;    /* the most the run will hold           */
    gk_room  room;            /* of it, for each thread               */
    char     sha256[GK_SHA256_HEX];
} gk_plan;

/* Makes the plan; the catalog must outlive it. NULL and *err: ARG (schemes that do
 * not fit the target's engines), UNSUPPORTED (strict), LIMIT, NOMEM. */
gk_plan *gk_plan_new(const gk_catalog *from, const gk_recipe *recipe,
                     const gk_plan_options *options, gk_err *err);
void     gk_plan_free(gk_plan *p);

/* A tile of an item. */
typedef struct gk_tile {
    uint64_t row, n_rows, col, n_cols;
} gk_tile;

/* Returns tile k (0 .. n_units - 1) of an item. */
gk_tile gk_plan_tile(const gk_plan_item *item, uint64_t k);

/* Returns the bytes that a thread's buffers take. */
uint64_t gk_room_bytes(const gk_room *r);

/* Shows that the tiles of every item fill every stored tensor exactly once, and the
 * stored tensors every file. False and ARG: a mistake of ours, found in time. */
bool gk_plan_prove(const gk_plan *p, gk_err *err);

#endif
