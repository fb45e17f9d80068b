/* tests/test_gains.c - searching scales of q, k and v by the gains of the norm before them. */
#include <math.h>

#include "tests/written.h"

#define WORK  "build/tmp/test_gains"
#define MODEL "testdata/grok2-tiny"
#define RULES "default = int4-g128"

WORK_FOLDER(WORK)

static gk_plan *plan_of(const gk_catalog *c, const char *to, gk_method method)
{
    gk_err err = {0};
    gk_plan_options o = int_options();

    o.target = gk_target_find(to, &err);
    o.method = method;
    gk_plan *p = try_plan(c, strcmp(to, "gguf") == 0 ? "default = Q4_0" : RULES, &o, &err);
    assert_ok(p != NULL, err);
    return p;
}

/* The files' own bf16, read without the planner. */
static void assert_gains(const gk_catalog *c, const char *layer, const float *importance)
{
    gk_err err = {0};
    char name[64];
    uint16_t bits[256];
    snprintf(name, sizeof name, "model.layers.%.1s.pre_attn_norm.weight", layer);
    const gk_tensor *t = gk_catalog_find(c, name);
    bool differ = false;

    assert_non_null(t);
    assert_int_equal(gk_cols(t), 256);
    assert_ok(gk_read_part(c, t, 0, 0, 1, 0, 256, bits, &err), err);
    for (int i = 0; i < 256; i++) {
        const uint32_t wide = (uint32_t)bits[i] << 16;
        float g;
        memcpy(&g, &wide, sizeof g);
        assert_true(importance[i] == fabsf(g));
        differ |= importance[i] != importance[0];
    }
    assert_true(differ);
}

static void q_k_and_v_know_the_gains_before_them(void **state)
{
    gk_catalog *c = open_whole(MODEL);
    gk_plan *p = plan_of(c, "compressed-tensors", GK_METHOD_SEARCH);
    int n = 0;

    (void)state;
    for (uint64_t i = 0; i < p->n_items; i++) {
        const char *name = p->item[i].from->name, *of = strstr(name, "self_attn.");
        const bool reads = of != NULL && strstr(of, "o_proj") == NULL;
        assert_int_equal(p->item[i].importance != NULL, reads);
        if (reads)
            assert_gains(c, name + strlen("model.layers."), p->item[i].importance);
        n += reads;
    }
    assert_int_equal(n, 6);
    assert_int_equal(p->gain_bytes, 2 * 256 * sizeof(float));
    gk_plan_free(p);
    gk_catalog_close(c);
}

static void rtn_and_gguf_do_without(void **state)
{
    gk_catalog *c = open_whole(MODEL);

    (void)state;
    for (int k = 0; k < 2; k++) {
        gk_plan *p = k == 0 ? plan_of(c, "compressed-tensors", GK_METHOD_RTN)
                            : plan_of(c, "gguf", GK_METHOD_SEARCH);
        for (uint64_t i = 0; i < p->n_items; i++)
            assert_null(p->item[i].importance);
        assert_int_equal(p->gain_bytes, 0);
        gk_plan_free(p);
    }
    gk_catalog_close(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(q_k_and_v_know_the_gains_before_them),
        cmocka_unit_test(rtn_and_gguf_do_without),
    };
    return cmocka_run_group_tests(tests, open_work, close_work);
}
