/* cmd/cmd_convert.c - the same values in another container. */
#include "cmd/rewrite.h"

int cmd_convert(const gk_cli *cli)
{
    gk_plan_options options = {.max_shard_bytes = gk_cli_uint(cli, GK_OPT_MAX_SHARD_SIZE, 0)};
    gk_err err = {0};
    gk_recipe *recipe = gk_recipe_new(&err);

    /* a conversion keeps what the default recipe would not */
    if (recipe == NULL
        || (options.target = gk_target_find(gk_rewrite_format(cli, "hf"), &err)) == NULL
        || !gk_recipe_default(recipe, "keep", &err)) {
        gk_recipe_free(recipe);
        return gk_cli_fail(cli, &err);
    }
    if (options.target->layout != NULL) {
        gk_recipe_free(recipe);
        return gk_cli_usage(cli, "convert writes --to hf and gguf; the others need fewer bits: see "
                            "quantize");
    }
    return gk_rewrite(cli, recipe, &options);
}
