/* graphs/graph.c: see graph.h. */
#define _GNU_SOURCE
#include "graph.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define MAGIC "OGRAPH1"
enum { DELTAS = 1, PLANES = 2, MOST = 1 << 30 };

struct header {
    char magic[8];
    uint32_t version, flags;
    uint64_t nodes, edges;
    uint32_t types, tracked, app_root, roots;
    uint64_t type_bytes, order;
};
_Static_assert(sizeof(struct header) == 64, "as in the file");

/* A file, or what zstd makes of it. */
struct source {
    FILE *file;
    pid_t zstd;
};

static bool source_open(struct source *source, const char *path)
{
    size_t length = strlen(path);
    source->zstd = 0;
    if (length < 4 || strcmp(path + length - 4, ".zst") != 0) {
        source->file = fopen(path, "rb");
        return source->file != NULL;
    }
    int ends[2];
    if (access(path, R_OK) != 0 || pipe(ends) != 0)
        return false;
    source->zstd = fork();
    if (source->zstd == 0) {
        dup2(ends[1], 1);
        close(ends[0]);
        close(ends[1]);
        execlp("zstd", "zstd", "-dcq", "--", path, (char *)NULL);
        _exit(127);
    }
    close(ends[1]);
    source->file = source->zstd > 0 ? fdopen(ends[0], "rb") : NULL;
    if (source->file == NULL)
        close(ends[0]);
    return source->file != NULL;
}

static void source_close(struct source *source)
{
    int status;
    fclose(source->file);
    if (source->zstd > 0)
        waitpid(source->zstd, &status, 0);
}

/* An array and the zeros up to the next multiple of 8. */
static bool read_section(FILE *file, void *to, uint64_t bytes)
{
    char rest[8];
    size_t padding = (8 - bytes % 8) % 8;
    return fread(to, 1, bytes, file) == bytes && fread(rest, 1, padding, file) == padding;
}

static void *get_array(uint64_t count, size_t size)
{
    void *array = malloc((size_t)(count + 1) * size);
    if (array == NULL) {
        fputs("ouro-graphs: out of memory\n", stderr);
        exit(1);
    }
    return array;
}

/* An array of 32-bit numbers, in four planes of bytes or as it is; folded: small negative numbers are odd. */
static bool read_numbers(FILE *file, uint32_t *to, uint64_t count, bool planes, bool folded)
{
    if (!planes)
        return read_section(file, to, count * 4);
    unsigned char *bytes = get_array(count, 4);
    bool good = read_section(file, bytes, count * 4);
    for (uint64_t i = 0; good && i < count; i++) {
        uint32_t value = (uint32_t)bytes[i] | (uint32_t)bytes[count + i] << 8 | (uint32_t)bytes[2 * count + i] << 16 |
                         (uint32_t)bytes[3 * count + i] << 24;
        to[i] = folded ? (value >> 1) ^ (0 - (value & 1)) : value;
    }
    free(bytes);
    return good;
}

static struct graph *graph_new(uint64_t nodes, uint64_t edges, uint32_t types, uint64_t type_bytes)
{
    struct graph *graph = calloc(1, sizeof *graph);
    if (graph == NULL)
        exit(1);
    graph->nodes = (uint32_t)nodes;
    graph->edges = edges;
    graph->types = types;
    graph->size = get_array(nodes, 4);
    graph->count = get_array(nodes, 4);
    graph->type = get_array(nodes, 2);
    graph->flags = get_array(nodes, 1);
    graph->first = get_array(nodes + 1, 8);
    graph->to = get_array(edges, 4);
    graph->inside = calloc(nodes + 1, 4);
    graph->type_bytes = get_array(type_bytes, 1);
    graph->type_names = get_array(types, sizeof(char *));
    if (graph->inside == NULL)
        exit(1);
    return graph;
}

void graph_free(struct graph *graph)
{
    if (graph == NULL)
        return;
    for (uint32_t i = 0; i < graph->types; i++)
        free(graph->type_names[i]);
    void *arrays[] = { graph->size, graph->count,  graph->type,       graph->flags,      graph->first,
                       graph->to,   graph->inside, graph->type_names, graph->type_bytes, graph };
    for (size_t i = 0; i < sizeof arrays / sizeof arrays[0]; i++)
        free(arrays[i]);
}

static bool cut_names(struct graph *graph, uint64_t bytes)
{
    uint64_t at = 0;
    for (uint32_t i = 0; i < graph->types; i++)
        graph->type_names[i] = NULL;
    for (uint32_t i = 0; i < graph->types; i++) {
        uint16_t length;
        if (at + 2 > bytes)
            return false;
        memcpy(&length, graph->type_bytes + at, 2);
        at += 2;
        if (at + length > bytes)
            return false;
        graph->type_names[i] = strndup(graph->type_bytes + at, length);
        at += length;
    }
    return true;
}

/* Degrees into places, differences into nodes; counts what is inside. */
static bool settle(struct graph *graph, const uint32_t *degrees)
{
    uint64_t at = 0;
    for (uint32_t i = 0; i < graph->nodes; i++) {
        graph->first[i] = at;
        if (degrees[i] > graph->edges - at || graph->type[i] >= graph->types)
            return false;
        for (uint64_t end = at + degrees[i]; at < end; at++) {
            graph->to[at] += i;
            if (graph->to[at] >= graph->nodes)
                return false;
            graph->inside[graph->to[at]]++;
        }
    }
    graph->first[graph->nodes] = at;
    for (uint32_t i = 0; i < graph->nodes; i++) {
        graph->tracked += (graph->flags[i] & GRAPH_TRACKED) != 0;
        graph->roots += graph->count[i] > graph->inside[i];
        if (graph->count[i] < graph->inside[i])
            return false;
    }
    return at == graph->edges;
}

static struct graph *read_graph(FILE *file)
{
    struct header header;
    if (fread(&header, sizeof header, 1, file) != 1 || memcmp(header.magic, MAGIC, 8) != 0 || header.version != 1 ||
        (header.flags & DELTAS) == 0 || header.nodes > MOST || header.edges > MOST || header.types > UINT16_MAX + 1 ||
        header.type_bytes > MOST)
        return NULL;
    bool planes = (header.flags & PLANES) != 0;
    struct graph *graph = graph_new(header.nodes, header.edges, header.types, header.type_bytes);
    uint32_t *degrees = get_array(header.nodes, 4);
    bool good = read_section(file, graph->type_bytes, header.type_bytes) && cut_names(graph, header.type_bytes) &&
                read_numbers(file, graph->size, header.nodes, planes, false) &&
                read_numbers(file, graph->count, header.nodes, planes, false) &&
                read_section(file, graph->type, header.nodes * 2) && read_section(file, graph->flags, header.nodes) &&
                read_numbers(file, degrees, header.nodes, planes, false) &&
                read_numbers(file, graph->to, header.edges, planes, planes) && settle(graph, degrees);
    free(degrees);
    if (good)
        return graph;
    graph_free(graph);
    return NULL;
}

struct graph *graph_load(const char *path)
{
    struct source source;
    errno = 0;
    if (!source_open(&source, path)) {
        fprintf(stderr, "ouro-graphs: %s: %s\n", path, strerror(errno));
        return NULL;
    }
    struct graph *graph = read_graph(source.file);
    source_close(&source);
    if (graph == NULL)
        fprintf(stderr, "ouro-graphs: %s: not a graph, or damaged, or zstd is missing\n", path);
    return graph;
}

static bool write_section(FILE *file, const void *from, uint64_t bytes)
{
    static const char zeros[8];
    size_t padding = (8 - bytes % 8) % 8;
    return fwrite(from, 1, bytes, file) == bytes && fwrite(zeros, 1, padding, file) == padding;
}

static bool write_all(FILE *file, const struct graph *graph)
{
    struct header header = {
        .magic = MAGIC, .version = 1, .flags = DELTAS, .nodes = graph->nodes, .edges = graph->edges
    };
    header.types = graph->types;
    header.tracked = graph->tracked;
    header.app_root = UINT32_MAX;
    header.roots = graph->roots;
    for (uint32_t i = 0; i < graph->types; i++)
        header.type_bytes += 2 + strlen(graph->type_names[i]);
    uint32_t *degrees = get_array(graph->nodes, 4), *deltas = get_array(graph->edges, 4);
    for (uint32_t i = 0; i < graph->nodes; i++) {
        degrees[i] = (uint32_t)(graph->first[i + 1] - graph->first[i]);
        for (uint64_t k = graph->first[i]; k < graph->first[i + 1]; k++)
            deltas[k] = graph->to[k] - i;
    }
    bool good =
        fwrite(&header, sizeof header, 1, file) == 1 && write_section(file, graph->type_bytes, header.type_bytes) &&
        write_section(file, graph->size, (uint64_t)graph->nodes * 4) &&
        write_section(file, graph->count, (uint64_t)graph->nodes * 4) &&
        write_section(file, graph->type, (uint64_t)graph->nodes * 2) &&
        write_section(file, graph->flags, graph->nodes) && write_section(file, degrees, (uint64_t)graph->nodes * 4) &&
        write_section(file, deltas, graph->edges * 4);
    free(degrees);
    free(deltas);
    return good;
}

int graph_write(const struct graph *graph, const char *path)
{
    FILE *file = fopen(path, "wb");
    bool good = file != NULL && write_all(file, graph);
    if (file != NULL && fclose(file) != 0)
        good = false;
    if (!good)
        fprintf(stderr, "ouro-graphs: %s: %s\n", path, strerror(errno));
    return good ? 0 : -1;
}

/* A graph of our own making. It is drawn up as lists of edges, then put into the arrays. */

enum { NAMES = 8, MODULES = 60, DOCUMENTS = 12, RECORDS = 4000 };
static const char *const names[NAMES] = {
    "module", "table", "function", "text", "number", "element", "record", "list"
};
enum kind { MODULE, TABLE, FUNCTION, TEXT, NUMBER, ELEMENT, RECORD, LIST };

struct draft {
    uint32_t nodes, room;
    struct draft_node {
        enum kind kind;
        uint32_t size, degree, room, outside;
        uint32_t *to;
    } * node;
    uint64_t random;
};

static uint32_t draw(struct draft *draft, uint32_t bound)
{
    draft->random ^= draft->random << 13;
    draft->random ^= draft->random >> 7;
    draft->random ^= draft->random << 17;
    return (uint32_t)((draft->random >> 32) * bound >> 32);
}

static uint32_t add_node(struct draft *draft, enum kind kind, uint32_t size)
{
    if (draft->nodes == draft->room) {
        draft->room = draft->room * 2 + 1024;
        draft->node = realloc(draft->node, draft->room * sizeof *draft->node);
        if (draft->node == NULL)
            exit(1);
    }
    draft->node[draft->nodes] = (struct draft_node){ .kind = kind, .size = size };
    return draft->nodes++;
}

static void add_edge(struct draft *draft, uint32_t from, uint32_t to)
{
    struct draft_node *node = &draft->node[from];
    if (node->degree == node->room) {
        node->room = node->room * 2 + 4;
        node->to = realloc(node->to, node->room * sizeof *node->to);
        if (node->to == NULL)
            exit(1);
    }
    node->to[node->degree++] = to;
}

/* A table of names and values. */
static uint32_t add_table(struct draft *draft, uint32_t entries, uint32_t names_from, uint32_t names_count)
{
    uint32_t table = add_node(draft, TABLE, 64 + entries * 24);
    for (uint32_t i = 0; i < entries; i++) {
        add_edge(draft, table, names_from + draw(draft, names_count));
        add_edge(draft, table, add_node(draft, draw(draft, 2) == 0 ? TEXT : NUMBER, 32 + draw(draft, 40)));
    }
    return table;
}

static void add_module(struct draft *draft, uint32_t names_from, uint32_t names_count)
{
    uint32_t module = add_node(draft, MODULE, 72), table = add_table(draft, 20, names_from, names_count);
    add_edge(draft, module, table);
    draft->node[module].outside = 1;
    for (uint32_t i = draw(draft, 120); i > 0; i--) { /* functions know the table that knows them */
        uint32_t function = add_node(draft, FUNCTION, 152);
        add_edge(draft, table, function);
        add_edge(draft, function, table);
        add_edge(draft, function, names_from + draw(draft, names_count));
        add_edge(draft, function, add_node(draft, TEXT, 60 + draw(draft, 900)));
        if (draw(draft, 3) == 0)
            add_edge(draft, function, add_table(draft, draw(draft, 5), names_from, names_count));
    }
}

static uint32_t add_element(struct draft *draft, uint32_t document, uint32_t parent, uint32_t depth,
                            uint32_t names_from, uint32_t names_count)
{
    uint32_t element = add_node(draft, ELEMENT, 96), children = add_node(draft, LIST, 56);
    add_edge(draft, element, children);
    add_edge(draft, element, names_from + draw(draft, names_count));
    add_edge(draft, element, document);
    add_edge(draft, element, parent);
    uint32_t before = element;
    for (uint32_t i = depth == 0 ? 0 : draw(draft, 8); i > 0; i--) {
        uint32_t child = add_element(draft, document, element, depth - 1, names_from, names_count);
        add_edge(draft, children, child);
        add_edge(draft, child, before);
        before = child;
    }
    return element;
}

static void add_records(struct draft *draft, uint32_t names_from, uint32_t names_count)
{
    uint32_t all = add_node(draft, LIST, 56 + RECORDS * 8), first = UINT32_MAX;
    draft->node[all].outside = 1;
    for (uint32_t i = 0; i < RECORDS; i++) {
        uint32_t record = add_node(draft, RECORD, 56), lines = add_node(draft, LIST, 88);
        first = first == UINT32_MAX ? record : first;
        add_edge(draft, all, record);
        add_edge(draft, record, add_table(draft, 3, names_from, names_count));
        add_edge(draft, record, lines);
        for (uint32_t k = draw(draft, 6); k > 0; k--) { /* lines know their record, and another */
            uint32_t line = add_node(draft, RECORD, 56);
            add_edge(draft, lines, line);
            add_edge(draft, line, record);
            add_edge(draft, line, first + draw(draft, record - first + 1) / 4 * 4);
            add_edge(draft, line, add_node(draft, NUMBER, 32));
        }
    }
}

static struct graph *put_down(struct draft *draft)
{
    uint64_t edges = 0, type_bytes = 0;
    for (uint32_t i = 0; i < draft->nodes; i++)
        edges += draft->node[i].degree;
    for (size_t i = 0; i < NAMES; i++)
        type_bytes += 2 + strlen(names[i]);
    struct graph *graph = graph_new(draft->nodes, edges, NAMES, type_bytes);
    char *at = graph->type_bytes;
    for (size_t i = 0; i < NAMES; i++) {
        uint16_t length = (uint16_t)strlen(names[i]);
        memcpy(at, &length, 2);
        memcpy(at + 2, names[i], length);
        at += 2 + length;
        graph->type_names[i] = strdup(names[i]);
    }
    uint32_t *degrees = get_array(draft->nodes, 4);
    uint64_t edge = 0;
    for (uint32_t i = 0; i < draft->nodes; i++) {
        struct draft_node *node = &draft->node[i];
        degrees[i] = node->degree;
        graph->size[i] = node->size;
        graph->type[i] = (uint16_t)node->kind;
        graph->flags[i] = node->kind == TEXT || node->kind == NUMBER ? 0 : GRAPH_TRACKED | GRAPH_CONTAINER;
        graph->flags[i] |= node->outside > 0 ? GRAPH_ROOT : 0;
        graph->count[i] = UINT32_MAX; /* until it is known how many are inside */
        for (uint32_t k = 0; k < node->degree; k++)
            graph->to[edge++] = node->to[k] - i;
    }
    if (!settle(graph, degrees))
        abort();
    graph->roots = 0;
    for (uint32_t i = 0; i < draft->nodes; i++) {
        graph->count[i] = graph->inside[i] + draft->node[i].outside;
        graph->roots += draft->node[i].outside > 0;
        free(draft->node[i].to);
    }
    free(degrees);
    free(draft->node);
    return graph;
}

struct graph *graph_make(void)
{
    struct draft draft = { .random = UINT64_C(0x2545f4914f6cdd1d) };
    enum { SHARED_NAMES = 2000 };
    uint32_t shared = draft.nodes;
    for (uint32_t i = 0; i < SHARED_NAMES; i++) {
        uint32_t name = add_node(&draft, TEXT, 52 + draw(&draft, 20));
        draft.node[name].outside = i % 10 == 0;
    }
    for (uint32_t i = 0; i < MODULES; i++)
        add_module(&draft, shared, SHARED_NAMES);
    for (uint32_t i = 0; i < DOCUMENTS; i++) {
        uint32_t document = add_node(&draft, ELEMENT, 96);
        draft.node[document].outside = 1;
        for (uint32_t k = 0; k < 20; k++)
            add_edge(&draft, document, add_element(&draft, document, document, 5, shared, SHARED_NAMES));
    }
    add_records(&draft, shared, SHARED_NAMES);
    return put_down(&draft);
}
