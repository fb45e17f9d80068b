/* tests/test_allocate.c - targets are kept, recipes are taken back, probes are what they say. */
#include <math.h>

#include "tests/disk.h"

#include "quant/allocate.h"
#include "quant/kinds.h"
#include "quant/model.h"
#include "quant/stats.h"
#include "quant/through.h"
#include "verify/calibrate.h"
#include "verify/probes.h"

#define WORK    "build/tmp/test_allocate"
#define STATS   WORK "/stats.gguf"
#define CTX     48
#define WINDOWS 4

static gk_catalog *tiny;
static gk_stats *stats;
static uint32_t ids[CTX * WINDOWS];
static const char *const dataset[] = {"numbers"};

static gk_forward_options forward(int threads)
{
    gk_forward_options o = {.ctx = CTX, .n_windows = WINDOWS, .threads = threads};

    o.memory_bytes = UINT64_C(1) << 28;
    return o;
}

static int open_all(void **state)
{
    gk_calibration c;
    gk_err err = {0};

    (void)state;
    fresh_dir(WORK);
    for (uint32_t i = 0; i < CTX * WINDOWS; i++)
        ids[i] = (i * 37 + i * i % 11) % 900;
    tiny = gk_model_open_whole(TINY, &err);
    const gk_calibrate_job job = {.model = tiny,
                                  .ids = ids,
                                  .forward = forward(2),
                                  .preset = "sglang",
                                  .dataset = dataset,
                                  .n_datasets = 1,
                                  .text_sha256 = "of no text",
                                  .probe_windows = 2,
                                  .out = STATS};
    if (tiny == NULL || !gk_calibrate(&job, &c, &err))
        return 1;
    gk_calibration_free(&c);
    stats = gk_stats_open(STATS, &err);
    return stats == NULL;
}

static int close_all(void **state)
{
    (void)state;
    gk_stats_free(stats);
    gk_catalog_close(tiny);
    remove_tree(WORK);
    return 0;
}

/* ---- probes --------------------------------------------------------------------------- */

/* Ten kinds in both layers, embedding, head, and two of all layers. */
static void probes_are_kept(void **state)
{
    double all4 = 0, all8 = 0, sum = 0;

    (void)state;
    assert_int_equal(stats->n_probes, 2 * 10 + 2 + 2);
    for (uint64_t i = 0; i < stats->n_probes; i++) {
        const gk_probe *p = &stats->probe[i];
        assert_true(p->kld > 0 && p->err >= 0);
        if (strcmp(p->kind, GK_PROBE_ALL4) == 0)
            all4 = p->kld;
        else if (strcmp(p->kind, GK_PROBE_ALL8) == 0)
            all8 = p->kld;
        else if (p->first >= 0)
            sum += p->kld;
    }
    assert_true(all8 < all4 / 20); /* noise of 8 bits is 1/289 of that of 4 */
    assert_true(sum > all4 / 2 && sum < all4 * 2);
}

static bool is_o_of_1(void *context, const gk_tensor *t)
{
    (void)context;
    return strcmp(t->name, "model.layers.1.self_attn.o_proj.weight") == 0;
}

/* The way that a probe shares with the base changes nothing of what it finds. */
static void a_shared_way_is_the_same(void **state)
{
    const uint64_t differs[1] = {1};
    double kld[2];
    gk_catalog view;
    gk_err err = {0};
    gk_arena *a = gk_arena_new(&err);

    (void)state;
    assert_ok(gk_through_view(a, tiny, 4, is_o_of_1, NULL, &view, &err), err);
    for (int shared = 0; shared < 2; shared++) {
        gk_score score;
        const gk_score_job job = {.model = &view,
                                  .base = tiny,
                                  .ids = ids,
                                  .forward = forward(2),
                                  .differs = shared ? differs : NULL};
        assert_ok(gk_score_run(&job, &score, &err), err);
        kld[shared] = score.model[0].kld.mean;
        gk_score_free(&score);
    }
    assert_true(kld[0] > 0);
    assert_memory_equal(&kld[0], &kld[1], sizeof kld[0]);
    gk_arena_free(a);
}

static void kinds_have_no_numbers(void **state)
{
    static const struct {
        const char *name, *kind, *with_expert;
        int64_t layer;
    } row[] = {
        {"model.layers.12.block_sparse_moe.experts.3.w1.weight",
         "model.layers.*.block_sparse_moe.experts.*.w1",
         "model.layers.*.block_sparse_moe.experts.3.w1", 12},
        {"lm_head.weight", "lm_head", "lm_head", -1},
        {"blk.0.attn_q.weight", "blk.*.attn_q", "blk.*.attn_q", 0},
        {"h2.w3.5x.weight", "h2.w3.5x", "h2.w3.5x", -1},
        {"layers.7", "layers.*", "layers.*", 7},
    };

    (void)state;
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        char kind[GK_KIND_NAME];
        int64_t layer;
        assert_string_equal(gk_kind_of(row[i].name, false, kind, &layer), row[i].kind);
        assert_int_equal(layer, row[i].layer);
        assert_string_equal(gk_kind_of(row[i].name, true, kind, &layer), row[i].with_expert);
    }
}

/* ---- targets ---------------------------------------------------------------------------- */

typedef struct made {
    gk_plan *plan;
    gk_allocation a;
    gk_err err;
} made;

static gk_plan_options options_of(const char *target, int threads)
{
    gk_err err = {0};
    gk_plan_options o = {.target = gk_target_find(target, &err),
                         .out_name = "tiny",
                         .stats = stats,
                         .method = GK_METHOD_SEARCH,
                         .threads = threads,
                         .memory_bytes = UINT64_C(1) << 28};

    assert_non_null(o.target);
    return o;
}

static made allocate(const char *target, const gk_goal *goal, const char *rule, int threads)
{
    const gk_plan_options o = options_of(target, threads);
    made m = {0};
    gk_recipe *r = gk_recipe_new(&m.err);

    if (o.target->scheme != NULL)
        assert_ok(gk_recipe_default(r, o.target->scheme, &m.err), m.err);
    if (rule != NULL)
        assert_ok(gk_recipe_rule(r, rule, &m.err), m.err);
    m.plan = gk_allocate(tiny, r, &o, goal, &m.a, &m.err);
    gk_recipe_free(r);
    return m;
}

static void drop(made *m)
{
    gk_plan_free(m->plan);
    gk_allocation_free(&m->a);
}

/* Files of a GGUF, to the last byte, of 3.2 to 8.5 bits a weight. */
static void files_are_within_half_a_percent(void **state)
{
    static const uint64_t targets[] = {2600000, 3777777, 5000001};
    double last = INFINITY;

    (void)state;
    for (size_t i = 0; i < sizeof targets / sizeof targets[0]; i++) {
        made m = allocate("gguf", &(gk_goal){.bytes = targets[i]}, NULL, 2);
        assert_ok(m.plan != NULL, m.err);
        assert_true(m.plan->output_bytes <= targets[i]);
        assert_true(m.plan->output_bytes >= targets[i] - targets[i] / 200);
        assert_true(m.a.is_kld && m.a.cost > 0 && m.a.cost < last);
        assert_true(m.a.bound <= m.a.cost);
        assert_int_equal(m.a.target, targets[i]);
        last = m.a.cost;
        drop(&m);
    }
}

static void bits_count_what_is_quantized(void **state)
{
    uint64_t bytes = 0, weights = 0;
    made m = allocate("compressed-tensors", &(gk_goal){.bits = 4.6}, NULL, 2);

    (void)state;
    assert_ok(m.plan != NULL, m.err);
    for (uint64_t i = 0; i < m.plan->n_items; i++)
        if (gk_scheme_is_coded(&m.plan->item[i].to)) {
            bytes += m.plan->item[i].bytes;
            weights += gk_rows(m.plan->item[i].from) * gk_cols(m.plan->item[i].from);
        }
    const double bits = (double)bytes * 8 / (double)weights;
    assert_true(bits <= 4.6 && bits > 4.5);
    assert_true(fabs(bits - m.a.bits) < 1e-9);
    assert_int_equal(m.a.n_units, 10); /* q, k and v; o; gate and up; down; experts: twice */
    drop(&m);
}

/* What is printed is a recipe: it makes the same plan. So do other threads. */
static void a_recipe_is_taken_back(void **state)
{
    static const char *const target[] = {"gguf", "compressed-tensors", "mlx"};

    (void)state;
    for (int i = 0; i < 3; i++) {
        const gk_goal goal = {.bits = i == 0 ? 5.1 : 4.7};
        made m = allocate(target[i], &goal, NULL, 1), n = allocate(target[i], &goal, NULL, 3);
        const gk_plan_options o = options_of(target[i], 2);
        gk_err err = {0};
        gk_recipe *r = gk_recipe_new(&err);
        assert_ok(m.plan != NULL, m.err);
        assert_ok(gk_recipe_text(r, m.a.recipe, strlen(m.a.recipe), "recipe", &err), err);
        gk_plan *p = gk_plan_new(tiny, r, &o, &err);
        assert_ok(p != NULL, err);
        assert_string_equal(p->sha256, m.plan->sha256);
        assert_string_equal(n.plan->sha256, m.plan->sha256);
        assert_memory_equal(&n.a.cost, &m.a.cost, sizeof m.a.cost);
        gk_plan_free(p);
        gk_recipe_free(r);
        drop(&m);
        drop(&n);
    }
}

static const char *scheme_of(const made *m, const char *name)
{
    for (uint64_t i = 0; i < m->plan->n_items; i++)
        if (strcmp(m->plan->item[i].from->name, name) == 0)
            return m->plan->item[i].to.name;
    fail_msg("no tensor %s", name);
    return NULL;
}

/* Regexes that a text would take for something else: a comment, the default, two lines. */
static void any_rule_is_printed_so_that_it_is_read(void **state)
{
    static const char *const rules[] = {"#x=keep", "default=int8-g32", "a\nb=keep", "o_proj$=bf16"};
    gk_err err = {0};
    gk_recipe *r = gk_recipe_new(&err), *again = gk_recipe_new(&err);
    gk_text one = {0}, two = {0}, three = {0};

    (void)state;
    assert_ok(gk_recipe_default(r, "int8", &err), err);
    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++)
        assert_ok(gk_recipe_rule(r, rules[i], &err), err);
    gk_recipe *copy = gk_recipe_copy(r, &err);
    assert_non_null(copy);
    gk_recipe_print(r, &one);
    gk_recipe_print(copy, &two);
    assert_string_equal(two.data, one.data);
    assert_ok(gk_recipe_text(again, one.data, one.len, "recipe", &err), err);
    gk_recipe_print(again, &three);
    assert_string_equal(three.data, one.data);
    assert_string_equal(one.data, "\\#x = keep\n(?:default) = int8-g32\na\\nb = keep\n"
                                  "o_proj$ = bf16\ndefault = int8\n");
    gk_text_free(&one);
    gk_text_free(&two);
    gk_text_free(&three);
    gk_recipe_free(copy);
    gk_recipe_free(again);
    gk_recipe_free(r);
}

static void a_rule_stays(void **state)
{
    const gk_goal goal = {.bits = 4.7};
    made m = allocate("compressed-tensors", &goal, "layers\\.0\\.mlp=int8-g32", 2);

    (void)state;
    assert_ok(m.plan != NULL, m.err);
    assert_string_equal(scheme_of(&m, "model.layers.0.mlp.up_proj.weight"), "int8-g32");
    assert_string_equal(scheme_of(&m, "model.layers.0.mlp.down_proj.weight"), "int8-g32");
    drop(&m);
}

static void kinds_are_one_unit(void **state)
{
    const gk_goal goal = {.bits = 4.7, .grain = GK_GRAIN_KIND};
    made m = allocate("compressed-tensors", &goal, NULL, 2);

    (void)state;
    assert_ok(m.plan != NULL, m.err);
    assert_int_equal(m.a.n_units, 5);
    assert_string_equal(scheme_of(&m, "model.layers.0.self_attn.q_proj.weight"),
                        scheme_of(&m, "model.layers.1.self_attn.v_proj.weight"));
    drop(&m);
}

static void what_cannot_be_is_said(void **state)
{
    static const struct {
        const char *target;
        gk_goal goal;
        const char *says;
    } row[] = {
        {"gguf", {.bytes = 100000}, "too small"},
        {"compressed-tensors", {.bits = 2.5}, "too small"},
        {"awq", {.bits = 4.5}, "hold one"},
        {"gguf", {.bits = 4.5, .grain = GK_GRAIN_MATRIX}, "safetensors"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        made m = allocate(row[i].target, &row[i].goal, NULL, 2);
        assert_null(m.plan);
        assert_int_equal(m.err.code, GK_ERR_ARG);
        assert_non_null(strstr(m.err.msg, row[i].says));
        drop(&m);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kinds_have_no_numbers),
        cmocka_unit_test(probes_are_kept),
        cmocka_unit_test(a_shared_way_is_the_same),
        cmocka_unit_test(files_are_within_half_a_percent),
        cmocka_unit_test(bits_count_what_is_quantized),
        cmocka_unit_test(a_recipe_is_taken_back),
        cmocka_unit_test(any_rule_is_printed_so_that_it_is_read),
        cmocka_unit_test(a_rule_stays),
        cmocka_unit_test(kinds_are_one_unit),
        cmocka_unit_test(what_cannot_be_is_said),
    };

    return cmocka_run_group_tests(tests, open_all, close_all);
}
