/* arena/huge.c: blocks of more than 16 MiB, or aligned to more than that, or grown by moving their pages: a mapping each,
 * given back when they are freed.
 *
 * Owns        the list of huge blocks.
 * Invariants  a huge block begins a chunk of address space; `chunks` of it are its own, the first `mapped` bytes of them
 *             are memory; run.bytes <= mapped; the map of slices has the first slice only.
 * Sync        the space lock.
 */
#include "arena/internal.h"

#include <errno.h>
#include <string.h>

struct huge {
    struct ouroi_run run;
    struct huge *next, *previous;
    size_t chunks, mapped;
};
_Static_assert(sizeof(struct huge) + sizeof(struct ouroi_run_member) <= OUROI_DESCRIPTOR_BYTES, "descriptor");

static struct huge living = { .next = &living, .previous = &living };
static size_t living_bytes, living_mapped, living_blocks;
static uint64_t allocs, frees, purged_bytes;

static void link_after(struct huge *list, struct huge *huge)
{
    huge->next = list->next;
    huge->previous = list;
    list->next->previous = huge;
    list->next = huge;
}

static void unlink_huge(struct huge *huge)
{
    huge->next->previous = huge->previous;
    huge->previous->next = huge->next;
}

static size_t chunks_for(size_t bytes)
{
    return (bytes + OUROI_CHUNK_BYTES - 1) / OUROI_CHUNK_BYTES;
}

static void set_slice(uintptr_t start, struct ouroi_run *run)
{
    ouroi_slices_set(start, 1, run);
}

/* Unmaps a block that no list has. */
static void give_back(struct huge *huge)
{
    purged_bytes += huge->mapped;
    ouroi_space_give(huge->run.start, huge->chunks, huge->mapped);
    ouroi_descriptor_free(&huge->run);
}

static void note_living(struct huge *huge)
{
    link_after(&living, huge);
    living_bytes += huge->run.bytes;
    living_mapped += huge->mapped;
    living_blocks++;
    allocs++;
}

static void note_dead(struct huge *huge)
{
    unlink_huge(huge);
    living_bytes -= huge->run.bytes;
    living_mapped -= huge->mapped;
    living_blocks--;
    frees++;
}

static struct huge *take(size_t bytes, size_t alignment, unsigned node, size_t slack_chunks)
{
    ouroi_lock_acquire(&ouroi_space_lock);
    struct huge *huge = (struct huge *)ouroi_descriptor_alloc();
    if (huge != NULL) {
        memset(huge, 0, OUROI_DESCRIPTOR_BYTES); /* what it was before may have been a pool */
        huge->chunks = chunks_for(bytes) + slack_chunks;
        huge->mapped = bytes;
        huge->run.start = ouroi_space_take(huge->chunks, chunks_for(alignment), bytes);
        huge->run.zero = true;
        huge->run.kind = OUROI_RUN_HUGE;
        huge->run.node = (uint8_t)node;
        if (huge->run.start == 0) {
            ouroi_descriptor_free(&huge->run);
            huge = NULL;
        }
    }
    if (huge != NULL) {
        huge->run.bytes = bytes;
        size_t slices = huge->chunks * OUROI_CHUNK_SLICES;
        huge->run.slices = slices > UINT32_MAX ? UINT32_MAX : (uint32_t)slices;
        note_living(huge);
    }
    ouroi_lock_release(&ouroi_space_lock);
    if (huge != NULL) {
        if (ouroi_machine.nodes > 1)
            ouroi_os.bind((void *)huge->run.start, bytes, ouroi_options.numa == OUROI_NUMA_INTERLEAVE ? -1 : (int)node);
        if (ouroi_options.thp == OUROI_THP_ALWAYS)
            ouroi_os.advise_huge((void *)huge->run.start, bytes, true);
        else if (ouroi_options.thp == OUROI_THP_NEVER)
            ouroi_os.advise_huge((void *)huge->run.start, bytes, false);
    }
    return huge;
}

void *ouroi_huge_alloc(size_t size, size_t alignment)
{
    size_t bytes = ouroi_align_up(size + (size == 0), ouroi_machine.page_bytes);
    if (bytes < size || alignment > PTRDIFF_MAX / 2)
        return NULL;
    alignment = alignment < OUROI_CHUNK_BYTES ? OUROI_CHUNK_BYTES : alignment;
    unsigned node = ouroi_arena_node();
    node = node < ouroi_machine.nodes ? node : 0;
    struct huge *huge = NULL;
    for (unsigned tries = 0; tries < OUROI_TRIES; tries++) {
        uint32_t since = ouroi_arena_purges();
        huge = take(bytes, alignment, node, 0);
        if (huge != NULL || !ouroi_arena_reclaim(since))
            break;
    }
    if (huge == NULL)
        return NULL;
    set_slice(huge->run.start, &huge->run);
    ouroi_arena_note_used((ptrdiff_t)huge->run.bytes);
    return (void *)huge->run.start;
}

void ouroi_huge_free(struct ouroi_run *run)
{
    struct huge *huge = (struct huge *)run;
    set_slice(run->start, NULL);
    ouroi_lock_acquire(&ouroi_space_lock);
    note_dead(huge);
    give_back(huge);
    ouroi_lock_release(&ouroi_space_lock);
}

static void set_mapped(struct huge *huge, size_t bytes)
{
    living_mapped += bytes - huge->mapped;
    ouroi_space_resized(huge->mapped, bytes);
    huge->mapped = bytes;
}

/* Growth where the block is: into its own address space, or what follows it. */
static bool grow_in_place(struct huge *huge, size_t bytes)
{
    if (bytes <= huge->mapped)
        return true;
    size_t chunks = chunks_for(bytes);
    if (chunks > huge->chunks) {
        if (!ouroi_space_extend(huge->run.start, huge->chunks, chunks - huge->chunks))
            return false;
        huge->chunks = chunks;
    }
    if (ouroi_os.resize((void *)huge->run.start, huge->mapped, bytes) != 0)
        return false;
    set_mapped(huge, bytes);
    return true;
}

void *ouroi_huge_resize(struct ouroi_run *run, size_t size)
{
    struct huge *huge = (struct huge *)run;
    size_t bytes = ouroi_align_up(size + (size == 0), ouroi_machine.page_bytes);
    if (bytes < size)
        return NULL;
    bool done;
    ouroi_lock_acquire(&ouroi_space_lock);
    if (bytes < huge->mapped && ouroi_os.unmap((void *)(run->start + bytes), huge->mapped - bytes) == 0) {
        set_mapped(huge, bytes);
    }
    done = grow_in_place(huge, bytes);
    if (done) {
        living_bytes += bytes - run->bytes;
        OUROI_OWNED_SET(&run->bytes, bytes);
    }
    ouroi_lock_release(&ouroi_space_lock);
    return done ? (void *)run->start : ouroi_huge_adopt(run, size);
}

void *ouroi_huge_adopt(struct ouroi_run *run, size_t size)
{
    size_t bytes = ouroi_align_up(size, ouroi_machine.page_bytes);
    if (bytes < size)
        return NULL;
    /* A block that grows once grows again: address space for twice as much. */
    struct huge *huge = take(bytes, OUROI_CHUNK_BYTES, run->node, chunks_for(bytes));
    if (huge == NULL)
        return NULL;
    bool was_huge = run->kind == OUROI_RUN_HUGE;
    uintptr_t from = run->start;
    size_t from_bytes = was_huge ? ((struct huge *)run)->mapped : run->bytes;
    /* Locked: what the kernel has unmapped may be its next choice for somebody else's, whose slices are set under the lock. */
    ouroi_lock_acquire(&ouroi_space_lock);
    int rc = ouroi_os.move((void *)from, from_bytes, (void *)huge->run.start, bytes);
    if (rc != 0) {
        /* The kernel may have unmapped the target before it failed; unmapping again is harmless. */
        note_dead(huge);
        give_back(huge);
        ouroi_lock_release(&ouroi_space_lock);
        return NULL;
    }
    set_slice(huge->run.start, &huge->run);
    if (was_huge) {
        struct huge *old = (struct huge *)run;
        set_slice(from, NULL);
        note_dead(old);
        ouroi_space_resized(old->mapped, 0);
        ouroi_space_give(from, old->chunks, 0);
        ouroi_descriptor_free(run);
    }
    ouroi_lock_release(&ouroi_space_lock);
    if (!was_huge) {
        int error;
        if (ouroi_os.map((void *)from, from_bytes, OUROI_MAP_EXACT, &error) == NULL)
            ouroi_run_lose(run); /* the hole stays one: no memory is lost */
        else
            ouroi_run_free(run);
    }
    return (void *)huge->run.start;
}

void ouroi_huge_count(struct ouroi_arena_counts *counts)
{
    counts->huge_bytes += living_bytes;
    counts->huge_blocks += living_blocks;
    counts->large_allocs += allocs;
    counts->large_frees += frees;
    counts->purged_bytes += purged_bytes;
    counts->committed_bytes += living_mapped;
    counts->resident_bytes += living_mapped;
}

void ouroi_huge_each(void (*fn)(struct ouroi_run *run, void *arg), void *arg)
{
    for (struct huge *huge = living.next; huge != &living; huge = huge->next)
        fn(&huge->run, arg);
}

bool ouroi_huge_owns(uintptr_t p)
{
    for (struct huge *huge = living.next; huge != &living; huge = huge->next)
        if (p - huge->run.start < huge->run.bytes)
            return true;
    return false;
}

void ouroi_huge_describe(struct ouroi_arena_view *view)
{
    view->huge_bytes = (uintptr_t)&living_bytes;
    view->huge_mapped = (uintptr_t)&living_mapped;
    view->huge_blocks = (uintptr_t)&living_blocks;
    view->huge_allocs = (uintptr_t)&allocs;
    view->huge_frees = (uintptr_t)&frees;
    view->huge_purged = (uintptr_t)&purged_bytes;
}
