/* verify/signature.c - bundles of OpenSSF Model Signing, read and written.
 *
 *   {mediaType, verificationMaterial: {publicKey: {hint} | x509CertificateChain:
 *    {certificates: [{rawBytes}]}, tlogEntries}, dsseEnvelope: {payload, payloadType,
 *    signatures: [{sig}]}}
 *
 *   payload: base64 of {_type, subject: [{name, digest: {sha256}}], predicateType, predicate:
 *    {serialization: {method, hash_type, ...}, resources: [{name, algorithm, digest}]}}
 *
 * What is signed is "DSSEv1 SP len SP payloadType SP len SP payload" (secure-systems-lab/dsse
 * protocol.md, PAE); the subject's digest is that of all resources' raw digests in their order. */
#include "verify/signature.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "formats/checked.h"
#include "formats/signing.h"

#define MAX_BUNDLE_BYTES (64u << 20)
#define MAX_PEM_BYTES    (1u << 20)
#define MAX_DEPTH        32
#define MAX_CHAIN        16
#define MEDIA_TYPE       "application/vnd.dev.sigstore.bundle.v0.3+json"
#define PAYLOAD_TYPE     "application/vnd.in-toto+json"
#define STATEMENT_TYPE   "https://in-toto.io/Statement/v1"
#define PREDICATE_TYPE   "https://model_signing/signature/v1.0"

/* What git keeps for itself; model_signing leaves it out by default. */
static const char *const git_paths[] = {".git", ".gitattributes", ".github", ".gitignore"};
#define N_GIT_PATHS (sizeof git_paths / sizeof git_paths[0])

static bool malformed(gk_err *err, const char *what)
{
    return gk_fail(err, GK_ERR_FORMAT, GK_NO_OFF, "no signature of OpenSSF Model Signing: %s",
                   what);
}

/* The text of a member, NULL when it is none or holds a NUL. */
static const char *text_at(const gk_json *node, const char *key)
{
    uint64_t len = 0;
    const char *s = gk_json_text(gk_json_get(node, key), &len);

    return s != NULL && strlen(s) == len ? s : NULL;
}

/* Reads base64; what is none is malformed, with `what` as the reason. */
static bool decode(gk_text *out, const char *text, const char *what, gk_err *err)
{
    if (text != NULL && gk_base64_read(out, text, strlen(text)) && out->len > 0)
        return true;
    return gk_text_ok(out, err) && malformed(err, what);
}

static bool says(const gk_json *node, const char *key, const char *what)
{
    const char *s = text_at(node, key);

    return s != NULL && strcmp(s, what) == 0;
}

/* ---- who signed --------------------------------------------------------------------- */

static void add_pae(gk_text *out, const gk_text *payload)
{
    gk_text_printf(out, "DSSEv1 %zu %s %" PRIu64 " ", strlen(PAYLOAD_TYPE), PAYLOAD_TYPE,
                   payload->len);
    gk_text_add(out, payload->data, payload->len);
}

static bool refuse(gk_catalog *c, const gk_signature *g, gk_err *err, const char *why)
{
    return gk_findings_addf(&c->findings, "signature", GK_BAD, gk_path_base(g->path), NULL, err,
                            "the signature does not hold: %s", why);
}

/* The key that the bundle must have been signed with; NULL with *why when it cannot be. */
static gk_key *key_of(const gk_json *material, const gk_signature *g, char why[256], gk_err *err)
{
    const gk_json *list = gk_json_get(gk_json_get(material, "x509CertificateChain"),
                                      "certificates");
    const char *certificate[MAX_CHAIN], *path = g->public_key != NULL ? g->public_key : g->trusted;
    uint64_t len = 0, n = gk_json_count(list);
    char *pem = gk_file_slurp(path, MAX_PEM_BYTES, &len, err);
    gk_key *key = NULL;
    gk_err own = {0};

    if (pem == NULL)
        return NULL;
    if (g->public_key != NULL) {
        key = gk_key_read(pem, len, false, err);
        if (key == NULL)
            gk_fail_at(err, path, NULL);
    } else if (n == 0 || n > MAX_CHAIN) {
        memcpy(why, "it names no certificate", sizeof "it names no certificate");
    } else {
        for (uint64_t i = 0; i < n; i++) {
            certificate[i] = text_at(gk_json_at(list, i), "rawBytes");
            if (certificate[i] == NULL)
                certificate[i] = "";
        }
        key = gk_key_of_chain(certificate, n, pem, len, &own);
        if (key == NULL)
            memcpy(why, own.msg, 255);
    }
    gk_free(pem);
    return key;
}

static bool check_name(const gk_key *key, const gk_json *material, char why[256], gk_err *err)
{
    const char *hint = text_at(gk_json_get(material, "publicKey"), "hint");
    char hex[GK_SHA256_HEX];

    if (!gk_key_name(key, hex, err))
        return false;
    if (hint != NULL && hint[0] != '\0' && strcmp(hint, hex) != 0)
        memcpy(why, "it was made with another key", sizeof "it was made with another key");
    return true;
}

/* Whether the envelope's one signature is of its payload. *why is "" when it is. */
static bool prove(const gk_json *root, const gk_signature *g, const gk_text *payload, char why[256],
                  gk_err *err)
{
    const gk_json *material = gk_json_get(root, "verificationMaterial");
    const gk_json *envelope = gk_json_get(root, "dsseEnvelope");
    const gk_json *list = gk_json_get(envelope, "signatures");
    const char *text = text_at(gk_json_at(list, 0), "sig");
    gk_text signature = {0}, signed_bytes = {0};

    if (!decode(&signature, gk_json_count(list) == 1 ? text : NULL,
                "expected one signature in base64", err)) {
        gk_text_free(&signature);
        return false;
    }
    gk_key *key = key_of(material, g, why, err);
    bool ok = err->code == GK_OK
              && (key == NULL || g->public_key == NULL || check_name(key, material, why, err));
    add_pae(&signed_bytes, payload);
    ok = ok && gk_text_ok(&signed_bytes, err);
    if (ok && why[0] == '\0'
        && !gk_key_verify(key, signed_bytes.data, signed_bytes.len, &signature))
        memcpy(why, "what it says was changed, or another key signed it",
               sizeof "what it says was changed, or another key signed it");
    gk_key_free(key);
    gk_text_free(&signature);
    gk_text_free(&signed_bytes);
    return ok;
}

/* ---- what was signed ---------------------------------------------------------------- */

/* A name that stays below the model directory: a/b, without "..", "." or empty parts. */
static bool is_below(const char *name)
{
    for (const char *at = name;; at = strchr(at, '/') + 1) {
        const size_t n = strcspn(at, "/");
        if (n == 0 || (n == 1 && at[0] == '.') || (n == 2 && at[0] == '.' && at[1] == '.'))
            return false;
        if (at[n] == '\0')
            return true;
    }
}

/* Takes "path:start:end" apart; name is cut at its path. */
static bool cut_shard(char *name, uint64_t *start, uint64_t *end)
{
    char *last = strrchr(name, ':'), *rest;

    if (last == NULL || !isdigit((unsigned char)last[1]))
        return false;
    *end = strtoull(last + 1, &rest, 10);
    *last = '\0';
    char *first = strrchr(name, ':');
    if (*rest != '\0' || first == NULL || !isdigit((unsigned char)first[1]))
        return false;
    *start = strtoull(first + 1, &rest, 10);
    *first = '\0';
    return *rest == '\0' && *start <= *end;
}

static bool read_digest(const char *text, char hex[GK_SHA256_HEX], gk_hash *all)
{
    unsigned char raw[32];

    if (text == NULL || strlen(text) != 64)
        return false;
    for (int i = 0; i < 64; i++) {
        if (!isxdigit((unsigned char)text[i]))
            return false;
        hex[i] = (char)tolower((unsigned char)text[i]);
        const unsigned digit = (unsigned)(hex[i] <= '9' ? hex[i] - '0' : hex[i] - 'a' + 10);
        raw[i / 2] = (unsigned char)(i % 2 == 0 ? digit << 4 : raw[i / 2] | digit);
    }
    hex[64] = '\0';
    gk_hash_add(all, raw, sizeof raw);
    return true;
}

typedef struct statement {
    gk_catalog *c;
    gk_sums *s;
    const char *source;
    const gk_json *root, *serialization;
    uint64_t first; /* its rows begin here */
    bool shards, links;
} statement;

static bool add_resource(statement *x, const gk_json *node, gk_hash *all, gk_err *err)
{
    const char *name = text_at(node, "name"), *algorithm = text_at(node, "algorithm");
    char hex[GK_SHA256_HEX];
    uint64_t start = 0, end = GK_NO_OFF;
    char *path = name == NULL ? NULL : gk_arena_str(x->s->arena, name, err);

    if (name == NULL || algorithm == NULL)
        return malformed(err, "a resource without a name or an algorithm");
    if (path == NULL)
        return false;
    if (strncmp(algorithm, "sha256", 6) != 0)
        return gk_fail(err, GK_ERR_UNSUPPORTED, GK_NO_OFF,
                       "digests by '%.40s'; only sha256 is read", algorithm);
    if (!read_digest(text_at(node, "digest"), hex, all))
        return malformed(err, "a resource whose digest is no SHA-256");
    if ((x->shards && !cut_shard(path, &start, &end)) || !is_below(path))
        return malformed(err, "a resource whose name is no path below the model");
    gk_sum *row = gk_sums_add(x->s, x->shards ? GK_SUM_RANGE : GK_SUM_FILE, path, err);
    if (row == NULL)
        return false;
    row->source = x->source;
    row->listed = name[0] == '\0' ? path : gk_arena_str(x->s->arena, name, err);
    memcpy(row->expected, hex, sizeof hex);
    row->off = start;
    row->expected_bytes = x->shards ? end - start : GK_NO_OFF;
    row->path = strchr(path, '/') == NULL ? NULL
                                          : gk_path_join(x->s->arena, x->c->directory, path, err);
    x->s->n_expected++;
    return row->listed != NULL && (strchr(path, '/') == NULL || row->path != NULL);
}

/* The shards of a file must follow each other from its first byte to its last. */
static bool check_shards(const statement *x, gk_err *err)
{
    for (uint64_t i = x->first; x->shards && i < x->s->n; i++) {
        const gk_sum *row = &x->s->row[i];
        const bool again = i > x->first && strcmp(row->name, row[-1].name) == 0;
        const uint64_t at = again ? row[-1].off + row[-1].expected_bytes : 0;
        const bool last = i + 1 == x->s->n || strcmp(row->name, row[1].name) != 0;
        if (row->off != at)
            return malformed(err, "the shards of a file have gaps");
        const char *path = gk_path_join(x->s->arena, x->c->directory, row->name, err);
        if (path == NULL)
            return false;
        const uint64_t bytes = gk_path_bytes(path);
        if (last && bytes > row->off + row->expected_bytes
            && !gk_findings_addf(&x->c->findings, "signature", GK_BAD, row->name, NULL, err,
                                 "%" PRIu64 " bytes, but only %" PRIu64 " are signed", bytes,
                                 row->off + row->expected_bytes))
            return false;
    }
    return true;
}

static bool read_statement(statement *x, gk_err *err)
{
    const gk_json *predicate = gk_json_get(x->root, "predicate");
    const gk_json *subject = gk_json_get(x->root, "subject");
    const gk_json *list = gk_json_get(predicate, "resources");
    const char *all_text = text_at(gk_json_get(gk_json_at(subject, 0), "digest"), "sha256");
    char all[GK_SHA256_HEX];

    x->serialization = gk_json_get(predicate, "serialization");
    x->shards = says(x->serialization, "method", "shards");
    gk_json_as_bool(gk_json_get(x->serialization, "allow_symlinks"), &x->links);
    if (!says(x->root, "_type", STATEMENT_TYPE) || gk_json_count(subject) != 1)
        return malformed(err, "expected one subject of an in-toto statement, version 1");
    if (!says(x->root, "predicateType", PREDICATE_TYPE))
        return gk_fail(err, GK_ERR_UNSUPPORTED, GK_NO_OFF,
                       "a statement of another version than " PREDICATE_TYPE);
    if (!gk_json_is_array(list) || (!x->shards && !says(x->serialization, "method", "files")))
        return malformed(err, "expected resources by the method files or shards");
    gk_hash *h = gk_hash_new(err);
    bool ok = h != NULL;
    for (uint64_t i = 0; ok && i < gk_json_count(list); i++)
        ok = add_resource(x, gk_json_at(list, i), h, err);
    if (h != NULL)
        gk_hash_end(h, all);
    if (ok && (all_text == NULL || strcmp(all_text, all) != 0))
        return malformed(err, "the subject's digest is not that of the resources");
    return ok && check_shards(x, err);
}

/* ---- files of the directory ---------------------------------------------------------- */

/* Who is told of each file below the model directory, links and all. */
typedef struct walk {
    gk_catalog *c;
    gk_arena *arena;
    const gk_json *ignored; /* paths that the signature leaves out, or NULL */
    const char *own;        /* the signature's own path, resolved, or NULL  */
    bool (*file)(void *context, const char *name, bool link, gk_err *err);
    void *context;
} walk;

/* Returns where a path leads, NULL when nowhere (err: only NOMEM). */
static const char *resolved(gk_arena *a, const char *path, gk_err *err)
{
    gk_err own = {0};
    const char *real = gk_path_real(a, path, &own);

    if (own.code == GK_ERR_NOMEM)
        *err = own;
    return real;
}

static bool is_ignored(const walk *w, const char *name, const char *path, gk_err *err)
{
    uint64_t len;

    for (size_t i = 0; i < N_GIT_PATHS; i++)
        if (strcmp(name, git_paths[i]) == 0)
            return true;
    for (uint64_t i = 0; i < gk_json_count(w->ignored); i++) {
        const char *one = gk_json_text(gk_json_at(w->ignored, i), &len);
        if (one != NULL && strcmp(name, one) == 0)
            return true;
    }
    const char *real = w->own == NULL ? NULL : resolved(w->arena, path, err);
    return real != NULL && strcmp(real, w->own) == 0;
}

static bool walk_folder(const walk *w, const char *folder, const char *below, int depth,
                        gk_err *err)
{
    uint64_t n = 0;
    const char **names = gk_dir_names(w->arena, folder, &n, err);
    bool ok = names != NULL;

    if (depth > MAX_DEPTH)
        return gk_fail(err, GK_ERR_LIMIT, GK_NO_OFF, "folders more than %d deep", MAX_DEPTH);
    for (uint64_t i = 0; ok && i < n; i++) {
        const char *name = gk_arena_printf(w->arena, err, "%s%s", below, names[i]);
        const char *path = name == NULL ? NULL : gk_path_join(w->arena, folder, names[i], err);
        if (path == NULL)
            return false;
        const bool ignored = is_ignored(w, name, path, err);
        const bool link = !ignored && gk_path_link(w->arena, path, err) != NULL;
        if (err->code != GK_OK)
            return false;
        if (ignored)
            continue;
        const gk_path_kind kind = gk_path_kind_of(path);
        if (kind == GK_PATH_DIR && !link) {
            const char *deeper = gk_arena_printf(w->arena, err, "%s/", name);
            ok = deeper != NULL && walk_folder(w, path, deeper, depth + 1, err);
        } else if (kind == GK_PATH_FILE || link) {
            ok = w->file(w->context, name, link, err);
        }
    }
    return ok;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

typedef struct unsigned_files {
    statement *x;
    const char **name; /* that are signed, sorted */
    uint64_t n;
} unsigned_files;

static bool judge_file(void *context, const char *name, bool link, gk_err *err)
{
    const unsigned_files *u = context;
    gk_findings *f = &u->x->c->findings;

    if (link && !u->x->links)
        return gk_findings_addf(f, "signature", GK_BAD, name, NULL, err,
                                "a link, and the signature is one of files without links");
    return (u->n > 0 && bsearch(&name, u->name, (size_t)u->n, sizeof name, by_name) != NULL)
           || gk_findings_addf(f, "signature", GK_BAD, name, NULL, err, "not signed");
}

static bool find_unsigned(statement *x, const gk_signature *g, gk_err *err)
{
    unsigned_files u = {.x = x, .n = x->s->n - x->first};
    const walk w = {.c = x->c,
                    .arena = x->s->arena,
                    .ignored = gk_json_get(x->serialization, "ignore_paths"),
                    .own = resolved(x->s->arena, g->path, err),
                    .file = judge_file,
                    .context = &u};

    u.name = gk_arena_alloc(x->s->arena, u.n, sizeof *u.name, err);
    if (u.name == NULL || err->code != GK_OK)
        return false;
    for (uint64_t i = 0; i < u.n; i++)
        u.name[i] = x->s->row[x->first + i].name;
    qsort(u.name, (size_t)u.n, sizeof *u.name, by_name);
    for (uint64_t i = 1; !x->shards && i < u.n; i++)
        if (strcmp(u.name[i], u.name[i - 1]) == 0)
            return malformed(err, "a file is listed twice");
    return g->ignore_unsigned || walk_folder(&w, x->c->directory, "", 0, err);
}

/* ---- reading ------------------------------------------------------------------------ */

static bool read_payload(const gk_json *root, gk_text *payload, gk_err *err)
{
    const gk_json *envelope = gk_json_get(root, "dsseEnvelope");
    const char *text = text_at(envelope, "payload");

    if (!says(root, "mediaType", MEDIA_TYPE))
        return malformed(err, "mediaType is not " MEDIA_TYPE);
    return decode(payload, says(envelope, "payloadType", PAYLOAD_TYPE) ? text : NULL,
                  "expected a payload " PAYLOAD_TYPE " in base64", err);
}

static bool read_bundle(gk_catalog *c, const gk_signature *g, const gk_json *root, gk_sums *s,
                        gk_err *err)
{
    statement x = {.c = c, .s = s, .first = s->n};
    gk_text payload = {0};
    gk_json *said = NULL;
    char why[256] = "";

    bool ok = read_payload(root, &payload, err) && prove(root, g, &payload, why, err);
    if (ok && why[0] != '\0') {
        ok = refuse(c, g, err, why);
    } else if (ok) {
        said = gk_json_parse(payload.data, payload.len, gk_path_base(g->path), err);
        x.root = said;
        x.source = gk_arena_printf(s->arena, err, "the signature %s", gk_path_base(g->path));
        ok = said != NULL && x.source != NULL && read_statement(&x, err)
             && find_unsigned(&x, g, err);
    }
    gk_json_free(said);
    gk_text_free(&payload);
    return ok;
}

bool gk_signature_read(gk_catalog *c, const gk_signature *g, gk_sums *s, gk_err *err)
{
    uint64_t len = 0;

    if (c->directory == NULL)
        return gk_fail(err, GK_ERR_ARG, GK_NO_OFF, "signatures are of model directories");
    if ((g->public_key == NULL) == (g->trusted == NULL))
        return gk_fail(err, GK_ERR_ARG, GK_NO_OFF,
                       "a signature proves nothing by itself: name the public key, or the "
                       "certificates to trust");
    char *text = gk_file_slurp(g->path, MAX_BUNDLE_BYTES, &len, err);
    gk_json *root = text == NULL ? NULL : gk_json_parse(text, len, gk_path_base(g->path), err);
    const bool ok = root != NULL && read_bundle(c, g, root, s, err);

    gk_json_free(root);
    gk_free(text);
    return ok || gk_fail_at(err, gk_path_base(g->path), NULL);
}

/* ---- writing ------------------------------------------------------------------------ */

typedef struct listing {
    gk_catalog *c;
    gk_sums *s;
} listing;

static bool list_file(void *context, const char *name, bool link, gk_err *err)
{
    listing *l = context;

    if (link) {
        gk_fail(err, GK_ERR_UNSUPPORTED, GK_NO_OFF, "a link; only files are signed");
        return gk_fail_at(err, name, NULL);
    }
    gk_sum *row = gk_sums_add(l->s, GK_SUM_FILE, name, err);
    if (row == NULL)
        return false;
    if (strchr(name, '/') != NULL)
        row->path = gk_path_join(l->s->arena, l->c->directory, name, err);
    return strchr(name, '/') == NULL || row->path != NULL;
}

static int by_row_name(const void *a, const void *b)
{
    return strcmp(((const gk_sum *)a)->name, ((const gk_sum *)b)->name);
}

bool gk_signature_list(gk_catalog *c, const char *path, gk_sums *s, gk_err *err)
{
    listing l = {c, s};
    const walk w = {.c = c,
                    .arena = s->arena,
                    .own = resolved(s->arena, path, err),
                    .file = list_file,
                    .context = &l};

    if (c->directory == NULL)
        return gk_fail(err, GK_ERR_ARG, GK_NO_OFF, "signatures are of model directories");
    if (err->code != GK_OK || !walk_folder(&w, c->directory, "", 0, err))
        return false;
    qsort(s->row, (size_t)s->n, sizeof *s->row, by_row_name);
    return true;
}

/* The signature's own name below the model, to be left out when it lies there. */
static bool add_statement(gk_catalog *c, const gk_sums *s, gk_text *out, gk_err *err)
{
    const char *real = gk_path_real(s->arena, c->directory, err);
    gk_hash *h = gk_hash_new(err);
    char all[GK_SHA256_HEX], hex[GK_SHA256_HEX];

    if (h == NULL)
        return false;
    for (uint64_t i = 0; i < s->n; i++)
        read_digest(s->row[i].sha256, hex, h);
    gk_hash_end(h, all);
    if (real == NULL)
        return false;
    gk_json_open(out, NULL, '{');
    gk_json_string(out, "_type", STATEMENT_TYPE);
    gk_json_open(out, "subject", '[');
    gk_json_open(out, NULL, '{');
    gk_json_string(out, "name", gk_path_base(real));
    gk_json_open(out, "digest", '{');
    gk_json_string(out, "sha256", all);
    gk_json_close(out, '}');
    gk_json_close(out, '}');
    gk_json_close(out, ']');
    gk_json_string(out, "predicateType", PREDICATE_TYPE);
    gk_json_open(out, "predicate", '{');
    gk_json_open(out, "serialization", '{');
    gk_json_string(out, "method", "files");
    gk_json_string(out, "hash_type", "sha256");
    gk_json_bool(out, "allow_symlinks", false);
    gk_json_open(out, "ignore_paths", '[');
    for (size_t i = 0; i < N_GIT_PATHS; i++)
        gk_json_string(out, NULL, git_paths[i]);
    gk_json_close(out, ']');
    gk_json_close(out, '}');
    gk_json_open(out, "resources", '[');
    for (uint64_t i = 0; i < s->n; i++) {
        gk_json_open(out, NULL, '{');
        gk_json_string(out, "name", s->row[i].name);
        gk_json_string(out, "algorithm", "sha256");
        gk_json_string(out, "digest", s->row[i].sha256);
        gk_json_close(out, '}');
    }
    gk_json_close(out, ']');
    gk_json_close(out, '}');
    gk_json_close(out, '}');
    return gk_text_ok(out, err);
}

static void add_bundle(const char *name, const gk_text *payload, const gk_text *signature,
                       gk_text *out)
{
    gk_text text = {0};

    gk_json_open(out, NULL, '{');
    gk_json_string(out, "mediaType", MEDIA_TYPE);
    gk_json_open(out, "verificationMaterial", '{');
    gk_json_open(out, "publicKey", '{');
    gk_json_string(out, "hint", name);
    gk_json_close(out, '}');
    gk_json_open(out, "tlogEntries", '[');
    gk_json_close(out, ']');
    gk_json_close(out, '}');
    gk_json_open(out, "dsseEnvelope", '{');
    gk_base64_add(&text, payload->data, payload->len);
    gk_json_string(out, "payload", text.data);
    gk_json_string(out, "payloadType", PAYLOAD_TYPE);
    gk_json_open(out, "signatures", '[');
    gk_json_open(out, NULL, '{');
    gk_text_clear(&text);
    gk_base64_add(&text, signature->data, signature->len);
    gk_json_string(out, "sig", text.data);
    gk_json_string(out, "keyid", "");
    gk_json_close(out, '}');
    gk_json_close(out, ']');
    gk_json_close(out, '}');
    gk_json_close(out, '}');
    gk_text_char(out, '\n');
    out->failed |= text.failed;
    gk_text_free(&text);
}

bool gk_signature_make(gk_catalog *c, const char *key, const gk_sums *s, gk_text *out, gk_err *err)
{
    gk_text payload = {0}, signed_bytes = {0}, signature = {0};
    char name[GK_SHA256_HEX];
    uint64_t len = 0;
    char *pem = gk_file_slurp(key, MAX_PEM_BYTES, &len, err);
    gk_key *k = pem == NULL ? NULL : gk_key_read(pem, len, true, err);

    if (pem != NULL && k == NULL)
        gk_fail_at(err, key, NULL);
    bool ok = k != NULL && gk_key_name(k, name, err) && add_statement(c, s, &payload, err);
    add_pae(&signed_bytes, &payload);
    ok = ok && gk_text_ok(&signed_bytes, err)
         && gk_key_sign(k, signed_bytes.data, signed_bytes.len, &signature, err);
    if (ok) {
        add_bundle(name, &payload, &signature, out);
        ok = gk_text_ok(out, err);
    }
    gk_key_free(k);
    gk_free(pem);
    gk_text_free(&payload);
    gk_text_free(&signed_bytes);
    gk_text_free(&signature);
    return ok;
}
