/* object/slot.c: ouro_slot.
 *
 * Invariants  an object has SEEN set before a slot names it, and so its memory outlives every thread's look at the slot.
 * Sync        [SLOT]. A load is an ordinary load and a try at a reference; no lock, and what others do makes it try again only
 *             if the slot has changed, or its object is between two lives.
 */
#include "object/internal.h"

OUROI_INLINE ouro_object **word_of(ouro_slot *slot)
{
    return (ouro_object **)(void *)slot;
}

static ouro_object *take_own(void *obj)
{
    if (obj == NULL)
        return NULL;
    ouroi_object_check_use(obj, "slot store of a freed object:");
    ouro_incref(obj);
    ouroi_object_set_seen(obj);
    return obj;
}

/* A thread must be known before it looks at a slot: nobody waits for one that is not. */
static OUROI_COLD bool join(void)
{
    return ouroi_thread_get() != NULL;
}

void *(ouro_slot_load)(ouro_slot *slot)
{
    if (OUROI_UNLIKELY(!ouro_self_.registered) && !join())
        return NULL;
    ouro_object *obj;
    do {
        /* [SLOT load] acquire, pairs with [SLOT store]. model: grace.load.1 */
        obj = ouroi_atomic_load_acquire(word_of(slot));
    } while (obj != NULL && OUROI_UNLIKELY(!ouroi_object_try_incref(obj)));
    return obj;
}

void *ouro_slot_exchange(ouro_slot *slot, void *obj)
{
    if (obj != NULL) {
        ouroi_object_check_use(obj, "slot exchange of a freed object:");
        ouroi_object_set_seen(obj);
    }
    /* [SLOT store] release, pairs with [SLOT load]: the object; acquire: the old one is the caller's now.
     * model: grace.unlink.1 */
    return ouroi_atomic_exchange_acq_rel(word_of(slot), (ouro_object *)obj);
}

void ouro_slot_store(ouro_slot *slot, void *obj)
{
    ouro_xdecref(ouro_slot_exchange(slot, take_own(obj)));
}

bool ouro_slot_compare_exchange(ouro_slot *slot, void *expected, void *obj)
{
    ouro_object *found = expected, *own = take_own(obj);
    /* [SLOT store] release, pairs with [SLOT load]; acquire: as above */
    bool done = ouroi_atomic_cas_acq_rel(word_of(slot), &found, own);
    ouro_xdecref(done ? expected : own);
    return done;
}
