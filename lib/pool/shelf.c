/* pool/shelf.c: unowned pools with room, a list per node and size class.
 *
 * Owns        the lists; pool->linked; the tables of pools that are no more.
 * Invariants  a pool is on a shelf if and only if LISTED is in its remote word, but for the moment in which a new owner,
 *             who saw LISTED, waits for the lock to forget it: so a pool cannot be released while it is on a shelf.
 * Sync        the shelf's lock guards list and `linked`; LISTED is set under it, by a swap.
 *
 * The pool listed last is taken first: it is the fullest, and warm; the others go on emptying.
 */
#include "pool/shelf.h"

#include <string.h>

struct ouroi_shelf {
    struct ouroi_lock lock;
    struct ouroi_pool *first, *last;
    void *tables[OUROI_TABLES]; /* linked by their first words; with the shelf of pools without objects */
} __attribute__((aligned(OUROI_CACHE_LINE)));

static struct ouroi_shelf shelves[OUROI_NODES_MAX][OUROI_SHELVES];

static uint32_t beat; /* of the background thread */
static size_t listed_bytes;
static size_t quiet_bytes; /* what was listed when it was last looked through */

void ouroi_shelf_quiet(void)
{
    /* relaxed: counts on their own */
    ouroi_atomic_store_relaxed(&quiet_bytes, ouroi_atomic_load_relaxed(&listed_bytes));
}

size_t ouroi_shelf_listed(void)
{
    return ouroi_atomic_load_relaxed(&listed_bytes); /* relaxed: a count on its own */
}

static void set_first(struct ouroi_shelf *shelf, struct ouroi_pool *pool)
{
    ouroi_atomic_store_relaxed(&shelf->first, pool); /* relaxed: looked at without the lock, used under it */
}

static void unlink_pool(struct ouroi_shelf *shelf, struct ouroi_pool *pool)
{
    if (pool->next != NULL)
        pool->next->previous = pool->previous;
    else
        shelf->last = pool->previous;
    if (pool->previous != NULL)
        pool->previous->next = pool->next;
    else
        set_first(shelf, pool->next);
    pool->next = pool->previous = NULL;
    pool->linked = false;
    ouroi_atomic_fetch_sub_relaxed(&listed_bytes, pool->run.bytes); /* relaxed: a count on its own */
}

struct ouroi_shelf *ouroi_shelf_lock(const struct ouroi_pool *pool)
{
    struct ouroi_shelf *shelf = &shelves[pool->run.node][ouroi_shelf_index(pool->run.size_class, pool->run.nodes)];
    ouroi_lock_acquire(&shelf->lock);
    return shelf;
}

void ouroi_shelf_unlock(struct ouroi_shelf *shelf, struct ouroi_pool *pool)
{
    if (pool != NULL) {
        OURO_ASSERT(!pool->linked);
        pool->next = shelf->first;
        pool->previous = NULL;
        if (shelf->first != NULL)
            shelf->first->previous = pool;
        else
            shelf->last = pool;
        pool->listed_beat = ouroi_atomic_load_relaxed(&beat); /* relaxed: a clock */
        set_first(shelf, pool);
        pool->linked = true;
        /* relaxed: a count on its own. What lies here may have pages to give back. */
        size_t listed = ouroi_atomic_fetch_add_relaxed(&listed_bytes, pool->run.bytes) + pool->run.bytes;
        if (listed > ouroi_atomic_load_relaxed(&quiet_bytes)) /* relaxed: a hint */
            ouroi_purger_note(listed);
    }
    ouroi_lock_release(&shelf->lock);
}

static struct ouroi_shelf *lock_tables(const struct ouroi_pool *pool)
{
    struct ouroi_shelf *shelf = &shelves[pool->run.node][ouroi_shelf_index(pool->run.size_class, false)];
    ouroi_lock_acquire(&shelf->lock);
    return shelf;
}

void *ouroi_shelf_take_table(const struct ouroi_pool *pool, enum ouroi_table kind)
{
    struct ouroi_shelf *shelf = lock_tables(pool);
    void *table = shelf->tables[kind];
    if (table != NULL)
        memcpy(&shelf->tables[kind], table, sizeof table);
    ouroi_lock_release(&shelf->lock);
    return table;
}

void ouroi_shelf_keep_table(const struct ouroi_pool *pool, enum ouroi_table kind, void *table)
{
    struct ouroi_shelf *shelf = lock_tables(pool);
    memcpy(table, &shelf->tables[kind], sizeof table);
    shelf->tables[kind] = table;
    ouroi_lock_release(&shelf->lock);
}

void ouroi_shelf_forget(struct ouroi_pool *pool)
{
    struct ouroi_shelf *shelf = ouroi_shelf_lock(pool); /* model: remote.forget.1 */
    if (pool->linked)
        unlink_pool(shelf, pool);
    ouroi_lock_release(&shelf->lock);
}

struct ouroi_pool *ouroi_shelf_pop(unsigned node, unsigned index, bool (*own)(struct ouroi_pool *pool, uint64_t *word),
                                   uint64_t *word)
{
    struct ouroi_shelf *shelf = &shelves[node][index];
    /* relaxed: a look without the lock; a pool that comes now is found the next time */
    if (ouroi_atomic_load_relaxed(&shelf->first) == NULL)
        return NULL;
    ouroi_lock_acquire(&shelf->lock); /* model: remote.adopt.1 */
    struct ouroi_pool *pool = shelf->first;
    for (; pool != NULL; pool = shelf->first) {
        /* A pool that has an owner by now is waited for, by that owner, at this lock: it is no pool for us, but it
         * is one still. model: remote.adopt.2 */
        unlink_pool(shelf, pool);
        if (own(pool, word))
            break;
    }
    ouroi_lock_release(&shelf->lock);
    return pool;
}

struct ouroi_pool *ouroi_shelf_pop_last(unsigned node, unsigned index, uint32_t now, bool all,
                                        bool (*own)(struct ouroi_pool *pool, uint64_t *word), uint64_t *word)
{
    struct ouroi_shelf *shelf = &shelves[node][index];
    /* relaxed: a look without the lock */
    if (ouroi_atomic_load_relaxed(&shelf->first) == NULL)
        return NULL;
    ouroi_lock_acquire(&shelf->lock);
    struct ouroi_pool *pool = shelf->last;
    for (; pool != NULL; pool = shelf->last) {
        /* Listed in beat now - 1: since the last call; before that: idle for a beat. */
        if ((int32_t)(now - pool->listed_beat) < (all ? 1 : 2)) {
            pool = NULL;
            break;
        }
        unlink_pool(shelf, pool);
        if (own(pool, word))
            break;
    }
    ouroi_lock_release(&shelf->lock);
    return pool;
}

uint32_t ouroi_shelf_beat(void)
{
    return ouroi_atomic_fetch_add_relaxed(&beat, 1) + 1; /* relaxed: a clock */
}

void ouroi_pool_init(void)
{
    ouroi_arena_idle_hook = ouroi_pool_purge_idle;
    for (unsigned node = 0; node < ouroi_machine.nodes; node++)
        for (unsigned c = 0; c < OUROI_SHELVES; c++)
            shelves[node][c].lock = (struct ouroi_lock)OUROI_LOCK_INIT(OUROI_RANK_SHELF);
}

void ouroi_pool_fork_prepare(void)
{
    for (unsigned node = 0; node < ouroi_machine.nodes; node++)
        for (unsigned c = 0; c < OUROI_SHELVES; c++)
            ouroi_lock_acquire_again(&shelves[node][c].lock);
}

void ouroi_pool_fork_done(bool child)
{
    for (unsigned node = 0; node < ouroi_machine.nodes; node++)
        for (unsigned c = 0; c < OUROI_SHELVES; c++) {
            if (child)
                ouroi_lock_reset(&shelves[node][c].lock);
            else
                ouroi_lock_release(&shelves[node][c].lock);
        }
}
