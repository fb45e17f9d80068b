/* quant/progress.c - the journal of a run. */
#include "quant/progress.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "formats/checked.h"
#include "formats/journal.h"

#define BATCH_BYTES    (UINT64_C(1) << 30)
#define BATCH_SECONDS  2.0

/* Tiles of one item in the journal. */
typedef struct found {
    uint64_t n, elems; /* those that are not ours, too */
    double   error, square;
    bool     other;    /* some tile is none of ours    */
} found;

struct gk_progress_log {
    const gk_plan *p;
    gk_output     *out;
    gk_journal    *journal;
    bool           sealed, any, ranges_known, busy;
    found         *item;
    gk_done_tile  *tile; /* sorted by unit */
    uint64_t       n_tiles, cap_tiles;
    uint64_t      *done; /* a bit a unit   */
    float         *most;
    gk_text        noted;
    uint64_t       noted_bytes;
    double         last, every; /* seconds between two syncs */
};

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ---- taking up ------------------------------------------------------------------- */

/* The unit of an item whose tile is exactly this one; UINT64_MAX: none. */
static uint64_t unit_of(const gk_plan_item *item, const gk_tile *t)
{
    if (item->tile_rows == 0 || item->tile_cols == 0)
        return UINT64_MAX;
    const uint64_t k
        = t->row / item->tile_rows * item->n_col_tiles + t->col / item->tile_cols;
    if (k >= item->n_units)
        return UINT64_MAX;
    const gk_tile own = gk_plan_tile(item, k);
    const bool same = own.row == t->row && own.n_rows == t->n_rows && own.col == t->col
                      && own.n_cols == t->n_cols;
    return same ? item->first_unit + k : UINT64_MAX;
}

static bool take_tile(gk_progress_log *l, uint64_t i, const gk_tile *t, const double sum[2],
                      gk_err *err)
{
    const gk_tensor *from = i < l->p->n_items ? l->p->item[i].from : NULL;
    void *rows = l->tile;

    if (from == NULL || t->n_rows > gk_rows(from) || t->row > gk_rows(from) - t->n_rows
        || t->n_cols > gk_cols(from) || t->col > gk_cols(from) - t->n_cols)
        return gk_fail(err, GK_ERR_FORMAT, GK_NO_OFF, "a tile that is not in the plan");
    found *f = &l->item[i];
    const uint64_t unit = unit_of(&l->p->item[i], t);
    f->n++;
    f->elems += t->n_rows * t->n_cols;
    f->error += sum[0];
    f->square += sum[1];
    f->other |= unit == UINT64_MAX;
    if (unit == UINT64_MAX)
        return true;
    if (!gk_grow(&rows, &l->cap_tiles, l->n_tiles + 1, sizeof *l->tile, err))
        return false;
    l->tile = rows;
    l->tile[l->n_tiles++] = (gk_done_tile){unit, sum[0], sum[1]};
    return true;
}

static bool is_file(const gk_file *f)
{
    return f->mem == NULL && !f->borrowed;
}

static void input_line(const gk_file *f, uint64_t i, char *line, size_t size)
{
    snprintf(line, size, "input %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRId64, i,
             f->device, f->inode, f->size, f->mtime_ns);
}

static bool take_line(gk_progress_log *l, const char *line, gk_err *err)
{
    uint64_t i = 0, bits = 0;
    double sum[2];
    gk_tile t;
    char own[160];

    if (sscanf(line, "tile %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %la %la", &i,
               &t.row, &t.n_rows, &t.col, &t.n_cols, &sum[0], &sum[1]) == 7)
        return take_tile(l, i, &t, sum, err);
    if (sscanf(line, "void %" SCNu64, &i) == 1 && i < l->p->n_items) {
        l->item[i] = (found){0};
        uint64_t kept = 0;
        const gk_plan_item *item = &l->p->item[i];
        for (uint64_t k = 0; k < l->n_tiles; k++)
            if (l->tile[k].unit - item->first_unit >= item->n_units)
                l->tile[kept++] = l->tile[k];
        l->n_tiles = kept;
        return true;
    }
    if (sscanf(line, "input %" SCNu64, &i) == 1 && i < l->p->from->n_inputs) {
        const gk_file *f = l->p->from->input[i].file;
        input_line(f, i, own, sizeof own);
        if (strcmp(own, line) == 0)
            return true;
        gk_fail(err, GK_ERR_IO, GK_NO_OFF,
                "changed since the interrupted run read it; start again without --resume");
        return gk_fail_at(err, f->name, NULL);
    }
    if (sscanf(line, "range %" SCNu64 " %" SCNx64, &i, &bits) == 2 && i < l->p->n_ranges) {
        const uint32_t word = (uint32_t)bits;
        memcpy(&l->most[i], &word, sizeof word);
        l->ranges_known = i + 1 == l->p->n_ranges;
        return true;
    }
    if (strcmp(line, "sealed") == 0)
        return l->sealed = true;
    if (strncmp(line, "about ", 6) == 0)
        return true;
    return gk_fail(err, GK_ERR_FORMAT, GK_NO_OFF, "a journal of another version");
}

static int by_unit(const void *a, const void *b)
{
    const gk_done_tile *x = a, *y = b;

    return x->unit < y->unit ? -1 : x->unit > y->unit;
}

/* Tensors that other tiles left unfinished are done again: their lines no longer count. */
static bool drop_unfinished(gk_progress_log *l, gk_err *err)
{
    char line[64];
    gk_text lines = {0};

    for (uint64_t i = 0; i < l->p->n_items; i++) {
        const gk_plan_item *item = &l->p->item[i];
        found *f = &l->item[i];
        const bool whole = f->elems == gk_rows(item->from) * gk_cols(item->from);
        if (!f->other || whole)
            continue;
        snprintf(line, sizeof line, "void %" PRIu64, i);
        gk_journal_line(&lines, line);
        take_line(l, line, err);
    }
    const bool ok = gk_journal_write(l->journal, &lines, err);
    gk_text_free(&lines);
    return ok;
}

const char *const gk_about_keys[GK_N_ABOUT] = {"to", "method", "recipe", "output", "input"};

char *gk_about(const gk_plan *p, int i, gk_arena *a, gk_err *err)
{
    const gk_catalog *c = p->from;
    char *text = NULL;
    uint64_t bytes = 0;

    if (i == 0)
        return gk_arena_str(a, p->options.target->name, err);
    if (i == 1)
        return gk_arena_str(a, gk_method_name(p->options.method), err);
    if (i == 2) {
        text = gk_arena_str(a, p->recipe, err);
        for (char *at = text; at != NULL && (at = strchr(at, '\n')) != NULL;)
            *at = at[1] == '\0' ? '\0' : ';';
        return text;
    }
    if (i == 3)
        return gk_arena_printf(a, err, "%" PRIu64 " tensors, %" PRIu64 " bytes in %" PRIu64
                               " files", p->n_entries, p->shards.tensor_bytes, p->shards.n);
    for (uint64_t k = 0; k < c->n_inputs; k++)
        bytes += c->input[k].file->size;
    return gk_arena_printf(a, err, "%" PRIu64 " files from %s on, %" PRIu64 " bytes", c->n_inputs,
                           c->n_inputs > 0 ? c->input[0].name : "none", bytes);
}

static void about_lines(const gk_plan *p, gk_text *lines, gk_err *err)
{
    gk_arena *a = gk_arena_new(err);

    for (int i = 0; a != NULL && i < GK_N_ABOUT; i++) {
        const char *key = gk_about_keys[i], *value = gk_about(p, i, a, err);
        char *line = value == NULL ? NULL : gk_arena_printf(a, err, "about %s %s", key, value);
        for (char *at = line; at != NULL && (at = strchr(at, '\n')) != NULL;)
            *at = ' '; /* in the name of a file */
        if (line != NULL)
            gk_journal_line(lines, line);
    }
    gk_arena_free(a);
}

static bool first_lines(gk_progress_log *l, const char *first, gk_err *err)
{
    char line[160];
    gk_text lines = {0};

    gk_journal_line(&lines, first);
    about_lines(l->p, &lines, err);
    for (uint64_t i = 0; i < l->p->from->n_inputs; i++)
        if (is_file(l->p->from->input[i].file)) {
            input_line(l->p->from->input[i].file, i, line, sizeof line);
            gk_journal_line(&lines, line);
        }
    const bool ok = err->code == GK_OK && gk_journal_write(l->journal, &lines, err);
    gk_text_free(&lines);
    return ok;
}

/* Marks the tiles that count: each once, whatever the journal says, and none of a tensor
 * that is done as a whole. */
static void sort_tiles(gk_progress_log *l)
{
    uint64_t kept = 0;

    if (l->n_tiles > 0)
        qsort(l->tile, (size_t)l->n_tiles, sizeof *l->tile, by_unit);
    for (uint64_t i = 0; i < l->n_tiles; i++) {
        const gk_done_tile tile = l->tile[i];
        const gk_plan_item *item = gk_plan_item_of(l->p, tile.unit);
        if (gk_progress_log_has(l, tile.unit) || l->item[item - l->p->item].other)
            continue;
        l->done[tile.unit / 64] |= UINT64_C(1) << tile.unit % 64;
        l->tile[kept++] = tile;
    }
    l->n_tiles = kept;
}

static bool take_up(gk_progress_log *l, gk_err *err)
{
    char first[96];
    const char *line = gk_journal_next(l->journal);

    snprintf(first, sizeof first, "grokkit journal 1 plan %s", l->p->sha256);
    if (line == NULL)
        return first_lines(l, first, err);
    if (strcmp(line, first) != 0)
        return gk_fail(err, GK_ERR_FORMAT, GK_NO_OFF, "the journal is not of this plan");
    while ((line = gk_journal_next(l->journal)) != NULL)
        if (!take_line(l, line, err))
            return false;
    if (!drop_unfinished(l, err))
        return false;
    sort_tiles(l);
    for (uint64_t i = 0; i < l->p->n_items; i++)
        l->any |= l->item[i].n > 0;
    return true;
}

gk_progress_log *gk_progress_log_open(const gk_plan *p, gk_output *out, bool resume, gk_err *err)
{
    gk_progress_log *l = gk_alloc(1, sizeof *l, err);

    if (l == NULL)
        return NULL;
    const uint64_t n_words = p->n_units / 64 + 1;
    const char *every = getenv("GK_KEEP_SECONDS"); /* tests: keep each tile at once */
    *l = (gk_progress_log){.p = p, .out = out, .last = now(), .every = BATCH_SECONDS};
    if (every != NULL)
        l->every = strtod(every, NULL);
    l->item = gk_alloc(p->n_items, sizeof *l->item, err);
    l->done = l->item == NULL ? NULL : gk_alloc(n_words, sizeof *l->done, err);
    l->most = l->done == NULL ? NULL : gk_alloc(p->n_ranges, sizeof *l->most, err);
    if (l->most != NULL) {
        memset(l->item, 0, p->n_items * sizeof *l->item);
        memset(l->done, 0, n_words * sizeof *l->done);
        l->journal = gk_journal_open(gk_output_dir(out), GK_JOURNAL_NAME, !resume, err);
        if (l->journal != NULL && take_up(l, err))
            return l;
        gk_fail_at(err, gk_output_partial(out), NULL);
    }
    gk_progress_log_close(l);
    return NULL;
}

void gk_progress_log_close(gk_progress_log *l)
{
    if (l == NULL)
        return;
    gk_journal_close(l->journal);
    gk_text_free(&l->noted);
    gk_free(l->item);
    gk_free(l->tile);
    gk_free(l->done);
    gk_free(l->most);
    gk_free(l);
}

/* ---- asking ------------------------------------------------------------------------ */

bool gk_progress_log_sealed(const gk_progress_log *l) { return l->sealed; }
bool gk_progress_log_any(const gk_progress_log *l) { return l->any; }

const gk_done_tile *gk_progress_log_tiles(const gk_progress_log *l, uint64_t *n)
{
    *n = l->n_tiles;
    return l->tile;
}

bool gk_progress_log_whole(const gk_progress_log *l, uint64_t item, double *error, double *square)
{
    *error = l->item[item].error;
    *square = l->item[item].square;
    return l->item[item].other;
}

bool gk_progress_log_has(const gk_progress_log *l, uint64_t unit)
{
    return l->done[unit / 64] >> unit % 64 & 1;
}

bool gk_progress_log_ranges(const gk_progress_log *l, float *most)
{
    if (l->ranges_known)
        memcpy(most, l->most, l->p->n_ranges * sizeof *most);
    return l->ranges_known;
}

/* ---- keeping ------------------------------------------------------------------------- */

/* Data first, then the lines that say so. */
static bool keep(gk_progress_log *l, const gk_text *lines, gk_err *err)
{
    if (lines->len == 0)
        return true;
    if (!gk_output_sync(l->out, err) || !gk_journal_write(l->journal, lines, err))
        return false;
    return l->any = true;
}

bool gk_progress_log_keep_ranges(gk_progress_log *l, const float *most, gk_err *err)
{
    char line[64];
    uint32_t bits;
    gk_text lines = {0};

    for (uint64_t i = 0; i < l->p->n_ranges; i++) {
        memcpy(&bits, &most[i], sizeof bits);
        snprintf(line, sizeof line, "range %" PRIu64 " %" PRIx32, i, bits);
        gk_journal_line(&lines, line);
    }
    const bool ok = gk_journal_write(l->journal, &lines, err);
    gk_text_free(&lines);
    return ok;
}

bool gk_progress_log_add(gk_progress_log *l, const gk_done_tile *tile, uint64_t input_bytes,
                         gk_err *err)
{
    const gk_plan_item *item = gk_plan_item_of(l->p, tile->unit);
    const gk_tile t = gk_plan_tile(item, tile->unit - item->first_unit);
    char line[256];
    gk_text batch = {0};
    bool ok = true;

    snprintf(line, sizeof line,
             "tile %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %a %a",
             (uint64_t)(item - l->p->item), t.row, t.n_rows, t.col, t.n_cols, tile->error,
             tile->square);
#pragma omp critical(gk_progress_log)
    {
        gk_journal_line(&l->noted, line);
        l->noted_bytes += input_bytes;
        if (!l->busy && (l->noted_bytes >= BATCH_BYTES || now() - l->last >= l->every)) {
            l->busy = true;
            batch = l->noted;
            l->noted = (gk_text){0};
            l->noted_bytes = 0;
        }
    }
    if (batch.data != NULL) { /* this thread keeps them, the others go on */
        ok = keep(l, &batch, err);
        gk_text_free(&batch);
#pragma omp critical(gk_progress_log)
        {
            l->last = now();
            l->busy = false;
        }
    }
    return ok;
}

bool gk_progress_log_keep(gk_progress_log *l, gk_err *err)
{
    const bool ok = keep(l, &l->noted, err);

    gk_text_clear(&l->noted);
    l->noted_bytes = 0;
    return ok;
}

bool gk_progress_log_seal(gk_progress_log *l, gk_err *err)
{
    gk_text lines = {0};

    gk_journal_line(&lines, "sealed");
    const bool ok = gk_journal_write(l->journal, &lines, err);
    gk_text_free(&lines);
    return ok;
}
