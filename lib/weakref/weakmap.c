/* weakref/weakmap.c: maps from keys, held weakly, to values.
 *
 * Owns        the maps' tables, and an entry (struct ouroi_weak_entry) for each slot that is not empty.
 * Invariants  a slot's entry is on the list of its key, or was taken off it by the key's death, which then found no slot in
 *             the map and left the entry to whoever had emptied that. A table is at most three quarters full, so that
 *             probing ends at an empty slot.
 * Sync        a map's lock is one of a fixed number, chosen by its address, so that fork and the check know them all. It
 *             guards the table. Who holds a shard's lock may take it, not the other way round: an entry is linked before
 *             its slot is filled and unlinked after the slot is emptied; under the shard's lock an entry that is on a list
 *             proves that its map is there still, as a map's end waits for that lock for each of its entries.
 */
#include "weakref/internal.h"

struct slot {
    ouro_object *key; /* NULL: empty */
    ouro_object *value;
    struct ouroi_weak_entry *entry;
};

struct ouro_weakmap {
    ouro_object base;
    struct slot *slots;
    size_t room, count; /* room: a power of two or 0 */
};

enum { STRIPES = 64 };

static struct {
    struct ouroi_lock lock;
} __attribute__((aligned(OUROI_CACHE_LINE))) stripes[STRIPES];

static void map_traverse(ouro_object *self, ouro_visit visit, void *arg);
static void map_clear(ouro_object *self);
static void map_destroy(ouro_object *self);
static size_t map_extra_size(const ouro_object *self);

ouro_type ouroi_weakmap_type = {
    .name = "ouro_weakmap",
    .size = sizeof(ouro_weakmap),
    .traverse = map_traverse,
    .clear = map_clear,
    .destroy = map_destroy,
    .extra_size = map_extra_size,
};

__attribute__((constructor(103))) static void maps_start(void)
{
    for (unsigned i = 0; i < STRIPES; i++)
        stripes[i].lock = (struct ouroi_lock)OUROI_LOCK_INIT(OUROI_RANK_WEAKMAP);
}

void ouroi_weakmap_fork_prepare(void)
{
    for (unsigned i = 0; i < STRIPES; i++)
        ouroi_lock_acquire_again(&stripes[i].lock);
}

void ouroi_weakmap_fork_done(bool child)
{
    for (unsigned i = 0; i < STRIPES; i++) {
        if (child)
            ouroi_lock_reset(&stripes[i].lock);
        else
            ouroi_lock_release(&stripes[i].lock);
    }
}

static struct ouroi_lock *lock_of(const ouro_weakmap *map)
{
    return &stripes[ouroi_weak_hash(map) >> 58].lock;
}

/* The table, under its lock. */

static struct slot *find_slot(const ouro_weakmap *map, const ouro_object *key)
{
    if (map->room == 0)
        return NULL;
    for (size_t i = ouroi_weak_place(key, map->room); map->slots[i].key != NULL; i = (i + 1) & (map->room - 1))
        if (map->slots[i].key == key)
            return &map->slots[i];
    return NULL;
}

static struct slot *empty_slot(struct slot *slots, size_t room, const ouro_object *key)
{
    size_t i = ouroi_weak_place(key, room);
    while (slots[i].key != NULL)
        i = (i + 1) & (room - 1);
    return &slots[i];
}

/* relaxed, both: ouro_weakmap_size and map_extra_size look without the lock */
static void set_count(ouro_weakmap *map, size_t count)
{
    ouroi_atomic_store_relaxed(&map->count, count); /* relaxed: see above */
}
static void set_room(ouro_weakmap *map, size_t room)
{
    ouroi_atomic_store_relaxed(&map->room, room); /* relaxed: see above */
}

static bool resize(ouro_weakmap *map, size_t room)
{
    struct slot *slots = ouroi_weak_alloc(room * sizeof *slots);
    if (slots == NULL)
        return false;
    for (size_t i = 0; i < map->room; i++)
        if (map->slots[i].key != NULL)
            *empty_slot(slots, room, map->slots[i].key) = map->slots[i];
    if (map->slots != NULL)
        ouroi_heap_free(map->slots);
    map->slots = slots;
    set_room(map, room);
    return true;
}

static bool insert(ouro_weakmap *map, struct slot content)
{
    if (ouroi_weak_is_full(map->count, map->room) && !resize(map, map->room == 0 ? 8 : map->room * 2))
        return false;
    *empty_slot(map->slots, map->room, content.key) = content;
    set_count(map, map->count + 1);
    return true;
}

static struct slot take_out(ouro_weakmap *map, struct slot *slot)
{
    struct slot content = *slot, *slots = map->slots;
    size_t mask = map->room - 1, hole = (size_t)(slot - slots);
    for (size_t i = (hole + 1) & mask; slots[i].key != NULL; i = (i + 1) & mask) {
        /* What would be looked for from its place on, and not found beyond the hole, moves into it. */
        if (((i - ouroi_weak_place(slots[i].key, map->room)) & mask) >= ((i - hole) & mask)) {
            slots[hole] = slots[i];
            hole = i;
        }
    }
    slots[hole] = (struct slot){ .key = NULL };
    set_count(map, map->count - 1);
    if (ouroi_weak_is_sparse(map->count, map->room))
        (void)resize(map, map->room / 2); /* no memory: it stays as large as it is */
    return content;
}

/* Entries. */

static struct ouroi_weak_entry *new_entry(ouro_weakmap *map, ouro_object *key)
{
    struct ouroi_weak_entry *entry = ouroi_weak_alloc(sizeof *entry);
    if (entry == NULL)
        return NULL;
    *entry = (struct ouroi_weak_entry){ .key = key, .to.map = map };
    struct ouroi_weak_shard *shard = ouroi_weak_shard_of(key);
    ouroi_lock_acquire(&shard->lock);
    struct ouroi_weak_target *target = ouroi_weak_place_for(shard, key);
    if (target != NULL) {
        entry->next = target->entries;
        if (entry->next != NULL)
            entry->next->previous = entry;
        target->entries = entry;
        shard->entry_count++;
    }
    ouroi_lock_release(&shard->lock);
    if (target == NULL) {
        ouroi_heap_free(entry);
        return NULL;
    }
    return entry;
}

/* Of a slot that is emptied. key: its address; it may be dead by now. */
static void free_entry(struct ouroi_weak_entry *entry, const ouro_object *key)
{
    struct ouroi_weak_shard *shard = ouroi_weak_shard_of(key);
    ouroi_lock_acquire(&shard->lock);
    if (entry->key != NULL) {
        if (entry->next != NULL)
            entry->next->previous = entry->previous;
        shard->entry_count--;
        if (entry->previous != NULL) {
            entry->previous->next = entry->next;
        } else {
            struct ouroi_weak_target *target = ouroi_weak_find(shard, key);
            OURO_ASSERT(target != NULL && target->entries == entry);
            target->entries = entry->next;
            ouroi_weak_target_settle(shard, target);
        }
    }
    ouroi_lock_release(&shard->lock);
    ouroi_heap_free(entry);
}

bool ouroi_weakmap_key_dies(struct ouroi_weak_entry *entry, bool stopped)
{
    ouro_weakmap *map = entry->to.map;
    if (!stopped)
        ouroi_lock_acquire(lock_of(map));
    struct slot *slot = find_slot(map, entry->key), content = { .key = NULL };
    bool ours = slot != NULL && slot->entry == entry;
    if (ours)
        content = take_out(map, slot);
    if (!stopped)
        ouroi_lock_release(lock_of(map));
    entry->key = NULL;
    if (ours)
        entry->to.value = content.value;
    return ours;
}

/* The map's own end, and ouro_weakmap_clear: takes all out at once; then unlinks each entry; then drops the values. */
static void map_empty(ouro_weakmap *map)
{
    ouroi_lock_acquire(lock_of(map));
    struct slot *slots = map->slots;
    size_t room = map->room;
    map->slots = NULL;
    set_room(map, 0);
    set_count(map, 0);
    ouroi_lock_release(lock_of(map));
    for (size_t i = 0; i < room; i++)
        if (slots[i].key != NULL)
            free_entry(slots[i].entry, slots[i].key);
    for (size_t i = 0; i < room; i++)
        if (slots[i].key != NULL)
            ouro_decref(slots[i].value);
    if (slots != NULL)
        ouroi_heap_free(slots);
}

static void map_clear(ouro_object *self)
{
    map_empty((ouro_weakmap *)self);
}

static void map_destroy(ouro_object *self)
{
    map_empty((ouro_weakmap *)self);
}

static size_t map_extra_size(const ouro_object *self)
{
    const ouro_weakmap *map = (const ouro_weakmap *)self;
    /* relaxed: sizes of some moment */
    return ouroi_atomic_load_relaxed(&map->room) * sizeof(struct slot) +
           ouroi_atomic_load_relaxed(&map->count) * sizeof(struct ouroi_weak_entry);
}

/* Public. */

ouro_weakmap *ouro_weakmap_new(void)
{
    return ouro_new(&ouroi_weakmap_type);
}

/* Replaces the value, if the key is there: true, and *old is what it was. */
static bool replace(ouro_weakmap *map, const ouro_object *key, ouro_object *value, ouro_object **old)
{
    struct slot *slot = find_slot(map, key);
    if (slot == NULL)
        return false;
    *old = slot->value;
    slot->value = value;
    return true;
}

/* The reference to value is given away on success. */
static int set(ouro_weakmap *map, ouro_object *key, ouro_object *value)
{
    ouro_object *old;
    ouroi_lock_acquire(lock_of(map));
    bool was_there = replace(map, key, value, &old);
    ouroi_lock_release(lock_of(map));
    if (!was_there) {
        struct ouroi_weak_entry *entry = new_entry(map, key);
        if (entry == NULL)
            return -ENOMEM;
        ouroi_lock_acquire(lock_of(map));
        was_there = replace(map, key, value, &old); /* another thread came first */
        bool stored = was_there || insert(map, (struct slot){ .key = key, .value = value, .entry = entry });
        ouroi_lock_release(lock_of(map));
        if (was_there || !stored)
            free_entry(entry, key);
        if (!stored)
            return -ENOMEM;
    }
    if (was_there)
        ouro_decref(old);
    return 0;
}

/* Whether the arguments of a call are there, and the calling thread is registered; errno. */
static bool may_enter(const void *map, const void *other)
{
    if (map == NULL || other == NULL) {
        errno = EINVAL;
        return false;
    }
    if (ouroi_weak_enter())
        return true;
    errno = ENOMEM;
    return false;
}

int ouro_weakmap_set(ouro_weakmap *map, void *key, void *value)
{
    if (!may_enter(map, key) || !may_enter(map, value))
        return -1;
    int error = ouroi_weak_is_dying(&map->base) ? -ESTALE : ouroi_weak_admit(key);
    if (error == 0) {
        ouro_incref(value);
        error = set(map, key, value);
        if (error == 0)
            return 0;
        ouro_decref(value);
    }
    errno = -error;
    return -1;
}

void *ouro_weakmap_get(ouro_weakmap *map, void *key)
{
    if (!may_enter(map, key))
        return NULL;
    ouroi_lock_acquire(lock_of(map));
    struct slot *slot = find_slot(map, key);
    void *value = slot != NULL ? ouro_newref(slot->value) : NULL;
    ouroi_lock_release(lock_of(map));
    return value;
}

bool ouro_weakmap_remove(ouro_weakmap *map, void *key)
{
    if (!may_enter(map, key))
        return false;
    struct slot content = { .key = NULL };
    ouroi_lock_acquire(lock_of(map));
    struct slot *slot = find_slot(map, key);
    if (slot != NULL)
        content = take_out(map, slot);
    ouroi_lock_release(lock_of(map));
    if (content.key == NULL)
        return false;
    free_entry(content.entry, key);
    ouro_decref(content.value);
    return true;
}

size_t ouro_weakmap_size(const ouro_weakmap *map)
{
    return may_enter(map, map) ? ouroi_atomic_load_relaxed(&map->count) : 0; /* relaxed: a number of some moment */
}

void ouro_weakmap_clear(ouro_weakmap *map)
{
    if (may_enter(map, map))
        map_empty(map);
}

struct pair {
    ouro_object *key, *value;
};

/* Strong references to what is in the map, into *pairs. The number, or -ENOMEM. */
static long snapshot(ouro_weakmap *map, struct pair **pairs)
{
    *pairs = NULL;
    for (size_t room = 0;;) {
        size_t count = 0;
        ouroi_lock_acquire(lock_of(map));
        size_t wanted = map->count;
        for (size_t i = 0; wanted <= room && i < map->room; i++) {
            struct slot *slot = &map->slots[i];
            /* A key that is dying is in the map until its death comes here for our lock: its memory is there. */
            if (slot->key != NULL && ouroi_object_try_incref(slot->key))
                (*pairs)[count++] = (struct pair){ slot->key, ouro_newref(slot->value) };
        }
        ouroi_lock_release(lock_of(map));
        if (wanted <= room)
            return (long)count;
        if (*pairs != NULL)
            ouroi_heap_free(*pairs);
        room = wanted + wanted / 8;
        *pairs = ouroi_weak_alloc(room * sizeof **pairs);
        if (*pairs == NULL)
            return -ENOMEM;
    }
}

size_t ouro_weakmap_each(ouro_weakmap *map, bool (*fn)(void *key, void *value, void *arg), void *arg)
{
    if (fn == NULL || !may_enter(map, map)) {
        errno = fn == NULL ? EINVAL : errno;
        return 0;
    }
    ouro_safepoint();
    struct pair *pairs;
    long count = snapshot(map, &pairs);
    if (count < 0) {
        errno = ENOMEM;
        return 0;
    }
    size_t calls = 0;
    bool go_on = true;
    for (long i = 0; i < count; i++) {
        if (go_on) {
            go_on = fn(pairs[i].key, pairs[i].value, arg);
            calls++;
        }
        ouro_decref(pairs[i].key);
        ouro_decref(pairs[i].value);
    }
    if (pairs != NULL)
        ouroi_heap_free(pairs);
    return calls;
}

/* For the collector. */

static void map_traverse(ouro_object *self, ouro_visit visit, void *arg)
{
    const ouro_weakmap *map = (const ouro_weakmap *)self;
    for (size_t i = 0; i < map->room; i++)
        if (map->slots[i].key != NULL)
            visit(map->slots[i].value, arg);
}

size_t ouroi_weakmap_room(const ouro_object *map)
{
    return ((const ouro_weakmap *)map)->room;
}

void ouroi_weakmap_entries(const ouro_object *self, size_t from, size_t to, ouroi_weakmap_visit visit, void *arg)
{
    const ouro_weakmap *map = (const ouro_weakmap *)self;
    for (size_t i = from; i < to; i++)
        if (map->slots[i].key != NULL)
            visit(map->slots[i].key, map->slots[i].value, arg);
}

ouro_object *ouroi_weakmap_value(const struct ouroi_weak_entry *entry)
{
    const struct slot *slot = find_slot(entry->to.map, entry->key);
    return slot != NULL ? slot->value : NULL;
}

unsigned ouroi_weakmap_check(const struct ouroi_weak_entry *entry)
{
    const ouro_weakmap *map = entry->to.map;
    size_t i = 0, count = 0;
    while (i < map->room && map->slots[i].key == NULL)
        i++;
    /* An entry that is not in its map is being put in or taken out. */
    if (i == map->room || map->slots[i].entry != entry)
        return 0;
    unsigned bad = 0;
    for (; i < map->room; i++) {
        const struct slot *slot = &map->slots[i];
        if (slot->key == NULL)
            continue;
        count++;
        bad += ouroi_weak_expect(find_slot(map, slot->key) == slot, "a slot in the wrong place", map);
        bad += ouroi_weak_expect(slot->entry->key == slot->key && slot->entry->to.map == map,
                                 "a slot with a wrong entry", map);
        bad += ouroi_weak_expect(slot->value != NULL, "a slot without a value", map);
    }
    return bad + ouroi_weak_expect(count == map->count, "the count of a map", map);
}
