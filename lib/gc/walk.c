/* gc/walk.c: what the program may ask about objects; freezing.
 *
 * Sync        objects are found with the world stopped, and a reference to each is taken then. What frees nothing (tracking)
 *             is done by whoever holds a reference.
 */
#include "gc/visit.h"

#include <errno.h>

static void collect_run(struct ouroi_run *run, void *arg)
{
    struct ouroi_walk *walk = arg;
    struct ouroi_slice *slice = ouroi_slice_find(run->start);
    struct ouroi_patch patch = { .states = slice->states, .start = run->start, .run = run, .blocks = 1 };
    const struct ouroi_pool *pool = run->kind == OUROI_RUN_POOL ? ouroi_pool_of(run) : NULL;
    if (pool != NULL) {
        patch.block_bytes = pool->block_bytes;
        patch.blocks = pool->capacity > OUROI_SPARSE_MAX ? pool->carved : pool->capacity;
    }
    for (uint32_t i = 0; i < patch.blocks && !walk->stopped; i++) {
        ouro_object *obj = ouroi_patch_object(&patch, i);
        if ((pool == NULL || ouroi_pool_is_carved(pool, i)) && ouroi_object_is_alive(obj))
            walk->fn(obj, &patch.states[i], walk);
    }
}

void ouroi_walk(struct ouroi_walk *walk)
{
    ouroi_nodes_each(false, collect_run, walk);
}

/* A reference to an object that lives for sure: of some, others have yet to see that their count is zero. */
static void take(struct ouroi_walk *walk, ouro_object *obj)
{
    if (ouroi_object_count(obj) <= 0)
        return;
    if (!ouroi_list_push(&walk->found, obj)) {
        walk->stopped = walk->no_memory = true;
        return;
    }
    ouro_incref(obj);
}

static size_t tell(struct ouroi_walk *walk, ouro_gc_object_fn fn, void *arg)
{
    size_t calls = 0;
    bool going = !walk->no_memory;
    for (size_t i = 0; i < walk->found.count; i++) {
        if (going) {
            calls++;
            going = fn == NULL || fn(walk->found.items[i], arg);
        }
        ouro_decref(walk->found.items[i]);
    }
    ouroi_list_free(&walk->found);
    if (walk->no_memory)
        errno = ENOMEM;
    return calls;
}

/* Whether the world can be stopped by the caller. */
bool ouroi_gc_may_stop(void)
{
    struct ouroi_thread *self = ouroi_thread_get();
    if (self == NULL || self->depth != 0) {
        errno = self == NULL ? ENOMEM : EPERM;
        return false;
    }
    return true;
}

static void take_generation(ouro_object *obj, int8_t *state, struct ouroi_walk *walk)
{
    int generation = ouroi_state_generation(*state);
    if (generation >= 0 && generation < OURO_GC_GENERATIONS && (walk->generation < 0 || walk->generation == generation))
        take(walk, obj);
}

size_t ouro_gc_get_objects(int generation, ouro_gc_object_fn fn, void *arg)
{
    struct ouroi_walk walk = { .fn = take_generation, .generation = generation };
    if (generation < -1 || generation >= OURO_GC_GENERATIONS) {
        errno = EINVAL;
        return 0;
    }
    if (!ouroi_gc_may_stop())
        return 0;
    ouroi_world_stop();
    ouroi_walk(&walk);
    ouroi_world_start();
    return tell(&walk, fn, arg);
}

static void compare(ouro_object *referent, void *arg)
{
    struct ouroi_walk *walk = arg;
    walk->hit |= referent == walk->object;
}

static void take_referrer(ouro_object *obj, int8_t *state, struct ouroi_walk *walk)
{
    int generation = ouroi_state_generation(*state);
    if (generation < 0 || generation >= OURO_GC_GENERATIONS)
        return;
    walk->hit = false;
    ouroi_object_traverse(obj, ouroi_type_of(obj), compare, walk);
    if (walk->hit)
        take(walk, obj);
}

size_t ouro_gc_get_referrers(void *obj, ouro_gc_object_fn fn, void *arg)
{
    struct ouroi_walk walk = { .fn = take_referrer, .object = obj };
    if (obj == NULL) {
        errno = EINVAL;
        return 0;
    }
    if (!ouroi_gc_may_stop())
        return 0;
    ouroi_world_stop();
    ouroi_walk(&walk);
    ouroi_world_start();
    return tell(&walk, fn, arg);
}

static void take_referent(ouro_object *referent, void *arg)
{
    take(arg, referent);
}

size_t ouro_gc_get_referents(void *obj, ouro_gc_object_fn fn, void *arg)
{
    struct ouroi_walk walk = { .object = obj };
    if (obj == NULL) {
        errno = EINVAL;
        return 0;
    }
    if (!ouroi_gc_may_stop())
        return 0;
    ouroi_world_stop();
    ouroi_object_traverse(obj, ouroi_type_of(obj), take_referent, &walk);
    ouroi_world_start();
    return tell(&walk, fn, arg);
}

/* Freezing: no collection goes on meanwhile, not even its finalizers. */

static void freeze(ouro_object *obj, int8_t *state, struct ouroi_walk *walk)
{
    int generation = ouroi_state_generation(*state);
    (void)obj;
    if (walk->generation == OURO_GC_FROZEN ? generation == OURO_GC_FROZEN : generation >= 0 && generation < 3) {
        if (walk->object == NULL)
            ouroi_state_set(state, walk->generation == OURO_GC_FROZEN ? OUROI_STATE_OLD2 : OUROI_STATE_FROZEN);
        walk->calls++;
    }
}

static size_t walk_frozen(int generation, bool count_only)
{
    struct ouroi_walk walk = { .fn = freeze, .generation = generation };
    ouro_object any = { 0 };
    if (!ouroi_gc_may_stop())
        return 0;
    walk.object = count_only ? &any : NULL;
    ouroi_world_stop();
    ouroi_walk(&walk);
    if (!count_only)
        ouroi_policy_freeze(generation == OURO_GC_FROZEN ? walk.calls : 0);
    ouroi_world_start();
    return walk.calls;
}

void ouro_gc_freeze(void)
{
    walk_frozen(0, false);
}

void ouro_gc_unfreeze(void)
{
    walk_frozen(OURO_GC_FROZEN, false);
}

size_t ouro_gc_get_freeze_count(void)
{
    return walk_frozen(OURO_GC_FROZEN, true);
}

/* Single objects. */

static bool is_tracked_state(const int8_t *state)
{
    return state != NULL && ouroi_state_get(state) != OUROI_STATE_UNTRACKED;
}

bool ouro_gc_is_tracked(const void *obj)
{
    return is_tracked_state(ouroi_state_of(obj));
}

void ouro_gc_track(void *obj)
{
    int8_t *state = ouroi_state_of(obj);
    if (state == NULL || ouroi_state_get(state) != OUROI_STATE_UNTRACKED)
        return;
    ouroi_search_note_young(obj);
    ouroi_state_set(state, OUROI_STATE_YOUNG);
}

void ouro_gc_untrack(void *obj)
{
    int8_t *state = ouroi_state_of(obj);
    if (state != NULL)
        ouroi_state_set(state, OUROI_STATE_UNTRACKED);
}

bool ouro_gc_is_finalized(const void *obj)
{
    const ouro_object *self = obj;
    /* relaxed: a flag on its own */
    return (ouroi_atomic_load_relaxed(&self->ouro_shared_) & OURO_FLAG_FINALIZED_) != 0;
}

/* One that is being finalized counts as of the generation that it would come to. */
int ouro_gc_generation_of(const void *obj)
{
    const int8_t *state = ouroi_state_of(obj);
    if (state == NULL)
        return OURO_GC_UNTRACKED;
    int8_t now = ouroi_state_get(state);
    return now == OUROI_STATE_DEAD ? 2 : ouroi_state_generation(now);
}

long ouro_gc_collect(int generation)
{
    if (generation < 0 || generation >= OURO_GC_GENERATIONS) {
        errno = EINVAL;
        return -1;
    }
    if (ouroi_gc_is_inside())
        return 0;
    if (!ouroi_gc_may_stop())
        return -1;
    long found = ouroi_gc_run(generation);
    if (found < 0) {
        errno = (int)-found;
        return -1;
    }
    return found;
}
