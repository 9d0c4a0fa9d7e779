/* gc/record.c: records of the object graph, into chunks; see dump.h.
 *
 * Sync        none.
 */
#include "gc/dump.h"

#include <string.h>

enum { CHUNK_FIRST = 64 << 10, CHUNK_BYTES = 4 << 20 };

bool ouroi_stream_add_chunk(struct ouroi_stream *stream)
{
    void *items = NULL;
    size_t room = 0;
    bool is_first = stream->last == NULL;
    if (stream->failed || ouroi_memory_grow(&items, &room, 0, is_first ? CHUNK_FIRST : CHUNK_BYTES, 1) != 0) {
        stream->failed = true;
        return false;
    }
    if (!is_first && ouroi_options.thp != OUROI_THP_NEVER)
        (void)ouroi_os.advise_huge(items, room, true);
    struct ouroi_dump_chunk *chunk = items;
    chunk->room = chunk->full = room;
    if (!is_first)
        stream->last->next = chunk;
    else
        stream->first = chunk;
    stream->last = chunk;
    stream->address = 0;
    stream->type = 0;
    stream->block_bytes = 0;
    return true;
}

bool ouroi_stream_grow(struct ouroi_stream *stream, size_t bytes)
{
    if (stream->failed || (stream->last == NULL && !ouroi_stream_add_chunk(stream)))
        return false;
    struct ouroi_dump_chunk *chunk = stream->last;
    size_t used = sizeof *chunk + chunk->used, room = chunk->room;
    if (room - used >= bytes)
        return true;
    void *items = chunk;
    if (ouroi_memory_grow(&items, &room, used, used + bytes, 1) != 0) {
        stream->failed = true;
        return false;
    }
    struct ouroi_dump_chunk **link = &stream->first;
    while (*link != chunk)
        link = &(*link)->next; /* that was its address */
    *link = stream->last = items;
    stream->last->room = room;
    return true;
}

void ouroi_stream_number(struct ouroi_stream *stream, uint64_t value)
{
    if (!ouroi_stream_has_room(stream, OUROI_NUMBER_BYTES))
        return;
    uint8_t *at = stream->last->bytes + stream->last->used;
    stream->last->used += (size_t)(ouroi_number_put(at, value) - at);
}

void ouroi_stream_text(struct ouroi_stream *stream, const char *text, size_t bytes)
{
    ouroi_stream_number(stream, bytes);
    if (!ouroi_stream_has_room(stream, bytes))
        return;
    memcpy(stream->last->bytes + stream->last->used, text, bytes);
    stream->last->used += bytes;
}

void ouroi_stream_free(struct ouroi_stream *stream)
{
    while (stream->first != NULL) {
        void *items = stream->first;
        size_t room = stream->first->room;
        stream->first = stream->first->next;
        ouroi_memory_free(&items, &room, 1);
    }
    stream->last = NULL;
}

/* Eight bytes a step, by eight tables. */
enum { SLICES = 8 };

static void make_tables(uint32_t (*tables)[256])
{
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t crc = i;
        for (unsigned bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
        tables[0][i] = crc;
    }
    for (unsigned s = 1; s < SLICES; s++)
        for (unsigned i = 0; i < 256; i++)
            tables[s][i] = tables[s - 1][i] >> 8 ^ tables[0][tables[s - 1][i] & 255];
}

uint32_t ouroi_crc32(const uint8_t *bytes, size_t count)
{
    uint32_t tables[SLICES][256], crc = ~0u;
    make_tables(tables);
    for (; count >= 8; bytes += 8, count -= 8) {
        uint64_t word;
        memcpy(&word, bytes, sizeof word);
        word = ouroi_little64(word) ^ crc;
        crc = 0;
        for (unsigned s = 0; s < SLICES; s++)
            crc ^= tables[SLICES - 1 - s][word >> 8 * s & 255];
    }
    for (; count > 0; bytes++, count--)
        crc = crc >> 8 ^ tables[0][(crc ^ *bytes) & 255];
    return ~crc;
}
