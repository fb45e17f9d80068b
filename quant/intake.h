/* quant/intake.h - what a run tells the page cache of its input.
 *
 * The tiles of a tensor lie in windows, bands of whole rows. When the last tile of a
 * window was read its pages go (formats/pages.h). */
#ifndef GK_QUANT_INTAKE_H
#define GK_QUANT_INTAKE_H

#include "quant/plan.h"

typedef struct gk_intake gk_intake;

/* Notes what the cache holds of the plan's input. NULL and NOMEM. Free in any case. */
gk_intake *gk_intake_new(const gk_plan *p, gk_err *err);
void       gk_intake_free(gk_intake *in);

/* Begins a pass over all tiles. */
void gk_intake_restart(gk_intake *in);

/* Tile k of an item was read, or need not be in this pass. From any thread. */
void gk_intake_end(gk_intake *in, const gk_plan_item *item, uint64_t k);

#endif
