/* cmd/pattern.c - the regex of --tensors, on PCRE2. */
#include "cmd/pattern.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <string.h>

#include "formats/arena.h"

#define MATCH_LIMIT 1000000u /* steps of PCRE2; names are short, honest patterns take dozens */
#define HEAP_LIMIT  20000u   /* KiB */

struct gk_pattern {
    pcre2_code          *code;
    pcre2_match_data    *match;
    pcre2_match_context *context;
};

static bool prepare(gk_pattern *p, const char *regex, gk_err *err)
{
    int code;
    PCRE2_SIZE at;
    PCRE2_UCHAR why[128];

    p->code = pcre2_compile((PCRE2_SPTR)regex, PCRE2_ZERO_TERMINATED,
                            PCRE2_UTF | PCRE2_MATCH_INVALID_UTF, &code, &at, NULL);
    if (!p->code) {
        if (pcre2_get_error_message(code, why, sizeof why) < 0)
            why[0] = '\0';
        return gk_fail(err, GK_ERR_ARG, GK_NO_OFF, "regex '%s': %s at character %zu", regex,
                       (const char *)why, (size_t)at);
    }
    p->match = pcre2_match_data_create(1, NULL);
    p->context = pcre2_match_context_create(NULL);
    if (!p->match || !p->context)
        return gk_fail(err, GK_ERR_NOMEM, GK_NO_OFF, "no memory for a regex");
    pcre2_set_match_limit(p->context, MATCH_LIMIT);
    pcre2_set_heap_limit(p->context, HEAP_LIMIT);
    return true;
}

gk_pattern *gk_pattern_new(const char *regex, gk_err *err)
{
    gk_pattern *p = gk_alloc(1, sizeof *p, err);
    if (!p)
        return NULL;
    memset(p, 0, sizeof *p);
    if (prepare(p, regex, err))
        return p;
    gk_pattern_free(p);
    return NULL;
}

void gk_pattern_free(gk_pattern *p)
{
    if (!p)
        return;
    pcre2_code_free(p->code);
    pcre2_match_data_free(p->match);
    pcre2_match_context_free(p->context);
    gk_free(p);
}

bool gk_pattern_match(gk_pattern *p, const char *name, bool *yes, gk_err *err)
{
    *yes = true;
    if (!p)
        return true;
    int found = pcre2_match(p->code, (PCRE2_SPTR)name, strlen(name), 0, 0, p->match, p->context);
    *yes = found >= 0;
    if (found >= 0 || found == PCRE2_ERROR_NOMATCH)
        return true;
    return gk_fail(err, GK_ERR_LIMIT, GK_NO_OFF,
                   "the regex takes more than %u steps on the name '%s'", MATCH_LIMIT, name);
}
