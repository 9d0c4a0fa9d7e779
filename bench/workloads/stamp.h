/* workloads/stamp.h: blocks that can tell whether they were damaged.
 *
 * Owns        the first and the last word of a stamped block.
 * Invariants  first word = size in the low half, a hash of address and size in the high half; the last word, where there
 *             is room for one, is its complement. Two live blocks that overlap, or one that another thread wrote over, fail the check.
 * Sync        whoever owns the block.
 * Source      none
 */
#ifndef OURO_BENCH_STAMP_H
#define OURO_BENCH_STAMP_H

#include "workload.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { OUROI_STAMP_MIN = 8, OUROI_STAMP_STRIDE = 512, OUROI_PARCEL_LIGHT_MAX = 4096 };

static inline uint64_t ouroi_stamp_word(const void *block, size_t size)
{
    uint64_t mix = ((uint64_t)(uintptr_t)block ^ ((uint64_t)size << 17)) * UINT64_C(0x9fb21c651e98df25);
    return (mix & UINT64_C(0xffffffff00000000)) | (uint64_t)(uint32_t)size;
}

/* Stamps a block of at least 8 bytes and touches one word in every 512 bytes, as a program that fills it would bring in
 * every page, without turning the benchmark into one of memset. */
static inline void ouroi_stamp_set(void *block, size_t size)
{
    uint64_t word = ouroi_stamp_word(block, size);
    char *bytes = block;
    memcpy(bytes, &word, sizeof word);
    for (size_t at = OUROI_STAMP_STRIDE; at + 16 <= size; at += OUROI_STAMP_STRIDE)
        memcpy(bytes + at, &word, sizeof word);
    if (size >= 16) {
        word = ~word;
        memcpy(bytes + size - sizeof word, &word, sizeof word);
    }
}

/* The size a stamped block was given; ends the program if the block is not what was stamped. */
static inline size_t ouroi_stamp_check(const void *block)
{
    uint64_t word;
    const char *bytes = block;
    memcpy(&word, bytes, sizeof word);
    size_t size = (uint32_t)word;
    if (word != ouroi_stamp_word(block, size))
        ouroi_bench_die("block %p: its first word was overwritten", block);
    if (size >= 16) {
        uint64_t last;
        memcpy(&last, bytes + size - sizeof last, sizeof last);
        if (last != ~word)
            ouroi_bench_die("block %p of %zu bytes: its last word was overwritten", block, size);
    }
    return size;
}

static inline void *ouroi_must(void *block)
{
    if (block == NULL)
        ouroi_bench_die("out of memory");
    return block;
}

static inline void *ouroi_stamp_malloc(size_t size)
{
    void *block = ouroi_must(malloc(size));
    ouroi_stamp_set(block, size);
    return block;
}

static inline void ouroi_stamp_free(void *block)
{
    ouroi_stamp_check(block);
    free(block);
}

/* For blocks on their way to another thread. Each cache line of such a block that is written here and read there costs both
 * sides a miss of more than a malloc takes, and would soon be all that is measured: so seven blocks in eight, by a hash of address and
 * size, carry the first word alone; the eighth, and all above a page, are stamped and checked whole. */
static inline bool ouroi_stamp_is_whole(uint64_t word)
{
    return (word >> 40) % 8 == 0 || (uint32_t)word > OUROI_PARCEL_LIGHT_MAX;
}

static inline void *ouroi_parcel_malloc(size_t size)
{
    void *block = ouroi_must(malloc(size));
    uint64_t word = ouroi_stamp_word(block, size);
    if (ouroi_stamp_is_whole(word))
        ouroi_stamp_set(block, size);
    else
        memcpy(block, &word, sizeof word);
    return block;
}

static inline void ouroi_parcel_free(void *block)
{
    uint64_t word;
    memcpy(&word, block, sizeof word);
    if (ouroi_stamp_is_whole(word))
        ouroi_stamp_check(block);
    else if (word != ouroi_stamp_word(block, (uint32_t)word))
        ouroi_bench_die("block %p: its first word was overwritten", block);
    free(block);
}

#endif
