/* workloads/replace.c: a table of living objects, one of which dies and is replaced at every turn.
 *
 * Owns        the slots, one table a thread.
 * Invariants  a slot holds a stamped block or NULL.
 * Sync        none: each thread has its own table and frees only what is its own.
 * Source      none; the pattern is that of most "random replacement" loops in the field.
 */
#include "loads.h"
#include "sizes.h"
#include "stamp.h"

enum { REPLACE_SLOTS = 4096 };

static void replace_work(const struct ouroi_sizes *sizes, uint64_t seed, uint64_t ops)
{
    struct ouroi_rand rand = ouroi_rand_seed(seed);
    void **slots = ouroi_must(calloc(REPLACE_SLOTS, sizeof *slots));
    for (uint64_t i = 0; i < ops; i++) {
        uint64_t draw = ouroi_rand_next(&rand);
        void **slot = &slots[ouroi_rand_low(draw, REPLACE_SLOTS)];
        if (*slot != NULL)
            ouroi_stamp_free(*slot);
        *slot = ouroi_stamp_malloc(ouroi_sizes_at(sizes, draw));
    }
    for (size_t i = 0; i < REPLACE_SLOTS; i++)
        if (slots[i] != NULL)
            ouroi_stamp_free(slots[i]);
    free(slots);
}

void ouroi_replace_run(const struct ouroi_job *job)
{
    struct ouroi_sizes sizes;
    ouroi_sizes_server(&sizes, job->seed, 4096);
    replace_work(&sizes, job->seed, job->ops);
}

static void replace_member(struct ouroi_member *member)
{
    replace_work(member->shared, member->seed, member->ops);
}

void ouroi_replace_mt_run(const struct ouroi_job *job)
{
    struct ouroi_sizes sizes;
    ouroi_sizes_server(&sizes, job->seed, 4096);
    ouroi_team_run(job, job->threads, job->ops, replace_member, &sizes);
}
