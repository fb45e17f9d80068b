/* tests/same_tensors.h - two catalogs hold the same tensors. */
#ifndef GK_TESTS_SAME_TENSORS_H
#define GK_TESTS_SAME_TENSORS_H

#include <stdlib.h>

#include "tests/test.h"

#include "formats/catalog.h"

/* The same names in the same order, some, and the same bytes of their first parts. */
static inline void assert_same_tensors(const gk_catalog *c, const gk_catalog *d)
{
    gk_err err = {0};

    assert_int_equal(c->n_tensors, d->n_tensors);
    assert_true(c->n_tensors > 0);
    for (uint64_t i = 0; i < c->n_tensors; i++) {
        const gk_tensor *t = &c->tensor[i];
        gk_part_room room;
        const gk_part *p = gk_part_of(t, 0, &room);
        const uint64_t bytes = gk_tensor_bytes(t);
        void *x = malloc(bytes), *y = malloc(bytes);
        assert_string_equal(t->name, d->tensor[i].name);
        assert_ok(gk_read_part(c, t, 0, 0, p->n_rows, 0, p->n_cols, x, &err), err);
        assert_ok(gk_read_part(d, &d->tensor[i], 0, 0, p->n_rows, 0, p->n_cols, y, &err), err);
        assert_memory_equal(x, y, bytes);
        free(x);
        free(y);
    }
}

#endif
