/* formats/lock.c - taking a lock, and judging the lock of another. */
#include "formats/lock.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define LOCK_BYTES 512

typedef struct holder {
    char host[128], boot[64];
    char space[64]; /* its process numbers: containers may share a host's name and boot */
    long pid;
    unsigned long long began; /* clock ticks after the boot */
} holder;

static ssize_t read_small(int dir, const char *path, char *buf, size_t size)
{
    const int fd = openat(dir, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    ssize_t n = fd < 0 ? -1 : read(fd, buf, size - 1);

    if (fd >= 0)
        close(fd);
    buf[n < 0 ? 0 : n] = '\0';
    return n;
}

/* Field 22 of /proc/PID/stat; the name of the program before it may hold anything but ends
 * with the last ')'. 0: no such process, or no /proc. */
static unsigned long long began(long pid)
{
    char path[64], text[1024];
    unsigned long long ticks = 0;

    snprintf(path, sizeof path, "/proc/%ld/stat", pid);
    if (read_small(AT_FDCWD, path, text, sizeof text) <= 0)
        return 0;
    const char *at = strrchr(text, ')');
    if (at == NULL
        || sscanf(at + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d"
                          " %*d %llu", &ticks) != 1)
        return 0;
    return ticks;
}

static holder self(void)
{
    holder h = {.pid = (long)getpid(), .began = began((long)getpid())};

    if (gethostname(h.host, sizeof h.host - 1) != 0 || h.host[0] == '\0')
        strcpy(h.host, "?");
    if (read_small(AT_FDCWD, "/proc/sys/kernel/random/boot_id", h.boot, sizeof h.boot) <= 0)
        strcpy(h.boot, "?");
    h.boot[strcspn(h.boot, "\n")] = '\0';
    if (readlink("/proc/self/ns/pid", h.space, sizeof h.space - 1) <= 0)
        strcpy(h.space, "?");
    return h;
}

static bool parse(const char *text, holder *h)
{
    *h = (holder){.pid = 0};
    return sscanf(text, "host %127s\nboot %63s\nspace %63s\npid %ld\nbegan %llu\n", h->host,
                  h->boot, h->space, &h->pid, &h->began) == 5;
}

/* Whether the holder cannot be at work any more; only of this host is that known. */
static bool is_gone(const holder *h, const holder *me)
{
    if (strcmp(h->host, me->host) != 0)
        return false;
    if (strcmp(h->boot, me->boot) != 0)
        return true;
    if (strcmp(h->space, me->space) != 0)
        return false; /* its numbers say nothing here */
    if (kill((pid_t)h->pid, 0) != 0 && errno == ESRCH)
        return true;
    return began(h->pid) != h->began; /* the number belongs to another process by now */
}

static bool say_held(const char *name, const char *text, gk_err *err)
{
    holder h;

    if (parse(text, &h))
        gk_fail(err, GK_ERR_ARG, GK_NO_OFF,
                "process %ld on host %.60s is writing this output; if it is not, --break-lock",
                h.pid, h.host);
    else
        gk_fail(err, GK_ERR_ARG, GK_NO_OFF,
                "somebody is writing this output; if nobody is, --break-lock");
    return gk_fail_at(err, name, NULL);
}

/* Moves a lock aside that was judged; what was moved must be what was judged. */
static bool set_aside(int dir, const char *name, const char *text, gk_err *err)
{
    char aside[64], moved[LOCK_BYTES];

    snprintf(aside, sizeof aside, "%.32s.%ld.old", name, (long)getpid());
    if (renameat(dir, name, dir, aside) != 0)
        return errno == ENOENT || gk_fail_errno(err, name, GK_NO_OFF, "move the old lock");
    read_small(dir, aside, moved, sizeof moved);
    const bool same = strcmp(moved, text) == 0;
    if (!same && linkat(dir, aside, dir, name, 0) != 0)
        gk_fail_errno(err, name, GK_NO_OFF, "put a lock back");
    unlinkat(dir, aside, 0);
    return same || say_held(name, moved, err);
}

/* Writes text under a name of our own and links it to `name`. 0, or the errno. */
static int place(int dir, const char *name, const char *text)
{
    char own[64];
    int e = 0;

    snprintf(own, sizeof own, "%.32s.%ld", name, (long)getpid());
    const int fd = openat(dir, own, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0666);
    if (fd < 0)
        return errno;
    if (!gk_pwrite(fd, own, 0, text, strlen(text), NULL))
        e = errno;
    close(fd);
    if (e == 0 && linkat(dir, own, dir, name, 0) != 0)
        e = errno;
    if (e == EPERM || e == EOPNOTSUPP) /* a file system without links: it appears empty first */
        e = renameat2(dir, own, dir, name, RENAME_NOREPLACE) == 0 ? 0 : errno;
    unlinkat(dir, own, 0);
    return e;
}

bool gk_lock_take(int dir, const char *name, bool break_lock, gk_err *err)
{
    const holder me = self();
    char text[LOCK_BYTES], other[LOCK_BYTES];

    snprintf(text, sizeof text, "host %s\nboot %s\nspace %s\npid %ld\nbegan %llu\n", me.host,
             me.boot, me.space, me.pid, me.began);
    for (int i = 0; i < 8; i++) {
        holder h;
        const int e = place(dir, name, text);
        if (e == 0)
            return true;
        if (e != EEXIST) {
            errno = e;
            return gk_fail_errno(err, name, GK_NO_OFF, "create the lock");
        }
        if (read_small(dir, name, other, sizeof other) < 0)
            continue; /* given back this moment */
        if (!break_lock && !(parse(other, &h) && is_gone(&h, &me)))
            return say_held(name, other, err);
        if (!set_aside(dir, name, other, err))
            return false;
    }
    return say_held(name, other, err);
}

void gk_lock_drop(int dir, const char *name)
{
    unlinkat(dir, name, 0);
}
