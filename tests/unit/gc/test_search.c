/* unit/gc/test_search.c: collections of random graphs find what a naive marker finds, in every generation, with every
 * number of workers. */
#include "unit/unit.h"

#include <stdio.h>
#include <stdlib.h>

#include "gc/internal.h"
#include "graph.h"

/* How a graph looks. */
struct shape {
    unsigned nodes;
    unsigned kinds;      /* a bit each */
    unsigned edges;      /* of a node with items, at most */
    unsigned near;       /* edges lead at most that far; 0: anywhere */
    unsigned filled;     /* edges that are there, in 256 */
    unsigned roots;      /* one in so many is held from outside */
    unsigned resurrects; /* one in so many, 0: none */
};

#define MAPS (1u << KIND_MAP | 1u << KIND_ITEMS)
#define ALL ((1u << KINDS) - 1)

static const struct shape shapes[] = {
    { 100, MAPS, 4, 0, 128, 10, 0 },       { 1000, MAPS, 3, 10, 200, 50, 0 },   { 3000, ALL, 8, 0, 150, 100, 4 },
    { 2000, ALL, 5, 5, 256, 30, 3 },       { 5000, MAPS, 300, 0, 60, 500, 0 },  { 20000, MAPS, 3, 0, 170, 5000, 0 },
    { 20000, ALL, 4, 20, 180, 1000, 10 },  { 3000, ALL & ~MAPS, 3, 0, 90, 7, 2 }, { 500, MAPS, 1, 2, 256, 499, 0 },
    { 4000, 1u << KIND_ITEMS, 700, 0, 200, 4000, 0 },
};

static enum graph_kind pick_kind(struct graph *graph, unsigned kinds)
{
    for (;;) {
        unsigned kind = (unsigned)graph_random(graph, KINDS);
        if ((kinds >> kind & 1) != 0)
            return (enum graph_kind)kind;
    }
}

static void add_nodes(struct graph *graph, const struct shape *shape, unsigned count)
{
    size_t first = graph->count;
    for (unsigned i = 0; i < count; i++) {
        unsigned edges = shape->edges < 16 ? shape->edges : (unsigned)(graph_random(graph, 64) == 0 ? shape->edges : 3);
        graph_add(graph, pick_kind(graph, shape->kinds), edges,
                  shape->resurrects != 0 && graph_random(graph, shape->resurrects) == 0);
    }
    for (size_t i = first; i < graph->count; i++) {
        for (unsigned e = 0; e < graph->nodes[i].edge_count; e++) {
            if (graph_random(graph, 256) >= shape->filled)
                continue;
            size_t to = shape->near == 0 ? graph_random(graph, graph->count)
                                         : (i + graph_random(graph, 2 * shape->near)) % graph->count;
            if (graph->nodes[to].alive)
                graph_link(graph, i, e, (int)to);
        }
    }
    /* An older node refers to younger ones too. */
    for (size_t i = 0; i < first; i++) {
        struct graph_node *node = &graph->nodes[i];
        for (unsigned e = 0; node->alive && e < node->edge_count; e++)
            if (node->edges[e] < 0 && graph_random(graph, 16) == 0)
                graph_link(graph, i, e, (int)(first + graph_random(graph, graph->count - first)));
    }
}

static void drop_some(struct graph *graph, const struct shape *shape, size_t first)
{
    for (size_t i = first; i < graph->count; i++) {
        struct graph_node *node = &graph->nodes[i];
        if (node->alive && node->held != 0 && graph_random(graph, shape->roots) != 0) {
            graph_drop(graph, i, node->held);
        }
    }
}

static void run(const struct shape *shape, uint64_t seed, unsigned workers)
{
    struct graph graph;
    graph_begin(&graph, seed);
    ouro_gc_set_workers(workers);
    for (int generation = 0; generation < 3; generation++) {
        size_t first = graph.count;
        add_nodes(&graph, shape, shape->nodes / 3);
        for (unsigned i = 0; i < 5; i++) {
            size_t node = first + graph_random(&graph, graph.count - first);
            if (graph.nodes[node].alive)
                graph_hold(&graph, node, 200);
        }
        drop_some(&graph, shape, first);
        graph_collect(&graph, (int)graph_random(&graph, 3));
        if (generation == 2) {
            drop_some(&graph, shape, 0);
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

static void random_graphs_with_workers(void **state)
{
    (void)state;
    ouroi_search_worker_objects = 64;
    for (unsigned workers = 2; workers <= 8; workers++)
        for (size_t i = 0; i < COUNT_OF(shapes); i++)
            run(&shapes[i], workers, workers);
    ouroi_search_worker_objects = 16384;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_graphs),
        cmocka_unit_test(random_graphs_with_workers),
    };
    ouro_gc_disable();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
