/* tests/test_accidents.c - what happens to downloads, done to a small release: the audit finds
 * each, or (said where it is so) nothing could without checksums. */
#include "tests/disk.h"

#include "formats/official.h"
#include "quant/model.h"
#include "verify/checks.h"
#include "verify/official.h"

#define WORK  "build/tmp/test_accidents"
#define MODEL WORK "/model"
#define SMALL "build/models/cli" /* two ranks, two experts, one layer */
#define RANKS "build/models/ranks8"
#define GROUP "pytorch_model-000"

/* Findings of an audit: everything, with the lists that lie in the folder. */
static gk_catalog *audit(const char *path, bool sums)
{
    gk_err err = {0};
    gk_sums lists = {0};
    gk_catalog *c = gk_model_open(path, &err);
    const gk_check_options o = {.values = true, .threads = 2, .sums = sums ? &lists : NULL};

    assert_ok(c != NULL, err);
    if (sums) {
        assert_ok(gk_sums_init(&lists, &err), err);
        assert_ok(gk_sums_find(c, &lists, &err), err);
    }
    assert_ok(gk_checks_run(c, &o, &err), err);
    gk_sums_free(&lists);
    return c;
}

static bool found(const gk_catalog *c, gk_severity severity, const char *file, const char *text)
{
    for (uint64_t i = 0; i < c->findings.n; i++) {
        const gk_finding *f = &c->findings.row[i];
        if (f->severity >= severity && (file[0] == '\0' || strcmp(f->file, file) == 0)
            && strstr(f->text, text) != NULL)
            return true;
    }
    return false;
}

static void expect(const gk_catalog *c, gk_severity severity, const char *file, const char *text)
{
    if (found(c, severity, file, text))
        return;
    for (uint64_t i = 0; i < c->findings.n && i < 12; i++)
        print_message("  %d %s | %s | %s | %s\n", c->findings.row[i].severity,
                      c->findings.row[i].check, c->findings.row[i].file, c->findings.row[i].tensor,
                      c->findings.row[i].text);
    fail_msg("no finding of '%s' says '%s'", file, text);
}

static void expect_clean(const char *path, bool sums)
{
    gk_catalog *c = audit(path, sums);

    for (uint64_t i = 0; i < c->findings.n; i++)
        if (c->findings.row[i].severity > GK_NOTE)
            fail_msg("%s: %s: %s", path, c->findings.row[i].file, c->findings.row[i].text);
    gk_catalog_close(c);
}

/* The copy of a release, and the lines that sha256sum writes of it. */
static void fresh(const char *from, bool sums)
{
    link_all(from, MODEL);
    if (sums)
        assert_int_equal(system("cd " MODEL " && sha256sum * >../sums && mv ../sums SHA256SUMS"),
                         0);
}

static void exchange(const char *a, const char *b)
{
    assert_int_equal(rename(path_of(MODEL "/%s", a), MODEL "/between"), 0);
    assert_int_equal(rename(path_of(MODEL "/%s", b), path_of(MODEL "/%s", a)), 0);
    assert_int_equal(rename(MODEL "/between", path_of(MODEL "/%s", b)), 0);
}

/* ---- whole files ------------------------------------------------------------------- */

static void nothing_is_found_where_nothing_is_wrong(void **state)
{
    (void)state;
    for (int sums = 0; sums < 2; sums++) {
        fresh(RANKS, sums);
        expect_clean(MODEL, sums);
    }
    expect_clean("testdata/grok2-tiny", false);
    expect_clean("build/models/odd-hf", false);
}

/* The finding of an audit with and without lists: the file is the same. */
static void a_missing_rank_and_a_cut_shard_are_named(void **state)
{
    (void)state;
    for (int sums = 0; sums < 2; sums++)
        for (int cut = 0; cut < 2; cut++) {
            fresh(RANKS, sums);
            size_t n;
            const char *path = MODEL "/" GROUP "07-TP-005.safetensors";
            unsigned char *bytes = read_bytes(path, &n);
            unlink(path);
            if (cut)
                write_bytes(path, bytes, n / 2);
            free(bytes);
            gk_catalog *c = audit(MODEL, sums);
            expect(c, GK_BAD, GROUP "07-TP-005.safetensors", "the slice of rank 5 of 0 to 7");
            if (sums)
                expect(c, GK_BAD, GROUP "07-TP-005.safetensors",
                       cut ? "checksum mismatch" : "missing or unreadable");
            gk_catalog_close(c);
        }
}

/* Slices of one shape with the values of another rank: only a checksum can tell. */
static void exchanged_ranks_are_named_by_checksums_alone(void **state)
{
    static const char *const a = GROUP "06-TP-002.safetensors";
    static const char *const b = GROUP "06-TP-005.safetensors";

    (void)state;
    fresh(RANKS, true);
    exchange(a, b);
    gk_catalog *c = audit(MODEL, true);
    expect(c, GK_BAD, a, path_of("its bytes are those listed as %s", b));
    expect(c, GK_BAD, b, path_of("its bytes are those listed as %s", a));
    gk_catalog_close(c);
    unlink(MODEL "/SHA256SUMS");
    expect_clean(MODEL, false);
}

static void a_repeated_shard_is_named_without_checksums(void **state)
{
    (void)state;
    for (int group = 6; group <= 8; group++) {
        fresh(RANKS, false);
        link_one(path_of(RANKS "/" GROUP "%02d-TP-001.safetensors", group),
                 path_of(MODEL "/" GROUP "%02d-TP-006.safetensors", group));
        gk_catalog *c = audit(MODEL, false);
        expect(c, GK_BAD, path_of(GROUP "%02d-TP-006.safetensors", group),
               "the slices of rank 1 and rank 6 are identical");
        gk_catalog_close(c);
    }
    /* a file of whole tensors in the place of another: its names tell */
    fresh(RANKS, false);
    link_one(RANKS "/" GROUP "03-TP-common.safetensors",
             MODEL "/" GROUP "05-TP-common.safetensors");
    gk_catalog *c = audit(MODEL, false);
    expect(c, GK_BAD, GROUP "05-TP-common.safetensors", "duplicate");
    expect(c, GK_BAD, "", "\"mlp.up_proj\" that config.json demands");
    gk_catalog_close(c);
}

static void renamed_files_are_found_by_their_bytes(void **state)
{
    (void)state;
    fresh(RANKS, true);
    assert_int_equal(
        rename(MODEL "/" GROUP "06-TP-002.safetensors", MODEL "/" GROUP "06-TP-008.safetensors"),
        0);
    gk_catalog *c = audit(MODEL, true);
    expect(c, GK_BAD, GROUP "06-TP-008.safetensors", "unexpected rank");
    expect(c, GK_BAD, GROUP "06-TP-002.safetensors",
           "its bytes are here under the name " GROUP "06-TP-008.safetensors");
    expect(c, GK_WARN, "", "no list names 1 of 39 weight files");
    gk_catalog_close(c);
}

/* Names of another layer in one file of slices: two are missed there, one is too much. */
static void a_shard_of_another_depth_is_named(void **state)
{
    static const char *const path = MODEL "/" GROUP "07-TP-004.safetensors";
    size_t n;

    (void)state;
    fresh(RANKS, false);
    unsigned char *bytes = read_bytes(path, &n);
    uint64_t header;
    memcpy(&header, bytes, 8);
    for (size_t i = 8; i < 8 + header; i++)
        if (strncmp((char *)bytes + i, "layers.1.", 9) == 0)
            bytes[i + 7] = '3';
    write_bytes(path, bytes, n);
    free(bytes);
    gk_catalog *c = audit(MODEL, false);
    expect(c, GK_BAD, GROUP "07-TP-004.safetensors", "the slice of rank 4 of 0 to 7");
    expect(c, GK_WARN, GROUP "07-TP-004.safetensors", "unknown tensor");
    gk_catalog_close(c);
}

static void copies_of_files_are_named(void **state)
{
    static const char *const copies[][2] = {
        {GROUP "06-TP-002 (1).safetensors", "unrelated file"},
        {"zz-TP-002.safetensors", ""},
        {GROUP "06-tp-002.safetensors", "unrelated file"},
        {GROUP "06-TP-002.SAFETENSORS", "its name ends in other letters"},
    };

    (void)state;
    for (int i = 0; i < 4; i++)
        for (int moved = 0; moved < 2; moved++) {
            fresh(RANKS, true);
            link_one(RANKS "/" GROUP "06-TP-002.safetensors", path_of(MODEL "/%s", copies[i][0]));
            if (moved)
                unlink(MODEL "/" GROUP "06-TP-002.safetensors");
            gk_catalog *c = audit(MODEL, true);
            if (i != 1)
                expect(c, GK_WARN, copies[i][0], copies[i][1]);
            else if (!moved)
                expect(c, GK_BAD, "", "duplicate: this rank's slice stands in two files");
            if (moved)
                expect(c, GK_BAD, GROUP "06-TP-002.safetensors", "missing");
            gk_catalog_close(c);
        }
}

/* ---- values ------------------------------------------------------------------------ */

/* The second half of the data of each file in turn, as a hole of the file system leaves it. */
static void half_of_a_file_in_zeros_is_found(void **state)
{
    size_t n_names;
    char **name = names_in(RANKS, &n_names);
    int files = 0;

    (void)state;
    for (size_t i = 0; i < n_names; i++) {
        size_t n;
        uint64_t header;
        if (strstr(name[i], "-TP-") == NULL)
            continue;
        files++;
        fresh(RANKS, false);
        const char *path = path_of(MODEL "/%s", name[i]);
        unsigned char *bytes = read_bytes(path, &n);
        memcpy(&header, bytes, 8);
        const size_t data = 8 + (size_t)header, half = data + (n - data) / 2;
        memset(bytes + half, 0, n - half);
        write_bytes(path, bytes, n);
        free(bytes);
        gk_catalog *c = audit(MODEL, false);
        if (!found(c, GK_BAD, "", "zero"))
            fail_msg("%s: zeros from byte %zu on were not found", name[i], half);
        gk_catalog_close(c);
    }
    assert_int_equal(files, 39);
    free_names(name, n_names);
}

/* w2 has its slices side by side: rows of zeros in one leave the tensor's rows alive. */
static void zero_rows_of_one_slice_are_found(void **state)
{
    size_t n;
    uint64_t header;

    (void)state;
    for (int sums = 0; sums < 2; sums++) {
        const char *path = MODEL "/" GROUP "07-TP-003.safetensors";
        fresh(RANKS, sums);
        unsigned char *bytes = read_bytes(path, &n);
        memcpy(&header, bytes, 8);
        memset(bytes + 8 + header + 16 * 5, 0, 16 * 6); /* 8 columns of 2 bytes: rows 5 to 10 */
        write_bytes(path, bytes, n);
        free(bytes);
        gk_catalog *c = audit(MODEL, sums);
        expect(c, GK_BAD, GROUP "07-TP-003.safetensors",
               "6 of the 64 rows of the slice of rank 3 are all zero, the first is 5");
        gk_catalog_close(c);
    }
}

static void equal_matrices_of_two_layers_are_found(void **state)
{
    size_t n;
    uint64_t header;
    const char *path = MODEL "/" GROUP "11-TP-common.safetensors";

    (void)state;
    fresh(RANKS, false);
    unsigned char *bytes = read_bytes(path, &n);
    memcpy(&header, bytes, 8);
    const size_t half = (n - 8 - (size_t)header) / 2;
    memcpy(bytes + 8 + header + half, bytes + 8 + header, half);
    write_bytes(path, bytes, n);
    free(bytes);
    gk_catalog *c = audit(MODEL, false);
    expect(c, GK_BAD, "", "identical to model.layers.0.self_attn.q_proj.weight");
    gk_catalog_close(c);
}

/* A thousand places, seeded; each is put back. */
static void any_flipped_bit_is_found_by_checksums(void **state)
{
    size_t n_names;
    char **name = names_in(SMALL, &n_names);
    uint32_t seed = 2024;

    (void)state;
    fresh(SMALL, true);
    for (int round = 0; round < 1000; round++) {
        size_t n;
        seed = seed * 1664525u + 1013904223u;
        const char *victim = name[(seed >> 8) % n_names];
        const char *path = path_of(MODEL "/%s", victim);
        unsigned char *bytes = read_bytes(path, &n);
        seed = seed * 1664525u + 1013904223u;
        const size_t bit = (size_t)((uint64_t)seed * (n * 8) >> 32);
        bytes[bit / 8] ^= (unsigned char)(1u << bit % 8);
        write_bytes(path, bytes, n);
        gk_catalog *c = audit(MODEL, true);
        if (!found(c, GK_BAD, victim, "checksum mismatch"))
            fail_msg("round %d: %s, bit %zu", round, victim, bit);
        gk_catalog_close(c);
        bytes[bit / 8] ^= (unsigned char)(1u << bit % 8);
        write_bytes(path, bytes, n);
        free(bytes);
    }
    expect_clean(MODEL, true);
    free_names(name, n_names);
}

/* ---- indexes and shapes --------------------------------------------------------------- */

static void a_stale_index_is_named(void **state)
{
    static const char *const index = "model.safetensors.index.json";

    (void)state;
    link_all("build/models/odd-hf", MODEL);
    edit_text(path_of(MODEL "/%s", index), "\"model.norm.weight\": \"model-00001",
              "\"model.norm.weight\": \"model-00002");
    gk_catalog *c = audit(MODEL, false);
    expect(c, GK_BAD, "", "the tensor stands in model-00001-of-00017.safetensors");
    gk_catalog_close(c);
    /* an index of more files than were downloaded, beside a release */
    fresh(RANKS, false);
    write_text(path_of(MODEL "/%s", index),
               "{\"weight_map\": {\"model.norm.weight\": \"model-00001-of-00191.safetensors\"}}");
    c = audit(MODEL, false);
    expect(c, GK_BAD, "model-00001-of-00191.safetensors", "missing: the index names this file");
    gk_catalog_close(c);
}

/* Slices of w2 put on top of each other, not side by side, as one converter did. */
static void a_join_on_the_wrong_axis_has_another_shape(void **state)
{
    (void)state;
    link_all("build/models/odd-hf", MODEL);
    size_t n;
    char **name = names_in("build/models/odd-hf", &n);
    int edits = 0;
    for (size_t i = 0; i < n; i++) {
        size_t len;
        if (strstr(name[i], ".safetensors") == NULL || strstr(name[i], "index") != NULL)
            continue;
        const char *path = path_of(MODEL "/%s", name[i]);
        char *text = (char *)read_bytes(path, &len), *at = strstr(text + 8, "[320,384]");
        /* four slices [320, 96] on each other */
        if (at != NULL && ++edits) {
            memcpy(at, "[1280,96]", 9);
            write_bytes(path, text, len);
        }
        free(text);
    }
    free_names(name, n);
    assert_true(edits > 0);
    gk_catalog *c = audit(MODEL, false);
    expect(c, GK_BAD, "", "shape mismatch: it is [1280, 96], config.json demands [320, 384]");
    gk_catalog_close(c);
}

/* ---- the release itself, in holes ------------------------------------------------------- */

static void what_is_known_of_grok_2_is_built_in(void **state)
{
    gk_err err = {0};
    gk_sums none = {0};

    (void)state;
    if (!is_there("build/models/release/config.json"))
        skip();
    link_all("build/models/release", MODEL);
    gk_catalog *c = gk_model_open(MODEL, &err);
    assert_ok(c != NULL && gk_official_check(c, &none, &err), err);
    assert_int_equal(c->findings.n, 1); /* its bytes are proven by nothing */
    expect(c, GK_NOTE, "", "digests are not known here");
    assert_true(gk_official_is(c->config));
    gk_catalog_close(c);
    /* settings that are not those of the copies */
    edit_text(MODEL "/config.json", "208533496", "208533497");
    unlink(MODEL "/" GROUP "06-TP-003.safetensors");
    c = gk_model_open(MODEL, &err);
    assert_ok(c != NULL && gk_official_check(c, NULL, &err), err);
    expect(c, GK_WARN, "config.json", "rope_theta is 208533497, in copies");
    expect(c, GK_NOTE, "", "38 weight files, in xai-org/grok-2 39");
    expect(c, GK_NOTE, "", "12547 stored entries, in xai-org/grok-2 13059");
    gk_catalog_close(c);
    /* without a config slices are joined by what is built in, and missed */
    unlink(MODEL "/config.json");
    c = gk_model_open(MODEL, &err);
    assert_ok(c != NULL, err);
    assert_int_equal(c->n_tensors, GK_OFFICIAL_TENSORS);
    expect(c, GK_BAD, "config.json", "missing");
    expect(c, GK_BAD, GROUP "06-TP-003.safetensors", "the slice of rank 3 of 0 to 7");
    gk_catalog_close(c);
}

WORK_FOLDER(WORK)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_found_where_nothing_is_wrong),
        cmocka_unit_test(a_missing_rank_and_a_cut_shard_are_named),
        cmocka_unit_test(exchanged_ranks_are_named_by_checksums_alone),
        cmocka_unit_test(a_repeated_shard_is_named_without_checksums),
        cmocka_unit_test(renamed_files_are_found_by_their_bytes),
        cmocka_unit_test(a_shard_of_another_depth_is_named),
        cmocka_unit_test(copies_of_files_are_named),
        cmocka_unit_test(half_of_a_file_in_zeros_is_found),
        cmocka_unit_test(zero_rows_of_one_slice_are_found),
        cmocka_unit_test(equal_matrices_of_two_layers_are_found),
        cmocka_unit_test(any_flipped_bit_is_found_by_checksums),
        cmocka_unit_test(a_stale_index_is_named),
        cmocka_unit_test(a_join_on_the_wrong_axis_has_another_shape),
        cmocka_unit_test(what_is_known_of_grok_2_is_built_in),
    };

    return cmocka_run_group_tests(tests, open_work, close_work);
}
