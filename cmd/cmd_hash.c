/* cmd/cmd_hash.c - digests of files and merged tensors; verifying them. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/input.h"
#include "cmd/progress.h"
#include "formats/output.h"
#include "formats/pattern.h"
#include "verify/sweep.h"

typedef struct job {
    const gk_cli *cli;
    gk_catalog   *c;
    gk_sums       sums;
} job;

static void on_progress(void *context, uint64_t bytes, const char *name)
{
    (void)context;
    gk_progress_item(name);
    gk_progress_add(bytes);
}

static bool hash_all(job *j, gk_err *err)
{
    const gk_sweep pass = {.c = j->c,
                          .sums = &j->sums,
                          .threads = j->cli->threads,
                          .stop = gk_cli_stop(),
                          .progress = on_progress};

    gk_progress_begin(j->cli, "hashing", GK_UNIT_BYTES, gk_sweep_bytes(&pass));
    const bool ok = gk_sweep_run(&pass, err);
    gk_progress_end();
    return ok && gk_cli_go_on(err);
}

/* ---- printing digests -------------------------------------------------------------- */

static bool add_file(job *j, const char *name, gk_err *err)
{
    return gk_sums_add(&j->sums, GK_SUM_FILE, name, err) != NULL;
}

static bool add_tensor(job *j, const gk_tensor *t, gk_err *err)
{
    gk_sum *row = gk_sums_add(&j->sums, GK_SUM_TENSOR, t->name, err);

    if (row != NULL)
        row->tensor = t;
    return row != NULL;
}

static bool list_files(job *j, gk_err *err)
{
    bool ok = true;

    for (uint64_t i = 0; ok && i < j->c->n_inputs; i++)
        ok = add_file(j, j->c->input[i].name, err);
    /* of other formats the config is made of what the weight files say */
    if (ok && j->c->config_text != NULL && gk_catalog_has(j->cli->arena, j->c, "config.json"))
        ok = add_file(j, "config.json", err);
    for (uint64_t i = 0; ok && i < j->c->n_extras; i++)
        ok = add_file(j, j->c->extra[i].name, err);
    return ok;
}

static bool list_all(job *j, gk_err *err)
{
    const char *regex = gk_cli_string(j->cli, GK_OPT_TENSORS);
    gk_pattern *p = regex == NULL ? NULL : gk_pattern_new(regex, err);
    bool ok = (regex == NULL || p != NULL) && (regex != NULL || list_files(j, err)), yes;

    for (uint64_t i = 0; ok && i < j->c->n_tensors; i++) {
        ok = gk_pattern_match(p, j->c->tensor[i].name, &yes, err);
        if (ok && yes && j->c->tensor[i].n_parts > 0)
            ok = add_tensor(j, &j->c->tensor[i], err);
    }
    gk_pattern_free(p);
    if (ok && regex != NULL && j->sums.n == 0)
        ok = gk_fail(err, GK_ERR_ARG, GK_NO_OFF, "no tensor's name matches '%s'", regex);
    return ok;
}

/* The entries as the files name them, and each file as a whole: what llama-gguf-hash prints. */
static bool list_entries(job *j, gk_err *err)
{
    for (uint64_t k = 0; k < j->c->n_inputs; k++) {
        for (uint64_t i = 0; i < j->c->n_stored; i++) {
            const gk_stored *s = &j->c->stored[i];
            if (s->input != k)
                continue;
            gk_sum *row = gk_sums_add(&j->sums, GK_SUM_ENTRY, s->name, err);
            if (row == NULL)
                return false;
            row->entry = s;
            row->input = (uint32_t)k;
        }
        gk_sum *row = gk_sums_add(&j->sums, GK_SUM_PAYLOAD, j->c->input[k].name, err);
        if (row == NULL)
            return false;
        row->input = (uint32_t)k;
    }
    return true;
}

/* The entries of files that are in order can be listed, whatever they come to together. */
static bool readable(const job *j, bool manifest, gk_err *err)
{
    bool malformed;

    gk_findings_worst(&j->c->findings, 0, &malformed);
    return (manifest && !malformed) || gk_findings_refuse(&j->c->findings, err);
}

static bool no_failure(const job *j, gk_err *err)
{
    for (uint64_t i = 0; i < j->sums.n; i++)
        if (j->sums.row[i].failure != GK_OK) {
            gk_fail(err, j->sums.row[i].failure, GK_NO_OFF, "cannot be read to its end");
            return gk_fail_at(err, j->sums.row[i].name, NULL);
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
            for (uint64_t i = 0; i < j->sums.n; i++) {
                if ((j->sums.row[i].of != GK_SUM_FILE) != (tensors == 1))
                    continue;
                gk_json_open(out, NULL, '{');
                gk_json_string(out, "name", j->sums.row[i].name);
                if (!tensors)
                    gk_json_uint(out, "bytes", j->sums.row[i].bytes);
                gk_json_string(out, "sha256", j->sums.row[i].sha256);
                gk_json_close(out, '}');
            }
            gk_json_close(out, ']');
        }
        gk_json_close(out, '}');
        return;
    }
    for (uint64_t i = 0; i < j->sums.n; i++) {
        gk_text_printf(out, "%s  ", j->sums.row[i].sha256);
        if (j->sums.row[i].tensor != NULL) {
            const char *file = file_of(j, j->sums.row[i].tensor);
            gk_text_escaped(out, file, strlen(file));
            gk_text_char(out, ':');
        }
        gk_text_escaped(out, j->sums.row[i].name, strlen(j->sums.row[i].name));
        gk_text_char(out, '\n');
    }
}

static void print_manifest(const job *j, gk_text *out)
{
    for (uint64_t i = 0; i < j->sums.n; i++) {
        const gk_sum *row = &j->sums.row[i];
        const char *file = j->c->input[row->input].name;
        gk_text_printf(out, "%-10s%s  ", gk_hash_name(row->kind), row->found);
        gk_text_escaped(out, file, strlen(file));
        if (row->of == GK_SUM_ENTRY) {
            gk_text_char(out, ':');
            gk_text_escaped(out, row->name, strlen(row->name));
        }
        gk_text_char(out, '\n');
    }
}

/* ---- verifying ---------------------------------------------------------------------- */

static bool read_list(job *j, const char *check, gk_err *err)
{
    gk_text list = {0};

    if (!gk_cli_signature(j->cli, j->c, &j->sums, err))
        return false;
    if (check == NULL)
        return true;
    if (strcmp(check, "-") != 0)
        return gk_sums_read(j->c, check, true, &j->sums, err);
    bool ok = gk_read_text(check, &list, err)
              && (list.data == NULL
                  || gk_sums_parse(j->c, list.data, "standard input", true, &j->sums, err)
                  || gk_fail_at(err, "standard input", NULL));
    gk_text_free(&list);
    if (ok && j->sums.n == 0) {
        gk_fail(err, GK_ERR_FORMAT, GK_NO_OFF, "holds no line 'HEX  NAME': nothing was checked");
        ok = gk_fail_at(err, "standard input", NULL);
    }
    return ok;
}

/* What is wrong with a signature itself, or signed by nobody. Returns how much. */
static uint64_t print_signature(const job *j, gk_text *out)
{
    const gk_findings *f = &j->c->findings;
    uint64_t n = 0;

    if (j->cli->json)
        gk_json_open(out, "signature", '[');
    for (uint64_t i = 0; i < f->n; i++) {
        if (strcmp(f->row[i].check, "signature") != 0)
            continue;
        n++;
        if (j->cli->json) {
            gk_json_open(out, NULL, '{');
            gk_json_string(out, "file", f->row[i].file);
            gk_json_string(out, "text", f->row[i].text);
            gk_json_close(out, '}');
            continue;
        }
        gk_text_escaped(out, f->row[i].file, strlen(f->row[i].file));
        gk_text_str(out, ": FAILED: ");
        gk_text_escaped(out, f->row[i].text, strlen(f->row[i].text));
        gk_text_char(out, '\n');
    }
    if (j->cli->json)
        gk_json_close(out, ']');
    return n;
}

static int print_verdicts(const job *j, gk_text *out)
{
    uint64_t failed = 0;

    for (uint64_t i = 0; i < j->sums.n; i++) {
        const gk_sum *it = &j->sums.row[i];
        const bool ok = gk_sum_holds(it);
        failed += !ok;
        if (j->cli->json || (ok && j->cli->verbose < 0))
            continue;
        gk_text_escaped(out, it->listed, strlen(it->listed));
        gk_text_printf(out, ": %s\n", ok ? "OK" : it->failure != GK_OK ? "FAILED open or read"
                                                                         : "FAILED");
    }
    if (j->cli->json) {
        gk_cli_json(j->cli, out);
        for (int tensors = 0; tensors < 2; tensors++) {
            gk_json_open(out, tensors ? "tensors" : "files", '[');
            for (uint64_t i = 0; i < j->sums.n; i++) {
                const gk_sum *it = &j->sums.row[i];
                if ((it->of != GK_SUM_FILE) != (tensors == 1))
                    continue;
                gk_json_open(out, NULL, '{');
                gk_json_string(out, "name", it->name);
                if (!tensors)
                    gk_json_uint(out, "bytes", it->bytes);
                gk_json_string(out, "sha256", it->sha256[0] != '\0' ? it->sha256 : NULL);
                gk_json_string(out, "expected", it->expected);
                if (it->blob || it->kind != GK_HASH_SHA256)
                    gk_json_string(out, it->blob ? "git_sha1" : gk_hash_name(it->kind),
                                   it->found[0] != '\0' ? it->found : NULL);
                gk_json_bool(out, "ok", gk_sum_holds(it));
                gk_json_close(out, '}');
            }
            gk_json_close(out, ']');
        }
    }
    const uint64_t unsound = gk_cli_has(j->cli, GK_OPT_SIGNATURE) ? print_signature(j, out) : 0;
    if (j->cli->json) {
        gk_json_uint(out, "failed", failed + unsound);
        gk_json_close(out, '}');
    }
    if (failed > 0)
        gk_cli_talk(j->cli, "%" PRIu64 " of %" PRIu64 " digests did NOT match", failed, j->sums.n);
    return failed + unsound == 0 ? GK_EXIT_FINE : GK_EXIT_FINDINGS;
}

/* ---- signing ------------------------------------------------------------------------- */

static bool list_signed(job *j, gk_err *err)
{
    const char *path = gk_cli_string(j->cli, GK_OPT_SIGNATURE);

    return path != NULL ? gk_signature_list(j->c, path, &j->sums, err)
                        : gk_fail(err, GK_ERR_ARG, GK_NO_OFF,
                                  "--sign needs --signature FILE, which is to be written");
}

static bool write_signature(const job *j, gk_err *err)
{
    gk_text bundle = {0};
    const bool ok = gk_signature_make(j->c, gk_cli_string(j->cli, GK_OPT_SIGN), &j->sums, &bundle,
                                      err)
                    && gk_file_put(gk_cli_string(j->cli, GK_OPT_SIGNATURE), bundle.data, bundle.len,
                                   err);

    gk_text_free(&bundle);
    return ok;
}

/* One of four jobs: verify, sign, print a manifest, print digests. */
static bool list_rows(job *j, bool check, gk_err *err)
{
    const bool manifest = gk_cli_has(j->cli, GK_OPT_GGUF_HASH);

    if (check)
        return read_list(j, gk_cli_string(j->cli, GK_OPT_CHECK), err);
    return readable(j, manifest, err)
           && (gk_cli_has(j->cli, GK_OPT_SIGN) ? list_signed(j, err)
               : manifest                      ? list_entries(j, err)
                                               : list_all(j, err));
}

int cmd_hash(const gk_cli *cli)
{
    const bool sign = gk_cli_has(cli, GK_OPT_SIGN);
    const bool check
        = !sign && (gk_cli_has(cli, GK_OPT_CHECK) || gk_cli_has(cli, GK_OPT_SIGNATURE)
                    || gk_cli_has(cli, GK_OPT_PUBLIC_KEY) || gk_cli_has(cli, GK_OPT_CERTIFICATES));
    gk_err err = {0};
    job j = {.cli = cli};
    gk_text out = {0};
    int status = GK_EXIT_FINE;

    j.c = gk_cli_model(cli, cli->arg[0], &err);
    bool ok = j.c != NULL && gk_sums_init(&j.sums, &err) && list_rows(&j, check, &err)
              && hash_all(&j, &err) && (check || no_failure(&j, &err))
              && (!sign || write_signature(&j, &err));
    if (ok && check)
        status = print_verdicts(&j, &out);
    else if (ok && gk_cli_has(cli, GK_OPT_GGUF_HASH) && !cli->json)
        print_manifest(&j, &out);
    else if (ok)
        print_digests(&j, &out);
    status = ok ? gk_cli_emit(cli, &out, status) : gk_cli_fail(cli, &err);
    gk_text_free(&out);
    gk_sums_free(&j.sums);
    gk_catalog_close(j.c);
    return status;
}
