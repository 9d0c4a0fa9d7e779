/* tools/process.h: reads the statistics of another process out of its memory. The process has no part in it, is not
 * stopped, and need not answer; so what is read while it works is not all of one moment.
 */
#ifndef OURO_TOOL_PROCESS_H
#define OURO_TOOL_PROCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum { PROCESS_LIBRARIES = 4, PROCESS_CLASSES = 128, PROCESS_GENERATIONS = 3, PROCESS_DURATIONS = 304 };

/* One of our libraries in the process. */
struct process_library;

struct process {
    pid_t pid;
    char name[32]; /* the kernel's */
    size_t libraries;
    struct process_library *lib[PROCESS_LIBRARIES];
};

/* Finds our libraries in the process. False, with a message: there is no such process, it may not be looked into, there is
 * no library of ours in it, or one of another version. */
bool process_open(struct process *process, pid_t pid);
void process_close(struct process *process);
const char *process_library_name(const struct process_library *library);
const char *process_library_version(const struct process_library *library);

struct process_durations {
    uint64_t count, total_ns, max_ns, classes[PROCESS_DURATIONS];
};

struct process_figures {
    uint64_t reserved, committed, resident, allocated, peak, purged;
    uint64_t mallocs, frees, remote_frees;
    uint64_t threads, pools, large_blocks, large_bytes;
    size_t classes; /* 1 to classes - 1 */
    struct process_class {
        uint64_t size, mallocs, frees, pools, pool_bytes;
    } class[PROCESS_CLASSES];
    bool has_gc;
    uint64_t collections[PROCESS_GENERATIONS], collected[PROCESS_GENERATIONS], uncollectable[PROCESS_GENERATIONS];
    uint64_t last_pause_ns, last_workers;
    struct process_durations pauses; /* of all generations */
    struct process_durations stops;  /* their beginnings, until all threads had stopped */
};

/* Reads them. False: the process has ended, or is being replaced by another program. */
bool process_read(const struct process *process, size_t library, struct process_figures *figures);

/* The upper end of the class of durations that the quantile is in. */
uint64_t process_quantile(const struct process_durations *durations, unsigned per_mille);

/* What the kernel says. False: the process has ended. */
struct process_kernel {
    uint64_t resident, peak_resident, threads, cpu_ns, started_ticks;
};
bool process_kernel(const struct process *process, struct process_kernel *kernel);

#endif
