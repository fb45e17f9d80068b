/* tests/gguf_bytes.h - a GGUF file as its bytes say.
 *
 * Knows nothing of the project's readers and writers, so that it can judge them. Version 3,
 * alignment 32; every offset, the padding and the end of the file are checked. */
#ifndef GK_TESTS_GGUF_BYTES_H
#define GK_TESTS_GGUF_BYTES_H

#include <openssl/sha.h>

#include "tests/disk.h"

enum { U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64 };

typedef struct gguf_tensor {
    char name[65];
    const char *type;
    uint32_t n_dims;
    uint64_t ne[4], n; /* n: bytes */
    const unsigned char *data;
} gguf_tensor;

typedef struct gguf_key {
    char key[80];
    uint32_t type;
    const unsigned char *value; /* what stands behind the type */
    uint64_t n;                 /* bytes of it                 */
} gguf_key;

typedef struct gguf_bytes {
    unsigned char *bytes;
    uint64_t size, pos, n_tensors, n_keys;
    gguf_tensor *tensor;
    gguf_key *key;
} gguf_bytes;

/* ggml.h and ggml-common.h: number, name, elements and bytes of a block */
static const struct gguf_type {
    uint32_t id, elems, bytes;
    const char *name;
} gguf_types[] = {{0, 1, 4, "F32"},       {1, 1, 2, "F16"},       {30, 1, 2, "BF16"},
                  {2, 32, 18, "Q4_0"},    {3, 32, 20, "Q4_1"},    {6, 32, 22, "Q5_0"},
                  {7, 32, 24, "Q5_1"},    {8, 32, 34, "Q8_0"},    {10, 256, 84, "Q2_K"},
                  {11, 256, 110, "Q3_K"}, {12, 256, 144, "Q4_K"}, {13, 256, 176, "Q5_K"},
                  {14, 256, 210, "Q6_K"}, {20, 32, 18, "IQ4_NL"}, {23, 256, 136, "IQ4_XS"},
                  {39, 32, 17, "MXFP4"},  {40, 64, 36, "NVFP4"},
                  /* not decoded here */
                  {9, 32, 36, "Q8_1"},      {15, 256, 292, "Q8_K"},    {16, 256, 66, "IQ2_XXS"},
                  {17, 256, 74, "IQ2_XS"},  {18, 256, 98, "IQ3_XXS"},  {19, 256, 50, "IQ1_S"},
                  {21, 256, 110, "IQ3_S"},  {22, 256, 82, "IQ2_S"},    {29, 256, 56, "IQ1_M"},
                  {34, 256, 54, "TQ1_0"},   {35, 256, 66, "TQ2_0"},    {41, 128, 18, "Q1_0"},
                  {42, 64, 18, "Q2_0"}};

static inline uint64_t take(gguf_bytes *f, int n)
{
    uint64_t v = 0;

    assert_true(f->pos + (uint64_t)n <= f->size);
    for (int i = 0; i < n; i++)
        v |= (uint64_t)f->bytes[f->pos++] << 8 * i;
    return v;
}

/* A string, cut to what out holds (NULL: passed over). */
static inline void take_text(gguf_bytes *f, char *out, size_t room)
{
    const uint64_t n = take(f, 8);

    assert_true(n <= f->size - f->pos);
    if (out != NULL) {
        assert_true(n < room);
        memcpy(out, f->bytes + f->pos, n);
        out[n] = '\0';
    }
    f->pos += n;
}

static inline void take_value(gguf_bytes *f, uint32_t type)
{
    static const int width[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};

    assert_true(type <= F64);
    if (type == STRING) {
        take_text(f, NULL, 0);
    } else if (type == ARRAY) {
        const uint32_t elem = (uint32_t)take(f, 4);
        assert_true(elem != ARRAY);
        for (uint64_t n = take(f, 8); n > 0; n--)
            take_value(f, elem);
    } else {
        take(f, width[type]);
    }
}

/* Returns the offset behind its data, which begins where the one before it ended. */
static inline uint64_t take_info(gguf_bytes *f, gguf_tensor *t, uint64_t at)
{
    uint64_t elems = 1;

    take_text(f, t->name, sizeof t->name - 1);
    t->n_dims = (uint32_t)take(f, 4);
    assert_in_range(t->n_dims, 1, 4);
    for (uint32_t i = 0; i < t->n_dims; i++)
        elems *= t->ne[i] = take(f, 8);
    const uint64_t id = take(f, 4);
    for (size_t i = 0; i < sizeof gguf_types / sizeof gguf_types[0]; i++)
        if (gguf_types[i].id == id) {
            t->type = gguf_types[i].name;
            assert_int_equal(t->ne[0] % gguf_types[i].elems, 0);
            t->n = elems / gguf_types[i].elems * gguf_types[i].bytes;
        }
    assert_non_null(t->type);
    assert_int_equal(take(f, 8), at);
    return at + (t->n + 31) / 32 * 32;
}

static inline void close_gguf(gguf_bytes *f)
{
    free(f->bytes);
    free(f->tensor);
    free(f->key);
}

/* Takes what stands before the data; returns the bytes of the data. */
static inline uint64_t take_header(gguf_bytes *f)
{
    uint64_t at = 0;

    assert_int_equal(take(f, 4), 0x46554747);
    assert_int_equal(take(f, 4), 3);
    f->n_tensors = take(f, 8);
    f->n_keys = take(f, 8);
    f->tensor = calloc(f->n_tensors + 1, sizeof *f->tensor);
    f->key = calloc(f->n_keys + 1, sizeof *f->key);
    assert_true(f->tensor != NULL && f->key != NULL);
    for (uint64_t i = 0; i < f->n_keys; i++) {
        gguf_key *k = &f->key[i];
        take_text(f, k->key, sizeof k->key);
        k->type = (uint32_t)take(f, 4);
        k->value = f->bytes + f->pos;
        take_value(f, k->type);
        k->n = (uint64_t)(f->bytes + f->pos - k->value);
        for (uint64_t j = 0; j < i; j++)
            assert_string_not_equal(f->key[j].key, k->key);
    }
    for (uint64_t i = 0; i < f->n_tensors; i++)
        at = take_info(f, &f->tensor[i], at);
    while (f->pos % 32 != 0)
        assert_int_equal(take(f, 1), 0);
    return at;
}

static inline gguf_bytes read_gguf(const char *path)
{
    gguf_bytes f = {.pos = 0};
    size_t size;

    f.bytes = read_bytes(path, &size);
    f.size = size;
    const uint64_t data_bytes = take_header(&f);
    assert_int_equal(f.size, f.pos + data_bytes);
    for (uint64_t i = 0; i < f.n_tensors; i++) {
        f.tensor[i].data = f.bytes + f.pos;
        f.pos += f.tensor[i].n;
        while (f.pos % 32 != 0)
            assert_int_equal(take(&f, 1), 0);
    }
    return f;
}

static inline const gguf_key *find_key(const gguf_bytes *f, const char *key)
{
    for (uint64_t i = 0; i < f->n_keys; i++)
        if (strcmp(f->key[i].key, key) == 0)
            return &f->key[i];
    return NULL;
}

static inline const gguf_tensor *find_tensor(const gguf_bytes *f, const char *name)
{
    for (uint64_t i = 0; i < f->n_tensors; i++)
        if (strcmp(f->tensor[i].name, name) == 0)
            return &f->tensor[i];
    return NULL;
}

static inline void sha256_of(const gguf_tensor *t, char hex[65])
{
    unsigned char sum[SHA256_DIGEST_LENGTH];

    SHA256(t->data, t->n, sum);
    for (int i = 0; i < SHA256_DIGEST_LENGTH; i++)
        snprintf(hex + 2 * i, 3, "%02x", sum[i]);
}

#endif
