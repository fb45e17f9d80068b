/* formats/torch.h - what the two halves of the PyTorch reader share: one file's tensors, and
 * the files of a model. Private to formats/. */
#ifndef GK_FORMATS_TORCH_H
#define GK_FORMATS_TORCH_H

#include "formats/reader.h"

/* A tensor of a state dict: a view of a storage, which others may share. */
typedef struct gk_torch_view {
    const char *name;
    const uint64_t *dim, *stride; /* ndim each, stride in elements      */
    uint64_t off;                 /* of its first element, in the file  */
    uint64_t stored;              /* index of its entry                 */
    uint32_t input;
    uint8_t dtype, ndim;
} gk_torch_view;

typedef struct gk_torch {
    gk_catalog *c;
    gk_torch_view *view; /* from gk_grow() */
    uint64_t n, cap;
} gk_torch;

/* Reads the state dict of a file: adds an entry and a view for each tensor. False and FORMAT,
 * LIMIT, UNSUPPORTED, IO or NOMEM; entries and views are then as before. */
bool gk_torch_read(gk_torch *t, uint64_t input, gk_err *err);

/* Returns whether the n bytes begin a file that PyTorch wrote before 1.6. */
bool gk_torch_is_old(const unsigned char *head, uint64_t n);

#endif
