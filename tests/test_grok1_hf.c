/* tests/test_grok1_hf.c - Grok-1 under the names of two public repositories. */
#include <math.h>

#include "tests/gguf_bytes.h"
#include "tests/written.h"

#include "verify/score.h"

#define DATA      "testdata/grok1-hf/"
#define PICKLES   "testdata/grok1-mini"
#define WORK      "build/tmp/test_grok1_hf"
#define PPL_LIMIT 1e-5 /* of the ratio, as for other fixtures */

static const char *const folders[] = {DATA "jax-names", DATA "torch-names"};

static float *values_of(const gk_catalog *c, const gk_tensor *t)
{
    const uint64_t all[4] = {0, gk_rows(t), 0, gk_cols(t)};
    float *out = malloc(all[1] * all[3] * sizeof *out);
    void *scratch = malloc(gk_decode_scratch_bytes(t, all[1], all[3]) + 64);
    gk_err err = {0};
    assert_true(out != NULL && scratch != NULL);
    assert_ok(gk_decode(c, t, all, out, scratch, &err), err);
    free(scratch);
    return out;
}

static void tensors_are_those_of_the_pickles(void **state)
{
    (void)state;
    gk_catalog *pickles = open_whole(PICKLES);
    for (int k = 0; k < 2; k++) {
        gk_catalog *c = open_whole(folders[k]);
        assert_int_equal(c->n_tensors, pickles->n_tensors + 1); /* lm_head, the embedding again */
        assert_non_null(gk_catalog_find(c, "lm_head.weight"));
        for (uint64_t i = 0; i < pickles->n_tensors; i++) {
            const gk_tensor *want = &pickles->tensor[i], *t = gk_catalog_find(c, want->name);
            if (t == NULL)
                fail_msg("%s: no %s", folders[k], want->name);
            assert_int_equal(t->ndim, want->ndim);
            for (int d = 0; d < t->ndim; d++)
                assert_int_equal(t->dim[d], want->dim[d]);
            float *x = values_of(c, t), *y = values_of(pickles, want);
            if (memcmp(x, y, gk_rows(t) * gk_cols(t) * sizeof *x) != 0)
                fail_msg("%s: %s is another", folders[k], want->name);
            free(x);
            free(y);
        }
        gk_catalog_close(c);
    }
    gk_catalog_close(pickles);
}

static void a_note_says_whose_names_they_were(void **state)
{
    (void)state;
    static const char *const whose[] = {"keyfan/grok-1-hf", "hpcai-tech/grok-1"};
    for (int k = 0; k < 2; k++) {
        gk_catalog *c = open_whole(folders[k]);
        assert_int_equal(c->findings.n, 1);
        assert_int_equal(c->findings.row[0].severity, GK_NOTE);
        assert_non_null(strstr(c->findings.row[0].text, whose[k]));
        gk_catalog_close(c);
    }
}

/* Which names there are does not count: the same floats in the same order. */
static void the_perplexity_is_that_of_the_pickles(void **state)
{
    (void)state;
    gk_err err = {0};
    gk_json *golden = gk_json_load(DATA "golden.json", &err);
    assert_ok(golden != NULL, err);
    const gk_json *list = gk_json_get(golden, "ids");
    uint32_t ids[96];
    uint64_t id, ctx;
    double expected, ppl[3];
    assert_int_equal(gk_json_count(list), 96);
    for (uint64_t i = 0; i < 96; i++) {
        assert_true(gk_json_as_uint(gk_json_at(list, i), &id));
        ids[i] = (uint32_t)id;
    }
    assert_true(gk_json_as_uint(gk_json_get(golden, "ctx"), &ctx));
    assert_true(
        gk_json_as_real(gk_json_get(gk_json_get(golden, "perplexity"), "paper"), &expected));
    for (int k = 0; k < 3; k++) {
        gk_catalog *c = open_whole(k < 2 ? folders[k] : PICKLES);
        gk_score_job job = {.model = c, .ids = ids, .protocol = GK_PROTOCOL_PAPER};
        gk_score score;
        assert_true(gk_preset_find("grok1", &job.forward.switches));
        job.forward.ctx = ctx;
        job.forward.n_windows = 96 / ctx;
        job.forward.threads = 2;
        job.forward.memory_bytes = MANY;
        assert_ok(gk_score_run(&job, &score, &err), err);
        ppl[k] = score.model[0].ppl;
        gk_score_free(&score);
        gk_catalog_close(c);
    }
    assert_true(ppl[0] == ppl[2] && ppl[1] == ppl[2]);
    if (!(fabs(ppl[2] / expected - 1) <= PPL_LIMIT))
        fail_msg("perplexity %.9g, expected %.9g", ppl[2], expected);
    gk_json_free(golden);
}

static void a_gguf_of_them_is_the_pickles_one(void **state)
{
    (void)state;
    gk_plan_options o = gguf_options();
    o.out_name = "pickles";
    write_model(PICKLES, "default = f32", &o, WORK "/pickles.gguf");
    gguf_bytes want = read_gguf(WORK "/pickles.gguf");
    o.out_name = "out";
    for (int k = 0; k < 2; k++) {
        write_model(folders[k], "default = f32", &o, WORK "/out.gguf");
        gguf_bytes f = read_gguf(WORK "/out.gguf");
        assert_int_equal(f.n_tensors, want.n_tensors + 1);
        for (uint64_t i = 0; i < want.n_tensors; i++) {
            const gguf_tensor *t = find_tensor(&f, want.tensor[i].name);
            assert_true(t != NULL && t->n == want.tensor[i].n);
            assert_memory_equal(t->data, want.tensor[i].data, t->n);
        }
        close_gguf(&f);
    }
    close_gguf(&want);
}

/* The second folder with another text in one of its files. */
static void edited(const char *file, const char *old, const char *new)
{
    remove_tree(WORK "/edited");
    link_all(folders[1], WORK "/edited");
    edit_text(path_of(WORK "/edited/%s", file), old, new);
}

static void another_model_keeps_its_names(void **state)
{
    (void)state;
    gk_err err = {0};
    edited("config.json", "Grok1ModelForCausalLM", "OtherForCausalLM");
    gk_catalog *c = gk_model_open(WORK "/edited", &err);
    assert_ok(c != NULL, err);
    assert_non_null(gk_catalog_find(c, "model.layers.0.attn.q_proj.weight"));
    assert_null(gk_catalog_find(c, "model.layers.0.self_attn.q_proj.weight"));
    gk_catalog_close(c);
}

static void only_whole_modules_are_named(void **state)
{
    (void)state;
    gk_err err = {0};
    edited("model.safetensors", "experts.3.linear_v.weight", "experts.3.linear_w.weight");
    gk_catalog *c = gk_model_open(WORK "/edited", &err);
    assert_ok(c != NULL, err);
    assert_non_null(gk_catalog_find(c, "model.layers.0.moe_block.experts.3.linear_w.weight"));
    assert_null(gk_catalog_find(c, "model.layers.0.block_sparse_moe.experts.3.w3.weight"));
    assert_true(gk_findings_refuse(&c->findings, &err) == false); /* one is missing */
    gk_catalog_close(c);
    /* parts of an encoding go with their module */
    edited("model.safetensors", "attn.v_proj.weight", "attn.v_proj.scales");
    c = gk_model_open(WORK "/edited", &err);
    assert_non_null(c);
    assert_non_null(gk_catalog_find(c, "model.layers.0.self_attn.v_proj.scales"));
    gk_catalog_close(c);
}

static void two_names_of_one_tensor_are_refused(void **state)
{
    (void)state;
    gk_err err = {0};
    edited("model.safetensors", "post_moe_norm.scale", "pre_moe_norm.weight");
    assert_null(gk_model_open(WORK "/edited", &err));
    assert_int_equal(err.code, GK_ERR_FORMAT);
    assert_string_equal(err.tensor, "model.layers.0.pre_moe_norm.weight");
}

WORK_FOLDER(WORK)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tensors_are_those_of_the_pickles),
        cmocka_unit_test(a_note_says_whose_names_they_were),
        cmocka_unit_test(the_perplexity_is_that_of_the_pickles),
        cmocka_unit_test(a_gguf_of_them_is_the_pickles_one),
        cmocka_unit_test(another_model_keeps_its_names),
        cmocka_unit_test(only_whole_modules_are_named),
        cmocka_unit_test(two_names_of_one_tensor_are_refused),
    };
    return cmocka_run_group_tests(tests, open_work, close_work);
}
