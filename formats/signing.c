/* formats/signing.c - the only file that knows OpenSSL's keys and certificates. */
#include "formats/signing.h"

#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <string.h>

#define MAX_CHAIN 16

static EVP_PKEY *pkey_of(const gk_key *k) { return (EVP_PKEY *)(uintptr_t)k; }

/* A text in memory as libcrypto reads it. */
static BIO *reader_of(const void *bytes, uint64_t len)
{
    return len > INT32_MAX ? NULL : BIO_new_mem_buf(bytes, (int)len);
}

/* Nobody is asked for a password. */
static int no_password(char *buf, int size, int writing, void *context)
{
    (void)buf;
    (void)size;
    (void)writing;
    (void)context;
    return -1;
}

static bool on_known_curve(const EVP_PKEY *p)
{
    const int bits = EVP_PKEY_get_bits(p);

    return EVP_PKEY_get_base_id(p) == EVP_PKEY_EC && (bits == 256 || bits == 384 || bits == 521);
}

static const EVP_MD *digest_of(const EVP_PKEY *p)
{
    const int bits = EVP_PKEY_get_bits(p);

    return bits == 256 ? EVP_sha256() : bits == 384 ? EVP_sha384() : EVP_sha512();
}

static gk_key *take(EVP_PKEY *p, const char *what, gk_err *err)
{
    ERR_clear_error();
    if (p != NULL && on_known_curve(p))
        return (gk_key *)p;
    if (p == NULL)
        gk_fail(err, GK_ERR_FORMAT, GK_NO_OFF, "%s", what);
    else
        gk_fail(err, GK_ERR_UNSUPPORTED, GK_NO_OFF,
                "not a key on one of the curves P-256, P-384 and P-521");
    EVP_PKEY_free(p);
    return NULL;
}

gk_key *gk_key_read(const char *pem, uint64_t len, bool secret, gk_err *err)
{
    BIO *in = reader_of(pem, len);
    EVP_PKEY *p = in == NULL ? NULL
                  : secret   ? PEM_read_bio_PrivateKey(in, NULL, no_password, NULL)
                             : PEM_read_bio_PUBKEY(in, NULL, no_password, NULL);

    BIO_free(in);
    return take(p,
                secret ? "holds no private key in PEM form (an encrypted one is not read)"
                       : "holds no public key in PEM form",
                err);
}

void gk_key_free(gk_key *k) { EVP_PKEY_free(pkey_of(k)); }

bool gk_key_name(const gk_key *k, char hex[GK_SHA256_HEX], gk_err *err)
{
    BIO *out = BIO_new(BIO_s_mem());
    char *text = NULL;
    long len = 0;

    if (out != NULL && PEM_write_bio_PUBKEY(out, pkey_of(k)) == 1)
        len = BIO_get_mem_data(out, &text);
    const bool ok = len > 0 ? gk_hash_bytes(text, (uint64_t)len, hex, err)
                            : gk_fail(err, GK_ERR_NOMEM, GK_NO_OFF, "libcrypto failed on a key");
    BIO_free(out);
    return ok;
}

bool gk_key_sign(const gk_key *k, const void *bytes, uint64_t n, gk_text *out, gk_err *err)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    unsigned char signature[512];
    size_t len = sizeof signature;
    const bool ok = ctx != NULL
                    && EVP_DigestSignInit(ctx, NULL, digest_of(pkey_of(k)), NULL, pkey_of(k)) == 1
                    && EVP_DigestSign(ctx, signature, &len, bytes, (size_t)n) == 1;

    EVP_MD_CTX_free(ctx);
    ERR_clear_error();
    if (!ok)
        return gk_fail(err, GK_ERR_NOMEM, GK_NO_OFF, "libcrypto could not sign");
    gk_text_add(out, signature, len);
    return gk_text_ok(out, err);
}

bool gk_key_verify(const gk_key *k, const void *bytes, uint64_t n, const gk_text *signature)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    const bool ok = ctx != NULL && signature->len > 0
                    && EVP_DigestVerifyInit(ctx, NULL, digest_of(pkey_of(k)), NULL, pkey_of(k)) == 1
                    && EVP_DigestVerify(ctx, (const unsigned char *)signature->data, signature->len,
                                        bytes, (size_t)n)
                           == 1;

    EVP_MD_CTX_free(ctx);
    ERR_clear_error();
    return ok;
}

/* ---- certificates ------------------------------------------------------------------- */

static X509 *read_der(const char *text)
{
    gk_text der = {0};
    X509 *x = NULL;

    if (gk_base64_read(&der, text, strlen(text)) && der.len > 0 && der.len < INT32_MAX) {
        const unsigned char *at = (const unsigned char *)der.data;
        x = d2i_X509(NULL, &at, (long)der.len);
    }
    gk_text_free(&der);
    return x;
}

static X509_STORE *read_trusted(const char *pem, uint64_t len)
{
    X509_STORE *store = X509_STORE_new();
    BIO *in = reader_of(pem, len);
    uint64_t n = 0;
    X509 *x;

    while (store != NULL && in != NULL
           && (x = PEM_read_bio_X509(in, NULL, no_password, NULL)) != NULL) {
        n += X509_STORE_add_cert(store, x) == 1;
        X509_free(x);
    }
    BIO_free(in);
    if (n > 0)
        return store;
    X509_STORE_free(store);
    return NULL;
}

/* The seconds since 1970 of a certificate's first moment. */
static bool first_moment(const X509 *x, time_t *out)
{
    int days = 0, seconds = 0;
    ASN1_TIME *epoch = ASN1_TIME_set(NULL, 0);
    const bool ok = epoch != NULL
                    && ASN1_TIME_diff(&days, &seconds, epoch, X509_get0_notBefore(x)) == 1;

    ASN1_TIME_free(epoch);
    *out = (time_t)days * 86400 + seconds;
    return ok;
}

static bool may_sign(X509 *x)
{
    const uint32_t flags = X509_get_extension_flags(x);

    return ((flags & EXFLAG_KUSAGE) != 0 && (X509_get_key_usage(x) & KU_DIGITAL_SIGNATURE) != 0)
           || ((flags & EXFLAG_XKUSAGE) != 0
               && (X509_get_extended_key_usage(x) & XKU_CODE_SIGN) != 0);
}

static bool check_chain(X509 *leaf, STACK_OF(X509) * rest, X509_STORE *store, gk_err *err)
{
    X509_STORE_CTX *ctx = X509_STORE_CTX_new();
    time_t when = 0;
    bool ok = ctx != NULL && X509_STORE_CTX_init(ctx, store, leaf, rest) == 1
              && first_moment(leaf, &when);

    if (!ok) {
        gk_fail(err, GK_ERR_NOMEM, GK_NO_OFF, "libcrypto could not begin with a certificate");
    } else {
        X509_STORE_CTX_set_time(ctx, 0, when);
        ok = X509_verify_cert(ctx) == 1
             || gk_fail(err, GK_ERR_FORMAT, GK_NO_OFF, "the certificate is not trusted: %s",
                        X509_verify_cert_error_string(X509_STORE_CTX_get_error(ctx)));
        ok = ok
             && (may_sign(leaf)
                 || gk_fail(err, GK_ERR_FORMAT, GK_NO_OFF,
                            "the certificate is not one for signatures (key usage)"));
    }
    X509_STORE_CTX_free(ctx);
    ERR_clear_error();
    return ok;
}

gk_key *gk_key_of_chain(const char *const *certificate, uint64_t n, const char *trusted,
                        uint64_t trusted_len, gk_err *err)
{
    X509_STORE *store = read_trusted(trusted, trusted_len);
    STACK_OF(X509) *rest = sk_X509_new_null();
    X509 *leaf = n == 0 || n > MAX_CHAIN ? NULL : read_der(certificate[0]);
    gk_key *key = NULL;
    bool ok = leaf != NULL && rest != NULL;

    for (uint64_t i = 1; ok && i < n; i++) {
        X509 *x = read_der(certificate[i]);
        ok = x != NULL && sk_X509_push(rest, x) > 0;
    }
    if (store == NULL)
        gk_fail(err, GK_ERR_FORMAT, GK_NO_OFF, "no certificate in PEM form to trust");
    else if (!ok)
        gk_fail(err, GK_ERR_FORMAT, GK_NO_OFF, "a certificate of the bundle is unreadable");
    else if (check_chain(leaf, rest, store, err))
        key = take(X509_get_pubkey(leaf), "the certificate has no key", err);
    X509_free(leaf);
    sk_X509_pop_free(rest, X509_free);
    X509_STORE_free(store);
    ERR_clear_error();
    return key;
}

/* ---- base64 ------------------------------------------------------------------------- */

static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void gk_base64_add(gk_text *out, const void *bytes, uint64_t n)
{
    const unsigned char *p = bytes;

    for (uint64_t i = 0; i < n; i += 3) {
        const uint32_t u = (uint32_t)p[i] << 16 | (i + 1 < n ? (uint32_t)p[i + 1] << 8 : 0)
                           | (i + 2 < n ? p[i + 2] : 0);
        gk_text_char(out, letters[u >> 18]);
        gk_text_char(out, letters[u >> 12 & 63]);
        gk_text_char(out, i + 1 < n ? letters[u >> 6 & 63] : '=');
        gk_text_char(out, i + 2 < n ? letters[u & 63] : '=');
    }
}

bool gk_base64_read(gk_text *out, const char *text, uint64_t len)
{
    if (len % 4 != 0)
        return false;
    for (uint64_t i = 0; i < len; i += 4) {
        uint32_t u = 0;
        uint64_t pad = 0;
        for (uint64_t k = 0; k < 4; k++) {
            const char c = text[i + k], *at = c == '\0' ? NULL : strchr(letters, c);
            if (c == '=' && i + 4 == len && k >= 2)
                pad++;
            else if (at == NULL || pad > 0)
                return false;
            u = u << 6 | (at == NULL ? 0 : (uint32_t)(at - letters));
        }
        const char bytes[3] = {(char)(u >> 16), (char)(u >> 8), (char)u};
        gk_text_add(out, bytes, 3 - pad);
    }
    return !out->failed;
}
