/* formats/scan.c - the JSON cursor. Refuses everything RFC 8259 does, lone
 * surrogates, and nesting past GK_MAX_JSON_DEPTH. */
#include "formats/scan.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "formats/checked.h"

void gk_scan_file(gk_scan *s, const gk_file *file, uint64_t begin, uint64_t end, char *window,
                  gk_err *err)
{
    *s = (gk_scan){.file = file, .pos = begin, .end = end, .room = window, .err = err};
}

void gk_scan_mem(gk_scan *s, const char *mem, uint64_t len, gk_err *err)
{
    *s = (gk_scan){.end = len, .window = mem, .window_len = len, .err = err};
}

/* After an error nothing is left to look at. */
static bool stop(gk_scan *s)
{
    s->failed = true;
    s->window_len = 0;
    return false;
}

bool gk_scan_fail(gk_scan *s, const char *fmt, ...)
{
    char text[256];
    va_list args;

    if (!s->failed) {
        va_start(args, fmt);
        vsnprintf(text, sizeof text, fmt, args);
        va_end(args);
        gk_fail(s->err, GK_ERR_FORMAT, s->pos, "JSON: %s", text);
        gk_fail_at(s->err, s->file != NULL ? s->file->name : NULL, NULL);
    }
    return stop(s);
}

/* Moves the window to pos; false at the end. */
static bool refill(gk_scan *s)
{
    if (s->failed || s->pos >= s->end)
        return false;
    const uint64_t n = gk_min(GK_SCAN_WINDOW_BYTES, s->end - s->pos);
    if (!gk_file_read(s->file, s->pos, s->room, n, s->err))
        return stop(s);
    s->window = s->room;
    s->window_off = s->pos;
    s->window_len = n;
    return true;
}

/* The byte at pos, or -1 at the end. */
static inline int look(gk_scan *s)
{
    if (s->pos - s->window_off >= s->window_len && !refill(s))
        return -1;
    return (unsigned char)s->window[s->pos - s->window_off];
}

static inline int take(gk_scan *s)
{
    const int c = look(s);

    if (c >= 0)
        s->pos++;
    return c;
}

static inline int peek(gk_scan *s)
{
    int c = look(s);

    for (; c <= ' ' && (c == ' ' || c == '\t' || c == '\n' || c == '\r'); c = look(s))
        s->pos++;
    return c;
}

int gk_scan_peek(gk_scan *s)
{
    return peek(s);
}

static bool unexpected(gk_scan *s, const char *wanted)
{
    const int c = look(s);

    if (s->failed)
        return false;
    if (c < 0)
        return gk_scan_fail(s, "expected %s, the text ends", wanted);
    if (c > 0x20 && c < 0x7F)
        return gk_scan_fail(s, "expected %s, found character '%c'", wanted, c);
    return gk_scan_fail(s, "expected %s, found byte 0x%02x", wanted, (unsigned)c);
}

bool gk_scan_open(gk_scan *s, char bracket)
{
    if (peek(s) != bracket)
        return unexpected(s, bracket == '{' ? "an object '{'" : "an array '['");
    if (s->depth >= GK_MAX_JSON_DEPTH)
        return gk_scan_fail(s, "nested deeper than %d levels", GK_MAX_JSON_DEPTH);
    s->pos++;
    const uint64_t bit = UINT64_C(1) << s->depth++;
    s->is_object = bracket == '{' ? s->is_object | bit : s->is_object & ~bit;
    s->after_first &= ~bit;
    return true;
}

bool gk_scan_more(gk_scan *s)
{
    if (s->failed || s->depth == 0)
        return false;
    const uint64_t bit = UINT64_C(1) << (s->depth - 1);
    const char close = s->is_object & bit ? '}' : ']';
    const int c = peek(s);

    if (c == close) {
        s->pos++;
        s->depth--;
        return false;
    }
    if (!(s->after_first & bit)) {
        s->after_first |= bit;
        return c >= 0 ? true : unexpected(s, "a value or a closing bracket");
    }
    if (c != ',')
        return unexpected(s, close == '}' ? "',' or '}'" : "',' or ']'");
    s->pos++;
    if (peek(s) == close)
        return gk_scan_fail(s, "a comma before '%c'", close);
    return true;
}

static int hex4(gk_scan *s)
{
    int code = 0;

    for (int i = 0; i < 4; i++) {
        const int c = take(s);
        const int digit = c >= '0' && c <= '9'   ? c - '0'
                          : c >= 'a' && c <= 'f' ? c - 'a' + 10
                          : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                                 : -1;
        if (digit < 0)
            return gk_scan_fail(s, "expected four hexadecimal digits after \\u"), -1;
        code = code * 16 + digit;
    }
    return code;
}

static void put_utf8(gk_text *out, uint32_t code)
{
    char u[4];
    int n = 0;

    if (code < 0x80) {
        u[n++] = (char)code;
    } else if (code < 0x800) {
        u[n++] = (char)(0xC0 | code >> 6);
        u[n++] = (char)(0x80 | (code & 0x3F));
    } else if (code < 0x10000) {
        u[n++] = (char)(0xE0 | code >> 12);
        u[n++] = (char)(0x80 | (code >> 6 & 0x3F));
        u[n++] = (char)(0x80 | (code & 0x3F));
    } else {
        u[n++] = (char)(0xF0 | code >> 18);
        u[n++] = (char)(0x80 | (code >> 12 & 0x3F));
        u[n++] = (char)(0x80 | (code >> 6 & 0x3F));
        u[n++] = (char)(0x80 | (code & 0x3F));
    }
    gk_text_add(out, u, (uint64_t)n);
}

static bool take_escape(gk_scan *s, gk_text *out)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    const int c = take(s);
    const char *at = c > 0 ? strchr(from, c) : NULL;

    if (at != NULL) {
        gk_text_char(out, to[at - from]);
        return true;
    }
    if (c != 'u')
        return gk_scan_fail(s, "an unknown escape in a string");
    int code = hex4(s);
    if (code < 0)
        return false;
    if (code >= 0xD800 && code < 0xDC00) {
        int low = -1;
        if (take(s) == '\\' && take(s) == 'u')
            low = hex4(s);
        if (low < 0xDC00 || low > 0xDFFF)
            return gk_scan_fail(s, "a lone surrogate in a string");
        code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
    } else if (code >= 0xDC00 && code < 0xE000) {
        return gk_scan_fail(s, "a lone surrogate in a string");
    }
    put_utf8(out, (uint32_t)code);
    return true;
}

/* Bytes of a string that stand for themselves: neither its end, an escape nor UTF-8. */
static bool is_plain(unsigned char c)
{
    return c >= 0x20 && c < 0x80 && c != '"' && c != '\\';
}

/* Takes the plain bytes that the window shows at pos, at most `most`. */
static void take_plain(gk_scan *s, uint64_t most, gk_text *out)
{
    if (s->pos - s->window_off >= s->window_len)
        return;
    const char *from = s->window + (s->pos - s->window_off);
    const uint64_t left = gk_min(most, s->window_off + s->window_len - s->pos);
    uint64_t n = 0;

    while (n < left && is_plain((unsigned char)from[n]))
        n++;
    gk_text_add(out, from, n);
    s->pos += n;
}

bool gk_scan_string(gk_scan *s, gk_text *out)
{
    if (peek(s) != '"')
        return unexpected(s, "a string");
    const uint64_t begin = s->pos++;
    gk_text_clear(out);
    for (;;) {
        if (out->len < GK_MAX_STRING_BYTES)
            take_plain(s, GK_MAX_STRING_BYTES - out->len, out);
        char u[4];
        int n = 1;
        const int c = look(s);
        if (c == '"') {
            s->pos++;
            gk_text_add(out, "", 0); /* an empty string is data, too */
            if (out->failed)
                stop(s);
            return gk_text_ok(out, s->err);
        }
        if (c < 0x20)
            return unexpected(s, "the end of a string (no raw control characters in it)");
        if (out->len >= GK_MAX_STRING_BYTES || s->pos - begin > 6ull * GK_MAX_STRING_BYTES) {
            gk_fail(s->err, GK_ERR_LIMIT, begin, "JSON: a string of more than %u bytes",
                    GK_MAX_STRING_BYTES);
            gk_fail_at(s->err, s->file != NULL ? s->file->name : NULL, NULL);
            return stop(s);
        }
        u[0] = (char)take(s);
        if (c == '\\') {
            if (!take_escape(s, out))
                return false;
            continue;
        }
        for (const int len = c >= 0xF0 ? 4 : c >= 0xE0 ? 3 : c >= 0xC0 ? 2 : 1; n < len; n++)
            u[n] = (char)take(s);
        if (gk_utf8_len(u, (uint64_t)n) != n)
            return gk_scan_fail(s, "a string is not UTF-8");
        gk_text_add(out, u, (uint64_t)n);
    }
}

bool gk_scan_key(gk_scan *s, gk_text *out)
{
    if (peek(s) != '"')
        return unexpected(s, "a key in double quotes");
    if (!gk_scan_string(s, out))
        return false;
    if (peek(s) != ':')
        return unexpected(s, "':' after a key");
    s->pos++;
    return true;
}

bool gk_scan_uint(gk_scan *s, uint64_t *out)
{
    uint64_t v = 0;
    int c = peek(s);

    if (c < '0' || c > '9')
        return unexpected(s, "a number that is an integer >= 0");
    if (c == '0') {
        s->pos++;
        c = look(s);
        if (c >= '0' && c <= '9')
            return gk_scan_fail(s, "a number with a leading zero");
    } else {
        for (; (c = look(s)) >= '0' && c <= '9'; s->pos++)
            if (v <= (UINT64_MAX - 9) / 10) /* any digit fits */
                v = v * 10 + (uint64_t)(c - '0');
            else if (!gk_mul(v, 10, &v) || !gk_add(v, (uint64_t)(c - '0'), &v))
                return gk_scan_fail(s, "a number too large for 64 bits (overflow)");
    }
    if (c == '.' || c == 'e' || c == 'E')
        return gk_scan_fail(s, "expected an integer number, found a fraction or exponent");
    *out = v;
    return !s->failed;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

uint64_t gk_scan_small(gk_scan *s, unsigned char *out, uint64_t most)
{
    const uint64_t at = s->pos - s->window_off;
    uint64_t n = 0;

    if (at >= s->window_len)
        return 0;
    const char *p = s->window + at, *end = s->window + s->window_len;
    for (; n < most && end - p > 4; n++) { /* "255,1" */
        unsigned v = 0;
        int digits = 0;
        for (; digits < 3 && is_digit(p[digits]); digits++)
            v = v * 10 + (unsigned)(p[digits] - '0');
        if (digits == 0 || p[digits] != ',' || !is_digit(p[digits + 1]) || v > 255
            || (p[0] == '0' && digits > 1))
            break;
        out[n] = (unsigned char)v;
        p += digits + 1;
    }
    s->pos = s->window_off + (uint64_t)(p - s->window);
    return n;
}

static bool skip_digits(gk_scan *s)
{
    int c = look(s);

    if (c < '0' || c > '9')
        return unexpected(s, "a digit of a number");
    while ((c = look(s)) >= '0' && c <= '9')
        s->pos++;
    return !s->failed;
}

static bool skip_number(gk_scan *s)
{
    if (look(s) == '-')
        s->pos++;
    if (look(s) == '0') {
        s->pos++;
        const int c = look(s);
        if (c >= '0' && c <= '9')
            return gk_scan_fail(s, "a number with a leading zero");
    } else if (!skip_digits(s)) {
        return false;
    }
    if (look(s) == '.') {
        s->pos++;
        if (!skip_digits(s))
            return false;
    }
    if (look(s) == 'e' || look(s) == 'E') {
        s->pos++;
        if (look(s) == '+' || look(s) == '-')
            s->pos++;
        return skip_digits(s);
    }
    return !s->failed;
}

static bool skip_word(gk_scan *s, const char *word)
{
    for (; *word != '\0'; word++)
        if (take(s) != *word)
            return gk_scan_fail(s, "expected a value (true, false or null)");
    return true;
}

static bool skip_scalar(gk_scan *s, gk_text *scratch)
{
    const int c = peek(s);

    switch (c) {
    case '"': return gk_scan_string(s, scratch);
    case 't': return skip_word(s, "true");
    case 'f': return skip_word(s, "false");
    case 'n': return skip_word(s, "null");
    default:
        if (c == '-' || (c >= '0' && c <= '9'))
            return skip_number(s);
        return unexpected(s, "a value");
    }
}

bool gk_scan_skip(gk_scan *s)
{
    const int floor = s->depth;
    gk_text scratch = {0};
    bool ok = true;

    do {
        const int c = peek(s);
        if (c == '{' || c == '[')
            ok = gk_scan_open(s, (char)c);
        else
            ok = skip_scalar(s, &scratch);
        /* leave every level that ends here, or stop before the next value */
        while (ok && s->depth > floor) {
            if (gk_scan_more(s)) {
                if (s->is_object >> (s->depth - 1) & 1)
                    ok = gk_scan_key(s, &scratch);
                break;
            }
            ok = !s->failed;
        }
    } while (ok && s->depth > floor);
    gk_text_free(&scratch);
    return ok && !s->failed;
}

bool gk_scan_done(gk_scan *s)
{
    if (peek(s) >= 0)
        return unexpected(s, "the end of the text (nothing after the value)");
    return !s->failed;
}
