/* unit/world/test_world.c: states, stopping and starting, agents, numbers, grace periods, fork. */
#define _GNU_SOURCE
#include "unit/unit.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "world/internal.h"

#define LOAD(p) __atomic_load_n((p), __ATOMIC_SEQ_CST)
#define STORE(p, v) __atomic_store_n((p), (v), __ATOMIC_SEQ_CST)
#define ADD(p, v) __atomic_add_fetch((p), (v), __ATOMIC_SEQ_CST)

static bool is_slow(void)
{
    return OUROI_RACES_SEEN || OURO_DEBUG;
}

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void nap(unsigned microseconds)
{
    struct timespec t = { 0, (long)microseconds * 1000 };
    nanosleep(&t, NULL);
}

/* The same for a thread that others may want to stop. */
static void nap_safely(unsigned microseconds)
{
    nap(microseconds);
    ouro_safepoint();
}

static uint32_t state_of(struct ouroi_thread *thread)
{
    return LOAD(&thread->state);
}

static void await_state(struct ouroi_thread *thread, uint32_t state)
{
    uint64_t deadline = now_ns() + 20000000000u;
    while (state_of(thread) != state && now_ns() < deadline)
        nap_safely(50);
    assert_int_equal(state_of(thread), state);
}

/* A thread that does one thing at a time, as it is told. */
/* POLL_ON and STOP_ON go on until the next order. */
enum order { NOTHING, ENTER, LEAVE, POLL, POLL_ON, STOP_ON, UNREGISTER, REGISTER, QUIT };
struct puppet {
    pthread_t thread;
    struct ouroi_thread *self;
    uint32_t order, done;
    uint32_t told; /* orders given, by who gives them */
};

static void *puppet_main(void *arg)
{
    struct puppet *puppet = arg;
    if (ouro_thread_register() != 0)
        abort();
    STORE(&puppet->self, ouroi_thread_self);
    for (;;) {
        uint32_t order;
        while ((order = LOAD(&puppet->order)) == NOTHING)
            nap(50);
        STORE(&puppet->order, NOTHING);
        switch ((enum order)order) {
        case ENTER:
            ouro_blocking_begin();
            break;
        case LEAVE:
            ouro_blocking_end();
            break;
        case POLL:
            ouro_safepoint();
            break;
        case POLL_ON:
            while (LOAD(&puppet->order) == NOTHING) {
                nap(20);
                ouro_safepoint();
            }
            break;
        case STOP_ON:
            while (LOAD(&puppet->order) == NOTHING) {
                ouroi_world_stop();
                ouroi_world_start();
            }
            break;
        case UNREGISTER:
            ouro_thread_unregister();
            break;
        case REGISTER:
            if (ouro_thread_register() != 0 || ouroi_thread_self != puppet->self)
                abort();
            break;
        case NOTHING:
        case QUIT:
            STORE(&puppet->done, LOAD(&puppet->done) + 1);
            return NULL;
        }
        ADD(&puppet->done, 1);
    }
}

static void puppet_start(struct puppet *puppet)
{
    memset(puppet, 0, sizeof *puppet);
    assert_int_equal(pthread_create(&puppet->thread, NULL, puppet_main, puppet), 0);
    while (LOAD(&puppet->self) == NULL)
        nap_safely(50);
}

/* Gives the order; does not wait for the end. */
static uint32_t puppet_tell(struct puppet *puppet, enum order order)
{
    while (LOAD(&puppet->order) != NOTHING)
        nap_safely(50);
    STORE(&puppet->order, order);
    return ++puppet->told;
}

static void puppet_do(struct puppet *puppet, enum order order)
{
    uint32_t done = puppet_tell(puppet, order);
    while (LOAD(&puppet->done) < done)
        nap_safely(20);
}

static void puppet_end(struct puppet *puppet)
{
    puppet_do(puppet, QUIT);
    pthread_join(puppet->thread, NULL);
}

static void test_registration(void **unused)
{
    (void)unused;
    assert_false(ouro_thread_is_registered());
    assert_int_equal(ouro_self_.number, OUROI_NUMBER_NONE);
    assert_null(ouroi_thread_self);
    errno = 77;
    assert_int_equal(ouro_thread_register(), 0);
    assert_int_equal(ouro_thread_register(), 0);
    assert_true(ouro_thread_is_registered());
    struct ouroi_thread *self = ouroi_thread_self;
    assert_int_equal(ouro_self_.number, self->number);
    assert_int_equal(ouro_self_.registered, 1);
    assert_int_equal(self->number, OUROI_NUMBER_FIRST);
    assert_ptr_equal(ouroi_thread_of(self->number), self);
    assert_int_equal(state_of(self), OUROI_RUNNING);
    assert_int_equal(ouroi_thread_count(), 1);
    ouro_blocking_begin();
    assert_int_equal(state_of(self), OUROI_BLOCKING);
    ouro_blocking_begin();
    ouro_blocking_end();
    assert_int_equal(state_of(self), OUROI_BLOCKING);
    ouro_blocking_end();
    assert_int_equal(state_of(self), OUROI_RUNNING);
    ouro_blocking_end(); /* one too many */
    assert_int_equal(state_of(self), OUROI_RUNNING);
    OURO_BLOCKING {
        assert_int_equal(state_of(self), OUROI_BLOCKING);
        break;
    }
    assert_int_equal(state_of(self), OUROI_RUNNING);
    ouro_blocking_begin();
    ouro_thread_unregister();
    ouro_thread_unregister();
    assert_int_equal(state_of(self), OUROI_GONE);
    assert_int_equal(ouroi_thread_count(), 0);
    assert_int_equal(ouro_self_.number, OUROI_NUMBER_NONE);
    assert_int_equal(ouro_self_.registered, 0);
    assert_null(self->self);
    assert_int_equal(errno, 77);
    ouro_blocking_begin(); /* registers */
    assert_ptr_equal(ouroi_thread_self, self);
    ouro_blocking_end();
}

/* A stop finds each thread in every state. */
static void test_states(void **unused)
{
    (void)unused;
    struct puppet p;
    ouro_thread_register();
    puppet_start(&p);
    assert_int_equal(state_of(p.self), OUROI_RUNNING);

    /* blocking: nothing to wait for; it may leave its region only when the world starts */
    puppet_do(&p, ENTER);
    ouroi_world_stop();
    assert_true(ouroi_world_is_stopped());
    assert_int_equal(state_of(p.self), OUROI_STOPPED);
    assert_int_equal(state_of(ouroi_thread_self), OUROI_RUNNING);
    uint32_t done = puppet_tell(&p, LEAVE);
    nap_safely(20000);
    assert_int_equal(LOAD(&p.done), done - 1);
    assert_int_equal(state_of(p.self), OUROI_STOPPED);
    ouroi_world_start();
    assert_false(ouroi_world_is_stopped());
    await_state(p.self, OUROI_RUNNING);

    /* a region that ended before, and one that begins in between: the answer is the beginning */
    puppet_tell(&p, ENTER); /* now or soon */
    ouroi_world_stop();
    assert_int_equal(state_of(p.self), OUROI_STOPPED);
    ouroi_world_start();
    await_state(p.self, OUROI_BLOCKING);
    puppet_do(&p, LEAVE);

    /* a poll */
    uint32_t requests = 0;
    puppet_tell(&p, POLL_ON);
    ouroi_world_stop();
    requests = LOAD(&p.self->self->request);
    assert_int_equal(state_of(p.self), OUROI_STOPPED);
    ouroi_world_start();
    assert_int_equal(requests & OUROI_REQUEST_STOP, OUROI_REQUEST_STOP);
    assert_int_equal(LOAD(&p.self->self->request) & OUROI_REQUEST_STOP, 0);

    /* stops of its own */
    puppet_tell(&p, STOP_ON);
    for (unsigned i = 0; i < 20; i++) {
        ouroi_world_stop();
        assert_int_equal(state_of(p.self), OUROI_STOPPED);
        ouroi_world_start();
    }
    puppet_do(&p, POLL);

    /* the end */
    struct ouroi_thread *self = p.self;
    puppet_tell(&p, UNREGISTER);
    ouroi_world_stop();
    assert_true(state_of(self) == OUROI_STOPPED || state_of(self) == OUROI_GONE);
    ouroi_world_start();
    await_state(self, OUROI_GONE);
    ouroi_world_stop();
    assert_int_equal(state_of(self), OUROI_GONE);
    done = puppet_tell(&p, REGISTER); /* has to wait */
    nap_safely(20000);
    assert_int_equal(LOAD(&p.done), done - 1);
    ouroi_world_start();
    await_state(self, OUROI_RUNNING);
    puppet_end(&p);
    await_state(self, OUROI_GONE);
}

static void test_hold(void **unused)
{
    (void)unused;
    struct puppet p;
    ouro_thread_register();
    puppet_start(&p);
    assert_false(ouroi_thread_hold(p.self));
    puppet_do(&p, ENTER);
    assert_true(ouroi_thread_hold(p.self));
    assert_int_equal(state_of(p.self), OUROI_BLOCKING | OUROI_HELD);
    uint32_t done = puppet_tell(&p, LEAVE);
    nap_safely(20000);
    assert_int_equal(LOAD(&p.done), done - 1);
    ouroi_thread_release(p.self);
    await_state(p.self, OUROI_RUNNING);
    puppet_do(&p, ENTER);
    ouroi_world_stop();
    assert_false(ouroi_thread_hold(p.self));
    ouroi_world_start();
    puppet_do(&p, LEAVE);
    puppet_do(&p, UNREGISTER);
    assert_true(ouroi_thread_hold(p.self));
    done = puppet_tell(&p, REGISTER);
    nap_safely(20000);
    assert_int_equal(LOAD(&p.done), done - 1);
    ouroi_thread_release(p.self);
    await_state(p.self, OUROI_RUNNING);
    assert_int_equal(ouroi_section_depth, 0);
    puppet_end(&p);
}

/* Many threads that run, poll, block, come and go, hold each other, and stop the world. The oracle: a cell that is written only
 * by the thread that runs, and read by who has stopped the world, without an atomic operation; ThreadSanitizer watches it. */
enum { CELLS = 12 };
static struct cell {
    unsigned long inside, merged;
    struct ouroi_thread *thread;
} cells[CELLS];
static uint32_t quit;
static uint64_t stops, moves, holds, violations;

static void cell_work(struct cell *cell, uint64_t *seed, struct ouroi_thread *self)
{
    /* while this runs, nobody may be the stopper or the agent */
    cell->inside++;
    unsigned spins = (unsigned)(ouroi_random_next(seed) % 64);
    for (unsigned i = 0; i < spins; i++)
        __asm__ __volatile__("");
    cell->inside++;
    if (state_of(self) != OUROI_RUNNING && state_of(self) != (OUROI_RUNNING | OUROI_ASKED))
        ADD(&violations, 1);
}

static void look_at_all(void)
{
    for (size_t i = 0; i < CELLS; i++)
        if (cells[i].inside % 2 != 0)
            ADD(&violations, 1);
}

static void *cell_main(void *arg)
{
    struct cell *cell = arg;
    uint64_t seed = (uint64_t)(cell - cells) * 77 + 5;
    ouro_thread_register();
    struct ouroi_thread *self = ouroi_thread_self;
    STORE(&cell->thread, self);
    while (!LOAD(&quit)) {
        cell_work(cell, &seed, self);
        ADD(&moves, 1);
        switch (ouroi_random_next(&seed) % 16) {
        case 0:
            ouro_blocking_begin();
            if (ouroi_random_next(&seed) % 8 == 0)
                nap(100);
            ouro_blocking_end();
            break;
        case 1:
            STORE(&cell->thread, NULL);
            ouro_thread_unregister();
            if (ouro_thread_register() != 0)
                abort();
            self = ouroi_thread_self;
            STORE(&cell->thread, self);
            break;
        case 2: {
            /* others' cells, where they block and are held */
            struct cell *other = &cells[ouroi_random_next(&seed) % CELLS];
            struct ouroi_thread *thread = LOAD(&other->thread);
            if (other != cell && thread != NULL && ouroi_thread_hold(thread)) {
                /* whoever has the number now is not running */
                if ((state_of(thread) & OUROI_STATE_MASK) == OUROI_RUNNING)
                    ADD(&violations, 1);
                other->merged++; /* of two agents at a time, ThreadSanitizer would tell */
                ADD(&holds, 1);
                ouroi_thread_release(thread);
            }
            break;
        }
        case 3:
            if (ouroi_random_next(&seed) % 4 == 0) {
                ouroi_world_stop();
                look_at_all();
                for (size_t i = 0; i < CELLS; i++)
                    cells[i].inside += 2;
                ADD(&stops, 1);
                ouroi_world_start();
            }
            break;
        case 4:
            ouroi_grace_begin();
            break;
        default:
            break;
        }
        ouro_safepoint();
    }
    return NULL;
}

static void test_many_threads(void **unused)
{
    (void)unused;
    pthread_t threads[CELLS];
    uint64_t target = is_slow() ? 1500 : 5000, deadline = now_ns() + 60000000000u;
    quit = 0;
    stops = moves = holds = violations = 0;
    memset(cells, 0, sizeof cells);
    ouro_thread_register();
    for (size_t i = 0; i < CELLS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, cell_main, &cells[i]), 0);
    while (LOAD(&stops) < target && now_ns() < deadline) {
        ouro_blocking_begin();
        nap(500);
        ouro_blocking_end();
        ouroi_world_stop();
        look_at_all();
        ADD(&stops, 1);
        ouroi_world_start();
    }
    STORE(&quit, 1);
    OURO_BLOCKING {
        for (size_t i = 0; i < CELLS; i++)
            pthread_join(threads[i], NULL);
    }
    assert_int_equal(violations, 0);
    assert_true(stops >= target);
    assert_true(holds > 0);
    assert_int_equal(ouroi_thread_count(), 1);
}

static void *stop_all_the_time(void *arg)
{
    uint64_t *count = arg;
    ouro_thread_register();
    while (!LOAD(&quit)) {
        ouroi_world_stop();
        ouroi_world_start();
        ADD(count, 1);
    }
    return NULL;
}

static void *poll_all_the_time(void *arg)
{
    uint64_t *count = arg;
    ouro_thread_register();
    while (!LOAD(&quit)) {
        ouro_safepoint();
        ADD(count, 1);
    }
    return NULL;
}

static void *block_all_the_time(void *arg)
{
    uint64_t *count = arg;
    ouro_thread_register();
    while (!LOAD(&quit)) {
        ouro_blocking_begin();
        ouro_blocking_end();
        ADD(count, 1);
    }
    return NULL;
}

/* Stops back to back, from two threads: everybody gets on. */
static void test_fairness(void **unused)
{
    (void)unused;
    static void *(*const work[])(void *) = { stop_all_the_time,  stop_all_the_time,  poll_all_the_time,
                                             poll_all_the_time,  block_all_the_time, block_all_the_time,
                                             block_all_the_time, poll_all_the_time };
    pthread_t threads[COUNT_OF(work)];
    uint64_t counts[COUNT_OF(work)] = { 0 }, begin[2] = { 0 };
    quit = 0;
    for (size_t i = 0; i < COUNT_OF(work); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, work[i], &counts[i]), 0);
    OURO_BLOCKING {
        uint64_t deadline = now_ns() + 30000000000u, least;
        do {
            nap(5000);
            least = UINT64_MAX;
            for (size_t i = 0; i < COUNT_OF(work); i++)
                least = LOAD(&counts[i]) < least ? LOAD(&counts[i]) : least;
            if (least > 0 && begin[0] == 0) { /* all are there: from now on the two stoppers take turns */
                begin[0] = LOAD(&counts[0]);
                begin[1] = LOAD(&counts[1]);
            }
        } while ((begin[0] == 0 || least < 50 || LOAD(&counts[0]) - begin[0] < 50) && now_ns() < deadline);
        STORE(&quit, 1);
        for (size_t i = 0; i < COUNT_OF(work); i++)
            pthread_join(threads[i], NULL);
    }
    for (size_t i = 0; i < COUNT_OF(work); i++)
        assert_true(counts[i] >= 50);
    counts[0] -= begin[0];
    counts[1] -= begin[1];
    print_message("turns: %lu and %lu\n", (unsigned long)counts[0], (unsigned long)counts[1]);
    assert_true(counts[0] <= 2 * counts[1] + 5 && counts[1] <= 2 * counts[0] + 5);
}

static void test_numbers(void **unused)
{
    (void)unused;
    struct puppet p[6];
    uint16_t numbers[6];
    ouro_thread_register();
    for (size_t i = 0; i < 3; i++) {
        puppet_start(&p[i]);
        numbers[i] = p[i].self->number;
        assert_ptr_equal(ouroi_thread_of(numbers[i]), p[i].self);
        p[i].self->gc = &p[i];
    }
    /* the number that went last is given first, with what it owns */
    struct ouroi_thread *first = p[0].self, *second = p[1].self;
    puppet_end(&p[1]);
    puppet_end(&p[0]);
    await_state(first, OUROI_GONE);
    await_state(second, OUROI_GONE);
    assert_ptr_equal(ouroi_thread_of(numbers[0]), first);
    puppet_start(&p[3]);
    assert_ptr_equal(p[3].self, first);
    assert_int_equal(p[3].self->number, numbers[0]);
    assert_ptr_equal(p[3].self->gc, &p[0]);
    puppet_start(&p[4]);
    assert_ptr_equal(p[4].self, second);
    for (size_t i = 2; i < 5; i++) {
        p[i].self->gc = NULL;
        puppet_end(&p[i]);
    }
    assert_null(ouroi_thread_of(0));
    assert_null(ouroi_thread_of(OUROI_NUMBER_NONE));
}

static void count_numberless(struct ouroi_thread *thread, void *arg)
{
    *(size_t *)arg += thread->number == OUROI_NUMBER_NONE && state_of(thread) != OUROI_GONE;
}

/* Beyond the last number threads own nothing, and stop and block like others. */
static void test_limit(void **unused)
{
    (void)unused;
    enum { COUNT = 40 };
    static struct puppet p[COUNT];
    size_t numberless = 0;
    ouroi_world_number_limit = OUROI_NUMBER_FIRST + 19;
    for (size_t i = 0; i < COUNT; i++)
        puppet_start(&p[i]);
    ouroi_thread_each(count_numberless, &numberless);
    assert_int_equal(ouroi_thread_count(), COUNT + 1);
    assert_in_range(numberless, COUNT + 1 - 20, COUNT);
    struct puppet *last = &p[COUNT - 1];
    assert_int_equal(last->self->number, OUROI_NUMBER_NONE);
    for (size_t i = 0; i < COUNT; i++)
        puppet_do(&p[i], ENTER);
    ouroi_world_stop();
    assert_int_equal(state_of(last->self), OUROI_STOPPED);
    ouroi_world_start();
    assert_true(ouroi_thread_hold(last->self));
    ouroi_thread_release(last->self);
    for (size_t i = 0; i < COUNT; i++)
        puppet_end(&p[i]);
    uint64_t deadline = now_ns() + 20000000000u;
    while (ouroi_thread_count() != 1 && now_ns() < deadline)
        nap_safely(100);
    numberless = 0;
    ouroi_thread_each(count_numberless, &numberless);
    assert_int_equal(numberless, 0);
    ouroi_world_number_limit = OUROI_NUMBER_LAST;
}

static void test_grace(void **unused)
{
    (void)unused;
    struct puppet running, blocking;
    ouro_thread_register();
    puppet_start(&running);
    puppet_start(&blocking);
    puppet_do(&blocking, ENTER);
    uint64_t epoch = ouroi_grace_begin();
    assert_false(ouroi_grace_passed(epoch)); /* this thread has not */
    ouro_safepoint();
    assert_false(ouroi_grace_passed(epoch));
    puppet_do(&running, POLL);
    assert_true(ouroi_grace_passed(epoch));
    puppet_do(&blocking, LEAVE);
    assert_true(ouroi_grace_passed(epoch));
    /* a region is as good, and so is a stop */
    uint64_t next = ouroi_grace_begin();
    assert_true(next > epoch);
    ouro_safepoint();
    puppet_do(&blocking, POLL);
    assert_false(ouroi_grace_passed(next));
    puppet_do(&running, ENTER);
    assert_true(ouroi_grace_passed(next));
    puppet_do(&running, LEAVE);
    assert_true(ouroi_grace_passed(next));
    next = ouroi_grace_begin();
    puppet_do(&blocking, ENTER);
    puppet_tell(&running, POLL_ON);
    ouroi_world_stop();
    assert_true(ouroi_grace_passed(next) == (ouroi_thread_self->grace >= next));
    ouroi_world_start();
    puppet_do(&running, POLL);
    ouro_safepoint();
    assert_true(ouroi_grace_passed(next));
    puppet_do(&blocking, LEAVE);
    /* a thread that comes later has nothing to wait for; one that goes neither */
    puppet_do(&running, UNREGISTER);
    next = ouroi_grace_begin();
    ouro_safepoint();
    puppet_do(&running, REGISTER);
    assert_false(ouroi_grace_passed(next));
    puppet_end(&blocking);
    await_state(blocking.self, OUROI_GONE);
    assert_true(ouroi_grace_passed(next));
    puppet_end(&running);
}

/* Memory that is unlinked, and given back after a grace period, is not read after. */
enum { READERS = 4, BOXES = 64 };
static struct box {
    uint64_t alive;
} boxes[BOXES], *box_now;

static void *read_boxes(void *arg)
{
    uint64_t *reads = arg, seed = (uint64_t)(uintptr_t)arg;
    ouro_thread_register();
    while (!LOAD(&quit)) {
        struct box *box = __atomic_load_n(&box_now, __ATOMIC_ACQUIRE);
        if (ouroi_random_next(&seed) % 64 == 0)
            sched_yield();
        if (box->alive != 1) /* plain: ThreadSanitizer tells if it is being given back */
            ADD(&violations, 1);
        ADD(reads, 1);
        ouro_safepoint();
        if (ouroi_random_next(&seed) % 128 == 0) {
            ouro_blocking_begin();
            sched_yield();
            ouro_blocking_end();
        }
        if (ouroi_random_next(&seed) % 1024 == 0)
            ouro_thread_unregister();
        ouro_thread_register();
    }
    return NULL;
}

static void test_grace_with_readers(void **unused)
{
    (void)unused;
    pthread_t threads[READERS];
    uint64_t reads[READERS] = { 0 };
    quit = 0;
    violations = 0;
    for (size_t i = 0; i < BOXES; i++)
        boxes[i].alive = 0;
    boxes[0].alive = 1;
    STORE(&box_now, &boxes[0]);
    for (size_t i = 0; i < READERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, read_boxes, &reads[i]), 0);
    for (size_t i = 0; i < READERS; i++)
        while (LOAD(&reads[i]) == 0)
            nap_safely(100);
    unsigned rounds = is_slow() ? 500 : 2000;
    for (unsigned round = 1; round < rounds; round++) {
        struct box *old = box_now, *next = &boxes[round % BOXES];
        next->alive = 1;
        __atomic_store_n(&box_now, next, __ATOMIC_RELEASE);
        uint64_t epoch = ouroi_grace_begin();
        uint64_t deadline = now_ns() + 10000000000u;
        bool passed;
        do {
            ouro_safepoint();
            sched_yield();
        } while (!(passed = ouroi_grace_passed(epoch)) && now_ns() < deadline);
        assert_true(passed);
        old->alive = 0;
    }
    STORE(&quit, 1);
    OURO_BLOCKING {
        for (size_t i = 0; i < READERS; i++)
            pthread_join(threads[i], NULL);
    }
    assert_int_equal(violations, 0);
}

/* Hooks. */
static uint32_t attached, detached, blocked, safepoints, requests_seen, merges, forks;
static int attach_result;
static int on_attach(struct ouroi_thread *thread)
{
    if (thread != ouroi_thread_self || state_of(thread) != OUROI_RUNNING)
        ADD(&violations, 1);
    ADD(&attached, 1);
    return LOAD(&attach_result);
}
static void on_detach(struct ouroi_thread *thread)
{
    if (thread != ouroi_thread_self || (state_of(thread) & OUROI_STATE_MASK) != OUROI_RUNNING)
        ADD(&violations, 1);
    ADD(&detached, 1);
}
static void on_blocking(struct ouroi_thread *thread)
{
    if ((state_of(thread) & OUROI_STATE_MASK) != OUROI_RUNNING)
        ADD(&violations, 1);
    ADD(&blocked, 1);
    if (LOAD(&merges) > 0) {
        __atomic_sub_fetch(&merges, 1, __ATOMIC_SEQ_CST);
        ouroi_thread_request(thread, OUROI_REQUEST_MERGE); /* one more comes in */
    }
}
static void on_safepoint(struct ouroi_thread *thread, uint32_t requests)
{
    if ((state_of(thread) & OUROI_STATE_MASK) != OUROI_RUNNING)
        ADD(&violations, 1);
    ADD(&safepoints, 1);
    STORE(&requests_seen, requests);
}
static void on_fork_child(struct ouroi_thread *thread)
{
    ADD(&forks, thread == ouroi_thread_self);
}

static void test_hooks(void **unused)
{
    (void)unused;
    const struct ouroi_world_hooks none = ouroi_world_hooks, all = { .attach = on_attach,
                                                                     .detach = on_detach,
                                                                     .blocking = on_blocking,
                                                                     .safepoint = on_safepoint,
                                                                     .fork_child = on_fork_child };
    ouro_thread_unregister();
    violations = attached = detached = blocked = safepoints = merges = 0;
    ouroi_world_hooks = all;
    attach_result = -ENOMEM;
    errno = 0;
    assert_int_equal(ouro_thread_register(), -1);
    assert_int_equal(errno, ENOMEM);
    assert_false(ouro_thread_is_registered());
    assert_int_equal(ouroi_thread_count(), 0);
    ouro_blocking_begin(); /* does nothing */
    ouro_blocking_end();
    attach_result = 0;
    attached = 0;
    assert_int_equal(ouro_thread_register(), 0);
    assert_int_equal(attached, 1);
    merges = 3; /* the queue fills as it is drained */
    ouro_blocking_begin();
    assert_int_equal(merges, 0);
    assert_int_equal(blocked, 4);
    assert_int_equal(ouro_self_.request & OUROI_REQUEST_MERGE, 0);
    ouro_blocking_end();
    ouroi_thread_request(ouroi_thread_self, OUROI_REQUEST_MERGE | OUROI_REQUEST_OTHER);
    errno = 5;
    ouro_safepoint();
    assert_int_equal(errno, 5);
    assert_int_equal(safepoints, 1);
    assert_int_equal(requests_seen, OUROI_REQUEST_MERGE | OUROI_REQUEST_OTHER);
    ouro_safepoint();
    assert_int_equal(safepoints, 1);
    struct ouroi_thread *thread = ouroi_thread_self;
    ouro_thread_unregister();
    assert_int_equal(detached, 1);
    ouroi_thread_request(thread, OUROI_REQUEST_MERGE); /* nobody there */
    assert_int_equal(violations, 0);
    ouroi_world_hooks = none;
    ouro_thread_register();
}

static pthread_key_t late_key;
static int late_rounds;
static void late_destructor(void *value)
{
    bool registered = ouro_thread_register() == 0;
    ADD(&late_rounds, registered);
    if ((uintptr_t)value > 1)
        pthread_setspecific(late_key, (void *)((uintptr_t)value - 1));
}

static void *end_late(void *arg)
{
    pthread_setspecific(late_key, arg);
    ouro_thread_register();
    return NULL;
}

/* Object calls in destructors of thread-specific data register again; none stays registered behind. */
static void test_calls_in_destructors(void **unused)
{
    (void)unused;
    pthread_t thread;
    assert_int_equal(pthread_key_create(&late_key, late_destructor), 0);
    for (uintptr_t rounds = 1; rounds <= 5; rounds++) {
        STORE(&late_rounds, 0);
        assert_int_equal(pthread_create(&thread, NULL, end_late, (void *)rounds), 0);
        pthread_join(thread, NULL);
        assert_true(LOAD(&late_rounds) >= 1);
        assert_int_equal(ouroi_thread_count(), 1);
        ouroi_world_stop(); /* would wait for what stayed behind */
        ouroi_world_start();
    }
    pthread_key_delete(late_key);
}

/* fork from any thread while others do all they do. */
static void in_fork_child(void)
{
    size_t count = ouro_thread_is_registered();
    CHILD_EXPECT(ouroi_thread_count() == count);
    for (struct ouroi_thread *thread = ouroi_threads_first(); thread != NULL; thread = thread->next)
        CHILD_EXPECT(thread == ouroi_thread_self || (state_of(thread) == OUROI_GONE && thread->self == NULL));
    bool blocking = ouroi_thread_self != NULL && ouroi_thread_self->depth > 0;
    if (blocking)
        ouro_blocking_end();
    CHILD_EXPECT(ouro_thread_register() == 0);
    ouroi_world_stop();
    ouroi_world_start();
    struct ouroi_thread *other = ouroi_threads_first();
    while (other == ouroi_thread_self)
        other = other->next;
    CHILD_EXPECT(ouroi_thread_hold(other));
    ouroi_thread_release(other);
    if (OUROI_RACES_SEEN)
        return; /* ThreadSanitizer allows no thread after a fork of many */
    pthread_t thread;
    uint64_t count_of_stops = 0;
    STORE(&quit, 0);
    CHILD_EXPECT(pthread_create(&thread, NULL, stop_all_the_time, &count_of_stops) == 0);
    for (unsigned i = 0; i < 5; i++) {
        ouroi_world_stop();
        ouroi_world_start();
    }
    while (LOAD(&count_of_stops) < 3)
        ouro_safepoint();
    STORE(&quit, 1);
    OURO_BLOCKING {
        pthread_join(thread, NULL);
    }
    ouro_thread_unregister();
}

static uint64_t forked;
static void fork_once(void)
{
    pid_t pid = fork();
    if (pid == 0) {
        alarm(60);
        in_fork_child();
        _exit(0);
    }
    int status = -1;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (status != 0)
        ADD(&violations, 1);
    ADD(&forked, 1);
}

static void *fork_main(void *arg)
{
    uintptr_t kind = (uintptr_t)arg;
    if (kind != 0)
        ouro_thread_register();
    while (!LOAD(&quit)) {
        if (kind == 1)
            ouro_blocking_begin();
        pid_t pid = fork(); /* a running thread forks outside of a region, and waits inside */
        if (pid == 0) {
            alarm(60);
            in_fork_child();
            _exit(0);
        }
        int status = -1;
        if (kind == 2)
            ouro_blocking_begin();
        waitpid(pid, &status, 0);
        if (kind != 0)
            ouro_blocking_end();
        if (status != 0)
            ADD(&violations, 1);
        ADD(&forked, 1);
        ouro_safepoint();
    }
    return NULL;
}

static void test_fork(void **unused)
{
    (void)unused;
    pthread_t threads[CELLS], forkers[3];
    uint64_t target = is_slow() ? 60 : 300, deadline = now_ns() + 100000000000u;
    quit = 0;
    forked = violations = stops = holds = 0;
    memset(cells, 0, sizeof cells);
    ouro_thread_register();
    for (size_t i = 0; i < CELLS / 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, cell_main, &cells[i]), 0);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&forkers[i], NULL, fork_main, (void *)(uintptr_t)i), 0);
    OURO_BLOCKING {
        while (LOAD(&forked) < target && now_ns() < deadline)
            fork_once();
        STORE(&quit, 1);
        for (size_t i = 0; i < CELLS / 2; i++)
            pthread_join(threads[i], NULL);
        for (size_t i = 0; i < 3; i++)
            pthread_join(forkers[i], NULL);
    }
    assert_int_equal(violations, 0);
    assert_true(forked >= target);
    assert_true(stops > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_registration),
        cmocka_unit_test(test_states),
        cmocka_unit_test(test_hold),
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_limit),
        cmocka_unit_test(test_grace),
        cmocka_unit_test(test_hooks),
        cmocka_unit_test(test_calls_in_destructors),
        cmocka_unit_test(test_many_threads),
        cmocka_unit_test(test_fairness),
        cmocka_unit_test(test_grace_with_readers),
        cmocka_unit_test(test_fork),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
