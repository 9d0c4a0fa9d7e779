/* object/check.c: walks all tracked objects and looks whether what object.h promises holds. */
#include "object/internal.h"

unsigned (*ouroi_object_check_more)(void);

struct check {
    unsigned bad;
    size_t objects;
};

static void check_block(struct check *check, const ouro_object *obj, int8_t state)
{
    uint64_t shared = ouroi_atomic_load_relaxed(&obj->ouro_shared_); /* relaxed: the world is stopped */
    if ((shared & OURO_FLAG_ALIVE_) == 0) {
        if (state != 0) {
            ouroi_warn("check: free block %p of tracked objects has state %d", (const void *)obj, state);
            check->bad++;
        }
        return;
    }
    const ouro_type *type = ouroi_type_numbered(ouroi_type_index(shared));
    if (type == NULL || !ouroi_type_private(type)->tracked) {
        ouroi_warn("check: object %p has type number %u, which is no tracked type's", (const void *)obj,
                   ouroi_type_index(shared));
        check->bad++;
        return;
    }
    check->objects++;
    if ((shared & OURO_FLAG_DYING_) == 0 && ouroi_object_count(obj) < 0) {
        ouroi_warn("check: object %p of type %s has count %ld", (const void *)obj, ouroi_type_name(type),
                   (long)ouroi_object_count(obj));
        check->bad++;
    }
}

static void check_run(struct ouroi_run *run, void *arg)
{
    const struct ouroi_slice *slice = ouroi_slice_find(run->start);
    if (run->kind != OUROI_RUN_POOL) {
        check_block(arg, (const ouro_object *)run->start, *slice->states);
        return;
    }
    const struct ouroi_pool *pool = ouroi_pool_of(run);
    for (uint32_t i = 0; i < pool->capacity; i++)
        if (ouroi_pool_is_carved(pool, i))
            check_block(arg, (const ouro_object *)(run->start + (size_t)i * pool->block_bytes), slice->states[i]);
}

unsigned ouroi_object_check(void)
{
    struct check check = { 0, 0 };
    ouroi_nodes_each(false, check_run, &check);
    return check.bad;
}

unsigned ouroi_object_check_stopped(void)
{
    if (ouroi_thread_self == NULL && ouroi_thread_count() == 0)
        return 0; /* nobody has made an object */
    if (ouroi_thread_get() == NULL)
        return 0;
    bool mine = ouroi_world_is_stopped();
    if (!mine)
        ouroi_world_stop();
    unsigned bad = ouroi_object_check();
    if (ouroi_object_check_more != NULL)
        bad += ouroi_object_check_more();
    if (!mine)
        ouroi_world_start();
    return bad;
}
