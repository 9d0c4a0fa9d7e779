/* workloads/sizes.h: tables of block sizes to draw from.
 *
 * Owns        the distributions that more than one workload uses.
 * Invariants  every size is at least 8; a table is the same for the same seed on every machine with IEEE doubles.
 * Sync        written once before the threads start, then read only.
 * Source      none
 */
#ifndef OURO_BENCH_SIZES_H
#define OURO_BENCH_SIZES_H

#include "rand.h"

enum { OUROI_SIZES = 4096 };

struct ouroi_sizes {
    uint32_t bytes[OUROI_SIZES];
};

/* What a server's small objects look like: half up to 64 bytes, 30% to 256, 15% to 1 KiB, 5% to 4 KiB; capped at max_bytes. */
void ouroi_sizes_server(struct ouroi_sizes *sizes, uint64_t seed, uint32_t max_bytes);

/* exp(normal): median and sigma of the logarithm; clipped to min..max. */
void ouroi_sizes_lognormal(struct ouroi_sizes *sizes, uint64_t seed, double median_bytes, double sigma,
                           uint32_t min_bytes, uint32_t max_bytes);

/* Every power of two as likely as the next, uniform inside. */
void ouroi_sizes_loguniform(struct ouroi_sizes *sizes, uint64_t seed, uint32_t min_bytes, uint32_t max_bytes);

/* By the top 12 bits of a draw. */
static inline uint32_t ouroi_sizes_at(const struct ouroi_sizes *sizes, uint64_t draw)
{
    return sizes->bytes[draw >> 52];
}

static inline uint32_t ouroi_sizes_draw(const struct ouroi_sizes *sizes, struct ouroi_rand *rand)
{
    return ouroi_sizes_at(sizes, ouroi_rand_next(rand));
}

#endif
