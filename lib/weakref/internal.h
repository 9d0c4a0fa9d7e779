/* weakref/internal.h: what the files of this layer share: the table of targets.
 *
 * A target is an object with a list of weak references, newest first, or a list of entries in maps. Targets are spread over
 * shards by address; a shard is an open table with linear probing, whose holes are closed at a removal.
 *
 * Sync        the shard's lock (rank WEAK) guards the shard, both lists of its targets, the links in weak references and
 *             entries, and is held where a weak reference's target becomes NULL.
 */
#ifndef OUROI_WEAKREF_INTERNAL_H
#define OUROI_WEAKREF_INTERNAL_H

#include <errno.h>

#include "heap/heap_inl.h"
#include "weakref/weakref.h"

struct ouro_weakref {
    ouro_object base;
    ouro_object *target; /* [WEAK-TARGET]; NULL for good when it died */
    ouro_weakref *next;  /* on the target's list; then on a list of callbacks to be called */
    ouro_weakref *previous;
    ouro_weakref_callback callback;
    void *arg;
    void (*free_arg)(void *arg);
};

/* Says that a key is in a map. It belongs to the map's slot, and is freed by who empties that. */
struct ouroi_weak_entry {
    struct ouroi_weak_entry *next, *previous;
    ouro_object *key; /* NULL: on no list, and soon freed */
    union {
        ouro_weakmap *map;  /* on a list */
        ouro_object *value; /* taken off by the death of the key: to be dropped */
    } to;
};

struct ouroi_weak_target {
    ouro_object *object; /* NULL: an empty place */
    ouro_weakref *refs;
    struct ouroi_weak_entry *entries;
};

struct ouroi_weak_shard {
    struct ouroi_lock lock;
    size_t room, count; /* places, a power of two or 0; targets */
    size_t entry_count; /* on the lists of its targets */
    struct ouroi_weak_target *targets;
} __attribute__((aligned(OUROI_CACHE_LINE)));

#define OUROI_WEAK_SHARDS 64u
extern OUROI_HIDDEN struct ouroi_weak_shard ouroi_weak_shards[OUROI_WEAK_SHARDS];

/* All memory but the objects themselves, zero; NULL: there is none. Tests make it fail. */
extern OUROI_HIDDEN void *(*ouroi_weak_alloc)(size_t size);

/* An address, multiplied so that the upper bits depend on all of it (Knuth's multiplicative hashing). Bits 63..58 choose the
 * shard or the stripe of locks, those from 57 down the place in a table. */
OUROI_INLINE uint64_t ouroi_weak_hash(const void *address)
{
    return (uint64_t)((uintptr_t)address >> 4) * 0x9e3779b97f4a7c15u;
}
/* The place in a table of `room` places, a power of two from 2 on. */
OUROI_INLINE size_t ouroi_weak_place(const void *address, size_t room)
{
    return (size_t)(ouroi_weak_hash(address) << 6 >> (64 - ouroi_log2(room)));
}
/* Whether a table of `room` places has to grow before it takes one more than `count`; whether it has far too many. */
OUROI_INLINE bool ouroi_weak_is_full(size_t count, size_t room)
{
    return count >= room - room / 4;
}
OUROI_INLINE bool ouroi_weak_is_sparse(size_t count, size_t room)
{
    return room > 16 && count < room / 8;
}

OUROI_INLINE struct ouroi_weak_shard *ouroi_weak_shard_of(const void *object)
{
    return &ouroi_weak_shards[ouroi_weak_hash(object) >> 58];
}
/* NULL: nothing refers to it weakly. The shard is locked or the world stopped, here and below. */
struct ouroi_weak_target *ouroi_weak_find(struct ouroi_weak_shard *shard, const ouro_object *object);
/* Finds it or puts it in, with empty lists; NULL: no memory. */
struct ouroi_weak_target *ouroi_weak_place_for(struct ouroi_weak_shard *shard, ouro_object *object);
/* Takes it out, if both lists are empty. What points into the table is not valid any more. */
void ouroi_weak_target_settle(struct ouroi_weak_shard *shard, struct ouroi_weak_target *target);

/* Clears all weak references to the target, takes it out of maps and out of the table, and adds what is to be done to
 * *death. batch: the world is stopped, and weak references that are garbage are not called back; NULL: it runs. */
void ouroi_weak_detach(struct ouroi_weak_shard *shard, struct ouroi_weak_target *target,
                       const struct ouroi_weak_batch *batch, struct ouroi_weak_death *death);
void ouroi_weak_call_back(ouro_weakref *first);
void ouroi_weak_drop_values(struct ouroi_weak_entry *first, void (*drop)(ouro_object *value, void *arg), void *arg);
/* Whether the callback of `ref` is not to be called. */
bool ouroi_weak_is_garbage(const struct ouroi_weak_batch *batch, const ouro_weakref *ref);

/* weakmap.c. The key of an entry dies: takes the entry out of its map. True: the caller frees it, and drops the value, which is
 * in entry->to. False: somebody else has taken it out of the map and frees it. The shard is locked; stopped: the world is. */
bool ouroi_weakmap_key_dies(struct ouroi_weak_entry *entry, bool stopped);
/* The value under the entry's key in its map, NULL: it was taken out. The world is stopped. */
ouro_object *ouroi_weakmap_value(const struct ouroi_weak_entry *entry);
/* Violations in the entry's map, which is looked at for the first of its entries only. The world is stopped. */
unsigned ouroi_weakmap_check(const struct ouroi_weak_entry *entry);
void ouroi_weakmap_fork_prepare(void);
void ouroi_weakmap_fork_done(bool child);
/* 0, or 1 and a line. */
unsigned ouroi_weak_expect(bool is, const char *what, const void *object);

/* Registers the calling thread if need be. False: no memory; errno is set. */
OUROI_INLINE bool ouroi_weak_enter(void)
{
    return OUROI_LIKELY(ouroi_thread_self != NULL) || ouroi_thread_get() != NULL;
}

OUROI_INLINE bool ouroi_weak_is_dying(const ouro_object *object)
{
    /* relaxed: the caller holds a reference, or is part of the destruction */
    return (ouroi_atomic_load_relaxed(&object->ouro_shared_) & OURO_FLAG_DYING_) != 0;
}

/* 0 and SEEN is set; or -ESTALE: it is being destroyed. */
OUROI_INLINE int ouroi_weak_admit(ouro_object *object)
{
    if (OUROI_UNLIKELY(ouroi_weak_is_dying(object)))
        return -ESTALE;
    if ((ouroi_atomic_load_relaxed(&object->ouro_shared_) & OURO_FLAG_SEEN_) == 0) /* relaxed: it is never taken off */
        ouroi_object_set_seen(object);
    return 0;
}

#endif
