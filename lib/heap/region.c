/* heap/region.c: first-class heaps: blocks that can be freed one by one, by any thread, or all at once.
 *
 * Owns        struct ouro_heap: its pools and large blocks, in one list.
 * Invariants  a run's member.heap names its heap as long as it is in that heap's list; its slices name no owner, so that
 *             every free comes here; pools with room are in `room` of their class, and only these (pool->linked).
 *             A region for traced blocks is one that no program has.
 * Sync        the heap's lock, rank HEAP, which guards its ledger too; regions_lock, rank HEAPS, for the list of heaps.
 */
#include "heap/internal.h"

#include <errno.h>
#include <ouro/alloc.h>
#include <string.h>

struct ouro_heap {
    struct ouroi_lock lock;
    struct ouroi_pool *room[OUROI_CLASSES];
    struct ouroi_run *runs;
    struct ouroi_ledger ledger;
    bool nodes, traced;
    struct ouro_heap *next;      /* all regions, for ever */
    struct ouro_heap *next_free; /* destroyed ones */
};

struct ouro_heap ouroi_region_late = { .lock = OUROI_LOCK_INIT(OUROI_RANK_HEAP) };
static struct ouroi_lock regions_lock = OUROI_LOCK_INIT(OUROI_RANK_HEAPS);
static struct ouro_heap *all_regions = &ouroi_region_late, *free_regions;

static void link_run(struct ouro_heap *region, struct ouroi_run *run)
{
    struct ouroi_run_member *member = ouroi_run_member(run);
    OUROI_OWNED_SET(&member->heap, (void *)region);
    member->previous = NULL;
    member->next = region->runs;
    if (region->runs != NULL)
        ouroi_run_member(region->runs)->previous = run;
    region->runs = run;
}

static void unlink_run(struct ouro_heap *region, struct ouroi_run *run)
{
    struct ouroi_run_member *member = ouroi_run_member(run);
    if (member->next != NULL)
        ouroi_run_member(member->next)->previous = member->previous;
    if (member->previous != NULL)
        ouroi_run_member(member->previous)->next = member->next;
    else
        region->runs = member->next;
}

static void add_room(struct ouro_heap *region, struct ouroi_pool *pool)
{
    struct ouroi_pool **first = &region->room[pool->run.size_class];
    pool->previous = NULL;
    pool->next = *first;
    if (*first != NULL)
        (*first)->previous = pool;
    *first = pool;
    pool->linked = true;
}

static void remove_room(struct ouro_heap *region, struct ouroi_pool *pool)
{
    if (pool->next != NULL)
        pool->next->previous = pool->previous;
    if (pool->previous != NULL)
        pool->previous->next = pool->next;
    else
        region->room[pool->run.size_class] = pool->next;
    pool->linked = false;
}

static void *alloc_small(struct ouro_heap *region, unsigned size_class)
{
    struct ouroi_pool *pool;
    while ((pool = region->room[size_class]) != NULL && !ouroi_pool_replenish(pool))
        remove_room(region, pool);
    if (pool == NULL) {
        pool = ouroi_pool_new(ouroi_arena_node(), size_class, region->nodes);
        if (pool == NULL)
            return NULL;
        link_run(region, &pool->run);
        add_room(region, pool);
        ouroi_pool_replenish(pool);
    }
    OUROI_OWNED_ADD(&pool->used, 1);
    return ouroi_pool_pop(pool);
}

void *ouroi_region_alloc_noted(struct ouro_heap *region, size_t alignment, size_t size, bool zero,
                               const struct ouroi_site *site, size_t asked, struct ouroi_heap *young)
{
    if (size > PTRDIFF_MAX || alignment > PTRDIFF_MAX / 2)
        return NULL;
    size_t bytes = ouroi_class_aligned(alignment, size);
    void *p;
    ouroi_lock_acquire(&region->lock);
    if (bytes != 0) {
        p = alloc_small(region, ouroi_class_of(bytes));
    } else {
        p = ouroi_large_alloc(size, alignment, zero);
        if (p != NULL)
            link_run(region, ouroi_run_find(p));
    }
    struct ouroi_run *run = p != NULL ? ouroi_run_find(p) : NULL;
    if (run != NULL && young != NULL && bytes == 0)
        ouroi_nodes_adopt_large(young, run);
    else if (run != NULL && young != NULL)
        ouroi_nodes_note_young(young, run);
    if (run != NULL && site != NULL)
        ouroi_traced_note(&region->ledger, run, p, site, asked);
    ouroi_lock_release(&region->lock);
    if (p != NULL && zero && bytes != 0)
        memset(p, 0, size);
    return p;
}

static OUROI_NOINLINE void *alloc_traced(struct ouro_heap *region, size_t alignment, size_t size, bool zero)
{
    struct ouroi_site site;
    size_t bytes = ouroi_class_aligned(alignment, size);
    bool chosen = size <= PTRDIFF_MAX && ouroi_traced_chosen(bytes != 0 ? bytes : size);
    if (chosen)
        ouroi_traced_site(&site, NULL);
    return ouroi_region_alloc_noted(region, alignment, size, zero, chosen ? &site : NULL, size, NULL);
}

void *ouroi_region_alloc(void *heap, size_t alignment, size_t size, bool zero)
{
    if (OUROI_UNLIKELY(ouroi_traced_mode() != OUROI_TRACING_OFF))
        return alloc_traced(heap, alignment, size, zero);
    return ouroi_region_alloc_noted(heap, alignment, size, zero, NULL, size, NULL);
}

void ouroi_region_adopt(struct ouro_heap *region, struct ouroi_run *run, const struct ouroi_site *site, size_t size)
{
    ouroi_lock_acquire(&region->lock);
    link_run(region, run);
    ouroi_traced_note(&region->ledger, run, (void *)run->start, site, size);
    ouroi_lock_release(&region->lock);
}

static void free_small(struct ouro_heap *region, struct ouroi_pool *pool, struct ouroi_block *block)
{
    OURO_ASSERT(ouroi_pool_mark(pool, block, false));
    ouroi_pool_put(pool, block);
    OUROI_OWNED_ADD(&pool->settled_frees, 1);
    OUROI_OWNED_ADD(&pool->used, (uint32_t)-1);
    if (!pool->linked)
        add_room(region, pool);
    if (ouroi_pool_used(pool) == 0 && (pool->next != NULL || pool->previous != NULL)) {
        remove_room(region, pool);
        unlink_run(region, &pool->run);
        ouroi_pool_release(pool);
    }
}

void ouroi_region_free(void *p, struct ouroi_run *run)
{
    struct ouro_heap *region = ouroi_run_member(run)->heap;
    ouroi_lock_acquire(&region->lock);
    ouroi_traced_forget(&region->ledger, run, p);
    if (run->kind == OUROI_RUN_POOL) {
        free_small(region, ouroi_pool_of(run), p);
    } else {
        unlink_run(region, run);
        ouroi_large_free(run);
    }
    ouroi_lock_release(&region->lock);
}

/* A block that stays where it is has another size, and another site if it is traced. */
static OUROI_NOINLINE void note_again(struct ouro_heap *region, struct ouroi_run *run, void *p, size_t size)
{
    struct ouroi_site site;
    enum ouroi_tracing mode = ouroi_traced_mode();
    /* Where blocks are sampled, that of its slot is: the choice stands. */
    if (mode == OUROI_TRACING_OFF || (mode == OUROI_TRACING_SAMPLED && ouroi_traced_token(run, p) == 0))
        return;
    ouroi_traced_site(&site, NULL);
    ouroi_lock_acquire(&region->lock);
    ouroi_traced_forget(&region->ledger, run, p);
    ouroi_traced_note(&region->ledger, run, p, &site, size);
    ouroi_lock_release(&region->lock);
}

static void *resize_large(struct ouro_heap *region, struct ouroi_run *run, size_t size)
{
    ouroi_lock_acquire(&region->lock);
    struct ouroi_traced_record record = ouroi_traced_lift(run);
    unlink_run(region, run);
    void *same = ouroi_large_resize(run, size);
    if (same != NULL) {
        run = ouroi_run_find(same);
        ouroi_traced_drop(&region->ledger, record);
    } else {
        ouroi_traced_put_back(run, record);
    }
    link_run(region, run);
    ouroi_lock_release(&region->lock);
    return same;
}

static OUROI_NOINLINE void note_resized(struct ouro_heap *region, struct ouroi_run *run, size_t size)
{
    struct ouroi_site site;
    if (!ouroi_traced_chosen(size))
        return;
    ouroi_traced_site(&site, NULL);
    ouroi_lock_acquire(&region->lock);
    ouroi_traced_note(&region->ledger, run, (void *)run->start, &site, size);
    ouroi_lock_release(&region->lock);
}

void *ouroi_region_realloc(void *p, struct ouroi_run *run, size_t size)
{
    struct ouro_heap *region = ouroi_run_member(run)->heap;
    bool small = run->kind == OUROI_RUN_POOL;
    size_t old = small ? ouroi_pool_of(run)->block_bytes : run->bytes;
    if (small && size <= old && size > old / 2) {
        if (OUROI_UNLIKELY(ouroi_traced_mode() != OUROI_TRACING_OFF))
            note_again(region, run, p, size);
        return p;
    }
    if (!small && size > OUROI_SMALL_MAX) {
        void *same = resize_large(region, run, size);
        if (same != NULL && OUROI_UNLIKELY(ouroi_traced_mode() != OUROI_TRACING_OFF))
            note_resized(region, ouroi_run_find(same), size);
        if (same != NULL)
            return same;
    }
    void *fresh = region->traced ? ouroi_heap_alloc(size) : ouroi_region_alloc(region, OUROI_ALIGN, size, false);
    if (fresh == NULL && size <= old) {
        ouroi_atomic_store_relaxed(&ouroi_heap_kept_larger, 1); /* relaxed: a flag on its own */
        return p;
    }
    if (fresh == NULL)
        return NULL;
    memcpy(fresh, p, size < old ? size : old);
    ouroi_region_free(p, run);
    return fresh;
}

/* With regions_lock. */
static struct ouro_heap *new_region(void)
{
    struct ouro_heap *region = ouroi_meta_alloc(sizeof *region);
    if (region == NULL)
        return NULL;
    region->lock = (struct ouroi_lock)OUROI_LOCK_INIT(OUROI_RANK_HEAP);
    region->next = all_regions;
    all_regions = region;
    return region;
}

struct ouro_heap *ouroi_region_new_traced(struct ouro_heap **slot, bool nodes)
{
    ouroi_lock_acquire(&regions_lock);
    struct ouro_heap *region = ouroi_atomic_load_relaxed(slot); /* relaxed: written under the lock */
    if (region == NULL && (region = new_region()) != NULL) {
        region->traced = true;
        region->nodes = nodes;
        /* [TRACE-REGION make] release, pairs with [TRACE-REGION look] */
        ouroi_atomic_store_release(slot, region);
    }
    ouroi_lock_release(&regions_lock);
    return region;
}

void ouroi_region_each_ledger(void (*fn)(struct ouroi_ledger *ledger, void *arg), void *arg)
{
    ouroi_lock_acquire(&regions_lock);
    for (struct ouro_heap *region = all_regions; region != NULL; region = region->next) {
        ouroi_lock_acquire(&region->lock);
        if (region->ledger.counts != NULL)
            fn(&region->ledger, arg);
        ouroi_lock_release(&region->lock);
    }
    ouroi_lock_release(&regions_lock);
}

void ouroi_region_settle(void)
{
    ouroi_lock_acquire(&regions_lock);
    for (struct ouro_heap *region = all_regions; region != NULL; region = region->next) {
        ouroi_lock_acquire(&region->lock);
        ouroi_lock_release(&region->lock);
    }
    ouroi_lock_release(&regions_lock);
}

void ouroi_region_look(const void *p, struct ouroi_run *run, void (*fn)(uint64_t token, void *arg), void *arg)
{
    struct ouro_heap *region = ouroi_run_member(run)->heap;
    ouroi_lock_acquire(&region->lock);
    bool begins = run->kind == OUROI_RUN_POOL ? ouroi_pool_is_block(ouroi_pool_of(run), p) : (uintptr_t)p == run->start;
    if (begins)
        fn(ouroi_traced_token(run, p), arg);
    ouroi_lock_release(&region->lock);
}

ouro_heap *ouro_heap_new(void)
{
    struct ouro_heap *region = NULL;
    if (ouroi_heap_start() == 0) {
        ouroi_lock_acquire(&regions_lock);
        region = free_regions;
        if (region != NULL)
            free_regions = region->next_free;
        else
            region = new_region();
        ouroi_lock_release(&regions_lock);
    }
    if (region == NULL)
        errno = ENOMEM;
    return region;
}

void ouro_heap_destroy(ouro_heap *region)
{
    if (region == NULL)
        return;
    ouroi_lock_acquire(&region->lock);
    struct ouroi_run *next;
    for (struct ouroi_run *run = region->runs; run != NULL; run = next) {
        next = ouroi_run_member(run)->next;
        if (run->kind == OUROI_RUN_POOL) {
            struct ouroi_pool *pool = ouroi_pool_of(run);
            ouroi_traced_forget_pool(&region->ledger, pool);
            OUROI_OWNED_ADD(&pool->settled_frees, pool->used);
            OUROI_OWNED_SET(&pool->used, 0);
            pool->linked = false; /* `room` is emptied below */
            ouroi_pool_release(pool);
        } else {
            ouroi_traced_forget(&region->ledger, run, (void *)run->start);
            ouroi_large_free(run);
        }
    }
    region->runs = NULL;
    memset(region->room, 0, sizeof region->room);
    ouroi_lock_release(&region->lock);
    ouroi_lock_acquire(&regions_lock);
    region->next_free = free_regions;
    free_regions = region;
    ouroi_lock_release(&regions_lock);
}

size_t ouroi_region_count(void)
{
    size_t count = 0;
    ouroi_lock_acquire(&regions_lock);
    for (const struct ouro_heap *region = all_regions; region != NULL; region = region->next)
        count += region != &ouroi_region_late;
    for (const struct ouro_heap *region = free_regions; region != NULL; region = region->next_free)
        count--;
    ouroi_lock_release(&regions_lock);
    return count;
}

void ouroi_region_fork_prepare(void)
{
    ouroi_lock_acquire_again(&regions_lock);
    for (struct ouro_heap *region = all_regions; region != NULL; region = region->next)
        ouroi_lock_acquire_again(&region->lock);
}

void ouroi_region_fork_done(bool child)
{
    void (*release)(struct ouroi_lock *) = child ? ouroi_lock_reset : ouroi_lock_release;
    for (struct ouro_heap *region = all_regions; region != NULL; region = region->next)
        release(&region->lock);
    release(&regions_lock);
}
