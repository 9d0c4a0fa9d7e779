/* arena/arena.c: chunks, and the runs of slices in them.
 *
 * Owns        an arena per NUMA node: its chunks, and the counts of their slices.
 * Invariants  those of struct ouroi_chunk; mapped_slices, free_slices and dirty_slices are sums over the chunks, where
 *             slices that are being purged count as free still.
 * Sync        the arena's lock, rank ARENA. Who purges holds purge_lock, rank PURGE, all the while: slices that are being
 *             purged are out of their sets, and who finds no memory waits for them there.
 *
 * Dirty slices are taken before untouched ones: a page that is there costs nothing, a fault a microsecond and more. The
 * lowest chunk that fits is taken, for what lies high to drain and be given back; in it the smallest run that fits, for
 * long runs to stay long.
 */
#include "arena/internal.h"

#include <errno.h>
#include <string.h>

enum {
    CHUNKS_FIRST = 256,
    MAP_STEP_SLICES = 128, /* mapped at a time: 4 MiB */
    LOCKED_PURGES = 64,    /* after so many, chunks whose pages the kernel kept are tried again */
};

struct arena {
    struct ouroi_lock lock;
    unsigned node;
    uint32_t chunk_count, chunk_room;
    struct ouroi_chunk **chunks;
    struct ouroi_chunk *spare; /* chunk descriptors without memory */
    size_t mapped_slices, free_slices, dirty_slices;
    uint64_t large_allocs, large_frees, purged_bytes;
};

static struct arena arenas[OUROI_NODES_MAX];

static struct ouroi_lock purge_lock = OUROI_LOCK_INIT(OUROI_RANK_PURGE);
static uint32_t purges; /* completed */

unsigned ouroi_bitmap_best_run(const struct ouroi_bitmap *map, unsigned count, unsigned align, unsigned *longest)
{
    unsigned best = OUROI_CHUNK_SLICES, best_length = OUROI_CHUNK_SLICES + 1;
    *longest = 0;
    for (unsigned at = ouroi_bitmap_next(map, 0, true); at < OUROI_CHUNK_SLICES;) {
        unsigned end = ouroi_bitmap_next(map, at, false), length = end - at;
        unsigned first = (at + align - 1) & ~(align - 1);
        if (length > *longest)
            *longest = length;
        if (first + count <= end && length < best_length) {
            best = first;
            best_length = length;
            if (length == count)
                break;
        }
        at = ouroi_bitmap_next(map, end, true);
    }
    return best;
}

/* Adds slices that nobody has to `free`, and to `dirty` and `young` if they may hold pages. */
static void put_slices(struct ouroi_chunk *chunk, unsigned first, unsigned count, bool dirty)
{
    ouroi_bitmap_set(&chunk->free, first, count);
    unsigned run = ouroi_bitmap_next(&chunk->free, first, false) - ouroi_bitmap_run_start(&chunk->free, first);
    chunk->most_free = run > chunk->most_free ? run : chunk->most_free;
    if (!dirty)
        return;
    ouroi_bitmap_set(&chunk->dirty, first, count);
    ouroi_bitmap_set(&chunk->young, first, count);
    run = ouroi_bitmap_next(&chunk->dirty, first, false) - ouroi_bitmap_run_start(&chunk->dirty, first);
    chunk->most_dirty = run > chunk->most_dirty ? run : chunk->most_dirty;
}

/* Takes free slices. Returns how many of them were dirty. */
static unsigned get_slices(struct arena *arena, struct ouroi_chunk *chunk, unsigned first, unsigned count)
{
    unsigned dirty = ouroi_bitmap_count(&chunk->dirty, first, count);
    ouroi_bitmap_clear(&chunk->free, first, count);
    ouroi_bitmap_clear(&chunk->dirty, first, count);
    ouroi_bitmap_clear(&chunk->young, first, count);
    arena->free_slices -= count;
    arena->dirty_slices -= dirty;
    return dirty;
}

/* Room for four times as many chunks. The old table is left behind. */
static bool grow_table(struct arena *arena)
{
    uint32_t room = arena->chunk_room == 0 ? CHUNKS_FIRST : arena->chunk_room * 4;
    struct ouroi_chunk **chunks = ouroi_meta_alloc(room * sizeof *chunks);
    if (chunks == NULL)
        return false;
    if (arena->chunk_count > 0)
        memcpy(chunks, arena->chunks, arena->chunk_count * sizeof *chunks);
    arena->chunks = chunks;
    arena->chunk_room = room;
    return true;
}

static struct ouroi_chunk *new_descriptor(struct arena *arena)
{
    if (arena->chunk_count == arena->chunk_room && !grow_table(arena))
        return NULL;
    struct ouroi_chunk *chunk = ouroi_meta_alloc(sizeof *chunk);
    if (chunk == NULL)
        return NULL;
    chunk->index = arena->chunk_count;
    chunk->node = (uint8_t)arena->node;
    arena->chunks[arena->chunk_count++] = chunk;
    return chunk;
}

/* What was just mapped becomes free slices. */
static void add_mapped(struct arena *arena, struct ouroi_chunk *chunk, unsigned slices)
{
    void *at = (void *)(chunk->start + chunk->mapped * OUROI_SLICE_BYTES);
    size_t bytes = slices * OUROI_SLICE_BYTES;
    if (ouroi_machine.nodes > 1)
        ouroi_os.bind(at, bytes, ouroi_options.numa == OUROI_NUMA_INTERLEAVE ? -1 : (int)arena->node);
    if (ouroi_options.thp == OUROI_THP_ALWAYS)
        ouroi_os.advise_huge(at, bytes, true);
    else if (ouroi_machine.thp_always || ouroi_options.thp == OUROI_THP_NEVER)
        ouroi_os.advise_huge(at, bytes, false);
    put_slices(chunk, chunk->mapped, slices, false);
    chunk->mapped += slices;
    arena->mapped_slices += slices;
    arena->free_slices += slices;
    /* A process that has grown has its purger before it frees, as a free must not start one. */
    if (arena->mapped_slices > 2 * MAP_STEP_SLICES)
        ouroi_purger_note(arena->mapped_slices * OUROI_SLICE_BYTES);
}

/* A new chunk with at least `slices` slices of memory. */
static struct ouroi_chunk *add_chunk(struct arena *arena, unsigned slices)
{
    struct ouroi_chunk *chunk = arena->spare != NULL ? arena->spare : new_descriptor(arena);
    if (chunk == NULL)
        return NULL;
    unsigned step = slices > MAP_STEP_SLICES ? slices : MAP_STEP_SLICES;
    ouroi_lock_acquire(&ouroi_space_lock);
    uintptr_t start = ouroi_space_take(1, 1, step * OUROI_SLICE_BYTES);
    if (start == 0 && slices < step) {
        step = slices; /* a tight limit */
        start = ouroi_space_take(1, 1, step * OUROI_SLICE_BYTES);
    }
    ouroi_lock_release(&ouroi_space_lock);
    if (arena->spare == chunk)
        arena->spare = chunk->next_spare;
    if (start == 0) {
        chunk->next_spare = arena->spare;
        arena->spare = chunk;
        return NULL;
    }
    chunk->start = start;
    chunk->locked = false;
    add_mapped(arena, chunk, step);
    return chunk;
}

/* Maps more of a chunk, so that it ends in a free run of `slices`. */
static bool extend_chunk(struct arena *arena, struct ouroi_chunk *chunk, unsigned slices)
{
    unsigned free_tail = chunk->mapped - ouroi_bitmap_run_start(&chunk->free, chunk->mapped);
    unsigned need = slices > free_tail ? slices - free_tail : 0;
    if (need == 0 || chunk->mapped == 0 || need > OUROI_CHUNK_SLICES - chunk->mapped)
        return false;
    unsigned step = (need + MAP_STEP_SLICES - 1) / MAP_STEP_SLICES * MAP_STEP_SLICES;
    if (step > OUROI_CHUNK_SLICES - chunk->mapped)
        step = OUROI_CHUNK_SLICES - chunk->mapped;
    size_t from = chunk->mapped * OUROI_SLICE_BYTES;
    ouroi_lock_acquire(&ouroi_space_lock);
    int rc = ouroi_space_map(chunk->start, from, from + step * OUROI_SLICE_BYTES);
    if (rc != 0 && need < step) {
        step = need;
        rc = ouroi_space_map(chunk->start, from, from + step * OUROI_SLICE_BYTES);
    }
    ouroi_lock_release(&ouroi_space_lock);
    if (rc == 0)
        add_mapped(arena, chunk, step);
    return rc == 0;
}

/* Unmaps a chunk that is wholly free. */
static void drop_chunk(struct arena *arena, struct ouroi_chunk *chunk)
{
    arena->mapped_slices -= chunk->mapped;
    arena->free_slices -= chunk->mapped;
    arena->dirty_slices -= ouroi_bitmap_count(&chunk->dirty, 0, OUROI_CHUNK_SLICES);
    ouroi_lock_acquire(&ouroi_space_lock);
    ouroi_space_give(chunk->start, 1, chunk->mapped * OUROI_SLICE_BYTES);
    ouroi_lock_release(&ouroi_space_lock);
    memset(&chunk->free, 0, sizeof chunk->free);
    memset(&chunk->dirty, 0, sizeof chunk->dirty);
    memset(&chunk->young, 0, sizeof chunk->young);
    chunk->mapped = chunk->most_free = chunk->most_dirty = 0;
    chunk->next_spare = arena->spare;
    arena->spare = chunk;
}

/* The run in the lowest chunk that has one: of dirty slices if there is such, else of free ones. */
static struct ouroi_chunk *find_run(struct arena *arena, unsigned slices, unsigned align, unsigned *first)
{
    unsigned longest;
    for (uint32_t i = 0; i < arena->chunk_count; i++) {
        struct ouroi_chunk *chunk = arena->chunks[i];
        if (chunk->most_dirty < slices)
            continue;
        *first = ouroi_bitmap_best_run(&chunk->dirty, slices, align, &longest);
        if (*first < OUROI_CHUNK_SLICES)
            return chunk;
        chunk->most_dirty = longest;
    }
    for (uint32_t i = 0; i < arena->chunk_count; i++) {
        struct ouroi_chunk *chunk = arena->chunks[i];
        if (chunk->most_free < slices)
            continue;
        *first = ouroi_bitmap_best_run(&chunk->free, slices, align, &longest);
        if (*first < OUROI_CHUNK_SLICES)
            return chunk;
        chunk->most_free = longest;
    }
    return NULL;
}

/* Takes a run from `arena`. *first: its first slice. */
static struct ouroi_chunk *take_run(struct arena *arena, unsigned slices, unsigned align, unsigned *first, bool *zero)
{
    struct ouroi_chunk *chunk = find_run(arena, slices, align, first);
    if (chunk == NULL) {
        unsigned with_align = slices + align - 1;
        uint32_t i = 0;
        while (i < arena->chunk_count && !extend_chunk(arena, arena->chunks[i], with_align))
            i++;
        if (i == arena->chunk_count && add_chunk(arena, slices) == NULL)
            return NULL;
        chunk = find_run(arena, slices, align, first);
        if (chunk == NULL)
            return NULL;
    }
    *zero = get_slices(arena, chunk, *first, slices) == 0;
    return chunk;
}

static struct ouroi_chunk *take_run_of_node(unsigned node, unsigned slices, unsigned align, enum ouroi_run_kind kind,
                                            unsigned *first, bool *zero)
{
    for (unsigned i = 0; i < ouroi_machine.nodes; i++) {
        struct arena *arena = &arenas[(node + i) % ouroi_machine.nodes];
        ouroi_lock_acquire(&arena->lock);
        struct ouroi_chunk *chunk = take_run(arena, slices, align, first, zero);
        if (chunk != NULL && kind == OUROI_RUN_LARGE)
            arena->large_allocs++;
        ouroi_lock_release(&arena->lock);
        if (chunk != NULL)
            return chunk;
    }
    return NULL;
}

struct ouroi_run *ouroi_run_alloc(unsigned node, unsigned slices, unsigned align_slices, enum ouroi_run_kind kind)
{
    OURO_ASSERT(slices >= 1 && slices <= OUROI_LARGE_MAX_SLICES && ouroi_is_pow2(align_slices));
    node = node < ouroi_machine.nodes ? node : 0;
    struct ouroi_run *run = NULL;
    struct ouroi_chunk *chunk = NULL;
    unsigned first = 0;
    bool zero = false;
    for (unsigned tries = 0; tries < OUROI_TRIES; tries++) {
        uint32_t since = ouroi_arena_purges();
        run = run != NULL ? run : ouroi_descriptor_alloc();
        if (run != NULL)
            chunk = take_run_of_node(node, slices, align_slices, kind, &first, &zero);
        if (chunk != NULL || !ouroi_arena_reclaim(since))
            break;
    }
    if (chunk == NULL) {
        if (run != NULL)
            ouroi_descriptor_free(run);
        return NULL;
    }
    memset(run, 0, OUROI_DESCRIPTOR_BYTES);
    run->start = chunk->start + first * OUROI_SLICE_BYTES;
    run->bytes = slices * OUROI_SLICE_BYTES;
    run->chunk = chunk;
    run->slices = slices;
    run->kind = (uint8_t)kind;
    run->node = chunk->node;
    run->zero = zero;
    return run;
}

void ouroi_run_publish(struct ouroi_run *run)
{
    ouroi_slices_set(run->start, run->slices, run);
}

/* Puts slices of `chunk` back. The arena is locked. */
static void give_slices(struct arena *arena, struct ouroi_chunk *chunk, unsigned first, unsigned slices, bool dirty)
{
    OURO_ASSERT(ouroi_bitmap_count(&chunk->free, first, slices) == 0 && first + slices <= chunk->mapped);
    put_slices(chunk, first, slices, dirty);
    arena->free_slices += slices;
    arena->dirty_slices += dirty ? slices : 0;
}

static unsigned slice_number(const struct ouroi_run *run)
{
    return (unsigned)((run->start - run->chunk->start) >> OUROI_SLICE_SHIFT);
}

void ouroi_run_free(struct ouroi_run *run)
{
    struct arena *arena = &arenas[run->node];
    ouroi_slices_set(run->start, run->slices, NULL);
    ouroi_lock_acquire(&arena->lock);
    arena->large_frees += run->kind == OUROI_RUN_LARGE;
    give_slices(arena, run->chunk, slice_number(run), run->slices, true);
    size_t dirty = arena->dirty_slices;
    ouroi_lock_release(&arena->lock);
    run->kind = OUROI_RUN_FREE;
    ouroi_descriptor_free(run);
    ouroi_purger_note(dirty * OUROI_SLICE_BYTES);
}

static size_t used_bytes, peak_bytes;

void ouroi_arena_note_used(ptrdiff_t bytes)
{
    /* relaxed: counters on their own */
    size_t used = ouroi_atomic_fetch_add_relaxed(&used_bytes, (size_t)bytes) + (size_t)bytes;
    size_t peak = ouroi_atomic_load_relaxed(&peak_bytes);
    while (bytes > 0 && peak < used && !ouroi_atomic_cas_relaxed(&peak_bytes, &peak, used)) {
        /* relaxed: see above */
    }
}

size_t ouroi_arena_peak(void)
{
    return ouroi_atomic_load_relaxed(&peak_bytes); /* relaxed: a counter on its own */
}

void ouroi_run_lose(struct ouroi_run *run)
{
    struct arena *arena = &arenas[run->node];
    ouroi_slices_set(run->start, run->slices, NULL);
    ouroi_lock_acquire(&arena->lock);
    arena->large_frees++;
    ouroi_lock_release(&arena->lock);
    run->kind = OUROI_RUN_FREE;
    ouroi_descriptor_free(run);
}

/* Large blocks. */

size_t ouroi_large_good_size(size_t size)
{
    return ouroi_align_up(size, ouroi_machine.page_bytes);
}

void *ouroi_large_alloc(size_t size, size_t alignment, bool zero)
{
    size += size == 0;
    size_t slices = (size + OUROI_SLICE_BYTES - 1) >> OUROI_SLICE_SHIFT;
    if (slices > OUROI_LARGE_MAX_SLICES || alignment > OUROI_LARGE_MAX_SLICES * OUROI_SLICE_BYTES)
        return ouroi_huge_alloc(size, alignment);
    size_t align_slices = alignment > OUROI_SLICE_BYTES ? alignment >> OUROI_SLICE_SHIFT : 1;
    struct ouroi_run *run =
        ouroi_run_alloc(ouroi_arena_node(), (unsigned)slices, (unsigned)align_slices, OUROI_RUN_LARGE);
    if (run == NULL)
        return NULL;
    run->bytes = ouroi_large_good_size(size);
    ouroi_run_publish(run);
    ouroi_arena_note_used((ptrdiff_t)run->bytes);
    if (zero && !run->zero)
        memset((void *)run->start, 0, size);
    return (void *)run->start;
}

void ouroi_large_free(struct ouroi_run *run)
{
    ouroi_arena_note_used(-(ptrdiff_t)run->bytes);
    if (run->kind == OUROI_RUN_HUGE)
        ouroi_huge_free(run);
    else
        ouroi_run_free(run);
}

/* Makes the run longer, into free slices after it, or shorter. purged: what a shorter one drops has no pages. */
static bool resize_run(struct ouroi_run *run, unsigned slices, bool purged)
{
    struct arena *arena = &arenas[run->node];
    struct ouroi_chunk *chunk = run->chunk;
    unsigned first = slice_number(run), old = run->slices;
    bool done = true;
    ouroi_lock_acquire(&arena->lock);
    if (slices < old) {
        ouroi_slices_set(run->start + slices * OUROI_SLICE_BYTES, old - slices, NULL);
        give_slices(arena, chunk, first + slices, old - slices, !purged);
    } else if (slices > old) {
        done = first + slices <= OUROI_CHUNK_SLICES &&
               ouroi_bitmap_count(&chunk->free, first + old, slices - old) == slices - old;
        if (done) {
            get_slices(arena, chunk, first + old, slices - old);
            ouroi_slices_set(run->start + old * OUROI_SLICE_BYTES, slices - old, run);
        }
    }
    if (done)
        run->slices = slices;
    size_t dirty = arena->dirty_slices;
    ouroi_lock_release(&arena->lock);
    if (slices < old)
        ouroi_purger_note(dirty * OUROI_SLICE_BYTES);
    return done;
}

enum { MOVE_LEAST_BYTES = 1 << 20 }; /* blocks from this size on grow by moving pages */

static void *resize(struct ouroi_run *run, size_t size)
{
    if (run->kind == OUROI_RUN_HUGE)
        return ouroi_huge_resize(run, size);
    size_t slices = (size + OUROI_SLICE_BYTES - 1) >> OUROI_SLICE_SHIFT;
    size_t bytes = ouroi_large_good_size(size), old_bytes = run->slices * OUROI_SLICE_BYTES;
    bool purged = false;
    /* What a shrunk block no longer has goes back at once, where it is worth a system call. */
    if (bytes + OUROI_SLICE_BYTES <= run->bytes)
        purged = ouroi_os.purge((void *)(run->start + bytes), old_bytes - bytes) == 0;
    if (slices <= OUROI_LARGE_MAX_SLICES && resize_run(run, (unsigned)slices, purged)) {
        OUROI_OWNED_SET(&run->bytes, bytes);
        return (void *)run->start;
    }
    if (size > run->bytes && run->bytes >= MOVE_LEAST_BYTES && slices > OUROI_LARGE_MAX_SLICES)
        return ouroi_huge_adopt(run, size);
    return NULL;
}

void *ouroi_large_resize(struct ouroi_run *run, size_t size)
{
    size_t old_bytes = run->bytes;
    void *p = resize(run, size + (size == 0));
    if (p != NULL)
        ouroi_arena_note_used((ptrdiff_t)(ouroi_run_find(p)->bytes - old_bytes));
    return p;
}

/* Giving back. */

/* Purges [first, first + count) of chunk, free slices that are taken out meanwhile. Returns the slices purged. */
static unsigned purge_slices(struct arena *arena, struct ouroi_chunk *chunk, unsigned first, unsigned count)
{
    get_slices(arena, chunk, first, count);
    arena->free_slices += count; /* for the counts they are free still */
    arena->dirty_slices += count;
    ouroi_lock_release(&arena->lock);
    int rc = ouroi_os.purge((void *)(chunk->start + first * OUROI_SLICE_BYTES), count * OUROI_SLICE_BYTES);
    ouroi_lock_acquire(&arena->lock);
    put_slices(chunk, first, count, rc != 0);
    if (rc != 0) {
        chunk->locked = true;
        return 0;
    }
    arena->dirty_slices -= count;
    arena->purged_bytes += count * OUROI_SLICE_BYTES;
    return count;
}

/* Purges the dirty slices of a chunk that are not young, or all. Returns slices. */
static unsigned purge_chunk(struct arena *arena, struct ouroi_chunk *chunk, bool all)
{
    unsigned purged = 0;
    if (chunk->locked)
        return 0;
    for (unsigned at = ouroi_bitmap_next(&chunk->dirty, 0, true); at < OUROI_CHUNK_SLICES;
         at = ouroi_bitmap_next(&chunk->dirty, at, true)) {
        unsigned end = ouroi_bitmap_next(&chunk->dirty, at, false);
        unsigned young = all ? end : ouroi_bitmap_next(&chunk->young, at, true);
        if (young > at)
            purged += purge_slices(arena, chunk, at, (young < end ? young : end) - at);
        at = young > at ? (young < end ? young : end) : ouroi_bitmap_next(&chunk->young, at, false);
    }
    memset(&chunk->young, 0, sizeof chunk->young);
    return purged;
}

/* Purges the arena; whole free chunks but one go back as such. */
static size_t purge_arena(struct arena *arena, bool all)
{
    size_t purged = 0, dirty = 0;
    bool kept = all;
    bool retry = all || purges % LOCKED_PURGES == 0;
    ouroi_lock_acquire(&arena->lock);
    for (uint32_t i = 0; i < arena->chunk_count; i++) {
        struct ouroi_chunk *chunk = arena->chunks[i];
        if (chunk->mapped == 0)
            continue;
        bool whole = ouroi_bitmap_count(&chunk->free, 0, OUROI_CHUNK_SLICES) == chunk->mapped;
        bool old = ouroi_bitmap_next(&chunk->young, 0, true) == OUROI_CHUNK_SLICES;
        if (whole && kept && (all || old)) {
            unsigned gone = ouroi_bitmap_count(&chunk->dirty, 0, OUROI_CHUNK_SLICES);
            purged += gone;
            arena->purged_bytes += gone * OUROI_SLICE_BYTES;
            drop_chunk(arena, chunk);
        } else {
            kept |= whole;
            chunk->locked = chunk->locked && !retry;
            purged += purge_chunk(arena, chunk, all);
            if (!chunk->locked) /* else there is nothing to come back for */
                dirty += ouroi_bitmap_count(&chunk->dirty, 0, OUROI_CHUNK_SLICES);
        }
    }
    ouroi_lock_release(&arena->lock);
    ouroi_purger_note(dirty * OUROI_SLICE_BYTES);
    return purged * OUROI_SLICE_BYTES;
}

size_t (*ouroi_arena_idle_hook)(bool all);

/* The purge lock is held. */
static size_t purge_all(bool all)
{
    size_t bytes = ouroi_arena_idle_hook != NULL ? ouroi_arena_idle_hook(all) : 0;
    for (unsigned i = 0; i < ouroi_machine.nodes; i++)
        bytes += purge_arena(&arenas[i], all);
    /* [PURGES done] release, pairs with [PURGES look]: what was out of its sets is back */
    ouroi_atomic_store_release(&purges, purges + 1);
    return bytes;
}

size_t ouroi_arena_purge(bool all)
{
    ouroi_lock_acquire(&purge_lock);
    size_t bytes = purge_all(all);
    ouroi_lock_release(&purge_lock);
    return bytes;
}

uint32_t ouroi_arena_purges(void)
{
    return ouroi_atomic_load_acquire(&purges); /* [PURGES look] acquire, pairs with [PURGES done] */
}

bool ouroi_arena_reclaim(uint32_t since)
{
    ouroi_lock_acquire(&purge_lock);
    bool given = purges != since; /* by somebody else, after the caller's try began */
    if (!given) {
        /* Free slices may serve the request as they are; unmapped chunks make room under a limit. */
        size_t before = ouroi_space_reserved();
        given = purge_all(true) != 0 || ouroi_space_reserved() < before;
    }
    ouroi_lock_release(&purge_lock);
    return given;
}

/* Start-up, fork, counts. */

int ouroi_arena_init(void)
{
    ouroi_os_init();
    if (ouroi_machine.page_bytes > OUROI_SLICE_BYTES)
        ouroi_fail("pages of %zu bytes: this build is for pages of at most %zu (OUROI_SLICE_SHIFT in arena/arena.h)",
                   ouroi_machine.page_bytes, OUROI_SLICE_BYTES);
    for (unsigned i = 0; i < ouroi_machine.nodes; i++) {
        arenas[i].lock = (struct ouroi_lock)OUROI_LOCK_INIT(OUROI_RANK_ARENA);
        arenas[i].node = i;
    }
    return ouroi_space_init();
}

void ouroi_arena_fork_stop_purges(void)
{
    ouroi_lock_acquire(&purge_lock);
}

void ouroi_arena_fork_prepare(void)
{
    for (unsigned i = 0; i < ouroi_machine.nodes; i++)
        ouroi_lock_acquire_again(&arenas[i].lock);
    ouroi_lock_acquire(&ouroi_space_lock);
    ouroi_meta_fork_prepare();
}

void ouroi_arena_fork_done(bool child)
{
    ouroi_meta_fork_done(child);
    void (*release)(struct ouroi_lock *) = child ? ouroi_lock_reset : ouroi_lock_release;
    release(&ouroi_space_lock);
    for (unsigned i = ouroi_machine.nodes; i-- > 0;)
        release(&arenas[i].lock);
    release(&purge_lock);
    ouroi_purger_fork_done(child);
}

void ouroi_arena_count(struct ouroi_arena_counts *counts, int node)
{
    memset(counts, 0, sizeof *counts);
    for (unsigned i = 0; i < ouroi_machine.nodes; i++) {
        struct arena *arena = &arenas[i];
        if (node >= 0 && (unsigned)node != i)
            continue;
        ouroi_lock_acquire(&arena->lock);
        counts->committed_bytes += arena->mapped_slices * OUROI_SLICE_BYTES;
        counts->resident_bytes += (arena->mapped_slices - arena->free_slices + arena->dirty_slices) * OUROI_SLICE_BYTES;
        counts->large_allocs += arena->large_allocs;
        counts->large_frees += arena->large_frees;
        counts->purged_bytes += arena->purged_bytes;
        counts->chunks += arena->chunk_count;
        ouroi_lock_release(&arena->lock);
    }
    if (node <= 0) {
        ouroi_lock_acquire(&ouroi_space_lock);
        ouroi_huge_count(counts);
        counts->reserved_bytes = ouroi_space_reserved();
        ouroi_lock_release(&ouroi_space_lock);
        counts->meta_bytes = ouroi_meta_bytes();
        counts->committed_bytes += counts->meta_bytes;
        counts->resident_bytes += counts->meta_bytes;
        counts->reserved_bytes += counts->meta_bytes;
    }
}

void ouroi_arena_describe(struct ouroi_arena_view *view)
{
    view->page_bytes = ouroi_machine.page_bytes;
    view->slice_shift = OUROI_SLICE_SHIFT;
    view->chunk_slices = OUROI_CHUNK_SLICES;
    view->node_count = ouroi_machine.nodes;
    view->arenas = (uintptr_t)arenas;
    view->arena_bytes = sizeof *arenas;
    view->arena_chunks = offsetof(struct arena, chunks);
    view->arena_chunk_count = offsetof(struct arena, chunk_count);
    view->arena_mapped = offsetof(struct arena, mapped_slices);
    view->arena_free = offsetof(struct arena, free_slices);
    view->arena_dirty = offsetof(struct arena, dirty_slices);
    view->arena_large_allocs = offsetof(struct arena, large_allocs);
    view->arena_large_frees = offsetof(struct arena, large_frees);
    view->arena_purged = offsetof(struct arena, purged_bytes);
    view->chunk_start = offsetof(struct ouroi_chunk, start);
    view->chunk_mapped = offsetof(struct ouroi_chunk, mapped);
    view->descriptor_bytes = OUROI_DESCRIPTOR_BYTES;
    view->run_start = offsetof(struct ouroi_run, start);
    view->run_bytes = offsetof(struct ouroi_run, bytes);
    view->run_kind = offsetof(struct ouroi_run, kind);
    view->run_node = offsetof(struct ouroi_run, node);
    view->run_size_class = offsetof(struct ouroi_run, size_class);
    view->kind_pool = OUROI_RUN_POOL;
    view->kind_large = OUROI_RUN_LARGE;
    view->peak = (uintptr_t)&peak_bytes;
    ouroi_space_describe(view);
    ouroi_huge_describe(view);
    ouroi_meta_describe(view);
}

void ouroi_arena_each_run(void (*fn)(struct ouroi_run *run, void *arg), void *arg)
{
    for (unsigned node = 0; node < ouroi_machine.nodes; node++) {
        struct arena *arena = &arenas[node];
        ouroi_lock_acquire(&arena->lock);
        for (uint32_t i = 0; i < arena->chunk_count; i++) {
            struct ouroi_chunk *chunk = arena->chunks[i];
            if (chunk->mapped == 0)
                continue;
            struct ouroi_slice *slice = ouroi_slice_find(chunk->start);
            for (unsigned at = 0; at < OUROI_CHUNK_SLICES;) {
                /* [RUN walk] acquire, pairs with [RUN publish]; a run that comes or goes meanwhile is seen or not */
                struct ouroi_run *run = ouroi_atomic_load_acquire(&slice[at].run);
                if (run != NULL)
                    fn(run, arg);
                at += run != NULL && run->slices > 0 ? run->slices : 1;
            }
        }
        ouroi_lock_release(&arena->lock);
    }
    ouroi_lock_acquire(&ouroi_space_lock);
    ouroi_huge_each(fn, arg);
    ouroi_lock_release(&ouroi_space_lock);
}

bool ouroi_arena_owns(const void *p)
{
    if (ouroi_run_find(p) != NULL)
        return true;
    ouroi_lock_acquire(&ouroi_space_lock);
    bool owns = ouroi_huge_owns((uintptr_t)p);
    ouroi_lock_release(&ouroi_space_lock);
    return owns;
}

static unsigned check_chunk(const struct ouroi_chunk *chunk)
{
    unsigned bad = 0, free_run, dirty_run;
    ouroi_bitmap_best_run(&chunk->free, OUROI_CHUNK_SLICES + 1, 1, &free_run);
    ouroi_bitmap_best_run(&chunk->dirty, OUROI_CHUNK_SLICES + 1, 1, &dirty_run);
    bool nested = ouroi_bitmap_next(&chunk->free, chunk->mapped, true) == OUROI_CHUNK_SLICES;
    for (unsigned w = 0; w < OUROI_BITMAP_WORDS; w++)
        nested = nested && (chunk->dirty.words[w] & ~chunk->free.words[w]) == 0 &&
                 (chunk->young.words[w] & ~chunk->dirty.words[w]) == 0;
    if (!nested || free_run > chunk->most_free || dirty_run > chunk->most_dirty) {
        ouroi_warn("check: chunk %p: bit maps contradict each other", (void *)chunk->start);
        bad++;
    }
    const struct ouroi_slice *slice = ouroi_slice_find(chunk->start);
    for (unsigned i = 0; i < chunk->mapped; i++) {
        /* relaxed: free slices do not change under the lock */
        if (ouroi_bitmap_count(&chunk->free, i, 1) == 1 && ouroi_atomic_load_relaxed(&slice[i].run) != NULL) {
            ouroi_warn("check: free slice %p has a run", (void *)(chunk->start + i * OUROI_SLICE_BYTES));
            bad++;
        }
    }
    return bad;
}

unsigned ouroi_arena_check(void)
{
    unsigned bad = 0;
    for (unsigned node = 0; node < ouroi_machine.nodes; node++) {
        struct arena *arena = &arenas[node];
        size_t mapped = 0, free_slices = 0, dirty = 0;
        ouroi_lock_acquire(&arena->lock);
        for (uint32_t i = 0; i < arena->chunk_count; i++) {
            const struct ouroi_chunk *chunk = arena->chunks[i];
            bad += check_chunk(chunk);
            mapped += chunk->mapped;
            free_slices += ouroi_bitmap_count(&chunk->free, 0, OUROI_CHUNK_SLICES);
            dirty += ouroi_bitmap_count(&chunk->dirty, 0, OUROI_CHUNK_SLICES);
        }
        /* slices that are being purged are out of `free` meanwhile: fewer is no violation */
        if (mapped != arena->mapped_slices || free_slices > arena->free_slices || dirty > arena->dirty_slices) {
            ouroi_warn("check: arena %u: counts of slices are wrong", node);
            bad++;
        }
        ouroi_lock_release(&arena->lock);
    }
    return bad;
}
