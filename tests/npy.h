/* tests/npy.h - reads the arrays of the goldens (NumPy format 1.0, little-endian). */
#ifndef GK_TESTS_NPY_H
#define GK_TESTS_NPY_H

#include <stdlib.h>

#include "tests/test.h"

#include "formats/io.h"

typedef struct npy {
    char    *file;
    double  *value; /* [n], of whatever dtype */
    uint64_t n;
} npy;

static inline npy npy_load(const char *path)
{
    npy a = {0};
    gk_err err = {0};
    uint64_t len;
    a.file = gk_file_slurp(path, 1 << 26, &len, &err);
    assert_ok(a.file != NULL && len > 10, err);
    assert_memory_equal(a.file, "\x93NUMPY\x01", 7);
    const uint64_t begin = 10 + (uint64_t)(unsigned char)a.file[8]
                           + 256 * (uint64_t)(unsigned char)a.file[9];
    const char *type = strstr(a.file + 10, "'descr': '");
    assert_non_null(type);
    type += 11; /* behind '<' or '|' */
    const uint64_t size = (uint64_t)(type[1] - '0');
    a.n = (len - begin) / size;
    a.value = malloc(a.n * sizeof *a.value);
    for (uint64_t i = 0; i < a.n; i++) {
        const char *at = a.file + begin + i * size;
        float f;
        if (type[0] == 'f' && size == 8)
            memcpy(&a.value[i], at, 8);
        else if (type[0] == 'f' && size == 4) {
            memcpy(&f, at, 4);
            a.value[i] = (double)f;
        } else if (type[0] == 'u' && size == 1)
            a.value[i] = (double)(unsigned char)*at;
        else
            fail_msg("%s: dtype not handled", path);
    }
    return a;
}

static inline void npy_free(npy *a)
{
    gk_free(a->file);
    free(a->value);
}

#endif
