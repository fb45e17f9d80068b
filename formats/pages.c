/* formats/pages.c - cachestat(2) where the kernel has it, else reads that do not wait.
 *
 * The kernel's own read-ahead is what keeps the disk busy. Asking for 32 MiB ahead of each
 * reader (POSIX_FADV_WILLNEED) made a run over 12.7 GB no faster (33.2 s to 32.5 s with a
 * read-ahead of 128 KiB, 32 s to 25 s with one of 8 MiB) and took 10.5 s of system time
 * instead of 6.3 s: what is asked for so comes in single pages, not in large folios. */
#include "formats/pages.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "formats/checked.h"

#ifndef SYS_cachestat
#define SYS_cachestat 451 /* Linux 6.5, on all machines but Alpha; headers may be older */
#endif

#define SAMPLES 4 /* of a piece, without cachestat */

struct gk_pages {
    const gk_file *f;
    uint64_t n;          /* pieces         */
    unsigned char *held; /* a bit a piece  */
};

/* Returns how many of n bytes at off the cache holds; n when nobody tells. */
static uint64_t held_bytes(int fd, uint64_t off, uint64_t n)
{
    const uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    const uint64_t range[2] = {off, n}; /* struct cachestat_range: off, len      */
    uint64_t stat[5];                   /* struct cachestat: nr_cache comes first */
    unsigned hits = 0;

    if (syscall(SYS_cachestat, fd, range, stat, 0) == 0)
        return stat[0] * page;
    for (uint64_t i = 0; i < SAMPLES; i++) {
        char byte;
        const struct iovec to = {&byte, 1};
        const ssize_t got = preadv2(fd, &to, 1, (off_t)(off + n * (2 * i + 1) / (2 * SAMPLES)),
                                    RWF_NOWAIT);
        if (got < 0 && errno != EAGAIN)
            return n;
        hits += got > 0;
    }
    return n / SAMPLES * hits;
}

gk_pages *gk_pages_note(gk_arena *a, const gk_file *f, gk_err *err)
{
    gk_pages *p = gk_arena_alloc(a, 1, sizeof *p, err);

    if (p == NULL)
        return NULL;
    *p = (gk_pages){.f = f, .n = f->fd < 0 ? 0 : gk_div_up(f->size, GK_PAGES_PIECE)};
    p->held = gk_arena_alloc(a, p->n / 8 + 1, 1, err);
    if (p->held == NULL)
        return NULL;
    memset(p->held, 0, p->n / 8 + 1);
    for (uint64_t i = 0; i < p->n; i++) {
        const uint64_t off = i * GK_PAGES_PIECE, n = gk_min(GK_PAGES_PIECE, f->size - off);
        /* half: reading a header brings some pages along */
        if (held_bytes(f->fd, f->base + off, n) >= n / 2)
            p->held[i / 8] |= (unsigned char)(1u << i % 8);
    }
    if (p->n > 0)
        posix_fadvise(f->fd, 0, 0, POSIX_FADV_SEQUENTIAL);
    return p;
}

static bool is_held(const gk_pages *p, uint64_t piece)
{
    return p->held[piece / 8] >> piece % 8 & 1;
}

/* The kernel keeps a folio that reaches out of a range, and folios have up to some MiB: so
 * each call begins earlier than what was read. */
void gk_pages_drop(const gk_pages *p, uint64_t off, uint64_t n)
{
    uint64_t at = off - gk_min(off, GK_PAGES_PIECE);
    const uint64_t end = gk_min(off + n, p->n * GK_PAGES_PIECE);

    while (at < end) {
        const bool held = is_held(p, at / GK_PAGES_PIECE);
        uint64_t next = at;
        do
            next = (next / GK_PAGES_PIECE + 1) * GK_PAGES_PIECE;
        while (next < end && is_held(p, next / GK_PAGES_PIECE) == held);
        next = gk_min(next, end);
        if (!held)
            posix_fadvise(p->f->fd, (off_t)(p->f->base + at), (off_t)(next - at),
                          POSIX_FADV_DONTNEED);
        at = next;
    }
}
