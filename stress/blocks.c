/* stress/blocks.c: blocks of memory whose contents say what they are, handed from thread to thread, made in heaps, by threads
 * that come and go, and in waves.
 *
 * Oracle: a block's stamps, at its begin and end, are what its maker wrote, wherever it is freed; what is allocated in the end is
 * what was in the beginning.
 */
#include "stress.h"

#include <stdlib.h>
#include <string.h>

#include <ouro/alloc.h>
#include <ouro/stats.h>

enum { BOXES = 256, BUNDLE = 64, SMALLEST = 32 };

static _Atomic(void *) boxes[BOXES];

static uint64_t stamp_of(const void *block, size_t size)
{
    return ((uint64_t)(uintptr_t)block ^ size) * UINT64_C(0x9e3779b97f4a7c15);
}

static void *stamp(void *block, size_t size)
{
    uint64_t head[2] = { size, stamp_of(block, size) };
    CHECK(block != NULL && (uintptr_t)block % 16 == 0 && ouro_usable_size(block) >= size);
    memcpy(block, head, sizeof head);
    memcpy((char *)block + size - sizeof head[1], &head[1], sizeof head[1]);
    return block;
}

static size_t check_stamp(const void *block)
{
    uint64_t head[2], tail;
    memcpy(head, block, sizeof head);
    CHECK(head[0] >= SMALLEST && head[1] == stamp_of(block, head[0]));
    memcpy(&tail, (const char *)block + head[0] - sizeof tail, sizeof tail);
    CHECK(tail == head[1]);
    return head[0];
}

/* Most are small; some are large, few are huge. */
static size_t random_size(struct random *random)
{
    uint32_t what = random_below(random, 1000);
    if (what < 800)
        return SMALLEST + random_below(random, 500);
    if (what < 970)
        return SMALLEST + random_below(random, 16000);
    return what < 999 ? SMALLEST + random_below(random, 300000) : SMALLEST + random_below(random, 20 << 20);
}

static void *make(struct random *random)
{
    size_t size = random_size(random);
    uint32_t how = random_below(random, 8);
    if (how == 0) {
        size += size % 3 == 0; /* see drop */
        return stamp(ouro_aligned_alloc((size_t)16 << random_below(random, 9), size), size);
    }
    void *block = how == 1 ? ouro_calloc(1, size) : ouro_malloc(size);
    return stamp(block, size);
}

static void drop(void *block)
{
    if (block != NULL) {
        size_t size = check_stamp(block);
        if (size % 3 == 0) /* never of an aligned one */
            ouro_free_sized(block, size);
        else
            ouro_free(block);
    }
}

static void *resize(struct random *random, void *block)
{
    size_t size = random_size(random);
    size += size % 3 == 0;
    void *moved = ouro_realloc(block, size);
    CHECK(moved != NULL);
    return stamp(moved, size);
}

/* Puts a block into a box, NULL: none; what was there. */
static void *exchange(struct random *random, void *block)
{
    return atomic_exchange(&boxes[random_below(random, BOXES)], block);
}

static uint64_t allocated(void)
{
    ouro_alloc_stats stats;
    ouro_stats_get(&stats);
    return stats.allocated;
}

static uint64_t before;

static void begin(void)
{
    before = allocated();
}

static void end(void)
{
    for (size_t i = 0; i < BOXES; i++)
        drop(atomic_exchange(&boxes[i], NULL));
    ouro_trim();
    CHECK(allocated() <= before + (1 << 20)); /* queues and tables of the library's own */
}

/* remote: nearly every block is freed by another thread than its maker. */
static void pass_on(unsigned index)
{
    struct random random = random_seed(index);
    void *bundle[BUNDLE];
    while (!atomic_load_explicit(&run.stop, memory_order_relaxed)) {
        for (unsigned i = 0; i < 200; i++)
            drop(exchange(&random, make(&random)));
        for (unsigned i = 0; i < BUNDLE; i++) /* of one pool mostly, freed in a row */
            bundle[i] = exchange(&random, stamp(ouro_malloc(128), 128));
        for (unsigned i = 0; i < BUNDLE; i++)
            drop(bundle[i]);
        void *block = exchange(&random, NULL);
        if (block != NULL) {
            check_stamp(block);
            drop(exchange(&random, resize(&random, block)));
        }
        atomic_fetch_add_explicit(&run.operations, 200 + BUNDLE, memory_order_relaxed);
    }
}

void remote_run(void)
{
    begin();
    run_threads(run.threads, pass_on);
    end();
}

/* churn: threads live for some blocks, and leave some to others. */
static void *life_main(void *arg)
{
    struct random random = random_seed((uint64_t)(uintptr_t)arg);
    void *held[32] = { NULL };
    unsigned steps = random_below(&random, 400);
    for (unsigned i = 0; i < steps; i++) {
        void **place = &held[random_below(&random, 32)];
        drop(*place);
        *place = random_below(&random, 4) == 0 ? exchange(&random, make(&random)) : make(&random);
    }
    for (unsigned i = 0; i < 32; i++)
        if (held[i] != NULL)
            drop(i % 4 == 0 ? exchange(&random, held[i]) : held[i]);
    atomic_fetch_add_explicit(&run.operations, steps, memory_order_relaxed);
    return NULL;
}

static void raise_children(unsigned index)
{
    enum { CHILDREN = 4 };
    pthread_t children[CHILDREN];
    uint64_t born = 0;
    while (!atomic_load_explicit(&run.stop, memory_order_relaxed)) {
        for (unsigned i = 0; i < CHILDREN; i++)
            CHECK(pthread_create(&children[i], NULL, life_main,
                                 (void *)(uintptr_t)((uint64_t)(index + 1) << 32 | born++)) == 0);
        for (unsigned i = 0; i < CHILDREN; i++)
            pthread_join(children[i], NULL);
    }
}

void churn_run(void)
{
    begin();
    run_threads(run.threads, raise_children);
    end();
}

/* heaps: all threads allocate and free in all heaps; some thread destroys one with all that is in it. */
enum { HEAPS = 8, IN_HEAP = 64 };
static struct {
    pthread_rwlock_t lock; /* written to destroy the heap */
    ouro_heap *heap;
    _Atomic(void *) blocks[IN_HEAP];
} regions[HEAPS];

static void use_heap(struct random *random, size_t which)
{
    pthread_rwlock_rdlock(&regions[which].lock);
    for (unsigned i = 0; i < 50; i++) {
        size_t size = SMALLEST + random_below(random, random_below(random, 20) == 0 ? 200000 : 2000);
        void *block = random_below(random, 4) == 0 ? NULL : stamp(ouro_heap_malloc(regions[which].heap, size), size);
        _Atomic(void *) *place = &regions[which].blocks[random_below(random, IN_HEAP)];
        void *old = atomic_exchange(place, block);
        if (old != NULL && random_below(random, 8) == 0) {
            check_stamp(old);
            old = stamp(ouro_heap_realloc(regions[which].heap, old, size), size);
        }
        drop(old);
    }
    pthread_rwlock_unlock(&regions[which].lock);
}

static void renew_heap(size_t which)
{
    pthread_rwlock_wrlock(&regions[which].lock);
    for (unsigned i = 0; i < IN_HEAP; i++) {
        void *block = atomic_exchange(&regions[which].blocks[i], NULL);
        if (block != NULL)
            check_stamp(block); /* and not freed: the heap does that */
    }
    ouro_heap_destroy(regions[which].heap);
    regions[which].heap = ouro_heap_new();
    CHECK(regions[which].heap != NULL);
    pthread_rwlock_unlock(&regions[which].lock);
}

static void use_heaps(unsigned index)
{
    struct random random = random_seed(index);
    while (!atomic_load_explicit(&run.stop, memory_order_relaxed)) {
        size_t which = random_below(&random, HEAPS);
        if (random_below(&random, 50) == 0)
            renew_heap(which);
        else
            use_heap(&random, which);
        atomic_fetch_add_explicit(&run.operations, 50, memory_order_relaxed);
    }
}

void heaps_run(void)
{
    begin();
    for (size_t i = 0; i < HEAPS; i++) {
        pthread_rwlock_init(&regions[i].lock, NULL);
        regions[i].heap = ouro_heap_new();
        CHECK(regions[i].heap != NULL);
    }
    run_threads(run.threads, use_heaps);
    for (size_t i = 0; i < HEAPS; i++) {
        renew_heap(i);
        ouro_heap_destroy(regions[i].heap);
    }
    end();
}

/* pressure: threads grow to their share of 192 MiB and shrink to nothing, in waves; some trim in between. */
static void make_waves(unsigned index)
{
    struct random random = random_seed(index);
    size_t share = ((size_t)192 << 20) / run.threads, room = share / 300 + 1;
    void **blocks = calloc(room, sizeof *blocks);
    CHECK(blocks != NULL);
    while (!atomic_load_explicit(&run.stop, memory_order_relaxed)) {
        size_t bytes = 0, count = 0;
        while (bytes < share && count < room && !atomic_load_explicit(&run.stop, memory_order_relaxed)) {
            blocks[count] = make(&random);
            bytes += check_stamp(blocks[count++]);
            if (count % 1000 == 0)
                atomic_fetch_add_explicit(&run.operations, 1000, memory_order_relaxed);
        }
        for (size_t left = count; left > 0; left--) { /* in random order */
            size_t which = random_below(&random, (uint32_t)left);
            drop(blocks[which]);
            blocks[which] = blocks[left - 1];
        }
        if (random_below(&random, 3) == 0)
            ouro_trim();
        atomic_fetch_add_explicit(&run.operations, count, memory_order_relaxed);
    }
    free(blocks);
}

void pressure_run(void)
{
    begin();
    run_threads(run.threads, make_waves);
    end();
}
