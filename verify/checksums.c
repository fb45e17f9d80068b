/* verify/checksums.c - what digests say of the files, and the CRCs that zip files carry. */
#include "verify/checksums.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define BUF_BYTES (1u << 20)
#define MAX_NAMES 500 /* bytes of file names in one finding */

bool gk_sum_holds(const gk_sum *row)
{
    return row->failure == GK_OK
           && (row->expected[0] == '\0' || strcmp(row->found, row->expected) == 0)
           && (row->expected_bytes == GK_NO_OFF || row->expected_bytes == row->bytes);
}

/* ---- findings ----------------------------------------------------------------------- */

/* Another file whose listed bytes these are: names were exchanged, or changed. */
static const gk_sum *whose(const gk_sums *s, const gk_sum *row)
{
    for (uint64_t i = 0; i < s->n; i++)
        if (s->row[i].of == GK_SUM_FILE && s->row[i].kind == row->kind
            && s->row[i].blob == row->blob && s->row[i].expected[0] != '\0'
            && strcmp(s->row[i].name, row->name) != 0
            && strcmp(s->row[i].expected, row->found) == 0)
            return &s->row[i];
    return NULL;
}

/* The file that has the bytes which are missing under this name. */
static const gk_sum *holder(const gk_sums *s, const gk_sum *row)
{
    for (uint64_t i = 0; i < s->n; i++)
        if (s->row[i].of == GK_SUM_FILE && s->row[i].kind == row->kind
            && s->row[i].blob == row->blob && strcmp(s->row[i].name, row->name) != 0
            && strcmp(s->row[i].found, row->expected) == 0)
            return &s->row[i];
    return NULL;
}

static bool judge_missing(gk_catalog *c, const gk_sums *s, const gk_sum *row, gk_err *err)
{
    const bool is_file = row->of == GK_SUM_FILE || row->of == GK_SUM_RANGE;
    const char *what = is_file                         ? "missing or unreadable"
                       : row->failure == GK_ERR_FORMAT ? "missing"
                                                       : "unreadable";
    const gk_sum *other = row->of == GK_SUM_FILE ? holder(s, row) : NULL;

    if (other != NULL)
        return gk_findings_addf(&c->findings, "checksums", GK_BAD, row->name, NULL, err,
                                "missing, but listed in %s: its bytes are here under the name %s",
                                row->source, other->name);
    return gk_findings_addf(&c->findings, "checksums", GK_BAD, is_file ? row->name : NULL,
                            is_file ? NULL : row->name, err, "%s, but listed in %s", what,
                            row->source);
}

static bool judge_row(gk_catalog *c, const gk_sums *s, const gk_sum *row, gk_err *err)
{
    const bool is_file = row->of == GK_SUM_FILE || row->of == GK_SUM_RANGE;
    const char *what = row->blob                     ? "git's SHA-1"
                       : row->kind == GK_HASH_SHA256 ? "SHA-256"
                       : row->kind == GK_HASH_SHA1   ? "SHA-1"
                                                     : "XXH64";

    if (gk_sum_holds(row) || row->source == NULL)
        return true;
    if (row->failure != GK_OK)
        return judge_missing(c, s, row, err);
    const gk_sum *other = row->of == GK_SUM_FILE ? whose(s, row) : NULL;
    if (other != NULL)
        return gk_findings_addf(&c->findings, "checksums", GK_BAD, row->name, NULL, err,
                                "checksum mismatch: its bytes are those listed as %s in %s: the "
                                "files were exchanged or renamed",
                                other->name, other->source);
    if (row->expected_bytes != GK_NO_OFF && row->expected_bytes != row->bytes)
        return gk_findings_addf(&c->findings, "checksums", GK_BAD, is_file ? row->name : NULL,
                                is_file ? NULL : row->name, err,
                                "%" PRIu64 " bytes, but %" PRIu64 " are listed in %s", row->bytes,
                                row->expected_bytes, row->source);
    return gk_findings_addf(&c->findings, "checksums", GK_BAD, is_file ? row->name : NULL,
                            is_file ? NULL : row->name, err,
                            "checksum mismatch: %s %.16s... differs from %.16s... in %s", what,
                            row->found, row->expected, row->source);
}

static bool is_listed(const gk_sums *s, const char *name)
{
    for (uint64_t i = 0; i < s->n; i++)
        if (s->row[i].of != GK_SUM_FILE
            || (s->row[i].source != NULL && strcmp(s->row[i].name, name) == 0))
            return true;
    return false;
}

/* Names one after the other, as many as fit. */
typedef struct names {
    char text[MAX_NAMES + 32];
    size_t len;
    uint64_t n, shown;
} names;

static void add_name(names *x, const char *name)
{
    const size_t len = strlen(name);

    if (x->n++ == x->shown && x->len + len + 2 < MAX_NAMES) {
        x->len += (size_t)sprintf(x->text + x->len, "%s%s", x->n > 1 ? ", " : "", name);
        x->shown++;
    }
}

static bool say_unlisted(gk_catalog *c, gk_severity severity, names *x, uint64_t of,
                         const char *what, gk_err *err)
{
    if (x->n == 0)
        return true;
    if (x->n > x->shown)
        sprintf(x->text + x->len, ", ...");
    return gk_findings_addf(&c->findings, "checksums", severity, NULL, NULL, err,
                            "no list names %" PRIu64 " of %" PRIu64 " %s, so nothing proves their "
                            "bytes: %s",
                            x->n, of, what, x->text);
}

static bool judge_unlisted(gk_catalog *c, const gk_sums *s, gk_err *err)
{
    names weights = {.len = 0}, others = {.len = 0};

    for (uint64_t i = 0; i < c->n_inputs; i++)
        if (!is_listed(s, c->input[i].name))
            add_name(&weights, c->input[i].name);
    for (uint64_t i = 0; i < c->n_extras; i++)
        if (!is_listed(s, c->extra[i].name))
            add_name(&others, c->extra[i].name);
    return say_unlisted(c, GK_WARN, &weights, c->n_inputs, "weight files", err)
           && say_unlisted(c, GK_NOTE, &others, c->n_extras, "other files", err);
}

bool gk_sums_judge(gk_catalog *c, const gk_sums *s, gk_err *err)
{
    bool ok = true;

    for (uint64_t i = 0; ok && i < s->n; i++)
        ok = judge_row(c, s, &s->row[i], err);
    return ok && (s->n_expected == 0 || judge_unlisted(c, s, err));
}

/* ---- CRCs --------------------------------------------------------------------------- */

/* The CRC-32 of each member of a file, computed side by side. */
static bool check_crcs(gk_catalog *c, const gk_input *in, int threads,
                       const volatile sig_atomic_t *stop, gk_err *err)
{
    typedef struct answer {
        uint32_t crc;
        bool read;
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

bool gk_sums_crcs(gk_catalog *c, int threads, const volatile sig_atomic_t *stop, gk_err *err)
{
    for (uint64_t i = 0; i < c->n_inputs; i++)
        if (c->input[i].n_crcs > 0 && !check_crcs(c, &c->input[i], threads, stop, err))
            return false;
    return true;
}
