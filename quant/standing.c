/* quant/standing.c - finished, begun, or of another plan. */
#include "quant/standing.h"

#include <string.h>

#include "formats/journal.h"
#include "formats/json.h"
#include "quant/progress.h"
#include "quant/provenance.h"

/* Records the first line in which the two jobs differ; theirs[i] NULL: not known. */
static gk_standing say_other(const gk_plan *p, const char *where, char *const *theirs, gk_err *err)
{
    gk_arena *a = gk_arena_new(err);

    for (int i = 0; a != NULL && i < GK_N_ABOUT && err->code == GK_OK; i++) {
        const char *ours = gk_about(p, i, a, err);
        if (ours != NULL && theirs[i] != NULL && strcmp(ours, theirs[i]) != 0)
            gk_fail(err, GK_ERR_ARG, GK_NO_OFF,
                    "is of another plan: its %s is '%.100s', here '%.100s'", gk_about_keys[i],
                    theirs[i], ours);
    }
    gk_fail(err, GK_ERR_ARG, GK_NO_OFF,
            "is of another plan: names, sizes or headers of the input, or the statistics, differ");
    gk_fail_at(err, where, NULL);
    gk_arena_free(a);
    return GK_STANDS_OTHER;
}

static char *member(gk_arena *a, const gk_json *root, const char *key, gk_err *err)
{
    uint64_t len;
    const char *text = gk_json_text(gk_json_get(root, key), &len);
    char *copy = text == NULL ? NULL : gk_arena_strn(a, text, len, err);

    for (char *at = copy; at != NULL && (at = strchr(at, '\n')) != NULL;)
        *at = at[1] == '\0' ? '\0' : ';';
    return copy;
}

static gk_standing of_directory(const gk_plan *p, const char *out, gk_arena *a, gk_err *err)
{
    const char *path = gk_path_join(a, out, GK_PROVENANCE, err);
    gk_err unread = {0};
    gk_json *root = path == NULL ? NULL : gk_json_load(path, &unread);

    if (root == NULL) {
        gk_fail(err, GK_ERR_ARG, GK_NO_OFF, "exists, and no grokkit.json says what made it");
        gk_fail_at(err, out, NULL);
        return GK_STANDS_OTHER;
    }
    char *theirs[GK_N_ABOUT] = {member(a, root, "to", err), member(a, root, "method", err),
                                member(a, root, "recipe", err)};
    const char *plan = member(a, root, "plan", err);
    const bool same = plan != NULL && strcmp(plan, p->sha256) == 0;
    gk_json_free(root);
    return same ? GK_STANDS_FINISHED : say_other(p, out, theirs, err);
}

/* A partial directory beside OUT that another plan began. */
static gk_standing of_partial(const gk_plan *p, const char *dir, const char *name, gk_arena *a,
                              gk_err *err)
{
    const char *path = gk_path_join(a, dir, name, err);
    char *theirs[GK_N_ABOUT] = {NULL};
    const char *file = path == NULL ? NULL : gk_path_join(a, path, GK_JOURNAL_NAME, err);
    gk_journal *j = file == NULL ? NULL : gk_journal_read(file, err);

    for (const char *line; j != NULL && (line = gk_journal_next(j)) != NULL;)
        for (int i = 0; i < GK_N_ABOUT; i++) {
            const size_t n = strlen(gk_about_keys[i]);
            if (strncmp(line, "about ", 6) == 0 && strncmp(line + 6, gk_about_keys[i], n) == 0
                && line[6 + n] == ' ')
                theirs[i] = gk_arena_str(a, line + 7 + n, err);
        }
    gk_journal_close(j);
    return j == NULL ? GK_STANDS_NOTHING : say_other(p, path, theirs, err);
}

static gk_standing beside(const gk_plan *p, const char *out, gk_arena *a, gk_err *err)
{
    const char *any = gk_output_partial_of(a, out, "", err);
    const char *begun = any == NULL ? NULL : gk_path_base(any);
    char *dir = any == NULL ? NULL : gk_path_dir(a, any, err);
    gk_standing found = GK_STANDS_NOTHING;
    uint64_t n = 0;
    const char **name = begun == NULL || dir == NULL ? NULL : gk_dir_names(a, dir, &n, err);

    if (name == NULL)
        return GK_STANDS_OTHER;
    for (uint64_t i = 0; i < n; i++)
        if (strncmp(name[i], begun, strlen(begun)) == 0) {
            if (strcmp(name[i] + strlen(begun), p->tag) == 0)
                return GK_STANDS_NOTHING;
            if (found == GK_STANDS_NOTHING && err->code == GK_OK)
                found = of_partial(p, dir, name[i], a, err);
        }
    return found;
}

gk_standing gk_standing_of(const gk_plan *p, const char *out, gk_err *err)
{
    gk_arena *a = gk_arena_new(err);
    gk_standing s = GK_STANDS_OTHER;
    gk_err other = {0};

    if (a == NULL)
        return s;
    const gk_path_kind kind = gk_path_kind_of(out);
    if (p->options.target->is_gguf && p->shards.n > 0) {
        char *dir = gk_path_dir(a, out, err);
        const char *first = dir == NULL ? NULL
                                        : gk_path_join(a, dir, p->shards.shard[0].name, err);
        if (first != NULL && gk_path_kind_of(first) != GK_PATH_NONE)
            s = gk_run_stands(p, out, err) ? GK_STANDS_FINISHED : GK_STANDS_OTHER;
        else if (first != NULL)
            s = beside(p, out, a, &other);
    } else {
        s = kind == GK_PATH_NONE ? beside(p, out, a, &other) : of_directory(p, out, a, err);
    }
    if (s == GK_STANDS_OTHER && err->code == GK_OK)
        *err = other;
    gk_arena_free(a);
    return s;
}
