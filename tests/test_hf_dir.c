/* tests/test_hf_dir.c - directories of whole tensors: indexes, shards, cache repositories. */
#include "tests/disk.h"

#include "quant/model.h"
#include "verify/sweep.h"

#define WORK  "build/tmp/test_hf_dir"
#define MODEL WORK "/model"
#define ODD   "build/models/odd-hf"   /* shards and an index */
#define SMALL "build/models/small-hf" /* one file, no index  */
#define INDEX "model.safetensors.index.json"

/* ---- what is expected ---------------------------------------------------------- */

static void digests_into(const gk_catalog *c, char (*hex)[65])
{
    gk_err err = {0};
    void *buf = malloc(1 << 20);
    for (uint64_t i = 0; i < c->n_tensors; i++)
        assert_ok(gk_tensor_digest(c, &c->tensor[i], buf, 1 << 20, hex[i], &err), err);
    free(buf);
}

static void assert_same_model(const char *path, const char *as, gk_severity worst)
{
    gk_err err = {0};
    gk_catalog *a = gk_model_open_whole(path, &err), *b = gk_model_open_whole(as, &err);
    assert_ok(a != NULL && b != NULL, err);
    if (gk_findings_worst(&a->findings, 0, NULL) > worst)
        fail_msg("%s: %s: %s", path, a->findings.row[0].file, a->findings.row[0].text);
    assert_int_equal(a->n_tensors, b->n_tensors);
    assert_true(a->n_tensors > 20);
    char(*x)[65] = malloc(a->n_tensors * sizeof *x), (*y)[65] = malloc(b->n_tensors * sizeof *y);
    digests_into(a, x);
    digests_into(b, y);
    for (uint64_t i = 0; i < a->n_tensors; i++) {
        assert_string_equal(a->tensor[i].name, b->tensor[i].name);
        assert_string_equal(x[i], y[i]);
    }
    free(x);
    free(y);
    gk_catalog_close(a);
    gk_catalog_close(b);
}

/* Opens and expects a row of exactly that severity; the strings must be in its fields. */
static void expect_row(const char *path, gk_severity severity, const char *file,
                       const char *tensor, const char *text)
{
    gk_err err = {0}, refused = {0};
    gk_catalog *c = gk_model_open(path, &err);
    assert_ok(c != NULL, err);
    const gk_finding *hit = NULL;
    for (uint64_t i = 0; hit == NULL && i < c->findings.n; i++) {
        const gk_finding *f = &c->findings.row[i];
        if (f->severity == severity && strstr(f->file, file) != NULL
            && strstr(f->tensor, tensor) != NULL && strstr(f->text, text) != NULL)
            hit = f;
    }
    if (hit == NULL) {
        for (uint64_t i = 0; i < c->findings.n && i < 8; i++)
            print_message("  %d | %s | %s | %s\n", c->findings.row[i].severity,
                          c->findings.row[i].file, c->findings.row[i].tensor,
                          c->findings.row[i].text);
        fail_msg("no finding of %s, %s says '%s'", file, tensor, text);
    }
    gk_catalog_close(c);
    c = gk_model_open_whole(path, &refused);
    if (severity == GK_BAD)
        assert_null(c);
    else
        assert_ok(c != NULL, refused);
    gk_catalog_close(c);
}

/* ---- index ----------------------------------------------------------------------- */

static void an_index_and_its_shards_make_a_model(void **state)
{
    (void)state;
    gk_err err = {0};
    assert_true(is_there(ODD "/" INDEX));
    gk_catalog *c = gk_model_open_whole(ODD, &err);
    assert_ok(c != NULL, err);
    assert_string_equal(c->format, "hf");
    assert_true(c->n_inputs > 2);
    assert_int_equal(gk_findings_worst(&c->findings, 0, NULL), GK_NOTE);
    gk_catalog_close(c);
    assert_same_model(ODD, "build/models/odd", GK_NOTE);
}

static void without_the_index_all_files_are_read(void **state)
{
    (void)state;
    link_all(ODD, MODEL);
    unlink(MODEL "/" INDEX);
    assert_same_model(MODEL, ODD, GK_WARN);
    assert_same_model(SMALL, "build/models/ranks1", GK_NOTE);
}

static void the_index_can_be_named_itself(void **state)
{
    (void)state;
    assert_same_model(ODD "/" INDEX, ODD, GK_NOTE);
    link_all(ODD, MODEL);
    assert_int_equal(rename(MODEL "/" INDEX, MODEL "/other.safetensors.index.json"), 0);
    assert_same_model(MODEL "/other.safetensors.index.json", ODD, GK_NOTE);
    assert_same_model(MODEL, ODD, GK_NOTE);
}

static void a_file_that_only_the_index_knows_is_named(void **state)
{
    (void)state;
    size_t n;
    char **name = names_in(ODD, &n);
    for (size_t i = 0; i < n; i++) {
        if (strncmp(name[i], "model-", 6) != 0)
            continue;
        link_all(ODD, MODEL);
        unlink(path_of(MODEL "/%s", name[i]));
        expect_row(MODEL, GK_BAD, name[i], "", "missing: the index names this file");
        expect_row(MODEL, GK_BAD, "", "model.", "missing");
    }
    free_names(name, n);
}

static void a_dangling_link_is_a_missing_file(void **state)
{
    (void)state;
    size_t n;
    char **name = names_in(ODD, &n);
    link_all(ODD, MODEL);
    for (size_t i = 0; i < n; i++)
        if (strncmp(name[i], "model-00002", 11) == 0) {
            const char *path = path_of(MODEL "/%s", name[i]);
            unlink(path);
            assert_int_equal(symlink("nowhere", path), 0);
            expect_row(MODEL, GK_BAD, name[i], "", "missing");
        }
    free_names(name, n);
}

static void a_stale_shard_is_not_read(void **state)
{
    (void)state;
    static const char *const stale[] = {"model.norm.weight", "model.stale.weight", NULL};
    link_all(ODD, MODEL);
    write_vectors(MODEL "/model-00099-of-00099.safetensors", stale);
    expect_row(MODEL, GK_WARN, "model-00099-of-00099", "", "unrelated file");
    assert_same_model(MODEL, ODD, GK_WARN);
    /* not even looked at: rubbish is as good */
    write_text(MODEL "/model-00099-of-00099.safetensors", "rubbish");
    assert_same_model(MODEL, ODD, GK_WARN);
}

static void a_path_in_the_index_is_never_followed(void **state)
{
    (void)state;
    static const char *const values[] = {"\"../x.safetensors\"", "\"/etc/hostname\"", "\"..\"",
                                         "\".\"", "\"\"", "\"a/b.safetensors\"", "17", "null",
                                         "[\"model.safetensors\"]",
                                         "\"model-00001\\u0000.safetensors\""};
    static const char *const name[] = {"model.norm.weight", NULL};
    fresh_dir(WORK);
    fresh_dir(MODEL);
    write_vectors(WORK "/x.safetensors", name);
    write_vectors(MODEL "/model.safetensors", name);
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        gk_err err = {0};
        write_text(MODEL "/" INDEX,
                   path_of("{\"metadata\": {}, \"weight_map\": {\"model.norm.weight\": %s}}",
                           values[i]));
        expect_row(MODEL, GK_BAD, INDEX, "model.norm.weight", "no file name of this directory");
        gk_catalog *c = gk_model_open(MODEL, &err);
        assert_ok(c != NULL, err);
        assert_int_equal(c->n_inputs, 0);
        assert_null(gk_catalog_find(c, "model.norm.weight"));
        gk_catalog_close(c);
    }
    /* a release directory's index is held to the same */
    link_all(TINY, MODEL);
    write_text(MODEL "/" INDEX, "{\"weight_map\": {\"model.norm.weight\": \"../x.safetensors\"}}");
    expect_row(MODEL, GK_BAD, INDEX, "model.norm.weight", "no file name of this directory");
}

static void an_index_that_is_none_is_reported(void **state)
{
    (void)state;
    static const char *const texts[] = {"", "[]", "{", "{}", "{\"weight_map\": []}",
                                        "{\"weight_map\": {\"a\": \"b\", \"a\": \"b\"}}",
                                        "{\"weight_map\": {}} x"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        link_all(ODD, MODEL);
        write_text(MODEL "/" INDEX, texts[i]);
        expect_row(MODEL, GK_BAD, INDEX, "", "");
    }
}

static void a_tensor_in_two_shards_is_a_duplicate(void **state)
{
    (void)state;
    static const char *const one[] = {"a.weight", "b.weight", NULL};
    static const char *const two[] = {"b.weight", "c.weight", NULL};
    fresh_dir(MODEL);
    write_vectors(MODEL "/model-00001-of-00002.safetensors", one);
    write_vectors(MODEL "/model-00002-of-00002.safetensors", two);
    expect_row(MODEL, GK_BAD, "model-0000", "b.weight", "duplicate");
    write_text(MODEL "/" INDEX,
               "{\"metadata\": {\"total_size\": 24}, \"weight_map\": {"
               "\"a.weight\": \"model-00001-of-00002.safetensors\","
               "\"b.weight\": \"model-00001-of-00002.safetensors\","
               "\"c.weight\": \"model-00002-of-00002.safetensors\"}}");
    expect_row(MODEL, GK_BAD, "model-0000", "b.weight", "duplicate");
}

static void an_index_that_points_to_another_shard_is_bad(void **state)
{
    (void)state;
    static const char *const one[] = {"a.weight", "b.weight", NULL};
    static const char *const two[] = {"c.weight", NULL};
    fresh_dir(MODEL);
    write_vectors(MODEL "/model-00001-of-00002.safetensors", one);
    write_vectors(MODEL "/model-00002-of-00002.safetensors", two);
    write_text(MODEL "/" INDEX,
               "{\"weight_map\": {\"a.weight\": \"model-00001-of-00002.safetensors\","
               "\"b.weight\": \"model-00002-of-00002.safetensors\","
               "\"c.weight\": \"model-00002-of-00002.safetensors\"}}");
    expect_row(MODEL, GK_BAD, INDEX, "b.weight", "the tensor stands in model-00001-of-00002");
    write_text(MODEL "/" INDEX,
               "{\"weight_map\": {\"a.weight\": \"model-00001-of-00002.safetensors\","
               "\"b.weight\": \"model-00001-of-00002.safetensors\","
               "\"c.weight\": \"model-00002-of-00002.safetensors\","
               "\"d.weight\": \"model-00002-of-00002.safetensors\"}}");
    expect_row(MODEL, GK_BAD, "model-00002-of-00002", "d.weight", "missing");
    write_text(MODEL "/" INDEX,
               "{\"weight_map\": {\"a.weight\": \"model-00001-of-00002.safetensors\","
               "\"c.weight\": \"model-00002-of-00002.safetensors\"}}");
    expect_row(MODEL, GK_WARN, INDEX, "b.weight", "unexpected");
}

static void a_wrong_total_size_is_a_warning(void **state)
{
    (void)state;
    link_all(ODD, MODEL);
    edit_text(MODEL "/" INDEX, "\"total_size\": ", "\"total_size\": 1");
    expect_row(MODEL, GK_WARN, INDEX, "", "total_size");
    assert_same_model(MODEL, ODD, GK_WARN);
    /* one byte off, written as a real number as torch does */
    link_all(ODD, MODEL);
    gk_err err = {0};
    gk_catalog *c = gk_model_open(MODEL, &err);
    uint64_t total = 0;
    for (uint64_t i = 0; i < c->n_tensors; i++)
        total += gk_tensor_bytes(&c->tensor[i]);
    gk_catalog_close(c);
    const char *old = path_of("\"total_size\": %" PRIu64, total);
    edit_text(MODEL "/" INDEX, old, path_of("\"total_size\": %" PRIu64 ".0", total));
    assert_same_model(MODEL, ODD, GK_NOTE);
    edit_text(MODEL "/" INDEX, old, path_of("\"total_size\": %" PRIu64, total + 1));
    expect_row(MODEL, GK_WARN, INDEX, "", path_of("the tensors have %" PRIu64, total));
}

/* ---- other ways to point at a model ------------------------------------------------- */

#define COMMIT "0123456789abcdef0123456789abcdef01234567"
#define REPO   WORK "/models--org--name"

/* blobs/N hold the files, the snapshot links to them relatively. */
static void make_cache(const char *from)
{
    size_t n;
    char **name = names_in(from, &n);
    fresh_dir(REPO);
    fresh_dir(REPO "/blobs");
    fresh_dir(REPO "/refs");
    fresh_dir(REPO "/snapshots/" COMMIT);
    for (size_t i = 0; i < n; i++) {
        link_one(path_of("%s/%s", from, name[i]), path_of(REPO "/blobs/%zu", i));
        assert_int_equal(symlink(path_of("../../blobs/%zu", i),
                                 path_of(REPO "/snapshots/" COMMIT "/%s", name[i])), 0);
    }
    free_names(name, n);
    write_text(REPO "/refs/main", COMMIT);
}

static void a_cache_repository_opens_at_any_of_its_doors(void **state)
{
    (void)state;
    static const char *const models[] = {ODD, SMALL};
    for (size_t i = 0; i < 2; i++) {
        make_cache(models[i]);
        assert_same_model(REPO, models[i], GK_NOTE);
        assert_same_model(REPO "/", models[i], GK_NOTE);
        assert_same_model(REPO "/snapshots/" COMMIT, models[i], GK_NOTE);
        write_text(REPO "/refs/main", COMMIT "\n");
        assert_same_model(REPO, models[i], GK_NOTE);
        unlink(REPO "/refs/main"); /* there is only one snapshot */
        assert_same_model(REPO, models[i], GK_NOTE);
    }
}

static void a_release_opens_in_a_cache_repository(void **state)
{
    (void)state;
    make_cache("build/models/ranks4");
    assert_same_model(REPO, SMALL, GK_NOTE);
}

static void a_cache_repository_without_a_way_on_is_refused(void **state)
{
    (void)state;
    gk_err err = {0}, none = {0}, gone = {0};
    make_cache(SMALL);
    write_text(REPO "/refs/main", "../../../model");
    assert_null(gk_model_open(REPO, &err));
    assert_int_equal(err.code, GK_ERR_FORMAT);
    write_text(REPO "/refs/main", "fedcba9876543210fedcba9876543210fedcba98");
    assert_null(gk_model_open(REPO, &gone));
    unlink(REPO "/refs/main");
    fresh_dir(REPO "/snapshots/second");
    assert_null(gk_model_open(REPO, &none));
    assert_int_equal(none.code, GK_ERR_ARG);
}

static void a_cut_download_in_a_cache_is_seen(void **state)
{
    (void)state;
    make_cache(ODD);
    size_t n;
    char **name = names_in(ODD, &n);
    for (size_t i = 0; i < n; i++)
        if (strncmp(name[i], "model-", 6) == 0) {
            unlink(path_of(REPO "/blobs/%zu", i));
            expect_row(REPO, GK_BAD, name[i], "", "missing");
            break;
        }
    free_names(name, n);
}

static void a_single_file_is_a_model(void **state)
{
    (void)state;
    gk_err err = {0};
    gk_catalog *c = gk_model_open_whole(SMALL "/model.safetensors", &err);
    assert_ok(c != NULL, err);
    assert_string_equal(c->format, "safetensors");
    assert_null(c->directory);
    assert_int_equal(c->n_inputs, 1);
    gk_catalog_close(c);
    assert_same_model(SMALL "/model.safetensors", SMALL, GK_NOTE);
    link_all(ODD, MODEL);
    size_t n;
    char **name = names_in(ODD, &n);
    for (size_t i = 0; i < n; i++)
        if (strncmp(name[i], "model-00002", 11) == 0) {
            c = gk_model_open_whole(path_of(MODEL "/%s", name[i]), &err);
            assert_ok(c != NULL, err);
            gk_catalog_close(c);
        }
    free_names(name, n);
}

static void what_is_no_model_is_an_error(void **state)
{
    (void)state;
    static const char *const paths[] = {WORK "/empty", WORK "/nowhere", WORK "/text"};
    fresh_dir(WORK "/empty");
    fresh_dir(WORK "/text");
    write_text(WORK "/text/README.md", "nothing");
    for (size_t i = 0; i < 3; i++) {
        gk_err err = {0};
        assert_null(gk_model_open(paths[i], &err));
        assert_int_equal(err.code, GK_ERR_FORMAT);
        assert_string_equal(err.file, paths[i]);
    }
}

WORK_FOLDER(WORK)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_index_and_its_shards_make_a_model),
        cmocka_unit_test(without_the_index_all_files_are_read),
        cmocka_unit_test(the_index_can_be_named_itself),
        cmocka_unit_test(a_file_that_only_the_index_knows_is_named),
        cmocka_unit_test(a_dangling_link_is_a_missing_file),
        cmocka_unit_test(a_stale_shard_is_not_read),
        cmocka_unit_test(a_path_in_the_index_is_never_followed),
        cmocka_unit_test(an_index_that_is_none_is_reported),
        cmocka_unit_test(a_tensor_in_two_shards_is_a_duplicate),
        cmocka_unit_test(an_index_that_points_to_another_shard_is_bad),
        cmocka_unit_test(a_wrong_total_size_is_a_warning),
        cmocka_unit_test(a_cache_repository_opens_at_any_of_its_doors),
        cmocka_unit_test(a_release_opens_in_a_cache_repository),
        cmocka_unit_test(a_cache_repository_without_a_way_on_is_refused),
        cmocka_unit_test(a_cut_download_in_a_cache_is_seen),
        cmocka_unit_test(a_single_file_is_a_model),
        cmocka_unit_test(what_is_no_model_is_an_error),
    };
    return cmocka_run_group_tests(tests, open_work, close_work);
}
