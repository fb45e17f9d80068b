/* verify/accidents.h - what two models are to each other: a verdict, and accidents by name.
 *
 * A tensor that differs by more than a codec would is compared with others of its shape, and with
 * its own values in other places: by a few rows first, then by all. */
#ifndef GK_VERIFY_ACCIDENTS_H
#define GK_VERIFY_ACCIDENTS_H

#include "verify/compare.h"

typedef struct gk_accident {
    const char  *kind; /* one word or two: "experts-exchanged", for programs */
    const char  *text; /* a sentence without names of tensors               */
    const char **tensor;
    uint64_t     n, cap; /* of tensors */
} gk_accident;

typedef struct gk_judgement {
    const char  *verdict; /* one sentence */
    gk_accident *row;
    uint64_t     n, cap;
} gk_judgement;

/* Judges a comparison of a and b; strings live in its arena. Free the rows with
 * gk_judgement_free(). False: IO, NOMEM, INTERRUPTED. */
bool gk_compare_judge(const gk_catalog *a, const gk_catalog *b, const gk_comparison *c,
                      const volatile sig_atomic_t *stop, gk_judgement *out, gk_err *err);
void gk_judgement_free(gk_judgement *j);

/* ---- between verify/accidents.c and verify/places.c --------------------------------------- */

/* Where the values of b's tensor stand in a's: element (r, c) of b is element (row, col) of a. */
typedef enum gk_place_kind {
    GK_PLACE_SAME,
    GK_PLACE_TRANSPOSED,
    GK_PLACE_ROW_BLOCKS, /* n of them, block i of b is block from[i] of a */
    GK_PLACE_COL_BLOCKS,
    GK_PLACE_ROPE,       /* rows of each head (n of them) as llama.cpp stores them */
    GK_PLACE_UNROPE,     /* those taken back */
    GK_PLACE_JOINED_ROWS, /* n slices of columns, joined as rows */
    GK_PLACE_JOINED_COLS, /* n slices of rows, joined as columns */
} gk_place_kind;

#define GK_PLACE_BLOCKS 32

typedef struct gk_place {
    gk_place_kind kind;
    uint64_t n;
    uint8_t  from[GK_PLACE_BLOCKS];
} gk_place;

/* Two tensors of as many elements, and what equal means: within the error of a codec, or of a
 * rounding. */
typedef struct gk_place_pair {
    const gk_catalog *ca, *cb;
    const gk_tensor  *a, *b;
    bool coded;
    const volatile sig_atomic_t *stop;
} gk_place_pair;

#define GK_CODED_ERROR 0.3  /* relative squared: codecs stay far below, other values are at 2 */
#define GK_PLAIN_ERROR 2e-5 /* a cut to bf16 is at 5e-6 */

/* Fills out [GK_SAMPLE] with values from a few rows, spread; returns how many in *n. */
#define GK_SAMPLE 1024
bool gk_place_sample(const gk_catalog *c, const gk_tensor *t, float *out, uint64_t *n,
                     gk_err *err);

/* Returns the correlation of two samples (their means taken off). */
double gk_place_alike(const float *a, const float *b, uint64_t n);

/* Whether all values of b are those of a at that place. */
bool gk_place_holds(const gk_place_pair *p, const gk_place *at, bool *holds, gk_err *err);

/* Looks for a place that holds; heads: of q or k, 0 where rope turns nothing. */
bool gk_place_find(const gk_place_pair *p, uint64_t heads, gk_place *out, bool *found,
                   gk_err *err);

#endif
