/* formats/text.h - text that grows, and JSON written into it.
 *
 * Failures are sticky: keep adding, ask gk_text_ok() once at the end. */
#ifndef GK_FORMATS_TEXT_H
#define GK_FORMATS_TEXT_H

#include "formats/arena.h"

typedef struct gk_text {
    char    *data;   /* NUL-terminated once anything was added; NULL before */
    uint64_t len;    /* bytes, without the NUL                              */
    uint64_t cap;
    bool     failed; /* memory ended; data is incomplete                    */
    /* JSON state: one bit a level, "something was written at this level" */
    uint64_t has_member;
    int      depth;
    int      indent; /* 0 = compact, else spaces a level                    */
} gk_text;

void gk_text_free(gk_text *t);
void gk_text_clear(gk_text *t); /* keeps the memory */
void gk_text_add(gk_text *t, const void *bytes, uint64_t len);
void gk_text_str(gk_text *t, const char *s);
void gk_text_char(gk_text *t, char c);
void gk_text_printf(gk_text *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Returns true when nothing was lost, else false and NOMEM. */
bool gk_text_ok(const gk_text *t, gk_err *err);

/* Adds s with everything a terminal could obey escaped: control characters,
 * DEL, bytes that are not UTF-8, bidirectional and line separators. */
void gk_text_escaped(gk_text *t, const char *s, uint64_t len);

/* JSON values. `key` is NULL inside an array or at the top. Nesting is at most
 * 64 levels. Doubles are written with the fewest digits that read back equal;
 * a NaN or infinity becomes null. Bytes that are not UTF-8 become U+FFFD. */
void gk_json_open(gk_text *t, const char *key, char bracket); /* '{' or '[' */
void gk_json_close(gk_text *t, char bracket);                 /* '}' or ']' */
void gk_json_string(gk_text *t, const char *key, const char *value); /* NULL: null */
void gk_json_string_n(gk_text *t, const char *key, const char *value, uint64_t len);
void gk_json_uint(gk_text *t, const char *key, uint64_t value);
void gk_json_real(gk_text *t, const char *key, double value);
void gk_json_bool(gk_text *t, const char *key, bool value);
void gk_json_raw(gk_text *t, const char *key, const char *json, uint64_t len);

/* Returns true when s ends with suffix. */
bool gk_ends_with(const char *s, const char *suffix);

/* Returns true when both are the same word but for the case of ASCII letters. */
bool gk_same_word(const char *a, const char *b);

/* Returns the length of the valid UTF-8 sequence at s (1..4), or 0. */
int gk_utf8_len(const char *s, uint64_t len);

#endif
