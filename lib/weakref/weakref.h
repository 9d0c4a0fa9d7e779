/* weakref/weakref.h: weak references and weak maps; what the collector needs of them.
 *
 * Owns        the table of targets: for each object that is weakly referred to, its weak references and its entries in
 *             maps; the maps' tables.
 * Invariants  an object in the table has SEEN in its shared word, so that its death passes by here: by counts through
 *             ouroi_object_weak_hook, by a collection through a batch. A weak reference's target is not NULL if and only if
 *             it is on its target's list. An entry of a map is on its key's list until weak references to the key are
 *             cleared, and at that moment leaves the map.
 *             A weak map holds a counted reference to each value and none to keys. Its type's traverse visits the values,
 *             so that counting works as with any other object; reaching must not use traverse: see below.
 * Sync        two ranks of locks, WEAK and then WEAKMAP; nothing of the program runs under them, and no safepoint is under
 *             them, so that they are free while the world is stopped. Functions for a stopped world take none, and may be
 *             called from any worker.
 *
 * Source      Hayes, "Ephemerons", OOPSLA 1997.
 */
#ifndef OUROI_WEAKREF_H
#define OUROI_WEAKREF_H

#include <ouro/weakref.h>

#include "object/object.h"

extern OUROI_HIDDEN ouro_type ouroi_weakref_type, ouroi_weakmap_type;

/* By address of the type: obj may be looked at. */
OUROI_INLINE bool ouroi_weakref_is(const ouro_object *obj)
{
    return ouroi_type_of(obj) == &ouroi_weakref_type;
}
OUROI_INLINE bool ouroi_weakmap_is(const ouro_object *obj)
{
    return ouroi_type_of(obj) == &ouroi_weakmap_type;
}

/* Reaching, the world stopped. A value is reached if its map and its key both are. Objects that are no candidates count as
 * reached. Linear in entries, in two halves, of which each must set its own mark before it looks at the other's:
 *   - a map was reached: for each entry whose key is reached, reach the value (ouroi_weakmap_entries);
 *   - an object with SEEN was reached: for each map that has it as a key and is reached, reach the value
 *     (ouroi_weak_maps_of). Not needed if ouroi_weakmap_total() is 0.
 * Marks that are relaxed stores may miss each other: then a last pass over the maps that were reached, repeated until it
 * finds nothing, is needed.
 *
 * A key that is untracked has no state and so cannot be a candidate, though it may be that only garbage refers to it, its
 * own value for instance. Such keys must be counted apart: a table of untracked keys of candidate maps, each with its
 * count; every reference seen from a candidate to an untracked object with SEEN is looked up there and subtracted; what is
 * left over 0 is reached, the others are reached when something reached refers to them. An untracked key that is not
 * reached goes among the dead that ouroi_weak_prepare gets. It then dies by its counts, when what refers to it is cleared. */

/* Slots of the map's table, each empty or an entry, and calls for those in [from, to) that are entries. */
size_t ouroi_weakmap_room(const ouro_object *map);
typedef void (*ouroi_weakmap_visit)(ouro_object *key, ouro_object *value, void *arg);
void ouroi_weakmap_entries(const ouro_object *map, size_t from, size_t to, ouroi_weakmap_visit visit, void *arg);

/* Calls visit(map, value, arg) for each map that has `key` as a key. */
void ouroi_weak_maps_of(const ouro_object *key, ouroi_weakmap_visit visit, void *arg);

/* Entries in all maps. */
size_t ouroi_weakmap_total(void);

/* The death of many at once, in the collector's steps.
 *
 *   stopped  ouroi_weak_prepare; ouroi_weak_saw for references from the dead; ouroi_weak_clear, at which point DYING is set
 *            in the dead by the caller, so that no weak reference to them can be made any more
 *   running  ouroi_weak_call; then, before the dead are cleared, ouroi_weak_drop
 *
 * A batch belongs to one thread at a time. After ouroi_weak_prepare, if it is called off, ouroi_weak_drop alone. */
struct ouroi_weak_batch {
    ouro_object *const *dead;
    size_t count;
    struct ouroi_weak_call *calls; /* weak references that have callbacks: a table by their addresses */
    size_t call_room, call_count;
    /* What ouroi_weak_clear leaves to be done: strong references to those that are called; entries whose values are
     * to be dropped. */
    struct ouroi_weak_death {
        ouro_weakref *first, *last;
        struct ouroi_weak_entry *entries;
    } death;
};

/* Looks at what refers weakly to the dead, which must stay where they are until ouroi_weak_clear; those without SEEN may be
 * left out. 0; or -ENOMEM: nothing has changed and there is nothing to drop. */
int ouroi_weak_prepare(struct ouroi_weak_batch *batch, ouro_object *const *dead, size_t count);

/* Whether a callback may be cancelled because its weak reference is garbage itself. If so, ouroi_weak_saw must be called
 * once for each counted reference from one of the dead to a weak reference: one that has no other references is garbage,
 * and its callback is not called. Not from two workers at once. */
OUROI_INLINE bool ouroi_weak_wants(const struct ouroi_weak_batch *batch)
{
    return batch->call_count != 0;
}
void ouroi_weak_saw(struct ouroi_weak_batch *batch, const ouro_object *referent);

/* Clears every weak reference to the dead and takes them out of maps. Cannot fail. */
void ouroi_weak_clear(struct ouroi_weak_batch *batch);

/* Calls the callbacks, of one object newest first. World running, any registered thread. */
void ouroi_weak_call(struct ouroi_weak_batch *batch);

/* Moves the callbacks that are to be called to `out`, which another thread may have at any later time, for ouroi_weak_call
 * and then ouroi_weak_drop; `batch` is left for ouroi_weak_drop. After ouroi_weak_clear. World stopped or running. */
void ouroi_weak_split(struct ouroi_weak_batch *batch, struct ouroi_weak_batch *out);

/* Gives up the references to values in maps whose keys died: drop(value, arg) for each, NULL: ouro_decref. Such a value may
 * be one of the dead. Frees what the batch has. */
void ouroi_weak_drop(struct ouroi_weak_batch *batch, void (*drop)(ouro_object *value, void *arg), void *arg);

/* Violations found, each one line; the world is stopped. */
unsigned ouroi_weak_check(void);

#endif
