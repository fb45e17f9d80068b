/* formats/source.c - what a person pointed at: finding the directory, opening its files. */
#include <inttypes.h>
#include <string.h>

#include "formats/reader.h"

/* The text of refs/main or, without it, the only snapshot's name. */
static char *snapshot_name(gk_arena *a, const char *repo, gk_err *err)
{
    char *ref = gk_path_join(a, repo, "refs/main", err);
    char *snapshots = gk_path_join(a, repo, "snapshots", err);
    uint64_t len = 0, n = 0;

    if (ref == NULL || snapshots == NULL)
        return NULL;
    if (gk_path_kind_of(ref) == GK_PATH_FILE) {
        char *text = gk_file_slurp(ref, 256, &len, err);
        if (text == NULL)
            return NULL;
        while (len > 0 && (text[len - 1] == '\n' || text[len - 1] == '\r'))
            len--;
        char *name = gk_arena_strn(a, text, len, err);
        gk_free(text);
        if (name != NULL && (strchr(name, '/') != NULL || strcmp(name, "..") == 0)) {
            gk_fail(err, GK_ERR_FORMAT, 0, "refs/main names a path, expected a commit");
            return gk_fail_at(err, ref, NULL), NULL;
        }
        return name;
    }
    const char **names = gk_dir_names(a, snapshots, &n, err);
    if (names == NULL)
        return NULL;
    if (n == 1)
        return gk_arena_str(a, names[0], err);
    gk_fail(err, GK_ERR_ARG, GK_NO_OFF,
            "%" PRIu64 " snapshots and no refs/main in the cache repository: name one of them", n);
    return gk_fail_at(err, snapshots, NULL), NULL;
}

/* A Hugging Face cache repository leads on to its snapshot. */
static bool resolve_cache(gk_arena *a, gk_source *s, gk_err *err)
{
    char *snapshots = gk_path_join(a, s->path, "snapshots", err);

    if (snapshots == NULL)
        return false;
    if (gk_path_kind_of(snapshots) != GK_PATH_DIR)
        return true;
    char *name = snapshot_name(a, s->path, err);
    s->path = name == NULL ? NULL : gk_path_join(a, snapshots, name, err);
    return s->path != NULL;
}

bool gk_source_look(gk_arena *a, const char *path, gk_source *s, gk_err *err)
{
    gk_path_kind kind = gk_path_kind_of(path);

    *s = (gk_source){.path = path};
    if (kind == GK_PATH_NONE) {
        gk_fail(err, GK_ERR_FORMAT, GK_NO_OFF, "no model found: no such file or directory");
        return gk_fail_at(err, path, NULL);
    }
    if (kind == GK_PATH_FILE && gk_ends_with(path, ".index.json")) {
        s->index = gk_path_base(path);
        s->path = gk_path_dir(a, path, err);
        if (s->path == NULL)
            return false;
        kind = GK_PATH_DIR;
    }
    s->is_dir = kind == GK_PATH_DIR;
    if (!s->is_dir)
        return true;
    if (!resolve_cache(a, s, err))
        return false;
    s->name = gk_dir_names(a, s->path, &s->n_names, err);
    return s->name != NULL;
}

/* Returns the index of name among the members, n_names without. */
static uint64_t member_named(const gk_source *s, const char *name)
{
    uint64_t i = 0;

    while (i < s->n_names && strcmp(s->name[i], name) != 0)
        i++;
    return i;
}

bool gk_source_has(gk_arena *a, const gk_source *s, const char *name)
{
    gk_err err = {0};

    if (s->member != NULL)
        return member_named(s, name) < s->n_names;
    const char *path = gk_path_join(a, s->path, name, &err);
    return path != NULL && gk_path_kind_of(path) != GK_PATH_NONE;
}

gk_file *gk_source_file(gk_arena *a, const gk_source *s, const char *name, gk_err *err)
{
    if (s->member != NULL) {
        const uint64_t i = member_named(s, name);
        if (i < s->n_names)
            return gk_file_member(a, s->member[i], s->member[i]->name, 0, s->member[i]->size, err);
        gk_fail(err, GK_ERR_IO, GK_NO_OFF, "missing: not in the archive");
        return gk_fail_at(err, name, NULL), NULL;
    }
    const char *path = s->is_dir ? gk_path_join(a, s->path, name, err) : s->path;
    return path == NULL ? NULL : gk_file_open(a, path, err);
}

bool gk_source_head(const gk_source *s, unsigned char *buf, uint64_t n)
{
    if (!s->is_dir && s->member != NULL)
        return s->member[0]->size >= n && gk_file_read(s->member[0], 0, buf, n, NULL);
    gk_arena *a = s->is_dir ? NULL : gk_arena_new(NULL);
    gk_file *f = a == NULL ? NULL : gk_file_open(a, s->path, NULL);
    const bool ok = f != NULL && f->size >= n && gk_file_read(f, 0, buf, n, NULL);

    gk_file_close(f);
    gk_arena_free(a);
    return ok;
}

gk_json *gk_source_json(gk_arena *a, const gk_source *s, const char *name, gk_err *err)
{
    gk_file *f = gk_source_file(a, s, name, err);
    uint64_t len = 0;
    char *text = f == NULL ? NULL : gk_file_text(f, GK_MAX_JSON_BYTES, &len, err);
    gk_json *root = text == NULL ? NULL : gk_json_parse(text, len, name, err);

    gk_free(text);
    gk_file_close(f);
    return root;
}
