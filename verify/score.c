/* verify/score.c - all models through all layers, side by side. */
#include "verify/score.h"

#include <math.h>
#include <string.h>

#include "formats/checked.h"
#include "quant/kernels.h"
#include "verify/scoring.h"

/* ---- a layer against the base's ---------------------------------------------------- */

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

/* Rows [row, row + n) of a layer's output, `out`, against the base's; row by row into *error and
 * *square. */
static bool add_error(gk_pass *p, uint64_t row, uint64_t n, const float *out, double *error,
                      double *square, gk_err *err)
{
    gk_stream *base = p->stream[0], *s = p->stream[p->now];
    const uint64_t d = gk_stream_arch(base)->sizes.hidden;
    float *a = gk_stream_buffer(s, 0);
    double e, q;

    if (!gk_states_load(gk_stream_states(base), row, n, a, err))
        return false;
    for (uint64_t t = 0; t < n; t++) {
        gk_kernels_get()->row_error(a + t * d, out + t * d, d, &e, &q);
        *error += e;
        *square += q;
    }
    return true;
}

static gk_layer_sums *sums_of(const gk_pass *p, int stream, uint64_t layer)
{
    const uint64_t layers = gk_stream_arch(p->stream[0])->sizes.layers;

    return &p->sums[(uint64_t)stream * layers + layer];
}

static bool take_local(void *pass, uint64_t row, uint64_t n, const float *out, gk_err *err)
{
    gk_pass *p = pass;
    gk_layer_sums *sums = sums_of(p, p->now, p->at.layer);

    return add_error(p, row, n, out, &sums->local_error, &sums->local_square, err);
}

static bool take_own(void *pass, uint64_t row, uint64_t n, const float *out, gk_err *err)
{
    gk_pass *p = pass;
    gk_stream *base = p->stream[0], *s = p->stream[p->now];
    const uint64_t k = gk_stream_arch(base)->top_k, E = gk_stream_arch(base)->sizes.experts;
    gk_layer_sums *sums = sums_of(p, p->now, p->at.layer);

    for (uint64_t t = row; t < row + n; t++) {
        const float *a = gk_stream_gates(base) + t * E, *b = gk_stream_gates(s) + t * E;
        double moved = 0;
        for (uint64_t e = 0; e < E; e++)
            moved += fabs((double)a[e] - (double)b[e]);
        sums->gates += moved / 2;
        sums->same += same_set(gk_stream_chosen(base) + t * k, gk_stream_chosen(s) + t * k, k);
    }
    return add_error(p, row, n, out, &sums->error, &sums->square, err);
}

/* ---- layers ------------------------------------------------------------------------- */

static uint64_t steps(const gk_pass *p)
{
    return p->job->local ? 2 * (uint64_t)p->n_streams - 1 : (uint64_t)p->n_streams;
}

/* The layer at which a stream leaves the base's way. */
static uint64_t differs(const gk_pass *p, int stream)
{
    return stream == 0 || p->job->differs == NULL ? 0 : p->job->differs[stream - 1];
}

/* Where the base stands now: of the streams that leave it in this layer. */
static bool follow_base(gk_pass *p, uint64_t layer, gk_err *err)
{
    const uint64_t slab = gk_stream_slab(p->stream[0]);

    for (int m = 1; m < p->n_streams; m++)
        for (uint64_t at = 0; differs(p, m) == layer && layer > 0 && at < p->T; at += slab) {
            const uint64_t n = gk_min(slab, p->T - at);
            float *rows = gk_stream_buffer(p->stream[m], 0);
            if (!gk_states_load(gk_stream_states(p->stream[0]), at, n, rows, err)
                || !gk_states_save(gk_stream_states(p->stream[m]), at, n, rows, err))
                return false;
        }
    return true;
}

/* The step that p->at names; see gk_position. */
static bool run_step(gk_pass *p, gk_err *err)
{
    const uint64_t step = p->at.step;
    const bool alone = p->job->local && step % 2 == 1;
    gk_layer_run run = {.layer = p->at.layer, .batch = p->at.batch, .context = p};

    p->now = (int)(p->job->local ? (step + 1) / 2 : step);
    if (differs(p, p->now) > p->at.layer) {
        p->at.step++;
        return true;
    }
    if (p->now == 0 && p->job->local)
        run.inputs = &p->inputs;
    if (p->now > 0)
        run.done = alone ? take_local : take_own;
    if (alone)
        run.from = &p->inputs;
    const bool ok = gk_stream_run(p->stream[p->now], &run, err);
    p->at.batch = ok ? 0 : run.batch;
    p->at.step += ok;
    return ok;
}

/* Of what has not begun there is nothing to keep; what an earlier run kept stays. */
static void keep(gk_pass *p)
{
    gk_err failure = {0};

    if (p->at.layer == 0 && p->at.step == 0 && p->at.batch == 0)
        return;
    const bool ok = gk_checkpoint_save(p, &failure);

    if (p->job->kept != NULL)
        p->job->kept(p->job->context, ok ? NULL : &failure);
}

static bool run_layers(gk_pass *p, gk_err *err)
{
    const uint64_t layers = gk_stream_arch(p->stream[0])->sizes.layers;

    while (p->at.layer < layers) {
        while (p->at.step < steps(p))
            if (!run_step(p, err))
                return false;
        p->at = (gk_position){p->at.layer + 1, 0, 0};
        if (!follow_base(p, p->at.layer, err))
            return false;
        if (p->job->each_layer && p->job->state != NULL)
            keep(p);
    }
    if (p->at.step == 1)
        return true;
    for (int m = 0; m < p->n_streams; m++)
        if (!gk_stream_finish(p->stream[m], err))
            return false;
    p->at.step = 1;
    return true;
}

/* What the layers left, as figures. */
static bool set_layers(gk_pass *p, gk_err *err)
{
    gk_score *out = p->out;
    const int first = out->has_base ? 1 : 0;

    for (int m = 0; m < out->n_models + first; m++) {
        gk_figures *f = m < first ? &out->base : &out->model[m - first];
        const uint64_t n = out->n_layers * out->n_experts;
        f->experts = gk_arena_alloc(out->arena, n, sizeof *f->experts, err);
        f->layer = gk_arena_alloc(out->arena, out->n_layers, sizeof *f->layer, err);
        if (f->experts == NULL || f->layer == NULL)
            return false;
        memcpy(f->experts, gk_stream_counts(p->stream[m], 0), n * sizeof *f->experts);
        for (uint64_t l = 0; l < out->n_layers; l++) {
            const gk_layer_sums *s = sums_of(p, m, l);
            f->layer[l] = (gk_layer_drift){
                .rel_error = s->square > 0 ? s->error / s->square : 0,
                .router_agreement = (double)s->same / (double)p->T,
                .gate_drift = s->gates / (double)p->T,
                .local_error = s->local_square > 0 ? s->local_error / s->local_square : 0};
        }
    }
    return true;
}

/* ---- logits -------------------------------------------------------------------------- */

static void take_logits(void *pass, const gk_logit_block *b)
{
    const gk_pass *p = pass;
    const uint64_t vocab = gk_stream_arch(p->stream[0])->sizes.vocab;

    for (uint64_t i = 0; i < b->n_rows; i++)
        memcpy(p->job->logits + (b->row + i) * vocab + b->id, b->logits[0] + i * b->n_ids,
               b->n_ids * sizeof(float));
}

static bool first_window_logits(gk_pass *p, gk_err *err)
{
    const uint64_t ctx = p->job->forward.ctx;
    uint64_t *row = gk_arena_alloc(p->out->arena, ctx, sizeof *row, err);
    const uint64_t begin[2] = {0, ctx};

    if (row == NULL)
        return false;
    for (uint64_t i = 0; i < ctx; i++)
        row[i] = i;
    const gk_logit_job job = {row, begin, 1, take_logits, p};
    return gk_streams_logits(&p->stream[p->out->has_base ? 1 : 0], 1, &job, err);
}

static bool run_logits(gk_pass *p, gk_err *err)
{
    const gk_forward_options *o = &p->job->forward;

    if (p->job->logits != NULL && !first_window_logits(p, err))
        return false;
    if (p->n == 0)
        return true;
    const gk_logit_job job = {p->row, p->begin, gk_div_up(o->n_windows, gk_batch_windows(o->ctx)),
                              gk_tally_block, p};
    return gk_streams_logits(p->stream, p->n_streams, &job, err) && gk_tally_figures(p, err);
}

/* ---- the pass --------------------------------------------------------------------- */

/* Both configs are read before anything is computed. */
static bool same_shape(const gk_catalog *a, const gk_catalog *b, gk_err *err)
{
    gk_arch x, y;

    if (!gk_arch_read(a->config, &x, err) || !gk_arch_read(b->config, &y, err))
        return false;
    return (x.sizes.family == y.sizes.family && x.sizes.hidden == y.sizes.hidden
            && x.sizes.layers == y.sizes.layers && x.sizes.vocab == y.sizes.vocab
            && x.sizes.experts == y.sizes.experts && x.top_k == y.top_k)
           || gk_fail(err, GK_ERR_ARG, GK_NO_OFF,
                      "the base is a model of another shape: nothing to compare");
}

static const gk_catalog *model_of(const gk_score_job *job, int i)
{
    const int first = job->base != NULL ? 1 : 0;

    return i < first ? job->base : i == first ? job->model : job->also[i - first - 1];
}

static int models(const gk_score_job *job) { return (job->base != NULL ? 2 : 1) + job->n_also; }

uint64_t gk_score_streams(const gk_score_job *job)
{
    return (uint64_t)models(job) + (job->base != NULL && job->local ? 1 : 0);
}

static bool open_streams(gk_pass *p, gk_err *err)
{
    gk_forward_options o = p->job->forward;

    o.n_streams = gk_score_streams(p->job);
    for (int i = 0; i < p->n_streams; i++) {
        const gk_catalog *c = model_of(p->job, i);
        p->stream[i] = i == 0 ? gk_stream_new(c, &o, p->job->ids, err)
                              : gk_stream_beside(p->stream[0], c, p->job->ids, err);
        if (p->stream[i] == NULL)
            return false;
    }
    p->at = (gk_position){0};
    return !p->job->local || gk_stream_more_states(p->stream[0], &p->inputs, err);
}

static void close_streams(gk_pass *p)
{
    gk_states_free(&p->inputs);
    for (int i = p->n_streams; p->stream != NULL && i-- > 0;) {
        gk_stream_free(p->stream[i]);
        p->stream[i] = NULL;
    }
}

static bool open_pass(gk_pass *p, gk_err *err)
{
    const gk_score_job *job = p->job;
    gk_score *out = p->out;
    gk_arch a;

    for (int i = 1; i < p->n_streams; i++)
        if (!same_shape(model_of(job, 0), model_of(job, i), err))
            return false;
    if (!gk_arch_read(job->model->config, &a, err))
        return false;
    out->n_layers = a.sizes.layers;
    out->n_experts = a.sizes.experts;
    out->n_scored = p->n;
    out->has_base = job->base != NULL;
    out->n_models = p->n_streams - out->has_base;
    out->model = gk_arena_alloc(out->arena, (uint64_t)out->n_models, sizeof *out->model, err);
    p->stream = gk_arena_alloc(out->arena, (uint64_t)p->n_streams, sizeof *p->stream, err);
    p->sums = gk_arena_alloc(out->arena, (uint64_t)p->n_streams * out->n_layers, sizeof *p->sums,
                             err);
    return out->model != NULL && p->stream != NULL && p->sums != NULL && gk_tally_open(p, err)
           && open_streams(p, err);
}

/* A state that was half read is thrown away, and the pass begins at its beginning. */
static bool take_up(gk_pass *p, gk_err *err)
{
    const gk_score_job *job = p->job;
    gk_err damage = {0};
    bool spoilt = false;

    if (job->state == NULL || !job->each_layer)
        return true;
    const bool found = gk_checkpoint_load(p, &spoilt, &damage);
    if (job->resumed != NULL && (found || damage.code != GK_OK))
        job->resumed(job->context, found ? p->at.layer : 0, found ? NULL : &damage);
    if (!spoilt)
        return true;
    close_streams(p);
    memset(p->sums, 0, (uint64_t)p->n_streams * p->out->n_layers * sizeof *p->sums);
    return open_streams(p, err);
}

bool gk_score_run(const gk_score_job *job, gk_score *out, gk_err *err)
{
    const gk_forward_options *o = &job->forward;
    gk_pass p = {.job = job,
                 .out = out,
                 .T = o->ctx * o->n_windows,
                 .first = gk_protocol_first(job->protocol, o->ctx),
                 .n_streams = models(job)};

    *out = (gk_score){.arena = gk_arena_new(err)};
    if (out->arena == NULL)
        return false;
    p.per_window = o->ctx - 1 - p.first;
    p.n = p.per_window * o->n_windows;
    const bool opened = open_pass(&p, err) && take_up(&p, err);
    const bool ok = opened && run_layers(&p, err) && run_logits(&p, err) && set_layers(&p, err);
    if (opened && !ok && err->code == GK_ERR_INTERRUPTED && job->state != NULL)
        keep(&p);
    close_streams(&p);
    return ok;
}

void gk_score_free(gk_score *s)
{
    gk_arena_free(s->arena);
    *s = (gk_score){0};
}
