/* preload/first.c: each entry point as the first call of the process.
 *
 * Twice each: in main, and before any constructor has run, the library's own included. Afterwards all must work.
 */
#define _GNU_SOURCE
#include "check.h"

#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tables.h"

static void first_free_null(void)
{
    errno = ERRNO_MARK;
    free(keep(NULL));
    EXPECT_CMP(errno, ==, ERRNO_MARK);
}

static void first_usable_size_null(void)
{
    errno = ERRNO_MARK;
    EXPECT_CMP(malloc_usable_size(keep(NULL)), ==, 0);
    EXPECT_CMP(errno, ==, ERRNO_MARK);
}

static void use_and_free(void *p, size_t size)
{
    EXPECT(p != NULL);
    fill(p, size, 3);
    EXPECT(verify(p, size, 3));
    free(p);
}

static void first_malloc(void)
{
    use_and_free(malloc(opaque(40)), 40);
}
static void first_malloc_zero(void)
{
    use_and_free(malloc(opaque(0)), 0);
}
static void first_malloc_medium(void)
{
    use_and_free(malloc(opaque(20000)), 20000);
}
static void first_malloc_large(void)
{
    use_and_free(malloc(opaque(5 * MIB)), 5 * MIB);
}
static void first_realloc_null(void)
{
    use_and_free(realloc(keep(NULL), opaque(40)), 40);
}
static void first_realloc_null_zero(void)
{
    use_and_free(realloc(keep(NULL), opaque(0)), 0);
}
static void first_reallocarray_null(void)
{
    use_and_free(reallocarray(keep(NULL), opaque(4), 10), 40);
}
static void first_memalign(void)
{
    use_and_free(memalign(64, opaque(100)), 100);
}
static void first_memalign_large(void)
{
    use_and_free(memalign(4 * MIB, opaque(100)), 100);
}
static void first_aligned_alloc(void)
{
    use_and_free(aligned_alloc(256, opaque(512)), 512);
}
static void first_valloc(void)
{
    use_and_free(valloc(opaque(100)), 100);
}
static void first_pvalloc(void)
{
    use_and_free(pvalloc(opaque(100)), 4096);
}

static void first_calloc(void)
{
    void *p = calloc(opaque(10), 10);
    EXPECT(p != NULL && is_zero(p, 100));
    use_and_free(p, 100);
}

static void first_posix_memalign(void)
{
    void *p = NULL;
    EXPECT(posix_memalign(&p, 128, opaque(100)) == 0 && is_aligned(p, 128));
    use_and_free(p, 100);
}

static void first_posix_memalign_wrong(void)
{
    void *p = NULL;
    EXPECT(posix_memalign(&p, opaque(3), opaque(100)) == EINVAL && p == NULL);
}

static void first_malloc_impossible(void)
{
    errno = 0;
    EXPECT(malloc(opaque(SIZE_MAX)) == NULL);
    EXPECT_CMP(errno, ==, ENOMEM);
}

static void first_calloc_overflow(void)
{
    errno = 0;
    EXPECT(calloc(opaque(SIZE_MAX), opaque(SIZE_MAX)) == NULL);
    EXPECT_CMP(errno, ==, ENOMEM);
}

static void first_malloc_trim(void)
{
    EXPECT(malloc_trim(0) >= 0);
}
static void first_mallopt(void)
{
    EXPECT_CMP(mallopt(M_ARENA_MAX, 2), ==, 1);
}

static void first_mallinfo2(void)
{
    struct mallinfo2 info = mallinfo2();
    EXPECT_CMP(info.uordblks, <=, 64 * MIB);
}

static void first_malloc_stats(void)
{
    malloc_stats();
}

static void first_malloc_info(void)
{
    EXPECT(malloc_info(0, stdout) == 0);
}

static void first_fork(void)
{
    pid_t pid = fork();
    if (pid == 0) {
        exercise(1);
        _exit(0);
    }
    expect_child_ok(pid);
}

static void *thread_exercises(void *arg)
{
    exercise(1);
    return arg;
}

static void first_thread(void)
{
    thread_join(thread_start(thread_exercises, NULL, 0));
}

/* Each pair of functions: the call in main, the call before constructors; then all that there is. */
#define FIRST(name)                \
    static void check_##name(void) \
    {                              \
        name();                    \
        exercise(1);               \
        name();                    \
    }
#define EARLY_THEN(name)                       \
    {                                          \
        "early_" #name, check_##name, name, "" \
    }
#define MAIN_ONLY(name)               \
    {                                 \
#name, check_##name, NULL, "" \
    }
#define BOTH(name) MAIN_ONLY(name), EARLY_THEN(name)

FIRST(first_free_null)
FIRST(first_usable_size_null)
FIRST(first_malloc)
FIRST(first_malloc_zero)
FIRST(first_malloc_medium)
FIRST(first_malloc_large)
FIRST(first_calloc)
FIRST(first_realloc_null)
FIRST(first_realloc_null_zero)
FIRST(first_reallocarray_null)
FIRST(first_memalign)
FIRST(first_memalign_large)
FIRST(first_aligned_alloc)
FIRST(first_posix_memalign)
FIRST(first_posix_memalign_wrong)
FIRST(first_valloc)
FIRST(first_pvalloc)
FIRST(first_malloc_impossible)
FIRST(first_calloc_overflow)
FIRST(first_malloc_trim)
FIRST(first_mallopt)
FIRST(first_mallinfo2)
FIRST(first_malloc_stats)
FIRST(first_malloc_info)
FIRST(first_fork)
FIRST(first_thread)

const struct check checks_first[] = {
    BOTH(first_free_null),
    BOTH(first_usable_size_null),
    BOTH(first_malloc),
    BOTH(first_malloc_zero),
    BOTH(first_malloc_medium),
    BOTH(first_malloc_large),
    BOTH(first_calloc),
    BOTH(first_realloc_null),
    BOTH(first_realloc_null_zero),
    BOTH(first_reallocarray_null),
    BOTH(first_memalign),
    BOTH(first_memalign_large),
    BOTH(first_aligned_alloc),
    BOTH(first_posix_memalign),
    BOTH(first_posix_memalign_wrong),
    BOTH(first_valloc),
    BOTH(first_pvalloc),
    BOTH(first_malloc_impossible),
    BOTH(first_calloc_overflow),
    BOTH(first_malloc_trim),
    BOTH(first_mallopt),
    BOTH(first_mallinfo2),
    BOTH(first_malloc_stats),
    BOTH(first_malloc_info),
    BOTH(first_fork),
    BOTH(first_thread),
    { NULL, NULL, NULL, NULL },
};
