/* quant/follow.c - how far each file is whole, and hashing up to there. */
#include "quant/follow.h"

#include <stdlib.h>

#include "formats/checked.h"

#define STEP_BYTES 65536               /* read at once                              */
#define TURN_BYTES (UINT64_C(4) << 20) /* hashed at once: others wait for the writer */

/* What one item fills of one entry, without a gap; sorted by file and place. */
typedef struct segment {
    uint64_t off, end;
    uint32_t item, entry; /* entry: of the item's */
} segment;

typedef struct trail {
    gk_hash *hash;
    uint64_t at;      /* hashed                              */
    uint64_t next, n; /* segments: the one `at` is in, behind the last */
    bool busy;        /* somebody is at it                   */
} trail;

struct gk_follow {
    const gk_plan *p;
    gk_output *out;
    const int *file;
    segment *segment;
    trail *trail;   /* of each shard                        */
    uint64_t n;     /* segments                             */
    uint64_t *done; /* a bit a unit                         */
    uint64_t low;   /* all units below are done             */
    bool moving;    /* somebody raises it                  */
    uint64_t first; /* the first shard that is not at its end */
};

/* ---- what lies where --------------------------------------------------------------- */

static uint64_t shard_of(const gk_follow *f, const segment *s)
{
    return f->p->item[s->item].entry[s->entry].shard;
}

static int by_place(const void *a, const void *b, void *follow)
{
    const segment *x = a, *y = b;
    const uint64_t i = shard_of(follow, x), k = shard_of(follow, y);

    if (i != k)
        return i < k ? -1 : 1;
    return x->off < y->off ? -1 : x->off > y->off;
}

static bool divide(gk_follow *f, gk_err *err)
{
    const gk_plan *p = f->p;
    uint64_t max = 0;

    for (uint64_t i = 0; i < p->n_items; i++)
        max += p->item[i].n_entries;
    f->segment = gk_alloc(max, sizeof *f->segment, err);
    if (f->segment == NULL)
        return false;
    for (uint64_t i = 0; i < p->n_items; i++)
        for (uint32_t k = 0; k < p->item[i].n_entries; k++) {
            const gk_plan_item *item = &p->item[i];
            const gk_entry *e = &item->entry[k];
            const bool coded = gk_scheme_is_coded(&item->to);
            if (gk_plan_shape(item, k, NULL))
                continue; /* is there before the first unit */
            const uint64_t off = e->off + (coded ? 0 : item->row0 * gk_plan_stride(item, e));
            const uint64_t bytes = coded ? e->bytes : item->bytes;
            f->segment[f->n++] = (segment){off, off + bytes, (uint32_t)i, k};
        }
    if (f->n > 0)
        qsort_r(f->segment, (size_t)f->n, sizeof *f->segment, by_place, f);
    for (uint64_t s = 0, at = 0; s < p->shards.n; s++) {
        f->trail[s].next = at;
        while (at < f->n && shard_of(f, &f->segment[at]) == s)
            at++;
        f->trail[s].n = at;
    }
    return true;
}

gk_follow *gk_follow_new(const gk_plan *p, gk_output *out, const int *file, gk_err *err)
{
    gk_follow *f = gk_alloc(1, sizeof *f, err);

    if (f == NULL)
        return NULL;
    *f = (gk_follow){.p = p, .out = out, .file = file};
    f->done = gk_alloc(p->n_units / 64 + 1, sizeof *f->done, err);
    f->trail = f->done == NULL ? NULL : gk_alloc(p->shards.n, sizeof *f->trail, err);
    bool ok = f->trail != NULL;
    if (ok) {
        memset(f->done, 0, (p->n_units / 64 + 1) * sizeof *f->done);
        memset(f->trail, 0, p->shards.n * sizeof *f->trail);
        ok = divide(f, err);
    }
    for (uint64_t i = 0; ok && i < p->shards.n; i++)
        ok = (f->trail[i].hash = gk_hash_new(err)) != NULL;
    if (ok)
        return f;
    gk_follow_free(f);
    return NULL;
}

void gk_follow_free(gk_follow *f)
{
    char unused[GK_SHA256_HEX];

    if (f == NULL)
        return;
    for (uint64_t i = 0; f->trail != NULL && i < f->p->shards.n; i++)
        if (f->trail[i].hash != NULL)
            gk_hash_end(f->trail[i].hash, unused);
    gk_free(f->segment);
    gk_free(f->trail);
    gk_free(f->done);
    gk_free(f);
}

uint64_t gk_follow_shards(const gk_follow *f) { return f->p->shards.n; }

/* ---- how far a file is whole --------------------------------------------------------- */

/* Bytes of a segment that the first n_rows rows of its item fill, from its beginning on. */
static uint64_t filled_by(const gk_follow *f, const segment *s, uint64_t n_rows)
{
    const gk_plan_item *item = &f->p->item[s->item];
    const gk_entry *e = &item->entry[s->entry];
    gk_tile span = {0, n_rows, 0, gk_cols(item->from)};

    if (n_rows == 0 || item->heads > 0)
        return 0;
    if (gk_scheme_is_coded(&item->to)) {
        const uint64_t dim[2] = {gk_rows(item->from), gk_cols(item->from)};
        const gk_tile rows = span;
        item->to.layout->span(&item->to, (int)s->entry, dim, &rows, &span);
        if (span.row != 0 || e->ndim == 0 || span.n_cols != e->dim[e->ndim - 1])
            return 0;
    }
    return gk_min(span.n_rows * gk_plan_stride(item, e), s->end - s->off);
}

/* The end of what is there for good, from a trail's beginning on. */
static uint64_t whole_until(const gk_follow *f, uint64_t shard, trail *t, uint64_t low)
{
    for (; t->next < t->n; t->next++) {
        const segment *s = &f->segment[t->next];
        const gk_plan_item *item = &f->p->item[s->item];
        if (item->n_units == 0 || low >= item->first_unit + item->n_units)
            continue;
        const uint64_t bands = low <= item->first_unit
                                   ? 0
                                   : (low - item->first_unit) / item->n_col_tiles;
        return s->off + filled_by(f, s, bands * item->tile_rows);
    }
    return f->p->shards.shard[shard].bytes;
}

static bool hash_until(gk_follow *f, uint64_t shard, trail *t, uint64_t end, gk_err *err)
{
    unsigned char buf[STEP_BYTES];

    while (t->at < end) {
        const uint64_t n = gk_min(end - t->at, sizeof buf);
        if (!gk_output_read(f->out, f->file[shard], t->at, buf, n, err))
            return false;
        gk_hash_add(t->hash, buf, n);
        t->at += n;
    }
    gk_output_read_until(f->out, f->file[shard], t->at);
    return true;
}

static bool take(bool *lock)
{
    bool free = false;

    return __atomic_compare_exchange_n(lock, &free, true, false, __ATOMIC_ACQUIRE,
                                       __ATOMIC_RELAXED);
}

static void give(bool *lock) { __atomic_store_n(lock, false, __ATOMIC_RELEASE); }

static bool follow(gk_follow *f, uint64_t shard, gk_err *err)
{
    trail *t = &f->trail[shard];

    if (!take(&t->busy))
        return true;
    const uint64_t end = whole_until(f, shard, t, __atomic_load_n(&f->low, __ATOMIC_ACQUIRE));
    const bool ok = hash_until(f, shard, t, gk_min(end, t->at + TURN_BYTES), err);
    uint64_t is_first = shard;
    if (ok && t->at == f->p->shards.shard[shard].bytes)
        __atomic_compare_exchange_n(&f->first, &is_first, shard + 1, false, __ATOMIC_RELAXED,
                                    __ATOMIC_RELAXED);
    give(&t->busy);
    return ok;
}

bool gk_follow_note(gk_follow *f, uint64_t unit, gk_err *err)
{
    const uint64_t shard = gk_plan_item_of(f->p, unit)->entry[0].shard;

    __atomic_fetch_or(&f->done[unit / 64], UINT64_C(1) << unit % 64, __ATOMIC_RELEASE);
    if (take(&f->moving)) {
        uint64_t low = f->low;
        while (low < f->p->n_units
               && (__atomic_load_n(&f->done[low / 64], __ATOMIC_ACQUIRE) >> low % 64 & 1))
            low++;
        __atomic_store_n(&f->low, low, __ATOMIC_RELEASE);
        give(&f->moving);
    }
    const uint64_t first = __atomic_load_n(&f->first, __ATOMIC_RELAXED);
    return (first >= shard || follow(f, first, err)) && follow(f, shard, err);
}

bool gk_follow_end(gk_follow *f, uint64_t i, const volatile sig_atomic_t *stop,
                   char hex[GK_SHA256_HEX], gk_err *err)
{
    const uint64_t bytes = f->p->shards.shard[i].bytes;
    trail *t = &f->trail[i];

    while (t->at < bytes) {
        if (stop != NULL && *stop)
            return gk_fail(err, GK_ERR_INTERRUPTED, GK_NO_OFF, "interrupted");
        if (!hash_until(f, i, t, gk_min(bytes, t->at + TURN_BYTES), err))
            return false;
        gk_output_drop(f->out, f->file[i]);
    }
    gk_hash_end(t->hash, hex);
    t->hash = NULL;
    return true;
}
