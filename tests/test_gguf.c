/* tests/test_gguf.c - GGUF: files of the gguf package (testdata/gguf), and some by hand. */
#include "tests/disk.h"

#include "formats/catalog.h"
#include "formats/gguf.h"

#define DATA "testdata/gguf/"
#define WORK "build/tmp/test_gguf"

static gk_catalog *open_model(const char *path)
{
    gk_err err = {0};
    gk_catalog *c = gk_catalog_open(path, &err);
    assert_ok(c != NULL, err);
    return c;
}

/* Element i of the tensor is 1000 * number + first + i: what make_gguf.py wrote. */
static void expect_values(const gk_catalog *c, const char *name, int number, int first,
                          uint64_t n_rows, uint64_t n_cols)
{
    gk_err err = {0};
    float v[256];
    const gk_tensor *t = gk_catalog_find(c, name);
    if (t == NULL)
        fail_msg("no tensor %s", name);
    assert_int_equal(t->dtype, GK_F32);
    assert_int_equal(gk_rows(t), n_rows);
    assert_int_equal(gk_cols(t), n_cols);
    assert_ok(gk_read_part(c, t, 0, 0, n_rows, 0, n_cols, v, &err), err);
    for (uint64_t i = 0; i < n_rows * n_cols; i++)
        if (v[i] != (float)(1000 * number + first + (int)i))
            fail_msg("%s[%d] is %g", name, (int)i, (double)v[i]);
}

static void expect_grok(const gk_catalog *c)
{
    assert_int_equal(c->n_stored, 18);
    assert_int_equal(c->n_tensors, 18 - 3 + 3 * 2);
    expect_values(c, "model.embed_tokens.weight", 1, 0, 10, 8);
    expect_values(c, "model.norm.weight", 2, 0, 1, 8);
    expect_values(c, "model.layers.0.pre_attn_norm.weight", 4, 0, 1, 8);
    expect_values(c, "model.layers.0.self_attn.q_proj.weight", 5, 0, 8, 8);
    expect_values(c, "model.layers.0.self_attn.k_proj.weight", 6, 0, 4, 8);
    expect_values(c, "model.layers.0.self_attn.v_proj.weight", 7, 0, 4, 8);
    expect_values(c, "model.layers.0.self_attn.o_proj.weight", 8, 0, 8, 8);
    expect_values(c, "model.layers.0.post_attn_norm.weight", 9, 0, 1, 8);
    expect_values(c, "model.layers.0.pre_moe_norm.weight", 10, 0, 1, 8);
    expect_values(c, "model.layers.0.mlp.gate_proj.weight", 11, 0, 12, 8);
    expect_values(c, "model.layers.0.mlp.up_proj.weight", 12, 0, 12, 8);
    expect_values(c, "model.layers.0.mlp.down_proj.weight", 13, 0, 8, 12);
    expect_values(c, "model.layers.0.block_sparse_moe.gate.weight", 14, 0, 2, 8);
    expect_values(c, "model.layers.0.block_sparse_moe.experts.0.w1.weight", 15, 0, 6, 8);
    expect_values(c, "model.layers.0.block_sparse_moe.experts.1.w1.weight", 15, 48, 6, 8);
    expect_values(c, "model.layers.0.block_sparse_moe.experts.1.w3.weight", 16, 48, 6, 8);
    expect_values(c, "model.layers.0.block_sparse_moe.experts.1.w2.weight", 17, 48, 8, 6);
    expect_values(c, "model.layers.0.post_moe_norm.weight", 18, 0, 1, 8);
    assert_int_equal(gk_catalog_find(c, "lm_head.weight")->dtype, GK_F16);
}

static void a_grok_has_its_hugging_face_names_and_values(void **state)
{
    (void)state;
    gk_catalog *c = open_model(DATA "grok.gguf");
    expect_grok(c);
    assert_int_equal(c->gguf->version, 3);
    assert_int_equal(c->gguf->alignment, 64);
    assert_string_equal(c->gguf->arch, "grok");
    gk_catalog_close(c);
}

static void a_split_set_opens_by_its_first_file_only(void **state)
{
    (void)state;
    gk_err err = {0};
    gk_catalog *c = open_model(DATA "grok-00001-of-00002.gguf");
    expect_grok(c);
    assert_int_equal(c->n_inputs, 2);
    gk_catalog_close(c);
    assert_null(gk_catalog_open(DATA "grok-00002-of-00002.gguf", &err));
    assert_non_null(strstr(err.msg, "grok-00001-of-00002.gguf"));
    fresh_dir(WORK);
    link_one(DATA "grok-00001-of-00002.gguf", WORK "/grok-00001-of-00002.gguf");
    c = open_model(WORK); /* a directory */
    bool said = false;
    for (uint64_t i = 0; i < c->findings.n; i++)
        said |= c->findings.row[i].severity == GK_BAD
                && strcmp(c->findings.row[i].file, "grok-00002-of-00002.gguf") == 0
                && strstr(c->findings.row[i].text, "missing: part 2 of 2") != NULL;
    assert_true(said);
    assert_int_equal(c->n_tensors, 5);
    gk_catalog_close(c);
}

static void the_config_says_what_the_keys_say(void **state)
{
    (void)state;
    gk_catalog *c = open_model(DATA "grok.gguf");
    static const struct {
        const char *key;
        double value;
    } want[] = {{"hidden_size", 8},
                {"intermediate_size", 12},
                {"moe_intermediate_size", 6},
                {"num_local_experts", 2},
                {"num_experts_per_tok", 1},
                {"num_attention_heads", 2},
                {"num_key_value_heads", 1},
                {"head_dim", 4},
                {"vocab_size", 10},
                {"rms_norm_eps", 1e-05},
                {"embedding_multiplier_scale", 90.50967},
                {"output_multiplier_scale", 0.5},
                {"rope_theta", 208533504},
                {"final_logit_softcapping", 0}};
    for (size_t i = 0; i < sizeof want / sizeof want[0]; i++) {
        double v = -1;
        if (!gk_json_as_real(gk_json_get(c->config, want[i].key), &v) || v != want[i].value)
            fail_msg("%s is %g", want[i].key, v);
    }
    assert_string_equal(gk_json_text(gk_json_get(c->config, "rope_type"), NULL), "original");
    bool residual = false, said = false;
    assert_true(gk_json_as_bool(gk_json_get(c->config, "residual_moe"), &residual) && residual);
    for (uint64_t i = 0; i < c->findings.n; i++)
        said |= c->findings.row[i].severity == GK_WARN
                && strstr(c->findings.row[i].text, "grok.final_logit_softcapping: missing") != NULL;
    assert_true(said);
    gk_catalog_close(c);
}

static void every_type_of_key_is_read(void **state)
{
    (void)state;
    gk_err err = {0};
    gk_catalog *c = open_model(DATA "grok.gguf");
    const gk_gguf *g = c->gguf;
    uint64_t u = 0, len = 0;
    double f = 0;
    bool b = false;
    assert_true(gk_gguf_uint(g, "t.u8", &u) && u == 200);
    assert_true(gk_gguf_uint(g, "t.u16", &u) && u == 60000);
    assert_true(gk_gguf_uint(g, "t.u32", &u) && u == 4000000000u);
    assert_true(gk_gguf_uint(g, "t.u64", &u) && u == UINT64_C(1) << 63);
    assert_false(gk_gguf_uint(g, "t.i8", &u) || gk_gguf_uint(g, "t.f32", &u));
    assert_true(gk_gguf_real(g, "t.i8", &f) && f == -3);
    assert_true(gk_gguf_real(g, "t.i16", &f) && f == -300);
    assert_true(gk_gguf_real(g, "t.i32", &f) && f == -70000);
    assert_true(gk_gguf_real(g, "t.i64", &f) && f == -1099511627776.0);
    assert_true(gk_gguf_real(g, "t.f32", &f) && f == 0.25);
    assert_true(gk_gguf_real(g, "t.f64", &f) && f == 1e-300);
    assert_true(gk_gguf_bool(g, "t.bool", &b) && b);
    assert_string_equal(gk_gguf_string(g, "t.string", c->arena, &len, &err), "gr\xc3\xbc\xc3\x9f"
                                                                             "e");
    assert_int_equal(len, 7);

    static unsigned char window[GK_GGUF_WINDOW_BYTES];
    gk_gguf_cursor k;
    gk_text text = {0};
    gk_gguf_walk(&k, g, gk_gguf_find(g, "t.strings"), window, &err);
    assert_true(gk_gguf_next_string(&k, &text) && text.len == 0);
    assert_true(gk_gguf_next_string(&k, &text) && strcmp(text.data, "a") == 0);
    assert_true(gk_gguf_next_string(&k, &text) && text.len == 10000 && text.data[9999] == 'c');
    assert_false(gk_gguf_next_string(&k, &text) || k.failed);
    gk_text_free(&text);
    int64_t n = 0;
    gk_gguf_walk(&k, g, gk_gguf_find(g, "t.ints"), window, &err);
    assert_true(gk_gguf_next_int(&k, &n) && n == 1 && gk_gguf_next_int(&k, &n) && n == -2);
    gk_gguf_walk(&k, g, gk_gguf_find(g, "t.reals"), window, &err);
    assert_false(gk_gguf_next_int(&k, &n));
    assert_true(gk_gguf_next_real(&k, &f) && f == 0.5 && gk_gguf_next_real(&k, &f) && f == -1.5);
    gk_catalog_close(c);
}

static void the_rows_of_llama_come_back_in_order(void **state)
{
    (void)state;
    gk_catalog *c = open_model(DATA "llama.gguf");
    expect_values(c, "model.layers.0.self_attn.q_proj.weight", 3, 0, 8, 8);
    expect_values(c, "model.layers.0.self_attn.q_proj.bias", 4, 0, 1, 8);
    expect_values(c, "model.layers.0.self_attn.k_proj.weight", 5, 0, 4, 8);
    const gk_tensor *t = gk_catalog_find(c, "model.layers.0.mlp.gate_proj.weight");
    assert_int_equal(t->dtype, GK_Q8_0);
    assert_int_equal(gk_tensor_bytes(t), 2 * 2 * 34);
    gk_catalog_close(c);
}

/* Version 2 differs in its number only; every cut and every bit of a file is survived. */
static void version_two_cuts_and_flips(void **state)
{
    (void)state;
    size_t n;
    unsigned char *bytes = read_bytes(DATA "llama.gguf", &n);
    fresh_dir(WORK);
    bytes[4] = 2;
    write_bytes(WORK "/m.gguf", bytes, n);
    gk_catalog *c = open_model(WORK "/m.gguf");
    assert_int_equal(c->gguf->version, 2);
    assert_int_equal(c->n_tensors, 6);
    const uint64_t header = c->input[0].header_bytes;
    gk_catalog_close(c);
    for (size_t cut = 0; cut < header; cut += 7) {
        write_bytes(WORK "/m.gguf", bytes, cut);
        c = open_model(WORK "/m.gguf");
        assert_false(c->input[0].usable);
        assert_true(c->findings.n > 0);
        gk_catalog_close(c);
    }
    for (size_t i = 0; i < header * 8; i += 5) {
        gk_err err = {0};
        bytes[i / 8] ^= (unsigned char)(1u << i % 8);
        write_bytes(WORK "/m.gguf", bytes, n);
        c = gk_catalog_open(WORK "/m.gguf", &err);
        assert_true(c != NULL || err.code != GK_OK);
        gk_catalog_close(c);
        bytes[i / 8] ^= (unsigned char)(1u << i % 8);
    }
    free(bytes);
}

/* Opens a GGUF of these key bytes and no tensor; the key of its first finding must be this. */
static void expect_key(const unsigned char *keys, size_t n, unsigned count, const char *key)
{
    unsigned char file[256] = {'G', 'G', 'U', 'F', 3, [16] = (unsigned char)count};

    memcpy(file + 24, keys, n);
    fresh_dir(WORK);
    write_bytes(WORK "/m.gguf", file, (24 + n + 31) / 32 * 32);
    gk_catalog *c = open_model(WORK "/m.gguf");
    assert_int_equal(c->findings.n, key != NULL);
    if (key != NULL)
        assert_string_equal(c->findings.row[0].tensor, key);
    gk_catalog_close(c);
}

/* What llama.cpp wants of any model. */
static void keys_of_every_architecture_are_asked_for(void **state)
{
    /* general.architecture = "odd", as a string and as u32 7; tokenizer.ggml.model = "gpt2" */
    static const unsigned char odd[] = "\24\0\0\0\0\0\0\0general.architecture\10\0\0\0"
                                       "\3\0\0\0\0\0\0\0odd";
    static const unsigned char number[] = "\24\0\0\0\0\0\0\0general.architecture\4\0\0\0"
                                          "\7\0\0\0";
    static const unsigned char model[] = "\24\0\0\0\0\0\0\0general.architecture\10\0\0\0"
                                         "\3\0\0\0\0\0\0\0odd"
                                         "\24\0\0\0\0\0\0\0tokenizer.ggml.model\10\0\0\0"
                                         "\4\0\0\0\0\0\0\0gpt2";
    (void)state;
    expect_key(odd, sizeof odd - 1, 1, NULL);
    expect_key(odd, 0, 0, "general.architecture");
    expect_key(number, sizeof number - 1, 1, "general.architecture");
    expect_key(model, sizeof model - 1, 2, "tokenizer.ggml.merges");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_grok_has_its_hugging_face_names_and_values),
        cmocka_unit_test(a_split_set_opens_by_its_first_file_only),
        cmocka_unit_test(the_config_says_what_the_keys_say),
        cmocka_unit_test(every_type_of_key_is_read),
        cmocka_unit_test(the_rows_of_llama_come_back_in_order),
        cmocka_unit_test(version_two_cuts_and_flips),
        cmocka_unit_test(keys_of_every_architecture_are_asked_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
