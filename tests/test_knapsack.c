/* tests/test_knapsack.c - against all combinations, where there are few. */
#include <math.h>
#include <string.h>

#include "tests/test.h"

#include "quant/knapsack.h"

#define MAX_UNITS 7
#define N_OPTIONS 5
#define N_RANDOM  400

static uint64_t state = 0x9E3779B97F4A7C15u;

static uint64_t next(uint64_t below)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state % below;
}

/* Options as schemes are: more bytes, less error, some not to be had, one exact. */
static void fill(gk_choice *o, uint64_t n_units)
{
    for (uint64_t u = 0; u < n_units; u++) {
        const uint64_t size = 20 + next(200);
        for (int i = 0; i < N_OPTIONS; i++) {
            gk_choice *c = &o[u * N_OPTIONS + (uint64_t)i];
            c->bytes = size * (uint64_t)(i + 2) + next(size);
            c->cost = (double)(1 + next(1000)) / (double)(1 << (3 * i));
            if (i == N_OPTIONS - 1)
                c->cost = 0;
            else if (i > 0 && next(5) == 0)
                c->cost = INFINITY;
        }
    }
}

/* The least cost within the budget; INFINITY: nothing fits. */
static double all_of(const gk_choice *o, uint64_t n_units, uint64_t budget)
{
    double least = INFINITY;
    uint64_t combinations = 1;

    for (uint64_t u = 0; u < n_units; u++)
        combinations *= N_OPTIONS;
    for (uint64_t c = 0; c < combinations; c++) {
        uint64_t bytes = 0, rest = c;
        double cost = 0;
        for (uint64_t u = 0; u < n_units; u++, rest /= N_OPTIONS) {
            bytes += o[u * N_OPTIONS + rest % N_OPTIONS].bytes;
            cost += o[u * N_OPTIONS + rest % N_OPTIONS].cost;
        }
        if (bytes <= budget && cost < least)
            least = cost;
    }
    return least;
}

static void is_the_best(void **unused)
{
    gk_choice o[MAX_UNITS * N_OPTIONS];
    uint64_t refused = 0;

    (void)unused;
    for (int i = 0; i < N_RANDOM; i++) {
        const uint64_t n = 1 + next(MAX_UNITS);
        const gk_knapsack k = {o, n, N_OPTIONS};
        uint8_t chosen[MAX_UNITS];
        double cost, bound, sum = 0;
        uint64_t bytes = 0;
        gk_err err = {0};

        fill(o, n);
        const uint64_t least = gk_knapsack_least(&k), most = gk_knapsack_most(&k);
        const uint64_t budget = least - 20 + next(most - least + 40);
        const double best = all_of(o, n, budget);
        if (!gk_knapsack_solve(&k, budget, chosen, &cost, &bound, &err)) {
            assert_int_equal(err.code, GK_ERR_ARG);
            assert_true(budget < least && isinf(best));
            refused++;
            continue;
        }
        for (uint64_t u = 0; u < n; u++) {
            bytes += o[u * N_OPTIONS + chosen[u]].bytes;
            sum += o[u * N_OPTIONS + chosen[u]].cost;
        }
        assert_true(bytes <= budget);
        assert_true(fabs(sum - cost) <= 1e-9 * (1 + sum));
        assert_true(fabs(cost - best) <= 1e-9 * (1 + best));
        assert_true(bound <= best * (1 + 1e-9) + 1e-12);
    }
    assert_true(refused > 0 && refused < N_RANDOM / 2);
}

/* More units than are searched in all combinations: close to what no choice is below. */
static void is_close_with_many(void **unused)
{
    static gk_choice o[600 * N_OPTIONS];
    static uint8_t chosen[600];
    const gk_knapsack k = {o, 600, N_OPTIONS};

    (void)unused;
    fill(o, 600);
    const uint64_t least = gk_knapsack_least(&k), most = gk_knapsack_most(&k);
    for (uint64_t part = 1; part < 20; part++) {
        const uint64_t budget = least + (most - least) * part / 20;
        uint64_t bytes = 0;
        double cost, bound;
        gk_err err = {0};
        assert_ok(gk_knapsack_solve(&k, budget, chosen, &cost, &bound, &err), err);
        for (uint64_t u = 0; u < 600; u++)
            bytes += o[u * N_OPTIONS + chosen[u]].bytes;
        assert_true(bytes <= budget);
        assert_true(bytes >= budget - budget / 200);
        assert_true(bound <= cost && cost <= bound * 1.002);
        assert_true(fabs(gk_knapsack_bound(&k, budget) - bound) <= 1e-12);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(is_the_best),
                                       cmocka_unit_test(is_close_with_many)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
