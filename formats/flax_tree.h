/* formats/flax_tree.h - one Flax file: from a msgpack tree to stored entries. Private to
 * formats/. */
#ifndef GK_FORMATS_FLAX_TREE_H
#define GK_FORMATS_FLAX_TREE_H

#include "formats/reader.h"

/* An array in chunks: stored entries [first, first + n) hold its elements, in order. */
typedef struct gk_flax_chunked {
    const char     *name;
    const uint64_t *dim;
    uint64_t        first, n;
    int             ndim;
} gk_flax_chunked;

/* Of all files of a model; those in chunks have no entry that is them. Free row. */
typedef struct gk_flax_list {
    gk_flax_chunked *row;
    uint64_t         n, cap;
} gk_flax_list;

/* Reads the tree of a file: adds its entries to c, its chunked arrays to *list (both as
 * before on false) and counts the leaves that are no arrays. False: FORMAT, LIMIT,
 * UNSUPPORTED (a dtype), IO, NOMEM, with file, name and offset. */
bool gk_flax_read(gk_catalog *c, uint64_t input, gk_flax_list *list, uint64_t *n_others,
                  gk_err *err);

#endif
