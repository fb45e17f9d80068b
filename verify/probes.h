/* verify/probes.h - how much noise in which matrices a model minds.
 *
 * A probe rounds all matrices of one kind in one band of layers to int4 (quant/through.h) and
 * measures the KL divergence that this alone brings, against the model as it is. For small errors
 * divergences of independent ones add up, and each grows with the mean squared error: that is
 * what quantize --target-size weighs its options by.
 *
 * The sum is not all of it: a router chooses other experts at a rate that grows with the error
 * itself, not its square, so little noise costs more than its share. Two more probes round the
 * matrices of all layers at once, to int4 and to int8: from them the allocation learns how the
 * divergence of all grows with the sum of those of the parts. */
#ifndef GK_VERIFY_PROBES_H
#define GK_VERIFY_PROBES_H

#include "quant/stats.h"
#include "verify/score.h"

#define GK_PROBE_BANDS    4  /* of layers, for each kind */
#define GK_PROBES_AT_ONCE 16 /* beside one base: what they hold grows with their number */

/* Lists the probes of a model that there is a forward pass for, figures zero; all lives in a.
 * False: as gk_grok2_sizes(), NOMEM. */
bool gk_probes_list(gk_arena *a, const gk_catalog *model, gk_probe **out, uint64_t *n, gk_err *err);

/* Runs them on n_windows of the windows of ids, at even distances, and fills in their figures.
 * False: as gk_score_run(). */
bool gk_probes_run(const gk_catalog *model, const gk_forward_options *forward, const uint32_t *ids,
                   uint64_t n_windows, gk_probe *probe, uint64_t n, gk_err *err);

/* Fills out [n_some, ctx] with some of n windows of ids, at even distances. */
void gk_windows_spread(const uint32_t *ids, uint64_t n, uint64_t ctx, uint64_t n_some,
                       uint32_t *out);

#endif
