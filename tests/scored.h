/* tests/scored.h - a pass that must come to its end. */
#ifndef GK_TESTS_SCORED_H
#define GK_TESTS_SCORED_H

#include "tests/test.h"

#include "verify/score.h"

/* Free what it returns. */
static inline gk_score run(const gk_score_job *job)
{
    gk_score score;
    gk_err err = {0};
    assert_ok(gk_score_run(job, &score, &err), err);
    return score;
}

#endif
