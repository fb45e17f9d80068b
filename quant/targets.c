/* quant/targets.c - the table of what can be written. */
#include "quant/targets.h"

#include <string.h>

static const gk_layout *compressed_tensors(const gk_scheme *s)
{
    return s->kind == GK_SCHEME_INT ? &gk_layout_packed : NULL;
}

static const gk_target targets[] = {
    {.name = "hf"},
    {.name = "compressed-tensors",
     .scales = GK_BF16,
     .layout = compressed_tensors,
     .fit = gk_plan_fuse,
     .config = gk_ct_config},
    {.name = "gguf", .scheme = "Q4_K_M", .is_gguf = true, .fit = gk_gguf_fit},
};

#define N_TARGETS (sizeof targets / sizeof targets[0])

const gk_target *gk_target_find(const char *name, gk_err *err)
{
    gk_text known = {0};

    for (size_t i = 0; i < N_TARGETS; i++)
        if (strcmp(name, targets[i].name) == 0)
            return &targets[i];
    for (size_t i = 0; i < N_TARGETS; i++)
        gk_text_printf(&known, " %s", targets[i].name);
    gk_fail(err, GK_ERR_ARG, GK_NO_OFF, "unknown format '%.40s'; known:%s", name,
            known.failed ? "" : known.data);
    gk_text_free(&known);
    return NULL;
}
