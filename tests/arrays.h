/* tests/arrays.h - tensors of small files against what the software that wrote them says. */
#ifndef GK_TESTS_ARRAYS_H
#define GK_TESTS_ARRAYS_H

#include "tests/disk.h"

#include "formats/catalog.h"
#include "formats/hash.h"
#include "verify/checks.h"

/* Opens what must open, without a finding worse than a note. */
static inline gk_catalog *open_sound(const char *path)
{
    gk_err err = {0};
    gk_catalog *c = gk_catalog_open(path, &err);

    assert_ok(c != NULL, err);
    for (uint64_t i = 0; i < c->findings.n; i++)
        if (c->findings.row[i].severity == GK_BAD)
            fail_msg("%s: %s: %s", path, c->findings.row[i].tensor, c->findings.row[i].text);
    return c;
}

/* All elements of part i of a tensor, row-major; free it. */
static inline unsigned char *read_part(const gk_catalog *c, const gk_tensor *t, int i, size_t *n)
{
    gk_err err = {0};
    gk_part_room room;
    const gk_part *p = gk_part_of(t, i, &room);

    *n = (size_t)(p->n_rows * gk_row_bytes(p->dtype, p->n_cols));
    unsigned char *bytes = malloc(*n + 1);
    assert_non_null(bytes);
    assert_ok(gk_read_part(c, t, i, 0, p->n_rows, 0, p->n_cols, bytes, &err), err);
    return bytes;
}

/* A tensor has this dtype, this shape ("2x3", "-" for none) and these values. */
static inline void assert_tensor(const gk_catalog *c, const char *name, const char *dtype,
                                 const char *shape, const char *sha256)
{
    char text[100] = "-", hex[65];
    gk_err err = {0};
    size_t n;
    const gk_tensor *t = gk_catalog_find(c, name);

    if (t == NULL)
        fail_msg("%s: no tensor %s", c->path, name);
    for (int i = 0, at = 0; i < t->ndim; i++)
        at += snprintf(text + at, sizeof text - (size_t)at, "%s%d", i > 0 ? "x" : "",
                       (int)t->dim[i]);
    assert_string_equal(text, shape);
    assert_string_equal(gk_dtype_get((gk_dtype)t->dtype)->name, dtype);
    unsigned char *bytes = read_part(c, t, 0, &n);
    assert_ok(gk_hash_bytes(bytes, n, hex, &err), err);
    if (strcmp(hex, sha256) != 0)
        fail_msg("%s: %s: the values differ", c->path, name);
    free(bytes);
}

/* Opens and expects a bad finding of that class whose text, file and tensor hold these. */
static inline void expect_bad(const char *path, gk_err_code code, const char *file,
                              const char *tensor, const char *word)
{
    gk_err err = {0};
    gk_catalog *c = gk_catalog_open(path, &err);

    assert_ok(c != NULL, err);
    for (uint64_t i = 0; i < c->findings.n; i++) {
        const gk_finding *f = &c->findings.row[i];
        if (f->severity == GK_BAD && f->code == code && strstr(f->file, file) != NULL
            && strstr(f->tensor, tensor) != NULL && strstr(f->text, word) != NULL) {
            gk_catalog_close(c);
            return;
        }
    }
    for (uint64_t i = 0; i < c->findings.n && i < 8; i++)
        print_message("  %d | %s | %s | %s\n", c->findings.row[i].code, c->findings.row[i].file,
                      c->findings.row[i].tensor, c->findings.row[i].text);
    fail_msg("%s: no bad finding about %s %s: %s", path, file, tensor, word);
}

#endif
