/* heap/internal.h: what the files of this layer share. */
#ifndef OUROI_HEAP_INTERNAL_H
#define OUROI_HEAP_INTERNAL_H

#include "heap/heap_inl.h"

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
void *ouroi_region_realloc(void *p, struct ouroi_run *run, size_t size);
void ouroi_region_free(void *p, struct ouroi_run *run);
extern struct ouro_heap ouroi_region_late; /* for threads past their end */
void ouroi_region_fork_prepare(void);
void ouroi_region_fork_done(bool child);

/* secure.c: OURO_SECURE=1. */
void *ouroi_secure_alloc(size_t alignment, size_t size);
void ouroi_secure_free(void *p, struct ouroi_run *run, size_t size, bool sized);
void *ouroi_secure_realloc(void *p, struct ouroi_run *run, size_t size);
size_t ouroi_secure_usable(const void *p, struct ouroi_run *run);
/* Counts what is in quarantine as freed. */
void ouroi_secure_count(struct ouroi_heap_counts *counts);
void ouroi_secure_fork_prepare(void);
void ouroi_secure_fork_done(bool child);

#endif
