/* ouro/thread.h: registered threads, safepoints, blocking regions.
 *
 * A thread that touches objects is registered; its first object call does that by itself. One that may write to a member of
 * an object before any such call registers first. A collection starts when every
 * registered thread has reached a safepoint (ouro_safepoint, ouro_new and its like, the end of a blocking region) or is in
 * a blocking region. A registered thread that sleeps or computes outside of a region holds up every collection: it is
 * named on stderr, with where it is, after OURO_STW_WARN_MS (default 1000).
 */
#ifndef OURO_THREAD_H
#define OURO_THREAD_H

#include <stdbool.h>
#include <stdint.h>

#include <ouro/alloc.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Registers the calling thread; idempotent; undone by ouro_thread_unregister or the thread's end. May wait for a running
 * collection. Returns 0, or -1 and ENOMEM. O(1). */
OURO_ATTR_EXPORT int ouro_thread_register(void);

/* The reverse. Objects that the thread made live on; whoever drops their last reference frees them. In a blocking region
 * it ends that first. Idempotent. */
OURO_ATTR_EXPORT void ouro_thread_unregister(void);

OURO_ATTR_EXPORT bool ouro_thread_is_registered(void);

/* Begins a blocking region: until its end the thread touches no object (memory calls of alloc.h are allowed). Regions
 * nest. Registers the thread. Collections do not wait for it, and others merge the counts of what it owns. */
OURO_ATTR_EXPORT void ouro_blocking_begin(void);

/* Ends it; may wait for a running collection. */
OURO_ATTR_EXPORT void ouro_blocking_end(void);

/* From now on a thread that reaches no safepoint in time, blocked or busy, is stopped by this signal wherever it is
 * outside of the library; system calls that are not restarted return EINTR, as under any signal. The library takes the
 * signal over, and hands on what it did not send. signo 0: off again. The program must take a reference before it stores
 * it (a->f = ouro_newref(x)). Returns 0, or -1 and EINVAL (no such signal, or one that cannot be handled). */
OURO_ATTR_EXPORT int ouro_thread_stop_by_signal(int signo);

/* What follows is for the inline functions. */

/* request: not 0 if the thread has to look after something at its next safepoint. number: what the header of an object
 * says of its owner; 0xffff: owns nothing. */
struct ouro_self_ {
    uint32_t request;
    uint16_t number;
    uint16_t zero;
    uint32_t registered;
    uint32_t room;   /* of `counts` */
    int64_t *counts; /* what this thread counts of distributed objects, by their numbers */
};
OURO_ATTR_EXPORT extern __thread struct ouro_self_ ouro_self_ __attribute__((tls_model("initial-exec")));

OURO_ATTR_EXPORT void ouro_safepoint_slow_(void);

/* Nothing, but in the tests of the library's `sched` build: there another thread may run before *p is looked at. */
#if defined(OURO_SCHED) && OURO_SCHED
void ouroi_sched_point(const void *address, const char *file);
#define OURO_POINT_(p) ouroi_sched_point((p), __FILE__)
#else
#define OURO_POINT_(p) ((void)0)
#endif

/* Where a running thread lets a collection begin. One load and a branch that is not taken. */
static inline void ouro_safepoint(void)
{
    OURO_POINT_(&ouro_self_.request);
    if (__builtin_expect(__atomic_load_n(&ouro_self_.request, __ATOMIC_RELAXED) != 0, 0))
        ouro_safepoint_slow_();
}

static inline int ouro_blocking_enter_(void)
{
    ouro_blocking_begin();
    return 1;
}
static inline void ouro_blocking_leave_(int *turn)
{
    (void)turn;
    ouro_blocking_end();
}

/* OURO_BLOCKING { read(fd, buf, n); }  The region ends however the block is left: break, return and goto too (not by
 * longjmp). */
#define OURO_BLOCKING OURO_BLOCKING_LINE_(__LINE__)
#define OURO_BLOCKING_LINE_(line) OURO_BLOCKING_TURN_(line)
#define OURO_BLOCKING_TURN_(line)                                                                         \
    for (int ouro_turn_##line##_ __attribute__((cleanup(ouro_blocking_leave_))) = ouro_blocking_enter_(); \
         ouro_turn_##line##_; ouro_turn_##line##_ = 0)

#ifdef __cplusplus
}
#endif

#endif
