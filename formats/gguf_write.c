/* formats/gguf_write.c - keys and headers of GGUF files. */
#include "formats/gguf_write.h"

#include <inttypes.h>
#include <string.h>

#include "formats/checked.h"

#define VERSION        3u
#define ALIGNMENT      ((uint64_t)GK_MAX_ALIGN)
#define MAX_NAME_BYTES 63u /* ggml holds names in 64 bytes, with a NUL */
#define MAX_GGML_DIMS  4

/* ---- values ---------------------------------------------------------------------- */

static void add_u16(gk_text *t, uint16_t v)
{
    const unsigned char bytes[2] = {(unsigned char)v, (unsigned char)(v >> 8)};

    gk_text_add(t, bytes, 2);
}

static void add_u32(gk_text *t, uint32_t v)
{
    add_u16(t, (uint16_t)v);
    add_u16(t, (uint16_t)(v >> 16));
}

static void add_u64(gk_text *t, uint64_t v)
{
    add_u32(t, (uint32_t)v);
    add_u32(t, (uint32_t)(v >> 32));
}

static void add_f32(gk_text *t, float v)
{
    uint32_t bits;

    memcpy(&bits, &v, sizeof bits);
    add_u32(t, bits);
}

static void add_string(gk_text *t, const void *bytes, uint64_t len)
{
    add_u64(t, len);
    gk_text_add(t, bytes, len);
}

static void put_key(gk_gguf_keys *k, const char *key, gk_gguf_type type)
{
    add_string(&k->text, key, strlen(key));
    add_u32(&k->text, (uint32_t)type);
    k->n++;
}

void gk_gguf_keys_free(gk_gguf_keys *k)
{
    gk_text_free(&k->text);
    k->n = 0;
}

void gk_gguf_put_u16(gk_gguf_keys *k, const char *key, uint16_t value)
{
    put_key(k, key, GK_GGUF_U16);
    add_u16(&k->text, value);
}

void gk_gguf_put_u32(gk_gguf_keys *k, const char *key, uint64_t value)
{
    put_key(k, key, GK_GGUF_U32);
    add_u32(&k->text, (uint32_t)gk_min(value, UINT32_MAX));
}

void gk_gguf_put_i32(gk_gguf_keys *k, const char *key, int64_t value)
{
    put_key(k, key, GK_GGUF_I32);
    add_u32(&k->text, (uint32_t)(int32_t)value);
}

void gk_gguf_put_f32(gk_gguf_keys *k, const char *key, double value)
{
    put_key(k, key, GK_GGUF_F32);
    add_f32(&k->text, (float)value);
}

void gk_gguf_put_bool(gk_gguf_keys *k, const char *key, bool value)
{
    put_key(k, key, GK_GGUF_BOOL);
    gk_text_char(&k->text, value ? 1 : 0);
}

void gk_gguf_put_string(gk_gguf_keys *k, const char *key, const char *value)
{
    put_key(k, key, GK_GGUF_STRING);
    add_string(&k->text, value, strlen(value));
}

void gk_gguf_put_array(gk_gguf_keys *k, const char *key, gk_gguf_type elem, uint64_t n)
{
    put_key(k, key, GK_GGUF_ARRAY);
    add_u32(&k->text, (uint32_t)elem);
    add_u64(&k->text, n);
}

void gk_gguf_add_string(gk_gguf_keys *k, const void *bytes, uint64_t len)
{
    add_string(&k->text, bytes, len);
}

void gk_gguf_add_u32(gk_gguf_keys *k, uint32_t value)
{
    add_u32(&k->text, value);
}

void gk_gguf_add_f32(gk_gguf_keys *k, float value)
{
    add_f32(&k->text, value);
}

bool gk_gguf_put_value(gk_gguf_keys *k, const gk_gguf *from, const gk_gguf_value *v, gk_err *err)
{
    void *buf = gk_alloc(gk_max(v->bytes, 1), 1, err);

    if (buf == NULL || !gk_file_read(from->file, v->off, buf, v->bytes, err)) {
        gk_free(buf);
        return false;
    }
    if (v->type == GK_GGUF_ARRAY) {
        gk_gguf_put_array(k, v->key, v->elem, v->n);
    } else {
        put_key(k, v->key, v->type);
        if (v->type == GK_GGUF_STRING)
            add_u64(&k->text, v->bytes);
    }
    gk_text_add(&k->text, buf, v->bytes);
    gk_free(buf);
    return true;
}

/* ---- files ----------------------------------------------------------------------- */

static uint64_t aligned(uint64_t n)
{
    return gk_div_up(n, ALIGNMENT) * ALIGNMENT;
}

static bool add_info(gk_text *t, const gk_entry *e, uint64_t offset, gk_err *err)
{
    uint32_t id;

    if (strlen(e->name) > MAX_NAME_BYTES || e->ndim > MAX_GGML_DIMS) {
        gk_fail(err, GK_ERR_LIMIT, GK_NO_OFF,
                "%zu bytes of name and %d dimensions, a GGUF allows %u and %d", strlen(e->name),
                e->ndim, MAX_NAME_BYTES, MAX_GGML_DIMS);
        return gk_fail_at(err, NULL, e->name);
    }
    if (!gk_gguf_type_id((gk_dtype)e->dtype, &id)) {
        gk_fail(err, GK_ERR_UNSUPPORTED, GK_NO_OFF, "a GGUF has no type for %s",
                gk_dtype_get((gk_dtype)e->dtype)->name);
        return gk_fail_at(err, NULL, e->name);
    }
    add_string(t, e->name, strlen(e->name));
    add_u32(t, (uint32_t)gk_max(e->ndim, 1));
    if (e->ndim == 0)
        add_u64(t, 1);
    for (int i = e->ndim; i-- > 0;) /* innermost first */
        add_u64(t, e->dim[i]);
    add_u32(t, id);
    add_u64(t, offset);
    return true;
}

/* The header of the file whose entries are entry[first .. last). */
static bool build_file(gk_arena *a, gk_entry *entry, uint64_t first, uint64_t last, uint64_t n,
                       const gk_gguf_keys *keys, gk_shards *out, uint64_t number, gk_err *err)
{
    gk_shard *shard = &out->shard[number];
    gk_gguf_keys own = {0};
    gk_text t = {0};
    uint64_t at = 0;
    bool ok = true;

    if (number == 0) {
        gk_text_add(&own.text, keys->text.data, keys->text.len);
        own.text.failed |= keys->text.failed;
        own.n = keys->n;
    }
    if (out->n > 1) {
        gk_gguf_put_u16(&own, "split.no", (uint16_t)number);
        gk_gguf_put_u16(&own, "split.count", (uint16_t)out->n);
        gk_gguf_put_i32(&own, "split.tensors.count", (int64_t)n);
    }
    gk_text_add(&t, "GGUF", 4);
    add_u32(&t, VERSION);
    add_u64(&t, last - first);
    add_u64(&t, own.n);
    gk_text_add(&t, own.text.data, own.text.len);
    t.failed |= own.text.failed;
    for (uint64_t i = first; ok && i < last; i++) {
        ok = add_info(&t, &entry[i], at, err);
        at += aligned(entry[i].bytes);
    }
    while (t.len % ALIGNMENT != 0 && !t.failed)
        gk_text_char(&t, '\0');
    ok = ok && gk_text_ok(&t, err);
    if (ok) {
        char *copy = gk_arena_alloc(a, t.len, 1, err);
        if (copy != NULL)
            memcpy(copy, t.data, (size_t)t.len);
        shard->header = copy;
        shard->header_bytes = t.len;
        shard->bytes = t.len + at;
        ok = copy != NULL;
    }
    at = t.len;
    for (uint64_t i = first; i < last; i++) {
        entry[i].off = at;
        at += aligned(entry[i].bytes);
    }
    gk_text_free(&t);
    gk_gguf_keys_free(&own);
    return ok;
}

bool gk_gguf_layout(gk_arena *a, gk_entry *entry, uint64_t n, const gk_gguf_keys *keys,
                    const char *prefix, uint64_t max_bytes, gk_shards *out, gk_err *err)
{
    uint64_t first = 0, last = 0;

    *out = (gk_shards){.n = gk_shards_choose(entry, n, max_bytes > 0 ? max_bytes : UINT64_MAX),
                       .alignment = ALIGNMENT};
    if (out->n > UINT16_MAX)
        return gk_fail(err, GK_ERR_LIMIT, GK_NO_OFF, "%" PRIu64 " files, at most %d are allowed: "
                       "use a larger --max-shard-size", out->n, UINT16_MAX);
    out->shard = gk_arena_alloc(a, out->n, sizeof *out->shard, err);
    for (uint64_t i = 0; i < n; i++)
        if (!gk_add(out->tensor_bytes, entry[i].bytes, &out->tensor_bytes))
            return gk_fail(err, GK_ERR_LIMIT, GK_NO_OFF, "the output passes 2^64 bytes");
    for (uint64_t s = 0; out->shard != NULL && s < out->n; s++, first = last) {
        while (last < n && entry[last].shard == s)
            last++;
        out->shard[s].name
            = out->n == 1 ? gk_arena_printf(a, err, "%s.gguf", prefix)
                          : gk_arena_printf(a, err, "%s-%05" PRIu64 "-of-%05" PRIu64 ".gguf",
                                            prefix, s + 1, out->n);
        if (out->shard[s].name == NULL
            || !build_file(a, entry, first, last, n, keys, out, s, err))
            return false;
    }
    return out->shard != NULL;
}
