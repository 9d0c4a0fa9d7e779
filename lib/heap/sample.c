/* heap/sample.c: which of the blocks that a thread takes from its current pools are sampled, so that neither malloc nor free
 * does anything for it.
 *
 * Owns        struct ouroi_sampler: of each class, the chosen blocks that lie in the current pool's lists.
 * Invariants  each time that a block comes into a current pool's lists (carved, freed by the owner, taken in, or with the
 *             whole pool) it is chosen or not, with the chance ouroi_sample_chance of its class, whatever else happens. A
 *             block is handed out once for each time that it came in, so that each allocation is sampled with that chance.
 *             Chosen blocks are in `later`; the first of it is the last in `marks`; each of them begins a piece of it, so
 *             that `free` holds none, and the fast path never finds one.
 *             How many more blocks come in until one is chosen is the current pool's countdown, which counts frees anyway.
 * Sync        the heap's thread alone.
 * Source      the points of a Poisson process on the bytes that come in, as tcmalloc has it on the bytes that go out.
 */
#include "heap/internal.h"

enum {
    MARKS = 16, /* a pool of more than one slice has at most 15 blocks; a smaller one more than that at odds of none */
    FAR = 1 << 29, /* blocks to the next chosen one, at most */
};

struct ouroi_sampler {
    uint64_t random;
    struct {
        uint32_t depth, epoch;
        struct ouroi_block *marks[MARKS];
    } classes[OUROI_CLASSES];
};

/* ln(u), 0 < u <= 1: u = m 2^-k with m in (sqrt 1/2, sqrt 2], ln m = 2 atanh((m - 1) / (m + 1)). No libm: the drop-in needs
 * libc alone. */
static double log_of(double u)
{
    int k = 0;
    for (; u <= 0.70710678118654752; u *= 2)
        k++;
    double s = (u - 1) / (u + 1), q = s * s;
    double m = 2 * s * (1 + q * (1.0 / 3 + q * (1.0 / 5 + q * (1.0 / 7 + q * (1.0 / 9 + q * (1.0 / 11))))));
    return m - k * 0.69314718055994531;
}

uint64_t ouroi_sample_distance(uint64_t random, size_t mean)
{
    double u = ((double)(random >> 11) + 1) / 9007199254740992.0; /* (0, 1] */
    double distance = -log_of(u) * (double)mean;
    return distance < 9e18 ? (uint64_t)distance : (uint64_t)9000000000000000000;
}

double ouroi_sample_chance(size_t slot, size_t mean)
{
    double x = (double)slot / (double)mean;
    unsigned halvings = 0;
    if (x > 40)
        return 1;
    for (; x > 0.25; x /= 2)
        halvings++;
    /* 1 - exp(-x), and then 1 - exp(-2y) = q (2 - q) of q = 1 - exp(-y) */
    double q = x * (1 - x / 2 * (1 - x / 3 * (1 - x / 4 * (1 - x / 5 * (1 - x / 6 * (1 - x / 7 * (1 - x / 8)))))));
    for (; halvings > 0; halvings--)
        q *= 2 - q;
    return q;
}

static struct ouroi_sampler *sampler_of(struct ouroi_heap *heap)
{
    if (heap->sampler == NULL && (heap->sampler = ouroi_meta_alloc(sizeof *heap->sampler)) != NULL) {
        uint64_t seed = ouroi_trace_seed != 0 ? ouroi_trace_seed : ouroi_os.now_ns() ^ (uintptr_t)heap;
        heap->sampler->random = seed + heap->number * 0x632be59bd9b4e019u;
    }
    return heap->sampler;
}

/* Blocks until the next chosen one, that included. */
static uint32_t draw(struct ouroi_sampler *sampler, const struct ouroi_pool *pool, size_t mean)
{
    uint64_t blocks = ouroi_sample_distance(ouroi_random_next(&sampler->random), mean) / pool->block_bytes + 1;
    return blocks < FAR ? (uint32_t)blocks : FAR;
}

static struct ouroi_block *last_of(struct ouroi_block *block)
{
    while (block->next != NULL)
        block = block->next;
    return block;
}

void ouroi_sample_offer(struct ouroi_heap *heap, struct ouroi_pool *pool, uint32_t count, size_t mean)
{
    struct ouroi_sampler *sampler = heap->sampler;
    unsigned c = pool->run.size_class, found = 0;
    uint32_t at = 0, left = pool->countdown, places[MARKS];
    if (sampler == NULL)
        return;
    while (left <= count - at) {
        at += left;
        if (found < MARKS)
            places[found++] = at;
        left = draw(sampler, pool, mean);
    }
    ouroi_pool_rearm(pool, left - (count - at));
    if (found == 0)
        return;
    struct ouroi_block *chosen[MARKS], **link = &pool->source.free, **cut = NULL;
    for (uint32_t i = 1, n = 0; n < found; i++, link = &(*link)->next) {
        if (i != places[n])
            continue;
        cut = n == 0 ? link : cut;
        chosen[n++] = *link;
    }
    if (pool->later != NULL)
        last_of(chosen[0])->next = pool->later;
    OUROI_OWNED_SET(&pool->later, chosen[0]);
    OUROI_OWNED_SET(cut, NULL);
    while (found > 0 && sampler->classes[c].depth < MARKS)
        sampler->classes[c].marks[sampler->classes[c].depth++] = chosen[--found];
    if (found > 0) /* the first in the list must be the last mark */
        ouroi_sample_drop(heap, c);
}

void ouroi_sample_renew(struct ouroi_heap *heap, struct ouroi_pool *pool, uint32_t listed, size_t mean, uint32_t epoch)
{
    struct ouroi_sampler *sampler = sampler_of(heap);
    if (sampler == NULL)
        return;
    sampler->classes[pool->run.size_class].depth = 0;
    sampler->classes[pool->run.size_class].epoch = epoch;
    if (pool->later != NULL) {
        if (pool->source.free != NULL)
            last_of(pool->source.free)->next = pool->later;
        else
            OUROI_OWNED_SET(&pool->source.free, pool->later);
        OUROI_OWNED_SET(&pool->later, NULL);
    }
    ouroi_pool_rearm(pool, draw(sampler, pool, mean));
    OURO_EXPENSIVE(listed == ouroi_pool_list_length(pool, pool->source.free));
    ouroi_sample_offer(heap, pool, listed, mean);
}

void ouroi_sample_drop(struct ouroi_heap *heap, unsigned size_class)
{
    if (heap->sampler != NULL)
        heap->sampler->classes[size_class].depth = 0;
}

void ouroi_sample_freed(struct ouroi_heap *heap, struct ouroi_pool *pool, size_t mean, uint32_t epoch)
{
    struct ouroi_sampler *sampler = heap->sampler;
    unsigned c = pool->run.size_class;
    if (sampler == NULL || sampler->classes[c].epoch != epoch) {
        ouroi_pool_rearm(pool, OUROI_ARMED_CURRENT);
        return;
    }
    ouroi_pool_rearm(pool, draw(sampler, pool, mean));
    if (sampler->classes[c].depth == MARKS)
        return;
    struct ouroi_block *block = pool->source.free;
    sampler->classes[c].marks[sampler->classes[c].depth++] = block;
    if (pool->later != NULL)
        last_of(block)->next = pool->later;
    OUROI_OWNED_SET(&pool->later, block);
    OUROI_OWNED_SET(&pool->source.free, NULL);
}

bool ouroi_sample_take(struct ouroi_heap *heap, struct ouroi_pool *pool, size_t mean, uint32_t epoch)
{
    struct ouroi_sampler *sampler = heap->sampler;
    unsigned c = pool->run.size_class;
    if (pool->source.free != NULL || sampler == NULL || sampler->classes[c].depth == 0 ||
        sampler->classes[c].epoch != epoch)
        return false;
    struct ouroi_block *block = sampler->classes[c].marks[sampler->classes[c].depth - 1];
    OURO_ASSERT(block == pool->later);
    if (block != pool->later) {
        ouroi_sample_drop(heap, c);
        return false;
    }
    /* The block itself stays: another one, of a traced pool, is handed out. It comes in once more. */
    uint32_t left = pool->countdown - 1;
    if (left == 0) {
        ouroi_pool_rearm(pool, draw(sampler, pool, mean));
        return true;
    }
    ouroi_pool_rearm(pool, left);
    uint32_t depth = --sampler->classes[c].depth;
    struct ouroi_block *next = depth > 0 ? sampler->classes[c].marks[depth - 1] : NULL, *last = block;
    while (next != NULL && last->next != next)
        last = last->next;
    if (next != NULL)
        last->next = NULL;
    OUROI_OWNED_SET(&pool->source.free, block);
    OUROI_OWNED_SET(&pool->later, next);
    return true;
}
