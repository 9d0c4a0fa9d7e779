/* workloads/sizes.c: see sizes.h.
 *
 * Owns        nothing
 * Invariants  see sizes.h
 * Sync        none
 * Source      Box and Muller 1958 for the normal deviate.
 */
#include "sizes.h"

#include <math.h>
#include <stddef.h>

static uint32_t sizes_clip(double bytes, uint32_t min_bytes, uint32_t max_bytes)
{
    if (bytes < (double)min_bytes)
        return min_bytes;
    return bytes > (double)max_bytes ? max_bytes : (uint32_t)bytes;
}

void ouroi_sizes_server(struct ouroi_sizes *sizes, uint64_t seed, uint32_t max_bytes)
{
    struct ouroi_rand rand = ouroi_rand_seed(seed);
    for (size_t i = 0; i < OUROI_SIZES; i++) {
        uint32_t percent = ouroi_rand_below(&rand, 100);
        uint32_t bytes = percent < 50   ? ouroi_rand_between(&rand, 16, 64)
                         : percent < 80 ? ouroi_rand_between(&rand, 65, 256)
                         : percent < 95 ? ouroi_rand_between(&rand, 257, 1024)
                                        : ouroi_rand_between(&rand, 1025, 4096);
        sizes->bytes[i] = bytes < max_bytes ? bytes : max_bytes;
    }
}

void ouroi_sizes_lognormal(struct ouroi_sizes *sizes, uint64_t seed, double median_bytes, double sigma,
                           uint32_t min_bytes, uint32_t max_bytes)
{
    struct ouroi_rand rand = ouroi_rand_seed(seed);
    for (size_t i = 0; i < OUROI_SIZES; i++) {
        double radius = sqrt(-2.0 * log(1.0 - ouroi_rand_unit(&rand)));
        double normal = radius * cos(6.283185307179586 * ouroi_rand_unit(&rand));
        sizes->bytes[i] = sizes_clip(median_bytes * exp(sigma * normal), min_bytes, max_bytes);
    }
}

void ouroi_sizes_loguniform(struct ouroi_sizes *sizes, uint64_t seed, uint32_t min_bytes, uint32_t max_bytes)
{
    struct ouroi_rand rand = ouroi_rand_seed(seed);
    double low = log((double)min_bytes);
    double span = log((double)max_bytes) - low;
    for (size_t i = 0; i < OUROI_SIZES; i++)
        sizes->bytes[i] = sizes_clip(exp(low + span * ouroi_rand_unit(&rand)), min_bytes, max_bytes);
}
