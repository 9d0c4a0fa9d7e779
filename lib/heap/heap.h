/* heap/heap.h: a thread's pool caches, and what malloc and free do.
 *
 * Owns        struct ouroi_heap, one a thread; first-class heaps (region.c); the hardened heap (secure.c).
 * Invariants  a pool whose slices name a heap as owner is that heap's current pool of its class or in its `partial` list;
 *             a full pool has no owner, and of the blocks of such that its last owner frees a few wait in the stash, so that
 *             a heap which is full, where each malloc follows a free, need not claim a pool for each; direct[i] is the current pool of the class of i * 16 bytes;
 *             partial_bytes is the sum of the bytes of pools in `partial` lists. It and stash_bytes grow up to owned_max.
 *             bins[c].pool is the current pool of class c; bins[c].current and direct[] name it too, or the empty pool, while
 *             all allocations are traced, or the next of the class has to look around.
 * Sync        a heap is used by its thread alone, with no lock; but [TRACE-FACE]: who switches tracing on makes other
 *             threads' bins[].current and direct[] name the empty pool. Heaps are never freed: [HEAPS] is a lock.
 */
#ifndef OUROI_HEAP_H
#define OUROI_HEAP_H

#include "pool/pool.h"

#define OUROI_DIRECT_MAX ((size_t)1024)
#define OUROI_BATCHES 16
#define OUROI_BATCH_BLOCKS 64 /* in a batch, at most, */
#define OUROI_BATCH_BYTES ((size_t)16 << 10)
#define OUROI_ALIGN ((size_t)16)

struct ouroi_bin {
    struct ouroi_pool *current;      /* `pool`, or the empty one */
    struct ouroi_pool *pool;         /* whose blocks are handed out */
    struct ouroi_pool *first, *last; /* partial pools: the one claimed last is last */
    struct ouroi_block *stash;       /* freed blocks of full pools that this thread filled, and that nobody owns; their
                                        pools count them as used */
    uint32_t stashed;
    uint32_t stash_room;
    uint32_t pool_bytes;
    uint64_t unstashed; /* blocks taken from it again, each a free and a malloc that no pool has counted */
};

/* Blocks on their way to a pool of another thread. */
struct ouroi_batch {
    struct ouroi_pool
        *pool; /* the one that stands for none: empty. Never NULL, so that no run but a pool's equals it */
    struct ouroi_block *head, *tail;
    uint16_t full; /* sent off with so many blocks, */
    uint16_t room; /* so many from now */
    uint16_t size_class;
};

struct ouroi_heap {
    struct ouroi_pool *direct[OUROI_DIRECT_MAX / 16 + 1];
    struct ouroi_bin bins[OUROI_CLASSES];
    struct ouroi_batch batches[OUROI_BATCHES];
    size_t partial_bytes;
    size_t idle_bytes;       /* free in `partial` pools, as of their last countdown */
    size_t stash_bytes;      /* of the pools that blocks in a stash keep, were each in a pool of its own */
    size_t owned_max;        /* bytes of pools that the thread may keep from others by either; looked up now and then */
    unsigned spares;         /* empty pools kept */
    unsigned releases;       /* pools released since one was fetched */
    struct ouroi_heap *next; /* all heaps */
    struct ouroi_heap *next_idle; /* those without a thread */
    bool used;                    /* has a thread */
    /* A thread's second heap, for tracked objects. */
    bool nodes;
    bool young_lost; /* there was no memory for `young`: any run may hold young objects */
    uint32_t number; /* of the heap, in the order that they were made */
    /* Tracing: see traced.c. */
    uint32_t tracing;              /* enum ouroi_tracing, as of the last switch */
    struct ouroi_sampler *sampler; /* NULL: not needed yet */
    uintptr_t *young; /* where runs begin that may hold objects made since a collection last looked; kept when idle */
    size_t young_count, young_room;
};

/* Bytes, and blocks, of a class that wait in a stash. */
#define OUROI_STASH_BYTES ((size_t)16 << 10)
#define OUROI_STASH_BLOCKS 64

/* The calling thread's heap; before its first use, and in threads that are past their end, `ouroi_heap_empty`, whose
 * pools have no blocks, so that nothing need be tested. */
extern OUROI_HIDDEN __thread struct ouroi_heap *ouroi_heap_self __attribute__((tls_model("initial-exec")));
extern OUROI_HIDDEN struct ouroi_heap ouroi_heap_empty;

/* The calling thread's heap for tracked objects, or ouroi_heap_empty. */
extern OUROI_HIDDEN __thread struct ouroi_heap *ouroi_nodes_self __attribute__((tls_model("initial-exec")));

/* Sets the library up; 0 or -ENOMEM. Idempotent. */
int ouroi_heap_start(void);

/* Tracked objects (nodes.c). attach: gives the calling thread such a heap; 0 or -ENOMEM. */
int ouroi_nodes_attach(void);
void ouroi_nodes_detach(void);
/* A block of more than OUROI_SMALL_MAX bytes, zero. NULL: no memory. type: as below. */
void *ouroi_nodes_alloc_large(struct ouroi_heap *heap, size_t size, size_t asked, const char *type);
/* A block of a class, when the current pool has none. size: as asked for. type: the name, of objects, or NULL. */
void *ouroi_heap_alloc_class(struct ouroi_heap *heap, unsigned size_class, size_t size, const char *type);
/* Makes a large block that of a tracked object. */
void ouroi_nodes_adopt_large(struct ouroi_heap *heap, struct ouroi_run *run);
/* Notes that objects may be made in a run. The run's owner, or of its one object; or with the lock of its region. */
void ouroi_nodes_note_young(struct ouroi_heap *heap, struct ouroi_run *run);
/* A block that the heap does not own, or that is large; its state is 0 already. */
void ouroi_nodes_free_slow(struct ouroi_heap *heap, void *p, struct ouroi_run *run);
/* Calls fn for each run of tracked objects while nobody makes or frees any; fn must not allocate from heaps. young: for
 * those only that may hold young objects, and takes their marks off; current pools are marked again. */
void ouroi_nodes_each(bool young, void (*fn)(struct ouroi_run *run, void *arg), void *arg);
/* The marks that were taken off are worth nothing: the next walk for young objects looks everywhere. */
void ouroi_nodes_lose_young(void);

/* Blocks. size: any. NULL: no memory, or more than PTRDIFF_MAX; errno is not touched. */
void *ouroi_heap_alloc_slow(size_t size);
void *ouroi_heap_alloc_slow_or_errno(size_t size);             /* and this does, to ENOMEM */
void *ouroi_heap_alloc_aligned(size_t alignment, size_t size); /* alignment: a power of two */
void *ouroi_heap_alloc_zero(size_t size);
/* The same for an object that says of itself to have `asked` bytes. */
void *ouroi_heap_alloc_object(size_t size, size_t asked, const char *type);
void *ouroi_heap_realloc(void *p, size_t size);
void ouroi_heap_free_slow(void *p);
/* The same for a block of `run` (or NULL) that the calling thread does not own, but may have freed its like of. */
void ouroi_heap_free_remote(void *p, struct ouroi_run *run);
/* free(p) of a block of size `size` as asked for, and alignment (or 0). */
void ouroi_heap_free_sized(void *p, size_t size, size_t alignment);
/* The countdown of a pool of the calling thread has come to its end. */
void ouroi_heap_free_counted_down(struct ouroi_pool *pool);
/* The size of class for a block of `size` bytes at a multiple of `alignment`, or 0: it has to be a large one. */
size_t ouroi_class_aligned(size_t alignment, size_t size);
size_t ouroi_heap_usable(const void *p);
size_t ouroi_heap_good_size(size_t size);

/* Hands over batches and spare pools of the calling thread. */
void ouroi_heap_flush(void);
/* What a thread does at its end. */
void ouroi_heap_detach(struct ouroi_heap *heap);

/* Tracing (traced.c, sample.c). Blocks that are traced belong to regions, whose frees, by whomever, come under the region's
 * lock; there the layer above is told of them. */
enum ouroi_tracing { OUROI_TRACING_OFF, OUROI_TRACING_ALL, OUROI_TRACING_SAMPLED };
#define OUROI_SITE_FRAMES 256

/* Who asked for a block. */
struct ouroi_site {
    const char *type; /* of an object; NULL: a plain block */
    uint64_t hash;
    size_t count;
    void *frames[OUROI_SITE_FRAMES];
};

/* What the layer above counts of the blocks of one region. */
struct ouroi_ledger {
    void *counts;
    uint32_t epoch, room;
};

/* The layer above. site: fills in all but `type`; no lock is held. note: counts a block of `size` bytes as asked for, of a
 * slot of `slot` bytes (which decides how likely it was to be sampled); under the lock of the ledger's region. Returns a
 * token of 48 bits, or 0: not counted. forget: takes that back. */
struct ouroi_tracer {
    void (*site)(struct ouroi_site *site);
    uint64_t (*note)(struct ouroi_ledger *ledger, const struct ouroi_site *site, size_t size, size_t slot);
    void (*forget)(struct ouroi_ledger *ledger, uint64_t token, size_t size, size_t slot);
};
extern OUROI_HIDDEN const struct ouroi_tracer *ouroi_tracer; /* set once, before tracing is */

/* Switches tracing; what threads have begun before may end after. sample_bytes: the mean distance of samples. Returns when
 * nobody is in the middle of note or forget that began before. The caller holds ouroi_trace_lock. 0 or -ENOMEM. */
int ouroi_tracing_switch(enum ouroi_tracing tracing, size_t sample_bytes);
/* Waits for whoever is in the middle of note or forget. */
void ouroi_tracing_settle(void);
/* The thread's blocks are not traced while this is not 0. */
extern OUROI_HIDDEN __thread uint32_t ouroi_trace_paused __attribute__((tls_model("initial-exec")));
extern OUROI_HIDDEN uint64_t ouroi_trace_seed; /* for tests; 0: from the clock */
/* Calls fn, under the region's lock, for each ledger that was ever used. */
void ouroi_tracing_each(void (*fn)(struct ouroi_ledger *ledger, void *arg), void *arg);
/* Calls fn with the token of the block at p, under the region's lock; not where there is none. */
void ouroi_tracing_look(const void *p, void (*fn)(uint64_t token, void *arg), void *arg);
/* The chance, as 1 - exp(-slot/mean), that a block of a slot of so many bytes is sampled; a distance in bytes. */
double ouroi_sample_chance(size_t slot, size_t mean);
uint64_t ouroi_sample_distance(uint64_t random, size_t mean);

/* Locks of the layer above, which fork has to know: who starts and stops (rank TRACE), what grows its tables (INTERN). */
extern struct ouroi_lock ouroi_trace_lock, ouroi_intern_lock;

/* Statistics. */
struct ouroi_heap_counts {
    uint64_t allocs[OUROI_CLASSES], frees[OUROI_CLASSES], remote_frees;
    size_t pools[OUROI_CLASSES];
    size_t small_bytes, large_bytes; /* living, usable */
    size_t large_blocks;
    size_t large_waiting; /* freed, and in quarantine */
    size_t quarantined;   /* of either kind, in quarantine; 0 without OURO_SECURE */
    /* of each NUMA node */
    size_t node_pools[OUROI_NODES_MAX], node_pool_bytes[OUROI_NODES_MAX];
    size_t node_large_blocks[OUROI_NODES_MAX], node_large_bytes[OUROI_NODES_MAX];
    /* of threads' heaps, and of regions */
    size_t threads;          /* that have a heap */
    size_t object_heaps;     /* second heaps, for tracked objects, in use */
    size_t idle_heaps;       /* of either kind, whose threads have ended */
    size_t partial_bytes;    /* of pools in `partial` lists */
    size_t stashed, batched; /* blocks: in stashes; on their way to other threads' pools */
    size_t regions, region_pools, region_large_blocks;
};
void ouroi_heap_count(struct ouroi_heap_counts *counts);

/* For a reader of this process's memory, as ouroi_arena_view. */
struct ouroi_heap_view {
    uint64_t first, next, heap_bytes, used, nodes; /* the first heap's address is at `first`; flags of 1 byte */
    uint64_t bins, bin_bytes, bin_stashed, bin_unstashed;
    uint64_t batches, batch_count, batch_bytes, batch_pool, batch_none; /* the pool that stands for none */
    uint64_t batch_full, batch_room, batch_class;                       /* 2 bytes each; full - room blocks */
    uint64_t secure;
};
void ouroi_heap_describe(struct ouroi_heap_view *view);

/* Violations found, each one line. */
unsigned ouroi_heap_check(void);
/* What the layers above have to check; NULL: nothing. */
extern OUROI_HIDDEN unsigned (*ouroi_heap_check_hook)(void);

#endif
