/* unit/gc/test_search.c: collections of random graphs find what a naive marker finds, in every generation, with every
 * number of workers. */
#include "unit/unit.h"

#include <stdio.h>
#include <stdlib.h>

#include "gc/internal.h"
#include "graph.h"

#define MAPS (1u << KIND_MAP | 1u << KIND_ITEMS)
#define ALL ((1u << KINDS) - 1)

static const struct graph_shape shapes[] = {
    { 100, MAPS, 4, 0, 128, 10, 0 },      { 1000, MAPS, 3, 10, 200, 50, 0 },
    { 3000, ALL, 8, 0, 150, 100, 4 },     { 2000, ALL, 5, 5, 256, 30, 3 },
    { 5000, MAPS, 300, 0, 60, 500, 0 },   { 20000, MAPS, 3, 0, 170, 5000, 0 },
    { 20000, ALL, 4, 20, 180, 1000, 10 }, { 3000, ALL & ~MAPS, 3, 0, 90, 7, 2 },
    { 500, MAPS, 1, 2, 256, 499, 0 },     { 4000, 1u << KIND_ITEMS, 700, 0, 200, 4000, 0 },
};

static void run(const struct graph_shape *shape, uint64_t seed, unsigned workers)
{
    struct graph graph;
    graph_begin(&graph, seed);
    ouro_gc_set_workers(workers);
    for (int generation = 0; generation < 3; generation++) {
        size_t first = graph.count;
        graph_add_nodes(&graph, shape, shape->nodes / 3);
        for (unsigned i = 0; i < 5; i++) {
            size_t node = first + graph_random(&graph, graph.count - first);
            if (graph.nodes[node].alive)
                graph_hold(&graph, node, 200);
        }
        graph_drop_some(&graph, shape, first);
        graph_collect(&graph, (int)graph_random(&graph, 3));
        if (generation == 2) {
            graph_drop_some(&graph, shape, 0);
            graph_collect(&graph, 0);
            graph_collect(&graph, 1);
            graph_collect(&graph, 2);
            graph_collect(&graph, 2);
        }
    }
    graph_end(&graph);
    assert_int_equal(ouro_debug_check(), 0);
}

static void random_graphs(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 6; seed++)
        for (size_t i = 0; i < COUNT_OF(shapes); i++)
            run(&shapes[i], seed, 1);
}

/* Nodes by address: what lies on another is passed on to its workers; two have none. */
static void random_graphs_on_nodes(void **state)
{
    (void)state;
    struct ouroi_gc_counts before, after;
    ouroi_gc_count(&before);
    ouroi_search_worker_objects = 64;
    for (ouroi_search_fake_nodes = 2; ouroi_search_fake_nodes <= 5; ouroi_search_fake_nodes++)
        for (unsigned workers = 2; workers <= 7; workers++)
            for (size_t i = 0; i < COUNT_OF(shapes); i++)
                run(&shapes[i], workers, workers);
    ouroi_search_worker_objects = 16384;
    ouroi_search_fake_nodes = 0;
    ouroi_gc_count(&after);
    assert_true(after.near > before.near && after.far > before.far);
}

static void random_graphs_with_workers(void **state)
{
    (void)state;
    ouroi_search_worker_objects = 64;
    for (unsigned workers = 2; workers <= 8; workers++)
        for (size_t i = 0; i < COUNT_OF(shapes); i++)
            run(&shapes[i], workers, workers);
    ouroi_search_worker_objects = 16384;
}

/* What was held from outside last time is so no more, though its count is the same. */
static void hints_that_fail(void **state)
{
    (void)state;
    struct graph graph;
    struct ouroi_gc_counts before, after;
    for (unsigned workers = 1; workers <= 3; workers++) {
        graph_begin(&graph, workers);
        ouro_gc_set_workers(workers);
        ouroi_search_worker_objects = 64;
        for (int i = 0; i < 1000; i++) {
            graph_add(&graph, KIND_MAP, 3, false);
            if (i > 0)
                graph_link(&graph, (size_t)i - 1, 0, i);
        }
        for (size_t i = 1; i < 1000; i++)
            graph_drop(&graph, i, 1);
        graph_collect(&graph, 2);
        ouroi_gc_count(&before);
        graph_collect(&graph, 2);
        ouroi_gc_count(&after);
        assert_int_equal(after.hinted, before.hinted + 1);
        assert_int_equal(after.misled, before.misled);
        graph_link(&graph, 999, 0, 0); /* it is a ring now */
        graph_drop(&graph, 0, 1);
        graph_collect(&graph, 2);
        ouroi_gc_count(&before);
        assert_int_equal(before.hinted, after.hinted + 1);
        assert_int_equal(before.misled, after.misled + 1);
        graph_end(&graph);
    }
    ouroi_search_worker_objects = 16384;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_graphs),
        cmocka_unit_test(random_graphs_with_workers),
        cmocka_unit_test(random_graphs_on_nodes),
        cmocka_unit_test(hints_that_fail),
    };
    ouro_gc_disable();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
