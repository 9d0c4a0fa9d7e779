/* preload/memory.c: what is taken from the OS, and what goes back. */
#define _GNU_SOURCE
#include "check.h"

#include <malloc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tables.h"

static void check_shrink_returns_tail(void)
{
    size_t before = rss_bytes();
    char *p = malloc(256 * MIB);
    EXPECT(p != NULL);
    touch(p, 256 * MIB);
    fill(p, 1 * MIB, 1);
    p = realloc(p, 1 * MIB);
    EXPECT(p != NULL && verify(p, 1 * MIB, 1));
    EXPECT_CMP(wait_for_rss(before + 16 * MIB, 1000), <=, before + 16 * MIB);
    free(p);
}

static void check_shrink_to_small_returns_all(void)
{
    size_t before = rss_bytes();
    char *p = malloc(128 * MIB);
    EXPECT(p != NULL);
    touch(p, 128 * MIB);
    fill(p, 100, 1);
    p = realloc(p, 100);
    EXPECT(p != NULL && verify(p, 100, 1));
    EXPECT_CMP(wait_for_rss(before + 16 * MIB, 1000), <=, before + 16 * MIB);
    free(p);
}

static void check_shrink_in_steps_returns_tail(void)
{
    size_t before = rss_bytes();
    char *p = malloc(128 * MIB);
    EXPECT(p != NULL);
    touch(p, 128 * MIB);
    fill(p, 2 * MIB, 1);
    for (size_t size = 128 * MIB; size >= 2 * MIB; size -= 1 * MIB) {
        p = realloc(p, size);
        EXPECT(p != NULL);
    }
    EXPECT(verify(p, 2 * MIB, 1));
    EXPECT_CMP(wait_for_rss(before + 20 * MIB, 1000), <=, before + 20 * MIB);
    free(p);
}

static void check_free_huge_goes_back(void)
{
    size_t before = rss_bytes();
    for (unsigned round = 0; round < 3; round++) {
        char *p = malloc(512 * MIB);
        EXPECT(p != NULL);
        touch(p, 512 * MIB);
        free(p);
        EXPECT_CMP(wait_for_rss(before + 32 * MIB, 1000), <=, before + 32 * MIB);
    }
}

static void check_calloc_huge_touches_nothing(void)
{
    size_t before = rss_bytes();
    char *p = calloc(1, 1 * GIB);
    EXPECT(p != NULL);
    EXPECT_CMP(rss_bytes(), <=, before + 8 * MIB);
    EXPECT(p[0] == 0 && p[512 * MIB] == 0 && p[1 * GIB - 1] == 0);
    free(p);
}

static void check_calloc_medium_touches_little(void)
{
    size_t before = rss_bytes();
    char *blocks[64];
    for (size_t i = 0; i < COUNT_OF(blocks); i++) {
        blocks[i] = calloc(1, 4 * MIB);
        EXPECT(blocks[i] != NULL);
    }
    EXPECT_CMP(rss_bytes(), <=, before + 16 * MIB);
    for (size_t i = 0; i < COUNT_OF(blocks); i++)
        free(blocks[i]);
}

static void check_malloc_huge_touches_nothing(void)
{
    size_t before = rss_bytes();
    void *p = malloc(1 * GIB), *q = memalign(64 * MIB, 512 * MIB);
    EXPECT(p != NULL && q != NULL);
    EXPECT_CMP(rss_bytes(), <=, before + 8 * MIB);
    free(p);
    free(q);
}

static void check_aligned_wastes_no_memory(void)
{
    size_t before = rss_bytes();
    void *blocks[16];
    for (size_t i = 0; i < COUNT_OF(blocks); i++) {
        blocks[i] = memalign(64 * MIB, 4096);
        EXPECT(blocks[i] != NULL);
        touch(blocks[i], 4096);
    }
    EXPECT_CMP(rss_bytes(), <=, before + 8 * MIB);
    for (size_t i = 0; i < COUNT_OF(blocks); i++)
        free(blocks[i]);
}

static void check_page_aligned_pages_cost_little(void)
{
    enum { COUNT = 10000 };
    static void *blocks[COUNT];
    size_t before = rss_bytes();
    for (size_t i = 0; i < COUNT; i++) {
        blocks[i] = memalign(4096, 4096);
        EXPECT(blocks[i] != NULL);
        touch(blocks[i], 4096);
    }
    EXPECT_CMP(rss_bytes(), <=, before + (size_t)COUNT * 4096 * 22 / 10);
    for (size_t i = 0; i < COUNT; i++)
        free(blocks[i]);
}

static void vector_grows(size_t numerator, size_t denominator, size_t extra_percent)
{
    const size_t end = 512 * MIB;
    size_t size = 64, used = 0;
    exercise(1);
    peak_reset();
    size_t before = rss_bytes();
    char *p = malloc(size);
    EXPECT(p != NULL);
    for (;;) {
        touch(p + used, size - used);
        used = size;
        if (size == end)
            break;
        size = size * numerator / denominator;
        if (size > end)
            size = end;
        p = realloc(p, size);
        EXPECT(p != NULL);
    }
    EXPECT_CMP(peak_bytes() - before, <=, end + end / 100 * extra_percent);
    free(p);
}

static void check_vector_by_half_peaks_near_size(void)
{
    vector_grows(3, 2, 15);
}

static void check_vector_by_doubling_peaks_near_size(void)
{
    vector_grows(2, 1, 15);
}

static void check_vector_by_eighth_peaks_near_size(void)
{
    vector_grows(9, 8, 15);
}

static void check_first_malloc_3_gib(void)
{
    size_t size = 3 * GIB;
    char *p = malloc(size);
    EXPECT(p != NULL);
    p[0] = p[size / 2] = p[size - 1] = 7;
    EXPECT(p[0] == 7 && p[size / 2] == 7 && p[size - 1] == 7);
    EXPECT_CMP(malloc_usable_size(p), >=, size);
    exercise(1);
    free(p);
    exercise(2);
}

static void check_first_calloc_3_gib(void)
{
    char *p = calloc(3, 1 * GIB);
    EXPECT(p != NULL);
    EXPECT(p[0] == 0 && p[2 * GIB] == 0 && p[3 * GIB - 1] == 0);
    EXPECT_CMP(rss_bytes(), <=, 64 * MIB);
    free(p);
}

static void check_first_memalign_3_gib(void)
{
    char *p = memalign(1 * MIB, 3 * GIB);
    EXPECT(p != NULL && is_aligned(p, 1 * MIB));
    p[3 * GIB - 1] = 1;
    p = realloc(p, 3 * GIB + 1);
    EXPECT(p != NULL && p[3 * GIB - 1] == 1);
    free(p);
}

/* Each size near each power of two up to 4 GiB, its ends written. */
static void check_large_sizes_around_powers(void)
{
    for (unsigned shift = 12; shift <= 32; shift++) {
        for (size_t k = 0; k < 5; k++) {
            size_t size = ((size_t)1 << shift) + k * 8 - 16;
            char *p = malloc(size);
            EXPECT(p != NULL);
            EXPECT_CMP(malloc_usable_size(p), >=, size);
            p[0] = p[size - 1] = 1;
            free(p);
        }
    }
}

/* More blocks, each with a page touched, than a process may have mappings; every second one is freed, then the rest. */
static void check_more_large_blocks_than_mappings(void)
{
    enum { COUNT = 70000 };
    static char *blocks[COUNT];
    for (size_t i = 0; i < COUNT; i++) {
        blocks[i] = malloc(132 * KIB);
        EXPECT(blocks[i] != NULL);
        blocks[i][0] = (char)i;
    }
    for (size_t i = 0; i < COUNT; i += 2)
        free(blocks[i]);
    for (size_t i = 1; i < COUNT; i += 2)
        EXPECT(blocks[i][0] == (char)i);
    exercise(1);
    for (size_t i = 1; i < COUNT; i += 2)
        free(blocks[i]);
    exercise(2);
}

/* The idle process. The loop polls with no call of the allocator. */

enum { IDLE_MS = 11000 };

static void expect_idle_gives_back(size_t peak, size_t before)
{
    EXPECT_CMP(peak, >=, before + 200 * MIB);
    EXPECT_CMP(wait_for_rss(peak / 20, IDLE_MS), <=, peak / 20);
}

static void grow_and_free(size_t block)
{
    size_t count = 256 * MIB / (block < 16 ? 16 : block), before = rss_bytes();
    void **table = mmap(NULL, count * sizeof *table, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    EXPECT(table != MAP_FAILED);
    for (size_t i = 0; i < count; i++) {
        table[i] = malloc(block);
        EXPECT(table[i] != NULL);
        memset(table[i], 1, block);
    }
    size_t peak = rss_bytes() - count * sizeof *table;
    for (size_t i = 0; i < count; i++)
        free(table[i]);
    munmap(table, count * sizeof *table);
    expect_idle_gives_back(peak, before);
}

static void check_idle_small(void)
{
    grow_and_free(112);
}

static void check_idle_medium(void)
{
    grow_and_free(6000);
}

static void check_idle_30_kib(void)
{
    grow_and_free(30000);
}

static void check_idle_large(void)
{
    grow_and_free(300 * KIB);
}

static void check_idle_1_mib(void)
{
    grow_and_free(1 * MIB);
}

static void check_idle_huge(void)
{
    grow_and_free(64 * MIB);
}

struct batch {
    void **blocks;
    size_t count;
};

static void *free_batch(void *arg)
{
    struct batch *batch = arg;
    for (size_t i = 0; i < batch->count; i++)
        free(batch->blocks[i]);
    return NULL;
}

static struct batch make_batch(size_t block)
{
    struct batch batch = { NULL, 256 * MIB / block };
    batch.blocks = mmap(NULL, batch.count * sizeof(void *), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    EXPECT(batch.blocks != MAP_FAILED);
    for (size_t i = 0; i < batch.count; i++) {
        batch.blocks[i] = malloc(block);
        EXPECT(batch.blocks[i] != NULL);
        memset(batch.blocks[i], 1, block);
    }
    return batch;
}

static void check_idle_freed_by_other_thread(void)
{
    size_t before = rss_bytes();
    struct batch batch = make_batch(500);
    size_t peak = rss_bytes() - batch.count * sizeof(void *);
    thread_join(thread_start(free_batch, &batch, 0));
    munmap(batch.blocks, batch.count * sizeof(void *));
    expect_idle_gives_back(peak, before);
}

static pthread_barrier_t idle_barrier;

static void *free_batch_and_sleep(void *arg)
{
    free_batch(arg);
    pthread_barrier_wait(&idle_barrier);
    for (;;)
        pause();
    return NULL;
}

/* The freeing thread lives on and sleeps; so does the one that allocated. */
static void check_idle_freed_by_sleeping_thread(void)
{
    size_t before = rss_bytes();
    pthread_barrier_init(&idle_barrier, NULL, 2);
    struct batch batch = make_batch(500);
    size_t peak = rss_bytes() - batch.count * sizeof(void *);
    thread_start(free_batch_and_sleep, &batch, 0);
    pthread_barrier_wait(&idle_barrier);
    munmap(batch.blocks, batch.count * sizeof(void *));
    expect_idle_gives_back(peak, before);
}

static void *allocate_batch(void *arg)
{
    *(struct batch *)arg = make_batch(200);
    return NULL;
}

static void check_idle_allocated_by_exited_thread(void)
{
    size_t before = rss_bytes();
    struct batch batch;
    thread_join(thread_start(allocate_batch, &batch, 0));
    size_t peak = rss_bytes() - batch.count * sizeof(void *);
    free_batch(&batch);
    munmap(batch.blocks, batch.count * sizeof(void *));
    expect_idle_gives_back(peak, before);
}

static void *allocate_free_and_sleep(void *arg)
{
    struct batch *batch = arg;
    for (size_t i = 0; i < batch->count; i++) {
        batch->blocks[i] = malloc(700);
        EXPECT(batch->blocks[i] != NULL);
        memset(batch->blocks[i], 1, 700);
    }
    pthread_barrier_wait(&idle_barrier);
    pthread_barrier_wait(&idle_barrier);
    free_batch(arg);
    pthread_barrier_wait(&idle_barrier);
    for (;;)
        pause();
    return NULL;
}

/* Eight threads that each had their share and now sleep for good. */
static void check_idle_many_sleeping_threads(void)
{
    enum { THREADS = 8, COUNT = (int)(256 * 1024 * 1024 / 700 / THREADS) };
    static struct batch batches[THREADS];
    size_t before = rss_bytes(), table = (size_t)COUNT * sizeof(void *);
    pthread_barrier_init(&idle_barrier, NULL, THREADS + 1);
    for (size_t i = 0; i < THREADS; i++) {
        batches[i].count = COUNT;
        batches[i].blocks = mmap(NULL, table, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        EXPECT(batches[i].blocks != MAP_FAILED);
        thread_start(allocate_free_and_sleep, &batches[i], 0);
    }
    pthread_barrier_wait(&idle_barrier);
    size_t peak = rss_bytes() - THREADS * table;
    pthread_barrier_wait(&idle_barrier);
    pthread_barrier_wait(&idle_barrier);
    for (size_t i = 0; i < THREADS; i++)
        munmap(batches[i].blocks, table);
    expect_idle_gives_back(peak, before);
}

/* Frees one block of ten, at random, and forgets it. */
static void free_some(struct batch *batch)
{
    uint64_t state = 7;
    for (size_t i = 0; i < batch->count / 10; i++) {
        size_t at = (size_t)(next_random(&state) % batch->count);
        free(batch->blocks[at]);
        batch->blocks[at] = NULL;
    }
}

struct sleeper {
    struct batch batch;
    size_t block;
};

static void *allocate_free_some_and_sleep(void *arg)
{
    struct sleeper *sleeper = arg;
    sleeper->batch = make_batch(sleeper->block);
    free_some(&sleeper->batch);
    pthread_barrier_wait(&idle_barrier);
    for (;;)
        pause();
    return NULL;
}

/* The owner of many pools with room sleeps, while another thread frees the rest of what is in them. */
static void rest_is_freed_by_other_thread(size_t block)
{
    size_t before = rss_bytes();
    static struct sleeper sleeper;
    sleeper.block = block;
    pthread_barrier_init(&idle_barrier, NULL, 2);
    thread_start(allocate_free_some_and_sleep, &sleeper, 0);
    pthread_barrier_wait(&idle_barrier);
    size_t peak = rss_bytes() - sleeper.batch.count * sizeof(void *);
    free_batch(&sleeper.batch);
    munmap(sleeper.batch.blocks, sleeper.batch.count * sizeof(void *));
    expect_idle_gives_back(peak, before);
}

static void check_idle_rest_freed_by_other_thread(void)
{
    rest_is_freed_by_other_thread(100);
}

static void check_idle_rest_freed_by_other_thread_medium(void)
{
    rest_is_freed_by_other_thread(3000);
}

/* Many sizes in each of several threads: what a thread keeps is bounded in all, not for each size. */
static void *allocate_sizes_free_some_and_sleep(void *arg)
{
    struct batch *batch = arg;
    for (size_t i = 0; i < batch->count; i++) {
        size_t size = 16 + i % 10 * 16;
        batch->blocks[i] = malloc(size);
        EXPECT(batch->blocks[i] != NULL);
        memset(batch->blocks[i], 1, size);
    }
    free_some(batch);
    pthread_barrier_wait(&idle_barrier);
    for (;;)
        pause();
    return NULL;
}

static void check_idle_rest_of_many_sizes_and_threads(void)
{
    enum { THREADS = 8, COUNT = 512 * 1024 };
    static struct batch batches[THREADS];
    size_t before = rss_bytes(), table = (size_t)COUNT * sizeof(void *);
    pthread_barrier_init(&idle_barrier, NULL, THREADS + 1);
    for (size_t i = 0; i < THREADS; i++) {
        batches[i].count = COUNT;
        batches[i].blocks = mmap(NULL, table, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        EXPECT(batches[i].blocks != MAP_FAILED);
        thread_start(allocate_sizes_free_some_and_sleep, &batches[i], 0);
    }
    pthread_barrier_wait(&idle_barrier);
    size_t peak = rss_bytes() - THREADS * table;
    EXPECT_CMP(peak, >=, before + 300 * MIB);
    for (size_t i = 0; i < THREADS; i++) {
        free_batch(&batches[i]);
        munmap(batches[i].blocks, table);
    }
    /* Each sleeper keeps a few MiB. */
    EXPECT_CMP(wait_for_rss(peak / 8, IDLE_MS), <=, peak / 8);
}

/* The same, and the owner was the only thread until then. */
static void check_idle_rest_freed_by_first_other_thread(void)
{
    size_t before = rss_bytes();
    struct batch batches[2] = { make_batch(100), make_batch(100) };
    size_t peak = rss_bytes() - 2 * batches[0].count * sizeof(void *);
    free_some(&batches[0]);
    free_some(&batches[1]);
    thread_join(thread_start(free_batch, &batches[0], 0));
    thread_join(thread_start(free_batch, &batches[1], 0));
    for (size_t i = 0; i < 2; i++)
        munmap(batches[i].blocks, batches[i].count * sizeof(void *));
    expect_idle_gives_back(peak, before);
}

/* A daemon: it forks, the parent leaves, the child does the work. */
static void check_idle_after_fork(void)
{
    exercise(1);
    pid_t pid = fork();
    if (pid == 0) {
        grow_and_free(400);
        _exit(0);
    }
    expect_child_ok(pid);
}

static void check_trim_gives_back_now(void)
{
    size_t before = rss_bytes();
    struct batch batch = make_batch(400);
    free_batch(&batch);
    munmap(batch.blocks, batch.count * sizeof(void *));
    malloc_trim(0);
    EXPECT_CMP(rss_bytes(), <=, before + 24 * MIB);
}

/* Nine tenths freed at random: what stays behind is bounded. 400-byte blocks, so a page can rarely be empty: runs. */
static void check_trim_with_living_runs(void)
{
    size_t before = rss_bytes();
    struct batch batch = make_batch(400);
    size_t living = 0;
    for (size_t i = 0; i < batch.count; i++) {
        if (i / 1000 % 10 == 0) {
            living++;
        } else {
            free(batch.blocks[i]);
            batch.blocks[i] = NULL;
        }
    }
    malloc_trim(0);
    size_t bound = living * 400 * 2 + batch.count * sizeof(void *) + 16 * MIB;
    EXPECT_CMP(wait_for_rss(before + bound, IDLE_MS), <=, before + bound);
}

/* A phase of one size after a phase of another reuses its memory. */
static void check_phases_of_sizes_share_memory(void)
{
    static const size_t phases[] = { 32, 4000, 100, 20000, 600, 64, 1500, 300 };
    peak_reset();
    size_t before = rss_bytes();
    for (size_t i = 0; i < COUNT_OF(phases); i++) {
        size_t count = 64 * MIB / phases[i];
        void **table = mmap(NULL, count * sizeof *table, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        EXPECT(table != MAP_FAILED);
        for (size_t k = 0; k < count; k++) {
            table[k] = malloc(phases[i]);
            EXPECT(table[k] != NULL);
            memset(table[k], 1, phases[i]);
        }
        for (size_t k = 0; k < count; k++)
            free(table[k]);
        munmap(table, count * sizeof *table);
    }
    EXPECT_CMP(peak_bytes() - before, <=, 160 * MIB);
}

/* The smallest program, linked as this one is. */
static const char *hello_name(void)
{
    const char *name = getenv("BATTERY_HELLO");
    return name != NULL ? name : "hello";
}

static void read_hello(const char *program, bool plain, size_t *rss, size_t *threads)
{
    int ends[2];
    char text[256];
    EXPECT(pipe(ends) == 0);
    pid_t pid = fork();
    if (pid == 0) {
        if (plain)
            unsetenv("LD_PRELOAD");
        dup2(ends[1], 1);
        close(ends[0]);
        execl(program, program, (char *)NULL);
        _exit(127);
    }
    close(ends[1]);
    size_t used = 0;
    ssize_t n;
    while (used < sizeof text - 1 && (n = read(ends[0], text + used, sizeof text - 1 - used)) > 0)
        used += (size_t)n;
    text[used] = '\0';
    close(ends[0]);
    expect_child_ok(pid);
    EXPECT(sscanf(text, "hello, world\n%zu %zu", rss, threads) == 2);
}

static void check_hello_rss_near_plain(void)
{
    size_t best = SIZE_MAX, plain = 0, threads;
    for (unsigned i = 0; i < 5; i++) {
        size_t rss, base;
        read_hello(beside(hello_name()), false, &rss, &threads);
        read_hello(beside("hello"), true, &base, &threads);
        if (rss < best)
            best = rss;
        if (base > plain)
            plain = base;
    }
    EXPECT_CMP(best, <=, plain + 2 * MIB);
}

static void check_hello_has_one_thread(void)
{
    size_t rss, threads;
    read_hello(beside(hello_name()), false, &rss, &threads);
    EXPECT_CMP(threads, ==, 1);
}

const struct check checks_memory[] = {
    { "shrink_returns_tail", check_shrink_returns_tail, NULL, "" },
    { "shrink_to_small_returns_all", check_shrink_to_small_returns_all, NULL, "" },
    { "shrink_in_steps_returns_tail", check_shrink_in_steps_returns_tail, NULL, "" },
    { "free_huge_goes_back", check_free_huge_goes_back, NULL, "" },
    { "calloc_huge_touches_nothing", check_calloc_huge_touches_nothing, NULL, "" },
    { "calloc_medium_touches_little", check_calloc_medium_touches_little, NULL, "" },
    { "malloc_huge_touches_nothing", check_malloc_huge_touches_nothing, NULL, "" },
    { "aligned_wastes_no_memory", check_aligned_wastes_no_memory, NULL, "" },
    { "page_aligned_pages_cost_little", check_page_aligned_pages_cost_little, NULL, "" },
    { "vector_by_half_peaks_near_size", check_vector_by_half_peaks_near_size, NULL, "" },
    { "vector_by_doubling_peaks_near_size", check_vector_by_doubling_peaks_near_size, NULL, "" },
    { "vector_by_eighth_peaks_near_size", check_vector_by_eighth_peaks_near_size, NULL, "" },
    { "first_malloc_3_gib", check_first_malloc_3_gib, NULL, "" },
    { "first_calloc_3_gib", check_first_calloc_3_gib, NULL, "" },
    { "first_memalign_3_gib", check_first_memalign_3_gib, NULL, "" },
    { "large_sizes_around_powers", check_large_sizes_around_powers, NULL, "" },
    { "more_large_blocks_than_mappings", check_more_large_blocks_than_mappings, NULL, "" },
    { "idle_small", check_idle_small, NULL, "" },
    { "idle_medium", check_idle_medium, NULL, "" },
    { "idle_30_kib", check_idle_30_kib, NULL, "" },
    { "idle_large", check_idle_large, NULL, "" },
    { "idle_1_mib", check_idle_1_mib, NULL, "" },
    { "idle_huge", check_idle_huge, NULL, "" },
    { "idle_freed_by_other_thread", check_idle_freed_by_other_thread, NULL, "" },
    { "idle_freed_by_sleeping_thread", check_idle_freed_by_sleeping_thread, NULL, "" },
    { "idle_allocated_by_exited_thread", check_idle_allocated_by_exited_thread, NULL, "" },
    { "idle_many_sleeping_threads", check_idle_many_sleeping_threads, NULL, "" },
    { "idle_rest_freed_by_other_thread", check_idle_rest_freed_by_other_thread, NULL, "" },
    { "idle_rest_freed_by_other_thread_medium", check_idle_rest_freed_by_other_thread_medium, NULL, "" },
    { "idle_rest_of_many_sizes_and_threads", check_idle_rest_of_many_sizes_and_threads, NULL, "" },
    { "idle_rest_freed_by_first_other_thread", check_idle_rest_freed_by_first_other_thread, NULL, "" },
    { "idle_after_fork", check_idle_after_fork, NULL, "" },
    { "trim_gives_back_now", check_trim_gives_back_now, NULL, "" },
    { "trim_with_living_runs", check_trim_with_living_runs, NULL, "" },
    { "phases_of_sizes_share_memory", check_phases_of_sizes_share_memory, NULL, "" },
    { "hello_rss_near_plain", check_hello_rss_near_plain, NULL, "" },
    { "hello_has_one_thread", check_hello_has_one_thread, NULL, "" },
    { NULL, NULL, NULL, NULL },
};
