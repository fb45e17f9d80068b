/* quant/layout.h - how an encoded tensor is stored: a table of layouts.
 *
 * A layout says which matrices ("parts") hold the codes, scales and zero points of a
 * W [out, in], which rectangle of each belongs to a rectangle of W, and turns values
 * into the bytes of those rectangles and back. Plans, runs and readers know no more;
 * adding a layout is one file and a row in quant/layout.c. */
#ifndef GK_QUANT_LAYOUT_H
#define GK_QUANT_LAYOUT_H

#include "formats/catalog.h"
#include "formats/safetensors_write.h"
#include "quant/codec_group.h"
#include "quant/scheme.h"

/* One stored matrix of an encoded tensor. */
typedef struct gk_layout_part {
    gk_role role;
    const char *suffix; /* behind the module's name: ".weight_packed"         */
    gk_dtype dtype;
    int ndim;                /* 2: [n_rows, n_cols]; 1: [n_cols], n_rows is 1      */
    uint64_t n_rows, n_cols; /* elements */
} gk_layout_part;

/* A rectangle: rows [row, row + n_rows) x columns [col, col + n_cols). */
typedef struct gk_tile {
    uint64_t row, n_rows, col, n_cols;
} gk_tile;

/* A tile on its way through a layout. Buffers belong to the caller. */
typedef struct gk_coding {
    const gk_scheme *scheme;
    gk_method method;
    const float *importance; /* E[x^2] of the tile's columns, or NULL           */
    float most;              /* NVFP4: max |w| over all that share its G        */
    uint64_t dim[2];         /* of the whole W                                  */
    gk_tile tile;
    const void *bf16;                  /* [n_rows, n_cols]: the values, or NULL: they are in w,
                                          which else is room for a row                    */
    float *w, *v;                      /* [n_rows, n_cols]: values; as they will be read  */
    double (*sums)[2];                 /* [n_rows]: sum (w - v)^2, sum w^2                */
    unsigned char *part[GK_MAX_PARTS]; /* bytes of each part's span, row-major   */
    gk_dtype dtype[GK_MAX_PARTS];      /* of each part, as stored                */
    const gk_hessian *factor;          /* GPTQ: of the inputs, or NULL                    */
    void *room;                        /* then: gk_group_room_bytes()                     */
    void *scratch;                     /* gk_layout.scratch_bytes()                       */
    gk_err *err;
} gk_coding;

typedef struct gk_layout {
    const char *name; /* of the format, for people: "compressed-tensors" */
    bool is_turned;   /* its codes lie [in, out]                          */
    bool measures;    /* encode takes bf16, and fills sums; v only where it is not NULL */
    /* Where tiles may be cut; cols 0: not at all. */
    void (*quantum)(const gk_scheme *s, uint64_t *rows, uint64_t *cols);
    /* Lists the parts of a [n_rows, n_cols] matrix, codes first; returns how many. */
    int (*parts)(const gk_scheme *s, const uint64_t dim[2], gk_layout_part out[GK_MAX_PARTS]);
    /* Sets the rectangle of part i that a tile fills; of a part that does not depend on
     * the tile, the first tile's is all of it and the others' is empty. One number for all
     * is in the span of every tile: each reads it, each writes the same. */
    void (*span)(const gk_scheme *s, int i, const uint64_t dim[2], const gk_tile *t, gk_tile *out);
    uint64_t (*scratch_bytes)(const gk_scheme *s, uint64_t n_rows, uint64_t n_cols);
    /* From w to the parts and v, or as `measures` says. */
    void (*encode)(const gk_coding *c);
    /* From the parts to v. False: FORMAT, UNSUPPORTED. */
    bool (*decode)(const gk_coding *c);
    /* Reading: the parts' suffixes, in their order, of which the first must be there.
     * infer() looks at the stored tensors (NULL: absent) and sets scheme and shape;
     * false when they are no such encoding. */
    const char *suffix[GK_MAX_PARTS];
    int n_needed; /* of them; the rest is optional */
    bool (*infer)(const gk_catalog *c, const gk_tensor *const from[GK_MAX_PARTS], uint64_t dim[2],
                  gk_scheme *out);
} gk_layout;

extern const gk_layout gk_layout_packed, gk_layout_float, gk_layout_float_inv, gk_layout_nvfp4,
    gk_layout_mxfp4, gk_layout_gptq, gk_layout_gptq_v2, gk_layout_awq, gk_layout_mlx,
    gk_layout_grok1;

/* Turns stored parts into one encoded tensor `M.weight` each, over the whole catalog;
 * what does not fit becomes a finding. False: NOMEM, IO. */
bool gk_layout_adopt(gk_catalog *c, gk_err *err);

/* Returns true and the scheme of a tensor that has exactly the parts of Grok-1's 8-bit
 * weights (quant/grok1.c). */
bool gk_grok1_scheme(const gk_tensor *t, gk_scheme *out);

/* Reads a tile of an encoded tensor as f32. Tiles: as the layout's quantum allows.
 * scratch: gk_layout_read_scratch() bytes. */
uint64_t gk_layout_read_scratch(const gk_tensor *t, uint64_t n_rows, uint64_t n_cols);
bool gk_layout_read(const gk_catalog *c, const gk_tensor *t, const gk_tile *tile, float *out,
                    void *scratch, gk_err *err);

/* Returns true for a stored matrix of that type and shape, and for floats that
 * gk_floats() converts. */
bool gk_is_matrix(const gk_tensor *t, gk_dtype dtype, uint64_t n_rows, uint64_t n_cols);
bool gk_is_floats(const gk_tensor *t);

/* Converts n stored floats (BF16, F16, F32). */
void gk_floats(gk_dtype dtype, const void *in, uint64_t n, float *out);

/* What a group of an INT scheme looks like inside every layout of integers. */
typedef struct gk_codes {
    int8_t *code; /* [n_rows, n_cols], signed                */
    float *scale; /* [n_rows, n_groups], as it will be read  */
    int8_t *zero; /* [n_rows, n_groups], NULL when symmetric */
} gk_codes;

/* Divides scratch into the arrays of codes; returns the bytes they take. */
uint64_t gk_codes_divide(const gk_scheme *s, uint64_t n_rows, uint64_t n_cols, void *scratch,
                         gk_codes *out);

/* Chooses codes, fills out, c->sums and c->v where they are not NULL. */
void gk_codes_encode(const gk_coding *c, gk_codes *out);

/* Fills c->v. */
void gk_codes_decode(const gk_coding *c, const gk_codes *codes);

#endif
