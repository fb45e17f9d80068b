/* tests/test_writer.c - what convert and quantize write, whatever threads and memory. */
#include "tests/written.h"

#define WORK "build/tmp/test_writer"
#define OUT  WORK "/out"

/* ---- conventions ---------------------------------------------------------------- */

static void one_file_follows_the_reference_writer(void **state)
{
    (void)state;
    const gk_plan_options o = plain_options();
    static const char *const models[] = {TINY, "build/models/odd", "build/models/ranks16"};
    for (size_t i = 0; i < 3; i++) {
        write_model(models[i], "default = keep", &o, OUT);
        assert_int_equal(check_dir(OUT, MANY), 1);
    }
}

/* make_model's own writer is a second opinion on the very bytes. */
static void a_converted_release_is_the_twin_s_file(void **state)
{
    (void)state;
    const gk_plan_options o = plain_options();
    write_model("build/models/ranks4", "default = keep", &o, OUT);
    assert_same_files(OUT "/model.safetensors", "build/models/small-hf/model.safetensors");
}

static void shards_stay_below_the_limit_and_modules_whole(void **state)
{
    (void)state;
    static const uint64_t limits[] = {1, 131072, 1000000};
    static const char *const rules[] = {"default = int4", "default = int8-g32",
                                        "default = keep",
                                        ("self_attn = int8-g64-asym\nmlp\\. = int4-channel\n"
                                         "default = int4-g32")};
    for (size_t i = 0; i < sizeof limits / sizeof limits[0]; i++)
        for (size_t k = 0; k < 4; k++) {
            gk_plan_options o = int_options();
            o.max_shard_bytes = limits[i];
            write_model("build/models/odd", rules[k], &o, OUT);
            const size_t files = check_dir(OUT, limits[i]);
            assert_true(files > 1);
            gk_catalog_close(open_whole(OUT));
        }
}

static void a_cast_changes_dtypes_and_config(void **state)
{
    (void)state;
    static const char *const casts[] = {"f32", "f16", "bf16"};
    static const char *const torch[] = {"float32", "float16", "bfloat16"};
    for (size_t i = 0; i < 3; i++) {
        gk_err err = {0};
        gk_plan_options o = plain_options();
        uint64_t len = 0;
        write_model("build/models/odd", path_of("default = keep\n. = %s", casts[i]), &o, OUT);
        check_dir(OUT, MANY);
        gk_scheme cast;
        assert_ok(gk_scheme_parse(casts[i], &cast, &err), err);
        o.plain = &cast;
        write_model("build/models/odd", "default = keep", &o, OUT);
        check_dir(OUT, MANY);
        gk_catalog *c = open_whole(OUT);
        for (uint64_t k = 0; k < c->n_tensors; k++)
            assert_int_equal(c->tensor[k].dtype, cast.cast);
        assert_string_equal(gk_json_text(gk_json_get(c->config, "torch_dtype"), &len), torch[i]);
        gk_catalog_close(c);
    }
}

/* ---- one input, one output ---------------------------------------------------------------- */

/* The least memory, to a page, that a plan of so many threads accepts. */
static uint64_t least_memory(const gk_catalog *c, const char *rules, gk_plan_options o)
{
    uint64_t low = 0, high = MANY; /* low refuses, high accepts */
    while (high - low > 4096) {
        gk_err err = {0};
        o.memory_bytes = (low + high) / 2;
        gk_plan *p = try_plan(c, rules, &o, &err);
        if (p != NULL) {
            assert_true(p->memory_bytes <= o.memory_bytes);
            high = o.memory_bytes;
        } else {
            assert_int_equal(err.code, GK_ERR_NOMEM);
            low = o.memory_bytes;
        }
        gk_plan_free(p);
    }
    return high;
}

static void threads_and_memory_do_not_show(void **state)
{
    (void)state;
    static const int threads[] = {1, 2, 7};
    static const struct {
        const char *model, *rules;
        bool        is_int;
        gk_method   method;
    } all[] = {{TINY, "default = keep", false, GK_METHOD_RTN},
               {"build/models/odd", "default = keep\n. = f32", false, GK_METHOD_RTN},
               {"build/models/odd", "default = int4", true, GK_METHOD_RTN},
               {"build/models/ranks4", "default = int4", true, GK_METHOD_SEARCH},
               {"build/models/odd", "self_attn = int8-g64-asym\nmlp\\. = int4-channel-asym\n"
                                    "default = int8-channel", true, GK_METHOD_RTN}};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        for (size_t t = 0; t < 3; t++) {
            gk_plan_options o = all[i].is_int ? int_options() : plain_options();
            o.method = all[i].method;
            o.max_shard_bytes = 2500000;
            o.threads = threads[t];
            write_model(all[i].model, all[i].rules, &o, t == 0 ? WORK "/first" : OUT);
            if (t > 0)
                assert_same_dirs(WORK "/first", OUT);
            gk_catalog *c = open_whole(all[i].model);
            o.memory_bytes = least_memory(c, all[i].rules, o);
            gk_catalog_close(c);
            write_model(all[i].model, all[i].rules, &o, OUT);
            assert_same_dirs(WORK "/first", OUT);
        }
}

/* Rows so long that tiles cut them. */
static void tiles_that_cut_rows_do_not_show(void **state)
{
    (void)state;
    static const char *const schemes[] = {"keep", "f32", "int4-g64", "int8-g32-asym",
                                          "int4-channel", "int4-channel-asym"};
    fresh_dir(WORK "/model");
    write_matrix(WORK "/model/model.safetensors", 9, WIDE);
    gk_catalog *c = open_whole(WORK "/model");
    for (size_t i = 0; i < sizeof schemes / sizeof schemes[0]; i++) {
        gk_plan_options o = i < 2 ? plain_options() : int_options();
        const char *rules = path_of("wide = %s\ndefault = keep", schemes[i]);
        o.threads = 1;
        write_model(WORK "/model", rules, &o, WORK "/first");
        check_dir(WORK "/first", MANY);
        o.threads = 3;
        o.memory_bytes = least_memory(c, rules, o);
        write_model(WORK "/model", rules, &o, OUT);
        assert_same_dirs(WORK "/first", OUT);
    }
    gk_catalog_close(c);
}

static void ranks_do_not_show_in_the_weights(void **state)
{
    (void)state;
    const gk_plan_options o = int_options();
    size_t n, m;
    write_model("build/models/small-hf", "default = int4", &o, WORK "/first");
    unsigned char *x = read_bytes(WORK "/first/model.safetensors", &n);
    for (int ranks = 1; ranks <= 16; ranks *= 2) {
        write_model(path_of("build/models/ranks%d", ranks), "default = int4", &o, OUT);
        unsigned char *y = read_bytes(OUT "/model.safetensors", &m);
        assert_int_equal(n, m);
        assert_memory_equal(x, y, n);
        free(y);
    }
    free(x);
}

/* ---- proofs ---------------------------------------------------------------- */

static void every_scheme_s_plan_tiles_its_files(void **state)
{
    (void)state;
    static const char *const groups[] = {"g32", "g64", "g128", "channel"};
    static const char *const models[] = {TINY, "build/models/odd", "build/models/ranks4",
                                         "build/models/width96", "build/models/width80"};
    for (size_t m = 0; m < 5; m++) {
        gk_catalog *c = open_whole(models[m]);
        for (int i = 0; i < 16; i++) {
            gk_err err = {0};
            gk_plan_options o = int_options();
            o.no_engine_check = true;
            o.max_shard_bytes = i % 3 == 0 ? 0 : 300000;
            o.threads = 1 + i % 7;
            const char *rules = path_of("default = int%d-%s%s", i & 1 ? 8 : 4, groups[i / 2 % 4],
                                        i & 8 ? "-asym" : "");
            for (int tight = 0; tight < 2; tight++) {
                if (tight)
                    o.memory_bytes = least_memory(c, rules, o);
                gk_plan *p = try_plan(c, rules, &o, &err);
                assert_ok(p != NULL, err);
                assert_ok(gk_plan_prove(p, &err), err);
                /* and a mistake would be seen */
                p->entry[p->n_entries / 2].off += 2;
                assert_false(gk_plan_prove(p, &err));
                gk_plan_free(p);
                err = (gk_err){0};
            }
        }
        gk_catalog_close(c);
    }
}

static void every_scheme_reads_back(void **state)
{
    (void)state;
    static const char *const groups[] = {"g32", "g64", "g128", "channel"};
    for (int i = 0; i < 16; i++) {
        gk_plan_options o = int_options();
        o.no_engine_check = true;
        const char *scheme = path_of("int%d-%s%s", i & 1 ? 8 : 4, groups[i / 2 % 4],
                                     i & 8 ? "-asym" : "");
        write_model("build/models/odd", path_of("default = %s", scheme), &o, OUT);
        check_dir(OUT, MANY);
        gk_catalog *c = open_whole(OUT);
        const gk_tensor *t
            = gk_catalog_find(c, "model.layers.1.block_sparse_moe.experts.2.w1.weight");
        assert_non_null(t);
        assert_string_equal(gk_tensor_kind(t), strstr(scheme, "g128") == NULL ? scheme
                            : path_of("int%d-g64%s", i & 1 ? 8 : 4, i & 8 ? "-asym" : ""));
        gk_catalog_close(c);
    }
}

WORK_FOLDER(WORK)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_file_follows_the_reference_writer),
        cmocka_unit_test(a_converted_release_is_the_twin_s_file),
        cmocka_unit_test(shards_stay_below_the_limit_and_modules_whole),
        cmocka_unit_test(a_cast_changes_dtypes_and_config),
        cmocka_unit_test(threads_and_memory_do_not_show),
        cmocka_unit_test(tiles_that_cut_rows_do_not_show),
        cmocka_unit_test(ranks_do_not_show_in_the_weights),
        cmocka_unit_test(every_scheme_s_plan_tiles_its_files),
        cmocka_unit_test(every_scheme_reads_back),
    };
    return cmocka_run_group_tests(tests, open_work, close_work);
}
