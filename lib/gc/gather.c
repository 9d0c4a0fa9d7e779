/* gc/gather.c: the runs whose objects a search looks at.
 *
 * Owns        which runs hold objects of the middle generation, or young ones that ouro_new did not make.
 * Invariants  a run that may hold objects of state OLD1 is in `middle`, unless middle_unknown. Runs are named there by their
 *             descriptors, which are never unmapped: what has become of one is asked when it is used.
 * Sync        the collecting thread, the world being stopped; noted_lock for what any thread notes.
 */
#include "gc/visit.h"

#include <errno.h>

enum { NAMED_MOST = 1 << 18 }; /* runs, some of them more than once: beyond that all are looked at */

static struct ouroi_list middle;
static bool middle_unknown;
static struct ouroi_list noted; /* runs with young objects of which nodes_each may not know */
static bool noted_lost;
static struct ouroi_lock noted_lock = OUROI_LOCK_INIT(OUROI_RANK_GC);

void ouroi_gather_mark(struct ouroi_run *run, bool is)
{
    for (uint32_t i = 0; i < run->slices; i++) {
        struct ouroi_slice *slice = ouroi_slice_find(run->start + i * OUROI_SLICE_BYTES);
        if (slice == NULL || ouroi_atomic_load_relaxed(&slice->run) != run) /* relaxed: the world is stopped */
            break;                                                          /* a huge block has its first slice only */
        ouroi_slice_set_candidate(slice, is);
    }
}

/* States of the candidates become YOUNG. */
static void make_young(int8_t *states, uint32_t blocks, int generation)
{
    int8_t second = generation == 2 ? OUROI_STATE_OLD2 : OUROI_STATE_OLD1;
    for (uint32_t i = 0; i < blocks; i++)
        states[i] = states[i] == OUROI_STATE_OLD1 || states[i] == second ? OUROI_STATE_YOUNG : states[i];
}

static void add_run(struct ouroi_run *run, void *arg)
{
    struct ouroi_search *search = arg;
    struct ouroi_slice *slice = ouroi_slice_find(run->start);
    /* relaxed: the world is stopped */
    if (slice == NULL || ouroi_atomic_load_relaxed(&slice->run) != run || slice->states == NULL ||
        slice->candidate != 0)
        return;
    if (search->patch_count == search->patch_room) {
        void *items = search->patches;
        int rc = search->no_memory ? -ENOMEM
                                   : ouroi_memory_grow(&items, &search->patch_room, search->patch_count,
                                                       search->patch_count + 1, sizeof *search->patches);
        search->patches = items;
        if (rc != 0) { /* the world goes on with what nobody looked at */
            search->no_memory = true;
            ouroi_nodes_lose_young();
            middle_unknown = true;
            return;
        }
    }
    struct ouroi_patch patch = { .states = slice->states, .start = run->start, .run = run, .blocks = 1 };
    if (run->kind == OUROI_RUN_POOL) {
        const struct ouroi_pool *pool = ouroi_pool_of(run);
        patch.block_bytes = pool->block_bytes;
        patch.sparse = pool->capacity <= OUROI_SPARSE_MAX;
        patch.blocks = patch.sparse ? pool->capacity : pool->carved;
    }
    ouroi_gather_mark(run, true);
    if (search->generation > 0)
        make_young(patch.states, patch.blocks, search->generation);
    search->patches[search->patch_count++] = patch;
    search->blocks += patch.blocks;
}

static void ignore_run(struct ouroi_run *run, void *arg)
{
    (void)run;
    (void)arg;
}

void ouroi_search_note_young(const ouro_object *object)
{
    struct ouroi_run *run = ouroi_run_find(object);
    ouroi_lock_acquire(&noted_lock);
    bool known = noted_lost || (noted.count != 0 && noted.items[noted.count - 1] == run);
    if (!known && (noted.count >= NAMED_MOST || !ouroi_list_push(&noted, run)))
        noted_lost = true;
    ouroi_lock_release(&noted_lock);
}

int ouroi_search_begin(struct ouroi_search *search, int generation)
{
    search->generation = generation;
    search->patch_count = 0;
    search->blocks = search->candidates = search->keys = search->dead_count = 0;
    search->near = search->far = 0;
    search->no_memory = search->complex = search->unclearable = search->destroys = search->distributed = search->odd =
        search->closed = false;
    search->has_maps = ouroi_weakmap_total() != 0;
    search->hinted = search->misled = false;
    if (generation == 2 || noted_lost || (generation == 1 && middle_unknown)) {
        noted_lost = false;
        middle_unknown &= generation == 0;
        ouroi_nodes_each(true, ignore_run, NULL);
        ouroi_nodes_each(false, add_run, search);
    } else {
        ouroi_nodes_each(true, add_run, search);
        for (size_t i = 0; i < noted.count; i++)
            add_run(noted.items[i], search);
        for (size_t i = 0; generation == 1 && i < middle.count; i++)
            add_run(middle.items[i], search);
    }
    ouroi_list_reset(&noted);
    if (generation > 0)
        ouroi_list_reset(&middle);
    return search->no_memory ? -ENOMEM : 0;
}

void ouroi_gather_note_middle(struct ouroi_run *run)
{
    if (middle_unknown || (middle.count != 0 && middle.items[middle.count - 1] == run))
        return;
    if (middle.count >= NAMED_MOST || !ouroi_list_push(&middle, run)) {
        middle_unknown = true;
        ouroi_list_reset(&middle);
    }
}

void ouroi_gather_lose_middle(void)
{
    middle_unknown = true;
}

void ouroi_gather_fork_prepare(void)
{
    ouroi_lock_acquire_again(&noted_lock);
}

void ouroi_gather_fork_done(bool child)
{
    if (child)
        ouroi_lock_reset(&noted_lock);
    else
        ouroi_lock_release(&noted_lock);
}
