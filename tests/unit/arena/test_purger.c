/* unit/arena/test_purger.c: the start of the thread that gives memory back, where threads are not to be had. */
#define _GNU_SOURCE
#include "unit/unit.h"

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>

#include "arena/arena.h"

static unsigned creates;
static bool refuse;
static uint64_t now_ns;

/* In the place of libc's, which it calls. */
int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*fn)(void *), void *arg)
{
    int (*real)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
    *(void **)&real = dlsym(RTLD_NEXT, "pthread_create");
    creates++;
    return refuse ? EAGAIN : real(thread, attributes, fn, arg);
}

static uint64_t test_now_ns(void)
{
    return now_ns;
}

static unsigned creates_after(uint64_t seconds)
{
    now_ns += seconds * 1000000000u;
    creates = 0;
    for (unsigned i = 0; i < 5; i++)
        ouroi_purger_start();
    return creates;
}

static void test_a_refused_thread_is_asked_for_again(void **state)
{
    (void)state;
    assert_int_equal(ouroi_arena_init(), 0);
    ouroi_os.now_ns = test_now_ns;
    now_ns = 1000;
    refuse = true;
    assert_int_equal(creates_after(0), 1);
    assert_int_equal(creates_after(0), 0);
    assert_int_equal(creates_after(1), 1);
    assert_int_equal(creates_after(1), 0); /* twice as long */
    assert_int_equal(creates_after(1), 1);
    for (unsigned i = 0; i < 10; i++)
        assert_int_equal(creates_after(64), 1); /* and no longer than that */
    refuse = false;
    assert_int_equal(creates_after(63), 0);
    assert_int_equal(creates_after(1), 1);
    assert_int_equal(creates_after(1000), 0); /* it runs */
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_a_refused_thread_is_asked_for_again) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
