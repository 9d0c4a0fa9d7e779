/* stress/stress.h: programs that run for long, by a seed, with an oracle.
 *
 * Owns        one struct run; the programs own what they make.
 * Invariants  a program ends with nothing left: what it made has died, each once. stress_fail ends the process and prints the
 *             seed.
 * Sync        workers tell of progress by run->operations; a watchdog ends a process in which that stands still.
 */
#ifndef STRESS_H
#define STRESS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <ouro/gc.h>
#include <ouro/object.h>
#include <ouro/ouro.h>
#include <ouro/weakref.h>

enum { MAX_THREADS = 256 };

struct run {
    const char *program;
    uint64_t seed;
    double seconds;
    unsigned threads;
    _Atomic bool stop; /* set by main when the time is over */
    _Atomic uint64_t operations;
};
extern struct run run;

void objects_run(void);
void threads_run(void);
void slots_run(void);
void trace_run(void);
void weak_run(void);
void gc_run(void);
void remote_run(void);
void churn_run(void);
void handover_run(void);
void resurrect_run(void);
void types_run(void);
void heaps_run(void);
void pressure_run(void);
void fork_run(void);
void memory_run(void);
int memory_child(void); /* the exit status */

#define CHECK(condition)                                 \
    do {                                                 \
        if (!(condition))                                \
            stress_fail(#condition, __FILE__, __LINE__); \
    } while (0)
void stress_fail(const char *what, const char *file, int line) __attribute__((noreturn));

/* Cheap random numbers: xorshift64* (Marsaglia 2003, Vigna 2016), a stream for each (seed, stream). */
struct random {
    uint64_t state;
};
struct random random_seed(uint64_t stream);
static inline uint64_t random_next(struct random *random)
{
    uint64_t x = random->state;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    random->state = x;
    return x * UINT64_C(0x2545f4914f6cdd1d);
}
static inline uint32_t random_below(struct random *random, uint32_t bound)
{
    return (uint32_t)(((random_next(random) >> 32) * bound) >> 32);
}

double now_s(void);

/* Runs work(index) on `count` threads and waits for them in a blocking region. */
void run_threads(unsigned count, void (*work)(unsigned index));

/* Calls check() again and again, with every worker in a blocking region, at a safe place of its own (stress_rest). Workers
 * call stress_rest often; it returns at once if nothing is asked. The checker runs on the thread that called run_checked. */
void run_checked(unsigned count, void (*work)(unsigned index), void (*check)(void), unsigned every_ms);
void stress_rest(void);

#endif
