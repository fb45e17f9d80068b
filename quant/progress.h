/* quant/progress.h - how far a run has come, kept where a later run finds it.
 *
 * The journal of OUT.partial-TAG says in lines of text which input files were read
 * (device, inode, size, time), the ranges of NVFP4, and each tile whose bytes are on the
 * disk, with its error sums. A tile's line is written after its data was synced. A later
 * run with the same tiles does those that are missing; one whose tiles are others (another
 * --memory) takes over whole tensors and does the unfinished ones again. */
#ifndef GK_QUANT_PROGRESS_H
#define GK_QUANT_PROGRESS_H

#include "formats/output.h"
#include "quant/plan.h"

#define GK_JOURNAL_NAME "journal" /* in OUT.partial-TAG */

typedef struct gk_progress_log gk_progress_log;

/* What a person would say of a job, for naming the difference of two: one line each. */
#define GK_N_ABOUT 5
extern const char *const gk_about_keys[GK_N_ABOUT];

/* Returns line i, in a. NULL and NOMEM. */
char *gk_about(const gk_plan *p, int i, gk_arena *a, gk_err *err);

/* What is known of an item's tile that another run did. */
typedef struct gk_done_tile {
    uint64_t unit;
    double   error, square;
} gk_done_tile;

/* Opens the journal of `out`; with resume its lines are taken up, else it begins anew.
 * NULL: IO when an input changed since, FORMAT when it is not of this plan, NOMEM. */
gk_progress_log *gk_progress_log_open(const gk_plan *p, gk_output *out, bool resume, gk_err *err);
void             gk_progress_log_close(gk_progress_log *l);

/* Returns whether all files were finished and synced. */
bool gk_progress_log_sealed(const gk_progress_log *l);

/* Returns whether the run is further than its first tile. */
bool gk_progress_log_any(const gk_progress_log *l);

/* Returns the tiles that are done, by unit; *n of them. */
const gk_done_tile *gk_progress_log_tiles(const gk_progress_log *l, uint64_t *n);

/* Returns whether a unit is done. */
bool gk_progress_log_has(const gk_progress_log *l, uint64_t unit);

/* Returns whether an item is done as a whole by tiles that are not ours, and its sums. */
bool gk_progress_log_whole(const gk_progress_log *l, uint64_t item, double *error, double *square);

/* Takes the ranges over (most [p->n_ranges]), or keeps them. */
bool gk_progress_log_ranges(const gk_progress_log *l, float *most);
bool gk_progress_log_keep_ranges(gk_progress_log *l, const float *most, gk_err *err);

/* Notes a tile whose bytes are written; every second or GiB of input syncs and keeps what
 * was noted. From any thread. False: IO, SPACE. */
bool gk_progress_log_add(gk_progress_log *l, const gk_done_tile *tile, uint64_t input_bytes,
                         gk_err *err);

/* Syncs and keeps everything noted; no tile may be in the making. */
bool gk_progress_log_keep(gk_progress_log *l, gk_err *err);

/* Notes that all files are sealed. */
bool gk_progress_log_seal(gk_progress_log *l, gk_err *err);

#endif
