/* api/test_thread_gc.c: collections and the threads that are to stop for them: in regions, asleep, busy and deaf, stopped by
 * the signal in the middle of a count.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include <ouro/gc.h>

#include "objects.h"

/* In a region collect is refused; however the region was left, it is not any more. */

static void expect_refused(void)
{
    errno = 0;
    assert_int_equal(ouro_gc_collect(2), -1);
    assert_int_equal(errno, EPERM);
}

static void return_from_region(void)
{
    OURO_BLOCKING {
        expect_refused();
        return;
    }
}

static void test_regions(void **state)
{
    (void)state;
    OURO_BLOCKING {
        OURO_BLOCKING {
            expect_refused();
        }
        expect_refused();
    }
    assert_true(ouro_gc_collect(0) >= 0);
    return_from_region();
    assert_true(ouro_gc_collect(1) >= 0);
    for (;;) {
        OURO_BLOCKING {
            expect_refused();
            break; /* the region */
        }
        break; /* the loop */
    }
    assert_true(ouro_gc_collect(2) >= 0);
    OURO_BLOCKING {
        expect_refused();
        goto out;
    }
out:
    assert_true(ouro_gc_collect(2) >= 0);
}

/* Threads that never reach a safepoint. */

enum { HELD = 64, BUSY = 3 };
struct busy {
    pthread_t thread;
    struct pair *held[HELD];
    _Atomic size_t turns, deaths;
    _Atomic bool stop, ready;
};

/* Counts, and changes what refers to what, for ever: a ring, whose other edges go anywhere. All by inline functions. */
static void busy_turn(struct busy *busy, uint64_t random)
{
    struct pair *a = busy->held[random % HELD], *b = busy->held[random / HELD % HELD];
    for (size_t i = 0; i < 20; i++) {
        ouro_incref(a);
        ouro_incref(b);
        ouro_decref(a);
        ouro_decref(b);
    }
    OURO_SETREF(a->right, random >> 60 == 0 ? NULL : ouro_newref(b));
    EXPECT(a->probe.magic == MAGIC && b->probe.magic == MAGIC);
    atomic_fetch_add_explicit(&busy->turns, 1, memory_order_relaxed);
}

static size_t references_inside(struct busy *busy, struct pair *to)
{
    size_t count = 0;
    for (size_t i = 0; i < HELD; i++)
        count += (size_t)(busy->held[i]->left == &to->probe.base) + (size_t)(busy->held[i]->right == &to->probe.base);
    return count;
}

static void *busy_main(void *arg)
{
    struct busy *busy = arg;
    uint64_t random = (uintptr_t)arg | 1;
    for (size_t i = 0; i < HELD; i++)
        busy->held[i] = pair_new(&busy->deaths, NULL, NULL);
    for (size_t i = 0; i < HELD; i++)
        busy->held[i]->left = ouro_newref(busy->held[(i + 1) % HELD]);
    atomic_store(&busy->ready, true);
    while (!atomic_load(&busy->stop)) {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        busy_turn(busy, random);
    }
    for (size_t i = 0; i < HELD; i++) /* nothing was lost in the middle of a count */
        EXPECT(ouro_refcount(busy->held[i]) == 1 + references_inside(busy, busy->held[i]));
    EXPECT(atomic_load(&busy->deaths) == 0);
    for (size_t i = 0; i < HELD; i++)
        ouro_decref(busy->held[i]);
    return NULL;
}

static void test_busy_and_deaf(void **state)
{
    (void)state;
    static struct busy all[BUSY];
    size_t collections = 0;
    assert_int_equal(ouro_thread_stop_by_signal(SIGURG), 0);
    for (size_t i = 0; i < BUSY; i++)
        assert_int_equal(pthread_create(&all[i].thread, NULL, busy_main, &all[i]), 0);
    for (size_t i = 0; i < BUSY; i++)
        while (!atomic_load(&all[i].ready))
            ouro_safepoint();
    double end = now_s() + 2;
    while (now_s() < end) {
        assert_true(ouro_gc_collect((int)(collections++ % 3)) >= 0);
        ouro_decref(pair_new(NULL, probe_new(NULL), NULL));
    }
    for (size_t i = 0; i < BUSY; i++)
        atomic_store(&all[i].stop, true);
    OURO_BLOCKING {
        for (size_t i = 0; i < BUSY; i++)
            pthread_join(all[i].thread, NULL);
    }
    assert_true(collections >= 10);
    ouro_gc_collect(2); /* the rings */
    for (size_t i = 0; i < BUSY; i++) {
        assert_true(all[i].turns > 0);
        assert_int_equal(all[i].deaths, HELD);
    }
    assert_int_equal(ouro_thread_stop_by_signal(0), 0);
}

/* What a deaf thread owns is dropped by another; it is freed when that thread ends at the latest, and collections that stop
 * it by the signal meanwhile neither free it early nor twice. */
static void order_make_pair(void *arg)
{
    *(struct pair **)arg = pair_new(*(_Atomic size_t **)arg, NULL, NULL);
}

static void test_drops_of_what_the_deaf_own(void **state)
{
    (void)state;
    struct puppet deaf;
    _Atomic size_t deaths = 0;
    puppet_start(&deaf, REST_DEAF);
    assert_int_equal(ouro_thread_stop_by_signal(SIGURG), 0);
    for (size_t i = 0; i < 100; i++) {
        union {
            _Atomic size_t *deaths;
            struct pair *made;
        } order = { .deaths = &deaths };
        puppet_do_while_polling(&deaf, order_make_pair, &order);
        if (i % 2 == 0)
            order.made->left = ouro_newref(order.made);
        ouro_decref(order.made);
        if (i % 10 == 0)
            assert_true(ouro_gc_collect((int)(i % 3)) >= 0);
    }
    puppet_end(&deaf);
    ouro_gc_collect(2);
    assert_int_equal(deaths, 100);
    assert_int_equal(ouro_thread_stop_by_signal(0), 0);
}

/* Asleep outside of any region. ThreadSanitizer hands signals on in calls only that it knows to block. */

#if defined(__SANITIZE_THREAD__)
#define SIGNALS_COME false
#elif defined(__has_feature)
#define SIGNALS_COME (!__has_feature(thread_sanitizer))
#else
#define SIGNALS_COME true
#endif
enum { IN_POLL, IN_WAIT, IN_SLEEP, IN_READ, IN_LOCK, SLEEPS };

static int sleep_pipe[2];
static pthread_mutex_t sleep_lock = PTHREAD_MUTEX_INITIALIZER, wait_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t wait_over = PTHREAD_COND_INITIALIZER;
static bool is_over;
static _Atomic size_t asleep;

static void *sleeper_main(void *arg)
{
    _Atomic size_t deaths = 0;
    struct pair *held = pair_new(&deaths, probe_new(&deaths), NULL);
    char byte;
    struct pollfd poll_for = { .fd = sleep_pipe[0], .events = POLLIN };
    atomic_fetch_add(&asleep, 1);
    switch ((size_t)arg) {
    case IN_POLL:
        while (poll(&poll_for, 1, -1) < 0)
            EXPECT(errno == EINTR);
        break;
    case IN_WAIT:
        pthread_mutex_lock(&wait_lock);
        while (!is_over)
            pthread_cond_wait(&wait_over, &wait_lock);
        pthread_mutex_unlock(&wait_lock);
        break;
    case IN_SLEEP:
        sleep_ms(1000);
        break;
    case IN_READ:
        while (read(sleep_pipe[0], &byte, 1) < 0)
            EXPECT(errno == EINTR);
        break;
    default:
        pthread_mutex_lock(&sleep_lock);
        pthread_mutex_unlock(&sleep_lock);
    }
    EXPECT(held->probe.magic == MAGIC && atomic_load(&deaths) == 0);
    ouro_decref(held);
    EXPECT(atomic_load(&deaths) == 2);
    return NULL;
}

static void test_asleep(void **state)
{
    (void)state;
    pthread_t threads[SLEEPS];
    size_t count = SIGNALS_COME ? SLEEPS : IN_READ;
    assert_int_equal(pipe(sleep_pipe), 0);
    pthread_mutex_lock(&sleep_lock);
    assert_int_equal(ouro_thread_stop_by_signal(SIGURG), 0);
    for (size_t i = 0; i < count; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, sleeper_main, (void *)i), 0);
    assert_true(wait_polling(&asleep, count));
    sleep_ms(50);
    double start = now_s();
    for (size_t i = 0; i < 20; i++)
        assert_true(ouro_gc_collect((int)(i % 3)) >= 0);
    double took = now_s() - start;
    pthread_mutex_unlock(&sleep_lock);
    pthread_mutex_lock(&wait_lock);
    is_over = true;
    pthread_cond_broadcast(&wait_over);
    pthread_mutex_unlock(&wait_lock);
    assert_int_equal(write(sleep_pipe[1], "xy", 2), 2); /* one is left for who polls */
    OURO_BLOCKING {
        for (size_t i = 0; i < count; i++)
            pthread_join(threads[i], NULL);
    }
    assert_true(took < (SANITIZED ? 10 : 2)); /* and not until they woke up */
    assert_int_equal(ouro_thread_stop_by_signal(0), 0);
    close(sleep_pipe[0]);
    close(sleep_pipe[1]);
}

/* Without the signal, who holds a collection up is named, once. */

static void *named_sleeper(void *unused)
{
    (void)unused;
    pthread_setname_np(pthread_self(), "heavysleeper");
    EXPECT(ouro_thread_register() == 0);
    atomic_fetch_add(&asleep, 1);
    sleep_ms(1500);
    return NULL;
}

static void hold_up(void)
{
    pthread_t thread;
    EXPECT(pthread_create(&thread, NULL, named_sleeper, NULL) == 0);
    EXPECT(wait_polling(&asleep, 1));
    double start = now_s();
    EXPECT(ouro_gc_collect(2) >= 0);
    EXPECT(now_s() - start > 0.5);
    EXPECT(pthread_join(thread, NULL) == 0);
}

static void hold_nothing_up(void)
{
    pthread_t thread;
    EXPECT(ouro_thread_stop_by_signal(SIGURG) == 0);
    EXPECT(pthread_create(&thread, NULL, named_sleeper, NULL) == 0);
    EXPECT(wait_polling(&asleep, 1));
    EXPECT(ouro_gc_collect(2) >= 0);
    OURO_BLOCKING {
        EXPECT(pthread_join(thread, NULL) == 0);
    }
}

static size_t occurrences(const char *text, const char *word)
{
    size_t count = 0;
    for (text = strstr(text, word); text != NULL; text = strstr(text + 1, word))
        count++;
    return count;
}

static const struct child_case cases[] = { { "hold_up", hold_up }, { "hold_nothing_up", hold_nothing_up } };

static void test_named(void **state)
{
    (void)state;
    char text[8000];
    assert_true(child_was_fine(child_run("hold_up", "OURO_STW_WARN_MS=100", text, sizeof text)));
    if (occurrences(text, "heavysleeper") != 1)
        fail_msg("said: %s", text);
    assert_true(child_was_fine(child_run("hold_up", "OURO_STW_WARN_MS=60000", text, sizeof text)));
    assert_string_equal(text, "");
    assert_true(child_was_fine(child_run("hold_nothing_up", "OURO_STW_WARN_MS=1000", text, sizeof text)));
    assert_string_equal(text, "");
}

int main(int argc, char **argv)
{
    child_main(argc, argv, cases, COUNT_OF(cases));
    const struct CMUnitTest tests[] = {
        API_TEST(test_regions), API_TEST(test_busy_and_deaf), API_TEST(test_drops_of_what_the_deaf_own),
        API_TEST(test_asleep),  API_TEST(test_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
