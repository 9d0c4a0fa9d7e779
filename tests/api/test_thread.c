/* api/test_thread.c: threads that register, leave, poll and block.
 *
 * Whether a thread is in a blocking region shows in what a last decref of an object of its does: while it is, the decref
 * frees at once; while it runs and reaches no safepoint, it does not.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <unistd.h>

#include "objects.h"

/* Registration. */

static void order_register_checks(void *unused)
{
    (void)unused;
    EXPECT(!ouro_thread_is_registered());
    ouro_thread_unregister(); /* nothing to undo */
    EXPECT(!ouro_thread_is_registered());
    for (unsigned i = 0; i < 5; i++) {
        EXPECT(ouro_thread_register() == 0);
        EXPECT(ouro_thread_register() == 0);
        EXPECT(ouro_thread_is_registered());
        ouro_thread_unregister(); /* once undoes all */
        EXPECT(!ouro_thread_is_registered());
        ouro_thread_unregister();
    }
    ouro_free(ouro_malloc(100)); /* no object call */
    EXPECT(!ouro_thread_is_registered());
    ouro_safepoint();
    EXPECT(!ouro_thread_is_registered());
    ouro_decref(probe_new(NULL));
    EXPECT(ouro_thread_is_registered());
    ouro_thread_unregister();
    ouro_blocking_begin();
    EXPECT(ouro_thread_is_registered());
    ouro_blocking_end();
    EXPECT(ouro_thread_is_registered());
    ouro_blocking_begin();
    ouro_blocking_begin();
    ouro_thread_unregister(); /* ends the regions */
    EXPECT(!ouro_thread_is_registered());
    EXPECT(ouro_thread_register() == 0);
    ouro_decref(probe_new(NULL));
}

static void test_register(void **state)
{
    (void)state;
    struct puppet plain;
    puppet_start(&plain, REST_PLAIN);
    puppet_do(&plain, order_register_checks, NULL);
    puppet_end(&plain);
}

static void order_load_slot(void *slot)
{
    EXPECT(!ouro_thread_is_registered());
    struct probe *probe = ouro_slot_load(slot);
    EXPECT(probe != NULL && probe->magic == MAGIC);
    ouro_decref(probe);
}

static void test_first_call_by_slot(void **state)
{
    (void)state;
    struct puppet plain;
    ouro_slot slot = { NULL };
    _Atomic size_t deaths = 0;
    struct probe *probe = probe_new(&deaths);
    ouro_slot_store(&slot, probe);
    puppet_start(&plain, REST_PLAIN);
    puppet_do(&plain, order_load_slot, &slot);
    puppet_end(&plain);
    assert_int_equal(ouro_refcount(probe), 2);
    ouro_slot_store(&slot, NULL);
    ouro_decref(probe);
    assert_int_equal(deaths, 1);
}

/* Blocking regions. */

struct scene {
    void (*fn)(struct scene *scene);
    struct probe *inside, *after; /* made by the puppet, dropped by the main thread */
    _Atomic size_t deaths;
    _Atomic size_t at;   /* how far the puppet is */
    _Atomic size_t told; /* how far it may go */
};

static struct probe *scene_probe(struct scene *scene)
{
    return probe_new(&scene->deaths);
}

/* The puppet: says that it is at step `at`, and waits, deaf, to be told to go on. */
static void reach(struct scene *scene, size_t at)
{
    atomic_store(&scene->at, at);
    EXPECT(wait_deaf(&scene->told, at));
}

static void leave_normally(struct scene *scene)
{
    OURO_BLOCKING {
        reach(scene, 1);
    }
    reach(scene, 2);
}
static void leave_by_break(struct scene *scene)
{
    OURO_BLOCKING {
        reach(scene, 1);
        if (scene->deaths != 999)
            break;
        objects_fail("not broken out", __FILE__, __LINE__);
    }
    reach(scene, 2);
}
static void return_from_within(struct scene *scene)
{
    OURO_BLOCKING {
        reach(scene, 1);
        return;
    }
}
static void leave_by_return(struct scene *scene)
{
    return_from_within(scene);
    reach(scene, 2);
}
static void leave_by_goto(struct scene *scene)
{
    OURO_BLOCKING {
        reach(scene, 1);
        goto out;
    }
out:
    reach(scene, 2);
}
static void leave_nested(struct scene *scene)
{
    OURO_BLOCKING {
        OURO_BLOCKING {
            OURO_BLOCKING {
                ouro_free(ouro_malloc(1000));
            }
        }
        reach(scene, 1); /* still inside */
    }
    reach(scene, 2);
}
static void leave_by_calls(struct scene *scene)
{
    ouro_blocking_begin();
    ouro_blocking_begin();
    ouro_blocking_end();
    reach(scene, 1);
    ouro_blocking_end();
    reach(scene, 2);
}
static void leave_two_by_return(struct scene *scene)
{
    OURO_BLOCKING {
        return_from_within(scene);
    }
    reach(scene, 2);
}
static void leave_by_goto_out_of_two(struct scene *scene)
{
    OURO_BLOCKING {
        OURO_BLOCKING {
            reach(scene, 1);
            goto out;
        }
    }
out:
    reach(scene, 2);
}

static void order_scene(void *arg)
{
    struct scene *scene = arg;
    scene->inside = scene_probe(scene);
    scene->after = scene_probe(scene);
    scene->fn(scene);
    ouro_safepoint();
}

static void test_regions(void **state)
{
    (void)state;
    static void (*const ways[])(struct scene *) = {
        leave_normally, leave_by_break,      leave_by_return,          leave_by_goto, leave_nested, leave_by_calls,
        leave_nested,   leave_two_by_return, leave_by_goto_out_of_two,
    };
    for (size_t i = 0; i < COUNT_OF(ways); i++) {
        struct puppet puppet;
        struct scene scene = { .fn = ways[i] };
        puppet_start(&puppet, REST_DEAF);
        puppet_ask(&puppet, order_scene, &scene);
        assert_true(wait_deaf(&scene.at, 1));
        ouro_decref(scene.inside); /* in the region: at once */
        assert_int_equal(scene.deaths, 1);
        atomic_store(&scene.told, 1);
        assert_true(wait_deaf(&scene.at, 2));
        ouro_decref(scene.after); /* out of it, and deaf */
        sleep_ms(5);
        assert_int_equal(scene.deaths, 1);
        atomic_store(&scene.told, 2);
        puppet_await(&puppet);
        assert_int_equal(scene.deaths, 2);
        puppet_end(&puppet);
    }
}

/* The region is left only when nobody works on the thread's objects: many drops race its begin and end. */
struct flicker {
    _Atomic size_t made, dropped, deaths;
    _Atomic(struct probe *) box[16];
    _Atomic bool stop;
};

static void order_flicker(void *arg)
{
    struct flicker *f = arg;
    while (!atomic_load(&f->stop)) {
        for (size_t i = 0; i < COUNT_OF(f->box); i++) {
            if (atomic_load(&f->box[i]) != NULL)
                continue;
            struct probe *probe = probe_new(&f->deaths);
            ouro_incref(probe);
            atomic_fetch_add(&f->made, 1);
            atomic_store(&f->box[i], probe);
            ouro_decref(probe); /* at the same time as the other does */
        }
        OURO_BLOCKING {
            ouro_free(ouro_malloc(16));
        }
    }
}

static void test_drops_race_regions(void **state)
{
    (void)state;
    static struct flicker f;
    struct puppet puppet;
    puppet_start(&puppet, REST_POLLING);
    puppet_ask(&puppet, order_flicker, &f);
    double end = now_s() + (SANITIZED ? 1.5 : 1.0);
    while (now_s() < end) {
        for (size_t i = 0; i < COUNT_OF(f.box); i++) {
            struct probe *probe = atomic_exchange(&f.box[i], NULL);
            if (probe == NULL)
                continue;
            EXPECT(probe->magic == MAGIC);
            ouro_decref(probe);
            atomic_fetch_add(&f.dropped, 1);
        }
    }
    atomic_store(&f.stop, true);
    puppet_await(&puppet);
    for (size_t i = 0; i < COUNT_OF(f.box); i++)
        ouro_xdecref(atomic_exchange(&f.box[i], NULL));
    puppet_end(&puppet);
    assert_true(f.dropped > 100);
    assert_int_equal(f.deaths, f.made);
}

/* Thousands of threads, some at the same time, with and without objects of theirs left. */
static _Atomic size_t crowd_deaths;
static void *one_of_many(void *arg)
{
    size_t i = (size_t)arg;
    if (i % 4 == 0)
        return NULL;
    if (i % 4 == 1)
        EXPECT(ouro_thread_register() == 0);
    struct probe *probe = probe_new(&crowd_deaths);
    ouro_incref(probe);
    ouro_decref(probe);
    if (i % 8 == 3)
        ouro_thread_unregister();
    if (i % 2 == 0) {
        ouro_decref(probe);
        return NULL;
    }
    return probe;
}

static void test_many_threads(void **state)
{
    (void)state;
    enum { AT_ONCE = 20 };
    size_t rounds = SANITIZED ? 20 : 100, expected = 0;
    for (size_t round = 0; round < rounds; round++) {
        pthread_t threads[AT_ONCE];
        void *left[AT_ONCE];
        for (size_t i = 0; i < AT_ONCE; i++)
            assert_int_equal(pthread_create(&threads[i], NULL, one_of_many, (void *)(round + i)), 0);
        OURO_BLOCKING {
            for (size_t i = 0; i < AT_ONCE; i++)
                pthread_join(threads[i], &left[i]);
        }
        for (size_t i = 0; i < AT_ONCE; i++) {
            expected += (round + i) % 4 != 0;
            ouro_xdecref(left[i]);
        }
        assert_int_equal(crowd_deaths, expected);
    }
}

/* Memory calls are allowed in a region. */
static void test_memory_in_a_region(void **state)
{
    (void)state;
    OURO_BLOCKING {
        for (size_t i = 0; i < 10000; i++) {
            void *p = ouro_malloc(i * 7 % 5000);
            pattern_write(p, i * 7 % 5000, (unsigned)i);
            p = ouro_realloc(p, i * 3 % 9000);
            ouro_free(p);
        }
    }
}

static void test_stop_by_signal_errors(void **state)
{
    (void)state;
    static const int wrong[] = { SIGKILL, SIGSTOP, -1, 65, 1000, SIGSEGV, SIGBUS, SIGFPE, SIGILL };
    for (size_t i = 0; i < COUNT_OF(wrong); i++) {
        errno = 0;
        int result = ouro_thread_stop_by_signal(wrong[i]);
        if (i < 5) { /* the others are bad ideas, and not said to be errors */
            assert_int_equal(result, -1);
            assert_int_equal(errno, EINVAL);
        }
        assert_int_equal(ouro_thread_stop_by_signal(0), 0);
    }
    assert_int_equal(ouro_thread_stop_by_signal(0), 0);
    assert_int_equal(ouro_thread_stop_by_signal(SIGURG), 0);
    assert_int_equal(ouro_thread_stop_by_signal(SIGUSR2), 0); /* another */
    assert_int_equal(ouro_thread_stop_by_signal(0), 0);
}

/* The program's own handler for that signal gets what the library did not send. */
static _Atomic size_t own_signals;
static void own_handler(int signo)
{
    (void)signo;
    atomic_fetch_add(&own_signals, 1);
}

static void another_handler(int signo)
{
    (void)signo;
    atomic_fetch_add(&own_signals, 10);
}

static void test_signal_is_handed_on(void **state)
{
    (void)state;
    struct sigaction mine = { .sa_handler = own_handler };
    assert_int_equal(sigaction(SIGURG, &mine, NULL), 0);
    assert_int_equal(ouro_thread_stop_by_signal(SIGURG), 0);
    assert_int_equal(raise(SIGURG), 0);
    assert_int_equal(own_signals, 1);
    assert_int_equal(ouro_thread_stop_by_signal(0), 0); /* whose handler is there now is not said; mine is called */
    assert_int_equal(raise(SIGURG), 0);
    assert_int_equal(own_signals, 2);
    mine.sa_handler = another_handler;
    assert_int_equal(sigaction(SIGURG, &mine, NULL), 0);
    assert_int_equal(raise(SIGURG), 0);
    assert_int_equal(own_signals, 12);
    assert_int_equal(ouro_thread_stop_by_signal(SIGURG), 0);
    assert_int_equal(raise(SIGURG), 0);
    assert_int_equal(own_signals, 22);
    assert_int_equal(ouro_thread_stop_by_signal(0), 0);
    signal(SIGURG, SIG_DFL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        API_TEST(test_register),
        API_TEST(test_first_call_by_slot),
        API_TEST(test_regions),
        API_TEST(test_drops_race_regions),
        API_TEST(test_many_threads),
        API_TEST(test_memory_in_a_region),
        API_TEST(test_stop_by_signal_errors),
        API_TEST(test_signal_is_handed_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
