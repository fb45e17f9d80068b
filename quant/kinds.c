/* quant/kinds.c - see the header. */
#include "quant/kinds.h"

#include <stdlib.h>
#include <string.h>

#include "formats/text.h"

size_t gk_bare_length(const char *name)
{
    const size_t n = strlen(name);

    return gk_ends_with(name, ".weight") || gk_ends_with(name, ".kernel") ? n - 7 : n;
}

const char *gk_kind_of(const char *name, bool with_expert, char out[GK_KIND_NAME], int64_t *layer)
{
    const char *end = name + gk_bare_length(name);
    size_t n = 0;

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
