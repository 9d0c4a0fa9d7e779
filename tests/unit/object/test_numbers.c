/* unit/object/test_numbers.c: more threads than there are numbers for: what the others make has no owner, and all is right. */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#include <ouro/object.h>

#include "object/object.h"
#include "unit/unit.h"

enum { NUMBERS = 3, THREADS = 12, ROUNDS = 5, TURNS = 4000, BOXES = 16 };

static _Atomic size_t made, deaths, without_number;
static _Atomic(void *) boxes[BOXES];
static ouro_slot slot;
static pthread_barrier_t all_here;

struct item {
    ouro_object base;
    uint64_t alive;
    ouro_object *other;
};
static void item_destroy(ouro_object *self)
{
    struct item *item = (struct item *)self;
    if (item->alive != 1)
        unit_child_fail("it died before", __FILE__, __LINE__);
    item->alive = 0;
    atomic_fetch_add(&deaths, 1);
}
static ouro_type plain_type = OURO_TYPE(struct item, .destroy = item_destroy);
static ouro_type tracked_type = OURO_TYPE(struct item, OURO_REFS(struct item, other), .destroy = item_destroy);

static struct item *item_new(uint64_t random)
{
    struct item *item = ouro_new(random % 2 == 0 ? &plain_type : &tracked_type);
    CHILD_EXPECT(item != NULL);
    item->alive = 1;
    atomic_fetch_add(&made, 1);
    return item;
}

static void turn(uint64_t random)
{
    struct item *item = item_new(random), *old;
    CHILD_EXPECT(ouro_refcount(item) == 1);
    ouro_incref(item);
    CHILD_EXPECT(ouro_refcount(item) == 2);
    switch (random / 2 % 4) {
    case 0: /* to another thread */
        old = atomic_exchange(&boxes[random / 8 % BOXES], item);
        ouro_xdecref(old);
        break;
    case 1: /* to all */
        ouro_slot_store(&slot, item);
        ouro_decref(item);
        break;
    case 2:
        old = ouro_slot_load(&slot);
        CHILD_EXPECT(old == NULL || old->alive == 1);
        ouro_xdecref(old);
        ouro_decref(item);
        break;
    default:
        ouro_decref(item);
        OURO_BLOCKING {
            sched_yield();
        }
    }
    ouro_decref(item);
    ouro_safepoint();
}

static void *work(void *arg)
{
    uint64_t random = (uintptr_t)arg * UINT64_C(0x9e3779b97f4a7c15) | 1;
    CHILD_EXPECT(ouro_thread_register() == 0);
    CHILD_EXPECT(ouro_thread_is_registered());
    if (ouro_self_.number == OUROI_NUMBER_NONE)
        atomic_fetch_add(&without_number, 1);
    OURO_BLOCKING {
        pthread_barrier_wait(&all_here);
    }
    for (size_t i = 0; i < TURNS; i++) {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        turn(random >> 20);
    }
    return NULL;
}

static void test_more_threads_than_numbers(void **state)
{
    (void)state;
    pthread_t threads[THREADS];
    pthread_barrier_init(&all_here, NULL, THREADS);
    for (uintptr_t round = 0; round < ROUNDS; round++) {
        atomic_store(&without_number, 0);
        for (uintptr_t i = 0; i < THREADS; i++)
            assert_int_equal(pthread_create(&threads[i], NULL, work, (void *)(round * THREADS + i + 1)), 0);
        OURO_BLOCKING {
            for (size_t i = 0; i < THREADS; i++)
                pthread_join(threads[i], NULL);
        }
        assert_int_equal(without_number, THREADS + 1 - NUMBERS); /* one of the numbers is the main thread's */
    }
    for (size_t i = 0; i < BOXES; i++)
        ouro_xdecref(atomic_exchange(&boxes[i], NULL));
    ouro_slot_store(&slot, NULL);
    ouro_safepoint();
    assert_int_equal(made, deaths);
    pthread_barrier_destroy(&all_here);
}

int main(void)
{
    ouroi_world_number_limit = OUROI_NUMBER_FIRST + NUMBERS - 1;
    if (ouro_thread_register() != 0)
        return 1;
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_more_threads_than_numbers) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
