/* stats/json.c: ouro_stats_write_json. The schema is in docs/formats.md; a change of what is there is a new number. */
#include "stats/internal.h"

#include <unistd.h>

enum { SCHEMA = 1 };

static void write_classes(struct ouroi_writer *writer, const struct ouroi_heap_counts *heap)
{
    ouroi_json_open(writer, "size_classes", '[');
    for (unsigned c = 1; c < OUROI_CLASSES; c++) {
        size_t bytes = ouroi_class_bytes(c);
        ouroi_json_open(writer, NULL, '{');
        ouroi_json_number(writer, "size", bytes);
        ouroi_json_number(writer, "mallocs", heap->allocs[c]);
        ouroi_json_number(writer, "frees", heap->frees[c]);
        ouroi_json_number(writer, "living", heap->allocs[c] - heap->frees[c]);
        ouroi_json_number(writer, "pools", heap->pools[c]);
        ouroi_json_number(writer, "pool_bytes", heap->pools[c] * ouroi_pool_slices(bytes) * OUROI_SLICE_BYTES);
        ouroi_json_close(writer, '}');
    }
    ouroi_json_close(writer, ']');
}

static void write_large(struct ouroi_writer *writer, const struct ouroi_figures *figures)
{
    ouroi_json_open(writer, "large", '{');
    ouroi_json_number(writer, "mallocs", figures->arena.large_allocs);
    ouroi_json_number(writer, "frees", figures->arena.large_frees + figures->heap.large_waiting);
    ouroi_json_number(writer, "living", figures->heap.large_blocks);
    ouroi_json_number(writer, "bytes", figures->heap.large_bytes);
    ouroi_json_number(writer, "huge", figures->arena.huge_blocks);
    ouroi_json_number(writer, "huge_bytes", figures->arena.huge_bytes);
    ouroi_json_close(writer, '}');
}

static void write_nodes(struct ouroi_writer *writer, const struct ouroi_heap_counts *heap)
{
    ouroi_json_open(writer, "nodes", '[');
    for (unsigned node = 0; node < ouroi_machine.nodes; node++) {
        struct ouroi_arena_counts arena;
        ouroi_arena_count(&arena, (int)node);
        ouroi_json_open(writer, NULL, '{');
        ouroi_json_number(writer, "node", node);
        ouroi_json_number(writer, "chunks", arena.chunks);
        ouroi_json_number(writer, "committed", arena.committed_bytes);
        ouroi_json_number(writer, "resident", arena.resident_bytes);
        ouroi_json_number(writer, "purged", arena.purged_bytes);
        ouroi_json_number(writer, "pools", heap->node_pools[node]);
        ouroi_json_number(writer, "pool_bytes", heap->node_pool_bytes[node]);
        ouroi_json_number(writer, "large_blocks", heap->node_large_blocks[node]);
        ouroi_json_number(writer, "large_bytes", heap->node_large_bytes[node]);
        ouroi_json_close(writer, '}');
    }
    ouroi_json_close(writer, ']');
}

static void write_heaps(struct ouroi_writer *writer, const struct ouroi_heap_counts *heap)
{
    ouroi_json_open(writer, "heaps", '{');
    ouroi_json_number(writer, "threads", heap->threads);
    ouroi_json_number(writer, "objects", heap->object_heaps);
    ouroi_json_number(writer, "idle", heap->idle_heaps);
    ouroi_json_number(writer, "partial_bytes", heap->partial_bytes);
    ouroi_json_number(writer, "stashed", heap->stashed);
    ouroi_json_number(writer, "batched", heap->batched);
    ouroi_json_number(writer, "quarantined", heap->quarantined);
    ouroi_json_number(writer, "regions", heap->regions);
    ouroi_json_number(writer, "region_pools", heap->region_pools);
    ouroi_json_number(writer, "region_large_blocks", heap->region_large_blocks);
    ouroi_json_close(writer, '}');
}

static void write_totals(struct ouroi_writer *writer, const struct ouroi_figures *figures)
{
    const ouro_alloc_stats *totals = &figures->totals;
    ouroi_json_number(writer, "reserved", totals->reserved);
    ouroi_json_number(writer, "committed", totals->committed);
    ouroi_json_number(writer, "resident", totals->resident);
    ouroi_json_number(writer, "allocated", totals->allocated);
    ouroi_json_number(writer, "peak_allocated", totals->peak_allocated);
    ouroi_json_number(writer, "metadata", figures->arena.meta_bytes);
    ouroi_json_number(writer, "purged", figures->arena.purged_bytes);
    ouroi_json_number(writer, "mallocs", totals->mallocs);
    ouroi_json_number(writer, "frees", totals->frees);
    ouroi_json_number(writer, "remote_frees", totals->remote_frees);
    ouroi_json_number(writer, "threads", totals->threads);
    ouroi_json_number(writer, "arenas", totals->arenas);
    ouroi_json_number(writer, "pools", totals->pools);
}

void ouroi_stats_write_json_all(struct ouroi_writer *writer)
{
    struct ouroi_figures figures;
    ouroi_figures_gather(&figures);
    ouroi_json_open(writer, NULL, '{');
    ouroi_json_number(writer, "schema", SCHEMA);
    ouroi_json_text(writer, "library", OUROI_LIBRARY);
    ouroi_json_text(writer, "version", OURO_VERSION_STRING);
    ouroi_json_number(writer, "pid", (uint64_t)getpid());
    ouroi_json_bool(writer, "secure", ouroi_options.secure);
    write_totals(writer, &figures);
    write_classes(writer, &figures.heap);
    write_large(writer, &figures);
    write_nodes(writer, &figures.heap);
    write_heaps(writer, &figures.heap);
    for (struct ouroi_stats_section *section = ouroi_stats_sections; section != NULL; section = section->next)
        section->json(writer);
    ouroi_json_close(writer, '}');
    ouroi_writer_put(writer, "\n");
}

int ouro_stats_write_json(int fd)
{
    return ouroi_stats_write(fd, ouroi_stats_write_json_all);
}
