/* quant/recipe.h - which tensor becomes what.
 *
 * Ordered rules `REGEX = SCHEME`; a regex is searched in the canonical name
 * without ".weight", the first that matches wins. After the user's rules come the
 * ones that protect what must stay (norms, router, embeddings, lm_head), then
 * those of the default mix. Plain text, one rule a line, `#` comments; a line
 * `default = SCHEME` names the mix:
 *
 *     # keep the last layer
 *     layers\.63\. = keep
 *     self_attn\.  = int8-g128
 *     default      = int4-g128 */
#ifndef GK_QUANT_RECIPE_H
#define GK_QUANT_RECIPE_H

#include "formats/catalog.h"
#include "quant/scheme.h"

typedef struct gk_recipe gk_recipe;

/* Returns an empty recipe whose default is "int4". NULL and NOMEM. */
gk_recipe *gk_recipe_new(gk_err *err);
void       gk_recipe_free(gk_recipe *r);

/* Returns a recipe with the same default and rules. NULL and NOMEM. */
gk_recipe *gk_recipe_copy(const gk_recipe *r, gk_err *err);

/* Sets the default: a scheme, or a mix ("int8": int8-g128 everywhere; "int4":
 * attention int8-g128, the rest int4-g128). False and ARG. */
bool gk_recipe_default(gk_recipe *r, const char *scheme, gk_err *err);

/* Appends a rule "REGEX=SCHEME", split at its last '='. False and ARG: no '=', a
 * regex that PCRE2 refuses, a scheme that is none. */
bool gk_recipe_rule(gk_recipe *r, const char *rule, gk_err *err);

/* Appends the rules of a recipe text; name is for messages, which give the line. */
bool gk_recipe_text(gk_recipe *r, const char *text, uint64_t len, const char *name, gk_err *err);

typedef enum gk_why {
    GK_WHY_RULE,      /* a rule of the user's                        */
    GK_WHY_PROTECTED, /* norm, router, embedding, lm_head            */
    GK_WHY_DEFAULT,
    GK_WHY_NOT_MATRIX, /* no float matrix: nothing to quantize       */
    GK_WHY_WIDTH,      /* no group divides the width (set by a plan) */
} gk_why;

/* Returns the default scheme, which a mix may be. */
const gk_scheme *gk_recipe_otherwise(const gk_recipe *r);

/* Decides for one tensor; one thread a recipe. False: LIMIT (a regex that runs away), ARG (a rule
 * asks for codes where there is no matrix). */
bool gk_recipe_choose(const gk_recipe *r, const gk_tensor *t, gk_scheme *out, gk_why *why,
                      gk_err *err);

/* Appends a warning for every rule of the user's that decided no tensor so far. False:
 * NOMEM. */
bool gk_recipe_idle(const gk_recipe *r, gk_findings *out, gk_err *err);

/* Adds the recipe as text that gk_recipe_text() takes back. */
void gk_recipe_print(const gk_recipe *r, gk_text *out);

#endif
