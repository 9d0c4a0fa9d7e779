/* api/test_weakref.c: weak references: what they say of the living and the dead, and callbacks. See weak.h. */
#define _GNU_SOURCE
#include "weak.h"

#include <errno.h>
#include <string.h>

static ouro_type items_type =
    OURO_TYPE(struct node, .item_size = sizeof(void *), .items_are_refs = true, .destroy = node_destroy);
static ouro_type bare_type = OURO_TYPE(ouro_object);

/* Living and dead */

static void test_get_is_a_new_reference_until_the_death(void **state)
{
    (void)state;
    static ouro_type *const types[] = { &node_type, &leaf_type, &items_type };
    for (size_t i = 0; i < COUNT_OF(types); i++) {
        struct node *node = new_of(types[i]);
        unsigned number = node->number;
        ouro_weakref *ref = ouro_weakref_new(node, NULL, NULL);
        assert_non_null(ref);
        assert_int_equal(ouro_refcount(node), 1);
        struct node *got = ouro_weakref_get(ref);
        assert_ptr_equal(got, node);
        assert_int_equal(ouro_refcount(node), 2);
        ouro_decref(got);
        assert_int_equal(ouro_refcount(node), 1);
        assert_int_equal(deaths_of(number), 0);
        ouro_decref(node);
        assert_int_equal(deaths_of(number), 1);
        for (int k = 0; k < 3; k++)
            assert_null(ouro_weakref_get(ref));
        ouro_decref(ref);
        assert_int_equal(deaths_of(number), 1);
    }
}

static void test_get_keeps_alive(void **state)
{
    (void)state;
    struct node *node = new_node();
    unsigned number = node->number;
    ouro_weakref *ref = ouro_weakref_new(node, NULL, NULL);
    struct node *got = ouro_weakref_get(ref);
    ouro_decref(node);
    assert_int_equal(deaths_of(number), 0);
    assert_int_equal(got->number, number);
    node = ouro_weakref_get(ref);
    assert_ptr_equal(node, got);
    ouro_decref(got);
    ouro_decref(node);
    assert_int_equal(deaths_of(number), 1);
    assert_null(ouro_weakref_get(ref));
    ouro_decref(ref);
}

static void test_a_bare_object(void **state)
{
    (void)state;
    void *object = ouro_new(&bare_type);
    ouro_weakref *ref = ouro_weakref_new(object, NULL, NULL);
    void *got = ouro_weakref_get(ref);
    assert_ptr_equal(got, object);
    ouro_decref(got);
    ouro_decref(object);
    assert_null(ouro_weakref_get(ref));
    ouro_decref(ref);
}

static void test_a_new_object_in_the_same_place_is_not_found(void **state)
{
    (void)state;
    static ouro_weakref *refs[2000];
    struct node *keep[100];
    for (size_t i = 0; i < COUNT_OF(refs); i++) {
        struct node *node = new_node();
        refs[i] = ouro_weakref_new(node, NULL, NULL);
        ouro_decref(node);
    }
    for (size_t i = 0; i < COUNT_OF(keep); i++)
        keep[i] = new_node();
    for (size_t i = 0; i < COUNT_OF(refs); i++) {
        assert_null(ouro_weakref_get(refs[i]));
        ouro_decref(refs[i]);
    }
    for (size_t i = 0; i < COUNT_OF(keep); i++) {
        assert_int_equal(ouro_weakref_count(keep[i]), 0);
        ouro_decref(keep[i]);
    }
}

static void test_an_immortal_object(void **state)
{
    (void)state;
    struct node *node = new_of(&leaf_type);
    ouro_immortalize(node);
    ouro_weakref *ref = ouro_weakref_new(node, NULL, NULL);
    ouro_decref(node);
    void *got = ouro_weakref_get(ref);
    assert_ptr_equal(got, node);
    ouro_decref(ref);
    assert_int_equal(ouro_weakref_count(node), 0);
}

static void test_a_weak_reference_is_an_untracked_object(void **state)
{
    (void)state;
    struct node *node = new_node();
    ouro_weakref *ref = ouro_weakref_new(node, NULL, NULL);
    assert_int_equal(ouro_refcount(ref), 1);
    ouro_incref(ref);
    assert_int_equal(ouro_refcount(ref), 2);
    assert_non_null(ouro_typeof(ref)->name);
    assert_true(ouro_sizeof(ref) >= sizeof(ouro_object));
    ouro_decref(ref);
    struct node *holder = new_node();
    holder->ref = (ouro_object *)ref; /* it may be a member as any other */
    ouro_decref(holder);
    assert_int_equal(ouro_weakref_count(node), 0);
    ouro_decref(node);
}

/* Sharing and counting */

static void test_without_callback_it_is_shared(void **state)
{
    (void)state;
    struct node *node = new_node();
    ouro_weakref *first = ouro_weakref_new(node, NULL, NULL);
    ouro_weakref *second = ouro_weakref_new(node, NULL, &state);
    assert_ptr_equal(first, second);
    assert_int_equal(ouro_refcount(first), 2);
    assert_int_equal(ouro_weakref_count(node), 1);
    ouro_decref(first);
    assert_int_equal(ouro_weakref_count(node), 1);
    ouro_decref(second);
    assert_int_equal(ouro_weakref_count(node), 0);
    first = ouro_weakref_new(node, NULL, NULL);
    assert_int_equal(ouro_refcount(first), 1);
    assert_int_equal(ouro_weakref_count(node), 1);
    ouro_decref(node);
    node = new_node(); /* that of a dead one is not shared */
    second = ouro_weakref_new(node, NULL, NULL);
    assert_ptr_not_equal(first, second);
    assert_null(ouro_weakref_get(first));
    ouro_decref(first);
    ouro_decref(second);
    ouro_decref(node);
}

static void test_with_callback_or_free_arg_it_is_not(void **state)
{
    (void)state;
    unsigned freed = 0;
    struct node *node = new_node();
    ouro_weakref *refs[] = {
        ouro_weakref_new(node, nothing, NULL),
        ouro_weakref_new(node, NULL, NULL),
        ouro_weakref_new(node, nothing, NULL),
        ouro_weakref_new_full(node, NULL, &freed, add_one),
        ouro_weakref_new_full(node, NULL, &freed, add_one),
        ouro_weakref_new(node, nothing, NULL),
    };
    for (size_t i = 0; i < COUNT_OF(refs); i++)
        for (size_t k = 0; k < i; k++)
            assert_ptr_not_equal(refs[i], refs[k]);
    ouro_weakref *shared = ouro_weakref_new(node, NULL, NULL);
    assert_ptr_equal(shared, refs[1]);
    ouro_decref(shared);
    assert_int_equal(ouro_weakref_count(node), COUNT_OF(refs));
    for (size_t i = 0; i < COUNT_OF(refs); i++) {
        ouro_decref(refs[i]);
        assert_int_equal(ouro_weakref_count(node), COUNT_OF(refs) - 1 - i);
    }
    assert_int_equal(freed, 2);
    ouro_decref(node);
}

static void test_what_is_refused(void **state)
{
    (void)state;
    unsigned freed = 0;
    struct node *node = new_node();
    ouro_weakref *ref = ouro_weakref_new(node, nothing, NULL);
    errno = 0;
    assert_null(ouro_weakref_new(NULL, NULL, NULL));
    assert_int_equal(errno, EINVAL);
    errno = 0;
    assert_null(ouro_weakref_new_full(ref, NULL, &freed, add_one));
    assert_int_equal(errno, EINVAL);
    errno = 0;
    assert_null(ouro_weakref_get(NULL));
    assert_int_equal(errno, EINVAL);
    assert_int_equal(freed, 0);
    ouro_decref(ref);
    ouro_decref(node);
}

/* Callbacks */

static void test_callbacks_newest_first_once(void **state)
{
    (void)state;
    struct node *node = start_record();
    for (size_t i = 0; i < 20; i++)
        record.refs[i] = i % 5 == 2 ? ouro_weakref_new(node, NULL, NULL)
                                    : ouro_weakref_new_full(node, note_call, &record.freed[i], add_one);
    ouro_decref(node);
    assert_int_equal(deaths_of(record.number), 1);
    assert_int_equal(record.call_count, 16);
    for (size_t i = 0, k = 20; i < 16; i++) {
        do
            k--;
        while (k % 5 == 2);
        assert_int_equal(record.calls[i], k);
    }
    for (size_t i = 0; i < 20; i++) {
        assert_int_equal(record.freed[i], 0);
        ouro_decref(record.refs[i]);
        assert_int_equal(record.freed[i], i % 5 != 2);
    }
    assert_int_equal(record.call_count, 16);
}

static void test_dropping_it_first_cancels_the_callback(void **state)
{
    (void)state;
    struct node *node = start_record();
    for (size_t i = 0; i < 9; i++)
        record.refs[i] = ouro_weakref_new_full(node, note_call, &record.freed[i], add_one);
    for (size_t i = 0; i < 9; i += 2) { /* the first, the last, and in between */
        ouro_decref(OURO_MOVE(record.refs[i]));
        assert_int_equal(record.freed[i], 1);
    }
    assert_int_equal(ouro_weakref_count(node), 4);
    ouro_decref(node);
    assert_int_equal(record.call_count, 4);
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(record.calls[i], 7 - 2 * i);
    for (size_t i = 1; i < 9; i += 2)
        ouro_decref(record.refs[i]);
}

static void drop_all_and_note(ouro_weakref *ref, void *arg)
{
    note_call(ref, arg);
    for (size_t i = 0; i < LOG; i++)
        OURO_CLEAR(record.refs[i]);
}

/* When the object died the callbacks were due: one that drops the others does not cancel them. */
static void test_a_callback_that_drops_the_others(void **state)
{
    (void)state;
    struct node *node = start_record();
    for (size_t i = 0; i < 5; i++)
        record.refs[i] = ouro_weakref_new_full(node, drop_all_and_note, &record.freed[i], add_one);
    ouro_decref(node);
    assert_int_equal(record.call_count, 5);
    for (size_t i = 0; i < 5; i++) {
        assert_int_equal(record.calls[i], 4 - i);
        assert_int_equal(record.freed[i], 1);
    }
}

static ouro_weakref *kept;
static void keep_it(ouro_weakref *ref, void *arg)
{
    (void)arg;
    kept = ouro_newref(ref);
}

static void test_a_callback_may_keep_its_weak_reference(void **state)
{
    (void)state;
    struct node *node = new_node();
    ouro_weakref *ref = ouro_weakref_new(node, keep_it, NULL);
    kept = NULL;
    ouro_decref(node);
    assert_ptr_equal(kept, ref);
    ouro_decref(ref);
    assert_int_equal(ouro_refcount(kept), 1);
    assert_null(ouro_weakref_get(kept));
    ouro_decref(kept);
}

static unsigned chain_calls;
static void kill_the_next(ouro_weakref *ref, void *arg)
{
    (void)ref;
    chain_calls++;
    ouro_decref(arg); /* the last reference to an object with a weak reference that has a callback... */
}

static void test_callbacks_that_kill(void **state)
{
    (void)state;
    enum { CHAIN = 3000 };
    static ouro_weakref *refs[CHAIN];
    struct node *next = new_node();
    unsigned first = next->number;
    for (size_t i = 0; i < CHAIN; i++) {
        struct node *node = new_node();
        refs[i] = ouro_weakref_new(node, kill_the_next, next);
        next = node;
    }
    chain_calls = 0;
    ouro_decref(next);
    assert_int_equal(chain_calls, CHAIN);
    for (unsigned i = 0; i <= CHAIN; i++)
        assert_int_equal(deaths_of(first + i), 1);
    for (size_t i = 0; i < CHAIN; i++)
        ouro_decref(refs[i]);
}

static void make_objects(ouro_weakref *ref, void *arg)
{
    (void)ref;
    for (int i = 0; i < 50; i++) {
        struct node *node = new_node();
        ouro_weakref *mine = ouro_weakref_new(node, nothing, NULL);
        struct node *got = ouro_weakref_get(mine);
        assert_ptr_equal(got, node);
        ouro_decref(got);
        ouro_decref(node);
        assert_null(ouro_weakref_get(mine));
        ouro_decref(mine);
    }
    ++*(unsigned *)arg;
}

static void test_callbacks_that_use_weak_references(void **state)
{
    (void)state;
    unsigned calls = 0;
    struct node *node = new_node();
    ouro_weakref *refs[10];
    for (size_t i = 0; i < 10; i++)
        refs[i] = ouro_weakref_new(node, make_objects, &calls);
    ouro_decref(node);
    assert_int_equal(calls, 10);
    for (size_t i = 0; i < 10; i++)
        ouro_decref(refs[i]);
}

/* An object that holds the weak reference to itself, or to what it holds. */
static void test_weak_references_among_the_dying(void **state)
{
    (void)state;
    unsigned freed = 0;
    chain_calls = 0;
    struct node *node = new_node();
    unsigned number = node->number;
    node->ref = (ouro_object *)ouro_weakref_new_full(node, nothing, &freed, add_one);
    ouro_decref(node);
    assert_int_equal(deaths_of(number), 1);
    assert_int_equal(freed, 1);

    struct node *outer = new_node(), *inner = new_node();
    ouro_weakref *ref = ouro_weakref_new_full(inner, nothing, &freed, add_one);
    outer->ref = &inner->base;
    inner->ref = (ouro_object *)ref;
    number = inner->number;
    ouro_decref(outer);
    assert_int_equal(deaths_of(number), 1);
    assert_int_equal(freed, 2);
}

/* Finalizers */

static struct node *risen;
static ouro_weakref *made;
static int made_error;

static void rise(struct node *node)
{
    risen = ouro_newref(node);
}

static void test_resurrection_keeps_weak_references(void **state)
{
    (void)state;
    struct node *node = start_record();
    record.refs[0] = ouro_weakref_new_full(node, note_call, &record.freed[0], add_one);
    on_finalize = rise;
    ouro_decref(node);
    assert_ptr_equal(risen, node);
    assert_int_equal(record.call_count, 0);
    assert_int_equal(deaths_of(record.number), 0);
    assert_int_equal(ouro_weakref_count(node), 1);
    void *got = ouro_weakref_get(record.refs[0]);
    assert_ptr_equal(got, node);
    ouro_decref(got);
    ouro_decref(risen); /* the finalizer runs once */
    assert_int_equal(deaths_of(record.number), 1);
    assert_int_equal(record.call_count, 1);
    ouro_decref(record.refs[0]);
}

static void make_weak(struct node *node)
{
    errno = 0;
    made = ouro_weakref_new_full(node, note_call, &record.freed[0], add_one);
    made_error = errno;
    record.refs[0] = made;
}

static void test_a_finalizer_may_make_one(void **state)
{
    (void)state;
    struct node *node = start_record();
    on_finalize = make_weak;
    ouro_decref(node);
    assert_non_null(made);
    assert_int_equal(deaths_of(record.number), 1);
    assert_int_equal(record.call_count, 1);
    assert_null(ouro_weakref_get(made));
    ouro_decref(made);
    assert_int_equal(record.freed[0], 1);
}

static void get_it(struct node *node)
{
    struct node *got = ouro_weakref_get(record.refs[0]); /* may or may not find it */
    assert_true(got == NULL || got == node);
    ouro_xdecref(got);
}

static void test_get_inside_the_finalizer(void **state)
{
    (void)state;
    struct node *node = start_record();
    record.refs[0] = ouro_weakref_new(node, NULL, NULL);
    on_finalize = get_it;
    ouro_decref(node);
    assert_int_equal(deaths_of(record.number), 1);
    assert_null(ouro_weakref_get(record.refs[0]));
    ouro_decref(record.refs[0]);
}

static void test_none_to_what_is_being_destroyed(void **state)
{
    (void)state;
    for (int in_destroy = 0; in_destroy < 2; in_destroy++) {
        reset(NULL);
        struct node *node = start_record();
        if (in_destroy)
            on_destroy = make_weak;
        else
            on_clear = make_weak;
        made = (ouro_weakref *)node;
        ouro_decref(node);
        assert_null(made);
        assert_int_equal(made_error, ESTALE);
        assert_int_equal(record.freed[0], 0);
        assert_int_equal(deaths_of(record.number), 1);
    }
}

/* Many */

static void test_many_targets(void **state)
{
    (void)state;
    enum { MANY = 60000 };
    struct node **nodes = ouro_calloc(MANY, sizeof *nodes);
    ouro_weakref **refs = ouro_calloc(MANY, sizeof *refs);
    for (size_t i = 0; i < MANY; i++) {
        nodes[i] = new_node();
        refs[i] = ouro_weakref_new(nodes[i], i % 2 ? nothing : NULL, NULL);
    }
    for (size_t i = MANY - 1; i > 0; i--) {
        size_t k = random_below(i + 1);
        struct node *node = nodes[i];
        ouro_weakref *ref = refs[i];
        nodes[i] = nodes[k], refs[i] = refs[k];
        nodes[k] = node, refs[k] = ref;
    }
    for (size_t i = 0; i < MANY; i++) {
        assert_int_equal(ouro_weakref_count(nodes[i]), 1);
        struct node *got = ouro_weakref_get(refs[i]);
        assert_ptr_equal(got, nodes[i]);
        ouro_decref(got);
        if (i % 3 == 0) {
            ouro_decref(nodes[i]);
            assert_null(ouro_weakref_get(refs[i]));
            ouro_decref(refs[i]);
        } else {
            ouro_decref(refs[i]);
            assert_int_equal(ouro_weakref_count(nodes[i]), 0);
            ouro_decref(nodes[i]);
        }
    }
    ouro_free(nodes);
    ouro_free(refs);
}

/* Random operations against a model: for each object whether it lives, its weak references in the order they were made. */
enum { MODEL_OBJECTS = 40, MODEL_REFS = 25 };
static struct model {
    struct node *node;
    struct model_ref {
        ouro_weakref *ref;
        struct model *of;
        unsigned calls, freed;
        uint64_t born;
        bool has_callback, dead;
    } refs[MODEL_REFS];
} models[MODEL_OBJECTS];
static uint64_t model_clock, model_last;

static void model_called(ouro_weakref *ref, void *arg)
{
    struct model_ref *mine = arg;
    assert_ptr_equal(mine->ref, ref);
    assert_true(mine->born < model_last);
    model_last = mine->born;
    mine->calls++;
}

static void model_freed(void *arg)
{
    ((struct model_ref *)arg)->freed++;
}

static void model_drop_ref(struct model_ref *mine)
{
    bool is_shared = !mine->has_callback;
    assert_int_equal(mine->calls, mine->has_callback && mine->dead);
    void *got = ouro_weakref_get(mine->ref);
    assert_ptr_equal(got, mine->dead ? NULL : mine->of->node);
    ouro_xdecref(got);
    ouro_decref(mine->ref);
    assert_int_equal(mine->freed, !is_shared);
    memset(mine, 0, sizeof *mine);
}

static void model_step(struct model *model)
{
    struct model_ref *mine = &model->refs[random_below(MODEL_REFS)];
    size_t choice = random_below(20);
    if (model->node == NULL) {
        model->node = new_node();
    } else if (choice == 0) {
        model_last = UINT64_MAX;
        for (size_t i = 0; i < MODEL_REFS; i++)
            model->refs[i].dead |= model->refs[i].ref != NULL;
        ouro_decref(OURO_MOVE(model->node));
    } else if (mine->ref != NULL && choice < 10) {
        model_drop_ref(mine);
    } else if (mine->ref == NULL) {
        mine->of = model;
        mine->born = model_clock++;
        mine->has_callback = choice < 14;
        mine->ref = mine->has_callback ? ouro_weakref_new_full(model->node, model_called, mine, model_freed)
                                       : ouro_weakref_new(model->node, NULL, NULL);
        assert_non_null(mine->ref);
    }
    size_t expected = 0;
    const ouro_weakref *shared = NULL;
    for (size_t i = 0; i < MODEL_REFS; i++) {
        struct model_ref *ref = &model->refs[i];
        if (ref->ref == NULL || ref->dead)
            continue;
        if (!ref->has_callback && shared != NULL)
            assert_ptr_equal(ref->ref, shared);
        expected += ref->has_callback || shared == NULL;
        shared = ref->has_callback ? shared : ref->ref;
    }
    if (model->node != NULL)
        assert_int_equal(ouro_weakref_count(model->node), expected);
}

static void test_random_operations(void **state)
{
    (void)state;
    memset(models, 0, sizeof models);
    for (int i = 0; i < 60000; i++)
        model_step(&models[random_below(MODEL_OBJECTS)]);
    for (size_t m = 0; m < MODEL_OBJECTS; m++) {
        for (size_t i = 0; i < MODEL_REFS; i++)
            if (models[m].refs[i].ref != NULL)
                model_drop_ref(&models[m].refs[i]);
        if (models[m].node != NULL)
            ouro_decref(models[m].node);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WEAK_TEST(test_get_is_a_new_reference_until_the_death),
        WEAK_TEST(test_get_keeps_alive),
        WEAK_TEST(test_a_bare_object),
        WEAK_TEST(test_a_new_object_in_the_same_place_is_not_found),
        WEAK_TEST(test_an_immortal_object),
        WEAK_TEST(test_a_weak_reference_is_an_untracked_object),
        WEAK_TEST(test_without_callback_it_is_shared),
        WEAK_TEST(test_with_callback_or_free_arg_it_is_not),
        WEAK_TEST(test_what_is_refused),
        WEAK_TEST(test_callbacks_newest_first_once),
        WEAK_TEST(test_dropping_it_first_cancels_the_callback),
        WEAK_TEST(test_a_callback_that_drops_the_others),
        WEAK_TEST(test_a_callback_may_keep_its_weak_reference),
        WEAK_TEST(test_callbacks_that_kill),
        WEAK_TEST(test_callbacks_that_use_weak_references),
        WEAK_TEST(test_weak_references_among_the_dying),
        WEAK_TEST(test_resurrection_keeps_weak_references),
        WEAK_TEST(test_a_finalizer_may_make_one),
        WEAK_TEST(test_get_inside_the_finalizer),
        WEAK_TEST(test_none_to_what_is_being_destroyed),
        WEAK_TEST(test_many_targets),
        WEAK_TEST(test_random_operations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
