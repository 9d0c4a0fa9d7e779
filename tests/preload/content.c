/* preload/content.c: blocks hold what was written: realloc, calloc, usable sizes, and a shadow model of it all. */
#define _GNU_SOURCE
#include "check.h"

#include <malloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tables.h"

static const size_t steps[] = { 1,        15,        16,      17,          100,      1000,     1024,
                                1025,     4000,      8192,    16000,       32 * KIB, 33 * KIB, 64 * KIB,
                                65 * KIB, 200 * KIB, 1 * MIB, 1 * MIB + 1, 2 * MIB,  5 * MIB };

/* Transitions that move tens of megabytes: fewer. */
static void check_realloc_huge_transitions(void)
{
    static const size_t huge[] = { 900 * KIB, 3 * MIB, 17 * MIB, 40 * MIB, 65 * MIB };
    for (size_t i = 0; i < COUNT_OF(huge); i++) {
        for (size_t k = 0; k < COUNT_OF(huge); k++) {
            size_t both = huge[i] < huge[k] ? huge[i] : huge[k];
            char *p = malloc(opaque(huge[i]));
            EXPECT(p != NULL);
            fill(p, 200 * KIB, i);
            fill(p + both - 100 * KIB, 100 * KIB, k);
            p = realloc(p, opaque(huge[k]));
            EXPECT(p != NULL && verify(p, 200 * KIB, i) && verify(p + both - 100 * KIB, 100 * KIB, k));
            p[huge[k] - 1] = 1;
            free(p);
        }
    }
}

static void check_realloc_all_transitions(void)
{
    for (size_t i = 0; i < COUNT_OF(steps); i++) {
        for (size_t k = 0; k < COUNT_OF(steps); k++) {
            size_t from = steps[i], to = steps[k], both = from < to ? from : to;
            void *p = malloc(opaque(from)), *neighbour = malloc(opaque(from));
            EXPECT(p != NULL && neighbour != NULL);
            fill(p, from, i);
            fill(neighbour, from, 100 + i);
            p = realloc(p, opaque(to));
            EXPECT(p != NULL && verify(p, both, i));
            fill(p, to, 200 + k);
            EXPECT(verify(neighbour, from, 100 + i));
            EXPECT(verify(p, to, 200 + k));
            free(p);
            free(neighbour);
        }
    }
}

static void check_realloc_chain_up_and_down(void)
{
    void *p = NULL;
    size_t last = 0;
    for (size_t size = 8; size < 1 * MIB; size += size < 4096 ? 8 : size / 16) {
        p = realloc(p, opaque(size));
        EXPECT(p != NULL && verify(p, last, 5));
        fill(p, size, 5);
        last = size;
    }
    while (last > 8) {
        last -= last < 4096 ? 8 : last / 16;
        p = realloc(p, opaque(last));
        EXPECT(p != NULL && verify(p, last, 5));
    }
    free(p);
}

/* The drop-in does as glibc: programs rely on it. */
static void check_realloc_zero_frees(void)
{
    size_t before = 0;
    for (unsigned i = 0; i < 300000; i++) {
        void *p = malloc(opaque(1000));
        EXPECT(p != NULL);
        memset(p, 1, 1000);
        EXPECT(realloc(keep(p), opaque(0)) == NULL);
        if (i == 10000)
            before = rss_bytes();
    }
    EXPECT_CMP(rss_bytes(), <=, before + 4 * MIB);
    void *large = malloc(64 * MIB);
    touch(large, 64 * MIB);
    EXPECT(realloc(keep(large), opaque(0)) == NULL);
    EXPECT_CMP(wait_for_rss(before + 16 * MIB, 3000), <=, before + 16 * MIB);
}

static void check_reallocarray_zero_frees(void)
{
    size_t before = 0;
    for (unsigned i = 0; i < 100000; i++) {
        void *p = malloc(opaque(1000));
        EXPECT(p != NULL);
        memset(p, 1, 1000);
        EXPECT(reallocarray(keep(p), opaque(0), 8) == NULL);
        if (i == 10000)
            before = rss_bytes();
    }
    EXPECT_CMP(rss_bytes(), <=, before + 4 * MIB);
}

static void check_realloc_same_size_stays(void)
{
    for (size_t i = 0; i < COUNT_OF(steps); i++) {
        void *p = malloc(steps[i]);
        EXPECT(p != NULL);
        uintptr_t was = (uintptr_t)p;
        p = realloc(p, opaque(steps[i]));
        EXPECT((uintptr_t)p == was);
        free(p);
    }
}

static void check_realloc_to_usable_size_stays(void)
{
    for (size_t i = 0; i < COUNT_OF(steps); i++) {
        void *p = malloc(steps[i]);
        EXPECT(p != NULL);
        uintptr_t was = (uintptr_t)p;
        p = realloc(p, malloc_usable_size(p));
        EXPECT((uintptr_t)p == was);
        free(p);
    }
}

/* Growing a large block by little must not copy it each time: pages are touched for what is new. */
static void check_realloc_large_grows_cheaply(void)
{
    size_t size = 32 * MIB;
    char *p = malloc(size);
    EXPECT(p != NULL);
    fill(p, 64 * KIB, 3);
    touch(p + 64 * KIB, size - 64 * KIB);
    size_t faults = fault_count();
    uint64_t start = now_ns();
    for (unsigned i = 0; i < 2000; i++) {
        p = realloc(p, size + 4096);
        EXPECT(p != NULL);
        p[size] = 1;
        size += 4096;
    }
    EXPECT_CMP(fault_count() - faults, <=, 2 * 2000 + 4096);
    EXPECT_CMP((now_ns() - start) / 1000000, <=, 2500);
    EXPECT(verify(p, 64 * KIB, 3));
    free(p);
}

/* Two vectors that grow in turn: neither can always stay in place. */
static void check_realloc_two_vectors_grow(void)
{
    char *v[2] = { NULL, NULL };
    size_t size = 0;
    for (unsigned i = 0; i < 200; i++) {
        size_t next = size + 100 * KIB;
        for (size_t k = 0; k < 2; k++) {
            v[k] = realloc(v[k], next);
            EXPECT(v[k] != NULL);
            fill(v[k] + size, next - size, size + k);
        }
        size = next;
    }
    for (size_t k = 0; k < 2; k++) {
        for (size_t at = 0; at < size; at += 100 * KIB)
            EXPECT(verify(v[k] + at, 100 * KIB, at + k));
        free(v[k]);
    }
}

static void check_realloc_ping_pong_no_growth(void)
{
    void *blocks[100] = { NULL };
    size_t settled = 0;
    for (unsigned round = 0; round < 3000; round++) {
        for (size_t i = 0; i < COUNT_OF(blocks); i++) {
            size_t size = (round + i) % 2 == 0 ? 100 : 5000;
            blocks[i] = realloc(blocks[i], opaque(size));
            EXPECT(blocks[i] != NULL);
            memset(blocks[i], 1, size);
        }
        if (round == 300)
            settled = rss_bytes();
    }
    EXPECT_CMP(rss_bytes(), <=, settled + 4 * MIB);
    for (size_t i = 0; i < COUNT_OF(blocks); i++)
        free(blocks[i]);
}

static void check_calloc_zero_after_dirty(void)
{
    enum { COUNT = 400 };
    static void *blocks[COUNT];
    uint64_t state = 21;
    for (unsigned round = 0; round < 12; round++) {
        for (size_t i = 0; i < COUNT; i++) {
            size_t size = random_size(&state, 1 * MIB);
            blocks[i] = malloc(size);
            EXPECT(blocks[i] != NULL);
            memset(blocks[i], 0xa5, malloc_usable_size(blocks[i]));
        }
        for (size_t i = 0; i < COUNT; i++)
            free(blocks[i]);
        for (size_t i = 0; i < COUNT; i++) {
            size_t size = random_size(&state, 1 * MIB);
            blocks[i] = calloc(1, size);
            EXPECT(blocks[i] != NULL && is_zero(blocks[i], size));
            memset(blocks[i], 0x5a, size);
        }
        for (size_t i = 0; i < COUNT; i++)
            free(blocks[i]);
    }
}

static void check_calloc_zero_each_size(void)
{
    for (size_t size = 1; size < 300 * KIB; size += size < 1100 ? 1 : size / 9) {
        for (unsigned k = 0; k < 3; k++) {
            void *p = malloc(size);
            EXPECT(p != NULL);
            memset(p, 0xff, malloc_usable_size(p));
            free(p);
        }
        void *blocks[3];
        for (unsigned k = 0; k < 3; k++) {
            blocks[k] = calloc(1, opaque(size));
            EXPECT(blocks[k] != NULL && is_zero(blocks[k], size));
        }
        for (unsigned k = 0; k < 3; k++)
            free(blocks[k]);
    }
}

static void check_calloc_zero_large_reused(void)
{
    for (unsigned round = 0; round < 20; round++) {
        size_t size = (1 + round % 5) * 3 * MIB + round * 4096;
        void *p = malloc(size);
        EXPECT(p != NULL);
        memset(p, 0xee, malloc_usable_size(p));
        free(p);
        p = calloc(1, opaque(size - round * 1000));
        EXPECT(p != NULL && is_zero(p, size - round * 1000));
        memset(p, 0xdd, size - round * 1000);
        free(p);
    }
}

/* A tail cut off by realloc is dirty memory, too. */
static void check_calloc_zero_after_shrink(void)
{
    for (unsigned round = 0; round < 30; round++) {
        void *p = malloc(8 * MIB);
        EXPECT(p != NULL);
        memset(p, 0xcc, 8 * MIB);
        p = realloc(p, 1 * MIB + round * 5000);
        EXPECT(p != NULL);
        void *z[6];
        for (size_t i = 0; i < COUNT_OF(z); i++) {
            z[i] = calloc(1, 1 * MIB);
            EXPECT(z[i] != NULL && is_zero(z[i], 1 * MIB));
        }
        for (size_t i = 0; i < COUNT_OF(z); i++)
            free(z[i]);
        free(p);
    }
}

static void *dirty_and_free(void *arg)
{
    void **blocks = arg;
    for (size_t i = 0; i < 500; i++) {
        memset(blocks[i], 0x77, malloc_usable_size(blocks[i]));
        free(blocks[i]);
    }
    return NULL;
}

static void check_calloc_zero_after_remote_free(void)
{
    static void *blocks[500];
    for (unsigned round = 0; round < 20; round++) {
        for (size_t i = 0; i < 500; i++) {
            blocks[i] = calloc(1, 16 + i * 9);
            EXPECT(blocks[i] != NULL && is_zero(blocks[i], 16 + i * 9));
        }
        thread_join(thread_start(dirty_and_free, blocks, 0));
    }
}

static void check_calloc_zero_after_trim(void)
{
    static void *blocks[3000];
    for (unsigned round = 0; round < 4; round++) {
        for (size_t i = 0; i < COUNT_OF(blocks); i++) {
            blocks[i] = malloc(3000 + i);
            EXPECT(blocks[i] != NULL);
            memset(blocks[i], 0x99, 3000 + i);
        }
        for (size_t i = 0; i < COUNT_OF(blocks); i++)
            free(blocks[i]);
        malloc_trim(0);
        for (size_t i = 0; i < COUNT_OF(blocks); i++) {
            blocks[i] = calloc(1, 3000 + i);
            EXPECT(blocks[i] != NULL && is_zero(blocks[i], 3000 + i));
        }
        for (size_t i = 0; i < COUNT_OF(blocks); i++)
            free(blocks[i]);
    }
}

static void check_usable_to_last_byte(void)
{
    enum { COUNT = 600 };
    static unsigned char *blocks[COUNT];
    for (unsigned round = 0; round < 2; round++) {
        for (size_t i = 0; i < COUNT; i++) {
            size_t size = i < 300 ? i : (i - 299) * 257;
            blocks[i] = round == 0 ? malloc(opaque(size)) : memalign(64, opaque(size));
            EXPECT(blocks[i] != NULL);
            EXPECT_CMP(malloc_usable_size(blocks[i]), >=, size);
            fill(blocks[i], malloc_usable_size(blocks[i]), i);
        }
        for (size_t i = 0; i < COUNT; i++)
            EXPECT(verify(blocks[i], malloc_usable_size(blocks[i]), i));
        for (size_t i = 0; i < COUNT; i++)
            free(blocks[i]);
    }
}

static void check_usable_size_of_large(void)
{
    for (size_t size = 64 * KIB; size < 80 * MIB; size = size * 2 + 12345) {
        void *p = malloc(size), *q = memalign(1 * MIB, size);
        EXPECT(p != NULL && q != NULL);
        EXPECT_CMP(malloc_usable_size(p), >=, size);
        EXPECT_CMP(malloc_usable_size(q), >=, size);
        fill(p, malloc_usable_size(p), 1);
        fill(q, malloc_usable_size(q), 2);
        EXPECT(verify(p, malloc_usable_size(p), 1));
        EXPECT(verify(q, malloc_usable_size(q), 2));
        free(p);
        free(q);
    }
}

static void check_usable_size_after_realloc(void)
{
    for (size_t i = 0; i < COUNT_OF(steps); i++) {
        for (size_t k = 0; k < COUNT_OF(steps); k++) {
            void *p = realloc(malloc(steps[i]), steps[k]);
            EXPECT(p != NULL);
            EXPECT_CMP(malloc_usable_size(p), >=, steps[k]);
            memset(p, 1, malloc_usable_size(p) < 2 * MIB ? malloc_usable_size(p) : 2 * MIB);
            ((char *)p)[malloc_usable_size(p) - 1] = 1;
            free(p);
        }
    }
}

/* A garbage collector or a guard page: the program protects a page inside its own block for a while. */
static void check_mprotect_inside_block(void)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    for (unsigned round = 0; round < 20; round++) {
        char *p = memalign(page, 8 * page);
        EXPECT(p != NULL);
        fill(p, 8 * page, round);
        EXPECT(mprotect(p + 2 * page, page, PROT_NONE) == 0);
        exercise(round);
        EXPECT(mprotect(p + 2 * page, page, PROT_READ | PROT_WRITE) == 0);
        EXPECT(verify(p, 8 * page, round));
        free(p);
    }
    exercise(1);
}

/* The shadow model: what is in which block is known outside of it. */

struct shadow {
    unsigned char *ptr;
    size_t size;
    uint64_t seed;
};

static void shadow_step(struct shadow *s, uint64_t *state, size_t max)
{
    uint64_t r = next_random(state);
    size_t size = random_size(state, max);
    if (s->ptr != NULL) {
        EXPECT(verify(s->ptr, s->size, s->seed));
        if (r % 4 == 0) {
            size_t both = size < s->size ? size : s->size;
            unsigned char *p = realloc(s->ptr, size + 1);
            EXPECT(p != NULL && verify(p, both, s->seed));
            *s = (struct shadow){ p, size + 1, r };
            fill(p, s->size, r);
            return;
        }
        free(s->ptr);
        s->ptr = NULL;
        return;
    }
    switch ((r >> 8) % 8) {
    case 0:
        s->ptr = calloc(1, size);
        EXPECT(s->ptr != NULL && is_zero(s->ptr, size));
        break;
    case 1: {
        size_t a = (size_t)16 << ((r >> 16) % 9);
        s->ptr = memalign(a, size);
        EXPECT(is_aligned(s->ptr, a));
        break;
    }
    default:
        s->ptr = malloc(size);
    }
    EXPECT(s->ptr != NULL);
    s->size = size;
    s->seed = r;
    fill(s->ptr, size, r);
}

static void shadow_run(uint64_t seed, size_t slots, unsigned ms, size_t max)
{
    struct shadow *table =
        mmap(NULL, slots * sizeof *table, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    EXPECT(table != MAP_FAILED);
    uint64_t state = seed, end = now_ns() + (uint64_t)ms * 1000000u;
    while (now_ns() < end) {
        for (unsigned i = 0; i < 200; i++)
            shadow_step(&table[next_random(&state) % slots], &state, max);
    }
    for (size_t i = 0; i < slots; i++) {
        if (table[i].ptr != NULL)
            EXPECT(verify(table[i].ptr, table[i].size, table[i].seed));
        free(table[i].ptr);
    }
}

static void check_shadow_one_thread(void)
{
    shadow_run(1, 3000, 1500, 2 * MIB);
}

static void check_shadow_small_blocks(void)
{
    shadow_run(2, 20000, 1500, 300);
}

static void *shadow_thread(void *arg)
{
    shadow_run((uint64_t)(uintptr_t)arg, 800, 1500, 300 * KIB);
    return NULL;
}

static void check_shadow_threads(void)
{
    unsigned long threads[8];
    for (size_t i = 0; i < COUNT_OF(threads); i++)
        threads[i] = thread_start(shadow_thread, (void *)(100 + i), 0);
    for (size_t i = 0; i < COUNT_OF(threads); i++)
        thread_join(threads[i]);
}

/* Blocks pass from thread to thread through slots that each takes by exchange. */
static _Atomic(struct shadow *) exchange_slots[512];

static void *exchange_thread(void *arg)
{
    uint64_t state = (uint64_t)(uintptr_t)arg, end = now_ns() + UINT64_C(1500000000);
    while (now_ns() < end) {
        for (unsigned i = 0; i < 100; i++) {
            struct shadow *s = malloc(sizeof *s);
            EXPECT(s != NULL);
            s->ptr = NULL;
            shadow_step(s, &state, 60 * KIB);
            s = atomic_exchange(&exchange_slots[next_random(&state) % COUNT_OF(exchange_slots)], s);
            if (s == NULL)
                continue;
            EXPECT(verify(s->ptr, s->size, s->seed));
            free(s->ptr);
            free(s);
        }
    }
    return NULL;
}

static void check_shadow_exchange(void)
{
    unsigned long threads[6];
    for (size_t i = 0; i < COUNT_OF(threads); i++)
        threads[i] = thread_start(exchange_thread, (void *)(200 + i), 0);
    for (size_t i = 0; i < COUNT_OF(threads); i++)
        thread_join(threads[i]);
}

/* Address ranges of all living blocks are disjoint; sorted once and compared. */
struct range {
    uintptr_t begin, end;
};

static int by_begin(const void *a, const void *b)
{
    const struct range *x = a, *y = b;
    return x->begin < y->begin ? -1 : x->begin > y->begin;
}

static void check_living_blocks_are_disjoint(void)
{
    enum { COUNT = 60000 };
    static struct range ranges[COUNT];
    static struct range sorted[COUNT];
    uint64_t state = 31;
    for (unsigned round = 0; round < 3; round++) {
        for (size_t i = 0; i < COUNT; i++) {
            if (round > 0 && next_random(&state) % 3 != 0)
                continue;
            free((void *)ranges[i].begin);
            size_t size = random_size(&state, 5000);
            void *p = malloc(size);
            EXPECT(p != NULL);
            ranges[i] = (struct range){ (uintptr_t)p, (uintptr_t)p + malloc_usable_size(p) };
            if (ranges[i].end == ranges[i].begin)
                ranges[i].end++;
        }
        memcpy(sorted, ranges, sizeof sorted);
        qsort(sorted, COUNT, sizeof *sorted, by_begin);
        for (size_t i = 1; i < COUNT; i++)
            EXPECT(sorted[i - 1].end <= sorted[i].begin);
    }
    for (size_t i = 0; i < COUNT; i++)
        free((void *)ranges[i].begin);
}

const struct check checks_content[] = {
    { "realloc_all_transitions", check_realloc_all_transitions, NULL, "" },
    { "realloc_huge_transitions", check_realloc_huge_transitions, NULL, "" },
    { "realloc_chain_up_and_down", check_realloc_chain_up_and_down, NULL, "" },
    { "realloc_zero_frees_returns_null", check_realloc_zero_frees, NULL, "" },
    { "reallocarray_zero_frees_returns_null", check_reallocarray_zero_frees, NULL, "" },
    { "realloc_same_size_stays", check_realloc_same_size_stays, NULL, "" },
    { "realloc_to_usable_size_stays", check_realloc_to_usable_size_stays, NULL, "" },
    { "realloc_large_grows_cheaply", check_realloc_large_grows_cheaply, NULL, "" },
    { "realloc_two_vectors_grow", check_realloc_two_vectors_grow, NULL, "" },
    { "realloc_ping_pong_no_growth", check_realloc_ping_pong_no_growth, NULL, "" },
    { "calloc_zero_after_dirty", check_calloc_zero_after_dirty, NULL, "" },
    { "calloc_zero_each_size", check_calloc_zero_each_size, NULL, "" },
    { "calloc_zero_large_reused", check_calloc_zero_large_reused, NULL, "" },
    { "calloc_zero_after_shrink", check_calloc_zero_after_shrink, NULL, "" },
    { "calloc_zero_after_remote_free", check_calloc_zero_after_remote_free, NULL, "" },
    { "calloc_zero_after_trim", check_calloc_zero_after_trim, NULL, "" },
    { "usable_to_last_byte", check_usable_to_last_byte, NULL, "" },
    { "usable_size_of_large", check_usable_size_of_large, NULL, "" },
    { "usable_size_after_realloc", check_usable_size_after_realloc, NULL, "" },
    { "mprotect_inside_block", check_mprotect_inside_block, NULL, "" },
    { "shadow_one_thread", check_shadow_one_thread, NULL, "" },
    { "shadow_small_blocks", check_shadow_small_blocks, NULL, "" },
    { "shadow_threads", check_shadow_threads, NULL, "" },
    { "shadow_exchange_between_threads", check_shadow_exchange, NULL, "" },
    { "living_blocks_are_disjoint", check_living_blocks_are_disjoint, NULL, "" },
    { NULL, NULL, NULL, NULL },
};
