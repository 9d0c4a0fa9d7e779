/* sched/pools.c: remote frees in batches against owners that let go of their pools, end, or adopt others'.
 *
 * Eight blocks of a page are a pool. Held to: a block that is in use is not handed out again; nobody looks at the remote word
 * of a pool that was released; when all blocks are freed the pool is released.
 */
#include <string.h>

#include "harness.h"
#include "heap/internal.h"
#include "pool/shelf.h"

#include <ouro/ouro.h>

enum { BLOCKS = 8, BYTES = 4096 };

static struct {
    char *blocks[BLOCKS];
    bool in_use[BLOCKS];
    struct ouroi_pool *pool;
    void *more;        /* of another pool */
    unsigned borrower; /* who may make a new pool where this one was */
} the;

static bool is_there(void)
{
    return ouroi_run_find(the.blocks[0]) == &the.pool->run;
}

static bool look(unsigned thread, const void *address, const char *file)
{
    if (address == &the.pool->remote) {
        expect(is_there() || thread == the.borrower, "the remote word of a released pool is looked at");
        return true;
    }
    return address == &the || is_lock(address, file, OUROI_RANK_SHELF) ||
           (strstr(file, "lib/pool/shelf.c") != NULL && is_shared(address, "static"));
}

static void make(bool one_more)
{
    memset(&the, 0, sizeof the);
    the.borrower = OUROI_SCHED_THREADS;
    for (unsigned i = 0; i < BLOCKS; i++) {
        the.blocks[i] = ouro_malloc(BYTES);
        expect(the.blocks[i] != NULL, "no memory");
        memset(the.blocks[i], (int)i + 1, BYTES);
        the.in_use[i] = true;
    }
    the.pool = ouroi_pool_of(ouroi_run_find(the.blocks[0]));
    expect(the.pool->capacity == BLOCKS, "a pool has another capacity");
    for (unsigned i = 0; i < BLOCKS; i++)
        expect(ouroi_run_find(the.blocks[i]) == &the.pool->run, "the blocks are not of one pool");
    if (one_more) /* the owner lets go of the first, which is full */
        the.more = ouro_malloc(BYTES);
}

static void make_full(unsigned thread)
{
    if (thread == 0)
        make(false);
    share_world();
}
static void make_unowned(unsigned thread)
{
    if (thread == 0)
        make(true);
    share_world();
}

static void give_back(unsigned block)
{
    expect(the.in_use[block] && the.blocks[block][BYTES - 1] == (char)(block + 1), "a block in use was overwritten");
    the.in_use[block] = false;
    ouro_free(the.blocks[block]);
}

static void flush(void)
{
    ouroi_heap_flush_stashes(ouroi_heap_self);
    ouroi_heap_flush_batches(ouroi_heap_self);
}

/* What a thread does at its end. */
static void end_heap(void)
{
    ouroi_heap_detach(ouroi_heap_self);
}

/* Takes a block, from wherever, and gives it back. */
static void borrow(unsigned thread)
{
    the.borrower = thread;
    char *block = ouro_malloc(BYTES);
    expect(block != NULL, "no memory");
    for (unsigned i = 0; i < BLOCKS; i++)
        expect(block != the.blocks[i] || !the.in_use[i], "a block in use was handed out again");
    memset(block, 99, BYTES);
    ouroi_sched_point(&the, __FILE__);
    expect(block[BYTES - 1] == 99, "a block in use was overwritten");
    ouro_free(block);
}

static void after(unsigned thread)
{
    if (ouroi_heap_self == &ouroi_heap_empty)
        ouro_free(ouro_malloc(16)); /* a heap again: the thread's real end will want one */
    if (thread == 0 && the.more != NULL)
        ouro_free(the.more);
    ouroi_heap_flush();
}

static void end(void)
{
    static unsigned rounds;
    for (unsigned i = 0; i < BLOCKS; i++)
        expect(!the.in_use[i], "the scenario is wrong: a block is left");
    expect(ouroi_shelf_listed() == 0, "a released pool is on a shelf");
    expect(!is_there(), "a pool without blocks in use is not released");
    if (rounds++ % 256 == 0) {
        ouro_blocking_end();
        expect(ouro_debug_check() == 0, "ouro_debug_check found something");
        ouro_blocking_begin();
    }
}

static void owner_frees_and_ends(unsigned thread)
{
    if (thread == 0) {
        for (unsigned i = 0; i < 4; i++)
            give_back(i);
        end_heap();
    } else {
        for (unsigned i = 4; i < BLOCKS; i++) /* as many as fill a batch */
            give_back(i);
        flush();
    }
}
static void owner_ends_first(unsigned thread)
{
    if (thread == 0) {
        end_heap();
    } else {
        for (unsigned i = 0; i < BLOCKS; i++)
            give_back(i);
        flush();
    }
}
static void owner_goes_on(unsigned thread)
{
    if (thread == 0) {
        borrow(thread);
        give_back(0);
        borrow(thread);
    } else {
        for (unsigned i = 1; i < BLOCKS; i++)
            give_back(i);
        flush();
    }
}
static void last_owner_takes_back(unsigned thread)
{
    if (thread == 0) {
        for (unsigned i = 0; i < 4; i++)
            give_back(i);
        flush();
    } else {
        for (unsigned i = 4; i < BLOCKS; i++)
            give_back(i);
        flush();
    }
}
static void two_others(unsigned thread)
{
    for (unsigned i = 0; i < BLOCKS; i++)
        if (i % 3 == thread)
            give_back(i);
    flush();
}
static void adopted(unsigned thread)
{
    if (thread == 0) {
        end_heap();
    } else if (thread == 1) {
        for (unsigned i = 0; i < BLOCKS; i++)
            give_back(i);
        flush();
    } else {
        borrow(thread);
        end_heap();
    }
}

#define SCENARIO(name_, threads_, preemptions_, before_, body_)                                                      \
    {                                                                                                                \
        .name = (name_), .threads = (threads_), .preemptions = (preemptions_), .before = (before_), .body = (body_), \
        .after = after, .end = end, .look = look                                                                     \
    }

const struct ouroi_scenario scenarios[] = {
    SCENARIO("owner frees and ends, another frees", 2, 4, make_full, owner_frees_and_ends),
    SCENARIO("owner ends, another frees all", 2, 4, make_full, owner_ends_first),
    SCENARIO("owner goes on, another frees", 2, 4, make_full, owner_goes_on),
    SCENARIO("full pool, its last owner and another free", 2, 4, make_unowned, last_owner_takes_back),
    SCENARIO("full pool, three free", 3, 3, make_unowned, two_others),
    SCENARIO("owner ends, one frees, one adopts", 3, 3, make_full, adopted),
    SCENARIO("full pool, one frees, one adopts", 3, 3, make_unowned, adopted),
};
const unsigned scenario_count = sizeof scenarios / sizeof scenarios[0];
const char program_name[] = "sched_pools";

void scenarios_start(void)
{
}
