/* workloads/ring.h: a bounded queue of pointers from one thread to one other.
 *
 * Owns        the queue that hands blocks between threads; it never allocates, so that what is measured is the allocator.
 * Invariants  head <= tail <= head + limit, modulo the word; slots[head .. tail) hold pointers.
 * Sync        [RING push] and [RING pop]: one producer, one consumer. Each keeps its last view of the other's index, so that
 *             the other's cache line is read once a lap and not once a call.
 * Source      Lamport 1983; Lee, Bu, Chandranmenon 2010 for the kept index.
 */
#ifndef OURO_BENCH_RING_H
#define OURO_BENCH_RING_H

#include <sched.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

enum { OUROI_RING_SLOTS = 2048 };

struct ouroi_ring {
    alignas(64) atomic_size_t tail; /* written by the producer */
    size_t head_seen;
    size_t limit;                   /* at most this many inside, up to OUROI_RING_SLOTS; constant */
    alignas(64) atomic_size_t head; /* written by the consumer */
    size_t tail_seen;
    alignas(64) void *slots[OUROI_RING_SLOTS];
};

static inline bool ouroi_ring_try_push(struct ouroi_ring *ring, void *item)
{
    /* [RING push] relaxed: only this thread writes tail */
    size_t tail = atomic_load_explicit(&ring->tail, memory_order_relaxed);
    if (tail - ring->head_seen >= ring->limit) {
        /* [RING push] acquire, pairs with [RING pop] release: the slot was read before it is written again */
        ring->head_seen = atomic_load_explicit(&ring->head, memory_order_acquire);
        if (tail - ring->head_seen >= ring->limit)
            return false;
    }
    ring->slots[tail % OUROI_RING_SLOTS] = item;
    /* [RING push] release, pairs with [RING pop] acquire: publishes the slot and the block behind it */
    atomic_store_explicit(&ring->tail, tail + 1, memory_order_release);
    return true;
}

/* NULL when empty. */
static inline void *ouroi_ring_try_pop(struct ouroi_ring *ring)
{
    /* [RING pop] relaxed: only this thread writes head */
    size_t head = atomic_load_explicit(&ring->head, memory_order_relaxed);
    if (head == ring->tail_seen) {
        /* [RING pop] acquire, pairs with [RING push] release */
        ring->tail_seen = atomic_load_explicit(&ring->tail, memory_order_acquire);
        if (head == ring->tail_seen)
            return NULL;
    }
    void *item = ring->slots[head % OUROI_RING_SLOTS];
    /* [RING pop] release, pairs with [RING push] acquire */
    atomic_store_explicit(&ring->head, head + 1, memory_order_release);
    return item;
}

/* Waits a little: some empty turns, then the processor goes to another thread. */
static inline void ouroi_ring_wait(unsigned *turns)
{
    if (++*turns > 64)
        sched_yield();
}

static inline void ouroi_ring_push(struct ouroi_ring *ring, void *item)
{
    unsigned turns = 0;
    while (!ouroi_ring_try_push(ring, item))
        ouroi_ring_wait(&turns);
}

/* One ring for each ordered pair of `rows` producers and `columns` consumers, row by row. limit: see struct ouroi_ring.
 * Ends the program if memory does. */
struct ouroi_ring *ouroi_ring_mesh_new(unsigned rows, unsigned columns, size_t limit);
void ouroi_ring_mesh_free(struct ouroi_ring *mesh, unsigned rows, unsigned columns);

/* What a producer pushes last. */
extern char ouroi_ring_closed[1];

#endif
