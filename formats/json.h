/* formats/json.h - small JSON files (config, index, metadata) as a tree.
 *
 * jansson parses; this wrapper sets the bounds: at most GK_MAX_JSON_BYTES, depth
 * GK_MAX_JSON_DEPTH, no duplicate keys. The tree is read only. Keep the text:
 * what is written back is the original bytes, not a new print of the tree. */
#ifndef GK_FORMATS_JSON_H
#define GK_FORMATS_JSON_H

#include "formats/text.h"

#define GK_MAX_JSON_BYTES (64u << 20)

typedef struct gk_json gk_json; /* a node; owned by its root */

/* Returns the tree of an object, or NULL and FORMAT/LIMIT/NOMEM with the byte
 * offset; `name` is the file for messages. Free the root with gk_json_free(). */
gk_json *gk_json_parse(const char *text, uint64_t len, const char *name, gk_err *err);
gk_json *gk_json_load(const char *path, gk_err *err);
void     gk_json_free(gk_json *root);

/* Returns the member, or NULL when absent (or node is no object, or NULL). */
const gk_json *gk_json_get(const gk_json *node, const char *key);

bool gk_json_is_object(const gk_json *node);
bool gk_json_is_array(const gk_json *node);
bool gk_json_is_null(const gk_json *node); /* also true for NULL (absent) */

/* Returns the text of a string (NUL-terminated, may hold NULs: *len), or NULL. */
const char *gk_json_text(const gk_json *node, uint64_t *len);
/* Returns true and the value: an integer >= 0; any number; a boolean. */
bool gk_json_as_uint(const gk_json *node, uint64_t *out);
bool gk_json_as_real(const gk_json *node, double *out);
bool gk_json_as_bool(const gk_json *node, bool *out);

uint64_t       gk_json_count(const gk_json *node); /* members or elements */
const gk_json *gk_json_at(const gk_json *array, uint64_t i);

/* Walks an object's members in file order: start with *iter NULL. False at the end. */
bool gk_json_next(const gk_json *object, void **iter, const char **key, const gk_json **value);

/* Adds a node as JSON text to t under key (NULL: none). */
void gk_json_copy(gk_text *t, const char *key, const gk_json *node);

/* Adds the JSON object `text` to out with the members named in drop[] left out
 * and `extra` (members without braces, may be "") put last. All other bytes,
 * white space and digits stay as they were. False and FORMAT. */
bool gk_json_splice(gk_text *out, const char *text, uint64_t len, const char *const *drop,
                    int n_drop, const char *extra, gk_err *err);

#endif
