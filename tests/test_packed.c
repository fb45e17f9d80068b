/* tests/test_packed.c - one file of weights, packed alone, against the file that it was. */
#include <archive.h>
#include <archive_entry.h>

#include "formats/archive.h"
#include "quant/model.h"
#include "tests/disk.h"
#include "tests/same_tensors.h"

#define WORK   "build/tmp/packed"
#define SPOOL  WORK "/spool"
#define FAMILY "testdata/families/llama/model.safetensors"

WORK_FOLDER(WORK)

typedef struct packer {
    const char *ending;
    int (*filter)(struct archive *a);
} packer;

static const packer packers[] = {{"gz", archive_write_add_filter_gzip},
                                 {"xz", archive_write_add_filter_xz},
                                 {"zst", archive_write_add_filter_zstd},
                                 {"bz2", archive_write_add_filter_bzip2}};

#define N_PACKERS (sizeof packers / sizeof packers[0])

/* Packs n bytes as WORK/name.ending; the path is good until the next one. */
static const char *pack(const packer *p, const char *name, const void *bytes, size_t n)
{
    static char path[256];
    struct archive *a = archive_write_new();
    struct archive_entry *e = archive_entry_new();

    snprintf(path, sizeof path, WORK "/%s.%s", name, p->ending);
    assert_int_equal(archive_write_set_format_raw(a), ARCHIVE_OK);
    assert_int_equal(p->filter(a), ARCHIVE_OK);
    assert_int_equal(archive_write_open_filename(a, path), ARCHIVE_OK);
    archive_entry_set_pathname(e, name);
    archive_entry_set_filetype(e, AE_IFREG);
    assert_int_equal(archive_write_header(a, e), ARCHIVE_OK);
    assert_int_equal(archive_write_data(a, bytes, n), n);
    archive_entry_free(e);
    assert_int_equal(archive_write_close(a), ARCHIVE_OK);
    archive_write_free(a);
    return path;
}

static const char *pack_file(const packer *p, const char *from)
{
    size_t n;
    unsigned char *bytes = read_bytes(from, &n);
    const char *path = pack(p, gk_path_base(from), bytes, n);

    free(bytes);
    return path;
}

/* A safetensors file of one tensor "w" of n bytes, zeros or noise; free it. */
static unsigned char *weights(size_t n, bool noise, size_t *size)
{
    char header[128];
    const uint64_t len = (uint64_t)snprintf(header, sizeof header,
                                            "{\"w\":{\"dtype\":\"U8\",\"shape\":[%zu],"
                                            "\"data_offsets\":[0,%zu]}}",
                                            n, n);
    unsigned char *bytes = calloc(1, 8 + len + n);
    uint32_t seed = 1;

    assert_non_null(bytes);
    memcpy(bytes, &len, 8);
    memcpy(bytes + 8, header, len);
    *size = 8 + len + n;
    for (size_t i = 8 + len; noise && i < *size; i++) {
        seed = seed * 1664525u + 1013904223u;
        bytes[i] = (unsigned char)(seed >> 24);
    }
    return bytes;
}

static void assert_same_model(const gk_catalog *c, const char *path)
{
    gk_err err = {0};
    gk_catalog *d = gk_catalog_open(path, &err);

    assert_ok(d != NULL, err);
    assert_string_equal(c->format, d->format);
    assert_int_equal(c->findings.n, d->findings.n);
    assert_same_tensors(c, d);
    gk_catalog_close(d);
}

/* Of each format that comes as a single file: the same tensors, format and findings. */
static void reads_as_the_file_that_it_was(void **state)
{
    static const char *const files[]
        = {FAMILY, "testdata/gguf/llama.gguf", "testdata/torch/nested.pt",
           "testdata/flax-tiny/model.msgpack", "testdata/grok1-mini/ckpt-0/tensor00000_000"};

    (void)state;
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++)
        for (size_t k = 0; k < N_PACKERS; k++) {
            gk_err err = {0};
            gk_catalog *c = gk_catalog_open(pack_file(&packers[k], files[i]), &err);
            assert_ok(c != NULL, err);
            assert_null(c->directory);
            assert_int_equal(c->n_extras, 0);
            assert_same_model(c, files[i]);
            gk_catalog_close(c);
        }
}

static void refuse_with(const char *path, const gk_open_options *o, gk_err_code code,
                        const char *word)
{
    gk_err err = {0};
    gk_catalog *c = gk_catalog_open_with(path, o, &err);

    if (c != NULL)
        fail_msg("%s was opened", path);
    if (err.code != code || strstr(err.msg, word) == NULL)
        fail_msg("%s: code %d, %s", path, (int)err.code, err.msg);
    assert_string_equal(err.file, gk_path_base(path));
}

static void asks_for_a_spool_when_it_is_much(void **state)
{
    static const volatile sig_atomic_t stop = 1;
    const gk_open_options good = {.spool = SPOOL}, stopped = {.spool = SPOOL, .stop = &stop};
    size_t n;
    unsigned char *w = weights(GK_SPOOL_MEMORY_BYTES, true, &n);

    (void)state;
    mkdir(SPOOL, 0777);
    write_bytes(WORK "/plain.safetensors", w, n);
    for (size_t k = 0; k < N_PACKERS; k++) {
        gk_err err = {0};
        if (k == 1)
            continue; /* xz takes seconds */
        const char *path = pack(&packers[k], "model.safetensors", w, n);
        refuse_with(path, NULL, GK_ERR_UNSUPPORTED, "--spool DIR");
        refuse_with(path, &stopped, GK_ERR_INTERRUPTED, "interrupted");
        gk_catalog *c = gk_catalog_open_with(path, &good, &err);
        assert_ok(c != NULL, err);
        assert_int_equal(count_names(SPOOL, ""), 0); /* it has no name, even while open */
        assert_same_model(c, WORK "/plain.safetensors");
        gk_catalog_close(c);
    }
    free(w);
}

static void refuses_bombs(void **state)
{
    const gk_open_options o = {.spool = SPOOL};
    size_t n;
    unsigned char *w = weights(GK_SPOOL_MEMORY_BYTES, false, &n); /* a ratio near 1000 */

    (void)state;
    mkdir(SPOOL, 0777);
    for (size_t k = 0; k < N_PACKERS; k++)
        refuse_with(pack(&packers[k], "model.safetensors", w, n), &o, GK_ERR_LIMIT, "ratio");
    free(w);
}

/* Every prefix is refused; gzip and xz may be cut where only their own ends are missing. */
static void refuses_every_cut(void **state)
{
    size_t n, len;
    unsigned char *w = weights(600, true, &n);

    (void)state;
    for (size_t k = 0; k < N_PACKERS; k++) {
        const char *path = pack(&packers[k], "model.safetensors", w, n);
        unsigned char *whole = read_bytes(path, &len);
        for (size_t cut = 0; cut < len; cut++) {
            gk_err err = {0};
            write_bytes(path, whole, cut);
            gk_catalog *c = gk_model_open_whole(path, &err);
            if (c != NULL && k == 0)
                fail_msg("%s: opened when cut to %zu of %zu", path, cut, len);
            if (c != NULL)
                assert_int_equal(gk_tensor_bytes(&c->tensor[0]), 600);
            gk_catalog_close(c);
        }
        free(whole);
    }
    free(w);
}

/* gzip, xz and bzip2 have sums of all that they hold: no changed weight gets through. (zstd has
 * one only when whoever packed asked for it.) */
static void finds_every_changed_byte(void **state)
{
    size_t n, len;
    unsigned char *w = weights(600, true, &n);

    (void)state;
    write_bytes(WORK "/plain.safetensors", w, n);
    for (size_t k = 0; k < N_PACKERS; k++) {
        const char *path = pack(&packers[k], "model.safetensors", w, n);
        unsigned char *whole = read_bytes(path, &len);
        for (size_t at = 0; at < len; at++) {
            gk_err err = {0};
            whole[at] ^= 0x55;
            write_bytes(path, whole, len);
            whole[at] ^= 0x55;
            gk_catalog *c = gk_model_open_whole(path, &err);
            if (c != NULL && k != 2)
                assert_same_model(c, WORK "/plain.safetensors");
            gk_catalog_close(c);
        }
        free(whole);
    }
    free(w);
}

static void refuses_what_it_cannot_prove(void **state)
{
    size_t n, len;
    unsigned char *w = weights(600, true, &n), *twice;

    (void)state;
    const char *path = pack(&packers[0], "model.safetensors", w, n);
    unsigned char *one = read_bytes(path, &len);
    twice = malloc(2 * len);
    assert_non_null(twice);
    memcpy(twice, one, len);
    memcpy(twice + len, one, len);
    write_bytes(path, twice, 2 * len); /* two streams, one file to gunzip: the sum is of one */
    refuse_with(path, NULL, GK_ERR_FORMAT, "several joined");
    write_bytes(WORK "/a.safetensors", one, len);
    refuse_with(pack_file(&packers[0], WORK "/a.safetensors"), NULL, GK_ERR_FORMAT, "twice");
    free(twice);
    free(one);
    free(w);
}

static void reports_the_end_of_memory(void **state)
{
    bool done = false;

    (void)state;
    const char *path = pack_file(&packers[0], FAMILY);
    for (int64_t n = 0; !done; n++) {
        gk_err err = {0};
        gk_alloc_fail_after(n);
        gk_catalog *c = gk_catalog_open(path, &err);
        gk_alloc_fail_after(-1);
        done = c != NULL;
        if (!done && err.code != GK_ERR_NOMEM)
            fail_msg("allocation %d: code %d, %s", (int)n, (int)err.code, err.msg);
        gk_catalog_close(c);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_as_the_file_that_it_was),
        cmocka_unit_test(asks_for_a_spool_when_it_is_much),
        cmocka_unit_test(refuses_bombs),
        cmocka_unit_test(refuses_every_cut),
        cmocka_unit_test(finds_every_changed_byte),
        cmocka_unit_test(refuses_what_it_cannot_prove),
        cmocka_unit_test(reports_the_end_of_memory),
    };
    return cmocka_run_group_tests_name("packed", tests, open_work, close_work);
}
