/* api/test_object_counts.c: one object, several threads: each way in which a last reference can be dropped. */
#define _GNU_SOURCE
#include "objects.h"

struct maker {
    _Atomic size_t *deaths;
    pthread_t *by;
    size_t references;
    struct probe *made;
};

static void order_make(void *arg)
{
    struct maker *maker = arg;
    maker->made = probe_new(maker->deaths);
    maker->made->by = maker->by;
    for (size_t i = 1; i < maker->references; i++)
        ouro_incref(maker->made);
}

/* An object that the puppet made, and whose references are all the caller's. */
static struct probe *made_by(struct puppet *puppet, size_t references, _Atomic size_t *deaths, pthread_t *by)
{
    struct maker maker = { deaths, by, references, NULL };
    puppet_do(puppet, order_make, &maker);
    return maker.made;
}

static void drop(void *obj, size_t references)
{
    for (size_t i = 0; i < references; i++)
        ouro_decref(obj);
}

/* The owner sleeps: who drops the last reference frees, at once. */
static void test_owner_blocking(void **state)
{
    (void)state;
    struct puppet owner;
    puppet_start(&owner, REST_BLOCKING);
    for (size_t references = 1; references <= 5; references++) {
        for (unsigned round = 0; round < 20; round++) {
            _Atomic size_t deaths = 0;
            pthread_t by = owner.thread;
            struct probe *obj = made_by(&owner, references, &deaths, &by);
            sleep_ms(round == 0 ? 20 : 0); /* or the owner may still be on its way to sleep */
            drop(obj, references - 1);
            ouro_incref(obj);
            ouro_decref(obj);
            assert_int_equal(deaths, 0);
            ouro_decref(obj);
            assert_true(wait_deaf(&deaths, 1));
            if (round == 0)
                assert_true(pthread_equal(by, pthread_self()));
        }
    }
    puppet_end(&owner);
}

/* At once means before decref returns. */
static void test_owner_asleep_frees_at_once(void **state)
{
    (void)state;
    struct puppet owner;
    puppet_start(&owner, REST_BLOCKING);
    _Atomic size_t deaths = 0;
    pthread_t by = owner.thread;
    struct probe *obj = made_by(&owner, 3, &deaths, &by);
    sleep_ms(100);
    drop(obj, 3);
    assert_int_equal(deaths, 1);
    assert_true(pthread_equal(by, pthread_self()));
    puppet_end(&owner);
}

/* The owner runs: at its next safepoint, which is not far; it frees. */
static void test_owner_polling(void **state)
{
    (void)state;
    struct puppet owner;
    puppet_start(&owner, REST_POLLING);
    for (size_t references = 1; references <= 5; references++) {
        for (unsigned round = 0; round < 20; round++) {
            _Atomic size_t deaths = 0;
            pthread_t by = pthread_self();
            struct probe *obj = made_by(&owner, references, &deaths, &by);
            drop(obj, references - 1);
            assert_int_equal(deaths, 0);
            ouro_decref(obj);
            assert_true(wait_deaf(&deaths, 1));
            if (references == 1) /* of several, it may have merged the first that was dropped, before the last was */
                assert_true(pthread_equal(by, owner.thread));
        }
    }
    puppet_end(&owner);
}

static void order_safepoint(void *unused)
{
    (void)unused;
    ouro_safepoint();
}
static void order_new(void *unused)
{
    (void)unused;
    ouro_decref(probe_new(NULL));
}
static void order_region(void *unused)
{
    (void)unused;
    OURO_BLOCKING {
        sleep_ms(0);
    }
}

/* Not before its next safepoint, and then: each kind of safepoint. */
static void test_owner_deaf(void **state)
{
    (void)state;
    static void (*const safepoints[])(void *) = { order_safepoint, order_new, order_region };
    struct puppet owner;
    puppet_start(&owner, REST_DEAF);
    for (size_t i = 0; i < COUNT_OF(safepoints); i++) {
        _Atomic size_t deaths = 0;
        pthread_t by = pthread_self();
        struct probe *obj = made_by(&owner, 3, &deaths, &by);
        drop(obj, 3);
        sleep_ms(20);
        assert_int_equal(deaths, 0);
        puppet_do(&owner, order_nothing, NULL);
        assert_int_equal(deaths, 0);
        puppet_do(&owner, safepoints[i], NULL);
        assert_int_equal(deaths, 1);
        assert_true(pthread_equal(by, owner.thread));
    }
    puppet_end(&owner);
}

/* Many objects of a deaf owner; all of them are freed at one safepoint, or by the end of the thread. */
static void test_many_queued(void **state)
{
    (void)state;
    enum { COUNT = 20000 };
    static struct probe *objs[COUNT];
    for (unsigned ends = 0; ends < 2; ends++) {
        struct puppet owner;
        _Atomic size_t deaths = 0;
        puppet_start(&owner, REST_DEAF);
        for (size_t i = 0; i < COUNT; i++)
            objs[i] = made_by(&owner, 1 + i % 3, &deaths, NULL);
        for (size_t i = 0; i < COUNT; i++)
            drop(objs[i], 1 + i % 3);
        assert_int_equal(deaths, 0);
        if (ends == 0)
            puppet_do(&owner, order_safepoint, NULL);
        else
            puppet_end(&owner);
        assert_int_equal(deaths, COUNT);
        if (ends == 0)
            puppet_end(&owner);
    }
}

/* The owner dropped its own and others hold the rest: the last of them frees at once, whatever the owner does. */
static void test_owner_dropped_first(void **state)
{
    (void)state;
    static const enum rest rests[] = { REST_BLOCKING, REST_POLLING, REST_DEAF };
    for (size_t r = 0; r < COUNT_OF(rests); r++) {
        struct puppet owner;
        puppet_start(&owner, rests[r]);
        for (size_t others = 1; others < 4; others++) {
            _Atomic size_t deaths = 0;
            pthread_t by = owner.thread;
            struct probe *obj = made_by(&owner, 1, &deaths, &by);
            for (size_t i = 0; i < others; i++)
                ouro_incref(obj);
            assert_int_equal(ouro_refcount(obj), others + 1);
            puppet_do(&owner, order_decref, obj);
            assert_int_equal(ouro_refcount(obj), others);
            drop(obj, others - 1);
            assert_int_equal(deaths, 0);
            ouro_decref(obj);
            assert_int_equal(deaths, 1);
            assert_true(pthread_equal(by, pthread_self()));
        }
        puppet_end(&owner);
    }
}

/* Others took and gave back: the owner's last frees at once. */
static void test_owner_drops_last(void **state)
{
    (void)state;
    struct puppet owner;
    puppet_start(&owner, REST_POLLING);
    for (size_t others = 0; others < 4; others++) {
        _Atomic size_t deaths = 0;
        struct probe *obj = made_by(&owner, 2, &deaths, NULL);
        for (size_t i = 0; i < others; i++)
            ouro_incref(obj);
        drop(obj, others);
        puppet_do(&owner, order_decref, obj);
        assert_int_equal(ouro_refcount(obj), 1);
        puppet_do(&owner, order_decref, obj);
        assert_int_equal(deaths, 1);
    }
    puppet_end(&owner);
}

/* References that the owner took are dropped by others while it takes more: the sum is what counts. */
static void test_others_drop_more_than_they_took(void **state)
{
    (void)state;
    static const enum rest rests[] = { REST_BLOCKING, REST_POLLING, REST_DEAF };
    for (size_t r = 0; r < COUNT_OF(rests); r++) {
        struct puppet owner;
        _Atomic size_t deaths = 0;
        puppet_start(&owner, rests[r]);
        struct probe *obj = made_by(&owner, 1, &deaths, NULL);
        for (size_t i = 0; i < 200; i++) {
            puppet_do(&owner, order_incref, obj);
            puppet_do(&owner, order_incref, obj);
            drop(obj, 2);
            assert_int_equal(ouro_refcount(obj), 1);
        }
        assert_int_equal(deaths, 0);
        puppet_do(&owner, order_decref, obj);
        puppet_do(&owner, order_safepoint, NULL);
        assert_int_equal(deaths, 1);
        puppet_end(&owner);
    }
}

/* The owner is gone. */
static void test_owner_gone(void **state)
{
    (void)state;
    for (size_t references = 1; references <= 4; references++) {
        struct puppet owner;
        _Atomic size_t deaths = 0;
        pthread_t by = 0;
        puppet_start(&owner, REST_BLOCKING);
        struct probe *obj = made_by(&owner, references, &deaths, &by);
        puppet_end(&owner);
        assert_int_equal(ouro_refcount(obj), references);
        ouro_incref(obj);
        assert_int_equal(ouro_refcount(obj), references + 1);
        drop(obj, references);
        assert_int_equal(deaths, 0);
        assert_int_equal(ouro_refcount(obj), 1);
        ouro_decref(obj);
        assert_int_equal(deaths, 1);
        assert_true(pthread_equal(by, pthread_self()));
    }
}

/* Many owners come and go, each perhaps with the number of one before: what they made stays right. */
static void test_numbers_are_used_again(void **state)
{
    (void)state;
    enum { THREADS = 200, EACH = 5 };
    static struct probe *objs[THREADS][EACH];
    _Atomic size_t deaths = 0;
    size_t freed = 0;
    for (size_t t = 0; t < THREADS; t++) {
        struct puppet owner;
        puppet_start(&owner, REST_BLOCKING);
        for (size_t i = 0; i < EACH; i++)
            objs[t][i] = made_by(&owner, i + 1, &deaths, NULL);
        if (t >= 2) { /* objects of threads that are gone, counted by a thread that may have inherited them */
            puppet_do(&owner, order_incref, objs[t - 1][0]);
            puppet_do(&owner, order_incref, objs[t - 2][4]);
            puppet_do(&owner, order_decref, objs[t - 2][1]);
            ouro_decref(objs[t - 2][1]);
            freed++;
        }
        puppet_end(&owner);
        assert_int_equal(deaths, freed);
    }
    for (size_t t = 0; t < THREADS; t++) {
        for (size_t i = 0; i < EACH; i++) {
            bool again = i == 0 && t + 1 < THREADS && t >= 1, again_4 = i == 4 && t + 2 < THREADS;
            if (i == 1 && t + 2 < THREADS)
                continue;
            size_t expected = i + 1 + (again ? 1 : 0) + (again_4 ? 1 : 0);
            assert_int_equal(ouro_refcount(objs[t][i]), expected);
            drop(objs[t][i], expected);
            assert_int_equal(deaths, ++freed);
        }
    }
}

/* Unregistered and registered again, a thread owns what it owned or does not; either way counts stay right. */
static void order_leave_and_return(void *arg)
{
    struct probe *obj = arg;
    ouro_thread_unregister();
    ouro_incref(obj);
    EXPECT(ouro_refcount(obj) == 2);
    ouro_decref(obj);
    EXPECT(ouro_thread_register() == 0);
    ouro_incref(obj);
    EXPECT(ouro_refcount(obj) == 2);
    ouro_decref(obj);
}

static void test_unregister_with_objects(void **state)
{
    (void)state;
    struct puppet owner;
    puppet_start(&owner, REST_POLLING);
    _Atomic size_t deaths = 0;
    struct probe *a = made_by(&owner, 1, &deaths, NULL), *b = made_by(&owner, 1, &deaths, NULL);
    puppet_do(&owner, order_leave_and_return, a);
    puppet_do(&owner, order_leave_and_return, a);
    puppet_do(&owner, order_decref, a);
    assert_int_equal(deaths, 1);
    ouro_decref(b);
    assert_true(wait_deaf(&deaths, 2));
    puppet_end(&owner);
}

/* A thread that never registered counts like any other. */
static void test_unregistered_counts(void **state)
{
    (void)state;
    struct puppet plain, owner;
    _Atomic size_t deaths = 0;
    puppet_start(&plain, REST_PLAIN);
    puppet_start(&owner, REST_POLLING);
    struct probe *obj = made_by(&owner, 1, &deaths, NULL);
    puppet_do(&plain, order_incref, obj);
    assert_int_equal(ouro_refcount(obj), 2);
    puppet_do(&plain, order_decref, obj);
    assert_int_equal(ouro_refcount(obj), 1);
    puppet_do(&plain, order_decref, obj);
    assert_true(wait_deaf(&deaths, 1));
    puppet_end(&owner);
    obj = probe_new(&deaths); /* and frees */
    puppet_do(&plain, order_decref, obj);
    ouro_safepoint();
    assert_int_equal(deaths, 2);
    puppet_end(&plain);
}

/* Hands it round: every thread takes one and drops one, in all orders, with the reference of one in flight. */
static void test_round(void **state)
{
    (void)state;
    struct puppet puppets[3];
    _Atomic size_t deaths = 0;
    puppet_start(&puppets[0], REST_BLOCKING);
    puppet_start(&puppets[1], REST_POLLING);
    puppet_start(&puppets[2], REST_DEAF);
    for (size_t turn = 0; turn < 600; turn++) {
        struct puppet *a = &puppets[turn % 3], *b = &puppets[turn / 3 % 3], *c = &puppets[turn / 9 % 3];
        struct probe *obj = made_by(a, 1, &deaths, NULL);
        puppet_do(b, order_incref, obj);
        puppet_do(c, order_incref, obj);
        assert_int_equal(ouro_refcount(obj), 3);
        puppet_do(turn % 2 == 0 ? a : c, order_decref, obj);
        puppet_do(b, order_decref, obj);
        assert_int_equal(ouro_refcount(obj), 1);
        assert_int_equal(deaths, turn);
        puppet_do(turn % 2 == 0 ? c : a, order_decref, obj);
        puppet_do(a, order_safepoint, NULL);
        assert_int_equal(deaths, turn + 1);
    }
    for (size_t i = 0; i < 3; i++)
        puppet_end(&puppets[i]);
}

/* An immortal object, counted by all. */
static void test_immortal_from_all(void **state)
{
    (void)state;
    static struct probe *kept;
    struct puppet owner, other;
    _Atomic size_t deaths = 0;
    puppet_start(&owner, REST_POLLING);
    puppet_start(&other, REST_BLOCKING);
    for (unsigned i = 0; i < 2; i++) { /* made so by its owner, by another */
        kept = made_by(&owner, 2, &deaths, NULL);
        puppet_do(i == 0 ? &owner : &other, ouro_immortalize, kept);
        size_t constant = ouro_refcount(kept);
        assert_true(constant > (size_t)1 << 30);
        for (size_t k = 0; k < 20; k++) {
            puppet_do(&owner, order_decref, kept);
            puppet_do(&other, order_decref, kept);
            ouro_decref(kept);
        }
        puppet_do(&owner, order_safepoint, NULL);
        assert_true(ouro_is_immortal(kept));
        assert_int_equal(ouro_refcount(kept), constant);
        ouro_object *obj = &kept->base;
        ouro_slot slot = { NULL };
        ouro_slot_store(&slot, obj);
        ouro_slot_store(&slot, NULL);
        assert_int_equal(kept->magic, MAGIC);
    }
    puppet_end(&owner);
    puppet_end(&other);
    assert_int_equal(kept->magic, MAGIC);
    assert_int_equal(deaths, 0);
}

/* Chains whose links are made by two threads in turn, each holding one end of each. */
struct ends {
    struct pair *heads[50];
};
enum { CHAIN = 4000 };

struct grow {
    struct pair **head;
    _Atomic size_t *deaths;
};
static void order_grow(void *arg)
{
    struct grow *grow = arg;
    for (size_t i = 0; i < 10; i++)
        *grow->head = pair_new(grow->deaths, *grow->head, NULL);
}

static void order_drop_heads(void *arg)
{
    struct ends *ends = arg;
    for (size_t i = 0; i < COUNT_OF(ends->heads); i++)
        ouro_decref(ends->heads[i]);
}

static void test_two_ends_of_chains(void **state)
{
    (void)state;
    static struct ends fronts, backs;
    struct puppet a, b;
    puppet_start(&a, REST_POLLING);
    puppet_start(&b, REST_POLLING);
    for (unsigned round = 0; round < 2; round++) {
        _Atomic size_t deaths = 0;
        size_t length = SANITIZED ? CHAIN / 10 : CHAIN;
        for (size_t i = 0; i < COUNT_OF(fronts.heads); i++) {
            struct pair *head = NULL;
            struct grow grow = { &head, &deaths };
            puppet_do_while_polling(&a, order_grow, &grow);
            backs.heads[i] = head;
            for (size_t k = 20; k < length; k += 20) {
                puppet_do_while_polling(&b, order_grow, &grow);
                puppet_do_while_polling(&a, order_grow, &grow);
            }
            puppet_do_while_polling(&b, order_grow, &grow);
            fronts.heads[i] = head;
            puppet_do_while_polling(&b, order_incref, backs.heads[i]);
        }
        /* one drops the fronts while the other drops the backs */
        puppet_ask(&a, order_drop_heads, &fronts);
        puppet_ask(&b, order_drop_heads, &backs);
        assert_true(wait_polling(&deaths, COUNT_OF(fronts.heads) * length));
        assert_int_equal(deaths, COUNT_OF(fronts.heads) * length);
    }
    puppet_end(&a);
    puppet_end(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        API_TEST(test_owner_blocking),
        API_TEST(test_owner_asleep_frees_at_once),
        API_TEST(test_owner_polling),
        API_TEST(test_owner_deaf),
        API_TEST(test_many_queued),
        API_TEST(test_owner_dropped_first),
        API_TEST(test_owner_drops_last),
        API_TEST(test_others_drop_more_than_they_took),
        API_TEST(test_owner_gone),
        API_TEST(test_numbers_are_used_again),
        API_TEST(test_unregister_with_objects),
        API_TEST(test_unregistered_counts),
        API_TEST(test_round),
        API_TEST(test_immortal_from_all),
        API_TEST(test_two_ends_of_chains),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
