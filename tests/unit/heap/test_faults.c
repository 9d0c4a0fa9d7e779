/* unit/heap/test_faults.c: every call of the OS fails once, in turn, and then all from the n-th on.
 *
 * A child for each n, which is its first call of the allocator: a scenario runs with the fault, where each request may be
 * refused, with NULL and ENOMEM, and nothing else may go wrong. Then the fault is over: the same scenario succeeds, all is
 * as it was before, and ouro_debug_check finds nothing. n ends where the scenario makes fewer calls.
 * `unit_heap.faults N` (or `N+`) runs one of them in the process itself, for a debugger.
 */
#define _GNU_SOURCE
#include "unit/unit.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <ouro/ouro.h>

#include "api/shadow.h"
#include "os/os.h"

/* The calls that can fail, counted. Which n fails: from `first` to `last`. */
static struct ouroi_os real;
static unsigned long calls, first, last, refused;

static bool fails(void)
{
    unsigned long n = __atomic_add_fetch(&calls, 1, __ATOMIC_RELAXED);
    bool is = n >= first && n <= last;
    if (is)
        __atomic_add_fetch(&refused, 1, __ATOMIC_RELAXED);
    return is;
}

static void *map(void *at, size_t bytes, unsigned flags, int *error)
{
    if (!fails())
        return real.map(at, bytes, flags, error);
    *error = -ENOMEM;
    return NULL;
}

static int unmap(void *at, size_t bytes)
{
    return fails() ? -ENOMEM : real.unmap(at, bytes); /* the kernel may have no room to split a mapping */
}

static int purge(void *at, size_t bytes)
{
    return fails() ? -EINVAL : real.purge(at, bytes);
}

static int resize(void *at, size_t old_bytes, size_t new_bytes)
{
    return fails() ? -ENOMEM : real.resize(at, old_bytes, new_bytes);
}

static int move(void *from, size_t bytes, void *to, size_t to_bytes)
{
    return fails() ? -ENOMEM : real.move(from, bytes, to, to_bytes);
}

static int protect(void *at, size_t bytes, bool access)
{
    return fails() ? -ENOMEM : real.protect(at, bytes, access);
}

static int bind(void *at, size_t bytes, int node)
{
    return fails() ? -EPERM : real.bind(at, bytes, node);
}

static int advise_huge(void *at, size_t bytes, bool on)
{
    return fails() ? -EINVAL : real.advise_huge(at, bytes, on);
}

static void set_fault(unsigned long from, unsigned long to)
{
    first = from;
    last = to;
    calls = refused = 0;
}

static void install(void)
{
    real = ouroi_os;
    ouroi_os.map = map;
    ouroi_os.unmap = unmap;
    ouroi_os.purge = purge;
    ouroi_os.resize = resize;
    ouroi_os.move = move;
    ouroi_os.protect = protect;
    ouroi_os.bind = bind;
    ouroi_os.advise_huge = advise_huge;
}

/* The scenario */

enum { BLOCKS = 400 };
static struct shadow_block blocks[BLOCKS];
static bool may_fail;
static unsigned long nulls;

static bool got(const void *ptr)
{
    if (ptr == NULL) {
        nulls++;
        CHILD_EXPECT(may_fail);
        CHILD_EXPECT(errno == ENOMEM);
    }
    return ptr != NULL;
}

static void take(size_t i, void *ptr, size_t size)
{
    if (got(ptr))
        shadow_claim(&blocks[i], ptr, size, i * 7919 + 1);
}

static void drop(size_t i)
{
    void *ptr = blocks[i].ptr;
    if (ptr == NULL)
        return;
    shadow_release(&blocks[i]);
    errno = 7777;
    ouro_free(ptr);
    CHILD_EXPECT(errno == 7777);
}

static void resize_to(size_t i, size_t size)
{
    struct shadow_block *b = &blocks[i];
    if (b->ptr == NULL)
        return;
    size_t kept = size < b->size ? size : b->size;
    shadow_release_bytes(b);
    errno = 0;
    void *ptr = ouro_realloc(b->ptr, size);
    if (!got(ptr)) {
        CHILD_EXPECT(size > b->size); /* to shrink needs no memory */
        shadow_claim_bytes(b);
        shadow_verify(b);
        return;
    }
    shadow_check_kept(b, ptr, kept);
    shadow_claim(b, ptr, size, b->seed + 1);
}

static void *in_thread(void *arg)
{
    size_t base = (size_t)(uintptr_t)arg;
    for (size_t i = base; i < base + 40; i++) {
        errno = 0;
        take(i, ouro_malloc(i * 90), i * 90);
        drop(i - 40); /* of another thread */
    }
    return NULL;
}

static void use_heap(void)
{
    errno = 0;
    ouro_heap *heap = ouro_heap_new();
    if (!got(heap))
        return;
    for (size_t i = 0; i < 60; i++) {
        size_t size = i % 10 == 9 ? i * 40000 : i * 300;
        errno = 0;
        char *p = i % 3 == 0 ? ouro_heap_calloc(heap, 1, size) : ouro_heap_malloc(heap, size);
        if (got(p) && size > 0)
            p[0] = p[size - 1] = 1;
        errno = 0;
        void *q = i % 7 == 0 && p != NULL ? ouro_heap_realloc(heap, p, size * 3 + 50) : NULL;
        if (i % 7 == 0 && p != NULL)
            got(q);
        if (i % 5 == 0 && i % 7 != 0)
            ouro_free(p);
    }
    errno = 0;
    void *aligned = ouro_heap_aligned_alloc(heap, 1 << 20, 100);
    got(aligned);
    ouro_heap_destroy(heap);
}

static void scenario(void)
{
    static const size_t big[] = { 100 * KIB, 900 * KIB, 3 * MIB, 17 * MIB, 40 * MIB };
    for (size_t i = 0; i < 60; i++) { /* each kind of size */
        size_t size = (size_t)1 << i % 15;
        errno = 0;
        take(i, i % 4 == 0 ? ouro_calloc(1, size) : ouro_malloc(size), size);
    }
    for (size_t i = 0; i < COUNT_OF(big); i++) {
        errno = 0;
        take(60 + i, ouro_malloc(big[i]), big[i]);
        errno = 0;
        char *zero = ouro_calloc(1, big[i] + 5000);
        if (got(zero))
            CHILD_EXPECT(zero[0] == 0 && zero[big[i]] == 0);
        take(70 + i, zero, zero != NULL ? big[i] + 5000 : 0);
        errno = 0;
        take(80 + i, ouro_aligned_alloc((size_t)1 << (14 + 3 * i), big[i] / 3), big[i] / 3);
    }
    for (size_t i = 60; i < 90; i++) { /* up and down */
        resize_to(i, blocks[i].size * 2 + 100);
        resize_to(i, blocks[i].size / 4 + 10);
        resize_to(i, blocks[i].size * 5);
    }
    for (size_t i = 0; i < 60; i++)
        resize_to(i, blocks[i].size * 3);
    use_heap();
    for (size_t base = 120; base < 280; base += 40) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, in_thread, (void *)(uintptr_t)base) == 0)
            pthread_join(thread, NULL);
    }
    ouro_trim();
    for (size_t i = 0; i < BLOCKS; i += 2)
        drop(i);
    ouro_trim();
    for (size_t i = 280; i < 340; i++) {
        errno = 0;
        take(i, ouro_malloc(3000), 3000);
    }
    for (size_t i = 0; i < BLOCKS; i++)
        drop(i);
    ouro_trim();
}

struct plan {
    unsigned long from, to;
};

static void run_plan(void *arg)
{
    struct plan *plan = arg;
    install();
    set_fault(plan->from, plan->to);
    may_fail = true;
    scenario();
    bool reached = refused > 0;
    unsigned long refusals = refused;
    set_fault(0, 0);
    ouro_alloc_stats stats;
    ouro_stats_get(&stats);
    CHILD_EXPECT(stats.mallocs == stats.frees);
    CHILD_EXPECT(stats.allocated == 0);
    CHILD_EXPECT(ouro_debug_check() == 0);
    may_fail = false;
    scenario(); /* service resumes: nothing is refused */
    ouro_stats_get(&stats);
    CHILD_EXPECT(stats.mallocs == stats.frees);
    CHILD_EXPECT(stats.allocated == 0);
    CHILD_EXPECT(ouro_debug_check() == 0);
    if (plan->from % 8 == 0) { /* nothing leaked: another round needs no more */
        size_t committed = stats.committed;
        scenario();
        ouro_stats_get(&stats);
        CHILD_EXPECT(stats.committed <= committed + 8 * MIB);
    }
    fprintf(stderr, "%s %lu\n", reached ? "reached" : "past", refusals);
}

static unsigned long stride(void)
{
    if (OUROI_RACES_SEEN) /* a fork takes long there */
        return 9;
    const char *longer = getenv("OURO_TEST_LONG");
    return longer != NULL && strcmp(longer, "0") != 0 ? 1 : 3;
}

static void run_until_past(bool all_later)
{
    unsigned long step = stride(), n = 1;
    for (;; n += n < 60 && step < 9 ? 1 : step) {
        char text[600];
        struct plan plan = { n, all_later ? n + 1000000 : n };
        int status = unit_in_child(run_plan, &plan, text, sizeof text);
        if (!unit_child_returned(status) || strstr(text, "reached") == NULL) {
            if (unit_child_returned(status) && strncmp(text, "past", 4) == 0)
                break;
            print_message("call %lu%s: status %d: %s\n", n, all_later ? " and later" : "", status, text);
            fail();
        }
        assert_true(n < 20000);
    }
    print_message("%lu calls\n", n);
    assert_true(n > 20);
}

static void test_the_nth_call_fails(void **state)
{
    (void)state;
    run_until_past(false);
}

static void test_all_calls_from_the_nth_fail(void **state)
{
    (void)state;
    run_until_past(true);
}

int main(int argc, char **argv)
{
    if (argc > 1) { /* N, or N+: that one alone, in this process */
        struct plan plan = { strtoul(argv[1], NULL, 10), strtoul(argv[1], NULL, 10) };
        plan.to += strchr(argv[1], '+') != NULL ? 1000000 : 0;
        run_plan(&plan);
        return 0;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_nth_call_fails),
        cmocka_unit_test(test_all_calls_from_the_nth_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
