/* formats/hf_dir.c - a directory of whole tensors, with or without an index.
 *
 * The index decides which files belong to the model, as in vLLM and SGLang; that
 * it says the truth about each tensor is checked here. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "formats/checked.h"
#include "formats/reader.h"

#define INDEX_NAME "model.safetensors.index.json"

static const char *index_of(const gk_source *s)
{
    const char *found = NULL;

    if (s->index != NULL)
        return s->index;
    for (uint64_t i = 0; i < s->n_names; i++)
        if (strcmp(s->name[i], INDEX_NAME) == 0)
            return s->name[i];
        else if (gk_ends_with(s->name[i], ".safetensors.index.json"))
            found = s->name[i];
    return found;
}

static bool hf_is(const gk_source *s)
{
    if (!s->is_dir)
        return false;
    if (index_of(s) != NULL)
        return true;
    for (uint64_t i = 0; i < s->n_names; i++)
        if (gk_ends_with(s->name[i], ".safetensors"))
            return true;
    return false;
}

static bool load(gk_catalog *c, const gk_source *s, const char *name, gk_err *err)
{
    return gk_input_load(c, s, name, -1, gk_safetensors_read, err);
}

static bool load_all(gk_catalog *c, const gk_source *s, gk_err *err)
{
    c->input = gk_arena_alloc(c->arena, s->n_names, sizeof *c->input, err);
    if (c->input == NULL)
        return false;
    for (uint64_t i = 0; i < s->n_names; i++)
        if (gk_ends_with(s->name[i], ".safetensors") && !load(c, s, s->name[i], err))
            return false;
    return true;
}

/* ---- with an index ------------------------------------------------------- */

static bool is_plain_name(const char *name)
{
    return name[0] != '\0' && strchr(name, '/') == NULL && strcmp(name, ".") != 0
           && strcmp(name, "..") != 0;
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static bool has_name(const char *const *sorted, uint64_t n, const char *name)
{
    return n > 0 && bsearch(&name, sorted, (size_t)n, sizeof *sorted, by_text) != NULL;
}

static bool index_says(gk_catalog *c, const char *index, const char *tensor, gk_err *err,
                       const char *text)
{
    return gk_findings_addf(&c->findings, "index", GK_BAD, index, tensor, err, "%s", text);
}

const char **gk_index_files(gk_catalog *c, const char *index, const gk_json *map, uint64_t *n,
                            gk_err *err)
{
    const uint64_t count = gk_json_count(map);
    const char **file = gk_arena_alloc(c->arena, count, sizeof *file, err);
    const gk_json *value;
    const char *tensor;
    uint64_t kept = 0, len = 0;
    void *iter = NULL;

    *n = 0;
    while (file != NULL && gk_json_next(map, &iter, &tensor, &value)) {
        const char *name = gk_json_text(value, &len);
        if (name == NULL || strlen(name) != len || !is_plain_name(name)) {
            if (!index_says(c, index, tensor, err,
                            "the index maps it to something that is no file name of this "
                            "directory (a path, '..', or no text)"))
                return NULL;
        } else {
            file[(*n)++] = name;
        }
    }
    if (file == NULL)
        return NULL;
    qsort(file, (size_t)*n, sizeof *file, by_text);
    for (uint64_t i = 0; i < *n; i++)
        if (kept == 0 || strcmp(file[kept - 1], file[i]) != 0)
            file[kept++] = file[i];
    *n = kept;
    return file;
}

static bool load_mapped(gk_catalog *c, const gk_source *s, const char *const *file, uint64_t n,
                        gk_err *err)
{
    c->input = gk_arena_alloc(c->arena, n, sizeof *c->input, err);
    if (c->input == NULL)
        return false;
    for (uint64_t i = 0; i < n; i++) {
        if (!gk_source_has(c->arena, s, file[i])) {
            if (!gk_findings_addf(&c->findings, "index", GK_BAD, file[i], NULL, err,
                                  "missing: the index names this file, it is not here"))
                return false;
        } else if (!load(c, s, file[i], err)) {
            return false;
        }
    }
    for (uint64_t i = 0; i < s->n_names; i++)
        if (gk_ends_with(s->name[i], ".safetensors") && !has_name(file, n, s->name[i])
            && !gk_findings_addf(&c->findings, "index", GK_WARN, s->name[i], NULL, err,
                                 "unrelated file: the index does not name it, so it is not read"))
            return false;
    return true;
}

static const gk_input *input_named(const gk_catalog *c, const char *name)
{
    for (uint64_t i = 0; i < c->n_inputs; i++)
        if (strcmp(c->input[i].name, name) == 0)
            return &c->input[i];
    return NULL;
}

/* Every mapped tensor must stand where the index says, and the other way round. */
static bool check_map(gk_catalog *c, const char *index, const gk_json *map, gk_err *err)
{
    const gk_json *value;
    const char *name;
    void *iter = NULL;

    while (gk_json_next(map, &iter, &name, &value)) {
        const char *file = gk_json_text(value, NULL);
        const gk_input *in = file == NULL ? NULL : input_named(c, file);
        const gk_tensor *t = gk_catalog_find(c, name);
        if (in == NULL || !in->usable)
            continue; /* said already, of the file */
        if (t == NULL
            && !gk_findings_addf(&c->findings, "index", GK_BAD, file, name, err,
                                 "missing: the index promises the tensor in this file"))
            return false;
        if (t != NULL && &c->input[t->whole->input] != in
            && !gk_findings_addf(&c->findings, "index", GK_BAD, index, name, err,
                                 "the index says %s, the tensor stands in %s", file,
                                 c->input[t->whole->input].name))
            return false;
    }
    for (uint64_t i = 0; i < c->n_tensors; i++)
        if (gk_json_get(map, c->tensor[i].name) == NULL
            && !gk_findings_addf(&c->findings, "index", GK_WARN, index, c->tensor[i].name, err,
                                 "unexpected: a file holds the tensor, the index does not name it"))
            return false;
    return true;
}

static bool check_total(gk_catalog *c, const char *index, const gk_json *root, gk_err *err)
{
    const gk_json *node = gk_json_get(gk_json_get(root, "metadata"), "total_size");
    uint64_t total = 0;
    double claimed;

    /* some writers print the size as a real number */
    if (!gk_json_as_real(node, &claimed))
        return true;
    for (uint64_t i = 0; i < c->n_tensors; i++)
        if (!gk_add(total, gk_tensor_bytes(&c->tensor[i]), &total))
            return true;
    if ((double)total == claimed)
        return true;
    return gk_findings_addf(&c->findings, "index", GK_WARN, index, NULL, err,
                            "total_size says %.0f bytes, the tensors have %" PRIu64, claimed,
                            total);
}

static bool open_indexed(gk_catalog *c, const gk_source *s, const char *index, gk_err *err)
{
    gk_err own = {0};
    gk_json *root = gk_source_json(c->arena, s, index, &own);
    const gk_json *map = gk_json_get(root, "weight_map");
    uint64_t n = 0;

    if (root != NULL && !gk_json_is_object(map)) {
        gk_fail(&own, GK_ERR_FORMAT, 0, "\"weight_map\" is missing or no object");
        gk_fail_at(&own, index, NULL);
    }
    if (own.code != GK_OK) { /* without an index all files are read */
        gk_json_free(root);
        return gk_findings_take(&c->findings, "index", &own, err) && load_all(c, s, err)
               && gk_tensors_from_all(c, err);
    }
    const char **file = gk_index_files(c, index, map, &n, err);
    bool ok = file != NULL && load_mapped(c, s, file, n, err) && gk_tensors_from_all(c, err)
              && check_map(c, index, map, err) && check_total(c, index, root, err);
    gk_json_free(root);
    return ok;
}

bool gk_index_examine(gk_catalog *c, const gk_source *s, gk_err *err)
{
    const char *index = index_of(s);
    gk_err own = {0};
    uint64_t n = 0;

    if (index == NULL)
        return true;
    gk_json *root = gk_source_json(c->arena, s, index, &own);
    if (root == NULL)
        return gk_findings_take(&c->findings, "index", &own, err);
    const char **file = gk_index_files(c, index, gk_json_get(root, "weight_map"), &n, err);
    bool ok = file != NULL;
    for (uint64_t i = 0; ok && i < n; i++)
        ok = gk_source_has(c->arena, s, file[i])
             || gk_findings_addf(&c->findings, "index", GK_BAD, file[i], NULL, err,
                                 "missing: the index names this file, it is not here");
    gk_json_free(root);
    return ok;
}

static bool hf_open(gk_catalog *c, const gk_source *s, gk_err *err)
{
    const char *index = index_of(s);

    if (index != NULL)
        return open_indexed(c, s, index, err);
    return load_all(c, s, err) && gk_tensors_from_all(c, err);
}

const gk_reader gk_reader_hf = {"hf", hf_is, hf_open};
