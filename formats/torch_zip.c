/* formats/torch_zip.c - one file of PyTorch: a zip whose pickle says what its storages mean.
 *
 *   ROOT/data.pkl     the state dict: names, and for each a call that would make a tensor
 *   ROOT/data/KEY     a storage: the raw elements, which several tensors may share
 *   ROOT/byteorder    "little"
 *
 *   _rebuild_tensor_v2(storage, offset, size, stride, requires_grad, hooks[, metadata])
 *   _rebuild_tensor_v3(the same, with a dtype behind hooks)       for dtypes without a class
 *   _rebuild_parameter(tensor, requires_grad, hooks)
 *   storage: persistent id ("storage", class, KEY, device, number of elements)
 *
 * Element i.. of a tensor lies offset + sum(i x stride) elements into its storage, so any
 * view is legal that stays inside. Nothing is called. Source: pytorch/pytorch
 * torch/_weights_only_unpickler.py and torch/_utils.py @00f730b. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "formats/checked.h"
#include "formats/hash.h"
#include "formats/pickle.h"
#include "formats/torch.h"
#include "formats/zip.h"

#define MAX_NESTING 16
#define CRC_BYTES   65536

typedef struct file {
    gk_torch *t;
    uint64_t input;
    const gk_file *f;
    gk_zip zip;
    int root_len; /* of ROOT, in the name of data.pkl */
    const char *root;
    gk_arena *arena; /* for the pickle and the directory; dies with the call */
    uint64_t n_seen; /* values of dicts */
    gk_err *err;
} file;

/* ---- names of types ------------------------------------------------------------------ */

static const struct {
    const char *name; /* a storage class, or a dtype */
    gk_dtype dtype;
} types[] = {
    {"DoubleStorage", GK_F64},
    {"FloatStorage", GK_F32},
    {"HalfStorage", GK_F16},
    {"BFloat16Storage", GK_BF16},
    {"LongStorage", GK_I64},
    {"IntStorage", GK_I32},
    {"ShortStorage", GK_I16},
    {"CharStorage", GK_I8},
    {"ByteStorage", GK_U8},
    {"BoolStorage", GK_BOOL},
    {"UntypedStorage", GK_U8},
    {"float64", GK_F64},
    {"float32", GK_F32},
    {"float16", GK_F16},
    {"bfloat16", GK_BF16},
    {"int64", GK_I64},
    {"int32", GK_I32},
    {"int16", GK_I16},
    {"int8", GK_I8},
    {"uint64", GK_U64},
    {"uint32", GK_U32},
    {"uint16", GK_U16},
    {"uint8", GK_U8},
    {"bool", GK_BOOL},
    {"complex64", GK_C64},
    {"float8_e4m3fn", GK_F8_E4M3},
    {"float8_e4m3fnuz", GK_F8_E4M3FNUZ},
    {"float8_e5m2", GK_F8_E5M2},
    {"float8_e5m2fnuz", GK_F8_E5M2FNUZ},
    {"float8_e8m0fnu", GK_F8_E8M0},
};

static const gk_pickle_global known[] = {
    {"collections", "OrderedDict"},
    {"torch._utils", "_rebuild_tensor_v2"},
    {"torch._utils", "_rebuild_tensor_v3"},
    {"torch._utils", "_rebuild_parameter"},
    {"torch", "DoubleStorage"},
    {"torch", "FloatStorage"},
    {"torch", "HalfStorage"},
    {"torch", "BFloat16Storage"},
    {"torch", "LongStorage"},
    {"torch", "IntStorage"},
    {"torch", "ShortStorage"},
    {"torch", "CharStorage"},
    {"torch", "ByteStorage"},
    {"torch", "BoolStorage"},
    {"torch.storage", "UntypedStorage"},
    {"torch", "float64"},
    {"torch", "float32"},
    {"torch", "float16"},
    {"torch", "bfloat16"},
    {"torch", "int64"},
    {"torch", "int32"},
    {"torch", "int16"},
    {"torch", "int8"},
    {"torch", "uint64"},
    {"torch", "uint32"},
    {"torch", "uint16"},
    {"torch", "uint8"},
    {"torch", "bool"},
    {"torch", "complex64"},
    {"torch", "float8_e4m3fn"},
    {"torch", "float8_e4m3fnuz"},
    {"torch", "float8_e5m2"},
    {"torch", "float8_e5m2fnuz"},
    {"torch", "float8_e8m0fnu"},
    {NULL, NULL},
};

static bool unlike(const file *x, const gk_pickled *node, const char *wanted)
{
    char says[GK_PICKLE_SAYS];

    gk_pickle_say(node, says);
    return gk_fail(x->err, GK_ERR_FORMAT, node != NULL ? node->at : GK_NO_OFF,
                   "expected %s, found %.300s", wanted, says);
}

static bool type_of(const file *x, const gk_pickled *node, gk_dtype *out)
{
    if (node != NULL && node->kind == GK_PICKLE_GLOBAL && node->flag)
        for (size_t i = 0; i < sizeof types / sizeof types[0]; i++)
            if (strcmp(types[i].name, node->name) == 0)
                return *out = types[i].dtype, true;
    return unlike(x, node, "a known dtype or storage class of torch");
}

/* ---- a tensor ------------------------------------------------------------------------ */

static bool has_text(const gk_pickled *node)
{
    return node != NULL && node->kind == GK_PICKLE_TEXT && node->text != NULL
           && strlen(node->text) == node->len;
}

/* The member that a persistent id means, of as many bytes as the id says. */
static const gk_zip_member *storage_of(const file *x, const gk_pickled *node, gk_dtype *dtype)
{
    const gk_pickled *id = node != NULL && node->kind == GK_PICKLE_PERSISTENT ? node->id : NULL;
    const gk_pickled *tag = gk_pickle_item(id, 0), *key = gk_pickle_item(id, 2);
    uint64_t numel, bytes;

    if (id == NULL || id->kind != GK_PICKLE_TUPLE || id->n_items != 5 || !has_text(tag)
        || strcmp(tag->text, "storage") != 0 || !has_text(key)
        || !gk_pickle_as_uint(gk_pickle_item(id, 4), &numel))
        return unlike(x, node, "a storage: (\"storage\", class, key, device, elements)"), NULL;
    if (!type_of(x, gk_pickle_item(id, 1), dtype))
        return NULL;
    if (key->len == 0 || strchr(key->text, '/') != NULL || strcmp(key->text, "..") == 0) {
        gk_fail(x->err, GK_ERR_FORMAT, key->at, "the key of a storage is a path: '%.100s'",
                key->text);
        return NULL;
    }
    const char *name = gk_arena_printf(x->arena, x->err, "%.*s/data/%s", x->root_len, x->root,
                                       key->text);
    const gk_zip_member *m = name == NULL ? NULL : gk_zip_find(&x->zip, name);
    if (m == NULL) {
        gk_fail(x->err, GK_ERR_FORMAT, key->at, "missing: its storage data/%.100s is no member",
                key->text);
        return NULL;
    }
    if (!gk_mul(numel, gk_row_bytes(*dtype, 1), &bytes) || bytes != m->bytes) {
        gk_fail(x->err, GK_ERR_FORMAT, m->off,
                "its storage data/%.100s has %" PRIu64 " bytes, expected %" PRIu64
                " elements of %s",
                key->text, m->bytes, numel, gk_dtype_get(*dtype)->name);
        return NULL;
    }
    return m;
}

static bool numbers_of(const file *x, const gk_pickled *tuple, const char *what, uint64_t *out,
                       uint8_t *n)
{
    if (tuple == NULL || tuple->kind != GK_PICKLE_TUPLE)
        return unlike(x, tuple, what);
    if (tuple->n_items > GK_MAX_DIMS)
        return gk_fail(x->err, GK_ERR_LIMIT, tuple->at, "more than %d dimensions", GK_MAX_DIMS);
    *n = (uint8_t)tuple->n_items;
    for (uint64_t i = 0; i < tuple->n_items; i++)
        if (!gk_pickle_as_uint(gk_pickle_item(tuple, i), &out[i]))
            return gk_fail(x->err, GK_ERR_FORMAT, tuple->at,
                           "%s: number %" PRIu64 " is no integer of 0 or more", what, i);
    return true;
}

/* The last element that the view touches must be one of the storage's `elems`. */
static bool check_view(const file *x, const gk_pickled *at, const gk_torch_view *v, uint64_t offset,
                       uint64_t elems)
{
    uint64_t count = 1, last = offset, step;
    bool fits = true;

    for (int i = 0; i < v->ndim; i++)
        if (!gk_mul(count, v->dim[i], &count))
            return gk_fail(x->err, GK_ERR_FORMAT, at->at, "the size overflows 64 bits");
    if (count == 0)
        return true;
    for (int i = 0; fits && i < v->ndim; i++)
        fits = gk_mul(v->dim[i] - 1, v->stride[i], &step) && gk_add(last, step, &last);
    if (fits && last < elems && gk_mul(count, gk_row_bytes((gk_dtype)v->dtype, 1), &step))
        return true;
    return gk_fail(x->err, GK_ERR_FORMAT, at->at,
                   "the view leaves its storage: offset %" PRIu64 ", size and stride reach beyond "
                   "its %" PRIu64 " elements",
                   offset, elems);
}

/* Adds the view, and its entry: the tensor itself or, of a tensor with gaps, its storage. */
static bool add_view(file *x, gk_torch_view *v, const gk_zip_member *m, uint64_t elems)
{
    const gk_view view = {.ndim = v->ndim, .dim = v->dim, .stride = v->stride};
    const bool whole = gk_view_is_whole(&view);
    uint64_t *flat = whole ? NULL : gk_arena_alloc(x->t->c->arena, 1, sizeof *flat, x->err);
    void *views = x->t->view;

    if (!whole && flat == NULL)
        return false;
    if (flat != NULL)
        *flat = elems;
    gk_stored s = {.name = v->name,
                   .dim = whole ? v->dim : flat,
                   .off = whole ? v->off : m->off,
                   .input = (uint32_t)x->input,
                   .dtype = v->dtype,
                   .ndim = whole ? v->ndim : 1,
                   .odd_name = v->name[0] == '\0'};
    for (const char *at = v->name; *at != '\0'; at++)
        s.odd_name |= (unsigned char)*at < 0x20 || *at == 0x7F;
    v->stored = x->t->c->n_stored;
    v->input = (uint32_t)x->input;
    if (!gk_stored_add(x->t->c, &s, x->err)
        || !gk_grow(&views, &x->t->cap, x->t->n + 1, sizeof *v, x->err))
        return false;
    x->t->view = views;
    x->t->view[x->t->n++] = *v;
    return true;
}

static bool is_rebuild(const gk_pickled *node)
{
    return gk_pickle_is_call(node, "torch._utils", "_rebuild_tensor_v2")
           || gk_pickle_is_call(node, "torch._utils", "_rebuild_tensor_v3")
           || gk_pickle_is_call(node, "torch._utils", "_rebuild_parameter");
}

static bool read_call(file *x, const gk_pickled *call, const char *name)
{
    const bool v3 = gk_pickle_is_call(call, "torch._utils", "_rebuild_tensor_v3");
    const gk_pickled *args = call->args;
    uint64_t *dim = gk_arena_alloc(x->t->c->arena, 2 * GK_MAX_DIMS, sizeof *dim, x->err);
    uint64_t *stride = dim == NULL ? NULL : dim + GK_MAX_DIMS, offset, n = args->n_items;
    gk_torch_view v = {.name = name, .dim = dim, .stride = stride};
    gk_dtype stored, dtype;
    uint8_t n_strides;

    if (dim == NULL)
        return false;
    if (n < 6 + (uint64_t)v3 || n > 7 + (uint64_t)v3 || call->state != NULL || call->n_items != 0)
        return gk_fail(x->err, GK_ERR_FORMAT, call->at,
                       "_rebuild_tensor with %" PRIu64 " arguments%s", n,
                       call->state != NULL || call->n_items != 0 ? " and a state" : "");
    const gk_zip_member *m = storage_of(x, gk_pickle_item(args, 0), &stored);
    if (m == NULL)
        return false;
    dtype = stored;
    if ((v3 && !type_of(x, gk_pickle_item(args, 6), &dtype))
        || !numbers_of(x, gk_pickle_item(args, 2), "the size of a tensor", dim, &v.ndim)
        || !numbers_of(x, gk_pickle_item(args, 3), "the stride of a tensor", stride, &n_strides))
        return false;
    if (v.ndim != n_strides || !gk_pickle_as_uint(gk_pickle_item(args, 1), &offset))
        return gk_fail(x->err, GK_ERR_FORMAT, call->at,
                       "a size of %d dimensions, a stride of %d, or an offset that is no integer "
                       "of 0 or more",
                       v.ndim, n_strides);
    const uint64_t elems = m->bytes / gk_row_bytes(dtype, 1);
    v.dtype = (uint8_t)dtype;
    if (!check_view(x, call, &v, offset, elems))
        return false;
    v.off = offset < elems ? m->off + offset * gk_row_bytes(dtype, 1) : m->off;
    return add_view(x, &v, m, elems);
}

static bool read_tensor(file *x, const gk_pickled *node, const char *name)
{
    const gk_pickled *call = node;

    if (gk_pickle_is_call(call, "torch._utils", "_rebuild_parameter"))
        call = gk_pickle_item(call->args, 0);
    const bool ok = is_rebuild(call) && strcmp(call->callable->name, "_rebuild_parameter") != 0
                        ? read_call(x, call, name)
                        : unlike(x, call, "the call that makes a tensor");
    return ok || gk_fail_at(x->err, x->f->name, name);
}

/* ---- the state dict ------------------------------------------------------------------ */

static bool is_dict(const gk_pickled *node)
{
    return node->kind == GK_PICKLE_DICT || gk_pickle_is_call(node, "collections", "OrderedDict");
}

static bool is_list(const gk_pickled *node)
{
    return node->kind == GK_PICKLE_LIST || node->kind == GK_PICKLE_TUPLE;
}

static char *name_of(const file *x, const char *prefix, const gk_pickled *key)
{
    const char *dot = prefix[0] == '\0' ? "" : ".";

    if (has_text(key))
        return gk_arena_printf(x->t->c->arena, x->err, "%s%s%s", prefix, dot, key->text);
    if (key->kind == GK_PICKLE_INT)
        return gk_arena_printf(x->t->c->arena, x->err, "%s%s%" PRId64, prefix, dot, key->integer);
    unlike(x, key, "a name");
    return NULL;
}

static bool say_refused(file *x, const gk_pickled *node, const char *name)
{
    char says[GK_PICKLE_SAYS], text[GK_PICKLE_SAYS + 60];

    gk_pickle_say(node, says);
    snprintf(text, sizeof text, "%s would make it: refused, as nothing is called here", says);
    const gk_finding row = {.check = "pickle",
                            .severity = GK_BAD,
                            .code = GK_ERR_UNSUPPORTED,
                            .off = node->at,
                            .file = x->f->name,
                            .tensor = name,
                            .text = text};
    return gk_findings_add(&x->t->c->findings, &row, x->err);
}

/* Whether a storage or an array lies in what an unknown call was given. True, too, for what is
 * too deep or too large to look through. */
static bool may_hold_weights(file *x, const gk_pickled *node, int depth)
{
    const gk_pickled *item;
    gk_pickle_iter it = {0};

    if (node->kind == GK_PICKLE_PERSISTENT || gk_pickle_is_call(node, "numpy*", "_reconstruct")
        || depth > MAX_NESTING || ++x->n_seen > GK_MAX_PICKLE_NODES)
        return true;
    if (node->kind == GK_PICKLE_CALL
        && (may_hold_weights(x, node->callable, depth + 1)
            || may_hold_weights(x, node->args, depth + 1)
            || (node->state != NULL && may_hold_weights(x, node->state, depth + 1))))
        return true;
    while (gk_pickle_next(node, &it, &item))
        if (may_hold_weights(x, item, depth + 1))
            return true;
    return false;
}

static bool walk(file *x, const gk_pickled *dict, const char *prefix, int depth);
static bool walk_list(file *x, const gk_pickled *list, const char *prefix, int depth);

static bool read_value(file *x, const gk_pickled *value, const char *name, int depth)
{
    if (is_rebuild(value))
        return read_tensor(x, value, name);
    if (is_dict(value))
        return walk(x, value, name, depth + 1);
    if (value->kind == GK_PICKLE_CALL) /* a warning names its global: a Namespace of options, say */
        return !may_hold_weights(x, value, depth) || say_refused(x, value, name);
    return !is_list(value) || walk_list(x, value, name, depth + 1);
}

static bool is_within(file *x, const gk_pickled *node, int depth)
{
    if (depth > MAX_NESTING)
        return gk_fail(x->err, GK_ERR_LIMIT, node->at, "dicts and lists nested more than %d deep",
                       MAX_NESTING);
    return ++x->n_seen <= GK_MAX_PICKLE_NODES
           || gk_fail(x->err, GK_ERR_LIMIT, node->at, "more than %u values in dicts and lists",
                      GK_MAX_PICKLE_NODES);
}

/* Items are named by their number, as those of torch's ModuleList and ParameterList. Numbers and
 * texts have no need of a name. */
static bool walk_list(file *x, const gk_pickled *list, const char *prefix, int depth)
{
    const gk_pickled *item;
    gk_pickle_iter it = {0};

    for (uint64_t i = 0; gk_pickle_next(list, &it, &item); i++) {
        if (!is_within(x, item, depth))
            return false;
        if (item->kind != GK_PICKLE_CALL && !is_dict(item) && !is_list(item))
            continue;
        const char *name = gk_arena_printf(x->t->c->arena, x->err, "%s%s%" PRIu64, prefix,
                                           prefix[0] == '\0' ? "" : ".", i);
        if (name == NULL || !read_value(x, item, name, depth))
            return false;
    }
    return true;
}

static bool walk(file *x, const gk_pickled *dict, const char *prefix, int depth)
{
    const gk_pickled *key, *value;
    gk_pickle_iter it = {0};

    while (gk_pickle_next(dict, &it, &key) && gk_pickle_next(dict, &it, &value)) {
        if (!is_within(x, value, depth))
            return false;
        const char *name = name_of(x, prefix, key);
        if (name == NULL || !read_value(x, value, name, depth))
            return false;
    }
    return true;
}

/* A dict of dotted names is the state dict itself, not a part of one. */
static bool is_flat(const gk_pickled *dict)
{
    const gk_pickled *key, *value;
    gk_pickle_iter it = {0};

    while (gk_pickle_next(dict, &it, &key) && gk_pickle_next(dict, &it, &value))
        if (has_text(key) && strchr(key->text, '.') != NULL && is_rebuild(value))
            return true;
    return false;
}

/* Training programs put the state dict beside other things. */
static const gk_pickled *unwrap(file *x, const gk_pickled *root)
{
    static const char *const keys[] = {"state_dict", "model_state_dict", "model", "module"};

    for (size_t i = 0; is_dict(root) && i < sizeof keys / sizeof keys[0]; i++) {
        const gk_pickled *inner = gk_pickle_get(root, keys[i]);
        if (inner == NULL || !is_dict(inner) || !is_flat(inner))
            continue;
        if (!gk_findings_addf(&x->t->c->findings, "pickle", GK_NOTE, x->f->name, NULL, x->err,
                              "the weights are \"%s\" of it; what stands beside is not read",
                              keys[i]))
            return NULL;
        return inner;
    }
    return root;
}

/* The file's name without its ending, for a tensor that was saved alone. */
static char *lone_name(const file *x)
{
    const char *name = gk_path_base(x->f->name), *dot = strrchr(name, '.');

    return gk_arena_strn(x->t->c->arena, name, dot != NULL ? (uint64_t)(dot - name) : strlen(name),
                         x->err);
}

static bool read_root(file *x, const gk_pickled *root)
{
    const uint64_t first = x->t->n;

    root = unwrap(x, root);
    if (root == NULL)
        return false;
    if (is_rebuild(root)) {
        const char *name = lone_name(x);
        return name != NULL && read_tensor(x, root, name);
    }
    if (!is_dict(root) && !is_list(root))
        return unlike(x, root, "a state dict");
    return (is_dict(root) ? walk : walk_list)(x, root, "", 0)
           && (x->t->n > first
               || gk_fail(x->err, GK_ERR_FORMAT, root->at, "no tensor in the state dict"));
}

/* ---- the file ------------------------------------------------------------------------ */

bool gk_torch_is_old(const unsigned char *head, uint64_t n)
{
    /* PROTO 2, LONG1 of the number that torch.save put first */
    static const unsigned char magic[] = {0x80, 2,    0x8A, 10,   0x6C, 0xFC, 0x9C,
                                          0x46, 0xF9, 0x20, 0x6A, 0xA8, 0x50, 0x19};

    return n >= sizeof magic && memcmp(head, magic, sizeof magic) == 0;
}

static bool check_head(const file *x)
{
    unsigned char head[16] = {0};
    const uint64_t n = gk_min(sizeof head, x->f->size);

    if (!gk_file_read(x->f, 0, head, n, x->err))
        return false;
    if (gk_zip_begins(head, n))
        return true;
    if (gk_torch_is_old(head, n))
        return gk_fail(x->err, GK_ERR_UNSUPPORTED, 0,
                       "the format of PyTorch before 1.6, which is no zip file: load and save it "
                       "with a newer one");
    return gk_fail(x->err, GK_ERR_FORMAT, 0, "not a zip file, as PyTorch writes them%s",
                   n >= 6 && memcmp(head, "7z\xBC\xAF\x27\x1C", 6) == 0 ? ": a 7z archive" : "");
}

/* The one member ROOT/data.pkl. */
static const gk_zip_member *find_pickle(file *x)
{
    const gk_zip_member *found = NULL;

    for (uint64_t i = 0; i < x->zip.n; i++) {
        const gk_zip_member *m = &x->zip.member[i];
        const char *slash = strchr(m->name, '/');
        if (slash == NULL || strcmp(slash, "/data.pkl") != 0)
            continue;
        if (found != NULL) {
            gk_fail(x->err, GK_ERR_FORMAT, m->off, "two members are a data.pkl");
            return NULL;
        }
        found = m;
        x->root = m->name;
        x->root_len = (int)(slash - m->name);
    }
    if (found == NULL)
        gk_fail(x->err, GK_ERR_FORMAT, GK_NO_OFF, "no data.pkl in it: a zip, but not of PyTorch");
    return found;
}

static bool check_order(const file *x)
{
    char text[4] = "";
    const char *name = gk_arena_printf(x->arena, x->err, "%.*s/byteorder", x->root_len, x->root);
    const gk_zip_member *m = name == NULL ? NULL : gk_zip_find(&x->zip, name);

    if (name == NULL)
        return false;
    if (m == NULL || m->bytes < 3)
        return true; /* older files have none, and are little-endian */
    if (!gk_file_read(x->f, m->off, text, 3, x->err))
        return false;
    return strcmp(text, "big") != 0
           || gk_fail(x->err, GK_ERR_UNSUPPORTED, m->off,
                      "big-endian storages, only little-endian ones are read");
}

/* The pickle is read now, so its checksum is compared now; those of storages later. */
static bool check_pickle(const file *x, const gk_zip_member *m)
{
    void *buf = gk_alloc(CRC_BYTES, 1, x->err);
    uint32_t crc = 0;
    const bool ok = buf != NULL
                    && gk_crc_file(x->f, m->off, m->bytes, buf, CRC_BYTES, &crc, x->err);

    gk_free(buf);
    return ok
           && (crc == m->crc
               || gk_fail(x->err, GK_ERR_FORMAT, m->off,
                          "CRC of data.pkl is %08" PRIx32 ", the file says %08" PRIx32, crc,
                          m->crc));
}

static bool keep_checksums(file *x)
{
    gk_input *in = &x->t->c->input[x->input];
    gk_crc *crc = gk_arena_alloc(x->t->c->arena, x->zip.n, sizeof *crc, x->err);

    for (uint64_t i = 0; crc != NULL && i < x->zip.n; i++) {
        const gk_zip_member *m = &x->zip.member[i];
        crc[i] = (gk_crc){.name = gk_arena_str(x->t->c->arena, m->name, x->err),
                          .off = m->off,
                          .bytes = m->bytes,
                          .crc = m->crc};
        if (crc[i].name == NULL)
            return false;
    }
    in->crc = crc;
    in->n_crcs = crc == NULL ? 0 : x->zip.n;
    return crc != NULL;
}

bool gk_torch_read(gk_torch *t, uint64_t input, gk_err *err)
{
    file x = {.t = t, .input = input, .f = t->c->input[input].file, .err = err};
    const uint64_t n_stored = t->c->n_stored, n_views = t->n;
    const gk_zip_member *m = NULL;

    x.arena = gk_arena_new(err);
    bool ok = x.arena != NULL && check_head(&x) && gk_zip_read(x.arena, x.f, &x.zip, err);
    if (ok)
        m = find_pickle(&x);
    if (m != NULL && check_order(&x) && check_pickle(&x, m)) {
        const gk_pickle_input in = {.file = x.f,
                                    .begin = m->off,
                                    .end = m->off + m->bytes,
                                    .dialect = GK_PICKLE_TORCH,
                                    .known = known,
                                    .findings = &t->c->findings};
        const gk_pickled *root = gk_pickle_read(x.arena, &in, err);
        ok = root != NULL && read_root(&x, root) && keep_checksums(&x);
    } else {
        ok = false;
    }
    if (!ok) {
        gk_fail_at(err, x.f->name, NULL);
        t->c->n_stored = n_stored;
        t->n = n_views;
    }
    gk_arena_free(x.arena);
    return ok;
}
