/* formats/text.c - growing text and the JSON writer. */
#include "formats/text.h"

#include <ctype.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void gk_text_free(gk_text *t)
{
    gk_free(t->data);
    *t = (gk_text){0};
}

void gk_text_clear(gk_text *t)
{
    t->len = 0;
    t->failed = false;
    if (t->data != NULL)
        t->data[0] = '\0';
}

/* Room for len more bytes and the NUL. */
static bool make_room(gk_text *t, uint64_t len)
{
    void *data = t->data;

    t->failed = len > UINT64_MAX - t->len - 1
                || !gk_grow(&data, &t->cap, t->len + len + 1, 1, NULL);
    t->data = data;
    return !t->failed;
}

void gk_text_add(gk_text *t, const void *bytes, uint64_t len)
{
    if (t->failed || (len >= t->cap - t->len && !make_room(t, len)))
        return;
    if (len > 0)
        memcpy(t->data + t->len, bytes, (size_t)len);
    t->len += len;
    t->data[t->len] = '\0';
}

void gk_text_str(gk_text *t, const char *s)
{
    gk_text_add(t, s, strlen(s));
}

void gk_text_char(gk_text *t, char c)
{
    if (t->failed || (t->cap - t->len <= 1 && !make_room(t, 1)))
        return;
    t->data[t->len++] = c;
    t->data[t->len] = '\0';
}

void gk_text_printf(gk_text *t, const char *fmt, ...)
{
    char small[256];
    va_list args, again;

    va_start(args, fmt);
    va_copy(again, args);
    int len = vsnprintf(small, sizeof small, fmt, args);
    va_end(args);
    if (len >= 0 && (size_t)len < sizeof small) {
        gk_text_add(t, small, (uint64_t)len);
    } else if (len >= 0) {
        char *large = gk_alloc((uint64_t)len + 1, 1, NULL);
        if (large == NULL) {
            t->failed = true;
        } else {
            vsnprintf(large, (size_t)len + 1, fmt, again);
            gk_text_add(t, large, (uint64_t)len);
            gk_free(large);
        }
    }
    va_end(again);
}

bool gk_text_ok(const gk_text *t, gk_err *err)
{
    return t->failed ? gk_fail(err, GK_ERR_NOMEM, GK_NO_OFF, "out of memory for text") : true;
}

int gk_utf8_len(const char *s, uint64_t len)
{
    const unsigned char *u = (const unsigned char *)s;

    if (len == 0)
        return 0;
    if (u[0] < 0x80)
        return 1;
    int n = u[0] >= 0xF0 ? 4 : u[0] >= 0xE0 ? 3 : 2;
    if (u[0] < 0xC2 || u[0] > 0xF4 || (uint64_t)n > len)
        return 0;
    for (int i = 1; i < n; i++)
        if ((u[i] & 0xC0) != 0x80)
            return 0;
    /* overlong forms, surrogates, and what lies above U+10FFFF */
    if ((u[0] == 0xE0 && u[1] < 0xA0) || (u[0] == 0xED && u[1] > 0x9F)
        || (u[0] == 0xF0 && u[1] < 0x90) || (u[0] == 0xF4 && u[1] > 0x8F))
        return 0;
    return n;
}

static uint32_t utf8_code(const char *s, int n)
{
    const unsigned char *u = (const unsigned char *)s;

    if (n == 1)
        return u[0];
    uint32_t code = u[0] & (0xFFu >> (n + 1));
    for (int i = 1; i < n; i++)
        code = code << 6 | (u[i] & 0x3Fu);
    return code;
}

static bool terminal_obeys(uint32_t code)
{
    return code < 0x20 || (code >= 0x7F && code < 0xA0) || (code >= 0x200B && code <= 0x200F)
           || (code >= 0x2028 && code <= 0x202E) || (code >= 0x2060 && code <= 0x206F)
           || code == 0xFEFF;
}

void gk_text_escaped(gk_text *t, const char *s, uint64_t len)
{
    for (uint64_t i = 0; i < len;) {
        int n = gk_utf8_len(s + i, len - i);
        uint32_t code = n > 0 ? utf8_code(s + i, n) : 0;
        if (n == 0)
            gk_text_printf(t, "\\x%02x", (unsigned char)s[i]);
        else if (!terminal_obeys(code))
            gk_text_add(t, s + i, (uint64_t)n);
        else if (code < 0x80)
            gk_text_printf(t, "\\x%02x", (unsigned)code);
        else
            gk_text_printf(t, "\\u%04x", (unsigned)code);
        i += n > 0 ? (uint64_t)n : 1;
    }
}

/* ---- JSON ---------------------------------------------------------------- */

/* How many of the first len bytes JSON writes as they are, all of them ASCII. */
static uint64_t plain_run(const char *s, uint64_t len)
{
    uint64_t n = 0;

    while (n < len && s[n] >= 0x20 && s[n] < 0x7F && s[n] != '"' && s[n] != '\\')
        n++;
    return n;
}

static void json_quote(gk_text *t, const char *s, uint64_t len)
{
    gk_text_char(t, '"');
    for (uint64_t i = 0; i < len;) {
        const uint64_t plain = plain_run(s + i, len - i);
        int n = plain > 0 ? 0 : gk_utf8_len(s + i, len - i);
        if (plain > 0)
            gk_text_add(t, s + i, plain);
        else if (n == 0)
            gk_text_str(t, "\xEF\xBF\xBD");
        else if (s[i] == '"' || s[i] == '\\')
            gk_text_printf(t, "\\%c", s[i]);
        else if (s[i] == '\n')
            gk_text_str(t, "\\n");
        else if (n == 1)
            gk_text_printf(t, "\\u%04x", (unsigned)s[i]);
        else
            gk_text_add(t, s + i, (uint64_t)n);
        i += plain > 0 ? plain : n > 0 ? (uint64_t)n : 1;
    }
    gk_text_char(t, '"');
}

static void new_line(gk_text *t)
{
    if (t->indent > 0 && t->depth > 0)
        gk_text_printf(t, "\n%*s", t->indent * t->depth, "");
}

/* A comma if something stands before it, a line, the key. */
static void begin_value(gk_text *t, const char *key)
{
    if (t->depth > 0) {
        uint64_t bit = UINT64_C(1) << (t->depth - 1);
        if (t->has_member & bit)
            gk_text_char(t, ',');
        t->has_member |= bit;
        new_line(t);
    }
    if (key != NULL) {
        json_quote(t, key, strlen(key));
        gk_text_str(t, t->indent > 0 ? ": " : ":");
    }
}

void gk_json_open(gk_text *t, const char *key, char bracket)
{
    begin_value(t, key);
    gk_text_char(t, bracket);
    if (t->depth >= 64) {
        t->failed = true;
        return;
    }
    t->depth++;
    t->has_member &= ~(UINT64_C(1) << (t->depth - 1));
}

void gk_json_close(gk_text *t, char bracket)
{
    if (t->depth == 0)
        return;
    bool any = t->has_member >> (t->depth - 1) & 1;
    t->depth--;
    if (any && t->indent > 0)
        gk_text_printf(t, "\n%*s", t->indent * t->depth, "");
    gk_text_char(t, bracket);
}

void gk_json_string_n(gk_text *t, const char *key, const char *value, uint64_t len)
{
    begin_value(t, key);
    json_quote(t, value, len);
}

void gk_json_string(gk_text *t, const char *key, const char *value)
{
    if (value == NULL)
        gk_json_raw(t, key, "null", 4);
    else
        gk_json_string_n(t, key, value, strlen(value));
}

void gk_json_uint(gk_text *t, const char *key, uint64_t value)
{
    begin_value(t, key);
    gk_text_printf(t, "%" PRIu64, value);
}

void gk_json_real(gk_text *t, const char *key, double value)
{
    char digits[40];

    if (!isfinite(value)) {
        gk_json_raw(t, key, "null", 4);
        return;
    }
    for (int precision = 1; precision <= 17; precision++) {
        snprintf(digits, sizeof digits, "%.*g", precision, value);
        if (strtod(digits, NULL) == value)
            break;
    }
    begin_value(t, key);
    gk_text_str(t, digits);
    /* readers that tell integers from reals should see a real */
    if (strspn(digits, "-0123456789") == strlen(digits))
        gk_text_str(t, ".0");
}

void gk_json_bool(gk_text *t, const char *key, bool value)
{
    gk_json_raw(t, key, value ? "true" : "false", value ? 4 : 5);
}

void gk_json_raw(gk_text *t, const char *key, const char *json, uint64_t len)
{
    begin_value(t, key);
    gk_text_add(t, json, len);
}

bool gk_same_word(const char *a, const char *b)
{
    while (*a != '\0' && tolower((unsigned char)*a) == tolower((unsigned char)*b)) {
        a++;
        b++;
    }
    return *a == '\0' && *b == '\0';
}

bool gk_ends_with(const char *s, const char *suffix)
{
    const size_t n = strlen(s), k = strlen(suffix);

    return n >= k && strcmp(s + n - k, suffix) == 0;
}
