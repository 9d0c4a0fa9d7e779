/* gc/visit.h: what is done with one object, or one reference, in each phase of a search; compiled twice, for the only
 * searcher and for one of several (`shared`).
 *
 * Sync        the world is stopped; phases are apart by ouroi_workers_run. States that other searchers change meanwhile are
 *             written by relaxed operations: what a searcher reads that is out of date costs a second look, no more.
 */
#ifndef OUROI_GC_VISIT_H
#define OUROI_GC_VISIT_H

#include "gc/internal.h"

OUROI_INLINE struct ouroi_slice *ouroi_slice_at(const void *p)
{
    struct ouroi_slice *slice = ouroi_window_slice((uintptr_t)p);
    return OUROI_LIKELY(slice != NULL) ? slice : ouroi_slice_find((uintptr_t)p);
}

OUROI_INLINE bool ouroi_state_is_counted(int8_t state) /* -(1 + n), n > 0 */
{
    return (uint8_t)(state + OUROI_COUNT_MAX + 1) < OUROI_COUNT_MAX;
}
OUROI_INLINE bool ouroi_state_is_unreached(int8_t state) /* EXTERNAL to INTERNAL */
{
    return (uint8_t)(state - OUROI_STATE_EXTERNAL) <= (uint8_t)(OUROI_STATE_INTERNAL - OUROI_STATE_EXTERNAL);
}

void ouroi_search_fail_visits(const struct ouroi_searcher *searcher, const ouro_object *object);
/* A weak map among the candidates: its untracked keys go to the table. */
void ouroi_search_note_keys(struct ouroi_searcher *searcher, const ouro_object *map);
void ouroi_search_saw_untracked(struct ouroi_searcher *searcher, ouro_object *object);
/* Weak maps' part of looking into what was reached. */
void ouroi_reach_map(struct ouroi_searcher *searcher, ouro_object *map, ouro_visit visit);
void ouroi_reach_key(struct ouroi_searcher *searcher, ouro_object *key, ouro_visit visit);

/* Counting: from YOUNG to how often a candidate is referred to. */
OUROI_INLINE void ouroi_count_object(struct ouroi_searcher *searcher, ouro_object *obj, int8_t *state)
{
    uint64_t shared = ouroi_atomic_load_relaxed(&obj->ouro_shared_); /* relaxed: the world is stopped */
    if (!ouroi_shared_is_alive(shared))
        return;
    int64_t count;
    int8_t value = OUROI_STATE_EXTERNAL;
    if (OUROI_LIKELY((shared & (OURO_SHARED_SPECIAL_ | OURO_FLAG_QUEUED_)) == OURO_FLAG_ALIVE_)) {
        count = (int64_t)(shared >> 32) - (int64_t)(OURO_SHARED_ZERO_ >> 32) + obj->ouro_local_;
        if (OUROI_UNLIKELY(count <= 0))
            return; /* somebody is about to free it: what it refers to lives until then */
    } else if ((shared & (OURO_FLAG_QUEUED_ | OURO_FLAG_DISTRIBUTED_)) == OURO_FLAG_DISTRIBUTED_) {
        count = ouroi_object_count(obj);
    } else { /* immortal, or waiting in the queue of a thread that a signal stopped */
        count = INT64_MAX;
    }
    searcher->candidates++;
    if (OUROI_LIKELY(count <= OUROI_COUNT_MAX)) {
        value = (int8_t)(-1 - count);
    } else if (count != INT64_MAX) {
        struct ouroi_entry *entry = ouroi_table_get(searcher->table, obj);
        if (OUROI_UNLIKELY(entry == NULL)) {
            searcher->failed = true;
            return;
        }
        entry->count = count;
        value = OUROI_STATE_TABLED;
    }
    ouroi_state_set(state, value);
    if (OUROI_UNLIKELY(searcher->search->has_maps) && ouroi_weakmap_is(obj))
        ouroi_search_note_keys(searcher, obj);
}

/* Subtracting: a reference from a candidate was seen. */
OUROI_INLINE void ouroi_subtract_state(struct ouroi_searcher *searcher, int8_t *state, ouro_object *obj, bool shared)
{
    int8_t value = ouroi_state_get(state);
    if (OUROI_LIKELY(ouroi_state_is_counted(value))) {
        if (shared)
            ouroi_atomic_fetch_add_relaxed(state, 1); /* relaxed: a count, read after the phase */
        else
            ouroi_state_set(state, (int8_t)(value + 1));
    } else if (value == OUROI_STATE_TABLED || value == OUROI_STATE_HINT) {
        struct ouroi_entry *entry = ouroi_table_get(searcher->table, obj);
        if (OUROI_LIKELY(entry != NULL))
            entry->seen++;
        else
            searcher->failed = true;
    } else if (OURO_DEBUG && value == OUROI_STATE_INTERNAL) {
        ouroi_search_fail_visits(searcher, obj);
    }
}

OUROI_INLINE void ouroi_subtract_oldest(struct ouroi_searcher *searcher, bool shared)
{
    unsigned at = searcher->ring_first;
    searcher->ring_first = (at + 1) % OUROI_RING;
    searcher->ring_count--;
    ouroi_subtract_state(searcher, searcher->ring[at].state, searcher->ring[at].object, shared);
}

OUROI_INLINE void ouroi_ring_push(struct ouroi_searcher *searcher, int8_t *state, ouro_object *obj)
{
    __builtin_prefetch(state, 1);
    unsigned at = (searcher->ring_first + searcher->ring_count) % OUROI_RING;
    searcher->ring[at].state = state;
    searcher->ring[at].object = obj;
    searcher->ring_count++;
}

OUROI_INLINE void ouroi_subtract_visit(struct ouroi_searcher *searcher, ouro_object *obj, bool shared)
{
    struct ouroi_slice *slice = ouroi_slice_at(obj);
    if (OUROI_UNLIKELY(slice == NULL || !slice->candidate)) {
        if (OUROI_UNLIKELY(searcher->search->keys != 0) && (slice == NULL || slice->states == NULL))
            ouroi_search_saw_untracked(searcher, obj);
        return;
    }
    int8_t *state = ouroi_slice_state(slice, (uintptr_t)obj);
    if (OURO_DEBUG) { /* while `from` is known */
        ouroi_subtract_state(searcher, state, obj, shared);
        return;
    }
    if (searcher->ring_count == OUROI_RING)
        ouroi_subtract_oldest(searcher, shared);
    ouroi_ring_push(searcher, state, obj);
}

/* Whether a candidate's references are to be subtracted. */
OUROI_INLINE bool ouroi_state_is_subtracted(int8_t state)
{
    return ouroi_state_is_unreached(state) || state == OUROI_STATE_TABLED;
}

/* Reaching. first: in the first phase, where what was not looked at has state YOUNG and hints are counted. */
OUROI_INLINE void ouroi_reach_state(struct ouroi_searcher *searcher, int8_t *state, ouro_object *obj, bool first)
{
    int8_t value = ouroi_state_get(state);
    if (first ? value == OUROI_STATE_YOUNG : ouroi_state_is_unreached(value)) {
        ouroi_state_set(state, OUROI_STATE_REACHED);
        if (OUROI_UNLIKELY(!ouroi_list_push(&searcher->stack, obj)))
            searcher->failed = true;
    } else if (first && OUROI_UNLIKELY(value == OUROI_STATE_HINT)) {
        struct ouroi_entry *entry = ouroi_table_get(searcher->table, obj);
        if (OUROI_LIKELY(entry != NULL))
            entry->seen++;
        else
            searcher->failed = true;
    }
}

OUROI_INLINE void ouroi_reach_oldest(struct ouroi_searcher *searcher, bool first)
{
    unsigned at = searcher->ring_first;
    searcher->ring_first = (at + 1) % OUROI_RING;
    searcher->ring_count--;
    ouroi_reach_state(searcher, searcher->ring[at].state, searcher->ring[at].object, first);
}

OUROI_INLINE void ouroi_reach_visit(struct ouroi_searcher *searcher, ouro_object *obj, bool first)
{
    struct ouroi_slice *slice = ouroi_slice_at(obj);
    if (OUROI_UNLIKELY(slice == NULL || !slice->candidate)) {
        if (OUROI_UNLIKELY(searcher->search->keys != 0) && (slice == NULL || slice->states == NULL)) {
            struct ouroi_entry *entry = ouroi_table_find(&searcher->search->table, obj);
            if (entry != NULL && !ouroi_atomic_load_relaxed(&entry->reached)) { /* relaxed: twice does no harm */
                ouroi_atomic_store_relaxed(&entry->reached, true);              /* relaxed: the same */
                if (!ouroi_list_push(&searcher->stack, obj))
                    searcher->failed = true;
            }
        }
        return;
    }
    if (searcher->ring_count == OUROI_RING)
        ouroi_reach_oldest(searcher, first);
    ouroi_ring_push(searcher, ouroi_slice_state(slice, (uintptr_t)obj), obj);
}

/* Looks into an object that was reached. visit: the caller's, constant. */
OUROI_INLINE void ouroi_reach_into(struct ouroi_searcher *searcher, ouro_object *obj, ouro_visit visit)
{
    const ouro_type *type = ouroi_type_of(obj);
    if (OUROI_UNLIKELY(searcher->search->has_maps)) {
        /* relaxed: the world is stopped */
        if ((ouroi_atomic_load_relaxed(&obj->ouro_shared_) & OURO_FLAG_SEEN_) != 0)
            ouroi_reach_key(searcher, obj, visit);
        if (type == &ouroi_weakmap_type) {
            ouroi_reach_map(searcher, obj, visit);
            return;
        }
    }
    ouroi_object_traverse(obj, type, visit, searcher);
}

/* The next object to look into, whose memory was asked for a while ago; NULL: there is none. */
OUROI_INLINE ouro_object *ouroi_reach_next(struct ouroi_searcher *searcher, bool first)
{
    for (;;) {
        while (searcher->queue_count < OUROI_QUEUE && searcher->stack.count != 0) {
            ouro_object *obj = searcher->stack.items[--searcher->stack.count];
            __builtin_prefetch(obj);
            searcher->queue[(searcher->queue_first + searcher->queue_count++) % OUROI_QUEUE] = obj;
        }
        if (searcher->queue_count != 0) {
            ouro_object *obj = searcher->queue[searcher->queue_first];
            searcher->queue_first = (searcher->queue_first + 1) % OUROI_QUEUE;
            searcher->queue_count--;
            return obj;
        }
        if (searcher->ring_count == 0)
            return NULL;
        ouroi_reach_oldest(searcher, first);
    }
}

/* Patches, eight states at a time. The masks have the highest bit of each byte that is meant. */
#define OUROI_BYTES(x) ((uint64_t)(x)*0x0101010101010101u)

OUROI_INLINE uint64_t ouroi_mask_young(uint64_t word)
{
    return ~(((word & OUROI_BYTES(0x7f)) + OUROI_BYTES(0x7f)) | word) & OUROI_BYTES(0x80);
}
OUROI_INLINE uint64_t ouroi_mask_subtracted(uint64_t word) /* EXTERNAL to INTERNAL, TABLED */
{
    uint64_t low = word & OUROI_BYTES(0x7f);
    return ((word & (low + OUROI_BYTES(0x79))) | (~word & (low + OUROI_BYTES(2)) & ~(low + OUROI_BYTES(1)))) &
           OUROI_BYTES(0x80);
}
OUROI_INLINE uint64_t ouroi_mask_root(uint64_t word) /* EXTERNAL, and up to but not INTERNAL */
{
    uint64_t low = word & OUROI_BYTES(0x7f);
    return word & (low + OUROI_BYTES(0x79)) & ~(low + OUROI_BYTES(1)) & OUROI_BYTES(0x80);
}
OUROI_INLINE uint64_t ouroi_mask_dead(uint64_t word)
{
    return ouroi_mask_young(word ^ OUROI_BYTES((uint8_t)OUROI_STATE_DEAD));
}

/* The mask of `kind` over the eight states from `at` on, or as many as there are. */
OUROI_INLINE uint64_t ouroi_patch_mask(const struct ouroi_patch *patch, uint32_t at, uint64_t (*kind)(uint64_t word))
{
    uint64_t word = 0;
    if (OUROI_LIKELY(patch->blocks - at >= 8)) {
        /* Other searchers write single bytes of it meanwhile; what is out of date is looked at again.
         * relaxed: see ouroi_state_get; a patch's states are aligned to 8 */
        word = ouroi_atomic_load_relaxed((const uint64_t *)(const void *)&patch->states[at]);
        return kind(word);
    }
    for (uint32_t i = 0; i < patch->blocks - at; i++)
        word |= (uint64_t)(uint8_t)ouroi_state_get(&patch->states[at + i]) << 8 * i;
    return kind(word) & ouroi_low_bits(8 * (patch->blocks - at));
}
OUROI_INLINE uint32_t ouroi_mask_next(uint64_t *mask, uint32_t at)
{
    uint32_t index = at + ouroi_ctz64(*mask) / 8;
    *mask &= *mask - 1;
    return index;
}

OUROI_INLINE ouro_object *ouroi_patch_object(const struct ouroi_patch *patch, uint32_t index)
{
    return (ouro_object *)(patch->start + (uintptr_t)index * patch->block_bytes);
}

OUROI_INLINE void ouroi_count_patch(struct ouroi_searcher *searcher, const struct ouroi_patch *patch)
{
    for (uint32_t at = 0; at < patch->blocks; at += 8) {
        uint64_t mask = ouroi_patch_mask(patch, at, ouroi_mask_young);
        while (mask != 0) {
            uint32_t index = ouroi_mask_next(&mask, at);
            if (OUROI_UNLIKELY(patch->sparse) && !ouroi_pool_is_carved(ouroi_pool_of(patch->run), index))
                continue;
            ouroi_count_object(searcher, ouroi_patch_object(patch, index), &patch->states[index]);
        }
    }
}

OUROI_INLINE void ouroi_subtract_patch(struct ouroi_searcher *searcher, const struct ouroi_patch *patch,
                                       ouro_visit visit)
{
    for (uint32_t at = 0; at < patch->blocks; at += 8) {
        uint64_t mask = ouroi_patch_mask(patch, at, ouroi_mask_subtracted);
        while (mask != 0) {
            ouro_object *obj = ouroi_patch_object(patch, ouroi_mask_next(&mask, at));
            if (OURO_DEBUG)
                searcher->from = obj;
            ouroi_object_traverse(obj, ouroi_type_of(obj), visit, searcher);
        }
    }
}

/* search.c, for parallel.c */
void ouroi_search_note_root(struct ouroi_searcher *searcher, ouro_object *obj, int8_t state);
void ouroi_search_sweep_patch(struct ouroi_search *search, struct ouroi_patch *patch);

#endif
