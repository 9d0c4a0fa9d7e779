/* ouro/stats.h: what the heap holds, counted without slowing malloc and free. */
#ifndef OURO_STATS_H
#define OURO_STATS_H

#include <stddef.h>
#include <stdint.h>

#include <ouro/alloc.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Byte counts are of virtual memory for `reserved`, of memory that can be touched for `committed`, of what the library
 * has touched and not given back for `resident` (an upper bound), of usable bytes of living blocks for `allocated`.
 * `allocated`, `mallocs` and `frees` are exact while no thread works; `peak_allocated` is sampled whenever a thread
 * fetches or returns a run of pages. */
typedef struct {
    size_t reserved, committed, resident, allocated, peak_allocated;
    uint64_t mallocs, frees, remote_frees;
    size_t threads, arenas, pools;
} ouro_alloc_stats;

/* Fills *stats. O(pools). Threads: any. Errors: none. */
OURO_ATTR_EXPORT void ouro_stats_get(ouro_alloc_stats *stats);

/* Walks pools, free lists and slice maps, and counts again. Blocks, the calling thread's heap and unowned pools are
 * checked in full, pools that other threads are using at this moment in outline. Returns the number of violations, each
 * one line on stderr. O(blocks). */
OURO_ATTR_EXPORT int ouro_debug_check(void);

#ifdef __cplusplus
}
#endif

#endif
