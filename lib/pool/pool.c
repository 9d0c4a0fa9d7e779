/* pool/pool.c: see pool.h. A pool's life: new, then owned; full, and unowned; listed when enough is free again; claimed by
 * who needs blocks, or by its last owner at a free; released when nothing is in use.
 *
 * Who may take which step
 *   owned -> unowned            its owner (ouroi_pool_disown)
 *   unowned -> owned            its last owner, any thread through the shelf, and the thread whose free is the last one
 *   unowned -> listed           the thread whose push leaves `list_used` blocks in use, or the owner as it disowns
 *   owned -> released           its owner
 */
#include "pool/pool.h"

#include "pool/shelf.h"

#include <string.h>

struct ouroi_pool_totals ouroi_pool_totals[OUROI_CLASSES];

enum {
    CARVE_BYTES = 4096,  /* carved at a time, at least a block */
    LISTED_FRACTION = 8, /* a pool with an eighth free is listed */
};

#if OURO_DROPIN
static bool give_states(struct ouroi_pool *pool)
{
    (void)pool;
    return false;
}

static void take_states(struct ouroi_pool *pool)
{
    (void)pool;
}
#else
static bool give_states(struct ouroi_pool *pool)
{
    int8_t *states = ouroi_shelf_take_table(pool, OUROI_TABLE_STATES);
    if (states != NULL)
        memset(states, 0, sizeof(void *)); /* the link */
    else
        states = ouroi_meta_alloc(pool->capacity < sizeof(void *) ? sizeof(void *) : pool->capacity);
    if (states == NULL)
        return false;
    ouroi_run_set_states(&pool->run, states, pool->block_bytes);
    return true;
}

static void take_states(struct ouroi_pool *pool)
{
    int8_t *states = ouroi_slice_find(pool->run.start)->states;
    for (size_t i = 0; OURO_DEBUG && i < pool->capacity; i++)
        OURO_ASSERT(states[i] == 0);
    ouroi_shelf_keep_table(pool, OUROI_TABLE_STATES, states);
}
#endif

static bool give_live(struct ouroi_pool *pool)
{
    size_t bytes = (pool->capacity + 63) / 64 * sizeof(uint64_t);
    pool->live = ouroi_shelf_take_table(pool, OUROI_TABLE_LIVE);
    if (pool->live != NULL)
        memset(pool->live, 0, bytes);
    else
        pool->live = ouroi_meta_alloc(bytes);
    return pool->live != NULL;
}

void ouroi_pool_drop_marks(struct ouroi_pool *pool)
{
    if (pool->live != NULL)
        ouroi_shelf_keep_table(pool, OUROI_TABLE_LIVE, pool->live);
    pool->live = NULL;
}

static size_t traces_bytes;

uint64_t *ouroi_pool_new_traces(const struct ouroi_pool *pool)
{
    size_t bytes = pool->capacity * sizeof *pool->traces;
    uint64_t *traces = ouroi_shelf_take_table(pool, OUROI_TABLE_TRACES);
    if (traces != NULL) {
        traces[0] = 0; /* the link */
        return traces;
    }
    traces = ouroi_meta_alloc(bytes);
    if (traces != NULL)
        ouroi_atomic_fetch_add_relaxed(&traces_bytes, bytes); /* relaxed: a count on its own */
    return traces;
}

size_t ouroi_pool_traces_bytes(void)
{
    return ouroi_atomic_load_relaxed(&traces_bytes); /* relaxed: a count on its own */
}

struct ouroi_pool *ouroi_pool_new(unsigned node, unsigned size_class, bool nodes)
{
    size_t block_bytes = ouroi_class_bytes(size_class);
    struct ouroi_run *run = ouroi_run_alloc(node, ouroi_pool_slices(block_bytes), 1, OUROI_RUN_POOL);
    if (run == NULL)
        return NULL;
    struct ouroi_pool *pool = ouroi_pool_of(run);
    run->size_class = (uint8_t)size_class;
    pool->block_bytes = (uint32_t)block_bytes;
    pool->capacity = (uint32_t)(run->bytes / block_bytes);
    uint32_t listed_free = pool->capacity / LISTED_FRACTION;
    pool->list_used = pool->capacity - (listed_free == 0 ? 1 : listed_free);
    for (uint32_t i = 0; pool->capacity <= OUROI_SPARSE_MAX && i < pool->capacity; i++)
        pool->uncarved[i / 64] |= (uint64_t)1 << i % 64;
    if ((OURO_DEBUG && !give_live(pool)) || (nodes && !give_states(pool))) {
        ouroi_pool_drop_marks(pool);
        ouroi_run_publish(run);
        ouroi_run_free(run);
        return NULL;
    }
    /* relaxed: nobody else knows the pool yet */
    ouroi_atomic_store_relaxed(&pool->remote, OUROI_REMOTE_OWNED);
    ouroi_run_publish(run);
    return pool;
}

/* Debug builds: no block of the pool is handed out. */
static bool is_dead(const struct ouroi_pool *pool)
{
    for (uint32_t i = 0; pool->live != NULL && !ouroi_options.secure && i < (pool->capacity + 63) / 64; i++)
        if (ouroi_atomic_load_relaxed(&pool->live[i]) != 0) /* relaxed: the pool is the caller's alone */
            return false;
    return true;
}

void ouroi_pool_release(struct ouroi_pool *pool)
{
    OURO_ASSERT(ouroi_pool_used(pool) == 0 && !pool->linked);
    OURO_EXPENSIVE(ouroi_run_member(&pool->run)->heap != NULL || is_dead(pool));
    struct ouroi_pool_totals *totals = &ouroi_pool_totals[pool->run.size_class];
    ouroi_pool_arm(pool, 0);
    /* relaxed: counters */
    ouroi_atomic_fetch_add_relaxed(&totals->frees, pool->settled_frees);
    ouroi_atomic_fetch_add_relaxed(&totals->remote_frees, pool->remote_frees);
    ouroi_arena_note_used(-(ptrdiff_t)((size_t)pool->carved * pool->block_bytes));
    if (pool->run.nodes)
        take_states(pool);
    ouroi_pool_drop_marks(pool);
    if (pool->traces != NULL)
        ouroi_shelf_keep_table(pool, OUROI_TABLE_TRACES, pool->traces);
    ouroi_run_free(&pool->run);
}

/* The next block to be carved: of a pool of few blocks, the first that is not; of others, number `carved`. */
static uint32_t next_uncarved(struct ouroi_pool *pool)
{
    if (pool->capacity > OUROI_SPARSE_MAX)
        return pool->carved;
    uint32_t word = 0;
    while (pool->uncarved[word] == 0)
        word++;
    uint32_t index = word * 64 + ouroi_ctz64(pool->uncarved[word]);
    pool->uncarved[word] &= pool->uncarved[word] - 1;
    return index;
}

static struct ouroi_block *block_at(const struct ouroi_pool *pool, uint32_t index)
{
    return (struct ouroi_block *)(pool->run.start + (size_t)index * pool->block_bytes);
}

/* Puts a page's worth of blocks, at least one, into the free list, in address order. */
static void carve(struct ouroi_pool *pool)
{
    uint32_t count = CARVE_BYTES / pool->block_bytes;
    uint32_t left = pool->capacity - pool->carved;
    count = count == 0 ? 1 : count;
    count = count > left ? left : count;
    struct ouroi_block *block = block_at(pool, next_uncarved(pool));
    OUROI_OWNED_SET(&pool->source.free, block);
    bool in_order = pool->capacity > OUROI_SPARSE_MAX;
    size_t bytes = pool->block_bytes;
    for (uint32_t i = 1; i < count; i++) {
        struct ouroi_block *next =
            in_order ? (struct ouroi_block *)((uintptr_t)block + bytes) : block_at(pool, next_uncarved(pool));
        block->key = pool;
        block->next = next;
        block = next;
    }
    block->key = pool;
    block->next = NULL;
    OUROI_OWNED_ADD(&pool->carved, count);
    ouroi_arena_note_used((ptrdiff_t)(count * bytes));
}

/* Takes in a list of `count` blocks that others freed. */
static void accept(struct ouroi_pool *pool, struct ouroi_block *list, uint32_t count)
{
    if (list == NULL)
        return;
    OUROI_OWNED_ADD(&pool->settled_frees, count);
    OUROI_OWNED_ADD(&pool->remote_frees, count);
    OUROI_OWNED_ADD(&pool->used, 0 - count); /* of a current pool it means nothing */
    if (pool->source.free == NULL) {
        OUROI_OWNED_SET(&pool->source.free, list);
    } else if (pool->later == NULL) {
        OUROI_OWNED_SET(&pool->later, list);
    } else {
        struct ouroi_block *last = list;
        while (last->next != NULL)
            last = last->next;
        OUROI_OWNED_SET(&last->next, pool->later); /* a collection may be looking at free blocks */
        OUROI_OWNED_SET(&pool->later, list);
    }
}

bool ouroi_pool_collect(struct ouroi_pool *pool)
{
    uint64_t word = ouroi_atomic_load_relaxed(&pool->remote); /* relaxed: a look, the swap decides */
    if (ouroi_remote_list(word) == NULL)
        return false;
    /* [REMOTE-FREE take] acquire, pairs with [REMOTE-FREE push]: the links. model: remote.collect.1 */
    word = ouroi_atomic_exchange_acquire(&pool->remote, OUROI_REMOTE_OWNED);
    OURO_ASSERT((word & OUROI_REMOTE_OWNED) != 0);
    bool current = pool->current;
    accept(pool, ouroi_remote_list(word), ouroi_remote_count(word));
    if (!current)
        ouroi_pool_arm(pool, ouroi_pool_used(pool));
    return true;
}

bool ouroi_pool_replenish(struct ouroi_pool *pool)
{
    if (pool->source.free != NULL)
        return true;
    if (pool->later != NULL) {
        OUROI_OWNED_SET(&pool->source.free, pool->later);
        OUROI_OWNED_SET(&pool->later, NULL);
        return true;
    }
    if (ouroi_pool_collect(pool))
        return true;
    if (pool->carved == pool->capacity)
        return false;
    carve(pool);
    return true;
}

enum ouroi_disowned ouroi_pool_disown(struct ouroi_pool *pool, void *owner, bool if_full)
{
    if (ouroi_pool_collect(pool) && if_full)
        return OUROI_DISOWN_REFILLED;
    ouroi_pool_arm(pool, 0);
    uint32_t used = ouroi_pool_used(pool);
    if (used == 0)
        return OUROI_DISOWN_EMPTY;
    ouroi_run_set_owner(&pool->run, NULL);
    bool list = used <= pool->list_used;
    struct ouroi_shelf *shelf = list ? ouroi_shelf_lock(pool) : NULL; /* model: remote.disown.1 */
    uint64_t word = OUROI_REMOTE_OWNED;
    /* [POOL-OWNER give] release, pairs with [POOL-OWNER take]: all that this owner wrote. model: remote.disown.2 */
    bool done =
        ouroi_atomic_cas_release(&pool->remote, &word, ouroi_remote_word(NULL, used, list ? OUROI_REMOTE_LISTED : 0));
    if (list)
        ouroi_shelf_unlock(shelf, done ? pool : NULL); /* model: remote.disown.3 */
    if (done)
        return OUROI_DISOWNED;              /* the pool may be anybody's by now, or no pool any more */
    ouroi_run_set_owner(&pool->run, owner); /* blocks came back just now: the caller stays owner */
    ouroi_pool_collect(pool);
    ouroi_pool_arm(pool, 0);
    ouroi_pool_arm(pool, ouroi_pool_used(pool));
    return ouroi_pool_used(pool) == 0 ? OUROI_DISOWN_EMPTY : OUROI_DISOWN_REFILLED;
}

/* What a new owner does with the word that it swapped OWNED into. */
static void become_owner(struct ouroi_pool *pool, uint64_t word)
{
    accept(pool, ouroi_remote_list(word), ouroi_pool_used(pool) - ouroi_remote_count(word));
    ouroi_pool_arm(pool, ouroi_pool_used(pool));
}

/* Swaps OWNED into the word; false if it has an owner. *word: what it was. */
static bool swap_owner(struct ouroi_pool *pool, uint64_t *word)
{
    *word = ouroi_atomic_load_relaxed(&pool->remote); /* relaxed: a first guess for the swap */
    do {
        if ((*word & OUROI_REMOTE_OWNED) != 0)
            return false;
        /* [POOL-OWNER take] acquire, pairs with [POOL-OWNER give]; [REMOTE-FREE take] acquire */
    } while (!ouroi_atomic_cas_acquire(&pool->remote, word, OUROI_REMOTE_OWNED)); /* model: remote.own.1 */
    return true;
}

bool ouroi_pool_claim(struct ouroi_pool *pool)
{
    uint64_t word;
    if (!swap_owner(pool, &word))
        return false;
    if ((word & OUROI_REMOTE_LISTED) != 0)
        ouroi_shelf_forget(pool); /* model: remote.claim.1 */
    become_owner(pool, word);
    return true;
}

struct ouroi_pool *ouroi_shelf_take(unsigned node, unsigned size_class, bool nodes)
{
    uint64_t word;
    struct ouroi_pool *pool = ouroi_shelf_pop(node, ouroi_shelf_index(size_class, nodes), swap_owner, &word);
    if (pool != NULL)
        become_owner(pool, word);
    return pool;
}

/* The last block of an unowned pool came back with the caller's push, which made the caller its owner. */
static void bury(struct ouroi_pool *pool, uint64_t word)
{
    if ((word & OUROI_REMOTE_LISTED) != 0)
        ouroi_shelf_forget(pool); /* model: remote.push.4 */
    uint32_t used = ouroi_pool_used(pool);
    OUROI_OWNED_ADD(&pool->settled_frees, used);
    OUROI_OWNED_ADD(&pool->remote_frees, used);
    OUROI_OWNED_SET(&pool->used, 0);
    ouroi_pool_release(pool);
}

bool ouroi_pool_free_all(struct ouroi_pool *pool, uint32_t used)
{
    uint64_t word = ouroi_atomic_load_relaxed(&pool->remote); /* relaxed: a first guess for the swap */
    do {
        if ((word & OUROI_REMOTE_OWNED) != 0 || ouroi_remote_count(word) != used)
            return false;
        /* [POOL-OWNER take] acquire, pairs with [POOL-OWNER give]; [REMOTE-FREE take] acquire */
    } while (!ouroi_atomic_cas_acquire(&pool->remote, &word, OUROI_REMOTE_OWNED));
#if !OURO_DROPIN
    if (pool->run.nodes)
        memset(ouroi_slice_find(pool->run.start)->states, 0, pool->capacity);
#endif
    for (uint32_t i = 0; pool->live != NULL && i < (pool->capacity + 63) / 64; i++)
        ouroi_atomic_store_relaxed(&pool->live[i], 0); /* relaxed: all blocks are the caller's */
    bury(pool, word);
    return true;
}

void ouroi_pool_push(struct ouroi_pool *pool, struct ouroi_block *head, struct ouroi_block *tail, uint32_t count)
{
    uint64_t word = ouroi_atomic_load_relaxed(&pool->remote); /* relaxed: a first guess for the swap */
    struct ouroi_shelf *shelf = NULL;
    for (;;) {
        bool owned = (word & OUROI_REMOTE_OWNED) != 0;
        uint32_t sum = owned ? ouroi_remote_count(word) + count : ouroi_remote_count(word) - count;
        bool last = !owned && sum == 0;
        bool list = !owned && !last && (word & OUROI_REMOTE_LISTED) == 0 && sum <= pool->list_used;
        if (list && shelf == NULL)
            shelf = ouroi_shelf_lock(pool); /* the pool cannot vanish before this push. model: remote.push.1 */
        OUROI_OWNED_SET(&tail->next, ouroi_remote_list(word)); /* the same: not every thread that frees is stopped */
        uint64_t flags = (word & (OUROI_REMOTE_OWNED | OUROI_REMOTE_LISTED)) | (list ? OUROI_REMOTE_LISTED : 0);
        uint64_t next = last ? OUROI_REMOTE_OWNED : ouroi_remote_word(head, sum, flags);
        /* [REMOTE-FREE push] release, pairs with [REMOTE-FREE take]: publishes the links and the last writes to the
         * blocks. [POOL-OWNER take] acquire, pairs with [POOL-OWNER give]: where this free is the last. model: remote.push.2 */
        if (ouroi_atomic_cas_acq_rel(&pool->remote, &word, next)) {
            if (shelf != NULL)
                ouroi_shelf_unlock(shelf, list ? pool : NULL); /* model: remote.push.3 */
            if (last)
                bury(pool, word);
            return;
        }
    }
}

/* The free blocks of an owned pool, as a set. */
static void free_set(const struct ouroi_pool *pool, uint64_t set[OUROI_SPARSE_MAX / 64])
{
    const struct ouroi_block *lists[2] = { pool->source.free, pool->later };
    memcpy(set, pool->uncarved, sizeof pool->uncarved);
    for (unsigned i = 0; i < 2; i++)
        for (const struct ouroi_block *block = lists[i]; block != NULL; block = block->next) {
            uint32_t index = (uint32_t)(((uintptr_t)block - pool->run.start) / pool->block_bytes);
            set[index / 64] |= (uint64_t)1 << index % 64;
        }
}

static bool has(const uint64_t *set, uint32_t index)
{
    return (set[index / 64] >> index % 64 & 1) != 0;
}

/* Makes free blocks uncarved that touch a page without living ones; returns the bytes of such pages, given back. */
static size_t purge_pool(struct ouroi_pool *pool)
{
    uint64_t set[OUROI_SPARSE_MAX / 64];
    size_t page = ouroi_machine.page_bytes, given = 0;
    free_set(pool, set);
    uint64_t asleep[OUROI_SPARSE_MAX / 64] = { 0 };
    for (size_t at = 0; at < pool->run.bytes;) {
        /* [at, end): pages whose blocks are all free */
        size_t end = at;
        bool carved = false;
        for (; end < pool->run.bytes; end += page) {
            uint32_t first = (uint32_t)(end / pool->block_bytes);
            uint32_t last = (uint32_t)((end + page - 1) / pool->block_bytes);
            last = last >= pool->capacity ? pool->capacity - 1 : last;
            uint32_t i = first;
            bool page_carved = false;
            for (; i <= last && has(set, i); i++)
                page_carved |= !has(pool->uncarved, i);
            if (i <= last)
                break;
            carved |= page_carved;
        }
        if (carved && ouroi_os.purge((void *)(pool->run.start + at), end - at) == 0) {
            given += end - at;
            uint32_t last = (uint32_t)((end - 1) / pool->block_bytes);
            for (uint32_t i = (uint32_t)(at / pool->block_bytes); i <= last && i < pool->capacity; i++)
                asleep[i / 64] |= (uint64_t)1 << i % 64;
        }
        at = end + page;
    }
    if (given == 0)
        return 0;
    /* What was in the lists and is not asleep is linked anew; the rest is uncarved. */
    struct ouroi_block *list = NULL;
    uint32_t carved = 0;
    for (uint32_t i = pool->capacity; i-- > 0;) {
        bool sleeps = has(asleep, i) || has(pool->uncarved, i);
        carved += !sleeps;
        /* The collector may be looking: of a free block it sees that it is none of its own, carved or not. */
        uint64_t *word = &pool->uncarved[i / 64];
        if (sleeps)
            OUROI_OWNED_SET(word, *word | (uint64_t)1 << i % 64);
        else if (has(set, i)) {
            struct ouroi_block *block = block_at(pool, i);
            OUROI_OWNED_SET(&block->next, list);
            OUROI_OWNED_SET(&block->key, pool);
            list = block;
        }
    }
    ouroi_arena_note_used(-(ptrdiff_t)((size_t)(pool->carved - carved) * pool->block_bytes));
    OUROI_OWNED_SET(&pool->carved, carved);
    OUROI_OWNED_SET(&pool->source.free, list);
    OUROI_OWNED_SET(&pool->later, NULL);
    return given;
}

/* Owned, and worth a look: free pages may have come since the last one. */
static size_t purge_if_changed(struct ouroi_pool *pool)
{
    size_t given = 0;
    uint32_t used = ouroi_pool_used(pool);
    if (pool->capacity <= OUROI_SPARSE_MAX && used != 0 && used != pool->idle_used)
        given = purge_pool(pool);
    pool->idle_used = used;
    enum ouroi_disowned rc;
    do {
        rc = ouroi_pool_disown(pool, NULL, false);
    } while (rc == OUROI_DISOWN_REFILLED);
    if (rc == OUROI_DISOWN_EMPTY) {
        given += pool->run.bytes;
        ouroi_pool_release(pool);
    }
    return given;
}

size_t ouroi_pool_purge_idle(bool all)
{
    size_t given = 0;
    uint32_t beat = ouroi_shelf_beat();
    ouroi_shelf_quiet();
    for (unsigned node = 0; node < ouroi_machine.nodes; node++)
        for (unsigned c = 1; c < OUROI_SHELVES; c++) {
            uint64_t word;
            struct ouroi_pool *pool;
            /* The last on the shelf has been there longest; disowned, it becomes the first, of this beat. */
            while ((pool = ouroi_shelf_pop_last(node, c, beat, all, swap_owner, &word)) != NULL) {
                become_owner(pool, word);
                given += purge_if_changed(pool);
            }
        }
    ouroi_shelf_quiet();
    return given;
}

uint32_t ouroi_pool_list_length(const struct ouroi_pool *pool, const struct ouroi_block *list)
{
    uint32_t length = 0;
    while (list != NULL && (uintptr_t)list - pool->run.start < pool->run.bytes && (uintptr_t)list % 16 == 0 &&
           length <= pool->capacity) {
        length++;
        list = OUROI_OWNED_GET(&list->next);
    }
    return length;
}

uint32_t ouroi_pool_listed(const struct ouroi_pool *pool)
{
    return ouroi_pool_list_length(pool, OUROI_OWNED_GET(&pool->source.free)) +
           ouroi_pool_list_length(pool, OUROI_OWNED_GET(&pool->later));
}

static bool list_has(const struct ouroi_pool *pool, const struct ouroi_block *list, const struct ouroi_block *block)
{
    for (uint32_t i = 0; list != NULL && i <= pool->capacity; i++, list = list->next) {
        if (list == block)
            return true;
        if ((uintptr_t)list - pool->run.start >= pool->run.bytes)
            return false; /* overwritten by somebody */
    }
    return false;
}

bool ouroi_pool_has_free(const struct ouroi_pool *pool, const struct ouroi_block *block)
{
    /* [REMOTE-FREE take] acquire: the links */
    uint64_t word = ouroi_atomic_load_acquire(&pool->remote);
    return list_has(pool, pool->source.free, block) || list_has(pool, pool->later, block) ||
           list_has(pool, ouroi_remote_list(word), block);
}

bool ouroi_pool_mark(struct ouroi_pool *pool, const void *block, bool live)
{
    uint32_t index = (uint32_t)(((uintptr_t)block - pool->run.start) / pool->block_bytes);
    uint64_t bit = (uint64_t)1 << index % 64;
    uint64_t *word = &pool->live[index / 64];
    /* relaxed: a bit changes hands with its block */
    uint64_t old = ouroi_atomic_load_relaxed(word);
    while (!ouroi_atomic_cas_relaxed(word, &old, live ? old | bit : old & ~bit)) {
        /* relaxed: see above */
    }
    return ((old & bit) != 0) != live;
}

bool ouroi_block_mark_live(const void *block)
{
    return ouroi_pool_mark(ouroi_pool_of(ouroi_run_find(block)), block, true);
}

/* Counts a list whose blocks must all be free ones of this pool; -1 if it is not such. */
static long count_list(const struct ouroi_pool *pool, const struct ouroi_block *list)
{
    long count = 0;
    for (; list != NULL; list = list->next) {
        if (!ouroi_pool_is_block(pool, list) || list->key != pool || ++count > (long)pool->capacity)
            return -1;
    }
    return count;
}

unsigned ouroi_pool_check(struct ouroi_pool *pool)
{
    uint64_t word = ouroi_atomic_load_acquire(&pool->remote); /* [REMOTE-FREE take] acquire: the links */
    long local = count_list(pool, pool->source.free), later = count_list(pool, pool->later);
    long remote = count_list(pool, ouroi_remote_list(word));
    uint32_t used = ouroi_pool_used(pool), count = ouroi_remote_count(word);
    if ((word & OUROI_REMOTE_OWNED) == 0)
        count = used - count;
    if (local >= 0 && later >= 0 && remote >= 0 && (uint32_t)remote == count &&
        used + (uint32_t)local + (uint32_t)later == pool->carved && (uint32_t)remote <= used &&
        pool->carved <= pool->capacity)
        return 0;
    ouroi_warn("check: pool %p of %u-byte blocks: %u used, %ld free, %ld later, %ld remote (%u), %u carved of %u",
               (void *)pool->run.start, pool->block_bytes, used, local, later, remote, count, pool->carved,
               pool->capacity);
    return 1;
}

void ouroi_pool_describe(struct ouroi_pool_view *view)
{
    static uint64_t class_bytes[OUROI_CLASSES];
    for (unsigned c = 1; c < OUROI_CLASSES; c++)
        class_bytes[c] = ouroi_class_bytes(c);
    view->pool_free = offsetof(struct ouroi_pool, source.free);
    view->pool_later = offsetof(struct ouroi_pool, later);
    view->block_next = offsetof(struct ouroi_block, next);
    view->pool_countdown = offsetof(struct ouroi_pool, countdown);
    view->pool_armed = offsetof(struct ouroi_pool, armed);
    view->pool_carved = offsetof(struct ouroi_pool, carved);
    view->pool_capacity = offsetof(struct ouroi_pool, capacity);
    view->pool_used = offsetof(struct ouroi_pool, used);
    view->pool_block_bytes = offsetof(struct ouroi_pool, block_bytes);
    view->pool_remote = offsetof(struct ouroi_pool, remote);
    view->pool_settled_frees = offsetof(struct ouroi_pool, settled_frees);
    view->pool_remote_frees = offsetof(struct ouroi_pool, remote_frees);
    view->pool_seen_allocs = offsetof(struct ouroi_pool, source.seen_allocs);
    view->pool_current = offsetof(struct ouroi_pool, current);
    view->races_seen = OUROI_RACES_SEEN;
    view->remote_owned = OUROI_REMOTE_OWNED;
    view->remote_count_shift = OUROI_REMOTE_COUNT_SHIFT;
    view->totals = (uintptr_t)ouroi_pool_totals;
    view->totals_bytes = sizeof *ouroi_pool_totals;
    view->totals_frees = offsetof(struct ouroi_pool_totals, frees);
    view->totals_remote_frees = offsetof(struct ouroi_pool_totals, remote_frees);
    view->classes = OUROI_CLASSES;
    view->class_bytes = (uintptr_t)class_bytes;
}
