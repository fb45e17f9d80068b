/* cmd/cmd_audit.c - is it complete and sound? */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/figures_report.h"
#include "cmd/input.h"
#include "cmd/page.h"
#include "cmd/progress.h"
#include "cmd/table.h"
#include "formats/grok2.h"
#include "formats/hash.h"
#include "quant/model.h"
#include "verify/checks.h"
#include "verify/checksums.h"

typedef struct job {
    const gk_cli *cli;
    gk_catalog   *c;
    gk_sums       sums;
    gk_figure_table figures;
    uint64_t      parameters, bytes;
} job;

static void on_progress(void *context, uint64_t bytes, const char *tensor)
{
    (void)context;
    gk_progress_item(tensor);
    gk_progress_add(bytes);
}

/* The lists that stand beside the model, or the one that was named. */
static bool find_lists(job *j, gk_err *err)
{
    const char *list = gk_cli_string(j->cli, GK_OPT_SUMS);

    if (gk_cli_has(j->cli, GK_OPT_NO_CHECKSUMS))
        return !gk_cli_has(j->cli, GK_OPT_SIGNATURE)
               || gk_fail(err, GK_ERR_ARG, GK_NO_OFF,
                          "--signature needs the digests that --no-checksums turns off");
    return gk_sums_init(&j->sums, err) && gk_cli_signature(j->cli, j->c, &j->sums, err)
           && gk_sums_crcs(j->c, j->cli->threads, gk_cli_stop(), err)
           && (list != NULL ? gk_sums_read(j->c, list, false, &j->sums, err)
                            : gk_sums_find(j->c, &j->sums, err));
}

static bool examine(job *j, gk_err *err)
{
    const bool values = !gk_cli_has(j->cli, GK_OPT_NO_VALUES);
    const gk_check_options options = {
        .values = values,
        .sums = gk_cli_has(j->cli, GK_OPT_NO_CHECKSUMS) ? NULL : &j->sums,
        .keep_going = gk_cli_has(j->cli, GK_OPT_KEEP_GOING),
        .figures = &j->figures,
        .threads = j->cli->threads,
        .stop = gk_cli_stop(),
        .progress = on_progress,
    };

    for (uint64_t i = 0; i < j->c->n_tensors; i++) {
        j->parameters += gk_rows(&j->c->tensor[i]) * gk_cols(&j->c->tensor[i]);
        j->bytes += gk_tensor_bytes(&j->c->tensor[i]);
    }
    if (!find_lists(j, err))
        return false;
    gk_progress_begin(j->cli, "auditing", GK_UNIT_BYTES,
                      values || j->sums.n > 0 ? j->bytes : 0);
    const bool ok = gk_checks_run(j->c, &options, err);
    gk_progress_end();
    return ok;
}

static const char *severity_name(gk_severity s)
{
    return s == GK_NOTE ? "note" : s == GK_WARN ? "warn" : "bad";
}

/* The text of a finding, with how many more tensors it is true of. */
static void full_text(const gk_finding *f, gk_text *out)
{
    gk_text_clear(out);
    gk_text_str(out, f->text);
    if (f->more > 0)
        gk_text_printf(out, " (and %" PRIu64 " more tensor%s like it)", f->more,
                       f->more == 1 ? "" : "s");
}

static void add_json(const job *j, bool clean, gk_text *t)
{
    const gk_findings *f = &j->c->findings;
    gk_text text = {0};

    gk_cli_json(j->cli, t);
    gk_json_string(t, "verdict", clean ? "clean" : "findings");
    gk_json_open(t, "findings", '[');
    for (uint64_t i = 0; i < f->n; i++) {
        full_text(&f->row[i], &text);
        gk_json_open(t, NULL, '{');
        gk_json_string(t, "check", f->row[i].check);
        gk_json_string(t, "severity", severity_name(f->row[i].severity));
        gk_json_string(t, "file", f->row[i].file[0] != '\0' ? f->row[i].file : NULL);
        gk_json_string(t, "tensor", f->row[i].tensor[0] != '\0' ? f->row[i].tensor : NULL);
        if (f->row[i].off == GK_NO_OFF)
            gk_json_raw(t, "offset", "null", 4);
        else
            gk_json_uint(t, "offset", f->row[i].off);
        gk_json_string(t, "text", text.data);
        gk_json_close(t, '}');
    }
    gk_json_close(t, ']');
    gk_json_open(t, "coverage", '{');
    gk_json_uint(t, "tensors", j->c->n_tensors);
    gk_json_uint(t, "stored", j->c->n_stored);
    gk_json_uint(t, "parameters", j->parameters);
    gk_json_uint(t, "bytes", j->bytes);
    gk_json_close(t, '}');
    gk_json_open(t, "files", '[');
    for (uint64_t i = 0; i < j->sums.n; i++) {
        const gk_sum *s = &j->sums.row[i];
        if (s->of != GK_SUM_FILE)
            continue;
        gk_json_open(t, NULL, '{');
        gk_json_string(t, "name", s->name);
        gk_json_uint(t, "bytes", s->bytes);
        gk_json_string(t, "sha256", s->sha256[0] != '\0' ? s->sha256 : NULL);
        gk_json_string(t, "expected", s->expected[0] != '\0' ? s->expected : NULL);
        gk_json_string(t, "source", s->source);
        if (s->blob) /* what is expected then */
            gk_json_string(t, "git_sha1", s->found[0] != '\0' ? s->found : NULL);
        gk_json_close(t, '}');
    }
    gk_json_close(t, ']');
    gk_figures_json(&j->figures, t);
    gk_json_close(t, '}');
    gk_text_free(&text);
}

/* Of each list a line: "bytes equal to what Hugging Face at commit X lists: 42 of 42 files". */
static void add_sources(const job *j, gk_text *t)
{
    const gk_sums *s = &j->sums;

    for (uint64_t i = 0; i < s->n; i++) {
        const char *source = s->row[i].source;
        uint64_t n = 0, equal = 0;
        bool first = source != NULL, files = true;
        for (uint64_t k = 0; first && k < s->n; k++) {
            if (s->row[k].source == NULL || strcmp(s->row[k].source, source) != 0)
                continue;
            first = k >= i;
            n++;
            equal += gk_sum_holds(&s->row[k]);
            files &= s->row[k].of == GK_SUM_FILE;
        }
        if (!first)
            continue;
        gk_text_str(t, "bytes equal to what ");
        gk_text_escaped(t, source, strlen(source));
        gk_text_printf(t, " lists: %" PRIu64 " of %" PRIu64 " %s\n", equal, n,
                       files ? "files" : "digests");
    }
}

/* What was looked at of the shapes: a config of a family that is not known demands nothing. */
static const char *what_shapes(const gk_catalog *c)
{
    if (gk_family_of(c->config) != GK_FAMILY_UNKNOWN)
        return "every slice present and in place, shapes as config.json demands";
    return c->config == NULL ? "headers in order"
                             : "headers in order (which tensors this architecture has is not "
                               "known here)";
}

static bool has_opaque(const gk_catalog *c)
{
    bool any = false;

    for (uint64_t i = 0; i < c->n_tensors; i++)
        any |= c->tensor[i].scheme == NULL && !gk_has_codec((gk_dtype)c->tensor[i].dtype);
    return any;
}

static void add_text(const job *j, bool clean, gk_text *t)
{
    const gk_findings *f = &j->c->findings;
    gk_text text = {0};
    gk_human a, b, c, d;

    for (uint64_t i = 0; i < f->n; i++) {
        const gk_finding *r = &f->row[i];
        gk_text_printf(t, "%-4s  %s: ", severity_name(r->severity), r->check);
        if (r->file[0] != '\0') {
            gk_text_escaped(t, r->file, strlen(r->file));
            gk_text_str(t, ": ");
        }
        if (r->tensor[0] != '\0' || strcmp(r->check, "name") == 0) {
            gk_text_str(t, "tensor '");
            gk_text_escaped(t, r->tensor, strlen(r->tensor));
            gk_text_str(t, "': ");
        }
        if (r->off != GK_NO_OFF)
            gk_text_printf(t, "at byte %" PRIu64 ": ", r->off);
        full_text(r, &text);
        gk_text_escaped(t, text.data, text.len);
        gk_text_char(t, '\n');
    }
    gk_text_printf(t, "%s%s: %s tensors in %s stored entries of %" PRIu64 " files, %s parameters, "
                   "%s\n", f->n > 0 ? "\n" : "", clean ? "clean" : "findings",
                   gk_human_exact(a, j->c->n_tensors), gk_human_exact(b, j->c->n_stored),
                   j->c->n_inputs, gk_human_exact(c, j->parameters), gk_human_both(d, j->bytes));
    if (clean)
        gk_text_printf(t, "%s%s%s\n", what_shapes(j->c),
                       gk_cli_has(j->cli, GK_OPT_NO_VALUES) ? "; values not read"
                       : has_opaque(j->c)                   ? ", all values that were read finite"
                                                            : ", all values finite",
                       j->sums.n_expected > 0 ? ", checksums equal" : "");
    gk_figures_text(&j->figures, t);
    add_sources(j, t);
    gk_text_free(&text);
}

static bool write_page(const job *j, bool clean, gk_err *err)
{
    static const gk_column columns[] = {{"severity", false, false}, {"check", false, false},
                                        {"file", false, false},     {"tensor", false, false},
                                        {"offset", true, false},    {"finding", false, false}};
    const gk_findings *f = &j->c->findings;
    gk_table table = {.column = columns, .n_columns = 6};
    gk_text t = {0}, text = {0};
    gk_human human;

    for (uint64_t i = 0; i < f->n; i++) {
        const gk_finding *r = &f->row[i];
        gk_table_cell(&table, severity_name(r->severity));
        gk_table_cell(&table, r->check);
        gk_table_cell(&table, r->file);
        gk_table_cell(&table, r->tensor);
        if (r->off == GK_NO_OFF)
            gk_table_cell(&table, "");
        else
            gk_table_cellf(&table, "%" PRIu64, r->off);
        full_text(r, &text);
        gk_table_cell(&table, text.data);
    }
    gk_page_begin(&t, j->cli, clean ? "clean: nothing was found" : "findings", clean);
    gk_page_fact(&t, "format", "%s", j->c->format);
    gk_page_fact(&t, "weight files", "%" PRIu64, j->c->n_inputs);
    gk_page_fact(&t, "tensors", "%s", gk_human_exact(human, j->c->n_tensors));
    gk_page_fact(&t, "stored entries", "%s", gk_human_exact(human, j->c->n_stored));
    gk_page_fact(&t, "parameters", "%s", gk_human_exact(human, j->parameters));
    gk_page_fact(&t, "bytes", "%s", gk_human_exact(human, j->bytes));
    gk_page_fact(&t, "values", "%s",
                 gk_cli_has(j->cli, GK_OPT_NO_VALUES) ? "not read" : "all read");
    gk_page_fact(&t, "checksums", "%" PRIu64 " compared", j->sums.n_expected);
    if (f->n > 0) {
        gk_page_heading(&t, "Findings");
        gk_page_table(&t, &table);
    }
    const bool ok = gk_figures_page(&j->figures, &t, err)
                    && gk_page_end(&t, gk_cli_string(j->cli, GK_OPT_HTML), err);
    gk_table_free(&table);
    gk_text_free(&text);
    gk_text_free(&t);
    return ok;
}

/* A file in a format that is not read is not malformed for that. */
static int status_of(const gk_findings *f, bool malformed)
{
    bool unsupported = malformed;

    for (uint64_t i = 0; i < f->n; i++)
        unsupported &= !f->row[i].malformed || f->row[i].code == GK_ERR_UNSUPPORTED;
    return unsupported ? gk_err_exit(GK_ERR_UNSUPPORTED)
           : malformed ? gk_err_exit(GK_ERR_FORMAT)
                       : GK_EXIT_FINDINGS;
}

int cmd_audit(const gk_cli *cli)
{
    gk_err err = {0};
    job j = {.cli = cli};
    gk_text out = {0};
    bool malformed = false;
    int status;

    j.c = gk_cli_model(cli, cli->arg[0], &err);
    if (j.c == NULL || !examine(&j, &err)) {
        status = gk_cli_fail(cli, &err);
    } else {
        const gk_severity worst = gk_findings_worst(&j.c->findings, 0, &malformed);
        const bool clean = gk_cli_has(cli, GK_OPT_STRICT) ? j.c->findings.n == 0
                                                          : worst == GK_NOTE;
        if (cli->json)
            add_json(&j, clean, &out);
        else
            add_text(&j, clean, &out);
        status = clean ? GK_EXIT_FINE : status_of(&j.c->findings, malformed);
        status = gk_cli_emit(cli, &out, status);
        if (gk_cli_has(cli, GK_OPT_HTML) && !write_page(&j, clean, &err))
            status = gk_cli_fail(cli, &err);
    }
    gk_text_free(&out);
    gk_sums_free(&j.sums);
    gk_figure_table_free(&j.figures);
    gk_catalog_close(j.c);
    return status;
}
