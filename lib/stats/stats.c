/* stats/stats.c: ouro/stats.h. */
#include <ouro/stats.h>

#include "heap/heap.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

static size_t peak_allocated;

void ouro_stats_get(ouro_alloc_stats *stats)
{
    memset(stats, 0, sizeof *stats);
    if (ouroi_heap_start() != 0)
        return;
    struct ouroi_heap_counts counts;
    struct ouroi_arena_counts arenas;
    ouroi_heap_count(&counts);
    ouroi_arena_count(&arenas, -1);
    stats->reserved = arenas.reserved_bytes;
    stats->committed = arenas.committed_bytes;
    stats->resident = arenas.resident_bytes;
    stats->allocated = counts.small_bytes + counts.large_bytes;
    for (unsigned c = 1; c < OUROI_CLASSES; c++) {
        stats->mallocs += counts.allocs[c];
        stats->frees += counts.frees[c];
        stats->pools += counts.pools[c];
    }
    stats->mallocs += arenas.large_allocs;
    stats->frees += arenas.large_frees + counts.large_waiting;
    stats->remote_frees = counts.remote_frees;
    stats->threads = counts.threads;
    stats->arenas = ouroi_machine.nodes;
    size_t peak = ouroi_arena_peak();
    peak = peak > stats->allocated ? peak : stats->allocated;
    size_t seen = ouroi_atomic_load_relaxed(&peak_allocated); /* relaxed: a maximum on its own */
    while (seen < peak && !ouroi_atomic_cas_relaxed(&peak_allocated, &seen, peak)) {
        /* relaxed: see above */
    }
    stats->peak_allocated = seen > peak ? seen : peak;
}

static int report_fd = STDERR_FILENO;

/* Programs close stderr on their way out: the report has its own, made only where one was asked for. */
__attribute__((constructor)) static void prepare_report(void)
{
    if (ouroi_heap_start() != 0 || ouroi_options.stats_at_exit == OUROI_REPORT_NONE)
        return;
    int fd = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 100);
    report_fd = fd >= 0 ? fd : STDERR_FILENO;
}

/* OURO_STATS_AT_EXIT: at exit() and return from main, to stderr, in one write. */
__attribute__((destructor)) static void report_at_exit(void)
{
    if (ouroi_options.stats_at_exit == OUROI_REPORT_NONE)
        return;
    ouro_alloc_stats s;
    ouro_stats_get(&s);
    char line[1024];
    const char *format =
        ouroi_options.stats_at_exit == OUROI_REPORT_JSON
            ? "{\"schema\": 1, \"allocated\": %zu, \"peak_allocated\": %zu, \"resident\": %zu, \"committed\": %zu, "
              "\"reserved\": %zu, \"mallocs\": %zu, \"frees\": %zu, \"remote_frees\": %zu, \"threads\": %zu, "
              "\"pools\": %zu}\n"
            : "ouro: allocated %zu bytes, peak %zu, resident %zu, committed %zu, reserved %zu; mallocs %zu, frees %zu, "
              "remote %zu; threads %zu, pools %zu\n";
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    size_t length =
        ouroi_format(line, sizeof line, format, s.allocated, s.peak_allocated, s.resident, s.committed, s.reserved,
                     (size_t)s.mallocs, (size_t)s.frees, (size_t)s.remote_frees, s.threads, s.pools);
#pragma GCC diagnostic pop
    ssize_t ignored = write(report_fd, line, length);
    (void)ignored;
}

int ouro_debug_check(void)
{
    if (ouroi_heap_start() != 0)
        return 0;
    return (int)(ouroi_arena_check() + ouroi_heap_check());
}
