/* Tracing of objects: the type's name, the size of instance and items, however an object dies. */
#define _GNU_SOURCE
#include "tests.h"

#include <pthread.h>
#include <string.h>

#include <ouro/trace.h>

struct leaf {
    ouro_object base;
    char text[30];
};
struct node {
    ouro_object base;
    ouro_object *next, *other;
    char text[40];
};
struct array {
    ouro_object base;
    size_t count;
};
static ouro_type leaf_type = OURO_TYPE(struct leaf);
static ouro_type node_type = OURO_TYPE(struct node, OURO_REFS(struct node, next, other));
static ouro_type array_type = OURO_TYPE(struct array, .item_size = sizeof(ouro_object *), .items_are_refs = true);
struct bytes {
    ouro_object base;
    size_t count;
};
static ouro_type bytes_type = OURO_TYPE(struct bytes, .item_size = 1);

static size_t current(void)
{
    size_t now;
    ouro_trace_get_traced_memory(&now, NULL);
    return now;
}

static const ouro_trace_stat *stat_of(ouro_snapshot *snapshot, const char *type)
{
    const ouro_trace_stat *stats;
    size_t count = ouro_snapshot_statistics(snapshot, OURO_BY_TYPE, &stats);
    for (size_t i = 0; i < count; i++)
        if (type == NULL ? stats[i].type == NULL : stats[i].type != NULL && strcmp(stats[i].type, type) == 0)
            return &stats[i];
    return NULL;
}

static void expect(const char *type, size_t size, size_t count)
{
    ouro_snapshot *snapshot = ouro_trace_take_snapshot();
    assert_non_null(snapshot);
    const ouro_trace_stat *stat = stat_of(snapshot, type);
    assert_int_equal(stat == NULL ? 0 : stat->size, size);
    assert_int_equal(stat == NULL ? 0 : stat->count, count);
    ouro_snapshot_free(snapshot);
}

static int begin(void **state)
{
    (void)state;
    ouro_decref(ouro_new(&leaf_type)); /* what the first calls set up is not to be known */
    ouro_decref(ouro_new(&node_type));
    ouro_decref(ouro_new_items(&array_type, 3));
    ouro_decref(ouro_new_items(&bytes_type, 3));
    ouro_gc_collect(2);
    return ouro_trace_start(8, 0);
}

static int end(void **state)
{
    ouro_gc_collect(2);
    ouro_trace_stop();
    return heap_is_sound(state);
}

static void test_types_and_sizes(void **state)
{
    (void)state;
    static void *objects[400];
    for (size_t i = 0; i < 100; i++) {
        objects[i] = ouro_new(&leaf_type);
        objects[100 + i] = ouro_new(&node_type);
        objects[200 + i] = ouro_new_items(&array_type, i);
        objects[300 + i] = ouro_new_items(&bytes_type, i);
    }
    size_t leaves = 100 * sizeof(struct leaf), nodes = 100 * sizeof(struct node);
    size_t arrays = 100 * sizeof(struct array) + 4950 * sizeof(void *), bytes = 100 * sizeof(struct array) + 4950;
    assert_int_equal(current(), leaves + nodes + arrays + bytes);
    expect("leaf", leaves, 100);
    expect("node", nodes, 100);
    expect("array", arrays, 100);
    expect("bytes", bytes, 100);
    expect(NULL, 0, 0);
    void *frame;
    for (size_t i = 0; i < 400; i++) {
        assert_int_equal(ouro_trace_get_traceback(objects[i], &frame, 1), 1);
        assert_true((uintptr_t)frame - (uintptr_t)test_types_and_sizes < 4096);
    }
    for (size_t i = 0; i < 400; i++)
        ouro_decref(objects[i]);
    assert_int_equal(current(), 0);
}

static void test_large_ones(void **state)
{
    (void)state;
    struct array *array = ouro_new_items(&array_type, 100000), *bytes = ouro_new_items(&bytes_type, 20 * MIB);
    size_t sum = 2 * sizeof *array + 100000 * sizeof(void *) + 20 * MIB;
    assert_int_equal(current(), sum);
    assert_true(ouro_gc_is_tracked(array));
    ((ouro_object **)ouro_items(array))[5] = ouro_new(&node_type);
    assert_int_equal(current(), sum + sizeof(struct node));
    ouro_gc_collect(0);
    ouro_gc_collect(2);
    assert_int_equal(current(), sum + sizeof(struct node));
    ouro_decref(array);
    ouro_decref(bytes);
    assert_int_equal(current(), 0);
}

static void make_cycles(size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct node *a = ouro_new(&node_type), *b = ouro_new(&node_type);
        a->next = ouro_newref(b);
        b->next = ouro_newref(a);
        b->other = ouro_new(&leaf_type);
        ouro_decref(a);
        ouro_decref(b);
    }
}

/* In every generation, young and old, and the pools that objects are made in go on to be used. */
static void test_collected(void **state)
{
    (void)state;
    size_t each = 2 * sizeof(struct node) + sizeof(struct leaf);
    ouro_gc_disable();
    for (int generation = 0; generation < 3; generation++) {
        make_cycles(5000);
        struct node *kept = ouro_new(&node_type);
        assert_int_equal(current(), 5000 * each + sizeof(struct node));
        assert_int_equal(ouro_gc_collect(generation), 10000);
        assert_int_equal(current(), sizeof(struct node));
        assert_int_equal(ouro_gc_get_objects(-1, NULL, NULL), 1);
        ouro_decref(kept);
        assert_int_equal(current(), 0);
    }
    ouro_gc_enable();
}

/* Objects from before, from between and from after, in one graph. */
static void test_mixed(void **state)
{
    (void)state;
    ouro_gc_disable();
    ouro_trace_stop();
    make_cycles(2000);
    struct node *old = ouro_new(&node_type);
    assert_int_equal(ouro_trace_start(8, 0), 0);
    make_cycles(2000);
    struct node *kept = ouro_new(&node_type);
    kept->next = ouro_newref(old);
    old->next = ouro_newref(kept);
    ouro_trace_stop();
    make_cycles(2000);
    assert_int_equal(ouro_trace_start(8, 64 * KIB), 0);
    make_cycles(2000);
    assert_int_equal(ouro_gc_collect(1), 16000);
    assert_int_equal(ouro_debug_check(), 0);
    ouro_decref(old);
    ouro_decref(kept);
    assert_int_equal(ouro_gc_collect(2), 2);
    assert_int_equal(current(), 0);
    ouro_gc_enable();
}

static void *drop(void *object)
{
    ouro_decref(object);
    ouro_thread_unregister();
    return NULL;
}

static void test_dropped_elsewhere(void **state)
{
    (void)state;
    struct node *node = ouro_new(&node_type);
    node->next = ouro_new(&leaf_type);
    node->other = ouro_new(&node_type);
    size_t before = current();
    assert_int_equal(before, 2 * sizeof *node + sizeof(struct leaf));
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, drop, ouro_newref(node)), 0);
    OURO_BLOCKING {
        pthread_join(thread, NULL);
    }
    ouro_decref(node);
    ouro_safepoint();
    expect("node", 0, 0);
    expect("leaf", 0, 0);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_types_and_sizes, begin, end),
        cmocka_unit_test_setup_teardown(test_large_ones, begin, end),
        cmocka_unit_test_setup_teardown(test_collected, begin, end),
        cmocka_unit_test_setup_teardown(test_mixed, begin, end),
        cmocka_unit_test_setup_teardown(test_dropped_elsewhere, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
