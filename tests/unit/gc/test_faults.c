/* unit/gc/test_faults.c: each request for memory that a collection makes fails once, and then all from the n-th on.
 *
 * A child for each n, in which the collection is the first. Either it succeeds, or it says ENOMEM, all objects that were there
 * are there still, and the next one finds what it would have found. n ends where a collection makes fewer requests.
 */
#define _GNU_SOURCE
#include "unit/unit.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>

#include "gc/internal.h"
#include "graph.h"

static struct ouroi_os real;
static unsigned long calls, first, last;
static bool armed;

static void *map(void *at, size_t bytes, unsigned flags, int *error)
{
    unsigned long n = __atomic_load_n(&armed, __ATOMIC_RELAXED) ? __atomic_add_fetch(&calls, 1, __ATOMIC_RELAXED) : 0;
    if (n == 0 || n < first || n > last)
        return real.map(at, bytes, flags, error);
    *error = -ENOMEM;
    return NULL;
}

static const struct graph_shape plain = { 6000, 1u << KIND_MAP | 1u << KIND_ITEMS, 40, 0, 170, 300, 0 };
static const struct graph_shape mixed = { 6000, (1u << KINDS) - 1, 40, 0, 170, 300, 3 };

struct scenario {
    const struct graph_shape *shape;
    unsigned workers;
    int generation;
    bool all_after;
};

static struct scenario scenario;
static unsigned long failing;

static void set_fault(bool begins)
{
    if (begins)
        calls = 0;
    __atomic_store_n(&armed, begins, __ATOMIC_RELAXED);
}

/* Exits with 3 where the n-th request was never made. */
static void run(void *arg)
{
    struct graph graph;
    (void)arg;
    real = ouroi_os;
    first = failing;
    last = scenario.all_after ? ~0ul : failing;
    ouroi_os.map = map; /* while there is one thread */
    graph_begin(&graph, 7);
    ouro_gc_disable();
    ouro_gc_set_workers(scenario.workers);
    ouroi_search_worker_objects = 256;
    graph_add_nodes(&graph, scenario.shape, scenario.shape->nodes);
    for (size_t i = 0; i < 50; i++)
        graph_hold(&graph, i * 7, 150);
    graph_drop_some(&graph, scenario.shape, 0);
    if (scenario.workers > 1)
        ouroi_workers_prepare(scenario.workers);
    graph.around = set_fault;
    bool failed = graph_collect_or_fail(&graph, scenario.generation);
    bool reached = calls >= failing;
    graph.around = NULL;
    graph_check(&graph);
    CHILD_EXPECT(ouro_debug_check() == 0);
    graph_collect(&graph, 2);
    graph_end(&graph);
    CHILD_EXPECT(ouro_debug_check() == 0);
    exit(!reached ? 3 : failed ? 0 : 4);
}

static unsigned run_all(void)
{
    unsigned failed = 0;
    char text[512];
    for (failing = 1; failing < 1000; failing++) {
        int status = unit_in_child(run, NULL, text, sizeof text);
        if (!WIFEXITED(status) || (WEXITSTATUS(status) != 0 && WEXITSTATUS(status) != 3 && WEXITSTATUS(status) != 4))
            fail_msg("request %lu (%u kinds, %u workers, generation %d, all %d): status %x: %s", failing,
                     scenario.shape->kinds, scenario.workers, scenario.generation, scenario.all_after, (unsigned)status,
                     text);
        if (WEXITSTATUS(status) == 3)
            return failed;
        failed += WEXITSTATUS(status) == 0;
    }
    fail_msg("no end");
    return 0;
}

static void memory_runs_out(void **state)
{
    (void)state;
    const struct graph_shape *shapes[] = { &plain, &mixed };
    for (unsigned i = 0; i < COUNT_OF(shapes); i++)
        for (unsigned workers = 1; workers <= 3; workers += 2)
            for (unsigned all = 0; all < 2; all++)
                for (int generation = 0; generation <= 2; generation += 2) {
                    scenario = (struct scenario){ shapes[i], workers, generation, all != 0 };
                    assert_true(run_all() >= 3);
                }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(memory_runs_out) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
