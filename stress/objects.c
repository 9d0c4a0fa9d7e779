/* stress/objects.c: a graph without cycles that all threads change; counts are compared with the oracle ten times a second. */
#include "graph.h"

#include <stdlib.h>

static struct hand *hands;

static void work(unsigned index)
{
    struct hand *hand = &hands[index];
    while (!atomic_load_explicit(&run.stop, memory_order_relaxed)) {
        for (unsigned i = 0; i < 100; i++)
            hand_step(hand);
        if (random_below(&hand->random, 200) == 0)
            hand_thin(hand, 2);
        stress_rest();
    }
    hand_drop_all(hand);
}

static void check(void)
{
    graph_check(hands, run.threads);
}

void objects_run(void)
{
    hands = calloc(run.threads, sizeof *hands);
    CHECK(hands != NULL);
    for (unsigned i = 0; i < run.threads; i++)
        hands[i].random = random_seed(i);
    run_checked(run.threads, work, check, 100);
    for (unsigned i = 0; i < run.threads; i++)
        hand_done(&hands[i]);
    free(hands);
    graph_finish();
    CHECK(graph_made() > 0);
}
