/* cmd/cmd_inspect.c - what is in a model, from headers alone. */
#include <inttypes.h>
#include <string.h>

#include "cmd/bom.h"
#include "cmd/input.h"
#include "cmd/short_name.h"
#include "cmd/table.h"
#include "formats/gguf.h"
#include "formats/pattern.h"
#include "verify/arch.h"

typedef struct job {
    const gk_cli *cli;
    gk_catalog   *c;
    bool         *show; /* of each tensor */
    uint64_t      parameters, bytes, n_shown;
} job;

/* The architecture as the config names it, else as the keys of a GGUF do. */
static const char *arch_of(const gk_catalog *c)
{
    const char *name = gk_arch_name(c->config);

    return strcmp(name, "unknown") == 0 && c->gguf != NULL && c->gguf->arch[0] != '\0'
               ? c->gguf->arch
               : name;
}

static void add_up(job *j)
{
    for (uint64_t i = 0; i < j->c->n_tensors; i++) {
        const gk_tensor *t = &j->c->tensor[i];
        j->parameters += gk_rows(t) * gk_cols(t);
        j->bytes += gk_tensor_bytes(t);
    }
}

static bool select_tensors(job *j, gk_err *err)
{
    const char *regex = gk_cli_string(j->cli, GK_OPT_TENSORS);
    gk_pattern *p = regex == NULL ? NULL : gk_pattern_new(regex, err);
    bool ok = regex == NULL || p != NULL;

    j->show = gk_alloc(j->c->n_tensors, sizeof *j->show, err);
    ok = ok && j->show != NULL;
    for (uint64_t i = 0; ok && i < j->c->n_tensors; i++) {
        ok = gk_pattern_match(p, j->c->tensor[i].name, &j->show[i], err);
        j->n_shown += ok && j->show[i];
    }
    gk_pattern_free(p);
    return ok;
}

/* ---- JSON ------------------------------------------------------------------------- */

static void add_shape(const gk_tensor *t, gk_text *out)
{
    gk_json_open(out, "shape", '[');
    for (int i = 0; i < t->ndim; i++)
        gk_json_uint(out, NULL, t->dim[i]);
    gk_json_close(out, ']');
}

/* Where the bytes of some pieces lie. */
typedef struct place {
    const gk_stored *stored;
    uint64_t         off, bytes;
} place;

/* Takes the pieces from *k on that lie in one entry: one of them is its own range (an
 * expert of a stack), several (interleaved rows) are the entry. False after the last. */
static bool next_place(const gk_part *part, uint64_t *k, place *out)
{
    const uint64_t first = *k;

    if (first >= part->n_pieces)
        return false;
    const gk_piece *p = &part->piece[first];
    while (*k < part->n_pieces && part->piece[*k].stored == p->stored)
        ++*k;
    *out = *k == first + 1
               ? (place){p->stored, p->off, p->n_rows * gk_row_bytes(part->dtype, p->n_cols)}
               : (place){p->stored, p->stored->off, gk_stored_bytes(p->stored)};
    return true;
}

static void add_parts(const job *j, const gk_tensor *t, gk_text *out)
{
    gk_json_open(out, "parts", '[');
    for (int i = 0; i < gk_n_parts(t); i++) {
        gk_part_room room;
        const gk_part *part = gk_part_of(t, i, &room);
        uint64_t k = 0;
        place at;
        while (next_place(part, &k, &at)) {
            gk_json_open(out, NULL, '{');
            gk_json_string(out, "file", j->c->input[at.stored->input].name);
            gk_json_uint(out, "offset", at.off);
            gk_json_uint(out, "bytes", at.bytes);
            gk_json_close(out, '}');
        }
    }
    gk_json_close(out, ']');
}

static void add_json(const job *j, gk_text *out)
{
    const gk_catalog *c = j->c;

    gk_cli_json(j->cli, out);
    gk_json_string(out, "format", c->format);
    gk_json_string(out, "arch", arch_of(c));
    gk_json_open(out, "files", '[');
    for (uint64_t i = 0; i < c->n_inputs; i++) {
        gk_json_open(out, NULL, '{');
        gk_json_string(out, "name", c->input[i].name);
        gk_json_uint(out, "bytes", c->input[i].file->size);
        gk_json_close(out, '}');
    }
    gk_json_close(out, ']');
    gk_json_open(out, "tensors", '[');
    for (uint64_t i = 0; i < c->n_tensors; i++) {
        const gk_tensor *t = &c->tensor[i];
        if (!j->show[i])
            continue;
        gk_json_open(out, NULL, '{');
        gk_json_string(out, "name", t->name);
        gk_json_string(out, "dtype", gk_tensor_kind(t));
        add_shape(t, out);
        gk_json_uint(out, "bytes", gk_tensor_bytes(t));
        if (gk_cli_has(j->cli, GK_OPT_PARTS))
            add_parts(j, t, out);
        gk_json_close(out, '}');
    }
    gk_json_close(out, ']');
    gk_json_open(out, "totals", '{');
    gk_json_uint(out, "tensors", c->n_tensors);
    gk_json_uint(out, "stored", c->n_stored);
    gk_json_uint(out, "parameters", j->parameters);
    gk_json_uint(out, "bytes", j->bytes);
    gk_json_close(out, '}');
    if (c->config != NULL)
        gk_json_raw(out, "config", c->config_text, c->config_len);
    else
        gk_json_raw(out, "config", "null", 4);
    gk_json_close(out, '}');
}

/* ---- text ------------------------------------------------------------------------- */

static void shape_text(const gk_tensor *t, gk_text *out)
{
    gk_text_clear(out);
    gk_text_char(out, '[');
    for (int i = 0; i < t->ndim; i++)
        gk_text_printf(out, "%s%" PRIu64, i > 0 ? ", " : "", t->dim[i]);
    gk_text_char(out, ']');
}

/* A line of the tree: tensors alike but for their layer and expert. */
typedef struct line {
    char             name[128];
    const gk_tensor *t; /* the first */
    uint64_t         n, bytes;
    bool             dtype_mixed, shape_mixed;
} line;

static bool same_shape(const gk_tensor *a, const gk_tensor *b)
{
    return a->ndim == b->ndim && memcmp(a->dim, b->dim, a->ndim * sizeof *a->dim) == 0;
}

static uint64_t fold(const job *j, line *lines)
{
    char name[sizeof lines->name];
    uint64_t n = 0;

    for (uint64_t i = 0; i < j->c->n_tensors; i++) {
        const gk_tensor *t = &j->c->tensor[i];
        uint64_t k = n;
        if (!j->show[i])
            continue;
        gk_short_name(t->name, name, sizeof name);
        /* recent lines first: layers repeat the same few kinds */
        while (k > 0 && n - k < 256 && strcmp(lines[k - 1].name, name) != 0)
            k--;
        if (k == 0 || strcmp(lines[k - 1].name, name) != 0) {
            lines[n] = (line){.t = t};
            memcpy(lines[n].name, name, sizeof name);
            k = ++n;
        }
        line *l = &lines[k - 1];
        l->n++;
        l->bytes += gk_tensor_bytes(t);
        l->dtype_mixed |= strcmp(gk_tensor_kind(t), gk_tensor_kind(l->t)) != 0;
        l->shape_mixed |= !same_shape(t, l->t);
    }
    return n;
}

static void add_tree(const job *j, gk_text *out)
{
    static const gk_column columns[] = {{"tensors", true, false}, {"name", false, true},
                                        {"dtype", false, false},  {"shape", false, false},
                                        {"bytes", true, false},   {"share", true, false}};
    line *lines = gk_alloc(j->c->n_tensors, sizeof *lines, NULL);
    gk_table table = {.column = columns, .n_columns = 6};
    gk_text scratch = {0};
    const uint64_t n = lines == NULL ? 0 : fold(j, lines);
    gk_human human;

    for (uint64_t i = 0; i < n; i++) {
        gk_table_cellf(&table, "%" PRIu64, lines[i].n);
        gk_table_cell(&table, lines[i].name);
        gk_table_cell(&table, lines[i].dtype_mixed ? "mixed" : gk_tensor_kind(lines[i].t));
        shape_text(lines[i].t, &scratch);
        gk_table_cell(&table, lines[i].shape_mixed ? "mixed" : scratch.data);
        gk_table_cell(&table, gk_human_bytes(human, lines[i].bytes));
        gk_table_cell(&table, gk_human_share(human, lines[i].bytes, j->bytes));
    }
    gk_table_print(&table, out, gk_table_width(), j->cli->color);
    gk_text_str(out,
                "\nL is model.layers.N, E the number of an expert; --tensors lists them one by "
                "one\n");
    gk_table_free(&table);
    gk_text_free(&scratch);
    gk_free(lines);
}

static void first_cells(gk_table *table, const gk_tensor *t, const char *shape)
{
    gk_table_cell(table, t != NULL ? t->name : "");
    gk_table_cell(table, t != NULL ? gk_tensor_kind(t) : "");
    gk_table_cell(table, t != NULL ? shape : "");
}

/* A line for each place of its bytes; the first one names it. */
static void add_places(const job *j, gk_table *table, const gk_tensor *t, const char *shape)
{
    for (int p = 0; p < gk_n_parts(t); p++) {
        gk_part_room room;
        const gk_part *part = gk_part_of(t, p, &room);
        uint64_t k = 0;
        place at;
        while (next_place(part, &k, &at)) {
            first_cells(table, p == 0 && at.stored == part->piece[0].stored ? t : NULL, shape);
            gk_table_cellf(table, "%" PRIu64, at.bytes);
            gk_table_cell(table, j->c->input[at.stored->input].name);
            gk_table_cellf(table, "%" PRIu64, at.off);
        }
    }
}

static void add_list(const job *j, gk_text *out)
{
    const bool parts = gk_cli_has(j->cli, GK_OPT_PARTS);
    static const gk_column columns[] = {{"name", false, true}, {"dtype", false, false},
                                        {"shape", false, false}, {"bytes", true, false},
                                        {"file", false, true}, {"offset", true, false}};
    gk_table table = {.column = columns, .n_columns = parts ? 6 : 4};
    gk_text shape = {0};

    for (uint64_t i = 0; i < j->c->n_tensors; i++) {
        const gk_tensor *t = &j->c->tensor[i];
        if (!j->show[i])
            continue;
        shape_text(t, &shape);
        if (!parts || gk_n_parts(t) == 0) {
            first_cells(&table, t, shape.data);
            gk_table_cellf(&table, "%" PRIu64, gk_tensor_bytes(t));
            for (int k = 0; parts && k < 2; k++)
                gk_table_cell(&table, "");
            continue;
        }
        add_places(j, &table, t, shape.data);
    }
    gk_table_print(&table, out, gk_table_width(), j->cli->color);
    gk_table_free(&table);
    gk_text_free(&shape);
}

static void add_summary(const job *j, gk_text *out)
{
    const gk_catalog *c = j->c;
    uint64_t file_bytes = 0;
    gk_human a, b, d, e;

    for (uint64_t i = 0; i < c->n_inputs; i++)
        file_bytes += c->input[i].file->size;
    gk_text_printf(out, "format      %s, architecture ", c->format);
    gk_text_escaped(out, arch_of(c), strlen(arch_of(c)));
    gk_text_char(out, '\n');
    gk_text_printf(out, "files       %" PRIu64 " of weights, %s\n", c->n_inputs,
                   gk_human_both(a, file_bytes));
    gk_text_printf(out, "tensors     %s, stored as %s entries\n", gk_human_exact(a, c->n_tensors),
                   gk_human_exact(b, c->n_stored));
    gk_text_printf(out, "parameters  %s (%s), %s bytes\n", gk_human_exact(d, j->parameters),
                   gk_human_count(e, j->parameters), gk_human_exact(a, j->bytes));
    gk_text_char(out, '\n');
}

static int print(job *j, gk_err *err)
{
    gk_text out = {0};

    if (gk_cli_has(j->cli, GK_OPT_BOM)) {
        if (!gk_bom_add(j->c, arch_of(j->c), &out, err)) {
            gk_text_free(&out);
            return gk_cli_fail(j->cli, err);
        }
    } else if (j->cli->json) {
        add_json(j, &out);
    } else if (gk_cli_has(j->cli, GK_OPT_CONFIG)) {
        if (j->c->config_text != NULL)
            gk_text_add(&out, j->c->config_text, j->c->config_len);
    } else if (gk_cli_has(j->cli, GK_OPT_TENSORS) || gk_cli_has(j->cli, GK_OPT_PARTS)) {
        add_list(j, &out);
    } else {
        add_summary(j, &out);
        add_tree(j, &out);
    }
    const int status = gk_cli_emit(j->cli, &out, GK_EXIT_FINE);
    gk_text_free(&out);
    return status;
}

/* A model that does not fit together is shown; a file that cannot be read is an error. */
static bool allow(const job *j, gk_err *err)
{
    const gk_findings *f = &j->c->findings;
    bool malformed;

    if (gk_findings_worst(f, 0, &malformed) == GK_BAD && malformed)
        return gk_findings_refuse(f, err);
    for (uint64_t i = 0; i < f->n; i++)
        gk_cli_talk(j->cli, "%s%s%s%s%s", f->row[i].file, f->row[i].file[0] != '\0' ? ": " : "",
                    f->row[i].tensor, f->row[i].tensor[0] != '\0' ? ": " : "", f->row[i].text);
    return true;
}

int cmd_inspect(const gk_cli *cli)
{
    gk_err err = {0};
    job j = {.cli = cli};
    int status;

    j.c = gk_cli_model(cli, cli->arg[0], &err);
    if (j.c != NULL && allow(&j, &err) && select_tensors(&j, &err)) {
        add_up(&j);
        status = print(&j, &err);
    } else {
        status = gk_cli_fail(cli, &err);
    }
    gk_free(j.show);
    gk_catalog_close(j.c);
    return status;
}
