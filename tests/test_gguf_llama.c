/* tests/test_gguf_llama.c - Llama and Qwen2 as GGUF: permuted heads, keys, rope, there and back. */
#include "tests/gguf_bytes.h"
#define WRITTEN_OPEN gk_model_open
#include "tests/written.h"

#include "quant/gguf_mix.h"

#define WORK  "build/tmp/test_gguf_llama"
#define MODEL WORK "/model"
#define OUT   WORK "/out.gguf"

enum { HIDDEN = 32, HEADS = 4, KV_HEADS = 2, HEAD_DIM = 8, DENSE = 64, VOCAB = 48 };

/* ---- a model ------------------------------------------------------------------------ */

typedef struct shape {
    const char *name, *stored;
    int rows, cols; /* cols 0: a vector */
} shape;

static const shape of_layer[] = {
    {"input_layernorm", "attn_norm", HIDDEN, 0},
    {"self_attn.q_proj", "attn_q", HEADS *HEAD_DIM, HIDDEN},
    {"self_attn.k_proj", "attn_k", KV_HEADS *HEAD_DIM, HIDDEN},
    {"self_attn.v_proj", "attn_v", KV_HEADS *HEAD_DIM, HIDDEN},
    {"self_attn.o_proj", "attn_output", HIDDEN, HEADS *HEAD_DIM},
    {"post_attention_layernorm", "ffn_norm", HIDDEN, 0},
    {"mlp.gate_proj", "ffn_gate", DENSE, HIDDEN},
    {"mlp.up_proj", "ffn_up", DENSE, HIDDEN},
    {"mlp.down_proj", "ffn_down", HIDDEN, DENSE},
};
static const shape around[] = {{"model.embed_tokens", "token_embd", VOCAB, HIDDEN},
                               {"model.norm", "output_norm", HIDDEN, 0}};

#define N_OF_LAYER (sizeof of_layer / sizeof of_layer[0])

/* Element i of tensor number n, as BF16 bits: no two rows of a matrix alike. */
static uint16_t value_of(size_t n, size_t i)
{
    return (uint16_t)(0x3C00 + (n * 131 + i * 7 + i / HIDDEN * 29) % 0x400);
}

typedef struct builder {
    FILE *header, *data;
    size_t n, end;
} builder;

static void add(builder *b, const char *name, const shape *s)
{
    const size_t n = (size_t)s->rows * (size_t)(s->cols > 0 ? s->cols : 1);

    fprintf(b->header, ",\"%s.weight\":{\"dtype\":\"BF16\",\"shape\":[%d", name, s->rows);
    if (s->cols > 0)
        fprintf(b->header, ",%d", s->cols);
    fprintf(b->header, "],\"data_offsets\":[%zu,%zu]}", b->end, b->end + 2 * n);
    for (size_t i = 0; i < n; i++) {
        const uint16_t bits = value_of(b->n, i);
        fwrite(&bits, 2, 1, b->data);
    }
    b->end += 2 * n;
    b->n++;
}

/* more: members of config.json, "" or ", ..." */
static void write_llama(const char *architecture, int layers, const char *more)
{
    char *header = NULL, *data = NULL;
    size_t header_len = 0, data_len = 0;
    builder b = {.header = open_memstream(&header, &header_len),
                 .data = open_memstream(&data, &data_len)};

    fresh_dir(WORK);
    fresh_dir(MODEL);
    assert_true(b.header != NULL && b.data != NULL);
    fprintf(b.header, "{\"__metadata__\":{\"format\":\"pt\"}");
    for (size_t i = 0; i < 2; i++)
        add(&b, around[i].name, &around[i]);
    for (int layer = 0; layer < layers; layer++)
        for (size_t i = 0; i < N_OF_LAYER; i++)
            add(&b, path_of("model.layers.%d.%s", layer, of_layer[i].name), &of_layer[i]);
    fputc('}', b.header);
    while (ftell(b.header) % 8 != 0)
        fputc(' ', b.header);
    fclose(b.header);
    fclose(b.data);
    const uint64_t length = header_len;
    unsigned char *file = malloc(8 + header_len + data_len);
    assert_non_null(file);
    memcpy(file, &length, 8);
    memcpy(file + 8, header, header_len);
    memcpy(file + 8 + header_len, data, data_len);
    write_bytes(MODEL "/model.safetensors", file, 8 + header_len + data_len);
    free(file);
    free(header);
    free(data);
    write_text(MODEL "/config.json",
               path_of("{\"architectures\": [\"%s\"], \"hidden_size\": %d, "
                       "\"intermediate_size\": %d, \"num_attention_heads\": %d, "
                       "\"num_key_value_heads\": %d, \"num_hidden_layers\": %d, "
                       "\"vocab_size\": %d, \"max_position_embeddings\": 512, "
                       "\"rms_norm_eps\": 1e-06, \"tie_word_embeddings\": true, "
                       "\"torch_dtype\": \"bfloat16\"%s}",
                       architecture, HIDDEN, DENSE, HEADS, KV_HEADS, layers, VOCAB, more));
}

static gguf_bytes written(const char *rules)
{
    const gk_plan_options o = gguf_options();

    write_model(MODEL, rules, &o, OUT);
    return read_gguf(OUT);
}

/* ---- tensors ------------------------------------------------------------------------- */

/* Row h * D + 2 j + half of the file is row h * D + half * D/2 + j of the model: what
 * conversion/llama.py's permute() does. */
static size_t row_in_model(size_t row)
{
    const size_t at = row % HEAD_DIM;

    return row - at + at % 2 * (HEAD_DIM / 2) + at / 2;
}

static void expect_matrix(const gguf_bytes *f, const char *name, const shape *s, size_t number,
                          bool permuted)
{
    const gguf_tensor *t = find_tensor(f, path_of("%s.weight", name));

    if (t == NULL)
        fail_msg("no %s", name);
    assert_int_equal(t->n_dims, s->cols > 0 ? 2 : 1);
    const size_t rows = s->cols > 0 ? (size_t)s->rows : 1;
    const size_t cols = (size_t)(s->cols > 0 ? s->cols : s->rows);
    assert_int_equal(t->ne[0], cols);
    assert_string_equal(t->type, s->cols > 0 ? "BF16" : "F32");
    for (size_t r = 0; r < rows; r++)
        for (size_t c = 0; c < cols; c++) {
            const size_t from = (permuted ? row_in_model(r) : r) * cols + c;
            const uint32_t want = value_of(number, from);
            uint32_t bits = 0;
            if (s->cols > 0)
                memcpy(&bits, t->data + 2 * (r * cols + c), 2);
            else
                memcpy(&bits, t->data + 4 * c, 4);
            if (bits != (s->cols > 0 ? want : want << 16))
                fail_msg("%s: row %zu, column %zu", name, r, c);
        }
}

static void rows_of_queries_and_keys_are_interleaved(void **state)
{
    (void)state;
    for (int qwen = 0; qwen < 2; qwen++) {
        write_llama(qwen ? "Qwen2ForCausalLM" : "LlamaForCausalLM", 2, "");
        gguf_bytes f = written("default = keep");
        size_t number = 2;
        assert_int_equal(f.n_tensors, 2 + 2 * N_OF_LAYER);
        for (size_t i = 0; i < 2; i++)
            expect_matrix(&f, around[i].stored, &around[i], i, false);
        for (int layer = 0; layer < 2; layer++)
            for (size_t i = 0; i < N_OF_LAYER; i++, number++)
                expect_matrix(&f, path_of("blk.%d.%s", layer, of_layer[i].stored), &of_layer[i],
                              number, !qwen && (i == 1 || i == 2));
        close_gguf(&f);
    }
}

static void a_llama_comes_back_from_a_gguf(void **state)
{
    (void)state;
    const gk_plan_options hf = plain_options();
    gk_plan_options cast = hf;
    gk_scheme bf16;
    gk_err err = {0};
    assert_ok(gk_scheme_parse("bf16", &bf16, &err), err);
    cast.plain = &bf16; /* norms are F32 in a GGUF */
    write_llama("LlamaForCausalLM", 2, "");
    write_model(MODEL, "default = keep", &hf, WORK "/straight");
    gguf_bytes f = written("default = keep");
    close_gguf(&f);
    write_model(OUT, "default = keep", &cast, WORK "/back");
    assert_same_files(WORK "/straight/model.safetensors", WORK "/back/model.safetensors");
}

#define HALF_STEP 0.008f /* values below 2 in steps of max / 127, and a scale in f16 */

/* Blocks are made of rows that were permuted, not permuted after. */
static void blocks_of_queries_are_interleaved_too(void **state)
{
    (void)state;
    write_llama("LlamaForCausalLM", 1, "");
    gguf_bytes f = written("default = Q8_0");
    const gguf_tensor *t = find_tensor(&f, "blk.0.attn_q.weight");
    assert_string_equal(t->type, "Q8_0");
    const gk_plan_options hf = plain_options();
    write_model(OUT, "default = keep\n. = f32", &hf, WORK "/back");
    gk_catalog *c = open_whole(WORK "/back");
    const gk_tensor *q = gk_catalog_find(c, "model.layers.0.self_attn.q_proj.weight");
    gk_err err = {0};
    float v[HIDDEN];
    assert_non_null(q);
    for (size_t row = 0; row < HEADS * HEAD_DIM; row++) {
        assert_ok(gk_read_part(c, q, 0, row, 1, 0, HIDDEN, v, &err), err);
        for (size_t k = 0; k < HIDDEN; k++) {
            const uint32_t bits = (uint32_t)value_of(3, row * HIDDEN + k) << 16;
            float want;
            memcpy(&want, &bits, 4);
            assert_true(v[k] - want <= HALF_STEP && want - v[k] <= HALF_STEP);
        }
    }
    gk_catalog_close(c);
    close_gguf(&f);
}

/* ---- keys ---------------------------------------------------------------------------- */

static double number_of(const gguf_bytes *f, const char *key, uint32_t type)
{
    const gguf_key *k = find_key(f, key);
    uint32_t bits;
    float real;

    if (k == NULL || k->type != type)
        fail_msg("%s is of type %d", key, k == NULL ? -1 : (int)k->type);
    memcpy(&bits, k->value, 4);
    memcpy(&real, k->value, 4);
    return type == F32 ? (double)real : bits;
}

static void expect_text(const gguf_bytes *f, const char *key, const char *text)
{
    const gguf_key *k = find_key(f, key);

    assert_true(k != NULL && k->type == STRING && k->n == 8 + strlen(text));
    assert_memory_equal(k->value + 8, text, strlen(text));
}

static void sizes_stand_in_the_keys(void **state)
{
    (void)state;
    static const struct {
        const char *key;
        double value;
    } sizes[] = {{"block_count", 2},
                 {"context_length", 512},
                 {"embedding_length", 32},
                 {"feed_forward_length", DENSE},
                 {"vocab_size", VOCAB},
                 {"attention.head_count", HEADS},
                 {"rope.dimension_count", HEAD_DIM},
                 {"attention.head_count_kv", KV_HEADS},
                 {"attention.key_length", HEAD_DIM}};
    static const char *const arch[] = {"llama", "qwen2"};
    for (int i = 0; i < 2; i++) {
        write_llama(i == 0 ? "LlamaForCausalLM" : "Qwen2ForCausalLM", 2,
                    ", \"rope_theta\": 1000000.0");
        gguf_bytes f = written("default = keep");
        expect_text(&f, "general.architecture", arch[i]);
        for (size_t k = 0; k < sizeof sizes / sizeof sizes[0]; k++)
            assert_true(number_of(&f, path_of("%s.%s", arch[i], sizes[k].key), U32)
                        == sizes[k].value);
        assert_true(number_of(&f, path_of("%s.rope.freq_base", arch[i]), F32) == 1e6);
        assert_true(number_of(&f, path_of("%s.attention.layer_norm_rms_epsilon", arch[i]), F32)
                    == (double)1e-6f);
        assert_null(find_key(&f, path_of("%s.expert_count", arch[i])));
        close_gguf(&f);
    }
}

static void rope_stands_in_the_keys(void **state)
{
    (void)state;
    static const struct {
        const char *more, *type;
        double base, factor, context;
    } all[] = {
        {"", NULL, 10000, 0, 0},
        {", \"rope_parameters\": {\"rope_type\": \"default\", \"rope_theta\": 500000.0}", NULL,
         500000, 0, 0},
        {", \"rope_scaling\": {\"type\": \"linear\", \"factor\": 2.0}", "linear", 10000, 2, 0},
        {", \"rope_scaling\": {\"rope_type\": \"yarn\", \"factor\": 4.0, "
         "\"original_max_position_embeddings\": 128}",
         "yarn", 10000, 4, 128}};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        write_llama("LlamaForCausalLM", 1, all[i].more);
        gguf_bytes f = written("default = keep");
        assert_true(number_of(&f, "llama.rope.freq_base", F32) == all[i].base);
        assert_int_equal(find_key(&f, "llama.rope.scaling.type") != NULL, all[i].type != NULL);
        if (all[i].type != NULL) {
            expect_text(&f, "llama.rope.scaling.type", all[i].type);
            assert_true(number_of(&f, "llama.rope.scaling.factor", F32) == all[i].factor);
        }
        if (all[i].context > 0)
            assert_true(number_of(&f, "llama.rope.scaling.original_context_length", U32)
                        == all[i].context);
        close_gguf(&f);
    }
}

/* ---- what llama.cpp takes for a 70B ----------------------------------------------------- */

static gk_dtype type_of_values(const char *architecture, int layers)
{
    gk_err err = {0};
    const gk_plan_options o = gguf_options();
    gk_dtype type = GK_F32;

    write_llama(architecture, layers, "");
    gk_catalog *c = open_whole(MODEL);
    gk_plan *p = try_plan(c, "default = Q3_K_S", &o, &err);
    assert_ok(p != NULL, err);
    for (uint64_t i = 0; i < p->n_entries; i++)
        if (strcmp(p->entry[i].name, "blk.0.attn_v.weight") == 0)
            type = (gk_dtype)p->entry[i].dtype;
    gk_plan_free(p);
    gk_catalog_close(c);
    return type;
}

/* Q5_K becomes Q5_1 and Q3_K Q4_0, for 256 does not divide 32; quantized.txt, llama80. */
static void eighty_layers_are_a_70b(void **state)
{
    (void)state;
    assert_int_equal(type_of_values("LlamaForCausalLM", 80), GK_Q5_1);
    assert_int_equal(type_of_values("Qwen2ForCausalLM", 80), GK_Q5_1);
    assert_int_equal(type_of_values("LlamaForCausalLM", 79), GK_Q4_0);
}

/* Codes without their scales would be read as weights. */
static void integers_are_no_weights(void **state)
{
    (void)state;
    gk_err err = {0};
    const gk_plan_options o = gguf_options();
    write_llama("LlamaForCausalLM", 1, "");
    edit_text(MODEL "/model.safetensors",
              "\"model.layers.0.mlp.up_proj.weight\":{\"dtype\":\"BF16\"",
              "\"model.layers.0.mlp.up_proj.weight\":{\"dtype\":\"I16\" ");
    assert_false(try_write(MODEL, "default = keep", &o, OUT, &err));
    assert_int_equal(err.code, GK_ERR_UNSUPPORTED);
    assert_string_equal(err.tensor, "model.layers.0.mlp.up_proj.weight");
    assert_non_null(strstr(err.msg, "I16"));
}

/* A bias is permuted like rows; the gguf package wrote the file that is read here. */
static void a_bias_of_queries_is_interleaved(void **state)
{
    (void)state;
    const char *from = "testdata/gguf/llama.gguf";
    const gk_plan_options o = gguf_options();
    write_model(from, "default = keep", &o, OUT);
    gguf_bytes a = read_gguf(from), b = read_gguf(OUT);
    for (uint64_t i = 0; i < a.n_tensors; i++) {
        const gguf_tensor *t = find_tensor(&b, a.tensor[i].name);
        assert_true(t != NULL && t->n == a.tensor[i].n);
        assert_memory_equal(t->data, a.tensor[i].data, t->n);
    }
    assert_non_null(find_tensor(&a, "blk.0.attn_q.bias"));
    close_gguf(&a);
    close_gguf(&b);
}

/* A window that is shorter than the context is no part of a GGUF, nor is another activation: it is
 * told, else nothing is. */
static void what_llama_cpp_computes_otherwise_is_told(void **state)
{
    (void)state;
    static const struct {
        const char *architecture, *more, *text; /* NULL: nothing to tell */
    } all[] = {
        {"MistralForCausalLM", ", \"sliding_window\": 12", "sliding_window 12 "},
        {"MistralForCausalLM", "", NULL}, /* 4096, the context is 512 */
        {"MistralForCausalLM", ", \"sliding_window\": null", NULL},
        {"MistralForCausalLM", ", \"sliding_window\": 511", "sliding_window 511 "},
        {"MistralForCausalLM", ", \"sliding_window\": 512", NULL},
        {"Qwen2ForCausalLM", ", \"sliding_window\": 12", NULL},
        {"Qwen2ForCausalLM", ", \"sliding_window\": 12, \"use_sliding_window\": true",
         "architecture qwen2"},
        {"LlamaForCausalLM", ", \"sliding_window\": 12", NULL}, /* transformers ignores it */
        {"LlamaForCausalLM", ", \"hidden_act\": \"gelu\"", "hidden_act 'gelu' "},
        {"LlamaForCausalLM", ", \"hidden_act\": \"silu\"", NULL},
    };
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        const gk_plan_options o = gguf_options();
        gk_err err = {0};
        write_llama(all[i].architecture, 1, all[i].more);
        gk_catalog *c = open_whole(MODEL);
        gk_plan *p = try_plan(c, "default = keep", &o, &err);
        assert_ok(p != NULL, err);
        const char *said = NULL;
        for (uint64_t k = 0; k < p->notes.n; k++)
            if (strcmp(p->notes.row[k].check, "window") == 0
                || strcmp(p->notes.row[k].check, "activation") == 0)
                said = p->notes.row[k].text;
        if ((said != NULL) != (all[i].text != NULL)
            || (said != NULL && strstr(said, all[i].text) == NULL))
            fail_msg("%s%s: %s", all[i].architecture, all[i].more, said == NULL ? "-" : said);
        gk_plan_free(p);
        gk_catalog_close(c);
    }
}

static void a_name_without_a_place_is_told(void **state)
{
    (void)state;
    gk_err err = {0};
    const gk_plan_options o = gguf_options();
    const char *names[] = {"model.layers.0.self_attn.rotary_emb.inv_freq", NULL};
    bool said = false;
    write_llama("LlamaForCausalLM", 1, "");
    write_vectors(MODEL "/model.safetensors", names);
    gk_catalog *c = open_whole(MODEL);
    gk_plan *p = try_plan(c, "default = keep", &o, &err);
    assert_ok(p != NULL, err);
    for (uint64_t i = 0; i < p->notes.n; i++)
        said |= p->notes.row[i].severity == GK_WARN
                && strcmp(p->notes.row[i].tensor, names[0]) == 0;
    assert_true(said);
    gk_plan_free(p);
    gk_catalog_close(c);
}

WORK_FOLDER(WORK)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_of_queries_and_keys_are_interleaved),
        cmocka_unit_test(a_llama_comes_back_from_a_gguf),
        cmocka_unit_test(blocks_of_queries_are_interleaved_too),
        cmocka_unit_test(sizes_stand_in_the_keys),
        cmocka_unit_test(rope_stands_in_the_keys),
        cmocka_unit_test(eighty_layers_are_a_70b),
        cmocka_unit_test(integers_are_no_weights),
        cmocka_unit_test(a_bias_of_queries_is_interleaved),
        cmocka_unit_test(what_llama_cpp_computes_otherwise_is_told),
        cmocka_unit_test(a_name_without_a_place_is_told),
    };
    return cmocka_run_group_tests(tests, open_work, close_work);
}
