/* cmd/cmd_convert.c - the same values in another container. */
#include "cmd/rewrite.h"

int cmd_convert(const gk_cli *cli)
{
    gk_plan_options options = {.max_shard_bytes = gk_cli_uint(cli, GK_OPT_MAX_SHARD_SIZE, 0)};
    const char *to = gk_cli_string(cli, GK_OPT_TO);
    gk_err err = {0};
    gk_recipe *recipe = gk_recipe_new(&err);

    /* a conversion keeps what the default recipe would not */
    if (recipe == NULL || !gk_target_find(to == NULL ? "hf" : to, &options.target, &err)
        || !gk_recipe_default(recipe, "keep", &err)) {
        gk_recipe_free(recipe);
        return gk_cli_fail(cli, &err);
    }
    if (options.target != GK_TARGET_HF) {
        gk_recipe_free(recipe);
        return gk_cli_usage(cli, "convert writes --to hf; compressed-tensors needs fewer bits: "
                            "see quantize");
    }
    return gk_rewrite(cli, recipe, &options);
}
