/* quant/model.h - a catalog whose encodings are understood, and its values as f32. */
#ifndef GK_QUANT_MODEL_H
#define GK_QUANT_MODEL_H

#include "formats/catalog.h"
#include "quant/scheme.h"

/* As gk_catalog_open(), then: quantized tensors become one tensor under the name of
 * their weight (compressed-tensors), and a Grok-2 is compared with its config.json.
 * Findings as there. Close with gk_catalog_close(). */
gk_catalog *gk_model_open(const char *path, gk_err *err);

/* The same with options (NULL: none), as gk_catalog_open_with(). */
gk_catalog *gk_model_open_with(const char *path, const gk_open_options *options, gk_err *err);

/* As gk_model_open(), but refuses a model with any bad finding (gk_findings_refuse()). */
gk_catalog *gk_model_open_whole(const char *path, gk_err *err);

/* Returns whether `out` is no file of the model, nor a place in it: gk_output_apart() for the model
 * and every file of it. In a model of links those lie elsewhere. */
bool gk_model_apart(const gk_catalog *c, const char *out, gk_err *err);

/* The same, and as gk_output_allowed(). */
bool gk_model_output_allowed(const gk_catalog *c, const char *out, bool force, gk_err *err);

/* Returns the safetensors name of a plain tensor's dtype, the scheme's name of an
 * encoded one; lives as long as the catalog. */
const char *gk_tensor_kind(const gk_tensor *t);

/* Returns false for those of ggml's block types that are only carried as they are. */
bool gk_has_codec(gk_dtype dtype);

/* Returns true when gk_decode() can read t. */
bool gk_can_decode(const gk_tensor *t);

/* Says that it cannot, and why; names tensor and file. Returns false. */
bool gk_fail_decode(const gk_catalog *c, const gk_tensor *t, gk_err *err);

/* Bytes of scratch that gk_decode() needs for such a rectangle. */
uint64_t gk_decode_scratch_bytes(const gk_tensor *t, uint64_t n_rows, uint64_t n_cols);

/* Fills out [n_rows, n_cols] with the values of rows [row, row + n_rows) x columns
 * [col, col + n_cols); of an encoded tensor the columns must be whole groups or the
 * whole row; F64 is rounded. Reads only what is asked for. Thread-safe, each thread its
 * scratch. False: IO, UNSUPPORTED (a dtype without f32 values), FORMAT (an F64 beyond f32). */
bool gk_decode(const gk_catalog *c, const gk_tensor *t, const uint64_t rect[4], float *out,
               void *scratch, gk_err *err);

/* Where tensors were renamed, code that was published beside them would ask for the old names:
 * takes *.py out of c->extra, but for tokenization_*.py, and "auto_map" out of the config.
 * *left names them as a list for a person, in the catalog's arena; NULL: nothing was there.
 * False: NOMEM. */
bool gk_model_drop_code(gk_catalog *c, const char **left, gk_err *err);

/* Fills out with the n rope factors that a GGUF of this model has as a tensor
 * (formats/rope_factors.h). False: its config asks for none, or for another number. */
bool gk_model_rope_factors(const gk_catalog *c, uint64_t n, float *out);

#endif
