/* preload/info.c: mallinfo and its like, and the names under which glibc has malloc a second time. */
#define _GNU_SOURCE
#include "check.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tables.h"

/* glibc's second names; programs that wrap malloc call them. */
extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *ptr, size_t size);
extern void *__libc_memalign(size_t alignment, size_t size);
extern void *__libc_valloc(size_t size);
extern void *__libc_pvalloc(size_t size);
extern void __libc_free(void *ptr);

/* C23 and older names, where the library has them. */
extern void free_sized(void *ptr, size_t size) __attribute__((weak));
extern void free_aligned_sized(void *ptr, size_t alignment, size_t size) __attribute__((weak));

static void *take(unsigned entry, size_t size)
{
    switch (entry) {
    case 0:
        return malloc(size);
    case 1:
        return __libc_malloc(size);
    case 2:
        return __libc_calloc(1, size);
    case 3:
        return __libc_memalign(64, size);
    case 4:
        return __libc_valloc(size);
    case 5:
        return __libc_pvalloc(size);
    case 6:
        return __libc_realloc(NULL, size);
    default:
        return strdup("text");
    }
}

/* Each way to get a block with each way to grow and to free it. */
static void check_libc_names_mix(void)
{
    for (unsigned round = 0; round < 200; round++) {
        for (unsigned from = 0; from < 8; from++) {
            for (unsigned to = 0; to < 4; to++) {
                size_t size = from == 7 ? 5 : 8 + round * 37;
                void *p = take(from, size);
                EXPECT(p != NULL);
                EXPECT_CMP(malloc_usable_size(p), >=, size);
                fill(p, size, round);
                if (to % 2 == 0)
                    p = to == 0 ? realloc(p, size * 2) : __libc_realloc(p, size * 2);
                EXPECT(p != NULL && verify(p, size, round));
                if (to < 2)
                    free(p);
                else
                    __libc_free(p);
            }
        }
    }
}

static void check_libc_names_fail(void)
{
    errno = 0;
    EXPECT(__libc_malloc(opaque(SIZE_MAX)) == NULL && errno == ENOMEM);
    errno = 0;
    EXPECT(__libc_calloc(opaque(SIZE_MAX), 2) == NULL && errno == ENOMEM);
    errno = 0;
    EXPECT(__libc_memalign(64, opaque(SIZE_MAX - 100)) == NULL && errno == ENOMEM);
    errno = 0;
    EXPECT(__libc_pvalloc(opaque(SIZE_MAX - 100)) == NULL && errno == ENOMEM);
    __libc_free(NULL);
}

#ifndef BATTERY_NO_DLOPEN
/* The second names and the first are the same heap: one that stayed glibc's would put the block into the break. */
static void check_libc_names_are_same_heap(void)
{
    Dl_info first, second;
    EXPECT(dladdr(dlsym(RTLD_DEFAULT, "malloc"), &first) != 0);
    EXPECT(dladdr(dlsym(RTLD_DEFAULT, "__libc_malloc"), &second) != 0);
    EXPECT(strcmp(first.dli_fname, second.dli_fname) == 0);
    EXPECT(dladdr(dlsym(RTLD_DEFAULT, "__libc_free"), &second) != 0);
    EXPECT(strcmp(first.dli_fname, second.dli_fname) == 0);
}

/* Every name of glibc's family is the library's, none is left behind to glibc's heap. */
static void check_all_names_are_same_library(void)
{
    static const char *const names[] = {
        "malloc",        "free",           "calloc",  "realloc",  "reallocarray",       "memalign",
        "aligned_alloc", "posix_memalign", "valloc",  "pvalloc",  "malloc_usable_size", "malloc_trim",
        "malloc_stats",  "malloc_info",    "mallopt", "mallinfo", "mallinfo2"
    };
    Dl_info first, other;
    EXPECT(dladdr(dlsym(RTLD_DEFAULT, "malloc"), &first) != 0);
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        void *symbol = dlsym(RTLD_DEFAULT, names[i]);
        if (symbol == NULL || dladdr(symbol, &other) == 0 || strcmp(first.dli_fname, other.dli_fname) != 0) {
            check_fail(__FILE__, __LINE__, names[i]);
        }
    }
}
#endif

static size_t used_now(void)
{
    struct mallinfo2 info = mallinfo2();
    return info.uordblks + info.hblkhd;
}

static void mallinfo_follows(size_t block, size_t count)
{
    void **table = mmap(NULL, count * sizeof *table, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    EXPECT(table != MAP_FAILED);
    size_t total = block * count, before = used_now();
    for (size_t i = 0; i < count; i++) {
        table[i] = malloc(block);
        EXPECT(table[i] != NULL);
    }
    size_t during = used_now();
    EXPECT_CMP(during, >=, before + total / 10 * 9);
    EXPECT_CMP(during, <=, before + total * 2 + 8 * MIB);
    for (size_t i = 0; i < count; i++)
        free(table[i]);
    EXPECT_CMP(used_now(), <=, before + total / 4);
    munmap(table, count * sizeof *table);
}

static void check_mallinfo2_follows_small(void)
{
    mallinfo_follows(100, 300000);
}
static void check_mallinfo2_follows_medium(void)
{
    mallinfo_follows(10000, 3000);
}
static void check_mallinfo2_follows_huge(void)
{
    mallinfo_follows(32 * MIB, 4);
}

static void check_mallinfo2_plausible(void)
{
    void *p = malloc(20 * MIB), *q = malloc(1000);
    EXPECT(p != NULL && q != NULL);
    struct mallinfo2 info = mallinfo2();
    EXPECT_CMP(info.uordblks + info.hblkhd, >=, 20 * MIB);
    EXPECT_CMP(info.arena + info.hblkhd, >=, info.uordblks);
    EXPECT_CMP(info.arena + info.hblkhd, <=, 2 * GIB);
    free(p);
    free(q);
}

static void check_mallinfo_old(void)
{
    void *p = malloc(3 * MIB);
    EXPECT(p != NULL);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
    struct mallinfo info = mallinfo();
#pragma GCC diagnostic pop
    EXPECT(info.uordblks >= 0 && info.hblkhd >= 0);
    EXPECT_CMP((size_t)info.uordblks + (size_t)info.hblkhd, >=, 3 * MIB);
    free(p);
}

static void check_mallopt_accepts(void)
{
    EXPECT_CMP(mallopt(M_MMAP_THRESHOLD, 256 * 1024), ==, 1);
    EXPECT_CMP(mallopt(M_TRIM_THRESHOLD, 1024 * 1024), ==, 1);
    EXPECT_CMP(mallopt(M_TOP_PAD, 64 * 1024), ==, 1);
    EXPECT_CMP(mallopt(M_MMAP_MAX, 1000), ==, 1);
    EXPECT_CMP(mallopt(M_ARENA_MAX, 4), ==, 1);
    EXPECT_CMP(mallopt(M_PERTURB, 0), ==, 1);
    exercise(1);
}

static void check_malloc_trim_result(void)
{
    void *blocks[20000];
    for (size_t i = 0; i < COUNT_OF(blocks); i++) {
        blocks[i] = malloc(3000);
        EXPECT(blocks[i] != NULL);
        memset(blocks[i], 1, 3000);
    }
    for (size_t i = 0; i < COUNT_OF(blocks); i++)
        free(blocks[i]);
    int result = malloc_trim(0);
    EXPECT(result == 0 || result == 1);
    result = malloc_trim(0);
    EXPECT(result == 0 || result == 1);
    exercise(1);
}

/* XML whose elements close in the order that they open. */
static void expect_xml(const char *text)
{
    const char *open[32];
    size_t lengths[32], depth = 0, elements = 0;
    for (const char *at = text; (at = strchr(at, '<')) != NULL;) {
        const char *end = strchr(at, '>');
        EXPECT(end != NULL);
        if (at[1] == '?' || at[1] == '!') {
            at = end;
            continue;
        }
        elements++;
        if (at[1] == '/') {
            EXPECT(depth > 0);
            depth--;
            EXPECT((size_t)(end - at - 2) == lengths[depth] && strncmp(at + 2, open[depth], lengths[depth]) == 0);
        } else if (end[-1] != '/') {
            EXPECT(depth < COUNT_OF(open));
            open[depth] = at + 1;
            lengths[depth++] = strcspn(at + 1, " >\n");
        }
        at = end;
    }
    EXPECT_CMP(depth, ==, 0);
    EXPECT_CMP(elements, >=, 2);
}

static void check_malloc_info_writes_xml(void)
{
    static char text[1 << 20];
    char path[] = "/tmp/battery-XXXXXX";
    int fd = mkstemp(path);
    EXPECT(fd >= 0);
    unlink(path);
    FILE *file = fdopen(fd, "w+");
    EXPECT(file != NULL);
    void *p = malloc(100), *q = malloc(100000);
    EXPECT(malloc_info(0, file) == 0);
    EXPECT(fflush(file) == 0);
    rewind(file);
    size_t n = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[n] = '\0';
    EXPECT(strncmp(text, "<malloc", 7) == 0 || strncmp(text, "<?xml", 5) == 0);
    EXPECT(strstr(text, "</malloc>") != NULL);
    expect_xml(text);
    free(p);
    free(q);
}

static void check_malloc_info_refuses_options(void)
{
    EXPECT(malloc_info(1, stdout) != 0);
}

/* malloc_stats writes to stderr, nowhere else. */
static void check_malloc_stats_writes_to_stderr(void)
{
    int ends[2], other[2], saved[2] = { dup(1), dup(2) };
    EXPECT(pipe2(ends, O_NONBLOCK) == 0 && pipe2(other, O_NONBLOCK) == 0);
    fcntl(ends[1], F_SETPIPE_SZ, 1 << 20);
    exercise(1);
    dup2(ends[1], 2);
    dup2(other[1], 1);
    malloc_stats();
    fflush(NULL);
    dup2(saved[1], 2);
    dup2(saved[0], 1);
    char text[64];
    EXPECT(read(ends[0], text, sizeof text) > 0);
    EXPECT(read(other[0], text, sizeof text) < 0);
}

static void check_cfree(void)
{
    void (*cfree_function)(void *) = NULL;
#ifndef BATTERY_NO_DLOPEN
    void *symbol = dlsym(RTLD_DEFAULT, "cfree");
    memcpy(&cfree_function, &symbol, sizeof symbol);
#endif
    if (cfree_function == NULL)
        check_skip("no cfree here");
    for (unsigned i = 0; i < 100000; i++) {
        void *p = malloc(1000);
        EXPECT(p != NULL);
        memset(p, 1, 1000);
        cfree_function(p);
    }
    cfree_function(NULL);
    EXPECT_CMP(rss_bytes(), <=, 32 * MIB);
}

static void check_free_sized(void)
{
    if (free_sized == NULL)
        check_skip("no free_sized here");
    errno = ERRNO_MARK;
    for (size_t size = 0; size < 4 * MIB; size = size < 2000 ? size + 1 : size * 9 / 7) {
        void *p = malloc(size), *q = calloc(1, size), *r = realloc(malloc(size / 2), size == 0 ? 1 : size);
        EXPECT(p != NULL && q != NULL && r != NULL);
        free_sized(p, size);
        free_sized(q, size);
        free_sized(r, size == 0 ? 1 : size);
    }
    free_sized(NULL, 0);
    EXPECT_CMP(errno, ==, ERRNO_MARK);
}

static void check_free_aligned_sized(void)
{
    if (free_aligned_sized == NULL)
        check_skip("no free_aligned_sized here");
    errno = ERRNO_MARK;
    for (size_t a = 16; a <= 4 * MIB; a *= 4) {
        for (size_t size = 0; size < 2 * MIB; size = size < 64 ? size + 1 : size * 2 + 3) {
            void *p = aligned_alloc(a, size);
            EXPECT(p != NULL);
            free_aligned_sized(p, a, size);
        }
    }
    free_aligned_sized(NULL, 64, 64);
    EXPECT_CMP(errno, ==, ERRNO_MARK);
}

const struct check checks_info[] = {
    { "libc_names_mix", check_libc_names_mix, NULL, "" },
    { "libc_names_fail_with_enomem", check_libc_names_fail, NULL, "" },
#ifndef BATTERY_NO_DLOPEN
    { "libc_names_are_same_library", check_libc_names_are_same_heap, NULL, "" },
    { "all_names_are_same_library", check_all_names_are_same_library, NULL, "" },
#endif
    { "mallinfo2_plausible", check_mallinfo2_plausible, NULL, "" },
    { "mallinfo2_follows_small", check_mallinfo2_follows_small, NULL, "" },
    { "mallinfo2_follows_medium", check_mallinfo2_follows_medium, NULL, "" },
    { "mallinfo2_follows_huge", check_mallinfo2_follows_huge, NULL, "" },
    { "mallinfo_old", check_mallinfo_old, NULL, "" },
    { "mallopt_accepts", check_mallopt_accepts, NULL, "" },
    { "malloc_trim_result", check_malloc_trim_result, NULL, "" },
    { "malloc_info_writes_xml", check_malloc_info_writes_xml, NULL, "" },
    { "malloc_info_refuses_options", check_malloc_info_refuses_options, NULL, "" },
    { "malloc_stats_writes_to_stderr", check_malloc_stats_writes_to_stderr, NULL, "" },
    { "cfree", check_cfree, NULL, "" },
    { "free_sized", check_free_sized, NULL, "" },
    { "free_aligned_sized", check_free_aligned_sized, NULL, "" },
    { NULL, NULL, NULL, NULL },
};
