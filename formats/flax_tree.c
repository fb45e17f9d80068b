/* formats/flax_tree.c - the tree of a Flax file: one msgpack map of nested maps whose leaves
 * are arrays.
 *
 *   map     str keys; a key and its parents, joined by '.', name a tensor
 *   ext 1   ndarray, 3 numpy scalar: a payload that is msgpack again,
 *             [dims], "dtype", bin: the elements, C order, little-endian
 *   ext 2   complex: no tensor
 *   ext 4   tuple (Orbax): an array of leaves, named by their index
 *   chunks  {"__msgpack_chunked_array__": true, "shape": {"0": d0, ...},
 *            "chunks": {"0": ext 1, "1": ext 1, ...}}: an array above 1 GiB, as flat runs of
 *             its elements; they may end inside a row
 *
 * Source: google/flax flax/serialization.py @00a973a, google/orbax checkpoint/orbax/
 * checkpoint/msgpack_utils.py @3ff7b24. Refused: nesting past 32, counts and lengths past
 * the file, keys that are no text or stand twice, dtypes that are no plain numbers, byte
 * counts that are not shape x dtype, anything after the end. */
#include "formats/flax_tree.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/checked.h"
#include "formats/msgpack.h"

#define MAX_DEPTH     32
#define MAX_KEY_BYTES 65536u
#define CHUNK_MARK    "__msgpack_chunked_array__"

typedef gk_msgpack_item item;
typedef gk_flax_chunked chunked;

/* A key that was seen: the same one under the same parent is refused. */
typedef struct node {
    const char *key;
    uint32_t parent; /* 1 + its index; 0: the top */
} node;

typedef struct reader {
    gk_catalog *c;
    gk_flax_list *list;
    gk_msgpack m;
    uint64_t input;
    bool odd;            /* a key of the path holds a control character */
    uint64_t name_bytes; /* kept so far, bounded against the file       */
    node *node;
    uint32_t *slot; /* hash of nodes: index + 1, 0 is free         */
    uint64_t n_nodes, node_cap, n_slots;
    uint64_t n_others; /* leaves that are no arrays                   */
    gk_err *err;
} reader;

static bool walk(reader *r, uint32_t parent, int depth);

static bool refuse(reader *r, uint64_t off, const char *text)
{
    return gk_msgpack_refuse(&r->m, off, text);
}

/* ---- names -------------------------------------------------------------------------- */

static uint64_t hash_key(uint32_t parent, const char *key)
{
    uint64_t h = UINT64_C(0xcbf29ce484222325) ^ parent * UINT64_C(0x9e3779b97f4a7c15);

    for (; *key != '\0'; key++)
        h = (h ^ (unsigned char)*key) * UINT64_C(0x100000001b3);
    return h ^ h >> 29;
}

static bool grow_slots(reader *r)
{
    const uint64_t n = r->n_slots == 0 ? 256 : r->n_slots * 2;
    uint32_t *slot = gk_alloc(n, sizeof *slot, r->err);

    if (slot == NULL)
        return false;
    memset(slot, 0, n * sizeof *slot);
    for (uint64_t i = 0; i < r->n_slots; i++) {
        if (r->slot[i] == 0)
            continue;
        const node *old = &r->node[r->slot[i] - 1];
        uint64_t at = hash_key(old->parent, old->key) & (n - 1);
        while (slot[at] != 0)
            at = (at + 1) & (n - 1);
        slot[at] = r->slot[i];
    }
    gk_free(r->slot);
    r->slot = slot;
    r->n_slots = n;
    return true;
}

static bool add_node(reader *r, uint32_t parent, const char *key, uint32_t *id)
{
    void *nodes = r->node;

    if (r->n_nodes >= GK_MAX_TENSORS) {
        gk_fail(r->err, GK_ERR_LIMIT, r->m.pos, "more than %u keys", GK_MAX_TENSORS);
        return gk_msgpack_fail_at(&r->m);
    }
    if (!gk_grow(&nodes, &r->node_cap, r->n_nodes + 1, sizeof *r->node, r->err))
        return false;
    r->node = nodes;
    r->node[r->n_nodes++] = (node){.key = key, .parent = parent};
    *id = (uint32_t)r->n_nodes;
    return (r->n_nodes * 2 <= r->n_slots || grow_slots(r));
}

/* Enters a key (in the arena) under its parent; *id is what its children call parent. */
static bool enter(reader *r, uint32_t parent, const char *key, uint64_t off, uint32_t *id)
{
    if (!add_node(r, parent, key, id))
        return false;
    uint64_t at = hash_key(parent, key) & (r->n_slots - 1);
    for (; r->slot[at] != 0; at = (at + 1) & (r->n_slots - 1)) {
        const node *other = &r->node[r->slot[at] - 1];
        if (other->parent == parent && strcmp(other->key, key) == 0)
            return refuse(r, off, "duplicate key: it stands twice in its map");
    }
    r->slot[at] = *id;
    return true;
}

/* Reads a key as NUL-terminated text in the arena. */
static char *read_key(reader *r)
{
    gk_text text = {0};
    char *key = NULL;
    item it;

    if (!gk_msgpack_head(&r->m, &it))
        return NULL;
    if (it.kind != GK_MSGPACK_STR) {
        refuse(r, it.off, "a key that is no string");
    } else if (it.n > MAX_KEY_BYTES) {
        gk_fail(r->err, GK_ERR_LIMIT, it.off, "a key of %" PRIu64 " bytes, at most %u are read",
                it.n, MAX_KEY_BYTES);
        gk_msgpack_fail_at(&r->m);
    } else if (gk_msgpack_text(&r->m, &it, &text, &r->odd)) {
        key = gk_arena_strn(r->c->arena, text.data == NULL ? "" : text.data, text.len, r->err);
    }
    gk_text_free(&text);
    return key;
}

/* The name at hand as kept for a tensor. Parents are repeated in every name, so the sum is
 * bounded: a file cannot make much of little. */
static const char *keep_name(reader *r)
{
    r->name_bytes += r->m.path.len + 1;
    if (r->name_bytes > r->m.file->size + (64u << 20)) {
        gk_fail(r->err, GK_ERR_LIMIT, r->m.pos,
                "the names of its tensors take more than the file and 64 MiB");
        return NULL;
    }
    return gk_arena_strn(r->c->arena, r->m.path.data, r->m.path.len, r->err);
}

/* ---- arrays ------------------------------------------------------------------------- */

static const struct {
    const char *name;
    gk_dtype dtype;
} dtypes[] = {
    {"bool", GK_BOOL},
    {"uint8", GK_U8},
    {"int8", GK_I8},
    {"int16", GK_I16},
    {"uint16", GK_U16},
    {"float16", GK_F16},
    {"bfloat16", GK_BF16},
    {"int32", GK_I32},
    {"uint32", GK_U32},
    {"float32", GK_F32},
    {"complex64", GK_C64},
    {"float64", GK_F64},
    {"int64", GK_I64},
    {"uint64", GK_U64},
    {"float8_e5m2", GK_F8_E5M2},
    {"float8_e4m3fn", GK_F8_E4M3},
    {"float8_e8m0fnu", GK_F8_E8M0},
    {"float8_e4m3fnuz", GK_F8_E4M3FNUZ},
    {"float8_e5m2fnuz", GK_F8_E5M2FNUZ},
};

static bool read_dtype(reader *r, uint8_t *dtype)
{
    gk_text name = {0};
    bool odd = false, ok = false;
    item it;

    if (!gk_msgpack_head(&r->m, &it))
        return false;
    if (it.kind != GK_MSGPACK_STR || it.n == 0 || it.n > 64)
        return refuse(r, it.off, "ndarray: expected the name of a dtype");
    if (!gk_msgpack_text(&r->m, &it, &name, &odd))
        return gk_text_free(&name), false;
    for (size_t i = 0; !ok && i < sizeof dtypes / sizeof dtypes[0]; i++)
        if (strcmp(dtypes[i].name, name.data) == 0) {
            *dtype = (uint8_t)dtypes[i].dtype;
            ok = true;
        }
    if (!ok)
        gk_fail(r->err, GK_ERR_UNSUPPORTED, it.off,
                "dtype '%s' is not read: only plain numbers are (no objects, no structures)",
                name.data);
    gk_text_free(&name);
    return ok || gk_msgpack_fail_at(&r->m);
}

static bool read_dim(reader *r, uint64_t *dim)
{
    item it;

    if (!gk_msgpack_head(&r->m, &it))
        return false;
    if (it.kind != GK_MSGPACK_INTEGER)
        return refuse(r, it.off, "shape: a dimension that is no integer");
    return gk_msgpack_uint(&r->m, &it, dim);
}

static bool count_elems(reader *r, const uint64_t *dim, int ndim, uint64_t *elems)
{
    *elems = 1;
    for (int i = 0; i < ndim; i++)
        if (!gk_mul(*elems, dim[i], elems))
            return refuse(r, r->m.pos, "shape: its element count overflows 64 bits");
    return true;
}

static bool too_many_dims(reader *r, uint64_t n)
{
    gk_fail(r->err, GK_ERR_LIMIT, r->m.pos, "shape: %" PRIu64 " dimensions, at most %d are read", n,
            GK_MAX_DIMS);
    return gk_msgpack_fail_at(&r->m);
}

/* The three items of an ext 1 or 3 whose head is *ext; the elements are passed over. */
static bool read_array(reader *r, const item *ext, gk_stored *s, uint64_t dim[GK_MAX_DIMS])
{
    const uint64_t outer = r->m.end;
    uint64_t elems, bytes;
    item it;

    *s = (gk_stored){.input = (uint32_t)r->input, .odd_name = r->odd};
    r->m.end = ext->body + ext->n;
    if (!gk_msgpack_head(&r->m, &it))
        return false;
    if (it.kind != GK_MSGPACK_ARRAY || it.n != 3)
        return refuse(r, it.off, "ndarray: expected an array of three: shape, dtype, bytes");
    if (!gk_msgpack_head(&r->m, &it))
        return false;
    if (it.kind != GK_MSGPACK_ARRAY)
        return refuse(r, it.off, "ndarray: its shape is no array");
    if (it.n > GK_MAX_DIMS)
        return too_many_dims(r, it.n);
    s->ndim = (uint8_t)it.n;
    for (int i = 0; i < s->ndim; i++)
        if (!read_dim(r, &dim[i]))
            return false;
    if (!read_dtype(r, &s->dtype) || !gk_msgpack_head(&r->m, &it))
        return false;
    if (it.kind != GK_MSGPACK_BIN)
        return refuse(r, it.off, "ndarray: its elements are no bin data");
    const gk_dtype_row *type = gk_dtype_get((gk_dtype)s->dtype);
    if (!count_elems(r, dim, s->ndim, &elems))
        return false;
    if (!gk_mul(elems, type->bits / 8, &bytes) || bytes != it.n) {
        gk_fail(r->err, GK_ERR_FORMAT, it.off,
                "size mismatch: shape and dtype %s need %" PRIu64 " elements of %u bytes, %" PRIu64
                " bytes are there",
                type->name, elems, type->bits / 8, it.n);
        return gk_msgpack_fail_at(&r->m);
    }
    s->off = it.body;
    r->m.pos = it.body + it.n;
    if (r->m.pos != r->m.end)
        return refuse(r, r->m.pos, "trailing bytes after the array inside its ext");
    r->m.end = outer;
    return true;
}

static const uint64_t *keep_dims(reader *r, const uint64_t *dim, int ndim)
{
    uint64_t *kept = gk_arena_alloc(r->c->arena, (uint64_t)ndim, sizeof *kept, r->err);

    if (kept != NULL)
        memcpy(kept, dim, (size_t)ndim * sizeof *kept);
    return kept;
}

static bool add_array(reader *r, const item *ext)
{
    uint64_t dim[GK_MAX_DIMS];
    gk_stored s;

    if (!read_array(r, ext, &s, dim))
        return false;
    s.name = keep_name(r);
    s.dim = s.name == NULL ? NULL : keep_dims(r, dim, s.ndim);
    return s.dim != NULL && gk_stored_add(r->c, &s, r->err);
}

/* ---- arrays in chunks --------------------------------------------------------------- */

/* A key that must be a number below n, written as Python writes it. */
static bool read_index(reader *r, uint64_t n, uint64_t *index)
{
    const uint64_t off = r->m.pos;
    const char *key = read_key(r);
    char *end;

    if (key == NULL)
        return false;
    *index = strtoull(key, &end, 10);
    if (key[0] < '0' || key[0] > '9' || (key[0] == '0' && key[1] != '\0') || *end != '\0'
        || *index >= n) {
        gk_fail(r->err, GK_ERR_FORMAT, off,
                "chunked array: '%.40s' is none of the %" PRIu64 " numbers from 0 on that belong "
                "here, so one is missing",
                key, n);
        return gk_msgpack_fail_at(&r->m);
    }
    return true;
}

static bool read_chunk_shape(reader *r, chunked *a, uint64_t dim[GK_MAX_DIMS])
{
    bool seen[GK_MAX_DIMS] = {false};
    uint64_t index;
    item it;

    if (!gk_msgpack_head(&r->m, &it))
        return false;
    if (it.kind != GK_MSGPACK_MAP)
        return refuse(r, it.off, "chunked array: its shape is no map");
    if (it.n > GK_MAX_DIMS)
        return too_many_dims(r, it.n);
    a->ndim = (int)it.n;
    for (uint64_t i = 0; i < it.n; i++) {
        if (!read_index(r, it.n, &index))
            return false;
        if (seen[index])
            return refuse(r, r->m.pos, "duplicate key: it stands twice in the shape");
        seen[index] = true;
        if (!read_dim(r, &dim[index]))
            return false;
    }
    return true;
}

/* Reads the chunks into chunk[], which has room for the *n that the head promised. */
static bool read_chunk_list(reader *r, gk_stored **chunk, uint64_t *n)
{
    uint64_t index, dim[GK_MAX_DIMS];
    item it;

    if (!gk_msgpack_head(&r->m, &it))
        return false;
    if (it.kind != GK_MSGPACK_MAP)
        return refuse(r, it.off, "chunked array: its chunks are no map");
    *n = it.n;
    *chunk = gk_alloc(it.n, sizeof **chunk, r->err);
    if (*chunk == NULL)
        return false;
    memset(*chunk, 0, it.n * sizeof **chunk);
    for (uint64_t i = 0; i < *n; i++) {
        if (!read_index(r, *n, &index))
            return false;
        if ((*chunk)[index].off != 0)
            return refuse(r, r->m.pos, "duplicate key: a chunk stands twice");
        if (!gk_msgpack_head(&r->m, &it))
            return false;
        if (it.kind != GK_MSGPACK_EXT || it.type != 1)
            return refuse(r, it.off, "chunked array: a chunk that is no ndarray");
        if (!read_array(r, &it, &(*chunk)[index], dim))
            return false;
        if ((*chunk)[index].ndim != 1)
            return refuse(r, it.off, "chunked array: a chunk that is not flat");
        (*chunk)[index].dim = keep_dims(r, dim, 1);
        if ((*chunk)[index].dim == NULL)
            return false;
    }
    return true;
}

static bool add_chunked(reader *r, chunked *a, const gk_stored *chunk, const uint64_t *dim)
{
    void *rows = r->list->row;
    uint64_t elems, sum = 0;

    if (!count_elems(r, dim, a->ndim, &elems))
        return false;
    for (uint64_t i = 0; i < a->n; i++) {
        if (chunk[i].dtype != chunk[0].dtype)
            return refuse(r, chunk[i].off, "chunked array: its chunks differ in dtype");
        sum += chunk[i].dim[0]; /* each is below the file's size */
    }
    if (sum != elems || a->n == 0) {
        gk_fail(r->err, GK_ERR_FORMAT, r->m.pos,
                "chunked array: its shape has %" PRIu64 " elements, its %" PRIu64
                " chunks hold %" PRIu64,
                elems, a->n, sum);
        return gk_msgpack_fail_at(&r->m);
    }
    a->name = keep_name(r);
    a->dim = a->name == NULL ? NULL : keep_dims(r, dim, a->ndim);
    if (a->dim == NULL
        || !gk_grow(&rows, &r->list->cap, r->list->n + 1, sizeof *r->list->row, r->err))
        return false;
    r->list->row = rows;
    a->first = r->c->n_stored;
    for (uint64_t i = 0; i < a->n; i++) {
        gk_stored s = chunk[i];
        s.name = a->name;
        if (!gk_stored_add(r->c, &s, r->err))
            return false;
    }
    r->list->row[r->list->n++] = *a;
    return true;
}

/* The map whose first key was CHUNK_MARK; n_pairs counts that one. */
static bool read_chunked(reader *r, uint64_t n_pairs)
{
    uint64_t dim[GK_MAX_DIMS] = {0};
    gk_stored *chunk = NULL;
    chunked a = {.ndim = -1};
    item it;

    bool ok = gk_msgpack_head(&r->m, &it)
              && (it.kind == GK_MSGPACK_BOOLEAN
                  || refuse(r, it.off, "chunked array: its mark is no boolean"));
    for (uint64_t i = 1; ok && i < n_pairs; i++) {
        const uint64_t off = r->m.pos;
        const char *key = read_key(r);
        if (key != NULL && strcmp(key, "shape") == 0 && a.ndim < 0)
            ok = read_chunk_shape(r, &a, dim);
        else if (key != NULL && strcmp(key, "chunks") == 0 && chunk == NULL)
            ok = read_chunk_list(r, &chunk, &a.n);
        else
            ok = key != NULL
                 && refuse(r, off, "chunked array: a key beside one \"shape\", one \"chunks\"");
    }
    if (ok && (a.ndim < 0 || chunk == NULL))
        ok = refuse(r, r->m.pos, "chunked array: without its \"shape\" or its \"chunks\"");
    ok = ok && add_chunked(r, &a, chunk, dim);
    gk_free(chunk);
    return ok;
}

/* ---- the tree ----------------------------------------------------------------------- */

/* One child: its key joins the path while it is walked. */
static bool walk_child(reader *r, uint32_t id, const char *key, int depth)
{
    const uint64_t len = r->m.path.len;
    const bool odd = r->odd;

    if (depth > 1)
        gk_text_char(&r->m.path, '.');
    gk_text_str(&r->m.path, key);
    if (!gk_text_ok(&r->m.path, r->err) || !walk(r, id, depth))
        return false;
    r->m.path.len = len;
    r->m.path.data[len] = '\0';
    r->odd = odd;
    return true;
}

static bool walk_map(reader *r, const item *map, uint32_t parent, int depth)
{
    for (uint64_t i = 0; i < map->n; i++) {
        const uint64_t off = r->m.pos;
        const bool odd = r->odd;
        const char *key = read_key(r);
        uint32_t id = 0;
        if (key == NULL)
            return false;
        if (strcmp(key, CHUNK_MARK) == 0)
            return i == 0 ? read_chunked(r, map->n)
                          : refuse(r, off, "chunked array: its mark must be the first key");
        if (!enter(r, parent, key, off, &id))
            return gk_fail_at(r->err, r->m.file->name, key);
        if (!walk_child(r, id, key, depth + 1))
            return false;
        r->odd = odd;
    }
    return true;
}

/* A tuple or list: its items are named by their index; each is a parent of its own. */
static bool walk_list(reader *r, const item *list, uint32_t parent, int depth)
{
    char key[24];
    uint32_t id = 0;

    for (uint64_t i = 0; i < list->n; i++) {
        snprintf(key, sizeof key, "%" PRIu64, i);
        if (!add_node(r, parent, "", &id) || !walk_child(r, id, key, depth + 1))
            return false;
    }
    return true;
}

static bool walk_ext(reader *r, const item *ext, uint32_t parent, int depth)
{
    const uint64_t outer = r->m.end;
    item it;

    switch (ext->type) {
    case 1:
    case 3: return add_array(r, ext);
    case 2: /* complex: two floats, no array */
        r->n_others++;
        r->m.pos = ext->body + ext->n;
        return true;
    case 4:
        r->m.end = ext->body + ext->n;
        if (!gk_msgpack_head(&r->m, &it))
            return false;
        if (it.kind != GK_MSGPACK_ARRAY)
            return refuse(r, it.off, "tuple: expected an array inside ext 4");
        if (!walk_list(r, &it, parent, depth + 1))
            return false;
        if (r->m.pos != r->m.end)
            return refuse(r, r->m.pos, "trailing bytes after the tuple inside its ext");
        r->m.end = outer;
        return true;
    default:
        gk_fail(r->err, GK_ERR_FORMAT, ext->off, "ext type %d, which Flax does not write",
                ext->type);
        return gk_msgpack_fail_at(&r->m);
    }
}

/* Walks the next value; depth counts the maps, lists and exts around it. */
static bool walk(reader *r, uint32_t parent, int depth)
{
    item it;

    if (depth > MAX_DEPTH) {
        gk_fail(r->err, GK_ERR_LIMIT, r->m.pos, "nested deeper than %d", MAX_DEPTH);
        return gk_fail_at(r->err, r->m.file->name, NULL);
    }
    if (!gk_msgpack_head(&r->m, &it))
        return false;
    if (depth == 0 && it.kind != GK_MSGPACK_MAP)
        return refuse(r, 0, "no Flax checkpoint: expected a msgpack map at the top");
    switch (it.kind) {
    case GK_MSGPACK_MAP: return walk_map(r, &it, parent, depth);
    case GK_MSGPACK_ARRAY: return walk_list(r, &it, parent, depth);
    case GK_MSGPACK_EXT: return walk_ext(r, &it, parent, depth);
    default:
        r->n_others++;
        gk_msgpack_skip(&r->m, &it);
        return true;
    }
}

bool gk_flax_read(gk_catalog *c, uint64_t input, gk_flax_list *list, uint64_t *n_others,
                  gk_err *err)
{
    const gk_file *file = c->input[input].file;
    const uint64_t n_stored = c->n_stored, n_list = list->n;
    reader *r = gk_alloc(1, sizeof *r, err);

    if (r == NULL)
        return false;
    *r = (reader){.c = c, .list = list, .input = input, .err = err};
    r->m.file = file;
    r->m.end = file->size;
    r->m.err = err;
    bool ok = file->size > 0
              || refuse(r, 0, "the file is empty, a Flax checkpoint is a msgpack map");
    ok = ok && walk(r, 0, 0)
         && (r->m.pos == r->m.end || refuse(r, r->m.pos, "trailing bytes after the map"));
    *n_others = r->n_others;
    if (!ok) {
        gk_msgpack_fail_at(&r->m);
        c->n_stored = n_stored;
        list->n = n_list;
    }
    gk_text_free(&r->m.path);
    gk_free(r->node);
    gk_free(r->slot);
    gk_free(r);
    return ok;
}
