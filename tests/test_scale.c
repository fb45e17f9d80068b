/* tests/test_scale.c - what only large runs show: tiles of any size by any number of threads
 * from a cold cache or a warm one, digests made behind the writers, the page cache left as it
 * was, and inputs that change under a run. */
#include "tests/written.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "formats/output.h"

extern char **environ;

#define WORK "build/tmp/test_scale"
#define OUT  WORK "/out"
#define ODD  "build/models/odd"

/* ---- the page cache, as mincore(2) sees it -------------------------------------------- */

/* Returns how much of a file the cache holds, 0 to 1. */
static double cached(const char *path)
{
    const int fd = open(path, O_RDONLY);
    struct stat st;
    assert_true(fd >= 0 && fstat(fd, &st) == 0 && st.st_size > 0);
    const size_t n = ((size_t)st.st_size + 4095) / 4096;
    void *map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
    unsigned char *page = malloc(n);
    assert_true(map != MAP_FAILED && page != NULL);
    assert_int_equal(mincore(map, (size_t)st.st_size, page), 0);
    size_t held = 0;
    for (size_t i = 0; i < n; i++)
        held += page[i] & 1;
    munmap(map, (size_t)st.st_size);
    free(page);
    close(fd);
    return (double)held / (double)n;
}

static void make_cold(const char *path)
{
    const int fd = open(path, O_RDONLY);
    assert_true(fd >= 0);
    assert_int_equal(fsync(fd), 0);
    posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    close(fd);
}

static void make_all_cold(const char *dir)
{
    size_t n;
    char **name = names_in(dir, &n);
    for (size_t i = 0; i < n; i++)
        make_cold(path_of("%s/%s", dir, name[i]));
    free_names(name, n);
}

static void what_was_not_cached_goes_and_what_was_stays(void **state)
{
    (void)state;
    const gk_plan_options o = plain_options();
    const char *file = WORK "/model/model.safetensors";
    size_t n;
    fresh_dir(WORK "/model");
    write_matrix(file, 20, WIDE); /* 42 MB */
    make_cold(file);
    if (cached(file) > 0.01)
        skip();                                            /* a file system in memory */
    write_model(WORK "/model", "default = keep", &o, OUT); /* reads it twice: it verifies */
    if (cached(file) > 0.25)
        fail_msg("%.0f %% of the input are left in the cache", 100 * cached(file));
    free(read_bytes(file, &n));
    assert_true(cached(file) > 0.99);
    write_model(WORK "/model", "default = keep", &o, OUT);
    if (cached(file) < 0.99)
        fail_msg("only %.0f %% of the input are left in the cache", 100 * cached(file));
}

/* ---- tiles and threads ------------------------------------------------------------------ */

typedef struct choice {
    const char *target, *scheme, *model;
} choice;

static const choice choices[] = {{"hf", "keep", ODD},
                                 {"compressed-tensors", "int4-g32", ODD},
                                 {"compressed-tensors", "int8-channel", ODD},
                                 {"compressed-tensors", "int4-g64-asym", ODD},
                                 {"compressed-tensors", "nvfp4", ODD},
                                 {"compressed-tensors", "mxfp4", ODD},
                                 {"fp8", "fp8-block", ODD},
                                 {"gptq", "int4-g32", ODD},
                                 {"awq", "int4-g64-asym", ODD},
                                 {"mlx", "int4-g64", ODD},
                                 {"gguf", "keep", "build/models/eight"}, /* experts stacked */
                                 {"gguf", "Q8_0", "build/models/eight"},
                                 {"gguf", "Q4_K_M", "build/models/eight"}};

/* Runs a plan and requires of every digest that it is its file's. */
static void write_in_tiles(const choice *job, int threads, uint64_t quanta, bool cold)
{
    gk_err err = {0};
    const gk_run_options run = {0};
    gk_run_result result;
    gk_plan_options o = plain_options();
    o.target = gk_target_find(job->target, &err);
    o.out_name = "out";
    o.threads = threads;
    o.tile_quanta = quanta;
    o.no_engine_check = true;
    o.max_shard_bytes = 1000000;
    if (cold)
        make_all_cold(job->model);
    gk_catalog *c = open_whole(job->model);
    gk_plan *p = try_plan(c, path_of("default = %s", job->scheme), &o, &err);
    assert_ok(p != NULL && gk_plan_prove(p, &err), err);
    fresh_dir(WORK "/to");
    assert_ok(
        gk_run(p, o.target->is_gguf ? WORK "/to/out.gguf" : WORK "/to/out", &run, &result, &err),
        err);
    for (uint64_t i = 0; i < result.n_files; i++) {
        size_t n;
        char hex[GK_SHA256_HEX];
        unsigned char *bytes = read_bytes(
            path_of("%s/%s", o.target->is_gguf ? WORK "/to" : WORK "/to/out", result.file[i].name),
            &n);
        assert_ok(gk_hash_bytes(bytes, n, hex, &err), err);
        assert_string_equal(hex, result.file[i].sha256);
        free(bytes);
    }
    gk_run_result_free(&result);
    gk_plan_free(p);
    gk_catalog_close(c);
}

static void tiles_and_threads_do_not_show(void **state)
{
    (void)state;
    static const int threads[] = {1, 2, 3, 8};
    static const uint64_t quanta[] = {1, 3, 64};
    for (size_t i = 0; i < sizeof choices / sizeof choices[0]; i++) {
        const char *made = choices[i].target[1] == 'g' ? WORK "/to" : WORK "/to/out";
        write_in_tiles(&choices[i], 1, 0, false);
        remove_tree(WORK "/first");
        assert_int_equal(rename(made, WORK "/first"), 0);
        for (size_t k = 0; k < 12; k++) {
            write_in_tiles(&choices[i], threads[k / 3], quanta[k % 3], k % 2 == 0);
            assert_same_dirs(WORK "/first", made);
        }
    }
}

/* Sizes of tiles as the option says: the test above must not compare a thing with itself. */
static void tiles_have_the_size_that_is_asked_for(void **state)
{
    (void)state;
    gk_err err = {0};
    gk_plan_options o = int_options();
    gk_catalog *c = open_whole(ODD);
    uint64_t n_units[3];
    for (int i = 0; i < 3; i++) {
        o.tile_quanta = i == 0 ? 1 : i == 1 ? 3 : 64;
        gk_plan *p = try_plan(c, "default = int4-g32", &o, &err);
        assert_ok(p != NULL, err);
        n_units[i] = p->n_units;
        gk_plan_free(p);
    }
    assert_true(n_units[0] > 2 * n_units[1] && n_units[1] > 10 * n_units[2]);
    gk_catalog_close(c);
}

/* ---- inputs that change under a run ------------------------------------------------------ */

enum { CUT, GROWN, TOUCHED, N_CHANGES };

typedef struct meddler {
    const char *path;
    int change, done;
} meddler;

static void change_file(const char *path, int change)
{
    struct stat st;
    const struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_sec = 1000000000}};
    assert_int_equal(stat(path, &st), 0);
    if (change == CUT)
        assert_int_equal(truncate(path, st.st_size / 2), 0);
    else if (change == GROWN)
        assert_int_equal(truncate(path, st.st_size + 1), 0);
    else
        assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
}

/* Called after the first tile. */
static void meddle(void *context, uint64_t bytes, const char *tensor)
{
    (void)bytes;
    (void)tensor;
    meddler *m = context;
    if (__atomic_exchange_n(&m->done, 1, __ATOMIC_SEQ_CST) == 0)
        change_file(m->path, m->change);
}

static void a_file_that_changes_under_a_run_is_named(void **state)
{
    (void)state;
    static const char *const rules[] = {"default = keep", "default = int4-g32"};
    for (int i = 0; i < 2 * 2 * N_CHANGES; i++) {
        gk_err err = {0};
        meddler m = {WORK "/model/model.safetensors", i % N_CHANGES, 0};
        const gk_run_options run = {.progress = meddle, .context = &m};
        gk_run_result result;
        gk_plan_options o = i % 2 == 0 ? plain_options() : int_options();
        o.threads = i < 2 * N_CHANGES ? 1 : 3;
        size_t n;
        unsigned char *bytes = read_bytes("build/models/small-hf/model.safetensors", &n);
        link_all("build/models/small-hf", WORK "/model");
        write_bytes(m.path, bytes, n);
        free(bytes);
        remove_tree(OUT);
        gk_catalog *c = open_whole(WORK "/model");
        gk_plan *p = try_plan(c, rules[i % 2], &o, &err);
        assert_ok(p != NULL, err);
        if (gk_run(p, OUT, &run, &result, &err))
            fail_msg("change %d was not seen", m.change);
        assert_int_equal(err.code, GK_ERR_IO);
        assert_string_equal(err.file, "model.safetensors");
        assert_false(is_there(OUT));
        if (m.change != CUT) /* what was written may be of both */
            assert_int_equal(count_names(WORK, "out"), 0);
        gk_run_result_free(&result);
        gk_output_clear(OUT, p->tag);
        gk_plan_free(p);
        gk_catalog_close(c);
    }
}

/* The program itself, stopped while it works. */
static void a_program_whose_input_is_cut_exits_with_4(void **state)
{
    (void)state;
    char grokkit[PATH_MAX];
    const ssize_t n = readlink("/proc/self/exe", grokkit, sizeof grokkit - 20);
    assert_true(n > 0);
    grokkit[n] = '\0';
    strcpy(strrchr(grokkit, '/'), "/../grokkit");
    link_all(ODD "-hf", WORK "/model");
    const char *last = path_of(WORK "/model/%s", "model-00016-of-00017.safetensors");
    size_t len;
    unsigned char *bytes = read_bytes(last, &len);
    write_bytes(last, bytes, len);
    free(bytes);
    fresh_dir(WORK "/to");
    const char *argv[] = {grokkit, "quantize", WORK "/model", WORK "/to/out", "-q",
                          "-t",    "2",        "--progress",  "never",        NULL};
    posix_spawn_file_actions_t to;
    pid_t pid;
    int status;
    setenv("GK_KEEP_SECONDS", "0", 1); /* each tile is synced: it takes a while */
    posix_spawn_file_actions_init(&to);
    posix_spawn_file_actions_addopen(&to, 2, WORK "/said", O_WRONLY | O_CREAT | O_TRUNC, 0666);
    assert_int_equal(posix_spawn(&pid, grokkit, &to, NULL, (char **)(uintptr_t)argv, environ), 0);
    posix_spawn_file_actions_destroy(&to);
    unsetenv("GK_KEEP_SECONDS");
    while (count_names(WORK "/to", "out.partial") == 0 && waitpid(pid, &status, WNOHANG) == 0)
        usleep(500);
    assert_int_equal(kill(pid, SIGSTOP), 0);
    assert_int_equal(truncate(last, (off_t)len / 3), 0);
    assert_int_equal(kill(pid, SIGCONT), 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 4);
    char *said = (char *)read_bytes(WORK "/said", &len);
    if (strstr(said, "model-00016-of-00017.safetensors") == NULL)
        fail_msg("'%s' does not name the file", said);
    free(said);
    assert_false(is_there(WORK "/to/out"));
}

WORK_FOLDER(WORK)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_not_cached_goes_and_what_was_stays),
        cmocka_unit_test(tiles_and_threads_do_not_show),
        cmocka_unit_test(tiles_have_the_size_that_is_asked_for),
        cmocka_unit_test(a_file_that_changes_under_a_run_is_named),
        cmocka_unit_test(a_program_whose_input_is_cut_exits_with_4),
    };
    return cmocka_run_group_tests(tests, open_work, close_work);
}
