/* formats/finding.h - what an examination found out. A finding is not an error:
 * readers and checks append rows, and whoever asked decides what they mean. */
#ifndef GK_FORMATS_FINDING_H
#define GK_FORMATS_FINDING_H

#include "formats/arena.h"

typedef enum gk_severity {
    GK_NOTE, /* worth knowing                             */
    GK_WARN, /* works here, may not elsewhere             */
    GK_BAD,  /* the model is not what it claims to be     */
} gk_severity;

typedef struct gk_finding {
    const char *check;     /* static, one word: "slices", "shape", "values"  */
    gk_severity severity;
    bool        malformed; /* a file that cannot be read at all: exit 3      */
    gk_err_code code;      /* when a caller turns it into an error           */
    uint64_t    off;       /* byte offset in file, or GK_NO_OFF              */
    const char *file;      /* "" when none                                   */
    const char *tensor;    /* "" when none                                   */
    const char *text;
} gk_finding;

typedef struct gk_findings {
    gk_arena   *arena; /* owns the strings; set before the first row */
    gk_finding *row;
    uint64_t    n, cap;
} gk_findings;

/* Appends a copy (strings too); file and tensor may be NULL. False and NOMEM.
 * For one thread at a time. */
bool gk_findings_add(gk_findings *f, const gk_finding *row, gk_err *err);

/* Appends a row whose text is formatted. */
bool gk_findings_addf(gk_findings *f, const char *check, gk_severity severity, const char *file,
                      const char *tensor, gk_err *err, const char *fmt, ...)
    __attribute__((format(printf, 7, 8)));

/* Turns an error into a row of check `check`, severity bad, malformed unless the
 * error is one of memory; clears *from. */
bool gk_findings_take(gk_findings *f, const char *check, gk_err *from, gk_err *err);

/* Frees the row array (the strings belong to the arena). */
void gk_findings_free(gk_findings *f);

#endif
