/* formats/gguf_write.h - GGUF files to be: keys, and where every tensor will lie.
 *
 * Version 3, alignment 32. Tensors lie contiguously in the order of their infos. Several
 * files are PREFIX-00001-of-0000N.gguf, each a GGUF of its own tensors; the first holds the
 * keys, all of them split.no, split.count and split.tensors.count.
 * Source: ggml-org/ggml docs/gguf.md, src/gguf.cpp @d99724f; llama.cpp's gguf-split. */
#ifndef GK_FORMATS_GGUF_WRITE_H
#define GK_FORMATS_GGUF_WRITE_H

#include "formats/gguf.h"
#include "formats/safetensors_write.h"

/* Keys with their values, as they will stand in the file. Zero-initialise; failures are
 * sticky in text. */
typedef struct gk_gguf_keys {
    gk_text  text;
    uint64_t n;
} gk_gguf_keys;

void gk_gguf_keys_free(gk_gguf_keys *k);

void gk_gguf_put_u16(gk_gguf_keys *k, const char *key, uint16_t value);
void gk_gguf_put_u32(gk_gguf_keys *k, const char *key, uint64_t value);
void gk_gguf_put_i32(gk_gguf_keys *k, const char *key, int64_t value);
void gk_gguf_put_f32(gk_gguf_keys *k, const char *key, double value);
void gk_gguf_put_bool(gk_gguf_keys *k, const char *key, bool value);
void gk_gguf_put_string(gk_gguf_keys *k, const char *key, const char *value);

/* Begins an array of n elements, which the caller adds next. */
void gk_gguf_put_array(gk_gguf_keys *k, const char *key, gk_gguf_type elem, uint64_t n);
void gk_gguf_add_string(gk_gguf_keys *k, const void *bytes, uint64_t len);
void gk_gguf_add_u32(gk_gguf_keys *k, uint32_t value);
void gk_gguf_add_f32(gk_gguf_keys *k, float value);

/* Copies a value of another file, byte for byte. False: IO, NOMEM. */
bool gk_gguf_put_value(gk_gguf_keys *k, const gk_gguf *from, const gk_gguf_value *v, gk_err *err);

/* Lays n entries out over files of at most max_bytes of tensor data (0: one file) called
 * prefix; fills shard and off of each and the headers, in a. False: UNSUPPORTED for a dtype
 * that ggml does not have, LIMIT for a name of 64 bytes or more than 4 dimensions, NOMEM. */
bool gk_gguf_layout(gk_arena *a, gk_entry *entry, uint64_t n, const gk_gguf_keys *keys,
                    const char *prefix, uint64_t max_bytes, gk_shards *out, gk_err *err);

#endif
