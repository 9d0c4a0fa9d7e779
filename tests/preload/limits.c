/* preload/limits.c: memory runs out, and comes back: RLIMIT_AS, RLIMIT_DATA, locked memory. */
#define _GNU_SOURCE
#include "check.h"

#include <errno.h>
#include <linux/capability.h>
#include <malloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tables.h"

/* Blocks linked through their first word: no table is needed. */
struct link {
    struct link *next;
    size_t size;
};

/* Takes blocks until there are no more; the bytes taken. Checks how the end came. */
static size_t take_all(struct link **list, size_t block)
{
    size_t taken = 0;
    for (;;) {
        errno = 0;
        struct link *l = malloc(opaque(block));
        if (l == NULL) {
            EXPECT_CMP(errno, ==, ENOMEM);
            return taken;
        }
        touch(l, block);
        l->next = *list;
        l->size = block;
        *list = l;
        taken += block;
        EXPECT_CMP(taken, <=, 8 * GIB);
    }
}

static void give_all(struct link **list)
{
    while (*list != NULL) {
        struct link *l = *list;
        *list = l->next;
        errno = ERRNO_MARK;
        free(l);
        EXPECT_CMP(errno, ==, ERRNO_MARK);
    }
}

/* Exhausts memory with blocks of each size in turn, three times: each time nearly as much is to be had as first. */
static void exhaust_and_recover(size_t block, size_t at_least)
{
    struct link *list = NULL;
    size_t first = take_all(&list, block);
    EXPECT_CMP(first, >=, at_least);
    give_all(&list);
    for (unsigned round = 0; round < 2; round++) {
        size_t again = take_all(&list, block);
        EXPECT_CMP(again, >=, first / 10 * 9);
        give_all(&list);
    }
    exercise(1);
}

static void check_as_64_small(void)
{
    exhaust_and_recover(64, 24 * MIB);
}
static void check_as_64_pages(void)
{
    exhaust_and_recover(4000, 24 * MIB);
}
static void check_as_64_medium(void)
{
    exhaust_and_recover(30000, 24 * MIB);
}
static void check_as_64_large(void)
{
    exhaust_and_recover(1 * MIB, 24 * MIB);
}
static void check_as_512_small(void)
{
    exhaust_and_recover(100, 300 * MIB);
}
static void check_as_512_pages(void)
{
    exhaust_and_recover(4000, 350 * MIB);
}
static void check_as_512_large(void)
{
    exhaust_and_recover(1 * MIB, 350 * MIB);
}
static void check_data_64_small(void)
{
    exhaust_and_recover(100, 24 * MIB);
}
static void check_data_64_large(void)
{
    exhaust_and_recover(1 * MIB, 24 * MIB);
}
static void check_data_512_small(void)
{
    exhaust_and_recover(1000, 300 * MIB);
}

static void check_as_512_one_block(void)
{
    for (unsigned round = 0; round < 5; round++) {
        char *p = malloc(300 * MIB);
        EXPECT(p != NULL);
        touch(p, 300 * MIB);
        EXPECT(malloc(opaque(300 * MIB)) == NULL);
        free(p);
    }
}

/* What was small blocks becomes one large, and back. */
static void check_as_512_small_then_large(void)
{
    struct link *list = NULL;
    for (unsigned round = 0; round < 3; round++) {
        EXPECT_CMP(take_all(&list, 500), >=, 250 * MIB);
        give_all(&list);
        char *p = malloc(200 * MIB);
        EXPECT(p != NULL);
        touch(p, 200 * MIB);
        free(p);
    }
}

static void *exhaust_in_thread(void *arg)
{
    struct link *list = NULL;
    for (unsigned round = 0; round < 2; round++) {
        take_all(&list, (size_t)(uintptr_t)arg);
        give_all(&list);
    }
    return NULL;
}

static void check_as_512_threads_run_out_together(void)
{
    unsigned long threads[8];
    for (size_t i = 0; i < COUNT_OF(threads); i++) {
        threads[i] = thread_start(exhaust_in_thread, (void *)(1000 * (i * i * i + 1)), 64 * KIB);
    }
    for (size_t i = 0; i < COUNT_OF(threads); i++)
        thread_join(threads[i]);
    exercise(1);
    void *p = malloc(200 * MIB);
    EXPECT(p != NULL);
    free(p);
}

static void check_as_64_threads(void)
{
    unsigned long threads[4];
    for (unsigned round = 0; round < 4; round++) {
        for (size_t i = 0; i < COUNT_OF(threads); i++) {
            threads[i] = thread_start(exhaust_in_thread, (void *)(1000 * (i + 1)), 64 * KIB);
        }
        for (size_t i = 0; i < COUNT_OF(threads); i++)
            thread_join(threads[i]);
    }
    exercise(1);
}

static pthread_barrier_t exhausted;

static void *first_calls_without_memory(void *arg)
{
    pthread_barrier_wait(&exhausted);
    errno = ERRNO_MARK;
    free(arg); /* the thread has no state of its own yet, and there is no memory for it */
    EXPECT_CMP(errno, ==, ERRNO_MARK);
    void *p = malloc(100);
    EXPECT(p != NULL || errno == ENOMEM);
    free(p);
    p = malloc(200 * KIB);
    EXPECT(p != NULL || errno == ENOMEM);
    free(p);
    pthread_barrier_wait(&exhausted);
    pthread_barrier_wait(&exhausted);
    exercise_small(1);
    return NULL;
}

static void check_first_calls_of_thread_without_memory(void)
{
    unsigned long threads[8];
    pthread_barrier_init(&exhausted, NULL, (unsigned)COUNT_OF(threads) + 1);
    for (size_t i = 0; i < COUNT_OF(threads); i++) {
        threads[i] = thread_start(first_calls_without_memory, malloc(500), 64 * KIB);
    }
    struct link *list = NULL, *rest = NULL;
    take_all(&list, 100 * KIB);
    take_all(&rest, 100);
    pthread_barrier_wait(&exhausted);
    pthread_barrier_wait(&exhausted);
    give_all(&rest);
    give_all(&list);
    pthread_barrier_wait(&exhausted);
    for (size_t i = 0; i < COUNT_OF(threads); i++)
        thread_join(threads[i]);
}

/* Every entry point says so when there is nothing left; blocks that live are untouched. */
static void check_every_entry_point_without_memory(void)
{
    struct link *list = NULL;
    void *out = &out;
    char *p = malloc(1000), *q = malloc(3 * MIB);
    EXPECT(p != NULL && q != NULL);
    fill(p, 1000, 1);
    fill(q, 3 * MIB, 2);
    take_all(&list, 1 * MIB);
    errno = 0;
    EXPECT(malloc(opaque(20 * MIB)) == NULL && errno == ENOMEM);
    errno = 0;
    EXPECT(calloc(opaque(20), 1 * MIB) == NULL && errno == ENOMEM);
    errno = 0;
    EXPECT(realloc(keep(p), opaque(20 * MIB)) == NULL && errno == ENOMEM);
    errno = 0;
    EXPECT(realloc(keep(q), opaque(40 * MIB)) == NULL && errno == ENOMEM);
    errno = 0;
    EXPECT(reallocarray(keep(q), opaque(40), 1 * MIB) == NULL && errno == ENOMEM);
    errno = 0;
    EXPECT(memalign(4096, opaque(20 * MIB)) == NULL && errno == ENOMEM);
    errno = 0;
    void *aligned = memalign(64 * MIB, opaque(100)); /* may happen to be there */
    EXPECT(aligned != NULL ? is_aligned(aligned, 64 * MIB) : errno == ENOMEM);
    free(aligned);
    errno = 0;
    EXPECT(aligned_alloc(64, opaque(20 * MIB)) == NULL && errno == ENOMEM);
    errno = 0;
    EXPECT(valloc(opaque(20 * MIB)) == NULL && errno == ENOMEM);
    errno = 0;
    EXPECT(pvalloc(opaque(20 * MIB)) == NULL && errno == ENOMEM);
    errno = ERRNO_MARK;
    EXPECT(posix_memalign(&out, 64, opaque(20 * MIB)) == ENOMEM && out == &out && errno == ERRNO_MARK);
    EXPECT(verify(p, 1000, 1) && verify(q, 3 * MIB, 2));
    q = realloc(q, 1 * MIB); /* to shrink needs no memory */
    EXPECT(q != NULL && verify(q, 1 * MIB, 2));
    free(p);
    free(q);
    give_all(&list);
    exercise(1);
}

static void check_as_lowered_while_running(void)
{
    struct link *list = NULL;
    exercise(1);
    for (unsigned round = 0; round < 3; round++) {
        limit_to(RLIMIT_AS, vm_bytes() + 64 * MIB);
        take_all(&list, round == 0 ? 100 : round == 1 ? 5000 : 300 * KIB);
        limit_lift(RLIMIT_AS);
        void *p = malloc(500 * MIB);
        EXPECT(p != NULL);
        free(p);
        exercise(round);
        give_all(&list);
    }
}

/* Below what is in use already: nothing new can be had, but nothing breaks. */
static void check_as_lowered_below_use(void)
{
    struct link *list = NULL;
    void *blocks[500];
    for (size_t i = 0; i < COUNT_OF(blocks); i++) {
        blocks[i] = malloc(i * 100);
        EXPECT(blocks[i] != NULL);
        fill(blocks[i], i * 100, i);
    }
    limit_to(RLIMIT_AS, 1 * MIB);
    take_all(&list, 2000);
    EXPECT(malloc(opaque(100 * MIB)) == NULL && errno == ENOMEM);
    for (size_t i = 0; i < COUNT_OF(blocks); i++)
        EXPECT(verify(blocks[i], i * 100, i));
    give_all(&list);
    for (size_t i = 0; i < COUNT_OF(blocks); i++)
        free(blocks[i]);
    malloc_trim(0);
    take_all(&list, 300);
    give_all(&list);
    limit_lift(RLIMIT_AS);
    for (unsigned i = 0; i < 20; i++)
        exercise(i);
    void *p = malloc(500 * MIB);
    EXPECT(p != NULL);
    free(p);
}

static void check_data_lowered_while_running(void)
{
    struct link *list = NULL;
    exercise(1);
    for (unsigned round = 0; round < 3; round++) {
        limit_to(RLIMIT_DATA, status_number("VmData") * KIB + 64 * MIB);
        take_all(&list, round == 0 ? 100 : round == 1 ? 5000 : 300 * KIB);
        limit_lift(RLIMIT_DATA);
        void *p = malloc(500 * MIB);
        EXPECT(p != NULL);
        free(p);
        exercise(round);
        give_all(&list);
    }
}

/* Out of memory by turns, a thousand times, at unforeseen places: nothing stays locked or lost. */
static void check_as_moves_all_the_time(void)
{
    uint64_t state = 41;
    void *blocks[400] = { NULL };
    size_t nulls = 0;
    for (unsigned i = 0; i < 1000; i++) {
        limit_to(RLIMIT_AS, vm_bytes() + next_random(&state) % (2 * MIB));
        for (unsigned k = 0; k < 30; k++) {
            size_t at = next_random(&state) % COUNT_OF(blocks), size = random_size(&state, 1 * MIB) * 4;
            if (next_random(&state) % 3 == 0) {
                void *p = realloc(blocks[at], size + 1);
                if (p != NULL)
                    blocks[at] = p;
                nulls += p == NULL;
                continue;
            }
            free(blocks[at]);
            blocks[at] = malloc(size);
            EXPECT(blocks[at] != NULL || errno == ENOMEM);
            nulls += blocks[at] == NULL;
            if (blocks[at] != NULL)
                touch(blocks[at], size);
        }
        limit_lift(RLIMIT_AS);
        if (i % 50 == 0)
            exercise(i);
    }
    for (size_t i = 0; i < COUNT_OF(blocks); i++)
        free(blocks[i]);
    EXPECT_CMP(nulls, >, 0);
    exercise(1);
}

/* Locked memory */

static void lock_future(void)
{
    if (mlockall(MCL_CURRENT | MCL_FUTURE) != 0)
        check_skip("mlockall is not allowed here");
}

static void check_mlockall(void)
{
    exercise(1);
    lock_future();
    errno = ERRNO_MARK;
    for (unsigned i = 0; i < 30; i++)
        exercise(i);
    void *blocks[2000];
    for (unsigned round = 0; round < 3; round++) {
        for (size_t i = 0; i < COUNT_OF(blocks); i++) {
            blocks[i] = malloc(i * 10);
            EXPECT(blocks[i] != NULL);
            memset(blocks[i], 0xff, i * 10);
        }
        for (size_t i = 0; i < COUNT_OF(blocks); i++)
            free(blocks[i]);
    }
    EXPECT_CMP(errno, ==, ERRNO_MARK);
}

static void check_mlockall_before_first_malloc(void)
{
    lock_future();
    for (unsigned i = 0; i < 10; i++)
        exercise(i);
    EXPECT_CMP(rss_bytes(), <=, 200 * MIB);
}

/* Every mapping is populated: nothing large may be reserved ahead. */
static void check_mlockall_costs_little(void)
{
    exercise(1);
    lock_future();
    size_t before = rss_bytes();
    void *blocks[100];
    for (size_t i = 0; i < COUNT_OF(blocks); i++) {
        blocks[i] = malloc(10000);
        EXPECT(blocks[i] != NULL);
    }
    EXPECT_CMP(rss_bytes(), <=, before + 80 * MIB);
    for (size_t i = 0; i < COUNT_OF(blocks); i++)
        free(blocks[i]);
    void *p = malloc(30 * MIB);
    EXPECT(p != NULL);
    EXPECT_CMP(rss_bytes(), <=, before + 160 * MIB);
    free(p);
}

/* madvise(MADV_DONTNEED) does nothing to locked pages: memory given back is not zero then. */
static void check_mlockall_calloc_is_zero(void)
{
    lock_future();
    for (unsigned round = 0; round < 6; round++) {
        for (size_t size = 100; size < 20 * MIB; size *= 5) {
            void *p = malloc(size);
            EXPECT(p != NULL);
            memset(p, 0xab, size);
            free(p);
            malloc_trim(0);
            p = calloc(1, size);
            EXPECT(p != NULL && is_zero(p, size));
            memset(p, 0xcd, size);
            p = realloc(p, size / 2 + 1);
            void *q = calloc(1, size / 2);
            EXPECT(q != NULL && is_zero(q, size / 2));
            free(p);
            free(q);
        }
    }
}

static void *use_locked(void *arg)
{
    for (unsigned i = 0; i < 5; i++)
        exercise((uintptr_t)arg + i);
    return NULL;
}

static void check_mlockall_threads(void)
{
    lock_future();
    for (unsigned i = 0; i < 20; i++)
        thread_join(thread_start(use_locked, (void *)(uintptr_t)i, 64 * KIB));
    EXPECT_CMP(rss_bytes(), <=, 400 * MIB);
}

static void drop_lock_capability(void)
{
    struct __user_cap_header_struct header = { _LINUX_CAPABILITY_VERSION_3, 0 };
    struct __user_cap_data_struct data[2];
    if (syscall(SYS_capget, &header, data) != 0)
        check_skip("capabilities cannot be read here");
    data[0].effective &= ~(1u << CAP_IPC_LOCK);
    if (syscall(SYS_capset, &header, data) != 0)
        check_skip("capabilities cannot be dropped here");
}

/* The kernel says EAGAIN where the lock limit is passed; malloc says ENOMEM. */
static void check_mlockall_with_limit(void)
{
    struct link *list = NULL;
    exercise(1);
    struct rlimit limit;
    EXPECT(getrlimit(RLIMIT_MEMLOCK, &limit) == 0);
    if (limit.rlim_max > 64 * MIB)
        limit.rlim_max = 64 * MIB;
    limit.rlim_cur = limit.rlim_max;
    EXPECT(setrlimit(RLIMIT_MEMLOCK, &limit) == 0);
    limit_to(RLIMIT_AS, vm_bytes() + 256 * MIB); /* what was mapped before is not locked, and may be plenty */
    drop_lock_capability();
    if (mlockall(MCL_FUTURE) != 0)
        check_skip("mlockall is not allowed here");
    take_all(&list, 1 * MIB);
    give_all(&list);
    take_all(&list, 3000);
    give_all(&list);
    take_all(&list, 100);
    give_all(&list);
    EXPECT(munlockall() == 0);
    limit_lift(RLIMIT_AS);
    exercise(2);
}

const struct check checks_limits[] = {
    { "as_64_mib_small", check_as_64_small, NULL, "as=64M" },
    { "as_64_mib_pages", check_as_64_pages, NULL, "as=64M" },
    { "as_64_mib_medium", check_as_64_medium, NULL, "as=64M" },
    { "as_64_mib_large", check_as_64_large, NULL, "as=64M" },
    { "as_64_mib_threads", check_as_64_threads, NULL, "as=64M" },
    { "as_64_mib_every_entry_point", check_every_entry_point_without_memory, NULL, "as=64M" },
    { "as_64_mib_first_calls_of_thread", check_first_calls_of_thread_without_memory, NULL, "as=64M" },
    { "as_512_mib_small", check_as_512_small, NULL, "as=512M" },
    { "as_512_mib_pages", check_as_512_pages, NULL, "as=512M" },
    { "as_512_mib_large", check_as_512_large, NULL, "as=512M" },
    { "as_512_mib_one_block", check_as_512_one_block, NULL, "as=512M" },
    { "as_512_mib_small_then_large", check_as_512_small_then_large, NULL, "as=512M" },
    { "as_512_mib_threads_run_out_together", check_as_512_threads_run_out_together, NULL, "as=512M" },
    { "as_512_mib_first_calls_of_thread", check_first_calls_of_thread_without_memory, NULL, "as=512M" },
    { "data_64_mib_small", check_data_64_small, NULL, "data=64M" },
    { "data_64_mib_large", check_data_64_large, NULL, "data=64M" },
    { "data_64_mib_every_entry_point", check_every_entry_point_without_memory, NULL, "data=64M" },
    { "data_64_mib_first_calls_of_thread", check_first_calls_of_thread_without_memory, NULL, "data=64M" },
    { "data_512_mib_small", check_data_512_small, NULL, "data=512M" },
    { "as_lowered_while_running", check_as_lowered_while_running, NULL, "" },
    { "as_lowered_below_use", check_as_lowered_below_use, NULL, "" },
    { "data_lowered_while_running", check_data_lowered_while_running, NULL, "" },
    { "as_moves_all_the_time", check_as_moves_all_the_time, NULL, "" },
    { "mlockall", check_mlockall, NULL, "" },
    { "mlockall_before_first_malloc", check_mlockall_before_first_malloc, NULL, "" },
    { "mlockall_costs_little", check_mlockall_costs_little, NULL, "" },
    { "mlockall_calloc_is_zero", check_mlockall_calloc_is_zero, NULL, "" },
    { "mlockall_threads", check_mlockall_threads, NULL, "" },
    { "mlockall_with_limit", check_mlockall_with_limit, NULL, "" },
    { NULL, NULL, NULL, NULL },
};
