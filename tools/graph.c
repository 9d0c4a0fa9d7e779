/* tools/graph.c: `ouro graph`: its options, and what they need to have worked out. */
#include "graph.h"

#include <getopt.h>
#include <stdlib.h>

enum { TOP_TABLES = 10, TOP_WAYS = 3, TOP_DRAWN = 100 };

static const char usage[] =
    "Usage: ouro graph [OPTIONS] FILE\n"
    "\n"
    "Shows a graph of objects that ouro_gc_dump_graph wrote: what is there by type, which objects retain\n"
    "most memory (all that would go if they went), what cycles there are, and why an object is alive.\n"
    "FILE may be - for stdin.\n"
    "\n"
    "Options:\n"
    "  -w, --why TYPE|ID  shortest paths of references from outside to the objects of a type (patterns as\n"
    "                     the shell's: 'sess*') or to the object at an address (0x...); may be given again\n"
    "  -n, --top N        rows of each table, ways of each --why, objects drawn; 0: all (default: 10, 3, 100)\n"
    "  -d, --dot OUT      write the objects that retain most, with those on the paths of --why, for graphviz\n"
    "  -H, --html OUT     write a page to explore the graph in a browser\n"
    "  -j, --json         print JSON\n"
    "  -h, --help         this text\n"
    "\n"
    "Bytes are those of the blocks that objects have of the heap. From outside means: from variables, threads, memory that\n"
    "is no object's, and objects that are not tracked.\n"
    "\n"
    "Examples:\n"
    "  ouro graph heap.graph\n"
    "  ouro graph heap.graph --why session --top 1\n"
    "  ouro graph heap.graph --html heap.html && xdg-open heap.html\n"
    "  ouro graph heap.graph --dot heap.dot --top 30 && dot -Tsvg heap.dot -o heap.svg\n"
    "  ouro graph heap.graph --json --top 0 | jq '.types[] | select(.objects > 1000)'\n"
    "\n"
    "Exit status: 0 success, 1 failure (also if --why finds nothing of the kind), 2 wrong usage.\n";

struct wish {
    const char *path, *dot, *html;
    const char **whys;
    size_t why_count;
    uint64_t top;
    bool has_top, json;
};

static int work(const struct wish *wish)
{
    int status = TOOL_OK;
    struct tool_progress progress;
    tool_progress_begin(&progress, wish->path, 4);
    struct graph *graph = graph_read(wish->path);
    if (graph == NULL)
        return TOOL_FAILED;
    struct graph_report report = { .path = wish->path, .graph = graph, .whys = wish->whys };
    bool wide = wish->why_count == 0 || wish->dot != NULL || wish->html != NULL;
    report.why_count = wish->why_count;
    tool_progress_step(&progress, 1);
    if (wide)
        report.dominators = graph_dominate(graph);
    tool_progress_step(&progress, 2);
    if (wish->why_count == 0 || wish->html != NULL)
        report.cycles = graph_find_cycles(graph);
    tool_progress_step(&progress, 3);
    if (wish->why_count != 0 || wish->html != NULL)
        report.paths = graph_find_paths(graph);
    tool_progress_end(&progress);

    report.top = wish->has_top ? wish->top : TOP_DRAWN;
    if (wish->dot != NULL)
        status |= graph_write_dot(&report, wish->dot);
    if (wish->html != NULL)
        status |= graph_write_html(&report, wish->html);
    report.top = wish->has_top ? wish->top : wish->why_count != 0 ? TOP_WAYS : TOP_TABLES;
    if (wish->json && report.cycles == NULL) { /* with --why, only that */
        graph_dominators_free(report.dominators);
        report.dominators = NULL;
    }
    if (wish->json)
        status |= graph_print_json(&report);
    else if (wish->why_count != 0)
        status |= graph_print_why(&report);
    else
        graph_print(&report);
    graph_dominators_free(report.dominators);
    graph_cycles_free(report.cycles);
    graph_paths_free(report.paths);
    graph_free(graph);
    return tool_flush() | status;
}

int ouro_cmd_graph(int argc, char **argv)
{
    static const struct option options[] = {
        { "why", required_argument, NULL, 'w' },
        { "top", required_argument, NULL, 'n' },
        { "dot", required_argument, NULL, 'd' },
        { "html", required_argument, NULL, 'H' },
        { "json", no_argument, NULL, 'j' },
        { "help", no_argument, NULL, 'h' },
        { NULL, 0, NULL, 0 },
    };
    struct wish wish = { .whys = tool_alloc_zero((size_t)argc + 1, sizeof *wish.whys) };
    int option;
    while ((option = getopt_long(argc, argv, "w:n:d:H:jh", options, NULL)) != -1) {
        switch (option) {
        case 'w':
            wish.whys[wish.why_count++] = optarg;
            break;
        case 'n':
            wish.has_top = true;
            if (!tool_number("--top", optarg, true, 0, UINT32_MAX, &wish.top))
                goto wrong;
            break;
        case 'd':
            wish.dot = optarg;
            break;
        case 'H':
            wish.html = optarg;
            break;
        case 'j':
            wish.json = true;
            break;
        case 'h':
            free(wish.whys);
            return tool_help(usage);
        default:
            goto wrong;
        }
    }
    if (argc - optind != 1) {
        tool_error(optind == argc ? "no file given" : "more than one file given");
        goto wrong;
    }
    wish.path = argv[optind];
    int status = work(&wish);
    free(wish.whys);
    return status;
wrong:
    free(wish.whys);
    return tool_usage("graph");
}
