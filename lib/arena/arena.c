/* arena/arena.c: chunks, and the runs of slices in them.
 *
 * Owns        an arena per NUMA node: its chunks, and for each chunk the longest run of free and of dirty slices.
 * Invariants  longest_free[i] and longest_dirty[i] are those of chunk i, 0 where there is none;
 *             no chunk below free_from[n] has n free slices in a row, none below dirty_from[n] n dirty ones.
 * Sync        the arena's lock, rank ARENA.
 *
 * Dirty slices are taken before untouched ones: a page that is there costs nothing, a fault a microsecond and more.
 * Among chunks the lowest that fits is taken: what lies high drains, and is given back.
 */
#include "arena/internal.h"

#include <errno.h>
#include <string.h>

enum { CHUNKS_FIRST = 1024 };

struct arena {
    struct ouroi_lock lock;
    unsigned node;
    uint32_t chunk_count, chunk_room;
    struct ouroi_chunk **chunks;
    uint8_t *longest_free, *longest_dirty;
    uint32_t free_from[OUROI_CHUNK_SLICES + 1], dirty_from[OUROI_CHUNK_SLICES + 1];
    struct ouroi_chunk *spare; /* chunk descriptors without memory */
    size_t mapped_slices, free_slices, dirty_slices;
    size_t large_slices, large_blocks;
    uint64_t large_allocs, large_frees, purged_bytes;
};

static struct arena arenas[OUROI_NODES_MAX];

/* The longest run of ones in x. */
static unsigned longest_run(uint64_t x)
{
    if (x == 0)
        return 0;
    uint64_t runs[6];
    unsigned level = 0;
    runs[0] = x;
    while (level < 5) {
        uint64_t next = runs[level] & (runs[level] >> (1u << level));
        if (next == 0)
            break;
        runs[++level] = next;
    }
    unsigned length = 1u << level;
    uint64_t at = runs[level];
    for (unsigned j = level + 1; j-- > 0;) {
        if (length >= 64)
            break;
        uint64_t longer = at & (runs[j] >> length);
        if (longer != 0) {
            at = longer;
            length += 1u << j;
        }
    }
    return length;
}

/* The positions where `count` ones in a row begin. */
static uint64_t run_starts(uint64_t x, unsigned count)
{
    for (unsigned have = 1; have < count && x != 0;) {
        unsigned step = have < count - have ? have : count - have;
        x &= x >> step;
        have += step;
    }
    return x;
}

static uint64_t bits_from(unsigned first, unsigned count)
{
    return ouroi_low_bits(count) << first;
}

/* Brings the tables up to date after chunk->free or ->dirty changed. */
static void note_changed(struct arena *arena, struct ouroi_chunk *chunk)
{
    uint32_t i = chunk->index;
    unsigned old_free = arena->longest_free[i], old_dirty = arena->longest_dirty[i];
    unsigned free_run = longest_run(chunk->free), dirty_run = longest_run(chunk->dirty);
    arena->longest_free[i] = (uint8_t)free_run;
    arena->longest_dirty[i] = (uint8_t)dirty_run;
    for (unsigned n = old_free + 1; n <= free_run; n++)
        if (arena->free_from[n] > i)
            arena->free_from[n] = i;
    for (unsigned n = old_dirty + 1; n <= dirty_run; n++)
        if (arena->dirty_from[n] > i)
            arena->dirty_from[n] = i;
}

/* Room for twice as many chunks. The old tables are left behind. */
static bool grow_tables(struct arena *arena)
{
    uint32_t room = arena->chunk_room == 0 ? CHUNKS_FIRST : arena->chunk_room * 4;
    struct ouroi_chunk **chunks = ouroi_meta_alloc(room * sizeof *chunks);
    uint8_t *runs = ouroi_meta_alloc(room * 2);
    if (chunks == NULL || runs == NULL)
        return false;
    if (arena->chunk_count > 0) {
        memcpy(chunks, arena->chunks, arena->chunk_count * sizeof *chunks);
        memcpy(runs, arena->longest_free, arena->chunk_count);
        memcpy(runs + room, arena->longest_dirty, arena->chunk_count);
    }
    arena->chunks = chunks;
    arena->longest_free = runs;
    arena->longest_dirty = runs + room;
    arena->chunk_room = room;
    return true;
}

/* A new chunk with at least `slices` slices of memory: all 64 but where limits are tight. */
static struct ouroi_chunk *add_chunk(struct arena *arena, unsigned slices)
{
    struct ouroi_chunk *chunk = arena->spare;
    if (chunk == NULL) {
        if (arena->chunk_count == arena->chunk_room && !grow_tables(arena))
            return NULL;
        chunk = ouroi_meta_alloc(sizeof *chunk);
        if (chunk == NULL)
            return NULL;
        chunk->index = arena->chunk_count;
        chunk->node = (uint8_t)arena->node;
    } else {
        arena->spare = chunk->next_spare;
    }
    uintptr_t start = 0;
    unsigned mapped = OUROI_CHUNK_SLICES;
    ouroi_lock_acquire(&ouroi_space_lock);
    for (;; mapped /= 4) {
        start = ouroi_space_take(1, 1, mapped * OUROI_SLICE_BYTES);
        if (start != 0 || mapped / 4 < slices)
            break;
    }
    ouroi_lock_release(&ouroi_space_lock);
    if (chunk->index == arena->chunk_count) {
        arena->longest_free[chunk->index] = arena->longest_dirty[chunk->index] = 0;
        arena->chunks[arena->chunk_count++] = chunk;
    }
    if (start == 0) {
        chunk->next_spare = arena->spare;
        arena->spare = chunk;
        return NULL;
    }
    if (ouroi_machine.nodes > 1)
        ouroi_os.bind((void *)start, mapped * OUROI_SLICE_BYTES,
                      ouroi_options.numa == OUROI_NUMA_INTERLEAVE ? -1 : (int)arena->node);
    if (ouroi_options.thp == OUROI_THP_ALWAYS)
        ouroi_os.advise_huge((void *)start, mapped * OUROI_SLICE_BYTES, true);
    else if (ouroi_machine.thp_always)
        ouroi_os.advise_huge((void *)start, mapped * OUROI_SLICE_BYTES, false);
    chunk->start = start;
    chunk->mapped = chunk->free = ouroi_low_bits(mapped);
    chunk->dirty = chunk->young = 0;
    chunk->locked = false;
    arena->mapped_slices += mapped;
    arena->free_slices += mapped;
    note_changed(arena, chunk);
    return chunk;
}

/* Unmaps a chunk that is wholly free. */
static void drop_chunk(struct arena *arena, struct ouroi_chunk *chunk)
{
    unsigned mapped = ouroi_popcount64(chunk->mapped);
    arena->mapped_slices -= mapped;
    arena->free_slices -= mapped;
    arena->dirty_slices -= ouroi_popcount64(chunk->dirty);
    chunk->mapped = chunk->free = chunk->dirty = chunk->young = 0;
    note_changed(arena, chunk);
    ouroi_lock_acquire(&ouroi_space_lock);
    ouroi_space_give(chunk->start, 1, mapped * OUROI_SLICE_BYTES);
    ouroi_lock_release(&ouroi_space_lock);
    chunk->next_spare = arena->spare;
    arena->spare = chunk;
}

/* The lowest chunk with a run of `slices`, dirty ones if there are. *starts: where such runs begin. */
static struct ouroi_chunk *find_chunk(struct arena *arena, unsigned slices, uint64_t where, uint64_t *starts)
{
    for (unsigned pass = 0; pass < 2; pass++) {
        const uint8_t *longest = pass == 0 ? arena->longest_dirty : arena->longest_free;
        uint32_t *from = pass == 0 ? &arena->dirty_from[slices] : &arena->free_from[slices];
        bool lowest = true;
        for (uint32_t i = *from; i < arena->chunk_count; i++) {
            if (longest[i] < slices)
                continue;
            struct ouroi_chunk *chunk = arena->chunks[i];
            if (lowest)
                *from = i;
            lowest = false;
            *starts = run_starts(pass == 0 ? chunk->dirty : chunk->free, slices) & where;
            if (*starts != 0)
                return chunk;
        }
        if (lowest)
            *from = arena->chunk_count;
    }
    return NULL;
}

/* Takes a run from `arena`. *first: its first slice. */
static struct ouroi_chunk *take_run(struct arena *arena, unsigned slices, uint64_t where, unsigned *first, bool *zero)
{
    uint64_t starts;
    struct ouroi_chunk *chunk = find_chunk(arena, slices, where, &starts);
    if (chunk == NULL) {
        chunk = add_chunk(arena, slices);
        if (chunk == NULL)
            return NULL;
        starts = run_starts(chunk->free, slices) & where;
        if (starts == 0)
            return NULL;
    }
    *first = ouroi_ctz64(starts);
    uint64_t bits = bits_from(*first, slices);
    *zero = (chunk->dirty & bits) == 0;
    arena->free_slices -= slices;
    arena->dirty_slices -= ouroi_popcount64(chunk->dirty & bits);
    chunk->free &= ~bits;
    chunk->dirty &= ~bits;
    chunk->young &= ~bits;
    note_changed(arena, chunk);
    return chunk;
}

/* The slices at which a run aligned to `align_slices` may begin. */
static uint64_t aligned_positions(unsigned align_slices)
{
    uint64_t where = 0;
    for (unsigned i = 0; i < OUROI_CHUNK_SLICES; i += align_slices)
        where |= (uint64_t)1 << i;
    return where;
}

static struct ouroi_chunk *take_run_of_node(unsigned node, unsigned slices, uint64_t where, enum ouroi_run_kind kind,
                                            unsigned *first, bool *zero)
{
    for (unsigned i = 0; i < ouroi_machine.nodes; i++) {
        struct arena *arena = &arenas[(node + i) % ouroi_machine.nodes];
        ouroi_lock_acquire(&arena->lock);
        struct ouroi_chunk *chunk = take_run(arena, slices, where, first, zero);
        if (chunk != NULL && kind == OUROI_RUN_LARGE) {
            arena->large_slices += slices;
            arena->large_blocks++;
            arena->large_allocs++;
        }
        ouroi_lock_release(&arena->lock);
        if (chunk != NULL)
            return chunk;
    }
    return NULL;
}

struct ouroi_run *ouroi_run_alloc(unsigned node, unsigned slices, unsigned align_slices, enum ouroi_run_kind kind)
{
    OURO_ASSERT(slices >= 1 && slices <= OUROI_CHUNK_SLICES && ouroi_is_pow2(align_slices));
    uint64_t where = align_slices == 1 ? ~(uint64_t)0 : aligned_positions(align_slices);
    node = node < ouroi_machine.nodes ? node : 0;
    struct ouroi_run *run = ouroi_descriptor_alloc();
    if (run == NULL && (!ouroi_arena_reclaim() || (run = ouroi_descriptor_alloc()) == NULL))
        return NULL;
    unsigned first = 0;
    bool zero = false;
    struct ouroi_chunk *chunk = take_run_of_node(node, slices, where, kind, &first, &zero);
    if (chunk == NULL && ouroi_arena_reclaim())
        chunk = take_run_of_node(node, slices, where, kind, &first, &zero);
    if (chunk == NULL) {
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
    ouroi_slices_set(run->start, slices, run);
    return run;
}

/* Puts slices of `chunk` back, as dirty. The arena is locked. */
static void give_slices(struct arena *arena, struct ouroi_chunk *chunk, unsigned first, unsigned slices)
{
    uint64_t bits = bits_from(first, slices);
    OURO_ASSERT((chunk->free & bits) == 0 && (chunk->mapped & bits) == bits);
    chunk->free |= bits;
    chunk->dirty |= bits;
    chunk->young |= bits;
    arena->free_slices += slices;
    arena->dirty_slices += slices;
    note_changed(arena, chunk);
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
    if (run->kind == OUROI_RUN_LARGE) {
        arena->large_slices -= run->slices;
        arena->large_blocks--;
        arena->large_frees++;
    }
    give_slices(arena, run->chunk, slice_number(run), run->slices);
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

/* Large blocks. */

size_t ouroi_large_good_size(size_t size)
{
    return ouroi_align_up(size, ouroi_machine.page_bytes);
}

void *ouroi_large_alloc(size_t size, size_t alignment, bool zero)
{
    size_t slices = (size + OUROI_SLICE_BYTES - 1) >> OUROI_SLICE_SHIFT;
    slices += slices == 0;
    if (slices > OUROI_LARGE_MAX_SLICES || alignment > OUROI_CHUNK_BYTES)
        return ouroi_huge_alloc(size, alignment, zero);
    size_t align_slices = alignment > OUROI_SLICE_BYTES ? alignment >> OUROI_SLICE_SHIFT : 1;
    struct ouroi_run *run =
        ouroi_run_alloc(ouroi_arena_node(), (unsigned)slices, (unsigned)align_slices, OUROI_RUN_LARGE);
    if (run == NULL)
        return NULL;
    run->bytes = ouroi_large_good_size(size);
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

/* Makes the run longer, into free slices after it, or shorter. */
static bool resize_run(struct ouroi_run *run, unsigned slices)
{
    struct arena *arena = &arenas[run->node];
    struct ouroi_chunk *chunk = run->chunk;
    unsigned first = slice_number(run), old = run->slices;
    bool done = true;
    ouroi_lock_acquire(&arena->lock);
    if (slices < old) {
        ouroi_slices_set(run->start + slices * OUROI_SLICE_BYTES, old - slices, NULL);
        give_slices(arena, chunk, first + slices, old - slices);
        arena->large_slices -= old - slices;
    } else if (slices > old) {
        uint64_t bits = first + slices <= OUROI_CHUNK_SLICES ? bits_from(first + old, slices - old) : ~(uint64_t)0;
        done = (chunk->free & bits) == bits;
        if (done) {
            arena->free_slices -= slices - old;
            arena->dirty_slices -= ouroi_popcount64(chunk->dirty & bits);
            arena->large_slices += slices - old;
            chunk->free &= ~bits;
            chunk->dirty &= ~bits;
            chunk->young &= ~bits;
            note_changed(arena, chunk);
            ouroi_slices_set(run->start + old * OUROI_SLICE_BYTES, slices - old, run);
        }
    }
    if (done)
        run->slices = slices;
    ouroi_lock_release(&arena->lock);
    return done;
}

enum { MOVE_LEAST_BYTES = 1 << 20 }; /* blocks from this size on grow by moving pages */

static void *resize(struct ouroi_run *run, size_t size)
{
    if (run->kind == OUROI_RUN_HUGE)
        return ouroi_huge_resize(run, size);
    size_t slices = (size + OUROI_SLICE_BYTES - 1) >> OUROI_SLICE_SHIFT;
    size_t old_bytes = run->bytes;
    if (slices <= OUROI_LARGE_MAX_SLICES && resize_run(run, (unsigned)slices)) {
        OUROI_OWNED_SET(&run->bytes, ouroi_large_good_size(size));
        /* What a shrunk block no longer has goes back at once, where it is worth a system call. */
        if (run->bytes + OUROI_SLICE_BYTES <= old_bytes) {
            uintptr_t end = run->start + slices * OUROI_SLICE_BYTES;
            if (run->start + run->bytes < end)
                ouroi_os.purge((void *)(run->start + run->bytes), end - run->start - run->bytes);
        }
        return (void *)run->start;
    }
    if (size > run->bytes && run->bytes >= MOVE_LEAST_BYTES && slices > OUROI_LARGE_MAX_SLICES)
        return ouroi_huge_adopt(run, size);
    return NULL;
}

void *ouroi_large_resize(struct ouroi_run *run, size_t size)
{
    size_t old_bytes = run->bytes;
    void *p = resize(run, size);
    if (p != NULL)
        ouroi_arena_note_used((ptrdiff_t)(ouroi_run_find(p)->bytes - old_bytes));
    return p;
}

/* Giving back. */

/* Purges the slices `bits` of chunk, free ones that are taken out meanwhile. Returns the slices purged. */
static unsigned purge_slices(struct arena *arena, struct ouroi_chunk *chunk, uint64_t bits)
{
    chunk->free &= ~bits;
    chunk->dirty &= ~bits;
    chunk->young &= ~bits;
    note_changed(arena, chunk);
    ouroi_lock_release(&arena->lock);
    uint64_t refused = 0;
    for (uint64_t left = bits; left != 0;) {
        unsigned first = ouroi_ctz64(left);
        uint64_t after = ~(left >> first);
        unsigned count = after == 0 ? OUROI_CHUNK_SLICES - first : ouroi_ctz64(after);
        if (first + count > OUROI_CHUNK_SLICES)
            count = OUROI_CHUNK_SLICES - first;
        if (ouroi_os.purge((void *)(chunk->start + first * OUROI_SLICE_BYTES), count * OUROI_SLICE_BYTES) != 0)
            refused |= bits_from(first, count);
        left &= ~bits_from(first, count);
    }
    ouroi_lock_acquire(&arena->lock);
    chunk->free |= bits;
    chunk->dirty |= refused;
    if (refused != 0)
        chunk->locked = true;
    note_changed(arena, chunk);
    unsigned purged = ouroi_popcount64(bits & ~refused);
    arena->dirty_slices -= purged;
    arena->purged_bytes += purged * OUROI_SLICE_BYTES;
    return purged;
}

/* Purges dirty slices: those that were so at the last call, or all. Whole free chunks but one go back as such. */
static size_t purge_arena(struct arena *arena, bool all)
{
    size_t purged = 0;
    bool kept = all;
    ouroi_lock_acquire(&arena->lock);
    for (uint32_t i = 0; i < arena->chunk_count; i++) {
        struct ouroi_chunk *chunk = arena->chunks[i];
        uint64_t bits = all ? chunk->dirty : chunk->dirty & ~chunk->young;
        chunk->young = 0;
        bool whole = chunk->mapped != 0 && chunk->free == chunk->mapped && (chunk->dirty & ~bits) == 0;
        if (whole && kept) {
            purged += ouroi_popcount64(chunk->dirty);
            arena->purged_bytes += ouroi_popcount64(chunk->dirty) * OUROI_SLICE_BYTES;
            drop_chunk(arena, chunk);
        } else if (bits != 0 && !chunk->locked) {
            kept |= whole;
            purged += purge_slices(arena, chunk, bits);
        } else {
            kept |= whole;
        }
    }
    size_t dirty = arena->dirty_slices;
    ouroi_lock_release(&arena->lock);
    ouroi_purger_note(dirty * OUROI_SLICE_BYTES);
    return purged * OUROI_SLICE_BYTES;
}

size_t ouroi_arena_purge(bool all)
{
    size_t bytes = ouroi_huge_purge(all);
    for (unsigned i = 0; i < ouroi_machine.nodes; i++)
        bytes += purge_arena(&arenas[i], all);
    return bytes;
}

size_t (*ouroi_arena_idle_hook)(bool all);

bool ouroi_arena_reclaim(void)
{
    size_t before = ouroi_space_reserved(), idle = 0;
    if (ouroi_arena_idle_hook != NULL)
        idle = ouroi_arena_idle_hook(true);
    /* Free slices may serve the request as they are; unmapped chunks make room under a limit. */
    size_t purged = ouroi_arena_purge(true);
    return idle + purged != 0 || ouroi_space_reserved() < before;
}

/* Start-up, fork, counts. */

int ouroi_arena_init(void)
{
    ouroi_os_init();
    for (unsigned i = 0; i < ouroi_machine.nodes; i++) {
        arenas[i].lock = (struct ouroi_lock)OUROI_LOCK_INIT(OUROI_RANK_ARENA);
        arenas[i].node = i;
    }
    return ouroi_space_init();
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
        counts->resident_bytes +=
            (arena->mapped_slices - arena->free_slices + arena->dirty_slices) * OUROI_SLICE_BYTES;
        counts->large_bytes += arena->large_slices * OUROI_SLICE_BYTES;
        counts->large_blocks += arena->large_blocks;
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
                /* relaxed: a run that comes or goes meanwhile may be seen or not */
                struct ouroi_run *run = ouroi_atomic_load_relaxed(&slice[at].run);
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

static unsigned check_chunk(const struct arena *arena, const struct ouroi_chunk *chunk)
{
    unsigned bad = 0;
    if ((chunk->free & ~chunk->mapped) != 0 || (chunk->dirty & ~chunk->free) != 0 ||
        (chunk->young & ~chunk->dirty) != 0) {
        ouroi_warn("check: chunk %p: bit maps contradict each other", (void *)chunk->start);
        bad++;
    }
    if (arena->longest_free[chunk->index] != longest_run(chunk->free) ||
        arena->longest_dirty[chunk->index] != longest_run(chunk->dirty)) {
        ouroi_warn("check: chunk %p: longest runs are wrong", (void *)chunk->start);
        bad++;
    }
    const struct ouroi_slice *slice = ouroi_slice_find(chunk->start);
    for (unsigned i = 0; i < OUROI_CHUNK_SLICES && chunk->mapped != 0; i++) {
        if ((chunk->free >> i & 1) == 0)
            continue;
        /* relaxed: free slices do not change under the lock, but for runs on their way out or in */
        struct ouroi_run *run = ouroi_atomic_load_relaxed(&slice[i].run);
        if (run != NULL) {
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
            bad += check_chunk(arena, chunk);
            mapped += ouroi_popcount64(chunk->mapped);
            free_slices += ouroi_popcount64(chunk->free);
            dirty += ouroi_popcount64(chunk->dirty);
        }
        /* slices that are being purged are out of `free` for a moment: fewer is no violation */
        if (mapped != arena->mapped_slices || free_slices > arena->free_slices || dirty > arena->dirty_slices) {
            ouroi_warn("check: arena %u: counts of slices are wrong", node);
            bad++;
        }
        ouroi_lock_release(&arena->lock);
    }
    return bad;
}
