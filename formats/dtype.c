/* formats/dtype.c - the table of element types. */
#include "formats/dtype.h"

#include <string.h>

static const gk_dtype_row rows[GK_N_DTYPES] = {
    [GK_BOOL] = {"BOOL", 8, 1, 1, false},
    [GK_F4] = {"F4", 4, 2, 1, true},
    [GK_F6_E2M3] = {"F6_E2M3", 6, 4, 3, true},
    [GK_F6_E3M2] = {"F6_E3M2", 6, 4, 3, true},
    [GK_U8] = {"U8", 8, 1, 1, false},
    [GK_I8] = {"I8", 8, 1, 1, false},
    [GK_F8_E5M2] = {"F8_E5M2", 8, 1, 1, true},
    [GK_F8_E4M3] = {"F8_E4M3", 8, 1, 1, true},
    [GK_F8_E8M0] = {"F8_E8M0", 8, 1, 1, true},
    [GK_F8_E4M3FNUZ] = {"F8_E4M3FNUZ", 8, 1, 1, true},
    [GK_F8_E5M2FNUZ] = {"F8_E5M2FNUZ", 8, 1, 1, true},
    [GK_I16] = {"I16", 16, 1, 2, false},
    [GK_U16] = {"U16", 16, 1, 2, false},
    [GK_F16] = {"F16", 16, 1, 2, true},
    [GK_BF16] = {"BF16", 16, 1, 2, true},
    [GK_I32] = {"I32", 32, 1, 4, false},
    [GK_U32] = {"U32", 32, 1, 4, false},
    [GK_F32] = {"F32", 32, 1, 4, true},
    [GK_C64] = {"C64", 64, 1, 8, true},
    [GK_F64] = {"F64", 64, 1, 8, true},
    [GK_I64] = {"I64", 64, 1, 8, false},
    [GK_U64] = {"U64", 64, 1, 8, false},
    [GK_Q4_0] = {"Q4_0", 0, 32, 2 + 16, true},
    [GK_Q4_1] = {"Q4_1", 0, 32, 2 + 2 + 16, true},
    [GK_Q5_0] = {"Q5_0", 0, 32, 2 + 4 + 16, true},
    [GK_Q5_1] = {"Q5_1", 0, 32, 2 + 2 + 4 + 16, true},
    [GK_Q8_0] = {"Q8_0", 0, 32, 2 + 32, true},
    [GK_Q2_K] = {"Q2_K", 0, 256, 16 + 64 + 2 + 2, true},
    [GK_Q3_K] = {"Q3_K", 0, 256, 32 + 64 + 12 + 2, true},
    [GK_Q4_K] = {"Q4_K", 0, 256, 2 + 2 + 12 + 128, true},
    [GK_Q5_K] = {"Q5_K", 0, 256, 2 + 2 + 12 + 32 + 128, true},
    [GK_Q6_K] = {"Q6_K", 0, 256, 128 + 64 + 16 + 2, true},
    [GK_IQ4_NL] = {"IQ4_NL", 0, 32, 2 + 16, true},
    [GK_IQ4_XS] = {"IQ4_XS", 0, 256, 2 + 2 + 4 + 128, true},
    [GK_MXFP4] = {"MXFP4", 0, 32, 1 + 16, true},
    [GK_NVFP4] = {"NVFP4", 0, 64, 4 + 32, true},
    [GK_Q1_0] = {"Q1_0", 0, 128, 2 + 16, true},
    [GK_Q2_0] = {"Q2_0", 0, 64, 2 + 16, true},
    [GK_Q8_1] = {"Q8_1", 0, 32, 2 + 2 + 32, true}, /* the gguf package says 4 + 4 + 32 */
    [GK_Q8_K] = {"Q8_K", 0, 256, 4 + 256 + 32, true},
    [GK_IQ1_S] = {"IQ1_S", 0, 256, 2 + 32 + 16, true},
    [GK_IQ1_M] = {"IQ1_M", 0, 256, 32 + 16 + 8, true},
    [GK_IQ2_XXS] = {"IQ2_XXS", 0, 256, 2 + 64, true},
    [GK_IQ2_XS] = {"IQ2_XS", 0, 256, 2 + 64 + 8, true},
    [GK_IQ2_S] = {"IQ2_S", 0, 256, 2 + 64 + 16, true},
    [GK_IQ3_XXS] = {"IQ3_XXS", 0, 256, 2 + 96, true},
    [GK_IQ3_S] = {"IQ3_S", 0, 256, 2 + 104 + 4, true},
    [GK_TQ1_0] = {"TQ1_0", 0, 256, 2 + 4 + 48, true},
    [GK_TQ2_0] = {"TQ2_0", 0, 256, 2 + 64, true},
};

const gk_dtype_row *gk_dtype_get(gk_dtype type)
{
    return &rows[type];
}

bool gk_dtype_is_block(gk_dtype type)
{
    return type >= GK_N_SAFETENSORS;
}

bool gk_dtype_find(const char *name, gk_dtype *out)
{
    for (int i = 0; i < GK_N_SAFETENSORS; i++)
        if (strcmp(rows[i].name, name) == 0)
            return *out = (gk_dtype)i, true;
    return false;
}
