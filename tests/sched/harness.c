/* sched/harness.c: see harness.h. */
#include "harness.h"

#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "object/object.h"
#include "os/os.h"

#include <ouro/ouro.h>

void expect(bool is, const char *what)
{
    if (!is)
        ouroi_sched_fail(what);
}

enum { WORDS_MAX = 64 };
static struct range {
    uintptr_t begin, end;
} shared[WORDS_MAX];
static unsigned shared_count;
extern char __data_start[], _end[];

void share_nothing(void)
{
    shared_count = 0;
}

void share(const void *at, size_t bytes)
{
    if (at != NULL && shared_count < WORDS_MAX)
        shared[shared_count++] = (struct range){ (uintptr_t)at, (uintptr_t)at + bytes };
}

static void share_thread(struct ouroi_thread *thread, void *arg)
{
    (void)arg;
    share(thread, sizeof *thread);
    share(thread->object, offsetof(struct ouroi_object_thread, dying));
    if (thread->object != NULL)
        share(&ouroi_object_thread(thread)->lock, sizeof(struct ouroi_lock));
    share(thread->self, sizeof *thread->self);
}

/* Whether a static word is the heap's, or that of a layer below, which have their own protocols, and whose words are looked
 * at in some rounds and not in others. */
static bool is_of_heap(const void *address, const char *file)
{
    static const char *const layers[] = { "lib/arena/", "lib/pool/", "lib/heap/" };
    for (unsigned i = 0; i < sizeof layers / sizeof layers[0]; i++)
        if (strstr(file, layers[i]) != NULL)
            return true;
    return strstr(file, "lib/sync/lock.c") != NULL && ((const struct ouroi_lock *)address)->rank >= OUROI_RANK_START;
}

void share_world(void)
{
    share_nothing();
    ouroi_thread_each(share_thread, NULL);
    share(__data_start, (size_t)(_end - __data_start));
}

bool is_lock(const void *address, const char *file, unsigned rank)
{
    return strstr(file, "lib/sync/lock.c") != NULL && ((const struct ouroi_lock *)address)->rank == rank;
}

bool is_shared(const void *address, const char *file)
{
    uintptr_t at = (uintptr_t)address;
    for (unsigned i = 0; i < shared_count; i++)
        if (at >= shared[i].begin && at < shared[i].end)
            return !is_of_heap(address, file);
    return false;
}

/* The kernel's part. */

static void (*kernel_wait)(uint32_t *word, uint32_t value, uint64_t timeout_ns);
static void (*kernel_wake)(uint32_t *word, unsigned count);
static uint64_t clock_ns = 1; /* goes on by waiting, so that it is the same each time */

static void wait_here(uint32_t *word, uint32_t value, uint64_t timeout_ns)
{
    if (!ouroi_sched_wait(word, value, timeout_ns != 0))
        kernel_wait(word, value, timeout_ns);
    else
        clock_ns += timeout_ns;
}

static uint64_t now_here(void)
{
    return clock_ns;
}

static void wake_here(uint32_t *word, unsigned count)
{
    if (!ouroi_sched_wake(word, count))
        kernel_wake(word, count);
}

/* In place of libc's: world/world.c waits with it for a pin to be dropped. */
int sched_yield(void)
{
    ouroi_sched_yield();
    return 0;
}

static void crashed(int signo)
{
    ouroi_sched_print();
    signal(signo, SIG_DFL);
    raise(signo);
}

static const char usage[] =
    "usage: %s [--only TEXT] [--preemptions N] [--limit N] [--seed N] [--random N] [--changes N]\n"
    "                    [--replay SCHEDULE]\n"
    "--only: scenarios whose name has TEXT in it. --preemptions: at most so many, in place of what a scenario says.\n"
    "--limit: of schedules of one search. --random: schedules by random priorities, from --seed on. --replay: that schedule\n"
    "alone, as a failure printed it.\n";

static uint64_t number_of(const char *text)
{
    char *tail;
    unsigned long long value = strtoull(text, &tail, 10);
    if (*text == '\0' || *tail != '\0') {
        fprintf(stderr, usage, program_name);
        exit(2);
    }
    return value;
}

int main(int argc, char **argv)
{
    const char *only = "", *replay = NULL;
    uint64_t most = UINT64_MAX, limit = 400000, seed = 1, count = 2000, changes = 3;
    struct {
        const char *name;
        uint64_t *value;
    } numbers[] = {
        { "--preemptions", &most }, { "--limit", &limit },     { "--seed", &seed },
        { "--random", &count },     { "--changes", &changes },
    };
    for (int i = 1; i < argc; i += 2) {
        uint64_t *value = NULL;
        for (unsigned k = 0; k < sizeof numbers / sizeof numbers[0]; k++)
            if (strcmp(argv[i], numbers[k].name) == 0)
                value = numbers[k].value;
        if (i + 1 < argc && value != NULL) {
            *value = number_of(argv[i + 1]);
        } else if (i + 1 < argc && strcmp(argv[i], "--only") == 0) {
            only = argv[i + 1];
        } else if (i + 1 < argc && strcmp(argv[i], "--replay") == 0) {
            replay = argv[i + 1];
        } else {
            fprintf(stderr, usage, program_name);
            return 2;
        }
    }

    setvbuf(stdout, NULL, _IOLBF, 0);
    signal(SIGABRT, crashed);
    signal(SIGSEGV, crashed);
    ouroi_options.purge_delay_ns = UINT64_MAX; /* no thread in the background */
    ouroi_machine.cpus = 1;                    /* nobody spins */
    kernel_wait = ouroi_os.futex_wait;
    kernel_wake = ouroi_os.futex_wake;
    ouroi_os.futex_wait = wait_here;
    ouroi_os.futex_wake = wake_here;
    ouroi_os.now_ns = now_here;
    scenarios_start();
    ouro_blocking_begin();

    uint64_t total = 0;
    bool all_complete = true;
    for (unsigned i = 0; i < scenario_count; i++) {
        struct ouroi_scenario scenario = scenarios[i];
        if (strstr(scenario.name, only) == NULL)
            continue;
        if (most != UINT64_MAX)
            scenario.preemptions = (unsigned)most;
        struct ouroi_sched_result found;
        if (replay != NULL) {
            found = ouroi_sched_replay(&scenario, replay);
        } else {
            found = ouroi_sched_search(&scenario, limit);
            struct ouroi_sched_result random = ouroi_sched_random(&scenario, seed, count, (unsigned)changes);
            total += random.schedules;
            all_complete = all_complete && found.complete && found.diverged == 0;
        }
        total += found.schedules;
        printf("%-50s %7llu schedules, up to %u preemptions, %u steps%s", scenario.name,
               (unsigned long long)found.schedules, scenario.preemptions, found.steps_max,
               found.complete || replay != NULL ? "" : "; not all");
        if (found.diverged != 0)
            printf("; %llu diverged", (unsigned long long)found.diverged);
        printf("\n");
    }
    printf("%llu schedules, with %llu random ones of each scenario from seed %llu\n", (unsigned long long)total,
           (unsigned long long)(replay != NULL ? 0 : count), (unsigned long long)seed);
    return total > 0 && all_complete ? 0 : 1;
}
