/* weakref/targets.c: the table of targets; what happens when one dies by its counts.
 *
 * Owns        the shards.
 * Invariants  every target of a shard has a list that is not empty, but between ouroi_weak_place_for and the link that it
 *             was called for. A table is at most three quarters full.
 * Sync        see internal.h. [WEAK-TARGET]: a weak reference that dies may find its target gone without the lock, and then is
 *             freed at once: so the store of NULL is the last access of who clears it, unless that one holds a reference.
 */
#include "weakref/internal.h"

struct ouroi_weak_shard ouroi_weak_shards[OUROI_WEAK_SHARDS];

void *(*ouroi_weak_alloc)(size_t size) = ouroi_heap_alloc_zero;

static void target_died(ouro_object *obj);

/* fork: the forking thread holds all locks of this layer, and then those of the layers below whose handlers were there
 * before. What other threads were doing between two locks stays half done in the child: an entry that is in no map, or in a
 * table that is being emptied, whose map, or whose key, that thread held. */

static struct ouroi_world_hooks below;

static void fork_prepare(void)
{
    for (unsigned i = 0; i < OUROI_WEAK_SHARDS; i++)
        ouroi_lock_acquire_again(&ouroi_weak_shards[i].lock);
    ouroi_weakmap_fork_prepare();
    below.fork_prepare();
}

static void fork_parent(void)
{
    below.fork_parent();
    ouroi_weakmap_fork_done(false);
    for (unsigned i = 0; i < OUROI_WEAK_SHARDS; i++)
        ouroi_lock_release(&ouroi_weak_shards[i].lock);
}

static void fork_child(struct ouroi_thread *thread)
{
    below.fork_child(thread);
    ouroi_weakmap_fork_done(true);
    for (unsigned i = 0; i < OUROI_WEAK_SHARDS; i++)
        ouroi_lock_reset(&ouroi_weak_shards[i].lock);
}

static unsigned (*check_more)(void);

static unsigned check_all(void)
{
    return ouroi_weak_check() + (check_more != NULL ? check_more() : 0);
}

/* Before main, and before the constructors of whoever uses the library; after the object layer's. */
__attribute__((constructor(103))) static void targets_start(void)
{
    for (unsigned i = 0; i < OUROI_WEAK_SHARDS; i++)
        ouroi_weak_shards[i].lock = (struct ouroi_lock)OUROI_LOCK_INIT(OUROI_RANK_WEAK);
    ouroi_object_weak_hook = target_died;
    check_more = ouroi_object_check_more;
    ouroi_object_check_more = check_all;
    below = ouroi_world_hooks;
    ouroi_world_hooks.fork_prepare = fork_prepare;
    ouroi_world_hooks.fork_parent = fork_parent;
    ouroi_world_hooks.fork_child = fork_child;
}

struct ouroi_weak_target *ouroi_weak_find(struct ouroi_weak_shard *shard, const ouro_object *object)
{
    if (shard->room == 0)
        return NULL;
    size_t mask = shard->room - 1;
    for (size_t i = ouroi_weak_place(object, shard->room); shard->targets[i].object != NULL; i = (i + 1) & mask)
        if (shard->targets[i].object == object)
            return &shard->targets[i];
    return NULL;
}

static struct ouroi_weak_target *insert(struct ouroi_weak_target *targets, size_t room, ouro_object *object)
{
    size_t i = ouroi_weak_place(object, room);
    while (targets[i].object != NULL)
        i = (i + 1) & (room - 1);
    targets[i].object = object;
    return &targets[i];
}

static bool resize(struct ouroi_weak_shard *shard, size_t room)
{
    struct ouroi_weak_target *targets = ouroi_weak_alloc(room * sizeof *targets);
    if (targets == NULL)
        return false;
    for (size_t i = 0; i < shard->room; i++)
        if (shard->targets[i].object != NULL)
            *insert(targets, room, shard->targets[i].object) = shard->targets[i];
    if (shard->targets != NULL)
        ouroi_heap_free(shard->targets);
    shard->targets = targets;
    shard->room = room;
    return true;
}

static void set_count(struct ouroi_weak_shard *shard, size_t count)
{
    ouroi_atomic_store_relaxed(&shard->count, count); /* relaxed: see target_died */
}

struct ouroi_weak_target *ouroi_weak_place_for(struct ouroi_weak_shard *shard, ouro_object *object)
{
    struct ouroi_weak_target *target = ouroi_weak_find(shard, object);
    if (target != NULL)
        return target;
    if (ouroi_weak_is_full(shard->count, shard->room) && !resize(shard, shard->room == 0 ? 16 : shard->room * 2))
        return NULL;
    set_count(shard, shard->count + 1);
    return insert(shard->targets, shard->room, object);
}

void ouroi_weak_target_settle(struct ouroi_weak_shard *shard, struct ouroi_weak_target *target)
{
    if (target->refs != NULL || target->entries != NULL)
        return;
    struct ouroi_weak_target *targets = shard->targets;
    size_t mask = shard->room - 1, hole = (size_t)(target - targets);
    for (size_t i = (hole + 1) & mask; targets[i].object != NULL; i = (i + 1) & mask) {
        /* What would be looked for from its place on, and not found beyond the hole, moves into it. */
        size_t place = ouroi_weak_place(targets[i].object, shard->room);
        if (((i - place) & mask) >= ((i - hole) & mask)) {
            targets[hole] = targets[i];
            hole = i;
        }
    }
    targets[hole] = (struct ouroi_weak_target){ .object = NULL };
    set_count(shard, shard->count - 1);
    if (shard->count == 0) {
        ouroi_heap_free(targets);
        shard->targets = NULL;
        shard->room = 0;
    } else if (ouroi_weak_is_sparse(shard->count, shard->room)) {
        (void)resize(shard, shard->room / 2); /* no memory: it stays as large as it is */
    }
}

static void clear_ref(ouro_weakref *ref, const struct ouroi_weak_batch *batch, struct ouroi_weak_death *death)
{
    bool call = ref->callback != NULL && !(batch != NULL && ouroi_weak_is_garbage(batch, ref)) &&
                ouroi_object_try_incref(&ref->base);
    if (call) {
        ref->next = ref->previous = NULL;
        if (death->last != NULL)
            death->last->next = ref;
        else
            death->first = ref;
        death->last = ref;
    }
    /* [WEAK-TARGET clear] release, pairs with [WEAK-TARGET look]: we are done with it, unless we hold a reference. */
    ouroi_atomic_store_release(&ref->target, NULL);
}

void ouroi_weak_detach(struct ouroi_weak_shard *shard, struct ouroi_weak_target *target,
                       const struct ouroi_weak_batch *batch, struct ouroi_weak_death *death)
{
    ouro_weakref *next_ref;
    for (ouro_weakref *ref = target->refs; ref != NULL; ref = next_ref) {
        next_ref = ref->next;
        clear_ref(ref, batch, death);
    }
    struct ouroi_weak_entry *next_entry;
    for (struct ouroi_weak_entry *entry = target->entries; entry != NULL; entry = next_entry) {
        next_entry = entry->next;
        shard->entry_count--;
        if (ouroi_weakmap_key_dies(entry, batch != NULL)) {
            entry->next = death->entries;
            death->entries = entry;
        }
    }
    target->refs = NULL;
    target->entries = NULL;
    ouroi_weak_target_settle(shard, target);
}

void ouroi_weak_call_back(ouro_weakref *first)
{
    ouro_weakref *next;
    for (ouro_weakref *ref = first; ref != NULL; ref = next) {
        next = ref->next;
        ref->next = NULL;
        ref->callback(ref, ref->arg);
        ouro_decref(ref);
    }
}

void ouroi_weak_drop_values(struct ouroi_weak_entry *first, void (*drop)(ouro_object *value, void *arg), void *arg)
{
    struct ouroi_weak_entry *next;
    for (struct ouroi_weak_entry *entry = first; entry != NULL; entry = next) {
        ouro_object *value = entry->to.value;
        next = entry->next;
        ouroi_heap_free(entry);
        if (drop != NULL)
            drop(value, arg);
        else
            ouro_decref(value);
    }
}

/* obj, which has SEEN, dies by its counts: DYING is set. */
static void target_died(ouro_object *obj)
{
    struct ouroi_weak_shard *shard = ouroi_weak_shard_of(obj);
    /* relaxed: who made obj a target held a reference, so that its death comes after; what others do meanwhile to other
     * targets may be seen or not */
    if (ouroi_atomic_load_relaxed(&shard->count) == 0)
        return;
    struct ouroi_weak_death death = { .first = NULL };
    ouroi_lock_acquire(&shard->lock);
    struct ouroi_weak_target *target = ouroi_weak_find(shard, obj);
    if (target != NULL)
        ouroi_weak_detach(shard, target, NULL, &death);
    ouroi_lock_release(&shard->lock);
    ouroi_weak_call_back(death.first);
    ouroi_weak_drop_values(death.entries, NULL, NULL);
}
