/* formats/flax.c - Flax checkpoints: a .msgpack file, or a folder with flax_model.msgpack or
 * with shards and their index.
 *
 * Names and layouts are kept as stored: a kernel stays [in, out] (the transpose of PyTorch's),
 * since nothing in a file says what architecture it belongs to. Leaves that are no arrays
 * (numbers, texts, None) are no tensors; a note counts them. The bytes are described in
 * formats/flax_tree.c. */
#include <inttypes.h>
#include <string.h>

#include "formats/checked.h"
#include "formats/flax_tree.h"
#include "formats/mistaken.h"

#define WHOLE_NAME "flax_model.msgpack"

typedef gk_flax_chunked chunked;

typedef struct reader {
    gk_catalog *c;
    gk_flax_list list;
} reader;

static bool say_others(gk_catalog *c, const char *name, uint64_t n, gk_err *err)
{
    return n == 0
           || gk_findings_addf(&c->findings, "header", GK_NOTE, name, NULL, err,
                               "%" PRIu64
                               " values are no arrays (numbers, texts, None), so no tensors: "
                               "they are not read",
                               n);
}

static bool take_as_it_is(gk_catalog *c, uint64_t input, gk_err *err)
{
    (void)c;
    (void)input;
    (void)err;
    return true;
}

/* Reads one file; what is wrong with it becomes a finding. */
static bool load(reader *r, const gk_source *s, const char *name, gk_err *err)
{
    gk_catalog *c = r->c;
    const uint64_t input = c->n_inputs;
    uint64_t n_others;
    gk_err own = {0};

    if (!gk_input_load(c, s, name, -1, take_as_it_is, err))
        return false;
    if (c->n_inputs == input)
        return true; /* it could not be opened, a finding says so */
    if (gk_flax_read(c, input, &r->list, &n_others, &own))
        return say_others(c, c->input[input].name, n_others, err);
    c->input[input].usable = false;
    gk_mistaken_say(c->input[input].file, c->format, &own);
    gk_fail_at(&own, name, NULL);
    return gk_findings_take(&c->findings, "file", &own, err);
}

/* ---- pieces ------------------------------------------------------------------------- */

/* The rectangles that hold elements [*at, *at + n) of an array n_cols wide: the rest of a
 * row, whole rows, the begin of a row. Returns how many. */
static int add_pieces(const gk_stored *s, uint64_t n_cols, uint64_t *at, gk_piece out[3])
{
    const uint64_t size = gk_dtype_get((gk_dtype)s->dtype)->bits / 8;
    uint64_t left = s->dim[0], off = s->off;
    int n = 0;

    while (left > 0) {
        const uint64_t col = *at % n_cols;
        const bool part = col > 0 || left < n_cols;
        const uint64_t take_cols = part ? gk_min(left, n_cols - col) : n_cols;
        const uint64_t rows = part ? 1 : left / n_cols;
        out[n++] = (gk_piece){.stored = s,
                              .row = *at / n_cols,
                              .col = col,
                              .n_rows = rows,
                              .n_cols = take_cols,
                              .off = off,
                              .row_bytes = take_cols * size};
        *at += rows * take_cols;
        left -= rows * take_cols;
        off += rows * take_cols * size;
    }
    return n;
}

static bool tensor_from_chunks(gk_catalog *c, const chunked *a, gk_tensor *t, gk_err *err)
{
    gk_part *part = gk_arena_alloc(c->arena, 1, sizeof *part, err);
    gk_piece *piece = part == NULL ? NULL : gk_arena_alloc(c->arena, a->n, 3 * sizeof *piece, err);
    uint64_t at = 0;

    if (piece == NULL)
        return false;
    *t = (gk_tensor){.name = a->name,
                     .dim = a->dim,
                     .part = part,
                     .n_parts = 1,
                     .ndim = (uint8_t)a->ndim,
                     .dtype = c->stored[a->first].dtype};
    *part = (gk_part){.role = GK_PART_VALUES,
                      .dtype = (gk_dtype)t->dtype,
                      .n_rows = gk_rows(t),
                      .n_cols = gk_cols(t),
                      .piece = piece};
    for (uint64_t i = 0; i < a->n; i++)
        part->n_pieces += (uint64_t)add_pieces(&c->stored[a->first + i], part->n_cols, &at,
                                               piece + part->n_pieces);
    return true;
}

/* Entries that are no chunks are tensors as they stand. */
static bool make_tensors(reader *r, const gk_source *s, gk_err *err)
{
    gk_catalog *c = r->c;
    gk_tensor *tensor = gk_arena_alloc(c->arena, c->n_stored, sizeof *tensor, err);
    uint64_t n = 0, k = 0;

    if (tensor == NULL)
        return false;
    for (uint64_t i = 0; i < c->n_stored;) {
        if (k < r->list.n && r->list.row[k].first == i) {
            if (!tensor_from_chunks(c, &r->list.row[k], &tensor[n++], err))
                return false;
            i += r->list.row[k++].n;
        } else {
            gk_tensor_from_stored(&tensor[n++], &c->stored[i++]);
        }
    }
    return gk_catalog_set(c, tensor, n, err) || gk_fail_at(err, gk_path_base(s->path), NULL);
}

/* ---- what belongs to a model -------------------------------------------------------- */

static bool is_index(const char *name) { return gk_ends_with(name, ".msgpack.index.json"); }

static const char *index_of(const gk_source *s)
{
    if (s->index != NULL)
        return is_index(s->index) ? s->index : NULL;
    for (uint64_t i = 0; i < s->n_names; i++)
        if (is_index(s->name[i]))
            return s->name[i];
    return NULL;
}

/* A folder that holds safetensors too is read as that: both are the same model. */
static bool flax_is(const gk_source *s)
{
    bool found = false;

    if (!s->is_dir)
        return gk_ends_with(s->path, ".msgpack");
    if (s->index != NULL)
        return is_index(s->index);
    for (uint64_t i = 0; i < s->n_names; i++) {
        if (gk_ends_with(s->name[i], ".safetensors")
            || gk_ends_with(s->name[i], ".safetensors.index.json"))
            return false;
        found = found || gk_ends_with(s->name[i], ".msgpack") || is_index(s->name[i]);
    }
    return found;
}

/* Every tensor must stand in the file that the index says; its keys have '/' for our '.'. */
static bool check_map(gk_catalog *c, const char *index, const gk_json *map, gk_err *err)
{
    const gk_json *value;
    const char *key;
    void *iter = NULL;

    while (gk_json_next(map, &iter, &key, &value)) {
        char *name = gk_arena_str(c->arena, key, err);
        const char *file = gk_json_text(value, NULL);
        if (name == NULL)
            return false;
        for (char *p = name; *p != '\0'; p++)
            if (*p == '/')
                *p = '.';
        const gk_tensor *t = gk_catalog_find(c, name);
        const gk_stored *s = t == NULL          ? NULL
                             : t->whole != NULL ? t->whole
                                                : t->part[0].piece[0].stored;
        const char *stands = s == NULL ? NULL : c->input[s->input].name;
        if (file == NULL)
            continue; /* said already */
        if ((stands == NULL || strcmp(stands, file) != 0)
            && !gk_findings_addf(&c->findings, "index", GK_BAD, index, name, err,
                                 "the index says %s, the tensor %s%s", file,
                                 stands == NULL ? "is missing" : "stands in ",
                                 stands == NULL ? "" : stands))
            return false;
    }
    return true;
}

static bool open_indexed(reader *r, const gk_source *s, const char *index, gk_err *err)
{
    gk_catalog *c = r->c;
    gk_err own = {0};
    gk_json *root = gk_source_json(c->arena, s, index, &own);
    const gk_json *map = gk_json_get(root, "weight_map");
    uint64_t n = 0;

    if (root != NULL && !gk_json_is_object(map))
        gk_fail(&own, GK_ERR_FORMAT, 0, "\"weight_map\" is missing or no object");
    if (own.code != GK_OK) {
        gk_json_free(root);
        gk_fail_at(&own, index, NULL);
        return gk_findings_take(&c->findings, "index", &own, err);
    }
    const char **file = gk_index_files(c, index, map, &n, err);
    c->input = file == NULL ? NULL : gk_arena_alloc(c->arena, n, sizeof *c->input, err);
    bool ok = c->input != NULL;
    for (uint64_t i = 0; ok && i < n; i++)
        ok = gk_source_has(c->arena, s, file[i])
                 ? load(r, s, file[i], err)
                 : gk_findings_addf(&c->findings, "index", GK_BAD, file[i], NULL, err,
                                    "missing: the index names this file, it is not here");
    ok = ok && make_tensors(r, s, err) && check_map(c, index, map, err);
    gk_json_free(root);
    return ok;
}

/* Without an index: flax_model.msgpack when there is one, else all. */
static bool open_files(reader *r, const gk_source *s, gk_err *err)
{
    gk_catalog *c = r->c;
    bool whole = false, ok = true;

    for (uint64_t i = 0; i < s->n_names; i++)
        whole = whole || strcmp(s->name[i], WHOLE_NAME) == 0;
    c->input = gk_arena_alloc(c->arena, s->is_dir ? s->n_names : 1, sizeof *c->input, err);
    if (c->input == NULL)
        return false;
    if (!s->is_dir)
        return load(r, s, gk_path_base(s->path), err) && make_tensors(r, s, err);
    for (uint64_t i = 0; ok && i < s->n_names; i++) {
        if (!gk_ends_with(s->name[i], ".msgpack"))
            continue;
        ok = !whole || strcmp(s->name[i], WHOLE_NAME) == 0
                 ? load(r, s, s->name[i], err)
                 : gk_findings_addf(&c->findings, "index", GK_WARN, s->name[i], NULL, err,
                                    "unrelated file: " WHOLE_NAME " is the model, so it is not "
                                    "read");
    }
    return ok && make_tensors(r, s, err);
}

static bool flax_open(gk_catalog *c, const gk_source *s, gk_err *err)
{
    reader r = {.c = c};
    const char *index = index_of(s);
    const bool ok = index != NULL ? open_indexed(&r, s, index, err) : open_files(&r, s, err);

    gk_free(r.list.row);
    return ok;
}

const gk_reader gk_reader_flax = {"flax", flax_is, flax_open};
