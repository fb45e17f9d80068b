/* cmd/pattern.h - the regex of --tensors, on PCRE2. */
#ifndef GK_CMD_PATTERN_H
#define GK_CMD_PATTERN_H

#include "formats/err.h"

typedef struct gk_pattern gk_pattern;

/* Compiles a regex (UTF-8), to be searched anywhere in a name. NULL and *err: ARG
 * with the place in the message, NOMEM. Free with gk_pattern_free(). */
gk_pattern *gk_pattern_new(const char *regex, gk_err *err);
void        gk_pattern_free(gk_pattern *p);

/* Sets *yes; a NULL pattern matches every name. Bytes of a name that are not UTF-8
 * match nothing. False and LIMIT past the match limit. One thread a pattern. */
bool gk_pattern_match(gk_pattern *p, const char *name, bool *yes, gk_err *err);

#endif
