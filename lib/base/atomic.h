/* base/atomic.h: the atomic operations that the library uses, the memory order in the name.
 *
 * Every use names, in a comment, the tag and side of the protocol that it belongs to; scripts/check-tags holds us to it.
 * No fence is offered (ThreadSanitizer cannot see one) and no default order.
 *
 * OUROI_OWNED_* are for words that one thread at a time writes, its owner, and that a reader of statistics may look at
 * meanwhile (SEEN: counted for such a reader in those builds only): plain in the shipped builds, where a compiler makes one instruction of them, relaxed atomics under the
 * sanitizers and the scheduler, so that these see no more than what is true: any value will do for the reader.
 */
#ifndef OUROI_ATOMIC_H
#define OUROI_ATOMIC_H

#include <stdbool.h>
#include <stdint.h>

/* A scheduling point before an access to *p: see sched.h. */
#if OURO_SCHED
void ouroi_sched_point(const void *address, const char *file);
#define OUROI_POINT(p) ouroi_sched_point((p), __FILE__)
#else
#define OUROI_POINT(p) ((void)0)
#endif

#define ouroi_atomic_load_relaxed(p) (OUROI_POINT(p), __atomic_load_n((p), __ATOMIC_RELAXED))
#define ouroi_atomic_load_acquire(p) (OUROI_POINT(p), __atomic_load_n((p), __ATOMIC_ACQUIRE))
#define ouroi_atomic_load_seq_cst(p) (OUROI_POINT(p), __atomic_load_n((p), __ATOMIC_SEQ_CST))
#define ouroi_atomic_store_relaxed(p, v) (OUROI_POINT(p), __atomic_store_n((p), (v), __ATOMIC_RELAXED))
#define ouroi_atomic_store_release(p, v) (OUROI_POINT(p), __atomic_store_n((p), (v), __ATOMIC_RELEASE))
#define ouroi_atomic_store_seq_cst(p, v) (OUROI_POINT(p), __atomic_store_n((p), (v), __ATOMIC_SEQ_CST))
#define ouroi_atomic_exchange_seq_cst(p, v) (OUROI_POINT(p), __atomic_exchange_n((p), (v), __ATOMIC_SEQ_CST))
#define ouroi_atomic_exchange_relaxed(p, v) (OUROI_POINT(p), __atomic_exchange_n((p), (v), __ATOMIC_RELAXED))
#define ouroi_atomic_exchange_acquire(p, v) (OUROI_POINT(p), __atomic_exchange_n((p), (v), __ATOMIC_ACQUIRE))
#define ouroi_atomic_exchange_release(p, v) (OUROI_POINT(p), __atomic_exchange_n((p), (v), __ATOMIC_RELEASE))
#define ouroi_atomic_exchange_acq_rel(p, v) (OUROI_POINT(p), __atomic_exchange_n((p), (v), __ATOMIC_ACQ_REL))
#define ouroi_atomic_fetch_add_relaxed(p, v) (OUROI_POINT(p), __atomic_fetch_add((p), (v), __ATOMIC_RELAXED))
#define ouroi_atomic_fetch_sub_relaxed(p, v) (OUROI_POINT(p), __atomic_fetch_sub((p), (v), __ATOMIC_RELAXED))
#define ouroi_atomic_fetch_add_seq_cst(p, v) (OUROI_POINT(p), __atomic_fetch_add((p), (v), __ATOMIC_SEQ_CST))
#define ouroi_atomic_fetch_sub_seq_cst(p, v) (OUROI_POINT(p), __atomic_fetch_sub((p), (v), __ATOMIC_SEQ_CST))
#define ouroi_atomic_fetch_or_seq_cst(p, v) (OUROI_POINT(p), __atomic_fetch_or((p), (v), __ATOMIC_SEQ_CST))
#define ouroi_atomic_fetch_and_seq_cst(p, v) (OUROI_POINT(p), __atomic_fetch_and((p), (v), __ATOMIC_SEQ_CST))

/* Compare-and-swap: true if *p was *expected and is desired now; else *expected is what *p was. A failure is relaxed
 * but where the name says seq_cst. Strong. */
#define ouroi_atomic_cas_relaxed(p, expected, desired) \
    (OUROI_POINT(p), __atomic_compare_exchange_n((p), (expected), (desired), false, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
#define ouroi_atomic_cas_acquire(p, expected, desired) \
    (OUROI_POINT(p), __atomic_compare_exchange_n((p), (expected), (desired), false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
#define ouroi_atomic_cas_release(p, expected, desired) \
    (OUROI_POINT(p), __atomic_compare_exchange_n((p), (expected), (desired), false, __ATOMIC_RELEASE, __ATOMIC_RELAXED))
#define ouroi_atomic_cas_acq_rel(p, expected, desired) \
    (OUROI_POINT(p), __atomic_compare_exchange_n((p), (expected), (desired), false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
#define ouroi_atomic_cas_seq_cst(p, expected, desired) \
    (OUROI_POINT(p), __atomic_compare_exchange_n((p), (expected), (desired), false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))

#if defined(__SANITIZE_THREAD__)
#define OUROI_RACES_SEEN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define OUROI_RACES_SEEN 1
#endif
#endif
#ifndef OUROI_RACES_SEEN
#define OUROI_RACES_SEEN OURO_SCHED
#endif

#if OUROI_RACES_SEEN
#define OUROI_OWNED_ADD(p, n) \
    (OUROI_POINT(p),          \
     __atomic_store_n((p), (__typeof__(*(p)))(__atomic_load_n((p), __ATOMIC_RELAXED) + (n)), __ATOMIC_RELAXED))
#define OUROI_OWNED_SET(p, v) (OUROI_POINT(p), __atomic_store_n((p), (v), __ATOMIC_RELAXED))
#define OUROI_SEEN_ADD(p, n) OUROI_OWNED_ADD(p, n)
#else
#define OUROI_SEEN_ADD(p, n) ((void)0)
#define OUROI_OWNED_ADD(p, n) ((void)(*(p) += (n)))
#define OUROI_OWNED_SET(p, v) ((void)(*(p) = (v)))
#endif
/* The reader's side. PLAIN: of a word that only grows, or is set once, before what leads the reader to it is published:
 * plain in the shipped builds, so that it can be an operand. */
#if OUROI_RACES_SEEN
#define OUROI_OWNED_GET_PLAIN(p) (OUROI_POINT(p), __atomic_load_n((p), __ATOMIC_RELAXED))
#else
#define OUROI_OWNED_GET_PLAIN(p) (*(p))
#endif
#define OUROI_OWNED_GET(p) (OUROI_POINT(p), __atomic_load_n((p), __ATOMIC_RELAXED))

/* A hint to the processor inside a spin. */
static inline void ouroi_pause(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ __volatile__("yield");
#endif
}

#endif
