/* formats/json.c - the only file that knows jansson. The text is walked by our
 * own cursor first (depth, UTF-8, string lengths), so jansson recurses no deeper
 * than GK_MAX_JSON_DEPTH whatever the file says. */
#include "formats/json.h"

#include <jansson.h>
#include <string.h>

#include "formats/scan.h"

static const json_t *in(const gk_json *node)
{
    return (const json_t *)node;
}

/* jansson calls some of its own failures to allocate errors of syntax. Its scanner does not
 * notice when the text of a token could not grow and asserts at the end of a number (2.14,
 * load.c, lex_unget_unsave): such growth, always a power of two, is then served from what was
 * set aside, so that parsing ends, and fails for memory. Enough for numbers of 16,000 digits. */
#define SPARE_BYTES 65536u

static _Thread_local bool memory_ended;
static _Thread_local unsigned char *spare; /* while parsing */
static _Thread_local size_t spare_used;

static void *jansson_alloc(size_t n)
{
    void *p = gk_alloc(n, 1, NULL);

    if (p != NULL)
        return p;
    memory_ended = true;
    if (spare == NULL || n < 32 || (n & (n - 1)) != 0 || n > SPARE_BYTES - spare_used)
        return NULL;
    spare_used += n;
    return spare + spare_used - n;
}

static void jansson_free(void *p)
{
    if (spare == NULL || (uintptr_t)p - (uintptr_t)spare >= SPARE_BYTES)
        gk_free(p);
}

/* json_loadb() with our memory. NULL: memory_ended says whether that was it. */
static json_t *parse(const char *text, uint64_t len, json_error_t *reason)
{
    spare = gk_alloc(SPARE_BYTES, 1, NULL);
    spare_used = 0;
    memory_ended = spare == NULL;
    json_t *root = memory_ended ? NULL
                                : json_loadb(text, (size_t)len,
                                             JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, reason);
    if (memory_ended) {
        json_decref(root);
        root = NULL;
    }
    unsigned char *const held = spare;
    spare = NULL;
    gk_free(held);
    return root;
}

static void use_our_memory(void)
{
    static bool done;

    if (!__atomic_exchange_n(&done, true, __ATOMIC_ACQ_REL))
        json_set_alloc_funcs(jansson_alloc, jansson_free);
}

/* A copy of the text in which an integer of 19 digits or more is a real, "e0" behind it: jansson
 * refuses integers past 64 bits, and transformers writes one into most of its
 * tokenizer_config.json ("model_max_length": 1000000000000000019884624838656). Who asks for an
 * integer there is told that it is none. */
static char *without_long_integers(const char *text, size_t len, size_t *n)
{
    char *out = gk_alloc(len + len / 8 + 2, 1, NULL);
    bool in_string = false;

    *n = 0;
    for (size_t i = 0; out != NULL && i < len;) {
        size_t digits = 0;
        while (!in_string && i + digits < len && text[i + digits] >= '0' && text[i + digits] <= '9')
            digits++;
        const char after = i + digits < len ? text[i + digits] : ' ';
        const bool part = i > 0 && strchr(".eE+", text[i - 1]) != NULL; /* of a real */
        if (digits == 0 && text[i] == '"')
            in_string = !in_string;
        const size_t take = digits > 0                                    ? digits
                            : in_string && text[i] == '\\' && i + 1 < len ? 2
                                                                          : 1;
        memcpy(out + *n, text + i, take);
        *n += take;
        i += take;
        if (digits >= 19 && !part && strchr(".eE", after) == NULL) {
            out[(*n)++] = 'e';
            out[(*n)++] = '0';
        }
    }
    return out;
}

static json_t *load(const char *text, uint64_t len, json_error_t *reason)
{
    json_t *root = parse(text, len, reason);
    json_error_t again = {0};
    size_t n;

    if (root != NULL || memory_ended || json_error_code(reason) != json_error_numeric_overflow)
        return root;
    char *copy = without_long_integers(text, (size_t)len, &n);
    memory_ended = copy == NULL;
    if (copy != NULL)
        root = parse(copy, n, &again); /* *reason keeps the place in the text */
    gk_free(copy);
    return root;
}

gk_json *gk_json_parse(const char *text, uint64_t len, const char *name, gk_err *err)
{
    json_error_t reason = {0}; /* of the code, jansson sets no default */
    gk_scan s;

    use_our_memory();
    if (len > GK_MAX_JSON_BYTES) {
        gk_fail(err, GK_ERR_LIMIT, 0, "%llu bytes of JSON, at most %u are read",
                (unsigned long long)len, GK_MAX_JSON_BYTES);
        return gk_fail_at(err, name, NULL), NULL;
    }
    gk_scan_mem(&s, text, len, err);
    if (gk_scan_peek(&s) != '{')
        gk_scan_fail(&s, len == 0 ? "the file is empty, expected an object '{'"
                                  : "expected an object '{' at the top level");
    if (!gk_scan_skip(&s) || !gk_scan_done(&s))
        return gk_fail_at(err, name, NULL), NULL;
    json_t *root = load(text, len, &reason);
    if (root == NULL) {
        gk_fail(err, memory_ended ? GK_ERR_NOMEM : GK_ERR_FORMAT, (uint64_t)reason.position,
                "JSON: line %d, column %d: %s", reason.line, reason.column,
                memory_ended ? "out of memory" : reason.text);
        return gk_fail_at(err, name, NULL), NULL;
    }
    return (gk_json *)root;
}

gk_json *gk_json_load(const char *path, gk_err *err)
{
    uint64_t len = 0;
    char *text = gk_file_slurp(path, GK_MAX_JSON_BYTES, &len, err);
    gk_json *root = text == NULL ? NULL : gk_json_parse(text, len, gk_path_base(path), err);

    gk_free(text);
    return root;
}

void gk_json_free(gk_json *root)
{
    json_decref((json_t *)root);
}

const gk_json *gk_json_get(const gk_json *node, const char *key)
{
    return (const gk_json *)json_object_get(in(node), key);
}

bool gk_json_is_object(const gk_json *node)
{
    return json_is_object(in(node));
}

bool gk_json_is_array(const gk_json *node)
{
    return json_is_array(in(node));
}

bool gk_json_is_null(const gk_json *node)
{
    return node == NULL || json_is_null(in(node));
}

const char *gk_json_text(const gk_json *node, uint64_t *len)
{
    const char *text = json_string_value(in(node));

    if (text != NULL && len != NULL)
        *len = json_string_length(in(node));
    return text;
}

bool gk_json_as_uint(const gk_json *node, uint64_t *out)
{
    if (!json_is_integer(in(node)) || json_integer_value(in(node)) < 0)
        return false;
    *out = (uint64_t)json_integer_value(in(node));
    return true;
}

bool gk_json_as_real(const gk_json *node, double *out)
{
    if (!json_is_number(in(node)))
        return false;
    *out = json_number_value(in(node));
    return true;
}

bool gk_json_as_bool(const gk_json *node, bool *out)
{
    if (!json_is_boolean(in(node)))
        return false;
    *out = json_is_true(in(node));
    return true;
}

uint64_t gk_json_count(const gk_json *node)
{
    return json_is_object(in(node)) ? json_object_size(in(node)) : json_array_size(in(node));
}

const gk_json *gk_json_at(const gk_json *array, uint64_t i)
{
    return (const gk_json *)json_array_get(in(array), (size_t)i);
}

bool gk_json_next(const gk_json *object, void **iter, const char **key, const gk_json **value)
{
    /* jansson's iterators want a mutable object, but do not change it */
    json_t *o = (json_t *)(uintptr_t)object;

    *iter = *iter == NULL ? json_object_iter(o) : json_object_iter_next(o, *iter);
    if (*iter == NULL)
        return false;
    *key = json_object_iter_key(*iter);
    *value = (const gk_json *)json_object_iter_value(*iter);
    return true;
}

static int dump_into(const char *bytes, size_t n, void *t)
{
    gk_text_add(t, bytes, n);
    return 0;
}

void gk_json_copy(gk_text *t, const char *key, const gk_json *node)
{
    gk_text value = {0};

    if (node == NULL)
        gk_text_str(&value, "null");
    else
        json_dump_callback(in(node), dump_into, &value, JSON_ENCODE_ANY | JSON_REAL_PRECISION(16));
    gk_json_raw(t, key, value.data, value.len);
    t->failed |= value.failed;
    gk_text_free(&value);
}

static bool is_dropped(const gk_text *key, const char *const *drop, int n_drop)
{
    for (int i = 0; i < n_drop; i++)
        if (strlen(drop[i]) == key->len && memcmp(drop[i], key->data, (size_t)key->len) == 0)
            return true;
    return false;
}

bool gk_json_splice(gk_text *out, const char *text, uint64_t len, const char *const *drop,
                    int n_drop, const char *extra, gk_err *err)
{
    gk_text key = {0};
    gk_scan s;
    bool any = false, kept = false; /* a member; the one before */

    gk_scan_mem(&s, text, len, err);
    bool ok = gk_scan_open(&s, '{');
    gk_text_add(out, text, s.pos);
    uint64_t end = s.pos; /* of the last member kept, where the next one's comma goes */
    while (ok && gk_scan_more(&s)) {
        /* white space before a comma belongs to what stands before, after it to the member */
        uint64_t comma = end;
        while (comma < s.pos && text[comma] != ',')
            comma++;
        const uint64_t begin = comma < s.pos ? comma + 1 : end;
        if (kept)
            gk_text_add(out, text + end, comma - end);
        ok = gk_scan_key(&s, &key) && gk_scan_skip(&s);
        if (ok && !is_dropped(&key, drop, n_drop)) {
            if (any)
                gk_text_char(out, ',');
            gk_text_add(out, text + begin, s.pos - begin);
            any = true;
            kept = true;
        } else {
            kept = false;
        }
        end = s.pos;
    }
    ok = ok && !s.failed && gk_scan_done(&s);
    if (ok && extra[0] != '\0')
        gk_text_printf(out, "%s%s", any ? "," : "", extra);
    if (ok) {
        /* what stood between the last member and the brace, then the rest */
        uint64_t tail = len;
        while (tail > end && text[tail - 1] != '}')
            tail--;
        uint64_t space = tail - 1;
        while (space > end && strchr(" \t\r\n", text[space - 1]) != NULL)
            space--;
        gk_text_add(out, text + space, len - space);
    }
    gk_text_free(&key);
    return ok && gk_text_ok(out, err);
}
