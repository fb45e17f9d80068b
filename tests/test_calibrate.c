/* tests/test_calibrate.c - statistics against llama-imatrix's, whatever the threads, after a stop,
 * as hostile input, and what they are for. */
#include <math.h>
#include <stdlib.h>

#include "tests/disk.h"

#include "formats/gguf.h"
#include "quant/codec_group.h"
#include "quant/model.h"
#include "quant/plan.h"
#include "quant/stats.h"
#include "verify/calibrate.h"
#include "verify/tokenizer.h"

#define WORK    "build/tmp/test_calibrate"
#define OUT     WORK "/out.gguf"
#define OTHER   WORK "/other.gguf"
#define TEXT    TINY "/golden/calibration.txt"
#define LLAMA   "testdata/calibrate/llama-imatrix.gguf" /* 8 windows of 256, f32 throughout */
#define CTX     256
#define WINDOWS 4    /* two batches */
#define LIMIT   1e-3 /* of a sum; two orders of f32 arithmetic were 9.3e-4 apart */

static gk_catalog *tiny;
static gk_ids ids;
static const char *const dataset[] = {"calibration.txt"};

/* ---- runs ------------------------------------------------------------------------- */

static gk_calibrate_job job_to(const char *out)
{
    gk_calibrate_job job = {.model = tiny,
                            .ids = ids.id,
                            .preset = "llama.cpp",
                            .dataset = dataset,
                            .n_datasets = 1,
                            .text_sha256 = "of no text",
                            .out = out,
                            .force = true};
    assert_true(gk_preset_find("llama.cpp", &job.forward.switches));
    job.forward.ctx = CTX;
    job.forward.n_windows = WINDOWS;
    job.forward.threads = 2;
    job.forward.memory_bytes = UINT64_C(1) << 30;
    return job;
}

static void make(const gk_calibrate_job *job)
{
    gk_calibration c;
    gk_err err = {0};
    assert_ok(gk_calibrate(job, &c, &err), err);
    gk_calibration_free(&c);
}

static int open_all(void **state)
{
    (void)state;
    gk_err err = {0};
    uint64_t len = 0;
    fresh_dir(WORK);
    tiny = gk_model_open_whole(TINY, &err);
    gk_tokenizer *t = tiny == NULL ? NULL : gk_tokenizer_open(tiny, &err);
    char *text = gk_file_slurp(TEXT, 1 << 20, &len, &err);
    if (t != NULL && text != NULL)
        gk_tokenizer_encode(t, text, len, &ids, &err);
    gk_free(text);
    gk_tokenizer_close(t);
    if (err.code == GK_OK) {
        const gk_calibrate_job job = job_to(OUT);
        make(&job);
    }
    return err.code != GK_OK;
}

static int close_all(void **state)
{
    (void)state;
    remove_tree(WORK);
    gk_catalog_close(tiny);
    gk_ids_free(&ids);
    return 0;
}

/* ---- against llama-imatrix ---------------------------------------------------------- */

static float *values_of(const gk_catalog *c, const gk_tensor *t)
{
    gk_err err = {0};
    float *v = gk_alloc(gk_rows(t) * gk_cols(t), sizeof *v, &err);
    assert_ok(v != NULL && gk_read_part(c, t, 0, 0, gk_rows(t), 0, gk_cols(t), v, &err), err);
    return v;
}

/* Names, order, shapes and keys are the peer's to the byte; sums are as near as f32 is. */
static void is_what_llama_imatrix_writes(void **state)
{
    (void)state;
    gk_err err = {0};
    gk_calibrate_job job = job_to(OTHER);
    size_t n, m;
    job.plain = true;
    job.forward.n_windows = 8;
    make(&job);
    gk_catalog *ours = gk_catalog_open(OTHER, &err), *theirs = gk_catalog_open(LLAMA, &err);
    assert_ok(ours != NULL && theirs != NULL, err);
    unsigned char *x = read_bytes(OTHER, &n), *y = read_bytes(LLAMA, &m);
    assert_int_equal(n, m);
    assert_int_equal(ours->input[0].header_bytes, theirs->input[0].header_bytes);
    assert_memory_equal(x, y, theirs->input[0].header_bytes);
    for (uint64_t i = 0; i < theirs->n_tensors; i++) {
        const gk_tensor *t = &theirs->tensor[i];
        float *a = values_of(ours, gk_catalog_find(ours, t->name)), *b = values_of(theirs, t);
        const bool exact = strstr(t->name, ".counts") != NULL;
        for (uint64_t k = 0; k < gk_rows(t) * gk_cols(t); k++)
            if (!(fabsf(a[k] - b[k]) <= (exact ? 0 : LIMIT * b[k])))
                fail_msg("%s[%d]: %g, llama-imatrix has %g", t->name, (int)k, (double)a[k],
                         (double)b[k]);
        gk_free(a);
        gk_free(b);
    }
    assert_int_equal(theirs->n_tensors, 2 * 22);
    free(x);
    free(y);
    gk_catalog_close(ours);
    gk_catalog_close(theirs);
}

static void does_not_depend_on_threads_or_memory(void **state)
{
    (void)state;
    for (int threads = 1; threads <= 3; threads += 2) {
        gk_calibrate_job other = job_to(OTHER);
        other.forward.threads = threads;
        other.forward.memory_bytes = 1; /* one batch at a time */
        make(&other);
        assert_same_files(OUT, OTHER);
    }
}

/* ---- stopped ---------------------------------------------------------------------- */

static volatile sig_atomic_t stop;

static void stop_in_layer_1(void *context, uint64_t bytes, const char *what)
{
    (void)context;
    (void)bytes;
    if (strstr(what, "layers.1.mlp.down_proj") != NULL)
        stop = 1;
}

/* Leaves what layer 0 made. */
static void be_stopped(void)
{
    gk_calibrate_job job = job_to(OTHER);
    gk_calibration c;
    gk_err err = {0};
    job.forward.stop = &stop;
    job.forward.progress = stop_in_layer_1;
    stop = 0;
    remove(OTHER);
    assert_false(gk_calibrate(&job, &c, &err));
    assert_int_equal(err.code, GK_ERR_INTERRUPTED);
    assert_non_null(c.partial);
    gk_calibration_free(&c);
    assert_int_equal(gk_path_kind_of(OTHER), GK_PATH_NONE);
}

static void count_layers(void *context, uint64_t layers) { *(uint64_t *)context = layers; }

static void resume(uint64_t expected)
{
    gk_calibrate_job job = job_to(OTHER);
    uint64_t layers = 0;
    job.resume = true;
    job.force = false;
    job.resumed = count_layers;
    job.forward.context = &layers;
    make(&job);
    assert_int_equal(layers, expected);
    assert_same_files(OUT, OTHER);
    assert_int_equal(gk_path_kind_of(OTHER ".partial-calibrate"), GK_PATH_NONE);
}

static void a_stopped_run_goes_on_to_the_same_bytes(void **state)
{
    (void)state;
    be_stopped();
    resume(1);
}

/* A residual stream that is not what the journal says is none. */
static void a_damaged_checkpoint_is_not_used(void **state)
{
    (void)state;
    size_t n;
    be_stopped();
    unsigned char *bytes = read_bytes(OTHER ".partial-calibrate/residual-0", &n);
    bytes[n / 2] ^= 1;
    write_bytes(OTHER ".partial-calibrate/residual-0", bytes, n);
    free(bytes);
    resume(0);
}

static void another_job_is_not_gone_on_with(void **state)
{
    (void)state;
    gk_calibrate_job job = job_to(OTHER);
    gk_calibration c;
    gk_err err = {0};
    be_stopped();
    job.resume = true;
    job.forward.ctx = 128;
    assert_false(gk_calibrate(&job, &c, &err));
    assert_int_equal(err.code, GK_ERR_ARG);
    assert_non_null(strstr(err.msg, "another job"));
    gk_calibration_free(&c);
    resume(1); /* and nothing was lost */
}

static void a_finished_run_writes_nothing(void **state)
{
    (void)state;
    gk_calibrate_job job = job_to(OUT);
    gk_calibration c;
    gk_err err = {0};
    job.resume = true;
    job.force = false;
    assert_ok(gk_calibrate(&job, &c, &err), err);
    assert_true(c.finished);
    uint64_t all = 0;
    for (uint64_t i = 0; i < c.n_layers * c.n_experts; i++)
        all += c.experts[i];
    assert_int_equal(all, 2 * CTX * WINDOWS * c.n_layers); /* two experts a token */
    gk_calibration_free(&c);
    job.resume = false;
    assert_false(gk_calibrate(&job, &c, &err));
    assert_int_equal(err.code, GK_ERR_ARG);
    assert_non_null(strstr(err.msg, "exists already"));
    gk_calibration_free(&c);
}

/* ---- read again ------------------------------------------------------------------- */

static gk_stats *open_stats(const char *path)
{
    gk_err err = {0};
    gk_stats *s = gk_stats_open(path, &err);
    assert_ok(s != NULL, err);
    return s;
}

static void tokens_and_switches_are_in_the_file(void **state)
{
    (void)state;
    gk_err err = {0};
    const gk_calibrate_job job = job_to(OUT);
    gk_switches switches;
    gk_stats *s = open_stats(OUT), *theirs = open_stats(LLAMA);
    assert_int_equal(s->ctx, CTX);
    assert_int_equal(s->n_ids, CTX * WINDOWS);
    assert_memory_equal(s->ids, ids.id, s->n_ids * sizeof *s->ids);
    assert_string_equal(s->preset, "llama.cpp");
    assert_ok(gk_switches_parse(s->switches, &switches, &err), err);
    assert_memory_equal(&switches.rope, &job.forward.switches.rope, sizeof switches.rope);
    assert_true(switches.gelu_tanh && switches.rope_magnitude && !switches.router_cap);
    assert_null(theirs->ids);
    assert_null(theirs->preset);
    gk_stats_free(s);
    gk_stats_free(theirs);
}

/* All experts here saw fewer tokens than the floor: their values are theirs and the stack's. */
static void thin_experts_are_filled_up(void **state)
{
    (void)state;
    static const char name[] = "blk.1.ffn_down_exps.weight";
    gk_err err = {0};
    gk_catalog *c = gk_catalog_open(LLAMA, &err);
    assert_ok(c != NULL, err);
    gk_stats *s = open_stats(LLAMA);
    float *sums = values_of(c, gk_catalog_find(c, "blk.1.ffn_down_exps.weight.in_sum2"));
    float *count = values_of(c, gk_catalog_find(c, "blk.1.ffn_down_exps.weight.counts"));
    assert_int_equal(s->n_thin, 2 * 3 * 8);
    for (uint64_t i = 0; i < 256; i += 51) {
        double all = 0, n = 0;
        for (uint64_t e = 0; e < 8; e++) {
            all += (double)sums[e * 256 + i];
            n += (double)count[e];
        }
        for (uint64_t e = 0; e < 8; e++) {
            const float *v;
            const double w = (double)count[e] / GK_STATS_FLOOR;
            assert_ok(gk_stats_find(s, name, e, 256, &v, &err), err);
            const double expected = w * (double)sums[e * 256 + i] / (double)count[e]
                                    + (1 - w) * all / n;
            assert_true(fabs((double)v[i] - expected) <= 1e-6 * expected);
        }
    }
    gk_free(sums);
    gk_free(count);
    gk_catalog_close(c);
    gk_stats_free(s);
}

/* Puts `by` where the n bytes of `at` stand (plus off), and expects to hear of it. */
static void refuses(const char *at, size_t off, const void *by, size_t n, const char *text)
{
    size_t size;
    gk_err err = {0};
    unsigned char *bytes = read_bytes(OUT, &size);
    unsigned char *found = memmem(bytes, size, at, strlen(at));
    assert_non_null(found);
    memcpy(found + off, by, n);
    write_bytes(OTHER, bytes, size);
    free(bytes);
    assert_null(gk_stats_open(OTHER, &err));
    assert_int_equal(err.code, GK_ERR_FORMAT);
    if (strstr(err.msg, text) == NULL)
        fail_msg("'%s' instead of '%s'", err.msg, text);
}

static void odd_tokens_are_refused(void **state)
{
    (void)state;
    const uint32_t ctx = 255, f32 = 0;
    refuses("grokkit.ctx", 11 + 4, &ctx, 4, "no windows of grokkit.ctx");
    /* the type in its info: name, dimensions, two of them */
    refuses("grokkit.tokens", 14 + 4 + 16, &f32, 4, "no windows of grokkit.ctx");
    refuses("grokkit.preset", 8, "PRESET", 6, "no grokkit.preset");
    refuses("grokkit.ctx", 8, "CTX", 3, "no windows of grokkit.ctx");
    const uint32_t first[2] = {ids.id[0], ids.id[1]}, negative = UINT32_MAX;
    char needle[9] = {0};
    memcpy(needle, first, 8);
    size_t size;
    gk_err err = {0};
    unsigned char *bytes = read_bytes(OUT, &size);
    unsigned char *found = memmem(bytes, size, needle, 8);
    assert_non_null(found);
    memcpy(found, &negative, 4);
    write_bytes(OTHER, bytes, size);
    free(bytes);
    assert_null(gk_stats_open(OTHER, &err));
    assert_non_null(strstr(err.msg, "a token id below 0"));
}

static void a_cut_file_is_refused(void **state)
{
    (void)state;
    size_t size;
    unsigned char *bytes = read_bytes(OUT, &size);
    for (size_t n = 4; n + 32 < size; n += 1 + n / 8) {
        gk_err err = {0};
        write_bytes(OTHER, bytes, n);
        assert_null(gk_stats_open(OTHER, &err));
        assert_int_equal(err.code, GK_ERR_FORMAT);
    }
    free(bytes);
}

static void switches_read_back(void **state)
{
    (void)state;
    static const char *const presets[] = {"sglang", "llama.cpp", "llama.cpp-plain", "vllm",
                                          "grok1"};
    static const char *const odd[] = {"",
                                      "gelu",
                                      "gelu=",
                                      "gelu=erf",
                                      "rope=config",
                                      ",,,,,,",
                                      "gelu=erf,rope=,rope-magnitude=off"};
    char text[GK_SWITCHES_TEXT], again[GK_SWITCHES_TEXT];
    gk_switches s, back;
    gk_err err = {0};
    for (size_t i = 0; i < sizeof presets / sizeof presets[0]; i++) {
        assert_true(gk_preset_find(presets[i], &s));
        assert_ok(gk_switches_parse(gk_switches_spell(&s, text), &back, &err), err);
        assert_string_equal(gk_switches_spell(&back, again), text);
        text[strlen(text) - 1] = '\0';
        assert_false(gk_switches_parse(text, &back, &err));
        err = (gk_err){0};
    }
    for (size_t i = 0; i < sizeof odd / sizeof odd[0]; i++)
        assert_false(gk_switches_parse(odd[i], &back, &err));
}

/* ---- what they are for ------------------------------------------------------------- */

static double weighted_error(const gk_group_job *job, const float *w, const float *m, float *room)
{
    const uint64_t n = job->n_rows * job->n_cols;
    const uint64_t groups = job->n_rows * gk_scheme_groups(job->scheme, job->n_cols);
    gk_err err = {0};
    int8_t *codes = gk_alloc(n, 1, &err);
    float *scales = gk_alloc(groups, sizeof *scales, &err);
    double sum = 0;
    memcpy(room, w, n * sizeof *w);
    gk_group_encode(job, room, codes, scales, NULL, NULL);
    gk_group_decode(job->scheme, codes, scales, NULL, job->n_rows, job->n_cols, room);
    for (uint64_t i = 0; i < n; i++) {
        const double d = (double)w[i] - (double)room[i];
        sum += (double)m[i % job->n_cols] * d * d;
    }
    gk_free(codes);
    gk_free(scales);
    return sum;
}

/* The plan finds the statistics of every matrix, and they make its outputs better. */
static void weights_lower_the_weighted_error_of_every_matrix(void **state)
{
    (void)state;
    gk_err err = {0};
    gk_recipe *recipe = gk_recipe_new(&err);
    gk_stats *s = open_stats(OUT);
    gk_plan_options o = {.target = gk_target_find("compressed-tensors", &err),
                         .method = GK_METHOD_SEARCH,
                         .stats = s,
                         .threads = 1,
                         .memory_bytes = 1 << 28};
    assert_ok(gk_recipe_default(recipe, "int4-g128", &err), err);
    gk_plan *p = gk_plan_new(tiny, recipe, &o, &err);
    assert_ok(p != NULL, err);
    uint64_t n_coded = 0;
    for (uint64_t i = 0; i < p->n_items; i++) {
        const gk_plan_item *item = &p->item[i];
        const uint64_t n = gk_rows(item->from) * gk_cols(item->from);
        const uint64_t all[4] = {0, gk_rows(item->from), 0, gk_cols(item->from)};
        if (!gk_scheme_is_coded(&item->to))
            continue;
        assert_non_null(item->importance);
        float *w = gk_alloc(n, sizeof *w, &err), *room = gk_alloc(n, sizeof *room, &err);
        assert_ok(gk_decode(tiny, item->from, all, w, room, &err), err);
        gk_group_job g = {.scheme = &item->to,
                          .method = GK_METHOD_SEARCH,
                          .importance = item->importance,
                          .n_rows = all[1],
                          .n_cols = all[3]};
        const double with = weighted_error(&g, w, item->importance, room);
        g.importance = NULL;
        const double without = weighted_error(&g, w, item->importance, room);
        if (!(with < 0.999 * without))
            fail_msg("%s: %g with statistics, %g without", item->from->name, with, without);
        gk_free(w);
        gk_free(room);
        n_coded++;
    }
    assert_int_equal(n_coded, 2 * (4 + 3 + 3 * 8));
    gk_plan_free(p);
    gk_recipe_free(recipe);
    gk_stats_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(is_what_llama_imatrix_writes),
        cmocka_unit_test(does_not_depend_on_threads_or_memory),
        cmocka_unit_test(a_stopped_run_goes_on_to_the_same_bytes),
        cmocka_unit_test(a_damaged_checkpoint_is_not_used),
        cmocka_unit_test(another_job_is_not_gone_on_with),
        cmocka_unit_test(a_finished_run_writes_nothing),
        cmocka_unit_test(tokens_and_switches_are_in_the_file),
        cmocka_unit_test(thin_experts_are_filled_up),
        cmocka_unit_test(odd_tokens_are_refused),
        cmocka_unit_test(a_cut_file_is_refused),
        cmocka_unit_test(switches_read_back),
        cmocka_unit_test(weights_lower_the_weighted_error_of_every_matrix),
    };
    return cmocka_run_group_tests(tests, open_all, close_all);
}
