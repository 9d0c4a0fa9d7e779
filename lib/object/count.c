/* object/count.c: counting where plain arithmetic by the owner does not do; merging.
 *
 * Invariants  see object.h. QUEUED: somebody dropped more than was shared; the object is in its owner's queue, or on its way
 *             there, and is not freed before it was merged by way of it. Then the owner's own count may pass zero and go
 *             below.
 * Sync        [MERGE]: owner and local are written before the shared word says MERGED, and both by the number's agent. Who
 *             drops a reference releases what it wrote to the object; who finds the count zero acquires.
 *             [HAND-OVER]: the queue's lock; the dropper looks at the owner's state after it has pushed, the owner at its
 *             queue after it has changed its state, so that one of them sees the other.
 * Source      Choi, Shull, Torrellas 2018; PEP 703. There the dropper waits for the owner; here it merges for an owner that is
 *             blocked or gone.
 */
#include <errno.h>
#include <string.h>

#include "object/internal.h"

void ouroi_object_misuse(const ouro_object *obj, const char *what)
{
    /* relaxed: on the way to an abort */
    uint64_t shared = ouroi_atomic_load_relaxed(&obj->ouro_shared_);
    const ouro_type *type = NULL;
    struct ouroi_run *run = ouroi_run_find(obj);
    if (run == NULL)
        ouroi_fail("%s of %p, which is not an object of this heap", what, (const void *)obj);
    if ((shared & OURO_FLAG_ALIVE_) != 0)
        type = ouroi_type_numbered(ouroi_type_index(shared));
    else
        type = ouroi_object_dead_type(obj);
    ouroi_fail("%s of object %p of type %s", what, (const void *)obj, ouroi_type_name(type));
}

uint64_t ouroi_object_set_flag(ouro_object *obj, uint64_t flag)
{
    uint64_t shared = ouroi_atomic_load_relaxed(&obj->ouro_shared_); /* relaxed: a first guess for the swap */
    while ((shared & flag) == 0 && !ouroi_atomic_cas_relaxed(&obj->ouro_shared_, &shared, shared | flag)) {
        /* relaxed: a flag on its own */
    }
    return shared;
}

void ouroi_object_set_seen(ouro_object *obj)
{
    ouroi_object_set_flag(obj, OURO_FLAG_SEEN_);
}

/* The agent of its owner merges it; whether the count is zero now. */
static bool merge(ouro_object *obj)
{
    int64_t local = OUROI_OWNED_GET(&obj->ouro_local_); /* model: count.merge.1 */
    OUROI_OWNED_SET(&obj->ouro_local_, 0);
    ouroi_atomic_store_relaxed(&obj->ouro_owner_, 0); /* relaxed: before the swap's release. model: count.merge.2 */
    uint64_t shared = ouroi_atomic_load_relaxed(&obj->ouro_shared_), next; /* relaxed: a first guess */
    do {
        next = ((shared + (uint64_t)local * OURO_SHARED_ONE_) | OURO_FLAG_MERGED_) & ~(uint64_t)OURO_FLAG_QUEUED_;
        /* [MERGE publish] release and acquire, pairs with [MERGE drop]: owner and local, and what who dropped it wrote.
         * model: count.merge.3 */
    } while (!ouroi_atomic_cas_acq_rel(&obj->ouro_shared_, &shared, next));
    if ((next & OURO_FLAG_IMMORTAL_) != 0)
        return false;
    if (OUROI_UNLIKELY(ouroi_shared_count(next) < 0))
        ouroi_object_misuse(obj, "count below zero");
    return ouroi_shared_count(next) == 0;
}

void ouroi_object_merge_queue(struct ouroi_thread *thread)
{
    struct ouroi_object_thread *of = ouroi_object_thread(thread);
    struct ouroi_object_thread *self = ouroi_object_self;
    if (of == NULL)
        return;
    ouroi_lock_acquire(&of->lock);
    for (size_t i = 0; i < of->queued; i++)
        if (merge(of->queue[i]))
            ouroi_object_put_dying(self, of->queue[i]);
    of->queued = 0;
    ouroi_lock_release(&of->lock);
}

enum { QUEUE_LEAST = 64 };

static bool push(struct ouroi_object_thread *of, ouro_object *obj)
{
    bool done = true;
    ouroi_lock_acquire(&of->lock);
    if (of->queued == of->room) {
        size_t room = of->room == 0 ? QUEUE_LEAST : 2 * of->room;
        ouro_object **more = ouroi_heap_realloc(of->queue, room * sizeof *more);
        done = more != NULL;
        if (done) {
            of->queue = more;
            of->room = room;
        }
    }
    if (done)
        of->queue[of->queued++] = obj;
    ouroi_lock_release(&of->lock);
    return done;
}

/* No memory for the queue: with the world stopped the caller is everybody's agent, but of a thread in the middle of a count;
 * for such a one the object stays until it is merged another time. */
static OUROI_COLD void merge_stopped(struct ouroi_thread *owner, ouro_object *obj)
{
    ouroi_world_stop();
    if (!owner->by_signal && merge(obj))
        ouroi_object_put_dying(ouroi_object_self, obj);
    ouroi_world_start();
}

/* The count of a merged object has come to zero by this thread. */
static void last(ouro_object *obj)
{
    if (OUROI_UNLIKELY(ouroi_thread_get() == NULL)) {
        ouroi_object_leave_orphan(obj);
        return;
    }
    ouroi_object_die(ouroi_object_self, obj);
}

/* The caller has just set QUEUED, and holds no reference any more. */
static void deliver(ouro_object *obj)
{
    /* relaxed: QUEUED keeps it */
    struct ouroi_thread *owner = ouroi_thread_of(ouroi_atomic_load_relaxed(&obj->ouro_owner_));
    struct ouroi_thread *thread = ouroi_thread_get();
    if (owner == thread) { /* this thread came by the number just now */
        if (merge(obj))
            last(obj);
        return;
    }
    if (ouroi_thread_hold(owner)) { /* model: count.deliver.1 */
        bool dead = merge(obj);
        ouroi_thread_release(owner);
        if (dead)
            last(obj);
        return;
    }
    if (OUROI_UNLIKELY(thread == NULL)) { /* no memory to register with, or past the thread's end */
        if (push(ouroi_object_thread(owner), obj))
            ouroi_thread_request(owner, OUROI_REQUEST_MERGE);
        return; /* an owner that blocks meanwhile takes it in at its next safepoint */
    }
    if (!push(ouroi_object_thread(owner), obj)) { /* model: count.deliver.2 */
        merge_stopped(owner, obj);
    } else {
        /* [HAND-OVER]: then look again. model: count.deliver.3 count.deliver.4 */
        ouroi_thread_request(owner, OUROI_REQUEST_MERGE);
        if (ouroi_thread_hold(owner)) {
            ouroi_object_merge_queue(owner);
            ouroi_thread_release(owner);
        }
    }
    ouroi_object_drain(thread);
}

/* Immortal from now on; the count is pinned in the middle, far from either end. */
static void immortalize(ouro_object *obj)
{
    ouroi_object_set_flag(obj, OURO_FLAG_IMMORTAL_);
}

void ouro_incref_ceiling_(ouro_object *obj)
{
    int32_t local = obj->ouro_local_;
    if (local > INT32_MIN / 2) /* others gave it back what it had shared: below zero, for a while */
        return;
    immortalize(obj);
    OUROI_OWNED_SET(&obj->ouro_local_, INT32_MAX / 2);
}

/* The thread may have come by the owner's number when it registered just now. */
static bool is_own(const ouro_object *obj)
{
    /* relaxed: only a thread itself makes its number an owner */
    return ouro_self_.number != OUROI_NUMBER_NONE && ouroi_atomic_load_relaxed(&obj->ouro_owner_) == ouro_self_.number;
}

void ouro_incref_slow_(ouro_object *obj)
{
    uint64_t shared = ouroi_atomic_load_relaxed(&obj->ouro_shared_); /* relaxed: flags that the caller saw already */
    if ((shared & OURO_FLAG_ALIVE_) == 0)
        ouroi_object_misuse(obj, "incref of a freed object:");
    if ((shared & OURO_FLAG_IMMORTAL_) != 0)
        return;
    ouroi_thread_get(); /* without memory the thread counts all the same */
    if ((shared & OURO_FLAG_DISTRIBUTED_) != 0)
        ouroi_distributed_add(obj, 1);
    else if (shared >> 63 != 0)
        immortalize(obj); /* the ceiling */
    else if (is_own(obj))
        ouro_incref(obj);
    else
        /* relaxed: the caller holds a reference already */
        ouroi_atomic_fetch_add_relaxed(&obj->ouro_shared_, OURO_SHARED_ONE_);
}

void ouro_decref_slow_(ouro_object *obj)
{
    if (!ouro_self_.registered)
        ouroi_thread_get(); /* without memory the thread counts all the same */
    if (is_own(obj)) {
        ouro_decref(obj);
        return;
    }
    uint64_t shared = ouroi_atomic_load_relaxed(&obj->ouro_shared_); /* relaxed: a first guess for the swap */
    for (;;) {
        if (OUROI_UNLIKELY((shared & OURO_FLAG_ALIVE_) == 0))
            ouroi_object_misuse(obj, "decref of a freed object:");
        if ((shared & OURO_FLAG_IMMORTAL_) != 0)
            return;
        if ((shared & OURO_FLAG_DISTRIBUTED_) != 0) {
            ouroi_distributed_add(obj, -1);
            return;
        }
        if (OUROI_UNLIKELY(shared >> 63 != 0)) {
            immortalize(obj);
            return;
        }
        int64_t count = ouroi_shared_count(shared);
        bool merged = (shared & OURO_FLAG_MERGED_) != 0;
        if (OUROI_UNLIKELY(count <= 0 && (merged || (shared & OURO_FLAG_DYING_) != 0)))
            ouroi_object_misuse(obj, "count below zero");
        bool queue = !merged && count <= 0 && (shared & OURO_FLAG_QUEUED_) == 0;
        uint64_t next = (shared - OURO_SHARED_ONE_) | (queue ? OURO_FLAG_QUEUED_ : 0);
        /* [MERGE drop] release and acquire, pairs with [MERGE publish], [MERGE look], and with the drops of others: the last one sees what
         * all wrote to the object. model: count.drop.1 */
        if (!ouroi_atomic_cas_acq_rel(&obj->ouro_shared_, &shared, next))
            continue;
        if (queue)
            deliver(obj); /* model: count.drop.2 count.drop.3 */
        else if (merged && count == 1 && (shared & OURO_FLAG_DYING_) == 0)
            last(obj);
        return;
    }
}

void ouro_decref_last_(ouro_object *obj)
{
    /* [MERGE look] acquire, pairs with [MERGE drop]: what others did to the object before they dropped it.
     * model: count.own.2 */
    uint64_t shared = ouroi_atomic_load_acquire(&obj->ouro_shared_);
    if (OUROI_LIKELY((shared & (0xffffffff000000ffu | OUROI_SHARED_PLAIN)) ==
                     (OURO_SHARED_ZERO_ | OUROI_SHARED_PLAIN | OURO_FLAG_ALIVE_))) {
        ouroi_object_free_plain(obj, shared);
        return;
    }
    if (OUROI_LIKELY((shared & (0xffffffff000000ffu | OUROI_SHARED_MAPS)) ==
                     (OURO_SHARED_ZERO_ | OUROI_SHARED_MAPS | OURO_FLAG_ALIVE_))) {
        ouroi_object_die_mapped(ouroi_object_self, obj, shared);
        return;
    }
    const uint64_t harmless = OURO_FLAG_FINALIZED_;
    if (OUROI_LIKELY((shared & ~harmless) == (OURO_SHARED_ZERO_ | ouroi_shared_type(shared)))) {
        ouroi_object_die(ouroi_object_self, obj);
        return;
    }
    if ((shared & OURO_FLAG_ALIVE_) == 0)
        ouroi_object_misuse(obj, "decref of a freed object:");
    if ((shared & OURO_FLAG_IMMORTAL_) != 0) {
        OUROI_OWNED_SET(&obj->ouro_local_, INT32_MAX / 2);
        return;
    }
    /* Others may hold references, or take them: the swap tells. An object that is being destroyed may count itself. */
    if ((shared & (OURO_FLAG_QUEUED_ | OURO_FLAG_DYING_)) == 0 && merge(obj)) /* model: count.own.3 */
        ouroi_object_die(ouroi_object_self, obj);
}

bool ouroi_object_try_incref(ouro_object *obj)
{
    /* relaxed: only a thread itself makes its number an owner */
    if (ouroi_atomic_load_relaxed(&obj->ouro_owner_) == ouro_self_.number) {
        ouro_incref(obj);
        return true;
    }
    /* relaxed: a first guess for the swap. model: grace.load.2 */
    uint64_t shared = ouroi_atomic_load_relaxed(&obj->ouro_shared_);
    for (;;) {
        if (!ouroi_shared_is_alive(shared))
            return false;
        if ((shared & OURO_FLAG_IMMORTAL_) != 0)
            return true;
        if ((shared & OURO_FLAG_DISTRIBUTED_) != 0) {
            ouroi_distributed_add(obj, 1);
            return true;
        }
        if ((shared & OURO_FLAG_MERGED_) != 0 && ouroi_shared_count(shared) == 0)
            return false;
        if (OUROI_UNLIKELY(shared >> 63 != 0)) {
            immortalize(obj);
            return true;
        }
        /* [MERGE take] acquire, pairs with [MERGE publish]: what was written before the object was shared.
         * model: grace.load.3 */
        if (ouroi_atomic_cas_acquire(&obj->ouro_shared_, &shared, shared + OURO_SHARED_ONE_))
            return true;
    }
}

int64_t ouroi_object_count(const ouro_object *obj)
{
    /* relaxed: see object.h */
    uint64_t shared = ouroi_atomic_load_relaxed(&obj->ouro_shared_);
    if ((shared & OURO_FLAG_IMMORTAL_) != 0)
        return OUROI_COUNT_IMMORTAL;
    if ((shared & OURO_FLAG_DYING_) != 0)
        return 0;
    if ((shared & OURO_FLAG_DISTRIBUTED_) != 0)
        return ouroi_distributed_sum(obj);
    int64_t local = (shared & OURO_FLAG_MERGED_) != 0 ? 0 : OUROI_OWNED_GET(&obj->ouro_local_);
    return local + ouroi_shared_count(shared);
}

size_t ouro_refcount(const void *obj)
{
    ouroi_object_check_use(obj, "refcount of a freed object:");
    int64_t count = ouroi_object_count(obj);
    return count < 0 ? 0 : (size_t)count;
}

void ouro_immortalize(void *obj)
{
    ouroi_object_check_use(obj, "immortalize of a freed object:");
    immortalize(obj);
}

bool ouro_is_immortal(const void *obj)
{
    const ouro_object *self = obj;
    return (ouroi_atomic_load_relaxed(&self->ouro_shared_) & OURO_FLAG_IMMORTAL_) != 0; /* relaxed: a flag on its own */
}
