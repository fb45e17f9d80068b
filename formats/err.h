/* formats/err.h - how every function of the library says what went wrong.
 *
 * An error is a value: a class that decides the exit status, the file, tensor
 * and byte offset it concerns, and one sentence. The library never prints,
 * exits or aborts on input; whoever called decides. */
#ifndef GK_FORMATS_ERR_H
#define GK_FORMATS_ERR_H

#include <stdbool.h>
#include <stdint.h>

typedef enum gk_err_code {
    GK_OK = 0,
    GK_ERR_ARG,         /* the caller asked for something that cannot be    */
    GK_ERR_FORMAT,      /* an input is malformed or does not fit together   */
    GK_ERR_LIMIT,       /* an input passes a limit that the message names   */
    GK_ERR_IO,          /* the system could not read or write               */
    GK_ERR_SPACE,       /* no space left on the device                      */
    GK_ERR_NOMEM,       /* no memory, or more than --memory allows          */
    GK_ERR_UNSUPPORTED, /* a legal input that this version does not handle  */
    GK_ERR_INTERRUPTED, /* a signal asked to stop                           */
} gk_err_code;

#define GK_NO_OFF UINT64_MAX /* "no byte offset belongs to this error" */

/* Zero-initialise before use. Text is NUL-terminated, cut when too long, and
 * may hold bytes from files: whoever prints it escapes it. */
typedef struct gk_err {
    gk_err_code code;
    uint64_t    off;         /* byte offset in file, or GK_NO_OFF */
    char        file[256];   /* "" when none                      */
    char        tensor[256]; /* "" when none                      */
    char        msg[512];
} gk_err;

/* Records the error unless one stands already (the first wins); returns false,
 * so that `return gk_fail(...)` leaves a bool function. */
bool gk_fail(gk_err *err, gk_err_code code, uint64_t off, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/* Adds file and tensor to a recorded error where they are still blank; either
 * may be NULL. Returns false. */
bool gk_fail_at(gk_err *err, const char *file, const char *tensor);

/* Returns the class as one lower-case word, for messages and JSON ("format"). */
const char *gk_err_kind(gk_err_code code);

/* Returns the exit status of the class: 0, 2, 3, 4, 5, 6 or 130. */
int gk_err_exit(gk_err_code code);

#endif
