/* formats/safetensors_write.c - the order of entries, the headers, the index. */
#include "formats/safetensors_write.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "formats/checked.h"

#define MAX_HEADER_BYTES 100000000u

static int by_shard_dtype_name(const void *a, const void *b, void *entries)
{
    const gk_entry *e = entries;
    const gk_entry *x = &e[*(const uint64_t *)a], *y = &e[*(const uint64_t *)b];

    if (x->shard != y->shard)
        return x->shard < y->shard ? -1 : 1;
    if (x->dtype != y->dtype) /* the enum rises with the width: widest first */
        return x->dtype > y->dtype ? -1 : 1;
    return strcmp(x->name, y->name);
}

static int by_name(const void *a, const void *b, void *entries)
{
    const gk_entry *e = entries;

    return strcmp(e[*(const uint64_t *)a].name, e[*(const uint64_t *)b].name);
}

static uint64_t *sorted(gk_entry *entry, uint64_t n,
                        int (*order)(const void *, const void *, void *), gk_err *err)
{
    uint64_t *index = gk_alloc(n, sizeof *index, err);

    for (uint64_t i = 0; index != NULL && i < n; i++)
        index[i] = i;
    if (index != NULL)
        qsort_r(index, (size_t)n, sizeof *index, order, entry);
    return index;
}

uint64_t gk_shards_choose(gk_entry *entry, uint64_t n, uint64_t max_bytes)
{
    uint64_t shard = 0, used = 0;

    for (uint64_t i = 0, next; i < n; i = next) {
        uint64_t module = 0;
        for (next = i; next < n && entry[next].module == entry[i].module; next++)
            module += entry[next].bytes;
        if (used > 0 && (module > max_bytes || used > max_bytes - module)) {
            shard++;
            used = 0;
        }
        for (uint64_t k = i; k < next; k++)
            entry[k].shard = (uint32_t)shard;
        used += module;
    }
    return shard + 1;
}

static void add_entry(gk_text *t, const gk_entry *e, uint64_t begin)
{
    gk_json_open(t, e->name, '{');
    gk_json_string(t, "dtype", gk_dtype_get((gk_dtype)e->dtype)->name);
    gk_json_open(t, "shape", '[');
    for (int i = 0; i < e->ndim; i++)
        gk_json_uint(t, NULL, e->dim[i]);
    gk_json_close(t, ']');
    gk_json_open(t, "data_offsets", '[');
    gk_json_uint(t, NULL, begin);
    gk_json_uint(t, NULL, begin + e->bytes);
    gk_json_close(t, ']');
    gk_json_close(t, '}');
}

/* The header of the shard whose entries are order[0 .. n); sets their offsets. */
static bool build_shard(gk_arena *a, gk_entry *entry, const uint64_t *order, uint64_t n,
                        gk_shard *shard, gk_err *err)
{
    gk_text t = {0};
    uint64_t at = 0;

    gk_text_add(&t, "\0\0\0\0\0\0\0\0", 8);
    gk_json_open(&t, NULL, '{');
    gk_json_open(&t, "__metadata__", '{');
    gk_json_string(&t, "format", "pt");
    gk_json_close(&t, '}');
    for (uint64_t i = 0; i < n; i++) {
        add_entry(&t, &entry[order[i]], at);
        at += entry[order[i]].bytes;
    }
    gk_json_close(&t, '}');
    while (t.len % 8 != 0 && !t.failed)
        gk_text_char(&t, ' ');
    bool ok = gk_text_ok(&t, err);
    if (ok && t.len - 8 > MAX_HEADER_BYTES)
        ok = gk_fail(err, GK_ERR_LIMIT, GK_NO_OFF,
                     "a header of %" PRIu64 " bytes, at most %u are allowed: use a smaller "
                     "--max-shard-size",
                     t.len - 8, MAX_HEADER_BYTES);
    if (ok) {
        const uint64_t len = t.len - 8;
        memcpy(t.data, &len, 8);
        shard->header_bytes = t.len;
        shard->bytes = t.len + at;
        char *copy = gk_arena_alloc(a, t.len, 1, err);
        if (copy != NULL)
            memcpy(copy, t.data, (size_t)t.len);
        shard->header = copy;
        ok = copy != NULL;
    }
    at = t.len;
    for (uint64_t i = 0; i < n; i++) {
        entry[order[i]].off = at;
        at += entry[order[i]].bytes;
    }
    gk_text_free(&t);
    return ok;
}

bool gk_shards_layout(gk_arena *a, gk_entry *entry, uint64_t n, uint64_t max_bytes, gk_shards *out,
                      gk_err *err)
{
    *out = (gk_shards){.n = gk_shards_choose(entry, n, max_bytes), .alignment = 1};
    out->shard = gk_arena_alloc(a, out->n, sizeof *out->shard, err);
    uint64_t *order = sorted(entry, n, by_shard_dtype_name, err);
    bool ok = order != NULL && out->shard != NULL;

    for (uint64_t i = 0; ok && i < n; i++)
        ok = gk_add(out->tensor_bytes, entry[i].bytes, &out->tensor_bytes)
             || gk_fail(err, GK_ERR_LIMIT, GK_NO_OFF, "the output passes 2^64 bytes");
    for (uint64_t s = 0, first = 0, next; ok && s < out->n; s++, first = next) {
        for (next = first; next < n && entry[order[next]].shard == s;)
            next++;
        out->shard[s].name
            = out->n == 1 ? "model.safetensors"
                          : gk_arena_printf(a, err, "model-%05" PRIu64 "-of-%05" PRIu64
                                            ".safetensors", s + 1, out->n);
        ok = out->shard[s].name != NULL
             && build_shard(a, entry, order + first, next - first, &out->shard[s], err);
    }
    gk_free(order);
    return ok;
}

bool gk_shards_index(const gk_shards *s, const gk_entry *entry, uint64_t n, gk_text *out,
                     gk_err *err)
{
    /* sorting does not change the entries themselves */
    gk_entry *e = (gk_entry *)(uintptr_t)entry;
    uint64_t *order = sorted(e, n, by_name, err);

    if (order == NULL)
        return false;
    out->indent = 2;
    gk_json_open(out, NULL, '{');
    gk_json_open(out, "metadata", '{');
    gk_json_uint(out, "total_size", s->tensor_bytes);
    gk_json_close(out, '}');
    gk_json_open(out, "weight_map", '{');
    for (uint64_t i = 0; i < n; i++)
        gk_json_string(out, entry[order[i]].name, s->shard[entry[order[i]].shard].name);
    gk_json_close(out, '}');
    gk_json_close(out, '}');
    gk_text_char(out, '\n');
    gk_free(order);
    return gk_text_ok(out, err);
}
