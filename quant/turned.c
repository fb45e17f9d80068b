/* quant/turned.c - scales and zero points that lie [groups, out]. */
#include "quant/turned.h"

#include <inttypes.h>
#include <string.h>

#include "formats/checked.h"
#include "quant/kernels.h"

static uint64_t group_of(const gk_scheme *s, uint64_t col)
{
    return s->group == 0 ? 0 : col / s->group;
}

uint64_t gk_turned_scratch_bytes(const gk_scheme *s, uint64_t n_rows, uint64_t n_cols)
{
    return gk_codes_divide(s, n_rows, n_cols, NULL, NULL)
           + gk_scheme_groups(s, n_cols) * n_rows * sizeof(float);
}

/* The scales once more, [n_groups, n_rows]. */
static float *turned_scales(const gk_coding *c)
{
    const uint64_t at = gk_codes_divide(c->scheme, c->tile.n_rows, c->tile.n_cols, NULL, NULL);

    return (float *)(void *)((unsigned char *)c->scratch + at);
}

void gk_turned_zeros_span(const gk_scheme *s, const gk_tile *t, gk_tile *out)
{
    const uint64_t fields = 32 / (uint64_t)s->bits, col = t->row / fields;

    *out = (gk_tile){group_of(s, t->col), gk_scheme_groups(s, t->n_cols), col,
                     gk_div_up(t->row + t->n_rows, fields) - col};
}

void gk_turned_scales_span(const gk_scheme *s, const gk_tile *t, gk_tile *out)
{
    *out = (gk_tile){group_of(s, t->col), gk_scheme_groups(s, t->n_cols), t->row, t->n_rows};
}

void gk_turned_put_scales(const gk_coding *c, const gk_codes *codes, unsigned char *out)
{
    const uint64_t rows = c->tile.n_rows, groups = gk_scheme_groups(c->scheme, c->tile.n_cols);
    float *turned = turned_scales(c);

    for (uint64_t r = 0; r < rows; r++)
        for (uint64_t g = 0; g < groups; g++)
            turned[g * rows + r] = codes->scale[r * groups + g];
    gk_kernels_get()->f32_to_f16(turned, rows * groups, out);
}

void gk_turned_get_scales(const gk_coding *c, gk_dtype dtype, const unsigned char *in,
                          gk_codes *codes)
{
    const uint64_t rows = c->tile.n_rows, groups = gk_scheme_groups(c->scheme, c->tile.n_cols);
    float *turned = turned_scales(c);

    gk_floats(dtype, in, rows * groups, turned);
    for (uint64_t r = 0; r < rows; r++)
        for (uint64_t g = 0; g < groups; g++)
            codes->scale[r * groups + g] = turned[g * rows + r];
}

void gk_turned_put_zeros(const gk_coding *c, const gk_codes *codes, const gk_zero_words *z,
                         unsigned char *out)
{
    const int bits = c->scheme->bits, half = 1 << (bits - 1), mask = (1 << bits) - 1;
    const uint64_t rows = c->tile.n_rows, groups = gk_scheme_groups(c->scheme, c->tile.n_cols);
    const uint64_t fields = 32 / (uint64_t)bits;

    for (uint64_t g = 0; g < groups; g++)
        for (uint64_t r = 0; r < rows; r += fields, out += 4) {
            uint32_t word = 0;
            for (uint64_t i = 0; i < fields; i++) {
                const int zero = codes->zero == NULL ? 0
                                                     : codes->zero[(r + z->order[i]) * groups + g];
                word |= (uint32_t)((zero + half - z->minus) & mask) << (i * (uint64_t)bits);
            }
            memcpy(out, &word, 4);
        }
}

static bool refuse_zero(const gk_coding *c, uint64_t row, int found)
{
    if (c->scheme->symmetric)
        return gk_fail(c->err, GK_ERR_FORMAT, GK_NO_OFF,
                       "row %" PRIu64 " has the zero point %d, but config.json says that the "
                       "codes are symmetric",
                       row, found);
    return gk_fail(c->err, GK_ERR_FORMAT, GK_NO_OFF,
                   "row %" PRIu64 " has the zero point %d, past the codes: readers disagree on it",
                   row, found);
}

bool gk_turned_get_zeros(const gk_coding *c, const gk_zero_words *z, const unsigned char *in,
                         gk_codes *codes)
{
    const int bits = c->scheme->bits, half = 1 << (bits - 1), mask = (1 << bits) - 1;
    const uint64_t rows = c->tile.n_rows, groups = gk_scheme_groups(c->scheme, c->tile.n_cols);
    const uint64_t fields = 32 / (uint64_t)bits, first = c->tile.row / fields;
    const uint64_t words = gk_div_up(c->tile.row + rows, fields) - first;
    uint8_t field[32];

    for (uint64_t i = 0; i < fields; i++)
        field[z->order[i]] = (uint8_t)i;
    for (uint64_t r = 0; r < rows; r++)
        for (uint64_t g = 0; g < groups; g++) {
            const uint64_t row = c->tile.row + r, word = row / fields - first;
            const uint32_t w = gk_load_u32(in + (g * words + word) * 4);
            const int zero = (int)(w >> (field[row % fields] * bits) & (uint32_t)mask) + z->minus;
            if (zero > mask || (codes->zero == NULL && zero != half))
                return refuse_zero(c, row, zero);
            if (codes->zero != NULL)
                codes->zero[r * groups + g] = (int8_t)(zero - half);
        }
    return true;
}
