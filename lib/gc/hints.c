/* gc/hints.c: objects that were referred to from outside at the last collection of the oldest generation. Reaching from
 * them first spares a mostly living heap the counting.
 *
 * Owns        the hints: addresses, which may name anything by now.
 * Invariants  a hint that is used is in the search's table, as HINT, with its count; every reference to it that a candidate
 *             holds is counted there. It holds if that is less than the count.
 * Sync        the collecting thread, the world being stopped; ouroi_hints_note_root: each searcher for itself.
 */
#include "gc/visit.h"

#include <errno.h>

/* What was referred to from outside at the last collection of the oldest generation, and how often from inside. */
struct hint {
    ouro_object *object;
    int64_t inside;
};
static struct hint *hints;
static size_t hint_count, hint_room;

enum {
    HINTS_MAX = 1 << 20,
    OBJECTS_PER_HINT = 16, /* with fewer, counting is cheaper */
};

/* Roots, for next time. One that cannot be kept for want of memory is not. */
void ouroi_hints_note_root(struct ouroi_searcher *searcher, ouro_object *obj, int8_t state)
{
    int64_t inside = 0;
    if (searcher->roots.count >= 2 * (size_t)HINTS_MAX)
        return;
    if (state != OUROI_STATE_EXTERNAL) {
        inside = ouroi_object_count(obj) - (-1 - state);
    } else {
        const struct ouroi_entry *entry = ouroi_table_find(&searcher->search->table, obj);
        inside = entry != NULL ? entry->seen : 0;
    }
    if (ouroi_list_grow(&searcher->roots, searcher->roots.count + 2) == 0) {
        ouroi_list_push(&searcher->roots, obj);
        ouroi_list_push(&searcher->roots, (void *)(uintptr_t)inside);
    }
}

/* The state of what a hint names, if it may be one still. */
static int8_t *look_at_hint(const struct hint *hint, int64_t *count)
{
    ouro_object *obj = hint->object;
    struct ouroi_slice *slice = ouroi_slice_find((uintptr_t)obj);
    if (slice == NULL || slice->states == NULL || slice->candidate == 0)
        return NULL;
    struct ouroi_run *run = ouroi_atomic_load_relaxed(&slice->run); /* relaxed: the world is stopped */
    size_t offset = (uintptr_t)obj - run->start;
    if (run->kind != OUROI_RUN_POOL ? offset != 0 : offset % ouroi_pool_of(run)->block_bytes != 0)
        return NULL;
    int8_t *state = ouroi_slice_state(slice, (uintptr_t)obj);
    /* relaxed: the world is stopped */
    uint64_t shared = ouroi_atomic_load_relaxed(&obj->ouro_shared_);
    if (*state != OUROI_STATE_YOUNG || !ouroi_shared_is_alive(shared) ||
        (shared & (OURO_SHARED_SPECIAL_ | OURO_FLAG_QUEUED_)) != OURO_FLAG_ALIVE_)
        return NULL;
    *count = ouroi_object_count(obj);
    return *count > hint->inside ? state : NULL;
}

/* Makes hints of what was referred to from outside last time and may be so still, and puts it on the first searcher's stack.
 * False: there is no such thing. */
bool ouroi_hints_take(struct ouroi_search *search)
{
    struct ouroi_searcher *mine = &search->searchers[0];
    bool any = false;
    if (search->generation != 2 || search->has_maps)
        return false;
    for (size_t i = 0; i < hint_count; i++) {
        int64_t count;
        int8_t *state = look_at_hint(&hints[i], &count);
        if (state == NULL)
            continue;
        struct ouroi_entry *entry = ouroi_table_get(&search->table, hints[i].object);
        if (entry == NULL || !ouroi_list_push(&mine->stack, hints[i].object)) {
            search->no_memory = true;
            return true;
        }
        entry->kind = OUROI_ENTRY_HINT;
        entry->count = count;
        ouroi_state_set(state, OUROI_STATE_HINT);
        any = true;
    }
    return any;
}

/* The hints for next time: those that held, and the roots found since. */
void ouroi_hints_keep(struct ouroi_search *search)
{
    size_t count = 0, wanted = search->table.count;
    for (unsigned w = 0; w < search->workers; w++)
        wanted += search->searchers[w].roots.count / 2;
    hint_count = 0;
    if (wanted > HINTS_MAX || wanted > search->candidates / OBJECTS_PER_HINT)
        return;
    if (wanted > hint_room) {
        void *items = hints;
        int rc = ouroi_memory_grow(&items, &hint_room, 0, wanted, sizeof *hints);
        hints = items;
        if (rc != 0)
            return;
    }
    for (size_t i = 0; search->table.count != 0 && i < search->table.room; i++) {
        const struct ouroi_entry *entry = &search->table.entries[i];
        if (entry->object != NULL && entry->kind == OUROI_ENTRY_HINT)
            hints[count++] = (struct hint){ entry->object, entry->seen };
    }
    for (unsigned w = 0; w < search->workers; w++) {
        const struct ouroi_list *roots = &search->searchers[w].roots;
        for (size_t i = 0; i < roots->count; i += 2)
            hints[count++] = (struct hint){ roots->items[i], (int64_t)(uintptr_t)roots->items[i + 1] };
    }
    hint_count = count;
}

bool ouroi_hints_hold(const struct ouroi_search *search)
{
    for (size_t i = 0; search->table.count != 0 && i < search->table.room; i++) {
        const struct ouroi_entry *entry = &search->table.entries[i];
        if (entry->object != NULL && entry->kind == OUROI_ENTRY_HINT && entry->seen >= entry->count)
            return false;
    }
    return true;
}

void ouroi_hints_drop(void)
{
    hint_count = 0;
}
