/* graphs/boehm.c: the program `ouro-graphs-boehm`: the synthetic graphs and loads of ouro-graphs under Boehm's collector.
 *
 * Owns        the roots.
 * Invariants  nodes are as large as ours, less the header: what a user of that collector would allocate.
 * Sync        one thread mutates; marking uses GC_MARKERS threads.
 * Source      none
 */
#define GC_THREADS
#include <gc.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "graphs.h"

struct options options = { .repeat = 5, .threads = 1, .seconds = 10 };

enum { REFS = 3 };
struct node {
    struct node *to[REFS];
    uint64_t payload[3];
};

static uint64_t state = UINT64_C(0x9e3779b97f4a7c15);
static uint64_t draw(uint64_t bound)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (state >> 32) * bound >> 32;
}

static void line(const char *name, const char *what, double seconds, uint64_t objects)
{
    printf("%-14s %-18s %4s %10.2f ms %8.1f ns/object\n", name, what, "gc", seconds * 1e3,
           seconds * 1e9 / (double)objects);
    fflush(stdout);
}

static struct node *make(const char *name, uint64_t count)
{
    struct node **made = GC_MALLOC_UNCOLLECTABLE(count * sizeof(void *));
    for (uint64_t i = 0; i < count; i++)
        if ((made[i] = GC_MALLOC(sizeof(struct node))) == NULL)
            exit(1);
    if (strcmp(name, "shuffled") == 0)
        for (uint64_t i = count - 1; i > 1; i--) {
            uint64_t other = 1 + draw(i);
            struct node *node = made[i];
            made[i] = made[other];
            made[other] = node;
        }
    for (uint64_t i = 1; i < count; i++) {
        if (strcmp(name, "tree") == 0) {
            made[(i - 1) / 2]->to[(i - 1) % 2] = made[i];
        } else if (strcmp(name, "random") == 0) {
            struct node *from = made[draw(i)];
            (from->to[0] == NULL ? from : made[i - 1])->to[0] = made[i];
            made[i]->to[1] = made[draw(count)];
            made[i]->to[2] = made[draw(count)];
        } else {
            made[i - 1]->to[0] = made[i];
        }
    }
    made[count - 1]->to[REFS - 1] = made[0];
    struct node *root = made[0];
    GC_FREE(made);
    return root;
}

static double collect(void)
{
    double start = now_s();
    GC_gcollect();
    return now_s() - start;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static __attribute__((noinline)) void scrub_stack(void)
{
    volatile char room[16384];
    for (size_t i = 0; i < sizeof room; i++)
        room[i] = 0;
}

/* Not inlined: what it leaves in registers and on the stack must not hold the graph. */
static __attribute__((noinline)) void alive(const char *name, uint64_t count)
{
    double took[64];
    unsigned repeat = options.repeat < 64 ? options.repeat : 64;
    struct node *root = make(name, count);
    collect();
    for (unsigned i = 0; i < repeat; i++)
        took[i] = collect();
    qsort(took, repeat, sizeof took[0], ascending);
    line(name, "alive, full", took[repeat / 2], count);
    GC_reachable_here(root);
}

static void shape(const char *name)
{
    uint64_t count = options.nodes != 0 ? options.nodes : 5000000;
    alive(name, count);
    scrub_stack();
    size_t before = GC_get_heap_size() - GC_get_free_bytes();
    double took = collect();
    size_t after = GC_get_heap_size() - GC_get_free_bytes();
    line(name, after < before / 2 ? "dead, sweep later" : "dead, but held", took, count);
}

static void cycles(void)
{
    uint64_t count = options.nodes != 0 ? options.nodes : 10000000;
    struct pair {
        struct pair *other;
        uint64_t payload;
    };
    double start = now_s();
    for (uint64_t i = 0; i < count; i++) {
        struct pair *a = GC_MALLOC(sizeof *a), *b = GC_MALLOC(sizeof *b);
        if (a == NULL || b == NULL)
            exit(1);
        a->other = b;
        b->other = a;
    }
    line("cycles", "automatic", now_s() - start, count);
}

/* The server's cache, as in loads.c. */
struct value {
    struct entry *entry;
    uint64_t payload[5];
};
struct entry {
    struct entry *newer, *older, *chain;
    struct value *value;
    uint64_t key;
};
static struct {
    struct entry **buckets, *newest, *oldest;
    uint64_t count, entries, mask;
} table;

static struct entry **bucket_of(uint64_t key)
{
    return &table.buckets[(key * UINT64_C(0x9e3779b97f4a7c15) >> 32) & table.mask];
}

static void list_remove(struct entry *entry)
{
    *(entry->newer != NULL ? &entry->newer->older : &table.newest) = entry->older;
    *(entry->older != NULL ? &entry->older->newer : &table.oldest) = entry->newer;
    entry->newer = entry->older = NULL;
}

static void list_push(struct entry *entry)
{
    entry->older = table.newest;
    *(table.newest != NULL ? &table.newest->newer : &table.oldest) = entry;
    table.newest = entry;
}

static void request(uint64_t key)
{
    struct entry *entry = *bucket_of(key);
    while (entry != NULL && entry->key != key)
        entry = entry->chain;
    if (entry != NULL) {
        list_remove(entry);
        list_push(entry);
        return;
    }
    if (table.count == table.entries) {
        struct entry *old = table.oldest, **link = bucket_of(old->key);
        list_remove(old);
        while (*link != old)
            link = &(*link)->chain;
        *link = old->chain;
    } else {
        table.count++;
    }
    entry = GC_MALLOC(sizeof *entry);
    struct value *value = GC_MALLOC(sizeof *value);
    if (entry == NULL || value == NULL)
        exit(1);
    entry->key = key;
    entry->value = value;
    value->entry = entry;
    value->payload[0] = key;
    entry->chain = *bucket_of(key);
    *bucket_of(key) = entry;
    list_push(entry);
}

static void server(void)
{
    static struct histogram times;
    uint64_t buckets = 1, operations = 0, random = UINT64_C(88172645463325252);
    table.entries = options.nodes != 0 ? options.nodes : 1000000;
    while (buckets < table.entries)
        buckets *= 2;
    table.mask = buckets - 1;
    table.buckets = GC_MALLOC(buckets * sizeof(void *));
    for (uint64_t key = 0; key < table.entries; key++)
        request(key);
    double start = now_s(), last = start;
    while (last < start + options.seconds) {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        request(random % (2 * table.entries));
        double now = now_s();
        histogram_add(&times, (uint64_t)((now - last) * 1e9));
        last = now;
        operations++;
    }
    printf("%-14s %-18s 1 thread: %.2f million operations a second\n    an operation takes, in us:", "server",
           "automatic, gc", (double)operations / options.seconds / 1e6);
    static const double shares[] = { 0.5, 0.9, 0.99, 0.999, 0.9999, 0.99999 };
    for (size_t i = 0; i < sizeof shares / sizeof shares[0]; i++)
        printf(" %g%%: %.2f", shares[i] * 100, (double)histogram_at(&times, shares[i]) / 1e3);
    printf(", at most %.0f\n", (double)times.most_ns / 1e3);
}

int main(int argc, char **argv)
{
    GC_INIT();
    for (int at = 1; at < argc; at++) {
        const char *value = at + 1 < argc ? argv[at + 1] : "0";
        if (strcmp(argv[at], "--nodes") == 0) {
            options.nodes = strtoull(value, NULL, 10);
            at++;
        } else if (strcmp(argv[at], "--repeat") == 0) {
            options.repeat = (unsigned)strtoul(value, NULL, 10);
            at++;
        } else if (strcmp(argv[at], "--seconds") == 0) {
            options.seconds = strtod(value, NULL);
            at++;
        } else if (strcmp(argv[at], "cycles") == 0) {
            cycles();
        } else if (strcmp(argv[at], "server") == 0) {
            server();
        } else if (strcmp(argv[at], "tree") == 0 || strcmp(argv[at], "list") == 0 || strcmp(argv[at], "random") == 0 ||
                   strcmp(argv[at], "shuffled") == 0) {
            shape(argv[at]);
        } else {
            fputs(
                "usage: ouro-graphs-boehm [--nodes N] [--repeat N] [--seconds N] tree|list|random|shuffled|cycles|server...\n",
                stderr);
            return 2;
        }
    }
    return 0;
}
