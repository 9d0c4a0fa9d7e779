/* tools/process_read.c: counts what a process's heap holds, as lib/heap/count.c does from inside.
 *
 * The process works meanwhile: each thing that is read was so at some moment, and pointers that were read may lead nowhere
 * any more. What cannot be read is left out, and nothing read is used as an index or a length before it was looked at.
 */
#include "process_memory.h"
#include "tool.h"

#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

#include <ouro/gc.h>

#include "gc/gc.h"

_Static_assert(PROCESS_DURATIONS == OUROI_DURATION_CLASSES, "process.h");
_Static_assert(PROCESS_GENERATIONS == OURO_GC_GENERATIONS, "process.h");

enum { AT_ONCE = 512, CHUNKS_MOST = 1 << 20, HEAPS_MOST = 1 << 18 };

struct reading {
    const struct process *process;
    const struct ouroi_page *page;
    struct process_figures *figures;
    uint64_t *runs; /* descriptors' addresses */
    size_t run_count, run_room;
    char *blocks; /* of a pool */
    size_t blocks_room;
};

static uint64_t number(const struct reading *reading, uint64_t at)
{
    uint64_t value = 0;
    return process_get(reading->process, at, &value, sizeof value) ? value : 0;
}

/* Fields of something that was copied. */
static uint64_t field8(const char *copy, uint64_t offset)
{
    uint64_t value;
    memcpy(&value, copy + offset, sizeof value);
    return value;
}
static uint32_t field4(const char *copy, uint64_t offset)
{
    uint32_t value;
    memcpy(&value, copy + offset, sizeof value);
    return value;
}
static uint16_t field2(const char *copy, uint64_t offset)
{
    uint16_t value;
    memcpy(&value, copy + offset, sizeof value);
    return value;
}

/* Runs: from the map of slices. */

static uint64_t slices_at(const struct reading *reading, uint64_t start)
{
    const struct ouroi_arena_view *view = &reading->page->arena;
    uint64_t index = start >> view->slice_shift;
    if (index < number(reading, view->window_slices))
        return number(reading, view->window_map) + index * view->slice_bytes;
    uint32_t count = 0;
    process_get(reading->process, view->outside_count, &count, sizeof count);
    for (uint32_t i = 0; i < count && i < 65536; i++) {
        char entry[256];
        if (view->outside_bytes > sizeof entry ||
            !process_get(reading->process, view->outside + i * view->outside_bytes, entry, view->outside_bytes))
            return 0;
        uint64_t first = field8(entry, view->outside_start), chunks = field8(entry, view->outside_chunks);
        uint64_t bytes = chunks * (view->chunk_slices << view->slice_shift);
        if (chunks != 0 && start >= first && start - first < bytes)
            return field8(entry, view->outside_map) + ((start - first) >> view->slice_shift) * view->slice_bytes;
    }
    return 0;
}

static void add_run(struct reading *reading, uint64_t run)
{
    if (reading->run_count == reading->run_room) {
        reading->run_room = reading->run_room == 0 ? 1024 : 2 * reading->run_room;
        reading->runs = tool_realloc(reading->runs, reading->run_room, sizeof *reading->runs);
    }
    reading->runs[reading->run_count++] = run;
}

static void read_chunk(struct reading *reading, uint64_t chunk)
{
    const struct ouroi_arena_view *view = &reading->page->arena;
    uint64_t start = number(reading, chunk + view->chunk_start), last = 0;
    uint32_t mapped = (uint32_t)number(reading, chunk + view->chunk_mapped);
    if (mapped == 0 || mapped > view->chunk_slices)
        return;
    uint64_t at = slices_at(reading, start), bytes = mapped * view->slice_bytes;
    char *slices = tool_alloc(bytes);
    if (at != 0 && process_get(reading->process, at, slices, bytes)) {
        for (uint32_t i = 0; i < mapped; i++) {
            uint64_t run = field8(slices, i * view->slice_bytes + view->slice_run);
            if (run != 0 && run != last)
                add_run(reading, run);
            last = run;
        }
    }
    free(slices);
}

static bool read_arena(struct reading *reading, uint64_t at)
{
    const struct ouroi_arena_view *view = &reading->page->arena;
    struct process_figures *figures = reading->figures;
    char arena[512];
    if (view->arena_bytes > sizeof arena || !process_get(reading->process, at, arena, view->arena_bytes))
        return false;
    uint64_t slice = (uint64_t)1 << view->slice_shift, mapped = field8(arena, view->arena_mapped);
    figures->committed += mapped * slice;
    figures->resident += (mapped - field8(arena, view->arena_free) + field8(arena, view->arena_dirty)) * slice;
    figures->purged += field8(arena, view->arena_purged);
    figures->mallocs += field8(arena, view->arena_large_allocs);
    figures->frees += field8(arena, view->arena_large_frees);
    uint32_t count = field4(arena, view->arena_chunk_count);
    if (count == 0 || count > CHUNKS_MOST)
        return true;
    uint64_t *chunks = tool_alloc(count * sizeof *chunks);
    if (process_get(reading->process, field8(arena, view->arena_chunks), chunks, count * sizeof *chunks))
        for (uint32_t i = 0; i < count; i++)
            read_chunk(reading, chunks[i]);
    free(chunks);
    return true;
}

static void read_huge(struct reading *reading)
{
    const struct ouroi_arena_view *view = &reading->page->arena;
    struct process_figures *figures = reading->figures;
    uint64_t mapped = number(reading, view->huge_mapped), metadata = number(reading, view->metadata);
    uint64_t bytes = number(reading, view->huge_bytes);
    figures->committed += mapped + metadata;
    figures->resident += mapped + metadata;
    figures->reserved = number(reading, view->reserved) + metadata;
    figures->purged += number(reading, view->huge_purged);
    figures->mallocs += number(reading, view->huge_allocs);
    figures->frees += number(reading, view->huge_frees);
    figures->large_blocks += number(reading, view->huge_blocks);
    figures->large_bytes += bytes;
    figures->allocated += bytes;
    figures->peak = number(reading, view->peak);
}

/* Pools. */

/* Blocks in a list within the pool, whose memory was copied. */
static uint32_t list_length(const struct reading *reading, uint64_t start, uint64_t bytes, uint64_t at, uint32_t most)
{
    uint32_t length = 0;
    uint64_t next = reading->page->pool.block_next;
    while (at - start < bytes && at % 16 == 0 && at - start + next + 8 <= bytes && length <= most) {
        length++;
        at = field8(reading->blocks, at - start + next);
    }
    return length;
}

/* Of a pool that a thread takes blocks from, those in use: what was carved and is in no list. */
static uint64_t used_of_current(struct reading *reading, const char *pool)
{
    const struct ouroi_pool_view *view = &reading->page->pool;
    uint64_t start = field8(pool, reading->page->arena.run_start), bytes = field8(pool, reading->page->arena.run_bytes);
    uint32_t carved = field4(pool, view->pool_carved), capacity = field4(pool, view->pool_capacity);
    if (bytes > ((uint64_t)16 << 20) || carved > capacity)
        return carved;
    if (bytes > reading->blocks_room) {
        reading->blocks = tool_realloc(reading->blocks, bytes, 1);
        reading->blocks_room = bytes;
    }
    if (!process_get(reading->process, start, reading->blocks, bytes))
        return carved;
    uint32_t listed = list_length(reading, start, bytes, field8(pool, view->pool_free), capacity) +
                      list_length(reading, start, bytes, field8(pool, view->pool_later), capacity);
    return listed < carved ? carved - listed : 0;
}

static void count_pool(struct reading *reading, const char *pool)
{
    const struct ouroi_pool_view *view = &reading->page->pool;
    struct process_figures *figures = reading->figures;
    unsigned c = (unsigned char)pool[reading->page->arena.run_size_class];
    if (c >= figures->classes)
        return;
    uint32_t armed = field4(pool, view->pool_armed), done = armed - field4(pool, view->pool_countdown);
    uint64_t frees = field8(pool, view->pool_settled_frees) + done, used = field4(pool, view->pool_used) - done;
    bool current = pool[view->pool_current] != 0;
    if (current && view->races_seen != 0)
        used = field8(pool, view->pool_seen_allocs) - frees;
    else if (current)
        used = used_of_current(reading, pool);
    if (used > field4(pool, view->pool_capacity)) { /* read while it changed */
        used = field4(pool, view->pool_capacity);
        frees = field8(pool, view->pool_settled_frees);
    }
    uint64_t word = field8(pool, view->pool_remote), remote = word >> view->remote_count_shift;
    if ((word & view->remote_owned) == 0)
        remote = used < remote ? 0 : used - remote;
    struct process_class *class = &figures->class[c];
    class->mallocs += frees + used;
    class->frees += frees + remote;
    class->pools++;
    class->pool_bytes += field8(pool, reading->page->arena.run_bytes);
    figures->remote_frees += field8(pool, view->pool_remote_frees) + remote;
}

static void count_run(struct reading *reading, const char *run)
{
    const struct ouroi_arena_view *view = &reading->page->arena;
    unsigned kind = (unsigned char)run[view->run_kind];
    if (kind == view->kind_pool) {
        count_pool(reading, run);
    } else if (kind == view->kind_large) {
        uint64_t bytes = field8(run, view->run_bytes);
        reading->figures->large_blocks++;
        reading->figures->large_bytes += bytes;
        reading->figures->allocated += bytes;
    }
}

/* Descriptors, many in one call. */
static void count_runs(struct reading *reading)
{
    size_t bytes = reading->page->arena.descriptor_bytes;
    if (bytes > 4096)
        return;
    char *copies = tool_alloc(AT_ONCE * bytes);
    for (size_t first = 0; first < reading->run_count; first += AT_ONCE) {
        struct iovec there[AT_ONCE], here = { copies, AT_ONCE * bytes };
        size_t count = reading->run_count - first < AT_ONCE ? reading->run_count - first : AT_ONCE;
        for (size_t i = 0; i < count; i++)
            there[i] = (struct iovec){ (void *)(uintptr_t)reading->runs[first + i], bytes };
        ssize_t got = process_vm_readv(reading->process->pid, &here, 1, there, count, 0);
        for (size_t i = 0; got > 0 && i < (size_t)got / bytes; i++)
            count_run(reading, copies + i * bytes);
    }
    free(copies);
}

static void count_totals(struct reading *reading)
{
    const struct ouroi_pool_view *view = &reading->page->pool;
    struct process_figures *figures = reading->figures;
    size_t bytes = figures->classes * view->totals_bytes;
    char *totals = tool_alloc(bytes);
    if (process_get(reading->process, view->totals, totals, bytes)) {
        for (size_t c = 1; c < figures->classes; c++) {
            uint64_t gone = field8(totals, c * view->totals_bytes + view->totals_frees);
            figures->class[c].mallocs += gone;
            figures->class[c].frees += gone;
            figures->remote_frees += field8(totals, c * view->totals_bytes + view->totals_remote_frees);
        }
    }
    free(totals);
}

/* Blocks of a bin that went to its stash and are there still. */
static uint64_t stash_length(const struct reading *reading, const char *bin, uint64_t stashed)
{
    const struct ouroi_heap_view *view = &reading->page->heap;
    if (reading->page->pool.races_seen != 0)
        return stashed - field8(bin, view->bin_stash_allocs);
    uint64_t length = 0, most = stashed < view->stash_blocks ? stashed : view->stash_blocks;
    uint64_t at = field8(bin, view->bin_stash);
    char next[8];
    for (; at != 0 && length < most; length++) {
        if (!process_get(reading->process, at + reading->page->pool.block_next, next, sizeof next))
            break;
        at = field8(next, 0);
    }
    return length;
}

static void count_heaps(struct reading *reading)
{
    const struct ouroi_heap_view *view = &reading->page->heap;
    struct process_figures *figures = reading->figures;
    char *heap = tool_alloc(view->heap_bytes);
    uint64_t at = number(reading, view->first);
    for (unsigned count = 0; at != 0 && count < HEAPS_MOST; count++) {
        if (!process_get(reading->process, at, heap, view->heap_bytes))
            break;
        figures->threads += heap[view->used] != 0 && heap[view->nodes] == 0;
        for (uint64_t b = 0; b < view->batch_count; b++) {
            const char *batch = heap + view->batches + b * view->batch_bytes;
            unsigned c = field2(batch, view->batch_class);
            uint16_t blocks = (uint16_t)(field2(batch, view->batch_full) - field2(batch, view->batch_room));
            if (field8(batch, view->batch_pool) == view->batch_none || c >= figures->classes)
                continue;
            figures->class[c].frees += blocks;
            figures->remote_frees += blocks;
        }
        for (size_t c = 1; c < figures->classes; c++) {
            const char *bin = heap + view->bins + c * view->bin_bytes;
            uint64_t stashed = field8(bin, view->bin_stashed), waiting = stash_length(reading, bin, stashed);
            figures->class[c].mallocs += stashed - waiting;
            figures->class[c].frees += stashed;
        }
        at = field8(heap, view->next);
    }
    free(heap);
}

/* The collector. */

static void add_durations(struct process_durations *to, const struct ouroi_durations *from)
{
    to->count += from->count;
    to->total_ns += from->total_ns;
    to->max_ns = from->max_ns > to->max_ns ? from->max_ns : to->max_ns;
    for (unsigned i = 0; i < PROCESS_DURATIONS; i++)
        to->classes[i] += from->classes[i];
}

static void read_collector(struct reading *reading)
{
    const struct ouroi_page *page = reading->page;
    struct process_figures *figures = reading->figures;
    struct ouroi_gc_figures *gc = tool_alloc(sizeof *gc);
    ouro_gc_stats totals[OURO_GC_GENERATIONS];
    figures->has_gc = page->gc_figures != 0 && page->duration_classes == PROCESS_DURATIONS &&
                      page->generations == PROCESS_GENERATIONS &&
                      process_get(reading->process, page->gc_figures, gc, sizeof *gc) &&
                      process_get(reading->process, page->gc_totals, totals, sizeof totals);
    if (figures->has_gc) {
        figures->last_pause_ns = gc->last_pause_ns;
        figures->last_workers = gc->last_workers;
        add_durations(&figures->stops, &gc->stops);
        for (unsigned g = 0; g < PROCESS_GENERATIONS; g++) {
            add_durations(&figures->pauses, &gc->pauses[g]);
            figures->collections[g] = totals[g].collections;
            figures->collected[g] = totals[g].collected;
            figures->uncollectable[g] = totals[g].uncollectable;
        }
    }
    free(gc);
}

uint64_t process_quantile(const struct process_durations *durations, unsigned per_mille)
{
    uint64_t wanted = (durations->count * per_mille + 999) / 1000, seen = 0;
    for (unsigned i = 0; i < PROCESS_DURATIONS && wanted != 0; i++) {
        seen += durations->classes[i];
        if (seen < wanted)
            continue;
        uint64_t bound = i < 8 ? i + 1 : (uint64_t)(i % 8 + 9) << (i / 8 - 1);
        return bound < durations->max_ns ? bound : durations->max_ns;
    }
    return 0;
}

bool process_read(const struct process *process, size_t library, struct process_figures *figures)
{
    const struct ouroi_page *page = &process->lib[library]->page;
    struct reading reading = { .process = process, .page = page, .figures = figures };
    memset(figures, 0, sizeof *figures);
    uint64_t sizes[PROCESS_CLASSES];
    figures->classes = page->pool.classes < PROCESS_CLASSES ? page->pool.classes : PROCESS_CLASSES;
    if (!process_get(process, page->pool.class_bytes, sizes, figures->classes * sizeof *sizes))
        return false;
    bool there = true;
    for (uint64_t node = 0; node < page->arena.node_count && node < OUROI_NODES_MAX && there; node++)
        there = read_arena(&reading, page->arena.arenas + node * page->arena.arena_bytes);
    if (there) {
        read_huge(&reading);
        count_runs(&reading);
        count_totals(&reading);
        count_heaps(&reading);
        read_collector(&reading);
    }
    for (size_t c = 1; c < figures->classes; c++) {
        struct process_class *class = &figures->class[c];
        class->size = sizes[c];
        if (class->frees > class->mallocs)
            class->mallocs = class->frees;
        figures->mallocs += class->mallocs;
        figures->frees += class->frees;
        figures->pools += class->pools;
        figures->allocated += (class->mallocs - class->frees) * class->size;
    }
    if (figures->peak < figures->allocated)
        figures->peak = figures->allocated;
    free(reading.runs);
    free(reading.blocks);
    return there;
}
