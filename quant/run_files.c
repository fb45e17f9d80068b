/* quant/run_files.c - headers, gaps, small files. */
#include "quant/run_files.h"

#include "formats/checked.h"

static bool copy_extra(gk_output *out, const gk_extra *extra, gk_err *err)
{
    gk_arena *a = gk_arena_new(err);
    gk_file *f = a == NULL ? NULL : gk_extra_open(a, extra, err);
    const bool ok = f != NULL && gk_output_copy(out, extra->name, f, err);

    gk_file_close(f);
    gk_arena_free(a);
    return ok;
}

/* What alignment leaves between the tensors of a GGUF is written too: a file that a run before
 * this one left behind proves nothing about it. */
static bool write_gaps(const gk_plan *p, gk_output *out, const int *file, gk_err *err)
{
    static const char zeros[GK_MAX_ALIGN];

    for (uint64_t i = 0; i < p->n_entries; i++) {
        const gk_entry *e = &p->entry[i];
        const uint64_t end = e->off + e->bytes, left = p->shards.shard[e->shard].bytes - end;
        const uint64_t gap = gk_div_up(end, p->shards.alignment) * p->shards.alignment - end;
        if (gap > 0 && left > 0
            && !gk_output_write(out, file[e->shard], end, zeros, gk_min(gap, left), err))
            return false;
    }
    return true;
}

/* The stored shapes of matrices, which no tile holds. */
static bool write_shapes(const gk_plan *p, gk_output *out, const int *file, gk_err *err)
{
    int64_t shape[2];

    for (uint64_t i = 0; i < p->n_items; i++)
        for (uint32_t k = 0; k < p->item[i].n_entries; k++) {
            const gk_entry *e = &p->item[i].entry[k];
            if (gk_plan_shape(&p->item[i], k, shape)
                && !gk_output_write(out, file[e->shard], e->off, shape, sizeof shape, err))
                return false;
        }
    return true;
}

bool gk_run_create_files(const gk_plan *p, gk_output *out, int *file, gk_err *err)
{
    bool ok = true;

    for (uint64_t i = 0; ok && i < p->shards.n; i++) {
        const gk_shard *s = &p->shards.shard[i];
        ok = gk_output_create(out, s->name, s->bytes, &file[i], err)
             && gk_output_write(out, file[i], 0, s->header, s->header_bytes, err);
    }
    ok = ok && write_gaps(p, out, file, err) && write_shapes(p, out, file, err);
    if (ok && p->made.entry != NULL)
        ok = gk_output_write(out, file[p->made.entry->shard], p->made.entry->off,
                             p->made.data, p->made.entry->bytes, err);
    for (int i = 0; ok && i < p->n_texts; i++)
        ok = gk_output_put(out, p->text[i].name, p->text[i].data, p->text[i].bytes, err);
    for (uint64_t i = 0; ok && i < gk_plan_extras(p); i++)
        ok = copy_extra(out, &p->from->extra[i], err);
    return ok;
}

void gk_run_list_files(const gk_plan *p, gk_run_result *result)
{
    result->n_files = gk_plan_n_files(p);
    for (uint64_t i = 0; i < result->n_files; i++)
        result->file[i].name = gk_plan_file(p, i, &result->file[i].bytes);
}
