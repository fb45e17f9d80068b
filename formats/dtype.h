/* formats/dtype.h - the element types of files: every safetensors dtype, and ggml's
 * block types.
 *
 * Source: huggingface/safetensors safetensors/src/tensor.rs @24b0b28 (the enum keeps
 * that file's order, because its writer sorts by it); ggml-org/ggml
 * src/ggml-common.h @d99724f. */
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
    GK_N_SAFETENSORS, /* those below are ggml's: a row is whole blocks */
    GK_Q4_0 = GK_N_SAFETENSORS,
    GK_Q4_1,
    GK_Q5_0,
    GK_Q5_1,
    GK_Q8_0,
    GK_Q2_K,
    GK_Q3_K,
    GK_Q4_K,
    GK_Q5_K,
    GK_Q6_K,
    GK_IQ4_NL,
    GK_IQ4_XS,
    GK_MXFP4,
    GK_NVFP4,
    GK_N_CODED, /* those below are only carried: no codec knows their values */
    GK_Q1_0 = GK_N_CODED,
    GK_Q2_0,
    GK_Q8_1,
    GK_Q8_K,
    GK_IQ1_S,
    GK_IQ1_M,
    GK_IQ2_XXS,
    GK_IQ2_XS,
    GK_IQ2_S,
    GK_IQ3_XXS,
    GK_IQ3_S,
    GK_TQ1_0,
    GK_TQ2_0,
    GK_N_DTYPES,
} gk_dtype;

/* A row of a tensor is stored in blocks of block_elems elements in block_bytes
 * bytes; for plain types but F4 and F6 a block is one element. */
typedef struct gk_dtype_row {
    const char *name;        /* as safetensors or ggml spells it */
    unsigned    bits;        /* of one element, 0: no whole number (block types) */
    unsigned    block_elems; /* elements that fill whole bytes   */
    unsigned    block_bytes;
    bool        is_float;    /* may hold NaN or Inf, decodes to f32 */
} gk_dtype_row;

/* Returns the row of a type; type must be below GK_N_DTYPES. */
const gk_dtype_row *gk_dtype_get(gk_dtype type);

/* Returns true for a type whose elements have no bits of their own: ggml's blocks. Whether a
 * codec reads them, gk_blocks_of() says. */
bool gk_dtype_is_block(gk_dtype type);

/* Finds a safetensors type by its exact name. */
bool gk_dtype_find(const char *name, gk_dtype *out);

#endif
