/* cmd/rewrite.h - what convert and quantize share: plan, dry run, run, report. */
#ifndef GK_CMD_REWRITE_H
#define GK_CMD_REWRITE_H

#include "cmd/cli.h"
#include "quant/plan.h"

/* Plans the rewrite of arg[0] into arg[1] by the recipe, and unless --dry-run runs it.
 * options->threads and memory_bytes come from the command line. Returns the exit status;
 * frees the recipe. */
int gk_rewrite(const gk_cli *cli, gk_recipe *recipe, gk_plan_options *options);

/* Returns the format that --to names, or that OUT's name asks for (".gguf"), or another. */
const char *gk_rewrite_format(const gk_cli *cli, const char *otherwise);

#endif
