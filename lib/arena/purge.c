/* arena/purge.c: the thread that gives back memory that nobody has used for a while.
 *
 * Owns        that thread, and the word that says whether there is work for it.
 * Invariants  at most one such thread lives; a process with less than START_BYTES of unused memory has none.
 *             The thread holds no lock while it sleeps, takes no signal, and allocates nothing.
 * Sync        [PURGER]. `wanted` is 1 from the note that asks for the thread until a caller with no lock held starts it.
 *
 * Memory that is dirty at one beat and still unused at the next goes back: after between one and two delays. The beat is
 * OURO_PURGE_DELAY_MS, a quarter of it under memory pressure. With nothing dirty the thread sleeps until it is woken.
 */
#include "arena/internal.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SYS_close_range
#define SYS_close_range 436
#endif
#if OURO_SANITIZED
#define FIRST_CLOSED 3u /* the sanitizer can say what it finds */
#else
#define FIRST_CLOSED 0u
#endif
#ifndef CLOSE_RANGE_UNSHARE
#define CLOSE_RANGE_UNSHARE 2u
#endif

#define START_BYTES ((size_t)4 << 20)
#define IDLE_NS ((uint64_t)5000000000u)        /* between two looks whether the process should end, */
#define ENDING_NS ((uint64_t)10000000u)        /* and where it probably does, */
#define ENDING_LOOKS 100                       /* for a second */
#define RETRY_LEAST_NS ((uint64_t)1000000000u) /* after a thread could not be had; twice that the next time */
#define RETRY_MOST_NS ((uint64_t)64000000000u)
#define STACK_BYTES ((long)64 << 10)

enum state { NONE, STARTING, RUNNING, FAILED };

uint32_t ouroi_purger_wanted;
static uint32_t state;
static uint32_t work;   /* the futex: 1 when there is something dirty */
static uint32_t ending; /* 1: the last thread with a heap has ended, and with it perhaps the program */
static uint64_t retry_ns, retry_after_ns; /* of the state FAILED */

void ouroi_purger_note(size_t dirty_bytes)
{
    if (dirty_bytes == 0)
        return;
    if (ouroi_atomic_load_relaxed(&state) == RUNNING) { /* relaxed: either answer leaves a request that is seen */
        /* [PURGER ask] release, pairs with [PURGER look] */
        if (ouroi_atomic_load_relaxed(&work) == 0 && ouroi_atomic_exchange_release(&work, 1) == 0)
            ouroi_os.futex_wake(&work, 1);
    } else if (dirty_bytes >= START_BYTES && ouroi_options.purge_delay_ns < UINT64_MAX / 2) {
        ouroi_atomic_store_relaxed(&ouroi_purger_wanted, 1); /* relaxed: a hint, polled in slow paths */
    }
}

/* Whether the cgroup is near its limit or stalls on memory. */
static bool is_under_pressure(void)
{
    size_t limit, used;
    unsigned stall;
    ouroi_os_pressure(&limit, &used, &stall);
    return (limit != SIZE_MAX && used > limit / 8 * 7) || stall >= 1000;
}

/* Whether the program's threads have all ended, main's by pthread_exit: the process ends with the last. */
static bool is_alone(void)
{
    char text[512];
    if (ouroi_os_read_file("/proc/self/stat", text, sizeof text) <= 0)
        return false;
    const char *at = strrchr(text, ')');
    if (at == NULL || at[1] != ' ' || at[2] != 'Z')
        return false;
    for (unsigned field = 2; field < 20; field++) {
        at = strchr(at + 1, ' ');
        if (at == NULL)
            return false;
    }
    return at[1] == '2' && at[2] == ' '; /* the zombie and the caller */
}

void ouroi_purger_last_heap_ends(void)
{
    if (ouroi_atomic_load_relaxed(&state) != RUNNING) /* relaxed: there is nothing to wake */
        return;
    ouroi_atomic_store_relaxed(&ending, 1); /* relaxed: a hint; the waits end some time anyway */
    ouroi_os.futex_wake(&ending, 1);
    ouroi_os.futex_wake(&work, 1);
}

/* The thread that woke us is about to end: looks for a second whether it was the last. */
static bool ends_now(void)
{
    uint32_t never = 0;
    for (unsigned looks = 0; looks < ENDING_LOOKS; looks++) {
        if (is_alone())
            return true;
        ouroi_os.futex_wait(&never, 0, ENDING_NS);
    }
    return false;
}

static void *purger(void *unused)
{
    (void)unused;
    prctl(PR_SET_NAME, "ouro-purge", 0, 0, 0);
    /* A table of descriptors of its own, empty: what it opens never takes a number from under the program. */
    bool may_open = syscall(SYS_close_range, FIRST_CLOSED, ~0u, CLOSE_RANGE_UNSHARE) == 0;
    unsigned idle_beats = 0;
    for (;;) {
        /* relaxed: a hint */
        if (ouroi_atomic_exchange_relaxed(&ending, 0) != 0 && may_open && ends_now())
            return NULL;
        /* [PURGER look] acquire, pairs with [PURGER ask] */
        if (ouroi_atomic_exchange_acquire(&work, 0) == 0) {
            if (++idle_beats > 3) { /* two more beats age what was young */
                ouroi_os.futex_wait(&work, 0, IDLE_NS);
                if (may_open && is_alone())
                    return NULL;
                continue;
            }
        } else {
            idle_beats = 0;
        }
        uint64_t delay = ouroi_options.purge_delay_ns;
        bool pressed = may_open && is_under_pressure();
        ouroi_os.futex_wait(&ending, 0, (pressed ? delay / 4 : delay) + 1);
        ouroi_arena_purge(false);
    }
    return NULL;
}

void ouroi_purger_start(void)
{
    uint32_t before = ouroi_atomic_load_relaxed(&state); /* relaxed: a guess for the swap */
    ouroi_atomic_store_relaxed(&ouroi_purger_wanted, 0); /* relaxed: a hint */
    if (before == FAILED && ouroi_os.now_ns() < ouroi_atomic_load_relaxed(&retry_after_ns)) /* relaxed: a time */
        return;
    /* relaxed: only one start may be under way; what it needs is ordered by pthread_create */
    if ((before != NONE && before != FAILED) || !ouroi_atomic_cas_relaxed(&state, &before, STARTING))
        return;
    int saved = errno;
    sigset_t all, mask;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &mask);
    pthread_attr_t attributes;
    pthread_t thread;
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attributes, (size_t)(STACK_BYTES < PTHREAD_STACK_MIN ? PTHREAD_STACK_MIN : STACK_BYTES));
    ouroi_atomic_store_relaxed(&work, 1); /* relaxed: before the thread is */
    int rc = pthread_create(&thread, &attributes, purger, NULL);
    pthread_attr_destroy(&attributes);
    pthread_sigmask(SIG_SETMASK, &mask, NULL);
    if (rc != 0) {
        uint64_t wait_ns = retry_ns == 0 ? RETRY_LEAST_NS : 2 * retry_ns;
        retry_ns = wait_ns > RETRY_MOST_NS ? RETRY_MOST_NS : wait_ns;
        ouroi_atomic_store_relaxed(&retry_after_ns, ouroi_os.now_ns() + retry_ns); /* relaxed: a time */
    }
    ouroi_atomic_store_relaxed(&state, rc == 0 ? RUNNING : FAILED); /* relaxed: see ouroi_purger_note */
    errno = saved;
}

void ouroi_purger_fork_done(bool child)
{
    if (!child)
        return;
    /* relaxed: the child has one thread; its purger comes when it is wanted */
    ouroi_atomic_store_relaxed(&state, NONE);
    ouroi_atomic_store_relaxed(&work, 0);
    ouroi_atomic_store_relaxed(&ending, 0);
    ouroi_atomic_store_relaxed(&ouroi_purger_wanted, 0);
}
