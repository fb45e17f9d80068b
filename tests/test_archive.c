/* tests/test_archive.c - archives against the directory they were made of. They are written by
 * libarchive's own writer, or by hand where that refuses to write such a thing. */
#include <archive.h>
#include <archive_entry.h>
#include <zlib.h>

#include "formats/archive.h"
#include "quant/model.h"
#include "tests/disk.h"
#include "tests/same_tensors.h"
#include "verify/checksums.h"

#define WORK  "build/tmp/archive"
#define MODEL "testdata/families/llama"
#define PATH  WORK "/model.archive"
#define SPOOL WORK "/spool"

WORK_FOLDER(WORK)

/* ---- writing ------------------------------------------------------------------------ */

typedef struct member {
    const char *name;
    const void *bytes;
    size_t      n;
    mode_t      type; /* 0: a regular file */
    const char *link; /* of a symbolic link, or with hard of a hard one */
    bool        hard, sparse;
} member;

typedef struct shape {
    const char *name;
    int (*format)(struct archive *a);
    int (*filter)(struct archive *a);
    const char *option; /* of the format, as "compression=store" */
    bool        packed;
} shape;

static const shape shapes[] = {
    {"ustar", archive_write_set_format_ustar, archive_write_add_filter_none, NULL, false},
    {"pax", archive_write_set_format_pax, archive_write_add_filter_none, NULL, false},
    {"gnutar", archive_write_set_format_gnutar, archive_write_add_filter_none, NULL, false},
    {"v7tar", archive_write_set_format_v7tar, archive_write_add_filter_none, NULL, false},
    {"stored zip", archive_write_set_format_zip, archive_write_add_filter_none,
     "zip:compression=store", false},
    {"deflated zip", archive_write_set_format_zip, archive_write_add_filter_none,
     "zip:compression=deflate", true},
    {"tar.gz", archive_write_set_format_pax, archive_write_add_filter_gzip, NULL, true},
    {"tar.xz", archive_write_set_format_pax, archive_write_add_filter_xz, NULL, true},
    {"tar.zst", archive_write_set_format_pax, archive_write_add_filter_zstd, NULL, true},
    {"tar.bz2", archive_write_set_format_pax, archive_write_add_filter_bzip2, NULL, true},
};

#define N_SHAPES (sizeof shapes / sizeof shapes[0])

static void write_archive(const shape *s, const member *list, size_t n)
{
    struct archive *a = archive_write_new();

    assert_int_equal(s->format(a), ARCHIVE_OK);
    assert_int_equal(s->filter(a), ARCHIVE_OK);
    if (s->option != NULL)
        assert_int_equal(archive_write_set_options(a, s->option), ARCHIVE_OK);
    assert_int_equal(archive_write_open_filename(a, PATH), ARCHIVE_OK);
    for (size_t i = 0; i < n; i++) {
        const member *m = &list[i];
        struct archive_entry *e = archive_entry_new();
        archive_entry_set_pathname(e, m->name);
        archive_entry_set_filetype(e, m->type != 0 ? m->type : AE_IFREG);
        archive_entry_set_perm(e, 0644);
        archive_entry_set_size(e, (la_int64_t)m->n);
        if (m->link != NULL && m->hard)
            archive_entry_set_hardlink(e, m->link);
        else if (m->link != NULL)
            archive_entry_set_symlink(e, m->link);
        if (m->sparse) {
            archive_entry_sparse_add_entry(e, 0, 4);
            archive_entry_sparse_add_entry(e, (la_int64_t)m->n - 4, 4);
        }
        if (archive_write_header(a, e) != ARCHIVE_OK)
            fail_msg("%s: %s: %s", s->name, m->name, archive_error_string(a));
        if (m->n > 0)
            assert_int_equal(archive_write_data(a, m->bytes, m->n), m->n);
        archive_entry_free(e);
    }
    assert_int_equal(archive_write_close(a), ARCHIVE_OK);
    archive_write_free(a);
}

/* All files of a directory, under prefix. */
static void write_directory(const shape *s, const char *dir, const char *prefix)
{
    size_t n;
    char **name = names_in(dir, &n);
    member *list = calloc(n, sizeof *list);

    assert_non_null(list);
    for (size_t i = 0; i < n; i++) {
        char *full;
        assert_true(asprintf(&full, "%s%s", prefix, name[i]) > 0);
        list[i] = (member){.name = full};
        list[i].bytes = read_bytes(path_of("%s/%s", dir, name[i]), &list[i].n);
    }
    write_archive(s, list, n);
    for (size_t i = 0; i < n; i++) {
        free((void *)(uintptr_t)list[i].name);
        free((void *)(uintptr_t)list[i].bytes);
    }
    free(list);
    free_names(name, n);
}

/* A safetensors file of one tensor "w" of n zero bytes; free it. */
static unsigned char *weights(size_t n, size_t *size)
{
    char header[128];
    const uint64_t len = (uint64_t)snprintf(header, sizeof header,
                                            "{\"w\":{\"dtype\":\"U8\",\"shape\":[%zu],"
                                            "\"data_offsets\":[0,%zu]}}",
                                            n, n);
    unsigned char *bytes = calloc(1, 8 + len + n);

    assert_non_null(bytes);
    memcpy(bytes, &len, 8);
    memcpy(bytes + 8, header, len);
    *size = 8 + len + n;
    return bytes;
}

/* ---- comparing ------------------------------------------------------------------------ */

static void assert_same_file(const gk_catalog *c, const char *name, const char *path)
{
    size_t n;
    gk_err err = {0};
    gk_arena *a = gk_arena_new(&err);
    unsigned char *want = read_bytes(path, &n), *got = malloc(n + 1);
    gk_file *f = gk_catalog_file(a, c, name, &err);

    assert_ok(f != NULL, err);
    assert_int_equal(f->size, n);
    assert_ok(gk_file_read(f, 0, got, n, &err), err);
    assert_memory_equal(got, want, n);
    gk_file_close(f);
    gk_arena_free(a);
    free(want);
    free(got);
}

/* The catalog has the files of the directory, byte for byte, and its tensors. */
static void assert_same_model(const gk_catalog *c, const char *dir)
{
    size_t n;
    gk_err err = {0};
    gk_catalog *d = gk_catalog_open(dir, &err);
    char **name = names_in(dir, &n);

    assert_ok(d != NULL, err);
    for (size_t i = 0; i < n; i++)
        assert_same_file(c, name[i], path_of("%s/%s", dir, name[i]));
    assert_string_equal(c->format, d->format);
    assert_int_equal(c->n_extras, d->n_extras);
    assert_same_tensors(c, d);
    free_names(name, n);
    gk_catalog_close(d);
}

static void reads_every_kind_as_its_directory(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_SHAPES; i++) {
        gk_err err = {0};
        write_directory(&shapes[i], MODEL, i % 2 ? "" : "some/folder/");
        gk_catalog *c = gk_catalog_open(PATH, &err);
        assert_ok(c != NULL, err);
        assert_int_equal(c->findings.n, 0);
        assert_non_null(c->archive);
        assert_null(c->directory);
        /* what is not packed is read where it lies */
        assert_int_equal(c->archive->spool.file != NULL, shapes[i].packed);
        assert_same_model(c, MODEL);
        gk_catalog_close(c);
    }
}

static void reads_long_names(void **state)
{
    char folder[300];

    (void)state;
    memset(folder, 'd', sizeof folder);
    memcpy(folder + sizeof folder - 2, "/", 2);
    folder[100] = folder[200] = '/';
    for (size_t i = 1; i < 3; i++) { /* pax and GNU */
        gk_err err = {0};
        write_directory(&shapes[i], MODEL, folder);
        gk_catalog *c = gk_catalog_open(PATH, &err);
        assert_ok(c != NULL, err);
        assert_same_model(c, MODEL);
        gk_catalog_close(c);
    }
}

/* ---- which folder ----------------------------------------------------------------------- */

static void chooses_the_folder_with_weights(void **state)
{
    size_t n;
    unsigned char *w = weights(8, &n);
    const member list[] = {
        {.name = "./README.md", .bytes = "text", .n = 4},
        {.name = "./a/config.json", .bytes = "{}", .n = 2},
        {.name = "./b/c/model.safetensors", .bytes = w, .n = n},
        {.name = "./b/c/._model.safetensors", .bytes = "mac", .n = 3},
        {.name = "./b/c/notes.txt", .bytes = "notes", .n = 5},
    };
    gk_err err = {0};

    (void)state;
    write_archive(&shapes[0], list, 5);
    gk_catalog *c = gk_catalog_open(PATH, &err);
    assert_ok(c != NULL, err);
    assert_int_equal(c->n_tensors, 1);
    assert_int_equal(c->n_extras, 1);
    assert_string_equal(c->extra[0].name, "notes.txt");
    assert_string_equal(c->findings.row[0].check, "archive");
    assert_int_equal(c->findings.row[0].severity, GK_NOTE);
    assert_false(gk_catalog_has(c->arena, c, "README.md"));
    assert_null(gk_catalog_file(c->arena, c, "README.md", &err));
    gk_catalog_close(c);
    free(w);
}

static void leaves_the_zip_of_torch_to_its_reader(void **state)
{
    size_t n;
    gk_err err = {0};
    unsigned char *bytes = read_bytes("testdata/torch/nested.pt", &n);

    (void)state;
    write_bytes(WORK "/named.zip", bytes, n);
    free(bytes);
    gk_catalog *c = gk_catalog_open(WORK "/named.zip", &err);
    assert_ok(c != NULL, err);
    assert_null(c->archive);
    assert_true(c->n_tensors > 0);
    gk_catalog_close(c);
}

/* ---- what is refused ---------------------------------------------------------------------- */

static void refuse_with(gk_err_code code, const char *word, const char *about)
{
    gk_err err = {0};
    gk_catalog *c = gk_catalog_open(PATH, &err);

    if (c != NULL)
        fail_msg("%s was opened", about);
    if (err.code != code || strstr(err.msg, word) == NULL)
        fail_msg("%s: code %d, %s", about, (int)err.code, err.msg);
    assert_int_equal(strncmp(err.file, "model.archive", 13), 0);
}

static void refuses_names_that_lead_out(void **state)
{
    static const char *const names[] = {"/abs/model.safetensors", "../model.safetensors",
                                        "a/../../model.safetensors", "a\\b/model.safetensors", "."};
    size_t n;
    unsigned char *w = weights(8, &n);

    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        const member m = {.name = names[i], .bytes = w, .n = n};
        write_archive(&shapes[1], &m, 1);
        refuse_with(GK_ERR_FORMAT, "refused", names[i]);
    }
    free(w);
}

static void refuses_what_is_no_plain_file(void **state)
{
    size_t n;
    unsigned char *w = weights(8, &n);
    const member hard[] = {{.name = "a.safetensors", .bytes = w, .n = n},
                           {.name = "b.safetensors", .link = "a.safetensors", .hard = true}};
    const member device = {.name = "model.safetensors", .type = AE_IFCHR};
    const member twice[] = {{.name = "m.safetensors", .bytes = w, .n = n},
                            {.name = "./m.safetensors", .bytes = w, .n = n}};
    const member through[] = {{.name = "out", .type = AE_IFLNK, .link = "/tmp"},
                              {.name = "out/m.safetensors", .bytes = w, .n = n}};
    const member holes = {.name = "m.safetensors", .bytes = w, .n = n, .sparse = true};

    (void)state;
    write_archive(&shapes[0], hard, 2);
    refuse_with(GK_ERR_FORMAT, "hard link", "a hard link");
    write_archive(&shapes[0], &device, 1);
    refuse_with(GK_ERR_FORMAT, "device", "a device");
    write_archive(&shapes[0], twice, 2);
    refuse_with(GK_ERR_FORMAT, "twice", "a duplicate");
    write_archive(&shapes[0], through, 2);
    refuse_with(GK_ERR_FORMAT, "link", "a file behind a link");
    write_archive(&shapes[1], &holes, 1);
    refuse_with(GK_ERR_UNSUPPORTED, "sparse", "a sparse member");
    free(w);
}

static void says_which_links_it_does_not_follow(void **state)
{
    size_t n;
    unsigned char *w = weights(8, &n);
    const member list[] = {{.name = "m.safetensors", .bytes = w, .n = n},
                           {.name = "n.safetensors", .type = AE_IFLNK, .link = "m.safetensors"}};
    gk_err err = {0};

    (void)state;
    write_archive(&shapes[0], list, 2);
    assert_null(gk_model_open_whole(PATH, &err));
    assert_non_null(strstr(err.msg, "not followed"));
    free(w);
}

/* Every prefix is refused, or shows the whole model: never a part of it, never a crash. */
static void refuses_every_cut(void **state)
{
    size_t n, len, opened;
    unsigned char *w = weights(600, &n);
    const member m = {.name = "m/model.safetensors", .bytes = w, .n = n};

    (void)state;
    for (size_t i = 0; i < N_SHAPES; i++) {
        write_archive(&shapes[i], &m, 1);
        unsigned char *whole = read_bytes(PATH, &len);
        opened = 0;
        for (size_t cut = 0; cut < len; cut += cut < 2048 ? 1 : 97) {
            gk_err err = {0};
            write_bytes(PATH, whole, cut);
            gk_catalog *c = gk_model_open_whole(PATH, &err);
            if (c != NULL)
                assert_int_equal(gk_tensor_bytes(&c->tensor[0]), 600);
            else
                assert_true(err.code == GK_ERR_FORMAT || err.code == GK_ERR_LIMIT);
            if (c != NULL && strstr(shapes[i].name, "zip") != NULL)
                fail_msg("%s: opened when cut to %zu of %zu", shapes[i].name, cut, len);
            /* 512 for the header, 1024 for the data: then one block of zeros must follow */
            if (c != NULL && !shapes[i].packed && cut < 512 + 1024 + 512)
                fail_msg("%s: opened when cut to %zu of %zu", shapes[i].name, cut, len);
            opened += c != NULL;
            gk_catalog_close(c);
        }
        print_message("%s: %zu bytes, %zu prefixes hold all\n", shapes[i].name, len, opened);
        free(whole);
    }
    free(w);
}

/* The gzip stream ends as it should, the tar in it does not. */
static void refuses_a_packed_tar_without_an_end(void **state)
{
    size_t n, len;
    unsigned char *w = weights(600, &n);
    const member m = {.name = "m/model.safetensors", .bytes = w, .n = n};

    (void)state;
    write_archive(&shapes[0], &m, 1);
    unsigned char *whole = read_bytes(PATH, &len);
    for (size_t end = 0; end <= 512; end += 512) {
        gzFile f = gzopen(PATH, "wb");
        assert_non_null(f);
        assert_int_equal(gzwrite(f, whole, (unsigned)(512 + 1024 + end)), 512 + 1024 + end);
        assert_int_equal(gzclose(f), Z_OK);
        gk_err err = {0};
        if (end == 0) {
            refuse_with(GK_ERR_FORMAT, "truncated", "a tar without an end in gzip");
            continue;
        }
        gk_catalog *c = gk_catalog_open(PATH, &err);
        assert_ok(c != NULL, err);
        gk_catalog_close(c);
    }
    free(whole);
    free(w);
}

/* One byte changed at a time: what opens still lies inside the archive (ASan watches). */
static void survives_every_changed_byte(void **state)
{
    static const unsigned char values[] = {0x00, 0x80, 0xFF, '9'};
    size_t n, len;
    unsigned char *w = weights(100, &n);
    const member m = {.name = "m/model.safetensors", .bytes = w, .n = n};

    (void)state;
    for (size_t i = 0; i < N_SHAPES; i++) {
        write_archive(&shapes[i], &m, 1);
        unsigned char *whole = read_bytes(PATH, &len);
        for (size_t at = 0; at < len && at < 1200; at++)
            for (size_t v = 0; v < sizeof values; v++) {
                gk_err err = {0};
                const unsigned char old = whole[at];
                whole[at] = values[v];
                write_bytes(PATH, whole, len);
                gk_catalog *c = gk_catalog_open(PATH, &err);
                whole[at] = old;
                gk_catalog_close(c);
            }
        free(whole);
    }
    free(w);
}

/* ---- packed --------------------------------------------------------------------------------- */

/* Bytes that do not compress, so that the ratio is an honest one. */
static unsigned char *noise(size_t n, size_t *size)
{
    unsigned char *w = weights(n, size);
    uint32_t seed = 1;

    for (size_t i = *size - n; i < *size; i++) {
        seed = seed * 1664525u + 1013904223u;
        w[i] = (unsigned char)(seed >> 24);
    }
    return w;
}

static void asks_for_a_spool_when_it_is_much(void **state)
{
    static const volatile sig_atomic_t stop = 1;
    size_t n;
    unsigned char *w = noise(GK_SPOOL_MEMORY_BYTES, &n);
    const member m = {.name = "model.safetensors", .bytes = w, .n = n};

    (void)state;
    mkdir(SPOOL, 0777);
    for (size_t i = 5; i < N_SHAPES; i++) {
        const gk_open_options good = {.spool = SPOOL}, none = {.spool = WORK "/absent"};
        const gk_open_options stopped = {.spool = SPOOL, .stop = &stop};
        gk_err err = {0}, missing = {0}, interrupted = {0};
        if (i == 7)
            continue; /* xz takes seconds */
        write_archive(&shapes[i], &m, 1);
        refuse_with(GK_ERR_UNSUPPORTED, "--spool", shapes[i].name);
        assert_null(gk_catalog_open_with(PATH, &none, &missing));
        assert_int_equal(missing.code, GK_ERR_IO);
        assert_null(gk_catalog_open_with(PATH, &stopped, &interrupted));
        assert_int_equal(interrupted.code, GK_ERR_INTERRUPTED);
        gk_catalog *c = gk_catalog_open_with(PATH, &good, &err);
        assert_ok(c != NULL, err);
        assert_int_equal(count_names(SPOOL, ""), 0); /* it has no name, even while open */
        write_bytes(WORK "/plain", w, n);
        assert_same_file(c, "model.safetensors", WORK "/plain");
        gk_catalog_close(c);
    }
    free(w);
}

static void refuses_bombs(void **state)
{
    size_t n;
    unsigned char *w = weights(GK_SPOOL_MEMORY_BYTES, &n); /* zeros: a ratio near 1000 */
    const member m = {.name = "model.safetensors", .bytes = w, .n = n};

    (void)state;
    for (size_t i = 5; i < N_SHAPES; i++) {
        write_archive(&shapes[i], &m, 1);
        refuse_with(GK_ERR_LIMIT, "ratio", shapes[i].name);
    }
    free(w);
}

/* Puts value for each 32-bit `old` in a file. */
static void replace_u32(const char *path, uint32_t old, uint32_t value)
{
    size_t n, found = 0;
    unsigned char *bytes = read_bytes(path, &n);

    for (size_t i = 0; i + 4 <= n; i++)
        if (memcmp(bytes + i, &old, 4) == 0) {
            memcpy(bytes + i, &value, 4);
            found++;
        }
    assert_true(found > 0);
    write_bytes(path, bytes, n);
    free(bytes);
}

static void refuses_members_that_unpack_to_another_size(void **state)
{
    size_t n;
    unsigned char *w = weights(1000, &n);
    const member m = {.name = "model.safetensors", .bytes = w, .n = n};

    (void)state;
    write_archive(&shapes[5], &m, 1);
    replace_u32(PATH, (uint32_t)n, (uint32_t)n - 1);
    refuse_with(GK_ERR_FORMAT, "more than", "one byte more than declared");
    write_archive(&shapes[5], &m, 1);
    replace_u32(PATH, (uint32_t)n, (uint32_t)n + 1);
    refuse_with(GK_ERR_FORMAT, "ends after", "one byte less than declared");
    free(w);
}

static void compares_the_crc_of_stored_members(void **state)
{
    size_t n, len;
    unsigned char *w = weights(1000, &n);
    const member m = {.name = "model.safetensors", .bytes = w, .n = n};

    (void)state;
    for (int damaged = 0; damaged < 2; damaged++) {
        gk_err err = {0};
        write_archive(&shapes[4], &m, 1);
        unsigned char *bytes = read_bytes(PATH, &len);
        bytes[500] ^= (unsigned char)damaged; /* among the zeros of the tensor */
        write_bytes(PATH, bytes, len);
        free(bytes);
        gk_catalog *c = gk_catalog_open(PATH, &err);
        assert_ok(c != NULL, err);
        const uint64_t before = c->findings.n;
        assert_ok(gk_sums_crcs(c, 1, NULL, &err), err);
        assert_int_equal(c->findings.n - before, damaged);
        gk_catalog_close(c);
    }
    free(w);
}

static void reports_the_end_of_memory(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_SHAPES; i += i == 0 ? 4 : 1) {
        write_directory(&shapes[i], MODEL, "m/");
        bool done = false;
        for (int64_t n = 0; !done; n++) {
            gk_err err = {0};
            gk_alloc_fail_after(n);
            gk_catalog *c = gk_catalog_open(PATH, &err);
            gk_alloc_fail_after(-1);
            done = c != NULL;
            if (!done && err.code != GK_ERR_NOMEM)
                fail_msg("%s, allocation %d: code %d, %s", shapes[i].name, (int)n, (int)err.code,
                         err.msg);
            if (done)
                assert_int_equal(c->findings.n, 0);
            gk_catalog_close(c);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_every_kind_as_its_directory),
        cmocka_unit_test(reads_long_names),
        cmocka_unit_test(chooses_the_folder_with_weights),
        cmocka_unit_test(leaves_the_zip_of_torch_to_its_reader),
        cmocka_unit_test(refuses_names_that_lead_out),
        cmocka_unit_test(refuses_what_is_no_plain_file),
        cmocka_unit_test(says_which_links_it_does_not_follow),
        cmocka_unit_test(refuses_every_cut),
        cmocka_unit_test(refuses_a_packed_tar_without_an_end),
        cmocka_unit_test(survives_every_changed_byte),
        cmocka_unit_test(asks_for_a_spool_when_it_is_much),
        cmocka_unit_test(refuses_bombs),
        cmocka_unit_test(refuses_members_that_unpack_to_another_size),
        cmocka_unit_test(compares_the_crc_of_stored_members),
        cmocka_unit_test(reports_the_end_of_memory),
    };
    return cmocka_run_group_tests_name("archive", tests, open_work, close_work);
}
