/* verify/attention.c - grouped-query attention; a cap on the scores, a temperature by
 * position, a window and biases where the architecture has them. */
#include <math.h>
#include <omp.h>
#include <string.h>

#include "formats/checked.h"
#include "quant/blas.h"
#include "verify/layer.h"

/* Rotates pairs (j, j + D/2) of `heads` vectors [heads, D] by the position's angles. */
static void rotate(const gk_stream *s, float *x, uint64_t heads, uint64_t position)
{
    const uint64_t D = s->a.sizes.head_dim, half = D / 2;
    const float *cosine = s->cos + position * half, *sine = s->sin + position * half;

    for (uint64_t h = 0; h < heads; h++, x += D)
        for (uint64_t j = 0; j < half; j++) {
            const float a = x[j], b = x[j + half];
            x[j] = a * cosine[j] - b * sine[j];
            x[j + half] = b * cosine[j] + a * sine[j];
        }
}

/* tau(p), for the position of the query */
static double temperature(const gk_stream *s, uint64_t p)
{
    const double len = (double)s->a.temperature_len;

    if (!s->o.switches.temperature || s->a.temperature_len == 0 || (double)p <= len)
        return 1;
    return log2((double)p) / log2(len);
}

/* One row of scores [n_keys] to probabilities over the keys up to p that it sees. */
static void attend(const gk_stream *s, float *row, uint64_t p, uint64_t n_keys)
{
    const uint64_t window = s->a.window, from = window > 0 && p >= window ? p + 1 - window : 0;
    const float scale = (float)s->a.score_scale;
    const float cap = (float)s->a.attn_cap, tau = (float)temperature(s, p);
    float most = -INFINITY;
    double sum = 0;

    for (uint64_t j = from; j <= p; j++) {
        float x = row[j] * scale;
        if (cap > 0)
            x = cap * tanhf(x / cap);
        row[j] = x * tau;
        most = row[j] > most ? row[j] : most;
    }
    for (uint64_t j = from; j <= p; j++) {
        row[j] = expf(row[j] - most);
        sum += (double)row[j];
    }
    const float inverse = (float)(1 / sum);
    for (uint64_t j = from; j <= p; j++)
        row[j] *= inverse;
    memset(row, 0, from * sizeof *row);
    memset(row + p + 1, 0, (n_keys - p - 1) * sizeof *row);
}

/* One window and one kv head: q, o [ctx, H * D], k, v [ctx, K * D]. */
static void attend_head(const gk_stream *s, gk_worker *w, const float *q, const float *k,
                        const float *v, float *o, uint64_t kv)
{
    const gk_grok2 *g = &s->a.sizes;
    const uint64_t D = g->head_dim, G = g->heads / g->kv_heads, T = s->o.ctx;
    const uint64_t q_width = g->heads * D, kv_width = g->kv_heads * D;

    for (uint64_t t = 0; t < T; t++)
        for (uint64_t i = 0; i < D; i++)
            w->v_t[i * T + t] = v[t * kv_width + kv * D + i];
    for (uint64_t head = kv * G; head < (kv + 1) * G; head++)
        for (uint64_t first = 0; first < T; first += GK_QUERY_BLOCK) {
            const uint64_t m = gk_min(GK_QUERY_BLOCK, T - first), n = first + m;
            gk_blas_product((int)m, (int)n, (int)D, q + first * q_width + head * D, (int)q_width,
                            k + kv * D, (int)kv_width, w->scores, (int)n);
            for (uint64_t i = 0; i < m; i++)
                attend(s, w->scores + i * n, first + i, n);
            gk_blas_product((int)m, (int)D, (int)n, w->scores, (int)n, w->v_t, (int)T,
                            o + first * q_width + head * D, (int)q_width);
        }
}

/* x [n, width] += the bias of that role, where there is one. */
static bool add_bias(gk_stream *s, gk_weight role, uint64_t layer, float *x, uint64_t n,
                     uint64_t width, gk_err *err)
{
    if (!gk_grok2_has(&s->a.sizes, role))
        return true;
    if (!gk_layer_read(s, role, layer, s->norm, err))
        return false;
#pragma omp parallel for schedule(static) num_threads(s->o.threads)
    for (uint64_t t = 0; t < n; t++)
        for (uint64_t i = 0; i < width; i++)
            x[t * width + i] += s->norm[i];
    return true;
}

bool gk_attention(gk_stream *s, uint64_t layer, const gk_chunk *c, gk_err *err)
{
    const gk_grok2 *g = &s->a.sizes;
    const uint64_t n = c->t1 - c->t0, ctx = s->o.ctx;
    const uint64_t q_width = g->heads * g->head_dim, kv_width = g->kv_heads * g->head_dim;
    float *q = s->area, *k = q + n * q_width, *v = k + n * kv_width, *o = v + n * kv_width;
    const struct {
        gk_weight      role, bias;
        const float *in;
        float       *out;
        uint64_t     width;
    } step[] = {{GK_WEIGHT_Q, GK_WEIGHT_Q_BIAS, s->x, q, q_width},
                {GK_WEIGHT_K, GK_WEIGHT_K_BIAS, s->x, k, kv_width},
                {GK_WEIGHT_V, GK_WEIGHT_V_BIAS, s->x, v, kv_width},
                {GK_WEIGHT_O, GK_WEIGHT_O_BIAS, o, s->y, s->d}};

    for (int i = 0; i < 4; i++) {
        if (i == 3) { /* everything but the output matrix is there */
#pragma omp parallel for schedule(static) num_threads(s->o.threads)
            for (uint64_t t = 0; t < n; t++) {
                rotate(s, q + t * q_width, g->heads, (c->t0 + t) % ctx);
                rotate(s, k + t * kv_width, g->kv_heads, (c->t0 + t) % ctx);
            }
            const uint64_t units = n / ctx * g->kv_heads;
#pragma omp parallel for schedule(dynamic, 1) num_threads(s->o.threads)
            for (uint64_t u = 0; u < units; u++) {
                const uint64_t at = u / g->kv_heads * ctx;
                attend_head(s, &s->worker[omp_get_thread_num()], q + at * q_width,
                            k + at * kv_width, v + at * kv_width, o + at * q_width,
                            u % g->kv_heads);
            }
        }
        const gk_product p = {.w = {gk_layer_tensor(s, step[i].role, layer, 0, err), NULL},
                              .in = step[i].in,
                              .out = step[i].out,
                              .begin = c->begin,
                              .n_batches = c->n_batches};
        if (p.w[0] != NULL && s->until == (i < 3 ? GK_UNTIL_FIRST : GK_UNTIL_LAST)) {
            if (!gk_show(s, &p, err))
                return false;
            if (i < 2)
                continue;
            return true;
        }
        if (p.w[0] == NULL || !gk_multiply(s, &p, err)
            || !add_bias(s, step[i].bias, layer, step[i].out, n, step[i].width, err))
            return false;
    }
    return true;
}
