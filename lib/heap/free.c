/* heap/free.c: frees of blocks that the calling thread does not own, of large ones, and of what is none.
 *
 * Owns        batches of blocks on their way to other threads' pools.
 * Invariants  a batch holds blocks of one pool, fewer than its `batch_room`; that pool cannot vanish, as they count as used.
 * Sync        [REMOTE-FREE push] in pool/pool.c, once a batch.
 * Source      Li, Parkinson et al. 2024, "BatchIt": blocks freed in a row tend to be of few pools.
 */
#include "heap/internal.h"

enum {
    LONE_FREES = 64,
    STASH_STEP = 16,     /* blocks that a class may stash before it is counted again */
    STASH_REFUSALS = 32, /* of a class that has hardly room, before it is counted again */
    STASH_WAITS = 8,     /* times that this was for want of room in all, before all are counted */
};

static __thread unsigned lone_frees __attribute__((tls_model("initial-exec")));

static bool is_under_way(const struct ouroi_batch *batch)
{
    return batch->pool != ouroi_heap_empty.batches[0].pool;
}

static OUROI_NOINLINE void flush_batch(struct ouroi_batch *batch)
{
    struct ouroi_pool *pool = batch->pool;
    OUROI_OWNED_SET(&batch->pool, ouroi_heap_empty.batches[0].pool);
    ouroi_pool_push(pool, batch->head, batch->tail, (uint16_t)(batch->full - batch->room));
}

void ouroi_heap_flush_batches(struct ouroi_heap *heap)
{
    for (unsigned i = 0; i < OUROI_BATCHES; i++)
        if (is_under_way(&heap->batches[i]))
            flush_batch(&heap->batches[i]);
}

/* The batch of a pool is at a place of its own, where it finds another's it sends that off. */
OUROI_INLINE struct ouroi_batch *batch_of(struct ouroi_heap *heap, const struct ouroi_pool *pool)
{
    return (struct ouroi_batch *)((char *)heap->batches +
                                  ((uintptr_t)pool / (OUROI_DESCRIPTOR_BYTES / sizeof(struct ouroi_batch)) %
                                       sizeof heap->batches &
                                   ~(sizeof(struct ouroi_batch) - 1)));
}
_Static_assert(sizeof(struct ouroi_batch) == 32, "batch_of");

OUROI_INLINE void add_to_batch(struct ouroi_batch *batch, struct ouroi_pool *pool, struct ouroi_block *block)
{
    block->next = batch->head;
    block->key = pool;
    batch->head = block;
    uint16_t room = (uint16_t)(batch->room - 1);
    OUROI_OWNED_SET(&batch->room, room);
    if (OUROI_UNLIKELY(room == 0))
        flush_batch(batch);
}

/* Adds a block of a pool that the caller does not own to its batch. */
static OUROI_NOINLINE void batch_block(struct ouroi_heap *heap, struct ouroi_pool *pool, struct ouroi_block *block)
{
    struct ouroi_batch *batch = batch_of(heap, pool);
    if (batch->pool == pool) {
        add_to_batch(batch, pool, block);
        return;
    }
    if (is_under_way(batch))
        flush_batch(batch);
    batch->head = NULL;
    batch->tail = block;
    OUROI_OWNED_SET(&batch->room, pool->batch_room);
    OUROI_OWNED_SET(&batch->full, pool->batch_room);
    OUROI_OWNED_SET(&batch->size_class, pool->run.size_class);
    OUROI_OWNED_SET(&batch->pool, pool);
    add_to_batch(batch, pool, block);
}

/* Whether a block of another thread's stash may be looked at: its memory is a pool's. */
static bool is_in_pool(const struct ouroi_block *block)
{
    const struct ouroi_run *run = ouroi_run_find(block);
    return run != NULL && run->kind == OUROI_RUN_POOL && (uintptr_t)block % OUROI_ALIGN == 0;
}

uint32_t ouroi_heap_stash_length(const struct ouroi_bin *bin)
{
#if OUROI_RACES_SEEN
    return (uint32_t)(OUROI_OWNED_GET(&bin->stashed) - OUROI_OWNED_GET(&bin->stash.seen_allocs));
#else
    uint32_t length = 0;
    const struct ouroi_block *block = OUROI_OWNED_GET(&bin->stash.free);
    for (; block != NULL && length < OUROI_STASH_BLOCKS && is_in_pool(block); block = OUROI_OWNED_GET(&block->next))
        length++;
    return length;
#endif
}

/* Counts what a stash has, so that stash_bytes is true of it. */
static uint32_t count_stash(struct ouroi_heap *heap, struct ouroi_bin *bin)
{
    uint32_t length = 0;
    for (const struct ouroi_block *block = bin->stash.free; block != NULL; block = block->next)
        length++;
    heap->stash_bytes -= (size_t)(bin->stash_kept - length) * bin->pool_bytes;
    bin->stash_kept = length;
    bin->stash_room = 0;
    return length;
}

/* Makes room for some more blocks in a stash, within the bounds. Counting costs a look at each block, so that where there
 * is little room it is not asked for again at once. */
static OUROI_NOINLINE bool make_stash_room(struct ouroi_heap *heap, struct ouroi_bin *bin)
{
    if (bin->stash_refusals > 0) {
        bin->stash_refusals--;
        return false;
    }
    uint32_t room = bin->stash_max - count_stash(heap, bin);
    room = room > STASH_STEP ? STASH_STEP : room;
    if (heap->stash_bytes + (size_t)room * bin->pool_bytes > heap->owned_max) {
        bool sweeps = heap->stash_waits == 0;
        heap->stash_waits = sweeps ? STASH_WAITS : heap->stash_waits - 1;
        for (unsigned c = 1; sweeps && c < OUROI_CLASSES; c++)
            if (heap->bins[c].stash_kept != 0)
                count_stash(heap, &heap->bins[c]);
        size_t rest = heap->stash_bytes < heap->owned_max ? heap->owned_max - heap->stash_bytes : 0;
        room = room > rest / bin->pool_bytes ? (uint32_t)(rest / bin->pool_bytes) : room;
    }
    if (room < STASH_STEP / 4)
        bin->stash_refusals = STASH_REFUSALS;
    heap->stash_bytes += (size_t)room * bin->pool_bytes;
    bin->stash_kept += room;
    bin->stash_room = room;
    return room > 0;
}

/* Keeps a block of a full pool that this thread was the last owner of, whoever is now: the block counts as used. */
OUROI_INLINE bool stash_block(struct ouroi_heap *heap, struct ouroi_pool *pool, struct ouroi_block *block)
{
    struct ouroi_bin *bin = &heap->bins[pool->run.size_class];
    if (OUROI_UNLIKELY(bin->stash_room == 0) && !make_stash_room(heap, bin))
        return false;
    bin->stash_room--;
    block->next = bin->stash.free;
    block->key = pool;
    OUROI_OWNED_SET(&bin->stash.free, block);
    OUROI_OWNED_ADD(&bin->stashed, 1);
    return true;
}

/* A block of a pool without an owner, freed by the pool's last owner: nearly full pools come back to it, within bounds. */
static bool take_back(struct ouroi_heap *heap, struct ouroi_pool *pool)
{
    /* relaxed: only this thread makes a pool its home; a listed pool is left to who needs it */
    if (ouroi_atomic_load_relaxed(&pool->home) != heap ||
        (ouroi_atomic_load_relaxed(&pool->remote) & OUROI_REMOTE_LISTED) != 0 ||
        heap->partial_bytes + pool->run.bytes > heap->owned_max || !ouroi_pool_claim(pool))
        return false;
    ouroi_run_set_owner(&pool->run, heap);
    ouroi_heap_add_partial(heap, pool);
    return true;
}

static void free_own(struct ouroi_pool *pool, struct ouroi_block *block)
{
    ouroi_pool_put(pool, block);
    OUROI_OWNED_ADD(&pool->countdown, (uint32_t)-1);
    if (pool->countdown == 0)
        ouroi_heap_free_counted_down(pool);
}

/* Of a pool that has no owner, or had none just now. */
static OUROI_NOINLINE void free_home(struct ouroi_heap *heap, struct ouroi_pool *pool, struct ouroi_block *block)
{
    if (take_back(heap, pool)) /* model: remote.home.1 */
        free_own(pool, block);
    else
        batch_block(heap, pool, block);
}

static void free_small(struct ouroi_heap *heap, struct ouroi_pool *pool, struct ouroi_block *block)
{
    if (OUROI_UNLIKELY(heap == &ouroi_heap_empty)) {
        /* A thread whose first call is a free; or that is past its destructors, where libc frees what others left: a heap
         * would stay for ever, so that only who frees many gets one. */
        heap = ++lone_frees < LONE_FREES ? NULL : ouroi_heap_attach();
        if (heap == NULL) {
            block->key = pool;
            ouroi_pool_push(pool, block, block, 1);
            return;
        }
    }
    /* relaxed: see heap_inl.h */
    void *owner = ouroi_atomic_load_relaxed(&ouroi_slice_find((uintptr_t)block)->owner);
    if (owner == heap)
        free_own(pool, block);
    else if (owner == NULL)
        free_home(heap, pool, block);
    else
        batch_block(heap, pool, block);
}

void ouroi_nodes_free_slow(struct ouroi_heap *heap, void *p, struct ouroi_run *run)
{
    if (OUROI_UNLIKELY(ouroi_run_member(run)->heap != NULL)) { /* traced */
        ouroi_region_free(p, run);
        return;
    }
    if (run->kind != OUROI_RUN_POOL) {
        ouroi_large_free(run);
        return;
    }
    OURO_ASSERT(ouroi_pool_mark(ouroi_pool_of(run), p, false));
    /* relaxed: only this thread makes a pool its home */
    if (ouroi_atomic_load_relaxed(&ouroi_pool_of(run)->home) != heap || !stash_block(heap, ouroi_pool_of(run), p))
        free_small(heap, ouroi_pool_of(run), p);
}

void ouroi_heap_flush_stashes(struct ouroi_heap *heap)
{
    for (unsigned c = 1; c < OUROI_CLASSES; c++) {
        struct ouroi_bin *bin = &heap->bins[c];
        struct ouroi_block *block = bin->stash.free, *next;
        bin->stash_room = bin->stash_kept = bin->stash_refusals = 0;
        OUROI_OWNED_SET(&bin->stash.free, NULL);
        for (; block != NULL; block = next) {
            next = block->next;
            OUROI_OWNED_ADD(&bin->stashed, (uint64_t)-1);
            free_small(heap, block->key, block);
        }
    }
    heap->stash_bytes = 0;
    heap->stash_waits = 0;
}

/* Of a run that the caller does not own, and that has no batch under way; or a second free. */
static OUROI_NOINLINE void free_unbatched(struct ouroi_heap *heap, struct ouroi_run *run, struct ouroi_block *block)
{
    struct ouroi_pool *pool = ouroi_pool_of(run);
    if (OUROI_UNLIKELY(run == NULL || run->kind != OUROI_RUN_POOL || pool->batch_room == 0 ||
                       heap == &ouroi_heap_empty || block->key == pool || !ouroi_pool_is_block(pool, block) ||
                       (!OURO_DROPIN && run->nodes))) {
        ouroi_heap_free_slow(block);
        return;
    }
    OURO_ASSERT(ouroi_pool_mark(pool, block, false));
    /* relaxed: only this thread makes itself a pool's home */
    if (ouroi_atomic_load_relaxed(&pool->home) != heap)
        batch_block(heap, pool, block);
    else if (!stash_block(heap, pool, block))
        free_home(heap, pool, block);
}

void ouroi_heap_free_remote(void *p, struct ouroi_run *run)
{
    struct ouroi_heap *heap = ouroi_heap_self;
    struct ouroi_pool *pool = ouroi_pool_of(run);
    struct ouroi_batch *batch = batch_of(heap, pool);
    struct ouroi_block *block = p;
    /* A batch of this pool under way says that it is one of another thread's. */
    if (OUROI_LIKELY(batch->pool == pool && block->key != pool)) {
        OURO_ASSERT(ouroi_pool_is_block(pool, block) && ouroi_pool_mark(pool, block, false));
        add_to_batch(batch, pool, block);
        return;
    }
    free_unbatched(heap, run, block);
}

void ouroi_heap_bad_free(const void *p, struct ouroi_run *run, const char *what)
{
    if (run == NULL)
        ouroi_fail("%s of %p, which is not a living block of this heap", what, p);
    if (run->kind == OUROI_RUN_POOL)
        ouroi_fail("%s of %p (size class %u)", what, p, ouroi_pool_of(run)->block_bytes);
    ouroi_fail("%s of %p (large block at %p of %zu bytes)", what, p, (void *)run->start, run->bytes);
}

struct find_batch {
    const struct ouroi_block *block;
    const struct ouroi_pool *pool;
    bool found;
};

static void look_in_batches(struct ouroi_heap *heap, void *arg)
{
    struct find_batch *find = arg;
    for (unsigned i = 0; i < OUROI_BATCHES; i++) {
        const struct ouroi_batch *batch = &heap->batches[i];
        const struct ouroi_block *block = batch->pool == find->pool ? batch->head : NULL;
        for (unsigned n = 0; n < OUROI_BATCH_BLOCKS && ouroi_pool_is_block(find->pool, block); n++, block = block->next)
            find->found |= block == find->block;
    }
    const struct ouroi_block *stashed = heap->bins[find->pool->run.size_class].stash.free;
    for (unsigned n = 0; n < OUROI_STASH_BLOCKS && stashed != NULL && is_in_pool(stashed); n++) {
        if (stashed == find->block)
            find->found = true;
        stashed = stashed->next;
    }
}

/* A block that carries the mark of a free one: is it? Programs may copy such a mark into a living block. Lists of other
 * threads are read while these may change them; what decides is that the block itself is found in one. */
static OUROI_COLD bool is_free_already(struct ouroi_pool *pool, const struct ouroi_block *block)
{
    if (ouroi_pool_has_free(pool, block))
        return true;
    struct find_batch find = { block, pool, false };
    ouroi_heap_each(look_in_batches, &find);
    return find.found;
}

void ouroi_heap_check_block(const void *p, struct ouroi_run *run, const char *what)
{
    char line[64];
    if (OUROI_UNLIKELY(run == NULL))
        ouroi_heap_bad_free(p, run, what);
    if (OUROI_UNLIKELY(run->nodes)) {
        ouroi_format(line, sizeof line, "%s of an object:", what);
        ouroi_heap_bad_free(p, run, line);
    }
    if (OUROI_UNLIKELY(ouroi_options.secure) && ouroi_run_member(run)->heap == NULL)
        return; /* the hardened heap looks for itself */
    if (run->kind == OUROI_RUN_POOL) {
        struct ouroi_pool *pool = ouroi_pool_of(run);
        if (OUROI_UNLIKELY(!ouroi_pool_is_block(pool, p))) {
            ouroi_format(line, sizeof line, "%s inside or beside a block:", what);
            ouroi_heap_bad_free(p, run, line);
        }
        if (OUROI_UNLIKELY(((const struct ouroi_block *)p)->key == pool) && is_free_already(pool, p)) {
            ouroi_format(line, sizeof line, "%s of a freed block:", what);
            ouroi_heap_bad_free(p, run, line);
        }
    } else if (OUROI_UNLIKELY(run->start != (uintptr_t)p)) {
        ouroi_format(line, sizeof line, "%s inside a block:", what);
        ouroi_heap_bad_free(p, run, line);
    }
}

OUROI_NOINLINE void ouroi_heap_free_slow(void *p)
{
    struct ouroi_heap *heap = ouroi_heap_self;
    if (p == NULL)
        return;
    struct ouroi_slice *slice = ouroi_slice_find((uintptr_t)p);
    struct ouroi_run *run = slice != NULL ? ouroi_atomic_load_relaxed(&slice->run) : NULL; /* relaxed: see arena.h */
    ouroi_heap_check_block(p, run, "free");
    if (OUROI_UNLIKELY(ouroi_run_member(run)->heap != NULL))
        ouroi_region_free(p, run);
    else if (OUROI_UNLIKELY(ouroi_options.secure))
        ouroi_secure_free(p, run, 0, false);
    else if (OUROI_LIKELY(run->kind == OUROI_RUN_POOL)) {
        OURO_ASSERT(ouroi_pool_mark(ouroi_pool_of(run), p, false));
        free_small(heap, ouroi_pool_of(run), p);
    } else {
        ouroi_large_free(run);
    }
}

void ouroi_heap_free_sized(void *p, size_t size, size_t alignment)
{
    if (p == NULL)
        return;
    struct ouroi_run *run = ouroi_run_find(p);
    ouroi_heap_check_block(p, run, "free_sized");
    if (ouroi_options.secure && ouroi_run_member(run)->heap == NULL) {
        ouroi_secure_free(p, run, size, true);
        return;
    }
    size_t usable = run->kind == OUROI_RUN_POOL ? ouroi_pool_of(run)->block_bytes : run->bytes;
    size_t least = alignment > OUROI_ALIGN ? ouroi_class_aligned(alignment, size) : ouroi_heap_good_size(size);
    /* A block that realloc left in place has up to twice the size asked for. */
    bool too_small = usable > 128 && least != 0 && least < usable / 2;
    /* relaxed: a flag on its own */
    if (size > usable || (too_small && ouroi_atomic_load_relaxed(&ouroi_heap_kept_larger) == 0)) {
        char line[64];
        ouroi_format(line, sizeof line, "free with size %zu, which it cannot have,", size);
        ouroi_heap_bad_free(p, run, line);
    }
    ouroi_heap_free(p);
}

static void flush_heap(struct ouroi_heap *heap)
{
    if (heap == &ouroi_heap_empty)
        return;
    ouroi_heap_flush_stashes(heap);
    ouroi_heap_flush_batches(heap);
    for (unsigned c = 1; c < OUROI_CLASSES; c++) {
        struct ouroi_pool *next;
        for (struct ouroi_pool *pool = heap->bins[c].first; pool != NULL; pool = next) {
            next = pool->next;
            ouroi_pool_collect(pool);
            if (ouroi_pool_used(pool) != 0)
                continue;
            ouroi_heap_remove_partial(heap, pool);
            ouroi_pool_release(pool);
        }
        struct ouroi_pool *pool = heap->bins[c].pool;
        if (pool == ouroi_heap_empty.bins[0].pool)
            continue;
        if (ouroi_pool_collect(pool))
            ouroi_traced_installed(heap, pool, ouroi_pool_listed(pool));
        if (ouroi_pool_used(pool) == 0) {
            ouroi_heap_make_current(heap, c, ouroi_heap_empty.bins[0].pool);
            ouroi_pool_arm(pool, 0);
            ouroi_pool_release(pool);
        }
    }
}

void ouroi_heap_flush(void)
{
    flush_heap(ouroi_heap_self);
    flush_heap(ouroi_nodes_self);
}
