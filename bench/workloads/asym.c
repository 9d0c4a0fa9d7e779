/* workloads/asym.c: half of the threads fill batches with blocks and queue them; the other half frees whatever batch comes.
 *
 * Owns        one queue of batches under a lock; a batch is itself a block.
 * Invariants  at most ASYM_QUEUED batches wait.
 * Sync        the queue's mutex and its two conditions.
 * Source      the pattern is that of Lever and Boreham 2000 (malloc() performance in a multithreaded Linux environment); written anew.
 */
#include "loads.h"
#include "sizes.h"
#include "stamp.h"

#include <pthread.h>

enum { ASYM_BATCH = 120, ASYM_QUEUED = 32 };

struct batch {
    struct batch *next;
    unsigned count;
    void *blocks[ASYM_BATCH];
};

struct asym {
    struct ouroi_sizes sizes;
    pthread_mutex_t lock;
    pthread_cond_t filled;
    pthread_cond_t drained;
    struct batch *queue;
    unsigned queued;
    unsigned makers_left;
};

static void asym_put(struct asym *asym, struct batch *batch)
{
    pthread_mutex_lock(&asym->lock);
    while (asym->queued == ASYM_QUEUED)
        pthread_cond_wait(&asym->drained, &asym->lock);
    batch->next = asym->queue;
    asym->queue = batch;
    asym->queued++;
    pthread_cond_signal(&asym->filled);
    pthread_mutex_unlock(&asym->lock);
}

/* NULL once the last maker has ended and all is taken. */
static struct batch *asym_take(struct asym *asym)
{
    pthread_mutex_lock(&asym->lock);
    while (asym->queue == NULL && asym->makers_left > 0)
        pthread_cond_wait(&asym->filled, &asym->lock);
    struct batch *batch = asym->queue;
    if (batch != NULL) {
        asym->queue = batch->next;
        asym->queued--;
        pthread_cond_signal(&asym->drained);
    }
    pthread_mutex_unlock(&asym->lock);
    return batch;
}

static void asym_make(struct asym *asym, uint64_t seed, uint64_t ops)
{
    struct ouroi_rand rand = ouroi_rand_seed(seed);
    while (ops > 0) {
        struct batch *batch = ouroi_must(malloc(sizeof *batch));
        batch->count = ops < ASYM_BATCH ? (unsigned)ops : ASYM_BATCH;
        ops -= batch->count;
        for (unsigned i = 0; i < batch->count; i++)
            batch->blocks[i] = ouroi_parcel_malloc(ouroi_sizes_draw(&asym->sizes, &rand));
        asym_put(asym, batch);
    }
    pthread_mutex_lock(&asym->lock);
    asym->makers_left--;
    pthread_cond_broadcast(&asym->filled);
    pthread_mutex_unlock(&asym->lock);
}

static void asym_member(struct ouroi_member *member)
{
    struct asym *asym = member->shared;
    if (member->index % 2 == 0) {
        asym_make(asym, member->seed, 2 * member->ops);
        return;
    }
    for (struct batch *batch; (batch = asym_take(asym)) != NULL; free(batch))
        for (unsigned i = 0; i < batch->count; i++)
            ouroi_parcel_free(batch->blocks[i]);
}

void ouroi_asym_run(const struct ouroi_job *job)
{
    static struct asym asym;
    unsigned threads = job->threads & ~1U;
    ouroi_sizes_server(&asym.sizes, job->seed, 512);
    asym.makers_left = threads / 2;
    pthread_mutex_init(&asym.lock, NULL);
    pthread_cond_init(&asym.filled, NULL);
    pthread_cond_init(&asym.drained, NULL);
    ouroi_team_run(job, threads, job->ops, asym_member, &asym);
    pthread_cond_destroy(&asym.drained);
    pthread_cond_destroy(&asym.filled);
    pthread_mutex_destroy(&asym.lock);
}
