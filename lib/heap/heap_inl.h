/* heap/heap_inl.h: the fast paths of malloc and free. */
#ifndef OUROI_HEAP_INL_H
#define OUROI_HEAP_INL_H

#include "heap/heap.h"

/* A block from the pool that is current for its class, or NULL: go the slow way. */
OUROI_INLINE void *ouroi_pool_pop(struct ouroi_pool *pool)
{
    struct ouroi_block *block = pool->free;
    if (OUROI_UNLIKELY(block == NULL))
        return NULL;
    OUROI_SEEN_ADD(&pool->seen_allocs, 1);
    struct ouroi_block *next = block->next;
    OUROI_OWNED_SET(&pool->free, next);
    __builtin_prefetch(next); /* blocks freed at random lie anywhere: the next malloc finds its own in the cache */
    block->key = NULL;
    OURO_ASSERT(ouroi_pool_mark(pool, block, true));
    return block;
}

/* A block, or NULL where this is not to be had without more ado. */
OUROI_INLINE void *ouroi_heap_alloc_fast(size_t size)
{
    struct ouroi_heap *heap = ouroi_heap_self;
    struct ouroi_pool *pool;
    if (OUROI_LIKELY(size <= OUROI_DIRECT_MAX))
        pool = ouroi_atomic_load_relaxed(&heap->direct[(size + 15) >> 4]); /* relaxed: see [TRACE-FACE] in traced.c */
    else if (OUROI_LIKELY(size <= OUROI_SMALL_MAX))
        /* relaxed: the same */
        pool = ouroi_atomic_load_relaxed(&heap->bins[ouroi_class_of_medium(size)].current);
    else
        return NULL;
    return ouroi_pool_pop(pool);
}

OUROI_INLINE void *ouroi_heap_alloc(size_t size)
{
    void *block = ouroi_heap_alloc_fast(size);
    return OUROI_LIKELY(block != NULL) ? block : ouroi_heap_alloc_slow(size);
}

/* The same, for malloc and its like: errno says ENOMEM where the result is NULL. */
OUROI_INLINE void *ouroi_heap_alloc_or_errno(size_t size)
{
    void *block = ouroi_heap_alloc_fast(size);
    return OUROI_LIKELY(block != NULL) ? block : ouroi_heap_alloc_slow_or_errno(size);
}

OUROI_INLINE void ouroi_heap_free(void *p)
{
    size_t index = (uintptr_t)p >> OUROI_SLICE_SHIFT;
    if (OUROI_UNLIKELY(index >= OUROI_OWNED_GET_PLAIN(&ouroi_window_slices))) {
        ouroi_heap_free_slow(p);
        return;
    }
    struct ouroi_slice *slice = &ouroi_window_map[index];
    struct ouroi_heap *heap = ouroi_heap_self;
    struct ouroi_run *run = ouroi_atomic_load_relaxed(&slice->run); /* relaxed: see arena.h */
    /* relaxed: only a thread itself makes an entry name its heap */
    if (OUROI_UNLIKELY(ouroi_atomic_load_relaxed(&slice->owner) != heap)) {
        ouroi_heap_free_remote(p, run);
        return;
    }
    struct ouroi_pool *pool = ouroi_pool_of(run);
    struct ouroi_block *block = p;
    if (OUROI_UNLIKELY(block->key == pool)) {
        ouroi_heap_free_slow(p);
        return;
    }
    OURO_ASSERT(ouroi_pool_is_block(pool, block) && ouroi_pool_mark(pool, block, false));
    ouroi_pool_put(pool, block);
    uint32_t countdown = pool->countdown - 1;
    OUROI_OWNED_SET(&pool->countdown, countdown);
    if (OUROI_UNLIKELY(countdown == 0))
        ouroi_heap_free_counted_down(pool);
}

#if !OURO_DROPIN
/* Tracked objects: a block of a class from the thread's heap for them, or NULL: no memory. size, type: for tracing. */
OUROI_INLINE void *ouroi_nodes_alloc(struct ouroi_heap *heap, unsigned size_class, size_t size, const char *type)
{
    /* relaxed: see [TRACE-FACE] in traced.c */
    void *block = ouroi_pool_pop(ouroi_atomic_load_relaxed(&heap->bins[size_class].current));
    return OUROI_LIKELY(block != NULL) ? block : ouroi_heap_alloc_class(heap, size_class, size, type);
}

OUROI_INLINE void ouroi_nodes_free(struct ouroi_heap *heap, void *p)
{
    struct ouroi_slice *slice = ouroi_window_slice((uintptr_t)p);
    if (OUROI_UNLIKELY(slice == NULL))
        slice = ouroi_slice_find((uintptr_t)p);
    struct ouroi_run *run = ouroi_atomic_load_relaxed(&slice->run); /* relaxed: see arena.h */
    *ouroi_slice_state(slice, (uintptr_t)p) = 0;
    /* relaxed: only a thread itself makes an entry name its heap */
    if (OUROI_UNLIKELY(ouroi_atomic_load_relaxed(&slice->owner) != heap)) {
        ouroi_nodes_free_slow(heap, p, run);
        return;
    }
    struct ouroi_pool *pool = ouroi_pool_of(run);
    OURO_ASSERT(ouroi_pool_is_block(pool, p) && ouroi_pool_mark(pool, p, false));
    ouroi_pool_put(pool, p);
    uint32_t countdown = pool->countdown - 1;
    OUROI_OWNED_SET(&pool->countdown, countdown);
    if (OUROI_UNLIKELY(countdown == 0))
        ouroi_heap_free_counted_down(pool);
}
#endif

#endif
