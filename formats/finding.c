/* formats/finding.c - rows of what was found out. */
#include "formats/finding.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define LOOK_BACK 64 /* rows searched for one that says the same */

static const char *keep(gk_arena *a, const char *s, gk_err *err)
{
    return s == NULL || s[0] == '\0' ? "" : gk_arena_str(a, s, err);
}

static bool same_text(const char *a, const char *b)
{
    return strcmp(a == NULL ? "" : a, b == NULL ? "" : b) == 0;
}

static gk_finding *find_same(gk_findings *f, const gk_finding *row)
{
    for (uint64_t i = f->n; i > 0 && f->n - i < LOOK_BACK; i--) {
        gk_finding *r = &f->row[i - 1];
        if (r->severity == row->severity && r->off == row->off && strcmp(r->check, row->check) == 0
            && same_text(r->file, row->file) && same_text(r->text, row->text))
            return r;
    }
    return NULL;
}

bool gk_findings_add(gk_findings *f, const gk_finding *row, gk_err *err)
{
    void *rows = f->row;
    gk_finding *same = find_same(f, row);

    if (same != NULL) {
        same->more++;
        return true;
    }
    if (!gk_grow(&rows, &f->cap, f->n + 1, sizeof *f->row, err))
        return false;
    f->row = rows;
    gk_finding *copy = &f->row[f->n];
    *copy = *row;
    copy->file = keep(f->arena, row->file, err);
    copy->tensor = keep(f->arena, row->tensor, err);
    copy->text = keep(f->arena, row->text, err);
    if (copy->file == NULL || copy->tensor == NULL || copy->text == NULL)
        return false;
    f->n++;
    return true;
}

bool gk_findings_addf(gk_findings *f, const char *check, gk_severity severity, const char *file,
                      const char *tensor, gk_err *err, const char *fmt, ...)
{
    char text[768];
    va_list args;

    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    return gk_findings_add(f,
                           &(gk_finding){.check = check,
                                         .severity = severity,
                                         .code = GK_ERR_FORMAT,
                                         .off = GK_NO_OFF,
                                         .file = file,
                                         .tensor = tensor,
                                         .text = text},
                           err);
}

bool gk_findings_take(gk_findings *f, const char *check, gk_err *from, gk_err *err)
{
    if (from->code == GK_ERR_NOMEM) {
        *err = *from;
        return false;
    }
    const gk_finding row = {.check = check,
                            .severity = GK_BAD,
                            .malformed = true,
                            .code = from->code,
                            .off = from->off,
                            .file = from->file,
                            .tensor = from->tensor,
                            .text = from->msg};
    if (!gk_findings_add(f, &row, err))
        return false;
    from->code = GK_OK;
    from->file[0] = from->tensor[0] = from->msg[0] = '\0';
    return true;
}

gk_severity gk_findings_worst(const gk_findings *f, uint64_t first, bool *malformed)
{
    gk_severity worst = GK_NOTE;

    if (malformed != NULL)
        *malformed = false;
    for (uint64_t i = first; i < f->n; i++) {
        if (f->row[i].severity > worst)
            worst = f->row[i].severity;
        if (malformed != NULL)
            *malformed |= f->row[i].malformed;
    }
    return worst;
}

bool gk_findings_refuse(const gk_findings *f, gk_err *err)
{
    const gk_finding *first = NULL;
    uint64_t n = 0;

    for (uint64_t i = 0; i < f->n; i++) {
        if (f->row[i].severity != GK_BAD)
            continue;
        n += 1 + f->row[i].more;
        if (first == NULL)
            first = &f->row[i];
    }
    if (first == NULL)
        return true;
    if (n > 1)
        gk_fail(err, first->code, first->off, "%s (and %" PRIu64 " more; grokkit audit lists them)",
                first->text, n - 1);
    else
        gk_fail(err, first->code, first->off, "%s", first->text);
    return gk_fail_at(err, first->file, first->tensor);
}

void gk_findings_free(gk_findings *f)
{
    gk_free(f->row);
    f->row = NULL;
    f->n = f->cap = 0;
}
