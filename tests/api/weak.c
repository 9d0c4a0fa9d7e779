/* api/weak.c: see weak.h. */
#define _GNU_SOURCE
#include "weak.h"

#include <sched.h>
#include <string.h>
#include <time.h>

uint8_t deaths[NODES];
unsigned next_number;
void (*on_finalize)(struct node *node);
void (*on_clear)(struct node *node);
void (*on_destroy)(struct node *node);

static void node_finalize(ouro_object *self)
{
    if (on_finalize != NULL)
        on_finalize((struct node *)self);
}

static void node_clear(ouro_object *self)
{
    if (on_clear != NULL)
        on_clear((struct node *)self);
}

void node_destroy(ouro_object *self)
{
    struct node *node = (struct node *)self;
    if (on_destroy != NULL)
        on_destroy(node);
    __atomic_add_fetch(&deaths[node->number], 1, __ATOMIC_SEQ_CST);
}

ouro_type node_type = OURO_TYPE(struct node, OURO_REFS(struct node, ref), .clear = node_clear,
                                .finalize = node_finalize, .destroy = node_destroy);
ouro_type leaf_type = OURO_TYPE(struct node, .destroy = node_destroy);

struct node *new_of(ouro_type *type)
{
    struct node *node = ouro_new(type);
    assert_non_null(node);
    node->number = __atomic_fetch_add(&next_number, 1, __ATOMIC_SEQ_CST) % NODES;
    __atomic_store_n(&deaths[node->number], 0, __ATOMIC_SEQ_CST);
    return node;
}

struct node *new_node(void)
{
    return new_of(&node_type);
}

unsigned deaths_of(unsigned number)
{
    return __atomic_load_n(&deaths[number], __ATOMIC_SEQ_CST);
}

int reset(void **state)
{
    (void)state;
    on_finalize = on_clear = on_destroy = NULL;
    next_number = 0;
    return 0;
}

static bool is_late(const struct timespec *start)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec - start->tv_sec > 60;
}

void await_death(unsigned number)
{
    struct timespec start;
    clock_gettime(CLOCK_MONOTONIC, &start);
    while (deaths_of(number) == 0) {
        ouro_safepoint();
        sched_yield();
        assert_false(is_late(&start));
    }
    assert_int_equal(deaths_of(number), 1);
}

void await_all_deaths(void)
{
    for (unsigned i = 0; i < next_number && i < NODES; i++)
        await_death(i);
}

void join(pthread_t thread)
{
    OURO_BLOCKING {
        assert_int_equal(pthread_join(thread, NULL), 0);
    }
}

ouro_weakmap *new_map(void)
{
    ouro_weakmap *map = ouro_weakmap_new();
    assert_non_null(map);
    assert_int_equal(ouro_weakmap_size(map), 0);
    return map;
}

void set(ouro_weakmap *map, void *key, void *value)
{
    assert_int_equal(ouro_weakmap_set(map, key, value), 0);
}

unsigned set_new(ouro_weakmap *map, void *key)
{
    struct node *value = new_node();
    unsigned number = value->number;
    set(map, key, value);
    ouro_decref(value);
    return number;
}

void assert_value(ouro_weakmap *map, void *key, const void *value)
{
    void *got = ouro_weakmap_get(map, key);
    assert_ptr_equal(got, value);
    ouro_xdecref(got);
}

static uint64_t random_state = 1;

size_t random_below(size_t n)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (size_t)(random_state >> 20) % n;
}

void nothing(ouro_weakref *ref, void *arg)
{
    (void)ref;
    (void)arg;
}

void add_one(void *arg)
{
    __atomic_add_fetch((unsigned *)arg, 1, __ATOMIC_SEQ_CST);
}

struct record record;

void note_call(ouro_weakref *ref, void *arg)
{
    size_t i = (size_t)((unsigned *)arg - record.freed);
    assert_true(i < LOG);
    assert_true(record.refs[i] == NULL || record.refs[i] == ref);
    assert_true(ouro_refcount(ref) >= 1);
    for (size_t k = 0; k < LOG; k++)
        if (record.refs[k] != NULL)
            assert_null(ouro_weakref_get(record.refs[k])); /* all are cleared before the first call */
    assert_int_equal(deaths_of(record.number), 0);
    assert_int_equal(record.freed[i], 0);
    record.calls[record.call_count++] = i;
}

struct node *start_record(void)
{
    memset(&record, 0, sizeof record);
    struct node *node = new_node();
    record.number = node->number;
    return node;
}
