/* tests/test_rewrite.c - values that are none, widths that no group divides, config.json. */
#include "tests/written.h"

#include "formats/pattern.h"

#define WORK "build/tmp/test_rewrite"
#define OUT  WORK "/out"

/* ---- values that are none ---------------------------------------------------------------- */

/* Overwrites element `at` of a tensor of a file with the bytes of `bits`. */
static void plant(const char *path, const char *tensor, uint64_t at, uint32_t bits, int width)
{
    size_t n;
    unsigned char *bytes = read_bytes(path, &n);
    uint64_t header, begin, end;
    memcpy(&header, bytes, 8);
    const char *text = strstr((char *)bytes + 8, path_of("\"%s\":", tensor));
    assert_non_null(text);
    assert_int_equal(sscanf(strstr(text, "\"data_offsets\":["),
                            "\"data_offsets\":[%" SCNu64 ",%" SCNu64, &begin, &end), 2);
    assert_true(begin + (at + 1) * (uint64_t)width <= end);
    memcpy(bytes + 8 + header + begin + at * (uint64_t)width, &bits, (size_t)width);
    write_bytes(path, bytes, n);
    free(bytes);
}

static void expect_refused(const char *model, const char *tensor, const char *what, uint64_t row,
                           uint64_t col)
{
    for (int i = 0; i < 3; i++) {
        gk_err err = {0};
        gk_plan_options o = i == 0 ? plain_options() : int_options();
        o.threads = i == 2 ? 7 : 1;
        remove_tree(OUT);
        if (try_write(model, i == 0 ? "default = keep" : "default = int4", &o, OUT, &err))
            fail_msg("%s in %s was written", what, tensor);
        assert_int_equal(err.code, GK_ERR_FORMAT);
        assert_string_equal(err.tensor, tensor);
        assert_string_equal(err.msg, path_of("%s at row %" PRIu64 ", column %" PRIu64, what, row,
                                             col));
        assert_int_equal(count_names(WORK, "out"), 0);
    }
}

static void nan_and_infinity_are_named_and_nothing_is_left(void **state)
{
    (void)state;
    static const struct {
        const char *tensor;
        uint64_t    cols, row, col;
    } at[] = {{"model.embed_tokens.weight", 64, 299, 63},
              {"model.layers.1.block_sparse_moe.experts.7.w2.weight", 64, 0, 0},
              {"model.layers.0.self_attn.k_proj.weight", 64, 31, 17},
              {"model.layers.1.pre_moe_norm.weight", 64, 0, 40},
              {"model.layers.0.block_sparse_moe.gate.weight", 64, 7, 1}};
    static const struct {
        uint32_t    bits;
        const char *what;
    } bad[] = {{0x7FC0, "NaN"}, {0xFF81, "NaN"}, {0x7F80, "infinity (Inf)"},
               {0xFF80, "infinity (Inf)"}};
    for (size_t i = 0; i < sizeof at / sizeof at[0]; i++)
        for (size_t k = 0; k < 4; k++) {
            link_all("build/models/small-hf", WORK "/model");
            plant(WORK "/model/model.safetensors", at[i].tensor, at[i].row * at[i].cols + at[i].col,
                  bad[k].bits, 2);
            expect_refused(WORK "/model", at[i].tensor, bad[k].what, at[i].row, at[i].col);
        }
}

static void of_a_slice_the_place_in_the_whole_is_named(void **state)
{
    (void)state;
    const char *w2 = "model.layers.1.block_sparse_moe.experts.3.w2.weight";
    const char *w3 = "model.layers.0.block_sparse_moe.experts.5.w3.weight";
    /* 4 ranks: w2 [64, 64] is cut by columns, w3 by rows */
    link_all("build/models/ranks4", WORK "/model");
    plant(WORK "/model/pytorch_model-00007-TP-002.safetensors", w2, 5 * 16 + 3, 0x7FC1, 2);
    expect_refused(WORK "/model", w2, "NaN", 5, 2 * 16 + 3);
    link_all("build/models/ranks4", WORK "/model");
    plant(WORK "/model/pytorch_model-00008-TP-003.safetensors", w3, 15 * 64 + 63, 0xFF80, 2);
    expect_refused(WORK "/model", w3, "infinity (Inf)", 63, 63);
}

static void an_f32_router_is_looked_at_too(void **state)
{
    (void)state;
    const char *gate = "model.layers.2.block_sparse_moe.gate.weight";
    const uint32_t bits[] = {0x7FC00000, 0x7F800000, 0xFF800000, 0x7F800001};
    for (size_t i = 0; i < 4; i++) {
        link_all("build/models/odd", WORK "/model");
        plant(WORK "/model/pytorch_model-00017-TP-common.safetensors", gate, 3 * 320 + 319, bits[i],
              4);
        expect_refused(WORK "/model", gate, i == 0 || i == 3 ? "NaN" : "infinity (Inf)", 3, 319);
    }
}

static void of_many_the_first_is_named(void **state)
{
    (void)state;
    link_all("build/models/small-hf", WORK "/model");
    for (int layer = 0; layer < 2; layer++)
        for (int e = 2; e < 8; e++)
            plant(WORK "/model/model.safetensors",
                  path_of("model.layers.%d.block_sparse_moe.experts.%d.w1.weight", layer, e),
                  40 * 64 + 9, 0x7FC0, 2);
    for (int i = 0; i < 10; i++)
        expect_refused(WORK "/model", "model.layers.0.block_sparse_moe.experts.2.w1.weight", "NaN",
                       40, 9);
}

static void in_a_row_that_tiles_cut_the_place_is_named(void **state)
{
    (void)state;
    const uint64_t col = (UINT64_C(1) << 20) + 100;
    fresh_dir(WORK "/model");
    write_matrix(WORK "/model/model.safetensors", 9, WIDE);
    plant(WORK "/model/model.safetensors", "wide.weight", 7 * WIDE + col, 0x7F80, 2);
    expect_refused(WORK "/model", "wide.weight", "infinity (Inf)", 7, col);
}

static void unchecked_values_are_kept_as_they_are(void **state)
{
    (void)state;
    gk_plan_options o = plain_options();
    o.check_values = false;
    link_all("build/models/small-hf", WORK "/model");
    plant(WORK "/model/model.safetensors", "model.embed_tokens.weight", 100, 0x7FC1, 2);
    write_model(WORK "/model", "default = keep", &o, OUT);
    assert_same_files(WORK "/model/model.safetensors", OUT "/model.safetensors");
}

/* ---- widths and engines ---------------------------------------------------------------- */

static const gk_plan_item *item_named(const gk_plan *p, const char *name)
{
    for (uint64_t i = 0; i < p->n_items; i++)
        if (strcmp(p->item[i].from->name, path_of("model.layers.0.%s.weight", name)) == 0)
            return &p->item[i];
    fail_msg("no item %s", name);
    return NULL;
}

static void expect_schemes(const char *model, const char *scheme, const char *const want[][2])
{
    gk_err err = {0};
    const gk_plan_options o = int_options();
    gk_catalog *c = open_whole(model);
    gk_plan *p = try_plan(c, path_of("default = %s", scheme), &o, &err);
    assert_ok(p != NULL, err);
    for (int i = 0; want[i][0] != NULL; i++) {
        const gk_plan_item *item = item_named(p, want[i][0]);
        if (strcmp(item->to.name, want[i][1]) != 0)
            fail_msg("%s, %s: %s is %s, expected %s", model, scheme, want[i][0], item->to.name,
                     want[i][1]);
        assert_int_equal(item->why,
                         strcmp(item->to.name, scheme) == 0 ? GK_WHY_DEFAULT : GK_WHY_WIDTH);
    }
    assert_true(p->notes.n > 0);
    gk_plan_free(p);
    gk_catalog_close(c);
}

static void a_module_takes_the_next_smaller_group_together(void **state)
{
    (void)state;
    static const char *const g128[][2]
        = {{"self_attn.q_proj", "int4-g32"}, {"self_attn.k_proj", "int4-g32"},
           {"self_attn.v_proj", "int4-g32"}, {"self_attn.o_proj", "int4-g64"},
           {"mlp.gate_proj", "int4-g32"},    {"mlp.up_proj", "int4-g32"},
           {"mlp.down_proj", "int4-g64"},    {"block_sparse_moe.experts.0.w1", "int4-g32"},
           {"block_sparse_moe.experts.0.w2", "int4-g32"},
           {"block_sparse_moe.experts.1.w3", "int4-g32"}, {NULL, NULL}};
    static const char *const g32[][2]
        = {{"self_attn.q_proj", "keep"}, {"self_attn.k_proj", "keep"},
           {"self_attn.o_proj", "int8-g32"}, {"mlp.gate_proj", "keep"}, {"mlp.up_proj", "keep"},
           {"mlp.down_proj", "int8-g32"}, {"block_sparse_moe.experts.0.w1", "keep"},
           {"block_sparse_moe.experts.1.w2", "keep"}, {NULL, NULL}};
    expect_schemes("build/models/width96", "int4-g128", g128);
    expect_schemes("build/models/width80", "int8-g32", g32);
}

/* As compressed-tensors matches: "re:X" from the beginning, else the very name. */
static bool list_matches(const gk_json *list, const char *name)
{
    gk_err err = {0};
    bool hit = false;
    for (uint64_t i = 0; !hit && i < gk_json_count(list); i++) {
        const char *text = gk_json_text(gk_json_at(list, i), NULL);
        assert_non_null(text);
        if (strncmp(text, "re:", 3) != 0) {
            hit = strcmp(text, name) == 0;
            continue;
        }
        gk_pattern *p = gk_pattern_new(path_of("^(?:%s)", text + 3), &err);
        assert_ok(p != NULL && gk_pattern_match(p, name, &hit, &err), err);
        gk_pattern_free(p);
    }
    return hit;
}

static void what_stays_stands_in_ignore_by_all_its_names(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        bool        ignored;
    } all[] = {{"model.layers.0.self_attn.q_proj", true}, {"model.layers.0.attn.qkv_proj", true},
               {"model.layers.0.self_attn.o_proj", false}, {"model.layers.0.attn.o_proj", false},
               {"model.layers.0.mlp.gate_proj", true}, {"model.layers.0.mlp.gate_up_proj", true},
               {"model.layers.0.mlp.down_proj", false}, {"lm_head", true},
               {"model.layers.0.block_sparse_moe.experts.1.w1", true},
               {"model.layers.0.moe_block.experts", true}, {"model.embed_tokens", true},
               {"model.layers.0.block_sparse_moe.experts.0.w2", true},
               {"model.layers.0.block_sparse_moe.gate", true},
               {"model.layers.0.moe_block.gate", true}};
    const gk_plan_options o = int_options();
    write_model("build/models/width80", "default = int4-g128", &o, OUT);
    gk_catalog *c = open_whole(OUT);
    const gk_json *q = gk_json_get(c->config, "quantization_config");
    const gk_json *ignore = gk_json_get(q, "ignore");
    assert_true(gk_json_is_array(ignore));
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        if (list_matches(ignore, all[i].name) != all[i].ignored)
            fail_msg("%s is %signored", all[i].name, all[i].ignored ? "not " : "");
    assert_null(gk_catalog_find(c, "model.layers.0.self_attn.q_proj.weight")->scheme);
    assert_non_null(gk_catalog_find(c, "model.layers.0.self_attn.o_proj.weight")->scheme);
    gk_catalog_close(c);
}

static void expect_no_plan(const char *model, const char *rules, const gk_plan_options *o,
                           gk_err_code code, const char *says)
{
    gk_err err = {0};
    gk_catalog *c = open_whole(model);
    if (try_plan(c, rules, o, &err) != NULL)
        fail_msg("%s: '%s' was planned", model, rules);
    assert_int_equal(err.code, code);
    assert_string_not_equal(err.tensor, "");
    if (strstr(err.msg, says) == NULL)
        fail_msg("'%s' does not say '%s'", err.msg, says);
    gk_catalog_close(c);
}

static void strict_refuses_another_group(void **state)
{
    (void)state;
    gk_err err = {0};
    gk_plan_options o = int_options();
    o.strict = true;
    expect_no_plan("build/models/width96", "default = int4-g128", &o, GK_ERR_UNSUPPORTED, "strict");
    expect_no_plan("build/models/width80", "default = int4-g32", &o, GK_ERR_UNSUPPORTED, "strict");
    gk_catalog *c = open_whole("build/models/width96");
    gk_plan *p = try_plan(c, "default = int4-g32", &o, &err);
    assert_ok(p != NULL, err);
    gk_plan_free(p);
    gk_catalog_close(c);
}

static void what_no_engine_loads_is_refused_unless_told(void **state)
{
    (void)state;
    static const char *const rules[]
        = {"default = int4-g32-asym", "experts = int8-channel-asym\ndefault = keep",
           "experts\\.3\\. = int8-g32\ndefault = int4-g32", "w2 = keep\ndefault = int4-g32",
           "q_proj = int8-g32\ndefault = int4-g32", "up_proj = keep\ndefault = int4-g32",
           "lm_head = int8-g32\ndefault = keep", "embed_tokens = int8-g32\ndefault = keep",
           "block_sparse_moe\\.gate = int8-g32\ndefault = keep"};
    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++) {
        gk_plan_options o = int_options();
        o.max_shard_bytes = 100000;
        expect_no_plan("build/models/ranks4", rules[i], &o, GK_ERR_ARG, "no-engine-check");
        o.no_engine_check = true;
        write_model("build/models/ranks4", rules[i], &o, OUT);
        check_dir(OUT, 100000);
    }
}

static void codes_need_a_target_that_holds_them(void **state)
{
    (void)state;
    const gk_plan_options o = plain_options();
    expect_no_plan(TINY, "default = int4-g32", &o, GK_ERR_ARG, "compressed-tensors");
}

/* ---- config.json ---------------------------------------------------------------- */

static char *written_config(const char *config, const char *rules, const gk_plan_options *o)
{
    size_t n;
    if (config != NULL) {
        link_all("build/models/small-hf", WORK "/model");
        write_text(WORK "/model/config.json", config);
    }
    write_model(config != NULL ? WORK "/model" : TINY, rules, o, OUT);
    return (char *)read_bytes(OUT "/config.json", &n);
}

/* text is `before`, then members, then `after`, byte for byte. */
static void expect_spliced(const char *text, const char *before, const char *after)
{
    gk_err err = {0};
    const size_t n = strlen(text), head = strlen(before), tail = strlen(after);
    bool value = true;
    assert_true(n > head + tail);
    assert_memory_equal(text, before, head);
    assert_string_equal(text + n - tail, after);
    gk_json *root = gk_json_parse(text, n, "config.json", &err);
    assert_ok(root != NULL, err);
    static const char *const off[] = {"load_presharded_moe", "load_presharded_attn",
                                      "load_presharded_mlp", "load_presharded_embedding"};
    for (int i = 0; i < 4; i++) {
        assert_true(gk_json_as_bool(gk_json_get(root, off[i]), &value));
        assert_false(value);
    }
    gk_json_free(root);
}

static void a_config_keeps_its_bytes(void **state)
{
    (void)state;
    const gk_plan_options plain = plain_options(), ints = int_options();
    size_t n;
    char *before = (char *)read_bytes(TINY "/config.json", &n);
    while (n > 0 && strchr("}\n ", before[n - 1]) != NULL)
        before[--n] = '\0';
    for (int i = 0; i < 2; i++) {
        char *text = written_config(NULL, i == 0 ? "default = keep" : "default = int4",
                                    i == 0 ? &plain : &ints);
        assert_int_equal(strstr(text, "\"quantization_config\"") != NULL, i == 1);
        expect_spliced(text, before, "\n}\n");
        assert_int_equal(text[strlen(before)], ',');
        free(text);
    }
    free(before);
}

#define SIZES                                                                                      \
    "\"hidden_size\":64,\"intermediate_size\":96, \"moe_intermediate_size\" :64,\t"               \
    "\"num_experts_per_tok\":2,\"num_local_experts\":8,\"num_attention_heads\":4,\r\n"             \
    "\"num_key_value_heads\":2,\"num_hidden_layers\":2,\"head_dim\":16,\"vocab_size\":300,"        \
    "\"residual_moe\":true,\"rms_norm_eps\":1e-05,\"rope_theta\":208533496.0"

static void a_config_s_own_claims_are_replaced(void **state)
{
    (void)state;
    const gk_plan_options ints = int_options();
    static const char head[] = "{\"architectures\":[\"Grok1ForCausalLM\"],\n  \"note\": "
                               "\"\\u00e9 } \\\" , {\", " SIZES;
    /* in the middle, last, first: members of ours go, nothing else does */
    char *text = written_config(path_of("%s,\"load_presharded_moe\": true, \"torch_dtype\":\"bf\"}",
                                        head), "default = int4", &ints);
    expect_spliced(text, head, "}");
    assert_non_null(strstr(text, "\"torch_dtype\":\"bf\""));
    assert_null(strstr(text, "true, \"torch"));
    free(text);
    text = written_config(path_of("%s, \"quantization_config\": {\"ignore\": [\"x}\", {}]} }\n",
                                  head), "default = keep", &ints);
    expect_spliced(text, head, "}\n");
    assert_null(strstr(text, "x}"));
    free(text);
    text = written_config(path_of("{ \"load_presharded_mlp\":1,%s}", head + 1), "default = keep",
                          &ints);
    expect_spliced(text, head, "}");
    free(text);
}

/* Only what is dropped takes its white space with it. */
static void blanks_before_commas_stay(void **state)
{
    (void)state;
    const gk_plan_options ints = int_options();
    static const char head[] = "{ \"a\" :1 , \"b\": [ 2 ]\n,\"c\":3";
    char *text = written_config(path_of("%s }\n", head), "default = keep", &ints);
    expect_spliced(text, head, "}\n");
    free(text);
    text = written_config(path_of("%s , \"load_presharded_moe\" : true , \"d\" : {} }", head),
                          "default = keep", &ints);
    assert_null(strstr(text, "true"));
    assert_memory_equal(text, head, strlen(head));
    assert_non_null(strstr(text, "\"d\" : {}"));
    free(text);
}

static void an_empty_config_becomes_a_valid_one(void **state)
{
    (void)state;
    static const char *const configs[] = {"{}", "{ }", "{\n}\n", " {\t}\n",
                                          "{\"load_presharded_moe\": true}"};
    const gk_plan_options ints = int_options();
    for (size_t i = 0; i < sizeof configs / sizeof configs[0]; i++) {
        char *text = written_config(configs[i], "default = keep", &ints);
        expect_spliced(text, "", "");
        free(text);
    }
}

static void other_files_come_along_and_stale_ones_do_not(void **state)
{
    (void)state;
    const gk_plan_options o = plain_options();
    link_all("build/models/odd-hf", WORK "/model");
    write_text(WORK "/model/LICENSE", "free");
    write_text(WORK "/model/empty.txt", "");
    write_text(WORK "/model/SHA256SUMS", "old");
    write_text(WORK "/model/pytorch_model.bin", "old");
    write_text(WORK "/model/grokkit.json", "{}");
    write_text(WORK "/model/.hidden", "old");
    write_model(WORK "/model", "default = keep", &o, OUT);
    size_t count;
    char **name = names_in(OUT, &count);
    static const char *const want[] = {"LICENSE", "config.json", "empty.txt", "grokkit.json",
                                       "model.safetensors", "tokenizer.tok.json"};
    assert_int_equal(count, 6);
    for (size_t i = 0; i < 6; i++)
        assert_string_equal(name[i], want[i]);
    free_names(name, count);
    assert_same_files(WORK "/model/tokenizer.tok.json", OUT "/tokenizer.tok.json");
}

/* Every file of OUT stands in the plan with its size, no other does, and output_bytes is their
 * sum; a run lists the same, with the digests asked for. */
static void check_files(const gk_plan *p, const gk_run_result *r, const char *dir)
{
    uint64_t bytes, sum = 0;
    size_t count;
    char **name = names_in(dir, &count);

    assert_int_equal(gk_plan_n_files(p), count);
    assert_int_equal(r->n_files, count);
    for (uint64_t i = 0; i < count; i++) {
        gk_err err = {0};
        char hex[GK_SHA256_HEX] = "";
        size_t n, at = 0;
        const char *file = gk_plan_file(p, i, &bytes);
        while (at < count && strcmp(name[at], file) != 0)
            at++;
        if (at == count)
            fail_msg("%s is in the plan, not in %s", file, dir);
        unsigned char *data = read_bytes(path_of("%s/%s", dir, file), &n);
        assert_int_equal(bytes, n);
        if (p->options.hash != GK_HASH_NONE)
            assert_ok(gk_hash_bytes(data, n, hex, &err), err);
        free(data);
        assert_string_equal(r->file[i].name, file);
        assert_int_equal(r->file[i].bytes, n);
        assert_string_equal(r->file[i].sha256, hex);
        sum += bytes;
    }
    assert_int_equal(p->output_bytes, sum);
    free_names(name, count);
}

static void the_plan_lists_every_file_of_the_output(void **state)
{
    (void)state;
    static const gk_hash_mode modes[] = {GK_HASH_NONE, GK_HASH_OUTPUT, GK_HASH_ALL};
    static const char *const rules[] = {"default = keep", "default = int8", "default = F16"};
    for (int i = 0; i < 9; i++) {
        const gk_run_options run = {0};
        gk_plan_options o = i < 3 ? plain_options() : i < 6 ? int_options() : gguf_options();
        const char *dir = i < 6 ? OUT : WORK "/files";
        gk_run_result result;
        gk_err err = {0};
        o.hash = modes[i % 3];
        o.max_shard_bytes = i < 3 ? 100000 : 0;
        link_all("build/models/odd-hf", WORK "/model");
        write_text(WORK "/model/LICENSE", "free");
        write_text(WORK "/model/grokkit.json", "{}");
        remove_tree(OUT);
        fresh_dir(WORK "/files");
        gk_catalog *c = open_whole(WORK "/model");
        gk_plan *p = try_plan(c, rules[i / 3], &o, &err);
        assert_ok(p != NULL, err);
        assert_ok(gk_run(p, i < 6 ? OUT : WORK "/files/out.gguf", &run, &result, &err), err);
        check_files(p, &result, dir);
        gk_run_result_free(&result);
        gk_plan_free(p);
        gk_catalog_close(c);
    }
}

WORK_FOLDER(WORK)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nan_and_infinity_are_named_and_nothing_is_left),
        cmocka_unit_test(of_a_slice_the_place_in_the_whole_is_named),
        cmocka_unit_test(an_f32_router_is_looked_at_too),
        cmocka_unit_test(of_many_the_first_is_named),
        cmocka_unit_test(in_a_row_that_tiles_cut_the_place_is_named),
        cmocka_unit_test(unchecked_values_are_kept_as_they_are),
        cmocka_unit_test(a_module_takes_the_next_smaller_group_together),
        cmocka_unit_test(what_stays_stands_in_ignore_by_all_its_names),
        cmocka_unit_test(strict_refuses_another_group),
        cmocka_unit_test(what_no_engine_loads_is_refused_unless_told),
        cmocka_unit_test(codes_need_a_target_that_holds_them),
        cmocka_unit_test(a_config_keeps_its_bytes),
        cmocka_unit_test(a_config_s_own_claims_are_replaced),
        cmocka_unit_test(blanks_before_commas_stay),
        cmocka_unit_test(an_empty_config_becomes_a_valid_one),
        cmocka_unit_test(other_files_come_along_and_stale_ones_do_not),
        cmocka_unit_test(the_plan_lists_every_file_of_the_output),
    };
    return cmocka_run_group_tests(tests, open_work, close_work);
}
