/* workloads/workload.h: what a workload is, and the thread team it runs on.
 *
 * Owns        the contract between main.c and one file per workload.
 * Invariants  a workload does the same seeded work whatever allocator is below it: `ops` units in all,
 *             shared out over the threads; it frees all it allocated unless its page says otherwise.
 * Sync        a team starts behind one barrier and is joined.
 * Source      none; every load is written anew.
 */
#ifndef OURO_BENCH_WORKLOAD_H
#define OURO_BENCH_WORKLOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ouroi_job {
    unsigned threads;
    uint64_t ops;
    uint64_t seed;
    bool pin; /* each thread of a team stays on one processor: steadier, and further from what servers do */
};

enum ouroi_group { OUROI_ONE_THREAD, OUROI_MANY_THREADS };

struct ouroi_workload {
    const char *name;
    const char *stands_for;
    enum ouroi_group group;
    unsigned threads; /* the default; a one-thread load ignores --threads */
    unsigned min_threads;
    uint64_t ops; /* the default, for about 0.4 to 1 s under jemalloc on one slow core */
    bool
        malloc_bound; /* at least half of its instructions are the allocator's, its copying and clearing included, under jemalloc */
    void (*run)(const struct ouroi_job *job);
};

extern const struct ouroi_workload ouroi_workloads[];
extern const size_t ouroi_workload_count;

/* One thread of a team. */
struct ouroi_member {
    const struct ouroi_job *job;
    void *shared;
    unsigned index;
    unsigned threads;
    uint64_t ops;  /* this thread's share */
    uint64_t seed; /* its own stream */
};

typedef void (*ouroi_member_fn)(struct ouroi_member *member);

/* Runs fn on `threads` new threads that start together, shares ops out evenly, joins them. */
void ouroi_team_run(const struct ouroi_job *job, unsigned threads, uint64_t ops, ouroi_member_fn fn, void *shared);

/* One line on stderr and exit status 1: a benchmark that went wrong must not print a number. */
_Noreturn void ouroi_bench_die(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
