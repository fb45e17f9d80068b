/* cmd/progress.h - how far a long command is, on stderr.
 *
 *   tty      hashing  12.3 of 539.0 GB   2.3%  1.21 GB/s  ETA 7:15  model.layers.0...
 *   no tty   the same as a plain line every 30 s
 *   json     {"status":"running","what":"hashing","unit":"bytes","done":1,"total":2,
 *             "seconds":0.1,"item":"..."} every second, and one "done" at the end
 *
 * --progress auto shows it when stderr is a tty (plain lines else), --quiet never.
 * One at a time. gk_progress_add() and _item() may be called from any thread: a
 * call is an atomic add, and at most one thread at a time prints. */
#ifndef GK_CMD_PROGRESS_H
#define GK_CMD_PROGRESS_H

#include "cmd/cli.h"

typedef enum gk_unit {
    GK_UNIT_BYTES,
    GK_UNIT_TOKENS,
    GK_UNIT_ITEMS,
} gk_unit;

/* Starts; `what` is a participle ("hashing"), static. total may be 0 (unknown). The
 * first line shows at once. */
void gk_progress_begin(const gk_cli *cli, const char *what, gk_unit unit, uint64_t total);

/* Counts n more units done. Before begin or after end: nothing. */
void gk_progress_add(uint64_t n);

/* Names what is worked on; the string must last until gk_progress_end(). */
void gk_progress_item(const char *item);

/* Adjusts the total, or jumps to a count (a resumed run). */
void gk_progress_total(uint64_t total);
void gk_progress_set(uint64_t done);

/* Takes the line away (tty), or prints the last record (json). */
void gk_progress_end(void);

/* Takes the line off the screen until the next add, so that other text can be
 * printed; gk_cli_talk(), _write() and _fail() do it themselves. */
void gk_progress_hide(void);

#endif
