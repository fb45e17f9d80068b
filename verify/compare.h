/* verify/compare.h - two models, tensor by tensor. */
#ifndef GK_VERIFY_COMPARE_H
#define GK_VERIFY_COMPARE_H

#include <signal.h>

#include "formats/catalog.h"

typedef struct gk_tensor_error {
    const gk_tensor *a, *b; /* NULL on the side that lacks it               */
    double rel_error;       /* sum (a - b)^2 / sum a^2                      */
    double max_abs, cosine;
    bool   equal;           /* the same values, whatever the dtype          */
    bool   comparable;      /* same shape, and both decode to numbers       */
    bool   bytes;           /* of one type that is no number here: so equal or not */
    bool   unread;          /* same shape, but one side's values cannot be read */
    bool   derived;         /* one side's alone, and what the other's config says */
    bool   coded;           /* one side is an encoding of its values */
    bool   same_bits;       /* equal, of one kind, and no zero has another sign     */
    /* where both are comparable and not equal: */
    double square;          /* sum a^2 */
    double gain;            /* the factor g with the least sum (g a - b)^2           */
    uint64_t lost_rows, first_lost, last_lost; /* whose error is half of them, or more */
    double   lost;          /* the error of those                                    */
    /* and neither is coded: */
    uint64_t differ_rows, first_row, last_row; /* rows in which an element differs   */
    uint64_t first_col, last_col, first_at;    /* of all of them; in the first row   */
    uint64_t not_zero;      /* elements that differ and are no zeros in b            */
    uint64_t overflow;      /* infinities in b for numbers of a that f16 cannot hold */
    uint64_t not_truncated, not_rounded; /* b is not a cut off, or rounded, to bf16  */
} gk_tensor_error;

typedef struct gk_comparison {
    gk_arena        *arena;
    gk_tensor_error *row; /* union of names, in natural order */
    uint64_t         n;
    double           rel_error; /* over all comparable tensors */
    uint64_t         equal, different, only_a, only_b, derived;
    uint64_t         apart; /* of `different`: another shape, or no numbers to compare */
} gk_comparison;

typedef struct gk_compare_options {
    bool (*wanted)(void *context, const char *name); /* NULL: all */
    int  threads;
    const volatile sig_atomic_t *stop;
    void (*progress)(void *context, uint64_t bytes, const char *tensor);
    void *context;
} gk_compare_options;

/* Compares values as f32; what is F64 on both sides is equal when its bytes are. Factors of
 * rope that a GGUF has as a tensor, and a config.json as rope_scaling, are derived when they
 * agree to 2^-20 of each. False: IO, NOMEM, INTERRUPTED. Free the result in any case. */
bool gk_compare(const gk_catalog *a, const gk_catalog *b, const gk_compare_options *options,
                gk_comparison *out, gk_err *err);
void gk_comparison_free(gk_comparison *c);

#endif
