/* formats/pickle_array.c - the arrays of numpy and JAX in a pickle, and Grok-1's pair of them.
 *
 *   REDUCE(numpy.core.multiarray._reconstruct, (ndarray, (0,), b"b"))
 *     BUILD (1, shape, dtype, column-major, bytes)              protocols 2 to 4
 *   REDUCE(numpy.core.numeric._frombuffer, (bytes, dtype, shape, "C" or "F"))  protocol 5
 *   REDUCE(numpy.core.multiarray.scalar, (dtype, bytes))
 *   REDUCE(jax._src.array._reconstruct_array, (_reconstruct, its arguments, the state, ..))
 *   dtype: REDUCE(numpy.dtype, ("f4" or a class, False, True))
 *     BUILD (3, "<", None, None, None, -1, -1, 0)
 *   NEWOBJ(__main__.QuantizedWeight8bit, ()) BUILD {"weight": array, "scales": array}
 *
 * Refused: other byte orders than little, types of Python objects, records, any call that
 * has not exactly one of these shapes. Sources: numpy numpy/core/src/multiarray/methods.c
 * (array_reduce_ex) and descriptor.c (arraydescr_reduce) of 1.26; google/jax
 * jax/_src/array.py; xai-org/grok-1 model.py @7050ed20. */
#include <inttypes.h>
#include <string.h>

#include "formats/checked.h"
#include "formats/pickle.h"

#define NUMPY "numpy*" /* numpy.core, of numpy 2 numpy._core */

const gk_pickle_global gk_pickle_array_globals[] = {
    {"numpy", "ndarray"},
    {"numpy", "dtype"},
    {"numpy.core.multiarray", "_reconstruct"},
    {"numpy._core.multiarray", "_reconstruct"},
    {"numpy.core.multiarray", "scalar"},
    {"numpy._core.multiarray", "scalar"},
    {"numpy.core.numeric", "_frombuffer"},
    {"numpy._core.numeric", "_frombuffer"},
    {"jax._src.array", "_reconstruct_array"},
    {"_codecs", "encode"},
    {"__main__", "QuantizedWeight8bit"},
    {"model", "QuantizedWeight8bit"},
    {"ml_dtypes*", "bfloat16"},
    {"jax*", "bfloat16"},
    {"tensorflow*", "bfloat16"},
    {"ml_dtypes*", "float8_e4m3fn"},
    {"ml_dtypes*", "float8_e4m3fnuz"},
    {"ml_dtypes*", "float8_e5m2"},
    {"ml_dtypes*", "float8_e5m2fnuz"},
    {"ml_dtypes*", "float8_e8m0fnu"},
    {NULL, NULL},
};

/* numpy's codes without the byte order; types of others come as a class of that name. */
static const struct {
    const char *name;
    gk_dtype dtype;
} types[] = {
    {"b1", GK_BOOL},
    {"i1", GK_I8},
    {"u1", GK_U8},
    {"i2", GK_I16},
    {"u2", GK_U16},
    {"f2", GK_F16},
    {"i4", GK_I32},
    {"u4", GK_U32},
    {"f4", GK_F32},
    {"i8", GK_I64},
    {"u8", GK_U64},
    {"f8", GK_F64},
    {"c8", GK_C64},
    {"bfloat16", GK_BF16},
    {"float8_e4m3fn", GK_F8_E4M3},
    {"float8_e4m3fnuz", GK_F8_E4M3FNUZ},
    {"float8_e5m2", GK_F8_E5M2},
    {"float8_e5m2fnuz", GK_F8_E5M2FNUZ},
    {"float8_e8m0fnu", GK_F8_E8M0},
};

/* False: what stands at the node is not what its place asks for. */
static bool unlike(const gk_pickled *node, const char *wanted, gk_err *err)
{
    char says[GK_PICKLE_SAYS];

    gk_pickle_say(node, says);
    return gk_fail(err, GK_ERR_FORMAT, node != NULL ? node->at : GK_NO_OFF,
                   "expected %s, found %.300s", wanted, says);
}

/* ---- dtype ----------------------------------------------------------------------- */

static bool is_none(const gk_pickled *node) { return node != NULL && node->kind == GK_PICKLE_NONE; }

static bool is_integer(const gk_pickled *node, int64_t value)
{
    return node != NULL && node->kind == GK_PICKLE_INT && node->integer == value;
}

/* Text, or the bytes that Python 2 wrote for it; at most 15 of them. */
static bool is_text(const gk_pickled *node)
{
    return node != NULL && node->kind == GK_PICKLE_TEXT && node->text != NULL;
}

/* (3, order, subdtype, names, fields, size, alignment, flags) */
static bool check_dtype_state(const gk_pickled *call, gk_dtype dtype, gk_err *err)
{
    const gk_pickled *state = call->state, *order = gk_pickle_item(state, 1);
    const int64_t size = gk_dtype_get(dtype)->block_bytes;

    if (state == NULL)
        return true; /* little-endian, as this machine */
    if (state->kind != GK_PICKLE_TUPLE || state->n_items != 8
        || !is_integer(gk_pickle_item(state, 0), 3))
        return gk_fail(err, GK_ERR_FORMAT, state->at,
                       "the state of a dtype is no tuple of 8 items that begins with 3");
    if (!is_text(order) || strlen(order->text) != 1 || strchr("<|=>", order->text[0]) == NULL)
        return unlike(order, "the byte order of a dtype", err);
    if (order->text[0] == '>')
        return gk_fail(err, GK_ERR_UNSUPPORTED, order->at,
                       "a big-endian dtype (byte order '>'), only little-endian is read");
    if (!is_none(gk_pickle_item(state, 2)) || !is_none(gk_pickle_item(state, 3))
        || !is_none(gk_pickle_item(state, 4)))
        return gk_fail(err, GK_ERR_UNSUPPORTED, state->at, "a dtype with fields or sub-arrays");
    if (!is_integer(gk_pickle_item(state, 5), -1) && !is_integer(gk_pickle_item(state, 5), size))
        return gk_fail(err, GK_ERR_FORMAT, state->at,
                       "the state of the dtype gives another size than %" PRId64 " bytes", size);
    return true;
}

static bool dtype_of(const gk_pickled *call, gk_dtype *out, gk_err *err)
{
    if (!gk_pickle_is_call(call, "numpy", "dtype") || call->n_items != 0)
        return unlike(call, "a numpy dtype", err);
    const gk_pickled *code = gk_pickle_item(call->args, 0);
    const char *name = is_text(code) ? code->text : NULL;
    if (code != NULL && code->kind == GK_PICKLE_GLOBAL && code->flag)
        name = code->name;
    if (name == NULL)
        return unlike(code, "the code of a dtype", err);
    if (call->args->n_items > 3)
        return gk_fail(err, GK_ERR_FORMAT, call->at, "a dtype of more than three arguments");
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        /* a name of two characters is a code and comes as text */
        if (strcmp(types[i].name, name) != 0 || is_text(code) != (strlen(name) == 2))
            continue;
        *out = types[i].dtype;
        return check_dtype_state(call, *out, err);
    }
    return gk_fail(err, GK_ERR_UNSUPPORTED, code->at,
                   "the dtype '%.60s' is not read (Python objects, records and text are no "
                   "weights)",
                   name);
}

/* ---- shape and bytes --------------------------------------------------------------- */

static bool shape_of(const gk_pickled *shape, bool fortran, gk_pickled_array *out, gk_err *err)
{
    const gk_dtype_row *type = gk_dtype_get(out->dtype);
    uint64_t elems = 1, bytes = type->block_bytes;

    if (shape == NULL || shape->kind != GK_PICKLE_TUPLE)
        return unlike(shape, "the shape of an array", err);
    if (shape->n_items > GK_MAX_DIMS)
        return gk_fail(err, GK_ERR_LIMIT, shape->at, "more than %d dimensions", GK_MAX_DIMS);
    out->ndim = (int)shape->n_items;
    for (int i = 0; i < out->ndim; i++) {
        const gk_pickled *dim = gk_pickle_item(shape, (uint64_t)i);
        if (!gk_pickle_as_uint(dim, &out->dim[i]))
            return gk_fail(err, GK_ERR_FORMAT, dim->at,
                           "dimension %d of the shape is no integer of 0 or more", i);
        if (!gk_mul(bytes, out->dim[i], &bytes))
            return gk_fail(err, GK_ERR_FORMAT, dim->at,
                           "the size of the shape overflows 64 bits at dimension %d", i);
    }
    if (bytes != out->bytes)
        return gk_fail(err, GK_ERR_FORMAT, shape->at,
                       "its shape needs %" PRIu64 " bytes of %s, the pickle holds %" PRIu64, bytes,
                       type->name, out->bytes);
    for (int k = 0; k < out->ndim; k++) { /* no product wraps: bytes did not, unless a 0 */
        const int i = fortran ? k : out->ndim - 1 - k;
        out->stride[i] = elems;
        elems *= out->dim[i];
    }
    return true;
}

/* The range of the payload. Protocol 2 has no bytes: Python 3 writes them as text, one
 * character for each; a text of ASCII is what it stands for. */
static bool bytes_of(const gk_pickled *node, uint64_t wanted, gk_pickled_array *out, gk_err *err)
{
    const gk_pickled *data = node;

    if (gk_pickle_is_call(node, "_codecs", "encode"))
        data = gk_pickle_item(node->args, 0);
    if (data == NULL || (data->kind != GK_PICKLE_BYTES && data->kind != GK_PICKLE_TEXT)
        || (data == node && data->kind != GK_PICKLE_BYTES))
        return unlike(node, "the bytes of an array", err);
    out->off = data->off;
    out->bytes = data->len;
    if (data == node || data->len == wanted)
        return true;
    if (data->len < wanted || data->len / 2 > wanted)
        return gk_fail(err, GK_ERR_FORMAT, data->at,
                       "%" PRIu64 " bytes of text for an array of %" PRIu64 " bytes", data->len,
                       wanted);
    out->bytes = wanted;
    out->text_bytes = data->len;
    return true;
}

/* What the shape asks for; 0 when it overflows, which shape_of() says. */
static uint64_t wanted_bytes(const gk_pickled *shape, gk_dtype dtype)
{
    uint64_t bytes = gk_dtype_get(dtype)->block_bytes, dim;
    const uint64_t n = shape != NULL && shape->kind == GK_PICKLE_TUPLE ? shape->n_items : 0;

    for (uint64_t i = 0; i < n; i++)
        if (!gk_pickle_as_uint(gk_pickle_item(shape, i), &dim) || !gk_mul(bytes, dim, &bytes))
            return 0;
    return bytes;
}

/* ---- the calls ----------------------------------------------------------------------- */

static bool is_reconstruct(const gk_pickled *callable, const gk_pickled *args)
{
    return gk_pickle_is_global(callable, NUMPY, "_reconstruct") && callable->flag
           && gk_pickle_is_global(gk_pickle_item(args, 0), "numpy", "ndarray");
}

/* (1, shape, dtype, column-major, bytes) */
static bool from_state(const gk_pickled *state, gk_pickled_array *out, gk_err *err)
{
    const gk_pickled *shape = gk_pickle_item(state, 1), *fortran = gk_pickle_item(state, 3);

    if (state == NULL || state->kind != GK_PICKLE_TUPLE || state->n_items != 5
        || !is_integer(gk_pickle_item(state, 0), 1))
        return gk_fail(err, GK_ERR_FORMAT, state != NULL ? state->at : GK_NO_OFF,
                       "the state of an array is no tuple of 5 items that begins with 1");
    if (fortran->kind != GK_PICKLE_BOOL)
        return unlike(fortran, "whether the array is column-major", err);
    return dtype_of(gk_pickle_item(state, 2), &out->dtype, err)
           && bytes_of(gk_pickle_item(state, 4), wanted_bytes(shape, out->dtype), out, err)
           && shape_of(shape, fortran->integer != 0, out, err);
}

/* (bytes, dtype, shape, order) */
static bool from_buffer(const gk_pickled *args, gk_pickled_array *out, gk_err *err)
{
    const gk_pickled *shape = gk_pickle_item(args, 2), *order = gk_pickle_item(args, 3);

    if (args->n_items != 4 || !is_text(order)
        || (strcmp(order->text, "C") != 0 && strcmp(order->text, "F") != 0))
        return gk_fail(err, GK_ERR_FORMAT, args->at,
                       "the arguments of _frombuffer are not bytes, dtype, shape and \"C\" or "
                       "\"F\"");
    return dtype_of(gk_pickle_item(args, 1), &out->dtype, err)
           && bytes_of(gk_pickle_item(args, 0), wanted_bytes(shape, out->dtype), out, err)
           && shape_of(shape, order->text[0] == 'F', out, err);
}

static bool from_scalar(const gk_pickled *args, gk_pickled_array *out, gk_err *err)
{
    static const gk_pickled no_dims = {.kind = GK_PICKLE_TUPLE};

    if (args->n_items != 2)
        return gk_fail(err, GK_ERR_FORMAT, args->at, "a numpy scalar is made of dtype and bytes");
    return dtype_of(gk_pickle_item(args, 0), &out->dtype, err)
           && bytes_of(gk_pickle_item(args, 1), wanted_bytes(&no_dims, out->dtype), out, err)
           && shape_of(&no_dims, false, out, err);
}

bool gk_pickled_array_of(const gk_pickled *node, gk_pickled_array *out, gk_err *err)
{
    *out = (gk_pickled_array){.ndim = 0};
    if (node == NULL || node->kind != GK_PICKLE_CALL || node->n_items != 0)
        return unlike(node, "an array", err);
    const gk_pickled *call = node->callable, *args = node->args;
    if (is_reconstruct(call, args))
        return from_state(node->state, out, err);
    if (call->kind != GK_PICKLE_GLOBAL || !call->flag || node->state != NULL)
        return unlike(node, "an array", err);
    if (gk_pickle_is_global(call, NUMPY, "_frombuffer"))
        return from_buffer(args, out, err);
    if (gk_pickle_is_global(call, NUMPY, "scalar"))
        return from_scalar(args, out, err);
    if (gk_pickle_is_global(call, "jax._src.array", "_reconstruct_array")
        && is_reconstruct(gk_pickle_item(args, 0), gk_pickle_item(args, 1)))
        return from_state(gk_pickle_item(args, 2), out, err);
    return unlike(node, "an array", err);
}

bool gk_pickled_quantized(const gk_pickled *node, const gk_pickled **weight,
                          const gk_pickled **scales)
{
    if (node == NULL || node->kind != GK_PICKLE_CALL || node->callable->kind != GK_PICKLE_GLOBAL
        || !node->callable->flag || strcmp(node->callable->name, "QuantizedWeight8bit") != 0)
        return false;
    const bool has_fields = node->state != NULL && node->state->kind == GK_PICKLE_DICT;
    *weight = has_fields ? gk_pickle_get(node->state, "weight") : NULL;
    *scales = has_fields ? gk_pickle_get(node->state, "scales") : NULL;
    return true;
}
