/* preload/threads.c: threads of all kinds: small, short-lived, many, cancelled, only freeing, dying with memory. */
#define _GNU_SOURCE
#include "check.h"

#include <errno.h>
#include <limits.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <ucontext.h>
#include <unistd.h>

#include "tables.h"

/* The smallest stack that POSIX allows; what a library takes as thread-local storage comes out of it. */
#define SMALLEST_STACK ((size_t)PTHREAD_STACK_MIN)

static void *small_stack_body(void *arg)
{
    static const size_t sizes[] = { 0, 16, 100, 1000, 9000, 50000, 400 * KIB, 3 * MIB };
    for (unsigned round = 0; round < 3; round++) {
        void *blocks[COUNT_OF(sizes)];
        for (size_t i = 0; i < COUNT_OF(sizes); i++) {
            blocks[i] = i % 2 == 0 ? malloc(sizes[i]) : calloc(1, sizes[i]);
            EXPECT(blocks[i] != NULL);
            touch(blocks[i], sizes[i]);
        }
        for (size_t i = 0; i < COUNT_OF(sizes); i++) {
            blocks[i] = realloc(blocks[i], sizes[i] * 2 + 10);
            EXPECT(blocks[i] != NULL);
        }
        for (size_t i = 0; i < COUNT_OF(sizes); i++)
            free(blocks[i]);
        void *p = memalign(1 * MIB, 100), *q = NULL;
        EXPECT(p != NULL && posix_memalign(&q, 64, 70000) == 0);
        free(p);
        free(q);
        EXPECT(malloc(opaque(SIZE_MAX)) == NULL);
    }
    return arg;
}

static void check_smallest_stacks(void)
{
    for (unsigned i = 0; i < 40; i++)
        thread_join(thread_start(small_stack_body, NULL, SMALLEST_STACK));
}

static void check_smallest_stacks_together(void)
{
    unsigned long threads[100];
    for (size_t i = 0; i < COUNT_OF(threads); i++)
        threads[i] = thread_start(small_stack_body, NULL, SMALLEST_STACK);
    for (size_t i = 0; i < COUNT_OF(threads); i++)
        thread_join(threads[i]);
}

static void *free_one(void *arg)
{
    free(arg);
    return NULL;
}

static void check_smallest_stack_first_call_is_free(void)
{
    for (size_t size = 1; size < 8 * MIB; size *= 3) {
        void *p = malloc(size);
        EXPECT(p != NULL);
        touch(p, size);
        thread_join(thread_start(free_one, p, SMALLEST_STACK));
    }
}

static void *many_small(void *arg)
{
    (void)arg;
    static _Thread_local void *blocks[100];
    for (unsigned round = 0; round < 400; round++) {
        for (size_t i = 0; i < COUNT_OF(blocks); i++) {
            if (round > 0)
                free(blocks[i]);
            blocks[i] = malloc(16 + (i * 37 + round) % 2000);
            EXPECT(blocks[i] != NULL);
        }
    }
    for (size_t i = 0; i < COUNT_OF(blocks); i++)
        free(blocks[i]);
    return NULL;
}

static void check_smallest_stacks_slow_paths(void)
{
    unsigned long threads[8];
    for (size_t i = 0; i < COUNT_OF(threads); i++)
        threads[i] = thread_start(many_small, NULL, SMALLEST_STACK);
    for (size_t i = 0; i < COUNT_OF(threads); i++)
        thread_join(threads[i]);
}

/* Coroutines: a stack of 16 KiB inside the program's own memory, with a guard below. */
static ucontext_t coroutine_main, coroutine_context;

static void coroutine_body(void)
{
    small_stack_body(NULL);
    many_small(NULL);
}

static void check_coroutine_stack_16_kib(void)
{
    char *map = mmap(NULL, 20 * KIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    EXPECT(map != MAP_FAILED && mprotect(map, 4 * KIB, PROT_NONE) == 0);
    EXPECT(getcontext(&coroutine_context) == 0);
    coroutine_context.uc_stack.ss_sp = map + 4 * KIB;
    coroutine_context.uc_stack.ss_size = 16 * KIB;
    coroutine_context.uc_link = &coroutine_main;
    makecontext(&coroutine_context, coroutine_body, 0);
    EXPECT(swapcontext(&coroutine_main, &coroutine_context) == 0);
}

/* Threads come and go */

static void *come_and_go(void *arg)
{
    uint64_t seed = (uint64_t)(uintptr_t)arg;
    void *blocks[40];
    for (size_t i = 0; i < COUNT_OF(blocks); i++) {
        size_t size = random_size(&seed, 40000);
        blocks[i] = malloc(size);
        EXPECT(blocks[i] != NULL);
        touch(blocks[i], size);
    }
    for (size_t i = 0; i < COUNT_OF(blocks); i++)
        free(blocks[i]);
    return NULL;
}

static void churn(thread_fn fn, unsigned count, unsigned together, size_t growth)
{
    unsigned long threads[64];
    size_t settled = 0;
    for (unsigned i = 0; i < count; i += together) {
        for (unsigned k = 0; k < together; k++)
            threads[k] = thread_start(fn, (void *)(uintptr_t)(i + k + 1), 64 * KIB);
        for (unsigned k = 0; k < together; k++)
            thread_join(threads[k]);
        if (i <= count / 10)
            settled = rss_bytes();
    }
    EXPECT_CMP(rss_bytes(), <=, settled + growth);
}

static void check_threads_come_and_go(void)
{
    churn(come_and_go, 5000, 1, 6 * MIB);
}

static void check_threads_come_and_go_in_groups(void)
{
    churn(come_and_go, 6400, 32, 12 * MIB);
}

/* Address space, too, must not grow with the number of threads that there ever were. */
static void check_threads_come_and_go_vm(void)
{
    for (unsigned i = 0; i < 300; i++)
        thread_join(thread_start(come_and_go, (void *)(uintptr_t)i, 64 * KIB));
    size_t settled = vm_bytes();
    for (unsigned i = 0; i < 3000; i++)
        thread_join(thread_start(come_and_go, (void *)(uintptr_t)i, 64 * KIB));
    EXPECT_CMP(vm_bytes(), <=, settled + 256 * MIB);
}

static void *survivors_body(void *arg)
{
    void **kept = arg;
    for (size_t i = 0; i < 20; i++) {
        void *passing = malloc(300);
        kept[i] = malloc(100);
        EXPECT(passing != NULL && kept[i] != NULL);
        fill(kept[i], 100, (uintptr_t)kept);
        free(passing);
    }
    return NULL;
}

/* Each thread leaves blocks behind, freed a hundred threads later. */
static void check_threads_leave_survivors(void)
{
    static void *kept[100][20];
    size_t settled = 0;
    for (unsigned i = 0; i < 4000; i++) {
        void **mine = kept[i % 100];
        for (size_t k = 0; k < 20; k++) {
            if (mine[k] != NULL)
                EXPECT(verify(mine[k], 100, (uintptr_t)mine));
            free(mine[k]);
        }
        thread_join(thread_start(survivors_body, mine, 64 * KIB));
        if (i == 500)
            settled = rss_bytes();
    }
    EXPECT_CMP(rss_bytes(), <=, settled + 8 * MIB);
}

static pthread_barrier_t meet;

static void *stay_a_while(void *arg)
{
    void *blocks[50];
    for (size_t i = 0; i < COUNT_OF(blocks); i++) {
        blocks[i] = malloc(i * 20);
        EXPECT(blocks[i] != NULL);
        memset(blocks[i], 1, i * 20);
    }
    pthread_barrier_wait(&meet);
    pthread_barrier_wait(&meet);
    for (size_t i = 0; i < COUNT_OF(blocks); i++)
        free(blocks[i]);
    return arg;
}

static void check_500_threads_at_once(void)
{
    enum { THREADS = 500 };
    static unsigned long threads[THREADS];
    exercise(1);
    size_t before = rss_bytes();
    pthread_barrier_init(&meet, NULL, THREADS + 1);
    for (size_t i = 0; i < THREADS; i++)
        threads[i] = thread_start(stay_a_while, NULL, 64 * KIB);
    pthread_barrier_wait(&meet);
    EXPECT_CMP(rss_bytes() - before, <=, (size_t)THREADS * 320 * KIB);
    pthread_barrier_wait(&meet);
    for (size_t i = 0; i < THREADS; i++)
        thread_join(threads[i]);
}

static _Atomic unsigned detached_done;

static void *detached_body(void *arg)
{
    come_and_go(arg);
    atomic_fetch_add(&detached_done, 1);
    return NULL;
}

static void check_detached_threads(void)
{
    for (unsigned i = 0; i < 2000; i++) {
        pthread_detach(thread_start(detached_body, (void *)(uintptr_t)i, 64 * KIB));
        while (i + 1 - atomic_load(&detached_done) > 20)
            sleep_ms(1);
    }
    while (atomic_load(&detached_done) < 2000)
        sleep_ms(1);
    exercise(1);
}

/* Keys and their destructors */

static pthread_key_t round_keys[3];
static _Atomic unsigned destructor_calls;

/* Allocates, frees, and comes back in the next round, as often as POSIX lets it. */
static void allocate_in_every_round(void *value)
{
    uintptr_t round = *(uintptr_t *)value;
    free(value);
    atomic_fetch_add(&destructor_calls, 1);
    void *large = malloc(70000), *small = calloc(1, 50);
    EXPECT(large != NULL && small != NULL);
    free(large);
    free(small);
    if (round + 1 >= PTHREAD_DESTRUCTOR_ITERATIONS)
        return;
    for (size_t i = 0; i < COUNT_OF(round_keys); i++) {
        if (pthread_getspecific(round_keys[i]) != NULL)
            continue;
        uintptr_t *next = malloc(sizeof *next);
        EXPECT(next != NULL);
        *next = round + 1;
        pthread_setspecific(round_keys[i], next);
        return;
    }
}

static void *set_round_keys(void *arg)
{
    for (size_t i = 0; i < COUNT_OF(round_keys); i++) {
        uintptr_t *value = malloc(sizeof *value);
        EXPECT(value != NULL);
        *value = 0;
        pthread_setspecific(round_keys[i], value);
    }
    return arg;
}

static void create_round_keys(void)
{
    for (size_t i = 0; i < COUNT_OF(round_keys); i++) {
        EXPECT(pthread_key_create(&round_keys[i], allocate_in_every_round) == 0);
    }
}

static void check_key_destructors(void)
{
    create_round_keys();
    churn(set_round_keys, 5000, 1, 4 * MIB);
    EXPECT_CMP(atomic_load(&destructor_calls), >=, 15000);
}

/* The keys are older than anything that the library may have made for itself. */
static void check_key_destructors_early_keys(void)
{
    churn(set_round_keys, 5000, 1, 4 * MIB);
    EXPECT_CMP(atomic_load(&destructor_calls), >=, 15000);
}

static void *set_keys_allocate_nothing(void *arg)
{
    pthread_setspecific(round_keys[0], arg);
    return NULL;
}

static void first_use_in_destructor(void *value)
{
    (void)value;
    void *p = malloc(100), *q = malloc(100000);
    EXPECT(p != NULL && q != NULL);
    free(p);
    free(q);
}

/* The thread's first call of the allocator is in the destructor of a key. */
static void check_key_destructor_is_first_use(void)
{
    EXPECT(pthread_key_create(&round_keys[0], first_use_in_destructor) == 0);
    churn(set_keys_allocate_nothing, 5000, 1, 4 * MIB);
}

static pthread_key_t free_key;

static void *set_block_of_other(void *arg)
{
    (void)arg;
    pthread_setspecific(free_key, malloc(200));
    return NULL;
}

static void check_key_destructor_is_free(void)
{
    EXPECT(pthread_key_create(&free_key, free) == 0);
    churn(set_block_of_other, 5000, 1, 4 * MIB);
}

/* Who frees */

enum { HAND_COUNT = 20000 };
static void *hand[HAND_COUNT];

static void *free_hand(void *arg)
{
    for (size_t i = 0; i < HAND_COUNT; i++)
        free(hand[i]);
    return arg;
}

static void check_thread_that_only_frees(void)
{
    size_t settled = 0;
    for (unsigned round = 0; round < 60; round++) {
        for (size_t i = 0; i < HAND_COUNT; i++) {
            hand[i] = malloc(16 + i % 600);
            EXPECT(hand[i] != NULL);
            memset(hand[i], 1, 16);
        }
        thread_join(thread_start(free_hand, NULL, 0));
        if (round == 10)
            settled = rss_bytes();
    }
    EXPECT_CMP(rss_bytes(), <=, settled + 8 * MIB);
}

static pthread_barrier_t turn;

static void *free_every_turn(void *arg)
{
    for (unsigned round = 0; round < 60; round++) {
        pthread_barrier_wait(&turn);
        free_hand(NULL);
        pthread_barrier_wait(&turn);
    }
    return arg;
}

/* The freeing thread lives on and never allocates. */
static void check_living_thread_that_only_frees(void)
{
    size_t settled = 0;
    pthread_barrier_init(&turn, NULL, 2);
    unsigned long thread = thread_start(free_every_turn, NULL, 0);
    for (unsigned round = 0; round < 60; round++) {
        for (size_t i = 0; i < HAND_COUNT; i++) {
            hand[i] = malloc(16 + i % 600);
            EXPECT(hand[i] != NULL);
            memset(hand[i], 1, 16);
        }
        pthread_barrier_wait(&turn);
        pthread_barrier_wait(&turn);
        if (round == 10)
            settled = rss_bytes();
    }
    EXPECT_CMP(rss_bytes(), <=, settled + 8 * MIB);
    thread_join(thread);
}

/* Producers and consumers over a bounded ring. */

enum { RING = 1024 };
struct ring {
    pthread_mutex_t lock;
    pthread_cond_t filled, drained;
    void *items[RING];
    size_t head, tail;
    bool closed;
};

static struct ring ring = {
    PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, PTHREAD_COND_INITIALIZER, { NULL }, 0, 0, false
};

static void ring_put(void *item)
{
    pthread_mutex_lock(&ring.lock);
    while (ring.tail - ring.head == RING)
        pthread_cond_wait(&ring.drained, &ring.lock);
    ring.items[ring.tail++ % RING] = item;
    if (ring.tail - ring.head == 1)
        pthread_cond_signal(&ring.filled);
    pthread_mutex_unlock(&ring.lock);
}

static void *ring_take(void)
{
    void *item = NULL;
    pthread_mutex_lock(&ring.lock);
    while (ring.tail == ring.head && !ring.closed)
        pthread_cond_wait(&ring.filled, &ring.lock);
    if (ring.tail != ring.head)
        item = ring.items[ring.head++ % RING];
    if (ring.tail - ring.head < RING / 2)
        pthread_cond_broadcast(&ring.drained);
    if (ring.tail != ring.head)
        pthread_cond_signal(&ring.filled);
    pthread_mutex_unlock(&ring.lock);
    return item;
}

struct message {
    size_t size;
    unsigned char body[];
};

static void *produce(void *arg)
{
    uint64_t state = (uint64_t)(uintptr_t)arg;
    for (unsigned i = 0; i < 150000; i++) {
        size_t size = 64 + next_random(&state) % 960;
        struct message *m = malloc(sizeof *m + size);
        EXPECT(m != NULL);
        m->size = size;
        fill(m->body, 24, size);
        ring_put(m);
    }
    return NULL;
}

static void *consume(void *arg)
{
    struct message *m;
    while ((m = ring_take()) != NULL) {
        EXPECT(verify(m->body, 24, m->size));
        free(m);
    }
    return arg;
}

static void run_ring(unsigned producers, unsigned consumers)
{
    unsigned long from[8], to[8];
    exercise(1);
    size_t before = rss_bytes();
    peak_reset();
    for (unsigned i = 0; i < consumers; i++)
        to[i] = thread_start(consume, NULL, 0);
    for (unsigned i = 0; i < producers; i++)
        from[i] = thread_start(produce, (void *)(uintptr_t)(i + 1), 0);
    for (unsigned i = 0; i < producers; i++)
        thread_join(from[i]);
    pthread_mutex_lock(&ring.lock);
    ring.closed = true;
    pthread_cond_broadcast(&ring.filled);
    pthread_mutex_unlock(&ring.lock);
    for (unsigned i = 0; i < consumers; i++)
        thread_join(to[i]);
    EXPECT_CMP(peak_bytes(), <=, before + (4 + 3 * (producers + consumers)) * MIB);
}

static void check_producer_consumer_one_to_one(void)
{
    run_ring(1, 1);
}

static void check_producer_consumer_one_to_four(void)
{
    run_ring(1, 4);
}

static void check_producer_consumer_four_to_one(void)
{
    run_ring(4, 1);
}

/* Memory handed over at exit: what a thread leaves is used, grown and freed by the next. */

static void *heirs[2000];

static void *inherit(void *arg)
{
    uint64_t state = (uint64_t)(uintptr_t)arg;
    for (size_t i = 0; i < COUNT_OF(heirs); i++) {
        if (heirs[i] == NULL) {
            heirs[i] = malloc(64);
            EXPECT(heirs[i] != NULL);
            fill(heirs[i], 64, i);
        } else if (next_random(&state) % 2 == 0) {
            EXPECT(verify(heirs[i], 64, i));
            heirs[i] = realloc(heirs[i], 64 + next_random(&state) % 700);
            EXPECT(heirs[i] != NULL && verify(heirs[i], 64, i));
        } else {
            EXPECT(verify(heirs[i], 64, i));
            free(heirs[i]);
            heirs[i] = NULL;
        }
    }
    return NULL;
}

static void check_memory_handed_over_at_exit(void)
{
    size_t settled = 0;
    for (unsigned i = 0; i < 1500; i++) {
        thread_join(thread_start(inherit, (void *)(uintptr_t)i, 64 * KIB));
        if (i == 200)
            settled = rss_bytes();
    }
    EXPECT_CMP(rss_bytes(), <=, settled + 6 * MIB);
}

static void *allocate_100_mib(void *arg)
{
    void **blocks = arg;
    for (size_t i = 0; i < 100; i++) {
        for (size_t k = 0; k < 1000; k++) {
            blocks[i * 1000 + k] = malloc(1000);
            EXPECT(blocks[i * 1000 + k] != NULL);
            memset(blocks[i * 1000 + k], 1, 1000);
        }
    }
    return NULL;
}

/* The memory of exited threads is there for the living: the same 100 MiB, again and again. */
static void check_exited_threads_memory_is_reused(void)
{
    static void *blocks[100000];
    peak_reset();
    size_t before = rss_bytes();
    for (unsigned round = 0; round < 6; round++) {
        thread_join(thread_start(allocate_100_mib, blocks, 0));
        for (size_t i = 0; i < COUNT_OF(blocks); i++)
            free(blocks[i]);
    }
    EXPECT_CMP(peak_bytes() - before, <=, 160 * MIB);
}

/* Cancellation, exits */

static _Atomic bool cancel_sent, past_cancel;
static bool trims;

static void *allocate_while_cancelled(void *arg)
{
    (void)arg;
    small_stack_body(NULL);
    many_small(NULL);
    for (unsigned i = 0; i < 5; i++) {
        void *p = malloc(200 * MIB);
        EXPECT(p != NULL);
        touch(p, 20 * MIB);
        free(p);
        if (trims)
            malloc_trim(0);
    }
    atomic_store(&past_cancel, true);
    pthread_testcancel();
    return NULL;
}

static void *hold_until_cancel(void *arg)
{
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
    while (!atomic_load(&cancel_sent))
        sleep_ms(1);
    pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, NULL);
    return allocate_while_cancelled(arg);
}

/* No entry point is a cancellation point: a pending cancellation waits until the program asks for it. */
static void check_allocation_is_no_cancellation_point(void)
{
    unsigned long thread = thread_start(hold_until_cancel, NULL, 0);
    EXPECT(pthread_cancel(thread) == 0);
    atomic_store(&cancel_sent, true);
    void *result;
    EXPECT(pthread_join(thread, &result) == 0);
    EXPECT(atomic_load(&past_cancel));
    EXPECT(result == PTHREAD_CANCELED);
    exercise(1);
}

static void check_trim_is_no_cancellation_point(void)
{
    trims = true;
    check_allocation_is_no_cancellation_point();
}

static void free_argument(void *arg)
{
    free(arg);
}

static void *cancelled_in_sleep(void *arg)
{
    void *p = malloc(1000);
    EXPECT(p != NULL);
    pthread_cleanup_push(free_argument, p);
    for (;;)
        pause();
    pthread_cleanup_pop(1);
    return arg;
}

static void check_cancelled_threads_do_not_leak(void)
{
    size_t settled = 0;
    for (unsigned i = 0; i < 3000; i++) {
        unsigned long thread = thread_start(cancelled_in_sleep, NULL, 64 * KIB);
        pthread_cancel(thread);
        thread_join(thread);
        if (i == 300)
            settled = rss_bytes();
    }
    EXPECT_CMP(rss_bytes(), <=, settled + 4 * MIB);
}

static void *run_on_after_main(void *arg)
{
    sleep_ms(20);
    for (unsigned i = 0; i < 200; i++)
        exercise(i);
    free(arg);
    exit(0);
}

static void check_main_thread_exits_first(void)
{
    void *p = malloc(100);
    EXPECT(p != NULL);
    thread_start(run_on_after_main, p, 0);
    pthread_exit(NULL);
}

/* A process whose threads have all ended goes, though the library has a thread of its own. */
static void check_process_ends_with_its_threads(void)
{
    int pid = fork();
    EXPECT(pid >= 0);
    if (pid == 0) {
        void *blocks[64];
        for (size_t i = 0; i < COUNT_OF(blocks); i++) {
            blocks[i] = malloc(1 * MIB);
            EXPECT(blocks[i] != NULL);
            touch(blocks[i], 1 * MIB);
        }
        for (size_t i = 0; i < COUNT_OF(blocks); i++)
            free(blocks[i]);
        exercise(1);
        sleep_ms(300);
        pthread_exit(NULL);
    }
    uint64_t start = now_ns();
    expect_child_ok(pid);
    /* A hardened process learns of it when its own thread next wakes, as its threads have no heaps that end. */
    EXPECT_CMP((now_ns() - start) / 1000000, <=, getenv("OURO_SECURE") != NULL ? 13000u : 3000u);
}

/* Signals that interrupt everything, with handlers that only count. */
static _Atomic unsigned long ticks;

static void tick(int signo)
{
    (void)signo;
    atomic_fetch_add(&ticks, 1);
}

static void check_signals_interrupt_everything(void)
{
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = tick; /* no SA_RESTART: system calls return EINTR */
    EXPECT(sigaction(SIGALRM, &action, NULL) == 0);
    struct itimerval timer = { { 0, 200 }, { 0, 200 } };
    EXPECT(setitimer(ITIMER_REAL, &timer, NULL) == 0);
    unsigned long threads[6];
    for (size_t i = 0; i < COUNT_OF(threads); i++)
        threads[i] = thread_start(many_small, NULL, 0);
    for (unsigned i = 0; i < 300; i++)
        exercise(i);
    for (size_t i = 0; i < COUNT_OF(threads); i++)
        thread_join(threads[i]);
    memset(&timer, 0, sizeof timer);
    setitimer(ITIMER_REAL, &timer, NULL);
    EXPECT_CMP(atomic_load(&ticks), >, 10);
}

static void create_round_keys_early(void)
{
    create_round_keys();
}

const struct check checks_threads[] = {
    { "smallest_stacks", check_smallest_stacks, NULL, "" },
    { "smallest_stacks_together", check_smallest_stacks_together, NULL, "" },
    { "smallest_stack_first_call_is_free", check_smallest_stack_first_call_is_free, NULL, "" },
    { "smallest_stacks_slow_paths", check_smallest_stacks_slow_paths, NULL, "" },
    { "coroutine_stack_16_kib", check_coroutine_stack_16_kib, NULL, "" },
    { "threads_come_and_go", check_threads_come_and_go, NULL, "" },
    { "threads_come_and_go_in_groups", check_threads_come_and_go_in_groups, NULL, "" },
    { "threads_come_and_go_vm", check_threads_come_and_go_vm, NULL, "" },
    { "threads_leave_survivors", check_threads_leave_survivors, NULL, "" },
    { "500_threads_at_once", check_500_threads_at_once, NULL, "" },
    { "detached_threads", check_detached_threads, NULL, "" },
    { "key_destructors_all_rounds", check_key_destructors, NULL, "" },
    { "key_destructors_early_keys", check_key_destructors_early_keys, create_round_keys_early, "" },
    { "key_destructor_is_first_use", check_key_destructor_is_first_use, NULL, "" },
    { "key_destructor_is_free", check_key_destructor_is_free, NULL, "" },
    { "thread_that_only_frees", check_thread_that_only_frees, NULL, "" },
    { "living_thread_that_only_frees", check_living_thread_that_only_frees, NULL, "" },
    { "producer_consumer_1_1", check_producer_consumer_one_to_one, NULL, "" },
    { "producer_consumer_1_4", check_producer_consumer_one_to_four, NULL, "" },
    { "producer_consumer_4_1", check_producer_consumer_four_to_one, NULL, "" },
    { "memory_handed_over_at_exit", check_memory_handed_over_at_exit, NULL, "" },
    { "exited_threads_memory_is_reused", check_exited_threads_memory_is_reused, NULL, "" },
    { "allocation_is_no_cancellation_point", check_allocation_is_no_cancellation_point, NULL, "" },
    { "trim_is_no_cancellation_point", check_trim_is_no_cancellation_point, NULL, "" },
    { "cancelled_threads_do_not_leak", check_cancelled_threads_do_not_leak, NULL, "" },
    { "process_ends_with_its_threads", check_process_ends_with_its_threads, NULL, "" },
    { "main_thread_exits_first", check_main_thread_exits_first, NULL, "" },
    { "signals_interrupt_everything", check_signals_interrupt_everything, NULL, "" },
    { NULL, NULL, NULL, NULL },
};
