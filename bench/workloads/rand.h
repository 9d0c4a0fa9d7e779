/* workloads/rand.h: cheap seeded random numbers.
 *
 * Owns        one 64-bit state per stream.
 * Invariants  the state is never 0.
 * Sync        one thread a stream.
 * Source      xorshift64*: Marsaglia 2003, Vigna 2016. Bounded draw by multiplication: Lemire 2019 (bias ignored).
 */
#ifndef OURO_BENCH_RAND_H
#define OURO_BENCH_RAND_H

#include <stdint.h>

struct ouroi_rand {
    uint64_t state;
};

/* Neighbouring seeds give unrelated streams (the finalizer of splitmix64: Steele, Lea, Flood 2014). */
static inline struct ouroi_rand ouroi_rand_seed(uint64_t seed)
{
    uint64_t z = seed + UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    z ^= z >> 31;
    return (struct ouroi_rand){ z != 0 ? z : 1 };
}

static inline uint64_t ouroi_rand_next(struct ouroi_rand *rand)
{
    uint64_t x = rand->state;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    rand->state = x;
    return x * UINT64_C(0x2545f4914f6cdd1d);
}

/* 0 .. bound - 1 */
static inline uint32_t ouroi_rand_below(struct ouroi_rand *rand, uint32_t bound)
{
    return (uint32_t)(((ouroi_rand_next(rand) >> 32) * bound) >> 32);
}

/* 0 .. bound - 1 out of the low 32 bits of one draw, whose high bits are then free for another choice. */
static inline uint32_t ouroi_rand_low(uint64_t draw, uint32_t bound)
{
    return (uint32_t)(((draw & UINT32_MAX) * bound) >> 32);
}

/* low .. high */
static inline uint32_t ouroi_rand_between(struct ouroi_rand *rand, uint32_t low, uint32_t high)
{
    return low + ouroi_rand_below(rand, high - low + 1);
}

/* 0 <= x < 1 */
static inline double ouroi_rand_unit(struct ouroi_rand *rand)
{
    return (double)(ouroi_rand_next(rand) >> 11) * 0x1.0p-53;
}

#endif
