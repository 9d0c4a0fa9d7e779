/* stress/objects.c: a graph without cycles that all threads change; counts are compared with the oracle ten times a second. */
#include "graph.h"

static void thin_sometimes(struct hand *hand, unsigned index)
{
    (void)index;
    if (random_below(&hand->random, 200) == 0)
        hand_thin(hand, 2);
}

void objects_run(void)
{
    graph_run(thin_sometimes, 100);
    CHECK(graph_made() > 0);
}
