/* tests/edited.h - a copy of a model of one safetensors file, whose tensors a test rewrites. */
#ifndef GK_TESTS_EDITED_H
#define GK_TESTS_EDITED_H

#include "tests/disk.h"

#include "quant/model.h"

#define EDITED_FILE "model.safetensors"

/* The bytes of a tensor in the file, read, changed and written back. */
typedef struct edited {
    const char *path; /* of the folder */
    unsigned char *file, *bytes;
    size_t size, n;
    uint64_t off, rows, cols;
} edited;

/* Opens a tensor of BF16 in the model at path. */
static inline edited edit_open(const char *path, const char *name)
{
    gk_err err = {0};
    gk_catalog *c = gk_model_open(path, &err);
    edited e = {.path = path};

    assert_ok(c != NULL, err);
    const gk_tensor *t = gk_catalog_find(c, name);
    assert_non_null(t);
    assert_non_null(t->whole);
    assert_int_equal(t->dtype, GK_BF16);
    e.off = t->whole->off;
    e.n = (size_t)gk_tensor_bytes(t);
    e.rows = gk_rows(t);
    e.cols = gk_cols(t);
    gk_catalog_close(c);
    e.file = read_bytes(path_of("%s/" EDITED_FILE, path), &e.size);
    e.bytes = e.file + e.off;
    return e;
}

static inline void edit_close(edited *e, bool write)
{
    const char *path = path_of("%s/" EDITED_FILE, e->path);

    if (write) {
        assert_int_equal(unlink(path), 0); /* it may be a link to the original */
        write_bytes(path, e->file, e->size);
    }
    free(e->file);
}

/* Adds to the exponents of all numbers that are no zero. */
static inline void edit_scale(const char *path, const char *name, int by)
{
    edited e = edit_open(path, name);

    for (size_t i = 0; i < e.n; i += 2) {
        uint16_t h;
        memcpy(&h, e.bytes + i, 2);
        h = (uint16_t)((h & 0x7FFF) != 0 ? h + by * 128 : h);
        memcpy(e.bytes + i, &h, 2);
    }
    edit_close(&e, true);
}

#endif
