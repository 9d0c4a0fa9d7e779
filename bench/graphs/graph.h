/* graphs/graph.h: object graphs in files: what they hold, reading and writing them.
 *
 * Owns        the arrays of a struct graph.
 * Invariants  first[i] .. first[i + 1] - 1 are the edges of node i in `to`; every edge is below `nodes`.
 * Sync        none.
 * Source      the format OGRAPH1: a header, then arrays; see README.md beside this file.
 */
#ifndef GRAPHS_GRAPH_H
#define GRAPHS_GRAPH_H

#include <stddef.h>
#include <stdint.h>

enum {
    GRAPH_TRACKED = 1,
    GRAPH_CONTAINER = 2, /* of a type whose objects may be tracked */
    GRAPH_ROOT = 4,
    GRAPH_FINALIZER = 16,
    GRAPH_WEAKLY_REFERENCED = 32,
};

struct graph {
    uint32_t nodes, types;
    uint64_t edges;
    uint32_t tracked, roots;
    uint32_t *size;  /* bytes */
    uint32_t *count; /* references in all; UINT32_MAX: more than can be said */
    uint16_t *type;
    uint8_t *flags;
    uint64_t *first;  /* nodes + 1 */
    uint32_t *to;     /* edges */
    uint32_t *inside; /* references from nodes of the graph */
    char *type_bytes; /* the names: each a 16-bit length and as many bytes */
    char **type_names;
};

/* path: a file of the format; through `zstd -d` if it ends in .zst. NULL: a line on stderr says why. */
struct graph *graph_load(const char *path);
/* One of our own making: modules of functions and tables, trees of documents, records that know each other. About 400000
 * nodes, more than half of them tracked. */
struct graph *graph_make(void);
/* 0, or -1 and a line on stderr. */
int graph_write(const struct graph *graph, const char *path);
void graph_free(struct graph *graph);

#endif
