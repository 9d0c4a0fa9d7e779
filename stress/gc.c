/* stress/gc.c: islands of nodes in a ring, with other edges at random, while collections of all generations run back to back.
 *
 * Oracle: while somebody holds a reference into an island, none of its nodes dies; when nobody does, a collection frees them
 * all, each once. Finalizers bring some back. Leaves are shared by islands and die by their counts.
 */
#define _GNU_SOURCE
#include "stress.h"

#include <sched.h>
#include <stdlib.h>

enum { BOXES = 64, HELD = 12, EDGES = 3, MAX_NODES = 60, LEAVES = 16 };
#define LIVES UINT64_C(0x6f75726f69736c65)

struct island {
    _Atomic int roots;   /* references from outside */
    _Atomic int left;    /* nodes that have not died */
    _Atomic bool shared; /* has been brought back */
};
struct node {
    ouro_object base;
    struct node *next; /* the ring */
    uint64_t magic;
    struct island *island;
    struct node *edges[EDGES];
    ouro_slot slot;
    ouro_object *leaf;
    struct node *hidden; /* of traversed_type: not among its refs */
};
struct leaf {
    ouro_object base;
    uint64_t magic;
};

static _Atomic(struct node *) boxes[BOXES];
static ouro_slot leaves[LEAVES];
static _Atomic uint64_t nodes_made, nodes_died, leaves_made, leaves_died, islands_made, islands_died, brought_back;

static void leaf_destroy(ouro_object *self)
{
    struct leaf *leaf = (struct leaf *)self;
    CHECK(leaf->magic == LIVES);
    leaf->magic = 0;
    atomic_fetch_add(&leaves_died, 1);
}

static void node_destroy(ouro_object *self)
{
    struct node *node = (struct node *)self;
    CHECK(node->magic == LIVES);
    CHECK(atomic_load(&node->island->roots) == 0);
    CHECK(node->next == NULL && node->leaf == NULL && node->hidden == NULL);
    node->magic = 0;
    atomic_fetch_add(&nodes_died, 1);
    if (atomic_fetch_sub(&node->island->left, 1) == 1) {
        free(node->island);
        atomic_fetch_add(&islands_died, 1);
    }
}

static void drop_root(struct node *node)
{
    if (node == NULL)
        return;
    CHECK(node->magic == LIVES);
    CHECK(atomic_fetch_sub(&node->island->roots, 1) > 0);
    ouro_decref(node);
}

/* Everything it refers to is whole. Now and then it comes back, and the island with it. */
static void node_finalize(ouro_object *self)
{
    struct node *node = (struct node *)self;
    CHECK(node->magic == LIVES && node->next != NULL && node->next->magic == LIVES);
    CHECK(ouro_refcount(self) >= 1);
    if (((uintptr_t)self >> 5) % 8 != 0)
        return;
    atomic_store(&node->island->shared, true);
    atomic_fetch_add(&node->island->roots, 1);
    atomic_fetch_add(&brought_back, 1);
    drop_root(atomic_exchange(&boxes[((uintptr_t)self >> 8) % BOXES], ouro_newref(node)));
}

static void node_traverse(ouro_object *self, ouro_visit visit, void *arg)
{
    struct node *node = (struct node *)self;
    if (node->hidden != NULL)
        visit(&node->hidden->base, arg);
}
static void node_clear(ouro_object *self)
{
    OURO_CLEAR(((struct node *)self)->hidden);
}

#define NODE_REFS OURO_REFS(struct node, next, edges[0], edges[1], edges[2], slot, leaf)
static ouro_type leaf_type = OURO_TYPE(struct leaf, .destroy = leaf_destroy);
static ouro_type plain_type = OURO_TYPE(struct node, NODE_REFS, .destroy = node_destroy);
static ouro_type final_type = OURO_TYPE(struct node, NODE_REFS, .finalize = node_finalize, .destroy = node_destroy);
static ouro_type traversed_type =
    OURO_TYPE(struct node, NODE_REFS, .traverse = node_traverse, .clear = node_clear, .destroy = node_destroy);
/* Between nodes of the ring, with nothing to say of their deaths: freed in bulk. */
struct link {
    ouro_object base;
    ouro_object *refs[2];
};
static ouro_type link_type = OURO_TYPE(struct link, OURO_REFS(struct link, refs[0], refs[1]));

static void *leaf_any(struct random *random)
{
    ouro_slot *slot = &leaves[random_below(random, LEAVES)];
    void *leaf = random_below(random, 4) == 0 ? NULL : ouro_slot_load(slot);
    if (leaf != NULL) {
        CHECK(((struct leaf *)leaf)->magic == LIVES);
        return leaf;
    }
    struct leaf *made = ouro_new(&leaf_type);
    CHECK(made != NULL);
    made->magic = LIVES;
    atomic_fetch_add(&leaves_made, 1);
    ouro_slot_store(slot, made);
    return made;
}

static struct node *node_new(struct random *random, struct island *island)
{
    uint32_t kind = random_below(random, 20);
    struct node *node = ouro_new(kind == 0 ? &final_type : kind < 5 ? &traversed_type : &plain_type);
    CHECK(node != NULL);
    node->magic = LIVES;
    node->island = island;
    atomic_fetch_add(&island->left, 1);
    atomic_fetch_add(&nodes_made, 1);
    return node;
}

/* Held by its first node. While it is being made collections run: all that is made is held by the array. */
static struct node *island_new(struct random *random)
{
    struct node *nodes[MAX_NODES];
    uint32_t count = 1 + random_below(random, random_below(random, 4) == 0 ? MAX_NODES : 6);
    struct island *island = calloc(1, sizeof *island);
    CHECK(island != NULL);
    atomic_store(&island->roots, 1);
    atomic_fetch_add(&islands_made, 1);
    for (uint32_t i = 0; i < count; i++)
        nodes[i] = node_new(random, island);
    for (uint32_t i = 0; i < count; i++) {
        struct node *node = nodes[i];
        node->next = ouro_newref(nodes[(i + 1) % count]);
        for (size_t k = 0; k < EDGES; k++)
            if (random_below(random, 2) == 0)
                node->edges[k] = ouro_newref(nodes[random_below(random, count)]);
        if (ouro_typeof(node) == &traversed_type)
            node->hidden = ouro_newref(nodes[random_below(random, count)]);
        if (random_below(random, 3) == 0)
            node->leaf = leaf_any(random);
        if (node->leaf == NULL && random_below(random, 4) == 0) {
            struct link *link = ouro_new(&link_type);
            CHECK(link != NULL);
            link->refs[0] = ouro_newref(node);
            link->refs[1] = leaf_any(random);
            node->leaf = &link->base;
        }
    }
    for (uint32_t i = 1; i < count; i++)
        ouro_decref(nodes[i]);
    return nodes[0];
}

/* Some steps along any edges; borrowed from the root. */
static struct node *walk(struct random *random, struct node *root)
{
    struct node *at = root;
    for (uint32_t steps = random_below(random, 10); steps > 0; steps--) {
        struct node *to = random_below(random, 2) == 0 ? at->next : at->edges[random_below(random, EDGES)];
        if (to != NULL)
            at = to;
        CHECK(at->magic == LIVES && at->island == root->island);
    }
    return at;
}

/* An island that finalizers brought back is held by several: its plain edges stay as they are then, its slots may change. */
static void change(struct random *random, struct node *root)
{
    struct node *from = walk(random, root), *to = walk(random, root);
    if (atomic_load(&root->island->shared)) {
        ouro_slot_store(&from->slot, random_below(random, 3) == 0 ? NULL : to);
        return;
    }
    struct node **edge = &from->edges[random_below(random, EDGES)];
    OURO_SETREF(*edge, random_below(random, 3) == 0 ? NULL : ouro_newref(to));
}

static void step(struct random *random, struct node **place)
{
    uint32_t what = random_below(random, 100);
    struct node *old = *place;
    if (what < 30) {
        *place = island_new(random);
        drop_root(old);
    } else if (what < 50) {
        *place = NULL;
        drop_root(old);
    } else if (what < 65) {
        *place = atomic_exchange(&boxes[random_below(random, BOXES)], old);
    } else if (what < 95 && old != NULL) {
        change(random, old);
    } else {
        ouro_safepoint();
    }
}

static void work(unsigned index)
{
    struct random random = random_seed(index);
    struct node *held[HELD] = { NULL };
    CHECK(ouro_thread_register() == 0); /* or its first touch may be a store into what came out of a box */
    while (!atomic_load_explicit(&run.stop, memory_order_relaxed)) {
        for (unsigned i = 0; i < 50; i++)
            step(&random, &held[random_below(&random, HELD)]);
        uint32_t what = random_below(&random, 100);
        if (index == 0 || what < 2) {
            if (what < 10)
                CHECK(ouro_gc_set_workers(random_below(&random, 5)) == 0);
            CHECK(ouro_gc_collect((int)random_below(&random, 3)) >= 0);
        } else if (what < 20) {
            OURO_BLOCKING {
                sched_yield();
            }
        }
        atomic_fetch_add_explicit(&run.operations, 50, memory_order_relaxed);
    }
    for (size_t i = 0; i < HELD; i++)
        drop_root(held[i]);
}

void gc_run(void)
{
    size_t tracked_before = ouro_gc_get_objects(-1, NULL, NULL);
    run_threads(run.threads, work);
    CHECK(ouro_gc_set_workers(0) == 0);
    for (unsigned again = 0; again < 3; again++) { /* the second time finds what finalizers brought back */
        for (size_t i = 0; i < BOXES; i++)
            drop_root(atomic_exchange(&boxes[i], NULL));
        CHECK(ouro_gc_collect(2) >= 0);
    }
    for (size_t i = 0; i < LEAVES; i++)
        ouro_slot_store(&leaves[i], NULL);
    CHECK(atomic_load(&nodes_made) == atomic_load(&nodes_died));
    CHECK(atomic_load(&islands_made) == atomic_load(&islands_died));
    CHECK(atomic_load(&leaves_made) == atomic_load(&leaves_died));
    CHECK(run.seconds < 3 || run.threads < 2 || atomic_load(&brought_back) > 0);
    CHECK(ouro_gc_collect(2) == 0);
    CHECK(ouro_gc_garbage_count() == 0);
    CHECK(ouro_gc_get_objects(-1, NULL, NULL) == tracked_before);
}
