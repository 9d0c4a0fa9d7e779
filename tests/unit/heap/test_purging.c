/* unit/heap/test_purging.c: what happens while a thread is in the middle of giving memory back: its slices are out of their
 * sets then. The OS stands still in madvise until the test lets it go. */
#define _GNU_SOURCE
#include "unit/unit.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <ouro/ouro.h>

#include "arena/arena.h"

static struct ouroi_os real;
static sem_t in_purge, go_on;
static bool holds, no_memory;

static int held_purge(void *at, size_t bytes)
{
    if (__atomic_exchange_n(&holds, false, __ATOMIC_ACQ_REL)) {
        sem_post(&in_purge);
        sem_wait(&go_on);
    }
    return real.purge(at, bytes);
}

static void *limited_map(void *at, size_t bytes, unsigned flags, int *error)
{
    if (!__atomic_load_n(&no_memory, __ATOMIC_ACQUIRE))
        return real.map(at, bytes, flags, error);
    *error = -ENOMEM;
    return NULL;
}

static void *trim(void *arg)
{
    (void)arg;
    ouro_trim();
    return NULL;
}

static void *let_go_later(void *arg)
{
    (void)arg;
    struct timespec time = { 0, 200000000 };
    nanosleep(&time, NULL);
    sem_post(&go_on);
    return NULL;
}

/* Dirty memory of `bytes`, which another thread has begun to give back; it goes on in a fifth of a second. */
static void begin_purge(pthread_t threads[2], size_t bytes)
{
    void *p = ouro_malloc(bytes);
    assert_non_null(p);
    memset(p, 1, bytes);
    ouro_free(p);
    sem_init(&in_purge, 0, 0);
    sem_init(&go_on, 0, 0);
    __atomic_store_n(&holds, true, __ATOMIC_RELEASE); /* the library's own thread may purge too */
    assert_int_equal(pthread_create(&threads[0], NULL, trim, NULL), 0);
    while (sem_wait(&in_purge) != 0) {
    }
    assert_int_equal(pthread_create(&threads[1], NULL, let_go_later, NULL), 0);
}

static void end_purge(pthread_t threads[2])
{
    pthread_join(threads[0], NULL);
    pthread_join(threads[1], NULL);
    assert_int_equal(ouro_debug_check(), 0);
}

/* No more memory is to be had, but for what is being given back. */
static void test_allocation_waits_for_a_purge(void **state)
{
    (void)state;
    static const size_t sizes[] = { 100, 20000, 100000, 3 * MIB };
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        pthread_t threads[2];
        static void *blocks[1 << 16];
        size_t count = 0;
        begin_purge(threads, 12 * MIB);
        __atomic_store_n(&no_memory, true, __ATOMIC_RELEASE);
        /* Far less than 12 MiB, and more than what is left elsewhere. */
        while (count * sizes[i] < 9 * MIB && count < COUNT_OF(blocks)) {
            blocks[count] = ouro_malloc(sizes[i]);
            assert_non_null(blocks[count]);
            memset(blocks[count++], 2, sizes[i]);
        }
        __atomic_store_n(&no_memory, false, __ATOMIC_RELEASE);
        while (count > 0)
            ouro_free(blocks[--count]);
        end_purge(threads);
    }
}

static void allocate_in_child(void *arg)
{
    (void)arg;
    no_memory = true;
    for (unsigned i = 0; i < 3; i++)
        CHILD_EXPECT(ouro_malloc(3 * MIB) != NULL);
    CHILD_EXPECT(ouro_debug_check() == 0);
}

/* What the parent was giving back is the child's to use. */
static void test_fork_during_a_purge_loses_nothing(void **state)
{
    (void)state;
    pthread_t threads[2];
    char text[512];
    begin_purge(threads, 12 * MIB);
    int status = unit_in_child(allocate_in_child, NULL, text, sizeof text);
    end_purge(threads);
    if (!unit_child_returned(status))
        fail_msg("%s", text);
}

static int set_up(void **state)
{
    (void)state;
    real = ouroi_os;
    ouroi_os.purge = held_purge;
    ouroi_os.map = limited_map;
    static void *anchor; /* its chunk is purged, not unmapped */
    anchor = ouro_malloc(100000);
    assert_non_null(anchor);
    ouro_trim();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_allocation_waits_for_a_purge),
        cmocka_unit_test(test_fork_during_a_purge_loses_nothing),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
