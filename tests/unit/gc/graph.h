/* unit/gc/graph.h: graphs of objects, and what must become of them by a naive marker that knows the roots. */
#ifndef GC_GRAPH_H
#define GC_GRAPH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <ouro/ouro.h>

enum graph_kind {
    KIND_MAP,      /* three references by a map */
    KIND_ITEMS,    /* any number of items */
    KIND_TRAVERSE, /* traverse and clear */
    KIND_FINALIZE, /* by a map, with a finalizer */
    KIND_DESTROY,  /* by a map, with destroy */
    KIND_ALL,      /* traverse, clear, finalize, destroy */
    KINDS
};

struct graph_node {
    ouro_object *object; /* while it lives; borrowed */
    enum graph_kind kind;
    unsigned edge_count, room;
    int *edges;      /* index of the referent, or -1 */
    size_t held;     /* references from outside */
    int generation;  /* as it should be */
    bool alive;      /* as it should be */
    bool resurrects; /* its finalizer stores it */
    bool saved;      /* it did */
    unsigned finalized, destroyed;
    bool marked;
    size_t in;
};

struct graph {
    struct graph_node *nodes;
    size_t count, room;
    uint64_t random;
    void (*around)(bool begins); /* called before and after each collection */
};

void graph_begin(struct graph *graph, uint64_t seed);
uint64_t graph_random(struct graph *graph, uint64_t below);
/* A new node, held once. */
size_t graph_add(struct graph *graph, enum graph_kind kind, unsigned edges, bool resurrects);
void graph_link(struct graph *graph, size_t from, unsigned edge, int to);
void graph_hold(struct graph *graph, size_t node, unsigned more);
/* Drops references from outside; what dies by its counts is dead after that, in the books too. */
void graph_drop(struct graph *graph, size_t node, size_t count);
/* Collects, and checks the number, and everything else. */
void graph_collect(struct graph *graph, int generation);
/* The same where memory may run out: true: it did, and nothing else has happened but finalizers. */
bool graph_collect_or_fail(struct graph *graph, int generation);
/* That what lives is what should, in its generation. */
void graph_check(struct graph *graph);
/* Lets go of everything, and checks that all is gone. */
void graph_end(struct graph *graph);

/* How a graph looks. */
struct graph_shape {
    unsigned nodes;
    unsigned kinds;      /* a bit each */
    unsigned edges;      /* of a node with items, at most */
    unsigned near;       /* edges lead at most that far; 0: anywhere */
    unsigned filled;     /* edges that are there, in 256 */
    unsigned roots;      /* one in so many is held from outside */
    unsigned resurrects; /* one in so many, 0: none */
};
/* Adds nodes with random edges, also from older nodes, each held once; drops most of those. */
void graph_add_nodes(struct graph *graph, const struct graph_shape *shape, unsigned count);
void graph_drop_some(struct graph *graph, const struct graph_shape *shape, size_t first);

#endif
