/* api/test_weakref_threads.c: threads that upgrade weak references while the last reference is dropped, and fork. See weak.h. */
#define _GNU_SOURCE
#include "weak.h"

#include <sched.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { THREADS = 4 };

static struct {
    pthread_barrier_t barrier;
    ouro_weakref *ref;
    ouro_weakref *found[THREADS];
    struct node *node;
    unsigned number;
    unsigned got, missed, wrong, calls, freed;
    unsigned rounds;
    bool dropped;
} race;

static void wait_for_all(void)
{
    OURO_BLOCKING {
        pthread_barrier_wait(&race.barrier);
    }
}

static void start_race(unsigned threads, void *(*run)(void *), void (*each)(unsigned round), unsigned rounds)
{
    pthread_t ids[THREADS];
    memset(&race, 0, sizeof race);
    race.rounds = rounds;
    pthread_barrier_init(&race.barrier, NULL, threads + 1);
    for (size_t i = 0; i < threads; i++)
        assert_int_equal(pthread_create(&ids[i], NULL, run, (void *)i), 0);
    for (unsigned round = 0; round < rounds; round++)
        each(round);
    for (size_t i = 0; i < threads; i++)
        join(ids[i]);
    pthread_barrier_destroy(&race.barrier);
    assert_int_equal(race.wrong, 0);
}

static void expect(bool is)
{
    if (!is)
        __atomic_add_fetch(&race.wrong, 1, __ATOMIC_SEQ_CST);
}

/* Each thread upgrades until it finds the object dead, which stays so, or has kept it alive long enough. */
static void *upgrade(void *arg)
{
    (void)arg;
    for (unsigned round = 0; round < race.rounds; round++) {
        wait_for_all();
        for (unsigned misses = 0, late = 0; misses < 3 && late < 100;) {
            late += __atomic_load_n(&race.dropped, __ATOMIC_RELAXED);
            struct node *got = ouro_weakref_get(race.ref);
            if (got == NULL) {
                misses += deaths_of(race.number) != 0;
                __atomic_add_fetch(&race.missed, 1, __ATOMIC_RELAXED);
                sched_yield(); /* the owner has to come to its safepoint */
            } else {
                expect(got->number == race.number && deaths_of(race.number) == 0);
                __atomic_add_fetch(&race.got, 1, __ATOMIC_RELAXED);
                ouro_decref(got);
            }
            ouro_safepoint();
        }
        wait_for_all();
    }
    return NULL;
}

static void upgrade_round(unsigned round)
{
    race.node = new_of(round % 2 ? &node_type : &leaf_type);
    race.number = race.node->number;
    race.ref = ouro_weakref_new(race.node, round % 3 ? nothing : NULL, NULL);
    race.dropped = false;
    wait_for_all();
    for (size_t i = random_below(2000); i > 0; i--)
        __asm__ volatile("");
    ouro_decref(race.node);
    __atomic_store_n(&race.dropped, true, __ATOMIC_RELAXED);
    await_death(race.number);
    wait_for_all();
    expect(ouro_weakref_get(race.ref) == NULL);
    ouro_decref(race.ref);
    expect(deaths_of(race.number) == 1);
}

static void test_upgrades_against_the_last_decref(void **state)
{
    (void)state;
    start_race(THREADS, upgrade, upgrade_round, 1000);
    assert_true(race.got > 0 && race.missed > 0);
}

/* All make the shared one at once, with one that is dying in between: all hold the same. */
static void *share(void *arg)
{
    size_t me = (size_t)arg;
    for (unsigned round = 0; round < race.rounds; round++) {
        wait_for_all();
        for (int i = 0; i < 20; i++) {
            ouro_weakref *ref = ouro_weakref_new(race.node, NULL, NULL);
            struct node *got = ouro_weakref_get(ref);
            expect(got == race.node);
            ouro_decref(got);
            ouro_decref(ref);
        }
        race.found[me] = ouro_weakref_new(race.node, NULL, NULL);
        wait_for_all();
        for (size_t i = 0; i < THREADS; i++)
            expect(race.found[i] == race.found[me]);
        wait_for_all();
        ouro_decref(race.found[me]);
        wait_for_all();
    }
    return NULL;
}

static void share_round(unsigned round)
{
    (void)round;
    race.node = new_node();
    unsigned number = race.node->number;
    wait_for_all();
    wait_for_all();
    expect(ouro_weakref_count(race.node) == 1);
    wait_for_all();
    wait_for_all();
    ouro_decref(race.node);
    await_death(number);
}

static void test_sharing_from_several_threads(void **state)
{
    (void)state;
    start_race(THREADS, share, share_round, 300);
}

/* Weak references die on other threads while their target dies here: each callback runs at most once, and free_arg once. */
enum { LOSERS = 8 };
static struct loser {
    ouro_weakref *ref;
    unsigned calls, freed;
} losers[THREADS][LOSERS];

static void lose_called(ouro_weakref *ref, void *arg)
{
    (void)ref;
    struct loser *mine = arg;
    __atomic_add_fetch(&mine->calls, 1, __ATOMIC_SEQ_CST);
    expect(__atomic_load_n(&mine->freed, __ATOMIC_SEQ_CST) == 0);
}

static void lose_freed(void *arg)
{
    __atomic_add_fetch(&((struct loser *)arg)->freed, 1, __ATOMIC_SEQ_CST);
}

static void *lose(void *arg)
{
    struct loser *mine = losers[(size_t)arg];
    for (unsigned round = 0; round < race.rounds; round++) {
        for (size_t i = 0; i < LOSERS; i++) {
            mine[i].calls = mine[i].freed = 0;
            mine[i].ref = ouro_weakref_new_full(race.node, lose_called, &mine[i], lose_freed);
        }
        wait_for_all();
        for (size_t i = 0; i < LOSERS; i++)
            ouro_decref(mine[i].ref);
        wait_for_all();
        for (size_t i = 0; i < LOSERS; i++) {
            while (__atomic_load_n(&mine[i].freed, __ATOMIC_SEQ_CST) == 0)
                ouro_safepoint();
            expect(mine[i].calls <= 1 && mine[i].freed == 1);
            __atomic_add_fetch(&race.calls, mine[i].calls, __ATOMIC_RELAXED);
        }
        wait_for_all();
    }
    return NULL;
}

static void lose_round(unsigned round)
{
    (void)round;
    unsigned number = race.node->number;
    wait_for_all();
    ouro_decref(race.node);
    await_death(number);
    race.node = new_node();
    wait_for_all();
    wait_for_all();
}

static void test_weak_references_that_die_with_their_target(void **state)
{
    (void)state;
    race.node = NULL;
    pthread_t ids[THREADS];
    memset(&race, 0, sizeof race);
    race.rounds = 1000;
    race.node = new_node();
    pthread_barrier_init(&race.barrier, NULL, THREADS + 1);
    for (size_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&ids[i], NULL, lose, (void *)i), 0);
    for (unsigned round = 0; round < race.rounds; round++)
        lose_round(round);
    for (size_t i = 0; i < THREADS; i++)
        join(ids[i]);
    pthread_barrier_destroy(&race.barrier);
    assert_int_equal(race.wrong, 0);
    ouro_decref(race.node);
}

static void *drop_here(void *arg)
{
    ouro_decref(arg);
    return NULL;
}

static void test_made_here_died_there(void **state)
{
    (void)state;
    for (int i = 0; i < 50; i++) {
        struct node *node = start_record();
        record.refs[0] = ouro_weakref_new_full(node, note_call, &record.freed[0], add_one);
        pthread_t thread;
        assert_int_equal(pthread_create(&thread, NULL, drop_here, node), 0);
        join(thread);
        await_death(record.number);
        assert_int_equal(record.call_count, 1);
        assert_null(ouro_weakref_get(record.refs[0]));
        assert_int_equal(pthread_create(&thread, NULL, drop_here, record.refs[0]), 0);
        join(thread);
        ouro_safepoint();
        assert_int_equal(record.freed[0], 1);
    }
}

static void *use_unregistered(void *arg)
{
    (void)arg;
    expect(!ouro_thread_is_registered());
    struct node *got = ouro_weakref_get(race.ref);
    expect(ouro_thread_is_registered());
    expect(got == race.node);
    ouro_decref(got);
    ouro_thread_unregister();
    expect(ouro_weakref_count(race.node) == 1);
    expect(ouro_thread_is_registered());
    return NULL;
}

static void test_a_thread_registers_by_itself(void **state)
{
    (void)state;
    pthread_t thread;
    memset(&race, 0, sizeof race);
    race.node = new_node();
    race.ref = ouro_weakref_new(race.node, NULL, NULL);
    assert_int_equal(pthread_create(&thread, NULL, use_unregistered, NULL), 0);
    join(thread);
    assert_int_equal(race.wrong, 0);
    ouro_decref(race.node);
    ouro_decref(race.ref);
}

/* fork while other threads are in the middle of everything */

static bool stop_churning;
static void *churn(void *arg)
{
    (void)arg;
    while (!__atomic_load_n(&stop_churning, __ATOMIC_RELAXED)) {
        struct node *node = ouro_new(&leaf_type);
        node->number = NODES - 1; /* nobody's */
        ouro_weakref *ref = ouro_weakref_new(node, nothing, NULL);
        ouro_decref(node);
        ouro_decref(ref);
        ouro_safepoint();
    }
    return NULL;
}

static void test_fork(void **state)
{
    (void)state;
    pthread_t ids[2];
    stop_churning = false;
    for (size_t i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&ids[i], NULL, churn, NULL), 0);
    for (int i = 0; i < 20; i++) {
        struct node *node = new_node();
        unsigned number = node->number;
        ouro_weakref *ref = ouro_weakref_new(node, NULL, NULL);
        pid_t pid = fork();
        if (pid == 0) {
            alarm(30);
            void *got = ouro_weakref_get(ref);
            ouro_xdecref(got);
            ouro_decref(node);
            bool died = got == node && ouro_weakref_get(ref) == NULL && deaths_of(number) == 1;
            for (int k = 0; k < 200; k++) {
                node = ouro_new(&leaf_type);
                node->number = NODES - 1;
                ref = ouro_weakref_new(node, nothing, NULL);
                ouro_decref(node);
                died = died && ouro_weakref_get(ref) == NULL;
                ouro_decref(ref);
            }
            _exit(died ? 0 : 1);
        }
        int status = -1;
        assert_true(pid > 0);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(status, 0);
        ouro_decref(node);
        ouro_decref(ref);
    }
    __atomic_store_n(&stop_churning, true, __ATOMIC_RELAXED);
    for (size_t i = 0; i < 2; i++)
        join(ids[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WEAK_TEST(test_upgrades_against_the_last_decref),
        WEAK_TEST(test_sharing_from_several_threads),
        WEAK_TEST(test_weak_references_that_die_with_their_target),
        WEAK_TEST(test_made_here_died_there),
        WEAK_TEST(test_a_thread_registers_by_itself),
        WEAK_TEST(test_fork),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
