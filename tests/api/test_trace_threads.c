/* Tracing is switched on and off, cleared and looked at while sixteen threads allocate, free each other's blocks and end. */
#define _GNU_SOURCE
#include "tests.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include <ouro/trace.h>

enum { THREADS = 16, PLACES = 256 };

static _Atomic(void *) places[PLACES];
static _Atomic bool over;
static _Atomic unsigned long made;

static uint64_t next(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static void *make_some(uint64_t random)
{
    size_t size = random % 64 == 0 ? 33000 + random % 100000 : random % 8 == 0 ? random % 9000 : random % 300;
    void *p = random % 5 == 0   ? ouro_calloc(1, size)
              : random % 7 == 0 ? ouro_aligned_alloc(64, size)
                                : ouro_malloc(size);
    if (p != NULL && random % 3 == 0)
        p = ouro_realloc(p, size + random % 500);
    if (p != NULL && size > 0)
        memset(p, 1, 1);
    return p;
}

static void *work(void *arg)
{
    uint64_t state = (uintptr_t)arg * 0x9e3779b97f4a7c15u + 1;
    for (unsigned i = 0; i < 2000; i++) {
        void *p = make_some(next(&state));
        if (p != NULL)
            ouro_free(atomic_exchange(&places[next(&state) % PLACES], p));
        atomic_fetch_add_explicit(&made, 1, memory_order_relaxed);
    }
    return NULL;
}

static void *parent(void *arg)
{
    for (uintptr_t i = 0; !atomic_load(&over); i++) { /* threads end, and their heaps go on to others */
        pthread_t child;
        assert_int_equal(pthread_create(&child, NULL, work, (void *)((uintptr_t)arg << 16 | i)), 0);
        pthread_join(child, NULL);
    }
    return NULL;
}

static void free_places(void)
{
    for (size_t i = 0; i < PLACES; i++)
        ouro_free(atomic_exchange(&places[i], NULL));
}

static void switch_on_and_off(size_t sample_bytes, unsigned rounds)
{
    pthread_t threads[THREADS];
    uint64_t state = 1 + sample_bytes;
    atomic_store(&over, false);
    for (uintptr_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, parent, (void *)(i + 1)), 0);
    for (unsigned round = 0; round < rounds; round++) {
        void *frames[8];
        size_t now, most;
        assert_int_equal(ouro_trace_start(1 + round % 12, sample_bytes), 0);
        for (unsigned i = 0; i < 3; i++) {
            unsigned long before = atomic_load(&made);
            while (atomic_load(&made) < before + 200)
                sched_yield();
            void *p = make_some(next(&state));
            ouro_trace_get_traceback(p, frames, 8);
            ouro_free(p);
            ouro_trace_get_traced_memory(&now, &most);
            assert_true(now <= most);
            if (i == 1) {
                ouro_snapshot *snapshot = ouro_trace_take_snapshot();
                assert_non_null(snapshot);
                ouro_snapshot_free(snapshot);
                ouro_trace_clear();
                ouro_trace_reset_peak();
            }
        }
        if (round % 4 == 3) { /* all goes, and nothing is left */
            atomic_store(&over, true);
            for (size_t i = 0; i < THREADS; i++)
                pthread_join(threads[i], NULL);
            ouro_trace_clear();
            void *block = make_some(next(&state));
            ouro_free(block);
            free_places();
            ouro_trace_get_traced_memory(&now, NULL);
            assert_int_equal(now, 0);
            assert_int_equal(ouro_debug_check(), 0);
            atomic_store(&over, false);
            for (uintptr_t i = 0; round + 1 < rounds && i < THREADS; i++)
                assert_int_equal(pthread_create(&threads[i], NULL, parent, (void *)(i + 1)), 0);
        }
        ouro_trace_stop();
    }
}

static void test_all(void **state)
{
    (void)state;
    switch_on_and_off(0, 12);
}

static void test_sampled(void **state)
{
    (void)state;
    switch_on_and_off(64 * KIB, 12);
}

static void test_sampled_densely(void **state)
{
    (void)state;
    switch_on_and_off(1000, 8);
}

/* While all threads are in their loops the next allocation of each is known: nobody goes on unseen. */
static pthread_barrier_t barrier;

static void *wait_and_make(void *arg)
{
    void *blocks[50];
    for (size_t i = 0; i < COUNT_OF(blocks); i++) /* so that there is a pool with blocks at hand */
        blocks[i] = ouro_malloc(opaque(48));
    for (size_t i = 0; i < COUNT_OF(blocks); i++)
        ouro_free(blocks[i]);
    pthread_barrier_wait(&barrier);
    pthread_barrier_wait(&barrier);
    for (size_t i = 0; i < COUNT_OF(blocks); i++)
        blocks[i] = ouro_malloc(opaque(48));
    pthread_barrier_wait(&barrier);
    pthread_barrier_wait(&barrier);
    for (size_t i = 0; i < COUNT_OF(blocks); i++)
        ouro_free(blocks[i]);
    return arg;
}

static void test_nobody_goes_unseen(void **state)
{
    (void)state;
    pthread_t threads[THREADS];
    size_t now;
    pthread_barrier_init(&barrier, NULL, THREADS + 1);
    for (size_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, wait_and_make, NULL), 0);
    pthread_barrier_wait(&barrier);
    assert_int_equal(ouro_trace_start(4, 0), 0);
    pthread_barrier_wait(&barrier);
    pthread_barrier_wait(&barrier);
    ouro_trace_get_traced_memory(&now, NULL);
    assert_int_equal(now, THREADS * 50 * 48);
    pthread_barrier_wait(&barrier);
    for (size_t i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    ouro_trace_get_traced_memory(&now, NULL);
    assert_int_equal(now, 0);
    ouro_trace_stop();
    pthread_barrier_destroy(&barrier);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        API_TEST(test_all),
        API_TEST(test_sampled),
        API_TEST(test_sampled_densely),
        API_TEST(test_nobody_goes_unseen),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
