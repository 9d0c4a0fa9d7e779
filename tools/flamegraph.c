/* tools/flamegraph.c: a flame graph: stacks as an SVG, widths by bytes, the outermost function at the bottom.
 *
 * Each stack is put into a tree whose nodes are functions; a node's bytes are those allocated in it and above it. Nodes that
 * are too narrow to be seen are left out, so that the file stays small. The file is whole in itself: its script is
 * flamegraph.js.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "snapshot.h"

enum { WIDTH = 1200, SIDE = 10, ROW = 18, HEAD = 74, FOOT = 58, NODES_MOST = 20000, NARROWEST = 10000 };
#define CHARACTER 7.25 /* of the names, in pixels */
#define NO_NODE UINT32_MAX

struct node {
    const char *function, *file, *module;
    unsigned line, depth;
    uint32_t parent;
    bool kept;
    double size, count;
    double x, filled; /* x: bytes left of it; filled: by children so far */
};

struct flame {
    struct frame_table names;
    ouro_snapshot_info info;
    struct node *nodes; /* parents before their children; the root first */
    size_t count, room;
    uint32_t *slots; /* a hash table of nodes + 1, by parent and function */
    size_t mask;
    unsigned depth;
};

__asm__(".pushsection .rodata\n"
        "flamegraph_script:\n"
        ".incbin \"" TOOL_SOURCE_DIR "/flamegraph.js\"\n"
        ".byte 0\n"
        ".popsection\n");
extern const char flamegraph_script[] __attribute__((visibility("hidden")));

static uint32_t *find_slot(const struct flame *flame, uint32_t parent, const char *function)
{
    size_t at =
        (size_t)(((uintptr_t)function * 0x9e3779b97f4a7c15u ^ parent * 0xbf58476d1ce4e5b9u) >> 24) & flame->mask;
    for (;; at = (at + 1) & flame->mask) {
        uint32_t *slot = &flame->slots[at];
        if (*slot == 0 || (flame->nodes[*slot - 1].parent == parent && flame->nodes[*slot - 1].function == function))
            return slot;
    }
}

static void make_room(struct flame *flame)
{
    if (flame->count < flame->room)
        return;
    flame->room = flame->room == 0 ? 4096 : 2 * flame->room;
    flame->nodes = tool_realloc(flame->nodes, flame->room, sizeof *flame->nodes);
    free(flame->slots);
    flame->mask = 2 * flame->room - 1;
    flame->slots = tool_alloc_zero(2 * flame->room, sizeof *flame->slots);
    for (uint32_t i = 0; i < flame->count; i++)
        *find_slot(flame, flame->nodes[i].parent, flame->nodes[i].function) = i + 1;
}

static uint32_t child_of(struct flame *flame, uint32_t parent, const ouro_trace_symbol *symbol)
{
    make_room(flame);
    uint32_t *slot = find_slot(flame, parent, symbol->function);
    if (*slot == 0) {
        unsigned depth = parent != NO_NODE ? flame->nodes[parent].depth + 1 : 0;
        flame->nodes[flame->count] = (struct node){ .function = symbol->function,
                                                    .file = symbol->file,
                                                    .module = symbol->module,
                                                    .line = symbol->line,
                                                    .depth = depth,
                                                    .parent = parent };
        *slot = (uint32_t)++flame->count;
    }
    return *slot - 1;
}

static void add_stack(struct flame *flame, const ouro_trace_stat *stat)
{
    uint32_t at = 0;
    size_t first = first_shown(&flame->names, stat);
    for (size_t i = stat->frame_count; i-- > first;) {
        const struct frame_names *names = frame_names_of(&flame->names, stat->frames[i]);
        for (size_t k = names->count; k-- > 0;)
            at = child_of(flame, at, &names->symbols[k]);
    }
    flame->nodes[at].size += (double)stat->size;
    flame->nodes[at].count += (double)stat->count;
}

/* Adds each node to its parent, and chooses which are drawn. */
static void sum_up(struct flame *flame)
{
    for (size_t i = flame->count; i-- > 1;) {
        struct node *node = &flame->nodes[i], *parent = &flame->nodes[node->parent];
        parent->size += node->size;
        parent->count += node->count;
    }
    size_t kept = SIZE_MAX;
    for (double least = flame->nodes[0].size / NARROWEST; kept > NODES_MOST; least *= 2) {
        kept = 0;
        flame->depth = 0;
        for (size_t i = 0; i < flame->count; i++) {
            struct node *node = &flame->nodes[i];
            node->kept = i == 0 || (node->size > 0 && node->size >= least); /* so is its parent, which is no smaller */
            kept += node->kept;
            if (node->kept && node->depth > flame->depth)
                flame->depth = node->depth;
        }
    }
}

static const struct node *sorted_nodes;

/* By depth, then parent by parent, the biggest first. */
static int compare(const void *a, const void *b)
{
    const struct node *one = &sorted_nodes[*(const uint32_t *)a], *other = &sorted_nodes[*(const uint32_t *)b];
    if (one->depth != other->depth)
        return one->depth < other->depth ? -1 : 1;
    if (one->parent != other->parent)
        return one->parent < other->parent ? -1 : 1;
    if (one->size != other->size)
        return one->size > other->size ? -1 : 1;
    return strcmp(one->function, other->function);
}

/* Places the nodes that are kept; their numbers in the order of drawing, to be freed. */
static uint32_t *place(struct flame *flame, size_t *count)
{
    uint32_t *order = tool_alloc(flame->count * sizeof *order);
    *count = 0;
    for (uint32_t i = 0; i < flame->count; i++)
        if (flame->nodes[i].kept)
            order[(*count)++] = i;
    sorted_nodes = flame->nodes;
    qsort(order, *count, sizeof *order, compare);
    for (size_t i = 1; i < *count; i++) {
        struct node *node = &flame->nodes[order[i]], *parent = &flame->nodes[node->parent];
        node->x = parent->x + parent->filled;
        parent->filled += node->size;
    }
    return order;
}

/* Bytes of the UTF-8 character at `text`, 0 if there is none that XML takes. */
static unsigned character(const unsigned char *text)
{
    unsigned length = text[0] < 0x80 ? 1 : text[0] >= 0xc2 && text[0] < 0xe0 ? 2 : (text[0] & 0xf0) == 0xe0 ? 3 : 4;
    if (length == 1)
        return text[0] >= ' ' && text[0] != 0x7f;
    if (length == 4 && (text[0] < 0xf0 || text[0] > 0xf4))
        return 0;
    for (unsigned i = 1; i < length; i++)
        if ((text[i] & 0xc0) != 0x80)
            return 0;
    unsigned second = text[1];
    bool overlong = (text[0] == 0xe0 && second < 0xa0) || (text[0] == 0xf0 && second < 0x90);
    bool outside = (text[0] == 0xed && second >= 0xa0) || (text[0] == 0xf4 && second >= 0x90) ||
                   (text[0] == 0xef && second == 0xbf && text[2] >= 0xbe);
    return overlong || outside ? 0 : length;
}

/* At most `most` characters, as XML. */
static void put_text(FILE *out, const char *text, size_t most)
{
    for (const unsigned char *at = (const unsigned char *)text; *at != '\0' && most > 0; most--) {
        unsigned length = character(at);
        if (length == 0)
            fputc('?', out);
        else if (*at == '&')
            fputs("&amp;", out);
        else if (*at == '<')
            fputs("&lt;", out);
        else if (*at == '>')
            fputs("&gt;", out);
        else if (*at == '"')
            fputs("&quot;", out);
        else
            fwrite(at, 1, length, out);
        at += length != 0 ? length : 1;
    }
}

/* The program's functions are warm, libraries' blue, libc's and what has no module grey; each a little different. */
static void put_colour(FILE *out, const struct flame *flame, const struct node *node)
{
    unsigned hash = 2166136261u;
    for (const char *at = node->function; *at != '\0'; at++)
        hash = (hash ^ (unsigned char)*at) * 16777619u;
    unsigned some = (hash >> 8) % 100, other = (hash >> 20) % 100;
    const char *name = node->module != NULL ? strrchr(node->module, '/') : NULL;
    if (node->parent == NO_NODE)
        fputs("#e4e0d8", out);
    else if (name == NULL || strncmp(name, "/libc.so", 8) == 0 || strncmp(name, "/ld-linux", 9) == 0)
        fprintf(out, "hsl(210,6%%,%u%%)", 74 + some / 8);
    else if (strcmp(node->module, flame->info.program) == 0)
        fprintf(out, "hsl(%u,%u%%,%u%%)", 16 + some * 30 / 100, 84, 62 + other / 8);
    else
        fprintf(out, "hsl(%u,%u%%,%u%%)", 192 + some * 28 / 100, 52, 68 + other / 9);
}

static void put_node(FILE *out, const struct flame *flame, const struct node *node)
{
    const struct node *root = &flame->nodes[0];
    double scale = root->size > 0 ? (WIDTH - 2 * SIDE) / root->size : 0, width = node->size * scale;
    unsigned y = HEAD + (flame->depth - node->depth) * ROW;
    fprintf(out, "<g class=\"n\" data-x=\"%.0f\" data-b=\"%.0f\" data-d=\"%u\" data-f=\"", node->x, node->size,
            node->depth);
    put_text(out, node->function, SIZE_MAX);
    fputs("\"><title>", out);
    put_text(out, node->function, SIZE_MAX);
    if (node->file != NULL || node->module != NULL) {
        fputs("\n", out);
        put_text(out, node->file != NULL ? node->file : node->module, SIZE_MAX);
        if (node->line != 0)
            fprintf(out, ":%u", node->line);
    }
    fprintf(out, "\n%s (%s), %s blocks</title>", tool_bytes(node->size).text, tool_percent(node->size, root->size).text,
            tool_grouped((uint64_t)node->count).text);
    fprintf(out, "<rect x=\"%.3f\" y=\"%u\" width=\"%.3f\" height=\"%d\" rx=\"1.5\" fill=\"", SIDE + node->x * scale, y,
            width, ROW - 1);
    put_colour(out, flame, node);
    fprintf(out, "\"/><text x=\"%.2f\" y=\"%u\">", SIDE + node->x * scale + 3, y + 13);
    size_t room = width > 6 ? (size_t)((width - 6) / CHARACTER) : 0;
    bool whole = room >= strlen(node->function);
    if (whole || room >= 4)
        put_text(out, node->function, whole ? SIZE_MAX : room - 2);
    fprintf(out, "%s</text></g>\n", !whole && room >= 4 ? ".." : "");
}

static void put_head(FILE *out, const struct flame *flame, unsigned height)
{
    const ouro_snapshot_info *info = &flame->info;
    const char *name = strrchr(info->program, '/');
    fprintf(
        out,
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
        "<svg xmlns=\"http://www.w3.org/2000/svg\" version=\"1.1\" width=\"%d\" height=\"%u\" "
        "viewBox=\"0 0 %d %u\">\n"
        "<style>text { font: 12px monospace; fill: #1c1c1c } .title { font: bold 17px sans-serif } "
        ".small { font: 12px sans-serif; fill: #555 } .link { font: 12px sans-serif; fill: #0a58a8; cursor: pointer } "
        ".right { text-anchor: end } "
        ".n { cursor: pointer } .n text { pointer-events: none } .n:hover rect { stroke: #222 } "
        ".hit rect { fill: #d957d9 }</style>\n"
        "<rect id=\"paper\" width=\"%d\" height=\"%u\" fill=\"#fdfcf9\"/>\n",
        WIDTH, height, WIDTH, height, WIDTH, height);
    fprintf(out, "<text class=\"title\" x=\"%d\" y=\"26\">", SIDE);
    put_text(out, name != NULL ? name + 1 : info->program, 60);
    fprintf(out, ": %s in %s blocks</text>\n", tool_bytes((double)info->size).text, tool_grouped(info->count).text);
    fprintf(out, "<text class=\"small\" x=\"%d\" y=\"46\">process %llu, %s, %s", SIDE, (unsigned long long)info->pid,
            snapshot_time(info).text, info->sample_bytes == 0 ? "every allocation" : "sampled, one for ");
    fprintf(out, "%s; width is memory in use, what is above was called by what is below</text>\n",
            info->sample_bytes == 0 ? "" : tool_bytes((double)info->sample_bytes).text);
    fprintf(out,
            "<text id=\"search\" class=\"link right\" x=\"%d\" y=\"26\">search (/)</text>\n"
            "<text id=\"matched\" class=\"small right\" x=\"%d\" y=\"46\"></text>\n"
            "<text id=\"reset\" class=\"link\" x=\"%d\" y=\"64\" style=\"display: none\">back to all (Esc)</text>\n",
            WIDTH - SIDE, WIDTH - SIDE, SIDE);
}

static void put_foot(FILE *out, unsigned height)
{
    static const struct {
        const char *colour, *what;
        int x;
    } legend[] = { { "hsl(30,84%,66%)", "the program", 0 },
                   { "hsl(206,52%,74%)", "libraries", 110 },
                   { "hsl(210,6%,80%)", "libc, unknown", 204 } };
    fprintf(out, "<text id=\"detail\" x=\"%d\" y=\"%u\">Point at a function, or click it to zoom.</text>\n", SIDE,
            height - FOOT + 20);
    for (size_t i = 0; i < sizeof legend / sizeof *legend; i++)
        fprintf(out,
                "<rect x=\"%d\" y=\"%u\" width=\"12\" height=\"12\" fill=\"%s\"/>"
                "<text class=\"small\" x=\"%d\" y=\"%u\">%s</text>\n",
                SIDE + legend[i].x, height - 24, legend[i].colour, SIDE + legend[i].x + 17, height - 14,
                legend[i].what);
    fprintf(out, "<script><![CDATA[\n%s]]></script>\n</svg>\n", flamegraph_script);
}

static int draw(struct flame *flame, const char *path)
{
    size_t count;
    uint32_t *order = place(flame, &count);
    unsigned height = HEAD + (flame->depth + 1) * ROW + FOOT;
    FILE *out = fopen(path, "w");
    if (out == NULL) {
        free(order);
        return tool_fail("%s: %s", path, strerror(errno));
    }
    put_head(out, flame, height);
    for (size_t i = 0; i < count; i++)
        put_node(out, flame, &flame->nodes[order[i]]);
    put_foot(out, height);
    free(order);
    bool bad = ferror(out) != 0;
    int error = errno;
    if (fclose(out) != 0 && !bad) {
        bad = true;
        error = errno;
    }
    return bad ? tool_fail("%s: %s", path, strerror(error)) : TOOL_OK;
}

int write_flamegraph(ouro_snapshot *snapshot, const char *path)
{
    const ouro_trace_stat *stats;
    struct flame flame = { 0 };
    errno = 0;
    size_t count = ouro_snapshot_statistics(snapshot, OURO_BY_TRACEBACK, &stats);
    if (count == 0 && errno != 0)
        return tool_fail("%s: %s", path, strerror(errno));
    struct tool_progress progress;
    tool_progress_begin(&progress, "Drawing", count);
    frame_table_begin(&flame.names, snapshot);
    ouro_snapshot_get_info(snapshot, &flame.info);
    const ouro_trace_symbol all = { .function = "all" };
    (void)child_of(&flame, NO_NODE, &all);
    for (size_t i = 0; i < count; i++) {
        add_stack(&flame, &stats[i]);
        if (i % 1024 == 0)
            tool_progress_step(&progress, i);
    }
    sum_up(&flame);
    int rc = draw(&flame, path);
    tool_progress_end(&progress);
    frame_table_end(&flame.names);
    free(flame.nodes);
    free(flame.slots);
    return rc;
}
