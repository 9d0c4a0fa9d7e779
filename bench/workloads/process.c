/* workloads/process.c: see process.h.
 *
 * Owns        nothing
 * Invariants  see process.h
 * Sync        none
 * Source      proc(5), getrusage(2)
 */
#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

static long status_field(const char *status, const char *name)
{
    const char *at = strstr(status, name);
    return at != NULL ? strtol(at + strlen(name), NULL, 10) : 0;
}

int ouroi_process_memory(pid_t pid, struct ouroi_process_memory *memory)
{
    char path[64];
    char status[4096];
    if (pid == 0)
        snprintf(path, sizeof path, "/proc/self/status");
    else
        snprintf(path, sizeof path, "/proc/%ld/status", (long)pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    ssize_t got = read(fd, status, sizeof status - 1);
    close(fd);
    if (got <= 0)
        return -1;
    status[got] = '\0';
    memory->rss_kib = status_field(status, "VmRSS:");
    memory->peak_rss_kib = status_field(status, "VmHWM:");
    return memory->rss_kib > 0 ? 0 : -1;
}

struct ouroi_process_usage ouroi_process_usage(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (struct ouroi_process_usage){
        .cpu_seconds = (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
                       1e-6 * (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec),
        .minor_faults = usage.ru_minflt,
    };
}

uint64_t ouroi_clock_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

void ouroi_sleep_ns(uint64_t ns)
{
    struct timespec rest = { .tv_sec = (time_t)(ns / UINT64_C(1000000000)),
                             .tv_nsec = (long)(ns % UINT64_C(1000000000)) };
    while (nanosleep(&rest, &rest) != 0 && errno == EINTR)
        ;
}
