/* kvserver/db.c: the keys: shards, each a table of entries and a ring of them by age.
 *
 * Invariants  an entry is in the chain of its bucket and in its shard's ring, or in neither. The ring is a cycle, and so is
 *             every entry with its neighbour: db_clear lets go of all that at once, and the collector finds it.
 * Sync        a shard's lock, taken by kv_lock: who holds it makes objects, and a collection may run meanwhile.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "kv.h"
#include "table.h"

enum { SHARDS = 64, FIRST_BUCKETS = 16, EXPIRE_LOOKS = 20, MOVE_MS = 250, EVICTED_AT_ONCE = 4 };

struct buckets {
    ouro_object base;
    size_t room; /* a power of two */
    struct entry *at[];
};

static ouro_type entry_type = OURO_TYPE(struct entry, OURO_REFS(struct entry, chained, newer, older, key, value));
static ouro_type buckets_type = OURO_TYPE_SIZED(struct buckets, offsetof(struct buckets, at),
                                                .item_size = sizeof(struct entry *), .items_are_refs = true);
static ouro_type shard_type = OURO_TYPE(struct shard, OURO_REFS(struct shard, ring, table));

static struct shard *shards[SHARDS]; /* counted, not traced: roots */
struct db_counters db_counters;

int64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME_COARSE, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* An empty ring: one entry of no key, linked to itself. */
static struct entry *ring_new(void)
{
    struct entry *ring = ouro_new(&entry_type);
    if (ring != NULL) {
        ring->newer = ouro_newref(ring);
        ring->older = ouro_newref(ring);
    }
    return ring;
}

static struct buckets *buckets_new(size_t room)
{
    struct buckets *table = ouro_new_items(&buckets_type, room);
    if (table != NULL)
        table->room = room;
    return table;
}

bool db_start(void)
{
    if (getrandom(&table_seed, sizeof table_seed, 0) != (ssize_t)sizeof table_seed)
        return false;
    for (size_t i = 0; i < SHARDS; i++) {
        struct shard *shard = ouro_new(&shard_type);
        if (shard == NULL || (shard->ring = ring_new()) == NULL || (shard->table = buckets_new(FIRST_BUCKETS)) == NULL)
            return false;
        pthread_mutex_init(&shard->lock, NULL);
        shards[i] = shard;
    }
    return true;
}

struct shard *db_lock(const struct string *key, uint64_t *hash)
{
    *hash = string_hash(key);
    struct shard *shard = shards[*hash >> 58]; /* 64 of them */
    kv_lock(&shard->lock);
    return shard;
}

void db_unlock(struct shard *shard)
{
    pthread_mutex_unlock(&shard->lock);
}

/* ---- the ring ---- */

static void ring_leave(struct entry *entry)
{
    OURO_SETREF(entry->newer->older, ouro_newref(entry->older));
    OURO_SETREF(entry->older->newer, ouro_newref(entry->newer));
}

static void ring_enter(struct entry *ring, struct entry *entry)
{
    OURO_SETREF(entry->newer, ouro_newref(ring));
    OURO_SETREF(entry->older, ouro_newref(ring->older));
    OURO_SETREF(ring->older->newer, ouro_newref(entry));
    OURO_SETREF(ring->older, ouro_newref(entry));
}

/* ---- entries ---- */

static struct entry **bucket_of(const struct shard *shard, uint64_t hash)
{
    return &shard->table->at[hash & (shard->table->room - 1)];
}

struct entry *db_find(struct shard *shard, const struct string *key, uint64_t hash, int64_t now)
{
    struct entry *entry = *bucket_of(shard, hash);
    while (entry != NULL && (entry->hash != hash || !string_equal(entry->key, key)))
        entry = entry->chained;
    if (entry == NULL)
        return NULL;
    if (entry->expires_ms != 0 && entry->expires_ms <= now) {
        db_remove(shard, entry);
        atomic_fetch_add_explicit(&db_counters.expired, 1, memory_order_relaxed);
        return NULL;
    }
    if (now - entry->moved_ms >= MOVE_MS) { /* not at each use: its neighbours are seldom in the cache */
        ring_leave(entry);
        ring_enter(shard->ring, entry);
        entry->moved_ms = now;
    }
    return entry;
}

/* A chain an entry, on average. */
static bool shard_grow(struct shard *shard)
{
    struct buckets *old = shard->table, *grown = buckets_new(2 * old->room);
    if (grown == NULL)
        return false;
    for (size_t i = 0; i < old->room; i++)
        for (struct entry *entry = OURO_MOVE(old->at[i]), *next; entry != NULL; entry = next) {
            struct entry **to = &grown->at[entry->hash & (grown->room - 1)];
            next = entry->chained; /* references move */
            entry->chained = *to;
            *to = entry;
        }
    OURO_SETREF(shard->table, grown);
    return true;
}

struct entry *db_add(struct shard *shard, struct string *key, uint64_t hash, ouro_object *value, int64_t now)
{
    if (shard->count >= shard->table->room && !shard_grow(shard))
        return NULL;
    struct entry *entry = ouro_new(&entry_type);
    if (entry == NULL)
        return NULL;
    entry->key = ouro_newref(key);
    entry->value = ouro_newref(value);
    entry->hash = hash;
    entry->moved_ms = now;
    struct entry **bucket = bucket_of(shard, hash);
    entry->chained = *bucket;
    *bucket = entry; /* our reference moves into the table */
    ring_enter(shard->ring, entry);
    shard->count++;
    return entry;
}

void db_remove(struct shard *shard, struct entry *entry)
{
    struct entry **at = bucket_of(shard, entry->hash);
    while (*at != entry)
        at = &(*at)->chained;
    *at = OURO_MOVE(entry->chained); /* the table's reference is ours now */
    ring_leave(entry);
    OURO_CLEAR(entry->newer);
    OURO_CLEAR(entry->older);
    shard->count--;
    ouro_decref(entry);
}

/* ---- all shards ---- */

size_t db_size(void)
{
    size_t count = 0;
    for (size_t i = 0; i < SHARDS; i++) {
        kv_lock(&shards[i]->lock);
        count += shards[i]->count;
        db_unlock(shards[i]);
    }
    return count;
}

/* What counts cannot free has to be taken apart: what a server without a collector does. */
static void take_apart(struct entry *ring)
{
#ifdef KV_ATOMIC_COUNTS
    while (ring->older != ring) {
        struct entry *entry = ouro_newref(ring->older);
        ring_leave(entry);
        OURO_CLEAR(entry->newer);
        OURO_CLEAR(entry->older);
        ouro_decref(entry);
    }
    OURO_CLEAR(ring->newer);
    OURO_CLEAR(ring->older);
#else
    (void)ring;
#endif
}

bool db_clear(void)
{
    for (size_t i = 0; i < SHARDS; i++) {
        struct shard *shard = shards[i];
        struct entry *ring = ring_new();
        struct buckets *table = buckets_new(FIRST_BUCKETS);
        if (ring == NULL || table == NULL) {
            ouro_xdecref(ring);
            ouro_xdecref(table);
            return false;
        }
        kv_lock(&shard->lock);
        struct entry *old_ring = shard->ring;
        struct buckets *old_table = shard->table;
        shard->ring = ring;
        shard->table = table;
        shard->count = 0;
        db_unlock(shard);
        take_apart(old_ring);
        ouro_decref(old_ring); /* a cycle of all that was there */
        ouro_decref(old_table);
    }
    return true;
}

void db_keys(void (*fn)(struct string *key, void *arg), void *arg)
{
    for (size_t i = 0; i < SHARDS; i++) {
        kv_lock(&shards[i]->lock);
        for (struct entry *entry = shards[i]->ring->older; entry != shards[i]->ring; entry = entry->older)
            fn(entry->key, arg);
        db_unlock(shards[i]);
    }
}

void db_expire_some(int64_t now)
{
    static _Atomic size_t turn;
    size_t at = atomic_fetch_add_explicit(&turn, 1, memory_order_relaxed);
    struct shard *shard = shards[at % SHARDS];
    kv_lock(&shard->lock);
    for (size_t i = 0; i < EXPIRE_LOOKS; i++) {
        struct entry *entry = shard->table->at[(at / SHARDS * EXPIRE_LOOKS + i) & (shard->table->room - 1)];
        while (entry != NULL && (entry->expires_ms == 0 || entry->expires_ms > now))
            entry = entry->chained;
        if (entry != NULL) {
            db_remove(shard, entry);
            atomic_fetch_add_explicit(&db_counters.expired, 1, memory_order_relaxed);
        }
    }
    db_unlock(shard);
}

static size_t entry_bytes(const struct entry *entry)
{
    size_t bytes = ouro_block_size(entry) + ouro_block_size(entry->key) + ouro_block_size(entry->value);
    if (ouro_typeof(entry->value) == &list_type)
        bytes += ((const struct list *)(const void *)entry->value)->count * 48;
    else if (ouro_typeof(entry->value) == &hash_type)
        bytes += ((const struct hash *)(const void *)entry->value)->count * 96;
    else if (ouro_typeof(entry->value) == &zset_type)
        bytes += ((const struct zset *)(const void *)entry->value)->count * 144;
    return bytes;
}

/* The shards in turn, going on where the last call ended: none loses more than the others. */
void db_evict(size_t bytes)
{
    static _Atomic size_t turn;
    size_t freed = 0;
    for (size_t empty = 0; empty < SHARDS && freed < bytes;) {
        struct shard *shard = shards[atomic_fetch_add_explicit(&turn, 1, memory_order_relaxed) % SHARDS];
        kv_lock(&shard->lock);
        empty = shard->count == 0 ? empty + 1 : 0;
        for (unsigned n = 0; n < EVICTED_AT_ONCE && shard->ring->newer != shard->ring; n++) {
            freed += entry_bytes(shard->ring->newer);
            db_remove(shard, shard->ring->newer);
            atomic_fetch_add_explicit(&db_counters.evicted, 1, memory_order_relaxed);
        }
        db_unlock(shard);
    }
}
