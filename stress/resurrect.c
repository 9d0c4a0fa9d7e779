/* stress/resurrect.c: finalizers that bring objects back at random, of what dies by its counts and of what collections find;
 * objects that change hands all the time, so that owner and last holder are seldom the same.
 *
 * Oracle: an object is finalized once, destroyed once, after that, with no reference left; in the end all are.
 */
#define _GNU_SOURCE
#include "stress.h"

#include <sched.h>
#include <stdlib.h>

enum { BOXES = 64 };
#define LIVES UINT64_C(0x6f75726f6c617a61)

struct lazarus {
    ouro_object base;
    uint64_t magic;
    _Atomic int finalized;
    uint32_t lives; /* decides what its finalizer does */
    struct lazarus *friend, *self;
};

static ouro_slot boxes[BOXES];
static _Atomic uint64_t made, died, risen;

static void lazarus_finalize(ouro_object *self)
{
    struct lazarus *lazarus = (struct lazarus *)self;
    CHECK(lazarus->magic == LIVES && atomic_fetch_add(&lazarus->finalized, 1) == 0);
    CHECK(lazarus->friend == NULL || lazarus->friend->magic == LIVES);
    if (lazarus->lives % 3 == 0) {
        ouro_slot_store(&boxes[lazarus->lives / 3 % BOXES], self);
        atomic_fetch_add_explicit(&risen, 1, memory_order_relaxed);
    } else if (lazarus->lives % 3 == 1 && lazarus->friend != NULL) { /* and what it refers to */
        ouro_slot_store(&boxes[lazarus->lives / 3 % BOXES], lazarus->friend);
    }
}
static void lazarus_destroy(ouro_object *self)
{
    struct lazarus *lazarus = (struct lazarus *)self;
    CHECK(lazarus->magic == LIVES && atomic_load(&lazarus->finalized) == 1);
    lazarus->magic = 0;
    atomic_fetch_add_explicit(&died, 1, memory_order_relaxed);
}
static ouro_type lazarus_type = OURO_TYPE(struct lazarus, OURO_REFS(struct lazarus, friend, self),
                                          .finalize = lazarus_finalize, .destroy = lazarus_destroy);

static struct lazarus *lazarus_new(struct random *random)
{
    struct lazarus *lazarus = ouro_new(&lazarus_type);
    CHECK(lazarus != NULL);
    lazarus->magic = LIVES;
    lazarus->lives = (uint32_t)random_next(random);
    lazarus->friend = ouro_slot_load(&boxes[random_below(random, BOXES)]);
    if (random_below(random, 4) == 0) /* for a collection to find */
        lazarus->self = ouro_newref(lazarus);
    atomic_fetch_add_explicit(&made, 1, memory_order_relaxed);
    return lazarus;
}

static void work(unsigned index)
{
    struct random random = random_seed(index);
    while (!atomic_load_explicit(&run.stop, memory_order_relaxed)) {
        for (unsigned i = 0; i < 50; i++) {
            ouro_slot *box = &boxes[random_below(&random, BOXES)];
            if (random_below(&random, 3) == 0) {
                ouro_slot_store(box, NULL);
                continue;
            }
            struct lazarus *lazarus = lazarus_new(&random);
            ouro_slot_store(box, lazarus);
            CHECK(lazarus->magic == LIVES);
            ouro_decref(lazarus);
        }
        if (random_below(&random, 200) == 0)
            CHECK(ouro_gc_collect((int)random_below(&random, 3)) >= 0);
        if (random_below(&random, 2000) == 0)
            CHECK(ouro_gc_set_finalizer_thread(random_below(&random, 2) == 0) == 0);
        ouro_safepoint();
        atomic_fetch_add_explicit(&run.operations, 50, memory_order_relaxed);
    }
}

void resurrect_run(void)
{
    run_threads(run.threads, work);
    CHECK(ouro_gc_set_finalizer_thread(false) == 0);
    /* Each has one finalizer to run, so that this ends; friends of friends may rise one after the other. */
    for (unsigned round = 0; atomic_load(&died) != atomic_load(&made); round++) {
        CHECK(round < 100000);
        for (size_t i = 0; i < BOXES; i++)
            ouro_slot_store(&boxes[i], NULL);
        CHECK(ouro_gc_collect(2) >= 0);
    }
    CHECK(atomic_load(&risen) > 0);
}

/* handover: an object's references go to many threads; its maker may be asleep, gone, or have given its number away by the
 * time that the last is dropped. */
enum { MARKS = 16 };
struct parcel {
    ouro_object base;
    uint64_t magic;
    _Atomic int64_t *references; /* in libc's memory: the oracle's count */
    uint32_t marks[MARKS];       /* the n-th thread's, plain: what it writes while it holds a reference, destroy sees */
};

static _Atomic(struct parcel *) letters[BOXES];
static _Atomic uint64_t sent, dead;

static void parcel_destroy(ouro_object *self)
{
    struct parcel *parcel = (struct parcel *)self;
    CHECK(parcel->magic == LIVES && atomic_load(parcel->references) == 0);
    for (unsigned i = 0; i < MARKS; i++)
        CHECK(parcel->marks[i] < UINT32_MAX);
    parcel->magic = 0;
    free((void *)parcel->references);
    atomic_fetch_add_explicit(&dead, 1, memory_order_relaxed);
}
static ouro_type parcel_type = OURO_TYPE(struct parcel, .destroy = parcel_destroy);

static void parcel_drop(struct parcel *parcel)
{
    if (parcel == NULL)
        return;
    CHECK(parcel->magic == LIVES);
    atomic_fetch_sub(parcel->references, 1);
    ouro_decref(parcel);
}

static void post(struct random *random, struct parcel *parcel)
{
    parcel_drop(atomic_exchange(&letters[random_below(random, BOXES)], parcel));
}

static struct parcel *parcel_take(struct parcel *parcel)
{
    atomic_fetch_add(parcel->references, 1);
    return ouro_newref(parcel);
}

static void hand_over(unsigned index)
{
    struct random random = random_seed(index);
    while (!atomic_load_explicit(&run.stop, memory_order_relaxed)) {
        for (unsigned i = 0; i < 50; i++) {
            struct parcel *parcel = atomic_exchange(&letters[random_below(&random, BOXES)], NULL);
            if (parcel == NULL) {
                parcel = ouro_new(&parcel_type);
                CHECK(parcel != NULL);
                parcel->magic = LIVES;
                parcel->references = calloc(1, sizeof *parcel->references);
                CHECK(parcel->references != NULL);
                atomic_store(parcel->references, 1);
                atomic_fetch_add_explicit(&sent, 1, memory_order_relaxed);
            }
            if (index < MARKS)
                parcel->marks[index]++;
            uint32_t copies = random_below(&random, 4);
            for (uint32_t k = 0; k < copies; k++)
                post(&random, parcel_take(parcel));
            if (random_below(&random, 2) == 0)
                post(&random, parcel);
            else
                parcel_drop(parcel);
        }
        uint32_t what = random_below(&random, 40);
        if (what == 0)
            ouro_thread_unregister();
        else if (what < 10)
            OURO_BLOCKING {
                sched_yield();
            }
        ouro_safepoint();
        atomic_fetch_add_explicit(&run.operations, 50, memory_order_relaxed);
    }
}

void handover_run(void)
{
    run_threads(run.threads, hand_over);
    for (size_t i = 0; i < BOXES; i++)
        parcel_drop(atomic_exchange(&letters[i], NULL));
    ouro_safepoint();
    CHECK(atomic_load(&sent) > 0 && atomic_load(&sent) == atomic_load(&dead));
}

/* types: all threads make the first objects of new types at the same time. */
enum { TYPES = 20000 };
static const ouro_type pattern = OURO_TYPE(struct lazarus, OURO_REFS(struct lazarus, friend, self));
static ouro_type *fresh_types;
static _Atomic unsigned rounds_done;

static void use_types(unsigned index)
{
    struct random random = random_seed(index);
    for (unsigned i = 0; i < TYPES && !atomic_load_explicit(&run.stop, memory_order_relaxed); i++) {
        if (i % 64 == 0) { /* together, or the slower would find all numbered */
            unsigned wanted = (i / 64 + 1) * run.threads;
            atomic_fetch_add(&rounds_done, 1);
            OURO_BLOCKING {
                while (atomic_load(&rounds_done) < wanted && !atomic_load_explicit(&run.stop, memory_order_relaxed))
                    sched_yield();
            }
        }
        struct lazarus *object = ouro_new(&fresh_types[i]);
        CHECK(object != NULL && ouro_typeof(object) == &fresh_types[i]);
        if (random_below(&random, 4) == 0)
            object->friend = ouro_newref(object);
        ouro_decref(object);
        atomic_fetch_add_explicit(&run.operations, 1, memory_order_relaxed);
    }
}

void types_run(void)
{
    fresh_types = calloc(TYPES, sizeof *fresh_types);
    CHECK(fresh_types != NULL);
    for (unsigned i = 0; i < TYPES; i++)
        fresh_types[i] = pattern;
    run_threads(run.threads, use_types);
    CHECK(ouro_gc_collect(2) >= 0);
}
