/* cmd/confine.c - from the command line to the paths that the sandbox leaves.
 *
 *   a model          its folder, what links in it lead to, the tokenizer of a checkpoint
 *                    beside it; of a file the folder it lies in
 *   a file to read   that file
 *   a file to write  the folder it will appear in, or the device that it is
 *   OUT              the folder it lies in, where OUT.partial-* is built
 *   --spool          the folder; without it where activations go that memory does not hold, and
 *                    of eval where it keeps what is done
 *
 * Libraries that read something of their own at first use do so before. */
#include "cmd/confine.h"

#include <unistd.h>

#include "cmd/allocation.h"
#include "cmd/pass.h"
#include "formats/hash.h"
#include "formats/io.h"
#include "formats/sandbox.h"
#include "quant/blas.h"

#define MAX_LINK_DEPTH 2 /* a cache has snapshots/COMMIT/ */

typedef struct paths {
    gk_arena *arena;
    gk_sandbox_path *path;
    uint64_t n, cap;
    gk_err *err;
} paths;

static bool add(paths *p, const char *path, bool write)
{
    void *rows = p->path;

    if (path == NULL || !gk_grow(&rows, &p->cap, p->n + 1, sizeof *p->path, p->err))
        return false;
    p->path = rows;
    p->path[p->n++] = (gk_sandbox_path){path, write};
    return true;
}

static bool is_link(const char *path)
{
    char to[2];

    return readlink(path, to, sizeof to) > 0;
}

/* What the links of a folder lead to, each by itself. */
static bool add_links(paths *p, const char *folder, int depth)
{
    gk_err unread = {0}; /* whoever opens it will say why */
    uint64_t n = 0;
    const char **name = gk_dir_names(p->arena, folder, &n, &unread);

    for (uint64_t i = 0; name != NULL && i < n; i++) {
        const char *path = gk_path_join(p->arena, folder, name[i], p->err);
        if (path == NULL)
            return false;
        if (is_link(path) && !add(p, path, false))
            return false;
        if (depth < MAX_LINK_DEPTH && gk_path_kind_of(path) == GK_PATH_DIR
            && !add_links(p, path, depth + 1))
            return false;
    }
    return true;
}

/* The folder that a path lies in, or that what it leads to lies in. */
static bool add_folder_of(paths *p, const char *path, bool write)
{
    const char *real = gk_path_real(p->arena, path, &(gk_err){0});

    return add(p, gk_path_dir(p->arena, path, p->err), write)
           && (real == NULL || add(p, gk_path_dir(p->arena, real, p->err), write));
}

static bool add_model(paths *p, const char *path)
{
    if (gk_path_kind_of(path) != GK_PATH_DIR)
        return add(p, path, false) && add_folder_of(p, path, false);
    const char *real = gk_path_real(p->arena, path, &(gk_err){0});
    const char *beside = real == NULL ? NULL : gk_path_dir(p->arena, real, p->err);
    if (beside != NULL
        && (!add(p, gk_path_join(p->arena, beside, "tokenizer.model", p->err), false)
            || !add(p, gk_path_join(p->arena, beside, "config.json", p->err), false)))
        return false;
    return add(p, path, false) && add_links(p, path, 0);
}

/* A file to write: it appears beside its name, or is a device or pipe. */
static bool add_written(paths *p, const char *path)
{
    return add_folder_of(p, path, true)
           && (gk_path_kind_of(path) != GK_PATH_OTHER || add(p, path, true));
}

static bool add_options(paths *p, const gk_cli *cli)
{
    static const gk_opt read[] = {GK_OPT_CHECK, GK_OPT_SUMS, GK_OPT_RECIPE,
                                  GK_OPT_STATS, GK_OPT_TEXT, GK_OPT_TOKEN_IDS,
                                  GK_OPT_SIGN, GK_OPT_SIGNATURE, GK_OPT_PUBLIC_KEY,
                                  GK_OPT_CERTIFICATES};
    static const gk_opt written[] = {GK_OPT_HTML, GK_OPT_LOGITS, GK_OPT_OUTPUT,
                                     GK_OPT_SAVE_RECIPE};
    bool ok = true;

    for (size_t k = 0; k < sizeof read / sizeof read[0]; k++)
        for (int i = 0; ok && i < gk_cli_count(cli, read[k]); i++)
            ok = add(p, gk_cli_nth(cli, read[k], i), false);
    for (size_t k = 0; k < sizeof written / sizeof written[0]; k++)
        if (ok && gk_cli_has(cli, written[k]))
            ok = add_written(p, gk_cli_string(cli, written[k]));
    if (ok && gk_cli_has(cli, GK_OPT_SIGN) && gk_cli_has(cli, GK_OPT_SIGNATURE))
        ok = add_written(p, gk_cli_string(cli, GK_OPT_SIGNATURE));
    if (ok && gk_cli_has(cli, GK_OPT_BASE))
        ok = add_model(p, gk_cli_string(cli, GK_OPT_BASE));
    for (int i = 0; ok && i < gk_cli_count(cli, GK_OPT_ALSO); i++)
        ok = add_model(p, gk_cli_nth(cli, GK_OPT_ALSO, i));
    if (ok && gk_cli_has(cli, GK_OPT_SPOOL))
        ok = add(p, gk_cli_string(cli, GK_OPT_SPOOL), true);
    return ok;
}

/* The path, or what there is of it: the rest will be made. */
static bool add_made(paths *p, const char *path)
{
    while (path != NULL && gk_path_kind_of(path) == GK_PATH_NONE)
        path = gk_path_dir(p->arena, path, p->err);
    return add(p, path, true);
}

static bool add_pass(paths *p, const gk_cli *cli)
{
    const char *cache = gk_pass_cache(cli, p->err);

    return p->err->code == GK_OK && add(p, gk_pass_scratch(cli), true)
           && (cache == NULL || gk_cli_has(cli, GK_OPT_SPOOL) || add_made(p, cache));
}

static bool add_all(paths *p, const gk_cli *cli)
{
    const bool writes = (cli->command->id & (GK_CMD_CONVERT | GK_CMD_QUANTIZE)) != 0;

    for (int i = 0; i < cli->n_args; i++)
        if (!(writes && i == 1 ? add_folder_of(p, cli->arg[i], true) : add_model(p, cli->arg[i])))
            return false;
    if (cli->command->id == GK_CMD_CALIBRATE && !gk_cli_has(cli, GK_OPT_OUTPUT)
        && !add(p, ".", true))
        return false;
    if (cli->command->id == GK_CMD_EVAL && !add_pass(p, cli))
        return false;
    if ((cli->command->id == GK_CMD_CALIBRATE || gk_allocation_asked(cli))
        && !add(p, gk_pass_scratch(cli), true))
        return false;
    /* a lock says which process of which boot holds it */
    return (!(writes || cli->command->id == GK_CMD_CALIBRATE) || add(p, "/proc", false))
           && add_options(p, cli);
}

/* libcrypto reads its configuration, BLAS is loaded. */
static void wake_libraries(const gk_cli *cli)
{
    char hex[GK_SHA256_HEX];

    gk_hash_bytes("", 0, hex, &(gk_err){0});
    if ((cli->command->id & (GK_CMD_EVAL | GK_CMD_CALIBRATE)) != 0
        || (cli->command->id == GK_CMD_QUANTIZE
            && (gk_cli_has(cli, GK_OPT_METHOD) || gk_allocation_asked(cli))))
        gk_blas_name();
}

bool gk_cli_confine(const gk_cli *cli, gk_err *err)
{
    gk_err failed = {0};
    paths p = {.arena = gk_arena_new(err), .err = err};
    int entered = 0;

    if (p.arena == NULL)
        return false;
    const bool ok = add_all(&p, cli);
    if (ok) {
        wake_libraries(cli);
        if (!gk_sandbox_enter(p.path, p.n, &entered, &failed))
            gk_cli_talk(cli, "warning: no whole sandbox (%s): %s: %s", gk_sandbox_name(entered),
                        failed.file, failed.msg);
        gk_cli_verbose(cli, "sandbox: %s", gk_sandbox_name(entered));
    }
    gk_free(p.path);
    gk_arena_free(p.arena);
    return ok;
}
