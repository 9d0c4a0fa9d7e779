/* workloads/sizemix.c: groups of blocks of every small size, freed in the order of their making, in reverse, or much later.
 *
 * Owns        the shelf where groups wait; with several threads it is shared, so that most groups are freed by others.
 * Invariants  a group's blocks are all of one size and stamped; a group on the shelf belongs to nobody.
 * Sync        [SHELF swap]: a group changes hands by one exchange.
 * Source      the idea of mixing sizes and orders this way is that of MicroQuill's SmartHeap tests; nothing was taken from them.
 */
#include "loads.h"
#include "rand.h"
#include "stamp.h"

#include <stdatomic.h>
#include <stdbool.h>

enum { SIZEMIX_GROUP_MAX = 64, SIZEMIX_SHELF = 128, SIZEMIX_SIZES = 40 };

struct sizemix_group {
    unsigned count;
    void *blocks[SIZEMIX_GROUP_MAX];
};

struct sizemix_shelf {
    _Atomic(struct sizemix_group *) groups[SIZEMIX_SHELF];
};

static void sizemix_group_free(struct sizemix_group *group, bool reverse)
{
    for (unsigned i = 0; i < group->count; i++)
        ouroi_stamp_free(group->blocks[reverse ? group->count - 1 - i : i]);
    free(group);
}

/* Small groups of big blocks, big groups of small ones. */
static struct sizemix_group *sizemix_group_new(struct ouroi_rand *rand)
{
    unsigned step = ouroi_rand_below(rand, SIZEMIX_SIZES);
    size_t size = step < 32 ? 16 * (step + 1) : 512 + 64 * (size_t)(step - 31);
    struct sizemix_group *group = ouroi_must(malloc(sizeof *group));
    group->count = (unsigned)(4096 / size);
    if (group->count > SIZEMIX_GROUP_MAX)
        group->count = SIZEMIX_GROUP_MAX;
    if (group->count < 8)
        group->count = 8;
    for (unsigned i = 0; i < group->count; i++)
        group->blocks[i] = ouroi_stamp_malloc(size);
    return group;
}

static void sizemix_work(struct sizemix_shelf *shelf, uint64_t seed, uint64_t ops)
{
    struct ouroi_rand rand = ouroi_rand_seed(seed);
    for (uint64_t done = 0; done < ops;) {
        struct sizemix_group *group = sizemix_group_new(&rand);
        done += group->count;
        uint32_t fate = ouroi_rand_below(&rand, 4);
        if (fate >= 2) {
            /* [SHELF swap] acquire and release, pairs with itself: what the other thread wrote to the group is seen here, and ours there */
            group = atomic_exchange_explicit(&shelf->groups[ouroi_rand_below(&rand, SIZEMIX_SHELF)], group,
                                             memory_order_acq_rel);
            if (group == NULL)
                continue;
        }
        sizemix_group_free(group, (fate & 1) != 0);
    }
}

static void sizemix_shelf_clear(struct sizemix_shelf *shelf)
{
    for (size_t i = 0; i < SIZEMIX_SHELF; i++) {
        /* [SHELF swap] acquire, pairs with the exchange above */
        struct sizemix_group *group = atomic_exchange_explicit(&shelf->groups[i], NULL, memory_order_acquire);
        if (group != NULL)
            sizemix_group_free(group, false);
    }
}

void ouroi_sizemix_run(const struct ouroi_job *job)
{
    static struct sizemix_shelf shelf;
    sizemix_work(&shelf, job->seed, job->ops);
    sizemix_shelf_clear(&shelf);
}

static void sizemix_member(struct ouroi_member *member)
{
    sizemix_work(member->shared, member->seed, member->ops);
}

void ouroi_sizemix_mt_run(const struct ouroi_job *job)
{
    static struct sizemix_shelf shelf;
    ouroi_team_run(job, job->threads, job->ops, sizemix_member, &shelf);
    sizemix_shelf_clear(&shelf);
}
