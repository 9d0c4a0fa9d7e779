/* memory/sampler.c: a process that watches another's memory.
 *
 * Owns        the shared page of counters and samples; the watching process.
 * Invariants  samples are written by the watcher alone and read after it ended.
 * Sync        [LIVE count], [SAMPLER stop]
 * Source      none
 */
#include "process.h"
#include "scenario.h"
#include "workload.h"

#include <errno.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SAMPLES_MAX = 1 << 16 };

struct watch {
    _Atomic int64_t live_bytes;
    _Atomic int64_t live_peak_bytes;
    atomic_int stop;
    size_t count;
    struct ouroi_sample samples[SAMPLES_MAX];
};

static struct watch *watch;
static pid_t watcher;

void ouroi_live_add(int64_t bytes)
{
    /* [LIVE count] relaxed: a number for a plot; nothing is read because of it */
    int64_t now = atomic_fetch_add_explicit(&watch->live_bytes, bytes, memory_order_relaxed) + bytes;
    /* relaxed: the same */
    int64_t peak = atomic_load_explicit(&watch->live_peak_bytes, memory_order_relaxed);
    /* relaxed: the same */
    while (now > peak && !atomic_compare_exchange_weak_explicit(&watch->live_peak_bytes, &peak, now,
                                                                memory_order_relaxed, memory_order_relaxed))
        ;
}

size_t ouroi_live_bytes(void)
{
    /* relaxed: the same */
    return (size_t)atomic_load_explicit(&watch->live_bytes, memory_order_relaxed);
}

size_t ouroi_live_peak_bytes(void)
{
    /* relaxed: the same */
    return (size_t)atomic_load_explicit(&watch->live_peak_bytes, memory_order_relaxed);
}

static void watcher_loop(pid_t watched, unsigned interval_ms)
{
    struct ouroi_process_memory memory;
    uint64_t start_ns = ouroi_clock_ns();
    /* [SAMPLER stop] acquire, pairs with [SAMPLER stop] release */
    while (atomic_load_explicit(&watch->stop, memory_order_acquire) == 0 && watch->count < SAMPLES_MAX) {
        if (ouroi_process_memory(watched, &memory) != 0)
            return;
        watch->samples[watch->count++] = (struct ouroi_sample){
            .at_ms = (uint32_t)((ouroi_clock_ns() - start_ns) / UINT64_C(1000000)),
            .rss_kib = (uint32_t)memory.rss_kib,
            .live_kib = (uint32_t)(ouroi_live_bytes() / 1024),
        };
        ouroi_sleep_ns(interval_ms * UINT64_C(1000000));
    }
}

void ouroi_sampler_start(unsigned interval_ms)
{
    void *pages = mmap(NULL, sizeof *watch, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (pages == MAP_FAILED)
        ouroi_bench_die("out of memory");
    watch = pages;
    pid_t watched = getpid();
    watcher = fork();
    if (watcher < 0)
        ouroi_bench_die("cannot start the sampler");
    if (watcher == 0) {
        prctl(PR_SET_PDEATHSIG, 9);
        watcher_loop(watched, interval_ms);
        _exit(0);
    }
}

const struct ouroi_sample *ouroi_sampler_stop(size_t *count)
{
    /* [SAMPLER stop] release, pairs with [SAMPLER stop] acquire */
    atomic_store_explicit(&watch->stop, 1, memory_order_release);
    while (waitpid(watcher, NULL, 0) < 0 && errno == EINTR)
        ;
    *count = watch->count;
    return watch->samples;
}
