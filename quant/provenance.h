/* quant/provenance.h - what was made of what: the file grokkit.json of a directory. */
#ifndef GK_QUANT_PROVENANCE_H
#define GK_QUANT_PROVENANCE_H

#include "formats/output.h"
#include "quant/run.h"

/* Writes it: the same bytes wherever the input lies. False: IO, SPACE, NOMEM. */
bool gk_provenance_put(const gk_plan *p, gk_output *out, const gk_run_result *result,
                       bool inputs_hashed, gk_err *err);

#endif
