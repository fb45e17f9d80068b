/* formats/sandbox.c - Landlock and seccomp through their system calls.
 *
 * The numbers are those of linux/landlock.h, written here because older headers lack some.
 * Landlock before its second version cannot rename between folders, which a commit does; it
 * is not used then. */
#include "formats/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "formats/io.h"

#define LANDLOCK_CREATE   444 /* the same on every machine */
#define LANDLOCK_ADD      445
#define LANDLOCK_RESTRICT 446

#define FS_EXECUTE     (UINT64_C(1) << 0)
#define FS_WRITE_FILE  (UINT64_C(1) << 1)
#define FS_READ_FILE   (UINT64_C(1) << 2)
#define FS_READ_DIR    (UINT64_C(1) << 3)
#define FS_REMOVE_DIR  (UINT64_C(1) << 4)
#define FS_REMOVE_FILE (UINT64_C(1) << 5)
#define FS_MAKE_DIR    (UINT64_C(1) << 7)
#define FS_MAKE_REG    (UINT64_C(1) << 8)
#define FS_REFER       (UINT64_C(1) << 13) /* version 2 */
#define FS_TRUNCATE    (UINT64_C(1) << 14) /* version 3 */
#define FS_ALL_2       ((UINT64_C(1) << 14) - 1)

typedef struct ruleset {
    uint64_t fs, net, scoped;
} ruleset;

typedef struct path_beneath {
    uint64_t allowed;
    int32_t  fd;
} __attribute__((packed)) path_beneath;

_Static_assert(sizeof(path_beneath) == 8 + 4, "as the kernel packs it");

/* ---- what there is ------------------------------------------------------------------ */

#if defined __SANITIZE_ADDRESS__ || defined __SANITIZE_THREAD__
#define SANITIZED 1
#elif defined __has_feature
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)                            \
    || __has_feature(memory_sanitizer)
#define SANITIZED 1
#endif
#endif

#if defined __x86_64__
#define MACHINE AUDIT_ARCH_X86_64
#elif defined __aarch64__
#define MACHINE AUDIT_ARCH_AARCH64
#endif

static long landlock_version(void)
{
    return syscall(LANDLOCK_CREATE, NULL, (size_t)0, 1u);
}

int gk_sandbox_has(void)
{
    int bits = 0;

#if !defined SANITIZED
    if (landlock_version() >= 2)
        bits |= GK_SANDBOX_LANDLOCK;
#if defined MACHINE
    const uint32_t action = SECCOMP_RET_ERRNO;
    if (syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) == 0)
        bits |= GK_SANDBOX_SECCOMP;
#endif
#endif
    return bits;
}

const char *gk_sandbox_name(int bits)
{
    static const char *const names[] = {"none", "landlock", "seccomp", "landlock+seccomp"};

    return names[bits & 3];
}

/* ---- Landlock: files, TCP, and signals to others ------------------------------------- */

/* Grants what is at path. True also when there is nothing. */
static bool allow(int rules, const gk_sandbox_path *p, uint64_t handled, gk_err *err)
{
    struct stat st;
    const int fd = open(p->path, O_PATH | O_CLOEXEC);

    if (fd < 0) /* nor could it be opened later */
        return true;
    uint64_t allowed = FS_READ_FILE | FS_READ_DIR;
    if (p->write)
        allowed |= FS_WRITE_FILE | FS_REMOVE_DIR | FS_REMOVE_FILE | FS_MAKE_DIR | FS_MAKE_REG
                   | FS_REFER | FS_TRUNCATE;
    if (fstat(fd, &st) == 0 && !S_ISDIR(st.st_mode))
        allowed &= FS_READ_FILE | FS_WRITE_FILE | FS_TRUNCATE;
    const path_beneath rule = {allowed & handled, fd};
    const bool ok = syscall(LANDLOCK_ADD, rules, 1, &rule, 0u) == 0 || errno == EBADFD;
    const int e = errno;
    close(fd);
    errno = e;
    return ok || gk_fail_errno(err, p->path, GK_NO_OFF, "grant");
}

static bool enter_landlock(const gk_sandbox_path *path, uint64_t n, gk_err *err)
{
    const long version = landlock_version();
    const ruleset all = {.fs = version >= 3 ? FS_ALL_2 | FS_TRUNCATE : FS_ALL_2,
                         .net = 3,     /* version 4: bind and connect  */
                         .scoped = 3}; /* version 6: abstract sockets and signals */
    const size_t size = version >= 6   ? sizeof all
                        : version >= 4 ? offsetof(ruleset, scoped)
                                       : offsetof(ruleset, net);
    const int rules = (int)syscall(LANDLOCK_CREATE, &all, size, 0u);
    bool ok = rules >= 0 || gk_fail_errno(err, "landlock", GK_NO_OFF, "create");

    for (uint64_t i = 0; ok && i < n; i++)
        ok = allow(rules, &path[i], all.fs, err);
    if (ok && syscall(LANDLOCK_RESTRICT, rules, 0u) != 0)
        ok = gk_fail_errno(err, "landlock", GK_NO_OFF, "enter");
    if (rules >= 0)
        close(rules);
    return ok;
}

/* ---- seccomp: system calls --------------------------------------------------------- */

#if defined MACHINE

/* A command makes threads and files, and never one of these. */
static const int denied[] = {
    SYS_execve, SYS_execveat,
#ifdef SYS_fork
    SYS_fork, SYS_vfork,
#endif
    SYS_socket, SYS_socketpair, SYS_connect, SYS_bind, SYS_listen, SYS_accept, SYS_accept4,
    SYS_sendto, SYS_sendmsg, SYS_sendmmsg,
    SYS_ptrace, SYS_process_vm_readv, SYS_process_vm_writev, SYS_kcmp,
    438 /* pidfd_getfd */, 424 /* pidfd_send_signal */, SYS_tkill, SYS_rt_sigqueueinfo,
    SYS_rt_tgsigqueueinfo,
    425 /* io_uring_setup */, 426, 427, SYS_io_setup,
    SYS_bpf, SYS_perf_event_open, SYS_userfaultfd, SYS_keyctl, SYS_add_key, SYS_request_key,
    SYS_mount, SYS_umount2, SYS_pivot_root, SYS_chroot, SYS_unshare, SYS_setns,
    428 /* open_tree */, 429 /* move_mount */, 430 /* fsopen */, 432 /* fsmount */,
    SYS_open_by_handle_at, SYS_name_to_handle_at, SYS_quotactl,
    SYS_init_module, SYS_finit_module, SYS_delete_module, SYS_kexec_load, SYS_reboot,
    SYS_swapon, SYS_swapoff, SYS_acct, SYS_syslog, SYS_sethostname, SYS_setdomainname,
    SYS_settimeofday, SYS_clock_settime, SYS_adjtimex, SYS_clock_adjtime, SYS_personality,
#ifdef SYS_iopl
    SYS_iopl, SYS_ioperm, SYS_modify_ldt, SYS_mknod,
#endif
    SYS_mknodat, SYS_setuid, SYS_setgid, SYS_setreuid, SYS_setregid, SYS_setresuid,
    SYS_setresgid, SYS_setgroups, SYS_capset,
};

#define N_DENIED ((int)(sizeof denied / sizeof denied[0]))

#define LOAD(field)    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define RETURN(action) BPF_STMT(BPF_RET | BPF_K, (action))
#define FORBID         RETURN(SECCOMP_RET_ERRNO | EPERM)
/* The next n instructions are for k alone. */
#define WHEN(k, n) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (k), 0, (n))

/* Of a 64-bit argument the low word, on machines that are little-endian. */
#define ARGUMENT(i) LOAD(args[i])

static bool enter_seccomp(gk_err *err)
{
    struct sock_filter f[2 * N_DENIED + 40];
    unsigned short n = 0;

#define ADD(...) f[n++] = (struct sock_filter)__VA_ARGS__
    ADD(LOAD(arch));
    ADD(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, MACHINE, 1, 0));
    ADD(FORBID);
    ADD(LOAD(nr));
#if defined __x86_64__ /* the calls of x32 have other numbers for the same */
    ADD(BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, 0x40000000, 0, 1));
    ADD(FORBID);
#endif
    for (int i = 0; i < N_DENIED; i++) {
        ADD(WHEN((uint32_t)denied[i], 1));
        ADD(FORBID);
    }
    /* its flags lie in memory: libc then asks clone, whose flags are seen */
    ADD(WHEN(435, 1));
    ADD(RETURN(SECCOMP_RET_ERRNO | ENOSYS));
    ADD(WHEN(SYS_clone, 4)); /* a thread, no process */
    ADD(ARGUMENT(0));
    ADD(BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, CLONE_THREAD, 1, 0));
    ADD(FORBID);
    ADD(RETURN(SECCOMP_RET_ALLOW));
    ADD(WHEN(SYS_kill, 6)); /* to ask whether somebody lives, or to oneself */
    ADD(ARGUMENT(0));
    ADD(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)getpid(), 3, 0));
    ADD(ARGUMENT(1));
    ADD(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 1, 0));
    ADD(FORBID);
    ADD(RETURN(SECCOMP_RET_ALLOW));
    ADD(WHEN(SYS_tgkill, 4)); /* to oneself, as an abort is */
    ADD(ARGUMENT(0));
    ADD(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)getpid(), 1, 0));
    ADD(FORBID);
    ADD(RETURN(SECCOMP_RET_ALLOW));
    ADD(WHEN(SYS_ioctl, 4)); /* no words put into a terminal's mouth: TIOCSTI */
    ADD(ARGUMENT(1));
    ADD(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0x5412, 0, 1));
    ADD(FORBID);
    ADD(RETURN(SECCOMP_RET_ALLOW));
    ADD(RETURN(SECCOMP_RET_ALLOW));
#undef ADD
    const struct sock_fprog program = {n, f};
    const long thread
        = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program);
    if (thread == 0)
        return true;
    errno = thread > 0 ? ESRCH : errno; /* a thread that has other filters */
    return gk_fail_errno(err, "seccomp", GK_NO_OFF, "enter");
}

#else

static bool enter_seccomp(gk_err *err)
{
    (void)err;
    return true;
}

#endif

bool gk_sandbox_enter(const gk_sandbox_path *path, uint64_t n, int *entered, gk_err *err)
{
    const int has = gk_sandbox_has();

    *entered = 0;
    if (has == 0)
        return true;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        return gk_fail_errno(err, "the process", GK_NO_OFF, "restrict");
    if ((has & GK_SANDBOX_LANDLOCK) != 0 && enter_landlock(path, n, err))
        *entered |= GK_SANDBOX_LANDLOCK;
    if ((has & GK_SANDBOX_SECCOMP) != 0 && enter_seccomp(err))
        *entered |= GK_SANDBOX_SECCOMP;
    return *entered == has;
}
