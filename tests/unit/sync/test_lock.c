/* unit/sync/test_lock.c: mutual exclusion, waking, ranks, fork. */
#define _GNU_SOURCE
#include "unit/unit.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "os/os.h"
#include "sync/sync.h"

static struct ouroi_lock lock = OUROI_LOCK_INIT(OUROI_RANK_ARENA);
static struct ouroi_lock inner = OUROI_LOCK_INIT(OUROI_RANK_META);
static unsigned long counter, inside, clashes;

static void *count_under_lock(void *arg)
{
    unsigned long rounds = (unsigned long)(uintptr_t)arg;
    for (unsigned long i = 0; i < rounds; i++) {
        ouroi_lock_acquire(&lock);
        clashes += inside++ != 0;
        counter++;
        if (i % 1024 == 0)
            sched_yield(); /* others come to wait */
        inside--;
        ouroi_lock_release(&lock);
    }
    return NULL;
}

static void run_threads(void *(*fn)(void *), void *arg, size_t count)
{
    pthread_t threads[16];
    for (size_t i = 0; i < count; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, fn, arg), 0);
    for (size_t i = 0; i < count; i++)
        pthread_join(threads[i], NULL);
}

static void test_mutual_exclusion(void **state)
{
    (void)state;
    counter = inside = clashes = 0;
    run_threads(count_under_lock, (void *)30000, 8);
    assert_int_equal(counter, 240000);
    assert_int_equal(clashes, 0);
    assert_int_equal(lock.word, 0);
}

/* With one CPU nobody spins: everyone waits in the kernel. */
static void test_waiting_in_the_kernel(void **state)
{
    (void)state;
    unsigned cpus = ouroi_machine.cpus;
    ouroi_machine.cpus = 1;
    counter = inside = clashes = 0;
    run_threads(count_under_lock, (void *)10000, 6);
    assert_int_equal(counter, 60000);
    assert_int_equal(clashes, 0);
    ouroi_machine.cpus = cpus;
}

static void *try_it(void *arg)
{
    bool got = ouroi_lock_try(&lock);
    if (got)
        ouroi_lock_release(&lock);
    *(bool *)arg = got;
    return NULL;
}

static void test_try(void **state)
{
    (void)state;
    bool got = true;
    ouroi_lock_acquire(&lock);
    run_threads(try_it, &got, 1);
    assert_false(got);
    ouroi_lock_release(&lock);
    run_threads(try_it, &got, 1);
    assert_true(got);
}

static void test_nested_in_order_of_rank(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 100; i++) {
        ouroi_lock_acquire(&lock);
        ouroi_lock_acquire(&inner);
        ouroi_lock_release(&inner);
        ouroi_lock_release(&lock);
        ouroi_lock_acquire(&inner);
        ouroi_lock_release(&inner);
    }
}

static void take_against_rank(void *arg)
{
    (void)arg;
    ouroi_lock_acquire(&inner);
    ouroi_lock_acquire(&lock);
}

static void take_same_rank(void *arg)
{
    (void)arg;
    static struct ouroi_lock other = OUROI_LOCK_INIT(OUROI_RANK_ARENA);
    ouroi_lock_acquire(&lock);
    ouroi_lock_acquire(&other);
}

static void test_wrong_order_is_caught_in_debug_builds(void **state)
{
    (void)state;
    char text[600];
    assert_int_equal(unit_child_returned(unit_in_child(take_against_rank, NULL, text, sizeof text)), !OURO_DEBUG);
    assert_int_equal(unit_child_returned(unit_in_child(take_same_rank, NULL, text, sizeof text)), !OURO_DEBUG);
}

static void reset_and_use(void *arg)
{
    (void)arg;
    ouroi_lock_reset(&inner);
    ouroi_lock_reset(&lock);
    ouroi_lock_acquire(&lock);
    ouroi_lock_acquire(&inner);
    ouroi_lock_release(&inner);
    ouroi_lock_release(&lock);
}

/* Held while another thread waits, at a fork: the child resets them, the parent releases them. */
static void test_fork_while_held(void **state)
{
    (void)state;
    pthread_t thread;
    counter = inside = clashes = 0;
    ouroi_lock_acquire(&lock);
    ouroi_lock_acquire(&inner);
    assert_int_equal(pthread_create(&thread, NULL, count_under_lock, (void *)10), 0);
    usleep(20000);
    pid_t child = _Fork(); /* without the library's own handlers, which take locks of lower ranks */
    if (child == 0) {
        reset_and_use(NULL);
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_int_equal(counter, 0);
    ouroi_lock_release(&inner);
    ouroi_lock_release(&lock);
    pthread_join(thread, NULL);
    assert_int_equal(counter, 10);
}

/* Between fork's handlers: open to the thread that holds all, shut to others. */
static void test_all_held(void **state)
{
    (void)state;
    bool got = true;
    ouroi_lock_acquire(&lock);
    ouroi_lock_all_held(true);
    ouroi_lock_acquire(&lock); /* does not wait for itself */
    ouroi_lock_release(&lock); /* and does not open it */
    run_threads(try_it, &got, 1);
    assert_false(got);
    ouroi_lock_all_held(false);
    ouroi_lock_release(&lock);
    run_threads(try_it, &got, 1);
    assert_true(got);
}

int main(void)
{
    ouroi_os_init();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mutual_exclusion),
        cmocka_unit_test(test_waiting_in_the_kernel),
        cmocka_unit_test(test_try),
        cmocka_unit_test(test_nested_in_order_of_rank),
        cmocka_unit_test(test_wrong_order_is_caught_in_debug_builds),
        cmocka_unit_test(test_fork_while_held),
        cmocka_unit_test(test_all_held),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
