/* heap/traced.c: blocks that are traced, and how threads come to make such.
 *
 * Owns        the regions of traced blocks; the word that a pool keeps of each of its blocks, the two that a large one has in
 *             its descriptor; whether tracing is on, for each heap.
 * Invariants  a traced block belongs to a region (or the hardened heap), so that every free of it leaves the fast path for
 *             the region's lock, under which it is counted and forgotten: nothing is looked up on the way of other frees, and
 *             a block that outlives tracing is an ordinary block of a region.
 *             A word of a pool's `traces`: the tracer's token in bits 63..16, the size asked for below, which is at most
 *             OUROI_SMALL_MAX; 0: not traced. Tokens of old are known as such by the tracer.
 * Sync        [TRACE-FACE]: heap->tracing, bins[].source and direct[]. All allocations of a thread go the slow way while its
 *             tables name the empty pool's, and its own slow path must not undo that:
 *               the switch   swaps heap->tracing, then writes the empty pool to all entries;
 *               the owner    writes a pool to the entries of a class, then looks at heap->tracing by a read-modify-write, and
 *                            empties them again where all is traced.
 *             Both are read-modify-writes of one word, so one comes first. The owner's: the swap acquires its stores, and the
 *             switch's come after them. The switch's: the owner sees it. Either way the entries end up empty. A thread that
 *             was in the middle of a fast path makes one more block unseen.
 *             The switch empties direct[] before bins[].source (release), which tells the owner (acquire) to show its pool
 *             anew where not all is traced.
 */
#include "heap/internal.h"

#include <string.h>

enum { REGIONS = 64 };
#define LISTS_LEAST ((size_t)64 << 10) /* with a mean below this, every allocation is looked at */

const struct ouroi_tracer *ouroi_tracer;
uint64_t ouroi_trace_seed;
__thread uint32_t ouroi_trace_paused __attribute__((tls_model("initial-exec")));
struct ouroi_lock ouroi_trace_lock = OUROI_LOCK_INIT(OUROI_RANK_TRACE);
struct ouroi_lock ouroi_intern_lock = OUROI_LOCK_INIT(OUROI_RANK_INTERN);

uint32_t ouroi_tracing_now, ouroi_tracing_epoch;
static size_t mean_now;
static struct ouro_heap *regions[2][REGIONS]; /* of plain blocks, of tracked objects */

__thread uint64_t ouroi_sample_left __attribute__((tls_model("initial-exec")));
__thread uint32_t ouroi_sample_epoch __attribute__((tls_model("initial-exec")));
static __thread uint64_t dice __attribute__((tls_model("initial-exec")));

/* What a large block's descriptor has of it, before its state. */
struct large_trace {
    uint64_t token;
    size_t size;
};

static struct large_trace *large_trace_of(struct ouroi_run *run)
{
    return (struct large_trace *)(void *)((char *)ouroi_run_member(run) - 8 - sizeof(struct large_trace));
}

/* relaxed, these three: a switch takes effect some time; what belongs together is looked at under the region's lock */
enum ouroi_tracing ouroi_traced_mode(void)
{
    return ouroi_trace_paused != 0
               ? OUROI_TRACING_OFF
               : (enum ouroi_tracing)ouroi_atomic_load_relaxed(&ouroi_tracing_now); /* relaxed: see above */
}

static size_t mean(void)
{
    return ouroi_atomic_load_relaxed(&mean_now); /* relaxed: see above */
}

static uint32_t epoch(void)
{
    return ouroi_atomic_load_relaxed(&ouroi_tracing_epoch); /* relaxed: see above */
}

/* Where all is traced the epoch is none that a thread has drawn for, so that every one is asked about. */
bool ouroi_traced_choose(size_t slot)
{
    uint32_t now = ouroi_atomic_load_relaxed(&ouroi_tracing_now); /* relaxed: see above */
    if (now != OUROI_TRACING_SAMPLED)
        return now == OUROI_TRACING_ALL && ouroi_trace_paused == 0;
    if (dice == 0)
        dice = ouroi_trace_seed != 0 ? ouroi_trace_seed : ouroi_os.now_ns() ^ (uintptr_t)&dice;
    if (ouroi_sample_epoch != epoch()) {
        ouroi_sample_epoch = epoch();
        ouroi_sample_left = ouroi_sample_distance(ouroi_random_next(&dice), mean());
        if (ouroi_sample_left >= slot) {
            ouroi_sample_left -= slot;
            return false;
        }
    }
    ouroi_sample_left = ouroi_sample_distance(ouroi_random_next(&dice), mean());
    return ouroi_trace_paused == 0;
}

void ouroi_traced_site(struct ouroi_site *site, const char *type)
{
    site->type = type;
    ouroi_trace_paused++;
    ouroi_tracer->site(site);
    ouroi_trace_paused--;
}

/* A region for the heap's traced blocks: few are sampled, so that one serves all threads then. */
static struct ouro_heap *region_of(const struct ouroi_heap *heap)
{
    bool sampled =
        ouroi_atomic_load_relaxed(&ouroi_tracing_now) == OUROI_TRACING_SAMPLED; /* relaxed: any region will do */
    struct ouro_heap **slot = &regions[heap->nodes][sampled ? 0 : heap->number % REGIONS];
    /* [TRACE-REGION look] acquire, pairs with [TRACE-REGION make] */
    struct ouro_heap *region = ouroi_atomic_load_acquire(slot);
    return region != NULL ? region : ouroi_region_new_traced(slot, heap->nodes);
}

void *ouroi_traced_alloc(struct ouroi_heap *heap, size_t alignment, size_t bytes, size_t asked, bool zero,
                         const char *type)
{
    struct ouroi_site site;
    struct ouro_heap *region = region_of(heap);
    if (region == NULL)
        return NULL;
    ouroi_traced_site(&site, type);
    ouroi_trace_paused++;
    void *p = ouroi_region_alloc_noted(region, alignment, bytes, zero, &site, asked, heap->nodes ? heap : NULL);
    ouroi_trace_paused--;
    return p;
}

void ouroi_traced_adopt(struct ouroi_heap *heap, struct ouroi_run *run, size_t size)
{
    struct ouroi_site site;
    struct ouro_heap *region = ouroi_traced_chosen(size) ? region_of(heap) : NULL;
    if (region == NULL)
        return;
    ouroi_traced_site(&site, NULL);
    ouroi_region_adopt(region, run, &site, size);
}

/* Faces. */

static void set_face(struct ouroi_heap *heap, unsigned size_class, struct ouroi_source *source)
{
    size_t bytes = ouroi_class_bytes(size_class);
    size_t first = size_class == 1 ? 0 : ouroi_class_bytes(size_class - 1) / 16 + 1;
    for (size_t i = first; bytes <= OUROI_DIRECT_MAX && i <= bytes / 16; i++)
        ouroi_atomic_store_relaxed(&heap->direct[i], source); /* relaxed: ordered by what follows */
    /* [TRACE-FACE empty] release, pairs with [TRACE-FACE look]: direct[] before */
    ouroi_atomic_store_release(&heap->bins[size_class].source, source);
}

void ouroi_traced_show(struct ouroi_heap *heap, unsigned size_class)
{
    struct ouroi_source *none = ouroi_heap_empty.bins[0].source, *source = &heap->bins[size_class].pool->source;
    set_face(heap, size_class, source);
    /* [TRACE-FACE owner] seq_cst, pairs with [TRACE-FACE switch] */
    if (source != none && ouroi_atomic_fetch_add_seq_cst(&heap->tracing, 0) == OUROI_TRACING_ALL)
        set_face(heap, size_class, none);
}

void ouroi_traced_show_stash(struct ouroi_heap *heap, unsigned size_class)
{
    set_face(heap, size_class, &heap->bins[size_class].stash);
    /* [TRACE-FACE owner] seq_cst, pairs with [TRACE-FACE switch] */
    if (ouroi_atomic_fetch_add_seq_cst(&heap->tracing, 0) != OUROI_TRACING_OFF)
        set_face(heap, size_class, ouroi_heap_empty.bins[0].source);
}

void *ouroi_traced_class(struct ouroi_heap *heap, unsigned size_class, size_t size, const char *type)
{
    struct ouroi_bin *bin = &heap->bins[size_class];
    size_t bytes = ouroi_class_bytes(size_class);
    uint32_t mode = ouroi_atomic_load_relaxed(&heap->tracing); /* relaxed: see the file head */
    if (mode == OUROI_TRACING_ALL)
        return ouroi_traced_chosen(bytes) ? ouroi_traced_alloc(heap, OUROI_ALIGN, bytes, size, false, type) : NULL;
    if (bin->pool == ouroi_heap_empty.bins[0].pool)
        return NULL;
    /* [TRACE-FACE look] acquire, pairs with [TRACE-FACE empty] */
    if (ouroi_atomic_load_acquire(&bin->source) != &bin->pool->source) {
        ouroi_traced_show(heap, size_class);
        ouroi_traced_installed(heap, bin->pool, ouroi_pool_listed(bin->pool));
    }
    if (mode != OUROI_TRACING_SAMPLED || !ouroi_sample_take(heap, bin->pool, mean(), epoch()))
        return NULL;
    void *p = NULL;
    if (ouroi_traced_mode() == OUROI_TRACING_SAMPLED)
        p = ouroi_traced_alloc(heap, OUROI_ALIGN, bytes, size, false, type);
    if (p == NULL)
        ouroi_sample_drop(heap, size_class);
    return p;
}

void ouroi_traced_installed(struct ouroi_heap *heap, struct ouroi_pool *pool, uint32_t listed)
{
    if (ouroi_atomic_load_relaxed(&heap->tracing) == OUROI_TRACING_SAMPLED) /* relaxed: see the file head */
        ouroi_sample_renew(heap, pool, listed, mean(), epoch());
    else
        ouroi_pool_rearm(pool, OUROI_ARMED_CURRENT);
}

void ouroi_traced_refilled(struct ouroi_heap *heap, struct ouroi_pool *pool, uint32_t count)
{
    OURO_EXPENSIVE(count == ouroi_pool_list_length(pool, pool->source.free));
    ouroi_sample_offer(heap, pool, count, mean());
}

void ouroi_traced_freed(struct ouroi_heap *heap, struct ouroi_pool *pool)
{
    /* relaxed: both are the owner's, but for the switch; see the file head */
    if (ouroi_atomic_load_relaxed(&heap->tracing) == OUROI_TRACING_SAMPLED &&
        ouroi_atomic_load_relaxed(&heap->bins[pool->run.size_class].source) == &pool->source)
        ouroi_sample_freed(heap, pool, mean(), epoch());
    else
        ouroi_pool_rearm(pool, OUROI_ARMED_CURRENT);
}

/* Records. */

static uint64_t *word_of(struct ouroi_pool *pool, const void *p)
{
    uint64_t *traces = OUROI_OWNED_GET(&pool->traces);
    return traces == NULL ? NULL : &traces[((uintptr_t)p - pool->run.start) / pool->block_bytes];
}

void ouroi_traced_note(struct ouroi_ledger *ledger, struct ouroi_run *run, const void *p, const struct ouroi_site *site,
                       size_t size)
{
    if (run->kind != OUROI_RUN_POOL) {
        *large_trace_of(run) = (struct large_trace){ ouroi_tracer->note(ledger, site, size, size), size };
        return;
    }
    struct ouroi_pool *pool = ouroi_pool_of(run);
    if (pool->traces == NULL) {
        uint64_t *traces = ouroi_pool_new_traces(pool);
        if (traces == NULL)
            return;
        OUROI_OWNED_SET(&pool->traces, traces);
    }
    uint64_t token = ouroi_tracer->note(ledger, site, size, pool->block_bytes);
    OUROI_OWNED_SET(word_of(pool, p), token != 0 ? token << 16 | size : 0);
}

void ouroi_traced_forget(struct ouroi_ledger *ledger, struct ouroi_run *run, const void *p)
{
    if (run->kind != OUROI_RUN_POOL) {
        struct large_trace *large = large_trace_of(run);
        if (large->token != 0)
            ouroi_tracer->forget(ledger, large->token, large->size, large->size);
        large->token = 0;
        return;
    }
    uint64_t *word = word_of(ouroi_pool_of(run), p);
    if (word == NULL || *word == 0)
        return;
    ouroi_tracer->forget(ledger, *word >> 16, *word & 0xffff, ouroi_pool_of(run)->block_bytes);
    OUROI_OWNED_SET(word, 0);
}

void ouroi_traced_forget_pool(struct ouroi_ledger *ledger, struct ouroi_pool *pool)
{
    for (uint32_t i = 0; pool->traces != NULL && i < pool->capacity; i++)
        ouroi_traced_forget(ledger, &pool->run, (void *)(pool->run.start + (size_t)i * pool->block_bytes));
}

uint64_t ouroi_traced_token(struct ouroi_run *run, const void *p)
{
    if (run->kind != OUROI_RUN_POOL)
        return large_trace_of(run)->token;
    const uint64_t *word = word_of(ouroi_pool_of(run), p);
    return word != NULL ? OUROI_OWNED_GET(word) >> 16 : 0;
}

/* Takes the record out of the descriptor of a large block that is about to be resized; put_back, or drop, ends that. */
struct ouroi_traced_record ouroi_traced_lift(struct ouroi_run *run)
{
    struct large_trace *large = large_trace_of(run);
    struct ouroi_traced_record record = { large->token, large->size };
    large->token = 0;
    return record;
}

void ouroi_traced_put_back(struct ouroi_run *run, struct ouroi_traced_record record)
{
    *large_trace_of(run) = (struct large_trace){ record.token, record.size };
}

void ouroi_traced_drop(struct ouroi_ledger *ledger, struct ouroi_traced_record record)
{
    if (record.token != 0)
        ouroi_tracer->forget(ledger, record.token, record.size, record.size);
}

/* Switching. */

void ouroi_traced_heap_begins(struct ouroi_heap *heap)
{
    /* relaxed: under the lock of the list of heaps, as switch_heap */
    uint32_t now = ouroi_atomic_load_relaxed(&ouroi_tracing_now);
    if (now == OUROI_TRACING_SAMPLED && mean() < LISTS_LEAST)
        now = OUROI_TRACING_ALL;
    ouroi_atomic_store_relaxed(&heap->tracing, now); /* relaxed: the caller's thread uses it next */
}

static void switch_heap(struct ouroi_heap *heap, void *arg)
{
    const uint32_t *tracing = arg;
    /* [TRACE-FACE switch] seq_cst, pairs with [TRACE-FACE owner] */
    ouroi_atomic_exchange_seq_cst(&heap->tracing, *tracing);
    for (unsigned c = 1; *tracing != OUROI_TRACING_OFF && c < OUROI_CLASSES; c++)
        set_face(heap, c, ouroi_heap_empty.bins[0].source);
}

int ouroi_tracing_switch(enum ouroi_tracing tracing, size_t sample_bytes)
{
    if (ouroi_heap_start() != 0)
        return -1;
    uint32_t of_heaps = tracing == OUROI_TRACING_SAMPLED && sample_bytes < LISTS_LEAST ? OUROI_TRACING_ALL : tracing;
    if (tracing != OUROI_TRACING_OFF) {
        /* relaxed, these three: see ouroi_traced_mode */
        ouroi_atomic_store_relaxed(&mean_now, sample_bytes);
        ouroi_atomic_fetch_add_relaxed(&ouroi_tracing_epoch, 1);
    }
    ouroi_atomic_store_relaxed(&ouroi_tracing_now, (uint32_t)tracing);
    ouroi_heap_each(switch_heap, &of_heaps);
    ouroi_tracing_settle();
    return 0;
}

/* note and forget run under a region's lock alone: who has had each once has seen all out that were in. */
void ouroi_tracing_settle(void)
{
    ouroi_region_settle();
    ouroi_secure_settle();
}

void ouroi_tracing_each(void (*fn)(struct ouroi_ledger *ledger, void *arg), void *arg)
{
    ouroi_region_each_ledger(fn, arg);
    ouroi_secure_each_ledger(fn, arg);
}

void ouroi_tracing_look(const void *p, void (*fn)(uint64_t token, void *arg), void *arg)
{
    struct ouroi_run *run = ouroi_run_find(p);
    if (run == NULL)
        return;
    if (ouroi_run_member(run)->heap != NULL)
        ouroi_region_look(p, run, fn, arg);
    else if (ouroi_options.secure)
        ouroi_secure_look(p, run, fn, arg);
}
