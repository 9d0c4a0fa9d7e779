/* gc/gc.h: the collector: what layers above may ask.
 *
 * Owns        generations, thresholds, statistics; see internal.h for how a collection goes.
 * Sync        one collection at a time: [COLLECT], from its beginning to when its garbage is freed.
 */
#ifndef OUROI_GC_H
#define OUROI_GC_H

#include <ouro/gc.h>

/* Numbers for statistics, beside those of ouro_gc_get_stats. */
struct ouroi_gc_counts {
    uint64_t near, far; /* objects that workers looked into, on their own NUMA node and on another */
    uint64_t hinted;    /* collections that hints were used in, */
    uint64_t misled;    /* and of these those that had to begin anew */
    uint64_t abandoned; /* for want of memory */
};
void ouroi_gc_count(struct ouroi_gc_counts *counts);

/* Violations found, each one line; the world is stopped by the caller. */
unsigned ouroi_gc_check(void);

#endif
