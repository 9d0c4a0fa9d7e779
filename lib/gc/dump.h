/* gc/dump.h: how records of the object graph are encoded; see docs/formats.md.
 *
 * Owns        struct ouroi_stream: chunks of records being made.
 * Invariants  a chunk can be read without the others: what is left out of a record because it is as in the record before is
 *             never left out of the first.
 * Sync        none: a stream is one worker's.
 */
#ifndef OUROI_GC_DUMP_H
#define OUROI_GC_DUMP_H

#include <ouro/version.h>

#include "gc/visit.h"

#define OUROI_DUMP_MAGIC "\x89OUROGR\n"
#define OUROI_DUMP_VERSION 1u

struct ouroi_dump_file {
    char magic[8];
    uint32_t version, zero;
};
struct ouroi_dump_head {
    char kind[4];
    uint32_t crc;
    uint64_t bytes;
};
_Static_assert(sizeof(struct ouroi_dump_file) == 16 && sizeof(struct ouroi_dump_head) == 16, "no padding");

enum {
    OUROI_WHERE_UNTRACKED = 4, /* below that: the generation */
    OUROI_WHERE_BLOCK = 7,     /* no object: the bytes of the blocks of what follows */
    OUROI_WHERE_MASK = 7,
    OUROI_HEAD_TYPE = 8,
    OUROI_HEAD_ITEMS = 16,
    OUROI_HEAD_COUNT = 32,
    OUROI_HEAD_FLAGS = 64,
};
enum {
    OUROI_RECORD_IMMORTAL = 1,
    OUROI_RECORD_FINALIZED = 2,
    OUROI_RECORD_SEEN = 4,
    OUROI_RECORD_DISTRIBUTED = 8,
    OUROI_RECORD_DEAD = 16,
};

struct ouroi_dump_chunk {
    struct ouroi_dump_chunk *next;
    size_t used, room; /* room: of the mapping, this head included */
    size_t full;       /* a record that would end beyond begins another; larger ones make the room grow */
    uint8_t bytes[];
};

struct ouroi_stream {
    struct ouroi_dump_chunk *first, *last;
    uintptr_t address; /* of the record before, in units */
    uintptr_t referent;
    uint32_t type;
    uint64_t block_bytes;
    bool failed; /* for want of memory: nothing is put any more */
    size_t records;
};

struct ouroi_record {
    uintptr_t address;
    unsigned where, flags;
    uint32_t type;
    uint64_t block_bytes;
    size_t items;
    int64_t count;
};

bool ouroi_stream_add_chunk(struct ouroi_stream *stream);
void ouroi_stream_number(struct ouroi_stream *stream, uint64_t value);
void ouroi_stream_text(struct ouroi_stream *stream, const char *text, size_t bytes);
void ouroi_stream_free(struct ouroi_stream *stream);
/* Makes room for `bytes` more in the last chunk. False: failed. */
bool ouroi_stream_grow(struct ouroi_stream *stream, size_t bytes);

enum {
    OUROI_NUMBER_BYTES = 10,                         /* at most */
    OUROI_RECORD_BYTES = 2 + 6 * OUROI_NUMBER_BYTES, /* the same, less the references */
};

OUROI_INLINE uint8_t *ouroi_number_put(uint8_t *at, uint64_t value)
{
    while (value >= 128) {
        *at++ = (uint8_t)(value | 128);
        value >>= 7;
    }
    *at++ = (uint8_t)value;
    return at;
}

OUROI_INLINE uint64_t ouroi_zigzag(int64_t value)
{
    return (uint64_t)value << 1 ^ (uint64_t)(value >> 63);
}

OUROI_INLINE bool ouroi_stream_has_room(struct ouroi_stream *stream, size_t bytes)
{
    struct ouroi_dump_chunk *chunk = stream->last;
    return OUROI_LIKELY(chunk != NULL && chunk->room - sizeof *chunk - chunk->used >= bytes) ||
           ouroi_stream_grow(stream, bytes);
}

/* True: the type is another than in the record before, of which the caller takes note. */
OUROI_INLINE bool ouroi_stream_put(struct ouroi_stream *stream, const struct ouroi_record *record)
{
    struct ouroi_dump_chunk *chunk = stream->last;
    if (OUROI_UNLIKELY(chunk == NULL || sizeof *chunk + chunk->used + OUROI_RECORD_BYTES > chunk->full)) {
        if (!ouroi_stream_add_chunk(stream))
            return false;
        chunk = stream->last;
    }
    uint8_t *at = chunk->bytes + chunk->used;
    if (OUROI_UNLIKELY(record->block_bytes != stream->block_bytes)) {
        *at++ = OUROI_WHERE_BLOCK;
        at = ouroi_number_put(at, record->block_bytes);
        stream->block_bytes = record->block_bytes;
    }
    bool other_type = record->type != stream->type;
    uintptr_t unit = record->address >> 4;
    *at++ =
        (uint8_t)(record->where | (other_type ? OUROI_HEAD_TYPE : 0u) | (record->items != 0 ? OUROI_HEAD_ITEMS : 0u) |
                  (record->count != 1 ? OUROI_HEAD_COUNT : 0u) | (record->flags != 0 ? OUROI_HEAD_FLAGS : 0u));
    at = ouroi_number_put(at, ouroi_zigzag((int64_t)(unit - stream->address)));
    if (other_type)
        at = ouroi_number_put(at, record->type);
    if (record->items != 0)
        at = ouroi_number_put(at, record->items);
    if (record->count != 1)
        at = ouroi_number_put(at, (uint64_t)record->count);
    if (record->flags != 0)
        at = ouroi_number_put(at, record->flags);
    chunk->used = (size_t)(at - chunk->bytes);
    stream->address = stream->referent = unit;
    stream->type = record->type;
    stream->records++;
    return other_type;
}

/* A reference of the last record. */
OUROI_INLINE void ouroi_stream_refer(struct ouroi_stream *stream, uintptr_t address)
{
    uintptr_t unit = address >> 4;
    if (!ouroi_stream_has_room(stream, OUROI_NUMBER_BYTES))
        return;
    struct ouroi_dump_chunk *chunk = stream->last;
    uint8_t *at = chunk->bytes + chunk->used;
    chunk->used += (size_t)(ouroi_number_put(at, ouroi_zigzag((int64_t)(unit - stream->referent)) + 1) - at);
    stream->referent = unit;
}

OUROI_INLINE void ouroi_stream_end_refs(struct ouroi_stream *stream)
{
    if (ouroi_stream_has_room(stream, 1))
        stream->last->bytes[stream->last->used++] = 0;
}

/* CRC-32 of IEEE 802.3, as zlib's. */
uint32_t ouroi_crc32(const uint8_t *bytes, size_t count);

OUROI_INLINE uint32_t ouroi_little32(uint32_t x)
{
    return __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? x : __builtin_bswap32(x);
}
OUROI_INLINE uint64_t ouroi_little64(uint64_t x)
{
    return __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? x : __builtin_bswap64(x);
}

#endif
