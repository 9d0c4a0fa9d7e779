/* graphs/loaded.c: a graph out of a file, built of objects, collected alive and dead.
 *
 * Owns        the objects and weak references of one graph.
 * Invariants  an object is as large as the node, or as its references need; it has the references of the node in their order,
 *             and as many references from outside as the node. Nodes that are not tracked and have references are untracked
 *             again; others without any are of an untracked type.
 * Sync        one thread; collections use as many workers as asked.
 * Source      none
 */
#define _GNU_SOURCE
#include "graphs.h"

#include <stdlib.h>
#include <string.h>

#include <ouro/gc.h>
#include <ouro/weakref.h>

enum { MOST_REFS = 24, HEADER = sizeof(ouro_object), YOUNG = 10000 };

/* One type for each size, number of references and name. More references than a map has room for are items. */
struct types {
    struct entry {
        uint64_t key;
        ouro_type *type;
    } * entries;
    size_t mask, used;
};

static uint16_t map_of_all[MOST_REFS];
static _Atomic uint64_t finalized;

static void on_finalize(ouro_object *self)
{
    (void)self;
    finalized++;
}

static struct entry *find_entry(struct types *types, uint64_t key)
{
    size_t at = (size_t)(key * UINT64_C(0x9e3779b97f4a7c15) >> 20) & types->mask;
    while (types->entries[at].key != 0 && types->entries[at].key != key)
        at = (at + 1) & types->mask;
    return &types->entries[at];
}

static void grow(struct types *types)
{
    struct types larger = { .mask = types->mask * 2 + 1 };
    larger.entries = calloc(larger.mask + 1, sizeof *larger.entries);
    if (larger.entries == NULL)
        exit(1);
    for (size_t i = 0; types->entries != NULL && i <= types->mask; i++)
        if (types->entries[i].key != 0)
            *find_entry(&larger, types->entries[i].key) = types->entries[i];
    larger.used = types->used;
    free(types->entries);
    *types = larger;
}

/* Others have items: what has too many references for a map, and what has none now and is tracked all the same. */
static bool has_map(const struct graph *graph, uint32_t node, uint64_t degree)
{
    return degree <= MOST_REFS && (degree > 0 || (graph->flags[node] & GRAPH_TRACKED) == 0);
}

/* What such an object has beside its items: as much as the node has beside its references, up to a bound. */
static size_t beside_items(const struct graph *graph, uint32_t node, uint32_t degree)
{
    size_t size = graph->size[node], items = 8 * (size_t)degree;
    size_t beside = size > HEADER + items ? size - items : HEADER;
    return beside < 1 << 16 ? (beside + 7) & ~(size_t)7 : 1 << 16;
}

/* What is known of a node's type, in one number that is not 0. */
static uint64_t key_of(const struct graph *graph, uint32_t node, uint32_t degree)
{
    uint64_t mapped = has_map(graph, node, degree) ? degree : MOST_REFS + 1;
    uint64_t size = graph->size[node] < 1 << 20 ? graph->size[node] : 0;
    if (degree > MOST_REFS)
        size = beside_items(graph, node, degree);
    bool final = (graph->flags[node] & GRAPH_FINALIZER) != 0;
    return (uint64_t)1 << 63 | (uint64_t)graph->type[node] << 40 | mapped << 32 | size << 1 | final;
}

static ouro_type *type_of(struct types *types, const struct graph *graph, uint32_t node, uint32_t degree)
{
    if (types->used * 2 >= types->mask)
        grow(types);
    uint64_t key = key_of(graph, node, degree);
    struct entry *entry = find_entry(types, key);
    if (entry->key == key)
        return entry->type;
    ouro_type *type = calloc(1, sizeof *type); /* lives to the end, as types do */
    if (type == NULL)
        exit(1);
    size_t size = graph->size[node] < 1 << 20 ? graph->size[node] : HEADER;
    type->name = graph->type_names[graph->type[node]];
    if (has_map(graph, node, degree)) {
        type->size = size > HEADER + 8 * (size_t)degree ? size : HEADER + 8 * (size_t)degree;
        type->refs = map_of_all;
        type->ref_count = degree;
    } else {
        type->size = beside_items(graph, node, degree);
        type->item_size = 8;
        type->items_are_refs = true;
    }
    if ((graph->flags[node] & GRAPH_FINALIZER) != 0)
        type->finalize = on_finalize;
    *entry = (struct entry){ key, type };
    types->used++;
    return type;
}

enum { IMMORTAL_COUNT = 500000000 };

struct built {
    const struct graph *graph;
    ouro_object **node;
    uint32_t *outside;
    ouro_object **weak;
    size_t weak_count;
};

static void link_node(struct built *built, uint32_t i)
{
    const struct graph *graph = built->graph;
    uint64_t degree = graph->first[i + 1] - graph->first[i];
    ouro_object **refs = has_map(graph, i, degree) ? (ouro_object **)(void *)((char *)built->node[i] + HEADER)
                                                   : (ouro_object **)ouro_items(built->node[i]);
    for (uint64_t k = 0; k < degree; k++)
        refs[k] = ouro_newref(built->node[graph->to[graph->first[i] + k]]);
    if (degree > 0 && (graph->flags[i] & GRAPH_TRACKED) == 0)
        ouro_gc_untrack(built->node[i]);
    if ((graph->flags[i] & GRAPH_WEAKLY_REFERENCED) != 0)
        built->weak[built->weak_count++] = (ouro_object *)ouro_weakref_new(built->node[i], NULL, NULL);
}

static void build(struct built *built, const struct graph *graph)
{
    struct types types = { .mask = 0 };
    grow(&types);
    for (size_t i = 0; i < MOST_REFS; i++)
        map_of_all[i] = (uint16_t)(HEADER + 8 * i);
    *built = (struct built){ .graph = graph };
    built->node = calloc((size_t)graph->nodes + 1, sizeof(void *));
    built->outside = calloc((size_t)graph->nodes + 1, sizeof(uint32_t));
    built->weak = calloc((size_t)graph->nodes + 1, sizeof(void *));
    if (built->node == NULL || built->outside == NULL || built->weak == NULL)
        exit(1);
    for (uint32_t i = 0; i < graph->nodes; i++) {
        uint32_t degree = (uint32_t)(graph->first[i + 1] - graph->first[i]);
        ouro_type *type = type_of(&types, graph, i, degree);
        built->node[i] = ouro_new_items(type, type->item_size != 0 ? degree : 0);
        if (built->node[i] == NULL) {
            perror("ouro-graphs");
            exit(1);
        }
    }
    for (uint32_t i = 0; i < graph->nodes; i++)
        link_node(built, i);
    for (uint32_t i = 0; i < graph->nodes; i++) {
        /* CPython gives its immortal objects a count of a thousand million: for those one reference stands. */
        uint32_t all = graph->count[i] > IMMORTAL_COUNT ? graph->inside[i] + 1 : graph->count[i];
        built->outside[i] = all - graph->inside[i];
        for (uint32_t k = 1; k < built->outside[i]; k++)
            ouro_incref(built->node[i]);
        if (built->outside[i] == 0)
            ouro_decref(built->node[i]); /* what nobody refers to goes */
    }
    free(types.entries);
}

/* 10^4 young objects, held, in a list of pairs. */
struct young {
    ouro_object base;
    ouro_object *refs[2];
    uint64_t payload;
};
static ouro_type young_type = OURO_TYPE(struct young, OURO_REFS(struct young, refs[0], refs[1]));

static double collect_young(void)
{
    struct young *head = NULL;
    for (size_t i = 0; i < YOUNG; i++) {
        struct young *next = ouro_new(&young_type);
        if (next == NULL)
            exit(1);
        next->refs[0] = (ouro_object *)head;
        head = next;
    }
    double start = now_s();
    ouro_gc_collect(0);
    double took = now_s() - start;
    ouro_decref(head);
    return took;
}

static double collect_full(void)
{
    double start = now_s();
    if (ouro_gc_collect(2) < 0) {
        perror("ouro-graphs: ouro_gc_collect");
        exit(1);
    }
    return now_s() - start;
}

static double repeated(double (*once)(void))
{
    double took[64];
    unsigned repeat = options.repeat < 64 ? options.repeat : 64;
    for (unsigned i = 0; i < repeat; i++)
        took[i] = once();
    return median(took, repeat);
}

static void drop_roots(struct built *built)
{
    for (size_t i = 0; i < built->weak_count; i++)
        ouro_xdecref(built->weak[i]);
    for (uint32_t i = 0; i < built->graph->nodes; i++)
        for (uint32_t k = 0; k < built->outside[i]; k++)
            ouro_decref(built->node[i]);
}

static void run_once(const char *name, const struct graph *graph, unsigned workers, bool first)
{
    struct built built;
    ouro_gc_disable();
    ouro_gc_set_workers(workers);
    size_t none = ouro_gc_get_objects(-1, NULL, NULL);
    build(&built, graph);
    ouro_gc_collect(2); /* settles: everything is old */
    uint64_t tracked = ouro_gc_get_objects(-1, NULL, NULL) - none;
    if (first)
        printf("%-14s %u nodes, %llu edges, %llu tracked, %u with references from outside\n", name, graph->nodes,
               (unsigned long long)graph->edges, (unsigned long long)tracked, graph->roots);
    report(name, "alive, full", workers, repeated(collect_full), tracked, graph->edges);
    report(name, "alive, 10^4 young", workers, repeated(collect_young), YOUNG, 0);
    double start = now_s();
    drop_roots(&built);
    double dropped = now_s() - start;
    long collected = ouro_gc_collect(2);
    double all = now_s() - start;
    report(name, "dead: counts", workers, dropped, graph->nodes - (uint64_t)collected, 0);
    report(name, "dead: collected", workers, all - dropped, (uint64_t)collected, 0);
    report(name, "dead: all", workers, all, graph->nodes, 0);
    if (ouro_gc_collect(2) != 0 || ouro_gc_get_objects(-1, NULL, NULL) != none)
        fprintf(stderr, "ouro-graphs: %s: %zu objects are left\n", name, ouro_gc_get_objects(-1, NULL, NULL) - none);
    free(built.node);
    free(built.outside);
    free(built.weak);
}

void run_graph(const char *name, const struct graph *graph)
{
    for (size_t i = 0; i < options.worker_counts; i++)
        run_once(name, graph, options.workers[i], i == 0);
}
