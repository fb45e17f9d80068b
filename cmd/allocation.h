/* cmd/allocation.h - --target-size and --target-bpw: choosing, telling, and looking back. */
#ifndef GK_CMD_ALLOCATION_H
#define GK_CMD_ALLOCATION_H

#include "cmd/cli.h"
#include "quant/allocate.h"
#include "quant/stats.h"
#include "verify/score.h"

/* Returns whether the command line asks for a size. */
bool gk_allocation_asked(const gk_cli *cli);

/* Reads the goal, chooses, and writes --save-recipe's file. NULL: as gk_allocate(); ARG for a
 * number that is none. Free *out in any case. */
gk_plan *gk_allocation_make(const gk_cli *cli, const gk_catalog *model, const gk_recipe *recipe,
                            const gk_plan_options *options, gk_allocation *out, gk_err *err);

/* Measures the divergence of what the plan wrote to OUT on some of the tokens that calibrate read.
 * *kld stays NaN where the statistics have none. False: as gk_score_run(). */
bool gk_allocation_measure(const gk_cli *cli, const gk_plan *p, const char *out, gk_mean *kld,
                           gk_err *err);

/* Adds what was chosen, and what it cost, as text or as the member "allocation". */
void gk_allocation_text(const gk_cli *cli, const gk_allocation *a, const gk_plan *p,
                        const gk_mean *kld, gk_text *t);
void gk_allocation_json(const gk_allocation *a, const gk_plan *p, const gk_mean *kld, gk_text *t);

#endif
