/* tests/container.h - makes safetensors files, and says what a reader should find. */
#ifndef GK_TESTS_CONTAINER_H
#define GK_TESTS_CONTAINER_H

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/test.h"

#include "formats/catalog.h"

#define F GK_ERR_FORMAT
#define U8(shape, range) "{\"dtype\":\"U8\",\"shape\":" shape ",\"data_offsets\":" range "}"

#define FILE_NAME "t.safetensors"

static char folder[100], path[128];

static inline int make_folder(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "build/tmp/test_safetensors-%d", (int)getpid());
    snprintf(path, sizeof path, "%s/" FILE_NAME, folder);
    mkdir("build", 0777);
    mkdir("build/tmp", 0777);
    return mkdir(folder, 0777);
}

static inline int remove_folder(void **state)
{
    (void)state;
    unlink(path);
    return rmdir(folder);
}

/* ---- files ---------------------------------------------------------------------- */

static inline void write_bytes(const void *bytes, size_t n)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

/* Length word, header, n_data bytes 0, 1, 2, ...; returns the size. */
static inline size_t build(unsigned char *file, const char *header, size_t n, size_t n_data)
{
    for (int i = 0; i < 8; i++)
        file[i] = (unsigned char)((uint64_t)n >> 8 * i);
    memcpy(file + 8, header, n);
    for (size_t i = 0; i < n_data; i++)
        file[8 + n + i] = (unsigned char)i;
    return 8 + n + n_data;
}

static inline void write_file(const char *header, size_t n, size_t n_data)
{
    unsigned char *file = malloc(8 + n + n_data);
    write_bytes(file, build(file, header, n, n_data));
    free(file);
}

static inline gk_catalog *open_file(void)
{
    gk_err err = {0};
    gk_catalog *c = gk_catalog_open(path, &err);
    assert_ok(c != NULL, err);
    return c;
}

/* ---- findings ------------------------------------------------------------------- */

typedef struct bad {
    const char *header;
    uint64_t    n_data; /* bytes after it                                       */
    gk_err_code code;
    const char *tensor; /* "" when the finding is about none                    */
    const char *at;     /* the offset is where this first stands in the header; */
    uint64_t    off;    /*   NULL: it is this byte                              */
    const char *word;   /* stands in the text                                   */
} bad;

/* The file at path has exactly one finding, and it says this. */
static inline void check_finding(const bad *b, uint64_t off)
{
    gk_catalog *c = open_file();
    if (c->findings.n != 1)
        fail_msg("%d findings on %.200s", (int)c->findings.n, b->header);
    const gk_finding *f = &c->findings.row[0];
    if (f->code != b->code || !f->malformed || f->severity != GK_BAD || f->off != off
        || strcmp(f->file, FILE_NAME) != 0 || strcmp(f->tensor, b->tensor) != 0
        || strstr(f->text, b->word) == NULL)
        fail_msg("%.200s\ncode %d, file '%s', tensor '%s', byte %lld: %s\nexpected code %d, "
                 "tensor '%s', byte %lld, '%s'",
                 b->header, (int)f->code, f->file, f->tensor, (long long)f->off, f->text,
                 (int)b->code, b->tensor, (long long)off, b->word);
    assert_false(c->input[0].usable);
    assert_int_equal(c->n_tensors, 0);
    assert_int_equal(c->n_stored, 0);
    gk_catalog_close(c);
}

#endif
