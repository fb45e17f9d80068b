/* tests/test_sandbox.c - what a process inside the sandbox can no longer do, from the thread
 * that entered it, from one made before and from one made after. What this kernel lacks is
 * skipped and said. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/test.h"

#include "formats/sandbox.h"

#define WORK "build/tmp/test_sandbox"

static int held; /* a descriptor from before */
static int has;

/* Each returns 0 when it is as it should be, else a line number. */
#define MUST(what)                                                                                 \
    do {                                                                                           \
        if (!(what))                                                                               \
            return __LINE__;                                                                       \
    } while (0)

static bool fails(long result, int with) { return result < 0 && errno == with; }

static int no_foreign_files(void)
{
    char byte;

    MUST(fails(open("/etc/passwd", O_RDONLY), EACCES));
    MUST(fails(open(WORK "/secret", O_RDONLY), EACCES));
    MUST(fails(open("/", O_RDONLY | O_DIRECTORY), EACCES));
    MUST(fails(open(WORK "/in/new", O_WRONLY | O_CREAT, 0666), EACCES));
    MUST(fails(open(WORK "/in/file", O_WRONLY), EACCES));
    MUST(fails(unlink(WORK "/in/file"), EACCES));
    MUST(fails(rename(WORK "/in/file", WORK "/out/file"), EACCES)
         || fails(rename(WORK "/in/file", WORK "/out/file"), EXDEV));
    const int fd = open(WORK "/in/file", O_RDONLY);
    MUST(fd >= 0 && read(fd, &byte, 1) == 1 && byte == 'x');
    close(fd);
    return 0;
}

/* Named after the thread, as three do this at once. */
static int writes_where_it_may(int n)
{
    char from[200], to[240];

    snprintf(from, sizeof from, WORK "/out/partial-%d", n);
    snprintf(to, sizeof to, "%s/file", from);
    MUST(mkdir(from, 0777) == 0);
    const int fd = open(to, O_RDWR | O_CREAT | O_EXCL, 0666);
    MUST(fd >= 0 && write(fd, "x", 1) == 1 && ftruncate(fd, 10) == 0 && fsync(fd) == 0);
    close(fd);
    snprintf(from, sizeof from, WORK "/out/done-%d", n);
    MUST(rename(to, from) == 0); /* from one folder to another */
    MUST(unlink(from) == 0);
    snprintf(from, sizeof from, WORK "/out/partial-%d", n);
    MUST(rmdir(from) == 0);
    return 0;
}

static int no_programs_or_sockets(void)
{
    char *argv[] = {(char[]){"/bin/true"}, NULL};

    MUST(fails(socket(AF_INET, SOCK_STREAM, 0), EPERM));
    MUST(fails(socket(AF_UNIX, SOCK_DGRAM, 0), EPERM));
    MUST(fails(execve("/bin/true", argv, NULL), EPERM));
    MUST(fails(fork(), EPERM));
    MUST(WEXITSTATUS(system("true")) == 127);
    MUST(fails(ptrace(PTRACE_TRACEME, 0, NULL, NULL), EPERM));
    MUST(fails(kill(getppid(), SIGCONT), EPERM));
    return 0;
}

/* What the program goes on doing: descriptors, memory, threads, questions about processes. */
static int works_on(void)
{
    char byte;
    void *p = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    MUST(p != MAP_FAILED && munmap(p, 1 << 20) == 0);
    MUST(pread(held, &byte, 1, 0) == 1 && byte == 'x');
    MUST(kill(getpid(), SIGCONT) == 0 && fails(kill(4194304, 0), ESRCH)); /* no such process */
    const int fd = memfd_create("x", MFD_CLOEXEC);
    MUST(fd >= 0 && write(fd, "x", 1) == 1);
    close(fd);
    return 0;
}

static int everything(int n, bool files)
{
    int line = works_on();

    if (line == 0 && (has & GK_SANDBOX_SECCOMP) != 0)
        line = no_programs_or_sockets();
    if (line == 0 && (has & GK_SANDBOX_LANDLOCK) != 0 && files)
        line = no_foreign_files();
    return line != 0 || !files ? line : writes_where_it_may(n);
}

static pthread_barrier_t entered;

/* Made before: only seccomp reaches it, which is why commands enter before there are any. */
static void *older(void *line)
{
    pthread_barrier_wait(&entered);
    *(int *)line = everything(1, false);
    return NULL;
}

static void *younger(void *line)
{
    *(int *)line = everything(2, true);
    return NULL;
}

/* In the child. Returns 0, or 100 and more: entering failed. */
static int inside(void)
{
    static const gk_sandbox_path paths[] = {
        {WORK "/in", false}, {WORK "/out", true}, {WORK "/is not there", true}};
    gk_err err = {0};
    pthread_t before, after;
    int lines[2] = {-1, -1}, got;

    MUST(pthread_barrier_init(&entered, NULL, 2) == 0);
    MUST(pthread_create(&before, NULL, older, &lines[0]) == 0);
    MUST(gk_sandbox_enter(paths, 3, &got, &err) && got == has);
    pthread_barrier_wait(&entered);
    MUST(pthread_create(&after, NULL, younger, &lines[1]) == 0);
    const int mine = everything(0, true);
    pthread_join(before, NULL);
    pthread_join(after, NULL);
    return mine != 0 ? mine : lines[1] != 0 ? lines[1] : lines[0];
}

static void gives_up_what_it_does_not_need(void **state)
{
    (void)state;
    int status, fds[2], line = -1;

    has = gk_sandbox_has();
    print_message("this kernel and build: %s\n", gk_sandbox_name(has));
    if (has == 0)
        skip();
    assert_int_equal(pipe(fds), 0);
    const pid_t pid = fork();
    if (pid == 0) {
        line = inside();
        _exit(write(fds[1], &line, sizeof line) == sizeof line ? 0 : 1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    assert_int_equal(read(fds[0], &line, sizeof line), sizeof line);
    if (line != 0)
        fail_msg("line %d does not hold inside the sandbox", line);
    close(fds[0]);
    close(fds[1]);
}

static void names_what_there_is(void **state)
{
    (void)state;
    assert_string_equal(gk_sandbox_name(0), "none");
    assert_string_equal(gk_sandbox_name(GK_SANDBOX_SECCOMP), "seccomp");
    assert_string_equal(gk_sandbox_name(GK_SANDBOX_LANDLOCK | GK_SANDBOX_SECCOMP),
                        "landlock+seccomp");
#if defined __SANITIZE_ADDRESS__
    assert_int_equal(gk_sandbox_has(), 0);
#endif
}

static void put(const char *path)
{
    const int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0666);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "x", 1), 1);
    close(fd);
}

static int make_files(void **state)
{
    (void)state;
    mkdir("build", 0777);
    mkdir("build/tmp", 0777);
    mkdir(WORK, 0777);
    mkdir(WORK "/in", 0777);
    mkdir(WORK "/out", 0777);
    put(WORK "/secret");
    put(WORK "/in/file");
    held = open(WORK "/secret", O_RDONLY);
    return held < 0;
}

static int remove_files(void **state)
{
    (void)state;
    close(held);
    unlink(WORK "/in/file");
    unlink(WORK "/secret");
    rmdir(WORK "/in");
    rmdir(WORK "/out");
    return rmdir(WORK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_what_there_is),
        cmocka_unit_test(gives_up_what_it_does_not_need),
    };
    return cmocka_run_group_tests(tests, make_files, remove_files);
}
