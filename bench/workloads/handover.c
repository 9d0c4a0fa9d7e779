/* workloads/handover.c: threads that live for one task: each frees the result of the one before it, makes its own, exits.
 *
 * Owns        one result a lane.
 * Invariants  a result is freed by a thread born after its maker ended.
 * Sync        pthread_create and pthread_join hand a result on.
 * Source      none
 */
#include "loads.h"
#include "sizes.h"
#include "stamp.h"

#include <pthread.h>

enum { HANDOVER_ROWS = 400 };

struct row {
    struct row *next;
    void *cells;
};

struct handover_lane {
    const struct ouroi_sizes *sizes;
    struct row *result;
    uint64_t seed;
};

static void rows_free(struct row *rows)
{
    for (struct row *next; rows != NULL; rows = next) {
        next = rows->next;
        ouroi_stamp_free(rows->cells);
        free(rows);
    }
}

static void *handover_task(void *arg)
{
    struct handover_lane *lane = arg;
    struct ouroi_rand rand = ouroi_rand_seed(lane->seed);
    struct row *rows = NULL;
    for (unsigned i = 0; i < HANDOVER_ROWS; i++) {
        struct row *row = ouroi_must(malloc(sizeof *row));
        void *scratch = ouroi_stamp_malloc(ouroi_sizes_draw(lane->sizes, &rand));
        row->cells = ouroi_stamp_malloc(ouroi_sizes_draw(lane->sizes, &rand));
        row->next = rows;
        rows = row;
        ouroi_stamp_free(scratch);
    }
    rows_free(lane->result);
    lane->result = rows;
    return NULL;
}

static void handover_member(struct ouroi_member *member)
{
    struct handover_lane lane = { .sizes = member->shared };
    struct ouroi_rand rand = ouroi_rand_seed(member->seed);
    for (uint64_t i = 0; i < member->ops; i++) {
        pthread_t thread;
        lane.seed = ouroi_rand_next(&rand);
        if (pthread_create(&thread, NULL, handover_task, &lane) != 0)
            ouroi_bench_die("cannot start a thread");
        pthread_join(thread, NULL);
    }
    rows_free(lane.result);
}

void ouroi_handover_run(const struct ouroi_job *job)
{
    struct ouroi_sizes sizes;
    ouroi_sizes_server(&sizes, job->seed, 4096);
    ouroi_team_run(job, job->threads, job->ops, handover_member, &sizes);
}
