/* formats/archive.c - from the members of an archive to the names of a directory.
 *
 * Members are listed (formats/tar.c, formats/zip.c), their paths made plain, and one folder
 * is chosen: the one that holds a model. Refused are names that could lead out of a folder,
 * a name that stands twice, and a file that would lie behind a link. Links are not followed. */
#include "formats/archive.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/checked.h"
#include "formats/zip.h"

#define HEAD_BYTES   512u /* the header of a tar */
#define MAX_PATH     4096u
#define SUM_OFF      148u /* of its checksum: 8 bytes, octal */
#define SUM_BYTES    8u
#define PLAIN_FOLDER "ckpt-0" /* of Grok-1: the tokenizer stands beside it, not in it */

/* ---- what the file is ------------------------------------------------------------------ */

/* The checksum of a tar header is the sum of its bytes, its own eight taken as spaces. */
static bool has_tar_sum(const unsigned char head[HEAD_BYTES])
{
    uint32_t sum = 0, told = 0, i = SUM_OFF;

    for (uint32_t k = 0; k < HEAD_BYTES; k++)
        sum += k >= SUM_OFF && k < SUM_OFF + SUM_BYTES ? ' ' : head[k];
    while (i < SUM_OFF + SUM_BYTES && head[i] == ' ')
        i++;
    for (; i < SUM_OFF + SUM_BYTES && head[i] >= '0' && head[i] <= '7'; i++)
        told = told * 8 + (uint32_t)(head[i] - '0');
    return told > 0 && sum == told;
}

typedef struct magic {
    const char *bytes;
    uint64_t off, n;
    gk_archive_kind kind;
    const char *unread; /* the name of one that is not read, else NULL */
} magic;

static const magic magics[] = {
    {"PK\3\4", 0, 4, GK_ARCHIVE_ZIP, NULL},
    {"PK\5\6", 0, 4, GK_ARCHIVE_ZIP, NULL},
    {"\x1F\x8B\x08", 0, 3, GK_ARCHIVE_GZIP, NULL},
    {"\xFD"
     "7zXZ\0",
     0, 6, GK_ARCHIVE_XZ, NULL},
    {"\x28\xB5\x2F\xFD", 0, 4, GK_ARCHIVE_ZSTD, NULL},
    {"7z\xBC\xAF\x27\x1C", 0, 6, GK_ARCHIVE_NOT, "7z"},
    {"Rar!\x1A\x07", 0, 6, GK_ARCHIVE_NOT, "RAR"},
    {"BZh", 0, 3, GK_ARCHIVE_BZIP2, NULL},
    {"\x04\x22\x4D\x18", 0, 4, GK_ARCHIVE_NOT, "lz4"},
};

typedef struct ending {
    const char *text;
    gk_archive_kind kind;
} ending;

/* Such a name is an archive even when its first bytes do not say so: it is damaged, then. */
static const ending endings[] = {
    {".tar", GK_ARCHIVE_TAR},      {".zip", GK_ARCHIVE_ZIP},   {".tgz", GK_ARCHIVE_GZIP},
    {".tar.gz", GK_ARCHIVE_GZIP},  {".tar.xz", GK_ARCHIVE_XZ}, {".txz", GK_ARCHIVE_XZ},
    {".tar.zst", GK_ARCHIVE_ZSTD}, {".tzst", GK_ARCHIVE_ZSTD},
    {".tar.bz2", GK_ARCHIVE_BZIP2}, {".tbz2", GK_ARCHIVE_BZIP2},
};

static bool is_weights(const char *name)
{
    return gk_ends_with(name, ".safetensors") || gk_ends_with(name, ".gguf")
           || gk_ends_with(name, ".bin") || gk_ends_with(name, ".pt") || gk_ends_with(name, ".pth")
           || gk_ends_with(name, ".ckpt") || gk_ends_with(name, ".msgpack")
           || gk_grok1_is_leaf(name);
}

/* The first bytes, zeros behind the end of a shorter file. */
static bool read_head(const gk_source *s, unsigned char head[HEAD_BYTES], gk_err *err)
{
    gk_arena *a = gk_arena_new(err);
    gk_file *f = a == NULL ? NULL : gk_file_open(a, s->path, err);
    const bool ok = f != NULL && gk_file_read(f, 0, head, gk_min(f->size, HEAD_BYTES), err);

    gk_file_close(f);
    gk_arena_free(a);
    return ok;
}

bool gk_archive_look(const gk_source *s, gk_archive_kind *kind, gk_err *err)
{
    unsigned char head[HEAD_BYTES] = {0};
    gk_err own = {0};

    *kind = GK_ARCHIVE_NOT;
    if (s->is_dir || is_weights(gk_path_base(s->path)))
        return true;
    if (!read_head(s, head, &own)) /* whoever reads it will say why */
        return own.code != GK_ERR_NOMEM || gk_fail(err, own.code, GK_NO_OFF, "%s", own.msg);
    if (has_tar_sum(head)) {
        *kind = GK_ARCHIVE_TAR;
        return true;
    }
    for (size_t i = 0; i < sizeof magics / sizeof magics[0]; i++) {
        const magic *m = &magics[i];
        if (memcmp(head + m->off, m->bytes, (size_t)m->n) != 0)
            continue;
        *kind = m->kind;
        if (m->unread == NULL)
            return true;
        gk_fail(err, GK_ERR_UNSUPPORTED, 0,
                "a %s file: of archives, only tar (also with gzip, xz, "
                "zstd, bzip2) and zip are read",
                m->unread);
        return gk_fail_at(err, gk_path_base(s->path), NULL);
    }
    for (size_t i = 0; i < sizeof endings / sizeof endings[0]; i++)
        if (gk_ends_with(s->path, endings[i].text) && memcmp(head, "GGUF", 4) != 0
            && head[8] != '{')
            *kind = endings[i].kind;
    return true;
}

/* ---- members ----------------------------------------------------------------------------- */

/* Writes the parts of a path joined by single slashes; false for one that could lead out. */
static bool make_plain(const char *path, char out[MAX_PATH + 1])
{
    size_t n = 0;

    if (path[0] == '/' || strchr(path, '\\') != NULL || strlen(path) > MAX_PATH)
        return false;
    while (*path != '\0') {
        const size_t len = strcspn(path, "/");
        if (len == 2 && memcmp(path, "..", 2) == 0)
            return false;
        if (len > 0 && !(len == 1 && path[0] == '.')) {
            if (n > 0)
                out[n++] = '/';
            memcpy(out + n, path, len);
            n += len;
        }
        path += len + (path[len] == '/');
    }
    out[n] = '\0';
    return n > 0;
}

bool gk_archive_fail_at(const gk_archive *x, const char *path, gk_err *err)
{
    char name[sizeof err->file];

    snprintf(name, sizeof name, "%s/%s", x->file->name, path);
    return gk_fail_at(err, name, NULL);
}

bool gk_archive_add(gk_catalog *c, const gk_archived *entry, gk_err *err)
{
    gk_archive *x = c->archive;
    char path[MAX_PATH + 1];
    void *grown = x->entry;

    if (!make_plain(entry->path, path)) {
        gk_fail(
            err, GK_ERR_FORMAT, GK_NO_OFF,
            "refused: a member's name is empty, absolute, longer than %u bytes, or has a '\\' or "
            "'..' in its path",
            MAX_PATH);
        return gk_archive_fail_at(x, entry->path, err);
    }
    if (strncmp(gk_path_base(path), "._", 2) == 0)
        return true; /* what macOS knows of a file, under almost the name of that file */
    if (x->n >= GK_MAX_ARCHIVE_MEMBERS)
        return gk_fail(err, GK_ERR_LIMIT, GK_NO_OFF, "more than %u members",
                       GK_MAX_ARCHIVE_MEMBERS);
    if (!gk_grow(&grown, &x->cap, x->n + 1, sizeof *x->entry, err))
        return false;
    x->entry = grown;
    x->entry[x->n] = *entry;
    x->entry[x->n].path = gk_arena_str(c->arena, path, err);
    return x->entry[x->n++].path != NULL;
}

/* A zip that torch.save wrote has ROOT/data.pkl. */
static bool is_torch(const gk_zip *z)
{
    for (uint64_t i = 0; i < z->n; i++) {
        const char *slash = strchr(z->member[i].name, '/');
        if (slash != NULL && strcmp(slash, "/data.pkl") == 0)
            return true;
    }
    return false;
}

static bool list_zip(gk_catalog *c, bool *torch, gk_err *err)
{
    gk_zip z;

    if (!gk_zip_read_packed(c->arena, c->archive->file, &z, err))
        return false;
    *torch = is_torch(&z);
    for (uint64_t i = 0; !*torch && i < z.n; i++) {
        const gk_zip_member *m = &z.member[i];
        const gk_archived e = {.path = m->name,
                               .off = m->off,
                               .bytes = m->bytes,
                               .packed_bytes = m->packed_bytes,
                               .crc = m->crc,
                               .has_crc = true,
                               .deflated = m->deflated};
        if (!gk_ends_with(m->name, "/") && !gk_archive_add(c, &e, err))
            return false;
    }
    return true;
}

/* ---- order ------------------------------------------------------------------------------- */

/* Bytes of the folder's path, without the slash. */
static size_t folder_len(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash == NULL ? 0 : (size_t)(slash - path);
}

/* By folder, then by name: the files of a folder are neighbours, which paths alone are not. */
static int by_folder(const void *a, const void *b)
{
    const char *x = ((const gk_archived *)a)->path, *y = ((const gk_archived *)b)->path;
    const size_t n = folder_len(x), m = folder_len(y);
    const int order = memcmp(x, y, n < m ? n : m);

    if (order != 0 || n != m)
        return order != 0 ? order : n < m ? -1 : 1;
    return strcmp(x + n, y + n);
}

/* Any folder on the way to the file is a link. */
static bool is_behind_link(const gk_archive *x, const char *path)
{
    char part[MAX_PATH + 1];
    const gk_archived key = {.path = part};

    for (const char *at = strchr(path, '/'); at != NULL; at = strchr(at + 1, '/')) {
        memcpy(part, path, (size_t)(at - path));
        part[at - path] = '\0';
        const gk_archived *found = bsearch(&key, x->entry, (size_t)x->n, sizeof key, by_folder);
        if (found != NULL && found->link)
            return true;
    }
    return false;
}

static bool check_paths(gk_catalog *c, gk_err *err)
{
    gk_archive *x = c->archive;
    uint64_t n_links = 0;
    const char *one = NULL;

    if (x->n > 1)
        qsort(x->entry, (size_t)x->n, sizeof *x->entry, by_folder);
    for (uint64_t i = 0; i < x->n; i++) {
        const gk_archived *e = &x->entry[i];
        if (i > 0 && strcmp(e->path, e[-1].path) == 0) {
            gk_fail(err, GK_ERR_FORMAT, GK_NO_OFF, "duplicate: a member of this name stands twice");
            return gk_archive_fail_at(x, e->path, err);
        }
        n_links += e->link;
        one = e->link ? e->path : one;
    }
    for (uint64_t i = 0; n_links > 0 && i < x->n; i++)
        if (is_behind_link(x, x->entry[i].path)) {
            gk_fail(err, GK_ERR_FORMAT, GK_NO_OFF,
                    "refused: a folder in the member's path is a link in the archive");
            return gk_archive_fail_at(x, x->entry[i].path, err);
        }
    return n_links == 0
           || gk_findings_addf(&c->findings, "archive",
                               is_weights(gk_path_base(one)) ? GK_BAD : GK_WARN, x->file->name,
                               NULL, err, "%llu symbolic links in it are not followed, as '%.200s'",
                               (unsigned long long)n_links, one);
}

/* ---- the folder that is the model ---------------------------------------------------------- */

typedef struct folder {
    uint64_t first, end; /* entries [first, end) */
    int score;           /* 2: weights, 1: a config.json, 0: neither */
    uint64_t depth;
} folder;

static folder next_folder(const gk_archive *x, uint64_t first)
{
    const char *path = x->entry[first].path;
    const size_t len = folder_len(path);
    folder f = {.first = first, .end = first};

    for (size_t i = 0; i < len; i++)
        f.depth += path[i] == '/';
    f.depth += len > 0;
    for (; f.end < x->n && folder_len(x->entry[f.end].path) == len
           && memcmp(x->entry[f.end].path, path, len) == 0;
         f.end++) {
        const char *name = gk_path_base(x->entry[f.end].path);
        if (x->entry[f.end].link)
            continue;
        if (is_weights(name) || gk_ends_with(name, ".safetensors.index.json"))
            f.score = 2;
        else if (f.score == 0 && strcmp(name, "config.json") == 0)
            f.score = 1;
    }
    return f;
}

/* The folder with weights, else with a config.json; of two the one nearer to the root. */
static folder choose(const gk_archive *x)
{
    folder best = {.score = -1};

    for (uint64_t i = 0; i < x->n;) {
        const folder f = next_folder(x, i);
        if (f.score > best.score || (f.score == best.score && f.depth < best.depth))
            best = f;
        i = f.end;
    }
    return best;
}

/* The folder that holds a "ckpt-0", whose files belong to it. */
static folder parent_of(const gk_archive *x, const folder *f)
{
    const char *path = x->entry[f->first].path;
    const size_t len = folder_len(path), own = strlen(PLAIN_FOLDER);
    const folder none = {0};

    if (len < own || memcmp(path + len - own, PLAIN_FOLDER, own) != 0
        || (len > own && path[len - own - 1] != '/'))
        return none;
    const size_t above = len > own ? len - own - 1 : 0;
    for (uint64_t i = 0; i < x->n;) {
        const folder g = next_folder(x, i);
        if (folder_len(x->entry[i].path) == above && memcmp(x->entry[i].path, path, above) == 0)
            return g;
        i = g.end;
    }
    return none;
}

/* Notes that there are files in folders that are neither best nor its parent. */
static bool note_others(gk_catalog *c, const folder *best, const folder *parent, gk_err *err)
{
    const gk_archive *x = c->archive;
    const char *other = NULL, *path = x->entry[best->first].path;
    bool weights = false;

    for (uint64_t i = 0; i < x->n;) {
        const folder f = next_folder(x, i);
        if (f.first != best->first && (parent->end == 0 || f.first != parent->first)) {
            weights |= f.score == 2;
            other = x->entry[f.first].path;
        }
        i = f.end;
    }
    return other == NULL
           || gk_findings_addf(&c->findings, "archive", weights ? GK_WARN : GK_NOTE, x->file->name,
                               NULL, err,
                               "files beside the folder '%.*s/' are not read, as '%.200s'%s",
                               (int)gk_min(folder_len(path), 200), path, other,
                               weights ? ": more than one folder holds weights" : "");
}

static int by_path(const void *a, const void *b)
{
    const gk_archived *const *x = a, *const *y = b;

    return strcmp((*x)->path, (*y)->path);
}

/* ---- files ----------------------------------------------------------------------------------- */

/* Unpacks the deflated members among the n chosen ones. */
static bool inflate_chosen(gk_catalog *c, gk_archived **chosen, uint64_t n, gk_err *err)
{
    gk_archive *x = c->archive;
    uint64_t bytes = 0, packed = 0, off = 0;

    for (uint64_t i = 0; i < n; i++) {
        const gk_archived *e = chosen[i];
        if (e->deflated
            && (!gk_add(bytes, e->bytes, &bytes) || !gk_add(packed, e->packed_bytes, &packed)))
            return gk_fail(err, GK_ERR_LIMIT, GK_NO_OFF, "unpacks to more than 2^64 bytes");
    }
    if (packed == 0)
        return true;
    if (!gk_spool_reserve(c->arena, &x->spool, bytes, packed, &off, err))
        return false;
    for (uint64_t i = 0; i < n; i++) {
        gk_archived *e = chosen[i];
        if (!e->deflated)
            continue;
        if (!gk_spool_inflate(&x->spool, off, e->bytes, x->file, e->off, e->packed_bytes, e->crc,
                              err))
            return gk_archive_fail_at(x, e->path, err);
        e->off = off;
        e->spooled = true;
        off += e->bytes;
    }
    return true;
}

/* Makes *s the directory of the chosen entries, whose paths have skip bytes in common; or the
 * lone file. */
static bool make_source(gk_catalog *c, gk_source *s, gk_archived **chosen, uint64_t n, size_t skip,
                        gk_err *err)
{
    gk_archive *x = c->archive;
    const char **name = gk_arena_alloc(c->arena, n, sizeof *name, err);
    const gk_file **member = gk_arena_alloc(c->arena, n, sizeof *member, err);
    gk_source *kept = gk_arena_alloc(c->arena, 1, sizeof *kept, err);

    if (name == NULL || member == NULL || kept == NULL)
        return false;
    for (uint64_t i = 0; i < n; i++) {
        const gk_file *whole = chosen[i]->spooled ? x->spool.file : x->file;
        name[i] = chosen[i]->path + skip;
        /* what messages call it says where it is */
        const char *full = gk_arena_printf(c->arena, err, "%s/%s", x->file->name, chosen[i]->path);
        member[i] = full == NULL ? NULL
                                 : gk_file_member(c->arena, whole, full, chosen[i]->off,
                                                  chosen[i]->bytes, err);
        if (member[i] == NULL)
            return false;
    }
    s->is_dir = !x->lone;
    if (x->lone)
        s->path = name[0];
    s->name = name;
    s->n_names = n;
    s->member = member;
    *kept = *s;
    x->source = kept;
    x->chosen = (const gk_archived *const *)chosen;
    return true;
}

/* Takes the files (not the links) of the folder that is the model; when that is a "ckpt-0" with
 * files beside it, those and the leaves, as the reader of Grok-1 names them. */
static bool take_folder(gk_catalog *c, gk_source *s, gk_err *err)
{
    const gk_archive *x = c->archive;
    uint64_t n = 0;

    if (x->n == 0)
        return gk_fail(err, GK_ERR_FORMAT, GK_NO_OFF, "no model found here: the archive is empty");
    const folder f = choose(x), parent = parent_of(x, &f);
    gk_archived **list = gk_arena_alloc(c->arena, f.end - f.first + parent.end - parent.first,
                                        sizeof *list, err);
    if (list == NULL || !note_others(c, &f, &parent, err))
        return false;
    for (uint64_t i = f.first; i < f.end; i++)
        if (!x->entry[i].link && (parent.end == 0 || is_weights(gk_path_base(x->entry[i].path))))
            list[n++] = &x->entry[i];
    for (uint64_t i = parent.first; i < parent.end; i++)
        if (!x->entry[i].link)
            list[n++] = &x->entry[i];
    if (n > 1)
        qsort(list, (size_t)n, sizeof(gk_archived *), by_path);
    const size_t len = folder_len(x->entry[parent.end > 0 ? parent.first : f.first].path);
    return inflate_chosen(c, list, n, err) && make_source(c, s, list, n, len + (len > 0), err);
}

/* Of a packed file of weights the name it had before it was packed; "" of anything else, and
 * NULL is NOMEM. */
static const char *lone_name(gk_catalog *c, const char *path, gk_archive_kind kind, gk_err *err)
{
    static const char *const packers[] = {".gz", ".xz", ".zst", ".bz2"};
    const char *base = gk_path_base(path);

    for (size_t i = 0; kind >= GK_ARCHIVE_GZIP && i < sizeof packers / sizeof packers[0]; i++) {
        if (!gk_ends_with(base, packers[i]))
            continue;
        const char *name
            = gk_arena_strn(c->arena, base, strlen(base) - strlen(packers[i]), err);
        if (name == NULL || is_weights(name))
            return name;
    }
    return "";
}

bool gk_archive_open(gk_catalog *c, gk_source *s, gk_archive_kind kind,
                     const gk_open_options *options, gk_err *err)
{
    gk_archive *x = gk_arena_alloc(c->arena, 1, sizeof *x, err);
    bool torch = false, ok;

    if (x == NULL)
        return false;
    c->archive = x;
    x->spool.options = options;
    x->file = gk_file_open(c->arena, s->path, err);
    const char *lone = x->file == NULL ? NULL : lone_name(c, s->path, kind, err);
    if (lone == NULL)
        return false;
    x->lone = lone[0] != '\0';
    ok = x->lone                  ? gk_packed_list(c, kind, lone, err)
         : kind == GK_ARCHIVE_ZIP ? list_zip(c, &torch, err)
                                  : gk_tar_list(c, kind, err);
    if (ok && torch) {
        gk_archive_close(x);
        c->archive = NULL;
        return true;
    }
    ok = ok && check_paths(c, err) && take_folder(c, s, err);
    x->spool.options = NULL; /* the caller's, for this call */
    return ok || gk_fail_at(err, x->file->name, NULL);
}

void gk_archive_close(gk_archive *x)
{
    if (x == NULL)
        return;
    gk_file_close(x->file);
    gk_file_close(x->spool.file);
    gk_free(x->entry);
    x->entry = NULL;
}

bool gk_archive_keep_crcs(gk_catalog *c, gk_err *err)
{
    const gk_archive *x = c->archive;

    for (uint64_t i = 0; i < c->n_inputs; i++) {
        gk_input *in = &c->input[i];
        for (uint64_t k = 0; in->n_crcs == 0 && k < x->source->n_names; k++) {
            const gk_archived *e = x->chosen[k];
            if (strcmp(x->source->name[k], in->name) != 0 || !e->has_crc || e->spooled)
                continue;
            gk_crc *crc = gk_arena_alloc(c->arena, 1, sizeof *crc, err);
            if (crc == NULL)
                return false;
            *crc = (gk_crc){.name = e->path, .bytes = e->bytes, .crc = e->crc};
            in->crc = crc;
            in->n_crcs = 1;
        }
    }
    return true;
}
