/* quant/scheme.c - names of schemes. */
#include "quant/scheme.h"

#include <stdio.h>
#include <string.h>

#include "formats/checked.h"
#include "formats/text.h"

gk_scheme gk_scheme_int(int bits, uint64_t group, bool symmetric)
{
    gk_scheme s = {.kind = GK_SCHEME_INT,
                   .bits = bits,
                   .group = group,
                   .symmetric = symmetric,
                   .scales = GK_BF16};
    const char *asym = symmetric ? "" : "-asym";

    if (group == 0)
        snprintf(s.name, sizeof s.name, "int%d-channel%s", bits, asym);
    else
        snprintf(s.name, sizeof s.name, "int%d-g%u%s", bits, (unsigned)(group & 0xFFFFFFFF), asym);
    return s;
}

gk_scheme gk_scheme_fp8(uint64_t group)
{
    gk_scheme s = {.kind = GK_SCHEME_FP8, .bits = 8, .group = group, .symmetric = true};

    snprintf(s.name, sizeof s.name, "fp8-%s",
             group == 0 ? "channel" : group == GK_GROUP_ALL ? "tensor" : "block");
    return s;
}

gk_scheme gk_scheme_cast(gk_dtype type)
{
    gk_scheme s = {.kind = GK_SCHEME_CAST, .cast = type, .symmetric = true};

    snprintf(s.name, sizeof s.name, "%s", gk_dtype_get(type)->name);
    if (type == GK_BF16 || type == GK_F16 || type == GK_F32)
        for (char *at = s.name; *at != '\0'; at++)
            *at = (char)(*at >= 'A' && *at <= 'Z' ? *at + 32 : *at);
    return s;
}

bool gk_scheme_is_coded(const gk_scheme *s) { return s->kind >= GK_SCHEME_INT; }

bool gk_scheme_same(const gk_scheme *a, const gk_scheme *b)
{
    return a->kind == b->kind && a->cast == b->cast && a->bits == b->bits && a->group == b->group
           && a->symmetric == b->symmetric;
}

uint64_t gk_scheme_groups(const gk_scheme *s, uint64_t n_cols)
{
    return s->group == 0 ? 1 : gk_div_up(n_cols, s->group);
}

static const gk_scheme named[] = {
    {.name = "keep", .kind = GK_SCHEME_KEEP, .symmetric = true},
    {.name = "fp8-channel", .kind = GK_SCHEME_FP8, .bits = 8, .symmetric = true},
    {.name = "fp8-block", .kind = GK_SCHEME_FP8, .bits = 8, .group = 128, .symmetric = true},
    {.name = "nvfp4", .kind = GK_SCHEME_NVFP4, .bits = 4, .group = 16, .symmetric = true},
    {.name = "mxfp4", .kind = GK_SCHEME_MXFP4, .bits = 4, .group = 32, .symmetric = true},
};

static const gk_dtype casts[] = {GK_BF16, GK_F16,  GK_F32,  GK_Q4_0,   GK_Q4_1,
                                 GK_Q5_0, GK_Q5_1, GK_Q8_0, GK_Q2_K,   GK_Q3_K,
                                 GK_Q4_K, GK_Q5_K, GK_Q6_K, GK_IQ4_NL, GK_IQ4_XS};

/* Scheme i of all that can be named; false past the last. */
static bool nth_scheme(size_t i, gk_scheme *out)
{
    static const unsigned group[] = {32, 64, 128, 0};
    const size_t n_named = sizeof named / sizeof named[0];
    const size_t n_casts = sizeof casts / sizeof casts[0];

    if (i < n_named)
        *out = named[i];
    else if (i < n_named + n_casts)
        *out = gk_scheme_cast(casts[i - n_named]);
    else if ((i -= n_named + n_casts) < 16)
        *out = gk_scheme_int(i % 8 < 4 ? 4 : 8, group[i % 4], i < 8);
    else
        return false;
    return true;
}

bool gk_scheme_parse(const char *text, gk_scheme *out, gk_err *err)
{
    for (size_t i = 0; nth_scheme(i, out); i++)
        if (gk_same_word(text, out->name))
            return true;
    return gk_fail(err, GK_ERR_ARG, GK_NO_OFF,
                   "unknown scheme '%.60s'; known: keep bf16 f16 f32 "
                   "int{4,8}-{g32,g64,g128,channel}[-asym] fp8-channel fp8-block nvfp4 mxfp4, the "
                   "mixes int8 int4, and with --to gguf Q8_0 Q4_0 Q4_1 Q5_0 Q5_1 Q2_K Q3_K Q4_K "
                   "Q5_K Q6_K IQ4_NL IQ4_XS MXFP4 and llama-quantize's mixes, as Q4_K_M",
                   text);
}
