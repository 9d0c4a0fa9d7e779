/* heap/alloc.c: malloc where the current pool has no block, and all that is not plain malloc.
 *
 * Owns        the order in which a thread looks for blocks: its stash, what others freed in its current pool, the rest of that
 *             pool, its other pools with room, unowned pools with room (the shelf), a new pool.
 * Invariants  those of heap.h.
 */
#include "heap/internal.h"

#include <errno.h>
#include <string.h>

enum {
    SPARES_MAX = 4,    /* empty pools that a thread keeps */
    SHRINKS_AFTER = 4, /* pools released, with none fetched between, that show a thread giving up its memory */
    NOTE_FRACTION = 4, /* a pool is looked at when a quarter of it came free */
};

void ouroi_heap_make_current(struct ouroi_heap *heap, unsigned size_class, struct ouroi_pool *pool)
{
    heap->bins[size_class].pool = pool;
    ouroi_traced_show(heap, size_class);
}

/* The countdown of a pool in `partial`: until it is empty, or a quarter more of it is free. */
static void arm_partial(struct ouroi_pool *pool)
{
    uint32_t used = ouroi_pool_used(pool), quarter = pool->capacity / NOTE_FRACTION;
    quarter += quarter == 0;
    ouroi_pool_arm(pool, used < quarter ? used : quarter);
}

static void note_idle(struct ouroi_heap *heap, struct ouroi_pool *pool)
{
    uint32_t idle = pool->carved - ouroi_pool_used(pool);
    heap->idle_bytes += ((size_t)idle - pool->noted_idle) * pool->block_bytes;
    pool->noted_idle = idle;
}

void ouroi_heap_add_partial(struct ouroi_heap *heap, struct ouroi_pool *pool)
{
    struct ouroi_bin *bin = &heap->bins[pool->run.size_class];
    ouroi_pool_arm(pool, 0);
    arm_partial(pool);
    pool->next = NULL;
    pool->previous = bin->last;
    if (bin->last != NULL)
        bin->last->next = pool;
    else
        bin->first = pool;
    bin->last = pool;
    OUROI_OWNED_ADD(&heap->partial_bytes, pool->run.bytes);
    pool->noted_idle = 0;
    note_idle(heap, pool);
}

void ouroi_heap_remove_partial(struct ouroi_heap *heap, struct ouroi_pool *pool)
{
    struct ouroi_bin *bin = &heap->bins[pool->run.size_class];
    if (pool->next != NULL)
        pool->next->previous = pool->previous;
    else
        bin->last = pool->previous;
    if (pool->previous != NULL)
        pool->previous->next = pool->next;
    else
        bin->first = pool->next;
    pool->next = pool->previous = NULL;
    OUROI_OWNED_ADD(&heap->partial_bytes, 0 - pool->run.bytes);
    heap->idle_bytes -= (size_t)pool->noted_idle * pool->block_bytes;
    pool->noted_idle = 0;
    if (pool->spare) {
        pool->spare = false;
        heap->spares--;
    }
}

void ouroi_heap_let_go(struct ouroi_heap *heap, struct ouroi_pool *pool)
{
    enum ouroi_disowned rc;
    do {
        rc = ouroi_pool_disown(pool, heap, false);
    } while (rc == OUROI_DISOWN_REFILLED);
    if (rc == OUROI_DISOWN_EMPTY)
        ouroi_pool_release(pool);
}

/* A thread that gives pool after pool back may be about to sleep: its current pools, whose emptiness no free would notice,
 * become partial ones, which are given back as soon as they are empty; those that are empty now are. */
static void stop_holding_pools(struct ouroi_heap *heap)
{
    struct ouroi_pool *none = ouroi_heap_empty.bins[0].pool;
    ouroi_heap_flush_stashes(heap);
    for (unsigned c = 1; c < OUROI_CLASSES; c++) {
        struct ouroi_pool *pool = heap->bins[c].pool, *next;
        if (pool != none) {
            ouroi_heap_make_current(heap, c, none);
            ouroi_heap_add_partial(heap, pool);
        }
        for (pool = heap->bins[c].first; pool != NULL; pool = next) {
            next = pool->next;
            if (ouroi_pool_used(pool) != 0 && !ouroi_pool_collect(pool))
                continue;
            if (ouroi_pool_used(pool) == 0) {
                ouroi_heap_remove_partial(heap, pool);
                ouroi_pool_release(pool);
            }
        }
    }
}

static void pool_is_empty(struct ouroi_heap *heap, struct ouroi_pool *pool)
{
    struct ouroi_bin *bin = &heap->bins[pool->run.size_class];
    if (heap->releases < SHRINKS_AFTER && pool->run.slices == 1 && heap->spares < SPARES_MAX && bin->first == pool &&
        bin->last == pool) {
        heap->spares++;
        pool->spare = true;
        ouroi_pool_arm(pool, 0);
        note_idle(heap, pool);
        return;
    }
    ouroi_heap_remove_partial(heap, pool);
    ouroi_pool_release(pool);
    if (++heap->releases == SHRINKS_AFTER)
        stop_holding_pools(heap);
}

void ouroi_heap_free_counted_down(struct ouroi_pool *pool)
{
    /* relaxed: of an owned pool it is the owner, and that is the caller */
    struct ouroi_heap *heap = ouroi_atomic_load_relaxed(&pool->home);
    if (heap->bins[pool->run.size_class].pool == pool) {
        ouroi_traced_freed(heap, pool);
        return;
    }
    if (ouroi_pool_used(pool) == 0) {
        pool_is_empty(heap, pool);
        return;
    }
    note_idle(heap, pool);
    arm_partial(pool);
    heap->owned_max = ouroi_heap_owned_max();
    if (heap->idle_bytes > heap->owned_max / 2 && heap->idle_bytes > heap->partial_bytes / 2) {
        ouroi_heap_remove_partial(heap, pool);
        ouroi_heap_let_go(heap, pool);
    }
}

static struct ouroi_pool *new_pool(const struct ouroi_heap *heap, unsigned node, unsigned size_class)
{
    struct ouroi_pool *pool = ouroi_pool_new(node, size_class, heap->nodes);
    if (pool == NULL)
        return NULL;
    size_t room = OUROI_BATCH_BYTES / pool->block_bytes;
    pool->batch_room = room > OUROI_BATCH_BLOCKS ? OUROI_BATCH_BLOCKS : room == 0 ? 1 : (uint16_t)room;
    return pool;
}

/* A pool for the class, owned by `heap`, in no list. NULL: no memory. */
static struct ouroi_pool *find_pool(struct ouroi_heap *heap, unsigned size_class)
{
    struct ouroi_pool *pool = heap->bins[size_class].first;
    if (pool != NULL) {
        ouroi_heap_remove_partial(heap, pool);
        return pool;
    }
    heap->releases = 0;
    heap->owned_max = ouroi_heap_owned_max();
    ouroi_heap_flush_batches(heap);
    unsigned node = ouroi_arena_node();
    node = node < ouroi_machine.nodes ? node : 0;
    pool = ouroi_shelf_take(node, size_class, heap->nodes);
    if (pool == NULL)
        pool = new_pool(heap, node, size_class);
    for (unsigned i = 1; pool == NULL && i < ouroi_machine.nodes; i++)
        pool = ouroi_shelf_take((node + i) % ouroi_machine.nodes, size_class, heap->nodes);
    if (pool == NULL)
        return NULL;
    ouroi_atomic_store_relaxed(&pool->home, (void *)heap); /* relaxed: compared with itself by a thread's own heap */
    ouroi_run_set_owner(&pool->run, heap);
    return pool;
}

/* The stash becomes what malloc takes from. Of tracked objects each block has its run noted, so that this must be asked. */
static void *pop_stash(struct ouroi_heap *heap, unsigned size_class, bool show)
{
    struct ouroi_bin *bin = &heap->bins[size_class];
    if (heap->nodes)
        ouroi_nodes_note_young(heap, &bin->stash.free->key->run);
    else if (show)
        ouroi_traced_show_stash(heap, size_class);
    return ouroi_source_pop(&bin->stash);
}

/* The same where tracing is on, or was. NULL: nothing of this is to be traced. */
static OUROI_NOINLINE void *alloc_stashed(struct ouroi_heap *heap, unsigned size_class, size_t size, const char *type)
{
    size_t bytes = ouroi_class_bytes(size_class);
    void *p = NULL;
    uint32_t tracing = ouroi_atomic_load_relaxed(&heap->tracing); /* relaxed: see traced.c */
    if (tracing != OUROI_TRACING_ALL && ouroi_traced_chosen(bytes))
        p = ouroi_traced_alloc(heap, OUROI_ALIGN, bytes, size, false, type);
    return p != NULL ? p : pop_stash(heap, size_class, false);
}

/* A block of the current pool, with what others freed of it, and the rest of it. NULL: it is full. */
OUROI_INLINE void *alloc_current(struct ouroi_heap *heap, struct ouroi_pool *pool, size_t size, const char *type)
{
    bool was_empty = pool->source.free == NULL && pool->later == NULL;
    uint64_t came = pool->carved + pool->settled_frees; /* each block that comes in raises one of these */
    while (ouroi_pool_replenish(pool)) {
        /* relaxed: see traced.c */
        if (OUROI_UNLIKELY(was_empty) &&
            OUROI_UNLIKELY(ouroi_atomic_load_relaxed(&heap->tracing) == OUROI_TRACING_SAMPLED))
            ouroi_traced_refilled(heap, pool, (uint32_t)(pool->carved + pool->settled_frees - came));
        void *p = ouroi_source_pop(&pool->source);
        if (OUROI_LIKELY(p != NULL) || (p = ouroi_traced_class(heap, pool->run.size_class, size, type)) != NULL)
            return p;
        was_empty = false;
    }
    return NULL;
}

/* Whether that is what malloc takes from. */
OUROI_INLINE bool shows(const struct ouroi_bin *bin, const struct ouroi_source *source)
{
    return ouroi_atomic_load_relaxed(&bin->source) == source; /* relaxed: see [TRACE-FACE] in traced.c */
}

/* Whether the next of the class may be one to trace: all are; or neither the pool nor the stash is shown; or the list has
 * come to a chosen block, which begins the other. */
OUROI_INLINE bool is_to_look(const struct ouroi_bin *bin, uint32_t tracing)
{
    return (!shows(bin, &bin->pool->source) && !shows(bin, &bin->stash)) || tracing == OUROI_TRACING_ALL ||
           (tracing == OUROI_TRACING_SAMPLED && bin->pool->source.free == NULL && bin->pool->later != NULL);
}

void *ouroi_heap_alloc_class(struct ouroi_heap *heap, unsigned size_class, size_t size, const char *type)
{
    struct ouroi_pool *none = ouroi_heap_empty.bins[0].pool;
    struct ouroi_bin *bin = &heap->bins[size_class];
    void *p;
    uint32_t tracing = ouroi_atomic_load_relaxed(&heap->tracing); /* relaxed: see traced.c */
    if (OUROI_UNLIKELY(is_to_look(bin, tracing)) && (p = ouroi_traced_class(heap, size_class, size, type)) != NULL)
        return p;
    if (bin->stash.free != NULL)
        return OUROI_LIKELY(tracing == OUROI_TRACING_OFF) ? pop_stash(heap, size_class, true)
                                                          : alloc_stashed(heap, size_class, size, type);
    for (;;) {
        struct ouroi_pool *pool = bin->pool;
        if (pool != none) {
            p = alloc_current(heap, pool, size, type);
            if (p != NULL && OUROI_UNLIKELY(tracing == OUROI_TRACING_OFF && !shows(bin, &pool->source)))
                ouroi_traced_show(heap, size_class); /* no more what the stash has */
            if (p != NULL)
                return p;
            ouroi_heap_make_current(heap, size_class, none);
            enum ouroi_disowned rc = ouroi_pool_disown(pool, heap, true);
            if (rc == OUROI_DISOWN_REFILLED)
                ouroi_heap_add_partial(heap, pool);
            else if (rc == OUROI_DISOWN_EMPTY)
                ouroi_pool_release(pool);
        }
        pool = find_pool(heap, size_class);
        if (pool == NULL)
            return NULL;
        ouroi_pool_arm(pool, OUROI_ARMED_CURRENT);
        ouroi_heap_make_current(heap, size_class, pool);
        if (heap->nodes)
            ouroi_nodes_note_young(heap, &pool->run);
        ouroi_heap_poll_purger(); /* here, never in a free: that may be libc's own, with its lock of stacks held */
        /* relaxed: the same */
        if (OUROI_UNLIKELY(ouroi_atomic_load_relaxed(&heap->tracing) == OUROI_TRACING_SAMPLED)) {
            ouroi_traced_installed(heap, pool, pool->carved - pool->used); /* used: as of arm */
            if ((p = ouroi_traced_class(heap, size_class, size, type)) != NULL)
                return p;
        }
    }
}

/* What is asked for, and by whom, beside the bytes that are needed for it. */
struct request {
    size_t asked;
    const char *type;
};

static void *alloc_secure(size_t alignment, size_t size, struct request request)
{
    ouroi_heap_poll_purger();
    return ouroi_secure_alloc(alignment, size, request.asked, request.type);
}

static void *alloc_large(struct ouroi_heap *heap, size_t size, size_t alignment, bool zero, struct request request)
{
    ouroi_heap_poll_purger();
    if (OUROI_UNLIKELY(ouroi_traced_chosen(request.asked))) {
        void *p = ouroi_traced_alloc(heap, alignment, size, request.asked, zero, request.type);
        if (p != NULL)
            return p;
    }
    return ouroi_large_alloc(size, alignment, zero);
}

/* Where all is traced: a short way, as its frames have to be walked through. NULL: the long one. */
OUROI_INLINE void *alloc_at_once(size_t size)
{
    struct ouroi_heap *heap = ouroi_heap_self;
    uint32_t tracing = ouroi_atomic_load_relaxed(&heap->tracing); /* relaxed: see traced.c */
    if (OUROI_LIKELY(tracing != OUROI_TRACING_ALL) || size > OUROI_SMALL_MAX)
        return NULL;
    if (ouroi_traced_mode() != OUROI_TRACING_ALL) /* every one is looked at, and some are chosen */
        return NULL;
    return ouroi_traced_alloc(heap, OUROI_ALIGN, ouroi_class_bytes(ouroi_class_of(size)), size, false, NULL);
}

static void *alloc_slow(size_t size, struct request request)
{
    struct ouroi_heap *heap = ouroi_heap_self;
    if (OUROI_UNLIKELY(heap == &ouroi_heap_empty)) {
        if (ouroi_heap_start() != 0)
            return NULL;
        if (ouroi_options.secure)
            return alloc_secure(OUROI_ALIGN, size, request);
        heap = ouroi_heap_attach();
        if (heap == NULL)
            return ouroi_heap_is_late() ? ouroi_region_alloc(&ouroi_region_late, OUROI_ALIGN, size, false) : NULL;
    }
    if (OUROI_LIKELY(size <= OUROI_SMALL_MAX))
        return ouroi_heap_alloc_class(heap, ouroi_class_of(size), request.asked, request.type);
    if (OUROI_UNLIKELY(size > PTRDIFF_MAX))
        return NULL;
    return alloc_large(heap, size, OUROI_ALIGN, false, request);
}

void *ouroi_heap_alloc_slow(size_t size)
{
    void *p = alloc_at_once(size);
    if (p != NULL)
        return p;
    return alloc_slow(size, (struct request){ size, NULL });
}

void *ouroi_heap_alloc_slow_or_errno(size_t size)
{
    void *p = alloc_at_once(size);
    if (p != NULL)
        return p;
    p = alloc_slow(size, (struct request){ size, NULL });
    if (OUROI_UNLIKELY(p == NULL))
        errno = ENOMEM;
    return p;
}

size_t ouroi_class_aligned(size_t alignment, size_t size)
{
    size_t bytes = ouroi_align_up(size + (size == 0), alignment);
    if (bytes < size || bytes > OUROI_SMALL_MAX || alignment > OUROI_SMALL_MAX)
        return 0;
    unsigned size_class = ouroi_class_of(bytes);
    while ((ouroi_class_bytes(size_class) & (alignment - 1)) != 0)
        size_class++;
    return ouroi_class_bytes(size_class);
}

void *ouroi_heap_alloc_aligned(size_t alignment, size_t size)
{
    if (alignment <= OUROI_ALIGN)
        return ouroi_heap_alloc(size);
    struct ouroi_heap *heap = ouroi_heap_self;
    if (size > PTRDIFF_MAX || alignment > PTRDIFF_MAX / 2)
        return NULL;
    if (heap == &ouroi_heap_empty) {
        if (ouroi_heap_start() != 0)
            return NULL;
        if (ouroi_options.secure)
            return alloc_secure(alignment, size, (struct request){ size, NULL });
        if (ouroi_heap_is_late())
            return ouroi_region_alloc(&ouroi_region_late, alignment, size, false);
        if (ouroi_heap_attach() == NULL)
            return NULL;
    }
    size_t bytes = ouroi_class_aligned(alignment, size);
    if (bytes == 0)
        return alloc_large(ouroi_heap_self, size, alignment, false, (struct request){ size, NULL });
    void *p = ouroi_heap_alloc_fast(bytes);
    return p != NULL ? p : alloc_slow(bytes, (struct request){ size, NULL });
}

OUROI_INLINE void *alloc_zero(size_t size, struct request request)
{
    if (size > OUROI_SMALL_MAX && size <= PTRDIFF_MAX && ouroi_heap_self != &ouroi_heap_empty)
        return alloc_large(ouroi_heap_self, size, OUROI_ALIGN, true, request);
    void *p = ouroi_heap_alloc_fast(size);
    if (p == NULL && (p = alloc_slow(size, request)) == NULL)
        return NULL;
    /* The first large request of a thread: its pages may be the kernel's own zeroes. */
    struct ouroi_run *run = size > OUROI_SMALL_MAX ? ouroi_run_find(p) : NULL;
    if (run == NULL || !run->zero || run->kind == OUROI_RUN_POOL)
        memset(p, 0, size);
    return p;
}

void *ouroi_heap_alloc_zero(size_t size)
{
    return alloc_zero(size, (struct request){ size, NULL });
}

void *ouroi_heap_alloc_object(size_t size, size_t asked, const char *type)
{
    return alloc_zero(size, (struct request){ asked, type });
}

size_t ouroi_heap_good_size(size_t size)
{
    if (size <= OUROI_SMALL_MAX)
        return ouroi_class_bytes(ouroi_class_of(size));
    size_t good = ouroi_large_good_size(size);
    return good < size || size > PTRDIFF_MAX ? size : good;
}

static struct ouroi_run *living_run(const void *p, const char *what)
{
    struct ouroi_run *run = ouroi_run_find(p);
    ouroi_heap_check_block(p, run, what);
    return run;
}

size_t ouroi_heap_usable(const void *p)
{
    if (p == NULL)
        return 0;
    struct ouroi_run *run = living_run(p, "usable_size");
    if (ouroi_options.secure && ouroi_run_member(run)->heap == NULL)
        return ouroi_secure_usable(p, run);
    return run->kind == OUROI_RUN_POOL ? ouroi_pool_of(run)->block_bytes : OUROI_OWNED_GET(&run->bytes);
}

uint32_t ouroi_heap_kept_larger;

void *ouroi_heap_realloc(void *p, size_t size)
{
    if (p == NULL)
        return ouroi_heap_alloc(size);
    struct ouroi_run *run = living_run(p, "realloc");
    if (size > PTRDIFF_MAX)
        return NULL;
    if (ouroi_run_member(run)->heap != NULL)
        return ouroi_region_realloc(p, run, size);
    if (ouroi_options.secure)
        return ouroi_secure_realloc(p, run, size);
    size_t old;
    bool traced = OUROI_UNLIKELY(ouroi_traced_mode() != OUROI_TRACING_OFF);
    if (run->kind == OUROI_RUN_POOL) {
        old = ouroi_pool_of(run)->block_bytes;
        /* Where all is traced the block moves to where it can be. */
        if (size <= old && (old <= 128 || size > old / 2) && !(traced && ouroi_traced_mode() == OUROI_TRACING_ALL))
            return p;
    } else {
        old = run->bytes;
        if (size > OUROI_SMALL_MAX || size > old / 2) {
            void *same = ouroi_large_resize(run, size);
            if (same != NULL && traced)
                ouroi_traced_adopt(ouroi_heap_self, ouroi_run_find(same), size);
            if (same != NULL)
                return same;
        }
    }
    void *fresh = ouroi_heap_alloc(size);
    if (fresh == NULL && size <= old) {                         /* a block that cannot shrink by moving stays */
        ouroi_atomic_store_relaxed(&ouroi_heap_kept_larger, 1); /* relaxed: a flag on its own */
        return p;
    }
    if (fresh == NULL)
        return NULL;
    memcpy(fresh, p, size < old ? size : old);
    ouroi_heap_free(p);
    return fresh;
}
