/* quant/knapsack.h - one option for each unit: the least cost within so many bytes.
 *
 * The multiple-choice knapsack. Lagrange's multiplier of the bytes gives a choice and a bound
 * that no choice is below; of the units whose choice it leaves closest, all combinations are
 * searched by dynamic programming over bytes in steps (rounded up, so that a budget holds), and
 * what then is left of the budget is spent option by option. */
#ifndef GK_QUANT_KNAPSACK_H
#define GK_QUANT_KNAPSACK_H

#include "formats/err.h"

#define GK_MAX_OPTIONS 24

typedef struct gk_choice {
    uint64_t bytes;
    double cost; /* not negative; INFINITY: not to be had */
} gk_choice;

typedef struct gk_knapsack {
    const gk_choice *option; /* [n_units, n_options]; of each unit one is to be had */
    uint64_t n_units;
    int n_options;
} gk_knapsack;

/* Returns the bytes of the smallest choice, and of the one of least cost. */
uint64_t gk_knapsack_least(const gk_knapsack *k);
uint64_t gk_knapsack_most(const gk_knapsack *k);

/* Chooses an option for each unit: chosen [n_units]. *cost is what it costs, *bound what every
 * choice within the budget costs at least. False: ARG (not even the smallest fits), NOMEM. */
bool gk_knapsack_solve(const gk_knapsack *k, uint64_t budget, uint8_t *chosen, double *cost,
                       double *bound, gk_err *err);

/* Returns what the hull of all choices costs at so many bytes: a lower bound for any choice. */
double gk_knapsack_bound(const gk_knapsack *k, uint64_t bytes);

#endif
