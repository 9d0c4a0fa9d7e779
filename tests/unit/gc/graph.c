/* unit/gc/graph.c: see graph.h. */
#include "graph.h"

#include "gc/internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPECT(condition, ...)                                                      \
    do {                                                                            \
        if (!(condition)) {                                                         \
            fprintf(stderr, "%s:%d: not so: " #condition ": ", __FILE__, __LINE__); \
            fprintf(stderr, __VA_ARGS__);                                           \
            fputc('\n', stderr);                                                    \
            abort();                                                                \
        }                                                                           \
    } while (0)

struct plain {
    ouro_object header;
    size_t id;
    ouro_object *refs[3];
};
struct listed {
    ouro_object header;
    size_t id;
    ouro_object *items[];
};

static struct graph *current;

static size_t id_of(ouro_object *obj)
{
    return ((struct plain *)obj)->id;
}

static void plain_traverse(ouro_object *self, ouro_visit visit, void *arg)
{
    struct plain *plain = (struct plain *)self;
    for (unsigned i = 0; i < 3; i++)
        if (plain->refs[i] != NULL)
            visit(plain->refs[i], arg);
}

static void plain_clear(ouro_object *self)
{
    struct plain *plain = (struct plain *)self;
    for (unsigned i = 0; i < 3; i++)
        OURO_CLEAR(plain->refs[i]);
}

static void plain_finalize(ouro_object *self)
{
    struct graph_node *node = &current->nodes[id_of(self)];
    node->finalized++;
    if (node->resurrects) {
        ouro_incref(self);
        node->held++;
        node->in++;
        node->saved = true;
    }
}

static void plain_destroy(ouro_object *self)
{
    struct plain *plain = (struct plain *)self;
    for (unsigned i = 0; i < 3; i++)
        EXPECT(plain->refs[i] == NULL, "node %zu is destroyed with a reference", plain->id);
    current->nodes[plain->id].destroyed++;
}

static ouro_type types[KINDS] = {
    [KIND_MAP] = OURO_TYPE(struct plain, OURO_REFS(struct plain, refs[0], refs[1], refs[2])),
    [KIND_ITEMS] = OURO_TYPE_SIZED(struct listed, offsetof(struct listed, items), .item_size = sizeof(void *),
                                   .items_are_refs = true),
    [KIND_TRAVERSE] = OURO_TYPE(struct plain, .traverse = plain_traverse, .clear = plain_clear),
    [KIND_FINALIZE] =
        OURO_TYPE(struct plain, OURO_REFS(struct plain, refs[0], refs[1], refs[2]), .finalize = plain_finalize),
    [KIND_DESTROY] =
        OURO_TYPE(struct plain, OURO_REFS(struct plain, refs[0], refs[1], refs[2]), .destroy = plain_destroy),
    [KIND_ALL] = OURO_TYPE(struct plain, .traverse = plain_traverse, .clear = plain_clear, .finalize = plain_finalize,
                           .destroy = plain_destroy),
};

void graph_begin(struct graph *graph, uint64_t seed)
{
    memset(graph, 0, sizeof *graph);
    graph->random = seed * 0x9e3779b97f4a7c15u + 1;
    current = graph;
}

uint64_t graph_random(struct graph *graph, uint64_t below)
{
    uint64_t x = graph->random;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    graph->random = x;
    return (x >> 11) % below;
}

size_t graph_add(struct graph *graph, enum graph_kind kind, unsigned edges, bool resurrects)
{
    if (graph->count == graph->room) {
        graph->room = graph->room == 0 ? 1024 : 2 * graph->room;
        graph->nodes = realloc(graph->nodes, graph->room * sizeof *graph->nodes);
    }
    if (kind != KIND_ITEMS)
        edges = 3;
    struct graph_node *node = &graph->nodes[graph->count];
    memset(node, 0, sizeof *node);
    node->kind = kind;
    node->object = kind == KIND_ITEMS ? ouro_new_items(&types[kind], edges) : ouro_new(&types[kind]);
    EXPECT(node->object != NULL, "memory");
    ((struct plain *)node->object)->id = graph->count;
    node->edges = malloc((edges + 1) * sizeof *node->edges);
    for (unsigned i = 0; i < edges; i++)
        node->edges[i] = -1;
    node->edge_count = edges;
    node->held = node->in = 1;
    node->alive = true;
    node->resurrects = resurrects && (kind == KIND_FINALIZE || kind == KIND_ALL);
    return graph->count++;
}

void graph_link(struct graph *graph, size_t from, unsigned edge, int to)
{
    struct graph_node *node = &graph->nodes[from];
    if (edge >= node->edge_count)
        return;
    ouro_object **at = node->kind == KIND_ITEMS ? &((struct listed *)node->object)->items[edge]
                                                : &((struct plain *)node->object)->refs[edge];
    EXPECT(node->edges[edge] < 0, "edges are set once");
    node->edges[edge] = to;
    *at = to < 0 ? NULL : ouro_newref(graph->nodes[to].object);
    if (to >= 0)
        graph->nodes[to].in++;
}

void graph_hold(struct graph *graph, size_t node, unsigned more)
{
    for (unsigned i = 0; i < more; i++)
        ouro_incref(graph->nodes[node].object);
    graph->nodes[node].held += more;
    graph->nodes[node].in += more;
}

/* In the books: what nothing refers to any more is dead, and so on. What finalizers have saved meanwhile is referred to. */
static void die(struct graph *graph, size_t *stack, size_t top)
{
    while (top != 0) {
        struct graph_node *node = &graph->nodes[stack[--top]];
        node->alive = false;
        node->object = NULL;
        for (unsigned e = 0; e < node->edge_count; e++)
            if (node->edges[e] >= 0 && --graph->nodes[node->edges[e]].in == 0 && graph->nodes[node->edges[e]].alive)
                stack[top++] = (size_t)node->edges[e];
    }
}

void graph_drop(struct graph *graph, size_t index, size_t count)
{
    struct graph_node *node = &graph->nodes[index];
    EXPECT(node->held >= count, "%zu", node->held);
    ouro_object *obj = node->object;
    node->held -= count;
    node->in -= count;
    for (size_t i = 0; i < count; i++)
        ouro_decref(obj);
    if (node->in == 0) {
        size_t *stack = malloc((graph->count + 1) * sizeof *stack);
        stack[0] = index;
        die(graph, stack, 1);
        free(stack);
    }
}

static void mark(struct graph *graph, size_t *stack, size_t top)
{
    while (top != 0) {
        struct graph_node *node = &graph->nodes[stack[--top]];
        for (unsigned e = 0; e < node->edge_count; e++) {
            int to = node->edges[e];
            if (to >= 0 && !graph->nodes[to].marked) {
                graph->nodes[to].marked = true;
                stack[top++] = (size_t)to;
            }
        }
    }
}

/* Marks from what is held from outside, and from what is older than `generation`. */
static void mark_living(struct graph *graph, int generation)
{
    size_t *stack = malloc((graph->count + 1) * sizeof *stack), top = 0;
    for (size_t i = 0; i < graph->count; i++)
        graph->nodes[i].marked = false;
    for (size_t i = 0; i < graph->count; i++) {
        struct graph_node *node = &graph->nodes[i];
        if (node->alive && (node->held != 0 || node->generation > generation)) {
            node->marked = true;
            stack[top++] = i;
        }
    }
    mark(graph, stack, top);
    free(stack);
}

bool graph_collect_or_fail(struct graph *graph, int generation)
{
    mark_living(graph, generation);
    size_t *stack = malloc((graph->count + 1) * sizeof *stack), top = 0, dead = 0;
    unsigned *finalized = malloc((graph->count + 1) * sizeof *finalized);
    bool *unreachable = malloc((graph->count + 1) * sizeof *unreachable);
    for (size_t i = 0; i < graph->count; i++) {
        struct graph_node *node = &graph->nodes[i];
        unreachable[i] = node->alive && !node->marked;
        finalized[i] = node->finalized;
        if (unreachable[i] && (node->kind == KIND_FINALIZE || node->kind == KIND_ALL) && node->finalized == 0) {
            finalized[i] = 1;
            if (node->resurrects) {
                node->marked = true;
                stack[top++] = i;
            }
        }
    }
    mark(graph, stack, top);
    for (size_t i = 0; i < graph->count; i++)
        dead += unreachable[i] && !graph->nodes[i].marked;
    if (graph->around != NULL)
        graph->around(true);
    errno = 0;
    long found = ouro_gc_collect(generation);
    int error = errno;
    if (graph->around != NULL)
        graph->around(false);
    if (found == -1 && error == ENOMEM) {
        for (size_t i = 0; i < graph->count; i++) { /* they may be called older than they are */
            struct graph_node *node = &graph->nodes[i];
            int now = node->alive ? ouro_gc_generation_of(node->object) : 0;
            if (node->alive && node->generation <= generation && now > node->generation)
                node->generation = now;
        }
        free(stack);
        free(finalized);
        free(unreachable);
        return true;
    }
    EXPECT(found == (long)dead, "generation %d: %ld found, %zu are dead", generation, found, dead);
    for (size_t i = 0; i < graph->count; i++) {
        struct graph_node *node = &graph->nodes[i];
        if (!node->alive)
            continue;
        EXPECT(node->finalized >= finalized[i], "node %zu finalized %u times, not %u", i, node->finalized,
               finalized[i]);
        if (unreachable[i] && !node->marked) {
            node->alive = false;
            node->object = NULL;
            EXPECT(node->destroyed == (node->kind == KIND_DESTROY || node->kind == KIND_ALL),
                   "node %zu destroyed %u times", i, node->destroyed);
        } else if (node->generation <= generation) {
            node->generation = generation < 2 ? generation + 1 : 2;
        }
    }
    /* Older ones that only the dead referred to die by their counts. */
    for (size_t i = 0; i < graph->count; i++) {
        if (!unreachable[i] || graph->nodes[i].alive)
            continue;
        for (unsigned e = 0; e < graph->nodes[i].edge_count; e++) {
            int to = graph->nodes[i].edges[e];
            if (to >= 0 && --graph->nodes[to].in == 0 && graph->nodes[to].alive) {
                stack[0] = (size_t)to;
                die(graph, stack, 1);
            }
        }
        graph->nodes[i].edge_count = 0;
    }
    for (size_t i = 0; i < graph->count; i++)
        EXPECT(graph->nodes[i].finalized <= 1, "node %zu finalized %u times", i, graph->nodes[i].finalized);
    free(stack);
    free(finalized);
    free(unreachable);
    graph_check(graph);
    return false;
}

void graph_collect(struct graph *graph, int generation)
{
    bool failed = graph_collect_or_fail(graph, generation);
    EXPECT(!failed, "generation %d: no memory", generation);
}

static bool see(ouro_object *obj, void *arg)
{
    struct graph *graph = arg;
    size_t id = id_of(obj);
    EXPECT(id < graph->count, "node %zu", id);
    struct graph_node *node = &graph->nodes[id];
    EXPECT(node->alive && node->object == obj && !node->marked, "node %zu", id);
    EXPECT(ouro_gc_generation_of(obj) == node->generation, "node %zu in %d, not %d", id, ouro_gc_generation_of(obj),
           node->generation);
    node->marked = true;
    return true;
}

void graph_check(struct graph *graph)
{
    ouroi_world_stop();
    EXPECT(ouroi_gc_check() == 0, "the heap is wrong");
    ouroi_world_start();
    for (size_t i = 0; i < graph->count; i++)
        graph->nodes[i].marked = false;
    ouro_gc_get_objects(-1, see, graph);
    for (size_t i = 0; i < graph->count; i++)
        EXPECT(graph->nodes[i].marked == graph->nodes[i].alive, "node %zu should be %s", i,
               graph->nodes[i].alive ? "alive" : "dead");
}

void graph_end(struct graph *graph)
{
    for (size_t i = 0; i < graph->count; i++)
        graph->nodes[i].resurrects = false;
    for (size_t i = 0; i < graph->count; i++)
        if (graph->nodes[i].alive && graph->nodes[i].held != 0)
            graph_drop(graph, i, graph->nodes[i].held);
    graph_collect(graph, 2);
    EXPECT(ouro_gc_get_objects(-1, NULL, NULL) == 0, "something is left");
    for (size_t i = 0; i < graph->count; i++)
        free(graph->nodes[i].edges);
    free(graph->nodes);
    memset(graph, 0, sizeof *graph);
}

static enum graph_kind pick_kind(struct graph *graph, unsigned kinds)
{
    for (;;) {
        unsigned kind = (unsigned)graph_random(graph, KINDS);
        if ((kinds >> kind & 1) != 0)
            return (enum graph_kind)kind;
    }
}

void graph_add_nodes(struct graph *graph, const struct graph_shape *shape, unsigned count)
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

void graph_drop_some(struct graph *graph, const struct graph_shape *shape, size_t first)
{
    for (size_t i = first; i < graph->count; i++) {
        struct graph_node *node = &graph->nodes[i];
        if (node->alive && node->held != 0 && graph_random(graph, shape->roots) != 0) {
            graph_drop(graph, i, node->held);
        }
    }
}
