/* formats/names.h - a set of names, to notice the one that stands twice. */
#ifndef GK_FORMATS_NAMES_H
#define GK_FORMATS_NAMES_H

#include "formats/err.h"

/* All zero is the empty set. It owns no name. */
typedef struct gk_names {
    const char **slot;
    uint64_t n_slots, n;
} gk_names;

/* Enters a name, which must outlive the set; *twice tells that it stood there already. False
 * and NOMEM leaves the set as it was. */
bool gk_names_enter(gk_names *s, const char *name, bool *twice, gk_err *err);

/* Empties the set. */
void gk_names_free(gk_names *s);

#endif
