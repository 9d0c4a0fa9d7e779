/* fuzz/graph.c: the tool's reader of object graphs, and what it works out, on any bytes.
 *
 * The first byte chooses: 0 (mod 2): the rest is a file, whose checksums are made right; 1: the rest are the records of a
 * chunk, for which a file is made. So mutations get past the checksums. What is read is worked out in both ways, which must
 * agree.
 */
#include <stdlib.h>
#include <string.h>

#include <graph.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { ROOM = 1 << 17 };
static uint8_t file[ROOM];

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

static uint64_t little(const uint8_t *bytes, unsigned count)
{
    uint64_t value = 0;
    while (count-- > 0)
        value = value << 8 | bytes[count];
    return value;
}

static void put_little(uint8_t *to, uint64_t value, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        to[i] = (uint8_t)(value >> 8 * i);
}

static void repair(size_t size)
{
    for (size_t at = 16; at + 16 <= size;) {
        uint64_t bytes = little(file + at + 8, 8);
        if (bytes > size - at - 16)
            return;
        put_little(file + at + 4, crc32(file + at + 16, bytes), 4);
        at += 16 + bytes;
    }
}

static size_t put_chunk(size_t at, const char *kind, const uint8_t *payload, size_t bytes)
{
    memcpy(file + at, kind, 4);
    put_little(file + at + 8, bytes, 8);
    memcpy(file + at + 16, payload, bytes);
    return at + 16 + bytes;
}

static uint64_t take_number(const uint8_t **at, const uint8_t *end)
{
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 64 && *at < end; shift += 7) {
        uint8_t byte = *(*at)++;
        value |= (uint64_t)(byte & 127) << shift;
        if (byte < 128)
            break;
    }
    return value;
}

static size_t put_number(uint8_t *to, uint64_t value)
{
    size_t used = 0;
    for (; value >= 128; value >>= 7)
        to[used++] = (uint8_t)(value | 128);
    to[used++] = (uint8_t)value;
    return used;
}

/* What the last chunk has to say of the records. */
static size_t count_records(const uint8_t *at, const uint8_t *end, uint8_t *payload)
{
    uint64_t records = 0, references = 0;
    while (at < end) {
        uint8_t head = *at++;
        take_number(&at, end);
        if ((head & 7) == 7)
            continue;
        for (unsigned bit = 8; bit <= 64; bit *= 2)
            if ((head & bit) != 0)
                take_number(&at, end);
        records++;
        while ((head & 7) != 4 && at < end && take_number(&at, end) != 0)
            references++;
    }
    size_t used = put_number(payload, records);
    return used + put_number(payload + used, references);
}

static size_t make_file(const uint8_t *records, size_t size)
{
    static const uint8_t types[] = { 1, 32, 8, 3, 1, 'a', 2, 16, 0, 0, 2, 'b', '"', 3, 48, 1, 127, 0 };
    uint8_t end[20];
    memcpy(file, "\x89OUROGR\n\1\0\0\0\0\0\0\0", 16);
    size_t at = put_chunk(16, "TYPE", types, sizeof types);
    at = put_chunk(at, "OBJS", records, size);
    return put_chunk(at, "END ", end, count_records(records, records + size, end));
}

static void expect(bool condition)
{
    if (!condition)
        abort();
}

static void work_out(const struct graph *graph)
{
    const char *const whys[] = { "*" };
    struct graph_report report = { .path = "fuzz", .graph = graph, .whys = whys, .why_count = 1, .top = 3 };
    graph_steps_most = 1;
    struct graph_dominators *surely = graph_dominate(graph);
    graph_steps_most = UINT64_MAX;
    report.dominators = graph_dominate(graph);
    expect(surely->reached == report.dominators->reached);
    for (uint32_t i = 0; i < graph->count; i++) {
        expect(graph_retained(surely, i) == graph_retained(report.dominators, i));
        expect(graph_find(graph, graph_address(graph, i)) == i);
    }
    graph_dominators_free(surely);
    report.cycles = graph_find_cycles(graph);
    report.paths = graph_find_paths(graph);
    expect(report.paths->reached == report.dominators->reached);
    graph_write_dot(&report, "/dev/null");
    graph_write_html(&report, "/dev/null");
    graph_dominators_free(report.dominators);
    graph_cycles_free(report.cycles);
    graph_paths_free(report.paths);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0 || size > ROOM - 256)
        return 0;
    size_t used = size - 1;
    if (data[0] % 2 == 0)
        memcpy(file, data + 1, used);
    else
        used = make_file(data + 1, size - 1);
    repair(used);
    const char *problem = NULL;
    struct graph *graph = graph_parse(file, used, &problem);
    expect((graph == NULL) == (problem != NULL));
    if (graph != NULL) {
        work_out(graph);
        graph_free(graph);
    }
    return 0;
}
