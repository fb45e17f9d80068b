/* tests/test_gguf_write.c - GGUF files: llama-quantize's bytes, the keys, splits, refusals. */
#include <math.h>

#include "tests/gguf_bytes.h"
#define WRITTEN_OPEN gk_model_open
#include "tests/written.h"

#include "quant/gguf_mix.h"
#include "quant/stats.h"

#define WORK  "build/tmp/test_gguf_write"
#define OUT   WORK "/out.gguf"
#define LINES 900

static void write_gguf(const char *from, const char *rules, const gk_plan_options *o)
{
    fresh_dir(WORK);
    write_model(from, rules, o, OUT);
}

static gguf_bytes written(const char *from, const char *rules, const gk_plan_options *o)
{
    write_gguf(from, rules, o);
    return read_gguf(OUT);
}

/* ---- llama-quantize ----------------------------------------------------------------- */

/* A line of quantized.txt (make_quantized.py says what stands in it). */
typedef struct line {
    char model[16], tensor[64], type[512], sha256[65], mixes[512];
} line;

static line golden[LINES];
static size_t n_golden;

static int read_golden(void **state)
{
    (void)state;
    FILE *f = fopen("testdata/gguf/quantized.txt", "r");
    assert_non_null(f);
    for (line *l = golden;
         fscanf(f, "%15s %63s %511s %64s %511s", l->model, l->tensor, l->type, l->sha256, l->mixes)
         == 5;
         l++)
        assert_true(++n_golden < LINES);
    assert_true(feof(f));
    fclose(f);
    fresh_dir(WORK);
    return 0;
}

static int close_golden(void **state)
{
    (void)state;
    remove_tree(WORK);
    return 0;
}

static bool has_word(const char *list, const char *word)
{
    const size_t n = strlen(word);

    for (const char *s = list; s != NULL; s = strchr(s, ',')) {
        s += *s == ',';
        if (strncmp(s, word, n) == 0 && (s[n] == ',' || s[n] == '\0'))
            return true;
    }
    return false;
}

/* Returns how many tensors llama-quantize wrote; each must stand in the file, with its bytes. */
static size_t expect_golden(const gguf_bytes *f, const char *model, const char *mix)
{
    size_t n = 0;

    for (size_t i = 0; i < n_golden; i++) {
        const line *l = &golden[i];
        char sum[65];
        if (strcmp(l->model, model) != 0 || !has_word(l->mixes, mix))
            continue;
        const gguf_tensor *t = find_tensor(f, l->tensor);
        if (t == NULL)
            fail_msg("%s %s: no %s", model, mix, l->tensor);
        if (strcmp(t->type, l->type) != 0)
            fail_msg("%s %s: %s is %s, not %s", model, mix, l->tensor, t->type, l->type);
        sha256_of(t, sum);
        if (strcmp(sum, l->sha256) != 0)
            fail_msg("%s %s: %s (%s) has other bytes", model, mix, l->tensor, l->type);
        n++;
    }
    return n;
}

/* Whether llama-quantize wrote a file at all. */
static bool is_golden(const char *model, const char *mix)
{
    for (size_t i = 0; i < n_golden; i++)
        if (strcmp(golden[i].model, model) == 0 && has_word(golden[i].mixes, mix))
            return true;
    return false;
}

static const struct source {
    const char *name, *path;
} sources[] = {{"grok2-tiny", TINY}, {"odd", "build/models/odd"}, {"eight", "build/models/eight"}};

static void every_mix_gives_llama_quantize_s_bytes(void **state)
{
    (void)state;
    size_t compared = 0;
    const gk_plan_options o = gguf_options();
    for (size_t s = 0; s < 3; s++)
        for (int mix = 0; mix < GK_N_MIXES; mix++) {
            const char *name = gk_mix_name(mix);
            if (!is_golden(sources[s].name, name)) {
                assert_string_equal(name, "Q2_K_S"); /* it wants an importance matrix */
                continue;
            }
            gguf_bytes f = written(sources[s].path, path_of("default = %s", name), &o);
            const size_t n = expect_golden(&f, sources[s].name, name);
            assert_int_equal(n, f.n_tensors);
            compared += n;
            close_gguf(&f);
        }
    assert_int_equal(compared, 17 * 33 + 18 * 48 + 17 * 48);
}

/* An imatrix of ones in the legacy form, for the matrices of p but the one called without. */
static void write_ones(const gk_plan *p, const char *without, const char *path)
{
    FILE *f = fopen(path, "wb");
    int32_t n = 0, calls = 1;
    const float one = 1;
    assert_non_null(f);
    for (uint64_t i = 0; i < p->n_entries; i++)
        n += p->entry[i].ndim > 1 && strcmp(p->entry[i].name, without) != 0;
    fwrite(&n, sizeof n, 1, f);
    for (uint64_t i = 0; i < p->n_entries; i++) {
        const gk_entry *e = &p->entry[i];
        const int32_t len = (int32_t)strlen(e->name);
        if (e->ndim < 2 || strcmp(e->name, without) == 0)
            continue;
        n = (int32_t)(e->dim[e->ndim - 1] * (e->ndim == 3 ? e->dim[0] : 1));
        fwrite(&len, sizeof len, 1, f);
        fwrite(e->name, 1, (size_t)len, f);
        fwrite(&calls, sizeof calls, 1, f);
        fwrite(&n, sizeof n, 1, f);
        for (int32_t k = 0; k < n; k++)
            fwrite(&one, sizeof one, 1, f);
    }
    assert_int_equal(fclose(f), 0);
}

static void statistics_must_be_of_every_matrix_of_two_bits(void **state)
{
    (void)state;
    static const char *const missing[] = {"", "token_embd.weight", "blk.1.ffn_up_exps.weight"};
    gk_err err = {0};
    gk_catalog *c = open_whole(TINY);
    gk_plan_options o = gguf_options();
    gk_plan *all = try_plan(c, "default = Q2_K", &o, &err);
    assert_ok(all != NULL, err);
    for (size_t i = 0; i < 3; i++) {
        write_ones(all, missing[i], WORK "/ones.dat");
        gk_stats *stats = gk_stats_open(WORK "/ones.dat", &err);
        assert_ok(stats != NULL, err);
        o.stats = stats;
        gk_plan *p = try_plan(c, "default = Q2_K_S", &o, &err);
        assert_int_equal(p != NULL, i < 2);
        if (i == 2) {
            assert_int_equal(err.code, GK_ERR_ARG);
            assert_non_null(strstr(err.msg, "says nothing of this tensor"));
            assert_non_null(strstr(err.tensor, "layers.1.block_sparse_moe.experts.0.w3"));
        }
        gk_plan_free(p);
        gk_stats_free(stats);
    }
    gk_plan_free(all);
    gk_catalog_close(c);
}

/* Where llama-quantize refuses, and only there: rows too narrow for Q2_K, rules that leave no
 * Q2_K but embeddings and head, and statistics of each matrix are fine. */
static void two_bits_want_an_importance_matrix(void **state)
{
    (void)state;
    gk_plan_options o = gguf_options();
    gk_err err = {0};
    for (size_t s = 0; s < 3; s++) {
        err = (gk_err){0};
        gk_catalog *c = open_whole(sources[s].path);
        gk_plan *p = try_plan(c, "default = Q2_K_S", &o, &err);
        assert_int_equal(p != NULL, is_golden(sources[s].name, "Q2_K_S"));
        if (p == NULL) {
            assert_int_equal(err.code, GK_ERR_ARG);
            assert_non_null(strstr(err.msg, "give --stats FILE"));
            assert_string_not_equal(err.tensor, "");
        }
        gk_plan_free(p);
        gk_catalog_close(c);
    }
    gk_catalog *c = open_whole(TINY);
    gk_plan *p = try_plan(c, "layers = Q3_K\ndefault = Q2_K_S", &o, &err);
    assert_ok(p != NULL, err);
    gk_plan_free(p);
    /* a rule's Q2_K counts as well: the file's type is what llama-quantize looks at */
    assert_null(try_plan(c, "w1 = Q2_K\nlayers = Q3_K\ndefault = Q2_K_S", &o, &err));
    p = try_plan(c, "layers = Q2_K\ndefault = Q2_K", &o, &err);
    assert_ok(p != NULL, err);
    gk_plan_free(p);
    gk_catalog_close(c);
}

/* The number of its layer decides, and what the model is. */
static void layers_count_as_llama_quantize_counts_them(void **state)
{
    (void)state;
    size_t compared = 0;
    for (size_t i = 0; i < n_golden; i++) {
        const line *l = &golden[i];
        const bool llama = strcmp(l->model, "llama80") == 0;
        if (!llama && strcmp(l->model, "deep") != 0)
            continue;
        for (int k = 0; k < 2 * GK_N_MIXES; k++) {
            const int mix = k / 2;
            if (!has_word(l->mixes, path_of("%s%s", gk_mix_name(mix), k % 2 ? "+imatrix" : "")))
                continue;
            const bool stack = strstr(l->tensor, "_exps") != NULL;
            gk_mix_tensor t = {.n_cols = !stack && strstr(l->tensor, "ffn_down") ? 64 : 32,
                               .n_layers = llama ? 80 : 17,
                               .n_experts = llama ? 0 : 2,
                               .gqa = llama ? 2 : 4,
                               .is_stack = stack,
                               .is_tied = llama,
                               .is_70b = llama,
                               .has_importance = k % 2};
            const char *star = strchr(l->tensor, '*');
            char type[16];
            int count, used;
            for (const char *at = l->type; *at != '\0'; at += used + (at[used] == ',')) {
                assert_int_equal(sscanf(at, "%15[A-Z0-9_]*%d%n", type, &count, &used), 2);
                for (; count > 0; count--, t.layer++, compared++) {
                    t.name = star == NULL ? l->tensor : path_of("blk.%d%s", (int)t.layer, star + 1);
                    const gk_dtype d = gk_mix_fallback(gk_mix_choose(mix, &t), t.n_cols);
                    if (strcmp(gk_dtype_get(d)->name, type) != 0)
                        fail_msg("%s %s %s: %s, not %s", l->model, gk_mix_name(mix), t.name,
                                 gk_dtype_get(d)->name, type);
                }
            }
            assert_int_equal(t.layer, star == NULL ? 1 : t.n_layers);
        }
    }
    /* kinds and layers of deep and llama80, for all mixes, with and without imatrix */
    assert_int_equal(compared, 36 * (5 * 17 + 2) + 36 * (4 * 80 + 1));
}

/* ---- one input, one output --------------------------------------------------------- */

static void write_aside(const char *from, const char *rules, gk_plan_options o, const char *name)
{
    o.out_name = name;
    write_model(from, rules, &o, path_of(WORK "/%s.gguf", name));
}

static void threads_and_memory_do_not_show(void **state)
{
    (void)state;
    static const char *const rules[] = {"default = Q4_K_M", "default = Q2_K", "default = MXFP4_MOE",
                                        "default = keep"};
    for (size_t i = 0; i < 4; i++) {
        gk_plan_options o = gguf_options();
        write_gguf("build/models/odd", rules[i], &o);
        for (int threads = 1; threads <= 7; threads += 3) {
            gk_catalog *c = open_whole("build/models/odd");
            o.threads = threads;
            o.memory_bytes = MANY;
            write_aside("build/models/odd", rules[i], o, "again");
            assert_same_files(OUT, WORK "/again.gguf");
            for (gk_plan *p; o.memory_bytes > 4096; o.memory_bytes = o.memory_bytes / 8 * 7) {
                gk_err err = {0};
                if ((p = try_plan(c, rules[i], &o, &err)) == NULL)
                    break;
                gk_plan_free(p);
            }
            o.memory_bytes = o.memory_bytes / 7 * 8 + 8; /* the last that was enough */
            write_aside("build/models/odd", rules[i], o, "again");
            assert_same_files(OUT, WORK "/again.gguf");
            gk_catalog_close(c);
        }
    }
}

static void a_split_set_holds_the_same_tensors(void **state)
{
    (void)state;
    gk_plan_options o = gguf_options();
    gguf_bytes whole = written("build/models/odd", "default = Q4_K_M", &o);
    uint64_t seen = 0;
    o.max_shard_bytes = 2000000;
    o.out_name = "set";
    write_model("build/models/odd", "default = Q4_K_M", &o, WORK "/set.gguf");
    assert_false(is_there(WORK "/set.gguf"));
    assert_int_equal(count_names(WORK, "set-0000"), 3);
    for (int i = 0; i < 3; i++) {
        gguf_bytes f = read_gguf(path_of(WORK "/set-%05d-of-00003.gguf", i + 1));
        const unsigned char count[2] = {3, 0}, all[4] = {(unsigned char)whole.n_tensors, 0, 0, 0};
        assert_int_equal(f.n_keys, i == 0 ? whole.n_keys + 3 : 3);
        const gguf_key *no = find_key(&f, "split.no"), *n = find_key(&f, "split.count"),
                       *tensors = find_key(&f, "split.tensors.count");
        assert_true(no->type == U16 && no->value[0] == i && no->value[1] == 0);
        assert_true(n->type == U16 && memcmp(n->value, count, 2) == 0);
        assert_true(tensors->type == I32 && memcmp(tensors->value, all, 4) == 0);
        for (uint64_t k = 0; i == 0 && k < whole.n_keys; k++) {
            const gguf_key *a = &whole.key[k], *b = find_key(&f, a->key);
            assert_true(b != NULL && a->type == b->type && a->n == b->n);
            assert_memory_equal(a->value, b->value, a->n);
        }
        uint64_t bytes = 0;
        for (uint64_t k = 0; k < f.n_tensors; k++, seen++) {
            const gguf_tensor *t = &f.tensor[k], *from = find_tensor(&whole, t->name);
            assert_true(from != NULL && from->n == t->n && strcmp(from->type, t->type) == 0);
            assert_memory_equal(t->data, from->data, t->n);
            bytes += t->n;
        }
        assert_true(bytes <= o.max_shard_bytes);
        close_gguf(&f);
    }
    assert_int_equal(seen, whole.n_tensors);
    close_gguf(&whole);
    gk_catalog_close(open_whole(WORK "/set-00001-of-00003.gguf"));
}

/* ---- keys ------------------------------------------------------------------------- */

typedef struct wanted {
    const char *key;
    uint32_t type;
    double number;
    const char *text;
} wanted;

static void expect_keys(const gguf_bytes *f, const wanted *w)
{
    for (; w->key != NULL; w++) {
        const gguf_key *k = find_key(f, w->key);
        if (k == NULL || k->type != w->type)
            fail_msg("%s is of type %d", w->key, k == NULL ? -1 : (int)k->type);
        if (w->type == STRING) {
            assert_int_equal(k->n, 8 + strlen(w->text));
            assert_memory_equal(k->value + 8, w->text, k->n - 8);
        } else if (w->type == BOOL) {
            assert_int_equal(k->value[0], w->number);
        } else {
            uint32_t bits;
            float real;
            memcpy(&bits, k->value, 4);
            memcpy(&real, k->value, 4);
            if (w->type == U32 ? bits != w->number : real != (float)w->number)
                fail_msg("%s is %u or %g, not %g", w->key, bits, (double)real, w->number);
        }
    }
}

/* facts/grok2.md 5.1 with the numbers of the config. */
static const wanted of_tiny[] = {
    {"general.architecture", STRING, 0, "grok"},
    {"general.type", STRING, 0, "model"},
    {"general.file_type", U32, 15, NULL},
    {"general.quantization_version", U32, 2, NULL},
    {"grok.block_count", U32, 2, NULL},
    {"grok.context_length", U32, 4096, NULL},
    {"grok.embedding_length", U32, 256, NULL},
    {"grok.feed_forward_length", U32, 512, NULL},
    {"grok.expert_count", U32, 8, NULL},
    {"grok.expert_used_count", U32, 2, NULL},
    {"grok.expert_feed_forward_length", U32, 256, NULL},
    {"grok.attention.head_count", U32, 8, NULL},
    {"grok.attention.head_count_kv", U32, 2, NULL},
    {"grok.attention.key_length", U32, 32, NULL},
    {"grok.attention.value_length", U32, 32, NULL},
    {"grok.attention.layer_norm_rms_epsilon", F32, 1e-5, NULL},
    {"grok.rope.freq_base", F32, 208533496, NULL},
    {"grok.embedding_scale", F32, 16, NULL},
    {"grok.logit_scale", F32, 0.5, NULL},
    {"grok.attention.output_scale", F32, 0.17677669529663687, NULL}, /* 32^-0.5 */
    {"grok.attn_logit_softcapping", F32, 30, NULL},
    {"grok.router_logit_softcapping", F32, 30, NULL},
    {"grok.final_logit_softcapping", F32, 50, NULL},
    {"grok.attention.temperature_length", U32, 64, NULL},
    {"tokenizer.ggml.model", STRING, 0, "gpt2"},
    {"tokenizer.ggml.pre", STRING, 0, "grok-2"},
    {"tokenizer.ggml.bos_token_id", U32, 1, NULL}, /* the separator */
    {"tokenizer.ggml.eos_token_id", U32, 2, NULL},
    {"tokenizer.ggml.padding_token_id", U32, 0, NULL},
    {"tokenizer.ggml.add_bos_token", BOOL, 0, NULL},
    {NULL, 0, 0, NULL}};

static const wanted of_odd[] = {{"grok.block_count", U32, 3, NULL},
                                {"grok.embedding_length", U32, 320, NULL},
                                {"grok.feed_forward_length", U32, 640, NULL},
                                {"grok.expert_count", U32, 4, NULL},
                                {"grok.expert_used_count", U32, 1, NULL},
                                {"grok.expert_feed_forward_length", U32, 384, NULL},
                                {"grok.attention.head_count", U32, 5, NULL},
                                {"grok.attention.head_count_kv", U32, 1, NULL},
                                {"grok.attention.key_length", U32, 64, NULL},
                                {"grok.attention.output_scale", F32, 0.125, NULL},
                                {"grok.attention.temperature_length", U32, 32, NULL},
                                {NULL, 0, 0, NULL}};

/* conversion/grok.py of llama.cpp writes these for "original". */
static const wanted of_yarn[] = {{"grok.rope.scaling.type", STRING, 0, "yarn"},
                                 {"grok.rope.scaling.factor", F32, 16, NULL},
                                 {"grok.rope.scaling.original_context_length", U32, 256, NULL},
                                 {"grok.rope.scaling.yarn_ext_factor", F32, 1, NULL},
                                 {"grok.rope.scaling.yarn_attn_factor", F32, 1, NULL},
                                 {"grok.rope.scaling.yarn_beta_fast", F32, 8, NULL},
                                 {"grok.rope.scaling.yarn_beta_slow", F32, 1, NULL},
                                 {NULL, 0, 0, NULL}};

static void every_key_is_there_with_type_and_value(void **state)
{
    (void)state;
    const gk_plan_options o = gguf_options();
    gguf_bytes f = written(TINY, "default = Q4_K_M", &o);
    expect_keys(&f, of_tiny);
    close_gguf(&f);
    f = written("build/models/odd", "default = keep", &o);
    expect_keys(&f, of_odd);
    assert_null(find_key(&f, "general.quantization_version"));
    close_gguf(&f);
}

static void file_types_are_llama_cpp_s(void **state)
{
    (void)state;
    static const struct {
        const char *rules;
        double file_type;
    } all[] = {{"default = keep", 32}, {"default = f32", 0},       {"default = f16", 1},
               {"default = Q8_0", 7},  {"default = Q3_K_S", 11},   {"default = IQ4_XS", 30},
               {". = Q6_K", 18},       {"default = MXFP4_MOE", 38}};
    const gk_plan_options o = gguf_options();
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        const bool whole = all[i].rules[0] == '.';
        gguf_bytes f = written(TINY, path_of("%s%s", all[i].rules, whole ? "\ndefault = Q6_K" : ""),
                               &o);
        const wanted w[] = {{"general.file_type", U32, all[i].file_type, NULL}, {NULL, 0, 0, NULL}};
        expect_keys(&f, w);
        close_gguf(&f);
    }
}

/* The gguf package wrote the same tokenizer (testdata/vocabulary/grok2-tiny.gguf). */
static void tokens_and_merges_are_the_package_s(void **state)
{
    (void)state;
    static const char *const keys[] = {"tokenizer.ggml.tokens", "tokenizer.ggml.token_type",
                                       "tokenizer.ggml.merges"};
    const gk_plan_options o = gguf_options();
    gguf_bytes f = written(TINY, "default = keep", &o);
    gguf_bytes theirs = read_gguf("testdata/vocabulary/grok2-tiny.gguf");
    for (size_t i = 0; i < 3; i++) {
        const gguf_key *a = find_key(&f, keys[i]), *b = find_key(&theirs, keys[i]);
        assert_true(a != NULL && b != NULL && a->type == ARRAY && b->type == ARRAY);
        assert_int_equal(a->n, b->n);
        assert_memory_equal(a->value, b->value, a->n);
    }
    close_gguf(&f);
    close_gguf(&theirs);
}

static void rope_is_plain_unless_yarn_is_asked_for(void **state)
{
    (void)state;
    gk_plan_options o = gguf_options();
    for (int i = 0; i < 2; i++) {
        o.gguf_rope = i == 0 ? GK_GGUF_ROPE_DEFAULT : GK_GGUF_ROPE_PLAIN;
        gguf_bytes f = written(TINY, "default = keep", &o);
        for (uint64_t k = 0; k < f.n_keys; k++)
            assert_null(strstr(f.key[k].key, "rope.scaling"));
        close_gguf(&f);
    }
    o.gguf_rope = GK_GGUF_ROPE_YARN;
    gguf_bytes f = written(TINY, "default = keep", &o);
    expect_keys(&f, of_yarn);
    close_gguf(&f);
    /* from GGUF to GGUF it stays, can be taken off, and cannot be made up */
    o.gguf_rope = GK_GGUF_ROPE_DEFAULT;
    write_aside(OUT, "default = keep", o, "same");
    assert_same_files(OUT, WORK "/same.gguf");
    o.gguf_rope = GK_GGUF_ROPE_PLAIN;
    write_aside(OUT, "default = keep", o, "plain");
    f = read_gguf(WORK "/plain.gguf");
    for (uint64_t k = 0; k < f.n_keys; k++)
        assert_null(strstr(f.key[k].key, "rope.scaling"));
    close_gguf(&f);
    gk_err err = {0};
    o.gguf_rope = GK_GGUF_ROPE_YARN;
    o.out_name = "none";
    assert_false(try_write(WORK "/plain.gguf", "default = keep", &o, WORK "/none.gguf", &err));
    assert_int_equal(err.code, GK_ERR_ARG);
    assert_non_null(strstr(err.msg, "scaling_factor"));
    assert_false(is_there(WORK "/none.gguf"));
}

/* ---- there and back ------------------------------------------------------------------ */

static void a_gguf_s_copy_is_the_same_file(void **state)
{
    (void)state;
    static const char *const rules[] = {"default = keep", "default = Q3_K_M", "default = Q8_0"};
    const gk_plan_options o = gguf_options();
    for (size_t i = 0; i < 3; i++) {
        write_gguf("build/models/odd", rules[i], &o);
        write_aside(OUT, "default = keep", o, "copy");
        assert_same_files(OUT, WORK "/copy.gguf");
    }
    /* the keys of others are kept, whatever their types; the layout is ours */
    gguf_bytes theirs = read_gguf("testdata/vocabulary/grok2-tiny.gguf");
    close_gguf(&theirs);
    write_aside("testdata/gguf/grok-00001-of-00002.gguf", "default = keep", o, "whole");
    write_aside("testdata/gguf/grok.gguf", "default = keep", o, "copy");
    gguf_bytes whole = read_gguf(WORK "/whole.gguf"), copy = read_gguf(WORK "/copy.gguf");
    assert_null(find_key(&copy, "general.alignment")); /* theirs is 64 */
    assert_null(find_key(&whole, "split.count"));
    const gguf_key *strings = find_key(&copy, "t.strings"), *reals = find_key(&copy, "t.f64");
    assert_true(strings != NULL && strings->type == ARRAY && strings->n == 12 + 3 * 8 + 10001);
    const double tiny = 1e-300;
    assert_true(reals != NULL && reals->type == F64 && memcmp(reals->value, &tiny, 8) == 0);
    assert_int_equal(whole.n_tensors, copy.n_tensors);
    for (uint64_t i = 0; i < copy.n_tensors; i++) {
        const gguf_tensor *a = &copy.tensor[i], *b = find_tensor(&whole, a->name);
        assert_true(b != NULL && a->n == b->n && memcmp(a->data, b->data, a->n) == 0);
    }
    close_gguf(&whole);
    close_gguf(&copy);
}

static void a_release_comes_back_from_a_gguf(void **state)
{
    (void)state;
    static const char *const models[] = {TINY, "build/models/odd", "build/models/eight"};
    const gk_plan_options o = gguf_options(), hf = plain_options();
    gk_scheme bf16;
    gk_err err = {0};
    assert_ok(gk_scheme_parse("bf16", &bf16, &err), err);
    for (size_t i = 0; i < 3; i++) {
        gk_plan_options cast = o;
        cast.plain = &bf16;
        write_gguf(models[i], "default = keep", &cast);
        write_model(OUT, "default = keep", &hf, WORK "/hf");
        /* a GGUF's own tokens are not written to a directory */
        link_one(path_of("%s/tokenizer.tok.json", models[i]), WORK "/hf/tokenizer.tok.json");
        write_aside(WORK "/hf", "default = keep", cast, "again");
        gguf_bytes a = read_gguf(OUT), b = read_gguf(WORK "/again.gguf");
        assert_int_equal(a.n_keys, b.n_keys);
        for (uint64_t k = 0; k < a.n_keys; k++) {
            const gguf_key *x = &a.key[k], *y = find_key(&b, x->key);
            if (y == NULL || x->type != y->type || x->n != y->n
                || memcmp(x->value, y->value, x->n) != 0)
                fail_msg("%s: %s is not the same", models[i], x->key);
        }
        close_gguf(&a);
        close_gguf(&b);
        assert_same_files(OUT, WORK "/again.gguf");
    }
}

/* ---- refusals ------------------------------------------------------------------------ */

/* Overwrites BF16 element `at` of a tensor of a safetensors file. */
static void plant(const char *path, const char *tensor, uint64_t at, uint16_t bits)
{
    size_t n;
    unsigned char *bytes = read_bytes(path, &n);
    uint64_t header, begin;
    memcpy(&header, bytes, 8);
    const char *text = strstr((char *)bytes + 8, path_of("\"%s\":", tensor));
    assert_non_null(text);
    text = strstr(text, "\"data_offsets\":[");
    assert_int_equal(sscanf(text, "\"data_offsets\":[%" SCNu64, &begin), 1);
    memcpy(bytes + 8 + header + begin + 2 * at, &bits, 2);
    write_bytes(path, bytes, n);
    free(bytes);
}

static void expect_refused(const char *from, const char *rules, gk_err_code code,
                           const char *tensor, const char *text)
{
    gk_err err = {0};
    const gk_plan_options o = gguf_options();
    remove_tree(OUT);
    if (try_write(from, rules, &o, OUT, &err))
        fail_msg("%s was written", rules);
    if (err.code != code || strcmp(err.tensor, tensor) != 0 || strstr(err.msg, text) == NULL)
        fail_msg("%d %s: %s", (int)err.code, err.tensor, err.msg);
    assert_int_equal(count_names(WORK, "out.gguf"), 0);
}

static void values_that_blocks_cannot_hold_are_refused(void **state)
{
    (void)state;
    static const char down[] = "model.layers.1.mlp.down_proj.weight";
    static const char *const keep[] = {"keep", "f32", "Q8_0", "Q4_K_M", "MXFP4_MOE"};
    static const char *const f16_scales[] = {"Q4_0", "Q4_1",  "Q5_0", "Q5_1",
                                             "Q8_0", "IQ4_NL"}; /* 64 columns: 256 fits none */
    fresh_dir(WORK);
    link_all("build/models/small-hf", WORK "/model");
    /* 96 columns a row */
    plant(WORK "/model/model.safetensors", down, 96 * 5 + 7, 0x7FC0);
    for (size_t i = 0; i < 5; i++)
        expect_refused(WORK "/model", path_of("default = %s", keep[i]), GK_ERR_FORMAT, down,
                       "NaN at row 5, column 7");
    plant(WORK "/model/model.safetensors", down, 96 * 5 + 7, 0x7E00); /* 4.25e37 */
    for (size_t i = 0; i < 6; i++)
        expect_refused(WORK "/model", path_of("default = %s", f16_scales[i]), GK_ERR_FORMAT, down,
                       "row 5 ");
    const gk_plan_options o = gguf_options();
    for (size_t i = 0; i < 2; i++)
        write_model(WORK "/model", path_of("default = %s", keep[i]), &o, OUT);
}

static void experts_of_a_layer_share_a_type(void **state)
{
    (void)state;
    static const char name[] = "model.layers.1.block_sparse_moe.experts.3.w2.weight";
    fresh_dir(WORK);
    expect_refused(TINY, "layers.1.*experts.3.w2 = Q8_0\ndefault = Q4_K_M", GK_ERR_ARG, name,
                   "becomes Q8_0");
    const gk_plan_options o = gguf_options();
    gguf_bytes f = written(TINY, "layers.1.*experts.*w2 = Q8_0\ndefault = Q4_K_M", &o);
    assert_string_equal(find_tensor(&f, "blk.1.ffn_down_exps.weight")->type, "Q8_0");
    assert_string_equal(find_tensor(&f, "blk.1.ffn_up_exps.weight")->type, "Q4_K");
    assert_string_equal(find_tensor(&f, "blk.1.ffn_down.weight")->type, "Q6_K");
    close_gguf(&f);
}

static void what_no_gguf_can_hold_is_refused(void **state)
{
    (void)state;
    static const char longest[] = "a.name.of.exactly.sixty.three.bytes.is.the.longest.ggml.holds.w";
    static const char longer[] = "a.name.of.exactly.sixty.four.bytes.is.one.more.than.ggml.holds.w";
    const gk_plan_options o = gguf_options();
    const char *names[] = {longest, NULL};
    assert_int_equal(strlen(longest), 63);
    assert_int_equal(strlen(longer), 64);
    fresh_dir(WORK);
    fresh_dir(WORK "/model");
    write_vectors(WORK "/model/model.safetensors", names);
    expect_refused(WORK "/model", "default = keep", GK_ERR_UNSUPPORTED, "", "without config.json");
    write_text(WORK "/model/config.json", "{\"architectures\": [\"OtherForCausalLM\"]}");
    expect_refused(WORK "/model", "default = keep", GK_ERR_UNSUPPORTED, "", "OtherForCausalLM");
    write_text(WORK "/model/config.json",
               "{\"architectures\": [\"MixtralForCausalLM\"], \"num_hidden_layers\": 1,"
               "\"num_attention_heads\": 1, \"hidden_size\": 4, \"intermediate_size\": 4,"
               "\"vocab_size\": 4, \"max_position_embeddings\": 4}");
    write_model(WORK "/model", "default = keep", &o, OUT);
    names[0] = longer;
    write_vectors(WORK "/model/model.safetensors", names);
    expect_refused(WORK "/model", "default = keep", GK_ERR_LIMIT, longer, "64 bytes of name");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_mix_gives_llama_quantize_s_bytes),
        cmocka_unit_test(two_bits_want_an_importance_matrix),
        cmocka_unit_test(statistics_must_be_of_every_matrix_of_two_bits),
        cmocka_unit_test(layers_count_as_llama_quantize_counts_them),
        cmocka_unit_test(threads_and_memory_do_not_show),
        cmocka_unit_test(a_split_set_holds_the_same_tensors),
        cmocka_unit_test(every_key_is_there_with_type_and_value),
        cmocka_unit_test(file_types_are_llama_cpp_s),
        cmocka_unit_test(tokens_and_merges_are_the_package_s),
        cmocka_unit_test(rope_is_plain_unless_yarn_is_asked_for),
        cmocka_unit_test(a_gguf_s_copy_is_the_same_file),
        cmocka_unit_test(a_release_comes_back_from_a_gguf),
        cmocka_unit_test(values_that_blocks_cannot_hold_are_refused),
        cmocka_unit_test(experts_of_a_layer_share_a_type),
        cmocka_unit_test(what_no_gguf_can_hold_is_refused),
    };
    return cmocka_run_group_tests(tests, read_golden, close_golden);
}
