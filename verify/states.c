/* verify/states.c - in memory or out of it, the same floats. */
#include "verify/states.h"

#include <string.h>

bool gk_states_open(gk_states *r, gk_arena *a, const char *dir, uint64_t n, uint64_t d, gk_err *err)
{
    *r = (gk_states){.n = n, .d = d};
    if (dir == NULL)
        r->ram = gk_alloc(n * d, sizeof *r->ram, err);
    else
        r->file = gk_scratch_open(a, dir, n * d * sizeof(float), err);
    return r->ram != NULL || r->file != NULL;
}

void gk_states_free(gk_states *r)
{
    gk_free(r->ram);
    gk_scratch_close(r->file);
    *r = (gk_states){0};
}

bool gk_states_load(const gk_states *r, uint64_t row, uint64_t n, float *out, gk_err *err)
{
    const uint64_t row_bytes = r->d * sizeof(float);

    if (r->ram == NULL)
        return gk_scratch_read(r->file, row * row_bytes, out, n * row_bytes, err);
    memcpy(out, r->ram + row * r->d, n * row_bytes);
    return true;
}

bool gk_states_save(gk_states *r, uint64_t row, uint64_t n, const float *in, gk_err *err)
{
    const uint64_t row_bytes = r->d * sizeof(float);

    if (r->ram == NULL)
        return gk_scratch_write(r->file, row * row_bytes, in, n * row_bytes, err);
    memcpy(r->ram + row * r->d, in, n * row_bytes);
    return true;
}
