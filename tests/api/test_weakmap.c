/* api/test_weakmap.c: maps with weak keys: what is in them, and what the death of a key, a value or a map does. What needs a
 * collection is in test_weakref_gc.c. See weak.h.
 */
#define _GNU_SOURCE
#include "weak.h"

#include <errno.h>
#include <string.h>

/* What is in it */

static void test_set_get_replace_remove(void **state)
{
    (void)state;
    ouro_weakmap *map = new_map();
    struct node *key = new_node(), *other = new_of(&leaf_type), *value = new_node(), *second = new_of(&leaf_type);
    assert_null(ouro_weakmap_get(map, key));
    set(map, key, value);
    assert_int_equal(ouro_refcount(key), 1);
    assert_int_equal(ouro_refcount(value), 2);
    assert_value(map, key, value);
    assert_null(ouro_weakmap_get(map, other));
    set(map, key, value); /* the same again */
    assert_int_equal(ouro_refcount(value), 2);
    set(map, other, value);
    assert_int_equal(ouro_refcount(value), 3);
    assert_int_equal(ouro_weakmap_size(map), 2);
    set(map, key, second);
    assert_int_equal(ouro_refcount(value), 2);
    assert_int_equal(ouro_refcount(second), 2);
    assert_value(map, key, second);
    assert_value(map, other, value);
    assert_true(ouro_weakmap_remove(map, key));
    assert_false(ouro_weakmap_remove(map, key));
    assert_null(ouro_weakmap_get(map, key));
    assert_int_equal(ouro_refcount(second), 1);
    assert_int_equal(ouro_weakmap_size(map), 1);
    assert_int_equal(ouro_weakref_count(key), 0); /* entries are no weak references */
    assert_int_equal(ouro_weakref_count(other), 0);
    ouro_decref(map);
    assert_int_equal(ouro_refcount(value), 1);
    ouro_decref(key);
    ouro_decref(other);
    ouro_decref(value);
    ouro_decref(second);
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(deaths_of(i), 1);
}

static ouro_weakmap *hook_map;
static int hook_result, hook_error;

static void set_key_in_hook(struct node *node)
{
    errno = 0;
    hook_result = ouro_weakmap_set(hook_map, node, hook_map);
    hook_error = errno;
}

static bool no_call(void *key, void *value, void *arg)
{
    (void)key;
    (void)value;
    ++*(int *)arg;
    return true;
}

static void test_what_is_refused(void **state)
{
    (void)state;
    ouro_weakmap *map = new_map();
    struct node *key = new_node();
    errno = 0;
    assert_int_equal(ouro_weakmap_set(map, NULL, key), -1);
    assert_int_equal(errno, EINVAL);
    errno = 0;
    assert_int_equal(ouro_weakmap_set(map, key, NULL), -1);
    assert_int_equal(errno, EINVAL);
    errno = 0;
    assert_int_equal(ouro_weakmap_set(NULL, key, key), -1);
    assert_int_equal(errno, EINVAL);
    errno = 0;
    assert_null(ouro_weakmap_get(map, NULL));
    assert_int_equal(errno, EINVAL);
    errno = 0;
    assert_null(ouro_weakmap_get(NULL, key));
    assert_int_equal(errno, EINVAL);
    errno = 0;
    assert_false(ouro_weakmap_remove(map, NULL));
    assert_int_equal(errno, EINVAL);
    int calls = 0;
    assert_int_equal(ouro_weakmap_each(map, no_call, &calls), 0);
    assert_int_equal(ouro_weakmap_each(map, NULL, NULL), 0);
    ouro_weakmap_clear(map);
    assert_int_equal(calls, 0);
    assert_int_equal(ouro_weakmap_size(map), 0);
    assert_int_equal(ouro_refcount(key), 1);
    hook_map = map;
    on_destroy = set_key_in_hook;
    ouro_decref(key);
    assert_int_equal(hook_result, -1);
    assert_int_equal(hook_error, ESTALE);
    assert_int_equal(ouro_weakmap_size(map), 0);
    assert_int_equal(ouro_refcount(map), 1);
    ouro_decref(map);
}

static void test_a_map_is_a_tracked_object(void **state)
{
    (void)state;
    ouro_weakmap *map = new_map();
    assert_int_equal(ouro_refcount(map), 1);
    size_t before = ouro_sizeof(map);
    struct node *keys[100];
    for (size_t i = 0; i < COUNT_OF(keys); i++)
        set_new(map, keys[i] = new_node());
    assert_true(ouro_sizeof(map) >= before + COUNT_OF(keys) * 2 * sizeof(void *));
    for (size_t i = 0; i < COUNT_OF(keys); i++)
        ouro_decref(keys[i]);
    assert_true(ouro_sizeof(map) < before + COUNT_OF(keys) * 2 * sizeof(void *));
    ouro_weakref *ref = ouro_weakref_new(map, NULL, NULL);
    void *got = ouro_weakref_get(ref);
    assert_ptr_equal(got, map);
    ouro_decref(got);
    ouro_decref(map);
    assert_null(ouro_weakref_get(ref));
    ouro_decref(ref);
}

/* Deaths */

static void test_a_key_takes_its_entry_along(void **state)
{
    (void)state;
    ouro_weakmap *map = new_map();
    struct node *key = new_node(), *rest = new_of(&leaf_type);
    unsigned value = set_new(map, key), other = set_new(map, rest);
    ouro_decref(key);
    assert_int_equal(deaths_of(value), 1);
    assert_int_equal(deaths_of(other), 0);
    assert_int_equal(ouro_weakmap_size(map), 1);
    ouro_decref(rest);
    assert_int_equal(deaths_of(other), 1);
    assert_int_equal(ouro_weakmap_size(map), 0);
    ouro_decref(map);
}

static void test_a_map_takes_its_values_along(void **state)
{
    (void)state;
    ouro_weakmap *map = new_map();
    struct node *keys[30];
    unsigned values[30];
    for (size_t i = 0; i < 30; i++)
        values[i] = set_new(map, keys[i] = new_node());
    ouro_decref(map);
    for (size_t i = 0; i < 30; i++) {
        assert_int_equal(deaths_of(values[i]), 1);
        assert_int_equal(deaths_of(keys[i]->number), 0);
        ouro_decref(keys[i]);
    }
}

static void test_clear(void **state)
{
    (void)state;
    ouro_weakmap *map = new_map();
    struct node *keys[30];
    unsigned values[30];
    for (size_t i = 0; i < 30; i++)
        values[i] = set_new(map, keys[i] = new_node());
    ouro_weakmap_clear(map);
    assert_int_equal(ouro_weakmap_size(map), 0);
    for (size_t i = 0; i < 30; i++) {
        assert_int_equal(deaths_of(values[i]), 1);
        assert_null(ouro_weakmap_get(map, keys[i]));
        values[i] = set_new(map, keys[i]);
    }
    assert_int_equal(ouro_weakmap_size(map), 30);
    for (size_t i = 0; i < 30; i++) {
        ouro_decref(keys[i]);
        assert_int_equal(deaths_of(values[i]), 1);
    }
    ouro_decref(map);
}

static void test_a_key_in_several_maps(void **state)
{
    (void)state;
    enum { MAPS = 200 };
    ouro_weakmap *maps[MAPS];
    unsigned values[MAPS];
    struct node *key = new_node();
    for (size_t i = 0; i < MAPS; i++)
        values[i] = set_new(maps[i] = new_map(), key);
    for (size_t i = 0; i < MAPS; i += 3)
        assert_true(ouro_weakmap_remove(maps[i], key));
    for (size_t i = 1; i < MAPS; i += 3)
        ouro_decref(maps[i]);
    for (size_t i = 0; i < MAPS; i++)
        assert_int_equal(deaths_of(values[i]), i % 3 != 2);
    ouro_decref(key);
    for (size_t i = 0; i < MAPS; i++) {
        assert_int_equal(deaths_of(values[i]), 1);
        if (i % 3 == 1)
            continue;
        assert_int_equal(ouro_weakmap_size(maps[i]), 0);
        ouro_decref(maps[i]);
    }
}

static void test_a_map_as_key_and_as_value(void **state)
{
    (void)state;
    ouro_weakmap *outer = new_map(), *inner = new_map();
    struct node *key = new_node();
    unsigned value = set_new(outer, inner), below = set_new(inner, key);
    ouro_decref(inner);
    assert_int_equal(deaths_of(value), 1);
    assert_int_equal(deaths_of(below), 1);
    assert_int_equal(ouro_weakmap_size(outer), 0);
    inner = new_map();
    below = set_new(inner, key);
    set(outer, key, inner);
    ouro_decref(inner);
    assert_int_equal(deaths_of(below), 0);
    ouro_decref(key); /* is a key of both */
    assert_int_equal(deaths_of(below), 1);
    assert_int_equal(ouro_weakmap_size(outer), 0);
    value = set_new(outer, outer); /* its own key */
    assert_int_equal(ouro_weakmap_size(outer), 1);
    ouro_decref(outer);
    assert_int_equal(deaths_of(value), 1);
}

static void test_a_key_that_is_its_value(void **state)
{
    (void)state;
    ouro_weakmap *map = new_map();
    struct node *key = new_node();
    unsigned number = key->number;
    set(map, key, key);
    assert_int_equal(ouro_refcount(key), 2);
    assert_value(map, key, key);
    assert_true(ouro_weakmap_remove(map, key));
    assert_int_equal(ouro_refcount(key), 1);
    set(map, key, key);
    ouro_decref(key);
    assert_int_equal(deaths_of(number), 0); /* a cycle through the map */
    assert_int_equal(ouro_weakmap_size(map), 1);
    ouro_weakmap_clear(map);
    assert_int_equal(deaths_of(number), 1);
    key = new_node();
    number = key->number;
    set(map, key, key);
    ouro_decref(key);
    ouro_decref(map);
    assert_int_equal(deaths_of(number), 1);
}

/* A chain: each key is held by the value of the key before. */
static void test_a_chain_of_keys(void **state)
{
    (void)state;
    enum { CHAIN = 50000 };
    ouro_weakmap *map = new_map();
    struct node *first = new_node(), *key = first;
    for (size_t i = 1; i < CHAIN; i++) {
        struct node *next = new_node();
        set(map, key, next);
        ouro_decref(next);
        key = next;
    }
    assert_int_equal(ouro_weakmap_size(map), CHAIN - 1);
    ouro_decref(first);
    assert_int_equal(ouro_weakmap_size(map), 0);
    for (unsigned i = 0; i < CHAIN; i++)
        assert_int_equal(deaths_of(i), 1);
    ouro_decref(map);
}

/* Values are dropped after callbacks, entries are gone before them. */
static ouro_weakmap *order_maps[2];
static unsigned order_values[2], order_calls;
static struct node *order_held; /* the second value */

static void see_order(ouro_weakref *ref, void *arg)
{
    assert_null(ouro_weakref_get(ref));
    int seen = 0;
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(ouro_weakmap_size(order_maps[i]), 0);
        assert_int_equal(ouro_weakmap_each(order_maps[i], no_call, &seen), 0);
        assert_int_equal(deaths_of(order_values[i]), 0);
    }
    assert_int_equal(ouro_refcount(order_held), 2);
    errno = 0;
    assert_int_equal(ouro_weakmap_set(order_maps[0], arg, order_held), -1); /* arg is being destroyed */
    assert_int_equal(errno, ESTALE);
    order_calls++;
}

static void test_entries_go_before_callbacks_values_after(void **state)
{
    (void)state;
    struct node *key = new_node();
    ouro_weakref *refs[3];
    order_calls = 0;
    refs[0] = ouro_weakref_new(key, see_order, key);
    for (size_t i = 0; i < 2; i++)
        order_values[i] = set_new(order_maps[i] = new_map(), key);
    order_held = ouro_weakmap_get(order_maps[1], key);
    refs[1] = ouro_weakref_new(key, see_order, key);
    refs[2] = ouro_weakref_new(key, see_order, key);
    assert_int_equal(ouro_weakref_count(key), 3);
    ouro_decref(key);
    assert_int_equal(order_calls, 3);
    assert_int_equal(ouro_refcount(order_held), 1);
    ouro_decref(order_held);
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(deaths_of(order_values[i]), 1);
        ouro_decref(order_maps[i]);
    }
    for (size_t i = 0; i < 3; i++)
        ouro_decref(refs[i]);
}

static void set_in_dying_map(ouro_weakref *ref, void *map)
{
    (void)ref;
    struct node *node = new_node();
    errno = 0;
    hook_result = ouro_weakmap_set(map, node, node);
    hook_error = errno;
    ouro_decref(node);
}

static void test_a_dying_map_takes_nothing_in(void **state)
{
    (void)state;
    ouro_weakmap *map = new_map();
    ouro_weakref *ref = ouro_weakref_new(map, set_in_dying_map, map);
    ouro_decref(map);
    assert_int_equal(hook_result, -1);
    assert_int_equal(hook_error, ESTALE);
    assert_int_equal(deaths_of(0), 1);
    ouro_decref(ref);
}

static struct node *risen;
static void rise(struct node *node)
{
    risen = ouro_newref(node);
}

static void test_resurrection_keeps_the_entry(void **state)
{
    (void)state;
    ouro_weakmap *map = new_map();
    struct node *key = new_node();
    unsigned value = set_new(map, key);
    on_finalize = rise;
    ouro_decref(key);
    on_finalize = NULL;
    assert_ptr_equal(risen, key);
    assert_int_equal(ouro_weakmap_size(map), 1);
    assert_int_equal(deaths_of(value), 0);
    ouro_decref(risen);
    assert_int_equal(ouro_weakmap_size(map), 0);
    assert_int_equal(deaths_of(value), 1);
    ouro_decref(map);
}

static void set_other_in_hook(struct node *node)
{
    if (node->ref == NULL)
        return;
    struct node *value = new_of(&leaf_type);
    assert_int_equal(ouro_weakmap_set(hook_map, node->ref, value), 0);
    ouro_decref(value);
}

/* The map changes under the hands of who clears it. */
static void test_a_value_whose_death_uses_the_map(void **state)
{
    (void)state;
    for (int by_key = 0; by_key < 2; by_key++) {
        struct node *key = new_node(), *other = new_node(), *value = new_node();
        hook_map = new_map();
        value->ref = ouro_newref(other);
        set(hook_map, key, value);
        ouro_decref(value);
        on_finalize = set_other_in_hook;
        if (by_key)
            ouro_decref(key);
        else
            ouro_weakmap_clear(hook_map);
        on_finalize = NULL;
        assert_int_equal(ouro_weakmap_size(hook_map), 1);
        void *got = ouro_weakmap_get(hook_map, other);
        assert_non_null(got);
        ouro_decref(got);
        ouro_decref(hook_map);
        if (!by_key)
            ouro_decref(key);
        ouro_decref(other);
    }
}

/* each */

struct walk {
    ouro_weakmap *map;
    struct node **keys;
    size_t key_count, calls, stop_after, mode;
    uint8_t seen[NODES];
};
static struct walk walk;

static bool walked(void *key_, void *value_, void *arg)
{
    struct walk *w = arg;
    struct node *key = key_, *value = value_;
    assert_int_equal(value->number, key->number + 1);
    assert_int_equal(deaths_of(key->number), 0);
    assert_int_equal(deaths_of(value->number), 0);
    assert_int_equal(w->seen[key->number]++, 0);
    w->calls++;
    if (w->calls == 1) {
        if (w->mode == 1)
            ouro_weakmap_clear(w->map);
        for (size_t i = 0; w->mode == 2 && i < w->key_count; i++)
            assert_true(ouro_weakmap_remove(w->map, w->keys[i]));
        for (size_t i = 0; w->mode == 3 && i < w->key_count; i++)
            OURO_CLEAR(w->keys[i]); /* all keys die, but for the walk's references */
    }
    return w->calls != w->stop_after;
}

static void test_each(void **state)
{
    (void)state;
    enum { KEYS = 500 };
    static struct node *keys[KEYS];
    for (size_t mode = 0; mode < 4; mode++) {
        for (size_t stop = 0; stop < 3; stop++) {
            memset(&walk, 0, sizeof walk);
            next_number = 0;
            walk = (struct walk){ .map = new_map(), .keys = keys, .key_count = KEYS, .mode = mode };
            walk.stop_after = stop == 0 ? 0 : stop == 1 ? 1 : 77;
            for (size_t i = 0; i < KEYS; i++) {
                keys[i] = new_node();
                set_new(walk.map, keys[i]);
            }
            size_t expected = stop == 0 ? KEYS : walk.stop_after;
            assert_int_equal(ouro_weakmap_each(walk.map, walked, &walk), expected);
            assert_int_equal(walk.calls, expected);
            assert_int_equal(ouro_weakmap_size(walk.map), mode == 0 ? KEYS : 0);
            for (size_t i = 0; i < KEYS; i++)
                ouro_xdecref(keys[i]);
            ouro_decref(walk.map);
            for (unsigned i = 0; i < 2 * KEYS; i++)
                assert_int_equal(deaths_of(i), 1);
        }
    }
}

static bool take_map_away(void *key, void *value, void *arg)
{
    (void)key;
    (void)value;
    OURO_CLEAR(*(ouro_weakmap **)arg);
    return true;
}

/* The references of each are enough: the map itself may go. */
static void test_each_while_the_map_dies(void **state)
{
    (void)state;
    ouro_weakmap *map = new_map();
    struct node *keys[20];
    for (size_t i = 0; i < COUNT_OF(keys); i++)
        set_new(map, keys[i] = new_node());
    assert_int_equal(ouro_weakmap_each(map, take_map_away, &map), COUNT_OF(keys));
    assert_null(map);
    for (size_t i = 0; i < COUNT_OF(keys); i++)
        ouro_decref(keys[i]);
    for (unsigned i = 0; i < next_number; i++)
        assert_int_equal(deaths_of(i), 1);
}

/* Against a model: which key has which value in which map. */

enum { MODEL_KEYS = 300, MODEL_MAPS = 5, NOTHING = NODES };
static struct {
    struct node *keys[MODEL_KEYS];
    ouro_weakmap *maps[MODEL_MAPS];
    unsigned values[MODEL_MAPS][MODEL_KEYS];
} model;

static bool compare_with_model(void *key, void *value, void *arg)
{
    size_t map = *(size_t *)arg;
    for (size_t k = 0; k < MODEL_KEYS; k++)
        if (model.keys[k] == key)
            return assert_int_equal(model.values[map][k], ((struct node *)value)->number), true;
    fail();
    return false;
}

static void forget_value(size_t map, size_t key)
{
    if (model.values[map][key] != NOTHING)
        assert_int_equal(deaths_of(model.values[map][key]), 1);
    model.values[map][key] = NOTHING;
}

static void check_against_model(void)
{
    for (size_t m = 0; m < MODEL_MAPS; m++) {
        size_t size = 0;
        for (size_t k = 0; k < MODEL_KEYS; k++) {
            if (model.values[m][k] == NOTHING)
                continue;
            size++;
            struct node *got = ouro_weakmap_get(model.maps[m], model.keys[k]);
            assert_non_null(got);
            assert_int_equal(got->number, model.values[m][k]);
            ouro_decref(got);
        }
        assert_int_equal(ouro_weakmap_size(model.maps[m]), size);
        assert_int_equal(ouro_weakmap_each(model.maps[m], compare_with_model, &m), size);
    }
}

static void model_step(void)
{
    size_t m = random_below(MODEL_MAPS), k = random_below(MODEL_KEYS), choice = random_below(1000);
    if (choice < 3) { /* the map dies or is cleared */
        if (choice == 0) {
            ouro_decref(model.maps[m]);
            model.maps[m] = new_map();
        } else {
            ouro_weakmap_clear(model.maps[m]);
        }
        for (size_t i = 0; i < MODEL_KEYS; i++)
            forget_value(m, i);
    } else if (choice < 150) { /* the key dies */
        ouro_decref(model.keys[k]);
        for (size_t i = 0; i < MODEL_MAPS; i++)
            forget_value(i, k);
        model.keys[k] = new_of(choice % 2 ? &node_type : &leaf_type);
    } else if (choice < 400) {
        bool is_there = model.values[m][k] != NOTHING;
        assert_int_equal(ouro_weakmap_remove(model.maps[m], model.keys[k]), is_there);
        forget_value(m, k);
    } else {
        unsigned value = set_new(model.maps[m], model.keys[k]);
        forget_value(m, k);
        model.values[m][k] = value;
    }
}

static void test_random_operations(void **state)
{
    (void)state;
    for (size_t m = 0; m < MODEL_MAPS; m++) {
        model.maps[m] = new_map();
        for (size_t k = 0; k < MODEL_KEYS; k++)
            model.values[m][k] = NOTHING;
    }
    for (size_t k = 0; k < MODEL_KEYS; k++)
        model.keys[k] = new_node();
    for (int i = 0; i < 100000; i++) {
        model_step();
        if (i % 1000 == 0)
            check_against_model();
    }
    for (size_t m = 0; m < MODEL_MAPS; m++)
        ouro_decref(model.maps[m]);
    for (size_t k = 0; k < MODEL_KEYS; k++)
        ouro_decref(model.keys[k]);
}

static void test_a_large_map_grows_and_shrinks(void **state)
{
    (void)state;
    enum { MANY = 60000 };
    static struct node *keys[MANY];
    ouro_weakmap *map = new_map();
    struct node *value = new_node();
    for (size_t i = 0; i < MANY; i++)
        set(map, keys[i] = new_of(&leaf_type), value);
    assert_int_equal(ouro_weakmap_size(map), MANY);
    assert_int_equal(ouro_refcount(value), MANY + 1);
    size_t full = ouro_sizeof(map);
    for (size_t i = 0; i < MANY; i++) {
        size_t k = i * 7919 % MANY;
        assert_value(map, keys[k], value);
        if (i % 2)
            assert_true(ouro_weakmap_remove(map, keys[k]));
        ouro_decref(keys[k]);
    }
    assert_int_equal(ouro_weakmap_size(map), 0);
    assert_true(ouro_sizeof(map) < full / 100);
    assert_int_equal(ouro_refcount(value), 1);
    ouro_decref(value);
    ouro_decref(map);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WEAK_TEST(test_set_get_replace_remove),
        WEAK_TEST(test_what_is_refused),
        WEAK_TEST(test_a_map_is_a_tracked_object),
        WEAK_TEST(test_a_key_takes_its_entry_along),
        WEAK_TEST(test_a_map_takes_its_values_along),
        WEAK_TEST(test_clear),
        WEAK_TEST(test_a_key_in_several_maps),
        WEAK_TEST(test_a_map_as_key_and_as_value),
        WEAK_TEST(test_a_key_that_is_its_value),
        WEAK_TEST(test_a_chain_of_keys),
        WEAK_TEST(test_entries_go_before_callbacks_values_after),
        WEAK_TEST(test_a_dying_map_takes_nothing_in),
        WEAK_TEST(test_resurrection_keeps_the_entry),
        WEAK_TEST(test_a_value_whose_death_uses_the_map),
        WEAK_TEST(test_each),
        WEAK_TEST(test_each_while_the_map_dies),
        WEAK_TEST(test_random_operations),
        WEAK_TEST(test_a_large_map_grows_and_shrinks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
