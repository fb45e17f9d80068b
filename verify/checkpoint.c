/* verify/checkpoint.c - a pass that was left, on disk.
 *
 *   key       64 digits: gk_score_key()
 *   position  layer, step, batch
 *   sums      of all streams and layers
 *   streams   for each: chosen [T, top_k], gates [T, E], counts [layers, E], states [T, d]
 *   inputs    [T, d], with local
 *
 * in a gk_sealed file. What follows the key has the sizes of the job, never the file's own, so
 * that nothing in it can be too long, too short or too far. */
#include <string.h>

#include "formats/checked.h"
#include "formats/sealed.h"
#include "formats/text.h"
#include "quant/blas.h"
#include "quant/model.h"
#include "verify/scoring.h"

#define KEY_BYTES (GK_SHA256_HEX - 1)

/* ---- what names a job ---------------------------------------------------------------- */

/* What quantizers of ours leave beside the weights: digests of all files. */
static const char noted[] = "grokkit.json";

#define MAX_NOTED_BYTES (UINT64_C(64) << 20)

static bool add_noted(const gk_catalog *c, gk_hash *h, gk_err *err)
{
    const gk_extra *extra = gk_extra_find(c, noted);
    gk_arena *a = gk_arena_new(err);
    uint64_t len = 0;

    if (extra == NULL || a == NULL) {
        gk_arena_free(a);
        return a != NULL;
    }
    gk_file *f = gk_extra_open(a, extra, err);
    char *text = f == NULL ? NULL : gk_file_text(f, MAX_NOTED_BYTES, &len, err);
    if (text != NULL)
        gk_hash_add(h, text, len);
    gk_free(text);
    gk_file_close(f);
    gk_arena_free(a);
    return text != NULL;
}

bool gk_model_digest(const gk_catalog *c, bool times, char hex[GK_SHA256_HEX], gk_err *err)
{
    gk_hash *h = gk_hash_new(err);
    gk_text t = {0};

    if (h == NULL)
        return false;
    if (c->config_text != NULL)
        gk_hash_add(h, c->config_text, c->config_len);
    for (uint64_t i = 0; i < c->n_inputs; i++) {
        const gk_input *in = &c->input[i];
        gk_text_printf(&t, "\nfile %s %llu", in->name,
                       in->file == NULL ? 0ULL : (unsigned long long)in->file->size);
        if (times && in->file != NULL)
            gk_text_printf(&t, " %lld", (long long)in->file->mtime_ns);
    }
    for (uint64_t i = 0; i < c->n_tensors; i++) {
        const gk_tensor *x = &c->tensor[i];
        gk_text_printf(&t, "\ntensor %s %s", x->name, gk_tensor_kind(x));
        for (int k = 0; k < x->ndim; k++)
            gk_text_printf(&t, " %llu", (unsigned long long)x->dim[k]);
    }
    bool ok = gk_text_ok(&t, err);
    if (ok && t.data != NULL)
        gk_hash_add(h, t.data, t.len);
    ok = ok && add_noted(c, h, err);
    gk_hash_end(h, hex);
    gk_text_free(&t);
    return ok;
}

bool gk_score_key(const gk_score_job *job, char hex[GK_SHA256_HEX], gk_err *err)
{
    const gk_forward_options *o = &job->forward;
    const gk_switches *w = &o->switches;
    gk_text t = {0};
    char digest[GK_SHA256_HEX];
    bool ok = gk_hash_bytes(job->ids, o->ctx * o->n_windows * sizeof *job->ids, digest, err);

    gk_text_printf(&t, "eval 1 " GK_VERSION " %s\nids %s\n", gk_blas_name(), digest);
    gk_text_printf(&t, "ctx %llu windows %llu protocol %d local %d\n", (unsigned long long)o->ctx,
                   (unsigned long long)o->n_windows, (int)job->protocol, job->local);
    gk_text_printf(&t, "switches %d %d %d %d %d %d %d\n", w->gelu_tanh, w->router_cap,
                   (int)w->renorm, w->temperature, w->rope_magnitude, w->cap_first, (int)w->rope);
    for (int i = -1; ok && i <= job->n_also; i++) {
        const gk_catalog *c = i < 0 ? job->base : i == 0 ? job->model : job->also[i - 1];
        if (c == NULL)
            continue;
        ok = gk_model_digest(c, true, digest, err);
        gk_text_printf(&t, "%s %s\n", i < 0 ? "base" : "model", digest);
    }
    ok = ok && gk_text_ok(&t, err) && gk_hash_bytes(t.data, t.len, hex, err);
    gk_text_free(&t);
    return ok;
}

/* ---- the file --------------------------------------------------------------------------- */

uint64_t gk_score_state_bytes(const gk_score_job *job, const gk_arch *a)
{
    const uint64_t T = job->forward.ctx * job->forward.n_windows, E = a->sizes.experts;
    const uint64_t states = T * a->sizes.hidden * sizeof(float);
    const uint64_t stream = T * a->top_k * sizeof(uint16_t) + T * E * sizeof(float)
                            + a->sizes.layers * (E * sizeof(uint64_t) + sizeof(gk_layer_sums));
    const uint64_t n = gk_score_streams(job) - (job->local ? 1 : 0);

    return KEY_BYTES + sizeof(gk_position) + n * (stream + states) + (job->local ? states : 0);
}

/* The same steps write and read. */
typedef struct transfer {
    gk_sealed *file;
    bool reads;
    gk_err *err;
} transfer;

static bool bytes(const transfer *x, void *p, uint64_t n)
{
    return x->reads ? gk_sealed_take(x->file, p, n, x->err) : gk_sealed_add(x->file, p, n, x->err);
}

static bool states(const transfer *x, gk_states *s, const gk_stream *buffers)
{
    const uint64_t slab = gk_stream_slab(buffers);
    float *buf = gk_stream_buffer(buffers, 0);

    for (uint64_t at = 0; at < s->n; at += slab) {
        const uint64_t n = gk_min(slab, s->n - at), len = n * s->d * sizeof(float);
        if ((!x->reads && !gk_states_load(s, at, n, buf, x->err)) || !bytes(x, buf, len)
            || (x->reads && !gk_states_save(s, at, n, buf, x->err)))
            return false;
    }
    return true;
}

static bool content(const transfer *x, gk_pass *p)
{
    const gk_arch *a = gk_stream_arch(p->stream[0]);
    const uint64_t layers = a->sizes.layers, E = a->sizes.experts;

    if (!bytes(x, p->sums, (uint64_t)p->n_streams * layers * sizeof *p->sums))
        return false;
    for (int m = 0; m < p->n_streams; m++) {
        gk_stream *s = p->stream[m];
        if (!bytes(x, gk_stream_chosen(s), p->T * a->top_k * sizeof(uint16_t))
            || !bytes(x, gk_stream_gates(s), p->T * E * sizeof(float))
            || !bytes(x, gk_stream_counts(s, 0), layers * E * sizeof(uint64_t))
            || !states(x, gk_stream_states(s), s))
            return false;
    }
    return !p->job->local || states(x, &p->inputs, p->stream[0]);
}

bool gk_checkpoint_save(gk_pass *p, gk_err *err)
{
    char key[GK_SHA256_HEX];
    transfer x = {.err = err};

    if (!gk_score_key(p->job, key, err))
        return false;
    x.file = gk_sealed_create(p->job->state, err);
    if (x.file == NULL)
        return false;
    const bool ok = bytes(&x, key, KEY_BYTES) && bytes(&x, &p->at, sizeof p->at) && content(&x, p);
    return gk_sealed_commit(x.file, ok, err);
}

static bool possible(const gk_pass *p, const gk_position *at)
{
    const gk_forward_options *o = &p->job->forward;
    const uint64_t layers = gk_stream_arch(p->stream[0])->sizes.layers;
    const uint64_t n = (uint64_t)p->n_streams, steps = p->job->local ? 2 * n - 1 : n;

    return at->layer <= layers && at->step <= (at->layer == layers ? 1 : steps)
           && at->batch <= gk_div_up(o->n_windows, gk_batch_windows(o->ctx));
}

bool gk_checkpoint_load(gk_pass *p, bool *spoilt, gk_err *err)
{
    char key[GK_SHA256_HEX], stored[KEY_BYTES];
    gk_position at;
    transfer x = {.reads = true, .err = err};

    *spoilt = false;
    if (gk_path_kind_of(p->job->state) == GK_PATH_NONE || !gk_score_key(p->job, key, err))
        return false;
    x.file = gk_sealed_open(p->job->state,
                            gk_score_state_bytes(p->job, gk_stream_arch(p->stream[0])), err);
    bool ok = x.file != NULL && bytes(&x, stored, KEY_BYTES) && bytes(&x, &at, sizeof at);
    if (ok && (memcmp(stored, key, KEY_BYTES) != 0 || !possible(p, &at))) {
        gk_fail(err, GK_ERR_FORMAT, GK_NO_OFF, "it belongs to another job");
        ok = gk_fail_at(err, p->job->state, NULL);
    }
    if (ok) {
        *spoilt = true;
        ok = content(&x, p);
        *spoilt = !ok;
        if (ok)
            p->at = at;
    }
    gk_sealed_close(x.file);
    return ok;
}
