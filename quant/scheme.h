/* quant/scheme.h - what a tensor becomes: kept, cast, or codes with scales. */
#ifndef GK_QUANT_SCHEME_H
#define GK_QUANT_SCHEME_H

#include "formats/dtype.h"
#include "formats/err.h"

typedef enum gk_scheme_kind {
    GK_SCHEME_KEEP, /* the values as they are                                      */
    GK_SCHEME_CAST, /* another float type, or one of ggml's block types            */
    GK_SCHEME_MIX,  /* the type that llama-quantize's mix gives it: a plan decides */
    GK_SCHEME_INT,  /* signed codes, a scale (and zero point) for each group       */
    GK_SCHEME_FP8,  /* E4M3, a scale for each row (group 0) or block of 128 x 128;
                       read only: one for all (group GK_GROUP_ALL)                 */
    GK_SCHEME_NVFP4, /* E2M1, an E4M3 scale for 16 and one f32 for all             */
    GK_SCHEME_MXFP4, /* E2M1, a power of two for 32                                */
} gk_scheme_kind;

#define GK_GROUP_ALL UINT64_MAX

struct gk_layout; /* quant/layout.h */

typedef struct gk_scheme {
    char           name[32]; /* canonical: "int4-g128", "int8-channel-asym", "Q4_K" */
    gk_scheme_kind kind;
    gk_dtype       cast;      /* of a cast                                    */
    int            bits;      /* of a code: 4 or 8                            */
    uint64_t       group;     /* columns that share a scale; 0: the whole row */
    bool           symmetric; /* no zero points                               */
    gk_dtype       scales;    /* how integer codes' scales are stored         */
    int            mix;       /* of a mix: its number (quant/gguf_mix.h)      */
    const struct gk_layout *layout; /* how codes are stored; a plan or reader says */
} gk_scheme;

/* Reads "keep", "bf16", "f16", "f32", "int{4,8}-{g32,g64,g128,channel}[-asym]",
 * "fp8-channel", "fp8-block", "nvfp4", "mxfp4" or a ggml type or mix ("Q4_K",
 * "Q4_K_M"), in any letter case. False and ARG, naming what is near. */
bool gk_scheme_parse(const char *text, gk_scheme *out, gk_err *err);

/* Makes the scheme of that shape, with its name. */
gk_scheme gk_scheme_int(int bits, uint64_t group, bool symmetric);

/* Makes the FP8 scheme of that group, with its name. */
gk_scheme gk_scheme_fp8(uint64_t group);

/* Returns the scheme that casts to a type. */
gk_scheme gk_scheme_cast(gk_dtype type);

/* Returns true for codes with scales of their own, which a layout stores. */
bool gk_scheme_is_coded(const gk_scheme *s);

/* Returns true when both are the same encoding, wherever it is stored. */
bool gk_scheme_same(const gk_scheme *a, const gk_scheme *b);

/* How many groups lie in n_cols columns (whole groups, or the whole row). */
uint64_t gk_scheme_groups(const gk_scheme *s, uint64_t n_cols);

#endif
