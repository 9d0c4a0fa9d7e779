/* tools/graph_report.c: what `ouro graph` prints. */
#include "graph.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { PATH_ENDS = 12 }; /* steps shown at each end of a long path */

static int most_retained_first(const void *a, const void *b)
{
    const struct graph_total *x = a, *y = b;
    if (x->retained != y->retained)
        return x->retained > y->retained ? -1 : 1;
    if (x->bytes != y->bytes)
        return x->bytes > y->bytes ? -1 : 1;
    return (x->type > y->type) - (x->type < y->type);
}

struct graph_total *graph_totals(const struct graph_report *report, size_t *count)
{
    const struct graph *graph = report->graph;
    struct graph_total *totals = tool_alloc_zero(graph->type_count + 1, sizeof *totals);
    uint64_t *retained = report->dominators != NULL ? graph_retained_by_types(graph, report->dominators) : NULL;
    for (uint32_t i = 0; i < graph->count; i++) {
        const struct graph_shape *shape = graph_shape_of(graph, i);
        struct graph_total *total = &totals[shape->type];
        total->objects++;
        total->bytes += shape->block_bytes;
        total->instance_bytes += shape->bytes;
    }
    *count = 0;
    for (uint32_t t = 0; t < graph->type_count; t++) {
        if (totals[t].objects == 0)
            continue;
        struct graph_total total = totals[t];
        total.type = t;
        total.retained = retained != NULL ? retained[t] : 0;
        totals[(*count)++] = total;
    }
    free(retained);
    qsort(totals, *count, sizeof *totals, most_retained_first);
    return totals;
}

static void heading(const char *text)
{
    printf("\n%s%s%s\n", tool_style(stdout, TOOL_BOLD), text, tool_style(stdout, TOOL_PLAIN));
}

static void print_rest(uint64_t total, uint64_t shown, const char *what)
{
    if (total > shown)
        printf("  and %s %s more\n", tool_grouped(total - shown).text, what);
}

static void print_head(const struct graph_report *report)
{
    const struct graph *graph = report->graph;
    time_t seconds = (time_t)graph->time;
    struct tm broken;
    char when[64] = "";
    if (localtime_r(&seconds, &broken) != NULL)
        strftime(when, sizeof when, "%Y-%m-%d %H:%M:%S", &broken);
    printf("%s: %s (pid %" PRIu64 "), %s; the world was stopped for %s\n", report->path,
           *graph->program != '\0' ? graph->program : "?", graph->pid, when,
           tool_duration((double)graph->pause_ns).text);
}

static void print_summary(const struct graph_report *report)
{
    const struct graph *graph = report->graph;
    const struct graph_dominators *dominators = report->dominators;
    uint64_t roots = 0, bytes = 0;
    for (uint32_t i = 0; i < graph->count; i++) {
        roots += graph_is_root(graph, i);
        bytes += graph_shape_of(graph, i)->block_bytes;
    }
    printf("%s objects, %s, %s references", tool_grouped(graph->count).text, tool_bytes((double)bytes).text,
           tool_grouped(graph->edge_count).text);
    printf("; %s held from outside\n", tool_grouped(roots).text);
    if (dominators->reached < graph->count)
        printf("%s objects, %s, are held by nothing from outside: garbage until they are collected\n",
               tool_grouped(graph->count - dominators->reached).text,
               tool_bytes((double)(bytes - dominators->retained[0])).text);
    if (graph->dangling != 0)
        printf("%s%s references lead to no object: the program has pointers to what is no more%s\n",
               tool_style(stdout, TOOL_RED), tool_grouped(graph->dangling).text, tool_style(stdout, TOOL_PLAIN));
}

static void print_types(const struct graph_report *report)
{
    static const char *const heads[] = { "objects", "bytes", "each", "retained", "", "type" };
    size_t count;
    struct graph_total *totals = graph_totals(report, &count);
    struct tool_table *table = tool_table_new(">>>>><", heads);
    double whole = (double)report->dominators->retained[0];
    size_t shown = report->top != 0 && report->top < count ? report->top : count;
    for (size_t i = 0; i < shown; i++) {
        tool_table_cell(table, "%s", tool_grouped(totals[i].objects).text);
        tool_table_cell(table, "%s", tool_bytes((double)totals[i].bytes).text);
        tool_table_cell(table, "%s", tool_bytes((double)totals[i].bytes / (double)totals[i].objects).text);
        tool_table_cell(table, "%s", tool_bytes((double)totals[i].retained).text);
        tool_table_cell(table, "%s", tool_percent((double)totals[i].retained, whole).text);
        tool_table_cell(table, "%s", report->graph->types[totals[i].type].name);
    }
    heading("Types");
    tool_table_print(table, stdout, 2);
    tool_table_free(table);
    print_rest(count, shown, "types");
    free(totals);
}

static void print_biggest(const struct graph_report *report)
{
    static const char *const heads[] = { "retained", "", "own", "outside", "address", "type" };
    const struct graph *graph = report->graph;
    size_t count;
    uint32_t *objects = graph_biggest(graph, report->dominators, report->top != 0 ? report->top : graph->count, &count);
    struct tool_table *table = tool_table_new(">>>>><", heads);
    double whole = (double)report->dominators->retained[0];
    for (size_t i = 0; i < count; i++) {
        uint64_t retained = graph_retained(report->dominators, objects[i]);
        tool_table_cell(table, "%s", tool_bytes((double)retained).text);
        tool_table_cell(table, "%s", tool_percent((double)retained, whole).text);
        tool_table_cell(table, "%s", tool_bytes((double)graph_shape_of(graph, objects[i])->block_bytes).text);
        tool_table_cell(table, "%s", tool_grouped(graph->outside[objects[i]]).text);
        tool_table_cell(table, "0x%" PRIx64, graph_address(graph, objects[i]));
        tool_table_cell(table, "%s", graph_type_of(graph, objects[i])->name);
    }
    heading("Objects that retain most");
    tool_table_print(table, stdout, 2);
    tool_table_free(table);
    free(objects);
}

char *graph_composition(const struct graph_report *report, const struct graph_cycle *cycle)
{
    const struct graph *graph = report->graph;
    uint32_t *counts = tool_alloc_zero(graph->type_count + 1, sizeof *counts);
    char *text = NULL;
    for (uint32_t i = 0; i < cycle->count; i++)
        counts[graph_shape_of(graph, report->cycles->members[cycle->first + i])->type]++;
    for (unsigned named = 0;; named++) {
        size_t most = 0;
        for (size_t t = 1; t < graph->type_count; t++)
            most = counts[t] > counts[most] ? t : most;
        if (counts[most] == 0 || named == 5) {
            char *whole = counts[most] == 0 ? tool_format("%s", text) : tool_format("%s, others", text);
            free(text);
            free(counts);
            return whole;
        }
        char *more = tool_format("%s%s%" PRIu32 " %s", text != NULL ? text : "", text != NULL ? ", " : "", counts[most],
                                 graph->types[most].name);
        free(text);
        text = more;
        counts[most] = 0;
    }
}

const char *graph_held(const struct graph_report *report, const struct graph_cycle *cycle)
{
    uint32_t member = report->cycles->members[cycle->first];
    return cycle->outside != 0 ? "from outside" : report->dominators->number[member] != 0 ? "by others" : "garbage";
}

static void print_cycles(const struct graph_report *report)
{
    static const char *const heads[] = { "objects", "bytes", "held", "one of it", "of" };
    const struct graph_cycles *cycles = report->cycles;
    heading("Cycles");
    if (cycles->count == 0) {
        printf("  none\n");
        return;
    }
    printf("  %s of %s objects, %s\n", tool_grouped(cycles->count).text, tool_grouped(cycles->objects).text,
           tool_bytes((double)cycles->bytes).text);
    struct tool_table *table = tool_table_new(">><><", heads);
    size_t shown = report->top != 0 && report->top < cycles->count ? report->top : cycles->count;
    for (size_t i = 0; i < shown; i++) {
        char *types = graph_composition(report, &cycles->cycles[i]);
        tool_table_cell(table, "%s", tool_grouped(cycles->cycles[i].count).text);
        tool_table_cell(table, "%s", tool_bytes((double)cycles->cycles[i].bytes).text);
        tool_table_cell(table, "%s", graph_held(report, &cycles->cycles[i]));
        tool_table_cell(table, "0x%" PRIx64, graph_address(report->graph, cycles->members[cycles->cycles[i].first]));
        tool_table_cell(table, "%s", types);
        free(types);
    }
    tool_table_print(table, stdout, 2);
    tool_table_free(table);
    print_rest(cycles->count, shown, "cycles");
}

void graph_print(const struct graph_report *report)
{
    print_head(report);
    print_summary(report);
    print_types(report);
    print_biggest(report);
    print_cycles(report);
}

/* Why. */

/* The path to an object, itself last. Freed by the caller. */
static uint32_t *path_to(const struct graph_paths *paths, uint32_t object, uint32_t *length)
{
    *length = 1;
    for (uint32_t at = object; paths->from[at] != at; at = paths->from[at])
        ++*length;
    uint32_t *path = tool_alloc(*length * sizeof *path);
    for (uint32_t i = *length; i-- > 0; object = paths->from[object])
        path[i] = object;
    return path;
}

static void print_step(const struct graph *graph, uint32_t object, uint32_t depth)
{
    const struct graph_shape *shape = graph_shape_of(graph, object);
    printf("    %*s%s%s%s 0x%" PRIx64 ", %s", (int)(depth < 40 ? 2 * depth : 80), "", depth != 0 ? "-> " : "",
           graph_type_of(graph, object)->name, "", graph_address(graph, object),
           tool_bytes((double)shape->block_bytes).text);
    if (depth == 0 && (graph->flags[object] & GRAPH_IMMORTAL) != 0)
        printf(", immortal");
    else if (graph->outside[object] != 0)
        printf(", %s %s from outside", tool_grouped(graph->outside[object]).text,
               graph->outside[object] == 1 ? "reference" : "references");
    printf("\n");
}

static void print_path(const struct graph_report *report, uint32_t object)
{
    uint32_t length;
    uint32_t *path = path_to(report->paths, object, &length);
    for (uint32_t i = 0; i < length; i++) {
        if (i == PATH_ENDS && length > 2 * PATH_ENDS + 1) {
            printf("      ... %s more ...\n", tool_grouped(length - 2 * PATH_ENDS).text);
            i = length - PATH_ENDS - 1;
            continue;
        }
        print_step(report->graph, path[i], i < length - PATH_ENDS || length <= 2 * PATH_ENDS + 1 ? i : PATH_ENDS);
    }
    free(path);
}

static int print_one_why(const struct graph_report *report, const char *what)
{
    const struct graph *graph = report->graph;
    size_t count;
    uint32_t unreached, lost;
    struct graph_reason *reasons = graph_why(graph, report->paths, what, &count, &unreached, &lost);
    if (reasons == NULL)
        return TOOL_FAILED;
    heading(what);
    size_t shown = report->top != 0 && report->top < count ? report->top : count;
    for (size_t i = 0; i < shown; i++) {
        printf("  %s %s, %s, held like this:\n", tool_grouped(reasons[i].count).text,
               reasons[i].count == 1 ? "object" : "objects", tool_bytes((double)reasons[i].bytes).text);
        print_path(report, reasons[i].example);
    }
    print_rest(count, shown, "ways");
    if (unreached != 0)
        printf("  %s %s, 0x%" PRIx64 " for one, held by nothing from outside: garbage until collected\n",
               tool_grouped(unreached).text, unreached == 1 ? "object" : "objects", graph_address(graph, lost));
    free(reasons);
    return TOOL_OK;
}

int graph_print_why(const struct graph_report *report)
{
    int status = TOOL_OK;
    print_head(report);
    for (size_t i = 0; i < report->why_count; i++)
        if (print_one_why(report, report->whys[i]) != TOOL_OK)
            status = TOOL_FAILED;
    return status;
}

/* JSON. */

void graph_json_text(FILE *out, const char *text)
{
    fputc('"', out);
    for (; *text != '\0'; text++) {
        if (*text == '"' || *text == '\\')
            fputc('\\', out);
        if (*text == '<' || *text == '>' || *text == '&')
            fprintf(out, "\\u%04x", (unsigned)*text);
        else
            fputc(*text, out);
    }
    fputc('"', out);
}

static void json_object(const struct graph *graph, uint32_t object)
{
    printf("{\"address\": \"0x%" PRIx64 "\", \"type\": ", graph_address(graph, object));
    graph_json_text(stdout, graph_type_of(graph, object)->name);
    printf(", \"bytes\": %" PRIu64 ", \"outside\": %" PRIu32 ", \"immortal\": %s",
           graph_shape_of(graph, object)->block_bytes, graph->outside[object],
           (graph->flags[object] & GRAPH_IMMORTAL) != 0 ? "true" : "false");
}

static void json_types(const struct graph_report *report)
{
    size_t count;
    struct graph_total *totals = graph_totals(report, &count);
    printf(",\n  \"types\": [");
    for (size_t i = 0; i < count && (report->top == 0 || i < report->top); i++) {
        printf("%s\n    {\"name\": ", i != 0 ? "," : "");
        graph_json_text(stdout, report->graph->types[totals[i].type].name);
        printf(", \"number\": %" PRIu64 ", \"objects\": %" PRIu64 ", \"bytes\": %" PRIu64
               ", \"instance_bytes\": %" PRIu64 ", \"retained_bytes\": %" PRIu64 "}",
               report->graph->types[totals[i].type].number, totals[i].objects, totals[i].bytes,
               totals[i].instance_bytes, totals[i].retained);
    }
    printf("]");
    free(totals);
}

static void json_biggest(const struct graph_report *report)
{
    const struct graph *graph = report->graph;
    const struct graph_dominators *dominators = report->dominators;
    size_t count;
    uint32_t *objects = graph_biggest(graph, dominators, report->top != 0 ? report->top : graph->count, &count);
    printf(",\n  \"biggest\": [");
    for (size_t i = 0; i < count; i++) {
        uint32_t dominator = dominators->dominator[dominators->number[objects[i]]];
        printf("%s\n    ", i != 0 ? "," : "");
        json_object(graph, objects[i]);
        printf(", \"retained_bytes\": %" PRIu64 ", \"dominator\": ", graph_retained(dominators, objects[i]));
        if (dominator != 0)
            printf("\"0x%" PRIx64 "\"}", graph_address(graph, dominators->object[dominator]));
        else
            printf("null}");
    }
    printf("]");
    free(objects);
}

static void json_cycles(const struct graph_report *report)
{
    const struct graph_cycles *cycles = report->cycles;
    printf(",\n  \"cycles\": {\"count\": %zu, \"objects\": %" PRIu32 ", \"bytes\": %" PRIu64 ", \"biggest\": [",
           cycles->count, cycles->objects, cycles->bytes);
    for (size_t i = 0; i < cycles->count && (report->top == 0 || i < report->top); i++) {
        const struct graph_cycle *cycle = &cycles->cycles[i];
        char *types = graph_composition(report, cycle);
        uint64_t least = UINT64_MAX;
        for (uint32_t k = 0; k < cycle->count; k++) {
            uint64_t address = graph_address(report->graph, cycles->members[cycle->first + k]);
            least = address < least ? address : least;
        }
        printf("%s\n    {\"objects\": %" PRIu32 ", \"bytes\": %" PRIu64 ", \"outside\": %" PRIu64
               ", \"held\": \"%s\", \"lowest_address\": \"0x%" PRIx64 "\", \"types\": ",
               i != 0 ? "," : "", cycle->count, cycle->bytes, cycle->outside, graph_held(report, cycle), least);
        graph_json_text(stdout, types);
        printf("}");
        free(types);
    }
    printf("]}");
}

static int json_why(const struct graph_report *report, const char *what)
{
    const struct graph *graph = report->graph;
    size_t count;
    uint32_t unreached, lost;
    struct graph_reason *reasons = graph_why(graph, report->paths, what, &count, &unreached, &lost);
    printf("\n    {\"what\": ");
    graph_json_text(stdout, what);
    printf(", \"unreached\": %" PRIu32 ", \"ways\": [", unreached);
    for (size_t i = 0; reasons != NULL && i < count && (report->top == 0 || i < report->top); i++) {
        uint32_t length;
        uint32_t *path = path_to(report->paths, reasons[i].example, &length);
        printf("%s\n      {\"objects\": %" PRIu32 ", \"bytes\": %" PRIu64 ", \"path\": [", i != 0 ? "," : "",
               reasons[i].count, reasons[i].bytes);
        for (uint32_t k = 0; k < length; k++) {
            printf("%s\n        ", k != 0 ? "," : "");
            json_object(graph, path[k]);
            printf("}");
        }
        printf("]}");
        free(path);
    }
    printf("]}");
    bool found = reasons != NULL;
    free(reasons);
    return found ? TOOL_OK : TOOL_FAILED;
}

int graph_print_json(const struct graph_report *report)
{
    const struct graph *graph = report->graph;
    int status = TOOL_OK;
    uint64_t roots = 0;
    for (uint32_t i = 0; i < graph->count; i++)
        roots += graph_is_root(graph, i);
    printf("{\n  \"schema\": 1, \"program\": ");
    graph_json_text(stdout, graph->program);
    printf(", \"library\": ");
    graph_json_text(stdout, graph->writer);
    printf(", \"pid\": %" PRIu64 ", \"time\": %" PRIu64 ", \"pause_ns\": %" PRIu64 ",\n  \"objects\": %" PRIu32
           ", \"references\": %" PRIu32 ", \"dangling\": %" PRIu64 ", \"roots\": %" PRIu64,
           graph->pid, graph->time, graph->pause_ns, graph->count, graph->edge_count, graph->dangling, roots);
    if (report->dominators != NULL) {
        printf(", \"reached\": %" PRIu32 ", \"reached_bytes\": %" PRIu64, report->dominators->reached,
               report->dominators->retained[0]);
        json_types(report);
        json_biggest(report);
        json_cycles(report);
    }
    if (report->why_count != 0) {
        printf(",\n  \"why\": [");
        for (size_t i = 0; i < report->why_count; i++) {
            if (i != 0)
                printf(",");
            if (json_why(report, report->whys[i]) != TOOL_OK)
                status = TOOL_FAILED;
        }
        printf("]");
    }
    printf("\n}\n");
    return status;
}
