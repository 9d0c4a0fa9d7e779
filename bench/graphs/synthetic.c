/* graphs/synthetic.c: graphs of one shape: collected alive, and dead where a last edge closes a cycle through all of it.
 *
 * Owns        the nodes of one graph.
 * Invariants  every node can be reached from the first; the last refers to the first, so that counts alone free nothing.
 * Sync        one thread; collections use as many workers as asked.
 * Source      none
 */
#define _GNU_SOURCE
#include "graphs.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <ouro/gc.h>

enum { REFS = 3 };
struct node {
    ouro_object base;
    struct node *to[REFS];
    uint64_t payload[3];
};
_Static_assert(sizeof(struct node) == 64, "what peers were measured with");
static ouro_type node_type = OURO_TYPE(struct node, OURO_REFS(struct node, to[0], to[1], to[2]));

static struct node **made; /* the nodes in the order of their making; borrowed after the first */

static uint64_t state = UINT64_C(0x9e3779b97f4a7c15);
static uint64_t draw(uint64_t bound)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (state >> 32) * bound >> 32; /* bound: below 2^32 */
}

static void make_nodes(uint64_t count)
{
    made = malloc(count * sizeof(void *));
    for (uint64_t i = 0; i < count; i++) {
        if (made == NULL || (made[i] = ouro_new(&node_type)) == NULL) {
            perror("ouro-graphs");
            exit(1);
        }
    }
}

/* Moves the reference that the making gave. */
static void refer(struct node *from, size_t which, struct node *to)
{
    from->to[which] = to;
}
static void refer_too(struct node *from, size_t which, struct node *to)
{
    from->to[which] = ouro_newref(to);
}

static void close_cycle(uint64_t count)
{
    refer_too(made[count - 1], REFS - 1, made[0]);
}

static void shape_tree(uint64_t count)
{
    for (uint64_t i = 1; i < count; i++)
        refer(made[(i - 1) / 2], (i - 1) % 2, made[i]);
}
static void shape_list(uint64_t count)
{
    for (uint64_t i = 1; i < count; i++)
        refer(made[i - 1], 0, made[i]);
}
/* A list through the nodes in an order that has nothing to do with where they are. */
static void shape_shuffled(uint64_t count)
{
    for (uint64_t i = count - 1; i > 1; i--) {
        uint64_t other = 1 + draw(i);
        struct node *node = made[i];
        made[i] = made[other];
        made[other] = node;
    }
    shape_list(count);
}
/* Two edges anywhere, and one that makes sure of every node: from one made before, anywhere. */
static void shape_random(uint64_t count)
{
    for (uint64_t i = 1; i < count; i++) {
        struct node *from = made[draw(i)];
        for (uint64_t tries = 0; from->to[0] != NULL && tries < 8; tries++)
            from = made[draw(i)];
        if (from->to[0] != NULL)
            from = made[i - 1];
        refer(from, 0, made[i]);
    }
    for (uint64_t i = 0; i + 1 < count; i++)
        for (size_t k = 1; k < REFS; k++)
            refer_too(made[i], k, made[draw(count)]);
}

static const struct {
    const char *name;
    void (*shape)(uint64_t count);
    const char *what;
} shapes[] = {
    { "tree", shape_tree, "a binary tree, in the order of its levels" },
    { "list", shape_list, "a list, in the order of its making" },
    { "random", shape_random, "three edges a node, anywhere" },
    { "shuffled", shape_shuffled, "a list in random order" },
};

static double collect_full(void)
{
    double start = now_s();
    if (ouro_gc_collect(2) < 0) {
        perror("ouro-graphs: ouro_gc_collect");
        exit(1);
    }
    return now_s() - start;
}

/* Written to a file without a name, as a whole and while the world was stopped, which the file says itself. */
static void run_dump(const char *name, unsigned workers, uint64_t count, unsigned repeat)
{
    double took[64], stopped[64];
    FILE *file = tmpfile();
    for (unsigned i = 0; file != NULL && i < repeat; i++) {
        uint8_t info[64] = { 0 };
        uint64_t pause_ns = 0;
        size_t at = 0;
        if (ftruncate(fileno(file), 0) != 0 || lseek(fileno(file), 0, SEEK_SET) != 0)
            break;
        double start = now_s();
        if (ouro_gc_dump_graph(fileno(file)) != 0)
            break;
        took[i] = now_s() - start;
        ssize_t got =
            pread(fileno(file), info, sizeof info, 32); /* the payload of INFO: three numbers, of seven bits a byte */
        for (unsigned number = 0; number < 2; number++)
            while (at < (size_t)got && info[at++] >= 128)
                continue;
        for (unsigned shift = 0; shift < 64; shift += 7) {
            pause_ns |= (uint64_t)(info[at] & 127) << shift;
            if (at + 1 >= (size_t)got || info[at++] < 128)
                break;
        }
        stopped[i] = (double)pause_ns / 1e9;
        if (i + 1 < repeat)
            continue;
        report(name, "dumped", workers, median(took, repeat), count, 0);
        report(name, "  world stopped", workers, median(stopped, repeat), count, 0);
        fclose(file);
        return;
    }
    perror("ouro-graphs: ouro_gc_dump_graph");
    exit(1);
}

static void run_shape(size_t which, unsigned workers)
{
    const char *name = shapes[which].name;
    uint64_t count = options.nodes != 0 ? options.nodes : 5000000;
    double took[64];
    unsigned repeat = options.repeat < 64 ? options.repeat : 64;
    ouro_gc_disable();
    ouro_gc_set_workers(workers);
    make_nodes(count);
    shapes[which].shape(count);
    close_cycle(count);
    struct node *root = made[0];
    free(made);
    ouro_gc_collect(2);
    for (unsigned i = 0; i < repeat; i++)
        took[i] = collect_full();
    report(name, "alive, full", workers, median(took, repeat), count, 0);
    run_dump(name, workers, count, repeat);
    ouro_decref(root);
    double start = now_s();
    long collected = ouro_gc_collect(2);
    report(name, "dead, freed too", workers, now_s() - start, count, 0);
    if (collected != (long)count)
        fprintf(stderr, "ouro-graphs: %s: %ld objects collected of %llu\n", name, collected, (unsigned long long)count);
}

/* What 10^4 young cost beside many old ones, and with none. */
static void run_young(void)
{
    enum { YOUNG = 10000 };
    double took[64];
    unsigned repeat = options.repeat < 64 ? options.repeat * 4 < 64 ? options.repeat * 4 : 64 : 64;
    for (uint64_t old = 0;; old = options.nodes != 0 ? options.nodes : 10000000) {
        struct node *root = NULL;
        ouro_gc_disable();
        ouro_gc_set_workers(options.workers[0]);
        if (old > 0) {
            make_nodes(old);
            shape_tree(old);
            root = made[0];
            free(made);
        }
        ouro_gc_collect(2);
        for (unsigned i = 0; i < repeat; i++) {
            make_nodes(YOUNG);
            shape_list(YOUNG);
            struct node *head = made[0];
            free(made);
            double start = now_s();
            ouro_gc_collect(0);
            took[i] = now_s() - start;
            ouro_decref(head);
        }
        report("young", old > 0 ? "10^4 beside old" : "10^4 alone", options.workers[0], median(took, repeat), YOUNG, 0);
        ouro_xdecref(root);
        if (old > 0)
            return;
    }
}

void list_synthetic(FILE *file)
{
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++)
        fprintf(file, "  %-9s %s, 5 million nodes: alive, dumped, dead\n", shapes[i].name, shapes[i].what);
    fputs("  young     a collection of 10^4 young objects beside 10 million old ones, and alone\n"
          "  cycles    10 million cycles of two, made and dropped, with automatic collection\n"
          "  trees     binary-trees\n"
          "  server    a cache of 1 million entries that form cycles: throughput and pauses\n",
          file);
}

bool run_synthetic(const char *name)
{
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        if (strcmp(name, shapes[i].name) != 0)
            continue;
        for (size_t k = 0; k < options.worker_counts; k++)
            run_shape(i, options.workers[k]);
        return true;
    }
    static const struct {
        const char *name;
        void (*run)(void);
    } loads[] = { { "young", run_young }, { "cycles", run_cycles }, { "trees", run_trees }, { "server", run_server } };
    for (size_t i = 0; i < sizeof loads / sizeof loads[0]; i++) {
        if (strcmp(name, loads[i].name) != 0)
            continue;
        loads[i].run();
        return true;
    }
    return false;
}
