/* tests/laid.h - safetensors files of any dtypes, laid tensor by tensor. */
#ifndef GK_TESTS_LAID_H
#define GK_TESTS_LAID_H

#include "tests/written.h"

/* A file of tensors, data and all. */
typedef struct laid {
    gk_text header;
    unsigned char data[1 << 16];
    uint64_t n;
} laid;

/* Appends a tensor, all of its bytes `fill`; returns where its data lies. */
static inline unsigned char *lay(laid *f, const char *name, const char *dtype, const char *shape,
                                 uint64_t bytes, int fill)
{
    unsigned char *at = f->data + f->n;
    assert_true(f->n + bytes <= sizeof f->data);
    memset(at, fill, bytes);
    gk_text_printf(&f->header,
                   "%c\"%s\":{\"dtype\":\"%s\",\"shape\":%s,\"data_offsets\":[%" PRIu64 ",%" PRIu64
                   "]}",
                   f->header.len == 0 ? '{' : ',', name, dtype, shape, f->n, f->n + bytes);
    f->n += bytes;
    return at;
}

static inline void write_laid(laid *f, const char *path)
{
    while (f->header.len % 8 != 7)
        gk_text_char(&f->header, ' ');
    gk_text_char(&f->header, '}');
    const uint64_t len = f->header.len;
    unsigned char *file = malloc(8 + len + f->n);
    assert_non_null(file);
    memcpy(file, &len, 8);
    memcpy(file + 8, f->header.data, len);
    memcpy(file + 8 + len, f->data, f->n);
    write_bytes(path, file, 8 + len + f->n);
    free(file);
    gk_text_free(&f->header);
}

#endif
