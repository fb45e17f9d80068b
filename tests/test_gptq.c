/* tests/test_gptq.c - quantizing with a forward pass beside it: the same bytes for any threads,
 * memory and interruption; each matrix fits what its inputs will be. */
#include <math.h>

#include "tests/written.h"

#include "quant/phases.h"
#include "quant/stats.h"
#include "verify/inputs.h"

#define WORK  "build/tmp/test_gptq"
#define MODEL "build/models/ranks2"
#define RULES "default = int4-g32"

WORK_FOLDER(WORK)

enum { CTX = 16, WINDOWS = 24, VOCAB = 300 };

static uint32_t ids[CTX * WINDOWS];
static volatile sig_atomic_t stop;
static int left; /* tiles until it stops; 0: it does not */

static gk_stats statistics(void)
{
    uint32_t seed = 3;

    for (int i = 0; i < CTX * WINDOWS; i++) {
        seed = seed * 1664525u + 1013904223u;
        ids[i] = seed / 65536 % VOCAB;
    }
    return (gk_stats){.ids = ids, .n_ids = CTX * WINDOWS, .ctx = CTX, .sha256 = "0"};
}

static void count(void *context, uint64_t bytes, const char *tensor)
{
    (void)context, (void)bytes, (void)tensor;
    if (left > 0 && __atomic_sub_fetch(&left, 1, __ATOMIC_SEQ_CST) == 0)
        stop = 1;
}

/* Returns whether it came to its end; a run that stopped kept what it had. */
static bool run(const char *out, const char *to, int threads, uint64_t memory, int tiles,
                bool resume)
{
    gk_err err = {0};
    gk_stats stats = statistics();
    gk_catalog *c = open_whole(MODEL);
    gk_plan_options o = int_options();
    o.target = gk_target_find(to, &err);
    o.method = GK_METHOD_GPTQ;
    o.stats = &stats;
    o.threads = threads;
    o.memory_bytes = memory;
    gk_plan *p = try_plan(c, RULES, &o, &err);
    assert_ok(p != NULL, err);
    const gk_forward_options forward = {.threads = threads, .memory_bytes = memory / 4};
    gk_input_pass *pass = gk_input_pass_new(c, &stats, &forward, &err);
    assert_ok(pass != NULL, err);
    const gk_inputs inputs = gk_input_pass_ask(pass);
    const gk_run_options options = {.inputs = &inputs, .stop = &stop, .progress = count,
                                    .resume = resume, .verify = tiles == 0};
    gk_run_result result = {0};
    stop = 0;
    left = tiles;
    const bool ok = gk_run(p, out, &options, &result, &err);
    if (!ok) {
        assert_int_equal(err.code, GK_ERR_INTERRUPTED);
        assert_true(result.kept || tiles < 3);
    }
    gk_run_result_free(&result);
    gk_input_pass_free(pass);
    gk_plan_free(p);
    gk_catalog_close(c);
    return ok;
}

static void assert_same(const char *a, const char *b)
{
    size_t n, m;
    unsigned char *x = read_bytes(path_of("%s/model.safetensors", a), &n);
    unsigned char *y = read_bytes(path_of("%s/model.safetensors", b), &m);

    assert_int_equal(n, m);
    assert_memory_equal(x, y, n);
    free(x);
    free(y);
}

static void threads_and_memory_do_not_matter(void **state)
{
    (void)state;
    static const struct {
        int threads;
        uint64_t memory;
    } other[] = {{2, MANY}, {3, 96 << 20}, {8, 256 << 20}};

    assert_true(run(WORK "/one", "compressed-tensors", 1, MANY, 0, false));
    for (int i = 0; i < 3; i++) {
        remove_tree(WORK "/other");
        assert_true(run(WORK "/other", "compressed-tensors", other[i].threads, other[i].memory, 0,
                        false));
        assert_same(WORK "/one", WORK "/other");
    }
}

static void a_run_that_stopped_goes_on_to_the_same_bytes(void **state)
{
    (void)state;
    int stopped = 0;

    assert_true(run(WORK "/whole", "compressed-tensors", 2, MANY, 0, false));
    for (int tiles = 1; tiles < 400; tiles += 17) {
        remove_tree(WORK "/parts");
        if (run(WORK "/parts", "compressed-tensors", 1, MANY, tiles, false))
            break;
        stopped++;
        assert_true(run(WORK "/parts", "compressed-tensors", 2, MANY, 0, true));
        assert_same(WORK "/whole", WORK "/parts");
    }
    assert_true(stopped > 3);
}

/* Other integer layouts have the same codes to choose. */
static void every_integer_format_is_solved(void **state)
{
    (void)state;
    static const char *const to[] = {"gptq", "awq", "mlx"};

    for (int i = 0; i < 3; i++) {
        remove_tree(WORK "/to");
        assert_true(run(WORK "/to", to[i], 2, MANY, 0, false));
    }
}

static void statistics_without_tokens_are_refused(void **state)
{
    (void)state;
    gk_err err = {0};
    gk_stats none = {.sha256 = "0"};
    gk_catalog *c = open_whole(MODEL);
    gk_plan_options o = int_options();

    o.method = GK_METHOD_GPTQ;
    for (int i = 0; i < 2; i++) {
        o.stats = i == 0 ? NULL : &none;
        assert_null(try_plan(c, RULES, &o, &err));
        assert_int_equal(err.code, GK_ERR_ARG);
        assert_non_null(strstr(err.msg, "calibrate"));
    }
    gk_catalog_close(c);
}

static void blocks_replace_what_memory_cannot_hold(void **state)
{
    (void)state;
    gk_err err = {0};
    gk_stats stats = statistics();
    gk_catalog *c = open_whole("build/models/odd");
    gk_plan_options o = int_options();

    o.method = GK_METHOD_GPTQ;
    o.stats = &stats;
    gk_plan *whole = try_plan(c, RULES, &o, &err);
    assert_ok(whole != NULL, err);
    assert_int_equal(whole->hessian_block, 0);
    assert_true(whole->paired);
    o.hessian_block = 128;
    gk_plan *asked = try_plan(c, RULES, &o, &err);
    assert_ok(asked != NULL, err);
    assert_int_equal(asked->hessian_block, 128);
    assert_true(asked->hessian_bytes < whole->hessian_bytes);
    assert_string_not_equal(asked->sha256, whole->sha256);
    gk_plan_free(asked);
    o.hessian_block = 0;
    stats.n_ids = 1 << 24; /* a stream of so many does not fit beside another */
    o.memory_bytes = 128 << 20;
    gk_plan *alone = try_plan(c, RULES, &o, &err);
    assert_ok(alone != NULL, err);
    assert_int_equal(alone->hessian_block, 0);
    assert_false(alone->paired);
    assert_true(alone->hessian_bytes < whole->hessian_bytes);
    assert_string_not_equal(alone->sha256, whole->sha256);
    gk_plan_free(alone);
    gk_plan_free(whole);
    gk_catalog_close(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(threads_and_memory_do_not_matter),
        cmocka_unit_test(a_run_that_stopped_goes_on_to_the_same_bytes),
        cmocka_unit_test(every_integer_format_is_solved),
        cmocka_unit_test(statistics_without_tokens_are_refused),
        cmocka_unit_test(blocks_replace_what_memory_cannot_hold),
    };
    setenv("GK_KEEP_SECONDS", "0", 1); /* each tile is kept at once */
    return cmocka_run_group_tests(tests, open_work, close_work);
}
