/* formats/torch_dir.c - a model in files of PyTorch: one, or those that an index names.
 *
 *   pytorch_model.bin                           or any one .bin, .pt, .pth
 *   pytorch_model-00001-of-00002.bin ...        with pytorch_model.bin.index.json or not
 *
 * Where a directory has safetensors too, those are read: they are the same weights. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "formats/checked.h"
#include "formats/mistaken.h"
#include "formats/torch.h"
#include "formats/zip.h"

static bool is_torch_name(const char *name)
{
    return gk_ends_with(name, ".bin") || gk_ends_with(name, ".pt") || gk_ends_with(name, ".pth");
}

/* What training leaves beside the weights, in the same container. */
static bool is_of_training(const char *name)
{
    static const char *const begins[] = {"training_args", "optimizer", "scheduler", "rng_state",
                                         "scaler"};

    for (size_t i = 0; i < sizeof begins / sizeof begins[0]; i++)
        if (strncmp(name, begins[i], strlen(begins[i])) == 0)
            return true;
    return false;
}

static const char *index_of(const gk_source *s)
{
    if (s->index != NULL)
        return s->index;
    for (uint64_t i = 0; i < s->n_names; i++)
        if (gk_ends_with(s->name[i], ".bin.index.json"))
            return s->name[i];
    return NULL;
}

static bool dir_is(const gk_source *s)
{
    bool found = false;

    if (s->index != NULL)
        return gk_ends_with(s->index, ".bin.index.json");
    for (uint64_t i = 0; i < s->n_names; i++) {
        const char *name = s->name[i];
        if (gk_ends_with(name, ".safetensors") || gk_ends_with(name, ".safetensors.index.json"))
            return false;
        found |= gk_ends_with(name, ".bin.index.json")
                 || (is_torch_name(name) && !is_of_training(name));
    }
    return found;
}

static bool torch_is(const gk_source *s)
{
    unsigned char head[16];

    if (s->is_dir)
        return dir_is(s);
    if (gk_ends_with(s->path, ".safetensors"))
        return false;
    const bool read = gk_source_head(s, head, sizeof head);
    if (read && (gk_zip_begins(head, sizeof head) || gk_torch_is_old(head, sizeof head)))
        return true;
    /* other pickles, and anything else, may be called so too */
    return (gk_ends_with(s->path, ".pt") || gk_ends_with(s->path, ".pth"))
           && (!read || head[0] != 0x80);
}

/* ---- files --------------------------------------------------------------------------- */

static bool load(gk_torch *t, const gk_source *s, const char *name, gk_err *err)
{
    gk_catalog *c = t->c;
    const uint64_t i = c->n_inputs;
    gk_err own = {0};
    char *copy = gk_arena_str(c->arena, name, err);

    if (copy == NULL)
        return false;
    gk_file *f = gk_source_file(c->arena, s, name, &own);
    if (f != NULL) {
        c->input[i] = (gk_input){.file = f, .name = copy, .rank = -1};
        c->n_inputs++;
        if (gk_torch_read(t, i, &own)) {
            c->input[i].usable = true;
            return true;
        }
        gk_mistaken_say(f, c->format, &own);
    }
    gk_fail_at(&own, name, NULL);
    return gk_findings_take(&c->findings, "file", &own, err);
}

/* Without an index: all files of the model; pytorch_model* alone where there are such. */
static bool load_all(gk_torch *t, const gk_source *s, gk_err *err)
{
    bool usual = false;

    t->c->input = gk_arena_alloc(t->c->arena, s->n_names, sizeof *t->c->input, err);
    if (t->c->input == NULL)
        return false;
    for (uint64_t i = 0; i < s->n_names; i++)
        usual |= is_torch_name(s->name[i]) && strncmp(s->name[i], "pytorch_model", 13) == 0;
    for (uint64_t i = 0; i < s->n_names; i++) {
        if (!is_torch_name(s->name[i]))
            continue;
        const bool wanted = usual ? strncmp(s->name[i], "pytorch_model", 13) == 0
                                  : !is_of_training(s->name[i]);
        if (wanted ? !load(t, s, s->name[i], err)
                   : !gk_findings_addf(&t->c->findings, "files", GK_NOTE, s->name[i], NULL, err,
                                       "no file of the model by its name, so it is not read"))
            return false;
    }
    return true;
}

static bool load_mapped(gk_torch *t, const gk_source *s, const char *const *file, uint64_t n,
                        gk_err *err)
{
    t->c->input = gk_arena_alloc(t->c->arena, n, sizeof *t->c->input, err);
    if (t->c->input == NULL)
        return false;
    for (uint64_t i = 0; i < n; i++) {
        if (gk_source_has(t->c->arena, s, file[i])) {
            if (!load(t, s, file[i], err))
                return false;
        } else if (!gk_findings_addf(&t->c->findings, "index", GK_BAD, file[i], NULL, err,
                                     "missing: the index names this file, it is not here")) {
            return false;
        }
    }
    return true;
}

/* ---- tensors ------------------------------------------------------------------------- */

static int by_name_and_file(const void *a, const void *b)
{
    const gk_torch_view *x = a, *y = b;
    const int order = gk_natural_compare(x->name, y->name);

    if (order == 0 && x->input == y->input)
        return (x->stored > y->stored) - (x->stored < y->stored);
    return order != 0 ? order : (x->input > y->input) - (x->input < y->input);
}

static bool fill(gk_catalog *c, const gk_torch_view *v, gk_tensor *t, gk_err *err)
{
    const gk_view view = {.stored = &c->stored[v->stored],
                          .dtype = (gk_dtype)v->dtype,
                          .ndim = v->ndim,
                          .dim = v->dim,
                          .stride = v->stride,
                          .off = v->off};

    if (gk_view_is_whole(&view)) {
        gk_tensor_from_stored(t, view.stored);
        return true;
    }
    gk_part *part = gk_arena_alloc(c->arena, 1, sizeof *part, err);
    *t = (gk_tensor){.name = v->name,
                     .dim = v->dim,
                     .part = part,
                     .n_parts = 1,
                     .ndim = v->ndim,
                     .dtype = v->dtype};
    return part != NULL
           && (gk_part_view(c->arena, &view, GK_PART_VALUES, part, err)
               || gk_fail_at(err, c->input[v->input].name, v->name));
}

static bool make_tensors(gk_torch *t, gk_err *err)
{
    gk_catalog *c = t->c;
    gk_tensor *tensor = gk_arena_alloc(c->arena, t->n, sizeof *tensor, err);
    uint64_t kept = 0;

    if (tensor == NULL)
        return false;
    if (t->n > 1)
        qsort(t->view, (size_t)t->n, sizeof *t->view, by_name_and_file);
    for (uint64_t i = 0; i < t->n; i++) {
        if (i > 0 && strcmp(t->view[i].name, t->view[i - 1].name) == 0) {
            if (!gk_findings_addf(&c->findings, "duplicate", GK_BAD,
                                  c->input[t->view[i].input].name, t->view[i].name, err,
                                  "duplicate: the tensor stands twice, here and in %s",
                                  c->input[t->view[i - 1].input].name))
                return false;
            continue;
        }
        if (!fill(c, &t->view[i], &tensor[kept++], err))
            return false;
    }
    return gk_catalog_set(c, tensor, kept, err);
}

static const gk_input *input_named(const gk_catalog *c, const char *name)
{
    for (uint64_t i = 0; i < c->n_inputs; i++)
        if (strcmp(c->input[i].name, name) == 0)
            return &c->input[i];
    return NULL;
}

/* Every tensor of the map must be there; that of a file with a finding of its own is not. */
static bool check_map(gk_catalog *c, const gk_json *map, gk_err *err)
{
    const gk_json *value;
    const char *name;
    void *iter = NULL;

    while (gk_json_next(map, &iter, &name, &value)) {
        const char *file = gk_json_text(value, NULL);
        const gk_input *in = file == NULL ? NULL : input_named(c, file);
        if (in != NULL && in->usable && gk_catalog_find(c, name) == NULL
            && !gk_findings_addf(&c->findings, "index", GK_BAD, file, name, err,
                                 "missing: the index promises the tensor in this file"))
            return false;
    }
    return true;
}

static bool open_indexed(gk_torch *t, const gk_source *s, const char *index, gk_err *err)
{
    gk_err own = {0};
    gk_json *root = gk_source_json(t->c->arena, s, index, &own);
    const gk_json *map = gk_json_get(root, "weight_map");
    uint64_t n = 0;

    if (root != NULL && !gk_json_is_object(map)) {
        gk_fail(&own, GK_ERR_FORMAT, 0, "\"weight_map\" is missing or no object");
        gk_fail_at(&own, index, NULL);
    }
    if (own.code != GK_OK) { /* without an index all files are read */
        gk_json_free(root);
        return gk_findings_take(&t->c->findings, "index", &own, err) && load_all(t, s, err)
               && make_tensors(t, err);
    }
    const char **file = gk_index_files(t->c, index, map, &n, err);
    const bool ok = file != NULL && load_mapped(t, s, file, n, err) && make_tensors(t, err)
                    && check_map(t->c, map, err);
    gk_json_free(root);
    return ok;
}

static bool torch_open(gk_catalog *c, const gk_source *s, gk_err *err)
{
    const char *index = s->is_dir ? index_of(s) : NULL;
    gk_torch t = {.c = c};
    bool ok;

    if (index != NULL) {
        ok = open_indexed(&t, s, index, err);
    } else if (s->is_dir) {
        ok = load_all(&t, s, err) && make_tensors(&t, err);
    } else {
        c->input = gk_arena_alloc(c->arena, 1, sizeof *c->input, err);
        ok = c->input != NULL && load(&t, s, gk_path_base(s->path), err) && make_tensors(&t, err);
    }
    gk_free(t.view);
    return ok;
}

const gk_reader gk_reader_torch = {"pytorch", torch_is, torch_open};
