/* cmd/figures_report.c - what audit tells of values. */
#include "cmd/figures_report.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/page.h"
#include "cmd/plot.h"
#include "formats/checked.h"
#include "quant/model.h"

#define MOST_LAYERS 512
#define FULL_COLOUR 2 /* powers of two away from the median */

/* ---- text --------------------------------------------------------------------------- */

static double packed_bits(const gk_figure_table *f)
{
    return f->packed_bytes * 8 / (double)f->floats;
}

void gk_figures_text(const gk_figure_table *f, gk_text *t)
{
    const gk_figures *most = NULL, *wide = NULL;
    uint64_t values = 0, zero = 0, denormal = 0, columns = 0;
    gk_human a, b, c, d;

    for (uint64_t i = 0; i < f->n; i++) {
        const gk_figures *r = &f->row[i];
        values += r->n + r->nonfinite;
        zero += r->zero;
        denormal += r->denormal;
        columns += (uint64_t)r->n_channels;
        most = most == NULL || r->absmax > most->absmax ? r : most;
        if (r->n_channels > 0 && (wide == NULL || r->channel[0].ratio > wide->channel[0].ratio))
            wide = r;
    }
    if (values == 0)
        return;
    gk_text_printf(t, "values: largest magnitude %.4g in ", most->absmax);
    gk_text_escaped(t, most->tensor->name, strlen(most->tensor->name));
    gk_text_printf(t, "; %s zeros, %s subnormal of %s\n", gk_human_exact(a, zero),
                   gk_human_exact(b, denormal), gk_human_exact(c, values));
    if (wide != NULL) {
        gk_text_printf(t, "%" PRIu64 " outlier column%s, the widest %.1f times the RMS of others: "
                       "column %" PRIu64 " of ", columns, columns == 1 ? "" : "s",
                       wide->channel[0].ratio, wide->channel[0].column);
        gk_text_escaped(t, wide->tensor->name, strlen(wide->tensor->name));
        gk_text_char(t, '\n');
    }
    if (f->floats > values / 2)
        gk_text_printf(t, "exponents of plain floats carry %.2f bits: a lossless packer could "
                       "reach about %.2f bits a weight, %s of %s\n", f->entropy, packed_bits(f),
                       gk_human_bytes(a, (uint64_t)f->packed_bytes),
                       gk_human_bytes(d, f->float_bytes));
}

/* ---- JSON --------------------------------------------------------------------------- */

/* Logarithms are not the same to the last place everywhere. */
static double rounded(double x) { return isfinite(x) ? rint(x * 1e5) / 1e5 : x; }

static void add_row(const gk_figures *r, gk_text *list, gk_text *t)
{
    const double n = (double)(r->n + r->nonfinite);

    gk_json_open(t, NULL, '{');
    gk_json_string(t, "name", r->tensor->name);
    gk_json_string(t, "kind", gk_tensor_kind(r->tensor));
    gk_json_uint(t, "n", r->n + r->nonfinite);
    gk_json_uint(t, "nonfinite", r->nonfinite);
    gk_json_real(t, "absmax", r->absmax);
    gk_json_real(t, "mean", r->mean);
    gk_json_real(t, "std", r->std);
    gk_json_real(t, "kurtosis", r->kurtosis);
    gk_json_real(t, "zero", (double)r->zero / n);
    gk_json_real(t, "denormal", (double)r->denormal / n);
    gk_json_uint(t, "zero_rows", r->zero_rows);
    gk_json_real(t, "entropy", rounded(r->entropy));
    gk_text_clear(list);
    gk_text_char(list, '[');
    for (int i = 0; i < r->n_counts; i++)
        gk_text_printf(list, "%s%" PRIu64, i > 0 ? ", " : "", r->count[i]);
    gk_text_char(list, ']');
    gk_json_uint(t, "first_exponent", (uint64_t)r->first);
    if (!list->failed)
        gk_json_raw(t, "exponents", list->data, list->len);
    gk_text_clear(list);
    gk_text_char(list, '[');
    for (int i = 0; i < r->n_channels; i++)
        gk_text_printf(list, "%s{\"column\": %" PRIu64 ", \"ratio\": %.2f}", i > 0 ? ", " : "",
                       r->channel[i].column, r->channel[i].ratio);
    gk_text_char(list, ']');
    if (!list->failed)
        gk_json_raw(t, "outliers", list->data, list->len);
    gk_json_close(t, '}');
    t->failed |= list->failed;
}

void gk_figures_json(const gk_figure_table *f, gk_text *t)
{
    gk_text list = {0};

    gk_json_open(t, "values", '[');
    for (uint64_t i = 0; i < f->n; i++)
        add_row(&f->row[i], &list, t);
    gk_json_close(t, ']');
    if (f->floats > 0) {
        gk_json_open(t, "packing", '{');
        gk_json_uint(t, "weights", f->floats);
        gk_json_uint(t, "bytes", f->float_bytes);
        gk_json_real(t, "entropy", rounded(f->entropy));
        gk_json_real(t, "bits_per_weight", rounded(packed_bits(f)));
        gk_json_uint(t, "packed_bytes", (uint64_t)rint(f->packed_bytes));
        gk_json_close(t, '}');
    }
    gk_text_free(&list);
}

/* ---- the page ----------------------------------------------------------------------- */

/* A tensor under its kind. */
typedef struct entry {
    const char *kind;
    const gk_figures *of;
    uint64_t layer; /* UINT64_MAX: in none */
} entry;

static int by_kind(const void *a, const void *b)
{
    const entry *x = a, *y = b;
    const int order = strcmp(x->kind, y->kind);

    return order != 0 ? order : (x->of > y->of) - (x->of < y->of);
}

static int by_number(const void *a, const void *b)
{
    const double *x = a, *y = b;

    return (*x > *y) - (*x < *y);
}

static uint64_t layer_of(const char *name)
{
    const char *at = strstr(name, "layers.");
    char *end;

    if (at == NULL)
        return UINT64_MAX;
    const unsigned long long layer = strtoull(at + 7, &end, 10);
    return *end == '.' && end > at + 7 && layer < MOST_LAYERS ? layer : UINT64_MAX;
}

static entry *list_kinds(gk_arena *a, const gk_figure_table *f, gk_err *err)
{
    entry *e = gk_arena_alloc(a, f->n, sizeof *e, err);

    for (uint64_t i = 0; e != NULL && i < f->n; i++) {
        const char *name = f->row[i].tensor->name;
        e[i] = (entry){gk_kind_of_name(a, name, false, err), &f->row[i], layer_of(name)};
        if (e[i].kind == NULL)
            return NULL;
    }
    if (e != NULL && f->n > 0)
        qsort(e, (size_t)f->n, sizeof *e, by_kind);
    return e;
}

/* What stands behind "layers.#." and before ".weight". */
static const char *kind_label(gk_arena *a, const char *kind, gk_err *err)
{
    const char *at = strstr(kind, "layers.#.");
    const char *from = at != NULL ? at + 9 : kind;
    const size_t n = strlen(from) - (gk_ends_with(from, ".weight") ? strlen(".weight") : 0);

    if (strncmp(from, "block_sparse_moe.", 17) == 0)
        return gk_arena_strn(a, from + 17, n - 17, err);
    return gk_arena_strn(a, from, n, err);
}

/* How far the standard deviation of n tensors of a kind lies from their median, by layer; of
 * experts that which is furthest. */
static bool fill_strip(const entry *e, uint64_t n, double *row, uint64_t layers, double *room)
{
    uint64_t known = 0;

    for (uint64_t i = 0; i < layers; i++)
        row[i] = NAN;
    for (uint64_t i = 0; i < n; i++)
        if (e[i].layer < layers && e[i].of->std > 0)
            room[known++] = log2(e[i].of->std);
    if (known == 0)
        return false;
    qsort(room, (size_t)known, sizeof *room, by_number);
    for (uint64_t i = 0; i < n; i++) {
        if (e[i].layer >= layers || !(e[i].of->std > 0))
            continue;
        double *at = &row[e[i].layer];
        const double far = log2(e[i].of->std) - room[known / 2];
        *at = isnan(*at) || fabs(far) > fabs(*at) ? far : *at;
    }
    return true;
}

static bool add_strips(gk_arena *a, const entry *e, uint64_t n, gk_text *t, gk_err *err)
{
    uint64_t layers = 0, kinds = 0, rows = 0;

    for (uint64_t i = 0; i < n; i++) {
        layers = e[i].layer != UINT64_MAX ? gk_max(layers, e[i].layer + 1) : layers;
        kinds += i == 0 || strcmp(e[i].kind, e[i - 1].kind) != 0;
    }
    kinds = gk_min(kinds, 64);
    const char **name = gk_arena_alloc(a, kinds, sizeof *name, err);
    double *value = gk_arena_alloc(a, kinds * gk_max(layers, 1), sizeof *value, err);
    double *room = gk_arena_alloc(a, n, sizeof *room, err);
    if (name == NULL || value == NULL || room == NULL)
        return false;
    for (uint64_t i = 0, next; i < n && rows < kinds; i = next) {
        for (next = i + 1; next < n && strcmp(e[next].kind, e[i].kind) == 0;)
            next++;
        if ((name[rows] = kind_label(a, e[i].kind, err)) == NULL)
            return false;
        rows += fill_strip(e + i, next - i, value + rows * layers, layers, room);
    }
    if (layers > 1)
        gk_plot_strips(t, "Standard deviation against the median of its kind", name, "layer",
                       "times the median:", value, rows, layers, FULL_COLOUR);
    return true;
}

static void add_kind(gk_table *table, const char *label, const entry *e, uint64_t n)
{
    double least = INFINITY, widest = 0, most = 0, kurtosis = 0, bits = 0;
    uint64_t zero_rows = 0, denormal = 0, columns = 0;

    for (uint64_t i = 0; i < n; i++) {
        const gk_figures *f = e[i].of;
        least = fmin(least, f->std);
        widest = fmax(widest, f->std);
        most = fmax(most, f->absmax);
        kurtosis = fmax(kurtosis, f->kurtosis); /* of a number and none: the number */
        bits += f->entropy / (double)n;
        zero_rows += f->zero_rows;
        denormal += f->denormal;
        columns += (uint64_t)f->n_channels;
    }
    gk_table_cell(table, label);
    gk_table_cellf(table, "%" PRIu64, n);
    gk_table_cellf(table, "%.3g", most);
    gk_table_cellf(table, "%.3g", least);
    gk_table_cellf(table, "%.3g", widest);
    gk_table_cellf(table, "%.3g", kurtosis);
    gk_table_cellf(table, "%.2f", bits);
    gk_table_cellf(table, "%" PRIu64, columns);
    gk_table_cellf(table, "%" PRIu64, zero_rows);
    gk_table_cellf(table, "%" PRIu64, denormal);
}

static bool add_kinds(gk_arena *a, const entry *e, uint64_t n, gk_text *t, gk_err *err)
{
    static const gk_column columns[]
        = {{"kind", false, false},           {"tensors", true, false},
           {"largest", true, false},         {"least std", true, false},
           {"largest std", true, false},     {"kurtosis up to", true, false},
           {"exponent bits", true, false},   {"outlier columns", true, false},
           {"zero rows", true, false},       {"subnormal", true, false}};
    gk_table table = {.column = columns, .n_columns = 10};
    bool ok = true;

    for (uint64_t i = 0, next; ok && i < n; i = next) {
        for (next = i + 1; next < n && strcmp(e[next].kind, e[i].kind) == 0;)
            next++;
        const char *label = kind_label(a, e[i].kind, err);
        ok = label != NULL;
        if (ok)
            add_kind(&table, label, e + i, next - i);
    }
    if (ok)
        gk_page_table(t, &table);
    gk_table_free(&table);
    return ok;
}

bool gk_figures_page(const gk_figure_table *f, gk_text *t, gk_err *err)
{
    gk_human all, packed;

    if (f->n == 0)
        return true;
    gk_arena *a = gk_arena_new(err);
    const entry *e = a == NULL ? NULL : list_kinds(a, f, err);
    bool ok = e != NULL;
    if (ok) {
        gk_page_heading(t, "Values");
        if (f->floats > 0)
            gk_page_fact(t, "exponents of floats", "%.2f bits: packed without loss about %.2f bits "
                         "a weight, %s of %s", f->entropy, packed_bits(f),
                         gk_human_bytes(packed, (uint64_t)f->packed_bytes),
                         gk_human_bytes(all, f->float_bytes));
        ok = add_strips(a, e, f->n, t, err) && add_kinds(a, e, f->n, t, err);
    }
    gk_arena_free(a);
    return ok;
}
