/* workloads/team.c: threads that start together, the queues between them, and the way out when something is wrong.
 *
 * Owns        the team of one run; the meshes of rings.
 * Invariants  shares of ops add up to ops.
 * Sync        one barrier at the start, join at the end.
 * Source      none
 */
#include "ring.h"
#include "workload.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

enum { TEAM_MAX = 256 };

struct team_thread {
    struct ouroi_member member;
    ouroi_member_fn fn;
    pthread_barrier_t *start;
    pthread_t thread;
};

char ouroi_ring_closed[1];

_Noreturn void ouroi_bench_die(const char *format, ...)
{
    char line[256];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    fprintf(stderr, "ouro-workload: %s\n", line);
    _Exit(1);
}

/* Thread i on the i-th processor that the process may use, round and round. */
static void team_thread_pin(unsigned index)
{
    cpu_set_t allowed, own;
    if (sched_getaffinity(0, sizeof allowed, &allowed) != 0)
        return;
    unsigned nth = index % (unsigned)CPU_COUNT(&allowed);
    CPU_ZERO(&own);
    for (unsigned cpu = 0; cpu < CPU_SETSIZE; cpu++)
        if (CPU_ISSET(cpu, &allowed) && nth-- == 0)
            CPU_SET(cpu, &own);
    pthread_setaffinity_np(pthread_self(), sizeof own, &own);
}

static void *team_thread_main(void *arg)
{
    struct team_thread *self = arg;
    if (self->member.job->pin)
        team_thread_pin(self->member.index);
    pthread_barrier_wait(self->start);
    self->fn(&self->member);
    return NULL;
}

void ouroi_team_run(const struct ouroi_job *job, unsigned threads, uint64_t ops, ouroi_member_fn fn, void *shared)
{
    static struct team_thread team[TEAM_MAX];
    pthread_barrier_t start;
    if (threads == 0 || threads > TEAM_MAX)
        ouroi_bench_die("%u threads: not 1 to %d", threads, TEAM_MAX);
    pthread_barrier_init(&start, NULL, threads);
    for (unsigned i = 0; i < threads; i++) {
        team[i].member = (struct ouroi_member){
            .job = job,
            .shared = shared,
            .index = i,
            .threads = threads,
            .ops = ops / threads + (i < ops % threads ? 1 : 0),
            .seed = job->seed * UINT64_C(1000003) + i,
        };
        team[i].fn = fn;
        team[i].start = &start;
        if (pthread_create(&team[i].thread, NULL, team_thread_main, &team[i]) != 0)
            ouroi_bench_die("cannot start thread %u", i);
    }
    for (unsigned i = 0; i < threads; i++)
        pthread_join(team[i].thread, NULL);
    pthread_barrier_destroy(&start);
}

static size_t ring_mesh_bytes(unsigned rows, unsigned columns)
{
    return (size_t)rows * columns * sizeof(struct ouroi_ring);
}

struct ouroi_ring *ouroi_ring_mesh_new(unsigned rows, unsigned columns, size_t limit)
{
    void *pages =
        mmap(NULL, ring_mesh_bytes(rows, columns), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pages == MAP_FAILED)
        ouroi_bench_die("out of memory");
    struct ouroi_ring *mesh = pages;
    for (size_t i = 0; i < (size_t)rows * columns; i++)
        mesh[i].limit = limit;
    return mesh;
}

void ouroi_ring_mesh_free(struct ouroi_ring *mesh, unsigned rows, unsigned columns)
{
    munmap(mesh, ring_mesh_bytes(rows, columns));
}
