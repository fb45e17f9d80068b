/* tests/test_families.c - Grok-1, Llama, Mistral and Qwen2 against float64 references. */
#include <math.h>
#include <stdlib.h>

#include "tests/npy.h"

#include "formats/json.h"
#include "quant/model.h"
#include "verify/score.h"

#define FAMILIES  "testdata/families/"
#define LIMIT     1e-4 /* of a logit: float32 sums of widths below 100 */
#define PPL_LIMIT 1e-5 /* of the ratio, as for Grok-2 */

typedef struct fixture {
    gk_catalog *model;
    gk_json    *golden;
    uint32_t   *ids;
    uint64_t    n, ctx;
} fixture;

static fixture load(const char *name)
{
    char path[100];
    gk_err err = {0};
    fixture f = {0};
    uint64_t id;
    snprintf(path, sizeof path, FAMILIES "%s", name);
    f.model = gk_model_open_whole(path, &err);
    assert_ok(f.model != NULL, err);
    snprintf(path, sizeof path, FAMILIES "%s/golden.json", name);
    f.golden = gk_json_load(path, &err);
    assert_ok(f.golden != NULL, err);
    const gk_json *list = gk_json_get(f.golden, "ids");
    f.n = gk_json_count(list);
    f.ids = gk_alloc(f.n, sizeof *f.ids, &err);
    for (uint64_t i = 0; i < f.n; i++) {
        assert_true(gk_json_as_uint(gk_json_at(list, i), &id));
        f.ids[i] = (uint32_t)id;
    }
    assert_true(gk_json_as_uint(gk_json_get(f.golden, "ctx"), &f.ctx));
    return f;
}

static void unload(fixture *f)
{
    gk_catalog_close(f->model);
    gk_json_free(f->golden);
    gk_free(f->ids);
}

static gk_score_job job_for(const fixture *f, const char *preset)
{
    gk_score_job job = {.model = f->model, .ids = f->ids};
    if (preset != NULL)
        assert_true(gk_preset_find(preset, &job.forward.switches));
    job.forward.ctx = f->ctx;
    job.forward.n_windows = f->n / f->ctx;
    job.forward.threads = 2;
    job.forward.memory_bytes = UINT64_C(1) << 30;
    return job;
}

static void check_perplexity(const fixture *f, const char *preset, const gk_json *expected)
{
    for (int p = 0; p < 2; p++) {
        gk_score_job job = job_for(f, preset);
        gk_score score;
        gk_err err = {0};
        double ppl = NAN;
        job.protocol = p == 0 ? GK_PROTOCOL_LLAMA : GK_PROTOCOL_PAPER;
        assert_true(gk_json_as_real(gk_json_get(expected, p == 0 ? "llama" : "paper"), &ppl));
        assert_ok(gk_score_run(&job, &score, &err), err);
        if (!(fabs(score.model[0].ppl / ppl - 1) <= PPL_LIMIT))
            fail_msg("%s: perplexity %.9g, expected %.9g", preset, score.model[0].ppl, ppl);
        gk_score_free(&score);
    }
}

static void check(const char *name, const char *preset)
{
    char path[100];
    fixture f = load(name);
    gk_score_job job = job_for(&f, preset);
    gk_score score;
    gk_err err = {0};
    double worst = 0;
    snprintf(path, sizeof path, FAMILIES "%s/logits.npy", name);
    npy expected = npy_load(path);
    job.logits = gk_alloc(expected.n, sizeof *job.logits, &err);
    assert_ok(gk_score_run(&job, &score, &err), err);
    for (uint64_t i = 0; i < expected.n; i++) {
        const double d = fabs((double)job.logits[i] - expected.value[i]);
        worst = d > worst || isnan(d) ? d : worst;
    }
    if (!(worst <= LIMIT))
        fail_msg("%s: a logit is %g away", name, worst);
    print_message("%s: logits within %.1e\n", name, worst);
    check_perplexity(&f, preset, gk_json_get(f.golden, "perplexity"));
    gk_score_free(&score);
    gk_free(job.logits);
    npy_free(&expected);
    unload(&f);
}

static void llama_with_slowed_waves_is_the_reference_s(void **state)
{
    (void)state;
    check("llama", NULL);
}

static void tied_llama_with_biases_is_the_reference_s(void **state)
{
    (void)state;
    check("llama-tied", NULL);
}

static void mistral_s_window_is_the_reference_s(void **state)
{
    (void)state;
    check("mistral", NULL);
}

static void qwen2_is_the_reference_s(void **state)
{
    (void)state;
    check("qwen2", NULL);
}

static void grok1_is_the_reference_s(void **state)
{
    (void)state;
    check("grok1", "grok1");
}

static void grok1_as_every_engine_is_the_reference_s(void **state)
{
    (void)state;
    fixture f = load("grok1");
    const gk_json *expected;
    const char *preset;
    void *iter = NULL;
    int n = 0;
    while (gk_json_next(gk_json_get(f.golden, "presets"), &iter, &preset, &expected)) {
        check_perplexity(&f, preset, expected);
        n++;
    }
    assert_int_equal(n, 4);
    unload(&f);
}

/* The norm behind the experts hides it from logits: the weights themselves tell. */
static void only_some_engines_renormalise_grok1(void **state)
{
    (void)state;
    static const struct {
        const char *preset;
        bool        sums_to_one;
    } engine[] = {{"grok1", false}, {"sglang", false}, {"vllm", true}, {"llama.cpp", true}};
    fixture f = load("grok1");
    for (int i = 0; i < 4; i++) {
        gk_score_job job = job_for(&f, engine[i].preset);
        gk_err err = {0};
        gk_stream *s = gk_stream_new(f.model, &job.forward, f.ids, &err);
        assert_ok(s != NULL && gk_stream_layer(s, 0, &err), err);
        double most = 0, least = 2;
        for (uint64_t t = 0; t < f.n; t++) {
            const double sum = (double)gk_stream_weights(s)[2 * t]
                               + (double)gk_stream_weights(s)[2 * t + 1];
            most = fmax(most, sum);
            least = fmin(least, sum);
        }
        assert_true(most < 1 + 1e-6);
        assert_true(engine[i].sums_to_one ? least > 1 - 1e-6 : least < 0.9);
        gk_stream_free(s);
    }
    unload(&f);
}

/* ---- configs -------------------------------------------------------------------- */

static gk_err_code read_config(const char *text, gk_arch *a, gk_err *err)
{
    *err = (gk_err){0};
    gk_json *config = gk_json_parse(text, strlen(text), "config.json", err);
    assert_ok(config != NULL, (*err));
    const bool ok = gk_arch_read(config, a, err);
    assert_true(ok == (err->code == GK_OK));
    gk_json_free(config);
    return err->code;
}

#define SIZES                                                                                    \
    "\"hidden_size\":48,\"intermediate_size\":80,\"num_hidden_layers\":2,\"vocab_size\":97,"     \
    "\"num_attention_heads\":6"
#define CONFIG(name, more) "{\"architectures\":[\"" name "\"]," SIZES more "}"

static void the_config_picks_the_family(void **state)
{
    (void)state;
    static const struct {
        const char *config, *name;
    } row[] = {
        {CONFIG("LlamaForCausalLM", ""), "llama"},
        {CONFIG("MistralForCausalLM", ""), "mistral"},
        {CONFIG("Qwen2ForCausalLM", ""), "qwen2"},
        {CONFIG("GrokForCausalLM", ",\"num_local_experts\":4"), "grok1"},
        {CONFIG("Grok1ModelForCausalLM", ",\"num_experts\":4"), "grok1"},
        {CONFIG("Grok1ForCausalLM", ",\"num_experts\":4,\"residual_moe\":false"), "grok1"},
        {CONFIG("Grok1ForCausalLM",
                ",\"num_experts\":4,\"residual_moe\":true,\"moe_intermediate_size\":40,"
                "\"num_key_value_heads\":2,\"num_experts_per_tok\":2,"
                "\"embedding_multiplier_scale\":1,\"output_multiplier_scale\":1"),
         "grok2"},
    };
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        gk_arch a;
        gk_err err;
        assert_ok(read_config(row[i].config, &a, &err) == GK_OK, err);
        assert_string_equal(a.name, row[i].name);
    }
}

static void defaults_are_those_of_the_code(void **state)
{
    (void)state;
    gk_arch a;
    gk_err err;
    assert_ok(read_config(CONFIG("GrokForCausalLM", ",\"num_experts\":4"), &a, &err) == GK_OK, err);
    assert_true(a.embedding_scale == sqrt(48) && a.output_scale == 0.5773502691896257);
    assert_true(a.attn_cap == 30 && a.final_cap == 0 && a.top_k == 2 && a.rope_theta == 10000);
    assert_true(a.sizes.kv_heads == 6 && a.sizes.dense == 0 && a.sizes.moe == 80);
    assert_string_equal(a.preset, "grok1");
    /* transformers' MistralConfig: 4096 where the key is absent, none where it is null */
    assert_ok(read_config(CONFIG("MistralForCausalLM", ""), &a, &err) == GK_OK, err);
    assert_true(a.window == 4096 && a.preset == NULL && a.sizes.experts == 0);
    assert_ok(read_config(CONFIG("MistralForCausalLM", ",\"sliding_window\":null"), &a, &err)
                  == GK_OK, err);
    assert_true(a.window == 0);
    /* transformers 5 moved the base */
    assert_ok(read_config(CONFIG("LlamaForCausalLM",
                                 ",\"rope_parameters\":{\"rope_type\":\"default\","
                                 "\"rope_theta\":5e5}"), &a, &err) == GK_OK, err);
    assert_true(a.rope_theta == 5e5 && a.rope == GK_ROPE_ORIGINAL);
}

static void what_is_not_known_is_named(void **state)
{
    (void)state;
    static const struct {
        const char *config, *text;
        gk_err_code code;
    } row[] = {
        {CONFIG("GemmaForCausalLM", ""), "'GemmaForCausalLM'", GK_ERR_UNSUPPORTED},
        {CONFIG("LlamaForCausalLM", ",\"mlp_bias\":true"), "mlp_bias", GK_ERR_UNSUPPORTED},
        {CONFIG("LlamaForCausalLM", ",\"hidden_act\":\"gelu\""), "'gelu'", GK_ERR_UNSUPPORTED},
        {CONFIG("Qwen2ForCausalLM", ",\"use_sliding_window\":true"), "use_sliding_window",
         GK_ERR_UNSUPPORTED},
        {CONFIG("LlamaForCausalLM", ",\"rope_scaling\":{\"type\":\"dynamic\",\"factor\":2}"),
         "'dynamic'", GK_ERR_UNSUPPORTED},
        {CONFIG("LlamaForCausalLM", ",\"rope_scaling\":{\"rope_type\":\"llama3\",\"factor\":2}"),
         "low_freq_factor", GK_ERR_FORMAT},
        {CONFIG("GrokForCausalLM", ""), "num_local_experts", GK_ERR_FORMAT},
        {CONFIG("GrokForCausalLM", ",\"num_experts\":1"), "num_experts_per_tok", GK_ERR_FORMAT},
    };
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        gk_arch a;
        gk_err err;
        assert_int_equal(read_config(row[i].config, &a, &err), row[i].code);
        if (strstr(err.msg, row[i].text) == NULL)
            fail_msg("'%s' does not say %s", err.msg, row[i].text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(llama_with_slowed_waves_is_the_reference_s),
        cmocka_unit_test(tied_llama_with_biases_is_the_reference_s),
        cmocka_unit_test(mistral_s_window_is_the_reference_s),
        cmocka_unit_test(qwen2_is_the_reference_s),
        cmocka_unit_test(grok1_is_the_reference_s),
        cmocka_unit_test(grok1_as_every_engine_is_the_reference_s),
        cmocka_unit_test(only_some_engines_renormalise_grok1),
        cmocka_unit_test(the_config_picks_the_family),
        cmocka_unit_test(defaults_are_those_of_the_code),
        cmocka_unit_test(what_is_not_known_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
