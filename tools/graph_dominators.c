/* tools/graph_dominators.c: the tree of dominators, and what objects retain.
 *
 * Two ways. The first begins with the tree of a breadth-first walk, and moves each object to the nearest that all who refer to
 * it have in common, until nothing moves: a few steps a reference in the graphs of programs, but quadratic in some. Where it
 * has taken too many steps, the second is taken, which is O(references log objects) whatever the graph.
 *
 * Invariants  everything goes by the numbers of a walk, so that what is near in the walk is near in memory; dominator[n] < n.
 * Source      the iteration over trees: Georgiadis, Tarjan, Werneck 2006, after Cooper, Harvey, Kennedy 2001; the second:
 *             Lengauer, Tarjan 1979, with simple linking.
 */
#include "graph.h"

#include <stdlib.h>
#include <string.h>

enum { STEPS_EACH = 12 };
uint64_t graph_steps_most;

struct search {
    const struct graph *graph;
    struct graph_dominators *result;
    uint32_t *parent; /* in the walk */
    struct link {
        uint32_t ancestor;    /* in the forest; GRAPH_NONE: of the roots */
        uint32_t label, semi; /* the one with the least semidominator of those passed by, and that */
        uint32_t bucket;      /* the first of those whose semidominator it is; 0: none */
    } * links;
    uint32_t *semi;
    uint32_t *next; /* in the same bucket */
    uint32_t *stack;
    uint32_t *first, *before; /* predecessors: before[first[n]] to before[first[n + 1]] */
};

struct frame {
    uint32_t number, next, end; /* references still to be followed */
};

static void enter(struct search *search, struct frame *frame, uint32_t object, uint32_t parent)
{
    const struct graph *graph = search->graph;
    struct graph_dominators *result = search->result;
    uint32_t number = result->number[object] = ++result->reached;
    result->object[number] = object;
    search->parent[number] = parent;
    frame->number = number;
    frame->next = graph->spans[object].first;
    frame->end = frame->next + graph_degree(graph, object);
    for (uint32_t i = frame->next; i < frame->end && i < frame->next + 8; i++) {
        __builtin_prefetch(&result->number[graph->edges[i]]);
        __builtin_prefetch(&graph->spans[graph->edges[i]]);
    }
}

/* Numbers what can be reached from outside, depth first. */
static void walk_deep(struct search *search, struct frame *frames)
{
    const struct graph *graph = search->graph;
    const struct graph_dominators *result = search->result;
    for (uint32_t root = 0; root < graph->count; root++) {
        if (!graph_is_root(graph, root) || result->number[root] != 0)
            continue;
        struct frame *frame = frames;
        enter(search, frame, root, 0);
        for (;;) {
            if (frame->next < frame->end) {
                uint32_t object = graph->edges[frame->next++];
                if (result->number[object] == 0) {
                    frame++;
                    enter(search, frame, object, frame[-1].number);
                }
            } else if (frame-- == frames) {
                break;
            }
        }
    }
}

/* The same, breadth first. */
static void walk_wide(struct search *search)
{
    const struct graph *graph = search->graph;
    struct graph_dominators *result = search->result;
    struct graph_paths *paths = graph_find_paths(graph);
    result->reached = paths->reached;
    for (uint32_t i = 0; i < paths->reached; i++) {
        uint32_t object = paths->order[i], from = paths->from[object];
        result->object[i + 1] = object;
        search->parent[i + 1] = from == object ? 0 : result->number[from];
        result->number[object] = i + 1;
    }
    graph_paths_free(paths);
}

static void find_predecessors(struct search *search)
{
    const struct graph *graph = search->graph;
    const struct graph_dominators *result = search->result;
    uint32_t *first = search->first, reached = result->reached, total = 0;
    for (uint32_t object = 0; object < graph->count; object++) {
        const struct graph_span *span = &graph->spans[object];
        for (uint32_t i = span->first; result->number[object] != 0 && i < span->first + span->degree; i++)
            first[result->number[graph->edges[i]]]++;
    }
    for (uint32_t n = 0; n <= reached; n++) { /* where they end */
        total += first[n];
        first[n] = total;
    }
    first[reached + 1] = total;
    free(search->before); /* of the first way */
    search->before = graph_array((size_t)total + 1, sizeof *search->before);
    for (uint32_t object = 0; object < graph->count; object++) { /* where they begin */
        const struct graph_span *span = &graph->spans[object];
        uint32_t number = result->number[object];
        for (uint32_t i = span->first; number != 0 && i < span->first + span->degree; i++)
            search->before[--first[result->number[graph->edges[i]]]] = number;
    }
}

/* Says which has the least semidominator on the way up from n in the forest, and shortens the way. */
static const struct link *evaluate(struct search *search, uint32_t n)
{
    struct link *links = search->links;
    uint32_t depth = 0;
    if (links[n].ancestor == GRAPH_NONE)
        return &links[n];
    for (uint32_t at = n; links[links[at].ancestor].ancestor != GRAPH_NONE; at = links[at].ancestor)
        search->stack[depth++] = at;
    while (depth-- > 0) {
        struct link *link = &links[search->stack[depth]];
        const struct link *above = &links[link->ancestor];
        if (above->semi < link->semi) {
            link->semi = above->semi;
            link->label = above->label;
        }
        link->ancestor = above->ancestor;
    }
    return &links[n];
}

/* All in it have `of` as their semidominator. */
static void empty_bucket(struct search *search, uint32_t of)
{
    uint32_t *dominator = search->result->dominator;
    for (uint32_t n = search->links[of].bucket; n != 0; n = search->next[n]) {
        const struct link *best = evaluate(search, n);
        dominator[n] = best->semi < of ? best->label : of;
    }
    search->links[of].bucket = 0;
}

static uint32_t semidominator(struct search *search, uint32_t n)
{
    uint32_t semi = n;
    if (graph_is_root(search->graph, search->result->object[n]))
        return 0;
    for (uint32_t i = search->first[n]; i < search->first[n + 1]; i++) {
        const struct link *best = evaluate(search, search->before[i]);
        semi = best->semi < semi ? best->semi : semi;
    }
    return semi;
}

enum { AHEAD = 8 };

static void prefetch(const struct search *search, uint32_t n)
{
    __builtin_prefetch(&search->graph->outside[search->result->object[n]]);
    for (uint32_t i = search->first[n]; i < search->first[n + 1] && i < search->first[n] + 8; i++)
        __builtin_prefetch(&search->links[search->before[i]]);
}

/* Those whose semidominator is outside (0) need no bucket. */
static void find_dominators(struct search *search)
{
    struct graph_dominators *result = search->result;
    struct link *links = search->links;
    uint32_t *dominator = result->dominator, reached = result->reached;
    for (uint32_t n = 0; n <= reached; n++)
        links[n] = (struct link){ GRAPH_NONE, n, n, 0 };
    for (uint32_t n = reached; n >= 1; n--) {
        if (n > AHEAD)
            prefetch(search, n - AHEAD);
        uint32_t semi = search->semi[n] = links[n].semi = semidominator(search, n), parent = search->parent[n];
        if (semi == 0) {
            dominator[n] = 0;
        } else {
            search->next[n] = links[semi].bucket;
            links[semi].bucket = n;
        }
        links[n].ancestor = parent;
        if (parent != 0)
            empty_bucket(search, parent);
    }
    for (uint32_t n = 1; n <= reached; n++)
        if (dominator[n] != search->semi[n])
            dominator[n] = dominator[dominator[n]];
}

/* By Lengauer and Tarjan. */
static void dominate_surely(struct search *search, size_t room)
{
    struct graph_dominators *result = search->result;
    struct frame *frames = graph_array(room, sizeof *frames);
    result->reached = 0;
    memset(result->number, 0, room * sizeof *result->number);
    memset(search->first, 0, room * sizeof *search->first);
    walk_deep(search, frames);
    free(frames);
    find_predecessors(search);
    search->links = graph_array(room, sizeof *search->links);
    search->next = graph_array(room, sizeof(uint32_t));
    search->semi = graph_array(room, sizeof(uint32_t));
    search->stack = graph_array(room, sizeof(uint32_t));
    find_dominators(search);
    free(search->links);
    free(search->next);
    free(search->semi);
    free(search->stack);
}

/* By iteration. */

/* The nearest to both in the tree as it is. */
static uint32_t meet(const uint32_t *dominator, uint32_t a, uint32_t b, uint64_t *steps)
{
    while (a != b) {
        if (a > b)
            a = dominator[a];
        else
            b = dominator[b];
        ++*steps;
    }
    return a;
}

/* False: too many steps. */
static bool dominate_quickly(struct search *search)
{
    struct graph_dominators *result = search->result;
    uint32_t *dominator = result->dominator, reached = result->reached;
    uint64_t steps = 0, most = graph_steps_most != 0 ? graph_steps_most
                                                     : STEPS_EACH * ((uint64_t)reached + search->first[reached + 1]);
    for (uint32_t n = 1; n <= reached; n++)
        dominator[n] = graph_is_root(search->graph, result->object[n]) ? 0 : search->parent[n];
    for (bool moved = true; moved;) {
        moved = false;
        for (uint32_t n = 1; n <= reached; n++) {
            uint32_t now = dominator[n];
            for (uint32_t i = search->first[n]; now != 0 && i < search->first[n + 1]; i++)
                now = meet(dominator, now, search->before[i], &steps);
            moved |= now != dominator[n];
            dominator[n] = now;
            if (steps > most)
                return false;
        }
    }
    return true;
}

static void find_retained(const struct graph *graph, struct graph_dominators *result)
{
    for (uint32_t n = result->reached; n >= 1; n--) {
        result->retained[n] += graph_shape_of(graph, result->object[n])->block_bytes;
        result->retained[result->dominator[n]] += result->retained[n];
    }
}

struct graph_dominators *graph_dominate(const struct graph *graph)
{
    struct graph_dominators *result = tool_alloc_zero(1, sizeof *result);
    size_t room = (size_t)graph->count + 2;
    struct search search = { .graph = graph, .result = result };
    result->number = graph_array_zero(room, sizeof(uint32_t));
    result->object = graph_array(room, sizeof(uint32_t));
    result->object[0] = GRAPH_NONE;
    result->dominator = graph_array_zero(room, sizeof(uint32_t));
    search.parent = graph_array(room, sizeof(uint32_t));
    search.first = graph_array_zero(room, sizeof(uint32_t));
    walk_wide(&search);
    find_predecessors(&search);
    if (!dominate_quickly(&search))
        dominate_surely(&search, room);
    free(search.parent);
    free(search.first);
    free(search.before);
    result->retained = graph_array_zero(room, sizeof(uint64_t));
    find_retained(graph, result);
    return result;
}

void graph_dominators_free(struct graph_dominators *dominators)
{
    if (dominators == NULL)
        return;
    free(dominators->number);
    free(dominators->object);
    free(dominators->dominator);
    free(dominators->retained);
    free(dominators);
}

/* By types. A walk over the tree, children after parents, that knows for each type whether it is in one of its objects:
 * `within` counts them. */
uint64_t *graph_retained_by_types(const struct graph *graph, const struct graph_dominators *dominators)
{
    size_t room = (size_t)dominators->reached + 2;
    uint64_t *retained = tool_alloc_zero(graph->type_count + 1, sizeof *retained);
    uint32_t *within = tool_alloc_zero(graph->type_count + 1, sizeof *within);
    uint32_t *child = graph_array_zero(room, sizeof *child), *sibling = graph_array_zero(room, sizeof *sibling);
    for (uint32_t n = dominators->reached; n >= 1; n--) {
        sibling[n] = child[dominators->dominator[n]];
        child[dominators->dominator[n]] = n;
    }
    for (uint32_t n = child[0]; n != 0;) {
        uint32_t type = graph_shape_of(graph, dominators->object[n])->type;
        if (within[type]++ == 0)
            retained[type] += dominators->retained[n];
        if (child[n] != 0) {
            n = child[n];
            continue;
        }
        for (;; n = dominators->dominator[n]) { /* n is done with */
            if (n == 0)
                break;
            within[graph_shape_of(graph, dominators->object[n])->type]--;
            if (sibling[n] != 0)
                break;
        }
        n = sibling[n];
    }
    free(within);
    free(child);
    free(sibling);
    return retained;
}

struct big {
    uint64_t retained;
    uint32_t number;
};

/* Among equals the one nearer to outside is the bigger: a dominator has the lower number. */
static bool is_bigger(const struct big *a, const struct big *b)
{
    return a->retained != b->retained ? a->retained > b->retained : a->number < b->number;
}

static int bigger_first(const void *a, const void *b)
{
    return is_bigger(a, b) ? -1 : is_bigger(b, a);
}

/* A heap whose first is the smallest. */
static void sift(struct big *heap, size_t count, size_t at)
{
    for (;;) {
        size_t least = at, left = 2 * at + 1;
        for (size_t i = left; i < left + 2 && i < count; i++)
            if (is_bigger(&heap[least], &heap[i]))
                least = i;
        if (least == at)
            return;
        struct big swap = heap[at];
        heap[at] = heap[least];
        heap[least] = swap;
        at = least;
    }
}

uint32_t *graph_biggest(const struct graph *graph, const struct graph_dominators *dominators, size_t most,
                        size_t *count)
{
    (void)graph;
    size_t room = most < dominators->reached ? most : dominators->reached, used = 0;
    struct big *heap = tool_alloc((room + 1) * sizeof *heap);
    for (uint32_t n = 1; n <= dominators->reached && room != 0; n++) {
        struct big one = { dominators->retained[n], n };
        if (used < room) {
            heap[used++] = one;
            for (size_t i = used / 2; used == room && i-- > 0;)
                sift(heap, used, i);
        } else if (is_bigger(&one, &heap[0])) {
            heap[0] = one;
            sift(heap, used, 0);
        }
    }
    qsort(heap, used, sizeof *heap, bigger_first);
    uint32_t *objects = tool_alloc((used + 1) * sizeof *objects);
    for (size_t i = 0; i < used; i++)
        objects[i] = dominators->object[heap[i].number];
    free(heap);
    *count = used;
    return objects;
}
