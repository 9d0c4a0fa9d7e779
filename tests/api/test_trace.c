/* Tracing: what is known of blocks that a known program made, through every way to make, change and free one. */
#define _GNU_SOURCE
#include "tests.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <ouro/trace.h>

#if defined(__clang__)
#define NOINLINE __attribute__((noinline))
#else
#define NOINLINE __attribute__((noipa)) /* nor copied for some arguments */
#endif

/* What cmocka has of the drop-in's malloc since the start. */
static size_t theirs;

static size_t current(void)
{
    size_t now;
    ouro_trace_get_traced_memory(&now, NULL);
    return now - theirs;
}

static size_t peak(void)
{
    size_t most;
    ouro_trace_get_traced_memory(NULL, &most);
    return most - theirs;
}

static void begin(void)
{
    ouro_trace_get_traced_memory(&theirs, NULL);
    ouro_trace_reset_peak();
}

static int start_all(void **state)
{
    (void)state;
    theirs = 0;
    return ouro_trace_start(16, 0);
}

static int stop(void **state)
{
    ouro_trace_stop();
    return heap_is_sound(state);
}

#define TRACED(function) cmocka_unit_test_setup_teardown(function, start_all, stop)

/* Functions whose extent is known: the frames of what they make lie in them. */
static NOINLINE void *make_here(size_t size)
{
    return keep(ouro_malloc(opaque(size)));
}

static NOINLINE void *make_deeper(size_t size, unsigned depth)
{
    return keep(depth == 0 ? make_here(size) : make_deeper(size, depth - 1));
}

static bool is_in(const void *frame, void *(*function)(size_t))
{
    return (uintptr_t)frame - (uintptr_t)function < 256;
}

static void test_states(void **state)
{
    (void)state;
    assert_false(ouro_trace_is_tracing());
    errno = 0;
    assert_null(ouro_trace_take_snapshot());
    assert_int_equal(errno, EINVAL);
    assert_int_equal(current(), 0);
    errno = 0;
    assert_int_equal(ouro_trace_start(0, 0), -1);
    assert_int_equal(errno, EINVAL);
    assert_int_equal(ouro_trace_start(4097, 0), -1);
    assert_int_equal(ouro_trace_start(3, 0), 0);
    assert_true(ouro_trace_is_tracing());
    void *p = make_deeper(100, 10);
    assert_int_equal(ouro_trace_start(16, 100), 0); /* nothing changes */
    assert_int_equal(current(), 100);
    void *frames[32];
    assert_int_equal(ouro_trace_get_traceback(p, frames, 32), 3);
    assert_true(ouro_trace_get_overhead() > 0);
    ouro_trace_stop();
    assert_false(ouro_trace_is_tracing());
    assert_int_equal(current(), 0);
    assert_int_equal(peak(), 0);
    assert_int_equal(ouro_trace_get_traceback(p, frames, 32), 0);
    ouro_free(p);
    ouro_trace_stop(); /* once is enough */
    ouro_trace_clear();
    ouro_trace_reset_peak();
}

static void test_current_and_peak(void **state)
{
    (void)state;
    begin();
    static void *blocks[1000];
    size_t sum = 0;
    for (size_t i = 0; i < COUNT_OF(blocks); i++) {
        size_t size = i % 7 == 0 ? 40000 + i : i % 5 == 0 ? 3000 + i : i;
        blocks[i] = make_here(size);
        sum += size;
        assert_int_equal(current(), sum);
        assert_int_equal(peak(), sum);
    }
    size_t most = sum;
    for (size_t i = 0; i < COUNT_OF(blocks); i++) {
        ouro_free(blocks[i]);
        sum -= i % 7 == 0 ? 40000 + i : i % 5 == 0 ? 3000 + i : i;
        assert_int_equal(current(), sum);
    }
    assert_int_equal(sum, 0);
    assert_int_equal(peak(), most);
    void *p = make_here(50);
    ouro_trace_reset_peak();
    assert_int_equal(peak(), 50);
    ouro_free(p);
    assert_int_equal(peak(), 50);
    assert_int_equal(current(), 0);
}

static void test_traceback(void **state)
{
    (void)state;
    begin();
    static const size_t sizes[] = { 0, 1, 24, 1000, 5000, 32768, 32769, 100000, 20 * MIB };
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        void *frames[32], *one[1];
        void *p = make_deeper(sizes[i], 5);
        size_t count = ouro_trace_get_traceback(p, frames, COUNT_OF(frames));
        assert_true(count >= 8 && count <= 16);
        assert_true(is_in(frames[0], make_here));
        for (size_t k = 1; k <= 6; k++)
            assert_true(is_in(frames[k], (void *(*)(size_t))(uintptr_t)make_deeper));
        for (size_t k = 2; k <= 5; k++)
            assert_ptr_equal(frames[k], frames[3]);
        assert_true(is_in(frames[7], (void *(*)(size_t))(uintptr_t)test_traceback) ||
                    (uintptr_t)frames[7] - (uintptr_t)test_traceback < 2048);
        assert_int_equal(ouro_trace_get_traceback(p, one, 1), 1);
        assert_ptr_equal(one[0], frames[0]);
        assert_int_equal(ouro_trace_get_traceback((char *)p + 8, frames, 32), 0);
        ouro_free(p);
    }
    int local = 0;
    void *frames[4];
    assert_int_equal(ouro_trace_get_traceback(NULL, frames, 4), 0);
    assert_int_equal(ouro_trace_get_traceback(&local, frames, 4), 0);
}

static void test_every_way_to_make_one(void **state)
{
    (void)state;
    begin();
    void *p;
    size_t sum = 0;
    void *blocks[64];
    size_t count = 0;
    blocks[count++] = ouro_malloc(opaque(11)), sum += 11;
    blocks[count++] = ouro_calloc(opaque(3), 11), sum += 33;
    blocks[count++] = ouro_calloc(opaque(3), 50000), sum += 150000;
    blocks[count++] = ouro_realloc(NULL, opaque(70)), sum += 70;
    blocks[count++] = ouro_reallocarray(NULL, opaque(7), 10), sum += 70;
    blocks[count++] = ouro_aligned_alloc(64, opaque(100)), sum += 100;
    blocks[count++] = ouro_aligned_alloc(4096, opaque(100)), sum += 100;
    blocks[count++] = ouro_aligned_alloc(1 * MIB, opaque(100)), sum += 100;
    assert_int_equal(ouro_posix_memalign(&p, 256, opaque(300)), 0);
    blocks[count++] = p, sum += 300;
    for (size_t i = 0; i < count; i++) {
        void *frame;
        assert_non_null(blocks[i]);
        assert_int_equal(ouro_trace_get_traceback(blocks[i], &frame, 1), 1);
        assert_true((uintptr_t)frame - (uintptr_t)test_every_way_to_make_one < 4096);
        assert_true(ouro_usable_size(blocks[i]) >= 11);
    }
    assert_int_equal((uintptr_t)blocks[5] % 64, 0);
    assert_int_equal((uintptr_t)blocks[6] % 4096, 0);
    assert_int_equal((uintptr_t)blocks[7] % MIB, 0);
    assert_int_equal(current(), sum);
    for (size_t i = 0; i < 33; i++)
        assert_int_equal(((char *)blocks[1])[i], 0);
    ouro_free_sized(blocks[0], 11);
    ouro_free_aligned_sized(blocks[5], 64, 100);
    assert_int_equal(current(), sum - 111);
    for (size_t i = 1; i < count; i++)
        if (i != 5)
            ouro_free(blocks[i]);
    assert_int_equal(current(), 0);
}

static NOINLINE void *change_here(void *p, size_t size)
{
    return keep(ouro_realloc(p, opaque(size)));
}

static void test_reallocated(void **state)
{
    (void)state;
    begin();
    static const size_t sizes[] = { 10,      12,       200,      190,    5000,  40000, 45000, 2 * MIB,
                                    3 * MIB, 30 * MIB, 70 * MIB, 100000, 33000, 90,    0 };
    unsigned char *p = make_here(5);
    memcpy(p, "here", 5);
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        void *frame;
        p = change_here(p, sizes[i]);
        assert_non_null(p);
        assert_int_equal(current(), sizes[i]);
        assert_true(sizes[i] < 5 || memcmp(p, "here", 5) == 0);
        assert_int_equal(ouro_trace_get_traceback(p, &frame, 1), 1);
        assert_true(is_in(frame, (void *(*)(size_t))(uintptr_t)change_here));
    }
    ouro_free(p);
    assert_int_equal(current(), 0);
}

/* From before the start: not known, until realloc makes it another one. */
static void test_from_before(void **state)
{
    static const size_t sizes[] = { 20, 3000, 100000 };
    void *old[COUNT_OF(sizes)], *frames[4];
    for (size_t i = 0; i < COUNT_OF(sizes); i++)
        old[i] = make_here(sizes[i]);
    start_all(state);
    assert_int_equal(current(), 0);
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        assert_int_equal(ouro_trace_get_traceback(old[i], frames, 4), 0);
        old[i] = change_here(old[i], sizes[i] - 1);
        assert_int_equal(current(), sizes[i] - 1);
        ouro_free(old[i]);
        assert_int_equal(current(), 0);
    }
    stop(state);
}

/* And from before a stop, or clear: forgotten, and freed after. */
static void test_stop_and_clear(void **state)
{
    static const size_t sizes[] = { 20, 3000, 100000, 20 * MIB };
    void *first[COUNT_OF(sizes)], *second[COUNT_OF(sizes)], *third[COUNT_OF(sizes)];
    start_all(state);
    size_t sum = 0;
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        first[i] = make_here(sizes[i]);
        sum += sizes[i];
    }
    ouro_trace_clear();
    assert_true(ouro_trace_is_tracing());
    assert_int_equal(current(), 0);
    assert_int_equal(peak(), 0);
    for (size_t i = 0; i < COUNT_OF(sizes); i++)
        second[i] = make_here(sizes[i]);
    assert_int_equal(current(), sum);
    ouro_free(first[0]);
    assert_int_equal(current(), sum);
    first[1] = change_here(first[1], 2999);
    assert_int_equal(current(), sum + 2999);
    ouro_trace_stop();
    ouro_free(second[1]);
    ouro_free(second[3]);
    for (size_t i = 0; i < COUNT_OF(sizes); i++)
        third[i] = make_here(sizes[i]);
    start_all(state);
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        if (i != 0)
            ouro_free(first[i]);
        if (i % 2 == 0)
            ouro_free(second[i]);
        ouro_free(third[i]);
        assert_int_equal(current(), 0);
    }
    stop(state);
}

static void test_regions(void **state)
{
    (void)state;
    begin();
    ouro_heap *heap = ouro_heap_new();
    size_t sum = 0;
    void *frame;
    for (size_t i = 1; i <= 2000; i++) {
        size_t size = i % 50 == 0 ? 50000 + i : i;
        void *p = ouro_heap_malloc(heap, opaque(size));
        assert_int_equal(ouro_trace_get_traceback(p, &frame, 1), 1);
        assert_true((uintptr_t)frame - (uintptr_t)test_regions < 4096);
        sum += size;
        if (i % 3 == 0) {
            ouro_free(p);
            sum -= size;
        } else if (i % 3 == 1) {
            assert_non_null(ouro_heap_realloc(heap, p, size + 1000));
            sum += 1000;
        }
        assert_int_equal(current(), sum);
    }
    void *p = ouro_heap_calloc(heap, opaque(10), 10), *q = ouro_heap_aligned_alloc(heap, 512, opaque(100));
    assert_true(p != NULL && q != NULL);
    assert_int_equal(current(), sum + 200);
    ouro_heap_destroy(heap);
    assert_int_equal(current(), 0);
    heap = ouro_heap_new();
    p = ouro_heap_malloc(heap, opaque(64));
    ouro_trace_stop();
    q = ouro_heap_malloc(heap, opaque(64)); /* not known, in a pool that knows of others */
    assert_int_equal(ouro_trace_start(16, 0), 0);
    assert_int_equal(ouro_trace_get_traceback(p, &frame, 1), 0);
    assert_int_equal(ouro_trace_get_traceback(q, &frame, 1), 0);
    ouro_heap_destroy(heap);
    assert_int_equal(current(), 0);
}

static void *free_all(void *arg)
{
    void **blocks = arg;
    for (size_t i = 0; blocks[i] != NULL; i++)
        ouro_free(blocks[i]);
    return make_here(77);
}

static void test_other_thread_frees(void **state)
{
    (void)state;
    begin();
    static void *blocks[3001];
    size_t sum = 0;
    for (size_t i = 0; i < 3000; i++) {
        blocks[i] = make_here(i * 20);
        sum += i * 20;
    }
    assert_int_equal(current(), sum);
    pthread_t thread;
    void *last, *frame;
    ouro_trace_stop(); /* pthread_create's own is not to be known */
    start_all(state);
    begin();
    for (size_t i = 0; i < 3000; i += 2) {
        ouro_free(blocks[i]);
        blocks[i] = make_here(10);
    }
    assert_int_equal(current(), 15000);
    assert_int_equal(pthread_create(&thread, NULL, free_all, blocks), 0);
    assert_int_equal(pthread_join(thread, &last), 0);
    assert_int_equal(ouro_trace_get_traceback(last, &frame, 1), 1);
    assert_true(is_in(frame, make_here));
    assert_true(current() >= 77 && current() < 15000);
    ouro_free(last);
}

/* The sums of a snapshot are those of what lives. */
static void test_snapshot(void **state)
{
    (void)state;
    void *a[10], *b[20];
    ouro_snapshot_info info, before;
    begin();
    ouro_snapshot *snapshot = ouro_trace_take_snapshot();
    ouro_snapshot_get_info(snapshot, &before);
    ouro_snapshot_free(snapshot);
    assert_int_equal(before.size, theirs);
    for (size_t i = 0; i < COUNT_OF(a); i++)
        a[i] = make_here(100);
    for (size_t i = 0; i < COUNT_OF(b); i++)
        b[i] = make_deeper(60000, 2);
    ouro_free(b[0]);
    snapshot = ouro_trace_take_snapshot();
    assert_non_null(snapshot);
    ouro_snapshot_get_info(snapshot, &info);
    assert_int_equal(info.count - before.count, 29);
    assert_int_equal(info.size - before.size, 1000 + 19 * 60000);
    assert_int_equal(info.sample_bytes, 0);
    assert_int_equal(current() + theirs, info.size); /* the snapshot itself is not known */
    const ouro_trace_stat *stats;
    size_t groups = ouro_snapshot_statistics(snapshot, OURO_BY_TRACEBACK, &stats);
    size_t here = 0;
    for (size_t i = 0; i < groups; i++) {
        here += is_in(stats[i].frames[0], make_here) ? stats[i].count : 0;
        assert_null(stats[i].type);
    }
    assert_int_equal(here, 29);
    for (size_t i = 0; i < COUNT_OF(a); i++)
        ouro_free(a[i]);
    for (size_t i = 1; i < COUNT_OF(b); i++)
        ouro_free(b[i]);
    ouro_snapshot *empty = ouro_trace_take_snapshot();
    groups = ouro_snapshot_statistics(empty, OURO_BY_TRACEBACK, &stats); /* what names need is the drop-in's, too */
    for (size_t i = 0; i < groups; i++)
        assert_false(is_in(stats[i].frames[0], make_here));
    ouro_snapshot_free(empty);
    ouro_snapshot_free(snapshot);
}

static void test_fork(void **state)
{
    (void)state;
    begin();
    void *p = make_here(1000);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        bool fine = ouro_trace_is_tracing() && current() == 1000;
        void *q = make_here(500);
        fine = fine && current() == 1500;
        ouro_free(p);
        fine = fine && current() == 500;
        ouro_snapshot *snapshot = ouro_trace_take_snapshot();
        fine = fine && snapshot != NULL;
        ouro_snapshot_free(snapshot);
        ouro_trace_stop();
        ouro_free(q);
        fine = fine && ouro_trace_start(4, 0) == 0 && current() == 0;
        _exit(fine ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    assert_int_equal(current(), 1000);
    ouro_free(p);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        API_TEST(test_states),
        TRACED(test_current_and_peak),
        TRACED(test_traceback),
        TRACED(test_every_way_to_make_one),
        TRACED(test_reallocated),
        API_TEST(test_from_before),
        API_TEST(test_stop_and_clear),
        TRACED(test_regions),
        TRACED(test_other_thread_frees),
        TRACED(test_snapshot),
        TRACED(test_fork),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
