/* workloads/fragment.c: memory full of small holes: much is allocated, nine tenths die at random, other sizes come.
 *
 * Owns        the survivors, which stay until the next run or the end of the process: with --idle, what is still held then
 *             is what an idle program with a tenth of its objects costs.
 * Invariants  the living bytes after each round are about a tenth of those at its peak.
 * Sync        none
 * Source      none
 */
#include "loads.h"
#include "sizes.h"
#include "stamp.h"

enum { FRAGMENT_BLOCKS = 160000, FRAGMENT_SIZE_STEPS = 3 };

static void *fragment_blocks[FRAGMENT_BLOCKS];

/* Round by round the sizes grow, so that old holes do not fit by themselves. */
static size_t fragment_size(const struct ouroi_sizes *sizes, struct ouroi_rand *rand, uint64_t round)
{
    return (size_t)ouroi_sizes_draw(sizes, rand) * (2 + round % FRAGMENT_SIZE_STEPS) / 2;
}

void ouroi_fragment_run(const struct ouroi_job *job)
{
    struct ouroi_sizes sizes;
    struct ouroi_rand rand = ouroi_rand_seed(job->seed);
    ouroi_sizes_server(&sizes, job->seed, 2048);
    uint64_t done = 0;
    for (uint64_t round = 0; done < job->ops; round++) {
        for (size_t i = 0; i < FRAGMENT_BLOCKS; i++)
            if (fragment_blocks[i] == NULL) {
                fragment_blocks[i] = ouroi_stamp_malloc(fragment_size(&sizes, &rand, round));
                done++;
            }
        for (size_t i = 0; i < FRAGMENT_BLOCKS; i++)
            if (ouroi_rand_below(&rand, 10) != 0) {
                ouroi_stamp_free(fragment_blocks[i]);
                fragment_blocks[i] = NULL;
            }
    }
}
