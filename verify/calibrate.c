/* verify/calibrate.c - sums beside the pass, a file that fills up, and going on.
 *
 * OUT.partial-calibrate/
 *   journal        "about KEY VALUE", what job this is; then "layer L SHA256 COUNT...", that the
 *                  rows of layer L are in the file, the digest of the residual stream behind
 *                  it, and how many tokens each expert saw
 *   residual-0, -1 the residual stream behind the last even, the last odd layer
 *   data/          the file itself */
#include "verify/calibrate.h"

#include <inttypes.h>
#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/checked.h"
#include "formats/gguf.h"
#include "formats/journal.h"
#include "formats/output.h"
#include "quant/model.h"
#include "quant/stats_write.h"
#include "verify/probes.h"

#define TAG        "calibrate"
#define STRIP      256 /* columns whose sums one thread holds in its cache */
#define HASH_BYTES (1u << 20)
#define LINE_BYTES 256

enum {
    ABOUT_MODEL,
    ABOUT_TOKENS,
    ABOUT_TEXTS,
    ABOUT_CTX,
    ABOUT_PRESET,
    ABOUT_SWITCHES,
    ABOUT_FORM,
    ABOUT_PROBES,
    N_ABOUT
};

static const char *const about_keys[N_ABOUT] = {"model",  "tokens",   "texts", "ctx",
                                                "preset", "switches", "form", "probes"};

typedef struct run {
    const gk_calibrate_job *job;
    gk_calibration *result;
    gk_arena *arena;
    gk_stream *stream;
    gk_stats_layout layout;
    gk_output *out;
    gk_journal *journal;
    int file;
    char about[N_ABOUT][LINE_BYTES], id[GK_SHA256_HEX];
    double *sums;     /* of the layer at hand: gk_stats_set.first   */
    uint64_t *counts; /* likewise: first_count                      */
    float *row;       /* the same as they are stored                */
    int64_t *both;    /* [E, E] of the layer                        */
    double *mass;     /* [E, 2] of the layer                        */
    gk_probe *probe;  /* [n_probes]                                 */
    uint64_t n_probes;
    uint64_t layers;  /* that are done                              */
} run;

/* ---- sums -------------------------------------------------------------------------- */

/* sum [n_cols] += x^2 of each row in turn. Strips of columns are independent. */
static void add_squares(const float *in, uint64_t n_rows, uint64_t n_cols, double *sum, int threads)
{
#pragma omp parallel for schedule(static) num_threads(threads)
    for (uint64_t c = 0; c < n_cols; c += STRIP) {
        const uint64_t n = gk_min(STRIP, n_cols - c);
        for (uint64_t r = 0; r < n_rows; r++) {
            const float *x = in + r * n_cols + c;
            for (uint64_t i = 0; i < n; i++)
                sum[c + i] += (double)x[i] * (double)x[i];
        }
    }
}

static void add_inputs(run *r, const gk_tensor *t, const float *in, uint64_t n_rows)
{
    const gk_stats_slot *slot = &r->layout.slot[t - r->job->model->tensor];
    const gk_stats_set *s = slot->set;

    if (s == NULL)
        return;
    add_squares(in, n_rows, s->n_cols, r->sums + s->first + slot->matrix * s->n_cols,
                r->job->forward.threads);
    r->counts[s->first_count + slot->matrix] += n_rows;
}

static bool watch(void *watcher, const gk_tensor *const w[2], const float *in,
                  const uint64_t *begin, uint64_t n_batches, gk_err *err)
{
    run *r = watcher;

    (void)err;
    for (int i = 0; i < 2 && w[i] != NULL; i++)
        add_inputs(r, w[i], in + begin[0] * gk_cols(w[i]), begin[n_batches] - begin[0]);
    return true;
}

static void add_choices(run *r)
{
    const gk_arch *a = gk_stream_arch(r->stream);
    const uint64_t T = r->job->forward.n_windows * r->job->forward.ctx, E = a->sizes.experts;
    const uint16_t *chosen = gk_stream_chosen(r->stream);
    const float *weight = gk_stream_weights(r->stream);

    memset(r->both, 0, E * E * sizeof *r->both);
    memset(r->mass, 0, E * 2 * sizeof *r->mass);
    for (uint64_t t = 0; t < T; t++)
        for (uint64_t i = 0; i < a->top_k; i++) {
            const uint64_t e = chosen[t * a->top_k + i];
            const double w = (double)weight[t * a->top_k + i];
            r->mass[2 * e] += w;
            r->mass[2 * e + 1] += w * w;
            for (uint64_t k = 0; k < a->top_k; k++)
                r->both[e * E + chosen[t * a->top_k + k]]++;
        }
}

/* ---- the file ------------------------------------------------------------------------ */

static bool put(run *r, uint64_t off, const void *buf, uint64_t n, gk_err *err)
{
    return gk_output_write(r->out, r->file, off, buf, n, err);
}

static bool write_set(run *r, const gk_stats_set *s, gk_err *err)
{
    const uint64_t n = s->n_matrices * s->n_cols;

    for (uint64_t i = 0; i < n; i++) {
        r->row[i] = (float)r->sums[s->first + i];
        if (!isfinite(r->row[i])) {
            gk_fail(err, GK_ERR_FORMAT, GK_NO_OFF,
                    "the sum of x^2 of column %" PRIu64 " is %g: the model computes no numbers "
                    "that could be measured",
                    i % s->n_cols, r->sums[s->first + i]);
            return gk_fail_at(err, NULL, s->name);
        }
    }
    if (!put(r, s->sums_off, r->row, n * sizeof *r->row, err))
        return false;
    for (uint64_t i = 0; i < s->n_matrices; i++)
        r->row[i] = (float)r->counts[s->first_count + i];
    return put(r, s->counts_off, r->row, s->n_matrices * sizeof *r->row, err);
}

/* What the file has of layer l, or of the head. */
static bool write_layer(run *r, uint64_t l, gk_err *err)
{
    const uint64_t E = r->result->n_experts;

    for (uint64_t i = 0; i < r->layout.n_sets; i++)
        if (r->layout.set[i].layer == l && !write_set(r, &r->layout.set[i], err))
            return false;
    if (l == r->result->n_layers || r->layout.mass_off == 0)
        return true;
    add_choices(r);
    const uint64_t both = E * E * sizeof *r->both, mass = 2 * E * sizeof *r->mass;
    return put(r, r->layout.coactivation_off + l * both, r->both, both, err)
           && put(r, r->layout.mass_off + l * mass, r->mass, mass, err);
}

/* The header, the tokens, and what alignment leaves. */
static bool write_frame(run *r, gk_err *err)
{
    static const char zeros[GK_MAX_ALIGN];
    const gk_shard *f = &r->layout.file.shard[0];
    const uint64_t T = r->job->forward.n_windows * r->job->forward.ctx;

    if (!put(r, 0, f->header, f->header_bytes, err)
        || (r->layout.tokens_off > 0
            && !put(r, r->layout.tokens_off, r->job->ids, T * sizeof *r->job->ids, err)))
        return false;
    for (uint64_t i = 0; i < r->layout.n_entries; i++) {
        const uint64_t end = r->layout.entry[i].off + r->layout.entry[i].bytes;
        const uint64_t gap = gk_div_up(end, GK_MAX_ALIGN) * GK_MAX_ALIGN - end;
        if (gap > 0 && !put(r, end, zeros, gap, err))
            return false;
    }
    return true;
}

/* ---- what job this is ---------------------------------------------------------------- */

static void hash_text(gk_hash *h, const char *s) { gk_hash_add(h, s, strlen(s) + 1); }

static bool name_model(const gk_catalog *c, char hex[GK_SHA256_HEX], gk_err *err)
{
    gk_hash *h = gk_hash_new(err);

    if (h == NULL)
        return false;
    for (uint64_t i = 0; i < c->n_inputs; i++) {
        hash_text(h, c->input[i].name);
        gk_hash_add(h, &c->input[i].file->size, sizeof c->input[i].file->size);
    }
    for (uint64_t i = 0; i < c->n_stored; i++) {
        hash_text(h, c->stored[i].name);
        gk_hash_add(h, &c->stored[i].off, sizeof c->stored[i].off);
    }
    gk_hash_end(h, hex);
    return true;
}

static bool name_texts(const gk_calibrate_job *job, char hex[GK_SHA256_HEX], gk_err *err)
{
    gk_hash *h = gk_hash_new(err);

    if (h == NULL)
        return false;
    for (uint64_t i = 0; i < job->n_datasets; i++)
        hash_text(h, job->dataset[i]);
    hash_text(h, job->text_sha256);
    gk_hash_end(h, hex);
    return true;
}

static bool name_job(run *r, gk_err *err)
{
    const gk_calibrate_job *job = r->job;
    const uint64_t T = job->forward.n_windows * job->forward.ctx;
    char switches[GK_SWITCHES_TEXT];

    if (!name_model(job->model, r->about[ABOUT_MODEL], err)
        || !gk_hash_bytes(job->ids, T * sizeof *job->ids, r->about[ABOUT_TOKENS], err)
        || !name_texts(job, r->about[ABOUT_TEXTS], err))
        return false;
    snprintf(r->about[ABOUT_CTX], LINE_BYTES, "%" PRIu64, job->forward.ctx);
    snprintf(r->about[ABOUT_PRESET], LINE_BYTES, "%s", job->preset);
    snprintf(r->about[ABOUT_SWITCHES], LINE_BYTES, "%s",
             gk_switches_spell(&job->forward.switches, switches));
    snprintf(r->about[ABOUT_FORM], LINE_BYTES, "%s", job->plain ? "imatrix" : "statistics");
    snprintf(r->about[ABOUT_PROBES], LINE_BYTES, "%" PRIu64, job->probe_windows);
    gk_hash *h = gk_hash_new(err);
    if (h == NULL)
        return false;
    hash_text(h, "grokkit statistics 1");
    for (int i = 0; i < N_ABOUT; i++)
        hash_text(h, r->about[i]);
    gk_hash_end(h, r->id);
    return true;
}

/* ---- going on ------------------------------------------------------------------------ */

static char *residual_path(run *r, uint64_t l, gk_err *err)
{
    return gk_arena_printf(r->arena, err, "%s/residual-%d", gk_output_partial(r->out),
                           (int)(l & 1));
}

/* A line of the journal about layer l; false: it is none, or the residual is another. */
static bool take_layer(run *r, const char *line, gk_err *err)
{
    const uint64_t bytes = r->job->forward.n_windows * r->job->forward.ctx
                           * gk_stream_arch(r->stream)->sizes.hidden * sizeof(float);
    char theirs[GK_SHA256_HEX], ours[GK_SHA256_HEX] = "";
    uint64_t l;
    int at = 0;

    if (sscanf(line, "layer %" SCNu64 " %64s%n", &l, theirs, &at) != 2 || l >= r->result->n_layers)
        return false;
    char *end = NULL;
    const char *next = line + at;
    for (uint64_t e = 0; e < r->result->n_experts; e++, next = end)
        r->result->experts[l * r->result->n_experts + e] = strtoull(next, &end, 10);
    char *path = residual_path(r, l, err);
    gk_file *f = path == NULL ? NULL : gk_file_open(r->arena, path, err);
    void *buf = f == NULL ? NULL : gk_alloc(HASH_BYTES, 1, err);
    const bool ok = buf != NULL && f->size == bytes
                    && gk_hash_file(f, 0, f->size, buf, HASH_BYTES, ours, err)
                    && strcmp(ours, theirs) == 0 && gk_stream_restore(r->stream, f, err);
    gk_free(buf);
    gk_file_close(f);
    if (ok)
        r->layers = l + 1;
    return ok;
}

static bool is_about(const run *r, const char *line, int i)
{
    const size_t n = strlen(about_keys[i]);

    return strncmp(line, "about ", 6) == 0 && strncmp(line + 6, about_keys[i], n) == 0
           && line[6 + n] == ' ' && strcmp(line + 7 + n, r->about[i]) == 0;
}

/* Reads what an earlier run left. False: ARG when it did another job. */
static bool take_up(run *r, bool *any, gk_err *err)
{
    char *last[2] = {NULL, NULL};
    const char *line;

    *any = false;
    for (int i = 0; (line = gk_journal_next(r->journal)) != NULL; i++) {
        *any = true;
        if (i < N_ABOUT && !is_about(r, line, i)) {
            gk_fail(err, GK_ERR_ARG, GK_NO_OFF,
                    "is of another job: '%.120s', here its %s is '%.100s'; without --resume it "
                    "starts over",
                    line, about_keys[i], r->about[i]);
            return gk_fail_at(err, gk_output_partial(r->out), NULL);
        }
        if (i < N_ABOUT)
            continue;
        last[0] = last[1];
        last[1] = gk_arena_str(r->arena, line, err);
        if (last[1] == NULL)
            return false;
    }
    for (int i = 1; i >= 0 && r->layers == 0; i--) {
        gk_err ignored = {0};
        if (last[i] != NULL)
            take_layer(r, last[i], &ignored);
    }
    return true;
}

static bool begin_journal(run *r, gk_err *err)
{
    gk_text lines = {0};
    char line[LINE_BYTES + 32];

    for (int i = 0; i < N_ABOUT; i++) {
        snprintf(line, sizeof line, "about %s %s", about_keys[i], r->about[i]);
        gk_journal_line(&lines, line);
    }
    const bool ok = gk_text_ok(&lines, err) && gk_journal_write(r->journal, &lines, err);
    gk_text_free(&lines);
    return ok;
}

/* The rows of layer l are in the file; so is now the way on from there. */
static bool checkpoint(run *r, uint64_t l, gk_err *err)
{
    const uint64_t bytes = r->job->forward.n_windows * r->job->forward.ctx
                           * gk_stream_arch(r->stream)->sizes.hidden * sizeof(float);
    const float *residual = gk_stream_residual(r->stream);
    char hex[GK_SHA256_HEX], *path = residual_path(r, l, err);
    gk_text text = {0}, lines = {0};

    bool ok = path != NULL && gk_file_put(path, residual, bytes, err)
              && gk_hash_bytes(residual, bytes, hex, err) && gk_output_sync(r->out, err);
    if (ok) {
        gk_text_printf(&text, "layer %" PRIu64 " %s", l, hex);
        for (uint64_t e = 0; e < r->result->n_experts; e++)
            gk_text_printf(&text, " %" PRIu64, gk_stream_counts(r->stream, l)[e]);
        ok = gk_text_ok(&text, err);
    }
    if (ok) {
        gk_journal_line(&lines, text.data);
        ok = gk_text_ok(&lines, err) && gk_journal_write(r->journal, &lines, err);
    }
    if (ok)
        r->layers = l + 1;
    gk_text_free(&text);
    gk_text_free(&lines);
    return ok;
}

/* ---- the pass ------------------------------------------------------------------------ */

static bool open_room(run *r, gk_err *err)
{
    const uint64_t E = r->result->n_experts;

    r->sums = gk_alloc(r->layout.most_sums, sizeof *r->sums, err);
    r->counts = gk_alloc(r->layout.most_counts, sizeof *r->counts, err);
    r->row = gk_alloc(gk_max(r->layout.most_sums, r->layout.most_counts), sizeof *r->row, err);
    r->both = gk_alloc(E * E, sizeof *r->both, err);
    r->mass = gk_alloc(E * 2, sizeof *r->mass, err);
    return r->sums != NULL && r->counts != NULL && r->row != NULL && r->both != NULL
           && r->mass != NULL;
}

static void clear_sums(run *r)
{
    memset(r->sums, 0, r->layout.most_sums * sizeof *r->sums);
    memset(r->counts, 0, r->layout.most_counts * sizeof *r->counts);
}

static bool run_layers(run *r, gk_err *err)
{
    const uint64_t E = r->result->n_experts, L = r->result->n_layers;

    for (uint64_t l = r->layers; l < L; l++) {
        clear_sums(r);
        if (!gk_stream_layer(r->stream, l, err))
            return false;
        memcpy(r->result->experts + l * E, gk_stream_counts(r->stream, l), E * sizeof(uint64_t));
        if (!write_layer(r, l, err) || !checkpoint(r, l, err))
            return false;
    }
    return true;
}

/* The head's inputs are what the last norm makes of the stream; its product is not needed. */
static bool run_head(run *r, gk_err *err)
{
    const uint64_t T = r->job->forward.n_windows * r->job->forward.ctx;

    clear_sums(r);
    if (!gk_stream_finish(r->stream, err))
        return false;
    for (uint64_t i = 0; i < r->job->model->n_tensors; i++)
        if (r->layout.slot[i].set != NULL && r->layout.slot[i].set->layer == r->result->n_layers)
            add_inputs(r, &r->job->model->tensor[i], gk_stream_residual(r->stream), T);
    return write_layer(r, r->result->n_layers, err);
}

/* Each with one kind of noise, beside the model as it is. */
static bool run_probes(run *r, gk_err *err)
{
    gk_forward_options o = r->job->forward;
    double *row = gk_arena_alloc(r->arena, 4 * r->n_probes, sizeof *row, err);

    if (r->n_probes == 0)
        return true;
    o.spool = r->job->spool;
    if (r->job->probing != NULL)
        r->job->probing(o.context, r->n_probes);
    if (row == NULL
        || !gk_probes_run(r->job->model, &o, r->job->ids, r->job->probe_windows, r->probe,
                          r->n_probes, err))
        return false;
    for (uint64_t i = 0; i < r->n_probes; i++) {
        const gk_probe *p = &r->probe[i];
        memcpy(row + 4 * i, (double[4]){(double)p->first, (double)p->last, p->kld, p->err},
               4 * sizeof *row);
    }
    return put(r, r->layout.probes_off, row, 4 * r->n_probes * sizeof *row, err);
}

static bool lay_out(run *r, gk_err *err)
{
    const gk_calibrate_job *job = r->job;
    const gk_stats_about about = {.dataset = job->dataset,
                                  .n_datasets = job->n_datasets,
                                  .n_windows = job->forward.n_windows,
                                  .ctx = job->forward.ctx,
                                  .plain = job->plain,
                                  .layers = r->result->n_layers,
                                  .experts = r->result->n_experts,
                                  .probe = r->probe,
                                  .n_probes = r->n_probes,
                                  .preset = job->preset,
                                  .switches = r->about[ABOUT_SWITCHES],
                                  .text_sha256 = job->text_sha256,
                                  .job = r->id};
    char *real = gk_path_real(r->arena, job->out, err);

    if (real == NULL)
        return false;
    const char *base = gk_path_base(real);
    const char *name = gk_arena_strn(r->arena, base, strlen(base) - strlen(".gguf"), err);
    return name != NULL && gk_stats_lay_out(r->arena, job->model, &about, name, &r->layout, err);
}

/* What another run left is this job's, or nothing. */
static bool begin(run *r, gk_err *err)
{
    const gk_output_how how = {
        .as_files = true, .resume = r->job->resume, .break_lock = r->job->break_lock};
    const gk_shard *f = &r->layout.file.shard[0];
    bool any = false;

    r->out = gk_output_begin(r->job->out, TAG, &how, err);
    if (r->out == NULL)
        return false;
    r->journal = gk_journal_open(gk_output_dir(r->out), "journal", !r->job->resume, err);
    if (r->journal == NULL || (r->job->resume && !take_up(r, &any, err))) {
        gk_journal_close(r->journal);
        gk_output_leave(r->out); /* it may still be worth something */
        r->journal = NULL;
        r->out = NULL;
        return false;
    }
    if (r->layers > 0 && r->job->resumed != NULL)
        r->job->resumed(r->job->forward.context, r->layers);
    return (any || begin_journal(r, err))
           && gk_output_create(r->out, f->name, f->bytes, &r->file, err) && write_frame(r, err);
}

/* An error that another attempt may not meet leaves what is done for --resume. */
static void give_up(run *r, const gk_err *why)
{
    const bool passing = why->code == GK_ERR_INTERRUPTED || why->code == GK_ERR_IO
                         || why->code == GK_ERR_SPACE || why->code == GK_ERR_NOMEM;

    gk_journal_close(r->journal);
    if (r->out == NULL)
        return;
    if (passing && r->layers > 0 && gk_output_trusted(r->out)) {
        r->result->partial = gk_arena_str(r->result->arena, gk_output_partial(r->out), NULL);
        gk_output_leave(r->out);
    } else {
        gk_output_abandon(r->out);
    }
}

/* ---- what stands there ----------------------------------------------------------------- */

/* Takes the counts from the diagonal of a finished file. */
static bool read_counts(run *r, const gk_catalog *c, gk_err *err)
{
    const uint64_t E = r->result->n_experts, L = r->result->n_layers;
    const gk_tensor *t = gk_catalog_find(c, "grokkit.coactivation");
    int64_t *both = gk_arena_alloc(r->arena, E * E, sizeof *both, err);

    if (E == 0)
        return true;
    if (both == NULL || t == NULL || t->dtype != GK_I64 || gk_rows(t) != L * E || gk_cols(t) != E)
        return gk_fail(err, GK_ERR_FORMAT, GK_NO_OFF, "statistics without their counts");
    for (uint64_t l = 0; l < L; l++) {
        if (!gk_read_part(c, t, 0, l * E, E, 0, E, both, err))
            return false;
        for (uint64_t e = 0; e < E; e++)
            r->result->experts[l * E + e] = (uint64_t)both[e * E + e];
    }
    return true;
}

/* Likewise what the probes found. */
static bool read_probes(run *r, gk_err *err)
{
    gk_stats *s = r->n_probes == 0 ? NULL : gk_stats_open(r->job->out, err);
    const bool ok = r->n_probes == 0 || (s != NULL && s->n_probes == r->n_probes);

    for (uint64_t i = 0; ok && i < r->n_probes; i++) {
        r->probe[i].kld = s->probe[i].kld;
        r->probe[i].err = s->probe[i].err;
    }
    gk_stats_free(s);
    return ok;
}

/* OUT is there, of this very job. Anything else there is the caller's affair. */
static bool is_finished(run *r)
{
    gk_err ignored = {0};
    gk_catalog *c = r->job->resume && gk_path_kind_of(r->job->out) == GK_PATH_FILE
                        ? gk_catalog_open(r->job->out, &ignored)
                        : NULL;
    const char *id = c == NULL ? NULL
                               : gk_gguf_string(c->gguf, "grokkit.job", r->arena, NULL, &ignored);
    const bool same = id != NULL && strcmp(id, r->id) == 0 && read_counts(r, c, &ignored)
                      && read_probes(r, &ignored);

    gk_catalog_close(c);
    return same;
}

static bool hash_result(run *r, gk_err *err)
{
    gk_file *f = gk_file_open(r->arena, r->job->out, err);
    void *buf = f == NULL ? NULL : gk_alloc(HASH_BYTES, 1, err);
    const bool ok = buf != NULL
                    && gk_hash_file(f, 0, f->size, buf, HASH_BYTES, r->result->sha256, err);

    r->result->bytes = ok ? f->size : 0;
    gk_free(buf);
    gk_file_close(f);
    return ok;
}

/* ---- all of it ------------------------------------------------------------------------- */

static bool prepare(run *r, gk_err *err)
{
    gk_calibration *c = r->result;
    gk_arch a;

    if (!gk_ends_with(r->job->out, ".gguf") || strlen(gk_path_base(r->job->out)) == 5) {
        gk_fail(err, GK_ERR_ARG, GK_NO_OFF, "the file must have a name that ends with .gguf");
        return gk_fail_at(err, r->job->out, NULL);
    }
    if (!gk_arch_read(r->job->model->config, &a, err) || !name_job(r, err))
        return false;
    c->n_layers = a.sizes.layers;
    c->n_experts = a.sizes.experts;
    c->experts = gk_arena_alloc(c->arena, c->n_layers * c->n_experts, sizeof *c->experts, err);
    if (c->experts == NULL
        || (!r->job->plain && r->job->probe_windows > 0
            && !gk_probes_list(c->arena, r->job->model, &r->probe, &r->n_probes, err)))
        return false;
    c->probe = r->probe;
    c->n_probes = r->n_probes;
    return lay_out(r, err);
}

static bool may_write(const gk_calibrate_job *job, gk_err *err)
{
    if (!gk_model_output_allowed(job->model, job->out, job->force, err))
        return false;
    for (uint64_t i = 0; i < job->n_datasets; i++)
        if (!gk_output_allowed(job->out, job->dataset[i], job->force, err))
            return false;
    return true;
}

static bool compute(run *r, gk_err *err)
{
    gk_forward_options o = r->job->forward;

    o.watch = watch;
    o.watcher = r;
    r->stream = gk_stream_new(r->job->model, &o, r->job->ids, err);
    bool ok = r->stream != NULL && open_room(r, err) && begin(r, err) && run_layers(r, err)
              && (r->job->plain || run_head(r, err));
    gk_stream_free(r->stream);
    ok = ok && run_probes(r, err);
    if (!ok) {
        give_up(r, err);
        return false;
    }
    gk_journal_close(r->journal);
    return gk_output_commit(r->out, r->job->force, err);
}

bool gk_calibrate(const gk_calibrate_job *job, gk_calibration *out, gk_err *err)
{
    run r = {.job = job, .result = out};

    *out = (gk_calibration){.arena = gk_arena_new(err)};
    r.arena = gk_arena_new(err);
    bool ok = out->arena != NULL && r.arena != NULL && prepare(&r, err);
    out->finished = ok && is_finished(&r);
    ok = ok && (out->finished || (may_write(job, err) && compute(&r, err)))
         && hash_result(&r, err);
    gk_free(r.sums);
    gk_free(r.counts);
    gk_free(r.row);
    gk_free(r.both);
    gk_free(r.mass);
    gk_arena_free(r.arena);
    return ok;
}

void gk_calibration_free(gk_calibration *c)
{
    gk_arena_free(c->arena);
    *c = (gk_calibration){0};
}
