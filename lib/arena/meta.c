/* arena/meta.c: memory for descriptors and heaps, outside of the slices.
 *
 * Owns        blocks of address space of META_BLOCK bytes, filled from the bottom; the list of free descriptors.
 * Invariants  nothing is given back: a descriptor stays one for ever, so that a look at a stale one is harmless.
 * Sync        lock, rank META.
 */
#include "arena/internal.h"

#include <errno.h>
#include <string.h>

enum { META_BLOCK = 256 << 10, META_BLOCK_LEAST = 16 << 10 };

static struct ouroi_lock lock = OUROI_LOCK_INIT(OUROI_RANK_META);
static uintptr_t block_at, block_end;
static size_t used_bytes;

/* A free descriptor's first word points to the next. */
static void *free_descriptors;

static void *carve_locked(size_t bytes)
{
    bytes = ouroi_align_up(bytes, OUROI_CACHE_LINE);
    if (block_end - block_at < bytes) {
        int error;
        size_t want = bytes > META_BLOCK / 4 ? ouroi_align_up(bytes, ouroi_machine.page_bytes) : META_BLOCK;
        void *block = ouroi_os.map(NULL, want, OUROI_MAP_ANYWHERE, &error);
        if (block == NULL && want == META_BLOCK && bytes <= META_BLOCK_LEAST) {
            want = META_BLOCK_LEAST; /* a tight limit */
            block = ouroi_os.map(NULL, want, OUROI_MAP_ANYWHERE, &error);
        }
        if (block == NULL)
            return NULL;
        if (want != META_BLOCK && want != META_BLOCK_LEAST) {
            OUROI_OWNED_ADD(&used_bytes, bytes);
            return block;
        }
        block_at = (uintptr_t)block;
        block_end = block_at + want;
    }
    void *got = (void *)block_at;
    block_at += bytes;
    OUROI_OWNED_ADD(&used_bytes, bytes);
    return got;
}

void *ouroi_meta_alloc(size_t bytes)
{
    ouroi_lock_acquire(&lock);
    void *got = carve_locked(bytes);
    ouroi_lock_release(&lock);
    return got;
}

struct ouroi_run *ouroi_descriptor_alloc(void)
{
    ouroi_lock_acquire(&lock);
    void *got = free_descriptors;
    if (got != NULL)
        memcpy(&free_descriptors, got, sizeof free_descriptors);
    else
        got = carve_locked(OUROI_DESCRIPTOR_BYTES);
    ouroi_lock_release(&lock);
    return got;
}

void ouroi_descriptor_free(struct ouroi_run *run)
{
    ouroi_lock_acquire(&lock);
    memcpy(run, &free_descriptors, sizeof free_descriptors);
    free_descriptors = run;
    ouroi_lock_release(&lock);
}

size_t ouroi_meta_bytes(void)
{
    return OUROI_OWNED_GET(&used_bytes);
}

void ouroi_meta_describe(struct ouroi_arena_view *view)
{
    view->metadata = (uintptr_t)&used_bytes;
}

void ouroi_meta_fork_prepare(void)
{
    ouroi_lock_acquire(&lock);
}

void ouroi_meta_fork_done(bool child)
{
    if (child)
        ouroi_lock_reset(&lock);
    else
        ouroi_lock_release(&lock);
}
