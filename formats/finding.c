/* formats/finding.c - rows of what was found out. */
#include "formats/finding.h"

#include <stdarg.h>
#include <stdio.h>

static const char *keep(gk_arena *a, const char *s, gk_err *err)
{
    return s == NULL || s[0] == '\0' ? "" : gk_arena_str(a, s, err);
}

bool gk_findings_add(gk_findings *f, const gk_finding *row, gk_err *err)
{
    void *rows = f->row;

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
    const gk_finding row = {.check = check,
                            .severity = GK_BAD,
                            .malformed = from->code != GK_ERR_NOMEM,
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

void gk_findings_free(gk_findings *f)
{
    gk_free(f->row);
    f->row = NULL;
    f->n = f->cap = 0;
}
