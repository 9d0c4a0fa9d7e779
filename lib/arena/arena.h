/* arena/arena.h: the shared layer: address space bound to NUMA nodes, cut into slices of 32 KiB, and handed out in runs.
 *
 * Owns        the window of address space with its map of slices; chunks of 2048 slices (64 MiB); descriptors of runs; large blocks
 *             (a run each) and huge ones (a mapping each); the thread that gives unused memory back.
 * Invariants  every slice of a run that is handed out points to the run's descriptor in the map; a free slice to nothing;
 *             of a huge block only the first slice does;
 *             descriptors are never unmapped, and all are of one size: one may be looked at after its run was freed.
 * Sync        struct ouroi_slice: relaxed loads and stores: a thread asks only about blocks that it was given, and that
 *             gift orders the store before the load. Whatever else it reads there is not itself (owner) or an error
 *             of the caller. Everything else: the lock of the arena, then that of the space, then that of descriptors.
 * Source      flat page maps after snmalloc (Lietar et al. 2019); dirty runs that age as in jemalloc (Evans 2006).
 */
#ifndef OUROI_ARENA_H
#define OUROI_ARENA_H

#include "base/base.h"
#include "os/os.h"
#include "sync/sync.h"

#if defined(__x86_64__)
#define OUROI_SLICE_SHIFT 15
#else
#define OUROI_SLICE_SHIFT 16 /* pages of 64 KiB there are */
#endif
#define OUROI_SLICE_BYTES ((size_t)1 << OUROI_SLICE_SHIFT)
#define OUROI_CHUNK_SLICES 2048u
#define OUROI_CHUNK_BYTES (OUROI_CHUNK_SLICES * OUROI_SLICE_BYTES)
#define OUROI_LARGE_MAX_SLICES 512u /* 16 MiB; larger blocks are huge */
#define OUROI_DESCRIPTOR_BYTES 256

enum ouroi_run_kind { OUROI_RUN_FREE, OUROI_RUN_POOL, OUROI_RUN_LARGE, OUROI_RUN_HUGE };

/* What every descriptor begins with. */
struct ouroi_run {
    uintptr_t start;
    size_t bytes;              /* a pool: of all its slices; large, huge: usable bytes of the block */
    struct ouroi_chunk *chunk; /* NULL: huge */
    uint32_t slices;           /* huge: slices of address space, at most UINT32_MAX */
    uint8_t kind;
    uint8_t node;
    uint8_t size_class;  /* a pool's */
    uint8_t zero : 1;    /* whether its memory was zero when it was handed out */
    uint8_t nodes : 1;   /* holds tracked objects: its slices have states */
    uint8_t guarded : 1; /* its last page is out of reach, as long as it is handed out (hardened heap) */
    uint8_t asleep : 1;  /* all of it is */
};

/* What every descriptor of a pool or block that belongs to a first-class heap ends with. */
struct ouroi_run_member {
    void *heap; /* NULL: of no such heap */
    struct ouroi_run *next, *previous;
};
OUROI_INLINE struct ouroi_run_member *ouroi_run_member(struct ouroi_run *run)
{
    return (struct ouroi_run_member *)(void *)((char *)run + OUROI_DESCRIPTOR_BYTES - sizeof(struct ouroi_run_member));
}

struct ouroi_slice {
    void *owner; /* of a pool, the heap whose thread may use its free list without more ado, or NULL */
    struct ouroi_run *run;
#if !OURO_DROPIN
    /* Of runs that hold tracked objects (nodes), a state for each block; else NULL. Written before the run is published, or
     * in its last moments. */
    int8_t *states;
    uint32_t reciprocal; /* 2^32 / bytes of a block, rounded up; 0: one block only */
    uint16_t number;     /* of the slice in its run */
    bool young; /* objects may have been made in the run since a collection last looked; in the first slice only */
    uint8_t candidate; /* the collector's, while the world is stopped; else 0 */
#endif
};

/* The window: slice number p >> OUROI_SLICE_SHIFT, below `slices`, has its entry in `map`. Two words and no struct, so that
 * each is an operand of its own in free. */
extern OUROI_HIDDEN size_t ouroi_window_slices;
extern OUROI_HIDDEN struct ouroi_slice *ouroi_window_map;

/* The entry of the slice that `p` is in, or NULL if none of ours ever covered it. */
OUROI_INLINE struct ouroi_slice *ouroi_window_slice(uintptr_t p)
{
    size_t index = p >> OUROI_SLICE_SHIFT;
    /* It only grows; who has a block from a slice was given it after the growth. */
    return OUROI_LIKELY(index < OUROI_OWNED_GET_PLAIN(&ouroi_window_slices)) ? &ouroi_window_map[index] : NULL;
}

/* The same, for the few chunks that lie outside the window too. Any value of p. */
struct ouroi_slice *ouroi_slice_find(uintptr_t p);

/* The run that `p` is in (of a huge block: begins with), or NULL. */
OUROI_INLINE struct ouroi_run *ouroi_run_find(const void *p)
{
    struct ouroi_slice *slice = ouroi_slice_find((uintptr_t)p);
    return slice != NULL ? ouroi_atomic_load_relaxed(&slice->run) : NULL; /* relaxed: see the file head */
}

#if !OURO_DROPIN
/* The state of the block that p, an address in a run of nodes, begins. O(1): two loads, a multiplication. */
OUROI_INLINE int8_t *ouroi_slice_state(const struct ouroi_slice *slice, uintptr_t p)
{
    uint64_t offset = (p & (OUROI_SLICE_BYTES - 1)) + ((uint64_t)slice->number << OUROI_SLICE_SHIFT);
    return &slice->states[offset * slice->reciprocal >> 32];
}
/* Gives the slices of a run states; block_bytes 0: of one block only. Before anybody can ask for them. */
void ouroi_run_set_states(struct ouroi_run *run, int8_t *states, uint32_t block_bytes);
/* The state of a run that is one block. */
OUROI_INLINE int8_t *ouroi_run_state(struct ouroi_run *run)
{
    return (int8_t *)run + OUROI_DESCRIPTOR_BYTES - sizeof(struct ouroi_run_member) - 1;
}
#endif

/* Makes the entries of slices name `run`, and no owner. */
void ouroi_slices_set(uintptr_t start, size_t slices, struct ouroi_run *run);
/* Writes `owner` into the slices of a pool's run. */
void ouroi_run_set_owner(struct ouroi_run *run, void *owner);

/* Sets the layer up; idempotent, under the start-up lock. 0 or -ENOMEM. */
int ouroi_arena_init(void);

/* The node to allocate from: the caller's, or 0 where there is one arena only. */
OUROI_INLINE unsigned ouroi_arena_node(void)
{
    return OUROI_LIKELY(ouroi_machine.nodes == 1) ? 0 : ouroi_os.node();
}

/* A run of `slices` (1..OUROI_LARGE_MAX_SLICES) at a multiple of align_slices (a power of two, at most that), of memory of `node` where that
 * has some. Its descriptor is zero but for struct ouroi_run, and not in the map before ouroi_run_publish. NULL: no memory, after trying to reclaim what is unused. */
struct ouroi_run *ouroi_run_alloc(unsigned node, unsigned slices, unsigned align_slices, enum ouroi_run_kind kind);
void ouroi_run_publish(struct ouroi_run *run);
void ouroi_run_free(struct ouroi_run *run);

/* Blocks that have runs of their own. */
void *ouroi_large_alloc(size_t size, size_t alignment, bool zero);
void ouroi_large_free(struct ouroi_run *run);
size_t ouroi_large_good_size(size_t size);
/* Changes the size where the block is or by moving its pages; returns its address, or NULL if neither is possible.
 * run: of the block; it may be replaced. */
void *ouroi_large_resize(struct ouroi_run *run, size_t size);

/* Gives back: what the layers above keep unused, and dirty memory that has aged (all: at once). Returns bytes. */
size_t ouroi_arena_purge(bool all);

/* How often that was done so far. */
uint32_t ouroi_arena_purges(void);
/* After a try for memory that failed, and that began when ouroi_arena_purges() was `since`: gives all back that is unused,
 * or waits for who does, as what is on its way back is out of reach meanwhile. True: there may be memory now. */
bool ouroi_arena_reclaim(uint32_t since);
#define OUROI_TRIES 8 /* for memory, before there is none */

/* Says that there may be something to give back: `bytes` dirty, or idle. */
void ouroi_purger_note(size_t bytes);

/* Says that the last thread that had a heap ends. */
void ouroi_purger_last_heap_ends(void);

/* Called from slow paths with no lock held: starts the background thread when there is something to give back. */
extern OUROI_HIDDEN uint32_t ouroi_purger_wanted;
void ouroi_purger_start(void);
OUROI_INLINE void ouroi_purger_poll(void)
{
    if (OUROI_UNLIKELY(ouroi_atomic_load_relaxed(&ouroi_purger_wanted) != 0)) /* relaxed: a hint */
        ouroi_purger_start();
}

/* Hook of the layers above, called with no lock of theirs or of the arenas held: passes on memory that they keep unused. */
extern size_t (*ouroi_arena_idle_hook)(bool all);

/* Memory for heaps, descriptors and the like: zero, aligned to a cache line, never given back. NULL: none. */
void *ouroi_meta_alloc(size_t bytes);

/* Counts for statistics. */
struct ouroi_arena_counts {
    size_t reserved_bytes, committed_bytes, resident_bytes; /* resident: not free or free and dirty */
    size_t large_bytes, huge_bytes, large_blocks, huge_blocks;
    size_t meta_bytes;
    size_t chunks;
    uint64_t large_allocs, large_frees; /* with huge ones */
    uint64_t purged_bytes;
};
void ouroi_arena_count(struct ouroi_arena_counts *counts, int node); /* node < 0: all */

/* Bytes that blocks take or leave, in steps of a few KiB; their sum and its peak, an upper bound of what is allocated. */
void ouroi_arena_note_used(ptrdiff_t bytes);
size_t ouroi_arena_peak(void);

/* Calls fn for every run that is handed out, under the locks of the arenas and the space, in turn. */
void ouroi_arena_each_run(void (*fn)(struct ouroi_run *run, void *arg), void *arg);

/* Where all that is, for a reader of this process's memory who takes no part in it (tools/process.c): addresses, sizes, and
 * offsets in the structs that are read. A part of struct ouroi_page (stats/stats.h). */
struct ouroi_arena_view {
    uint64_t page_bytes, slice_shift, chunk_slices, node_count;
    /* arenas, one a node */
    uint64_t arenas, arena_bytes, arena_chunks, arena_chunk_count, arena_mapped, arena_free, arena_dirty;
    uint64_t arena_large_allocs, arena_large_frees, arena_purged;
    uint64_t chunk_start, chunk_mapped; /* 8 bytes; 4 */
    /* entries of slices, in the window and outside */
    uint64_t window_slices, window_map, slice_bytes, slice_run;
    uint64_t outside, outside_count, outside_bytes, outside_start, outside_chunks, outside_map;
    /* runs */
    uint64_t descriptor_bytes, run_start, run_bytes, run_kind, run_node, run_size_class;
    uint64_t kind_pool, kind_large;
    /* counters, 8 bytes each */
    uint64_t huge_bytes, huge_mapped, huge_blocks, huge_allocs, huge_frees, huge_purged;
    uint64_t reserved, metadata, peak;
};
void ouroi_arena_describe(struct ouroi_arena_view *view);

/* Keeps runs from coming and going, or ends that. Small blocks do. */
void ouroi_arena_hold(bool hold);

/* Checks bit maps, slices and counts; the number of violations, each one line on stderr. */
unsigned ouroi_arena_check(void);

/* Whether p lies in memory that is handed out (interior of huge blocks included). */
bool ouroi_arena_owns(const void *p);

/* fork: before it, all locks are taken, that of giving back first, so that nothing is on its way then; after it, released,
 * or reset in the child. */
void ouroi_arena_fork_stop_purges(void);
void ouroi_arena_fork_prepare(void);
void ouroi_arena_fork_done(bool child);

#endif
