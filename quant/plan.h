/* quant/plan.h - everything a rewrite will do, decided before a weight is read.
 *
 * A plan lists what each tensor becomes, every output file with its header and
 * every byte range in it, the tiles the work is cut into, and the memory it takes.
 * Its SHA-256 names the job; it does not depend on threads or memory. */
#ifndef GK_QUANT_PLAN_H
#define GK_QUANT_PLAN_H

#include "formats/hash.h"
#include "formats/safetensors_write.h"
#include "quant/layout.h"
#include "quant/recipe.h"

struct gk_plan;
struct gk_plan_item;

/* What can be written: one row of the table in quant/targets.c. */
typedef struct gk_target {
    const char *name;    /* as --to takes it                                   */
    const char *scheme;  /* what `quantize` does without --scheme; NULL: int4  */
    const char *holds;   /* what can be asked of it, in words                      */
    bool        is_gguf; /* files, not a directory; ggml's types and names     */
    gk_dtype    scales;  /* of integer codes                                   */
    /* Returns how a scheme is stored here; NULL: it cannot be. */
    const gk_layout *(*layout)(const gk_scheme *s);
    /* Makes the schemes fit what engines load; appends notes. NULL: nothing to do. */
    bool (*fit)(struct gk_plan *p, gk_err *err);
    /* Adds the members that config.json gets: quantization_config. NULL: none. */
    bool (*config)(const struct gk_plan *p, gk_text *out, gk_err *err);
} gk_target;

/* Finds a target by its name. NULL and ARG, naming the known. */
const gk_target *gk_target_find(const char *name, gk_err *err);

/* The rope that a Grok GGUF asks for, when the config has the release's "original". */
typedef enum gk_gguf_rope {
    GK_GGUF_ROPE_DEFAULT, /* plain, unless the config scales it   */
    GK_GGUF_ROPE_PLAIN,   /* no scaling, as SGLang computes it    */
    GK_GGUF_ROPE_YARN,    /* what llama.cpp's converter writes    */
} gk_gguf_rope;

/* Of what a run takes digests. */
typedef enum gk_hash_mode {
    GK_HASH_NONE,
    GK_HASH_OUTPUT, /* of the output files; grokkit.json keeps them */
    GK_HASH_ALL,    /* of the input files, too                      */
} gk_hash_mode;

struct gk_stats; /* quant/stats.h */

typedef struct gk_plan_options {
    const gk_target *target;
    const char *out_name; /* of a GGUF, without ".gguf"; NULL: "model" */
    gk_gguf_rope gguf_rope;
    const struct gk_stats *stats; /* E[x^2] of inputs, or NULL       */
    gk_method method;
    gk_hash_mode hash;
    const gk_scheme *plain;    /* cast of tensors that stay plain; NULL: none */
    uint64_t  max_shard_bytes; /* tensor bytes a file; 0: 5 GB              */
    int       threads;
    uint64_t  memory_bytes;
    uint64_t  hessian_block;   /* GPTQ: columns of a Hessian's blocks; 0: whole, if they fit */
    uint64_t  tile_quanta;     /* rows of a tile, in quanta of its layout; 0: as memory allows */
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
    uint64_t         heads; /* rows are interleaved within so many heads; 0: not */
    uint64_t         row0;  /* rows of a stack that stand before it  */
    uint64_t         bytes; /* of what it fills of them              */
    const float     *importance; /* E[x^2] of its columns, a guess of it (quant/gains.h) or NULL */
    uint32_t         phase; /* GPTQ: when it is solved (quant/phases.h); 0: before all that */
    uint32_t         range; /* NVFP4: the items with its number share max |w| */
    /* tiles: tile_rows x tile_cols, the last ones smaller; row by row */
    uint64_t tile_rows, tile_cols, n_col_tiles, first_unit, n_units;
} gk_plan_item;

/* A tensor that no input holds: a GGUF's factors of rotary frequencies. */
typedef struct gk_plan_made {
    const gk_entry *entry; /* NULL: none */
    const void     *data;  /* entry->bytes of it */
} gk_plan_made;

/* A small file whose content the plan holds. */
typedef struct gk_plan_text {
    const char *name, *data;
    uint64_t    bytes;
} gk_plan_text;

/* The buffers of one thread: the largest tile's. */
typedef struct gk_room {
    uint64_t floats; /* of values, and again of values as they come back   */
    uint64_t raw;    /* bytes as stored in the input, and of decoding them */
    uint64_t packed; /* bytes of the output                                */
    uint64_t work;   /* bytes of encoding                                  */
} gk_room;

typedef struct gk_plan {
    gk_arena         *arena;
    const gk_catalog *from;
    gk_plan_options   options;
    gk_plan_item     *item; /* in the order of the catalog */
    gk_plan_item    **by_unit; /* in that of their first entries in the files: of the work */
    gk_entry         *entry;
    gk_plan_made      made;
    gk_shards         shards;
    gk_plan_text      text[3]; /* config.json, the index, a tokenizer */
    int               n_texts;
    gk_findings       notes; /* what a person should know: smaller groups, kept widths */
    const char       *recipe;
    uint64_t n_items, n_entries, n_units;
    uint32_t n_ranges, n_phases;
    uint64_t hessian_block, hessian_bytes; /* GPTQ: columns of a block, 0: whole; all at once */
    uint64_t gain_bytes; /* of guesses of importance; 0: none were made */
    bool     paired; /* GPTQ: the original's inputs beside those of the quantized model */
    int      mix; /* llama-quantize's, -1: none */
    uint64_t provenance_bytes; /* of grokkit.json; 0: there is none */
    uint64_t parameters, input_bytes, output_bytes; /* tensors read; all files written */
    double   bits_per_weight; /* output tensor bytes x 8 / parameters */
    uint64_t memory_bytes;    /* the most the run will hold           */
    gk_room  room;            /* of it, for each thread               */
    char     sha256[GK_SHA256_HEX];
    char     tag[9];          /* its first eight digits, for OUT.partial-TAG */
} gk_plan;

/* Makes the plan; the catalog must outlive it. NULL and *err: ARG (schemes that do
 * not fit the target's engines), UNSUPPORTED (strict), LIMIT, NOMEM. */
gk_plan *gk_plan_new(const gk_catalog *from, const gk_recipe *recipe,
                     const gk_plan_options *options, gk_err *err);
void     gk_plan_free(gk_plan *p);

/* Returns how many of the input's other files go with the output. */
uint64_t gk_plan_extras(const gk_plan *p);

/* Returns how many files a run writes, and the name and size of file i: weights, the texts,
 * the input's other files and, last in a directory, grokkit.json (quant/provenance.h). */
uint64_t    gk_plan_n_files(const gk_plan *p);
const char *gk_plan_file(const gk_plan *p, uint64_t i, uint64_t *bytes);

/* Returns the item that a unit of the plan belongs to. */
const gk_plan_item *gk_plan_item_of(const gk_plan *p, uint64_t unit);

/* Returns tile k (0 .. n_units - 1) of an item. */
gk_tile gk_plan_tile(const gk_plan_item *item, uint64_t k);

/* Returns whether entry i of an item is its shape, and fills that in (NULL: not), as stored. A
 * run writes these first: they stand in front of the files, where a reader begins. */
bool gk_plan_shape(const gk_plan_item *item, uint32_t i, int64_t shape[2]);

/* Returns whether an entry is a vector whose elements are interleaved as rows are: each is one. */
bool gk_plan_is_bias(const gk_plan_item *item, const gk_entry *e);

/* Returns the bytes from one row of an entry of the item to the next. */
uint64_t gk_plan_stride(const gk_plan_item *item, const gk_entry *e);

/* Returns the bytes that a thread's buffers take. */
uint64_t gk_room_bytes(const gk_room *r);

/* Times the encoder of the plan's commonest scheme on made-up weights for a moment. Returns
 * input bytes a second of one thread, counting two bytes a weight; 0: nothing is encoded. */
double gk_plan_speed(const gk_plan *p);

/* Shows that the tiles of every item fill every stored tensor exactly once, and the
 * stored tensors every file. False and ARG: a mistake of ours, found in time. */
bool gk_plan_prove(const gk_plan *p, gk_err *err);

#endif
