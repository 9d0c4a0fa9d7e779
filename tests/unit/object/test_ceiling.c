/* unit/object/test_ceiling.c: counts that come near their ceiling, put there by hand. */
#define _GNU_SOURCE
#include <pthread.h>

#include <ouro/object.h>

#include "object/object.h"
#include "unit/unit.h"

static _Atomic size_t deaths;

struct counted {
    ouro_object base;
    ouro_object *ref;
};
static void counted_destroy(ouro_object *self)
{
    (void)self;
    deaths++;
}
static ouro_type counted_type = OURO_TYPE(struct counted, .destroy = counted_destroy);
static ouro_type tracked_type = OURO_TYPE(struct counted, OURO_REFS(struct counted, ref), .destroy = counted_destroy);

static void *on_a_thread(void *(*fn)(void *), void *arg)
{
    pthread_t thread;
    void *result;
    assert_int_equal(pthread_create(&thread, NULL, fn, arg), 0);
    OURO_BLOCKING {
        pthread_join(thread, &result);
    }
    return result;
}

static void *incref_10(void *obj)
{
    for (size_t i = 0; i < 10; i++)
        ouro_incref(obj);
    return NULL;
}
static void *decref_1000(void *obj)
{
    for (size_t i = 0; i < 1000; i++)
        ouro_decref(obj);
    return NULL;
}
static void *make(void *type)
{
    return ouro_new(type);
}

static void expect_immortal(void *obj)
{
    size_t before = deaths;
    assert_true(ouro_is_immortal(obj));
    size_t constant = ouro_refcount(obj);
    assert_true(constant > (size_t)1 << 30);
    for (unsigned round = 0; round < 3; round++) {
        decref_1000(obj);
        on_a_thread(decref_1000, obj);
        incref_10(obj);
        ouro_safepoint();
        assert_int_equal(ouro_refcount(obj), constant);
    }
    ouro_slot slot = { NULL };
    ouro_slot_store(&slot, obj);
    ouro_decref(ouro_slot_load(&slot));
    ouro_slot_store(&slot, NULL);
    assert_int_equal(ouro_refcount(obj), constant);
    assert_int_equal(deaths, before);
}

/* Whoever takes the reference that is too many: the owner, by plain arithmetic, */
static void test_owner_reaches_it(void **state)
{
    (void)state;
    ouro_type *types[] = { &counted_type, &tracked_type };
    for (size_t i = 0; i < COUNT_OF(types); i++) {
        struct counted *obj = ouro_new(types[i]);
        obj->base.ouro_local_ = INT32_MAX - 3;
        for (size_t k = 0; k < 3; k++)
            ouro_incref(obj);
        assert_false(ouro_is_immortal(obj));
        incref_10(obj);
        expect_immortal(obj);
    }
}

static void put_shared(struct counted *obj, uint64_t upper)
{
    obj->base.ouro_shared_ = (obj->base.ouro_shared_ & UINT32_MAX) | upper << 32;
}

/* another thread, of an owned object, */
static void test_others_reach_it(void **state)
{
    (void)state;
    ouro_type *types[] = { &counted_type, &tracked_type };
    for (size_t i = 0; i < COUNT_OF(types); i++) {
        struct counted *obj = ouro_new(types[i]);
        put_shared(obj, INT32_MAX - 2);
        on_a_thread(incref_10, obj);
        on_a_thread(incref_10, obj);
        expect_immortal(obj);
    }
}

/* or of one whose owner is gone. */
static void test_of_a_gone_owner(void **state)
{
    (void)state;
    struct counted *obj = on_a_thread(make, &counted_type);
    put_shared(obj, INT32_MAX - 2);
    incref_10(obj);
    incref_10(obj);
    expect_immortal(obj);
}

/* Below it nothing is special: as many references dropped as were put there, and the object dies. */
static void test_large_counts_come_down(void **state)
{
    (void)state;
    enum { MANY = 3000000 };
    size_t before = deaths;
    struct counted *obj = ouro_new(&counted_type);
    obj->base.ouro_local_ = MANY;
    for (size_t i = 0; i < MANY - 1; i++)
        ouro_decref(obj);
    assert_int_equal(deaths, before);
    assert_int_equal(ouro_refcount(obj), 1);
    ouro_decref(obj);
    assert_int_equal(deaths, before + 1);
}

/* The two counts together pass the ceiling when they are merged. */
static void test_merged_over_it(void **state)
{
    (void)state;
    struct counted *obj = on_a_thread(make, &counted_type);
    obj->base.ouro_local_ = INT32_MAX - 1; /* its owner is gone: nobody else changes it */
    put_shared(obj, (1u << 30) - 1);       /* one more was dropped than taken: the next drop merges */
    ouro_decref(obj);
    ouro_decref(obj);
    size_t count = ouro_refcount(obj);
    assert_true(count > (size_t)1 << 30);
    incref_10(obj);
    incref_10(obj);
    assert_true(ouro_is_immortal(obj) || ouro_refcount(obj) == count + 20);
    size_t before = deaths;
    decref_1000(obj);
    assert_int_equal(deaths, before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_owner_reaches_it), cmocka_unit_test(test_others_reach_it),
        cmocka_unit_test(test_of_a_gone_owner),  cmocka_unit_test(test_large_counts_come_down),
        cmocka_unit_test(test_merged_over_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
