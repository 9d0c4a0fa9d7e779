/* api/test_gc.c: the collector by its public interface: what Python's test_gc and test_finalization check, for C. */
#define _GNU_SOURCE
#include "tests.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

struct node {
    ouro_object header;
    struct node *next, *other;
    int number;
};

static ouro_type node_type = OURO_TYPE(struct node, OURO_REFS(struct node, next, other));

static struct node *new_node(void)
{
    struct node *node = ouro_new(&node_type);
    assert_non_null(node);
    return node;
}

/* A node that refers to itself, and that nobody else refers to. */
static void make_cycle(void)
{
    struct node *node = new_node();
    node->next = ouro_newref(node);
    ouro_decref(node);
}

static void make_ring(size_t count)
{
    struct node *first = new_node(), *last = first;
    for (size_t i = 1; i < count; i++) {
        last->next = new_node(); /* the new one's reference moves in */
        last = last->next;
    }
    last->next = first; /* and so does ours */
}

static void self_reference(void **state)
{
    (void)state;
    make_cycle();
    assert_int_equal(ouro_gc_collect(2), 1);
    assert_int_equal(ouro_gc_collect(2), 0);
}

static void rings(void **state)
{
    (void)state;
    make_ring(2);
    make_ring(5);
    assert_int_equal(ouro_gc_collect(0), 7);
    make_ring(100000);
    assert_int_equal(ouro_gc_collect(2), 100000);
}

static void long_list_in_a_cycle(void **state)
{
    (void)state;
    struct node *first = new_node();
    first->other = ouro_newref(first);
    struct node *last = first;
    for (int i = 0; i < 1000000; i++) {
        last->next = new_node();
        last = last->next;
    }
    ouro_decref(first);
    assert_int_equal(ouro_gc_collect(2), 1000001); /* with no recursion */
}

static void garbage_keeps_nothing_alive(void **state)
{
    (void)state;
    static ouro_type leaf_type = OURO_TYPE(struct node);
    struct node *shared = ouro_new(&leaf_type), *kept = new_node(), *node = new_node();
    assert_false(ouro_gc_is_tracked(shared));
    node->next = ouro_newref(node);
    node->other = ouro_newref(shared);
    kept->other = ouro_newref(shared);
    assert_int_equal(ouro_refcount(shared), 3);
    ouro_decref(node);
    assert_int_equal(ouro_gc_collect(2), 1);
    assert_int_equal(ouro_refcount(shared), 2);
    ouro_decref(kept);
    assert_int_equal(ouro_refcount(shared), 1);
    ouro_decref(shared);
}

static void what_is_held_lives(void **state)
{
    (void)state;
    struct node *a = new_node();
    a->next = new_node();
    a->next->next = ouro_newref(a);
    assert_int_equal(ouro_gc_collect(2), 0);
    assert_int_equal(ouro_refcount(a), 2);
    ouro_decref(a);
    assert_int_equal(ouro_gc_collect(2), 2);
}

static void many_references_to_one(void **state)
{
    (void)state;
    for (size_t count = 100; count <= 400; count += 7) { /* more than a byte holds */
        struct node *hub = new_node();
        hub->next = ouro_newref(hub);
        for (size_t i = 0; i < count; i++) {
            struct node *node = new_node();
            node->other = ouro_newref(hub);
            node->next = ouro_newref(node);
            ouro_decref(node);
        }
        assert_int_equal(ouro_gc_collect(2), (long)count);
        struct node *node = new_node();
        node->other = ouro_newref(hub);
        node->next = node;
        ouro_decref(hub);
        assert_int_equal(ouro_gc_collect(2), 2);
    }
}

/* Generations. */

static void generations(void **state)
{
    (void)state;
    struct node *node = new_node();
    assert_int_equal(ouro_gc_generation_of(node), 0);
    ouro_gc_collect(0);
    assert_int_equal(ouro_gc_generation_of(node), 1);
    ouro_gc_collect(0);
    assert_int_equal(ouro_gc_generation_of(node), 1);
    ouro_gc_collect(1);
    assert_int_equal(ouro_gc_generation_of(node), 2);
    ouro_gc_collect(2);
    assert_int_equal(ouro_gc_generation_of(node), 2);
    node->next = node; /* our own reference moves in */
    assert_int_equal(ouro_gc_collect(0), 0);
    assert_int_equal(ouro_gc_collect(1), 0);
    assert_int_equal(ouro_gc_collect(2), 1);
}

static void middle_generation(void **state)
{
    (void)state;
    struct node *node = new_node();
    ouro_gc_collect(0);
    node->next = node;
    assert_int_equal(ouro_gc_collect(0), 0);
    assert_int_equal(ouro_gc_collect(1), 1);
}

static void old_holders(void **state)
{
    (void)state;
    struct node *old = new_node();
    ouro_gc_collect(2);
    old->next = new_node();
    old->next->next = new_node();
    old->next->next->other = ouro_newref(old->next);
    assert_int_equal(ouro_gc_collect(0), 0);
    assert_int_equal(ouro_gc_generation_of(old->next->next), 1);
    OURO_CLEAR(old->next);
    assert_int_equal(ouro_gc_collect(1), 2);
    ouro_decref(old);
}

static bool count_one(ouro_object *obj, void *arg)
{
    (void)obj;
    ++*(size_t *)arg;
    return true;
}

static bool stop_at_once(ouro_object *obj, void *arg)
{
    (void)obj;
    ++*(size_t *)arg;
    return false;
}

static void get_objects(void **state)
{
    (void)state;
    size_t calls = 0;
    ouro_gc_collect(2);
    size_t before = ouro_gc_get_objects(-1, NULL, NULL), before_2 = ouro_gc_get_objects(2, NULL, NULL);
    struct node *a = new_node(), *b = new_node();
    assert_int_equal(ouro_gc_get_objects(0, count_one, &calls), 2);
    assert_int_equal(calls, 2);
    ouro_gc_collect(0);
    assert_int_equal(ouro_gc_get_objects(0, NULL, NULL), 0);
    assert_int_equal(ouro_gc_get_objects(1, NULL, NULL), 2);
    ouro_gc_collect(1);
    assert_int_equal(ouro_gc_get_objects(1, NULL, NULL), 0);
    assert_int_equal(ouro_gc_get_objects(2, NULL, NULL), before_2 + 2);
    assert_int_equal(ouro_gc_get_objects(-1, NULL, NULL), before + 2);
    calls = 0;
    assert_int_equal(ouro_gc_get_objects(-1, stop_at_once, &calls), 1);
    assert_int_equal(calls, 1);
    errno = 0;
    assert_int_equal(ouro_gc_get_objects(3, NULL, NULL), 0);
    assert_int_equal(errno, EINVAL);
    errno = 0;
    assert_int_equal(ouro_gc_get_objects(-2, NULL, NULL), 0);
    assert_int_equal(errno, EINVAL);
    assert_int_equal(ouro_refcount(a), 1);
    ouro_decref(a);
    ouro_decref(b);
}

static bool remember(ouro_object *obj, void *arg)
{
    *(ouro_object **)arg = obj;
    return true;
}

static void referrers_and_referents(void **state)
{
    (void)state;
    struct node *a = new_node(), *b = new_node();
    ouro_object *found = NULL;
    a->next = ouro_newref(b);
    a->other = ouro_newref(b);
    assert_int_equal(ouro_gc_get_referents(a, remember, &found), 2); /* once an edge */
    assert_ptr_equal(found, b);
    assert_int_equal(ouro_gc_get_referents(b, NULL, NULL), 0);
    found = NULL;
    assert_int_equal(ouro_gc_get_referrers(b, remember, &found), 1); /* once an object */
    assert_ptr_equal(found, a);
    assert_int_equal(ouro_gc_get_referrers(a, NULL, NULL), 0);
    ouro_gc_untrack(a);
    assert_int_equal(ouro_gc_get_referrers(b, NULL, NULL), 0);
    ouro_gc_track(a);
    assert_int_equal(ouro_gc_get_referrers(b, NULL, NULL), 1);
    ouro_decref(a);
    assert_int_equal(ouro_refcount(b), 1);
    ouro_decref(b);
}

static void tracking(void **state)
{
    (void)state;
    struct node *node = new_node();
    assert_true(ouro_gc_is_tracked(node));
    ouro_gc_untrack(node);
    ouro_gc_untrack(node);
    assert_false(ouro_gc_is_tracked(node));
    assert_int_equal(ouro_gc_generation_of(node), OURO_GC_UNTRACKED);
    node->next = node; /* a cycle that the collector does not look at */
    assert_int_equal(ouro_gc_collect(2), 0);
    ouro_gc_track(node);
    ouro_gc_track(node);
    assert_true(ouro_gc_is_tracked(node));
    assert_int_equal(ouro_gc_generation_of(node), 0);
    assert_int_equal(ouro_gc_collect(0), 1);

    struct node *old = new_node();
    ouro_gc_collect(2);
    ouro_gc_track(old); /* it is tracked already */
    assert_int_equal(ouro_gc_generation_of(old), 2);
    ouro_gc_untrack(old);
    ouro_gc_track(old);
    old->next = old;
    assert_int_equal(ouro_gc_collect(0), 1);
}

static void freezing(void **state)
{
    (void)state;
    ouro_gc_collect(2);
    size_t frozen_before = ouro_gc_get_freeze_count();
    struct node *node = new_node();
    size_t all = ouro_gc_get_objects(-1, NULL, NULL);
    ouro_gc_freeze();
    assert_int_equal(ouro_gc_get_freeze_count(), frozen_before + all);
    assert_int_equal(ouro_gc_get_objects(-1, NULL, NULL), 0);
    assert_int_equal(ouro_gc_generation_of(node), OURO_GC_FROZEN);
    assert_true(ouro_gc_is_tracked(node));
    node->next = node;
    assert_int_equal(ouro_gc_collect(2), 0);
    make_cycle();
    assert_int_equal(ouro_gc_collect(2), 1);
    ouro_gc_unfreeze();
    assert_int_equal(ouro_gc_get_freeze_count(), 0);
    assert_int_equal(ouro_gc_generation_of(node), 2);
    assert_int_equal(ouro_gc_collect(1), 0);
    assert_int_equal(ouro_gc_collect(2), 1);
}

/* Thresholds. */

static ouro_gc_stats stats_of(int generation)
{
    ouro_gc_stats stats[OURO_GC_GENERATIONS];
    ouro_gc_get_stats(stats);
    return stats[generation];
}

static void thresholds(void **state)
{
    (void)state;
    const size_t wanted[3] = { 700, 10, 10 };
    size_t got[3], defaults[3];
    ouro_gc_get_threshold(defaults);
    assert_true(defaults[0] > 0);
    assert_int_equal(ouro_gc_set_threshold(wanted), 0);
    ouro_gc_get_threshold(got);
    assert_memory_equal(got, wanted, sizeof got);
    assert_int_equal(ouro_gc_set_threshold(NULL), 0);
    ouro_gc_get_threshold(got);
    assert_memory_equal(got, defaults, sizeof got);
}

static void count_of_allocations(void **state)
{
    size_t count[3];
    (void)state;
    ouro_gc_collect(2);
    ouro_gc_get_count(count);
    assert_int_equal(count[0], 0);
    assert_int_equal(count[1], 0);
    assert_int_equal(count[2], 0);
    struct node *nodes[5000];
    for (size_t i = 0; i < COUNT_OF(nodes); i++) {
        nodes[i] = new_node();
        ouro_gc_get_count(count);
        assert_int_equal(count[0], i + 1);
    }
    for (size_t i = COUNT_OF(nodes); i-- > 0;) {
        ouro_decref(nodes[i]);
        ouro_gc_get_count(count);
        assert_int_equal(count[0], i);
    }
    struct node *old = new_node();
    ouro_gc_collect(0);
    ouro_gc_get_count(count);
    assert_int_equal(count[0], 0);
    assert_int_equal(count[1], 1);
    ouro_decref(old); /* not below zero */
    ouro_gc_get_count(count);
    assert_int_equal(count[0], 0);
    ouro_gc_collect(1);
    ouro_gc_get_count(count);
    assert_int_equal(count[1], 0);
    assert_int_equal(count[2], 1);
    ouro_gc_collect(2);
    ouro_gc_get_count(count);
    assert_int_equal(count[2], 0);
}

/* What Python does, with a count that the test keeps. */
static void collections_come_when_pythons_would(void **state)
{
    const size_t wanted[3] = { 700, 10, 10 };
    size_t count[3] = { 0, 0, 0 }, pending = 0, oldest = 0, young = 0, middle = 0, comes[3] = { 0, 0, 0 };
    struct node *list = NULL, *recent[64] = { NULL };
    ouro_gc_stats before[3], now[3];
    (void)state;
    ouro_gc_collect(2);
    oldest = ouro_gc_get_objects(2, NULL, NULL);
    ouro_gc_get_stats(before);
    ouro_gc_set_threshold(wanted);
    ouro_gc_enable();
    for (size_t i = 0; i < 400000; i++) {
        if (++count[0] > wanted[0]) {
            int generation = count[2] > wanted[2] && pending >= oldest / 4 ? 2 : count[1] > wanted[1] ? 1 : 0;
            comes[generation]++;
            for (int g = 0; g <= generation; g++)
                count[g] = 0;
            if (generation < 2)
                count[generation + 1]++;
            if (generation == 0) {
                middle += young;
            } else if (generation == 1) {
                pending += middle + young;
                middle = 0;
            } else {
                oldest += pending + middle + young;
                pending = middle = 0;
            }
            young = 0;
        }
        struct node *node = new_node();
        ouro_gc_get_stats(now);
        for (int g = 0; g < 3; g++)
            assert_int_equal(now[g].collections - before[g].collections, comes[g]);
        if (i % 3 == 0) { /* kept */
            node->next = list;
            list = node;
            young++;
        } else if (i % 3 == 1) { /* freed at once */
            ouro_decref(node);
            count[0] -= count[0] > 0;
        } else { /* a little later */
            size_t at = i / 3 % COUNT_OF(recent);
            if (recent[at] != NULL) {
                bool is_young = ouro_gc_generation_of(recent[at]) == 0,
                     is_middle = ouro_gc_generation_of(recent[at]) == 1;
                ouro_decref(recent[at]);
                count[0] -= count[0] > 0;
                young -= is_young;
                middle -= is_middle;
                assert_true(is_young || is_middle || pending > 0 || oldest > 0);
                if (!is_young && !is_middle) {
                    /* Python does not take it off either. */
                }
            }
            recent[at] = node;
            young++;
        }
    }
    ouro_gc_disable();
    ouro_gc_set_threshold(NULL);
    assert_true(comes[0] > 100 && comes[1] > 10 && comes[2] > 0);
    ouro_decref(list);
    for (size_t i = 0; i < COUNT_OF(recent); i++)
        ouro_decref(recent[i]);
}

static void enabling(void **state)
{
    const size_t small[3] = { 10, 5, 5 };
    (void)state;
    ouro_gc_collect(2);
    ouro_gc_set_threshold(small);
    assert_false(ouro_gc_is_enabled());
    uint64_t before = stats_of(0).collections;
    for (int i = 0; i < 1000; i++)
        make_cycle();
    assert_int_equal(stats_of(0).collections, before);
    ouro_gc_enable();
    assert_true(ouro_gc_is_enabled());
    make_cycle();
    assert_int_equal(stats_of(0).collections, before + 1);
    for (int i = 0; i < 1000; i++)
        make_cycle();
    assert_true(stats_of(0).collections > before + 50);
    assert_true(ouro_gc_get_objects(-1, NULL, NULL) < 20);
    const size_t never[3] = { 0, 5, 5 };
    ouro_gc_set_threshold(never);
    ouro_gc_collect(0);
    before = stats_of(0).collections + stats_of(1).collections + stats_of(2).collections;
    for (int i = 0; i < 1000; i++)
        make_cycle();
    assert_int_equal(stats_of(0).collections + stats_of(1).collections + stats_of(2).collections, before);
    ouro_gc_disable();
    ouro_gc_set_threshold(NULL);
    assert_int_equal(ouro_gc_collect(2), 1000);
}

static void statistics(void **state)
{
    (void)state;
    ouro_gc_stats before[3], after[3];
    ouro_gc_get_stats(before);
    make_cycle();
    ouro_gc_collect(0);
    make_cycle();
    ouro_gc_collect(0);
    make_ring(3);
    ouro_gc_collect(2);
    ouro_gc_get_stats(after);
    assert_int_equal(after[0].collections, before[0].collections + 2);
    assert_int_equal(after[0].collected, before[0].collected + 2);
    assert_int_equal(after[1].collections, before[1].collections);
    assert_int_equal(after[2].collections, before[2].collections + 1);
    assert_int_equal(after[2].collected, before[2].collected + 3);
    assert_true(after[2].pause_ns_total > before[2].pause_ns_total);
    assert_true(after[2].pause_ns_max > 0 && after[2].pause_ns_max <= after[2].pause_ns_total);
}

static void arguments(void **state)
{
    (void)state;
    errno = 0;
    assert_int_equal(ouro_gc_collect(-1), -1);
    assert_int_equal(errno, EINVAL);
    errno = 0;
    assert_int_equal(ouro_gc_collect(3), -1);
    assert_int_equal(errno, EINVAL);
    OURO_BLOCKING {
        errno = 0;
        assert_int_equal(ouro_gc_collect(2), -1);
        assert_int_equal(errno, EPERM);
    }
    assert_int_equal(ouro_gc_set_workers(1025), -1);
    assert_int_equal(errno, EINVAL);
    assert_int_equal(ouro_gc_set_workers(1024), 0);
    assert_int_equal(ouro_gc_get_workers(), 1024);
    assert_int_equal(ouro_gc_set_workers(3), 0);
    assert_int_equal(ouro_gc_get_workers(), 3);
    assert_int_equal(ouro_gc_set_workers(0), 0);
    assert_true(ouro_gc_get_workers() >= 1);
}

/* Finalizers. */

struct person {
    ouro_object header;
    struct person *friend_;
    int number;
    bool resurrects;
};

static struct person *saved[8];
static unsigned saved_count, finalized, destroyed;
static bool friends_whole = true;
static long nested = -1;

static void person_finalize(ouro_object *self)
{
    struct person *person = (struct person *)self;
    finalized++;
    friends_whole &= person->friend_ == NULL || (person->friend_->number >= 0 && ouro_refcount(person) >= 1);
    nested = ouro_gc_collect(2);
    if (person->resurrects)
        saved[saved_count++] = ouro_newref(person);
}

static void person_destroy(ouro_object *self)
{
    struct person *person = (struct person *)self;
    friends_whole &= person->friend_ == NULL;
    destroyed++;
    person->number = -1;
}

static ouro_type person_type =
    OURO_TYPE(struct person, OURO_REFS(struct person, friend_), .finalize = person_finalize, .destroy = person_destroy);

static struct person *new_friends(bool resurrects)
{
    struct person *a = ouro_new(&person_type), *b = ouro_new(&person_type);
    a->friend_ = b;
    b->friend_ = ouro_newref(a);
    a->resurrects = resurrects;
    finalized = destroyed = saved_count = 0;
    friends_whole = true;
    nested = -1;
    return a;
}

static void finalizers(void **state)
{
    (void)state;
    struct person *a = new_friends(false);
    ouro_decref(a);
    assert_int_equal(finalized, 0);
    assert_int_equal(ouro_gc_collect(2), 2);
    assert_int_equal(finalized, 2);
    assert_int_equal(destroyed, 2);
    assert_true(friends_whole);
    assert_int_equal(nested, 0);
}

static void resurrection(void **state)
{
    (void)state;
    struct person *a = new_friends(true);
    ouro_decref(a);
    assert_int_equal(ouro_gc_collect(2), 0); /* what the one that came back leads to stays too */
    assert_int_equal(finalized, 2);
    assert_int_equal(destroyed, 0);
    assert_int_equal(saved_count, 1);
    assert_ptr_equal(saved[0], a);
    assert_ptr_equal(a->friend_->friend_, a);
    assert_int_equal(ouro_refcount(a), 2);
    assert_true(ouro_gc_is_finalized(a));
    assert_int_equal(ouro_gc_generation_of(a), 2);
    ouro_decref(a);
    assert_int_equal(ouro_gc_collect(2), 2);
    assert_int_equal(finalized, 2); /* not again */
    assert_int_equal(destroyed, 2);
}

static void resurrection_of_some(void **state)
{
    (void)state;
    struct person *a = new_friends(true), *b = new_friends(false), *c = new_friends(true);
    ouro_decref(a);
    ouro_decref(b);
    ouro_decref(c);
    assert_int_equal(ouro_gc_collect(0), 2);
    assert_int_equal(finalized, 6);
    assert_int_equal(destroyed, 2);
    assert_int_equal(saved_count, 2);
    ouro_decref(a);
    ouro_decref(c);
    assert_int_equal(ouro_gc_collect(1), 4);
    assert_int_equal(destroyed, 6);
}

static void break_up(ouro_object *self)
{
    struct person *person = (struct person *)self;
    finalized++;
    OURO_CLEAR(person->friend_);
}

static ouro_type breaking_type =
    OURO_TYPE(struct person, OURO_REFS(struct person, friend_), .finalize = break_up, .destroy = person_destroy);

static void finalizers_that_break_the_cycle(void **state)
{
    (void)state;
    finalized = destroyed = 0;
    friends_whole = true;
    struct person *a = ouro_new(&breaking_type), *b = ouro_new(&breaking_type);
    a->friend_ = b;
    b->friend_ = a;
    /* They die by their counts, and are not in the number; as Python has it. */
    assert_int_equal(ouro_gc_collect(2), 0);
    assert_int_equal(finalized, 2);
    assert_int_equal(destroyed, 2);
}

static void finalizer_by_counts_then_collector(void **state)
{
    (void)state;
    struct person *a = new_friends(true);
    OURO_CLEAR(a->friend_->friend_);
    ouro_decref(a); /* dies by its count, comes back */
    assert_int_equal(finalized, 1);
    assert_int_equal(saved_count, 1);
    a->friend_->friend_ = a;
    assert_int_equal(ouro_gc_collect(2), 2);
    assert_int_equal(finalized, 2);
}

/* Types without clear. */

struct unyielding {
    ouro_object header;
    struct unyielding *next;
};

static void unyielding_traverse(ouro_object *self, ouro_visit visit, void *arg)
{
    struct unyielding *unyielding = (struct unyielding *)self;
    if (unyielding->next != NULL)
        visit(&unyielding->next->header, arg);
}

static void unyielding_destroy(ouro_object *self)
{
    ouro_xdecref(((struct unyielding *)self)->next);
    destroyed++;
}

static ouro_type unyielding_type =
    OURO_TYPE(struct unyielding, .traverse = unyielding_traverse, .destroy = unyielding_destroy);

static void uncollectable(void **state)
{
    (void)state;
    destroyed = 0;
    uint64_t before = stats_of(2).uncollectable;
    struct unyielding *a = ouro_new(&unyielding_type), *b = ouro_new(&unyielding_type);
    struct node *tail = new_node();
    a->next = b;
    b->next = a;
    tail->next = tail;
    assert_int_equal(ouro_gc_collect(2), 3);
    assert_int_equal(stats_of(2).uncollectable, before + 2);
    assert_int_equal(destroyed, 0);
    assert_int_equal(ouro_gc_garbage_count(), 2);
    struct unyielding *first = ouro_gc_garbage_get(0);
    assert_true(first == a || first == b);
    assert_int_equal(ouro_refcount(first), 3);
    errno = 0;
    assert_null(ouro_gc_garbage_get(2));
    assert_int_equal(errno, EINVAL);
    assert_int_equal(ouro_gc_collect(2), 0); /* counted once */
    assert_int_equal(ouro_gc_garbage_count(), 2);
    OURO_CLEAR(first->next);
    ouro_decref(first);
    ouro_gc_garbage_clear();
    assert_int_equal(ouro_gc_garbage_count(), 0);
    assert_int_equal(destroyed, 2);
}

static void unyielding_in_a_cycle_that_can_be_broken(void **state)
{
    (void)state;
    destroyed = 0;
    struct node *node = new_node();
    struct unyielding *a = ouro_new(&unyielding_type), *b = ouro_new(&unyielding_type);
    node->next = (struct node *)a;
    a->next = b;
    b->next = (struct unyielding *)node;
    assert_int_equal(ouro_gc_collect(2), 3);
    assert_int_equal(destroyed, 2);
    assert_int_equal(ouro_gc_garbage_count(), 0);
}

static void what_the_uncollectable_lead_to_lives(void **state)
{
    (void)state;
    destroyed = 0;
    struct unyielding *a = ouro_new(&unyielding_type), *tail = ouro_new(&unyielding_type);
    struct node *node = new_node();
    a->next = a;
    tail->next = ouro_newref(a);
    node->next = node;
    node->other = (struct node *)tail; /* leads to the cycle, and dies */
    assert_int_equal(ouro_gc_collect(2), 3);
    assert_int_equal(ouro_gc_garbage_count(), 1);
    assert_int_equal(destroyed, 1);
    OURO_CLEAR(a->next);
    ouro_gc_garbage_clear();
    assert_int_equal(destroyed, 2);
}

static void save_all(void **state)
{
    (void)state;
    struct person *a = new_friends(false);
    ouro_decref(a);
    ouro_gc_set_debug(OURO_GC_DEBUG_SAVEALL);
    assert_int_equal(ouro_gc_get_debug(), OURO_GC_DEBUG_SAVEALL);
    assert_int_equal(ouro_gc_collect(2), 2);
    ouro_gc_set_debug(0);
    assert_int_equal(finalized, 2);
    assert_int_equal(destroyed, 0);
    assert_int_equal(ouro_gc_garbage_count(), 2);
    assert_ptr_equal(a->friend_->friend_, a);
    ouro_gc_garbage_clear();
    assert_int_equal(ouro_gc_collect(2), 2);
    assert_int_equal(finalized, 2);
    assert_int_equal(destroyed, 2);
}

/* Callbacks. */

static unsigned starts, stops;
static ouro_gc_info last_info;

static void see_collection(ouro_gc_phase phase, const ouro_gc_info *info, void *arg)
{
    assert_ptr_equal(arg, &last_info);
    starts += phase == OURO_GC_START;
    stops += phase == OURO_GC_STOP;
    assert_int_equal(ouro_gc_collect(0), 0);
    struct node *node = new_node(); /* the world runs */
    ouro_decref(node);
    if (phase == OURO_GC_STOP)
        last_info = *info;
}

static void callbacks(void **state)
{
    (void)state;
    starts = stops = 0;
    ouro_gc_collect(2);
    assert_int_equal(ouro_gc_callback_add(see_collection, &last_info), 0);
    make_ring(10);
    struct node *kept = new_node();
    assert_int_equal(ouro_gc_collect(1), 10);
    assert_int_equal(starts, 1);
    assert_int_equal(stops, 1);
    assert_int_equal(last_info.generation, 1);
    assert_int_equal(last_info.collected, 10);
    assert_int_equal(last_info.uncollectable, 0);
    assert_int_equal(last_info.candidates, 11);
    assert_true(last_info.pause_ns > 0);
    assert_int_equal(last_info.workers, 1);
    assert_int_equal(ouro_gc_callback_add(see_collection, &last_info), 0);
    ouro_gc_collect(0);
    assert_int_equal(starts, 3);
    assert_int_equal(ouro_gc_callback_remove(see_collection, NULL), -1);
    assert_int_equal(errno, ENOENT);
    assert_int_equal(ouro_gc_callback_remove(see_collection, &last_info), 0);
    ouro_gc_collect(0);
    assert_int_equal(starts, 4);
    assert_int_equal(ouro_gc_callback_remove(see_collection, &last_info), 0);
    assert_int_equal(ouro_gc_callback_remove(see_collection, &last_info), -1);
    errno = 0;
    assert_int_equal(ouro_gc_callback_add(NULL, NULL), -1);
    assert_int_equal(errno, EINVAL);
    ouro_gc_collect(0);
    assert_int_equal(stops, 4);
    ouro_decref(kept);
}

/* Threads. */

#if defined(__SANITIZE_THREAD__)
#define MAY_FORK false /* it wants no new threads in the child of a process that has some */
#elif defined(__has_feature)
#define MAY_FORK (!__has_feature(thread_sanitizer))
#else
#define MAY_FORK true
#endif

static void *collect_in_thread(void *arg)
{
    (void)arg;
    for (int i = 0; i < 200; i++) {
        make_ring(5);
        if (ouro_gc_collect(i % 3) < 0)
            return (void *)1;
    }
    return NULL;
}

static void collections_from_many_threads(void **state)
{
    (void)state;
    pthread_t threads[4];
    void *result;
    for (size_t i = 0; i < COUNT_OF(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, collect_in_thread, NULL), 0);
    OURO_BLOCKING
        for (size_t i = 0; i < COUNT_OF(threads); i++) {
            assert_int_equal(pthread_join(threads[i], &result), 0);
            assert_null(result);
        }
    ouro_gc_collect(2);
    assert_int_equal(ouro_gc_get_objects(-1, NULL, NULL), 0);
}

static void *drop_in_thread(void *arg)
{
    ouro_decref(arg);
    return NULL;
}

static void cycles_across_threads(void **state)
{
    (void)state;
    for (int i = 0; i < 50; i++) {
        pthread_t thread;
        struct person *a = new_friends(false);
        assert_int_equal(pthread_create(&thread, NULL, drop_in_thread, a), 0);
        OURO_BLOCKING
            pthread_join(thread, NULL);
        assert_int_equal(ouro_gc_collect(2), 2);
        assert_int_equal(destroyed, 2);
    }
}

static bool collecting;

static void *make_and_collect(void *arg)
{
    (void)arg;
    while (__atomic_load_n(&collecting, __ATOMIC_RELAXED)) {
        make_ring(20);
        ouro_gc_collect(0);
    }
    ouro_gc_collect(2);
    return NULL;
}

/* Statistics are written while the collector's own are being counted. */
static void statistics_while_collecting(void **state)
{
    (void)state;
    pthread_t threads[8];
    int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    __atomic_store_n(&collecting, true, __ATOMIC_RELAXED);
    for (size_t i = 0; i < COUNT_OF(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, make_and_collect, NULL), 0);
    for (int i = 0; i < 50; i++) {
        assert_int_equal(ouro_stats_write_json(null), 0);
        assert_int_equal(ouro_stats_write_prometheus(null), 0);
        ouro_safepoint();
    }
    __atomic_store_n(&collecting, false, __ATOMIC_RELAXED);
    OURO_BLOCKING {
        for (size_t i = 0; i < COUNT_OF(threads); i++)
            pthread_join(threads[i], NULL);
    }
    close(null);
}

static void fork_and_collect(void **state)
{
    (void)state;
    if (!MAY_FORK)
        skip();
    struct node *kept = new_node();
    make_ring(7);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        bool good = ouro_gc_collect(2) == 7;
        make_ring(3);
        good &= ouro_gc_collect(0) == 3 && ouro_refcount(kept) == 1;
        _exit(good ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    assert_int_equal(ouro_gc_collect(2), 7);
    ouro_decref(kept);
}

/* The finalizer thread. */

static pthread_t finalizer_thread;
static unsigned finalized_there;

static void note_thread(ouro_object *self)
{
    (void)self;
    finalizer_thread = pthread_self();
    __atomic_fetch_add(&finalized_there, 1, __ATOMIC_SEQ_CST);
}

static ouro_type elsewhere_type =
    OURO_TYPE(struct person, OURO_REFS(struct person, friend_), .finalize = note_thread, .destroy = person_destroy);

static void finalizers_on_their_own_thread(void **state)
{
    (void)state;
    destroyed = 0;
    friends_whole = true;
    assert_int_equal(ouro_gc_set_finalizer_thread(true), 0);
    struct person *a = ouro_new(&elsewhere_type);
    a->friend_ = a;
    make_cycle();
    assert_int_equal(ouro_gc_collect(2), 1); /* not what has a finalizer */
    for (int i = 0; i < 10000 && __atomic_load_n(&finalized_there, __ATOMIC_SEQ_CST) == 0; i++)
        OURO_BLOCKING
            usleep(1000);
    assert_int_equal(finalized_there, 1);
    assert_false(pthread_equal(finalizer_thread, pthread_self()));
    long found = 0;
    for (int i = 0; i < 10000 && found == 0; i++) { /* it may hold it a moment longer */
        OURO_BLOCKING
            usleep(100);
        found = ouro_gc_collect(2);
    }
    assert_int_equal(found, 1);
    assert_int_equal(destroyed, 1);
    assert_int_equal(ouro_gc_set_finalizer_thread(false), 0);
}

static void immortals(void **state)
{
    (void)state;
    struct node *node = new_node();
    node->next = new_node();
    node->next->next = ouro_newref(node->next);
    ouro_immortalize(node);
    ouro_decref(node);
    assert_int_equal(ouro_gc_collect(2), 0);
    assert_int_equal(ouro_gc_get_referrers(node->next, NULL, NULL), 2);
    ouro_gc_untrack(node); /* or other tests would see it */
    ouro_gc_untrack(node->next);
}

static void distributed(void **state)
{
    (void)state;
    static ouro_type leaf_type = OURO_TYPE(struct node);
    struct node *leaf = ouro_new(&leaf_type), *node = new_node();
    assert_int_equal(ouro_distribute(leaf), 0);
    assert_int_equal(ouro_distribute(node), 0);
    assert_int_equal(ouro_gc_collect(2), 0);
    ouro_decref(leaf);
    assert_int_equal(ouro_gc_collect(0), 1);
    node->next = node;
    assert_int_equal(ouro_gc_collect(2), 1);
    node = new_node();
    assert_int_equal(ouro_distribute(node), 0);
    ouro_gc_collect(2);
    ouro_decref(node);
    assert_int_equal(ouro_gc_collect(0), 1); /* of any generation */
}

static int start(void **state)
{
    (void)state;
    ouro_gc_disable();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        API_TEST(self_reference),
        API_TEST(rings),
        API_TEST(long_list_in_a_cycle),
        API_TEST(garbage_keeps_nothing_alive),
        API_TEST(what_is_held_lives),
        API_TEST(many_references_to_one),
        API_TEST(generations),
        API_TEST(middle_generation),
        API_TEST(old_holders),
        API_TEST(get_objects),
        API_TEST(referrers_and_referents),
        API_TEST(tracking),
        API_TEST(freezing),
        API_TEST(thresholds),
        API_TEST(count_of_allocations),
        API_TEST(collections_come_when_pythons_would),
        API_TEST(enabling),
        API_TEST(statistics),
        API_TEST(arguments),
        API_TEST(finalizers),
        API_TEST(resurrection),
        API_TEST(resurrection_of_some),
        API_TEST(finalizers_that_break_the_cycle),
        API_TEST(finalizer_by_counts_then_collector),
        API_TEST(uncollectable),
        API_TEST(unyielding_in_a_cycle_that_can_be_broken),
        API_TEST(what_the_uncollectable_lead_to_lives),
        API_TEST(save_all),
        API_TEST(callbacks),
        API_TEST(collections_from_many_threads),
        API_TEST(cycles_across_threads),
        API_TEST(statistics_while_collecting),
        API_TEST(fork_and_collect),
        API_TEST(finalizers_on_their_own_thread),
        API_TEST(distributed),
        API_TEST(immortals),
    };
    return cmocka_run_group_tests(tests, start, NULL);
}
