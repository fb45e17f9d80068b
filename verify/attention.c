/* verify/attention.c - grouped-query attention with a cap on the scores and a
 * temperature by position. */
#include <math.h>
#include <omp.h>
#include <string.h>

#include "formats/checked.h"
#include "verify/blas.h"
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

/* One row of scores [n_keys] to probabilities over keys 0 .. p. */
static void attend(const gk_stream *s, float *row, uint64_t p, uint64_t n_keys)
{
    const float scale = (float)(1 / sqrt((double)s->a.sizes.head_dim));
    const float cap = (float)s->a.attn_cap, tau = (float)temperature(s, p);
    float most = -INFINITY;
    double sum = 0;

    for (uint64_t j = 0; j <= p; j++) {
        float x = row[j] * scale;
        if (cap > 0)
            x = cap * tanhf(x / cap);
        row[j] = x * tau;
        most = row[j] > most ? row[j] : most;
    }
    for (uint64_t j = 0; j <= p; j++) {
        row[j] = expf(row[j] - most);
        sum += (double)row[j];
    }
    const float inverse = (float)(1 / sum);
    for (uint64_t j = 0; j <= p; j++)
        row[j] *= inverse;
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

bool gk_attention(gk_stream *s, uint64_t layer, const gk_chunk *c, gk_err *err)
{
    const gk_grok2 *g = &s->a.sizes;
    const uint64_t n = c->t1 - c->t0, ctx = s->o.ctx;
    const uint64_t q_width = g->heads * g->head_dim, kv_width = g->kv_heads * g->head_dim;
    float *q = s->area, *k = q + n * q_width, *v = k + n * kv_width, *o = v + n * kv_width;
    const struct {
        const char *part;
        const float *in;
        float *out;
    } step[] = {{"self_attn.q_proj", s->x, q},
                {"self_attn.k_proj", s->x, k},
                {"self_attn.v_proj", s->x, v},
                {"self_attn.o_proj", o, s->y}};

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
        const gk_product p = {.w = {gk_layer_tensor(s, (int64_t)layer, step[i].part, err), NULL},
                              .in = step[i].in,
                              .out = step[i].out,
                              .begin = c->begin,
                              .n_batches = c->n_batches};
        if (p.w[0] == NULL || !gk_multiply(s, &p, err))
            return false;
    }
    return true;
}
