/* api/test_object_misuse.c: misuse ends the process with one line that names the type; memory that runs out does not.
 *
 * A count below zero is always detected in debug builds and with OURO_SECURE=1, use of a freed object in debug builds.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>

#include "objects.h"

struct victim {
    ouro_object base;
    ouro_object *ref;
    char rest[40];
};
static ouro_type victim_type = OURO_TYPE(struct victim);
static ouro_type tracked_victim_type = OURO_TYPE(struct victim, OURO_REFS(struct victim, ref));
static ouro_type long_victim_type = OURO_TYPE(struct victim, .item_size = 1);

static void self_destroy(ouro_object *self)
{
    ouro_decref(self);
}
static ouro_type suicidal_victim_type = OURO_TYPE(struct victim, .destroy = self_destroy);

/* The compiler must not see what comes. */
static void *victim_of(ouro_type *type, size_t items)
{
    void *obj = ouro_new_items(type, items);
    if (obj == NULL)
        exit(3);
    return keep(obj);
}

static void double_decref(void)
{
    void *obj = victim_of(&victim_type, 0);
    ouro_decref(obj);
    ouro_decref(keep(obj));
}
static void double_decref_tracked(void)
{
    void *obj = victim_of(&tracked_victim_type, 0);
    ouro_decref(obj);
    ouro_decref(keep(obj));
}
static void double_decref_with_items(void)
{
    void *obj = victim_of(&long_victim_type, 3000);
    ouro_decref(obj);
    ouro_decref(keep(obj));
}
static void double_decref_after_others(void)
{
    void *obj = victim_of(&tracked_victim_type, 0);
    ouro_decref(obj);
    for (size_t i = 0; i < 3; i++) { /* of another size: its block stays free */
        void *other = victim_of(&long_victim_type, 2000);
        ouro_decref(other);
    }
    ouro_decref(keep(obj));
}
static void *decref_twice(void *obj)
{
    ouro_decref(obj);
    ouro_decref(keep(obj));
    return NULL;
}
/* Twice by a thread that does not own it, while the owner runs: found at the latest when the owner merges. */
static void double_decref_by_another(void)
{
    pthread_t thread;
    void *obj = victim_of(&victim_type, 0);
    EXPECT(pthread_create(&thread, NULL, decref_twice, obj) == 0);
    EXPECT(pthread_join(thread, NULL) == 0);
    ouro_safepoint();
}
static void double_decref_owner_asleep(void)
{
    pthread_t thread;
    void *obj = victim_of(&victim_type, 0);
    OURO_BLOCKING {
        EXPECT(pthread_create(&thread, NULL, decref_twice, obj) == 0);
        EXPECT(pthread_join(thread, NULL) == 0);
    }
}
static void decref_in_destroy(void)
{
    ouro_decref(victim_of(&suicidal_victim_type, 0));
}
/* One decref too many, of a reference that a container has. */
static void container_left_with_nothing(void)
{
    struct victim *outer = victim_of(&tracked_victim_type, 0);
    outer->ref = victim_of(&victim_type, 0);
    ouro_decref(keep(outer->ref));
    ouro_decref(outer);
}

static void *freed_victim(ouro_type *type)
{
    void *obj = victim_of(type, 0);
    ouro_decref(obj);
    return keep(obj);
}
static void incref_of_freed(void)
{
    ouro_incref(freed_victim(&victim_type));
}
static void incref_of_freed_tracked(void)
{
    ouro_incref(freed_victim(&tracked_victim_type));
}
static void *incref_it(void *obj)
{
    ouro_incref(obj);
    return NULL;
}
static void incref_of_freed_by_another(void)
{
    pthread_t thread;
    EXPECT(pthread_create(&thread, NULL, incref_it, freed_victim(&victim_type)) == 0);
    EXPECT(pthread_join(thread, NULL) == 0);
}
static void slot_store_of_freed(void)
{
    static ouro_slot slot;
    ouro_slot_store(&slot, freed_victim(&tracked_victim_type));
}
static void refcount_of_freed(void)
{
    exit(ouro_refcount(freed_victim(&victim_type)) == 77 ? 1 : 0);
}
static void typeof_freed(void)
{
    exit(ouro_typeof(freed_victim(&tracked_victim_type)) == NULL ? 1 : 0);
}
static void immortalize_freed(void)
{
    ouro_immortalize(freed_victim(&victim_type));
}

/* Not misuse. */
static void right_use(void)
{
    void *obj = victim_of(&tracked_victim_type, 0);
    ouro_incref(obj);
    ouro_decref(obj);
    ouro_decref(obj);
    EXPECT(ouro_debug_check() == 0);
}

/* Memory runs out at some point: what fails says so, and changes nothing. */
static _Atomic size_t hungry_deaths;
static void *hungry_thread(void *arg)
{
    size_t made = 0;
    struct pair *list = NULL;
    ouro_slot *slot = arg;
    if (ouro_thread_register() != 0) {
        EXPECT(errno == ENOMEM);
        return NULL;
    }
    for (size_t i = 0; i < 400; i++) {
        errno = 0;
        struct pair *pair = ouro_new(&pair_type);
        void *items = ouro_new_items(&long_victim_type, i * i * 3);
        EXPECT((pair != NULL && items != NULL) || errno == ENOMEM);
        ouro_xdecref(items);
        if (pair == NULL)
            continue;
        pair->probe.magic = MAGIC;
        pair->probe.deaths = &hungry_deaths;
        made++;
        pair->left = (ouro_object *)OURO_MOVE(list);
        list = pair;
        ouro_slot_store(slot, pair);
        ouro_xdecref(ouro_slot_load(slot));
    }
    ouro_slot_store(slot, NULL);
    OURO_CLEAR(list);
    ouro_thread_unregister();
    return (void *)made;
}
static void hungry(void)
{
    ouro_slot slots[3] = { { NULL }, { NULL }, { NULL } };
    pthread_t threads[2];
    size_t made = (size_t)hungry_thread(&slots[0]);
    for (size_t i = 0; i < 2; i++)
        EXPECT(pthread_create(&threads[i], NULL, hungry_thread, &slots[i + 1]) == 0);
    for (size_t i = 0; i < 2; i++) {
        void *result;
        EXPECT(pthread_join(threads[i], &result) == 0);
        made += (size_t)result;
    }
    EXPECT(atomic_load(&hungry_deaths) == made);
    EXPECT(ouro_debug_check() == 0);
}

static const struct child_case cases[] = {
    /* count below zero */
    { "double_decref", double_decref },
    { "double_decref_tracked", double_decref_tracked },
    { "double_decref_with_items", double_decref_with_items },
    { "double_decref_after_others", double_decref_after_others },
    { "double_decref_by_another", double_decref_by_another },
    { "double_decref_owner_asleep", double_decref_owner_asleep },
    { "decref_in_destroy", decref_in_destroy },
    { "container_left_with_nothing", container_left_with_nothing },
    /* use after free */
    { "incref_of_freed", incref_of_freed },
    { "incref_of_freed_tracked", incref_of_freed_tracked },
    { "incref_of_freed_by_another", incref_of_freed_by_another },
    { "slot_store_of_freed", slot_store_of_freed },
    { "refcount_of_freed", refcount_of_freed },
    { "typeof_freed", typeof_freed },
    { "immortalize_freed", immortalize_freed },
    /* neither */
    { "right_use", right_use },
    { "hungry", hungry },
};
enum { COUNTS = 8, USES = 7 };

static size_t expect_stop(size_t from, size_t count, const char *env)
{
    char text[4000];
    size_t bad = 0;
    for (size_t i = from; i < from + count; i++) {
        int status = child_run(cases[i].name, env, text, sizeof text);
        bool good = SANITIZED ? !child_was_fine(status) /* the sanitizer may have been first */
                              : child_aborted(status) && lines_of(text) == 1 && strstr(text, "victim") != NULL;
        if (!good) {
            print_error("%s (%s): status 0x%x, said: %s\n", cases[i].name, env != NULL ? env : "", (unsigned)status,
                        text);
            bad++;
        }
    }
    return bad;
}

static void test_count_below_zero(void **state)
{
    (void)state;
    size_t bad = expect_stop(0, COUNTS, "OURO_SECURE=1");
    if (OURO_DEBUG)
        bad += expect_stop(0, COUNTS, "OURO_SECURE=0");
    assert_int_equal(bad, 0);
}

static void test_use_of_freed(void **state)
{
    (void)state;
    if (!OURO_DEBUG)
        skip();
    assert_int_equal(expect_stop(COUNTS, USES, NULL), 0);
}

static void test_right_use(void **state)
{
    (void)state;
    char text[1000];
    static const char *const envs[] = { NULL, "OURO_SECURE=1" };
    for (size_t i = 0; i < COUNT_OF(envs); i++) {
        assert_true(child_was_fine(child_run("right_use", envs[i], text, sizeof text)));
        assert_string_equal(text, "");
    }
}

static void expect_hungry(const char *env)
{
    char text[4000];
    int status = child_run("hungry", env, text, sizeof text);
    if (!child_was_fine(status))
        fail_msg("%s: status 0x%x, said: %s", env != NULL ? env : "enough memory", (unsigned)status, text);
}

static void test_memory_runs_out(void **state)
{
    (void)state;
    expect_hungry(NULL);
    if (!OURO_DEBUG) /* OURO_FAIL_NTH is of debug builds */
        return;
    for (unsigned n = 1; n <= (SANITIZED ? 12 : 40); n++) {
        char env[2][40];
        snprintf(env[0], sizeof env[0], "OURO_FAIL_NTH=%u", n);
        snprintf(env[1], sizeof env[1], "OURO_FAIL_NTH=%u+", n);
        expect_hungry(env[0]);
        expect_hungry(env[1]);
    }
}

int main(int argc, char **argv)
{
    child_main(argc, argv, cases, COUNT_OF(cases));
    const struct CMUnitTest tests[] = {
        API_TEST(test_count_below_zero),
        API_TEST(test_use_of_freed),
        API_TEST(test_right_use),
        API_TEST(test_memory_runs_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
