/* quant/prove.c - a plan shown to be without holes and overlaps, before it is run. */
#include <stdlib.h>

#include "formats/checked.h"
#include "quant/plan.h"

#define N_SHAPES 16

static bool broken(gk_err *err, const char *what, const char *name)
{
    gk_fail(err, GK_ERR_ARG, GK_NO_OFF, "the plan contradicts itself: %s", what);
    return gk_fail_at(err, NULL, name);
}

static uint64_t row_quantum(const gk_plan_item *item)
{
    uint64_t rows = 1, cols;

    if (gk_scheme_is_coded(&item->to))
        item->to.layout->quantum(&item->to, &rows, &cols);
    return rows;
}

/* Walks the tiles in order: each begins where the one before ended. */
static bool prove_tiles(const gk_plan_item *item, gk_err *err)
{
    const gk_tensor *t = item->from;
    const uint64_t quantum = row_quantum(item);
    uint64_t row = 0, col = 0;

    for (uint64_t k = 0; k < item->n_units; k++) {
        const gk_tile tile = gk_plan_tile(item, k);
        if (tile.row != row || tile.col != col || tile.n_rows == 0 || tile.n_cols == 0)
            return broken(err, "tiles do not touch", t->name);
        if (tile.row % quantum != 0)
            return broken(err, "a tile cuts a packed word", t->name);
        col += tile.n_cols;
        if (col == gk_cols(t)) {
            col = 0;
            row += tile.n_rows;
        }
    }
    return (row == gk_rows(t) && col == 0) || gk_rows(t) == 0 || gk_cols(t) == 0
           || broken(err, "tiles do not fill the tensor", t->name);
}

/* Whether all that prove_tiles() looks at is the same, so that the one proof is the other's. */
static bool same_tiles(const gk_plan_item *a, const gk_plan_item *b)
{
    return gk_rows(a->from) == gk_rows(b->from) && gk_cols(a->from) == gk_cols(b->from)
           && a->tile_rows == b->tile_rows && a->tile_cols == b->tile_cols
           && a->n_col_tiles == b->n_col_tiles && a->n_units == b->n_units
           && row_quantum(a) == row_quantum(b);
}

/* A model has few shapes and millions of tiles: each shape is walked once, unless N_SHAPES
 * others came in between. */
static bool prove_all_tiles(const gk_plan *p, gk_err *err)
{
    const gk_plan_item *proven[N_SHAPES] = {NULL};
    uint64_t next = 0;

    for (uint64_t i = 0; i < p->n_items; i++) {
        const gk_plan_item *item = &p->item[i];
        int k = 0;
        while (k < N_SHAPES && (proven[k] == NULL || !same_tiles(item, proven[k])))
            k++;
        if (k < N_SHAPES)
            continue;
        if (!prove_tiles(item, err))
            return false;
        proven[next++ % N_SHAPES] = item;
    }
    return true;
}

static int by_place(const void *a, const void *b, void *entries)
{
    const gk_entry *e = entries;
    const gk_entry *x = &e[*(const uint64_t *)a], *y = &e[*(const uint64_t *)b];

    if (x->shard != y->shard)
        return x->shard < y->shard ? -1 : 1;
    if (x->off != y->off)
        return x->off < y->off ? -1 : 1;
    return x->bytes < y->bytes ? -1 : x->bytes > y->bytes;
}

/* Entries in the order of their place: each begins where the one before ended, the
 * first behind the header, the last at the end of the file. */
static bool prove_files(const gk_plan *p, gk_err *err)
{
    uint64_t *order = gk_alloc(p->n_entries, sizeof *order, err);
    uint64_t i = 0;
    bool ok = order != NULL;

    for (uint64_t k = 0; ok && k < p->n_entries; k++)
        order[k] = k;
    if (ok)
        qsort_r(order, (size_t)p->n_entries, sizeof *order, by_place, p->entry);
    for (uint64_t s = 0; ok && s < p->shards.n; s++) {
        uint64_t at = p->shards.shard[s].header_bytes;
        for (; ok && i < p->n_entries && p->entry[order[i]].shard == s; i++) {
            ok = p->entry[order[i]].off == at
                 || broken(err, "stored tensors do not touch", p->entry[order[i]].name);
            at = gk_div_up(at + p->entry[order[i]].bytes, p->shards.alignment)
                 * p->shards.alignment;
        }
        ok = ok
             && (at == p->shards.shard[s].bytes
                 || broken(err, "tensors do not fill their file", p->shards.shard[s].name));
    }
    gk_free(order);
    return ok && (i == p->n_entries || broken(err, "a stored tensor is in no file", NULL));
}

bool gk_plan_prove(const gk_plan *p, gk_err *err)
{
    uint64_t unit = 0;

    for (uint64_t i = 0; i < p->n_items; i++) {
        const gk_plan_item *item = p->by_unit[i];
        if (item->first_unit != unit)
            return broken(err, "units do not follow each other", item->from->name);
        unit += item->n_units;
    }
    return prove_all_tiles(p, err) && prove_files(p, err);
}
