/* workloads/large.c: buffers of 64 KiB to 4 MiB that come and go: images, columns, compressed blocks.
 *
 * Owns        a few slots of buffers.
 * Invariants  a slot holds a stamped block or NULL.
 * Sync        none
 * Source      none
 */
#include "loads.h"
#include "sizes.h"
#include "stamp.h"

enum { LARGE_SLOTS = 24 };

void ouroi_large_run(const struct ouroi_job *job)
{
    static void *slots[LARGE_SLOTS];
    struct ouroi_sizes sizes;
    struct ouroi_rand rand = ouroi_rand_seed(job->seed);
    ouroi_sizes_loguniform(&sizes, job->seed, 64 << 10, 4 << 20);
    for (uint64_t i = 0; i < job->ops; i++) {
        void **slot = &slots[ouroi_rand_below(&rand, LARGE_SLOTS)];
        if (*slot != NULL)
            ouroi_stamp_free(*slot);
        *slot = ouroi_stamp_malloc(ouroi_sizes_draw(&sizes, &rand));
    }
    for (size_t i = 0; i < LARGE_SLOTS; i++) {
        if (slots[i] != NULL)
            ouroi_stamp_free(slots[i]);
        slots[i] = NULL;
    }
}
