/* api/test_object_process.c: objects around fork, at the ends of threads and at the end of the process. */
#define _GNU_SOURCE
#include <errno.h>
#include <sched.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#if defined(__SANITIZE_THREAD__)
enum { TSAN = 1 };
#else
enum { TSAN = 0 };
#endif

#include "objects.h"

/* fork. */

static void expect_child(pid_t pid)
{
    int status = -1;
    assert_true(pid > 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(child_was_fine(status));
}

struct maker {
    _Atomic size_t *deaths;
    struct pair *made;
};
static void order_make(void *arg)
{
    struct maker *maker = arg;
    maker->made = pair_new(maker->deaths, NULL, NULL);
}

/* In the child: everything that was there is there, and can be freed at once, whoever owned it. */
static void use_in_child(struct pair **objs, size_t count, _Atomic size_t *deaths)
{
    alarm(PATIENCE_S);
    atomic_store(deaths, 0);
    for (size_t i = 0; i < count; i++) {
        EXPECT(ouro_refcount(objs[i]) == 1);
        ouro_incref(objs[i]);
        EXPECT(ouro_refcount(objs[i]) == 2);
        ouro_decref(objs[i]);
        ouro_decref(objs[i]);
        EXPECT(atomic_load(deaths) == i + 1);
    }
    for (size_t i = 0; i < 1000; i++) {
        ouro_slot slot = { NULL };
        struct pair *pair = pair_new(deaths, probe_new(deaths), NULL);
        ouro_slot_store(&slot, pair);
        ouro_decref(pair);
        ouro_decref(ouro_slot_exchange(&slot, NULL));
        OURO_BLOCKING {
            ouro_free(ouro_malloc(100));
        }
    }
    EXPECT(atomic_load(deaths) == count + 2000);
    EXPECT(ouro_debug_check() == 0);
    _exit(0);
}

static void test_fork(void **state)
{
    (void)state;
    struct puppet puppets[3];
    _Atomic size_t deaths = 0;
    struct pair *objs[5];
    puppet_start(&puppets[0], REST_BLOCKING);
    puppet_start(&puppets[1], REST_POLLING);
    puppet_start(&puppets[2], REST_DEAF);
    for (size_t i = 0; i < 4; i++) {
        struct maker maker = { &deaths, NULL };
        if (i < 3)
            puppet_do(&puppets[i], order_make, &maker);
        else
            order_make(&maker);
        objs[i] = maker.made;
    }
    for (unsigned round = 0; round < 5; round++) {
        fflush(NULL);
        pid_t pid = fork();
        if (pid == 0)
            use_in_child(objs, 4, &deaths);
        expect_child(pid);
    }
    for (size_t i = 0; i < 4; i++) { /* nothing of that happened here */
        assert_int_equal(ouro_refcount(objs[i]), 1);
        ouro_decref(objs[i]);
    }
    for (size_t i = 0; i < 3; i++)
        puppet_end(&puppets[i]);
    assert_int_equal(deaths, 4);
}

/* What lost threads held stays counted. */
static void order_fork(void *arg)
{
    struct maker *maker = arg;
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        alarm(PATIENCE_S);
        EXPECT(ouro_refcount(maker->made) == 3); /* one is mine */
        ouro_decref(maker->made);
        EXPECT(ouro_refcount(maker->made) == 2);
        use_in_child(NULL, 0, maker->deaths);
    }
    int status = -1;
    EXPECT(waitpid(pid, &status, 0) == pid && child_was_fine(status));
}

static void test_fork_from_a_thread(void **state)
{
    (void)state;
    struct puppet forker, holder;
    _Atomic size_t deaths = 0;
    struct maker maker = { &deaths, NULL };
    puppet_start(&forker, REST_POLLING);
    puppet_start(&holder, REST_BLOCKING);
    order_make(&maker);
    puppet_do(&forker, order_incref, maker.made);
    puppet_do(&holder, order_incref, maker.made);
    puppet_do(&forker, order_fork, &maker);
    puppet_do(&forker, order_decref, maker.made);
    puppet_do(&holder, order_decref, maker.made);
    assert_int_equal(ouro_refcount(maker.made), 1);
    ouro_decref(maker.made);
    assert_int_equal(deaths, 1);
    puppet_end(&forker);
    puppet_end(&holder);
}

/* Threads that never stop making, sharing and dropping while others fork. */
static _Atomic bool stop_pounding;
static _Atomic size_t pounded;
static ouro_slot pounded_slots[4];

static void *pound(void *arg)
{
    uint64_t state = (uintptr_t)arg;
    while (!atomic_load(&stop_pounding)) {
        state = state * UINT64_C(6364136223846793005) + 1442695040888963407;
        struct pair *pair = pair_new(NULL, NULL, NULL);
        pair->left = ouro_slot_load(&pounded_slots[state >> 62]);
        if ((state >> 40) % 8 == 0)
            OURO_CLEAR(pair->left); /* chains stay short */
        ouro_slot_store(&pounded_slots[(state >> 60) & 3], (state >> 30) % 16 == 0 ? NULL : pair);
        ouro_decref(pair);
        if ((state >> 20) % 64 == 0)
            OURO_BLOCKING {
                sched_yield();
            }
        atomic_fetch_add(&pounded, 1);
    }
    return NULL;
}

static void test_fork_under_fire(void **state)
{
    (void)state;
    pthread_t threads[3];
    _Atomic size_t deaths = 0;
    atomic_store(&stop_pounding, false);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, pound, (void *)(i + 1)), 0);
    for (unsigned round = 0; round < (SANITIZED ? 5 : 30); round++) {
        size_t before = atomic_load(&pounded);
        fflush(NULL);
        pid_t pid = fork();
        if (pid == 0) {
            for (size_t i = 0; i < 4; i++)
                ouro_slot_store(&pounded_slots[i], NULL);
            use_in_child(NULL, 0, &deaths);
        }
        expect_child(pid);
        assert_true(wait_polling(&pounded, before + 100));
    }
    atomic_store(&stop_pounding, true);
    OURO_BLOCKING {
        for (size_t i = 0; i < 3; i++)
            pthread_join(threads[i], NULL);
    }
    for (size_t i = 0; i < 4; i++)
        ouro_slot_store(&pounded_slots[i], NULL);
}

/* The ends of threads. */

static pthread_key_t key;
static _Atomic size_t late_made, late_deaths, rounds;
static struct pair *left_behind;

static struct pair *late_pair(void)
{
    struct pair *pair = ouro_new(&pair_type);
    if (pair == NULL)
        return NULL;
    pair->probe.magic = MAGIC;
    pair->probe.deaths = &late_deaths;
    pair->left = &probe_new(&late_deaths)->base;
    atomic_fetch_add(&late_made, 2);
    return pair;
}

/* Runs up to four times, after the library's own destructor or before it. In the last rounds nobody might notice the end of a
 * thread that registers: a new object may be refused then, and what dies be left to another thread. */
static void key_destroy(void *value)
{
    struct pair *held = value;
    size_t before = atomic_load(&late_deaths);
    bool late = atomic_fetch_add(&rounds, 1) >= 2;
    if (held != (void *)1) {
        ouro_decref(held);
        EXPECT(late || atomic_load(&late_deaths) == before + 2);
    }
    before = atomic_load(&late_deaths);
    errno = 0;
    struct pair *made = late_pair();
    if (made == NULL) {
        EXPECT(late && errno == ENOMEM);
        return;
    }
    ouro_incref(made);
    ouro_decref(made);
    ouro_decref(made);
    ouro_safepoint();
    EXPECT(atomic_load(&late_deaths) == before + 2);
    made = late_pair();
    if (atomic_load(&rounds) < 4)
        pthread_setspecific(key, made);
    else
        left_behind = made;
}

static void *ends_with_objects(void *first_use)
{
    pthread_setspecific(key, first_use != NULL ? (void *)1 : late_pair());
    return NULL;
}

/* first: objects are used for the first time in the destructor. */
static void thread_end(void *first)
{
    pthread_t thread;
    atomic_store(&rounds, 0);
    OURO_BLOCKING {
        EXPECT(pthread_create(&thread, NULL, ends_with_objects, first) == 0);
        pthread_join(thread, NULL);
    }
    EXPECT(atomic_load(&rounds) >= 2);
    if (left_behind != NULL) { /* its owner is gone: at once */
        size_t before = atomic_load(&late_deaths);
        OURO_CLEAR(left_behind);
        EXPECT(atomic_load(&late_deaths) >= before + 2);
    }
    ouro_decref(pair_new(NULL, NULL, NULL)); /* and now what was left to whoever frees next */
    EXPECT(wait_polling(&late_deaths, atomic_load(&late_made)));
    EXPECT(atomic_load(&late_deaths) == atomic_load(&late_made));
}

static void use_key(void)
{
    EXPECT(pthread_key_create(&key, key_destroy) == 0);
    for (unsigned i = 0; i < 50; i++) {
        thread_end(NULL);
        thread_end((void *)1);
    }
    EXPECT(pthread_key_delete(key) == 0);
}

/* The key is younger than what the library may have; a child's is older. */
static void test_thread_specific_destructors(void **state)
{
    (void)state;
    if (TSAN)
        skip(); /* its own state of a thread is gone by the last round */
    char text[4000];
    use_key();
    int status = child_run("key_before_first_use", NULL, text, sizeof text);
    if (!child_was_fine(status))
        fail_msg("status 0x%x, said: %s", (unsigned)status, text);
}

/* The end of the process. */

static struct pair *held_to_the_end;

static void use_late(void)
{
    struct pair *pair = pair_new(&late_deaths, probe_new(&late_deaths), NULL);
    size_t before = atomic_load(&late_deaths);
    ouro_decref(pair);
    EXPECT(atomic_load(&late_deaths) == before + 2);
    if (held_to_the_end != NULL) {
        OURO_CLEAR(held_to_the_end);
        EXPECT(atomic_load(&late_deaths) == before + 3);
    }
    OURO_BLOCKING {
        sleep_ms(1);
    }
    ouro_safepoint();
}

static bool destructor_wanted;
__attribute__((destructor)) static void at_unload(void)
{
    if (destructor_wanted)
        use_late();
}

static void exit_before_first_use(void)
{
    EXPECT(atexit(use_late) == 0);
    destructor_wanted = true;
}
static void exit_with_objects(void)
{
    held_to_the_end = pair_new(&late_deaths, NULL, NULL);
    destructor_wanted = true;
    EXPECT(atexit(use_late) == 0);
}
/* What a thread that is gone made, dropped at exit. */
static void *make_for_the_end(void *unused)
{
    (void)unused;
    held_to_the_end = pair_new(&late_deaths, NULL, NULL);
    return NULL;
}
static void exit_with_objects_of_others(void)
{
    pthread_t thread;
    EXPECT(pthread_create(&thread, NULL, make_for_the_end, NULL) == 0);
    EXPECT(pthread_join(thread, NULL) == 0);
    EXPECT(atexit(use_late) == 0);
}
static void exit_under_fire(void)
{
    pthread_t thread;
    for (uintptr_t i = 1; i <= 3; i++)
        EXPECT(pthread_create(&thread, NULL, pound, (void *)i) == 0);
    EXPECT(atexit(use_late) == 0);
    EXPECT(wait_polling(&pounded, 1000));
}
static void *exit_from_a_thread_main(void *unused)
{
    (void)unused;
    held_to_the_end = pair_new(&late_deaths, NULL, NULL);
    EXPECT(atexit(use_late) == 0);
    exit(0);
}
static void exit_from_a_thread(void)
{
    pthread_t thread;
    ouro_decref(pair_new(NULL, NULL, NULL));
    EXPECT(pthread_create(&thread, NULL, exit_from_a_thread_main, NULL) == 0);
    for (;;)
        OURO_BLOCKING {
            pause();
        }
}
static void exit_quickly(void)
{
    held_to_the_end = pair_new(&late_deaths, NULL, NULL);
    quick_exit(0);
}

static const struct child_case cases[] = {
    { "exit_before_first_use", exit_before_first_use },
    { "exit_with_objects", exit_with_objects },
    { "exit_with_objects_of_others", exit_with_objects_of_others },
    { "exit_under_fire", exit_under_fire },
    { "exit_from_a_thread", exit_from_a_thread },
    { "exit_quickly", exit_quickly },
    { "key_before_first_use", use_key },
};
enum { EXITS = COUNT_OF(cases) - 1 };

static void test_exits(void **state)
{
    (void)state;
    char text[4000];
    for (size_t i = 0; i < EXITS; i++) {
        int status = child_run(cases[i].name, NULL, text, sizeof text);
        if (!child_was_fine(status))
            fail_msg("%s: status 0x%x, said: %s", cases[i].name, (unsigned)status, text);
    }
}

int main(int argc, char **argv)
{
    child_main(argc, argv, cases, COUNT_OF(cases));
    const struct CMUnitTest tests[] = {
        API_TEST(test_fork),
        API_TEST(test_fork_from_a_thread),
        API_TEST(test_fork_under_fire),
        API_TEST(test_thread_specific_destructors),
        API_TEST(test_exits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
