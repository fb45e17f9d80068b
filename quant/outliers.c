/* quant/outliers.c - tensors that a format suits much worse than others of their kind. */
#include <stdlib.h>
#include <string.h>

#include "quant/run.h"

typedef struct rated {
    const char *kind; /* the name with every number as '#' */
    double      error;
    uint64_t    item;
} rated;

static int by_kind_and_error(const void *a, const void *b)
{
    const rated *x = a, *y = b;
    const int order = strcmp(x->kind, y->kind);

    if (order != 0)
        return order;
    return x->error < y->error ? -1 : x->error > y->error;
}

static const char *kind_name(gk_arena *a, const char *name, gk_err *err)
{
    char *kind = gk_arena_str(a, name, err), *to = kind;

    for (const char *from = kind; kind != NULL && *from != '\0'; from++)
        if (*from < '0' || *from > '9')
            *to++ = *from;
        else if (to == kind || to[-1] != '#')
            *to++ = '#';
    if (kind != NULL)
        *to = '\0';
    return kind;
}

bool gk_run_outliers(const gk_plan *p, const gk_run_result *r, gk_findings *out, gk_err *err)
{
    gk_arena *a = gk_arena_new(err);
    rated *row = a == NULL ? NULL : gk_arena_alloc(a, p->n_items, sizeof *row, err);
    uint64_t n = 0;
    bool ok = row != NULL;

    for (uint64_t i = 0; ok && i < p->n_items; i++)
        if (gk_scheme_is_coded(&p->item[i].to) || gk_dtype_is_block(p->item[i].to.cast)) {
            row[n] = (rated){kind_name(a, p->item[i].from->name, err), r->rel_error[i], i};
            ok = row[n++].kind != NULL;
        }
    if (ok)
        qsort(row, (size_t)n, sizeof *row, by_kind_and_error);
    for (uint64_t i = 0, next; ok && i < n; i = next) {
        for (next = i + 1; next < n && strcmp(row[next].kind, row[i].kind) == 0;)
            next++;
        const double median = row[i + (next - i) / 2].error;
        for (uint64_t k = i; ok && k < next; k++)
            if (row[k].error > 3 * median)
                ok = gk_findings_addf(out, "error", GK_WARN, NULL, p->item[row[k].item].from->name,
                                      err, "relative error %.3g is %.1f times the median of its "
                                      "kind", row[k].error, row[k].error / median);
    }
    gk_arena_free(a);
    return ok;
}
