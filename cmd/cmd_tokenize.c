/* cmd/cmd_tokenize.c - text to ids, ids to text. */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/cli.h"
#include "formats/io.h"
#include "verify/tokenizer.h"

#define MAX_TEXT_BYTES (UINT64_C(1) << 32)

static bool read_stdin(gk_text *t, gk_err *err)
{
    char buf[65536];
    size_t n;

    while ((n = fread(buf, 1, sizeof buf, stdin)) > 0)
        gk_text_add(t, buf, n);
    if (ferror(stdin))
        return gk_fail_errno(err, "standard input", GK_NO_OFF, "read");
    return gk_text_ok(t, err);
}

static bool read_input(const gk_cli *cli, gk_text *t, gk_err *err)
{
    const int n = gk_cli_count(cli, GK_OPT_TEXT);

    if (n == 0)
        return read_stdin(t, err);
    for (int i = 0; i < n; i++) {
        uint64_t len = 0;
        char *text = gk_file_slurp(gk_cli_nth(cli, GK_OPT_TEXT, i), MAX_TEXT_BYTES, &len, err);
        if (text == NULL)
            return false;
        gk_text_add(t, text, len);
        gk_free(text);
    }
    return gk_text_ok(t, err);
}

/* MODEL is a directory with a tokenizer, or the tokenizer itself. */
static gk_tokenizer *open_tokenizer(const gk_cli *cli, gk_err *err)
{
    const char *path = cli->arg[0];

    if (gk_path_kind_of(path) == GK_PATH_DIR)
        path = gk_path_join(cli->arena, path, "tokenizer.tok.json", err);
    return path == NULL ? NULL : gk_tokenizer_open(path, err);
}

static bool parse_ids(const gk_text *in, gk_ids *ids, gk_err *err)
{
    char *at = in->data == NULL ? NULL : in->data, *end;

    while (at != NULL && *(at += strspn(at, " \t\r\n,")) != '\0') {
        void *grown = ids->id;
        errno = 0;
        const unsigned long long id = strtoull(at, &end, 10);
        if (!isdigit((unsigned char)*at) || errno != 0 || id > UINT32_MAX)
            return gk_fail(err, GK_ERR_FORMAT, (uint64_t)(at - in->data), "expected a token id");
        if (!gk_grow(&grown, &ids->cap, ids->n + 1, sizeof *ids->id, err))
            return false;
        ids->id = grown;
        ids->id[ids->n++] = (uint32_t)id;
        at = end;
    }
    return true;
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
    bool ok = t != NULL && read_input(cli, &in, &err);
    if (ok && decode)
        ok = parse_ids(&in, &ids, &err) && gk_tokenizer_decode(t, ids.id, ids.n, &out, &err);
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
