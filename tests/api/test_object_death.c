/* api/test_object_death.c: how objects die: the order of it, resurrection, chains of any length in constant stack. */
#define _GNU_SOURCE
#include <string.h>

#include "objects.h"

/* Writes down its steps; what a step finds is checked there. */
static char steps[64];
static size_t step_count;

static void step(char what)
{
    EXPECT(step_count + 1 < sizeof steps);
    steps[step_count++] = what;
    steps[step_count] = '\0';
}

/* The steps since the last call. */
static const char *taken_steps(void)
{
    static char taken[sizeof steps];
    memcpy(taken, steps, sizeof taken);
    taken[step_count] = '\0';
    step_count = 0;
    return taken;
}

struct actor {
    ouro_object base;
    struct actor *next;
    ouro_slot slot;
    ouro_object *own; /* not among refs: traverse and clear know it */
    bool dead;
};

/* Whole: references are there, the count is 1 or more. */
static void actor_finalize(ouro_object *self)
{
    struct actor *actor = (struct actor *)self;
    EXPECT(!actor->dead && ouro_refcount(self) >= 1 && ouro_typeof(self)->size == sizeof(struct actor));
    ouro_decref(ouro_newref(self)); /* does not begin it anew */
    step('f');
}
static void actor_traverse(ouro_object *self, ouro_visit visit, void *arg)
{
    struct actor *actor = (struct actor *)self;
    if (actor->own != NULL)
        visit(actor->own, arg);
}
static void actor_clear(ouro_object *self)
{
    struct actor *actor = (struct actor *)self;
    EXPECT(!actor->dead);
    if (step_count == 0 || steps[step_count - 1] != 'c') /* may come more than once */
        step('c');
    OURO_CLEAR(actor->own);
}
static void actor_destroy(ouro_object *self)
{
    struct actor *actor = (struct actor *)self;
    EXPECT(!actor->dead && actor->next == NULL && actor->own == NULL);
    EXPECT(atomic_load(&actor->slot.ptr) == NULL);
    step('d');
    actor->dead = true;
}
static ouro_type actor_type = OURO_TYPE(struct actor, OURO_REFS(struct actor, next, slot), .traverse = actor_traverse,
                                        .clear = actor_clear, .finalize = actor_finalize, .destroy = actor_destroy);

static void child_destroy(ouro_object *self)
{
    (void)self;
    step('x');
}
static ouro_type child_type = OURO_TYPE(struct actor, .destroy = child_destroy);

static void test_order(void **state)
{
    (void)state;
    struct actor *actor = ouro_new(&actor_type);
    taken_steps();
    ouro_decref(actor);
    assert_string_equal(taken_steps(), "fcd");
    actor = ouro_new(&actor_type); /* with something in each kind of reference */
    actor->next = ouro_new(&child_type);
    void *in_slot = ouro_new(&child_type);
    ouro_slot_store(&actor->slot, in_slot);
    ouro_decref(in_slot);
    actor->own = ouro_new(&child_type);
    taken_steps();
    ouro_decref(actor);
    const char *taken = taken_steps();
    assert_int_equal(strlen(taken), 6);
    assert_true(strncmp(taken, "fc", 2) == 0); /* the children during or after it */
    size_t dead = 0;
    for (size_t i = 0; i < 6; i++)
        dead += taken[i] == 'x';
    assert_int_equal(dead, 3);
}

/* What lives on is only dropped. */
static void test_shared_children_live(void **state)
{
    (void)state;
    _Atomic size_t deaths = 0;
    struct probe *kept = probe_new(&deaths);
    struct pair *pair = pair_new(&deaths, ouro_newref(kept), ouro_newref(kept));
    assert_int_equal(ouro_refcount(kept), 3);
    ouro_decref(pair);
    assert_int_equal(deaths, 1);
    assert_int_equal(ouro_refcount(kept), 1);
    ouro_decref(kept);
    assert_int_equal(deaths, 2);
}

static struct actor *saved;
static size_t finalized;
static void saving_finalize(ouro_object *self)
{
    finalized++;
    saved = ouro_newref(self);
}
static ouro_type saving_type =
    OURO_TYPE(struct actor, OURO_REFS(struct actor, next), .finalize = saving_finalize, .destroy = child_destroy);

static void test_resurrection_once(void **state)
{
    (void)state;
    _Atomic size_t deaths = 0;
    struct actor *obj = ouro_new(&saving_type);
    obj->next = (struct actor *)probe_new(&deaths);
    finalized = 0;
    taken_steps();
    ouro_decref(obj);
    assert_int_equal(finalized, 1);
    assert_ptr_equal(saved, obj);
    assert_int_equal(ouro_refcount(obj), 1);
    assert_int_equal(deaths, 0);
    assert_int_equal(step_count, 0);
    ouro_incref(obj); /* it is an object like any other */
    ouro_decref(obj);
    assert_int_equal(ouro_refcount(obj), 1);
    OURO_CLEAR(saved);
    assert_int_equal(finalized, 1);
    assert_int_equal(deaths, 1);
    assert_string_equal(taken_steps(), "x");
}

/* Several references are taken by finalize, some dropped again. */
static void greedy_finalize(ouro_object *self)
{
    for (size_t i = 0; i < 10; i++)
        ouro_incref(self);
    for (size_t i = 0; i < 8; i++)
        ouro_decref(self);
    finalized++;
}
static ouro_type greedy_type = OURO_TYPE(struct actor, .finalize = greedy_finalize, .destroy = child_destroy);

static void test_resurrected_by_two(void **state)
{
    (void)state;
    struct actor *obj = ouro_new(&greedy_type);
    finalized = 0;
    taken_steps();
    ouro_decref(obj);
    assert_int_equal(finalized, 1);
    assert_int_equal(ouro_refcount(obj), 2);
    ouro_decref(obj);
    assert_int_equal(ouro_refcount(obj), 1);
    assert_int_equal(step_count, 0);
    ouro_decref(obj);
    assert_string_equal(taken_steps(), "x");
    assert_int_equal(finalized, 1);
}

/* finalize hands the object on by a slot, a container, another thread's hands. */
static ouro_slot refuge;
static void slot_finalize(ouro_object *self)
{
    ouro_slot_store(&refuge, self);
}
static ouro_type slot_type = OURO_TYPE(struct actor, .finalize = slot_finalize, .destroy = child_destroy);

static void test_resurrected_into_a_slot(void **state)
{
    (void)state;
    struct actor *obj = ouro_new(&slot_type);
    taken_steps();
    ouro_decref(obj);
    assert_int_equal(step_count, 0);
    struct actor *back = ouro_slot_load(&refuge);
    assert_ptr_equal(back, obj);
    assert_int_equal(ouro_refcount(obj), 2);
    ouro_slot_store(&refuge, NULL);
    ouro_decref(back);
    assert_string_equal(taken_steps(), "x");
}

/* A cycle cut by finalize; a reference to itself given up there. */
static void cutting_finalize(ouro_object *self)
{
    OURO_CLEAR(((struct actor *)self)->next);
    step('f');
}
static ouro_type cutting_type =
    OURO_TYPE(struct actor, OURO_REFS(struct actor, next), .finalize = cutting_finalize, .destroy = child_destroy);

static void test_finalize_drops_references(void **state)
{
    (void)state;
    struct actor *a = ouro_new(&cutting_type), *b = ouro_new(&cutting_type);
    a->next = ouro_newref(b);
    taken_steps();
    ouro_decref(a);
    assert_string_equal(taken_steps(), "fx");
    ouro_decref(b);
    assert_string_equal(taken_steps(), "fx");
}

/* A reference to itself that is cleared by hand: the object dies inside OURO_CLEAR of its own member. */
static void test_self_reference(void **state)
{
    (void)state;
    _Atomic size_t deaths = 0;
    struct pair *pair = pair_new(&deaths, NULL, NULL);
    pair->left = ouro_newref(pair);
    pair->right = ouro_newref(pair);
    assert_int_equal(ouro_refcount(pair), 3);
    ouro_decref(pair);
    OURO_CLEAR(pair->right);
    assert_int_equal(deaths, 0);
    OURO_CLEAR(pair->left);
    assert_int_equal(deaths, 1);
}

/* destroy may make objects, count them, drop them; what it holds by other means it drops. */
static _Atomic size_t busy_deaths;
struct busy {
    ouro_object base;
    struct probe *hidden; /* no ref: untracked */
};
static void busy_destroy(ouro_object *self)
{
    struct busy *busy = (struct busy *)self;
    for (size_t i = 0; i < 10; i++) {
        struct probe *made = probe_new(&busy_deaths);
        struct pair *pair = pair_new(&busy_deaths, ouro_newref(made), ouro_newref(made));
        ouro_decref(made);
        ouro_decref(pair);
    }
    OURO_CLEAR(busy->hidden);
}
static ouro_type busy_type = OURO_TYPE(struct busy, .destroy = busy_destroy);

static void test_destroy_uses_objects(void **state)
{
    (void)state;
    struct busy *busy = ouro_new(&busy_type);
    atomic_store(&busy_deaths, 0);
    busy->hidden = probe_new(&busy_deaths);
    ouro_decref(busy);
    assert_int_equal(busy_deaths, 21); /* all of it is over when the outermost decref returns */
}

/* traverse, no clear: destroy drops. */
static void holder_destroy(ouro_object *self)
{
    ouro_xdecref(((struct actor *)self)->own);
    step('d');
}
static ouro_type holder_type = OURO_TYPE(struct actor, .traverse = actor_traverse, .destroy = holder_destroy);

static void test_traverse_without_clear(void **state)
{
    (void)state;
    _Atomic size_t deaths = 0;
    struct actor *holder = ouro_new(&holder_type);
    holder->own = &probe_new(&deaths)->base;
    taken_steps();
    ouro_decref(holder);
    assert_string_equal(taken_steps(), "d");
    assert_int_equal(deaths, 1);
}

/* Chains. */

static size_t chain_deaths;

struct link {
    ouro_object base;
    ouro_object *next;
};
static void link_destroy(ouro_object *self)
{
    (void)self;
    chain_deaths++;
}
static void drop_in_destroy(ouro_object *self)
{
    chain_deaths++;
    ouro_xdecref(((struct link *)self)->next);
}
static void drop_in_clear(ouro_object *self)
{
    OURO_CLEAR(((struct link *)self)->next);
}
static void drop_in_finalize(ouro_object *self)
{
    OURO_CLEAR(((struct link *)self)->next);
}
static void visit_next(ouro_object *self, ouro_visit visit, void *arg)
{
    if (((struct link *)self)->next != NULL)
        visit(((struct link *)self)->next, arg);
}
static ouro_type link_types[] = {
    OURO_TYPE(struct link, OURO_REFS(struct link, next)), /* the first must be this: nothing runs when it dies */
    OURO_TYPE(struct link, OURO_REFS(struct link, next), .destroy = link_destroy),
    OURO_TYPE(struct link, .destroy = drop_in_destroy),
    OURO_TYPE(struct link, .traverse = visit_next, .clear = drop_in_clear, .destroy = link_destroy),
    OURO_TYPE(struct link, OURO_REFS(struct link, next), .finalize = drop_in_finalize, .destroy = link_destroy),
    OURO_TYPE_SIZED(struct link, 16, .item_size = 8, .items_are_refs = true, .destroy = link_destroy),
};

struct chain {
    ouro_type *type;
    size_t length;
};

static void free_chain(void *arg)
{
    struct chain *chain = arg;
    _Atomic size_t end = 0;
    ouro_object *head = &probe_new(&end)->base;
    chain_deaths = 0;
    for (size_t i = 0; i < chain->length; i++) {
        struct link *link = ouro_new_items(chain->type, chain->type->item_size != 0);
        EXPECT(link != NULL);
        link->next = head; /* also the first item */
        head = &link->base;
    }
    ouro_decref(head);
    EXPECT(atomic_load(&end) == 1);
    EXPECT(chain_deaths == (chain->type->destroy != NULL ? chain->length : 0));
}

static size_t chain_length(void)
{
    return SANITIZED ? 200000 : 1000000;
}

static void test_chains_of_each_kind(void **state)
{
    (void)state;
    for (size_t t = 0; t < COUNT_OF(link_types); t++) {
        struct chain chain = { &link_types[t], chain_length() };
        with_stack(64, free_chain, &chain);
    }
}

static void test_chain_of_10_million(void **state)
{
    (void)state;
    struct chain chain = { &link_types[0], SANITIZED ? 1000000 : 10000000 };
    with_stack(64, free_chain, &chain);
}

/* By hand, or with OURO_TEST_LONG: 10^8 links, 3.2 GB. */
static void test_chain_of_100_million(void **state)
{
    (void)state;
    const char *wanted = getenv("OURO_TEST_LONG");
    if (wanted == NULL || strcmp(wanted, "0") == 0 || SANITIZED)
        skip();
    struct chain chain = { &link_types[0], 100000000 };
    with_stack(64, free_chain, &chain);
}

static struct pair *tree(size_t depth, _Atomic size_t *deaths)
{
    if (depth == 0)
        return pair_new(deaths, NULL, NULL);
    struct pair *left = tree(depth - 1, deaths), *right = tree(depth - 1, deaths);
    return pair_new(deaths, left, right);
}

static void test_tree(void **state)
{
    (void)state;
    _Atomic size_t deaths = 0;
    struct pair *root = tree(16, &deaths);
    ouro_decref(root);
    assert_int_equal(deaths, (1 << 17) - 1);
}

/* Every link is held twice by the one before: a death must come once. */
static void test_ladder(void **state)
{
    (void)state;
    _Atomic size_t deaths = 0;
    struct pair *head = pair_new(&deaths, NULL, NULL);
    for (size_t i = 0; i < 100000; i++) {
        struct pair *next = pair_new(&deaths, head, NULL);
        next->right = ouro_newref(head);
        head = next;
    }
    ouro_decref(head);
    assert_int_equal(deaths, 100001);
}

/* The last decref inside finalize, of an object that is next in line. */
static struct pair *bystander;
static void drop_bystander(ouro_object *self)
{
    (void)self;
    OURO_CLEAR(bystander);
}
static ouro_type dropping_type = OURO_TYPE(struct link, OURO_REFS(struct link, next), .finalize = drop_bystander);

static void test_nested_decref(void **state)
{
    (void)state;
    _Atomic size_t deaths = 0;
    bystander = pair_new(&deaths, NULL, NULL);
    struct link *outer = ouro_new(&dropping_type);
    outer->next = ouro_newref(bystander);
    bystander->left = &probe_new(&deaths)->base;
    ouro_decref(outer);
    assert_null(bystander);
    assert_int_equal(deaths, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        API_TEST(test_order),
        API_TEST(test_shared_children_live),
        API_TEST(test_resurrection_once),
        API_TEST(test_resurrected_by_two),
        API_TEST(test_resurrected_into_a_slot),
        API_TEST(test_finalize_drops_references),
        API_TEST(test_self_reference),
        API_TEST(test_destroy_uses_objects),
        API_TEST(test_traverse_without_clear),
        API_TEST(test_chains_of_each_kind),
        API_TEST(test_chain_of_10_million),
        API_TEST(test_chain_of_100_million),
        API_TEST(test_tree),
        API_TEST(test_ladder),
        API_TEST(test_nested_decref),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
