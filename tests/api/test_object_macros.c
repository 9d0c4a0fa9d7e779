/* api/test_object_macros.c: counting, and the macros that count: each evaluates what it is given once. */
#define _GNU_SOURCE
#include "objects.h"

static void test_refcount(void **state)
{
    (void)state;
    _Atomic size_t deaths = 0;
    struct probe *a = probe_new(&deaths);
    assert_int_equal(ouro_refcount(a), 1);
    struct probe *b = ouro_newref(a);
    assert_ptr_equal(a, b);
    assert_int_equal(ouro_refcount(a), 2);
    ouro_xincref(a);
    assert_ptr_equal(ouro_xnewref(a), a);
    assert_int_equal(ouro_refcount(a), 4);
    for (size_t i = 0; i < 100000; i++)
        ouro_incref(a);
    assert_int_equal(ouro_refcount(a), 100004);
    for (size_t i = 0; i < 100003; i++)
        ouro_decref(a);
    assert_int_equal(ouro_refcount(a), 1);
    assert_int_equal(deaths, 0);
    ouro_xdecref(a);
    assert_int_equal(deaths, 1);
}

static void test_null(void **state)
{
    (void)state;
    ouro_xincref(NULL);
    ouro_xdecref(NULL);
    assert_null(ouro_xnewref(NULL));
    struct probe *none = NULL;
    OURO_CLEAR(none);
    OURO_SETREF(none, NULL);
    assert_null(OURO_MOVE(none));
    assert_null(none);
}

static void test_clear(void **state)
{
    (void)state;
    _Atomic size_t deaths = 0;
    struct probe *array[3] = { probe_new(&deaths), probe_new(&deaths), probe_new(&deaths) };
    size_t at = 0, looked = 0;
    OURO_CLEAR(array[at++]);
    assert_int_equal(at, 1);
    assert_null(array[0]);
    assert_int_equal(deaths, 1);
    OURO_CLEAR(*(looked++, &array[1]));
    assert_int_equal(looked, 1);
    assert_null(array[1]);
    assert_int_equal(deaths, 2);
    if (array[2] == NULL) /* one statement, also before an else */
        OURO_CLEAR(array[0]);
    else
        OURO_CLEAR(array[2]);
    assert_int_equal(deaths, 3);
}

static void test_setref(void **state)
{
    (void)state;
    _Atomic size_t deaths = 0;
    struct probe *array[2] = { NULL, NULL }, *first = probe_new(&deaths);
    size_t at = 0, values = 0;
    OURO_SETREF(array[at++], (values++, first));
    assert_int_equal(at, 1);
    assert_int_equal(values, 1);
    assert_ptr_equal(array[0], first);
    assert_int_equal(ouro_refcount(first), 1); /* given away, not counted again */
    OURO_SETREF(array[0], ouro_newref(array[0]));
    assert_int_equal(ouro_refcount(first), 1);
    assert_int_equal(deaths, 0);
    OURO_SETREF(array[0], probe_new(&deaths));
    assert_int_equal(deaths, 1);
    OURO_SETREF(array[0], NULL);
    assert_int_equal(deaths, 2);
    assert_null(array[0]);
}

static void test_move(void **state)
{
    (void)state;
    _Atomic size_t deaths = 0;
    struct probe *array[2] = { probe_new(&deaths), NULL }, *mine = array[0];
    size_t at = 0;
    array[1] = OURO_MOVE(array[at++]);
    assert_int_equal(at, 1);
    assert_null(array[0]);
    assert_ptr_equal(array[1], mine);
    assert_int_equal(ouro_refcount(mine), 1);
    OURO_SETREF(array[0], OURO_MOVE(array[1]));
    assert_ptr_equal(array[0], mine);
    assert_int_equal(deaths, 0);
    ouro_decref(OURO_MOVE(array[0]));
    assert_int_equal(deaths, 1);
}

/* Push to the front in one expression: the value takes what the lvalue held. */
static struct pair *pushed(struct pair *node, ouro_object *rest)
{
    node->left = rest;
    return node;
}

static void test_setref_of_what_it_held(void **state)
{
    (void)state;
    _Atomic size_t deaths = 0;
    struct pair *head = NULL;
    for (size_t i = 0; i < 4; i++) {
        struct pair *node = pair_new(&deaths, NULL, NULL);
        OURO_SETREF(head, pushed(node, (ouro_object *)OURO_MOVE(head)));
        assert_ptr_equal(head, node);
    }
    assert_int_equal(deaths, 0);
    assert_int_equal(ouro_refcount(head), 1);
    OURO_CLEAR(head);
    assert_int_equal(deaths, 4);
}

/* Whose destroy looks at the variable that held it. */
struct looker {
    ouro_object base;
    struct looker **where;
    struct looker *expected;
    size_t *looks;
};
static void looker_destroy(ouro_object *self)
{
    struct looker *looker = (struct looker *)self;
    EXPECT(*looker->where == looker->expected);
    ++*looker->looks;
}
static ouro_type looker_type = OURO_TYPE(struct looker, .destroy = looker_destroy);

static struct looker *looker_new(struct looker **where, struct looker *expected, size_t *looks)
{
    struct looker *looker = ouro_new(&looker_type);
    *looker = (struct looker){ looker->base, where, expected, looks };
    return looker;
}

/* The variable changes before the count: what runs on death finds it as it will be. */
static void test_variable_first(void **state)
{
    (void)state;
    size_t looks = 0;
    struct looker *a = NULL, *b = NULL, *next = looker_new(&b, NULL, &looks);
    a = looker_new(&a, NULL, &looks);
    OURO_CLEAR(a);
    assert_int_equal(looks, 1);
    b = looker_new(&b, next, &looks);
    OURO_SETREF(b, next);
    assert_int_equal(looks, 2);
    OURO_CLEAR(b);
    assert_int_equal(looks, 3);
}

static int auto_return(_Atomic size_t *deaths, bool early)
{
    OURO_AUTO struct probe *first = probe_new(deaths);
    if (early)
        return 1;
    OURO_AUTO struct probe *second = probe_new(deaths);
    OURO_AUTO struct probe *none = NULL;
    (void)first;
    (void)second;
    (void)none;
    return 2;
}

static struct probe *auto_gives(_Atomic size_t *deaths)
{
    OURO_AUTO struct probe *kept = probe_new(deaths);
    return OURO_MOVE(kept);
}

static void test_auto(void **state)
{
    (void)state;
    _Atomic size_t deaths = 0;
    assert_int_equal(auto_return(&deaths, true), 1);
    assert_int_equal(deaths, 1);
    assert_int_equal(auto_return(&deaths, false), 2);
    assert_int_equal(deaths, 3);
    struct probe *kept = auto_gives(&deaths);
    assert_int_equal(deaths, 3);
    for (unsigned i = 0; i < 4; i++) {
        OURO_AUTO ouro_object *each = ouro_newref(kept); /* of any pointer type */
        OURO_AUTO void *untyped = ouro_newref(each);
        assert_int_equal(ouro_refcount(untyped), 3);
        if (i == 1)
            continue;
        if (i == 2)
            break;
    }
    assert_int_equal(ouro_refcount(kept), 1);
    {
        OURO_AUTO struct probe *replaced = ouro_newref(kept);
        OURO_SETREF(replaced, probe_new(&deaths));
        assert_int_equal(ouro_refcount(kept), 1);
    }
    assert_int_equal(deaths, 4);
    ouro_decref(kept);
    assert_int_equal(deaths, 5);
}

static void test_immortal(void **state)
{
    (void)state;
    _Atomic size_t deaths = 0;
    static struct pair *kept; /* never freed: reachable, so that no leak checker minds */
    struct probe *held = probe_new(&deaths);
    kept = pair_new(&deaths, ouro_newref(held), NULL);
    assert_false(ouro_is_immortal(kept));
    ouro_immortalize(kept);
    assert_true(ouro_is_immortal(kept));
    size_t constant = ouro_refcount(kept);
    assert_true(constant > (size_t)1 << 30);
    for (size_t i = 0; i < 10000; i++)
        ouro_incref(kept);
    assert_int_equal(ouro_refcount(kept), constant);
    for (size_t i = 0; i < 100000; i++)
        ouro_decref(kept);
    assert_int_equal(ouro_refcount(kept), constant);
    ouro_immortalize(kept);
    assert_int_equal(ouro_refcount(kept), constant);
    assert_true(ouro_is_immortal(kept));
    assert_int_equal(kept->probe.magic, MAGIC);
    assert_int_equal(ouro_refcount(held), 2); /* what it refers to lives */
    ouro_decref(held);
    assert_int_equal(deaths, 0);
    OURO_CLEAR(kept->left);
    assert_int_equal(deaths, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        API_TEST(test_refcount),       API_TEST(test_null), API_TEST(test_clear),
        API_TEST(test_setref),         API_TEST(test_move), API_TEST(test_setref_of_what_it_held),
        API_TEST(test_variable_first), API_TEST(test_auto), API_TEST(test_immortal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
