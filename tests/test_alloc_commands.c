/* tests/test_alloc_commands.c - the n-th allocation fails in every command, and all after it.
 *
 * The program itself is linked in under another name than main. A run that memory ends for
 * says so and exits with 5; nothing crashes, nothing leaks (LeakSanitizer), and nothing
 * called OUT is left. GK_ALLOC_POINTS is how many points a command gets, evenly spread (0:
 * all of them). */
#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/test.h"

#include "formats/arena.h"

#define SMALL "build/models/ranks2"
#define ARGS  16

int grokkit_main(int argc, char **argv);

static char work[100];
static int said, terminal[2]; /* what a run prints goes to a file */

/* %s, twice at most, of the folder of the test; each as a person would type it. */
static const char *const commands[] = {
    "inspect " TINY " --parts",
    "inspect " SMALL " --tensors layers\\.0 --json",
    "inspect testdata/gguf/grok.gguf --json",
    "inspect testdata/flax-tiny/chunked.msgpack",
    "inspect testdata/torch/views.pt",
    "inspect testdata/grok1-mini",
    "inspect tests/fuzz/corpus/archive/gz",
    "inspect tests/fuzz/corpus/archive/zip",
    "inspect testdata/gguf/llama.gguf --config",
    "audit " SMALL " --html %s/page.html",
    "audit testdata/vocabulary/grok1.gguf --json",
    "audit " SMALL " --no-values --sums tests/fuzz/corpus/sums/list",
    "hash " SMALL,
    "hash " SMALL " --check tests/fuzz/corpus/sums/list",
    "convert " SMALL " %s/out --max-shard-size 40KB --hash all --verify",
    "convert " SMALL " %s/out.gguf --to gguf",
    "quantize " SMALL " %s/out --scheme int4-g32 --recipe tests/fuzz/corpus/recipe/rules --strict",
    "quantize " SMALL " %s/out --scheme int8-g32 --rule self_attn=keep --method search",
    "quantize build/models/eight %s/out.gguf --to gguf --dry-run --json",
    "quantize testdata/gguf/llama.gguf %s/out.gguf --to gguf --scheme Q8_0 "
    "--stats tests/fuzz/corpus/imatrix/legacy",
    "quantize " SMALL " %s/out --target-bpw 5 --save-recipe %s/recipe --json",
    "quantize " SMALL " %s/out.gguf --target-size 250KB --grain kind --dry-run",
    "calibrate " SMALL " --token-ids %s/ids --probe-tokens 4 -o %s/out.gguf",
    "eval " SMALL " --token-ids %s/ids",
    "eval " SMALL " --base " SMALL " --token-ids %s/ids --json --gate top1>=0.9",
    "compare " SMALL " build/models/ranks1",
    "compare " SMALL " " SMALL " --html %s/page.html --json",
    "tokenize " TINY " --text tests/fuzz/seeds.sh",
    "tokenize testdata/vocabulary/grok1.gguf --text tests/fuzz/seeds.sh --json",
    "tokenize testdata/vocabulary/bare.model --text %s/ids --decode",
    "version --json",
    "quantize --help",
    "inspekt x",
};

static void remove_tree(const char *path, bool itself)
{
    DIR *d = opendir(path);
    char name[600];

    for (struct dirent *e; d != NULL && (e = readdir(d)) != NULL;) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0
            || (!itself && (strcmp(e->d_name, "ids") == 0 || strcmp(e->d_name, "said") == 0)))
            continue;
        snprintf(name, sizeof name, "%s/%s", path, e->d_name);
        if (unlink(name) != 0)
            remove_tree(name, true);
    }
    if (d != NULL)
        closedir(d);
    if (itself)
        rmdir(path);
}

/* Cuts a line into words. */
static int words(char *line, char **word)
{
    int n = 0;

    for (char *save, *w = strtok_r(line, " ", &save); w != NULL; w = strtok_r(NULL, " ", &save))
        word[n++] = w;
    word[n] = NULL;
    return n;
}

/* The names and sizes in OUT, as one number; 0 when there is none. */
static uint64_t out_hash(void)
{
    static const char *const outs[] = {"out", "out.gguf"};
    char path[600];
    struct stat st;
    uint64_t sum = 0;

    for (int i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "%s/%s", work, outs[i]);
        if (stat(path, &st) == 0 && S_ISREG(st.st_mode))
            sum += (uint64_t)st.st_size;
        DIR *d = opendir(path);
        for (struct dirent *e; d != NULL && (e = readdir(d)) != NULL;) {
            snprintf(path, sizeof path, "%s/%s/%s", work, outs[i], e->d_name);
            if (stat(path, &st) == 0 && S_ISREG(st.st_mode))
                sum += (uint64_t)st.st_size * (uint64_t)(e->d_name[0] + strlen(e->d_name));
        }
        if (d != NULL)
            closedir(d);
    }
    return sum;
}

/* Runs the command with allocation n failing (-1: none). Returns its status, *made how many
 * allocations there were. */
static int run(const char *command, int64_t n, uint64_t *made)
{
    char line[600], *word[ARGS + 8] = {(char[]){"grokkit"}};

    snprintf(line, sizeof line, command, work, work);
    strcat(line, " -t 1 --no-sandbox --progress never");
    assert_int_equal(ftruncate(said, 0), 0);
    lseek(said, 0, SEEK_SET);
    fflush(stdout);
    dup2(said, 1);
    dup2(said, 2);
    gk_alloc_fail_after(n);
    const int status = grokkit_main(words(line, word + 1) + 1, word);
    *made = gk_alloc_fail_after(-1);
    fflush(stdout);
    dup2(terminal[0], 1);
    dup2(terminal[1], 2);
    return status;
}

/* Whether the result has no times in it. */
static bool says_the_same(const char *command)
{
    return strncmp(command, "convert", 7) != 0 && strncmp(command, "quantize", 8) != 0
           && strncmp(command, "eval", 4) != 0;
}

/* A digest of what was said (FNV-1a), for comparing two runs. */
static uint64_t said_hash(void)
{
    uint64_t h = UINT64_C(0xcbf29ce484222325);
    unsigned char buf[4096];
    ssize_t n;

    lseek(said, 0, SEEK_SET);
    while ((n = read(said, buf, sizeof buf)) > 0)
        for (ssize_t i = 0; i < n; i++)
            h = (h ^ buf[i]) * UINT64_C(0x100000001b3);
    return h;
}

static void check(const char *command, uint64_t n, int status, int otherwise, uint64_t whole)
{
    struct stat st;

    if (status != otherwise && status != 5)
        fail_msg("%s, allocation %u: exit %d, without failures %d", command, (unsigned)n, status,
                 otherwise);
    assert_int_equal(fstat(said, &st), 0);
    if (status == 5 && st.st_size == 0)
        fail_msg("%s, allocation %u: ends without a word", command, (unsigned)n);
    const uint64_t out = out_hash();
    if (out != 0 && out != whole)
        fail_msg("%s, allocation %u: exit %d, OUT is there and not whole", command, (unsigned)n,
                 status);
}

static void every_command_ends_well(void **state)
{
    (void)state;
    const char *text = getenv("GK_ALLOC_POINTS");
    const uint64_t most = text != NULL ? strtoull(text, NULL, 10) : 60;
    uint64_t all = 0, sum = 0, ended = 0, points, none;

    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
        remove_tree(work, false);
        const int otherwise = run(commands[i], -1, &points);
        if (otherwise < 0 || otherwise > 3)
            fail_msg("%s: exit %d without failures", commands[i], otherwise);
        const uint64_t step = most == 0 || points <= most ? 1 : points / most;
        const uint64_t normal = said_hash(), whole = out_hash();
        uint64_t tried = 0;
        for (uint64_t n = 0; n < points; n += n < 8 ? 1 : step) {
            remove_tree(work, false);
            const int status = run(commands[i], (int64_t)n, &none);
            check(commands[i], n, status, otherwise, whole);
            if (status == otherwise && status <= 1 && says_the_same(commands[i])
                && said_hash() != normal)
                fail_msg("%s, allocation %u: success, but with another result", commands[i],
                         (unsigned)n);
            ended += status == otherwise;
            tried++;
        }
        print_message("%-60.60s %6u allocations, %5u tried\n", commands[i], (unsigned)points,
                      (unsigned)tried);
        all += points;
        sum += tried;
    }
    print_message("%u points in %u commands, %u tried, %u ended well all the same\n", (unsigned)all,
                  (unsigned)(sizeof commands / sizeof commands[0]), (unsigned)sum, (unsigned)ended);
}

static int open_work(void **state)
{
    (void)state;
    char path[200];

    snprintf(work, sizeof work, "build/tmp/test_alloc_commands-%d", (int)getpid());
    mkdir("build", 0777);
    mkdir("build/tmp", 0777);
    mkdir(work, 0777);
    snprintf(path, sizeof path, "%s/ids", work);
    FILE *f = fopen(path, "w");
    if (f == NULL)
        return -1;
    fputs("1 2 3 40 5 60 7 8\n", f);
    fclose(f);
    snprintf(path, sizeof path, "%s/said", work);
    said = open(path, O_RDWR | O_CREAT | O_TRUNC | O_APPEND, 0666);
    terminal[0] = dup(1);
    terminal[1] = dup(2);
    return said < 0;
}

static int close_work(void **state)
{
    (void)state;
    gk_alloc_fail_after(-1);
    close(said);
    remove_tree(work, true);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_command_ends_well)};
    return cmocka_run_group_tests(tests, open_work, close_work);
}
