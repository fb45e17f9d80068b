/* tests/test_alloc.c - the n-th allocation fails, for every n, and all after it.
 *
 * Whatever was under way ends in NOMEM or, past the last allocation, in success; nothing
 * crashes, nothing leaks (LeakSanitizer) and no OUT or OUT.partial-* is left. Opening is
 * stepped through point by point, the rest by a prime where there are thousands. */
#include <dirent.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "tests/test.h"

#include "formats/output.h"
#include "formats/vocabulary.h"
#include "quant/model.h"
#include "quant/run.h"
#include "verify/score.h"
#include "verify/tokenizer.h"

#define SMALL   "build/models/ranks2"
#define N_IDS   16
#define SECONDS 60 /* a sweep that takes longer is stuck */

#if defined __SANITIZE_ADDRESS__
#define SLOW 4 /* times */
#else
#define SLOW 1
#endif

static char folder[100], out[128];

static int make_folder(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "build/tmp/test_alloc-%d", (int)getpid());
    snprintf(out, sizeof out, "%s/out", folder);
    mkdir("build", 0777);
    mkdir("build/tmp", 0777);
    return mkdir(folder, 0777);
}

static void empty_folder(const char *path)
{
    DIR *d = opendir(path);
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d)) != NULL;) {
        char name[600];
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        snprintf(name, sizeof name, "%s/%s", path, e->d_name);
        if (unlink(name) != 0) {
            empty_folder(name);
            assert_int_equal(rmdir(name), 0);
        }
    }
    closedir(d);
}

static int remove_folder(void **state)
{
    (void)state;
    gk_alloc_fail_after(-1);
    empty_folder(folder);
    return rmdir(folder);
}

/* Entries in the folder of the test, "." and ".." not counted. */
static int n_left(void)
{
    int n = -2;
    DIR *d = opendir(folder);
    assert_non_null(d);
    while (readdir(d) != NULL)
        n++;
    closedir(d);
    return n;
}

/* ---- the sweep ------------------------------------------------------------------ */

/* Does the work; false and *err. What it got it frees. */
typedef bool work_fn(gk_err *err);

/* How many allocations the work makes when nothing fails. */
static uint64_t count_points(work_fn *work)
{
    gk_err err = {0};
    gk_alloc_fail_after(-1);
    assert_ok(work(&err), err);
    return gk_alloc_fail_after(-1);
}

/* One point. Returns false and fails the test unless it ends well. */
static bool try_point(work_fn *work, const char *name, uint64_t n)
{
    gk_err err = {0};
    gk_alloc_fail_after((int64_t)n);
    const bool ok = work(&err);
    gk_alloc_fail_after(-1);
    if (ok != (err.code == GK_OK) || (!ok && err.code != GK_ERR_NOMEM))
        fail_msg("%s, allocation %d: %s, but code %d: %s: %s: %s", name, (int)n,
                 ok ? "success" : "failure", (int)err.code, err.file, err.tensor, err.msg);
    if (!ok && err.msg[0] == '\0')
        fail_msg("%s, allocation %d: no message", name, (int)n);
    return ok;
}

/* Fails allocations 0, step, 2 step, ... and the first 32 and the last 32, too; step is
 * 1 unless there are thousands of points and a point takes long. */
static void sweep(work_fn *work, const char *name, uint64_t many_step)
{
    const uint64_t points = count_points(work), step = points > 1000 ? many_step : 1;
    const time_t start = time(NULL);
    uint64_t tried = 0, succeeded = 0;
    assert_true(points > 0);
    for (uint64_t n = 0; n < points; n++) {
        if (n % step != 0 && n >= 32 && n + 32 < points)
            continue;
        succeeded += try_point(work, name, n);
        tried++;
        if (time(NULL) - start > SECONDS * SLOW)
            fail_msg("%s: at allocation %d of %d after %d s", name, (int)n, (int)points,
                     (int)(time(NULL) - start));
    }
    assert_true(try_point(work, name, points + 1000));
    print_message("%s: %d allocations, %d points tried, %d ended well\n", name, (int)points,
                  (int)tried, (int)succeeded);
}

/* ---- what is under way ---------------------------------------------------------- */

static bool open_catalog(gk_err *err)
{
    gk_catalog *c = gk_catalog_open(TINY, err);
    const bool ok = c != NULL;
    if (ok) /* a finding would be a failure that was swallowed */
        assert_int_equal(c->findings.n, 0);
    gk_catalog_close(c);
    return ok;
}

static bool open_model(gk_err *err)
{
    gk_catalog *c = gk_model_open_whole(TINY, err);
    const bool ok = c != NULL;
    if (ok)
        assert_int_equal(c->findings.n, 0);
    gk_catalog_close(c);
    return ok;
}

static const char *model_path; /* a model of another format */

static bool open_other(gk_err *err)
{
    gk_catalog *c = gk_catalog_open(model_path, err);
    const bool ok = c != NULL;
    for (uint64_t i = 0; ok && i < c->findings.n; i++)
        assert_true(c->findings.row[i].severity < GK_BAD);
    if (ok)
        assert_true(c->n_tensors > 0);
    gk_catalog_close(c);
    return ok;
}

static gk_catalog *model; /* opened while nothing fails */

static gk_plan *make_plan(gk_err *err)
{
    const gk_plan_options options = {.target = gk_target_find("compressed-tensors", NULL),
                                     .method = GK_METHOD_RTN,
                                     .threads = 1,
                                     .memory_bytes = 256u << 20};
    gk_recipe *recipe = gk_recipe_new(err);
    gk_plan *plan = NULL;
    if (recipe != NULL && gk_recipe_default(recipe, "int4", err)
        && gk_recipe_rule(recipe, "layers\\.1\\.self_attn = int8-g32", err))
        plan = gk_plan_new(model, recipe, &options, err);
    gk_recipe_free(recipe);
    return plan;
}

static bool plan_only(gk_err *err)
{
    gk_plan *plan = make_plan(err);
    const bool ok = plan != NULL;
    gk_plan_free(plan);
    return ok;
}

static bool plan_and_run(gk_err *err)
{
    gk_run_result result = {0};
    const gk_run_options options = {.verify = true};
    gk_plan *plan = make_plan(err);
    const bool ok = plan != NULL && gk_run(plan, out, &options, &result, err);
    const bool kept = result.kept;
    gk_run_result_free(&result);
    gk_plan_free(plan);
    if (!ok) {
        assert_int_equal(n_left(), kept ? 1 : 0); /* OUT.partial-*, when it says so */
        assert_int_not_equal(access(out, F_OK), 0);
    } else {
        assert_int_equal(n_left(), 1);
    }
    empty_folder(folder);
    return ok;
}

static bool tokenize(gk_err *err)
{
    static const char text[] = "The quick brown fox jumps over 12345 lazy dogs.\n\n"
                               "It's a test, isn't it? <|separator|> \xC3\xA9t\xC3\xA9";
    gk_ids ids = {0};
    gk_extra extra = {.name = "tokenizer.tok.json", .path = TINY "/tokenizer.tok.json"};
    const gk_catalog c = {.extra = &extra, .n_extras = 1};
    gk_tokenizer *t = gk_tokenizer_open(&c, err);
    const bool ok = t != NULL && gk_tokenizer_encode(t, text, sizeof text - 1, &ids, err);
    if (ok)
        assert_true(ids.n > 10);
    gk_ids_free(&ids);
    gk_tokenizer_close(t);
    return ok;
}

/* Numbers that do not fit what jansson begins with, behind every kind of value. */
static bool parse_numbers(gk_err *err)
{
    static const char text[] = "{\"a\":[1,null,\"x\",0.12345678901234567],\"b\":"
                               "12.000000000000000000000000000000000000000000000000000000000001}";
    gk_json *root = gk_json_parse(text, sizeof text - 1, "text", err);
    const bool ok = root != NULL;
    gk_json_free(root);
    return ok;
}

/* The struct is the caller's, and may hold anything before. */
static bool read_vocabulary(gk_err *err)
{
    gk_vocabulary v;
    memset(&v, 0xA5, sizeof v);
    const bool ok = gk_vocabulary_read(model, &v, err);
    if (ok)
        assert_true(v.n > 200);
    gk_vocabulary_free(&v);
    return ok;
}

static const gk_catalog *base; /* of a score, or NULL */

static bool score(gk_err *err)
{
    uint32_t ids[N_IDS];
    gk_score result = {0};
    gk_score_job job = {.model = model,
                        .base = base,
                        .ids = ids,
                        .protocol = GK_PROTOCOL_PAPER,
                        .forward = {.ctx = N_IDS,
                                    .n_windows = 1,
                                    .threads = 1,
                                    .memory_bytes = 256u << 20}};
    for (uint32_t i = 0; i < N_IDS; i++)
        ids[i] = i * 7 % 256;
    assert_true(gk_preset_find("sglang", &job.forward.switches));
    const bool ok = gk_score_run(&job, &result, err);
    if (ok)
        assert_int_equal(result.n_scored, N_IDS - 1);
    gk_score_free(&result);
    return ok;
}

/* ---- tests ---------------------------------------------------------------------- */

static void opening_a_catalog(void **state)
{
    (void)state;
    sweep(open_catalog, "open", 1);
}

static void opening_a_model(void **state)
{
    (void)state;
    sweep(open_model, "open whole", 1);
}

static void opening_other_formats(void **state)
{
    static const char *const path[] = {
        "testdata/grok1-mini",          "testdata/grok1-mini/ckpt-0",
        "testdata/torch/views.pt",      "testdata/torch/wrapped.pt",
        "testdata/torch/sharded",       "testdata/pickle/numpy1_u8_f_p5.pkl",
        "testdata/pickle/jax_f32_p4.pkl",
        "testdata/gguf/grok.gguf",      "testdata/gguf/grok-00001-of-00002.gguf",
        "testdata/flax-tiny/chunked.msgpack", "tests/fuzz/corpus/archive/ustar",
        "tests/fuzz/corpus/archive/gz", "tests/fuzz/corpus/archive/zip"};

    (void)state;
    for (size_t i = 0; i < sizeof path / sizeof path[0]; i++) {
        model_path = path[i];
        sweep(open_other, model_path, 1);
    }
}

static void reading_vocabularies(void **state)
{
    static const char *const path[] = {TINY, "testdata/vocabulary/grok1.gguf"};

    (void)state;
    for (size_t i = 0; i < sizeof path / sizeof path[0]; i++) {
        gk_err err = {0};
        model = gk_catalog_open(path[i], &err);
        assert_ok(model != NULL, err);
        sweep(read_vocabulary, path[i], 1);
        gk_catalog_close(model);
        model = NULL;
    }
}

static void with_model(work_fn *work, const char *name, uint64_t step)
{
    gk_err err = {0};
    model = gk_model_open_whole(SMALL, &err);
    assert_ok(model != NULL, err);
    sweep(work, name, step);
    gk_catalog_close(model);
    model = NULL;
}

static void parsing_json(void **state)
{
    (void)state;
    sweep(parse_numbers, "json", 1);
}

static void planning(void **state)
{
    (void)state;
    with_model(plan_only, "plan", 3);
}

static void quantizing(void **state)
{
    (void)state;
    with_model(plan_and_run, "quantize", 5);
}

static void tokenizing(void **state)
{
    (void)state;
    sweep(tokenize, "tokenize", 1);
}

static void scoring(void **state)
{
    (void)state;
    with_model(score, "score", 3);
}

static void scoring_against_a_base(void **state)
{
    (void)state;
    gk_err err = {0};
    gk_catalog *other = gk_model_open_whole(SMALL, &err);
    assert_ok(other != NULL, err);
    base = other;
    with_model(score, "score with a base", 3);
    base = NULL;
    gk_catalog_close(other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(opening_a_catalog), cmocka_unit_test(opening_a_model),
        cmocka_unit_test(opening_other_formats),
        cmocka_unit_test(reading_vocabularies), cmocka_unit_test(parsing_json),
       
        cmocka_unit_test(planning),          cmocka_unit_test(quantizing),
        cmocka_unit_test(tokenizing),        cmocka_unit_test(scoring),
        cmocka_unit_test(scoring_against_a_base),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
