/* weakref/batch.c: what the collector needs: the death of many at once; keys; the check.
 *
 * Invariants  the table of calls, with linear probing, is at most half full and has each weak reference with a callback to one of
 *             the dead.
 * Sync        the world is stopped, and no lock is held or taken, but in ouroi_weak_call and ouroi_weak_drop.
 */
#include "weakref/internal.h"

struct ouroi_weak_call {
    const ouro_weakref *ref; /* NULL: an empty place */
    int64_t seen;            /* references to it from the dead */
};

static struct ouroi_weak_target *find_target(const ouro_object *object)
{
    /* relaxed: the world is stopped */
    if ((ouroi_atomic_load_relaxed(&object->ouro_shared_) & OURO_FLAG_SEEN_) == 0)
        return NULL;
    return ouroi_weak_find(ouroi_weak_shard_of(object), object);
}

/* The place of ref in the table, or the empty one where it belongs. */
static struct ouroi_weak_call *find_call(const struct ouroi_weak_batch *batch, const void *ref)
{
    OURO_ASSERT(batch->call_room != 0);
    size_t i = ouroi_weak_place(ref, batch->call_room);
    while (batch->calls[i].ref != NULL && batch->calls[i].ref != ref)
        i = (i + 1) & (batch->call_room - 1);
    return &batch->calls[i];
}

static size_t each_call(const struct ouroi_weak_batch *batch, bool store)
{
    size_t count = 0;
    for (size_t i = 0; i < batch->count; i++) {
        const struct ouroi_weak_target *target = find_target(batch->dead[i]);
        for (const ouro_weakref *ref = target != NULL ? target->refs : NULL; ref != NULL; ref = ref->next) {
            if (ref->callback == NULL)
                continue;
            count++;
            if (store)
                find_call(batch, ref)->ref = ref;
        }
    }
    return count;
}

int ouroi_weak_prepare(struct ouroi_weak_batch *batch, ouro_object *const *dead, size_t count)
{
    *batch = (struct ouroi_weak_batch){ .dead = dead, .count = count };
    size_t calls = each_call(batch, false);
    if (calls == 0)
        return 0;
    size_t room = (size_t)4 << ouroi_log2(calls); /* at least twice as many */
    batch->calls = ouroi_weak_alloc(room * sizeof *batch->calls);
    if (batch->calls == NULL)
        return -ENOMEM;
    batch->call_room = room;
    batch->call_count = calls;
    (void)each_call(batch, true);
    return 0;
}

void ouroi_weak_saw(struct ouroi_weak_batch *batch, const ouro_object *referent)
{
    if (!ouroi_weakref_is(referent))
        return;
    struct ouroi_weak_call *call = find_call(batch, referent);
    if (call->ref != NULL)
        call->seen++;
}

bool ouroi_weak_is_garbage(const struct ouroi_weak_batch *batch, const ouro_weakref *ref)
{
    const struct ouroi_weak_call *call = find_call(batch, ref);
    OURO_ASSERT(call->ref == ref);
    return call->seen >= ouroi_object_count(&ref->base);
}

void ouroi_weak_clear(struct ouroi_weak_batch *batch)
{
    for (size_t i = 0; i < batch->count; i++) {
        struct ouroi_weak_target *target = find_target(batch->dead[i]);
        if (target != NULL)
            ouroi_weak_detach(ouroi_weak_shard_of(batch->dead[i]), target, batch, &batch->death);
    }
    batch->dead = NULL;
    batch->count = 0;
}

void ouroi_weak_call(struct ouroi_weak_batch *batch)
{
    ouro_weakref *first = batch->death.first;
    batch->death.first = batch->death.last = NULL;
    ouroi_weak_call_back(first);
}

void ouroi_weak_split(struct ouroi_weak_batch *batch, struct ouroi_weak_batch *out)
{
    *out = (struct ouroi_weak_batch){ .death.first = batch->death.first, .death.last = batch->death.last };
    batch->death.first = batch->death.last = NULL;
}

void ouroi_weak_drop(struct ouroi_weak_batch *batch, void (*drop)(ouro_object *value, void *arg), void *arg)
{
    struct ouroi_weak_entry *entries = batch->death.entries;
    batch->death.entries = NULL;
    OURO_ASSERT(batch->death.first == NULL);
    if (batch->calls != NULL)
        ouroi_heap_free(batch->calls);
    batch->calls = NULL;
    ouroi_weak_drop_values(entries, drop, arg);
}

void ouroi_weak_maps_of(const ouro_object *key, ouroi_weakmap_visit visit, void *arg)
{
    const struct ouroi_weak_target *target = find_target(key);
    for (const struct ouroi_weak_entry *entry = target != NULL ? target->entries : NULL; entry != NULL;
         entry = entry->next) {
        ouro_object *value = ouroi_weakmap_value(entry);
        if (value != NULL)
            visit((ouro_object *)entry->to.map, value, arg);
    }
}

size_t ouroi_weakmap_total(void)
{
    size_t total = 0;
    for (unsigned i = 0; i < OUROI_WEAK_SHARDS; i++)
        total += ouroi_weak_shards[i].entry_count;
    return total;
}

/* The check. */

unsigned ouroi_weak_expect(bool is, const char *what, const void *object)
{
    if (!is)
        ouroi_warn("weakref: object %p: %s", object, what);
    return !is;
}

static unsigned check_target(struct ouroi_weak_shard *shard, const struct ouroi_weak_target *target, size_t *entries)
{
    const ouro_object *object = target->object;
    unsigned bad = ouroi_weak_expect(ouroi_weak_shard_of(object) == shard && ouroi_weak_find(shard, object) == target,
                                     "a target in the wrong place", object);
    /* relaxed: the world is stopped */
    uint64_t shared = ouroi_atomic_load_relaxed(&object->ouro_shared_);
    bad += ouroi_weak_expect((shared & OURO_FLAG_ALIVE_) != 0 && (shared & OURO_FLAG_SEEN_) != 0,
                             "a target that is dead, or without SEEN", object);
    bad += ouroi_weak_expect(target->refs != NULL || target->entries != NULL, "a target of nothing", object);
    const ouro_weakref *previous = NULL;
    for (const ouro_weakref *ref = target->refs; ref != NULL; previous = ref, ref = ref->next) {
        bad += ouroi_weak_expect(ouroi_weakref_is(&ref->base), "no weak reference in a list of them", ref);
        bad += ouroi_weak_expect(ref->previous == previous && ref->target == object, "a wrong link, or target", ref);
    }
    const struct ouroi_weak_entry *before = NULL;
    for (const struct ouroi_weak_entry *entry = target->entries; entry != NULL; before = entry, entry = entry->next) {
        bad += ouroi_weak_expect(entry->previous == before && entry->key == object, "a key with a wrong entry", object);
        bool is_map = ouroi_weakmap_is((const ouro_object *)entry->to.map);
        bad += ouroi_weak_expect(is_map, "no map in an entry", object);
        bad += is_map ? ouroi_weakmap_check(entry) : 0;
        ++*entries;
    }
    return bad;
}

unsigned ouroi_weak_check(void)
{
    unsigned bad = 0;
    for (unsigned i = 0; i < OUROI_WEAK_SHARDS; i++) {
        struct ouroi_weak_shard *shard = &ouroi_weak_shards[i];
        size_t count = 0, entries = 0;
        for (size_t k = 0; k < shard->room; k++) {
            if (shard->targets[k].object == NULL)
                continue;
            count++;
            bad += check_target(shard, &shard->targets[k], &entries);
        }
        bad += ouroi_weak_expect(count == shard->count && entries == shard->entry_count, "counts of a shard", shard);
    }
    return bad;
}
