/* verify/checksums.h - digests of files and tensors against lists of what they should be. */
#ifndef GK_VERIFY_CHECKSUMS_H
#define GK_VERIFY_CHECKSUMS_H

#include <signal.h>

#include "formats/catalog.h"
#include "formats/hash.h"

typedef enum gk_sum_of {
    GK_SUM_FILE,    /* all bytes of a file                                    */
    GK_SUM_TENSOR,  /* a tensor of the model, merged: gk_tensor_digest()      */
    GK_SUM_ENTRY,   /* what a weight file stores under a name                 */
    GK_SUM_RANGE,   /* expected_bytes of a file from off on                   */
    GK_SUM_PAYLOAD, /* all such entries of a file, one after the other        */
} gk_sum_of;

/* A line of a list, and what was found. */
typedef struct gk_sum {
    gk_sum_of    of;
    gk_hash_kind kind; /* of expected                                              */
    bool         blob; /* expected is the SHA-1 that git names the file by         */
    const char  *name; /* of the file or tensor; a file below the model's: "a/b"   */
    const char  *listed; /* as the list spells it                                  */
    const char  *source; /* the list that says so, or NULL                         */
    const char  *path;   /* of a file that lies elsewhere than name says, or NULL  */
    const gk_tensor *tensor;
    const gk_stored *entry;
    uint32_t     input; /* of a PAYLOAD                                            */
    uint64_t     off;   /* of a RANGE                                              */
    uint64_t     bytes, expected_bytes; /* expected: GK_NO_OFF when unknown        */
    char         expected[GK_SHA256_HEX]; /* "" when unknown                       */
    char         found[GK_SHA256_HEX];    /* of the same kind; "" when not computed */
    char         sha256[GK_SHA256_HEX];   /* of a file, whatever kind is expected   */
    gk_err_code  failure; /* why it could not be computed; FORMAT: no such tensor  */
} gk_sum;

typedef struct gk_sums {
    gk_arena *arena;
    gk_sum   *row;
    uint64_t  n, cap, n_expected;
} gk_sums;

bool gk_sums_init(gk_sums *s, gk_err *err);
void gk_sums_free(gk_sums *s);

/* Appends a row for a file of the model, or a tensor of it. NULL and NOMEM. */
gk_sum *gk_sums_add(gk_sums *s, gk_sum_of of, const char *name, gk_err *err);

/* Appends the lines of the lists that lie with the model: SHA256SUMS, grokkit.json, what
 * Hugging Face's downloader notes of each file, the names of its cache's blobs, manifests of
 * llama-gguf-hash. Appends findings for lines that mean nothing. False: NOMEM, IO. */
bool gk_sums_find(gk_catalog *c, gk_sums *s, gk_err *err);

/* The same of what a person names: a list, or a folder in which lists (or Git LFS pointers)
 * lie. `strict`: a line that means nothing is an error (FORMAT), and so is no line at all. */
bool gk_sums_read(gk_catalog *c, const char *path, bool strict, gk_sums *s, gk_err *err);

/* The same of the text of a list. */
bool gk_sums_parse(gk_catalog *c, char *text, const char *source, bool strict, gk_sums *s,
                   gk_err *err);

/* Returns whether a row is as it should be. */
bool gk_sum_holds(const gk_sum *row);

/* Appends findings for what differs, is missing or is listed nowhere. */
bool gk_sums_judge(gk_catalog *c, const gk_sums *s, gk_err *err);

/* Compares the CRCs that files state of themselves (zip) and appends findings. */
bool gk_sums_crcs(gk_catalog *c, int threads, const volatile sig_atomic_t *stop, gk_err *err);

#endif
