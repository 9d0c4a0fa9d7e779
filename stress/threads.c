/* stress/threads.c: the graph of objects.c, by threads that live for some hundred operations: numbers change hands, owners
 * are asleep, ending or gone whenever somebody drops what they made. */
#define _GNU_SOURCE
#include "graph.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

struct life {
    struct hand hand;
    unsigned kind;
};

static void sleep_us(long us)
{
    struct timespec ts = { 0, us * 1000 };
    nanosleep(&ts, NULL);
}

static void *life_main(void *arg)
{
    struct life *life = arg;
    struct hand *hand = &life->hand;
    unsigned steps = random_below(&hand->random, 600);
    if (life->kind % 4 == 0)
        CHECK(ouro_thread_register() == 0);
    for (unsigned i = 0; i < steps; i++) {
        hand_step(hand);
        if (random_below(&hand->random, 150) == 0) /* leaves, and comes back by its next call */
            ouro_thread_unregister();
        if (random_below(&hand->random, 100) == 0)
            OURO_BLOCKING {
                sleep_us(50);
            }
    }
    switch (life->kind) {
    case 0: /* ends with nothing */
        hand_drop_all(hand);
        break;
    case 1: /* drops what it holds after it has left */
        ouro_thread_unregister();
        hand_drop_all(hand);
        break;
    case 2: /* ends in a blocking region; what it holds is dropped by its parent */
        ouro_blocking_begin();
        break;
    default: /* ends as it is */
        break;
    }
    return NULL;
}

/* A parent: keeps some children at work, takes over what they leave. */
static void work(unsigned index)
{
    enum { CHILDREN = 4 };
    struct random random = random_seed(1000 + index);
    struct life lives[CHILDREN];
    pthread_t threads[CHILDREN];
    uint64_t born = 0;
    while (!atomic_load_explicit(&run.stop, memory_order_relaxed)) {
        for (size_t i = 0; i < CHILDREN; i++) {
            memset(&lives[i], 0, sizeof lives[i]);
            lives[i].hand.random = random_seed((uint64_t)(index + 1) << 32 | born++);
            lives[i].kind = random_below(&random, 4);
            CHECK(pthread_create(&threads[i], NULL, life_main, &lives[i]) == 0);
        }
        for (size_t i = 0; i < CHILDREN; i++) {
            ouro_blocking_begin();
            pthread_join(threads[i], NULL);
            ouro_blocking_end();
            hand_drop_all(&lives[i].hand);
            hand_done(&lives[i].hand);
        }
        stress_rest();
    }
}

static void check(void)
{
    graph_check(NULL, 0);
}

void threads_run(void)
{
    run_checked(run.threads, work, check, 300);
    graph_finish();
    CHECK(graph_made() > 0);
}
