/* tests/fuzz/targets.c - what is done with the bytes, for each parser.
 *
 * An input of a target that needs a folder is text that cuts itself into files: a line
 *
 *     --file NAME
 *
 * begins one, which ends one byte before the next such line. Names are plain ones. */
#include "tests/fuzz/fuzz.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "formats/journal.h"
#include "quant/model.h"
#include "quant/progress.h"
#include "quant/stats.h"
#include "verify/checks.h"
#include "verify/checksums.h"
#include "verify/sweep.h"
#include "verify/tokenizer.h"

#define MEMORY_BYTES (UINT64_C(64) << 20)
#define MAX_TENSORS  16 /* that are read */
#define MAX_READ     65536

/* ---- the folder ------------------------------------------------------------------ */

static char folder[4096];

static void remove_folder(void)
{
    DIR *d = opendir(folder);
    char path[4400];

    for (struct dirent *e; d != NULL && (e = readdir(d)) != NULL;) {
        snprintf(path, sizeof path, "%s/%s", folder, e->d_name);
        if (e->d_name[0] != '.')
            unlink(path);
    }
    if (d != NULL)
        closedir(d);
    rmdir(folder);
}

/* Returns folder/name; the folder is made at the first call, and empty. */
static const char *in_folder(const char *name)
{
    static char path[4400];
    static bool made;

    if (folder[0] == '\0') {
        const char *tmp = getenv("TMPDIR");
        if (tmp == NULL) {
            mkdir("build", 0777);
            mkdir("build/tmp", 0777);
        }
        snprintf(folder, sizeof folder, "%s/fuzz-%d", tmp == NULL ? "build/tmp" : tmp,
                 (int)getpid());
        if (mkdir(folder, 0777) != 0)
            abort();
        if (!made)
            atexit(remove_folder);
        made = true;
    }
    snprintf(path, sizeof path, "%s%s%s", folder, name[0] == '\0' ? "" : "/", name);
    return path;
}

static const char *put(const char *name, const void *data, size_t size)
{
    const char *path = in_folder(name);
    /* a new one: some file systems bring one that was emptied to the disk at once */
    unlink(path);
    const int fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0666);

    if (fd < 0 || write(fd, data, size) != (ssize_t)size)
        abort();
    close(fd);
    return path;
}

/* Takes "--file NAME\n" off the front. False: there is none, or NAME is no plain name. */
static bool takes_name(const uint8_t **at, const uint8_t *end, char name[80])
{
    static const char mark[] = "--file ";
    size_t n = 0;

    if ((size_t)(end - *at) < sizeof mark || memcmp(*at, mark, sizeof mark - 1) != 0)
        return false;
    for (const uint8_t *p = *at + sizeof mark - 1; p < end && n < 79; p++) {
        if (*p == '\n' && n > 0) {
            name[n] = '\0';
            *at = p + 1;
            return true;
        }
        if (!isalnum(*p) && (n == 0 || strchr("._-", *p) == NULL || *p == '\0'))
            return false;
        name[n++] = (char)*p;
    }
    return false;
}

static const char *put_files(const uint8_t *data, size_t size)
{
    char name[80], next[80];
    const uint8_t *at = data, *stop = data, *const end = data + size;

    remove_folder();
    folder[0] = '\0';
    in_folder("");
    bool more = takes_name(&at, end, name);
    while (more) {
        const uint8_t *after = end;
        more = false;
        for (stop = at; stop < end && !more; stop += !more)
            if (*stop == '\n') {
                after = stop + 1;
                more = takes_name(&after, end, next);
            }
        put(name, at, (size_t)(stop - at));
        at = after;
        memcpy(name, next, sizeof name);
    }
    return in_folder("");
}

/* ---- what follows an opening ------------------------------------------------------ */

/* A refusal says why. */
static void expect_said(bool ok, const gk_err *err)
{
    if (ok != (err->code == GK_OK) || (!ok && err->msg[0] == '\0'))
        abort();
}

/* The last row of what tensors there are, piece by piece. */
static void read_some(const gk_catalog *c)
{
    static uint8_t buf[MAX_READ];

    for (uint64_t i = 0; i < c->n_tensors && i < MAX_TENSORS; i++) {
        const gk_tensor *t = &c->tensor[i];
        for (int k = 0; k < gk_n_parts(t); k++) {
            gk_part_room room;
            gk_err err = {0};
            const gk_part *p = gk_part_of(t, k, &room);
            if (p->n_rows == 0 || gk_row_bytes(p->dtype, p->n_cols) > sizeof buf)
                continue;
            expect_said(gk_read_part(c, t, k, p->n_rows - 1, 1, 0, p->n_cols, buf, &err), &err);
        }
    }
}

static void examine_words(const gk_catalog *c)
{
    static const char text[] = "Human: it's 12345 \xC3\xA9t\xC3\xA9s<|separator|>\n\n  "
                               "\xF0\x9F\x98\x80";
    gk_ids ids = {0};
    gk_text back = {0};
    gk_err err = {0};

    gk_tokenizer *t = gk_tokenizer_open(c, &err);
    expect_said(t != NULL, &err);
    if (t != NULL && gk_tokenizer_encode(t, text, sizeof text - 1, &ids, &err))
        expect_said(gk_tokenizer_decode(t, ids.id, ids.n, &back, &err), &err);
    gk_text_free(&back);
    gk_ids_free(&ids);
    gk_tokenizer_close(t);
}

static void examine_vocabulary(const gk_catalog *c)
{
    gk_vocabulary v = {0};
    gk_text text = {0};
    gk_err err = {0};

    if (!gk_vocabulary_has(c))
        return;
    bool ok = gk_vocabulary_read(c, &v, &err);
    expect_said(ok, &err);
    if (ok && v.n > 0) {
        ok = gk_vocabulary_merges(&v, &err) && gk_vocabulary_tok_json(&v, &text, &err);
        expect_said(ok, &err);
    }
    gk_text_free(&text);
    gk_vocabulary_free(&v);
    examine_words(c);
}

/* What `audit` does with a path. */
static void examine(const char *path)
{
    gk_err err = {0};
    gk_catalog *c = gk_model_open(path, &err);
    const gk_check_options options = {.values = true, .keep_going = true, .threads = 1};

    expect_said(c != NULL, &err);
    if (c != NULL) {
        read_some(c);
        expect_said(gk_checks_run(c, &options, &err), &err);
        examine_vocabulary(c);
    }
    gk_catalog_close(c);
}

static void run_file(const fuzz_target *t, const uint8_t *data, size_t size)
{
    examine(put(t->file, data, size));
}

static void run_folder(const fuzz_target *t, const uint8_t *data, size_t size)
{
    (void)t;
    examine(put_files(data, size));
}

/* ---- parsers of other files --------------------------------------------------------- */

static void run_vocabulary(const fuzz_target *t, const uint8_t *data, size_t size)
{
    gk_err err = {0};
    gk_arena *a = gk_arena_new(&err);
    gk_file *f = gk_file_memory(a, t->file, (const char *)data, size, &err);
    gk_extra extra = {.name = t->file, .bytes = size, .file = f};
    gk_catalog c = {.arena = a, .extra = &extra, .n_extras = 1, .findings = {.arena = a}};

    examine_vocabulary(&c);
    expect_said(gk_vocabulary_check(&c, 300, &c.findings, &err), &err);
    gk_findings_free(&c.findings);
    gk_file_close(f);
    gk_arena_free(a);
}

static void run_imatrix(const fuzz_target *t, const uint8_t *data, size_t size)
{
    gk_err err = {0};
    const float *columns;
    gk_stats *s = gk_stats_open(put(t->file, data, size), &err);

    expect_said(s != NULL, &err);
    for (uint64_t i = 0; s != NULL && i < s->n; i++)
        if (gk_stats_find(s, s->row[i].name, 0, s->row[i].n, &columns, &err) && columns != NULL
            && !(columns[s->row[i].n - 1] <= 0 || columns[s->row[i].n - 1] > 0))
            abort(); /* a NaN */
    gk_stats_free(s);
}

/* A file that is there, one that is not, and whatever the list says. */
static void run_sums(const fuzz_target *t, const uint8_t *data, size_t size)
{
    static char list[4400];
    gk_err err = {0};
    gk_sums sums = {0};

    (void)t;
    snprintf(list, sizeof list, "%s", put_files(data, size));
    gk_catalog *c = gk_model_open(list, &err);
    expect_said(c != NULL, &err);
    if (c != NULL) {
        const gk_sweep pass = {.c = c, .sums = &sums, .threads = 1};
        expect_said(gk_sums_init(&sums, &err) && gk_sums_find(c, &sums, &err)
                        && gk_sweep_run(&pass, &err) && gk_sums_judge(c, &sums, &err),
                    &err);
    }
    gk_sums_free(&sums);
    gk_catalog_close(c);
}

/* Whatever is taken is printed as text that is taken again, and says the same. */
static void run_recipe(const fuzz_target *t, const uint8_t *data, size_t size)
{
    gk_err err = {0};
    gk_text first = {0}, second = {0};
    gk_recipe *a = gk_recipe_new(&err), *b = gk_recipe_new(&err);
    const bool ok = gk_recipe_text(a, (const char *)data, size, t->file, &err);

    expect_said(ok, &err);
    if (ok) {
        static const uint64_t dim[] = {64, 64};
        const gk_tensor matrix = {.name = "model.layers.1.self_attn.q_proj.weight",
                                  .dim = dim,
                                  .ndim = 2,
                                  .dtype = GK_BF16};
        gk_scheme to;
        gk_why why;
        expect_said(gk_recipe_choose(a, &matrix, &to, &why, &err), &err);
        err = (gk_err){0};
        gk_recipe_print(a, &first);
        if (!gk_recipe_text(b, first.data, first.len, t->file, &err))
            abort();
        gk_recipe_print(b, &second);
        if (first.len != second.len || memcmp(first.data, second.data, first.len) != 0)
            abort();
    }
    gk_text_free(&first);
    gk_text_free(&second);
    gk_recipe_free(a);
    gk_recipe_free(b);
}

/* ---- the journal: lines of a plan that is made once --------------------------------- */

#define MODEL "testdata/grok1-hf/torch-names"

static gk_plan *plan;
static gk_output *output;
static gk_catalog *model;

static void forget_plan(void)
{
    gk_output_abandon(output);
    gk_plan_free(plan);
    gk_catalog_close(model);
}

static void make_plan(void)
{
    gk_err err = {0};
    const gk_plan_options options = {.target = gk_target_find("compressed-tensors", NULL),
                                     .threads = 1,
                                     .memory_bytes = MEMORY_BYTES,
                                     .tile_quanta = 8};
    gk_recipe *recipe = gk_recipe_new(&err);
    char out[4400];

    model = gk_model_open_whole(MODEL, &err);
    if (model != NULL && gk_recipe_default(recipe, "int8-g32", &err))
        plan = gk_plan_new(model, recipe, &options, &err);
    snprintf(out, sizeof out, "%s.out", in_folder("")); /* beside it: that one is emptied */
    if (plan != NULL)
        output = gk_output_begin(out, plan->tag, &(gk_output_how){.resume = true}, &err);
    if (output == NULL) {
        fprintf(stderr, "%s: %s\n", err.file, err.msg);
        abort();
    }
    gk_recipe_free(recipe);
    atexit(forget_plan);
}

/* Writes the journal: as it is when it begins with '!', else its lines get their CRCs, and
 * a first line that names the plan. */
static void put_journal(const uint8_t *data, size_t size)
{
    gk_text lines = {0};
    char line[512];
    const uint8_t *at = data, *const end = data + size;

    if (size > 0 && *data == '!') {
        gk_text_add(&lines, (const char *)data + 1, size - 1);
    } else {
        snprintf(line, sizeof line, "grokkit journal 1 plan %s", plan->sha256);
        gk_journal_line(&lines, line);
    }
    while (at < end && *data != '!') {
        const uint8_t *stop = memchr(at, '\n', (size_t)(end - at));
        const size_t n = (size_t)((stop == NULL ? end : stop) - at);
        memcpy(line, at, n < sizeof line - 1 ? n : sizeof line - 1);
        line[n < sizeof line - 1 ? n : sizeof line - 1] = '\0';
        gk_journal_line(&lines, line);
        at += n + 1;
    }
    const int fd = openat(gk_output_dir(output), GK_JOURNAL_NAME, O_WRONLY | O_CREAT | O_TRUNC,
                          0666);
    if (fd < 0 || write(fd, lines.data, lines.len) != (ssize_t)lines.len)
        abort();
    close(fd);
    gk_text_free(&lines);
}

static void run_journal(const fuzz_target *t, const uint8_t *data, size_t size)
{
    gk_err err = {0};
    double sum[2];
    uint64_t n = 0;

    (void)t;
    if (plan == NULL)
        make_plan();
    put_journal(data, size);
    gk_progress_log *l = gk_progress_log_open(plan, output, true, &err);
    expect_said(l != NULL, &err);
    if (l != NULL) {
        const gk_done_tile *tile = gk_progress_log_tiles(l, &n);
        for (uint64_t i = 0; i < n; i++) /* each a unit of the plan, and once */
            if (tile[i].unit >= plan->n_units || !gk_progress_log_has(l, tile[i].unit)
                || (i > 0 && tile[i].unit <= tile[i - 1].unit))
                abort();
        for (uint64_t i = 0; i < plan->n_items; i++)
            gk_progress_log_whole(l, i, &sum[0], &sum[1]);
    }
    gk_progress_log_close(l);
}

/* ---- the table ------------------------------------------------------------------------ */

const fuzz_target fuzz_targets[] = {
    {"safetensors", "safetensors scan catalog", run_file, "model.safetensors",
     fuzz_mutate_safetensors},
    {"release", "release hf_dir source format safetensors", run_folder, NULL, NULL},
    {"config", "hf_dir format json layout grok2",
     run_folder, NULL, NULL},
    {"gguf", "gguf gguf_header gguf_config gguf_names vocabulary_gguf", run_file, "model.gguf",
     fuzz_mutate_gguf},
    {"imatrix", "stats gguf_header", run_imatrix, "imatrix.dat", fuzz_mutate_gguf},
    {"pickle", "pickle pickle_array pickle_node grok1 strided", run_file, "tensor00000_000",
     fuzz_mutate_pickle},
    {"torch", "torch_zip torch_dir zip pickle strided", run_file, "model.pt", NULL},
    {"flax", "flax flax_tree msgpack", run_file, "model.msgpack", NULL},
    {"archive", "archive tar zip spool", run_file, "model.archive", fuzz_mutate_tar},
    {"tok_json", "vocabulary vocabulary_tok bpe tokenizer", run_vocabulary, "tokenizer.tok.json",
     NULL},
    {"tokenizer_json", "vocabulary vocabulary_hf vocabulary_pre", run_vocabulary, "tokenizer.json",
     NULL},
    {"sentencepiece", "sentencepiece protobuf vocabulary", run_vocabulary, "tokenizer.model", NULL},
    {"sums", "checksums", run_sums, NULL, NULL},
    {"recipe", "recipe scheme", run_recipe, "recipe.txt", NULL},
    {"journal", "journal progress", run_journal, NULL, NULL},
    {0},
};

const fuzz_target *fuzz_find(const char *name)
{
    for (const fuzz_target *t = fuzz_targets; t->name != NULL; t++)
        if (strcmp(t->name, name) == 0)
            return t;
    return NULL;
}
