/* pool/pool.h: a run of slices holding blocks of one size class.
 *
 * Owns        struct ouroi_pool; size classes; the shelves, where pools without an owner wait for one.
 * Invariants  a pool is current or not (`current`): blocks are taken from a current one only, so that of
 *             one that is not, the number in use is used - (armed - countdown), and countdown <= that; of a current one it
 *             is what was carved and is in no list, for malloc counts nothing;
 *             frees so far = settled_frees + (armed - countdown); a block that another thread freed counts as used until
 *             the owner collects it;
 *             a free block's second word is the address of its pool's descriptor, a fresh or living block's is not,
 *             unless the program put it there.
 * Sync        Owned (bit OWNED of the remote word): one thread, the owner's, uses all but `remote`, plainly.
 *             Unowned: nobody writes but to `remote`; who sets OWNED by compare-and-swap is the owner from then on.
 *             [REMOTE-FREE], [POOL-OWNER]: the remote word. The lock of a shelf guards its list.
 * Source      sharded free lists: Leijen, Zorn, de Moura 2019 (mimalloc); batches of remote frees: Li, Parkinson et al.
 *             2024 (snmalloc's BatchIt); surrender by emptiness: Berger et al. 2000 (Hoard).
 */
#ifndef OUROI_POOL_H
#define OUROI_POOL_H

#include "arena/arena.h"

/* Classes 1..72: every 16 bytes up to 128, then eight to a doubling up to 32 KiB. */
#define OUROI_CLASSES 73
#define OUROI_SMALL_MAX ((size_t)32 << 10)

OUROI_INLINE unsigned ouroi_class_of_medium(size_t size) /* 129..OUROI_SMALL_MAX */
{
    size_t w = (size - 1) >> 4;
    unsigned b = ouroi_log2(w);
    return (b - 3) * 8 + (unsigned)(w >> (b - 3)) + 1;
}

OUROI_INLINE unsigned ouroi_class_of(size_t size) /* 0..OUROI_SMALL_MAX */
{
    return size > 128 ? ouroi_class_of_medium(size) : (unsigned)((size - (size != 0)) >> 4) + 1;
}

OUROI_INLINE size_t ouroi_class_bytes(unsigned size_class) /* 1..72 */
{
    unsigned i = size_class - 1;
    return i < 8 ? (size_t)size_class * 16 : (size_t)(i % 8 + 9) << (i / 8 + 3);
}

/* What a free block holds. */
struct ouroi_block {
    struct ouroi_block *next;
    struct ouroi_pool *key;
};

#define OUROI_SPARSE_MAX 192 /* blocks of a pool whose pages can be given back while it lives */

#define OUROI_ARMED_CURRENT ((uint32_t)1 << 30)

/* The remote word: the list of blocks that others freed; whether the pool has an owner; and a count: with an owner, of the
 * blocks in that list, without, of the blocks in use that are not in it. (So that the thread whose free is the last one
 * learns it from the word that it swaps, and no field beside it can be out of date.) */
#define OUROI_REMOTE_OWNED 1u  /* someone owns it */
#define OUROI_REMOTE_LISTED 2u /* it is on a shelf */
#define OUROI_REMOTE_COUNT_SHIFT 48

struct ouroi_pool {
    struct ouroi_run run;
    /* everybody's, and what others read beside it: all that a free by another thread looks at */
    uint64_t remote;
    void *home; /* the last owner; compared, not followed, by others */
    uint32_t block_bytes, capacity;
    uint32_t list_used;  /* so many blocks in use, or fewer, make it worth listing */
    uint16_t batch_room; /* blocks that go to it at once. 0: not a pool of a thread's heap */
    bool linked;         /* on a shelf; guarded by that, with listed_beat */
    /* the owner's, written by every malloc and free */
    struct ouroi_block *free __attribute__((aligned(OUROI_CACHE_LINE)));
    uint32_t countdown; /* frees until somebody has to look: the pool may be empty */
    uint32_t armed;     /* what the countdown began with */
    uint32_t carved;
    uint32_t used;             /* when it was armed, unless as current */
    struct ouroi_block *later; /* more free blocks */
    uint64_t settled_frees;
    uint64_t remote_frees;
    uint64_t seen_allocs; /* counted where races are seen, and lists of others must not be walked */
    /* the owner's, seldom written */
    struct ouroi_pool *next __attribute__((aligned(OUROI_CACHE_LINE)));
    struct ouroi_pool *previous; /* in the owner's list, or on a shelf */
    uint64_t *live;              /* debug builds: a bit a block that is handed out */
    uint32_t listed_beat;        /* when it came to its shelf */
    uint32_t noted_idle;         /* free blocks when the owner last counted */
    uint32_t idle_used;          /* `used` when its free pages were last given back */
    bool spare;                  /* empty, and kept by its owner */
    bool current;                /* its owner takes blocks from it */
    uint64_t *traces; /* a word a block, 0 of those that are not traced (heap/traced.c); NULL: none ever was */
    /* Pools of few blocks: those not carved, or whose pages were given back since. (Others are carved in order.) */
    uint64_t uncarved[OUROI_SPARSE_MAX / 64];
};
_Static_assert(offsetof(struct ouroi_pool, free) == OUROI_CACHE_LINE, "one line for others, one for the owner");
_Static_assert(offsetof(struct ouroi_pool, uncarved) + OUROI_SPARSE_MAX / 8 + sizeof(struct ouroi_run_member) <=
                   OUROI_DESCRIPTOR_BYTES,
               "descriptor");

OUROI_INLINE struct ouroi_pool *ouroi_pool_of(struct ouroi_run *run)
{
    return (struct ouroi_pool *)run;
}

OUROI_INLINE struct ouroi_block *ouroi_remote_list(uint64_t word)
{
    return (struct ouroi_block *)(uintptr_t)(word & 0xfffffffffff0u);
}
OUROI_INLINE uint32_t ouroi_remote_count(uint64_t word)
{
    return (uint32_t)(word >> OUROI_REMOTE_COUNT_SHIFT);
}
OUROI_INLINE uint64_t ouroi_remote_word(const struct ouroi_block *list, uint32_t count, uint64_t flags)
{
    return (uint64_t)(uintptr_t)list | flags | (uint64_t)count << OUROI_REMOTE_COUNT_SHIFT;
}

/* Free blocks in the lists of an owned pool. Follows no pointer that leads out of it, so that anybody may ask, for
 * statistics. O(blocks). */
uint32_t ouroi_pool_listed(const struct ouroi_pool *pool);

/* Blocks in use, for the owner. O(1) but for a current pool. */
OUROI_INLINE uint32_t ouroi_pool_used(const struct ouroi_pool *pool)
{
    if (pool->current)
        return pool->carved - ouroi_pool_listed(pool);
    return pool->used - (pool->armed - pool->countdown);
}

/* Counts the frees so far, and begins a countdown of `armed`; the pool stays current, or not. */
OUROI_INLINE void ouroi_pool_rearm(struct ouroi_pool *pool, uint32_t armed)
{
    OUROI_OWNED_ADD(&pool->settled_frees, pool->armed - pool->countdown);
    OUROI_OWNED_SET(&pool->armed, armed);
    OUROI_OWNED_SET(&pool->countdown, armed);
}

/* The same; it is current from now on if that is ARMED_CURRENT, else not. */
OUROI_INLINE void ouroi_pool_arm(struct ouroi_pool *pool, uint32_t armed)
{
    OUROI_OWNED_SET(&pool->used, ouroi_pool_used(pool));
    ouroi_pool_rearm(pool, armed);
    OUROI_OWNED_SET(&pool->current, armed == OUROI_ARMED_CURRENT);
}

/* Slices of a pool: one, or what 8 blocks need. */
OUROI_INLINE unsigned ouroi_pool_slices(size_t block_bytes)
{
    size_t bytes = (size_t)1 << (ouroi_log2(block_bytes * 8 - 1) + 1);
    return bytes > OUROI_SLICE_BYTES ? (unsigned)(bytes / OUROI_SLICE_BYTES) : 1;
}

/* A new pool, owned by nobody that the slices name; OWNED is set. nodes: for tracked objects, with a table of states, all 0.
 * NULL: no memory. */
struct ouroi_pool *ouroi_pool_new(unsigned node, unsigned size_class, bool nodes);
/* Gives an owned, empty pool's memory to the arena. */
void ouroi_pool_release(struct ouroi_pool *pool);

/* Fills an owned pool's `free` from what others freed, or by carving more blocks. False: the pool is full. */
bool ouroi_pool_replenish(struct ouroi_pool *pool);
/* Blocks in a list. O(blocks). */
uint32_t ouroi_pool_list_length(const struct ouroi_pool *pool, const struct ouroi_block *list);
/* A table of `traces` for a pool, all 0, which is kept for others after it. NULL: no memory. */
uint64_t *ouroi_pool_new_traces(const struct ouroi_pool *pool);
/* Bytes of such tables, kept ones with them. */
size_t ouroi_pool_traces_bytes(void);
/* Takes in what others freed. True: there was something. */
bool ouroi_pool_collect(struct ouroi_pool *pool);

/* Ends ownership. EMPTY: nothing is in use, the caller is owner still, and should release it. */
enum ouroi_disowned { OUROI_DISOWNED, OUROI_DISOWN_EMPTY, OUROI_DISOWN_REFILLED };
/* owner: what the slices name. if_full: gives up where others freed something meanwhile, and takes that in (REFILLED). */
enum ouroi_disowned ouroi_pool_disown(struct ouroi_pool *pool, void *owner, bool if_full);

/* Makes the caller, who holds a living block of it, the owner of an unowned pool; collects. False: it has an owner. */
bool ouroi_pool_claim(struct ouroi_pool *pool);

/* Hands over `count` blocks, linked from head to tail, by a thread that does not own the pool. */
void ouroi_pool_push(struct ouroi_pool *pool, struct ouroi_block *head, struct ouroi_block *tail, uint32_t count);

/* Frees the `used` blocks of a pool, all that it has in use and all the caller's, with the pool, if nobody owns it. They are
 * not looked at. False: nothing was done. */
bool ouroi_pool_free_all(struct ouroi_pool *pool, uint32_t used);

/* The unowned pool of a class with room that was listed last, claimed. NULL: none. */
struct ouroi_pool *ouroi_shelf_take(unsigned node, unsigned size_class, bool nodes);

/* Gives back pages that hold free blocks only, of pools that nobody has taken from their shelf for a beat (all: of any).
 * Returns bytes. For the background thread, and when memory is short. */
size_t ouroi_pool_purge_idle(bool all);

/* Whether block `index` was ever handed out since its memory was last given back: what lies in others is not ours. */
OUROI_INLINE bool ouroi_pool_is_carved(const struct ouroi_pool *pool, uint32_t index)
{
    return pool->capacity > OUROI_SPARSE_MAX ? index < pool->carved
                                             : (OUROI_OWNED_GET(&pool->uncarved[index / 64]) >> index % 64 & 1) == 0;
}

/* Puts a block into an owned pool's list. */
OUROI_INLINE void ouroi_pool_put(struct ouroi_pool *pool, struct ouroi_block *block)
{
    block->next = pool->free;
    block->key = pool;
    OUROI_OWNED_SET(&pool->free, block);
}

/* Whether p is where a block of the pool begins. */
bool ouroi_pool_is_block(const struct ouroi_pool *pool, const void *p);
/* Whether the block is in one of the pool's lists. Only the owner, or anybody on the way to an abort, may ask.
 * O(blocks). */
bool ouroi_pool_has_free(const struct ouroi_pool *pool, const struct ouroi_block *block);

/* Debug builds: which blocks are handed out. True if that was right. */
bool ouroi_pool_mark(struct ouroi_pool *pool, const void *block, bool live);

/* For who keeps such marks elsewhere. */
void ouroi_pool_drop_marks(struct ouroi_pool *pool);

void ouroi_pool_init(void);
void ouroi_pool_fork_prepare(void);
void ouroi_pool_fork_done(bool child);

/* Totals of pools that are no more, per class. */
struct ouroi_pool_totals {
    uint64_t frees, remote_frees; /* as many allocs as frees */
};
extern struct ouroi_pool_totals ouroi_pool_totals[OUROI_CLASSES];

/* For a reader of this process's memory, as ouroi_arena_view. */
struct ouroi_pool_view {
    uint64_t pool_free, pool_later, block_next;                                                   /* lists of blocks */
    uint64_t pool_countdown, pool_armed, pool_carved, pool_capacity, pool_used, pool_block_bytes; /* 4 bytes each */
    uint64_t pool_remote, pool_settled_frees, pool_remote_frees, pool_seen_allocs;                /* 8 */
    uint64_t pool_current;                                                                        /* 1 */
    uint64_t races_seen, remote_owned, remote_count_shift;
    uint64_t totals, totals_bytes, totals_frees, totals_remote_frees, classes;
    uint64_t class_bytes; /* an array of `classes` numbers */
};
void ouroi_pool_describe(struct ouroi_pool_view *view);

/* Checks a pool that nobody uses meanwhile; violations, each one line. */
unsigned ouroi_pool_check(struct ouroi_pool *pool);

#endif
