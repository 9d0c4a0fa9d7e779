/* api/test_alloc.c: the functions of ouro/alloc.h that need no heap of their own. */
#define _GNU_SOURCE
#include "tests.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static const size_t impossible[] = { SIZE_MAX,
                                     SIZE_MAX - 15,
                                     SIZE_MAX - 4095,
                                     SIZE_MAX - 2 * MIB + 1,
                                     (size_t)PTRDIFF_MAX + 1,
                                     (size_t)PTRDIFF_MAX,
                                     (size_t)1 << 56,
                                     (size_t)1 << 47 };

static void test_malloc_of_each_size(void **state)
{
    (void)state;
    void *blocks[64];
    assert_true(test_size_count <= COUNT_OF(blocks));
    errno = ERRNO_MARK;
    for (size_t i = 0; i < test_size_count; i++) {
        blocks[i] = ouro_malloc(test_sizes[i]);
        assert_non_null(blocks[i]);
        assert_int_equal((uintptr_t)blocks[i] % 16, 0);
        assert_true(ouro_usable_size(blocks[i]) >= test_sizes[i]);
        pattern_write(blocks[i], test_sizes[i], (unsigned)i);
    }
    for (size_t i = 0; i < test_size_count; i++) {
        assert_true(pattern_holds(blocks[i], test_sizes[i], (unsigned)i));
        ouro_free(blocks[i]);
    }
    assert_int_equal(errno, ERRNO_MARK);
}

static void test_malloc_zero_is_unique(void **state)
{
    (void)state;
    void *blocks[500];
    for (size_t i = 0; i < COUNT_OF(blocks); i++) {
        blocks[i] = ouro_malloc(opaque(0));
        assert_non_null(blocks[i]);
        for (size_t k = 0; k < i; k++)
            assert_ptr_not_equal(blocks[i], blocks[k]);
    }
    for (size_t i = 0; i < COUNT_OF(blocks); i++)
        ouro_free(blocks[i]);
}

static void test_impossible_sizes(void **state)
{
    (void)state;
    void *kept = ouro_malloc(100), *out = &out;
    pattern_write(kept, 100, 1);
    for (size_t i = 0; i < COUNT_OF(impossible); i++) {
        size_t size = opaque(impossible[i]);
        errno = 0;
        assert_null(ouro_malloc(size));
        assert_int_equal(errno, ENOMEM);
        errno = 0;
        assert_null(ouro_calloc(1, size));
        assert_int_equal(errno, ENOMEM);
        errno = 0;
        assert_null(ouro_realloc(keep(kept), size));
        assert_int_equal(errno, ENOMEM);
        errno = 0;
        assert_null(ouro_realloc(NULL, size));
        assert_int_equal(errno, ENOMEM);
        errno = 0;
        assert_null(ouro_reallocarray(keep(kept), size, 1));
        assert_int_equal(errno, ENOMEM);
        for (size_t a = 16; a <= 4 * MIB; a *= 16) {
            errno = 0;
            assert_null(ouro_aligned_alloc(a, size));
            assert_int_equal(errno, ENOMEM);
            errno = ERRNO_MARK;
            assert_int_equal(ouro_posix_memalign(&out, a, size), ENOMEM);
            assert_int_equal(errno, ERRNO_MARK);
            assert_ptr_equal(out, &out);
        }
    }
    assert_true(pattern_holds(kept, 100, 1));
    ouro_free(kept);
}

static void test_products_that_overflow(void **state)
{
    (void)state;
    static const size_t pairs[][2] = { { SIZE_MAX, 2 },
                                       { 2, SIZE_MAX },
                                       { ((size_t)1 << 63) + 8, 2 },
                                       { (size_t)1 << 32, (size_t)1 << 32 },
                                       { ((size_t)1 << 32) + 1, (size_t)1 << 32 },
                                       { SIZE_MAX / 3 + 1, 3 },
                                       { (size_t)PTRDIFF_MAX / 2 + 1, 2 } };
    for (size_t i = 0; i < COUNT_OF(pairs); i++) {
        size_t count = opaque(pairs[i][0]), size = opaque(pairs[i][1]);
        errno = 0;
        assert_null(ouro_calloc(count, size));
        assert_int_equal(errno, ENOMEM);
        errno = 0;
        assert_null(ouro_reallocarray(NULL, count, size));
        assert_int_equal(errno, ENOMEM);
    }
}

static void test_calloc_is_zero_on_used_memory(void **state)
{
    (void)state;
    for (unsigned round = 0; round < 4; round++) {
        for (size_t i = 0; i < test_size_count; i++) {
            void *p = ouro_malloc(test_sizes[i]);
            assert_non_null(p);
            memset(p, 0xee, ouro_usable_size(p));
            ouro_free(p);
            unsigned char *z = ouro_calloc(1, opaque(test_sizes[i]));
            assert_non_null(z);
            for (size_t k = 0; k < test_sizes[i]; k++)
                assert_int_equal(z[k], 0);
            ouro_free(z);
        }
    }
}

static void test_realloc_between_all_sizes(void **state)
{
    (void)state;
    for (size_t i = 0; i < test_size_count; i++) {
        for (size_t k = 0; k < test_size_count; k++) {
            size_t from = test_sizes[i], to = test_sizes[k], both = from < to ? from : to;
            if (from + to > 6 * MIB && (i + k) % 5 != 0)
                continue;
            size_t head = both < 4 * KIB ? both : 4 * KIB;
            unsigned char *p = ouro_malloc(from);
            assert_non_null(p);
            pattern_write(p, head, 3);
            pattern_write(p + both - head, head, 4);
            bool apart = both >= 2 * head;
            p = ouro_realloc(p, opaque(to));
            assert_non_null(p);
            assert_true(ouro_usable_size(p) >= to);
            assert_true(!apart || pattern_holds(p, head, 3));
            assert_true(pattern_holds(p + both - head, head, 4));
            ouro_free(p);
        }
    }
}

static void test_realloc_zero_is_a_block(void **state)
{
    (void)state;
    for (size_t i = 0; i < test_size_count; i++) {
        void *p = ouro_malloc(test_sizes[i]), *other = ouro_malloc(opaque(0));
        errno = ERRNO_MARK;
        p = ouro_realloc(p, opaque(0));
        assert_non_null(p);
        assert_int_equal(errno, ERRNO_MARK);
        assert_ptr_not_equal(p, other);
        ouro_free(p);
        p = ouro_reallocarray(ouro_malloc(test_sizes[i]), opaque(0), 8);
        assert_non_null(p);
        ouro_free(p);
        ouro_free(other);
    }
}

static void test_realloc_of_null(void **state)
{
    (void)state;
    void *p = ouro_realloc(NULL, 100), *q = ouro_reallocarray(NULL, 10, 10);
    assert_non_null(p);
    assert_non_null(q);
    pattern_write(p, 100, 1);
    pattern_write(q, 100, 2);
    assert_true(pattern_holds(p, 100, 1));
    ouro_free(p);
    ouro_free(q);
}

static void test_free_of_null(void **state)
{
    (void)state;
    errno = ERRNO_MARK;
    ouro_free(keep(NULL));
    ouro_free_sized(keep(NULL), 10);
    ouro_free_aligned_sized(keep(NULL), 64, 10);
    assert_int_equal(ouro_usable_size(keep(NULL)), 0);
    assert_int_equal(errno, ERRNO_MARK);
}

static void test_sized_frees(void **state)
{
    (void)state;
    for (size_t i = 0; i < test_size_count; i++) {
        ouro_free_sized(ouro_malloc(test_sizes[i]), test_sizes[i]);
        ouro_free_sized(ouro_calloc(1, test_sizes[i]), test_sizes[i]);
        ouro_free_sized(ouro_realloc(ouro_malloc(10), test_sizes[i]), test_sizes[i]);
        for (size_t a = 16; a <= 1 * MIB; a *= 8)
            ouro_free_aligned_sized(ouro_aligned_alloc(a, test_sizes[i]), a, test_sizes[i]);
    }
}

static void test_alignments(void **state)
{
    (void)state;
    for (size_t a = 1; a <= 64 * MIB; a *= 2) {
        for (size_t i = 0; i<test_size_count; i += a> 4096 ? 5 : 1) {
            void *p = ouro_aligned_alloc(a, test_sizes[i]), *q = NULL;
            assert_non_null(p);
            assert_int_equal((uintptr_t)p % (a < 16 ? 16 : a), 0);
            assert_true(ouro_usable_size(p) >= test_sizes[i]);
            if (a >= sizeof(void *)) {
                assert_int_equal(ouro_posix_memalign(&q, a, test_sizes[i]), 0);
                assert_int_equal((uintptr_t)q % a, 0);
            }
            size_t head = test_sizes[i] < 1000 ? test_sizes[i] : 1000;
            pattern_write(p, head, 1);
            if (q != NULL)
                pattern_write(q, head, 2);
            assert_true(pattern_holds(p, head, 1));
            ouro_free(p);
            ouro_free(q);
        }
    }
}

static void test_wrong_alignments(void **state)
{
    (void)state;
    static const size_t wrong[] = { 0, 3, 5, 6, 7, 12, 24, 100, 4097, SIZE_MAX, (size_t)3 << 60 };
    for (size_t i = 0; i < COUNT_OF(wrong); i++) {
        void *out = &out;
        errno = 0;
        assert_null(ouro_aligned_alloc(opaque(wrong[i]), 100));
        assert_int_equal(errno, EINVAL);
        errno = ERRNO_MARK;
        assert_int_equal(ouro_posix_memalign(&out, opaque(wrong[i]), 100), EINVAL);
        assert_ptr_equal(out, &out);
        assert_int_equal(errno, ERRNO_MARK);
    }
    for (size_t a = 1; a < sizeof(void *); a *= 2) {
        void *out = &out;
        assert_int_equal(ouro_posix_memalign(&out, a, 100), EINVAL);
    }
}

static void test_good_size(void **state)
{
    (void)state;
    size_t last = 0;
    for (size_t size = 0; size < 3 * MIB; size += size < 70000 ? 1 : 4093) {
        size_t good = ouro_good_size(size);
        assert_true(good >= size);
        assert_true(good >= last); /* never less for more */
        assert_int_equal(ouro_good_size(good), good);
        last = good;
    }
    for (size_t i = 0; i < test_size_count; i++) {
        void *p = ouro_malloc(test_sizes[i]);
        assert_int_equal(ouro_usable_size(p), ouro_good_size(test_sizes[i]));
        ouro_free(p);
    }
    for (size_t i = 0; i < COUNT_OF(impossible); i++) {
        if (impossible[i] > PTRDIFF_MAX)
            assert_int_equal(ouro_good_size(impossible[i]), impossible[i]);
    }
}

static void test_good_size_for_small_sizes(void **state)
{
    (void)state;
    for (size_t size = 0; size < 3000; size++) {
        void *p = ouro_malloc(size), *q = ouro_calloc(1, size);
        assert_int_equal(ouro_usable_size(p), ouro_good_size(size));
        assert_int_equal(ouro_usable_size(q), ouro_good_size(size));
        ouro_free(p);
        ouro_free(q);
    }
}

static char some_global[100];

static void test_owns(void **state)
{
    (void)state;
    char local[64];
    char *mapped = mmap(NULL, 1 * MIB, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    void (*code)(void **) = test_owns;
    void *code_address;
    memcpy(&code_address, &code, sizeof code_address);
    assert_false(ouro_owns(NULL));
    assert_false(ouro_owns(local));
    assert_false(ouro_owns(some_global));
    assert_false(ouro_owns(code_address));
    assert_false(ouro_owns(mapped));
    assert_false(ouro_owns((void *)1));
    assert_false(ouro_owns((void *)UINTPTR_MAX));
    assert_false(ouro_owns((void *)(uintptr_t)0xdeadbeefdeadbeef));
    for (size_t i = 0; i < test_size_count; i++) {
        char *p = ouro_malloc(test_sizes[i]);
        size_t usable = ouro_usable_size(p);
        assert_true(ouro_owns(p));
        assert_true(ouro_owns(p + usable / 2));
        assert_true(usable == 0 || ouro_owns(p + usable - 1));
        ouro_free(p);
    }
    munmap(mapped, 1 * MIB);
}

/* Any value at all: it never faults. */
static void test_owns_of_any_address(void **state)
{
    (void)state;
    uint64_t x = 88172645463325252u;
    size_t owned = 0;
    for (unsigned i = 0; i < 2000000; i++) {
        x ^= x << 13, x ^= x >> 7, x ^= x << 17;
        owned += ouro_owns((void *)(uintptr_t)(i % 2 == 0 ? x : x >> (i % 64)));
    }
    for (unsigned shift = 0; shift < 64; shift++) {
        for (size_t off = 0; off < 64; off++) {
            owned += ouro_owns((void *)(((uintptr_t)1 << shift) + off));
            owned += ouro_owns((void *)(((uintptr_t)1 << shift) - off));
        }
    }
    assert_true(owned < 1000000);
    char *p = ouro_malloc(100);
    for (ptrdiff_t off = -(ptrdiff_t)(64 * MIB); off < (ptrdiff_t)(64 * MIB); off += 4096)
        (void)ouro_owns(keep((void *)((uintptr_t)p + (uintptr_t)off)));
    ouro_free(p);
}

static void test_owns_no_huge_block_that_is_gone(void **state)
{
    (void)state;
    char *p = ouro_malloc(256 * MIB);
    assert_non_null(p);
    assert_true(ouro_owns(p + 200 * MIB));
    ouro_free(p);
    ouro_trim();
    assert_false(ouro_owns(keep(p)));
}

static void test_trim_gives_back(void **state)
{
    (void)state;
    enum { COUNT = 100000 };
    static void *blocks[COUNT];
    ouro_trim();
    size_t before = resident_bytes();
    for (size_t i = 0; i < COUNT; i++) {
        blocks[i] = ouro_malloc(600);
        assert_non_null(blocks[i]);
        memset(blocks[i], 1, 600);
    }
    size_t during = resident_bytes();
    assert_true(during > before + 50 * MIB);
    for (size_t i = 0; i < COUNT; i++)
        ouro_free(blocks[i]);
    size_t mid = resident_bytes(), given = ouro_trim(), after = resident_bytes();
    assert_true(!RESIDENT_IS_OURS || after < before + 8 * MIB);
    assert_true(!RESIDENT_IS_OURS || given + 4 * MIB >= mid - after); /* what it says is what happened */
    assert_in_range(given, RESIDENT_IS_OURS ? 30 * MIB : 0, 100 * MIB);
    assert_true(ouro_trim() < 2 * MIB);
}

struct passed {
    void *blocks[1000];
};

static void *free_all(void *arg)
{
    struct passed *passed = arg;
    for (size_t i = 0; i < COUNT_OF(passed->blocks); i++)
        ouro_free(passed->blocks[i]);
    return NULL;
}

static void *allocate_all(void *arg)
{
    struct passed *passed = arg;
    for (size_t i = 0; i < COUNT_OF(passed->blocks); i++) {
        passed->blocks[i] = ouro_malloc(i * 5);
        if (passed->blocks[i] != NULL)
            pattern_write(passed->blocks[i], i * 5, (unsigned)i);
    }
    return NULL;
}

static void test_blocks_pass_between_threads(void **state)
{
    (void)state;
    static struct passed passed;
    pthread_t thread;
    for (unsigned round = 0; round < 50; round++) {
        assert_int_equal(pthread_create(&thread, NULL, allocate_all, &passed), 0);
        pthread_join(thread, NULL);
        for (size_t i = 0; i < COUNT_OF(passed.blocks); i++) {
            assert_non_null(passed.blocks[i]);
            assert_true(pattern_holds(passed.blocks[i], i * 5, (unsigned)i));
        }
        if (round % 2 == 0) {
            free_all(&passed);
            continue;
        }
        assert_int_equal(pthread_create(&thread, NULL, free_all, &passed), 0);
        pthread_join(thread, NULL);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        API_TEST(test_malloc_of_each_size),
        API_TEST(test_malloc_zero_is_unique),
        API_TEST(test_impossible_sizes),
        API_TEST(test_products_that_overflow),
        API_TEST(test_calloc_is_zero_on_used_memory),
        API_TEST(test_realloc_between_all_sizes),
        API_TEST(test_realloc_zero_is_a_block),
        API_TEST(test_realloc_of_null),
        API_TEST(test_free_of_null),
        API_TEST(test_sized_frees),
        API_TEST(test_alignments),
        API_TEST(test_wrong_alignments),
        API_TEST(test_good_size),
        API_TEST(test_good_size_for_small_sizes),
        API_TEST(test_owns),
        API_TEST(test_owns_of_any_address),
        API_TEST(test_owns_no_huge_block_that_is_gone),
        API_TEST(test_trim_gives_back),
        API_TEST(test_blocks_pass_between_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
