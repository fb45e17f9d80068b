/* quant/scheme.c - names of schemes. */
#include "quant/scheme.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "formats/checked.h"

gk_scheme gk_scheme_int(int bits, uint64_t group, bool symmetric)
{
    gk_scheme s = {.kind = GK_SCHEME_INT, .bits = bits, .group = group, .symmetric = symmetric};
    const char *asym = symmetric ? "" : "-asym";

    if (group == 0)
        snprintf(s.name, sizeof s.name, "int%d-channel%s", bits, asym);
    else
        snprintf(s.name, sizeof s.name, "int%d-g%u%s", bits, (unsigned)(group & 0xFFFFFFFF), asym);
    return s;
}

bool gk_scheme_same(const gk_scheme *a, const gk_scheme *b)
{
    return a->kind == b->kind && a->cast == b->cast && a->bits == b->bits && a->group == b->group
           && a->symmetric == b->symmetric;
}

uint64_t gk_scheme_groups(const gk_scheme *s, uint64_t n_cols)
{
    return s->group == 0 ? 1 : gk_div_up(n_cols, s->group);
}

/* Scheme i of all that can be named; false past the last. */
static bool nth_scheme(int i, gk_scheme *out)
{
    static const struct {
        const char *name;
        gk_scheme_kind kind;
        gk_dtype cast;
    } plain[] = {{"keep", GK_SCHEME_KEEP, GK_BOOL},
                 {"bf16", GK_SCHEME_CAST, GK_BF16},
                 {"f16", GK_SCHEME_CAST, GK_F16},
                 {"f32", GK_SCHEME_CAST, GK_F32}};
    static const unsigned group[] = {32, 64, 128, 0};

    if (i < 4) {
        *out = (gk_scheme){.kind = plain[i].kind, .cast = plain[i].cast, .symmetric = true};
        snprintf(out->name, sizeof out->name, "%s", plain[i].name);
        return true;
    }
    i -= 4;
    if (i >= 16)
        return false;
    *out = gk_scheme_int(i % 8 < 4 ? 4 : 8, group[i % 4], i < 8);
    return true;
}

static bool same_word(const char *a, const char *b)
{
    for (; *a != '\0' && tolower((unsigned char)*a) == *b; a++)
        b++;
    return *a == '\0' && *b == '\0';
}

bool gk_scheme_parse(const char *text, gk_scheme *out, gk_err *err)
{
    for (int i = 0; nth_scheme(i, out); i++)
        if (same_word(text, out->name))
            return true;
    return gk_fail(err, GK_ERR_ARG, GK_NO_OFF,
                   "unknown scheme '%.60s'; known: keep bf16 f16 f32 "
                   "int{4,8}-{g32,g64,g128,channel}[-asym], and the mixes int8 int4",
                   text);
}
