/* workloads/vectors.c: vectors that grow by realloc while others do, as rows, messages and lists of results.
 *
 * Owns        a set of vectors that grow in turn.
 * Invariants  element i of a vector is its key plus i, where it was written.
 * Sync        none
 * Source      none
 */
#include "loads.h"
#include "sizes.h"
#include "stamp.h"

enum { VECTORS_OPEN = 48, VECTORS_STEP = 16 };

struct vector {
    uint64_t *items;
    size_t used;
    size_t room;
    size_t goal;
    uint64_t key;
};

static void vector_start(struct vector *vector, const struct ouroi_sizes *sizes, struct ouroi_rand *rand)
{
    *vector = (struct vector){ .goal = ouroi_sizes_draw(sizes, rand) / sizeof(uint64_t), .key = ouroi_rand_next(rand) };
}

/* One element in VECTORS_STEP is written and checked: the copying is realloc's, not ours. */
static void vector_finish(struct vector *vector)
{
    for (size_t i = 0; i < vector->used; i += VECTORS_STEP)
        if (vector->items[i] != vector->key + i)
            ouroi_bench_die("a vector of %zu elements lost element %zu", vector->used, i);
    free(vector->items);
}

/* Grows by half, the rule of most vectors in use. */
static void vector_push(struct vector *vector)
{
    if (vector->used + VECTORS_STEP > vector->room) {
        vector->room = vector->room < 32 ? 32 : vector->room + vector->room / 2;
        vector->items = ouroi_must(realloc(vector->items, vector->room * sizeof(uint64_t)));
    }
    vector->items[vector->used] = vector->key + vector->used;
    vector->used += VECTORS_STEP;
}

void ouroi_vectors_run(const struct ouroi_job *job)
{
    static struct vector open[VECTORS_OPEN];
    struct ouroi_sizes sizes;
    struct ouroi_rand rand = ouroi_rand_seed(job->seed);
    ouroi_sizes_lognormal(&sizes, job->seed, 8192, 1.8, 256, 4 << 20);
    for (size_t i = 0; i < VECTORS_OPEN; i++)
        vector_start(&open[i], &sizes, &rand);
    for (uint64_t done = 0; done < job->ops;) {
        struct vector *vector = &open[ouroi_rand_below(&rand, VECTORS_OPEN)];
        for (unsigned burst = 0; burst < 16 && vector->used < vector->goal; burst++)
            vector_push(vector);
        if (vector->used >= vector->goal) {
            vector_finish(vector);
            vector_start(vector, &sizes, &rand);
            done++;
        }
    }
    for (size_t i = 0; i < VECTORS_OPEN; i++)
        vector_finish(&open[i]);
}
