/* verify/signature.h - signatures of OpenSSF Model Signing 1.0 (ossf/model-signing-spec
 * spec/v1.0.md @a0c91e2): a Sigstore bundle around a DSSE envelope around an in-toto statement
 * that lists the digest of every file of a model directory.
 *
 * A signature that holds is a list of digests like any other; who says so stands in the rows. */
#ifndef GK_VERIFY_SIGNATURE_H
#define GK_VERIFY_SIGNATURE_H

#include "verify/checksums.h"

typedef struct gk_signature {
    const char *path;       /* of the bundle                                       */
    const char *public_key; /* PEM file that must have signed it, or NULL          */
    const char *trusted;    /* PEM file of certificates that a chain must reach    */
    bool        ignore_unsigned; /* files that it does not list are nobody's business */
} gk_signature;

/* Reads a signature, proves who made it and appends its rows. A proof that fails, and files
 * that are not signed, become findings (check "signature"). False: FORMAT or UNSUPPORTED for a
 * bundle that cannot be understood, ARG for a model that is no directory, IO, NOMEM. */
bool gk_signature_read(gk_catalog *c, const gk_signature *g, gk_sums *s, gk_err *err);

/* Appends a row for each file of the model directory that a signature at `path` will list. */
bool gk_signature_list(gk_catalog *c, const char *path, gk_sums *s, gk_err *err);

/* Writes the bundle that lists those rows, once they are computed, signed by the private key in
 * a PEM file. */
bool gk_signature_make(gk_catalog *c, const char *key, const gk_sums *s, gk_text *out, gk_err *err);

#endif
