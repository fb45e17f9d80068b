/* tests/test_release.c - slices are joined exactly, and nothing missing stays unnamed. */
#include <ctype.h>

#include "tests/disk.h"

#include "quant/model.h"
#include "verify/sweep.h"

#define WORK  "build/tmp/test_release"
#define MODEL WORK "/model"
#define GROUP "pytorch_model-000"

/* ---- digests ----------------------------------------------------------------- */

/* Buffers of one row and of everything must give the same digest. */
static void digest_of(const gk_catalog *c, const gk_tensor *t, bool small, char hex[65])
{
    gk_err err = {0};
    const uint64_t n = small ? gk_row_bytes((gk_dtype)t->dtype, gk_cols(t)) : 1u << 20;
    void *buf = malloc(n);
    assert_ok(gk_tensor_digest(c, t, buf, n, hex, &err), err);
    free(buf);
}

static void assert_same_tensors(const char *joined, const char *whole)
{
    gk_err err = {0};
    char x[65], y[65];
    gk_catalog *a = gk_model_open_whole(joined, &err), *b = gk_model_open_whole(whole, &err);
    assert_ok(a != NULL && b != NULL, err);
    assert_true(a->n_tensors > 20);
    assert_int_equal(a->n_tensors, b->n_tensors);
    assert_int_equal(gk_findings_worst(&a->findings, 0, NULL), GK_NOTE);
    for (uint64_t i = 0; i < a->n_tensors; i++) {
        const gk_tensor *s = &a->tensor[i], *t = &b->tensor[i];
        assert_string_equal(s->name, t->name);
        assert_int_equal(s->dtype, t->dtype);
        assert_int_equal(s->ndim, t->ndim);
        assert_memory_equal(s->dim, t->dim, s->ndim * sizeof *s->dim);
        assert_int_equal(gk_tensor_bytes(s), gk_tensor_bytes(t));
        digest_of(a, s, i % 2 == 0, x);
        digest_of(b, t, i % 2 == 1, y);
        if (strcmp(x, y) != 0)
            fail_msg("%s: %s joins to other bytes than %s has", s->name, joined, whole);
    }
    gk_catalog_close(a);
    gk_catalog_close(b);
}

static void any_number_of_ranks_joins_to_the_twin_s_bytes(void **state)
{
    (void)state;
    static const int ranks[] = {1, 2, 4, 8, 16};
    for (size_t i = 0; i < sizeof ranks / sizeof ranks[0]; i++)
        assert_same_tensors(path_of("build/models/ranks%d", ranks[i]), "build/models/small-hf");
}

static void sixteen_experts_join(void **state)
{
    (void)state;
    assert_same_tensors("build/models/experts16", "build/models/experts16-hf");
}

static void a_router_in_f32_stays_f32(void **state)
{
    (void)state;
    gk_err err = {0};
    assert_same_tensors("build/models/odd", "build/models/odd-hf");
    gk_catalog *c = gk_model_open_whole("build/models/odd", &err);
    assert_ok(c != NULL, err);
    assert_int_equal(gk_catalog_find(c, "model.layers.0.block_sparse_moe.gate.weight")->dtype,
                     GK_F32);
    gk_catalog_close(c);
}

/* ---- findings ------------------------------------------------------------------ */

static gk_catalog *open_broken(const char *path)
{
    gk_err err = {0};
    gk_catalog *c = gk_model_open(path, &err);
    assert_ok(c != NULL, err);
    if (gk_findings_worst(&c->findings, 0, NULL) != GK_BAD)
        fail_msg("%s: nothing bad was found", path);
    gk_err refused = {0};
    assert_null(gk_model_open_whole(path, &refused));
    assert_int_not_equal(refused.code, GK_OK);
    assert_string_not_equal(refused.msg, "");
    return c;
}

/* A row of at least that severity; "" matches all, `tensor` true: it must name one. */
static const gk_finding *find_row(const gk_catalog *c, gk_severity severity, const char *file,
                                  bool tensor, const char *text)
{
    for (uint64_t i = 0; i < c->findings.n; i++) {
        const gk_finding *f = &c->findings.row[i];
        if (f->severity >= severity && (file[0] == '\0' || strcmp(f->file, file) == 0)
            && (!tensor || f->tensor[0] != '\0') && strstr(f->text, text) != NULL)
            return f;
    }
    return NULL;
}

static void expect_row(const gk_catalog *c, gk_severity severity, const char *file, bool tensor,
                       const char *text, const char *what)
{
    if (find_row(c, severity, file, tensor, text) != NULL)
        return;
    for (uint64_t i = 0; i < c->findings.n && i < 8; i++)
        print_message("  %s | %s | %s | %s\n", c->findings.row[i].check, c->findings.row[i].file,
                      c->findings.row[i].tensor, c->findings.row[i].text);
    fail_msg("%s: no finding names %s%s and says '%s'", what, file, tensor ? ", a tensor" : "",
             text);
}

typedef void damage(const char *path);

static void take_away(const char *path)
{
    unlink(path);
}

static void cut_ten(const char *path)
{
    size_t n;
    unsigned char *bytes = read_bytes(path, &n);
    write_bytes(path, bytes, n - 10);
    free(bytes);
}

static void cut_in_header(const char *path)
{
    size_t n;
    unsigned char *bytes = read_bytes(path, &n);
    write_bytes(path, bytes, 60);
    free(bytes);
}

static void cut_in_length(const char *path)
{
    size_t n;
    unsigned char *bytes = read_bytes(path, &n);
    write_bytes(path, bytes, 5);
    free(bytes);
}

static void spoil_first_byte(const char *path)
{
    size_t n;
    unsigned char *bytes = read_bytes(path, &n);
    bytes[8] = 'x';
    write_bytes(path, bytes, n);
    free(bytes);
}

static void spoil_dtype(const char *path)
{
    edit_text(path, "\"BF16\"", "\"BF61\"");
}

static void spoil_length(const char *path)
{
    size_t n;
    unsigned char *bytes = read_bytes(path, &n);
    bytes[5] ^= 0x40;
    write_bytes(path, bytes, n);
    free(bytes);
}

static void every_file_is_missed_and_every_cut_is_seen(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        damage     *damage;
    } all[] = {{"removed", take_away},           {"10 bytes short", cut_ten},
               {"cut in the header", cut_in_header}, {"cut in the length", cut_in_length},
               {"first byte", spoil_first_byte}, {"dtype", spoil_dtype},
               {"length word", spoil_length}};
    size_t n;
    char **name = names_in(TINY, &n);
    int files = 0;

    link_all(TINY, MODEL);
    for (size_t i = 0; i < n; i++) {
        const char *tag = strstr(name[i], "-TP-");
        if (tag == NULL)
            continue;
        files++;
        for (size_t k = 0; k < sizeof all / sizeof all[0]; k++) {
            const char *path = path_of(MODEL "/%s", name[i]);
            all[k].damage(path);
            gk_catalog *c = open_broken(MODEL);
            const char *what = path_of("%s (%s)", name[i], all[k].name);
            expect_row(c, GK_BAD, name[i], true, "", what);
            if (isdigit((unsigned char)tag[4]))
                expect_row(c, GK_BAD, name[i], true, path_of("slice of rank %d of 0 to 7",
                           atoi(tag + 4)), what);
            gk_catalog_close(c);
            link_one(path_of(TINY "/%s", name[i]), path);
        }
    }
    assert_int_equal(files, 39);
    free_names(name, n);
    assert_same_tensors(MODEL, TINY); /* all is in place again */
}

/* Every byte of a header, one at a time: refused, or nothing about the tensors changed. */
static void no_flipped_header_bit_goes_unseen(void **state)
{
    (void)state;
    static const char *const victims[] = {GROUP "02-TP-common.safetensors",
                                          GROUP "17-TP-common.safetensors"};
    link_all(TINY, MODEL);
    for (size_t v = 0; v < 2; v++) {
        size_t n;
        const char *path = path_of(MODEL "/%s", victims[v]);
        unsigned char *bytes = read_bytes(path, &n);
        uint64_t header;
        memcpy(&header, bytes, 8);
        const char *meta = strstr((char *)bytes + 8, "\"format\":\"pt\"");
        assert_non_null(meta);
        const size_t meta_at = (size_t)(meta - (char *)bytes);
        for (size_t at = 0; at < 8 + header; at++) {
            gk_err err = {0};
            /* what the metadata says is nobody's business */
            if (at > meta_at - 16 && at < meta_at + 13)
                continue;
            if (bytes[at] == ' ')
                continue;
            bytes[at] ^= 0x04;
            write_bytes(path, bytes, n);
            if (gk_model_open_whole(MODEL, &err) != NULL)
                fail_msg("%s: byte %zu flipped and not seen", victims[v], at);
            bytes[at] ^= 0x04;
        }
        write_bytes(path, bytes, n);
        free(bytes);
    }
    assert_same_tensors(MODEL, TINY);
}

static void a_rank_that_is_missing_everywhere_is_named(void **state)
{
    (void)state;
    for (int rank = 0; rank < 8; rank++) {
        link_all(TINY, MODEL);
        for (int g = 6; g <= 8; g++)
            assert_int_equal(
                unlink(path_of(MODEL "/" GROUP "%02d-TP-%03d.safetensors", g, rank)), 0);
        gk_catalog *c = open_broken(MODEL);
        for (int g = 6; g <= 8; g++)
            expect_row(c, GK_BAD, path_of(GROUP "%02d-TP-%03d.safetensors", g, rank), true,
                       path_of("slice of rank %d of 0 to 7", rank), "rank");
        gk_catalog_close(c);
    }
}

/* ---- file names -------------------------------------------------------------------- */

static void group_numbers_mean_nothing(void **state)
{
    (void)state;
    uint32_t seed = 12345;
    for (int round = 0; round < 4; round++) {
        int to[18];
        for (int i = 0; i < 18; i++)
            to[i] = i;
        for (int i = 17; i > 0; i--) {
            seed = seed * 1664525u + 1013904223u;
            const int k = (int)(seed >> 8) % (i + 1), swap = to[i];
            to[i] = to[k];
            to[k] = swap;
        }
        size_t n;
        char **name = names_in(TINY, &n);
        link_all(TINY, MODEL);
        fresh_dir(WORK "/shuffled");
        for (size_t i = 0; i < n; i++) {
            int group;
            const char *tag = strstr(name[i], "-TP-");
            const char *as = name[i];
            if (tag != NULL) {
                assert_int_equal(sscanf(name[i], "pytorch_model-%d", &group), 1);
                /* odd rounds: each file has a number of its own */
                const int own = (int)(seed % 997 + i * 7);
                as = path_of("pytorch_model-%05d%s", round % 2 == 0 ? to[group] : own, tag);
            }
            if (strcmp(name[i], "golden") != 0)
                assert_int_equal(rename(path_of(MODEL "/%s", name[i]),
                                        path_of(WORK "/shuffled/%s", as)), 0);
        }
        free_names(name, n);
        assert_same_tensors(WORK "/shuffled", TINY);
    }
}

static void a_rank_too_high_is_unexpected_and_its_own_missing(void **state)
{
    (void)state;
    for (int g = 6; g <= 8; g++) {
        link_all(TINY, MODEL);
        assert_int_equal(rename(path_of(MODEL "/" GROUP "%02d-TP-003.safetensors", g),
                                path_of(MODEL "/" GROUP "%02d-TP-008.safetensors", g)), 0);
        gk_catalog *c = open_broken(MODEL);
        expect_row(c, GK_BAD, path_of(GROUP "%02d-TP-008.safetensors", g), true, "unexpected rank",
                   "renamed");
        expect_row(c, GK_BAD, path_of(GROUP "%02d-TP-003.safetensors", g), true,
                   "missing: the slice of rank 3 of 0 to 7", "renamed");
        gk_catalog_close(c);
    }
}

static void the_same_rank_twice_is_a_duplicate(void **state)
{
    (void)state;
    link_all(TINY, MODEL);
    link_one(TINY "/" GROUP "06-TP-003.safetensors", MODEL "/" GROUP "40-TP-003.safetensors");
    gk_catalog *c = open_broken(MODEL);
    expect_row(c, GK_BAD, GROUP "40-TP-003.safetensors", true, "duplicate", "rank 3 twice");
    gk_catalog_close(c);
}

/* ---- entries -------------------------------------------------------------------------- */

static void a_slice_of_another_shape_is_named(void **state)
{
    (void)state;
    static const struct {
        const char *file, *old, *new;
    } all[] = {{GROUP "06-TP-003.safetensors", "[32,256]", "[256,32]"},
               {GROUP "06-TP-003.safetensors", "[32,256]", "[64,128]"},
               {GROUP "06-TP-000.safetensors", "[32,256]", "[8192]  "},
               {GROUP "07-TP-007.safetensors", "[256,32]", "[32,256]"},
               {GROUP "08-TP-005.safetensors", "[32,256]", "[8,1024]"}};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        link_all(TINY, MODEL);
        edit_text(path_of(MODEL "/%s", all[i].file), all[i].old, all[i].new);
        gk_catalog *c = open_broken(MODEL);
        expect_row(c, GK_BAD, all[i].file, true, "shape mismatch", all[i].new);
        /* the others are whole */
        uint64_t incomplete = 0;
        for (uint64_t k = 0; k < c->n_tensors; k++)
            incomplete += c->tensor[k].n_parts == 0 && c->tensor[k].whole == NULL;
        assert_int_equal(incomplete, 1);
        gk_catalog_close(c);
    }
}

/* The last entry of a file is also the last of its data. */
static void drop_last_entry(const char *path, char name[256])
{
    size_t n;
    unsigned char *bytes = read_bytes(path, &n);
    uint64_t header, begin, end;
    memcpy(&header, bytes, 8);
    char *text = (char *)bytes + 8, *last = NULL;
    for (char *at = text; (at = strstr(at, ",\"model.")) != NULL && at < text + header; at++)
        last = at;
    assert_non_null(last);
    assert_int_equal(sscanf(last, ",\"%255[^\"]", name), 1);
    const char *offsets = strstr(last, "\"data_offsets\":[");
    assert_int_equal(sscanf(offsets, "\"data_offsets\":[%" SCNu64 ",%" SCNu64, &begin, &end), 2);
    *last = '}';
    memset(last + 1, ' ', (size_t)(text + header - last - 1));
    write_bytes(path, bytes, 8 + header + begin);
    free(bytes);
}

static void one_expert_missing_in_one_rank_is_named(void **state)
{
    (void)state;
    for (int g = 6; g <= 8; g++) {
        char name[256];
        link_all(TINY, MODEL);
        const char *file = path_of(GROUP "%02d-TP-%03d.safetensors", g, g - 4);
        drop_last_entry(path_of(MODEL "/%s", file), name);
        gk_catalog *c = open_broken(MODEL);
        expect_row(c, GK_BAD, file, true, path_of("slice of rank %d of 0 to 7", g - 4), name);
        const gk_finding *f = find_row(c, GK_BAD, file, true, "missing");
        assert_string_equal(f->tensor, name);
        assert_int_equal(f->more, 0);
        gk_catalog_close(c);
    }
}

static void a_tensor_in_two_common_files_is_a_duplicate(void **state)
{
    (void)state;
    link_all(TINY, MODEL);
    link_one(TINY "/" GROUP "02-TP-common.safetensors", MODEL "/" GROUP "99-TP-common.safetensors");
    gk_catalog *c = open_broken(MODEL);
    expect_row(c, GK_BAD, GROUP "99-TP-common.safetensors", true, "duplicate", "twice");
    assert_string_equal(find_row(c, GK_BAD, GROUP "99-TP-common.safetensors", true, "")->tensor,
                        "model.norm.weight");
    assert_non_null(find_row(c, GK_BAD, "", true, GROUP "02-TP-common.safetensors"));
    gk_catalog_close(c);
}

static void a_common_tensor_in_a_rank_s_file_too_is_a_duplicate(void **state)
{
    (void)state;
    static const char *const name[] = {"model.norm.weight", NULL};
    link_all(TINY, MODEL);
    write_vectors(MODEL "/" GROUP "50-TP-002.safetensors", name);
    gk_catalog *c = open_broken(MODEL);
    expect_row(c, GK_BAD, GROUP "50-TP-002.safetensors", true, "duplicate", "twice");
    gk_catalog_close(c);
}

static void an_unknown_tensor_is_named(void **state)
{
    (void)state;
    static const char *const name[] = {"model.layers.0.surprise.weight", NULL};
    gk_err err = {0};
    link_all(TINY, MODEL);
    write_vectors(MODEL "/" GROUP "50-TP-common.safetensors", name);
    gk_catalog *c = gk_model_open(MODEL, &err);
    assert_ok(c != NULL, err);
    expect_row(c, GK_WARN, GROUP "50-TP-common.safetensors", true, "unknown tensor", "common");
    assert_non_null(gk_catalog_find(c, name[0]));
    gk_catalog_close(c);
    /* of slices nobody knows what they make */
    unlink(MODEL "/" GROUP "50-TP-common.safetensors");
    for (int r = 0; r < 8; r++)
        write_vectors(path_of(MODEL "/" GROUP "50-TP-%03d.safetensors", r), name);
    c = open_broken(MODEL);
    expect_row(c, GK_BAD, "", true, "unknown tensor", "slices");
    gk_catalog_close(c);
}

/* ---- config.json ------------------------------------------------------------------------- */

static void another_config_does_not_fit(void **state)
{
    (void)state;
    static const struct {
        const char *old, *new, *says;
    } all[] = {{"\"num_local_experts\": 8", "\"num_local_experts\": 16", "missing"},
               {"\"num_local_experts\": 8", "\"num_local_experts\": 4", "shape mismatch"},
               {"\"num_hidden_layers\": 2", "\"num_hidden_layers\": 3", "missing"},
               {"\"num_hidden_layers\": 2", "\"num_hidden_layers\": 1", "unknown"},
               {"\"hidden_size\": 256", "\"hidden_size\": 512", "shape mismatch"},
               {"\"hidden_size\": 256", "\"hidden_size\": 128", "shape mismatch"},
               {"\"hidden_size\": 256", "\"hidden_size\": 0", "hidden_size"},
               {"\"hidden_size\": 256", "\"hidden_size\": -256", "hidden_size"},
               {"\"hidden_size\": 256", "\"hidden_width\": 256", "hidden_size"},
               {"\"moe_intermediate_size\": 256", "\"moe_intermediate_size\": 255", "shape"},
               {"\"vocab_size\": 1024", "\"vocab_size\": 1000", "shape mismatch"}};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        link_all(TINY, MODEL);
        edit_text(MODEL "/config.json", all[i].old, all[i].new);
        gk_catalog *c = open_broken(MODEL);
        expect_row(c, GK_BAD, "", false, all[i].says, all[i].new);
        gk_catalog_close(c);
    }
}

static void without_a_config_slices_are_not_joined(void **state)
{
    (void)state;
    link_all(TINY, MODEL);
    unlink(MODEL "/config.json");
    gk_catalog *c = open_broken(MODEL);
    expect_row(c, GK_BAD, "config.json", false, "missing", "no config");
    gk_catalog_close(c);
}

WORK_FOLDER(WORK)

/* ---- the order of names ------------------------------------------------------------- */

static void numbers_in_names_count(void **state)
{
    (void)state;
    static const char *const order[]
        = {"", "a", "a.", "a0", "a0b", "a00", "a00b", "a1", "a1.9", "a1.10", "a1b", "a01", "a2",
           "a9.w1", "a9.w2", "a10", "a10.w", "a010", "a12", "a19", "a99", "a100", "a0100",
           "a18446744073709551616", "aa", "b9", "b10", "\xC3\xA9"};
    const int n = (int)(sizeof order / sizeof order[0]);

    for (int i = 0; i < n; i++)
        for (int k = 0; k < n; k++) {
            const int found = gk_natural_compare(order[i], order[k]);
            if ((found > 0) - (found < 0) != (i > k) - (i < k))
                fail_msg("'%s' against '%s': %d", order[i], order[k], found);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_in_names_count),
        cmocka_unit_test(any_number_of_ranks_joins_to_the_twin_s_bytes),
        cmocka_unit_test(sixteen_experts_join),
        cmocka_unit_test(a_router_in_f32_stays_f32),
        cmocka_unit_test(every_file_is_missed_and_every_cut_is_seen),
        cmocka_unit_test(no_flipped_header_bit_goes_unseen),
        cmocka_unit_test(a_rank_that_is_missing_everywhere_is_named),
        cmocka_unit_test(group_numbers_mean_nothing),
        cmocka_unit_test(a_rank_too_high_is_unexpected_and_its_own_missing),
        cmocka_unit_test(the_same_rank_twice_is_a_duplicate),
        cmocka_unit_test(a_slice_of_another_shape_is_named),
        cmocka_unit_test(one_expert_missing_in_one_rank_is_named),
        cmocka_unit_test(a_tensor_in_two_common_files_is_a_duplicate),
        cmocka_unit_test(a_common_tensor_in_a_rank_s_file_too_is_a_duplicate),
        cmocka_unit_test(an_unknown_tensor_is_named),
        cmocka_unit_test(another_config_does_not_fit),
        cmocka_unit_test(without_a_config_slices_are_not_joined),
    };
    return cmocka_run_group_tests(tests, open_work, close_work);
}
