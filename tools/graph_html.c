/* tools/graph_html.c: a page to explore a graph: graph_page.html with part of the graph as JSON in it.
 *
 * In the page are, up to OBJECTS_MOST: the objects that retain most, some of each type and of each cycle, examples of --why;
 * what is on the shortest paths to these; and some that they refer to and that refer to them. So its size is bounded, whatever
 * the graph's.
 */
#include "graph.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

extern const char graph_page[]; /* graph_page.html, made into C by the build */

enum {
    OBJECTS_MOST = 16000,
    BIGGEST = 3000,
    TYPES_MOST = 2000,
    OF_TYPE = 4,
    CYCLES_MOST = 200,
    OF_CYCLE = 12,
    PATH_MOST = 500,
    NEIGHBOURS = 24,
    WAYS_MOST = 50,
};

struct page {
    const struct graph_report *report;
    FILE *out;
    uint32_t *place; /* of an object in the page; GRAPH_NONE: not there */
    uint32_t *objects;
    uint32_t count;
    struct referrers {
        uint32_t total, listed, list[NEIGHBOURS];
    } * referrers;
};

static bool add(struct page *page, uint32_t object)
{
    if (page->place[object] != GRAPH_NONE)
        return true;
    if (page->count == OBJECTS_MOST)
        return false;
    page->objects[page->count] = object;
    page->place[object] = page->count++;
    return true;
}

static void add_whys(struct page *page)
{
    const struct graph_report *report = page->report;
    for (size_t i = 0; i < report->why_count; i++) {
        size_t count;
        uint32_t unreached, lost;
        struct graph_reason *reasons =
            graph_why(report->graph, report->paths, report->whys[i], &count, &unreached, &lost);
        for (size_t k = 0; reasons != NULL && k < count && k < WAYS_MOST; k++)
            add(page, reasons[k].example);
        if (reasons != NULL && lost != GRAPH_NONE)
            add(page, lost);
        free(reasons);
    }
}

static void add_of_types(struct page *page)
{
    const struct graph *graph = page->report->graph;
    uint8_t *seen = tool_alloc_zero(graph->type_count + 1, 1);
    for (uint32_t i = 0; i < graph->count; i++) {
        uint8_t *of = &seen[graph_shape_of(graph, i)->type];
        if (*of < OF_TYPE) {
            ++*of;
            add(page, i);
        }
    }
    free(seen);
}

static void add_paths(struct page *page)
{
    const uint32_t *from = page->report->paths->from;
    for (uint32_t i = 0, end = page->count; i < end; i++) {
        uint32_t at = page->objects[i];
        for (unsigned step = 0; step < PATH_MOST && from[at] != GRAPH_NONE && from[at] != at; step++)
            if (!add(page, at = from[at]))
                return;
    }
}

/* Of those that are in the page already; how many of each are added is bounded. */
static void add_neighbours(struct page *page)
{
    const struct graph *graph = page->report->graph;
    uint32_t end = page->count;
    for (uint32_t i = 0; i < end; i++) {
        uint32_t object = page->objects[i], degree = graph_degree(graph, object);
        for (uint32_t k = 0; k < degree && k < NEIGHBOURS / 2; k++)
            add(page, graph_refs(graph, object)[k]);
    }
    uint8_t *added = tool_alloc_zero((size_t)end + 1, 1);
    for (uint32_t object = 0; object < graph->count && page->count < OBJECTS_MOST; object++) {
        for (uint32_t k = 0; k < graph_degree(graph, object); k++) {
            uint32_t at = page->place[graph_refs(graph, object)[k]];
            if (at < end && added[at] < NEIGHBOURS / 2) {
                added[at]++;
                add(page, object);
            }
        }
    }
    free(added);
}

static void choose(struct page *page)
{
    const struct graph_report *report = page->report;
    size_t count;
    uint32_t *biggest = graph_biggest(report->graph, report->dominators, BIGGEST, &count);
    for (size_t i = 0; i < count; i++)
        add(page, biggest[i]);
    free(biggest);
    add_whys(page);
    for (size_t c = 0; c < report->cycles->count && c < CYCLES_MOST; c++)
        for (uint32_t i = 0; i < report->cycles->cycles[c].count && i < OF_CYCLE; i++)
            add(page, report->cycles->members[report->cycles->cycles[c].first + i]);
    add_of_types(page);
    add_paths(page);
    add_neighbours(page);
}

static void find_referrers(struct page *page)
{
    const struct graph *graph = page->report->graph;
    for (uint32_t object = 0; object < graph->count; object++) {
        for (uint32_t k = 0; k < graph_degree(graph, object); k++) {
            uint32_t at = page->place[graph_refs(graph, object)[k]];
            if (at == GRAPH_NONE)
                continue;
            struct referrers *of = &page->referrers[at];
            of->total++;
            if (page->place[object] != GRAPH_NONE && of->listed < NEIGHBOURS &&
                (of->listed == 0 || of->list[of->listed - 1] != page->place[object]))
                of->list[of->listed++] = page->place[object];
        }
    }
}

/* Place in the page, or why there is none. */
static int64_t place_or(const struct page *page, uint32_t object, int64_t otherwise)
{
    uint32_t place = page->place[object];
    return place != GRAPH_NONE ? (int64_t)place : otherwise;
}

static void put_referents(struct page *page, uint32_t object)
{
    const struct graph *graph = page->report->graph;
    uint32_t list[NEIGHBOURS], listed = 0;
    for (uint32_t k = 0; k < graph_degree(graph, object) && listed < NEIGHBOURS; k++) {
        uint32_t place = page->place[graph_refs(graph, object)[k]];
        bool again = place == GRAPH_NONE;
        for (uint32_t i = 0; i < listed; i++)
            again |= list[i] == place;
        if (!again)
            list[listed++] = place;
    }
    fprintf(page->out, ",[");
    for (uint32_t i = 0; i < listed; i++)
        fprintf(page->out, "%s%" PRIu32, i != 0 ? "," : "", list[i]);
    fprintf(page->out, "],%" PRIu32, graph_degree(graph, object));
}

/* As the page's script has them: type, address, bytes, retained, outside, flags, dominator (-1: none, -2: garbage), from (-1:
 * held from outside, -2: garbage, -3: not in the page), referents, their number, referrers, their number. */
static void put_object(struct page *page, uint32_t place)
{
    const struct graph_report *report = page->report;
    const struct graph *graph = report->graph;
    const struct graph_dominators *dominators = report->dominators;
    uint32_t object = page->objects[place], number = dominators->number[object], from = report->paths->from[object];
    uint32_t dominator = number != 0 ? dominators->object[dominators->dominator[number]] : GRAPH_NONE;
    fprintf(page->out, "%s\n[%" PRIu32 ",\"0x%" PRIx64 "\",%" PRIu64 ",%" PRIu64 ",%" PRIu32 ",%d",
            place != 0 ? "," : "", graph_shape_of(graph, object)->type, graph_address(graph, object),
            graph_shape_of(graph, object)->block_bytes, graph_retained(dominators, object), graph->outside[object],
            (graph->flags[object] & GRAPH_IMMORTAL) != 0);
    fprintf(page->out, ",%" PRId64, number == 0 ? -2 : dominator == GRAPH_NONE ? -1 : place_or(page, dominator, -2));
    fprintf(page->out, ",%" PRId64, from == GRAPH_NONE ? -2 : from == object ? -1 : place_or(page, from, -3));
    put_referents(page, object);
    const struct referrers *referrers = &page->referrers[place];
    fprintf(page->out, ",[");
    for (uint32_t i = 0; i < referrers->listed; i++)
        fprintf(page->out, "%s%" PRIu32, i != 0 ? "," : "", referrers->list[i]);
    fprintf(page->out, "],%" PRIu32 "]", referrers->total);
}

static void put_types(struct page *page)
{
    const struct graph_report *report = page->report;
    size_t count, shown;
    struct graph_total *totals = graph_totals(report, &count);
    shown = count < TYPES_MOST ? count : TYPES_MOST;
    fprintf(page->out, ",\n\"names\":[");
    for (size_t t = 0; t < report->graph->type_count; t++) {
        fputs(t != 0 ? "," : "", page->out);
        graph_json_text(page->out, report->graph->types[t].name);
    }
    fprintf(page->out, "],\n\"types_left\":%zu,\"types\":[", count - shown);
    for (size_t i = 0; i < shown; i++)
        fprintf(page->out, "%s\n[%" PRIu32 ",%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",%" PRIu64 "]", i != 0 ? "," : "",
                totals[i].type, totals[i].objects, totals[i].bytes, totals[i].instance_bytes, totals[i].retained);
    fprintf(page->out, "]");
    free(totals);
}

static void put_cycles(struct page *page)
{
    const struct graph_cycles *cycles = page->report->cycles;
    fprintf(page->out,
            ",\n\"cycles_count\":%zu,\"cycles_objects\":%" PRIu32 ",\"cycles_bytes\":%" PRIu64 ",\"cycles\":[",
            cycles->count, cycles->objects, cycles->bytes);
    for (size_t i = 0; i < cycles->count && i < CYCLES_MOST; i++) {
        const struct graph_cycle *cycle = &cycles->cycles[i];
        char *types = graph_composition(page->report, cycle);
        fprintf(page->out, "%s\n[%" PRIu32 ",%" PRIu64 ",\"%s\",%" PRId64 ",", i != 0 ? "," : "", cycle->count,
                cycle->bytes, graph_held(page->report, cycle), place_or(page, cycles->members[cycle->first], -1));
        graph_json_text(page->out, types);
        fprintf(page->out, "]");
        free(types);
    }
    fprintf(page->out, "]");
}

static void put_data(struct page *page)
{
    const struct graph_report *report = page->report;
    const struct graph *graph = report->graph;
    uint64_t roots = 0, bytes = 0;
    for (uint32_t i = 0; i < graph->count; i++) {
        roots += graph_is_root(graph, i);
        bytes += graph_shape_of(graph, i)->block_bytes;
    }
    fprintf(page->out, "{\"program\":");
    graph_json_text(page->out, graph->program);
    fprintf(page->out, ",\"pid\":%" PRIu64 ",\"time\":%" PRIu64 ",\"count\":%" PRIu32 ",\"bytes\":%" PRIu64, graph->pid,
            graph->time, graph->count, bytes);
    fprintf(page->out, ",\"references\":%" PRIu32 ",\"roots\":%" PRIu64 ",\"dangling\":%" PRIu64, graph->edge_count,
            roots, graph->dangling);
    fprintf(page->out, ",\"reached\":%" PRIu32 ",\"reached_bytes\":%" PRIu64, report->dominators->reached,
            report->dominators->retained[0]);
    put_types(page);
    put_cycles(page);
    fprintf(page->out, ",\n\"objects\":[");
    for (uint32_t i = 0; i < page->count; i++)
        put_object(page, i);
    fprintf(page->out, "]}");
}

int graph_write_html(const struct graph_report *report, const char *path)
{
    static const char mark[] = "@DATA@";
    const char *middle = strstr(graph_page, mark);
    struct page page = { .report = report, .out = fopen(path, "w") };
    if (page.out == NULL)
        return tool_fail("cannot write %s: %s", path, strerror(errno));
    page.place = graph_array((size_t)report->graph->count + 1, sizeof *page.place);
    memset(page.place, 0xff, ((size_t)report->graph->count + 1) * sizeof *page.place);
    page.objects = tool_alloc(OBJECTS_MOST * sizeof *page.objects);
    choose(&page);
    page.referrers = tool_alloc_zero((size_t)page.count + 1, sizeof *page.referrers);
    find_referrers(&page);
    fwrite(graph_page, 1, (size_t)(middle - graph_page), page.out);
    put_data(&page);
    fputs(middle + sizeof mark - 1, page.out);
    free(page.place);
    free(page.objects);
    free(page.referrers);
    bool failed = ferror(page.out) != 0;
    if (fclose(page.out) != 0 || failed)
        return tool_fail("cannot write %s: %s", path, strerror(errno));
    return TOOL_OK;
}
