/* cmd/cmd_compare.c - the error of every tensor between two models. */
#include <inttypes.h>
#include <string.h>

#include "cmd/input.h"
#include "cmd/page.h"
#include "cmd/progress.h"
#include "cmd/table.h"
#include "formats/pattern.h"
#include "verify/accidents.h"

typedef struct job {
    const gk_cli *cli;
    gk_catalog   *a, *b;
    gk_pattern   *pattern;
    gk_judgement  judged;
    gk_err       *err;
} job;

static bool wanted(void *context, const char *name)
{
    job *j = context;
    bool yes = false;

    return gk_pattern_match(j->pattern, name, &yes, j->err) && yes;
}

static void on_progress(void *context, uint64_t bytes, const char *tensor)
{
    (void)context;
    gk_progress_item(tensor);
    gk_progress_add(bytes);
}

static void add_accidents_json(const gk_judgement *judged, gk_text *t)
{
    gk_json_string(t, "verdict", judged->verdict);
    gk_json_open(t, "accidents", '[');
    for (uint64_t i = 0; i < judged->n; i++) {
        const gk_accident *r = &judged->row[i];
        gk_json_open(t, NULL, '{');
        gk_json_string(t, "kind", r->kind);
        gk_json_string(t, "text", r->text);
        gk_json_open(t, "tensors", '[');
        for (uint64_t k = 0; k < r->n; k++)
            gk_json_string(t, NULL, r->tensor[k]);
        gk_json_close(t, ']');
        gk_json_close(t, '}');
    }
    gk_json_close(t, ']');
}

/* The tensors of an accident: three of them, and how many more. */
static void add_tensors(const gk_accident *r, gk_text *t)
{
    for (uint64_t k = 0; k < r->n && k < 3; k++) {
        gk_text_str(t, k > 0 ? ", " : ": ");
        gk_text_escaped(t, r->tensor[k], strlen(r->tensor[k]));
    }
    if (r->n > 3)
        gk_text_printf(t, " and %" PRIu64 " more", r->n - 3);
}

static void add_accidents(const gk_judgement *judged, gk_text *t)
{
    gk_text_str(t, "verdict: ");
    gk_text_escaped(t, judged->verdict, strlen(judged->verdict));
    gk_text_char(t, '\n');
    for (uint64_t i = 0; i < judged->n; i++) {
        gk_text_str(t, "  ");
        gk_text_escaped(t, judged->row[i].text, strlen(judged->row[i].text));
        add_tensors(&judged->row[i], t);
        gk_text_char(t, '\n');
    }
}

static void add_json(const job *j, const gk_comparison *c, gk_text *t)
{
    gk_cli_json(j->cli, t);
    add_accidents_json(&j->judged, t);
    gk_json_open(t, "tensors", '[');
    for (uint64_t i = 0; i < c->n; i++) {
        const gk_tensor_error *r = &c->row[i];
        if (r->a == NULL || r->b == NULL)
            continue;
        gk_json_open(t, NULL, '{');
        gk_json_string(t, "name", r->a->name);
        gk_json_string(t, "a", gk_tensor_kind(r->a));
        gk_json_string(t, "b", gk_tensor_kind(r->b));
        if (r->comparable) {
            gk_json_real(t, "rel_error", r->rel_error);
            gk_json_real(t, "max_abs", r->max_abs);
            gk_json_real(t, "cosine", r->cosine);
        } else {
            gk_json_raw(t, "rel_error", "null", 4);
            gk_json_raw(t, "max_abs", "null", 4);
            gk_json_raw(t, "cosine", "null", 4);
        }
        gk_json_bool(t, "equal", r->equal);
        gk_json_close(t, '}');
    }
    gk_json_close(t, ']');
    gk_json_open(t, "totals", '{');
    gk_json_real(t, "rel_error", c->rel_error);
    gk_json_uint(t, "equal", c->equal);
    gk_json_uint(t, "different", c->different);
    gk_json_uint(t, "only_a", c->only_a);
    gk_json_uint(t, "only_b", c->only_b);
    gk_json_uint(t, "derived", c->derived);
    gk_json_close(t, '}');
    gk_json_close(t, '}');
}

/* What a tensor is that one side has no need of. */
static void add_derived(const gk_comparison *c, gk_text *t)
{
    for (uint64_t i = 0; i < c->n; i++) {
        const gk_tensor_error *r = &c->row[i];
        if (r->derived)
            gk_text_printf(t, "note: %s of %c is what rope_scaling in %c's config says\n",
                           r->a != NULL ? r->a->name : r->b->name, r->a != NULL ? 'A' : 'B',
                           r->a != NULL ? 'B' : 'A');
    }
}

static gk_table fill_table(const gk_comparison *c)
{
    static const gk_column columns[]
        = {{"tensor", false, true},     {"A", false, false},       {"B", false, false},
           {"rel. error", true, false}, {"max |a-b|", true, false}, {"cosine", true, false}};
    gk_table table = {.column = columns, .n_columns = 6};

    for (uint64_t i = 0; i < c->n; i++) {
        const gk_tensor_error *r = &c->row[i];
        gk_table_cell(&table, r->a != NULL ? r->a->name : r->b->name);
        gk_table_cell(&table, r->a != NULL ? gk_tensor_kind(r->a) : "-");
        gk_table_cell(&table, r->b != NULL ? gk_tensor_kind(r->b) : "-");
        if (r->equal || !r->comparable) {
            gk_table_cell(&table, r->equal ? "equal"
                                  : r->derived ? "derived"
                                  : r->a == NULL ? "only in B"
                                  : r->b == NULL ? "only in A"
                                  : r->bytes ? "other bytes" : "not comparable");
            gk_table_cell(&table, "");
            gk_table_cell(&table, "");
        } else {
            gk_table_cellf(&table, "%.3e", r->rel_error);
            gk_table_cellf(&table, "%.3e", r->max_abs);
            gk_table_cellf(&table, "%.6f", r->cosine);
        }
    }
    return table;
}

static bool write_page(const job *j, const gk_comparison *c, gk_err *err)
{
    static const gk_column columns[] = {{"what", false, false}, {"tensors of B", false, false}};
    gk_table table = fill_table(c), accidents = {.column = columns, .n_columns = 2};
    gk_text t = {0}, list = {0};

    gk_page_begin(&t, j->cli, j->judged.verdict, j->judged.n == 0);
    gk_page_fact(&t, "relative error over all", "%.6e", c->rel_error);
    gk_page_fact(&t, "equal", "%" PRIu64, c->equal);
    gk_page_fact(&t, "different", "%" PRIu64, c->different);
    gk_page_fact(&t, "only in A", "%" PRIu64, c->only_a);
    gk_page_fact(&t, "only in B", "%" PRIu64, c->only_b);
    if (c->derived > 0)
        gk_page_fact(&t, "derived", "%" PRIu64, c->derived);
    if (j->judged.n > 0) {
        gk_page_heading(&t, "What happened");
        for (uint64_t i = 0; i < j->judged.n; i++) {
            gk_text_clear(&list);
            add_tensors(&j->judged.row[i], &list);
            gk_table_cell(&accidents, j->judged.row[i].text);
            gk_table_cell(&accidents, list.len > 2 ? list.data + 2 : "");
        }
        t.failed |= list.failed;
        gk_page_table(&t, &accidents);
    }
    gk_page_heading(&t, "Tensors");
    gk_page_table(&t, &table);
    const bool ok = gk_page_end(&t, gk_cli_string(j->cli, GK_OPT_HTML), err);
    gk_table_free(&table);
    gk_table_free(&accidents);
    gk_text_free(&list);
    gk_text_free(&t);
    return ok;
}

static void add_text(const job *j, const gk_comparison *c, gk_text *t)
{
    gk_table table = fill_table(c);

    gk_table_print(&table, t, gk_table_width(), j->cli->color);
    gk_table_free(&table);
    gk_text_char(t, '\n');
    add_accidents(&j->judged, t);
    gk_text_printf(t, "%" PRIu64 " equal, %" PRIu64 " different, %" PRIu64 " only in A, %" PRIu64
                   " only in B; relative error over all %.3e\n",
                   c->equal, c->different, c->only_a, c->only_b, c->rel_error);
    add_derived(c, t);
}

/* Values of blocks without a codec: the comparison is not the whole answer. */
static bool was_read(const job *j, const gk_comparison *c, gk_err *err)
{
    for (uint64_t i = 0; i < c->n; i++) {
        const gk_tensor_error *r = &c->row[i];
        if (!r->unread)
            continue;
        if (r->a->scheme == NULL && !gk_has_codec((gk_dtype)r->a->dtype))
            return gk_fail_decode(j->a, r->a, err);
        if (r->b->scheme == NULL && !gk_has_codec((gk_dtype)r->b->dtype))
            return gk_fail_decode(j->b, r->b, err);
    }
    return true;
}

int cmd_compare(const gk_cli *cli)
{
    const char *regex = gk_cli_string(cli, GK_OPT_TENSORS);
    gk_err err = {0}, late = {0};
    job j = {.cli = cli, .err = &late};
    gk_comparison c = {0};
    gk_text out = {0};
    const gk_compare_options options = {.wanted = regex == NULL ? NULL : wanted,
                                        .threads = cli->threads,
                                        .stop = gk_cli_stop(),
                                        .progress = on_progress,
                                        .context = &j};
    uint64_t bytes = 0;
    int status;

    bool ok = (regex == NULL || (j.pattern = gk_pattern_new(regex, &err)) != NULL)
              && (j.a = gk_cli_model_whole(cli, cli->arg[0], &err)) != NULL
              && (j.b = gk_cli_model_whole(cli, cli->arg[1], &err)) != NULL;
    if (ok) {
        for (uint64_t i = 0; i < j.a->n_tensors; i++)
            bytes += gk_tensor_bytes(&j.a->tensor[i]);
        gk_progress_begin(cli, "comparing", GK_UNIT_BYTES, bytes);
        ok = gk_compare(j.a, j.b, &options, &c, &err)
             && gk_compare_judge(j.a, j.b, &c, gk_cli_stop(), &j.judged, &err);
        gk_progress_end();
    }
    if (ok && late.code != GK_OK) {
        err = late;
        ok = false;
    }
    if (ok && c.n == 0 && regex != NULL)
        ok = gk_fail(&err, GK_ERR_ARG, GK_NO_OFF, "no tensor's name matches '%s'", regex);
    if (ok && cli->json)
        add_json(&j, &c, &out);
    else if (ok)
        add_text(&j, &c, &out);
    /* figures are the answer, not a fault; names that only one side has, and shapes that
     * differ, are one */
    status = ok ? gk_cli_emit(cli, &out, c.only_a + c.only_b + c.apart == 0 ? GK_EXIT_FINE
                                                                            : GK_EXIT_FINDINGS)
                : gk_cli_fail(cli, &err);
    if (ok && ((gk_cli_has(cli, GK_OPT_HTML) && !write_page(&j, &c, &err))
               || !was_read(&j, &c, &err)))
        status = gk_cli_fail(cli, &err);
    gk_text_free(&out);
    gk_judgement_free(&j.judged);
    gk_comparison_free(&c);
    gk_pattern_free(j.pattern);
    gk_catalog_close(j.a);
    gk_catalog_close(j.b);
    return status;
}
