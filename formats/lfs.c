/* formats/lfs.c - Git LFS pointers, by docs/spec.md of git-lfs/git-lfs:
 *
 *   version https://git-lfs.github.com/spec/v1
 *   oid sha256:64 hex digits
 *   size decimal bytes
 *
 * The version stands first, other lines follow sorted by key, each ends with a newline; a
 * pointer has less than 1,024 bytes. */
#include "formats/lfs.h"

#include <ctype.h>
#include <string.h>

#include "formats/checked.h"

#define MAX_BYTES 1023u

static const char version[] = "version https://git-lfs.github.com/spec/v1\n";

static bool read_hex(const char *s, char hex[GK_SHA256_HEX])
{
    for (int i = 0; i < 64; i++) {
        if (!isxdigit((unsigned char)s[i]))
            return false;
        hex[i] = (char)tolower((unsigned char)s[i]);
    }
    hex[64] = '\0';
    return s[64] == '\n';
}

static bool read_size(const char *s, uint64_t *bytes)
{
    uint64_t n = 0;

    if (!isdigit((unsigned char)*s))
        return false;
    for (; isdigit((unsigned char)*s); s++)
        if (!gk_mul(n, 10, &n) || !gk_add(n, (uint64_t)(*s - '0'), &n))
            return false;
    *bytes = n;
    return *s == '\n';
}

bool gk_lfs_pointer_read(const gk_file *f, gk_lfs_pointer *out)
{
    char text[MAX_BYTES + 1];
    const size_t n = (size_t)gk_min(f->size, MAX_BYTES + 1);

    if (n > MAX_BYTES || n < sizeof version || !gk_file_read(f, 0, text, n, NULL))
        return false;
    text[n] = '\0';
    if (strncmp(text, version, sizeof version - 1) != 0)
        return false;
    const char *oid = strstr(text, "\noid sha256:"), *size = strstr(text, "\nsize ");
    return oid != NULL && size != NULL && read_hex(oid + 12, out->sha256)
           && read_size(size + 6, &out->bytes);
}
