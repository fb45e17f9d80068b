/* quant/speed.c - how fast this machine encodes, for the estimate of a dry run. */
#include <time.h>

#include "quant/blocks.h"
#include "quant/plan.h"

enum { ROWS = 128, COLS = 1024 };

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static bool encodes(const gk_plan_item *item)
{
    return gk_scheme_is_coded(&item->to)
           || (item->to.kind == GK_SCHEME_CAST && gk_blocks_of(item->to.cast) != NULL);
}

static const gk_plan_item *commonest(const gk_plan *p)
{
    const gk_plan_item *item = NULL;
    uint64_t most = 0;

    for (uint64_t i = 0; i < p->n_items; i++)
        if (encodes(&p->item[i]) && gk_tensor_bytes(p->item[i].from) > most) {
            most = gk_tensor_bytes(p->item[i].from);
            item = &p->item[i];
        }
    return item;
}

static void encode_once(const gk_plan_item *item, const gk_coding *job)
{
    if (gk_scheme_is_coded(&item->to)) {
        item->to.layout->encode(job);
        return;
    }
    for (int r = 0; r < ROWS; r++)
        gk_blocks_of(item->to.cast)->encode(job->w + r * COLS, COLS, NULL, job->part[0]);
}

double gk_plan_speed(const gk_plan *p)
{
    const gk_plan_item *item = commonest(p);
    const uint64_t scratch = item != NULL && gk_scheme_is_coded(&item->to)
                                 ? item->to.layout->scratch_bytes(&item->to, ROWS, COLS)
                                 : 0;
    /* no part takes more than four bytes a weight */
    const uint64_t part_bytes = ROWS * COLS * 4;
    float *w = item == NULL ? NULL : gk_alloc(2 * ROWS * COLS, sizeof *w, NULL);
    unsigned char *parts = w == NULL ? NULL
                                     : gk_alloc(GK_MAX_PARTS * part_bytes + scratch, 1, NULL);
    uint32_t seed = 1;
    double speed = 0;

    if (parts != NULL) {
        gk_coding job = {.scheme = &item->to,
                         .method = p->options.method,
                         .most = 0.03f,
                         .dim = {ROWS, COLS},
                         .tile = {0, ROWS, 0, COLS},
                         .w = w,
                         .v = w + ROWS * COLS,
                         .scratch = parts + GK_MAX_PARTS * part_bytes};
        for (int i = 0; i < GK_MAX_PARTS; i++)
            job.part[i] = parts + (uint64_t)i * part_bytes;
        for (int i = 0; i < item->n_entries; i++)
            job.dtype[i] = (gk_dtype)item->entry[i].dtype;
        for (int i = 0; i < ROWS * COLS; i++) {
            seed = seed * 1664525u + 1013904223u;
            w[i] = (float)(int32_t)seed * 1e-11f;
        }
        const double start = now();
        int rounds = 0;
        do {
            encode_once(item, &job);
            rounds++;
        } while (now() - start < 0.02);
        speed = 2.0 * ROWS * COLS * rounds / (now() - start);
    }
    gk_free(parts);
    gk_free(w);
    return speed;
}
