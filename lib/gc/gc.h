/* gc/gc.h: the collector: what layers above may ask.
 *
 * Owns        generations, thresholds, statistics; see internal.h for how a collection goes.
 * Sync        one collection at a time: [COLLECT], from its beginning to when its garbage is freed.
 */
#ifndef OUROI_GC_H
#define OUROI_GC_H

#include <ouro/gc.h>

#include "os/os.h"

/* Numbers for statistics, beside those of ouro_gc_get_stats. */
struct ouroi_gc_counts {
    uint64_t near, far; /* objects that workers looked into, on their own NUMA node and on another */
    uint64_t hinted;    /* collections that hints were used in, */
    uint64_t misled;    /* and of these those that had to begin anew */
    uint64_t abandoned; /* for want of memory */
};
void ouroi_gc_count(struct ouroi_gc_counts *counts);

/* Durations in classes, eight to a doubling, of up to about 18 minutes; what takes longer is in the last. */
#define OUROI_DURATION_CLASSES 304
struct ouroi_durations {
    uint64_t count, total_ns, max_ns;
    uint64_t classes[OUROI_DURATION_CLASSES];
};
unsigned ouroi_duration_class(uint64_t ns);
uint64_t ouroi_duration_bound(unsigned at); /* the longest of a class */
/* An upper bound, less than an eighth too high. 0: there are none. */
uint64_t ouroi_durations_quantile(const struct ouroi_durations *durations, unsigned per_mille);

/* What a collection leaves behind for statistics; see figures.c. */
struct ouroi_gc_figures {
    uint64_t last_pause_ns, last_workers;
    struct ouroi_durations pauses[OURO_GC_GENERATIONS]; /* with the stops that they begin with */
    struct ouroi_durations stops;                       /* until all threads had stopped */
    uint64_t near[OUROI_NODES_MAX], far[OUROI_NODES_MAX];
};
extern OUROI_HIDDEN struct ouroi_gc_figures ouroi_gc_figures;
/* What ouro_gc_get_stats copies under its lock. */
extern OUROI_HIDDEN ouro_gc_stats ouroi_gc_totals[OURO_GC_GENERATIONS];

/* Violations found, each one line; the world is stopped by the caller. */
unsigned ouroi_gc_check(void);

#endif
