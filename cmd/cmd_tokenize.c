/* cmd/cmd_tokenize.c - text to ids, ids to text. */
#include <inttypes.h>
#include <string.h>

#include "cmd/input.h"
#include "formats/io.h"
#include "verify/tokenizer.h"

/* A tokenizer's file is a catalog of nothing else; found in a directory, it has what stands
 * beside it and adds tokens. */
static gk_tokenizer *open_alone(const gk_cli *cli, const char *path, gk_err *err)
{
    static const char *const beside[] = {"tokenizer_config.json", "added_tokens.json"};
    const size_t len = strlen(path);
    const bool tok = len >= 9 && strcmp(path + len - 9, ".tok.json") == 0;
    const bool pieces = len >= 6 && strcmp(path + len - 6, ".model") == 0;
    gk_extra extra[3] = {{.path = path}};
    gk_catalog c = {.extra = extra, .n_extras = 1};

    extra[0].name = pieces ? "tokenizer.model" : tok ? "tokenizer.tok.json" : "tokenizer.json";
    for (size_t i = 0; path != cli->arg[0] && i < 2; i++) {
        const char *other = gk_path_join(cli->arena, cli->arg[0], beside[i], err);
        if (other == NULL)
            return NULL;
        if (gk_path_kind_of(other) == GK_PATH_FILE)
            extra[c.n_extras++] = (gk_extra){.name = beside[i], .path = other};
    }
    return gk_tokenizer_open(&c, err);
}

/* Returns the tokenizer's file when MODEL is one, or a directory that has one. */
static const char *file_alone(const gk_cli *cli, gk_err *err)
{
    static const char *const names[] = {"tokenizer.tok.json", "tokenizer.json",
                                        "tokenizer.model"};
    const char *path = cli->arg[0];

    if (gk_path_kind_of(path) == GK_PATH_FILE) {
        const size_t len = strlen(path);
        const bool index = len >= 11 && strcmp(path + len - 11, ".index.json") == 0;
        const bool json = len >= 5 && strcmp(path + len - 5, ".json") == 0 && !index;
        return json || (len >= 6 && strcmp(path + len - 6, ".model") == 0) ? path : NULL;
    }
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        const char *file = gk_path_join(cli->arena, path, names[i], err);
        if (file != NULL && gk_path_kind_of(file) == GK_PATH_FILE)
            return file;
    }
    return NULL;
}

/* MODEL is a model, the file of a tokenizer, or a directory with that and no weights. */
static gk_tokenizer *open_tokenizer(const gk_cli *cli, gk_err *err)
{
    gk_err own = {0};
    const char *alone = file_alone(cli, err);

    if (err->code != GK_OK)
        return NULL;
    if (alone == cli->arg[0])
        return open_alone(cli, alone, err);
    const gk_open_options opening = gk_cli_opening(cli);
    gk_catalog *c = gk_catalog_open_with(cli->arg[0], &opening, &own);
    if (c == NULL && alone != NULL && own.code == GK_ERR_FORMAT)
        return open_alone(cli, alone, err);
    if (c == NULL)
        *err = own;
    gk_tokenizer *t = c == NULL ? NULL : gk_tokenizer_open(c, err);
    gk_catalog_close(c);
    return t;
}

static void print_ids(const gk_cli *cli, const gk_ids *ids, gk_text *out)
{
    if (!cli->json) {
        for (uint64_t i = 0; i < ids->n; i++)
            gk_text_printf(out, "%s%" PRIu32, i > 0 ? " " : "", ids->id[i]);
        gk_text_char(out, '\n');
        return;
    }
    gk_cli_json(cli, out);
    out->indent = 0;
    gk_text_str(out, ",\n  \"ids\": [");
    for (uint64_t i = 0; i < ids->n; i++)
        gk_text_printf(out, "%s%" PRIu32, i > 0 ? "," : "", ids->id[i]);
    gk_text_str(out, "]\n}\n");
}

int cmd_tokenize(const gk_cli *cli)
{
    const bool decode = gk_cli_has(cli, GK_OPT_DECODE);
    gk_text in = {0}, out = {0};
    gk_ids ids = {0};
    gk_err err = {0};
    int status;

    gk_tokenizer *t = open_tokenizer(cli, &err);
    bool ok = t != NULL && gk_read_texts(cli, &in, &err);
    if (ok && decode)
        ok = gk_parse_ids(&in, NULL, &ids, &err)
             && gk_tokenizer_decode(t, ids.id, ids.n, &out, &err);
    else if (ok)
        ok = gk_tokenizer_encode(t, in.data == NULL ? "" : in.data, in.len, &ids, &err);
    if (!ok) {
        status = gk_cli_fail(cli, &err);
    } else if (decode && !cli->json) { /* the bytes, and nothing but them */
        status = out.len == 0 || gk_cli_write(out.data, out.len) ? GK_EXIT_FINE : GK_EXIT_IO;
    } else if (decode) {
        gk_text json = {0};
        gk_cli_json(cli, &json);
        gk_json_string_n(&json, "text", out.data == NULL ? "" : out.data, out.len);
        gk_json_close(&json, '}');
        status = gk_cli_emit(cli, &json, GK_EXIT_FINE);
        gk_text_free(&json);
    } else {
        print_ids(cli, &ids, &out);
        status = gk_cli_emit(cli, &out, GK_EXIT_FINE);
    }
    gk_tokenizer_close(t);
    gk_ids_free(&ids);
    gk_text_free(&in);
    gk_text_free(&out);
    return status;
}
