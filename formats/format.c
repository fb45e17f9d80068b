/* formats/format.c - the table of formats that can be read, and what is common
 * to opening any of them: the config, the other files. */
#include <string.h>

#include "formats/archive.h"

/* The first whose sniffer says yes opens. */
static const gk_reader *const readers[] = {
    &gk_reader_release,
    &gk_reader_gguf,
    &gk_reader_torch,
    &gk_reader_flax,
    &gk_reader_hf,
    &gk_reader_grok1,
    &gk_reader_pickle,
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
    return c->input != NULL
           && gk_input_load(c, s, gk_path_base(s->path), -1, gk_safetensors_read, err)
           && gk_tensors_from_all(c, err);
}

const gk_reader gk_reader_safetensors = {"safetensors", safetensors_is, safetensors_open};

/* ---- directories --------------------------------------------------------- */

static bool read_config(gk_catalog *c, const gk_source *s, gk_err *err)
{
    gk_err own = {0};

    if (!gk_source_has(c->arena, s, "config.json"))
        return c->format == gk_reader_grok1.name /* has none, and makes one */
               || gk_findings_addf(&c->findings, "config",
                                c->format == gk_reader_release.name ? GK_BAD : GK_WARN,
                                "config.json", NULL, err,
                                "missing: no config.json, so shapes cannot be checked");
    gk_file *f = gk_source_file(c->arena, s, "config.json", &own);
    if (f != NULL)
        c->config_text = gk_file_text(f, GK_MAX_JSON_BYTES, &c->config_len, &own);
    gk_file_close(f);
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
           || gk_ends_with(name, ".gguf")
           || gk_ends_with(name, ".sig") || gk_ends_with(name, ".bin")
           || gk_ends_with(name, ".pt") || gk_ends_with(name, ".pth") || gk_grok1_is_leaf(name)
           || gk_ends_with(name, ".msgpack")
           || strncmp(name, "SHA256SUMS", 10) == 0 || strcmp(name, "config.json") == 0
           || strcmp(name, "grokkit.json") == 0;
}

static bool list_extras(gk_catalog *c, const gk_source *s, gk_err *err)
{
    c->extra = gk_arena_alloc(c->arena, s->n_names, sizeof *c->extra, err);
    c->folder = gk_arena_alloc(c->arena, s->n_names, sizeof *c->folder, err);
    if (c->extra == NULL || c->folder == NULL)
        return false;
    for (uint64_t i = 0; i < s->n_names; i++) {
        gk_extra *e = &c->extra[c->n_extras];
        if (is_weights_or_about_them(s->name[i]))
            continue;
        *e = (gk_extra){.name = s->name[i]};
        if (s->member != NULL) {
            e->file = s->member[i];
            e->bytes = e->file->size;
            c->n_extras++;
            continue;
        }
        e->path = gk_path_join(c->arena, s->path, s->name[i], err);
        if (e->path == NULL)
            return false;
        e->bytes = gk_path_bytes(e->path);
        const gk_path_kind kind = gk_path_kind_of(e->path);
        if (kind == GK_PATH_DIR
            && (c->format != gk_reader_grok1.name || strcmp(s->name[i], "ckpt-0") != 0))
            c->folder[c->n_folders++] = s->name[i];
        if (kind == GK_PATH_FILE)
            c->n_extras++;
    }
    return true;
}

static bool open_with(gk_catalog *c, const gk_reader *r, const gk_source *s, gk_err *err)
{
    c->format = r->name;
    if (s->is_dir) {
        c->directory = s->member == NULL ? s->path : NULL;
        /* a GGUF says in its keys what a config.json would */
        if ((r != &gk_reader_gguf && !read_config(c, s, err)) || !list_extras(c, s, err))
            return false;
    }
    return r->open(c, s, err) && gk_grok1_rename(c, err);
}

/* Looks at the path; an archive becomes the directory that it holds. */
static bool look(gk_catalog *c, const gk_open_options *options, gk_source *s, gk_err *err)
{
    gk_archive_kind kind;

    return gk_source_look(c->arena, c->path, s, err) && gk_archive_look(s, &kind, err)
           && (kind == GK_ARCHIVE_NOT || gk_archive_open(c, s, kind, options, err));
}

static const gk_reader *reader_of(const gk_source *s, const char *path, gk_err *err)
{
    for (size_t i = 0; i < sizeof readers / sizeof readers[0]; i++)
        if (readers[i]->sniff(s))
            return readers[i];
    gk_fail(err, GK_ERR_FORMAT, GK_NO_OFF, "no model found here: %s",
            s->n_names == 0 ? s->member != NULL ? "the archive holds no file, only links"
                                                : "the directory is empty"
                            : "it holds no *.safetensors, no index, no *.gguf and no "
                              "checkpoint of Grok-1");
    gk_fail_at(err, path, NULL);
    return NULL;
}

gk_catalog *gk_catalog_open_with(const char *path, const gk_open_options *options, gk_err *err)
{
    gk_catalog *c = gk_alloc(1, sizeof *c, err);
    const gk_reader *reader = NULL;
    gk_source source;

    if (c == NULL)
        return NULL;
    *c = (gk_catalog){.arena = gk_arena_new(err)};
    c->findings.arena = c->arena;
    c->path = c->arena == NULL ? NULL : gk_arena_str(c->arena, path, err);
    if (c->path != NULL && look(c, options, &source, err))
        reader = reader_of(&source, path, err);
    if (reader != NULL && open_with(c, reader, &source, err)
        && (c->archive == NULL || gk_archive_keep_crcs(c, err)))
        return c;
    gk_catalog_close(c);
    return NULL;
}

gk_catalog *gk_catalog_open(const char *path, gk_err *err)
{
    return gk_catalog_open_with(path, NULL, err);
}

/* ---- its files by name --------------------------------------------------- */

gk_file *gk_catalog_file(gk_arena *a, const gk_catalog *c, const char *name, gk_err *err)
{
    if (c->archive != NULL)
        return gk_source_file(a, c->archive->source, name, err);
    const char *dir = c->directory != NULL ? c->directory : gk_path_dir(a, c->path, err);
    const char *path = dir == NULL ? NULL : gk_path_join(a, dir, name, err);
    return path == NULL ? NULL : gk_file_open(a, path, err);
}

bool gk_catalog_has(gk_arena *a, const gk_catalog *c, const char *name)
{
    if (c->archive != NULL)
        return gk_source_has(a, c->archive->source, name);
    const char *path = c->directory == NULL ? NULL : gk_path_join(a, c->directory, name, NULL);
    return path != NULL && gk_path_kind_of(path) == GK_PATH_FILE;
}
