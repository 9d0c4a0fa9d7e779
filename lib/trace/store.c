/* trace/store.c: memory of snapshots: mapped from the OS, never from a heap that may be traced.
 *
 * Owns        chunks of stores, mappings of arrays and indexes.
 * Invariants  chunks grow, so that there are O(log bytes) of them; mappings are multiples of UNIT, which no page size is
 *             larger than.
 * Sync        none: each belongs to one snapshot.
 */
#include "trace/snapshot_internal.h"

#include <errno.h>
#include <string.h>

enum {
    UNIT = 64 << 10,
    CHUNK_LARGEST = 32 << 20,
    MOVED_LEAST = 1 << 20, /* mappings that grow by moving their pages */
};

struct ouroi_store_chunk {
    struct ouroi_store_chunk *older;
    size_t bytes;
};

static void *map(size_t bytes)
{
    int error;
    return ouroi_os.map(NULL, bytes, OUROI_MAP_ANYWHERE, &error);
}

static size_t round_up(size_t bytes) /* 0: overflow */
{
    return bytes > SIZE_MAX / 2 ? 0 : ouroi_align_up(bytes, UNIT);
}

static struct ouroi_store_chunk *add_chunk(struct ouroi_store *store, size_t bytes)
{
    size_t want = store->next_bytes != 0 ? store->next_bytes : UNIT;
    size_t least = round_up(bytes + sizeof(struct ouroi_store_chunk));
    struct ouroi_store_chunk *chunk = NULL;
    if (least == 0)
        return NULL;
    if (want > least)
        chunk = map(want);
    if (chunk == NULL) {
        want = least;
        chunk = map(want);
    }
    if (chunk == NULL)
        return NULL;
    chunk->bytes = want;
    if (store->next_bytes < CHUNK_LARGEST)
        store->next_bytes = want * 2 < CHUNK_LARGEST ? want * 2 : CHUNK_LARGEST;
    return chunk;
}

void *ouroi_store_alloc(struct ouroi_store *store, size_t bytes)
{
    if (bytes > SIZE_MAX / 4)
        return NULL;
    bytes = ouroi_align_up(bytes, 8);
    struct ouroi_store_chunk *chunk = store->chunks;
    if (chunk == NULL || chunk->bytes - store->used < bytes) {
        struct ouroi_store_chunk *fresh = add_chunk(store, bytes);
        if (fresh == NULL)
            return NULL;
        if (chunk != NULL && chunk->bytes - store->used > fresh->bytes - sizeof *fresh - bytes) {
            /* a large piece of its own: what is left of the newest chunk is more */
            fresh->older = chunk->older;
            chunk->older = fresh;
            return fresh + 1;
        }
        fresh->older = chunk;
        store->chunks = fresh;
        store->used = sizeof *fresh;
        chunk = fresh;
    }
    void *got = (char *)chunk + store->used;
    store->used += bytes;
    return got;
}

void *ouroi_store_array(struct ouroi_store *store, size_t count, size_t item_bytes)
{
    size_t bytes;
    return __builtin_mul_overflow(count, item_bytes, &bytes) ? NULL : ouroi_store_alloc(store, bytes);
}

void ouroi_store_free(struct ouroi_store *store)
{
    struct ouroi_store_chunk *chunk = store->chunks;
    while (chunk != NULL) {
        struct ouroi_store_chunk *older = chunk->older;
        (void)ouroi_os.unmap(chunk, chunk->bytes);
        chunk = older;
    }
    *store = (struct ouroi_store){ 0 };
}

int ouroi_array_reserve(struct ouroi_array *array, size_t more, size_t item_bytes)
{
    size_t items, bytes;
    if (__builtin_add_overflow(array->count, more, &items) || __builtin_mul_overflow(items, item_bytes, &bytes))
        return -ENOMEM;
    if (bytes <= array->room)
        return 0;
    bytes = round_up(bytes < array->room * 2 ? array->room * 2 : bytes);
    if (bytes == 0)
        return -ENOMEM;
    void *fresh = map(bytes);
    if (fresh == NULL)
        return -ENOMEM;
    if (array->room >= MOVED_LEAST && ouroi_os.move(array->items, array->room, fresh, bytes) == 0)
        array->items = NULL;
    else if (array->items != NULL)
        memcpy(fresh, array->items, array->count * item_bytes);
    if (array->items != NULL)
        (void)ouroi_os.unmap(array->items, array->room);
    array->items = fresh;
    array->room = bytes;
    return 0;
}

void ouroi_array_free(struct ouroi_array *array)
{
    if (array->items != NULL)
        (void)ouroi_os.unmap(array->items, array->room);
    *array = (struct ouroi_array){ 0 };
}

int ouroi_index_reserve(struct ouroi_index *index)
{
    if (index->slots != NULL && index->used < index->mask - index->mask / 4)
        return 0;
    size_t bytes = index->bytes != 0 ? index->bytes * 2 : UNIT;
    struct ouroi_index_slot *slots = map(bytes);
    if (slots == NULL)
        return -ENOMEM;
    size_t mask = bytes / sizeof *slots - 1;
    for (size_t i = 0; index->slots != NULL && i <= index->mask; i++) {
        if (index->slots[i].number == 0)
            continue;
        size_t to = index->slots[i].hash & mask;
        while (slots[to].number != 0)
            to = (to + 1) & mask;
        slots[to] = index->slots[i];
    }
    size_t used = index->used;
    ouroi_index_free(index);
    *index = (struct ouroi_index){ .slots = slots, .mask = mask, .used = used, .bytes = bytes };
    return 0;
}

void ouroi_index_free(struct ouroi_index *index)
{
    if (index->slots != NULL)
        (void)ouroi_os.unmap(index->slots, index->bytes);
    *index = (struct ouroi_index){ 0 };
}

uint64_t ouroi_hash_bytes(const void *bytes, size_t count)
{
    const uint8_t *at = bytes;
    uint64_t hash = count;
    for (; count >= 8; at += 8, count -= 8) {
        uint64_t word;
        memcpy(&word, at, 8);
        hash = ouroi_hash_mix(hash, word);
    }
    uint64_t last = 0;
    memcpy(&last, at, count);
    return ouroi_hash_mix(hash, last);
}
