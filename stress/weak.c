/* stress/weak.c: weak references taken up while the last reference is dropped; callbacks; a weak map whose keys die.
 *
 * Oracle: a target never comes out of a weak reference after its death; a callback comes once, newest first, if its weak
 * reference lives when the target dies, and its argument is freed once; a map's values die with their keys, also where a value
 * refers to its key.
 */
#define _GNU_SOURCE
#include "stress.h"

#include <sched.h>
#include <stdlib.h>

enum { BOXES = 32, REFS = 48, MAX_WATCHES = 4 };
#define LIVES UINT64_C(0x6f75726f7765616b)

/* What is known of a target, in libc's memory; freed with the last of its watches. */
struct fate {
    _Atomic int deaths;
    _Atomic int users; /* the target, and arguments that are not freed */
    _Atomic int last_call;
};
struct watch {
    struct fate *fate;
    int order; /* 1: the first made */
    _Atomic int calls;
};
struct target {
    ouro_object base;
    uint64_t magic;
    struct fate *fate;
    ouro_object *ref;
};
struct value {
    ouro_object base;
    ouro_object *key; /* perhaps */
    uint64_t magic;
};

static _Atomic(struct target *) boxes[BOXES];
static ouro_slot refs[REFS];
static ouro_weakmap *map;
static _Atomic uint64_t made, died, watches_made, watches_freed, values_made, values_died;

static void fate_leave(struct fate *fate)
{
    if (atomic_fetch_sub(&fate->users, 1) == 1)
        free(fate);
}

static void target_destroy(ouro_object *self)
{
    struct target *target = (struct target *)self;
    CHECK(target->magic == LIVES);
    target->magic = 0;
    CHECK(atomic_fetch_add(&target->fate->deaths, 1) == 0);
    atomic_fetch_add(&died, 1);
    fate_leave(target->fate);
}
static void value_destroy(ouro_object *self)
{
    struct value *value = (struct value *)self;
    CHECK(value->magic == LIVES);
    value->magic = 0;
    atomic_fetch_add(&values_died, 1);
}
static ouro_type plain_type = OURO_TYPE(struct target, .destroy = target_destroy);
static ouro_type tracked_type = OURO_TYPE(struct target, OURO_REFS(struct target, ref), .destroy = target_destroy);
static ouro_type value_type = OURO_TYPE(struct value, OURO_REFS(struct value, key), .destroy = value_destroy);

static void called(ouro_weakref *ref, void *arg)
{
    struct watch *watch = arg;
    CHECK(ouro_weakref_get(ref) == NULL);
    CHECK(atomic_fetch_add(&watch->calls, 1) == 0);
    int before = atomic_exchange(&watch->fate->last_call, watch->order);
    CHECK(before == 0 || before > watch->order); /* newest first */
}
static void arg_freed(void *arg)
{
    struct watch *watch = arg;
    fate_leave(watch->fate);
    atomic_fetch_add(&watches_freed, 1);
    free(watch);
}

static ouro_weakref *watch_new(struct target *target, int order)
{
    struct watch *watch = calloc(1, sizeof *watch);
    CHECK(watch != NULL);
    watch->fate = target->fate;
    watch->order = order;
    atomic_fetch_add(&target->fate->users, 1);
    ouro_weakref *ref = ouro_weakref_new_full(target, called, watch, arg_freed);
    CHECK(ref != NULL);
    atomic_fetch_add(&watches_made, 1);
    return ref;
}

/* Into a place of the table; what was there is dropped, perhaps with its callback. */
static void keep_ref(struct random *random, ouro_weakref *ref)
{
    ouro_xdecref(ouro_slot_exchange(&refs[random_below(random, REFS)], ref));
}

static void target_new(struct random *random)
{
    struct target *target = ouro_new(random_below(random, 2) == 0 ? &plain_type : &tracked_type);
    CHECK(target != NULL);
    target->magic = LIVES;
    target->fate = calloc(1, sizeof *target->fate);
    CHECK(target->fate != NULL);
    atomic_store(&target->fate->users, 1);
    atomic_fetch_add(&made, 1);
    int watches = (int)random_below(random, MAX_WATCHES);
    for (int i = 1; i <= watches; i++)
        keep_ref(random, watch_new(target, i));
    if (random_below(random, 2) == 0) {
        ouro_weakref *plain = ouro_weakref_new(target, NULL, NULL), *again = ouro_weakref_new(target, NULL, NULL);
        CHECK(plain != NULL && plain == again);
        ouro_decref(again);
        CHECK(ouro_weakref_count(target) >= 1);
        keep_ref(random, plain);
    }
    struct target *old = atomic_exchange(&boxes[random_below(random, BOXES)], target);
    ouro_xdecref(old);
}

static void upgrade(struct random *random)
{
    ouro_weakref *ref = ouro_slot_load(&refs[random_below(random, REFS)]);
    if (ref == NULL)
        return;
    struct target *target = ouro_weakref_get(ref);
    if (target != NULL) {
        CHECK(target->magic == LIVES && atomic_load(&target->fate->deaths) == 0);
        if (random_below(random, 8) == 0) {
            ouro_weakref *another = ouro_weakref_new(target, NULL, NULL);
            CHECK(another != NULL && ouro_weakref_get(another) == target);
            ouro_decref(target);
            keep_ref(random, another);
        }
        if (random_below(random, 4) == 0)
            target = atomic_exchange(&boxes[random_below(random, BOXES)], target);
        ouro_xdecref(target);
    }
    ouro_decref(ref);
}

/* The map: values that may refer to their own key. */
static void use_map(struct random *random)
{
    struct target *key = atomic_exchange(&boxes[random_below(random, BOXES)], NULL);
    if (key == NULL)
        return;
    struct value *value = ouro_weakmap_get(map, key);
    if (value != NULL) {
        CHECK(value->magic == LIVES && (value->key == NULL || value->key == &key->base));
        ouro_decref(value);
    }
    if (random_below(random, 2) == 0) {
        value = ouro_new(&value_type);
        CHECK(value != NULL);
        value->magic = LIVES;
        value->key = random_below(random, 16) == 0 ? ouro_newref(key) : NULL;
        atomic_fetch_add(&values_made, 1);
        CHECK(ouro_weakmap_set(map, key, value) == 0);
        ouro_decref(value);
    } else {
        ouro_weakmap_remove(map, key);
        ouro_xdecref(ouro_weakmap_get(map, key)); /* another thread may have set it; none may have it twice */
    }
    key = atomic_exchange(&boxes[random_below(random, BOXES)], key);
    ouro_xdecref(key);
}

static bool visit_entry(void *key, void *value, void *arg)
{
    CHECK(((struct target *)key)->magic == LIVES && ((struct value *)value)->magic == LIVES);
    ++*(size_t *)arg;
    return true;
}

static void work(unsigned index)
{
    struct random random = random_seed(index);
    while (!atomic_load_explicit(&run.stop, memory_order_relaxed)) {
        for (unsigned i = 0; i < 100; i++) {
            uint32_t what = random_below(&random, 100);
            if (what < 30)
                target_new(&random);
            else if (what < 70)
                upgrade(&random);
            else if (what < 80)
                use_map(&random);
            else if (what < 90)
                keep_ref(&random, NULL);
            else
                ouro_xdecref(atomic_exchange(&boxes[random_below(&random, BOXES)], NULL));
        }
        size_t calls = 0;
        if (random_below(&random, 100) == 0)
            CHECK(ouro_weakmap_each(map, visit_entry, &calls) == calls);
        if (random_below(&random, 300) == 0)
            CHECK(ouro_gc_collect((int)random_below(&random, 3)) >= 0);
        if (random_below(&random, 8) == 0)
            OURO_BLOCKING {
                sched_yield();
            }
        atomic_fetch_add_explicit(&run.operations, 100, memory_order_relaxed);
    }
}

void weak_run(void)
{
    map = ouro_weakmap_new();
    CHECK(map != NULL);
    run_threads(run.threads, work);
    for (size_t i = 0; i < BOXES; i++)
        ouro_xdecref(atomic_exchange(&boxes[i], NULL));
    CHECK(ouro_gc_collect(2) >= 0); /* keys whose values refer to them */
    CHECK(ouro_weakmap_size(map) == 0);
    CHECK(atomic_load(&made) == atomic_load(&died));
    CHECK(atomic_load(&values_made) == atomic_load(&values_died));
    for (size_t i = 0; i < REFS; i++) {
        ouro_weakref *ref = ouro_slot_exchange(&refs[i], NULL);
        if (ref == NULL)
            continue;
        CHECK(ouro_weakref_get(ref) == NULL);
        ouro_decref(ref);
    }
    OURO_CLEAR(map);
    CHECK(atomic_load(&watches_made) == atomic_load(&watches_freed));
}
