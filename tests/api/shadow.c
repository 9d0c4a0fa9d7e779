/* api/shadow.c: see shadow.h.
 *
 * Owns        a table of 2^17 maps, each a bit for 16 bytes of one GiB, mapped when it is first needed, never unmapped.
 * Sync        atomic operations on the words; a map is published by compare-and-swap.
 */
#define _GNU_SOURCE
#include "shadow.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { GRAIN_SHIFT = 4, MAP_SHIFT = 30, MAPS = 1 << 17, WORDS = 1 << (MAP_SHIFT - GRAIN_SHIFT - 6) };

static _Atomic(_Atomic uint64_t *) maps[MAPS];

void shadow_fail(const char *what, const void *ptr, size_t size)
{
    char line[200];
    int n = snprintf(line, sizeof line, "shadow: %s: block %p of %zu bytes\n", what, ptr, size);
    if (n > 0)
        (void)!write(STDERR_FILENO, line, (size_t)n);
    abort();
}

static _Atomic uint64_t *map_of(uintptr_t address)
{
    size_t index = address >> MAP_SHIFT;
    if (index >= MAPS)
        shadow_fail("an address that a program cannot have", (void *)address, 0);
    _Atomic uint64_t *map = atomic_load_explicit(&maps[index], memory_order_acquire);
    if (map != NULL)
        return map;
    size_t bytes = (size_t)WORDS * sizeof *map;
    _Atomic uint64_t *fresh =
        mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (fresh == MAP_FAILED)
        shadow_fail("no memory for the shadow", NULL, bytes);
    if (atomic_compare_exchange_strong(&maps[index], &map, fresh))
        return fresh;
    munmap(fresh, bytes);
    return map;
}

/* Sets or clears the bits of [begin, end); returns whether all of them were the other way. */
static bool turn_bits(uintptr_t begin, uintptr_t end, bool on)
{
    bool good = true;
    uintptr_t grain = begin >> GRAIN_SHIFT, last = (end - 1) >> GRAIN_SHIFT;
    while (grain <= last) {
        unsigned low = (unsigned)(grain & 63);
        uintptr_t word_last = grain | 63;
        unsigned high = (unsigned)((word_last < last ? word_last : last) & 63);
        uint64_t mask = (UINT64_MAX >> (63 - high)) & (UINT64_MAX << low);
        _Atomic uint64_t *word = &map_of(grain << GRAIN_SHIFT)[(grain >> 6) & (WORDS - 1)];
        uint64_t was = on ? atomic_fetch_or(word, mask) : atomic_fetch_and(word, ~mask);
        good &= (was & mask) == (on ? 0 : mask);
        grain = word_last + 1;
    }
    return good;
}

static uintptr_t end_of(const void *ptr, size_t size)
{
    return (uintptr_t)ptr + (size == 0 ? 1 : size);
}

uint64_t shadow_random(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

size_t shadow_random_size(uint64_t *state, size_t max)
{
    static const unsigned shifts[16] = { 6, 6, 7, 7, 7, 8, 8, 9, 9, 10, 11, 12, 13, 15, 17, 21 };
    uint64_t r = shadow_random(state);
    size_t size = (size_t)(r >> 8) & (((size_t)1 << shifts[r & 15]) - 1);
    return max == 0 ? 0 : size % max;
}

static uint64_t content(uint64_t seed, size_t at)
{
    uint64_t state = seed + at;
    return shadow_random(&state);
}

enum { WHOLE = 64 << 10, PIECE = 256, STRIDE = 60 << 10 };

static void write_piece(unsigned char *ptr, size_t from, size_t to, uint64_t seed)
{
    for (size_t at = from; at < to; at += 8) {
        uint64_t word = content(seed, at);
        memcpy(ptr + at, &word, to - at < 8 ? to - at : 8);
    }
}

static bool same_piece(const unsigned char *ptr, size_t from, size_t to, uint64_t seed)
{
    for (size_t at = from; at < to; at += 8) {
        uint64_t word = content(seed, at);
        if (memcmp(ptr + at, &word, to - at < 8 ? to - at : 8) != 0)
            return false;
    }
    return true;
}

static void write_content(const struct shadow_block *b)
{
    if (b->size <= WHOLE) {
        write_piece(b->ptr, 0, b->size, b->seed);
        return;
    }
    for (size_t at = 0; at + PIECE < b->size; at += STRIDE)
        write_piece(b->ptr, at, at + PIECE, b->seed);
    write_piece(b->ptr, (b->size - PIECE) & ~(size_t)7, b->size, b->seed);
}

void shadow_claim_bytes(const struct shadow_block *b)
{
    if (!turn_bits((uintptr_t)b->ptr, end_of(b->ptr, b->size), true))
        shadow_fail("bytes handed out twice", b->ptr, b->size);
}

void shadow_release_bytes(const struct shadow_block *b)
{
    if (!turn_bits((uintptr_t)b->ptr, end_of(b->ptr, b->size), false))
        shadow_fail("bytes released that were not claimed", b->ptr, b->size);
}

void shadow_claim(struct shadow_block *b, void *ptr, size_t size, uint64_t seed)
{
    if (((uintptr_t)ptr & 15) != 0)
        shadow_fail("not aligned to 16", ptr, size);
    *b = (struct shadow_block){ ptr, size, seed };
    shadow_claim_bytes(b);
    write_content(b);
}

static bool same_content(const struct shadow_block *b, const unsigned char *ptr, size_t kept)
{
    if (b->size <= WHOLE)
        return same_piece(ptr, 0, kept, b->seed);
    for (size_t at = 0; at + PIECE < b->size && at + PIECE <= kept; at += STRIDE) {
        if (!same_piece(ptr, at, at + PIECE, b->seed))
            return false;
    }
    return kept < b->size || same_piece(ptr, (b->size - PIECE) & ~(size_t)7, b->size, b->seed);
}

void shadow_verify(const struct shadow_block *b)
{
    if (!same_content(b, b->ptr, b->size))
        shadow_fail("content changed", b->ptr, b->size);
}

void shadow_check_kept(const struct shadow_block *b, const void *ptr, size_t kept)
{
    if (!same_content(b, ptr, kept))
        shadow_fail("content lost by a resize", ptr, kept);
}

void shadow_release(struct shadow_block *b)
{
    shadow_verify(b);
    shadow_release_bytes(b);
    b->ptr = NULL;
}

bool shadow_is_zero(const void *ptr, size_t size)
{
    const unsigned char *bytes = ptr;
    return size == 0 || (bytes[0] == 0 && memcmp(bytes, bytes + 1, size - 1) == 0);
}
