/* tests/test_output.c - OUT appears whole or not at all, and never in place of the input. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "tests/disk.h"

#include "formats/output.h"
#include "quant/model.h"
#include "quant/run.h"

#define WORK  "build/tmp/test_output"
#define OUT   WORK "/out"
#define MODEL WORK "/model"

WORK_FOLDER(WORK)

/* ---- what a person sees on the disk ------------------------------------------------ */

/* Every name beside OUT, the model and OUT itself left out. */
static void assert_nothing_left(void)
{
    size_t n;
    char **name = names_in(WORK, &n);
    for (size_t i = 0; i < n; i++)
        if (strstr(name[i], "partial") != NULL)
            fail_msg("%s is left", name[i]);
    free_names(name, n);
}

static void assert_file(const char *path, const char *text)
{
    size_t n;
    char *bytes = (char *)read_bytes(path, &n);
    assert_int_equal(n, strlen(text));
    assert_string_equal(bytes, text);
    free(bytes);
}

static bool copy(gk_output *o, const char *name, const char *path, gk_err *err)
{
    gk_arena *a = gk_arena_new(err);
    gk_file *f = a == NULL ? NULL : gk_file_open(a, path, err);
    const bool ok = f != NULL && gk_output_copy(o, name, f, err);
    gk_file_close(f);
    gk_arena_free(a);
    return ok;
}

static gk_output *begin(const char *out, const char *tag)
{
    gk_err err = {0};
    gk_output *o = gk_output_begin(out, tag, &(gk_output_how){0}, &err);
    assert_ok(o != NULL, err);
    return o;
}

static void put(gk_output *o, const char *name, const char *text)
{
    gk_err err = {0};
    assert_ok(gk_output_put(o, name, text, strlen(text), &err), err);
}

/* ---- appearing -------------------------------------------------------------------- */

static void out_appears_at_commit_and_not_before(void **state)
{
    (void)state;
    gk_err err = {0};
    gk_output *o = begin(OUT, "tag");
    assert_false(is_there(OUT));
    assert_true(is_there(gk_output_path(o)));
    assert_non_null(strstr(gk_output_path(o), "out.partial-tag"));
    put(o, "config.json", "{}");
    put(o, "empty", "");
    int file;
    assert_ok(gk_output_create(o, "w.safetensors", 12, &file, &err), err);
    assert_ok(gk_output_write(o, file, 8, "rank", 4, &err), err);
    assert_ok(gk_output_write(o, file, 0, "eight by", 8, &err), err);
    assert_ok(copy(o, "copy", TINY "/LICENSE", &err), err);
    assert_false(is_there(OUT));
    assert_ok(gk_output_commit(o, false, &err), err);
    assert_file(OUT "/config.json", "{}");
    assert_file(OUT "/empty", "");
    assert_file(OUT "/w.safetensors", "eight byrank");
    assert_same_files(OUT "/copy", TINY "/LICENSE");
    assert_int_equal(count_names(OUT, ""), 4);
    assert_nothing_left();
}

static void abandoning_leaves_nothing(void **state)
{
    (void)state;
    gk_err err = {0};
    gk_output *o = begin(OUT, "tag");
    int file;
    put(o, "config.json", "{}");
    assert_ok(gk_output_create(o, "w.safetensors", 1 << 20, &file, &err), err);
    gk_output_abandon(o);
    gk_output_abandon(NULL);
    assert_int_equal(count_names(WORK, ""), 0);
}

static void a_left_over_of_the_same_job_is_emptied(void **state)
{
    (void)state;
    gk_err err = {0};
    fresh_dir(OUT ".partial-tag/deep/deeper");
    fresh_dir(OUT ".partial-other");
    fresh_dir(WORK "/elsewhere");
    write_text(WORK "/elsewhere/keep", "me");
    write_text(OUT ".partial-tag/config.json", "stale");
    write_text(OUT ".partial-tag/deep/deeper/file", "stale");
    assert_int_equal(symlink("../elsewhere", OUT ".partial-tag/link"), 0);
    gk_output *o = begin(OUT, "tag");
    put(o, "fresh", "!");
    assert_ok(gk_output_commit(o, false, &err), err);
    assert_int_equal(count_names(OUT, ""), 1);
    assert_file(WORK "/elsewhere/keep", "me"); /* links are not followed */
    assert_true(is_there(OUT ".partial-other"));
}

static void a_name_is_created_once(void **state)
{
    (void)state;
    gk_err err = {0};
    int file;
    gk_output *o = begin(OUT, "tag");
    put(o, "config.json", "{}");
    assert_false(gk_output_create(o, "config.json", 1, &file, &err));
    assert_int_equal(err.code, GK_ERR_IO);
    assert_string_equal(err.file, "config.json");
    gk_output_abandon(o);
    assert_int_equal(count_names(WORK, ""), 0);
}

static void out_may_be_named_in_many_ways(void **state)
{
    (void)state;
    gk_err err = {0};
    static const char *const names[] = {OUT, WORK "/./out", WORK "/../test_output/out",
                                        WORK "//out"};
    for (size_t i = 0; i < 4; i++) {
        remove_tree(OUT);
        assert_ok(gk_output_allowed(names[i], TINY, false, &err), err);
        gk_output *o = begin(names[i], "tag");
        put(o, "a", "a");
        assert_ok(gk_output_commit(o, false, &err), err);
        assert_file(OUT "/a", "a");
        assert_nothing_left();
    }
    /* a parent that is not there is an error, not a surprise */
    err = (gk_err){0};
    assert_null(gk_output_begin(WORK "/no/such/out", "tag", &(gk_output_how){0}, &err));
    assert_int_not_equal(err.code, GK_OK);
    assert_false(is_there(WORK "/no"));
}

static void a_slash_at_the_end_means_the_same(void **state)
{
    (void)state;
    gk_err err = {0};
    assert_ok(gk_output_allowed(OUT "/", TINY, false, &err), err);
    gk_output *o = begin(OUT "/", "tag");
    put(o, "a", "a");
    assert_ok(gk_output_commit(o, false, &err), err);
    assert_file(OUT "/a", "a");
    assert_nothing_left();
    assert_false(gk_output_allowed(OUT "/", TINY, false, &err));
    assert_int_equal(err.code, GK_ERR_ARG);
}

/* ---- refusing ---------------------------------------------------------------------- */

static void expect_refused(const char *out, const char *input, bool force, const char *says)
{
    gk_err err = {0};
    if (gk_output_allowed(out, input, force, &err))
        fail_msg("%s may be written from %s%s", out, input, force ? ", with force" : "");
    assert_int_equal(err.code, GK_ERR_ARG);
    assert_string_equal(err.file, out);
    if (strstr(err.msg, says) == NULL)
        fail_msg("'%s' does not say '%s'", err.msg, says);
}

static void the_input_is_never_the_output(void **state)
{
    (void)state;
    static const char says[] = "is, contains or lies inside the input";
    link_all("build/models/ranks1", MODEL);
    fresh_dir(MODEL "/inner");
    link_one(MODEL, WORK "/link");
    link_one(MODEL "/inner", WORK "/link-inner");
    link_one(WORK, MODEL "/link-up");
    for (int force = 0; force < 2; force++) {
        const char *const same[] = {MODEL, MODEL "/", WORK "/./model", WORK "/link",
                                    WORK "/../test_output/model", MODEL "/inner/..",
                                    MODEL "/link-up/model"};
        const char *const inside[] = {MODEL "/inner", MODEL "/new", WORK "/link/new",
                                      WORK "/link-inner", WORK "/link-inner/new",
                                      MODEL "/link-up/model/new"};
        const char *const around[] = {WORK, WORK "/", "build/tmp", "build", ".", "/",
                                      MODEL "/link-up"};
        for (size_t i = 0; i < sizeof same / sizeof same[0]; i++) {
            expect_refused(same[i], MODEL, force, says);
            expect_refused(same[i], WORK "/link", force, says);
        }
        for (size_t i = 0; i < sizeof inside / sizeof inside[0]; i++) {
            expect_refused(inside[i], MODEL, force, says);
            expect_refused(inside[i], WORK "/link", force, says);
        }
        for (size_t i = 0; i < sizeof around / sizeof around[0]; i++)
            expect_refused(around[i], MODEL, force, says);
    }
    /* a name that merely begins the same is another */
    gk_err err = {0};
    assert_ok(gk_output_allowed(WORK "/model-int4", MODEL, false, &err), err);
    assert_ok(gk_output_allowed(WORK "/mode", MODEL, false, &err), err);
}

static void a_file_as_input_protects_its_directory(void **state)
{
    (void)state;
    static const char *const name[] = {"model.norm.weight", NULL};
    fresh_dir(MODEL);
    write_vectors(MODEL "/model.safetensors", name);
    link_one(MODEL, WORK "/link");
    expect_refused(MODEL "/model.safetensors", MODEL "/model.safetensors", true, "input");
    expect_refused(MODEL, MODEL "/model.safetensors", true, "input");
    expect_refused(WORK "/link", MODEL "/model.safetensors", true, "input");
    expect_refused(MODEL, WORK "/link/model.safetensors", true, "input");
}

/* As in a cache: the file is a link to elsewhere, its directory is the model all the same. */
static void a_linked_file_as_input_protects_its_directory(void **state)
{
    (void)state;
    link_all("build/models/odd-hf", MODEL);
    link_one(MODEL, WORK "/link");
    for (int force = 0; force < 2; force++) {
        expect_refused(MODEL, MODEL "/model.safetensors.index.json", force, "input");
        expect_refused(WORK "/link", MODEL "/model-00001-of-00017.safetensors", force, "input");
        expect_refused("build/models/odd-hf", MODEL "/config.json", force, "input");
    }
    gk_err err = {0}; /* beside a file is no harm */
    assert_ok(gk_output_allowed(MODEL "/new", MODEL "/config.json", false, &err), err);
}

static void a_link_to_nothing_is_no_free_name(void **state)
{
    (void)state;
    assert_int_equal(symlink("nowhere", OUT), 0);
    expect_refused(OUT, TINY, false, "--force");
    expect_refused(OUT, TINY, true, "leads nowhere");
}

static void what_exists_is_replaced_only_by_force(void **state)
{
    (void)state;
    gk_err err = {0};
    fresh_dir(OUT);
    expect_refused(OUT, TINY, false, "--force");
    assert_ok(gk_output_allowed(OUT, TINY, true, &err), err); /* empty */
    write_text(OUT "/config.json", "old");
    expect_refused(OUT, TINY, false, "--force");
    assert_ok(gk_output_allowed(OUT, TINY, true, &err), err);
    remove_tree(OUT);
    fresh_dir(OUT);
    write_text(OUT "/x.safetensors", "old");
    assert_ok(gk_output_allowed(OUT, TINY, true, &err), err);
    remove_tree(OUT);
    assert_ok(gk_output_allowed(OUT, TINY, false, &err), err);
}

static void what_is_no_model_is_never_replaced(void **state)
{
    (void)state;
    fresh_dir(OUT);
    write_text(OUT "/thesis.tex", "years of work");
    expect_refused(OUT, TINY, true, "no model directory");
    expect_refused(OUT, TINY, false, "--force");
    write_text(WORK "/file", "text");
    expect_refused(WORK "/file", TINY, true, "no model directory");
    write_text(WORK "/file.safetensors", "text");
    expect_refused(WORK "/file.safetensors", TINY, true, "no model directory");
    assert_int_equal(mkfifo(WORK "/pipe", 0666), 0);
    expect_refused(WORK "/pipe", TINY, true, "no model directory");
    assert_file(OUT "/thesis.tex", "years of work");
}

static void commit_itself_does_not_replace_without_force(void **state)
{
    (void)state;
    gk_err err = {0};
    gk_output *o = begin(OUT, "tag");
    put(o, "config.json", "new");
    fresh_dir(OUT); /* came to be while we worked */
    write_text(OUT "/config.json", "old");
    assert_false(gk_output_commit(o, false, &err));
    assert_int_equal(err.code, GK_ERR_IO);
    assert_file(OUT "/config.json", "old");
    assert_nothing_left();
    /* empty ones, too: the rename of a plain rename(2) would take them */
    remove_tree(OUT);
    err = (gk_err){0};
    o = begin(OUT, "tag");
    put(o, "config.json", "new");
    fresh_dir(OUT);
    assert_false(gk_output_commit(o, false, &err));
    assert_int_equal(count_names(OUT, ""), 0);
    assert_nothing_left();
}

static void force_exchanges_the_old_for_the_new(void **state)
{
    (void)state;
    gk_err err = {0};
    fresh_dir(OUT "/deep");
    write_text(OUT "/config.json", "old");
    write_text(OUT "/old.safetensors", "old");
    write_text(OUT "/deep/file", "old");
    fresh_dir(WORK "/elsewhere");
    write_text(WORK "/elsewhere/keep", "me");
    link_one(WORK "/elsewhere", OUT "/link");
    assert_ok(gk_output_allowed(OUT, TINY, true, &err), err);
    gk_output *o = begin(OUT, "tag");
    put(o, "config.json", "new");
    assert_file(OUT "/config.json", "old");
    assert_ok(gk_output_commit(o, true, &err), err);
    assert_file(OUT "/config.json", "new");
    assert_int_equal(count_names(OUT, ""), 1);
    assert_file(WORK "/elsewhere/keep", "me");
    assert_nothing_left();
    /* with force and nothing there it is a plain commit */
    remove_tree(OUT);
    o = begin(OUT, "tag");
    put(o, "config.json", "new");
    assert_ok(gk_output_commit(o, true, &err), err);
    assert_file(OUT "/config.json", "new");
}

static void an_out_that_is_a_link_is_replaced_where_it_points(void **state)
{
    (void)state;
    gk_err err = {0};
    fresh_dir(WORK "/real");
    write_text(WORK "/real/config.json", "old");
    link_one(WORK "/real", OUT);
    expect_refused(OUT, TINY, false, "--force");
    assert_ok(gk_output_allowed(OUT, TINY, true, &err), err);
    gk_output *o = begin(OUT, "tag");
    put(o, "config.json", "new");
    assert_ok(gk_output_commit(o, true, &err), err);
    assert_file(OUT "/config.json", "new");
    assert_nothing_left();
}

static void a_file_put_is_whole_or_the_old_one(void **state)
{
    (void)state;
    gk_err err = {0};
    assert_ok(gk_file_put(WORK "/report", "one", 3, &err), err);
    assert_file(WORK "/report", "one");
    assert_ok(gk_file_put(WORK "/report", "two", 3, &err), err);
    assert_file(WORK "/report", "two");
    assert_false(gk_file_put(WORK "/no/report", "two", 3, &err));
    assert_int_equal(err.code, GK_ERR_IO);
    assert_int_equal(count_names(WORK, ""), 1);
}

/* ---- a set of files ---------------------------------------------------------------- */

static void files_of_a_set_stand_beside_each_other_or_not_at_all(void **state)
{
    (void)state;
    gk_err err = {0};
    fresh_dir(WORK);
    const gk_output_how files = {.as_files = true};
    gk_output *o = gk_output_begin(WORK "/set.gguf", "tag", &files, &err);
    assert_non_null(o);
    put(o, "set-1.gguf", "first");
    put(o, "set-2.gguf", "second");
    assert_false(is_there(WORK "/set-1.gguf"));
    assert_ok(gk_output_commit(o, false, &err), err);
    assert_file(WORK "/set-1.gguf", "first");
    assert_file(WORK "/set-2.gguf", "second");
    assert_int_equal(count_names(WORK, ""), 2);

    /* the first, which comes last, finds a file of its name */
    assert_int_equal(unlink(WORK "/set-2.gguf"), 0);
    o = gk_output_begin(WORK "/set.gguf", "tag", &(gk_output_how){.as_files = true}, &err);
    assert_non_null(o);
    put(o, "set-1.gguf", "other");
    put(o, "set-2.gguf", "second");
    assert_false(gk_output_commit(o, false, &err));
    assert_int_equal(err.code, GK_ERR_IO);
    assert_file(WORK "/set-1.gguf", "first");
    assert_int_equal(count_names(WORK, ""), 1);
}

/* ---- a full disk ------------------------------------------------------------------- */

/* Runs f in a child whose files end at `bytes`; it answers 0 when all is as it must be. */
static void with_file_limit(rlim_t bytes, int (*f)(void))
{
    const pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        const struct rlimit limit = {bytes, bytes};
        signal(SIGXFSZ, SIG_IGN);
        _exit(setrlimit(RLIMIT_FSIZE, &limit) != 0 ? 99 : f());
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        fail_msg("the child ended with %d", WIFEXITED(status) ? WEXITSTATUS(status) : -1);
}

static bool is_full(const gk_err *err)
{
    return (err->code == GK_ERR_SPACE || err->code == GK_ERR_IO) && err->msg[0] != '\0'
           && err->file[0] != '\0';
}

static int create_too_large(void)
{
    gk_err err = {0};
    int file;
    gk_output *o = gk_output_begin(OUT, "tag", &(gk_output_how){0}, &err);
    if (o == NULL || !gk_output_put(o, "small", "x", 1, &err))
        return 1;
    if (gk_output_create(o, "large", 100000, &file, &err))
        return 2;
    const bool named = is_full(&err) && strcmp(err.file, "large") == 0;
    gk_output_abandon(o);
    return named ? 0 : 3;
}

static int write_past_the_end(void)
{
    static const char bytes[100000];
    gk_err err = {0};
    int file;
    gk_output *o = gk_output_begin(OUT, "tag", &(gk_output_how){0}, &err);
    if (o == NULL || !gk_output_create(o, "grows", 0, &file, &err))
        return 1;
    if (!gk_output_write(o, file, 0, bytes, 5000, &err))
        return 2;
    if (gk_output_write(o, file, 0, bytes, sizeof bytes, &err))
        return 3;
    const bool named = is_full(&err) && strcmp(err.file, "grows") == 0;
    gk_output_abandon(o);
    return named ? 0 : 4;
}

static int copy_too_large(void)
{
    gk_err err = {0};
    gk_output *o = gk_output_begin(OUT, "tag", &(gk_output_how){0}, &err);
    if (o == NULL || copy(o, "tokenizer.tok.json", TINY "/tokenizer.tok.json", &err))
        return 1;
    const bool named = is_full(&err);
    gk_output_abandon(o);
    return named ? 0 : 2;
}

static int put_too_large(void)
{
    static const char bytes[100000];
    gk_err err = {0};
    if (gk_file_put(WORK "/report", bytes, sizeof bytes, &err))
        return 1;
    return is_full(&err) ? 0 : 2;
}

/* A conversion of 1.5 MB under 100 kB a file: an error, and OUT as it was. */
static int convert_too_much(void)
{
    gk_err err = {0};
    const gk_plan_options options = {.target = gk_target_find("hf", NULL),
                                     .threads = 1,
                                     .memory_bytes = 1 << 30,
                                     .check_values = true};
    const gk_run_options run = {.force = true};
    gk_run_result result = {0};
    gk_recipe *recipe = gk_recipe_new(&err);
    gk_catalog *c = gk_model_open_whole("build/models/ranks4", &err);
    if (c == NULL || recipe == NULL || !gk_recipe_default(recipe, "keep", &err))
        return 1;
    gk_plan *p = gk_plan_new(c, recipe, &options, &err);
    if (p == NULL)
        return 2;
    const bool written = gk_run(p, OUT, &run, &result, &err);
    gk_run_result_free(&result);
    gk_plan_free(p);
    gk_recipe_free(recipe);
    gk_catalog_close(c);
    return written ? 3 : is_full(&err) ? 0 : 4;
}

static void a_full_disk_is_an_error_and_leaves_nothing(void **state)
{
    (void)state;
    static int (*const all[])(void)
        = {create_too_large, write_past_the_end, copy_too_large, put_too_large, convert_too_much};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        with_file_limit(8192, all[i]);
        assert_int_equal(count_names(WORK, ""), 0);
    }
    fresh_dir(OUT);
    write_text(OUT "/config.json", "old");
    write_text(WORK "/report", "old");
    with_file_limit(8192, convert_too_much);
    with_file_limit(8192, put_too_large);
    assert_file(OUT "/config.json", "old");
    assert_file(WORK "/report", "old");
    assert_int_equal(count_names(OUT, ""), 1);
    assert_int_equal(count_names(WORK, ""), 2);
}

/* ---- a finished run ------------------------------------------------------------------ */

static void free_space_is_that_of_the_parent(void **state)
{
    (void)state;
    assert_true(gk_output_free_bytes(OUT) > 0);
    assert_int_equal(gk_output_free_bytes(WORK "/no/such/out"), 0);
}

static int sync_errno; /* of every sync_file_range() here; 0: it succeeds */

int sync_file_range(int fd, off64_t off, off64_t n, unsigned flags)
{
    (void)fd, (void)off, (void)n, (void)flags;
    errno = sync_errno;
    return sync_errno == 0 ? 0 : -1;
}

/* Linux tells an error of writing back once: here it is the early sync that hears of it, and
 * the one at the end would succeed. */
static void an_error_that_an_early_sync_hears_of_is_not_lost(void **state)
{
    (void)state;
    static const int fatal[] = {EIO, ENOSPC, EDQUOT}, harmless[] = {0, ENOSYS, EINVAL, ESPIPE};
    static char bytes[1 << 20];
    const gk_output_how how = {0};

    for (size_t k = 0; k < 3 + 4; k++) {
        gk_err err = {0};
        gk_output *o = gk_output_begin(OUT, "tag", &how, &err);
        int file;
        bool ok = o != NULL && gk_output_create(o, "f", 32 * sizeof bytes, &file, &err);
        assert_ok(ok, err);
        sync_errno = k < 3 ? fatal[k] : harmless[k - 3];
        for (uint64_t i = 0; ok && i < 32; i++)
            ok = gk_output_write(o, file, i * sizeof bytes, bytes, sizeof bytes, &err);
        sync_errno = 0;
        assert_int_equal(ok, k >= 3);
        assert_int_equal(gk_output_trusted(o), k >= 3);
        if (!ok) {
            assert_int_equal(err.code, fatal[k] == EIO ? GK_ERR_IO : GK_ERR_SPACE);
            assert_string_equal(err.file, "f");
        }
        gk_output_abandon(o);
    }
}

int main(void)
{
#define ROW(f) cmocka_unit_test_setup_teardown(f, open_work, close_work)
    const struct CMUnitTest tests[] = {
        ROW(an_error_that_an_early_sync_hears_of_is_not_lost),
        ROW(out_appears_at_commit_and_not_before),
        ROW(abandoning_leaves_nothing),
        ROW(a_left_over_of_the_same_job_is_emptied),
        ROW(a_name_is_created_once),
        ROW(out_may_be_named_in_many_ways),
        ROW(a_slash_at_the_end_means_the_same),
        ROW(the_input_is_never_the_output),
        ROW(a_file_as_input_protects_its_directory),
        ROW(a_linked_file_as_input_protects_its_directory),
        ROW(a_link_to_nothing_is_no_free_name),
        ROW(what_exists_is_replaced_only_by_force),
        ROW(what_is_no_model_is_never_replaced),
        ROW(commit_itself_does_not_replace_without_force),
        ROW(force_exchanges_the_old_for_the_new),
        ROW(an_out_that_is_a_link_is_replaced_where_it_points),
        ROW(a_file_put_is_whole_or_the_old_one),
        ROW(files_of_a_set_stand_beside_each_other_or_not_at_all),
        ROW(a_full_disk_is_an_error_and_leaves_nothing),
        ROW(free_space_is_that_of_the_parent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
