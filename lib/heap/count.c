/* heap/count.c: statistics and checks, by walking what is there: the fast paths count nothing beyond what they need.
 *
 * Sync        words of other threads' pools are read relaxed; exact while no thread works.
 */
#include "heap/internal.h"

#include <string.h>

static void count_run(struct ouroi_run *run, void *arg)
{
    struct ouroi_heap_counts *counts = arg;
    unsigned node = run->node % OUROI_NODES_MAX;
    bool in_region = OUROI_OWNED_GET(&ouroi_run_member(run)->heap) != NULL;
    if (run->kind != OUROI_RUN_POOL) {
        size_t bytes = OUROI_OWNED_GET(&run->bytes);
        counts->large_blocks++;
        counts->large_bytes += bytes;
        counts->node_large_blocks[node]++;
        counts->node_large_bytes[node] += bytes;
        counts->region_large_blocks += in_region;
        return;
    }
    counts->node_pools[node]++;
    counts->node_pool_bytes[node] += run->bytes;
    counts->region_pools += in_region;
    struct ouroi_pool *pool = ouroi_pool_of(run);
    unsigned c = run->size_class;
    uint64_t word = ouroi_atomic_load_relaxed(&pool->remote); /* relaxed: see the file head */
    uint32_t armed = OUROI_OWNED_GET(&pool->armed), done = armed - OUROI_OWNED_GET(&pool->countdown);
    uint64_t frees = OUROI_OWNED_GET(&pool->settled_frees) + done;
    uint64_t used = OUROI_OWNED_GET(&pool->used) - done;
    bool current = OUROI_OWNED_GET(&pool->current);
    if (current && OUROI_RACES_SEEN)
        used = OUROI_OWNED_GET(&pool->source.seen_allocs) - frees;
    else if (current)
        used = OUROI_OWNED_GET(&pool->carved) - ouroi_pool_listed(pool);
    if (used > pool->capacity) { /* read while its owner was at it: what was read does not belong together */
        used = pool->capacity;
        frees = OUROI_OWNED_GET(&pool->settled_frees);
    }
    uint64_t remote = ouroi_remote_count(word);
    if ((word & OUROI_REMOTE_OWNED) == 0)
        remote = used < remote ? 0 : used - remote;
    counts->allocs[c] += frees + used;
    counts->frees[c] += frees + remote;
    counts->remote_frees += OUROI_OWNED_GET(&pool->remote_frees) + remote;
    counts->pools[c]++;
}

static void count_batches(struct ouroi_heap *heap, void *arg)
{
    struct ouroi_heap_counts *counts = arg;
    for (unsigned i = 0; i < OUROI_BATCHES; i++) {
        const struct ouroi_batch *batch = &heap->batches[i];
        if (OUROI_OWNED_GET(&batch->pool) == ouroi_heap_empty.batches[0].pool)
            continue;
        uint32_t count = (uint16_t)(OUROI_OWNED_GET(&batch->full) - OUROI_OWNED_GET(&batch->room));
        counts->frees[OUROI_OWNED_GET(&batch->size_class)] += count;
        counts->remote_frees += count;
        counts->batched += count;
    }
    for (unsigned c = 1; c < OUROI_CLASSES; c++) {
        uint64_t stashed = OUROI_OWNED_GET(&heap->bins[c].stashed);
        if (stashed == 0)
            continue;
        uint32_t length = ouroi_heap_stash_length(&heap->bins[c]);
        counts->frees[c] += stashed;
        counts->allocs[c] += stashed - length;
        counts->stashed += length;
    }
    counts->partial_bytes += OUROI_OWNED_GET(&heap->partial_bytes);
    counts->threads += heap->used && !heap->nodes;
    counts->object_heaps += heap->used && heap->nodes;
    counts->idle_heaps += !heap->used;
}

/* No pool vanishes while its blocks in a stash are counted. */
static void count_batches_held(struct ouroi_heap *heap, void *arg)
{
    ouroi_arena_hold(true);
    count_batches(heap, arg);
    ouroi_arena_hold(false);
}

void ouroi_heap_count(struct ouroi_heap_counts *counts)
{
    memset(counts, 0, sizeof *counts);
    ouroi_arena_each_run(count_run, counts);
    ouroi_heap_each(count_batches_held, counts);
    counts->regions = ouroi_region_count();
    if (ouroi_options.secure)
        ouroi_secure_count(counts);
    for (unsigned c = 1; c < OUROI_CLASSES; c++) {
        struct ouroi_pool_totals *totals = &ouroi_pool_totals[c];
        uint64_t gone = ouroi_atomic_load_relaxed(&totals->frees); /* relaxed: counters */
        counts->allocs[c] += gone;
        counts->frees[c] += gone;
        counts->remote_frees += ouroi_atomic_load_relaxed(&totals->remote_frees);
        if (counts->frees[c] > counts->allocs[c]) /* while threads work: one was seen before the other */
            counts->allocs[c] = counts->frees[c];
        counts->small_bytes += (size_t)(counts->allocs[c] - counts->frees[c]) * ouroi_class_bytes(c);
    }
}

struct check {
    unsigned bad;
    struct ouroi_heap *self;
};

static void check_run(struct ouroi_run *run, void *arg)
{
    struct check *check = arg;
    if (run->kind != OUROI_RUN_POOL || ouroi_options.secure || ouroi_run_member(run)->heap != NULL)
        return;
    struct ouroi_pool *pool = ouroi_pool_of(run);
    struct ouroi_slice *slice = ouroi_slice_find(run->start);
    /* [POOL-OWNER take] acquire, pairs with [POOL-OWNER give]: what the last owner wrote */
    bool owned = (ouroi_atomic_load_acquire(&pool->remote) & OUROI_REMOTE_OWNED) != 0;
    void *owner = ouroi_atomic_load_relaxed(&slice->owner); /* relaxed: other threads' pools are left alone */
    if (!owned && owner != NULL) {
        ouroi_warn("check: pool %p has no owner but its slices name one", (void *)run->start);
        check->bad++;
    }
    if (owned && owner == check->self)
        check->bad += ouroi_pool_check(pool);
}

unsigned (*ouroi_heap_check_hook)(void);

unsigned ouroi_heap_check(void)
{
    struct check check = { 0, ouroi_heap_self };
    if (ouroi_heap_check_hook != NULL)
        check.bad = ouroi_heap_check_hook();
    ouroi_arena_each_run(check_run, &check);
    struct ouroi_heap *heap = ouroi_heap_self;
    for (unsigned c = 1; heap != &ouroi_heap_empty && c < OUROI_CLASSES; c++) {
        size_t bytes = ouroi_class_bytes(c);
        const struct ouroi_bin *bin = &heap->bins[c];
        /* relaxed: see [TRACE-FACE] in traced.c */
        const struct ouroi_source *face = ouroi_atomic_load_relaxed(&bin->source);
        const struct ouroi_source *none = ouroi_heap_empty.bins[0].source;
        if ((face != none && face != &bin->pool->source && face != &bin->stash) ||
            (face != none && bytes <= OUROI_DIRECT_MAX && heap->direct[bytes / 16] != face)) {
            ouroi_warn("check: size class %zu: direct and bin name different sources", bytes);
            check.bad++;
        }
    }
    return check.bad;
}
