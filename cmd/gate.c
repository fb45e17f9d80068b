/* cmd/gate.c - a comma list of `path op number`. */
#include "cmd/gate.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/json.h"

typedef struct condition {
    char   path[128];
    char   op[3];
    double bound;
} condition;

/* Takes one condition; returns what follows it, NULL and ARG. */
static const char *take(const char *at, condition *c, gk_err *err)
{
    char *end;

    at += strspn(at, " ");
    const size_t path = strcspn(at, "<>,"), left = strcspn(at, ",");
    if (path == 0 || path >= sizeof c->path || at[path] == ',' || at[path] == '\0')
        return gk_fail(err, GK_ERR_ARG, GK_NO_OFF, "gate '%.*s': expected path, < <= > or >=, "
                       "number", (int)left, at), NULL;
    snprintf(c->path, sizeof c->path, "%.*s", (int)strcspn(at, " <>"), at);
    at += path;
    c->op[0] = *at++;
    c->op[1] = c->op[2] = '\0';
    if (*at == '=')
        c->op[1] = *at++;
    c->bound = strtod(at, &end);
    const char *rest = end + strspn(end, " ");
    if (end == at || (*rest != ',' && *rest != '\0') || isnan(c->bound))
        return gk_fail(err, GK_ERR_ARG, GK_NO_OFF, "gate: expected a number after '%s%s'", c->path,
                       c->op), NULL;
    return *rest == ',' ? rest + 1 : rest;
}

bool gk_gate_parse(const char *gate, gk_err *err)
{
    condition c;

    while (gate != NULL && *gate != '\0')
        if ((gate = take(gate, &c, err)) == NULL)
            return false;
    return true;
}

static const gk_json *find(const gk_json *node, const char *path)
{
    char key[128];

    while (node != NULL && *path != '\0') {
        const size_t n = strcspn(path, ".");
        snprintf(key, sizeof key, "%.*s", (int)n, path);
        node = gk_json_is_array(node) ? gk_json_at(node, strtoull(key, NULL, 10))
                                      : gk_json_get(node, key);
        path += path[n] == '.' ? n + 1 : n;
    }
    return node;
}

static bool holds(double v, const condition *c)
{
    const bool equal = c->op[1] == '=';

    if (c->op[0] == '<')
        return equal ? v <= c->bound : v < c->bound;
    return equal ? v >= c->bound : v > c->bound;
}

bool gk_gate_met(const gk_cli *cli, const char *gate, const char *json, uint64_t len, gk_err *err)
{
    gk_json *root = gk_json_parse(json, len, "the report", err);
    condition c;
    bool met = root != NULL;

    while (root != NULL && *gate != '\0') {
        double v;
        gate = take(gate, &c, err);
        if (gate == NULL)
            break;
        if (!gk_json_as_real(find(root, c.path), &v)) {
            gk_cli_talk(cli, "gate not met: %s is no number in the report", c.path);
            met = false;
        } else if (!holds(v, &c)) {
            gk_cli_talk(cli, "gate not met: %s is %.6g, not %s %.6g", c.path, v, c.op, c.bound);
            met = false;
        }
    }
    gk_json_free(root);
    return met && gate != NULL;
}
