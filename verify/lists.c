/* verify/lists.c - where digests are written down, and how.
 *
 *   SHA256SUMS            64 hex digits, two blanks (or blank and '*'), name
 *   sha256sum --tag       SHA256 (name) = 64 hex digits
 *   llama-gguf-hash       algorithm, blanks, hex, two blanks, file:tensor or file
 *   grokkit.json          what quant/provenance.c writes
 *   *.metadata            commit, ETag, time (huggingface/huggingface_hub _local_folder.py
 *                         @ee0a451): the ETag is the SHA-256 of an LFS file, else git's SHA-1
 *   snapshots/C/name      a link to blobs/ETAG, of commit C
 *   a Git LFS pointer     see formats/lfs.c */
#include <ctype.h>
#include <string.h>

#include "formats/lfs.h"
#include "verify/checksums.h"

#define MAX_LIST_BYTES (16u << 20)
#define MAX_DEPTH      8 /* of folders in a folder of metadata */

typedef struct reading {
    gk_catalog *c;
    gk_sums *s;
    const char *source;
    const char *base; /* the model's folder */
    bool strict;
    bool lone;     /* the model is one file: what lies beside it may be of others */
    uint64_t hint; /* entries of a manifest stand in the file's order */
} reading;

bool gk_sums_init(gk_sums *s, gk_err *err)
{
    *s = (gk_sums){.arena = gk_arena_new(err)};
    return s->arena != NULL;
}

void gk_sums_free(gk_sums *s)
{
    gk_free(s->row);
    gk_arena_free(s->arena);
    *s = (gk_sums){0};
}

gk_sum *gk_sums_add(gk_sums *s, gk_sum_of of, const char *name, gk_err *err)
{
    void *rows = s->row;
    char *copy = gk_arena_str(s->arena, name, err);

    if (copy == NULL || !gk_grow(&rows, &s->cap, s->n + 1, sizeof *s->row, err))
        return NULL;
    s->row = rows;
    s->row[s->n] = (gk_sum){.of = of, .name = copy, .listed = copy, .expected_bytes = GK_NO_OFF};
    return &s->row[s->n++];
}

static gk_sum *add(reading *r, gk_sum_of of, const char *name, gk_hash_kind kind, const char *hex,
                   gk_err *err)
{
    gk_sum *row = gk_sums_add(r->s, of, name, err);

    if (row == NULL)
        return NULL;
    row->source = r->source;
    row->kind = kind;
    memcpy(row->expected, hex, strlen(hex) + 1);
    r->s->n_expected += hex[0] != '\0';
    return row;
}

/* ---- lines ------------------------------------------------------------------------- */

typedef struct line {
    gk_hash_kind kind;
    bool tagged; /* the algorithm stands in front: a manifest */
    char hex[GK_SHA256_HEX];
    char *name;
} line;

static uint64_t read_hex(const char *s, uint64_t max, char *hex)
{
    uint64_t n = 0;

    for (; n < max && isxdigit((unsigned char)s[n]); n++)
        hex[n] = (char)tolower((unsigned char)s[n]);
    hex[n] = '\0';
    return n;
}

static bool plain_line(char *text, line *out)
{
    *out = (line){.kind = GK_HASH_SHA256};
    if (read_hex(text, 64, out->hex) != 64 || text[64] != ' '
        || (text[65] != ' ' && text[65] != '*') || text[66] == '\0')
        return false;
    out->name = text + 66;
    return true;
}

static bool manifest_line(char *text, line *out)
{
    for (int k = 0; k < GK_N_HASHES; k++) {
        const size_t word = strlen(gk_hash_name(k)), digits = (size_t)gk_hash_digits(k);
        if (strncmp(text, gk_hash_name(k), word) != 0 || text[word] != ' ')
            continue;
        char *at = text + word + strspn(text + word, " ");
        *out = (line){.kind = (gk_hash_kind)k, .tagged = true};
        if (read_hex(at, digits, out->hex) != digits || strncmp(at + digits, "  ", 2) != 0
            || at[digits + 2] == '\0')
            return false;
        out->name = at + digits + 2;
        return true;
    }
    return false;
}

static bool bsd_line(char *text, line *out)
{
    char *end = strstr(text, ") = ");

    *out = (line){.kind = GK_HASH_SHA256, .name = text + 8};
    if (strncmp(text, "SHA256 (", 8) != 0 || end == NULL)
        return false;
    for (char *next; (next = strstr(end + 1, ") = ")) != NULL;)
        end = next;
    if (read_hex(end + 4, 64, out->hex) != 64 || end[68] != '\0' || end == out->name)
        return false;
    *end = '\0';
    return true;
}

/* The weight file that a manifest calls by a path of its own machine. */
static bool input_called(const gk_catalog *c, const char *path, uint32_t *input)
{
    const char *base = gk_path_base(path);

    for (uint64_t i = 0; i < c->n_inputs; i++)
        if (strcmp(c->input[i].name, base) == 0) {
            *input = (uint32_t)i;
            return true;
        }
    *input = 0;
    return c->n_inputs == 1;
}

static const gk_stored *entry_named(reading *r, uint32_t input, const char *name)
{
    const gk_catalog *c = r->c;

    for (uint64_t i = 0; i < c->n_stored; i++) {
        const uint64_t at = (r->hint + i) % c->n_stored;
        if (c->stored[at].input == input && strcmp(c->stored[at].name, name) == 0) {
            r->hint = at + 1;
            return &c->stored[at];
        }
    }
    return NULL;
}

/* "file:tensor" or "file" of llama-gguf-hash; names of tensors are those of the file. */
static bool add_manifest(reading *r, const line *l, gk_err *err)
{
    char *colon = strchr(gk_path_base(l->name), ':');
    const char *listed = gk_arena_str(r->s->arena, l->name, err);
    uint32_t input = 0;

    if (listed == NULL)
        return false;
    if (colon != NULL)
        *colon = '\0';
    const bool known = input_called(r->c, l->name, &input);
    gk_sum *row = add(r, colon != NULL ? GK_SUM_ENTRY : GK_SUM_PAYLOAD,
                      colon != NULL ? colon + 1 : gk_path_base(l->name), l->kind, l->hex, err);
    if (row == NULL)
        return false;
    row->listed = listed;
    row->input = input;
    if (colon != NULL && known)
        row->entry = entry_named(r, input, colon + 1);
    if (!known || (colon != NULL && row->entry == NULL))
        row->failure = GK_ERR_FORMAT;
    return true;
}

/* A file, or the tensor after the last ':' that names one, as grokkit hash prints them. */
static bool add_plain(reading *r, const line *l, gk_err *err)
{
    const char *name = strncmp(l->name, "./", 2) == 0 ? l->name + 2 : l->name;
    const gk_tensor *t = NULL;

    for (const char *colon = strchr(name, ':'); t == NULL && colon != NULL;
         colon = strchr(colon + 1, ':'))
        t = gk_catalog_find(r->c, colon + 1);
    if (t == NULL && (strchr(name, '/') != NULL || strcmp(name, "..") == 0)) {
        if (r->strict)
            return gk_fail(err, GK_ERR_FORMAT, GK_NO_OFF, "'%s' is a path, not a file of the model",
                           name);
        return gk_findings_addf(&r->c->findings, "checksums", GK_WARN, r->source, NULL, err,
                                "a name with a path is not followed: '%s'", name);
    }
    gk_sum *row = add(r, t != NULL ? GK_SUM_TENSOR : GK_SUM_FILE, t != NULL ? t->name : name,
                      l->kind, l->hex, err);
    if (row == NULL)
        return false;
    row->tensor = t;
    row->listed = gk_arena_str(r->s->arena, name, err);
    return row->listed != NULL;
}

static bool parse_lines(reading *r, char *text, gk_err *err)
{
    char *rest = text, *at;
    unsigned number = 0;
    bool ok = true;

    while (ok && (at = strsep(&rest, "\n")) != NULL) {
        const size_t n = strlen(at);
        line l;
        number++;
        if (n > 0 && at[n - 1] == '\r')
            at[n - 1] = '\0';
        /* the UUID of a manifest is made of its SHA-1 */
        if (at[0] == '\0' || at[0] == '#' || strncmp(at, "uuid ", 5) == 0)
            continue;
        if (plain_line(at, &l) || bsd_line(at, &l))
            ok = add_plain(r, &l, err);
        else if (manifest_line(at, &l))
            ok = add_manifest(r, &l, err);
        else if (r->strict)
            ok = gk_fail(err, GK_ERR_FORMAT, GK_NO_OFF, "line %u is no 'HEX  NAME'", number);
        else
            ok = gk_findings_addf(&r->c->findings, "checksums", GK_WARN, r->source, NULL, err,
                                  "a line that is no 'HEX  NAME'");
    }
    return ok;
}

/* ---- grokkit.json ------------------------------------------------------------------ */

static bool is_plain_name(const char *name)
{
    return name[0] != '\0' && strchr(name, '/') == NULL && strcmp(name, ".") != 0
           && strcmp(name, "..") != 0;
}

static bool add_made(reading *r, const gk_json *file, gk_err *err)
{
    uint64_t len = 0, hex_len = 0;
    const char *name = gk_json_text(gk_json_get(file, "name"), &len);
    const char *text = gk_json_text(gk_json_get(file, "sha256"), &hex_len);
    char hex[GK_SHA256_HEX] = "";

    if (name == NULL || strlen(name) != len || !is_plain_name(name)
        || (text != NULL && (hex_len != 64 || read_hex(text, 64, hex) != 64)))
        return gk_findings_addf(&r->c->findings, "checksums", GK_WARN, r->source, NULL, err,
                                "an entry of \"files\" that is no plain name with a SHA-256");
    gk_sum *row = add(r, GK_SUM_FILE, name, GK_HASH_SHA256, hex, err);
    if (row != NULL && !gk_json_as_uint(gk_json_get(file, "bytes"), &row->expected_bytes))
        row->expected_bytes = GK_NO_OFF;
    return row != NULL;
}

static bool parse_made(reading *r, const char *text, uint64_t len, gk_err *err)
{
    gk_err own = {0};
    gk_json *root = gk_json_parse(text, len, r->source, &own);
    const gk_json *files = gk_json_get(root, "files");
    bool ok = true;

    if (root == NULL || !gk_json_is_array(files)) {
        gk_json_free(root);
        if (own.code == GK_ERR_NOMEM || r->strict) {
            gk_fail(&own, GK_ERR_FORMAT, GK_NO_OFF, "lists no \"files\"");
            *err = own;
            return false;
        }
        return gk_findings_addf(&r->c->findings, "checksums", GK_WARN, r->source, NULL, err,
                                "lists no files: %s", own.code != GK_OK ? own.msg : "no \"files\"");
    }
    for (uint64_t i = 0; ok && i < gk_json_count(files); i++)
        ok = add_made(r, gk_json_at(files, i), err);
    gk_json_free(root);
    return ok;
}

bool gk_sums_parse(gk_catalog *c, char *text, const char *source, bool strict, gk_sums *s,
                   gk_err *err)
{
    reading r = {.c = c, .s = s, .strict = strict};

    r.source = gk_arena_str(s->arena, source, err);
    if (r.source == NULL)
        return false;
    if (text[strspn(text, " \t\r\n")] == '{')
        return parse_made(&r, text, strlen(text), err);
    return parse_lines(&r, text, err);
}

static bool parse_file(gk_catalog *c, const gk_file *f, bool strict, gk_sums *s, gk_err *err)
{
    uint64_t len = 0;
    char *text = gk_file_text(f, MAX_LIST_BYTES, &len, err);
    const bool ok = text != NULL && gk_sums_parse(c, text, f->name, strict, s, err);

    gk_free(text);
    return ok;
}

/* ---- Hugging Face ------------------------------------------------------------------- */

/* Adds a file of which only the ETag is known. */
static bool add_etag(reading *r, const char *name, const char *etag, const char *said_by,
                     gk_err *err)
{
    char hex[GK_SHA256_HEX];
    const uint64_t n = read_hex(etag, 64, hex);

    if (etag[n] != '\0' || (n != 64 && n != 40))
        return gk_findings_addf(&r->c->findings, "checksums", GK_NOTE, name, NULL, err,
                                "%s gives an ETag that is no digest", said_by);
    gk_sum *row = add(r, GK_SUM_FILE, name, n == 64 ? GK_HASH_SHA256 : GK_HASH_SHA1, hex, err);
    if (row == NULL)
        return false;
    row->blob = n == 40;
    if (strchr(name, '/') != NULL
        && (row->path = gk_path_join(r->s->arena, r->base, name, err)) == NULL)
        return false;
    return true;
}

/* One .metadata file: commit, ETag, time. */
static bool read_metadata(reading *r, const char *file, const char *name, gk_err *err)
{
    gk_err own = {0};
    uint64_t len = 0;
    char *text = gk_file_slurp(file, 4096, &len, &own), *rest = text;
    char *commit = text == NULL ? NULL : strsep(&rest, "\n");
    char *etag = rest == NULL ? NULL : strsep(&rest, "\n");
    bool ok;

    if (own.code == GK_ERR_NOMEM) {
        *err = own;
        return false;
    }
    if (etag == NULL || commit[0] == '\0') {
        ok = gk_findings_addf(&r->c->findings, "checksums", GK_WARN, name, NULL, err,
                              "its metadata of Hugging Face's download is unreadable");
    } else {
        commit[strcspn(commit, " \r")] = '\0';
        etag[strcspn(etag, " \r")] = '\0';
        r->source = gk_arena_printf(r->s->arena, err, "Hugging Face at commit %.64s", commit);
        ok = r->source != NULL
             && add_etag(r, name, etag, "the metadata of Hugging Face's download", err);
    }
    gk_free(text);
    return ok;
}

/* A file that was still being fetched: HASH.ETAG.incomplete, where the ETag may be of a file
 * that is here now. */
static bool read_unfinished(reading *r, const char *file, const char *name, gk_err *err)
{
    for (uint64_t i = 0; i < r->s->n; i++)
        if (strlen(r->s->row[i].expected) >= 40 && strstr(name, r->s->row[i].expected) != NULL)
            return gk_findings_addf(&r->c->findings, "checksums", GK_NOTE, r->s->row[i].name, NULL,
                                    err,
                                    "an earlier download of it was not finished and lies in "
                                    ".cache, with %llu bytes",
                                    (unsigned long long)gk_path_bytes(file));
    return gk_findings_addf(&r->c->findings, "checksums", GK_WARN, name, NULL, err,
                            "an unfinished download of %llu bytes: the file that it was to become "
                            "is not here; run 'hf download' again",
                            (unsigned long long)gk_path_bytes(file));
}

/* The folder `download` and those in it. `below`: "" or "sub/", of the model directory. */
static bool walk_metadata(reading *r, const char *folder, const char *below, int depth, gk_err *err)
{
    static const char suffix[] = ".metadata";
    gk_arena *a = r->s->arena;
    uint64_t n = 0;
    const char **names = gk_dir_names(a, folder, &n, err);
    bool ok = names != NULL;

    for (uint64_t i = 0; ok && i < n; i++) {
        const char *file = gk_path_join(a, folder, names[i], err);
        const size_t len = strlen(names[i]);
        if (file == NULL)
            return false;
        if (gk_path_kind_of(file) == GK_PATH_DIR && depth < MAX_DEPTH) {
            const char *deeper = gk_arena_printf(a, err, "%s%s/", below, names[i]);
            ok = deeper != NULL && walk_metadata(r, file, deeper, depth + 1, err);
        } else if (len > sizeof suffix - 1 && gk_ends_with(names[i], suffix)) {
            const char *name = gk_arena_printf(a, err, "%s%.*s", below,
                                               (int)(len - (sizeof suffix - 1)), names[i]);
            ok = name != NULL && read_metadata(r, file, name, err);
        }
    }
    for (uint64_t i = 0; ok && !r->lone && i < n; i++)
        if (gk_ends_with(names[i], ".incomplete")) {
            const char *file = gk_path_join(a, folder, names[i], err);
            ok = file != NULL && read_unfinished(r, file, names[i], err);
        }
    return ok;
}

/* Returns the blob that a link of a snapshot leads to, or NULL. */
static const char *blob_of(gk_arena *a, const char *path, gk_err *err)
{
    const char *target = gk_path_link(a, path, err);
    const char *folder = target == NULL ? NULL : gk_path_dir(a, target, err);

    return folder != NULL && strcmp(gk_path_base(folder), "blobs") == 0 ? gk_path_base(target)
                                                                        : NULL;
}

static bool add_link(reading *r, const char *folder, const char *name, gk_err *err)
{
    const char *path = gk_path_join(r->s->arena, folder, name, err);
    const char *blob = path == NULL ? NULL : blob_of(r->s->arena, path, err);

    return blob == NULL ? err->code != GK_ERR_NOMEM
                        : add_etag(r, name, blob, "the cache's blob", err);
}

/* Links of a snapshot of Hugging Face's cache: the name of a blob is its digest. */
static bool read_links(reading *r, const char *folder, gk_err *err)
{
    gk_arena *a = r->s->arena;
    uint64_t n = 0;
    const char **names = gk_dir_names(a, folder, &n, err);
    const char *parent = names == NULL ? NULL : gk_path_dir(a, folder, err);

    if (parent == NULL)
        return false;
    r->source = strcmp(gk_path_base(parent), "snapshots") == 0 ? gk_arena_printf(
                    a, err, "Hugging Face (cache) at commit %.64s", gk_path_base(folder))
                                                               : "Hugging Face (cache)";
    bool ok = r->source != NULL;
    for (uint64_t i = 0; ok && i < n; i++)
        ok = add_link(r, folder, names[i], err);
    return ok;
}

/* ---- all that lies in a folder ------------------------------------------------------- */

static bool parse_at(reading *r, const char *folder, const char *name, gk_err *err)
{
    gk_arena *a = r->s->arena;
    const char *path = gk_path_join(a, folder, name, err);

    if (path == NULL || gk_path_kind_of(path) != GK_PATH_FILE)
        return path != NULL;
    gk_file *f = gk_file_open(a, path, err);
    const bool ok = f != NULL && parse_file(r->c, f, r->strict, r->s, err);
    gk_file_close(f);
    return ok;
}

static bool read_folder(reading *r, const char *folder, gk_err *err)
{
    gk_arena *a = r->s->arena;
    const char *download = gk_path_join(a, folder, ".cache/huggingface/download", err);

    if (download == NULL || !parse_at(r, folder, "SHA256SUMS", err)
        || !parse_at(r, folder, "grokkit.json", err))
        return false;
    for (uint64_t i = 0; i < r->c->n_inputs; i++) {
        const char *name = gk_arena_printf(a, err, "%s.manifest", r->c->input[i].name);
        if (name == NULL || !parse_at(r, folder, name, err))
            return false;
    }
    return (gk_path_kind_of(download) != GK_PATH_DIR || walk_metadata(r, download, "", 0, err))
           && read_links(r, folder, err);
}

/* Pointers that `git clone` left in a folder say what the files of a download must be. */
static bool read_pointers(reading *r, const char *folder, gk_err *err)
{
    gk_arena *a = r->s->arena;
    uint64_t n = 0;
    const char **names = gk_dir_names(a, folder, &n, err);
    bool ok = names != NULL;

    r->source = gk_arena_printf(a, err, "Git LFS pointers in %s", gk_path_base(folder));
    ok = ok && r->source != NULL;
    for (uint64_t i = 0; ok && i < n; i++) {
        gk_lfs_pointer pointer;
        const char *path = gk_path_join(a, folder, names[i], err);
        if (path == NULL)
            return false;
        if (gk_path_kind_of(path) != GK_PATH_FILE || gk_path_bytes(path) >= 1024)
            continue;
        gk_file *f = gk_file_open(a, path, err);
        if (f != NULL && gk_lfs_pointer_read(f, &pointer)) {
            gk_sum *row = add(r, GK_SUM_FILE, names[i], GK_HASH_SHA256, pointer.sha256, err);
            ok = row != NULL;
            if (ok)
                row->expected_bytes = pointer.bytes;
        }
        ok = ok && f != NULL;
        gk_file_close(f);
    }
    return ok;
}

/* Of a lone file only its own lines count. */
static void keep_inputs(const gk_catalog *c, gk_sums *s)
{
    uint64_t kept = 0;

    for (uint64_t i = 0; i < s->n; i++) {
        bool own = s->row[i].of != GK_SUM_FILE;
        for (uint64_t k = 0; !own && k < c->n_inputs; k++)
            own = strcmp(s->row[i].name, c->input[k].name) == 0;
        if (own)
            s->row[kept++] = s->row[i];
    }
    s->n = kept;
    s->n_expected = 0;
    for (uint64_t i = 0; i < kept; i++)
        s->n_expected += s->row[i].expected[0] != '\0';
}

/* In an archive the lists are members. */
static bool read_members(reading *r, gk_err *err)
{
    static const char *const lists[] = {"SHA256SUMS", "grokkit.json"};
    bool ok = true;

    for (int i = 0; ok && i < 2; i++) {
        if (!gk_catalog_has(r->s->arena, r->c, lists[i]))
            continue;
        gk_file *f = gk_catalog_file(r->s->arena, r->c, lists[i], err);
        ok = f != NULL && parse_file(r->c, f, false, r->s, err);
        gk_file_close(f);
    }
    return ok;
}

/* Something that a list names is not here: what no list names may be it. */
static bool add_unlisted(const gk_catalog *c, gk_sums *s, gk_err *err)
{
    const uint64_t n = s->n;
    bool missing = false;

    for (uint64_t i = 0; i < n; i++)
        missing |= s->row[i].of == GK_SUM_FILE && s->row[i].path == NULL
                   && !gk_catalog_has(s->arena, c, s->row[i].name);
    for (uint64_t k = 0; missing && k < c->n_inputs; k++) {
        uint64_t i = 0;
        while (i < n
               && (s->row[i].of != GK_SUM_FILE || strcmp(s->row[i].name, c->input[k].name) != 0))
            i++;
        if (i == n && gk_sums_add(s, GK_SUM_FILE, c->input[k].name, err) == NULL)
            return false;
    }
    return true;
}

static bool set_base(reading *r, gk_err *err)
{
    r->lone = r->c->directory == NULL && r->c->archive == NULL;
    r->base = r->c->directory != NULL ? r->c->directory : gk_path_dir(r->s->arena, r->c->path, err);
    return r->base != NULL;
}

bool gk_sums_find(gk_catalog *c, gk_sums *s, gk_err *err)
{
    reading r = {.c = c, .s = s};

    if (!set_base(&r, err)
        || !(c->archive != NULL ? read_members(&r, err) : read_folder(&r, r.base, err)))
        return false;
    if (r.lone)
        keep_inputs(c, s);
    return r.lone || add_unlisted(c, s, err);
}

bool gk_sums_read(gk_catalog *c, const char *path, bool strict, gk_sums *s, gk_err *err)
{
    reading r = {.c = c, .s = s, .strict = strict};
    bool ok = set_base(&r, err);

    if (ok && gk_path_kind_of(path) == GK_PATH_DIR) {
        ok = read_folder(&r, path, err) && read_pointers(&r, path, err);
        if (ok && r.lone)
            keep_inputs(c, s);
    } else if (ok) {
        gk_file *f = gk_file_open(s->arena, path, err);
        ok = f != NULL && parse_file(c, f, strict, s, err);
        gk_file_close(f);
    }
    if (!ok)
        return gk_fail_at(err, path, NULL);
    if (s->n > 0 || !strict)
        return strict || r.lone || add_unlisted(c, s, err);
    gk_fail(err, GK_ERR_FORMAT, GK_NO_OFF, "holds no line 'HEX  NAME': nothing was checked");
    return gk_fail_at(err, path, NULL);
}
