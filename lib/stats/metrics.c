/* stats/metrics.c: ouro_stats_write_prometheus: OpenMetrics 1.0 text. What each metric is: docs/formats.md. */
#include "stats/internal.h"

#define CLASS "{size=\"%zu\"} %lu\n"
#define NODE "{node=\"%u\"} %lu\n"

static void write_totals(struct ouroi_writer *writer, const struct ouroi_figures *figures)
{
    const ouro_alloc_stats *totals = &figures->totals;
    ouroi_metric_family(writer, "ouro_build", "info", NULL, "The library that this is about.");
    ouroi_writer_put(writer, "ouro_build_info{library=\"%s\",version=\"%s\"} 1\n", OUROI_LIBRARY, OURO_VERSION_STRING);
    ouroi_metric_gauge(writer, "ouro_reserved_bytes", "bytes", "Address space.", totals->reserved);
    ouroi_metric_gauge(writer, "ouro_committed_bytes", "bytes", "Memory that can be touched.", totals->committed);
    ouroi_metric_gauge(writer, "ouro_resident_bytes", "bytes", "Memory touched and not given back, an upper bound.",
                       totals->resident);
    ouroi_metric_gauge(writer, "ouro_allocated_bytes", "bytes", "Usable bytes of living blocks.", totals->allocated);
    ouroi_metric_gauge(writer, "ouro_peak_allocated_bytes", "bytes", "The highest that was so far.",
                       totals->peak_allocated);
    ouroi_metric_gauge(writer, "ouro_metadata_bytes", "bytes", "Descriptors, heaps and the like.",
                       figures->arena.meta_bytes);
    ouroi_metric_counter(writer, "ouro_purged_bytes", "bytes", "Memory given back to the kernel.",
                         figures->arena.purged_bytes);
    ouroi_metric_counter(writer, "ouro_mallocs", NULL, "Blocks handed out.", totals->mallocs);
    ouroi_metric_counter(writer, "ouro_frees", NULL, "Blocks freed.", totals->frees);
    ouroi_metric_counter(writer, "ouro_remote_frees", NULL, "Of them, those by another thread than the owner.",
                         totals->remote_frees);
    ouroi_metric_gauge(writer, "ouro_threads", NULL, "Threads that have a heap.", totals->threads);
    ouroi_metric_gauge(writer, "ouro_arenas", NULL, "Arenas, one a NUMA node.", totals->arenas);
    ouroi_metric_gauge(writer, "ouro_pools", NULL, "Pools of small blocks.", totals->pools);
}

static void write_classes(struct ouroi_writer *writer, const struct ouroi_heap_counts *heap)
{
    ouroi_metric_family(writer, "ouro_class_mallocs", "counter", NULL, "Small blocks handed out, by size class.");
    for (unsigned c = 1; c < OUROI_CLASSES; c++)
        ouroi_writer_put(writer, "ouro_class_mallocs_total" CLASS, ouroi_class_bytes(c),
                         (unsigned long)heap->allocs[c]);
    ouroi_metric_family(writer, "ouro_class_frees", "counter", NULL, "Small blocks freed, by size class.");
    for (unsigned c = 1; c < OUROI_CLASSES; c++)
        ouroi_writer_put(writer, "ouro_class_frees_total" CLASS, ouroi_class_bytes(c), (unsigned long)heap->frees[c]);
    ouroi_metric_family(writer, "ouro_class_pools", "gauge", NULL, "Pools, by size class.");
    for (unsigned c = 1; c < OUROI_CLASSES; c++)
        ouroi_writer_put(writer, "ouro_class_pools" CLASS, ouroi_class_bytes(c), (unsigned long)heap->pools[c]);
}

static void write_large(struct ouroi_writer *writer, const struct ouroi_figures *figures)
{
    ouroi_metric_counter(writer, "ouro_large_mallocs", NULL, "Blocks of more than 32 KiB handed out.",
                         figures->arena.large_allocs);
    ouroi_metric_counter(writer, "ouro_large_frees", NULL, "Blocks of more than 32 KiB freed.",
                         figures->arena.large_frees + figures->heap.large_waiting);
    ouroi_metric_gauge(writer, "ouro_large_blocks", NULL, "Living blocks of more than 32 KiB.",
                       figures->heap.large_blocks);
    ouroi_metric_gauge(writer, "ouro_large_bytes", "bytes", "Their usable bytes.", figures->heap.large_bytes);
    ouroi_metric_gauge(writer, "ouro_huge_blocks", NULL, "Of them, those with a mapping of their own.",
                       figures->arena.huge_blocks);
    ouroi_metric_gauge(writer, "ouro_huge_bytes", "bytes", "Their usable bytes.", figures->arena.huge_bytes);
}

static void write_nodes(struct ouroi_writer *writer, const struct ouroi_heap_counts *heap)
{
    struct ouroi_arena_counts arena;
    unsigned nodes = ouroi_machine.nodes;
    ouroi_metric_family(writer, "ouro_node_committed_bytes", "gauge", "bytes", "Memory of a NUMA node's arena.");
    for (unsigned node = 0; node < nodes; node++) {
        ouroi_arena_count(&arena, (int)node);
        ouroi_writer_put(writer, "ouro_node_committed_bytes" NODE, node, (unsigned long)arena.committed_bytes);
    }
    ouroi_metric_family(writer, "ouro_node_resident_bytes", "gauge", "bytes", "Of it, touched and not given back.");
    for (unsigned node = 0; node < nodes; node++) {
        ouroi_arena_count(&arena, (int)node);
        ouroi_writer_put(writer, "ouro_node_resident_bytes" NODE, node, (unsigned long)arena.resident_bytes);
    }
    ouroi_metric_family(writer, "ouro_node_pool_bytes", "gauge", "bytes", "Of it, in pools.");
    for (unsigned node = 0; node < nodes; node++)
        ouroi_writer_put(writer, "ouro_node_pool_bytes" NODE, node, (unsigned long)heap->node_pool_bytes[node]);
    ouroi_metric_family(writer, "ouro_node_large_bytes", "gauge", "bytes", "Of it, in large blocks.");
    for (unsigned node = 0; node < nodes; node++)
        ouroi_writer_put(writer, "ouro_node_large_bytes" NODE, node, (unsigned long)heap->node_large_bytes[node]);
}

static void write_heaps(struct ouroi_writer *writer, const struct ouroi_heap_counts *heap)
{
    ouroi_metric_family(writer, "ouro_heaps", "gauge", NULL, "Heaps: of threads, their second ones for objects, idle.");
    ouroi_writer_put(writer, "ouro_heaps{kind=\"thread\"} %zu\n", heap->threads);
    ouroi_writer_put(writer, "ouro_heaps{kind=\"objects\"} %zu\n", heap->object_heaps);
    ouroi_writer_put(writer, "ouro_heaps{kind=\"idle\"} %zu\n", heap->idle_heaps);
    ouroi_writer_put(writer, "ouro_heaps{kind=\"region\"} %zu\n", heap->regions);
    ouroi_metric_gauge(writer, "ouro_partial_pool_bytes", "bytes", "Pools that threads keep and do not use now.",
                       heap->partial_bytes);
    ouroi_metric_family(writer, "ouro_waiting_blocks", "gauge", NULL, "Freed blocks on their way to their pools.");
    ouroi_writer_put(writer, "ouro_waiting_blocks{where=\"stash\"} %zu\n", heap->stashed);
    ouroi_writer_put(writer, "ouro_waiting_blocks{where=\"batch\"} %zu\n", heap->batched);
    ouroi_writer_put(writer, "ouro_waiting_blocks{where=\"quarantine\"} %zu\n", heap->quarantined);
}

void ouroi_stats_write_metrics_all(struct ouroi_writer *writer)
{
    struct ouroi_figures figures;
    ouroi_figures_gather(&figures);
    write_totals(writer, &figures);
    write_classes(writer, &figures.heap);
    write_large(writer, &figures);
    write_nodes(writer, &figures.heap);
    write_heaps(writer, &figures.heap);
    for (struct ouroi_stats_section *section = ouroi_stats_sections; section != NULL; section = section->next)
        section->metrics(writer);
    ouroi_writer_put(writer, "# EOF\n");
}

int ouro_stats_write_prometheus(int fd)
{
    return ouroi_stats_write(fd, ouroi_stats_write_metrics_all);
}
