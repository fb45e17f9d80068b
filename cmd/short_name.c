/* cmd/short_name.c - see the header. */
#include "cmd/short_name.h"

#include <stdio.h>
#include <string.h>

/* Skips "N." and returns what follows, or NULL. */
static const char *past_number(const char *s)
{
    const size_t n = strspn(s, "0123456789");

    return n > 0 && s[n] == '.' ? s + n + 1 : NULL;
}

void gk_short_name(const char *name, char *out, size_t size)
{
    static const char layers[] = "model.layers.", experts[] = ".experts.";
    const char *rest = name, *after;
    const char *prefix = "";

    if (strncmp(name, layers, strlen(layers)) == 0
        && (after = past_number(name + strlen(layers))) != NULL) {
        prefix = "L.";
        rest = after;
    }
    const char *mark = strstr(rest, experts);
    size_t left = strlen(rest);
    if (left > 7 && strcmp(rest + left - 7, ".weight") == 0)
        left -= 7;
    if (mark != NULL && (after = past_number(mark + strlen(experts))) != NULL) {
        const size_t head = (size_t)(mark - rest) + strlen(experts);
        const size_t skipped = (size_t)(after - rest);
        if (skipped <= left) {
            snprintf(out, size, "%s%.*sE.%.*s", prefix, (int)head, rest, (int)(left - skipped),
                     after);
            return;
        }
    }
    snprintf(out, size, "%s%.*s", prefix, (int)left, rest);
}
