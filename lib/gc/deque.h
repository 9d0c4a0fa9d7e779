/* gc/deque.h: what a searcher has to give away.
 *
 * Invariants  top <= bottom <= top + OUROI_DEQUE_ROOM; only the owner changes bottom.
 * Sync        [DEQUE]. The owner gives and takes at the bottom, thieves take at the top. Where one item is left the
 *             compare-and-swap of top decides.
 * Source      Chase, Lev 2005; Le, Pop, Cohen, Zappa Nardelli 2013, with operations in the place of fences.
 */
#ifndef OUROI_GC_DEQUE_H
#define OUROI_GC_DEQUE_H

#include "base/base.h"

#define OUROI_DEQUE_ROOM 256

struct ouroi_deque {
    size_t top __attribute__((aligned(OUROI_CACHE_LINE)));
    size_t bottom __attribute__((aligned(OUROI_CACHE_LINE)));
    void *items[OUROI_DEQUE_ROOM];
};

OUROI_INLINE bool ouroi_deque_give(struct ouroi_deque *deque, void *item)
{
    /* relaxed: the owner's own */
    size_t bottom = ouroi_atomic_load_relaxed(&deque->bottom);
    /* [DEQUE refill] acquire, pairs with [DEQUE steal]: the thief has read what is overwritten here.
     * model: deque.give.1 */
    if (bottom - ouroi_atomic_load_acquire(&deque->top) == OUROI_DEQUE_ROOM)
        return false;
    /* relaxed: published by bottom */
    ouroi_atomic_store_relaxed(&deque->items[bottom % OUROI_DEQUE_ROOM], item);
    /* [DEQUE give] release, pairs with [DEQUE look]: publishes the item. model: deque.give.2 */
    ouroi_atomic_store_release(&deque->bottom, bottom + 1);
    return true;
}

OUROI_INLINE void *ouroi_deque_take(struct ouroi_deque *deque)
{
    /* relaxed: the owner's own */
    size_t bottom = ouroi_atomic_load_relaxed(&deque->bottom);
    if (bottom ==
        ouroi_atomic_load_relaxed(&deque->top)) /* relaxed: empty, or a thief makes it so. model: deque.take.1 */
        return NULL;
    bottom--;
    /* [DEQUE lower] seq_cst, pairs with [DEQUE look]: a thief that does not see this had its top seen below.
     * model: deque.take.2 */
    ouroi_atomic_store_seq_cst(&deque->bottom, bottom);
    /* [DEQUE lower] seq_cst. model: deque.take.3 */
    size_t top = ouroi_atomic_load_seq_cst(&deque->top);
    void *item = NULL;
    if ((ptrdiff_t)(bottom - top) >= 0) {
        /* relaxed: the owner's own */
        item = ouroi_atomic_load_relaxed(&deque->items[bottom % OUROI_DEQUE_ROOM]);
        if (bottom != top)
            return item;
        /* [DEQUE last] seq_cst, pairs with [DEQUE steal]: one of them gets it. model: deque.take.4 */
        if (!ouroi_atomic_cas_seq_cst(&deque->top, &top, top + 1))
            item = NULL;
    }
    ouroi_atomic_store_relaxed(&deque->bottom, bottom + 1); /* relaxed: what it was */
    return item;
}

/* NULL: empty, or another was faster. */
OUROI_INLINE void *ouroi_deque_steal(struct ouroi_deque *deque)
{
    /* [DEQUE look] seq_cst, pairs with [DEQUE lower] and [DEQUE give]. model: deque.steal.1 */
    size_t top = ouroi_atomic_load_seq_cst(&deque->top);
    /* [DEQUE look] seq_cst. model: deque.steal.2 */
    size_t bottom = ouroi_atomic_load_seq_cst(&deque->bottom);
    if ((ptrdiff_t)(bottom - top) <= 0)
        return NULL;
    /* relaxed: worth something only if nobody has changed top */
    void *item = ouroi_atomic_load_relaxed(&deque->items[top % OUROI_DEQUE_ROOM]);
    /* [DEQUE steal] seq_cst, pairs with [DEQUE last] and [DEQUE refill]. model: deque.steal.3 */
    return ouroi_atomic_cas_seq_cst(&deque->top, &top, top + 1) ? item : NULL;
}

/* Whether there seems to be something. */
OUROI_INLINE size_t ouroi_deque_count(struct ouroi_deque *deque)
{
    /* relaxed: a guess */
    size_t top = ouroi_atomic_load_relaxed(&deque->top), bottom = ouroi_atomic_load_relaxed(&deque->bottom);
    return (ptrdiff_t)(bottom - top) > 0 ? bottom - top : 0;
}

#endif
