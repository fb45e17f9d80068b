/* tests/test_compare.c - what happens to models on their way, done to a small one: compare names
 * each, and nothing where a model was only written in another format. */
#include <math.h>

#include "tests/edited.h"

#include "quant/kernels.h"
#include "tests/written.h"
#include "verify/accidents.h"

#define WORK  "build/tmp/test_compare"
#define MODEL WORK "/model"
#define SMALL "build/models/small-hf" /* two layers of eight experts */
#define L0    "model.layers.0."
#define L1    "model.layers.1."
#define MOE   "block_sparse_moe.experts."

typedef struct compared {
    gk_catalog *a, *b;
    gk_comparison c;
    gk_judgement j;
} compared;

static compared compare(const char *a, const char *b)
{
    const gk_compare_options o = {.threads = 2};
    gk_err err = {0};
    compared x = {gk_model_open(a, &err), gk_model_open(b, &err), {0}, {0}};

    assert_ok(x.a != NULL && x.b != NULL, err);
    assert_ok(gk_compare(x.a, x.b, &o, &x.c, &err), err);
    assert_ok(gk_compare_judge(x.a, x.b, &x.c, NULL, &x.j, &err), err);
    return x;
}

static void close_both(compared *x)
{
    gk_judgement_free(&x->j);
    gk_comparison_free(&x->c);
    gk_catalog_close(x->a);
    gk_catalog_close(x->b);
}

static void show(const compared *x)
{
    print_message("  verdict: %s\n", x->j.verdict);
    for (uint64_t i = 0; i < x->j.n; i++)
        print_message("  %s | %s | %s and %d more\n", x->j.row[i].kind, x->j.row[i].text,
                      x->j.row[i].tensor[0], (int)x->j.row[i].n - 1);
}

/* MODEL against SMALL has one accident, of n tensors, one of which is named. */
static void expect(const char *kind, const char *text, uint64_t n, const char *tensor)
{
    compared x = compare(SMALL, MODEL);
    bool named = false;

    if (x.j.n != 1 || strcmp(x.j.row[0].kind, kind) != 0
        || strstr(x.j.row[0].text, text) == NULL || x.j.row[0].n != n) {
        show(&x);
        fail_msg("no accident '%s: %s' of %d tensors alone", kind, text, (int)n);
    }
    for (uint64_t i = 0; i < n; i++)
        named |= strcmp(x.j.row[0].tensor[i], tensor) == 0;
    assert_true(named);
    assert_non_null(strstr(x.j.verdict, "not what A is"));
    close_both(&x);
}

static void expect_none(const char *a, const char *b, const char *verdict)
{
    compared x = compare(a, b);

    if (x.j.n != 0 || strcmp(x.j.verdict, verdict) != 0) {
        show(&x);
        fail_msg("%s against %s is not '%s'", b, a, verdict);
    }
    close_both(&x);
}

/* ---- accidents --------------------------------------------------------------------- */

static void fresh(void) { link_all(SMALL, MODEL); }

/* The values of each in the other's place. */
static void exchange(const char *one, const char *other)
{
    edited a = edit_open(MODEL, one), b = edit_open(MODEL, other);

    assert_int_equal(a.n, b.n);
    memcpy(a.file + b.off, a.bytes, a.n);
    memcpy(a.file + a.off, b.bytes, b.n);
    edit_close(&a, true);
    edit_close(&b, false);
}

/* Row r, column c of the tensor of before, in rows and columns of size 2. */
static void copy_element(edited *e, const unsigned char *before, uint64_t to, uint64_t from)
{
    memcpy(e->bytes + 2 * to, before + 2 * from, 2);
}

static unsigned char *bytes_before(const edited *e)
{
    unsigned char *before = malloc(e->n);

    assert_non_null(before);
    memcpy(before, e->bytes, e->n);
    return before;
}

static void exchanged_tensors_are_named(void **state)
{
    (void)state;
    fresh();
    for (int w = 1; w <= 3; w++)
        exchange(path_of(L0 MOE "2.w%d.weight", w), path_of(L0 MOE "5.w%d.weight", w));
    expect("experts-exchanged", "experts 2 and 5 of layer 0 are exchanged", 6,
           L0 MOE "2.w3.weight");
    fresh();
    exchange(L1 MOE "3.w1.weight", L1 MOE "3.w3.weight");
    expect("matrices-exchanged", "w1 and w3 are exchanged", 2, L1 MOE "3.w1.weight");
    fresh();
    exchange(L0 "mlp.gate_proj.weight", L0 "mlp.up_proj.weight");
    expect("matrices-exchanged", "gate_proj and up_proj are exchanged", 2,
           L0 "mlp.up_proj.weight");
    fresh();
    exchange(L0 "self_attn.k_proj.weight", L0 "self_attn.v_proj.weight");
    expect("matrices-exchanged", "k_proj and v_proj are exchanged", 2,
           L0 "self_attn.k_proj.weight");
    fresh();
    exchange(L0 "pre_attn_norm.weight", L0 "post_attn_norm.weight");
    expect("norms-exchanged", "post_attn_norm and pre_attn_norm are exchanged", 2,
           L0 "pre_attn_norm.weight");
}

static void exchanged_layers_are_named(void **state)
{
    (void)state;
    gk_err err = {0};
    gk_catalog *c = gk_model_open(SMALL, &err);
    uint64_t n = 0;
    assert_ok(c != NULL, err);
    fresh();
    for (uint64_t i = 0; i < c->n_tensors; i++)
        if (strncmp(c->tensor[i].name, L0, strlen(L0)) == 0) {
            exchange(c->tensor[i].name, path_of(L1 "%s", c->tensor[i].name + strlen(L0)));
            n++;
        }
    gk_catalog_close(c);
    expect("layers-exchanged", "layers 0 and 1 are exchanged", 2 * n, L1 "self_attn.q_proj.weight");
}

static void a_layer_in_the_next_ones_place_is_shifted(void **state)
{
    (void)state;
    fresh();
    edited a = edit_open(MODEL, L0 "self_attn.q_proj.weight");
    edited b = edit_open(MODEL, L1 "self_attn.q_proj.weight");
    memcpy(b.bytes, a.bytes, a.n);
    edit_close(&a, false);
    edit_close(&b, true);
    expect("layers-shifted", "layer N is layer N-1 of A", 1, L1 "self_attn.q_proj.weight");
}

static void other_places_are_named(void **state)
{
    (void)state;
    fresh();
    edited e = edit_open(MODEL, L0 MOE "0.w2.weight");
    unsigned char *before = bytes_before(&e);
    assert_int_equal(e.rows, e.cols);
    for (uint64_t r = 0; r < e.rows; r++)
        for (uint64_t c = 0; c < e.cols; c++)
            copy_element(&e, before, r * e.cols + c, c * e.cols + r);
    edit_close(&e, true);
    free(before);
    expect("transposed", "the matrix is transposed", 1, L0 MOE "0.w2.weight");

    /* slices of columns, joined as rows, and then called [64, 64] again */
    fresh();
    e = edit_open(MODEL, L0 MOE "0.w2.weight");
    before = bytes_before(&e);
    const uint64_t wide = e.cols / 2;
    for (uint64_t k = 0, at = 0; k < 2; k++)
        for (uint64_t r = 0; r < e.rows; r++)
            for (uint64_t c = 0; c < wide; c++)
                copy_element(&e, before, at++, r * e.cols + k * wide + c);
    edit_close(&e, true);
    free(before);
    expect("wrong-axis", "slices of 2 ranks, cut by columns, were joined as rows", 1,
           L0 MOE "0.w2.weight");
}

static void swapped_ranks_are_named(void **state)
{
    (void)state;
    /* rows: ranks 1 and 2 of 4 */
    fresh();
    edited e = edit_open(MODEL, L1 MOE "6.w1.weight");
    unsigned char *before = bytes_before(&e);
    memcpy(e.bytes + e.n / 4, before + e.n / 2, e.n / 4);
    memcpy(e.bytes + e.n / 2, before + e.n / 4, e.n / 4);
    edit_close(&e, true);
    free(before);
    expect("ranks-swapped", "slices of 4 ranks (rows) stand in the order 0 2 1 3", 1,
           L1 MOE "6.w1.weight");
    /* columns: both of 2 */
    fresh();
    e = edit_open(MODEL, L1 MOE "6.w2.weight");
    before = bytes_before(&e);
    for (uint64_t r = 0; r < e.rows; r++)
        for (uint64_t c = 0; c < e.cols; c++)
            copy_element(&e, before, r * e.cols + c, r * e.cols + (c + e.cols / 2) % e.cols);
    edit_close(&e, true);
    free(before);
    expect("ranks-swapped", "slices of 2 ranks (columns) stand in the order 1 0", 1,
           L1 MOE "6.w2.weight");
}

static void orders_of_rope_are_named(void **state)
{
    (void)state;
    for (int applied = 0; applied < 2; applied++) {
        fresh();
        edited e = edit_open(MODEL, L0 "self_attn.k_proj.weight");
        unsigned char *before = bytes_before(&e);
        const uint64_t d = 16, row = 2 * e.cols; /* two heads of 16 */
        for (uint64_t h = 0; h < e.rows / d; h++)
            for (uint64_t i = 0; i < d; i++) {
                const uint64_t plain = h * d + i, rope = h * d + i % (d / 2) * 2 + i / (d / 2);
                memcpy(e.bytes + (applied ? rope : plain) * row,
                       before + (applied ? plain : rope) * row, row);
            }
        edit_close(&e, true);
        free(before);
        expect(applied ? "rope-permuted" : "rope-unpermuted", "the order of llama.cpp's rope", 1,
               L0 "self_attn.k_proj.weight");
    }
}

static void signs_scales_and_byte_order_are_named(void **state)
{
    (void)state;
    static const char name[] = L0 "self_attn.o_proj.weight";
    fresh();
    edited e = edit_open(MODEL, name);
    for (size_t i = 1; i < e.n; i += 2)
        e.bytes[i] ^= 0x80;
    edit_close(&e, true);
    expect("sign-flipped", "signs are flipped", 1, name);
    fresh();
    edit_scale(MODEL, name, 3);
    expect("scaled", "8 times as large", 1, name);
    fresh();
    e = edit_open(MODEL, name);
    for (size_t i = 0; i < e.n; i += 2) {
        const unsigned char low = e.bytes[i];
        e.bytes[i] = e.bytes[i + 1];
        e.bytes[i + 1] = low;
    }
    edit_close(&e, true);
    expect("byte-order", "the byte order of other machines", 1, name);
}

static void zero_and_stale_rows_are_named_with_their_place(void **state)
{
    (void)state;
    static const char name[] = L0 "mlp.up_proj.weight";
    fresh();
    edited e = edit_open(MODEL, name);
    memset(e.bytes + 2 * e.cols * 48, 0, 2 * e.cols * 20);
    const uint64_t from = e.off + 2 * e.cols * 48;
    edit_close(&e, true);
    expect("zero",
           path_of("rows 48 to 67 have zeros, the rest is as it should be, from byte %" PRIu64
                   " of " EDITED_FILE " on", from), 1, name);
    fresh();
    e = edit_open(MODEL, name);
    for (size_t i = 0; i < 2 * e.cols * 5; i += 2)
        e.bytes[2 * e.cols * 30 + i] ^= (unsigned char)(0x55 + i);
    for (size_t i = 1; i < 2 * e.cols * 5; i += 2)
        e.bytes[2 * e.cols * 30 + i] ^= (unsigned char)(i % 4 < 2 ? 0x80 : 0);
    edit_close(&e, true);
    expect("stale", "rows 30 to 34 differ, the rest does not, from byte ", 1, name);
}

/* ---- numbers of other types ---------------------------------------------------------- */

/* One matrix [8, 64] of a dtype in a file of its own. */
static void write_numbers(const char *path, const char *dtype, const void *v, size_t n)
{
    char header[256];
    int len = snprintf(header, sizeof header,
                       "{\"w\":{\"dtype\":\"%s\",\"shape\":[8,64],\"data_offsets\":[0,%zu]}}",
                       dtype, n);
    while (len % 8 != 0)
        header[len++] = ' ';
    unsigned char bytes[8 + sizeof header + 8 * 64 * 4];
    const uint64_t length = (uint64_t)len;
    memcpy(bytes, &length, 8);
    memcpy(bytes + 8, header, (size_t)len);
    memcpy(bytes + 8 + len, v, n);
    write_bytes(path, bytes, 8 + (size_t)len + n);
}

static void expect_files(const char *kind, const char *text)
{
    compared x = compare(WORK "/a.safetensors", WORK "/b.safetensors");

    if (kind == NULL ? x.j.n != 0 || strcmp(x.j.verdict, text) != 0
                     : x.j.n != 1 || strcmp(x.j.row[0].kind, kind) != 0) {
        show(&x);
        fail_msg("not '%s'", kind == NULL ? text : kind);
    }
    close_both(&x);
}

static void cut_and_overflown_numbers_are_named(void **state)
{
    (void)state;
    float v[512];
    uint16_t cut[512], rounded[512], half[512];
    for (int i = 0; i < 512; i++) {
        v[i] = sinf((float)i * 1.7f) * 0.1f;
        uint32_t u;
        memcpy(&u, &v[i], 4);
        cut[i] = (uint16_t)(u >> 16);
    }
    gk_kernels_get()->f32_to_bf16(v, 512, rounded);
    write_numbers(WORK "/a.safetensors", "F32", v, sizeof v);
    write_numbers(WORK "/b.safetensors", "BF16", cut, sizeof cut);
    expect_files("bf16-truncated", "cut to bf16");
    write_numbers(WORK "/b.safetensors", "BF16", rounded, sizeof rounded);
    expect_files(NULL, "the same values, rounded");
    v[100] = 70000;
    write_numbers(WORK "/a.safetensors", "F32", v, sizeof v);
    gk_kernels_get()->f32_to_f16(v, 512, half);
    write_numbers(WORK "/b.safetensors", "F16", half, sizeof half);
    expect_files("f16-overflow", "became infinities");
}

/* ---- health --------------------------------------------------------------------------- */

static void a_copy_is_equal_to_the_bit(void **state)
{
    (void)state;
    expect_none(SMALL, SMALL, "bit-equal");
    expect_none("build/models/ranks8", SMALL, "bit-equal");
    expect_none("build/models/ranks8", "build/models/ranks2", "bit-equal");
}

static void what_was_written_in_another_format_has_no_accident(void **state)
{
    (void)state;
    static const struct {
        const char *target, *scheme, *verdict;
    } rows[] = {
        {"compressed-tensors", "int4-g32", "B is A quantized as int4-g32 everywhere except "},
        {"compressed-tensors", "int8-g32", "B is A quantized as int8-g32 everywhere except "},
        {"compressed-tensors", "int4", "B is A quantized as "},
        {"compressed-tensors", "nvfp4", "B is A quantized as nvfp4 everywhere except "},
        {"compressed-tensors", "mxfp4", "B is A quantized as mxfp4 everywhere except "},
        {"fp8", "fp8-channel", "B is A quantized as fp8-channel everywhere except "},
        {"gptq", "int4-g32", "B is A quantized as "},
        {"awq", "int4-g32-asym", "B is A quantized as "},
        {"mlx", "int4-g32-asym", "B is A quantized as "},
        {"hf", "f32", "same values"},
        {"hf", "f16", "the same values, rounded"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        gk_plan_options o = plain_options();
        o.target = gk_target_find(rows[i].target, NULL);
        remove_tree(WORK "/out");
        write_model(SMALL, path_of("default = %s\n", rows[i].scheme), &o, WORK "/out");
        compared x = compare(SMALL, WORK "/out");
        if (x.j.n != 0 || strncmp(x.j.verdict, rows[i].verdict, strlen(rows[i].verdict)) != 0) {
            show(&x);
            fail_msg("%s %s", rows[i].target, rows[i].scheme);
        }
        close_both(&x);
    }
}

/* An accident behind a quantization is one still. */
static void accidents_are_seen_through_a_codec(void **state)
{
    (void)state;
    gk_plan_options o = int_options();
    fresh();
    for (int w = 1; w <= 3; w++)
        exchange(path_of(L0 MOE "2.w%d.weight", w), path_of(L0 MOE "5.w%d.weight", w));
    remove_tree(WORK "/out");
    write_model(MODEL, "default = int4-g32\n", &o, WORK "/out");
    link_all(WORK "/out", MODEL);
    expect("experts-exchanged", "experts 2 and 5 of layer 0 are exchanged", 6,
           L0 MOE "2.w3.weight");
}

/* Whatever allocation fails while accidents are looked for: an error, nothing else. */
static void any_allocation_may_fail(void **state)
{
    (void)state;
    const gk_compare_options o = {.threads = 1};
    gk_err err = {0};
    gk_judgement judged;
    gk_comparison c;
    bool ok = false;
    int64_t n = 0;
    fresh();
    exchange(L0 MOE "2.w1.weight", L0 MOE "5.w1.weight");
    edit_scale(MODEL, L1 MOE "2.w2.weight", 3);
    gk_catalog *a = gk_model_open(SMALL, &err), *b = gk_model_open(MODEL, &err);
    assert_ok(a != NULL && b != NULL && gk_compare(a, b, &o, &c, &err), err);
    for (; !ok && n < 100000; n++) {
        err = (gk_err){0};
        gk_alloc_fail_after(n);
        ok = gk_compare_judge(a, b, &c, NULL, &judged, &err);
        gk_alloc_fail_after(-1);
        assert_true(ok || err.code == GK_ERR_NOMEM);
        assert_true(!ok || judged.n == 2);
        gk_judgement_free(&judged);
    }
    assert_true(ok && n > 20);
    gk_comparison_free(&c);
    gk_catalog_close(a);
    gk_catalog_close(b);
}

WORK_FOLDER(WORK)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exchanged_tensors_are_named),
        cmocka_unit_test(exchanged_layers_are_named),
        cmocka_unit_test(a_layer_in_the_next_ones_place_is_shifted),
        cmocka_unit_test(other_places_are_named),
        cmocka_unit_test(swapped_ranks_are_named),
        cmocka_unit_test(orders_of_rope_are_named),
        cmocka_unit_test(signs_scales_and_byte_order_are_named),
        cmocka_unit_test(zero_and_stale_rows_are_named_with_their_place),
        cmocka_unit_test(cut_and_overflown_numbers_are_named),
        cmocka_unit_test(a_copy_is_equal_to_the_bit),
        cmocka_unit_test(what_was_written_in_another_format_has_no_accident),
        cmocka_unit_test(accidents_are_seen_through_a_codec),
        cmocka_unit_test(any_allocation_may_fail),
    };

    return cmocka_run_group_tests(tests, open_work, close_work);
}
