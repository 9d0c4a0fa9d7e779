/* stats/internal.h: what the files of this layer share. */
#ifndef OUROI_STATS_INTERNAL_H
#define OUROI_STATS_INTERNAL_H

#include <ouro/stats.h>

#include "heap/heap.h"
#include "stats/stats.h"

/* All that the allocator knows of itself, counted at one time. */
struct ouroi_figures {
    ouro_alloc_stats totals;
    struct ouroi_heap_counts heap;
    struct ouroi_arena_counts arena; /* of all nodes */
};
/* False: there was no memory to start with, and all is zero. */
bool ouroi_figures_gather(struct ouroi_figures *figures);
/* Which library this is. */
#if OURO_DROPIN
#define OUROI_LIBRARY "libouro_malloc"
#else
#define OUROI_LIBRARY "libouro"
#endif

/* json.c, metrics.c: the allocator's part, and those of the sections. */
void ouroi_stats_write_json_all(struct ouroi_writer *writer);
void ouroi_stats_write_metrics_all(struct ouroi_writer *writer);
extern struct ouroi_stats_section *ouroi_stats_sections OUROI_HIDDEN;

#endif
