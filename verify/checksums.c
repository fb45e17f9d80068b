/* verify/checksums.c - SHA256SUMS, and the CRCs that zip files carry. */
#include "verify/checksums.h"

#include <ctype.h>
#include <inttypes.h>
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

bool gk_sums_file(const gk_catalog *c, const char *name, char hex[GK_SHA256_HEX], uint64_t *bytes,
                  gk_err *err)
{
    gk_arena *a = gk_arena_new(err);
    gk_file *file = a == NULL ? NULL : gk_catalog_file(a, c, name, err);
    void *buf = file == NULL ? NULL : gk_alloc(BUF_BYTES, 1, err);
    const bool ok = buf != NULL && gk_hash_file(file, 0, file->size, buf, BUF_BYTES, hex, err);

    if (ok)
        *bytes = file->size;
    gk_free(buf);
    gk_file_close(file);
    gk_arena_free(a);
    return ok;
}

static bool add_row(gk_sums *s, const char *list, const char *hex, const char *name, gk_err *err)
{
    void *rows = s->row;

    if (!gk_grow(&rows, &s->cap, s->n + 1, sizeof *s->row, err))
        return false;
    s->row = rows;
    s->row[s->n] = (gk_sum){.name = gk_arena_str(s->arena, name, err), .source = list};
    memcpy(s->row[s->n].expected, hex, GK_SHA256_HEX);
    s->n_expected++;
    return s->row[s->n++].name != NULL;
}

static bool read_list(gk_catalog *c, gk_file *f, const char *list, gk_sums *out, gk_err *err)
{
    uint64_t len = 0;
    char *text = gk_file_text(f, MAX_LIST_BYTES, &len, err), *rest = text, *line;
    bool ok = text != NULL;

    while (ok && (line = strsep(&rest, "\n")) != NULL) {
        char hex[GK_SHA256_HEX], *name;
        const size_t n = strlen(line);
        if (n > 0 && line[n - 1] == '\r')
            line[n - 1] = '\0';
        if (line[0] == '\0' || line[0] == '#')
            continue;
        if (!gk_sums_line(line, hex, &name))
            ok = gk_findings_addf(&c->findings, "checksums", GK_WARN, list, NULL, err,
                                  "a line that is no 'HEX  NAME'");
        else if (strchr(name, '/') != NULL && strncmp(name, "./", 2) != 0)
            ok = gk_findings_addf(&c->findings, "checksums", GK_WARN, list, NULL, err,
                                  "a name with a path is not followed: '%s'", name);
        else
            ok = add_row(out, list, hex, strncmp(name, "./", 2) == 0 ? name + 2 : name, err);
    }
    gk_free(text);
    return ok;
}

/* Opens the list to read; *f stays NULL when there is none. */
static bool open_list(const gk_catalog *c, gk_arena *a, const char *path, gk_file **f, gk_err *err)
{
    *f = NULL;
    if (path == NULL && !gk_catalog_has(a, c, LIST_NAME))
        return true;
    *f = path != NULL ? gk_file_open(a, path, err) : gk_catalog_file(a, c, LIST_NAME, err);
    return *f != NULL;
}

/* The CRC-32 of each member of a file, computed side by side. */
static bool check_crcs(gk_catalog *c, const gk_input *in, int threads,
                       const volatile sig_atomic_t *stop, gk_err *err)
{
    typedef struct answer {
        uint32_t crc;
        bool     read;
    } answer;
    answer *got = gk_alloc(in->n_crcs, sizeof *got, err);
    bool ok = got != NULL;

    if (!ok)
        return false;
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads)
    for (uint64_t i = 0; i < in->n_crcs; i++) {
        const gk_crc *m = &in->crc[i];
        gk_err own = {0};
        void *buf = stop != NULL && *stop ? NULL : gk_alloc(BUF_BYTES, 1, &own);
        got[i].read = buf != NULL
                      && gk_crc_file(in->file, m->off, m->bytes, buf, BUF_BYTES, &got[i].crc, &own);
        gk_free(buf);
    }
    if (stop != NULL && *stop)
        ok = gk_fail(err, GK_ERR_INTERRUPTED, GK_NO_OFF, "interrupted");
    for (uint64_t i = 0; ok && i < in->n_crcs; i++) {
        const gk_crc *m = &in->crc[i];
        if (!got[i].read)
            ok = gk_findings_addf(&c->findings, "checksums", GK_BAD, in->name, NULL, err,
                                  "the member %.200s cannot be read", m->name);
        else if (got[i].crc != m->crc)
            ok = gk_findings_addf(&c->findings, "checksums", GK_BAD, in->name, NULL, err,
                                  "checksum mismatch: the CRC of the member %.200s is %08" PRIx32
                                  ", the file says %08" PRIx32,
                                  m->name, got[i].crc, m->crc);
    }
    gk_free(got);
    return ok;
}

bool gk_sums_check(gk_catalog *c, const char *list, int threads, const volatile sig_atomic_t *stop,
                   gk_sums *out, gk_err *err)
{
    *out = (gk_sums){.arena = gk_arena_new(err)};
    for (uint64_t i = 0; i < c->n_inputs; i++)
        if (c->input[i].n_crcs > 0 && !check_crcs(c, &c->input[i], threads, stop, err))
            return false;
    gk_file *f;
    if (out->arena == NULL || !open_list(c, out->arena, list, &f, err))
        return false;
    if (f == NULL)
        return true;
    const char *name = f->name;
    bool ok = read_list(c, f, name, out, err);
    gk_file_close(f);
    if (!ok)
        return false;
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads)
    for (uint64_t i = 0; i < out->n; i++) {
        gk_err own = {0};
        if ((stop == NULL || !*stop)
            && !gk_sums_file(c, out->row[i].name, out->row[i].sha256,
                             &out->row[i].bytes, &own))
            out->row[i].sha256[0] = '\0';
    }
    if (stop != NULL && *stop)
        return gk_fail(err, GK_ERR_INTERRUPTED, GK_NO_OFF, "interrupted");
    for (uint64_t i = 0; ok && i < out->n; i++) {
        const gk_sum *s = &out->row[i];
        if (s->sha256[0] == '\0')
            ok = gk_findings_addf(&c->findings, "checksums", GK_BAD, s->name, NULL, err,
                                  "missing or unreadable, but listed in %s", name);
        else if (strcmp(s->sha256, s->expected) != 0)
            ok = gk_findings_addf(&c->findings, "checksums", GK_BAD, s->name, NULL, err,
                                  "checksum mismatch: SHA-256 %.16s... differs from %.16s... in %s",
                                  s->sha256, s->expected, name);
    }
    return ok;
}

void gk_sums_free(gk_sums *s)
{
    gk_free(s->row);
    gk_arena_free(s->arena);
    *s = (gk_sums){0};
}
