/* cmd/input.c - models, texts and token ids as people give them. */
#include "cmd/input.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/io.h"

#define MAX_TEXT_BYTES (UINT64_C(1) << 32)

gk_open_options gk_cli_opening(const gk_cli *cli)
{
    return (gk_open_options){.spool = gk_cli_string(cli, GK_OPT_SPOOL), .stop = gk_cli_stop()};
}

gk_catalog *gk_cli_model(const gk_cli *cli, const char *path, gk_err *err)
{
    const gk_open_options options = gk_cli_opening(cli);

    return gk_model_open_with(path, &options, err);
}

gk_catalog *gk_cli_model_whole(const gk_cli *cli, const char *path, gk_err *err)
{
    gk_catalog *c = gk_cli_model(cli, path, err);

    if (c == NULL || gk_findings_refuse(&c->findings, err))
        return c;
    gk_catalog_close(c);
    return NULL;
}

static bool read_stdin(gk_text *t, gk_err *err)
{
    char buf[65536];
    size_t n;

    while ((n = fread(buf, 1, sizeof buf, stdin)) > 0) {
        gk_text_add(t, buf, n);
        if (t->len > MAX_TEXT_BYTES) {
            gk_fail(err, GK_ERR_LIMIT, GK_NO_OFF, "more than %llu bytes of text",
                    (unsigned long long)MAX_TEXT_BYTES);
            return gk_fail_at(err, "standard input", NULL);
        }
    }
    if (!gk_cli_go_on(err))
        return false;
    if (ferror(stdin))
        return gk_fail_errno(err, "standard input", GK_NO_OFF, "read");
    return gk_text_ok(t, err);
}

bool gk_read_text(const char *path, gk_text *out, gk_err *err)
{
    uint64_t len = 0;

    if (strcmp(path, "-") == 0)
        return read_stdin(out, err);
    char *text = gk_file_slurp(path, MAX_TEXT_BYTES, &len, err);
    if (text == NULL)
        return false;
    gk_text_add(out, text, len);
    gk_free(text);
    return gk_text_ok(out, err);
}

bool gk_read_texts(const gk_cli *cli, gk_text *out, gk_err *err)
{
    const int n = gk_cli_count(cli, GK_OPT_TEXT);

    if (n == 0)
        return read_stdin(out, err);
    for (int i = 0; i < n; i++)
        if (!gk_read_text(gk_cli_nth(cli, GK_OPT_TEXT, i), out, err))
            return false;
    return true;
}

bool gk_parse_ids(const gk_text *in, const char *name, gk_ids *ids, gk_err *err)
{
    char *at = in->data, *end;

    while (at != NULL && *(at += strspn(at, " \t\r\n,")) != '\0') {
        void *grown = ids->id;
        errno = 0;
        const unsigned long long id = strtoull(at, &end, 10);
        if (!isdigit((unsigned char)*at) || errno != 0 || id > UINT32_MAX) {
            gk_fail(err, GK_ERR_FORMAT, (uint64_t)(at - in->data), "expected a token id");
            return gk_fail_at(err, name, NULL);
        }
        if (!gk_grow(&grown, &ids->cap, ids->n + 1, sizeof *ids->id, err))
            return false;
        ids->id = grown;
        ids->id[ids->n++] = (uint32_t)id;
        at = end;
    }
    return true;
}

bool gk_cli_signature(const gk_cli *cli, gk_catalog *c, gk_sums *sums, gk_err *err)
{
    const gk_signature signature = {
        .path = gk_cli_string(cli, GK_OPT_SIGNATURE),
        .public_key = gk_cli_string(cli, GK_OPT_PUBLIC_KEY),
        .trusted = gk_cli_string(cli, GK_OPT_CERTIFICATES),
        .ignore_unsigned = gk_cli_has(cli, GK_OPT_IGNORE_UNSIGNED),
    };

    if (signature.path != NULL)
        return gk_signature_read(c, &signature, sums, err);
    if (signature.public_key == NULL && signature.trusted == NULL)
        return true;
    return gk_fail(err, GK_ERR_ARG, GK_NO_OFF, "of which signature? --signature FILE names it");
}
