/* tests/test_resume.c - what an interrupted run leaves, and who may take it up: the lock, the
 * journal, inputs that changed, tiles of another size. (Death at each call: test_crash.) */
#include <fcntl.h>
#include <sys/wait.h>

#include "tests/written.h"

#include "formats/journal.h"
#include "formats/lock.h"
#include "quant/standing.h"

#define WORK  "build/tmp/test_resume"
#define MODEL WORK "/model"
#define OUT   WORK "/out"
#define RULES "default = int8-g32"

WORK_FOLDER(WORK)

/* ---- the lock ------------------------------------------------------------------------- */

static int lock_dir(void)
{
    fresh_dir(WORK "/locked");
    const int dir = open(WORK "/locked", O_RDONLY | O_DIRECTORY);
    assert_true(dir >= 0);
    return dir;
}

static void expect_held(int dir, const char *says)
{
    gk_err err = {0};
    assert_false(gk_lock_take(dir, "lock", false, &err));
    assert_int_equal(err.code, GK_ERR_ARG);
    if (strstr(err.msg, says) == NULL)
        fail_msg("'%s' does not say '%s'", err.msg, says);
    assert_int_equal(count_names(WORK "/locked", ""), 1); /* it stands, alone */
}

static void a_lock_of_the_living_stands(void **state)
{
    (void)state;
    gk_err err = {0};
    const int dir = lock_dir();
    assert_ok(gk_lock_take(dir, "lock", false, &err), err);
    expect_held(dir, "--break-lock");
    assert_ok(gk_lock_take(dir, "lock", true, &err), err);
    gk_lock_drop(dir, "lock");
    assert_int_equal(count_names(WORK "/locked", ""), 0);
    close(dir);
}

static void a_lock_of_the_dead_is_taken(void **state)
{
    (void)state;
    gk_err err = {0};
    int status;
    const int dir = lock_dir();
    const pid_t pid = fork();
    if (pid == 0)
        _exit(gk_lock_take(dir, "lock", false, &err) ? 0 : 1);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    assert_true(is_there(WORK "/locked/lock"));
    assert_ok(gk_lock_take(dir, "lock", false, &err), err);
    assert_int_equal(count_names(WORK "/locked", ""), 1);
    close(dir);
}

/* The lock with one of its lines made another's. */
static void relabel(const char *line, const char *value)
{
    char text[600] = {0}, *at;
    size_t n;
    unsigned char *was = read_bytes(WORK "/locked/lock", &n);
    assert_true(n < sizeof text - 100);
    memcpy(text, was, n);
    free(was);
    for (at = text; strncmp(at, line, strlen(line)) != 0; at++) {
        at = strchr(at, '\n');
        assert_non_null(at);
    }
    char *end = strchr(at, '\n');
    char *rest = strdup(end);
    snprintf(at, 100 + strlen(rest), "%s %s%s", line, value, rest);
    free(rest);
    write_text(WORK "/locked/lock", text);
}

static void who_cannot_be_known_dead_counts_as_living(void **state)
{
    (void)state;
    static const char *const lines[][2] = {{"host", "elsewhere"}, {"space", "pid:[1]"}};
    for (int i = 0; i < 2; i++) {
        gk_err err = {0};
        const int dir = lock_dir();
        assert_ok(gk_lock_take(dir, "lock", false, &err), err);
        relabel("pid", "4194304"); /* one past the largest there can be */
        relabel(lines[i][0], lines[i][1]);
        expect_held(dir, i == 0 ? "on host elsewhere" : "process 4194304");
        close(dir);
    }
    gk_err err = {0};
    const int dir = lock_dir();
    write_text(WORK "/locked/lock", "what is this?");
    expect_held(dir, "somebody");
    assert_ok(gk_lock_take(dir, "lock", true, &err), err);
    close(dir);
}

static void after_a_boot_nobody_is_left(void **state)
{
    (void)state;
    gk_err err = {0};
    const int dir = lock_dir();
    assert_ok(gk_lock_take(dir, "lock", false, &err), err);
    relabel("boot", "00000000-0000-0000-0000-000000000000");
    assert_ok(gk_lock_take(dir, "lock", false, &err), err);
    close(dir);
}

/* ---- the journal ------------------------------------------------------------------------ */

static void expect_lines(int dir, int n)
{
    gk_err err = {0};
    gk_journal *j = gk_journal_open(dir, "j", false, &err);
    const char *line;
    char want[20];
    int i = 0;
    assert_ok(j != NULL, err);
    while ((line = gk_journal_next(j)) != NULL) {
        snprintf(want, sizeof want, "line %d", i++);
        assert_string_equal(line, want);
    }
    assert_int_equal(i, n);
    gk_journal_close(j);
}

static void a_journal_is_read_up_to_its_first_flaw(void **state)
{
    (void)state;
    gk_err err = {0};
    const int dir = lock_dir();
    gk_text lines = {0};
    gk_journal *j = gk_journal_open(dir, "j", false, &err);
    assert_ok(j != NULL, err);
    gk_journal_line(&lines, "line 0");
    gk_journal_line(&lines, "line 1");
    assert_ok(gk_journal_write(j, &lines, &err), err);
    gk_text_clear(&lines);
    gk_journal_line(&lines, "line 2");
    assert_ok(gk_journal_write(j, &lines, &err), err);
    gk_journal_close(j);
    expect_lines(dir, 3);
    size_t n;
    unsigned char *all = read_bytes(WORK "/locked/j", &n);
    assert_int_equal(n, 3 * 16);
    for (size_t cut = 0; cut < n; cut++) { /* a torn tail is cut off */
        write_bytes(WORK "/locked/j", all, cut);
        expect_lines(dir, (int)(cut / 16));
        size_t left;
        free(read_bytes(WORK "/locked/j", &left));
        assert_int_equal(left, cut / 16 * 16);
    }
    for (size_t at = 0; at < n; at++) { /* a flipped bit ends it */
        all[at] ^= 1;
        write_bytes(WORK "/locked/j", all, n);
        expect_lines(dir, (int)(at / 16));
        all[at] ^= 1;
    }
    free(all);
    gk_text_free(&lines);
    close(dir);
}

/* ---- runs ------------------------------------------------------------------------------- */

static volatile sig_atomic_t stop;
static int calls, stop_at;   /* of progress: stops there, 0: never */
static void (*then)(void);   /* ... or does this                   */
static uint64_t n_items;     /* of the last plan                   */
static uint64_t memory;      /* what it would hold                 */

static void on_progress(void *context, uint64_t bytes, const char *tensor)
{
    (void)context, (void)bytes, (void)tensor;
    if (__atomic_add_fetch(&calls, 1, __ATOMIC_SEQ_CST) != stop_at)
        return;
    if (then != NULL)
        then();
    else
        stop = 1;
}

typedef struct try {
    bool resume, verify;
    int at;
    void (*then)(void);
    uint64_t memory; /* 0: the same as ever */
    const char *rules;
} try;

/* Returns whether the run succeeded; the relative errors of at most 200 tensors into rel. */
static bool run(const try *how, const char *out, gk_run_result *result, double *rel, gk_err *err)
{
    const gk_run_options options = {.resume = how->resume, .verify = how->verify, .stop = &stop,
                                    .progress = on_progress};
    gk_plan_options o = int_options();
    gk_catalog *c = open_whole(MODEL);
    o.threads = 1;
    if (how->memory > 0)
        o.memory_bytes = how->memory;
    gk_plan *p = try_plan(c, how->rules == NULL ? RULES : how->rules, &o, err);
    assert_ok(p != NULL, *err);
    stop = 0;
    calls = 0;
    stop_at = how->at;
    then = how->then;
    const bool ok = gk_run(p, out, &options, result, err);
    for (uint64_t i = 0; ok && rel != NULL && i < p->n_items; i++)
        rel[i] = result->rel_error[i];
    n_items = p->n_items;
    memory = p->memory_bytes;
    const bool kept = result->kept;
    gk_run_result_free(result);
    result->kept = kept;
    gk_plan_free(p);
    gk_catalog_close(c);
    return ok;
}

/* A copy whose files are its own, and a run of it that stops after n tiles. */
static void interrupt_after(int n)
{
    gk_err err = {0};
    gk_run_result result;
    size_t len;
    static const char *const names[] = {"config.json", "model.safetensors", "tokenizer.tok.json"};
    remove_tree(OUT);
    remove_tree(MODEL);
    fresh_dir(MODEL);
    for (int i = 0; i < 3; i++) {
        unsigned char *bytes = read_bytes(path_of("build/models/small-hf/%s", names[i]), &len);
        write_bytes(path_of(MODEL "/%s", names[i]), bytes, len);
        free(bytes);
    }
    if (n == 0)
        return;
    assert_false(run(&(try){.at = n}, OUT, &result, NULL, &err));
    assert_int_equal(err.code, GK_ERR_INTERRUPTED);
    assert_true(result.kept);
    assert_false(is_there(OUT));
    assert_int_equal(count_names(WORK, "out.partial-"), 1);
}

static const char *partial(const char *name)
{
    size_t n;
    char **names = names_in(WORK, &n);
    const char *path = NULL;
    for (size_t i = 0; i < n; i++)
        if (strncmp(names[i], "out.partial-", 12) == 0)
            path = path_of(WORK "/%s/%s", names[i], name);
    free_names(names, n);
    assert_non_null(path);
    return path;
}

static void expect_finished(const try *how)
{
    gk_err err = {0};
    gk_run_result result;
    double rel[200], want[200];
    remove_tree(WORK "/want");
    assert_ok(run(&(try){0}, WORK "/want", &result, want, &err), err);
    assert_ok(run(how, OUT, &result, rel, &err), err);
    assert_same_dirs(OUT, WORK "/want");
    for (uint64_t i = 0; i < n_items; i++) /* sums are added in another order */
        assert_true(rel[i] >= want[i] * (1 - 1e-12) && rel[i] <= want[i] * (1 + 1e-12));
    assert_int_equal(count_names(WORK, "out.partial-"), 0);
}

static void a_run_goes_on_where_it_stopped(void **state)
{
    (void)state;
    for (int n = 1; n < 60; n += 7) {
        interrupt_after(n);
        expect_finished(&(try){.resume = true, .verify = n % 2 == 0});
        assert_true(calls > 0);
    }
}

/* 70 tensors of one tile: a run that takes up 40 does 30, and one call says what was taken up. */
static void what_is_done_is_not_done_again(void **state)
{
    (void)state;
    gk_err err = {0};
    gk_run_result result;
    interrupt_after(40);
    const bool ok = run(&(try){.resume = true}, OUT, &result, NULL, &err);
    const int resumed = calls;
    assert_ok(ok, err);
    remove_tree(OUT);
    assert_ok(run(&(try){0}, OUT, &result, NULL, &err), err);
    assert_int_equal(resumed, calls - 40 + 1);
}

/* A matrix that is cut in tiles; stopped after n of them. */
static void interrupt_wide(int n)
{
    gk_err err = {0};
    gk_run_result result;
    remove_tree(OUT);
    remove_tree(MODEL);
    fresh_dir(MODEL);
    write_matrix(MODEL "/model.safetensors", 4096, 4096);
    assert_false(run(&(try){.at = n}, OUT, &result, NULL, &err));
    assert_true(result.kept);
}

static void other_tiles_take_whole_tensors(void **state)
{
    (void)state;
    gk_err err = {0};
    gk_run_result result;
    interrupt_wide(1);
    const try narrow = {.resume = true, .memory = memory - 1}; /* what they took is too much */
    assert_ok(run(&narrow, OUT, &result, NULL, &err), err);
    const int tiles = calls; /* none of the other run's is taken */
    for (int n = 1; n <= 2; n++) {
        interrupt_wide(n);
        expect_finished(&narrow);
    }
    /* and again others after that */
    interrupt_wide(1);
    assert_false(run(&(try){.resume = true, .memory = narrow.memory, .at = tiles / 2}, OUT,
                     &result, NULL, &err));
    assert_true(result.kept);
    expect_finished(&(try){.resume = true});
    assert_int_equal(tiles, 2 * calls);
}

/* Every line of a tile once more, well formed: sums must not count twice. */
static void a_journal_that_repeats_itself_changes_nothing(void **state)
{
    (void)state;
    gk_err err = {0};
    interrupt_wide(100);
    gk_journal *j = gk_journal_read(partial("journal"), &err);
    gk_text lines = {0};
    assert_ok(j != NULL, err);
    for (const char *line; (line = gk_journal_next(j)) != NULL;)
        if (strncmp(line, "tile ", 5) == 0)
            gk_journal_line(&lines, line);
    gk_journal_close(j);
    assert_true(lines.len > 0);
    const int fd = open(partial("journal"), O_WRONLY | O_APPEND);
    assert_true(fd >= 0);
    for (int i = 0; i < 2; i++)
        assert_int_equal(write(fd, lines.data, lines.len), (ssize_t)lines.len);
    close(fd);
    gk_text_free(&lines);
    expect_finished(&(try){.resume = true});
}

static void a_journal_of_nonsense_is_refused(void **state)
{
    (void)state;
    static const char *const lines[] = {"tile 99999999999 0 1 0 1 0x0p+0 0x0p+0",
                                        "tile 3 18446744073709551615 2 0 1 0x0p+0 0x0p+0",
                                        "tile 3 0 1 18446744073709551615 2 0x0p+0 0x0p+0",
                                        "range 0 7f", "void 99999999999", "hello", ""};
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        gk_err err = {0};
        gk_run_result result;
        gk_text text = {0};
        interrupt_after(5);
        gk_journal_line(&text, lines[i]);
        const int fd = open(partial("journal"), O_WRONLY | O_APPEND);
        assert_int_equal(write(fd, text.data, text.len), (ssize_t)text.len);
        close(fd);
        gk_text_free(&text);
        if (run(&(try){.resume = true}, OUT, &result, NULL, &err))
            fail_msg("'%s' is taken", lines[i]);
        assert_int_equal(err.code, GK_ERR_FORMAT);
        assert_false(is_there(OUT));
        assert_int_equal(count_names(WORK, "out.partial-"), 1); /* for a person to look at */
        remove_tree(partial(""));
    }
}

static void touch_model(void)
{
    const struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_sec = 1}};
    assert_int_equal(utimensat(AT_FDCWD, MODEL "/model.safetensors", times, 0), 0);
}

static void an_input_that_changed_since_is_refused(void **state)
{
    (void)state;
    gk_err err = {0};
    gk_run_result result;
    interrupt_after(10);
    touch_model();
    assert_false(run(&(try){.resume = true}, OUT, &result, NULL, &err));
    assert_int_equal(err.code, GK_ERR_IO);
    assert_string_equal(err.file, "model.safetensors");
    assert_non_null(strstr(err.msg, "changed since"));
    assert_false(is_there(OUT));
    remove_tree(partial(""));
}

static void an_input_that_changes_meanwhile_leaves_nothing(void **state)
{
    (void)state;
    gk_err err = {0};
    gk_run_result result;
    interrupt_after(0);
    assert_false(run(&(try){.at = 10, .then = touch_model}, OUT, &result, NULL, &err));
    assert_int_equal(err.code, GK_ERR_IO);
    assert_string_equal(err.file, "model.safetensors");
    assert_non_null(strstr(err.msg, "changed while it was read"));
    assert_false(result.kept);
    assert_int_equal(count_names(WORK, "out"), 0);
}

static void spoil_output(void)
{
    const char *path = partial("data/model.safetensors");
    const int fd = open(path, O_RDWR);
    unsigned char byte;
    const off_t end = lseek(fd, -5, SEEK_END);
    assert_int_equal(pread(fd, &byte, 1, end), 1);
    byte ^= 0x40;
    assert_int_equal(pwrite(fd, &byte, 1, end), 1);
    close(fd);
}

/* The first call of the second pass; what it finds wrong must not be taken for done. */
static void what_verify_refuses_is_not_kept(void **state)
{
    (void)state;
    gk_err err = {0};
    gk_run_result result;
    interrupt_after(0);
    assert_ok(run(&(try){0}, OUT, &result, NULL, &err), err);
    const int units = calls;
    remove_tree(OUT);
    assert_false(run(&(try){.verify = true, .at = units + 1, .then = spoil_output}, OUT, &result,
                     NULL, &err));
    assert_int_equal(err.code, GK_ERR_IO);
    assert_non_null(strstr(err.msg, "--verify"));
    assert_false(result.kept);
    assert_int_equal(count_names(WORK, "out"), 0);
}

static gk_standing standing(const char *rules, gk_err *err)
{
    const gk_plan_options o = int_options();
    gk_catalog *c = open_whole(MODEL);
    gk_plan *p = try_plan(c, rules, &o, err);
    assert_ok(p != NULL, *err);
    const gk_standing s = gk_standing_of(p, OUT, err);
    gk_plan_free(p);
    gk_catalog_close(c);
    return s;
}

static void another_plan_is_named_by_its_difference(void **state)
{
    (void)state;
    gk_err begun = {0}, finished = {0}, err = {0};
    gk_run_result result;
    interrupt_after(10);
    assert_int_equal(standing(RULES, &err), GK_STANDS_NOTHING);
    assert_int_equal(standing("default = int4-g32", &begun), GK_STANDS_OTHER);
    assert_non_null(strstr(begun.msg, "its recipe is 'default = int8-g32', here 'default = int4"));
    assert_ok(run(&(try){.resume = true}, OUT, &result, NULL, &err), err);
    assert_int_equal(standing(RULES, &err), GK_STANDS_FINISHED);
    assert_int_equal(standing("default = int4-g32", &finished), GK_STANDS_OTHER);
    assert_string_equal(finished.msg, begun.msg);
    assert_int_equal(finished.code, GK_ERR_ARG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_lock_of_the_living_stands),
        cmocka_unit_test(a_lock_of_the_dead_is_taken),
        cmocka_unit_test(who_cannot_be_known_dead_counts_as_living),
        cmocka_unit_test(after_a_boot_nobody_is_left),
        cmocka_unit_test(a_journal_is_read_up_to_its_first_flaw),
        cmocka_unit_test(a_run_goes_on_where_it_stopped),
        cmocka_unit_test(what_is_done_is_not_done_again),
        cmocka_unit_test(other_tiles_take_whole_tensors),
        cmocka_unit_test(a_journal_that_repeats_itself_changes_nothing),
        cmocka_unit_test(a_journal_of_nonsense_is_refused),
        cmocka_unit_test(an_input_that_changed_since_is_refused),
        cmocka_unit_test(an_input_that_changes_meanwhile_leaves_nothing),
        cmocka_unit_test(what_verify_refuses_is_not_kept),
        cmocka_unit_test(another_plan_is_named_by_its_difference),
    };
    setenv("GK_KEEP_SECONDS", "0", 1); /* each tile is kept at once */
    return cmocka_run_group_tests(tests, open_work, close_work);
}
