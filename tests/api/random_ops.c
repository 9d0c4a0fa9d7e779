/* api/random_ops.c: operations at random, of every entry point and of heaps, against the shadow model.
 *
 *   random_ops [--threads N] [--seconds N] [--seed N] [--max BYTES]
 *
 * Each thread has its own slots, and takes blocks of others out of a shared table, so that blocks are freed, resized and
 * read by threads that did not allocate them. Some blocks are from heaps, which are destroyed with blocks in them. At the
 * end all is freed, ouro_debug_check must find nothing, and what lived before must be what lives. With one thread, the
 * same seed is the same sequence. Prints the seed.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <ouro/ouro.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "shadow.h"

enum { SLOTS = 1500, SHARED = 512, HEAP_BLOCKS = 400, MAX_THREADS = 64 };

struct slot {
    struct shadow_block block;
    size_t alignment; /* 0: not by an aligned call */
    bool resized;
};

/* A heap of one thread, and what is in it. */
struct region {
    ouro_heap *heap;
    struct shadow_block blocks[HEAP_BLOCKS];
    size_t count;
};

struct worker {
    uint64_t state;
    struct slot slots[SLOTS];
    struct region regions[3];
    uint64_t operations;
};

static _Atomic(struct slot *) shared[SHARED];
static size_t max_size = 4 << 20;
static double seconds = 2;
static _Atomic bool stop;

static double now_s(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void expect(bool good, const char *what, const void *ptr, size_t size)
{
    if (!good)
        shadow_fail(what, ptr, size);
}

/* Allocates from `heap` (NULL: the default) by one of the entry points. */
static void fill_slot(struct slot *s, uint64_t *state, ouro_heap *heap)
{
    size_t size = shadow_random_size(state, max_size), count = 1;
    uint64_t r = shadow_random(state);
    unsigned char *ptr = NULL;
    s->alignment = 0;
    s->resized = false;
    errno = 7777;
    switch (r % 8) {
    case 0:
        count = 1 + (r >> 8) % 7;
        ptr = heap != NULL ? ouro_heap_calloc(heap, count, size) : ouro_calloc(count, size);
        size *= count;
        expect(ptr != NULL && shadow_is_zero(ptr, size), "calloc is not zero", ptr, size);
        break;
    case 1:
        s->alignment = (size_t)1 << ((r >> 8) % 17);
        ptr = heap != NULL ? ouro_heap_aligned_alloc(heap, s->alignment, size) : ouro_aligned_alloc(s->alignment, size);
        break;
    case 2:
        if (heap == NULL) {
            void *out = NULL;
            s->alignment = (size_t)8 << ((r >> 8) % 10);
            expect(ouro_posix_memalign(&out, s->alignment, size) == 0, "posix_memalign fails", out, size);
            ptr = out;
            break;
        }
        /* fall through */
    case 3:
        ptr = heap != NULL ? ouro_heap_realloc(heap, NULL, size) : ouro_realloc(NULL, size);
        break;
    case 4:
        if (heap == NULL) {
            count = 1 + (r >> 8) % 9;
            ptr = ouro_reallocarray(NULL, count, size);
            size *= count;
            break;
        }
        /* fall through */
    default:
        ptr = heap != NULL ? ouro_heap_malloc(heap, size) : ouro_malloc(size);
    }
    expect(ptr != NULL, "no memory", NULL, size);
    expect(errno == 7777, "errno changed by success", ptr, size);
    expect(s->alignment == 0 || ((uintptr_t)ptr & (s->alignment - 1)) == 0, "not aligned", ptr, size);
    expect(ouro_usable_size(ptr) >= size, "usable size too small", ptr, size);
    expect(ouro_owns(ptr) && ouro_owns(ptr + size / 2), "owns says no", ptr, size);
    if (r % 8 >= 5 && heap == NULL)
        expect(ouro_good_size(size) == ouro_usable_size(ptr), "good_size is not usable_size", ptr, size);
    if ((r >> 40) % 4 == 0 && s->alignment == 0) { /* use what may be used */
        size = ouro_usable_size(ptr);
        s->resized = true; /* sized frees take what was asked for */
    }
    shadow_claim(&s->block, ptr, size, r);
}

static void resize_slot(struct slot *s, uint64_t *state, ouro_heap *heap)
{
    size_t size = shadow_random_size(state, max_size), kept = size < s->block.size ? size : s->block.size;
    uint64_t r = shadow_random(state);
    shadow_verify(&s->block);
    shadow_release_bytes(&s->block);
    void *ptr = heap != NULL && r % 2 == 0 ? ouro_heap_realloc(heap, s->block.ptr, size)
                : r % 4 == 1               ? ouro_reallocarray(s->block.ptr, size, 1)
                                           : ouro_realloc(s->block.ptr, size);
    expect(ptr != NULL, "no memory to resize", NULL, size);
    shadow_check_kept(&s->block, ptr, kept);
    s->resized = false;
    s->alignment = 0;
    shadow_claim(&s->block, ptr, size, r);
}

static void free_slot(struct slot *s, uint64_t *state)
{
    void *ptr = s->block.ptr;
    size_t size = s->block.size;
    shadow_release(&s->block);
    errno = 7777;
    uint64_t r = shadow_random(state) % 4;
    if (r == 0 && !s->resized && s->alignment == 0)
        ouro_free_sized(ptr, size);
    else if (r == 1 && !s->resized && s->alignment >= sizeof(void *))
        ouro_free_aligned_sized(ptr, s->alignment, size);
    else
        ouro_free(ptr);
    expect(errno == 7777, "errno changed by free", ptr, size);
}

static void impossible(uint64_t *state)
{
    size_t size = SIZE_MAX - (size_t)(shadow_random(state) % 100000);
    __asm__ volatile("" : "+r"(size)); /* the compiler must not know */
    errno = 0;
    expect(ouro_malloc(size) == NULL && errno == ENOMEM, "an impossible size", NULL, size);
    errno = 0;
    expect(ouro_calloc(size / 2, 3) == NULL && errno == ENOMEM, "an impossible product", NULL, size);
    errno = 0;
    size_t wrong = 24;
    __asm__ volatile("" : "+r"(wrong));
    expect(ouro_aligned_alloc(wrong, 100) == NULL && errno == EINVAL, "a wrong alignment", NULL, size);
}

static void step_region(struct worker *w)
{
    struct region *region = &w->regions[shadow_random(&w->state) % 3];
    if (region->heap == NULL) {
        region->heap = ouro_heap_new();
        region->count = 0;
        expect(region->heap != NULL, "no heap", NULL, 0);
    }
    uint64_t r = shadow_random(&w->state);
    if (region->count == HEAP_BLOCKS || r % 300 == 0) {
        for (size_t i = 0; i < region->count; i++)
            shadow_release(&region->blocks[i]);
        ouro_heap_destroy(region->heap);
        region->heap = NULL;
        return;
    }
    struct slot s;
    if (region->count > 0 && r % 4 == 0) { /* one of it is freed, or resized */
        size_t i = (r >> 8) % region->count;
        s = (struct slot){ region->blocks[i], 0, true };
        if (r % 8 == 0) {
            free_slot(&s, &w->state);
            region->blocks[i] = region->blocks[--region->count];
        } else {
            resize_slot(&s, &w->state, region->heap);
            region->blocks[i] = s.block;
        }
        return;
    }
    fill_slot(&s, &w->state, region->heap);
    region->blocks[region->count++] = s.block;
}

/* Gives a slot's block to whoever comes by, takes another's. */
static void exchange(struct slot *s, uint64_t *state)
{
    struct slot *mine = NULL;
    if (s->block.ptr != NULL) {
        mine = ouro_malloc(sizeof *mine);
        expect(mine != NULL, "no memory", NULL, sizeof *mine);
        *mine = *s;
        s->block.ptr = NULL;
    }
    struct slot *theirs = atomic_exchange(&shared[shadow_random(state) % SHARED], mine);
    if (theirs == NULL)
        return;
    *s = *theirs;
    ouro_free(theirs);
}

static void step(struct worker *w)
{
    struct slot *s = &w->slots[shadow_random(&w->state) % SLOTS];
    uint64_t r = shadow_random(&w->state) % 1000;
    w->operations++;
    if (r < 150) {
        exchange(s, &w->state);
    } else if (r < 250) {
        step_region(w);
    } else if (r < 252) {
        impossible(&w->state);
    } else if (r < 253) {
        ouro_trim();
    } else if (s->block.ptr == NULL) {
        fill_slot(s, &w->state, NULL);
    } else if (r < 450) {
        resize_slot(s, &w->state, NULL);
    } else {
        free_slot(s, &w->state);
    }
}

static void *work(void *arg)
{
    struct worker *w = arg;
    double end = now_s() + seconds;
    while (!atomic_load(&stop) && now_s() < end) {
        for (unsigned i = 0; i < 100; i++)
            step(w);
    }
    for (size_t i = 0; i < SLOTS; i++) {
        if (w->slots[i].block.ptr != NULL)
            free_slot(&w->slots[i], &w->state);
    }
    for (size_t i = 0; i < 3; i++) {
        struct region *region = &w->regions[i];
        for (size_t k = 0; k < region->count && region->heap != NULL; k++)
            shadow_release(&region->blocks[k]);
        ouro_heap_destroy(region->heap);
    }
    return NULL;
}

static unsigned long number(int argc, char **argv, int *at)
{
    if (*at + 1 >= argc) {
        fprintf(stderr, "random_ops: a number is missing after %s\n", argv[*at]);
        exit(2);
    }
    return strtoul(argv[++*at], NULL, 10);
}

int main(int argc, char **argv)
{
    size_t threads = 4;
    uint64_t seed = 1;
    for (int at = 1; at < argc; at++) {
        if (strcmp(argv[at], "--threads") == 0) {
            threads = number(argc, argv, &at);
        } else if (strcmp(argv[at], "--seconds") == 0) {
            seconds = (double)number(argc, argv, &at);
        } else if (strcmp(argv[at], "--seed") == 0) {
            seed = number(argc, argv, &at);
        } else if (strcmp(argv[at], "--max") == 0) {
            max_size = number(argc, argv, &at);
        } else {
            fprintf(stderr, "random_ops: unknown option %s\n", argv[at]);
            return 2;
        }
    }
    if (threads == 0 || threads > MAX_THREADS)
        return fprintf(stderr, "random_ops: --threads is from 1 to %d\n", MAX_THREADS), 2;
    const char *longer = getenv("OURO_TEST_LONG");
    if (longer != NULL && strcmp(longer, "0") != 0)
        seconds *= 10;
    printf("seed %llu, %zu threads, %.0f s\n", (unsigned long long)seed, threads, seconds);
    fflush(stdout);

    struct worker *workers =
        mmap(NULL, threads * sizeof *workers, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (workers == MAP_FAILED)
        return 2;
    ouro_alloc_stats before, after;
    ouro_stats_get(&before);
    pthread_t ids[MAX_THREADS];
    for (size_t i = 0; i < threads; i++) {
        workers[i].state = seed * 1000 + i;
        if (threads == 1)
            work(&workers[0]);
        else if (pthread_create(&ids[i], NULL, work, &workers[i]) != 0)
            return 2;
    }
    uint64_t operations = 0;
    for (size_t i = 0; i < threads; i++) {
        if (threads > 1)
            pthread_join(ids[i], NULL);
        operations += workers[i].operations;
    }
    uint64_t state = seed;
    for (size_t i = 0; i < SHARED; i++) {
        struct slot *s = atomic_exchange(&shared[i], NULL);
        if (s == NULL)
            continue;
        free_slot(s, &state);
        ouro_free(s);
    }
    ouro_stats_get(&after);
    int violations = ouro_debug_check();
    printf("%llu operations; living blocks %lld before, %lld after; %zu and %zu bytes; %d violations\n",
           (unsigned long long)operations, (long long)(before.mallocs - before.frees),
           (long long)(after.mallocs - after.frees), before.allocated, after.allocated, violations);
#ifdef PRIVATE_HEAP /* where nobody else allocates, what lived before is what lives */
    if (after.mallocs - after.frees != before.mallocs - before.frees || after.allocated != before.allocated)
        return 1;
#endif
    return violations == 0 ? 0 : 1;
}
