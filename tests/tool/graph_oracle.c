/* tool/graph_oracle.c: random graphs, written by an encoder of this file, read by the tool's reader, and everything that the
 * tool works out of them compared with what a naive search finds.
 *
 * usage: graph_oracle [GRAPHS [SEED]]     prints the seed of what fails
 */
#include "graph.h"

#include <stdlib.h>
#include <string.h>

enum { OBJECTS = 40, EDGES = 4, TYPES = 4 };

static uint64_t seed, state;

static unsigned draw(unsigned below)
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)((state >> 33) % below);
}

#define EXPECT(condition)                                                                                              \
    ((condition) ? (void)0                                                                                             \
                 : (void)(fprintf(stderr, "seed %llu, line %d: %s\n", (unsigned long long)seed, __LINE__, #condition), \
                          exit(1)))

/* The graph as it was made. */
struct made {
    unsigned count, degree[OBJECTS], edges[OBJECTS][EDGES], type[OBJECTS], held[OBJECTS], in[OBJECTS];
    uint64_t address[OBJECTS], bytes[OBJECTS];
    bool immortal[OBJECTS], leaf[OBJECTS];
};

static void make(struct made *made)
{
    unsigned density = 1 + draw(EDGES), near = draw(2) ? 1 + draw(4) : OBJECTS, roots = 1 + draw(12);
    uint64_t at = 0x10000 + 16 * draw(100000);
    memset(made, 0, sizeof *made);
    made->count = 1 + draw(OBJECTS);
    for (unsigned i = 0; i < made->count; i++) {
        made->address[i] = at;
        at += 16 * (1 + draw(draw(8) == 0 ? 100000 : 8));
        made->type[i] = draw(TYPES);
        made->bytes[i] = 16 * (1 + draw(20));
        made->held[i] = draw(roots) == 0 ? 1 + draw(300) : 0;
        made->immortal[i] = draw(50) == 0;
        made->leaf[i] = draw(6) == 0;
        for (unsigned k = 0; k < EDGES && !made->leaf[i]; k++) {
            if (draw(EDGES) >= density)
                continue;
            unsigned to =
                near < made->count ? (i + made->count + draw(2 * near + 1) - near) % made->count : draw(made->count);
            made->edges[i][made->degree[i]++] = to;
            made->in[to]++;
        }
    }
}

/* Encoding, as docs/formats.md has it. */
struct out {
    uint8_t bytes[1 << 16];
    size_t used;
};

static void put_number(struct out *out, uint64_t value)
{
    for (; value >= 128; value >>= 7)
        out->bytes[out->used++] = (uint8_t)(value | 128);
    out->bytes[out->used++] = (uint8_t)value;
}

static uint64_t fold(uint64_t from, uint64_t to)
{
    return to >= from ? 2 * (to - from) : 2 * (from - to) - 1;
}

static uint32_t crc32(const uint8_t *bytes, size_t count)
{
    uint32_t crc = ~0u;
    for (size_t i = 0; i < count; i++) {
        crc ^= bytes[i];
        for (unsigned bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (0xedb88320u & (0u - (crc & 1)));
    }
    return ~crc;
}

static void put_little(uint8_t *to, uint64_t value, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++)
        to[i] = (uint8_t)(value >> 8 * i);
}

static size_t begin_chunk(struct out *out, const char *kind)
{
    memcpy(out->bytes + out->used, kind, 4);
    return out->used += 16;
}

static void end_chunk(struct out *out, size_t start)
{
    put_little(out->bytes + start - 12, crc32(out->bytes + start, out->used - start), 4);
    put_little(out->bytes + start - 8, out->used - start, 8);
}

static void put_object(struct out *out, const struct made *made, unsigned i, uint64_t *unit)
{
    uint64_t count = made->in[i] + made->held[i];
    put_number(out, 7);
    put_number(out, made->bytes[i]);
    out->bytes[out->used++] =
        (uint8_t)((made->leaf[i] ? 4u : draw(4)) | 8u | (count != 1 ? 32u : 0u) | (made->immortal[i] ? 64u : 0u));
    put_number(out, fold(*unit, made->address[i] / 16));
    *unit = made->address[i] / 16;
    put_number(out, 10 + made->type[i]);
    if (count != 1)
        put_number(out, count);
    if (made->immortal[i])
        put_number(out, 1);
    uint64_t from = *unit;
    for (unsigned k = 0; k < made->degree[i]; k++) {
        uint64_t to = made->address[made->edges[i][k]] / 16;
        put_number(out, fold(from, to) + 1);
        from = to;
    }
    if (!made->leaf[i])
        put_number(out, 0);
}

static void encode(struct out *out, const struct made *made)
{
    static const char name[] = "typeX";
    unsigned records = 0, edges = 0, order[OBJECTS];
    memcpy(out->bytes, "\x89OUROGR\n\1\0\0\0\0\0\0\0", 16);
    out->used = 16;
    size_t start = begin_chunk(out, "TYPE");
    for (unsigned t = 0; t < TYPES; t++) {
        put_number(out, 10 + t);
        put_number(out, 16 + t);
        put_number(out, 0);
        put_number(out, 1);
        put_number(out, sizeof name - 1);
        memcpy(out->bytes + out->used, name, 4);
        out->bytes[out->used + 4] = (uint8_t)('A' + t);
        out->used += sizeof name - 1;
    }
    end_chunk(out, start);
    for (unsigned i = 0; i < made->count; i++)
        order[i] = i;
    for (unsigned i = 0; i < made->count; i++) {
        unsigned other = draw(made->count), swap = order[i];
        order[i] = order[other];
        order[other] = swap;
    }
    for (unsigned i = 0; i < made->count;) {
        uint64_t unit = 0;
        start = begin_chunk(out, "OBJS");
        for (unsigned end = i + 1 + draw(made->count); i < end && i < made->count; i++) {
            unsigned object = order[i], again = made->leaf[object] ? 1 + draw(2) : 1;
            for (; again > 0; again--, records++)
                put_object(out, made, object, &unit);
            edges += made->degree[object];
        }
        end_chunk(out, start);
        start = begin_chunk(out, "more"); /* what a later version might add */
        put_number(out, 17);
        end_chunk(out, start);
    }
    start = begin_chunk(out, "END ");
    put_number(out, records);
    put_number(out, edges);
    end_chunk(out, start);
}

/* The oracle. */

/* What outside leads to without passing by `without`. */
static void reach(const struct made *made, unsigned without, bool *reached)
{
    unsigned stack[OBJECTS], depth = 0;
    memset(reached, 0, OBJECTS * sizeof *reached);
    for (unsigned i = 0; i < made->count; i++) {
        if ((made->held[i] != 0 || made->immortal[i]) && i != without) {
            reached[i] = true;
            stack[depth++] = i;
        }
    }
    while (depth > 0) {
        unsigned object = stack[--depth];
        for (unsigned k = 0; k < made->degree[object]; k++) {
            unsigned to = made->edges[object][k];
            if (!reached[to] && to != without) {
                reached[to] = true;
                stack[depth++] = to;
            }
        }
    }
}

static void check_reading(const struct made *made, const struct graph *graph)
{
    EXPECT(graph->count == made->count && graph->dangling == 0);
    for (uint32_t i = 0; i < made->count; i++) {
        EXPECT(graph_address(graph, i) == made->address[i] && graph_find(graph, made->address[i]) == i);
        EXPECT(graph_find(graph, made->address[i] + 16) ==
               (i + 1 < made->count && made->address[i + 1] == made->address[i] + 16 ? i + 1 : GRAPH_NONE));
        EXPECT(graph_shape_of(graph, i)->block_bytes == made->bytes[i]);
        EXPECT(graph_shape_of(graph, i)->bytes == 16 + made->type[i]);
        EXPECT(graph_type_of(graph, i)->name[4] == (char)('A' + made->type[i]));
        EXPECT(graph_degree(graph, i) == made->degree[i]);
        EXPECT(graph->outside[i] == (made->immortal[i] && made->held[i] == 0 ? 1 : made->held[i]));
        for (unsigned k = 0; k < made->degree[i]; k++)
            EXPECT(graph_refs(graph, i)[k] == made->edges[i][k]);
    }
}

static void check_dominators(const struct made *made, const struct graph *graph, const struct graph_dominators *found)
{
    bool all[OBJECTS], rest[OBJECTS], dominates[OBJECTS][OBJECTS];
    uint64_t by_type[TYPES] = { 0 }, total = 0;
    reach(made, OBJECTS, all);
    for (unsigned i = 0; i < made->count; i++) {
        uint64_t retained = 0;
        reach(made, i, rest);
        for (unsigned k = 0; k < made->count; k++) {
            dominates[i][k] = all[i] && all[k] && !rest[k];
            retained += dominates[i][k] ? made->bytes[k] : 0;
        }
        EXPECT((found->number[i] != 0) == all[i]);
        EXPECT(graph_retained(found, i) == retained);
        total += all[i] ? made->bytes[i] : 0;
    }
    EXPECT(found->retained[0] == total);
    for (unsigned i = 0; i < made->count; i++) {
        if (!all[i])
            continue;
        uint32_t by = found->dominator[found->number[i]];
        bool within = false;
        unsigned dominators = 0, above = 0;
        for (unsigned k = 0; k < made->count; k++) {
            dominators += k != i && dominates[k][i];
            within |= k != i && dominates[k][i] && made->type[k] == made->type[i];
            above += by != 0 && k != found->object[by] && dominates[k][found->object[by]];
        }
        EXPECT(by != 0 ? dominates[found->object[by]][i] && dominators == above + 1 : dominators == 0);
        by_type[made->type[i]] += within ? 0 : graph_retained(found, i);
    }
    uint64_t *retained = graph_retained_by_types(graph, found);
    for (unsigned t = 0; t < TYPES; t++)
        EXPECT(retained[t] == by_type[t]);
    free(retained);
    size_t count, most = draw(made->count + 2);
    uint32_t *biggest = graph_biggest(graph, found, most, &count);
    EXPECT(count == (most < found->reached ? most : found->reached));
    for (size_t i = 0; i < count; i++) {
        uint32_t by = found->dominator[found->number[biggest[i]]];
        bool listed = by == 0;
        EXPECT(i == 0 || graph_retained(found, biggest[i - 1]) >= graph_retained(found, biggest[i]));
        for (size_t k = 0; k < i; k++)
            listed |= biggest[k] == found->object[by];
        EXPECT(listed);
    }
    uint64_t least = count != 0 ? graph_retained(found, biggest[count - 1]) : 0;
    unsigned over = 0;
    for (unsigned i = 0; i < made->count; i++)
        over += all[i] && graph_retained(found, i) > least;
    EXPECT(count == 0 || over < count);
    free(biggest);
}

static void check_cycles(const struct made *made, const struct graph *graph)
{
    bool leads[OBJECTS][OBJECTS] = { 0 };
    for (unsigned i = 0; i < made->count; i++)
        for (unsigned k = 0; k < made->degree[i]; k++)
            leads[i][made->edges[i][k]] = true;
    for (unsigned via = 0; via < made->count; via++)
        for (unsigned i = 0; i < made->count; i++)
            for (unsigned k = 0; k < made->count; k++)
                leads[i][k] |= leads[i][via] && leads[via][k];
    struct graph_cycles *found = graph_find_cycles(graph);
    unsigned in_cycles = 0, of[OBJECTS] = { 0 };
    for (unsigned i = 0; i < made->count; i++)
        in_cycles += leads[i][i];
    EXPECT(found->objects == in_cycles);
    for (size_t c = 0; c < found->count; c++) {
        uint64_t bytes = 0, outside = 0;
        EXPECT(c == 0 || found->cycles[c - 1].count >= found->cycles[c].count);
        for (uint32_t i = 0; i < found->cycles[c].count; i++) {
            uint32_t member = found->members[found->cycles[c].first + i];
            EXPECT(leads[member][member] && of[member] == 0);
            of[member] = (unsigned)c + 1;
            bytes += made->bytes[member];
            outside += graph->outside[member];
        }
        EXPECT(bytes == found->cycles[c].bytes && outside == found->cycles[c].outside);
    }
    for (unsigned i = 0; i < made->count; i++)
        for (unsigned k = 0; k < made->count; k++)
            EXPECT(i == k || (leads[i][k] && leads[k][i]) == (of[i] != 0 && of[i] == of[k]));
    graph_cycles_free(found);
}

static void check_paths(const struct made *made, const struct graph *graph)
{
    unsigned distance[OBJECTS], unreached = 0, objects = 0;
    for (unsigned i = 0; i < made->count; i++)
        distance[i] = made->held[i] != 0 || made->immortal[i] ? 0 : OBJECTS;
    for (unsigned round = 0; round < made->count; round++)
        for (unsigned i = 0; i < made->count; i++)
            for (unsigned k = 0; k < made->degree[i] && distance[i] < OBJECTS; k++)
                if (distance[made->edges[i][k]] > distance[i] + 1)
                    distance[made->edges[i][k]] = distance[i] + 1;
    struct graph_paths *paths = graph_find_paths(graph);
    for (uint32_t i = 0; i < made->count; i++) {
        unsigned steps = 0;
        EXPECT((paths->from[i] == GRAPH_NONE) == (distance[i] == OBJECTS));
        unreached += distance[i] == OBJECTS;
        for (uint32_t at = i; paths->from[at] != GRAPH_NONE && paths->from[at] != at; at = paths->from[at], steps++) {
            bool refers = false;
            for (unsigned k = 0; k < made->degree[paths->from[at]]; k++)
                refers |= made->edges[paths->from[at]][k] == at;
            EXPECT(refers);
        }
        EXPECT(distance[i] == OBJECTS || steps == distance[i]);
    }
    size_t count;
    uint32_t lost_count, lost;
    struct graph_reason *reasons = graph_why(graph, paths, "type?", &count, &lost_count, &lost);
    EXPECT(reasons != NULL && lost_count == unreached && (lost != GRAPH_NONE) == (unreached != 0));
    for (size_t i = 0; i < count; i++)
        objects += reasons[i].count;
    EXPECT(objects + unreached == made->count);
    free(reasons);
    graph_paths_free(paths);
}

static void check_whole(const struct made *made, const struct out *out)
{
    const char *problem;
    struct graph *graph = graph_parse(out->bytes, out->used, &problem);
    EXPECT(graph != NULL);
    check_reading(made, graph);
    for (graph_steps_most = 0; graph_steps_most < 2; graph_steps_most++) { /* then by the second way */
        struct graph_dominators *found = graph_dominate(graph);
        check_dominators(made, graph, found);
        graph_dominators_free(found);
    }
    graph_steps_most = 0;
    check_cycles(made, graph);
    check_paths(made, graph);
    graph_free(graph);
}

/* A file that was cut anywhere, or has one bit changed, is refused. */
static void check_damage(const struct out *out)
{
    static struct out other;
    const char *problem;
    size_t length = draw((unsigned)out->used);
    EXPECT(graph_parse(out->bytes, length, &problem) == NULL && problem != NULL);
    memcpy(other.bytes, out->bytes, out->used);
    size_t at = draw((unsigned)out->used);
    other.bytes[at] ^= (uint8_t)(1u << draw(8));
    struct graph *graph = graph_parse(other.bytes, out->used, &problem);
    if (graph != NULL) { /* the word that is not looked at, or the kind of a chunk to be passed over */
        graph_free(graph);
        EXPECT((at >= 12 && at < 16) || memmem(out->bytes + (at < 3 ? 0 : at - 3), 7, "more", 4) != NULL);
    }
}

int main(int argc, char **argv)
{
    static struct made made;
    static struct out out;
    uint64_t graphs = argc > 1 ? strtoull(argv[1], NULL, 10) : 20000,
             first = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
    for (seed = first; seed < first + graphs; seed++) {
        state = seed * 0x9e3779b97f4a7c15u;
        make(&made);
        encode(&out, &made);
        check_whole(&made, &out);
        for (unsigned i = 0; i < 4; i++)
            check_damage(&out);
    }
    printf("%llu graphs\n", (unsigned long long)graphs);
    return 0;
}
