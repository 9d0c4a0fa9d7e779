/* api/test_weakref_gc.c: weak references and weak maps in collections: what dies together, whose callbacks are called,
 * what an entry keeps alive.
 *
 * The oracle of the random test marks from the program's references with a loop over everything until nothing changes.
 */
#define _GNU_SOURCE
#include <ouro/gc.h>
#include <ouro/weakref.h>

#include "tests.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>

enum { NODES = 1 << 16, REFS = 3 };

struct node {
    ouro_object base;
    ouro_object *refs[REFS];
    unsigned number;
};

static uint8_t deaths[NODES];
static unsigned next_number;
static void (*on_finalize)(struct node *node);

static void node_finalize(ouro_object *self)
{
    if (on_finalize != NULL)
        on_finalize((struct node *)self);
}

static void node_destroy(ouro_object *self)
{
    __atomic_add_fetch(&deaths[((struct node *)self)->number], 1, __ATOMIC_SEQ_CST);
}

#define NODE_REFS OURO_REFS(struct node, refs[0], refs[1], refs[2])
static ouro_type node_type = OURO_TYPE(struct node, NODE_REFS, .destroy = node_destroy);
static ouro_type final_type = OURO_TYPE(struct node, NODE_REFS, .finalize = node_finalize, .destroy = node_destroy);
static ouro_type plain_type = OURO_TYPE(struct node, NODE_REFS); /* may be freed in bulk; its deaths are not seen */
static ouro_type leaf_type = OURO_TYPE(struct node, .destroy = node_destroy); /* untracked */

static struct node *new_of(ouro_type *type)
{
    struct node *node = ouro_new(type);
    assert_non_null(node);
    node->number = next_number++ % NODES;
    deaths[node->number] = 0;
    return node;
}

static struct node *new_node(void)
{
    return new_of(&node_type);
}

static void *newref(void *object)
{
    return ouro_newref(object);
}

static int reset(void **state)
{
    (void)state;
    on_finalize = NULL;
    next_number = 0;
    ouro_gc_disable();
    ouro_gc_collect(2);
    return 0;
}

static void set(ouro_weakmap *map, void *key, void *value)
{
    assert_int_equal(ouro_weakmap_set(map, key, value), 0);
}

static void assert_gone(ouro_weakref *ref)
{
    assert_null(ouro_weakref_get(ref));
}

static void assert_lives(ouro_weakref *ref, const void *object)
{
    void *got = ouro_weakref_get(ref);
    assert_ptr_equal(got, object);
    ouro_decref(got);
}

/* A cycle of two; the references are the caller's. */
static void make_cycle(ouro_type *type, struct node **first, struct node **second)
{
    *first = new_of(type);
    *second = new_of(type);
    (*first)->refs[0] = newref(*second);
    (*second)->refs[0] = newref(*first);
}

/* Callbacks */

static unsigned calls, freed;
static ouro_weakref *all_refs[16];

static void note_call(ouro_weakref *ref, void *arg)
{
    (void)arg;
    assert_gone(ref);
    for (size_t i = 0; i < COUNT_OF(all_refs); i++)
        if (all_refs[i] != NULL)
            assert_gone(all_refs[i]); /* all of them before the first call */
    for (unsigned i = 0; i < next_number; i++)
        assert_int_equal(deaths[i], 0); /* and that before anything is destroyed */
    calls++;
}

static void note_free(void *arg)
{
    (void)arg;
    __atomic_add_fetch(&freed, 1, __ATOMIC_SEQ_CST);
}

static void start(void)
{
    calls = freed = 0;
    memset(all_refs, 0, sizeof all_refs);
}

static void test_a_cycle_is_found_dead(void **state)
{
    (void)state;
    ouro_type *const types[] = { &node_type, &final_type, &plain_type };
    for (size_t t = 0; t < COUNT_OF(types); t++) {
        struct node *nodes[2];
        start();
        reset(NULL);
        make_cycle(types[t], &nodes[0], &nodes[1]);
        for (size_t i = 0; i < 8; i++)
            all_refs[i] = ouro_weakref_new_full(nodes[i % 2], note_call, NULL, note_free);
        all_refs[8] = ouro_weakref_new(nodes[0], NULL, NULL);
        ouro_decref(nodes[0]);
        assert_int_equal(ouro_gc_collect(2), 0);
        assert_lives(all_refs[8], nodes[0]);
        ouro_decref(nodes[1]);
        assert_lives(all_refs[8], nodes[0]);
        assert_int_equal(calls, 0);
        assert_int_equal(ouro_gc_collect(2), 2);
        assert_int_equal(calls, 8);
        for (size_t i = 0; i < 9; i++) {
            assert_gone(all_refs[i]);
            ouro_decref(all_refs[i]);
        }
        assert_int_equal(calls, 8);
        assert_int_equal(freed, 8);
        for (unsigned i = 0; i < 2 && types[t] != &plain_type; i++)
            assert_int_equal(deaths[i], 1);
    }
}

/* A weak reference that only garbage holds is garbage itself: cleared, freed, not called back. */
static void test_no_callback_of_garbage(void **state)
{
    (void)state;
    ouro_type *const types[] = { &node_type, &final_type, &plain_type };
    for (size_t t = 0; t < COUNT_OF(types); t++) {
        struct node *nodes[2];
        start();
        reset(NULL);
        make_cycle(types[t], &nodes[0], &nodes[1]);
        nodes[0]->refs[1] = (ouro_object *)ouro_weakref_new_full(nodes[0], note_call, NULL, note_free);
        nodes[0]->refs[2] = (ouro_object *)ouro_weakref_new_full(nodes[1], note_call, NULL, note_free);
        nodes[1]->refs[1] = newref(nodes[0]->refs[2]); /* held twice */
        ouro_weakref *mixed = ouro_weakref_new_full(nodes[1], note_call, NULL, note_free);
        nodes[1]->refs[2] = newref(mixed); /* by garbage, and by us */
        ouro_decref(nodes[0]);
        ouro_decref(nodes[1]);
        assert_int_equal(ouro_gc_collect(2), 2);
        assert_int_equal(calls, 1);
        assert_int_equal(freed, 2);
        assert_int_equal(ouro_refcount(mixed), 1);
        ouro_decref(mixed);
        assert_int_equal(freed, 3);
    }
}

/* A weak reference to what lives, held by garbage. */
static void test_garbage_with_a_weak_reference_to_the_living(void **state)
{
    (void)state;
    struct node *nodes[2], *living = new_node();
    start();
    make_cycle(&node_type, &nodes[0], &nodes[1]);
    nodes[0]->refs[1] = (ouro_object *)ouro_weakref_new_full(living, note_call, NULL, note_free);
    ouro_decref(nodes[0]);
    ouro_decref(nodes[1]);
    assert_int_equal(ouro_gc_collect(2), 2);
    assert_int_equal(freed, 1);
    assert_int_equal(ouro_weakref_count(living), 0);
    ouro_decref(living);
    assert_int_equal(calls, 0);
}

static struct node *risen;
static void rise(struct node *node)
{
    if (risen == NULL)
        risen = newref(node);
}

static void test_resurrection_keeps_weak_references(void **state)
{
    (void)state;
    struct node *nodes[2];
    start();
    make_cycle(&final_type, &nodes[0], &nodes[1]);
    ouro_weakref *refs[2] = { ouro_weakref_new(nodes[0], note_call, NULL),
                              ouro_weakref_new(nodes[1], note_call, NULL) };
    on_finalize = rise;
    risen = NULL;
    ouro_decref(nodes[0]);
    ouro_decref(nodes[1]);
    assert_int_equal(ouro_gc_collect(2), 0);
    assert_non_null(risen);
    assert_int_equal(calls, 0);
    assert_lives(refs[0], nodes[0]);
    assert_lives(refs[1], nodes[1]);
    ouro_decref(risen);
    assert_int_equal(ouro_gc_collect(2), 2);
    assert_int_equal(calls, 2);
    assert_gone(refs[0]);
    assert_gone(refs[1]);
    ouro_decref(refs[0]);
    ouro_decref(refs[1]);
}

static ouro_weakref *made;
static void make_weak(struct node *node)
{
    made = ouro_weakref_new(node, note_call, NULL);
}

static void test_a_finalizer_may_make_one(void **state)
{
    (void)state;
    struct node *node = new_of(&final_type);
    start();
    node->refs[0] = newref(node);
    on_finalize = make_weak;
    ouro_decref(node);
    assert_int_equal(ouro_gc_collect(2), 1);
    assert_non_null(made);
    assert_gone(made);
    assert_int_equal(calls, 1);
    ouro_decref(made);
}

static pthread_t called_by;
static unsigned order[8];
static void note_thread(ouro_weakref *ref, void *arg)
{
    called_by = pthread_self();
    order[calls] = ouro_weakref_get(ref) == NULL ? (unsigned)(uintptr_t)arg : 0;
    __atomic_add_fetch(&calls, 1, __ATOMIC_SEQ_CST);
}

/* They are called though the program dropped them meanwhile. */
static void test_callbacks_on_the_finalizer_thread(void **state)
{
    (void)state;
    struct node *nodes[2];
    ouro_weakref *refs[6];
    start();
    assert_int_equal(ouro_gc_set_finalizer_thread(true), 0);
    make_cycle(&node_type, &nodes[0], &nodes[1]);
    for (size_t i = 0; i < 6; i++)
        refs[i] = ouro_weakref_new_full(nodes[0], note_thread, (void *)(i + 1), note_free);
    ouro_decref(nodes[0]);
    ouro_decref(nodes[1]);
    ouro_gc_collect(2);
    for (size_t i = 0; i < 6; i++) {
        assert_gone(refs[i]);
        ouro_decref(refs[i]);
    }
    while (__atomic_load_n(&freed, __ATOMIC_SEQ_CST) < 6) {
        ouro_safepoint();
        sched_yield();
    }
    assert_int_equal(calls, 6);
    for (unsigned i = 0; i < 6; i++)
        assert_int_equal(order[i], 6 - i);
    assert_false(pthread_equal(called_by, pthread_self()));
    assert_int_equal(ouro_gc_set_finalizer_thread(false), 0);
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(deaths[i], 1);
}

/* Maps */

/* The value refers to its key: both die when nothing else refers to the key. */
static void test_a_value_does_not_keep_its_key(void **state)
{
    (void)state;
    ouro_type *const types[] = { &node_type, &leaf_type, &final_type };
    for (size_t t = 0; t < COUNT_OF(types); t++) {
        reset(NULL);
        ouro_weakmap *map = ouro_weakmap_new();
        struct node *key = new_of(types[t]), *value = new_node();
        value->refs[0] = newref(key);
        set(map, key, value);
        ouro_decref(value);
        ouro_gc_collect(2);
        assert_int_equal(ouro_weakmap_size(map), 1);
        void *got = ouro_weakmap_get(map, key);
        assert_ptr_equal(got, value);
        ouro_decref(got);
        ouro_decref(key);
        assert_int_equal(ouro_weakmap_size(map), 1);
        ouro_gc_collect(2);
        assert_int_equal(ouro_weakmap_size(map), 0);
        assert_int_equal(deaths[0], 1);
        assert_int_equal(deaths[1], 1);
        ouro_decref(map);
    }
}

static void test_a_key_that_is_its_value(void **state)
{
    (void)state;
    ouro_type *const types[] = { &node_type, &leaf_type };
    for (size_t t = 0; t < COUNT_OF(types); t++) {
        reset(NULL);
        ouro_weakmap *map = ouro_weakmap_new();
        struct node *key = new_of(types[t]);
        set(map, key, key);
        ouro_gc_collect(2);
        assert_int_equal(ouro_weakmap_size(map), 1);
        ouro_decref(key);
        ouro_gc_collect(2);
        assert_int_equal(ouro_weakmap_size(map), 0);
        assert_int_equal(deaths[0], 1);
        ouro_decref(map);
    }
}

/* Key 0 is held; value i refers to key i + 1: in one map, or in turns in several. */
static void test_a_chain_of_entries(void **state)
{
    (void)state;
    enum { CHAIN = 2000 };
    for (size_t count = 1; count <= 3; count++) {
        reset(NULL);
        ouro_weakmap *maps[3];
        for (size_t i = 0; i < count; i++)
            maps[i] = ouro_weakmap_new();
        struct node *first = new_node(), *key = newref(first);
        for (size_t i = 0; i < CHAIN; i++) {
            struct node *value = new_node(), *next = new_of(i % 3 ? &node_type : &leaf_type);
            value->refs[0] = newref(next);
            value->refs[1] = newref(key); /* and to its own */
            set(maps[i % count], key, value);
            ouro_decref(value);
            ouro_decref(key);
            key = next;
        }
        ouro_decref(key);
        ouro_gc_collect(2);
        for (unsigned i = 0; i < next_number; i++)
            assert_int_equal(deaths[i], 0);
        ouro_decref(first);
        ouro_gc_collect(2);
        for (unsigned i = 0; i < next_number; i++)
            assert_int_equal(deaths[i], 1);
        for (size_t i = 0; i < count; i++) {
            assert_int_equal(ouro_weakmap_size(maps[i]), 0);
            ouro_decref(maps[i]);
        }
    }
}

static void test_two_maps_that_hold_each_others_keys(void **state)
{
    (void)state;
    ouro_weakmap *maps[2] = { ouro_weakmap_new(), ouro_weakmap_new() };
    struct node *keys[2] = { new_node(), new_node() };
    for (size_t i = 0; i < 2; i++) {
        struct node *value = new_node();
        value->refs[0] = newref(keys[1 - i]);
        set(maps[i], keys[i], value);
        ouro_decref(value);
    }
    ouro_decref(keys[0]);
    ouro_gc_collect(2);
    assert_int_equal(ouro_weakmap_size(maps[0]) + ouro_weakmap_size(maps[1]), 2);
    ouro_decref(keys[1]);
    ouro_gc_collect(2);
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(deaths[i], 1);
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(ouro_weakmap_size(maps[i]), 0);
        ouro_decref(maps[i]);
    }
}

static void test_a_map_in_a_cycle(void **state)
{
    (void)state;
    for (int with_keys = 0; with_keys < 2; with_keys++) {
        reset(NULL);
        ouro_weakmap *map = ouro_weakmap_new();
        struct node *key = new_node(), *value = new_node();
        ouro_weakref *ref = ouro_weakref_new(map, NULL, NULL);
        value->refs[0] = newref(map);
        if (with_keys) {
            value->refs[1] = newref(key);
            key->refs[0] = newref(value);
        }
        set(map, key, value);
        ouro_decref(value);
        ouro_decref(map);
        ouro_gc_collect(2);
        if (!with_keys) { /* only its own value refers to the map, though the key lives */
            assert_gone(ref);
            assert_int_equal(deaths[1], 1);
            assert_int_equal(deaths[0], 0);
            ouro_decref(key);
        } else {
            assert_lives(ref, map);
            ouro_decref(key);
            assert_int_equal(deaths[1], 0);
            ouro_gc_collect(2);
            assert_gone(ref);
            assert_int_equal(deaths[1], 1);
        }
        assert_int_equal(deaths[0], 1);
        ouro_decref(ref);
    }
}

static void test_a_value_that_is_held_survives(void **state)
{
    (void)state;
    ouro_weakmap *map = ouro_weakmap_new();
    struct node *key = new_node(), *value = new_node();
    key->refs[0] = newref(key);
    set(map, key, value);
    ouro_decref(key);
    ouro_gc_collect(2);
    assert_int_equal(ouro_weakmap_size(map), 0);
    assert_int_equal(deaths[0], 1);
    assert_int_equal(deaths[1], 0);
    assert_int_equal(ouro_refcount(value), 1);
    ouro_decref(value);
    ouro_decref(map);
}

static ouro_weakmap *order_map;
static void see_order(ouro_weakref *ref, void *arg)
{
    (void)ref;
    (void)arg;
    assert_int_equal(ouro_weakmap_size(order_map), 0);
    assert_int_equal(deaths[1], 0);
    calls++;
}

static void test_values_are_dropped_after_callbacks(void **state)
{
    (void)state;
    start();
    order_map = ouro_weakmap_new();
    struct node *key = new_node(), *value = new_of(&leaf_type);
    key->refs[0] = newref(key);
    set(order_map, key, value);
    ouro_decref(value);
    ouro_weakref *ref = ouro_weakref_new(key, see_order, NULL);
    ouro_decref(key);
    ouro_gc_collect(2);
    assert_int_equal(calls, 1);
    assert_int_equal(deaths[0], 1);
    assert_int_equal(deaths[1], 1);
    ouro_decref(ref);
    ouro_decref(order_map);
}

static void test_a_young_collection_leaves_an_old_map(void **state)
{
    (void)state;
    ouro_weakmap *map = ouro_weakmap_new();
    ouro_gc_collect(2);
    assert_int_equal(ouro_gc_generation_of(map), 2);
    struct node *key = new_node(), *value = new_node();
    value->refs[0] = newref(key);
    set(map, key, value);
    ouro_decref(value);
    ouro_decref(key);
    ouro_gc_collect(0);
    assert_int_equal(ouro_weakmap_size(map), 1);
    assert_int_equal(deaths[0] + deaths[1], 0);
    ouro_gc_collect(2);
    assert_int_equal(ouro_weakmap_size(map), 0);
    assert_int_equal(deaths[0] + deaths[1], 2);
    ouro_decref(map);
}

static bool count_object(ouro_object *object, void *arg)
{
    (void)object;
    ++*(size_t *)arg;
    return true;
}

static void test_referents_are_values(void **state)
{
    (void)state;
    ouro_weakmap *map = ouro_weakmap_new();
    struct node *key = new_node(), *value = new_node();
    size_t count = 0;
    set(map, key, value);
    assert_true(ouro_gc_is_tracked(map));
    assert_int_equal(ouro_gc_get_referents(map, count_object, &count), 1);
    assert_int_equal(ouro_gc_get_referrers(value, count_object, &count), 1);
    assert_int_equal(ouro_gc_get_referrers(key, count_object, &count), 0);
    assert_int_equal(count, 2);
    ouro_decref(map);
    ouro_decref(key);
    ouro_decref(value);
}

/* Random graphs of nodes and maps */

static uint64_t random_state = 0x123456789abcdefu;
static size_t random_below(size_t n)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (size_t)(random_state >> 20) % n;
}

enum { GRAPH_MAX = 50000, MAPS = 6 };
/* Objects 0..nodes-1 are nodes, the rest maps. */
static struct graph {
    size_t nodes, total;
    ouro_object *objects[GRAPH_MAX + MAPS];
    ouro_weakref *weak[GRAPH_MAX + MAPS];
    bool held[GRAPH_MAX + MAPS], reached[GRAPH_MAX + MAPS];
    int refs[GRAPH_MAX][REFS];          /* object, or -1 */
    int values[MAPS][GRAPH_MAX + MAPS]; /* by key: object, or -1 */
} graph;

static ouro_weakmap *map_at(size_t m)
{
    return (ouro_weakmap *)graph.objects[graph.nodes + m];
}

/* Sparse ones fall into parts, dense ones hang together. */
static void make_references(void)
{
    size_t odds = 2 + random_below(6), density = 2 + random_below(40);
    for (size_t i = 0; i < graph.nodes; i++) {
        struct node *node = (struct node *)graph.objects[i];
        for (size_t k = 0; k < REFS; k++) {
            bool is = ouro_typeof(node) != &leaf_type && random_below(odds) == 0;
            graph.refs[i][k] = is ? (int)random_below(graph.total) : -1;
            if (is)
                node->refs[k] = newref(graph.objects[graph.refs[i][k]]);
        }
    }
    for (size_t m = 0; m < MAPS; m++) {
        for (size_t k = 0; k < graph.total; k++) {
            graph.values[m][k] = random_below(density) == 0 ? (int)random_below(graph.total) : -1;
            if (graph.values[m][k] >= 0)
                set(map_at(m), graph.objects[k], graph.objects[graph.values[m][k]]);
        }
    }
}

static void make_graph(size_t nodes)
{
    graph.nodes = nodes;
    graph.total = nodes + MAPS;
    next_number = 0;
    for (size_t i = 0; i < graph.total; i++) {
        size_t kind = random_below(10);
        if (i >= nodes)
            graph.objects[i] = (ouro_object *)ouro_weakmap_new();
        else
            graph.objects[i] = (ouro_object *)new_of(kind < 2 ? &leaf_type : kind < 4 ? &final_type : &node_type);
        graph.weak[i] = ouro_weakref_new(graph.objects[i], NULL, NULL);
        graph.held[i] = true;
    }
    make_references();
}

static bool reach(int object)
{
    if (object < 0 || graph.reached[object])
        return false;
    graph.reached[object] = true;
    return true;
}

static void mark_graph(void)
{
    memset(graph.reached, 0, sizeof graph.reached);
    for (size_t i = 0; i < graph.total; i++)
        if (graph.held[i])
            reach((int)i);
    for (bool more = true; more;) {
        more = false;
        for (size_t i = 0; i < graph.nodes; i++)
            for (size_t k = 0; k < REFS && graph.reached[i]; k++)
                more |= reach(graph.refs[i][k]);
        for (size_t m = 0; m < MAPS; m++)
            for (size_t k = 0; k < graph.total && graph.reached[graph.nodes + m]; k++)
                if (graph.reached[k])
                    more |= reach(graph.values[m][k]);
    }
}

static void check_graph(void)
{
    for (size_t i = 0; i < graph.total; i++) {
        void *got = ouro_weakref_get(graph.weak[i]);
        assert_ptr_equal(got, graph.reached[i] ? graph.objects[i] : NULL);
        ouro_xdecref(got);
        if (i < graph.nodes)
            assert_int_equal(deaths[i], !graph.reached[i]);
    }
    for (size_t m = 0; m < MAPS; m++) {
        if (!graph.reached[graph.nodes + m])
            continue;
        size_t size = 0;
        for (size_t k = 0; k < graph.total; k++)
            size += graph.reached[k] && graph.values[m][k] >= 0;
        assert_int_equal(ouro_weakmap_size(map_at(m)), size);
    }
}

static size_t partial; /* collections that found much dead, and left much */

static void note_partial(void)
{
    size_t reached = 0;
    for (size_t i = 0; i < graph.total; i++)
        reached += graph.reached[i];
    partial += reached > graph.total / 10 && reached < graph.total - graph.total / 10;
}

/* share: of what is held, that part is let go before each collection, and all before the last. */
static void run_graph(size_t nodes, size_t share, bool some_old)
{
    make_graph(nodes);
    if (some_old)
        ouro_gc_collect((int)random_below(3)); /* all are alive */
    for (size_t step = 0; step < 4; step++) {
        for (size_t i = 0; i < graph.total; i++) {
            if (graph.held[i] && (step == 3 || random_below(100) < share)) {
                graph.held[i] = false;
                ouro_decref(graph.objects[i]);
            }
        }
        mark_graph();
        note_partial();
        ouro_gc_collect(2);
        check_graph();
    }
    for (size_t i = 0; i < graph.total; i++)
        ouro_decref(graph.weak[i]);
}

static void test_random_graphs(void **state)
{
    (void)state;
    for (unsigned round = 0; round < 400; round++) {
        assert_int_equal(ouro_gc_set_workers(round % 4), 0);
        run_graph(5 + random_below(80), 66, round % 3 == 0);
    }
    ouro_gc_set_workers(0);
}

/* So many that several workers search. */
static void test_large_random_graphs(void **state)
{
    (void)state;
    partial = 0;
    for (unsigned round = 0; round < 6; round++) {
        assert_int_equal(ouro_gc_set_workers(2 + round), 0);
        run_graph(GRAPH_MAX, 80, round % 2 == 0);
    }
    ouro_gc_set_workers(0);
    assert_true(partial >= 3);
}

/* Threads that make, link, store and drop, while another collects all the time. Nodes are linked by the thread that made them;
 * maps are everybody's. */

enum { MUTATORS = 3, STEPS = 60000, ROOTS = 48 };

struct watch {
    ouro_weakref *ref;
    unsigned number, called, freed;
};

static struct {
    ouro_weakmap *maps[3];
    unsigned wrong, working;
} pound;

struct mutator {
    uint64_t seed;
    struct node *roots[ROOTS];
    struct watch *watches[ROOTS];
};

static void expect(bool is)
{
    if (!is)
        __atomic_add_fetch(&pound.wrong, 1, __ATOMIC_SEQ_CST);
}

static unsigned deaths_of(unsigned number)
{
    return __atomic_load_n(&deaths[number], __ATOMIC_SEQ_CST);
}

static size_t choose(struct mutator *self, size_t n)
{
    self->seed = self->seed * 6364136223846793005u + 1442695040888963407u;
    return (size_t)(self->seed >> 33) % n;
}

static void watch_called(ouro_weakref *ref, void *arg)
{
    struct watch *watch = arg;
    expect(ouro_weakref_get(ref) == NULL && deaths_of(watch->number) == 0 && watch->called++ == 0);
}

static void watch_freed(void *arg)
{
    __atomic_add_fetch(&((struct watch *)arg)->freed, 1, __ATOMIC_SEQ_CST);
}

static bool see_pair(void *key, void *value, void *arg)
{
    (void)arg;
    expect(deaths_of(((struct node *)key)->number) == 0 && deaths_of(((struct node *)value)->number) == 0);
    return true;
}

static void drop_watch(struct watch *watch)
{
    if (watch == NULL)
        return;
    struct node *got = ouro_weakref_get(watch->ref);
    expect(got == NULL || (got->number == watch->number && deaths_of(watch->number) == 0));
    ouro_xdecref(got);
    ouro_decref(watch->ref);
    while (__atomic_load_n(&watch->freed, __ATOMIC_SEQ_CST) == 0)
        ouro_safepoint(); /* a callback of another thread holds it */
    expect(watch->freed == 1 && watch->called <= 1);
    ouro_free(watch);
}

static struct watch *watch_node(struct node *node)
{
    struct watch *watch = ouro_calloc(1, sizeof *watch);
    watch->number = node->number;
    watch->ref = ouro_weakref_new_full(node, watch_called, watch, watch_freed);
    expect(watch->ref != NULL);
    return watch;
}

static void renew(struct mutator *self, struct node **root)
{
    size_t kind = choose(self, 10);
    struct node *node = ouro_new(kind == 0 ? &final_type : kind < 3 ? &leaf_type : &node_type);
    node->number = __atomic_fetch_add(&next_number, 1, __ATOMIC_SEQ_CST);
    ouro_xdecref(*root);
    *root = node;
}

static void step(struct mutator *self)
{
    size_t a = choose(self, ROOTS), b = choose(self, ROOTS);
    struct node *node = self->roots[a], *other = self->roots[b], *got;
    ouro_weakmap *map = pound.maps[choose(self, COUNT_OF(pound.maps))];
    if (node == NULL || other == NULL) {
        renew(self, node == NULL ? &self->roots[a] : &self->roots[b]);
        return;
    }
    switch (choose(self, 9)) {
    case 0:
        renew(self, &self->roots[a]);
        break;
    case 1:
    case 2:
    case 3:
        if (ouro_typeof(node) != &leaf_type)
            OURO_SETREF(node->refs[choose(self, REFS)], (ouro_object *)newref(other));
        break;
    case 4:
    case 5:
        expect(ouro_weakmap_set(map, node, other) == 0);
        break;
    case 6:
        got = ouro_weakmap_get(map, node);
        expect(got == NULL || deaths_of(got->number) == 0);
        ouro_xdecref(got);
        break;
    case 7:
        drop_watch(self->watches[a]);
        self->watches[a] = watch_node(other);
        break;
    default:
        if (choose(self, 100) == 0)
            ouro_weakmap_each(map, see_pair, NULL);
        else if (choose(self, 4) == 0)
            ouro_weakmap_remove(map, node);
    }
}

static void *mutate(void *arg)
{
    struct mutator self = { .seed = (uintptr_t)arg };
    for (int i = 0; i < STEPS; i++) {
        step(&self);
        ouro_safepoint();
    }
    for (size_t i = 0; i < ROOTS; i++) {
        drop_watch(self.watches[i]);
        ouro_xdecref(self.roots[i]);
    }
    __atomic_sub_fetch(&pound.working, 1, __ATOMIC_SEQ_CST);
    return NULL;
}

static void test_collections_while_others_work(void **state)
{
    (void)state;
    pthread_t ids[MUTATORS];
    memset(&pound, 0, sizeof pound);
    memset(deaths, 0, sizeof deaths);
    pound.working = MUTATORS;
    for (size_t i = 0; i < COUNT_OF(pound.maps); i++)
        pound.maps[i] = ouro_weakmap_new();
    for (size_t i = 0; i < MUTATORS; i++)
        assert_int_equal(pthread_create(&ids[i], NULL, mutate, (void *)(i + 1)), 0);
    for (int i = 0; __atomic_load_n(&pound.working, __ATOMIC_SEQ_CST) > 0; i++)
        assert_true(ouro_gc_collect(i % 3) >= 0);
    for (size_t i = 0; i < MUTATORS; i++) {
        OURO_BLOCKING {
            assert_int_equal(pthread_join(ids[i], NULL), 0);
        }
    }
    ouro_gc_collect(2);
    assert_true(next_number < NODES);
    for (unsigned i = 0; i < next_number; i++)
        assert_int_equal(deaths_of(i), 1);
    for (size_t i = 0; i < COUNT_OF(pound.maps); i++) {
        assert_int_equal(ouro_weakmap_size(pound.maps[i]), 0);
        ouro_decref(pound.maps[i]);
    }
    assert_int_equal(pound.wrong, 0);
}

#define WEAK_TEST(function) cmocka_unit_test_setup_teardown(function, reset, heap_is_sound)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WEAK_TEST(test_a_cycle_is_found_dead),
        WEAK_TEST(test_no_callback_of_garbage),
        WEAK_TEST(test_garbage_with_a_weak_reference_to_the_living),
        WEAK_TEST(test_resurrection_keeps_weak_references),
        WEAK_TEST(test_a_finalizer_may_make_one),
        WEAK_TEST(test_callbacks_on_the_finalizer_thread),
        WEAK_TEST(test_a_value_does_not_keep_its_key),
        WEAK_TEST(test_a_key_that_is_its_value),
        WEAK_TEST(test_a_chain_of_entries),
        WEAK_TEST(test_two_maps_that_hold_each_others_keys),
        WEAK_TEST(test_a_map_in_a_cycle),
        WEAK_TEST(test_a_value_that_is_held_survives),
        WEAK_TEST(test_values_are_dropped_after_callbacks),
        WEAK_TEST(test_a_young_collection_leaves_an_old_map),
        WEAK_TEST(test_referents_are_values),
        WEAK_TEST(test_random_graphs),
        WEAK_TEST(test_large_random_graphs),
        WEAK_TEST(test_collections_while_others_work),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
