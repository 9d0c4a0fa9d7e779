/* workloads/sharing.c: two probes for false sharing: small objects of different threads, written all the time.
 *
 * Owns        one small object a thread at a time.
 * Invariants  an object counts its own writes.
 * Sync        none between objects; that is the point.
 * Source      active and passive false sharing as told apart by Berger, McKinley, Blumofe, Wilson 2000; written anew.
 */
#include "loads.h"
#include "rand.h"
#include "stamp.h"

#include <stdatomic.h>

enum { SHARING_WRITES = 200 };

struct sharing {
    void **gifts; /* one object a thread, made by the first thread; NULL: none */
};

/* A relaxed load and store a turn: no other thread looks, and the compiler may not put the writes together. */
static void sharing_write(atomic_uint_least64_t *object)
{
    /* relaxed: the object is this thread's alone */
    atomic_store_explicit(object, 0, memory_order_relaxed);
    for (unsigned i = 0; i < SHARING_WRITES; i++) {
        /* relaxed: the same */
        uint64_t count = atomic_load_explicit(object, memory_order_relaxed);
        /* relaxed: the same */
        atomic_store_explicit(object, count + 1, memory_order_relaxed);
    }
    /* relaxed: the same */
    if (atomic_load_explicit(object, memory_order_relaxed) != SHARING_WRITES)
        ouroi_bench_die("an object lost writes");
}

static void sharing_member(struct ouroi_member *member)
{
    struct sharing *sharing = member->shared;
    struct ouroi_rand rand = ouroi_rand_seed(member->seed);
    if (sharing->gifts != NULL) {
        sharing_write(sharing->gifts[member->index]);
        free(sharing->gifts[member->index]);
    }
    for (uint64_t i = 0; i < member->ops; i++) {
        void *object = ouroi_must(malloc(ouroi_rand_between(&rand, 8, 48)));
        sharing_write(object);
        free(object);
    }
}

/* Active: does the allocator itself put two threads' objects on one cache line? */
void ouroi_thrash_run(const struct ouroi_job *job)
{
    struct sharing sharing = { .gifts = NULL };
    ouroi_team_run(job, job->threads, job->ops, sharing_member, &sharing);
}

/* Passive: objects made side by side go to different threads, are freed there, and come back from malloc. */
void ouroi_scratch_run(const struct ouroi_job *job)
{
    struct sharing sharing = { .gifts = ouroi_must(malloc(job->threads * sizeof(void *))) };
    for (unsigned i = 0; i < job->threads; i++)
        sharing.gifts[i] = ouroi_must(malloc(16));
    ouroi_team_run(job, job->threads, job->ops, sharing_member, &sharing);
    free(sharing.gifts);
}
