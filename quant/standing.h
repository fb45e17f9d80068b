/* quant/standing.h - what stands where a resumed run wants to write. */
#ifndef GK_QUANT_STANDING_H
#define GK_QUANT_STANDING_H

#include "quant/plan.h"

typedef enum gk_standing {
    GK_STANDS_NOTHING,  /* or what this plan began       */
    GK_STANDS_FINISHED, /* this plan's output, whole     */
    GK_STANDS_OTHER,    /* another's: *err says how it differs */
} gk_standing;

/* Looks at OUT and at OUT.partial-*. A directory says in grokkit.json what made it, a
 * partial one in its journal; a GGUF is compared, see gk_run_stands(). On OTHER *err is
 * ARG and names the difference, or IO or NOMEM. */
gk_standing gk_standing_of(const gk_plan *p, const char *out, gk_err *err);

#endif
