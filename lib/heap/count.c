/* heap/count.c: statistics and checks, by walking what is there: the fast paths count nothing beyond what they need.
 *
 * Sync        words of other threads' pools are read relaxed; exact while no thread works.
 */
#include "heap/internal.h"

#include <string.h>

static void count_run(struct ouroi_run *run, void *arg)
{
    struct ouroi_heap_counts *counts = arg;
    if (run->kind != OUROI_RUN_POOL) {
        counts->large_blocks++;
        counts->large_bytes += OUROI_OWNED_GET(&run->bytes);
        return;
    }
    struct ouroi_pool *pool = ouroi_pool_of(run);
    unsigned c = run->size_class;
    uint64_t word = ouroi_atomic_load_relaxed(&pool->remote); /* relaxed: see the file head */
    uint32_t armed = OUROI_OWNED_GET(&pool->armed), done = armed - OUROI_OWNED_GET(&pool->countdown);
    uint64_t frees = OUROI_OWNED_GET(&pool->settled_frees) + done;
    uint64_t used = OUROI_OWNED_GET(&pool->used) - done;
    if (armed == OUROI_ARMED_CURRENT && OUROI_RACES_SEEN)
        used = OUROI_OWNED_GET(&pool->source.seen_allocs) - frees;
    else if (armed == OUROI_ARMED_CURRENT)
        used = OUROI_OWNED_GET(&pool->carved) - ouroi_pool_listed(pool);
    uint64_t remote = ouroi_remote_count(word);
    if ((word & OUROI_REMOTE_OWNED) == 0)
        remote = used - remote;
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
    }
    for (unsigned c = 1; c < OUROI_CLASSES; c++) {
        uint64_t stashed = OUROI_OWNED_GET(&heap->bins[c].stashed);
        if (stashed == 0)
            continue;
        counts->frees[c] += stashed;
        counts->allocs[c] += stashed - ouroi_heap_stash_length(&heap->bins[c]);
    }
    counts->threads += heap->used && !heap->nodes;
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
    if (ouroi_options.secure)
        ouroi_secure_count(counts);
    for (unsigned c = 1; c < OUROI_CLASSES; c++) {
        struct ouroi_pool_totals *totals = &ouroi_pool_totals[c];
        uint64_t gone = ouroi_atomic_load_relaxed(&totals->frees); /* relaxed: counters */
        counts->allocs[c] += gone;
        counts->frees[c] += gone;
        counts->remote_frees += ouroi_atomic_load_relaxed(&totals->remote_frees);
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
        if (bytes <= OUROI_DIRECT_MAX && heap->direct[bytes / 16] != heap->bins[c].source) {
            ouroi_warn("check: size class %zu: direct and bin name different sources", bytes);
            check.bad++;
        }
    }
    return check.bad;
}
