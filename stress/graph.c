/* stress/graph.c: see graph.h. */
#define _GNU_SOURCE
#include "graph.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

static void node_finalize(ouro_object *self);
static void node_clear(ouro_object *self);
static void node_destroy(ouro_object *self);

/* Three kinds that die in three ways. */
static ouro_type node_types[] = {
    OURO_TYPE(struct node, OURO_REFS(struct node, fixed[0], fixed[1], slots[0], slots[1], slots[2]),
              .clear = node_clear, .destroy = node_destroy),
    OURO_TYPE(struct node, OURO_REFS(struct node, fixed[0], fixed[1], slots[0], slots[1], slots[2]),
              .clear = node_clear, .finalize = node_finalize, .destroy = node_destroy),
    OURO_TYPE(struct node, OURO_REFS(struct node, fixed[0], fixed[1], slots[0], slots[1], slots[2]), .item_size = 40,
              .clear = node_clear, .destroy = node_destroy),
};

/* Trees of objects in whose death nothing runs but the leaves' destroy. */
struct leaf {
    ouro_object base;
    uint64_t magic;
};
struct bundle {
    ouro_object base;
    ouro_object *parts[3];
};
static _Atomic uint64_t leaves_made, leaves_dead, nodes_made;

static void leaf_destroy(ouro_object *self)
{
    struct leaf *leaf = (struct leaf *)self;
    CHECK(leaf->magic == NODE_MAGIC);
    leaf->magic = 0;
    atomic_fetch_add_explicit(&leaves_dead, 1, memory_order_relaxed);
}
static ouro_type leaf_type = OURO_TYPE(struct leaf, .destroy = leaf_destroy);
static ouro_type bundle_type = OURO_TYPE(struct bundle, OURO_REFS(struct bundle, parts[0], parts[1], parts[2]));
static ouro_type bag_type =
    OURO_TYPE_SIZED(struct bundle, sizeof(ouro_object), .item_size = sizeof(void *), .items_are_refs = true);

/* Where references change hands: moved by exchange (box), or loaded and stored (window). Nodes only in windows: what is
 * loaded has to be told to its shadow. */
enum { BOXES = 64, WINDOWS = 16 };
static _Atomic(void *) boxes[BOXES];
static ouro_slot windows[WINDOWS];

/* Shadows of hands that are gone. */
static pthread_mutex_t left_lock = PTHREAD_MUTEX_INITIALIZER;
static struct shadow *left_shadows;

static bool is_node(const void *obj)
{
    ouro_type *type = ouro_typeof(obj);
    return type >= node_types && type < node_types + sizeof node_types / sizeof node_types[0];
}

static void taken(void *obj)
{
    if (is_node(obj)) {
        struct node *node = obj;
        CHECK(node->magic == NODE_MAGIC);
        atomic_fetch_add_explicit(&node->shadow->references, 1, memory_order_relaxed);
    }
}
static void to_be_dropped(void *obj)
{
    if (is_node(obj)) {
        struct node *node = obj;
        CHECK(node->magic == NODE_MAGIC);
        CHECK(atomic_fetch_sub_explicit(&node->shadow->references, 1, memory_order_relaxed) > 0);
    }
}

static void *take(void *obj)
{
    ouro_incref(obj);
    taken(obj);
    return obj;
}
static void drop(void *obj)
{
    if (obj == NULL)
        return;
    to_be_dropped(obj);
    ouro_decref(obj);
}

/* One in three comes back, once, into a box. */
static void node_finalize(ouro_object *self)
{
    struct node *node = (struct node *)self;
    CHECK(node->magic == NODE_MAGIC && ouro_refcount(self) >= 1);
    CHECK(atomic_fetch_add(&node->shadow->finalized, 1) == 0);
    uint64_t mixed = ((uintptr_t)node->shadow >> 4) * UINT64_C(0x9e3779b97f4a7c15);
    if (mixed >> 32 < UINT32_MAX / 3)
        drop(atomic_exchange(&boxes[mixed % BOXES], take(self)));
}

/* The shadows are told; the references are the library's to drop. */
static void node_clear(ouro_object *self)
{
    struct node *node = (struct node *)self;
    CHECK(node->magic == NODE_MAGIC);
    if (node->settled)
        return;
    node->settled = true;
    for (size_t i = 0; i < 2; i++)
        if (node->fixed[i] != NULL)
            to_be_dropped(node->fixed[i]);
    for (size_t i = 0; i < NODE_SLOTS; i++) {
        void *ref = atomic_load(&node->slots[i].ptr);
        if (ref != NULL)
            to_be_dropped(ref);
    }
}

static void node_destroy(ouro_object *self)
{
    struct node *node = (struct node *)self;
    CHECK(node->magic == NODE_MAGIC && node->settled);
    CHECK(node->fixed[0] == NULL && node->fixed[1] == NULL);
    node->magic = 0;
    CHECK(atomic_load_explicit(&node->shadow->references, memory_order_relaxed) == 0);
    CHECK(atomic_fetch_add(&node->shadow->deaths, 1) == 0);
}

/* A held node below a level, or NULL. */
static struct node *held_below(struct hand *hand, unsigned level)
{
    for (unsigned tries = 0; tries < 4; tries++) {
        void *obj = hand->held[random_below(&hand->random, sizeof hand->held / sizeof hand->held[0])];
        if (obj != NULL && is_node(obj) && ((struct node *)obj)->level < level)
            return obj;
    }
    return NULL;
}

static void *make_node(struct hand *hand)
{
    ouro_type *type = &node_types[random_below(&hand->random, sizeof node_types / sizeof node_types[0])];
    size_t items = type->item_size == 0 ? 0 : random_below(&hand->random, 30);
    struct node *node = ouro_new_items(type, items);
    struct shadow *shadow = calloc(1, sizeof *shadow);
    CHECK(node != NULL && shadow != NULL);
    shadow->node = node;
    atomic_store(&shadow->references, 1);
    shadow->next = hand->shadows;
    hand->shadows = shadow;
    node->magic = NODE_MAGIC;
    node->shadow = shadow;
    node->level = random_below(&hand->random, MAX_LEVEL + 1);
    for (size_t i = 0; i < 2; i++) {
        struct node *lower = held_below(hand, node->level);
        node->fixed[i] = lower != NULL ? take(lower) : NULL;
    }
    atomic_fetch_add_explicit(&nodes_made, 1, memory_order_relaxed);
    return node;
}

static ouro_object *make_bundle(struct random *random, unsigned depth)
{
    if (depth == 0) {
        struct leaf *leaf = ouro_new(&leaf_type);
        CHECK(leaf != NULL);
        leaf->magic = NODE_MAGIC;
        atomic_fetch_add_explicit(&leaves_made, 1, memory_order_relaxed);
        return &leaf->base;
    }
    size_t parts = random_below(random, 4);
    if (random_below(random, 3) == 0) {
        void *bag = ouro_new_items(&bag_type, parts * 2);
        CHECK(bag != NULL);
        ouro_object **items = ouro_items(bag);
        for (size_t i = 0; i < parts; i++) {
            items[i] = make_bundle(random, depth - 1);
            items[parts + i] = ouro_newref(items[i]);
        }
        return bag;
    }
    struct bundle *bundle = ouro_new(&bundle_type);
    CHECK(bundle != NULL);
    for (size_t i = 0; i < parts && i < 3; i++)
        bundle->parts[i] = make_bundle(random, depth - 1);
    return &bundle->base;
}

/* Changes a slot of a held node: to something lower, or to nothing. */
static void change_slot(struct hand *hand, struct node *node)
{
    ouro_slot *slot = &node->slots[random_below(&hand->random, NODE_SLOTS)];
    struct node *lower = random_below(&hand->random, 3) == 0 ? NULL : held_below(hand, node->level);
    if (random_below(&hand->random, 2) == 0) {
        drop(ouro_slot_exchange(slot, lower != NULL ? take(lower) : NULL));
        return;
    }
    struct node *old = ouro_slot_load(slot);
    if (old != NULL)
        taken(old);
    if (lower != NULL)
        taken(lower); /* for the slot, if it comes to that */
    if (ouro_slot_compare_exchange(slot, old, lower)) {
        if (old != NULL) /* the slot's own, dropped already; this thread's is left */
            to_be_dropped(old);
    } else if (lower != NULL) {
        to_be_dropped(lower);
    }
    drop(old);
}

static void *load_slot(struct hand *hand, ouro_slot *slot)
{
    (void)hand;
    void *obj = ouro_slot_load(slot);
    if (obj != NULL)
        taken(obj);
    return obj;
}

/* Shows a held node in a window. */
static void show(struct hand *hand, void *obj)
{
    void *old = ouro_slot_exchange(&windows[random_below(&hand->random, WINDOWS)], obj != NULL ? take(obj) : NULL);
    drop(old);
}

static void pause_a_little(struct hand *hand)
{
    switch (random_below(&hand->random, 8)) {
    case 0:
        OURO_BLOCKING {
            sched_yield();
        }
        break;
    case 1:
        sched_yield();
        break;
    default:
        ouro_safepoint();
    }
}

void hand_step(struct hand *hand)
{
    void **place = &hand->held[random_below(&hand->random, sizeof hand->held / sizeof hand->held[0])];
    struct node *node = *place != NULL && is_node(*place) ? *place : NULL;
    uint32_t what = random_below(&hand->random, 100);
    void *old = *place;
    atomic_fetch_add_explicit(&run.operations, 1, memory_order_relaxed);
    if (what < 25) {
        *place = make_node(hand);
        drop(old);
    } else if (what < 28) {
        *place = make_bundle(&hand->random, random_below(&hand->random, 5));
        drop(old);
    } else if (what < 45) {
        *place = NULL;
        drop(old);
    } else if (what < 60) { /* changes hands */
        *place = atomic_exchange(&boxes[random_below(&hand->random, BOXES)], old);
    } else if (what < 63 && old != NULL) {
        void **other = &hand->held[random_below(&hand->random, sizeof hand->held / sizeof hand->held[0])];
        void *before = *other;
        *other = take(old);
        drop(before);
    } else if (what < 80 && node != NULL) {
        change_slot(hand, node);
    } else if (what < 88 && node != NULL) {
        *place = load_slot(hand, &node->slots[random_below(&hand->random, NODE_SLOTS)]);
        drop(old);
    } else if (what < 91) {
        *place = load_slot(hand, &windows[random_below(&hand->random, WINDOWS)]);
        drop(old);
    } else if (what < 93) {
        show(hand, node);
    } else if (what < 95) {
        pause_a_little(hand);
    } else if (node != NULL) {
        CHECK(node->magic == NODE_MAGIC && ouro_typeof(node)->size == sizeof(struct node));
    }
}

void hand_thin(struct hand *hand, unsigned one_in)
{
    for (size_t i = 0; i < sizeof hand->held / sizeof hand->held[0]; i++) {
        if (random_below(&hand->random, one_in) != 0)
            continue;
        void *old = hand->held[i];
        hand->held[i] = NULL;
        drop(old);
    }
}

void hand_drop_all(struct hand *hand)
{
    hand_thin(hand, 1);
}

void hand_done(struct hand *hand)
{
    struct shadow *last = hand->shadows;
    if (last == NULL)
        return;
    while (last->next != NULL)
        last = last->next;
    pthread_mutex_lock(&left_lock);
    last->next = left_shadows;
    left_shadows = hand->shadows;
    pthread_mutex_unlock(&left_lock);
    hand->shadows = NULL;
}

/* For who has to find out why. */
static void describe(const struct shadow *shadow)
{
    const struct node *node = shadow->node;
    const ouro_object *header = &node->base;
    fprintf(
        stderr,
        "\nnode %p: %lld references, %d deaths, finalized %d times; header: local %d, owner %x, shared %llx; level %u\n",
        (const void *)node, (long long)atomic_load(&shadow->references), atomic_load(&shadow->deaths),
        atomic_load(&shadow->finalized), header->ouro_local_, header->ouro_owner_,
        (unsigned long long)header->ouro_shared_, node->level);
}

static void check_list(struct shadow **link)
{
    while (*link != NULL) {
        struct shadow *shadow = *link;
        int64_t references = atomic_load(&shadow->references);
        if (atomic_load(&shadow->deaths) != 0) {
            CHECK(references == 0);
            *link = shadow->next;
            free(shadow);
            continue;
        }
        if (references <= 0 || ouro_refcount(shadow->node) != (size_t)references)
            describe(shadow);
        CHECK(references > 0); /* none left, and not dead */
        CHECK(shadow->node->magic == NODE_MAGIC && shadow->node->shadow == shadow);
        CHECK(ouro_refcount(shadow->node) == (size_t)references);
        link = &shadow->next;
    }
}

void graph_check(struct hand *hands, size_t count)
{
    for (size_t i = 0; i < count; i++)
        check_list(&hands[i].shadows);
    pthread_mutex_lock(&left_lock);
    check_list(&left_shadows);
    pthread_mutex_unlock(&left_lock);
}

/* Empties what all threads share; whether there was something. */
static bool empty_all(void)
{
    bool any = false;
    for (size_t i = 0; i < BOXES + WINDOWS; i++) {
        void *held = i < BOXES ? atomic_exchange(&boxes[i], NULL) : ouro_slot_exchange(&windows[i - BOXES], NULL);
        any |= held != NULL;
        drop(held);
    }
    return any;
}

void graph_finish(void)
{
    /* The finalizer of what dies by this may put it into a box once more; and then that of what it refers to. */
    while (empty_all()) {
    }
    graph_check(NULL, 0);
    CHECK(left_shadows == NULL);
    CHECK(atomic_load(&leaves_made) == atomic_load(&leaves_dead));
}

uint64_t graph_made(void)
{
    return atomic_load(&nodes_made) + atomic_load(&leaves_made);
}

static struct hand *workers_hands;
static void (*between_steps)(struct hand *hand, unsigned index);

static void work_with_hand(unsigned index)
{
    struct hand *hand = &workers_hands[index];
    while (!atomic_load_explicit(&run.stop, memory_order_relaxed)) {
        for (unsigned i = 0; i < 100; i++)
            hand_step(hand);
        between_steps(hand, index);
        stress_rest();
    }
    hand_drop_all(hand);
}

static void check_hands(void)
{
    graph_check(workers_hands, run.threads);
}

void graph_run(void (*between)(struct hand *hand, unsigned index), unsigned check_ms)
{
    between_steps = between;
    workers_hands = calloc(run.threads, sizeof *workers_hands);
    CHECK(workers_hands != NULL);
    for (unsigned i = 0; i < run.threads; i++)
        workers_hands[i].random = random_seed(i);
    run_checked(run.threads, work_with_hand, check_hands, check_ms);
    for (unsigned i = 0; i < run.threads; i++)
        hand_done(&workers_hands[i]);
    free(workers_hands);
    graph_finish();
}
