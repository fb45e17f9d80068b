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
    uint64_t    more;      /* further tensors of which exactly the same is true */
} gk_finding;

typedef struct gk_findings {
    gk_arena   *arena; /* owns the strings; set before the first row */
    gk_finding *row;
    uint64_t    n, cap;
} gk_findings;

/* Appends a copy (strings too); file and tensor may be NULL. A row that says the
 * same of another tensor (as a missing file does, a thousand times) is counted in
 * the row that stands. False and NOMEM. For one thread at a time. */
bool gk_findings_add(gk_findings *f, const gk_finding *row, gk_err *err);

/* Appends a row whose text is formatted. */
bool gk_findings_addf(gk_findings *f, const char *check, gk_severity severity, const char *file,
                      const char *tensor, gk_err *err, const char *fmt, ...)
    __attribute__((format(printf, 7, 8)));

/* Turns an error about a file into a malformed row of check `check`; clears *from.
 * An error of memory is passed on to *err instead, and false returned. */
bool gk_findings_take(gk_findings *f, const char *check, gk_err *from, gk_err *err);

/* Returns the worst severity among the rows from index `first` on, GK_NOTE when
 * there is none; *malformed (may be NULL) tells whether one is malformed. */
gk_severity gk_findings_worst(const gk_findings *f, uint64_t first, bool *malformed);

/* Records the first bad row as an error ("… (and N more; grokkit audit lists
 * them)"). Returns true when there is none. */
bool gk_findings_refuse(const gk_findings *f, gk_err *err);

/* Frees the row array (the strings belong to the arena). */
void gk_findings_free(gk_findings *f);

#endif
