/* workloads/phases.c: a program whose sizes change: each phase fills memory with another size, then all but a few die.
 *
 * Owns        the blocks of the running phase and the survivors of those before it.
 * Invariants  living bytes stay under PHASES_LIVE_BYTES and a half: what a phase leaves must serve the next one.
 * Sync        none
 * Source      none
 */
#include "loads.h"
#include "rand.h"
#include "stamp.h"

enum { PHASES_LIVE_BYTES = 24 << 20, PHASES_BLOCKS_MAX = 1 << 20, PHASES_SURVIVORS = 4096 };

static const uint16_t phase_sizes[] = { 48, 320, 24, 1500, 96, 4000, 160, 640, 32, 2048, 80, 224 };

/* Fills, replaces half of it at random, empties. One block in 64 survives, for twelve phases or so. */
static uint64_t phase_run(size_t size, void **blocks, void **survivors, struct ouroi_rand *rand)
{
    uint32_t count = (uint32_t)(PHASES_LIVE_BYTES / size);
    for (uint32_t i = 0; i < count; i++)
        blocks[i] = ouroi_stamp_malloc(size);
    for (uint32_t i = 0; i < count / 2; i++) {
        void **slot = &blocks[ouroi_rand_below(rand, count)];
        ouroi_stamp_free(*slot);
        *slot = ouroi_stamp_malloc(size);
    }
    for (uint32_t i = 0; i < count; i++) {
        void *dying = blocks[i];
        if (i % 64 == 0) {
            void **slot = &survivors[ouroi_rand_below(rand, PHASES_SURVIVORS)];
            void *older = *slot;
            *slot = dying;
            dying = older;
        }
        if (dying != NULL)
            ouroi_stamp_free(dying);
    }
    return count + count / 2;
}

void ouroi_phases_run(const struct ouroi_job *job)
{
    struct ouroi_rand rand = ouroi_rand_seed(job->seed);
    void **blocks = ouroi_must(malloc(PHASES_BLOCKS_MAX * sizeof *blocks));
    void **survivors = ouroi_must(calloc(PHASES_SURVIVORS, sizeof *survivors));
    size_t phase = 0;
    for (uint64_t done = 0; done < job->ops; phase++)
        done += phase_run(phase_sizes[phase % (sizeof phase_sizes / sizeof phase_sizes[0])], blocks, survivors, &rand);
    for (size_t i = 0; i < PHASES_SURVIVORS; i++)
        if (survivors[i] != NULL)
            ouroi_stamp_free(survivors[i]);
    free(survivors);
    free(blocks);
}
