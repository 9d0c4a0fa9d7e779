/* unit/world/test_workers.c: worker threads, and the plan of nodes. */
#define _GNU_SOURCE
#include "unit/unit.h"

#include <dirent.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "world/internal.h"

enum { MOST = 24 };
static struct {
    unsigned calls, count;
    pthread_t thread;
    bool blocked;
} seen[MOST];

static void note(void *arg, unsigned index, unsigned count)
{
    unsigned *rounds = arg; /* plain: the job's hand-over orders it */
    sigset_t mask;
    pthread_sigmask(SIG_SETMASK, NULL, &mask);
    seen[index].calls = *rounds;
    seen[index].count = count;
    seen[index].thread = pthread_self();
    seen[index].blocked = sigismember(&mask, SIGTERM) == 1 && sigismember(&mask, SIGURG) == 1;
}

static unsigned count_threads(void)
{
    unsigned count = 0;
    DIR *tasks = opendir("/proc/self/task");
    assert_non_null(tasks);
    for (struct dirent *entry; (entry = readdir(tasks)) != NULL;)
        count += entry->d_name[0] != '.';
    closedir(tasks);
    return count;
}

static void test_run(void **unused)
{
    (void)unused;
    pthread_t first[MOST];
    for (unsigned round = 1; round <= 600; round++) {
        unsigned count = round % MOST + 1;
        memset(seen, 0, sizeof seen);
        ouroi_workers_run(count, note, &round);
        for (unsigned i = 0; i < MOST; i++) {
            assert_int_equal(seen[i].calls, i < count ? round : 0);
            assert_int_equal(seen[i].count, i < count ? count : 0);
            assert_int_equal(seen[i].blocked, i > 0 && i < count);
        }
        assert_true(pthread_equal(seen[0].thread, pthread_self()));
        if (round == MOST - 1)
            for (unsigned i = 0; i < MOST; i++)
                first[i] = seen[i].thread;
    }
    unsigned round = 1000;
    ouroi_workers_run(MOST, note, &round);
    for (unsigned i = 0; i < MOST; i++)
        assert_true(pthread_equal(first[i], seen[i].thread)); /* made once */
    assert_int_equal(ouroi_workers_prepare(MOST), MOST);
    assert_true(count_threads() >= MOST);
}

/* While the world is stopped, too; and no new ones where a thread may have been stopped in the middle of libc. */
static void test_run_in_a_stop(void **unused)
{
    (void)unused;
    unsigned round = 5;
    ouro_thread_register();
    ouroi_world_stop();
    memset(seen, 0, sizeof seen);
    ouroi_workers_run(8, note, &round);
    for (unsigned i = 0; i < 8; i++)
        assert_int_equal(seen[i].calls, 5);
    ouroi_world_start();
    assert_int_equal(ouro_thread_stop_by_signal(SIGURG), 0);
    unsigned before = count_threads();
    ouroi_world_stop();
    assert_int_equal(ouroi_workers_prepare(MOST + 5), MOST);
    ouroi_world_start();
    assert_int_equal(count_threads(), before);
    assert_int_equal(ouro_thread_stop_by_signal(0), 0);
}

static void run_in_child(void *unused)
{
    (void)unused;
    unsigned round = 7;
    CHILD_EXPECT(count_threads() == 1);
    memset(seen, 0, sizeof seen);
    ouroi_workers_run(6, note, &round);
    for (unsigned i = 0; i < 6; i++)
        CHILD_EXPECT(seen[i].calls == 7 && seen[i].count == 6);
    CHILD_EXPECT(count_threads() == 6);
}

static void test_fork(void **unused)
{
    (void)unused;
    char text[500];
    unsigned round = 3;
    if (OUROI_RACES_SEEN)
        skip(); /* ThreadSanitizer allows no thread after a fork of many */
    for (unsigned i = 0; i < 10; i++) {
        ouroi_workers_run(6, note, &round);
        assert_true(unit_child_returned(unit_in_child(run_in_child, NULL, text, sizeof text)));
    }
}

static void test_plan(void **unused)
{
    (void)unused;
    uint8_t node_of[64];
    const unsigned even[] = { 4, 4 }, uneven[] = { 6, 0, 2 }, none[] = { 0, 0 };
    unsigned share[3] = { 0 };
    ouroi_workers_plan(even, 2, node_of, 64);
    for (unsigned i = 0; i < 64; i++)
        assert_int_equal(node_of[i], i % 2);
    ouroi_workers_plan(uneven, 3, node_of, 64);
    for (unsigned i = 0; i < 64; i++) {
        share[node_of[i]]++;
        /* at each number of workers, in proportion to within one */
        assert_in_range(share[0] * 2 + 2, (i + 1) * 6 / 4 - 1, (i + 1) * 6 / 4 + 5);
    }
    assert_int_equal(share[0], 48);
    assert_int_equal(share[1], 0);
    assert_int_equal(share[2], 16);
    ouroi_workers_plan(none, 2, node_of, 64);
    assert_int_equal(node_of[63], 0);
}

/* Machines that nobody has here. In children: the plan is made once. */
static void plan_synthetic(void *description)
{
    unsigned share[64] = { 0 };
    ouroi_workers_synthetic = description;
    ouroi_workers_prepare(2);
    for (unsigned i = 0; i < 64; i++)
        share[ouroi_worker_node(i)]++;
    unsigned nodes = 0, least = 64, most = 0;
    for (unsigned n = 0; n < 64; n++) {
        nodes += share[n] != 0;
        most = share[n] > most ? share[n] : most;
        least = share[n] != 0 && share[n] < least ? share[n] : least;
    }
    CHILD_EXPECT(nodes == (unsigned)(*(const char *)description == 'p' ? 4 : 8));
    CHILD_EXPECT(most - least <= 1);
}

static void test_synthetic(void **unused)
{
    (void)unused;
    char text[500];
    static char four[] = "package:4 [numa] core:8 pu:2", eight[] = "numa:8 core:4 pu:1";
    assert_true(unit_child_returned(unit_in_child(plan_synthetic, four, text, sizeof text)));
    assert_true(unit_child_returned(unit_in_child(plan_synthetic, eight, text, sizeof text)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plan),          cmocka_unit_test(test_synthetic), cmocka_unit_test(test_run),
        cmocka_unit_test(test_run_in_a_stop), cmocka_unit_test(test_fork),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
