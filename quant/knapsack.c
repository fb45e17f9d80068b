/* quant/knapsack.c - a multiplier, then a table of what is close, then what is left. */
#include "quant/knapsack.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "formats/arena.h"
#include "formats/checked.h"

#define MAX_CORE  64    /* units whose combinations are searched       */
#define STEPS     32768 /* of bytes in that search                     */
#define HALVINGS  200   /* of the interval that the multiplier lies in */

static const gk_choice *options_of(const gk_knapsack *k, uint64_t unit)
{
    return &k->option[unit * (uint64_t)k->n_options];
}

/* The option of least cost + lambda bytes; of equal ones the smallest. */
static int best_at(const gk_knapsack *k, uint64_t unit, double lambda, double *value)
{
    const gk_choice *o = options_of(k, unit);
    int best = -1;
    double least = INFINITY;

    for (int i = 0; i < k->n_options; i++) {
        const double v = o[i].cost + lambda * (double)o[i].bytes;
        if (v < least || (best >= 0 && v <= least && o[i].bytes < o[best].bytes)) {
            least = v;
            best = i;
        }
    }
    *value = least;
    return best;
}

/* All units at that multiplier; returns their bytes, *dual what they bound any choice within the
 * budget with. */
static uint64_t at_lambda(const gk_knapsack *k, double lambda, uint64_t budget, uint8_t *chosen,
                          double *dual)
{
    uint64_t bytes = 0;

    *dual = -lambda * (double)budget;
    for (uint64_t u = 0; u < k->n_units; u++) {
        double value;
        const int i = best_at(k, u, lambda, &value);
        if (chosen != NULL)
            chosen[u] = (uint8_t)i;
        bytes += options_of(k, u)[i].bytes;
        *dual += value;
    }
    return bytes;
}

static double cost_of(const gk_knapsack *k, const uint8_t *chosen, uint64_t *bytes)
{
    double cost = 0;

    *bytes = 0;
    for (uint64_t u = 0; u < k->n_units; u++) {
        cost += options_of(k, u)[chosen[u]].cost;
        *bytes += options_of(k, u)[chosen[u]].bytes;
    }
    return cost;
}

static int smallest(const gk_knapsack *k, uint64_t unit)
{
    const gk_choice *o = options_of(k, unit);
    int best = -1;

    for (int i = 0; i < k->n_options; i++)
        if (isfinite(o[i].cost)
            && (best < 0 || o[i].bytes < o[best].bytes
                || (o[i].bytes == o[best].bytes && o[i].cost < o[best].cost)))
            best = i;
    return best;
}

uint64_t gk_knapsack_least(const gk_knapsack *k)
{
    uint64_t bytes = 0;

    for (uint64_t u = 0; u < k->n_units; u++)
        bytes += options_of(k, u)[smallest(k, u)].bytes;
    return bytes;
}

uint64_t gk_knapsack_most(const gk_knapsack *k)
{
    double dual;

    return at_lambda(k, 0, 0, NULL, &dual);
}

/* The smallest multiplier (to a rounding) whose choice fits the budget, or that of the smallest
 * choice; *bound the best bound seen on the way. */
static double find_lambda(const gk_knapsack *k, uint64_t budget, double *bound)
{
    double lo = 0, hi = 1e-30, dual;

    *bound = 0;
    if (at_lambda(k, 0, budget, NULL, bound) <= budget)
        return 0;
    while (at_lambda(k, hi, budget, NULL, &dual) > budget && hi < 1e30) {
        *bound = fmax(*bound, dual);
        hi *= 4;
    }
    for (int i = 0; i < HALVINGS; i++) {
        const double mid = lo > 0 ? sqrt(lo * hi) : hi / 1024;
        if (at_lambda(k, mid, budget, NULL, &dual) > budget)
            lo = mid;
        else
            hi = mid;
        *bound = fmax(*bound, dual);
        if (!(lo < hi * (1 - 1e-15)))
            break;
    }
    return hi;
}

double gk_knapsack_bound(const gk_knapsack *k, uint64_t bytes)
{
    double bound;

    find_lambda(k, bytes, &bound);
    return bound;
}

/* ---- the units that are close -------------------------------------------------------- */

typedef struct slack {
    uint64_t unit;
    double value; /* what the second best would cost more */
} slack;

static int by_slack(const void *a, const void *b)
{
    const slack *x = a, *y = b;

    if (x->value < y->value || x->value > y->value)
        return x->value < y->value ? -1 : 1;
    return x->unit < y->unit ? -1 : x->unit > y->unit;
}

static double slack_of(const gk_knapsack *k, uint64_t unit, double lambda)
{
    const gk_choice *o = options_of(k, unit);
    double least, second = INFINITY;
    const int best = best_at(k, unit, lambda, &least);

    for (int i = 0; i < k->n_options; i++)
        if (i != best)
            second = fmin(second, o[i].cost + lambda * (double)o[i].bytes);
    return second - least;
}

typedef struct table {
    double *now, *next; /* [STEPS + 1] least cost within so many steps */
    uint8_t *pick;      /* [core, STEPS + 1]                          */
} table;

/* Adds a unit to the table. */
static void add_unit(const gk_knapsack *k, uint64_t unit, uint64_t step, table *t, uint8_t *pick)
{
    const gk_choice *o = options_of(k, unit);
    const uint64_t least = o[smallest(k, unit)].bytes;
    double *swap = t->now;

    for (uint64_t s = 0; s <= STEPS; s++)
        t->next[s] = INFINITY;
    for (int i = 0; i < k->n_options; i++) {
        if (!isfinite(o[i].cost) || o[i].bytes < least)
            continue;
        const uint64_t takes = gk_div_up(o[i].bytes - least, step);
        for (uint64_t s = takes; s <= STEPS; s++) {
            const double cost = t->now[s - takes] + o[i].cost;
            if (cost < t->next[s]) {
                t->next[s] = cost;
                pick[s] = (uint8_t)i;
            }
        }
    }
    t->now = t->next;
    t->next = swap;
}

/* Chooses anew for the units of the core, within `budget` bytes of their own. */
static bool solve_core(const gk_knapsack *k, const slack *core, uint64_t n, uint64_t budget,
                       uint8_t *chosen, gk_err *err)
{
    table t = {.now = gk_alloc(STEPS + 1, sizeof(double), err),
               .next = gk_alloc(STEPS + 1, sizeof(double), err),
               .pick = gk_alloc(n * (STEPS + 1), 1, err)};
    const bool ok = t.now != NULL && t.next != NULL && t.pick != NULL;
    uint64_t least = 0;

    for (uint64_t s = 0; ok && s <= STEPS; s++)
        t.now[s] = 0;
    for (uint64_t i = 0; i < n; i++)
        least += options_of(k, core[i].unit)[smallest(k, core[i].unit)].bytes;
    if (ok && budget >= least) {
        const uint64_t step = gk_max(gk_div_up(budget - least, STEPS), 1);
        uint64_t left = (budget - least) / step;
        for (uint64_t i = 0; i < n; i++)
            add_unit(k, core[i].unit, step, &t, t.pick + i * (STEPS + 1));
        for (uint64_t i = n; i-- > 0;) {
            const gk_choice *o = options_of(k, core[i].unit);
            const int best = t.pick[i * (STEPS + 1) + left];
            chosen[core[i].unit] = (uint8_t)best;
            left -= gk_div_up(o[best].bytes - o[smallest(k, core[i].unit)].bytes, step);
        }
    }
    gk_free(t.now);
    gk_free(t.next);
    gk_free(t.pick);
    return ok;
}

/* Spends what is left: again and again the option that saves most. */
static void spend(const gk_knapsack *k, uint64_t budget, uint8_t *chosen)
{
    uint64_t bytes;

    cost_of(k, chosen, &bytes);
    for (;;) {
        uint64_t unit = 0;
        int better = -1;
        double most = 0;
        for (uint64_t u = 0; u < k->n_units; u++) {
            const gk_choice *o = options_of(k, u), *is = &o[chosen[u]];
            for (int i = 0; i < k->n_options; i++)
                if (is->cost - o[i].cost > most && bytes - is->bytes + o[i].bytes <= budget) {
                    most = is->cost - o[i].cost;
                    unit = u;
                    better = i;
                }
        }
        if (better < 0)
            return;
        bytes += options_of(k, unit)[better].bytes - options_of(k, unit)[chosen[unit]].bytes;
        chosen[unit] = (uint8_t)better;
    }
}

/* The choice of the multiplier, or the smallest where that does not fit either. */
static void begin(const gk_knapsack *k, double lambda, uint64_t budget, uint8_t *chosen)
{
    double dual;

    if (at_lambda(k, lambda, budget, chosen, &dual) > budget)
        for (uint64_t u = 0; u < k->n_units; u++)
            chosen[u] = (uint8_t)smallest(k, u);
}

bool gk_knapsack_solve(const gk_knapsack *k, uint64_t budget, uint8_t *chosen, double *cost,
                       double *bound, gk_err *err)
{
    const uint64_t least = gk_knapsack_least(k);
    uint64_t bytes;

    if (least > budget)
        return gk_fail(err, GK_ERR_ARG, GK_NO_OFF,
                       "not even the smallest choice fits: %" PRIu64 " bytes of %" PRIu64, least,
                       budget);
    const double lambda = find_lambda(k, budget, bound);
    slack *s = gk_alloc(gk_max(k->n_units, 1), sizeof *s, err);
    uint8_t *other = gk_alloc(gk_max(k->n_units, 1), 1, err);
    bool ok = s != NULL && other != NULL;
    if (ok) {
        begin(k, lambda, budget, chosen);
        memcpy(other, chosen, k->n_units);
        for (uint64_t u = 0; u < k->n_units; u++)
            s[u] = (slack){u, slack_of(k, u, lambda)};
        qsort(s, (size_t)k->n_units, sizeof *s, by_slack);
        const uint64_t n = gk_min(k->n_units, MAX_CORE);
        cost_of(k, chosen, &bytes);
        uint64_t core = budget - bytes;
        for (uint64_t i = 0; i < n; i++)
            core += options_of(k, s[i].unit)[chosen[s[i].unit]].bytes;
        ok = solve_core(k, s, n, core, other, err);
    }
    if (ok) {
        uint64_t there;
        spend(k, budget, chosen);
        spend(k, budget, other);
        const double mine = cost_of(k, chosen, &bytes), theirs = cost_of(k, other, &there);
        if (theirs < mine && there <= budget)
            memcpy(chosen, other, k->n_units);
        *cost = cost_of(k, chosen, &bytes);
    }
    gk_free(s);
    gk_free(other);
    return ok;
}
