/* quant/scheme.h - what a tensor becomes: kept, cast, or integer codes in groups. */
#ifndef GK_QUANT_SCHEME_H
#define GK_QUANT_SCHEME_H

#include "formats/dtype.h"
#include "formats/err.h"

typedef enum gk_scheme_kind {
    GK_SCHEME_KEEP, /* the values as they are                       */
    GK_SCHEME_CAST, /* another float type                           */
    GK_SCHEME_INT,  /* signed codes, a bf16 scale for each group    */
} gk_scheme_kind;

typedef struct gk_scheme {
    char           name[32]; /* canonical: "int4-g128", "int8-channel-asym"  */
    gk_scheme_kind kind;
    gk_dtype       cast;      /* of a cast                                    */
    int            bits;      /* of a code: 4 or 8                            */
    uint64_t       group;     /* columns that share a scale; 0: the whole row */
    bool           symmetric; /* no zero points                               */
} gk_scheme;

/* Reads "keep", "bf16", "f16", "f32" or "int{4,8}-{g32,g64,g128,channel}[-asym]",
 * in any letter case. False and ARG, naming what is near. */
bool gk_scheme_parse(const char *text, gk_scheme *out, gk_err *err);

/* Makes the scheme of that shape, with its name. */
gk_scheme gk_scheme_int(int bits, uint64_t group, bool symmetric);

/* Returns true when both are the same encoding. */
bool gk_scheme_same(const gk_scheme *a, const gk_scheme *b);

/* How many groups lie in n_cols columns (whole groups, or the whole row). */
uint64_t gk_scheme_groups(const gk_scheme *s, uint64_t n_cols);

#endif
