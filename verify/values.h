/* verify/values.h - what one pass over all weights notices, piece by piece.
 *
 * A tensor is looked at in runs: each of its pieces when all of them lie in one range of a file
 * (so that whoever reads that file anyway can show them), or the whole as one run. */
#ifndef GK_VERIFY_VALUES_H
#define GK_VERIFY_VALUES_H

#include "verify/figures.h"

typedef struct gk_values gk_values;

/* A run, and the matrix that it is a rectangle of: a piece, or (piece NULL) a whole part. A
 * run without pieces has all parts of its tensor, one after the other. */
typedef struct gk_run_of {
    const gk_tensor *tensor;
    const gk_part   *part;
    const gk_piece  *piece;
    uint64_t         run;
} gk_run_of;

/* Returns the state of a pass over c, or NULL and NOMEM. Free with gk_values_free(). */
gk_values *gk_values_new(gk_catalog *c, gk_err *err);
void       gk_values_free(gk_values *v);

/* Returns whether the tensor's pieces are runs of their own, and the first of its runs. */
bool     gk_values_by_piece(const gk_values *v, uint64_t tensor);
uint64_t gk_values_first(const gk_values *v, uint64_t tensor);

/* Looks at a tile of a run; one thread a run. False: NOMEM. */
bool gk_values_see(gk_values *v, const gk_run_of *r, const gk_sight *tile, gk_err *err);

/* Returns whether values of a tensor come from several parts, so that they are to be shown as
 * f32 after all (whole rows, bytes of f32) by gk_values_see_decoded(); whether a part of it can
 * then stay unread: it holds no number of its own. */
bool gk_values_wants_decoded(const gk_values *v, uint64_t tensor);
bool gk_values_can_skip(const gk_values *v, uint64_t tensor, const gk_part *part);
bool gk_values_see_decoded(gk_values *v, uint64_t tensor, const gk_sight *tile, gk_err *err);

/* Forgets what was seen of a tensor, because it is read again from its beginning. */
void gk_values_forget(gk_values *v, uint64_t tensor);

/* A tensor could not be read: its finding is that error (a copy), nothing else is said of it. */
bool gk_values_failed(gk_values *v, uint64_t tensor, const gk_err *failure, gk_err *err);

/* Appends the findings, after all runs were seen. Reads a little more: what looks alike is
 * compared byte by byte. False: IO, NOMEM. */
bool gk_values_report(gk_values *v, gk_err *err);

/* Sets *out to the figures of all tensors; free it in any case. The catalog must outlive it. */
bool gk_values_figures(const gk_values *v, gk_figure_table *out, gk_err *err);

#endif
