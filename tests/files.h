/* tests/files.h - scratch folders below build/tmp, files made by hand, and what to ask of
 * findings. Knows the safetensors layout by itself, so that it can judge the readers. */
#ifndef GK_TESTS_FILES_H
#define GK_TESTS_FILES_H

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/test.h"

#include "formats/catalog.h"

#if defined(__SANITIZE_ADDRESS__)
#define SANITIZED 1 /* memory and time are the sanitizer's, not ours */
#else
#define SANITIZED 0
#endif

/* ---- numbers ------------------------------------------------------------------------ */

/* splitmix64: the same sequence everywhere */
static inline uint64_t next_random(uint64_t *state)
{
    uint64_t x = *state += UINT64_C(0x9E3779B97F4A7C15);
    x = (x ^ x >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    x = (x ^ x >> 27) * UINT64_C(0x94D049BB133111EB);
    return x ^ x >> 31;
}

/* ---- paths -------------------------------------------------------------------------- */

/* Returns a formatted path, good until 16 more were asked for. */
__attribute__((format(printf, 1, 2))) static inline const char *path_of(const char *fmt, ...)
{
    static char ring[16][1024];
    static int next;
    char *path = ring[next++ % 16];
    va_list args;
    va_start(args, fmt);
    vsnprintf(path, sizeof ring[0], fmt, args);
    va_end(args);
    return path;
}

static inline bool path_exists(const char *path)
{
    struct stat st;
    return lstat(path, &st) == 0;
}

/* Removes a file, link or whole folder; nothing there is fine. Links are not followed. */
static inline void remove_all(const char *path)
{
    struct stat st;
    if (lstat(path, &st) != 0)
        return;
    if (!S_ISDIR(st.st_mode)) {
        unlink(path);
        return;
    }
    DIR *dir = opendir(path);
    for (struct dirent *e; dir != NULL && (e = readdir(dir)) != NULL;)
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0) {
            char inner[PATH_MAX];
            snprintf(inner, sizeof inner, "%.2000s/%s", path, e->d_name);
            remove_all(inner);
        }
    if (dir != NULL)
        closedir(dir);
    rmdir(path);
}

/* Makes an empty folder, and those above it; what stood there is removed. */
static inline void fresh_dir(const char *path)
{
    char part[PATH_MAX];
    remove_all(path);
    for (size_t i = 1; i <= strlen(path); i++)
        if (path[i] == '/' || path[i] == '\0') {
            snprintf(part, sizeof part, "%.*s", (int)i, path);
            if (mkdir(part, 0777) != 0 && errno != EEXIST)
                fail_msg("mkdir %s: %s", part, strerror(errno));
        }
}

/* How many entries a folder has, without those that begin with a dot. */
static inline int count_entries(const char *path)
{
    int n = 0;
    DIR *dir = opendir(path);
    assert_non_null(dir);
    for (struct dirent *e; (e = readdir(dir)) != NULL;)
        n += e->d_name[0] != '.';
    closedir(dir);
    return n;
}

/* ---- whole files -------------------------------------------------------------------- */

static inline void put_bytes(const char *path, const void *data, size_t n)
{
    unlink(path); /* never write through a link */
    FILE *f = fopen(path, "wb");
    if (f == NULL || (n > 0 && fwrite(data, 1, n, f) != n) || fclose(f) != 0)
        fail_msg("cannot write %s: %s", path, strerror(errno));
}

static inline void put_text(const char *path, const char *text)
{
    put_bytes(path, text, strlen(text));
}

/* Returns the bytes and a NUL behind them; free() them. */
static inline char *get_bytes(const char *path, size_t *n)
{
    FILE *f = fopen(path, "rb");
    if (f == NULL)
        fail_msg("cannot read %s: %s", path, strerror(errno));
    fseek(f, 0, SEEK_END);
    *n = (size_t)ftell(f);
    rewind(f);
    char *data = malloc(*n + 1);
    assert_non_null(data);
    assert_int_equal(fread(data, 1, *n, f), *n);
    data[*n] = '\0';
    fclose(f);
    return data;
}

static inline void copy_file(const char *from, const char *to)
{
    size_t n;
    char *data = get_bytes(from, &n);
    put_bytes(to, data, n);
    free(data);
}

/* Fills the fresh folder `to` with links to the plain files of `from`. */
static inline void link_files(const char *from, const char *to)
{
    char real[PATH_MAX];
    DIR *dir = opendir(from);
    fresh_dir(to);
    if (dir == NULL || realpath(from, real) == NULL)
        fail_msg("cannot list %s", from);
    for (struct dirent *e; (e = readdir(dir)) != NULL;) {
        struct stat st;
        if (stat(path_of("%s/%s", from, e->d_name), &st) == 0 && S_ISREG(st.st_mode)
            && symlink(path_of("%s/%s", real, e->d_name), path_of("%s/%s", to, e->d_name)) != 0)
            fail_msg("cannot link %s", e->d_name);
    }
    closedir(dir);
}

/* Replaces the n-th (from 0) occurrence of a text in a file by another of the same length. */
static inline void patch_file(const char *path, const char *from, const char *to, int n)
{
    size_t size;
    char *data = get_bytes(path, &size), *at = data;
    assert_int_equal(strlen(from), strlen(to));
    for (;; at++) {
        at = memmem(at, size - (size_t)(at - data), from, strlen(from));
        if (at == NULL)
            fail_msg("%s holds no '%s'", path, from);
        if (n-- == 0)
            break;
    }
    memcpy(at, to, strlen(to));
    put_bytes(path, data, size);
    free(data);
}

/* ---- safetensors -------------------------------------------------------------------- */

/* Writes the length word, the header and n bytes of data (NULL: a hole of n bytes). */
static inline void put_tensors(const char *path, const char *header, uint64_t header_bytes,
                               const void *data, uint64_t n)
{
    unlink(path);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    bool ok = fwrite(&header_bytes, 8, 1, f) == 1
              && (header_bytes == 0 || fwrite(header, header_bytes, 1, f) == 1);
    if (ok && data != NULL && n > 0)
        ok = fwrite(data, n, 1, f) == 1;
    ok = ok && fflush(f) == 0
         && (data != NULL || ftruncate(fileno(f), (off_t)(8 + header_bytes + n)) == 0);
    if (!ok || fclose(f) != 0)
        fail_msg("cannot write %s", path);
}

/* Writes a file of one tensor "name" of n bytes, U8, each byte `fill`. */
static inline void put_one(const char *path, const char *name, unsigned n, unsigned char fill)
{
    unsigned char data[4096];
    assert_true(n <= sizeof data);
    memset(data, fill, sizeof data);
    const char *header = path_of(
        "{\"%s\":{\"dtype\":\"U8\",\"shape\":[%u],\"data_offsets\":[0,%u]}}", name, n, n);
    put_tensors(path, header, strlen(header), data, n);
}

/* Returns all bytes of part 0 of a tensor; free() them. */
static inline unsigned char *read_whole(const gk_catalog *c, const gk_tensor *t)
{
    gk_err err = {0};
    unsigned char *buf = malloc(t->bytes + 1);
    assert_non_null(buf);
    assert_ok(gk_read_part(c, t, 0, 0, t->n_rows, 0, t->n_cols, buf, &err), err);
    return buf;
}

/* Every tensor of b stands in a with the same shape, type and bytes, and the other way. */
static inline void assert_same_tensors(const gk_catalog *a, const gk_catalog *b)
{
    assert_int_equal(a->n_tensors, b->n_tensors);
    for (uint64_t i = 0; i < b->n_tensors; i++) {
        const gk_tensor *y = &b->tensor[i], *x = gk_catalog_find(a, y->name);
        if (x == NULL || x->ndim != y->ndim || x->dtype != y->dtype || x->bytes != y->bytes
            || memcmp(x->dim, y->dim, y->ndim * sizeof *y->dim) != 0)
            fail_msg("%s differs in shape or type, or is not there", y->name);
        unsigned char *u = read_whole(a, x), *v = read_whole(b, y);
        if (memcmp(u, v, y->bytes) != 0)
            fail_msg("the bytes of %s differ", y->name);
        free(u);
        free(v);
    }
}

/* ---- findings ------------------------------------------------------------------------ */

static inline void print_findings(const gk_findings *f)
{
    for (uint64_t i = 0; i < f->n; i++)
        print_message("  %d %s: %s: '%s': %s\n", (int)f->row[i].severity, f->row[i].check,
                      f->row[i].file, f->row[i].tensor, f->row[i].text);
}

/* Returns the first row of that severity that fits; NULL stands for anything in file and
 * tensor, text is searched. */
static inline const gk_finding *find_row(const gk_findings *f, gk_severity severity,
                                         const char *file, const char *tensor, const char *text)
{
    for (uint64_t i = 0; i < f->n; i++) {
        const gk_finding *r = &f->row[i];
        if (r->severity == severity && (file == NULL || strcmp(r->file, file) == 0)
            && (tensor == NULL || strcmp(r->tensor, tensor) == 0)
            && strstr(r->text, text) != NULL)
            return r;
    }
    return NULL;
}

#define assert_finding(f, severity, file, tensor, text)                                        \
    do {                                                                                           \
        if (find_row(f, severity, file, tensor, text) == NULL) {                                   \
            print_findings(f);                                                                     \
            fail_msg("no such finding: %s, %s, %s", (const char *)(file), (const char *)(tensor),  \
                     text);                                                                        \
        }                                                                                          \
    } while (0)

/* A model with a bad finding is refused, as findings and when opened whole. */
#define assert_refused(c, err)                                                                     \
    do {                                                                                           \
        memset(&(err), 0, sizeof(err));                                                            \
        assert_false(gk_findings_refuse(&(c)->findings, &(err)));                                  \
        assert_true((err).code != GK_OK && (err).msg[0] != '\0');                                  \
    } while (0)

#endif
