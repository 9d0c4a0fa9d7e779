/* workloads/larson.c: server threads come and go; each inherits the objects of the one before it and replaces them.
 *
 * Owns        one table of objects a lane; a lane is a chain of threads, one alive at a time.
 * Invariants  a table belongs to the thread of its lane that is alive.
 * Sync        pthread_create and pthread_join hand a table on.
 * Source      the pattern is that of Larson and Krishnan 1998; written anew.
 */
#include "loads.h"
#include "sizes.h"
#include "stamp.h"

#include <pthread.h>

enum { LARSON_SLOTS = 1000, LARSON_LIFE_OPS = 20000 };

struct larson_lane {
    const struct ouroi_sizes *sizes;
    uint64_t seed;
    uint64_t ops;
    void *slots[LARSON_SLOTS];
};

static void *larson_life(void *arg)
{
    struct larson_lane *lane = arg;
    struct ouroi_rand rand = ouroi_rand_seed(lane->seed);
    for (uint64_t i = 0; i < lane->ops; i++) {
        uint64_t draw = ouroi_rand_next(&rand);
        void **slot = &lane->slots[ouroi_rand_low(draw, LARSON_SLOTS)];
        ouroi_stamp_free(*slot);
        *slot = ouroi_stamp_malloc(ouroi_sizes_at(lane->sizes, draw));
    }
    return NULL;
}

static void larson_member(struct ouroi_member *member)
{
    struct larson_lane *lane = ouroi_must(malloc(sizeof *lane));
    struct ouroi_rand rand = ouroi_rand_seed(member->seed);
    lane->sizes = member->shared;
    for (size_t i = 0; i < LARSON_SLOTS; i++)
        lane->slots[i] = ouroi_stamp_malloc(ouroi_sizes_draw(lane->sizes, &rand));
    for (uint64_t left = member->ops; left > 0; left -= lane->ops) {
        pthread_t thread;
        lane->seed = ouroi_rand_next(&rand);
        lane->ops = left < LARSON_LIFE_OPS ? left : LARSON_LIFE_OPS;
        if (pthread_create(&thread, NULL, larson_life, lane) != 0)
            ouroi_bench_die("cannot start a thread");
        pthread_join(thread, NULL);
    }
    for (size_t i = 0; i < LARSON_SLOTS; i++)
        ouroi_stamp_free(lane->slots[i]);
    free(lane);
}

void ouroi_larson_run(const struct ouroi_job *job)
{
    struct ouroi_sizes sizes;
    ouroi_sizes_server(&sizes, job->seed, 1024);
    ouroi_team_run(job, job->threads, job->ops, larson_member, &sizes);
}
