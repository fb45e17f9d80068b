/* formats/mistaken.h - what a file is that does not hold the weights its name promises. */
#ifndef GK_FORMATS_MISTAKEN_H
#define GK_FORMATS_MISTAKEN_H

#include "formats/io.h"

/* To be called when the reader of that format could not read f: where its first bytes show what
 * it is instead (an archive, a web page, a pointer of Git LFS, nothing at all), *err becomes that
 * and what to do. Leaves NOMEM and IO as they are, and what says nothing. */
void gk_mistaken_say(const gk_file *f, const char *format, gk_err *err);

#endif
