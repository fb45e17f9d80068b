/* cmd/cmd_hash.c - digests of files and merged tensors; verifying them. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/input.h"
#include "cmd/progress.h"
#include "formats/pattern.h"
#include "verify/checks.h"
#include "verify/checksums.h"

#define MIN_BUF_BYTES  65536u

/* Something with a digest: a file, or a tensor of the model. */
typedef struct item {
    const char      *name;
    const char      *listed; /* how the list calls it   */
    const gk_tensor *tensor; /* NULL: a file            */
    char             expected[GK_SHA256_HEX];
    char             sha256[GK_SHA256_HEX];
    uint64_t         bytes;
    gk_err           err;
} item;

typedef struct job {
    const gk_cli *cli;
    gk_catalog   *c;
    item         *row;
    uint64_t      n, cap;
} job;

static item *add_item(job *j, const char *name, const gk_tensor *t, gk_err *err)
{
    void *rows = j->row;

    if (!gk_grow(&rows, &j->cap, j->n + 1, sizeof *j->row, err))
        return NULL;
    j->row = rows;
    j->row[j->n] = (item){.name = name, .tensor = t};
    return &j->row[j->n++];
}

static void hash_item(const job *j, item *it, void *buf, uint64_t buf_bytes)
{
    if (!gk_cli_go_on(&it->err))
        return;
    gk_progress_item(it->name);
    if (it->tensor == NULL) {
        gk_sums_file(j->c, it->name, it->sha256, &it->bytes, &it->err);
        gk_progress_add(it->bytes);
    } else {
        gk_tensor_digest(j->c, it->tensor, buf, buf_bytes, it->sha256, &it->err);
        gk_progress_add(gk_tensor_bytes(it->tensor));
    }
}

static bool hash_all(job *j, gk_err *err)
{
    uint64_t buf_bytes = j->cli->memory / 2 / (uint64_t)j->cli->threads;
    uint64_t total = 0, next = 0;
    bool ok = true;

    buf_bytes = buf_bytes > (4u << 20) ? 4u << 20 : buf_bytes < MIN_BUF_BYTES ? MIN_BUF_BYTES
                                                                               : buf_bytes;
    for (uint64_t i = 0; i < j->n; i++)
        total += j->row[i].tensor != NULL ? gk_tensor_bytes(j->row[i].tensor) : 0;
    for (uint64_t i = 0; i < j->c->n_inputs; i++)
        total += j->c->input[i].file->size;
    gk_progress_begin(j->cli, "hashing", GK_UNIT_BYTES, total);
#pragma omp parallel num_threads(j->cli->threads)
    {
        gk_err own = {0};
        void *buf = gk_alloc(buf_bytes, 1, &own);
        uint64_t i;
        while (buf != NULL && (i = __atomic_fetch_add(&next, 1, __ATOMIC_RELAXED)) < j->n)
            hash_item(j, &j->row[i], buf, buf_bytes);
        if (buf == NULL) {
#pragma omp critical(gk_hash_failure)
            {
                *err = own;
                ok = false;
            }
        }
        gk_free(buf);
    }
    gk_progress_end();
    return ok && gk_cli_go_on(err);
}

/* ---- printing digests -------------------------------------------------------------- */

static bool list_all(job *j, gk_err *err)
{
    const char *regex = gk_cli_string(j->cli, GK_OPT_TENSORS);
    gk_pattern *p = regex == NULL ? NULL : gk_pattern_new(regex, err);
    bool ok = regex == NULL || p != NULL, yes;

    for (uint64_t i = 0; ok && regex == NULL && i < j->c->n_inputs; i++)
        ok = add_item(j, j->c->input[i].name, NULL, err) != NULL;
    /* of other formats the config is made of what the weight files say */
    if (ok && regex == NULL && j->c->config_text != NULL
        && gk_catalog_has(j->cli->arena, j->c, "config.json"))
        ok = add_item(j, "config.json", NULL, err) != NULL;
    for (uint64_t i = 0; ok && regex == NULL && i < j->c->n_extras; i++)
        ok = add_item(j, j->c->extra[i].name, NULL, err) != NULL;
    for (uint64_t i = 0; ok && i < j->c->n_tensors; i++) {
        ok = gk_pattern_match(p, j->c->tensor[i].name, &yes, err);
        if (ok && yes && j->c->tensor[i].n_parts > 0)
            ok = add_item(j, j->c->tensor[i].name, &j->c->tensor[i], err) != NULL;
    }
    gk_pattern_free(p);
    if (ok && regex != NULL && j->n == 0)
        ok = gk_fail(err, GK_ERR_ARG, GK_NO_OFF, "no tensor's name matches '%s'", regex);
    return ok;
}

static bool first_error(const job *j, gk_err *err)
{
    for (uint64_t i = 0; i < j->n; i++)
        if (j->row[i].err.code != GK_OK) {
            *err = j->row[i].err;
            return false;
        }
    return true;
}

/* The file that a tensor's line names: its own, or that of its first slice. */
static const char *file_of(const job *j, const gk_tensor *t)
{
    gk_part_room room;
    const gk_part *part = gk_part_of(t, 0, &room);

    return j->c->input[part->piece[0].stored->input].name;
}

static void print_digests(const job *j, gk_text *out)
{
    if (j->cli->json) {
        gk_cli_json(j->cli, out);
        for (int tensors = 0; tensors < 2; tensors++) {
            gk_json_open(out, tensors ? "tensors" : "files", '[');
            for (uint64_t i = 0; i < j->n; i++) {
                if ((j->row[i].tensor != NULL) != (tensors == 1))
                    continue;
                gk_json_open(out, NULL, '{');
                gk_json_string(out, "name", j->row[i].name);
                if (!tensors)
                    gk_json_uint(out, "bytes", j->row[i].bytes);
                gk_json_string(out, "sha256", j->row[i].sha256);
                gk_json_close(out, '}');
            }
            gk_json_close(out, ']');
        }
        gk_json_close(out, '}');
        return;
    }
    for (uint64_t i = 0; i < j->n; i++) {
        gk_text_printf(out, "%s  ", j->row[i].sha256);
        if (j->row[i].tensor != NULL) {
            const char *file = file_of(j, j->row[i].tensor);
            gk_text_escaped(out, file, strlen(file));
            gk_text_char(out, ':');
        }
        gk_text_escaped(out, j->row[i].name, strlen(j->row[i].name));
        gk_text_char(out, '\n');
    }
}

/* ---- verifying ---------------------------------------------------------------------- */

/* A line of the list: the tensor after the last ':' that names one, else a file. */
static bool add_line(job *j, const char *hex, const char *name, gk_err *err)
{
    const gk_tensor *t = NULL;

    if (strncmp(name, "./", 2) == 0) /* as find and sha256sum write it */
        name += 2;
    for (const char *colon = strchr(name, ':'); t == NULL && colon != NULL;
         colon = strchr(colon + 1, ':'))
        t = gk_catalog_find(j->c, colon + 1);
    if (t == NULL && (strchr(name, '/') != NULL || strcmp(name, "..") == 0))
        return gk_fail(err, GK_ERR_FORMAT, GK_NO_OFF, "'%s' is a path, not a file of the model",
                       name);
    item *it = add_item(j, t != NULL ? t->name : name, t, err);
    if (it != NULL) {
        it->listed = name;
        memcpy(it->expected, hex, sizeof it->expected);
    }
    return it != NULL;
}

static bool list_expected(job *j, char *text, const char *path, gk_err *err)
{
    char *rest = text, *line, *name, hex[GK_SHA256_HEX];
    unsigned number = 0;

    while ((line = strsep(&rest, "\n")) != NULL) {
        const size_t n = strlen(line);
        number++;
        if (n > 0 && line[n - 1] == '\r')
            line[n - 1] = '\0';
        if (line[0] == '\0' || line[0] == '#')
            continue;
        if (!gk_sums_line(line, hex, &name)) {
            gk_fail(err, GK_ERR_FORMAT, GK_NO_OFF, "line %u is no 'HEX  NAME'", number);
            return gk_fail_at(err, path, NULL);
        }
        if (!add_line(j, hex, name, err))
            return gk_fail_at(err, path, NULL);
    }
    if (j->n > 0)
        return true;
    gk_fail(err, GK_ERR_FORMAT, GK_NO_OFF, "holds no line 'HEX  NAME': nothing was checked");
    return gk_fail_at(err, path, NULL);
}

static int print_verdicts(const job *j, gk_text *out)
{
    uint64_t failed = 0;

    for (uint64_t i = 0; i < j->n; i++) {
        const item *it = &j->row[i];
        const bool ok = it->err.code == GK_OK && strcmp(it->sha256, it->expected) == 0;
        failed += !ok;
        if (j->cli->json || (ok && j->cli->verbose < 0))
            continue;
        gk_text_escaped(out, it->listed, strlen(it->listed));
        gk_text_printf(out, ": %s\n", ok ? "OK" : it->err.code != GK_OK ? "FAILED open or read"
                                                                         : "FAILED");
    }
    if (j->cli->json) {
        gk_cli_json(j->cli, out);
        for (int tensors = 0; tensors < 2; tensors++) {
            gk_json_open(out, tensors ? "tensors" : "files", '[');
            for (uint64_t i = 0; i < j->n; i++) {
                const item *it = &j->row[i];
                if ((it->tensor != NULL) != (tensors == 1))
                    continue;
                gk_json_open(out, NULL, '{');
                gk_json_string(out, "name", it->name);
                if (!tensors)
                    gk_json_uint(out, "bytes", it->bytes);
                gk_json_string(out, "sha256", it->sha256[0] != '\0' ? it->sha256 : NULL);
                gk_json_string(out, "expected", it->expected);
                gk_json_bool(out, "ok", strcmp(it->sha256, it->expected) == 0);
                gk_json_close(out, '}');
            }
            gk_json_close(out, ']');
        }
        gk_json_uint(out, "failed", failed);
        gk_json_close(out, '}');
    }
    if (failed > 0)
        gk_cli_talk(j->cli, "%" PRIu64 " of %" PRIu64 " digests did NOT match", failed, j->n);
    return failed == 0 ? GK_EXIT_FINE : GK_EXIT_FINDINGS;
}

int cmd_hash(const gk_cli *cli)
{
    const char *check = gk_cli_string(cli, GK_OPT_CHECK);
    gk_err err = {0};
    job j = {.cli = cli};
    gk_text out = {0};
    gk_text list = {0};
    int status = GK_EXIT_FINE;

    j.c = gk_cli_model(cli, cli->arg[0], &err);
    bool ok = j.c != NULL && (check != NULL || gk_findings_refuse(&j.c->findings, &err));
    if (ok && check != NULL)
        ok = gk_read_text(check, &list, &err)
             && list_expected(&j, list.data, strcmp(check, "-") == 0 ? "standard input" : check,
                              &err);
    else if (ok)
        ok = list_all(&j, &err);
    ok = ok && hash_all(&j, &err) && (check != NULL || first_error(&j, &err));
    if (ok && check != NULL)
        status = print_verdicts(&j, &out);
    else if (ok)
        print_digests(&j, &out);
    status = ok ? gk_cli_emit(cli, &out, status) : gk_cli_fail(cli, &err);
    gk_text_free(&out);
    gk_text_free(&list);
    gk_free(j.row);
    gk_catalog_close(j.c);
    return status;
}
