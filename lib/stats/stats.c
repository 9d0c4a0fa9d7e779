/* stats/stats.c: ouro/stats.h. */
#include <ouro/stats.h>

#include "heap/heap.h"

#include <string.h>

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
    stats->frees += arenas.large_frees;
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

int ouro_debug_check(void)
{
    if (ouroi_heap_start() != 0)
        return 0;
    return (int)(ouroi_arena_check() + ouroi_heap_check());
}
