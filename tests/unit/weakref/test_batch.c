/* unit/weakref/test_batch.c: what the collector is given: the death of many at once, in steps, and the walks for a stopped
 * world. Who is dead is the test's word: it holds references to all, so that nothing is freed behind its back. */
#define _GNU_SOURCE
#include "unit/unit.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "weakref/internal.h"

struct item {
    ouro_object base;
    unsigned number;
};
static unsigned destroyed;
static void item_destroy(ouro_object *self)
{
    (void)self;
    destroyed++;
}
static ouro_type item_type = OURO_TYPE(struct item, .destroy = item_destroy);

static void *new_item(void)
{
    void *item = ouro_new(&item_type);
    assert_non_null(item);
    return item;
}

enum { CALLS = 256 };
static struct {
    unsigned order[CALLS];
    size_t count;
} called;

static void note_call(ouro_weakref *ref, void *arg)
{
    assert_false(ouroi_world_is_stopped());
    assert_null(ouro_weakref_get(ref));
    assert_true(called.count < CALLS);
    called.order[called.count++] = (unsigned)(uintptr_t)arg;
}

static size_t dropped_count;
static ouro_object *dropped[CALLS];
static void note_drop(ouro_object *value, void *arg)
{
    assert_ptr_equal(arg, &dropped_count);
    assert_true(dropped_count < CALLS);
    dropped[dropped_count++] = value;
    ouro_decref(value);
}

static int setup(void **state)
{
    (void)state;
    memset(&called, 0, sizeof called);
    dropped_count = 0;
    destroyed = 0;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    ouroi_world_stop();
    unsigned bad = ouroi_weak_check();
    size_t targets = 0, entries = ouroi_weakmap_total();
    for (unsigned i = 0; i < OUROI_WEAK_SHARDS; i++)
        targets += ouroi_weak_shards[i].count;
    ouroi_world_start();
    return bad != 0 || targets != 0 || entries != 0;
}

static void *arg_of(unsigned number)
{
    return (void *)(uintptr_t)number;
}

/* 20 objects, the even ones dead; object i has i % 4 weak references with callbacks, and a shared one. */
static void test_all_are_cleared_before_the_first_call(void **state)
{
    (void)state;
    enum { OBJECTS = 20 };
    ouro_object *objects[OBJECTS], *dead[OBJECTS / 2];
    ouro_weakref *refs[OBJECTS][4];
    unsigned expected = 0;
    for (unsigned i = 0; i < OBJECTS; i++) {
        objects[i] = new_item();
        for (unsigned k = 0; k < i % 4; k++)
            refs[i][k] = ouro_weakref_new(objects[i], note_call, arg_of(i * 4 + k));
        refs[i][3] = ouro_weakref_new(objects[i], NULL, NULL);
        if (i % 2 == 0) {
            dead[i / 2] = objects[i];
            expected += i % 4;
        }
    }
    struct ouroi_weak_batch batch;
    ouroi_world_stop();
    assert_int_equal(ouroi_weak_prepare(&batch, dead, OBJECTS / 2), 0);
    assert_true(ouroi_weak_wants(&batch));
    assert_int_equal(ouroi_weak_check(), 0);
    ouroi_weak_clear(&batch);
    assert_int_equal(ouroi_weak_check(), 0);
    ouroi_world_start();
    assert_int_equal(called.count, 0);
    for (unsigned i = 0; i < OBJECTS; i++) {
        void *got = ouro_weakref_get(refs[i][3]);
        assert_ptr_equal(got, i % 2 ? objects[i] : NULL);
        ouro_xdecref(got);
        assert_int_equal(ouro_weakref_count(objects[i]), i % 2 ? i % 4 + 1 : 0);
    }
    ouroi_weak_call(&batch);
    ouroi_weak_drop(&batch, NULL, NULL);
    assert_int_equal(called.count, expected);
    for (size_t i = 1; i < called.count; i++) /* of one object newest first */
        assert_true(called.order[i] / 4 != called.order[i - 1] / 4 || called.order[i] + 1 == called.order[i - 1]);
    for (unsigned i = 0; i < OBJECTS; i++) {
        ouro_decref(objects[i]);
        for (unsigned k = 0; k < 4; k++)
            if (k < i % 4 || k == 3)
                ouro_decref(refs[i][k]);
    }
    assert_int_equal(called.count, expected + 5 * (1 + 3)); /* the odd ones died by their counts */
}

/* seen: references from the dead. The weak reference is held `count` times. */
static bool is_called(size_t count, size_t seen)
{
    ouro_object *dead = new_item();
    ouro_weakref *ref = ouro_weakref_new(dead, note_call, NULL);
    ouro_weakref *other = ouro_weakref_new(dead, NULL, NULL);
    for (size_t i = 1; i < count; i++)
        ouro_incref(ref);
    called.count = 0;
    struct ouroi_weak_batch batch;
    ouroi_world_stop();
    assert_int_equal(ouroi_weak_prepare(&batch, &dead, 1), 0);
    for (size_t i = 0; i < seen; i++)
        ouroi_weak_saw(&batch, &ref->base);
    ouroi_weak_saw(&batch, dead);         /* no weak reference */
    ouroi_weak_saw(&batch, &other->base); /* one without a callback */
    ouroi_weak_clear(&batch);
    ouroi_world_start();
    ouroi_weak_call(&batch);
    ouroi_weak_drop(&batch, NULL, NULL);
    assert_int_equal(ouro_refcount(ref), count);
    assert_null(ouro_weakref_get(ref));
    assert_null(ouro_weakref_get(other));
    for (size_t i = 0; i < count; i++)
        ouro_decref(ref);
    ouro_decref(other);
    ouro_decref(dead);
    assert_in_range(called.count, 0, 1);
    return called.count == 1;
}

static void test_a_weak_reference_that_only_the_dead_hold(void **state)
{
    (void)state;
    for (size_t count = 1; count <= 4; count++)
        for (size_t seen = 0; seen <= count; seen++)
            assert_int_equal(is_called(count, seen), seen < count);
}

static bool seen_keys(void *key, void *value, void *arg)
{
    (void)key;
    (void)value;
    ++*(size_t *)arg;
    return true;
}

static void test_entries_leave_maps_at_once_values_later(void **state)
{
    (void)state;
    enum { KEYS = 30, MAPS = 3 };
    ouro_object *keys[KEYS], *dead[KEYS], *values[MAPS][KEYS];
    ouro_weakmap *maps[MAPS];
    size_t dead_count = 0, seen = 0;
    for (size_t m = 0; m < MAPS; m++)
        maps[m] = ouro_weakmap_new();
    for (size_t k = 0; k < KEYS; k++) {
        keys[k] = new_item();
        for (size_t m = 0; m < MAPS; m++) {
            values[m][k] = new_item();
            assert_int_equal(ouro_weakmap_set(maps[m], keys[k], values[m][k]), 0);
        }
        if (k % 3 == 0)
            dead[dead_count++] = keys[k];
    }
    struct ouroi_weak_batch batch;
    ouroi_world_stop();
    assert_int_equal(ouroi_weakmap_total(), MAPS * KEYS);
    assert_int_equal(ouroi_weak_prepare(&batch, dead, dead_count), 0);
    assert_false(ouroi_weak_wants(&batch));
    ouroi_weak_clear(&batch);
    assert_int_equal(ouroi_weakmap_total(), MAPS * (KEYS - dead_count));
    assert_int_equal(ouroi_weak_check(), 0);
    ouroi_world_start();
    for (size_t m = 0; m < MAPS; m++) {
        assert_int_equal(ouro_weakmap_size(maps[m]), KEYS - dead_count);
        assert_int_equal(ouro_weakmap_each(maps[m], seen_keys, &seen), KEYS - dead_count);
        for (size_t k = 0; k < KEYS; k++) {
            void *got = ouro_weakmap_get(maps[m], keys[k]);
            assert_ptr_equal(got, k % 3 ? values[m][k] : NULL);
            ouro_xdecref(got);
            assert_int_equal(ouro_refcount(values[m][k]), 2); /* not dropped yet */
        }
    }
    ouroi_weak_call(&batch);
    ouroi_weak_drop(&batch, note_drop, &dropped_count);
    assert_int_equal(dropped_count, MAPS * dead_count);
    for (size_t m = 0; m < MAPS; m++) {
        for (size_t k = 0; k < KEYS; k++) {
            assert_int_equal(ouro_refcount(values[m][k]), k % 3 ? 2 : 1);
            ouro_decref(values[m][k]);
        }
        ouro_decref(maps[m]);
    }
    for (size_t k = 0; k < KEYS; k++)
        ouro_decref(keys[k]);
    assert_int_equal(destroyed, KEYS + MAPS * KEYS);
}

/* The dead map, its dead key and its dead value in one batch. */
static void test_a_map_among_the_dead(void **state)
{
    (void)state;
    ouro_weakmap *map = ouro_weakmap_new();
    ouro_object *key = new_item(), *other = new_item();
    ouro_weakref *ref = ouro_weakref_new(map, note_call, NULL);
    assert_int_equal(ouro_weakmap_set(map, key, map), 0);
    assert_int_equal(ouro_weakmap_set(map, other, key), 0);
    assert_int_equal(ouro_weakmap_set(map, map, other), 0);
    ouro_object *dead[] = { key, (ouro_object *)map };
    struct ouroi_weak_batch batch;
    ouroi_world_stop();
    assert_int_equal(ouroi_weak_prepare(&batch, dead, 2), 0);
    ouroi_weak_clear(&batch);
    assert_int_equal(ouroi_weak_check(), 0);
    ouroi_world_start();
    assert_int_equal(ouro_weakmap_size(map), 1);
    ouroi_weak_call(&batch);
    assert_int_equal(called.count, 1);
    ouroi_weak_drop(&batch, note_drop, &dropped_count);
    assert_int_equal(dropped_count, 2);
    assert_int_equal(ouro_refcount(map), 1);
    ouro_decref(map);
    assert_int_equal(ouro_refcount(key), 1);
    ouro_decref(key);
    ouro_decref(other);
    ouro_decref(ref);
}

static void test_called_off_or_split(void **state)
{
    (void)state;
    ouro_object *object = new_item();
    ouro_weakref *refs[2];
    for (unsigned i = 0; i < 2; i++)
        refs[i] = ouro_weakref_new(object, note_call, arg_of(i));
    struct ouroi_weak_batch batch, rest;
    ouroi_world_stop();
    assert_int_equal(ouroi_weak_prepare(&batch, &object, 1), 0);
    ouroi_weak_saw(&batch, &refs[0]->base);
    ouroi_world_start();
    ouroi_weak_drop(&batch, NULL, NULL);
    void *got = ouro_weakref_get(refs[0]);
    assert_ptr_equal(got, object);
    ouro_decref(got);
    assert_int_equal(ouro_weakref_count(object), 2);

    ouroi_world_stop();
    assert_int_equal(ouroi_weak_prepare(&batch, &object, 1), 0);
    ouroi_weak_clear(&batch);
    ouroi_weak_split(&batch, &rest);
    ouroi_world_start();
    ouroi_weak_call(&batch);
    ouroi_weak_drop(&batch, NULL, NULL);
    assert_int_equal(called.count, 0);
    ouro_decref(object);
    ouro_decref(refs[0]);
    ouro_decref(refs[1]); /* the batch holds them */
    ouroi_weak_call(&rest);
    ouroi_weak_drop(&rest, NULL, NULL);
    assert_int_equal(called.count, 2);
    assert_int_equal(called.order[0], 1);
}

static void test_nothing_is_referred_to(void **state)
{
    (void)state;
    ouro_object *objects[3] = { new_item(), new_item(), new_item() };
    struct ouroi_weak_batch batch;
    ouroi_world_stop();
    assert_int_equal(ouroi_weak_prepare(&batch, objects, 3), 0);
    assert_false(ouroi_weak_wants(&batch));
    ouroi_weak_clear(&batch);
    assert_int_equal(ouroi_weak_prepare(&batch, NULL, 0), 0);
    ouroi_weak_clear(&batch);
    ouroi_world_start();
    ouroi_weak_call(&batch);
    ouroi_weak_drop(&batch, NULL, NULL);
    for (size_t i = 0; i < 3; i++)
        ouro_decref(objects[i]);
}

/* Walks */

enum { WALK = 100 };
static struct {
    ouro_object *first[WALK], *second[WALK];
    size_t count;
} walk;

static void note_pair(ouro_object *first, ouro_object *second, void *arg)
{
    assert_ptr_equal(arg, &walk);
    assert_true(walk.count < WALK);
    walk.first[walk.count] = first;
    walk.second[walk.count++] = second;
}

static bool walk_has(const void *first, const void *second)
{
    size_t found = 0;
    for (size_t i = 0; i < walk.count; i++)
        found += walk.first[i] == first && walk.second[i] == second;
    assert_in_range(found, 0, 1);
    return found == 1;
}

static void note_value(ouro_object *value, void *arg)
{
    note_pair(value, value, arg);
}

static void test_walks(void **state)
{
    (void)state;
    enum { KEYS = 40, MAPS = 5 };
    ouro_object *keys[KEYS], *value = new_item();
    ouro_weakmap *maps[MAPS];
    for (size_t k = 0; k < KEYS; k++)
        keys[k] = new_item();
    for (size_t m = 0; m < MAPS; m++) {
        maps[m] = ouro_weakmap_new();
        for (size_t k = m; k < KEYS; k += MAPS - m)
            assert_int_equal(ouro_weakmap_set(maps[m], keys[k], k % 2 ? value : keys[k]), 0);
    }
    ouroi_world_stop();
    for (size_t m = 0; m < MAPS; m++) {
        const ouro_object *map = (const ouro_object *)maps[m];
        assert_true(ouroi_weakmap_is(map) && !ouroi_weakref_is(map));
        size_t room = ouroi_weakmap_room(map), expected = 0;
        walk.count = 0;
        for (size_t from = 0; from < room; from += 4) /* in parts, as workers would */
            ouroi_weakmap_entries(map, from, from + 4, note_pair, &walk);
        for (size_t k = m; k < KEYS; k += MAPS - m, expected++)
            assert_true(walk_has(keys[k], k % 2 ? value : keys[k]));
        assert_int_equal(walk.count, expected);
        walk.count = 0;
        ouroi_object_traverse((ouro_object *)maps[m], &ouroi_weakmap_type, note_value, &walk);
        assert_int_equal(walk.count, expected);
    }
    for (size_t k = 0; k < KEYS; k++) {
        size_t expected = 0;
        walk.count = 0;
        ouroi_weak_maps_of(keys[k], note_pair, &walk);
        for (size_t m = 0; m < MAPS; m++) {
            if (k < m || (k - m) % (MAPS - m) != 0)
                continue;
            assert_true(walk_has(maps[m], k % 2 ? value : keys[k]));
            expected++;
        }
        assert_int_equal(walk.count, expected);
    }
    walk.count = 0;
    ouroi_weak_maps_of(value, note_pair, &walk); /* no key */
    assert_int_equal(walk.count, 0);
    ouroi_world_start();
    for (size_t m = 0; m < MAPS; m++)
        ouro_decref(maps[m]);
    for (size_t k = 0; k < KEYS; k++)
        ouro_decref(keys[k]);
    ouro_decref(value);
}

#define BATCH_TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        BATCH_TEST(test_all_are_cleared_before_the_first_call),
        BATCH_TEST(test_a_weak_reference_that_only_the_dead_hold),
        BATCH_TEST(test_entries_leave_maps_at_once_values_later),
        BATCH_TEST(test_a_map_among_the_dead),
        BATCH_TEST(test_called_off_or_split),
        BATCH_TEST(test_nothing_is_referred_to),
        BATCH_TEST(test_walks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
