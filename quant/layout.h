/* quant/layout.h - how an encoded tensor is stored: which parts, and the way
 * between their bytes and codes.
 *
 * compressed-tensors `pack-quantized`: for a module M with W [out, in]
 *   M.weight_packed      I32 [out, ceil(in*b/32)]  code + 2^(b-1), least bits first
 *   M.weight_scale       BF16 [out, in/group]      channel: [out, 1]
 *   M.weight_shape       I64 [2]                   {out, in}
 *   M.weight_zero_point  I32 [ceil(out*b/32), in/group], asymmetric only, packed
 *                        along out
 * Source: vllm-project/compressed-tensors compressors/ @ac8e2ba. */
#ifndef GK_QUANT_LAYOUT_H
#define GK_QUANT_LAYOUT_H

#include "formats/catalog.h"
#include "formats/safetensors_write.h"
#include "quant/scheme.h"

/* A tile of codes: rows x columns, one scale (and zero point) a group. The caller
 * owns the arrays. */
typedef struct gk_codes {
    int8_t   *code;       /* [n_rows, n_cols], signed                          */
    float    *scale;      /* [n_rows, n_groups] the same as read from any file */
    int8_t   *zero;       /* [n_rows, n_groups], NULL when symmetric           */
} gk_codes;

/* Rows of a tile must begin at multiples of this: zero points are packed along them. */
uint64_t gk_ct_row_quantum(const gk_scheme *s);

/* Fills out[] with the stored tensors of t under scheme s; names and shapes live in
 * a. Returns how many (3 or 4), 0 and NOMEM. */
int gk_ct_entries(const gk_tensor *t, const gk_scheme *s, gk_entry out[GK_MAX_PARTS], gk_arena *a,
                  gk_err *err);

/* Bytes that n_cols columns of one row take in weight_packed. */
uint64_t gk_ct_packed_row_bytes(const gk_scheme *s, uint64_t n_cols);

/* Packs [n_rows, n_cols] codes, gk_ct_packed_row_bytes() a row. */
void gk_ct_pack(const gk_scheme *s, const int8_t *code, uint64_t n_rows, uint64_t n_cols,
                unsigned char *out);

/* Packs the zero points of rows [0, n_rows) into ceil(n_rows*b/32) x n_groups words. */
void gk_ct_pack_zeros(const gk_scheme *s, const int8_t *zero, uint64_t n_rows, uint64_t n_groups,
                      unsigned char *out);

/* Turns `M.weight_packed` and its companions into one encoded tensor `M.weight`,
 * over the whole catalog; what does not fit becomes a finding. False: NOMEM, IO. */
bool gk_ct_adopt(gk_catalog *c, gk_err *err);

/* Reads a rectangle {row, n_rows, col, n_cols} of an adopted tensor as codes and f32
 * scales. Columns: all of a row, or multiples of
 * the group. scratch: gk_ct_read_scratch(). */
uint64_t gk_ct_read_scratch(const gk_tensor *t, uint64_t n_rows, uint64_t n_cols);
bool gk_ct_read(const gk_catalog *c, const gk_tensor *t, const uint64_t rect[4], gk_codes *out,
                void *scratch, gk_err *err);

#endif
