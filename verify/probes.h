/* verify/probes.h - how much noise in which matrices a model minds.
 *
 * A probe rounds all matrices of one kind in one band of layers to int4 (quant/through.h) and
 * measures the KL divergence that this alone brings, against the model as it is. For small errors
 * divergences of independent ones add up, and each grows with the mean squared error: that is
 * what quantize --target-size weighs its options by. */
#ifndef GK_VERIFY_PROBES_H
#define GK_VERIFY_PROBES_H

#include "quant/stats.h"
#include "verify/score.h"

#define GK_PROBE_BANDS 4 /* of layers, for each kind */

/* Lists the probes of a model that there is a forward pass for, figures zero; all lives in a.
 * False: as gk_grok2_sizes(), NOMEM. */
bool gk_probes_list(gk_arena *a, const gk_catalog *model, gk_probe **out, uint64_t *n, gk_err *err);

/* Runs them on the windows of ids that forward->n_windows says and fills in their figures. False:
 * as gk_score_run(). */
bool gk_probes_run(const gk_catalog *model, const gk_forward_options *forward, const uint32_t *ids,
                   gk_probe *probe, uint64_t n, gk_err *err);

#endif
