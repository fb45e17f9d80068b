/* formats/protobuf.h - a cursor over a protobuf file, for messages that may be hostile.
 *
 * It walks fields through a small window; what is long stays in the file. A message ends
 * where its length says, and that lies within the one around it: no count or length is ever
 * believed, and nothing is allocated by one. Private to formats/. */
#ifndef GK_FORMATS_PROTOBUF_H
#define GK_FORMATS_PROTOBUF_H

#include "formats/io.h"
#include "formats/text.h"

#define GK_PROTOBUF_WINDOW_BYTES 4096

typedef enum gk_protobuf_type { /* the numbers stand in the file */
                                GK_PROTOBUF_VARINT = 0,
                                GK_PROTOBUF_FIXED64 = 1,
                                GK_PROTOBUF_BYTES = 2, /* also strings and messages */
                                GK_PROTOBUF_FIXED32 = 5,
} gk_protobuf_type;

typedef struct gk_protobuf_field {
    uint32_t number;
    gk_protobuf_type type;
    uint64_t value;   /* of a varint or a fixed number, little-endian      */
    uint64_t off;     /* of its tag                                        */
    uint64_t body, n; /* where its bytes are, and how many                 */
} gk_protobuf_field;

/* Zero-initialise, then set file, end and err. */
typedef struct gk_protobuf {
    const gk_file *file;
    uint64_t pos, end; /* where it stands; the end of the message it is in */
    unsigned char window[GK_PROTOBUF_WINDOW_BYTES];
    uint64_t at, len; /* what the window holds                             */
    bool failed;
    gk_err *err;
} gk_protobuf;

/* Records FORMAT with the file. Returns false; every later call does. */
bool gk_protobuf_refuse(gk_protobuf *p, uint64_t off, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Passes the next field of the message. False at its end, or on an error (p->failed):
 * FORMAT for a truncated field, a group, a wire type that there is none of, IO. */
bool gk_protobuf_next(gk_protobuf *p, gk_protobuf_field *f);

/* Goes into the message that f holds; *end is for gk_protobuf_leave(), which goes behind
 * it. False: FORMAT when f is of another wire type. */
bool gk_protobuf_enter(gk_protobuf *p, const gk_protobuf_field *f, uint64_t *end);
void gk_protobuf_leave(gk_protobuf *p, uint64_t end);

/* Each takes the value of a field that gk_protobuf_next() passed, `what` naming it: a
 * varint as a bool or as an int32 (negative ones have ten bytes), a float, a string of at
 * most max bytes, which replaces *out. False: FORMAT for another wire type, a string that
 * is no UTF-8; LIMIT, IO, NOMEM. */
bool gk_protobuf_bool(gk_protobuf *p, const gk_protobuf_field *f, const char *what, bool *out);
bool gk_protobuf_int(gk_protobuf *p, const gk_protobuf_field *f, const char *what, int64_t *out);
bool gk_protobuf_float(gk_protobuf *p, const gk_protobuf_field *f, const char *what, float *out);
bool gk_protobuf_string(gk_protobuf *p, const gk_protobuf_field *f, const char *what, uint64_t max,
                        gk_text *out);

#endif
