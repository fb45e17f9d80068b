/* verify/checksums.h - digests of files against lists of what they should be. */
#ifndef GK_VERIFY_CHECKSUMS_H
#define GK_VERIFY_CHECKSUMS_H

#include <signal.h>

#include "formats/catalog.h"
#include "formats/hash.h"

typedef struct gk_sum {
    const char *name;
    uint64_t    bytes;
    char        sha256[GK_SHA256_HEX];   /* "" when not computed */
    char        expected[GK_SHA256_HEX]; /* "" when unknown      */
    const char *source;                  /* the list that says so, or NULL */
} gk_sum;

typedef struct gk_sums {
    gk_arena *arena;
    gk_sum   *row;
    uint64_t  n, cap, n_expected;
} gk_sums;

/* Compares the CRCs that files state of themselves (zip). Reads `list` (NULL: the
 * SHA256SUMS of the model directory, if there is one), computes the digests of the files
 * it names. Appends findings for what differs or is missing.
 * False: NOMEM, INTERRUPTED, IO when `list` cannot be read. */
bool gk_sums_check(gk_catalog *c, const char *list, int threads, const volatile sig_atomic_t *stop,
                   gk_sums *out, gk_err *err);
void gk_sums_free(gk_sums *s);

/* Takes one line "HEX  NAME" (or "HEX *NAME") apart; name points into line. False: no
 * such line. */
bool gk_sums_line(char *line, char hex[GK_SHA256_HEX], char **name);

/* Digest of a whole file of the model (gk_catalog_file()). */
bool gk_sums_file(const gk_catalog *c, const char *name, char hex[GK_SHA256_HEX], uint64_t *bytes,
                  gk_err *err);

#endif
