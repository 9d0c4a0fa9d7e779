/* api/test_slot.c: slots: what one thread sees; and what many see at once, which is never an object that died. */
#define _GNU_SOURCE
#include <sched.h>

#include "objects.h"

static void test_one_thread(void **state)
{
    (void)state;
    _Atomic size_t deaths = 0;
    ouro_slot slot = { NULL };
    struct probe *a = probe_new(&deaths), *b = probe_new(&deaths);
    assert_null(ouro_slot_load(&slot));
    ouro_slot_store(&slot, NULL);
    ouro_slot_store(&slot, a); /* takes its own */
    assert_int_equal(ouro_refcount(a), 2);
    ouro_slot_store(&slot, a);
    assert_int_equal(ouro_refcount(a), 2);
    struct probe *got = ouro_slot_load(&slot);
    assert_ptr_equal(got, a);
    assert_int_equal(ouro_refcount(a), 3);
    ouro_decref(got);
    ouro_slot_store(&slot, b);
    assert_int_equal(ouro_refcount(a), 1);
    assert_int_equal(ouro_refcount(b), 2);
    got = ouro_slot_exchange(&slot, a); /* a's moves in, b's out */
    assert_ptr_equal(got, b);
    assert_int_equal(ouro_refcount(a), 1);
    assert_int_equal(ouro_refcount(b), 2);
    ouro_decref(b);
    assert_ptr_equal(ouro_slot_exchange(&slot, NULL), a);
    assert_null(ouro_slot_exchange(&slot, NULL));
    assert_int_equal(deaths, 0);
    ouro_slot_store(&slot, b);
    ouro_decref(b);
    ouro_slot_store(&slot, NULL); /* the last */
    assert_int_equal(deaths, 1);
    ouro_decref(a);
    assert_int_equal(deaths, 2);
}

static void test_compare_exchange(void **state)
{
    (void)state;
    _Atomic size_t deaths = 0;
    ouro_slot slot = { NULL };
    struct probe *a = probe_new(&deaths), *b = probe_new(&deaths);
    assert_false(ouro_slot_compare_exchange(&slot, a, b));
    assert_int_equal(ouro_refcount(b), 1);
    assert_true(ouro_slot_compare_exchange(&slot, NULL, a));
    assert_int_equal(ouro_refcount(a), 2);
    assert_false(ouro_slot_compare_exchange(&slot, NULL, b));
    assert_false(ouro_slot_compare_exchange(&slot, b, NULL));
    assert_false(ouro_slot_compare_exchange(&slot, b, b));
    assert_int_equal(ouro_refcount(a), 2);
    assert_int_equal(ouro_refcount(b), 1);
    assert_true(ouro_slot_compare_exchange(&slot, a, a)); /* itself */
    assert_int_equal(ouro_refcount(a), 2);
    assert_true(ouro_slot_compare_exchange(&slot, a, b));
    assert_int_equal(ouro_refcount(a), 1);
    assert_int_equal(ouro_refcount(b), 2);
    assert_true(ouro_slot_compare_exchange(&slot, b, NULL));
    assert_int_equal(ouro_refcount(b), 1);
    assert_true(ouro_slot_compare_exchange(&slot, NULL, NULL));
    assert_null(ouro_slot_load(&slot));
    assert_true(ouro_slot_compare_exchange(&slot, NULL, b));
    ouro_decref(b);
    assert_true(ouro_slot_compare_exchange(&slot, b, a)); /* drops the last of b's */
    assert_int_equal(deaths, 1);
    ouro_slot_store(&slot, NULL);
    ouro_decref(a);
    assert_int_equal(deaths, 2);
}

/* A slot as a member. */
struct cell {
    ouro_object base;
    ouro_slot first, second;
};
static ouro_type cell_type = OURO_TYPE(struct cell, OURO_REFS(struct cell, first, second));

static void test_members(void **state)
{
    (void)state;
    _Atomic size_t deaths = 0;
    struct cell *cell = ouro_new(&cell_type);
    struct probe *probe = probe_new(&deaths);
    ouro_slot_store(&cell->first, probe);
    ouro_slot_store(&cell->second, probe);
    ouro_decref(probe);
    assert_int_equal(ouro_refcount(probe), 2);
    ouro_decref(cell);
    assert_int_equal(deaths, 1);
}

/* A list of cells, grown and cut from the front by slots alone. */
static void test_list_of_slots(void **state)
{
    (void)state;
    ouro_slot head = { NULL };
    enum { LENGTH = 100000 };
    for (size_t i = 0; i < LENGTH; i++) {
        struct cell *cell = ouro_new(&cell_type);
        ouro_slot_exchange(&cell->first, ouro_slot_exchange(&head, NULL));
        assert_null(ouro_slot_exchange(&head, cell));
    }
    size_t length = 0;
    for (;;) {
        OURO_AUTO struct cell *cell = ouro_slot_load(&head);
        if (cell == NULL || length == LENGTH / 2)
            break;
        OURO_AUTO void *next = ouro_slot_load(&cell->first);
        assert_true(ouro_slot_compare_exchange(&head, cell, next));
        length++;
    }
    assert_int_equal(length, LENGTH / 2);
    ouro_slot_store(&head, NULL); /* the rest, at once */
}

/* Contention. Every object knows itself: `tag` is its number, `magic` says that it lives. Created and died must be equal at
 * the end, no reader may ever see one that died. */
enum { SLOTS = 3, THREADS = 6 };
struct ring {
    ouro_slot slots[SLOTS];
    _Atomic size_t made, deaths, loads, changes;
    _Atomic bool stop;
    unsigned kind;
};

static uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static struct probe *ring_new(struct ring *ring)
{
    struct probe *probe = probe_new(&ring->deaths);
    probe->tag = atomic_fetch_add(&ring->made, 1) ^ (uintptr_t)probe;
    return probe;
}

static void ring_look(struct ring *ring, ouro_slot *slot)
{
    struct probe *probe = ouro_slot_load(slot);
    if (probe == NULL)
        return;
    EXPECT(probe->magic == MAGIC);
    EXPECT((probe->tag ^ (uintptr_t)probe) < atomic_load(&ring->made));
    EXPECT(ouro_typeof(probe) == &probe_type);
    ouro_incref(probe);
    ouro_decref(probe);
    EXPECT(probe->magic == MAGIC);
    ouro_decref(probe);
    atomic_fetch_add_explicit(&ring->loads, 1, memory_order_relaxed);
}

static void ring_store(struct ring *ring, ouro_slot *slot, uint64_t random)
{
    struct probe *probe = random % 8 == 0 ? NULL : ring_new(ring);
    ouro_slot_store(slot, probe);
    ouro_xdecref(probe);
}

static void ring_exchange(struct ring *ring, ouro_slot *slot, uint64_t random)
{
    struct probe *old = ouro_slot_exchange(slot, random % 8 == 0 ? NULL : ring_new(ring));
    if (old == NULL)
        return;
    EXPECT(old->magic == MAGIC);
    if (random % 2 == 0)
        ouro_slot_store(&ring->slots[(random >> 8) % SLOTS], old);
    ouro_decref(old);
}

static void ring_compare(struct ring *ring, ouro_slot *slot, uint64_t random)
{
    struct probe *old = ouro_slot_load(slot);
    struct probe *probe = random % 8 == 0 ? NULL : ring_new(ring);
    if (ouro_slot_compare_exchange(slot, old, probe))
        atomic_fetch_add_explicit(&ring->changes, 1, memory_order_relaxed);
    EXPECT(old == NULL || old->magic == MAGIC); /* held by the load */
    ouro_xdecref(old);
    ouro_xdecref(probe);
}

static void *ring_main(void *arg)
{
    struct ring *ring = arg;
    uint64_t random = (uintptr_t)&random | 1;
    while (!atomic_load(&ring->stop)) {
        uint64_t r = next_random(&random);
        ouro_slot *slot = &ring->slots[(r >> 40) % SLOTS];
        switch ((r >> 20) % (ring->kind == 0 ? 16 : 6)) {
        case 0:
            ring_store(ring, slot, r);
            break;
        case 1:
            ring_exchange(ring, slot, r);
            break;
        case 2:
            ring_compare(ring, slot, r);
            break;
        case 3:
            if ((r >> 8) % 16 == 0)
                OURO_BLOCKING {
                    sched_yield();
                }
            break;
        case 4:
            if (ring->kind == 2 && (r >> 8) % 256 == 0)
                ouro_thread_unregister();
            ouro_safepoint();
            break;
        default:
            ring_look(ring, slot);
        }
    }
    return NULL;
}

static void run_ring(unsigned kind, double seconds)
{
    static struct ring rings[3];
    struct ring *ring = &rings[kind];
    pthread_t threads[THREADS];
    ring->kind = kind;
    for (size_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, ring_main, ring), 0);
    OURO_BLOCKING {
        sleep_ms((unsigned)(seconds * 1000));
        atomic_store(&ring->stop, true);
        for (size_t i = 0; i < THREADS; i++)
            pthread_join(threads[i], NULL);
    }
    for (size_t i = 0; i < SLOTS; i++)
        ouro_slot_store(&ring->slots[i], NULL);
    assert_true(ring->made > 100 && ring->loads > 100 && ring->changes > 10);
    assert_int_equal(ring->deaths, ring->made);
}

static void test_mostly_readers(void **state)
{
    (void)state;
    run_ring(0, 1.0);
}
static void test_mostly_writers(void **state)
{
    (void)state;
    run_ring(1, 1.0);
}
static void test_registering_too(void **state)
{
    (void)state;
    run_ring(2, 1.0);
}

/* compare_exchange as a counter: every increment is a new object; none is lost. */
struct counter {
    ouro_slot slot;
    size_t each;
    _Atomic size_t deaths;
};
static void *count_main(void *arg)
{
    struct counter *counter = arg;
    for (size_t i = 0; i < counter->each;) {
        struct probe *old = ouro_slot_load(&counter->slot), *next = probe_new(&counter->deaths);
        next->tag = (old != NULL ? old->tag : 0) + 1;
        i += ouro_slot_compare_exchange(&counter->slot, old, next);
        ouro_xdecref(old);
        ouro_decref(next);
    }
    return NULL;
}

static void test_counter(void **state)
{
    (void)state;
    static struct counter counter;
    counter.each = SANITIZED ? 3000 : 20000;
    pthread_t threads[4];
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, count_main, &counter), 0);
    OURO_BLOCKING {
        for (size_t i = 0; i < 4; i++)
            pthread_join(threads[i], NULL);
    }
    struct probe *last = ouro_slot_load(&counter.slot);
    assert_int_equal(last->tag, 4 * counter.each);
    assert_int_equal(ouro_refcount(last), 2);
    ouro_decref(last);
    size_t before = counter.deaths;
    ouro_slot_store(&counter.slot, NULL);
    assert_int_equal(counter.deaths, before + 1);
}

/* The last reference is dropped by the owner, with plain counting, while a reader loads: made, put into the slot, and taken
 * out at once. */
struct short_life {
    ouro_slot slot;
    _Atomic size_t made, deaths, seen;
    _Atomic bool stop;
};
static void *short_reader(void *arg)
{
    struct short_life *life = arg;
    while (!atomic_load(&life->stop)) {
        struct probe *probe = ouro_slot_load(&life->slot);
        if (probe == NULL)
            continue;
        EXPECT(probe->magic == MAGIC);
        ouro_decref(probe);
        atomic_fetch_add_explicit(&life->seen, 1, memory_order_relaxed);
        ouro_safepoint();
    }
    return NULL;
}

static void test_short_lives(void **state)
{
    (void)state;
    static struct short_life life;
    pthread_t readers[2];
    for (size_t i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&readers[i], NULL, short_reader, &life), 0);
    double end = now_s() + 1.0;
    while (now_s() < end) {
        for (size_t i = 0; i < 100; i++) {
            struct probe *probe = probe_new(&life.deaths);
            atomic_fetch_add(&life.made, 1);
            ouro_slot_store(&life.slot, probe);
            if (i % 2 == 0)
                OURO_CLEAR(probe);
            if (i % 10 == 0)
                sched_yield();
            ouro_slot_store(&life.slot, NULL);
            ouro_xdecref(probe);
        }
    }
    atomic_store(&life.stop, true);
    OURO_BLOCKING {
        for (size_t i = 0; i < 2; i++)
            pthread_join(readers[i], NULL);
    }
    assert_true(life.seen > 0);
    assert_int_equal(life.deaths, life.made);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        API_TEST(test_one_thread),      API_TEST(test_compare_exchange), API_TEST(test_members),
        API_TEST(test_list_of_slots),   API_TEST(test_mostly_readers),   API_TEST(test_mostly_writers),
        API_TEST(test_registering_too), API_TEST(test_counter),          API_TEST(test_short_lives),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
