/* formats/lock.h - a file that says who is at work in a directory.
 *
 * The file appears whole (linked into place) and names host, boot, process and the time
 * that process began. flock() is not used: some network file systems accept it and do
 * nothing. A lock of this host whose process is gone is taken over. */
#ifndef GK_FORMATS_LOCK_H
#define GK_FORMATS_LOCK_H

#include "formats/io.h"

/* Takes the lock `name` in the open directory dir. False: ARG, saying whose it is, when
 * its holder lives or is on another host (unless break_lock is set); IO. */
bool gk_lock_take(int dir, const char *name, bool break_lock, gk_err *err);

/* Gives it back. */
void gk_lock_drop(int dir, const char *name);

#endif
