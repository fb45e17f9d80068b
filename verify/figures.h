/* verify/figures.h - what the values of a tensor come to.
 *
 * Extremes, zeros, subnormals, NaN and infinities are those of every value. Moments, exponents
 * and columns are those of every stride-th row, stride = rows / 256 but at most 32 and at least 1:
 * a sample of 256 rows or more (or all there are), the same rows however the tensor is cut. Each
 * run of a tensor (verify/values.h) is summed by itself and in the order of its tiles, and runs
 * are added in their order, so that no
 * figure depends on threads. NaN and infinities are left out. */
#ifndef GK_VERIFY_FIGURES_H
#define GK_VERIFY_FIGURES_H

#include "formats/catalog.h"

/* Rows [row, row + n_rows) x columns [col, col + n_cols) of a part, its bytes row-major. */
typedef struct gk_sight {
    uint64_t             row, n_rows, col, n_cols;
    const unsigned char *bytes;
} gk_sight;

/* ---- while values pass --------------------------------------------------------------- */

/* Of a run; all zero is none. */
typedef struct gk_sketch {
    struct gk_sketching *open;  /* until its last tile was seen */
    struct gk_sketched  *ended; /* since */
} gk_sketch;

/* What a run is: a rectangle of a part of so many rows, and its type, one that decodes to f32
 * by itself. */
typedef struct gk_sketch_of {
    gk_dtype dtype;
    uint64_t part_rows;
    gk_sight run; /* without bytes */
} gk_sketch_of;

/* Returns whether values of a stored type can be sketched. */
bool gk_can_sketch(gk_dtype dtype);

/* Adds the next tile of a run, from its first to its last; *nonfinite: one of its values may be
 * no finite number (else none is). False: NOMEM. */
bool gk_sketch_see(gk_sketch *s, const gk_sketch_of *of, const gk_sight *tile, bool *nonfinite,
                   gk_err *err);
void gk_sketch_free(gk_sketch *s);

/* ---- afterwards ---------------------------------------------------------------------- */

#define GK_CHANNELS      8
#define GK_CHANNEL_TIMES 8 /* as large as that of the others an outlier's RMS is at least */

/* An input column whose RMS stands far above that of all others. */
typedef struct gk_channel {
    uint64_t column;
    double   ratio; /* of both */
} gk_channel;

typedef struct gk_figures {
    const gk_tensor *tensor;
    uint64_t n, nonfinite; /* finite values, and others; n 0: nothing is known */
    uint64_t zero, denormal, zero_rows;
    double absmax, mean, std;
    double kurtosis; /* fourth central moment / std^4: 3 is a Gauss curve's; NaN: cannot be told */
    double entropy;  /* bits that the exponents carry */
    int first, n_counts;   /* count[i] values have the exponent byte first + i, as f32 (F16: */
    const uint64_t *count; /*   subnormals have 0)                                           */
    gk_channel channel[GK_CHANNELS]; /* the widest first */
    int n_channels;
} gk_figures;

typedef struct gk_figure_table {
    gk_arena   *arena;
    gk_figures *row; /* of the tensors of which something is known, in their order */
    uint64_t    n;
    /* over all that is stored as BF16, F16 or F32: */
    uint64_t floats, float_bytes;
    double   entropy;      /* bits of an exponent */
    double   packed_bytes; /* exponents coded at their entropy, tensor by tensor; an estimate */
} gk_figure_table;

/* Sets *out to what n runs of t come to; counts live in a. False: NOMEM. */
bool gk_figures_add_up(gk_arena *a, const gk_tensor *t, const gk_sketch *const *run, uint64_t n,
                       gk_figures *out, gk_err *err);

/* Sets the totals of a table whose rows are there. */
void gk_figure_table_total(gk_figure_table *t);
void gk_figure_table_free(gk_figure_table *t);

/* Adds findings for tensors that stand out: against those of the same kind in other layers, and
 * experts against those of their layer, by the median and the median deviation (robust z), where
 * there are enough to tell. What trained models show is no finding, or a note. False: NOMEM. */
bool gk_figures_judge(const gk_figure_table *t, gk_findings *f, gk_err *err);

/* A name without its numbers: layers.3 becomes layers.#; with experts_only, those behind
 * "experts." alone. In a; NULL and NOMEM. */
const char *gk_kind_of_name(gk_arena *a, const char *name, bool experts_only, gk_err *err);

#endif
