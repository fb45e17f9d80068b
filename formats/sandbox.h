/* formats/sandbox.h - giving up rights that are not needed, before untrusted bytes are read.
 *
 * Landlock leaves the process the paths that are named; seccomp takes away what no command
 * ever does: starting programs, sockets, looking into other processes, changing the system.
 * Neither can be taken back, and every thread made later has what is left. Sources: the
 * kernel's Documentation/userspace-api/landlock.rst and seccomp_filter.rst. */
#ifndef GK_FORMATS_SANDBOX_H
#define GK_FORMATS_SANDBOX_H

#include "formats/err.h"

/* Bits of what the kernel has, and of what was entered. */
enum {
    GK_SANDBOX_LANDLOCK = 1,
    GK_SANDBOX_SECCOMP = 2,
};

/* A file, or a folder with all in it. A path that is not there is passed over: nothing in
 * its place can be opened. */
typedef struct gk_sandbox_path {
    const char *path;
    bool        write; /* and create, rename and remove in it; else only read */
} gk_sandbox_path;

/* Returns the bits that this build can use on this kernel: none under a sanitizer, whose
 * own machinery needs rights. */
int gk_sandbox_has(void);

/* Returns "landlock+seccomp", "seccomp", "landlock" or "none". */
const char *gk_sandbox_name(int bits);

/* Enters what gk_sandbox_has() says, for all threads there will be; seccomp also for those
 * there are. Files that are open stay so. Does what can be done: *entered has its bits. False
 * and IO when a step failed that the kernel should know. */
bool gk_sandbox_enter(const gk_sandbox_path *path, uint64_t n, int *entered, gk_err *err);

#endif
