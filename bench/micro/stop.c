/* micro/stop.c: how long the world takes to stop and start, beyond what the scheduler alone takes.
 *
 *   ouro-micro-stop [--threads N] [--blocking N] [--rounds N]
 *
 * N threads (16), half of them running with a safepoint every microsecond, half asleep in blocking regions. Turn by turn, in one
 * run: a stop of the world, from the request until every thread is stopped, and a barrier of the running threads made of one
 * futex, until all have arrived, which is what any stop that waits for safepoints needs of the scheduler. Prints percentiles
 * of both in microseconds, and the difference of the medians. Looks inside the library, as the tests do.
 */
#include "world/world.h"

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { MAX_THREADS = 256, MAX_ROUNDS = 100000 };

static _Atomic uint32_t turn;    /* odd: the barrier is wanted */
static _Atomic uint32_t arrived; /* running threads at the barrier */
static _Atomic bool done;
static uint32_t running;
static unsigned poll_spins;

static void futex_wait(_Atomic uint32_t *word, uint32_t value)
{
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, NULL, NULL, 0);
}

static void futex_wake_all(_Atomic uint32_t *word)
{
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT32_MAX, NULL, NULL, 0);
}

static double now_us(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec * 1e6 + (double)ts.tv_nsec / 1e3;
}

static void spin(unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        __asm__ volatile("" ::: "memory");
}

/* Turns of the empty loop in a microsecond. */
static unsigned calibrate(void)
{
    double best = 1e9;
    for (int i = 0; i < 20; i++) {
        double start = now_us();
        spin(100000);
        double took = now_us() - start;
        best = took < best ? took : best;
    }
    return (unsigned)(100000 / best) + 1;
}

static void at_barrier(uint32_t seen)
{
    if (atomic_fetch_add(&arrived, 1) + 1 == running)
        futex_wake_all(&arrived);
    while (atomic_load(&turn) == seen)
        futex_wait(&turn, seen);
}

static void *run_with_polls(void *arg)
{
    ouro_thread_register();
    while (!atomic_load_explicit(&done, memory_order_relaxed)) {
        spin(poll_spins);
        ouro_safepoint();
        uint32_t seen = atomic_load_explicit(&turn, memory_order_acquire);
        if ((seen & 1) != 0)
            at_barrier(seen);
    }
    return arg;
}

static void *sleep_in_regions(void *arg)
{
    ouro_thread_register();
    while (!atomic_load_explicit(&done, memory_order_relaxed))
        OURO_BLOCKING {
            usleep(1000);
        }
    return arg;
}

static double barrier_once(void)
{
    double start = now_us();
    atomic_store(&arrived, 0);
    atomic_fetch_add(&turn, 1);
    for (uint32_t there; (there = atomic_load(&arrived)) != running;)
        futex_wait(&arrived, there);
    double took = now_us() - start;
    atomic_fetch_add(&turn, 1);
    futex_wake_all(&turn);
    return took;
}

static double stop_once(void)
{
    double start = now_us();
    ouroi_world_stop();
    double took = now_us() - start;
    ouroi_world_start();
    return took;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void print_percentiles(const char *what, double *times, size_t rounds)
{
    qsort(times, rounds, sizeof *times, compare);
    printf("%-8s  %9.1f %9.1f %9.1f %9.1f us\n", what, times[rounds / 10], times[rounds / 2], times[rounds * 9 / 10],
           times[rounds - 1]);
}

static void *make(size_t count, size_t size)
{
    void *p = calloc(count, size);
    if (p == NULL) {
        fprintf(stderr, "ouro-micro-stop: no memory\n");
        exit(1);
    }
    return p;
}

static int usage(void)
{
    fprintf(stderr, "usage: ouro-micro-stop [--threads N] [--blocking N] [--rounds N]\n");
    return 2;
}

int main(int argc, char **argv)
{
    static const struct option known[] = { { "threads", required_argument, NULL, 't' },
                                           { "blocking", required_argument, NULL, 'b' },
                                           { "rounds", required_argument, NULL, 'r' },
                                           { NULL, 0, NULL, 0 } };
    unsigned long threads = 16, blocking = ULONG_MAX, rounds = 400;
    for (int option; (option = getopt_long(argc, argv, "", known, NULL)) != -1;) {
        unsigned long value = option != '?' ? strtoul(optarg, NULL, 10) : 0;
        if (option == 't')
            threads = value;
        else if (option == 'b')
            blocking = value;
        else if (option == 'r')
            rounds = value;
        else
            return usage();
    }
    if (blocking == ULONG_MAX)
        blocking = threads / 2;
    if (threads > MAX_THREADS || blocking >= threads || rounds < 10 || rounds > MAX_ROUNDS)
        return usage();
    running = (uint32_t)(threads - blocking);
    poll_spins = calibrate();
    double *stops = make(rounds, sizeof *stops), *barriers = make(rounds, sizeof *barriers);
    pthread_t *ids = make(threads, sizeof *ids);
    ouro_thread_register();
    for (unsigned long i = 0; i < threads; i++)
        if ((errno = pthread_create(&ids[i], NULL, i < blocking ? sleep_in_regions : run_with_polls, NULL)) != 0) {
            perror("ouro-micro-stop: pthread_create");
            return 1;
        }
    for (unsigned long i = 0; i < rounds; i++) {
        OURO_BLOCKING {
            usleep(3000);
        }
        if (i % 2 == 0) {
            barriers[i] = barrier_once();
            stops[i] = stop_once();
        } else {
            stops[i] = stop_once();
            barriers[i] = barrier_once();
        }
    }
    atomic_store(&done, true);
    OURO_BLOCKING {
        for (unsigned long i = 0; i < threads; i++)
            pthread_join(ids[i], NULL);
    }
    printf("%lu threads, %lu of them asleep in blocking regions; %lu rounds\n", threads, blocking, rounds);
    printf("%-8s  %9s %9s %9s %9s\n", "", "10%", "median", "90%", "longest");
    print_percentiles("barrier", barriers, rounds);
    print_percentiles("stop", stops, rounds);
    printf("difference of the medians: %.1f us\n", stops[rounds / 2] - barriers[rounds / 2]);
    free(stops);
    free(barriers);
    free(ids);
    return 0;
}
