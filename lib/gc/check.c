/* gc/check.c: looks at every tracked object, with the world stopped, and counts again.
 *
 * Invariants  states are those that there are with the world running; what living objects refer to lives; no object has
 *             more references from tracked objects than its count says.
 */
#include "gc/visit.h"

struct check {
    unsigned violations;
    const ouro_object *from;
    struct ouroi_table seen;
    bool no_memory; /* then counts are not looked at */
};

static void check_referent(ouro_object *referent, void *arg)
{
    struct check *check = arg;
    struct ouroi_run *run = ouroi_run_find(referent);
    if (run == NULL || !ouroi_object_is_alive(referent)) {
        ouroi_warn("check: object %p of type %s refers to %p, which is no living object", (const void *)check->from,
                   ouroi_type_name(ouroi_type_of(check->from)), (void *)referent);
        check->violations++;
        return;
    }
    struct ouroi_entry *entry = check->no_memory ? NULL : ouroi_table_get(&check->seen, referent);
    if (entry != NULL)
        entry->seen++;
    else
        check->no_memory = true;
}

static void check_object(ouro_object *obj, int8_t *state, struct ouroi_walk *walk)
{
    struct check *check = walk->arg;
    bool known = ouroi_state_generation(*state) != OURO_GC_UNTRACKED || *state == OUROI_STATE_UNTRACKED ||
                 *state == OUROI_STATE_DEAD;
    bool candidate = ouroi_slice_at(obj)->candidate != 0;
    if (!known || candidate) {
        ouroi_warn("check: object %p of type %s has state %d%s", (void *)obj, ouroi_type_name(ouroi_type_of(obj)),
                   *state, candidate ? ", in a run that is being searched" : "");
        check->violations++;
    }
    if (*state == OUROI_STATE_DEAD) /* another thread is clearing it */
        return;
    check->from = obj;
    ouroi_object_traverse(obj, ouroi_type_of(obj), check_referent, check);
}

unsigned ouroi_gc_check(void)
{
    struct check check = { 0 };
    struct ouroi_walk walk = { .fn = check_object, .arg = &check };
    ouroi_walk(&walk);
    for (size_t i = 0; !check.no_memory && i < check.seen.room; i++) {
        const struct ouroi_entry *entry = &check.seen.entries[i];
        int64_t count = entry->object != NULL ? ouroi_object_count(entry->object) : 0;
        if (entry->object == NULL || entry->seen <= count)
            continue;
        ouroi_warn("check: object %p of type %s has count %ld, and %ld references from tracked objects",
                   (void *)entry->object, ouroi_type_name(ouroi_type_of(entry->object)), (long)count,
                   (long)entry->seen);
        check.violations++;
    }
    ouroi_table_free(&check.seen);
    return check.violations;
}
