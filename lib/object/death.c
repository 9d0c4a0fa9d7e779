/* object/death.c: objects die, in constant stack; the memory of some waits in limbo.
 *
 * Owns        the lists of the dying; limbo; orphans.
 * Invariants  an object on the list has DYING set, so that nobody takes a reference and no collection looks at it; its first
 *             48 bits are the link, the number of its items stays.
 *             An object with SEEN set may be looked at by who read a slot or weak reference just before: its memory is not
 *             reused until every running thread has passed a safepoint. It stays DYING meanwhile.
 * Sync        the list and limbo are the thread's. [ORPHAN]: a stack of objects and of limbo's blocks that nobody could free.
 */
#include <string.h>

#include "object/internal.h"

void (*ouroi_object_weak_hook)(ouro_object *obj);

enum {
    LIMBO_BATCH = 64, /* blocks that wait for a grace period together */
    LIMBO_LOOK = 16,  /* how often the batch before is looked at */
};
#define LINK_BITS 48

static ouro_object *orphans; /* dead; nothing of their death was done yet */
static ouro_object *left;    /* limbo of threads that are gone */

static uint64_t first_word(const ouro_object *obj)
{
    uint64_t word;
    memcpy(&word, obj, sizeof word);
    return word;
}

/* The link takes the place of owner and local: an address has no bit 47, so that it is no thread's number. */
static void set_link(ouro_object *obj, const ouro_object *next)
{
    uint64_t link = (uint64_t)(uintptr_t)next;
    OUROI_OWNED_SET(&obj->ouro_local_, (int32_t)(uint32_t)link);
    ouroi_atomic_store_relaxed(&obj->ouro_owner_, (uint16_t)(link >> 32)); /* relaxed: it is nobody's number */
}

static ouro_object *link_of(const ouro_object *obj)
{
    return (ouro_object *)(uintptr_t)(first_word(obj) & (((uint64_t)1 << LINK_BITS) - 1));
}
_Static_assert(offsetof(ouro_object, ouro_owner_) == 4 && offsetof(ouro_object, ouro_items_) == 6, "link");
#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the link of dying objects is written for little-endian machines"
#endif

static void push_shared(ouro_object **stack, ouro_object *obj)
{
    ouro_object *top = ouroi_atomic_load_relaxed(stack); /* relaxed: a first guess for the swap */
    do {
        set_link(obj, top);
        /* [ORPHAN leave] release, pairs with [ORPHAN take]: the object and its link */
    } while (!ouroi_atomic_cas_release(stack, &top, obj));
}

static ouro_object *take_shared(ouro_object **stack)
{
    if (OUROI_LIKELY(ouroi_atomic_load_relaxed(stack) == NULL)) /* relaxed: a look; what comes now is taken later */
        return NULL;
    return ouroi_atomic_exchange_acquire(stack, NULL); /* [ORPHAN take] acquire, pairs with [ORPHAN leave] */
}

/* Only its memory is left of it. */
static void free_block(ouro_object *obj)
{
    struct ouroi_run *run = ouroi_run_find(obj);
    if (run->nodes)
        ouroi_nodes_free(ouroi_nodes_self, obj);
    else
        ouroi_heap_free(obj);
}

void ouroi_limbo_look(struct ouroi_object_thread *self)
{
    struct ouroi_limbo *waiting = &self->waiting;
    if (waiting->first != NULL && ouroi_grace_passed(waiting->epoch)) { /* model: grace.free.1 */
        ouro_object *next;
        for (ouro_object *obj = waiting->first; obj != NULL; obj = next) {
            next = link_of(obj);
            free_block(obj);
        }
        waiting->first = NULL;
        waiting->count = 0;
    }
    if (waiting->first == NULL && self->filling.count >= LIMBO_BATCH) {
        *waiting = self->filling;
        waiting->epoch = ouroi_grace_begin();
        self->filling = (struct ouroi_limbo){ NULL, 0, 0 };
    }
}

static void put_in_limbo(struct ouroi_object_thread *self, ouro_object *obj)
{
    set_link(obj, self->filling.first);
    self->filling.first = obj;
    if (++self->filling.count % LIMBO_LOOK == 0)
        ouroi_limbo_look(self);
}

/* The thread goes: what it has in limbo waits with the next thread that comes by. */
void ouroi_limbo_leave(struct ouroi_object_thread *self)
{
    ouroi_limbo_look(self);
    struct ouroi_limbo *both[2] = { &self->filling, &self->waiting };
    for (unsigned i = 0; i < 2; i++) {
        ouro_object *next;
        for (ouro_object *obj = both[i]->first; obj != NULL; obj = next) {
            next = link_of(obj);
            push_shared(&left, obj);
        }
        *both[i] = (struct ouroi_limbo){ NULL, 0, 0 };
    }
}

static void adopt_left(struct ouroi_object_thread *self)
{
    ouro_object *next;
    for (ouro_object *obj = take_shared(&left); obj != NULL; obj = next) {
        next = link_of(obj);
        put_in_limbo(self, obj);
    }
}

OUROI_INLINE void release(struct ouroi_object_thread *self, ouro_object *obj, bool tracked, uint64_t shared)
{
    if (OUROI_UNLIKELY(ouroi_options.secure))
        ouroi_object_note_grave(obj);
    if (OUROI_UNLIKELY((shared & OURO_FLAG_SEEN_) != 0)) {
        ouroi_object_leave_type(obj, shared);
        OUROI_OWNED_ADD(&self->allowance, tracked && self->allowance < self->granted);
        put_in_limbo(self, obj);
    } else if (tracked) {
        ouroi_object_leave_type(obj, shared);
        OUROI_OWNED_ADD(&self->allowance, self->allowance < self->granted);
        ouroi_nodes_free(ouroi_nodes_self, obj);
    } else {
        ouroi_object_free_plain(obj, shared);
    }
}

/* Of maps_only, and not SEEN: so nobody remembers the dead. */
OUROI_INLINE void release_mapped(struct ouroi_object_thread *self, ouro_object *obj, uint64_t shared)
{
    ouroi_object_leave_type(obj, shared);
    OUROI_OWNED_ADD(&self->allowance, self->allowance < self->granted);
    ouroi_nodes_free(ouroi_nodes_self, obj);
}

void ouroi_object_release_many(void *const *objects, size_t count)
{
    struct ouroi_object_thread *self = ouroi_object_self;
    struct ouroi_heap *heap = ouroi_nodes_self;
    int64_t given = OUROI_OWNED_GET(&self->allowance) + (int64_t)count;
    for (size_t i = 0; i < count; i++) {
        ouro_object *obj = objects[i];
        if (i + 8 < count)
            __builtin_prefetch(objects[i + 8], 1);
        if (OUROI_UNLIKELY(ouroi_options.secure))
            ouroi_object_note_grave(obj);
        /* relaxed: it is the caller's alone */
        ouroi_object_leave_type(obj, ouroi_atomic_load_relaxed(&obj->ouro_shared_));
        ouroi_nodes_free(heap, obj);
    }
    OUROI_OWNED_SET(&self->allowance, given < self->granted ? given : self->granted);
}

void ouroi_object_release_memory(ouro_object *obj)
{
    uint64_t shared = ouroi_atomic_load_relaxed(&obj->ouro_shared_); /* relaxed: it is the caller's alone, */
    if ((shared & OURO_FLAG_SEEN_) != 0)                             /* unless it was seen */
        shared = ouroi_object_set_flag(obj, OURO_FLAG_DYING_);
    release(ouroi_object_self, obj, ouroi_type_private(ouroi_type_of(obj))->tracked, shared);
}

/* A reference in a member or item: others may read it, where it is a slot. */
OUROI_INLINE void drop_ref(ouro_object **where)
{
    ouro_object *ref = ouroi_atomic_load_relaxed(where); /* relaxed: the object is this thread's alone */
    if (ref == NULL)
        return;
    ouroi_atomic_store_relaxed(where, NULL); /* relaxed: the same */
    ouro_decref(ref);
}

enum { REFS_AHEAD = 4 }; /* references whose objects are asked for before they are dropped */

static void drop_refs(ouro_object *obj, const ouro_type *type)
{
    const uint16_t *end = type->refs + type->ref_count;
    for (const uint16_t *at = type->refs; at != end; at++) {
        if (end - at > REFS_AHEAD)
            /* relaxed: see drop_ref */
            __builtin_prefetch(ouroi_atomic_load_relaxed((ouro_object **)(void *)((char *)obj + at[REFS_AHEAD])), 1);
        drop_ref((ouro_object **)(void *)((char *)obj + *at));
    }
    if (!type->items_are_refs)
        return;
    ouro_object **items = (ouro_object **)(void *)((char *)obj + type->size);
    size_t count = ouroi_object_items(obj);
    for (size_t i = 0; i < count; i++) {
        if (count - i > REFS_AHEAD)
            __builtin_prefetch(ouroi_atomic_load_relaxed(&items[i + REFS_AHEAD]), 1); /* relaxed: see drop_ref */
        drop_ref(&items[i]);
    }
}

void ouroi_object_clear(ouro_object *obj)
{
    const ouro_type *type = ouroi_type_of(obj);
    if (type->clear != NULL)
        type->clear(obj);
    drop_refs(obj, type);
}

void ouroi_object_finalize(ouro_object *obj)
{
    const ouro_type *type = ouroi_type_of(obj);
    if (type->finalize == NULL)
        return;
    uint64_t before = ouroi_object_set_flag(obj, OURO_FLAG_FINALIZED_);
    if ((before & OURO_FLAG_FINALIZED_) == 0)
        type->finalize(obj);
}

/* An object whose count is zero comes back to life for its finalizer; whether it stays. */
static bool finalize(ouro_object *obj, const ouro_type *type)
{
    uint64_t shared = ouroi_atomic_load_relaxed(&obj->ouro_shared_); /* relaxed: it is this thread's alone */
    shared = ouroi_shared_type(shared) | (shared & OURO_FLAG_SEEN_) | OURO_FLAG_MERGED_ | OURO_FLAG_FINALIZED_;
    OUROI_OWNED_SET(&obj->ouro_local_, 0);
    ouroi_atomic_store_relaxed(&obj->ouro_owner_, 0); /* relaxed: before the release below */
    /* [MERGE publish] release, pairs with [MERGE take] */
    ouroi_atomic_store_release(&obj->ouro_shared_, shared + OURO_SHARED_ZERO_ + OURO_SHARED_ONE_);
    type->finalize(obj);
    shared = ouroi_atomic_load_relaxed(&obj->ouro_shared_); /* relaxed: a first guess for the swap */
    do {
        if ((shared & (OURO_FLAG_IMMORTAL_ | OURO_FLAG_DISTRIBUTED_)) != 0) {
            if ((shared & OURO_FLAG_DISTRIBUTED_) != 0)
                ouroi_distributed_add(obj, -1);
            return true;
        }
        /* [MERGE drop] release and acquire, pairs with [MERGE publish] */
    } while (!ouroi_atomic_cas_acq_rel(&obj->ouro_shared_, &shared, shared - OURO_SHARED_ONE_));
    if (OUROI_UNLIKELY(ouroi_shared_count(shared) < 1))
        ouroi_object_misuse(obj, "count below zero");
    return ouroi_shared_count(shared) != 1;
}

/* Everything after the finalizer. */
static void destroy(struct ouroi_object_thread *self, ouro_object *obj, const ouro_type *type)
{
    uint64_t shared = ouroi_atomic_load_relaxed(&obj->ouro_shared_); /* relaxed: dying, so nobody changes it */
    OURO_ASSERT((shared & OURO_FLAG_DISTRIBUTED_) == 0);
    if (OUROI_UNLIKELY((shared & OURO_FLAG_SEEN_) != 0) && ouroi_object_weak_hook != NULL)
        ouroi_object_weak_hook(obj);
    if (type->clear != NULL)
        type->clear(obj);
    drop_refs(obj, type);
    if (type->destroy != NULL)
        type->destroy(obj);
    release(self, obj, ouroi_type_private(type)->tracked, shared);
}

void ouroi_object_destroy(ouro_object *obj)
{
    uint64_t shared = ouroi_object_set_flag(obj, OURO_FLAG_DYING_);
    const ouro_type *type = ouroi_type_of(obj);
    if (type->destroy != NULL)
        type->destroy(obj);
    release(ouroi_object_self, obj, ouroi_type_private(type)->tracked, shared);
}

/* An object that is on no list any more, DYING. */
static void bury(struct ouroi_object_thread *self, ouro_object *obj)
{
    const ouro_type *type = ouroi_type_of(obj);
    /* relaxed: dying, so nobody changes it */
    bool finalized = (ouroi_atomic_load_relaxed(&obj->ouro_shared_) & OURO_FLAG_FINALIZED_) != 0;
    OUROI_OWNED_SET(&obj->ouro_local_, 0);
    ouroi_atomic_store_relaxed(&obj->ouro_owner_, 0); /* relaxed: the same */
    if (type->finalize != NULL && !finalized) {
        if (finalize(obj, type))
            return;
        uint64_t shared = ouroi_atomic_load_relaxed(&obj->ouro_shared_);           /* relaxed: nobody else has it now */
        ouroi_atomic_store_relaxed(&obj->ouro_shared_, shared | OURO_FLAG_DYING_); /* relaxed: the same */
    }
    destroy(self, obj, type);
}

void ouroi_object_put_dying(struct ouroi_object_thread *self, ouro_object *obj)
{
    uint64_t shared = ouroi_atomic_load_relaxed(&obj->ouro_shared_); /* relaxed: its count is zero: nobody else's */
    ouroi_atomic_store_relaxed(&obj->ouro_shared_, shared | OURO_FLAG_DYING_); /* relaxed: the same */
    set_link(obj, self->dying);
    self->dying = obj;
}

static void drain(struct ouroi_object_thread *self)
{
    self->draining = true;
    ouro_object *obj;
    while ((obj = self->dying) != NULL) {
        self->dying = link_of(obj);
        uint64_t shared = ouroi_atomic_load_relaxed(&obj->ouro_shared_); /* relaxed: dying, so nobody changes it */
        if (OUROI_LIKELY((shared & (OUROI_SHARED_MAPS | OURO_FLAG_SEEN_)) == OUROI_SHARED_MAPS)) {
            drop_refs(obj, ouroi_type_of_shared(shared));
            release_mapped(self, obj, shared);
        } else {
            bury(self, obj);
        }
    }
    self->draining = false;
}

void ouroi_object_drain(struct ouroi_thread *thread)
{
    struct ouroi_object_thread *self = ouroi_object_thread(thread);
    ouro_object *next;
    for (ouro_object *obj = take_shared(&orphans); obj != NULL; obj = next) {
        next = link_of(obj);
        ouroi_object_put_dying(self, obj);
    }
    adopt_left(self);
    if (self->dying != NULL && !self->draining)
        drain(self);
}

/* Of maps_only and not SEEN: calls nothing of the program, as what dies by this is put on the list. */
static OUROI_NOINLINE void die_and_drop(struct ouroi_object_thread *self, ouro_object *obj, uint64_t shared)
{
    self->draining = true;
    drop_refs(obj, ouroi_type_of_shared(shared));
    release_mapped(self, obj, shared);
    if (self->dying != NULL)
        drain(self);
    self->draining = false;
}

void ouroi_object_die(struct ouroi_object_thread *self, ouro_object *obj)
{
    uint64_t shared = ouroi_atomic_load_relaxed(&obj->ouro_shared_); /* relaxed: its count is zero: nobody else's */
    if ((shared & (OUROI_SHARED_PLAIN | OURO_FLAG_SEEN_)) == OUROI_SHARED_PLAIN) {
        ouroi_object_free_plain(obj, shared);
        return;
    }
    if (self->draining) {
        ouroi_object_put_dying(self, obj);
        return;
    }
    if ((shared & (OUROI_SHARED_MAPS | OURO_FLAG_SEEN_)) == OUROI_SHARED_MAPS) {
        die_and_drop(self, obj, shared);
        return;
    }
    ouroi_atomic_store_relaxed(&obj->ouro_shared_, shared | OURO_FLAG_DYING_); /* relaxed: the same */
    self->draining = true;
    bury(self, obj);
    if (self->dying != NULL)
        drain(self);
    self->draining = false;
}

void ouroi_object_die_mapped(struct ouroi_object_thread *self, ouro_object *obj, uint64_t shared)
{
    if (OUROI_UNLIKELY(self->draining)) {
        ouroi_object_put_dying(self, obj);
        return;
    }
    const ouro_type *type = ouroi_type_of_shared(shared);
    bool refers = type->items_are_refs;
    const uint16_t *end = type->refs + type->ref_count;
    for (const uint16_t *at = type->refs; at != end && !refers; at++)
        /* relaxed: the object is this thread's alone */
        refers = ouroi_atomic_load_relaxed((ouro_object **)(void *)((char *)obj + *at)) != NULL;
    if (refers)
        die_and_drop(self, obj, shared);
    else
        release_mapped(self, obj, shared);
}

bool ouroi_object_has_orphans(void)
{
    /* relaxed: a look */
    return ouroi_atomic_load_relaxed(&orphans) != NULL || ouroi_atomic_load_relaxed(&left) != NULL;
}

static void ask(struct ouroi_thread *thread, void *arg)
{
    (void)arg;
    ouroi_thread_request(thread, OUROI_REQUEST_OTHER);
}

void ouroi_object_leave_dying(struct ouroi_object_thread *self)
{
    ouro_object *obj;
    bool some = self->dying != NULL;
    while ((obj = self->dying) != NULL) {
        self->dying = link_of(obj);
        push_shared(&orphans, obj);
    }
    if (some)
        ouroi_thread_each(ask, NULL);
}

void ouroi_object_leave_orphan(ouro_object *obj)
{
    /* relaxed: its count is zero */
    ouroi_atomic_store_relaxed(&obj->ouro_shared_, ouroi_atomic_load_relaxed(&obj->ouro_shared_) | OURO_FLAG_DYING_);
    push_shared(&orphans, obj);
    ouroi_thread_each(ask, NULL);
}
