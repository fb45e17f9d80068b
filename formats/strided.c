/* formats/strided.c - arrays whose elements lie any number of elements apart, as pieces.
 *
 * A piece has one step from row to row and one from column to column. The last dimension
 * is the columns; of those before it neighbours that make one even step are folded, the
 * innermost that is left becomes the rows, and each index of the others a piece. */
#include <inttypes.h>

#include "formats/checked.h"
#include "formats/reader.h"

#define MAX_VIEW_PIECES 65536u

/* Row dimensions without those of 1, folded; slowest first. Returns how many. */
static int fold_rows(const gk_view *v, uint64_t *dim, uint64_t *stride)
{
    int n = 0;

    for (int i = 0; i + 1 < v->ndim; i++) {
        if (v->dim[i] == 1)
            continue;
        if (n > 0 && stride[n - 1] == v->dim[i] * v->stride[i]) {
            dim[n - 1] *= v->dim[i];
            stride[n - 1] = v->stride[i];
        } else {
            dim[n] = v->dim[i];
            stride[n++] = v->stride[i];
        }
    }
    return n;
}

static bool count_pieces(const uint64_t *dim, int n, uint64_t n_cols, uint64_t *out, gk_err *err)
{
    *out = n_cols;
    for (int i = 0; i + 1 < n; i++)
        if (!gk_mul(*out, dim[i], out))
            *out = UINT64_MAX;
    if (*out <= MAX_VIEW_PIECES)
        return true;
    return gk_fail(err, GK_ERR_LIMIT, GK_NO_OFF,
                   "its elements lie in more than %u pieces: save it contiguously",
                   MAX_VIEW_PIECES);
}

bool gk_part_view(gk_arena *a, const gk_view *v, gk_role role, gk_part *part, gk_err *err)
{
    const uint64_t size = gk_row_bytes(v->dtype, 1);
    const uint64_t n_cols = v->ndim > 0 ? v->dim[v->ndim - 1] : 1;
    const uint64_t col_step = v->ndim > 0 && n_cols > 1 ? v->stride[v->ndim - 1] : 1;
    uint64_t dim[GK_MAX_DIMS] = {1}, stride[GK_MAX_DIMS] = {1}, n_rows = 1;

    for (int i = 0; i + 1 < v->ndim; i++)
        n_rows *= v->dim[i];
    *part = (gk_part){.role = role, .dtype = v->dtype, .n_rows = n_rows, .n_cols = n_cols};
    if (n_rows == 0 || n_cols == 0)
        return true;
    int n = fold_rows(v, dim, stride);
    if (n == 0)
        n = 1;
    /* a column repeated to the right has no step: one piece for each copy */
    const uint64_t copies = col_step == 0 ? n_cols : 1;
    if (!count_pieces(dim, n, copies, &part->n_pieces, err))
        return false;
    gk_piece *piece = gk_arena_alloc(a, part->n_pieces, sizeof *piece, err);
    if (piece == NULL)
        return false;
    for (uint64_t p = 0; p < part->n_pieces; p++) {
        uint64_t index = p / copies, off = 0;
        piece[p] = (gk_piece){.stored = v->stored,
                              .row = index * dim[n - 1],
                              .col = p % copies,
                              .n_rows = dim[n - 1],
                              .n_cols = col_step == 0 ? 1 : n_cols,
                              .row_bytes = stride[n - 1] * size,
                              .col_bytes = col_step <= 1 ? 0 : col_step * size};
        for (int i = n - 2; i >= 0; i--) {
            off += index % dim[i] * stride[i];
            index /= dim[i];
        }
        piece[p].off = v->off + off * size;
    }
    part->piece = piece;
    return true;
}

bool gk_view_is_whole(const gk_view *v)
{
    uint64_t step = 1;

    for (int i = v->ndim - 1; i >= 0; i--) {
        if (v->dim[i] == 0)
            return true;
        if (v->dim[i] != 1 && v->stride[i] != step)
            return false;
        step *= v->dim[i];
    }
    return true;
}
