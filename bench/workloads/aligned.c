/* workloads/aligned.c: blocks with an alignment: vector kernels' rows, cache-line objects, pages for direct I/O.
 *
 * Owns        slots of aligned blocks.
 * Invariants  a block starts at a multiple of what was asked.
 * Sync        none
 * Source      none. Sector alignments (256 to 1024) are left out: mimalloc 2.0.9 breaks them for sizes up to 1 KiB and would
 *             have no number here.
 */
#include "loads.h"
#include "sizes.h"
#include "stamp.h"

enum { ALIGNED_SLOTS = 1024 };

static const uint16_t alignments[] = { 32, 32, 64, 64, 64, 64, 128, 128, 4096, 4096 };

static void *aligned_new(const struct ouroi_sizes *sizes, struct ouroi_rand *rand, uint64_t turn)
{
    size_t alignment = alignments[ouroi_rand_below(rand, sizeof alignments / sizeof alignments[0])];
    size_t size = (ouroi_sizes_draw(sizes, rand) + alignment - 1) / alignment * alignment;
    void *block = NULL;
    if (turn % 2 == 0)
        block = aligned_alloc(alignment, size);
    else if (posix_memalign(&block, alignment, size) != 0)
        block = NULL;
    ouroi_must(block);
    if ((uintptr_t)block % alignment != 0)
        ouroi_bench_die("block %p is not aligned to %zu", block, alignment);
    ouroi_stamp_set(block, size);
    return block;
}

void ouroi_aligned_run(const struct ouroi_job *job)
{
    static void *slots[ALIGNED_SLOTS];
    struct ouroi_sizes sizes;
    struct ouroi_rand rand = ouroi_rand_seed(job->seed);
    ouroi_sizes_lognormal(&sizes, job->seed, 400, 1.3, 32, 128 << 10);
    for (uint64_t i = 0; i < job->ops; i++) {
        void **slot = &slots[ouroi_rand_below(&rand, ALIGNED_SLOTS)];
        if (*slot != NULL)
            ouroi_stamp_free(*slot);
        *slot = aligned_new(&sizes, &rand, i);
    }
    for (size_t i = 0; i < ALIGNED_SLOTS; i++) {
        if (slots[i] != NULL)
            ouroi_stamp_free(slots[i]);
        slots[i] = NULL;
    }
}
