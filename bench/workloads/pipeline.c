/* workloads/pipeline.c: a chain of stages, one thread each: every stage frees what it got and passes on something new.
 *
 * Owns        a ring between neighbouring stages.
 * Invariants  every block but the first stage's scratch is freed by the stage after its maker.
 * Sync        the rings'.
 * Source      none
 */
#include "loads.h"
#include "ring.h"
#include "sizes.h"
#include "stamp.h"

struct pipeline {
    struct ouroi_ring *rings; /* [stage]: into stage + 1 */
    struct ouroi_sizes sizes;
};

static void *pipeline_take(struct ouroi_ring *ring)
{
    unsigned turns = 0;
    void *block;
    while ((block = ouroi_ring_try_pop(ring)) == NULL)
        ouroi_ring_wait(&turns);
    return block;
}

static void pipeline_member(struct ouroi_member *member)
{
    struct pipeline *pipeline = member->shared;
    struct ouroi_rand rand = ouroi_rand_seed(member->seed);
    struct ouroi_ring *out = &pipeline->rings[member->index];
    bool last = member->index + 1 == member->threads;
    for (uint64_t i = 0; i < member->job->ops; i++) {
        void *scratch = ouroi_stamp_malloc(ouroi_rand_between(&rand, 16, 256));
        if (!last)
            ouroi_ring_push(out, ouroi_parcel_malloc(ouroi_sizes_draw(&pipeline->sizes, &rand)));
        if (member->index > 0)
            ouroi_parcel_free(pipeline_take(out - 1));
        ouroi_stamp_free(scratch);
    }
}

void ouroi_pipeline_run(const struct ouroi_job *job)
{
    static struct pipeline pipeline;
    pipeline.rings = ouroi_ring_mesh_new(1, job->threads, OUROI_RING_SLOTS);
    ouroi_sizes_server(&pipeline.sizes, job->seed, 4096);
    ouroi_team_run(job, job->threads, job->ops, pipeline_member, &pipeline);
    ouroi_ring_mesh_free(pipeline.rings, 1, job->threads);
}
