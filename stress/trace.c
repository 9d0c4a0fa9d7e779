/* stress/trace.c: tracing switched on and off, cleared and looked at, in every mode, while threads make, change and free
 * blocks and objects of their own and of each other.
 *
 * Oracle      each block holds its size and a pattern; an object's references are counted by the library. While everything is
 *             traced and all rest, what is known is no more than what was made since the start; and when all is freed, nothing.
 */
#define _GNU_SOURCE
#include "stress.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <ouro/trace.h>

enum { PLACES = 512, OWN = 64, EDGE = 16 };

struct block {
    size_t size;
    uint64_t mark;
};

struct thing {
    ouro_object base;
    ouro_object *next;
    uint64_t mark;
};
static ouro_type thing_type = OURO_TYPE(struct thing, OURO_REFS(struct thing, next));

static _Atomic(struct block *) places[PLACES];

static uint64_t mark_of(const struct block *block, size_t size)
{
    return (uintptr_t)block * UINT64_C(0x9e3779b97f4a7c15) ^ size;
}

static struct block *claim(void *memory, size_t size)
{
    struct block *block = memory;
    CHECK(block != NULL);
    block->size = size;
    block->mark = mark_of(block, size);
    memset(block + 1, (int)(size & 0xff), size - sizeof *block < EDGE ? size - sizeof *block : EDGE);
    ((unsigned char *)block)[size - 1] = (unsigned char)size;
    return block;
}

static void check_block(const struct block *block)
{
    CHECK(block->mark == mark_of(block, block->size));
    CHECK(((const unsigned char *)block)[block->size - 1] == (unsigned char)block->size);
}

static size_t some_size(struct random *random)
{
    uint32_t kind = random_below(random, 100);
    size_t size = kind < 70   ? random_below(random, 500)
                  : kind < 98 ? random_below(random, 30000)
                              : random_below(random, 3000000);
    return size + sizeof(struct block) + 1;
}

static struct block *make(struct random *random, ouro_heap *heap)
{
    size_t size = some_size(random);
    switch (random_below(random, 5)) {
    case 0:
        return claim(ouro_calloc(1, size), size);
    case 1:
        return claim(ouro_aligned_alloc((size_t)16 << random_below(random, 9), size), size);
    case 2:
        return claim(ouro_heap_malloc(heap, size), size);
    default:
        return claim(ouro_malloc(size), size);
    }
}

static struct block *change(struct random *random, struct block *block)
{
    size_t size = some_size(random);
    check_block(block);
    return claim(ouro_realloc(block, size), size);
}

static void drop(struct block *block)
{
    if (block == NULL)
        return;
    check_block(block);
    block->mark = 0;
    ouro_free(block);
}

static void step(struct random *random, ouro_heap *heap, struct block **own, struct thing **chain)
{
    struct block **mine = &own[random_below(random, OWN)];
    _Atomic(struct block *) *shared = &places[random_below(random, PLACES)];
    switch (random_below(random, 6)) {
    case 0:
        drop(*mine);
        *mine = make(random, heap);
        break;
    case 1:
        if (*mine != NULL)
            *mine = change(random, *mine);
        break;
    case 2:
        drop(atomic_exchange(shared, make(random, heap)));
        break;
    case 3:
        *mine = *mine == NULL ? atomic_exchange(shared, NULL) : *mine;
        break;
    case 4: {
        struct thing *thing = ouro_new(&thing_type);
        CHECK(thing != NULL);
        thing->mark = 42;
        thing->next = (ouro_object *)*chain;
        *chain = thing;
        break;
    }
    default:
        if (random_below(random, 40) == 0)
            OURO_CLEAR(*chain);
        else if (*chain != NULL)
            CHECK((*chain)->mark == 42);
    }
    atomic_fetch_add_explicit(&run.operations, 1, memory_order_relaxed);
}

static void toggle(struct random *random)
{
    static const size_t means[] = { 0, 0, 1, 5000, 70000, 524288 };
    struct timespec pause = { 0, random_below(random, 4000000) };
    void *frames[32];
    CHECK(ouro_trace_start(1 + random_below(random, 40), means[random_below(random, 6)]) == 0);
    for (unsigned i = random_below(random, 4); i > 0; i--) {
        size_t now, most;
        nanosleep(&pause, NULL);
        ouro_trace_get_traced_memory(&now, &most);
        CHECK(now <= most);
        void *p = ouro_malloc(random_below(random, 100000));
        CHECK(ouro_trace_get_traceback(p, frames, 32) <= 32);
        ouro_free(p);
        if (random_below(random, 2) == 0)
            ouro_trace_clear();
        ouro_snapshot *snapshot = ouro_trace_take_snapshot();
        CHECK(snapshot != NULL);
        ouro_snapshot_info info;
        ouro_snapshot_get_info(snapshot, &info);
        CHECK(info.size < (size_t)1 << 40 && (info.size == 0 || info.traces > 0));
        ouro_snapshot_free(snapshot);
    }
    ouro_trace_stop();
    nanosleep(&pause, NULL);
}

static void work(unsigned index)
{
    struct random random = random_seed(7000 + index);
    if (index == 0) { /* one that does nothing else */
        ouro_blocking_begin();
        while (!atomic_load_explicit(&run.stop, memory_order_relaxed)) {
            toggle(&random);
            atomic_fetch_add_explicit(&run.operations, 1, memory_order_relaxed);
        }
        ouro_blocking_end();
        return;
    }
    ouro_heap *heap = ouro_heap_new(); /* others may have blocks of it when this thread ends: it is not destroyed */
    CHECK(heap != NULL);
    while (!atomic_load_explicit(&run.stop, memory_order_relaxed)) {
        struct block *own[OWN] = { NULL };
        struct thing *chain = NULL;
        for (unsigned i = 0; i < 3000 && !atomic_load_explicit(&run.stop, memory_order_relaxed); i++)
            step(&random, heap, own, &chain);
        for (size_t i = 0; i < OWN; i++)
            drop(own[i]);
        OURO_CLEAR(chain);
        ouro_safepoint();
    }
}

void trace_run(void)
{
    size_t now;
    run_threads(run.threads + 1, work);
    for (size_t i = 0; i < PLACES; i++)
        drop(atomic_exchange(&places[i], NULL));
    CHECK(ouro_debug_check() == 0);
    CHECK(ouro_trace_start(8, 0) == 0);
    struct block *last = claim(ouro_malloc(1000), 1000);
    ouro_trace_get_traced_memory(&now, NULL);
    CHECK(now == 1000);
    drop(last);
    ouro_trace_get_traced_memory(&now, NULL);
    CHECK(now == 0);
    ouro_trace_stop();
}
