/* object/object.h: types, counts, the death of objects; what weakref and gc need of them.
 *
 * Owns        the table of types; the merge queues; limbo, where the memory of dead objects waits that other threads may
 *             still look at.
 * Invariants  a tracked object is alive if bit 0 of its shared word is set and DYING is not (ouroi_object_is_alive); free
 *             blocks have a pool's address there, or 0, whose bit 0 is clear.
 *             count = local + shared: the references that exist. It may be negative for the shared part alone, as long as
 *             MERGED is not set. MERGED: owner and local are 0 for good.
 *             Objects of types with refs, items that are refs or traverse come from a thread's `nodes` heap, whose pools have
 *             a table of states, one int8_t a block (ouroi_state_of); all other objects are plain blocks and have none.
 *             A state of 0 is a young object's, or a free block's; every free sets it to 0.
 * Sync        [MERGE]: the shared word and the owner. See world.h for who may use a local count.
 * Source      Choi, Shull, Torrellas, "Biased reference counting", PACT 2018; PEP 703.
 */
#ifndef OUROI_OBJECT_H
#define OUROI_OBJECT_H

#include <ouro/object.h>

#include "world/world.h"

/* Types. What ouro_private_ holds. */
struct ouroi_type {
    uint64_t birth; /* the shared word of a new object */
    uint32_t index; /* bits 31..8 of that; 0: not yet looked at. Bit 0: plain; bit 1: maps_only */
    uint32_t
        bin; /* where in a heap the current pool is for objects without items, from that of class 0; 0: go slowly */
    uint32_t block_bytes; /* of these objects; if bin is not 0 */
    bool tracked;         /* its objects are nodes */
    bool plain;           /* dies with no more ado: no refs, finalize, destroy, clear */
    bool maps_only;       /* its references are all in refs and items: no traverse, clear, finalize or destroy */
    uint64_t spare[2];
};
_Static_assert(sizeof(struct ouroi_type) <= sizeof(((ouro_type *)0)->ouro_private_), "ouro_private_");

OUROI_INLINE struct ouroi_type *ouroi_type_private(const ouro_type *type)
{
    return (struct ouroi_type *)(uintptr_t)type->ouro_private_;
}

/* Type number i is in ouroi_types[i >> 12][i & 4095]. */
extern OUROI_HIDDEN ouro_type **ouroi_types[4096];

#define OUROI_SHARED_PLAIN ((uint64_t)1 << 8) /* the lowest bit of the type's number, */
#define OUROI_SHARED_MAPS ((uint64_t)2 << 8)  /* and the next */

OUROI_INLINE uint32_t ouroi_type_index(uint64_t shared)
{
    return (uint32_t)shared >> 8;
}
OUROI_INLINE ouro_type *ouroi_type_of_shared(uint64_t shared)
{
    uint32_t index = ouroi_type_index(shared);
    return ouroi_types[index >> 12][index & 4095];
}
OUROI_INLINE ouro_type *ouroi_type_of(const ouro_object *obj)
{
    /* relaxed: the type's bits never change */
    return ouroi_type_of_shared(ouroi_atomic_load_relaxed(&obj->ouro_shared_));
}
/* The name without a leading "struct ". */
const char *ouroi_type_name(const ouro_type *type);

/* Looks a type over, gives it a number; 0, -EINVAL, -ENOMEM. Idempotent. O(refs). */
int ouroi_type_ready(ouro_type *type);

size_t ouroi_object_items(const ouro_object *obj);

/* Calls visit(referent slot value, arg) for each reference but NULL, `refs` and items and what traverse visits. */
OUROI_INLINE void ouroi_object_traverse(ouro_object *obj, const ouro_type *type, ouro_visit visit, void *arg)
{
    for (size_t i = 0; i < type->ref_count; i++) {
        /* relaxed: the world is stopped, or the object is the caller's */
        ouro_object *ref = ouroi_atomic_load_relaxed((ouro_object **)(void *)((char *)obj + type->refs[i]));
        if (ref != NULL)
            visit(ref, arg);
    }
    if (type->items_are_refs) {
        ouro_object **items = (ouro_object **)(void *)((char *)obj + type->size);
        size_t count = ouroi_object_items(obj);
        for (size_t i = 0; i < count; i++)
            if (items[i] != NULL)
                visit(items[i], arg);
    }
    if (type->traverse != NULL)
        type->traverse(obj, visit, arg);
}

/* States. */
OUROI_INLINE bool ouroi_shared_is_alive(uint64_t shared)
{
    return (shared & (OURO_FLAG_ALIVE_ | OURO_FLAG_DYING_)) == OURO_FLAG_ALIVE_;
}
OUROI_INLINE bool ouroi_object_is_alive(const ouro_object *obj)
{
    return ouroi_shared_is_alive(ouroi_atomic_load_relaxed(&obj->ouro_shared_)); /* relaxed: as the caller knows */
}

/* The state byte of a tracked object, NULL for what is no node. obj: any object, or any address in a node's block. */
OUROI_INLINE int8_t *ouroi_state_of(const void *obj)
{
    struct ouroi_slice *slice = ouroi_slice_find((uintptr_t)obj);
    return slice != NULL && slice->states != NULL ? ouroi_slice_state(slice, (uintptr_t)obj) : NULL;
}

#define OUROI_COUNT_IMMORTAL (((int64_t)1 << 30) + 1)

/* The count; exact if the world is stopped, or nobody else changes it. Immortal: over 2^30. A distributed object's: its
 * threads' counts summed. 0: it is about to be freed by somebody. */
int64_t ouroi_object_count(const ouro_object *obj);

/* Takes a reference to what may be dying: memory that cannot be freed before the caller's next safepoint (a slot or a weak
 * reference named it just now). False: too late. */
bool ouroi_object_try_incref(ouro_object *obj);

/* Others may use try_incref on it from now on. The caller holds a reference, or the world is stopped. */
void ouroi_object_set_seen(ouro_object *obj);
/* Sets a flag of the shared word. */
uint64_t ouroi_object_set_flag(ouro_object *obj, uint64_t flag);

/* How objects die, in steps, for the collector; world running. The caller holds references that keep them.
 * finalize: runs type->finalize, unless that was done; FINALIZED is set before. */
void ouroi_object_finalize(ouro_object *obj);
/* clear, refs and items set to NULL and dropped. */
void ouroi_object_clear(ouro_object *obj);
/* Bulk: nothing refers to obj any more but other garbage; its references to the living are dropped already. destroy, the
 * memory. Counts are not looked at. */
void ouroi_object_destroy(ouro_object *obj);
/* Only the memory (and its state) of a dead object goes back. */
void ouroi_object_release_memory(ouro_object *obj);
/* The same for many tracked objects without SEEN. */
void ouroi_object_release_many(void *const *objects, size_t count);

/* Called where an object dies by its counts, after finalize and before clear, if SEEN is set: weakref clears and calls
 * back. */
extern OUROI_HIDDEN void (*ouroi_object_weak_hook)(ouro_object *obj);
/* Called by ouro_new* of tracked types, before the object exists, when a thread's allowance of new tracked objects is spent,
 * and not again before it sets allowance and granted anew. */
extern OUROI_HIDDEN void (*ouroi_object_gc_hook)(struct ouroi_thread *thread);

/* What a thread has in this layer: thread->object. It stays with the number. */
struct ouroi_object_thread {
    ouro_object *dying; /* to be freed when the one being freed is done */
    bool draining;
    /* Tracked objects that this thread may still make before gc_hook is called; one that it frees gives one back, up to
     * `granted`. So granted - allowance is what it made less what it freed since both were set: by the thread itself, or by
     * the stopper of the world. */
    int64_t allowance, granted;
    /* the merge queue */
    struct ouroi_lock lock;
    ouro_object **queue;
    size_t queued, room;
    /* limbo */
    struct ouroi_limbo {
        ouro_object *first;
        size_t count;
        uint64_t epoch;
    } filling, waiting;
    /* What this thread counts of distributed objects; NULL: nothing yet. [SUM] */
    struct ouroi_counts *counts;
};
/* By the objects' numbers. Others may be looking at what was outgrown, which stays therefore. */
struct ouroi_counts {
    size_t room;
    int64_t at[];
};
OUROI_INLINE struct ouroi_object_thread *ouroi_object_thread(struct ouroi_thread *thread)
{
    return thread->object;
}

/* Merges what other threads queued for a number, its agent being the caller; of the world's stopper too. Objects whose count is
 * then zero are put on the caller's list; ouroi_object_drain frees them. */
void ouroi_object_merge_queue(struct ouroi_thread *thread);
/* Puts an object whose count is zero on the list of `self`, the calling thread's. The world may be stopped by the caller. */
void ouroi_object_put_dying(struct ouroi_object_thread *self, ouro_object *obj);
/* Frees what is on the caller's list, with no recursion. World running. */
void ouroi_object_drain(struct ouroi_thread *thread);

/* Distributed objects, with the world stopped. sum_up: the object is an ordinary one again, merged, with the sum as its
 * count. collect: does that to those whose sum is zero and puts them on the caller's list; how many. */
void ouroi_distributed_sum_up(ouro_object *obj);
size_t ouroi_distributed_collect(struct ouroi_object_thread *self);

/* Violations found, each one line; the world is stopped. */
unsigned ouroi_object_check(void);
/* The layers above add theirs, with the world stopped. */
extern OUROI_HIDDEN unsigned (*ouroi_object_check_more)(void);

#endif
