/* ouro/weakref.h: references that do not keep their object alive. */
#ifndef OURO_WEAKREF_H
#define OURO_WEAKREF_H

#include <ouro/object.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A weak reference is an object itself, untracked; its own references are counted. */
typedef struct ouro_weakref ouro_weakref;

/* Called once, after its object died and every weak reference to it was cleared, by the thread that freed the object; of
 * several the one made last first. ref: borrowed. */
typedef void (*ouro_weakref_callback)(ouro_weakref *ref, void *arg);

/* A weak reference to obj, a new reference to it. Without callback, where obj has such a one already, that one.
 * Dropping it before obj dies cancels the callback. A safepoint.
 * Errors: NULL; ENOMEM; EINVAL: obj is NULL or a weak reference; ESTALE: obj is being destroyed. */
OURO_ATTR_EXPORT ouro_weakref *ouro_weakref_new(void *obj, ouro_weakref_callback callback, void *arg);

/* The same; free_arg(arg) when the weak reference dies; not on failure. */
OURO_ATTR_EXPORT ouro_weakref *ouro_weakref_new_full(void *obj, ouro_weakref_callback callback, void *arg,
                                                     void (*free_arg)(void *));

/* A new strong reference to the object, or NULL once it died. */
OURO_ATTR_EXPORT void *ouro_weakref_get(ouro_weakref *ref);

/* Weak references to obj that live. */
OURO_ATTR_EXPORT size_t ouro_weakref_count(const void *obj);

/* A map from keys, by identity and held weakly, to values, held strongly; an object, tracked. An ephemeron table (Hayes
 * 1997): a value does not keep its own key alive. An entry is gone as soon as weak references to its key are cleared. Any
 * thread may use it at any time. */
typedef struct ouro_weakmap ouro_weakmap;

/* An empty map. A safepoint. Errors: NULL and ENOMEM. */
OURO_ATTR_EXPORT ouro_weakmap *ouro_weakmap_new(void);

/* Stores value under key, taking a reference to it; drops what was there. 0, or -1: ENOMEM; EINVAL: a NULL; ESTALE: the
 * key is being destroyed. O(1), amortized. */
OURO_ATTR_EXPORT int ouro_weakmap_set(ouro_weakmap *map, void *key, void *value);

/* A new reference to the value, or NULL (EINVAL for a NULL key). */
OURO_ATTR_EXPORT void *ouro_weakmap_get(ouro_weakmap *map, void *key);

/* Drops the entry; whether there was one. */
OURO_ATTR_EXPORT bool ouro_weakmap_remove(ouro_weakmap *map, void *key);

/* Entries whose keys live. */
OURO_ATTR_EXPORT size_t ouro_weakmap_size(const ouro_weakmap *map);

/* Calls fn with strong references, borrowed for the call, to each key and value that were there at the start, until it
 * returns false. fn may do anything with the map. Returns the calls made. A safepoint. */
OURO_ATTR_EXPORT size_t ouro_weakmap_each(ouro_weakmap *map, bool (*fn)(void *key, void *value, void *arg), void *arg);

OURO_ATTR_EXPORT void ouro_weakmap_clear(ouro_weakmap *map);

#ifdef __cplusplus
}
#endif

#endif
