/* tools/graph_read.c: reads dumped graphs (docs/formats.md).
 *
 * Owns        the index: for each 32 KiB of address space that has objects a bit for each 16 bytes, and how many objects come
 *             before; a table by hash finds the page.
 * Invariants  nothing in a file is trusted: whatever it says, it is read to its end or refused. Memory is at most some 350
 *             times that of the file, where each object has a page of its own.
 */
#include "graph.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAGIC "\x89OUROGR\n"

enum { VERSION = 1, PAGE_UNITS = 2048, PAGE_WORDS = PAGE_UNITS / 64 };

struct graph_page {
    uint64_t number; /* address / 32 KiB */
    uint64_t bits[PAGE_WORDS];
    uint32_t first;              /* the object of its first bit */
    uint16_t before[PAGE_WORDS]; /* objects in the words before */
};

/* A table of 32-bit values by 64-bit keys; open addressing. */
struct table {
    struct slot {
        uint64_t key;
        uint32_t value; /* plus 1; 0: empty */
    } * slots;
    size_t room, count;
};

struct reader {
    const uint8_t *at, *end;
    const char *problem; /* NULL: none so far */
    struct graph *graph;
    size_t page_room, shape_room;
    struct table page_table, type_table, shape_table;
    uint64_t records, edges;
    struct graph_page *page; /* looked at last */
    uint32_t last_shape;
};

static const char damaged[] = "is damaged";
static const char cut[] = "was cut";

void *graph_array(size_t count, size_t size)
{
    const size_t huge = (size_t)2 << 20;
    size_t bytes = count * size;
    if (bytes < 2 * huge)
        return tool_alloc(bytes);
    void *array = aligned_alloc(huge, (bytes + huge - 1) & ~(huge - 1));
    if (array == NULL)
        return tool_alloc(SIZE_MAX); /* which says so */
    (void)madvise(array, bytes, MADV_HUGEPAGE);
    return array;
}

void *graph_array_zero(size_t count, size_t size)
{
    return memset(graph_array(count, size), 0, count * size);
}

static void fail(struct reader *reader, const char *problem)
{
    if (reader->problem == NULL)
        reader->problem = problem;
    reader->at = reader->end;
}

static uint64_t hash_of(uint64_t key)
{
    key = (key ^ key >> 32) * 0x9e3779b97f4a7c15u;
    return key ^ key >> 29;
}

static struct slot *slot_of(const struct table *table, uint64_t key)
{
    size_t at = hash_of(key) & (table->room - 1);
    while (table->slots[at].value != 0 && table->slots[at].key != key)
        at = (at + 1) & (table->room - 1);
    return &table->slots[at];
}

/* The value at the key, `fresh` if there was none. */
static uint32_t table_get(struct table *table, uint64_t key, uint32_t fresh)
{
    if (table->count * 2 >= table->room) {
        struct table larger = { .room = table->room == 0 ? 256 : table->room * 2, .count = table->count };
        larger.slots = tool_alloc_zero(larger.room, sizeof *larger.slots);
        for (size_t i = 0; i < table->room; i++)
            if (table->slots[i].value != 0)
                *slot_of(&larger, table->slots[i].key) = table->slots[i];
        free(table->slots);
        *table = larger;
    }
    struct slot *slot = slot_of(table, key);
    if (slot->value == 0) {
        slot->key = key;
        slot->value = fresh + 1;
        table->count++;
    }
    return slot->value - 1;
}

static uint32_t table_find(const struct table *table, uint64_t key)
{
    const struct slot *slot = table->room != 0 ? slot_of(table, key) : NULL;
    return slot != NULL && slot->value != 0 ? slot->value - 1 : GRAPH_NONE;
}

/* Pieces of payloads. */

static uint64_t take_number(struct reader *reader)
{
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        if (reader->at == reader->end)
            break;
        uint8_t byte = *reader->at++;
        value |= (uint64_t)(byte & 127) << shift;
        if (byte < 128)
            return value;
    }
    fail(reader, damaged);
    return 0;
}

static uint64_t unfold(uint64_t folded)
{
    return folded >> 1 ^ -(folded & 1);
}

/* Of printable characters: bytes that are none, or no UTF-8, as \xNN. */
static size_t utf8_length(const uint8_t *text, size_t left)
{
    static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
    size_t length = text[0] < 0x80 ? 1 : text[0] >> 5 == 6 ? 2 : text[0] >> 4 == 14 ? 3 : text[0] >> 3 == 30 ? 4 : 0;
    if (length == 0 || length > left)
        return 0;
    uint32_t code = length == 1 ? text[0] : text[0] & (0x7fu >> length);
    for (size_t i = 1; i < length; i++) {
        if (text[i] >> 6 != 2)
            return 0;
        code = code << 6 | (text[i] & 63u);
    }
    bool control = code < 0x20 || (code >= 0x7f && code < 0xa0) || code == 0x2028 || code == 0x2029 ||
                   (code >= 0x202a && code <= 0x202e) || (code >= 0x2066 && code <= 0x2069);
    return code < least[length] || code > 0x10ffff || (code >= 0xd800 && code < 0xe000) || control ? 0 : length;
}

static char *printable(const uint8_t *text, size_t bytes)
{
    static const char digits[] = "0123456789abcdef";
    char *out = tool_alloc(bytes * 4 + 1), *to = out;
    for (size_t i = 0; i < bytes;) {
        size_t length = utf8_length(text + i, bytes - i);
        for (size_t k = 0; k < length; k++)
            *to++ = (char)text[i + k];
        if (length == 0) {
            *to++ = '\\';
            *to++ = 'x';
            *to++ = digits[text[i] >> 4];
            *to++ = digits[text[i] & 15];
        }
        i += length != 0 ? length : 1;
    }
    *to = '\0';
    return out;
}

static char *take_text(struct reader *reader)
{
    uint64_t bytes = take_number(reader);
    if (bytes > (uint64_t)(reader->end - reader->at)) {
        fail(reader, damaged);
        bytes = 0;
    }
    char *text = printable(reader->at, bytes);
    reader->at += bytes;
    return text;
}

static void take_info(struct reader *reader)
{
    struct graph *graph = reader->graph;
    graph->pid = take_number(reader);
    graph->time = take_number(reader);
    graph->pause_ns = take_number(reader);
    free(graph->writer);
    graph->writer = take_text(reader);
    free(graph->program);
    graph->program = take_text(reader);
}

static void take_types(struct reader *reader)
{
    struct graph *graph = reader->graph;
    while (reader->at != reader->end) {
        struct graph_type type = { .number = take_number(reader) };
        type.size = take_number(reader);
        type.item_size = take_number(reader);
        type.flags = take_number(reader);
        type.name = take_text(reader);
        if (reader->problem == NULL && table_find(&reader->type_table, type.number) != GRAPH_NONE)
            fail(reader, damaged);
        if (reader->problem != NULL) {
            free(type.name);
            return;
        }
        table_get(&reader->type_table, type.number, (uint32_t)graph->type_count);
        if ((graph->type_count & (graph->type_count + 1)) == 0)
            graph->types = tool_realloc(graph->types, 2 * graph->type_count + 2, sizeof *graph->types);
        graph->types[graph->type_count++] = type;
    }
}

/* Records of objects. */

struct record {
    uint64_t unit, type, items, count, flags, block_bytes;
    unsigned where;
};

/* The next record of a chunk, up to its references. False: there is none. */
static bool take_record(struct reader *reader, struct record *record)
{
    unsigned head = GRAPH_GENERATION;
    while (reader->at != reader->end && ((head = *reader->at++) & 7) == 7) {
        if (head != 7)
            fail(reader, damaged);
        record->block_bytes = take_number(reader);
    }
    if ((head & 7) == 7)
        return false;
    if ((head & 7) > GRAPH_UNTRACKED || head > 127)
        fail(reader, damaged);
    record->where = head & 7;
    record->unit += unfold(take_number(reader));
    if ((head & 8) != 0)
        record->type = take_number(reader);
    record->items = (head & 16) != 0 ? take_number(reader) : 0;
    record->count = (head & 32) != 0 ? take_number(reader) : 1;
    record->flags = (head & 64) != 0 ? take_number(reader) : 0;
    if (record->unit >> 60 != 0)
        fail(reader, damaged);
    return reader->problem == NULL;
}

static struct graph_page *page_of(struct reader *reader, uint64_t number)
{
    struct graph *graph = reader->graph;
    if (reader->page != NULL && reader->page->number == number)
        return reader->page;
    uint32_t index = table_find(&reader->page_table, number);
    return index == GRAPH_NONE ? NULL : (reader->page = &graph->pages[index]);
}

static struct graph_page *make_page(struct reader *reader, uint64_t number)
{
    struct graph *graph = reader->graph;
    if (graph->page_count == reader->page_room) {
        reader->page_room = reader->page_room == 0 ? 64 : reader->page_room * 2;
        graph->pages = tool_realloc(graph->pages, reader->page_room, sizeof *graph->pages);
    }
    table_get(&reader->page_table, number, (uint32_t)graph->page_count);
    graph->pages[graph->page_count] = (struct graph_page){ .number = number };
    return reader->page = &graph->pages[graph->page_count++];
}

/* First time: what objects there are, and how many references. */
static void index_objects(struct reader *reader)
{
    struct record record = { 0 };
    while (take_record(reader, &record)) {
        struct graph_page *page = page_of(reader, record.unit / PAGE_UNITS);
        if (page == NULL)
            page = make_page(reader, record.unit / PAGE_UNITS);
        uint64_t *word = &page->bits[record.unit % PAGE_UNITS / 64], bit = (uint64_t)1 << record.unit % 64;
        if ((*word & bit) != 0 && record.where != GRAPH_UNTRACKED)
            fail(reader, damaged);
        reader->graph->count += (*word & bit) == 0;
        *word |= bit;
        reader->records++;
        while (record.where != GRAPH_UNTRACKED && reader->problem == NULL && take_number(reader) != 0)
            reader->edges++;
        if (reader->graph->count >= GRAPH_NONE - 2 || reader->edges >= GRAPH_NONE - 2)
            fail(reader, "has more objects or references than 2^32");
    }
}

static uint32_t object_in(const struct graph_page *page, uint64_t unit)
{
    unsigned word = unit % PAGE_UNITS / 64;
    uint64_t bit = (uint64_t)1 << unit % 64;
    if (page == NULL || (page->bits[word] & bit) == 0)
        return GRAPH_NONE;
    return page->first + page->before[word] + (uint32_t)__builtin_popcountll(page->bits[word] & (bit - 1));
}

static uint32_t shape_for(struct reader *reader, const struct record *record)
{
    struct graph *graph = reader->graph;
    uint32_t type = table_find(&reader->type_table, record->type);
    if (type == GRAPH_NONE) {
        fail(reader, damaged);
        return 0;
    }
    const struct graph_type *of = &graph->types[type];
    struct graph_shape shape = { type, record->items, record->block_bytes, of->size + of->item_size * record->items };
    if (graph->shape_count != 0) {
        const struct graph_shape *last = &graph->shapes[reader->last_shape];
        if (last->type == type && last->items == shape.items && last->block_bytes == shape.block_bytes)
            return reader->last_shape;
    }
    /* Another of the same hash is likely to be the same; if not, the next key is tried. */
    uint64_t key = hash_of(hash_of(shape.items + 1) + type) + hash_of(shape.block_bytes);
    for (;; key++) {
        uint32_t index = table_get(&reader->shape_table, key, (uint32_t)graph->shape_count);
        if (index == graph->shape_count)
            break;
        const struct graph_shape *there = &graph->shapes[index];
        if (there->type == type && there->items == shape.items && there->block_bytes == shape.block_bytes)
            return reader->last_shape = index;
    }
    if (graph->shape_count == reader->shape_room) {
        reader->shape_room = reader->shape_room == 0 ? 64 : reader->shape_room * 2;
        graph->shapes = tool_realloc(graph->shapes, reader->shape_room, sizeof *graph->shapes);
    }
    graph->shapes[graph->shape_count] = shape;
    return reader->last_shape = (uint32_t)graph->shape_count++;
}

/* Second time: the objects and their references. */
static void take_objects(struct reader *reader)
{
    struct graph *graph = reader->graph;
    struct record record = { 0 };
    while (take_record(reader, &record)) {
        uint32_t object = object_in(page_of(reader, record.unit / PAGE_UNITS), record.unit);
        graph->shape[object] = shape_for(reader, &record);
        graph->flags[object] =
            (uint8_t)(record.where | (record.flags & 1 ? GRAPH_IMMORTAL : 0u) |
                      (record.flags & 2 ? GRAPH_FINALIZED : 0u) | (record.flags & 16 ? GRAPH_DEAD : 0u));
        graph->outside[object] = record.count < UINT32_MAX ? (uint32_t)record.count : UINT32_MAX;
        if (record.where == GRAPH_UNTRACKED)
            continue;
        graph->spans[object].first = graph->edge_count;
        uint64_t unit = record.unit, folded;
        while (reader->problem == NULL && (folded = take_number(reader)) != 0) {
            unit += unfold(folded - 1);
            uint32_t to = object_in(page_of(reader, unit / PAGE_UNITS), unit);
            if (to != GRAPH_NONE)
                graph->edges[graph->edge_count++] = to;
            else
                graph->dangling++;
        }
        graph->spans[object].degree = graph->edge_count - graph->spans[object].first;
    }
}

static int by_number(const void *a, const void *b)
{
    const struct graph_page *x = a, *y = b;
    return (x->number > y->number) - (x->number < y->number);
}

static void number_objects(struct reader *reader)
{
    struct graph *graph = reader->graph;
    uint32_t count = 0;
    if (graph->page_count != 0)
        qsort(graph->pages, graph->page_count, sizeof *graph->pages, by_number);
    reader->page = NULL;
    for (size_t i = 0; i < graph->page_count; i++) {
        struct graph_page *page = &graph->pages[i];
        unsigned before = 0;
        slot_of(&reader->page_table, page->number)->value = (uint32_t)i + 1;
        page->first = count;
        for (unsigned w = 0; w < PAGE_WORDS; w++) {
            page->before[w] = (uint16_t)before;
            before += (unsigned)__builtin_popcountll(page->bits[w]);
        }
        count += before;
    }
    size_t room = (size_t)count + 1;
    graph->shape = graph_array_zero(room, sizeof *graph->shape);
    graph->outside = graph_array_zero(room, sizeof *graph->outside);
    graph->flags = graph_array_zero(room, sizeof *graph->flags);
    graph->spans = graph_array_zero(room, sizeof *graph->spans);
    graph->edges = graph_array(reader->edges + 1, sizeof *graph->edges);
}

/* From counts to references from outside. */
static void subtract(struct graph *graph)
{
    for (uint32_t i = 0; i < graph->edge_count; i++) {
        uint32_t *left = &graph->outside[graph->edges[i]];
        *left -= *left != 0;
    }
    for (uint32_t i = 0; i < graph->count; i++) {
        if ((graph->flags[i] & GRAPH_DEAD) != 0)
            graph->outside[i] = 0;
        else if ((graph->flags[i] & GRAPH_IMMORTAL) != 0 && graph->outside[i] == 0)
            graph->outside[i] = 1;
    }
}

/* Chunks. */

static uint64_t little(const uint8_t *bytes, unsigned count)
{
    uint64_t value = 0;
    while (count-- > 0)
        value = value << 8 | bytes[count];
    return value;
}

static uint32_t crc_tables[8][256];

static void make_crc_tables(void)
{
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t crc = i;
        for (unsigned bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
        crc_tables[0][i] = crc;
    }
    for (unsigned s = 1; s < 8; s++)
        for (unsigned i = 0; i < 256; i++)
            crc_tables[s][i] = crc_tables[s - 1][i] >> 8 ^ crc_tables[0][crc_tables[s - 1][i] & 255];
}

static uint32_t crc32_of(const uint8_t *bytes, size_t count)
{
    uint32_t crc = ~0u;
    for (; count >= 8; bytes += 8, count -= 8) {
        uint64_t word = little(bytes, 8) ^ crc;
        crc = 0;
        for (unsigned s = 0; s < 8; s++)
            crc ^= crc_tables[7 - s][word >> 8 * s & 255];
    }
    for (; count > 0; bytes++, count--)
        crc = crc >> 8 ^ crc_tables[0][(crc ^ *bytes) & 255];
    return ~crc;
}

/* Calls fn for each chunk of the kind. */
static void each_chunk(struct reader *reader, const uint8_t *bytes, size_t size, const char *kind,
                       void (*fn)(struct reader *reader))
{
    for (size_t at = 16; at < size && reader->problem == NULL;) {
        uint64_t length = little(bytes + at + 8, 8);
        reader->at = bytes + at + 16;
        reader->end = reader->at + length;
        if (memcmp(bytes + at, kind, 4) == 0)
            fn(reader);
        at += 16 + length;
    }
}

static void check_end(struct reader *reader)
{
    uint64_t records = take_number(reader), edges = take_number(reader);
    if (records != reader->records || edges != reader->edges || reader->at != reader->end)
        fail(reader, damaged);
}

/* That the file is whole: chunks follow each other to the end, none was changed. */
static const char *check_frame(const uint8_t *bytes, size_t size)
{
    size_t known = size < 8 ? size : 8;
    if (memcmp(bytes, MAGIC, known) != 0 || size == 0)
        return "is no object graph";
    if (size < 16)
        return cut;
    if (little(bytes + 8, 4) > VERSION)
        return "is of a newer version than this tool knows";
    if (little(bytes + 8, 4) != VERSION)
        return damaged;
    bool ended = false;
    make_crc_tables();
    for (size_t at = 16; at < size;) {
        if (ended)
            return damaged;
        if (size - at < 16)
            return cut;
        uint64_t length = little(bytes + at + 8, 8);
        if (length > size - at - 16)
            return cut;
        if (crc32_of(bytes + at + 16, length) != little(bytes + at + 4, 4))
            return damaged;
        ended = memcmp(bytes + at, "END ", 4) == 0;
        at += 16 + length;
    }
    return ended ? NULL : cut;
}

struct graph *graph_parse(const uint8_t *bytes, size_t size, const char **problem)
{
    *problem = check_frame(bytes, size);
    if (*problem != NULL)
        return NULL;
    struct graph *graph = tool_alloc_zero(1, sizeof *graph);
    struct reader reader = { .graph = graph };
    graph->writer = printable(NULL, 0);
    graph->program = printable(NULL, 0);
    each_chunk(&reader, bytes, size, "INFO", take_info);
    each_chunk(&reader, bytes, size, "TYPE", take_types);
    each_chunk(&reader, bytes, size, "OBJS", index_objects);
    if (reader.problem == NULL) {
        number_objects(&reader);
        each_chunk(&reader, bytes, size, "OBJS", take_objects);
        each_chunk(&reader, bytes, size, "END ", check_end);
    }
    free(reader.page_table.slots);
    free(reader.type_table.slots);
    free(reader.shape_table.slots);
    *problem = reader.problem;
    if (reader.problem != NULL) {
        graph_free(graph);
        return NULL;
    }
    subtract(graph);
    return graph;
}

/* Files. */

static uint8_t *read_all(int fd, size_t *size)
{
    struct stat about;
    size_t room = fstat(fd, &about) == 0 && about.st_size > 0 ? (size_t)about.st_size + 1 : 1 << 16, used = 0;
    uint8_t *bytes = tool_alloc(room);
    for (;;) {
        ssize_t got = read(fd, bytes + used, room - used);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0) {
            free(bytes);
            return NULL;
        }
        if (got == 0)
            break;
        used += (size_t)got;
        if (used == room) {
            room *= 2;
            bytes = tool_realloc(bytes, room, 1);
        }
    }
    *size = used;
    return bytes;
}

struct graph *graph_read(const char *path)
{
    bool standard = strcmp(path, "-") == 0;
    int fd = standard ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    size_t size = 0;
    uint8_t *bytes = fd >= 0 ? read_all(fd, &size) : NULL;
    int error = errno;
    if (fd >= 0 && !standard)
        close(fd);
    if (bytes == NULL) {
        tool_error("cannot read %s: %s", path, strerror(error));
        return NULL;
    }
    const char *problem;
    struct graph *graph = graph_parse(bytes, size, &problem);
    free(bytes);
    if (graph == NULL)
        tool_error("%s %s", path, problem);
    return graph;
}

void graph_free(struct graph *graph)
{
    for (size_t i = 0; i < graph->type_count; i++)
        free(graph->types[i].name);
    free(graph->types);
    free(graph->shapes);
    free(graph->writer);
    free(graph->program);
    free(graph->shape);
    free(graph->outside);
    free(graph->flags);
    free(graph->spans);
    free(graph->edges);
    free(graph->pages);
    free(graph);
}

/* Addresses. */

uint64_t graph_address(const struct graph *graph, uint32_t object)
{
    size_t low = 0, high = graph->page_count;
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (graph->pages[middle].first <= object)
            low = middle;
        else
            high = middle;
    }
    const struct graph_page *page = &graph->pages[low];
    uint32_t left = object - page->first;
    unsigned word = PAGE_WORDS - 1;
    while (page->before[word] > left)
        word--;
    uint64_t bits = page->bits[word];
    for (left -= page->before[word]; left > 0; left--)
        bits &= bits - 1;
    return (page->number * PAGE_UNITS + word * 64u + (unsigned)__builtin_ctzll(bits)) * 16;
}

uint32_t graph_find(const struct graph *graph, uint64_t address)
{
    size_t low = 0, high = graph->page_count;
    uint64_t unit = address / 16;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (graph->pages[middle].number < unit / PAGE_UNITS)
            low = middle + 1;
        else
            high = middle;
    }
    bool there = low < graph->page_count && graph->pages[low].number == unit / PAGE_UNITS && address % 16 == 0;
    return there ? object_in(&graph->pages[low], unit) : GRAPH_NONE;
}
