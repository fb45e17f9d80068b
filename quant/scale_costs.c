/* quant/scale_costs.c - the table, made once. */
#include "quant/scale_costs.h"

#include <math.h>
#include <pthread.h>

static gk_costs table;
static pthread_once_t once = PTHREAD_ONCE_INIT;

/* Chosen by trying: twice as many lower the error of normal, Laplace and Student-t weights by
 * less than 0.1 %. */
const float gk_cost_divisor[GK_COST_SCALES] = {
    7.5f,    -7.5f,   -6.87f,  -7.04f,  -7.21f,  -7.38f,  -7.64f,  -7.8f,   -7.96f, -8.12f, -8.28f,
    -8.44f,  -8.6f,   -8.76f,  -8.92f,  -9.08f,  -9.24f,  -9.4f,   -9.56f,  -9.72f, -9.9f,  -10.1f,
    -10.3f,  -10.55f, -10.85f, 6.6f,    6.9f,    7.1f,    7.3f,    7.7f,    8.0f,   8.4f};

static double cost(double x, double divisor)
{
    const double q = rint(x * divisor), top = q < -8 ? -8 : q > 7 ? 7 : q, d = x - top / divisor;

    return d * d;
}

/* A row stands for all shares that are rounded to it: their mean. The extreme itself is one. */
static void fill(void)
{
    for (int i = 0; i < GK_COST_ROWS; i++)
        for (int k = 0; k < GK_COST_SCALES; k++) {
            const int row = i - GK_COST_ROWS / 2, n = row == GK_COST_STEPS || row == -GK_COST_STEPS
                                                          ? 0 : 2;
            double sum = 0;
            for (int j = -n; j <= n; j++)
                sum += cost((row + 0.2 * j) / GK_COST_STEPS, (double)gk_cost_divisor[k]);
            sum = rint(sum / (2 * n + 1) * 131070);
            table.row[i][k] = (uint16_t)(sum < 65535 ? sum : 65535);
        }
}

const gk_costs *gk_scale_costs(void)
{
    pthread_once(&once, fill);
    return &table;
}
