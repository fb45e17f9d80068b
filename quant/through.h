/* quant/through.h - a model some of whose tensors are read as if they had been quantized.
 *
 * Nothing is written: gk_decode() rounds their values each time, to codes by the min-max rule with
 * a scale for 128 columns (64, 32 or the row, where those do not divide it). That is the noise
 * that probes of sensitivity work with. */
#ifndef GK_QUANT_THROUGH_H
#define GK_QUANT_THROUGH_H

#include "formats/catalog.h"
#include "quant/scheme.h"

/* Returns the scheme that values of rows so wide are rounded to, of 4 or 8 bits. */
gk_scheme gk_through_scheme(int bits, uint64_t n_cols);

/* Makes *out a view of the model in which the tensors that pick() returns true for are rounded.
 * It shares all else: close the model only, and after the last use of the view, which lives in a.
 * False: NOMEM. */
bool gk_through_view(gk_arena *a, const gk_catalog *model, int bits,
                     bool (*pick)(void *context, const gk_tensor *t), void *context,
                     gk_catalog *out, gk_err *err);

/* Bytes of scratch for the next, and rounds w [n_rows, n_cols], whole rows, in place. */
uint64_t gk_through_scratch(const gk_scheme *s, uint64_t n_rows, uint64_t n_cols);
void gk_through(const gk_scheme *s, uint64_t n_rows, uint64_t n_cols, float *w, void *scratch);

#endif
