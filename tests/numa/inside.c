/* numa/inside.c: what is looked at inside the virtual machine with several NUMA nodes (boot starts it).
 *
 * usage: numa_inside CHECK...; each says what it found, and the exit status is 1 if it is not what it ought to be. Where pages
 * are is asked of the kernel (move_pages).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "gc/gc.h"
#include "gc/internal.h"
#include "os/os.h"
#include "world/internal.h"

#include <ouro/ouro.h>

enum { NODES_MAX = 8, CPUS_MAX = 64 };

static int failures;

static void expect(bool is, const char *what, long a, long b)
{
    if (is)
        return;
    printf("not so: %s (%ld, %ld)\n", what, a, b);
    failures++;
}

/* Of the page at `at`, which was touched; negative: an errno of the kernel's. */
static int node_of_page(const void *at)
{
    void *page = (void *)((uintptr_t)at & ~(uintptr_t)4095);
    int status = -1;
    if (syscall(SYS_move_pages, 0, 1ul, &page, NULL, &status, 0) != 0)
        return -errno;
    return status;
}

static unsigned node_of_cpu(void)
{
    unsigned cpu = 0, node = 0;
    syscall(SYS_getcpu, &cpu, &node, NULL);
    return node;
}

static bool pin(unsigned cpu)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    return sched_setaffinity(0, sizeof set, &set) == 0;
}

static cpu_set_t allowed;

static void run_on(unsigned cpu, void *(*body)(void *), void *arg)
{
    pthread_t thread;
    pthread_attr_t attributes;
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    pthread_attr_init(&attributes);
    pthread_attr_setaffinity_np(&attributes, sizeof set, &set);
    if (pthread_create(&thread, &attributes, body, arg) != 0) {
        expect(false, "a thread can be made", (long)cpu, errno);
        return;
    }
    pthread_join(thread, NULL);
}

/* Pages of blocks of many sizes, by node. */
static void count_pages(const char *block, size_t bytes, size_t *pages)
{
    for (size_t at = 0; at < bytes; at += 4096) {
        int node = node_of_page(block + at);
        if (node >= 0 && node < NODES_MAX)
            pages[node]++;
        else
            expect(false, "the kernel knows where a page is", node, (long)at);
    }
}

static const size_t sizes[] = { 64, 1000, 5000, 30000, 200000, (size_t)2 << 20, (size_t)20 << 20 };

struct tally {
    size_t pages[NODES_MAX];
    unsigned node;
};

static void *use_all_sizes(void *arg)
{
    struct tally *tally = arg;
    tally->node = node_of_cpu();
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        size_t count = sizes[i] < 100000 ? ((size_t)1 << 20) / sizes[i] : 2;
        char **blocks = ouro_malloc(count * sizeof *blocks);
        for (size_t k = 0; k < count; k++) {
            blocks[k] = ouro_malloc(sizes[i]);
            expect(blocks[k] != NULL, "there is memory", (long)sizes[i], 0);
            memset(blocks[k], 1, sizes[i]);
            count_pages(blocks[k], sizes[i], tally->pages);
        }
        for (size_t k = 0; k < count; k++)
            ouro_free(blocks[k]);
        ouro_free(blocks);
    }
    return NULL;
}

static size_t sum(const size_t *pages)
{
    size_t total = 0;
    for (unsigned n = 0; n < NODES_MAX; n++)
        total += pages[n];
    return total;
}

/* Every page is on the node of the thread that fetched it. */
static void check_pages(void)
{
    for (unsigned cpu = 0; cpu < CPUS_MAX; cpu++) {
        struct tally tally = { .node = 0 };
        if (!CPU_ISSET(cpu, &allowed))
            continue;
        run_on(cpu, use_all_sizes, &tally);
        size_t total = sum(tally.pages);
        printf("cpu %u, node %u: %zu of %zu pages there\n", cpu, tally.node, tally.pages[tally.node % NODES_MAX],
               total);
        expect(total > 10000 && tally.pages[tally.node % NODES_MAX] == total, "all pages are on the thread's node",
               (long)tally.node, (long)(total - tally.pages[tally.node % NODES_MAX]));
    }
}

/* A CPU of the n-th node that has one. */
static int cpu_of_node(unsigned wanted)
{
    int found = -1;
    for (unsigned cpu = 0; cpu < CPUS_MAX && found < 0; cpu++)
        if (CPU_ISSET(cpu, &allowed) && pin(cpu) && node_of_cpu() == wanted)
            found = (int)cpu;
    sched_setaffinity(0, sizeof allowed, &allowed);
    return found;
}

enum { HANDED = 20000, HANDED_BYTES = 512 };
static char *handed[HANDED];

static void *fill_handed(void *arg)
{
    (void)arg;
    for (size_t i = 0; i < HANDED; i++) {
        handed[i] = ouro_malloc(HANDED_BYTES);
        memset(handed[i], 2, HANDED_BYTES);
    }
    return NULL;
}
static void *free_handed_and_use(void *arg)
{
    for (size_t i = 0; i < HANDED; i++)
        ouro_free(handed[i]);
    return use_all_sizes(arg);
}

/* What node 0 made and node 1 freed is used on node 0 again, and not on node 1. */
static void check_returns(void)
{
    int first = cpu_of_node(0), second = cpu_of_node(1);
    size_t pages[NODES_MAX] = { 0 };
    struct tally tally = { .node = 0 };
    run_on((unsigned)first, fill_handed, NULL);
    run_on((unsigned)second, free_handed_and_use, &tally);
    expect(tally.node == 1 && sum(tally.pages) == tally.pages[1], "who freed another node's blocks does not use them",
           (long)sum(tally.pages), (long)tally.pages[1]);
    ouro_alloc_stats before, after;
    ouro_stats_get(&before);
    run_on((unsigned)first, fill_handed, NULL);
    ouro_stats_get(&after);
    for (size_t i = 0; i < HANDED; i++)
        count_pages(handed[i], 1, pages);
    expect(pages[0] == HANDED, "a freed block is used on its own node", (long)pages[0], HANDED);
    printf("%d blocks of node 0, freed on node 1, used on node 0 again; %ld KiB more reserved\n", HANDED,
           ((long)after.reserved - (long)before.reserved) / 1024);
    for (size_t i = 0; i < HANDED; i++)
        ouro_free(handed[i]);
}

/* Workers are where the plan says. */
static cpu_set_t seen[CPUS_MAX];
static unsigned worker_nodes[CPUS_MAX];
static uint32_t arrived;
static void note_place(void *arg, unsigned index, unsigned count)
{
    (void)arg;
    __atomic_fetch_add(&arrived, 1, __ATOMIC_SEQ_CST); /* all at once, so that each has a CPU */
    while (__atomic_load_n(&arrived, __ATOMIC_SEQ_CST) < count)
        sched_yield();
    sched_getaffinity(0, sizeof seen[index], &seen[index]);
    worker_nodes[index] = node_of_cpu();
}
static void check_workers(void)
{
    unsigned count = (unsigned)CPU_COUNT(&allowed), of_node[NODES_MAX] = { 0 };
    ouroi_workers_run(count, note_place, NULL);
    for (unsigned i = 0; i < count; i++) {
        unsigned planned = ouroi_worker_node(i);
        of_node[planned % NODES_MAX]++;
        if (i == 0)
            continue; /* the caller, who is not bound */
        expect(worker_nodes[i] == planned, "a worker is on its node", (long)worker_nodes[i], (long)planned);
        for (unsigned cpu = 0; cpu < CPUS_MAX; cpu++)
            if (CPU_ISSET(cpu, &seen[i])) {
                expect(CPU_ISSET(cpu, &allowed), "a worker may use no CPU that is not allowed", i, cpu);
            }
    }
    for (unsigned n = 0; n < NODES_MAX; n++) {
        unsigned cpus = 0;
        for (unsigned cpu = 0; cpu < CPUS_MAX; cpu++)
            if (CPU_ISSET(cpu, &allowed) && pin(cpu))
                cpus += node_of_cpu() == n;
        sched_setaffinity(0, sizeof allowed, &allowed);
        if (cpus + of_node[n] != 0)
            printf("node %u: %u CPUs, %u workers\n", n, cpus, of_node[n]);
        expect(cpus == of_node[n], "a node has as many workers as CPUs", cpus, of_node[n]);
    }
}

/* Heaps that are local to their nodes, looked through by workers of these. */
struct node {
    ouro_object base;
    struct node *left, *right;
    uint64_t data[4];
};
static ouro_type node_type = OURO_TYPE(struct node, OURO_REFS(struct node, left, right));
enum { DEPTH = 15 };
static struct node *roots[NODES_MAX];

static struct node *new_tree(unsigned depth)
{
    struct node *tree = ouro_new(&node_type);
    if (depth > 0) {
        tree->left = new_tree(depth - 1);
        tree->right = new_tree(depth - 1);
    }
    return tree;
}
static void *make_tree(void *arg)
{
    *(struct node **)arg = new_tree(DEPTH);
    return NULL;
}
static void check_near(void)
{
    struct ouroi_gc_counts before, after;
    unsigned nodes = 0;
    ouro_gc_disable();
    ouro_gc_set_workers((unsigned)CPU_COUNT(&allowed));
    /* The machine's CPUs are threads of a host that is busy with other things for many milliseconds at a time. */
    ouroi_search_patience_ns = 2000000000u;
    for (unsigned n = 0; n < NODES_MAX; n++) {
        int cpu = cpu_of_node(n);
        if (cpu < 0)
            continue;
        OURO_BLOCKING {
            run_on((unsigned)cpu, make_tree, &roots[n]);
        }
        nodes++;
    }
    for (unsigned round = 0; round < 3; round++) {
        ouroi_gc_count(&before);
        expect(ouro_gc_collect(2) == 0, "nothing is dead", round, 0);
        ouroi_gc_count(&after);
        uint64_t near = after.near - before.near, far = after.far - before.far;
        printf("collection %u: %llu objects by workers of their node, %llu by others\n", round,
               (unsigned long long)near, (unsigned long long)far);
        expect(near + far >= nodes << DEPTH, "all were looked into", (long)(near + far), (long)nodes << DEPTH);
        expect(near >= 19 * far, "95 of 100 by workers of their own node", (long)near, (long)far);
    }
    for (unsigned n = 0; n < NODES_MAX; n++)
        OURO_CLEAR(roots[n]);
    expect(ouro_debug_check() == 0, "ouro_debug_check finds nothing", 0, 0);
}

/* OURO_NUMA=interleave and off. */
static void check_interleave(void)
{
    struct tally tally = { .node = 0 };
    use_all_sizes(&tally);
    size_t total = sum(tally.pages);
    for (unsigned n = 0; n < ouroi_machine.nodes; n++) {
        printf("node %u: %zu of %zu pages\n", n, tally.pages[n], total);
        expect(tally.pages[n] * ouroi_machine.nodes * 2 > total, "pages are spread over all nodes", n,
               (long)tally.pages[n]);
    }
}
static void check_off(void)
{
    struct tally tally = { .node = 0 };
    expect(ouroi_machine.nodes == 1, "there is one node for the allocator", (long)ouroi_machine.nodes, 1);
    use_all_sizes(&tally);
    printf("%zu pages\n", sum(tally.pages));
    ouro_alloc_stats stats;
    ouro_stats_get(&stats);
    expect(stats.arenas == 1, "there is one arena", (long)stats.arenas, 1);
}

/* Some node has CPUs and no memory, or no CPUs and memory: all goes on. */
static void check_anywhere(void)
{
    for (unsigned cpu = 0; cpu < CPUS_MAX; cpu++) {
        struct tally tally = { .node = 0 };
        if (!CPU_ISSET(cpu, &allowed))
            continue;
        run_on(cpu, use_all_sizes, &tally);
        printf("cpu %u, node %u: %zu pages, %zu on its node\n", cpu, tally.node, sum(tally.pages),
               tally.pages[tally.node % NODES_MAX]);
        expect(sum(tally.pages) > 10000, "pages are somewhere", (long)cpu, (long)sum(tally.pages));
    }
    ouro_gc_set_workers(8);
    for (unsigned n = 0; n < 4; n++)
        make_tree(&roots[n]);
    expect(ouro_gc_collect(2) == 0, "nothing is dead", 0, 0);
    for (unsigned n = 0; n < 4; n++)
        OURO_CLEAR(roots[n]);
    expect(ouro_debug_check() == 0, "ouro_debug_check finds nothing", 0, 0);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*check)(void);
    } checks[] = {
        { "pages", check_pages },       { "returns", check_returns }, { "workers", check_workers },
        { "near", check_near },         { "off", check_off },         { "interleave", check_interleave },
        { "anywhere", check_anywhere },
    };
    sched_getaffinity(0, sizeof allowed, &allowed);
    for (int i = 1; i < argc; i++) {
        size_t k = 0;
        while (k < sizeof checks / sizeof checks[0] && strcmp(argv[i], checks[k].name) != 0)
            k++;
        if (k == sizeof checks / sizeof checks[0])
            return 2;
        checks[k].check();
    }
    return failures != 0 || argc < 2;
}
