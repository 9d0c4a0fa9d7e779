/* api/test_stats.c: what ouro_stats_get says is so. */
#define _GNU_SOURCE
#include "tests.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

static ouro_alloc_stats get(void)
{
    ouro_alloc_stats stats;
    memset(&stats, 0xff, sizeof stats);
    ouro_stats_get(&stats);
    return stats;
}

/* Living blocks and bytes of the calls between two readings, with no other thread at work. */
static void test_exact_for_each_size(void **state)
{
    (void)state;
    for (size_t i = 0; i < test_size_count; i++) {
        ouro_alloc_stats before = get();
        void *p = ouro_malloc(test_sizes[i]), *q = ouro_calloc(1, test_sizes[i]),
             *r = ouro_aligned_alloc(128, test_sizes[i]);
        size_t usable = ouro_usable_size(p) + ouro_usable_size(q) + ouro_usable_size(r);
        ouro_alloc_stats during = get();
        ouro_free(p);
        ouro_free(q);
        ouro_free(r);
        ouro_alloc_stats after = get();
        assert_int_equal(during.allocated - before.allocated, usable);
        assert_int_equal(during.mallocs - before.mallocs, 3);
        assert_int_equal(during.frees, before.frees);
        assert_int_equal(after.allocated, before.allocated);
        assert_int_equal(after.frees - before.frees, 3);
        assert_int_equal(after.mallocs - before.mallocs, 3);
    }
}

static void test_exact_for_many(void **state)
{
    (void)state;
    enum { COUNT = 30000 };
    static void *blocks[COUNT];
    size_t usable = 0;
    ouro_alloc_stats before = get();
    for (size_t i = 0; i < COUNT; i++) {
        blocks[i] = ouro_malloc(i % 3000);
        usable += ouro_usable_size(blocks[i]);
    }
    ouro_alloc_stats during = get();
    assert_int_equal(during.allocated - before.allocated, usable);
    assert_int_equal(during.mallocs - before.mallocs, COUNT);
    for (size_t i = 0; i < COUNT; i += 2) {
        usable -= ouro_usable_size(blocks[i]);
        ouro_free(blocks[i]);
    }
    during = get();
    assert_int_equal(during.allocated - before.allocated, usable);
    assert_int_equal(during.frees - before.frees, COUNT / 2);
    for (size_t i = 1; i < COUNT; i += 2)
        ouro_free(blocks[i]);
    ouro_alloc_stats after = get();
    assert_int_equal(after.allocated, before.allocated);
    assert_int_equal(after.frees - before.frees, COUNT);
}

/* However a resize is counted, what lives is what lives. */
static void test_exact_over_realloc(void **state)
{
    (void)state;
    ouro_alloc_stats before = get();
    void *p = NULL;
    for (size_t i = 0; i < test_size_count; i++) {
        p = ouro_realloc(p, test_sizes[(i * 17) % test_size_count]);
        ouro_alloc_stats now = get();
        assert_int_equal(now.allocated - before.allocated, ouro_usable_size(p));
        assert_int_equal((now.mallocs - now.frees) - (before.mallocs - before.frees), 1);
    }
    ouro_free(p);
    assert_int_equal(get().allocated, before.allocated);
}

static void test_failures_count_nothing(void **state)
{
    (void)state;
    ouro_alloc_stats before = get();
    assert_null(ouro_malloc(opaque(SIZE_MAX)));
    assert_null(ouro_calloc(opaque(SIZE_MAX), 2));
    assert_null(ouro_aligned_alloc(64, opaque(SIZE_MAX - 1)));
    ouro_free(keep(NULL));
    ouro_alloc_stats after = get();
    assert_int_equal(after.mallocs, before.mallocs);
    assert_int_equal(after.frees, before.frees);
    assert_int_equal(after.allocated, before.allocated);
}

struct work {
    void *blocks[3000];
};

static void *allocate(void *arg)
{
    struct work *work = arg;
    for (size_t i = 0; i < COUNT_OF(work->blocks); i++)
        work->blocks[i] = ouro_malloc(i % 500);
    return NULL;
}

static void *release(void *arg)
{
    struct work *work = arg;
    for (size_t i = 0; i < COUNT_OF(work->blocks); i++)
        ouro_free(work->blocks[i]);
    return NULL;
}

static void run_in_thread(void *(*fn)(void *), void *arg)
{
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, fn, arg), 0);
    pthread_join(thread, NULL);
}

/* pthread_create itself allocates, where malloc is ours. Twice, so that what it keeps is there before. */
static void test_exact_after_threads_have_gone(void **state)
{
    (void)state;
    static struct work work;
    run_in_thread(allocate, &work);
    run_in_thread(release, &work);
    ouro_alloc_stats before = get();
    run_in_thread(allocate, &work);
    size_t usable = 0;
    for (size_t i = 0; i < COUNT_OF(work.blocks); i++) {
        assert_non_null(work.blocks[i]);
        usable += ouro_usable_size(work.blocks[i]);
    }
    ouro_alloc_stats during = get();
    assert_int_equal(during.allocated - before.allocated, usable);
    run_in_thread(release, &work);
    ouro_alloc_stats after = get();
    assert_int_equal(after.allocated, before.allocated);
    assert_int_equal(after.mallocs - after.frees, before.mallocs - before.frees);
    assert_true(after.remote_frees > before.remote_frees);
}

static void test_remote_frees_are_counted(void **state)
{
    (void)state;
    static struct work work;
    allocate(&work);
    ouro_alloc_stats before = get();
    run_in_thread(release, &work);
    ouro_alloc_stats after = get();
    assert_true(after.remote_frees - before.remote_frees >= COUNT_OF(work.blocks));
    assert_true(after.frees - before.frees >= COUNT_OF(work.blocks));
}

static pthread_barrier_t barrier;

static void *stay(void *arg)
{
    ouro_free(ouro_malloc(100));
    pthread_barrier_wait(&barrier);
    pthread_barrier_wait(&barrier);
    return arg;
}

static void test_threads_are_counted(void **state)
{
    (void)state;
    pthread_t threads[7];
    ouro_free(ouro_malloc(1));
    size_t before = get().threads;
    assert_true(before >= 1);
    pthread_barrier_init(&barrier, NULL, 8);
    for (size_t i = 0; i < 7; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, stay, NULL), 0);
    pthread_barrier_wait(&barrier);
    assert_int_equal(get().threads, before + 7);
    pthread_barrier_wait(&barrier);
    for (size_t i = 0; i < 7; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(get().threads, before);
}

static void test_sizes_are_ordered(void **state)
{
    (void)state;
    char *small = ouro_malloc(1000), *huge = ouro_malloc(100 * MIB);
    memset(huge, 1, 50 * MIB);
    ouro_alloc_stats s = get();
    assert_true(s.reserved >= s.committed);
    assert_true(s.committed >= s.resident);
    assert_true(s.allocated >= 100 * MIB);
    assert_true(s.committed >= s.allocated);
    assert_true(s.resident >= 50 * MIB);
    assert_true(s.peak_allocated >= s.allocated);
    assert_true(s.mallocs >= s.frees);
    assert_true(s.arenas >= 1);
    assert_true(s.pools >= 1);
    ouro_free(small);
    ouro_free(huge);
    ouro_trim();
    ouro_alloc_stats after = get();
    assert_true(after.allocated + 100 * MIB <= s.allocated);
    assert_true(after.resident + 40 * MIB <= s.resident);
    assert_true(after.peak_allocated >= s.allocated);
}

/* An upper bound of what the kernel says, and not far above it. */
static void test_resident_is_near_the_kernels(void **state)
{
    (void)state;
    enum { COUNT = 60000 };
    static void *blocks[COUNT];
    if (!RESIDENT_IS_OURS)
        skip();
    size_t rss = resident_bytes();
    ouro_alloc_stats before = get();
    for (size_t i = 0; i < COUNT; i++) {
        blocks[i] = ouro_malloc(1000);
        memset(blocks[i], 1, 1000);
    }
    size_t grown = resident_bytes() - rss;
    ouro_alloc_stats during = get();
    assert_true(during.resident - before.resident + 4 * MIB >= grown);
    assert_true(during.resident - before.resident <= grown * 3 / 2 + 8 * MIB);
    for (size_t i = 0; i < COUNT; i++)
        ouro_free(blocks[i]);
}

static void test_heaps_are_counted(void **state)
{
    (void)state;
    ouro_heap *heap = ouro_heap_new();
    ouro_alloc_stats before = get();
    size_t usable = 0;
    for (size_t i = 0; i < 1000; i++)
        usable += ouro_usable_size(ouro_heap_malloc(heap, i * 10));
    ouro_alloc_stats during = get();
    assert_int_equal(during.allocated - before.allocated, usable);
    assert_int_equal(during.mallocs - before.mallocs, 1000);
    ouro_heap_destroy(heap);
    ouro_alloc_stats after = get();
    assert_true(after.allocated <= before.allocated);
    assert_true(after.mallocs - after.frees <= before.mallocs - before.frees);
}

/* Statistics are written while 16 threads do all that allocates. */

static bool busy;

static void *allocate_all_kinds(void *arg)
{
    unsigned seed = (unsigned)(uintptr_t)arg;
    void *kept[64] = { NULL };
    while (__atomic_load_n(&busy, __ATOMIC_RELAXED)) {
        ouro_heap *heap = ouro_heap_new();
        for (unsigned i = 0; i < 200; i++) {
            unsigned r = seed = seed * 1103515245u + 12345u, at = r >> 10 & 63;
            ouro_free(kept[at]);
            size_t size = i % 50 == 0 ? 40 * KIB + (r & 0xffff) : i % 97 == 0 ? 20 * MIB : r >> 16 & 0x7ff;
            kept[at] = ouro_malloc(size);
            (void)keep(ouro_heap_malloc(heap, i % 40 == 0 ? 100 * KIB : r >> 20));
        }
        ouro_heap_destroy(heap);
    }
    for (size_t i = 0; i < COUNT_OF(kept); i++)
        ouro_free(kept[i]);
    return NULL;
}

static void check_written(int (*write_all)(int fd), const char *end)
{
    static char text[256 * KIB];
    int fd = memfd_create("stats", MFD_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(write_all(fd), 0);
    ssize_t length = pread(fd, text, sizeof text, 0);
    assert_true(length > 4096 && (size_t)length < sizeof text);
    assert_int_equal(strncmp(text + length - strlen(end), end, strlen(end)), 0);
    close(fd);
}

static void test_written_while_threads_work(void **state)
{
    (void)state;
    pthread_t threads[16];
    __atomic_store_n(&busy, true, __ATOMIC_RELAXED);
    for (size_t i = 0; i < COUNT_OF(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, allocate_all_kinds, (void *)(i + 1)), 0);
    for (unsigned i = 0; i < 30; i++) {
        check_written(ouro_stats_write_json, "}\n");
        check_written(ouro_stats_write_prometheus, "\n# EOF\n");
        assert_true(get().allocated < 100 * GIB);
    }
    __atomic_store_n(&busy, false, __ATOMIC_RELAXED);
    for (size_t i = 0; i < COUNT_OF(threads); i++)
        pthread_join(threads[i], NULL);
}

static void test_writing_allocates_nothing(void **state)
{
    (void)state;
    check_written(ouro_stats_write_json, "}\n");
    ouro_alloc_stats before = get();
    check_written(ouro_stats_write_json, "}\n");
    check_written(ouro_stats_write_prometheus, "\n# EOF\n");
    ouro_alloc_stats after = get();
    assert_int_equal(after.mallocs, before.mallocs);
    assert_int_equal(after.committed, before.committed);
    assert_int_equal(after.reserved, before.reserved);
}

static void test_write_errors(void **state)
{
    (void)state;
    errno = 0;
    assert_int_equal(ouro_stats_write_json(-1), -1);
    assert_int_equal(errno, EBADF);
    int ends[2];
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    close(ends[0]);
    void (*old)(int) = signal(SIGPIPE, SIG_IGN);
    assert_int_equal(ouro_stats_write_prometheus(ends[1]), -1);
    assert_int_equal(errno, EPIPE);
    signal(SIGPIPE, old);
    close(ends[1]);
}

/* The library starts a thread of its own once memory is unused; where malloc is ours, that counts, too. Not meanwhile. */
static int start_background(void **state)
{
    (void)state;
    void *blocks[200];
    for (unsigned round = 0; round < 3; round++) {
        for (size_t i = 0; i < COUNT_OF(blocks); i++) {
            blocks[i] = ouro_malloc(300 * KIB);
            memset(blocks[i], 1, 300 * KIB);
        }
        for (size_t i = 0; i < COUNT_OF(blocks); i++)
            ouro_free(blocks[i]);
    }
    nanosleep(&(struct timespec){ 0, 50000000 }, NULL);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        API_TEST(test_exact_for_each_size),
        API_TEST(test_exact_for_many),
        API_TEST(test_exact_over_realloc),
        API_TEST(test_failures_count_nothing),
        API_TEST(test_exact_after_threads_have_gone),
        API_TEST(test_remote_frees_are_counted),
        API_TEST(test_threads_are_counted),
        API_TEST(test_sizes_are_ordered),
        API_TEST(test_resident_is_near_the_kernels),
        API_TEST(test_heaps_are_counted),
        API_TEST(test_writing_allocates_nothing),
        API_TEST(test_write_errors),
        API_TEST(test_written_while_threads_work),
    };
    return cmocka_run_group_tests(tests, start_background, NULL);
}
