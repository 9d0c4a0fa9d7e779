/* arena/bitmap.h: sets of slices of a chunk, and runs in them. Private to this layer.
 *
 * All scans step from run to run, by words: a chunk of 2048 slices has 32.
 */
#ifndef OUROI_BITMAP_H
#define OUROI_BITMAP_H

#include "arena/arena.h"

#define OUROI_BITMAP_WORDS (OUROI_CHUNK_SLICES / 64)

struct ouroi_bitmap {
    uint64_t words[OUROI_BITMAP_WORDS];
};

/* The bits of word w that [first, first + count) covers. */
OUROI_INLINE uint64_t ouroi_bitmap_mask(unsigned w, unsigned first, unsigned count)
{
    unsigned from = first > w * 64 ? first - w * 64 : 0;
    unsigned to = first + count < w * 64 + 64 ? first + count - w * 64 : 64;
    return ouroi_low_bits(to) & ~ouroi_low_bits(from);
}

OUROI_INLINE void ouroi_bitmap_set(struct ouroi_bitmap *map, unsigned first, unsigned count)
{
    for (unsigned w = first / 64; w * 64 < first + count; w++)
        map->words[w] |= ouroi_bitmap_mask(w, first, count);
}

OUROI_INLINE void ouroi_bitmap_clear(struct ouroi_bitmap *map, unsigned first, unsigned count)
{
    for (unsigned w = first / 64; w * 64 < first + count; w++)
        map->words[w] &= ~ouroi_bitmap_mask(w, first, count);
}

/* How many of [first, first + count) are in the set. */
OUROI_INLINE unsigned ouroi_bitmap_count(const struct ouroi_bitmap *map, unsigned first, unsigned count)
{
    unsigned sum = 0;
    for (unsigned w = first / 64; w * 64 < first + count; w++)
        sum += ouroi_popcount64(map->words[w] & ouroi_bitmap_mask(w, first, count));
    return sum;
}

/* The first slice from `at` on that is in the set (value true), or is not (false); OUROI_CHUNK_SLICES: none. */
OUROI_INLINE unsigned ouroi_bitmap_next(const struct ouroi_bitmap *map, unsigned at, bool value)
{
    for (unsigned w = at / 64; w < OUROI_BITMAP_WORDS; w++) {
        uint64_t word = value ? map->words[w] : ~map->words[w];
        if (w == at / 64)
            word &= ~ouroi_low_bits(at % 64);
        if (word != 0)
            return w * 64 + ouroi_ctz64(word);
    }
    return OUROI_CHUNK_SLICES;
}

/* The slice at which the run of ones that ends before `at` begins. */
OUROI_INLINE unsigned ouroi_bitmap_run_start(const struct ouroi_bitmap *map, unsigned at)
{
    while (at > 0) {
        unsigned w = (at - 1) / 64;
        uint64_t zeros = ~map->words[w] & ouroi_low_bits(at - w * 64);
        if (zeros != 0)
            return w * 64 + ouroi_log2(zeros) + 1;
        at = w * 64;
    }
    return 0;
}

/* The smallest run in which `count` slices fit at a multiple of `align` (a power of two), the lowest of equals. Returns
 * where, or OUROI_CHUNK_SLICES with *longest the longest run there is. */
unsigned ouroi_bitmap_best_run(const struct ouroi_bitmap *map, unsigned count, unsigned align, unsigned *longest);

#endif
