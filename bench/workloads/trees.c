/* workloads/trees.c: trees of small nodes, built, walked and torn down: interpreters and functional programs without a collector.
 *
 * Owns        one long-lived tree and the short-lived ones beside it.
 * Invariants  the sum over a tree is what its depth says.
 * Sync        none
 * Source      the load is that of the "binary trees" of the language benchmarks; written anew.
 */
#include "loads.h"
#include "rand.h"
#include "stamp.h"

enum { TREES_LONG_DEPTH = 17, TREES_SHORT_DEPTH = 12 };

struct tree {
    struct tree *left;
    struct tree *right;
    uint64_t count;
};

static struct tree *tree_new(unsigned depth)
{
    struct tree *tree = ouroi_must(malloc(sizeof *tree));
    tree->left = depth > 0 ? tree_new(depth - 1) : NULL;
    tree->right = depth > 0 ? tree_new(depth - 1) : NULL;
    tree->count = 1;
    return tree;
}

/* Counts and frees. */
static uint64_t tree_free(struct tree *tree)
{
    uint64_t count = tree->count;
    if (tree->left != NULL)
        count += tree_free(tree->left) + tree_free(tree->right);
    free(tree);
    return count;
}

static void tree_end(struct tree *tree, unsigned depth)
{
    if (tree_free(tree) != (UINT64_C(2) << depth) - 1)
        ouroi_bench_die("a tree of depth %u lost nodes", depth);
}

void ouroi_trees_run(const struct ouroi_job *job)
{
    struct ouroi_rand rand = ouroi_rand_seed(job->seed);
    struct tree *kept = tree_new(TREES_LONG_DEPTH);
    for (uint64_t done = 0; done < job->ops;) {
        unsigned depth = ouroi_rand_between(&rand, 4, TREES_SHORT_DEPTH);
        tree_end(tree_new(depth), depth);
        done += (UINT64_C(2) << depth) - 1;
    }
    tree_end(kept, TREES_LONG_DEPTH);
}
