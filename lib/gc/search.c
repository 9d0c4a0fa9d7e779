/* gc/search.c: finds, with the world stopped, the candidates that nothing outside of the candidates leads to.
 *
 * Owns        the states of candidates, from the beginning of a search to its end.
 * Sync        the collecting thread, the world being stopped; parallel.c for the phases that others share.
 *
 * Let E be an object's count less the references that candidates hold. Any way from outside into the candidates goes through
 * a counted reference from outside, so that E > 0 where it enters; reaching from there finds all that lives. Phases, each
 * over all patches in address order:
 *
 *   first      (oldest generation) reaches from the hints, objects that were referred to from outside last time, and counts
 *              the references to these. A mostly living heap is done after that
 *   count      of each candidate left, its count goes into its state
 *   subtract   each reference from such a one to another takes one off
 *   reach      from those with something left
 *   sweep      states become what they are after the collection
 *
 * If a hint turns out to have no reference from outside, all is done again without hints.
 *
 * Source      Christopher 1984 and Python's gc; prefetching in a queue: Cher, Hosking, Vitek 2004.
 */
#include "gc/visit.h"

#include <errno.h>
#include <string.h>

size_t ouroi_search_worker_objects = 16384;

enum {
    STACK_ENOUGH = 256,  /* roots found, before they are looked into */
    STACK_KEPT_EACH = 4, /* bytes of the stacks that are kept, for each object */
};

void ouroi_search_fail_visits(const struct ouroi_searcher *searcher, const ouro_object *object)
{
    ouroi_fail("an object %p of type %s is visited more often than it is counted, last by one of type %s",
               (const void *)object, ouroi_type_name(ouroi_type_of(object)),
               searcher->from != NULL ? ouroi_type_name(ouroi_type_of(searcher->from)) : "?");
}

/* Calls. */

static void subtract_visit(ouro_object *obj, void *arg)
{
    ouroi_subtract_visit(arg, obj, false);
}
static void reach_visit(ouro_object *obj, void *arg)
{
    ouroi_reach_visit(arg, obj, false);
}
static void reach_visit_first(ouro_object *obj, void *arg)
{
    ouroi_reach_visit(arg, obj, true);
}

void ouroi_count_special(struct ouroi_searcher *searcher, ouro_object *obj, int8_t *state)
{
    uint64_t shared = ouroi_atomic_load_relaxed(&obj->ouro_shared_); /* relaxed: the world is stopped */
    if (!ouroi_shared_is_alive(shared))
        return;
    searcher->uncounted = true;
    searcher->flags |= shared;
    int8_t value = OUROI_STATE_EXTERNAL; /* immortal, or waiting in the queue of a thread that a signal stopped */
    if ((shared & (OURO_FLAG_IMMORTAL_ | OURO_FLAG_QUEUED_)) == 0 && shared >> 63 == 0) {
        int64_t count = ouroi_object_count(obj);
        if (count <= 0 && (shared & OURO_FLAG_DISTRIBUTED_) == 0)
            return; /* somebody is about to free it: what it refers to lives until then */
        if (count <= OUROI_COUNT_MAX) {
            value = (int8_t)(-1 - count);
        } else {
            struct ouroi_entry *entry = ouroi_table_get(searcher->table, obj);
            if (entry == NULL) {
                searcher->failed = true;
                return;
            }
            entry->count = count;
            value = OUROI_STATE_TABLED;
        }
    }
    ouroi_state_set(state, value);
    if (searcher->search->has_maps && ouroi_weakmap_is(obj))
        ouroi_search_note_keys(searcher, obj);
}

void ouroi_reach_hint(struct ouroi_searcher *searcher, ouro_object *obj)
{
    struct ouroi_entry *entry = ouroi_table_get(searcher->table, obj);
    if (entry != NULL)
        entry->seen++;
    else
        searcher->failed = true;
}

void ouroi_reach_untracked(struct ouroi_searcher *searcher, ouro_object *obj)
{
    struct ouroi_entry *entry = ouroi_table_find(&searcher->search->table, obj);
    if (entry == NULL || ouroi_atomic_load_relaxed(&entry->reached)) /* relaxed: twice does no harm */
        return;
    ouroi_atomic_store_relaxed(&entry->reached, true); /* relaxed: the same */
    ouroi_reach_push(searcher, (uintptr_t)obj + OUROI_MARK_LONG);
}

/* Weak maps. */

static void note_key(ouro_object *key, ouro_object *value, void *arg)
{
    struct ouroi_searcher *searcher = arg;
    struct ouroi_slice *slice = ouroi_slice_at(key);
    (void)value;
    if (slice != NULL && slice->states != NULL)
        return;
    struct ouroi_entry *entry = ouroi_table_get(searcher->table, key);
    if (entry == NULL) {
        searcher->failed = true;
        return;
    }
    entry->kind = OUROI_ENTRY_KEY;
    entry->count = ouroi_object_count(key);
    ouroi_atomic_store_relaxed(&searcher->search->keys, 1); /* relaxed: any number says that there are some */
}

void ouroi_search_note_keys(struct ouroi_searcher *searcher, const ouro_object *map)
{
    ouroi_weakmap_entries(map, 0, ouroi_weakmap_room(map), note_key, searcher);
}

void ouroi_search_saw_untracked(struct ouroi_searcher *searcher, ouro_object *object)
{
    if (ouroi_table_find(&searcher->search->table, object) == NULL)
        return;
    struct ouroi_entry *entry = ouroi_table_get(searcher->table, object);
    if (entry != NULL)
        entry->seen++;
    else
        searcher->failed = true;
}

/* No candidates count as reached. */
static bool is_reached(const struct ouroi_search *search, const ouro_object *obj)
{
    struct ouroi_slice *slice = ouroi_slice_at(obj);
    if (slice == NULL || slice->states == NULL) {
        const struct ouroi_entry *entry = search->keys != 0 ? ouroi_table_find(&search->table, obj) : NULL;
        return entry == NULL || ouroi_atomic_load_relaxed(&entry->reached); /* relaxed: see ouroi_search_maps */
    }
    return slice->candidate == 0 ||
           !ouroi_state_is_unreached(ouroi_state_get(ouroi_slice_state(slice, (uintptr_t)obj)));
}

struct map_visit {
    struct ouroi_searcher *searcher;
    ouro_visit visit;
};

static void reach_entry(ouro_object *key, ouro_object *value, void *arg)
{
    const struct map_visit *with = arg;
    if (is_reached(with->searcher->search, key))
        with->visit(value, with->searcher);
}

void ouroi_reach_map(struct ouroi_searcher *searcher, ouro_object *map, ouro_visit visit)
{
    struct map_visit with = { searcher, visit };
    if (!ouroi_list_push(&searcher->maps, map))
        searcher->failed = true;
    ouroi_weakmap_entries(map, 0, ouroi_weakmap_room(map), reach_entry, &with);
}

void ouroi_reach_key(struct ouroi_searcher *searcher, ouro_object *key, ouro_visit visit)
{
    struct map_visit with = { searcher, visit };
    ouroi_weak_maps_of(key, reach_entry, &with); /* reach_entry's key is the map here */
}

/* Reaching, serially. */

static void drain(struct ouroi_searcher *searcher)
{
    ouro_object *obj;
    while ((obj = ouroi_reach_next(searcher, false)) != NULL)
        ouroi_reach_into(searcher, obj, false, reach_visit);
}

static void drain_first(struct ouroi_searcher *searcher)
{
    ouro_object *obj;
    while ((obj = ouroi_reach_next(searcher, true)) != NULL)
        ouroi_reach_into(searcher, obj, true, reach_visit_first);
}

static void reach_root(struct ouroi_searcher *searcher, ouro_object *obj, int8_t *state)
{
    ouroi_state_set(state, OUROI_STATE_REACHED);
    if (!ouroi_list_push(&searcher->stack, obj))
        searcher->failed = true;
    if (searcher->stack.count > STACK_ENOUGH)
        drain(searcher);
}

/* Untracked keys that something outside holds. */
static void reach_keys(struct ouroi_search *search)
{
    for (size_t i = 0; search->keys != 0 && i < search->table.room; i++) {
        struct ouroi_entry *entry = &search->table.entries[i];
        if (entry->object == NULL || entry->kind != OUROI_ENTRY_KEY || entry->reached || entry->count <= entry->seen)
            continue;
        entry->reached = true;
        if (!ouroi_list_push(&search->searchers[0].stack, entry->object))
            search->searchers[0].failed = true;
    }
    drain(&search->searchers[0]);
}

/* After a parallel part: a map and its key may have been reached by two searchers who did not see each other. */
static void reach_maps(struct ouroi_search *search)
{
    struct ouroi_searcher *mine = &search->searchers[0];
    struct map_visit with = { mine, reach_visit };
    for (unsigned i = search->workers; i-- > 0;) {
        const struct ouroi_list *maps = &search->searchers[i].maps; /* mine, the last, grow meanwhile */
        for (size_t m = 0; m < maps->count; m++) {
            ouroi_weakmap_entries(maps->items[m], 0, ouroi_weakmap_room(maps->items[m]), reach_entry, &with);
            drain(mine);
        }
    }
}

/* Phases. */

static void reach_patch(struct ouroi_searcher *searcher, const struct ouroi_patch *patch)
{
    for (uint32_t at = 0; at < patch->blocks; at += 8) {
        uint64_t mask = ouroi_patch_mask(patch, at, ouroi_mask_root);
        while (mask != 0) {
            uint32_t index = ouroi_mask_next(&mask, at);
            ouro_object *obj = ouroi_patch_object(patch, index);
            if (searcher->search->generation == 2)
                ouroi_hints_note_root(searcher, obj, ouroi_state_get(&patch->states[index]));
            reach_root(searcher, obj, &patch->states[index]);
        }
    }
    drain(searcher);
}

void ouroi_search_sweep_patch(struct ouroi_search *search, struct ouroi_patch *patch)
{
    int8_t *states = patch->states;
    int8_t after = ouroi_state_after(search->generation);
    uint32_t dead = 0, reached = 0;
    for (uint32_t from = 0; from < patch->blocks;) {
        uint32_t to = patch->blocks - from > 128 ? from + 128 : patch->blocks;
        uint8_t some_dead = 0, some_reached = 0;
        for (; from < to; from++) {
            bool is_dead = states[from] == OUROI_STATE_INTERNAL, is_survivor = states[from] == OUROI_STATE_REACHED;
            some_dead = (uint8_t)(some_dead + is_dead);
            some_reached = (uint8_t)(some_reached + is_survivor);
            states[from] = is_dead ? OUROI_STATE_DEAD : is_survivor ? after : states[from];
        }
        dead += some_dead;
        reached += some_reached;
    }
    patch->dead = dead;
    patch->reached = reached;
}

/* What bytes cannot hold goes into them. */
static void settle_table(struct ouroi_search *search)
{
    for (size_t i = 0; search->table.count != 0 && i < search->table.room; i++) {
        const struct ouroi_entry *entry = &search->table.entries[i];
        if (entry->object == NULL || entry->kind == OUROI_ENTRY_KEY)
            continue;
        int8_t *state = ouroi_state_at(entry->object);
        if (OURO_DEBUG && entry->kind == OUROI_ENTRY_COUNT && entry->seen > entry->count)
            ouroi_search_fail_visits(&search->searchers[0], entry->object);
        ouroi_state_set(state, entry->kind == OUROI_ENTRY_HINT ? OUROI_STATE_REACHED
                               : entry->seen < entry->count    ? OUROI_STATE_EXTERNAL
                                                               : OUROI_STATE_INTERNAL);
    }
}

static bool has_failed(const struct ouroi_search *search)
{
    bool failed = search->no_memory;
    for (unsigned i = 0; i < search->workers; i++)
        failed |= search->searchers[i].failed;
    return failed;
}

/* Brings what the searchers have counted apart together. */
static void merge_tables(struct ouroi_search *search)
{
    for (unsigned w = 0; w < search->workers; w++) {
        struct ouroi_table *from = &search->searchers[w].own_table;
        for (size_t i = 0; from->count != 0 && i < from->room; i++) {
            const struct ouroi_entry *entry = &from->entries[i];
            if (entry->object == NULL)
                continue;
            struct ouroi_entry *into = ouroi_table_get(&search->table, entry->object);
            if (into == NULL) {
                search->no_memory = true;
                return;
            }
            into->seen += entry->seen;
            if (entry->count != 0 || entry->kind != OUROI_ENTRY_COUNT) { /* the count of a key that is dying is zero */
                into->count = entry->count;
                into->kind = entry->kind;
            }
        }
        ouroi_table_reset(from);
    }
}

/* All but `first`. */
static void count_and_subtract(struct ouroi_search *search)
{
    struct ouroi_searcher *mine = &search->searchers[0];
    bool alone = search->workers == 1;
    mine->uncounted = !alone; /* several may look into an object twice */
    mine->balance = 0;
    if (!alone)
        ouroi_parallel_count(search);
    for (size_t i = 0; alone && i < search->patch_count; i++)
        ouroi_count_patch(mine, &search->patches[i]);
    merge_tables(search);
    if (has_failed(search))
        return;
    if (!alone)
        ouroi_parallel_subtract(search);
    for (size_t i = 0; alone && i < search->patch_count; i++)
        ouroi_subtract_patch(mine, &search->patches[i], false, subtract_visit);
    ouroi_subtract_ring(mine, false);
    merge_tables(search);
}

static void reach_all(struct ouroi_search *search)
{
    struct ouroi_searcher *mine = &search->searchers[0];
    reach_keys(search);
    if (search->workers > 1)
        ouroi_parallel_reach(search, false);
    else
        for (size_t i = 0; i < search->patch_count; i++)
            reach_patch(mine, &search->patches[i]);
    if (search->workers > 1)
        reach_maps(search);
}

/* Everything about the candidates is as before the search. */
static void start_over(struct ouroi_search *search)
{
    for (size_t i = 0; i < search->patch_count; i++) {
        int8_t *states = search->patches[i].states;
        for (uint32_t b = 0; b < search->patches[i].blocks; b++)
            states[b] = states[b] >= OUROI_STATE_EXTERNAL ? OUROI_STATE_YOUNG : states[b];
    }
    for (unsigned w = 0; w < search->workers; w++) {
        struct ouroi_searcher *searcher = &search->searchers[w];
        ouroi_table_reset(&searcher->own_table);
        searcher->roots.count = 0;
    }
    ouroi_table_reset(&search->table);
    ouroi_hints_drop();
}

/* The searchers. */
static int prepare_searchers(struct ouroi_search *search, unsigned workers)
{
    if (workers > search->searcher_room) {
        ouroi_search_free_searchers(search);
        void *items = NULL;
        if (ouroi_memory_grow(&items, &search->searcher_room, 0, workers, sizeof *search->searchers) != 0)
            return -ENOMEM;
        search->searchers = items;
    }
    search->workers = workers;
    for (unsigned w = 0; w < workers; w++) {
        struct ouroi_searcher *searcher = &search->searchers[w];
        searcher->search = search;
        searcher->index = w;
        searcher->table = workers == 1 ? &search->table : &searcher->own_table;
        searcher->failed = searcher->odd = false;
        searcher->flags = 0;
        searcher->near = searcher->far = 0;
        searcher->stack.count = searcher->maps.count = searcher->roots.count = 0;
        searcher->from = NULL;
        memset(searcher->ring, 0, sizeof searcher->ring); /* what a failed search has left */
        memset(searcher->queue, 0, sizeof searcher->queue);
        searcher->queued = 0;
    }
    return 0;
}

static void free_parcels(struct ouroi_searcher *searcher)
{
    for (size_t i = 0; i < searcher->parcel_memory.count; i++)
        ouroi_parallel_free_parcels(searcher->parcel_memory.items[i]);
    ouroi_list_reset(&searcher->parcel_memory);
    searcher->empty = NULL;
    memset(searcher->parcels, 0, sizeof searcher->parcels);
}

void ouroi_search_free_searchers(struct ouroi_search *search)
{
    for (size_t w = 0; w < search->searcher_room; w++) {
        ouroi_list_free(&search->searchers[w].stack);
        ouroi_list_free(&search->searchers[w].maps);
        ouroi_list_free(&search->searchers[w].roots);
        free_parcels(&search->searchers[w]);
        ouroi_list_free(&search->searchers[w].parcel_memory);
        ouroi_table_free(&search->searchers[w].own_table);
    }
    void *items = search->searchers;
    ouroi_memory_free(&items, &search->searcher_room, sizeof *search->searchers);
    search->searchers = NULL;
}

/* The dead, in a list. */

static bool list_dead_object(struct ouroi_search *search, ouro_object *obj)
{
    const ouro_type *type = ouroi_type_of(obj);
    /* relaxed: the world is stopped */
    uint64_t shared = ouroi_atomic_load_relaxed(&obj->ouro_shared_);
    search->complex |= type->traverse != NULL || type->clear != NULL;
    search->unclearable |= type->traverse != NULL && type->clear == NULL;
    search->destroys |= type->destroy != NULL;
    search->distributed |= (shared & OURO_FLAG_DISTRIBUTED_) != 0;
    if (OUROI_UNLIKELY((shared & OURO_FLAG_SEEN_) != 0) && !ouroi_list_push(&search->seen, obj))
        return false;
    return OUROI_LIKELY(type->finalize == NULL || (shared & OURO_FLAG_FINALIZED_) != 0) ||
           ouroi_list_push(&search->finalizers, obj);
}

static bool list_keys(struct ouroi_search *search)
{
    for (size_t i = 0; search->keys != 0 && i < search->table.room; i++) {
        const struct ouroi_entry *entry = &search->table.entries[i];
        if (entry->object != NULL && entry->kind == OUROI_ENTRY_KEY && !entry->reached &&
            (!ouroi_list_push(&search->seen, entry->object) || !ouroi_list_push(&search->dead_keys, entry->object)))
            return false;
    }
    return true;
}

/* Whether some may have to be listed for more than that they are dead. */
static bool some_are_odd(const struct ouroi_search *search)
{
    bool odd = false;
    uint64_t flags = 0;
    for (unsigned w = 0; w < search->workers; w++) {
        odd |= search->searchers[w].odd;
        flags |= search->searchers[w].flags;
    }
    return odd || (flags & (OURO_FLAG_SEEN_ | OURO_FLAG_DISTRIBUTED_)) != 0;
}

static int list_dead(struct ouroi_search *search)
{
    if (ouroi_list_grow(&search->dead, search->dead_count) != 0)
        return -ENOMEM;
    bool odd = search->odd = some_are_odd(search);
    /* Only the dead refer to the dead: what they refer to beside is what their references are more than their counts. */
    search->closed = !odd && !search->has_maps && !search->searchers[0].uncounted && search->searchers[0].balance == 0;
    for (size_t i = 0; i < search->patch_count; i++) {
        const struct ouroi_patch *patch = &search->patches[i];
        for (uint32_t at = 0; patch->dead != 0 && at < patch->blocks; at += 8) {
            uint64_t mask = ouroi_patch_mask(patch, at, ouroi_mask_dead);
            while (mask != 0) {
                ouro_object *obj = ouroi_patch_object(patch, ouroi_mask_next(&mask, at));
                search->dead.items[search->dead.count++] = obj;
                OURO_ASSERT(ouroi_object_is_alive(obj));
                if (odd && !list_dead_object(search, obj))
                    return -ENOMEM;
            }
        }
    }
    OURO_ASSERT(search->dead.count == search->dead_count);
    return list_keys(search) ? 0 : -ENOMEM;
}

/* The phase `first`. False: there are no hints. */
static bool reach_first(struct ouroi_search *search)
{
    if (search->generation != 2 || search->has_maps || !ouroi_hints_take(search))
        return false;
    if (search->workers > 1)
        ouroi_parallel_reach(search, true);
    else
        drain_first(&search->searchers[0]);
    merge_tables(search);
    return true;
}

/* After `first` and without: searches, and says whether it succeeded. */
static bool find_dead(struct ouroi_search *search)
{
    bool hinted = search->hinted = reach_first(search);
    if (!has_failed(search))
        count_and_subtract(search);
    if (has_failed(search))
        return false;
    if (hinted && !ouroi_hints_hold(search)) {
        search->misled = true;
        start_over(search);
        count_and_subtract(search);
        if (has_failed(search))
            return false;
    }
    settle_table(search);
    reach_all(search);
    return !has_failed(search);
}

int ouroi_search_run(struct ouroi_search *search, unsigned most_workers)
{
    size_t workers = search->blocks / ouroi_search_worker_objects;
    workers = workers < 1 ? 1 : workers > most_workers ? most_workers : workers;
    if (prepare_searchers(search, (unsigned)workers) != 0 || (workers > 1 && ouroi_parallel_prepare(search) != 0) ||
        !find_dead(search))
        return -ENOMEM;
    if (search->workers > 1)
        ouroi_parallel_sweep(search);
    for (size_t i = 0; i < search->patch_count; i++) {
        struct ouroi_patch *patch = &search->patches[i];
        if (search->workers == 1)
            ouroi_search_sweep_patch(search, patch);
        search->dead_count += patch->dead;
        search->candidates += patch->dead + patch->reached;
    }
    for (unsigned w = 0; w < search->workers; w++) {
        search->near += search->searchers[w].near;
        search->far += search->searchers[w].far;
    }
    if (search->near + search->far == 0) /* there is one node */
        search->near = search->candidates - search->dead_count;
    if (list_dead(search) != 0)
        return -ENOMEM;
    search->listed = true;
    for (size_t i = 0; i < search->patch_count; i++) {
        const struct ouroi_patch *patch = &search->patches[i];
        ouroi_gather_mark(patch->run, false);
        if (search->generation == 0 && patch->reached != 0)
            ouroi_gather_note_middle(patch->run);
    }
    if (search->generation == 2)
        ouroi_hints_keep(search);
    return 0;
}

/* Among the dead only. */

static void set_dead_candidates(const struct ouroi_search *search, bool is)
{
    for (size_t i = 0; i < search->dead.count; i++)
        ouroi_slice_set_candidate(ouroi_slice_at(search->dead.items[i]), is);
}

/* From REACHED and INTERNAL to survivors and DEAD; lists the dead anew. */
static int sweep_dead(struct ouroi_search *search)
{
    size_t count = search->dead.count;
    int8_t after = ouroi_state_after(search->generation);
    set_dead_candidates(search, false);
    search->dead.count = search->seen.count = search->dead_keys.count = 0;
    search->complex = search->unclearable = search->destroys = search->distributed = false;
    bool listed = true;
    for (size_t i = 0; i < count; i++) {
        ouro_object *obj = search->dead.items[i];
        int8_t *state = ouroi_state_at(obj);
        bool is_dead = *state == OUROI_STATE_INTERNAL;
        ouroi_list_prefetch(&search->dead, i, count);
        ouroi_state_set(state, is_dead ? OUROI_STATE_DEAD : after);
        if (is_dead) {
            search->dead.items[search->dead.count++] = obj;
            listed &= list_dead_object(search, obj);
        } else if (after == OUROI_STATE_OLD1) { /* nothing else in its run may have survived */
            ouroi_gather_note_middle(ouroi_run_find(obj));
        }
    }
    search->dead_count = search->dead.count;
    return listed && list_keys(search) ? 0 : -ENOMEM;
}

static void subtract_entry(ouro_object *map, ouro_object *value, void *arg)
{
    struct ouroi_slice *slice = ouroi_slice_at(map);
    if (slice->candidate == 0 || !ouroi_state_is_subtracted(*ouroi_slice_state(slice, (uintptr_t)map)))
        ouroi_subtract_visit(arg, value, false);
}

/* Untracked keys, of each of which a reference is held, are counted anew. */
static void count_keys(struct ouroi_searcher *searcher, const struct ouroi_list *keys)
{
    for (size_t i = 0; i < keys->count && !searcher->failed; i++) {
        note_key(keys->items[i], NULL, searcher);
        struct ouroi_entry *entry = ouroi_table_find(searcher->table, keys->items[i]);
        if (entry != NULL)
            entry->count--;
    }
    /* Values may be keys themselves. */
    for (size_t i = 0; i < keys->count && !searcher->failed; i++)
        ouroi_weak_maps_of(keys->items[i], subtract_entry, searcher);
}

OUROI_INLINE void weigh_reference(struct ouroi_searcher *searcher, ouro_object *obj, bool flag)
{
    const int8_t *state = ouroi_state_at(obj);
    (void)flag;
    searcher->balance -= state != NULL && *state == OUROI_STATE_DEAD;
}

static void weigh_visit(ouro_object *obj, void *arg)
{
    weigh_reference(arg, obj, false);
}

/* Whether all of the dead are there, no other is known to weak references, and only they refer to each other: as none has more
 * references than it counts, that is so if all have as many as all count. */
static bool are_still_dead(const struct ouroi_search *search, struct ouroi_searcher *mine)
{
    const uint64_t special = OURO_SHARED_SPECIAL_ | OURO_FLAG_QUEUED_ | OURO_FLAG_DYING_;
    size_t seen = 0;
    mine->balance = 0;
    for (size_t i = 0; i < search->dead.count; i++) {
        ouro_object *obj = search->dead.items[i];
        const int8_t *state = ouroi_state_at(obj);
        ouroi_list_prefetch(&search->dead, i, search->dead.count);
        if (state == NULL || *state != OUROI_STATE_DEAD)
            return false;
        uint64_t shared = ouroi_atomic_load_relaxed(&obj->ouro_shared_); /* relaxed: the world is stopped */
        if ((shared & special) != OURO_FLAG_ALIVE_)
            return false;
        mine->balance += ouroi_object_count(obj);
        seen += (shared & OURO_FLAG_SEEN_) != 0;
        ouroi_visit_each(mine, obj, ouroi_type_of(obj), weigh_reference, false, weigh_visit);
    }
    return mine->balance == 0 && seen == search->seen.count;
}

int ouroi_search_again(struct ouroi_search *search, const struct ouroi_list *keys)
{
    ouroi_table_reset(&search->table);
    search->keys = 0;
    search->has_maps = ouroi_weakmap_total() != 0;
    if (prepare_searchers(search, 1) != 0)
        return -ENOMEM;
    struct ouroi_searcher *mine = &search->searchers[0];
    if (!search->has_maps && keys->count == 0 && are_still_dead(search, mine))
        return 0;
    size_t count = search->dead.count;
    search->dead.count = 0;
    for (size_t i = 0; i < count; i++) {
        ouro_object *obj = search->dead.items[i];
        int8_t *state = ouroi_state_at(obj);
        ouroi_list_prefetch(&search->dead, i, count);
        if (state == NULL || *state != OUROI_STATE_DEAD)
            continue; /* freed, or taken out of the collector's hands */
        ouroi_state_set(state, OUROI_STATE_YOUNG);
        ouroi_count_object(mine, obj, state);
        if (*state != OUROI_STATE_YOUNG)
            search->dead.items[search->dead.count++] = obj;
    }
    if (has_failed(search))
        return -ENOMEM;
    set_dead_candidates(search, true);
    count_keys(mine, keys);
    for (size_t i = 0; i < search->dead.count; i++) {
        ouro_object *obj = search->dead.items[i];
        if (OURO_DEBUG)
            mine->from = obj;
        ouroi_list_prefetch(&search->dead, i, search->dead.count);
        ouroi_visit_each(mine, obj, ouroi_type_of(obj), ouroi_subtract_visit, false, subtract_visit);
        /* A living map's reference to the value of a dead key keeps nothing alive.
         * relaxed: the world is stopped */
        if (search->has_maps && (ouroi_atomic_load_relaxed(&obj->ouro_shared_) & OURO_FLAG_SEEN_) != 0)
            ouroi_weak_maps_of(obj, subtract_entry, mine);
    }
    ouroi_subtract_ring(mine, false);
    if (has_failed(search))
        return -ENOMEM;
    settle_table(search);
    reach_keys(search);
    for (size_t i = 0; i < search->dead.count; i++) {
        int8_t *state = ouroi_state_at(search->dead.items[i]);
        if (ouroi_state_is_unreached(*state) && *state != OUROI_STATE_INTERNAL)
            reach_root(mine, search->dead.items[i], state);
    }
    drain(mine);
    return has_failed(search) ? -ENOMEM : sweep_dead(search);
}

int ouroi_search_spare(struct ouroi_search *search, const struct ouroi_list *roots)
{
    if (prepare_searchers(search, 1) != 0)
        return -ENOMEM;
    struct ouroi_searcher *mine = &search->searchers[0];
    for (size_t i = 0; i < search->dead.count; i++)
        ouroi_state_set(ouroi_state_at(search->dead.items[i]), OUROI_STATE_INTERNAL);
    set_dead_candidates(search, true);
    for (size_t i = 0; i < roots->count; i++) {
        int8_t *state = ouroi_state_at(roots->items[i]);
        if (*state == OUROI_STATE_INTERNAL)
            reach_root(mine, roots->items[i], state);
    }
    drain(mine);
    return has_failed(search) ? -ENOMEM : sweep_dead(search);
}

/* Giving up. */

static void make_old(int8_t *state, const ouro_object *obj)
{
    if (*state < OUROI_STATE_EXTERNAL && *state != OUROI_STATE_DEAD)
        return;
    ouroi_state_set(state, ouroi_object_is_alive(obj) ? OUROI_STATE_OLD2 : OUROI_STATE_YOUNG);
}

void ouroi_search_abandon(struct ouroi_search *search)
{
    ouroi_hints_drop();
    ouroi_gather_lose_middle();
    if (search->listed) {
        for (size_t i = 0; i < search->dead.count; i++) {
            struct ouroi_slice *slice = ouroi_slice_find((uintptr_t)search->dead.items[i]);
            if (slice == NULL || slice->states == NULL)
                continue;
            slice->candidate = 0;
            if (*ouroi_slice_state(slice, (uintptr_t)search->dead.items[i]) != OUROI_STATE_YOUNG)
                make_old(ouroi_slice_state(slice, (uintptr_t)search->dead.items[i]), search->dead.items[i]);
        }
        return;
    }
    for (size_t i = 0; i < search->patch_count; i++) {
        const struct ouroi_patch *patch = &search->patches[i];
        ouroi_gather_mark(patch->run, false);
        for (uint32_t b = 0; b < patch->blocks; b++)
            if (!patch->sparse || ouroi_pool_is_carved(ouroi_pool_of(patch->run), b))
                make_old(&patch->states[b], ouroi_patch_object(patch, b));
    }
}

void ouroi_search_reset(struct ouroi_search *search)
{
    search->listed = false;
    ouroi_list_reset(&search->dead);
    ouroi_list_reset(&search->finalizers);
    ouroi_list_reset(&search->seen);
    ouroi_list_reset(&search->dead_keys);
    ouroi_table_reset(&search->table);
    for (size_t w = 0; w < search->searcher_room; w++) {
        struct ouroi_searcher *searcher = &search->searchers[w];
        ouroi_list_reset_to(&searcher->stack, search->blocks * STACK_KEPT_EACH / search->searcher_room);
        ouroi_list_reset(&searcher->maps);
        ouroi_list_reset(&searcher->roots);
        free_parcels(searcher);
        ouroi_table_reset(&searcher->own_table);
    }
}

static void make_dead_old(ouro_object *obj, int8_t *state, struct ouroi_walk *walk)
{
    (void)walk;
    if (*state == OUROI_STATE_DEAD)
        make_old(state, obj);
}

void ouroi_search_fork_child(struct ouroi_search *search)
{
    struct ouroi_walk walk = { .fn = make_dead_old };
    ouroi_walk(&walk);
    ouroi_search_reset(search);
}
