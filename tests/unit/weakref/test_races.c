/* unit/weakref/test_races.c: moments that threads meet in by chance, made to happen: the test holds a shard's lock until the
 * other thread waits for it, or does the other thread's part from within an allocation or a safepoint. */
#define _GNU_SOURCE
#include "unit/unit.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>

#include "weakref/internal.h"

static ouro_type item_type = OURO_TYPE(ouro_object);

static void *new_item(void)
{
    void *item = ouro_new(&item_type);
    assert_non_null(item);
    return item;
}

static void nothing(ouro_weakref *ref, void *arg)
{
    (void)ref;
    (void)arg;
}

static void count_free(void *arg)
{
    __atomic_add_fetch((unsigned *)arg, 1, __ATOMIC_SEQ_CST);
}

static void check(size_t entries)
{
    ouroi_world_stop();
    unsigned bad = ouroi_weak_check();
    size_t total = ouroi_weakmap_total();
    ouroi_world_start();
    assert_int_equal(bad, 0);
    assert_int_equal(total, entries);
}

static int restore(void **state)
{
    (void)state;
    ouroi_weak_alloc = ouroi_heap_alloc_zero;
    size_t left = 0;
    for (unsigned i = 0; i < OUROI_WEAK_SHARDS; i++)
        left += ouroi_weak_shards[i].count;
    return left != 0;
}

static void wait_for_waiter(const struct ouroi_lock *lock)
{
    while (__atomic_load_n(&lock->word, __ATOMIC_SEQ_CST) != 2)
        sched_yield();
}

static void join(pthread_t thread)
{
    OURO_BLOCKING {
        assert_int_equal(pthread_join(thread, NULL), 0);
    }
}

/* Does under the lock of the shard what the death of `object` does; what is left to be done. */
static struct ouroi_weak_death die_locked(struct ouroi_weak_shard *shard, const ouro_object *object)
{
    struct ouroi_weak_death death = { .first = NULL };
    ouroi_weak_detach(shard, ouroi_weak_find(shard, object), NULL, &death);
    return death;
}

static struct {
    ouro_object *object;
    ouro_weakmap *map;
    unsigned freed, step;
} with;

static void await_step(unsigned step)
{
    while (__atomic_load_n(&with.step, __ATOMIC_SEQ_CST) != step)
        sched_yield();
}

static void *make_and_drop(void *arg)
{
    (void)arg;
    ouro_weakref *ref = ouro_weakref_new_full(with.object, nothing, &with.freed, count_free);
    __atomic_store_n(&with.step, 1, __ATOMIC_SEQ_CST);
    await_step(2);
    ouro_decref(ref);
    return NULL;
}

/* The weak reference is on its way out, and waits for the lock to leave its target's list, as the target dies. */
static void test_a_weak_reference_and_its_target_die(void **state)
{
    (void)state;
    for (int others = 0; others < 3; others++) {
        memset(&with, 0, sizeof with);
        with.object = new_item();
        struct ouroi_weak_shard *shard = ouroi_weak_shard_of(with.object);
        ouro_weakref *before = others > 0 ? ouro_weakref_new(with.object, nothing, NULL) : NULL, *after = NULL;
        pthread_t thread;
        assert_int_equal(pthread_create(&thread, NULL, make_and_drop, NULL), 0);
        await_step(1);
        if (others > 1)
            after = ouro_weakref_new(with.object, nothing, NULL);
        ouroi_lock_acquire(&shard->lock);
        __atomic_store_n(&with.step, 2, __ATOMIC_SEQ_CST);
        wait_for_waiter(&shard->lock);
        struct ouroi_weak_death death = die_locked(shard, with.object);
        ouroi_lock_release(&shard->lock);
        join(thread);
        assert_int_equal(with.freed, 1);
        assert_ptr_equal(death.first, after != NULL ? after : before); /* it was too late for that one */
        assert_ptr_equal(death.last, before);
        ouroi_weak_call_back(death.first);
        check(0);
        ouro_xdecref(before);
        ouro_xdecref(after);
        ouro_decref(with.object);
    }
}

static void *clear_map(void *arg)
{
    (void)arg;
    ouro_weakmap_clear(with.map);
    return NULL;
}

static void *remove_key(void *arg)
{
    (void)arg;
    assert_true(ouro_weakmap_remove(with.map, with.object));
    return NULL;
}

/* The slot is empty already, the entry not yet off the key's list, as the key dies. */
static void test_an_entry_is_taken_out_as_its_key_dies(void **state)
{
    (void)state;
    for (int by_clear = 0; by_clear < 2; by_clear++) {
        memset(&with, 0, sizeof with);
        with.object = new_item();
        with.map = ouro_weakmap_new();
        ouro_object *value = new_item();
        struct ouroi_weak_shard *shard = ouroi_weak_shard_of(with.object);
        assert_int_equal(ouro_weakmap_set(with.map, with.object, value), 0);
        pthread_t thread;
        ouroi_lock_acquire(&shard->lock);
        assert_int_equal(pthread_create(&thread, NULL, by_clear ? clear_map : remove_key, NULL), 0);
        wait_for_waiter(&shard->lock);
        struct ouroi_weak_death death = die_locked(shard, with.object);
        ouroi_lock_release(&shard->lock);
        join(thread);
        assert_null(death.entries); /* the value is the other's to drop */
        assert_int_equal(ouro_refcount(value), 1);
        assert_int_equal(ouro_weakmap_size(with.map), 0);
        check(0);
        ouro_decref(value);
        ouro_decref(with.map);
        ouro_decref(with.object);
    }
}

static void *set_anew(void *value)
{
    assert_int_equal(ouro_weakmap_set(with.map, with.object, value), 0);
    return NULL;
}

/* A map is being cleared, the old entry of a key waits its turn; the key is stored anew, and dies: it has two entries. */
static void test_a_key_is_stored_anew_while_the_map_is_cleared(void **state)
{
    (void)state;
    memset(&with, 0, sizeof with);
    with.map = ouro_weakmap_new();
    ouro_object *first = new_item(), *second = new_item(), *spare[1000], *values[2] = { new_item(), new_item() };
    size_t spares = 0;
    /* In a table of 8 the first one comes first, and they have different shards. */
    while (ouroi_weak_place(first, 8) >= ouroi_weak_place(second, 8) ||
           ouroi_weak_shard_of(first) == ouroi_weak_shard_of(second)) {
        assert_true(spares < COUNT_OF(spare));
        spare[spares++] = first;
        first = second;
        second = new_item();
    }
    assert_int_equal(ouro_weakmap_set(with.map, first, values[0]), 0);
    assert_int_equal(ouro_weakmap_set(with.map, second, values[0]), 0);
    with.object = second;
    struct ouroi_weak_shard *shard = ouroi_weak_shard_of(first), *other = ouroi_weak_shard_of(second);
    pthread_t clearer, setter;
    ouroi_lock_acquire(&shard->lock);
    assert_int_equal(pthread_create(&clearer, NULL, clear_map, NULL), 0);
    wait_for_waiter(&shard->lock); /* for the first key; the second has its entry still */
    assert_int_equal(pthread_create(&setter, NULL, set_anew, values[1]), 0);
    assert_int_equal(pthread_join(setter, NULL), 0);
    ouroi_lock_acquire_again(&other->lock);
    struct ouroi_weak_death death = die_locked(other, second);
    ouroi_lock_release(&other->lock);
    ouroi_lock_release(&shard->lock);
    join(clearer);
    assert_non_null(death.entries);
    assert_null(death.entries->next);
    assert_ptr_equal(death.entries->to.value, values[1]);
    ouroi_weak_drop_values(death.entries, NULL, NULL);
    check(0);
    assert_int_equal(ouro_weakmap_size(with.map), 0);
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(ouro_refcount(values[i]), 1);
        ouro_decref(values[i]);
    }
    ouro_decref(with.map);
    ouro_decref(first);
    ouro_decref(second);
    for (size_t i = 0; i < spares; i++)
        ouro_decref(spare[i]);
}

/* Within the allocation of an entry, another thread's ouro_weakmap_set of the same key. */
static ouro_object *early_value;

static void *set_early(size_t size)
{
    ouroi_weak_alloc = ouroi_heap_alloc_zero;
    assert_int_equal(ouro_weakmap_set(with.map, with.object, early_value), 0);
    return ouroi_heap_alloc_zero(size);
}

static void test_two_set_the_same_key(void **state)
{
    (void)state;
    ouro_object *value = new_item();
    early_value = new_item();
    with.map = ouro_weakmap_new();
    with.object = new_item();
    ouroi_weak_alloc = set_early;
    assert_int_equal(ouro_weakmap_set(with.map, with.object, value), 0);
    assert_int_equal(ouro_refcount(early_value), 1); /* replaced */
    assert_int_equal(ouro_refcount(value), 2);
    assert_int_equal(ouro_weakmap_size(with.map), 1);
    check(1);
    void *got = ouro_weakmap_get(with.map, with.object);
    assert_ptr_equal(got, value);
    ouro_decref(got);
    ouro_decref(with.map);
    assert_int_equal(ouro_refcount(value), 1);
    ouro_decref(value);
    ouro_decref(early_value);
    ouro_decref(with.object);
}

/* Within a walk's allocation the map grows: there is not room enough for what is in it by then. */
static ouro_object *more[100];

static void *grow_the_map(size_t size)
{
    ouroi_weak_alloc = ouroi_heap_alloc_zero;
    for (size_t i = 0; i < COUNT_OF(more); i++) {
        more[i] = new_item();
        assert_int_equal(ouro_weakmap_set(with.map, more[i], more[i]), 0);
    }
    return ouroi_heap_alloc_zero(size);
}

static bool count_pair(void *key, void *value, void *arg)
{
    assert_ptr_equal(key, value);
    assert_true(ouro_refcount(key) >= 3);
    ++*(size_t *)arg;
    return true;
}

static void test_the_map_grows_as_a_walk_begins(void **state)
{
    (void)state;
    size_t calls = 0;
    with.map = ouro_weakmap_new();
    with.object = new_item();
    assert_int_equal(ouro_weakmap_set(with.map, with.object, with.object), 0);
    ouroi_weak_alloc = grow_the_map;
    assert_int_equal(ouro_weakmap_each(with.map, count_pair, &calls), COUNT_OF(more) + 1);
    assert_int_equal(calls, COUNT_OF(more) + 1);
    ouro_decref(with.map);
    for (size_t i = 0; i < COUNT_OF(more); i++) {
        assert_int_equal(ouro_refcount(more[i]), 1);
        ouro_decref(more[i]);
    }
    ouro_decref(with.object);
}

/* In the safepoint of the allocation of a shared weak reference, another thread's. */
static void (*real_safepoint)(struct ouroi_thread *thread, uint32_t requests);
static ouro_weakref *early_ref;
static unsigned safepoints;

static void ask(void)
{
    ouroi_thread_request(ouroi_thread_self, OUROI_REQUEST_OTHER);
}

static void make_early(struct ouroi_thread *thread, uint32_t requests)
{
    real_safepoint(thread, requests);
    safepoints++;
    if (safepoints == 1) { /* before the lists are looked at */
        ask();
        return;
    }
    ouroi_world_hooks.safepoint = real_safepoint;
    early_ref = ouro_weakref_new(with.object, NULL, NULL);
}

static void test_two_make_the_shared_weak_reference(void **state)
{
    (void)state;
    with.object = new_item();
    real_safepoint = ouroi_world_hooks.safepoint;
    ouroi_world_hooks.safepoint = make_early;
    safepoints = 0;
    early_ref = NULL;
    ask();
    ouro_weakref *ref = ouro_weakref_new(with.object, NULL, NULL);
    ouroi_world_hooks.safepoint = real_safepoint;
    assert_int_equal(safepoints, 2);
    assert_non_null(early_ref);
    assert_ptr_equal(ref, early_ref);
    assert_int_equal(ouro_refcount(ref), 2);
    assert_int_equal(ouro_weakref_count(with.object), 1);
    ouro_decref(ref);
    ouro_decref(early_ref);
    ouro_decref(with.object);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_a_weak_reference_and_its_target_die, restore),
        cmocka_unit_test_teardown(test_an_entry_is_taken_out_as_its_key_dies, restore),
        cmocka_unit_test_teardown(test_a_key_is_stored_anew_while_the_map_is_cleared, restore),
        cmocka_unit_test_teardown(test_two_set_the_same_key, restore),
        cmocka_unit_test_teardown(test_the_map_grows_as_a_walk_begins, restore),
        cmocka_unit_test_teardown(test_two_make_the_shared_weak_reference, restore),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
