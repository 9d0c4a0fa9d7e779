/* ouro/gc.h: the collector of cycles: what Python's gc module is to Python (3.14, the build with the lock), unless a line
 * here says otherwise.
 *
 * A parallel stop-the-world collector of three generations. It frees objects that only each other's references keep alive.
 * Objects of types with refs, items that are refs or traverse are tracked from birth. A collection finds what is
 * unreachable with the world stopped; then, with the world running and in this order: finalizers, each object's once; a
 * second look, if there were any, at what they brought back; weak references to what dies cleared; their callbacks; clear,
 * destroy, free.
 */
#ifndef OURO_GC_H
#define OURO_GC_H

#include <ouro/object.h>

#ifdef __cplusplus
extern "C" {
#endif

#define OURO_GC_GENERATIONS 3
#define OURO_GC_FROZEN 3
#define OURO_GC_UNTRACKED (-1)

/* Whether collections come by themselves. Default: on, unless OURO_GC_DISABLE is set. */
OURO_ATTR_EXPORT void ouro_gc_enable(void);
OURO_ATTR_EXPORT void ouro_gc_disable(void);
OURO_ATTR_EXPORT bool ouro_gc_is_enabled(void);

/* Collects `generation` (0..2) and those younger. Returns the unreachable objects found, freed or uncollectable, less those
 * that finalizers brought back; 0 inside a finalizer or callback that a collection of this thread runs; -1 with EINVAL
 * (generation), ENOMEM (nothing was done), EPERM (in a blocking region). Waits its turn. Registers the thread. */
OURO_ATTR_EXPORT long ouro_gc_collect(int generation);

/* Generation 0 is collected when allocations less frees of tracked objects pass threshold[0], 1 after more than threshold[1]
 * collections of 0, 2 after more than threshold[2] of 1 and if what came to the oldest since its last collection is over a
 * quarter of it. threshold[0] 0: never. NULL: the defaults, which adapt. Returns 0. */
OURO_ATTR_EXPORT int ouro_gc_set_threshold(const size_t threshold[3]);
OURO_ATTR_EXPORT void ouro_gc_get_threshold(size_t threshold[3]);
OURO_ATTR_EXPORT void ouro_gc_get_count(size_t count[3]);

typedef struct {
    uint64_t collections, collected, uncollectable;
    uint64_t pause_ns_total, pause_ns_max;
} ouro_gc_stats;
OURO_ATTR_EXPORT void ouro_gc_get_stats(ouro_gc_stats stats[3]);

/* Threads that a collection may use, the caller among them. 0: from the machine. Up to 1024, else -1 and EINVAL. */
OURO_ATTR_EXPORT int ouro_gc_set_workers(unsigned workers);
OURO_ATTR_EXPORT unsigned ouro_gc_get_workers(void);

/* Moves all tracked objects to where no collection looks, and back, into the oldest generation. */
OURO_ATTR_EXPORT void ouro_gc_freeze(void);
OURO_ATTR_EXPORT void ouro_gc_unfreeze(void);
OURO_ATTR_EXPORT size_t ouro_gc_get_freeze_count(void);

OURO_ATTR_EXPORT bool ouro_gc_is_tracked(const void *obj);
OURO_ATTR_EXPORT void ouro_gc_track(void *obj);
OURO_ATTR_EXPORT void ouro_gc_untrack(void *obj);
OURO_ATTR_EXPORT bool ouro_gc_is_finalized(const void *obj);
/* 0..2, OURO_GC_FROZEN, OURO_GC_UNTRACKED. */
OURO_ATTR_EXPORT int ouro_gc_generation_of(const void *obj);

/* Walks. Strong references to what is found are taken with the world stopped, then fn is called with the world running,
 * each object borrowed for the call, until fn returns false. Return the calls made; fn NULL: counts only. Errors: 0 and
 * ENOMEM, EINVAL (generation: 0..2, or -1 for all). Safepoints. */
typedef bool (*ouro_gc_object_fn)(ouro_object *obj, void *arg);
OURO_ATTR_EXPORT size_t ouro_gc_get_objects(int generation, ouro_gc_object_fn fn, void *arg);
OURO_ATTR_EXPORT size_t ouro_gc_get_referrers(void *obj, ouro_gc_object_fn fn, void *arg);
OURO_ATTR_EXPORT size_t ouro_gc_get_referents(void *obj, ouro_gc_object_fn fn, void *arg);

enum {
    OURO_GC_DEBUG_STATS = 1,
    OURO_GC_DEBUG_COLLECTABLE = 2,
    OURO_GC_DEBUG_UNCOLLECTABLE = 4,
    OURO_GC_DEBUG_SAVEALL = 32,
    OURO_GC_DEBUG_LEAK = 2 | 4 | 32,
};
OURO_ATTR_EXPORT void ouro_gc_set_debug(unsigned flags);
OURO_ATTR_EXPORT unsigned ouro_gc_get_debug(void);

/* Uncollectable objects, and with SAVEALL all that was found. get: a new reference, or NULL and EINVAL past the end. */
OURO_ATTR_EXPORT size_t ouro_gc_garbage_count(void);
OURO_ATTR_EXPORT void *ouro_gc_garbage_get(size_t index);
OURO_ATTR_EXPORT void ouro_gc_garbage_clear(void);

typedef struct {
    int generation;
    size_t candidates;
    uint64_t collected, uncollectable;
    uint64_t pause_ns;
    unsigned workers;
} ouro_gc_info;
typedef enum { OURO_GC_START, OURO_GC_STOP } ouro_gc_phase;
typedef void (*ouro_gc_callback)(ouro_gc_phase phase, const ouro_gc_info *info, void *arg);
/* Called before and after each collection, world running, on the collecting thread. add: 0, or -1: EINVAL, ENOMEM.
 * remove: the first of the same function and arg; 0, or -1 and ENOENT. */
OURO_ATTR_EXPORT int ouro_gc_callback_add(ouro_gc_callback callback, void *arg);
OURO_ATTR_EXPORT int ouro_gc_callback_remove(ouro_gc_callback callback, void *arg);

/* Finalizers and weak reference callbacks that a collection runs go to one thread of their own. Returns 0, or -1. */
OURO_ATTR_EXPORT int ouro_gc_set_finalizer_thread(bool on);

/* Writes the object graph, for `ouro graph`: types, sizes, counts, references (docs/formats.md). It is gathered with the world
 * stopped, for some 25 ns an object and worker, and written with the world running; memory: some 15 bytes an object.
 * Returns 0, or -1: errno of write(2), ENOMEM (nothing was written), EPERM (in a blocking region). A safepoint. */
OURO_ATTR_EXPORT int ouro_gc_dump_graph(int fd);

#ifdef __cplusplus
}
#endif

#endif
