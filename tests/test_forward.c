/* tests/test_forward.c - logits, routing and scores against the float64 reference. */
#include <math.h>
#include <stdlib.h>

#include "tests/npy.h"

#include "formats/json.h"
#include "quant/model.h"
#include "tests/scored.h"
#include "verify/tokenizer.h"

#define GOLDEN TINY "/golden/"
#define ODD    "build/models/odd"
#define LIMIT  5e-4 /* of a logit */

static gk_catalog *tiny, *odd;
static gk_json *golden, *odd_golden;
static gk_tokenizer *tokenizer;

static int open_all(void **state)
{
    (void)state;
    gk_err err = {0};
    tiny = gk_model_open_whole(TINY, &err);
    odd = gk_model_open_whole(ODD, &err);
    golden = gk_json_load(GOLDEN "golden.json", &err);
    odd_golden = gk_json_load("testdata/grok2-odd/golden.json", &err);
    tokenizer = tiny == NULL ? NULL : gk_tokenizer_open(tiny, &err);
    return err.code != GK_OK;
}

static int close_all(void **state)
{
    (void)state;
    gk_catalog_close(tiny);
    gk_catalog_close(odd);
    gk_json_free(golden);
    gk_json_free(odd_golden);
    gk_tokenizer_close(tokenizer);
    return 0;
}

/* ---- what a test asks for ------------------------------------------------------- */

static const gk_json *member(const gk_json *node, const char *a, const char *b)
{
    const gk_json *found = gk_json_get(gk_json_get(node, a), b);
    if (found == NULL)
        fail_msg("no %s.%s in the goldens", a, b);
    return found;
}

static double number(const gk_json *node, const char *key)
{
    double x = NAN;
    assert_true(gk_json_as_real(gk_json_get(node, key), &x));
    return x;
}

static gk_ids ids_of(const gk_json *list)
{
    gk_ids ids = {.n = gk_json_count(list)};
    gk_err err = {0};
    ids.id = gk_alloc(ids.n, sizeof *ids.id, &err);
    for (uint64_t i = 0; i < ids.n; i++) {
        uint64_t id;
        assert_true(gk_json_as_uint(gk_json_at(list, i), &id));
        ids.id[i] = (uint32_t)id;
    }
    return ids;
}

static gk_ids ids_of_text(const char *name)
{
    char path[100];
    gk_err err = {0};
    gk_ids ids = {0};
    uint64_t len;
    snprintf(path, sizeof path, GOLDEN "%s", name);
    char *text = gk_file_slurp(path, 1 << 20, &len, &err);
    assert_ok(text != NULL && gk_tokenizer_encode(tokenizer, text, len, &ids, &err), err);
    gk_free(text);
    return ids;
}

static gk_score_job job_for(const gk_catalog *model, const gk_ids *ids, uint64_t ctx,
                            const char *preset)
{
    gk_score_job job = {.model = model, .ids = ids->id};
    const bool scale_first = strcmp(preset, "vllm-scale-first") == 0;
    assert_true(gk_preset_find(scale_first ? "vllm" : preset, &job.forward.switches));
    if (scale_first)
        job.forward.switches.cap_first = false;
    job.forward.ctx = ctx;
    job.forward.n_windows = ids->n / ctx;
    job.forward.threads = 2;
    job.forward.memory_bytes = UINT64_C(1) << 30;
    return job;
}

/* ---- logits ----------------------------------------------------------------------- */

static void check_logits(const gk_catalog *model, const gk_ids *ids, const char *preset,
                         const char *file, uint64_t every)
{
    gk_score_job job = job_for(model, ids, ids->n, preset);
    npy expected = npy_load(file);
    const uint64_t vocab = expected.n / ((ids->n + every - 1) / every);
    double worst = 0;
    gk_err err = {0};
    job.logits = gk_alloc(ids->n * vocab, sizeof *job.logits, &err);
    gk_score score = run(&job);
    for (uint64_t i = 0; i < expected.n; i++) {
        const uint64_t at = i / vocab * every * vocab + i % vocab;
        const double d = fabs((double)job.logits[at] - expected.value[i]);
        worst = d > worst || isnan(d) ? d : worst;
    }
    if (!(worst <= LIMIT))
        fail_msg("%s: a logit is %g away", file, worst);
    gk_score_free(&score);
    gk_free(job.logits);
    npy_free(&expected);
}

static void logits_of_every_preset_are_the_reference_s(void **state)
{
    (void)state;
    static const char *const presets[] = {"sglang", "llama.cpp", "llama.cpp-plain", "vllm"};
    gk_ids a = ids_of(member(golden, "prompt_ids", "a"));
    gk_ids b = ids_of(member(golden, "prompt_ids", "b"));
    for (int i = 0; i < 4; i++) {
        char file[100];
        snprintf(file, sizeof file, GOLDEN "logits_a_%s.npy", presets[i]);
        check_logits(tiny, &a, presets[i], file, 1);
    }
    check_logits(tiny, &b, "sglang", GOLDEN "logits_b_sglang.npy", 1);
    gk_ids_free(&a);
    gk_ids_free(&b);
}

static void logits_of_an_odd_geometry_are_the_reference_s(void **state)
{
    (void)state;
    gk_ids ids = ids_of(gk_json_get(odd_golden, "ids"));
    uint64_t n;
    assert_true(gk_json_as_uint(member(odd_golden, "logits", "tokens"), &n) && n <= ids.n);
    ids.n = n;
    check_logits(odd, &ids, "sglang", "testdata/grok2-odd/logits.npy", 5);
    gk_ids_free(&ids);
}

/* ---- routing, layer by layer -------------------------------------------------------- */

static void experts_and_residual_stream_are_the_reference_s(void **state)
{
    (void)state;
    gk_ids ids = ids_of(member(golden, "prompt_ids", "a"));
    gk_score_job job = job_for(tiny, &ids, ids.n, "sglang");
    npy residual = npy_load(GOLDEN "residual_a_sglang.npy");
    npy chosen = npy_load(GOLDEN "router_ids_a_sglang.npy");
    npy weight = npy_load(GOLDEN "router_weights_a_sglang.npy");
    gk_err err = {0};
    gk_stream *s = gk_stream_new(tiny, &job.forward, ids.id, &err);
    assert_ok(s != NULL, err);
    const gk_arch *a = gk_stream_arch(s);
    const uint64_t width = ids.n * a->sizes.hidden, picks = ids.n * 2;
    for (uint64_t l = 0; l <= a->sizes.layers; l++) {
        /* golden: the embedding, then the output of every layer */
        for (uint64_t i = 0; i < width; i++)
            assert_true(fabs((double)gk_stream_residual(s)[i] - residual.value[l * width + i])
                        < 1e-4 * (1 + fabs(residual.value[l * width + i])));
        if (l == a->sizes.layers)
            break;
        assert_ok(gk_stream_layer(s, l, &err), err);
        for (uint64_t i = 0; i < picks; i++) {
            assert_int_equal(gk_stream_chosen(s)[i], (int)chosen.value[l * picks + i]);
            assert_true(fabs((double)gk_stream_weights(s)[i] - weight.value[l * picks + i]) < 1e-5);
        }
    }
    gk_stream_free(s);
    npy_free(&residual);
    npy_free(&chosen);
    npy_free(&weight);
    gk_ids_free(&ids);
}

static void a_single_expert_is_chosen_as_the_reference_does(void **state)
{
    (void)state;
    const gk_json *layers = gk_json_get(odd_golden, "router_ids");
    gk_ids ids = ids_of(gk_json_get(odd_golden, "ids"));
    gk_err err = {0};
    ids.n = gk_json_count(gk_json_at(layers, 0));
    gk_score_job job = job_for(odd, &ids, ids.n, "sglang");
    gk_stream *s = gk_stream_new(odd, &job.forward, ids.id, &err);
    assert_ok(s != NULL, err);
    for (uint64_t l = 0; l < gk_json_count(layers); l++) {
        assert_ok(gk_stream_layer(s, l, &err), err);
        for (uint64_t i = 0; i < ids.n; i++) {
            uint64_t expert;
            const gk_json *picks = gk_json_at(gk_json_at(layers, l), i);
            assert_true(gk_json_as_uint(gk_json_at(picks, 0), &expert));
            assert_int_equal(gk_stream_chosen(s)[i], expert);
        }
    }
    gk_stream_free(s);
    gk_ids_free(&ids);
}

/* ---- scores ------------------------------------------------------------------------- */

static void perplexity_is_the_reference_s(void **state)
{
    (void)state;
    static const char *const texts[] = {"heldout.txt", "second.txt"};
    for (int t = 0; t < 2; t++) {
        gk_ids ids = ids_of_text(texts[t]);
        const gk_json *presets = member(golden, "perplexity", texts[t]), *expected;
        const char *preset;
        void *iter = NULL;
        int n = 0;
        while (gk_json_next(presets, &iter, &preset, &expected)) {
            for (int p = 0; p < 2; p++, n++) {
                gk_score_job job = job_for(tiny, &ids, 256, preset);
                job.protocol = p == 0 ? GK_PROTOCOL_LLAMA : GK_PROTOCOL_PAPER;
                gk_score score = run(&job);
                const gk_json *g = gk_json_get(expected, p == 0 ? "llama" : "paper");
                const double ratio = score.model[0].ppl / number(g, "ppl");
                assert_true(score.n_scored == (uint64_t)number(g, "tokens"));
                if (!(fabs(ratio - 1) <= 1e-5))
                    fail_msg("%s %s: ratio %.9f", texts[t], preset, ratio);
                gk_score_free(&score);
            }
        }
        assert_true(n >= 8);
        gk_ids_free(&ids);
    }
}

static void perplexity_of_an_odd_geometry_is_the_reference_s(void **state)
{
    (void)state;
    gk_ids ids = ids_of(gk_json_get(odd_golden, "ids"));
    const gk_json *expected;
    const char *preset;
    void *iter = NULL;
    while (gk_json_next(gk_json_get(odd_golden, "perplexity"), &iter, &preset, &expected))
        for (int p = 0; p < 2; p++) {
            gk_score_job job = job_for(odd, &ids, 128, preset);
            job.protocol = p == 0 ? GK_PROTOCOL_LLAMA : GK_PROTOCOL_PAPER;
            gk_score score = run(&job);
            const double ratio = score.model[0].ppl / number(expected, p == 0 ? "llama" : "paper");
            if (!(fabs(ratio - 1) <= 1e-5))
                fail_msg("%s %d: ratio %.9f", preset, p, ratio);
            gk_score_free(&score);
        }
    gk_ids_free(&ids);
}

static void results_do_not_depend_on_threads_or_memory(void **state)
{
    (void)state;
    gk_ids ids = ids_of_text("heldout.txt");
    gk_score_job job = job_for(tiny, &ids, 256, "sglang");
    gk_score first;
    job.forward.n_windows = 20;
    job.base = tiny;
    first = run(&job);
    const gk_figures *want = &first.model[0];
    assert_true(want->kld.mean == 0 && want->top1 == 1 && want->top5 == 1);
    for (int threads = 1; threads <= 7; threads += threads < 3 ? 1 : 4)
        for (int memory = 0; memory < 3; memory++) {
            static const uint64_t bytes[] = {48u << 20, 1u << 30, 1};
            job.base = NULL;
            job.forward.threads = threads;
            job.forward.memory_bytes = bytes[memory];
            job.forward.spool = memory == 2 ? "build/tmp" : NULL; /* activations in a file */
            gk_score score = run(&job);
            assert_memory_equal(&score.model[0].ppl, &want->ppl, sizeof want->ppl);
            assert_memory_equal(&score.model[0].ppl_err, &want->ppl_err, sizeof want->ppl_err);
            gk_score_free(&score);
        }
    gk_score_free(&first);
    gk_ids_free(&ids);
}

static void a_model_that_is_not_grok2_is_refused(void **state)
{
    (void)state;
    gk_err err = {0};
    gk_ids ids = ids_of(member(golden, "prompt_ids", "a"));
    gk_score_job job = job_for(tiny, &ids, ids.n, "sglang");
    gk_catalog *c = gk_model_open(TINY "/pytorch_model-00000-TP-common.safetensors", &err);
    assert_ok(c != NULL, err);
    assert_null(gk_stream_new(c, &job.forward, ids.id, &err));
    assert_true(err.code == GK_ERR_FORMAT || err.code == GK_ERR_UNSUPPORTED);
    gk_catalog_close(c);
    gk_ids_free(&ids);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(logits_of_every_preset_are_the_reference_s),
        cmocka_unit_test(logits_of_an_odd_geometry_are_the_reference_s),
        cmocka_unit_test(experts_and_residual_stream_are_the_reference_s),
        cmocka_unit_test(a_single_expert_is_chosen_as_the_reference_does),
        cmocka_unit_test(perplexity_is_the_reference_s),
        cmocka_unit_test(perplexity_of_an_odd_geometry_is_the_reference_s),
        cmocka_unit_test(results_do_not_depend_on_threads_or_memory),
        cmocka_unit_test(a_model_that_is_not_grok2_is_refused),
    };
    return cmocka_run_group_tests(tests, open_all, close_all);
}
