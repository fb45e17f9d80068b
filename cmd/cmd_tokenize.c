/* cmd/cmd_tokenize.c - text to ids, ids to text. */
#include <inttypes.h>

#include "cmd/input.h"
#include "formats/io.h"
#include "verify/tokenizer.h"

/* MODEL is a directory with a tokenizer, or the tokenizer itself. */
static gk_tokenizer *open_tokenizer(const gk_cli *cli, gk_err *err)
{
    const char *path = cli->arg[0];

    if (gk_path_kind_of(path) == GK_PATH_DIR)
        path = gk_path_join(cli->arena, path, "tokenizer.tok.json", err);
    return path == NULL ? NULL : gk_tokenizer_open(path, err);
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
