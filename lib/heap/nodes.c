/* heap/nodes.c: heaps for tracked objects, whose runs have a state for each block (see arena.h).
 *
 * Owns        the heaps' lists of runs that may hold young objects.
 * Invariants  a run is in such a list if its first slice is marked young, unless the list's owner had no memory (young_lost);
 *             a list may name what is no run of nodes any more, which the mark, or the lack of states, tells.
 * Sync        a list is its heap's thread's; with nobody making objects, anybody's.
 */
#include "heap/internal.h"

#include <errno.h>

enum { YOUNG_LEAST = 64 };

#if OURO_DROPIN
void ouroi_nodes_note_young(struct ouroi_heap *heap, struct ouroi_run *run)
{
    (void)heap;
    (void)run;
}

void ouroi_nodes_adopt_large(struct ouroi_heap *heap, struct ouroi_run *run)
{
    (void)heap;
    (void)run;
}
#else
static bool push_young(struct ouroi_heap *heap, uintptr_t start)
{
    if (heap->young_count == heap->young_room) {
        size_t room = heap->young_room == 0 ? YOUNG_LEAST : 2 * heap->young_room;
        ouroi_trace_paused++;
        uintptr_t *more = ouroi_heap_realloc(heap->young, room * sizeof *more);
        ouroi_trace_paused--;
        if (more == NULL)
            return false;
        heap->young = more;
        heap->young_room = room;
    }
    heap->young[heap->young_count++] = start;
    return true;
}

void ouroi_nodes_note_young(struct ouroi_heap *heap, struct ouroi_run *run)
{
    struct ouroi_slice *slice = ouroi_slice_find(run->start);
    if (OUROI_OWNED_GET(&slice->young))
        return;
    if (push_young(heap, run->start))
        OUROI_OWNED_SET(&slice->young, true);
    else
        heap->young_lost = true;
}

void ouroi_nodes_adopt_large(struct ouroi_heap *heap, struct ouroi_run *run)
{
    *ouroi_run_state(run) = 0;
    ouroi_run_set_states(run, ouroi_run_state(run), 0);
    ouroi_nodes_note_young(heap, run);
}

void *ouroi_nodes_alloc_large(struct ouroi_heap *heap, size_t size, size_t asked, const char *type)
{
    ouroi_heap_poll_purger();
    if (OUROI_UNLIKELY(ouroi_traced_chosen(asked))) {
        void *traced = ouroi_traced_alloc(heap, OUROI_ALIGN, size, asked, true, type);
        if (traced != NULL)
            return traced;
    }
    void *p = ouroi_large_alloc(size, OUROI_ALIGN, true);
    if (p != NULL)
        ouroi_nodes_adopt_large(heap, ouroi_run_find(p));
    return p;
}

struct walk {
    void (*fn)(struct ouroi_run *run, void *arg);
    void *arg;
    bool young, lost;
};

static void visit_run(struct ouroi_run *run, void *arg)
{
    struct walk *walk = arg;
    struct ouroi_slice *slice = ouroi_slice_find(run->start);
    if (OUROI_OWNED_GET(&slice->states) == NULL)
        return;
    if (walk->young)
        OUROI_OWNED_SET(&slice->young, false);
    walk->fn(run, walk->arg);
}

static void visit_list(struct ouroi_heap *heap, void *arg)
{
    struct walk *walk = arg;
    for (size_t i = 0; i < heap->young_count && !walk->lost; i++) {
        struct ouroi_slice *slice = ouroi_slice_find(heap->young[i]);
        struct ouroi_run *run = ouroi_atomic_load_relaxed(&slice->run); /* relaxed: see the file head */
        if (run == NULL || !OUROI_OWNED_GET(&slice->young) || OUROI_OWNED_GET(&slice->states) == NULL)
            continue;
        OUROI_OWNED_SET(&slice->young, false);
        walk->fn(run, walk->arg);
    }
    heap->young_count = 0;
    heap->young_lost = false;
}

static void note_lost(struct ouroi_heap *heap, void *arg)
{
    ((struct walk *)arg)->lost |= heap->young_lost;
}

/* Objects go on being made in current pools. */
static void mark_current(struct ouroi_heap *heap, void *arg)
{
    (void)arg;
    for (unsigned c = 1; heap->nodes && c < OUROI_CLASSES; c++)
        if (heap->bins[c].pool != ouroi_heap_empty.bins[0].pool)
            ouroi_nodes_note_young(heap, &heap->bins[c].pool->run);
}

static bool lost_by_all;

void ouroi_nodes_lose_young(void)
{
    lost_by_all = true;
}

void ouroi_nodes_each(bool young, void (*fn)(struct ouroi_run *run, void *arg), void *arg)
{
    struct walk walk = { fn, arg, young, lost_by_all };
    if (!young) {
        ouroi_arena_each_run(visit_run, &walk);
        return;
    }
    ouroi_heap_each(note_lost, &walk);
    lost_by_all = false;
    if (walk.lost)
        ouroi_arena_each_run(visit_run, &walk);
    ouroi_heap_each(visit_list, &walk);
    ouroi_heap_each(mark_current, NULL);
}
#endif
