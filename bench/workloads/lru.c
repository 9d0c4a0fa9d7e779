/* workloads/lru.c: a cache of values with log-normal sizes and a budget of bytes, as in front of a database.
 *
 * Owns        shards, each a hash table with chains and a list from the newest to the oldest; entry, key and value are blocks.
 * Invariants  every entry is on one chain and on the list; the bytes of a shard's values do not exceed its budget.
 * Sync        a mutex a shard; with several threads most values are freed by another thread than made them.
 * Source      none
 */
#include "loads.h"
#include "sizes.h"
#include "stamp.h"

#include <pthread.h>

enum { LRU_BUCKETS = 1 << 14, LRU_SHARDS = 16, LRU_KEYS = 200000, LRU_BUDGET_BYTES = 2 << 20 };

struct lru_entry {
    struct lru_entry *chain;
    struct lru_entry *newer;
    struct lru_entry *older;
    char *key;
    void *value;
    uint32_t id;
};

struct lru_shard {
    pthread_mutex_t lock;
    size_t bytes;
    struct lru_entry *newest;
    struct lru_entry *oldest;
    struct lru_entry *buckets[LRU_BUCKETS / LRU_SHARDS];
};

struct lru {
    struct ouroi_sizes sizes;
    struct lru_shard *shards;
};

static struct lru_entry **lru_bucket(struct lru_shard *shard, uint32_t id)
{
    return &shard->buckets[(id / LRU_SHARDS) % (LRU_BUCKETS / LRU_SHARDS)];
}

static void lru_unlink(struct lru_shard *shard, struct lru_entry *entry)
{
    *(entry->newer != NULL ? &entry->newer->older : &shard->newest) = entry->older;
    *(entry->older != NULL ? &entry->older->newer : &shard->oldest) = entry->newer;
}

static void lru_link(struct lru_shard *shard, struct lru_entry *entry)
{
    entry->newer = NULL;
    entry->older = shard->newest;
    *(shard->newest != NULL ? &shard->newest->newer : &shard->oldest) = entry;
    shard->newest = entry;
}

static void lru_evict(struct lru_shard *shard)
{
    struct lru_entry *entry = shard->oldest;
    struct lru_entry **chain = lru_bucket(shard, entry->id);
    while (*chain != entry)
        chain = &(*chain)->chain;
    *chain = entry->chain;
    lru_unlink(shard, entry);
    size_t size = ouroi_stamp_check(entry->value);
    shard->bytes -= size;
    free(entry->value);
    free(entry->key);
    free(entry);
}

/* A key's text: "user:<id>:profile", as long as such keys are. */
static char *lru_key_new(uint32_t id)
{
    char digits[12];
    size_t count = 0;
    for (uint32_t rest = id; count == 0 || rest > 0; rest /= 10)
        digits[count++] = (char)('0' + rest % 10);
    char *key = ouroi_must(malloc(5 + count + 8 + 1));
    memcpy(key, "user:", 5);
    for (size_t i = 0; i < count; i++)
        key[5 + i] = digits[count - 1 - i];
    memcpy(key + 5 + count, ":profile", 9);
    return key;
}

static void lru_insert(struct lru_shard *shard, uint32_t id, uint32_t size)
{
    struct lru_entry *entry = ouroi_must(malloc(sizeof *entry));
    struct lru_entry **chain = lru_bucket(shard, id);
    entry->id = id;
    entry->key = lru_key_new(id);
    entry->value = ouroi_stamp_malloc(size);
    entry->chain = *chain;
    *chain = entry;
    lru_link(shard, entry);
    shard->bytes += size;
    while (shard->bytes > LRU_BUDGET_BYTES && shard->oldest != entry)
        lru_evict(shard);
}

static void lru_get(struct lru_shard *shard, uint32_t id, uint32_t size)
{
    struct lru_entry *entry = *lru_bucket(shard, id);
    while (entry != NULL && entry->id != id)
        entry = entry->chain;
    if (entry == NULL) {
        lru_insert(shard, id, size);
        return;
    }
    if (entry->key[0] != 'u')
        ouroi_bench_die("the key of entry %u was overwritten", (unsigned)id);
    lru_unlink(shard, entry);
    lru_link(shard, entry);
}

/* Low ids are asked for more often: the density falls with the square root of the id. */
static void lru_work(struct lru *lru, uint64_t seed, uint64_t ops)
{
    struct ouroi_rand rand = ouroi_rand_seed(seed);
    for (uint64_t i = 0; i < ops; i++) {
        double unit = ouroi_rand_unit(&rand);
        uint32_t id = (uint32_t)(unit * unit * LRU_KEYS);
        struct lru_shard *shard = &lru->shards[id % LRU_SHARDS];
        pthread_mutex_lock(&shard->lock);
        lru_get(shard, id, ouroi_sizes_draw(&lru->sizes, &rand));
        pthread_mutex_unlock(&shard->lock);
    }
}

static struct lru *lru_new(const struct ouroi_job *job)
{
    struct lru *lru = ouroi_must(malloc(sizeof *lru));
    ouroi_sizes_lognormal(&lru->sizes, job->seed, 300, 1.3, 16, 256 << 10);
    lru->shards = ouroi_must(calloc(LRU_SHARDS, sizeof *lru->shards));
    for (size_t i = 0; i < LRU_SHARDS; i++)
        pthread_mutex_init(&lru->shards[i].lock, NULL);
    return lru;
}

static void lru_free(struct lru *lru)
{
    for (size_t i = 0; i < LRU_SHARDS; i++) {
        while (lru->shards[i].oldest != NULL)
            lru_evict(&lru->shards[i]);
        pthread_mutex_destroy(&lru->shards[i].lock);
    }
    free(lru->shards);
    free(lru);
}

void ouroi_lru_run(const struct ouroi_job *job)
{
    struct lru *lru = lru_new(job);
    lru_work(lru, job->seed, job->ops);
    lru_free(lru);
}

static void lru_member(struct ouroi_member *member)
{
    lru_work(member->shared, member->seed, member->ops);
}

void ouroi_lru_mt_run(const struct ouroi_job *job)
{
    struct lru *lru = lru_new(job);
    ouroi_team_run(job, job->threads, job->ops, lru_member, lru);
    lru_free(lru);
}
