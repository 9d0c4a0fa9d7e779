/* base/sched.h: the scheduler of the `sched` build: runs the threads of a test one at a time, and decides at each point
 * which goes on.
 *
 * Owns        the threads of a scenario, the schedule of the round that is going on.
 * Invariants  of the threads of a round one runs, and it alone touches the scheduler's words. A point of a thread that is in
 *             no round, or outside of the round's bodies, does nothing.
 * Sync        semaphores of libc's: nothing here has a point.
 * Source      Musuvathi, Qadeer, "Iterative context bounding", PLDI 2007 (depth first, few preemptions); Burckhardt, Kothari,
 *             Musuvathi, Nagarakatte, "A randomized scheduler with probabilistic guarantees", ASPLOS 2010 (PCT).
 *
 * A preemption is a switch away from a thread that could go on. A schedule is written as the switches that were not the
 * default, "step:thread step:thread ..."; the default is that the running thread goes on, or, where it cannot, the lowest of
 * those that can.
 */
#ifndef OUROI_SCHED_H
#define OUROI_SCHED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define OUROI_SCHED_THREADS 4u

struct ouroi_scenario {
    const char *name;
    unsigned threads;
    unsigned preemptions; /* at most, in an exhaustive search */
    /* A round: begin, by the caller; before of each thread, in their order, one after the other; the bodies, scheduled; done,
     * by the caller; after of each thread, last first; end, by the caller. NULL: nothing. */
    void (*begin)(void);
    void (*before)(unsigned thread);
    void (*body)(unsigned thread);
    void (*done)(void);
    void (*after)(unsigned thread);
    void (*end)(void);
    /* Called at each point of a body, which is before an access to *address, written in `file`. False: no point, as the
     * threads do not meet in this word, or how they do is another scenario's matter. May fail. */
    bool (*look)(unsigned thread, const void *address, const char *file);
};

struct ouroi_sched_result {
    uint64_t schedules;
    uint64_t
        diverged; /* of those, how many did other than their prefix did before: the search is not exhaustive then */
    unsigned steps_max; /* of one schedule */
    bool complete;      /* there is no other schedule within the bound */
};

/* Every schedule within scenario->preemptions, at most `limit`. */
struct ouroi_sched_result ouroi_sched_search(const struct ouroi_scenario *scenario, uint64_t limit);
/* Schedules by random priorities, that change at `changes` places; the first by `seed`, the next by seed + 1. */
struct ouroi_sched_result ouroi_sched_random(const struct ouroi_scenario *scenario, uint64_t seed, uint64_t count,
                                             unsigned changes);
/* One, as it was written. */
struct ouroi_sched_result ouroi_sched_replay(const struct ouroi_scenario *scenario, const char *schedule);

/* What a test, or the scheduler, found: one line, the schedule, and the end of the process with status 1. Of a deadlock and
 * of more steps than a round may have the scheduler says it by itself. */
_Noreturn void ouroi_sched_fail(const char *what);
/* Prints the schedule of this round, if there is one; for a signal handler. */
void ouroi_sched_print(void);

/* In place of the kernel's futexes. False: the caller is in no round, and asks the kernel. A wait with a timeout ends when
 * nobody else can go on. */
bool ouroi_sched_wait(uint32_t *word, uint32_t value, bool has_timeout);
bool ouroi_sched_wake(uint32_t *word, unsigned count);
/* In place of sched_yield: another thread runs, if one can; no preemption. */
bool ouroi_sched_yield(void);

#endif
