/* verify/probes.c - see the header. */
#include "verify/probes.h"

#include <math.h>
#include <string.h>

#include "formats/checked.h"
#include "quant/kinds.h"
#include "quant/model.h"
#include "quant/phases.h"
#include "quant/through.h"

/* What quantize may want to make smaller. */
static bool is_probed(const gk_grok2_shape *shape)
{
    return gk_phase_of(shape) > 0 || shape->role == GK_WEIGHT_EMBEDDING
           || shape->role == GK_WEIGHT_HEAD;
}

bool gk_probes_list(gk_arena *a, const gk_catalog *model, gk_probe **out, uint64_t *n, gk_err *err)
{
    gk_grok2 sizes;

    *n = 0;
    if (!gk_grok2_sizes(model->config, &sizes, err))
        return false;
    const int64_t bands = (int64_t)gk_min(GK_PROBE_BANDS, sizes.layers);
    gk_probe *row = gk_arena_alloc(a, GK_N_WEIGHTS * GK_PROBE_BANDS + 2, sizeof *row, err);
    if (row == NULL)
        return false;
    for (uint64_t i = 0; i < model->n_tensors; i++) {
        gk_grok2_shape shape;
        char kind[GK_KIND_NAME];
        int64_t layer;
        uint64_t k = 0;
        if (!gk_grok2_shape_of(&sizes, model->tensor[i].name, &shape) || !is_probed(&shape))
            continue;
        gk_kind_of(model->tensor[i].name, false, kind, &layer);
        while (k < *n && strcmp(row[k].kind, kind) != 0)
            k++;
        if (k < *n)
            continue;
        const char *name = gk_arena_str(a, kind, err);
        if (name == NULL)
            return false;
        for (int64_t b = 0; b < (layer < 0 ? 1 : bands); b++)
            row[(*n)++] = (gk_probe){
                .kind = name,
                .first = layer < 0 ? -1 : b * (int64_t)sizes.layers / bands,
                .last = layer < 0 ? -1 : (b + 1) * (int64_t)sizes.layers / bands - 1};
    }
    row[(*n)++] = (gk_probe){.kind = GK_PROBE_ALL4, .first = -1, .last = -1};
    row[(*n)++] = (gk_probe){.kind = GK_PROBE_ALL8, .first = -1, .last = -1};
    *out = row;
    return true;
}

static bool is_of_all(const gk_probe *p) { return p->kind[0] == '*' && p->first < 0; }

/* What one probe rounds. */
typedef struct noise {
    const gk_probe *probe;
    const gk_grok2 *sizes;
} noise;

static bool is_picked(void *context, const gk_tensor *t)
{
    const noise *n = context;
    const gk_probe *p = n->probe;
    char kind[GK_KIND_NAME];
    gk_grok2_shape shape;
    int64_t layer;

    gk_kind_of(t->name, false, kind, &layer);
    if (is_of_all(p))
        return layer >= 0 && gk_grok2_shape_of(n->sizes, t->name, &shape) && is_probed(&shape)
               && gk_can_decode(t);
    return layer >= p->first && layer <= p->last && strcmp(kind, p->kind) == 0 && gk_can_decode(t);
}

/* Runs n probes beside one base. */
static bool run_some(gk_arena *a, const gk_catalog *model, const gk_forward_options *forward,
                     const uint32_t *ids, gk_probe *probe, int n, gk_err *err)
{
    gk_catalog view[GK_PROBES_AT_ONCE];
    const gk_catalog *also[GK_PROBES_AT_ONCE];
    uint64_t differs[GK_PROBES_AT_ONCE];
    gk_grok2 sizes;
    gk_score score;

    if (!gk_grok2_sizes(model->config, &sizes, err))
        return false;
    const bool is_tied = sizes.tied;
    for (int i = 0; i < n; i++) {
        const bool is_head = probe[i].first < 0 && strstr(probe[i].kind, "embed") == NULL
                             && !is_of_all(&probe[i]);
        const int bits = strcmp(probe[i].kind, GK_PROBE_ALL8) == 0 ? 8 : 4;
        if (!gk_through_view(a, model, bits, is_picked, &(noise){&probe[i], &sizes}, &view[i], err))
            return false;
        also[i] = &view[i];
        differs[i] = probe[i].first >= 0 ? (uint64_t)probe[i].first
                     : is_head && !is_tied ? sizes.layers : 0;
    }
    const gk_score_job job = {.model = also[0],
                              .base = model,
                              .also = also + 1,
                              .n_also = n - 1,
                              .ids = ids,
                              .differs = differs,
                              .forward = *forward,
                              .protocol = GK_PROTOCOL_LLAMA};
    const bool ok = gk_score_run(&job, &score, err);
    for (int i = 0; ok && i < n; i++) {
        probe[i].kld = score.model[i].kld.mean;
        probe[i].err = score.model[i].kld.err;
    }
    gk_score_free(&score);
    return ok;
}

void gk_windows_spread(const uint32_t *ids, uint64_t n, uint64_t ctx, uint64_t n_some,
                       uint32_t *out)
{
    for (uint64_t i = 0; i < n_some; i++)
        memcpy(out + i * ctx, ids + i * n / n_some * ctx, ctx * sizeof *out);
}

bool gk_probes_run(const gk_catalog *model, const gk_forward_options *forward, const uint32_t *ids,
                   uint64_t n_windows, gk_probe *probe, uint64_t n, gk_err *err)
{
    gk_forward_options some = *forward;
    some.n_windows = gk_min(n_windows, forward->n_windows);
    uint32_t *of_some = gk_alloc(some.n_windows * some.ctx, sizeof *of_some, err);
    bool ok = of_some != NULL;

    if (ok)
        gk_windows_spread(ids, forward->n_windows, some.ctx, some.n_windows, of_some);

    for (uint64_t at = 0; ok && at < n; at += GK_PROBES_AT_ONCE) {
        const int few = (int)gk_min(GK_PROBES_AT_ONCE, n - at);
        gk_arena *a = gk_arena_new(err);
        ok = a != NULL && run_some(a, model, &some, of_some, probe + at, few, err);
        gk_arena_free(a);
    }
    for (uint64_t i = 0; ok && i < n; i++)
        if (!isfinite(probe[i].kld)) {
            gk_fail(err, GK_ERR_FORMAT, GK_NO_OFF, "the model computes no numbers that could be "
                    "compared");
            ok = gk_fail_at(err, NULL, probe[i].kind);
        }
    gk_free(of_some);
    return ok;
}
