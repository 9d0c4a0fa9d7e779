/* stress/main.c: the program `ouro-stress`: options, the watchdog, threads that meet.
 *
 * Owns        `run`; the meeting of workers and checker.
 * Invariants  while the checker works, every worker is in a blocking region or has ended.
 * Sync        the meeting's mutex and condition; nothing of the library's.
 * Source      none
 */
#define _GNU_SOURCE
#include "stress.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { STUCK_S = 120 };

struct run run = { .seconds = 5, .threads = 4 };

static const struct {
    const char *name;
    void (*program)(void);
    const char *what;
} programs[] = {
    { "objects", objects_run, "graphs without cycles, changed and passed on by all threads; counts against an oracle" },
    { "threads", threads_run, "the same, by threads that come, block and go, leaving what they own to others" },
    { "trace", trace_run, "tracing switched on and off while blocks and objects are made, changed and freed" },
    { "slots", slots_run, "a few slots that all threads load, store, exchange and compare" },
    { "weak", weak_run, "weak references and maps against the last decref; callbacks, each once" },
    { "gc", gc_run, "islands of cycles, changed and passed on, while collections run back to back" },
    { "remote", remote_run, "blocks freed by other threads than made them, one by one and in bundles" },
    { "churn", churn_run, "blocks of threads that live for a moment and leave some to others" },
    { "handover", handover_run, "references that change hands until owner and last holder have forgotten each other" },
    { "resurrect", resurrect_run, "finalizers that bring objects back at random, by counts and by collections" },
    { "types", types_run, "the first objects of twenty thousand types, made by all threads at once" },
    { "heaps", heaps_run, "first-class heaps used by all threads, destroyed with all that is in them" },
    { "pressure", pressure_run, "threads that grow to 192 MiB and shrink to nothing in waves" },
    { "fork", fork_run, "fork in the middle of counting and collecting; the child does everything again" },
    { "memory", memory_run, "processes in which requests for memory fail, once or from then on" },
};
enum { PROGRAMS = sizeof programs / sizeof programs[0] };

double now_s(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

void stress_fail(const char *what, const char *file, int line)
{
    const char *slash = strrchr(file, '/');
    fprintf(stderr, "\n%s:%d: not so: %s\nouro-stress %s --seed %llu --threads %u --time %.0f\n",
            slash != NULL ? slash + 1 : file, line, what, run.program, (unsigned long long)run.seed, run.threads,
            run.seconds);
    fflush(stderr);
    abort();
}

/* Neighbouring seeds and streams are unrelated (the finalizer of splitmix64: Steele, Lea, Flood 2014). */
struct random random_seed(uint64_t stream)
{
    uint64_t z = run.seed * UINT64_C(0xd1342543de82ef95) + stream * UINT64_C(0x9e3779b97f4a7c15) + 1;
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    z ^= z >> 31;
    return (struct random){ z != 0 ? z : 1 };
}

/* The meeting. */
static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    unsigned working; /* workers that have not ended */
    unsigned resting;
    _Atomic bool asked;
    void (*work)(unsigned index);
} meeting = { .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER };

static void rest(void)
{
    pthread_mutex_lock(&meeting.lock);
    meeting.resting++;
    pthread_cond_broadcast(&meeting.changed);
    while (atomic_load(&meeting.asked))
        pthread_cond_wait(&meeting.changed, &meeting.lock);
    meeting.resting--;
    pthread_mutex_unlock(&meeting.lock);
}

void stress_rest(void)
{
    /* relaxed: a later turn will see it */
    if (!atomic_load_explicit(&meeting.asked, memory_order_relaxed))
        return;
    ouro_blocking_begin();
    rest();
    ouro_blocking_end();
}

static void *worker_main(void *arg)
{
    meeting.work((unsigned)(uintptr_t)arg);
    ouro_thread_unregister(); /* so that what others queued for it is done before it counts as ended */
    pthread_mutex_lock(&meeting.lock);
    meeting.working--;
    pthread_cond_broadcast(&meeting.changed);
    pthread_mutex_unlock(&meeting.lock);
    return NULL;
}

static bool all_rest(void)
{
    return meeting.resting == meeting.working;
}

/* Asks the workers to rest, checks, lets them go. */
static void meet(void (*check)(void))
{
    atomic_store(&meeting.asked, true);
    ouro_blocking_begin();
    pthread_mutex_lock(&meeting.lock);
    while (!all_rest())
        pthread_cond_wait(&meeting.changed, &meeting.lock);
    pthread_mutex_unlock(&meeting.lock);
    ouro_blocking_end();
    ouro_safepoint(); /* what threads that ended left to others */
    check();
    pthread_mutex_lock(&meeting.lock);
    atomic_store(&meeting.asked, false);
    pthread_cond_broadcast(&meeting.changed);
    while (meeting.resting > 0) { /* or one of them would be counted at the next meeting */
        pthread_mutex_unlock(&meeting.lock);
        usleep(100);
        pthread_mutex_lock(&meeting.lock);
    }
    pthread_mutex_unlock(&meeting.lock);
}

static bool sleep_or_stop(double end)
{
    ouro_blocking_begin();
    while (now_s() < end && !atomic_load(&run.stop))
        usleep(10000);
    ouro_blocking_end();
    return !atomic_load(&run.stop);
}

void run_checked(unsigned count, void (*work)(unsigned index), void (*check)(void), unsigned every_ms)
{
    pthread_t threads[MAX_THREADS];
    meeting.work = work;
    meeting.working = count;
    for (unsigned i = 0; i < count; i++)
        CHECK(pthread_create(&threads[i], NULL, worker_main, (void *)(uintptr_t)i) == 0);
    while (check != NULL && sleep_or_stop(now_s() + every_ms / 1e3))
        meet(check);
    ouro_blocking_begin();
    for (unsigned i = 0; i < count; i++)
        pthread_join(threads[i], NULL);
    ouro_blocking_end();
    ouro_safepoint();
    if (check != NULL)
        check();
}

void run_threads(unsigned count, void (*work)(unsigned index))
{
    run_checked(count, work, NULL, 0);
}

/* Time, progress, and the watchdog. */
static void *clock_main(void *arg)
{
    (void)arg;
    double start = now_s(), moved = start;
    uint64_t last = 0;
    bool terminal = isatty(1);
    while (!atomic_load(&run.stop) || now_s() < moved + STUCK_S) {
        usleep(50000);
        double now = now_s();
        uint64_t operations = atomic_load(&run.operations);
        if (operations != last)
            moved = now;
        last = operations;
        if (now - start >= run.seconds)
            atomic_store(&run.stop, true);
        if (terminal)
            printf("\r%s: %.0f s of %.0f, %.1f million operations ", run.program, now - start, run.seconds,
                   (double)operations / 1e6),
                fflush(stdout);
        if (now > moved + STUCK_S)
            stress_fail("something moves (watchdog)", __FILE__, __LINE__);
    }
    stress_fail("the program ends in time (watchdog)", __FILE__, __LINE__);
}

static double took_s[PROGRAMS];
static uint64_t done[PROGRAMS];

static void run_program(size_t which)
{
    pthread_t clock;
    run.program = programs[which].name;
    atomic_store(&run.stop, false);
    atomic_store(&run.operations, 0);
    CHECK(pthread_create(&clock, NULL, clock_main, NULL) == 0);
    double start = now_s();
    programs[which].program();
    CHECK(ouro_debug_check() == 0);
    pthread_cancel(clock);
    pthread_join(clock, NULL);
    took_s[which] = now_s() - start;
    done[which] = atomic_load(&run.operations);
    printf("%s%s: ok, seed %llu, %u threads, %.1f s, %llu operations\n", isatty(1) ? "\r\033[K" : "", run.program,
           (unsigned long long)run.seed, run.threads, now_s() - start,
           (unsigned long long)atomic_load(&run.operations));
    fflush(stdout);
}

/* Where several were run. */
static void summary(unsigned count)
{
    if (count < 2)
        return;
    printf("\n%u programs, all well; seed %llu, %u threads\n", count, (unsigned long long)run.seed, run.threads);
    for (size_t i = 0; i < PROGRAMS; i++)
        if (took_s[i] > 0)
            printf("%-9s %8.1f s %14llu operations\n", programs[i].name, took_s[i], (unsigned long long)done[i]);
}

static int usage(FILE *file, int status)
{
    fputs(
        "usage: ouro-stress PROGRAM...|all [--seed N] [--time SECONDS] [--threads N]\n"
        "       ouro-stress --list\n"
        "Runs each program for that long (default: 5 s, 4 threads, a seed out of the clock). Exit status 0: all was well.\n"
        "OURO_TEST_LONG=1 in the environment makes it ten times as long.\n",
        file);
    return status;
}

int main(int argc, char **argv)
{
    bool wanted[PROGRAMS] = { false }, any = false, is_child = false;
    run.seed = (uint64_t)time(NULL) % 1000000;
    for (int at = 1; at < argc; at++) {
        const char *word = argv[at], *value = at + 1 < argc ? argv[at + 1] : NULL;
        size_t which = 0;
        while (which < PROGRAMS && strcmp(word, programs[which].name) != 0)
            which++;
        if (strcmp(word, "--list") == 0) {
            for (size_t i = 0; i < PROGRAMS; i++)
                printf("%-9s  %s\n", programs[i].name, programs[i].what);
            return 0;
        } else if (strcmp(word, "--help") == 0) {
            return usage(stdout, 0);
        } else if (strcmp(word, "--seed") == 0 && value != NULL) {
            run.seed = strtoull(argv[++at], NULL, 10);
        } else if ((strcmp(word, "--seconds") == 0 || strcmp(word, "--time") == 0) && value != NULL) {
            run.seconds = strtod(argv[++at], NULL);
        } else if (strcmp(word, "--threads") == 0 && value != NULL) {
            run.threads = (unsigned)strtoul(argv[++at], NULL, 10);
        } else if (strcmp(word, "memory-child") == 0) { /* what `memory` starts */
            is_child = true;
        } else if (which < PROGRAMS || strcmp(word, "all") == 0) {
            for (size_t i = 0; i < PROGRAMS; i++)
                wanted[i] |= i == which || which == PROGRAMS;
            any = true;
        } else {
            return usage(stderr, 2);
        }
    }
    if (is_child)
        return memory_child();
    if (!any || run.threads == 0 || run.threads > MAX_THREADS)
        return usage(stderr, 2);
    const char *longer = getenv("OURO_TEST_LONG");
    if (longer != NULL && strcmp(longer, "0") != 0)
        run.seconds *= 10;
    printf("seed %llu\n", (unsigned long long)run.seed);
    fflush(stdout);
    unsigned count = 0;
    for (size_t i = 0; i < PROGRAMS; i++)
        if (wanted[i]) {
            run_program(i);
            count++;
        }
    summary(count);
    return 0;
}
