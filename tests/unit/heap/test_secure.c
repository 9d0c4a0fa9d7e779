/* unit/heap/test_secure.c: the guards of the hardened heap: pages after large blocks and sampled small blocks. The
 * program starts itself again with OURO_SECURE=1. */
#define _GNU_SOURCE
#include "unit/unit.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <ouro/ouro.h>

#include "pool/pool.h"

enum { BLOCKS = 8192, BLOCK_BYTES = 40 };

static void *blocks[BLOCKS];

static void write_to(char *p)
{
    *(volatile char *)p = 1;
}

static void read_from(char *p)
{
    (void)*(volatile char *)p;
}

static void free_it(char *p)
{
    ouro_free(p);
}

/* The signal that a child dies of when it does that; 0: of none. */
static int dies_of(void (*act)(char *p), char *p)
{
    pid_t pid = fork();
    if (pid == 0) {
        const struct rlimit none = { 0, 0 };
        setrlimit(RLIMIT_CORE, &none);
        signal(SIGSEGV, SIG_DFL);
        if (freopen("/dev/null", "w", stderr) == NULL)
            _exit(1);
        act(p);
        _exit(0);
    }
    int status = 0;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        continue;
    return WIFSIGNALED(status) ? WTERMSIG(status) : -WEXITSTATUS(status);
}

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define HAS_HANDLER 1 /* the sanitizer's, which ends the process otherwise */
#else
#define HAS_HANDLER 0
#endif

static void assert_out_of_reach(void (*act)(char *p), char *p)
{
    int how = dies_of(act, p);
    assert_true(how == SIGSEGV || (HAS_HANDLER && how != 0));
}

static bool is_sample(const void *p)
{
    const struct ouroi_run *run = ouroi_run_find(p);
    return run->kind == OUROI_RUN_LARGE && run->slices == 1;
}

static void make_blocks(void)
{
    for (size_t i = 0; i < BLOCKS; i++) {
        blocks[i] = ouro_malloc(BLOCK_BYTES);
        assert_non_null(blocks[i]);
        assert_int_equal((uintptr_t)blocks[i] % 16, 0);
        memset(blocks[i], 1, BLOCK_BYTES);
    }
}

static void free_blocks(void)
{
    for (size_t i = 0; i < BLOCKS; i++)
        ouro_free(blocks[i]);
}

static void test_a_guard_after_large_blocks(void **state)
{
    (void)state;
    static const size_t sizes[] = { 33000, 300000, 3000000, 40000000 };
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        char *p = ouro_malloc(sizes[i]);
        assert_non_null(p);
        memset(p, 1, sizes[i]);
        struct ouroi_run *run = ouroi_run_find(p);
        char *end = (char *)run->start + run->bytes;
        assert_true(run->guarded && end - (p + sizes[i]) <= 16 + 2 * (ptrdiff_t)ouroi_machine.page_bytes);
        assert_out_of_reach(write_to, end - 1);
        assert_int_equal(dies_of(write_to, p + sizes[i] - 1), 0);
        ouro_free(p);
    }
}

/* A program with many large blocks keeps most of its mappings for itself. */
static void test_not_all_are_guarded(void **state)
{
    (void)state;
    enum { COUNT = 12000 };
    static void *many[COUNT];
    size_t guarded = 0;
    for (size_t i = 0; i < COUNT; i++) {
        many[i] = ouro_malloc(33000);
        assert_non_null(many[i]);
        guarded += ouroi_run_find(many[i])->guarded;
    }
    assert_in_range(guarded, 4000, 8192);
    for (size_t i = 0; i < COUNT; i++)
        ouro_free(many[i]);
    void *p = ouro_malloc(33000);
    assert_true(ouroi_run_find(p)->guarded);
    ouro_free(p);
}

static void test_samples(void **state)
{
    (void)state;
    make_blocks();
    size_t samples = 0;
    for (size_t i = 0; i < BLOCKS; i++) {
        if (!is_sample(blocks[i]))
            continue;
        samples++;
        if (samples > 4)
            continue;
        char *p = blocks[i];
        assert_int_equal(ouro_usable_size(p), BLOCK_BYTES);
        assert_int_equal(((uintptr_t)p + BLOCK_BYTES + 15) / 16 * 16 % ouroi_machine.page_bytes, 0);
        assert_out_of_reach(read_from, p + 48);
        assert_int_equal(dies_of(free_it, p + 16), SIGABRT);
        ouro_free(p);
        assert_out_of_reach(read_from, p);
        assert_int_equal(dies_of(free_it, p), SIGABRT);
        blocks[i] = NULL;
    }
    assert_in_range(samples, 1, BLOCKS / 64); /* 8 in the mean, never further apart than 2048 */
    free_blocks();
}

/* Samples and guards leave nothing behind: a hundred rounds take no more than the first ones. */
static void test_guards_are_opened_again(void **state)
{
    (void)state;
    size_t first = 0;
    for (unsigned round = 0; round < 40; round++) {
        make_blocks();
        free_blocks();
        for (unsigned i = 0; i < 20; i++)
            ouro_free(ouro_malloc(100000 + i * 5000));
        ouro_alloc_stats stats;
        ouro_stats_get(&stats);
        if (round == 4)
            first = stats.committed;
    }
    ouro_alloc_stats stats;
    ouro_stats_get(&stats);
    assert_true(stats.committed <= 2 * first);
    /* What large blocks had is used by others, to the last page. */
    char *p = ouro_heap_malloc(ouro_heap_new(), 200000);
    assert_non_null(p);
    memset(p, 1, 200000);
}

static int refuse(void *at, size_t bytes, bool access)
{
    (void)at;
    (void)bytes;
    (void)access;
    return -ENOMEM;
}

/* The kernel has no more mappings to give. */
static void test_no_guards_to_be_had(void **state)
{
    (void)state;
    int (*real)(void *at, size_t bytes, bool access) = ouroi_os.protect;
    ouroi_os.protect = refuse;
    make_blocks();
    for (size_t i = 0; i < BLOCKS; i++) {
        blocks[i] = ouro_realloc(blocks[i], 2 * BLOCK_BYTES);
        assert_non_null(blocks[i]);
    }
    free_blocks();
    char *p = ouro_malloc(100000);
    assert_non_null(p);
    assert_false(ouroi_run_find(p)->guarded);
    ouroi_os.protect = real;
    ouro_free(p);
    make_blocks();
    ouroi_os.protect = refuse; /* and now what is guarded cannot be opened */
    free_blocks();
    make_blocks();
    ouroi_os.protect = real;
    free_blocks();
}

int main(int argc, char **argv)
{
    (void)argc;
    if (getenv("OURO_SECURE") == NULL) {
        setenv("OURO_SECURE", "1", 1);
        execv("/proc/self/exe", argv);
        return 1;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_guard_after_large_blocks),
        cmocka_unit_test(test_not_all_are_guarded),
        cmocka_unit_test(test_samples),
        cmocka_unit_test(test_guards_are_opened_again),
        cmocka_unit_test(test_no_guards_to_be_had),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
