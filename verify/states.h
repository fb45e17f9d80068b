/* verify/states.h - activations of all windows: in memory, or in a scratch file. */
#ifndef GK_VERIFY_STATES_H
#define GK_VERIFY_STATES_H

#include "formats/scratch.h"

/* [n, d] floats, row-major. */
typedef struct gk_rows {
    float *ram; /* NULL: they lie in file */
    gk_scratch *file;
    uint64_t n, d;
} gk_states;

/* Makes room; dir NULL: in memory, else a scratch file there. False: NOMEM, IO, SPACE. Free in
 * any case. */
bool gk_states_open(gk_states *r, gk_arena *a, const char *dir, uint64_t n, uint64_t d,
                    gk_err *err);
void gk_states_free(gk_states *r);

/* Copies rows [row, row + n) out or in. False: IO, SPACE. */
bool gk_states_load(const gk_states *r, uint64_t row, uint64_t n, float *out, gk_err *err);
bool gk_states_save(gk_states *r, uint64_t row, uint64_t n, const float *in, gk_err *err);

#endif
