/* tests/test_grok1.c - the checkpoint of Grok-1: names from order, W [out, in] from [in, out]. */
#include "tests/arrays.h"

#include "formats/json.h"

#define TINY1 "testdata/grok1-tiny" /* protocol 4, 12 layers, bf16 embedding, mixed scales */
#define MINI  "testdata/grok1-mini" /* protocols 3, 4 and 5 in turn, 1 layer               */
#define WORK  "build/tmp/test_grok1"
#define CKPT  WORK "/model/ckpt-0"

/* ---- a leaf, put together again from tensors ---------------------------------------- */

/* The leaf's values as stored [.., in, out], of one part of its tensors. */
typedef struct values {
    unsigned char *bytes;
    size_t n, size;  /* bytes, and of an element */
    uint64_t dim[3]; /* matrices, in, out        */
    gk_dtype dtype;
} values;

static const char *canonical(const char *path, uint64_t e)
{
    static const struct {
        const char *leaf, *name;
    } names[] = {
        {"moe/linear/w", "block_sparse_moe.experts.%d.w1.weight"},
        {"moe/linear_1/w", "block_sparse_moe.experts.%d.w2.weight"},
        {"moe/linear_v/w", "block_sparse_moe.experts.%d.w3.weight"},
        {"multi_head_attention/key/w", "self_attn.k_proj.weight"},
        {"multi_head_attention/linear/w", "self_attn.o_proj.weight"},
        {"multi_head_attention/query/w", "self_attn.q_proj.weight"},
        {"multi_head_attention/value/w", "self_attn.v_proj.weight"},
        {"rms_norm/scale", "pre_attn_norm.weight"},
        {"rms_norm_1/scale", "post_attn_norm.weight"},
        {"rms_norm_2/scale", "pre_moe_norm.weight"},
        {"rms_norm_3/scale", "post_moe_norm.weight"},
        {"router/w", "block_sparse_moe.gate.weight"},
    };
    int layer = 0, at = 0;

    if (strcmp(path, "in_out_embed/embeddings") == 0)
        return "model.embed_tokens.weight";
    if (strcmp(path, "language_model/rms_norm/scale") == 0)
        return "model.norm.weight";
    assert_int_equal(sscanf(path, "transformer/decoder_layer_%d/%n", &layer, &at), 1);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(path + at, names[i].leaf) == 0) {
            char part[100];
            const char *star = strchr(names[i].name, '%');
            if (star == NULL)
                snprintf(part, sizeof part, "%s", names[i].name);
            else
                snprintf(part, sizeof part, "%.*s%d%s", (int)(star - names[i].name), names[i].name,
                         (int)e, star + 2);
            return path_of("model.layers.%d.%s", layer, part);
        }
    fail_msg("unknown leaf %s", path);
    return NULL;
}

/* turned: the tensors are [out, in], as all but vectors and the embedding are. */
static values collect(const gk_catalog *c, const char *path, uint64_t n_tensors, int part,
                      bool turned)
{
    values v = {.bytes = NULL};

    for (uint64_t e = 0; e < n_tensors; e++) {
        const char *name = canonical(path, e);
        const gk_tensor *t = gk_catalog_find(c, name);
        gk_part_room room;
        size_t n;
        if (t == NULL || t->n_parts <= part)
            fail_msg("no part %d of %s", part, name);
        const gk_part *p = gk_part_of(t, part, &room);
        unsigned char *bytes = read_part(c, t, part, &n);
        if (e == 0) {
            v = (values){
                .bytes = malloc(n * n_tensors),
                .n = n * n_tensors,
                .size = (size_t)gk_row_bytes(p->dtype, 1),
                .dim = {n_tensors, turned ? p->n_cols : p->n_rows, turned ? p->n_rows : p->n_cols},
                .dtype = p->dtype};
            assert_non_null(v.bytes);
        }
        for (uint64_t i = 0; i < v.dim[1]; i++)
            for (uint64_t o = 0; o < v.dim[2]; o++)
                memcpy(v.bytes + ((e * v.dim[1] + i) * v.dim[2] + o) * v.size,
                       bytes + (turned ? o * v.dim[1] + i : i * v.dim[2] + o) * v.size, v.size);
        free(bytes);
    }
    return v;
}

static float value_at(const values *v, uint64_t i)
{
    float f = 0;

    if (v->dtype == GK_I8)
        f = (float)(signed char)v->bytes[i];
    else if (v->dtype == GK_BF16)
        memcpy((char *)&f + 2, v->bytes + 2 * i, 2);
    else if (v->dtype == GK_F32)
        memcpy(&f, v->bytes + 4 * i, 4);
    else
        fail_msg("dtype %d", (int)v->dtype);
    return f;
}

static void assert_digest(const void *bytes, size_t n, const gk_json *leaf, const char *key)
{
    char hex[65];
    gk_err err = {0};

    assert_ok(gk_hash_bytes(bytes, n, hex, &err), err);
    if (strcmp(hex, gk_json_text(gk_json_get(leaf, key), NULL)) != 0)
        fail_msg("%s: %s differs", gk_json_text(gk_json_get(leaf, "path"), NULL), key);
}

static uint64_t number_at(const gk_json *array, uint64_t i)
{
    uint64_t value = 0;

    assert_true(gk_json_as_uint(gk_json_at(array, i), &value));
    return value;
}

/* Codes, scales and code x scale in f32 are those of the golden. */
static void check_leaf(const gk_catalog *c, const gk_json *leaf)
{
    const char *path = gk_json_text(gk_json_get(leaf, "path"), NULL);
    const gk_json *shape = gk_json_get(leaf, "shape"), *rows = gk_json_get(leaf, "scales_shape");
    const uint64_t ndim = gk_json_count(shape), n_tensors = ndim == 3 ? number_at(shape, 0) : 1;
    const bool turned = ndim > 1 && strstr(path, "embed") == NULL, quantized = rows != NULL;
    values w = collect(c, path, n_tensors, 0, turned), s = {.bytes = NULL};
    const uint64_t n = w.dim[0] * w.dim[1] * w.dim[2];
    float *f = malloc(n * sizeof *f);

    assert_non_null(f);
    for (uint64_t d = 0; d < ndim; d++)
        assert_int_equal(w.dim[3 - ndim + d], number_at(shape, d));
    if (quantized) {
        s = collect(c, path, n_tensors, 1, true);
        assert_int_equal(w.dtype, GK_I8);
        assert_int_equal(s.dim[1], number_at(rows, ndim - 2));
        assert_string_equal(
            gk_dtype_get(s.dtype)->name,
            strcmp(gk_json_text(gk_json_get(leaf, "scales_dtype"), NULL), "float32") == 0 ? "F32"
                                                                                          : "BF16");
        assert_digest(w.bytes, w.n, leaf, "weight_sha256");
        assert_digest(s.bytes, s.n, leaf, "scales_sha256");
    }
    for (uint64_t i = 0; i < n; i++) {
        const uint64_t e = i / (w.dim[1] * w.dim[2]), in = i / w.dim[2] % w.dim[1];
        const uint64_t row = quantized ? in / (w.dim[1] / s.dim[1]) : 0;
        f[i] = value_at(&w, i);
        if (quantized)
            f[i] *= value_at(&s, (e * s.dim[1] + row) * s.dim[2] + i % w.dim[2]);
    }
    assert_digest(f, n * sizeof *f, leaf, "float32_sha256");
    free(f);
    free(w.bytes);
    free(s.bytes);
}

static void check_model(const char *path, const char *golden)
{
    gk_err err = {0};
    gk_json *root = gk_json_load(golden, &err);
    const gk_json *leaves = gk_json_get(root, "leaves");
    gk_catalog *c = open_sound(path);

    assert_ok(root != NULL, err);
    assert_string_equal(c->format, "grok1");
    assert_int_equal(c->n_inputs, gk_json_count(leaves));
    for (uint64_t i = 0; i < gk_json_count(leaves); i++)
        check_leaf(c, gk_json_at(leaves, i));
    gk_catalog_close(c);
    gk_json_free(root);
}

static void every_leaf_of_the_small_checkpoint_is_there(void **state)
{
    (void)state;
    check_model(TINY1, TINY1 "/golden/golden.json");
}

static void any_protocol_gives_the_same(void **state)
{
    (void)state;
    check_model(MINI, MINI "/golden/golden.json");
}

static void the_folder_of_leaves_is_a_door_too(void **state)
{
    (void)state;
    check_model(TINY1 "/ckpt-0", TINY1 "/golden/golden.json");
}

/* ---- the catalog ----------------------------------------------------------------------- */

static uint64_t config_number(const gk_catalog *c, const char *key)
{
    uint64_t value = 0;

    if (!gk_json_as_uint(gk_json_get(c->config, key), &value))
        fail_msg("config: no integer %s", key);
    return value;
}

static void a_config_is_made_of_the_shapes(void **state)
{
    gk_catalog *c = open_sound(TINY1);
    double scale;

    (void)state;
    assert_int_equal(c->n_tensors, 2 + 12 * (9 + 3 * 8));
    assert_int_equal(config_number(c, "hidden_size"), 48);
    assert_int_equal(config_number(c, "intermediate_size"), 64);
    assert_int_equal(config_number(c, "num_hidden_layers"), 12);
    assert_int_equal(config_number(c, "num_attention_heads"), 6);
    assert_int_equal(config_number(c, "num_key_value_heads"), 2);
    assert_int_equal(config_number(c, "head_dim"), 8);
    assert_int_equal(config_number(c, "vocab_size"), 128);
    assert_int_equal(config_number(c, "num_experts"), 8);
    assert_int_equal(config_number(c, "num_experts_per_tok"), 2);
    assert_true(gk_json_as_real(gk_json_get(c->config, "embedding_multiplier_scale"), &scale));
    assert_true(scale * scale > 48 - 1e-12 && scale * scale < 48 + 1e-12);
    assert_int_equal(c->findings.n, 1);
    assert_int_equal(c->findings.row[0].severity, GK_NOTE);
    assert_non_null(strstr(c->findings.row[0].text, "head size: 8 is taken"));
    gk_catalog_close(c);
}

/* Links to the leaves of the small model, to break. */
static void link_model(void)
{
    fresh_dir(WORK "/model");
    link_all(MINI "/ckpt-0", CKPT);
}

static void the_head_size_of_a_config_is_taken(void **state)
{
    (void)state;
    link_model();
    write_text(WORK "/model/config.json", "{\"num_attention_heads\": 2}");
    for (int i = 0; i < 2; i++) { /* beside the leaves' folder, whichever is named */
        gk_catalog *c = open_sound(i == 0 ? WORK "/model" : CKPT);
        assert_int_equal(config_number(c, "head_dim"), 8);
        assert_int_equal(config_number(c, "num_key_value_heads"), 1);
        assert_non_null(strstr(c->findings.row[0].text, "but for the head size"));
        gk_catalog_close(c);
    }
    gk_catalog *c = open_sound(MINI);
    write_bytes(WORK "/model/config.json", c->config_text, (size_t)c->config_len);
    edit_text(WORK "/model/config.json", "\"rope_theta\"", "\"bos_token_id\": 1, \"rope_theta\"");
    gk_catalog_close(c);
    c = open_sound(WORK "/model"); /* one that fits stays as it is */
    assert_int_equal(config_number(c, "bos_token_id"), 1);
    assert_int_equal(c->findings.n, 0);
    gk_catalog_close(c);
}

static void the_tokenizer_beside_the_leaves_is_an_extra(void **state)
{
    (void)state;
    link_model();
    write_text(WORK "/model/tokenizer.model", "pieces");
    for (int i = 0; i < 2; i++) {
        gk_catalog *c = open_sound(i == 0 ? WORK "/model" : CKPT);
        const gk_extra *extra = gk_extra_find(c, "tokenizer.model");
        assert_non_null(extra);
        assert_int_equal(extra->bytes, 6);
        assert_int_equal(c->n_extras, 1); /* no leaf is one */
        gk_catalog_close(c);
    }
}

static void a_leaf_alone_is_a_model(void **state)
{
    gk_catalog *c = open_sound(TINY1 "/ckpt-0/tensor00003_000");
    const gk_tensor *t = gk_catalog_find(c, "tensor00003_000.7");

    (void)state;
    assert_int_equal(c->n_tensors, 8); /* linear_1 [8, 64, 48], scales [8, 8, 48] */
    assert_non_null(t);
    assert_int_equal(t->dim[0], 48);
    assert_int_equal(t->dim[1], 64);
    assert_int_equal(t->part[0].role, GK_PART_CODES);
    assert_int_equal(t->part[1].role, GK_PART_SCALES);
    assert_int_equal(t->part[1].n_rows, 48);
    assert_int_equal(t->part[1].n_cols, 8);
    gk_catalog_close(c);
}

/* ---- what is wrong with it ----------------------------------------------------------- */

static void a_missing_leaf_is_named(void **state)
{
    (void)state;
    link_model();
    unlink(CKPT "/tensor00005_000");
    expect_bad(CKPT, GK_ERR_FORMAT, "tensor00005_000", "",
               "missing: the leaf transformer/decoder_layer_0/multi_head_attention/key/w");
    link_model();
    unlink(CKPT "/tensor00013_000"); /* the last, and the two before it */
    unlink(CKPT "/tensor00012_000");
    unlink(CKPT "/tensor00011_000");
    expect_bad(WORK "/model", GK_ERR_FORMAT, "ckpt-0/tensor00011_000", "",
               "3 leaves from transformer/decoder_layer_0/rms_norm_2/scale");
}

static void a_leaf_in_another_place_is_seen_by_its_shape(void **state)
{
    (void)state;
    link_model();
    link_one(MINI "/ckpt-0/tensor00013_000", CKPT "/tensor00009_000");
    expect_bad(CKPT, GK_ERR_FORMAT, "tensor00009_000", "",
               "rms_norm/scale is [16, 8], expected [16]");
    link_one(MINI "/ckpt-0/tensor00005_000", CKPT "/tensor00006_000");
    expect_bad(CKPT, GK_ERR_FORMAT, "tensor00006_000", "",
               "multi_head_attention/linear/w is [16, 8], expected [16, 16]");
    gk_err err = {0};
    gk_catalog *c = gk_catalog_open(CKPT, &err);
    assert_ok(c != NULL, err);
    const gk_tensor *t = gk_catalog_find(c, "model.layers.0.self_attn.o_proj.weight");
    assert_non_null(t); /* known, of the shape it should have, but out of reach */
    assert_int_equal(t->n_parts, 0);
    assert_int_equal(t->dim[0], 16);
    gk_catalog_close(c);
}

static void a_damaged_leaf_is_malformed(void **state)
{
    size_t n;
    unsigned char *bytes = read_bytes(MINI "/ckpt-0/tensor00003_000", &n);

    (void)state;
    link_model();
    write_bytes(CKPT "/tensor00003_000", bytes, n / 2);
    free(bytes);
    expect_bad(CKPT, GK_ERR_FORMAT, "tensor00003_000", "", "truncated");
}

static void codes_that_nobody_scales_are_bad(void **state)
{
    (void)state;
    link_model();
    link_one("testdata/pickle/numpy1_i64_p4.pkl", CKPT "/tensor00001_000");
    expect_bad(CKPT, GK_ERR_FORMAT, "tensor00001_000", "", "shape mismatch");
}

static void a_leaf_in_shards_is_unsupported(void **state)
{
    gk_err err = {0};

    (void)state;
    link_model();
    link_one(MINI "/ckpt-0/tensor00003_000", CKPT "/tensor00003_001");
    assert_null(gk_catalog_open(CKPT, &err));
    assert_int_equal(err.code, GK_ERR_UNSUPPORTED);
    assert_string_equal(err.file, "tensor00003_001");
}

static void another_checkpoint_of_jax_is_unsupported(void **state)
{
    gk_err err = {0};

    (void)state;
    fresh_dir(WORK "/model");
    fresh_dir(CKPT);
    write_text(CKPT "/_METADATA", "{}");
    assert_null(gk_catalog_open(WORK "/model", &err));
    assert_int_equal(err.code, GK_ERR_UNSUPPORTED);
    assert_non_null(strstr(err.msg, "Orbax"));
}

static void scales_that_do_not_divide_are_refused(void **state)
{
    size_t n;
    unsigned char *bytes = read_bytes(MINI "/ckpt-0/tensor00006_000", &n); /* [16,16], [8,16] */

    (void)state;
    link_model();
    unsigned char *at = memmem(bytes, n, "K\x08K\x10", 4);
    assert_non_null(at);
    memcpy(at, "K\x10K\x08", 4); /* as many: 16 rows of 8, two outputs share one */
    write_bytes(CKPT "/tensor00006_000", bytes, n);
    gk_catalog *c = open_sound(CKPT);
    const gk_tensor *t = gk_catalog_find(c, "model.layers.0.self_attn.o_proj.weight");
    size_t size;
    unsigned char *scales = read_part(c, t, 1, &size);
    assert_int_equal(t->part[1].n_cols, 16);
    assert_int_equal(size, 16 * 16 * 2);
    for (size_t i = 0; i < 16; i += 2)
        assert_memory_equal(scales + i * 32, scales + (i + 1) * 32, 32);
    assert_memory_not_equal(scales, scales + 64, 32);
    free(scales);
    gk_catalog_close(c);
    memcpy(at, "K\x20K\x04", 4);
    write_bytes(CKPT "/tensor00006_000", bytes, n);
    expect_bad(CKPT, GK_ERR_FORMAT, "tensor00006_000", "", "32 scales do not divide 16");
    free(bytes);
}

WORK_FOLDER(WORK)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_leaf_of_the_small_checkpoint_is_there),
        cmocka_unit_test(any_protocol_gives_the_same),
        cmocka_unit_test(the_folder_of_leaves_is_a_door_too),
        cmocka_unit_test(a_config_is_made_of_the_shapes),
        cmocka_unit_test(the_head_size_of_a_config_is_taken),
        cmocka_unit_test(the_tokenizer_beside_the_leaves_is_an_extra),
        cmocka_unit_test(a_leaf_alone_is_a_model),
        cmocka_unit_test(a_missing_leaf_is_named),
        cmocka_unit_test(a_leaf_in_another_place_is_seen_by_its_shape),
        cmocka_unit_test(a_damaged_leaf_is_malformed),
        cmocka_unit_test(codes_that_nobody_scales_are_bad),
        cmocka_unit_test(a_leaf_in_shards_is_unsupported),
        cmocka_unit_test(another_checkpoint_of_jax_is_unsupported),
        cmocka_unit_test(scales_that_do_not_divide_are_refused),
    };
    return cmocka_run_group_tests(tests, open_work, close_work);
}
