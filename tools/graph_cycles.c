/* tools/graph_cycles.c: cycles, as strongly connected components.
 *
 * Source      Gabow 2000, with a stack of frames instead of recursion.
 */
#include "graph.h"

#include <stdlib.h>

struct search {
    const struct graph *graph;
    struct graph_cycles *result;
    uint32_t *index;  /* 0: not seen; GRAPH_NONE: its component is done with; else its place on the stack, plus 1 */
    uint32_t *stack;  /* those that are in no component yet */
    uint32_t *starts; /* places on the stack where components may begin */
    uint32_t depth, start_count;
    struct frame {
        uint32_t object, next, end; /* references still to be followed */
    } * frames;
    uint32_t member_room, room;
};

static bool refers_to_itself(const struct graph *graph, uint32_t object)
{
    for (uint32_t i = 0; i < graph_degree(graph, object); i++)
        if (graph_refs(graph, object)[i] == object)
            return true;
    return false;
}

static void add_member(struct search *search, struct graph_cycle *cycle, uint32_t object)
{
    struct graph_cycles *result = search->result;
    if (result->objects == search->member_room) {
        search->member_room = search->member_room == 0 ? 256 : search->member_room + search->member_room / 2;
        result->members = tool_realloc(result->members, search->member_room, sizeof *result->members);
    }
    result->members[result->objects++] = object;
    cycle->count++;
    cycle->bytes += graph_shape_of(search->graph, object)->block_bytes;
    cycle->outside += search->graph->outside[object];
}

/* What is on the stack from its place on is a component. */
static void take_component(struct search *search, uint32_t root)
{
    struct graph_cycles *result = search->result;
    uint32_t start = search->index[root] - 1;
    bool is_cycle = search->depth - start > 1 || refers_to_itself(search->graph, root);
    struct graph_cycle cycle = { .first = result->objects };
    for (uint32_t i = start; i < search->depth; i++) {
        search->index[search->stack[i]] = GRAPH_NONE;
        if (is_cycle)
            add_member(search, &cycle, search->stack[i]);
    }
    search->depth = start;
    if (!is_cycle)
        return;
    if (result->count == search->room) {
        search->room = search->room == 0 ? 64 : 2 * search->room;
        result->cycles = tool_realloc(result->cycles, search->room, sizeof *result->cycles);
    }
    result->cycles[result->count++] = cycle;
    result->bytes += cycle.bytes;
}

static void enter(struct search *search, struct frame *frame, uint32_t object)
{
    const struct graph *graph = search->graph;
    frame->object = object;
    frame->next = graph->spans[object].first;
    frame->end = frame->next + graph_degree(graph, object);
    for (uint32_t i = frame->next; i < frame->end && i < frame->next + 8; i++) {
        __builtin_prefetch(&search->index[graph->edges[i]]);
        __builtin_prefetch(&graph->spans[graph->edges[i]]);
    }
    search->stack[search->depth++] = object;
    search->index[object] = search->starts[search->start_count++] = search->depth;
}

static void search_from(struct search *search, uint32_t object)
{
    struct frame *frame = search->frames;
    enter(search, frame, object);
    for (;;) {
        if (frame->next < frame->end) {
            uint32_t to = search->graph->edges[frame->next++], index = search->index[to];
            if (index == 0)
                enter(search, ++frame, to);
            while (index != 0 && index != GRAPH_NONE && search->starts[search->start_count - 1] > index)
                search->start_count--; /* from `to` on all is one */
            continue;
        }
        if (search->starts[search->start_count - 1] == search->index[frame->object]) {
            search->start_count--;
            take_component(search, frame->object);
        }
        if (frame-- == search->frames)
            return;
    }
}

static int most_first(const void *a, const void *b)
{
    const struct graph_cycle *x = a, *y = b;
    if (x->count != y->count)
        return x->count > y->count ? -1 : 1;
    if (x->bytes != y->bytes)
        return x->bytes > y->bytes ? -1 : 1;
    return (x->first > y->first) - (x->first < y->first);
}

struct graph_cycles *graph_find_cycles(const struct graph *graph)
{
    size_t room = (size_t)graph->count + 1;
    struct search search = {
        .graph = graph,
        .result = tool_alloc_zero(1, sizeof *search.result),
        .index = graph_array_zero(room, sizeof *search.index),
        .stack = graph_array(room, sizeof *search.stack),
        .starts = graph_array(room, sizeof *search.starts),
        .frames = graph_array(room, sizeof *search.frames),
    };
    for (uint32_t object = 0; object < graph->count; object++)
        if (search.index[object] == 0 && graph_degree(graph, object) != 0)
            search_from(&search, object);
    free(search.index);
    free(search.stack);
    free(search.starts);
    free(search.frames);
    if (search.result->count != 0)
        qsort(search.result->cycles, search.result->count, sizeof *search.result->cycles, most_first);
    return search.result;
}

void graph_cycles_free(struct graph_cycles *cycles)
{
    if (cycles == NULL)
        return;
    free(cycles->cycles);
    free(cycles->members);
    free(cycles);
}
