/* tests/bench/best.c - the shortest of many runs of a command, and the memory it took.
 *
 *   best SECONDS COMMAND [ARGUMENT ...]     prints "MILLISECONDS BYTES"
 *
 * Runs for that long, five times at least; from fork to exit, with standard output thrown
 * away. The memory is the highest of any run. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static double run_once(char **command)
{
    const double start = now();
    const pid_t child = fork();
    int status;

    if (child == 0) {
        const int null = open("/dev/null", O_WRONLY);
        if (null >= 0 && dup2(null, STDOUT_FILENO) >= 0)
            execv(command[0], command);
        _exit(127);
    }
    if (child < 0 || waitpid(child, &status, 0) != child || !WIFEXITED(status)
        || WEXITSTATUS(status) != 0) {
        fprintf(stderr, "best: '%s' failed\n", command[0]);
        exit(1);
    }
    return now() - start;
}

int main(int argc, char **argv)
{
    double best = 1e9;
    int runs = 0;
    struct rusage use;

    if (argc < 3)
        return 2;
    const double seconds = atof(argv[1]), begin = now();
    for (; runs < 5 || now() - begin < seconds; runs++) {
        const double took = run_once(argv + 2);
        best = took < best ? took : best;
    }
    getrusage(RUSAGE_CHILDREN, &use);
    printf("%.1f %ld\n", 1e3 * best, use.ru_maxrss * 1024);
    return 0;
}
