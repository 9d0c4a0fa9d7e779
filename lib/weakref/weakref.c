/* weakref/weakref.c: weak references: ouro/weakref.h, but the maps.
 *
 * Invariants  the references of a target that have neither callback nor free_arg are first in its list; of them at most one
 *             is alive, the others are on their way to destroy.
 * Sync        a weak reference has SEEN, so that a thread which finds it in a list can try to take a reference.
 *             ouro_weakref_get takes no lock: the target's memory, as it had SEEN, is not used again before this thread's
 *             next safepoint, and of an object that is dead ouroi_object_try_incref says so.
 */
#include "weakref/internal.h"

static void weakref_destroy(ouro_object *self);

ouro_type ouroi_weakref_type = {
    .name = "ouro_weakref",
    .size = sizeof(ouro_weakref),
    .destroy = weakref_destroy,
};

static bool is_shared(const ouro_weakref *ref)
{
    return ref->callback == NULL && ref->free_arg == NULL;
}

/* Takes ref off its target's list. */
static void unlink_ref(struct ouroi_weak_shard *shard, ouro_weakref *ref, const ouro_object *target)
{
    if (ref->next != NULL)
        ref->next->previous = ref->previous;
    if (ref->previous != NULL) {
        ref->previous->next = ref->next;
        return;
    }
    struct ouroi_weak_target *place = ouroi_weak_find(shard, target);
    OURO_ASSERT(place != NULL && place->refs == ref);
    place->refs = ref->next;
    ouroi_weak_target_settle(shard, place);
}

static void weakref_destroy(ouro_object *self)
{
    ouro_weakref *ref = (ouro_weakref *)self;
    /* [WEAK-TARGET look] acquire, pairs with [WEAK-TARGET clear]: NULL, and nobody looks at it any more. */
    ouro_object *target = ouroi_atomic_load_acquire(&ref->target);
    if (target != NULL) {
        struct ouroi_weak_shard *shard = ouroi_weak_shard_of(target);
        ouroi_lock_acquire(&shard->lock);
        if (ouroi_atomic_load_relaxed(&ref->target) != NULL) /* relaxed: changes under the lock */
            unlink_ref(shard, ref, target);
        ouroi_lock_release(&shard->lock);
    }
    if (ref->free_arg != NULL)
        ref->free_arg(ref->arg);
}

/* A new reference to the one that is shared, or NULL. */
static ouro_weakref *find_shared(const struct ouroi_weak_target *target)
{
    for (ouro_weakref *ref = target != NULL ? target->refs : NULL; ref != NULL && is_shared(ref); ref = ref->next)
        if (ouroi_object_try_incref(&ref->base))
            return ref;
    return NULL;
}

static ouro_weakref *lookup_shared(ouro_object *target)
{
    struct ouroi_weak_shard *shard = ouroi_weak_shard_of(target);
    ouroi_lock_acquire(&shard->lock);
    ouro_weakref *found = find_shared(ouroi_weak_find(shard, target));
    ouroi_lock_release(&shard->lock);
    return found;
}

/* After the shared ones if it is not one of them. */
static void link_ref(struct ouroi_weak_target *place, ouro_weakref *ref)
{
    ouro_weakref *before = NULL, *after = place->refs;
    for (; !is_shared(ref) && after != NULL && is_shared(after); after = after->next)
        before = after;
    ref->previous = before;
    ref->next = after;
    if (after != NULL)
        after->previous = ref;
    if (before != NULL)
        before->next = ref;
    else
        place->refs = ref;
    /* relaxed: nobody else has the reference yet; who will get it is told by other means */
    ouroi_atomic_store_relaxed(&ref->target, place->object);
}

/* Puts ref into the list of its target; or returns another one, shared, that came first. NULL: no memory. */
static ouro_weakref *publish(ouro_object *target, ouro_weakref *ref)
{
    struct ouroi_weak_shard *shard = ouroi_weak_shard_of(target);
    ouroi_lock_acquire(&shard->lock);
    struct ouroi_weak_target *place = ouroi_weak_place_for(shard, target);
    ouro_weakref *result = NULL;
    if (place != NULL) {
        result = is_shared(ref) ? find_shared(place) : NULL;
        if (result == NULL) {
            link_ref(place, ref);
            result = ref;
        }
    }
    ouroi_lock_release(&shard->lock);
    return result;
}

static void *refuse(int error)
{
    errno = error;
    return NULL;
}

ouro_weakref *ouro_weakref_new_full(void *obj, ouro_weakref_callback callback, void *arg, void (*free_arg)(void *))
{
    ouro_object *target = obj;
    if (target == NULL || ouroi_weakref_is(target))
        return refuse(EINVAL);
    if (!ouroi_weak_enter())
        return refuse(ENOMEM);
    int error = ouroi_weak_admit(target);
    if (error != 0)
        return refuse(-error);
    if (callback == NULL && free_arg == NULL) {
        ouro_safepoint();
        ouro_weakref *shared = lookup_shared(target);
        if (shared != NULL)
            return shared;
    }
    ouro_weakref *ref = ouro_new(&ouroi_weakref_type);
    if (ref == NULL)
        return NULL;
    ouroi_object_set_seen(&ref->base);
    ref->callback = callback;
    ref->arg = arg;
    ref->free_arg = free_arg;
    ouro_weakref *result = publish(target, ref);
    if (result != ref) {
        ref->free_arg = NULL; /* arg is the caller's still */
        ouro_decref(ref);
    }
    return result != NULL ? result : refuse(ENOMEM);
}

ouro_weakref *ouro_weakref_new(void *obj, ouro_weakref_callback callback, void *arg)
{
    return ouro_weakref_new_full(obj, callback, arg, NULL);
}

void *ouro_weakref_get(ouro_weakref *ref)
{
    if (ref == NULL)
        return refuse(EINVAL);
    if (!ouroi_weak_enter())
        return refuse(ENOMEM);
    /* [WEAK-TARGET look] acquire, pairs with [WEAK-TARGET clear]: who finds NULL sees what the dying did before. */
    ouro_object *target = ouroi_atomic_load_acquire(&ref->target);
    return target != NULL && ouroi_object_try_incref(target) ? target : NULL;
}

size_t ouro_weakref_count(const void *obj)
{
    if (obj == NULL || !ouroi_weak_enter()) {
        errno = obj == NULL ? EINVAL : ENOMEM;
        return 0;
    }
    struct ouroi_weak_shard *shard = ouroi_weak_shard_of(obj);
    size_t count = 0;
    ouroi_lock_acquire(&shard->lock);
    const struct ouroi_weak_target *target = ouroi_weak_find(shard, obj);
    for (const ouro_weakref *ref = target != NULL ? target->refs : NULL; ref != NULL; ref = ref->next)
        count++;
    ouroi_lock_release(&shard->lock);
    return count;
}
