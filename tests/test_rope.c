/* tests/test_rope.c - Llama's family there and back: factors of llama3 scaling, biases. */
#include <math.h>

#include "tests/gguf_bytes.h"
#include "tests/written.h"

#include "formats/rope_factors.h"
#include "verify/score.h"

#define WORK      "build/tmp/test_rope"
#define FAMILIES  "testdata/families/"
#define CONVERTED "testdata/gguf/converted.txt"
#define OUT       WORK "/out.gguf"
#define BACK      WORK "/back"
#define PPL_LIMIT 1e-5 /* of the ratio, as for the directories; factors are float32 */
#define MAX_HALF  64

static const char *const models[] = {"llama", "llama-tied", "mistral", "qwen2"};

static void to_gguf(const char *from)
{
    const gk_plan_options o = gguf_options();
    write_model(from, "default = f32", &o, OUT);
}

/* Everything as BF16, which is what the fixtures are. */
static void to_hf(const char *from, const char *out)
{
    gk_plan_options o = plain_options();
    gk_scheme bf16;
    gk_err err = {0};
    assert_ok(gk_scheme_parse("bf16", &bf16, &err), err);
    o.plain = &bf16;
    write_model(from, "default = bf16", &o, out);
}

/* ---- the converter's files ------------------------------------------------------------- */

static void tensors_are_the_converter_s(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof models / sizeof models[0]; i++) {
        char line[256], model[32], name[64], want[65], hex[65];
        uint64_t n = 0;
        to_gguf(path_of(FAMILIES "%s", models[i]));
        gguf_bytes f = read_gguf(OUT);
        FILE *golden = fopen(CONVERTED, "r");
        assert_non_null(golden);
        while (fgets(line, sizeof line, golden) != NULL) {
            if (sscanf(line, "tensor %31s %63s %64s", model, name, want) != 3
                || strcmp(model, models[i]) != 0)
                continue;
            const gguf_tensor *t = find_tensor(&f, name);
            if (t == NULL)
                fail_msg("%s: no %s", model, name);
            sha256_of(t, hex);
            if (strcmp(hex, want) != 0)
                fail_msg("%s: %s is another", model, name);
            n++;
        }
        assert_int_equal(n, f.n_tensors);
        assert_true(n > 20);
        fclose(golden);
        close_gguf(&f);
    }
}

static bool same_numbers(const gk_llama3 *a, const gk_llama3 *b)
{
    return a->factor == b->factor && a->low == b->low && a->high == b->high
           && a->context == b->context;
}

static void factors_are_the_converter_s_and_are_recognized(void **state)
{
    (void)state;
    char line[2048];
    int n = 0;
    FILE *golden = fopen(CONVERTED, "r");
    assert_non_null(golden);
    while (fgets(line, sizeof line, golden) != NULL) {
        float ours[MAX_HALF], theirs[MAX_HALF];
        gk_llama3 l, found;
        double base;
        uint64_t dim;
        int at = 0, len;
        if (sscanf(line, "factors %lf %" SCNu64 " %lf %lf %lf %lf%n", &base, &dim, &l.factor,
                   &l.low, &l.high, &l.context, &at)
            != 6)
            continue;
        assert_true(dim <= 2 * MAX_HALF);
        for (uint64_t j = 0; j < dim / 2; j++, at += len) {
            uint32_t bits;
            assert_int_equal(sscanf(line + at, " %" SCNx32 "%n", &bits, &len), 1);
            memcpy(&theirs[j], &bits, 4);
        }
        gk_llama3_factors(&l, base, dim, ours);
        assert_memory_equal(ours, theirs, dim / 2 * 4);
        assert_true(gk_llama3_guess(theirs, base, dim, &found));
        assert_true(same_numbers(&l, &found));
        theirs[0] = 1.25f;
        assert_false(gk_llama3_guess(theirs, base, dim, &found));
        n++;
    }
    fclose(golden);
    assert_int_equal(n, 6);
}

/* ---- the computation --------------------------------------------------------------------- */

static double perplexity(const char *path, const char *golden, double *expected)
{
    gk_err err = {0};
    gk_json *root = gk_json_load(golden, &err);
    assert_ok(root != NULL, err);
    const gk_json *list = gk_json_get(root, "ids");
    const uint64_t n = gk_json_count(list);
    uint32_t *ids = calloc(n, sizeof *ids);
    uint64_t id, ctx;
    assert_non_null(ids);
    for (uint64_t i = 0; i < n; i++) {
        assert_true(gk_json_as_uint(gk_json_at(list, i), &id));
        ids[i] = (uint32_t)id;
    }
    assert_true(gk_json_as_uint(gk_json_get(root, "ctx"), &ctx));
    assert_true(gk_json_as_real(gk_json_get(gk_json_get(root, "perplexity"), "paper"), expected));
    gk_score_job job = {.model = open_whole(path), .ids = ids, .protocol = GK_PROTOCOL_PAPER};
    job.forward.ctx = ctx;
    job.forward.n_windows = n / ctx;
    job.forward.threads = 2;
    job.forward.memory_bytes = MANY;
    gk_score score;
    assert_ok(gk_score_run(&job, &score, &err), err);
    const double ppl = score.model[0].ppl;
    gk_score_free(&score);
    gk_catalog_close((gk_catalog *)(uintptr_t)job.model);
    gk_json_free(root);
    free(ids);
    return ppl;
}

static void a_gguf_computes_what_the_reference_does(void **state)
{
    (void)state;
    static const char *const name[] = {"llama", "llama-tied", "qwen2"};
    for (size_t i = 0; i < 3; i++) {
        double expected;
        to_gguf(path_of(FAMILIES "%s", name[i]));
        const double ppl = perplexity(OUT, path_of(FAMILIES "%s/golden.json", name[i]), &expected);
        if (!(fabs(ppl / expected - 1) <= PPL_LIMIT))
            fail_msg("%s: perplexity %.9g, expected %.9g", name[i], ppl, expected);
    }
}

/* ---- there and back ----------------------------------------------------------------------- */

static void weights_and_scaling_come_back(void **state)
{
    (void)state;
    static const char *const name[] = {"llama", "llama-tied", "qwen2"};
    for (size_t i = 0; i < 3; i++) {
        gk_err err = {0};
        to_hf(path_of(FAMILIES "%s", name[i]), WORK "/straight");
        to_gguf(path_of(FAMILIES "%s", name[i]));
        to_hf(OUT, BACK);
        assert_same_files(WORK "/straight/model.safetensors", BACK "/model.safetensors");
        if (strcmp(name[i], "llama") != 0)
            continue;
        gk_json *was = gk_json_load(FAMILIES "llama/config.json", &err);
        gk_json *is = gk_json_load(BACK "/config.json", &err);
        assert_ok(was != NULL && is != NULL, err);
        gk_llama3 a, b;
        const char *type;
        assert_ok(gk_llama3_read(gk_rope_scaling(was, &type), &a, &err), err);
        assert_ok(gk_llama3_read(gk_rope_scaling(is, &type), &b, &err), err);
        assert_string_equal(type, "llama3");
        assert_true(same_numbers(&a, &b));
        gk_json_free(was);
        gk_json_free(is);
    }
}

/* OUT with another first factor. */
static void set_factor(float value)
{
    gguf_bytes f = read_gguf(OUT);
    const gguf_tensor *t = find_tensor(&f, GK_ROPE_FACTORS);
    assert_non_null(t);
    memcpy(f.bytes + (t->data - f.bytes), &value, 4);
    write_bytes(OUT, f.bytes, f.size);
    close_gguf(&f);
}

static bool is_said(const gk_findings *f, const char *check, gk_severity severity)
{
    for (uint64_t i = 0; i < f->n; i++)
        if (strcmp(f->row[i].check, check) == 0 && f->row[i].severity == severity
            && f->row[i].tensor != NULL && strcmp(f->row[i].tensor, GK_ROPE_FACTORS) == 0)
            return true;
    return false;
}

static void unknown_factors_stay_a_tensor(void **state)
{
    (void)state;
    gk_err err = {0};
    float v[4];
    double ignored;
    to_gguf(FAMILIES "llama");
    const double plain = perplexity(OUT, FAMILIES "llama/golden.json", &ignored);
    set_factor(1.5f);
    gk_catalog *c = open_whole(OUT);
    assert_true(is_said(&c->findings, "keys", GK_WARN));
    gk_catalog_close(c);
    to_hf(OUT, BACK);
    c = open_whole(BACK);
    const gk_tensor *t = gk_catalog_find(c, GK_ROPE_FACTORS);
    const char *type;
    assert_true(t != NULL && t->dtype == GK_F32 && gk_cols(t) == 4);
    assert_ok(gk_read_part(c, t, 0, 0, 1, 0, 4, v, &err), err);
    assert_true(v[0] == 1.5f);
    assert_null(gk_rope_scaling(c->config, &type));
    gk_catalog_close(c);
    const double gguf = perplexity(OUT, FAMILIES "llama/golden.json", &ignored);
    const double hf = perplexity(BACK, FAMILIES "llama/golden.json", &ignored);
    assert_true(gguf == hf && fabs(gguf / plain - 1) > 1e-3);
    to_gguf(BACK);
    gguf_bytes f = read_gguf(OUT);
    const gguf_tensor *again = find_tensor(&f, GK_ROPE_FACTORS);
    assert_non_null(again);
    assert_memory_equal(again->data, v, sizeof v);
    close_gguf(&f);
}

static void the_plan_tells_what_becomes_of_factors(void **state)
{
    (void)state;
    const gk_plan_options gguf = gguf_options(), hf = plain_options();
    gk_err err = {0};
    gk_catalog *c = open_whole(FAMILIES "llama");
    gk_plan *p = try_plan(c, "default = f32", &gguf, &err);
    assert_ok(p != NULL, err);
    assert_true(is_said(&p->notes, "rope", GK_NOTE));
    gk_plan_free(p);
    gk_catalog_close(c);
    to_gguf(FAMILIES "llama");
    c = open_whole(OUT);
    assert_int_equal(c->findings.n, 0);
    p = try_plan(c, "default = keep", &hf, &err);
    assert_ok(p != NULL, err);
    assert_true(is_said(&p->notes, "rope", GK_NOTE));
    assert_int_equal(p->n_items, c->n_tensors - 1);
    gk_plan_free(p);
    gk_catalog_close(c);
}

/* ---- refusals ------------------------------------------------------------------------------ */

static void a_factor_must_be_above_zero(void **state)
{
    (void)state;
    static const float bad[] = {0, -1, INFINITY, NAN};
    const uint32_t ids[2] = {1, 2};
    for (int i = 0; i < 4; i++) {
        gk_err err = {0};
        to_gguf(FAMILIES "llama");
        set_factor(bad[i]);
        gk_catalog *c = open_whole(OUT);
        const gk_forward_options o = {.ctx = 2, .n_windows = 1, .threads = 1, .memory_bytes = MANY};
        assert_null(gk_stream_new(c, &o, ids, &err));
        assert_int_equal(err.code, GK_ERR_FORMAT);
        assert_string_equal(err.tensor, GK_ROPE_FACTORS);
        gk_catalog_close(c);
    }
}

/* The config of a fixture, beside links to its weights. */
static void with_config(const char *model, const char *old, const char *new)
{
    char from[100];

    snprintf(from, sizeof from, FAMILIES "%s", model);
    remove_tree(WORK "/edited");
    link_all(from, WORK "/edited");
    edit_text(WORK "/edited/config.json", old, new);
}

static void what_no_gguf_says_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *model, *old, *new, *text;
        gk_err_code code;
    } row[] = {
        {"llama", "\"low_freq_factor\": 1.0,", "", "low_freq_factor", GK_ERR_FORMAT},
        {"llama", "\"high_freq_factor\": 4.0", "\"high_freq_factor\": 1.0", "high_freq_factor",
         GK_ERR_FORMAT},
        {"llama", "\"llama3\"", "\"longrope\"", "longrope", GK_ERR_UNSUPPORTED},
        {"qwen2", "\"use_sliding_window\"",
         "\"rope_scaling\": {\"rope_type\": \"llama3\", \"factor\": 8.0, \"low_freq_factor\": 1.0, "
         "\"high_freq_factor\": 4.0, \"original_max_position_embeddings\": 32}, "
         "\"use_sliding_window\"",
         "qwen2", GK_ERR_UNSUPPORTED},
    };
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        const gk_plan_options o = gguf_options();
        gk_err err = {0};
        with_config(row[i].model, row[i].old, row[i].new);
        assert_false(try_write(WORK "/edited", "default = f32", &o, OUT, &err));
        assert_int_equal(err.code, row[i].code);
        if (strstr(err.msg, row[i].text) == NULL)
            fail_msg("'%s' does not say %s", err.msg, row[i].text);
    }
}

WORK_FOLDER(WORK)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tensors_are_the_converter_s),
        cmocka_unit_test(factors_are_the_converter_s_and_are_recognized),
        cmocka_unit_test(a_gguf_computes_what_the_reference_does),
        cmocka_unit_test(weights_and_scaling_come_back),
        cmocka_unit_test(unknown_factors_stay_a_tensor),
        cmocka_unit_test(the_plan_tells_what_becomes_of_factors),
        cmocka_unit_test(a_factor_must_be_above_zero),
        cmocka_unit_test(what_no_gguf_says_is_refused),
    };
    return cmocka_run_group_tests(tests, open_work, close_work);
}
