/* workloads/process.h: what the kernel says of a process, read without allocating.
 *
 * Owns        nothing
 * Invariants  no call here allocates, so that measuring does not change what is measured.
 * Sync        none
 * Source      proc(5), getrusage(2)
 */
#ifndef OURO_BENCH_PROCESS_H
#define OURO_BENCH_PROCESS_H

#include <stdint.h>
#include <sys/types.h>

struct ouroi_process_memory {
    long rss_kib;
    long peak_rss_kib;
};

struct ouroi_process_usage {
    double cpu_seconds;
    long minor_faults;
};

/* VmRSS and VmHWM; pid 0 is this process. 0, or -1 when there is no such process. */
int ouroi_process_memory(pid_t pid, struct ouroi_process_memory *memory);
struct ouroi_process_usage ouroi_process_usage(void);
uint64_t ouroi_clock_ns(void);
void ouroi_sleep_ns(uint64_t ns);

#endif
