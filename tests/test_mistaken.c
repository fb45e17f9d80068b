/* tests/test_mistaken.c - files whose name promises weights that they do not hold. */
#include "tests/disk.h"

#include "formats/catalog.h"

#define WORK "build/tmp/test_mistaken"

enum { ROOM = 1024 };

/* n bytes at off, the rest of `size` is byte 1; 0: these bytes alone. */
static const struct {
    const char *name, *bytes;
    size_t n, off, size;
    gk_err_code code;
    const char *says;
} cases[] = {
    {"m.gguf", "\x1F\x8B\x08\0", 4, 0, ROOM, GK_ERR_FORMAT, "a gzip file: unpack it, or add .gz"},
    {"m.safetensors", "\x1F\x8B\x08\0", 4, 0, ROOM, GK_ERR_FORMAT, "a gzip file"},
    {"m.bin", "\x1F\x8B\x08\0", 4, 0, ROOM, GK_ERR_FORMAT, "a gzip file"},
    {"m.pt", "\x1F\x8B\x08\0", 4, 0, ROOM, GK_ERR_FORMAT, "a gzip file"},
    {"m.msgpack", "\x1F\x8B\x08\0", 4, 0, ROOM, GK_ERR_FORMAT, "a gzip file"},
    {"m.gguf", "\xFD" "7zXZ\0", 6, 0, ROOM, GK_ERR_FORMAT, "an xz file"},
    {"m.pt", "\xFD" "7zXZ\0", 6, 0, ROOM, GK_ERR_FORMAT, "an xz file"},
    {"m.safetensors", "\x28\xB5\x2F\xFD", 4, 0, ROOM, GK_ERR_FORMAT, "a zstd file"},
    {"m.bin", "BZh9", 4, 0, ROOM, GK_ERR_FORMAT, "a bzip2 file"},
    {"m.gguf", "ustar", 5, 257, ROOM, GK_ERR_FORMAT, "a tar archive: give it"},
    {"m.safetensors", "ustar", 5, 257, ROOM, GK_ERR_FORMAT, "a tar archive: give it"},
    {"m.gguf", "PK\3\4", 4, 0, ROOM, GK_ERR_FORMAT, "a zip archive: give it"},
    {"m.pt", "PK\3\4", 4, 0, ROOM, GK_ERR_FORMAT, "a zip archive: give it"},
    {"m.gguf", "PK\3\4 m/data.pkl", 15, 0, ROOM, GK_ERR_FORMAT, "a file of PyTorch: give it"},
    {"m.gguf", "7z\xBC\xAF\x27\x1C", 6, 0, ROOM, GK_ERR_UNSUPPORTED, "a 7z archive"},
    {"m.gguf", "Rar!\x1A\x07", 6, 0, ROOM, GK_ERR_UNSUPPORTED, "a RAR archive"},
    {"m.gguf", "\x10\0\0\0\0\0\0\0{\"a\"", 12, 0, ROOM, GK_ERR_FORMAT, "a safetensors file: give"},
    {"m.msgpack", "\x10\0\0\0\0\0\0\0{\"a\"", 12, 0, ROOM, GK_ERR_FORMAT, "a safetensors file"},
    {"m.bin", "tjgg\3\0\0\0", 8, 0, ROOM, GK_ERR_UNSUPPORTED, "before GGUF"},
    {"m.bin", "\x89HDF\r\n\x1A\n", 8, 0, ROOM, GK_ERR_UNSUPPORTED, "an HDF5 file"},
    {"m.bin", "\x93NUMPY\1\0", 8, 0, ROOM, GK_ERR_UNSUPPORTED, "a NumPy array"},
    {"m.gguf", "<!DOCTYPE html>\n<html>", 22, 0, 0, GK_ERR_FORMAT, "a web page (HTML)"},
    {"m.safetensors", "\n <HTML lang=\"en\">", 18, 0, 0, GK_ERR_FORMAT, "a web page (HTML)"},
    {"m.pt", "<html><body>404</body>", 22, 0, 0, GK_ERR_FORMAT, "download it again"},
    {"m.bin", "<?xml version=\"1.0\"?><Error/>", 29, 0, 0, GK_ERR_FORMAT, "an XML text"},
    {"m.gguf", "Invalid username or password.", 29, 0, 0, GK_ERR_FORMAT,
     "a text that begins 'Invalid username or password.'"},
    {"m.safetensors", "{\"error\":\"Repository not found\"}", 32, 0, 0, GK_ERR_FORMAT,
     "a text that begins '{\"error\""},
    {"m.gguf", "", 0, 0, 0, GK_ERR_FORMAT, "the file is empty; download it again"},
    {"m.safetensors", "", 0, 0, 0, GK_ERR_FORMAT, "the file is empty; download it again"},
    {"m.msgpack", "", 0, 0, 0, GK_ERR_FORMAT, "the file is empty; download it again"},
    /* what its own reader knows better, or nobody */
    {"m.safetensors", "\xFF\xFF\xFF\xFF\0\0\0\0{\"a\"", 12, 0, ROOM, GK_ERR_FORMAT, "header of"},
    {"m.safetensors", "GGUF\0\0\0\3", 8, 0, ROOM, GK_ERR_UNSUPPORTED, "big-endian"},
    {"m.gguf", "what is this", 4, 0, ROOM, GK_ERR_FORMAT, "the magic is not GGUF"},
};

static void expect(size_t i, const char *path)
{
    gk_err err = {0};
    gk_catalog *c = gk_catalog_open(path, &err);

    assert_ok(c != NULL, err);
    const gk_finding *f = &c->findings.row[0];
    if (c->findings.n == 0 || f->code != cases[i].code || strstr(f->text, cases[i].says) == NULL)
        fail_msg("%s (%d): %s, code %d; expected '%s'", cases[i].name, (int)i,
                 c->findings.n == 0 ? "nothing" : f->text, (int)f->code, cases[i].says);
    assert_string_equal(f->file, cases[i].name);
    gk_catalog_close(c);
}

static void messages_name_what_a_file_is(void **state)
{
    static unsigned char file[ROOM];

    (void)state;
    fresh_dir(WORK);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const char *path = path_of(WORK "/%s", cases[i].name);
        memset(file, 1, sizeof file);
        memcpy(file + cases[i].off, cases[i].bytes, cases[i].n);
        write_bytes(path, file, cases[i].size == 0 ? cases[i].n : cases[i].size);
        expect(i, path);
        unlink(path);
    }
}

static void zeros_are_a_download_that_did_not_fill_its_room(void **state)
{
    static const char *const names[] = {"m.gguf", "m.safetensors", "m.msgpack"};
    static const unsigned char zeros[ROOM];

    (void)state;
    fresh_dir(WORK);
    for (size_t i = 0; i < 3; i++) {
        gk_err err = {0};
        write_bytes(path_of(WORK "/%s", names[i]), zeros, sizeof zeros);
        gk_catalog *c = gk_catalog_open(path_of(WORK "/%s", names[i]), &err);
        assert_ok(c != NULL, err);
        assert_int_equal(c->findings.n, 1);
        assert_non_null(strstr(c->findings.row[0].text, "begins with zeros"));
        gk_catalog_close(c);
    }
    remove_tree(WORK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages_name_what_a_file_is),
        cmocka_unit_test(zeros_are_a_download_that_did_not_fill_its_room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
