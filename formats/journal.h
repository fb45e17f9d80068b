/* formats/journal.h - lines that survive a crash.
 *
 * Each line ends with the CRC-32 of its text; reading stops at the first that does not
 * fit, and what follows (a torn tail) is cut off before anything is added. */
#ifndef GK_FORMATS_JOURNAL_H
#define GK_FORMATS_JOURNAL_H

#include "formats/text.h"

typedef struct gk_journal gk_journal;

/* Opens the file `name` in the open directory dir, or creates it; with fresh set it is
 * emptied. NULL and IO, LIMIT, NOMEM. */
gk_journal *gk_journal_open(int dir, const char *name, bool fresh, gk_err *err);
/* Opens the journal at path, if there is one, to be read only: it may be another's. NULL when
 * there is none; then *err says why only if that is an error. */
gk_journal *gk_journal_read(const char *path, gk_err *err);
void        gk_journal_close(gk_journal *j);

/* Returns the next line that stood in the file, without its end; NULL: no more. */
const char *gk_journal_next(gk_journal *j);

/* Adds a line to `lines`; nothing is written yet. text: no line breaks. */
void gk_journal_line(gk_text *lines, const char *text);

/* Appends lines and syncs them to the disk. False: IO, SPACE. */
bool gk_journal_write(gk_journal *j, const gk_text *lines, gk_err *err);

#endif
