/* formats/pickle_node.c - looking at what a pickle held. */
#include <stdio.h>
#include <string.h>

#include "formats/pickle.h"

static bool module_fits(const char *module, const char *pattern)
{
    const size_t n = strlen(pattern);

    if (n > 0 && pattern[n - 1] == '*')
        return strncmp(module, pattern, n - 1) == 0;
    return strcmp(module, pattern) == 0;
}

bool gk_pickle_next(const gk_pickled *node, gk_pickle_iter *it, const gk_pickled **item)
{
    if (!it->begun) {
        *it = (gk_pickle_iter){.run = node->first, .begun = true};
    } else if (it->run != NULL && it->i == it->run->n) {
        it->run = it->run->next;
        it->i = 0;
    }
    if (it->run == NULL)
        return false;
    *item = it->run->item[it->i++]; /* no run is empty */
    return true;
}

const gk_pickled *gk_pickle_item(const gk_pickled *tuple, uint64_t i)
{
    if (tuple == NULL || tuple->kind != GK_PICKLE_TUPLE || i >= tuple->n_items)
        return NULL;
    return tuple->first->item[i]; /* a tuple is made at once */
}

const gk_pickled *gk_pickle_get(const gk_pickled *dict, const char *key)
{
    const gk_pickled *name, *value, *found = NULL;
    gk_pickle_iter it = {0};

    while (gk_pickle_next(dict, &it, &name) && gk_pickle_next(dict, &it, &value))
        if (name->kind == GK_PICKLE_TEXT && name->text != NULL && strcmp(name->text, key) == 0
            && name->len == strlen(key))
            found = value;
    return found;
}

bool gk_pickle_is_global(const gk_pickled *node, const char *module, const char *name)
{
    return node != NULL && node->kind == GK_PICKLE_GLOBAL && strcmp(node->name, name) == 0
           && module_fits(node->module, module);
}

bool gk_pickle_is_call(const gk_pickled *node, const char *module, const char *name)
{
    return node != NULL && node->kind == GK_PICKLE_CALL
           && gk_pickle_is_global(node->callable, module, name);
}

bool gk_pickle_as_uint(const gk_pickled *node, uint64_t *out)
{
    if (node == NULL || node->kind != GK_PICKLE_INT || node->integer < 0)
        return false;
    *out = (uint64_t)node->integer;
    return true;
}

void gk_pickle_say(const gk_pickled *node, char out[GK_PICKLE_SAYS])
{
    static const char *const names[] = {
        [GK_PICKLE_NONE] = "None",      [GK_PICKLE_BOOL] = "a boolean",
        [GK_PICKLE_INT] = "an integer", [GK_PICKLE_LONG] = "a long integer",
        [GK_PICKLE_REAL] = "a number",  [GK_PICKLE_TEXT] = "a string",
        [GK_PICKLE_BYTES] = "bytes",    [GK_PICKLE_TUPLE] = "a tuple",
        [GK_PICKLE_LIST] = "a list",    [GK_PICKLE_DICT] = "a dict",
        [GK_PICKLE_SET] = "a set",      [GK_PICKLE_GLOBAL] = "the global",
        [GK_PICKLE_CALL] = "a call",    [GK_PICKLE_PERSISTENT] = "a persistent id",
    };
    const gk_pickled *global = node;

    if (node != NULL && node->kind == GK_PICKLE_CALL)
        global = node->callable;
    if (node == NULL)
        snprintf(out, GK_PICKLE_SAYS, "nothing");
    else if (global->kind == GK_PICKLE_GLOBAL)
        snprintf(out, GK_PICKLE_SAYS, "%s %s.%s", global == node ? "the global" : "a call of",
                 global->module, global->name);
    else
        snprintf(out, GK_PICKLE_SAYS, "%s", names[node->kind]);
}
