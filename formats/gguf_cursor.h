/* formats/gguf_cursor.h - the steps of the cursor of gguf.h. Private to the GGUF reader. */
#ifndef GK_FORMATS_GGUF_CURSOR_H
#define GK_FORMATS_GGUF_CURSOR_H

#include "formats/gguf.h"

/* Starts at [begin, end) of file; window is GK_GGUF_WINDOW_BYTES of the caller's. */
void gk_gguf_start(gk_gguf_cursor *k, const gk_file *file, uint64_t begin, uint64_t end,
                   unsigned char *window, gk_err *err);

/* Returns the next n bytes (at most a window) without taking them; NULL and FORMAT when
 * they end before, naming `what`. */
const unsigned char *gk_gguf_peek(gk_gguf_cursor *k, uint64_t n, const char *what);

bool gk_gguf_take_u32(gk_gguf_cursor *k, const char *what, uint32_t *out);
bool gk_gguf_take_u64(gk_gguf_cursor *k, const char *what, uint64_t *out);

/* Takes the length of a string; its bytes then stand at pos, all before the end. */
bool gk_gguf_take_length(gk_gguf_cursor *k, const char *what, uint64_t *len);

/* Takes a number or bool into v->as; v->type is one of those. */
bool gk_gguf_take_number(gk_gguf_cursor *k, gk_gguf_value *v);

/* Makes an error that gk_fail() has recorded the end of the walk. Returns false. */
bool gk_gguf_failed(gk_gguf_cursor *k);

/* Returns the bytes of a number or bool, 0 for strings and arrays. */
unsigned gk_gguf_type_bytes(gk_gguf_type type);

#endif
