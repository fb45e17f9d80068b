/* tests/test_torch.c - files of PyTorch: any view of a storage, and zips that lie. */
#include "tests/arrays.h"

#include <zlib.h>

#include "formats/checked.h"
#include "formats/zip.h"
#include "verify/checksums.h"

#define DATA  "testdata/torch"
#define VIEWS DATA "/views.pt"
#define WORK  "build/tmp/test_torch"

/* ---- what torch wrote ---------------------------------------------------------------- */

static void tensors_are_what_torch_says(void **state)
{
    char file[64], tensor[64], dtype[16], shape[32], hex[65], last[64] = "";
    FILE *golden = fopen(DATA "/golden.txt", "r");
    gk_catalog *c = NULL;
    uint64_t n = 0;

    (void)state;
    assert_non_null(golden);
    while (fscanf(golden, "%63s %63s %15s %31s %64s", file, tensor, dtype, shape, hex) == 5) {
        if (strcmp(file, last) != 0) {
            if (c != NULL)
                assert_int_equal(n, c->n_tensors);
            gk_catalog_close(c);
            c = open_sound(path_of(DATA "/%s", file));
            assert_string_equal(c->format, "pytorch");
            snprintf(last, sizeof last, "%s", file);
            n = 0;
        }
        assert_tensor(c, tensor, dtype, shape, hex);
        n++;
    }
    assert_non_null(c);
    assert_int_equal(n, c->n_tensors);
    gk_catalog_close(c);
    fclose(golden);
}

/* Any rectangle of a view is that rectangle of the whole. */
static void every_rectangle_of_a_view_is_its_own(void **state)
{
    gk_catalog *c = open_sound(VIEWS);
    gk_err err = {0};
    unsigned char rect[4096];

    (void)state;
    for (uint64_t i = 0; i < c->n_tensors; i++) {
        const gk_tensor *t = &c->tensor[i];
        const uint64_t rows = gk_rows(t), cols = gk_cols(t);
        size_t n;
        unsigned char *all = read_part(c, t, 0, &n);
        for (uint64_t r = 0; r < rows; r++)
            for (uint64_t k = 0; k < cols; k++) {
                const uint64_t n_rows = gk_min(rows - r, 3), n_cols = gk_min(cols - k, 2);
                assert_ok(gk_read_part(c, t, 0, r, n_rows, k, n_cols, rect, &err), err);
                for (uint64_t y = 0; y < n_rows; y++)
                    assert_memory_equal(rect + y * n_cols * 4, all + ((r + y) * cols + k) * 4,
                                        n_cols * 4);
            }
        free(all);
    }
    gk_catalog_close(c);
}

static void views_of_one_storage_share_its_bytes(void **state)
{
    gk_catalog *c = open_sound(VIEWS);
    const gk_tensor *a = gk_catalog_find(c, "shared.a"), *b = gk_catalog_find(c, "shared.b");

    (void)state;
    assert_non_null(a->whole); /* contiguous: an entry as any other */
    assert_null(b->whole);
    assert_int_equal(b->part[0].piece[0].off, a->whole->off + 6 * 4);
    gk_catalog_close(c);
}

static void the_format_before_1_6_is_named(void **state)
{
    (void)state;
    expect_bad(DATA "/old.pt", GK_ERR_UNSUPPORTED, "old.pt", "", "PyTorch before 1.6");
    link_one(DATA "/old.pt", WORK "/weights"); /* known by its first bytes */
    expect_bad(WORK "/weights", GK_ERR_UNSUPPORTED, "weights", "", "PyTorch before 1.6");
}

/* ---- directories ---------------------------------------------------------------------- */

#define SHARDED WORK "/sharded"
#define FIRST   "pytorch_model-00001-of-00002.bin"
#define SECOND  "pytorch_model-00002-of-00002.bin"
#define INDEX   "pytorch_model.bin.index.json"

static void an_index_decides_and_is_checked(void **state)
{
    (void)state;
    link_all(DATA "/sharded", SHARDED);
    gk_catalog *c = open_sound(SHARDED "/" INDEX);
    assert_int_equal(c->n_tensors, 3);
    assert_int_equal(c->n_extras, 0);
    gk_catalog_close(c);
    unlink(SHARDED "/" SECOND);
    expect_bad(SHARDED, GK_ERR_FORMAT, SECOND, "", "missing: the index names this file");
    link_all(DATA "/sharded", SHARDED);
    link_one(DATA "/nested.pt", SHARDED "/" SECOND);
    expect_bad(SHARDED, GK_ERR_FORMAT, SECOND, "model.norm.weight", "the index promises");
    link_all(DATA "/sharded", SHARDED);
    edit_text(SHARDED "/" INDEX, "\"" SECOND "\"", "\"../" SECOND "\"");
    expect_bad(SHARDED, GK_ERR_FORMAT, INDEX, "model.norm.weight", "no file name");
}

static void without_an_index_all_shards_are_read(void **state)
{
    (void)state;
    link_all(DATA "/sharded", SHARDED);
    unlink(SHARDED "/" INDEX);
    link_one(DATA "/lone.pt", SHARDED "/optimizer.pt");
    gk_catalog *c = open_sound(SHARDED);
    assert_int_equal(c->n_inputs, 2);
    assert_int_equal(c->n_tensors, 3);
    gk_catalog_close(c);
    link_one(DATA "/sharded/" FIRST, SHARDED "/pytorch_model-copy.bin");
    expect_bad(SHARDED, GK_ERR_FORMAT, "pytorch_model-copy.bin", "model.a.weight", "duplicate");
}

static void safetensors_come_first(void **state)
{
    (void)state;
    link_all(DATA "/sharded", SHARDED);
    write_vectors(SHARDED "/model.safetensors", (const char *const[]){"x", NULL});
    gk_catalog *c = open_sound(SHARDED);
    assert_string_equal(c->format, "hf");
    assert_int_equal(c->n_tensors, 1);
    gk_catalog_close(c);
}

/* ---- damage -------------------------------------------------------------------------- */

static void a_cut_file_is_refused_at_every_length(void **state)
{
    size_t n;
    unsigned char *bytes = read_bytes(DATA "/lone.pt", &n);

    (void)state;
    for (size_t cut = 0; cut < n; cut++) {
        gk_err err = {0};
        write_bytes(WORK "/cut.pt", bytes, cut);
        gk_catalog *c = gk_catalog_open(WORK "/cut.pt", &err);
        assert_ok(c != NULL, err);
        assert_int_equal(c->n_tensors, 0);
        assert_int_equal(c->findings.n, 1);
        assert_true(c->findings.row[0].malformed);
        gk_catalog_close(c);
    }
    free(bytes);
}

/* What a changed byte leaves readable lies in the file; most is refused. */
static void a_changed_byte_leads_nowhere(void **state)
{
    size_t n;
    unsigned char *bytes = read_bytes(DATA "/nested.pt", &n);
    const int fd_size = (int)n;

    (void)state;
    for (int i = 0; i < fd_size; i++)
        for (int k = 0; k < 3; k++) {
            static const unsigned char with[] = {0x00, 0x7F, 0xFF};
            const unsigned char was = bytes[i];
            gk_err err = {0};
            bytes[i] = was == with[k] ? 0x01 : with[k];
            write_bytes(WORK "/changed.pt", bytes, n);
            bytes[i] = was;
            gk_catalog *c = gk_catalog_open(WORK "/changed.pt", &err);
            assert_ok(c != NULL, err);
            for (uint64_t t = 0; t < c->n_tensors; t++) {
                size_t size;
                free(read_part(c, &c->tensor[t], 0, &size));
                assert_true(size <= n);
            }
            gk_catalog_close(c);
        }
    free(bytes);
}

static void a_wrong_crc_is_found_by_the_checksums(void **state)
{
    size_t n;
    unsigned char *bytes = read_bytes(DATA "/lone.pt", &n);
    gk_err err = {0};
    gk_sums sums;

    (void)state;
    for (int i = 0; i < 2; i++) {
        write_bytes(WORK "/crc.pt", bytes, n);
        gk_catalog *c = open_sound(WORK "/crc.pt");
        assert_ok(gk_sums_check(c, NULL, 2, NULL, &sums, &err), err);
        gk_sums_free(&sums);
        assert_int_equal(c->findings.n, i);
        if (i == 1)
            assert_non_null(strstr(c->findings.row[0].text, "lone/data/0"));
        bytes[c->tensor[0].whole->off] ^= 1;
        gk_catalog_close(c);
    }
    free(bytes);
}

/* ---- zips by hand -------------------------------------------------------------------- */

typedef struct member {
    const char *name, *local; /* local NULL: the same               */
    const char *data;
    unsigned flags, method;
    long off;  /* what the directory says; 0: where it lies */
    long more; /* bytes that the directory adds to the size */
} member;

static void put(FILE *f, uint64_t value, int width)
{
    for (int i = 0; i < width; i++)
        fputc(i < 8 ? (int)(value >> 8 * i & 0xFF) : 0, f);
}

static void make_zip(const char *path, const member *m, size_t n, const char *before_end)
{
    FILE *f = fopen(path, "wb");
    long at[8];

    assert_true(f != NULL && n <= 8);
    for (int pass = 0; pass < 2; pass++) {
        const long dir = ftell(f);
        for (size_t i = 0; i < n; i++) {
            const char *name = pass == 0 && m[i].local != NULL ? m[i].local : m[i].name;
            const size_t size = strlen(m[i].data) + (size_t)(pass == 1 ? m[i].more : 0);
            if (pass == 0)
                at[i] = ftell(f);
            fputs(pass == 0 ? "PK\3\4" : "PK\1\2", f);
            put(f, 20, pass == 0 ? 2 : 4);
            put(f, m[i].flags, 2);
            put(f, m[i].method, 2);
            put(f, 0, 4);
            put(f, crc32(0, (const unsigned char *)m[i].data, (uInt)strlen(m[i].data)), 4);
            put(f, size, 4);
            put(f, size, 4);
            put(f, strlen(name), 2);
            put(f, 0, pass == 0 ? 2 : 12);
            if (pass == 1)
                put(f, (uint64_t)(m[i].off != 0 ? m[i].off : at[i]), 4);
            fputs(name, f);
            if (pass == 0)
                fputs(m[i].data, f);
        }
        if (pass == 1) {
            const long end = ftell(f);
            fputs(before_end, f);
            fputs("PK\5\6", f);
            put(f, 0, 4);
            put(f, n, 2);
            put(f, n, 2);
            put(f, (uint64_t)(end - dir), 4);
            put(f, (uint64_t)dir, 4);
            put(f, 0, 2);
        }
    }
    assert_int_equal(fclose(f), 0);
}

#define GOOD                                                                                       \
    {                                                                                              \
        .name = "a/one", .data = "first"                                                           \
    }

static void zips_that_can_be_read_in_two_ways_are_refused(void **state)
{
    static const struct {
        member member[2];
        const char *before_end;
        gk_err_code code;
        const char *word;
    } bads[] = {
        {{GOOD, {.name = "a/two", .data = "x", .flags = 1}}, "", GK_ERR_UNSUPPORTED, "encrypted"},
        {{GOOD, {.name = "a/two", .data = "x", .flags = 0x40}},
         "",
         GK_ERR_UNSUPPORTED,
         "encrypted"},
        {{GOOD, {.name = "a/two", .data = "x", .method = 8}}, "", GK_ERR_UNSUPPORTED, "method 8"},
        {{GOOD, {.name = "a/two", .data = "x", .flags = 0x20}},
         "",
         GK_ERR_UNSUPPORTED,
         "compressed"},
        {{GOOD, {.name = "/two", .data = "x"}}, "", GK_ERR_FORMAT, "absolute"},
        {{GOOD, {.name = "a/../two", .data = "x"}}, "", GK_ERR_FORMAT, "'..'"},
        {{GOOD, {.name = "..", .data = "x"}}, "", GK_ERR_FORMAT, "'..'"},
        {{GOOD, {.name = "a\\two", .data = "x"}}, "", GK_ERR_FORMAT, "name"},
        {{GOOD, {.name = "", .data = "x"}}, "", GK_ERR_FORMAT, "empty"},
        {{GOOD, {.name = "a/one", .data = "x"}}, "", GK_ERR_FORMAT, "stands twice"},
        {{GOOD, {.name = "a/two", .local = "a/2wo", .data = "x"}},
         "",
         GK_ERR_FORMAT,
         "name differs"},
        {{GOOD, {.name = "a/two", .local = "a/tw", .data = "x"}},
         "",
         GK_ERR_FORMAT,
         "header differs"},
        {{GOOD, {.name = "a/two", .data = "x", .more = 1}}, "", GK_ERR_FORMAT, "size or CRC"},
        {{GOOD, {.name = "a/two", .data = "x", .off = 3}}, "", GK_ERR_FORMAT, "no member"},
        {{GOOD, {.name = "a/two", .data = "x", .off = 9999}},
         "",
         GK_ERR_FORMAT,
         "outside the file"},
        {{GOOD, {.name = "a/two", .data = "x", .flags = 8, .more = 999}},
         "",
         GK_ERR_FORMAT,
         "beyond"},
        {{GOOD, {.name = "a/two", .data = "x"}}, "junk", GK_ERR_FORMAT, "does not end where"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof bads / sizeof bads[0]; i++) {
        gk_err err = {0};
        gk_zip z;
        gk_arena *a = gk_arena_new(&err);
        make_zip(WORK "/bad.zip", bads[i].member, 2, bads[i].before_end);
        gk_file *f = gk_file_open(a, WORK "/bad.zip", &err);
        assert_ok(f != NULL, err);
        if (gk_zip_read(a, f, &z, &err) || err.code != bads[i].code
            || strstr(err.msg, bads[i].word) == NULL)
            fail_msg("row %d: code %d, %s; expected code %d, %s", (int)i, err.code, err.msg,
                     bads[i].code, bads[i].word);
        gk_file_close(f);
        gk_arena_free(a);
    }
}

static void a_plain_zip_is_read(void **state)
{
    static const member two[] = {{.name = "b/x..y", .data = "second"}, GOOD};
    gk_err err = {0};
    gk_zip z;
    gk_arena *a = gk_arena_new(&err);
    char text[8] = "";

    (void)state;
    make_zip(WORK "/good.zip", two, 2, "");
    gk_file *f = gk_file_open(a, WORK "/good.zip", &err);
    assert_ok(f != NULL, err);
    assert_ok(gk_zip_read(a, f, &z, &err), err);
    assert_int_equal(z.n, 2);
    const gk_zip_member *m = gk_zip_find(&z, "a/one");
    assert_non_null(m);
    assert_int_equal(m->bytes, 5);
    assert_ok(gk_file_read(f, m->off, text, 5, &err), err);
    assert_string_equal(text, "first");
    assert_null(gk_zip_find(&z, "a/on"));
    gk_file_close(f);
    gk_arena_free(a);
}

/* Members in one another: the second header lies in the data of the first. */
static void members_that_overlap_are_refused(void **state)
{
    static const member two[] = {{.name = "a", .data = "PK\3\4................................"},
                                 {.name = "b", .data = "x"}};
    gk_err err = {0};
    gk_zip z;
    gk_arena *a = gk_arena_new(&err);
    size_t n;

    (void)state;
    make_zip(WORK "/over.zip", two, 2, "");
    unsigned char *bytes = read_bytes(WORK "/over.zip", &n);
    /* the header of b, written again into the data of a, and pointed to */
    const long data = 31, b = data + (long)strlen(two[0].data);
    memcpy(bytes + data, bytes + b, 32);
    memcpy(bytes + n - 22 - 1 - 4, &(uint32_t){(uint32_t)data}, 4);
    const uint32_t crc = (uint32_t)crc32(0, bytes + data, (uInt)strlen(two[0].data));
    memcpy(bytes + 14, &crc, 4);
    unsigned char *dir = memmem(bytes, n, "PK\1\2", 4);
    memcpy(dir + 16, &crc, 4);
    write_bytes(WORK "/over.zip", bytes, n);
    free(bytes);
    gk_file *f = gk_file_open(a, WORK "/over.zip", &err);
    assert_ok(f != NULL, err);
    assert_false(gk_zip_read(a, f, &z, &err));
    assert_non_null(strstr(err.msg, "overlap"));
    gk_file_close(f);
    gk_arena_free(a);
}

/* ---- calls that nobody knows ------------------------------------------------------------ */

/* Without weights in it such an object is left out (beside.pt is in golden.txt). */
static void objects_that_hold_weights_are_refused(void **state)
{
    (void)state;
    expect_bad(DATA "/holder.pt", GK_ERR_UNSUPPORTED, "holder.pt", "holder", "argparse.Namespace");
    expect_bad(DATA "/history.pt", GK_ERR_UNSUPPORTED, "history.pt", "history", "_reconstruct");
}

/* ---- state dicts that lie -------------------------------------------------------------- */

/* data.pkl of the lone tensor with some bytes changed, its CRC made right again. */
static void edit_pickle(const char *old, const char *new, size_t len)
{
    size_t n;
    unsigned char *bytes = read_bytes(DATA "/lone.pt", &n);
    gk_err err = {0};
    gk_arena *a = gk_arena_new(&err);
    gk_zip z;
    gk_file *f = gk_file_open(a, DATA "/lone.pt", &err);

    assert_ok(f != NULL && gk_zip_read(a, f, &z, &err), err);
    const gk_zip_member *m = gk_zip_find(&z, "lone/data.pkl");
    assert_non_null(m);
    unsigned char *at = memmem(bytes + m->off, (size_t)m->bytes, old, len);
    if (at == NULL)
        fail_msg("no such bytes: %s", old);
    memcpy(at, new, len);
    const uint32_t was = m->crc;
    const uint32_t crc = (uint32_t)crc32(0, bytes + m->off, (uInt)m->bytes);
    for (size_t i = 0; i + 4 <= n; i++) /* behind the member, and in the directory */
        if (memcmp(bytes + i, &was, 4) == 0)
            memcpy(bytes + i, &crc, 4);
    write_bytes(WORK "/edited.pt", bytes, n);
    gk_file_close(f);
    gk_arena_free(a);
    free(bytes);
}

static void state_dicts_that_lie_are_refused(void **state)
{
    static const struct {
        const char *old, *new;
        size_t len;
        const char *word;
    } edits[] = {
        {"K\x00K\x03K\x03\x86", "K\x01K\x03K\x03\x86", 7, "leaves its storage: offset 1"},
        {"K\x03K\x03\x86", "K\x04K\x03\x86", 5, "leaves its storage"},
        {"K\x03K\x03\x86", "K\x03h\x00\x86", 5, "number 1"},
        {"K\x03K\x01\x86", "K\x04K\x01\x86", 5, "leaves its storage"},
        {"FloatStorage", "floatStorage", 12, "torch.floatStorage"},
        {"X\x01\x00\x00\x00"
         "0",
         "X\x01\x00\x00\x00"
         "1",
         6, "data/1 is no member"},
        {"X\x01\x00\x00\x00"
         "0",
         "X\x01\x00\x00\x00"
         "/",
         6, "is a path"},
        {"K\x09tq", "K\x08tq", 4, "36 bytes, expected 8 elements"},
        {"storagE", "storagE", 0, ""}, /* nothing edited */
        {"storage", "storagE", 7, "a storage"},
        {"_rebuild_tensor_v2", "_rebuild_tensor_vX", 18, "_rebuild_tensor_vX"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof edits / sizeof edits[0]; i++) {
        edit_pickle(edits[i].old, edits[i].new, edits[i].len);
        if (edits[i].len > 0)
            expect_bad(WORK "/edited.pt", GK_ERR_FORMAT, "edited.pt", "", edits[i].word);
        else
            gk_catalog_close(open_sound(WORK "/edited.pt"));
    }
}

WORK_FOLDER(WORK)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tensors_are_what_torch_says),
        cmocka_unit_test(every_rectangle_of_a_view_is_its_own),
        cmocka_unit_test(views_of_one_storage_share_its_bytes),
        cmocka_unit_test(the_format_before_1_6_is_named),
        cmocka_unit_test(an_index_decides_and_is_checked),
        cmocka_unit_test(without_an_index_all_shards_are_read),
        cmocka_unit_test(safetensors_come_first),
        cmocka_unit_test(a_cut_file_is_refused_at_every_length),
        cmocka_unit_test(a_changed_byte_leads_nowhere),
        cmocka_unit_test(a_wrong_crc_is_found_by_the_checksums),
        cmocka_unit_test(zips_that_can_be_read_in_two_ways_are_refused),
        cmocka_unit_test(a_plain_zip_is_read),
        cmocka_unit_test(members_that_overlap_are_refused),
        cmocka_unit_test(objects_that_hold_weights_are_refused),
        cmocka_unit_test(state_dicts_that_lie_are_refused),
    };
    return cmocka_run_group_tests(tests, open_work, close_work);
}
