/* formats/signing.h - elliptic curve keys and certificates through libcrypto, and base64. */
#ifndef GK_FORMATS_SIGNING_H
#define GK_FORMATS_SIGNING_H

#include "formats/hash.h"
#include "formats/text.h"

typedef struct gk_key gk_key; /* P-256, P-384 or P-521 */

/* Reads a key in PEM form; a private one must not be encrypted. NULL and *err: FORMAT when it
 * is no such key, UNSUPPORTED for another curve. Free with gk_key_free(). */
gk_key *gk_key_read(const char *pem, uint64_t len, bool secret, gk_err *err);
void    gk_key_free(gk_key *k);

/* Returns the key of the first certificate (DER, n of them, base64) when a chain leads from it
 * to one of the trusted certificates (PEM) and it may sign. Dates are those of the time when it
 * became valid: a model outlives the certificate. NULL and FORMAT with the reason. */
gk_key *gk_key_of_chain(const char *const *certificate, uint64_t n, const char *trusted,
                        uint64_t trusted_len, gk_err *err);

/* Writes the SHA-256 of the public key in PEM form, by which bundles name it. */
bool gk_key_name(const gk_key *k, char hex[GK_SHA256_HEX], gk_err *err);

/* ECDSA with the SHA-2 of the curve's size. Appends a signature in DER form to out; returns
 * whether a signature is that of the bytes. */
bool gk_key_sign(const gk_key *k, const void *bytes, uint64_t n, gk_text *out, gk_err *err);
bool gk_key_verify(const gk_key *k, const void *bytes, uint64_t n, const gk_text *signature);

/* Base64 with padding and without line ends. False: text is none. */
void gk_base64_add(gk_text *out, const void *bytes, uint64_t n);
bool gk_base64_read(gk_text *out, const char *text, uint64_t len);

#endif
