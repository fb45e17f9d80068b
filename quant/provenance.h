/* quant/provenance.h - what was made of what: the file grokkit.json of a directory. */
#ifndef GK_QUANT_PROVENANCE_H
#define GK_QUANT_PROVENANCE_H

#include "formats/output.h"
#include "quant/run.h"

#define GK_PROVENANCE "grokkit.json"

/* Finds the bytes it will have: those of its digests depend on options.hash alone. The plan
 * lacks nothing but its own total. False: NOMEM. */
bool gk_provenance_size(const gk_plan *p, uint64_t *bytes, gk_err *err);

/* Writes it: the same bytes wherever the input lies. Its own digest goes into the last row of
 * result->file. False: IO, SPACE, NOMEM. */
bool gk_provenance_put(const gk_plan *p, gk_output *out, gk_run_result *result, gk_err *err);

#endif
