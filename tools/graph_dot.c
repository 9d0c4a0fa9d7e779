/* tools/graph_dot.c: part of a graph, for graphviz.
 *
 * Drawn are the objects that retain most, those on the paths of --why, and the references between them; what else an object
 * refers to is a number in its box.
 */
#include "graph.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { PATH_MOST = 1000 }; /* steps of a path */

struct drawing {
    const struct graph_report *report;
    FILE *out;
    bool *drawn;
    uint32_t *objects;
    size_t count, room;
};

static void draw(struct drawing *drawing, uint32_t object)
{
    if (drawing->drawn[object])
        return;
    drawing->drawn[object] = true;
    if (drawing->count == drawing->room) {
        drawing->room = drawing->room == 0 ? 256 : drawing->room * 2;
        drawing->objects = tool_realloc(drawing->objects, drawing->room, sizeof *drawing->objects);
    }
    drawing->objects[drawing->count++] = object;
}

static int draw_why(struct drawing *drawing, const char *what)
{
    const struct graph_report *report = drawing->report;
    size_t count;
    uint32_t unreached, lost;
    struct graph_reason *reasons = graph_why(report->graph, report->paths, what, &count, &unreached, &lost);
    if (reasons == NULL)
        return TOOL_FAILED;
    for (size_t i = 0; i < count && (report->top == 0 || i < report->top); i++) {
        uint32_t at = reasons[i].example;
        for (unsigned step = 0; step < PATH_MOST; step++, at = report->paths->from[at]) {
            draw(drawing, at);
            if (report->paths->from[at] == at)
                break;
        }
    }
    if (lost != GRAPH_NONE)
        draw(drawing, lost);
    free(reasons);
    return TOOL_OK;
}

static void put_text(FILE *out, const char *text)
{
    for (; *text != '\0'; text++) {
        if (*text == '"' || *text == '\\')
            fputc('\\', out);
        fputc(*text, out);
    }
}

static int ascending(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static void put_object(struct drawing *drawing, uint32_t object)
{
    const struct graph *graph = drawing->report->graph;
    FILE *out = drawing->out;
    uint64_t retained = graph_retained(drawing->report->dominators, object);
    uint32_t degree = graph_degree(graph, object), others = 0;
    fprintf(out, "  n%" PRIu32 " [label=\"", object);
    put_text(out, graph_type_of(graph, object)->name);
    fprintf(out, "\\n0x%" PRIx64 "\\n%s", graph_address(graph, object),
            tool_bytes((double)graph_shape_of(graph, object)->block_bytes).text);
    if (retained != 0)
        fprintf(out, ", retains %s", tool_bytes((double)retained).text);
    uint32_t *refs = tool_alloc((size_t)(degree + 1) * sizeof *refs);
    memcpy(refs, graph_refs(graph, object), degree * sizeof *refs);
    qsort(refs, degree, sizeof *refs, ascending);
    for (uint32_t i = 0; i < degree; i++)
        others += !drawing->drawn[refs[i]];
    if (others != 0)
        fprintf(out, "\\n%s more %s", tool_grouped(others).text, others == 1 ? "reference" : "references");
    fprintf(out, "\"%s];\n", retained == 0 ? ", style=dashed" : "");
    if (graph_is_root(graph, object))
        fprintf(out, "  outside -> n%" PRIu32 " [label=\"%s\"];\n", object,
                (graph->flags[object] & GRAPH_IMMORTAL) != 0 ? "immortal" : tool_grouped(graph->outside[object]).text);
    for (uint32_t i = 0, next; i < degree; i = next) {
        for (next = i + 1; next < degree && refs[next] == refs[i];)
            next++;
        if (!drawing->drawn[refs[i]])
            continue;
        fprintf(out, "  n%" PRIu32 " -> n%" PRIu32, object, refs[i]);
        if (next - i > 1)
            fprintf(out, " [label=\"%" PRIu32 "\"]", next - i);
        fprintf(out, ";\n");
    }
    free(refs);
}

int graph_write_dot(const struct graph_report *report, const char *path)
{
    const struct graph *graph = report->graph;
    struct drawing drawing = { .report = report, .out = fopen(path, "w") };
    if (drawing.out == NULL)
        return tool_fail("cannot write %s: %s", path, strerror(errno));
    drawing.drawn = tool_alloc_zero((size_t)graph->count + 1, sizeof *drawing.drawn);
    int status = TOOL_OK;
    for (size_t i = 0; i < report->why_count; i++)
        status |= draw_why(&drawing, report->whys[i]);
    size_t count;
    uint32_t *biggest = graph_biggest(graph, report->dominators, report->top != 0 ? report->top : graph->count, &count);
    for (size_t i = 0; i < count; i++)
        draw(&drawing, biggest[i]);
    fprintf(drawing.out, "digraph ouro {\n  node [shape=box, fontname=\"sans-serif\", fontsize=10];\n"
                         "  edge [fontname=\"sans-serif\", fontsize=9];\n"
                         "  outside [shape=ellipse, style=filled, fillcolor=lightgrey];\n");
    for (size_t i = 0; i < drawing.count; i++)
        put_object(&drawing, drawing.objects[i]);
    fprintf(drawing.out, "}\n");
    bool failed = ferror(drawing.out) != 0;
    if (fclose(drawing.out) != 0 || failed)
        status = tool_fail("cannot write %s: %s", path, strerror(errno));
    free(biggest);
    free(drawing.drawn);
    free(drawing.objects);
    return status;
}
