/* verify/checksums.c - SHA256SUMS. */
#include "verify/checksums.h"

#include <ctype.h>
#include <string.h>

#define LIST_NAME      "SHA256SUMS"
#define MAX_LIST_BYTES (16u << 20)
#define BUF_BYTES      (1u << 20)

bool gk_sums_line(char *line, char hex[GK_SHA256_HEX], char **name)
{
    for (int i = 0; i < 64; i++) {
        if (!isxdigit((unsigned char)line[i]))
            return false;
        hex[i] = (char)tolower((unsigned char)line[i]);
    }
    hex[64] = '\0';
    if (line[64] != ' ' || (line[65] != ' ' && line[65] != '*') || line[66] == '\0')
        return false;
    *name = line + 66;
    return true;
}

bool gk_sums_file(const char *directory, const char *name, char hex[GK_SHA256_HEX],
                  uint64_t *bytes, gk_err *err)
{
    gk_arena *a = gk_arena_new(err);
    char *path = a == NULL ? NULL : gk_path_join(a, directory, name, err);
    gk_file *file = path == NULL ? NULL : gk_file_open(a, path, err);
    void *buf = file == NULL ? NULL : gk_alloc(BUF_BYTES, 1, err);
    const bool ok = buf != NULL && gk_hash_file(file, 0, file->size, buf, BUF_BYTES, hex, err);

    if (ok)
        *bytes = file->size;
    gk_free(buf);
    gk_file_close(file);
    gk_arena_free(a);
    return ok;
}

static bool add_row(gk_sums *s, const char *hex, const char *name, gk_err *err)
{
    void *rows = s->row;

    if (!gk_grow(&rows, &s->cap, s->n + 1, sizeof *s->row, err))
        return false;
    s->row = rows;
    s->row[s->n] = (gk_sum){.name = gk_arena_str(s->arena, name, err), .source = LIST_NAME};
    memcpy(s->row[s->n].expected, hex, GK_SHA256_HEX);
    s->n_expected++;
    return s->row[s->n++].name != NULL;
}

static bool read_list(gk_catalog *c, const char *path, gk_sums *out, gk_err *err)
{
    gk_err own = {0};
    uint64_t len = 0;
    char *text = gk_file_slurp(path, MAX_LIST_BYTES, &len, &own), *rest = text, *line;
    bool ok = true;

    if (text == NULL)
        return gk_findings_take(&c->findings, "checksums", &own, err);
    while (ok && (line = strsep(&rest, "\n")) != NULL) {
        char hex[GK_SHA256_HEX], *name;
        const size_t n = strlen(line);
        if (n > 0 && line[n - 1] == '\r')
            line[n - 1] = '\0';
        if (line[0] == '\0' || line[0] == '#')
            continue;
        if (!gk_sums_line(line, hex, &name))
            ok = gk_findings_addf(&c->findings, "checksums", GK_WARN, LIST_NAME, NULL, err,
                                  "a line that is no 'HEX  NAME'");
        else if (strchr(name, '/') != NULL && strncmp(name, "./", 2) != 0)
            ok = gk_findings_addf(&c->findings, "checksums", GK_WARN, LIST_NAME, NULL, err,
                                  "a name with a path is not followed: '%s'", name);
        else
            ok = add_row(out, hex, strncmp(name, "./", 2) == 0 ? name + 2 : name, err);
    }
    gk_free(text);
    return ok;
}

bool gk_sums_check(gk_catalog *c, int threads, const volatile sig_atomic_t *stop, gk_sums *out,
                   gk_err *err)
{
    *out = (gk_sums){.arena = gk_arena_new(err)};
    if (out->arena == NULL)
        return false;
    if (c->directory == NULL)
        return true;
    char *path = gk_path_join(out->arena, c->directory, LIST_NAME, err);
    if (path == NULL)
        return false;
    if (gk_path_kind_of(path) != GK_PATH_FILE)
        return true;
    bool ok = read_list(c, path, out, err);
    if (!ok)
        return false;
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads)
    for (uint64_t i = 0; i < out->n; i++) {
        gk_err own = {0};
        if ((stop == NULL || !*stop)
            && !gk_sums_file(c->directory, out->row[i].name, out->row[i].sha256,
                             &out->row[i].bytes, &own))
            out->row[i].sha256[0] = '\0';
    }
    if (stop != NULL && *stop)
        return gk_fail(err, GK_ERR_INTERRUPTED, GK_NO_OFF, "interrupted");
    for (uint64_t i = 0; ok && i < out->n; i++) {
        const gk_sum *s = &out->row[i];
        if (s->sha256[0] == '\0')
            ok = gk_findings_addf(&c->findings, "checksums", GK_BAD, s->name, NULL, err,
                                  "missing or unreadable, but listed in %s", LIST_NAME);
        else if (strcmp(s->sha256, s->expected) != 0)
            ok = gk_findings_addf(&c->findings, "checksums", GK_BAD, s->name, NULL, err,
                                  "checksum mismatch: SHA-256 %.16s... differs from %.16s... in %s",
                                  s->sha256, s->expected, LIST_NAME);
    }
    return ok;
}

void gk_sums_free(gk_sums *s)
{
    gk_free(s->row);
    gk_arena_free(s->arena);
    *s = (gk_sums){0};
}
