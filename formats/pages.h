/* formats/pages.h - the page cache, left as it was found.
 *
 * A run reads its input once, and may read more than there is memory: pages that it brought
 * into the cache would push out everybody else's. So it says when it has done with a range,
 * and the pages go; but not those that were there before it came, which a person who starts
 * the same run again wants to find. All of this is advice: no call fails, or changes a byte. */
#ifndef GK_FORMATS_PAGES_H
#define GK_FORMATS_PAGES_H

#include "formats/io.h"

/* What the cache holds of one file, in pieces of GK_PAGES_PIECE bytes. */
typedef struct gk_pages gk_pages;

#define GK_PAGES_PIECE (UINT64_C(4) << 20)

/* Notes what the cache holds of f now (one system call a piece, none reads the disk; what a
 * system does not tell counts as held), and that f will be read from front to back. f must
 * outlive it; it lives in a. NULL and NOMEM. */
gk_pages *gk_pages_note(gk_arena *a, const gk_file *f, gk_err *err);

/* Lets go of the pages of [off, off + n), and of those of a piece before it, that were not
 * held. */
void gk_pages_drop(const gk_pages *p, uint64_t off, uint64_t n);

#endif
