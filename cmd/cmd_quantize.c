/* cmd/cmd_quantize.c - fewer bits. */
#include "cmd/rewrite.h"
#include "formats/io.h"

#define MAX_RECIPE_BYTES (1u << 20)

static bool read_recipe(const gk_cli *cli, gk_recipe *r, gk_err *err)
{
    const char *path = gk_cli_string(cli, GK_OPT_RECIPE);
    const char *scheme = gk_cli_string(cli, GK_OPT_SCHEME);
    uint64_t len = 0;

    for (int i = 0; i < gk_cli_count(cli, GK_OPT_RULE); i++)
        if (!gk_recipe_rule(r, gk_cli_nth(cli, GK_OPT_RULE, i), err))
            return false;
    if (path != NULL) {
        char *text = gk_file_slurp(path, MAX_RECIPE_BYTES, &len, err);
        const bool ok = text != NULL && gk_recipe_text(r, text, len, gk_path_base(path), err);
        gk_free(text);
        if (!ok)
            return false;
    }
    return scheme == NULL || gk_recipe_default(r, scheme, err);
}

int cmd_quantize(const gk_cli *cli)
{
    gk_plan_options options = {
        .max_shard_bytes = gk_cli_uint(cli, GK_OPT_MAX_SHARD_SIZE, 0),
        .method = (gk_method)gk_cli_choice(cli, GK_OPT_METHOD, GK_METHOD_SEARCH),
        .hessian_block = gk_cli_uint(cli, GK_OPT_HESSIAN_BLOCK, 0),
        .strict = gk_cli_has(cli, GK_OPT_STRICT),
        .no_engine_check = gk_cli_has(cli, GK_OPT_NO_ENGINE_CHECK),
        .check_values = true,
    };
    gk_err err = {0};
    gk_recipe *recipe = gk_recipe_new(&err);

    if (recipe != NULL
        && (options.target = gk_target_find(gk_rewrite_format(cli, "compressed-tensors"), &err))
               != NULL
        && (options.target->scheme == NULL
            || gk_recipe_default(recipe, options.target->scheme, &err))
        && read_recipe(cli, recipe, &err))
        return gk_rewrite(cli, recipe, &options);
    gk_recipe_free(recipe);
    return gk_cli_fail(cli, &err);
}
