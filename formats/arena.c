/* formats/arena.c - the only file that calls malloc. */
#include "formats/arena.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/checked.h"

#define BLOCK_BYTES (256u * 1024u)
#define ALIGNMENT   16u

struct block {
    struct block *next;
    size_t        used, size; /* bytes of data[] */
    _Alignas(ALIGNMENT) unsigned char data[];
};

struct gk_arena {
    struct block *head;
};

static atomic_llong fail_after = -1;
static atomic_ullong n_allocations;

uint64_t gk_alloc_fail_after(int64_t n)
{
    atomic_store(&fail_after, n < 0 ? -1 : n);
    return atomic_exchange(&n_allocations, 0);
}

static bool may_allocate(void)
{
    atomic_fetch_add(&n_allocations, 1);
    long long left = atomic_load(&fail_after);
    if (left < 0)
        return true;
    if (left == 0)
        return false;
    atomic_fetch_sub(&fail_after, 1);
    return true;
}

static bool no_memory(gk_err *err, uint64_t n, size_t size)
{
    return gk_fail(err, GK_ERR_NOMEM, GK_NO_OFF, "out of memory (%llu x %zu bytes)",
                   (unsigned long long)n, size);
}

gk_arena *gk_arena_new(gk_err *err)
{
    gk_arena *a = may_allocate() ? calloc(1, sizeof *a) : NULL;

    if (a == NULL)
        no_memory(err, 1, sizeof *a);
    return a;
}

void gk_arena_free(gk_arena *a)
{
    if (a == NULL)
        return;
    for (struct block *b = a->head, *next; b != NULL; b = next) {
        next = b->next;
        free(b);
    }
    free(a);
}

/* The next bytes of a block, at a multiple of align (1 or ALIGNMENT). */
static void *take(gk_arena *a, uint64_t bytes, size_t align)
{
    struct block *b = a->head;
    size_t used = b == NULL ? 0 : (b->used + align - 1) / align * align;

    if (b == NULL || used > b->size || b->size - used < bytes) {
        /* a large request gets its own block, behind the one in use */
        const size_t room = (size_t)gk_max(bytes, BLOCK_BYTES);
        b = calloc(1, sizeof *b + room);
        if (b == NULL)
            return NULL;
        b->size = room;
        used = 0;
        if (a->head != NULL && bytes > BLOCK_BYTES / 2) {
            b->next = a->head->next;
            a->head->next = b;
        } else {
            b->next = a->head;
            a->head = b;
        }
    }
    b->used = used + (size_t)bytes;
    return b->data + used;
}

void *gk_arena_alloc(gk_arena *a, uint64_t n, size_t size, gk_err *err)
{
    uint64_t bytes, padded;

    if (!gk_mul(n, size, &bytes) || !gk_add(bytes, ALIGNMENT, &padded) || padded > SIZE_MAX / 2)
        return no_memory(err, n, size), NULL;
    /* each request counts, so that a test can fail any one; none is empty, so that each
     * has an address of its own */
    void *p = may_allocate() ? take(a, gk_max(bytes, 1), ALIGNMENT) : NULL;
    if (p == NULL)
        no_memory(err, n, size);
    return p;
}

char *gk_arena_strn(gk_arena *a, const char *s, uint64_t len, gk_err *err)
{
    uint64_t bytes;

    if (!gk_add(len, 1, &bytes) || bytes > SIZE_MAX / 2)
        return no_memory(err, len, 1), NULL;
    char *copy = may_allocate() ? take(a, bytes, 1) : NULL;
    if (copy == NULL)
        return no_memory(err, len, 1), NULL;
    if (len > 0)
        memcpy(copy, s, (size_t)len);
    return copy; /* blocks are zeroed: the last byte is the NUL */
}

char *gk_arena_str(gk_arena *a, const char *s, gk_err *err)
{
    return gk_arena_strn(a, s, strlen(s), err);
}

char *gk_arena_printf(gk_arena *a, gk_err *err, const char *fmt, ...)
{
    va_list args, again;

    va_start(args, fmt);
    va_copy(again, args);
    int len = vsnprintf(NULL, 0, fmt, args);
    va_end(args);
    char *text = len < 0 ? NULL : gk_arena_alloc(a, (uint64_t)len + 1, 1, err);
    if (text != NULL)
        vsnprintf(text, (size_t)len + 1, fmt, again);
    va_end(again);
    return text;
}

void *gk_alloc(uint64_t n, size_t size, gk_err *err)
{
    uint64_t bytes;

    if (!gk_mul(n, size, &bytes) || bytes > SIZE_MAX / 2)
        return no_memory(err, n, size), NULL;
    bytes = gk_max(64, (bytes + 63) / 64 * 64);
    void *p = may_allocate() ? aligned_alloc(64, (size_t)bytes) : NULL;
    if (p == NULL)
        no_memory(err, n, size);
    return p;
}

void gk_free(void *p)
{
    free(p);
}

bool gk_grow(void **p, uint64_t *cap, uint64_t need, size_t size, gk_err *err)
{
    uint64_t room, bytes;

    if (need <= *cap)
        return true;
    if (!gk_mul(*cap, 2, &room))
        room = need;
    room = gk_max(gk_max(room, need), 16);
    if (!gk_mul(room, size, &bytes) || bytes > SIZE_MAX / 2)
        return no_memory(err, need, size);
    void *q = may_allocate() ? realloc(*p, (size_t)bytes) : NULL;
    if (q == NULL)
        return no_memory(err, need, size);
    *p = q;
    *cap = room;
    return true;
}
