/* preload/sizes.c: impossible sizes, errno, wrong alignments, the alignment of everything.
 *
 * "Impossible" is more than PTRDIFF_MAX bytes, or a product or rounding that overflows, or more than the machine can
 * address: NULL and ENOMEM. Success and free leave errno alone; so does posix_memalign always.
 */
#define _GNU_SOURCE
#include "check.h"

#include <errno.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tables.h"

static const size_t impossible[] = {
    SIZE_MAX,
    SIZE_MAX - 1,
    SIZE_MAX - 7,
    SIZE_MAX - 15,
    SIZE_MAX - 16,
    SIZE_MAX - 63,
    SIZE_MAX - 4095,
    SIZE_MAX - 4096,
    SIZE_MAX - 65535,
    SIZE_MAX - 2 * MIB + 1,
    SIZE_MAX - 2 * MIB,
    SIZE_MAX - 64 * MIB,
    SIZE_MAX - 4 * GIB,
    (size_t)PTRDIFF_MAX + 1,
    (size_t)PTRDIFF_MAX + 2,
    (size_t)PTRDIFF_MAX + 4096,
    PTRDIFF_MAX,
    (size_t)PTRDIFF_MAX - 4095,
    (size_t)1 << 62,
    (size_t)1 << 56,
    (size_t)1 << 48,
    (size_t)1 << 47,
};

#define EXPECT_ENOMEM(call)            \
    do {                               \
        errno = 0;                     \
        EXPECT((call) == NULL);        \
        EXPECT_CMP(errno, ==, ENOMEM); \
    } while (0)

static void check_malloc_impossible(void)
{
    for (size_t i = 0; i < COUNT_OF(impossible); i++)
        EXPECT_ENOMEM(malloc(opaque(impossible[i])));
    exercise(1);
}

static void check_malloc_near_size_max(void)
{
    for (size_t k = 0; k < 70000; k++)
        EXPECT_ENOMEM(malloc(opaque(SIZE_MAX - k)));
    for (size_t k = 0; k < 40; k++)
        EXPECT_ENOMEM(malloc(opaque(SIZE_MAX - ((size_t)1 << k))));
}

static void check_calloc_impossible(void)
{
    for (size_t i = 0; i < COUNT_OF(impossible); i++) {
        EXPECT_ENOMEM(calloc(1, opaque(impossible[i])));
        EXPECT_ENOMEM(calloc(opaque(impossible[i]), 1));
    }
    exercise(2);
}

static void check_calloc_overflow(void)
{
    const size_t half = (size_t)1 << 63, root = (size_t)1 << 32;
    const size_t pairs[][2] = { { SIZE_MAX, 2 },
                                { 2, SIZE_MAX },
                                { SIZE_MAX, SIZE_MAX },
                                { half, 2 },
                                { half + 8, 2 },
                                { 2, half + 8 },
                                { root, root },
                                { root + 1, root },
                                { root + 1, root - 1 + 2 },
                                { SIZE_MAX / 3 + 1, 3 },
                                { SIZE_MAX / 16 + 2, 16 },
                                { 17, SIZE_MAX / 17 + 1 } };
    for (size_t i = 0; i < COUNT_OF(pairs); i++)
        EXPECT_ENOMEM(calloc(opaque(pairs[i][0]), opaque(pairs[i][1])));
    exercise(3);
}

static void check_calloc_over_ptrdiff_max(void)
{
    EXPECT_ENOMEM(calloc(opaque(2), opaque((size_t)PTRDIFF_MAX / 2 + 1)));
    EXPECT_ENOMEM(calloc(opaque((size_t)1 << 31), opaque((size_t)1 << 32)));
    EXPECT_ENOMEM(calloc(opaque((size_t)PTRDIFF_MAX / 16 + 1), opaque(16)));
}

static void check_realloc_impossible(void)
{
    static const size_t olds[] = { 1, 100, 3000, 40000, 2 * MIB };
    for (size_t k = 0; k < COUNT_OF(olds); k++) {
        void *p = malloc(olds[k]);
        EXPECT(p != NULL);
        fill(p, olds[k], k);
        for (size_t i = 0; i < COUNT_OF(impossible); i++)
            EXPECT_ENOMEM(realloc(keep(p), opaque(impossible[i])));
        EXPECT(verify(p, olds[k], k));
        p = realloc(p, olds[k] + 50000);
        EXPECT(p != NULL && verify(p, olds[k], k));
        free(p);
    }
    exercise(4);
}

static void check_realloc_null_impossible(void)
{
    for (size_t i = 0; i < COUNT_OF(impossible); i++)
        EXPECT_ENOMEM(realloc(NULL, opaque(impossible[i])));
}

static void check_reallocarray_overflow(void)
{
    char *p = malloc(100);
    EXPECT(p != NULL);
    fill(p, 100, 9);
    EXPECT_ENOMEM(reallocarray(keep(p), opaque(SIZE_MAX), opaque(2)));
    EXPECT_ENOMEM(reallocarray(keep(p), opaque(2), opaque(SIZE_MAX)));
    EXPECT_ENOMEM(reallocarray(keep(p), opaque(((size_t)1 << 63) + 8), opaque(2)));
    EXPECT_ENOMEM(reallocarray(keep(p), opaque(((size_t)1 << 32) + 1), opaque((size_t)1 << 32)));
    EXPECT_ENOMEM(reallocarray(keep(p), opaque(2), opaque((size_t)PTRDIFF_MAX / 2 + 1)));
    EXPECT_ENOMEM(reallocarray(NULL, opaque(SIZE_MAX / 2), opaque(3)));
    EXPECT_ENOMEM(reallocarray(NULL, opaque(SIZE_MAX), opaque(1)));
    EXPECT(verify(p, 100, 9));
    free(p);
}

static void check_memalign_impossible(void)
{
    for (size_t i = 0; i < COUNT_OF(impossible); i++) {
        for (size_t a = 8; a <= 64 * MIB; a *= 8)
            EXPECT_ENOMEM(memalign(a, opaque(impossible[i])));
    }
    exercise(5);
}

static void check_aligned_alloc_impossible(void)
{
    for (size_t i = 0; i < COUNT_OF(impossible); i++) {
        for (size_t a = 16; a <= 64 * MIB; a *= 4)
            EXPECT_ENOMEM(aligned_alloc(a, opaque(impossible[i] & ~(a - 1))));
    }
    exercise(6);
}

static void check_posix_memalign_impossible(void)
{
    for (size_t i = 0; i < COUNT_OF(impossible); i++) {
        for (size_t a = sizeof(void *); a <= 64 * MIB; a *= 8) {
            void *out = &out;
            EXPECT_CMP(posix_memalign(&out, a, opaque(impossible[i])), ==, ENOMEM);
        }
    }
    exercise(7);
}

static void check_posix_memalign_failure_leaves_out(void)
{
    void *out = &out;
    (void)!posix_memalign(&out, 64, opaque(SIZE_MAX));
    EXPECT(out == &out);
    (void)!posix_memalign(&out, 64, opaque((size_t)PTRDIFF_MAX + 1));
    EXPECT(out == &out);
    (void)!posix_memalign(&out, opaque(24), 100);
    EXPECT(out == &out);
    (void)!posix_memalign(&out, opaque(0), 100);
    EXPECT(out == &out);
}

static void check_valloc_impossible(void)
{
    for (size_t i = 0; i < COUNT_OF(impossible); i++)
        EXPECT_ENOMEM(valloc(opaque(impossible[i])));
    exercise(8);
}

static void check_pvalloc_impossible(void)
{
    for (size_t i = 0; i < COUNT_OF(impossible); i++)
        EXPECT_ENOMEM(pvalloc(opaque(impossible[i])));
    exercise(9);
}

/* The size rounded up to pages would be 0. */
static void check_pvalloc_rounding_overflow(void)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    for (size_t k = 0; k < page; k++)
        EXPECT_ENOMEM(pvalloc(opaque(SIZE_MAX - k)));
}

static void check_pvalloc_rounds_up(void)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    const size_t sizes[] = { 1, 100, page - 1, page, page + 1, 3 * page - 1, 3 * page + 1, 100 * page + 1 };
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        size_t rounded = (sizes[i] + page - 1) / page * page;
        void *p = pvalloc(sizes[i]);
        EXPECT(p != NULL && is_aligned(p, page));
        EXPECT_CMP(malloc_usable_size(p), >=, rounded);
        fill(p, rounded, i);
        EXPECT(verify(p, rounded, i));
        free(p);
    }
}

static void check_valloc_aligned_to_pages(void)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    void *blocks[64];
    for (size_t i = 0; i < COUNT_OF(blocks); i++) {
        blocks[i] = valloc(i * 700);
        EXPECT(blocks[i] != NULL && is_aligned(blocks[i], page));
        fill(blocks[i], i * 700, i);
    }
    for (size_t i = 0; i < COUNT_OF(blocks); i++) {
        EXPECT(verify(blocks[i], i * 700, i));
        free(blocks[i]);
    }
    void *p = pvalloc(0);
    EXPECT(p != NULL && is_aligned(p, page));
    free(p);
}

static void check_alignment_impossible(void)
{
    for (unsigned shift = 48; shift < 64; shift++) {
        size_t alignment = opaque((size_t)1 << shift);
        void *out = &out;
        EXPECT_ENOMEM(memalign(alignment, 16));
        EXPECT_ENOMEM(aligned_alloc(alignment, 16));
        EXPECT_CMP(posix_memalign(&out, alignment, 16), ==, ENOMEM);
    }
    exercise(10);
}

static void check_service_after_impossible(void)
{
    for (unsigned round = 0; round < 2000; round++) {
        errno = 0;
        EXPECT(malloc(opaque(SIZE_MAX - round)) == NULL && errno == ENOMEM);
        exercise_small(round);
    }
}

/* errno */

static const size_t kinds[] = { 0, 1, 16, 100, 1000, 5000, 30000, 70000, 300 * KIB, 3 * MIB, 40 * MIB };

static void check_errno_malloc_free(void)
{
    void *blocks[COUNT_OF(kinds) * 20];
    errno = ERRNO_MARK;
    for (unsigned round = 0; round < 3; round++) {
        for (size_t i = 0; i < COUNT_OF(blocks); i++) {
            blocks[i] = malloc(opaque(kinds[i % COUNT_OF(kinds)]));
            EXPECT_CMP(errno, ==, ERRNO_MARK);
            EXPECT(blocks[i] != NULL);
        }
        for (size_t i = 0; i < COUNT_OF(blocks); i++) {
            free(blocks[i]);
            EXPECT_CMP(errno, ==, ERRNO_MARK);
        }
    }
    free(NULL);
    EXPECT_CMP(errno, ==, ERRNO_MARK);
}

static void check_errno_calloc(void)
{
    for (size_t i = 0; i < COUNT_OF(kinds); i++) {
        errno = ERRNO_MARK;
        void *p = calloc(3, opaque(kinds[i]));
        EXPECT_CMP(errno, ==, ERRNO_MARK);
        EXPECT(p != NULL);
        free(p);
        EXPECT_CMP(errno, ==, ERRNO_MARK);
    }
}

static void check_errno_realloc(void)
{
    for (size_t i = 0; i < COUNT_OF(kinds); i++) {
        for (size_t k = 0; k < COUNT_OF(kinds); k++) {
            errno = ERRNO_MARK;
            void *p = malloc(opaque(kinds[i]));
            touch(p, kinds[i]);
            p = realloc(p, opaque(kinds[k] + 1));
            EXPECT_CMP(errno, ==, ERRNO_MARK);
            EXPECT(p != NULL);
            p = reallocarray(p, 2, opaque(kinds[i] + 1));
            EXPECT_CMP(errno, ==, ERRNO_MARK);
            EXPECT(p != NULL);
            free(p);
        }
    }
}

static void check_errno_aligned(void)
{
    for (size_t i = 0; i < COUNT_OF(kinds); i++) {
        for (size_t a = 8; a <= 4 * MIB; a *= 8) {
            void *out = NULL;
            errno = ERRNO_MARK;
            void *p = memalign(a, opaque(kinds[i])), *q = aligned_alloc(a, opaque(kinds[i] / a * a));
            EXPECT_CMP(errno, ==, ERRNO_MARK);
            EXPECT(posix_memalign(&out, a, opaque(kinds[i])) == 0);
            EXPECT_CMP(errno, ==, ERRNO_MARK);
            EXPECT(p != NULL && q != NULL && out != NULL);
            (void)malloc_usable_size(p);
            free(p);
            free(q);
            free(out);
            EXPECT_CMP(errno, ==, ERRNO_MARK);
        }
    }
    void *v = valloc(100), *w = pvalloc(100);
    EXPECT(v != NULL && w != NULL);
    free(v);
    free(w);
    EXPECT_CMP(errno, ==, ERRNO_MARK);
}

static void check_errno_posix_memalign_failures(void)
{
    void *out = NULL;
    errno = ERRNO_MARK;
    EXPECT_CMP(posix_memalign(&out, opaque(3), 100), ==, EINVAL);
    EXPECT_CMP(errno, ==, ERRNO_MARK);
    EXPECT_CMP(posix_memalign(&out, opaque(0), 100), ==, EINVAL);
    EXPECT_CMP(errno, ==, ERRNO_MARK);
    for (size_t i = 0; i < COUNT_OF(impossible); i++) {
        EXPECT_CMP(posix_memalign(&out, 64, opaque(impossible[i])), ==, ENOMEM);
        EXPECT_CMP(errno, ==, ERRNO_MARK);
    }
    EXPECT_CMP(posix_memalign(&out, opaque((size_t)1 << 62), 1), ==, ENOMEM);
    EXPECT_CMP(errno, ==, ERRNO_MARK);
}

static void *errno_of_new_thread(void *arg)
{
    (void)arg;
    errno = ERRNO_MARK;
    void *small = malloc(opaque(40)), *large = malloc(opaque(500 * KIB));
    EXPECT_CMP(errno, ==, ERRNO_MARK);
    free(small);
    free(large);
    EXPECT_CMP(errno, ==, ERRNO_MARK);
    return NULL;
}

static void check_errno_first_call_of_thread(void)
{
    for (unsigned i = 0; i < 50; i++)
        thread_join(thread_start(errno_of_new_thread, NULL, 0));
}

static void *errno_of_freeing_thread(void *arg)
{
    errno = ERRNO_MARK;
    free(arg);
    EXPECT_CMP(errno, ==, ERRNO_MARK);
    return NULL;
}

static void check_errno_free_first_call_of_thread(void)
{
    for (size_t i = 0; i < COUNT_OF(kinds); i++) {
        thread_join(thread_start(errno_of_freeing_thread, malloc(kinds[i]), 0));
    }
}

/* After a failure, errno of which is still wanted, a free must not change it. */
static void check_errno_kept_by_free_after_failure(void)
{
    for (size_t i = 0; i < COUNT_OF(kinds); i++) {
        void *p = malloc(kinds[i]);
        touch(p, kinds[i]);
        EXPECT(malloc(opaque(SIZE_MAX)) == NULL);
        free(p);
        EXPECT_CMP(errno, ==, ENOMEM);
    }
}

/* Wrong alignments */

static void check_posix_memalign_einval(void)
{
    static const size_t wrong[] = { 0,  1,  2,  3,  4,   5,    6,    7,       9,        12,           15,
                                    17, 24, 40, 48, 100, 4095, 4097, 6 * MIB, SIZE_MAX, SIZE_MAX - 7, (size_t)3 << 60 };
    for (size_t i = 0; i < COUNT_OF(wrong); i++) {
        void *out = &out;
        EXPECT_CMP(posix_memalign(&out, opaque(wrong[i]), 100), ==, EINVAL);
        EXPECT(out == &out);
    }
    void *out = NULL;
    EXPECT(posix_memalign(&out, sizeof(void *), 100) == 0 && out != NULL && is_aligned(out, 16));
    free(out);
}

static void check_aligned_alloc_einval(void)
{
    static const size_t wrong[] = { 0, 3, 5, 6, 7, 9, 12, 24, 40, 100, 4095, 4097, 6 * MIB, SIZE_MAX, (size_t)3 << 60 };
    for (size_t i = 0; i < COUNT_OF(wrong); i++) {
        errno = 0;
        EXPECT(aligned_alloc(opaque(wrong[i]), opaque(120)) == NULL);
        EXPECT_CMP(errno, ==, EINVAL);
    }
}

static void check_aligned_alloc_small_alignments(void)
{
    for (size_t a = 1; a <= 16; a *= 2) {
        for (size_t size = 0; size < 300; size++) {
            void *p = aligned_alloc(opaque(a), opaque(size));
            EXPECT(p != NULL && is_aligned(p, 16));
            fill(p, size, size);
            free(p);
        }
    }
}

static void check_aligned_alloc_any_size(void)
{
    for (size_t a = 32; a <= 64 * KIB; a *= 2) {
        for (size_t size = 1; size < 3 * a; size += a / 3) {
            void *p = aligned_alloc(opaque(a), opaque(size));
            EXPECT(p != NULL && is_aligned(p, a));
            EXPECT_CMP(malloc_usable_size(p), >=, size);
            fill(p, size, a);
            EXPECT(verify(p, size, a));
            free(p);
        }
    }
}

/* glibc rounds up, others refuse: either is sane, a misaligned block is not. */
static void check_memalign_odd_alignments(void)
{
    static const size_t odd[] = { 0, 1, 2, 3, 7, 12, 24, 48, 100, 1000, 5000, 100000 };
    for (size_t i = 0; i < COUNT_OF(odd); i++) {
        errno = 0;
        void *p = memalign(opaque(odd[i]), 200);
        if (p == NULL) {
            EXPECT_CMP(errno, ==, EINVAL);
            continue;
        }
        size_t a = 16;
        while (a < odd[i])
            a *= 2;
        EXPECT(is_aligned(p, a));
        fill(p, 200, i);
        free(p);
    }
}

/* The alignment of everything */

static void check_aligned_16_malloc(void)
{
    for (unsigned round = 0; round < 3; round++) {
        for (size_t size = 0; size < 70000; size += size < 2100 ? 1 : 97) {
            void *p = malloc(opaque(size)), *q = malloc(opaque(size));
            EXPECT(p != NULL && is_aligned(p, 16));
            EXPECT(q != NULL && is_aligned(q, 16));
            free(p);
            if (round == 1)
                continue; /* leave some holes */
            free(q);
        }
    }
}

static void check_aligned_16_calloc_realloc(void)
{
    void *p = NULL;
    for (size_t size = 1; size < 40000; size += size < 600 ? 1 : 53) {
        void *q = calloc(1, opaque(size));
        EXPECT(q != NULL && is_aligned(q, 16));
        p = realloc(p, opaque(size));
        EXPECT(p != NULL && is_aligned(p, 16));
        void *r = reallocarray(NULL, opaque(size), 3);
        EXPECT(r != NULL && is_aligned(r, 16));
        free(q);
        free(r);
    }
    for (size_t size = 40000; size > 0; size -= size < 600 ? 1 : 53) {
        p = realloc(p, opaque(size));
        EXPECT(p != NULL && is_aligned(p, 16));
    }
    free(p);
}

static void check_aligned_16_large(void)
{
    for (size_t size = 64 * KIB; size < 64 * MIB; size += size / 7 + 1) {
        void *p = malloc(opaque(size)), *q = calloc(1, opaque(size));
        EXPECT(p != NULL && q != NULL);
        EXPECT(is_aligned(p, 16) && is_aligned(q, 16));
        free(p);
        free(q);
    }
}

static void check_malloc_zero_unique_and_aligned(void)
{
    enum { COUNT = 3000 };
    static char *blocks[COUNT];
    for (size_t i = 0; i < COUNT; i++) {
        blocks[i] = malloc(opaque(0));
        EXPECT(blocks[i] != NULL && is_aligned(blocks[i], 16));
        for (size_t k = i > 50 ? i - 50 : 0; k < i; k++)
            EXPECT(blocks[i] != blocks[k]);
    }
    for (size_t i = 0; i < COUNT; i += 7) {
        for (size_t k = 0; k < COUNT; k++)
            EXPECT(i == k || blocks[i] != blocks[k]);
    }
    for (size_t i = 0; i < COUNT; i++)
        free(blocks[i]);
}

static void check_zero_sizes_of_every_entry_point(void)
{
    void *blocks[10];
    blocks[0] = calloc(opaque(0), 8);
    blocks[1] = calloc(8, opaque(0));
    blocks[2] = realloc(NULL, opaque(0));
    blocks[3] = reallocarray(NULL, opaque(0), 8);
    blocks[4] = memalign(64, opaque(0));
    blocks[5] = aligned_alloc(64, opaque(0));
    blocks[6] = NULL;
    EXPECT(posix_memalign(&blocks[6], 64, opaque(0)) == 0);
    blocks[7] = valloc(opaque(0));
    blocks[8] = pvalloc(opaque(0));
    blocks[9] = calloc(opaque(0), opaque(SIZE_MAX));
    for (size_t i = 0; i < COUNT_OF(blocks); i++) {
        EXPECT(blocks[i] != NULL && is_aligned(blocks[i], i >= 4 && i <= 6 ? 64 : 16));
        for (size_t k = 0; k < i; k++)
            EXPECT(blocks[i] != blocks[k]);
    }
    for (size_t i = 0; i < COUNT_OF(blocks); i++)
        free(blocks[i]);
}

/* A block of size 0 must not touch another: its usable bytes, if any, are its own. */
static void check_zero_blocks_are_apart(void)
{
    unsigned char *blocks[200];
    for (size_t i = 0; i < COUNT_OF(blocks); i++) {
        blocks[i] = malloc(opaque(i % 2 == 0 ? 0 : 16));
        EXPECT(blocks[i] != NULL);
        memset(blocks[i], (int)i, malloc_usable_size(blocks[i]));
    }
    for (size_t i = 0; i < COUNT_OF(blocks); i++) {
        for (size_t k = 0; k < malloc_usable_size(blocks[i]); k++)
            EXPECT_CMP(blocks[i][k], ==, i);
        free(blocks[i]);
    }
}

static void check_every_alignment(void)
{
    static const size_t sizes[] = { 0, 1, 8, 24, 100, 1000, 4096, 5000, 65536, 1 * MIB };
    for (size_t a = 8; a <= 64 * MIB; a *= 2) {
        for (size_t i = 0; i < COUNT_OF(sizes); i++) {
            void *blocks[3];
            blocks[0] = memalign(opaque(a), opaque(sizes[i]));
            blocks[1] = aligned_alloc(opaque(a), opaque(sizes[i]));
            EXPECT(posix_memalign(&blocks[2], opaque(a), opaque(sizes[i])) == 0);
            for (size_t k = 0; k < 3; k++) {
                EXPECT(blocks[k] != NULL && is_aligned(blocks[k], a));
                EXPECT_CMP(malloc_usable_size(blocks[k]), >=, sizes[i]);
                fill(blocks[k], sizes[i], a + k);
            }
            for (size_t k = 0; k < 3; k++)
                EXPECT(verify(blocks[k], sizes[i], a + k));
            for (size_t k = 0; k < 3; k++)
                free(blocks[k]);
        }
    }
}

/* Many at a time, mixed with plain ones, freed out of order. */
static void check_aligned_blocks_live_together(void)
{
    enum { COUNT = 2000 };
    static void *blocks[COUNT];
    static size_t sizes[COUNT];
    uint64_t state = 11;
    for (unsigned round = 0; round < 3; round++) {
        for (size_t i = 0; i < COUNT; i++) {
            if (round > 0 && next_random(&state) % 2 == 0)
                continue;
            if (blocks[i] != NULL)
                EXPECT(verify(blocks[i], sizes[i], i));
            free(blocks[i]);
            size_t a = (size_t)8 << (next_random(&state) % 14);
            sizes[i] = random_size(&state, 100000);
            blocks[i] = i % 3 == 0 ? malloc(sizes[i]) : memalign(a, sizes[i]);
            EXPECT(blocks[i] != NULL && (i % 3 == 0 || is_aligned(blocks[i], a)));
            fill(blocks[i], sizes[i], i);
        }
    }
    for (size_t i = 0; i < COUNT; i++) {
        EXPECT(verify(blocks[i], sizes[i], i));
        free(blocks[i]);
    }
}

static void check_aligned_then_realloc(void)
{
    for (size_t a = 32; a <= 4 * MIB; a *= 4) {
        for (size_t size = 1; size < 3 * MIB; size = size * 5 + 3) {
            void *p = memalign(a, size);
            EXPECT(p != NULL);
            fill(p, size, a);
            p = realloc(p, size * 2 + 100);
            EXPECT(p != NULL && verify(p, size, a));
            p = realloc(p, size / 2 + 1);
            EXPECT(p != NULL && verify(p, size / 2, a));
            free(p);
        }
    }
}

const struct check checks_sizes[] = {
    { "malloc_impossible", check_malloc_impossible, NULL, "" },
    { "malloc_near_size_max", check_malloc_near_size_max, NULL, "" },
    { "calloc_impossible", check_calloc_impossible, NULL, "" },
    { "calloc_overflow", check_calloc_overflow, NULL, "" },
    { "calloc_over_ptrdiff_max", check_calloc_over_ptrdiff_max, NULL, "" },
    { "realloc_impossible_keeps_block", check_realloc_impossible, NULL, "" },
    { "realloc_null_impossible", check_realloc_null_impossible, NULL, "" },
    { "reallocarray_overflow", check_reallocarray_overflow, NULL, "" },
    { "memalign_impossible", check_memalign_impossible, NULL, "" },
    { "aligned_alloc_impossible", check_aligned_alloc_impossible, NULL, "" },
    { "posix_memalign_impossible", check_posix_memalign_impossible, NULL, "" },
    { "posix_memalign_failure_leaves_out", check_posix_memalign_failure_leaves_out, NULL, "" },
    { "valloc_impossible", check_valloc_impossible, NULL, "" },
    { "pvalloc_impossible", check_pvalloc_impossible, NULL, "" },
    { "pvalloc_rounding_overflow", check_pvalloc_rounding_overflow, NULL, "" },
    { "pvalloc_rounds_up", check_pvalloc_rounds_up, NULL, "" },
    { "valloc_aligned_to_pages", check_valloc_aligned_to_pages, NULL, "" },
    { "alignment_impossible", check_alignment_impossible, NULL, "" },
    { "service_after_impossible", check_service_after_impossible, NULL, "" },
    { "errno_malloc_free", check_errno_malloc_free, NULL, "" },
    { "errno_calloc", check_errno_calloc, NULL, "" },
    { "errno_realloc", check_errno_realloc, NULL, "" },
    { "errno_aligned", check_errno_aligned, NULL, "" },
    { "errno_posix_memalign_failures", check_errno_posix_memalign_failures, NULL, "" },
    { "errno_first_call_of_thread", check_errno_first_call_of_thread, NULL, "" },
    { "errno_free_first_call_of_thread", check_errno_free_first_call_of_thread, NULL, "" },
    { "errno_kept_by_free_after_failure", check_errno_kept_by_free_after_failure, NULL, "" },
    { "posix_memalign_einval", check_posix_memalign_einval, NULL, "" },
    { "aligned_alloc_einval", check_aligned_alloc_einval, NULL, "" },
    { "aligned_alloc_small_alignments", check_aligned_alloc_small_alignments, NULL, "" },
    { "aligned_alloc_any_size", check_aligned_alloc_any_size, NULL, "" },
    { "memalign_odd_alignments", check_memalign_odd_alignments, NULL, "" },
    { "aligned_16_malloc", check_aligned_16_malloc, NULL, "" },
    { "aligned_16_calloc_realloc", check_aligned_16_calloc_realloc, NULL, "" },
    { "aligned_16_large", check_aligned_16_large, NULL, "" },
    { "malloc_zero_unique_and_aligned", check_malloc_zero_unique_and_aligned, NULL, "" },
    { "zero_sizes_of_every_entry_point", check_zero_sizes_of_every_entry_point, NULL, "" },
    { "zero_blocks_are_apart", check_zero_blocks_are_apart, NULL, "" },
    { "every_alignment_to_64_mib", check_every_alignment, NULL, "" },
    { "aligned_blocks_live_together", check_aligned_blocks_live_together, NULL, "" },
    { "aligned_then_realloc", check_aligned_then_realloc, NULL, "" },
    { NULL, NULL, NULL, NULL },
};
