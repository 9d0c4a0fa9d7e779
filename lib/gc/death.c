/* gc/death.c: what becomes of the dead: nothing refers to them but they themselves.
 *
 * Two ways. Where the types of all are known by their maps (and perhaps have destroy), the references that lead to living
 * objects are dropped, unless the search knows that there are none (`closed`), and then the dead are freed one after the
 * other, their counts not looked at. Where some have clear or
 * traverse, all are held, then cleared, and let go.
 *
 * Sync        with the world running the dead are the collecting thread's: nothing else leads to them. Of the states only
 *             theirs are written; those of what they refer to are read, and cannot be freed as long as that refers to it.
 */
#include "gc/visit.h"

#include <errno.h>

/* What clearing cannot free: objects with traverse and no clear, in cycles of references that only traverse knows, and
 * such objects that these lead to by such references. Others of the kind are freed one after the other. */

static void add_unbroken(ouro_object *referent, void *arg)
{
    struct ouroi_entry *entry = ouroi_table_find(arg, referent);
    if (entry != NULL)
        entry->seen++;
}

struct peeling {
    struct ouroi_table *table;
    struct ouroi_list *free; /* nothing unbroken leads to them */
};

static void take_unbroken(ouro_object *referent, void *arg)
{
    struct peeling *peeling = arg;
    struct ouroi_entry *entry = ouroi_table_find(peeling->table, referent);
    if (entry != NULL && --entry->seen == 0)
        (void)ouroi_list_push(peeling->free, referent); /* there is room for all */
}

static bool is_unclearable(const ouro_object *obj)
{
    const ouro_type *type = ouroi_type_of(obj);
    return type->traverse != NULL && type->clear == NULL;
}

static int find_uncollectable(const struct ouroi_search *search, struct ouroi_table *table, struct ouroi_list *free,
                              struct ouroi_list *uncollectable)
{
    for (size_t i = 0; i < search->dead.count; i++)
        if (is_unclearable(search->dead.items[i]) && ouroi_table_get(table, search->dead.items[i]) == NULL)
            return -ENOMEM;
    if (ouroi_list_grow(free, table->count) != 0 || ouroi_list_grow(uncollectable, table->count) != 0)
        return -ENOMEM;
    for (size_t i = 0; i < table->room; i++)
        if (table->entries[i].object != NULL)
            ouroi_type_of(table->entries[i].object)->traverse(table->entries[i].object, add_unbroken, table);
    for (size_t i = 0; i < table->room; i++)
        if (table->entries[i].object != NULL && table->entries[i].seen == 0)
            (void)ouroi_list_push(free, table->entries[i].object);
    struct peeling peeling = { table, free };
    while (free->count != 0) {
        ouro_object *obj = free->items[--free->count];
        ouroi_type_of(obj)->traverse(obj, take_unbroken, &peeling);
    }
    for (size_t i = 0; i < search->dead.count; i++) {
        const struct ouroi_entry *entry = ouroi_table_find(table, search->dead.items[i]);
        if (entry != NULL && entry->seen > 0)
            (void)ouroi_list_push(uncollectable, search->dead.items[i]);
    }
    return 0;
}

int ouroi_death_spare_uncollectable(struct ouroi_search *search, struct ouroi_list *uncollectable)
{
    struct ouroi_table table = { 0 };
    struct ouroi_list free = { 0 };
    int rc = find_uncollectable(search, &table, &free, uncollectable);
    ouroi_table_free(&table);
    ouroi_list_free(&free);
    if (rc == 0 && uncollectable->count != 0)
        rc = ouroi_search_spare(search, uncollectable);
    if (rc != 0)
        uncollectable->count = 0;
    return rc;
}

static void show(ouro_object *referent, void *arg)
{
    ouroi_weak_saw(arg, referent);
}

void ouroi_death_show_weak(const struct ouroi_search *search, struct ouroi_weak_batch *weak)
{
    for (size_t i = 0; i < search->dead.count; i++)
        ouroi_object_traverse(search->dead.items[i], ouroi_type_of(search->dead.items[i]), show, weak);
}

void ouroi_death_prepare(const struct ouroi_search *search, bool save)
{
    for (size_t i = 0; search->distributed && !save && i < search->dead.count; i++) {
        ouro_object *obj = search->dead.items[i];
        /* relaxed: the world is stopped */
        if ((ouroi_atomic_load_relaxed(&obj->ouro_shared_) & OURO_FLAG_DISTRIBUTED_) != 0)
            ouroi_distributed_sum_up(obj);
    }
    for (size_t i = 0; (save || search->complex) && i < search->dead.count; i++) {
        if (save) /* the garbage list holds it */
            ouroi_state_set(ouroi_state_at(search->dead.items[i]), OUROI_STATE_OLD2);
        else
            ouro_incref(search->dead.items[i]);
    }
}

OUROI_INLINE bool is_dead(const ouro_object *obj)
{
    struct ouroi_slice *slice = ouroi_slice_at(obj);
    return slice != NULL && OUROI_OWNED_GET_PLAIN(&slice->states) != NULL &&
           ouroi_state_get(ouroi_slice_state(slice, (uintptr_t)obj)) == OUROI_STATE_DEAD;
}

void ouroi_death_drop_value(ouro_object *value, void *arg)
{
    const struct ouroi_search *search = arg;
    if (search->complex || !is_dead(value))
        ouro_decref(value);
}

static void drop_living(ouro_object *referent, void *arg)
{
    (void)arg;
    if (!is_dead(referent))
        ouro_decref(referent);
}

/* By way of the ring, as the referent's memory has to come first. */
OUROI_INLINE void drop_referent(struct ouroi_searcher *searcher, ouro_object *referent, bool flag)
{
    (void)flag;
    if (is_dead(referent))
        return;
    struct ouroi_seen old = ouroi_ring_exchange(searcher, (int8_t *)referent, (uintptr_t)referent);
    if (old.state != NULL)
        ouro_decref((ouro_object *)old.marked);
}

static void drop_ring(struct ouroi_searcher *searcher)
{
    for (unsigned i = 0; i < OUROI_RING; i++) {
        struct ouroi_seen old = ouroi_ring_take(searcher);
        if (old.state != NULL)
            ouro_decref((ouro_object *)old.marked);
    }
}

static void drop_and_clear(ouro_object **at)
{
    ouro_object *referent = *at;
    *at = NULL;
    if (referent != NULL)
        drop_living(referent, NULL);
}

/* Drops what leads to the living. An object with destroy is shown no other. */
static void drop_outside(struct ouroi_searcher *searcher, ouro_object *obj, const ouro_type *type)
{
    if (type->destroy == NULL) {
        ouroi_visit_each(searcher, obj, type, drop_referent, false, drop_living);
        return;
    }
    for (size_t i = 0; i < type->ref_count; i++)
        drop_and_clear((ouro_object **)(void *)((char *)obj + type->refs[i]));
    size_t items = type->items_are_refs ? ouroi_object_items(obj) : 0;
    for (size_t i = 0; i < items; i++)
        drop_and_clear((ouro_object **)(void *)((char *)obj + type->size) + i);
}

/* Those that are more than memory are told by the lowest bit of their address in the list. */
#define ODD ((uintptr_t)1)

static void drop_all(const struct ouroi_list *dead, struct ouroi_searcher *searcher)
{
    for (size_t i = 0; i < dead->count; i++) {
        ouro_object *obj = dead->items[i];
        ouroi_list_prefetch(dead, i, dead->count);
        const ouro_type *type = ouroi_type_of(obj);
        drop_outside(searcher, obj, type);
        /* relaxed: only this thread knows it */
        bool seen = (ouroi_atomic_load_relaxed(&obj->ouro_shared_) & OURO_FLAG_SEEN_) != 0;
        if (seen || type->destroy != NULL)
            dead->items[i] = (void *)((uintptr_t)obj | ODD);
    }
}

static void free_odd(ouro_object *obj)
{
    /* relaxed: the same */
    if ((ouroi_atomic_load_relaxed(&obj->ouro_shared_) & OURO_FLAG_SEEN_) != 0) /* its block waits in limbo */
        ouroi_state_set(ouroi_state_at(obj), OUROI_STATE_YOUNG);
    ouroi_object_destroy(obj);
}

/* Frees some of the dead, all that there are in a run. A pool that has nothing else goes back as it is. */
static void free_run(struct ouroi_run *run, void **dead, size_t count, bool odd)
{
    if (!odd && run->kind == OUROI_RUN_POOL && !ouroi_options.secure &&
        ouroi_pool_free_all(ouroi_pool_of(run), (uint32_t)count))
        return;
    for (size_t i = 0; odd && i < count; i++) {
        if (((uintptr_t)dead[i] & ODD) != 0)
            free_odd((ouro_object *)((uintptr_t)dead[i] & ~ODD));
        else
            ouroi_object_release_memory(dead[i]);
    }
    if (!odd)
        ouroi_object_release_many(dead, count);
}

/* The same for those that are all memory and a map. */
static void drop_all_plain(const struct ouroi_list *dead, struct ouroi_searcher *searcher)
{
    for (size_t i = 0; i < dead->count; i++) {
        ouro_object *obj = dead->items[i];
        ouroi_list_prefetch(dead, i, dead->count);
        ouroi_visit_each(searcher, obj, ouroi_type_of(obj), drop_referent, false, drop_living);
    }
}

static void free_all(const struct ouroi_search *search)
{
    const struct ouroi_list *dead = &search->dead;
    struct ouroi_searcher *mine = &search->searchers[0];
    if (search->odd)
        drop_all(dead, mine);
    else if (!search->closed)
        drop_all_plain(dead, mine);
    drop_ring(mine);
    for (size_t i = 0; i < dead->count;) {
        /* relaxed: it has living blocks */
        struct ouroi_run *run = ouroi_atomic_load_relaxed(&ouroi_slice_at(dead->items[i])->run);
        uintptr_t odd = 0;
        size_t first = i;
        while (i < dead->count && (uintptr_t)dead->items[i] - run->start < run->bytes)
            odd |= (uintptr_t)dead->items[i++];
        free_run(run, &dead->items[first], i - first, (odd & ODD) != 0);
    }
}

/* One that lives on, because what its clear was to drop was not, or because that made it known, is old. */
static void clear_all(const struct ouroi_search *search)
{
    for (size_t i = 0; i < search->dead.count; i++)
        ouroi_object_clear(search->dead.items[i]);
    for (size_t i = 0; i < search->dead.count; i++) {
        ouroi_state_set(ouroi_state_at(search->dead.items[i]), OUROI_STATE_OLD2);
        ouro_decref(search->dead.items[i]);
    }
}

void ouroi_death_free(const struct ouroi_search *search)
{
    if (search->complex)
        clear_all(search);
    else
        free_all(search);
}
