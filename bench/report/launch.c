/* report/launch.c: the program `ouro-launch`: runs a program with a library preloaded and writes what it used as JSON.
 *
 * Owns        one child.
 * Invariants  small, so that the peak RSS that the kernel keeps across fork and exec is the child's own.
 * Sync        none
 * Source      wait4(2), getrusage(2)
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double timeval_seconds(struct timeval value)
{
    return (double)value.tv_sec + 1e-6 * (double)value.tv_usec;
}

static double now_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static void child(const char *library, char **argv)
{
    if (library[0] != '\0')
        setenv("LD_PRELOAD", library, 1);
    execvp(argv[0], argv);
    fprintf(stderr, "ouro-launch: %s: %s\n", argv[0], strerror(errno));
    _exit(127);
}

int main(int argc, char **argv)
{
    if (argc < 5 || strcmp(argv[3], "--") != 0) {
        fputs(
            "usage: ouro-launch OUT.json LIBRARY -- PROGRAM [ARGS]    (LIBRARY \"\": none)\n"
            "Writes seconds, CPU seconds, peak RSS (the largest process of the tree) and page faults (the whole tree).\n",
            stderr);
        return 2;
    }
    double start = now_seconds();
    pid_t pid = fork();
    if (pid == 0)
        child(argv[2], argv + 4);
    int status = 0;
    struct rusage used;
    while (pid > 0 && wait4(pid, &status, 0, &used) < 0)
        if (errno != EINTR)
            pid = -1;
    double seconds = now_seconds() - start;
    FILE *out = pid > 0 ? fopen(argv[1], "w") : NULL;
    if (out == NULL) {
        fprintf(stderr, "ouro-launch: %s\n", strerror(errno));
        return 1;
    }
    int code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    fprintf(out,
            "{\"status\": %d, \"seconds\": %.6f, \"cpu_seconds\": %.6f, \"peak_rss_kib\": %ld, \"minor_faults\": %ld, "
            "\"major_faults\": %ld}\n",
            code, seconds, timeval_seconds(used.ru_utime) + timeval_seconds(used.ru_stime), used.ru_maxrss,
            used.ru_minflt, used.ru_majflt);
    return fclose(out) == 0 ? code : 1;
}
