/* quant/provenance.h - what was made of what: grokkit.json in every directory written. */
#ifndef GK_QUANT_PROVENANCE_H
#define GK_QUANT_PROVENANCE_H

#include "formats/output.h"
#include "quant/run.h"

/* Writes it: inputs, plan, recipe, version, files and their digests where they were taken; the
 * same bytes wherever the input lies. False: NOMEM, IO. */
bool gk_write_provenance(const gk_plan *p, gk_hash_mode hash, const gk_run_result *result,
                         gk_output *out, gk_err *err);

#endif
