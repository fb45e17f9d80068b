/* quant/recipe.c - rules, in order. */
#include "quant/recipe.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "formats/pattern.h"
#include "quant/gguf_mix.h"
#include "quant/kinds.h"

#define MAX_NAME 512 /* of a tensor's name a regex sees no more */

typedef struct rule {
    uint64_t    hits; /* tensors it decided */
    gk_pattern *pattern;
    const char *regex;
    gk_scheme   scheme;
    gk_why      why;
} rule;

struct gk_recipe {
    gk_arena  *arena;
    rule      *row; /* the user's */
    uint64_t   n, cap;
    rule       fixed[2]; /* what is protected; what a mix treats apart */
    int        n_fixed;
    gk_scheme  otherwise;
    const char *mix; /* as it was named */
};

/* A mix that is named as a whole. */
static const struct mix {
    const char *name, *regex, *scheme, *otherwise;
} mixes[] = {
    {"int8", NULL, NULL, "int8-g128"},
    /* attention is 4 % of the weights and carries most of the drift: facts in README */
    {"int4", "self_attn\\.", "int8-g128", "int4-g128"},
};

/* Norms, embeddings, head and router, as the models of the field call them. */
#define PROTECTED                                                                           \
    "(^|[._])(\\w*norm\\w*|ln_?\\w*|embed\\w*|\\w+_embd|wte|wpe|lm_head|output|router|gate" \
    "|gate_inp)$"

static const struct mix *mix_named(const char *name)
{
    for (size_t i = 0; i < sizeof mixes / sizeof mixes[0]; i++)
        if (gk_same_word(name, mixes[i].name))
            return &mixes[i];
    return NULL;
}

static bool set_rule(gk_recipe *r, rule *row, const char *regex, const char *scheme, gk_why why,
                     gk_err *err)
{
    const struct mix *mix = mix_named(scheme);

    *row = (rule){.why = why, .regex = gk_arena_str(r->arena, regex, err)};
    if (mix != NULL && mix->regex != NULL)
        return gk_fail(err, GK_ERR_ARG, GK_NO_OFF,
                       "'%s' is a mix of schemes, for --scheme alone: a rule takes one, as %s",
                       scheme, mix->otherwise);
    if (mix != NULL)
        scheme = mix->otherwise;
    return row->regex != NULL && gk_scheme_parse(scheme, &row->scheme, err)
           && (row->pattern = gk_pattern_new(regex, err)) != NULL;
}

gk_recipe *gk_recipe_new(gk_err *err)
{
    gk_recipe *r = gk_alloc(1, sizeof *r, err);

    if (r == NULL)
        return NULL;
    *r = (gk_recipe){.arena = gk_arena_new(err), .n_fixed = 1};
    if (r->arena != NULL
        && set_rule(r, &r->fixed[0], PROTECTED, "keep", GK_WHY_PROTECTED, err)
        && gk_recipe_default(r, "int4", err))
        return r;
    gk_recipe_free(r);
    return NULL;
}

void gk_recipe_free(gk_recipe *r)
{
    if (r == NULL)
        return;
    for (uint64_t i = 0; i < r->n; i++)
        gk_pattern_free(r->row[i].pattern);
    for (int i = 0; i < 2; i++)
        gk_pattern_free(r->fixed[i].pattern);
    gk_free(r->row);
    gk_arena_free(r->arena);
    gk_free(r);
}

const gk_scheme *gk_recipe_otherwise(const gk_recipe *r)
{
    return &r->otherwise;
}

/* A default that names a type of ggml's is llama-quantize's mix of that name. */
static bool set_ggml_mix(gk_recipe *r, int mix)
{
    r->otherwise = (gk_scheme){.kind = GK_SCHEME_MIX, .mix = mix, .symmetric = true};
    snprintf(r->otherwise.name, sizeof r->otherwise.name, "%s", gk_mix_name(mix));
    gk_pattern_free(r->fixed[1].pattern);
    r->fixed[1].pattern = NULL;
    r->n_fixed = 1;
    r->mix = gk_mix_name(mix);
    return true;
}

bool gk_recipe_default(gk_recipe *r, const char *scheme, gk_err *err)
{
    const struct mix *mix = mix_named(scheme);

    if (gk_mix_find(scheme) >= 0)
        return set_ggml_mix(r, gk_mix_find(scheme));
    if (!gk_scheme_parse(mix != NULL ? mix->otherwise : scheme, &r->otherwise, err))
        return false;
    gk_pattern_free(r->fixed[1].pattern);
    r->fixed[1].pattern = NULL;
    r->n_fixed = 1;
    r->mix = mix != NULL ? mix->name : gk_arena_str(r->arena, r->otherwise.name, err);
    if (r->mix == NULL)
        return false;
    if (mix == NULL || mix->regex == NULL)
        return true;
    r->n_fixed = 2;
    return set_rule(r, &r->fixed[1], mix->regex, mix->scheme, GK_WHY_DEFAULT, err);
}

static bool add_rule(gk_recipe *r, const char *regex, const char *scheme, gk_err *err)
{
    void *rows = r->row;

    if (!gk_grow(&rows, &r->cap, r->n + 1, sizeof *r->row, err))
        return false;
    r->row = rows;
    if (!set_rule(r, &r->row[r->n], regex, scheme, GK_WHY_RULE, err)) {
        gk_pattern_free(r->row[r->n].pattern);
        return false;
    }
    r->n++;
    return true;
}

gk_recipe *gk_recipe_copy(const gk_recipe *from, gk_err *err)
{
    gk_recipe *r = gk_recipe_new(err);
    bool ok = r != NULL && gk_recipe_default(r, from->mix, err);

    for (uint64_t i = 0; ok && i < from->n; i++)
        ok = add_rule(r, from->row[i].regex, from->row[i].scheme.name, err);
    if (ok)
        return r;
    gk_recipe_free(r);
    return NULL;
}

static char *trimmed(gk_recipe *r, const char *s, size_t len, gk_err *err)
{
    while (len > 0 && isspace((unsigned char)s[0])) {
        s++;
        len--;
    }
    while (len > 0 && isspace((unsigned char)s[len - 1]))
        len--;
    return gk_arena_strn(r->arena, s, len, err);
}

bool gk_recipe_rule(gk_recipe *r, const char *text, gk_err *err)
{
    const char *equals = strrchr(text, '=');

    if (equals == NULL)
        return gk_fail(err, GK_ERR_ARG, GK_NO_OFF, "rule '%s': expected REGEX=SCHEME", text);
    char *regex = trimmed(r, text, (size_t)(equals - text), err);
    char *scheme = trimmed(r, equals + 1, strlen(equals + 1), err);
    if (regex == NULL || scheme == NULL)
        return false;
    if (regex[0] == '\0')
        return gk_fail(err, GK_ERR_ARG, GK_NO_OFF, "rule '%s': the regex is empty", text);
    return add_rule(r, regex, scheme, err);
}

static bool take_line(gk_recipe *r, const char *line, gk_err *err)
{
    const char *equals = strrchr(line, '=');

    if (equals != NULL) {
        char *left = trimmed(r, line, (size_t)(equals - line), err);
        char *right = trimmed(r, equals + 1, strlen(equals + 1), err);
        if (left == NULL || right == NULL)
            return false;
        if (strcmp(left, "default") == 0)
            return gk_recipe_default(r, right, err);
    }
    return gk_recipe_rule(r, line, err);
}

bool gk_recipe_text(gk_recipe *r, const char *text, uint64_t len, const char *name, gk_err *err)
{
    const char *end = text + len;
    unsigned number = 0;

    while (text < end) {
        const char *stop = memchr(text, '\n', (size_t)(end - text));
        const size_t n = (size_t)((stop != NULL ? stop : end) - text);
        gk_err own = {0};
        char *line = trimmed(r, text, n, err);
        if (line == NULL)
            return false;
        number++;
        if (line[0] != '\0' && line[0] != '#' && !take_line(r, line, &own)) {
            gk_fail(err, own.code, (uint64_t)(len - (uint64_t)(end - text)), "line %u: %s", number,
                    own.msg);
            return gk_fail_at(err, name, NULL);
        }
        text += n + 1;
    }
    return true;
}

/* The name a regex sees. */
static void short_name(const char *name, char out[MAX_NAME])
{
    size_t n = gk_bare_length(name);

    if (n >= MAX_NAME)
        n = MAX_NAME - 1;
    memcpy(out, name, n);
    out[n] = '\0';
}

static bool is_float_matrix(const gk_tensor *t)
{
    return t->ndim == 2
           && (t->scheme != NULL || gk_dtype_get((gk_dtype)t->dtype)->is_float);
}

bool gk_recipe_choose(const gk_recipe *r, const gk_tensor *t, gk_scheme *out, gk_why *why,
                      gk_err *err)
{
    char name[MAX_NAME];
    const rule *hit = NULL;
    bool yes = false;

    short_name(t->name, name);
    for (uint64_t i = 0; hit == NULL && i < r->n + (uint64_t)r->n_fixed; i++) {
        const rule *row = i < r->n ? &r->row[i] : &r->fixed[i - r->n];
        if (!gk_pattern_match(row->pattern, name, &yes, err))
            return gk_fail_at(err, NULL, t->name);
        if (yes)
            hit = row;
        if (yes && i < r->n)
            r->row[i].hits++;
    }
    *out = hit != NULL ? hit->scheme : r->otherwise;
    *why = hit != NULL ? hit->why : GK_WHY_DEFAULT;
    if (out->kind == GK_SCHEME_KEEP || is_float_matrix(t))
        return true;
    if (out->kind == GK_SCHEME_CAST && gk_dtype_get((gk_dtype)t->dtype)->is_float)
        return true;
    if (*why == GK_WHY_RULE) {
        gk_fail(err, GK_ERR_ARG, GK_NO_OFF,
                "the rule '%s' asks for %s, but this is no float matrix", hit->regex, out->name);
        return gk_fail_at(err, NULL, t->name);
    }
    *why = GK_WHY_NOT_MATRIX;
    return gk_scheme_parse("keep", out, err);
}

bool gk_recipe_idle(const gk_recipe *r, gk_findings *out, gk_err *err)
{
    for (uint64_t i = 0; i < r->n; i++)
        if (r->row[i].hits == 0
            && !gk_findings_addf(out, "rule", GK_WARN, NULL, NULL, err,
                                 "no tensor is left for the rule '%s': none matches, or earlier "
                                 "rules took all", r->row[i].regex))
            return false;
    return true;
}

/* A regex that gk_recipe_text() would not take for one is spelt otherwise. */
static void print_regex(const char *regex, gk_text *out)
{
    if (strcmp(regex, "default") == 0)
        regex = "(?:default)";
    if (regex[0] == '#')
        gk_text_char(out, '\\');
    for (; *regex != '\0'; regex++)
        if (*regex == '\n')
            gk_text_str(out, "\\n");
        else
            gk_text_char(out, *regex);
}

void gk_recipe_print(const gk_recipe *r, gk_text *out)
{
    for (uint64_t i = 0; i < r->n; i++) {
        print_regex(r->row[i].regex, out);
        gk_text_printf(out, " = %s\n", r->row[i].scheme.name);
    }
    gk_text_printf(out, "default = %s\n", r->mix);
}
