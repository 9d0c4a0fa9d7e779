/* base/base.h: what every layer stands on: asserts, bits, atomics, random numbers, printing without allocation.
 *
 * Owns        nothing but the text of messages.
 * Sync        none.
 */
#ifndef OUROI_BASE_H
#define OUROI_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/atomic.h"

#define OUROI_LIKELY(x) __builtin_expect(!!(x), 1)
#define OUROI_UNLIKELY(x) __builtin_expect(!!(x), 0)
#define OUROI_COLD __attribute__((cold, noinline))
#define OUROI_NOINLINE __attribute__((noinline))
#define OUROI_INLINE static inline __attribute__((always_inline))
#define OUROI_EXPORT __attribute__((visibility("default")))
#define OUROI_HIDDEN __attribute__((visibility("hidden"))) /* of data declared in headers: addressed without the GOT */
#define OUROI_CACHE_LINE 64

/* OURO_CHECK is always on: corruption and misuse, at constant cost. OURO_ASSERT is for debug builds, OURO_EXPENSIVE for
 * walks in debug builds. Off means compiled, not run. */
#define OURO_CHECK(condition) \
    (OUROI_LIKELY(condition) ? (void)0 : ouroi_fail("check failed: %s (%s:%d)", #condition, __FILE__, __LINE__))
#define OURO_ASSERT(condition) \
    ((!OURO_DEBUG || (condition)) ? (void)0 : ouroi_fail("assert failed: %s (%s:%d)", #condition, __FILE__, __LINE__))
#define OURO_EXPENSIVE(condition) OURO_ASSERT(condition)

/* One line on stderr, in one write, then abort(). Format: %s %d %u %zu %p %x %lu %%. Takes no lock, allocates nothing. */
_Noreturn void ouroi_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* One line, "ouro: " before it, to stderr in one write. */
void ouroi_warn(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* As snprintf, of the formats above; returns the bytes written, less the final NUL, never more than size - 1. */
size_t ouroi_format(char *out, size_t size, const char *format, ...) __attribute__((format(printf, 3, 4)));
size_t ouroi_format_list(char *out, size_t size, const char *format, __builtin_va_list list);

/* Bits. */
OUROI_INLINE unsigned ouroi_log2(size_t x) /* floor; x > 0 */
{
    return (unsigned)(8 * sizeof(unsigned long) - 1) - (unsigned)__builtin_clzl(x);
}
OUROI_INLINE unsigned ouroi_ctz64(uint64_t x) /* x > 0 */
{
    return (unsigned)__builtin_ctzll(x);
}
OUROI_INLINE unsigned ouroi_popcount64(uint64_t x)
{
    return (unsigned)__builtin_popcountll(x);
}
OUROI_INLINE bool ouroi_is_pow2(size_t x)
{
    return x != 0 && (x & (x - 1)) == 0;
}
OUROI_INLINE size_t ouroi_align_up(size_t x, size_t alignment) /* a power of two; may wrap to 0 */
{
    return (x + alignment - 1) & ~(alignment - 1);
}
OUROI_INLINE size_t ouroi_align_down(size_t x, size_t alignment)
{
    return x & ~(alignment - 1);
}
/* The lowest `count` bits; count 0..64. */
OUROI_INLINE uint64_t ouroi_low_bits(unsigned count)
{
    return count >= 64 ? ~(uint64_t)0 : ((uint64_t)1 << count) - 1;
}

/* A 64-bit generator for placement, not for secrets (Steele, Lea, Flood 2014: SplitMix). */
OUROI_INLINE uint64_t ouroi_random_next(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

#endif
