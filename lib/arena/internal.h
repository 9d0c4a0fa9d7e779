/* arena/internal.h: what the files of this layer share. */
#ifndef OUROI_ARENA_INTERNAL_H
#define OUROI_ARENA_INTERNAL_H

#include "arena/arena.h"
#include "arena/bitmap.h"

/* 2048 slices of address space, mapped from the bottom as they are needed.
 * Invariants  free slices are below `mapped`; dirty, young are within free;
 *             most_free, most_dirty are at least the lengths of the longest runs; index is its place in its arena's table. */
struct ouroi_chunk {
    uintptr_t start;
    unsigned mapped; /* slices that there is memory for */
    unsigned most_free, most_dirty;
    uint32_t index;
    uint8_t node;
    bool locked; /* the kernel refused to take its pages back (mlock): not tried for a while */
    struct ouroi_chunk *next_spare;
    struct ouroi_bitmap free;  /* slices that no run has */
    struct ouroi_bitmap dirty; /* free slices that may hold pages */
    struct ouroi_bitmap young; /* dirty slices freed since the last purge */
};

/* space.c: the window and what is outside of it. The space lock is held where a function says so. */
extern struct ouroi_lock ouroi_space_lock;

/* Address space of `chunks` chunks at a multiple of align_chunks, its first map_bytes mapped; slices covered by the map.
 * 0: none. Caller holds the space lock. */
uintptr_t ouroi_space_take(size_t chunks, size_t align_chunks, size_t map_bytes);
/* Address space after what was taken at `start`, if it is free. */
bool ouroi_space_extend(uintptr_t start, size_t chunks, size_t more);
/* Maps more of what was taken: [start + from, start + to). 0, -ENOMEM, -EEXIST. */
int ouroi_space_map(uintptr_t start, size_t from, size_t to);
/* The reverse. False: the kernel will not. */
bool ouroi_space_unmap(uintptr_t start, size_t from, size_t to);
/* Unmaps the first map_bytes and takes the address space back. */
void ouroi_space_give(uintptr_t start, size_t chunks, size_t map_bytes);
/* A mapping that was taken has another length now. */
void ouroi_space_resized(size_t from, size_t to);
int ouroi_space_init(void);
size_t ouroi_space_reserved(void);

/* meta.c */
struct ouroi_run *ouroi_descriptor_alloc(void);
void ouroi_descriptor_free(struct ouroi_run *run);
size_t ouroi_meta_bytes(void);
void ouroi_meta_fork_prepare(void);
void ouroi_meta_fork_done(bool child);

/* Frees a run whose pages are gone: its slices stay taken for ever, as a hole in their chunk. */
void ouroi_run_lose(struct ouroi_run *run);

/* huge.c */
void *ouroi_huge_alloc(size_t size, size_t alignment); /* zero */
void ouroi_huge_free(struct ouroi_run *run);
void *ouroi_huge_resize(struct ouroi_run *run, size_t size);
/* A huge block of `size` bytes that the pages of `run`, a large one, have moved into; run is freed. NULL: none. */
void *ouroi_huge_adopt(struct ouroi_run *run, size_t size);
void ouroi_huge_count(struct ouroi_arena_counts *counts);
void ouroi_huge_each(void (*fn)(struct ouroi_run *run, void *arg), void *arg);
bool ouroi_huge_owns(uintptr_t p);

void ouroi_purger_fork_done(bool child);

/* Each file's part of it. */
void ouroi_space_describe(struct ouroi_arena_view *view);
void ouroi_huge_describe(struct ouroi_arena_view *view);
void ouroi_meta_describe(struct ouroi_arena_view *view);

#endif
