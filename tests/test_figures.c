/* tests/test_figures.c - what audit computes of values, against numpy, and what stands out. */
#include <math.h>

#include "tests/edited.h"

#include "verify/checks.h"

#define WORK  "build/tmp/test_figures"
#define MODEL WORK "/model"
#define SMALL "build/models/small-hf" /* one file, two layers of eight experts */

/* Figures of a model; its findings are those above a note, printed where none may be. */
static gk_figure_table figures_of(const char *path, int threads, gk_catalog **c)
{
    gk_err err = {0};
    gk_figure_table table = {.arena = NULL};
    const gk_check_options o = {.values = true, .figures = &table, .threads = threads};

    *c = gk_model_open(path, &err);
    assert_ok(*c != NULL, err);
    assert_ok(gk_checks_run(*c, &o, &err), err);
    return table;
}

static const gk_figures *find(const gk_figure_table *t, const char *name)
{
    for (uint64_t i = 0; i < t->n; i++)
        if (strcmp(t->row[i].tensor->name, name) == 0)
            return &t->row[i];
    fail_msg("no figures of %s", name);
    return NULL;
}

static void close_all(gk_figure_table *t, gk_catalog *c)
{
    gk_figure_table_free(t);
    gk_catalog_close(c);
}

/* numpy 2 in float64 of testdata/grok2-tiny, slices concatenated: abs(a).max(); mean(), std(),
 * kurtosis and exponents of a[::4] for lm_head's 1024 rows, of all of the others. */
typedef struct golden {
    const char *name;
    double absmax, mean, std, kurtosis, entropy;
    int first, n_counts;
    uint64_t last_count;
} golden;

static void figures_are_those_of_numpy(void **state)
{
    (void)state;
    static const golden goldens[] = {
        {"model.norm.weight", 2.8125, 1.76995849609375, 0.36180396322458058, 2.6031836684830023,
         0.805027956, 127, 2, 63},
        {"lm_head.weight", 0.384765625, 0.0039985588819035911, 0.082475372948680667,
         3.1794266490450891, 2.561700501, 107, 19, 251},
        {"model.layers.1.block_sparse_moe.experts.3.w2.weight", 0.306640625,
         -2.5777826920148073e-05, 0.07136274296980033, 3.0104185328452924, 2.551755047, 105, 21,
         29},
        {"model.layers.0.block_sparse_moe.experts.0.w1.weight", 0.390625, 3.3471492315584328e-06,
         0.085738128495605928, 2.9900740748423362, 2.550660080, 106, 20, 218},
    };
    gk_catalog *c;
    gk_figure_table t = figures_of(TINY, 2, &c);
    for (size_t i = 0; i < sizeof goldens / sizeof goldens[0]; i++) {
        const golden *g = &goldens[i];
        const gk_figures *f = find(&t, g->name);
        assert_true(f->absmax == g->absmax);
        /* sums of 128 in f32: 2^-20 of the largest of them */
        assert_true(fabs(f->mean - g->mean) <= 0x1p-20 * g->std);
        assert_true(fabs(f->std - g->std) <= 0x1p-20 * g->std);
        assert_true(fabs(f->kurtosis - g->kurtosis) <= 0x1p-18 * g->kurtosis);
        assert_true(fabs(f->entropy - g->entropy) <= 1e-9);
        assert_int_equal(f->first, g->first);
        assert_int_equal(f->n_counts, g->n_counts);
        assert_int_equal(f->count[f->n_counts - 1], g->last_count);
    }
    assert_int_equal(t.floats, 4790528);
    assert_true(t.packed_bytes > (double)t.float_bytes * 10 / 16);
    assert_true(t.packed_bytes < (double)t.float_bytes * 11 / 16);
    close_all(&t, c);
}

static void assert_same(const gk_figures *a, const gk_figures *b, double tolerance)
{
    assert_string_equal(a->tensor->name, b->tensor->name);
    assert_int_equal(a->n, b->n);
    assert_int_equal(a->zero, b->zero);
    assert_int_equal(a->denormal, b->denormal);
    assert_int_equal(a->zero_rows, b->zero_rows);
    assert_true(a->absmax == b->absmax);
    assert_int_equal(a->n_counts, b->n_counts);
    assert_memory_equal(a->count, b->count, (size_t)a->n_counts * sizeof *a->count);
    assert_true(fabs(a->mean - b->mean) <= tolerance * a->std);
    assert_true(fabs(a->std - b->std) <= tolerance * a->std);
}

/* The same figures for any number of threads; cut otherwise, sums differ in their last digits. */
static void figures_depend_on_no_thread_and_no_cut(void **state)
{
    (void)state;
    gk_catalog *a, *b, *c;
    gk_figure_table one = figures_of("build/models/ranks8", 1, &a);
    gk_figure_table three = figures_of("build/models/ranks8", 3, &b);
    gk_figure_table merged = figures_of(SMALL, 2, &c);
    assert_int_equal(one.n, merged.n);
    for (uint64_t i = 0; i < one.n; i++) {
        assert_same(&one.row[i], &three.row[i], 0);
        assert_same(&one.row[i], &merged.row[i], 0x1p-18);
    }
    close_all(&one, a);
    close_all(&three, b);
    close_all(&merged, c);
}

/* What is no number is left out of figures, and counted. */
static void nan_and_infinities_are_left_out(void **state)
{
    (void)state;
    const char *name = "model.layers.0.mlp.up_proj.weight";
    gk_catalog *c;
    link_all(SMALL, MODEL);
    edited e = edit_open(MODEL, name);
    const uint16_t strange[4] = {0x7FC0, 0xFF80, 0x0001, 0x8000};
    memcpy(e.bytes + 2 * e.cols, strange, sizeof strange);
    edit_close(&e, true);
    gk_figure_table t = figures_of(MODEL, 2, &c);
    const gk_figures *f = find(&t, name);
    assert_int_equal(f->nonfinite, 2);
    assert_int_equal(f->n, e.rows * e.cols - 2);
    assert_int_equal(f->denormal, 1);
    assert_true(f->zero >= 1);
    assert_true(isfinite(f->std) && isfinite(f->kurtosis) && f->absmax < 1);
    assert_true(f->n_counts == 256 && f->first == 0);
    close_all(&t, c);
}

static void an_encoded_tensor_has_the_figures_of_its_values(void **state)
{
    (void)state;
    gk_catalog *c;
    gk_figure_table t = figures_of("testdata/grok1-tiny", 2, &c);
    const gk_tensor *encoded = NULL;
    for (uint64_t i = 0; encoded == NULL && i < t.n; i++)
        if (t.row[i].tensor->scheme != NULL)
            encoded = t.row[i].tensor;
    assert_non_null(encoded);
    const gk_figures *f = find(&t, encoded->name);
    gk_err err = {0};
    const uint64_t n = gk_rows(encoded) * gk_cols(encoded);
    const uint64_t rect[4] = {0, gk_rows(encoded), 0, gk_cols(encoded)};
    float *v = malloc(n * sizeof *v);
    void *scratch = malloc(gk_decode_scratch_bytes(encoded, rect[1], rect[3]) + 64);
    assert_ok(gk_decode(c, encoded, rect, v, scratch, &err), err);
    double sum = 0, square = 0, most = 0;
    for (uint64_t i = 0; i < n; i++) {
        sum += (double)v[i];
        square += (double)v[i] * (double)v[i];
        most = fmax(most, fabs((double)v[i]));
    }
    const double mean = sum / (double)n, std = sqrt(square / (double)n - mean * mean);
    assert_int_equal(f->n, n);
    assert_true(f->absmax == most);
    assert_true(fabs(f->mean - mean) <= 0x1p-18 * std);
    assert_true(fabs(f->std - std) <= 0x1p-18 * std);
    free(v);
    free(scratch);
    close_all(&t, c);
}

/* ---- what stands out ------------------------------------------------------------------ */

static int count(const gk_catalog *c, gk_severity severity, const char *tensor, const char *text)
{
    int n = 0;

    for (uint64_t i = 0; i < c->findings.n; i++) {
        const gk_finding *f = &c->findings.row[i];
        n += f->severity == severity && strcmp(f->check, "statistics") == 0
             && strcmp(f->tensor, tensor) == 0 && strstr(f->text, text) != NULL;
    }
    return n;
}

static uint64_t said(const gk_catalog *c)
{
    uint64_t n = 0;

    for (uint64_t i = 0; i < c->findings.n; i++)
        n += strcmp(c->findings.row[i].check, "statistics") == 0;
    return n;
}

static void an_expert_without_its_scale_is_named(void **state)
{
    (void)state;
    static const char name[] = "model.layers.1.block_sparse_moe.experts.5.w1.weight";
    gk_catalog *c;
    for (int by = -7; by <= 7; by += 7) {
        link_all(SMALL, MODEL);
        if (by != 0)
            edit_scale(MODEL, name, by);
        gk_figure_table t = figures_of(MODEL, 2, &c);
        /* among those of all layers, and among those of its own */
        assert_int_equal(count(c, GK_WARN, name, "times the median of 16 tensors"), by != 0);
        assert_int_equal(count(c, GK_WARN, name, "times the median of 8 experts"), by != 0);
        assert_true(by != 0 || said(c) == 0);
        close_all(&t, c);
    }
}

/* Two layers are no kind to stand out of. */
static void of_two_nothing_is_said(void **state)
{
    (void)state;
    gk_catalog *c;
    link_all(SMALL, MODEL);
    edit_scale(MODEL, "model.layers.1.mlp.up_proj.weight", 7);
    gk_figure_table t = figures_of(MODEL, 2, &c);
    assert_int_equal(said(c), 0);
    close_all(&t, c);
}

static void a_wide_column_is_an_outlier(void **state)
{
    (void)state;
    static const char name[] = "model.layers.0.mlp.gate_proj.weight";
    gk_catalog *c;
    link_all(SMALL, MODEL);
    edited e = edit_open(MODEL, name);
    for (uint64_t r = 0; r < e.rows; r++) {
        uint16_t h;
        memcpy(&h, e.bytes + 2 * (r * e.cols + 17), 2);
        h = (uint16_t)((h & 0x7F80) != 0 ? h + 6 * 128 : h);
        memcpy(e.bytes + 2 * (r * e.cols + 17), &h, 2);
    }
    edit_close(&e, true);
    gk_figure_table t = figures_of(MODEL, 2, &c);
    const gk_figures *f = find(&t, name);
    assert_int_equal(f->n_channels, 1);
    assert_int_equal(f->channel[0].column, 17);
    /* of 96 random numbers the RMS is known to a tenth or so */
    assert_true(f->channel[0].ratio > 64 * 0.7 && f->channel[0].ratio < 64 * 1.3);
    close_all(&t, c);
    gk_figure_table healthy = figures_of(TINY, 2, &c);
    for (uint64_t i = 0; i < healthy.n; i++)
        assert_int_equal(healthy.row[i].n_channels, 0);
    close_all(&healthy, c);
}

static void nothing_stands_out_of_trained_models(void **state)
{
    (void)state;
    static const char *const models[] = {TINY, "testdata/grok1-tiny"};
    gk_catalog *c;
    for (size_t i = 0; i < sizeof models / sizeof models[0]; i++) {
        gk_figure_table t = figures_of(models[i], 2, &c);
        assert_int_equal(said(c), 0);
        close_all(&t, c);
    }
}

WORK_FOLDER(WORK)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(figures_are_those_of_numpy),
        cmocka_unit_test(figures_depend_on_no_thread_and_no_cut),
        cmocka_unit_test(nan_and_infinities_are_left_out),
        cmocka_unit_test(an_encoded_tensor_has_the_figures_of_its_values),
        cmocka_unit_test(an_expert_without_its_scale_is_named),
        cmocka_unit_test(of_two_nothing_is_said),
        cmocka_unit_test(a_wide_column_is_an_outlier),
        cmocka_unit_test(nothing_stands_out_of_trained_models),
    };

    return cmocka_run_group_tests(tests, open_work, close_work);
}
