/* formats/arena.h - where memory comes from.
 *
 * Lasting things (names, shapes, plans) live in an arena and die with it;
 * nothing in it moves or is freed alone. Buffers come from gk_alloc() and go
 * back by gk_free(). No other file calls malloc, so a test can fail any one
 * allocation (gk_alloc_fail_after). */
#ifndef GK_FORMATS_ARENA_H
#define GK_FORMATS_ARENA_H

#include <stddef.h>

#include "formats/err.h"

typedef struct gk_arena gk_arena;

/* Returns an empty arena, or NULL and NOMEM. The caller frees it. */
gk_arena *gk_arena_new(gk_err *err);

/* Frees the arena and everything in it; NULL is fine. */
void gk_arena_free(gk_arena *a);

/* Returns n zeroed elements of size bytes, aligned to 16; NULL and NOMEM when
 * the product wraps or memory ends. n == 0 gives a valid pointer. */
void *gk_arena_alloc(gk_arena *a, uint64_t n, size_t size, gk_err *err);

/* Returns a NUL-terminated copy of the len bytes at s, or NULL and NOMEM. */
char *gk_arena_strn(gk_arena *a, const char *s, uint64_t len, gk_err *err);
char *gk_arena_str(gk_arena *a, const char *s, gk_err *err);

/* Returns the formatted text, or NULL and NOMEM. */
char *gk_arena_printf(gk_arena *a, gk_err *err, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Returns a buffer of n elements of size bytes, aligned to 64, not cleared;
 * NULL and NOMEM. The caller gives it back with gk_free(); NULL is fine. */
void *gk_alloc(uint64_t n, size_t size, gk_err *err);
void  gk_free(void *p);

/* Makes room for `need` elements of size bytes in *p (capacity *cap elements),
 * at least doubling; contents stay. False and NOMEM leaves both as they were. */
bool gk_grow(void **p, uint64_t *cap, uint64_t need, size_t size, gk_err *err);

/* Test hook: the n-th allocation from now fails, and all after it (0: the next
 * one); a negative n switches it off. Returns how many were made since the
 * last call. */
uint64_t gk_alloc_fail_after(int64_t n);

#endif
