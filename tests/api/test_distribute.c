/* api/test_distribute.c: objects whose count is kept per thread: freed by a collection, whoever dropped last; never early,
 * never lost. */
#define _GNU_SOURCE
#include <errno.h>
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

#include <ouro/gc.h>

#include "objects.h"

static struct probe *distributed_new(_Atomic size_t *deaths)
{
    struct probe *probe = probe_new(deaths);
    EXPECT(ouro_distribute(probe) == 0);
    return probe;
}

static void test_one_thread(void **state)
{
    (void)state;
    _Atomic size_t deaths = 0;
    for (int generation = 0; generation < 3; generation++) {
        struct probe *probe = distributed_new(&deaths);
        assert_int_equal(ouro_refcount(probe), 1);
        assert_int_equal(ouro_distribute(probe), 0); /* again */
        assert_int_equal(ouro_refcount(probe), 1);
        for (size_t i = 0; i < 1000; i++)
            ouro_incref(probe);
        assert_int_equal(ouro_refcount(probe), 1001);
        for (size_t i = 0; i < 1000; i++)
            ouro_decref(probe);
        assert_int_equal(ouro_refcount(probe), 1);
        assert_false(ouro_is_immortal(probe));
        ouro_gc_collect(2);
        assert_int_equal(deaths, generation);
        assert_int_equal(probe->magic, MAGIC);
        ouro_decref(probe);
        assert_int_equal(deaths, generation); /* not at once */
        assert_int_equal(ouro_gc_collect(generation),
                         1); /* but by a collection of any generation; and it counts there */
        assert_int_equal(deaths, generation + 1);
    }
}

static void test_tracked(void **state)
{
    (void)state;
    _Atomic size_t deaths = 0;
    struct pair *pair = pair_new(&deaths, probe_new(&deaths), NULL);
    assert_int_equal(ouro_distribute(pair), 0);
    ouro_incref(pair);
    ouro_gc_collect(2);
    ouro_decref(pair);
    ouro_gc_collect(0);
    assert_int_equal(deaths, 0);
    ouro_decref(pair);
    ouro_gc_collect(2);
    assert_int_equal(deaths, 2);
    pair = pair_new(&deaths, NULL, NULL); /* in a cycle with itself */
    assert_int_equal(ouro_distribute(pair), 0);
    pair->left = ouro_newref(pair);
    ouro_gc_collect(2);
    assert_int_equal(deaths, 2);
    ouro_decref(pair);
    ouro_gc_collect(2);
    assert_int_equal(deaths, 3);
}

static void test_errors(void **state)
{
    (void)state;
    static struct probe *kept;
    kept = probe_new(NULL);
    ouro_immortalize(kept);
    errno = 0;
    assert_int_equal(ouro_distribute(kept), -1);
    assert_int_equal(errno, EINVAL);
    struct probe *probe = distributed_new(NULL); /* the other way round is allowed */
    ouro_immortalize(probe);
    assert_true(ouro_is_immortal(probe));
    ouro_decref(probe);
    ouro_gc_collect(2);
    assert_int_equal(probe->magic, MAGIC);
}

/* Dropped to zero and taken again before a collection: by a slot that kept one, it lives. */
static void test_zero_and_back(void **state)
{
    (void)state;
    _Atomic size_t deaths = 0;
    ouro_slot slot = { NULL };
    struct probe *probe = distributed_new(&deaths);
    ouro_slot_store(&slot, probe);
    ouro_decref(probe);
    ouro_gc_collect(2);
    assert_int_equal(deaths, 0);
    probe = ouro_slot_load(&slot);
    assert_non_null(probe);
    assert_int_equal(ouro_refcount(probe), 2);
    ouro_slot_store(&slot, NULL);
    ouro_gc_collect(2);
    assert_int_equal(deaths, 0);
    ouro_decref(probe);
    ouro_gc_collect(2);
    assert_int_equal(deaths, 1);
}

/* Each thread's part may be negative: references change hands. */
static void test_hands_change(void **state)
{
    (void)state;
    struct puppet puppets[3];
    _Atomic size_t deaths = 0;
    puppet_start(&puppets[0], REST_BLOCKING);
    puppet_start(&puppets[1], REST_BLOCKING);
    puppet_start(&puppets[2], REST_BLOCKING);
    struct probe *probe = distributed_new(&deaths);
    for (size_t turn = 0; turn < 100; turn++) {
        puppet_do(&puppets[turn % 3], order_incref, probe);
        puppet_do(&puppets[turn % 3], order_incref, probe);
        puppet_do(&puppets[(turn + 1) % 3], order_decref, probe);
        puppet_do(&puppets[(turn + 2) % 3], order_decref, probe);
        assert_int_equal(ouro_refcount(probe), 1);
        if (turn % 10 == 0)
            ouro_gc_collect(0);
        assert_int_equal(deaths, 0);
    }
    puppet_do(&puppets[0], order_incref, probe);
    puppet_end(&puppets[0]); /* what it counted stays counted */
    assert_int_equal(ouro_refcount(probe), 2);
    ouro_decref(probe);
    ouro_gc_collect(2);
    assert_int_equal(deaths, 0);
    assert_int_equal(ouro_refcount(probe), 1);
    puppet_do(&puppets[1], order_decref, probe);
    ouro_gc_collect(0);
    assert_int_equal(deaths, 1);
    puppet_end(&puppets[1]);
    puppet_end(&puppets[2]);
}

static void order_distribute(void *obj)
{
    EXPECT(ouro_distribute(obj) == 0);
}

/* Counted before by several threads, queued to be merged perhaps, and then distributed. */
static void test_distributed_late(void **state)
{
    (void)state;
    struct puppet owner;
    _Atomic size_t deaths = 0;
    puppet_start(&owner, REST_BLOCKING);
    for (unsigned round = 0; round < 4; round++) {
        struct probe *probe = probe_new(&deaths);
        ouro_incref(probe);
        puppet_do(&owner, order_decref, probe);
        if (round % 2 == 0)
            ouro_safepoint();
        puppet_do(&owner, order_incref, probe);
        if (round < 2)
            assert_int_equal(ouro_distribute(probe), 0);
        else
            puppet_do_while_polling(&owner, order_distribute, probe);
        ouro_safepoint();
        assert_int_equal(ouro_refcount(probe), 2);
        puppet_do(&owner, order_decref, probe);
        ouro_gc_collect(1);
        assert_int_equal(deaths, round);
        assert_int_equal(ouro_refcount(probe), 1);
        ouro_decref(probe);
        ouro_gc_collect(1);
        assert_int_equal(deaths, round + 1);
    }
    puppet_end(&owner);
}

/* All threads count all the time; some come and go, some fork, collections run. */
struct storm {
    struct probe *probes[3];
    _Atomic size_t deaths, pairs;
    _Atomic bool stop;
};
static void *storm_main(void *arg)
{
    struct storm *storm = arg;
    uint64_t random = (uintptr_t)&random | 1;
    struct probe *held[8] = { NULL };
    size_t turns = 0;
    while (!atomic_load(&storm->stop) && turns++ < 20000) {
        random ^= random << 13, random ^= random >> 7, random ^= random << 17;
        struct probe **place = &held[random % COUNT_OF(held)];
        if (*place != NULL)
            EXPECT((*place)->magic == MAGIC);
        OURO_SETREF(*place, (random >> 20) % 4 == 0 ? NULL : ouro_newref(storm->probes[(random >> 30) % 3]));
        if ((random >> 40) % 64 == 0)
            OURO_BLOCKING {
                sched_yield();
            }
        ouro_safepoint();
    }
    atomic_fetch_add(&storm->pairs, turns);
    for (size_t i = 0; i < COUNT_OF(held); i++)
        OURO_CLEAR(held[i]);
    return NULL;
}

static void storm_in_child(struct storm *storm)
{
    alarm(PATIENCE_S);
    for (size_t i = 0; i < 3; i++) {
        EXPECT(storm->probes[i]->magic == MAGIC && ouro_refcount(storm->probes[i]) >= 1);
        ouro_decref(ouro_newref(storm->probes[i]));
    }
    _Atomic size_t deaths = 0;
    ouro_decref(distributed_new(&deaths));
    ouro_gc_set_workers(1); /* ThreadSanitizer knows no threads after a fork */
    ouro_gc_collect(2);
    EXPECT(atomic_load(&deaths) == 1);
    _exit(0);
}

static void test_storm(void **state)
{
    (void)state;
    static struct storm storm;
    pthread_t threads[4];
    for (size_t i = 0; i < 3; i++)
        storm.probes[i] = distributed_new(&storm.deaths);
    for (size_t round = 0; round < (SANITIZED ? 3 : 10); round++) {
        for (size_t i = 0; i < 4; i++)
            assert_int_equal(pthread_create(&threads[i], NULL, storm_main, &storm), 0);
        for (size_t i = 0; i < 20; i++)
            ouro_gc_collect((int)(i % 3));
        if (round % 3 == 0) {
            fflush(NULL);
            pid_t pid = fork();
            int status = -1;
            if (pid == 0)
                storm_in_child(&storm);
            OURO_BLOCKING {
                assert_int_equal(waitpid(pid, &status, 0), pid);
            }
            assert_true(child_was_fine(status));
        }
        OURO_BLOCKING {
            for (size_t i = 0; i < 4; i++)
                pthread_join(threads[i], NULL);
        }
        assert_int_equal(storm.deaths, 0);
        for (size_t i = 0; i < 3; i++)
            assert_int_equal(ouro_refcount(storm.probes[i]), 1);
    }
    for (size_t i = 0; i < 3; i++)
        ouro_decref(storm.probes[i]);
    ouro_gc_collect(0);
    assert_int_equal(storm.deaths, 3);
}

/* Threads get room for more and more objects while others ask for counts. */
enum { CROWD = 2000 };
static struct {
    struct probe *probes[CROWD];
    _Atomic size_t count;
    _Atomic bool done;
} crowd;

static void *crowd_main(void *arg)
{
    ouro_thread_register();
    for (bool done = false; !done;) {
        done = atomic_load(&crowd.done);
        size_t count = atomic_load(&crowd.count);
        for (size_t i = done ? 0 : count - (count < 20 ? count : 20); i < count; i++) {
            ouro_incref(crowd.probes[i]);
            EXPECT(ouro_refcount(crowd.probes[i]) <= 4);
            ouro_decref(crowd.probes[i]);
        }
        ouro_safepoint();
    }
    ouro_thread_unregister();
    return arg;
}

static void test_crowd(void **state)
{
    (void)state;
    _Atomic size_t deaths = 0;
    pthread_t threads[2];
    for (size_t i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, crowd_main, NULL), 0);
    for (size_t i = 0; i < CROWD; i++) {
        crowd.probes[i] = distributed_new(&deaths);
        atomic_store(&crowd.count, i + 1);
    }
    atomic_store(&crowd.done, true);
    OURO_BLOCKING {
        for (size_t i = 0; i < 2; i++)
            pthread_join(threads[i], NULL);
    }
    for (size_t i = 0; i < CROWD; i++) {
        assert_int_equal(ouro_refcount(crowd.probes[i]), 1);
        ouro_decref(crowd.probes[i]);
    }
    ouro_gc_collect(0);
    assert_int_equal(deaths, CROWD);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        API_TEST(test_one_thread),    API_TEST(test_tracked),      API_TEST(test_errors),
        API_TEST(test_zero_and_back), API_TEST(test_hands_change), API_TEST(test_distributed_late),
        API_TEST(test_storm),         API_TEST(test_crowd),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
