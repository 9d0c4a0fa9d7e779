/* fuzz/operations.c: a sequence of operations on the heap, read from bytes, against the shadow model.
 *
 * Each operation is a byte, and what it needs of those that follow: a slot, a size. Bit 7 lets the other thread do it: two
 * threads take turns, so that the same bytes are the same sequence. There are faults: an operation makes a later request
 * to the OS fail; only until then, and for large blocks, may an allocation fail. At the end all is freed and the heap
 * is checked.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <ouro/ouro.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/shadow.h"
#include "os/os.h"

enum { SLOTS = 48, HEAPS = 3, MAX_BYTES = 4096 };

struct slot {
    struct shadow_block block;
    int heap; /* the index + 1 of the heap that it is from, or 0 */
};

struct reader {
    const uint8_t *at, *end;
};

static struct slot slots[SLOTS];
static ouro_heap *heaps[HEAPS];
static uint64_t serial;
static bool faults;

/* The other thread: runs what it is handed, while this one waits. */
static pthread_t other;
static bool other_lives;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static void (*task)(struct reader *, uint8_t);
static struct reader *task_reader;
static uint8_t task_code;
static bool other_ends;

static void *run_tasks(void *arg)
{
    pthread_mutex_lock(&lock);
    for (;;) {
        while (task == NULL && !other_ends)
            pthread_cond_wait(&changed, &lock);
        if (task == NULL)
            break;
        task(task_reader, task_code);
        task = NULL;
        pthread_cond_broadcast(&changed);
    }
    pthread_mutex_unlock(&lock);
    return arg;
}

static void end_other(void)
{
    if (!other_lives)
        return;
    pthread_mutex_lock(&lock);
    other_ends = true;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
    pthread_join(other, NULL);
    other_lives = false;
}

static void run_in_other(void (*fn)(struct reader *, uint8_t), struct reader *reader, uint8_t code)
{
    if (!other_lives) {
        other_ends = false;
        if (pthread_create(&other, NULL, run_tasks, NULL) != 0)
            abort();
        other_lives = true;
    }
    pthread_mutex_lock(&lock);
    task = fn;
    task_reader = reader;
    task_code = code;
    pthread_cond_broadcast(&changed);
    while (task != NULL)
        pthread_cond_wait(&changed, &lock);
    pthread_mutex_unlock(&lock);
}

static uint8_t next_byte(struct reader *r)
{
    return r->at < r->end ? *r->at++ : 0;
}

/* 0 to 255 as they are; then by powers of two, with an offset: up to 32 MiB. */
static size_t next_size(struct reader *r)
{
    uint8_t kind = next_byte(r), value = next_byte(r);
    if (kind < 128)
        return value;
    if (kind < 200)
        return (size_t)value * 37;
    unsigned shift = 8 + kind % 18;
    return ((size_t)1 << shift) + value - 128;
}

static void check(bool good, const char *what, const void *ptr, size_t size)
{
    if (!good)
        shadow_fail(what, ptr, size);
}

/* A request that failed: with a fault, and with errno as promised. */
static void check_refusal(size_t size)
{
    check(faults || size > (64u << 20), "refused for no reason", NULL, size);
    check(errno == ENOMEM, "refused without ENOMEM", NULL, size);
}

static void release(struct slot *s)
{
    void *ptr = s->block.ptr;
    if (ptr == NULL)
        return;
    shadow_release(&s->block);
    ouro_free(ptr);
}

static void allocate(struct reader *r, uint8_t code)
{
    struct slot *s = &slots[next_byte(r) % SLOTS];
    size_t size = next_size(r), alignment = 16;
    unsigned which = next_byte(r);
    int index = (code & 8) != 0 ? (int)(which % HEAPS) + 1 : 0;
    ouro_heap *heap = index != 0 ? heaps[index - 1] : NULL;
    if (heap == NULL)
        index = 0;
    release(s);
    errno = 0;
    void *ptr = NULL;
    switch (code & 7) {
    case 0:
        ptr = heap != NULL ? ouro_heap_calloc(heap, 1, size) : ouro_calloc(1, size);
        check(ptr == NULL || shadow_is_zero(ptr, size), "calloc is not zero", ptr, size);
        break;
    case 1:
        alignment = (size_t)1 << which % 22;
        ptr = heap != NULL ? ouro_heap_aligned_alloc(heap, alignment, size) : ouro_aligned_alloc(alignment, size);
        break;
    default:
        ptr = heap != NULL ? ouro_heap_malloc(heap, size) : ouro_malloc(size);
    }
    if (ptr == NULL) {
        check_refusal(size);
        return;
    }
    check(((uintptr_t)ptr & (alignment - 1)) == 0, "not aligned", ptr, size);
    check(ouro_usable_size(ptr) >= size, "usable size too small", ptr, size);
    check(ouro_owns(ptr), "owns says no", ptr, size);
    if ((which & 64) != 0)
        size = ouro_usable_size(ptr);
    shadow_claim(&s->block, ptr, size, ++serial * 1000003);
    s->heap = index;
}

static void resize(struct reader *r, uint8_t code)
{
    struct slot *s = &slots[next_byte(r) % SLOTS];
    size_t size = next_size(r);
    if (s->block.ptr == NULL)
        return;
    size_t kept = size < s->block.size ? size : s->block.size;
    shadow_verify(&s->block);
    shadow_release_bytes(&s->block);
    errno = 0;
    void *ptr = (code & 1) != 0 ? ouro_reallocarray(s->block.ptr, 1, size) : ouro_realloc(s->block.ptr, size);
    if (ptr == NULL) {
        check_refusal(size);
        shadow_claim_bytes(&s->block);
        shadow_verify(&s->block);
        return;
    }
    shadow_check_kept(&s->block, ptr, kept);
    shadow_claim(&s->block, ptr, size, ++serial * 1000003);
}

static void destroy_heap(size_t h)
{
    if (heaps[h] == NULL)
        return;
    for (size_t i = 0; i < SLOTS; i++) {
        if (slots[i].block.ptr != NULL && slots[i].heap == (int)h + 1)
            shadow_release(&slots[i].block);
    }
    ouro_heap_destroy(heaps[h]);
    heaps[h] = NULL;
}

static void free_slot(struct reader *r, uint8_t code)
{
    (void)code;
    release(&slots[next_byte(r) % SLOTS]);
}

static void use_heap(struct reader *r, uint8_t code)
{
    size_t h = next_byte(r) % HEAPS;
    if ((code & 1) != 0 || heaps[h] != NULL) {
        destroy_heap(h);
        return;
    }
    errno = 0;
    heaps[h] = ouro_heap_new();
    if (heaps[h] == NULL)
        check_refusal(0);
}

/* Many of one size, all freed but some that go into slots: pools fill and empty. */
static void burst(struct reader *r, uint8_t code)
{
    size_t size = next_size(r) % 40000, count = next_byte(r);
    void *blocks[256];
    for (size_t i = 0; i < count; i++)
        blocks[i] = ouro_malloc(size);
    for (size_t i = 0; i < count; i++)
        ouro_free(blocks[(code & 1) != 0 ? count - 1 - i : i]);
}

static void other_things(struct reader *r, uint8_t code)
{
    unsigned which = next_byte(r);
    switch (code & 3) {
    case 0:
        ouro_trim();
        break;
    case 1:
        ouroi_os_inject(1 + which % 8, (which & 64) != 0 ? which % 8 + which / 8 : 1 + which % 8);
        faults = true;
        break;
    case 2:
        errno = 0;
        size_t no_size = SIZE_MAX - which;
        __asm__ volatile("" : "+r"(no_size)); /* the compiler must not know */
        check(ouro_malloc(no_size) == NULL && errno == ENOMEM, "an impossible size", NULL, which);
        break;
    default:
        check(ouro_debug_check() == 0, "ouro_debug_check", NULL, 0);
    }
}

static void (*const operations[16])(struct reader *, uint8_t) = {
    allocate,  allocate,  allocate,  allocate, allocate, allocate, allocate, free_slot,
    free_slot, free_slot, free_slot, resize,   resize,   use_heap, burst,    other_things,
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct reader reader = { data, data + (size < MAX_BYTES ? size : MAX_BYTES) };
    ouro_alloc_stats before, after;
    ouro_stats_get(&before);
    faults = false;
    while (reader.at < reader.end) {
        uint8_t first = next_byte(&reader), code = next_byte(&reader);
        void (*operation)(struct reader *, uint8_t) = operations[first & 15];
        if ((first & 0x70) == 0x70)
            end_other();
        else if ((first & 0x80) != 0)
            run_in_other(operation, &reader, code);
        else
            operation(&reader, code);
    }
    ouroi_os_inject(0, 0);
    faults = false;
    for (size_t i = 0; i < HEAPS; i++)
        destroy_heap(i);
    for (size_t i = 0; i < SLOTS; i++)
        release(&slots[i]);
    end_other();
    ouro_stats_get(&after);
    check(after.allocated == before.allocated, "living bytes at the end", NULL, after.allocated - before.allocated);
    check(after.mallocs - after.frees == before.mallocs - before.frees, "living blocks at the end", NULL, 0);
    check(ouro_debug_check() == 0, "ouro_debug_check", NULL, 0);
    return 0;
}
