/* heap/internal.h: what the files of this layer share. */
#ifndef OUROI_HEAP_INTERNAL_H
#define OUROI_HEAP_INTERNAL_H

#include "heap/heap_inl.h"

struct ouro_heap; /* see region.c */

/* ouroi_purger_poll; what a new thread costs libc is not the program's. */
OUROI_INLINE void ouroi_heap_poll_purger(void)
{
    if (OUROI_LIKELY(ouroi_atomic_load_relaxed(&ouroi_purger_wanted) == 0)) /* relaxed: a hint */
        return;
    ouroi_trace_paused++;
    ouroi_purger_start();
    ouroi_trace_paused--;
}

/* A heap for the calling thread, or NULL: no memory, or the thread is past its end. */
struct ouroi_heap *ouroi_heap_attach(void);
/* Whether the calling thread has passed the last round of its destructors. */
bool ouroi_heap_is_late(void);
/* Bytes of partial pools that a thread may own, and of pools that its stashes may keep: nobody can use them while it
 * sleeps, and nobody knows whether it does. */
size_t ouroi_heap_owned_max(void);
void ouroi_heap_each(void (*fn)(struct ouroi_heap *heap, void *arg), void *arg);

/* alloc.c: what becomes of a pool that is in `partial` or current no more. */
void ouroi_heap_make_current(struct ouroi_heap *heap, unsigned size_class, struct ouroi_pool *pool);
void ouroi_heap_add_partial(struct ouroi_heap *heap, struct ouroi_pool *pool);
void ouroi_heap_remove_partial(struct ouroi_heap *heap, struct ouroi_pool *pool);
/* Disowns, or releases if it is empty, a pool that is neither current nor in `partial`. */
void ouroi_heap_let_go(struct ouroi_heap *heap, struct ouroi_pool *pool);
/* Whether some block is larger than its size would have it, as realloc had no memory to move it to. */
extern OUROI_HIDDEN uint32_t ouroi_heap_kept_larger;

/* free.c */
void ouroi_heap_flush_batches(struct ouroi_heap *heap);
/* Blocks in a stash of a heap; of another thread's, while pools cannot vanish. */
uint32_t ouroi_heap_stash_length(const struct ouroi_bin *bin);
/* Frees what waits in the stashes. */
void ouroi_heap_flush_stashes(struct ouroi_heap *heap);
/* Stops the process: p is not what a free may be given. run: what is there, or NULL. */
_Noreturn void ouroi_heap_bad_free(const void *p, struct ouroi_run *run, const char *what);
/* Stops the process if p cannot be a living block of `run`. */
void ouroi_heap_check_block(const void *p, struct ouroi_run *run, const char *what);

/* region.c: first-class heaps. */
void *ouroi_region_alloc(void *region, size_t alignment, size_t size, bool zero);
/* The same for who counts it; site NULL: nobody. young: where a run of tracked objects is noted, of regions for such. */
void *ouroi_region_alloc_noted(struct ouro_heap *region, size_t alignment, size_t size, bool zero,
                               const struct ouroi_site *site, size_t asked, struct ouroi_heap *young);
/* What is in *slot; if that is NULL, a new region for traced blocks (nodes: for tracked objects). NULL: no memory. */
struct ouro_heap *ouroi_region_new_traced(struct ouro_heap **slot, bool nodes);
/* Makes a large block that belongs to no region one of this one, counted. */
void ouroi_region_adopt(struct ouro_heap *region, struct ouroi_run *run, const struct ouroi_site *site, size_t size);
/* Calls fn for all regions but those that were never traced, under their locks. */
void ouroi_region_each_ledger(void (*fn)(struct ouroi_ledger *ledger, void *arg), void *arg);
/* Takes and gives back every region's lock. */
void ouroi_region_settle(void);
void ouroi_region_look(const void *p, struct ouroi_run *run, void (*fn)(uint64_t token, void *arg), void *arg);
void *ouroi_region_realloc(void *p, struct ouroi_run *run, size_t size);
void ouroi_region_free(void *p, struct ouroi_run *run);
extern struct ouro_heap ouroi_region_late; /* for threads past their end */
size_t ouroi_region_count(void);           /* that the program has */
void ouroi_region_fork_prepare(void);
void ouroi_region_fork_done(bool child);

/* traced.c: a thread's way to traced blocks. A block that is counted, or NULL: it is not to be, or there is no memory for
 * that. bytes: as the block is to have; asked: as it was asked for. */
void *ouroi_traced_alloc(struct ouroi_heap *heap, size_t alignment, size_t bytes, size_t asked, bool zero,
                         const char *type);
/* Whether an allocation in a slot of so many bytes, which is no pool's that samples for itself, is to be traced. */
bool ouroi_traced_choose(size_t slot); /* but for the usual cases */
extern OUROI_HIDDEN uint32_t ouroi_tracing_now;
/* Bytes until the thread's next sample, of what is not sampled by pools; 0 in one that never was asked. */
extern OUROI_HIDDEN __thread uint64_t ouroi_sample_left __attribute__((tls_model("initial-exec")));
extern OUROI_HIDDEN __thread uint32_t ouroi_sample_epoch __attribute__((tls_model("initial-exec")));
extern OUROI_HIDDEN uint32_t ouroi_tracing_epoch;
OUROI_INLINE bool ouroi_traced_chosen(size_t slot)
{
    /* relaxed, both: see ouroi_traced_mode */
    if (OUROI_LIKELY(ouroi_atomic_load_relaxed(&ouroi_tracing_now) == OUROI_TRACING_OFF))
        return false;
    if (ouroi_sample_epoch != ouroi_atomic_load_relaxed(&ouroi_tracing_epoch) || ouroi_sample_left < slot)
        return ouroi_traced_choose(slot);
    ouroi_sample_left -= slot;
    return false;
}
enum ouroi_tracing ouroi_traced_mode(void); /* for the calling thread, now */
void ouroi_traced_site(struct ouroi_site *site, const char *type);
/* Makes bins[].source and direct[] of the caller's heap name what bins[].pool has, or nothing if all is traced; or what the stash
 * has, or nothing if anything is. */
void ouroi_traced_show(struct ouroi_heap *heap, unsigned size_class);
void ouroi_traced_show_stash(struct ouroi_heap *heap, unsigned size_class);
/* Before any block of a class is taken slowly. A block, or NULL: go on. */
void *ouroi_traced_class(struct ouroi_heap *heap, unsigned size_class, size_t size, const char *type);
/* After `count` blocks came into the current pool, which had none in its lists. Its `free` may be empty after. Sampling alone. */
void ouroi_traced_refilled(struct ouroi_heap *heap, struct ouroi_pool *pool, uint32_t count);
/* After a pool became current, or got blocks beside others; listed: blocks in its lists. */
void ouroi_traced_installed(struct ouroi_heap *heap, struct ouroi_pool *pool, uint32_t listed);
/* At the end of a current pool's countdown. */
void ouroi_traced_freed(struct ouroi_heap *heap, struct ouroi_pool *pool);
/* A heap gets a thread; under the lock of the list of heaps. */
void ouroi_traced_heap_begins(struct ouroi_heap *heap);
/* Records of blocks, under the lock of the region that the ledger is of. */
void ouroi_traced_note(struct ouroi_ledger *ledger, struct ouroi_run *run, const void *p, const struct ouroi_site *site,
                       size_t size);
void ouroi_traced_forget(struct ouroi_ledger *ledger, struct ouroi_run *run, const void *p);
/* All blocks of a pool. */
void ouroi_traced_forget_pool(struct ouroi_ledger *ledger, struct ouroi_pool *pool);
uint64_t ouroi_traced_token(struct ouroi_run *run, const void *p);
/* Of a large block that was resized where it was: it may be traced from now on. */
void ouroi_traced_adopt(struct ouroi_heap *heap, struct ouroi_run *run, size_t size);
/* The record of a large block that is about to be resized, which may take another descriptor: lifted, and then put back or
 * dropped. */
struct ouroi_traced_record {
    uint64_t token;
    size_t size;
};
struct ouroi_traced_record ouroi_traced_lift(struct ouroi_run *run);
void ouroi_traced_put_back(struct ouroi_run *run, struct ouroi_traced_record record);
void ouroi_traced_drop(struct ouroi_ledger *ledger, struct ouroi_traced_record record);

/* sample.c: which blocks of pools are sampled. */
/* Chooses among the first `count` blocks of the pool's list. */
void ouroi_sample_offer(struct ouroi_heap *heap, struct ouroi_pool *pool, uint32_t count, size_t mean);
/* Forgets what was chosen of a current pool, and chooses anew among all `listed` blocks of its lists. */
void ouroi_sample_renew(struct ouroi_heap *heap, struct ouroi_pool *pool, uint32_t listed, size_t mean, uint32_t epoch);
/* The block just freed, the first of the list, is chosen. */
void ouroi_sample_freed(struct ouroi_heap *heap, struct ouroi_pool *pool, size_t mean, uint32_t epoch);
/* Whether the next block that the pool has to give is a chosen one, which ends that. */
bool ouroi_sample_take(struct ouroi_heap *heap, struct ouroi_pool *pool, size_t mean, uint32_t epoch);
void ouroi_sample_drop(struct ouroi_heap *heap, unsigned size_class);

/* secure.c: OURO_SECURE=1. */
void *ouroi_secure_alloc(size_t alignment, size_t size, size_t asked, const char *type);
void ouroi_secure_settle(void);
void ouroi_secure_each_ledger(void (*fn)(struct ouroi_ledger *ledger, void *arg), void *arg);
void ouroi_secure_look(const void *p, struct ouroi_run *run, void (*fn)(uint64_t token, void *arg), void *arg);
void ouroi_secure_free(void *p, struct ouroi_run *run, size_t size, bool sized);
void *ouroi_secure_realloc(void *p, struct ouroi_run *run, size_t size);
size_t ouroi_secure_usable(const void *p, struct ouroi_run *run);
/* Counts what is in quarantine as freed. */
void ouroi_secure_count(struct ouroi_heap_counts *counts);
void ouroi_secure_fork_prepare(void);
void ouroi_secure_fork_done(bool child);

#endif
