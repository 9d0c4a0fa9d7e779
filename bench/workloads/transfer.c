/* workloads/transfer.c: threads that allocate and free at random and swap blocks with each other now and then.
 *
 * Owns        a table of blocks a thread, and a shared one through which blocks change hands.
 * Invariants  a block is in one place at a time.
 * Sync        [TRANSFER swap]: one exchange a block.
 * Source      the pattern is that of mimalloc's stress test; written anew.
 */
#include "loads.h"
#include "sizes.h"
#include "stamp.h"

#include <stdatomic.h>

enum { TRANSFER_SLOTS = 2000, TRANSFER_SHARED = 1000 };

struct transfer {
    struct ouroi_sizes sizes;
    _Atomic(void *) shared[TRANSFER_SHARED];
};

/* One block in eight comes zeroed. */
static void *transfer_block_new(struct transfer *transfer, uint64_t draw)
{
    uint32_t size = ouroi_sizes_at(&transfer->sizes, draw);
    if ((draw >> 40) % 8 != 0)
        return ouroi_stamp_malloc(size);
    void *block = ouroi_must(calloc(1, size));
    ouroi_stamp_set(block, size);
    return block;
}

static void transfer_member(struct ouroi_member *member)
{
    struct transfer *transfer = member->shared;
    struct ouroi_rand rand = ouroi_rand_seed(member->seed);
    void **slots = ouroi_must(calloc(TRANSFER_SLOTS, sizeof *slots));
    for (uint64_t i = 0; i < member->ops; i++) {
        uint64_t draw = ouroi_rand_next(&rand);
        void **slot = &slots[ouroi_rand_low(draw, TRANSFER_SLOTS)];
        if ((draw >> 43) % 4 == 0) {
            _Atomic(void *) *place = &transfer->shared[(draw >> 45) % TRANSFER_SHARED];
            /* [TRANSFER swap] acquire and release, pairs with itself: the stamps travel with the block */
            *slot = atomic_exchange_explicit(place, *slot, memory_order_acq_rel);
        } else {
            if (*slot != NULL)
                ouroi_stamp_free(*slot);
            *slot = transfer_block_new(transfer, draw);
        }
    }
    for (size_t i = 0; i < TRANSFER_SLOTS; i++)
        if (slots[i] != NULL)
            ouroi_stamp_free(slots[i]);
    free(slots);
}

void ouroi_transfer_run(const struct ouroi_job *job)
{
    static struct transfer transfer;
    ouroi_sizes_lognormal(&transfer.sizes, job->seed, 80, 1.4, 8, 128 << 10);
    ouroi_team_run(job, job->threads, job->ops, transfer_member, &transfer);
    for (size_t i = 0; i < TRANSFER_SHARED; i++) {
        /* [TRANSFER swap] acquire, pairs with the swap above */
        void *block = atomic_exchange_explicit(&transfer.shared[i], NULL, memory_order_acquire);
        if (block != NULL)
            ouroi_stamp_free(block);
    }
}
