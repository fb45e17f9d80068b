/* formats/gguf.h - the keys of a GGUF file, read where they lie.
 *
 *   "GGUF"                 4 bytes 47 47 55 46
 *   u32 version            2 or 3
 *   u64 n_tensors
 *   u64 n_kv
 *   n_kv times             { string key; u32 type; value }
 *   n_tensors times        { string name; u32 n_dims; u64 ne[n_dims]; u32 type; u64 offset }
 *   zeros up to a multiple of general.alignment (32 when absent)
 *   the data               tensor i at the start of the data + offset
 *
 * A string is a u64 length and its bytes; an array a u32 element type, a u64 count and
 * the elements. Source: ggml-org/ggml docs/gguf.md, src/gguf.cpp @d99724f.
 *
 * Values are not loaded: a value keeps type, count and place, so an array of 131,072
 * tokens costs nothing until a cursor walks over it, window by window. */
#ifndef GK_FORMATS_GGUF_H
#define GK_FORMATS_GGUF_H

#include "formats/dtype.h"
#include "formats/io.h"
#include "formats/text.h"

#define GK_GGUF_WINDOW_BYTES 65536

typedef enum gk_gguf_type { /* the numbers stand in the file */
                            GK_GGUF_U8,
                            GK_GGUF_I8,
                            GK_GGUF_U16,
                            GK_GGUF_I16,
                            GK_GGUF_U32,
                            GK_GGUF_I32,
                            GK_GGUF_F32,
                            GK_GGUF_BOOL,
                            GK_GGUF_STRING,
                            GK_GGUF_ARRAY,
                            GK_GGUF_U64,
                            GK_GGUF_I64,
                            GK_GGUF_F64,
                            GK_N_GGUF_TYPES,
} gk_gguf_type;

typedef struct gk_gguf_value {
    const char *key;
    gk_gguf_type type, elem; /* elem: of an array's elements                        */
    uint64_t n;              /* elements of an array, bytes of a string, else 1     */
    uint64_t off, bytes;     /* of the payload in the file: text, elements, number  */
    union {                  /* of a number or bool                                 */
        uint64_t u;          /* U8 U16 U32 U64, BOOL (0 or 1)                       */
        int64_t i;           /* I8 I16 I32 I64                                      */
        double f;            /* F32 F64                                             */
    } as;
} gk_gguf_value;

/* Lives as long as its catalog. */
typedef struct gk_gguf {
    const gk_file *file;        /* the first one of a split set */
    const gk_gguf_value *value; /* in file order                */
    uint64_t n_values;
    uint32_t version;
    uint64_t alignment;
    const char *arch; /* general.architecture, "" when absent */
} gk_gguf;

/* Returns the value of that key, or NULL; g may be NULL. */
const gk_gguf_value *gk_gguf_find(const gk_gguf *g, const char *key);

/* Each returns true and the value when the key is there and fits: an integer >= 0 of any
 * width; a number of any type; a bool. */
bool gk_gguf_uint(const gk_gguf *g, const char *key, uint64_t *out);
bool gk_gguf_real(const gk_gguf *g, const char *key, double *out);
bool gk_gguf_bool(const gk_gguf *g, const char *key, bool *out);

/* Returns a NUL-terminated copy of a string in a, *len bytes (may hold NULs; len may be
 * NULL). NULL when there is no such string, err untouched; NULL and *err: LIMIT above
 * GK_MAX_STRING_BYTES (formats/scan.h), IO, NOMEM. */
char *gk_gguf_string(const gk_gguf *g, const char *key, gk_arena *a, uint64_t *len, gk_err *err);

/* Finds ggml's number of a type. False: ggml has no such type. */
bool gk_gguf_type_id(gk_dtype dtype, uint32_t *id);

/* Where a tensor stands in a GGUF of architecture arch ("grok", "llama", "qwen2"). */
typedef struct gk_gguf_place {
    const char *stored;  /* before ".weight"; behind "blk.N." when it has a layer  */
    const char *suffix;  /* ".weight" or ".bias"                                   */
    bool        in_layer, is_stacked;
    bool        is_query, is_key; /* its rows are interleaved within heads          */
    uint64_t    layer, expert;
} gk_gguf_place;

/* Takes a canonical name apart. False: the architecture has no place for it. */
bool gk_gguf_place_of(const char *arch, bool has_dense, const char *name, gk_gguf_place *out);

/* Returns the word for a type: "u32", "string". */
const char *gk_gguf_type_name(gk_gguf_type type);

/* A bounded walk over [pos, end) of a file through a window. The first error sticks:
 * every later call returns false. */
typedef struct gk_gguf_cursor {
    const gk_file *file;
    uint64_t pos, end;
    uint64_t window_off, window_len;
    unsigned char *window;
    uint64_t left; /* elements not yet taken */
    gk_gguf_type elem;
    gk_err *err;
    bool failed;
} gk_gguf_cursor;

/* Starts at the first element of an array; window is GK_GGUF_WINDOW_BYTES of scratch that
 * the caller owns. A value that is no array (or NULL) is walked as one of 0 elements. */
void gk_gguf_walk(gk_gguf_cursor *k, const gk_gguf *g, const gk_gguf_value *v,
                  unsigned char *window, gk_err *err);

/* Each takes the next element. False at the end (left == 0), on an error (k->failed), or,
 * without taking it, when the elements are of another kind: strings (its bytes replace
 * *out; may hold NULs); integers of any type, as int64_t (a u64 above INT64_MAX is a
 * FORMAT error); numbers of any type. */
bool gk_gguf_next_string(gk_gguf_cursor *k, gk_text *out);
bool gk_gguf_next_int(gk_gguf_cursor *k, int64_t *out);
bool gk_gguf_next_real(gk_gguf_cursor *k, double *out);

#endif
