/* tests/written.h - plans and runs in few words, and the file format by its bytes. */
#ifndef GK_TESTS_WRITTEN_H
#define GK_TESTS_WRITTEN_H

#include "tests/disk.h"

#include "quant/model.h"
#include "quant/run.h"

#define INDEX "model.safetensors.index.json"
#ifndef WRITTEN_OPEN /* a test of parts of models opens them with gk_model_open */
#define WRITTEN_OPEN gk_model_open_whole
#endif
#define MANY  (UINT64_C(1) << 30)
#define WIDE  ((UINT64_C(1) << 20) + 192) /* columns of a matrix that tiles cut */

/* ---- plans and runs ---------------------------------------------------------------- */

static inline gk_plan_options plain_options(void)
{
    return (gk_plan_options){.target = gk_target_find("hf", NULL),
                             .method = GK_METHOD_RTN,
                             .hash = GK_HASH_OUTPUT,
                             .threads = 2,
                             .memory_bytes = MANY,
                             .check_values = true};
}

static inline gk_plan_options int_options(void)
{
    gk_plan_options o = plain_options();
    o.target = gk_target_find("compressed-tensors", NULL);
    return o;
}

/* Of a file called out.gguf. */
static inline gk_plan_options gguf_options(void)
{
    gk_plan_options o = plain_options();
    o.target = gk_target_find("gguf", NULL);
    o.out_name = "out";
    return o;
}

/* rules: lines of a recipe, its default among them. NULL and *err as gk_plan_new(). */
static inline gk_plan *try_plan(const gk_catalog *c, const char *rules,
                                const gk_plan_options *options, gk_err *err)
{
    gk_err own = {0};
    gk_recipe *recipe = gk_recipe_new(&own);
    assert_ok(recipe != NULL && gk_recipe_text(recipe, rules, strlen(rules), "rules", &own), own);
    gk_plan *p = gk_plan_new(c, recipe, options, err);
    gk_recipe_free(recipe);
    return p;
}

static inline gk_catalog *open_whole(const char *path)
{
    gk_err err = {0};
    gk_catalog *c = WRITTEN_OPEN(path, &err);
    assert_ok(c != NULL, err);
    return c;
}

static inline bool try_write(const char *from, const char *rules, const gk_plan_options *options,
                             const char *out, gk_err *err)
{
    /* what is read back must be whole, so parts of models are not */
    const gk_run_options run = {.verify = WRITTEN_OPEN == gk_model_open_whole};
    gk_run_result result = {0};
    gk_catalog *c = open_whole(from);
    gk_plan *p = try_plan(c, rules, options, err);
    bool ok = p != NULL;
    if (ok)
        ok = gk_plan_prove(p, err) && gk_run(p, out, &run, &result, err);
    gk_run_result_free(&result);
    gk_plan_free(p);
    gk_catalog_close(c);
    return ok;
}

static inline void write_model(const char *from, const char *rules, const gk_plan_options *options,
                               const char *out)
{
    gk_err err = {0};
    remove_tree(out);
    assert_ok(try_write(from, rules, options, out, &err), err);
}

/* ---- a model of one matrix -------------------------------------------------------------- */

/* One matrix of BF16 [rows, cols] in a file without a config. */
static inline void write_matrix(const char *path, uint64_t rows, uint64_t cols)
{
    char header[256] = {0};
    const uint64_t bytes = rows * cols * 2, length = 200;
    snprintf(header, sizeof header,
             "{\"__metadata__\":{\"format\":\"pt\"},\"wide.weight\":{\"dtype\":\"BF16\","
             "\"shape\":[%" PRIu64 ",%" PRIu64 "],\"data_offsets\":[0,%" PRIu64 "]}}",
             rows, cols, bytes);
    memset(header + strlen(header), ' ', 200 - strlen(header));
    unsigned char *file = malloc(208 + bytes);
    assert_non_null(file);
    memcpy(file, &length, 8);
    memcpy(file + 8, header, 200);
    uint32_t seed = 5;
    for (uint64_t i = 0; i < rows * cols; i++) {
        seed = seed * 1664525u + 1013904223u;
        /* a sign, an exponent near 1, a mantissa */
        const uint16_t bits = (uint16_t)((seed >> 16 & 0x80FF) | 0x3C00);
        memcpy(file + 208 + 2 * i, &bits, 2);
    }
    write_bytes(path, file, 208 + bytes);
    free(file);
}

/* ---- a file as its bytes say --------------------------------------------------------- */

typedef struct entry {
    char     name[200], dtype[16], file[64];
    uint64_t begin, end;
} entry;

static inline int dtype_order(const char *name)
{
    static const char *const rising[]
        = {"BOOL", "F4", "F6_E2M3", "F6_E3M2", "U8", "I8", "F8_E5M2", "F8_E4M3", "F8_E8M0",
           "F8_E4M3FNUZ", "F8_E5M2FNUZ", "I16", "U16", "F16", "BF16", "I32", "U32", "F32", "C64",
           "F64", "I64", "U64"};
    for (int i = 0; i < 22; i++)
        if (strcmp(rising[i], name) == 0)
            return i;
    fail_msg("unknown dtype %s", name);
    return -1;
}

/* Takes one entry of a compact header; returns what follows. */
static inline const char *take_entry(const char *at, entry *e)
{
    int n = 0;
    *e = (entry){.end = 0};
    if (sscanf(at, ",\"%199[^\"]\":{\"dtype\":\"%15[A-Z0-9_]\",\"shape\":[%n", e->name,
               e->dtype, &n) != 2 || n == 0)
        fail_msg("no compact entry: %.80s", at);
    at += n;
    at += strspn(at, "0123456789,");
    n = 0;
    if (sscanf(at, "],\"data_offsets\":[%" SCNu64 ",%" SCNu64 "]}%n", &e->begin, &e->end, &n) != 2
        || n == 0)
        fail_msg("%s: no compact offsets: %.60s", e->name, at);
    return at + n;
}

/* Checks every convention of one file and appends its entries. */
static inline size_t check_file(const char *dir, const char *name, entry *out)
{
    static const char first[] = "{\"__metadata__\":{\"format\":\"pt\"}";
    size_t size, n = 0;
    unsigned char *bytes = read_bytes(path_of("%s/%s", dir, name), &size);
    uint64_t header, at = 0;
    memcpy(&header, bytes, 8);
    assert_int_equal(header % 8, 0);
    assert_true(8 + header <= size);
    const char *text = (const char *)bytes + 8, *end = text + header;
    assert_memory_equal(text, first, strlen(first));
    text += strlen(first);
    while (*text != '}') {
        entry *e = &out[n], *before = n > 0 ? &out[n - 1] : NULL;
        text = take_entry(text, e);
        assert_true(text < end);
        snprintf(e->file, sizeof e->file, "%s", name);
        assert_int_equal(e->begin, at); /* no hole, no overlap */
        if (before != NULL) {
            const int order = dtype_order(before->dtype) - dtype_order(e->dtype);
            if (order < 0 || (order == 0 && strcmp(before->name, e->name) >= 0))
                fail_msg("%s: %s (%s) stands before %s (%s)", name, before->name, before->dtype,
                         e->name, e->dtype);
        }
        at = e->end;
        n++;
    }
    assert_true(end - text - 1 < 8);
    while (++text < end)
        assert_int_equal(*text, ' ');
    assert_int_equal(8 + header + at, size);
    free(bytes);
    assert_true(n > 0);
    return n;
}

static inline int by_name(const void *a, const void *b)
{
    return strcmp(((const entry *)a)->name, ((const entry *)b)->name);
}

/* total_size, every tensor in the file that holds it, keys in byte order. */
static inline void check_index(const char *dir, entry *e, size_t n)
{
    gk_err err = {0};
    gk_json *root = gk_json_load(path_of("%s/" INDEX, dir), &err);
    assert_ok(root != NULL, err);
    const gk_json *map = gk_json_get(root, "weight_map"), *value;
    uint64_t total = 0, sum = 0;
    const char *key;
    void *iter = NULL;
    size_t i = 0;
    assert_true(gk_json_as_uint(gk_json_get(gk_json_get(root, "metadata"), "total_size"), &total));
    qsort(e, n, sizeof *e, by_name);
    while (gk_json_next(map, &iter, &key, &value)) {
        assert_true(i < n);
        assert_string_equal(key, e[i].name);
        assert_string_equal(gk_json_text(value, NULL), e[i].file);
        sum += e[i].end - e[i].begin;
        i++;
    }
    assert_int_equal(i, n);
    assert_int_equal(total, sum);
    gk_json_free(root);
}

/* The module of a stored tensor: its name up to ".weight". */
static inline size_t module_len(const char *name)
{
    const char *at = NULL;
    for (const char *s = strstr(name, ".weight"); s != NULL; s = strstr(s + 1, ".weight"))
        at = s;
    assert_non_null(at);
    return (size_t)(at - name);
}

/* Files of at most max bytes unless one module alone is larger; modules stay whole. */
static inline void check_shards(const entry *e, size_t n, uint64_t max)
{
    for (size_t i = 0; i < n; i++) {
        const size_t len = module_len(e[i].name);
        uint64_t shard = 0;
        bool alone = true;
        for (size_t k = 0; k < n; k++) {
            const bool same
                = module_len(e[k].name) == len && strncmp(e[k].name, e[i].name, len) == 0;
            if (same)
                assert_string_equal(e[k].file, e[i].file);
            if (strcmp(e[k].file, e[i].file) == 0) {
                shard += e[k].end - e[k].begin;
                alone = alone && same;
            }
        }
        if (shard > max && !alone)
            fail_msg("%s: %" PRIu64 " bytes, at most %" PRIu64, e[i].file, shard, max);
    }
}

/* All files of a written directory; returns how many hold weights. */
static inline size_t check_dir(const char *dir, uint64_t max)
{
    size_t n_names, n = 0, files = 0;
    char **name = names_in(dir, &n_names);
    entry *e = calloc(4000, sizeof *e);
    bool indexed = false;
    assert_non_null(e);
    for (size_t i = 0; i < n_names; i++) {
        const size_t len = strlen(name[i]);
        indexed = indexed || strcmp(name[i], INDEX) == 0;
        if (len > 12 && strcmp(name[i] + len - 12, ".safetensors") == 0) {
            n += check_file(dir, name[i], e + n);
            files++;
        }
    }
    assert_int_equal(indexed, files > 1);
    for (size_t i = 1; i <= files; i++)
        assert_true(is_there(files == 1
                                 ? path_of("%s/model.safetensors", dir)
                                 : path_of("%s/model-%05zu-of-%05zu.safetensors", dir, i, files)));
    check_shards(e, n, max);
    if (indexed)
        check_index(dir, e, n);
    free(e);
    free_names(name, n_names);
    return files;
}

#endif
