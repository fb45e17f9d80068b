/* formats/safetensors_write.h - where every tensor of a set of safetensors files
 * will lie, decided before a byte is written.
 *
 * Conventions of the reference writer (huggingface/safetensors @24b0b28): entries
 * by falling dtype, then name; the header padded with spaces to 8 bytes; shards
 * named model-00001-of-0000N.safetensors, an index when there are several. */
#ifndef GK_FORMATS_SAFETENSORS_WRITE_H
#define GK_FORMATS_SAFETENSORS_WRITE_H

#include "formats/dtype.h"
#include "formats/text.h"

#define GK_INDEX_NAME "model.safetensors.index.json"

/* A stored tensor to be. The caller fills all but the last two. */
typedef struct gk_entry {
    const char     *name;
    const uint64_t *dim; /* elements, slowest first */
    uint64_t        bytes;
    uint32_t        module; /* entries in a row with the same number share a shard */
    uint8_t         ndim;
    uint8_t         dtype;
    uint32_t        shard; /* result: its file                                   */
    uint64_t        off;   /* result: of its first byte in that file             */
} gk_entry;

typedef struct gk_shard {
    const char *name;
    const char *header; /* the first header_bytes of the file, length word included */
    uint64_t    header_bytes;
    uint64_t    bytes; /* of the whole file */
} gk_shard;

#define GK_MAX_ALIGN 32 /* of any format that is written: GGUF's */

typedef struct gk_shards {
    gk_shard *shard;
    uint64_t  n;
    uint64_t  tensor_bytes; /* of all entries                          */
    uint64_t  alignment;    /* every entry begins, every file ends so  */
} gk_shards;

/* Fills the shard of n entries, in their order; returns how many shards there are. */
uint64_t gk_shards_choose(gk_entry *entry, uint64_t n, uint64_t max_bytes);

/* Distributes n entries over files of at most max_bytes of tensor data (a larger
 * module gets a file of its own), fills their shard and off, and builds each
 * header; everything lives in a. False: NOMEM, LIMIT for a header above 100 MB. */
bool gk_shards_layout(gk_arena *a, gk_entry *entry, uint64_t n, uint64_t max_bytes, gk_shards *out,
                      gk_err *err);

/* Adds the text of model.safetensors.index.json, keys in byte order. False: NOMEM. */
bool gk_shards_index(const gk_shards *s, const gk_entry *entry, uint64_t n, gk_text *out,
                     gk_err *err);

#endif
