/* unit/weakref/test_tables.c: the tables of targets and of maps, with the check after each step, and with every allocation
 * failing in turn. */
#define _GNU_SOURCE
#include "unit/unit.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include <ouro/stats.h>

#include "weakref/internal.h"

static ouro_type item_type = OURO_TYPE(ouro_object);

static void *new_item(void)
{
    void *item = ouro_new(&item_type);
    assert_non_null(item);
    return item;
}

static void check(void)
{
    ouroi_world_stop();
    unsigned bad = ouroi_weak_check();
    ouroi_world_start();
    assert_int_equal(bad, 0);
}

static size_t target_count(size_t *room)
{
    size_t count = 0;
    *room = 0;
    for (unsigned i = 0; i < OUROI_WEAK_SHARDS; i++) {
        count += ouroi_weak_shards[i].count;
        *room += ouroi_weak_shards[i].room;
    }
    return count;
}

/* Allocations that fail: those numbered first to last, from 1. */
static unsigned long allocs, first, last;

static void *failing_alloc(size_t size)
{
    unsigned long n = ++allocs;
    return n >= first && n <= last ? NULL : ouroi_heap_alloc_zero(size);
}

static void fail_allocs(unsigned long from, unsigned long to)
{
    allocs = 0;
    first = from;
    last = to;
    ouroi_weak_alloc = failing_alloc;
}

static int restore(void **state)
{
    (void)state;
    ouroi_weak_alloc = ouroi_heap_alloc_zero;
    size_t room;
    size_t left = target_count(&room);
    return left != 0 || room != 0; /* tables without targets are given back */
}

static void test_the_tables_follow_their_number(void **state)
{
    (void)state;
    enum { MANY = 20000 };
    static ouro_object *items[MANY];
    static ouro_weakref *refs[MANY];
    size_t room;
    for (size_t i = 0; i < MANY; i++) {
        items[i] = new_item();
        refs[i] = ouro_weakref_new(items[i], NULL, NULL);
        if (i % 2500 == 0)
            check();
    }
    assert_int_equal(target_count(&room), MANY);
    assert_true(room < MANY * 4);
    for (unsigned i = 0; i < OUROI_WEAK_SHARDS; i++) /* spread: a shard has about 1/64, even of neighbours in memory */
        assert_in_range(ouroi_weak_shards[i].count, MANY / 64 / 3, MANY / 64 * 3);
    for (size_t i = 0; i < MANY; i++) {
        size_t k = i * 7919 % MANY;
        ouro_decref(i % 2 ? (void *)items[k] : (void *)refs[k]);
        if (i % 2)
            assert_null(ouro_weakref_get(refs[k]));
        if (i % 2500 == 0)
            check();
        if (i == MANY * 9 / 10) {
            target_count(&room);
            assert_true(room < MANY);
        }
    }
    assert_int_equal(target_count(&room), 0);
    assert_int_equal(room, 0);
    for (size_t i = 0; i < MANY; i++) {
        size_t k = i * 7919 % MANY;
        ouro_decref(i % 2 ? (void *)refs[k] : (void *)items[k]);
    }
}

/* Places that collide: clusters, wrap around, and holes in the middle of them. */
static void test_a_shard_against_a_model(void **state)
{
    (void)state;
    enum { KEYS = 300 };
    struct ouroi_weak_shard shard = { .room = 0 };
    static char memory[1 << 16] __attribute__((aligned(16)));
    const ouro_object *keys[KEYS];
    bool is_in[KEYS] = { false };
    size_t count = 0, found = 0;
    ouro_weakref *mark = (ouro_weakref *)(void *)&shard;
    for (size_t i = 0; i < sizeof memory / 16 && found < KEYS; i++)
        if (ouroi_weak_place(memory + 16 * i, 64) < 5 || ouroi_weak_place(memory + 16 * i, 64) >= 62)
            keys[found++] = (const ouro_object *)(const void *)(memory + 16 * i);
    assert_int_equal(found, KEYS);
    uint64_t seed = 7;
    for (int i = 0; i < 40000; i++) {
        size_t limit = (i / 500) % 2 ? 12 : KEYS, k = ouroi_random_next(&seed) % limit;
        struct ouroi_weak_target *target = ouroi_weak_find(&shard, keys[k]);
        assert_int_equal(target != NULL, is_in[k]);
        if (target == NULL) {
            target = ouroi_weak_place_for(&shard, (ouro_object *)(uintptr_t)keys[k]);
            assert_non_null(target);
            assert_true(target->refs == NULL && target->entries == NULL && target->object == keys[k]);
            assert_ptr_equal(ouroi_weak_place_for(&shard, target->object), target);
            target->refs = mark;
            count++;
        } else {
            ouroi_weak_target_settle(&shard, target); /* not empty: stays */
            assert_ptr_equal(ouroi_weak_find(&shard, keys[k]), target);
            target->refs = NULL;
            ouroi_weak_target_settle(&shard, target);
            count--;
        }
        is_in[k] = !is_in[k];
        assert_int_equal(shard.count, count);
        for (size_t j = 0; i % 50 == 0 && j < KEYS; j++) {
            target = ouroi_weak_find(&shard, keys[j]);
            assert_int_equal(target != NULL, is_in[j]);
            assert_true(target == NULL || target->refs == mark);
        }
    }
    for (size_t k = 0; k < KEYS; k++) {
        if (!is_in[k])
            continue;
        struct ouroi_weak_target *target = ouroi_weak_find(&shard, keys[k]);
        target->refs = NULL;
        ouroi_weak_target_settle(&shard, target);
    }
    assert_int_equal(shard.room, 0);
}

static void nothing(ouro_weakref *ref, void *arg)
{
    (void)ref;
    (void)arg;
}

static void no_free(void *arg)
{
    ++*(unsigned *)arg;
}

static void test_weak_references_without_memory(void **state)
{
    (void)state;
    enum { MANY = 2000 };
    static ouro_object *items[MANY];
    static ouro_weakref *refs[MANY];
    unsigned failures = 0, freed = 0;
    for (size_t i = 0; i < MANY; i++) {
        items[i] = new_item();
        size_t room, count = target_count(&room);
        fail_allocs(1, ULONG_MAX);
        errno = 0;
        refs[i] =
            i % 2 ? ouro_weakref_new(items[i], NULL, NULL) : ouro_weakref_new_full(items[i], nothing, &freed, no_free);
        if (refs[i] == NULL) {
            failures++;
            assert_int_equal(errno, ENOMEM);
            assert_int_equal(freed, 0);
            assert_int_equal(ouro_refcount(items[i]), 1);
            assert_int_equal(ouro_weakref_count(items[i]), 0);
            assert_int_equal(target_count(&room), count);
            fail_allocs(0, 0);
            refs[i] = ouro_weakref_new(items[i], NULL, NULL);
            assert_non_null(refs[i]);
        }
    }
    assert_true(failures >= OUROI_WEAK_SHARDS); /* each shard's first table, and some that had to grow */
    check();
    fail_allocs(1, ULONG_MAX); /* to shrink needs memory, and can do without */
    for (size_t i = 0; i < MANY; i++) {
        ouro_decref(items[i]);
        assert_null(ouro_weakref_get(refs[i]));
        ouro_decref(refs[i]);
        if (i % 500 == 0)
            check();
    }
}

/* Each step of ouro_weakmap_set fails in turn: the entry, the key's table, the map's table. */
static void test_maps_without_memory(void **state)
{
    (void)state;
    enum { MANY = 1000 };
    static ouro_object *keys[MANY];
    ouro_object *value = new_item(), *other = new_item();
    ouro_weakmap *map = ouro_weakmap_new();
    unsigned most = 0;
    for (size_t i = 0; i < MANY; i++) {
        keys[i] = new_item();
        int result = -1;
        unsigned long n = 1;
        for (; result != 0; n++) {
            fail_allocs(n, n);
            errno = 0;
            result = ouro_weakmap_set(map, keys[i], value);
            if (result == 0)
                break;
            assert_int_equal(errno, ENOMEM);
            assert_int_equal(ouro_weakmap_size(map), i);
            assert_null(ouro_weakmap_get(map, keys[i]));
            assert_int_equal(ouro_refcount(value), i + 1);
            assert_int_equal(ouro_refcount(keys[i]), 1);
            if (i % 100 == 0)
                check();
        }
        most = n > most ? (unsigned)n : most;
        assert_int_equal(ouro_weakmap_size(map), i + 1);
        fail_allocs(1, ULONG_MAX);
        assert_int_equal(ouro_weakmap_set(map, keys[i], other), 0); /* to replace needs none */
        assert_int_equal(ouro_weakmap_set(map, keys[i], value), 0);
    }
    assert_int_equal(most, 4); /* all three failed at some time */
    check();
    fail_allocs(1, ULONG_MAX);
    for (size_t i = 0; i < MANY; i++) {
        if (i % 2)
            assert_true(ouro_weakmap_remove(map, keys[i]));
        ouro_decref(keys[i]);
        assert_int_equal(ouro_weakmap_size(map), MANY - 1 - i);
        if (i % 100 == 0)
            check();
    }
    assert_int_equal(ouro_refcount(value), 1);
    assert_int_equal(ouro_refcount(other), 1);
    ouro_decref(map);
    ouro_decref(value);
    ouro_decref(other);
}

static bool count_call(void *key, void *value, void *arg)
{
    (void)key;
    (void)value;
    ++*(unsigned *)arg;
    return true;
}

static void test_each_without_memory(void **state)
{
    (void)state;
    ouro_weakmap *map = ouro_weakmap_new();
    ouro_object *key = new_item();
    unsigned calls = 0;
    assert_int_equal(ouro_weakmap_set(map, key, key), 0);
    fail_allocs(1, ULONG_MAX);
    errno = 0;
    assert_int_equal(ouro_weakmap_each(map, count_call, &calls), 0);
    assert_int_equal(errno, ENOMEM);
    assert_int_equal(calls, 0);
    assert_int_equal(ouro_refcount(key), 2);
    fail_allocs(0, 0);
    assert_int_equal(ouro_weakmap_each(map, count_call, &calls), 1);
    assert_int_equal(ouro_refcount(key), 2);
    ouro_decref(map);
    ouro_decref(key);
}

static void test_a_batch_without_memory(void **state)
{
    (void)state;
    ouro_object *item = new_item();
    ouro_weakref *ref = ouro_weakref_new(item, nothing, NULL);
    struct ouroi_weak_batch batch;
    ouroi_world_stop();
    fail_allocs(1, ULONG_MAX);
    assert_int_equal(ouroi_weak_prepare(&batch, &item, 1), -ENOMEM);
    assert_int_equal(ouroi_weak_check(), 0);
    fail_allocs(0, 0);
    ouroi_world_start();
    void *got = ouro_weakref_get(ref);
    assert_ptr_equal(got, item);
    ouro_decref(got);
    ouro_decref(item);
    ouro_decref(ref);
}

/* The check finds what is wrong. Each damage is one that a mistake in this layer could do. */
static struct ouroi_weak_target *target_of(const ouro_object *object)
{
    return ouroi_weak_find(ouroi_weak_shard_of(object), object);
}

static void with_damage(void *arg)
{
    ouro_object *item = ouro_new(&item_type), *other = ouro_new(&item_type);
    ouro_weakref *ref = ouro_weakref_new(item, nothing, NULL);
    ouro_weakmap *map = ouro_weakmap_new();
    CHILD_EXPECT(ouro_weakref_new(item, nothing, NULL) != NULL);
    CHILD_EXPECT(ouro_weakmap_set(map, item, other) == 0 && ouro_weakmap_set(map, other, other) == 0);
    ouroi_world_stop();
    CHILD_EXPECT(ouroi_weak_check() == 0);
    struct ouroi_weak_target *target = target_of(item);
    switch ((size_t)arg) {
    case 0:
        ref->target = other;
        break;
    case 1:
        target->refs->next->previous = NULL;
        break;
    case 2:
        target->entries->key = other;
        break;
    case 3:
        target->entries->to.map = (ouro_weakmap *)other;
        break;
    case 4:
        ouroi_weak_shard_of(item)->count++;
        break;
    case 5:
        ouroi_weak_shard_of(item)->entry_count--;
        break;
    case 6:
        target->object = other;
        break;
    case 7:
        item->ouro_shared_ &= ~(uint64_t)OURO_FLAG_SEEN_;
        break;
    default:
        target->refs = NULL;
        target->entries = NULL;
    }
    CHILD_EXPECT(ouroi_weak_check() != 0);
    ouroi_world_start();
    CHILD_EXPECT(ouro_debug_check() != 0); /* it comes by here */
}

static void test_the_check_finds_damage(void **state)
{
    (void)state;
    for (size_t damage = 0; damage < 9; damage++) {
        char text[2000];
        int status = unit_in_child(with_damage, (void *)damage, text, sizeof text);
        if (!unit_child_returned(status))
            fail_msg("damage %zu: %s", damage, text);
        assert_non_null(strstr(text, "weakref:"));
    }
}

/* The system has no memory: objects cannot be made. */
static void without_system_memory(void *arg)
{
    (void)arg;
    enum { MANY = 300000 };
    ouro_object *item = ouro_new(&item_type);
    ouro_weakref **refs = ouro_malloc(MANY * sizeof *refs);
    CHILD_EXPECT(item != NULL && refs != NULL);
    size_t count = 0;
    ouroi_os_inject(1, UINT64_MAX);
    for (; count < MANY; count++) {
        errno = 0;
        refs[count] = ouro_weakref_new(item, nothing, NULL);
        if (refs[count] == NULL)
            break;
    }
    CHILD_EXPECT(count < MANY);
    CHILD_EXPECT(errno == ENOMEM);
    CHILD_EXPECT(ouro_weakref_count(item) == count);
    ouroi_os_inject(0, 0);
    refs[count] = ouro_weakref_new(item, nothing, NULL);
    CHILD_EXPECT(refs[count] != NULL);
    ouro_decref(item);
    for (size_t i = 0; i <= count; i++) {
        CHILD_EXPECT(ouro_weakref_get(refs[i]) == NULL);
        ouro_decref(refs[i]);
    }
}

static void test_the_system_has_no_memory(void **state)
{
    (void)state;
    char text[1000];
    int status = unit_in_child(without_system_memory, NULL, text, sizeof text);
    if (!unit_child_returned(status))
        fail_msg("%s", text);
}

#define TABLE_TEST(function) cmocka_unit_test_teardown(function, restore)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TABLE_TEST(test_the_tables_follow_their_number),
        TABLE_TEST(test_a_shard_against_a_model),
        TABLE_TEST(test_weak_references_without_memory),
        TABLE_TEST(test_maps_without_memory),
        TABLE_TEST(test_each_without_memory),
        TABLE_TEST(test_a_batch_without_memory),
        TABLE_TEST(test_the_check_finds_damage),
        TABLE_TEST(test_the_system_has_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
