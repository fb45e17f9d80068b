/* formats/scan.h - a cursor over JSON text that may be large and hostile.
 *
 * It reads a range of a file through a small window, or a range of memory, and
 * pulls one value at a time: memory does not grow with the text. Every byte it
 * passes is checked against RFC 8259 (UTF-8, escapes, numbers, commas). The
 * first error sticks; all later calls return false or -1. Used for safetensors
 * headers and tokenizers; small JSON goes through formats/json.h. */
#ifndef GK_FORMATS_SCAN_H
#define GK_FORMATS_SCAN_H

#include "formats/io.h"
#include "formats/text.h"

#define GK_SCAN_WINDOW_BYTES 65536
#define GK_MAX_JSON_DEPTH    64              /* nested arrays and objects */
#define GK_MAX_STRING_BYTES  (16u << 20)     /* one string                */

typedef struct gk_scan {
    const gk_file *file; /* NULL: memory                                 */
    uint64_t       pos;  /* offset of the next byte (file or memory)     */
    uint64_t       end;  /* one past the last byte                       */
    const char    *window; /* window_len bytes from window_off on; none after an error */
    uint64_t       window_off, window_len;
    char          *room; /* of a file's windows */
    uint64_t       is_object; /* one bit a level                          */
    uint64_t       after_first;
    int            depth;
    gk_err        *err;
    bool           failed;
} gk_scan;

/* Starts at [begin, end) of file; window is GK_SCAN_WINDOW_BYTES of scratch that
 * the caller owns. Errors go to *err with the file's name and byte offset. */
void gk_scan_file(gk_scan *s, const gk_file *file, uint64_t begin, uint64_t end, char *window,
                  gk_err *err);
/* Starts at mem[0, len). */
void gk_scan_mem(gk_scan *s, const char *mem, uint64_t len, gk_err *err);

/* Returns the next byte that is not white space without taking it; -1 at the
 * end or after an error. */
int gk_scan_peek(gk_scan *s);

/* Takes '{' or '['. False when something else stands there. */
bool gk_scan_open(gk_scan *s, char bracket);

/* After gk_scan_open(): true when a member or element follows (its comma is
 * taken), false when the closing bracket was taken or on an error. */
bool gk_scan_more(gk_scan *s);

/* Takes `"key":` (inside an object) or `"string"`; decoded bytes replace *out. */
bool gk_scan_key(gk_scan *s, gk_text *out);
bool gk_scan_string(gk_scan *s, gk_text *out);

/* Takes an integer 0..2^64-1: no sign, fraction or exponent. */
bool gk_scan_uint(gk_scan *s, uint64_t *out);

/* Before a number of an array (gk_scan_more() was true): takes numbers below 256 that have
 * a comma and another digit right behind, at most `most`, so that a number still follows.
 * Returns how many. Only speed depends on calling it. */
uint64_t gk_scan_small(gk_scan *s, unsigned char *out, uint64_t most);

/* Takes any one value and throws it away, fully checked. */
bool gk_scan_skip(gk_scan *s);

/* True when only white space is left. */
bool gk_scan_done(gk_scan *s);

/* Records a FORMAT error at the current offset; returns false. */
bool gk_scan_fail(gk_scan *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
