/* quant/stats_write.c - names, order and places of statistics. */
#include "quant/stats_write.h"

#include <stdlib.h>
#include <string.h>

#include "formats/checked.h"
#include "formats/gguf_write.h"
#include "formats/grok2.h"
#include "quant/gguf_target.h"
#include "quant/phases.h"

#define N_EXTRAS 4

/* A matrix that is multiplied with inputs. */
typedef struct matrix {
    const char *name; /* of its set */
    uint64_t tensor, layer, expert, n_cols;
} matrix;

static int by_name(const void *a, const void *b)
{
    const matrix *x = a, *y = b;
    const int order = strcmp(x->name, y->name);

    return order != 0 ? order : x->expert < y->expert ? -1 : x->expert > y->expert;
}

static bool is_multiplied(const gk_grok2_shape *shape, bool plain)
{
    return gk_phase_of(shape) > 0 || shape->role == GK_WEIGHT_ROUTER
           || (shape->role == GK_WEIGHT_HEAD && !plain);
}

/* Lists the matrices of the model in the order of the file. NULL and *err. */
static matrix *list(gk_arena *a, const gk_catalog *c, const gk_stats_about *about, uint64_t *n,
                    gk_err *err)
{
    matrix *m = gk_arena_alloc(a, c->n_tensors, sizeof *m, err);
    gk_gguf_model model;
    gk_grok2 sizes;

    *n = 0;
    if (m == NULL || !gk_grok2_sizes(c->config, &sizes, err) || !gk_gguf_model_read(c, &model, err))
        return NULL;
    for (uint64_t i = 0; i < c->n_tensors; i++) {
        const gk_tensor *t = &c->tensor[i];
        gk_grok2_shape shape;
        gk_gguf_spot spot;
        if (!gk_grok2_shape_of(&sizes, t->name, &shape) || !is_multiplied(&shape, about->plain))
            continue;
        if (!gk_gguf_spot_of(&model, t, &spot, err))
            return NULL;
        m[*n] = (matrix){.name = gk_arena_str(a, spot.name, err),
                         .tensor = i,
                         .layer = shape.layer < 0 ? about->layers : (uint64_t)shape.layer,
                         .expert = spot.at.is_stacked ? spot.at.expert : 0,
                         .n_cols = gk_cols(t)};
        if (m[(*n)++].name == NULL)
            return NULL;
    }
    qsort(m, (size_t)*n, sizeof *m, by_name);
    return m;
}

/* Makes one set of the matrices that share a name. */
static bool gather(gk_arena *a, const gk_catalog *c, const gk_stats_about *about, const matrix *m,
                   uint64_t n, gk_stats_layout *out, gk_err *err)
{
    uint64_t *sums = gk_arena_alloc(a, about->layers + 1, sizeof *sums, err);
    uint64_t *counts = gk_arena_alloc(a, about->layers + 1, sizeof *counts, err);

    out->set = gk_arena_alloc(a, n, sizeof *out->set, err);
    out->slot = gk_arena_alloc(a, c->n_tensors, sizeof *out->slot, err);
    if (sums == NULL || counts == NULL || out->set == NULL || out->slot == NULL)
        return false;
    for (uint64_t i = 0, end; i < n; i = end) {
        gk_stats_set *s = &out->set[out->n_sets++];
        for (end = i; end < n && strcmp(m[end].name, m[i].name) == 0; end++)
            out->slot[m[end].tensor] = (gk_stats_slot){s, m[end].expert};
        *s = (gk_stats_set){.name = m[i].name,
                            .layer = m[i].layer,
                            .n_matrices = m[end - 1].expert + 1,
                            .n_cols = m[i].n_cols,
                            .first = sums[m[i].layer],
                            .first_count = counts[m[i].layer]};
        sums[s->layer] += s->n_matrices * s->n_cols;
        counts[s->layer] += s->n_matrices;
        out->most_sums = gk_max(out->most_sums, sums[s->layer]);
        out->most_counts = gk_max(out->most_counts, counts[s->layer]);
    }
    return true;
}

/* ---- the file ------------------------------------------------------------------------ */

static bool add_entry(gk_arena *a, gk_stats_layout *out, const char *name, gk_dtype dtype,
                      const uint64_t dim[3], int ndim, gk_err *err)
{
    gk_entry *e = &out->entry[out->n_entries++];
    uint64_t *own = gk_arena_alloc(a, 3, sizeof *own, err);

    if (name == NULL || own == NULL)
        return false;
    *e = (gk_entry){.name = name,
                    .dim = own,
                    .bytes = gk_dtype_get(dtype)->block_bytes,
                    .ndim = (uint8_t)ndim,
                    .dtype = (uint8_t)dtype};
    for (int i = 0; i < ndim; i++) {
        own[i] = dim[i];
        if (!gk_mul(e->bytes, dim[i], &e->bytes))
            return gk_fail(err, GK_ERR_LIMIT, GK_NO_OFF, "statistics of more than 2^64 bytes");
    }
    return true;
}

/* A GGUF drops dimensions of 1 at the slow end: one matrix is a vector. */
static bool add_set(gk_arena *a, gk_stats_layout *out, const gk_stats_set *s, gk_err *err)
{
    const uint64_t sums[3] = {s->n_matrices, s->n_cols}, counts[3] = {s->n_matrices, 1};
    const bool one = s->n_matrices == 1;

    return add_entry(a, out, gk_arena_printf(a, err, "%s.in_sum2", s->name), GK_F32, sums + one,
                     2 - one, err)
           && add_entry(a, out, gk_arena_printf(a, err, "%s.counts", s->name), GK_F32, counts + one,
                        2 - one, err);
}

static bool add_extras(gk_arena *a, gk_stats_layout *out, const gk_stats_about *about, gk_err *err)
{
    const uint64_t tokens[3] = {about->n_windows, about->ctx};
    const uint64_t both[3] = {about->layers, about->experts, about->experts};
    const uint64_t mass[3] = {about->layers, about->experts, 2};
    const uint64_t probes[3] = {about->n_probes, 4};

    if (about->plain)
        return true;
    return add_entry(a, out, "grokkit.tokens", GK_I32, tokens, 2, err)
           && (about->n_probes == 0
               || add_entry(a, out, "grokkit.probes", GK_F64, probes, 2, err))
           && (about->experts == 0
               || (add_entry(a, out, "grokkit.coactivation", GK_I64, both, 3, err)
                   && add_entry(a, out, "grokkit.gate_mass", GK_F64, mass, 3, err)));
}

static void put_keys(gk_gguf_keys *k, const gk_stats_about *about)
{
    gk_gguf_put_string(k, "general.type", "imatrix");
    gk_gguf_put_array(k, "imatrix.datasets", GK_GGUF_STRING, about->n_datasets);
    for (uint64_t i = 0; i < about->n_datasets; i++)
        gk_gguf_add_string(k, about->dataset[i], strlen(about->dataset[i]));
    gk_gguf_put_u32(k, "imatrix.chunk_count", about->n_windows);
    gk_gguf_put_u32(k, "imatrix.chunk_size", about->ctx);
    if (about->plain)
        return;
    if (about->n_probes > 0)
        gk_gguf_put_array(k, "grokkit.probe_kinds", GK_GGUF_STRING, about->n_probes);
    for (uint64_t i = 0; i < about->n_probes; i++)
        gk_gguf_add_string(k, about->probe[i].kind, strlen(about->probe[i].kind));
    gk_gguf_put_u32(k, "grokkit.ctx", about->ctx);
    gk_gguf_put_string(k, "grokkit.preset", about->preset);
    gk_gguf_put_string(k, "grokkit.switches", about->switches);
    gk_gguf_put_string(k, "grokkit.text_sha256", about->text_sha256);
    gk_gguf_put_string(k, "grokkit.job", about->job);
}

static void set_places(gk_stats_layout *out, const gk_stats_about *about)
{
    const gk_entry *extra = &out->entry[2 * out->n_sets];

    for (uint64_t i = 0; i < out->n_sets; i++) {
        out->set[i].sums_off = out->entry[2 * i].off;
        out->set[i].counts_off = out->entry[2 * i + 1].off;
    }
    if (about->plain)
        return;
    out->tokens_off = extra++->off;
    out->probes_off = about->n_probes > 0 ? extra++->off : 0;
    out->coactivation_off = about->experts > 0 ? extra++->off : 0;
    out->mass_off = about->experts > 0 ? extra->off : 0;
}

bool gk_stats_lay_out(gk_arena *a, const gk_catalog *model, const gk_stats_about *about,
                      const char *name, gk_stats_layout *out, gk_err *err)
{
    gk_gguf_keys keys = {0};
    uint64_t n;

    *out = (gk_stats_layout){0};
    const matrix *m = list(a, model, about, &n, err);
    if (m == NULL || !gather(a, model, about, m, n, out, err))
        return false;
    out->entry = gk_arena_alloc(a, 2 * out->n_sets + N_EXTRAS, sizeof *out->entry, err);
    bool ok = out->entry != NULL;
    for (uint64_t i = 0; ok && i < out->n_sets; i++)
        ok = add_set(a, out, &out->set[i], err);
    ok = ok && add_extras(a, out, about, err);
    if (ok) {
        put_keys(&keys, about);
        ok = gk_gguf_layout(a, out->entry, out->n_entries, &keys, name, 0, &out->file, err);
    }
    if (ok)
        set_places(out, about);
    gk_gguf_keys_free(&keys);
    return ok;
}
