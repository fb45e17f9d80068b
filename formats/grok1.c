/* formats/grok1.c - the checkpoint of Grok-1: a directory of pickles without a name in it.
 *
 * Files ckpt-0/tensorIIIII_000 are the leaves of the parameter tree in the order in which
 * jax.tree_util flattens it: module paths sorted as strings, so that layer 10 stands
 * before layer 2. With k the rank of a layer in that order, its leaves are 2 + 12 k to
 * 13 + 12 k:
 *
 *   0          in_out_embed/embeddings           [vocab, d]
 *   1          language_model/rms_norm/scale     [d]
 *   +0 +1 +2   moe/linear, linear_1, linear_v    [experts, d, f], [experts, f, d], [.., d, f]
 *   +3 .. +6   multi_head_attention/key, linear (output), query, value          [in, out]
 *   +7 .. +10  rms_norm, rms_norm_1, rms_norm_2, rms_norm_3                     [d]
 *   +11        router/w                                                         [d, experts]
 *
 * A leaf is an array or a QuantizedWeight8bit: int8 weight [.., in, out] and scales of as
 * many dimensions, each a divisor of the weight's; a scale serves a block of neighbours.
 * Matrices become W [out, in] by steps, not by copying. As names are not stored, shapes
 * are all there is to check: every leaf's sizes must be those of the others.
 *
 * Source: xai-org/grok-1 checkpoint.py, model.py @7050ed20. */
#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/checked.h"
#include "formats/pickle.h"
#include "formats/reader.h"

#define FOLDER       "ckpt-0/"
#define LEAVES_FIRST 2
#define LEAVES_LAYER 12
#define MAX_EXPERTS  256u
#define MAX_PATH     4096

typedef enum size_name { VOCAB, HIDDEN, EXPERTS, WIDTH, KEYS, QUERIES, N_SIZES } size_name;

typedef struct kind_row {
    const char *path; /* of the module, below that of its layer           */
    const char *name; /* canonical, below model.layers.N.; %s: experts.E  */
    int ndim;
    size_name dim[3];
    bool turned; /* a matrix [.., in, out] */
} kind_row;

#define EXPERT "block_sparse_moe.experts."

static const kind_row kinds[LEAVES_FIRST + LEAVES_LAYER] = {
    {"in_out_embed/embeddings", "model.embed_tokens.weight", 2, {VOCAB, HIDDEN}, false},
    {"language_model/rms_norm/scale", "model.norm.weight", 1, {HIDDEN}, false},
    {"moe/linear/w", "w1", 3, {EXPERTS, HIDDEN, WIDTH}, true},
    {"moe/linear_1/w", "w2", 3, {EXPERTS, WIDTH, HIDDEN}, true},
    {"moe/linear_v/w", "w3", 3, {EXPERTS, HIDDEN, WIDTH}, true},
    {"multi_head_attention/key/w", "self_attn.k_proj.weight", 2, {HIDDEN, KEYS}, true},
    {"multi_head_attention/linear/w", "self_attn.o_proj.weight", 2, {QUERIES, HIDDEN}, true},
    {"multi_head_attention/query/w", "self_attn.q_proj.weight", 2, {HIDDEN, QUERIES}, true},
    {"multi_head_attention/value/w", "self_attn.v_proj.weight", 2, {HIDDEN, KEYS}, true},
    {"rms_norm/scale", "pre_attn_norm.weight", 1, {HIDDEN}, false},
    {"rms_norm_1/scale", "post_attn_norm.weight", 1, {HIDDEN}, false},
    {"rms_norm_2/scale", "pre_moe_norm.weight", 1, {HIDDEN}, false},
    {"rms_norm_3/scale", "post_moe_norm.weight", 1, {HIDDEN}, false},
    {"router/w", "block_sparse_moe.gate.weight", 2, {HIDDEN, EXPERTS}, true},
};

/* One pickle: a plain array, or the codes and the scales of a quantized one. */
typedef struct leaf {
    const char *file; /* NULL: not there               */
    const kind_row *kind;
    unsigned layer; /* of the model, not the rank    */
    bool usable, quantized;
    uint64_t stored; /* index of its first entry     */
    gk_pickled_array array, scales;
} leaf;

typedef struct job {
    gk_catalog *c;
    const gk_source *s;
    leaf *leaf;
    uint64_t n_leaves, n_layers;
    uint64_t size[N_SIZES];
    gk_tensor *tensor;
    uint64_t n_tensors;
    gk_err *err;
} job;

/* ---- file names -------------------------------------------------------------------- */

/* Takes "tensor00012_003", in ckpt-0/ or not, apart. */
static bool is_leaf_name(const char *name, unsigned *index, unsigned *shard)
{
    if (strncmp(name, FOLDER, strlen(FOLDER)) == 0)
        name += strlen(FOLDER);
    if (strlen(name) != 15 || strncmp(name, "tensor", 6) != 0 || name[11] != '_')
        return false;
    for (int i = 6; i < 15; i++)
        if (i != 11 && !isdigit((unsigned char)name[i]))
            return false;
    *index = (unsigned)atoi(name + 6);
    *shard = (unsigned)atoi(name + 12);
    return true;
}

bool gk_grok1_is_leaf(const char *name)
{
    unsigned index, shard;

    return is_leaf_name(name, &index, &shard);
}

static bool has_leaf(const char *const *name, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++)
        if (gk_grok1_is_leaf(name[i]))
            return true;
    return false;
}

/* The names that may be leaves: those of the directory, or of the ckpt-0 in it. */
static bool list_names(gk_arena *a, const gk_source *s, const char *const **name, uint64_t *n,
                       gk_err *err)
{
    *name = s->name;
    *n = s->n_names;
    if (has_leaf(*name, *n) || s->member != NULL)
        return true;
    const char *folder = gk_path_join(a, s->path, "ckpt-0", err);
    if (folder == NULL)
        return false;
    if (gk_path_kind_of(folder) != GK_PATH_DIR)
        return true;
    const char **inner = gk_dir_names(a, folder, n, err);
    for (uint64_t i = 0; inner != NULL && i < *n; i++)
        if ((inner[i] = gk_arena_printf(a, err, FOLDER "%s", inner[i])) == NULL)
            return false;
    *name = inner;
    return inner != NULL;
}

/* Allocates nothing, so that it cannot fail: what ckpt-0 holds is seen when it is opened. */
static bool grok1_is(const gk_source *s)
{
    char path[MAX_PATH];

    if (!s->is_dir || s->index != NULL)
        return false;
    if (has_leaf(s->name, s->n_names))
        return true;
    const int n = snprintf(path, sizeof path, "%s/" FOLDER, s->path);
    return s->member == NULL && n > 0 && n < MAX_PATH && gk_path_kind_of(path) == GK_PATH_DIR;
}

/* ---- reading a leaf ------------------------------------------------------------------ */

static bool add_entry(gk_catalog *c, uint64_t input, const char *name, const char *field,
                      const gk_pickled_array *array, gk_err *err)
{
    uint64_t *dim = gk_arena_alloc(c->arena, (uint64_t)array->ndim, sizeof *dim, err);
    const char *full = gk_arena_printf(c->arena, err, "%s%s", name, field);

    if (dim == NULL || full == NULL)
        return false;
    memcpy(dim, array->dim, (size_t)array->ndim * sizeof *dim);
    const gk_stored s = {.name = full,
                         .dim = dim,
                         .off = array->off,
                         .input = (uint32_t)input,
                         .dtype = (uint8_t)array->dtype,
                         .ndim = (uint8_t)array->ndim};
    return gk_stored_add(c, &s, err);
}

/* Scales that divide the weight, axis by axis. */
static bool check_scales(const leaf *l, gk_err *err)
{
    const gk_pickled_array *w = &l->array, *s = &l->scales;

    if (w->dtype != GK_I8)
        return gk_fail(err, GK_ERR_FORMAT, w->off,
                       "the weight of a QuantizedWeight8bit is %s, "
                       "expected I8",
                       gk_dtype_get(w->dtype)->name);
    if (s->dtype != GK_F32 && s->dtype != GK_BF16 && s->dtype != GK_F16)
        return gk_fail(err, GK_ERR_FORMAT, s->off, "scales of dtype %s, expected a float type",
                       gk_dtype_get(s->dtype)->name);
    if (w->ndim < 2 || w->ndim > 3)
        return gk_fail(err, GK_ERR_UNSUPPORTED, w->off,
                       "a quantized array of %d dimensions, expected 2 or 3", w->ndim);
    if (s->ndim != w->ndim)
        return gk_fail(err, GK_ERR_FORMAT, s->off, "scales of %d dimensions for a weight of %d",
                       s->ndim, w->ndim);
    for (int i = 0; i < w->ndim; i++)
        if (s->dim[i] == 0 || w->dim[i] == 0 || w->dim[i] % s->dim[i] != 0)
            return gk_fail(err, GK_ERR_FORMAT, s->off,
                           "dimension %d: %" PRIu64 " scales do not divide %" PRIu64, i, s->dim[i],
                           w->dim[i]);
    return true;
}

/* The array that a node is; where it is held as text, its bytes are read through that. */
static bool take_array(gk_catalog *c, uint64_t input, const gk_pickled *node,
                       gk_pickled_array *out, gk_err *err)
{
    return gk_pickled_array_of(node, out, err)
           && (out->text_bytes == 0
               || gk_file_add_text(c->arena, c->input[input].file, out->off, out->text_bytes,
                                   out->bytes, &out->off, err));
}

static bool read_root(gk_catalog *c, uint64_t input, const gk_pickled *root, const char *name,
                      leaf *l, gk_err *err)
{
    const gk_pickled *weight, *scales;

    l->stored = c->n_stored;
    l->quantized = gk_pickled_quantized(root, &weight, &scales);
    if (!l->quantized)
        return take_array(c, input, root, &l->array, err)
               && add_entry(c, input, name, "", &l->array, err);
    if (weight == NULL || scales == NULL)
        return gk_fail(err, GK_ERR_FORMAT, root->at, "a quantized weight whose %s is missing",
                       weight == NULL ? "weight" : "scales");
    return take_array(c, input, weight, &l->array, err)
           && take_array(c, input, scales, &l->scales, err) && check_scales(l, err)
           && add_entry(c, input, name, ".weight", &l->array, err)
           && add_entry(c, input, name, ".scales", &l->scales, err);
}

static bool read_leaf(gk_catalog *c, uint64_t input, const char *name, leaf *l, gk_err *err)
{
    gk_input *in = &c->input[input];
    const gk_pickle_input pickle = {.file = in->file,
                                    .end = in->file->size,
                                    .dialect = GK_PICKLE_NUMPY,
                                    .known = gk_pickle_array_globals,
                                    .findings = &c->findings};
    gk_arena *a = gk_arena_new(err);
    const gk_pickled *root = a == NULL ? NULL : gk_pickle_read(a, &pickle, err);
    const uint64_t first = c->n_stored;

    in->usable = root != NULL && read_root(c, input, root, name, l, err);
    gk_arena_free(a);
    if (!in->usable)
        c->n_stored = first;
    l->usable = in->usable;
    return l->usable;
}

/* Opens and reads one file; what is wrong with it becomes a finding. */
static bool load(gk_catalog *c, const gk_source *s, const char *file, const char *name, leaf *l,
                 gk_err *err)
{
    const uint64_t i = c->n_inputs;
    gk_err own = {0};
    char *copy = gk_arena_str(c->arena, file, err);

    if (copy == NULL)
        return false;
    l->file = copy;
    gk_file *f = gk_source_file(c->arena, s, file, &own);
    if (f != NULL) {
        c->input[i] = (gk_input){.file = f, .name = copy, .rank = -1};
        c->n_inputs++;
        if (read_leaf(c, i, name, l, &own))
            return true;
    }
    gk_fail_at(&own, file, NULL);
    return gk_findings_take(&c->findings, "file", &own, err);
}

/* ---- tensors of a leaf --------------------------------------------------------------- */

/* Scales of matrix e as [out, groups]; where one serves several outputs, rows repeat. */
static bool scales_part(job *j, const leaf *l, uint64_t e, gk_part *part)
{
    const gk_pickled_array *w = &l->array, *s = &l->scales;
    const int in = w->ndim - 2, out = w->ndim - 1;
    const uint64_t dim[3] = {s->dim[out], w->dim[out] / s->dim[out], s->dim[in]};
    const uint64_t stride[3] = {s->stride[out], 0, s->stride[in]};
    const uint64_t at = w->ndim == 2 ? 0 : e / (w->dim[0] / s->dim[0]) * s->stride[0];
    const gk_view v = {.stored = &j->c->stored[l->stored + 1],
                       .dtype = s->dtype,
                       .ndim = 3,
                       .dim = dim,
                       .stride = stride,
                       .off = s->off + at * gk_row_bytes(s->dtype, 1)};

    return gk_part_view(j->c->arena, &v, GK_PART_SCALES, part, j->err);
}

/* Fills a tensor with matrix e of a leaf [.., in, out], as W [out, in]. */
static bool turned_tensor(job *j, const leaf *l, uint64_t e, gk_tensor *t)
{
    const gk_pickled_array *w = &l->array;
    const int in = w->ndim - 2, out = w->ndim - 1;
    uint64_t *dim = gk_arena_alloc(j->c->arena, 2, sizeof *dim, j->err);
    gk_part *part = gk_arena_alloc(j->c->arena, 2, sizeof *part, j->err);

    if (dim == NULL || part == NULL)
        return false;
    dim[0] = w->dim[out];
    dim[1] = w->dim[in];
    const uint64_t stride[2] = {w->stride[out], w->stride[in]};
    const uint64_t at = w->ndim == 2 ? 0 : e * w->stride[0];
    const gk_view v = {.stored = &j->c->stored[l->stored],
                       .dtype = w->dtype,
                       .ndim = 2,
                       .dim = dim,
                       .stride = stride,
                       .off = w->off + at * gk_row_bytes(w->dtype, 1)};
    t->dim = dim;
    t->ndim = 2;
    t->dtype = (uint8_t)w->dtype;
    t->part = part;
    t->n_parts = l->quantized ? 2 : 1;
    return gk_part_view(j->c->arena, &v, l->quantized ? GK_PART_CODES : GK_PART_VALUES, &part[0],
                        j->err)
           && (!l->quantized || scales_part(j, l, e, &part[1]));
}

/* Fills a tensor with a plain array as it is. */
static bool plain_tensor(job *j, const leaf *l, gk_tensor *t)
{
    const gk_stored *s = &j->c->stored[l->stored];
    const gk_view v = {.stored = s,
                       .dtype = l->array.dtype,
                       .ndim = l->array.ndim,
                       .dim = l->array.dim,
                       .stride = l->array.stride,
                       .off = l->array.off};
    const char *name = t->name;

    gk_tensor_from_stored(t, s);
    t->name = name;
    if (gk_view_is_whole(&v))
        return true;
    gk_part *part = gk_arena_alloc(j->c->arena, 1, sizeof *part, j->err);
    t->whole = NULL;
    t->part = part;
    return part != NULL && gk_part_view(j->c->arena, &v, GK_PART_VALUES, part, j->err);
}

/* ---- the order of leaves ------------------------------------------------------------- */

static int by_digits(const void *a, const void *b)
{
    char x[16], y[16];

    snprintf(x, sizeof x, "%u", *(const unsigned *)a);
    snprintf(y, sizeof y, "%u", *(const unsigned *)b);
    return strcmp(x, y);
}

static bool assign_kinds(job *j)
{
    unsigned *layer = gk_alloc(j->n_layers, sizeof *layer, j->err);

    if (layer == NULL)
        return false;
    for (uint64_t i = 0; i < j->n_layers; i++)
        layer[i] = (unsigned)i;
    qsort(layer, (size_t)j->n_layers, sizeof *layer, by_digits);
    for (uint64_t i = 0; i < j->n_leaves; i++) {
        const uint64_t k = i < LEAVES_FIRST ? 0 : (i - LEAVES_FIRST) / LEAVES_LAYER;
        j->leaf[i]
            .kind = &kinds[i < LEAVES_FIRST ? i : LEAVES_FIRST + (i - LEAVES_FIRST) % LEAVES_LAYER];
        j->leaf[i].layer = layer[k];
    }
    gk_free(layer);
    return true;
}

static void path_of(const leaf *l, char out[100])
{
    if (l->kind < kinds + LEAVES_FIRST)
        snprintf(out, 100, "%s", l->kind->path);
    else
        snprintf(out, 100, "transformer/decoder_layer_%u/%s", l->layer, l->kind->path);
}

/* A file for each index up to the last; what is not there is said, a run of them once. */
static bool say_missing(job *j, const char *prefix)
{
    char path[100], file[40];

    for (uint64_t i = 0, n; i < j->n_leaves; i += n) {
        for (n = 0; i + n < j->n_leaves && j->leaf[i + n].file == NULL;)
            n++;
        if (n == 0) {
            n = 1;
            continue;
        }
        path_of(&j->leaf[i], path);
        snprintf(file, sizeof file, "%stensor%05u_000", prefix, (unsigned)i);
        const bool ok = n == 1 ? gk_findings_addf(&j->c->findings, "leaves", GK_BAD, file, NULL,
                                                  j->err, "missing: the leaf %s is not there", path)
                               : gk_findings_addf(&j->c->findings, "leaves", GK_BAD, file, NULL,
                                                  j->err,
                                                  "missing: %" PRIu64 " leaves from %s on, up to "
                                                  "tensor%05u_000, are not there",
                                                  n, path, (unsigned)(i + n - 1));
        if (!ok)
            return false;
    }
    return true;
}

static bool load_leaves(job *j)
{
    const char *const *name = NULL;
    const char *prefix = "";
    uint64_t n = 0;
    unsigned index, shard, last = 0;
    char path[100];

    if (!list_names(j->c->arena, j->s, &name, &n, j->err))
        return false;
    if (!has_leaf(name, n)) {
        gk_fail(j->err, GK_ERR_UNSUPPORTED, GK_NO_OFF,
                "no tensor00000_000 and so on in " FOLDER ": a newer checkpoint of JAX (Orbax) "
                "must be exported first");
        return gk_fail_at(j->err, j->c->path, NULL);
    }
    for (uint64_t i = 0; i < n; i++) {
        if (!is_leaf_name(name[i], &index, &shard))
            continue;
        last = index > last ? index : last;
        if (shard == 0)
            continue;
        gk_fail(j->err, GK_ERR_UNSUPPORTED, GK_NO_OFF,
                "a leaf in several shards (_000, _001, ...) is not read: the release has one each");
        return gk_fail_at(j->err, name[i], NULL);
    }
    j->n_layers = gk_max(
        last + 1 > LEAVES_FIRST ? gk_div_up(last + 1 - LEAVES_FIRST, LEAVES_LAYER) : 0, 1);
    j->n_leaves = LEAVES_FIRST + j->n_layers * LEAVES_LAYER;
    j->leaf = gk_arena_alloc(j->c->arena, j->n_leaves, sizeof *j->leaf, j->err);
    j->c->input = gk_arena_alloc(j->c->arena, j->n_leaves, sizeof *j->c->input, j->err);
    if (j->leaf == NULL || j->c->input == NULL || !assign_kinds(j))
        return false;
    for (uint64_t i = 0; i < n; i++) {
        if (!is_leaf_name(name[i], &index, &shard) || j->leaf[index].file != NULL)
            continue;
        if (strchr(name[i], '/') != NULL)
            prefix = FOLDER;
        path_of(&j->leaf[index], path);
        if (!load(j->c, j->s, name[i], path, &j->leaf[index], j->err))
            return false;
    }
    return say_missing(j, prefix);
}

/* ---- sizes --------------------------------------------------------------------------- */

/* What most leaves say a size is (Boyer and Moore's majority vote). */
static void vote_sizes(job *j)
{
    uint64_t votes[N_SIZES] = {0};

    for (uint64_t i = 0; i < j->n_leaves; i++) {
        const leaf *l = &j->leaf[i];
        for (int d = 0; l->usable && l->array.ndim == l->kind->ndim && d < l->kind->ndim; d++) {
            const size_name s = l->kind->dim[d];
            if (votes[s] == 0)
                j->size[s] = l->array.dim[d];
            if (j->size[s] == l->array.dim[d])
                votes[s]++;
            else
                votes[s]--;
        }
    }
}

static void shape_text(int ndim, const uint64_t *dim, char out[200])
{
    int n = snprintf(out, 200, "[");

    for (int i = 0; i < ndim && n < 170; i++)
        n += snprintf(out + n, (size_t)(200 - n), "%s%" PRIu64, i > 0 ? ", " : "", dim[i]);
    snprintf(out + n, (size_t)(200 - n), "]");
}

/* A leaf of another shape or type than its place asks for is out of reach. */
static bool check_leaf(job *j, leaf *l)
{
    uint64_t want[3] = {0};
    char path[100], is[200], must[200];
    bool fits = l->array.ndim == l->kind->ndim;

    if (!l->usable)
        return true;
    for (int d = 0; d < l->kind->ndim; d++) {
        want[d] = j->size[l->kind->dim[d]];
        fits = fits && l->array.dim[d] == want[d] && want[d] > 0;
    }
    path_of(l, path);
    if (!fits) {
        l->usable = false;
        shape_text(l->array.ndim, l->array.dim, is);
        shape_text(l->kind->ndim, want, must);
        return gk_findings_addf(&j->c->findings, "shape", GK_BAD, l->file, NULL, j->err,
                                "shape mismatch: the leaf %s is %s, expected %s by the other "
                                "leaves",
                                path, is, must);
    }
    if (l->quantized ? l->kind->turned : gk_dtype_get(l->array.dtype)->is_float)
        return true;
    l->usable = false;
    return gk_findings_addf(&j->c->findings, "dtype", GK_BAD, l->file, NULL, j->err,
                            l->quantized ? "the leaf %s is quantized (%s): only matrices can be"
                                         : "the leaf %s is %s without scales, expected floats",
                            path, gk_dtype_get(l->array.dtype)->name);
}

/* ---- all tensors --------------------------------------------------------------------- */

static bool add_tensor(job *j, const leaf *l, const char *name, uint64_t e)
{
    gk_tensor *t = &j->tensor[j->n_tensors++];
    const int first = l->kind->ndim == 3 ? 1 : 0, n = l->kind->ndim - first;

    t->name = name;
    if (name == NULL)
        return false;
    if (l->usable)
        return l->kind->turned ? turned_tensor(j, l, e, t) : plain_tensor(j, l, t);
    uint64_t *dim = gk_arena_alloc(j->c->arena, (uint64_t)n, sizeof *dim, j->err);
    for (int d = 0; dim != NULL && d < n; d++)
        dim[l->kind->turned ? n - 1 - d : d] = j->size[l->kind->dim[first + d]];
    t->dim = dim;
    t->ndim = (uint8_t)n;
    t->dtype = GK_BF16;
    return dim != NULL;
}

static bool add_leaf(job *j, const leaf *l)
{
    gk_arena *a = j->c->arena;

    if (l->kind < kinds + LEAVES_FIRST)
        return add_tensor(j, l, l->kind->name, 0);
    if (l->kind->ndim < 3)
        return add_tensor(
            j, l, gk_arena_printf(a, j->err, "model.layers.%u.%s", l->layer, l->kind->name), 0);
    for (uint64_t e = 0; e < j->size[EXPERTS]; e++)
        if (!add_tensor(j, l,
                        gk_arena_printf(a, j->err,
                                        "model.layers.%u." EXPERT "%" PRIu64 ".%s.weight", l->layer,
                                        e, l->kind->name),
                        e))
            return false;
    return true;
}

static bool add_all(job *j)
{
    uint64_t n;

    if (j->size[EXPERTS] > MAX_EXPERTS) {
        gk_fail(j->err, GK_ERR_LIMIT, GK_NO_OFF, "%" PRIu64 " experts, at most %u are handled",
                j->size[EXPERTS], MAX_EXPERTS);
        return gk_fail_at(j->err, j->c->path, NULL);
    }
    n = LEAVES_FIRST + j->n_layers * (LEAVES_LAYER - 3 + 3 * j->size[EXPERTS]);
    j->tensor = gk_arena_alloc(j->c->arena, n, sizeof *j->tensor, j->err);
    if (j->tensor == NULL)
        return false;
    for (uint64_t i = 0; i < j->n_leaves; i++)
        if (!check_leaf(j, &j->leaf[i]) || !add_leaf(j, &j->leaf[i]))
            return false;
    return gk_catalog_set(j->c, j->tensor, j->n_tensors, j->err);
}

static bool grok1_open(gk_catalog *c, const gk_source *s, gk_err *err)
{
    job j = {.c = c, .s = s, .err = err};

    if (!load_leaves(&j))
        return false;
    vote_sizes(&j);
    const gk_grok1_sizes sizes = {.vocab = j.size[VOCAB],
                                  .hidden = j.size[HIDDEN],
                                  .experts = j.size[EXPERTS],
                                  .width = j.size[WIDTH],
                                  .keys = j.size[KEYS],
                                  .queries = j.size[QUERIES],
                                  .layers = j.n_layers};
    return add_all(&j) && gk_grok1_describe(c, s, &sizes, err);
}

const gk_reader gk_reader_grok1 = {"grok1", grok1_is, grok1_open};

/* ---- a pickle alone ------------------------------------------------------------------ */

static bool pickle_is(const gk_source *s)
{
    unsigned char head[9];

    if (s->is_dir)
        return false;
    const char *base = gk_path_base(s->path);
    if (gk_grok1_is_leaf(base) || gk_ends_with(base, ".pkl") || gk_ends_with(base, ".pickle"))
        return true;
    if (gk_ends_with(base, ".safetensors") || !gk_source_head(s, head, sizeof head)
        || head[0] != 0x80 || head[1] < 2 || head[1] > 5)
        return false;
    /* the length of a safetensors header may begin so too: small, and then a brace */
    return gk_load_u32(head + 4) != 0 || (head[8] != '{' && head[8] != ' ');
}

/* The file's name without its ending; of several matrices, with a number. */
static bool name_tensors(job *j, const char *file, uint64_t n)
{
    gk_arena *a = j->c->arena;
    size_t len = strlen(file);

    if (gk_ends_with(file, ".pkl"))
        len -= 4;
    else if (gk_ends_with(file, ".pickle"))
        len -= 7;
    for (uint64_t e = 0; e < n; e++) {
        j->tensor[e].name = j->leaf->array.ndim == 3 && j->leaf->quantized
                                ? gk_arena_printf(a, j->err, "%.*s.%" PRIu64, (int)len, file, e)
                                : gk_arena_strn(a, file, len, j->err);
        if (j->tensor[e].name == NULL)
            return false;
    }
    return true;
}

/* Nothing says what a lone array is, so it stays as it is; a quantized one is Grok-1's. */
static bool pickle_open(gk_catalog *c, const gk_source *s, gk_err *err)
{
    leaf l = {.quantized = false};
    job j = {.c = c, .s = s, .leaf = &l, .err = err};
    const char *file = gk_path_base(s->path);

    c->input = gk_arena_alloc(c->arena, 1, sizeof *c->input, err);
    if (c->input == NULL || !load(c, s, file, file, &l, err))
        return false;
    if (!l.usable)
        return gk_catalog_set(c, NULL, 0, err);
    const uint64_t n = l.quantized && l.array.ndim == 3 ? l.array.dim[0] : 1;
    j.tensor = gk_arena_alloc(c->arena, n, sizeof *j.tensor, err);
    if (j.tensor == NULL || !name_tensors(&j, file, n))
        return false;
    for (uint64_t e = 0; e < n; e++)
        if (!(l.quantized ? turned_tensor(&j, &l, e, &j.tensor[e])
                          : plain_tensor(&j, &l, &j.tensor[e])))
            return false;
    return gk_catalog_set(c, j.tensor, n, err);
}

const gk_reader gk_reader_pickle = {"pickle", pickle_is, pickle_open};
