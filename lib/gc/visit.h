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

/* ouroi_state_of, inline. */
OUROI_INLINE int8_t *ouroi_state_at(const void *p)
{
    struct ouroi_slice *slice = ouroi_slice_at(p);
    return OUROI_LIKELY(slice != NULL && slice->states != NULL) ? ouroi_slice_state(slice, (uintptr_t)p) : NULL;
}

/* Marked addresses: in the last four bits how long the block is, in units of 16 bytes, 8 for what is longer; so that no more
 * of it is asked for than there is. That is the mark of a run's slices while its objects are candidates. */
#define OUROI_MARK_LONG 8u

OUROI_INLINE void ouroi_slice_set_candidate(struct ouroi_slice *slice, bool is)
{
    struct ouroi_run *run = ouroi_atomic_load_relaxed(&slice->run); /* relaxed: the world is stopped */
    uint32_t units = is && run->kind == OUROI_RUN_POOL ? ouroi_pool_of(run)->block_bytes / 16 : OUROI_MARK_LONG;
    slice->candidate = (uint8_t)(!is ? 0 : units < OUROI_MARK_LONG ? units : OUROI_MARK_LONG);
}

OUROI_INLINE ouro_object *ouroi_unmark(uintptr_t marked)
{
    return (ouro_object *)(marked & ~(uintptr_t)15);
}

/* Asks for an object's memory: where it begins, and the next line if a good part of it lies there. */
OUROI_INLINE void ouroi_object_prefetch(uintptr_t marked)
{
    uintptr_t mark = marked & 15;
    const char *p = (const char *)(marked - mark);
    __builtin_prefetch(p);
    __builtin_prefetch(p + mark * 8 + 8);
}

/* Asks for an object of a list that is walked, ahead of time. */
OUROI_INLINE void ouroi_list_prefetch(const struct ouroi_list *list, size_t index, size_t count)
{
    if (index + OUROI_QUEUE < count)
        ouroi_object_prefetch((uintptr_t)list->items[index + OUROI_QUEUE] + OUROI_MARK_LONG);
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

/* Counting: from YOUNG to how often a candidate is referred to. This is for what is not alive, or whose count is more than a
 * byte can hold, or somewhere else (search.c). */
void ouroi_count_special(struct ouroi_searcher *searcher, ouro_object *obj, int8_t *state);

/* Returns the shared word, 0 for what is special. */
OUROI_INLINE uint64_t ouroi_count_object(struct ouroi_searcher *searcher, ouro_object *obj, int8_t *state)
{
    uint64_t shared = ouroi_atomic_load_relaxed(&obj->ouro_shared_); /* relaxed: the world is stopped */
    const uint64_t special = OURO_SHARED_SPECIAL_ | OURO_FLAG_QUEUED_ | OURO_FLAG_DYING_;
    uint32_t local = (uint32_t)OUROI_OWNED_GET_PLAIN(&obj->ouro_local_); /* of a free block, anything */
    uint32_t less_one = (uint32_t)(shared >> 32) - (uint32_t)(OURO_SHARED_ZERO_ >> 32) + local - 1;
    if (OUROI_UNLIKELY((shared & special) != OURO_FLAG_ALIVE_ || less_one >= OUROI_COUNT_MAX)) {
        ouroi_count_special(searcher, obj, state);
        return 0;
    }
    ouroi_state_set(state, (int8_t)(-2 - (int32_t)less_one));
    searcher->balance += less_one + (int64_t)1;
    if (OUROI_UNLIKELY(searcher->search->has_maps) && ouroi_weakmap_is(obj))
        ouroi_search_note_keys(searcher, obj);
    return shared;
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

/* The ring: what was seen last gives way to what was seen OUROI_RING references ago, whose state is in the cache by now. */
OUROI_INLINE struct ouroi_seen ouroi_ring_exchange(struct ouroi_searcher *searcher, int8_t *state, uintptr_t marked)
{
    __builtin_prefetch(state, 1);
    struct ouroi_seen *slot = &searcher->ring[searcher->ring_at++ % OUROI_RING];
    struct ouroi_seen old = *slot;
    slot->state = state;
    slot->marked = marked;
    return old;
}

OUROI_INLINE struct ouroi_seen ouroi_ring_take(struct ouroi_searcher *searcher)
{
    struct ouroi_seen *slot = &searcher->ring[searcher->ring_at++ % OUROI_RING];
    struct ouroi_seen old = *slot;
    slot->state = NULL;
    return old;
}

OUROI_INLINE void ouroi_subtract_ring(struct ouroi_searcher *searcher, bool shared)
{
    for (unsigned i = 0; i < OUROI_RING; i++) {
        struct ouroi_seen old = ouroi_ring_take(searcher);
        if (old.state != NULL)
            ouroi_subtract_state(searcher, old.state, (ouro_object *)old.marked, shared);
    }
}

OUROI_INLINE void ouroi_subtract_visit(struct ouroi_searcher *searcher, ouro_object *obj, bool shared)
{
    searcher->balance--;
    struct ouroi_slice *slice = ouroi_slice_at(obj);
    if (OUROI_UNLIKELY(slice == NULL || slice->candidate == 0)) {
        if (OUROI_UNLIKELY(searcher->search->keys != 0) && (slice == NULL || slice->states == NULL))
            ouroi_search_saw_untracked(searcher, obj);
        return;
    }
    int8_t *state = ouroi_slice_state(slice, (uintptr_t)obj);
    if (OURO_DEBUG) { /* while `from` is known */
        ouroi_subtract_state(searcher, state, obj, shared);
        return;
    }
    struct ouroi_seen old = ouroi_ring_exchange(searcher, state, (uintptr_t)obj);
    if (OUROI_LIKELY(old.state != NULL))
        ouroi_subtract_state(searcher, old.state, (ouro_object *)old.marked, shared);
}

/* Whether a candidate's references are to be subtracted. */
OUROI_INLINE bool ouroi_state_is_subtracted(int8_t state)
{
    return ouroi_state_is_unreached(state) || state == OUROI_STATE_TABLED;
}

/* Reaching. first: in the first phase, where what was not looked at has state YOUNG and hints are counted. */

OUROI_INLINE bool ouroi_state_is_to_reach(int8_t state, bool first)
{
    return first ? state == OUROI_STATE_YOUNG : ouroi_state_is_unreached(state);
}

OUROI_INLINE void ouroi_reach_push(struct ouroi_searcher *searcher, uintptr_t marked)
{
    if (OUROI_UNLIKELY(!ouroi_list_push(&searcher->stack, (void *)marked)))
        searcher->failed = true;
}

void ouroi_reach_hint(struct ouroi_searcher *searcher, ouro_object *obj);
void ouroi_reach_untracked(struct ouroi_searcher *searcher, ouro_object *obj);

OUROI_INLINE void ouroi_reach_state(struct ouroi_searcher *searcher, int8_t *state, uintptr_t marked, bool first)
{
    int8_t value = ouroi_state_get(state);
    if (ouroi_state_is_to_reach(value, first)) {
        ouroi_state_set(state, OUROI_STATE_REACHED);
        ouroi_reach_push(searcher, marked);
    } else if (first && OUROI_UNLIKELY(value == OUROI_STATE_HINT)) {
        ouroi_reach_hint(searcher, ouroi_unmark(marked));
    }
}

OUROI_INLINE void ouroi_reach_ring(struct ouroi_searcher *searcher, bool first)
{
    for (unsigned i = 0; i < OUROI_RING; i++) {
        struct ouroi_seen old = ouroi_ring_take(searcher);
        if (old.state != NULL)
            ouroi_reach_state(searcher, old.state, old.marked, first);
    }
}

OUROI_INLINE void ouroi_reach_visit(struct ouroi_searcher *searcher, ouro_object *obj, bool first)
{
    searcher->balance += !first;
    struct ouroi_slice *slice = ouroi_slice_at(obj);
    if (OUROI_UNLIKELY(slice == NULL || slice->candidate == 0)) {
        if (OUROI_UNLIKELY(searcher->search->keys != 0) && (slice == NULL || slice->states == NULL))
            ouroi_reach_untracked(searcher, obj);
        return;
    }
    struct ouroi_seen old =
        ouroi_ring_exchange(searcher, ouroi_slice_state(slice, (uintptr_t)obj), (uintptr_t)obj + slice->candidate);
    if (OUROI_LIKELY(old.state != NULL))
        ouroi_reach_state(searcher, old.state, old.marked, first);
}

/* As ouroi_object_traverse, with `each` inline where a map names the references. visit: the same for traverse. */
OUROI_INLINE void ouroi_visit_each(struct ouroi_searcher *searcher, ouro_object *obj, const ouro_type *type,
                                   void (*each)(struct ouroi_searcher *searcher, ouro_object *obj, bool flag),
                                   bool flag, ouro_visit visit)
{
    const uint16_t *end = type->refs != NULL ? type->refs + type->ref_count : NULL; /* nothing is added to NULL */
    for (const uint16_t *at = type->refs; at != end; at++) {
        /* relaxed: the world is stopped */
        ouro_object *ref = ouroi_atomic_load_relaxed((ouro_object **)(void *)((char *)obj + *at));
        if (ref != NULL)
            each(searcher, ref, flag);
    }
    if (type->items_are_refs) {
        ouro_object **items = (ouro_object **)(void *)((char *)obj + type->size);
        size_t count = ouroi_object_items(obj);
        for (size_t i = 0; i < count; i++)
            if (items[i] != NULL)
                each(searcher, items[i], flag);
    }
    if (OUROI_UNLIKELY(type->traverse != NULL))
        type->traverse(obj, visit, searcher);
}

/* The count of one that is not special. */
OUROI_INLINE int64_t ouroi_count_of(const ouro_object *obj)
{
    uint64_t shared = ouroi_atomic_load_relaxed(&obj->ouro_shared_); /* relaxed: the world is stopped */
    return (int64_t)(shared >> 32) - (int64_t)(OURO_SHARED_ZERO_ >> 32) + obj->ouro_local_;
}

/* Looks into an object that was reached. visit: the caller's, constant. */
OUROI_INLINE void ouroi_reach_into(struct ouroi_searcher *searcher, ouro_object *obj, bool first, ouro_visit visit)
{
    const ouro_type *type = ouroi_type_of(obj);
    searcher->balance -= first ? 0 : ouroi_count_of(obj);
    if (OUROI_UNLIKELY(searcher->search->has_maps)) {
        /* relaxed: the world is stopped */
        if ((ouroi_atomic_load_relaxed(&obj->ouro_shared_) & OURO_FLAG_SEEN_) != 0)
            ouroi_reach_key(searcher, obj, visit);
        if (type == &ouroi_weakmap_type) {
            ouroi_reach_map(searcher, obj, visit);
            return;
        }
    }
    ouroi_visit_each(searcher, obj, type, ouroi_reach_visit, first, visit);
}

/* Follows a chain while there is nothing else to do, with no queue: what each object leads to is looked into at once, if it is
 * one. Returns an object that has to be looked into in the general way, or NULL. */
OUROI_INLINE ouro_object *ouroi_reach_chain(struct ouroi_searcher *searcher, ouro_object *obj, bool first)
{
    uint32_t known = 0;
    const uint16_t *refs = NULL, *end = NULL;
    do {
        /* The type is compared, so that the next object's address does not have to wait for it.
         * relaxed: a type's bits never change */
        uint32_t index = ouroi_type_index(ouroi_atomic_load_relaxed(&obj->ouro_shared_));
        if (OUROI_UNLIKELY(index != known)) {
            const ouro_type *type = ouroi_type_of(obj);
            if (type->items_are_refs || type->traverse != NULL)
                return obj;
            known = index;
            refs = type->refs;
            end = refs + type->ref_count;
        }
        ouro_object *next = NULL;
        searcher->balance -= first ? 0 : ouroi_count_of(obj);
        for (const uint16_t *at = refs; at != end; at++) {
            /* relaxed: the world is stopped */
            ouro_object *ref = ouroi_atomic_load_relaxed((ouro_object **)(void *)((char *)obj + *at));
            struct ouroi_slice *slice = ref != NULL ? ouroi_slice_at(ref) : NULL;
            searcher->balance += !first && ref != NULL;
            if (slice == NULL || slice->candidate == 0)
                continue;
            int8_t *state = ouroi_slice_state(slice, (uintptr_t)ref);
            int8_t value = ouroi_state_get(state);
            if (ouroi_state_is_to_reach(value, first)) {
                ouroi_state_set(state, OUROI_STATE_REACHED);
                if (next != NULL)
                    ouroi_reach_push(searcher, (uintptr_t)next + OUROI_MARK_LONG);
                next = ref;
            } else if (first && OUROI_UNLIKELY(value == OUROI_STATE_HINT)) {
                ouroi_reach_hint(searcher, ref);
            }
        }
        obj = next;
    } while (obj != NULL && searcher->stack.count == 0);
    if (obj != NULL)
        ouroi_reach_push(searcher, (uintptr_t)obj + OUROI_MARK_LONG);
    return NULL;
}

/* The next object to look into, whose memory was asked for a while ago; NULL: there is none. */
OUROI_INLINE ouro_object *ouroi_reach_next(struct ouroi_searcher *searcher, bool first)
{
    for (;;) {
        ouro_object *obj;
        if (OUROI_LIKELY(searcher->stack.count != 0)) {
            uintptr_t new = (uintptr_t)searcher->stack.items[--searcher->stack.count];
            ouroi_object_prefetch(new);
            ouro_object **slot = &searcher->queue[searcher->queue_at++ % OUROI_QUEUE];
            obj = *slot;
            *slot = ouroi_unmark(new);
            if (OUROI_LIKELY(obj != NULL))
                return obj;
            searcher->queued++;
            continue;
        }
        if (searcher->queued <= OUROI_QUEUE / 4) {
            ouroi_reach_ring(searcher, first);
            if (searcher->stack.count != 0)
                continue;
            if (searcher->queued == 0)
                return NULL;
        }
        ouro_object **slot;
        do
            slot = &searcher->queue[searcher->queue_at++ % OUROI_QUEUE];
        while (*slot == NULL);
        obj = *slot;
        *slot = NULL;
        searcher->queued--;
        if (searcher->queued != 0 || searcher->search->has_maps)
            return obj;
        obj = ouroi_reach_chain(searcher, obj, first);
        if (obj != NULL)
            return obj;
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
    uint64_t flags = 0;
    for (uint32_t at = 0; at < patch->blocks; at += 8) {
        uint64_t mask = ouroi_patch_mask(patch, at, ouroi_mask_young);
        while (mask != 0) {
            uint32_t index = ouroi_mask_next(&mask, at);
            if (OUROI_UNLIKELY(patch->sparse) && !ouroi_pool_is_carved(ouroi_pool_of(patch->run), index))
                continue;
            flags |= ouroi_count_object(searcher, ouroi_patch_object(patch, index), &patch->states[index]);
        }
    }
    searcher->flags |= flags;
}

OUROI_INLINE void ouroi_subtract_patch(struct ouroi_searcher *searcher, const struct ouroi_patch *patch, bool shared,
                                       ouro_visit visit)
{
    bool odd = false;
    for (uint32_t at = 0; at < patch->blocks; at += 8) {
        uint64_t mask = ouroi_patch_mask(patch, at, ouroi_mask_subtracted);
        while (mask != 0) {
            ouro_object *obj = ouroi_patch_object(patch, ouroi_mask_next(&mask, at));
            if (OURO_DEBUG)
                searcher->from = obj;
            const ouro_type *type = ouroi_type_of(obj);
            odd |= !ouroi_type_private(type)->maps_only;
            ouroi_visit_each(searcher, obj, type, ouroi_subtract_visit, shared, visit);
        }
    }
    searcher->odd |= odd;
}

/* search.c, for parallel.c */
void ouroi_search_sweep_patch(struct ouroi_search *search, struct ouroi_patch *patch);

#endif
