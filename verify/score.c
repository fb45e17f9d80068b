/* verify/score.c - from logits to figures. */
#include "verify/score.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "formats/checked.h"
#include "quant/kernels.h"

#define TOP 5

/* What is known of one scored token while its logits pass by, block after block. */
typedef struct tally {
    double   most[2], sum[2]; /* running maximum, and sum of exp(z - most)         */
    double   cross;           /* sum of exp(a - most) (a - b), a of the base       */
    float    target[2];       /* logit of the token that follows                   */
    float    top[2][TOP];     /* falling                                           */
    uint32_t top_id[2][TOP];
    uint32_t next; /* the token that follows */
} tally;

typedef struct scoring {
    const gk_score_job *job;
    gk_score           *out;
    uint64_t            first, per_window, n;
    uint64_t           *row, *begin; /* see gk_logit_job */
    tally              *tally;       /* [n]              */
    int                 n_models;
} scoring;

uint64_t gk_protocol_first(gk_protocol p, uint64_t ctx)
{
    return p == GK_PROTOCOL_LLAMA ? ctx / 2 : 0;
}

/* ---- logits pass by ----------------------------------------------------------- */

static void keep_top(tally *t, int m, float z, uint32_t id)
{
    int i = TOP - 1;

    /* equal logits: the lower id stands first, as argmax has it */
    if (!(z > t->top[m][i]))
        return;
    for (; i > 0 && z > t->top[m][i - 1]; i--) {
        t->top[m][i] = t->top[m][i - 1];
        t->top_id[m][i] = t->top_id[m][i - 1];
    }
    t->top[m][i] = z;
    t->top_id[m][i] = id;
}

static void take_row(tally *t, int m, const float *z, uint64_t id, uint64_t n)
{
    float most = z[0];

    for (uint64_t i = 0; i < n; i++) {
        most = z[i] > most ? z[i] : most;
        keep_top(t, m, z[i], (uint32_t)(id + i));
    }
    if ((double)most > t->most[m]) {
        const double shrink = exp(t->most[m] - (double)most);
        t->sum[m] *= shrink;
        if (m == 0)
            t->cross *= shrink;
        t->most[m] = (double)most;
    }
    if (t->next >= id && t->next - id < n)
        t->target[m] = z[t->next - id];
}

static void take_block(void *context, const gk_logit_block *b)
{
    scoring *s = context;

    for (uint64_t i = 0; i < b->n_rows; i++) {
        tally *t = &s->tally[b->row + i];
        const float *a = b->logits + i * b->n_ids;
        const float *o = b->other == NULL ? NULL : b->other + i * b->n_ids;
        take_row(t, 0, a, b->id, b->n_ids);
        for (uint64_t k = 0; k < b->n_ids; k++) {
            const double e = exp((double)a[k] - t->most[0]);
            t->sum[0] += e;
            if (o != NULL)
                t->cross += e * ((double)a[k] - (double)o[k]);
        }
        if (o == NULL)
            continue;
        take_row(t, 1, o, b->id, b->n_ids);
        for (uint64_t k = 0; k < b->n_ids; k++)
            t->sum[1] += exp((double)o[k] - t->most[1]);
    }
}

static void take_logits(void *context, const gk_logit_block *b)
{
    const gk_score_job *job = ((scoring *)context)->job;
    gk_grok2 sizes;
    gk_err ignored = {0};

    if (!gk_grok2_sizes(job->model->config, &sizes, &ignored))
        return;
    for (uint64_t i = 0; i < b->n_rows; i++)
        memcpy(job->logits + (b->row + i) * sizes.vocab + b->id, b->logits + i * b->n_ids,
               b->n_ids * sizeof(float));
}

/* ---- figures -------------------------------------------------------------------- */

static double log_sum(const tally *t, int m)
{
    return t->most[m] + log(t->sum[m]);
}

static double nll_of(const tally *t, int m)
{
    return log_sum(t, m) - (double)t->target[m];
}

/* sum p_a (ln p_a - ln p_b); rounding must not make it negative */
static double kld_of(const tally *t)
{
    const double kld = t->cross / t->sum[0] - log_sum(t, 0) + log_sum(t, 1);
    return kld < 0 ? 0 : kld;
}

/* sqrt() of what rounding may have made a little negative; a NaN stays one. */
static double root(double x)
{
    return x < 0 ? 0 : sqrt(x);
}

static gk_mean over_windows(const double *v, uint64_t windows, uint64_t per_window)
{
    double sum = 0, squares = 0;
    gk_mean m = {0, NAN}; /* one window has no spread */

    for (uint64_t w = 0; w < windows; w++) {
        double mean = 0;
        for (uint64_t i = 0; i < per_window; i++)
            mean += v[w * per_window + i];
        mean /= (double)per_window;
        sum += mean;
        squares += mean * mean;
    }
    m.mean = sum / (double)windows;
    if (windows > 1)
        m.err = root(squares / (double)windows - m.mean * m.mean) / sqrt((double)(windows - 1));
    return m;
}

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;

    return x < y ? -1 : x > y;
}

/* Linear between neighbours, as numpy does. */
static double percentile(const double *sorted, uint64_t n, double share)
{
    const double at = share * (double)(n - 1);
    const uint64_t low = (uint64_t)at;

    if (low + 1 >= n)
        return sorted[n - 1];
    return sorted[low] + (at - (double)low) * (sorted[low + 1] - sorted[low]);
}

static void set_perplexity(const scoring *s, const double *nll)
{
    double sum = 0, squares = 0;

    for (uint64_t i = 0; i < s->n; i++) {
        sum += nll[i];
        squares += nll[i] * nll[i];
    }
    const double mean = sum / (double)s->n, spread = squares / (double)s->n - mean * mean;
    s->out->nll = mean;
    s->out->ppl = exp(mean);
    s->out->ppl_err = s->n > 1 ? root(spread) / sqrt((double)(s->n - 1)) * s->out->ppl : NAN;
}

static void set_tops(const scoring *s)
{
    uint64_t same = 0, overlap = 0, of = 0;

    for (uint64_t i = 0; i < s->n; i++) {
        const tally *t = &s->tally[i];
        same += t->top_id[0][0] == t->top_id[1][0];
        for (int a = 0; a < TOP && t->top[0][a] > -INFINITY; a++, of++)
            for (int b = 0; b < TOP && t->top[1][b] > -INFINITY; b++)
                overlap += t->top_id[0][a] == t->top_id[1][b];
    }
    s->out->top1 = (double)same / (double)s->n;
    s->out->top5 = (double)overlap / (double)of;
}

static bool set_figures(scoring *s, gk_err *err)
{
    const uint64_t windows = s->job->forward.n_windows;
    gk_score *out = s->out;
    double *v = gk_arena_alloc(out->arena, s->n, sizeof *v, err);
    const int model = s->n_models - 1; /* the base, when there is one, came first */

    if (v == NULL)
        return false;
    for (uint64_t i = 0; i < s->n; i++)
        v[i] = nll_of(&s->tally[i], model);
    set_perplexity(s, v);
    if (s->n_models == 1)
        return true;
    double base = 0;
    for (uint64_t i = 0; i < s->n; i++) {
        base += nll_of(&s->tally[i], 0);
        v[i] -= nll_of(&s->tally[i], 0);
    }
    out->base_ppl = exp(base / (double)s->n);
    out->delta_ln_ppl = over_windows(v, windows, s->per_window);
    for (uint64_t i = 0; i < s->n; i++)
        v[i] = kld_of(&s->tally[i]);
    out->kld = over_windows(v, windows, s->per_window);
    qsort(v, (size_t)s->n, sizeof *v, by_value);
    out->kld_median = percentile(v, s->n, 0.5);
    out->kld_p99 = percentile(v, s->n, 0.99);
    out->kld_p999 = percentile(v, s->n, 0.999);
    out->kld_max = v[s->n - 1];
    set_tops(s);
    return true;
}

/* ---- the pass --------------------------------------------------------------------- */

static bool same_set(const uint16_t *a, const uint16_t *b, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++) {
        uint64_t k = 0;
        while (k < n && b[k] != a[i])
            k++;
        if (k == n)
            return false;
    }
    return true;
}

static gk_layer_drift drift(const gk_stream *base, const gk_stream *model, uint64_t T)
{
    const gk_arch *a = gk_stream_arch(base);
    const uint64_t d = a->sizes.hidden, k = a->top_k;
    double error = 0, square = 0, e, q;
    uint64_t same = 0;

    for (uint64_t t = 0; t < T; t++) {
        gk_kernels_get()->row_error(gk_stream_residual(base) + t * d,
                                    gk_stream_residual(model) + t * d, d, &e, &q);
        error += e;
        square += q;
        same += same_set(gk_stream_chosen(base) + t * k, gk_stream_chosen(model) + t * k, k);
    }
    return (gk_layer_drift){square > 0 ? error / square : 0, (double)same / (double)T};
}

static bool run_layers(scoring *s, gk_stream *model, gk_stream *base, gk_err *err)
{
    const gk_arch *a = gk_stream_arch(model);
    gk_score *out = s->out;

    out->n_layers = a->sizes.layers;
    out->n_experts = a->sizes.experts;
    out->layer = gk_arena_alloc(out->arena, out->n_layers, sizeof *out->layer, err);
    out->experts = gk_arena_alloc(out->arena, out->n_layers * out->n_experts, sizeof(uint64_t),
                                  err);
    if (out->layer == NULL || out->experts == NULL)
        return false;
    for (uint64_t l = 0; l < out->n_layers; l++) {
        if ((base != NULL && !gk_stream_layer(base, l, err)) || !gk_stream_layer(model, l, err))
            return false;
        if (base != NULL)
            out->layer[l] = drift(base, model, s->job->forward.n_windows * s->job->forward.ctx);
        memcpy(out->experts + l * out->n_experts, gk_stream_counts(model, l),
               out->n_experts * sizeof(uint64_t));
    }
    return (base == NULL || gk_stream_finish(base, err)) && gk_stream_finish(model, err);
}

/* Lists scored rows batch by batch; a tally for each. */
static bool list_rows(scoring *s, gk_err *err)
{
    const gk_forward_options *o = &s->job->forward;
    const uint64_t per_batch = gk_batch_windows(o->ctx);
    const uint64_t n_batches = gk_div_up(o->n_windows, per_batch);
    uint64_t n = 0;

    s->row = gk_arena_alloc(s->out->arena, s->n, sizeof *s->row, err);
    s->begin = gk_arena_alloc(s->out->arena, n_batches + 1, sizeof *s->begin, err);
    s->tally = gk_arena_alloc(s->out->arena, s->n, sizeof *s->tally, err);
    if (s->row == NULL || s->begin == NULL || s->tally == NULL)
        return false;
    for (uint64_t w = 0; w < o->n_windows; w++)
        for (uint64_t p = s->first; p + 1 < o->ctx; p++) {
            tally *t = &s->tally[n];
            s->row[n++] = w * o->ctx + p;
            t->next = s->job->ids[w * o->ctx + p + 1];
            for (int m = 0; m < 2; m++) {
                t->most[m] = -INFINITY;
                for (int i = 0; i < TOP; i++)
                    t->top[m][i] = -INFINITY;
            }
        }
    for (uint64_t b = 0; b <= n_batches; b++)
        s->begin[b] = gk_min(b * per_batch, o->n_windows) * s->per_window;
    return true;
}

static bool first_window_logits(scoring *s, gk_stream *model, gk_err *err)
{
    const uint64_t ctx = s->job->forward.ctx;
    uint64_t *row = gk_arena_alloc(s->out->arena, ctx, sizeof *row, err);
    const uint64_t begin[2] = {0, ctx};

    if (row == NULL)
        return false;
    for (uint64_t i = 0; i < ctx; i++)
        row[i] = i;
    const gk_logit_job job = {row, begin, 1, take_logits, s};
    return gk_stream_logits(model, NULL, &job, err);
}

/* Both configs are read before anything is computed. */
static bool same_shape(const gk_catalog *a, const gk_catalog *b, gk_err *err)
{
    gk_arch x, y;

    if (!gk_arch_read(a->config, &x, err) || !gk_arch_read(b->config, &y, err))
        return false;
    return (x.sizes.family == y.sizes.family && x.sizes.hidden == y.sizes.hidden
            && x.sizes.layers == y.sizes.layers && x.sizes.vocab == y.sizes.vocab
            && x.top_k == y.top_k)
           || gk_fail(err, GK_ERR_ARG, GK_NO_OFF,
                      "the base is a model of another shape: nothing to compare");
}

bool gk_score_run(const gk_score_job *job, gk_score *out, gk_err *err)
{
    const gk_forward_options *o = &job->forward;
    scoring s = {.job = job, .out = out, .first = gk_protocol_first(job->protocol, o->ctx)};
    gk_stream *model = NULL, *base = NULL;

    *out = (gk_score){.arena = gk_arena_new(err)};
    if (out->arena == NULL)
        return false;
    s.n_models = job->base == NULL ? 1 : 2;
    s.per_window = o->ctx - 1 - s.first;
    s.n = s.per_window * o->n_windows;
    out->n_scored = s.n;
    bool ok = (job->base == NULL || same_shape(job->model, job->base, err)) && list_rows(&s, err)
              && (model = gk_stream_new(job->model, o, job->ids, err)) != NULL
              && (job->base == NULL
                  || (base = gk_stream_new(job->base, o, job->ids, err)) != NULL);
    ok = ok && run_layers(&s, model, base, err);
    ok = ok && (job->logits == NULL || first_window_logits(&s, model, err));
    if (ok && s.n > 0) {
        const gk_logit_job logits = {
            s.row, s.begin, gk_div_up(o->n_windows, gk_batch_windows(o->ctx)), take_block, &s};
        ok = gk_stream_logits(base != NULL ? base : model, base != NULL ? model : NULL, &logits,
                              err)
             && set_figures(&s, err);
    }
    gk_stream_free(model);
    gk_stream_free(base);
    return ok;
}

void gk_score_free(gk_score *s)
{
    gk_arena_free(s->arena);
    *s = (gk_score){0};
}
