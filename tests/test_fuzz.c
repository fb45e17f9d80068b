/* tests/test_fuzz.c - every parser with the inputs that fuzzing began with and with those it
 * ever failed on: as they are, cut short, and mutated. Needs no fuzzer; the next mutations
 * are tried with another GK_SEED, which is printed. */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "tests/fuzz/fuzz.h"
#include "tests/test.h"

#include "formats/arena.h"
#include "formats/io.h"

#define LAST      "build/tmp/test_fuzz.last"
#define ROOM      65536
#define CUTS      64  /* of an input, evenly spread; of short ones every length */
#define MUTATIONS 64  /* of an input                                            */
#define SECONDS   1.5 /* for the cuts and mutations of one target               */

static uint32_t seed = 1;

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* In a buffer of its exact size, so that a sanitizer sees one byte too many. */
static void run_exact(const fuzz_target *t, const uint8_t *data, size_t size)
{
    uint8_t *copy = malloc(size == 0 ? 1 : size);
    assert_non_null(copy);
    memcpy(copy, data, size);
    t->run(t, copy, size);
    free(copy);
}

/* Changes one to eight bytes: what a mutation without knowledge does. */
static size_t scratch_bytes(uint8_t *data, size_t size, uint32_t at)
{
    srand(at);
    for (int n = rand() % 8 + 1; n > 0 && size > 0; n--)
        data[(size_t)rand() % size] = (uint8_t)(rand() % 4 == 0 ? 0xFF : rand());
    return size;
}

/* Whatever ends the program, LAST says on what; "mutation N" is made again by GK_SEED. */
static void say(const fuzz_target *t, const char *path, const char *what, uint32_t n)
{
    static int fd = -1;
    char line[600];

    if (fd < 0)
        fd = open(LAST, O_WRONLY | O_CREAT | O_TRUNC, 0666);
    const int len = snprintf(line, sizeof line, "%s: %s, %s %u\n%100s\n", t->name, path, what, n,
                             "");
    assert_int_equal(pwrite(fd, line, (size_t)len, 0), len);
}

static void vary(const fuzz_target *t, const char *path, const uint8_t *data, size_t size,
                 double end)
{
    static uint8_t room[ROOM];
    const size_t step = size / CUTS + 1;

    for (size_t n = 0; n < size && now() < end; n += step) {
        say(t, path, "cut at", (uint32_t)n);
        run_exact(t, data, n);
    }
    for (uint32_t i = 0; i < MUTATIONS && now() < end; i++) {
        const uint32_t at = seed * 1000003u + i;
        size_t n = 0;
        memcpy(room, data, size);
        if (t->mutate != NULL && i % 2 == 0)
            n = t->mutate(room, size, ROOM, at);
        if (n == 0)
            n = scratch_bytes(room, size, at);
        say(t, path, "mutation", at);
        run_exact(t, room, n);
    }
}

/* Runs the files of a folder, or varies them until `end` (0: no). Returns how many. */
static int replay(const fuzz_target *t, const char *folder, double end)
{
    gk_err err = {0};
    gk_arena *a = gk_arena_new(&err);
    uint64_t n = 0, len = 0;

    char *path = gk_arena_printf(a, &err, "%s/%s", folder, t->name);
    const char **name = gk_path_kind_of(path) == GK_PATH_DIR ? gk_dir_names(a, path, &n, &err)
                                                             : NULL;
    for (uint64_t i = 0; name != NULL && i < n; i++) {
        const char *file = gk_path_join(a, path, name[i], &err);
        char *data = gk_file_slurp(file, ROOM, &len, &err);
        assert_ok(data != NULL, err);
        say(t, file, "whole", 0);
        if (end > 0)
            vary(t, file, (const uint8_t *)data, len, end);
        else
            run_exact(t, (const uint8_t *)data, len);
        gk_free(data);
    }
    gk_arena_free(a);
    return (int)n;
}

static void replays_what_is_known(void **state)
{
    (void)state;
    for (const fuzz_target *t = fuzz_targets; t->name != NULL; t++) {
        const int n = replay(t, "tests/fuzz/corpus", 0) + replay(t, "tests/fuzz/findings", 0)
                      + replay(t, "build/tmp/fuzz-seeds", 0);
        print_message("%s: %d inputs\n", t->name, n);
        assert_true(n > 0);
    }
}

static void takes_variations_of_it(void **state)
{
    (void)state;
    if (getenv("GK_SEED") != NULL)
        seed = (uint32_t)strtoul(getenv("GK_SEED"), NULL, 10);
    print_message("GK_SEED=%u\n", seed);
    for (const fuzz_target *t = fuzz_targets; t->name != NULL; t++) {
        const double end = now() + SECONDS;
        replay(t, "tests/fuzz/corpus", end);
        replay(t, "build/tmp/fuzz-seeds", end);
    }
}

static int make_folder(void **state)
{
    (void)state;
    mkdir("build", 0777);
    mkdir("build/tmp", 0777);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(replays_what_is_known),
        cmocka_unit_test(takes_variations_of_it),
    };
    return cmocka_run_group_tests(tests, make_folder, NULL);
}
