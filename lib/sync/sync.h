/* sync/sync.h: locks with ranks, for the slow paths.
 *
 * Owns        struct ouroi_lock: one futex word.
 * Invariants  a thread takes locks in the order of their ranks, lower first; checked in debug builds.
 * Sync        [LOCK]. The word is 0 free, 1 held, 2 held and perhaps waited for (Drepper 2011, the second mutex).
 */
#ifndef OUROI_SYNC_H
#define OUROI_SYNC_H

#include "base/base.h"

/* The order in which locks are taken; lib/README.md tells the reasons. */
enum ouroi_rank {
    OUROI_RANK_WORLD,    /* who stops the world */
    OUROI_RANK_REGISTRY, /* the table of threads */
    OUROI_RANK_WORKERS,  /* the pool of worker threads */
    OUROI_RANK_GC,       /* the collector's settings and lists */
    OUROI_RANK_WEAK,     /* one shard of the targets of weak references */
    OUROI_RANK_WEAKMAP,  /* some weak maps */
    OUROI_RANK_TYPES,    /* the table of types */
    OUROI_RANK_QUEUE,    /* a thread's merge queue */
    OUROI_RANK_TRACE,    /* starting and stopping to trace */
    OUROI_RANK_START,    /* start-up of the library */
    OUROI_RANK_HEAPS,    /* the list of threads' heaps */
    OUROI_RANK_HEAP,     /* one first-class heap */
    OUROI_RANK_SECURE,   /* the hardened heap */
    OUROI_RANK_PURGE,    /* giving memory back */
    OUROI_RANK_SHELF,    /* one size class's unowned pools */
    OUROI_RANK_ARENA,    /* one node's chunks */
    OUROI_RANK_SPACE,    /* address space, huge blocks */
    OUROI_RANK_META,     /* descriptors */
    OUROI_RANK_INTERN,   /* the table of tracebacks */
    OUROI_RANKS
};

struct ouroi_lock {
    uint32_t word;
    uint32_t rank;
};
#define OUROI_LOCK_INIT(rank_)     \
    {                              \
        .word = 0, .rank = (rank_) \
    }

/* Locks that the calling thread holds (libouro only): a signal handler must not keep it from giving them back. */
extern OUROI_HIDDEN __thread uint32_t ouroi_locks_held __attribute__((tls_model("initial-exec")));

void ouroi_lock_acquire(struct ouroi_lock *lock);
/* The same before a fork, for all locks of a rank. */
void ouroi_lock_acquire_again(struct ouroi_lock *lock);
bool ouroi_lock_try(struct ouroi_lock *lock);
void ouroi_lock_release(struct ouroi_lock *lock);

/* Between fork's handlers the forking thread holds every lock of the library: what it calls then finds them open to it,
 * whatever the order of handlers, and other threads find them shut. */
void ouroi_lock_all_held(bool held);

/* In the child of a fork, for a lock that the parent held: free, with nobody waiting. */
void ouroi_lock_reset(struct ouroi_lock *lock);

#endif
