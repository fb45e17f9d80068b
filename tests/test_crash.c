/* tests/test_crash.c - the run dies, or a call fails, at every single call that could.
 *
 * For each kind of output grokkit runs under tests/fault/shim.c once a call: killed before
 * the N-th write, sync or rename, killed in the middle of a write, the disk full, a file too
 * large, reads and syncs that fail, reads and writes of one byte, interrupted ones. After
 * each there is no OUT, or the whole one; and `--resume` with other threads and memory ends
 * in the bytes of the undisturbed run, and leaves nothing beside it. */
#include "tests/test.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>

#include "formats/hash.h"
#include "tests/disk.h"

extern char **environ;

#define MODEL "build/models/cli"

typedef struct job {
    const char *label, *out; /* OUT: a directory, or the first file  */
    const char *args[8];     /* after MODEL and OUT                  */
    const char *command;
    int         n_files;  /* that OUT is, when it is no directory */
    int         n_faults; /* kinds tried: all are kept by the same code for every format */
} job;

static const job jobs[] = {
    {"hf in shards", "out", {"--to", "hf", "--max-shard-size", "40KB"}, "convert", 0, 1},
    {"compressed-tensors", "out", {"--scheme", "int8"}, "quantize", 0, 8},
    {"nvfp4", "out", {"--scheme", "nvfp4"}, "quantize", 0, 1},
    {"gptq", "out", {"--to", "gptq", "--scheme", "int8-g32", "--method", "rtn"}, "quantize", 0, 1},
    {"gguf", "out.gguf", {"--scheme", "Q8_0"}, "quantize", 1, 2},
    {"gguf, split", "out.gguf", {"--max-shard-size", "60KB"}, "convert", -1, 2},
};

static const char *const faults[] = {"kill",     "torn",     "enospc", "efbig",
                                     "eio-read", "eio-sync", "short",  "eintr"};

static char grokkit[512], shim[512], work[256]; /* work: in memory, where it can be */

/* Runs grokkit with extra options; returns the exit status, -9 when it was killed. */
static int run(const job *j, const char *out, const char *fault, bool resume)
{
    char count[300], what[64], preload[600], said[300];
    /* the last: a sanitizer asks to be loaded before the shim */
    char *env[] = {what, preload, count, "GK_KEEP_SECONDS=0",
                   "ASAN_OPTIONS=verify_asan_link_order=0", NULL};
    const char *argv[24] = {grokkit, j->command, MODEL, out, "-q", "--progress", "never"};
    int n = 7, status;
    pid_t pid;
    posix_spawn_file_actions_t to;

    snprintf(count, sizeof count, "FAULT_COUNT=%s/count", work);
    snprintf(said, sizeof said, "%s/said", work);
    snprintf(what, sizeof what, "FAULT=%s", fault == NULL ? "" : fault);
    snprintf(preload, sizeof preload, "LD_PRELOAD=%s", shim);
    if (fault == NULL)
        preload[0] = 'X';
    for (int i = 0; i < 8 && j->args[i] != NULL; i++)
        argv[n++] = j->args[i];
    argv[n++] = "-t";
    argv[n++] = resume ? "1" : "2";
    if (resume) {
        argv[n++] = "--resume";
        argv[n++] = "--memory";
        argv[n++] = "64M";
    }
    posix_spawn_file_actions_init(&to);
    posix_spawn_file_actions_addopen(&to, 1, "/dev/null", O_WRONLY, 0);
    posix_spawn_file_actions_addopen(&to, 2, said, O_WRONLY | O_CREAT | O_TRUNC, 0666);
    assert_int_equal(posix_spawn(&pid, grokkit, &to, NULL, (char **)(uintptr_t)argv, env), 0);
    posix_spawn_file_actions_destroy(&to);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

/* The digest of everything named out* in a folder, names included. */
static void digest(const char *folder, char hex[GK_SHA256_HEX])
{
    gk_err err = {0};
    gk_hash *h = gk_hash_new(&err);
    gk_arena *a = gk_arena_new(&err);
    uint64_t n, len;
    const char **top = gk_dir_names(a, folder, &n, &err);

    for (uint64_t i = 0; i < n; i++) {
        const char *path = gk_path_join(a, folder, top[i], &err);
        uint64_t m = 1;
        const bool dir = gk_path_kind_of(path) == GK_PATH_DIR;
        const char **name = dir ? gk_dir_names(a, path, &m, &err) : &top[i];
        for (uint64_t k = 0; k < m; k++) {
            char *data = gk_file_slurp(dir ? gk_path_join(a, path, name[k], &err) : path,
                                       UINT64_C(1) << 30, &len, &err);
            gk_hash_add(h, name[k], strlen(name[k]) + 1);
            if (data != NULL)
                gk_hash_add(h, data, len);
            gk_free(data);
        }
        gk_hash_add(h, top[i], strlen(top[i]) + 1);
    }
    gk_arena_free(a);
    gk_hash_end(h, hex);
}

static bool stands(const job *j)
{
    if (j->n_files < 0) /* a set is led by its first file */
        return count_names(path_of("%s/to", work), "out-00001-of-") > 0;
    return access(path_of("%s/to/%s", work, j->out), F_OK) == 0;
}

static long count(void)
{
    size_t n;
    char *text = (char *)read_bytes(path_of("%s/count", work), &n);
    const long calls = atol(text);

    free(text);
    return calls;
}

static void say(const job *j, const char *fault, int status)
{
    size_t n;
    unsigned char *text = read_bytes(path_of("%s/said", work), &n);

    print_error("%s, %s: exit %d, %.*s\n", j->label, fault, status, (int)n, (char *)text);
    free(text);
}

/* One job, one kind of fault, at every call. Returns how many were tried. */
static long every_call(const job *j, const char *kind, const char *want)
{
    const bool passes = strcmp(kind, "short") == 0 || strcmp(kind, "eintr") == 0;
    char fault[64], out[300], to[300], partial[64], got[GK_SHA256_HEX];
    long n_calls = 1;

    snprintf(to, sizeof to, "%s/to", work);
    snprintf(out, sizeof out, "%s/to/%s", work, j->out);
    snprintf(partial, sizeof partial, "%s.partial-", j->out);
    for (long i = 0; i <= n_calls; i++) { /* 0: none, which counts them */
        fresh_dir(to);
        snprintf(fault, sizeof fault, "%s:%ld", kind, i);
        int status = run(j, out, fault, false);
        if (i == 0)
            n_calls = count();
        if ((i == 0 || passes) && status != 0) {
            say(j, fault, status);
            fail_msg("a run that nothing hinders fails");
        }
        const bool whole = stands(j);
        if (status != 0 && status != -9 && status != 4 && status != 5) {
            say(j, fault, status);
            fail_msg("another exit status than 4 or 5");
        }
        if (whole && count_names(to, partial) == 0) {
            digest(to, got);
            if (strcmp(got, want) != 0)
                fail_msg("%s, %s: OUT is not whole", j->label, fault);
        }
        status = run(j, out, NULL, true);
        digest(to, got);
        if (status != 0 || strcmp(got, want) != 0) {
            say(j, fault, status);
            fail_msg("the resumed run differs");
        }
    }
    return n_calls;
}

static void any_call_may_go_wrong(void **state)
{
    (void)state;
    char want[GK_SHA256_HEX], out[330], to[300];
    long points = 0;

    snprintf(to, sizeof to, "%s/to", work);
    for (size_t i = 0; i < sizeof jobs / sizeof jobs[0]; i++) {
        fresh_dir(to);
        snprintf(out, sizeof out, "%s/%s", to, jobs[i].out);
        assert_int_equal(run(&jobs[i], out, NULL, false), 0);
        digest(to, want);
        for (int k = 0; k < jobs[i].n_faults; k++)
            points += every_call(&jobs[i], faults[k], want);
    }
    print_message("%ld points\n", points);
}

static int open_work(void **state)
{
    (void)state;
    char here[256];

    /* the programs stand beside this one */
    const ssize_t n = readlink("/proc/self/exe", here, sizeof here - 1);
    assert_true(n > 0);
    here[n] = '\0';
    *strrchr(here, '/') = '\0';
    snprintf(grokkit, sizeof grokkit, "%s/../grokkit", here);
    snprintf(shim, sizeof shim, "%s/fault/shim.so", here);
    snprintf(work, sizeof work, "/dev/shm/grokkit-crash.%ld", (long)getpid());
    if (access("/dev/shm", W_OK) != 0)
        snprintf(work, sizeof work, "build/tmp/test_crash");
    fresh_dir(work);
    return 0;
}

static int close_work(void **state)
{
    (void)state;
    remove_tree(work);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(any_call_may_go_wrong)};

    return cmocka_run_group_tests(tests, open_work, close_work);
}
