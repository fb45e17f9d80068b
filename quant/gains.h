/* quant/gains.h - what a model says of its inputs before any text is read.
 *
 * q, k and v multiply a vector that a norm has just scaled: column j is its gain g_j times
 * something whose mean square over the columns is 1. Where there are no statistics, the search
 * for their scales weighs the squared error of column j with |g_j|, half-way (in logarithms)
 * between g_j^2, which E[x_j^2] would be if all of those were alike, and 1. */
#ifndef GK_QUANT_GAINS_H
#define GK_QUANT_GAINS_H

#include "quant/plan.h"

/* Sets the importance of the items with codes of 4 bits that such a matrix becomes (8 bits gain
 * nothing from it); the weights take plan->gain_bytes. Without effect on a plan with statistics,
 * without a search, or to GGUF (whose bytes are llama-quantize's), and on a model of no known
 * architecture or without such norms. False: IO, NOMEM. */
bool gk_plan_gains(gk_plan *p, gk_err *err);

#endif
