/* formats/dtype.h - the element types of files: every safetensors dtype.
 *
 * Source: huggingface/safetensors safetensors/src/tensor.rs @24b0b28. The enum
 * keeps that file's order, because its writer sorts by it. */
#ifndef GK_FORMATS_DTYPE_H
#define GK_FORMATS_DTYPE_H

#include <stdbool.h>
#include <stdint.h>

typedef enum gk_dtype {
    GK_BOOL,
    GK_F4,
    GK_F6_E2M3,
    GK_F6_E3M2,
    GK_U8,
    GK_I8,
    GK_F8_E5M2,
    GK_F8_E4M3,
    GK_F8_E8M0,
    GK_F8_E4M3FNUZ,
    GK_F8_E5M2FNUZ,
    GK_I16,
    GK_U16,
    GK_F16,
    GK_BF16,
    GK_I32,
    GK_U32,
    GK_F32,
    GK_C64,
    GK_F64,
    GK_I64,
    GK_U64,
    GK_N_DTYPES,
} gk_dtype;

/* A row of a tensor is stored in blocks of block_elems elements in block_bytes
 * bytes; for all of these types but F4 and F6 a block is one element. */
typedef struct gk_dtype_row {
    const char *name;        /* as safetensors spells it         */
    unsigned    bits;        /* of one element                   */
    unsigned    block_elems; /* elements that fill whole bytes   */
    unsigned    block_bytes;
    bool        is_float;    /* may hold NaN or Inf, decodes to f32 */
} gk_dtype_row;

/* Returns the row of a type; type must be below GK_N_DTYPES. */
const gk_dtype_row *gk_dtype_get(gk_dtype type);

/* Finds a type by its exact safetensors name. */
bool gk_dtype_find(const char *name, gk_dtype *out);

#endif
