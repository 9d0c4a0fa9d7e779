/* unit/arena/test_arena.c: runs, large and huge blocks, and what goes back. */
#define _GNU_SOURCE
#include "unit/unit.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "arena/internal.h"

static int sound(void **state)
{
    (void)state;
    return (int)ouroi_arena_check();
}

static struct ouroi_run *take(unsigned slices, unsigned align)
{
    struct ouroi_run *run = ouroi_run_alloc(0, slices, align, OUROI_RUN_POOL);
    assert_non_null(run);
    assert_int_equal(run->slices, slices);
    assert_int_equal(run->bytes, slices * OUROI_SLICE_BYTES);
    assert_int_equal(run->start % (align * OUROI_SLICE_BYTES), 0);
    ouroi_run_publish(run);
    return run;
}

static void test_runs_are_found_by_address(void **state)
{
    (void)state;
    for (unsigned slices = 1; slices <= OUROI_LARGE_MAX_SLICES;
         slices = slices * 2 + 1 > OUROI_LARGE_MAX_SLICES && slices < OUROI_LARGE_MAX_SLICES ? OUROI_LARGE_MAX_SLICES
                                                                                             : slices * 2 + 1) {
        struct ouroi_run *run = take(slices, 1);
        for (unsigned i = 0; i < slices; i++) {
            const char *at = (const char *)run->start + i * OUROI_SLICE_BYTES;
            assert_ptr_equal(ouroi_run_find(at), run);
            assert_ptr_equal(ouroi_run_find(at + OUROI_SLICE_BYTES - 1), run);
            assert_true(ouroi_arena_owns(at));
        }
        uintptr_t start = run->start;
        ouroi_run_free(run);
        assert_null(ouroi_run_find((void *)start));
        assert_false(ouroi_arena_owns((void *)start));
    }
}

static void test_runs_are_apart(void **state)
{
    (void)state;
    enum { COUNT = 600 };
    static struct ouroi_run *runs[COUNT];
    static unsigned marks[COUNT];
    uint64_t random = 5;
    for (unsigned step = 0; step < 6000; step++) {
        unsigned i = (unsigned)(ouroi_random_next(&random) % COUNT);
        if (runs[i] != NULL) {
            unsigned *first = (unsigned *)runs[i]->start;
            unsigned *last = (unsigned *)(runs[i]->start + runs[i]->bytes) - 1;
            assert_int_equal(*first, marks[i]);
            assert_int_equal(*last, marks[i]);
            ouroi_run_free(runs[i]);
            runs[i] = NULL;
            continue;
        }
        unsigned slices = 1 + (unsigned)(ouroi_random_next(&random) % (step % 10 == 0 ? 256 : 12));
        unsigned align = 1u << ouroi_random_next(&random) % 5;
        runs[i] = take(slices, align);
        marks[i] = step + 1;
        *(unsigned *)runs[i]->start = marks[i];
        ((unsigned *)(runs[i]->start + runs[i]->bytes))[-1] = marks[i];
    }
    assert_int_equal(ouroi_arena_check(), 0);
    for (unsigned i = 0; i < COUNT; i++) {
        if (runs[i] != NULL)
            ouroi_run_free(runs[i]);
    }
}

/* The descriptor is zero but for its head, whatever it was last. */
static void test_descriptors_are_fresh(void **state)
{
    (void)state;
    for (unsigned round = 0; round < 20; round++) {
        struct ouroi_run *runs[100];
        for (size_t i = 0; i < COUNT_OF(runs); i++) {
            runs[i] = take(1, 1);
            const char *bytes = (const char *)runs[i];
            for (size_t k = sizeof *runs[i]; k < OUROI_DESCRIPTOR_BYTES; k++)
                assert_int_equal(bytes[k], 0);
            memset((char *)runs[i] + sizeof *runs[i], 0xff, OUROI_DESCRIPTOR_BYTES - sizeof *runs[i]);
        }
        for (size_t i = 0; i < COUNT_OF(runs); i++)
            ouroi_run_free(runs[i]);
    }
}

static void test_descriptors_of_blocks_are_fresh(void **state)
{
    (void)state;
    static const size_t sizes[] = { 100 * KIB, 5 * MIB, 40 * MIB };
    for (unsigned round = 0; round < 20; round++) {
        void *blocks[COUNT_OF(sizes)];
        struct ouroi_run *run = take(3, 1);
        memset((char *)run + sizeof *run, 0xff, OUROI_DESCRIPTOR_BYTES - sizeof *run);
        ouroi_run_free(run);
        for (size_t i = 0; i < COUNT_OF(sizes); i++) {
            blocks[i] = ouroi_large_alloc(sizes[i], 16, false);
            assert_non_null(blocks[i]);
            run = ouroi_run_find(blocks[i]);
            assert_null(ouroi_run_member(run)->heap);
            assert_null(ouroi_run_member(run)->next);
            assert_null(ouroi_run_member(run)->previous);
            *ouroi_run_member(run) = (struct ouroi_run_member){ run, run, run };
        }
        for (size_t i = 0; i < COUNT_OF(sizes); i++)
            ouroi_large_free(ouroi_run_find(blocks[i]));
    }
}

static const size_t large_sizes[] = { 33 * KIB, 64 * KIB, 65 * KIB,     100 * KIB, 1 * MIB,  1 * MIB + 1, 5 * MIB,
                                      15 * MIB, 16 * MIB, 16 * MIB + 1, 20 * MIB,  64 * MIB, 65 * MIB,    200 * MIB };

static void test_large_blocks(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(large_sizes); i++) {
        for (size_t alignment = 16; alignment <= 128 * MIB; alignment *= 32) {
            char *p = ouroi_large_alloc(large_sizes[i], alignment, true);
            assert_non_null(p);
            assert_int_equal((uintptr_t)p % alignment, 0);
            struct ouroi_run *run = ouroi_run_find(p);
            assert_non_null(run);
            assert_true(run->bytes >= large_sizes[i]);
            if (alignment <= OUROI_SLICE_BYTES)
                assert_true(run->bytes >= ouroi_large_good_size(large_sizes[i]));
            assert_int_equal(p[0] | p[large_sizes[i] / 2] | p[large_sizes[i] - 1], 0);
            p[0] = p[run->bytes - 1] = 1;
            assert_true(ouroi_arena_owns(p + large_sizes[i] / 2));
            ouroi_large_free(run);
        }
    }
}

static void test_zero_means_zero_on_used_memory(void **state)
{
    (void)state;
    for (unsigned round = 0; round < 30; round++) {
        size_t size = (1 + round % 9) * 300 * KIB;
        char *p = ouroi_large_alloc(size, 16, true);
        assert_non_null(p);
        assert_int_equal(p[0], 0);
        assert_int_equal(memcmp(p, p + 1, size - 1), 0);
        memset(p, 0xff, size);
        ouroi_large_free(ouroi_run_find(p));
    }
}

static void test_resize_of_large_blocks(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(large_sizes); i++) {
        for (size_t k = 0; k < COUNT_OF(large_sizes); k++) {
            size_t from = large_sizes[i], to = large_sizes[k], both = from < to ? from : to;
            char *p = ouroi_large_alloc(from, 16, false);
            assert_non_null(p);
            memset(p, 1, 1000);
            memset(p + both - 1000, 2, 1000);
            char *q = ouroi_large_resize(ouroi_run_find(p), to);
            if (q == NULL) { /* not possible: nothing has changed */
                assert_true(ouroi_run_find(p)->bytes >= from);
                q = p;
            } else {
                assert_true(ouroi_run_find(q)->bytes >= to);
                q[to - 1] = 3;
            }
            assert_int_equal(q[0], 1);
            assert_int_equal(q[both - 1000], 2);
            ouroi_large_free(ouroi_run_find(q));
        }
    }
}

static size_t resident_pages(char *at, size_t bytes)
{
    static unsigned char vector[65536];
    size_t pages = bytes / 4096, sum = 0;
    if (mincore(at, bytes, vector) != 0)
        return 0; /* unmapped */
    for (size_t i = 0; i < pages; i++)
        sum += vector[i] & 1;
    return sum;
}

static void test_shrinking_gives_slices_back(void **state)
{
    (void)state;
    char *p = ouroi_large_alloc(10 * MIB, 16, false);
    memset(p, 1, 10 * MIB);
    char *q = ouroi_large_resize(ouroi_run_find(p), 1 * MIB);
    assert_ptr_equal(q, p);
    assert_true(ouroi_run_find(p)->bytes < 2 * MIB);
    assert_null(ouroi_run_find(p + 9 * MIB));
    ouroi_arena_purge(true);
    assert_int_equal(resident_pages(p, 1 * MIB), 256);
    assert_int_equal(resident_pages(p + 2 * MIB, 8 * MIB), 0);
    ouroi_large_free(ouroi_run_find(p));
}

/* What a block drops as it shrinks has no pages any more, and is zero for the next one. */
static void test_shrinking_gives_pages_back(void **state)
{
    (void)state;
    struct ouroi_arena_counts before, after;
    char *p = ouroi_large_alloc(8 * MIB, 16, false);
    assert_non_null(p);
    memset(p, 1, 8 * MIB);
    ouroi_arena_purge(true);
    ouroi_arena_count(&before, -1);
    assert_ptr_equal(ouroi_large_resize(ouroi_run_find(p), 100000), p);
    ouroi_arena_count(&after, -1);
    assert_true(after.resident_bytes + 7 * MIB < before.resident_bytes);
    for (size_t i = 0; i < 100000; i++)
        assert_int_equal(p[i], 1);
    char *q = ouroi_large_alloc(4 * MIB, 16, true);
    assert_non_null(q);
    assert_int_equal(q[0], 0);
    assert_int_equal(memcmp(q, q + 1, 4 * MIB - 1), 0);
    ouroi_large_free(ouroi_run_find(p));
    ouroi_large_free(ouroi_run_find(q));
}

static void test_purge_of_all_gives_back(void **state)
{
    (void)state;
    struct ouroi_run *runs[50], *kept = NULL;
    for (size_t i = 0; i < COUNT_OF(runs); i++) {
        runs[i] = take(16, 1);
        memset((void *)runs[i]->start, 1, runs[i]->bytes);
        if (i == 20)
            kept = runs[i];
    }
    char *start = (char *)runs[10]->start;
    size_t bytes = runs[10]->bytes;
    for (size_t i = 0; i < COUNT_OF(runs); i++) {
        if (runs[i] != kept)
            ouroi_run_free(runs[i]);
    }
    assert_int_equal(resident_pages(start, bytes), bytes / 4096);
    assert_true(ouroi_arena_purge(true) >= 49 * bytes);
    assert_int_equal(resident_pages(start, bytes), 0);
    assert_int_equal(*(char *)kept->start, 1);
    assert_int_equal(ouroi_arena_purge(true), 0);
    struct ouroi_arena_counts counts;
    ouroi_arena_count(&counts, -1);
    assert_true(counts.resident_bytes <= counts.committed_bytes);
    ouroi_run_free(kept);
}

/* What was freed since the last beat stays for another. */
static void test_purge_by_age(void **state)
{
    (void)state;
    ouroi_arena_purge(true);
    struct ouroi_run *run = take(32, 1);
    char *start = (char *)run->start;
    size_t bytes = run->bytes;
    memset(start, 1, bytes);
    ouroi_run_free(run);
    ouroi_arena_purge(false);
    assert_int_equal(resident_pages(start, bytes), bytes / 4096);
    ouroi_arena_purge(false);
    assert_int_equal(resident_pages(start, bytes), 0);
}

static void test_purged_memory_is_usable_and_zero(void **state)
{
    (void)state;
    for (unsigned round = 0; round < 20; round++) {
        struct ouroi_run *run = take(64, 1);
        if (run->zero) {
            const char *at = (const char *)run->start;
            assert_int_equal(at[0], 0);
            assert_int_equal(memcmp(at, at + 1, run->bytes - 1), 0);
        }
        memset((void *)run->start, 0xcc, run->bytes);
        ouroi_run_free(run);
        if (round % 2 == 0)
            ouroi_arena_purge(true);
    }
}

/* The kernel refuses (locked memory): what is there is not taken for zero. */
static int refuse_purge(void *at, size_t bytes)
{
    (void)at;
    (void)bytes;
    return -EINVAL;
}

static void test_refused_purge(void **state)
{
    (void)state;
    struct ouroi_os real = ouroi_os;
    ouroi_os.purge = refuse_purge;
    for (unsigned round = 0; round < 10; round++) {
        char *p = ouroi_large_alloc(3 * MIB, 16, true);
        assert_int_equal(p[0], 0);
        assert_int_equal(memcmp(p, p + 1, 3 * MIB - 1), 0);
        memset(p, 0xee, 3 * MIB);
        ouroi_large_free(ouroi_run_find(p));
        ouroi_arena_purge(true);
    }
    ouroi_os = real;
}

static unsigned asked;
static bool locked;

static int purge_if_unlocked(void *at, size_t bytes)
{
    asked++;
    return locked ? -EINVAL : madvise(at, bytes, MADV_DONTNEED);
}

/* Memory that the kernel keeps is not asked for at each beat, but again after a while. */
static void test_locked_memory_is_tried_again(void **state)
{
    (void)state;
    struct ouroi_os real = ouroi_os;
    struct ouroi_run *anchor = take(1, 1);
    ouroi_arena_purge(true);
    ouroi_os.purge = purge_if_unlocked;
    for (unsigned round = 0; round < 2; round++) {
        char *p = ouroi_large_alloc(3 * MIB, 16, false);
        assert_non_null(p);
        memset(p, 1, 3 * MIB);
        ouroi_large_free(ouroi_run_find(p));
        locked = true;
        ouroi_arena_purge(false);
        ouroi_arena_purge(false);
        assert_in_range(asked, 1, 4);
        asked = 0;
        for (unsigned beat = 0; beat < 30; beat++)
            assert_int_equal(ouroi_arena_purge(false), 0);
        assert_in_range(asked, 0, 1);
        locked = false;
        size_t given = 0;
        for (unsigned beat = 0; beat < (round == 0 ? 128 : 1); beat++)
            given += ouroi_arena_purge(round == 1);
        assert_true(given >= 3 * MIB);
        asked = 0;
    }
    ouroi_os = real;
    ouroi_run_free(anchor);
}

static size_t counted_runs;

static void count_it(struct ouroi_run *run, void *arg)
{
    (void)arg;
    counted_runs += run->kind != OUROI_RUN_FREE;
}

static void test_each_run(void **state)
{
    (void)state;
    counted_runs = 0;
    ouroi_arena_each_run(count_it, NULL);
    size_t before = counted_runs;
    struct ouroi_run *runs[30];
    for (size_t i = 0; i < 30; i++)
        runs[i] = take(1 + (unsigned)i, 1);
    void *large = ouroi_large_alloc(1 * MIB, 16, false), *huge = ouroi_large_alloc(100 * MIB, 16, false);
    counted_runs = 0;
    ouroi_arena_each_run(count_it, NULL);
    assert_int_equal(counted_runs, before + 32);
    for (size_t i = 0; i < 30; i++)
        ouroi_run_free(runs[i]);
    ouroi_large_free(ouroi_run_find(large));
    ouroi_large_free(ouroi_run_find(huge));
    counted_runs = 0;
    ouroi_arena_each_run(count_it, NULL);
    assert_int_equal(counted_runs, before);
}

static unsigned looks, looks_locked;

static void look_at_space_lock(void)
{
    looks++;
    if (ouroi_lock_try(&ouroi_space_lock))
        ouroi_lock_release(&ouroi_space_lock);
    else
        looks_locked++;
}

static int unmap_looking(void *at, size_t bytes)
{
    look_at_space_lock();
    return munmap(at, bytes);
}

static int move_looking(void *from, size_t bytes, void *to, size_t to_bytes)
{
    look_at_space_lock();
    return mremap(from, bytes, to_bytes, MREMAP_MAYMOVE | MREMAP_FIXED, to) == MAP_FAILED ? -ENOMEM : 0;
}

/* What the kernel takes long over keeps nobody else from address space. */
static void test_huge_pages_go_without_the_space_lock(void **state)
{
    (void)state;
    struct ouroi_os real = ouroi_os;
    char *p = ouroi_large_alloc(100 * MIB, 16, false), *small = ouroi_large_alloc(2 * MIB, 16, false);
    assert_non_null(p);
    assert_non_null(small);
    bool kept = ouroi_space_is_kept((uintptr_t)p) && ouroi_space_is_kept((uintptr_t)small);
    ouroi_os.unmap = unmap_looking;
    ouroi_os.move = move_looking;
    memset(small, 7, 2 * MIB);
    p = ouroi_large_resize(ouroi_run_find(p), 20 * MIB);
    small = ouroi_large_resize(ouroi_run_find(small), 40 * MIB);
    assert_non_null(p);
    assert_non_null(small);
    assert_int_equal(small[2 * MIB - 1], 7);
    ouroi_large_free(ouroi_run_find(p));
    ouroi_large_free(ouroi_run_find(small));
    ouroi_os = real;
    if (kept) {
        assert_true(looks >= 4);
        assert_int_equal(looks_locked, 0);
    }
}

static size_t advised;

static int note_advice(void *at, size_t bytes, bool on)
{
    (void)at;
    (void)on;
    advised += bytes;
    return 0;
}

/* Memory that takes the place of moved pages is new to the kernel. */
static void test_what_moved_pages_leave_is_advised(void **state)
{
    (void)state;
    struct ouroi_os real = ouroi_os;
    char *p = ouroi_large_alloc(3 * MIB, 16, false);
    assert_non_null(p);
    ouroi_os.advise_huge = note_advice;
    ouroi_options.thp = OUROI_THP_NEVER;
    advised = 0;
    p = ouroi_large_resize(ouroi_run_find(p), 40 * MIB);
    assert_non_null(p);
    assert_int_equal(advised, 43 * MIB);
    ouroi_options.thp = OUROI_THP_AUTO;
    ouroi_large_free(ouroi_run_find(p));
    ouroi_os = real;
}

static void test_foreign_addresses(void **state)
{
    (void)state;
    int local;
    uint64_t random = 7;
    assert_null(ouroi_run_find(NULL));
    assert_null(ouroi_run_find(&local));
    assert_false(ouroi_arena_owns(&local));
    for (unsigned i = 0; i < 1000000; i++) {
        uint64_t x = ouroi_random_next(&random);
        struct ouroi_run *run = ouroi_run_find((void *)(uintptr_t)(x >> i % 64));
        assert_true(run == NULL || run->kind != OUROI_RUN_FREE);
    }
}

static void test_meta_is_zero_and_aligned(void **state)
{
    (void)state;
    for (size_t bytes = 8; bytes < 300 * KIB; bytes = bytes * 3 + 1) {
        char *p = ouroi_meta_alloc(bytes);
        assert_non_null(p);
        assert_int_equal((uintptr_t)p % OUROI_CACHE_LINE, 0);
        for (size_t i = 0; i < bytes; i++)
            assert_int_equal(p[i], 0);
        memset(p, 1, bytes);
    }
}

int main(void)
{
    ouroi_os_init();
    if (ouroi_arena_init() != 0)
        return 1;
#define ARENA_TEST(test) cmocka_unit_test_teardown(test, sound)
    const struct CMUnitTest tests[] = {
        ARENA_TEST(test_runs_are_found_by_address),
        ARENA_TEST(test_runs_are_apart),
        ARENA_TEST(test_descriptors_are_fresh),
        ARENA_TEST(test_descriptors_of_blocks_are_fresh),
        ARENA_TEST(test_large_blocks),
        ARENA_TEST(test_zero_means_zero_on_used_memory),
        ARENA_TEST(test_resize_of_large_blocks),
        ARENA_TEST(test_shrinking_gives_slices_back),
        ARENA_TEST(test_shrinking_gives_pages_back),
        ARENA_TEST(test_purge_of_all_gives_back),
        ARENA_TEST(test_purge_by_age),
        ARENA_TEST(test_purged_memory_is_usable_and_zero),
        ARENA_TEST(test_refused_purge),
        ARENA_TEST(test_locked_memory_is_tried_again),
        ARENA_TEST(test_each_run),
        ARENA_TEST(test_huge_pages_go_without_the_space_lock),
        ARENA_TEST(test_what_moved_pages_leave_is_advised),
        ARENA_TEST(test_foreign_addresses),
        ARENA_TEST(test_meta_is_zero_and_aligned),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
