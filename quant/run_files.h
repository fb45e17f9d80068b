/* quant/run_files.h - the files of OUT, and everything in them but the tiles. */
#ifndef GK_QUANT_RUN_FILES_H
#define GK_QUANT_RUN_FILES_H

#include "formats/output.h"
#include "quant/run.h"

/* Creates every file, each shard with its header and what no tile fills, and writes the small
 * ones whole. file [p->shards.n] gets the number of each shard. False: IO, SPACE, NOMEM. */
bool gk_run_create_files(const gk_plan *p, gk_output *out, int *file, gk_err *err);

/* Lists them in result->file, which has room. */
void gk_run_list_files(const gk_plan *p, gk_run_result *result);

#endif
