/* quant/kinds.c - see the header. */
#include "quant/kinds.h"

#include <stdlib.h>
#include <string.h>

const char *gk_kind_of(const char *name, bool with_expert, char out[GK_KIND_NAME], int64_t *layer)
{
    const size_t len = strlen(name);
    const char *end = name + len;
    size_t n = 0;

    if (len > 7 && strcmp(end - 7, ".weight") == 0)
        end -= 7;
    *layer = -1;
    for (const char *s = name; s < end;) {
        const size_t digits = strspn(s, "0123456789");
        const bool whole = digits > 0 && digits < 10 && (s == name || s[-1] == '.')
                           && (s + digits == end || s[digits] == '.');
        if (whole && (*layer < 0 || !with_expert)) {
            if (*layer < 0)
                *layer = strtol(s, NULL, 10);
            if (n + 1 < GK_KIND_NAME)
                out[n++] = '*';
            s += digits;
        } else {
            if (n + 1 < GK_KIND_NAME)
                out[n++] = *s;
            s++;
        }
    }
    out[n] = '\0';
    return out;
}
