/* tests/made_vocabulary.h - catalogs of a tokenizer's files alone, and ids against goldens. */
#ifndef GK_TESTS_MADE_VOCABULARY_H
#define GK_TESTS_MADE_VOCABULARY_H

#include <stdlib.h>

#include "tests/test.h"

#include "formats/vocabulary.h"
#include "verify/tokenizer.h"

#define DATA "testdata/vocabulary/"

static gk_json *golden;
static gk_arena *arena;

/* Opens the goldens, a file of DATA; as cmocka's group setup, nonzero on failure. */
static inline int open_golden(const char *name)
{
    gk_err err = {0};
    char path[100];

    snprintf(path, sizeof path, DATA "%s", name);
    arena = gk_arena_new(&err);
    golden = gk_json_load(path, &err);
    return arena == NULL || golden == NULL;
}

static inline int close_golden(void **state)
{
    (void)state;
    gk_json_free(golden);
    gk_arena_free(arena);
    return 0;
}

typedef struct made {
    gk_extra extra[3];
    gk_catalog c;
} made;

static inline void add_bytes(made *m, const char *name, const void *bytes, uint64_t len)
{
    gk_err err = {0};
    gk_extra *e = &m->extra[m->c.n_extras++];
    *e = (gk_extra){.name = name, .bytes = len};
    e->file = gk_file_memory(arena, name, bytes, len, &err);
    assert_ok(e->file != NULL, err);
    m->c.extra = m->extra;
}

static inline void add_file(made *m, const char *name, const char *path)
{
    m->extra[m->c.n_extras++] = (gk_extra){.name = name, .path = path};
    m->c.extra = m->extra;
}

/* The *len bytes of the file at path with the first `from` replaced, and a NUL; in the arena. */
static inline const char *changed(const char *path, const char *from, const char *to, uint64_t *len)
{
    gk_err err = {0};
    uint64_t n;
    char *text = gk_file_slurp(path, 1 << 20, &n, &err);
    assert_ok(text != NULL, err);
    const char *at = memmem(text, n, from, strlen(from));
    if (at == NULL)
        fail_msg("no '%s' in %s", from, path);
    const size_t before = (size_t)(at - text), old = strlen(from), now = strlen(to);
    *len = n - old + now;
    char *out = gk_arena_alloc(arena, *len + 1, 1, &err);
    assert_ok(out != NULL, err);
    memcpy(out, text, before);
    memcpy(out + before, to, now);
    memcpy(out + before + now, at + old, n - before - old);
    gk_free(text);
    return out;
}

static inline bool same_ids(const gk_json *list, const gk_ids *ids)
{
    uint64_t id;
    bool same = ids->n == gk_json_count(list);
    for (uint64_t k = 0; same && k < ids->n; k++)
        same = gk_json_as_uint(gk_json_at(list, k), &id) && id == ids->id[k];
    return same;
}

#endif
