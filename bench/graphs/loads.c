/* graphs/loads.c: programs that make garbage while they run: cycles of two, binary-trees, a server's cache.
 *
 * Owns        what each thread makes.
 * Invariants  every run does the same work, whoever frees.
 * Sync        threads share nothing but the collector.
 * Source      binary-trees: Boehm, after Ellis and Kovac.
 */
#define _GNU_SOURCE
#include "graphs.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <ouro/gc.h>

static void *new_or_exit(ouro_type *type)
{
    void *obj = ouro_new(type);
    if (obj == NULL) {
        perror("ouro-graphs");
        exit(1);
    }
    return obj;
}

static void in_threads(void *(*fn)(void *), void *args, size_t size)
{
    pthread_t threads[64];
    for (unsigned i = 0; i < options.threads; i++)
        if (pthread_create(&threads[i], NULL, fn, (char *)args + i * size) != 0)
            exit(1);
    OURO_BLOCKING {
        for (unsigned i = 0; i < options.threads; i++)
            pthread_join(threads[i], NULL);
    }
}

static void set_collector(void)
{
    ouro_gc_set_workers(options.workers[0]);
    if (options.by_hand)
        ouro_gc_disable();
    else
        ouro_gc_enable();
}

static void report_collections(void)
{
    ouro_gc_stats stats[OURO_GC_GENERATIONS];
    ouro_gc_get_stats(stats);
    for (size_t i = 0; i < OURO_GC_GENERATIONS; i++)
        printf("    generation %zu: %llu collections, %llu objects, pauses %.1f ms in all, at most %.3f ms\n", i,
               (unsigned long long)stats[i].collections, (unsigned long long)stats[i].collected,
               (double)stats[i].pause_ns_total / 1e6, (double)stats[i].pause_ns_max / 1e6);
}

/* Cycles of two. */

struct pair {
    ouro_object base;
    struct pair *other;
    uint64_t payload;
};
static ouro_type pair_type = OURO_TYPE(struct pair, OURO_REFS(struct pair, other));

static void *cycles_main(void *arg)
{
    uint64_t count = *(uint64_t *)arg;
    for (uint64_t i = 0; i < count; i++) {
        struct pair *a = new_or_exit(&pair_type), *b = new_or_exit(&pair_type);
        b->other = ouro_newref(a);
        a->other = b;
        if (options.by_hand)
            OURO_CLEAR(b->other);
        ouro_decref(a);
    }
    return NULL;
}

void run_cycles(void)
{
    uint64_t counts[64];
    for (size_t i = 0; i < 64; i++)
        counts[i] = options.nodes != 0 ? options.nodes : 10000000;
    set_collector();
    double start = now_s();
    in_threads(cycles_main, counts, sizeof counts[0]);
    double took = now_s() - start;
    report("cycles", options.by_hand ? "by hand" : "automatic", options.threads, took, counts[0], 0);
    printf("    peak %zu MiB resident\n", peak_resident_mib());
    report_collections();
    ouro_gc_collect(2);
}

/* binary-trees. */

struct tree {
    ouro_object base;
    struct tree *left, *right;
};
static ouro_type tree_type = OURO_TYPE(struct tree, OURO_REFS(struct tree, left, right));

static struct tree *tree_new(unsigned depth)
{
    struct tree *tree = new_or_exit(&tree_type);
    if (depth > 0) {
        tree->left = tree_new(depth - 1);
        tree->right = tree_new(depth - 1);
    }
    return tree;
}

static uint64_t tree_count(const struct tree *tree)
{
    return tree->left == NULL ? 1 : 1 + tree_count(tree->left) + tree_count(tree->right);
}

static void *trees_main(void *arg)
{
    uint64_t *nodes = arg;
    unsigned depth = (unsigned)*nodes;
    *nodes = 0;
    struct tree *lasting = tree_new(depth);
    for (unsigned d = 4; d <= depth; d += 4) {
        for (uint64_t i = (uint64_t)1 << (depth - d + 4); i > 0; i--) {
            struct tree *tree = tree_new(d);
            *nodes += tree_count(tree);
            ouro_decref(tree);
        }
    }
    *nodes += tree_count(lasting);
    ouro_decref(lasting);
    return NULL;
}

void run_trees(void)
{
    uint64_t nodes[64];
    for (size_t i = 0; i < 64; i++)
        nodes[i] = options.nodes != 0 ? options.nodes : 18; /* the depth */
    set_collector();
    double start = now_s();
    in_threads(trees_main, nodes, sizeof nodes[0]);
    report("trees", options.by_hand ? "collector off" : "collector on", options.threads, now_s() - start, nodes[0], 0);
    report_collections();
}

/* A server's cache: entries in a table, in a list by last use; an entry and its value refer to each other. A request for a
 * key that is not there evicts the entry used longest ago, which is garbage that only a collection finds. */

struct entry;
struct value {
    ouro_object base;
    struct entry *entry;
    uint64_t payload[5];
};
struct entry {
    ouro_object base;
    struct entry *newer, *older, *chain;
    struct value *value;
    uint64_t key;
};
struct table {
    ouro_object base;
    struct entry *newest, *oldest;
    uint64_t count;
};
static ouro_type value_type = OURO_TYPE(struct value, OURO_REFS(struct value, entry));
static ouro_type entry_type = OURO_TYPE(struct entry, OURO_REFS(struct entry, newer, older, chain, value));
static ouro_type table_type =
    OURO_TYPE(struct table, OURO_REFS(struct table, newest, oldest), .item_size = 8, .items_are_refs = true);

struct server {
    struct table *table;
    uint64_t entries, mask, random, operations, hits;
    struct histogram times;
};

static struct entry **bucket_of(struct server *server, uint64_t key)
{
    struct entry **buckets = ouro_items(server->table);
    return &buckets[(key * UINT64_C(0x9e3779b97f4a7c15) >> 32) & server->mask];
}

/* Out of the list; the list's references go, the caller's stays. */
static void list_remove(struct table *table, struct entry *entry)
{
    struct entry *newer = OURO_MOVE(entry->newer), *older = OURO_MOVE(entry->older);
    struct entry **down = newer != NULL ? &newer->older : &table->newest;
    struct entry **up = older != NULL ? &older->newer : &table->oldest;
    OURO_SETREF(*down, ouro_xnewref(older));
    OURO_SETREF(*up, ouro_xnewref(newer));
    ouro_xdecref(newer);
    ouro_xdecref(older);
}

static void list_push(struct table *table, struct entry *entry)
{
    struct entry *second = OURO_MOVE(table->newest);
    if (second != NULL)
        OURO_SETREF(second->newer, ouro_newref(entry));
    else
        table->oldest = ouro_newref(entry);
    entry->older = second;
    table->newest = ouro_newref(entry);
}

static void evict(struct server *server)
{
    struct entry *entry = ouro_newref(server->table->oldest);
    struct entry **link = bucket_of(server, entry->key);
    list_remove(server->table, entry);
    while (*link != entry)
        link = &(*link)->chain;
    OURO_SETREF(*link, ouro_xnewref(entry->chain));
    if (options.by_hand)
        OURO_CLEAR(entry->value->entry);
    ouro_decref(entry);
}

static void insert(struct server *server, uint64_t key)
{
    struct entry *entry = new_or_exit(&entry_type);
    struct value *value = new_or_exit(&value_type);
    struct entry **bucket = bucket_of(server, key);
    entry->key = key;
    entry->value = value;
    value->entry = ouro_newref(entry);
    value->payload[0] = key;
    entry->chain = *bucket;
    *bucket = ouro_newref(entry);
    list_push(server->table, entry);
    ouro_decref(entry);
}

static void request(struct server *server, uint64_t key)
{
    struct entry *entry = *bucket_of(server, key);
    while (entry != NULL && entry->key != key)
        entry = entry->chain;
    if (entry != NULL) {
        server->hits++;
        if (entry->value->payload[0] != key)
            abort();
        ouro_incref(entry);
        list_remove(server->table, entry);
        list_push(server->table, entry);
        ouro_decref(entry);
        return;
    }
    if (server->table->count == server->entries)
        evict(server);
    else
        server->table->count++;
    insert(server, key);
}

static void *server_main(void *arg)
{
    struct server *server = arg;
    uint64_t buckets = 1;
    while (buckets < server->entries)
        buckets *= 2;
    server->mask = buckets - 1;
    server->table = ouro_new_items(&table_type, buckets);
    if (server->table == NULL)
        exit(1);
    for (uint64_t key = 0; key < server->entries; key++)
        request(server, key);
    server->hits = 0;
    double start = now_s(), last = start, end = start + options.seconds;
    while (last < end) { /* half of the keys are there */
        server->random ^= server->random << 13;
        server->random ^= server->random >> 7;
        server->random ^= server->random << 17;
        request(server, server->random % (2 * server->entries));
        double now = now_s();
        histogram_add(&server->times, (uint64_t)((now - last) * 1e9));
        last = now;
        server->operations++;
    }
    while (options.by_hand && server->table->newest != NULL) {
        while (server->table->oldest != NULL)
            evict(server);
    }
    ouro_decref(server->table);
    return NULL;
}

void run_server(void)
{
    struct server *servers = calloc(options.threads, sizeof *servers);
    struct histogram *all = calloc(1, sizeof *all);
    uint64_t entries = (options.nodes != 0 ? options.nodes : 1000000) / options.threads, operations = 0, hits = 0;
    if (servers == NULL || all == NULL)
        exit(1);
    for (unsigned i = 0; i < options.threads; i++) {
        servers[i].entries = entries;
        servers[i].random = UINT64_C(88172645463325252) + i;
    }
    set_collector();
    in_threads(server_main, servers, sizeof servers[0]);
    for (unsigned i = 0; i < options.threads; i++) {
        operations += servers[i].operations;
        hits += servers[i].hits;
        histogram_join(all, &servers[i].times);
    }
    printf("%-14s %-18s %u threads, %u workers: %.2f million operations a second, %.0f%% hits\n", "server",
           options.by_hand ? "by hand" : "automatic", options.threads, options.workers[0],
           (double)operations / options.seconds / 1e6, 100.0 * (double)hits / (double)operations);
    static const double shares[] = { 0.5, 0.9, 0.99, 0.999, 0.9999, 0.99999, 0.999999 };
    printf("    an operation takes, in us:");
    for (size_t i = 0; i < sizeof shares / sizeof shares[0]; i++)
        printf(" %g%%: %.2f", shares[i] * 100, (double)histogram_at(all, shares[i]) / 1e3);
    printf(", at most %.0f\n    peak %zu MiB resident\n", (double)all->most_ns / 1e3, peak_resident_mib());
    report_collections();
    ouro_gc_collect(2);
    free(servers);
    free(all);
}
