/* ouro/stats.h: what the heap holds, counted without slowing malloc and free.
 *
 * What is exact, and when. The fast paths count nothing: pools are walked when somebody asks. With no other thread at work
 * in the allocator, `allocated`, `mallocs`, `frees`, `remote_frees`, `threads` and all counts by size class, node and heap
 * are exact. While threads work each number was right at some moment during the call, but not all at the same moment: a
 * block may be in one and not in another. `purged`, large blocks, and the collector's numbers are counted as they happen.
 *
 * `resident` is an upper bound: what a pool's blocks have not touched yet is in it. `peak_allocated` is sampled whenever a
 * thread fetches or returns a run of pages. With OURO_SECURE `allocated` is of whole slots, no thread has a heap, and blocks
 * in quarantine are freed.
 *
 * A call walks all pools, under the lock of one arena after the other: threads that need a new pool at that moment wait.
 * Small blocks come and go meanwhile. */
#ifndef OURO_STATS_H
#define OURO_STATS_H

#include <stddef.h>
#include <stdint.h>

#include <ouro/alloc.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Byte counts are of virtual memory for `reserved`, of memory that can be touched for `committed`, of what the library
 * has touched and not given back for `resident`, of usable bytes of living blocks for `allocated`. */
typedef struct {
    size_t reserved, committed, resident, allocated, peak_allocated;
    uint64_t mallocs, frees, remote_frees;
    size_t threads, arenas, pools;
} ouro_alloc_stats;

/* Fills *stats. O(pools). Threads: any. Errors: none. */
OURO_ATTR_EXPORT void ouro_stats_get(ouro_alloc_stats *stats);

/* Writes everything that is counted: by size class, NUMA node, heap, generation of the collector, with a histogram of its
 * pauses. As JSON, one line, whose schema is in docs/formats.md; as OpenMetrics text, which Prometheus reads, with its last
 * line. In one write where that takes all. Nothing is allocated from a heap. O(pools). Threads: any. Not to be called from
 * a signal handler. Returns 0, or -1 and errno, as write says. */
OURO_ATTR_EXPORT int ouro_stats_write_json(int fd);
OURO_ATTR_EXPORT int ouro_stats_write_prometheus(int fd);

/* Walks pools, free lists and slice maps, and counts again. Blocks, the calling thread's heap and unowned pools are
 * checked in full, pools that other threads are using at this moment in outline. Returns the number of violations, each
 * one line on stderr. O(blocks). */
OURO_ATTR_EXPORT int ouro_debug_check(void);

#ifdef __cplusplus
}
#endif

#endif
