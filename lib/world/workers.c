/* world/workers.c: the threads that do a collection's work, and the nodes that they are bound to.
 *
 * Owns        the pool of worker threads; the plan of nodes.
 * Invariants  workers 1 to made - 1 exist; each sleeps on its own word, or works for the one caller that holds `lock`. They
 *             take no signal, are not registered, and end by themselves, the last first, when there has been nothing to do
 *             for a while, so that a process whose own threads have all ended does.
 * Sync        lock, rank WORKERS; [JOB].
 *
 * The plan is made with the first workers: the CPUs of each node that this process may use, by hwloc, or, where the program
 * was linked without that (weak symbols; wholly static programs), out of /sys. Nothing is asked on a machine of one node.
 */
#include "world/internal.h"

#include <errno.h>
#include <hwloc.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#pragma weak hwloc_topology_init
#pragma weak hwloc_topology_set_synthetic
#pragma weak hwloc_topology_load
#pragma weak hwloc_topology_destroy
#pragma weak hwloc_get_type_depth
#pragma weak hwloc_get_nbobjs_by_depth
#pragma weak hwloc_get_obj_by_depth
#pragma weak hwloc_bitmap_to_ith_ulong

#define IDLE_NS ((uint64_t)5000000000u)
#define IDLE_MORE_NS ((uint64_t)100000000u) /* to the next look of one that others have to end before */
#define STACK_BYTES ((size_t)1 << 20)
enum { WORKERS_MAX = 1024, CPUS_MAX = 1024, WORD_BITS = 8 * sizeof(unsigned long), SPINS = 300 };

struct worker {
    uint32_t jobs; /* a futex word: goes up by one when there is work */
    uint32_t seen;
    pthread_t thread;
} __attribute__((aligned(OUROI_CACHE_LINE)));

const char *ouroi_workers_synthetic;
void (*ouroi_workers_hook)(unsigned count, void (*work)(void *arg, unsigned index, unsigned count), void *arg);

static struct ouroi_lock lock = OUROI_LOCK_INIT(OUROI_RANK_WORKERS);
static struct worker workers[WORKERS_MAX];
static unsigned made = 1; /* the caller is number 0 */
static struct {
    void (*work)(void *arg, unsigned index, unsigned count);
    void *arg;
    unsigned count;
} job;
static uint32_t unfinished; /* a futex word */

static bool is_planned;
static unsigned node_count = 1;
static bool is_bound; /* workers are, to node_cpus of their nodes */
static unsigned long node_cpus[OUROI_NODES_MAX][CPUS_MAX / WORD_BITS];
static uint8_t node_of[WORKERS_MAX];

void ouroi_workers_plan(const unsigned *cpus, unsigned nodes, uint8_t *plan, unsigned count)
{
    unsigned long given[OUROI_NODES_MAX] = { 0 };
    for (unsigned i = 0; i < count; i++) {
        unsigned best = OUROI_NODES_MAX;
        for (unsigned n = 0; n < nodes; n++)
            /* the node with the most CPUs for each worker that it would have */
            if (cpus[n] != 0 && (best == OUROI_NODES_MAX || (given[n] + 1) * cpus[best] < (given[best] + 1) * cpus[n]))
                best = n;
        plan[i] = (uint8_t)(best == OUROI_NODES_MAX ? 0 : best);
        if (best != OUROI_NODES_MAX)
            given[best]++;
    }
}

static void read_nodes_by_hwloc(void)
{
    hwloc_topology_t topology;
    if (hwloc_topology_init(&topology) != 0)
        return;
    if ((ouroi_workers_synthetic == NULL || hwloc_topology_set_synthetic(topology, ouroi_workers_synthetic) == 0) &&
        hwloc_topology_load(topology) == 0) {
        int depth = hwloc_get_type_depth(topology, HWLOC_OBJ_NUMANODE);
        unsigned count = hwloc_get_nbobjs_by_depth(topology, depth);
        for (unsigned i = 0; i < count; i++) {
            hwloc_obj_t node = hwloc_get_obj_by_depth(topology, depth, i);
            if (node->os_index >= OUROI_NODES_MAX)
                continue;
            for (unsigned w = 0; w < CPUS_MAX / WORD_BITS; w++)
                node_cpus[node->os_index][w] = hwloc_bitmap_to_ith_ulong(node->cpuset, w);
            if (node->os_index >= node_count)
                node_count = node->os_index + 1;
        }
    }
    hwloc_topology_destroy(topology);
}

/* Reads a list of CPUs such as "0-3,8". */
static void read_cpu_list(const char *text, unsigned long *cpus)
{
    unsigned first = 0, value = 0;
    bool is_range = false;
    for (;; text++) {
        if (*text >= '0' && *text <= '9') {
            value = value < CPUS_MAX ? value * 10 + (unsigned)(*text - '0') : value;
            continue;
        }
        if (*text == '-') {
            first = value;
            is_range = true;
        } else {
            for (unsigned cpu = is_range ? first : value; cpu <= value && cpu < CPUS_MAX; cpu++)
                cpus[cpu / WORD_BITS] |= 1ul << cpu % WORD_BITS;
            is_range = false;
        }
        if (*text != '-' && *text != ',')
            return;
        value = 0;
    }
}

static void read_nodes_by_sys(void)
{
    char path[64], text[1024];
    for (unsigned n = 0; n < OUROI_NODES_MAX; n++) {
        ouroi_format(path, sizeof path, "/sys/devices/system/node/node%u/cpulist", n);
        if (ouroi_os_read_file(path, text, sizeof text) <= 1) /* there is no such node, or it has no CPUs */
            continue;
        read_cpu_list(text, node_cpus[n]);
        node_count = n + 1;
    }
}

static void plan_locked(void)
{
    if (is_planned)
        return;
    is_planned = true;
    ouroi_heap_start();
    unsigned cpus[OUROI_NODES_MAX] = { 0 };
    unsigned long allowed[CPUS_MAX / WORD_BITS];
    if (ouroi_machine.nodes > 1 || ouroi_workers_synthetic != NULL) {
        if (hwloc_topology_init != NULL)
            read_nodes_by_hwloc();
        else
            read_nodes_by_sys();
    }
    memset(allowed, 0, sizeof allowed);
    if (ouroi_workers_synthetic != NULL || syscall(SYS_sched_getaffinity, 0, sizeof allowed, allowed) <= 0)
        memset(allowed, 0xff, sizeof allowed);
    unsigned nodes_with_cpus = 0;
    for (unsigned n = 0; n < node_count; n++) {
        for (unsigned w = 0; w < CPUS_MAX / WORD_BITS; w++) {
            node_cpus[n][w] &= allowed[w];
            cpus[n] += (unsigned)__builtin_popcountl(node_cpus[n][w]);
        }
        nodes_with_cpus += cpus[n] != 0;
    }
    ouroi_workers_plan(cpus, node_count, node_of, WORKERS_MAX);
    is_bound = nodes_with_cpus > 1 && ouroi_workers_synthetic == NULL;
}

unsigned ouroi_worker_node(unsigned index)
{
    ouroi_lock_acquire(&lock);
    plan_locked();
    ouroi_lock_release(&lock);
    return node_of[index % WORKERS_MAX];
}

/* Whether the worker ends now: nothing to do for long, and it is the last. */
static bool retire(struct worker *self)
{
    if (!ouroi_lock_try(&lock))
        return false;
    /* relaxed: under the lock */
    bool is_last = self == &workers[made - 1] && ouroi_atomic_load_relaxed(&self->jobs) == self->seen;
    if (is_last)
        OUROI_OWNED_SET(&made, made - 1);
    ouroi_lock_release(&lock);
    return is_last;
}

static void *worker_main(void *arg)
{
    struct worker *self = arg;
    unsigned index = (unsigned)(self - workers);
    char name[16];
    ouroi_format(name, sizeof name, "ouro-work-%u", index);
    prctl(PR_SET_NAME, name, 0, 0, 0);
    if (is_bound)
        syscall(SYS_sched_setaffinity, 0, sizeof node_cpus[0], node_cpus[node_of[index]]);
    bool idle = false;
    for (;;) {
        uint32_t jobs;
        /* [JOB look] acquire, pairs with [JOB hand]: the job */
        for (unsigned spin = 0; (jobs = ouroi_atomic_load_acquire(&self->jobs)) == self->seen; spin++) {
            if (ouroi_machine.cpus > 1 && spin < SPINS && !idle) {
                ouroi_pause();
                continue;
            }
            uint64_t before = ouroi_os.now_ns(), patience = idle ? IDLE_MORE_NS : IDLE_NS;
            ouroi_os.futex_wait(&self->jobs, self->seen, patience);
            if (ouroi_os.now_ns() - before >= patience) {
                idle = true;
                if (retire(self))
                    return NULL;
            }
        }
        idle = false;
        self->seen = jobs;
        job.work(job.arg, index, job.count);
        /* [JOB done] seq_cst, pairs with [JOB wait]: what was done */
        if (ouroi_atomic_fetch_sub_seq_cst(&unfinished, 1) == 1)
            ouroi_os.futex_wake(&unfinished, 1);
    }
}

/* Makes one worker more. */
static bool make_locked(void)
{
    struct worker *worker = &workers[made];
    int saved = errno;
    sigset_t all, mask;
    pthread_attr_t attributes;
    sigfillset(&all);
    if (pthread_attr_init(&attributes) != 0)
        return false;
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attributes, STACK_BYTES);
    worker->seen = ouroi_atomic_load_relaxed(&worker->jobs); /* relaxed: the last of that number has ended */
    pthread_sigmask(SIG_SETMASK, &all, &mask);
    bool ok = pthread_create(&worker->thread, &attributes, worker_main, worker) == 0;
    pthread_sigmask(SIG_SETMASK, &mask, NULL);
    pthread_attr_destroy(&attributes);
    errno = saved;
    if (ok)
        OUROI_OWNED_SET(&made, made + 1);
    return ok;
}

static unsigned prepare_locked(unsigned count)
{
    bool may_make = !ouroi_world_is_stopped() || !ouroi_signal_is_on();
    if (count > WORKERS_MAX)
        count = WORKERS_MAX;
    if (made < count && may_make)
        plan_locked();
    while (made < count && may_make && make_locked())
        ;
    return made < count ? made : count;
}

unsigned ouroi_workers_prepare(unsigned count)
{
    ouroi_lock_acquire(&lock);
    unsigned got = prepare_locked(count);
    ouroi_lock_release(&lock);
    return got;
}

static void await_workers(void)
{
    uint32_t left;
    /* [JOB wait] acquire, pairs with [JOB done]: what was done */
    for (unsigned spin = 0; (left = ouroi_atomic_load_acquire(&unfinished)) != 0; spin++) {
        if (ouroi_machine.cpus > 1 && spin < SPINS)
            ouroi_pause();
        else
            ouroi_os.futex_wait(&unfinished, left, 0);
    }
}

void ouroi_workers_run(unsigned count, void (*work)(void *arg, unsigned index, unsigned count), void *arg)
{
    if (count <= 1) {
        work(arg, 0, 1);
        return;
    }
    if (OUROI_UNLIKELY(ouroi_workers_hook != NULL)) {
        ouroi_workers_hook(count, work, arg);
        return;
    }
    ouroi_lock_acquire(&lock);
    count = prepare_locked(count);
    job.work = work;
    job.arg = arg;
    job.count = count;
    ouroi_atomic_store_relaxed(&unfinished, count - 1); /* relaxed: published by [JOB hand] */
    for (unsigned i = 1; i < count; i++) {
        /* [JOB hand] seq_cst, pairs with [JOB look]: the job */
        ouroi_atomic_fetch_add_seq_cst(&workers[i].jobs, 1);
        ouroi_os.futex_wake(&workers[i].jobs, 1);
    }
    work(arg, 0, count);
    await_workers();
    ouroi_lock_release(&lock);
}

void ouroi_workers_fork_prepare(void)
{
    ouroi_lock_acquire(&lock);
}

void ouroi_workers_fork_done(bool child)
{
    if (!child) {
        ouroi_lock_release(&lock);
        return;
    }
    made = 1; /* they come again when they are needed */
    ouroi_lock_reset(&lock);
}
