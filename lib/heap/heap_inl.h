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
    OUROI_OWNED_ADD(&pool->allocs, 1);
    pool->free = block->next;
    block->key = NULL;
    OURO_ASSERT(ouroi_pool_mark(pool, block, true));
    return block;
}

OUROI_INLINE void *ouroi_heap_alloc(size_t size)
{
    struct ouroi_heap *heap = ouroi_heap_self;
    struct ouroi_pool *pool;
    if (OUROI_LIKELY(size <= OUROI_DIRECT_MAX))
        pool = heap->direct[(size + 15) >> 4];
    else if (size <= OUROI_SMALL_MAX)
        pool = heap->bins[ouroi_class_of(size)].current;
    else
        return ouroi_heap_alloc_slow(heap, size);
    void *block = ouroi_pool_pop(pool);
    if (OUROI_UNLIKELY(block == NULL))
        return ouroi_heap_alloc_slow(heap, size);
    return block;
}

OUROI_INLINE void ouroi_heap_free(void *p)
{
    struct ouroi_heap *heap = ouroi_heap_self;
    struct ouroi_slice *slice = ouroi_window_slice((uintptr_t)p);
    /* relaxed: only a thread itself makes an entry name its heap */
    if (OUROI_LIKELY(slice != NULL && ouroi_atomic_load_relaxed(&slice->owner) == heap)) {
        struct ouroi_pool *pool = ouroi_pool_of(ouroi_atomic_load_relaxed(&slice->run)); /* relaxed: see arena.h */
        struct ouroi_block *block = p;
        if (OUROI_LIKELY(block->key != pool)) {
            OURO_ASSERT(ouroi_pool_is_block(pool, block) && ouroi_pool_mark(pool, block, false));
            ouroi_pool_put(pool, block);
            uint32_t countdown = pool->countdown - 1;
            OUROI_OWNED_SET(&pool->countdown, countdown);
            if (OUROI_UNLIKELY(countdown == 0))
                ouroi_heap_free_counted_down(heap, pool);
            return;
        }
    }
    ouroi_heap_free_slow(heap, p);
}

#endif
