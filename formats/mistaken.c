/* formats/mistaken.c - one table of first bytes, then texts.
 *
 * Sources: RFC 1952, the xz and zstd format specifications, POSIX ustar, PKWARE's APPNOTE, and
 * the headers of 7-Zip, RAR, HDF5, NumPy and of llama.cpp before GGUF. */
#include "formats/mistaken.h"

#include <ctype.h>
#include <inttypes.h>
#include <string.h>

#include "formats/checked.h"
#include "formats/lfs.h"
#include "formats/text.h"

#define HEAD_BYTES 512
#define TEXT_BYTES 40 /* of a text, shown */

#define PACKED(end) "unpack it, or add " end " to its name (to that of a tar .tar" end ")"
#define BEFORE "a ggml file of before GGUF, which is not read: get the model as GGUF"

static const struct kind {
    unsigned off, n;
    const char *bytes;
    gk_err_code code;
    const char *is;
} kinds[] = {
    {0, 3, "\x1F\x8B\x08", GK_ERR_FORMAT, "a gzip file: " PACKED(".gz")},
    {0, 6, "\xFD" "7zXZ\0", GK_ERR_FORMAT, "an xz file: " PACKED(".xz")},
    {0, 4, "\x28\xB5\x2F\xFD", GK_ERR_FORMAT, "a zstd file: " PACKED(".zst")},
    {0, 3, "BZh", GK_ERR_FORMAT, "a bzip2 file: " PACKED(".bz2")},
    {257, 5, "ustar", GK_ERR_FORMAT, "a tar archive: give it a name that ends in .tar"},
    {0, 6, "7z\xBC\xAF\x27\x1C", GK_ERR_UNSUPPORTED, "a 7z archive: unpack it"},
    {0, 6, "Rar!\x1A\x07", GK_ERR_UNSUPPORTED, "a RAR archive: unpack it"},
    {0, 4, "GGUF", GK_ERR_FORMAT, "a GGUF file: give it a name that ends in .gguf"},
    {8, 2, "{\"", GK_ERR_FORMAT, "a safetensors file: give it a name that ends in .safetensors"},
    {0, 4, "lmgg", GK_ERR_UNSUPPORTED, BEFORE},
    {0, 4, "fmgg", GK_ERR_UNSUPPORTED, BEFORE},
    {0, 4, "tjgg", GK_ERR_UNSUPPORTED, BEFORE},
    {0, 8, "\x89HDF\r\n\x1A\n", GK_ERR_UNSUPPORTED, "an HDF5 file, which is not read"},
    {0, 6, "\x93NUMPY", GK_ERR_UNSUPPORTED, "a NumPy array, which is no model"},
};

/* Whether it is what the reader took it for, if broken: that reader knows best. */
static bool is_as_read(const char *format, const unsigned char *head)
{
    if (memcmp(head, "GGUF", 4) == 0)
        return strcmp(format, "gguf") == 0;
    return memcmp(head + 8, "{\"", 2) == 0
           && (strcmp(format, "safetensors") == 0 || strcmp(format, "hf") == 0
               || strcmp(format, "release") == 0);
}

static bool begins_as(const unsigned char *text, const char *word)
{
    while (*word != '\0' && tolower(*text) == *word) {
        text++;
        word++;
    }
    return *word == '\0';
}

/* What a server sends in the place of a file. */
static void say_text(const gk_file *f, const unsigned char *head, uint64_t n, gk_err *err)
{
    static const char other[] = "no weights; name the directory that they are in, or their file";
    static const char answer[] = "the download got the server's answer instead of the file; "
                                "download it again (a gated model wants a login)";
    const bool weights = gk_ends_with(f->name, ".safetensors") || gk_ends_with(f->name, ".gguf")
                         || gk_ends_with(f->name, ".bin") || gk_ends_with(f->name, ".msgpack")
                         || gk_ends_with(f->name, ".pt") || gk_ends_with(f->name, ".pth");
    const char *again = weights ? answer : other;
    const unsigned char *at = head;
    uint64_t len = 0;

    if (memcmp(at, "\xEF\xBB\xBF", 3) == 0)
        at += 3;
    while (isspace(*at))
        at++;
    while (len < n && (isprint(head[len]) || isspace(head[len])))
        len++;
    if (begins_as(at, "<!doctype html") || begins_as(at, "<html")) {
        gk_fail(err, GK_ERR_FORMAT, 0, "a web page (HTML): %s", again);
    } else if (begins_as(at, "<?xml")) {
        gk_fail(err, GK_ERR_FORMAT, 0, "an XML text: %s", again);
    } else if (len >= 12 && len == n) {
        const size_t shown = (size_t)gk_min(strcspn((const char *)at, "\r\n"), TEXT_BYTES);
        gk_fail(err, GK_ERR_FORMAT, 0, "a text that begins '%.*s': %s", (int)shown,
                (const char *)at, again);
    }
}

/* Makes *own what the head says, or leaves it. */
static void look(const gk_file *f, const char *format, const unsigned char *head, uint64_t n,
                 gk_err *own)
{
    gk_lfs_pointer pointer;
    bool zeros = true;

    if (gk_lfs_pointer_read(f, &pointer)) {
        gk_fail(own, GK_ERR_FORMAT, GK_NO_OFF,
                "a Git LFS pointer in the place of the weights: it stands for a file of %" PRIu64
                " bytes (SHA-256 %.16s...) that was not downloaded; run 'git lfs pull'",
                pointer.bytes, pointer.sha256);
        return;
    }
    if (is_as_read(format, head))
        return;
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        if (memcmp(head + kinds[i].off, kinds[i].bytes, kinds[i].n) == 0) {
            gk_fail(own, kinds[i].code, 0, "%s", kinds[i].is);
            return;
        }
    if (memcmp(head, "PK\3\4", 4) == 0) {
        const bool torch = memmem(head, (size_t)n, "/data.pkl", 9) != NULL;
        if (!torch)
            gk_fail(own, GK_ERR_FORMAT, 0, "a zip archive: give it a name that ends in .zip");
        else if (strcmp(format, "pytorch") != 0)
            gk_fail(own, GK_ERR_FORMAT, 0, "a file of PyTorch: give it a name that ends in .pt");
        return;
    }
    for (uint64_t i = 0; i < n; i++)
        zeros = zeros && head[i] == 0;
    if (zeros && n == HEAD_BYTES)
        gk_fail(own, GK_ERR_FORMAT, 0,
                "it begins with zeros: room that a download reserved and did not fill; download "
                "it again");
    else
        say_text(f, head, n, own);
}

void gk_mistaken_say(const gk_file *f, const char *format, gk_err *err)
{
    unsigned char head[HEAD_BYTES + 1] = {0};
    const uint64_t n = gk_min(f->size, HEAD_BYTES);
    gk_err own = {0};

    if (err->code == GK_ERR_NOMEM || err->code == GK_ERR_IO || !gk_file_read(f, 0, head, n, NULL))
        return;
    if (n == 0)
        gk_fail(&own, GK_ERR_FORMAT, 0, "the file is empty; download it again");
    else
        look(f, format, head, n, &own);
    if (own.code != GK_OK)
        *err = own;
}
