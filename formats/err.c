/* formats/err.c - recording an error, and what each class is called. */
#include "formats/err.h"

#include <stdarg.h>
#include <stdio.h>

static const struct {
    const char *kind;
    int         exit_status;
} classes[] = {
    [GK_OK] = {"ok", 0},
    [GK_ERR_ARG] = {"usage", 2},
    [GK_ERR_FORMAT] = {"format", 3},
    [GK_ERR_LIMIT] = {"limit", 3},
    [GK_ERR_IO] = {"io", 4},
    [GK_ERR_SPACE] = {"space", 5},
    [GK_ERR_NOMEM] = {"memory", 5},
    [GK_ERR_UNSUPPORTED] = {"unsupported", 6},
    [GK_ERR_INTERRUPTED] = {"interrupted", 130},
};

bool gk_fail(gk_err *err, gk_err_code code, uint64_t off, const char *fmt, ...)
{
    va_list args;

    if (err == NULL || err->code != GK_OK)
        return false;
    err->code = code;
    err->off = off;
    va_start(args, fmt);
    vsnprintf(err->msg, sizeof err->msg, fmt, args);
    va_end(args);
    return false;
}

bool gk_fail_at(gk_err *err, const char *file, const char *tensor)
{
    if (err == NULL || err->code == GK_OK)
        return false;
    if (file != NULL && err->file[0] == '\0')
        snprintf(err->file, sizeof err->file, "%s", file);
    if (tensor != NULL && err->tensor[0] == '\0')
        snprintf(err->tensor, sizeof err->tensor, "%s", tensor);
    return false;
}

const char *gk_err_kind(gk_err_code code)
{
    return classes[code].kind;
}

int gk_err_exit(gk_err_code code)
{
    return classes[code].exit_status;
}
