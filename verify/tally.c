/* verify/tally.c - from logits to figures. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "formats/checked.h"
#include "verify/scoring.h"

#define SLICE     256 /* logits whose exponentials are held at once */
#define CONFIDENT 0.5

uint64_t gk_protocol_first(gk_protocol p, uint64_t ctx)
{
    return p == GK_PROTOCOL_LLAMA ? ctx / 2 : 0;
}

static const double shares[GK_N_PERCENTILES] = {0.5, 0.9, 0.95, 0.99, 0.999};

double gk_percentile(int i) { return 100 * shares[i]; }

bool gk_tally_open(gk_pass *p, gk_err *err)
{
    const gk_forward_options *o = &p->job->forward;
    const uint64_t per_batch = gk_batch_windows(o->ctx);
    const uint64_t n_batches = gk_div_up(o->n_windows, per_batch);
    const uint64_t tallies = p->n * (uint64_t)p->n_streams;
    uint64_t n = 0;

    p->row = gk_arena_alloc(p->out->arena, p->n, sizeof *p->row, err);
    p->next = gk_arena_alloc(p->out->arena, p->n, sizeof *p->next, err);
    p->begin = gk_arena_alloc(p->out->arena, n_batches + 1, sizeof *p->begin, err);
    p->tally = gk_arena_alloc(p->out->arena, tallies, sizeof *p->tally, err);
    if (p->row == NULL || p->next == NULL || p->begin == NULL || p->tally == NULL)
        return false;
    for (uint64_t w = 0; w < o->n_windows; w++)
        for (uint64_t i = p->first; i + 1 < o->ctx; i++) {
            p->row[n] = w * o->ctx + i;
            p->next[n++] = p->job->ids[w * o->ctx + i + 1];
        }
    for (uint64_t i = 0; i < tallies; i++) {
        p->tally[i].most = -INFINITY;
        for (int k = 0; k < GK_TOP; k++)
            p->tally[i].top[k] = -INFINITY;
    }
    for (uint64_t b = 0; b <= n_batches; b++)
        p->begin[b] = gk_min(b * per_batch, o->n_windows) * p->per_window;
    return true;
}

static gk_tally *tally_of(const gk_pass *p, int model, uint64_t i)
{
    return &p->tally[(uint64_t)model * p->n + i];
}

/* ---- logits pass by ----------------------------------------------------------- */

static void keep_top(gk_tally *t, float z, uint32_t id)
{
    int i = GK_TOP - 1;

    /* equal logits: the lower id stands first, as argmax has it */
    if (!(z > t->top[i]))
        return;
    for (; i > 0 && z > t->top[i - 1]; i--) {
        t->top[i] = t->top[i - 1];
        t->top_id[i] = t->top_id[i - 1];
    }
    t->top[i] = z;
    t->top_id[i] = id;
}

/* Returns the factor by which sums of exp(z - most) shrink. */
static double take_row(gk_tally *t, const float *z, uint64_t id, uint64_t n, uint32_t next)
{
    float most = z[0];
    double shrink = 1;

    for (uint64_t i = 0; i < n; i++) {
        most = z[i] > most ? z[i] : most;
        keep_top(t, z[i], (uint32_t)(id + i));
    }
    if ((double)most > t->most) {
        shrink = exp(t->most - (double)most);
        t->sum *= shrink;
        t->most = (double)most;
    }
    if (next >= id && next - id < n)
        t->target = z[next - id];
    return shrink;
}

/* One token's logits of all models; z[0] is of the base, where there is one. */
static void take_token(const gk_pass *p, const gk_logit_block *b, uint64_t i)
{
    const uint64_t at = b->row + i, n = b->n_ids;
    gk_tally *first = tally_of(p, 0, at);
    const float *a = b->logits[0] + i * n;
    const double shrink = take_row(first, a, b->id, n, p->next[at]);
    double e[SLICE];

    for (int m = 1; m < b->n_models; m++) {
        gk_tally *t = tally_of(p, m, at);
        t->cross *= shrink;
        take_row(t, b->logits[m] + i * n, b->id, n, p->next[at]);
    }
    for (uint64_t k = 0; k < n; k += SLICE) {
        const uint64_t count = gk_min(SLICE, n - k);
        for (uint64_t j = 0; j < count; j++) {
            e[j] = exp((double)a[k + j] - first->most);
            first->sum += e[j];
        }
        for (int m = 1; m < b->n_models; m++) {
            gk_tally *t = tally_of(p, m, at);
            const float *z = b->logits[m] + i * n + k;
            for (uint64_t j = 0; j < count; j++) {
                t->cross += e[j] * ((double)a[k + j] - (double)z[j]);
                t->sum += exp((double)z[j] - t->most);
            }
        }
    }
}

void gk_tally_block(void *pass, const gk_logit_block *b)
{
    for (uint64_t i = 0; i < b->n_rows; i++)
        take_token(pass, b, i);
}

/* ---- figures -------------------------------------------------------------------- */

static double log_sum(const gk_tally *t) { return t->most + log(t->sum); }

static double nll_of(const gk_tally *t) { return log_sum(t) - (double)t->target; }

/* sum p_a (ln p_a - ln p_b); rounding must not make it negative */
static double kld_of(const gk_tally *base, const gk_tally *t)
{
    const double kld = t->cross / base->sum - log_sum(base) + log_sum(t);
    return kld < 0 ? 0 : kld;
}

/* sqrt() of what rounding may have made a little negative; a NaN stays one. */
static double root(double x) { return x < 0 ? 0 : sqrt(x); }

/* means[windows], or NULL, gets those of the windows. */
static gk_mean over_windows(const double *v, uint64_t windows, uint64_t per_window, double *means)
{
    double sum = 0, squares = 0;
    gk_mean m = {0, NAN}; /* one window has no spread */

    for (uint64_t w = 0; w < windows; w++) {
        double mean = 0;
        for (uint64_t i = 0; i < per_window; i++)
            mean += v[w * per_window + i];
        mean /= (double)per_window;
        if (means != NULL)
            means[w] = mean;
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

static void set_perplexity(const gk_pass *p, int m, gk_figures *f)
{
    double sum = 0, squares = 0;

    for (uint64_t i = 0; i < p->n; i++) {
        const double nll = nll_of(tally_of(p, m, i));
        sum += nll;
        squares += nll * nll;
    }
    const double mean = sum / (double)p->n, spread = squares / (double)p->n - mean * mean;
    f->nll = mean;
    f->ppl = exp(mean);
    f->ppl_err = p->n > 1 ? root(spread) / sqrt((double)(p->n - 1)) * f->ppl : NAN;
}

static void set_tops(const gk_pass *p, int m, gk_figures *f)
{
    uint64_t same = 0, overlap = 0, of = 0;

    for (uint64_t i = 0; i < p->n; i++) {
        const gk_tally *x = tally_of(p, 0, i), *y = tally_of(p, m, i);
        const bool equal = x->top_id[0] == y->top_id[0];
        same += equal;
        f->n_flips += !equal && exp((double)x->top[0] - log_sum(x)) > CONFIDENT;
        for (int a = 0; a < GK_TOP && x->top[a] > -INFINITY; a++, of++)
            for (int b = 0; b < GK_TOP && y->top[b] > -INFINITY; b++)
                overlap += x->top_id[a] == y->top_id[b];
    }
    f->top1 = (double)same / (double)p->n;
    f->top5 = (double)overlap / (double)of;
    f->flips = (double)f->n_flips / (double)p->out->n_confident;
}

/* v [n] is scratch. */
static void set_divergence(const gk_pass *p, int m, gk_figures *f, double *v)
{
    const uint64_t windows = p->job->forward.n_windows;
    uint64_t worst = 0;

    for (uint64_t i = 0; i < p->n; i++) {
        v[i] = f->token_kld[i] = kld_of(tally_of(p, 0, i), tally_of(p, m, i));
        worst = f->token_kld[i] > f->token_kld[worst] ? i : worst;
    }
    f->kld = over_windows(v, windows, p->per_window, f->window_kld);
    qsort(v, (size_t)p->n, sizeof *v, by_value);
    for (int i = 0; i < GK_N_PERCENTILES; i++)
        f->kld_at[i] = percentile(v, p->n, shares[i]);
    f->kld_max = v[p->n - 1];
    f->max_window = worst / p->per_window;
    f->max_position = p->first + worst % p->per_window;
    f->max_token = p->next[worst];
}

static void set_differences(const gk_pass *p, int m, gk_figures *f, double *v)
{
    const uint64_t windows = p->job->forward.n_windows;
    double squares = 0;

    for (uint64_t i = 0; i < p->n; i++)
        v[i] = nll_of(tally_of(p, m, i)) - nll_of(tally_of(p, 0, i));
    f->delta_ln_ppl = over_windows(v, windows, p->per_window, NULL);
    for (uint64_t i = 0; i < p->n; i++) {
        v[i] = exp(-nll_of(tally_of(p, m, i))) - exp(-nll_of(tally_of(p, 0, i)));
        squares += v[i] * v[i];
    }
    f->delta_p = over_windows(v, windows, p->per_window, NULL);
    f->delta_p_rms = sqrt(squares / (double)p->n);
}

bool gk_tally_figures(gk_pass *p, gk_err *err)
{
    gk_score *out = p->out;
    const int first = out->has_base ? 1 : 0;
    double *v = gk_alloc(p->n, sizeof *v, err);
    bool ok = v != NULL;

    for (uint64_t i = 0; out->has_base && i < p->n; i++) {
        const gk_tally *t = tally_of(p, 0, i);
        out->n_confident += exp((double)t->top[0] - log_sum(t)) > CONFIDENT;
    }
    if (out->has_base)
        set_perplexity(p, 0, &out->base);
    for (int m = 0; ok && m < out->n_models; m++) {
        gk_figures *f = &out->model[m];
        set_perplexity(p, m + first, f);
        if (!out->has_base)
            continue;
        f->token_kld = gk_arena_alloc(out->arena, p->n, sizeof *f->token_kld, err);
        f->window_kld = gk_arena_alloc(out->arena, p->job->forward.n_windows, sizeof *f->window_kld,
                                       err);
        ok = f->token_kld != NULL && f->window_kld != NULL;
        if (ok) {
            set_divergence(p, m + first, f, v);
            set_differences(p, m + first, f, v);
            set_tops(p, m + first, f);
        }
    }
    gk_free(v);
    return ok;
}
