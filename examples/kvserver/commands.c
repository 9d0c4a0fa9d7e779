/* kvserver/commands.c: what is said and done for each command.
 *
 * A command sees its arguments as strings that the request holds. It takes the lock of the key's shard, finds the entry,
 * and answers under the lock; values are strings, which never change, or containers, which change under that lock only.
 */
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "kv.h"

#define WRONG_TYPE "WRONGTYPE Operation against a key holding the wrong kind of value"
#define NOT_A_NUMBER "ERR value is not an integer or out of range"
#define NO_MEMORY "OOM out of memory"
#define SYNTAX "ERR syntax error"

/* A key being worked on: its shard is locked until done(). */
struct work {
    struct output *out;
    struct string **args;
    size_t count;
    int64_t now;
    struct shard *shard;
    uint64_t hash;
    struct entry *entry; /* borrowed, or NULL */
};

static void open_key(struct work *w, size_t which)
{
    w->shard = db_lock(w->args[which], &w->hash);
    w->entry = db_find(w->shard, w->args[which], w->hash, w->now);
}

static void done(struct work *w)
{
    db_unlock(w->shard);
}

/* The value, if it is of the type. Answers for one that is not. */
static void *value_of(struct work *w, const ouro_type *type)
{
    if (ouro_typeof(w->entry->value) == type)
        return w->entry->value;
    reply_error(w->out, WRONG_TYPE);
    return NULL;
}

/* The value, made if the key is not there. NULL: answered. */
static void *value_for_change(struct work *w, const ouro_type *type, void *fresh)
{
    if (w->entry == NULL && fresh != NULL)
        w->entry = db_add(w->shard, w->args[1], w->hash, fresh, w->now);
    ouro_xdecref(fresh);
    if (w->entry == NULL) {
        reply_error(w->out, NO_MEMORY);
        return NULL;
    }
    return value_of(w, type);
}

static void remove_if_empty(struct work *w, size_t count)
{
    if (count == 0)
        db_remove(w->shard, w->entry);
}

/* ---- strings ---- */

static bool store(struct work *w, size_t key, struct string *value, int64_t expires_ms)
{
    open_key(w, key);
    if (w->entry != NULL)
        OURO_SETREF(w->entry->value, ouro_newref(value));
    else
        w->entry = db_add(w->shard, w->args[key], w->hash, &value->base, w->now);
    if (w->entry != NULL)
        w->entry->expires_ms = expires_ms;
    bool stored = w->entry != NULL;
    done(w);
    return stored;
}

static void get_value(struct work *w, size_t which, bool wrong_is_nil)
{
    struct string *value = NULL;
    bool wrong = false;
    open_key(w, which);
    if (w->entry != NULL && ouro_typeof(w->entry->value) == &string_type)
        value = (struct string *)ouro_newref(w->entry->value);
    else
        wrong = w->entry != NULL;
    done(w);
    /* The string is ours: it is sent with no lock held. */
    if (wrong && !wrong_is_nil)
        reply_error(w->out, WRONG_TYPE);
    else
        reply_value(w->out, value);
    atomic_fetch_add_explicit(value != NULL ? &db_counters.hits : &db_counters.misses, 1, memory_order_relaxed);
    ouro_xdecref(value);
}

static void do_get(struct work *w)
{
    get_value(w, 1, false);
}

static void do_mget(struct work *w)
{
    reply_array(w->out, w->count - 1);
    for (size_t i = 1; i < w->count; i++)
        get_value(w, i, true);
}

static bool option_is(const struct string *s, const char *name)
{
    return s->length == strlen(name) && strncasecmp(s->bytes, name, s->length) == 0;
}

/* A time to live in units, as the moment when it is over. */
static bool take_expiry(struct work *w, const struct string *s, long long unit_ms, int64_t *expires_ms)
{
    long long number;
    if (!string_to_number(s, &number) || number <= 0 || number > LLONG_MAX / 2 / unit_ms - w->now) {
        reply_error(w->out, "ERR invalid expire time");
        return false;
    }
    *expires_ms = w->now + number * unit_ms;
    return true;
}

static void do_set(struct work *w)
{
    int64_t expires_ms = 0;
    for (size_t i = 3; i < w->count; i += 2) {
        bool seconds = option_is(w->args[i], "EX");
        if (i + 1 == w->count || (!seconds && !option_is(w->args[i], "PX"))) {
            reply_error(w->out, SYNTAX);
            return;
        }
        if (!take_expiry(w, w->args[i + 1], seconds ? 1000 : 1, &expires_ms))
            return;
    }
    if (store(w, 1, w->args[2], expires_ms))
        reply_ok(w->out);
    else
        reply_error(w->out, NO_MEMORY);
}

static void do_mset(struct work *w)
{
    bool stored = w->count % 2 == 1;
    if (!stored) {
        reply_error(w->out, "ERR wrong number of arguments for 'mset' command");
        return;
    }
    for (size_t i = 1; i < w->count; i += 2)
        stored &= store(w, i, w->args[i + 1], 0);
    if (stored)
        reply_ok(w->out);
    else
        reply_error(w->out, NO_MEMORY);
}

static void add_number(struct work *w, long long by)
{
    long long number = 0;
    const char *error = NULL;
    open_key(w, 1);
    if (w->entry != NULL && ouro_typeof(w->entry->value) != &string_type)
        error = WRONG_TYPE;
    else if (w->entry != NULL && !string_to_number((struct string *)w->entry->value, &number))
        error = NOT_A_NUMBER;
    else if (__builtin_add_overflow(number, by, &number))
        error = "ERR increment or decrement would overflow";
    struct string *value = error != NULL ? NULL : string_of_number(number);
    if (value == NULL && error == NULL)
        error = NO_MEMORY;
    if (value != NULL && w->entry != NULL)
        OURO_SETREF(w->entry->value, ouro_newref(&value->base));
    else if (value != NULL && db_add(w->shard, w->args[1], w->hash, &value->base, w->now) == NULL)
        error = NO_MEMORY;
    done(w);
    ouro_xdecref(value);
    if (error != NULL)
        reply_error(w->out, error);
    else
        reply_number(w->out, number);
}

static void do_incr(struct work *w)
{
    add_number(w, 1);
}

static void do_decr(struct work *w)
{
    add_number(w, -1);
}

static void do_incrby(struct work *w)
{
    long long by;
    if (string_to_number(w->args[2], &by))
        add_number(w, by);
    else
        reply_error(w->out, NOT_A_NUMBER);
}

/* ---- keys ---- */

static void count_keys(struct work *w, bool remove)
{
    long long count = 0;
    for (size_t i = 1; i < w->count; i++) {
        open_key(w, i);
        count += w->entry != NULL;
        if (w->entry != NULL && remove)
            db_remove(w->shard, w->entry);
        done(w);
    }
    reply_number(w->out, count);
}

static void do_del(struct work *w)
{
    count_keys(w, true);
}

static void do_exists(struct work *w)
{
    count_keys(w, false);
}

static void do_expire(struct work *w)
{
    int64_t expires_ms = 0;
    long long number;
    bool past = string_to_number(w->args[2], &number) && number <= 0;
    if (!past && !take_expiry(w, w->args[2], 1000, &expires_ms))
        return;
    open_key(w, 1);
    bool found = w->entry != NULL;
    if (found && past)
        db_remove(w->shard, w->entry);
    else if (found)
        w->entry->expires_ms = expires_ms;
    done(w);
    reply_number(w->out, found);
}

static void do_persist(struct work *w)
{
    open_key(w, 1);
    bool had = w->entry != NULL && w->entry->expires_ms != 0;
    if (had)
        w->entry->expires_ms = 0;
    done(w);
    reply_number(w->out, had);
}

static void do_ttl(struct work *w)
{
    open_key(w, 1);
    long long left = w->entry == NULL            ? -2
                     : w->entry->expires_ms == 0 ? -1
                                                 : (w->entry->expires_ms - w->now + 500) / 1000;
    done(w);
    reply_number(w->out, left);
}

static void do_type(struct work *w)
{
    open_key(w, 1);
    const ouro_type *type = w->entry == NULL ? NULL : ouro_typeof(w->entry->value);
    done(w);
    output_text(w->out, type == NULL           ? "+none\r\n"
                        : type == &string_type ? "+string\r\n"
                        : type == &list_type   ? "+list\r\n"
                        : type == &hash_type   ? "+hash\r\n"
                                               : "+zset\r\n");
}

struct key_list {
    struct output body;
    size_t count;
};
static void list_key(struct string *key, void *arg)
{
    struct key_list *keys = arg;
    reply_value(&keys->body, key);
    keys->count++;
}

/* How many there are is known at the end: the head is written before the body is moved behind it. */
static void do_keys(struct work *w)
{
    struct key_list keys = { .count = 0 };
    if (!option_is(w->args[1], "*")) {
        reply_error(w->out, "ERR only KEYS * is there");
        return;
    }
    db_keys(list_key, &keys);
    reply_array(w->out, keys.count);
    for (struct chunk *chunk = keys.body.first; chunk != NULL; chunk = chunk->next)
        output_bytes(w->out, chunk->data, chunk->used);
    w->out->failed |= keys.body.failed;
    output_free(&keys.body);
}

static void do_dbsize(struct work *w)
{
    reply_number(w->out, (long long)db_size());
}

static void do_flushall(struct work *w)
{
    if (db_clear())
        reply_ok(w->out);
    else
        reply_error(w->out, NO_MEMORY);
}

/* ---- hashes ---- */

static void do_hset(struct work *w)
{
    long long added = 0;
    if (w->count % 2 == 1) {
        reply_error(w->out, "ERR wrong number of arguments for 'hset' command");
        return;
    }
    open_key(w, 1);
    struct hash *hash = value_for_change(w, &hash_type, w->entry == NULL ? hash_new() : NULL);
    for (size_t i = 2; hash != NULL && i < w->count; i += 2) {
        int one = hash_set(hash, w->args[i], w->args[i + 1]);
        if (one < 0) {
            reply_error(w->out, NO_MEMORY);
            remove_if_empty(w, hash->count);
            hash = NULL;
        } else {
            added += one;
        }
    }
    done(w);
    if (hash != NULL)
        reply_number(w->out, added);
}

static void do_hget(struct work *w)
{
    open_key(w, 1);
    struct hash *hash = w->entry != NULL ? value_of(w, &hash_type) : NULL;
    if (hash != NULL || w->entry == NULL)
        reply_value(w->out, hash != NULL ? hash_get(hash, w->args[2]) : NULL);
    done(w);
}

static void do_hdel(struct work *w)
{
    long long removed = 0;
    open_key(w, 1);
    struct hash *hash = w->entry != NULL ? value_of(w, &hash_type) : NULL;
    for (size_t i = 2; hash != NULL && i < w->count; i++)
        removed += hash_delete(hash, w->args[i]);
    if (hash != NULL || w->entry == NULL)
        reply_number(w->out, removed);
    if (hash != NULL)
        remove_if_empty(w, hash->count);
    done(w);
}

static void do_hlen(struct work *w)
{
    open_key(w, 1);
    struct hash *hash = w->entry != NULL ? value_of(w, &hash_type) : NULL;
    if (hash != NULL || w->entry == NULL)
        reply_number(w->out, hash != NULL ? (long long)hash->count : 0);
    done(w);
}

static struct string *render_pairs(const struct hash *hash)
{
    struct output body = { .bytes = 0 };
    reply_array(&body, 2 * hash->count);
    for (size_t i = 0; hash->pairs != NULL && i < hash->pairs->room; i++)
        if (hash->pairs->at[2 * i] != NULL) {
            reply_value(&body, hash->pairs->at[2 * i]);
            reply_value(&body, hash->pairs->at[2 * i + 1]);
        }
    struct string *text = NULL;
    char *bytes = body.failed ? NULL : ouro_malloc(body.bytes), *to = bytes;
    for (struct chunk *chunk = body.first; bytes != NULL && chunk != NULL; chunk = chunk->next) {
        memcpy(to, chunk->data, chunk->used);
        to += chunk->used;
    }
    if (bytes != NULL)
        text = string_new(bytes, body.bytes);
    ouro_free(bytes);
    output_free(&body);
    return text;
}

/* A large hash that many ask for is rendered once: the hash knows the reply weakly, those who are being sent it strongly.
 * With the last of them it is gone, and no cache has to be swept. */
static void do_hgetall(struct work *w)
{
    open_key(w, 1);
    struct hash *hash = w->entry != NULL ? value_of(w, &hash_type) : NULL;
    bool absent = w->entry == NULL;
    struct string *text = NULL;
    if (hash != NULL) {
        text = hash->rendered != NULL ? ouro_weakref_get(hash->rendered) : NULL;
        if (text == NULL && (text = render_pairs(hash)) != NULL)
            OURO_SETREF(hash->rendered, ouro_weakref_new(text, NULL, NULL)); /* NULL: then it is rendered again */
    }
    done(w);
    if (text != NULL)
        output_string(w->out, text);
    else if (absent)
        reply_array(w->out, 0);
    else if (hash != NULL)
        reply_error(w->out, NO_MEMORY);
    ouro_xdecref(text);
}

/* ---- lists ---- */

static void push(struct work *w, bool at_head)
{
    open_key(w, 1);
    struct list *list = value_for_change(w, &list_type, w->entry == NULL ? list_new() : NULL);
    bool pushed = true;
    for (size_t i = 2; list != NULL && pushed && i < w->count; i++)
        pushed = list_push(list, w->args[i], at_head);
    if (list != NULL && pushed)
        reply_number(w->out, (long long)list->count);
    else if (list != NULL) {
        reply_error(w->out, NO_MEMORY);
        remove_if_empty(w, list->count);
    }
    done(w);
}

static void do_lpush(struct work *w)
{
    push(w, true);
}

static void do_rpush(struct work *w)
{
    push(w, false);
}

static void pop(struct work *w, bool at_head)
{
    open_key(w, 1);
    struct list *list = w->entry != NULL ? value_of(w, &list_type) : NULL;
    struct string *value = list != NULL ? list_pop(list, at_head) : NULL;
    bool wrong = list == NULL && w->entry != NULL;
    if (list != NULL)
        remove_if_empty(w, list->count);
    done(w);
    if (!wrong)
        reply_value(w->out, value);
    ouro_xdecref(value);
}

static void do_lpop(struct work *w)
{
    pop(w, true);
}

static void do_rpop(struct work *w)
{
    pop(w, false);
}

static void do_llen(struct work *w)
{
    open_key(w, 1);
    struct list *list = w->entry != NULL ? value_of(w, &list_type) : NULL;
    if (list != NULL || w->entry == NULL)
        reply_number(w->out, list != NULL ? (long long)list->count : 0);
    done(w);
}

/* From..to of `count`, as Redis counts: from the end where negative. False: nothing is in there. */
static bool take_range(struct work *w, size_t count, size_t *from, size_t *to)
{
    long long first, last, n = (long long)count;
    if (!string_to_number(w->args[2], &first) || !string_to_number(w->args[3], &last)) {
        reply_error(w->out, NOT_A_NUMBER);
        return false;
    }
    first = first < 0 ? (first < -n ? 0 : first + n) : first;
    last = last < 0 ? (last < -n ? -1 : last + n) : last >= n ? n - 1 : last;
    if (first > last) {
        reply_array(w->out, 0);
        return false;
    }
    *from = (size_t)first;
    *to = (size_t)last;
    return true;
}

static void reply_element(struct string *value, void *out)
{
    reply_value(out, value);
}

static void do_lrange(struct work *w)
{
    size_t from, to;
    open_key(w, 1);
    struct list *list = w->entry != NULL ? value_of(w, &list_type) : NULL;
    if ((list != NULL || w->entry == NULL) && take_range(w, list != NULL ? list->count : 0, &from, &to)) {
        reply_array(w->out, to - from + 1);
        list_each(list, from, to, reply_element, w->out);
    }
    done(w);
}

/* ---- sorted sets ---- */

static void do_zadd(struct work *w)
{
    double score;
    long long added = 0;
    bool right = w->count % 2 == 0;
    for (size_t i = 2; right && i < w->count; i += 2)
        right = string_to_double(w->args[i], &score);
    if (!right) {
        reply_error(w->out, w->count % 2 == 0 ? "ERR value is not a valid float" : SYNTAX);
        return;
    }
    open_key(w, 1);
    struct zset *zset = value_for_change(w, &zset_type, w->entry == NULL ? zset_new() : NULL);
    for (size_t i = 2; zset != NULL && i < w->count; i += 2) {
        string_to_double(w->args[i], &score);
        int one = zset_add(zset, score, w->args[i + 1]);
        if (one < 0) {
            reply_error(w->out, NO_MEMORY);
            remove_if_empty(w, zset->count);
            zset = NULL;
        } else {
            added += one;
        }
    }
    done(w);
    if (zset != NULL)
        reply_number(w->out, added);
}

static void reply_double(struct output *out, double number)
{
    char text[40];
    reply_bulk(out, text, (size_t)snprintf(text, sizeof text, "%.17g", number));
}

static void do_zrange(struct work *w)
{
    size_t from, to;
    bool with_scores = w->count == 5 && option_is(w->args[4], "WITHSCORES");
    if (w->count > 4 && !with_scores) {
        reply_error(w->out, SYNTAX);
        return;
    }
    open_key(w, 1);
    struct zset *zset = w->entry != NULL ? value_of(w, &zset_type) : NULL;
    if ((zset != NULL || w->entry == NULL) && take_range(w, zset != NULL ? zset->count : 0, &from, &to)) {
        reply_array(w->out, (to - from + 1) * (with_scores ? 2 : 1));
        const struct zset_node *node = zset_first(zset);
        for (size_t i = 0; i <= to; i++, node = node->next[0]) {
            if (i < from)
                continue;
            reply_value(w->out, node->member);
            if (with_scores)
                reply_double(w->out, node->score);
        }
    }
    done(w);
}

static void do_zrem(struct work *w)
{
    long long removed = 0;
    open_key(w, 1);
    struct zset *zset = w->entry != NULL ? value_of(w, &zset_type) : NULL;
    for (size_t i = 2; zset != NULL && i < w->count; i++)
        removed += zset_delete(zset, w->args[i]);
    if (zset != NULL || w->entry == NULL)
        reply_number(w->out, removed);
    if (zset != NULL)
        remove_if_empty(w, zset->count);
    done(w);
}

static void do_zscore(struct work *w)
{
    open_key(w, 1);
    struct zset *zset = w->entry != NULL ? value_of(w, &zset_type) : NULL;
    const struct zset_node *node = zset != NULL ? zset_find(zset, w->args[2]) : NULL;
    if (node != NULL)
        reply_double(w->out, node->score);
    else if (zset != NULL || w->entry == NULL)
        reply_value(w->out, NULL);
    done(w);
}

static void do_zcard(struct work *w)
{
    open_key(w, 1);
    struct zset *zset = w->entry != NULL ? value_of(w, &zset_type) : NULL;
    if (zset != NULL || w->entry == NULL)
        reply_number(w->out, zset != NULL ? (long long)zset->count : 0);
    done(w);
}

/* ---- the server ---- */

static void do_ping(struct work *w)
{
    if (w->count > 1)
        reply_value(w->out, w->args[1]);
    else
        output_text(w->out, "+PONG\r\n");
}

static void do_echo(struct work *w)
{
    reply_value(w->out, w->args[1]);
}

static void do_ok(struct work *w)
{
    reply_ok(w->out);
}

static void do_none(struct work *w)
{
    reply_array(w->out, 0);
}

static void do_info(struct work *w)
{
    info_reply(w->out);
}

static void do_publish(struct work *w)
{
    reply_number(w->out, (long long)pubsub_publish(w->args[1], w->args[2]));
}

static void do_shutdown(struct work *w)
{
    (void)w;
    atomic_store(&server_stop, true);
}

/* DEBUG COLLECT: a full collection now, and the objects that it found. For tests, and to see it. */
static void do_debug(struct work *w)
{
    if (option_is(w->args[1], "COLLECT"))
        reply_number(w->out, ouro_gc_collect(2));
    else if (option_is(w->args[1], "CHECK"))
        reply_number(w->out, ouro_debug_check());
    else
        reply_error(w->out, "ERR DEBUG COLLECT or DEBUG CHECK");
}

struct command {
    const char *name;
    size_t least, most; /* arguments, the name among them */
    void (*run)(struct work *w);
};
static const struct command commands[] = {
    { "GET", 2, 2, do_get },
    { "SET", 3, 7, do_set },
    { "MGET", 2, SIZE_MAX, do_mget },
    { "MSET", 3, SIZE_MAX, do_mset },
    { "INCR", 2, 2, do_incr },
    { "DECR", 2, 2, do_decr },
    { "INCRBY", 3, 3, do_incrby },
    { "DEL", 2, SIZE_MAX, do_del },
    { "EXISTS", 2, SIZE_MAX, do_exists },
    { "EXPIRE", 3, 3, do_expire },
    { "PERSIST", 2, 2, do_persist },
    { "TTL", 2, 2, do_ttl },
    { "TYPE", 2, 2, do_type },
    { "KEYS", 2, 2, do_keys },
    { "DBSIZE", 1, 1, do_dbsize },
    { "FLUSHALL", 1, 2, do_flushall },
    { "FLUSHDB", 1, 2, do_flushall },
    { "HSET", 4, SIZE_MAX, do_hset },
    { "HGET", 3, 3, do_hget },
    { "HDEL", 3, SIZE_MAX, do_hdel },
    { "HLEN", 2, 2, do_hlen },
    { "HGETALL", 2, 2, do_hgetall },
    { "LPUSH", 3, SIZE_MAX, do_lpush },
    { "RPUSH", 3, SIZE_MAX, do_rpush },
    { "LPOP", 2, 2, do_lpop },
    { "RPOP", 2, 2, do_rpop },
    { "LLEN", 2, 2, do_llen },
    { "LRANGE", 4, 4, do_lrange },
    { "ZADD", 4, SIZE_MAX, do_zadd },
    { "ZRANGE", 4, 5, do_zrange },
    { "ZREM", 3, SIZE_MAX, do_zrem },
    { "ZSCORE", 3, 3, do_zscore },
    { "ZCARD", 2, 2, do_zcard },
    { "PING", 1, 2, do_ping },
    { "ECHO", 2, 2, do_echo },
    { "SELECT", 2, 2, do_ok },
    { "CLIENT", 2, SIZE_MAX, do_ok },
    { "COMMAND", 1, SIZE_MAX, do_none },
    { "CONFIG", 2, SIZE_MAX, do_none },
    { "INFO", 1, 2, do_info },
    { "PUBLISH", 3, 3, do_publish },
    { "DEBUG", 2, 2, do_debug },
    { "SHUTDOWN", 1, 2, do_shutdown },
    /* These need the client: see command_run. */
    { "SUBSCRIBE", 2, SIZE_MAX, NULL },
    { "UNSUBSCRIBE", 1, SIZE_MAX, NULL },
    { "QUIT", 1, 1, NULL },
};
enum { COMMANDS = sizeof commands / sizeof commands[0], PLACES = 256 };

static const struct command *places[PLACES];

static size_t place_of(const char *name, size_t length)
{
    uint32_t h = (uint32_t)length;
    for (size_t i = 0; i < length; i++)
        h = h * 31 + ((unsigned char)name[i] & 0xdf); /* small letters as capitals */
    return h % PLACES;
}

void commands_start(void)
{
    for (size_t i = 0; i < COMMANDS; i++) {
        size_t at = place_of(commands[i].name, strlen(commands[i].name));
        while (places[at] != NULL)
            at = (at + 1) % PLACES;
        places[at] = &commands[i];
    }
}

static const struct command *command_find(const struct string *name)
{
    if (name->length > 16)
        return NULL;
    for (size_t at = place_of(name->bytes, name->length); places[at] != NULL; at = (at + 1) % PLACES)
        if (option_is(name, places[at]->name))
            return places[at];
    return NULL;
}

static void run_of_client(struct client *client, const char *name)
{
    struct request *request = &client->request;
    if (name[0] == 'Q') {
        reply_ok(&client->out);
        client->closing = true;
    } else if (name[0] == 'U' && request->count == 1) {
        pubsub_unsubscribe(client, NULL);
    } else {
        for (size_t i = 1; i < request->count; i++)
            if (name[0] == 'S')
                pubsub_subscribe(client, request->args[i]);
            else
                pubsub_unsubscribe(client, request->args[i]);
    }
}

void command_run(struct client *client)
{
    struct request *request = &client->request;
    const struct command *command = command_find(request->args[0]);
    char text[160];
    atomic_fetch_add_explicit(&counters.commands, 1, memory_order_relaxed);
    if (command == NULL) {
        int shown = request->args[0]->length < 64 ? (int)request->args[0]->length : 64;
        snprintf(text, sizeof text, "ERR unknown command '%.*s'", shown, request->args[0]->bytes);
        for (char *at = text; *at != '\0'; at++)
            if (*at == '\r' || *at == '\n')
                *at = ' ';
        reply_error(&client->out, text);
    } else if (request->count < command->least || request->count > command->most) {
        snprintf(text, sizeof text, "ERR wrong number of arguments for '%s' command", command->name);
        reply_error(&client->out, text);
    } else if (command->run == NULL) {
        run_of_client(client, command->name);
    } else {
        struct work w = { .out = &client->out, .args = request->args, .count = request->count };
        w.now = client->thread->now;
        command->run(&w);
    }
}
