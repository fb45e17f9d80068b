/* cmd/tree.h - the tensors of a model as a tree of modules, what is alike folded.
 *
 * Numbers in names become `*`; tensors whose name then is the same, of one dtype and
 * shape, are a group. When a group has every combination of its numbers it is one
 * leaf, `model.layers.{0..63}.block_sparse_moe.experts.{0..7}.w1.weight`; else it is
 * split by its first number, until that is so. */
#ifndef GK_CMD_TREE_H
#define GK_CMD_TREE_H

#include "formats/catalog.h"

/* Adds the tree as a table of at most width columns: module, tensors, shape, dtype,
 * bytes, share of the bytes of all. False and NOMEM. */
bool gk_tree_print(const gk_catalog *c, gk_text *out, int width, bool bold, gk_err *err);

/* Adds a shape as people write it: "[1024, 256]", "[]" for a scalar. */
void gk_shape_print(gk_text *out, const gk_tensor *t);

#endif
