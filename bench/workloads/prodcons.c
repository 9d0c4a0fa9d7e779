/* workloads/prodcons.c: some threads only allocate, others only free.
 *
 * Owns        a ring from every producer to every consumer.
 * Invariants  every block is freed by a thread that did not allocate it; a closed mark ends each ring.
 * Sync        the rings'.
 * Source      none
 */
#include "loads.h"
#include "ring.h"
#include "sizes.h"
#include "stamp.h"

struct prodcons {
    unsigned producers;
    unsigned consumers;
    struct ouroi_ring *rings;
    struct ouroi_sizes sizes;
};

/* Keeps to one consumer for 32 blocks, as a writer with buffers to fill would. */
static void prodcons_produce(struct prodcons *shared, unsigned index, uint64_t seed, uint64_t ops)
{
    struct ouroi_rand rand = ouroi_rand_seed(seed);
    struct ouroi_ring *row = &shared->rings[index * shared->consumers];
    unsigned to = index % shared->consumers;
    for (uint64_t i = 0; i < ops; i++) {
        if (i % 32 == 31)
            to = (to + 1) % shared->consumers;
        ouroi_ring_push(&row[to], ouroi_parcel_malloc(ouroi_sizes_draw(&shared->sizes, &rand)));
    }
    for (unsigned i = 0; i < shared->consumers; i++)
        ouroi_ring_push(&row[i], ouroi_ring_closed);
}

static void prodcons_consume(struct prodcons *shared, unsigned index)
{
    unsigned open = shared->producers;
    unsigned turns = 0;
    while (open > 0) {
        bool idle = true;
        for (unsigned from = 0; from < shared->producers; from++) {
            struct ouroi_ring *ring = &shared->rings[from * shared->consumers + index];
            void *block;
            for (unsigned got = 0; got < 64 && (block = ouroi_ring_try_pop(ring)) != NULL; got++) {
                idle = false;
                if (block == ouroi_ring_closed)
                    open--;
                else
                    ouroi_parcel_free(block);
            }
        }
        if (idle)
            ouroi_ring_wait(&turns);
        else
            turns = 0;
    }
}

static void prodcons_member(struct ouroi_member *member)
{
    struct prodcons *shared = member->shared;
    if (member->index >= shared->producers) {
        prodcons_consume(shared, member->index - shared->producers);
        return;
    }
    uint64_t ops = member->job->ops / shared->producers;
    prodcons_produce(shared, member->index, member->seed, ops > 0 ? ops : 1);
}

/* max_inside: blocks in one ring. */
static void prodcons_run(const struct ouroi_job *job, unsigned producers, size_t max_inside, struct prodcons *shared)
{
    shared->producers = producers;
    shared->consumers = job->threads - producers;
    shared->rings = ouroi_ring_mesh_new(shared->producers, shared->consumers, max_inside);
    ouroi_team_run(job, job->threads, job->ops, prodcons_member, shared);
    ouroi_ring_mesh_free(shared->rings, shared->producers, shared->consumers);
}

static void prodcons_small_run(const struct ouroi_job *job, unsigned producers)
{
    static struct prodcons shared;
    ouroi_sizes_server(&shared.sizes, job->seed, 4096);
    prodcons_run(job, producers, OUROI_RING_SLOTS, &shared);
}

void ouroi_prodcons_1_1_run(const struct ouroi_job *job)
{
    prodcons_small_run(job, job->threads / 2);
}

void ouroi_prodcons_1_3_run(const struct ouroi_job *job)
{
    prodcons_small_run(job, job->threads >= 4 ? job->threads / 4 : 1);
}

void ouroi_prodcons_3_1_run(const struct ouroi_job *job)
{
    prodcons_small_run(job, job->threads >= 4 ? job->threads - job->threads / 4 : job->threads - 1);
}

/* Few buffers are under way at a time, as where each is read from a disk or a socket. */
void ouroi_iobuf_run(const struct ouroi_job *job)
{
    static struct prodcons shared;
    ouroi_sizes_loguniform(&shared.sizes, job->seed, 16 << 10, 1 << 20);
    prodcons_run(job, job->threads / 2, 8, &shared);
}
