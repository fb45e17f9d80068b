/* formats/names.c - open addressing, at most half full. */
#include "formats/names.h"

#include <string.h>

#include "formats/reader.h"

static const char **slot_of(const gk_names *s, const char *name)
{
    uint64_t at = gk_name_hash(name) & (s->n_slots - 1);

    while (s->slot[at] != NULL && strcmp(s->slot[at], name) != 0)
        at = (at + 1) & (s->n_slots - 1);
    return &s->slot[at];
}

bool gk_names_enter(gk_names *s, const char *name, bool *twice, gk_err *err)
{
    if ((s->n + 1) * 2 > s->n_slots) {
        gk_names larger = {.n_slots = s->n_slots == 0 ? 256 : s->n_slots * 2, .n = s->n};
        larger.slot = gk_alloc(larger.n_slots, sizeof *larger.slot, err);
        if (larger.slot == NULL)
            return false;
        for (uint64_t i = 0; i < larger.n_slots; i++)
            larger.slot[i] = NULL;
        for (uint64_t i = 0; i < s->n_slots; i++)
            if (s->slot[i] != NULL)
                *slot_of(&larger, s->slot[i]) = s->slot[i];
        gk_free(s->slot);
        *s = larger;
    }
    const char **slot = slot_of(s, name);
    *twice = *slot != NULL;
    s->n += !*twice;
    *slot = name;
    return true;
}

void gk_names_free(gk_names *s)
{
    gk_free(s->slot);
    *s = (gk_names){0};
}
