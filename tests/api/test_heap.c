/* api/test_heap.c: heaps that are freed all at once. */
#define _GNU_SOURCE
#include "tests.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static void test_new_and_destroy_empty(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 2000; i++) {
        ouro_heap *heap = ouro_heap_new();
        assert_non_null(heap);
        ouro_heap_destroy(heap);
    }
    ouro_heap_destroy(NULL);
}

static void test_each_size_and_entry_point(void **state)
{
    (void)state;
    ouro_heap *heap = ouro_heap_new();
    void *blocks[64][3];
    errno = ERRNO_MARK;
    for (size_t i = 0; i < test_size_count; i++) {
        blocks[i][0] = ouro_heap_malloc(heap, test_sizes[i]);
        blocks[i][1] = ouro_heap_calloc(heap, 1, test_sizes[i]);
        blocks[i][2] = ouro_heap_aligned_alloc(heap, 512, test_sizes[i]);
        for (size_t k = 0; k < 3; k++) {
            assert_non_null(blocks[i][k]);
            assert_int_equal((uintptr_t)blocks[i][k] % (k == 2 ? 512 : 16), 0);
            assert_true(ouro_usable_size(blocks[i][k]) >= test_sizes[i]);
            assert_true(ouro_owns(blocks[i][k]));
        }
        for (size_t at = 0; at < test_sizes[i]; at++)
            assert_int_equal(((unsigned char *)blocks[i][1])[at], 0);
        for (size_t k = 0; k < 3; k++)
            pattern_write(blocks[i][k], test_sizes[i] < 5000 ? test_sizes[i] : 5000, (unsigned)(i * 3 + k));
    }
    assert_int_equal(errno, ERRNO_MARK);
    for (size_t i = 0; i < test_size_count; i++) {
        for (size_t k = 0; k < 3; k++) {
            assert_true(
                pattern_holds(blocks[i][k], test_sizes[i] < 5000 ? test_sizes[i] : 5000, (unsigned)(i * 3 + k)));
            if ((i + k) % 2 == 0)
                ouro_free(blocks[i][k]);
        }
    }
    ouro_heap_destroy(heap);
}

static void test_errors(void **state)
{
    (void)state;
    ouro_heap *heap = ouro_heap_new();
    void *kept = ouro_heap_malloc(heap, 100);
    pattern_write(kept, 100, 1);
    errno = 0;
    assert_null(ouro_heap_malloc(heap, opaque(SIZE_MAX)));
    assert_int_equal(errno, ENOMEM);
    errno = 0;
    assert_null(ouro_heap_malloc(heap, opaque((size_t)PTRDIFF_MAX + 1)));
    assert_int_equal(errno, ENOMEM);
    errno = 0;
    assert_null(ouro_heap_calloc(heap, opaque(SIZE_MAX / 2), 3));
    assert_int_equal(errno, ENOMEM);
    errno = 0;
    assert_null(ouro_heap_realloc(heap, keep(kept), opaque(SIZE_MAX - 100)));
    assert_int_equal(errno, ENOMEM);
    errno = 0;
    assert_null(ouro_heap_aligned_alloc(heap, 64, opaque(SIZE_MAX - 10)));
    assert_int_equal(errno, ENOMEM);
    errno = 0;
    assert_null(ouro_heap_aligned_alloc(heap, opaque(24), 100));
    assert_int_equal(errno, EINVAL);
    assert_true(pattern_holds(kept, 100, 1));
    ouro_heap_destroy(heap);
}

/* heap NULL is the default heap. */
static void test_null_heap(void **state)
{
    (void)state;
    void *blocks[4] = { ouro_heap_malloc(NULL, 100), ouro_heap_calloc(NULL, 10, 10),
                        ouro_heap_aligned_alloc(NULL, 64, 100), ouro_heap_realloc(NULL, NULL, 100) };
    for (size_t i = 0; i < 4; i++) {
        assert_non_null(blocks[i]);
        blocks[i] = ouro_heap_realloc(NULL, blocks[i], 5000);
        assert_non_null(blocks[i]);
        ouro_free(blocks[i]);
    }
}

static void test_destroy_with_many_blocks(void **state)
{
    (void)state;
    ouro_alloc_stats before, during, after;
    ouro_stats_get(&before);
    for (unsigned round = 0; round < 5; round++) {
        ouro_heap *heap = ouro_heap_new();
        size_t bytes = 0;
        for (size_t i = 0; i < 20000; i++) {
            size_t size = (i * 37) % 3000;
            void *p = ouro_heap_malloc(heap, size);
            assert_non_null(p);
            memset(p, 1, size);
            bytes += size;
        }
        for (size_t i = 0; i < 40; i++) { /* large and huge ones */
            void *p = ouro_heap_malloc(heap, (i + 1) * 100 * KIB);
            assert_non_null(p);
            memset(p, 1, 100);
            bytes += (i + 1) * 100 * KIB;
        }
        void *huge = ouro_heap_calloc(heap, 3, 50 * MIB), *aligned = ouro_heap_aligned_alloc(heap, 8 * MIB, 1 * MIB);
        assert_non_null(huge);
        assert_non_null(aligned);
        bytes += 151 * MIB;
        ouro_stats_get(&during);
        assert_true(during.allocated >= before.allocated + bytes);
        ouro_heap_destroy(heap);
    }
    ouro_stats_get(&after);
    assert_true(after.allocated <= before.allocated + 64 * KIB);
}

/* O(pools), not O(blocks): a heap of a million blocks goes in a fraction of the time that freeing them takes. */
static void test_destroy_is_fast(void **state)
{
    (void)state;
    enum { COUNT = 1000000 };
    static void *blocks[COUNT];
    struct timespec a, b, c;
    ouro_heap *heap = ouro_heap_new();
    for (size_t i = 0; i < COUNT; i++) {
        assert_non_null(ouro_heap_malloc(heap, 32));
        blocks[i] = ouro_malloc(32);
        assert_non_null(blocks[i]);
    }
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &a);
    ouro_heap_destroy(heap);
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &b);
    for (size_t i = 0; i < COUNT; i++)
        ouro_free(blocks[i]);
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &c);
    double destroy = (double)(b.tv_sec - a.tv_sec) + (double)(b.tv_nsec - a.tv_nsec) / 1e9;
    double frees = (double)(c.tv_sec - b.tv_sec) + (double)(c.tv_nsec - b.tv_nsec) / 1e9;
    assert_true(destroy < frees / 2);
}

static void test_memory_of_destroyed_heaps_is_reused(void **state)
{
    (void)state;
    size_t settled = 0;
    for (unsigned round = 0; round < 60; round++) {
        ouro_heap *heap = ouro_heap_new();
        for (size_t i = 0; i < 2000; i++) {
            void *p = ouro_heap_malloc(heap, 16 + i % 4000);
            assert_non_null(p);
            memset(p, 1, 16 + i % 4000);
        }
        void *large = ouro_heap_malloc(heap, 5 * MIB);
        memset(large, 1, 5 * MIB);
        ouro_heap_destroy(heap);
        if (round == 5)
            settled = resident_bytes();
    }
    assert_true(!RESIDENT_IS_OURS || resident_bytes() <= settled + 8 * MIB);
}

static void test_realloc_stays_in_its_heap(void **state)
{
    (void)state;
    ouro_alloc_stats before, after;
    ouro_heap *heap = ouro_heap_new();
    ouro_stats_get(&before);
    for (size_t i = 0; i < 500; i++) {
        void *p = ouro_heap_malloc(heap, 50);
        pattern_write(p, 50, (unsigned)i);
        p = i % 2 == 0 ? ouro_heap_realloc(heap, p, 50 + i * 100)
                       : ouro_realloc(p, 50 + i * 100); /* both stay in `heap` */
        assert_non_null(p);
        assert_true(pattern_holds(p, 50, (unsigned)i));
        memset(p, 1, 50 + i * 100);
    }
    ouro_heap_destroy(heap); /* frees every one of them */
    ouro_stats_get(&after);
    assert_true(after.allocated <= before.allocated);
}

/* A realloc by NULL heap or by another heap still keeps the block where it is from. */
static void test_realloc_by_other_heap_stays(void **state)
{
    (void)state;
    ouro_heap *a = ouro_heap_new(), *b = ouro_heap_new();
    void *p = ouro_heap_malloc(a, 100), *q = ouro_heap_malloc(a, 100), *outside = ouro_malloc(100);
    pattern_write(p, 100, 1);
    pattern_write(q, 100, 2);
    pattern_write(outside, 100, 3);
    p = ouro_heap_realloc(b, p, 100000);
    q = ouro_heap_realloc(NULL, q, 3000);
    outside = ouro_heap_realloc(a, outside, 70000);
    assert_true(pattern_holds(p, 100, 1) && pattern_holds(q, 100, 2) && pattern_holds(outside, 100, 3));
    ouro_heap_destroy(b);
    assert_true(pattern_holds(p, 100, 1) && pattern_holds(q, 100, 2));
    ouro_heap_destroy(a);
    assert_true(pattern_holds(outside, 100, 3));
    memset(outside, 1, 70000);
    ouro_free(outside);
}

static void test_heaps_are_apart(void **state)
{
    (void)state;
    ouro_heap *heaps[20];
    void *blocks[20][100];
    for (size_t h = 0; h < 20; h++)
        heaps[h] = ouro_heap_new();
    for (size_t i = 0; i < 100; i++) {
        for (size_t h = 0; h < 20; h++) {
            blocks[h][i] = ouro_heap_malloc(heaps[h], i * 13);
            assert_non_null(blocks[h][i]);
            pattern_write(blocks[h][i], i * 13, (unsigned)(h * 100 + i));
        }
    }
    for (size_t gone = 0; gone < 20; gone++) {
        ouro_heap_destroy(heaps[gone]);
        for (size_t i = 0; i < 100; i++) { /* what is freed may be used at once by the others */
            void *p = ouro_malloc(i * 13);
            memset(p, 0xff, i * 13);
            ouro_free(p);
        }
        for (size_t h = gone + 1; h < 20; h++) {
            for (size_t i = 0; i < 100; i++)
                assert_true(pattern_holds(blocks[h][i], i * 13, (unsigned)(h * 100 + i)));
        }
    }
}

struct sharing {
    ouro_heap *heap;
    unsigned seed;
    _Atomic unsigned *failures;
};

static void *use_shared_heap(void *arg)
{
    struct sharing *s = arg;
    void *blocks[200] = { NULL };
    size_t sizes[200] = { 0 };
    unsigned x = s->seed * 2654435761u + 1;
    for (unsigned i = 0; i < 20000; i++) {
        x = x * 1664525u + 1013904223u;
        size_t at = (x >> 8) % 200;
        if (blocks[at] != NULL && !pattern_holds(blocks[at], sizes[at], s->seed + (unsigned)at))
            atomic_fetch_add(s->failures, 1);
        if (x % 3 == 0 && blocks[at] != NULL) {
            ouro_free(blocks[at]);
            blocks[at] = NULL;
            continue;
        }
        sizes[at] = (x >> 16) % (x % 97 == 0 ? 60000 : 500);
        blocks[at] = blocks[at] == NULL ? ouro_heap_malloc(s->heap, sizes[at])
                                        : ouro_heap_realloc(s->heap, blocks[at], sizes[at]);
        if (blocks[at] == NULL)
            atomic_fetch_add(s->failures, 1);
        else
            pattern_write(blocks[at], sizes[at], s->seed + (unsigned)at);
    }
    return NULL;
}

static void test_one_heap_many_threads(void **state)
{
    (void)state;
    static _Atomic unsigned failures;
    for (unsigned round = 0; round < 3; round++) {
        ouro_heap *heap = ouro_heap_new();
        pthread_t threads[6];
        struct sharing shares[6];
        for (unsigned i = 0; i < 6; i++) {
            shares[i] = (struct sharing){ heap, round * 6 + i, &failures };
            assert_int_equal(pthread_create(&threads[i], NULL, use_shared_heap, &shares[i]), 0);
        }
        for (unsigned i = 0; i < 6; i++)
            pthread_join(threads[i], NULL);
        ouro_heap_destroy(heap);
    }
    assert_int_equal(atomic_load(&failures), 0);
}

static void *destroy_it(void *arg)
{
    ouro_heap_destroy(arg);
    return NULL;
}

static void *fill_it(void *arg)
{
    for (size_t i = 0; i < 3000; i++) {
        void *p = ouro_heap_malloc(arg, i % 700);
        if (p != NULL)
            memset(p, 1, i % 700);
    }
    return NULL;
}

/* Made by one thread, filled by another that exits, destroyed by a third. */
static void test_heap_outlives_threads(void **state)
{
    (void)state;
    for (unsigned round = 0; round < 50; round++) {
        pthread_t thread;
        ouro_heap *heap = ouro_heap_new();
        assert_int_equal(pthread_create(&thread, NULL, fill_it, heap), 0);
        pthread_join(thread, NULL);
        fill_it(heap);
        assert_int_equal(pthread_create(&thread, NULL, destroy_it, heap), 0);
        pthread_join(thread, NULL);
    }
}

struct frees {
    void *blocks[2000];
};

static void *free_some(void *arg)
{
    struct frees *frees = arg;
    for (size_t i = 0; i < 2000; i += 2)
        ouro_free(frees->blocks[i]);
    return NULL;
}

/* Blocks of a heap freed by another thread, one by one; the rest goes with the heap. */
static void test_remote_frees_then_destroy(void **state)
{
    (void)state;
    static struct frees frees;
    ouro_alloc_stats before, after;
    ouro_stats_get(&before);
    for (unsigned round = 0; round < 30; round++) {
        ouro_heap *heap = ouro_heap_new();
        pthread_t thread;
        for (size_t i = 0; i < 2000; i++) {
            frees.blocks[i] = ouro_heap_malloc(heap, i % 900);
            assert_non_null(frees.blocks[i]);
        }
        assert_int_equal(pthread_create(&thread, NULL, free_some, &frees), 0);
        pthread_join(thread, NULL);
        ouro_heap_destroy(heap);
    }
    ouro_stats_get(&after);
    assert_true(after.allocated <= before.allocated + 64 * KIB);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        API_TEST(test_new_and_destroy_empty),
        API_TEST(test_each_size_and_entry_point),
        API_TEST(test_errors),
        API_TEST(test_null_heap),
        API_TEST(test_destroy_with_many_blocks),
        API_TEST(test_destroy_is_fast),
        API_TEST(test_memory_of_destroyed_heaps_is_reused),
        API_TEST(test_realloc_stays_in_its_heap),
        API_TEST(test_realloc_by_other_heap_stays),
        API_TEST(test_heaps_are_apart),
        API_TEST(test_one_heap_many_threads),
        API_TEST(test_heap_outlives_threads),
        API_TEST(test_remote_frees_then_destroy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
