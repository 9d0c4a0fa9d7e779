/* tools/graph_why.c: why objects are alive: shortest paths from outside.
 *
 * Invariants  an object on a path comes after the one before it in `order`, so that what is told of a path by types (a hash)
 *             can be worked out in one pass.
 */
#include "graph.h"

#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

struct graph_paths *graph_find_paths(const struct graph *graph)
{
    struct graph_paths *paths = tool_alloc_zero(1, sizeof *paths);
    size_t room = (size_t)graph->count + 1;
    paths->from = graph_array(room, sizeof *paths->from);
    paths->order = graph_array(room, sizeof *paths->order);
    memset(paths->from, 0xff, room * sizeof *paths->from);
    for (uint32_t object = 0; object < graph->count; object++) {
        if (graph_is_root(graph, object)) {
            paths->from[object] = object;
            paths->order[paths->reached++] = object;
        }
    }
    for (uint32_t at = 0; at < paths->reached; at++) {
        uint32_t object = paths->order[at];
        for (uint32_t i = 0; i < graph_degree(graph, object); i++) {
            uint32_t to = graph_refs(graph, object)[i];
            if (paths->from[to] == GRAPH_NONE) {
                paths->from[to] = object;
                paths->order[paths->reached++] = to;
            }
        }
    }
    return paths;
}

void graph_paths_free(struct graph_paths *paths)
{
    if (paths == NULL)
        return;
    free(paths->from);
    free(paths->order);
    free(paths);
}

/* For each type whether it is asked for; `count` of them. */
static bool *match_types(const struct graph *graph, const char *pattern, size_t *count)
{
    bool *wanted = tool_alloc_zero(graph->type_count + 1, sizeof *wanted);
    *count = 0;
    for (size_t i = 0; i < graph->type_count; i++) {
        const char *name = graph->types[i].name;
        wanted[i] = strcmp(name, pattern) == 0 || fnmatch(pattern, name, 0) == 0;
        *count += wanted[i];
    }
    return wanted;
}

static uint64_t mix(uint64_t hash, uint64_t value)
{
    hash = (hash ^ value) * 0x9e3779b97f4a7c15u;
    return hash ^ hash >> 31;
}

static int by_hash(const void *a, const void *b)
{
    const struct graph_reason *x = a, *y = b;
    return (x->hash > y->hash) - (x->hash < y->hash);
}

static int most_objects_first(const void *a, const void *b)
{
    const struct graph_reason *x = a, *y = b;
    if (x->count != y->count)
        return x->count > y->count ? -1 : 1;
    return (x->example > y->example) - (x->example < y->example);
}

/* Brings those of one hash together, keeping the example that comes first. */
static size_t merge(struct graph_reason *reasons, size_t count)
{
    size_t kept = 0;
    if (count != 0)
        qsort(reasons, count, sizeof *reasons, by_hash);
    for (size_t i = 0; i < count; i++) {
        if (kept != 0 && reasons[kept - 1].hash == reasons[i].hash) {
            struct graph_reason *into = &reasons[kept - 1];
            into->count += reasons[i].count;
            into->bytes += reasons[i].bytes;
            into->example = into->example < reasons[i].example ? into->example : reasons[i].example;
        } else {
            reasons[kept++] = reasons[i];
        }
    }
    return kept;
}

struct why {
    struct graph_reason *reasons;
    size_t count, room;
};

/* Few ways, and many objects: they are brought together before more room is taken. */
static void add(struct why *why, const struct graph_reason *reason)
{
    if (why->count == why->room) {
        why->count = merge(why->reasons, why->count);
        if (why->count * 2 >= why->room) {
            why->room = why->room == 0 ? 4096 : why->room * 2;
            why->reasons = tool_realloc(why->reasons, why->room, sizeof *why->reasons);
        }
    }
    why->reasons[why->count++] = *reason;
}

static struct graph_reason *why_types(const struct graph *graph, const struct graph_paths *paths, const bool *wanted,
                                      size_t *count, uint32_t *unreached, uint32_t *lost)
{
    struct why why = { 0 };
    uint64_t *hashes = graph_array_zero((size_t)graph->count + 1, sizeof *hashes);
    for (uint32_t i = 0; i < paths->reached; i++) {
        uint32_t object = paths->order[i], from = paths->from[object];
        uint32_t type = graph_shape_of(graph, object)->type;
        bool is_repeated = from != object && graph_shape_of(graph, from)->type == type;
        hashes[object] = is_repeated ? hashes[from] : mix(from == object ? 1 : hashes[from], type + 1);
        struct graph_reason reason = { i, 1, graph_shape_of(graph, object)->block_bytes, hashes[object] };
        if (wanted[type])
            add(&why, &reason);
    }
    for (uint32_t object = graph->count; object-- > 0;) {
        if (paths->from[object] == GRAPH_NONE && wanted[graph_shape_of(graph, object)->type]) {
            ++*unreached;
            *lost = object;
        }
    }
    free(hashes);
    *count = merge(why.reasons, why.count);
    for (size_t i = 0; i < *count; i++) /* so far its place in the order */
        why.reasons[i].example = paths->order[why.reasons[i].example];
    if (*count != 0)
        qsort(why.reasons, *count, sizeof *why.reasons, most_objects_first);
    return why.reasons != NULL ? why.reasons : tool_alloc(sizeof *why.reasons);
}

struct graph_reason *graph_why(const struct graph *graph, const struct graph_paths *paths, const char *what,
                               size_t *count, uint32_t *unreached, uint32_t *lost)
{
    struct graph_reason *reasons = NULL;
    *count = *unreached = 0;
    *lost = GRAPH_NONE;
    if (strncmp(what, "0x", 2) == 0) {
        char *end = NULL;
        uint32_t object = graph_find(graph, strtoull(what, &end, 16));
        if (*end != '\0' || object == GRAPH_NONE) {
            tool_error("there is no object at %s", what);
            return NULL;
        }
        reasons = tool_alloc(sizeof *reasons);
        *reasons = (struct graph_reason){ object, 1, graph_shape_of(graph, object)->block_bytes, 0 };
        *count = paths->from[object] != GRAPH_NONE;
        *unreached = *count == 0;
        *lost = *count == 0 ? object : GRAPH_NONE;
        return reasons;
    }
    size_t types;
    bool *wanted = match_types(graph, what, &types);
    if (types == 0)
        tool_error("there are no objects of a type %s", what);
    else
        reasons = why_types(graph, paths, wanted, count, unreached, lost);
    free(wanted);
    return reasons;
}
