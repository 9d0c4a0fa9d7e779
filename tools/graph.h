/* tools/graph.h: a dumped graph of objects in memory, and what is worked out of it.
 *
 * Objects are numbered from 0 in the order of their addresses. Memory: 17 bytes an object, 4 a reference, and 336 for each
 * 32 KiB of address space that has objects; while it is read, also the file. While dominators are sought, 28 bytes an object
 * and 4 a reference more, in the worst case 64 and 4; after that 20. While cycles are sought 24, and paths 8 bytes an object.
 */
#ifndef OURO_TOOL_GRAPH_H
#define OURO_TOOL_GRAPH_H

#include "tool.h"

#define GRAPH_NONE UINT32_MAX

struct graph_type {
    uint64_t number, size, item_size, flags;
    char *name; /* printable */
};

/* What objects have in common. */
struct graph_shape {
    uint32_t type; /* an index */
    uint64_t items, block_bytes;
    uint64_t bytes; /* of the instance and its items */
};

enum { GRAPH_UNTRACKED = 4, GRAPH_GENERATION = 7, GRAPH_IMMORTAL = 8, GRAPH_FINALIZED = 16, GRAPH_DEAD = 128 };

struct graph_page; /* objects of 32 KiB of address space */

struct graph {
    uint64_t pid, time, pause_ns;
    char *writer, *program;
    struct graph_type *types;
    size_t type_count;
    struct graph_shape *shapes;
    size_t shape_count;
    uint32_t count, edge_count;
    uint64_t dangling; /* references to what is not there, left out */
    uint32_t *shape;
    uint32_t *outside; /* references from outside, no more than 2^32 - 1; immortal: at least 1 */
    uint8_t *flags;
    struct graph_span {
        uint32_t first, degree;
    } * spans; /* an object's references, in edges */
    uint32_t *edges;
    struct graph_page *pages;
    size_t page_count;
};

/* Reads a file; "-": stdin. NULL, after a message, if it is none, cut, damaged or of a version that is not known. */
struct graph *graph_read(const char *path);
/* From memory. NULL: *problem says why. */
struct graph *graph_parse(const uint8_t *bytes, size_t size, const char **problem);
void graph_free(struct graph *graph);

uint64_t graph_address(const struct graph *graph, uint32_t object);
uint32_t graph_find(const struct graph *graph, uint64_t address); /* GRAPH_NONE: there is none */

/* Memory that is walked at random: in huge pages, where there is much of it. Freed by free. */
void *graph_array(size_t count, size_t size);
void *graph_array_zero(size_t count, size_t size);

static inline const struct graph_shape *graph_shape_of(const struct graph *graph, uint32_t object)
{
    return &graph->shapes[graph->shape[object]];
}
static inline const struct graph_type *graph_type_of(const struct graph *graph, uint32_t object)
{
    return &graph->types[graph_shape_of(graph, object)->type];
}
static inline const uint32_t *graph_refs(const struct graph *graph, uint32_t object)
{
    return graph->edges + graph->spans[object].first;
}
static inline uint32_t graph_degree(const struct graph *graph, uint32_t object)
{
    return graph->spans[object].degree;
}
static inline bool graph_is_root(const struct graph *graph, uint32_t object)
{
    return graph->outside[object] != 0;
}

/* Dominators: through which object every path from outside leads. Reached objects have numbers from 1 in the order of a walk
 * from outside; 0 stands for outside. */
struct graph_dominators {
    uint32_t reached;
    uint32_t *number; /* of an object; 0: nothing from outside leads to it */
    uint32_t *object; /* by number; [0]: GRAPH_NONE */
    uint32_t *dominator;
    uint64_t *retained; /* bytes, by number; [0]: all that is reached */
};
/* For tests: steps of the first way to find them before the second is taken; 0: in proportion to the graph. */
extern uint64_t graph_steps_most;
struct graph_dominators *graph_dominate(const struct graph *graph);
void graph_dominators_free(struct graph_dominators *dominators);

static inline uint64_t graph_retained(const struct graph_dominators *dominators, uint32_t object)
{
    return dominators->number[object] != 0 ? dominators->retained[dominators->number[object]] : 0;
}

/* Bytes that the objects of each type retain, what one retains through another of the type counted once. Freed by the
 * caller. */
uint64_t *graph_retained_by_types(const struct graph *graph, const struct graph_dominators *dominators);
/* The `most` objects, or fewer, that retain most, biggest first; freed by the caller. With an object its dominator is among
 * them. */
uint32_t *graph_biggest(const struct graph *graph, const struct graph_dominators *dominators, size_t most,
                        size_t *count);

/* Cycles: the strongly connected components of more than one object, and objects that refer to themselves. */
struct graph_cycle {
    uint32_t first, count; /* of members */
    uint64_t bytes;
    uint64_t outside; /* references from outside to members */
};
struct graph_cycles {
    struct graph_cycle *cycles; /* most members first */
    size_t count;
    uint32_t *members;
    uint32_t objects;
    uint64_t bytes;
};
struct graph_cycles *graph_find_cycles(const struct graph *graph);
void graph_cycles_free(struct graph_cycles *cycles);

/* Shortest paths from outside. */
struct graph_paths {
    uint32_t *from; /* the object before on the path; an object held from outside: itself; GRAPH_NONE: not reached */
    uint32_t *order;
    uint32_t reached; /* as many are in `order`, nearest first */
};
struct graph_paths *graph_find_paths(const struct graph *graph);
void graph_paths_free(struct graph_paths *paths);

/* Objects of one type that are held in one way: by paths of the same types, however often one comes after itself. */
struct graph_reason {
    uint32_t example; /* one of them with the shortest path */
    uint32_t count;
    uint64_t bytes, hash;
};
/* what: an address (0x...) or a pattern of type names. Reasons, most objects first; *unreached: so many are held by nothing
 * from outside, *lost one of them. NULL and a message: there is nothing of the kind. */
struct graph_reason *graph_why(const struct graph *graph, const struct graph_paths *paths, const char *what,
                               size_t *count, uint32_t *unreached, uint32_t *lost);

/* All that the reports say; parts that were not asked for are NULL. */
struct graph_report {
    const char *path;
    const struct graph *graph;
    struct graph_dominators *dominators;
    struct graph_cycles *cycles;
    struct graph_paths *paths;
    const char *const *whys;
    size_t why_count;
    uint64_t top;
};
void graph_print(const struct graph_report *report);
int graph_print_why(const struct graph_report *report); /* status */
int graph_print_json(const struct graph_report *report);
int graph_write_dot(const struct graph_report *report, const char *path);
int graph_write_html(const struct graph_report *report, const char *path);

/* "3 node, 1 edge": the types of a cycle, most first. Freed by the caller. */
char *graph_composition(const struct graph_report *report, const struct graph_cycle *cycle);
const char *graph_held(const struct graph_report *report, const struct graph_cycle *cycle);
void graph_json_text(FILE *out, const char *text); /* quoted; nothing in it ends a script */
/* Totals of a type. */
struct graph_total {
    uint32_t type;
    uint64_t objects, bytes, instance_bytes, retained;
};
/* Types that have objects; most retained, then most bytes first. Freed by the caller. */
struct graph_total *graph_totals(const struct graph_report *report, size_t *count);

#endif
