/* quant/intake.c - windows of rows, and the ranges of files that hold them. */
#include "quant/intake.h"

#include "formats/checked.h"
#include "formats/pages.h"

#define WINDOW_BYTES (UINT64_C(16) << 20)

/* The windows of an item: n_bands bands of tiles each. */
typedef struct windows {
    uint64_t first, n, n_bands;
} windows;

struct gk_intake {
    const gk_plan *p;
    gk_arena *arena;
    gk_pages **pages; /* of each input                                     */
    windows *of;      /* each item                                         */
    uint64_t n;       /* windows                                           */
    uint32_t *left;   /* tiles of each that are still to be read           */
};

/* ---- what a window is -------------------------------------------------------- */

static uint64_t n_bands(const gk_plan_item *item) { return item->n_units / item->n_col_tiles; }

static bool divide(gk_intake *in, gk_err *err)
{
    const gk_plan *p = in->p;

    in->of = gk_arena_alloc(in->arena, p->n_items, sizeof *in->of, err);
    for (uint64_t i = 0; in->of != NULL && i < p->n_items; i++) {
        const gk_plan_item *item = &p->item[i];
        windows *w = &in->of[i];
        *w = (windows){.first = in->n, .n_bands = 1};
        if (item->n_units == 0)
            continue;
        const uint64_t band = gk_tensor_bytes(item->from) / n_bands(item) + 1;
        w->n_bands = gk_min(gk_max(WINDOW_BYTES / band, 1), n_bands(item));
        w->n = gk_div_up(n_bands(item), w->n_bands);
        in->n += w->n;
    }
    if (in->of == NULL)
        return false;
    in->left = gk_arena_alloc(in->arena, in->n, sizeof *in->left, err);
    return in->left != NULL;
}

static uint64_t window_of(const gk_intake *in, const gk_plan_item *item, uint64_t k)
{
    const windows *w = &in->of[item - in->p->item];

    return w->first + k / item->n_col_tiles / w->n_bands;
}

/* ---- where it lies ------------------------------------------------------------- */

/* Rows [row, row + n_rows) of a part. Of a piece that lies transposed each row is strewn over
 * all of it: it goes as a whole, with its last rows. */
static void drop_rows(const gk_intake *in, const gk_part *part, uint64_t row, uint64_t n_rows)
{
    for (uint64_t i = 0; i < part->n_pieces; i++) {
        const gk_piece *p = &part->piece[i];
        const gk_pages *pages = in->pages[p->stored->input];
        const uint64_t from = gk_max(row, p->row), to = gk_min(row + n_rows, p->row + p->n_rows);
        if (from >= to || p->off >= GK_FILE_TEXT || pages == NULL)
            continue;
        if (p->col_bytes == 0)
            gk_pages_drop(pages, p->off + (from - p->row) * p->row_bytes,
                          (to - from) * p->row_bytes);
        else if (to == p->row + p->n_rows)
            gk_pages_drop(pages, p->off, p->n_cols * p->col_bytes);
    }
}

static void drop_window(const gk_intake *in, uint64_t i, uint64_t window)
{
    const gk_plan_item *item = &in->p->item[i];
    const gk_tensor *t = item->from;
    const uint64_t dim[2] = {gk_rows(t), gk_cols(t)};
    const uint64_t tall = in->of[i].n_bands * item->tile_rows;
    const uint64_t row = (window - in->of[i].first) * tall;
    const gk_tile tile = {row, gk_min(tall, dim[0] - row), 0, dim[1]};

    for (int k = 0; k < gk_n_parts(t); k++) {
        gk_part_room room;
        gk_tile span = tile;
        if (t->scheme != NULL)
            t->scheme->layout->span(t->scheme, k, dim, &tile, &span);
        drop_rows(in, gk_part_of(t, k, &room), span.row, span.n_rows);
    }
}

/* ---- the pass -------------------------------------------------------------------- */

gk_intake *gk_intake_new(const gk_plan *p, gk_err *err)
{
    gk_intake *in = gk_alloc(1, sizeof *in, err);

    if (in == NULL)
        return NULL;
    *in = (gk_intake){.p = p, .arena = gk_arena_new(err)};
    bool ok = in->arena != NULL && divide(in, err);
    in->pages = ok ? gk_arena_alloc(in->arena, p->from->n_inputs, sizeof(gk_pages *), err) : NULL;
    ok = in->pages != NULL;
    for (uint64_t i = 0; ok && i < p->from->n_inputs; i++)
        if (p->from->input[i].usable && p->from->input[i].file->fd >= 0)
            ok = (in->pages[i] = gk_pages_note(in->arena, p->from->input[i].file, err)) != NULL;
    if (ok)
        return in;
    gk_intake_free(in);
    return NULL;
}

void gk_intake_free(gk_intake *in)
{
    if (in == NULL)
        return;
    gk_arena_free(in->arena);
    gk_free(in);
}

void gk_intake_restart(gk_intake *in)
{
    for (uint64_t i = 0; i < in->p->n_items; i++) {
        const gk_plan_item *item = &in->p->item[i];
        const windows *w = &in->of[i];
        for (uint64_t k = 0; k < w->n; k++)
            in->left[w->first + k] = (uint32_t)(gk_min(w->n_bands, n_bands(item) - k * w->n_bands)
                                                * item->n_col_tiles);
    }
}

void gk_intake_end(gk_intake *in, const gk_plan_item *item, uint64_t k)
{
    const uint64_t window = window_of(in, item, k);

    if (__atomic_sub_fetch(&in->left[window], 1, __ATOMIC_ACQ_REL) == 0)
        drop_window(in, (uint64_t)(item - in->p->item), window);
}
