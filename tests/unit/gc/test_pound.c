/* unit/gc/test_pound.c: threads that make, link, share and drop objects by slots, weak references and maps, while collections
 * run back to back; some threads end and others begin. After all, nothing is left.
 *
 * `unit_gc.pound SECONDS SEED` runs longer.
 */
#define _GNU_SOURCE
#include "unit/unit.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <ouro/ouro.h>

#include "gc/internal.h"

enum { SLOTS = 64, THREADS = 4, LOCALS = 32 };

struct node {
    ouro_object header;
    ouro_slot shared;
    struct node *own, *other;
    uint64_t check;
};

#define CHECK 0x1234567890abcdefu

static uint64_t born, destroyed, finalized, called;
static ouro_slot slots[SLOTS];
static ouro_slot weak_slots[SLOTS]; /* weak references */
static ouro_slot map_slot;
static double seconds = 1.5;
static unsigned long seed = 1;
static uint32_t stop;

static void count(uint64_t *what)
{
    __atomic_fetch_add(what, 1, __ATOMIC_RELAXED);
}

static void node_destroy(ouro_object *self)
{
    struct node *node = (struct node *)self;
    if (node->check != CHECK)
        abort();
    node->check = 0;
    count(&destroyed);
}

static void node_finalize(ouro_object *self)
{
    struct node *node = (struct node *)self;
    if (node->check != CHECK)
        abort();
    count(&finalized);
    if ((uintptr_t)self / 64 % 8 == 0) /* some come back */
        ouro_slot_store(&slots[(uintptr_t)self / 512 % SLOTS], self);
}

static void node_traverse(ouro_object *self, ouro_visit visit, void *arg)
{
    struct node *node = (struct node *)self;
    ouro_object *shared = __atomic_load_n((ouro_object **)&node->shared, __ATOMIC_RELAXED);
    if (shared != NULL)
        visit(shared, arg);
    if (node->own != NULL)
        visit(&node->own->header, arg);
    if (node->other != NULL)
        visit(&node->other->header, arg);
}

static void node_clear(ouro_object *self)
{
    struct node *node = (struct node *)self;
    ouro_slot_store(&node->shared, NULL);
    OURO_CLEAR(node->own);
    OURO_CLEAR(node->other);
}

static ouro_type types[] = {
    OURO_TYPE(struct node, OURO_REFS(struct node, shared, own, other)),
    OURO_TYPE(struct node, OURO_REFS(struct node, shared, own, other), .destroy = node_destroy),
    OURO_TYPE(struct node, OURO_REFS(struct node, shared, own, other), .finalize = node_finalize,
              .destroy = node_destroy),
    OURO_TYPE(struct node, .traverse = node_traverse, .clear = node_clear, .destroy = node_destroy),
};

static void weak_called(ouro_weakref *ref, void *arg)
{
    (void)arg;
    if (ouro_weakref_get(ref) != NULL)
        abort();
    count(&called);
}

struct random {
    uint64_t state;
};

static uint64_t next(struct random *random, uint64_t below)
{
    random->state ^= random->state << 13;
    random->state ^= random->state >> 7;
    random->state ^= random->state << 17;
    return (random->state >> 12) % below;
}

static struct node *new_node(struct random *random)
{
    unsigned kind = (unsigned)next(random, COUNT_OF(types));
    struct node *node = ouro_new(&types[kind]);
    if (node == NULL)
        abort();
    node->check = CHECK;
    if (kind != 0)
        count(&born);
    return node;
}

/* Only its maker links a node, and only before others know it; then only its slot changes. */
static void step(struct random *random, struct node **locals)
{
    size_t at = (size_t)next(random, LOCALS);
    ouro_slot *slot = &slots[next(random, SLOTS)];
    switch (next(random, 10)) {
    case 0:
    case 1: {
        struct node *node = new_node(random);
        node->own = ouro_xnewref(locals[next(random, LOCALS)]);
        node->other = next(random, 3) == 0 ? ouro_newref(node) : NULL;
        OURO_SETREF(locals[at], node);
        break;
    }
    case 2:
        OURO_CLEAR(locals[at]);
        break;
    case 3:
        ouro_slot_store(slot, locals[at]);
        break;
    case 4:
        OURO_SETREF(locals[at], ouro_slot_load(slot));
        break;
    case 5:
        if (locals[at] != NULL)
            ouro_slot_store(&locals[at]->shared, locals[next(random, LOCALS)]);
        break;
    case 6:
        if (locals[at] != NULL) {
            ouro_weakref *ref = ouro_weakref_new(locals[at], next(random, 2) == 0 ? weak_called : NULL, NULL);
            ouro_slot_store(&weak_slots[next(random, SLOTS)], ref);
            ouro_xdecref(ref);
        }
        break;
    case 7: {
        OURO_AUTO ouro_weakref *ref = ouro_slot_load(&weak_slots[next(random, SLOTS)]);
        if (ref != NULL)
            OURO_SETREF(locals[at], ouro_weakref_get(ref));
        break;
    }
    case 8: {
        OURO_AUTO ouro_weakmap *map = ouro_slot_load(&map_slot);
        if (map != NULL && locals[at] != NULL) {
            struct node *value = locals[next(random, LOCALS)];
            if (value != NULL)
                ouro_weakmap_set(map, locals[at], value);
        }
        break;
    }
    default:
        if (locals[at] != NULL)
            OURO_SETREF(locals[at], ouro_slot_load(&locals[at]->shared));
        ouro_safepoint();
    }
}

static void *mutate(void *arg)
{
    struct random random = { seed * 1000003 + (uintptr_t)arg * 7919 + 1 };
    struct node *locals[LOCALS] = { NULL };
    size_t steps = 1000 + (size_t)next(&random, 20000);
    for (size_t i = 0; i < steps; i++) {
        step(&random, locals);
        if (i % 4096 == 0)
            OURO_BLOCKING
                usleep(50);
    }
    for (size_t i = 0; i < LOCALS; i++)
        OURO_CLEAR(locals[i]);
    return NULL;
}

/* Threads one after the other. */
static void *mutate_for_long(void *arg)
{
    uintptr_t round = (uintptr_t)arg;
    for (; __atomic_load_n(&stop, __ATOMIC_RELAXED) == 0; round += THREADS) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, mutate, (void *)round) != 0)
            abort();
        OURO_BLOCKING
            pthread_join(thread, NULL);
    }
    return NULL;
}

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void clear_slots(void)
{
    for (size_t i = 0; i < SLOTS; i++) {
        ouro_slot_store(&slots[i], NULL);
        ouro_slot_store(&weak_slots[i], NULL);
    }
    ouro_slot_store(&map_slot, NULL);
}

static void pound(unsigned workers, bool finalizer_thread)
{
    pthread_t threads[THREADS];
    double end = now() + seconds / 3;
    unsigned long collections = 0;
    ouro_gc_set_workers(workers);
    ouroi_search_worker_objects = 64;
    assert_int_equal(ouro_gc_set_finalizer_thread(finalizer_thread), 0);
    ouro_weakmap *map = ouro_weakmap_new();
    ouro_slot_store(&map_slot, map);
    ouro_decref(map);
    stop = 0;
    for (uintptr_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, mutate_for_long, (void *)i), 0);
    while (now() < end || collections < 10 || __atomic_load_n(&finalized, __ATOMIC_RELAXED) == 0) {
        assert_true(ouro_gc_collect((int)(collections++ % 3)) >= 0);
        if (collections % 64 == 0) {
            ouro_gc_get_objects(-1, NULL, NULL);
            ouro_gc_freeze();
            ouro_gc_unfreeze();
        }
    }
    __atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
    for (size_t i = 0; i < THREADS; i++)
        OURO_BLOCKING
            pthread_join(threads[i], NULL);
    for (int i = 0; i < 1000 && (i < 4 || ouro_gc_get_objects(-1, NULL, NULL) != 0); i++) {
        clear_slots(); /* finalizers fill them */
        ouro_gc_collect(2);
        if (finalizer_thread)
            OURO_BLOCKING
                usleep(1000);
    }
    assert_int_equal(ouro_gc_get_objects(-1, NULL, NULL), 0);
    assert_int_equal(born, destroyed);
    assert_int_equal(ouro_debug_check(), 0);
}

static void pound_alone(void **state)
{
    (void)state;
    pound(1, false);
}

static void pound_with_workers(void **state)
{
    (void)state;
    pound(3, false);
}

static void pound_with_a_finalizer_thread(void **state)
{
    (void)state;
    pound(2, true);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pound_alone),
        cmocka_unit_test(pound_with_workers),
        cmocka_unit_test(pound_with_a_finalizer_thread),
    };
    if (argc > 1)
        seconds = atof(argv[1]);
    if (argc > 2)
        seed = strtoul(argv[2], NULL, 0);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
