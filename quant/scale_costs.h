/* quant/scale_costs.h - what every weight of a group of 4-bit codes costs under every scale.
 *
 * A scale is the group's extreme over a divisor: then what a weight costs depends on its share
 * of the extreme alone, so one table serves every group, and all scales are judged by one look
 * at each weight. */
#ifndef GK_QUANT_SCALE_COSTS_H
#define GK_QUANT_SCALE_COSTS_H

#include "quant/kernels.h"

#define GK_COST_STEPS 255 /* |extreme| lies so many rows from the middle one */

/* The divisors. The extreme lands on code -8 when it is negative, on 7 when positive, and
 * is clipped by one that is larger. Divisor 0 is rtn's, 7.5, when the extreme is positive, and
 * divisor 1, -7.5, when it is negative. */
extern const float gk_cost_divisor[GK_COST_SCALES];

/* Returns the table, in units of extreme^2 / 131070; thread-safe. */
const gk_costs *gk_scale_costs(void);

#endif
