/* tests/fault/shim.c - a library that is loaded before libc and lets the N-th call go wrong.
 *
 * FAULT=KIND:N   the N-th call of the kind's set, counted from 1 over all threads:
 *   kill      the process dies before a call that changes files
 *   torn      a write does its first half, then the process dies
 *   enospc efbig  a write, or a reservation, fails
 *   eio-read  a read fails; eio-sync: a sync fails
 *   short     a read or write does one byte only; eintr: it is interrupted, once
 * FAULT_COUNT=FILE  at the end the number of calls of the set is written there. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { READS = 1, WRITES = 2, SYNCS = 4, NAMES = 8, ROOM = 16 };

static const struct kind {
    const char *name;
    int         set, error;
} kinds[] = {
    {"kill", WRITES | SYNCS | NAMES | ROOM, 0}, {"torn", WRITES, 0},
    {"enospc", WRITES | ROOM, ENOSPC},          {"efbig", WRITES | ROOM, EFBIG},
    {"eio-read", READS, EIO},                   {"eio-sync", SYNCS, EIO},
    {"short", READS | WRITES, 0},               {"eintr", READS | WRITES, EINTR},
};

static const struct kind *kind;
static long               at, calls;
static FILE              *count; /* opened at once: a sandbox would not let it be later */

__attribute__((constructor)) static void begin(void)
{
    const char *text = getenv("FAULT");
    const char *colon = text == NULL ? NULL : strchr(text, ':');

    for (size_t i = 0; colon != NULL && i < sizeof kinds / sizeof kinds[0]; i++)
        if (strlen(kinds[i].name) == (size_t)(colon - text)
            && strncmp(kinds[i].name, text, (size_t)(colon - text)) == 0)
            kind = &kinds[i];
    at = colon == NULL ? 0 : atol(colon + 1);
    count = getenv("FAULT_COUNT") == NULL ? NULL : fopen(getenv("FAULT_COUNT"), "w");
    calls = 0; /* of our own */
}

__attribute__((destructor)) static void end(void)
{
    const long n = calls;

    if (count != NULL) {
        fprintf(count, "%ld\n", n);
        fclose(count);
    }
}

static void die(void)
{
    kill(getpid(), SIGKILL);
    for (;;)
        pause();
}

/* Returns whether this call is the one. */
static bool is_due(int set)
{
    if (kind == NULL || (kind->set & set) == 0)
        return false;
    return __atomic_add_fetch(&calls, 1, __ATOMIC_SEQ_CST) == at;
}

/* POSIX allows what ISO C does not: a function's address from dlsym(). */
#define REAL(name) (__extension__(__typeof__(&name))dlsym(RTLD_NEXT, #name))

/* A call that succeeds or fails as a whole: it dies or fails when it is due. */
#define WHOLE(set, failed)              \
    do {                                \
        if (is_due(set)) {              \
            if (kind->error == 0)       \
                die();                  \
            errno = kind->error;        \
            return failed;              \
        }                               \
    } while (0)

/* Returns how many bytes a read or write shall do, 0: it fails with errno. */
static size_t due_bytes(int set, size_t n, bool *torn)
{
    if (!is_due(set))
        return n;
    if (kind->error != 0)
        return errno = kind->error, 0;
    if (strcmp(kind->name, "short") == 0)
        return 1;
    *torn = strcmp(kind->name, "torn") == 0;
    if (!*torn)
        die();
    return (n + 1) / 2;
}

ssize_t pread(int fd, void *buf, size_t n, off_t off)
{
    bool torn = false;
    const size_t m = n == 0 ? 0 : due_bytes(READS, n, &torn);

    return m == 0 && n > 0 ? -1 : REAL(pread)(fd, buf, m, off);
}

ssize_t pwrite(int fd, const void *buf, size_t n, off_t off)
{
    bool torn = false;
    const size_t m = n == 0 ? 0 : due_bytes(WRITES, n, &torn);
    const ssize_t put = m == 0 && n > 0 ? -1 : REAL(pwrite)(fd, buf, m, off);

    if (torn)
        die();
    return put;
}

int fsync(int fd)
{
    WHOLE(SYNCS, -1);
    return fd < 0 ? -1 : 0; /* a process that dies loses nothing that it wrote */
}

int fdatasync(int fd)
{
    WHOLE(SYNCS, -1);
    return fd < 0 ? -1 : 0;
}

int sync_file_range(int fd, off64_t off, off64_t n, unsigned flags)
{
    WHOLE(SYNCS, -1);
    return REAL(sync_file_range)(fd, off, n, flags);
}

int posix_fallocate(int fd, off_t off, off_t n)
{
    WHOLE(ROOM, kind->error);
    return REAL(posix_fallocate)(fd, off, n);
}

int ftruncate(int fd, off_t n)
{
    WHOLE(NAMES, -1);
    return REAL(ftruncate)(fd, n);
}

int renameat2(int from, const char *a, int to, const char *b, unsigned flags)
{
    WHOLE(NAMES, -1);
    return REAL(renameat2)(from, a, to, b, flags);
}

int renameat(int from, const char *a, int to, const char *b)
{
    WHOLE(NAMES, -1);
    return REAL(renameat)(from, a, to, b);
}

int linkat(int from, const char *a, int to, const char *b, int flags)
{
    WHOLE(NAMES, -1);
    return REAL(linkat)(from, a, to, b, flags);
}

int unlinkat(int dir, const char *path, int flags)
{
    WHOLE(NAMES, -1);
    return REAL(unlinkat)(dir, path, flags);
}

int mkdirat(int dir, const char *path, mode_t mode)
{
    WHOLE(NAMES, -1);
    return REAL(mkdirat)(dir, path, mode);
}

int openat(int dir, const char *path, int flags, ...)
{
    va_list args;
    mode_t mode = 0;

    if ((flags & O_CREAT) != 0) {
        va_start(args, flags);
        mode = va_arg(args, mode_t);
        va_end(args);
        WHOLE(NAMES, -1);
    }
    return REAL(openat)(dir, path, flags, mode);
}
