/* quant/kinds.h - names without their numbers: tensors that do the same in every layer. */
#ifndef GK_QUANT_KINDS_H
#define GK_QUANT_KINDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define GK_KIND_NAME 256 /* bytes of a kind, its end included; longer names are cut */

/* Returns the length of the name without ".weight" or, as Flax has it, ".kernel": what the regexes
 * of recipes see. */
size_t gk_bare_length(const char *name);

/* Writes that part of the name, with "*" for what are only digits between dots:
 * "model.layers.*.block_sparse_moe.experts.*.w1". With the expert only the first, the layer, is
 * written so. *layer: that number, -1 where there is none. Returns out. */
const char *gk_kind_of(const char *name, bool with_expert, char out[GK_KIND_NAME], int64_t *layer);

#endif
