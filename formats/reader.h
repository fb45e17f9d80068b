/* formats/reader.h - what the readers of model files share while a catalog is
 * being built. Private to formats/. */
#ifndef GK_FORMATS_READER_H
#define GK_FORMATS_READER_H

#include "formats/catalog.h"

/* Appends an entry to c->stored; *s is copied, its strings are not. False: NOMEM,
 * or LIMIT past GK_MAX_TENSORS. May move c->stored: point into it only after the
 * last file was read. */
bool gk_stored_add(gk_catalog *c, const gk_stored *s, gk_err *err);

/* Opens path as the next weight file of c; returns its row, or NULL. */
gk_input *gk_input_add(gk_catalog *c, const char *path, const char *name, gk_err *err);

/* Reads the header of a safetensors file and adds its entries. False and FORMAT,
 * LIMIT, IO or NOMEM with file, tensor and byte offset; c->stored is then as
 * before. */
bool gk_safetensors_read(gk_catalog *c, uint64_t input, gk_err *err);

/* Makes t the tensor that is exactly the entry s. */
void gk_tensor_from_stored(gk_tensor *t, const gk_stored *s);

/* Readers of a directory: files[] (names, sorted) are its *.safetensors. */
bool gk_release_open(gk_catalog *c, gk_err *err); /* joins c->stored by TP rank */
bool gk_hf_open(gk_catalog *c, gk_err *err);      /* one entry, one tensor      */

#endif
