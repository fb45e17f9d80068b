/* formats/msgpack.h - a cursor over a msgpack file, for values too large to be held.
 *
 * It walks heads (what a value is, how long it is) through a small window; content stays in
 * the file. msgpack-c decodes single scalars from slices whose length is known, so it never
 * sees a count. Private to formats/. */
#ifndef GK_FORMATS_MSGPACK_H
#define GK_FORMATS_MSGPACK_H

#include "formats/io.h"
#include "formats/text.h"

#define GK_MSGPACK_WINDOW_BYTES 4096

typedef enum gk_msgpack_kind {
    GK_MSGPACK_NIL,
    GK_MSGPACK_BOOLEAN,
    GK_MSGPACK_INTEGER,
    GK_MSGPACK_REAL,
    GK_MSGPACK_STR,
    GK_MSGPACK_BIN,
    GK_MSGPACK_ARRAY,
    GK_MSGPACK_MAP,
    GK_MSGPACK_EXT,
} gk_msgpack_kind;

/* The head of one value. */
typedef struct gk_msgpack_item {
    gk_msgpack_kind kind;
    int             type;      /* of an ext                              */
    uint64_t        n;         /* bytes of content; pairs or items       */
    uint64_t        off, body; /* of the head, and of what follows it    */
} gk_msgpack_item;

/* Zero-initialise, then set file, end and err; free path. */
typedef struct gk_msgpack {
    const gk_file *file;
    uint64_t       pos, end; /* where it stands; the end of what it stands in   */
    unsigned char  window[GK_MSGPACK_WINDOW_BYTES];
    uint64_t       at, len;  /* what the window holds                           */
    gk_text        path;     /* keys so far, for messages                       */
    gk_err        *err;
} gk_msgpack;

/* Records FORMAT with file and path. Returns false. */
bool gk_msgpack_refuse(gk_msgpack *m, uint64_t off, const char *text);

/* Adds file and path to *err. Returns false. */
bool gk_msgpack_fail_at(gk_msgpack *m);

/* Reads the head of the next value. Content, or the least that its items can take, lies
 * before end. False: FORMAT or IO. */
bool gk_msgpack_head(gk_msgpack *m, gk_msgpack_item *it);

/* Passes a value that is no map, list or ext. */
void gk_msgpack_skip(gk_msgpack *m, const gk_msgpack_item *it);

/* Decodes the integer of that head and passes it. False: FORMAT when it is negative. */
bool gk_msgpack_uint(gk_msgpack *m, const gk_msgpack_item *it, uint64_t *value);

/* Adds the string of that head (str, any length) to *out and passes it: FORMAT when it is no
 * UTF-8. NUL bytes become the text \x00; *odd is set when it has control characters. */
bool gk_msgpack_text(gk_msgpack *m, const gk_msgpack_item *it, gk_text *out, bool *odd);

#endif
