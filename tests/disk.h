/* tests/disk.h - directories to break: copies by link, edits by byte, safetensors by hand.
 *
 * Knows nothing of the project's readers and writers, so that it can judge them. */
#ifndef GK_TESTS_DISK_H
#define GK_TESTS_DISK_H

#include <dirent.h>
#include <ftw.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/test.h"

/* Returns formatted text, valid for the next seven calls (link_all() makes many). */
static inline const char *path_of(const char *fmt, ...)
{
    static char ring[8][PATH_MAX];
    static unsigned next;
    char *out = ring[next++ % 8];
    va_list args;

    va_start(args, fmt);
    const int n = vsnprintf(out, PATH_MAX, fmt, args);
    va_end(args);
    assert_in_range(n, 0, PATH_MAX - 1);
    return out;
}

static inline int remove_one(const char *path, const struct stat *st, int flag, struct FTW *at)
{
    (void)st;
    (void)flag;
    (void)at;
    return remove(path);
}

static inline void remove_tree(const char *path)
{
    nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static inline bool is_there(const char *path)
{
    struct stat st;

    return lstat(path, &st) == 0;
}

/* An empty directory, whatever stood there; its parents are made. */
static inline void fresh_dir(const char *path)
{
    char part[PATH_MAX];

    remove_tree(path);
    snprintf(part, sizeof part, "%s", path);
    for (char *s = strchr(part, '/'); s != NULL; s = strchr(s + 1, '/')) {
        *s = '\0';
        mkdir(part, 0777);
        *s = '/';
    }
    assert_int_equal(mkdir(part, 0777), 0);
}

static inline unsigned char *read_bytes(const char *path, size_t *n)
{
    FILE *f = fopen(path, "rb");

    if (f == NULL)
        fail_msg("cannot open %s", path);
    fseek(f, 0, SEEK_END);
    *n = (size_t)ftell(f);
    rewind(f);
    unsigned char *bytes = malloc(*n + 1);
    assert_non_null(bytes);
    assert_int_equal(fread(bytes, 1, *n, f), *n);
    bytes[*n] = '\0';
    fclose(f);
    return bytes;
}

/* A file of its own: a link that stood there is replaced, never written through. */
static inline void write_bytes(const char *path, const void *bytes, size_t n)
{
    unlink(path);
    FILE *f = fopen(path, "wb");

    if (f == NULL)
        fail_msg("cannot create %s", path);
    assert_int_equal(fwrite(bytes, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

static inline void write_text(const char *path, const char *text)
{
    write_bytes(path, text, strlen(text));
}

/* A link at `to` to the file `from`. */
static inline void link_one(const char *from, const char *to)
{
    char whole[PATH_MAX];

    assert_non_null(realpath(from, whole));
    unlink(to);
    assert_int_equal(symlink(whole, to), 0);
}

/* Fills `to` with links to the files of `from`. */
static inline void link_all(const char *from, const char *to)
{
    fresh_dir(to);
    DIR *dir = opendir(from);
    assert_non_null(dir);
    for (struct dirent *e; (e = readdir(dir)) != NULL;)
        if (e->d_name[0] != '.')
            link_one(path_of("%s/%s", from, e->d_name), path_of("%s/%s", to, e->d_name));
    closedir(dir);
}

/* Replaces the first `old` of a file by `new`; both may differ in length. */
static inline void edit_text(const char *path, const char *old, const char *new)
{
    size_t n;
    unsigned char *bytes = read_bytes(path, &n);
    unsigned char *at = memmem(bytes, n, old, strlen(old));

    if (at == NULL)
        fail_msg("%s: no '%s' in it", path, old);
    const size_t before = (size_t)(at - bytes), rest = n - before - strlen(old);
    unsigned char *out = malloc(n + strlen(new));
    assert_non_null(out);
    memcpy(out, bytes, before);
    memcpy(out + before, new, strlen(new));
    memcpy(out + before + strlen(new), at + strlen(old), rest);
    write_bytes(path, out, before + strlen(new) + rest);
    free(bytes);
    free(out);
}

/* The names in a directory, byte-sorted; free each and the list. */
static inline char **names_in(const char *path, size_t *n)
{
    struct dirent **entry;
    const int count = scandir(path, &entry, NULL, NULL);
    char **name = malloc(((size_t)(count < 0 ? 0 : count) + 1) * sizeof *name);

    *n = 0;
    assert_true(count >= 0 && name != NULL);
    for (int i = 0; i < count; i++) {
        if (strcmp(entry[i]->d_name, ".") != 0 && strcmp(entry[i]->d_name, "..") != 0)
            name[(*n)++] = strdup(entry[i]->d_name);
        free(entry[i]);
    }
    free(entry);
    for (size_t i = 1; i < *n; i++)
        for (size_t k = i; k > 0 && strcmp(name[k - 1], name[k]) > 0; k--) {
            char *swap = name[k];
            name[k] = name[k - 1];
            name[k - 1] = swap;
        }
    return name;
}

static inline void free_names(char **name, size_t n)
{
    for (size_t i = 0; i < n; i++)
        free(name[i]);
    free(name);
}

/* Both files hold the same bytes. */
static inline void assert_same_files(const char *a, const char *b)
{
    size_t len_a, len_b;
    unsigned char *x = read_bytes(a, &len_a), *y = read_bytes(b, &len_b);

    if (len_a != len_b || memcmp(x, y, len_a) != 0)
        fail_msg("%s and %s differ", a, b);
    free(x);
    free(y);
}

/* Both directories hold the same names and bytes. */
static inline void assert_same_dirs(const char *a, const char *b)
{
    size_t n, m;
    char **x = names_in(a, &n), **y = names_in(b, &m);

    assert_int_equal(n, m);
    for (size_t i = 0; i < n; i++) {
        assert_string_equal(x[i], y[i]);
        assert_same_files(path_of("%s/%s", a, x[i]), path_of("%s/%s", b, y[i]));
    }
    free_names(x, n);
    free_names(y, m);
}

/* Names in `parent` that begin with `prefix`. */
static inline int count_names(const char *parent, const char *prefix)
{
    size_t n;
    char **name = names_in(parent, &n);
    int count = 0;

    for (size_t i = 0; i < n; i++)
        count += strncmp(name[i], prefix, strlen(prefix)) == 0;
    free_names(name, n);
    return count;
}

/* Writes a safetensors file of BF16 vectors, each of 4 ones; names end with NULL. */
static inline void write_vectors(const char *path, const char *const *name)
{
    static const uint16_t ones[4] = {0x3F80, 0x3F80, 0x3F80, 0x3F80};
    char *text = NULL;
    size_t len = 0, n = 0;
    FILE *header = open_memstream(&text, &len);

    assert_non_null(header);
    fprintf(header, "{\"__metadata__\":{\"format\":\"pt\"}");
    for (; name[n] != NULL; n++)
        fprintf(header, ",\"%s\":{\"dtype\":\"BF16\",\"shape\":[4],\"data_offsets\":[%zu,%zu]}",
                name[n], 8 * n, 8 * n + 8);
    fputc('}', header);
    while (ftell(header) % 8 != 0)
        fputc(' ', header);
    fclose(header);
    unsigned char *bytes = calloc(8 + len + 8 * n, 1);
    const uint64_t length = len;
    assert_non_null(bytes);
    memcpy(bytes, &length, 8);
    memcpy(bytes + 8, text, len);
    for (size_t i = 0; i < n; i++)
        memcpy(bytes + 8 + len + 8 * i, ones, 8);
    write_bytes(path, bytes, 8 + len + 8 * n);
    free(bytes);
    free(text);
}

/* open_work() and close_work(), the setup and teardown of a program with a folder of its own. */
#define WORK_FOLDER(path)                                                                          \
    static int open_work(void **state)                                                             \
    {                                                                                              \
        (void)state;                                                                               \
        fresh_dir(path);                                                                           \
        return 0;                                                                                  \
    }                                                                                              \
    static int close_work(void **state)                                                            \
    {                                                                                              \
        (void)state;                                                                               \
        remove_tree(path);                                                                         \
        return 0;                                                                                  \
    }

#endif
