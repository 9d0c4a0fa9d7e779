/* api/test_weakmap_threads.c: threads that use one map while its keys die, and fork. See weak.h. */
#define _GNU_SOURCE
#include "weak.h"

#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { THREADS = 4 };

static struct {
    ouro_weakmap *map;
    struct node *keys[64];
    unsigned wrong, calls, working;
    bool stop;
} shared;

static void expect(bool is)
{
    if (!is)
        __atomic_add_fetch(&shared.wrong, 1, __ATOMIC_SEQ_CST);
}

static void run_threads(void *(*run)(void *), size_t count)
{
    pthread_t ids[THREADS];
    assert_true(count <= THREADS);
    for (size_t i = 0; i < count; i++)
        assert_int_equal(pthread_create(&ids[i], NULL, run, (void *)(i + 1)), 0);
    for (size_t i = 0; i < count; i++) {
        OURO_BLOCKING {
            assert_int_equal(pthread_join(ids[i], NULL), 0);
        }
    }
    assert_int_equal(shared.wrong, 0);
}

static uint64_t next_random(uint64_t *seed)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return *seed >> 33;
}

/* Keys that all have, which stay; each value has its key's number in `ref`'s place: nothing may be mixed up. */
static void *use_the_same_keys(void *arg)
{
    uint64_t seed = (uintptr_t)arg;
    for (int i = 0; i < 8000; i++) {
        size_t k = next_random(&seed) % COUNT_OF(shared.keys);
        struct node *key = shared.keys[k], *value;
        switch (next_random(&seed) % 4) {
        case 0:
        case 1:
            value = ouro_new(&node_type);
            value->number = __atomic_fetch_add(&next_number, 1, __ATOMIC_SEQ_CST);
            value->ref = ouro_newref(key);
            expect(ouro_weakmap_set(shared.map, key, value) == 0);
            ouro_decref(value);
            break;
        case 2:
            value = ouro_weakmap_get(shared.map, key);
            if (value != NULL)
                expect(value->ref == &key->base && deaths_of(value->number) == 0);
            ouro_xdecref(value);
            break;
        default:
            ouro_weakmap_remove(shared.map, key);
        }
        if (next_random(&seed) % 2000 == 0)
            ouro_weakmap_clear(shared.map);
        ouro_safepoint();
    }
    return NULL;
}

static void test_threads_with_the_same_keys(void **state)
{
    (void)state;
    memset(&shared, 0, sizeof shared);
    memset(deaths, 0, sizeof deaths);
    shared.map = new_map();
    for (size_t i = 0; i < COUNT_OF(shared.keys); i++)
        shared.keys[i] = new_node();
    run_threads(use_the_same_keys, THREADS);
    ouro_weakmap_clear(shared.map);
    for (size_t i = 0; i < COUNT_OF(shared.keys); i++)
        ouro_decref(shared.keys[i]);
    await_all_deaths();
    ouro_decref(shared.map);
}

static bool walk_with_others(void *key_, void *value_, void *arg)
{
    struct node *key = key_, *value = value_;
    expect(value->number == key->number + 1 && deaths_of(key->number) == 0 && deaths_of(value->number) == 0);
    ++*(size_t *)arg;
    ouro_safepoint();
    return true;
}

static void *walk_all_the_time(void)
{
    size_t seen = 0;
    do {
        size_t before = seen;
        size_t calls = ouro_weakmap_each(shared.map, walk_with_others, &seen);
        expect(calls == seen - before);
        __atomic_add_fetch(&shared.calls, 1, __ATOMIC_SEQ_CST);
    } while (__atomic_load_n(&shared.working, __ATOMIC_SEQ_CST) > 0);
    expect(seen > 0);
    return NULL;
}

/* Keys of one thread come and go, the map grows and shrinks, another thread walks. */
static void *own_keys(void *arg)
{
    enum { OWN = 400 };
    uint64_t seed = (uintptr_t)arg;
    struct node *keys[OWN] = { NULL };
    if ((size_t)arg == THREADS)
        return walk_all_the_time();
    while (__atomic_load_n(&shared.calls, __ATOMIC_SEQ_CST) == 0)
        ouro_safepoint(); /* until it has begun */
    for (int i = 0; i < 10000; i++) {
        size_t k = next_random(&seed) % OWN;
        if ((i / 2000) % 2 == 1 && keys[k] == NULL)
            continue; /* a time to shrink */
        if (keys[k] != NULL) {
            struct node *value = ouro_weakmap_get(shared.map, keys[k]);
            expect(value != NULL && value->number == keys[k]->number + 1);
            ouro_decref(value);
            if (next_random(&seed) % 4 == 0)
                expect(ouro_weakmap_remove(shared.map, keys[k]));
            ouro_decref(keys[k]);
            keys[k] = NULL;
        } else {
            struct node *key = ouro_new(next_random(&seed) % 2 ? &node_type : &leaf_type),
                        *value = ouro_new(&node_type);
            key->number = __atomic_fetch_add(&next_number, 2, __ATOMIC_SEQ_CST);
            value->number = key->number + 1;
            expect(ouro_weakmap_set(shared.map, key, value) == 0);
            ouro_decref(value);
            keys[k] = key;
        }
        ouro_safepoint();
    }
    unsigned walks = __atomic_load_n(&shared.calls, __ATOMIC_SEQ_CST);
    while (__atomic_load_n(&shared.calls, __ATOMIC_SEQ_CST) < walks + 2)
        ouro_safepoint(); /* it has met some of these keys */
    for (size_t k = 0; k < OWN; k++)
        ouro_xdecref(keys[k]);
    __atomic_sub_fetch(&shared.working, 1, __ATOMIC_SEQ_CST);
    return NULL;
}

static void test_keys_die_while_the_map_is_walked_and_resized(void **state)
{
    (void)state;
    memset(&shared, 0, sizeof shared);
    memset(deaths, 0, sizeof deaths);
    shared.map = new_map();
    shared.working = THREADS - 1;
    run_threads(own_keys, THREADS);
    await_all_deaths();
    assert_int_equal(ouro_weakmap_size(shared.map), 0);
    ouro_decref(shared.map);
}

/* Each thread drops its reference to a key, or the map, which all others drop too. */
static pthread_barrier_t barrier;
enum { ROUNDS = 400 };

static void wait_for_all(void)
{
    OURO_BLOCKING {
        pthread_barrier_wait(&barrier);
    }
}

static void *drop_together(void *arg)
{
    size_t me = (size_t)arg - 1;
    uint64_t seed = (uintptr_t)arg;
    for (int round = 0; round < ROUNDS; round++) {
        if (me == 0) {
            shared.map = ouro_weakmap_new();
            for (size_t k = 0; k < 16; k++) {
                struct node *key = ouro_new(&node_type), *value = ouro_new(&node_type);
                key->number = __atomic_fetch_add(&next_number, 2, __ATOMIC_SEQ_CST);
                value->number = key->number + 1;
                expect(ouro_weakmap_set(shared.map, key, value) == 0);
                ouro_decref(value);
                shared.keys[k] = key;
                for (size_t i = 1; i < THREADS; i++)
                    ouro_incref(key);
            }
            for (size_t i = 1; i < THREADS; i++)
                ouro_incref(shared.map);
        }
        wait_for_all();
        size_t map_goes = next_random(&seed) % 16;
        for (size_t k = 0; k < 16; k++) {
            if (k == map_goes)
                ouro_decref(shared.map);
            ouro_decref(shared.keys[(k + me * 3) % 16]);
        }
        ouro_safepoint();
        wait_for_all();
    }
    return NULL;
}

static void test_map_and_keys_die_together(void **state)
{
    (void)state;
    memset(&shared, 0, sizeof shared);
    memset(deaths, 0, sizeof deaths);
    pthread_barrier_init(&barrier, NULL, THREADS);
    run_threads(drop_together, THREADS);
    pthread_barrier_destroy(&barrier);
    await_all_deaths();
}

static void *churn(void *arg)
{
    (void)arg;
    while (!__atomic_load_n(&shared.stop, __ATOMIC_SEQ_CST)) {
        void *key = ouro_new(&leaf_type), *value = ouro_new(&leaf_type);
        ((struct node *)key)->number = ((struct node *)value)->number = NODES - 1;
        ouro_weakmap_set(shared.map, key, value);
        ouro_decref(value);
        ouro_decref(key);
        ouro_safepoint();
    }
    return NULL;
}

static void test_fork(void **state)
{
    (void)state;
    pthread_t ids[2];
    memset(&shared, 0, sizeof shared);
    shared.map = new_map();
    for (size_t i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&ids[i], NULL, churn, NULL), 0);
    for (int i = 0; i < 20; i++) {
        struct node *key = new_node();
        unsigned value = set_new(shared.map, key);
        pid_t pid = fork();
        if (pid == 0) {
            alarm(30);
            struct node *got = ouro_weakmap_get(shared.map, key);
            bool right = got != NULL && got->number == value;
            ouro_xdecref(got);
            ouro_decref(key);
            right = right && deaths_of(value) == 1;
            for (int k = 0; k < 200; k++) {
                struct node *mine = ouro_new(&leaf_type);
                mine->number = NODES - 1;
                right = right && ouro_weakmap_set(shared.map, mine, shared.map) == 0;
                ouro_decref(mine);
            }
            _exit(right ? 0 : 1);
        }
        int status = -1;
        assert_true(pid > 0);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(status, 0);
        ouro_decref(key);
        assert_int_equal(deaths_of(value), 1);
    }
    __atomic_store_n(&shared.stop, true, __ATOMIC_SEQ_CST);
    for (size_t i = 0; i < 2; i++) {
        OURO_BLOCKING {
            assert_int_equal(pthread_join(ids[i], NULL), 0);
        }
    }
    ouro_safepoint();
    ouro_decref(shared.map);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WEAK_TEST(test_threads_with_the_same_keys),
        WEAK_TEST(test_keys_die_while_the_map_is_walked_and_resized),
        WEAK_TEST(test_map_and_keys_die_together),
        WEAK_TEST(test_fork),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
