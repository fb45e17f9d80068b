/* formats/format.c - the table of formats that can be read, and what is common
 * to opening any of them: finding the directory, its config, its other files. */
#include <inttypes.h>
#include <string.h>

#include "formats/reader.h"

/* The first whose sniffer says yes opens. */
static const gk_reader *const readers[] = {
    &gk_reader_release,
    &gk_reader_hf,
    &gk_reader_safetensors,
};

/* ---- one file ------------------------------------------------------------ */

static bool safetensors_is(const gk_source *s)
{
    return !s->is_dir;
}

static bool safetensors_open(gk_catalog *c, const gk_source *s, gk_err *err)
{
    c->input = gk_arena_alloc(c->arena, 1, sizeof *c->input, err);
    return c->input != NULL && gk_input_load(c, s->path, gk_path_base(s->path), -1, err)
           && gk_tensors_from_all(c, err);
}

const gk_reader gk_reader_safetensors = {"safetensors", safetensors_is, safetensors_open};

/* ---- directories --------------------------------------------------------- */

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

static bool look_at(gk_arena *a, const char *path, gk_source *s, gk_err *err)
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

static bool read_config(gk_catalog *c, gk_err *err)
{
    gk_err own = {0};
    char *path = gk_path_join(c->arena, c->directory, "config.json", err);

    if (path == NULL)
        return false;
    if (gk_path_kind_of(path) == GK_PATH_NONE)
        return gk_findings_addf(&c->findings, "config",
                                c->format == gk_reader_release.name ? GK_BAD : GK_WARN,
                                "config.json", NULL, err,
                                "missing: no config.json, so shapes cannot be checked");
    c->config_text = gk_file_slurp(path, GK_MAX_JSON_BYTES, &c->config_len, &own);
    if (c->config_text != NULL)
        c->config = gk_json_parse(c->config_text, c->config_len, "config.json", &own);
    if (c->config != NULL)
        return true;
    gk_fail_at(&own, "config.json", NULL);
    return gk_findings_take(&c->findings, "config", &own, err);
}

/* Files that describe the weights, and whose content a rewrite makes untrue. */
static bool is_weights_or_about_them(const char *name)
{
    return name[0] == '.' || gk_ends_with(name, ".safetensors") || gk_ends_with(name, ".index.json")
           || gk_ends_with(name, ".sig") || gk_ends_with(name, ".bin")
           || strncmp(name, "SHA256SUMS", 10) == 0 || strcmp(name, "config.json") == 0
           || strcmp(name, "grokkit.json") == 0;
}

static bool list_extras(gk_catalog *c, const gk_source *s, gk_err *err)
{
    c->extra = gk_arena_alloc(c->arena, s->n_names, sizeof *c->extra, err);
    if (c->extra == NULL)
        return false;
    for (uint64_t i = 0; i < s->n_names; i++) {
        char *path = gk_path_join(c->arena, s->path, s->name[i], err);
        if (path == NULL)
            return false;
        if (!is_weights_or_about_them(s->name[i]) && gk_path_kind_of(path) == GK_PATH_FILE)
            c->extra[c->n_extras++] = (gk_extra){
                .name = s->name[i], .path = path, .bytes = gk_path_bytes(path)};
    }
    return true;
}

static bool open_with(gk_catalog *c, const gk_reader *r, const gk_source *s, gk_err *err)
{
    c->format = r->name;
    if (s->is_dir) {
        c->directory = s->path;
        if (!read_config(c, err) || !list_extras(c, s, err))
            return false;
    }
    return r->open(c, s, err);
}

gk_catalog *gk_catalog_open(const char *path, gk_err *err)
{
    gk_catalog *c = gk_alloc(1, sizeof *c, err);
    gk_source source;
    bool ok = c != NULL;

    if (!ok)
        return NULL;
    *c = (gk_catalog){.arena = gk_arena_new(err)};
    c->findings.arena = c->arena;
    c->path = c->arena == NULL ? NULL : gk_arena_str(c->arena, path, err);
    ok = c->path != NULL && look_at(c->arena, c->path, &source, err);
    const gk_reader *reader = NULL;
    for (size_t i = 0; ok && reader == NULL && i < sizeof readers / sizeof readers[0]; i++)
        if (readers[i]->sniff(&source))
            reader = readers[i];
    if (ok && reader == NULL) {
        gk_fail(err, GK_ERR_FORMAT, GK_NO_OFF,
                "no model found here: %s",
                source.n_names == 0 ? "the directory is empty"
                                    : "it holds no *.safetensors and no index");
        ok = gk_fail_at(err, path, NULL);
    }
    if (ok && open_with(c, reader, &source, err))
        return c;
    gk_catalog_close(c);
    return NULL;
}
