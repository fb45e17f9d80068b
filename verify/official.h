/* verify/official.h - is this the release of Grok-2? */
#ifndef GK_VERIFY_OFFICIAL_H
#define GK_VERIFY_OFFICIAL_H

#include "verify/checksums.h"

/* Compares a release of Grok-2's geometry with the counts and settings of xai-org/grok-2 and
 * appends findings for what differs; where no list of digests lies beside it (sums without one;
 * NULL: nobody asked), one that says what remains unproven. False: NOMEM. */
bool gk_official_check(gk_catalog *c, const gk_sums *sums, gk_err *err);

#endif
