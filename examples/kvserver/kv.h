/* kvserver/kv.h: an in-memory server that speaks enough of the Redis protocol (RESP2) for redis-cli and redis-benchmark.
 *
 * An example of a multithreaded server whose data are counted objects with cycles between them:
 *
 *     value.c     strings, hashes, lists, sorted sets: the types and their maps of references
 *     db.c        keys: shards, each a table and a ring of entries by age, under one lock
 *     resp.c      parsing requests, writing replies
 *     client.c    connections, and the loop of a thread that serves them
 *     pubsub.c    channels and subscriptions
 *     commands.c  what is said and done for each command
 *     info.c      INFO, and /metrics for Prometheus
 *
 * Three rules make it work with a collector that stops the world:
 *
 *   1. Who waits, waits in a blocking region: epoll_wait, and locks under which others make objects (kv_lock).
 *   2. Descriptors and buffers are given back when it is known that they are not needed, not when the collector comes by.
 *   3. A reference in a struct that is no object is a root: counted, not traced. Cycles go through objects only.
 *
 * Compiled with -DKV_ATOMIC_COUNTS the same server counts as std::shared_ptr does and has no collector, to compare.
 */
#ifndef KV_H
#define KV_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <ouro/ouro.h>

#ifdef KV_ATOMIC_COUNTS
#include "atomic_counts.h"
#endif

/* ---- value.c ---- */

/* Bytes. Never changed once made, so that they can be sent with no lock held. Refers to nothing: not tracked. */
struct string {
    ouro_object base;
    size_t length;
    char bytes[];
};

/* Fields and values, each two neighbouring references in an open-addressed table. */
struct hash {
    ouro_object base;
    struct pairs *pairs;
    ouro_weakref *rendered; /* the reply to HGETALL, as long as somebody is still being sent it */
    size_t count;
};
struct pairs {
    ouro_object base;
    size_t room; /* a power of two */
    struct string *at[];
};

/* Blocks of strings, linked both ways: a cycle, which nobody need cut. */
enum { LIST_BLOCK = 64 };
struct list_block {
    ouro_object base;
    struct list_block *next, *previous;
    uint32_t first, end; /* of `at` are in use */
    struct string *at[];
};
struct list {
    ouro_object base;
    struct list_block *head, *tail;
    size_t count;
};

/* A skip list by score and member, and a hash from members to nodes. */
struct zset_node {
    ouro_object base;
    double score;
    struct string *member;
    struct zset_node *next[];
};
struct zset {
    ouro_object base;
    struct zset_node *head;
    struct pairs *by_member; /* values are zset_nodes */
    size_t count;
};

extern ouro_type string_type, hash_type, list_type, zset_type;

/* All that make something return a new reference, or NULL when memory is short. */
struct string *string_new(const char *bytes, size_t length);
struct string *string_of_number(long long number);
struct string *string_of_double(double number);
bool string_equal(const struct string *a, const struct string *b);
int string_compare(const struct string *a, const struct string *b);
bool string_to_number(const struct string *s, long long *number);
bool string_to_double(const struct string *s, double *number);
uint64_t string_hash(const struct string *s);

struct hash *hash_new(void);
/* 1: the field is new, 0: replaced, -1: no memory. Takes references of its own. */
int hash_set(struct hash *hash, struct string *field, struct string *value);
struct string *hash_get(const struct hash *hash, const struct string *field); /* borrowed */
bool hash_delete(struct hash *hash, const struct string *field);

struct list *list_new(void);
bool list_push(struct list *list, struct string *value, bool at_head);
struct string *list_pop(struct list *list, bool at_head); /* its reference */
/* Calls fn with the elements from..to. */
void list_each(const struct list *list, size_t from, size_t to, void (*fn)(struct string *value, void *arg), void *arg);

struct zset *zset_new(void);
int zset_add(struct zset *zset, double score, struct string *member); /* as hash_set */
bool zset_delete(struct zset *zset, const struct string *member);
const struct zset_node *zset_find(const struct zset *zset, const struct string *member);
const struct zset_node *zset_first(const struct zset *zset);

/* ---- db.c ---- */

/* A key with its value: in the chain of its bucket, and in the ring of its shard from the one used last to the oldest. */
struct entry {
    ouro_object base;
    struct entry *chained, *newer, *older;
    struct string *key;
    ouro_object *value;
    uint64_t hash;
    int64_t expires_ms; /* 0: never */
    int64_t moved_ms;   /* when it last became the newest */
};

struct shard {
    ouro_object base;
    struct entry *ring;    /* before the newest, behind the oldest */
    struct buckets *table; /* chains of entries */
    size_t count;
    pthread_mutex_t lock; /* all of the above */
};

struct db_counters {
    atomic_ullong hits, misses, expired, evicted;
};
extern struct db_counters db_counters;

/* Waits for a lock whose holder may make objects, and so stop the world: in a blocking region. */
static inline void kv_lock(pthread_mutex_t *lock)
{
    if (pthread_mutex_trylock(lock) != 0)
        OURO_BLOCKING {
            pthread_mutex_lock(lock);
        }
}

int64_t now_ms(void);
bool db_start(void);
/* The shard that the key belongs to, locked. */
struct shard *db_lock(const struct string *key, uint64_t *hash);
void db_unlock(struct shard *shard);
/* With the shard locked. find: the entry, borrowed, now among the newest; or NULL. */
struct entry *db_find(struct shard *shard, const struct string *key, uint64_t hash, int64_t now);
/* An entry for the key, which must not be there; takes references to key and value. NULL: no memory. */
struct entry *db_add(struct shard *shard, struct string *key, uint64_t hash, ouro_object *value, int64_t now);
void db_remove(struct shard *shard, struct entry *entry);
/* All shards in turn. */
size_t db_size(void);
bool db_clear(void);
void db_keys(void (*fn)(struct string *key, void *arg), void *arg);
/* Looks at some keys of the next shard whether they have expired. */
void db_expire_some(int64_t now);
/* Evicts the oldest until about that many bytes are free. */
void db_evict(size_t bytes);

/* ---- resp.c ---- */

/* What waits to be sent: bytes in chunks, and strings that are sent from where they are. */
struct chunk {
    struct chunk *next;
    ouro_object *owner; /* of `data`, or NULL: `bytes` */
    const char *data;
    size_t used, sent, room;
    char bytes[];
};
struct output {
    struct chunk *first, *last;
    size_t bytes;
    bool failed; /* memory ran out: the connection cannot go on */
};

void output_bytes(struct output *out, const void *bytes, size_t length);
void output_text(struct output *out, const char *text);
void output_string(struct output *out, struct string *s); /* raw */
void output_free(struct output *out);
/* Sends what it can: 0, or -1 when the connection is gone. */
int output_send(struct output *out, int fd);

void reply_ok(struct output *out);
void reply_error(struct output *out, const char *text);
void reply_number(struct output *out, long long number);
void reply_array(struct output *out, size_t count);
void reply_bulk(struct output *out, const char *bytes, size_t length);
void reply_value(struct output *out, struct string *s); /* NULL: nil */

struct request {
    struct string **args;
    size_t count, room;
    size_t wanted; /* arguments still to come; 0: a new request begins */
};
enum parse_result { PARSE_DONE, PARSE_MORE, PARSE_WRONG };
/* Takes from the bytes at *at what belongs to the request, and moves *at. PARSE_WRONG: *error says why. */
enum parse_result request_parse(struct request *request, const char **at, const char *end, const char **error);
void request_reset(struct request *request);

/* ---- client.c ---- */

struct client {
    ouro_object base;
    struct subscription *subscriptions; /* each refers back to the client */

    struct server_thread *thread;
    struct client *next, *previous; /* in the thread's list, which has the reference that keeps it */
    int fd;                         /* -1: closed */
    bool waits_to_write, closing, paused;
    struct request request;
    char *pending; /* bytes of an unfinished request */
    size_t pending_bytes, pending_room;
    struct output out;
    size_t subscription_count;

    pthread_mutex_t mail_lock; /* messages from other threads; nobody makes objects under it */
    struct string **mail;
    size_t mail_count, mail_room, mail_bytes;
    bool mail_announced, mail_refused;
};

struct server_thread {
    pthread_t id;
    int epoll, wake, listener;
    int64_t now;
    struct client *clients;
    pthread_mutex_t mail_lock;
    struct client **with_mail; /* references */
    size_t with_mail_count, with_mail_room;
};

struct server_options {
    unsigned threads;
    int port, metrics_port; /* 0: any that is free; metrics_port -1: none */
    size_t max_memory, max_bulk, max_output;
    unsigned max_clients;
};
extern struct server_options options;

struct server_counters {
    atomic_ullong commands, connections, refused, protocol_errors, slow_dropped, messages;
    atomic_long clients;
};
extern struct server_counters counters;

extern atomic_bool server_stop;

/* A socket that listens on the port; *port becomes the one it got. -1: errno. */
int listen_on(int *port);
void *server_thread_run(void *thread);
void server_wake(struct server_thread *thread);
/* Hands the client a message, by any thread; takes a reference to it. */
void client_post(struct client *client, struct string *message);

/* ---- pubsub.c ---- */

void pubsub_subscribe(struct client *client, struct string *channel);
void pubsub_unsubscribe(struct client *client, struct string *channel); /* NULL: all */
size_t pubsub_publish(struct string *channel, struct string *message);
/* The client is gone: no channel may lead to it. */
void pubsub_leave(struct client *client);

/* ---- commands.c ---- */

void commands_start(void);
void command_run(struct client *client);

/* ---- info.c ---- */

void info_reply(struct output *out);
void *metrics_run(void *listener);

#endif
